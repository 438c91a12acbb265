//! `/events/count` and `/events/histogram`: the numbers are those of the events.

use annals_core::time::Micros;
use annals_server::Options;
use annals_testkit::events;
use serde_json::Value;

use crate::searching::{drawn_filters, encoded, matches, parameters, received_times, varied};
use crate::support::Server;

/// Red when: `dedup` is left out of `TallyLane::count`, or a bucket without events takes another's number.
#[test]
fn counts_and_histograms_are_what_the_oracle_says() {
    let (server, all) = varied(300, Options::default());
    let times = received_times(&server);
    for (round, wanted) in drawn_filters(60).iter().enumerate() {
        let Some(query) = parameters(wanted) else { continue };
        let expected: Vec<usize> = (0..all.len()).filter(|at| matches(wanted, &all[*at])).collect();
        let count = server.get(&format!("/events/count?{query}"));
        assert_eq!(
            count.json(),
            serde_json::json!({"count": expected.len(), "as_of": 300}),
            "{query}"
        );
        let buckets = [1, 2, 7, 60, 10_000][round % 5];
        let histogram = server
            .get(&format!("/events/histogram?buckets={buckets}{query}"))
            .json();
        check(&histogram, &expected, &times, &query);
    }
}

/// Red when: `TallyLane::count` does not take over where the count goes on.
#[test]
fn a_count_takes_many_steps() {
    const EVENTS: u64 = 30;
    let server = Server::start();
    for seed in 0..EVENTS {
        server
            .log
            .append(events::huge_batch(seed))
            .unwrap()
            .wait()
            .unwrap();
    }
    let count = server.get("/events/count?source=huge").json();
    assert_eq!(count, serde_json::json!({"count": EVENTS, "as_of": EVENTS}));
    let histogram = server.get("/events/histogram?source=huge&buckets=5").json();
    let buckets = histogram["buckets"].as_array().unwrap();
    let sum: u64 = buckets
        .iter()
        .map(|bucket| bucket["count"].as_u64().unwrap())
        .sum();
    assert_eq!(sum, EVENTS);
}

/// Each bucket against the times of the events that match.
fn check(histogram: &Value, expected: &[usize], times: &[String], query: &str) {
    let buckets = histogram["buckets"].as_array().unwrap();
    let mut sum = 0;
    for (at, bucket) in buckets.iter().enumerate() {
        let (from, until) = (
            bucket["from"].as_str().unwrap(),
            bucket["until"].as_str().unwrap(),
        );
        assert!(from < until, "{query}");
        if let Some(later) = buckets.get(at + 1) {
            assert_eq!(later["from"], until, "{query}");
        }
        let inside = expected
            .iter()
            .filter(|at| (from..until).contains(&times[**at].as_str()))
            .count();
        assert_eq!(bucket["count"], inside, "{query}: {from}");
        sum += inside;
    }
    assert_eq!(sum, expected.len(), "{query}");
}

#[test]
fn a_histogram_over_given_times() {
    let server = Server::start();
    for _ in 0..9 {
        server.append("other", "s");
    }
    let of = |query: &str| server.get(&format!("/events/histogram?{query}")).json();
    let wide = of("since=2000-01-01&until=2100-01-01&buckets=4");
    let buckets = wide["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 4);
    assert_eq!(buckets[0]["from"], "2000-01-01T00:00:00.000000+00:00");
    assert_eq!(buckets[3]["until"], "2100-01-01T00:00:00.000000+00:00");
    assert_eq!(wide["interval_seconds"], 788_940_000.0);
    let counts: u64 = buckets
        .iter()
        .map(|bucket| bucket["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counts, 9);

    // An hour is an hour of the clock, and the last one has the last event.
    let hourly = of("interval=1h");
    let buckets = hourly["buckets"].as_array().unwrap();
    assert_eq!(hourly["interval_seconds"], 3600.0);
    assert!(
        buckets[0]["from"]
            .as_str()
            .unwrap()
            .ends_with(":00:00.000000+00:00")
    );
    let counts: u64 = buckets
        .iter()
        .map(|bucket| bucket["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counts, 9);

    // Given ends are kept: the last bucket is narrower.
    let odd = of("since=2026-01-01&until=2026-01-01T02:30:00Z&interval=1h");
    let buckets = odd["buckets"].as_array().unwrap();
    assert_eq!(buckets.len(), 3);
    assert_eq!(buckets[2]["until"], "2026-01-01T02:30:00.000000+00:00");
    assert_eq!(of("since=2099-01-01")["buckets"], serde_json::json!([]));
    assert_eq!(
        of("until=2000-01-01&interval=1d")["buckets"],
        serde_json::json!([])
    );
}

#[test]
fn an_empty_log_has_no_time_to_divide() {
    let server = Server::start();
    assert_eq!(server.get("/events/count").text(), r#"{"count":0,"as_of":0}"#);
    assert_eq!(
        server.get("/events/histogram").text(),
        r#"{"interval_seconds":0.0,"buckets":[]}"#
    );
    let given = server
        .get("/events/histogram?since=2026-01-01&until=2026-01-02&interval=12h")
        .json();
    assert_eq!(given["buckets"][1]["count"], 0);
}

#[test]
fn numbers_that_can_not_be_had() {
    let server = Server::start();
    server.append("other", "s");
    for (query, field) in [
        ("histogram?buckets=0", "buckets"),
        ("histogram?buckets=10001", "buckets"),
        ("histogram?buckets=x", "buckets"),
        ("histogram?buckets=4&interval=1h", "interval"),
        ("histogram?interval=1", "interval"),
        ("histogram?interval=0s", "interval"),
        (
            "histogram?interval=1s&since=2026-01-01&until=2026-02-01",
            "interval",
        ),
        ("histogram?limit=1", "limit"),
        ("count?limit=1", "limit"),
        ("count?order=newest", "order"),
        ("count?sinc=2026-01-01", "sinc"),
    ] {
        let reply = server.get(&format!("/events/{query}"));
        reply.refusal(400);
        assert_eq!(reply.fields(), [field], "{query}");
    }
    server.get("/events/count?kind=nope").refusal(422);
    server.get("/events/counts").refusal(422);
}

/// Red when: `counted` or `divided` does not ask to be let in.
#[test]
fn counting_takes_its_place() {
    let server = Server::with_options(Options {
        scans_max: 0,
        ..Options::default()
    });
    server.append("other", "s");
    server.get("/events/count?source=s").refusal(503);
    server.get("/events/histogram").refusal(503);
    assert_eq!(server.get("/events/count").json()["count"], 1);
}

/// Red when: `Tally` counts up to the head of the moment instead of the one it says.
#[test]
fn a_count_is_as_of_an_event() {
    let server = Server::start();
    for _ in 0..3 {
        server.append("other", "s");
    }
    let range = format!("since={}", encoded(&Micros(0).to_string()));
    let count = server
        .get(&format!("/events/count?kind=flag_swapped&kind=other&{range}"))
        .json();
    assert_eq!(count, serde_json::json!({"count": 3, "as_of": 3}));
}

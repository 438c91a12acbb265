//! `annals query`: which events, in which order, how many, in which form, and page by page.

use serde_json::json;
use tempfile::TempDir;

use crate::process::{Ran, Server, run};
use crate::scripted::{Answer, Scripted, answer};

const LINES: &str = "content-type: application/x-ndjson\r\n";

/// A server with events of which each has every member that can be searched for.
fn extended() -> Server {
    let server = Server::start();
    let event = |n: u32| {
        let outcome = if n.is_multiple_of(2) { "denied" } else { "success" };
        json!({
            "kind": "other", "source": format!("s{n}"), "tenant": format!("t{n}"),
            "actor": {"type": format!("at{n}"), "id": format!("a{n}")},
            "resource": {"type": format!("rt{n}"), "id": format!("r{n}")},
            "session": format!("ss{n}"), "grant": format!("g{n}"), "run": format!("ru{n}"), "outcome": outcome,
            "attempt_id": format!("00000000-0000-4000-8000-{n:012}"),
            "request": {"id": format!("rq{n}"), "ip": format!("192.0.2.{n}")},
            "trace_id": format!("{n:032x}"), "timestamp": format!("2026-05-1{n}T00:00:00Z"),
            "payload": {"note": format!("Refund {n},\n\"so\"")},
        })
    };
    let lines: String = (1..=4).map(|n| format!("{}\n", event(n))).collect();
    let path = server.write("events.ndjson", &lines);
    server.run(&["append", "--file", path.to_str().unwrap()]).exits(0);
    server
}

#[track_caller]
fn ids(ran: Ran) -> Vec<u64> {
    ran.exits(0)
        .json()
        .iter()
        .map(|event| event["event_id"].as_u64().unwrap())
        .collect()
}

/// Red when: two arms of `Filters::values` change places, or `parameters` forgets texts or times.
#[test]
fn every_filter_finds_its_events() {
    let server = extended();
    let query = |args: &[&str]| ids(server.run(&[&["query"], args].concat()));
    for (flag, value) in [
        ("--source", "s3"),
        ("--tenant", "t3"),
        ("--actor", "a3"),
        ("--actor-type", "at3"),
        ("--resource", "r3"),
        ("--resource-type", "rt3"),
        ("--session", "ss3"),
        ("--grant", "g3"),
        ("--run", "ru3"),
        ("--attempt-id", "00000000-0000-4000-8000-000000000003"),
        ("--request-id", "rq3"),
        ("--trace-id", "00000000000000000000000000000003"),
        ("--ip", "192.0.2.3"),
        ("--text", "REFUND 3"),
    ] {
        assert_eq!(query(&[flag, value]), [3], "{flag}");
    }
    assert_eq!(query(&["--kind", "other"]), [1, 2, 3, 4]);
    assert_eq!(query(&["--outcome", "denied"]), [2, 4]);
    assert_eq!(query(&["--actor", "a1", "--actor", "a4"]), [1, 4]);
    assert_eq!(query(&["--actor", "a1", "--outcome", "denied"]), [0; 0]);
    assert_eq!(query(&["--text", "refund", "--text", "FUND 4"]), [4]);
    assert_eq!(
        query(&[
            "--claimed-since",
            "2026-05-12",
            "--claimed-until",
            "2026-05-13T02:00:00+02:00"
        ]),
        [2]
    );
    assert_eq!(query(&["--until", "2026-05-01"]), [0; 0]);
    assert_eq!(
        query(&["--since", "2026-05-01", "--order", "newest", "--limit", "3"]),
        [4, 3, 2]
    );
    assert_eq!(query(&["--order", "oldest", "--limit", "2"]), [1, 2]);
    assert_eq!(query(&["--after", "1", "--limit", "100001"]), [2, 3, 4]);
}

/// Red when: `shape` ignores `--format`, or `count` and `histogram` ignore the filters.
#[test]
fn forms_and_numbers() {
    let server = extended();
    let query = |args: &[&str]| server.run(&[&["query"], args].concat()).exits(0);
    let csv = query(&["--format", "csv", "--outcome", "denied"]).stdout;
    assert!(csv.starts_with("event_id,received_at,"), "{csv}");
    assert_eq!(csv.matches("\r\n").count(), 3, "{csv}");
    let table = query(&["--format", "table", "--limit", "1"]).stdout;
    assert!(
        table.contains("ID  TIMESTAMP") && table.contains("       4  2026-05-14"),
        "{table}"
    );
    assert!(!table.contains('\u{1b}'), "{table}");
    assert_eq!(query(&["--format", "json"]).stdout, query(&[]).stdout);

    assert_eq!(query(&["--count", "--outcome", "denied"]).stdout, "2\n");
    assert_eq!(
        query(&["--count", "--outcome", "denied", "--json"]).json(),
        [json!({"count": 2, "as_of": 4})]
    );
    let buckets = query(&["--histogram", "1d", "--json", "--outcome", "denied"]).json();
    let counts = buckets[0]["buckets"].as_array().unwrap().iter();
    assert_eq!(
        counts
            .map(|bucket| bucket["count"].as_u64().unwrap())
            .sum::<u64>(),
        2
    );
    assert_eq!(buckets[0]["interval_seconds"], json!(86400.0));
    let bars = query(&["--histogram", "--outcome", "denied"]).stdout;
    assert!(bars.starts_with("FROM") && bars.contains('#'), "{bars}");
    server
        .run(&["query", "--histogram", "1y"])
        .exits(1)
        .says("30s or 1h");
}

fn page(events: &[u64], next: Option<&str>) -> Answer {
    let body: String = events
        .iter()
        .map(|id| format!("{{\"event_id\":{id}}}\n"))
        .collect();
    let link = next.map_or_else(String::new, |query| {
        // Wherever it leads: the next page is asked for here.
        format!("link: <http://192.0.2.1:1/elsewhere?{query}>; rel=\"next\"\r\n")
    });
    answer("200 OK", &format!("{LINES}{link}"), &body)
}

/// Red when: `print` stops at the first answer, forgets what is left, or `next_page` takes the link's host.
#[test]
fn pages_are_followed_up_to_the_limit() {
    let dir = TempDir::new().unwrap();
    let server = Scripted::start(vec![
        page(&[1, 2], Some("source=a%26b&limit=100000&order=oldest&cursor=A")),
        page(&[], Some("source=a%26b&limit=100000&order=oldest&cursor=B")),
        page(&[3], Some("source=a%26b&limit=100000&order=oldest&cursor=C")),
    ]);
    let url = server.url.clone();
    let args = [
        "query", "--source", "a&b", "--order", "oldest", "--limit", "3", "--url", &url,
    ];
    assert_eq!(ids(run(dir.path(), &args)), [1, 2, 3]);
    let lines: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.line)
        .collect();
    assert_eq!(
        lines,
        [
            "GET /events?source=a%26b&order=oldest&limit=3",
            "GET /events?source=a%26b&order=oldest&cursor=A&limit=1",
            "GET /events?source=a%26b&order=oldest&cursor=B&limit=1",
        ]
    );
    // More than the server gives at once is asked for in parts.
    let server = Scripted::start(vec![page(&[1], None)]);
    let args = [
        "query",
        "--order",
        "newest",
        "--limit",
        "250000",
        "--url",
        &server.url,
    ];
    assert_eq!(ids(run(dir.path(), &args)), [1]);
    assert_eq!(server.requests()[0].line, "GET /events?order=newest&limit=100000");
    let server = Scripted::start(vec![page(&[1], Some("cursor=A")), page(&[2], Some("cursor=A"))]);
    run(dir.path(), &["query", "--order", "newest", "--url", &server.url])
        .exits(1)
        .says("again and again");
    server.bodies();
}

/// An answer that ends early, because the server may only read so much, is a part: older matches come in front of it.
///
/// Red when: `hold_back` is never called, or `finish` does not turn the earlier ones round.
#[test]
fn the_last_matches_come_oldest_first_however_many_answers_they_take() {
    let dir = TempDir::new().unwrap();
    let server = Scripted::start(vec![
        page(&[7, 9], Some("text=x&order=newest&cursor=A")),
        page(&[5, 4], Some("text=x&order=newest&cursor=B")),
        page(&[2], None),
    ]);
    let args = ["query", "--text", "x", "--url", &server.url];
    assert_eq!(ids(run(dir.path(), &args)), [2, 4, 5, 7, 9]);
    server.bodies();
    let server = Scripted::start(vec![page(&[7, 9], Some("order=newest&cursor=A"))]);
    run(dir.path(), &["query", "--format", "csv", "--url", &server.url])
        .exits(4)
        .says("--order newest");
    server.bodies();
}

/// Red when: later pages keep their first record, or `Records` counts line breaks inside quotes.
#[test]
fn a_table_of_several_pages_has_its_columns_once() {
    let dir = TempDir::new().unwrap();
    let table = |rows: &str, next: &str| {
        let body = format!("event_id,payload\r\n{rows}");
        answer("200 OK", &format!("content-type: text/csv\r\n{next}"), &body)
    };
    let server = Scripted::start(vec![
        table("1,\"a\nb\"\r\n", "link: </events?cursor=A>; rel=\"next\"\r\n"),
        table("2,x\r\n", "link: </events?cursor=B>; rel=\"next\"\r\n"),
    ]);
    let args = [
        "query",
        "--format",
        "csv",
        "--order",
        "oldest",
        "--limit",
        "2",
        "--url",
        &server.url,
    ];
    let ran = run(dir.path(), &args).exits(0);
    assert_eq!(ran.stdout, "event_id,payload\r\n1,\"a\nb\"\r\n2,x\r\n");
    server.bodies();
}

/// Red when: the end of a connection is taken for the end of an answer.
#[test]
fn an_answer_that_breaks_off_is_incomplete() {
    let dir = TempDir::new().unwrap();
    let cut = String::from("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"event_id\":1}\n{\"ev");
    let server = Scripted::start(vec![Answer::Send(cut)]);
    let ran = run(dir.path(), &["query", "--url", &server.url])
        .exits(4)
        .says("broke off");
    assert_eq!(ran.stdout, "{\"event_id\":1}\n");
    server.bodies();
}

/// Red when: a key, or a producer's place, is not sent.
#[test]
fn an_event_with_a_key_or_a_place_is_stored_once() {
    let server = Server::start();
    let append = |args: &[&str]| {
        let event = [
            "append",
            "--kind",
            "other",
            "--source",
            "s",
            "--timestamp",
            "t",
            "--json",
        ];
        server.run(&[&event, args].concat())
    };
    let first = append(&["--idempotency-key", "k"]).exits(0).json();
    assert_eq!(append(&["--idempotency-key", "k"]).exits(0).json(), first);
    append(&["--idempotency-key", "k", "--payload", "{\"n\":1}"]).exits(1);
    let placed = ["--producer", "p", "--sequence", "7"];
    append(&placed).exits(0);
    let again = append(&placed)
        .exits(0)
        .says("stored nothing new")
        .says("up to 7");
    assert_eq!(again.json(), [json!({"duplicate_through": "7"})]);
    assert_eq!(server.run(&["query", "--count"]).exits(0).stdout, "2\n");
}

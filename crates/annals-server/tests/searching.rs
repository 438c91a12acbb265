//! Queries over all fields, paged: what they mean, how they go on, and what is refused.

use std::sync::atomic::Ordering;

use annals_core::time::Micros;
use annals_server::Options;
use annals_testkit::events;
use annals_testkit::filters::{Wanted, requests, wanted};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use serde_json::Value;

use crate::support::{Connection, Reply, Server, eventually, ids_of};

/// A log of events of all shapes, and the events as served.
pub(crate) fn varied(count: usize, options: Options) -> (Server, Vec<Value>) {
    let server = Server::with_options(options);
    let mut runner = TestRunner::deterministic();
    let drawn = requests(count).new_tree(&mut runner).unwrap().current();
    for part in drawn.chunks(50) {
        let lines: Vec<_> = part.iter().map(Value::to_string).collect();
        let reply = server.post_lines(lines.join("\n"));
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    let all = server.get("/events?limit=100000").json();
    (server, all.as_array().unwrap().clone())
}

/// The filter as parameters, each with `&` in front; `None` when the interface refuses it as empty.
pub(crate) fn parameters(wanted: &Wanted) -> Option<String> {
    if let (Some(from), Some(until)) = (wanted.claimed_from, wanted.claimed_until)
        && until <= from
    {
        return None;
    }
    let mut query = String::new();
    for (name, values) in &wanted.fields {
        for value in values {
            query.push_str(&format!("&{name}={}", encoded(value)));
        }
    }
    for text in &wanted.texts {
        query.push_str(&format!("&text={}", encoded(text)));
    }
    for (name, bound) in [
        ("claimed_since", wanted.claimed_from),
        ("claimed_until", wanted.claimed_until),
    ] {
        if let Some(bound) = bound {
            query.push_str(&format!("&{name}={}", encoded(&Micros(bound).to_string())));
        }
    }
    Some(query)
}

pub(crate) fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

pub(crate) fn matches(wanted: &Wanted, event: &Value) -> bool {
    wanted.matches(event.to_string().as_bytes())
}

/// Filters, drawn as the test kit draws them.
pub(crate) fn drawn_filters(count: usize) -> Vec<Wanted> {
    let mut runner = TestRunner::deterministic();
    (0..count)
        .map(|_| wanted().new_tree(&mut runner).unwrap().current())
        .collect()
}

/// Where `rel="next"` leads.
pub(crate) fn next_of(reply: &Reply) -> Option<String> {
    let link = reply.header("link")?;
    let path = link
        .strip_prefix('<')
        .and_then(|link| link.strip_suffix(">; rel=\"next\""));
    Some(path.unwrap_or_else(|| panic!("{link}")).to_owned())
}

/// The ids of a page, and where it goes on.
fn page(server: &Server, path: &str) -> (Vec<u64>, Option<String>) {
    let reply = server.get(path);
    assert_eq!(reply.status, 200, "{path}: {}", reply.text());
    (ids_of(&reply.json()), next_of(&reply))
}

/// All pages from `path` on.
fn pages(server: &Server, path: &str) -> Vec<Vec<u64>> {
    let mut all = Vec::new();
    let mut next = Some(path.to_owned());
    while let Some(path) = next {
        assert!(all.len() < 10_000, "{path} goes round");
        let (ids, more) = page(server, &path);
        all.push(ids);
        next = more;
    }
    all
}

/// Red when: `Given::of` or `Selection::of` forgets a field; `reversed` is left out; `peek` is; or `position` takes `at` before
/// what is in hand.
#[test]
fn every_filter_and_page_is_what_the_oracle_says() {
    let (server, all) = varied(400, Options::default());
    let mut matched = 0;
    for (round, wanted) in drawn_filters(120).iter().enumerate() {
        let Some(query) = parameters(wanted) else { continue };
        let mut expected: Vec<u64> = all
            .iter()
            .filter(|event| matches(wanted, event))
            .map(|event| event["event_id"].as_u64().unwrap())
            .collect();
        matched += expected.len();
        let limit = [1, 3, 7, 50][round % 4];
        let last = expected[expected.len().saturating_sub(limit)..].to_vec();
        let whole = page(&server, &format!("/events?limit={limit}{query}"));
        assert_eq!(whole, (last, None), "{query}");
        let behind: Vec<u64> = expected
            .iter()
            .copied()
            .filter(|id| *id > 100)
            .take(limit)
            .collect();
        let whole = page(&server, &format!("/events?after=100&limit={limit}{query}"));
        assert_eq!(whole, (behind, None), "{query}");

        let oldest = pages(&server, &format!("/events?order=oldest&limit={limit}{query}"));
        assert_paged(&oldest, &expected, limit, &query);
        expected.reverse();
        let newest = pages(&server, &format!("/events?order=newest&limit={limit}{query}"));
        assert_paged(&newest, &expected, limit, &query);
    }
    assert!(
        matched > 1000,
        "the filters match {matched} events in all: too few to prove anything"
    );
}

fn assert_paged(pages: &[Vec<u64>], expected: &[u64], limit: usize, query: &str) {
    assert_eq!(pages.concat(), expected, "{query}");
    let full = pages.iter().filter(|page| page.len() == limit).count();
    assert!(
        full + 1 >= pages.len(),
        "{query}: a page that is not the last is short"
    );
    // A page leads on only when there is more: no empty page at the end.
    assert_eq!(pages.len(), expected.len().div_ceil(limit).max(1), "{query}");
}

/// Red when: `Run::position` gives the head newest first, or `resumed` does nothing newest first.
#[test]
fn pages_stay_what_they_are_while_events_come_in() {
    let server = Server::start();
    for number in 0..30 {
        server.append("other", if number % 3 == 0 { "a" } else { "b" });
    }
    for query in ["", "&source=a", "&text=OTHER&source=a"] {
        let size = server.head_size();
        let all: Vec<u64> = server.ids(&format!("?limit=1000{query}"));
        let mut down = Vec::new();
        let mut next = Some(format!("/events?order=newest&limit=4{query}"));
        while let Some(path) = next {
            let (ids, more) = page(&server, &path);
            down.extend(ids);
            next = more;
            server.append("other", "a");
        }
        let mut expected = all.clone();
        expected.reverse();
        assert_eq!(down, expected, "{query}: what came later does not move the pages");

        let mut up = Vec::new();
        let mut next = Some(format!("/events?order=oldest&limit=5{query}"));
        let mut appended = 0;
        while let Some(path) = next {
            let (ids, more) = page(&server, &path);
            up.extend(ids);
            next = more;
            if appended < 7 {
                server.append("other", "a");
                appended += 1;
            }
        }
        assert!(server.head_size() > size);
        let expected = server.ids(&format!("?limit=1000{query}"));
        assert!(
            expected.starts_with(&up),
            "{query}: nothing twice, nothing left out"
        );
        assert!(
            up.len() > all.len(),
            "{query}: oldest first reaches what came later"
        );
    }
}

#[test]
fn parameters_that_make_no_sense() {
    let server = Server::start();
    server.append("other", "s");
    for (query, status, field) in [
        ("order=up", 400, "order"),
        ("order=newest&order=newest", 400, "order"),
        ("format=xml", 400, "format"),
        ("format=csv&format=csv", 400, "format"),
        ("since=yesterday", 400, "since"),
        ("since=2026-05-15&since=2026-05-16", 400, "since"),
        ("since=2026-05-16&until=2026-05-15", 400, "until"),
        ("claimed_since=1", 400, "claimed_since"),
        (
            "claimed_since=2026-05-16&claimed_until=2026-05-16",
            400,
            "claimed_until",
        ),
        ("text=", 400, "text"),
        ("text=a%09b", 400, "text"),
        ("outcome=failed", 422, "outcome"),
        ("kind=other&kind=nope", 422, "kind"),
        ("cursor=", 400, "cursor"),
        ("cursor=abc", 400, "cursor"),
        ("cursor=%C3%A9", 400, "cursor"),
        ("limit=0&order=newest", 400, "limit"),
        ("after=x&order=newest", 400, "after"),
        ("log=elsewhere", 400, "log"),
        ("log=default&log=default", 400, "log"),
        ("actor_typ=user", 400, "actor_typ"),
        ("requestid=7", 400, "requestid"),
        ("buckets=7", 400, "buckets"),
    ] {
        let reply = server.get(&format!("/events?{query}"));
        reply.refusal(status);
        assert_eq!(reply.fields(), [field], "{query}");
    }
    let long = format!("/events?tenant={}", "x".repeat(1025));
    assert!(server.get(&long).refusal(400).contains("1024"));
    let many = "&run=1".repeat(40);
    assert_eq!(server.ids(&format!("?run=0{many}")), [] as [u64; 0]);
    let distinct: String = (0..101).map(|run| format!("&run={run}")).collect();
    assert!(
        server
            .get(&format!("/events?{distinct}"))
            .refusal(400)
            .contains("100 values")
    );
    // Red when: `known` leaves the fields out.
    for (mistyped, meant) in [
        ("actor_typ", "actor_type"),
        ("requestid", "request_id"),
        ("untill", "until"),
        ("claimed-since", "claimed_since"),
        ("texts", "text"),
    ] {
        let detail = server.get(&format!("/events?{mistyped}=x")).refusal(400);
        assert!(detail.contains(&format!("did you mean `{meant}`?")), "{detail}");
    }
}

#[test]
fn values_of_a_field_are_alternatives_and_fields_are_not() {
    let server = Server::start();
    server.append("other", "a");
    server.append("flag_swapped", "b");
    server.append("other", "c");
    assert_eq!(server.ids("?source=a&source=b"), [1, 2]);
    assert_eq!(server.ids("?source=a&source=b&kind=other"), [1]);
    assert_eq!(server.ids("?kind=other&kind=flag_swapped&source=c"), [3]);
    assert_eq!(server.ids("?text=swap&text=FLAG"), [2]);
    assert_eq!(server.ids("?text=swap&text=other"), [] as [u64; 0]);
    assert_eq!(server.ids("?log=default"), [1, 2, 3]);
}

/// Red when: `since` or `until` is off by one, or left out of `Lane::of`.
#[test]
fn receive_times_are_a_range() {
    let server = Server::start();
    for _ in 0..20 {
        server.append("other", "s");
    }
    let times = received_times(&server);
    for (since, until) in [(0, 19), (3, 4), (3, 17), (10, 11)] {
        let (from, to) = (&times[since], &times[until]);
        let expected: Vec<u64> = (1..=20)
            .filter(|id| {
                let time = &times[usize::try_from(*id).unwrap() - 1];
                from <= time && time < to
            })
            .collect();
        if from == to {
            continue;
        }
        let range = format!("since={}&until={}", encoded(from), encoded(to));
        assert_eq!(server.ids(&format!("?{range}")), expected);
        assert_eq!(server.ids(&format!("?{range}&kind=other")), expected);
        assert_eq!(
            pages(&server, &format!("/events?{range}&order=oldest&limit=3")).concat(),
            expected
        );
        let count = server.get(&format!("/events/count?{range}")).json();
        assert_eq!(count["count"], expected.len());
    }
    assert_eq!(server.ids("?since=2100-01-01"), [] as [u64; 0]);
    assert_eq!(server.ids("?until=2000-01-01&kind=other"), [] as [u64; 0]);
    assert_eq!(server.ids("?since=2000-01-01&until=2100-01-01&limit=2"), [19, 20]);
}

/// When the log took each event: the second column of the table.
pub(crate) fn received_times(server: &Server) -> Vec<String> {
    let table = server.get("/events?format=csv&limit=100000").text();
    let rows = table.lines().skip(1);
    rows.map(|row| row.split(',').nth(1).unwrap().to_owned())
        .collect()
}

/// Red when: `Cursor::decode` takes an order other than its own, or `Beyond` is never said.
#[test]
fn a_cursor_is_for_its_query_only() {
    let server = Server::start();
    for _ in 0..10 {
        server.append("other", "s");
    }
    let (_, next) = page(&server, "/events?order=newest&limit=2&source=s");
    let next = next.unwrap();
    let cursor = next.split("cursor=").nth(1).unwrap();
    // The order is the cursor's, and the page's size may change.
    assert_eq!(
        page(&server, &format!("/events?source=s&cursor={cursor}&limit=3")).0,
        [8, 7, 6]
    );
    assert_eq!(
        page(
            &server,
            &format!("/events?cursor={cursor}&source=s&order=newest&limit=1")
        )
        .0,
        [8]
    );
    let lines = server.get(&format!("/events?source=s&cursor={cursor}&format=ndjson"));
    assert_eq!(lines.text().lines().count(), 8);
    for other in [
        format!("cursor={cursor}"),
        format!("source=s&order=oldest&cursor={cursor}"),
        format!("source=t&cursor={cursor}"),
        format!("source=s&source=t&cursor={cursor}"),
        format!("source=s&kind=other&cursor={cursor}"),
        format!("source=s&text=s&cursor={cursor}"),
        format!("source=s&since=2000-01-01&cursor={cursor}"),
        format!("source=s&after=0&cursor={cursor}"),
        format!("source=s&cursor={cursor}A"),
        format!("source=s&cursor={}", &cursor[1..]),
        format!("source=s&cursor={}", cursor.to_lowercase()),
    ] {
        let reply = server.get(&format!("/events?{other}"));
        reply.refusal(400);
        assert_eq!(reply.fields(), ["cursor"], "{other}");
    }
    // The same cursor at a log that is shorter: another one, or one that lost its end.
    let shorter = Server::start();
    shorter.append("other", "s");
    let reply = shorter.get(&next);
    assert!(reply.refusal(400).contains("event 1"));
    assert_eq!(reply.fields(), ["cursor"]);
}

/// Red when: `is_used_up` never ends a walk; or a walk over its budget does not say where it goes on.
#[test]
fn a_search_by_reading_has_a_budget() {
    let (server, all) = varied(
        300,
        Options {
            scan_bytes_max: 10_000,
            ..Options::default()
        },
    );
    let wanted = Wanted {
        texts: vec![String::from("o")],
        ..Wanted::default()
    };
    let mut expected: Vec<u64> = all
        .iter()
        .filter(|event| matches(&wanted, event))
        .map(|event| event["event_id"].as_u64().unwrap())
        .collect();
    for (path, turned) in [
        ("/events?text=o", true),
        ("/events?text=o&order=newest", false),
        ("/events?text=o&after=0", false),
        ("/events?text=o&order=oldest", false),
    ] {
        let (mut found, mut incomplete) = (Vec::new(), 0);
        let mut next = Some(path.to_owned());
        while let Some(path) = next {
            let reply = server.get(&path);
            let mut ids = ids_of(&reply.json());
            next = next_of(&reply);
            // The first answer has the seed's order, what it leads to is paged.
            if turned && found.is_empty() {
                ids.reverse();
            }
            found.extend(ids);
            let is_incomplete = reply.header("annals-scan-incomplete") == Some("true");
            assert_eq!(is_incomplete, next.is_some(), "{path}");
            incomplete += usize::from(is_incomplete);
        }
        assert!(incomplete > 3, "{path}: {incomplete}");
        expected.sort_unstable();
        if path.contains("newest") || turned {
            expected.reverse();
        }
        assert_eq!(found, expected, "{path}");
    }
    // What an index knows has no budget, and a number that leaves something out is not given.
    let reply = server.get("/events?kind=other");
    assert!(reply.header("annals-scan-incomplete").is_none() && next_of(&reply).is_none());
    for path in ["/events/count?text=o", "/events/histogram?text=o"] {
        let reply = server.get(path);
        assert!(reply.refusal(400).contains("10000 bytes"), "{path}");
        assert_eq!(reply.fields(), ["text"], "{path}");
    }
    let reply = server.get("/events/count?claimed_until=2020-01-01");
    reply.refusal(400);
    assert_eq!(reply.fields(), ["claimed_until"]);
    assert_eq!(server.get("/events/count?kind=other").status, 200);
}

/// Red when: `Walk::step_one` has no bound.
#[test]
fn a_caller_that_goes_away_ends_the_search() {
    const EVENTS: u64 = 48;
    let server = Server::with_options(Options {
        scans_max: 1,
        ..Options::default()
    });
    for seed in 0..EVENTS {
        server
            .log
            .append(events::huge_batch(seed))
            .unwrap()
            .wait()
            .unwrap();
    }
    // Whoever reads waits here.
    let held = server.spoil.lock().unwrap();
    let begun = server.reads_begun.load(Ordering::SeqCst);
    let mut connection = Connection::open(server.addr);
    connection.send("GET", "/events?text=no+such+text+anywhere", &[], b"");
    eventually("the search", || {
        (server.reads_begun.load(Ordering::SeqCst) > begun).then_some(())
    });
    drop(connection);
    // Asks for a place, and reads nothing.
    eventually("the search's end", || {
        (server.get("/events?source=x&after=48").status == 200).then_some(())
    });
    drop(held);
    // One more search, after which the abandoned step is over as well.
    assert_eq!(server.ids("?source=nobody"), [] as [u64; 0]);
    let read = server.spoil.lock().unwrap().events_read;
    assert!(
        read < EVENTS + EVENTS / 2,
        "{read} events were read, {EVENTS} of them for the search that counts"
    );
}

#[test]
fn pages_come_in_every_format() {
    let server = Server::start();
    for _ in 0..5 {
        server.append("other", "s");
    }
    for (query, accept, media_type) in [
        ("", "application/x-ndjson", "application/x-ndjson"),
        ("", "text/csv", "text/csv; charset=utf-8; header=present"),
        ("&format=json", "text/csv", "application/json"),
        ("&format=ndjson", "*/*", "application/x-ndjson"),
        (
            "&format=csv",
            "application/json",
            "text/csv; charset=utf-8; header=present",
        ),
    ] {
        let reply = server.get_with(
            &format!("/events?order=newest&limit=2{query}"),
            &[("accept", accept)],
        );
        assert_eq!(reply.header("content-type"), Some(media_type), "{query} {accept}");
        assert_eq!(reply.header("vary"), Some("accept"));
        let next = next_of(&reply).unwrap();
        assert_eq!(next.contains("format="), !query.is_empty(), "{next}");
        assert!(
            next.contains("limit=2&") && next.contains("order=newest&"),
            "{next}"
        );
    }
    let first = server.get("/events?order=newest&limit=1&format=ndjson");
    assert_eq!(first.text().trim_end().as_bytes(), server.get("/events/5").body);
}

/// Events far apart and close together, small and large, newest first: read in groups, written one by one.
///
/// Red when: a group that does not reach the wanted event is not made smaller, or `Fetch::event` is off by one.
#[test]
fn newest_first_is_the_same_bytes_from_the_other_end() {
    let server = Server::start();
    for round in 0..60 {
        let pad = "x".repeat(if round % 7 == 0 { 90_000 } else { 300 });
        let line =
            |source: &str| format!(r#"{{"kind":"other","source":"{source}","payload":{{"pad":"{pad}"}}}}"#);
        let lines = [
            line("a"),
            line("b"),
            line("a"),
            line(if round % 10 == 0 { "rare" } else { "b" }),
        ];
        assert_eq!(server.post_lines(lines.join("\n")).status, 201);
    }
    for query in ["", "&source=a", "&source=rare", "&source=a&source=rare"] {
        let lines = |order: &str| {
            let reply = server.get(&format!("/events?format=ndjson{query}{order}"));
            assert!(reply.complete);
            let text = reply.text();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        let mut expected = lines("");
        expected.reverse();
        assert!(lines("&order=newest") == expected, "{query}");
    }
}

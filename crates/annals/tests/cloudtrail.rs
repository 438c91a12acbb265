//! Real audit records, all the way: appended, queried, read one by one, tailed, verified in every way, exported.

use std::fs;

use serde_json::Value;

use crate::process::{CLOUDTRAIL, CLOUDTRAIL_EVENTS, Server};

/// Red when: `--wrap` cuts or changes a payload, or `verify` shows another hash as the head.
#[test]
fn cloudtrail_records_go_through_every_command() {
    let records = fs::read_to_string(CLOUDTRAIL).unwrap();
    let records: Vec<Value> = records
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(records.len(), CLOUDTRAIL_EVENTS);
    let server = Server::start();

    let appended = server.load_cloudtrail().exits(0);
    assert!(
        appended
            .stdout
            .starts_with("stored 103 events (events 1–103), last hash "),
        "{appended:?}"
    );
    assert_eq!(appended.stderr, "", "no progress where there is no terminal");

    let queried = server.run(&["query"]).exits(0);
    let events = queried.json();
    assert_eq!(events.len(), CLOUDTRAIL_EVENTS);
    for (event, record) in events.iter().zip(&records) {
        assert_eq!(&event["payload"], record);
        assert_eq!(
            (&event["source"], &event["timestamp"]),
            (&record["eventSource"], &record["@timestamp"])
        );
    }
    let source = records[0]["eventSource"].as_str().unwrap();
    let same = records
        .iter()
        .filter(|record| record["eventSource"] == source)
        .count();
    assert!(same > 0 && same < CLOUDTRAIL_EVENTS);
    let filtered = server
        .run(&["query", "--source", source, "--kind", "other", "--json"])
        .exits(0);
    assert_eq!(filtered.json().len(), same);
    assert_eq!(server.run(&["query", "--after", "100"]).json(), events[100..]);
    assert_eq!(server.run(&["query", "--limit", "2"]).json(), events[101..]);
    assert_eq!(server.run(&["get", "50"]).exits(0).json(), events[49..50]);
    assert_eq!(
        server
            .run(&["tail", "--from", "51", "--count", "53"])
            .exits(0)
            .json(),
        events[50..]
    );

    let head = format!(
        "intact: 103 events, head 103 {}",
        events[102]["hash"].as_str().unwrap()
    );
    server.write("export.ndjson", &queried.stdout);
    for source in [
        &["--data-dir", "annals-data"][..],
        &[&server.url],
        &["--file", "export.ndjson"],
        &[],
    ] {
        let verified = server
            .run(&[&["verify"], source].concat())
            .exits(0)
            .says("keep this elsewhere");
        assert!(verified.stdout.starts_with(&head), "{verified:?}");
        assert!(verified.stdout.contains("not proven fresh"), "{verified:?}");
    }
}

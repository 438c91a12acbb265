//! `annals append`: what it says about each line, whatever the server does.

use std::fmt::Write;
use std::process::Stdio;
use std::sync::mpsc;

use tempfile::TempDir;

use crate::process::{Follower, Server, command, finish, holding, run, run_with};
use crate::scripted::{Answer, Scripted, answer};

const BUSY: &str = r#"{"status":503,"detail":"the log is busy","outcome":"not_stored"}"#;
const UNKNOWN: &str = r#"{"status":503,"detail":"the outcome is unknown","outcome":"unknown"}"#;

fn lines(count: usize) -> String {
    (0..count).fold(String::new(), |mut text, n| {
        writeln!(
            text,
            "{{\"kind\":\"other\",\"source\":\"s\",\"payload\":{{\"n\":{n}}}}}"
        )
        .unwrap();
        text
    })
}

/// Red when: a busy answer ends the command, or the text is changed before it is sent again.
#[test]
fn a_busy_server_is_tried_again() {
    let dir = TempDir::new().unwrap();
    let busy = || answer("503 Service Unavailable", "retry-after: 0\r\n", BUSY);
    let server = Scripted::start(vec![busy(), busy(), Answer::Receipts(7)]);
    let ran = run_with(dir.path(), &["append", "--url", &server.url], lines(3).as_bytes()).exits(0);
    assert!(
        ran.stdout
            .starts_with("stored 3 events (events 7–9), last hash h9"),
        "{ran:?}"
    );
    assert_eq!(server.bodies(), vec![lines(3); 3]);
}

/// Red when: `send` does not look at its deadline.
#[test]
fn patience_has_an_end() {
    let dir = TempDir::new().unwrap();
    // The second answer is never asked for.
    let server = Scripted::start(vec![
        answer("503 Service Unavailable", "retry-after: 3\r\n", BUSY),
        answer("422 Unprocessable Content", "", ""),
    ]);
    let args = ["append", "--retry-for", "1", "--url", &server.url];
    run_with(dir.path(), &args, lines(2).as_bytes())
        .exits(1)
        .says(&format!(
            "stored: nothing; not stored: lines 1–2 and everything behind: {}: the log is busy",
            server.url
        ));
}

/// Red when: `refused` takes an outcome that it does not know for "not stored".
#[test]
fn an_unknown_outcome_is_never_tried_again() {
    let dir = TempDir::new().unwrap();
    for (answer, why) in [
        (
            answer("503 Service Unavailable", "retry-after: 0\r\n", UNKNOWN),
            "the outcome is unknown",
        ),
        (answer("500 Internal Server Error", "", ""), "500"),
        (Answer::Cut, "the connection was lost"),
    ] {
        let server = Scripted::start(vec![answer]);
        run_with(dir.path(), &["append", "--url", &server.url], lines(2).as_bytes())
            .exits(1)
            .says("stored: nothing; unknown, may be stored: lines 1–2; not stored: everything behind line 2")
            .says("annals query --after")
            .says(why);
        assert_eq!(server.bodies().len(), 1);
    }
}

/// Red when: `in_lines_of` is not called, or another batch is sent after a refused one.
#[test]
fn a_bad_line_is_named_as_the_file_counts_it() {
    let server = Server::start();
    let text = format!("{}\n\n{{\"kind\":\"other\"}}\n{}", lines(6000), lines(3000));
    server.write("events.ndjson", &text);
    let ran = server
        .run(&["append", "--file", "events.ndjson"])
        .exits(1)
        .says("line 6003: `source` is required");
    // Batches take what waits, so where they end is not fixed; what was said about them is true all the same.
    let stored = server.run(&["query", "--limit", "100000"]).json().len();
    assert!(stored <= 6000, "{stored}");
    let said = match stored {
        0 => String::from("stored: nothing; not stored: lines 1–"),
        _ => format!("stored: lines 1–{stored} (events 1–{stored}); not stored: line"),
    };
    assert!(ran.stderr.contains(&said), "{stored}: {ran:?}");
}

#[test]
fn a_line_that_can_not_be_wrapped_stops_it_after_what_came_before() {
    let server = Server::start();
    server.write(
        "records.ndjson",
        "{\"s\":\"a\"}\n{\"s\":\"b\"}\n[]\n{\"s\":\"c\"}\n",
    );
    server
        .run(&["append", "--wrap", "--kind", "other", "--source-from", "/s", "--file", "records.ndjson"])
        .exits(1)
        .says("line 3 is an array, not an object; stored: lines 1–2 (events 1–2); not stored: line 3 and everything behind");
    assert_eq!(server.run(&["query"]).json().len(), 2);
}

/// Red when: `Reader::read` hands on only full chunks.
#[test]
fn a_slow_producer_does_not_wait_for_more() {
    use std::io::Write as _;

    let server = Server::start();
    let mut command = server.command(&["append", "--json"]);
    command.stdin(Stdio::piped());
    let mut append = Follower::start(command, &server.dir.path().join("append.log"));
    let mut producer = append.stdin();
    for id in 1..=3 {
        producer.write_all(lines(1).as_bytes()).unwrap();
        let receipt = append.line().unwrap();
        assert!(receipt.starts_with(&format!("{{\"event_id\":{id},")), "{receipt}");
    }
    drop(producer);
    assert_eq!(append.wait(), Some(0));
}

/// Red when: `run` takes the next batch without looking whether Ctrl-C was pressed.
#[test]
fn ctrl_c_lets_the_request_finish_and_says_what_is_stored() {
    use std::io::Write as _;

    let dir = TempDir::new().unwrap();
    let ((arrived, wait), (let_go, release)) = (mpsc::channel(), mpsc::channel());
    let server = Scripted::start(vec![Answer::Held { arrived, release }]);
    let stderr = dir.path().join("stderr");
    let mut command = command(dir.path(), ["append", "--json", "--url", &server.url]);
    command.stdin(Stdio::piped());
    let mut append = Follower::start(command, &stderr);
    let mut producer = append.stdin();
    producer.write_all(lines(2).as_bytes()).unwrap();
    wait.recv().unwrap();
    append.signal("INT");
    while !std::fs::read_to_string(&stderr)
        .unwrap()
        .contains("finishing the request")
    {
        std::thread::yield_now();
    }
    producer.write_all(lines(1).as_bytes()).unwrap();
    let_go.send(()).unwrap();
    assert!(append.line().unwrap().contains("\"event_id\":1"));
    assert!(append.line().unwrap().contains("\"event_id\":2"));
    assert_eq!(append.line(), None);
    assert_eq!(append.wait(), Some(1));
    let said = std::fs::read_to_string(&stderr).unwrap();
    assert!(
        said.contains("interrupted; stored: lines 1–2 (events 1–2); nothing behind that was sent"),
        "{said}"
    );
    assert_eq!(server.bodies(), [lines(2)]);
}

#[test]
fn receipts_and_summaries() {
    let server = Server::start();
    let one = server
        .run(&[
            "append",
            "--kind",
            "other",
            "--source",
            "s",
            "--payload",
            "{\n \"a\": 1.0\n}",
        ])
        .exits(0);
    assert!(
        one.stdout.starts_with("stored 1 event (event 1), last hash "),
        "{one:?}"
    );
    assert_eq!(
        server.run(&["get", "1"]).json()[0]["payload"],
        serde_json::json!({ "a": 1.0 })
    );

    let mut three = server.command(&["append", "--json", "--file", "-"]);
    three.stdin(holding(lines(3).as_bytes()));
    let three = finish(three).exits(0).says("stored 3 events (events 2–4)");
    let ids: Vec<u64> = three
        .json()
        .iter()
        .map(|receipt| receipt["event_id"].as_u64().unwrap())
        .collect();
    assert_eq!(ids, [2, 3, 4]);
    for member in ["event_id", "hash", "timestamp"] {
        assert!(three.json()[2].get(member).is_some());
    }

    assert_eq!(
        server.run(&["append"]).exits(0).stdout,
        "stored nothing: the input has no events\n"
    );
    run(server.dir.path(), &["append", "--file", "missing"])
        .exits(1)
        .says("missing can not be read");
    server
        .run(&["append", "--kind", "nope", "--source", "s"])
        .exits(1)
        .says("`kind` is \"nope\"")
        .says("not stored: the event");
    server.write("payload.json", "{\"from\":\"a file\"}");
    server
        .run(&[
            "append",
            "--kind",
            "other",
            "--source",
            "s",
            "--payload",
            "@payload.json",
        ])
        .exits(0);
    assert_eq!(
        server.run(&["get", "5"]).json()[0]["payload"],
        serde_json::json!({ "from": "a file" })
    );
}

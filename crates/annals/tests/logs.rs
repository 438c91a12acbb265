//! Several logs: made, listed, written, read, followed and verified by name.

use std::fs;

use serde_json::json;
use tempfile::TempDir;

use crate::process::{Follower, Server, command, run};
use crate::scripted::{Scripted, answer};
use crate::verify::{first_journal_file, mend_checksums};

fn append(server: &Server, log: &str, source: &str) {
    server
        .run(&["append", "--kind", "other", "--source", source, "--log", log])
        .exits(0);
}

/// A server with the log `default`, which has one event, and `orders`, which has two.
fn two_logs() -> Server {
    let server = Server::start();
    server.run(&["logs", "create", "orders"]).exits(0);
    append(&server, "orders", "one");
    append(&server, "orders", "two");
    server.append("three");
    server
}

/// Red when: a path of `logs` changes, or `print_one` prints the table's row.
#[test]
fn logs_are_made_and_listed() {
    let server = Server::start();
    let made = server
        .run(&["logs", "create", "orders", "--json"])
        .exits(0)
        .json();
    assert_eq!(
        (&made[0]["name"], &made[0]["events"]),
        (&json!("orders"), &json!(0))
    );
    assert_eq!(
        server.run(&["logs", "show", "orders", "--json"]).exits(0).json(),
        made
    );
    server.run(&["logs", "create", "orders"]).exits(1).says("orders");
    server
        .run(&["logs", "show", "sales"])
        .exits(1)
        .says("there is no log \"sales\"");
    let listed = server.run(&["logs", "list"]).exits(0).json();
    let names: Vec<_> = listed.iter().map(|log| log["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["default", "orders"]);
    let shown = server.run(&["logs", "show", "orders"]).exits(0).stdout;
    assert!(
        shown.contains("name       orders\n") && shown.contains("last hash  none\n"),
        "{shown}"
    );
}

/// What became of a request whose answer is lost is told by asking for the log.
///
/// Red when: `create` calls a lost answer unreachable like any other.
#[test]
fn a_lost_answer_to_a_new_log_says_where_to_look() {
    let dir = TempDir::new().unwrap();
    let server = Scripted::start(vec![crate::scripted::Answer::Cut]);
    run(dir.path(), &["logs", "create", "orders", "--url", &server.url])
        .exits(6)
        .says("annals logs show orders");
    assert_eq!(server.bodies(), ["{\"name\":\"orders\"}"]);
}

/// Red when: a command forgets `of_log`, or `are_labelled` is always false.
#[test]
fn every_command_finds_its_log() {
    let server = two_logs();
    let sources = |args: &[&str]| -> Vec<String> {
        let events = server.run(args).exits(0).json();
        let source = |event: &serde_json::Value| {
            let event = event.get("event").unwrap_or(event);
            event["source"].as_str().unwrap().to_owned()
        };
        events.iter().map(source).collect()
    };
    assert_eq!(sources(&["query"]), ["three"]);
    assert_eq!(sources(&["query", "--log", "orders"]), ["one", "two"]);
    let both = ["query", "--log", "orders", "--log", "default"];
    assert_eq!(sources(&both), ["one", "two", "three"]);
    let newest = [&both[..], &["--order", "newest", "--limit", "2"]].concat();
    assert_eq!(sources(&newest), ["three", "two"]);
    let table = server
        .run(&[&both[..], &["--format", "table"]].concat())
        .exits(0)
        .stdout;
    assert!(
        table.starts_with("LOG ") && table.contains("\norders  "),
        "{table}"
    );
    let counted = server.run(&[&both[..], &["--count"]].concat()).exits(0).stdout;
    assert!(counted.ends_with("           3  in all\n"), "{counted}");
    assert_eq!(sources(&["get", "2", "--log", "orders"]), ["two"]);
    server.run(&["get", "2"]).exits(1).says("has no event 2");
    server.run(&["get", "3", "--log", "orders"]).exits(1);
    server
        .run(&["get", "1", "--log", "sales"])
        .exits(1)
        .says("there is no log");
    server
        .run(&["query", "--log", "sales"])
        .exits(1)
        .says("no such log");
    server
        .run(&["append", "--kind", "other", "--source", "s", "--log", "sales"])
        .exits(1)
        .says("there is no log");
}

/// Red when: `received_at` takes another column, or asks for the event behind.
#[test]
fn stats_say_how_much_and_when() {
    let server = two_logs();
    let stats = server
        .run(&["stats", "--log", "orders", "--json"])
        .exits(0)
        .json();
    let last = server.run(&["get", "2", "--log", "orders"]).exits(0).json();
    assert_eq!(
        (&stats[0]["log"], &stats[0]["count"], &stats[0]["last_event_id"]),
        (&json!("orders"), &json!(2), &json!(2))
    );
    assert_eq!(stats[0]["latest_hash"], last[0]["hash"]);
    let first = stats[0]["first_received_at"].as_str().unwrap();
    assert!(
        first < stats[0]["last_received_at"].as_str().unwrap(),
        "{stats:?}"
    );
    // Whose event has no time of its own is stamped with that of its receipt.
    assert_eq!(stats[0]["last_received_at"], last[0]["timestamp"]);
    let shown = server.run(&["stats"]).exits(0).stdout;
    assert!(
        shown.starts_with("log              default\nevents           1\n"),
        "{shown}"
    );
    server.run(&["logs", "create", "empty"]).exits(0);
    let empty = server.run(&["stats", "--log", "empty"]).exits(0).stdout;
    assert!(empty.contains("last received    none"), "{empty}");
}

/// Red when: `Place::new` makes another digest than the server, or `is_behind` looks at the first log only.
#[test]
fn two_logs_are_followed_at_once_across_a_killed_server() {
    let server = two_logs();
    let listen = server.address();
    let both = ["tail", "--log", "orders", "--log", "default"];
    let log = server.dir.path().join("tail.log");
    let mut all = Follower::start(server.command(&[&both[..], &["--from", "1"]].concat()), &log);
    let mut found: Vec<String> = (0..3).map(|_| labelled(&all.line().unwrap())).collect();
    found.sort();
    assert_eq!(found, ["default three", "orders one", "orders two"]);
    let (_, dir) = server.stop("KILL");
    let server = Server::start_in(dir, &listen);
    append(&server, "orders", "four");
    assert_eq!(labelled(&all.line().unwrap()), "orders four");
    server.append("five");
    assert_eq!(labelled(&all.line().unwrap()), "default five");
    let said = fs::read_to_string(&log).unwrap();
    assert!(
        said.contains("resuming behind event 1 of default, event 2 of orders"),
        "{said}"
    );
    all.signal("INT");
    assert_eq!(all.wait(), Some(0));

    let since = server.run(&["tail", "--log", "orders", "--since", "2026-05-15", "--count", "3"]);
    assert_eq!(since.exits(0).json().len(), 3);
    let filtered = [&both[..], &["--from", "1", "--source", "five", "--count", "1"]].concat();
    assert_eq!(
        labelled(server.run(&filtered).exits(0).stdout.trim_end()),
        "default five"
    );
}

/// "Now" is asked of every log, and told to the server in its own words.
///
/// Red when: `run` lets a tail of several logs begin wherever the connection does.
#[test]
fn from_now_is_a_place_in_every_log() {
    let dir = TempDir::new().unwrap();
    let stats = |last: u64| {
        let body = format!("{{\"count\":{last},\"last_event_id\":{last},\"latest_hash\":null}}");
        answer("200 OK", "content-type: application/json\r\n", &body)
    };
    let message = |id: &str, log: &str| format!("id: {id}\ndata: {{\"log\":\"{log}\",\"event\":{{}}}}\n\n");
    // The first eight digits of the SHA-256 of "default\norders".
    let digest = annals_core::hash::EventHash::of(b"default\norders").to_string()[..8].to_owned();
    let place = |passed: &str| format!("{passed}-{digest}");
    let messages = [
        message(&place("7.9"), "orders"),
        message(&place("8.9"), "default"),
        message(&place("8.9"), "default"),
        message(&place("8.10"), "orders"),
    ];
    let server = Scripted::start(vec![
        stats(7),
        stats(9),
        answer(
            "200 OK",
            "content-type: text/event-stream\r\n",
            &messages.concat(),
        ),
    ]);
    let args = [
        "tail",
        "--log",
        "orders",
        "--log",
        "default",
        "--count",
        "2",
        "--url",
        &server.url,
    ];
    let mut tail = Follower::start(command(dir.path(), args), &dir.path().join("tail.log"));
    assert_eq!(tail.line().unwrap(), "{\"log\":\"default\",\"event\":{}}");
    assert_eq!(tail.line().unwrap(), "{\"log\":\"orders\",\"event\":{}}");
    assert_eq!(tail.wait(), Some(0));
    let asked: Vec<String> = server
        .requests()
        .into_iter()
        .map(|request| request.line)
        .collect();
    assert_eq!(
        asked,
        [
            "GET /stats",
            "GET /logs/orders/stats",
            "GET /stream?log=orders&log=default"
        ]
    );
}

fn labelled(line: &str) -> String {
    let item: serde_json::Value = serde_json::from_str(line).unwrap();
    format!(
        "{} {}",
        item["log"].as_str().unwrap(),
        item["event"]["source"].as_str().unwrap()
    )
}

/// Red when: `verify` audits only the log `default`, or `into_result` takes the first log instead of the worst.
#[test]
fn every_log_of_a_directory_is_verified() {
    let server = two_logs();
    let url = server.url.clone();
    let remote = server
        .run(&["verify", &url, "--log", "orders", "--json"])
        .exits(0)
        .json();
    assert_eq!(remote[0]["checked"], json!(2));
    let (_, dir) = server.stop("TERM");
    let verify = |args: &[&str]| run(dir.path(), &[&["verify"], args].concat());
    let text = verify(&[]).exits(0).stdout;
    assert!(
        text.contains("log default: intact: 1 event, ") && text.contains("log orders: intact: 2 events, ")
    );
    assert!(text.ends_with("2 logs, all intact\n"), "{text}");
    let json = verify(&["--json"]).exits(0).json();
    assert_eq!(
        (&json[0]["verdict"], &json[0]["checked"]),
        (&json!("intact"), &json!(3))
    );
    assert_eq!(
        (
            &json[0]["logs"][1]["log"],
            &json[0]["logs"][1]["head"]["event_id"]
        ),
        (&json!("orders"), &json!(2))
    );
    let one = verify(&["--log", "orders", "--json"]).exits(0).json();
    assert_eq!(one[0]["checked"], json!(2));
    assert!(one[0].get("logs").is_none(), "{one:?}");
    verify(&["--log", "sales"])
        .exits(4)
        .says("there are: default, orders");

    // An event that is changed with all checksums made right: the other log is as it was.
    let journal = first_journal_file(&dir.path().join("annals-data"));
    let whole = fs::read(&journal).unwrap();
    let mut bytes = whole.clone();
    let frames: Vec<usize> = memchr::memmem::find_iter(&bytes, b"ANNF").collect();
    let wanted = b"\"source\":\"two\"";
    let at = memchr::memmem::find(&bytes, wanted).unwrap();
    bytes[at + wanted.len() - 2] = b'0';
    let frame = frames.iter().rev().find(|frame| **frame < at).unwrap();
    mend_checksums(&mut bytes, *frame);
    fs::write(&journal, &bytes).unwrap();
    let text = verify(&[]).exits(3).says("log orders: event #2").stdout;
    assert!(
        text.contains("log default: intact: ") && text.contains("log orders: broken: event #2: "),
        "{text}"
    );
    assert!(text.ends_with("2 logs: 1 broken, 0 incomplete\n"), "{text}");
    let json = verify(&["--json"]).exits(3).json();
    assert_eq!(json[0]["verdict"], json!("broken"));
    assert_eq!(json[0]["logs"][1]["first_break_at"], json!(2));
    verify(&["--log", "default"]).exits(0);

    // Damage in the journal, which is everybody's: what lies behind it is not known of any log.
    bytes.copy_from_slice(&whole);
    bytes[at] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    let json = verify(&["--json"]).exits(3).json();
    assert_eq!(
        (&json[0]["verdict"], &json[0]["damage"]["place"]),
        (&json!("broken"), &json!("journal"))
    );
    for log in json[0]["logs"].as_array().unwrap() {
        assert_eq!(log["verdict"], json!("incomplete"), "{log}");
    }
}

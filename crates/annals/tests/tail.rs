//! `annals tail`: from now, from an event, and across a server that dies.

use crate::process::{Follower, Server};
use crate::scripted::{Scripted, answer};

fn source_of(line: &str) -> String {
    let event: serde_json::Value = serde_json::from_str(line).unwrap();
    event["source"].as_str().unwrap().to_owned()
}

/// Red when: `connect` asks for the stream without `Last-Event-ID`.
#[test]
fn every_event_once_and_in_order_across_a_killed_server() {
    let server = Server::start();
    let listen = server.address();
    server.append("one");
    let mut tail = Follower::start(
        server.command(&["tail", "--from", "1"]),
        &server.dir.path().join("tail.log"),
    );
    assert_eq!(source_of(&tail.line().unwrap()), "one");
    server.append("two");
    assert_eq!(source_of(&tail.line().unwrap()), "two");

    let (_, dir) = server.stop("KILL");
    let server = Server::start_in(dir, &listen);
    for source in ["three", "four"] {
        server.append(source);
    }
    for source in ["three", "four"] {
        assert_eq!(source_of(&tail.line().unwrap()), source);
    }
    let said = std::fs::read_to_string(server.dir.path().join("tail.log")).unwrap();
    assert!(said.contains("resuming behind event 2"), "{said}");
    tail.signal("INT");
    assert_eq!(tail.wait(), Some(0));
}

/// "Now" is the head at the start, also when the first connection is lost before it brought anything.
///
/// Red when: `run` begins at 0 instead of at what `last_event` says.
#[test]
fn from_now_means_what_is_sealed_after_the_start() {
    let dir = tempfile::TempDir::new().unwrap();
    let stats = "{\"count\":7,\"last_event_id\":7,\"latest_hash\":null}";
    let event = |id: u64| format!("event: other\nid: {id}\ndata: {{\"event_id\":{id}}}\n\n");
    let server = Scripted::start(vec![
        answer("200 OK", "content-type: application/json\r\n", stats),
        answer(
            "200 OK",
            "content-type: text/event-stream\r\n",
            ": nothing yet\n\n",
        ),
        // A server that repeats itself does not make the tail do so.
        answer(
            "200 OK",
            "content-type: text/event-stream\r\n",
            &[event(7), event(8), event(8), event(9), event(10)].concat(),
        ),
    ]);
    let ran = crate::process::run(dir.path(), &["tail", "--count", "2", "--url", &server.url]).exits(0);
    assert_eq!(ran.stdout, "{\"event_id\":8}\n{\"event_id\":9}\n");
    server.bodies();
}

//! What a caller is told when the log can't take an event, or the storage can't give one.

use annals_log::LogOptions;
use annals_server::Options;
use annals_testkit::events;
use annals_testkit::memory::{CommitFault, RecoverFault, Step};

use crate::support::{Reply, Server, eventually};

const GOOD: &str = r#"{"kind":"other","source":"s"}"#;

fn outcome(reply: &Reply) -> String {
    reply.json()["outcome"].as_str().expect("an outcome").to_owned()
}

#[test]
fn a_full_queue_is_busy() {
    let server = Server::with(
        Options::default(),
        LogOptions {
            queue_batches_max: 1,
            ..LogOptions::default()
        },
    );
    let hold = server.engine.hold(Step::Commit);
    let under_way = server.log.append(events::one("{}")).unwrap();
    server.engine.wait_entered(Step::Commit, 1);
    let waiting = server.log.append(events::one("{}")).unwrap();
    let reply = server.post("/events", GOOD);
    reply.refusal(503);
    assert_eq!(
        (outcome(&reply).as_str(), reply.header("retry-after")),
        ("not_stored", Some("1"))
    );
    // Full is not the same as not ready.
    assert_eq!(server.get("/readyz").status, 200);
    drop(hold);
    under_way.wait().unwrap();
    waiting.wait().unwrap();
    assert_eq!(server.append("other", "s"), 3);
}

/// Red when: the outcome `Unknown` is passed on as `NotStored`.
#[test]
fn an_unknown_outcome_says_so_and_the_log_recovers() {
    for written in [false, true] {
        let server = Server::start();
        let hold = server.engine.hold(Step::Recover);
        server.engine.fail_commit(CommitFault::Unknown, written);
        let reply = server.post("/events", GOOD);
        assert!(reply.refusal(503).contains("unknown"));
        assert_eq!(
            (outcome(&reply).as_str(), reply.header("retry-after")),
            ("unknown", None)
        );

        server.engine.wait_entered(Step::Recover, 1);
        let reply = server.post("/events", GOOD);
        assert!(reply.refusal(503).contains("recovering"));
        assert_eq!(
            (outcome(&reply).as_str(), reply.header("retry-after")),
            ("not_stored", Some("1"))
        );
        let ready = server.get("/readyz");
        assert!(ready.refusal(503).contains("recovering"));
        assert_eq!(server.get("/healthz").status, 200);

        drop(hold);
        eventually("readiness", || {
            (server.get("/readyz").status == 200).then_some(())
        });
        assert_eq!(server.get("/stats").json()["count"], u64::from(written));
        assert_eq!(server.append("other", "s"), 1 + u64::from(written));
        assert_eq!(server.get("/verify").json()["valid"], true);
    }
}

#[test]
fn a_full_disk_is_507() {
    let server = Server::start();
    server.engine.fail_commit(CommitFault::NoSpace, false);
    let reply = server.post("/events", format!("[{GOOD},{GOOD}]"));
    reply.refusal(507);
    assert_eq!(outcome(&reply), "not_stored");
    assert_eq!(server.get("/stats").json()["count"], 0);
}

#[test]
fn failed_storage_and_a_backlog_can_be_tried_again() {
    for fault in [CommitFault::Storage, CommitFault::Backlog] {
        let server = Server::start();
        server.engine.fail_commit(fault, false);
        let reply = server.post("/events", GOOD);
        reply.refusal(503);
        assert_eq!(outcome(&reply), "not_stored", "{fault:?}");
        assert!(reply.header("retry-after").is_some(), "{fault:?}");
    }
}

#[test]
fn a_log_that_takes_nothing_more_is_500() {
    let server = Server::start();
    server.append("other", "s");
    server.engine.fail_commit(CommitFault::Conflict, false);
    let first = server.post("/events", GOOD);
    assert!(first.status >= 500);
    let reply = eventually("the log's end", || {
        Some(server.post("/events", GOOD)).filter(|reply| reply.status == 500)
    });
    reply.refusal(500);
    assert_eq!(outcome(&reply), "not_stored");
    assert!(server.get("/readyz").refusal(503).contains("operator"));
    // Reading goes on.
    assert_eq!(server.ids(""), [1]);
}

/// Red when: `Fatal::LostHead` maps to `Kind::Halted`.
#[test]
fn a_log_that_lost_its_end_is_an_integrity_failure() {
    let server = Server::start();
    server.append("other", "s");
    server.engine.fail_commit(CommitFault::Unknown, false);
    server.engine.fail_recover(RecoverFault::LosesTail(1));
    assert_eq!(outcome(&server.post("/events", GOOD)), "unknown");
    let reply = eventually("the log's end", || {
        Some(server.post("/events", GOOD)).filter(|reply| reply.status == 500)
    });
    reply.refusal(500);
    assert_eq!(reply.json()["title"], "Integrity failure");
    assert_eq!(outcome(&reply), "not_stored");
}

#[test]
fn a_stopped_log_is_503() {
    let server = Server::start();
    server.append("other", "s");
    server.log.stop();
    let reply = server.post("/events", GOOD);
    reply.refusal(503);
    assert_eq!(outcome(&reply), "not_stored");
    assert!(reply.header("retry-after").is_some());
    server.get("/readyz").refusal(503);
    assert_eq!(server.ids(""), [1]);
}

#[test]
fn a_batch_that_the_log_can_not_take_at_once_is_413() {
    let server = Server::with(
        Options::default(),
        LogOptions {
            queue_bytes_max: 4096,
            ..LogOptions::default()
        },
    );
    let reply = server.post_lines(vec![GOOD; 100].join("\n"));
    assert!(reply.refusal(413).contains("4096"));
    assert_eq!(outcome(&reply), "not_stored");
}

#[test]
fn damage_before_the_first_byte_is_an_error_that_names_the_event() {
    let server = Server::start();
    for _ in 0..5 {
        server.append("other", "s");
    }
    server.spoil.lock().unwrap().damaged = Some(3);
    for path in [
        "/events",
        "/events?limit=3",
        "/events?kind=other",
        "/events?after=0&source=s",
        "/events/3",
    ] {
        let reply = server.get(path);
        let detail = reply.refusal(500);
        assert!(
            detail.contains("integrity failure") && detail.contains("event 3"),
            "{path}: {detail}"
        );
        assert!(!reply.text().contains("event_id"), "{path}");
    }
    // What lies elsewhere is still served.
    assert_eq!(server.ids("?limit=2"), [4, 5]);
    assert_eq!(server.get("/events/2").status, 200);
}

/// Red when: `Answer::into_body` ends the stream where it should fail it.
#[test]
fn damage_in_the_midst_of_an_answer_tears_it() {
    let server = Server::start();
    let line = format!(
        r#"{{"kind":"other","source":"s","payload":{{"pad":"{}"}}}}"#,
        "x".repeat(500_000)
    );
    for _ in 0..6 {
        assert_eq!(server.post("/events", &line).status, 201);
    }
    server.spoil.lock().unwrap().damaged = Some(5);
    for query in ["", "?kind=other", "?after=0"] {
        let reply = server.get(&format!("/events{query}"));
        if reply.status == 500 {
            // A filtered query over the last matches looks at everything first.
            assert_eq!(query, "?kind=other");
            continue;
        }
        assert_eq!(reply.status, 200);
        assert!(
            !reply.complete && !reply.text().ends_with(']'),
            "{query}: a short answer that looks whole"
        );
    }
}

#[test]
fn a_client_that_goes_away_does_not_take_its_event_back() {
    let server = Server::start();
    let hold = server.engine.hold(Step::Commit);
    let mut connection = crate::support::Connection::open(server.addr);
    connection.send(
        "POST",
        "/events",
        &[("content-type", "application/json")],
        GOOD.as_bytes(),
    );
    server.engine.wait_entered(Step::Commit, 1);
    drop(connection);
    drop(hold);
    eventually("the event", || (server.head_size() == 1).then_some(()));
    assert_eq!(server.get("/verify").json()["checked"], 1);
}

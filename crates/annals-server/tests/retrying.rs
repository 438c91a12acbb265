//! Requests that are sent again: with a key, with keys of their items, in a producer's order, or with a mistake.

use std::thread;

use annals_log::LogOptions;
use annals_server::Options;
use annals_store::CellBounds;
use annals_testkit::memory::{CommitFault, MemoryEngine, Step};
use serde_json::{Value, json};

use crate::support::{Reply, Server, eventually, ids_of, request};

const JSON: (&str, &str) = ("content-type", "application/json");
const LINES: (&str, &str) = ("content-type", "application/x-ndjson");

type Headers<'a> = &'a [(&'a str, &'a str)];

fn event(source: &str) -> String {
    json!({"kind": "other", "source": source}).to_string()
}

fn item(source: &str, key: &str) -> String {
    json!({"kind": "other", "source": source, "idempotency_key": key}).to_string()
}

fn array(items: &[String]) -> String {
    format!("[{}]", items.join(","))
}

fn send(server: &Server, path: &str, headers: Headers<'_>, body: &str) -> Reply {
    request(server.addr, "POST", path, headers, body.as_bytes())
}

fn keyed(server: &Server, key: &str, body: &str) -> Reply {
    send(server, "/events", &[JSON, ("idempotency-key", key)], body)
}

fn ordered(server: &Server, sequence: &str, body: &str) -> Reply {
    let headers = [JSON, ("annals-producer", "p"), ("annals-sequence", sequence)];
    send(server, "/events", &headers, body)
}

#[track_caller]
fn sealed(reply: Reply) -> Reply {
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.header("idempotency-replayed"), None, "{}", reply.text());
    reply
}

/// The same answer as the first time, and says that it is that.
#[track_caller]
fn replayed(reply: &Reply, first: &Reply) {
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.header("idempotency-replayed"), Some("true"));
    assert_eq!(reply.header("content-type"), first.header("content-type"));
    assert_eq!(reply.text(), first.text());
}

#[track_caller]
fn refused(reply: &Reply, status: u16, kind: &str, field: &str) -> String {
    let detail = reply.refusal(status);
    assert_eq!(
        reply.json()["type"],
        format!("urn:annals:problem:{kind}"),
        "{detail}"
    );
    assert_eq!(reply.json()["outcome"], "not_stored", "{detail}");
    assert_eq!(reply.fields(), [field], "{detail}");
    detail
}

fn sources(server: &Server, path: &str) -> Vec<String> {
    let events = server.get(path).json();
    let events = events.as_array().unwrap().iter();
    events
        .map(|event| event["source"].as_str().unwrap().to_owned())
        .collect()
}

/// Red when: `applied` makes of a key an `Append::new`; `receipts::answer` leaves the header out.
#[test]
fn one_event_with_a_key_is_stored_once() {
    let server = Server::start();
    let first = sealed(keyed(&server, "k", &event("one")));
    assert_eq!(first.json()["source"], "one");
    sealed(keyed(&server, "other", &event("two")));
    for _ in 0..3 {
        replayed(&keyed(&server, "k", &event("one")), &first);
    }
    // The same in other words: members in another order, white space, what would be left out anyway.
    let same = "{ \"payload\": {}, \"source\":\"\\u006fne\",\n \"timestamp\": null, \"kind\":\"other\"}";
    replayed(&keyed(&server, "k", same), &first);
    assert_eq!(sources(&server, "/events"), ["one", "two"]);
}

#[test]
fn an_extended_event_is_answered_as_it_was_stamped() {
    let server = Server::start();
    let body = r#"{"kind":"other","source":"s","tenant":"t","actor":{"id":"u"}}"#;
    let first = sealed(keyed(&server, "k", body));
    assert!(first.json()["nonce"].is_string() && first.json()["id"].is_string());
    replayed(&keyed(&server, "k", body), &first);
    assert_eq!(server.head_size(), 1);
}

/// Red when: `wants_digest` answers false (all digests are alike then).
#[test]
fn a_key_is_for_one_request() {
    let server = Server::start();
    let first = sealed(keyed(&server, "k", &event("one")));
    for other in [event("two"), array(&[event("one"), event("one")])] {
        let detail = refused(&keyed(&server, "k", &other), 422, "key-reused", "idempotency-key");
        assert!(detail.contains("new key"), "{detail}");
    }
    replayed(&keyed(&server, "k", &event("one")), &first);
    assert_eq!(server.head_size(), 1);
}

#[test]
fn a_batch_with_a_key_gets_its_receipts_again() {
    let server = Server::start();
    sealed(keyed(&server, "before", &event("before")));
    let many: Vec<String> = (0..700).map(|number| event(&format!("s{number}"))).collect();
    let lines = format!("{}\n", many.join("\n"));
    for (key, media_type, body) in [("a", JSON, array(&many)), ("l", LINES, lines)] {
        let headers = [media_type, ("idempotency-key", key)];
        let first = sealed(send(&server, "/events", &headers, &body));
        let again = send(&server, "/events", &headers, &body);
        replayed(&again, &first);
        // A torn answer would have fewer.
        assert_eq!(first.text().matches("event_id").count(), 700);
    }
    assert_eq!(server.head_size(), 1 + 2 * 700);
}

/// Red when: the log is left out of what a key means (`ReceiptKey::new`).
#[test]
fn a_key_means_something_in_its_log_only() {
    let server = Server::start();
    assert_eq!(server.post("/logs", r#"{"name":"a"}"#).status, 201);
    let at = |path: &str| send(&server, path, &[JSON, ("idempotency-key", "k")], &event("s"));
    let (root, a) = (sealed(at("/events")), sealed(at("/logs/a/events")));
    replayed(&at("/logs/default/events"), &root);
    replayed(&at("/logs/a/events"), &a);
    let ordered = |path: &str| {
        let headers = [JSON, ("annals-producer", "p"), ("annals-sequence", "1")];
        send(&server, path, &headers, &event("s"))
    };
    sealed(ordered("/events"));
    sealed(ordered("/logs/a/events"));
    assert_eq!(ordered("/logs/a/events").text(), r#"{"duplicate_through":"1"}"#);
    assert_eq!(server.get("/logs/a/stats").json()["count"], 2);
}

/// Red when: what is known of the group at hand is not looked at (`Planner::known`): both twins are stored.
#[test]
fn a_twin_under_way_gets_the_same_answer() {
    let server = Server::start();
    let hold = server.engine.hold(Step::Commit);
    thread::scope(|scope| {
        let blocker = scope.spawn(|| server.append("other", "blocker"));
        server.engine.wait_entered(Step::Commit, 1);
        let twins: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| keyed(&server, "k", &event("twin"))))
            .collect();
        let ordered_twins: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| ordered(&server, "1", &event("ordered"))))
            .collect();
        drop(hold);
        assert_eq!(blocker.join().unwrap(), 1);
        let replies: Vec<Reply> = twins.into_iter().map(|twin| twin.join().unwrap()).collect();
        assert!(
            replies
                .iter()
                .all(|reply| reply.status == 201 && reply.text() == replies[0].text())
        );
        let are_new = replies
            .iter()
            .filter(|reply| reply.header("idempotency-replayed").is_none());
        assert_eq!(are_new.count(), 1);
        let replies = ordered_twins.into_iter().map(|twin| twin.join().unwrap());
        let statuses: Vec<u16> = replies.map(|reply| reply.status).collect();
        assert_eq!(
            statuses.iter().filter(|status| **status == 201).count(),
            1,
            "{statuses:?}"
        );
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            7,
            "{statuses:?}"
        );
    });
    assert_eq!(server.head_size(), 3);
}

/// Red when: `take_key` is not called; `Stored::place` does not subtract the run's first id.
#[test]
fn items_with_keys_are_new_or_answered_again_one_by_one() {
    let server = Server::start();
    let first = sealed(server.post("/events", array(&[item("a", "ka"), item("b", "kb"), event("c")])));
    let first = first.json();
    let mixed = array(&[
        item("d", "kd"),
        item("b", "kb"),
        event("c"),
        item("a", "ka"),
        item("d", "kd"),
    ]);
    let reply = sealed(server.post("/events", mixed)).json();
    assert_eq!(ids_of(&reply), [4, 2, 5, 1, 4]);
    assert_eq!((&reply[1], &reply[3]), (&first[1], &first[0]));
    assert_eq!(reply[0], reply[4]);
    assert_eq!(sources(&server, "/events"), ["a", "b", "c", "d", "c"]);
    // All of them were stored before.
    let again = server.post("/events", array(&[item("a", "ka"), item("b", "kb")]));
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    assert_eq!(again.json(), json!([first[0], first[1]]));
    // Alone, it is the event.
    let one = server.post("/events", item("b", "kb"));
    assert_eq!(one.header("idempotency-replayed"), Some("true"));
    assert_eq!(one.json(), server.get("/events/2").json());
    // The key is no part of the event.
    assert_eq!(one.json().get("idempotency_key"), None);
    let lines = send(
        &server,
        "/events",
        &[LINES],
        &format!("\n{}\n{}", item("e", "ke"), item("b", "kb")),
    );
    let receipts: Vec<Value> = lines
        .text()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(ids_of(&json!(receipts)), [6, 2]);
}

/// Red when: `refusal` names the request's key for every item.
#[test]
fn an_items_key_is_for_one_event() {
    let server = Server::start();
    sealed(server.post("/events", item("a", "ka")));
    let reply = server.post("/events", array(&[item("new", "kn"), item("other", "ka")]));
    refused(&reply, 422, "key-reused", "items[1].idempotency_key");
    let reply = server.post("/events", item("other", "ka"));
    refused(&reply, 422, "key-reused", "idempotency_key");
    // Twice in one request, for different events.
    let reply = server.post("/events", array(&[item("x", "kx"), event("y"), item("z", "kx")]));
    refused(&reply, 422, "key-reused", "items[2].idempotency_key");
    // Nothing of a refused request is stored, and its keys are still free.
    assert_eq!(server.head_size(), 1);
    sealed(server.post("/events", item("elsewhere", "kn")));
    for bad in ["", " ", "a b", &"k".repeat(256)] {
        let reply = server.post("/events", item("a", bad));
        reply.refusal(422);
        assert_eq!(reply.fields(), ["idempotency_key"], "{bad:?}");
    }
}

/// Red when: `answer` does not look at `duplicate_through`.
#[test]
fn what_is_not_above_a_producers_position_is_not_stored() {
    let server = Server::start();
    let one = |sequence: &str| ordered(&server, sequence, &event(sequence));
    sealed(one("5"));
    for seen in ["5", "1", "0", "4.9", "5.0"] {
        let reply = one(seen);
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, r#"{"duplicate_through":"5"}"#),
            "{seen}"
        );
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    sealed(one("5.1"));
    assert_eq!(one("5").text(), r#"{"duplicate_through":"5.1"}"#);
    sealed(one("18446744073709551615.18446744073709551615"));
    assert_eq!(
        one("7").json()["duplicate_through"],
        "18446744073709551615.18446744073709551615"
    );
    // Another producer has another position.
    let headers = [JSON, ("annals-producer", "q"), ("annals-sequence", "1")];
    sealed(send(&server, "/events", &headers, &event("q")));
    assert_eq!(server.head_size(), 4);
}

#[test]
fn the_seen_part_of_a_list_is_told_item_by_item() {
    let server = Server::start();
    let batch = array(&[event("a"), event("b"), event("c")]);
    let first = sealed(ordered(&server, "1,2,3", &batch));
    assert_eq!(ids_of(&first.json()), [1, 2, 3]);
    let reply = ordered(&server, "1, 2, 3", &batch);
    assert_eq!(
        (reply.status, reply.text().as_str()),
        (200, r#"{"duplicate_through":"3"}"#)
    );
    let reply = sealed(ordered(
        &server,
        "2,3,4.5",
        &array(&[event("b"), event("c"), event("d")]),
    ));
    let answer = reply.json();
    assert_eq!(answer[0], json!({"duplicate_through": "3"}));
    assert_eq!(answer[1], json!({"duplicate_through": "3"}));
    let stored = server.get("/events/4").json();
    assert_eq!(
        answer[2],
        json!({"event_id": 4, "timestamp": stored["timestamp"], "hash": stored["hash"]})
    );
    let headers = [LINES, ("annals-producer", "p"), ("annals-sequence", "4.5,9")];
    let lines = sealed(send(
        &server,
        "/events",
        &headers,
        &format!("{}\n{}", event("d"), event("e")),
    ));
    assert_eq!(
        lines.text().lines().next(),
        Some(r#"{"duplicate_through":"4.5"}"#)
    );
    assert_eq!(sources(&server, "/events"), ["a", "b", "c", "d", "e"]);
}

/// Red when: `Planner::range` compares the range's first with the position instead of its last.
#[test]
fn a_range_is_stored_as_a_whole_or_was() {
    let server = Server::start();
    let batch = array(&[event("a"), event("b")]);
    sealed(ordered(&server, "10..20", &batch));
    for seen in ["10..20", "1..20", "3..4"] {
        let reply = ordered(&server, seen, &batch);
        assert_eq!(
            (reply.status, reply.text().as_str()),
            (200, r#"{"duplicate_through":"20"}"#),
            "{seen}"
        );
    }
    for straddling in ["20..21", "1..30"] {
        let reply = ordered(&server, straddling, &batch);
        let detail = refused(&reply, 409, "sequence-straddles", "annals-sequence");
        assert!(detail.contains("20"), "{detail}");
    }
    sealed(ordered(&server, "20.1..20.1", &event("c")));
    assert_eq!(sources(&server, "/events"), ["a", "b", "c"]);
}

/// Red when: `single` takes the first of two values; `of` lets a key pass beside a producer; `applied` does not look at item keys.
#[test]
fn mistakes_name_the_header_and_the_mend() {
    const KEY: &str = "idempotency-key";
    const PRODUCER: &str = "annals-producer";
    const SEQUENCE: &str = "annals-sequence";
    let server = Server::start();
    let (one, two) = (event("a"), array(&[event("a"), event("b")]));
    let keyed = item("a", "k");
    let long = "k".repeat(256);
    let both = [(KEY, "k"), (PRODUCER, "p"), (SEQUENCE, "1")];
    let rows: [(Headers<'_>, &str, u16, &str, &str); 15] = [
        (&[(KEY, "")], &one, 400, KEY, "1 to 255 visible"),
        (&[(KEY, "a b")], &one, 400, KEY, "1 to 255 visible"),
        (&[(KEY, &long)], &one, 400, KEY, "1 to 255 visible"),
        (&[(KEY, "k"), (KEY, "k")], &one, 400, KEY, "once"),
        (&both, &one, 400, KEY, "either"),
        (&[(PRODUCER, "p")], &one, 400, PRODUCER, "send both"),
        (&[(SEQUENCE, "1")], &one, 400, SEQUENCE, "send both"),
        (
            &[(PRODUCER, &long), (SEQUENCE, "1")],
            &one,
            400,
            PRODUCER,
            "1 to 255",
        ),
        (
            &[(PRODUCER, "p"), (SEQUENCE, "one")],
            &one,
            400,
            SEQUENCE,
            "first..last",
        ),
        (
            &[(PRODUCER, "p"), (SEQUENCE, "1,2")],
            &one,
            422,
            SEQUENCE,
            "one for each",
        ),
        (
            &[(PRODUCER, "p"), (SEQUENCE, "1")],
            &two,
            422,
            SEQUENCE,
            "one for each",
        ),
        (
            &[(PRODUCER, "p"), (SEQUENCE, "2,1")],
            &two,
            422,
            SEQUENCE,
            "ascend",
        ),
        (
            &[(PRODUCER, "p"), (SEQUENCE, "2..1")],
            &two,
            422,
            SEQUENCE,
            "before it begins",
        ),
        (&[(KEY, "k")], &keyed, 400, KEY, "either"),
        (
            &[(PRODUCER, "p"), (SEQUENCE, "1")],
            &keyed,
            400,
            PRODUCER,
            "either",
        ),
    ];
    for (headers, body, status, field, mend) in rows {
        let reply = send(&server, "/events", &[&[JSON], headers].concat(), body);
        let detail = reply.refusal(status);
        assert!(detail.contains(mend), "{headers:?}: {detail}");
        assert_eq!(reply.fields(), [field], "{detail}");
        assert_eq!(reply.json()["outcome"], "not_stored");
    }
    assert_eq!(server.head_size(), 0);
}

fn with_bounds(bounds: CellBounds) -> Server {
    let engine = MemoryEngine::default();
    engine.bound_cells(bounds);
    Server::on(engine, Options::default(), LogOptions::default())
}

#[test]
fn too_many_producers_or_keys_are_told() {
    let server = with_bounds(CellBounds {
        producers_max: 2,
        receipts_max: 3,
        ..CellBounds::default()
    });
    let of = |producer: &str, sequence: &str| {
        let headers = [JSON, ("annals-producer", producer), ("annals-sequence", sequence)];
        send(&server, "/events", &headers, &event(producer))
    };
    sealed(of("p", "1"));
    sealed(of("q", "1"));
    let reply = of("r", "1");
    assert!(reply.refusal(507).contains('2'));
    assert_eq!(reply.json()["type"], "urn:annals:problem:too-many-producers");
    assert_eq!(reply.json()["outcome"], "not_stored");
    // Those that are known go on.
    sealed(of("p", "2"));
    let four: Vec<String> = (0..4).map(|number| item("s", &number.to_string())).collect();
    assert!(
        server
            .post("/events", array(&four))
            .refusal(413)
            .contains("in parts")
    );
    sealed(server.post("/events", array(&four[..3])));
    assert_eq!(server.head_size(), 6);
}

/// Red when: `Recognised::unknown` tells everybody to look first, or everybody to send it again.
#[test]
fn an_unknown_outcome_may_be_sent_again_with_the_same_key() {
    let keyless = array(&[item("a", "k"), event("b")]);
    let all_keys = array(&[item("a", "k"), item("b", "l")]);
    let both = array(&[event("a"), event("b")]);
    let requests: [(Headers<'_>, &str, bool); 5] = [
        (&[], &both, false),
        (&[("idempotency-key", "k")], &both, true),
        (&[], &keyless, false),
        (&[], &all_keys, true),
        (
            &[("annals-producer", "p"), ("annals-sequence", "1..2")],
            &both,
            true,
        ),
    ];
    for (headers, body, is_recognised) in requests {
        for written in [false, true] {
            let server = Server::start();
            server.engine.fail_commit(CommitFault::Unknown, written);
            let headers = [&[JSON], headers].concat();
            let reply = send(&server, "/events", &headers, body);
            let detail = reply.refusal(503);
            assert_eq!(reply.json()["outcome"], "unknown");
            assert_eq!(
                detail.contains("send the same request again"),
                is_recognised,
                "{detail}"
            );
            assert_eq!(reply.header("retry-after").is_some(), is_recognised);
            assert_eq!(detail.contains("look whether"), !is_recognised, "{detail}");
            if is_recognised {
                let again = eventually("the answer", || {
                    Some(send(&server, "/events", &headers, body)).filter(|reply| reply.status != 503)
                });
                assert!(matches!(again.status, 200 | 201), "{}", again.text());
                let was_seen = again.status == 200 || again.header("idempotency-replayed").is_some();
                assert_eq!(was_seen, written, "{}", again.text());
                assert_eq!(sources(&server, "/events"), ["a", "b"]);
            }
        }
    }
}

#[test]
fn keys_and_positions_are_there_after_a_restart() {
    let engine = MemoryEngine::default();
    let start = || Server::on(engine.clone(), Options::default(), LogOptions::default());
    let server = start();
    let first = sealed(keyed(&server, "k", &event("one")));
    sealed(ordered(&server, "7", &event("seven")));
    drop(server);
    eventually("the end of the sequencer", || {
        (engine.open_journals() == 0).then_some(())
    });
    let server = start();
    replayed(&keyed(&server, "k", &event("one")), &first);
    refused(
        &keyed(&server, "k", &event("two")),
        422,
        "key-reused",
        "idempotency-key",
    );
    assert_eq!(
        ordered(&server, "7", &event("seven")).json()["duplicate_through"],
        "7"
    );
    sealed(ordered(&server, "8", &event("eight")));
    assert_eq!(server.head_size(), 3);
}

/// Red when: `receipts::answer` does not say that the events are stored.
#[test]
fn a_receipt_that_can_not_be_read_again_says_so() {
    let server = Server::start();
    sealed(keyed(&server, "k", &event("one")));
    server.spoil.lock().unwrap().damaged = Some(1);
    let reply = keyed(&server, "k", &event("one"));
    reply.refusal(500);
    assert_eq!(reply.json()["outcome"], "unknown");
    assert_eq!(server.head_size(), 1);
}

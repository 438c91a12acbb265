//! Events of version 2: what is stamped, what the receipt says, what is refused and how.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{Server, request};

/// Red when: `Stamps` gives every event the same nonce.
#[test]
fn extended_events_are_stamped_each_with_its_own() {
    let server = Server::start();
    let sent = r#"{"kind":"other","source":"s","tenant":"acme","actor":{"id":"u-1","type":"user"}}"#;
    let given = "0198c0de-0000-7000-8000-00000000000a";
    let events: Vec<Value> = [
        sent.to_owned(),
        sent.to_owned(),
        sent.replacen('{', &format!("{{\"id\":\"{given}\",\"timestamp\":\"then\","), 1),
    ]
    .into_iter()
    .map(|event| {
        let reply = server.post("/events", event);
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()
    })
    .collect();
    for event in &events {
        assert_eq!(event["v"], 2);
        assert_eq!(event["actor"], json!({"id": "u-1", "type": "user"}));
        assert_eq!(event["nonce"].as_str().unwrap().len(), 32);
    }
    let ids: Vec<Uuid> = events
        .iter()
        .map(|event| event["id"].as_str().unwrap().parse().unwrap())
        .collect();
    assert_eq!(ids[0].get_version_num(), 7);
    assert_ne!(ids[0], ids[1]);
    assert_ne!(events[0]["nonce"], events[1]["nonce"]);
    assert_eq!(events[0]["timestamp"], events[0]["received_at"]);
    assert_eq!(
        (&events[2]["id"], &events[2]["timestamp"]),
        (&json!(given), &json!("then"))
    );
    assert_eq!(server.get("/verify").json()["valid"], true);
}

/// Red when: `stamped` takes a text with a quote inside.
#[test]
fn receipts_of_extended_events_say_their_time() {
    let server = Server::start();
    let body = [
        r#"{"kind":"other","source":"s","run":"r"}"#,
        r#"{"kind":"other","source":"s","trace_id":"t"}"#,
        r#"{"kind":"other","source":"s","trace_id":"12345678","timestamp":"2026-05-15"}"#,
        r#"{"kind":"other","source":"s","timestamp":"then","v":2}"#,
        r#"{"kind":"other","source":"s"}"#,
    ]
    .join("\n");
    let reply = server.post_lines(body);
    assert_eq!(reply.status, 201, "{}", reply.text());
    for line in reply.text().lines() {
        let receipt: Value = serde_json::from_str(line).unwrap();
        let event = server.get(&format!("/events/{}", receipt["event_id"])).json();
        assert_eq!(
            receipt,
            json!({"event_id": event["event_id"], "timestamp": event["timestamp"], "hash": event["hash"]})
        );
    }
}

/// Red when: a part is named without the member that it is in.
#[test]
fn what_is_wrong_is_named_to_the_part() {
    let server = Server::start();
    let reply = request(
        server.addr,
        "POST",
        "/events",
        &[("content-type", "application/x-ndjson")],
        br#"{"kind":"other","source":"s"}
{"kind":"other","source":"s","actor":{"foo":"x"},"sesion":"y","nonce":"z"}"#,
    );
    let detail = reply.refusal(422);
    assert!(detail.contains("nothing of the batch was stored"), "{detail}");
    assert_eq!(
        reply.fields(),
        ["line 2: actor.foo", "line 2: sesion", "line 2: nonce"]
    );
    let messages: Vec<_> = reply.json()["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|error| error["message"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        messages,
        [
            "is not known; use type, id, name, on_behalf_of",
            "is not a member of an event; did you mean `session`?",
            "is stamped by the log; leave it out",
        ]
    );
    assert_eq!(server.head_size(), 0);
}

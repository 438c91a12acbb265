//! The seed's HTTP behaviour, point by point.

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::support::{Server, request};

const ZEROS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

#[test]
fn root_says_what_this_is() {
    let root = Server::start().get("/").json();
    assert_eq!(root["name"], "audit-stream");
    assert!(root["version"].is_string() && root["description"].is_string());
    for route in [
        "GET  /",
        "POST /events",
        "GET  /events/{id}",
        "GET  /stream",
        "GET  /verify",
        "GET  /stats",
    ] {
        assert!(root["endpoints"][route].is_string(), "{route}");
    }
}

#[test]
fn health() {
    let server = Server::start();
    let reply = server.get("/healthz");
    assert_eq!((reply.status, reply.text().as_str()), (200, r#"{"status":"ok"}"#));
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(server.get("/readyz").status, 200);
}

#[test]
fn an_append_answers_201_with_the_whole_event() {
    let server = Server::start();
    let reply = server.post(
        "/events",
        r#"{"source":"s","kind":"request_allowed","payload":{"b":1,"a":"é"}}"#,
    );
    assert_eq!(reply.status, 201);
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let event = reply.json();
    assert_eq!(event["event_id"], 1);
    assert_eq!(event["kind"], "request_allowed");
    assert_eq!(event["source"], "s");
    assert_eq!(event["payload"], json!({"a": "é", "b": 1}));
    assert_eq!(event["prev_hash"], ZEROS);
    assert_eq!(event["hash"].as_str().unwrap().len(), 64);
    let timestamp = event["timestamp"].as_str().unwrap();
    assert!(
        timestamp.ends_with("+00:00") && timestamp.starts_with("20"),
        "{timestamp}"
    );
    // Red when: `one_event` sends something else than `write_served` makes of the stored bytes.
    assert!(reply.text().starts_with(
        r#"{"event_id":1,"kind":"request_allowed","payload":{"a":"\u00e9","b":1},"prev_hash":"#
    ));
    assert_eq!(server.get("/events/1").body, reply.body);
    assert_eq!(server.get("/events").text(), format!("[{}]", reply.text()));
}

#[test]
fn the_chain_links_across_appends() {
    let server = Server::start();
    let first = server.post("/events", r#"{"kind":"other","source":"s"}"#).json();
    let second = server
        .post("/events", r#"{"kind":"request_denied","source":"s"}"#)
        .json();
    assert_eq!(second["event_id"], 2);
    assert_eq!(second["prev_hash"], first["hash"]);
}

#[derive(Deserialize)]
struct Vectors {
    chain: Vec<Link>,
}

#[derive(Deserialize)]
struct Link {
    request: Box<RawValue>,
    event: Box<RawValue>,
}

#[test]
fn the_reference_chain_comes_out_byte_for_byte() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/vectors/hash-chain.json"
    );
    let vectors: Vectors = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let server = Server::start();
    for (index, link) in vectors.chain.iter().enumerate() {
        let reply = server.post("/events", link.request.get());
        let expected: Value = serde_json::from_str(link.event.get()).unwrap();
        assert_eq!(reply.status, 201, "{}", reply.text());
        // The hash covers every byte; the rest shows where a difference lies.
        assert_eq!(reply.json(), expected, "event {}", index + 1);
        assert_eq!(server.get(&format!("/events/{}", index + 1)).json(), expected);
    }
    assert!(!vectors.chain.is_empty());
    let all: Vec<Value> = vectors
        .chain
        .iter()
        .map(|link| serde_json::from_str(link.event.get()).unwrap())
        .collect();
    assert_eq!(server.get("/events?limit=100000").json(), Value::Array(all));
    let verdict = server.get("/verify").json();
    assert_eq!(
        verdict,
        json!({"valid": true, "checked": vectors.chain.len(), "first_break_at": null, "reason": null})
    );
}

#[test]
fn a_time_stamp_is_kept_or_made() {
    let server = Server::start();
    let stamped = |timestamp: &str| {
        let reply = server.post(
            "/events",
            format!(r#"{{"kind":"other","source":"s"{timestamp}}}"#),
        );
        assert_eq!(reply.status, 201, "{}", reply.text());
        reply.json()["timestamp"].as_str().unwrap().to_owned()
    };
    assert_eq!(
        stamped(r#","timestamp":"2026-05-15T03:14:15+00:00""#),
        "2026-05-15T03:14:15+00:00"
    );
    assert_eq!(stamped(r#","timestamp":" any text é""#), " any text é");
    for made in [
        stamped(""),
        stamped(r#","timestamp":null"#),
        stamped(r#","timestamp":"""#),
    ] {
        assert_eq!(made.len(), "2026-05-15T03:14:15.123456+00:00".len(), "{made}");
    }
}

#[test]
fn refused_events_name_the_field() {
    let server = Server::start();
    for (body, field) in [
        (r#"{"kind":"not-a-known-kind","source":"s"}"#, "kind"),
        (
            r#"{"kind":"other","source":"s","extra_field":true}"#,
            "extra_field",
        ),
        (r#"{"kind":"other","source":"s","event_id":1}"#, "event_id"),
        (r#"{"kind":"other","source":""}"#, "source"),
        (r#"{"kind":"other"}"#, "source"),
        (r#"{"source":"s"}"#, "kind"),
        (r#"{"kind":"other","source":"s","payload":null}"#, "payload"),
        (r#"{"kind":"other","source":"s","payload":[]}"#, "payload"),
        (r#"{"kind":"other","source":"s","timestamp":7}"#, "timestamp"),
        (r#"{"kind":null,"source":"s"}"#, "kind"),
    ] {
        let reply = server.post("/events", body);
        let detail = reply.refusal(422);
        assert_eq!(reply.fields(), [field], "{body}");
        assert!(detail.contains(&format!("`{field}`")), "{detail}");
        assert_eq!(reply.json()["outcome"], "not_stored");
    }
    assert_eq!(server.head_size(), 0);
}

#[test]
fn the_last_of_duplicate_keys_counts() {
    let event = Server::start()
        .post(
            "/events",
            r#"{"kind":7,"source":"a","kind":"other","source":"b"}"#,
        )
        .json();
    assert_eq!(event["source"], "b");
}

fn populated() -> Server {
    let server = Server::start();
    server.append("request_allowed", "a");
    server.append("request_denied", "a");
    server.append("watch_drifted", "b");
    server.append("request_denied", "b");
    server.append("request_denied", "caf\u{e9}");
    server
}

#[test]
fn queries() {
    let server = populated();
    for (query, ids) in [
        ("", vec![1, 2, 3, 4, 5]),
        ("?limit=1", vec![5]),
        ("?limit=3", vec![3, 4, 5]),
        ("?limit=100000", vec![1, 2, 3, 4, 5]),
        ("?kind=request_denied", vec![2, 4, 5]),
        ("?kind=request_denied&limit=2", vec![4, 5]),
        ("?source=b", vec![3, 4]),
        // Red when: `matches` ignores one filter beside the other, as the reference does.
        ("?kind=request_denied&source=b", vec![4]),
        ("?source=caf%C3%A9", vec![5]),
        ("?source=nobody", vec![]),
        ("?source=", vec![]),
        ("?kind=other", vec![]),
        ("?after=0&limit=2", vec![1, 2]),
        ("?after=2", vec![3, 4, 5]),
        ("?after=2&kind=request_denied&limit=1", vec![4]),
        ("?after=5", vec![]),
        ("?after=99", vec![]),
        ("?after=18446744073709551615", vec![]),
    ] {
        assert_eq!(server.ids(query), ids, "{query}");
    }
}

#[test]
fn an_empty_log_answers_an_empty_array() {
    let server = Server::start();
    for query in ["", "?kind=other", "?source=a&limit=5", "?after=0"] {
        assert_eq!(server.get(&format!("/events{query}")).text(), "[]", "{query}");
    }
    assert_eq!(
        server
            .get_with("/events", &[("accept", "application/x-ndjson")])
            .text(),
        ""
    );
}

#[test]
fn queries_that_make_no_sense() {
    let server = populated();
    for (query, status, field) in [
        ("?limit=0", 400, "limit"),
        ("?limit=-1", 400, "limit"),
        ("?limit=100001", 400, "limit"),
        ("?limit=1000000", 400, "limit"),
        ("?limit=99999999999999999999999", 400, "limit"),
        ("?limit=x", 400, "limit"),
        ("?limit=", 400, "limit"),
        ("?kind=nope", 422, "kind"),
        ("?kind=", 422, "kind"),
        ("?after=-1", 400, "after"),
        ("?sourc=a", 400, "sourc"),
        ("?limit=1&limit=2", 400, "limit"),
        ("?after=0&kind=other&aft%65r=1", 400, "after"),
    ] {
        let reply = server.get(&format!("/events{query}"));
        reply.refusal(status);
        assert_eq!(reply.fields(), [field], "{query}");
    }
    // Red when: unknown parameters are ignored.
    assert!(
        server
            .get("/events?sourc=a")
            .refusal(400)
            .contains("did you mean `source`?")
    );
    let far = server.get("/events?something=csv").refusal(400);
    assert!(
        far.contains("this route takes: kind, source, ") && !far.contains("did you mean"),
        "{far}"
    );
    assert!(server.get("/stats?x=1").refusal(400).contains("no parameters"));
    // Red when: `parameters` lets the last one count.
    for path in [
        "/events?limit=1&limit=1",
        "/stream?after=0&after=1",
        "/verify?full=1&full=0",
    ] {
        assert!(server.get(path).refusal(400).contains("given twice"), "{path}");
    }
    server.get("/events?source=%ff").refusal(400);
}

#[test]
fn ndjson_is_one_event_a_line() {
    let server = populated();
    let reply = server.get_with("/events?limit=2", &[("accept", "application/x-ndjson")]);
    assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
    assert_eq!(reply.header("vary"), Some("accept"));
    let text = reply.text();
    let lines: Vec<_> = text.split_terminator('\n').collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1].as_bytes(), server.get("/events/5").body);
    assert!(text.ends_with('\n'));
}

#[test]
fn one_event_by_id() {
    let server = populated();
    assert_eq!(server.get("/events/2").json()["event_id"], 2);
    for same in ["/events/+2", "/events/02"] {
        assert_eq!(server.get(same).json()["event_id"], 2, "{same}");
    }
    for missing in ["0", "-1", "6", "99", "99999999999999999999999"] {
        let detail = server.get(&format!("/events/{missing}")).refusal(404);
        assert_eq!(detail, format!("unknown event_id: {missing}"));
    }
    for wrong in ["abc", "1.5", "1x", "%20", "0x1"] {
        server.get(&format!("/events/{wrong}")).refusal(422);
    }
}

#[test]
fn stats_and_checkpoint_follow_the_head() {
    let server = Server::start();
    assert_eq!(
        server.get("/stats").json(),
        json!({"count": 0, "last_event_id": 0, "latest_hash": null})
    );
    server.get("/checkpoint").refusal(404);
    server.append("other", "s");
    let hash = server.post("/events", r#"{"kind":"other","source":"s"}"#).json()["hash"].clone();
    assert_eq!(
        server.get("/stats").json(),
        json!({"count": 2, "last_event_id": 2, "latest_hash": hash})
    );
    assert_eq!(
        server.get("/checkpoint").json(),
        json!({"event_id": 2, "hash": hash})
    );
}

#[test]
fn unknown_routes_methods_and_slashes() {
    let server = populated();
    assert!(server.get("/nope").refusal(404).contains("GET /"));
    for (method, path, allowed) in [
        ("DELETE", "/events", ["GET", "POST"].as_slice()),
        ("PUT", "/events/1", &["GET"]),
        ("OPTIONS", "/events", &["GET", "POST"]),
        ("POST", "/verify", &["GET"]),
        ("GET", "/verify/checkpoint", &["POST"]),
        ("POST", "/", &["GET"]),
    ] {
        let reply = request(server.addr, method, path, &[], b"");
        reply.refusal(405);
        let allow = reply.header("allow").unwrap_or_default().to_owned();
        for method in allowed {
            assert!(
                allow.split(',').any(|one| one.trim() == *method),
                "{method} {path}: {allow}"
            );
        }
    }
    for (path, location) in [
        ("/events/", "/events"),
        ("/events/?limit=1", "/events?limit=1"),
        ("/events/1/", "/events/1"),
        ("/verify//", "/verify"),
    ] {
        let reply = server.get(path);
        assert_eq!(
            (reply.status, reply.header("location")),
            (307, Some(location)),
            "{path}"
        );
    }
    server.get("//evil.example/").refusal(404);
    assert_eq!(request(server.addr, "HEAD", "/events", &[], b"").status, 200);
}

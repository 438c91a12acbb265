//! Many logs in one server: made, listed, told apart, and bounded.

use std::io::{BufRead, BufReader};

use annals_log::LogOptions;
use annals_server::Options;
use annals_testkit::memory::{CreateFault, Step};
use serde_json::{Value, json};

use crate::support::{Connection, Reply, Server, eventually, ids_of, request};

fn make(server: &Server, name: &str) -> Reply {
    server.post("/logs", json!({"name": name}).to_string())
}

fn with_logs(names: &[&str]) -> Server {
    let server = Server::start();
    for name in names {
        let reply = make(&server, name);
        assert_eq!(reply.status, 201, "{}", reply.text());
    }
    server
}

/// Appends one event, whose source says where it belongs.
fn append(server: &Server, path: &str, source: &str) -> Value {
    let reply = server.post(path, json!({"kind": "other", "source": source}).to_string());
    assert_eq!(reply.status, 201, "{}", reply.text());
    reply.json()
}

fn names(server: &Server) -> Vec<String> {
    let list = server.get("/logs").json();
    let logs = list["logs"].as_array().unwrap().iter();
    logs.map(|log| log["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_log_is_made_shown_and_listed() {
    let server = Server::start();
    assert_eq!(names(&server), ["default"]);
    let reply = make(&server, "payments-2026_eu");
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.header("location"), Some("/logs/payments-2026_eu"));
    let made = reply.json();
    assert_eq!(made["events"], 0);
    assert_eq!(made["latest_hash"], Value::Null);
    assert_eq!(made["uuid"].as_str().unwrap().len(), 36);
    assert!(!made["origin"].as_str().unwrap().is_empty());
    assert!(made["created_at"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(server.get("/logs/payments-2026_eu").json(), made);
    let event = append(&server, "/logs/payments-2026_eu/events", "s");
    let shown = server.get("/logs/payments-2026_eu").json();
    assert_eq!(
        (&shown["events"], &shown["latest_hash"]),
        (&json!(1), &event["hash"])
    );
    assert_eq!(shown["uuid"], made["uuid"]);
    let list = server.get("/logs").json();
    assert_eq!(names(&server), ["default", "payments-2026_eu"]);
    assert_eq!(list["logs"][1], shown);
    assert_eq!(list["logs"][0], server.get("/logs/default").json());
}

/// Red when: `NewLog` lets unknown members pass; `name_of` answers a bad name with `Kind::BadRequest`.
#[test]
fn a_bad_name_is_told_the_rule() {
    let server = Server::start();
    for (name, rule) in [
        ("", "must not be empty"),
        ("-a", "begins with one of a-z or 0-9"),
        ("A", "only a-z, 0-9, _ and -"),
        ("a/b", "only a-z, 0-9, _ and -"),
        ("a.b", "only a-z, 0-9, _ and -"),
        ("\u{e4}", "only a-z, 0-9, _ and -"),
        (&"a".repeat(64), "at most 63"),
    ] {
        let reply = make(&server, name);
        assert!(reply.refusal(422).contains(rule), "{name}: {}", reply.text());
        assert_eq!(reply.fields(), ["name"], "{name}");
    }
    for body in [
        "",
        "{}",
        "[]",
        r#""a""#,
        r#"{"name":1}"#,
        r#"{"name":"a","size":3}"#,
        r#"{"name":"a","name":"b"}"#,
        r#"{"name":"a"} {"#,
    ] {
        server.post("/logs", body).refusal(422);
    }
    server.post("/logs?name=a", r#"{"name":"a"}"#).refusal(400);
    server
        .post("/logs", format!(r#"{{"name":"{}"}}"#, "a".repeat(2000)))
        .refusal(413);
    let lines = [("content-type", "application/x-ndjson")];
    request(server.addr, "POST", "/logs", &lines, br#"{"name":"a"}"#).refusal(415);
    for (method, path, allow) in [
        ("PUT", "/logs", "GET,HEAD,POST"),
        ("DELETE", "/logs", "GET,HEAD,POST"),
        ("POST", "/logs/default", "GET,HEAD"),
        ("DELETE", "/logs/default", "GET,HEAD"),
        ("PUT", "/logs/default/events", "GET,HEAD,POST"),
    ] {
        let reply = request(server.addr, method, path, &[], b"");
        reply.refusal(405);
        let mut allowed: Vec<&str> = reply.header("allow").unwrap().split(',').collect();
        allowed.sort_unstable();
        assert_eq!(allowed.join(","), allow, "{method} {path}");
    }
    assert_eq!(names(&server), ["default"]);
}

#[test]
fn a_name_means_one_log() {
    let server = with_logs(&["a"]);
    append(&server, "/logs/a/events", "s");
    for name in ["a", "default"] {
        let reply = make(&server, name);
        assert!(reply.refusal(409).contains(name));
        assert_eq!(reply.json()["type"], "urn:annals:problem:log-exists");
    }
    assert_eq!(server.get("/logs/a/stats").json()["count"], 1);
}

/// Red when: `LogOptions::logs_max` is not looked at.
#[test]
fn logs_are_bounded() {
    let options = LogOptions {
        logs_max: 3,
        ..LogOptions::default()
    };
    let server = Server::with(Options::default(), options);
    assert_eq!(make(&server, "a").status, 201);
    assert_eq!(make(&server, "b").status, 201);
    let reply = make(&server, "c");
    assert!(reply.refusal(507).contains('3'), "{}", reply.text());
    assert_eq!(reply.json()["type"], "urn:annals:problem:too-many-logs");
    assert_eq!(names(&server), ["a", "b", "default"]);
    append(&server, "/logs/b/events", "s");
}

/// Red when: `From<CreateError>` maps `Unknown` to `WriteFailed`.
#[test]
fn a_log_that_is_not_made_says_why() {
    let server = Server::start();
    server.engine.fail_create(CreateFault::NoSpace, false);
    make(&server, "a").refusal(507);
    server.engine.fail_create(CreateFault::Storage, false);
    let reply = make(&server, "a");
    reply.refusal(503);
    assert_eq!(reply.header("retry-after"), Some("1"));
    for (name, written) in [("a", false), ("b", true)] {
        let hold = server.engine.hold(Step::Recover);
        server.engine.fail_create(CreateFault::Unknown, written);
        let reply = make(&server, name);
        assert!(reply.refusal(503).contains("unknown"));
        assert_eq!(reply.json()["type"], "urn:annals:problem:outcome-unknown");
        assert_eq!(reply.header("retry-after"), None);
        let busy = make(&server, name);
        assert!(busy.refusal(503).contains("recovering"));
        assert_eq!(busy.header("retry-after"), Some("1"));
        drop(hold);
        eventually("readiness", || {
            (server.get("/readyz").status == 200).then_some(())
        });
        // Sent again, it is made, or was.
        assert_eq!(make(&server, name).status, if written { 409 } else { 201 });
        append(&server, &format!("/logs/{name}/events"), "s");
    }
}

/// Red when: `Logs::find` opens the log `default` for every name, or takes its writer.
#[test]
fn what_is_in_one_log_is_in_no_other() {
    let server = with_logs(&["a", "b"]);
    for round in 0..10 {
        for (path, source) in [
            ("/events", "default"),
            ("/logs/a/events", "a"),
            ("/logs/b/events", "b"),
        ] {
            if source == "b" && round % 2 == 1 {
                continue;
            }
            let event = append(&server, path, source);
            let expected = if source == "b" { round / 2 + 1 } else { round + 1 };
            assert_eq!(event["event_id"], expected, "{source} counts by itself");
        }
    }
    for (prefix, source, count) in [
        ("", "default", 10),
        ("/logs/default", "default", 10),
        ("/logs/a", "a", 10),
        ("/logs/b", "b", 5),
    ] {
        let get = |path: &str| server.get(&format!("{prefix}{path}"));
        let events = get("/events").json();
        assert_eq!(ids_of(&events), (1..=count).collect::<Vec<u64>>(), "{prefix}");
        let events = events.as_array().unwrap();
        let mut prev_hash = "0".repeat(64);
        for event in events {
            assert_eq!(event["source"], source);
            assert_eq!(event["prev_hash"], prev_hash.as_str());
            prev_hash = event["hash"].as_str().unwrap().to_owned();
        }
        assert_eq!(get("/events/3").json(), events[2]);
        assert_eq!(get(&format!("/events/{count}")).status, 200);
        get(&format!("/events/{}", count + 1)).refusal(404);
        let stats = get("/stats").json();
        assert_eq!(
            (&stats["count"], &stats["latest_hash"]),
            (&json!(count), &json!(prev_hash))
        );
        assert_eq!(get("/events/count").json()["count"], count);
        assert_eq!(
            get(&format!("/events/count?source={source}")).json()["count"],
            count
        );
        assert_eq!(get("/events/count?source=nobody").json()["count"], 0);
        let histogram = get("/events/histogram?buckets=1").json();
        assert_eq!(histogram["buckets"][0]["count"], count, "{histogram}");
        for path in ["/verify", "/verify?full=true"] {
            let verified = get(path).json();
            assert_eq!(
                (&verified["valid"], &verified["checked"]),
                (&json!(true), &json!(count))
            );
        }
        let checkpoint = get("/checkpoint").json();
        assert_eq!(checkpoint["hash"], prev_hash.as_str());
        for (other, contained) in [
            ("/logs/a", source == "a"),
            ("/logs/b", source == "b"),
            ("", source == "default"),
        ] {
            let verdict = server.post(&format!("{other}/verify/checkpoint"), checkpoint.to_string());
            assert_eq!(verdict.json()["contained"], contained, "{prefix} in {other}");
        }
    }
}

/// Red when: `link` gets the route's path instead of the request's.
#[test]
fn links_stay_in_the_log() {
    let server = with_logs(&["a"]);
    for _ in 0..5 {
        append(&server, "/logs/a/events", "a");
        append(&server, "/events", "default");
    }
    let page = server.get("/logs/a/events?order=newest&limit=3");
    assert_eq!(ids_of(&page.json()), [5, 4, 3]);
    let link = page.header("link").unwrap();
    let next = &link[1..link.find('>').unwrap()];
    assert!(next.starts_with("/logs/a/events?"), "{next}");
    let page = server.get(next).json();
    assert_eq!(ids_of(&page), [2, 1]);
    assert_eq!(page[0]["source"], "a");
    // Its cursor is of that log only.
    server.get(&next.replace("/logs/a/", "/")).refusal(400);
}

#[test]
fn several_logs_are_asked_at_the_root_only() {
    let server = with_logs(&["a", "b"]);
    append(&server, "/logs/b/events", "b");
    append(&server, "/logs/a/events", "a");
    append(&server, "/events", "default");
    let both = server.get("/events?log=a&log=b").json();
    let items = both.as_array().unwrap().iter();
    let items: Vec<_> = items
        .map(|item| (&item["log"], &item["event"]["source"]))
        .collect();
    assert_eq!(items, [(&json!("b"), &json!("b")), (&json!("a"), &json!("a"))]);
    assert_eq!(server.get("/events?log=a").json()[0]["source"], "a");
    let counted = server.get("/events/count?log=default&log=a").json();
    assert_eq!(counted["count"], 2);
    let refused = server.get("/events?log=a&log=nope");
    let detail = refused.refusal(400);
    assert!(
        detail.contains("nope") && detail.contains("GET /logs"),
        "{detail}"
    );
    assert_eq!(server.get("/logs/a/events?log=b").fields(), ["log"]);
}

/// Red when: `App::source` follows the log `default` for every log.
#[test]
fn a_stream_is_of_its_log() {
    let server = with_logs(&["a", "b"]);
    let mut readers = ["/stream", "/logs/a/stream", "/logs/b/stream"].map(|path| {
        let mut connection = Connection::open(server.addr);
        connection.send("GET", path, &[], b"");
        let (status, headers) = connection.reply_head();
        assert_eq!(status, 200);
        BufReader::new(connection.into_body(&headers))
            .lines()
            .map(Result::unwrap)
    });
    for reader in &mut readers {
        assert!(reader.next().unwrap().starts_with(": "));
    }
    append(&server, "/logs/b/events", "b1");
    append(&server, "/events", "d1");
    append(&server, "/logs/a/events", "a1");
    append(&server, "/logs/b/events", "b2");
    for (reader, sources) in readers.iter_mut().zip([&["d1"][..], &["a1"], &["b1", "b2"]]) {
        let mut data = reader.filter_map(|line| {
            assert_ne!(line, ": heartbeat", "the event was before it");
            let data = line.strip_prefix("data: ")?;
            Some(serde_json::from_str::<Value>(data).unwrap())
        });
        for (index, source) in sources.iter().enumerate() {
            let event = data.next().unwrap();
            assert_eq!(
                (&event["source"], &event["event_id"]),
                (&json!(source), &json!(index + 1))
            );
        }
    }
}

/// Red when: an unknown log is taken for `default`; `append` does not pass the refusal through `nothing_stored`.
#[test]
fn a_log_that_there_is_not_is_named() {
    let server = with_logs(&["a"]);
    for path in [
        "",
        "/events",
        "/events/1",
        "/events/count",
        "/events/histogram",
        "/stream",
        "/verify",
        "/checkpoint",
        "/stats",
    ] {
        let detail = server.get(&format!("/logs/nope{path}")).refusal(404);
        assert!(
            detail.contains("\"nope\"") && detail.contains("GET /logs"),
            "{detail}"
        );
    }
    let reply = server.post("/logs/nope/events", r#"{"kind":"other","source":"s"}"#);
    assert!(reply.refusal(404).contains("nope"));
    assert_eq!(reply.json()["outcome"], "not_stored");
    let checkpoint = json!({"event_id": 1, "hash": "0".repeat(64)}).to_string();
    server
        .post("/logs/nope/verify/checkpoint", checkpoint)
        .refusal(404);
    for (name, rule) in [
        ("Nope", "only a-z, 0-9, _ and -"),
        ("a%2Fb", "only a-z, 0-9, _ and -"),
        ("..", "begins with one of a-z or 0-9, not with '.'"),
        ("%20", "only a-z, 0-9, _ and -"),
        ("_a", "begins with one of a-z or 0-9"),
        (&"a".repeat(200), "at most 63"),
    ] {
        let detail = server.get(&format!("/logs/{name}/events")).refusal(404);
        assert!(
            detail.contains(rule) || detail.contains("only a-z"),
            "{name}: {detail}"
        );
        assert!(detail.len() < 400, "{detail}");
    }
    server.get("/logs/%ff/events").refusal(400);
    server.get("/events/%ff").refusal(400);
    // Percent-encoded, it is the same name.
    assert_eq!(server.get("/logs/%61/stats").status, 200);
    assert_eq!(names(&server), ["a", "default"]);
}

#[test]
fn a_slash_too_many_leads_back() {
    let server = with_logs(&["a"]);
    for (path, location) in [
        ("/logs/", "/logs"),
        ("/logs/a/", "/logs/a"),
        ("/logs/a/events/", "/logs/a/events"),
        ("/logs/a/events/count/?source=s", "/logs/a/events/count?source=s"),
        ("/logs/a/verify/checkpoint/", "/logs/a/verify/checkpoint"),
    ] {
        let reply = server.get(path);
        assert_eq!(
            (reply.status, reply.header("location")),
            (307, Some(location)),
            "{path}"
        );
    }
    for path in [
        "/logs/a/nope/",
        "/logs/a/healthz",
        "/logs/a/logs",
        "/logs//events",
        "/logs/a/b/events",
    ] {
        server.get(path).refusal(404);
    }
}

/// Red when: one verifier serves all logs.
#[test]
fn damage_in_one_log_is_not_anothers() {
    let server = with_logs(&["a"]);
    for _ in 0..3 {
        append(&server, "/events", "default");
        append(&server, "/logs/a/events", "a");
    }
    server.spoil.lock().unwrap().damaged = Some(2);
    for path in ["/verify", "/verify?full=true"] {
        assert_eq!(server.get(path).json()["first_break_at"], 2);
        assert_eq!(server.get(&format!("/logs/a{path}")).json()["valid"], true);
        assert_eq!(server.get(&format!("/logs/default{path}")).json()["valid"], false);
    }
    server.get("/events").refusal(500);
    assert_eq!(ids_of(&server.get("/logs/a/events").json()), [1, 2, 3]);
}

/// Red when: `Front::check` only knows the root's `/events`.
#[test]
fn pages_of_other_sites_reach_no_log() {
    let server = with_logs(&["a"]);
    let event = br#"{"kind":"other","source":"s"}"#;
    for header in [
        ("host", "evil.example"),
        ("origin", "http://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let post = |path: &str, body: &[u8]| {
            let headers = [("content-type", "application/json"), header];
            request(server.addr, "POST", path, &headers, body)
        };
        let reply = post("/logs/a/events", event);
        reply.refusal(403);
        assert_eq!(reply.json()["outcome"], "not_stored");
        let reply = post("/logs", br#"{"name":"b"}"#);
        reply.refusal(403);
        assert_eq!(reply.json().get("outcome"), None);
    }
    assert_eq!(names(&server), ["a", "default"]);
    assert_eq!(server.get("/logs/a/stats").json()["count"], 0);
}

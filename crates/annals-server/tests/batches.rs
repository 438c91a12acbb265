//! Batches: all or nothing, one receipt an item, and what is said about bad ones.

use serde_json::{Value, json};

use crate::support::{Server, ids_of, request};

const GOOD: &str = r#"{"kind":"other","source":"s"}"#;

#[test]
fn an_array_answers_an_array_of_receipts() {
    let server = Server::start();
    server.append("other", "before");
    let reply = server.post(
        "/events",
        format!(r#" [ {GOOD} , {{"kind":"other","source":"t","timestamp":"then"}} ] "#),
    );
    assert_eq!(reply.status, 201, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    let receipts = reply.json();
    assert_eq!(ids_of(&receipts), [2, 3]);
    for receipt in receipts.as_array().unwrap() {
        let event = server.get(&format!("/events/{}", receipt["event_id"])).json();
        assert_eq!(
            receipt,
            &json!({"event_id": event["event_id"], "timestamp": event["timestamp"], "hash": event["hash"]})
        );
    }
    assert_eq!(receipts[1]["timestamp"], "then");
}

#[test]
fn lines_answer_lines_of_receipts() {
    let server = Server::start();
    for media_type in ["application/x-ndjson", "application/jsonl; charset=UTF-8"] {
        let before = server.head_size();
        let body = format!("{GOOD}\r\n\n  \n{GOOD}");
        let reply = request(
            server.addr,
            "POST",
            "/events",
            &[("content-type", media_type)],
            body.as_bytes(),
        );
        assert_eq!(reply.status, 201, "{}", reply.text());
        assert_eq!(reply.header("content-type"), Some("application/x-ndjson"));
        let text = reply.text();
        assert!(text.ends_with("}\n"));
        let receipts = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(ids_of(&Value::Array(receipts)), [before + 1, before + 2]);
    }
}

/// Red when: `is_really_lines` answers false.
#[test]
fn lines_that_are_called_json_are_told_how_to_be_sent() {
    let server = Server::start();
    let declared: [&[(&str, &str)]; 2] = [&[("content-type", "application/json")], &[]];
    for headers in declared {
        for body in [
            format!("{GOOD}\n{GOOD}\n"),
            format!("{GOOD}\r\n\r\n{GOOD}"),
            format!("{GOOD} \n {{\"kind\": torn"),
            // The first object need not be a good event.
            format!("{{\"a\":1}}\n{GOOD}"),
            // Large bodies are parsed elsewhere.
            vec![GOOD; 5000].join("\n"),
        ] {
            let reply = request(server.addr, "POST", "/events", headers, body.as_bytes());
            let detail = reply.refusal(422);
            assert!(detail.contains("application/x-ndjson"), "{detail}");
            assert_eq!(reply.json()["outcome"], "not_stored");
        }
        for other in [
            format!("{GOOD}{GOOD}"),
            format!("{GOOD}\nrubbish"),
            format!("{GOOD}\n[{GOOD}]"),
            format!("{{\n{GOOD}"),
        ] {
            let reply = request(server.addr, "POST", "/events", headers, other.as_bytes());
            assert!(!reply.refusal(422).contains("ndjson"), "{other}");
        }
    }
    assert_eq!(server.head_size(), 0);
}

#[test]
fn a_large_batch_takes_the_other_way_and_comes_out_the_same() {
    let server = Server::start();
    let line = format!(
        r#"{{"kind":"other","source":"s","payload":{{"pad":"{}"}}}}"#,
        "x".repeat(200)
    );
    let count = 3000_u64;
    let body = vec![line.as_str(); 3000].join("\n");
    let reply = server.post_lines(&body);
    assert_eq!(reply.status, 201);
    assert_eq!(reply.text().lines().count(), 3000);
    let reply = server.post("/events", format!("[{}]", vec![line.as_str(); 3000].join(",")));
    assert_eq!(ids_of(&reply.json()), (count + 1..=2 * count).collect::<Vec<_>>());
    // The whole log, several pieces of it, comes back as it went in.
    assert_eq!(server.ids("?limit=100000"), (1..=2 * count).collect::<Vec<_>>());
    assert_eq!(
        server.ids("?limit=100000&source=s"),
        (1..=2 * count).collect::<Vec<_>>()
    );
    assert_eq!(server.ids("?limit=100000&source=s&after=0").len(), 6000);
    assert_eq!(server.get("/verify").json()["checked"], 6000);
}

/// Red when: `Intake::finish` returns the batch although there are errors.
#[test]
fn one_bad_item_refuses_the_whole_batch() {
    let server = Server::start();
    let bad = r#"{"kind":"nope","source":""}"#;
    let reply = server.post("/events", format!("[{GOOD},{GOOD},{GOOD},{bad},{GOOD}]"));
    let detail = reply.refusal(422);
    assert_eq!(reply.fields(), ["items[3].kind", "items[3].source"]);
    assert!(
        detail.starts_with("`items[3].kind` is \"nope\"") && detail.contains("nothing of the batch"),
        "{detail}"
    );
    assert_eq!(reply.json()["outcome"], "not_stored");

    let reply = server.post_lines(format!("{GOOD}\n\n{bad}\n{GOOD}\n"));
    reply.refusal(422);
    assert_eq!(reply.fields(), ["line 3: kind", "line 3: source"]);
    assert_eq!(server.head_size(), 0);
}

#[test]
fn errors_are_bounded() {
    let server = Server::start();
    let reply = server.post("/events", format!("[{}]", vec!["{}"; 10_000].join(",")));
    reply.refusal(422);
    assert_eq!(reply.fields().len(), 20);
    assert!(reply.body.len() < 4096);
    // Names that the caller made up do not come back at length.
    let reply = server.post(
        "/events",
        format!(r#"{{"kind":"other","source":"s","{}":1}}"#, "k".repeat(100_000)),
    );
    reply.refusal(422);
    assert!(reply.body.len() < 1024, "{}", reply.body.len());
}

#[test]
fn empty_batches_are_refused() {
    let server = Server::start();
    for body in ["[]", " [ ] "] {
        assert!(server.post("/events", body).refusal(422).contains("no event"));
    }
    for body in ["", "\n", " \r\n\t\n"] {
        assert!(server.post_lines(body).refusal(422).contains("no event"));
    }
}

#[test]
fn malformed_bodies() {
    let server = Server::start();
    let deep = format!(
        r#"{{"kind":"other","source":"s","payload":{}{}}}"#,
        r#"{"a":"#.repeat(130),
        "}".repeat(130)
    );
    let cases: [(&str, &[u8]); 22] = [
        ("nothing", b""),
        ("white", b"  "),
        ("half an object", b"{bad"),
        ("a string", b"\"text\""),
        ("a number", b"17"),
        ("null", b"null"),
        (
            "two objects",
            br#"{"kind":"other","source":"s"}{"kind":"other","source":"s"}"#,
        ),
        ("trailing comma", br#"[{"kind":"other","source":"s"},]"#),
        (
            "no comma",
            br#"[{"kind":"other","source":"s"} {"kind":"other","source":"s"}]"#,
        ),
        ("open array", br#"[{"kind":"other","source":"s"}"#),
        ("after the array", br#"[{"kind":"other","source":"s"}]x"#),
        ("array of arrays", br#"[[{"kind":"other","source":"s"}]]"#),
        ("array of null", b"[null]"),
        ("not UTF-8", b"{\"kind\":\"other\",\"source\":\"\xff\"}"),
        ("overlong UTF-8", b"{\"kind\":\"other\",\"source\":\"\xc0\xaf\"}"),
        (
            "byte order mark",
            b"\xef\xbb\xbf{\"kind\":\"other\",\"source\":\"s\"}",
        ),
        (
            "lone surrogate",
            br#"{"kind":"other","source":"s","payload":{"a":"\ud800"}}"#,
        ),
        ("NaN", br#"{"kind":"other","source":"s","payload":{"a":NaN}}"#),
        (
            "infinity",
            br#"{"kind":"other","source":"s","payload":{"a":1e999}}"#,
        ),
        ("control character", b"{\"kind\":\"other\",\"source\":\"a\nb\"}"),
        (
            "escaped control character in source",
            br#"{"kind":"other","source":"a\u0000b"}"#,
        ),
        ("too deep", deep.as_bytes()),
    ];
    for (what, body) in cases {
        let reply = server.post("/events", body);
        assert_eq!(reply.status, 422, "{what}: {}", reply.text());
        assert!(!reply.refusal(422).is_empty());
    }
    for lines in [
        "{",
        "[{\"kind\":\"other\",\"source\":\"s\"}]",
        "{\"kind\":\"other\",\n\"source\":\"s\"}",
    ] {
        assert_eq!(server.post_lines(lines).status, 422, "{lines}");
    }
    assert_eq!(server.head_size(), 0);
}

#[test]
fn media_types() {
    let server = Server::start();
    let status =
        |headers: &[(&str, &str)]| request(server.addr, "POST", "/events", headers, GOOD.as_bytes()).status;
    assert_eq!(status(&[]), 201);
    for fine in [
        "application/json",
        "Application/JSON; charset=utf-8",
        "application/json;charset=\"UTF-8\"",
        "application/problem+json",
        "application/x-ndjson",
    ] {
        assert_eq!(status(&[("content-type", fine)]), 201, "{fine}");
    }
    for other in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=latin1",
        "text/plain, application/json",
        "",
    ] {
        let reply = request(
            server.addr,
            "POST",
            "/events",
            &[("content-type", other)],
            GOOD.as_bytes(),
        );
        assert!(reply.refusal(415).contains("application/json"), "{other}");
        assert_eq!(reply.json()["outcome"], "not_stored");
    }
    assert_eq!(status(&[("content-encoding", "gzip")]), 415);
    assert_eq!(status(&[("content-encoding", "identity")]), 201);
}

/// Red when: a receipt's ids are counted from the start of its commit group instead of from its own batch.
#[test]
fn concurrent_producers_get_consecutive_runs() {
    const PRODUCERS: usize = 8;
    const ROUNDS: usize = 25;
    let server = Server::start();
    std::thread::scope(|scope| {
        for producer in 0..PRODUCERS {
            let server = &server;
            scope.spawn(move || {
                let batch = vec![format!(r#"{{"kind":"other","source":"p{producer}"}}"#); 5].join(",");
                for _ in 0..ROUNDS {
                    let ids = ids_of(&server.post("/events", format!("[{batch}]")).json());
                    assert!(
                        ids.windows(2).all(|pair| pair[1] == pair[0] + 1) && ids.len() == 5,
                        "{ids:?}"
                    );
                    for id in [ids[0], ids[4]] {
                        assert_eq!(
                            server.get(&format!("/events/{id}")).json()["source"],
                            format!("p{producer}")
                        );
                    }
                }
            });
        }
    });
    let total = (PRODUCERS * ROUNDS * 5) as u64;
    assert_eq!(server.ids("?limit=100000"), (1..=total).collect::<Vec<_>>());
    assert_eq!(server.get("/verify").json()["valid"], true);
}

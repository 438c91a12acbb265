//! `/verify`: what it says, how much it reads, and that it never takes a break back.

use serde_json::{Value, json};

use crate::support::Server;

fn with_events(count: usize) -> Server {
    let server = Server::start();
    for chunk in vec![r#"{"kind":"other","source":"s"}"#; count].chunks(1000) {
        assert_eq!(server.post_lines(chunk.join("\n")).status, 201);
    }
    server
}

fn valid(checked: u64) -> Value {
    json!({"valid": true, "checked": checked, "first_break_at": null, "reason": null})
}

#[test]
fn an_empty_log_is_valid() {
    let server = Server::start();
    assert_eq!(server.get("/verify").json(), valid(0));
    assert_eq!(server.get("/verify?full=true").json(), valid(0));
}

#[test]
fn checking_goes_on_where_it_ended() {
    let server = with_events(50);
    assert_eq!(
        server.get("/verify").text(),
        r#"{"valid":true,"checked":50,"first_break_at":null,"reason":null}"#
    );
    assert_eq!(server.spoil.lock().unwrap().events_read, 50);
    server.append("other", "s");
    assert_eq!(server.get("/verify").json(), valid(51));
    // Red when: `verify` starts from `ChainState::start()` each time.
    assert_eq!(server.spoil.lock().unwrap().events_read, 51);
    assert_eq!(server.get("/verify?full=true").json(), valid(51));
    assert_eq!(server.spoil.lock().unwrap().events_read, 102);
    server.get("/verify?full=maybe").refusal(400);
    server.get("/verify?ful=true").refusal(400);
}

/// Red when: each caller runs on its own (`verify` copies the watermark instead of holding its lock).
#[test]
fn concurrent_callers_share_one_run() {
    const EVENTS: u64 = 20_000;
    let server = with_events(20_000);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(server.get("/verify").json(), valid(EVENTS)));
        }
    });
    assert_eq!(server.spoil.lock().unwrap().events_read, EVENTS);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(server.get("/verify?full=true").json(), valid(EVENTS)));
        }
    });
    // How many full runs there are depends on when their callers arrive; none is torn or repeated in part.
    let read = server.spoil.lock().unwrap().events_read - EVENTS;
    assert!(read.is_multiple_of(EVENTS) && read <= 8 * EVENTS, "{read}");
}

#[test]
fn an_answer_covers_the_head_of_its_arrival() {
    let server = with_events(100);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..200 {
                server.append("other", "s");
            }
        });
        for _ in 0..20 {
            let before = server.head_size();
            let checked = server.get("/verify").json()["checked"].as_u64().unwrap();
            let after = server.head_size();
            assert!(
                (before..=after).contains(&checked),
                "{before} <= {checked} <= {after}"
            );
        }
    });
}

#[test]
fn breaks_are_named_as_the_seed_names_them() {
    type Alter = fn(&str) -> String;
    let altered: [(Alter, &str); 3] = [
        (
            |body| body.replace("{}", r#"{"x":1}"#),
            "hash mismatch at event #2",
        ),
        (
            |body| body.replace(r#""prev_hash":""#, r#""prev_hash":"0000"#),
            "prev_hash mismatch at event #2",
        ),
        (
            |body| body.replace(r#""event_id":2"#, r#""event_id":7"#),
            "event_id should be 2, got 7",
        ),
    ];
    for (alter, reason) in altered {
        let server = with_events(3);
        let served = server.get("/events/2").text();
        let (body, _) = served.rsplit_once(r#","hash":"#).unwrap();
        server.spoil.lock().unwrap().altered = Some((2, alter(&format!("{body}}}")).into_bytes()));
        let broken = json!({"valid": false, "checked": 1, "first_break_at": 2, "reason": reason});
        assert_eq!(server.get("/verify").json(), broken);
        // The bytes are as they were again: the answer is not.
        server.spoil.lock().unwrap().altered = None;
        // Red when: `remember` does not set `broken`.
        assert_eq!(server.get("/verify").json(), broken);
        assert_eq!(server.get("/verify?full=true").json(), broken);
    }
}

#[test]
fn a_full_check_finds_what_happened_behind_the_watermark() {
    let server = with_events(10);
    assert_eq!(server.get("/verify").json(), valid(10));
    let served = server.get("/events/4").text();
    server.spoil.lock().unwrap().altered = Some((
        4,
        served.replace(r#""source":"s""#, r#""source":"t""#).into_bytes(),
    ));
    assert_eq!(server.get("/verify").json(), valid(10));
    let full = server.get("/verify?full=true").json();
    assert_eq!(
        (&full["valid"], &full["checked"], &full["first_break_at"]),
        (&json!(false), &json!(3), &json!(4))
    );
    assert_eq!(server.get("/verify").json(), full);
}

#[test]
fn damage_in_the_storage_is_a_break_with_its_place() {
    let server = with_events(10);
    server.spoil.lock().unwrap().damaged = Some(6);
    let verdict = server.get("/verify").json();
    assert_eq!(verdict["valid"], false);
    // Red when: `read_up_to_damage` does not try again with a small read.
    assert_eq!(
        (&verdict["checked"], &verdict["first_break_at"]),
        (&json!(5), &json!(6))
    );
    assert_eq!(verdict["reason"], "hash mismatch at event #6");
    assert!(
        verdict["damage"]
            .as_str()
            .unwrap()
            .contains("flipped by the test")
    );
}

#[test]
fn checkpoints_are_compared() {
    let server = with_events(5);
    let checkpoint = server.get("/checkpoint").text();
    server.append("other", "s");
    let verdict = server.post("/verify/checkpoint", &checkpoint).json();
    assert_eq!(
        verdict,
        json!({"valid": true, "checked": 6, "first_break_at": null, "reason": null, "contained": true})
    );
    let hash = server.get("/events/5").json()["hash"]
        .as_str()
        .unwrap()
        .to_owned();
    for (event_id, hash, reason) in [
        (7, hash.clone(), "checkpoint event is missing"),
        (4, hash.clone(), "checkpoint hash mismatch"),
        (5, "0".repeat(64), "checkpoint hash mismatch"),
    ] {
        let reply = server.post(
            "/verify/checkpoint",
            json!({"event_id": event_id, "hash": hash}).to_string(),
        );
        assert_eq!(reply.status, 200);
        let expected = json!({"valid": false, "checked": 6, "first_break_at": null, "reason": reason, "contained": false});
        assert_eq!(reply.json(), expected);
    }
    for bad in [
        String::from("{}"),
        String::from("not json"),
        json!({"event_id": 0, "hash": hash}).to_string(),
        json!({"event_id": -1, "hash": hash}).to_string(),
        json!({"event_id": "5", "hash": hash}).to_string(),
        json!({"event_id": 5, "hash": hash.to_uppercase()}).to_string(),
        json!({"event_id": 5, "hash": "ab"}).to_string(),
        json!({"event_id": 5, "hash": hash, "more": 1}).to_string(),
        format!(r#"{{"event_id":4,"event_id":5,"hash":"{hash}"}}"#),
    ] {
        server.post("/verify/checkpoint", &bad).refusal(422);
    }
    server.post("/verify/checkpoint", vec![b' '; 2000]).refusal(413);
    // A broken chain comes first.
    server.spoil.lock().unwrap().damaged = Some(2);
    assert_eq!(server.get("/verify?full=true").json()["valid"], false);
    let verdict = server.post("/verify/checkpoint", &checkpoint).json();
    assert_eq!(
        (
            &verdict["valid"],
            &verdict["first_break_at"],
            &verdict["contained"]
        ),
        (&json!(false), &json!(2), &json!(true))
    );
}

//! Exact bytes: written out, as CPython makes them, and as CPython reads them.

use std::io::Write;
use std::process::{Command, Stdio};

use annals_core::body;
use annals_core::canonical::{CanonicalBatch, Stamp};
use annals_core::chain::{EventId, Head, TreeSize};
use annals_core::draft::DraftParser;
use annals_core::hash::EventHash;
use annals_core::limits::EventLimits;
use annals_core::schema;
use annals_core::time::Micros;

use super::{STAMP_ID, STAMP_NONCE, batch_of, body_of, sealed};

/// Red when: `write_seed` writes a space.
#[test]
fn seed_shaped_events_have_the_seeds_members_and_no_others() {
    let zeros = EventHash::GENESIS;
    let plain = format!(
        "{{\"event_id\":1,\"kind\":\"other\",\"payload\":{{}},\"prev_hash\":\"{zeros}\",\"source\":\"s\",\
         \"timestamp\":\"1970-01-01T00:00:00.000000+00:00\"}}"
    );
    assert_eq!(body_of(r#"{"kind":"other","source":"s"}"#), plain);
    assert_eq!(
        body_of(r#"{"idempotency_key":"k","kind":"other","source":"s"}"#),
        plain
    );
    let claimed = plain.replace("1970-01-01T00:00:00.000000+00:00", "then");
    assert_eq!(
        body_of(r#"{"kind":"other","source":"s","timestamp":"then"}"#),
        claimed
    );
}

/// Red when: `write_extended` writes the id for the nonce; `seal` takes the text behind its two time stamps in the other order.
#[test]
fn every_member_stands_in_its_place() {
    let zeros = EventHash::GENESIS;
    let stamp = "1970-01-01T00:00:00.000000+00:00";
    assert_eq!(
        body_of(r#"{"kind":"other","source":"s","tenant":"t"}"#),
        format!(
            "{{\"event_id\":1,\"id\":\"{STAMP_ID}\",\"kind\":\"other\",\"nonce\":\"{STAMP_NONCE}\",\"payload\":{{}},\
             \"prev_hash\":\"{zeros}\",\"received_at\":\"{stamp}\",\"source\":\"s\",\"tenant\":\"t\",\
             \"timestamp\":\"{stamp}\",\"v\":2}}"
        )
    );
    let all = r#"{"v":2,"trace_id":"tr","timestamp":"then","tenant":"te","subject":"su","source":"s","severity":"notice",
        "session":"se","schema_version":3,"run":"ru","resource":{"type":"t","name":"n","id":"i"},
        "request":{"user_agent":"u","ip":"::1","id":"r"},"payload":{"b":1,"a":2},"outcome":"denied","kind":"other",
        "id":"00000000-0000-0000-0000-000000000001","grant":"gr","changes":[{"path":"/p","new":1.0,"old":null}],
        "attempt_id":"at","actor":{"type":"t","on_behalf_of":"o","name":"n","id":"i"}}"#;
    assert_eq!(
        body_of(all),
        format!(
            "{{\"actor\":{{\"id\":\"i\",\"name\":\"n\",\"on_behalf_of\":\"o\",\"type\":\"t\"}},\"attempt_id\":\"at\",\
             \"changes\":[{{\"new\":1.0,\"old\":null,\"path\":\"/p\"}}],\"event_id\":1,\"grant\":\"gr\",\
             \"id\":\"00000000-0000-0000-0000-000000000001\",\"kind\":\"other\",\"nonce\":\"{STAMP_NONCE}\",\
             \"outcome\":\"denied\",\"payload\":{{\"a\":2,\"b\":1}},\"prev_hash\":\"{zeros}\",\"received_at\":\"{stamp}\",\
             \"request\":{{\"id\":\"r\",\"ip\":\"::1\",\"user_agent\":\"u\"}},\
             \"resource\":{{\"id\":\"i\",\"name\":\"n\",\"type\":\"t\"}},\"run\":\"ru\",\"schema_version\":3,\
             \"session\":\"se\",\"severity\":\"notice\",\"source\":\"s\",\"subject\":\"su\",\"tenant\":\"te\",\
             \"timestamp\":\"then\",\"trace_id\":\"tr\",\"v\":2}}"
        )
    );
}

/// Red when: `STAMP_BYTES_MAX` is one byte less (no event needs more, this one needs all).
#[test]
fn the_bound_of_the_stamps_is_exact() {
    let batch = batch_of([r#"{"kind":"other","source":"s","tenant":"t"}"#]);
    let last = Head {
        size: TreeSize(u64::MAX - 1),
        hash: EventHash::of(b""),
        received_at: Micros(0),
    };
    let sealed = sealed(&last, Micros(0), &batch);
    assert_eq!(sealed.bodies().len(), batch.sealed_bytes_max());
}

#[derive(serde::Deserialize)]
struct Vectors {
    vectors: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    sent: String,
    stamp_id: String,
    stamp_nonce: String,
    received_at: i64,
    body: String,
    hash: String,
}

fn bytes_of(hex: &str) -> [u8; 16] {
    u128::from_str_radix(hex, 16).unwrap().to_be_bytes()
}

/// Red when: `extended` is not sorted; `write_extended` writes the id for the nonce; `write_seed` writes a space.
#[test]
fn events_as_cpython_seals_them() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/vectors-own/python-events.json"
    ));
    let vectors: Vectors = serde_json::from_str(text).unwrap();
    assert!(vectors.vectors.len() >= 100);
    let limits = EventLimits::default();
    let mut parser = DraftParser::new(limits);
    let mut head = Head::EMPTY;
    for vector in vectors.vectors {
        let mut batch = CanonicalBatch::default();
        let draft = parser.parse(vector.sent.as_bytes()).unwrap();
        let stamp = Stamp {
            id: bytes_of(&vector.stamp_id),
            nonce: bytes_of(&vector.stamp_nonce),
        };
        batch.push(&draft, &limits, || stamp).unwrap();
        let sealed = sealed(&head, Micros(vector.received_at), &batch);
        assert_eq!(std::str::from_utf8(sealed.body(0)), Ok(vector.body.as_str()));
        assert_eq!(sealed.hashes()[0].to_string(), vector.hash);
        head = sealed.after();
    }
}

/// Another program, from the served bytes and Python's standard library alone.
///
/// Red when: `write_served` adds a member; `pieces` forgets where the event before ended.
#[test]
fn cpython_recomputes_the_hash_of_served_events() {
    const PROGRAM: &str = r#"
import hashlib, json, sys
prev, events = "0" * 64, 0
for line in sys.stdin:
    event = json.loads(line)
    stated = event.pop("hash")
    body = json.dumps(event, sort_keys=True, separators=(",", ":"))
    assert event["event_id"] == events + 1 and event["prev_hash"] == prev, line
    assert hashlib.sha256(body.encode()).hexdigest() == stated, line
    prev, events = stated, events + 1
print(events, prev)
"#;
    let batch = batch_of([
        r#"{"kind":"other","source":"seed"}"#,
        r#"{"kind":"other","source":"é","actor":{"id":"\u0416\ud83d\ude00"},"payload":{"f":1e-7}}"#,
        r#"{"kind":"other","source":"s","changes":[{"path":"","old":-0.0,"new":[1E16,100000000000000000000]}]}"#,
    ]);
    let sealed = sealed(&Head::EMPTY, Micros(1_778_814_855_123_456), &batch);
    let mut served = Vec::new();
    for (index, hash) in sealed.hashes().iter().enumerate() {
        body::write_served(sealed.body(index), hash, &mut served);
        served.push(b'\n');
    }
    let mut python = Command::new("python3")
        .args(["-c", PROGRAM])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed: apt-get install python3");
    python.stdin.take().unwrap().write_all(&served).unwrap();
    let output = python.wait_with_output().unwrap();
    let last = sealed.hashes()[2];
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("3 {last}\n"));
    assert_eq!(sealed.after().size.last(), EventId::new(3));
}

/// Red when: a row of the table changes and `docs/format.md` does not; the table here is then what belongs there.
#[test]
fn the_documentation_has_the_table_of_members() {
    let page = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/format.md"));
    let table = schema::markdown();
    assert!(
        page.contains(&table),
        "docs/format.md should have this table:\n{table}"
    );
}

//! What makes two requests the same one.

use annals_core::draft::{DraftParser, RequestDigest};
use sha2::{Digest, Sha256};

fn digest(event: &str) -> [u8; 32] {
    DraftParser::default().parse(event.as_bytes()).unwrap().digest()
}

fn sha256(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

/// Red when: the line feed is left out; `v` is taken as it was sent; an absent payload is left out.
#[test]
fn a_digest_is_of_the_canonical_members_that_were_sent() {
    let seed = r#"{"kind":"other","payload":{},"source":"s"}"#.to_owned() + "\n";
    for event in [
        r#"{"kind":"other","source":"s"}"#,
        r#"{"source":"s","payload":{},"kind":"\u006fther"}"#,
        r#"{"kind":"other","source":"s","timestamp":null,"idempotency_key":"k"}"#,
        r#"{"kind":"other","source":"s","timestamp":"","idempotency_key":"other"}"#,
    ] {
        assert_eq!(digest(event), sha256(&seed), "{event}");
    }
    let extended =
        r#"{"kind":"other","payload":{"a":1.5},"source":"s","tenant":"t","timestamp":"then","v":2}"#
            .to_owned()
            + "\n";
    for event in [
        r#"{"kind":"other","source":"s","tenant":"t","timestamp":"then","payload":{"a":1.50}}"#,
        r#"{"v":2,"tenant":"t", "timestamp":"then","source":"s","payload":{"a":15e-1},"kind":"other"}"#,
    ] {
        assert_eq!(digest(event), sha256(&extended), "{event}");
    }
    assert_ne!(digest(r#"{"kind":"other","source":"s","v":2}"#), sha256(&seed));
}

/// Red when: `add` ignores an event; when nothing stands between two events.
#[test]
fn a_batch_is_its_events_in_order() {
    let (one, two) = (
        r#"{"kind":"other","source":"1"}"#,
        r#"{"kind":"other","source":"2"}"#,
    );
    let of = |events: [&str; 2]| {
        let mut parser = DraftParser::default();
        let mut digest = RequestDigest::default();
        for event in events {
            digest.add(&parser.parse(event.as_bytes()).unwrap());
        }
        digest.finish()
    };
    assert_eq!(
        of([one, two]),
        sha256(concat!(
            r#"{"kind":"other","payload":{},"source":"1"}"#,
            "\n",
            r#"{"kind":"other","payload":{},"source":"2"}"#,
            "\n"
        ))
    );
    assert_ne!(of([one, two]), of([two, one]));
}

#[test]
fn a_key_is_read_as_it_was_meant() {
    let mut parser = DraftParser::default();
    let draft = parser
        .parse(br#"{"kind":"other","source":"s","idempotency_key":"a\u0022\\b"}"#)
        .unwrap();
    assert_eq!(draft.idempotency_key().as_deref(), Some("a\"\\b"));
    assert!(!draft.is_extended());
    let draft = parser.parse(br#"{"kind":"other","source":"s","v":2}"#).unwrap();
    assert_eq!(draft.idempotency_key(), None);
    assert!(draft.is_extended());
}

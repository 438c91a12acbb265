//! What other implementations say is canonical.

use annals_core::canon::{canonical_members, check_canonical, write_string};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::canonical;

#[derive(serde::Deserialize)]
struct Cases {
    cases: Vec<Case>,
}

#[derive(serde::Deserialize)]
struct Case {
    name: String,
    input: String,
    canonical: String,
    sha256: String,
}

/// Red when: `Escape::hex` uses upper-case digits; `ZEROS[..places - integer.len()]` becomes one longer.
#[test]
fn the_reference_implementations_canonical_json() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/vectors/canonical-json.json"
    ));
    let cases: Cases = serde_json::from_str(text).unwrap();
    assert!(cases.cases.len() >= 222);
    for case in cases.cases {
        let got = canonical(&case.input).unwrap_or_else(|error| panic!("{}: {error}", case.name));
        assert_eq!(got, case.canonical, "{}", case.name);
        assert_eq!(sha256_hex(got.as_bytes()), case.sha256, "{}", case.name);
        check_canonical(got.as_bytes(), 128).unwrap_or_else(|error| panic!("{}: {error}", case.name));
    }
}

#[derive(serde::Deserialize)]
struct Chain<'a> {
    #[serde(borrow)]
    chain: Vec<Link<'a>>,
}

#[derive(serde::Deserialize)]
struct Link<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(serde::Deserialize)]
struct Stored {
    hash: String,
}

/// Red when: `sort_by` in `Keys::sort_members` compares the other way round.
#[test]
fn the_reference_implementations_events_hash_to_their_hash() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/vectors/hash-chain.json"
    ));
    let chain: Chain<'_> = serde_json::from_str(text).unwrap();
    assert!(chain.chain.len() >= 60);
    for link in chain.chain {
        let event = link.event.get();
        let stored: Stored = serde_json::from_str(event).unwrap();
        assert_eq!(
            sha256_hex(canonical(without_hash(event)).unwrap().as_bytes()),
            stored.hash,
            "{event}"
        );
    }
}

/// The event's other members, as they are written.
fn without_hash(event: &str) -> String {
    let members = canonical_members(event.as_bytes(), 128, &mut Vec::new()).unwrap();
    let mut body = Vec::new();
    for member in members.iter().filter(|member| member.key != "hash") {
        body.push(if body.is_empty() { b'{' } else { b',' });
        write_string(&member.key, &mut body);
        body.push(b':');
        body.extend_from_slice(member.raw);
    }
    body.push(b'}');
    String::from_utf8(body).unwrap()
}

#[derive(serde::Deserialize)]
struct Pairs {
    vectors: Vec<(String, String)>,
}

/// Red when: `even_of_tie` always answers `None` (1125899906842624.25), `-4..16` becomes `-4..17` or `-5..16`.
#[test]
fn floats_as_cpython_prints_them() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/vectors-own/python-floats.json"
    ));
    let floats: Pairs = serde_json::from_str(text).unwrap();
    assert!(floats.vectors.len() >= 2_000);
    for (literal, repr) in floats.vectors {
        assert_eq!(canonical(&literal).as_ref(), Ok(&repr), "{literal}");
        assert_eq!(canonical(&repr).as_ref(), Ok(&repr), "{literal}");
    }
}

/// Red when: `beyond_ascii` writes characters as they are; `superseded` looks at the record before instead of after.
#[test]
fn documents_as_cpython_prints_them() {
    let text = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/vectors-own/python-documents.json"
    ));
    let documents: Pairs = serde_json::from_str(text).unwrap();
    assert!(documents.vectors.len() >= 250);
    for (input, expected) in documents.vectors {
        assert_eq!(canonical(&input).as_ref(), Ok(&expected), "{input}");
    }
}

/// Real records: canonical text is stable, and holds the same values as far as another parser can tell.
///
/// Red when: `sort_members` omits `self.scratch.pop()`.
#[test]
fn real_audit_records() {
    for text in [
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/real/cloudtrail.ndjson"
        )),
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../testdata/real/azure-ad.ndjson"
        )),
    ] {
        for record in text.lines() {
            let got = canonical(record).unwrap();
            let parse = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
            assert_eq!(parse(&got), parse(record));
            assert_eq!(canonical(&got).as_ref(), Ok(&got));
            check_canonical(got.as_bytes(), 128).unwrap();
        }
    }
}

fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

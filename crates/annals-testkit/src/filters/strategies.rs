//! Random events and random filters out of the same small stock, so that some match and most nearly do.

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

use super::Wanted;
use crate::events::Random;

/// Strings that any string member may have; near each other, and awkward to escape or to put into lower case.
const WORDS: [&str; 24] = [
    "a",
    "A",
    "ab",
    "Alice",
    "ALICE",
    "alice\"",
    "al\\ice",
    "älice",
    "ÄLICE",
    "a\u{308}lice",
    "K\u{212a}k",
    "\u{130}stanbul",
    "stra\u{1e9e}e",
    "\u{1f600}\u{1f601}",
    "οδος",
    "ΟΔΟΣ",
    "kind",
    "\"kind\":\"other\"",
    "other",
    "u00e4",
    "/a/b",
    "1",
    "\u{7f}end",
    "deadbeef",
];

/// Keys of payloads: names of members, text that looks like JSON, words that only values should be found by.
const KEYS: [&str; 10] = [
    "kind",
    "actor",
    "id",
    "source\":\"",
    "secretkey",
    "",
    "ä",
    "\\",
    "timestamp",
    "n",
];

/// What texts are looked for.
const TEXTS: [&str; 18] = [
    "A",
    "LICE",
    "lice\"",
    "\\",
    "ä",
    "Äl",
    "\u{308}",
    "k",
    "kk",
    "I",
    "i\u{307}",
    "ß",
    "\u{1f601}",
    "οσ",
    "secretkey",
    "00e4",
    "2020",
    "dead",
];

/// Claims, among them some that are no times.
const TIMES: [&str; 14] = [
    "2020-01-01T00:00:00Z",
    "2020-01-01t00:00:00.5z",
    "2020-01-01 01:00:00+01:00",
    "2019-12-31T23:59:59.9999999Z",
    "2016-12-31T23:59:60Z",
    "2017-01-01T01:59:60+02:00",
    "2016-12-31T12:59:60Z",
    "2020-02-29T12:00:00-00:00",
    "2019-02-29T12:00:00Z",
    "1969-07-20T20:17:40.25Z",
    "0000-02-29T00:00:00Z",
    "2020-01-01",
    "last week",
    "２020-01-01T00:00:00Z",
];

/// Times around the claims, in microseconds.
const BOUNDS: [i64; 8] = [
    1_577_836_800_000_000,
    1_577_836_800_000_001,
    1_577_836_799_999_999,
    1_483_228_799_999_999,
    1_483_228_800_000_000,
    1_577_836_800_500_000,
    0,
    -14_182_939_750_000,
];

const STRINGS: [&str; 7] = [
    "tenant",
    "session",
    "grant",
    "run",
    "attempt_id",
    "trace_id",
    "subject",
];
/// The fields that may have any word.
const WORD_FIELDS: [&str; 12] = [
    "source",
    "tenant",
    "actor",
    "actor_type",
    "resource",
    "resource_type",
    "session",
    "grant",
    "run",
    "attempt_id",
    "request_id",
    "trace_id",
];
const KINDS: [&str; 4] = ["other", "watch_drifted", "request_denied", "request_allowed"];
const OUTCOMES: [&str; 5] = ["attempt", "success", "failure", "denied", "unknown"];
const ADDRESSES: [&str; 3] = ["192.0.2.1", "192.0.2.10", "2001:db8::1"];

/// A filter of any shape; with none of its parts every event matches.
pub fn wanted() -> impl Strategy<Value = Wanted> {
    let fields = prop_oneof![
        1 => Just(Vec::new()),
        3 => vec(field(), 1..4).prop_map(each_once),
    ];
    let texts = prop_oneof![3 => Just(Vec::new()), 2 => vec(text(), 1..3)];
    let bound = || prop_oneof![4 => Just(None), 1 => select(&BOUNDS[..]).prop_map(Some)];
    (fields, texts, bound(), bound()).prop_map(|(fields, texts, claimed_from, claimed_until)| Wanted {
        fields,
        texts,
        claimed_from,
        claimed_until,
    })
}

fn field() -> impl Strategy<Value = (String, Vec<String>)> {
    let of = |name: &'static str, values: BoxedStrategy<String>| {
        vec(values, 1..6).prop_map(move |values| (name.to_owned(), values))
    };
    let from = |stock: &'static [&'static str]| select(stock).prop_map(str::to_owned).boxed();
    prop_oneof![
        8 => select(&WORD_FIELDS[..]).prop_flat_map(move |name| of(name, word().boxed())),
        3 => of("kind", from(&KINDS)),
        1 => of("outcome", from(&OUTCOMES)),
        1 => of("ip", from(&ADDRESSES)),
    ]
}

fn each_once(mut fields: Vec<(String, Vec<String>)>) -> Vec<(String, Vec<String>)> {
    fields.sort_by(|one, other| one.0.cmp(&other.0));
    fields.dedup_by(|one, other| one.0 == other.0);
    fields
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => select(&TEXTS[..]).prop_map(str::to_owned),
        2 => word().prop_filter("a text has no control character", |word| !word.chars().any(char::is_control)),
        1 => "[a-zA-Z]",
    ]
}

/// What a producer sends: some are seed-shaped, some have extended members. `to_string` of it is what is posted.
pub fn request() -> impl Strategy<Value = Value> {
    let seed = (
        select(&KINDS[..]),
        word(),
        option::of(payload()),
        option::of(claim()),
    );
    let seed = seed.prop_map(|(kind, source, payload, timestamp)| {
        let mut event = Map::new();
        event.insert("kind".into(), kind.into());
        event.insert("source".into(), source.into());
        event.extend(payload.map(|payload| ("payload".into(), payload)));
        event.extend(timestamp.map(|timestamp| ("timestamp".into(), timestamp.into())));
        event
    });
    (seed, prop_oneof![Just(Map::new()).boxed(), extension().boxed()]).prop_map(|(mut event, extension)| {
        event.extend(extension);
        Value::Object(event)
    })
}

/// So many of them.
pub fn requests(count: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<Value>> {
    vec(request(), count)
}

fn extension() -> impl Strategy<Value = Map<String, Value>> {
    let strings = subsequence(STRINGS.to_vec(), 0..=STRINGS.len()).prop_flat_map(|names| {
        names
            .into_iter()
            .map(|name| (Just(name), word()))
            .collect::<Vec<_>>()
    });
    let objects = (
        option::of(object(&["id", "type", "name", "on_behalf_of"])),
        option::of(object(&["id", "type", "name"])),
        option::of((object(&["id", "user_agent"]), option::of(select(&ADDRESSES[..])))),
    );
    let others = (
        option::of(select(&OUTCOMES[..])),
        option::of(Just("info")),
        option::of(changes()),
    );
    (strings, objects, others).prop_map(
        |(strings, (actor, resource, request), (outcome, severity, changes))| {
            let mut event = Map::new();
            for (name, value) in strings {
                event.insert(name.into(), value.into());
            }
            event.extend(actor.map(|actor| ("actor".into(), Value::Object(actor))));
            event.extend(resource.map(|resource| ("resource".into(), Value::Object(resource))));
            event.extend(request.map(|(mut request, address)| {
                request.extend(address.map(|address| ("ip".into(), address.into())));
                ("request".into(), Value::Object(request))
            }));
            event.extend(outcome.map(|outcome| ("outcome".into(), outcome.into())));
            event.extend(severity.map(|severity| ("severity".into(), severity.into())));
            event.extend(changes.map(|changes| ("changes".into(), changes)));
            event
        },
    )
}

/// An object with some of these strings.
fn object(names: &'static [&'static str]) -> impl Strategy<Value = Map<String, Value>> {
    btree_map(select(names), word(), 1..=names.len()).prop_map(|members| {
        let members = members.into_iter();
        members
            .map(|(name, value)| (name.to_owned(), value.into()))
            .collect()
    })
}

fn changes() -> impl Strategy<Value = Value> {
    vec(json_value(), 1..3).prop_map(|values| {
        let change = |value| json!({"path": "/a", "old": null, "new": value});
        values.into_iter().map(change).collect()
    })
}

/// A string without control characters that is not empty: what every string member may be.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => select(&WORDS[..]).prop_filter_map("no control character", |word| {
            (!word.chars().any(char::is_control)).then(|| word.to_owned())
        }),
        1 => "[a-cA-C]{1,3}",
        1 => "\\PC{1,8}".prop_filter("no control character", |word| !word.chars().any(char::is_control)),
    ]
}

/// Any string that a payload may have.
fn payload_string() -> impl Strategy<Value = String> {
    let shouted = select(&WORDS[..]).prop_map(|word| format!("x\n{}\u{0}", word.to_uppercase()));
    prop_oneof![
        4 => select(&WORDS[..]).prop_map(str::to_owned),
        1 => shouted,
        1 => any::<String>(),
        1 => Just(String::new()),
    ]
}

fn payload() -> impl Strategy<Value = Value> {
    btree_map(key(), json_value(), 0..4).prop_map(|members| Value::Object(members.into_iter().collect()))
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        6 => payload_string().prop_map(Value::from),
        1 => any::<i64>().prop_map(Value::from),
        1 => (-1e9..1e9).prop_map(Value::from),
        1 => select(vec![Value::Null, Value::Bool(true)]),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::Array),
            btree_map(key(), inner, 0..4).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn key() -> impl Strategy<Value = String> {
    select(&KEYS[..]).prop_map(str::to_owned)
}

fn claim() -> impl Strategy<Value = String> {
    let any_time = (
        1960..2040_i32,
        1..=13_u32,
        1..=31_u32,
        0..=24_u32,
        0..=60_u32,
        0..=60_u32,
    );
    let any_time = any_time.prop_map(|(year, month, day, hour, minute, second)| {
        format!("{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.123+05:30")
    });
    prop_oneof![
        3 => select(&TIMES[..]).prop_map(str::to_owned),
        1 => any_time,
    ]
}

/// The stored body of what a producer sent, as the log would make it: stamped, canonical, without the hash. The stamps that
/// are random in a log follow from the id.
///
/// # Panics
/// When the request is not an object, or has no canonical form.
#[must_use]
pub fn body_of(request: &Value, event_id: u64) -> Vec<u8> {
    let seed = ["kind", "source", "payload", "timestamp"];
    let mut event = request.as_object().expect("a request is an object").clone();
    let is_extended = event.keys().any(|name| !seed.contains(&name.as_str()));
    let mut random = Random::new(0x57a3, event_id);
    let mut hex = |words: usize| -> String {
        let words = (0..words).map(|_| random.next_u64());
        words.map(|word| format!("{word:016x}")).collect()
    };
    let received_at = "2026-05-15T03:14:15.123456+00:00";
    event.insert("event_id".into(), event_id.into());
    event.insert("prev_hash".into(), hex(4).into());
    event.entry("payload").or_insert_with(|| json!({}));
    event.entry("timestamp").or_insert_with(|| received_at.into());
    if is_extended {
        event.insert("v".into(), 2.into());
        event.insert("nonce".into(), hex(2).into());
        event.insert("received_at".into(), received_at.into());
        let id = hex(2);
        let id = format!(
            "{}-{}-7{}-8{}-{}",
            &id[..8],
            &id[8..12],
            &id[13..16],
            &id[17..20],
            &id[20..]
        );
        event.entry("id").or_insert_with(|| id.into());
    }
    let mut body = Vec::new();
    let text = Value::Object(event).to_string();
    annals_core::canon::canonicalize(text.as_bytes(), 128, &mut body).expect("it has a canonical form");
    body
}

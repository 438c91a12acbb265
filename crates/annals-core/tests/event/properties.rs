//! Any event whatever: the sealed bytes are those of a naive oracle, which knows a map and the canonical form of a document.

use annals_core::body;
use annals_core::chain::{Head, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, Value, json};

use super::{STAMP_ID, STAMP_NONCE, batch_of, sealed};
use crate::canon::oracle;

/// A text that an indexed member can have.
fn text(bytes_max: usize) -> impl Strategy<Value = Value> {
    "[^\\p{Cc}]{1,40}".prop_filter_map("too long", move |text| {
        (text.len() <= bytes_max).then_some(Value::String(text))
    })
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".{0,6}", inner, 0..4).prop_map(Value::from_iter),
        ]
    })
}

/// An object with at least one of these members.
fn some_of<const N: usize>(members: [(&'static str, BoxedStrategy<Value>); N]) -> BoxedStrategy<Value> {
    let (names, values): (Vec<_>, Vec<_>) = members
        .into_iter()
        .map(|(name, value)| (name, prop::option::of(value)))
        .unzip();
    values
        .prop_filter_map("nothing in it", move |values| {
            let found: Map<_, _> = names
                .iter()
                .zip(values)
                .filter_map(|(name, value)| Some(((*name).to_owned(), value?)))
                .collect();
            (!found.is_empty()).then_some(Value::Object(found))
        })
        .boxed()
}

fn change() -> BoxedStrategy<Value> {
    (
        ".{0,20}",
        prop::option::of(any_json()),
        prop::option::of(any_json()),
    )
        .prop_map(|(path, old, new)| {
            let mut change = json!({"path": path.replace('\0', "")});
            for (name, value) in [("old", old), ("new", new)] {
                if let Some(value) = value {
                    change[name] = value;
                }
            }
            change
        })
        .boxed()
}

fn words(words: &'static [&'static str]) -> BoxedStrategy<Value> {
    select(words).prop_map(Value::from).boxed()
}

/// The members beyond the seed's, at least one.
fn extended() -> BoxedStrategy<Value> {
    let short = || text(256).boxed();
    let long = || text(1024).boxed();
    let uuid = any::<[u16; 8]>().prop_map(|[a, b, c, d, e, f, g, h]| {
        Value::String(format!(
            "{a:04x}{b:04x}-{c:04x}-{d:04x}-{e:04x}-{f:04x}{g:04x}{h:04x}"
        ))
    });
    let ip = any::<std::net::IpAddr>().prop_map(|ip| Value::String(ip.to_string()));
    some_of([
        ("id", uuid.boxed()),
        ("v", Just(json!(2)).boxed()),
        (
            "schema_version",
            (1_u32..=2_147_483_647).prop_map(Value::from).boxed(),
        ),
        ("subject", short()),
        ("tenant", short()),
        ("session", short()),
        ("grant", short()),
        ("run", short()),
        ("attempt_id", short()),
        ("trace_id", short()),
        (
            "actor",
            some_of([
                ("type", short()),
                ("id", short()),
                ("name", short()),
                ("on_behalf_of", short()),
            ]),
        ),
        (
            "resource",
            some_of([("type", long()), ("id", long()), ("name", long())]),
        ),
        (
            "changes",
            prop::collection::vec(change(), 0..4)
                .prop_map(Value::from)
                .boxed(),
        ),
        (
            "outcome",
            words(&["attempt", "success", "failure", "denied", "unknown"]),
        ),
        (
            "request",
            some_of([("id", long()), ("ip", ip.boxed()), ("user_agent", long())]),
        ),
        (
            "severity",
            words(&["debug", "info", "notice", "warning", "error", "critical"]),
        ),
    ])
}

/// What a producer says; the seed's members beside those of `extended`.
fn event() -> impl Strategy<Value = Map<String, Value>> {
    (
        select(&["other", "flag_swapped"][..]),
        text(1024),
        prop::option::of(prop::collection::btree_map(".{0,6}", any_json(), 0..4)),
        prop::option::of(".{1,20}"),
        prop::option::weighted(0.8, extended()),
    )
        .prop_map(|(kind, source, payload, timestamp, extended)| {
            let mut event = match extended {
                Some(Value::Object(members)) => members,
                _ => Map::new(),
            };
            event.insert("kind".into(), kind.into());
            event.insert("source".into(), source);
            if let Some(payload) = payload {
                event.insert("payload".into(), Value::from_iter(payload));
            }
            if let Some(timestamp) = timestamp {
                event.insert("timestamp".into(), timestamp.into());
            }
            event
        })
}

/// The event as `docs/format.md` says that it is sealed.
fn naive_body(sent: &Map<String, Value>, id: u64, prev: &EventHash, stamp: &str) -> String {
    const SEED: [&str; 4] = ["kind", "source", "payload", "timestamp"];
    let mut event = sent.clone();
    let mut stamped = |name: &str, value: Value| {
        event.entry(name).or_insert(value);
    };
    stamped("payload", json!({}));
    stamped("timestamp", stamp.into());
    stamped("event_id", id.into());
    stamped("prev_hash", prev.to_string().into());
    if sent.keys().any(|name| !SEED.contains(&name.as_str())) {
        stamped("id", STAMP_ID.into());
        stamped("nonce", STAMP_NONCE.into());
        stamped("received_at", stamp.into());
        stamped("v", 2.into());
    }
    oracle::canonical(Value::Object(event).to_string().as_bytes()).unwrap()
}

/// The members in some order, with white space between them.
fn written(event: &Map<String, Value>, order: &[prop::sample::Index]) -> String {
    let mut members: Vec<String> = event
        .iter()
        .map(|(name, value)| format!("{} :\t{value}", Value::from(name.as_str())))
        .collect();
    for (at, index) in order.iter().enumerate().take(members.len()) {
        let other = index.index(members.len());
        members.swap(at, other);
    }
    format!(" {{ {} }}\n", members.join(" ,\n "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// Red when: `pieces` forgets where the event before it ended; `extended` is not sorted; `seal` takes the text behind its
    /// two time stamps in the other order.
    #[test]
    fn sealed_events_are_the_oracles(
        events in prop::collection::vec((event(), prop::collection::vec(any::<prop::sample::Index>(), 20)), 1..4),
        size in 0_u64..2_000_000,
        micros in 0_i64..253_402_300_799_999_999,
    ) {
        let texts: Vec<String> = events.iter().map(|(event, order)| written(event, order)).collect();
        let batch = batch_of(texts.iter().map(String::as_str));
        let head = Head {
            size: TreeSize(size),
            hash: EventHash::of(b"before"),
            received_at: Micros(0),
        };
        let sealed = sealed(&head, Micros(micros), &batch);
        let (mut id, mut prev) = (size, head.hash);
        for (index, (event, _)) in events.iter().enumerate() {
            id += 1;
            let expected = naive_body(event, id, &prev, &Micros(micros).to_string());
            let stored = sealed.body(index);
            prop_assert_eq!(std::str::from_utf8(stored).unwrap(), expected);
            prev = EventHash::of(stored);
            prop_assert_eq!(sealed.hashes()[index], prev);
            for (name, value) in event {
                if let Value::String(text) = value {
                    let found = body::string_member(stored, name);
                    prop_assert_eq!(found.as_deref(), Some(text.as_str()));
                }
            }
        }
    }
}

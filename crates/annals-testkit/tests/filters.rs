//! `annals_core::filter` against the naive oracle.

use annals_core::body;
use annals_core::canon;
use annals_core::chain::Head;
use annals_core::field::Field;
use annals_core::filter::{claimed_time, terms};
use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_testkit::events::batch_of;
use annals_testkit::filters::{Wanted, body_of, request, wanted};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

fn check(wanted: &Wanted, request: &Value, event_id: u64) {
    let body = body_of(request, event_id);
    let text = String::from_utf8_lossy(&body);
    assert_eq!(
        wanted.filter().matches(&body),
        wanted.matches(&body),
        "{wanted:?} {text}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// Red when: any part of `Filter::matches` is left out; a text is searched for in raw values that have a backslash; the
    /// second value of a field takes the first one's place.
    #[test]
    fn a_filter_matches_what_the_oracle_matches(wanted in wanted(), request in request(), event_id in 1_u64..1 << 40) {
        check(&wanted, &request, event_id);
    }

    /// Red when: `visit` stops at the first member that is no string.
    #[test]
    fn the_terms_are_what_a_parser_finds(request in request(), event_id in 1_u64..1000) {
        let body = body_of(&request, event_id);
        let parsed: Value = serde_json::from_slice(&body).unwrap();
        let mut found: Vec<(Field, String)> = Vec::new();
        terms(&body, |field, raw| {
            let quoted = [b"\"", raw, b"\""].concat();
            found.push((field, canon::decode_string(&quoted).unwrap().into_owned()));
        });
        found.sort();
        let expected: Vec<(Field, String)> = Field::ALL
            .into_iter()
            .filter_map(|field| {
                let (member, inner) = field.path();
                let value = &parsed[member];
                let value = inner.map_or(value, |inner| &value[inner]);
                Some((field, value.as_str()?.to_owned()))
            })
            .collect();
        prop_assert_eq!(found, expected);
    }

    /// Every string value, in some order.
    #[test]
    fn the_string_values_are_what_a_parser_finds(request in request()) {
        let body = body_of(&request, 7);
        let mut found: Vec<String> = body::string_values(&body)
            .map(|literal| canon::decode_string(literal).unwrap().into_owned())
            .collect();
        found.sort();
        let mut expected = Vec::new();
        collect_strings(&serde_json::from_slice(&body).unwrap(), &mut expected);
        expected.sort();
        prop_assert_eq!(found, expected);
    }
}

/// What the strategies make is what the log takes, and what the oracle is asked about is what the log makes of it.
#[test]
fn random_events_are_sealed_as_they_are_stamped() {
    let mut runner = TestRunner::deterministic();
    let mut requests = Vec::new();
    for _ in 0..2_000 {
        requests.push(request().new_tree(&mut runner).unwrap().current());
    }
    let batch = batch_of(requests.iter().map(Value::to_string));
    let sealed = seal(&Head::EMPTY, Micros(0), std::iter::once(&batch));
    let shape = |body: &[u8]| -> Vec<(Vec<u8>, usize)> {
        body::members(body)
            .map(|(key, value)| (key.to_vec(), value.len()))
            .collect()
    };
    for (at, request) in requests.iter().enumerate() {
        let stamped = body_of(request, at as u64 + 1);
        assert_eq!(shape(sealed.body(at)), shape(&stamped), "{request}");
    }
}

fn collect_strings(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(string) => found.push(string.clone()),
        Value::Array(items) => items.iter().for_each(|item| collect_strings(item, found)),
        Value::Object(members) => members.values().for_each(|member| collect_strings(member, found)),
        _ => {}
    }
}

/// A property over filters that never match, or always, would say nothing: each part of a filter decides often enough, both
/// ways.
#[test]
fn random_filters_match_some_of_the_random_events() {
    let mut runner = TestRunner::deterministic();
    let mut sample = || {
        let wanted = wanted().new_tree(&mut runner).unwrap().current();
        let request = request().new_tree(&mut runner).unwrap().current();
        (wanted, body_of(&request, 1))
    };
    let (mut by_field, mut by_text, mut by_time, mut all) = ([0; 2], [0; 2], [0; 2], [0; 2]);
    for _ in 0..4_000 {
        let (wanted, body) = sample();
        let none = Wanted::default;
        let parts = [
            (
                &mut by_field,
                Wanted {
                    fields: wanted.fields.clone(),
                    ..none()
                },
            ),
            (
                &mut by_text,
                Wanted {
                    texts: wanted.texts.clone(),
                    ..none()
                },
            ),
            (
                &mut by_time,
                Wanted {
                    claimed_from: wanted.claimed_from,
                    claimed_until: wanted.claimed_until,
                    ..none()
                },
            ),
            (&mut all, wanted),
        ];
        for (counts, part) in parts {
            if part != none() {
                counts[usize::from(part.matches(&body))] += 1;
            }
        }
    }
    for counts in [by_field, by_text, by_time, all] {
        assert!(counts.iter().all(|count| *count > 100), "{counts:?}");
    }
}

/// The oracle itself, on what can be said by hand.
#[test]
fn the_oracle_knows_its_trade() {
    let request = json!({
        "kind": "other", "source": "S", "timestamp": "2020-01-01T01:00:00+01:00", "actor": {"id": "u"}, "payload": {"key": ["Ä"]}
    });
    let body = body_of(&request, 9);
    let new_year = 1_577_836_800_000_000;
    let wants = |fields: &[(&str, &str)], texts: &[&str], from: Option<i64>| {
        let fields = fields
            .iter()
            .map(|(name, value)| ((*name).into(), vec![(*value).into()]));
        let wanted = Wanted {
            fields: fields.collect(),
            texts: texts.iter().map(|text| (*text).into()).collect(),
            claimed_from: from,
            claimed_until: None,
        };
        assert_eq!(wanted.filter().matches(&body), wanted.matches(&body));
        wanted.matches(&body)
    };
    assert!(wants(
        &[("actor", "u"), ("kind", "other")],
        &["ä", "OTH"],
        Some(new_year)
    ));
    assert!(!wants(&[("actor", "U")], &[], None));
    assert!(!wants(&[], &["key"], None));
    assert!(!wants(&[], &[], Some(new_year + 1)));
    assert_eq!(claimed_time(&body).map(|time| time.0), Some(new_year));
}

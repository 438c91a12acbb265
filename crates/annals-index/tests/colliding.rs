//! Terms that share a fingerprint, as anyone who knows the log's UUID can make them: nothing is missed, nothing is taken for
//! another, and what is common stays sure.

use std::collections::HashMap;
use std::hash::Hasher as _;

use annals_core::field::Field;
use annals_index::WindowCount;
use siphasher::sip::SipHasher24;

use crate::events::Event;
use crate::events::Question;
use crate::oracle::check;
use crate::support::{LOG, all_runs, open, query, small};

/// Two actors with one fingerprint: after about 2^16 tries there are some.
fn colliding() -> [String; 2] {
    let mut seen = HashMap::new();
    for number in 0_u32.. {
        let actor = format!("actor-{number}");
        let mut hasher = SipHasher24::new_with_key(&LOG.0);
        hasher.write(&[Field::Actor.number()]);
        hasher.write(actor.as_bytes());
        if let Some(other) = seen.insert(hasher.finish() as u32, actor.clone()) {
            return [other, actor];
        }
    }
    unreachable!("there are more actors than fingerprints")
}

/// Events with the one actor where `is_one`, with the other where `is_other`.
fn events(is_one: fn(usize) -> bool, is_other: fn(usize) -> bool) -> (Vec<Event>, [Question; 2]) {
    let [one, other] = colliding();
    let actor = |name: &str| (Field::Actor, name.as_bytes().to_vec());
    let event = |at: usize| {
        let one = is_one(at).then(|| actor(&one));
        let other = is_other(at).then(|| actor(&other));
        Event {
            claimed: None,
            terms: one.into_iter().chain(other).collect(),
        }
    };
    let events = (0..8_192).map(event).collect();
    let question = |name: &String| Question::of(&[(Field::Actor, &[name.as_str()])]);
    (events, [question(&one), question(&other)])
}

/// Red when: `visit_leaf` does not compare the strings, `gather_term` does not, `Row::flush` does not sort the groups,
/// `leaf_before` returns none, or `nearest_down` stops at a leaf that begins with the fingerprint.
#[test]
fn whatever_shares_a_fingerprint_every_answer_equals_reading_every_event() {
    let every_third: fn(usize) -> bool = |at| at % 3 == 0;
    let every_fourth: fn(usize) -> bool = |at| at % 4 == 1;
    let few: fn(usize) -> bool = |at| at % 400 == 7;
    let others: fn(usize) -> bool = |at| at % 300 == 9;
    let first_half: fn(usize) -> bool = |at| at < 900;
    for (is_one, is_other) in [
        (every_third, every_fourth),
        (every_third, few),
        (few, every_third),
        (few, others),
        (first_half, few),
        (every_third, every_third),
    ] {
        let (events, questions) = events(is_one, is_other);
        for (id, bytes) in all_runs(small(), &events) {
            let run = open(small(), id, &bytes);
            for question in &questions {
                check(small(), &run, &events, question);
            }
        }
    }
}

/// The entries of a rare term are not held against a common one with its fingerprint.
///
/// Red when: `is_common` is not set in `add_term`.
#[test]
fn a_common_term_stays_sure_beside_a_rare_one_with_its_fingerprint() {
    let (events, [common, rare]) = events(|at| at % 3 == 0, |at| at % 300 == 9);
    for (id, bytes) in all_runs(small(), &events) {
        let run = open(small(), id, &bytes);
        for window in run.windows() {
            assert!(run.window(&query(&common), window).unwrap().is_sure());
            assert!(matches!(
                run.count(&query(&common), window).unwrap(),
                WindowCount::Exact(_)
            ));
            assert_eq!(
                run.window(&query(&rare), window).unwrap().is_sure(),
                id.level == 0
            );
        }
    }
}

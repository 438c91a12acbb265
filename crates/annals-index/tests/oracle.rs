//! Every answer of every run equals what reading every event gives.

use std::collections::BTreeSet;

use annals_core::field::Field;
use annals_index::{Direction, Geometry, MemoryRun, Query, Run, WindowCount, WindowHits};
use proptest::prelude::*;

use crate::events::{Event, Question, Random, mixed};
use crate::support::{LOG, all_runs, open, query, small};

/// Questions of all shapes about the events: terms that are common, rare, unique, long, absent, empty; unions, intersections,
/// claimed times.
fn questions(events: &[Event], random: &mut Random) -> Vec<Question> {
    let long = "s".repeat(254);
    let longer = "s".repeat(256);
    let mut questions = vec![
        Question::default(),
        Question::of(&[(Field::Kind, &["kind-0"])]),
        Question::of(&[
            (Field::Kind, &["kind-8", "kind-5"]),
            (Field::Actor, &["actor-3", "actor-7", "none"]),
        ]),
        Question::of(&[(Field::Actor, &["actor-250"])]),
        Question::of(&[(Field::Actor, &["actor-299", "actor-298", "actor-1"])]),
        Question::of(&[(Field::Session, &["burst"])]),
        Question::of(&[(Field::Outcome, &["success"])]),
        Question::of(&[(Field::Outcome, &["success"])]).claimed(Some(100_000), Some(400_000)),
        Question::of(&[(Field::Source, &[&long])]),
        Question::of(&[(Field::Source, &[&longer]), (Field::Actor, &["actor-0"])]),
        Question::of(&[(Field::Tenant, &[""])]),
        Question::of(&[(Field::Kind, &["kind-0"]), (Field::Session, &["absent"])]),
        Question::of(&[]).claimed(None, Some(0)),
        Question::of(&[]).claimed(Some(150_000), Some(151_000)),
        Question::of(&[]).claimed(Some(i64::MAX - 1), None),
        Question::of(&[(Field::Kind, &[])]),
    ];
    for _ in 0..4 {
        let event = &events[random.below(events.len() as u64) as usize];
        let unique = std::str::from_utf8(&event.terms[2].1).unwrap();
        questions.push(Question::of(&[(Field::Request, &[unique])]));
    }
    questions
}

/// Holds all that a run answers to a question against the events of the log.
pub(crate) fn check(geometry: Geometry, run: &Run<MemoryRun>, events: &[Event], question: &Question) {
    let query = query(question);
    let (first, last) = (run.first().get(), run.last().get());
    let matches: BTreeSet<u64> = (first..=last)
        .filter(|id| question.matches(&events[*id as usize - 1]))
        .collect();
    let mut found = BTreeSet::new();
    for window in run.windows() {
        let hits = run.window(&query, window).unwrap();
        let start = first.max(window * geometry.window_len() + 1);
        let in_window = matches.range(start..start + geometry.window_len().min(last + 1 - first));
        check_window(&hits, &in_window.copied().collect());
        check_count(run.count(&query, window).unwrap(), &hits);
        found.extend(checked(&hits, &matches));
    }
    assert_eq!(found, matches, "{question:?}");
    for direction in [Direction::Up, Direction::Down] {
        let mut walked = walk(run, &query, direction, &matches);
        if direction == Direction::Down {
            walked.reverse();
        }
        assert!(
            walked.iter().copied().eq(matches.iter().copied()),
            "{question:?} {direction:?}"
        );
    }
}

/// The candidates that turn out to match.
fn checked(hits: &WindowHits, matches: &BTreeSet<u64>) -> Vec<u64> {
    let ids = hits.iter().map(|hit| hit.id.get());
    ids.filter(|id| matches.contains(id)).collect()
}

fn check_window(hits: &WindowHits, matches: &BTreeSet<u64>) {
    let candidates: BTreeSet<u64> = hits.iter().map(|hit| hit.id.get()).collect();
    assert!(candidates.is_superset(matches));
    for hit in hits {
        assert!(!hit.is_sure || matches.contains(&hit.id.get()), "{hit:?}");
    }
    assert_eq!(hits.is_sure(), hits.iter().all(|hit| hit.is_sure));
    assert_eq!(hits.count(), candidates.len() as u64);
    assert!(
        hits.iter()
            .rev()
            .map(|hit| hit.id.get())
            .eq(candidates.into_iter().rev())
    );
}

fn check_count(count: WindowCount, hits: &WindowHits) {
    match count {
        WindowCount::Exact(count) => {
            assert_eq!(count, hits.count());
            assert!(hits.is_sure());
        }
        WindowCount::Check(to_check) => {
            assert_eq!(&to_check, hits);
            assert!(!hits.is_sure());
        }
    }
}

/// The matches by way of the windows that may have any.
fn walk(run: &Run<MemoryRun>, query: &Query, direction: Direction, matches: &BTreeSet<u64>) -> Vec<u64> {
    let mut found = Vec::new();
    let mut from = match direction {
        Direction::Up => 0,
        Direction::Down => u64::MAX,
    };
    while let Some(window) = run.next_window(query, from, direction).unwrap() {
        let hits = run.window(query, window).unwrap();
        let mut ids = checked(&hits, matches);
        from = match direction {
            Direction::Up => window + 1,
            Direction::Down => {
                ids.reverse();
                window.wrapping_sub(1)
            }
        };
        found.extend(ids);
        if from == u64::MAX {
            break;
        }
    }
    found
}

fn check_all(geometry: Geometry, seed: u64, len: usize) {
    let events = mixed(seed, len);
    let mut random = Random(seed ^ 1);
    let questions = questions(&events, &mut random);
    for (id, bytes) in all_runs(geometry, &events) {
        let run = open(geometry, id, &bytes);
        for question in &questions {
            check(geometry, &run, &events, question);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Red when: `add_candidates` gets one event less, `Verdict::Some` is taken for `Verdict::All`, `leaf_behind` returns none,
    /// or `is_rare` is asked for level 0 too.
    #[test]
    fn answers_equal_reading_every_event(seed: u64) {
        check_all(small(), seed, 2_048 * 2 + 512 + 64);
    }

    /// The same where a run of the highest level is reached, and runs of two are merged.
    #[test]
    fn answers_equal_reading_every_event_in_many_levels(seed: u64) {
        check_all(Geometry::of_bits(6, 8, 2, 1, 9, 3).unwrap(), seed, 4_096);
    }
}

/// Short terms are sure in a base, common ones in every run: then nothing is read to answer or to count.
///
/// Red when: `add_list` adds to the candidates alone.
#[test]
fn common_terms_need_no_body() {
    let geometry = small();
    let events = mixed(7, 2_048);
    let common = query(&Question::of(&[(Field::Kind, &["kind-0"])]));
    let two = query(&Question::of(&[
        (Field::Kind, &["kind-0"]),
        (Field::Outcome, &["success"]),
    ]));
    let rare = query(&Question::of(&[(
        Field::Actor,
        &["actor-250", "actor-7", "actor-299"],
    )]));
    for (id, bytes) in all_runs(geometry, &events) {
        let run = open(geometry, id, &bytes);
        for window in run.windows() {
            assert!(matches!(run.count(&common, window).unwrap(), WindowCount::Exact(count) if count > 0));
            assert!(matches!(run.count(&two, window).unwrap(), WindowCount::Exact(count) if count > 0));
            assert!(id.level > 0 || run.window(&rare, window).unwrap().is_sure());
        }
    }
}

/// A text in the filter leaves every candidate to be read.
///
/// Red when: `needs_bodies` is not looked at in `window`.
#[test]
fn bodies_that_have_to_be_read_anyway_are_not_sure() {
    let geometry = small();
    let events = mixed(7, 64);
    let runs = all_runs(geometry, &events);
    for (id, bytes) in runs {
        let fields = [(Field::Outcome, [&b"success"[..]])];
        let query = Query::of_parts(LOG, fields, Default::default(), true);
        let hits = open(geometry, id, &bytes).window(&query, 0).unwrap();
        assert!(!hits.is_empty() && hits.iter().all(|hit| !hit.is_sure));
    }
}

/// A filter of annals-core asks for what its parts ask for.
#[test]
fn a_filter_is_its_parts() {
    let geometry = small();
    let events = mixed(3, 64);
    let filter = annals_core::filter::Filter::default()
        .with_value(Field::Kind, "kind-1")
        .unwrap();
    let question = Question::of(&[(Field::Kind, &["kind-1"])]);
    for (id, bytes) in all_runs(geometry, &events) {
        let run = open(geometry, id, &bytes);
        let hits = run.window(&Query::new(LOG, &filter), 0).unwrap();
        assert_eq!(hits, run.window(&query(&question), 0).unwrap());
        assert!(hits.count() > 0 && hits.count() < 64);
    }
}

/// `keep` and `count_in` cut by ids, also by ones outside of the window.
///
/// Red when: the places are not cut at the span, or `keep` leaves the end of the range in.
#[test]
fn hits_are_cut_by_ids() {
    use annals_core::chain::EventId;

    let geometry = small();
    let events = mixed(3, 128);
    let runs = all_runs(geometry, &events);
    let (id, bytes) = runs.iter().nth(1).unwrap();
    let hits = open(geometry, *id, bytes)
        .window(&query(&Question::default()), 0)
        .unwrap();
    let at = |id: u64| EventId::new(id).unwrap();
    assert_eq!(hits.first(), at(65));
    for (range, expected) in [
        (at(1)..at(65), 0..0),
        (at(1)..at(66), 65..66),
        (at(70)..at(100), 70..100),
        (at(100)..at(1_000_000_000_000), 100..129),
        (at(129)..at(200), 0..0),
        (at(500)..at(600), 0..0),
        (at(100)..at(70), 0..0),
    ] {
        assert_eq!(
            hits.count_in(range.clone()),
            expected.end - expected.start,
            "{range:?}"
        );
        let mut kept = hits.clone();
        kept.keep(range);
        assert!(kept.iter().map(|hit| hit.id.get()).eq(expected));
    }
}

//! Many producers at once, with and without faults: nothing lost, nothing doubled, everybody answered.

use std::collections::HashMap;
use std::thread;

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::EventId;
use annals_core::hash::EventHash;
use annals_log::{AppendError, Log, LogOptions, Outcome};
use annals_testkit::chain::audit_with;
use annals_testkit::events::{Random, batch_of};
use annals_testkit::memory::{CommitFault, RecoverFault};

use crate::rig::{Rig, answer, options};

const PRODUCERS: u64 = 8;
const BATCHES: u64 = 150;

/// A batch, by producer and number.
type BatchName = (u64, u64);

/// What one producer was told.
#[derive(Default)]
struct Told {
    sealed: Vec<(EventId, EventHash, String)>,
    unknown: Vec<BatchName>,
    refused: u64,
}

fn payload(producer: u64, number: u64, at: u64) -> String {
    format!(r#"{{"at":{at},"number":{number},"producer":{producer}}}"#)
}

fn events_in(producer: u64, number: u64) -> u64 {
    (producer * 31 + number * 7) % 20 + 1
}

fn named_batch((producer, number): BatchName) -> CanonicalBatch {
    batch_of((0..events_in(producer, number)).map(|at| {
        let payload = payload(producer, number, at);
        format!(r#"{{"kind":"other","source":"load","payload":{payload}}}"#)
    }))
}

/// Sends its batches, several on the way at a time; sends again what was not stored, never what may have been.
fn produce(log: &Log, producer: u64) -> Told {
    let mut told = Told::default();
    let mut todo: Vec<u64> = (0..BATCHES).rev().collect();
    while !todo.is_empty() {
        let mut on_the_way = Vec::new();
        while let (true, Some(number)) = (on_the_way.len() < 5, todo.pop()) {
            match log.append(named_batch((producer, number))) {
                Ok(pending) => on_the_way.push((number, Ok(pending))),
                Err(refusal) => on_the_way.push((number, Err(refusal))),
            }
        }
        for (number, accepted) in on_the_way {
            match accepted.and_then(answer) {
                Ok(receipt) => {
                    let payloads = (0..events_in(producer, number)).map(|at| payload(producer, number, at));
                    assert_eq!(receipt.len() as u64, events_in(producer, number));
                    for ((id, hash, body), payload) in receipt.iter().zip(payloads) {
                        assert!(
                            body.windows(payload.len()).any(|part| part == payload.as_bytes()),
                            "its own event"
                        );
                        told.sealed.push((id, hash, payload));
                    }
                }
                Err(AppendError::Unknown) => told.unknown.push((producer, number)),
                Err(refusal) => {
                    assert_eq!(refusal.outcome(), Outcome::NotStored);
                    assert!(
                        !matches!(refusal, AppendError::Damaged(_) | AppendError::Stopped),
                        "{refusal}"
                    );
                    told.refused += 1;
                    todo.push(number);
                    thread::yield_now();
                }
            }
        }
    }
    told
}

/// Runs all producers, stops, audits, and compares the log with what they were told.
fn run(rig: Rig) -> Vec<Told> {
    let log = rig.log.clone();
    let told: Vec<Told> = thread::scope(|scope| {
        let log = &log;
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| scope.spawn(move || produce(log, producer)))
            .collect();
        producers
            .into_iter()
            .map(|producer| producer.join().expect("a producer ends well"))
            .collect()
    });
    let reader = rig.reader();
    rig.stop().expect("not damaged");

    let mut stored: HashMap<String, (EventId, EventHash)> = HashMap::new();
    audit_with(&*reader, |event| {
        let body = String::from_utf8(event.body.to_vec()).expect("ASCII");
        let from = body.find(r#"{"at":"#).expect("a payload");
        let payload = body[from..=from + body[from..].find('}').expect("its end")].to_owned();
        let twin = stored.insert(payload.clone(), (event.id, event.hash));
        twin.map_or(Ok(()), |(id, _)| {
            Err(format!("{payload} is in the log as event {id} and {}", event.id))
        })
    })
    .expect("the chain is whole and no event is there twice");

    for (id, hash, payload) in told.iter().flat_map(|told| &told.sealed) {
        assert_eq!(
            stored.remove(payload),
            Some((*id, *hash)),
            "{payload}: a receipt is true"
        );
    }
    for &(producer, number) in told.iter().flat_map(|told| &told.unknown) {
        let events = events_in(producer, number);
        let found = (0..events)
            .filter(|at| stored.remove(&payload(producer, number, *at)).is_some())
            .count();
        assert!(
            found == 0 || found as u64 == events,
            "a batch is there as a whole or not at all"
        );
    }
    assert!(stored.is_empty(), "events that nobody was told of: {stored:?}");
    told
}

// Red when: `publish_and_answer` in sequencer.rs starts every receipt at 0, or `offer` in queue.rs says busy only after it
// has pushed.
#[test]
fn concurrent_producers_lose_and_double_nothing() {
    let rig = Rig::with(LogOptions {
        queue_batches_max: 6,
        ..options()
    });
    let engine = rig.engine.clone();
    let told = run(rig);
    let batches = usize::try_from(PRODUCERS * BATCHES).unwrap();
    assert!(told.iter().all(|told| told.unknown.is_empty()));
    assert!(engine.committed_groups().len() <= batches);
}

// Red when: an unknown outcome is answered as not stored (then producers send it again and it is there twice), or `resume`
// keeps the old head (then the log is fenced).
#[test]
fn faults_under_load_lose_and_double_nothing() {
    for seed in 0..4 {
        let rig = Rig::with(LogOptions {
            queue_batches_max: 12,
            ..options()
        });
        let mut random = Random::new(seed, 0);
        for _ in 0..300 {
            let written = random.below(2) == 0;
            match random.below(12) {
                0 => rig.engine.fail_commit(CommitFault::NoSpace, false),
                1 => rig.engine.fail_commit(CommitFault::Backlog, false),
                2 => rig.engine.fail_commit(CommitFault::Storage, false),
                3 => rig.engine.fail_commit(CommitFault::NeedsRecovery, false),
                4..=6 => rig.engine.fail_commit(CommitFault::Unknown, written),
                7 => rig.engine.fail_recover(RecoverFault::Io),
                _ => rig.engine.pass_commit(),
            }
        }
        let told = run(rig);
        assert!(told.iter().any(|told| !told.unknown.is_empty()) && told.iter().any(|told| told.refused > 0));
    }
}

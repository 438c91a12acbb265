//! The oracle finds each wrong thing, and says where.

use annals_core::chain::{EventId, Head, TreeSize};
use annals_core::hash::EventHash;
use annals_core::seal::{SealedBatch, seal};
use annals_core::time::Micros;
use annals_store::{EventRun, ReadError, ReadLog, RunBuilder};
use annals_testkit::chain::audit;
use annals_testkit::clock::START;
use annals_testkit::events::batch;

/// A log that says whatever it is told.
struct Told {
    head: Head,
    events: Vec<(Vec<u8>, EventHash, Micros)>,
    /// How much too high the ids are that it reads events as.
    ids_off: u64,
}

impl Told {
    fn of(sealed: &SealedBatch) -> Self {
        let events = (0..sealed.len())
            .map(|at| {
                (
                    sealed.body(at).to_vec(),
                    sealed.hashes()[at],
                    sealed.received_at(),
                )
            })
            .collect();
        Self {
            head: sealed.after(),
            events,
            ids_off: 0,
        }
    }

    fn rewrite(&mut self, at: usize, from: &str, to: &str) {
        let body = String::from_utf8(self.events[at].0.clone()).expect("ASCII");
        assert!(body.contains(from), "{body}");
        self.events[at].0 = body.replace(from, to).into_bytes();
    }

    fn rehash(&mut self, at: usize) {
        self.events[at].1 = EventHash::of(&self.events[at].0);
    }
}

impl ReadLog for Told {
    fn head(&self) -> Head {
        self.head
    }

    fn read(&self, from: EventId, _bytes_max: usize) -> Result<EventRun, ReadError> {
        let mut run = RunBuilder::new(from.plus(self.ids_off));
        let start = usize::try_from(from.get() - 1).expect("small");
        for (body, hash, received_at) in self.events.iter().skip(start) {
            run.push(body, *hash, *received_at);
        }
        Ok(run.finish())
    }
}

fn check(wrong: impl FnOnce(&mut Told), expected: &str) {
    let mut log = Told::of(&seal(&Head::EMPTY, START, std::iter::once(&batch(9, 1))));
    wrong(&mut log);
    match audit(&log) {
        Ok(audited) => panic!("found whole: {audited:?}; should be: {expected}"),
        Err(what) => assert!(what.contains(expected), "{what}; should be: {expected}"),
    }
}

// Red when: any one of the checks in `Walk::step` or the head's check in `audit_with` is taken out.
#[test]
fn every_wrong_thing_is_found() {
    check(
        |log| log.rewrite(3, "\"n\":3", "\"n\":4"),
        "event 4: the stored hash is",
    );
    check(
        |log| {
            log.rewrite(3, "\"n\":3", "\"n\":4");
            log.rehash(3);
        },
        "event 5: prev_hash should be",
    );
    check(
        |log| {
            log.rewrite(8, "{\"event_id\":9", "{\"event_id\":8");
            log.rehash(8);
            log.head.hash = log.events[8].1;
        },
        "event 9: event_id should be 9",
    );
    check(|log| log.ids_off = 1, "event 1: event_id should be 1");
    check(|log| log.events.swap(4, 5), "event 5: event_id should be 5");
    check(|log| drop(log.events.remove(0)), "event 1: event_id should be 1");
    check(|log| drop(log.events.pop()), "event 9 can't be read");
    check(|log| log.events[5].2 = Micros(7), "event 6: the receive time");
    check(|log| log.head.size = TreeSize(8), "is not the last event");
    check(|log| log.head.hash = EventHash::GENESIS, "is not the last event");
    check(|log| log.head.received_at = Micros(1), "is not the last event");
    check(
        |log| log.rewrite(0, "{\"event_id\":1", "[\"event_id\":1"),
        "event 1: the body is not an object",
    );
    check(
        |log| {
            log.rewrite(8, "{\"event_id\":9", "{\"hash\":\"\",\"event_id\":9");
            log.rehash(8);
            log.head.hash = log.events[8].1;
        },
        "event 9: the body contains its own hash",
    );
}

#[test]
fn whole_logs_are_found_whole() {
    let log = Told {
        head: Head::EMPTY,
        events: Vec::new(),
        ids_off: 0,
    };
    assert_eq!(audit(&log).unwrap().events, 0);
    let log = Told::of(&seal(&Head::EMPTY, START, std::iter::once(&batch(500, 3))));
    let audited = audit(&log).unwrap();
    assert_eq!((audited.events, audited.head), (500, log.head));
    let mean = audited.bytes / 500;
    assert!(
        (200..400).contains(&mean),
        "a test's event is like a real one: {mean} bytes"
    );
}

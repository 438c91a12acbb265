//! The cases, one function each: the story of a log, told by commits; [`Subject`] compares after each step that reads.
//!
//! Invariant: a case asserts only what `annals-store` promises.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store::{CommitError, ReadLog};

use super::model::Subject;
use crate::events::{Random, batch, huge_batch, skewed_batch, small_batch};

/// One case of the suite.
#[derive(Debug)]
pub struct Case {
    /// What it shows, as a short sentence.
    pub name: &'static str,
    pub(super) run: fn(&mut Subject),
}

/// All cases.
pub const CASES: &[Case] = &[
    Case {
        name: "an empty log is empty and stays so",
        run: empty_log,
    },
    Case {
        name: "one batch is readable once it is committed",
        run: one_batch,
    },
    Case {
        name: "many batches form one chain",
        run: many_batches,
    },
    Case {
        name: "a stale or foreign head is a conflict and writes nothing",
        run: conflict_writes_nothing,
    },
    Case {
        name: "one stale batch keeps its whole group out",
        run: conflict_in_a_group,
    },
    Case {
        name: "an unknown log is refused",
        run: unknown_log,
    },
    Case {
        name: "a group with several batches of one log is taken in order",
        run: group_in_order,
    },
    Case {
        name: "an empty group does nothing",
        run: empty_group,
    },
    Case {
        name: "every range reads right",
        run: every_range,
    },
    Case {
        name: "events of very different sizes read right",
        run: skewed_sizes,
    },
    Case {
        name: "an event of 1 MiB",
        run: huge_event,
    },
    Case {
        name: "a batch of 100,000 small events",
        run: batch_of_100k,
    },
    Case {
        name: "readers see nothing before a commit",
        run: nothing_before_commit,
    },
    Case {
        name: "a crash loses nothing that was committed",
        run: crashes,
    },
    Case {
        name: "a clean reopen keeps everything",
        run: clean_reopens,
    },
    Case {
        name: "receive times survive as they were",
        run: receive_times,
    },
    Case {
        name: "settling and recovering a healthy journal change nothing",
        run: settle_and_recover,
    },
    Case {
        name: "readers on other threads see whole batches, in order",
        run: concurrent_readers,
    },
    Case {
        name: "a random walk",
        run: random_walk,
    },
];

fn empty_log(subject: &mut Subject) {
    assert_eq!(subject.head(), Head::EMPTY);
    subject.audit();
    assert!(subject.read(EventId::FIRST.plus(7), 1).is_empty());
    subject.settle();
    subject.crash_and_reopen();
    subject.clean_reopen();
}

fn one_batch(subject: &mut Subject) {
    subject.append(&batch(1, 1));
    subject.audit();
    assert_eq!(subject.reader().head().size, TreeSize(1));
}

fn many_batches(subject: &mut Subject) {
    for seed in 0..100 {
        let events = usize::try_from(seed % 9 + 1).expect("small");
        subject.append(&batch(events, seed));
    }
    subject.audit();
}

fn conflict_writes_nothing(subject: &mut Subject) {
    let first = subject.seal(&batch(2, 1));
    let twin = subject.seal(&batch(3, 2));
    subject.commit(&[&first]).expect("on the head");
    let head = subject.head();
    let foreign = Head {
        hash: EventHash([7; 32]),
        ..head
    };
    let ahead = Head {
        size: TreeSize(head.size.0 + 1),
        ..head
    };
    let behind = Head {
        size: TreeSize(head.size.0 - 1),
        ..head
    };
    let strangers = [foreign, ahead, behind].map(|head| subject.seal_after(&head, &batch(1, 3)));
    for stale in std::iter::once(&twin).chain(&strangers) {
        match subject.commit(&[stale]) {
            Err(CommitError::Conflict { expected, found, log }) => {
                assert_eq!((expected, found, log), (*stale.before(), head, subject.log()));
            }
            other => panic!("a conflict, not {other:?}"),
        }
        subject.audit();
    }
    subject.append(&batch(1, 4));
}

fn conflict_in_a_group(subject: &mut Subject) {
    subject.append(&batch(2, 1));
    let good = subject.seal(&batch(2, 2));
    let stale = subject.seal(&batch(2, 3));
    let outcome = subject.commit(&[&good, &stale]);
    assert!(
        matches!(outcome, Err(CommitError::Conflict { .. })),
        "{outcome:?}"
    );
    subject.audit();
    subject.append(&batch(2, 4));
}

fn unknown_log(subject: &mut Subject) {
    let stranger = LogId([0xab; 16]);
    assert_eq!(subject.journal_head(stranger), None);
    let sealed = subject.seal(&batch(1, 1));
    match subject.commit_to(stranger, &[&sealed]) {
        Err(CommitError::NoSuchLog(log)) => assert_eq!(log, stranger),
        other => panic!("no such log, not {other:?}"),
    }
    assert_eq!(subject.journal_head(stranger), None);
    subject.audit();
}

fn group_in_order(subject: &mut Subject) {
    subject.append(&batch(1, 0));
    let first = subject.seal(&batch(3, 1));
    let second = subject.seal_after(&first.after(), &batch(1, 2));
    let third = subject.seal_after(&second.after(), &batch(200, 3));
    subject
        .commit(&[&first, &second, &third])
        .expect("in order on the head");
    subject.audit();
    assert_eq!(subject.head(), third.after());
}

fn empty_group(subject: &mut Subject) {
    subject.append(&batch(1, 0));
    subject.commit(&[]).expect("nothing to do");
    subject.audit();
}

fn every_range(subject: &mut Subject) {
    for seed in 0..7 {
        subject.append(&batch(6, seed));
    }
    let past = subject.head().size.0 + 3;
    for bytes_max in [0, 1, 100, 300, 301, 1_000, 5_000, usize::MAX] {
        for from in (1..=past).filter_map(EventId::new) {
            subject.read(from, bytes_max);
        }
        let mut from = EventId::FIRST;
        while subject.head().size.contains(from) {
            from = subject.read(from, bytes_max).next_id();
        }
        assert_eq!(
            from,
            subject.head().size.next(),
            "runs lead to the head without gaps"
        );
    }
    let last = EventId::new(u64::MAX).expect("not 0");
    assert!(subject.read(last, 100).is_empty());
}

fn skewed_sizes(subject: &mut Subject) {
    for seed in 0..6 {
        subject.append(&skewed_batch(60, seed));
    }
    for bytes_max in [1, 1_000, 100_000] {
        let mut from = EventId::FIRST;
        while subject.head().size.contains(from) {
            from = subject.read(from, bytes_max).next_id();
        }
    }
}

fn huge_event(subject: &mut Subject) {
    subject.append(&batch(3, 1));
    subject.append(&huge_batch(2));
    subject.append(&batch(3, 3));
    let huge = EventId::FIRST.plus(3);
    assert_eq!(subject.read(huge, 10).len(), 1);
    assert_eq!(subject.read(EventId::FIRST, 64 * 1024).len(), 3);
    subject.audit();
}

fn batch_of_100k(subject: &mut Subject) {
    subject.append(&small_batch(100_000));
    assert_eq!(subject.head().size, TreeSize(100_000));
    for from in [1, 2, 50_000, 99_999, 100_000, 100_001]
        .into_iter()
        .filter_map(EventId::new)
    {
        subject.read(from, 1_000);
    }
    subject.append(&small_batch(1));
}

fn nothing_before_commit(subject: &mut Subject) {
    subject.append(&batch(2, 1));
    let sealed = subject.seal(&batch(2, 2));
    let stale = subject.seal_after(&Head::EMPTY, &batch(2, 3));
    subject.audit();
    let outcome = subject.commit(&[&stale]);
    assert!(
        matches!(outcome, Err(CommitError::Conflict { .. })),
        "{outcome:?}"
    );
    subject.audit();
    subject.commit(&[&sealed]).expect("on the head");
    subject.audit();
}

fn crashes(subject: &mut Subject) {
    for seed in 0..10 {
        subject.append(&batch(5, seed));
        if seed % 3 == 0 {
            subject.settle();
        }
        subject.crash_and_reopen();
    }
    assert_eq!(subject.head().size, TreeSize(50));
}

fn clean_reopens(subject: &mut Subject) {
    for seed in 0..10 {
        subject.append(&batch(5, seed));
        subject.clean_reopen();
    }
    subject.append(&batch(1, 99));
    subject.append(&batch(1, 100));
}

fn receive_times(subject: &mut Subject) {
    let times = [
        -1,
        0,
        1,
        1_778_814_855_123_456,
        1_778_814_855_123_457,
        253_402_300_799_999_999,
    ];
    for micros in times {
        subject.clock.set(Micros(micros - 1_000));
        subject.append(&batch(2, 1));
        assert_eq!(subject.head().received_at, Micros(micros));
    }
    // A clock that goes back: sealing holds the time, and the engine keeps it.
    subject.clock.set(Micros(5));
    subject.append(&batch(2, 2));
    assert_eq!(subject.head().received_at, Micros(253_402_300_799_999_999));
    subject.clean_reopen();
}

fn settle_and_recover(subject: &mut Subject) {
    for seed in 0..4 {
        subject.append(&batch(3, seed));
        subject.settle();
        subject.settle();
        let recovery = subject.recover();
        assert!(
            recovery.quarantined.is_empty(),
            "a healthy journal has no residue: {recovery:?}"
        );
        subject.audit();
        subject.append(&batch(3, seed));
        subject.recover();
        subject.audit();
    }
}

fn concurrent_readers(subject: &mut Subject) {
    const BATCHES: u64 = 200;
    const BATCH: u64 = 7;
    let last = EventId::new(BATCHES * BATCH).expect("not 0");
    // What the writer has begun and what it knows to be committed: a reader's head lies between them.
    let (begun, committed) = (AtomicU64::new(0), AtomicU64::new(0));
    let ended = AtomicBool::new(false);
    let reader = subject.reader();
    thread::scope(|scope| {
        for bytes_max in [1, 2_000, 1_000_000] {
            let (reader, begun, committed, ended) = (&*reader, &begun, &committed, &ended);
            scope.spawn(move || {
                let mut next = EventId::FIRST;
                while next <= last {
                    let no_more = ended.load(Ordering::SeqCst);
                    check_head(reader, begun, committed, BATCH);
                    let from = next;
                    next = follow(reader, from, bytes_max);
                    assert!(
                        next > from || !no_more,
                        "the readers' log ends before event {from}"
                    );
                }
            });
        }
        // Also when the writer panics: otherwise the readers would wait for ever.
        let _end = SetOnDrop(&ended);
        for round in 1..=BATCHES {
            let batch = batch(usize::try_from(BATCH).expect("small"), round);
            begun.store(round * BATCH, Ordering::SeqCst);
            subject.append(&batch);
            committed.store(round * BATCH, Ordering::SeqCst);
        }
    });
    drop(reader);
    subject.audit();
}

struct SetOnDrop<'a>(&'a AtomicBool);

impl Drop for SetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn check_head(reader: &dyn ReadLog, begun: &AtomicU64, committed: &AtomicU64, batch: u64) {
    let committed = committed.load(Ordering::SeqCst);
    let size = reader.head().size.0;
    let begun = begun.load(Ordering::SeqCst);
    assert!(
        size.is_multiple_of(batch),
        "a reader sees a part of a batch: {size} events"
    );
    assert!(
        committed <= size && size <= begun,
        "the head is {size}; {committed} committed, {begun} begun"
    );
}

/// Reads one run and checks that it goes on where the last one ended; gives the processor away when there is none.
fn follow(reader: &dyn ReadLog, next: EventId, bytes_max: usize) -> EventId {
    let run = reader.read(next, bytes_max).expect("a healthy engine reads");
    if run.is_empty() {
        thread::yield_now();
        return next;
    }
    let mut expected = next;
    for event in run.iter() {
        assert_eq!(event.id, expected);
        assert_eq!(event.hash, EventHash::of(event.body), "event {expected}: torn");
        expected = expected.plus(1);
    }
    assert!(
        reader
            .head()
            .size
            .contains(EventId::new(expected.get() - 1).expect("not 0")),
        "read past the head"
    );
    expected
}

fn random_walk(subject: &mut Subject) {
    let mut random = Random::new(2026, 5);
    for _ in 0..150 {
        let size = usize::try_from(random.below(30) + 1).expect("small");
        match random.below(12) {
            0..=5 => subject.append(&batch(size, random.next_u64())),
            6 => subject.append(&skewed_batch(size, random.next_u64())),
            7 => subject.settle(),
            8 => drop(subject.recover()),
            9 => subject.crash_and_reopen(),
            10 => subject.clean_reopen(),
            _ => {
                let from = EventId::FIRST.plus(random.below(subject.head().size.0 + 2));
                subject.read(from, usize::try_from(random.below(20_000)).expect("small"));
            }
        }
    }
}

//! Whole logs on several threads: what ails the storage, what is held elsewhere, progress, bounds.

use std::num::NonZeroUsize;
use std::sync::Mutex;

use annals_core::chain::{EventId, TreeSize};
use annals_core::hash::EventHash;
use annals_verify::{Break, Checkpoint, Freshness, Level, Options, Progress, Verdict, audit};

use crate::events::{self, MemoryLog};

fn options(threads: usize) -> Options {
    let threads = NonZeroUsize::new(threads).unwrap();
    Options {
        threads,
        range_events_max: 7,
        read_bytes_max: 1000,
        ..Options::new(Level::Full)
    }
}

fn check(log: &MemoryLog, held: Option<Checkpoint>) -> Verdict {
    let alone = audit(log, held.as_ref(), &options(1), &|_| {});
    assert_eq!(audit(log, held.as_ref(), &options(3), &|_| {}), alone);
    alone
}

fn held(event_id: u64, hash: EventHash) -> Option<Checkpoint> {
    Some(Checkpoint {
        event_id: EventId::new(event_id).unwrap(),
        hash,
    })
}

/// Red when: `audit` answers `ProvenUpTo` without a held checkpoint; when `compare` takes any hash.
#[test]
fn intact_says_what_was_proven() {
    let log = MemoryLog::new(events::chain(100));
    let (size, head) = (TreeSize(100), log.events[99].hash);
    assert_eq!(
        check(&log, None),
        Verdict::Intact {
            size,
            head,
            freshness: Freshness::NotProven
        }
    );
    let checkpoint = held(60, log.events[59].hash);
    let freshness = Freshness::ProvenUpTo(checkpoint.unwrap());
    assert_eq!(
        check(&log, checkpoint),
        Verdict::Intact {
            size,
            head,
            freshness
        }
    );

    let Verdict::Broken { checked: 59, at } = check(&log, held(60, EventHash::GENESIS)) else {
        panic!()
    };
    assert!(
        at.reason.contains("the log was rewritten at or before it"),
        "{at}"
    );
    let Verdict::Broken { checked: 100, at } = check(&log, held(101, EventHash::GENESIS)) else {
        panic!()
    };
    assert_eq!(at.event.get(), 101);
    assert!(at.reason.contains("the tail is missing"), "{at}");
}

#[test]
fn an_empty_log_is_intact_unless_a_checkpoint_is_held() {
    let log = MemoryLog::default();
    let (size, head, freshness) = (TreeSize(0), EventHash::GENESIS, Freshness::NotProven);
    assert_eq!(
        check(&log, None),
        Verdict::Intact {
            size,
            head,
            freshness
        }
    );
    assert!(matches!(
        check(&log, held(1, EventHash::GENESIS)),
        Verdict::Broken { checked: 0, .. }
    ));
}

/// Red when: `read_intact` reports the damage at once (the earlier break is missed), or when an I/O error counts as
/// a broken log.
#[test]
fn the_first_of_several_troubles_is_named() {
    for (unreadable, damaged, broken, expected) in [
        (Some(50), None, None, Err(49)),
        (Some(50), Some(70), None, Err(49)),
        (Some(70), Some(50), None, Ok((50, "bad checksum"))),
        (None, Some(50), Some(48), Ok((48, "hash mismatch at event #48"))),
        (None, Some(50), Some(52), Ok((50, "bad checksum"))),
        (Some(50), None, Some(49), Ok((49, "hash mismatch at event #49"))),
        (None, Some(1), None, Ok((1, "bad checksum"))),
        (None, None, Some(100), Ok((100, "hash mismatch at event #100"))),
    ] {
        let mut log = MemoryLog {
            unreadable,
            damaged,
            ..MemoryLog::new(events::chain(100))
        };
        if let Some(id) = broken {
            log.events[id - 1].hash = EventHash::of(b"other");
        }
        match (check(&log, None), expected) {
            (Verdict::Incomplete { checked, reason }, Err(intact)) => {
                assert_eq!(checked, intact);
                assert!(reason.contains("the disk is gone"), "{reason}");
            }
            (
                Verdict::Broken {
                    checked,
                    at: Break { event, reason },
                },
                Ok((id, says)),
            ) => {
                assert_eq!((checked, event.get()), (id - 1, id));
                assert!(reason.contains(says), "{reason}");
            }
            (found, _) => panic!("{unreadable:?} {damaged:?} {broken:?}: {found:?}"),
        }
    }
}

/// Red when: `check_next` asks for more than `read_bytes_max`, or counts events twice.
#[test]
fn reads_are_bounded_and_progress_adds_up() {
    let log = MemoryLog::new(events::chain(500));
    let last = Mutex::new(Progress::default());
    audit(&log, None, &options(3), &|progress| {
        let mut last = last.lock().unwrap();
        if progress.events > last.events {
            *last = progress;
        }
    });
    let bytes = log.events.iter().map(|event| event.body.len() as u64).sum();
    assert_eq!(*last.lock().unwrap(), Progress { events: 500, bytes });
    assert_eq!(*log.asked_max.lock().unwrap(), 1000);
}

//! Group commit, receipts, bounds.

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{EventId, TreeSize};
use annals_core::time::Micros;
use annals_log::{AppendError, LogOptions, LogState, Outcome, Receipt};
use annals_store::ReadLog;
use annals_testkit::clock::START;
use annals_testkit::events::{batch, huge_batch, one};
use annals_testkit::memory::{CommitFault, Step};

use crate::rig::{RETRY_AFTER, Rig, answer, options, seen_at_answer};

/// A receipt says what a reader reads.
fn check_receipt(reader: &dyn ReadLog, receipt: &Receipt, first_id: u64, events: usize) {
    assert_eq!((receipt.first_id().get(), receipt.len()), (first_id, events));
    assert_eq!(receipt.iter().len(), events);
    let run = reader.read(receipt.first_id(), usize::MAX).expect("readable");
    for ((id, hash, body), stored) in receipt.iter().zip(run.iter()) {
        assert_eq!((id, hash, body), (stored.id, stored.hash, stored.body));
        assert_eq!(receipt.received_at(), stored.received_at);
    }
}

// Red when: `take_group` in queue.rs stops after its first request.
#[test]
fn what_waits_goes_into_one_commit() {
    let rig = Rig::new();
    let (first, hold) = rig.occupy(batch(2, 0));
    let waiting: Vec<_> = (1..=5)
        .map(|seed| rig.log.append(batch(3, seed)).unwrap())
        .collect();
    drop(hold);
    check_receipt(&*rig.reader(), &answer(first).unwrap(), 1, 2);
    for (at, pending) in waiting.into_iter().enumerate() {
        check_receipt(&*rig.reader(), &answer(pending).unwrap(), 3 + 3 * at as u64, 3);
    }
    assert_eq!(rig.engine.committed_groups(), [2, 15]);
    assert_eq!(rig.stop().unwrap().events, 17);
}

// Red when: `take_group` ignores `group_bytes_max`, or takes no batch that is larger than it.
#[test]
fn a_commit_gathers_no_more_than_it_may_but_at_least_one_batch() {
    let bytes = batch(3, 1).sealed_bytes_max();
    let rig = Rig::with(LogOptions {
        group_bytes_max: 2 * bytes,
        ..options()
    });
    let (first, hold) = rig.occupy(batch(1, 0));
    let sizes = [3, 3, 3, 30, 3];
    let waiting = sizes.map(|events| rig.log.append(batch(events, 1)).unwrap());
    drop(hold);
    answer(first).unwrap();
    for pending in waiting {
        answer(pending).unwrap();
    }
    assert_eq!(rig.engine.committed_groups(), [1, 6, 3, 30, 3]);
    rig.stop().unwrap();
}

// Red when: `publish_and_answer` in sequencer.rs sends the head after its loop over the receipts.
#[test]
fn the_head_is_published_before_the_receipt() {
    let rig = Rig::new();
    let (pending, hold) = rig.occupy(batch(4, 0));
    assert_eq!(rig.log.head().size, TreeSize(0), "not before the commit");
    let seen = seen_at_answer(&rig.log, pending, hold);
    assert_eq!(seen.head.size, TreeSize(4));
    assert_eq!(seen.answer.unwrap().len(), 4);
    rig.stop().unwrap();
}

// Red when: `publish_and_answer` does not send the head at all.
#[test]
fn followers_see_the_last_head() {
    let rig = Rig::new();
    let mut heads = rig.log.subscribe();
    assert!(!heads.has_changed().unwrap());
    for seed in 0..3 {
        rig.seal(batch(2, seed)).unwrap();
    }
    assert!(heads.has_changed().unwrap());
    assert_eq!(*heads.borrow_and_update(), rig.reader().head());
    rig.stop().unwrap();
    assert!(
        heads.has_changed().is_err(),
        "the channel ends with the sequencer"
    );
}

// Red when: `offer` in queue.rs does not compare `waiting.len()` (first), or does not count `waiting_bytes` (second).
#[test]
fn a_full_queue_is_busy() {
    let bytes = batch(3, 0).sealed_bytes_max();
    for bounds in [
        LogOptions {
            queue_batches_max: 4,
            ..options()
        },
        LogOptions {
            queue_bytes_max: 4 * bytes + bytes / 2,
            ..options()
        },
    ] {
        let rig = Rig::with(bounds);
        let (first, hold) = rig.occupy(batch(3, 0));
        let waiting: Vec<_> = (0..4).map(|_| rig.log.append(batch(3, 0)).unwrap()).collect();
        let refusal = rig.log.append(batch(3, 0)).unwrap_err();
        assert_eq!(
            refusal,
            AppendError::Busy {
                retry_after: RETRY_AFTER
            }
        );
        assert_eq!(
            (refusal.outcome(), refusal.retry_after()),
            (Outcome::NotStored, Some(RETRY_AFTER))
        );
        drop(hold);
        for pending in std::iter::once(first).chain(waiting) {
            answer(pending).unwrap();
        }
        // Red when: `take_group` does not give the bytes back.
        for _ in 0..10 {
            rig.seal(batch(3, 0)).unwrap();
        }
        assert_eq!(rig.stop().unwrap().events, 45);
    }
}

// Red when: `offer` does not look at `is_empty` or at `batch_bytes_max`.
#[test]
fn batches_that_can_never_be_taken_are_refused_at_once() {
    let rig = Rig::with(LogOptions {
        queue_bytes_max: 100_000,
        ..options()
    });
    assert_eq!(
        rig.log.append(CanonicalBatch::default()).unwrap_err(),
        AppendError::Empty
    );
    let huge = huge_batch(1);
    let bytes = huge.sealed_bytes_max() as u64;
    let refusal = rig.log.append(huge).unwrap_err();
    assert_eq!(
        refusal,
        AppendError::TooLarge {
            bytes,
            bytes_max: 100_000
        }
    );
    assert_eq!(
        (refusal.outcome(), refusal.retry_after()),
        (Outcome::NotStored, None)
    );
    rig.seal(batch(1, 1)).unwrap();
    assert_eq!(rig.stop().unwrap().events, 1);
}

// Red when: `shrink` in sequencer.rs answers a group of several as too large, or puts it back in another order.
#[test]
fn an_engine_that_takes_less_gets_smaller_groups() {
    let rig = Rig::new();
    rig.engine.limit_commits(3_000);
    let (first, hold) = rig.occupy(batch(1, 0));
    let mut waiting: Vec<_> = (0..20)
        .map(|at| rig.log.append(one(&format!("{{\"n\":{at}}}"))).unwrap())
        .collect();
    let too_large = rig.log.append(batch(30, 1)).unwrap();
    waiting.push(rig.log.append(one("{\"n\":20}")).unwrap());
    drop(hold);
    answer(first).unwrap();
    for (at, pending) in waiting.into_iter().enumerate() {
        let receipt = answer(pending).unwrap();
        assert_eq!(
            receipt.first_id(),
            EventId::new(2 + at as u64).unwrap(),
            "first come, first sealed"
        );
    }
    assert!(matches!(
        answer(too_large),
        Err(AppendError::TooLarge { bytes_max: 3_000, .. })
    ));
    assert_eq!(rig.log.state(), LogState::Running);
    assert_eq!(rig.stop().unwrap().events, 22);
}

// Red when: `commit` in sequencer.rs does not ask the clock.
#[test]
fn receive_times_follow_the_clock_but_never_back() {
    let rig = Rig::new();
    let received = |micros: i64| {
        rig.clock.set(Micros(micros));
        rig.seal(batch(1, 1)).unwrap().received_at().0
    };
    assert_eq!(received(START.0 + 5), START.0 + 5);
    assert_eq!(received(START.0 + 9), START.0 + 9);
    assert_eq!(received(START.0 - 1_000_000), START.0 + 9);
    rig.stop().unwrap();
}

// Red when: `Request::answer` in queue.rs panics when nobody listens any more.
#[test]
fn a_caller_that_goes_away_does_not_take_its_batch_back() {
    let rig = Rig::new();
    let (pending, hold) = rig.occupy(batch(2, 0));
    drop(pending);
    drop(rig.log.append(batch(3, 1)).unwrap());
    drop(hold);
    rig.engine.wait_returned(Step::Commit, 2);
    rig.seal(batch(1, 2)).unwrap();
    assert_eq!(rig.stop().unwrap().events, 6);
}

// Red when: `refuse` answers with something else, or anything but the hit group is refused.
#[test]
fn a_full_disk_hits_only_those_whose_commit_it_was() {
    let rig = Rig::new();
    let (hit, hold) = rig.occupy(batch(2, 0));
    rig.engine.fail_commit(CommitFault::NoSpace, false);
    let next = rig.log.append(batch(3, 1)).unwrap();
    drop(hold);
    assert_eq!(answer(hit).unwrap_err(), AppendError::NoSpace);
    assert_eq!(answer(next).unwrap().first_id(), EventId::FIRST);
    assert_eq!(rig.stop().unwrap().events, 3);
}

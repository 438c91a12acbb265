//! Every way in which a commit, a settle or a recovery fails; writes that fail come twice: nothing was written, and it
//! was written all the same. Each test ends with an audit of the whole log.

use annals_core::chain::{EventId, TreeSize};
use annals_log::{AppendError, Fatal, LogOptions, LogState, Outcome};
use annals_testkit::events::batch;
use annals_testkit::memory::{CommitFault, LOG, RecoverFault, Step};

use crate::rig::{RETRY_AFTER, Rig, answer, join, options, seen_at_answer};

// Red when: `refuse` in sequencer.rs maps one of these to another answer, or recovers after it.
#[test]
fn known_refusals_store_nothing_and_the_log_goes_on() {
    for (fault, expected) in [
        (CommitFault::NoSpace, AppendError::NoSpace),
        (
            CommitFault::Storage,
            AppendError::Storage {
                retry_after: RETRY_AFTER,
            },
        ),
        (
            CommitFault::Backlog,
            AppendError::Busy {
                retry_after: RETRY_AFTER,
            },
        ),
    ] {
        let rig = Rig::new();
        rig.seal(batch(2, 0)).unwrap();
        rig.engine.fail_commit(fault, false);
        rig.engine.fail_commit(fault, false);
        for _ in 0..2 {
            let refusal = rig.seal(batch(3, 1)).unwrap_err();
            assert_eq!(refusal, expected);
            assert_eq!(refusal.outcome(), Outcome::NotStored);
            assert_eq!(rig.log.state(), LogState::Running);
            assert_eq!(rig.log.head().size, TreeSize(2));
        }
        assert_eq!(rig.seal(batch(3, 1)).unwrap().first_id().get(), 3);
        assert_eq!(rig.engine.entered(Step::Recover), 0);
        assert_eq!(rig.stop().unwrap().events, 5);
    }
}

// Red when: `shrink` puts a single batch back instead of answering it (the test then never ends, and says so).
#[test]
fn one_batch_that_the_engine_can_not_take_is_too_large() {
    let rig = Rig::new();
    rig.engine.fail_commit(CommitFault::TooLarge, false);
    let refusal = rig.seal(batch(3, 1)).unwrap_err();
    assert!(matches!(refusal, AppendError::TooLarge { .. }), "{refusal}");
    rig.seal(batch(3, 1)).unwrap();
    assert_eq!(rig.stop().unwrap().events, 3);
}

// Red when (each alone): `refuse` answers `Unknown` with `NotStored`'s errors; `set_recovering` comes after `answer_all`;
// `close` in queue.rs leaves what waits; `resume` does not take over or publish the head that was found.
#[test]
fn an_unknown_outcome_is_said_and_looked_into() {
    for written in [false, true] {
        let rig = Rig::new();
        rig.seal(batch(2, 0)).unwrap();
        rig.engine.fail_commit(CommitFault::Unknown, written);
        let recovery = rig.engine.hold(Step::Recover);
        let (hit, commit) = rig.occupy(batch(3, 1));
        let waiting = [
            rig.log.append(batch(1, 2)).unwrap(),
            rig.log.append(batch(1, 3)).unwrap(),
        ];

        let seen = seen_at_answer(&rig.log, hit, commit);
        let unknown = seen.answer.unwrap_err();
        assert_eq!(
            (&unknown, unknown.outcome()),
            (&AppendError::Unknown, Outcome::Unknown)
        );
        assert_eq!((seen.state, seen.head.size), (LogState::Recovering, TreeSize(2)));

        let recovering = AppendError::Recovering {
            retry_after: RETRY_AFTER,
        };
        assert_eq!(recovering.outcome(), Outcome::NotStored);
        for pending in waiting {
            assert_eq!(answer(pending).unwrap_err(), recovering);
        }
        assert_eq!(rig.log.append(batch(1, 4)).unwrap_err(), recovering);
        assert_eq!(
            rig.log.head().size,
            TreeSize(2),
            "what is not known to be durable is not published"
        );

        drop(recovery);
        rig.wait_running();
        let stored = if written { 5 } else { 2 };
        assert_eq!(rig.log.head().size, TreeSize(stored));
        assert_eq!(rig.log.head(), rig.reader().head());
        assert_eq!(rig.seal(batch(1, 5)).unwrap().first_id().get(), stored + 1);
        assert_eq!(rig.stop().unwrap().events, stored + 1);
    }
}

// Red when: `resume` sets the head without sending it to the followers.
#[test]
fn followers_hear_of_a_head_that_recovery_found() {
    let rig = Rig::new();
    let mut heads = rig.log.subscribe();
    rig.engine.fail_commit(CommitFault::Unknown, true);
    rig.seal(batch(3, 1)).unwrap_err();
    rig.wait_running();
    assert!(heads.has_changed().unwrap());
    assert_eq!(heads.borrow_and_update().size, TreeSize(3));
    rig.stop().unwrap();
}

// Red when: `refuse` treats `NeedsRecovery` as unknown, or as a plain refusal without recovering.
#[test]
fn a_journal_that_wants_recovery_gets_it_and_nothing_was_stored() {
    let rig = Rig::new();
    rig.engine.fail_commit(CommitFault::NeedsRecovery, false);
    let refusal = rig.seal(batch(3, 1)).unwrap_err();
    assert_eq!(
        refusal,
        AppendError::Recovering {
            retry_after: RETRY_AFTER
        }
    );
    rig.wait_running();
    rig.seal(batch(2, 1)).unwrap();
    assert_eq!(rig.stop().unwrap().events, 2);
}

// Red when: `recover` in sequencer.rs gives up after a failure instead of trying again.
#[test]
fn recovery_is_tried_until_it_succeeds() {
    for written in [false, true] {
        let rig = Rig::new();
        for _ in 0..5 {
            rig.engine.fail_recover(RecoverFault::Io);
        }
        rig.engine.fail_commit(CommitFault::Unknown, written);
        assert_eq!(rig.seal(batch(3, 1)).unwrap_err(), AppendError::Unknown);
        rig.wait_running();
        assert_eq!(rig.engine.entered(Step::Recover), 6);
        rig.seal(batch(1, 2)).unwrap();
        assert_eq!(rig.stop().unwrap().events, if written { 4 } else { 1 });
    }
}

/// The log ends damaged: everything is refused for good, the head stays, the journal is kept until stop.
// Red when: `live` in sequencer.rs does not wait for the stop (the journal is gone before).
fn check_damaged(rig: Rig, expected: &Fatal, events: u64) {
    let state = rig.wait_state(|state| matches!(state, LogState::Damaged(_)));
    let LogState::Damaged(fatal) = state else {
        unreachable!("waited for")
    };
    assert_eq!(*fatal, *expected);
    let refusal = rig.log.append(batch(1, 9)).expect_err("refused");
    assert_eq!(refusal, AppendError::Damaged(fatal));
    assert_eq!(
        (refusal.outcome(), refusal.retry_after()),
        (Outcome::NotStored, None)
    );
    assert_eq!(rig.log.head().size, TreeSize(events));
    assert_eq!(rig.engine.open_journals(), 1);
    rig.log.stop();
    assert!(
        matches!(rig.log.state(), LogState::Damaged(_)),
        "damage stays to be seen"
    );
    assert_eq!(*join(rig.sequencer).expect_err("damaged"), *expected);
    assert_eq!(rig.engine.open_journals(), 0);
    assert!(
        matches!(rig.log.state(), LogState::Damaged(_)),
        "damage stays to be seen"
    );
}

// Red when: `recover` tries again after `RecoverError::Damaged`.
#[test]
fn damage_that_recovery_finds_ends_the_log() {
    let rig = Rig::new();
    rig.seal(batch(2, 0)).unwrap();
    rig.engine.fail_recover(RecoverFault::Damaged(EventId::FIRST));
    rig.engine.fail_commit(CommitFault::Unknown, true);
    assert_eq!(rig.seal(batch(1, 1)).unwrap_err(), AppendError::Unknown);
    let damage = annals_store::Damage {
        event: EventId::FIRST,
        place: String::from("memory"),
        what: String::from("scripted damage"),
    };
    check_damaged(rig, &Fatal::Integrity(damage), 2);
}

// Red when: `continues` in sequencer.rs says yes to a smaller head (first), to another one of the same size (second).
#[test]
fn a_recovery_that_lost_what_was_sealed_ends_the_log() {
    for fault in [RecoverFault::LosesTail(1), RecoverFault::ForksTail] {
        let rig = Rig::new();
        rig.seal(batch(2, 0)).unwrap();
        let sealed = rig.log.head();
        rig.engine.fail_recover(fault);
        rig.engine.fail_commit(CommitFault::Unknown, false);
        assert_eq!(rig.seal(batch(1, 1)).unwrap_err(), AppendError::Unknown);
        let state = rig.wait_state(|state| matches!(state, LogState::Damaged(_)));
        let found = rig.reader().head();
        assert_ne!(found, sealed);
        assert!(state != LogState::Running);
        check_damaged(
            rig,
            &Fatal::LostHead {
                log: LOG,
                sealed,
                found,
            },
            2,
        );
    }
}

// Red when: `refuse` goes on after a conflict, or answers before the state is `Damaged`.
#[test]
fn a_conflict_fences_the_log() {
    let rig = Rig::new();
    rig.seal(batch(2, 0)).unwrap();
    let head = rig.log.head();
    rig.engine.fail_commit(CommitFault::Conflict, false);
    let (hit, hold) = rig.occupy(batch(1, 1));
    let waiting = rig.log.append(batch(1, 2)).unwrap();
    let seen = seen_at_answer(&rig.log, hit, hold);
    assert!(matches!(seen.state, LogState::Damaged(_)));
    let fenced = Fatal::Fenced {
        log: LOG,
        expected: head,
        found: head,
    };
    assert!(matches!(seen.answer, Err(AppendError::Damaged(fatal)) if *fatal == fenced));
    assert!(matches!(answer(waiting), Err(AppendError::Damaged(fatal)) if *fatal == fenced));
    rig.audit();
    check_damaged(rig, &fenced, 2);
}

// Red when: `publish_and_answer` runs for a failed commit, or a conflict is met by sealing again on the found head.
#[test]
fn an_engine_that_writes_what_it_refuses_is_fenced_not_forked() {
    for fault in [
        CommitFault::NoSpace,
        CommitFault::Storage,
        CommitFault::Backlog,
        CommitFault::TooLarge,
    ] {
        let rig = Rig::new();
        rig.seal(batch(2, 0)).unwrap();
        let expected = rig.log.head();
        rig.engine.fail_commit(fault, true);
        rig.seal(batch(3, 1)).unwrap_err();
        let refusal = rig.seal(batch(1, 2)).unwrap_err();
        let AppendError::Damaged(fatal) = refusal else {
            panic!("fenced, not {refusal}")
        };
        assert!(matches!(*fatal, Fatal::Fenced { expected: ours, .. } if ours == expected));
        check_damaged(rig, &fatal, 2);
    }
}

// Red when: `refuse` treats `NoSuchLog` as a plain refusal.
#[test]
fn a_log_that_is_gone_ends_the_log() {
    let rig = Rig::new();
    rig.engine.fail_commit(CommitFault::NoSuchLog, false);
    let refusal = rig.seal(batch(1, 1)).unwrap_err();
    assert!(matches!(refusal, AppendError::Damaged(_)), "{refusal}");
    check_damaged(rig, &Fatal::NoSuchLog(LOG), 0);
}

// Red when: `live` does not catch the panic (what waits is never answered), or catches it without closing the queue.
#[test]
fn a_panic_leaves_nobody_waiting() {
    for written in [false, true] {
        let rig = Rig::new();
        rig.seal(batch(2, 0)).unwrap();
        rig.engine.fail_commit(CommitFault::Panic, written);
        let (hit, hold) = rig.occupy(batch(3, 1));
        let waiting = rig.log.append(batch(1, 2)).unwrap();
        drop(hold);
        assert_eq!(answer(hit).unwrap_err(), AppendError::Unknown);
        assert!(matches!(answer(waiting), Err(AppendError::Damaged(fatal)) if *fatal == Fatal::Panicked));
        rig.audit();
        check_damaged(rig, &Fatal::Panicked, 2);
    }
}

// Red when: `settle` in sequencer.rs does not recover (the next commit then fails).
#[test]
fn a_failed_settle_recovers_and_hurts_no_caller() {
    let rig = Rig::with(LogOptions {
        settle_after: std::time::Duration::ZERO,
        ..options()
    });
    rig.engine.fail_settle();
    rig.seal(batch(2, 0)).unwrap();
    rig.engine.wait_returned(Step::Recover, 1);
    rig.wait_running();
    // The second settle succeeds: what recovery wrote is settled too.
    rig.engine.wait_returned(Step::Settle, 2);
    assert_eq!(rig.seal(batch(1, 1)).unwrap().first_id().get(), 3);
    assert_eq!(rig.stop().unwrap().events, 3);
}

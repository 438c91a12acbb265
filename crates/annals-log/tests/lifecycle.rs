//! Start, settle, stop.

use std::time::Duration;

use annals_core::chain::LogId;
use annals_core::limits::GROUP_BYTES_MAX;
use annals_log::{AppendError, LogOptions, LogState, Outcome, StartError, SystemClock, start};
use annals_testkit::events::batch;
use annals_testkit::memory::{CommitFault, LOG, MemoryEngine, RecoverFault, Step};

use crate::rig::{Rig, answer, join, options};

// Red when: `start` in lib.rs begins with `Head::EMPTY`.
#[test]
fn a_log_goes_on_where_the_last_process_ended() {
    let rig = Rig::new();
    rig.seal(batch(3, 0)).unwrap();
    let engine = rig.engine.clone();
    let head = rig.log.head();
    rig.stop().unwrap();
    let (log, sequencer) = start(engine.journal(), LOG, Box::new(SystemClock), options()).unwrap();
    assert_eq!(log.head(), head);
    let receipt = answer(log.append(batch(1, 1)).unwrap()).unwrap();
    assert_eq!(receipt.first_id().get(), 4);
    assert!(
        receipt.received_at() > head.received_at,
        "the machine's clock is past the test's"
    );
    log.stop();
    join(sequencer).unwrap();
}

// Red when: any one of the checks in `LogOptions::check` is taken out, or `start` does not call it.
#[test]
fn what_can_not_work_does_not_start() {
    let started = |log, options| {
        start(
            MemoryEngine::default().journal(),
            log,
            Box::new(SystemClock),
            options,
        )
        .err()
    };
    let stranger = LogId([9; 16]);
    assert!(matches!(started(stranger, options()), Some(StartError::NoSuchLog(log)) if log == stranger));
    for (wrong, name) in [
        (
            LogOptions {
                queue_bytes_max: 0,
                ..options()
            },
            "queue_bytes_max",
        ),
        (
            LogOptions {
                queue_batches_max: 0,
                ..options()
            },
            "queue_batches_max",
        ),
        (
            LogOptions {
                group_bytes_max: 0,
                ..options()
            },
            "group_bytes_max",
        ),
        (
            LogOptions {
                group_bytes_max: GROUP_BYTES_MAX + 1,
                ..options()
            },
            "group_bytes_max",
        ),
        (
            LogOptions {
                recover_pause_min: Duration::ZERO,
                ..options()
            },
            "recover_pause_min",
        ),
        (
            LogOptions {
                recover_pause_min: Duration::from_secs(99),
                ..options()
            },
            "recover_pause_min",
        ),
    ] {
        assert!(matches!(started(LOG, wrong), Some(StartError::Option { option, .. }) if option == name));
    }
}

// Red when: `stop` in queue.rs drops what waits, or `next` looks at `stop_asked` before it looks at the queue.
#[test]
fn stopping_finishes_what_was_accepted() {
    let rig = Rig::new();
    let (first, hold) = rig.occupy(batch(2, 0));
    let waiting: Vec<_> = (1..=3)
        .map(|seed| rig.log.append(batch(2, seed)).unwrap())
        .collect();
    rig.log.stop();
    assert_eq!(rig.log.state(), LogState::Stopping);
    let refusal = rig.log.append(batch(1, 9)).unwrap_err();
    assert_eq!(
        (&refusal, refusal.outcome()),
        (&AppendError::Stopped, Outcome::NotStored)
    );
    drop(hold);
    for pending in std::iter::once(first).chain(waiting) {
        assert_eq!(answer(pending).unwrap().len(), 2);
    }
    let (log, engine) = (rig.log.clone(), rig.engine.clone());
    assert_eq!(rig.stop().unwrap().events, 8);
    assert_eq!(log.state(), LogState::Stopped);
    assert_eq!(log.append(batch(1, 9)).unwrap_err(), AppendError::Stopped);
    // Red when: `finish` in sequencer.rs does not settle.
    assert_eq!(engine.entered(Step::Settle), 1);
}

// Red when: `Handle` in lib.rs has no `Drop`.
#[test]
fn a_log_that_nobody_holds_any_more_stops() {
    let rig = Rig::new();
    let pending = rig.log.append(batch(2, 0)).unwrap();
    drop(rig.log);
    assert_eq!(answer(pending).unwrap().len(), 2);
    join(rig.sequencer).unwrap();
}

// Red when: `settle` does not clear `unsettled` (too many), `publish_and_answer` does not set it (none), or `run` always
// waits without an end (none).
#[test]
fn the_journal_settles_once_when_nothing_waits() {
    let rig = Rig::with(LogOptions {
        settle_after: Duration::ZERO,
        ..options()
    });
    for round in 1..=5 {
        rig.seal(batch(1, round)).unwrap();
        rig.engine.wait_returned(Step::Settle, round);
    }
    let engine = rig.engine.clone();
    rig.stop().unwrap();
    assert_eq!(
        engine.entered(Step::Settle),
        5,
        "settled when idle, so not again at the end"
    );
}

// Red when: `finish` in sequencer.rs takes the failure for damage.
#[test]
fn a_settle_that_fails_at_the_end_loses_nothing() {
    let rig = Rig::new();
    rig.seal(batch(3, 0)).unwrap();
    rig.engine.fail_settle();
    let log = rig.log.clone();
    assert_eq!(rig.stop().unwrap().events, 3);
    assert_eq!(log.state(), LogState::Stopped);
}

// Red when: `recover` in sequencer.rs waits out its pause whatever comes (this one is an hour).
#[test]
fn a_stop_interrupts_recovery() {
    let hour = Duration::from_secs(3600);
    let rig = Rig::with(LogOptions {
        recover_pause_min: hour,
        recover_pause_max: hour,
        ..options()
    });
    for _ in 0..3 {
        rig.engine.fail_recover(RecoverFault::Io);
    }
    rig.engine.fail_commit(CommitFault::Unknown, false);
    assert_eq!(rig.seal(batch(3, 0)).unwrap_err(), AppendError::Unknown);
    rig.engine.wait_returned(Step::Recover, 1);
    rig.log.stop();
    join(rig.sequencer).unwrap();
    assert_eq!(rig.log.state(), LogState::Stopped);
    assert_eq!(rig.engine.entered(Step::Recover), 1);
}

// Red when: `set_running` in queue.rs ignores `stop_asked` (then the second append is accepted and never answered).
#[test]
fn a_recovery_that_succeeds_does_not_undo_a_stop() {
    let rig = Rig::new();
    rig.engine.fail_commit(CommitFault::Unknown, true);
    let recovery = rig.engine.hold(Step::Recover);
    assert_eq!(rig.seal(batch(3, 0)).unwrap_err(), AppendError::Unknown);
    rig.engine.wait_entered(Step::Recover, 1);
    rig.log.stop();
    // Held at its next step, the sequencer shows the state that recovery left.
    let settle = rig.engine.hold(Step::Settle);
    drop(recovery);
    rig.engine.wait_entered(Step::Settle, 1);
    assert_eq!(rig.log.append(batch(1, 1)).unwrap_err(), AppendError::Stopped);
    drop(settle);
    assert_eq!(rig.stop().unwrap().events, 3);
}

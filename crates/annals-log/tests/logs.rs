//! Many logs of one journal: one commit for all, fair turns, logs that are made while others are written.

use annals_core::chain::{EventId, LogId, TreeSize};
use annals_log::{AppendError, CreateError, Log, LogOptions, LogState, Logs, StartError};
use annals_store::{LogDirectory, LogName};
use annals_testkit::chain::audit;
use annals_testkit::events::batch;
use annals_testkit::memory::{CommitFault, CreateFault, LOG, MemoryEngine, RecoverFault, Step};

use crate::rig::{ManyRig, RETRY_AFTER, answer, block_on, join, options};

fn name(text: &str) -> LogName {
    LogName::new(text).unwrap()
}

// Red when: `commit` in sequencer.rs commits each share by itself.
#[test]
fn one_commit_carries_what_waits_of_all_logs() {
    let rig = ManyRig::new(20, options());
    let (first, hold) = rig.occupy(batch(1, 0));
    let waiting: Vec<_> = (0..60)
        .map(|at| rig.logs[at % 20].append(batch(1 + at % 3, at as u64)).unwrap())
        .collect();
    drop(hold);
    answer(first).unwrap();
    let receipts: Vec<_> = waiting
        .into_iter()
        .map(|pending| answer(pending).unwrap())
        .collect();
    for (at, receipt) in receipts.iter().enumerate() {
        assert_eq!(receipt.len(), 1 + at % 3);
        let reader = rig.engine.reader_of(rig.logs[at % 20].id());
        let run = reader.read(receipt.first_id(), usize::MAX).unwrap();
        for ((id, hash, body), stored) in receipt.iter().zip(run.iter()) {
            assert_eq!((id, hash, body), (stored.id, stored.hash, stored.body));
        }
    }
    assert_eq!(rig.engine.committed_groups().len(), 2);
    rig.stop();
}

// Red when: `take_group` in queue.rs pushes the turn to the front again instead of to the back.
#[test]
fn turns_go_round_whatever_one_log_has_waiting() {
    let bytes = batch(2, 1).sealed_bytes_max();
    let rig = ManyRig::new(
        3,
        LogOptions {
            group_bytes_max: 4 * bytes,
            ..options()
        },
    );
    let (first, hold) = rig.occupy(batch(2, 1));
    let flood: Vec<_> = (0..100)
        .map(|_| rig.logs[0].append(batch(2, 1)).unwrap())
        .collect();
    let others: Vec<_> = [1, 2, 1, 2]
        .map(|log| rig.logs[log].append(batch(2, 1)).unwrap())
        .into();
    // Each group has room for four: the others' four are in the next two, though a hundred came before them.
    let fourth = rig.engine.hold_after(Step::Commit, 4);
    drop(hold);
    answer(first).unwrap();
    for pending in others {
        assert_eq!(answer(pending).unwrap().len(), 2);
    }
    drop(fourth);
    for pending in flood {
        answer(pending).unwrap();
    }
    rig.stop();
}

// Red when: `has_room` in queue.rs does not compare with what is free.
#[test]
fn a_flood_leaves_room_for_the_others() {
    let bytes = batch(3, 0).sealed_bytes_max();
    for bounds in [
        LogOptions {
            queue_batches_max: 64,
            ..options()
        },
        LogOptions {
            queue_bytes_max: 64 * bytes,
            ..options()
        },
    ] {
        let rig = ManyRig::new(3, bounds);
        let (first, hold) = rig.occupy(batch(3, 0));
        let mut waiting = Vec::new();
        let flood = |log: &Log, waiting: &mut Vec<_>| {
            let before = waiting.len();
            loop {
                match log.append(batch(3, 0)) {
                    Ok(pending) => waiting.push(pending),
                    Err(refusal) => {
                        assert_eq!(
                            refusal,
                            AppendError::Busy {
                                retry_after: RETRY_AFTER
                            }
                        );
                        return waiting.len() - before;
                    }
                }
            }
        };
        assert_eq!(flood(&rig.logs[0], &mut waiting), 32, "half of the queue");
        assert_eq!(flood(&rig.logs[1], &mut waiting), 16, "half of what is left");
        waiting.push(rig.logs[2].append(batch(3, 0)).expect("there is room"));
        drop(hold);
        answer(first).unwrap();
        for pending in waiting {
            answer(pending).unwrap();
        }
        rig.stop();
    }
}

// Red when: `adopt` in sequencer.rs gives every log the first lane.
#[test]
fn a_log_that_was_made_is_written_and_found() {
    let rig = ManyRig::new(1, options());
    let (made, manifest) = block_on(rig.all.create(name("second")).unwrap()).unwrap();
    assert_eq!((made.id(), made.head().size), (manifest.id, TreeSize(0)));
    assert_eq!(
        answer(made.append(batch(3, 1)).unwrap()).unwrap().first_id(),
        EventId::FIRST
    );
    assert_eq!(made.head().size, TreeSize(3));
    assert_eq!(rig.logs[0].head().size, TreeSize(0));
    let found = rig.all.log(manifest.id).expect("found by its id");
    assert_eq!(found.head(), made.head());
    let (listed, reader) = rig.engine.open("second").expect("readers find it");
    assert_eq!((listed, reader.head()), (manifest, made.head()));
    let again = block_on(rig.all.create(name("second")).unwrap());
    assert_eq!(again.unwrap_err(), CreateError::Exists(name("second")));
    assert!(rig.all.log(LogId([9; 16])).is_none());
    rig.stop();
}

// Red when: `offer_creation` in queue.rs does not count the logs, or `create` does not look again.
#[test]
fn the_number_of_logs_is_bounded() {
    let rig = ManyRig::new(
        1,
        LogOptions {
            logs_max: 2,
            ..options()
        },
    );
    let (first, hold) = rig.occupy(batch(1, 1));
    let both = ["a", "b"].map(|text| rig.all.create(name(text)).unwrap());
    drop(hold);
    answer(first).unwrap();
    let [one, other] = both.map(|pending| block_on(pending).map(|(_, manifest)| manifest.name));
    let full = CreateError::TooMany { logs_max: 2 };
    assert_eq!((one, other), (Ok(name("a")), Err(full.clone())));
    assert_eq!(rig.all.create(name("c")).unwrap_err(), full);
    rig.stop();
}

// Red when: `offer_creation` in queue.rs does not count what waits.
#[test]
fn logs_that_wait_to_be_made_are_bounded() {
    let rig = ManyRig::new(1, options());
    let hold = rig.engine.hold(Step::Create);
    let mut waiting = vec![rig.all.create(name("first")).unwrap()];
    rig.engine.wait_entered(Step::Create, 1);
    waiting.extend((0..64).map(|at| rig.all.create(name(&format!("more-{at}"))).unwrap()));
    let busy = CreateError::Busy {
        retry_after: RETRY_AFTER,
    };
    assert_eq!(rig.all.create(name("one-more")).unwrap_err(), busy);
    drop(hold);
    for pending in waiting {
        block_on(pending).unwrap();
    }
    rig.stop();
}

// Red when: `refuse_creation` maps one of these to another answer, or recovers (or does not) after it.
#[test]
fn a_log_that_is_not_made_is_said_why() {
    for (fault, expected) in [
        (CreateFault::NoSpace, CreateError::NoSpace),
        (
            CreateFault::Storage,
            CreateError::Storage {
                retry_after: RETRY_AFTER,
            },
        ),
        (
            CreateFault::NeedsRecovery,
            CreateError::Recovering {
                retry_after: RETRY_AFTER,
            },
        ),
    ] {
        let rig = ManyRig::new(1, options());
        rig.engine.fail_create(fault, false);
        assert_eq!(
            block_on(rig.all.create(name("a")).unwrap()).unwrap_err(),
            expected
        );
        rig.wait_running();
        let recoveries = u64::from(fault == CreateFault::NeedsRecovery);
        assert_eq!(rig.engine.entered(Step::Recover), recoveries);
        block_on(rig.all.create(name("a")).unwrap()).expect("now it is made");
        rig.stop();
    }
}

// Red when: `resume` in sequencer.rs does not adopt what the journal has.
#[test]
fn a_log_of_unknown_outcome_is_found_by_recovery_or_not_there() {
    for written in [false, true] {
        let rig = ManyRig::new(1, options());
        rig.engine.fail_create(CreateFault::Unknown, written);
        assert_eq!(
            block_on(rig.all.create(name("a")).unwrap()).unwrap_err(),
            CreateError::Unknown
        );
        rig.wait_running();
        match rig.engine.open("a") {
            Some((manifest, _)) => {
                assert!(written);
                let log = rig.all.log(manifest.id).expect("adopted");
                answer(log.append(batch(2, 1)).unwrap()).unwrap();
                let again = block_on(rig.all.create(name("a")).unwrap());
                assert_eq!(again.unwrap_err(), CreateError::Exists(name("a")));
            }
            None => {
                assert!(!written);
                block_on(rig.all.create(name("a")).unwrap()).expect("now it is made");
            }
        }
        rig.stop();
    }
}

// Red when: `close` in queue.rs leaves the creations that wait.
#[test]
fn creations_that_wait_are_answered_when_nothing_is_taken_any_more() {
    let rig = ManyRig::new(1, options());
    rig.engine.fail_commit(CommitFault::Unknown, false);
    let recovery = rig.engine.hold(Step::Recover);
    let (first, hold) = rig.occupy(batch(1, 1));
    let waiting = rig.all.create(name("a")).unwrap();
    drop(hold);
    assert_eq!(answer(first).unwrap_err(), AppendError::Unknown);
    let recovering = CreateError::Recovering {
        retry_after: RETRY_AFTER,
    };
    assert_eq!(block_on(waiting).unwrap_err(), recovering);
    assert_eq!(rig.all.create(name("a")).unwrap_err(), recovering);
    drop(recovery);
    rig.wait_running();
    block_on(rig.all.create(name("a")).unwrap()).unwrap();
    let (all, ()) = (rig.all.clone(), rig.stop());
    assert_eq!(all.create(name("b")).unwrap_err(), CreateError::Stopped);
}

// Red when: `next` in queue.rs always takes creations first, or batches always first.
#[test]
fn creations_and_batches_go_in_turns() {
    let rig = ManyRig::new(
        1,
        LogOptions {
            group_bytes_max: 1,
            ..options()
        },
    );
    let (first, hold) = rig.occupy(batch(1, 1));
    let names = ["a", "b", "c"].map(name);
    let created = names.map(|name| rig.all.create(name).unwrap());
    let batches: Vec<_> = (0..3).map(|_| rig.logs[0].append(batch(1, 1)).unwrap()).collect();
    // One batch more has been committed when the third log is about to be made, and not all of them.
    let third = rig.engine.hold_after(Step::Create, 3);
    drop(hold);
    answer(first).unwrap();
    rig.engine.wait_entered(Step::Create, 3);
    assert_eq!(rig.engine.entered(Step::Commit), 3);
    drop(third);
    for pending in created {
        block_on(pending).unwrap();
    }
    for pending in batches {
        answer(pending).unwrap();
    }
    rig.stop();
}

// Red when: `found_heads` in sequencer.rs looks at all logs but the first.
#[test]
fn a_failed_write_concerns_all_logs() {
    let rig = ManyRig::new(3, options());
    for log in &rig.logs {
        answer(log.append(batch(2, 1)).unwrap()).unwrap();
    }
    rig.engine.fail_commit(CommitFault::Unknown, true);
    let (hit, hold) = rig.occupy(batch(1, 1));
    let waiting = rig.logs[2].append(batch(1, 1)).unwrap();
    drop(hold);
    assert_eq!(answer(hit).unwrap_err(), AppendError::Unknown);
    assert_eq!(
        answer(waiting).unwrap_err(),
        AppendError::Recovering {
            retry_after: RETRY_AFTER
        }
    );
    rig.wait_running();
    assert_eq!(
        rig.logs.iter().map(|log| log.head().size.0).collect::<Vec<_>>(),
        [3, 2, 2]
    );
    rig.engine.fail_commit(CommitFault::Unknown, true);
    rig.engine.fail_recover(RecoverFault::LosesTail(2));
    answer(rig.logs[1].append(batch(1, 1)).unwrap()).unwrap_err();
    assert_eq!(
        rig.all.subscribe_state().borrow().clone(),
        rig.logs[2].state(),
        "one state for all"
    );
    let state = rig.wait_state(|state| matches!(state, LogState::Damaged(_)));
    assert!(
        matches!(rig.logs[2].append(batch(1, 1)), Err(AppendError::Damaged(_))),
        "{state:?}"
    );
    assert_eq!(
        rig.logs[1].head().size,
        TreeSize(2),
        "nothing is published any more"
    );
    rig.all.stop();
    join(rig.sequencer).unwrap_err();
}

// Red when: `Logs::start` does not adopt what the journal has.
#[test]
fn all_logs_go_on_where_the_last_process_ended() {
    let rig = ManyRig::new(3, options());
    for (events, log) in rig.logs.iter().enumerate() {
        answer(log.append(batch(events + 1, 1)).unwrap()).unwrap();
    }
    let ids: Vec<_> = rig.logs.iter().map(Log::id).collect();
    let engine = rig.engine.clone();
    rig.stop();
    let rig = ManyRig::over(engine, &ids, options());
    for (events, log) in rig.logs.iter().enumerate() {
        assert_eq!(log.head().size.0, events as u64 + 1);
        let receipt = answer(log.append(batch(1, 2)).unwrap()).unwrap();
        assert_eq!(receipt.first_id().get(), events as u64 + 2);
    }
    for id in ids {
        audit(&*rig.engine.reader_of(id)).unwrap();
    }
    rig.stop();
}

// Red when: `drop` of `Handle` in lib.rs does not stop the queue.
#[test]
fn logs_live_as_long_as_somebody_holds_one() {
    let rig = ManyRig::new(2, options());
    let ManyRig {
        all,
        mut logs,
        sequencer,
        ..
    } = rig;
    drop(all);
    let last = logs.pop().unwrap();
    drop(logs);
    answer(last.append(batch(1, 1)).unwrap()).unwrap();
    let mut heads = last.subscribe();
    drop(last);
    join(sequencer).unwrap();
    assert!(heads.has_changed().is_err() || heads.borrow_and_update().size == TreeSize(1));
}

#[test]
fn an_option_that_can_not_work_starts_no_logs() {
    let engine = MemoryEngine::default();
    let wrong = LogOptions {
        group_bytes_max: 0,
        ..options()
    };
    let started = Logs::start(engine.journal(), Box::new(annals_log::SystemClock), wrong);
    assert!(matches!(started, Err(StartError::Option { .. })));
    assert_eq!(engine.open_journals(), 0);
    assert!(engine.list().iter().any(|manifest| manifest.id == LOG));
}

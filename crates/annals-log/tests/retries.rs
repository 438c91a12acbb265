//! Requests that are sent again: whatever happened to the first one, no event is there twice, none is lost, and the answer is
//! the first one's. The oracle reads the whole log and knows nothing of keys.

use std::collections::HashMap;
use std::thread;

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{EventId, TreeSize};
use annals_log::{
    Append, AppendError, Appended, Item, ItemKey, Log, LogOptions, LogState, OnceError, Outcome, PendingOnce,
    Producer, RetryKey, start,
};
use annals_store::{CallerId, ReadLog, ReceiptKey, Sequence};
use annals_testkit::chain::audit_with;
use annals_testkit::events::{Random, batch_of};
use annals_testkit::memory::{CommitFault, LOG, RecoverFault, Step};

use crate::rig::{ManyRig, RETRY_AFTER, Rig, block_on, options};

pub(crate) const CALLER: CallerId = CallerId([7; 16]);

/// By what a request is recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Key,
    ItemKeys,
    Range,
    Sequences,
}

pub(crate) const ALL: [By; 4] = [By::Key, By::ItemKeys, By::Range, By::Sequences];
pub(crate) const EVENTS: u64 = 3;

pub(crate) fn events(request: u64, items: impl Iterator<Item = u64>) -> CanonicalBatch {
    batch_of(
        items.map(|item| {
            format!(r#"{{"kind":"other","source":"s","payload":{{"name":"{request}/{item}"}}}}"#)
        }),
    )
}

pub(crate) fn key(text: &str) -> RetryKey {
    RetryKey::new(text).unwrap()
}

pub(crate) fn item_key(item: u32, text: &str, digest: u8) -> ItemKey {
    ItemKey {
        item,
        key: key(text),
        digest: [digest; 32],
    }
}

pub(crate) fn producer(name: &str) -> Producer {
    Producer::new(name).unwrap()
}

/// Number `request` of a producer, from 1: three events.
pub(crate) fn request(by: By, number: u64) -> Append {
    let batch = events(number, 0..EVENTS);
    let sequence = |item| Sequence(number, item);
    let keyed = |item: u32| item_key(item, &format!("{number}-{item}"), 1);
    match by {
        By::Key => Append::keyed(batch, CALLER, key(&number.to_string()), [1; 32]),
        By::ItemKeys => Append::item_keys(batch, CALLER, (0..3).map(keyed).collect()).unwrap(),
        By::Range => Append::ordered_range(batch, producer("p"), sequence(0), sequence(EVENTS - 1)).unwrap(),
        By::Sequences => {
            Append::ordered_items(batch, producer("p"), (0..EVENTS).map(sequence).collect()).unwrap()
        }
    }
}

pub(crate) fn id(id: u64) -> EventId {
    EventId::new(id).unwrap()
}

pub(crate) fn settle(pending: PendingOnce) -> Result<Appended, OnceError> {
    block_on(pending)
}

pub(crate) fn once(log: &Log, append: Append) -> Result<Appended, OnceError> {
    settle(log.append_once(append)?)
}

/// The answer says that the three events are new, from `first` on.
pub(crate) fn check_new(answer: &Appended, first: u64) {
    let items: Vec<_> = answer.items().collect();
    assert_eq!(items, [0, 1, 2].map(|at| Item::Sealed(id(first + at))));
    let receipt = answer.sealed().expect("something is new");
    assert_eq!((receipt.first_id(), receipt.len()), (id(first), 3));
    assert!(!answer.is_repeat());
    assert_eq!(answer.duplicate_through(), None);
}

/// The answer says that request `number` was stored before, from `first` on.
pub(crate) fn check_repeat(by: By, answer: &Appended, number: u64, first: u64) {
    let items: Vec<_> = answer.items().collect();
    assert!(
        answer.is_repeat() && answer.sealed().is_none(),
        "{by:?}: {answer:?}"
    );
    match by {
        By::Key | By::ItemKeys => {
            assert_eq!(
                items,
                [0, 1, 2].map(|at| Item::Replayed(id(first + at))),
                "{by:?}"
            );
            assert_eq!(answer.duplicate_through(), None);
        }
        By::Range | By::Sequences => {
            assert_eq!(items, [Item::Duplicate; 3], "{by:?}");
            assert_eq!(answer.duplicate_through(), Some(Sequence(number, EVENTS - 1)));
        }
    }
}

/// The names of all events, in order; each is there once.
pub(crate) fn names(reader: &dyn ReadLog) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    audit_with(reader, |event| {
        let body = String::from_utf8(event.body.to_vec()).expect("ASCII");
        let (_, from) = body.split_once(r#""name":""#).expect("a name");
        let (name, _) = from.split_once('"').expect("its end");
        if names.iter().any(|other| other == name) {
            return Err(format!("{name} is there twice"));
        }
        names.push(name.to_owned());
        Ok(())
    })
    .expect("the chain is whole and no event is there twice");
    names
}

pub(crate) fn expect_names(reader: &dyn ReadLog, requests: &[u64]) {
    let expected = requests
        .iter()
        .flat_map(|request| (0..EVENTS).map(move |item| format!("{request}/{item}")));
    assert_eq!(names(reader), expected.collect::<Vec<_>>());
}

// Red when: `known` (and `position`) in plan.rs look at the table only, or `plan` answers a twin at once.
#[test]
fn twins_in_one_group_wait_for_it_and_are_told_the_same() {
    for by in ALL {
        let rig = Rig::new();
        let (first, hold) = rig.occupy(events(9, 0..1));
        let commit = rig.engine.hold_after(Step::Commit, 2);
        let one = rig.log.append_once(request(by, 1)).unwrap();
        let mut twin = rig.log.append_once(request(by, 1)).unwrap();
        drop(hold);
        crate::rig::answer(first).unwrap();
        rig.engine.wait_entered(Step::Commit, 2);
        assert!(is_waiting(&mut twin), "{by:?}: what it repeats is not durable");
        drop(commit);
        check_new(&settle(one).unwrap(), 2);
        check_repeat(by, &settle(twin).unwrap(), 1, 2);
        assert_eq!(rig.engine.committed_groups(), [1, 3]);
        rig.stop().unwrap();
    }
}

fn is_waiting(pending: &mut PendingOnce) -> bool {
    use std::future::Future;
    use std::pin::Pin;
    use std::task::{Context, Waker};
    Pin::new(pending)
        .poll(&mut Context::from_waker(Waker::noop()))
        .is_pending()
}

// Red when: `publish_and_answer` in sequencer.rs does not apply the cells.
#[test]
fn in_the_next_group_a_repeat_is_recognised_without_a_commit() {
    for by in ALL {
        let rig = Rig::new();
        check_new(&once(&rig.log, request(by, 1)).unwrap(), 1);
        for _ in 0..3 {
            check_repeat(by, &once(&rig.log, request(by, 1)).unwrap(), 1, 1);
        }
        check_new(&once(&rig.log, request(by, 2)).unwrap(), 4);
        assert_eq!(rig.engine.entered(Step::Commit), 2);
        expect_names(&*rig.reader(), &[1, 2]);
        rig.stop().unwrap();
    }
}

// Red when: `seal` in sequencer.rs applies the cells before the commit, or `refuse` answers twins as if it had succeeded.
#[test]
fn what_was_not_stored_is_new_when_it_is_sent_again() {
    for by in ALL {
        for (fault, refusal) in [
            (CommitFault::NoSpace, AppendError::NoSpace),
            (
                CommitFault::Storage,
                AppendError::Storage {
                    retry_after: RETRY_AFTER,
                },
            ),
        ] {
            let rig = Rig::new();
            let (first, hold) = rig.occupy(events(9, 0..1));
            rig.engine.pass_commit();
            rig.engine.fail_commit(fault, false);
            let twins = [1, 1].map(|number| rig.log.append_once(request(by, number)).unwrap());
            drop(hold);
            crate::rig::answer(first).unwrap();
            for twin in twins {
                assert_eq!(settle(twin).unwrap_err(), OnceError::Refused(refusal.clone()));
            }
            check_new(&once(&rig.log, request(by, 1)).unwrap(), 2);
            check_repeat(by, &once(&rig.log, request(by, 1)).unwrap(), 1, 2);
            assert_eq!(rig.stop().unwrap().events, 4);
        }
    }
}

// Red when: `resume` in sequencer.rs does not take the cells anew, or `State::store` in memory.rs leaves them out.
#[test]
fn an_unknown_outcome_is_exact_when_it_is_sent_again() {
    for by in ALL {
        for written in [false, true] {
            let rig = Rig::new();
            check_new(&once(&rig.log, request(by, 1)).unwrap(), 1);
            let (first, hold) = rig.occupy(events(9, 0..1));
            rig.engine.pass_commit();
            rig.engine.fail_commit(CommitFault::Unknown, written);
            let twins = [2, 2].map(|number| rig.log.append_once(request(by, number)).unwrap());
            drop(hold);
            crate::rig::answer(first).unwrap();
            for twin in twins {
                let unknown = settle(twin).unwrap_err();
                assert_eq!(unknown, OnceError::Refused(AppendError::Unknown));
                assert_eq!(unknown.outcome(), Outcome::Unknown);
            }
            rig.wait_running();
            let again = once(&rig.log, request(by, 2)).unwrap();
            if written {
                check_repeat(by, &again, 2, 5);
            } else {
                check_new(&again, 5);
            }
            check_repeat(by, &once(&rig.log, request(by, 2)).unwrap(), 2, 5);
            assert_eq!(rig.stop().unwrap().events, 7);
        }
    }
}

// Red when: `Sequencing::new` does not take the journal's cells.
#[test]
fn after_a_restart_a_repeat_is_recognised() {
    for by in ALL {
        for crash in [false, true] {
            let rig = Rig::new();
            check_new(&once(&rig.log, request(by, 1)).unwrap(), 1);
            if crash {
                // Written, never answered, and the process is gone before it has looked.
                rig.engine.fail_commit(CommitFault::Unknown, true);
                rig.engine.fail_recover(RecoverFault::Io);
                let recovery = rig.engine.hold_after(Step::Recover, 2);
                once(&rig.log, request(by, 2)).unwrap_err();
                rig.engine.wait_entered(Step::Recover, 2);
                rig.log.stop();
                drop(recovery);
            } else {
                check_new(&once(&rig.log, request(by, 2)).unwrap(), 4);
                rig.log.stop();
            }
            crate::rig::join(rig.sequencer).unwrap();
            let engine = rig.engine.clone();
            let clock = rig.clock.clone();
            let (log, sequencer) =
                start(engine.journal(), LOG, Box::new(move || clock.now()), options()).unwrap();
            check_repeat(by, &once(&log, request(by, 2)).unwrap(), 2, 4);
            if by == By::Key {
                check_repeat(by, &once(&log, request(by, 1)).unwrap(), 1, 1);
            }
            check_new(&once(&log, request(by, 3)).unwrap(), 7);
            log.stop();
            crate::rig::join(sequencer).unwrap();
            expect_names(&*engine.reader(), &[1, 2, 3]);
        }
    }
}

// Red when: `plan` takes the retry out of the request, or `shrink` puts back only what was to be sealed.
#[test]
fn a_group_that_is_put_back_is_decided_anew() {
    for by in ALL {
        let rig = Rig::new();
        once(&rig.log, request(by, 1)).unwrap();
        let (held, hold) = rig.occupy(events(9, 0..1));
        rig.engine.pass_commit();
        rig.engine.fail_commit(CommitFault::TooLarge, false);
        let answers = [1, 2, 2, 3].map(|number| rig.log.append_once(request(by, number)).unwrap());
        drop(hold);
        crate::rig::answer(held).unwrap();
        let [known, one, twin, last] = answers.map(|pending| settle(pending).unwrap());
        assert!(known.is_repeat());
        check_new(&one, 5);
        check_repeat(by, &twin, 2, 5);
        check_new(&last, 8);
        rig.stop().unwrap();
    }
}

/// Sends its requests one after the other, each until it is answered: what it was told of each, by its number.
fn persist(log: &Log, by: By, producer: u64, requests: u64) -> Vec<(u64, Appended)> {
    let name = Producer::new(&format!("producer-{producer}")).unwrap();
    let mut told = Vec::new();
    for number in 1..=requests {
        let of = producer * 1_000 + number;
        let append = || match by {
            By::Range => {
                let sequence = Sequence(number, 0);
                Append::ordered_range(events(of, 0..EVENTS), name.clone(), sequence, sequence).unwrap()
            }
            _ => request(by, of),
        };
        loop {
            match once(log, append()) {
                Ok(answer) => break told.push((of, answer)),
                Err(OnceError::Refused(refusal)) => {
                    let stop = matches!(refusal, AppendError::Damaged(_) | AppendError::Stopped);
                    assert!(!stop, "{refusal}");
                    thread::yield_now();
                }
                Err(refusal) => panic!("{refusal}"),
            }
        }
    }
    told
}

// Red when: `resume` does not take the cells anew (doubled), or takes them before recovery has succeeded (lost or doubled);
// or `State::store` in memory.rs loses the cells of a batch whose outcome is unknown.
#[test]
fn under_faults_who_sends_again_until_answered_has_every_event_once() {
    for seed in 0..6 {
        let rig = Rig::with(LogOptions {
            queue_batches_max: 12,
            ..options()
        });
        let mut random = Random::new(seed, 77);
        for _ in 0..400 {
            let written = random.below(2) == 0;
            match random.below(10) {
                0 => rig.engine.fail_commit(CommitFault::NoSpace, false),
                1 => rig.engine.fail_commit(CommitFault::NeedsRecovery, false),
                2 => rig.engine.fail_commit(CommitFault::TooLarge, false),
                3..=5 => rig.engine.fail_commit(CommitFault::Unknown, written),
                6 => rig.engine.fail_recover(RecoverFault::Io),
                _ => rig.engine.pass_commit(),
            }
        }
        let log = &rig.log;
        let told: Vec<(u64, Appended)> = thread::scope(|scope| {
            let producers: Vec<_> = (0..6)
                .map(|producer| {
                    let by = [By::Key, By::ItemKeys, By::Range][usize::try_from(producer % 3).unwrap()];
                    scope.spawn(move || persist(log, by, producer, 40))
                })
                .collect();
            let ended = producers
                .into_iter()
                .map(|producer| producer.join().expect("ends well"));
            ended.flatten().collect()
        });
        assert_eq!(rig.log.state(), LogState::Running);
        assert!(
            told.iter().any(|(_, answer)| answer.is_repeat()),
            "some were stored unknown"
        );
        let names = names(&*rig.reader());
        let ids: HashMap<&str, u64> = names.iter().map(String::as_str).zip(1..).collect();
        assert_eq!(names.len() as u64, told.len() as u64 * EVENTS, "none lost");
        for (number, answer) in &told {
            for (item, told) in answer.items().enumerate() {
                let stored = ids[format!("{number}/{item}").as_str()];
                match told {
                    Item::Sealed(told) | Item::Replayed(told) => assert_eq!(told.get(), stored),
                    Item::Duplicate => assert!(answer.duplicate_through().is_some()),
                }
            }
        }
        let events = names.len() as u64;
        assert_eq!(rig.log.head().size, TreeSize(events));
        rig.stop().unwrap();
    }
}

// Red when: `seal` in sequencer.rs gives the engine another log's cells, or `add_receipt` another place in the batch.
#[test]
fn the_engine_is_given_what_the_sequencer_knows() {
    let rig = ManyRig::new(3, options());
    let (held, hold) = rig.occupy(events(99, 0..1));
    let mut answers = Vec::new();
    for number in 1..=4 {
        for log in &rig.logs {
            for by in [By::Key, By::ItemKeys, By::Sequences] {
                answers.push(log.append_once(request(by, number)).unwrap());
            }
        }
    }
    drop(hold);
    crate::rig::answer(held).unwrap();
    for answer in answers {
        settle(answer).unwrap();
    }
    let (engine, logs) = (rig.engine.clone(), rig.logs.clone());
    rig.stop();
    let table = engine.journal().take_cells();
    assert_eq!((table.receipts().len(), table.producers()), (4 * 3 * 4, 3));
    for log in logs {
        assert_eq!(table.position(log.id(), "p"), Some(Sequence(4, 2)));
        let shift = u64::from(log.id() == LOG);
        for number in 1..=4_u64 {
            let first = table
                .receipt(&ReceiptKey::new(log.id(), CALLER, &number.to_string()))
                .unwrap()
                .first;
            assert_eq!(first.get(), (number - 1) * 9 + 1 + shift);
            let item = table
                .receipt(&ReceiptKey::new(log.id(), CALLER, &format!("{number}-2")))
                .unwrap();
            assert_eq!(item.first.get(), (number - 1) * 9 + 6 + shift);
        }
        assert_eq!(log.head().size.0, 36 + shift);
    }
}

//! What a request is recognised by, and what is refused: keys, sequences, batches that were seen in part, bounds.

use annals_core::canonical::CanonicalBatch;
use annals_log::{Append, AppendError, Appended, Item, MalformedRetry, OnceError, Outcome};
use annals_store::{CallerId, CellBounds, Sequence};
use annals_testkit::memory::{CommitFault, MemoryEngine};

use crate::retries::{
    ALL, By, CALLER, EVENTS, check_new, check_repeat, events, expect_names, id, item_key, key, names, once,
    producer, request, settle,
};
use crate::rig::{ManyRig, Rig, options};

// Red when: `keyed` in plan.rs does not compare digests; or the refusal that rests on a twin is told at once (it is then told
// although the twin was not stored).
#[test]
fn a_key_that_was_used_for_something_else_is_refused() {
    let rig = Rig::new();
    let with = |digest: u8| Append::keyed(events(1, 0..EVENTS), CALLER, key("k"), [digest; 32]);
    let reused = OnceError::KeyReused { item: None };
    check_new(&once(&rig.log, with(1)).unwrap(), 1);
    assert_eq!(once(&rig.log, with(2)).unwrap_err(), reused);
    assert_eq!(
        (reused.outcome(), reused.retry_after()),
        (Outcome::NotStored, None)
    );
    // In one group: refused with its twin when that is not stored, as what it is when it is.
    for stored in [false, true] {
        let other = |digest: u8| Append::keyed(events(2, 0..EVENTS), CALLER, key("other"), [digest; 32]);
        let (first, hold) = rig.occupy(events(10 + u64::from(stored), 0..1));
        rig.engine.pass_commit();
        if !stored {
            rig.engine.fail_commit(CommitFault::NoSpace, false);
        }
        let [one, two] = [1, 2].map(|digest| rig.log.append_once(other(digest)).unwrap());
        drop(hold);
        crate::rig::answer(first).unwrap();
        let refusal = settle(two).unwrap_err();
        if stored {
            check_new(&settle(one).unwrap(), 6);
            assert_eq!(refusal, reused);
        } else {
            assert_eq!(settle(one).unwrap_err(), refusal);
            assert_eq!(refusal, OnceError::Refused(AppendError::NoSpace));
        }
    }
    rig.stop().unwrap();
}

// Red when: `Decision::of` selects the others, `add_receipt` counts from the request's items instead of from what is new, or
// `select` in annals-core's canonical.rs does not move an event's holes.
#[test]
fn of_a_batch_that_was_seen_in_part_the_rest_is_sealed() {
    let rig = Rig::new();
    let keys = |keys: &[(u32, &str)]| keys.iter().map(|(item, text)| item_key(*item, text, 1)).collect();
    let first = Append::item_keys(events(1, 0..2), CALLER, keys(&[(0, "a"), (1, "b")])).unwrap();
    once(&rig.log, first).unwrap();
    // In one group: b is known, c and d are new, one item has no key; then b and d again, and one more.
    let (held, hold) = rig.occupy(events(9, 0..1));
    let second = Append::item_keys(events(2, 0..4), CALLER, keys(&[(0, "c"), (1, "b"), (3, "d")])).unwrap();
    let third = Append::item_keys(events(3, 0..3), CALLER, keys(&[(0, "b"), (1, "e"), (2, "d")])).unwrap();
    let [second, third] = [second, third].map(|append| rig.log.append_once(append).unwrap());
    drop(hold);
    crate::rig::answer(held).unwrap();
    let (second, third) = (settle(second).unwrap(), settle(third).unwrap());
    let items = |answer: &Appended| answer.items().collect::<Vec<_>>();
    use Item::{Duplicate, Replayed, Sealed};
    assert_eq!(
        items(&second),
        [Sealed(id(4)), Replayed(id(2)), Sealed(id(5)), Sealed(id(6))]
    );
    assert_eq!(items(&third), [Replayed(id(2)), Sealed(id(7)), Replayed(id(6))]);
    assert_eq!(second.sealed().unwrap().first_id(), id(4));
    assert_eq!(third.sealed().unwrap().len(), 1);
    assert_eq!(
        names(&*rig.reader()),
        ["1/0", "1/1", "9/0", "2/0", "2/2", "2/3", "3/1"]
    );
    // And a producer that sends more than was stored.
    let ordered = |number, items: &[u64]| {
        let sequences = items.iter().map(|item| Sequence(*item, 0)).collect();
        Append::ordered_items(events(number, 0..items.len() as u64), producer("p"), sequences).unwrap()
    };
    once(&rig.log, ordered(4, &[3, 5])).unwrap();
    let more = once(&rig.log, ordered(5, &[1, 5, 6, 9])).unwrap();
    assert_eq!(
        items(&more),
        [Duplicate, Duplicate, Sealed(id(10)), Sealed(id(11))]
    );
    assert_eq!(more.duplicate_through(), Some(Sequence(5, 0)));
    let none = once(&rig.log, ordered(6, &[2, 9])).unwrap();
    assert_eq!(
        (items(&none), none.duplicate_through()),
        (vec![Duplicate; 2], Some(Sequence(9, 0)))
    );
    assert_eq!(&names(&*rig.reader())[7..], ["4/0", "4/1", "5/2", "5/3"]);
    rig.stop().unwrap();
}

// Red when: `items` in plan.rs refuses without taking back what it had added (the last request is then a repeat of nothing).
#[test]
fn a_batch_that_is_refused_for_one_item_leaves_nothing_behind() {
    let rig = Rig::new();
    let two = |number, first: (&str, u8), second: (&str, u8)| {
        let keys = vec![item_key(0, first.0, first.1), item_key(1, second.0, second.1)];
        Append::item_keys(events(number, 0..2), CALLER, keys).unwrap()
    };
    once(&rig.log, two(1, ("a", 1), ("b", 1))).unwrap();
    let refused = OnceError::KeyReused { item: Some(1) };
    let (held, hold) = rig.occupy(events(9, 0..1));
    let known = rig.log.append_once(two(2, ("c", 1), ("b", 2))).unwrap();
    let own = rig.log.append_once(two(3, ("d", 1), ("d", 2))).unwrap();
    let fresh = rig.log.append_once(two(4, ("c", 1), ("d", 3))).unwrap();
    drop(hold);
    crate::rig::answer(held).unwrap();
    assert_eq!(settle(known).unwrap_err(), refused);
    assert_eq!(settle(own).unwrap_err(), refused);
    let fresh: Vec<_> = settle(fresh).unwrap().items().collect();
    assert_eq!(fresh, [Item::Sealed(id(4)), Item::Sealed(id(5))]);
    // Alone, there is no group to wait for. Red when: `items` lets a request wait for what it had added itself.
    let alone = once(&rig.log, two(6, ("x", 1), ("x", 2)));
    assert_eq!(alone.unwrap_err(), refused);
    // A key that is twice in a request, for the same: one event.
    let twice: Vec<_> = once(&rig.log, two(5, ("e", 1), ("e", 1)))
        .unwrap()
        .items()
        .collect();
    assert_eq!(twice, [Item::Sealed(id(6)), Item::Replayed(id(6))]);
    assert_eq!(names(&*rig.reader()), ["1/0", "1/1", "9/0", "4/0", "4/1", "5/0"]);
    rig.stop().unwrap();
}

// Red when: `range` in plan.rs compares only `last`, or only `first`.
#[test]
fn a_range_that_straddles_the_position_is_refused() {
    let rig = Rig::new();
    let range = |number, first, last| {
        let batch = events(number, 0..EVENTS);
        Append::ordered_range(batch, producer("p"), Sequence(first, 0), Sequence(last, 0)).unwrap()
    };
    check_new(&once(&rig.log, range(1, 10, 20)).unwrap(), 1);
    let straddles = OnceError::Straddles {
        position: Sequence(20, 0),
    };
    for (first, last) in [(20, 21), (1, 21), (15, 30)] {
        assert_eq!(once(&rig.log, range(2, first, last)).unwrap_err(), straddles);
    }
    for (first, last) in [(10, 20), (1, 5), (20, 20)] {
        assert!(once(&rig.log, range(2, first, last)).unwrap().is_repeat());
    }
    check_new(&once(&rig.log, range(3, 21, 21)).unwrap(), 4);
    expect_names(&*rig.reader(), &[1, 3]);
    rig.stop().unwrap();
}

// Red when: `advance` in plan.rs does not count the group's own, or counts those that are known.
#[test]
fn the_number_of_producers_is_bounded() {
    let engine = MemoryEngine::default();
    engine.bound_cells(CellBounds {
        producers_max: 2,
        ..CellBounds::default()
    });
    let rig = Rig::over(engine, options());
    let of = |name: &str, number| {
        let sequence = Sequence(number, 0);
        Append::ordered_range(events(number, 0..EVENTS), producer(name), sequence, sequence).unwrap()
    };
    let (held, hold) = rig.occupy(events(99, 0..1));
    let names = ["a", "b", "c", "a"];
    let answers = [1, 2, 3, 4].map(|number| {
        let name = names[usize::try_from(number - 1).unwrap()];
        rig.log.append_once(of(name, number)).unwrap()
    });
    drop(hold);
    crate::rig::answer(held).unwrap();
    let answers = answers.map(settle);
    let refused = OnceError::TooManyProducers { producers_max: 2 };
    assert_eq!(answers[2].as_ref().unwrap_err(), &refused);
    assert!(answers.iter().filter(|answer| answer.is_ok()).count() == 3);
    assert_eq!(once(&rig.log, of("d", 5)).unwrap_err(), refused);
    once(&rig.log, of("b", 6)).unwrap();
    rig.stop().unwrap();
}

// Red when: `forget_before` in annals-store's table.rs keeps everything, or `decide` in plan.rs does not compare the number of keys.
#[test]
fn receipts_are_forgotten_oldest_first_and_never_at_once() {
    let engine = MemoryEngine::default();
    engine.bound_cells(CellBounds {
        receipts_max: 2,
        ..CellBounds::default()
    });
    let rig = Rig::over(engine, options());
    for number in 1..=3 {
        once(&rig.log, request(By::Key, number)).unwrap();
    }
    check_repeat(By::Key, &once(&rig.log, request(By::Key, 2)).unwrap(), 2, 4);
    check_repeat(By::Key, &once(&rig.log, request(By::Key, 3)).unwrap(), 3, 7);
    assert!(
        !once(&rig.log, request(By::Key, 1)).unwrap().is_repeat(),
        "it is forgotten"
    );
    let too_many = OnceError::TooManyKeys { keys: 3, keys_max: 2 };
    assert_eq!(once(&rig.log, request(By::ItemKeys, 9)).unwrap_err(), too_many);
    rig.stop().unwrap();
}

// Red when: `ReceiptKey::new` leaves out the log or the caller, or `position` in plan.rs the log.
#[test]
fn keys_and_positions_are_of_one_log_and_keys_of_one_caller() {
    let rig = ManyRig::new(2, options());
    for by in ALL {
        let before = rig.logs[0].head().size.0 + 1;
        for log in &rig.logs {
            check_new(&once(log, request(by, before)).unwrap(), before);
            check_repeat(by, &once(log, request(by, before)).unwrap(), before, before);
        }
    }
    let other = Append::keyed(events(1, 0..EVENTS), CallerId([8; 16]), key("1"), [9; 32]);
    assert!(!once(&rig.logs[0], other).unwrap().is_repeat());
    rig.stop();
}

// Red when: `sealed` in request.rs does not answer who is not recognised by anything.
#[test]
fn without_a_key_a_request_is_new_each_time() {
    let rig = Rig::new();
    check_new(&once(&rig.log, Append::new(events(1, 0..3))).unwrap(), 1);
    check_new(&once(&rig.log, events(2, 0..3).into()).unwrap(), 4);
    let empty = rig.log.append_once(CanonicalBatch::default().into());
    assert_eq!(empty.unwrap_err(), AppendError::Empty);
    rig.stop().unwrap();
}

// Red when: any one of the checks in the constructors of retry.rs is taken out.
#[test]
fn what_is_malformed_does_not_become_a_request() {
    let three = || events(1, 0..3);
    let items = |items: &[u32]| {
        let keys = items.iter().map(|item| item_key(*item, "k", 1)).collect();
        Append::item_keys(three(), CALLER, keys).map(drop)
    };
    assert_eq!(items(&[0, 2]), Ok(()));
    assert_eq!(items(&[]), Ok(()));
    for wrong in [&[0, 3][..], &[1, 0], &[1, 1]] {
        assert_eq!(items(wrong), Err(MalformedRetry::Items { events: 3 }));
    }
    let range = |first, last| Append::ordered_range(three(), producer("p"), first, last).map(drop);
    assert_eq!(range(Sequence(1, 2), Sequence(1, 2)), Ok(()));
    let (first, last) = (Sequence(1, 2), Sequence(1, 1));
    assert_eq!(range(first, last), Err(MalformedRetry::Range { first, last }));
    let ordered = |sequences: &[u64]| {
        let sequences = sequences.iter().map(|number| Sequence(0, *number)).collect();
        Append::ordered_items(three(), producer("p"), sequences).map(drop)
    };
    assert_eq!(ordered(&[1, 2, 9]), Ok(()));
    assert_eq!(ordered(&[1, 2, 2]), Err(MalformedRetry::Order { item: 2 }));
    let count = MalformedRetry::Count {
        sequences: 2,
        events: 3,
    };
    assert_eq!(ordered(&[1, 2]), Err(count));
}

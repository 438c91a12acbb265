//! What everything that finds events has to do, whatever it is made of: compared with the naive oracle, event by event.
//!
//! An engine's tests call [`check_all`] on logs of theirs, at moments of theirs (while it packs, after a crash). Checked are:
//! the matches, in both orders, in pages of any size, with any budget, and where a search goes on; counts between cuts; the
//! event at a time. The log may grow meanwhile: nothing behind [`Bounds::last`] is looked at.

use std::sync::Arc;

use annals_core::chain::{EventId, TreeSize};
use annals_core::time::Micros;
use annals_store::{FindEvents, Order, Search};
use proptest::prelude::*;

use crate::filters::Wanted;

/// Which events are looked through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The first event that may match, from 1.
    pub first: u64,
    /// The last one; may be past the log's end.
    pub last: u64,
}

/// How much one call may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Portion {
    /// Most matches.
    pub matches_max: usize,
    /// Bytes that may be read, about.
    pub scan_bytes_max: u64,
}

/// Bounds in and around a log of `events` events.
pub fn bounds(events: u64) -> impl Strategy<Value = Bounds> {
    let inside = (1..=events + 2, 0..=events + 2).prop_map(|(first, last)| Bounds { first, last });
    prop_oneof![1 => Just(Bounds { first: 1, last: events }), 2 => inside]
}

/// From one match and one byte on.
pub fn portion() -> impl Strategy<Value = Portion> {
    let matches_max = prop_oneof![Just(1_usize), 2..20_usize, Just(usize::MAX)];
    let scan_bytes_max = prop_oneof![Just(0_u64), 1..5_000_u64, Just(u64::MAX)];
    (matches_max, scan_bytes_max).prop_map(|(matches_max, scan_bytes_max)| Portion {
        matches_max,
        scan_bytes_max,
    })
}

/// Everything that can be said about one filter on one log.
///
/// # Panics
/// When the subject is wrong, or the log can not be read.
pub fn check_all(subject: &dyn FindEvents, wanted: &Wanted, bounds: Bounds, portion: Portion) {
    let expected = expected(subject, wanted, bounds);
    check_find(subject, wanted, bounds, portion, Order::OldestFirst, &expected);
    check_find(subject, wanted, bounds, portion, Order::NewestFirst, &expected);
    check_count(subject, wanted, bounds, portion, &expected);
    check_first_at(subject);
}

/// The ids of the events that match, ascending, by reading every one.
fn expected(subject: &dyn FindEvents, wanted: &Wanted, bounds: Bounds) -> Vec<u64> {
    let last = bounds.last.min(subject.head().size.0);
    let mut next = EventId::FIRST;
    let mut expected = Vec::new();
    while next.get() <= last {
        let run = subject.read(next, 1 << 20).expect("the log can be read");
        assert!(!run.is_empty(), "event {next} is not there");
        for event in run.iter() {
            let id = event.id.get();
            if (bounds.first..=last).contains(&id) && wanted.matches(event.body) {
                expected.push(id);
            }
        }
        next = run.next_id();
    }
    expected
}

fn search(wanted: &Wanted, bounds: Bounds, order: Order) -> Search {
    Search {
        filter: Arc::new(wanted.filter()),
        first: EventId::new(bounds.first).expect("event ids start at 1"),
        last: TreeSize(bounds.last),
        order,
    }
}

fn check_find(
    subject: &dyn FindEvents,
    wanted: &Wanted,
    bounds: Bounds,
    portion: Portion,
    order: Order,
    ascending: &[u64],
) {
    let mut search = search(wanted, bounds, order);
    let mut found = Vec::new();
    loop {
        let page = subject
            .find(&search, portion.matches_max, portion.scan_bytes_max)
            .expect("the log can be read");
        let case = format!("{search:?} {portion:?} gives {page:?}");
        assert!(page.ids.len() <= portion.matches_max, "too many: {case}");
        found.extend(page.ids.iter().map(|id| id.get()));
        let Some(next) = page.next else { break };
        let moved = match order {
            Order::OldestFirst => next > search.first,
            Order::NewestFirst => next.get() < search.last.0,
        };
        assert!(moved, "no progress: {case}");
        assert!(
            (search.first.get()..=search.last.0).contains(&next.get()),
            "goes on outside: {case}"
        );
        search = search.going_on_at(next);
    }
    let mut expected = ascending.to_vec();
    if order == Order::NewestFirst {
        expected.reverse();
    }
    assert_eq!(found, expected, "{wanted:?} {bounds:?} {portion:?} {order:?}");
}

fn check_count(
    subject: &dyn FindEvents,
    wanted: &Wanted,
    bounds: Bounds,
    portion: Portion,
    expected: &[u64],
) {
    let middle = (bounds.first + bounds.last) / 2;
    for cuts in [
        vec![1, bounds.last + 1],
        vec![1, 1, 2, middle + 1, middle + 1, middle + 3, bounds.last + 7],
        vec![middle + 1, middle + 2],
    ] {
        let mut totals = vec![0; cuts.len() - 1];
        let ids: Vec<EventId> = cuts.iter().filter_map(|cut| EventId::new(*cut)).collect();
        let mut search = search(wanted, bounds, Order::OldestFirst);
        loop {
            let part = subject
                .count(&search, &ids, portion.scan_bytes_max)
                .expect("the log can be read");
            assert_eq!(part.counts.len(), totals.len());
            for (total, count) in totals.iter_mut().zip(&part.counts) {
                *total += count;
            }
            let Some(next) = part.next else { break };
            assert!(next > search.first, "no progress: {search:?} {cuts:?} {part:?}");
            search = search.going_on_at(next);
        }
        let expected: Vec<u64> = cuts
            .windows(2)
            .map(|cut| {
                expected
                    .iter()
                    .filter(|id| (cut[0]..cut[1]).contains(*id))
                    .count() as u64
            })
            .collect();
        assert_eq!(totals, expected, "{wanted:?} {bounds:?} {portion:?} {cuts:?}");
    }
}

/// At each receive time, and right before and behind it.
fn check_first_at(subject: &dyn FindEvents) {
    let size = subject.head().size;
    let run = subject
        .read(EventId::FIRST, 1 << 26)
        .expect("the log can be read");
    let times: Vec<i64> = run.iter().map(|event| event.received_at.0).collect();
    let whole = run.len() as u64 == size.0;
    let around = times.iter().flat_map(|time| [time - 1, *time, time + 1]);
    for time in around.chain([i64::MIN, i64::MAX]) {
        let at = times.iter().position(|received_at| *received_at >= time);
        let expected = match at {
            Some(at) => at as u64 + 1,
            None if whole => size.0 + 1,
            None => continue,
        };
        let found = subject.first_at(Micros(time)).expect("the log can be read");
        assert_eq!(found.get(), expected, "first_at({time})");
    }
}

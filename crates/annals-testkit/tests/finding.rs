//! Finding by reading (`annals_store`'s scan), against the naive oracle.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_core::chain::{EventId, Head, TreeSize};
use annals_core::field::Field;
use annals_core::filter::Filter;
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store::{
    EventRun, FindEvents, Order, ReadError, ReadLog, RunBuilder, Search, Unindexed, scan_find,
};
use annals_testkit::filters::{Wanted, body_of, requests, wanted};
use annals_testkit::finding::{Bounds, Portion, bounds, check_all, portion};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A log that is a list; it counts what is read. Three events at a time have the same receive time.
#[derive(Default)]
struct Listed {
    bodies: Vec<Vec<u8>>,
    /// Events that the head promises and that are not there.
    missing: u64,
    read: AtomicU64,
}

impl Listed {
    fn of(requests: &[Value]) -> Self {
        let bodies = (1..).zip(requests).map(|(id, request)| body_of(request, id));
        Self {
            bodies: bodies.collect(),
            ..Self::default()
        }
    }

    /// Event `id` has a source of its own, and weighs about so many bytes.
    fn weighing(events: impl Iterator<Item = usize>) -> Self {
        let bodies = (1..).zip(events).map(|(id, bytes)| {
            let payload = "x".repeat(bytes);
            body_of(
                &json!({"kind": "other", "source": format!("s{id}"), "payload": {"x": payload}}),
                id,
            )
        });
        Self {
            bodies: bodies.collect(),
            ..Self::default()
        }
    }

    fn received_at(at: usize) -> Micros {
        Micros(1_000 + 10 * (at as i64 / 3))
    }
}

impl ReadLog for Listed {
    fn head(&self) -> Head {
        let Some(last) = self.bodies.len().checked_sub(1) else {
            return Head::EMPTY;
        };
        Head {
            size: TreeSize(self.bodies.len() as u64 + self.missing),
            hash: EventHash::GENESIS,
            received_at: Self::received_at(last),
        }
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        let mut run = RunBuilder::new(from);
        let start = usize::try_from(from.get() - 1).unwrap().min(self.bodies.len());
        let mut left = bytes_max;
        for (at, body) in self.bodies.iter().enumerate().skip(start) {
            if body.len() > left && !run.is_empty() {
                break;
            }
            left = left.saturating_sub(body.len());
            self.read.fetch_add(body.len() as u64, Ordering::Relaxed);
            run.push(body, EventHash::GENESIS, Self::received_at(at));
        }
        Ok(run.finish())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Red when, in scan.rs: `first_of` leaves the last id out; `looked_down_to - 1` becomes `looked_down_to`; matches of a
    /// window are not reversed; `are_all` stays true; `range.contains` is left out of `upwards`; `cuts[at + 1] <=` becomes `<`;
    /// `low = middle.plus(1)` or `received_at >= time` is off by one.
    #[test]
    fn what_is_found_is_what_the_oracle_finds(
        requests in requests(0..60),
        wanted in wanted(),
        bounds in bounds(60),
        portion in portion(),
    ) {
        let log = Unindexed::new(Arc::new(Listed::of(&requests)));
        check_all(&log, &wanted, bounds, portion);
        check_all(&log, &Wanted::default(), bounds, portion);
    }
}

/// Sizes that windows and reads trip over: light events, then heavy ones, then both.
#[test]
fn sizes_that_differ_change_nothing() {
    let sizes = (0..4_000).map(|at: usize| match at {
        0..2_000 => 10,
        2_000..2_020 => 700_000,
        _ if at.is_multiple_of(100) => 100_000,
        _ => at % 500,
    });
    let log = Unindexed::new(Arc::new(Listed::weighing(sizes)));
    let sources = |ids: &[u64]| Wanted {
        fields: vec![("source".into(), ids.iter().map(|id| format!("s{id}")).collect())],
        ..Wanted::default()
    };
    let everything = Bounds {
        first: 1,
        last: 4_000,
    };
    for scan_bytes_max in [100_000, 3_000_000, u64::MAX] {
        let portion = Portion {
            matches_max: 2,
            scan_bytes_max,
        };
        check_all(
            &log,
            &sources(&[1, 2, 1_999, 2_001, 2_010, 2_020, 2_021, 3_000, 4_000]),
            everything,
            portion,
        );
        check_all(
            &log,
            &sources(&[]),
            Bounds {
                first: 1_990,
                last: 2_030,
            },
            portion,
        );
    }
}

fn search(source: &str, last: u64, order: Order) -> Search {
    Search {
        filter: Arc::new(Filter::default().with_value(Field::Source, source).unwrap()),
        first: EventId::FIRST,
        last: TreeSize(last),
        order,
    }
}

/// Red when: `WINDOW_BYTES_MAX` is not looked at; or `self.bytes >= self.bytes_max` is left out of `Backward::find`.
#[test]
fn little_more_is_read_than_the_budget() {
    // The light tail makes windows large; then they meet megabytes.
    let sizes = (0..6_000).map(|at| if at < 40 { 1_000_000 } else { 10 });
    let log = Listed::weighing(sizes);
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let mut search = search("none", 6_000, order);
        let mut calls = 0;
        loop {
            let before = log.read.load(Ordering::Relaxed);
            let found = scan_find(&log, &search, 10, 2_000_000).unwrap();
            let read = log.read.load(Ordering::Relaxed) - before;
            assert!(read < 12_000_000, "{order:?}: {read}");
            assert!(
                found.scanned_bytes <= read && found.scanned_bytes < 9_000_000,
                "{order:?}: {found:?}"
            );
            calls += 1;
            let Some(next) = found.next else { break };
            search = search.going_on_at(next);
        }
        // All of it was read, and not much of it twice.
        assert!((10..60).contains(&calls), "{order:?}: {calls}");
    }
    let read = log.read.load(Ordering::Relaxed);
    assert!(read < 2 * 3 * 42_000_000, "{read}");
}

/// The newest match is found without reading the log.
#[test]
fn a_match_at_the_end_costs_little() {
    let log = Listed::weighing((0..20_000).map(|_| 300));
    let found = scan_find(&log, &search("s19999", 20_000, Order::NewestFirst), 1, u64::MAX).unwrap();
    assert_eq!(found.ids, [EventId::new(19_999).unwrap()]);
    assert!(found.next.is_some_and(|next| next.get() < 19_999));
    assert!(log.read.load(Ordering::Relaxed) < 100_000);

    let open = Search {
        filter: Arc::default(),
        ..search("any", 20_000, Order::NewestFirst)
    };
    let before = log.read.load(Ordering::Relaxed);
    let found = scan_find(&log, &open, 3, 0).unwrap();
    assert_eq!(
        found.ids.iter().map(|id| id.get()).collect::<Vec<_>>(),
        [20_000, 19_999, 19_998]
    );
    assert_eq!((found.next, found.scanned_bytes), (EventId::new(19_997), 0));
    assert_eq!(log.read.load(Ordering::Relaxed), before);
}

/// Red when: the test for an empty run is left out of `read` (it then runs for ever).
#[test]
fn a_log_that_lacks_what_its_head_promises_is_an_error() {
    let log = Unindexed::new(Arc::new(Listed {
        missing: 1,
        ..Listed::weighing((0..5).map(|_| 10))
    }));
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let refused = log.find(&search("none", 6, order), 10, u64::MAX).unwrap_err();
        let ReadError::Io(error) = refused else {
            panic!("{refused}")
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().starts_with("event 6 is not there"));
    }
    let cuts = [EventId::FIRST, EventId::new(9).unwrap()];
    assert!(
        log.count(&search("none", 6, Order::OldestFirst), &cuts, u64::MAX)
            .is_err()
    );
}

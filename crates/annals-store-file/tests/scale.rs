//! Planted actors among many others are found through the index, all of them and nothing else, however large the log.
//!
//! `ANNALS_SCALE_EVENTS=10000000 cargo test --release -p annals-store-file --test main scale -- --nocapture` does it on a log of that
//! size and prints what it took: the figures of docs/performance.md.
#![allow(clippy::print_stdout)]

use std::env;
use std::sync::Arc;
use std::time::{Duration, Instant};

use annals_core::chain::{EventId, LogId};
use annals_core::field::Field;
use annals_core::filter::Filter;
use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{FindEvents, Journal, LogBatch, Order, ReadLog, Search};
use annals_store_file::{FileLog, Opened, Options, open};
use annals_testkit::events::batch_of;
use annals_testkit::generator::{Generator, Plant, Shape};
use tempfile::TempDir;

const GROUP: u64 = 1000;
const PAGE: usize = 100;

/// How many events the log has.
fn size() -> u64 {
    let asked = env::var("ANNALS_SCALE_EVENTS").ok();
    asked.map_or(30_000, |asked| {
        asked.parse().expect("ANNALS_SCALE_EVENTS is a number")
    })
}

fn plants(events: u64) -> Vec<Plant> {
    [
        ("never", 0),
        ("once", 1),
        ("a-hundred", 100),
        ("a-tenth", events / 10),
    ]
    .map(|(actor, hits)| Plant {
        actor: format!("planted-{actor}"),
        hits,
    })
    .into()
}

fn fill(opened: &mut Opened, log: LogId, events: u64) {
    let mut generator = Generator::new(Shape::Extended, 7).planting(events, &plants(events));
    let mut left = events;
    while left > 0 {
        let count = left.min(GROUP);
        let text = (0..count).map(|_| String::from_utf8(generator.next_event().to_vec()).unwrap());
        let batch = batch_of(text);
        let head = opened.journal.head(log).expect("the log is there");
        let time = Micros(1_767_225_600_000_000 + i64::try_from(events - left).unwrap() * 1_000);
        let sealed = seal(&head, time, [&batch].into_iter());
        opened
            .journal
            .commit(&[LogBatch::new(log, &sealed)])
            .expect("a healthy disk");
        left -= count;
        if (left / GROUP).is_multiple_of(64) {
            maintain(opened);
        }
    }
    maintain(opened);
}

fn maintain(opened: &Opened) {
    while opened.maintenance.step().expect("a healthy disk") {}
    while opened.index.step().expect("a healthy disk") {}
}

fn search(log: &FileLog, filter: Filter) -> Search {
    Search {
        filter: Arc::new(filter),
        first: EventId::FIRST,
        last: log.head().size,
        order: Order::NewestFirst,
    }
}

/// The newest page of an actor, bodies included, and how long it took: the first time, and the fastest of ten.
fn page_of(log: &FileLog, actor: &str) -> (usize, Duration, Duration) {
    let filter = Filter::default().with_value(Field::Actor, actor).unwrap();
    let search = search(log, filter);
    let once = || {
        let start = Instant::now();
        let found = log.find(&search, PAGE, u64::MAX).expect("it can be read");
        for id in &found.ids {
            let run = log.read(*id, 1).expect("it can be read");
            assert!(
                search.filter.matches(run.get(0).expect("it is there").body),
                "{id}"
            );
        }
        (found.ids.len(), start.elapsed())
    };
    let (hits, first) = once();
    let warm = (0..10).map(|_| once().1).min().unwrap();
    (hits, first, warm)
}

/// Red when: `covering` gives a run that does not cover the event; `take` passes over doubtful hits.
#[test]
fn planted_actors_are_found() {
    let events = size();
    let dir = TempDir::new().unwrap();
    let mut opened = open(dir.path(), Options::default()).unwrap();
    let (log, start) = (opened.log_id(), Instant::now());
    fill(&mut opened, log, events);
    println!(
        "{events} events written, packed and indexed in {:?}",
        start.elapsed()
    );
    let log = Arc::clone(&opened.log);
    for Plant { actor, hits } in plants(events) {
        let (found, first, warm) = page_of(&log, &actor);
        println!("newest {PAGE} of {actor} ({hits} events): {first:?} the first time, {warm:?} warm");
        assert_eq!(found as u64, hits.min(PAGE as u64), "{actor}");
        let filter = Filter::default().with_value(Field::Actor, &actor).unwrap();
        let whole = [EventId::FIRST, log.head().size.next()];
        let counted = log.count(&search(&log, filter), &whole, u64::MAX).unwrap();
        assert_eq!((counted.counts, counted.next), (vec![hits], None), "{actor}");
    }
    histogram(&log);
    drop((log, opened));
    let start = Instant::now();
    let opened = open(dir.path(), Options::default()).unwrap();
    println!("opened again in {:?}", start.elapsed());
    assert_eq!(opened.log.head().size.0, events);
}

/// Sixty buckets over everything, as a server makes them: their edges by receive time, then counts between them.
fn histogram(log: &FileLog) {
    let first = log.read(EventId::FIRST, 1).unwrap().get(0).unwrap().received_at.0;
    let step = (log.head().received_at.0 - first) / 60 + 1;
    let start = Instant::now();
    let edges = (0..=60).map(|at| log.first_at(Micros(first + at * step)).unwrap());
    let edges: Vec<EventId> = edges.collect();
    let counted = log
        .count(&search(log, Filter::default()), &edges, u64::MAX)
        .unwrap();
    println!("a histogram of 60 buckets over everything: {:?}", start.elapsed());
    assert_eq!(counted.counts.iter().sum::<u64>(), log.head().size.0);
}

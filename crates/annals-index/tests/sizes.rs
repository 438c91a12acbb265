//! Bytes an event, time an event, and pages a probe, with events as a service writes them, in the production geometry.
//!
//! Times are printed and not asserted: `cargo test --release -p annals-index sizes -- --nocapture`.

use std::cell::Cell;
use std::time::{Duration, Instant};

use annals_core::field::Field;
use annals_index::{
    BaseBuilder, Direction, Fault, Geometry, MemoryRun, Page, Run, RunId, RunSource, WindowCount, merge,
};

use crate::events::{Event, Question, Random, typical};
use crate::support::{LOG, open, query};

const GEOMETRY: Geometry = Geometry::PRODUCTION;
/// One run of level 2.
const EVENTS: u64 = 524_288;

/// The runs of the levels 0, 1 and 2 that begin with the first event, and what they took.
struct Built {
    runs: [Vec<u8>; 3],
    building: Duration,
    gathering: Duration,
    sorting: Duration,
}

fn build() -> Built {
    let mut random = Random(42);
    let (mut building, mut gathering) = (Duration::ZERO, Duration::ZERO);
    let mut builder = BaseBuilder::new(GEOMETRY, LOG, 0);
    let mut windows = Vec::new();
    let mut first_base = Vec::new();
    for number in 0..EVENTS / GEOMETRY.window_len() {
        let bases: Vec<Vec<u8>> = (number * 16..(number + 1) * 16)
            .map(|number| {
                let start = number * GEOMETRY.len(0);
                let events: Vec<Event> = (0..GEOMETRY.len(0))
                    .map(|at| typical(&mut random, start + at))
                    .collect();
                let begun = Instant::now();
                let bytes = build_base(&mut builder, number, &events);
                building += begun.elapsed();
                bytes
            })
            .collect();
        let begun = Instant::now();
        windows.push(merge_all(RunId { level: 1, number }, &bases));
        gathering += begun.elapsed();
        if number == 0 {
            first_base.clone_from(&bases[0]);
        }
    }
    let begun = Instant::now();
    let run = merge_all(RunId { level: 2, number: 0 }, &windows);
    let sorting = begun.elapsed();
    Built {
        runs: [first_base, windows.swap_remove(0), run],
        building,
        gathering,
        sorting,
    }
}

fn build_base(builder: &mut BaseBuilder, number: u64, events: &[Event]) -> Vec<u8> {
    for event in events {
        builder.push(event.claimed, event.terms()).unwrap();
    }
    let mut bytes = Vec::new();
    assert_eq!(builder.finish(&mut bytes).unwrap(), RunId { level: 0, number });
    bytes
}

fn merge_all(parent: RunId, children: &[Vec<u8>]) -> Vec<u8> {
    let inputs: Vec<Run<MemoryRun>> = GEOMETRY
        .children(parent)
        .zip(children)
        .map(|(id, bytes)| open(GEOMETRY, id, bytes))
        .collect();
    let mut bytes = Vec::new();
    assert_eq!(merge(&inputs, &mut bytes).unwrap(), parent);
    bytes
}

/// Counts the pages that are read.
struct Counting {
    run: MemoryRun,
    reads: Cell<u64>,
}

impl RunSource for Counting {
    fn pages(&self) -> u32 {
        self.run.pages()
    }

    fn page(&self, number: u32) -> Result<Page, Fault> {
        self.reads.set(self.reads.get() + 1);
        self.run.page(number)
    }
}

/// Pages read by the worst and by all of 200 probes for terms that this makes.
fn probe(level: u8, bytes: &[u8], term: impl Fn(u64) -> (Field, String)) -> (u64, f64) {
    let source = Counting {
        run: MemoryRun::new(bytes, GEOMETRY),
        reads: Cell::new(0),
    };
    let run = Run::open(&source, GEOMETRY, LOG, RunId { level, number: 0 }).unwrap();
    assert_eq!(source.reads.get(), 1, "opening reads the footer");
    let (mut worst, mut all) = (0, 0);
    for number in 0..200 {
        let (field, term) = term(number);
        let query = query(&Question::of(&[(field, &[&term])]));
        source.reads.set(0);
        let last = *run.windows().end();
        if run.next_window(&query, last, Direction::Down).unwrap().is_none() {
            worst = worst.max(source.reads.get());
            all += source.reads.get();
        }
    }
    (worst, all as f64 / 200.0)
}

fn report(built: &Built) {
    let per_event = |took: Duration| took.as_nanos() / u128::from(EVENTS);
    println!(
        "building {} ns an event, gathering windows {}, sorting windows {}",
        per_event(built.building),
        per_event(built.gathering),
        per_event(built.sorting)
    );
    for (level, bytes) in (0_u8..).zip(&built.runs) {
        println!(
            "level {level}: {:.2} bytes an event",
            bytes_an_event(level, bytes)
        );
    }
}

fn bytes_an_event(level: u8, bytes: &[u8]) -> f64 {
    bytes.len() as f64 / GEOMETRY.len(level) as f64
}

/// Inner pages above a leaf of a run whose leaves take this many bytes an event.
fn height(level: u8, bytes_an_event: f64) -> u32 {
    let page = GEOMETRY.page_bytes() as f64;
    let mut pages = GEOMETRY.len(level) as f64 * bytes_an_event / page;
    let mut height = 0;
    while pages > 1.0 {
        pages /= (page - 16.0) / 12.0;
        height += 1;
    }
    height
}

/// Red when: `rare_groups` of the production geometry is 1 (then every term is held in full), or `write_block` writes groups in
/// 32 bits.
#[test]
fn events_of_ten_terms_take_few_bytes_and_probes_few_pages() {
    let built = build();
    report(&built);
    assert!(bytes_an_event(1, &built.runs[1]) < 20.0);
    assert!(bytes_an_event(2, &built.runs[2]) < 20.0);
    let absent = |number: u64| (Field::Actor, format!("nobody-{number}"));
    for (level, bytes) in (0_u8..).zip(&built.runs) {
        let (worst, mean) = probe(level, bytes, absent);
        println!("level {level}: a probe for an absent term reads {mean:.2} pages, at most {worst}");
        assert!(mean < 3.0 && worst <= 4, "{mean} {worst}");
    }
    print_billion(bytes_an_event(2, &built.runs[2]));
}

/// What a search for an actor of one event costs in a billion events.
fn print_billion(bytes_an_event: f64) {
    let runs = GEOMETRY.cover(1_000_000_000);
    let pages: u32 = runs.iter().map(|run| height(run.level, bytes_an_event) + 1).sum();
    let highest = runs.iter().map(|run| run.level).max().unwrap_or(0);
    println!(
        "a billion events: {} runs up to level {highest}, {pages} pages for a term that none of them has",
        runs.len()
    );
    assert!(runs.iter().all(|run| height(run.level, bytes_an_event) <= 2));
}

/// Counting by a common term reads headers of lists only; its sum is the number of events.
#[test]
fn counts_of_common_terms_are_exact_and_complete() {
    let mut random = Random(5);
    let events: Vec<Event> = (0..GEOMETRY.window_len())
        .map(|at| typical(&mut random, at))
        .collect();
    let mut builder = BaseBuilder::new(GEOMETRY, LOG, 0);
    let bases: Vec<Vec<u8>> = (0..)
        .zip(events.chunks_exact(GEOMETRY.len(0) as usize))
        .map(|(number, events)| build_base(&mut builder, number, events))
        .collect();
    let id = RunId { level: 1, number: 0 };
    let run = open(GEOMETRY, id, &merge_all(id, &bases));
    for outcome in ["success", "denied"] {
        let question = Question::of(&[(Field::Outcome, &[outcome])]);
        let expected = events.iter().filter(|event| question.matches(event)).count() as u64;
        assert_eq!(
            run.count(&query(&question), 0).unwrap(),
            WindowCount::Exact(expected)
        );
    }
}

//! Finding through the index against the naive oracle: while it is built, merged and packed under it, after damage, after a
//! directory of another history, and when every call of the disk fails.

use std::sync::Arc;

use annals_core::chain::EventId;
use annals_core::field::Field;
use annals_core::filter::Filter;
use annals_core::hash::EventHash;
use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_index::Geometry;
use annals_store::{FindEvents, Journal, LogBatch, Order, ReadLog, Search};
use annals_store_file::disk::Disk;
use annals_store_file::{Opened, Options, audit_index_of, open_on_with};
use annals_testkit::events::batch_of;
use annals_testkit::filters::{requests, wanted};
use annals_testkit::finding::{Bounds, Portion, bounds, check_all, portion};
use annals_testkit::simdisk::{Fault, SimDisk};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;

const OPTIONS: Options = Options {
    journal_file_bytes: 4096 + 24 * 1024,
    backlog_files_max: 1_000,
    cache: annals_store_file::CacheBounds::DEFAULT,
};

/// 64 events a base, 512 a window, 8 a group, 4 runs to one above: a few hundred events make three levels.
fn geometry() -> Geometry {
    Geometry::of_bits(6, 9, 3, 2, 9, 4).unwrap()
}

fn opened(disk: &SimDisk) -> Opened {
    open_on_with(Arc::new(disk.clone()), OPTIONS, geometry()).expect("opens")
}

/// Commits the requests, a few to a batch, three batches to a receive time.
fn commit(opened: &mut Opened, requests: &[Value], from: usize) {
    let log = opened.log_id();
    for (at, chunk) in requests.chunks(7).enumerate() {
        let head = opened.journal.head(log).expect("the log is there");
        let batch = batch_of(chunk.iter().map(Value::to_string));
        let time = Micros(i64::try_from((from + at) / 3).unwrap());
        let sealed = seal(&head, time, [&batch].into_iter());
        opened
            .journal
            .commit(&[LogBatch::new(log, &sealed)])
            .expect("a healthy disk");
    }
}

fn maintain(opened: &Opened) {
    while opened.maintenance.step().expect("a healthy disk") {}
    while opened.index.step().expect("a healthy disk") {}
}

fn runs(disk: &SimDisk) -> Vec<String> {
    let names = disk.files().into_iter();
    names.filter(|name| name.ends_with(".run")).collect()
}

/// The names of the runs without the log's, which is another one for each disk.
fn run_names(disk: &SimDisk) -> Vec<String> {
    let names = runs(disk).into_iter();
    names
        .filter_map(|name| Some(name.rsplit_once('/')?.1.to_owned()))
        .collect()
}

fn one<S: Strategy>(runner: &mut TestRunner, strategy: &S) -> S::Value {
    strategy
        .new_tree(runner)
        .expect("a strategy without filters")
        .current()
}

/// Red when: `in_run` of a finding does not keep the hits inside of the stretch; `uncovered` goes past the next run; `take` does not
/// ask the body of a doubtful hit; `missing` passes over the first gap; `interval` allows for an interval that ends inside.
#[test]
fn the_index_finds_what_reading_finds() {
    let mut runner = TestRunner::new_with_rng(
        Config::default(),
        proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha),
    );
    for round in 0..3 {
        let disk = SimDisk::new();
        let mut log = opened(&disk);
        let mut events = 0;
        for _ in 0..4 {
            let some = one(&mut runner, &requests(560));
            commit(&mut log, &some, events);
            events += some.len();
            for moment in 0..3 {
                for _ in 0..12 {
                    let wanted = one(&mut runner, &wanted());
                    let within = one(&mut runner, &bounds(events as u64));
                    check_all(&*log.log, &wanted, within, one(&mut runner, &portion()));
                }
                match moment {
                    0 => drop(log.index.step().expect("a healthy disk")),
                    _ => maintain(&log),
                }
            }
            if round % 2 == 0 {
                drop(log);
                log = opened(&disk);
            }
        }
        let levels: Vec<String> = runs(&disk)
            .iter()
            .map(|name| name.rsplit('/').next().unwrap()[..1].to_owned())
            .collect();
        assert!(
            levels.contains(&"2".to_owned()),
            "{events} events make three levels: {levels:?}"
        );
    }
}

/// A damaged run is dropped, what it covered is read, and it is built again with the same bytes.
///
/// Red when: `give_up` leaves the run in (the search never ends) or its file (it is not built again).
#[test]
fn a_damaged_run_is_built_again() {
    let mut runner = TestRunner::deterministic();
    let disk = SimDisk::new();
    let mut log = opened(&disk);
    commit(&mut log, &one(&mut runner, &requests(1_400)), 0);
    maintain(&log);
    drop(log);
    for name in runs(&disk) {
        let sound = disk.content(&name);
        for at in (0..sound.len()).step_by(sound.len() / 2).chain([sound.len() - 1]) {
            let disk = disk.fork();
            let mut content = sound.clone();
            content[at] ^= 0x10;
            disk.tamper(&name, content);
            let log = opened(&disk);
            let all = Bounds {
                first: 1,
                last: 1_400,
            };
            let portion = Portion {
                matches_max: 50,
                scan_bytes_max: u64::MAX,
            };
            for _ in 0..6 {
                check_all(&*log.log, &one(&mut runner, &wanted()), all, portion);
            }
            maintain(&log);
            let rebuilt = !disk.files().contains(&name) || disk.content(&name) == sound;
            // A page that no query has asked for is still as it was damaged: that is what the offline audit is for.
            let untouched = disk.files().contains(&name) && disk.content(&name)[at] == sound[at] ^ 0x10;
            assert!(rebuilt || untouched, "byte {at} of {name}");
        }
    }
}

/// The index of another history, as after a directory was put over a newer one, is not used.
///
/// Red when: `is_of` says yes to every log.
#[test]
fn the_index_of_another_history_is_not_taken() {
    let mut runner = TestRunner::deterministic();
    let disk = SimDisk::new();
    let mut log = opened(&disk);
    let common = one(&mut runner, &requests(70));
    commit(&mut log, &common, 0);
    drop(log);
    let other = disk.fork();

    let mut log = opened(&other);
    commit(&mut log, &one(&mut runner, &requests(600)), 10);
    maintain(&log);
    drop(log);
    let mut log = opened(&disk);
    commit(&mut log, &one(&mut runner, &requests(600)), 10);
    drop(log);
    for name in runs(&other) {
        let (dir, _) = name.rsplit_once('/').unwrap();
        disk.create_dir(dir).unwrap();
        disk.create(&name)
            .unwrap()
            .write_at(&other.content(&name), 0)
            .unwrap();
    }
    assert!(!runs(&disk).is_empty());
    let log = opened(&disk);
    for _ in 0..40 {
        let portion = Portion {
            matches_max: 50,
            scan_bytes_max: u64::MAX,
        };
        check_all(
            &*log.log,
            &one(&mut runner, &wanted()),
            Bounds { first: 1, last: 670 },
            portion,
        );
    }
}

/// Every call that building and merging make fails, every way, and then the process dies or the power goes: queries are right, and
/// the index is whole again.
///
/// Red when: `write` renames before everything is written; `load` takes `.tmp` files.
#[test]
fn building_can_be_cut_off_anywhere() {
    let mut runner = TestRunner::deterministic();
    let some = one(&mut runner, &requests(300));
    let start = || {
        let disk = SimDisk::new();
        let mut log = opened(&disk);
        commit(&mut log, &some, 0);
        while log.maintenance.step().expect("a healthy disk") {}
        drop(log);
        disk
    };
    let disk = start();
    let before = disk.calls();
    drop(opened(&disk));
    let opening = disk.calls() - before;
    let log = opened(&disk);
    maintain(&log);
    let calls = disk.calls() - before - opening;
    let whole = run_names(&disk);
    assert!(whole.len() < 5 && calls > 20, "{calls} calls make {whole:?}");
    let filter = Arc::new(Filter::default().with_value(Field::Kind, "other").unwrap());
    for call in 1..=calls {
        for fault in Fault::ALL {
            let disk = start();
            let log = opened(&disk);
            disk.fail_at(disk.calls() + call, fault);
            while log.index.step().unwrap_or(false) {}
            disk.heal();
            drop(log);
            for power_cut in [false, true] {
                let disk = disk.fork();
                if power_cut {
                    disk.power_cycle(annals_testkit::simdisk::Loss::Some(call));
                } else {
                    disk.restart_process();
                }
                let log = opened(&disk);
                let search = Search {
                    filter: Arc::clone(&filter),
                    first: EventId::FIRST,
                    last: log.log.head().size,
                    order: Order::NewestFirst,
                };
                let found = log.log.find(&search, usize::MAX, u64::MAX).unwrap();
                let mut naive = annals_store::scan_find(&*log.log, &search, usize::MAX, u64::MAX).unwrap();
                naive.scanned_bytes = found.scanned_bytes;
                assert_eq!(found, naive, "call {call} {fault:?}");
                maintain(&log);
                assert_eq!(
                    run_names(&disk),
                    whole,
                    "call {call} {fault:?}, power cut: {power_cut}"
                );
            }
        }
    }
    assert_ne!(EventHash::GENESIS, log.log.head().hash);
}

/// The audit finds every changed byte of every run, and runs that the events do not make; it leaves the directory as it is.
///
/// Red when: `same_bytes` does not compare the last piece; `compare` does not compare the names, or the head.
#[test]
fn the_audit_of_an_index_finds_what_was_changed() {
    let mut runner = TestRunner::deterministic();
    let disk = SimDisk::new();
    let mut log = opened(&disk);
    commit(&mut log, &one(&mut runner, &requests(700)), 0);
    maintain(&log);
    let audit = |disk: &SimDisk| {
        let scratch = Arc::new(SimDisk::new());
        audit_index_of(disk, &log.log, scratch, geometry(), &|_| {}).expect("it can be audited")
    };
    let names = runs(&disk);
    let whole = audit(&disk);
    assert_eq!((whole.sound, whole.damaged), (names.len() as u64, Vec::new()));
    for name in &names {
        let sound = disk.content(name);
        for at in (0..sound.len()).step_by(301).chain([sound.len() - 1]) {
            let changed = disk.fork();
            let mut content = sound.clone();
            content[at] ^= 0x04;
            changed.tamper(name, content);
            let found = audit(&changed);
            let files: Vec<&String> = found.damaged.iter().map(|damage| &damage.file).collect();
            assert_eq!(files, [name], "byte {at}");
        }
        let renamed = disk.fork();
        let other = name.replace("-0000000000000000000", "-0000000000000000900");
        renamed.create(&other).unwrap().write_at(&sound, 0).unwrap();
        assert_eq!(audit(&renamed).sound, names.len() as u64, "{other}");
        let renamed = disk.fork();
        let (stem, _) = name.rsplit_once('-').unwrap();
        let other = format!("{stem}-0123456789abcdef.run");
        renamed.create(&other).unwrap().write_at(&sound, 0).unwrap();
        assert_eq!(audit(&renamed).damaged.len(), 1, "{other}");
    }
}

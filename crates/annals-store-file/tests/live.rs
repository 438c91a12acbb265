//! Reading beside a live writer: readers in the process, and the offline reader on the same directory without its lock.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{CommitError, Journal, LogBatch, ReadLog};
use annals_store_file::{OpenError, Options, inspect, open};
use annals_testkit::simdisk::{Fault, SimDisk};
use annals_testkit::{chain, events};
use tempfile::TempDir;

use crate::support::id;

const OPTIONS: Options = Options {
    journal_file_bytes: 64 * 1024,
    backlog_files_max: 1_000,
    cache: annals_store_file::CacheBounds::DEFAULT,
};
const ROUNDS: u64 = 400;

/// Red when: `inspect` reports what it saw once; `pack` removes the journal file before the segment has its name.
#[test]
fn the_offline_reader_never_sees_damage_beside_a_live_writer() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(dir.path(), OPTIONS).unwrap();
    let log = opened.log_id();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let (reader, maintenance) = (&opened.log, &opened.maintenance);
        scope.spawn(|| {
            while maintenance.wait_for_work() && !done.load(Ordering::Relaxed) {
                maintenance.step().expect("maintenance works");
            }
        });
        let offline = scope.spawn(|| {
            // At least once, however late this thread comes to run.
            loop {
                let inspection = inspect(dir.path()).expect("no damage");
                chain::audit(&*inspection.log).expect("an intact chain");
                if done.load(Ordering::Relaxed) {
                    break;
                }
            }
        });
        let inside = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                chain::audit(&**reader).expect("an intact chain");
            }
        });
        for round in 0..ROUNDS {
            let sealed = seal(&reader.head(), Micros(0), [&events::batch(5, round)].into_iter());
            opened
                .journal
                .commit(&[LogBatch::new(log, &sealed)])
                .expect("commits");
            if round % 10 == 0 {
                opened.journal.settle().expect("settles");
            }
        }
        done.store(true, Ordering::Relaxed);
        offline.join().expect("no panic");
        inside.join().expect("no panic");
        drop(opened.journal);
    });
    assert_eq!(
        chain::audit(&*inspect(dir.path()).unwrap().log).unwrap().events,
        ROUNDS * 5
    );
}

#[test]
fn one_writer_at_a_time_and_no_foreign_directory() {
    let dir = TempDir::new().unwrap();
    let first = open(dir.path(), OPTIONS).unwrap();
    assert!(matches!(open(dir.path(), OPTIONS), Err(OpenError::Locked)));
    drop(first);
    open(dir.path(), OPTIONS).unwrap();

    let foreign = TempDir::new().unwrap();
    std::fs::write(foreign.path().join("thesis.txt"), "mine").unwrap();
    assert!(matches!(open(foreign.path(), OPTIONS), Err(OpenError::NotOurs)));
    assert_eq!(
        std::fs::read_dir(foreign.path()).unwrap().count(),
        1,
        "nothing is left behind"
    );
    assert!(matches!(inspect(foreign.path()), Err(OpenError::NoData)));
}

/// Red when: `read_format` takes any version.
#[test]
fn newer_formats_are_refused() {
    let dir = TempDir::new().unwrap();
    drop(open(dir.path(), OPTIONS).unwrap());
    let format = dir.path().join("FORMAT");
    let text = std::fs::read_to_string(&format)
        .unwrap()
        .replace("annals-data 2", "annals-data 3");
    std::fs::write(&format, text).unwrap();
    assert!(matches!(
        open(dir.path(), OPTIONS),
        Err(OpenError::NewerFormat { found: 3, known: 2 })
    ));
    assert!(matches!(
        inspect(dir.path()),
        Err(OpenError::NewerFormat { found: 3, known: 2 })
    ));
}

/// Red when: `take_some` starts at the frame's first event.
#[test]
fn a_batch_larger_than_a_journal_file_gets_a_file_of_its_own() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(dir.path(), OPTIONS).unwrap();
    let log = opened.log_id();
    let sealed = seal(
        &opened.log.head(),
        Micros(0),
        [&events::batch(1_000, 1)].into_iter(),
    );
    assert!(sealed.bodies().len() > 200_000);
    opened.journal.commit(&[LogBatch::new(log, &sealed)]).unwrap();
    assert_eq!(chain::audit(&*opened.log).unwrap().events, 1_000);
    // A few events out of the middle of a large frame.
    let run = opened.log.read(id(500), 2_000).unwrap();
    assert_eq!(run.iter().next().unwrap().body, sealed.body(499));
}

/// Red when: `rotate` does not look at the backlog.
#[test]
fn a_backlog_of_unpacked_files_is_bounded() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(
        dir.path(),
        Options {
            journal_file_bytes: 16 * 1024,
            backlog_files_max: 2,
            cache: annals_store_file::CacheBounds::DEFAULT,
        },
    )
    .unwrap();
    let log = opened.log_id();
    let commit = |opened: &mut annals_store_file::Opened| {
        let sealed = seal(&opened.log.head(), Micros(0), [&events::batch(20, 1)].into_iter());
        opened.journal.commit(&[LogBatch::new(log, &sealed)])
    };
    let refused = (0..100)
        .find_map(|_| commit(&mut opened).err())
        .expect("the journal is bounded");
    assert!(
        matches!(
            refused,
            CommitError::Backlog {
                files: 2,
                files_max: 2
            }
        ),
        "{refused}"
    );
    while opened.maintenance.step().unwrap() {}
    commit(&mut opened).expect("after packing there is room");
    chain::audit(&*opened.log).unwrap();
}

/// A backlog that a full disk causes is told as what it is, and goes when there is room.
///
/// Red when: `rotate` does not look at `packing_lacks_space`, or `step` does not clear it.
#[test]
fn a_backlog_for_want_of_space_is_no_space() {
    let disk = SimDisk::new();
    let mut opened = crate::support::open_sim(&disk).unwrap();
    let commit = |opened: &mut annals_store_file::Opened| {
        let head = opened.log.head();
        crate::support::commit_one(opened, &head)
    };
    let refused = (0..1_000)
        .find_map(|_| commit(&mut opened).err())
        .expect("the backlog is bounded");
    assert!(matches!(refused, CommitError::Backlog { .. }), "{refused}");
    // The next file is made first; packing then finds no room.
    assert!(opened.maintenance.step().unwrap());
    disk.fail_at(disk.calls() + 1, Fault::NoSpace);
    assert!(opened.maintenance.step().is_err());
    let refused = commit(&mut opened).expect_err("nothing was packed");
    assert!(matches!(refused, CommitError::NoSpace(_)), "{refused}");
    disk.heal();
    while opened.maintenance.step().unwrap() {}
    commit(&mut opened).expect("there is room");
}

/// Directories that may be empty get lost in copies; events that were in them do not go unmissed (see `tamper`).
///
/// Red when: `numbered` passes `NotFound` on, or `mend` does not make the directories.
#[test]
fn empty_directories_may_be_missing() {
    let dir = TempDir::new().unwrap();
    let log = {
        let mut opened = open(dir.path(), OPTIONS).unwrap();
        let head = opened.log.head();
        crate::support::commit_one(&mut opened, &head).unwrap();
        opened.log_id()
    };
    std::fs::remove_dir(dir.path().join("quarantine")).unwrap();
    std::fs::remove_dir(dir.path().join(format!("logs/{log}/segments"))).unwrap();
    assert_eq!(inspect(dir.path()).unwrap().log.head().size.0, 1);
    assert_eq!(open(dir.path(), OPTIONS).unwrap().log.head().size.0, 1);
    assert!(dir.path().join("quarantine").is_dir());
}

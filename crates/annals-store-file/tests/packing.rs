//! Packing and joining, cut off at every call, and watched by readers who hold on to what was there before.

use std::sync::atomic::{AtomicBool, Ordering};

use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{Journal, LogBatch, LogName, ReadLog};
use annals_store_file::{Opened, inspect_on, open};
use annals_testkit::simdisk::{Fault, Loss, SimDisk};
use annals_testkit::{chain, events};
use tempfile::TempDir;

use crate::crash::{AFTERS, After, restart};
use crate::support::{Answers, OPTIONS, audit, audit_offline, commit_one, hashes, id, open_sim};
use crate::version_1::segments;

fn commit(opened: &mut Opened, answers: &mut Answers, round: u64) {
    let sealed = seal(
        &opened.log.head(),
        Micros(1_000 * i64::try_from(round).unwrap()),
        [&events::batch(3, round)].into_iter(),
    );
    let log = opened.log_id();
    opened.journal.commit(&[LogBatch::new(log, &sealed)]).unwrap();
    answers.acknowledged.extend_from_slice(sealed.hashes());
}

fn pack_all(opened: &Opened) {
    while opened.maintenance.step().unwrap() {}
}

/// A disk on which the next packing leads to a join, and one on which it was done.
fn around_a_join() -> (SimDisk, SimDisk, Answers) {
    let disk = SimDisk::new();
    let mut answers = Answers::default();
    let mut opened = open_sim(&disk).unwrap();
    for round in 0..200 {
        commit(&mut opened, &mut answers, round);
        let (before, segments_before) = (disk.fork(), segments(&disk).len());
        pack_all(&opened);
        if segments(&disk).len() < segments_before {
            drop(opened);
            return (before, disk, answers);
        }
    }
    panic!("200 batches lead to a join")
}

/// Every mutating call of a packing with a join fails, every way; then the work goes on in the same process, or the machine
/// goes, every way.
///
/// Red when: `install` does not sync the directory; `finish` does not sync the file; `follow` does not pass over covered segments.
#[test]
fn a_join_is_cut_off_at_every_call() {
    let (before, _, answers) = around_a_join();
    cut_off_packing(&before, &answers);
}

fn cut_off_packing(before: &SimDisk, answers: &Answers) {
    let calls = {
        let disk = before.fork();
        let opened = open_sim(&disk).unwrap();
        let opening = disk.calls();
        pack_all(&opened);
        disk.calls() - opening
    };
    assert!(calls > 12, "{calls} calls");
    for call in 1..=calls {
        for fault in Fault::ALL {
            let disk = before.fork();
            let opened = open_sim(&disk).unwrap();
            disk.fail_at(disk.calls() + call, fault);
            let mut failed = false;
            for _ in 0..10 {
                failed |= opened.maintenance.step().is_err();
            }
            let told = format!("call {call} {fault:?}, failed: {failed}");
            if let Ok(run) = opened.log.read(id(1), usize::MAX) {
                assert!(!run.is_empty(), "{told}");
            }
            drop(opened);
            disk.heal();
            let more = (4..10).map(|seed| After::PowerGoes(Loss::Some(seed)));
            for after in AFTERS.into_iter().chain(more) {
                let disk = disk.fork();
                restart(&disk, after);
                audit(&disk, answers).unwrap_or_else(|what| panic!("{told}, then {after:?}: {what}"));
            }
        }
    }
}

/// As above, with several journal files that are packed and given up at once.
///
/// Red when: `Maintenance::pack` syncs the removals of journal files only behind the last.
#[test]
fn packing_several_files_is_cut_off_at_every_call() {
    let before = SimDisk::new();
    let mut answers = Answers::default();
    let mut opened = open_sim(&before).unwrap();
    for round in 0..16 {
        commit(&mut opened, &mut answers, round);
    }
    drop(opened);
    assert!(segments(&before).is_empty());
    let files = before
        .files()
        .into_iter()
        .filter(|name| name.ends_with(".journal"))
        .count();
    assert!(files > 3, "{files} files");
    cut_off_packing(&before, &answers);
}

/// A crash between a join and the removal of what was joined leaves segments twice: they are passed over, and removed when the directory is
/// opened for writing.
///
/// Red when: `follow` does not pass over covered segments; `mend` does not remove them.
#[test]
fn what_a_join_leaves_is_removed() {
    let (before, after, answers) = around_a_join();
    let gone: Vec<String> = segments(&before)
        .into_iter()
        .filter(|name| !segments(&after).contains(name))
        .collect();
    assert!(gone.len() >= 2, "{gone:?}");
    for name in &gone {
        let file = annals_store_file::disk::Disk::create(&after, name).unwrap();
        file.write_at(&before.content(name), 0).unwrap();
        file.sync_data().unwrap();
    }
    audit_offline(&after, answers.acknowledged.len() as u64).unwrap();
    let opened = open_sim(&after).unwrap();
    for name in &gone {
        assert!(
            opened.recovery.notes.iter().any(|note| note.contains(name)),
            "{name}"
        );
        assert!(!segments(&after).contains(name));
    }
    drop(opened);
    audit(&after, &answers).unwrap();
}

/// However many there were, a log has few segments, and they hold what was sealed.
///
/// Red when: `to_join` gives nothing.
#[test]
fn segments_stay_few() {
    let disk = SimDisk::new();
    let mut answers = Answers::default();
    let mut opened = open_sim(&disk).unwrap();
    let mut most = 0;
    for round in 0..600 {
        commit(&mut opened, &mut answers, round);
        pack_all(&opened);
        most = most.max(segments(&disk).len());
    }
    // About 150 packings: four levels, with at most three of each but for the moment of a join.
    assert!((4..=13).contains(&most), "{most} segments");
    assert_eq!(hashes(&*opened.log).unwrap(), answers.acknowledged);
    drop(opened);
    audit(&disk, &answers).unwrap();
}

/// A reader without the lock holds on to a list of segments that are joined, and joined again, behind its back.
///
/// Red when: `FileLog::read` does not look for what replaced a segment; `Packed::file` does not compare the footer;
/// `find_replacement` stops before the last segment that was known.
#[test]
fn a_reader_follows_segments_that_are_joined() {
    let disk = SimDisk::new();
    let mut answers = Answers::default();
    let mut opened = open_sim(&disk).unwrap();
    let mut held = Vec::new();
    for round in 0..150 {
        commit(&mut opened, &mut answers, round);
        pack_all(&opened);
        if round % 13 == 5 {
            let log = inspect_on(&disk).unwrap().log;
            held.push((log, answers.acknowledged.len()));
        }
    }
    for (log, known) in held {
        // From the newest to the oldest, so that each segment is met by its own name.
        for at in (1..=known).rev() {
            let run = log.read(id(at as u64), 0).unwrap();
            assert_eq!(
                run.get(0).unwrap().hash,
                answers.acknowledged[at - 1],
                "event {at}"
            );
        }
        assert_eq!(hashes(&*log).unwrap(), answers.acknowledged[..known]);
    }
}

/// A segment that is gone, and is in no other, is damage at its first event.
#[test]
fn a_segment_that_is_gone_is_damage() {
    let (before, ..) = around_a_join();
    let opened = open_sim(&before).unwrap();
    let names = segments(&before);
    before.tamper_remove(&names[1]);
    let first: u64 = names[1].rsplit('/').next().unwrap()[..20].parse().unwrap();
    assert!(opened.log.read(id(first - 1), 0).is_ok());
    let damage = opened.log.read(id(first), 0).unwrap_err().to_string();
    assert!(damage.contains(&format!("event {first}:")), "{damage}");
}

/// Readers at every point, while one writer commits, packs and joins, on a real disk.
#[test]
fn readers_beside_packing_see_every_event() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(dir.path(), OPTIONS).unwrap();
    let mut answers = Answers::default();
    commit(&mut opened, &mut answers, 0);
    let log = opened.log.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2_u64)
            .map(|reader| {
                let (log, done) = (&log, &done);
                scope.spawn(move || {
                    let mut reads = 0_u64;
                    while !done.load(Ordering::Relaxed) || reads < 50 {
                        let size = log.head().size.0;
                        let at = (reads * 7_919 + reader * 31) % size + 1;
                        let run = log.read(id(at), 5_000).unwrap();
                        assert_eq!(run.get(0).unwrap().id, id(at));
                        reads += 1;
                    }
                })
            })
            .collect();
        for round in 1..300 {
            commit(&mut opened, &mut answers, round);
            pack_all(&opened);
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(
        chain::audit(&*log).unwrap().events,
        answers.acknowledged.len() as u64
    );
}

/// Logs that have little in each journal file are packed out of several at once.
///
/// Red when: `survey` stops at the first file.
#[test]
fn many_logs_are_packed_out_of_several_files() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    let mut logs = vec![opened.log_id()];
    for number in 0..3 {
        let name = LogName::new(&format!("log-{number}")).unwrap();
        let made = opened.journal.create_log(&name, Micros(0)).unwrap();
        logs.push(made.id);
    }
    for round in 0..12 {
        for log in &logs {
            let head = opened.journal.head(*log).unwrap();
            let sealed = seal(&head, Micros(0), [&events::batch(1, round)].into_iter());
            opened.journal.commit(&[LogBatch::new(*log, &sealed)]).unwrap();
        }
    }
    assert!(segments(&disk).is_empty());
    pack_all(&opened);
    assert_eq!(segments(&disk).len(), logs.len(), "one segment for each log");
    drop(opened);
    let opened = open_sim(&disk).unwrap();
    for log in opened.logs.all() {
        assert_eq!(chain::audit(&*log).unwrap().events, 12);
    }
    let mut opened = opened;
    let head = opened.log.head();
    commit_one(&mut opened, &head).unwrap();
}

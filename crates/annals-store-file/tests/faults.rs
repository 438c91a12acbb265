//! Work beside the writer that fails, and what the running process does about it: nothing gets stuck, nothing is given up
//! that was not copied, and what is said to be durable is.

use std::sync::Arc;

use annals_core::chain::Head;
use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{CommitError, Journal, LogBatch, ReadLog, RecoverError};
use annals_store_file::disk::Disk;
use annals_store_file::{OpenError, Opened, Options, open, open_on};
use annals_testkit::events;
use annals_testkit::simdisk::{Fault, Loss, SimDisk};
use tempfile::TempDir;

use crate::support::{audit_offline, commit_one, hashes, open_sim};

const FIRST: &str = "journal/00000000000000000001.journal";
const SECOND: &str = "journal/00000000000000000002.journal";

fn commit(opened: &mut Opened, events: usize) -> Result<Head, CommitError> {
    let log = opened.log_id();
    let sealed = seal(
        &opened.log.head(),
        Micros(0),
        [&events::batch(events, 5)].into_iter(),
    );
    opened.journal.commit(&[LogBatch::new(log, &sealed)])?;
    Ok(sealed.after())
}

fn has(disk: &SimDisk, name: &str) -> bool {
    disk.files().iter().any(|found| found == name)
}

/// Commits until one frame lies in the second journal file; nothing is packed.
fn one_frame_in_the_second_file(disk: &SimDisk) -> Opened {
    let mut opened = open_sim(disk).unwrap();
    while !has(disk, SECOND) {
        commit(&mut opened, 3).unwrap();
    }
    opened
}

/// Where the last frame of a journal file starts, and where it ends.
fn last_frame(content: &[u8]) -> (usize, usize) {
    let mut at = (4096, 4096);
    while let Ok(header) = annals_store_file::frame::FrameHeader::decode(&content[at.1..]) {
        at = (at.1, at.1 + header.frame_len());
    }
    at
}

/// Every mutating call of a maintenance that has work fails in turn, every way; then the same process tries again.
///
/// Red when: `pack` takes a journal file that is already gone for an error; `step` forgets a file before it is packed.
#[test]
fn maintenance_that_failed_is_done_again() {
    let clean = SimDisk::new();
    let opened = one_frame_in_the_second_file(&clean);
    let before = clean.calls();
    while opened.maintenance.step().unwrap() {}
    let calls = clean.calls();
    assert!(calls > before + 5, "it prepares, packs and removes");
    for call in before + 1..=calls {
        for fault in [Fault::NotDone, Fault::Done, Fault::Half, Fault::NoSpace] {
            let disk = SimDisk::new();
            let mut opened = one_frame_in_the_second_file(&disk);
            let held = hashes(&*opened.log).unwrap();
            disk.fail_at(call, fault);
            // One of them fails.
            while opened.maintenance.step().unwrap_or(false) {}
            disk.heal();
            while opened
                .maintenance
                .step()
                .unwrap_or_else(|error| panic!("call {call} {fault:?}: {error}"))
            {}
            assert!(!has(&disk, FIRST), "call {call} {fault:?}: packed after all");
            assert_eq!(hashes(&*opened.log).unwrap(), held, "call {call} {fault:?}");
            let head = opened.log.head();
            commit_one(&mut opened, &head).unwrap();
            drop(opened);
            disk.power_cycle(Loss::Everything);
            let opened = open_sim(&disk).unwrap();
            assert_eq!(opened.log.head().size.0, held.len() as u64 + 1);
            drop(opened);
            audit_offline(&disk, held.len() as u64 + 1).unwrap();
        }
    }
}

/// Two files are packed one after the other, then the power goes: the older removal is never lost without the newer one.
///
/// Red when: `pack` does not sync the directory after the removal.
#[test]
fn removals_happen_in_order() {
    let disk = SimDisk::new();
    let mut opened = one_frame_in_the_second_file(&disk);
    while !has(&disk, "journal/00000000000000000003.journal") {
        commit(&mut opened, 3).unwrap();
    }
    let held = hashes(&*opened.log).unwrap();
    while opened.maintenance.step().unwrap() {}
    assert!(!has(&disk, FIRST) && !has(&disk, SECOND));
    drop(opened);
    for seed in 0..16 {
        let disk = disk.fork();
        disk.power_cycle(Loss::Some(seed));
        let opened = open_sim(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        assert_eq!(hashes(&*opened.log).unwrap(), held);
    }
}

/// Red when: `check_file_numbers` does not look for gaps: another damage is then reported, and not what is missing.
#[test]
fn a_missing_file_is_named() {
    let disk = SimDisk::new();
    let mut opened = one_frame_in_the_second_file(&disk);
    while !has(&disk, "journal/00000000000000000003.journal") {
        commit(&mut opened, 3).unwrap();
    }
    drop(opened);
    disk.tamper_remove(SECOND);
    let Err(OpenError::Damaged(damage)) = open_sim(&disk) else {
        panic!("a journal with a gap opens")
    };
    assert!(damage.place.file() == SECOND, "{damage}");
}

/// What a commit with an unknown outcome left is there for readers of the same process.
///
/// Red when: `recover` leaves readers the parts that they had.
#[test]
fn recovery_shows_what_is_stored() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    commit(&mut opened, 2).unwrap();
    disk.fail_at(disk.calls() + 2, Fault::Done);
    assert!(matches!(commit(&mut opened, 2), Err(CommitError::Unknown(_))));
    disk.heal();
    opened.journal.recover().unwrap();
    assert_eq!(opened.log.head().size.0, 4);
    assert_eq!(hashes(&*opened.log).unwrap().len(), 4);
}

/// Residue that was moved aside does not come back behind a file that is left without another sync.
///
/// Red when: `mend::erase` does not sync.
#[test]
fn erased_residue_stays_erased() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    commit(&mut opened, 1).unwrap();
    opened.journal.settle().unwrap();
    drop(opened);
    let mut content = disk.content(FIRST);
    let (_, end) = last_frame(&content);
    content[end..end + 100].fill(0xAB);
    disk.tamper(FIRST, content);
    let mut opened = open_sim(&disk).unwrap();
    assert_eq!(opened.recovery.quarantined.len(), 1);
    commit(&mut opened, 100).unwrap();
    assert!(has(&disk, SECOND), "it does not fit the first file");
    drop(opened);
    disk.power_cycle(Loss::Everything);
    let opened = open_sim(&disk).unwrap();
    assert_eq!(opened.log.head().size.0, 101);
}

/// A segment has its name, whose sync failed; the process starts again and removes the journal file; the power goes.
///
/// Red when: `mend::sync_names` passes over the segments, or `pack` packs frames twice.
#[test]
fn a_segment_whose_name_was_not_synced_is_not_relied_on() {
    let clean = SimDisk::new();
    let opened = one_frame_in_the_second_file(&clean);
    let before = clean.calls();
    while opened.maintenance.step().unwrap() {}
    for call in before + 1..=clean.calls() {
        for fault in [Fault::NotDone, Fault::Done] {
            let disk = SimDisk::new();
            let opened = one_frame_in_the_second_file(&disk);
            let held = hashes(&*opened.log).unwrap();
            disk.fail_at(call, fault);
            while opened.maintenance.step().unwrap_or(false) {}
            drop(opened);
            disk.restart_process();
            let opened = open_sim(&disk).unwrap();
            while opened.maintenance.step().unwrap() {}
            assert!(!has(&disk, FIRST), "call {call} {fault:?}");
            drop(opened);
            disk.power_cycle(Loss::Everything);
            let opened = open_sim(&disk).unwrap_or_else(|error| panic!("call {call} {fault:?}: {error}"));
            assert_eq!(hashes(&*opened.log).unwrap(), held, "call {call} {fault:?}");
        }
    }
}

/// Red when: `commit` or `settle` goes on after a failure, or `commit` shows a group before its sync.
#[test]
fn after_a_failure_nothing_is_shown_or_taken_until_recovery() {
    for failing in [1, 2] {
        let disk = SimDisk::new();
        let mut opened = open_sim(&disk).unwrap();
        let head = commit(&mut opened, 1).unwrap();
        disk.fail_at(disk.calls() + failing, Fault::NotDone);
        assert!(matches!(commit(&mut opened, 1), Err(CommitError::Unknown(_))));
        assert_eq!(opened.log.head(), head, "readers see only what is durable");
        disk.heal();
        assert!(matches!(commit(&mut opened, 1), Err(CommitError::NeedsRecovery)));
        opened.journal.recover().unwrap();
        let head = commit(&mut opened, 1).unwrap();
        disk.fail_at(disk.calls() + failing, Fault::NotDone);
        opened.journal.settle().expect_err("it failed");
        disk.heal();
        assert!(matches!(commit(&mut opened, 1), Err(CommitError::NeedsRecovery)));
        opened.journal.recover().unwrap();
        assert_eq!(opened.log.head(), head);
    }
}

/// Red when: `mend` leaves unfinished files where they are.
#[test]
fn unfinished_files_are_removed() {
    let disk = SimDisk::new();
    drop(open_sim(&disk).unwrap());
    let segments = disk
        .files()
        .iter()
        .find_map(|name| Some(format!("{}/segments", name.strip_suffix("/manifest.json")?)))
        .unwrap();
    let left = [
        "journal/preparing.tmp".to_owned(),
        format!("{segments}/1.segment.tmp"),
    ];
    for name in &left {
        disk.create(name).unwrap();
    }
    let opened = open_sim(&disk).unwrap();
    assert_eq!(opened.recovery.notes.len(), 2, "{:?}", opened.recovery.notes);
    assert!(left.iter().all(|name| !has(&disk, name)));
}

/// Only the last group is in doubt: what a later frame calls durable is not written again.
///
/// Red when: `Loader::take` passes over `durable_through`, or `commit` writes another one than the last frame.
#[test]
fn only_the_last_group_is_written_again() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    for _ in 0..4 {
        commit(&mut opened, 1).unwrap();
    }
    drop(opened);
    assert_eq!(open_sim(&disk).unwrap().recovery.rewritten_batches, 1);
    assert_eq!(
        open_sim(&disk).unwrap().recovery.rewritten_batches,
        0,
        "the head record says so"
    );
}

/// What is packed is read from its segment: the journal file is let go of, and its space is free.
///
/// Red when: `replace_journal` leaves readers the journal's part.
#[test]
fn readers_go_over_to_the_segment() {
    let disk = SimDisk::new();
    let opened = one_frame_in_the_second_file(&disk);
    while opened.maintenance.step().unwrap() {}
    let packed = disk.files().into_iter().find(|name| name.ends_with(".segment"));
    disk.tamper(&packed.expect("it is packed"), Vec::new());
    assert!(opened.log.read(crate::support::id(1), 1).is_err());
}

/// Red when: `mend::erase` stops after its first block.
#[test]
fn long_residue_is_moved_as_a_whole() {
    let disk = SimDisk::new();
    let options = Options {
        journal_file_bytes: 3 * 1024 * 1024,
        backlog_files_max: 4,
        cache: annals_store_file::CacheBounds::DEFAULT,
    };
    drop(open_on(Arc::new(disk.clone()), options).unwrap());
    let mut content = disk.content(FIRST);
    content[4096..2_500_000].fill(0xAB);
    disk.tamper(FIRST, content);
    let opened = open_sim(&disk).unwrap();
    assert_eq!(opened.recovery.quarantined.len(), 1);
    assert!(disk.content(FIRST)[4096..].iter().all(|byte| *byte == 0));
    let moved = disk
        .files()
        .into_iter()
        .find(|name| name.starts_with("quarantine/"));
    assert_eq!(disk.content(&moved.unwrap()), vec![0xAB; 2_500_000 - 4096]);
}

/// Red when: `step` packs nothing while no journal file can be prepared, or `prepare` leaves what it wrote so far.
#[test]
fn a_full_disk_is_made_room_on() {
    let disk = SimDisk::new();
    let opened = one_frame_in_the_second_file(&disk);
    // The first write of zeros does not fit.
    disk.fail_at(disk.calls() + 3, Fault::NoSpace);
    let failed = opened.maintenance.step();
    assert!(
        matches!(failed, Err(RecoverError::Io(_))),
        "no file was prepared: {failed:?}"
    );
    assert!(
        !has(&disk, "journal/preparing.tmp"),
        "what was written is given back"
    );
    assert!(!has(&disk, FIRST), "the full file is packed all the same");
}

/// Red when: `pack` takes the frames that it finds for all that there were.
#[test]
fn a_journal_file_that_lost_its_last_frame_is_not_given_up() {
    let disk = SimDisk::new();
    let opened = one_frame_in_the_second_file(&disk);
    let mut content = disk.content(FIRST);
    let (start, end) = last_frame(&content);
    content[start..end].fill(0);
    disk.tamper(FIRST, content);
    let failed = loop {
        match opened.maintenance.step() {
            Ok(true) => {}
            other => break other,
        }
    };
    assert!(matches!(failed, Err(RecoverError::Damaged(_))), "{failed:?}");
    assert!(has(&disk, FIRST));
    assert!(!disk.files().iter().any(|name| name.ends_with(".segment")));
}

/// What lies in a full file is packed only if it is what was sealed.
///
/// Red when: `segment::write` does not read back, or only after the rename, or leaves what it wrote; `read_back` does not compare
/// a body with its hash, or a frame with the one before; `frames_by_log` passes over what lies behind the frames.
#[test]
fn a_damaged_journal_file_is_not_packed() {
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 3] = [
        ("a body with all checksums made right", |content| {
            let (_, end) = last_frame(content);
            let start = 4096;
            let header = annals_store_file::frame::FrameHeader::decode(&content[start..]).unwrap();
            assert!(start + header.frame_len() <= end);
            content[start + header.bodies_start() + 15] ^= 1;
            crate::tamper::mend_checksums(content, start);
        }),
        ("a link with all checksums made right", |content| {
            let (start, _) = last_frame(content);
            content[start + 88] ^= 1;
            crate::tamper::mend_checksums(content, start);
        }),
        ("garbage behind the last frame", |content| {
            let (_, end) = last_frame(content);
            content[end + 9] = 1;
        }),
    ];
    for (what, change) in changes {
        let disk = SimDisk::new();
        let opened = one_frame_in_the_second_file(&disk);
        let mut content = disk.content(FIRST);
        change(&mut content);
        disk.tamper(FIRST, content);
        let failed = loop {
            match opened.maintenance.step() {
                Ok(true) => {}
                other => break other,
            }
        };
        assert!(
            matches!(failed, Err(RecoverError::Damaged(_))),
            "{what}: {failed:?}"
        );
        assert!(has(&disk, FIRST), "{what}");
        assert!(
            !disk.files().iter().any(|name| name.contains(".segment")),
            "{what}"
        );
    }
}

/// Garbage behind the frames of a full file is not the residue of a crash: the next file was begun when it was durable to
/// its end. As residue it would put the next file's frame out of use.
///
/// Red when: `proven_durable` wants more of a later file than any frame.
#[test]
fn garbage_behind_a_full_file_is_no_residue() {
    let disk = SimDisk::new();
    drop(one_frame_in_the_second_file(&disk));
    let mut content = disk.content(FIRST);
    let (_, end) = last_frame(&content);
    content[end] = 0xAB;
    disk.tamper(FIRST, content);
    assert!(matches!(open_sim(&disk), Err(OpenError::Damaged(_))));
}

/// A head record whose sync failed can be read, and is not durable.
///
/// Red when: `mend::write_head` takes the newest record that it can read for one that is durable.
#[test]
fn a_head_record_whose_sync_failed_is_written_again() {
    for fault in [Fault::NotDone, Fault::Half, Fault::NoSpace] {
        let disk = SimDisk::new();
        let mut opened = open_sim(&disk).unwrap();
        commit(&mut opened, 1).unwrap();
        disk.fail_at(disk.calls() + 2, fault);
        opened.journal.settle().expect_err("the sync failed");
        disk.heal();
        opened.journal.recover().unwrap();
        opened.journal.settle().unwrap();
        drop(opened);
        disk.power_cycle(Loss::Everything);
        let mut content = disk.content(FIRST);
        content[4096..].fill(0);
        disk.tamper(FIRST, content);
        assert!(
            matches!(open_sim(&disk), Err(OpenError::Damaged(_))),
            "{fault:?}: settled, and its tail is cut off without a trace"
        );
    }
}

/// Red when: the lock goes with the journal while a maintenance can still rename and remove files.
#[test]
fn the_lock_is_held_until_the_maintenance_is_gone_too() {
    let dir = TempDir::new().unwrap();
    let options = Options {
        journal_file_bytes: 64 * 1024,
        backlog_files_max: 4,
        cache: annals_store_file::CacheBounds::DEFAULT,
    };
    let opened = open(dir.path(), options).unwrap();
    drop(opened.journal);
    assert!(!opened.maintenance.wait_for_work());
    assert!(matches!(open(dir.path(), options), Err(OpenError::Locked)));
    drop(opened.maintenance);
    open(dir.path(), options).unwrap();
}

/// A file for a large batch is preallocated like any other: a commit never makes a file longer.
///
/// Red when: `next_file` makes a file of the usual size whatever is needed, or takes a prepared one that is too small.
#[test]
fn a_commit_never_makes_a_file_longer() {
    for prepared in [false, true] {
        let disk = SimDisk::new();
        let mut opened = open_sim(&disk).unwrap();
        if prepared {
            while opened.maintenance.step().unwrap() {}
        }
        commit(&mut opened, 100).unwrap();
        let large = disk.content(SECOND);
        let (_, end) = last_frame(&large);
        assert_eq!(large.len().next_multiple_of(8), end, "as long as was needed");
        let sizes = |disk: &SimDisk| -> Vec<usize> {
            let journals = disk.files().into_iter().filter(|name| name.ends_with(".journal"));
            journals.map(|name| disk.content(&name).len()).collect()
        };
        let before = disk.calls();
        let fresh = SimDisk::new();
        let mut again = open_sim(&fresh).unwrap();
        if prepared {
            while again.maintenance.step().unwrap() {}
        }
        // The last two calls are the write and the sync of the frame.
        fresh.fail_at(before - 1, Fault::NotDone);
        commit(&mut again, 100).expect_err("nothing is written");
        assert_eq!(sizes(&fresh), sizes(&disk));
    }
}

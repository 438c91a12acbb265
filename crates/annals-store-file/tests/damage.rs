//! What is told of a damaged directory: what is hit, where, and how much of the log before it can still be shown intact.

use annals_store::{Journal, ReadLog, RecoverError};
use annals_store_file::disk::Disk;
use annals_store_file::{DamagedDirectory, Examined, OpenError, Place, examine_on, inspect_on};
use annals_testkit::simdisk::{Fault, SimDisk};
use annals_verify::{Level, Options, Verdict};

use crate::support::{commit_one, hashes, open_sim};
use crate::tamper::{EVENTS, bodies, directory, files_with_frames, frames, with};

const FIRST_FRAME: usize = 4096;

fn damaged(disk: &SimDisk) -> DamagedDirectory {
    assert!(
        matches!(open_sim(disk), Err(OpenError::Damaged(_))),
        "it is served"
    );
    match examine_on(disk).unwrap() {
        Examined::Damaged(damaged) => {
            let strict = inspect_on(disk).err();
            assert!(
                matches!(&strict, Some(OpenError::Damaged(damage)) if *damage == damaged.damage),
                "{strict:?}"
            );
            damaged
        }
        Examined::Whole(_) => panic!("the damage is not found"),
    }
}

/// Number of events, from the first on, that an auditor finds intact in front of the damage.
fn intact_before(damaged: &DamagedDirectory) -> u64 {
    match annals_verify::audit(&*damaged.before, None, &Options::new(Level::Full), &|_| {}) {
        Verdict::Intact { size, .. } => size.0,
        verdict => panic!("{verdict:?} before {}", damaged.damage),
    }
}

/// Asserts which event is said to be hit, where, and how many before it are shown intact.
#[track_caller]
fn check(disk: &SimDisk, event: Option<u64>, file: &str, before: u64) -> DamagedDirectory {
    let found = damaged(disk);
    let hit = found.damage.event.map(annals_core::chain::EventId::get);
    assert_eq!(
        (hit, found.damage.place.file().as_str()),
        (event, file),
        "{}",
        found.damage
    );
    assert_eq!(intact_before(&found), before, "{}", found.damage);
    found
}

fn journal_files(disk: &SimDisk) -> Vec<String> {
    let all = disk.files().into_iter();
    all.filter(|name| name.ends_with(".journal")).collect()
}

/// Red when: `take_before` takes nothing, or one event more or less; `load` gives an empty log with its damage; `inspect_on`
/// gives another error than the damage.
#[test]
fn every_event_before_a_damaged_one_is_shown_intact() {
    let disk = directory();
    let in_journal = bodies(&disk)
        .into_iter()
        .filter(|(name, ..)| name.ends_with(".journal"));
    for (name, range, id) in in_journal {
        let (changed, ()) = with(&disk, &name, |content| content[range.start + 20] ^= 1);
        let found = check(&changed, Some(id), &name, id - 1);
        let offset = usize::try_from(found.damage.place.offset().unwrap()).unwrap();
        assert!(offset >= FIRST_FRAME && offset < range.start, "{}", found.damage);
    }
}

/// Red when: `end_of_file` gives the offset of anything but the frame; `load_segments` keeps nothing of the segments before
/// a damaged one.
#[test]
fn frames_and_segments_before_a_damaged_one_are_shown_intact() {
    let disk = directory();
    for (name, start) in files_with_frames(&disk) {
        if name.ends_with(".journal") {
            for (at, header) in frames(&disk.content(&name), start) {
                let (changed, ()) = with(&disk, &name, |content| content[at + 8] ^= 1);
                let first = header.first_id.get();
                let found = check(&changed, Some(first), &name, first - 1);
                assert_eq!(found.damage.place.offset(), Some(at as u64));
            }
        } else {
            let first = frames(&disk.content(&name), start)[0].1.first_id.get();
            // The footer; and the whole file, which is then missed by the one behind it.
            let (changed, ()) = with(&disk, &name, |content| *content.last_mut().unwrap() ^= 1);
            check(&changed, Some(first), &name, first - 1);
            let gone = disk.fork();
            gone.tamper_remove(&name);
            let found = damaged(&gone);
            assert_eq!(
                found.damage.event.map(annals_core::chain::EventId::get),
                Some(first)
            );
            assert_eq!(intact_before(&found), first - 1);
        }
    }
}

/// Five journal files with frames, none packed; the number of events, and the first event of each file.
fn five_files() -> (SimDisk, u64, Vec<u64>) {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    let mut starts = vec![1];
    while starts.len() < 5 {
        let head = opened.log.head();
        let files = journal_files(&disk).len();
        commit_one(&mut opened, &head).unwrap();
        if journal_files(&disk).len() > files {
            starts.push(head.size.0 + 1);
        }
    }
    opened.journal.settle().unwrap();
    let events = opened.log.head().size.0;
    (disk, events, starts)
}

/// What a journal file's loss hits is the first event in it, and all before it is read.
///
/// Red when: `walk_journal` walks no file when one is missing or damaged; `first_gap` takes a later file.
#[test]
fn journal_files_before_a_lost_one_are_shown_intact() {
    let (disk, _, starts) = five_files();
    let files = journal_files(&disk);
    for (name, first) in files.iter().zip(&starts).skip(1) {
        let gone = disk.fork();
        gone.tamper_remove(name);
        let found = damaged(&gone);
        assert_eq!(
            found.damage.event.map(annals_core::chain::EventId::get),
            Some(*first)
        );
        assert_eq!(intact_before(&found), first - 1);
        let (flipped, ()) = with(&disk, name, |content| content[100] ^= 1);
        let found = check(&flipped, Some(*first), name, first - 1);
        assert!(found.damage.what.contains("header"), "{}", found.damage);
        let (cut, ()) = with(&disk, name, |content| content.truncate(50));
        check(&cut, Some(*first), name, first - 1);
    }
    // Of two, the first counts, whatever is wrong with the other one.
    let flip = |disk: &SimDisk, name: &str| with(disk, name, |content| content[100] ^= 1).0;
    let gone = disk.fork();
    gone.tamper_remove(&files[3]);
    check(&flip(&gone, &files[1]), Some(starts[1]), &files[1], starts[1] - 1);
    let twice = gone.fork();
    twice.tamper_remove(&files[1]);
    check(&twice, Some(starts[1]), &files[1], starts[1] - 1);
    let gone = disk.fork();
    gone.tamper_remove(&files[1]);
    check(&flip(&gone, &files[3]), Some(starts[1]), &files[1], starts[1] - 1);
}

/// A file that holds no frame can be damaged without any event being hit, and the head record always is.
///
/// Red when: `is_missed` is always true; `finish` or `load` takes the next event for one that is hit.
#[test]
fn no_event_is_named_where_none_is_known_to_be_hit() {
    let disk = directory();
    let prepared = journal_files(&disk).pop().unwrap();
    let (changed, ()) = with(&disk, &prepared, |content| content[100] ^= 1);
    let found = check(&changed, None, &prepared, EVENTS);
    assert!(matches!(found.damage.place, Place::JournalFile { .. }));
    let (cut, ()) = with(&disk, &prepared, |content| content.truncate(50));
    check(&cut, None, &prepared, EVENTS);

    // Of the last file, where the head record is older: its own frames, or those behind it, tell that it had events.
    let (disk, events, starts) = five_files();
    let files = journal_files(&disk);
    let older = {
        let fresh = SimDisk::new();
        drop(open_sim(&fresh).unwrap());
        fresh.content("head")
    };
    for (name, first) in files.iter().zip(&starts).skip(1) {
        let (changed, ()) = with(&disk, name, |content| content[100] ^= 1);
        changed.tamper("head", older.clone());
        check(&changed, Some(*first), name, first - 1);
    }
    assert!(events > *starts.last().unwrap() - 1);
}

/// Red when: `head::read` gives another fault; `finish` takes a head record that is not there for a record of nothing, or
/// names the next event.
#[test]
fn a_lost_head_record_is_told_as_such() {
    let disk = directory();
    let gone = disk.fork();
    gone.tamper_remove("head");
    let (flipped, ()) = with(&disk, "head", |content| {
        content[10] ^= 1;
        content[4096 + 10] ^= 1;
    });
    let cut = |len: usize| with(&disk, "head", |content| content.truncate(len)).0;
    let (longer, ()) = with(&disk, "head", |content| content.push(0));
    for (changed, says) in [
        (gone, "the head record is missing"),
        (flipped, "the head record is unreadable: neither of its slots"),
        (cut(0), "the head record is cut to 0 of its 8192 bytes"),
        (cut(4095), "the head record is cut to 4095 of its 8192 bytes"),
        (
            longer,
            "the head record is unreadable: it has more than 8192 bytes",
        ),
    ] {
        let found = check(&changed, None, "head", EVENTS);
        let text = found.damage.to_string();
        assert!(text.starts_with(says) && !text.contains("event "), "{text}");
        let refused = open_sim(&changed).err().unwrap().to_string();
        assert!(
            refused.contains(says) && refused.contains("put back the file `head`"),
            "{refused}"
        );
    }
}

/// Copies a head record to where there is none.
fn put_back(disk: &SimDisk, record: Vec<u8>) {
    disk.create("head").unwrap();
    disk.tamper("head", record);
}

/// What the operator is told to do helps, also when the backup is older than the journal.
///
/// Red when: `contradicts_head_record` holds for every frame but the one that the record names.
#[test]
fn a_head_record_that_is_put_back_counts() {
    let disk = directory();
    let older = disk.content("head");
    let mut opened = open_sim(&disk).unwrap();
    for _ in 0..3 {
        let head = opened.log.head();
        commit_one(&mut opened, &head).unwrap();
    }
    opened.journal.settle().unwrap();
    let held = hashes(&*opened.log).unwrap();
    drop(opened);
    disk.tamper_remove("head");
    damaged(&disk);
    put_back(&disk, older);
    assert_eq!(hashes(&*open_sim(&disk).unwrap().log).unwrap(), held);
}

/// A running log that must recover takes nothing while the head record is gone, and goes on when it is put back.
///
/// Red when: `recover` goes on without a head record.
#[test]
fn recovery_waits_for_a_lost_head_record() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    let head = opened.log.head();
    commit_one(&mut opened, &head).unwrap();
    opened.journal.settle().unwrap();
    let record = disk.content("head");
    let head = opened.log.head();
    disk.fail_at(disk.calls() + 1, Fault::NotDone);
    commit_one(&mut opened, &head).expect_err("the write fails");
    disk.heal();
    disk.tamper_remove("head");
    for _ in 0..2 {
        let failed = opened.journal.recover().expect_err("there is no head record");
        assert!(matches!(failed, RecoverError::Io(_)), "{failed}");
        assert!(
            failed.to_string().contains("the head record is missing"),
            "{failed}"
        );
        commit_one(&mut opened, &head).expect_err("it has not recovered");
    }
    put_back(&disk, record);
    opened.journal.recover().unwrap();
    assert_eq!(opened.log.head(), head);
    commit_one(&mut opened, &head).unwrap();
}

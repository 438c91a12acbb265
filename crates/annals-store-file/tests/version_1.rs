//! What the first format left on disks: a directory with segments of unchanged frames, made here by hand from the format's
//! page, and what becomes of it.

use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{Journal, LogBatch, ReadLog};
use annals_store_file::disk::Disk;
use annals_testkit::events;
use annals_testkit::simdisk::SimDisk;

use crate::support::{audit_offline, commit_one, hashes, open_sim};
use crate::tamper::{EVENTS, Found, crc32c, frames, look};

/// As [`crate::tamper::directory`], in format 1: segments of version 1, an active and a prepared journal file.
pub(crate) fn old_directory() -> SimDisk {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    let log = opened.log_id();
    for round in 0..EVENTS / 3 {
        let sealed = seal(
            &opened.log.head(),
            Micros(1_000 * i64::try_from(round).unwrap()),
            [&events::batch(3, round)].into_iter(),
        );
        opened.journal.commit(&[LogBatch::new(log, &sealed)]).unwrap();
    }
    opened.journal.settle().unwrap();
    drop(opened);
    let journal: Vec<String> = disk
        .files()
        .into_iter()
        .filter(|name| name.starts_with("journal/") && !frames(&disk.content(name), 4096).is_empty())
        .collect();
    let manifest = disk
        .files()
        .into_iter()
        .find(|name| name.ends_with("manifest.json"))
        .unwrap();
    for name in &journal[..journal.len() - 1] {
        let (first, segment) = segment_of(&disk.content(name), log.0);
        let name_of_segment = manifest.replace("manifest.json", &format!("segments/{first:020}.segment"));
        disk.create(&name_of_segment)
            .unwrap()
            .write_at(&segment, 0)
            .unwrap();
        disk.tamper_remove(name);
    }
    let format = String::from_utf8(disk.content("FORMAT")).unwrap();
    disk.tamper(
        "FORMAT",
        format.replace("annals-data 2", "annals-data 1").into_bytes(),
    );
    disk.tamper_remove("released");
    disk.power_cycle(annals_testkit::simdisk::Loss::Nothing);
    assert_eq!(look(&disk), Found::Intact);
    disk
}

/// The id of the first event, and the segment that format 1 made of a journal file with frames of one log.
fn segment_of(journal: &[u8], log: [u8; 16]) -> (u64, Vec<u8>) {
    let found = frames(journal, 4096);
    let (start, first) = found[0];
    let (last_at, last) = *found.last().unwrap();
    let mut segment = b"ANNSEGM\x01".to_vec();
    segment.extend(log);
    segment.resize(64, 0);
    segment.extend(&journal[start..last_at + last.frame_len()]);
    let mut rows = first.first_id.get().to_le_bytes().to_vec();
    rows.extend(64_u64.to_le_bytes());
    let mut footer = b"ANNSEGF\x01".to_vec();
    footer.extend(log);
    footer.extend(first.first_id.get().to_le_bytes());
    footer.extend(last.last_id().get().to_le_bytes());
    footer.extend(first.prev_hash.0);
    footer.extend(last.last_hash.0);
    footer.extend(last.received_at.0.to_le_bytes());
    footer.extend(last.number.to_le_bytes());
    footer.extend((segment.len() as u64).to_le_bytes());
    footer.extend(1_u32.to_le_bytes());
    footer.extend(crc32c(&rows).to_le_bytes());
    footer.resize(252, 0);
    footer.extend(crc32c(&footer).to_le_bytes());
    segment.extend(rows);
    segment.extend(footer);
    (first.first_id.get(), segment)
}

/// Red when: `SegmentFiles::open` takes every segment for a packed one.
#[test]
fn an_old_directory_is_read_and_grows_in_the_new_format() {
    let disk = old_directory();
    let old: Vec<String> = segments(&disk);
    assert!(old.len() >= 2, "{old:?}");
    let contents: Vec<Vec<u8>> = old.iter().map(|name| disk.content(name)).collect();
    let mut opened = open_sim(&disk).unwrap();
    let mut known = hashes(&*opened.log).unwrap();
    assert_eq!(known.len() as u64, EVENTS);
    for _ in 0..60 {
        let head = opened.log.head();
        known.extend(commit_one(&mut opened, &head).unwrap());
        while opened.maintenance.step().unwrap() {}
    }
    assert_eq!(hashes(&*opened.log).unwrap(), known);
    let all = segments(&disk);
    assert!(all.len() > old.len(), "{all:?}");
    for (name, content) in old.iter().zip(contents) {
        assert_eq!(disk.content(name), content, "{name} is as it was");
    }
    drop(opened);
    audit_offline(&disk, known.len() as u64).unwrap();
    assert_eq!(hashes(&*open_sim(&disk).unwrap().log).unwrap(), known);
}

pub(crate) fn segments(disk: &SimDisk) -> Vec<String> {
    disk.files()
        .into_iter()
        .filter(|name| name.ends_with(".segment"))
        .collect()
}

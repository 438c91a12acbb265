//! Files made by someone who knows the format and makes every checksum right: whatever they say, a reader ends, allocates no
//! more than there is, never panics, and never takes "nothing" for an answer where an event should be.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{Journal, LogBatch, ReadError, ReadLog};
use annals_store_file::disk::Disk;
use annals_store_file::frame::{Frame, FrameFault, FrameHeader};
use annals_store_file::{OpenError, Options, open_on};
use annals_testkit::events;
use annals_testkit::simdisk::SimDisk;

use crate::support::{commit_one, id, open_sim};
use crate::tamper::{
    Found, crc32c, directory, files_with_frames, frames, look, mend_checksums, seal_header, with,
};
use crate::version_1::{old_directory, segments};

const FOOTER_LEN: usize = 256;

/// What a reader says, who must say it.
fn answer<T: Send + 'static>(ask: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, answer) = mpsc::channel();
    thread::spawn(move || send.send(ask()));
    answer
        .recv_timeout(Duration::from_secs(30))
        .expect("the reader comes to an end")
}

fn look_ends(disk: &SimDisk) -> Found {
    let disk = disk.clone();
    answer(move || look(&disk))
}

fn last_segment(disk: &SimDisk) -> String {
    disk.files()
        .into_iter()
        .rfind(|name| name.ends_with(".segment"))
        .expect("something is packed")
}

fn last_frame(content: &[u8]) -> (usize, FrameHeader) {
    *frames(content, 64).last().expect("a segment has frames")
}

/// The footer with `change` done to it and its checksum made right.
fn with_footer(disk: &SimDisk, name: &str, change: impl FnOnce(&mut [u8])) -> SimDisk {
    let (changed, ()) = with(disk, name, |content| {
        let start = content.len() - FOOTER_LEN;
        change(&mut content[start..]);
        seal_footer(content);
    });
    changed
}

fn seal_footer(content: &mut [u8]) {
    let start = content.len() - FOOTER_LEN;
    let crc = crc32c(&content[start..start + FOOTER_LEN - 4]);
    content[start + FOOTER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
}

fn put(content: &mut [u8], at: usize, value: u64) {
    content[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Red when: `FrameReader::read` goes on when the file has not what it asked for (it then asks for ever).
#[test]
fn a_frame_that_claims_more_than_the_file_has_is_damage() {
    let disk = old_directory();
    let name = last_segment(&disk);
    let (at, header) = last_frame(&disk.content(&name));
    for more in [8_u32, 1024 * 1024, 200 * 1024 * 1024] {
        let (changed, ()) = with(&disk, &name, |content| {
            for field in [at + 8, at + 64] {
                let value = u32::from_le_bytes(content[field..field + 4].try_into().unwrap());
                content[field..field + 4].copy_from_slice(&(value + more).to_le_bytes());
            }
            seal_header(content, at);
        });
        assert_eq!(
            look_ends(&changed),
            Found::Broken(header.first_id.get()),
            "{more} bytes more"
        );
    }
}

/// Red when: `FrameReader::read` goes on when the file has not what it asked for.
#[test]
fn a_file_that_is_cut_off_under_a_reader_is_damage() {
    for name in [".segment", ".journal"] {
        let disk = old_directory();
        let opened = open_sim(&disk).unwrap();
        let (name, start) = files_with_frames(&disk)
            .into_iter()
            .rfind(|(found, _)| found.ends_with(name))
            .unwrap();
        let content = disk.content(&name);
        let (at, header) = *frames(&content, start).last().unwrap();
        for cut in [at, at + 100, at + 200, at + header.frame_len() - 1] {
            disk.tamper(&name, content[..cut].to_vec());
            let log = opened.log.clone();
            let read = answer(move || log.read(header.first_id, 1));
            assert!(matches!(read, Err(ReadError::Damaged(_))), "{name} cut at {cut}");
        }
    }
}

/// Red when: `FrameReader::read` gives an empty run at the end of a part; `take_frame` takes frames of other logs, or passes
/// over a frame that is missing.
#[test]
fn an_event_that_is_not_in_its_part_is_damage() {
    let disk = old_directory();
    let name = last_segment(&disk);
    for (at, header) in frames(&disk.content(&name), 64) {
        let (changed, ()) = with(&disk, &name, |content| {
            content[at + 16] ^= 1;
            seal_header(content, at);
        });
        let opened = open_sim(&changed).unwrap();
        let read = opened.log.read(header.first_id, 1);
        assert!(matches!(read, Err(ReadError::Damaged(_))), "another log's frame");
        assert_eq!(look_ends(&changed), Found::Broken(header.first_id.get()));
    }
}

/// Red when: `segment::open` adds up the footer's lengths without looking for an overflow.
#[test]
fn a_footer_with_impossible_lengths_is_damage() {
    let disk = old_directory();
    let name = last_segment(&disk);
    let len = disk.content(&name).len() as u64;
    let first = frames(&disk.content(&name), 64)[0].1.first_id.get();
    for rows in [u32::MAX, 1 << 24] {
        let offset = len
            .wrapping_sub(FOOTER_LEN as u64)
            .wrapping_sub(u64::from(rows) * 16);
        let changed = with_footer(&disk, &name, |footer| {
            put(footer, 120, offset);
            footer[128..132].copy_from_slice(&rows.to_le_bytes());
        });
        assert_eq!(look_ends(&changed), Found::Broken(first), "{rows} rows");
    }
}

/// Red when: `segment::open` takes an index as it is, or passes over its checksum.
#[test]
fn an_index_that_leads_astray_is_damage() {
    let disk = old_directory();
    let name = last_segment(&disk);
    let content = disk.content(&name);
    let footer = content.len() - FOOTER_LEN;
    let index = usize::try_from(u64::from_le_bytes(
        content[footer + 120..footer + 128].try_into().unwrap(),
    ))
    .unwrap();
    let first = u64::from_le_bytes(content[index..index + 8].try_into().unwrap());
    for (what, field, value) in [
        ("another first event", index, first + 1),
        ("a start behind the frames", index + 8, index as u64),
        ("a start inside a frame", index + 8, 72),
        ("another number of the last frame", footer + 112, 1),
    ] {
        let (changed, ()) = with(&disk, &name, |content| {
            put(content, field, value);
            let crc = crc32c(&content[index..footer]) ^ u32::from(field > footer);
            content[footer + 132..footer + 136].copy_from_slice(&crc.to_le_bytes());
            seal_footer(content);
        });
        assert_eq!(look_ends(&changed), Found::Broken(first), "{what}");
        assert!(matches!(open_sim(&changed), Err(OpenError::Damaged(_))), "{what}");
    }
}

/// A packed segment whose footer, table or block says something else, with its checksums made right: damage, never an answer.
/// Most of it is refused in more than one place.
///
/// Red when: `Block::expand` does not compare how long the bodies are with what the row says.
#[test]
fn a_packed_segment_that_says_something_else_is_damage() {
    let disk = directory();
    let name = segments(&disk).pop().unwrap();
    let content = disk.content(&name);
    let footer = content.len() - FOOTER_LEN;
    // Log, first and last event, hashes, table, rows.
    for field in [8, 24, 32, 40, 72, 120, 128] {
        for flip in [1, 0x80] {
            let changed = with_footer(&disk, &name, |footer| footer[field] ^= flip);
            assert!(
                matches!(look_ends(&changed), Found::Broken(_)),
                "footer, byte {field}"
            );
        }
    }
    let table = usize::try_from(u64::from_le_bytes(
        content[footer + 120..footer + 128].try_into().unwrap(),
    ))
    .unwrap();
    // First event, hash before, offset, length, bytes of bodies, checksum.
    for field in [0, 7, 16, 47, 48, 55, 56, 59, 60, 63, 64] {
        for flip in [1, 0x80] {
            let (changed, ()) = with(&disk, &name, |content| {
                content[table + field] ^= flip;
                let crc = crc32c(&content[table..table + 68]);
                content[table + 68..table + 72].copy_from_slice(&crc.to_le_bytes());
            });
            assert!(
                matches!(look_ends(&changed), Found::Broken(_)),
                "row, byte {field}"
            );
        }
    }
    // Each byte of the block, with the checksum in its row made right.
    for at in 64..table {
        let (changed, ()) = with(&disk, &name, |content| {
            content[at] ^= 0x20;
            let crc = crc32c(&content[64..table]);
            content[table + 64..table + 68].copy_from_slice(&crc.to_le_bytes());
            let crc = crc32c(&content[table..table + 68]);
            content[table + 68..table + 72].copy_from_slice(&crc.to_le_bytes());
        });
        assert!(
            matches!(look_ends(&changed), Found::Broken(_) | Found::Intact),
            "byte {at}"
        );
    }
}

/// Numbers at the end of their range are damage, not a panic.
///
/// Red when: `Footer::decode`, `HeadRecord::decode` or `Loader::take` takes a number that has no next one.
#[test]
fn numbers_at_their_limit_are_damage() {
    let disk = directory();
    let segment = last_segment(&disk);
    let packed = with_footer(&disk, &segment, |footer| put(footer, 112, u64::MAX));
    assert!(matches!(look_ends(&packed), Found::Broken(_)));
    let (journal, _) = files_with_frames(&disk)
        .into_iter()
        .find(|(name, _)| name.ends_with(".journal"))
        .unwrap();
    let packed_too = with_footer(&disk, &segment, |footer| put(footer, 112, u64::MAX - 1));
    let (numbered, ()) = with(&packed_too, &journal, |content| {
        put(content, 4096 + 40, u64::MAX);
        seal_header(content, 4096);
    });
    assert!(matches!(look_ends(&numbered), Found::Broken(_)));
    let (head, ()) = with(&disk, "head", |content| {
        put(content, 8, u64::MAX);
        let crc = crc32c(&content[..124]);
        content[124..128].copy_from_slice(&crc.to_le_bytes());
    });
    assert_eq!(look_ends(&head), Found::Residue, "reads as a damaged slot");
    open_sim(&head).unwrap();
}

/// Red when: `FrameHeader::decode` passes over the version, the flags, or lengths that contradict each other; `table` over
/// the table's checksum, the sum of the body lengths, the last hash or metadata that it does not know.
#[test]
fn a_frame_is_taken_only_as_it_was_written() {
    let disk = old_directory();
    let name = last_segment(&disk);
    let content = disk.content(&name);
    let (at, header) = last_frame(&content);
    let frame = &content[at..at + header.frame_len()];
    Frame::decode(frame).expect("as it was written");
    for (what, field, flip) in [
        ("version", 4, 3_u8),
        ("flags", 5, 1),
        ("length", 8, 8),
        ("number of events", 56, 1),
        ("bytes of metadata", 60, 8),
        ("bytes of bodies", 64, 8),
        ("last hash", 120, 1),
        ("checksum of the table", 152, 1),
        ("checksum of the bodies", 156, 1),
    ] {
        let mut changed = frame.to_vec();
        changed[field] ^= flip;
        seal_header(&mut changed, 0);
        assert!(Frame::decode(&changed).is_err(), "another {what}");
    }
    let decode = |frame: &[u8]| Frame::decode(frame).map(|frame| frame.header.count);
    let resized = |count: u32, meta: u32, bodies: u32| {
        let mut changed = frame.to_vec();
        let total = (192 + meta + count * 36 + bodies).next_multiple_of(8);
        for (field, value) in [(8, total), (56, count), (60, meta), (64, bodies)] {
            changed[field..field + 4].copy_from_slice(&value.to_le_bytes());
        }
        seal_header(&mut changed, 0);
        changed
    };
    assert_eq!(
        FrameHeader::decode(&resized(0, 0, 64)),
        Err(FrameFault::Lengths),
        "no event"
    );
    let large = resized(header.count, 0, 400 * 1024 * 1024);
    assert_eq!(FrameHeader::decode(&large), Err(FrameFault::Lengths), "too large");
    // A table whose bodies are longer than all bodies.
    let mut longer = frame.to_vec();
    longer[192] += 1;
    mend_checksums(&mut longer, 0);
    assert_eq!(decode(&longer), Err(FrameFault::Lengths));
    for (tag, expected) in [
        (0x0003_u16, Err(FrameFault::Metadata(3))),
        (0x8001, Ok(header.count)),
    ] {
        let mut tagged = resized(header.count, 8, header.bodies_len);
        let mut meta = tag.to_le_bytes().to_vec();
        meta.extend_from_slice(&2_u32.to_le_bytes());
        meta.extend_from_slice(&[7, 7]);
        tagged.splice(192..192, meta);
        mend_checksums(&mut tagged, 0);
        assert_eq!(decode(&tagged), expected, "metadata {tag:#06x}");
    }
}

/// A frame with right checksums that is not the one that belongs there is damage for whoever wants to write after it.
///
/// Red when: `Loader::take` does not compare one of: frame number, file number, log, first event, hash before.
#[test]
fn a_frame_out_of_its_place_is_damage() {
    let disk = directory();
    let (name, start) = files_with_frames(&disk)
        .into_iter()
        .rfind(|(name, _)| name.ends_with(".journal"))
        .unwrap();
    let (at, header) = frames(&disk.content(&name), start)[0];
    for (what, field) in [
        ("log", 16),
        ("file", 32),
        ("number", 40),
        ("first event", 48),
        ("hash before", 88),
    ] {
        let (changed, ()) = with(&disk, &name, |content| {
            content[at + field] ^= 0x40;
            seal_header(content, at);
        });
        assert_eq!(
            look_ends(&changed),
            Found::Broken(header.first_id.get()),
            "{what}"
        );
        assert!(matches!(open_sim(&changed), Err(OpenError::Damaged(_))), "{what}");
    }
}

/// Red when: `load_segments` does not compare a segment's first event, or the hash before it, with where the log is;
/// `segment::open` does not compare the log.
#[test]
fn a_segment_out_of_its_place_is_damage() {
    let disk = old_directory();
    let name = last_segment(&disk);
    let first = frames(&disk.content(&name), 64)[0].1.first_id.get();
    for (what, field) in [("log", 8), ("hash before", 40)] {
        let changed = with_footer(&disk, &name, |footer| footer[field] ^= 1);
        assert!(matches!(open_sim(&changed), Err(OpenError::Damaged(_))), "{what}");
    }
    let short = with_footer(&disk, &name, |footer| put(footer, 32, first - 1));
    assert_eq!(look_ends(&short), Found::Broken(first), "an end before the start");
    // All that names the first event says one more.
    let mut content = disk.content(&name);
    let footer = content.len() - FOOTER_LEN;
    let index = usize::try_from(u64::from_le_bytes(
        content[footer + 120..footer + 128].try_into().unwrap(),
    ))
    .unwrap();
    put(&mut content, index, first + 1);
    put(&mut content, footer + 24, first + 1);
    let crc = crc32c(&content[index..footer]);
    content[footer + 132..footer + 136].copy_from_slice(&crc.to_le_bytes());
    seal_footer(&mut content);
    let shifted = disk.fork();
    let digits = name.len() - ".segment".len() - 20;
    shifted
        .create(&format!("{}{:020}.segment", &name[..digits], first + 1))
        .unwrap()
        .write_at(&content, 0)
        .unwrap();
    shifted.tamper_remove(&name);
    assert_eq!(look_ends(&shifted), Found::Broken(first), "shifted by one event");
    assert!(matches!(open_sim(&shifted), Err(OpenError::Damaged(_))));
}

/// Without a head record that says so, a later frame shows that an earlier one was durable.
///
/// Red when: `proven_durable` passes over `durable_through`, or `headers_after` misses headers at the border of two blocks.
#[test]
fn what_a_later_frame_calls_durable_is_no_residue() {
    let journal = "journal/00000000000000000001.journal";
    let disk = SimDisk::new();
    let options = Options {
        journal_file_bytes: 3 * 1024 * 1024,
        backlog_files_max: 4,
        cache: annals_store_file::CacheBounds::DEFAULT,
    };
    let mut opened = open_on(Arc::new(disk.clone()), options).unwrap();
    for _ in 0..3 {
        let head = opened.log.head();
        commit_one(&mut opened, &head).unwrap();
    }
    drop(opened);
    let (damaged, ()) = with(&disk, journal, |content| content[4096 + 200] ^= 1);
    assert!(matches!(open_sim(&damaged), Err(OpenError::Damaged(_))));
    let (third, _) = frames(&disk.content(journal), 4096)[2];
    for at in [8192, 4096 + 1024 * 1024 - 100, 4096 + 2 * 1024 * 1024 - 191] {
        let (moved, ()) = with(&disk, journal, |content| {
            let header = content[third..third + 192].to_vec();
            content[4096..].fill(0);
            content[4096] = 1;
            content[at..at + 192].copy_from_slice(&header);
        });
        assert!(
            matches!(open_sim(&moved), Err(OpenError::Damaged(_))),
            "a header at {at}"
        );
    }
}

/// Red when: `end_of_file` takes what a newer version wrote for residue.
#[test]
fn what_a_newer_version_wrote_is_no_residue() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    let head = opened.log.head();
    commit_one(&mut opened, &head).unwrap();
    drop(opened);
    let journal = "journal/00000000000000000001.journal";
    let (newer, ()) = with(&disk, journal, |content| {
        content[4096 + 4] = 2;
        seal_header(content, 4096);
    });
    assert!(matches!(open_sim(&newer), Err(OpenError::Io(_))));
    assert!(!newer.files().iter().any(|name| name.starts_with("quarantine/")));
}

/// Red when: `take_some` does not compare a body with its hash, is asked for a frame of another log, or takes the end of the file for a failure of the disk.
#[test]
fn a_changed_body_in_a_large_frame_is_found_by_its_hash() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    let log = opened.log_id();
    let sealed = seal(
        &opened.log.head(),
        Micros(0),
        [&events::batch(1_000, 1)].into_iter(),
    );
    opened.journal.commit(&[LogBatch::new(log, &sealed)]).unwrap();
    let name = "journal/00000000000000000002.journal";
    let (at, header) = frames(&disk.content(name), 4096)[0];
    let before: usize = (0..499).map(|index| sealed.body(index).len()).sum();
    let (mut content, body) = (disk.content(name), at + header.bodies_start() + before);
    content[body + 15] ^= 1;
    disk.tamper(name, content);
    let found = opened.log.read(id(500), 1);
    assert!(matches!(found, Err(ReadError::Damaged(damage)) if damage.event == id(500)));
    assert_eq!(
        opened.log.read(id(501), 1).unwrap().get(0).unwrap().body,
        sealed.body(500)
    );
    let content = disk.content(name);
    let (foreign, ()) = with(&disk, name, |content| {
        content[at + 16] ^= 1;
        seal_header(content, at);
    });
    disk.tamper(name, foreign.content(name));
    assert!(
        matches!(opened.log.read(id(501), 1), Err(ReadError::Damaged(_))),
        "another log's"
    );
    // Cut off behind what the reader looks at first.
    disk.tamper(name, content[..at + header.frame_len() - 1_000].to_vec());
    let found = opened.log.read(id(1_000), 1);
    assert!(matches!(found, Err(ReadError::Damaged(_))), "{found:?}");
}

/// Red when: `read_manifests` does not compare a manifest's UUID with its directory.
#[test]
fn a_manifest_in_another_directory_is_refused() {
    let disk = directory();
    let name = disk
        .files()
        .into_iter()
        .find(|name| name.ends_with("manifest.json"))
        .unwrap();
    let copy = "logs/00000000-0000-4000-8000-000000000000";
    disk.create_dir(copy).unwrap();
    disk.create_dir(&format!("{copy}/segments")).unwrap();
    let file = disk.create(&format!("{copy}/manifest.json")).unwrap();
    file.write_at(&disk.content(&name), 0).unwrap();
    assert!(matches!(open_sim(&disk), Err(OpenError::Manifest { .. })));
}

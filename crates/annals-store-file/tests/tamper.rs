//! An attacker with write access to the directory: whatever is changed is found, at the right event, by a reader without
//! access to the server.

use annals_store::ReadLog;
use annals_store_file::frame::{FrameHeader, HEADER_LEN, ROW_LEN};
use annals_store_file::{DamagedDirectory, Examined, Place, examine_on, inspect_on};
use annals_testkit::simdisk::SimDisk;
use annals_verify::{Level, Verdict};

use crate::support::{open_sim, work};
use crate::version_1::old_directory;

const FIRST_FRAME: usize = 4096;
const FIRST_SEGMENT_FRAME: usize = 64;

/// What an outsider concludes from the directory.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Intact,
    /// Bytes behind the last frame are reported; no event is missing.
    Residue,
    /// An integrity failure at this event.
    Broken(u64),
    /// An integrity failure that is not known to hit an event.
    BrokenFile(Place),
    /// The directory can not be read: its description is damaged.
    Unreadable(String),
}

pub(crate) fn look(disk: &SimDisk) -> Found {
    let inspection = match examine_on(disk) {
        Ok(Examined::Whole(inspection)) => inspection,
        Ok(Examined::Damaged(damaged)) => return look_before(&damaged),
        Err(error) => return Found::Unreadable(error.to_string()),
    };
    match annals_verify::audit(
        &*inspection.log,
        None,
        &annals_verify::Options::new(Level::Full),
        &|_| {},
    ) {
        Verdict::Broken { at, .. } => Found::Broken(at.event.get()),
        Verdict::Incomplete { reason, .. } => Found::Unreadable(reason),
        Verdict::Intact { size, .. }
            if size.0 == EVENTS && inspection.residue.is_none() && inspection.notes.is_empty() =>
        {
            Found::Intact
        }
        Verdict::Intact { size, .. } if size.0 == EVENTS => Found::Residue,
        Verdict::Intact { size, .. } => panic!("{size} of {EVENTS} events are there and nobody complains"),
    }
}

/// An earlier event that the damage hides counts first.
fn look_before(damaged: &DamagedDirectory) -> Found {
    let options = annals_verify::Options::new(Level::Full);
    match annals_verify::audit(&*damaged.before, None, &options, &|_| {}) {
        Verdict::Broken { at, .. } => Found::Broken(at.event.get()),
        Verdict::Incomplete { reason, .. } => Found::Unreadable(reason),
        Verdict::Intact { size, .. } => match damaged.damage.event {
            Some(event) => {
                assert!(size.0 < event.get(), "{size} events before {}", damaged.damage);
                Found::Broken(event.get())
            }
            None => Found::BrokenFile(damaged.damage.place),
        },
    }
}

const BATCHES: u64 = 15;
pub(crate) const EVENTS: u64 = BATCHES * 3;

/// A directory with segments, an active and a prepared journal file, closed in order.
pub(crate) fn directory() -> SimDisk {
    let disk = SimDisk::new();
    let answers = work(&disk, BATCHES);
    assert_eq!(answers.acknowledged.len() as u64, EVENTS);
    let mut opened = open_sim(&disk).unwrap();
    annals_store::Journal::settle(&mut opened.journal).unwrap();
    drop(opened);
    assert_eq!(look(&disk), Found::Intact);
    disk
}

pub(crate) fn with<R>(disk: &SimDisk, name: &str, change: impl FnOnce(&mut Vec<u8>) -> R) -> (SimDisk, R) {
    let disk = disk.fork();
    let mut content = disk.content(name);
    let result = change(&mut content);
    disk.tamper(name, content);
    (disk, result)
}

/// The frames of a journal file or a segment: offset and header.
pub(crate) fn frames(content: &[u8], start: usize) -> Vec<(usize, FrameHeader)> {
    let mut at = start;
    let mut found = Vec::new();
    while let Some(header) = content.get(at..).and_then(|rest| FrameHeader::decode(rest).ok()) {
        found.push((at, header));
        at += header.frame_len();
    }
    found
}

/// Files that hold frames, with where these start.
pub(crate) fn files_with_frames(disk: &SimDisk) -> Vec<(String, usize)> {
    let start = |name: &str| {
        if name.ends_with(".segment") {
            FIRST_SEGMENT_FRAME
        } else {
            FIRST_FRAME
        }
    };
    let all = disk
        .files()
        .into_iter()
        .filter(|name| name.ends_with(".segment") || name.ends_with(".journal"));
    all.map(|name| (name.clone(), start(&name)))
        .filter(|(name, start)| !frames(&disk.content(name), *start).is_empty())
        .collect()
}

/// Where each event's body lies: file, range, event id.
pub(crate) fn bodies(disk: &SimDisk) -> Vec<(String, std::ops::Range<usize>, u64)> {
    let mut found = Vec::new();
    for (name, start) in files_with_frames(disk) {
        let content = disk.content(&name);
        for (at, header) in frames(&content, start) {
            let mut body_at = at + header.bodies_start();
            for index in 0..header.count as usize {
                let row = at + HEADER_LEN + index * ROW_LEN;
                let len = u32::from_le_bytes(content[row..row + 4].try_into().unwrap()) as usize;
                found.push((
                    name.clone(),
                    body_at..body_at + len,
                    header.first_id.get() + index as u64,
                ));
                body_at += len;
            }
        }
    }
    found
}

/// Makes the checksums of the frame at `at` right again, as an attacker who knows the format would.
pub(crate) fn mend_checksums(content: &mut [u8], at: usize) {
    let header = {
        // The header's own checksum first, so that its lengths can be read.
        seal_header(content, at);
        FrameHeader::decode(&content[at..]).unwrap()
    };
    let table = at + HEADER_LEN..at + header.bodies_start();
    let bodies = table.end..table.end + header.bodies_len as usize;
    let table_crc = crc32c(&content[table]);
    let bodies_crc = crc32c(&content[bodies]);
    content[at + 152..at + 156].copy_from_slice(&table_crc.to_le_bytes());
    content[at + 156..at + 160].copy_from_slice(&bodies_crc.to_le_bytes());
    seal_header(content, at);
}

pub(crate) fn seal_header(content: &mut [u8], at: usize) {
    let crc = crc32c(&content[at..at + HEADER_LEN - 4]);
    content[at + HEADER_LEN - 4..at + HEADER_LEN].copy_from_slice(&crc.to_le_bytes());
}

/// CRC-32C, bit by bit, sharing no code with the engine.
pub(crate) fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg())
        })
    })
}

/// Red when: `Frame::decode` passes over the padding; `FrameHeader::decode` over the header's checksum; `JournalFile::open`
/// compares less than the page; `HeadRecord::decode` passes over a slot's checksum or padding; a segment's `open` over its
/// start or the footer's checksum; a manifest's digest or exact text, or `FORMAT`'s, is not compared;
/// `Released::read` over its header.
#[test]
fn every_flipped_bit_is_found() {
    let disk = directory();
    for name in disk.files() {
        let content = disk.content(&name);
        let frames_end = frames(&content, FIRST_FRAME)
            .last()
            .map_or(0, |(at, header)| at + header.frame_len());
        let used = content
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1)
            .max(frames_end);
        // Every byte where there are many kinds of them, a sample of the rest.
        for at in (0..content.len()).filter(|at| *at < 64 || at % 5 == 0 || used.abs_diff(*at) < 300) {
            if at > used + 300 && at % 97 != 0 {
                continue;
            }
            let (changed, ()) = with(&disk, &name, |content| content[at] ^= 1 << (at % 8));
            let found = look(&changed);
            let in_order = match name.as_str() {
                // One damaged slot is what a crash leaves: reported, and the other one counts.
                "head" => found == Found::Residue,
                // Behind the last frame nothing is sealed.
                journal if journal.ends_with(".journal") && at >= used.max(FIRST_FRAME) => {
                    found == Found::Residue
                }
                "released" => found == Found::BrokenFile(Place::Released),
                "FORMAT" => matches!(
                    found,
                    // Another UUID: the first file that names the directory contradicts it.
                    Found::Unreadable(_) | Found::Broken(_) | Found::BrokenFile(Place::Released)
                ),
                manifest if manifest.ends_with("manifest.json") => matches!(found, Found::Unreadable(_)),
                // The file that is prepared holds no event.
                journal if journal.ends_with(".journal") && used <= FIRST_FRAME => {
                    matches!(found, Found::BrokenFile(Place::JournalFile { .. }))
                }
                _ => matches!(found, Found::Broken(_)),
            };
            assert!(in_order, "byte {at} of {name} ({used} used): {found:?}");
        }
    }
}

/// Red when: `first_damaged` gives the frame's first event; `proven_durable` is always false, or passes over what is known.
#[test]
fn a_changed_body_is_found_at_its_event() {
    let disk = old_directory();
    for (name, range, id) in bodies(&disk) {
        for at in [
            range.start,
            range.start + 20,
            (range.start + range.end) / 2,
            range.end - 1,
        ] {
            let (changed, ()) = with(&disk, &name, |content| content[at] ^= 0x01);
            assert_eq!(look(&changed), Found::Broken(id), "byte {at} of {name}");
        }
    }
}

/// With all checksums made right, the event's own hash tells; with that made right too, the next event's link, or the
/// frame's, or the head record does.
///
/// Red when: the verifier does not compare the body's hash with the stored one, or the link with the one before.
#[test]
fn checksums_that_were_made_right_do_not_help() {
    let disk = old_directory();
    for (name, start) in files_with_frames(&disk) {
        let content = disk.content(&name);
        for (at, header) in frames(&content, start) {
            for index in 0..u64::from(header.count) {
                let id = header.first_id.get() + index;
                let (_, range, _) = bodies(&disk)
                    .into_iter()
                    .find(|(.., found)| *found == id)
                    .unwrap();
                let (changed, ()) = with(&disk, &name, |content| {
                    let digit = content[range.clone()]
                        .windows(11)
                        .position(|part| part == b"\"timestamp\"")
                        .unwrap();
                    content[range.start + digit + 14] ^= 0x01;
                    mend_checksums(content, at);
                });
                assert_eq!(look(&changed), Found::Broken(id), "event {id}, body only");
                let (changed, ()) = with(&disk, &name, |content| {
                    let digit = content[range.clone()]
                        .windows(11)
                        .position(|part| part == b"\"timestamp\"")
                        .unwrap();
                    content[range.start + digit + 14] ^= 0x01;
                    let hash = annals_core::hash::EventHash::of(&content[range.clone()]);
                    let row = at + HEADER_LEN + usize::try_from(index).unwrap() * ROW_LEN;
                    content[row + 4..row + 36].copy_from_slice(&hash.0);
                    if index + 1 == u64::from(header.count) {
                        content[at + 120..at + 152].copy_from_slice(&hash.0);
                    }
                    mend_checksums(content, at);
                });
                let found = look(&changed);
                // The last event's hash is what the head record's digest covers.
                let last_frame = header.last_id().get() == EVENTS;
                let expected = if last_frame { header.first_id.get() } else { id + 1 };
                assert_eq!(found, Found::Broken(expected), "event {id}, body and hash");
            }
        }
    }
}

/// Red when: `Loader::take` does not compare frame numbers (delete, swap, repeat).
#[test]
fn frames_that_are_deleted_swapped_repeated_or_shifted_are_found() {
    let disk = old_directory();
    for (name, start) in files_with_frames(&disk) {
        let content = disk.content(&name);
        let all = frames(&content, start);
        for (index, (at, header)) in all.iter().enumerate() {
            let (at, len, first) = (*at, header.frame_len(), header.first_id.get());
            let (deleted, ()) = with(&disk, &name, |content| {
                content.drain(at..at + len);
                content.extend(std::iter::repeat_n(0, len));
            });
            assert!(
                matches!(look(&deleted), Found::Broken(id) if id <= first),
                "frame {first} of {name} deleted: {:?}",
                look(&deleted)
            );
            let (blanked, ()) = with(&disk, &name, |content| content[at..at + len].fill(0));
            assert_eq!(
                look(&blanked),
                Found::Broken(first),
                "frame {first} of {name} blanked"
            );
            let (shifted, ()) = with(&disk, &name, |content| content.insert(at, 0x20));
            assert!(
                matches!(look(&shifted), Found::Broken(id) if id <= first),
                "a byte before frame {first} of {name}"
            );
            let (repeated, ()) = with(&disk, &name, |content| {
                let copy = content[at..at + len].to_vec();
                content.splice(at..at, copy);
            });
            assert!(
                matches!(look(&repeated), Found::Broken(id) if id <= first + 3),
                "frame {first} of {name} repeated"
            );
            if let Some((next_at, next)) = all.get(index + 1) {
                let (swapped, ()) = with(&disk, &name, |content| {
                    let second = content[*next_at..*next_at + next.frame_len()].to_vec();
                    let one = content[at..at + len].to_vec();
                    content.splice(at..next_at + next.frame_len(), second.into_iter().chain(one));
                });
                assert!(
                    matches!(look(&swapped), Found::Broken(id) if id <= first),
                    "frames {first} and next of {name} swapped"
                );
            }
        }
    }
}

/// Red when: `finish` does not compare the last frame with what was durable.
#[test]
fn a_cut_off_tail_is_found_wherever_it_is_cut() {
    let disk = directory();
    let (name, start) = files_with_frames(&disk)
        .into_iter()
        .rfind(|(name, _)| name.ends_with(".journal"))
        .unwrap();
    let content = disk.content(&name);
    for (at, header) in frames(&content, start) {
        for cut in [
            at,
            at + 1,
            at + HEADER_LEN,
            at + header.bodies_start() + 3,
            at + header.frame_len() - 1,
        ] {
            let (zeroed, ()) = with(&disk, &name, |content| content[cut..].fill(0));
            if zeroed.content(&name) == content {
                continue;
            }
            let Found::Broken(id) = look(&zeroed) else {
                panic!("zeros from byte {cut}")
            };
            // The frame's last byte may be padding: then it is the next frame that is missing.
            assert!(
                (header.first_id.get()..=header.last_id().get() + 1).contains(&id),
                "zeros from byte {cut}: event {id}"
            );
            let (cut_off, ()) = with(&disk, &name, |content| content.truncate(cut));
            assert!(matches!(look(&cut_off), Found::Broken(_)), "cut at byte {cut}");
        }
    }
}

/// Red when: `load_segments` does not compare where a segment starts (the directory then opens for writing), or `head::read`
/// takes a missing file as fine.
#[test]
fn files_that_are_missing_are_found() {
    let disk = directory();
    let last = disk
        .files()
        .into_iter()
        .rfind(|name| name.ends_with(".journal"))
        .unwrap();
    for name in disk.files() {
        // The prepared file holds nothing; without it, one is made again.
        if name == last {
            continue;
        }
        let changed = disk.fork();
        changed.tamper_remove(&name);
        let found = look(&changed);
        assert!(
            matches!(found, Found::Broken(_) | Found::Unreadable(_))
                || name == "head" && found == Found::BrokenFile(Place::HeadRecord)
                || name == "released" && found == Found::BrokenFile(Place::Released),
            "{name} removed: {found:?}"
        );
        assert!(
            open_sim(&changed).is_err() || name == "FORMAT",
            "{name} removed, and it opens for writing"
        );
    }
    let (both, ()) = with(&disk, "head", |content| {
        content[10] ^= 1;
        content[4096 + 10] ^= 1;
    });
    assert_eq!(look(&both), Found::BrokenFile(Place::HeadRecord));
}

/// The window that is left open, as docs/format.md has it: what was committed after the last settling or commit can be cut
/// off without a trace in the directory. A checkpoint held elsewhere closes it.
#[test]
fn the_documented_window() {
    let disk = directory();
    let mut opened = open_sim(&disk).unwrap();
    let head = opened.log.head();
    crate::support::commit_one(&mut opened, &head).unwrap();
    let held = annals_verify::Checkpoint {
        event_id: opened.log.head().size.last().unwrap(),
        hash: opened.log.head().hash,
    };
    drop(opened);
    let (name, start) = files_with_frames(&disk)
        .into_iter()
        .rfind(|(name, _)| name.ends_with(".journal"))
        .unwrap();
    let (at, _) = *frames(&disk.content(&name), start).last().unwrap();
    let (cut, ()) = with(&disk, &name, |content| content[at..].fill(0));
    assert_eq!(look(&cut), Found::Intact);
    let inspection = inspect_on(&cut).unwrap();
    let verdict = annals_verify::audit(
        &*inspection.log,
        Some(&held),
        &annals_verify::Options::new(Level::Full),
        &|_| {},
    );
    assert!(matches!(verdict, Verdict::Broken { .. }), "{verdict:?}");
}

/// What lies before a damaged event in its frame can still be read; the event itself, and reading on from it, is damage.
///
/// Red when: `take_whole` refuses the whole frame (`event <= self.next` becomes true).
#[test]
fn events_before_a_damaged_one_are_readable() {
    let disk = old_directory();
    let packed = |name: &str| name.ends_with(".segment");
    let mut all = bodies(&disk).into_iter();
    let (name, range, id) = all.find(|(name, _, id)| packed(name) && id % 3 == 0).unwrap();
    let (changed, ()) = with(&disk, &name, |content| content[range.start + 20] ^= 1);
    let log = inspect_on(&changed).unwrap().log;
    let run = log.read(crate::support::id(id - 1), 1 << 20).unwrap();
    assert_eq!(run.len(), 1);
    let damage = log.read(crate::support::id(id), 1 << 20).unwrap_err().to_string();
    assert!(damage.contains(&format!("event {id}:")), "{damage}");
}

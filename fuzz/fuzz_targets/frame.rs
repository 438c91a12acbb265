//! Any bytes as a frame, and as a piece of a journal file: never a panic, and damage is told from residue.
#![no_main]

use std::sync::{Arc, OnceLock};

use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{Journal, LogBatch, ReadLog};
use annals_store_file::frame::Frame;
use annals_store_file::{OpenError, Options, inspect_on, open_on};
use annals_testkit::{events, simdisk::SimDisk};
use libfuzzer_sys::fuzz_target;

const JOURNAL: &str = "journal/00000000000000000001.journal";
const FRAMES_START: usize = 4096;
const FILE_LEN: usize = FRAMES_START + 8 * 1024;

fuzz_target!(|input: &[u8]| {
    if let Ok(frame) = Frame::decode(input) {
        let total: usize = frame.events().map(|(body, _)| body.len()).sum();
        assert_eq!(total, frame.bodies.len());
        assert_eq!(frame.events().count(), frame.header.count as usize);
        assert!(frame.header.frame_len() <= input.len());
    }
    if let Some((place, bytes)) = input.split_first_chunk::<2>() {
        overwrite(usize::from(u16::from_le_bytes(*place)), bytes);
    }
});

/// A directory with a few settled events, and where its frames end.
fn directory() -> &'static (SimDisk, usize) {
    static DIRECTORY: OnceLock<(SimDisk, usize)> = OnceLock::new();
    DIRECTORY.get_or_init(|| {
        let disk = SimDisk::new();
        let options = Options {
            journal_file_bytes: FILE_LEN as u64,
            backlog_files_max: 4,
            ..Options::default()
        };
        let mut opened = open_on(Arc::new(disk.clone()), options).expect("opens");
        let log = opened.log_id();
        for round in 0..3 {
            let sealed = seal(
                &opened.log.head(),
                Micros(0),
                [&events::batch(2, round)].into_iter(),
            );
            opened
                .journal
                .commit(&[LogBatch::new(log, &sealed)])
                .expect("commits");
        }
        opened.journal.settle().expect("settles");
        drop(opened);
        let end = disk
            .content(JOURNAL)
            .iter()
            .rposition(|byte| *byte != 0)
            .expect("it has frames")
            + 1;
        (disk, end.next_multiple_of(8))
    })
}

fn overwrite(place: usize, bytes: &[u8]) {
    let (pristine, frames_end) = directory();
    let mut content = pristine.content(JOURNAL);
    let start = (FRAMES_START + place).min(content.len());
    let end = (start + bytes.len()).min(content.len());
    let before = content.clone();
    content[start..end].copy_from_slice(&bytes[..end - start]);
    let durable_changed = content[..*frames_end] != before[..*frames_end];
    let disk = pristine.fork();
    disk.tamper(JOURNAL, content);
    match inspect_on(&disk) {
        Err(OpenError::Damaged(_)) => assert!(durable_changed || end > *frames_end),
        Ok(found) => assert!(!durable_changed && found.log.head().size.0 == 6),
        // A frame that says it is newer is not called damaged.
        Err(OpenError::Io(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

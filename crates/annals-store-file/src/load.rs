//! Looking at what is stored: the one way by which start, recovery and the offline verifier read a data directory.
//!
//! Loading changes nothing. It takes every frame that is complete and in its place, in order, from the segments and then
//! from the journal files, and stops at the first that is not. What it stops at is *residue* of a crash if nothing shows
//! that it was ever durable, and damage otherwise. Shown to be durable is every frame up to the highest of: the head
//! record; `durable_through` of any frame, also of frames behind the damage; the last frame of a segment.
//!
//! A frame that is complete but out of its place (another number, another head) is damage wherever it stands: no crash
//! makes one.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use annals_core::chain::{EventId, Head, LogId};
use annals_store::Damage;
use uuid::Uuid;

use crate::disk::Disk;
use crate::error::OpenError;
use crate::frame::{FrameFault, FrameHeader};
use crate::head::{self, HeadRecord, HeadSlots};
use crate::journal_file::{JournalFile, Step, Walk};
use crate::layout::{self, JOURNAL_DIR, Manifest, journal_file_name, numbered, segments_dir};
use crate::segment;
use crate::view::{Part, first_damaged, place};

/// Everything that is stored, as far as it is in order.
pub(crate) struct Loaded {
    pub(crate) directory: Uuid,
    pub(crate) logs: Vec<LoadedLog>,
    /// All journal files, ascending; those after `active` are prepared and empty.
    pub(crate) files: Vec<JournalFile>,
    /// Index in `files` of the file that takes the next frame.
    pub(crate) active: usize,
    /// Where the next frame goes in the active file.
    pub(crate) active_end: u64,
    /// Number of the last frame, 0 when there is none.
    pub(crate) last_frame: u64,
    pub(crate) last_header_digest: [u8; 32],
    /// Every frame up to this number was known to be durable before this load.
    pub(crate) known_durable: u64,
    /// Complete frames above `known_durable`: index of the file, offset, length.
    pub(crate) unproven: Vec<(usize, u64, usize)>,
    /// What a crash left behind the last frame.
    pub(crate) residue: Option<Residue>,
    pub(crate) slots: HeadSlots,
}

pub(crate) struct LoadedLog {
    pub(crate) manifest: Manifest,
    pub(crate) head: Head,
    /// The head at the end of the segments.
    pub(crate) packed: Head,
    pub(crate) parts: Vec<Part>,
}

/// Bytes behind the last complete frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Residue {
    /// Index in `files`.
    pub(crate) file: usize,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) fault: FrameFault,
}

/// Whether files are opened for writing as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    Write,
}

/// Looks at a data directory.
pub(crate) fn load(disk: &dyn Disk, access: Access) -> Result<Loaded, OpenError> {
    let format = layout::read_format(disk)?.ok_or(OpenError::NoData)?;
    let manifests = layout::read_manifests(disk)?;
    // The order matters to a reader beside a live writer: the head record first, since the journal then holds at least
    // what it names; journal files before segments, since a segment has its name before its journal file is removed.
    let slots = head::read(disk)?;
    let files = open_journal(disk, format.directory, access)?;
    let mut loader = Loader::new(disk, format.directory, slots, files)?;
    for manifest in manifests {
        loader.load_segments(disk, manifest)?;
    }
    loader.walk_journal()?;
    loader.finish()
}

/// Journal files as found, with the numbers whose header page is damaged.
struct OpenedJournal {
    files: Vec<JournalFile>,
    damaged: Option<u64>,
}

fn open_journal(disk: &dyn Disk, directory: Uuid, access: Access) -> Result<OpenedJournal, OpenError> {
    let mut opened = OpenedJournal {
        files: Vec::new(),
        damaged: None,
    };
    for number in numbered(disk, JOURNAL_DIR, ".journal")? {
        match JournalFile::open(disk, directory, number, access == Access::Write) {
            Ok(Some(file)) => opened.files.push(file),
            Ok(None) => opened.damaged = opened.damaged.or(Some(number)),
            // Packed and removed since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound && access == Access::Read => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(opened)
}

struct Loader {
    loaded: Loaded,
    by_id: HashMap<LogId, usize>,
    damaged_file: Option<u64>,
    /// Number that the next frame must have, once one is known.
    next: Option<u64>,
    /// Highest last frame of a segment.
    packed_through: u64,
    /// Frames walked, with their place, kept until it is known which are proven.
    walked: Vec<(u64, usize, u64, usize)>,
}

impl Loader {
    fn new(
        disk: &dyn Disk,
        directory: Uuid,
        slots: HeadSlots,
        journal: OpenedJournal,
    ) -> Result<Self, OpenError> {
        // Surfaces an unreadable directory as what it is, before anything is concluded from its being empty.
        disk.list(JOURNAL_DIR)?;
        let newest = slots.newest.map_or(0, |record| record.frame);
        let loaded = Loaded {
            directory,
            logs: Vec::new(),
            files: journal.files,
            active: 0,
            active_end: crate::journal_file::FRAMES_START,
            last_frame: 0,
            last_header_digest: [0; 32],
            known_durable: newest,
            unproven: Vec::new(),
            residue: None,
            slots,
        };
        Ok(Self {
            loaded,
            by_id: HashMap::new(),
            damaged_file: journal.damaged,
            next: None,
            packed_through: 0,
            walked: Vec::new(),
        })
    }

    fn load_segments(&mut self, disk: &dyn Disk, manifest: Manifest) -> Result<(), OpenError> {
        let log = manifest.log_id();
        let mut head = Head::EMPTY;
        let mut parts: Vec<Part> = Vec::new();
        for number in numbered(disk, &segments_dir(log), ".segment")? {
            let first = EventId::new(number).unwrap_or(EventId::FIRST);
            let (footer, part) = segment::open(disk, log, first)?;
            if footer.first != head.size.next() || footer.prev_hash != head.hash {
                let what = format!(
                    "the segment follows event {}, the one before it ends elsewhere",
                    first.get() - 1
                );
                return Err(Damage {
                    event: head.size.next(),
                    place: part.name.to_string(),
                    what,
                }
                .into());
            }
            head = footer.after;
            self.packed_through = self.packed_through.max(footer.last_frame);
            self.loaded.last_frame = self.packed_through;
            parts.push(part);
        }
        self.by_id.insert(log, self.loaded.logs.len());
        self.loaded.logs.push(LoadedLog {
            manifest,
            head,
            packed: head,
            parts,
        });
        Ok(())
    }

    fn walk_journal(&mut self) -> Result<(), OpenError> {
        self.loaded.known_durable = self.loaded.known_durable.max(self.packed_through);
        self.check_file_numbers()?;
        for index in 0..self.loaded.files.len() {
            let mut walk = self.loaded.files[index].walk();
            loop {
                match walk.next()? {
                    Step::Frame {
                        offset,
                        header,
                        header_bytes,
                    } => {
                        let digest = HeadRecord::digest(&header_bytes);
                        if self.contradicts_head_record(&header, &digest) {
                            let event = first_damaged(&header, walk.bytes(offset, header.frame_len())?);
                            let what = "the frame is not the one that the head record names".to_owned();
                            let place = place(&self.loaded.files[index].name(), offset);
                            return Err(Damage { event, place, what }.into());
                        }
                        self.take(index, offset, &header, digest)?;
                    }
                    Step::End {
                        offset,
                        fault,
                        header,
                    } => {
                        if !self.end_of_file(index, offset, fault, header, &mut walk)? {
                            return Ok(());
                        }
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    fn check_file_numbers(&self) -> Result<(), OpenError> {
        if let Some(number) = self.damaged_file {
            return Err(self
                .damage(
                    &journal_file_name(number),
                    0,
                    "the journal file's header is damaged",
                )
                .into());
        }
        if self.loaded.files.is_empty() {
            return Err(self.damage(JOURNAL_DIR, 0, "the journal has no file").into());
        }
        for pair in self.loaded.files.windows(2) {
            if pair[1].number != pair[0].number + 1 {
                let missing = journal_file_name(pair[0].number + 1);
                return Err(self.damage(&missing, 0, "the journal file is missing").into());
            }
        }
        Ok(())
    }

    /// True when the head record names this frame and another header.
    fn contradicts_head_record(&self, header: &FrameHeader, digest: &[u8; 32]) -> bool {
        let record = self
            .loaded
            .slots
            .newest
            .filter(|record| record.frame == header.number);
        record.is_some_and(|record| record.header_digest != *digest)
    }

    /// Takes a frame whose checksums are right: it must be the one that belongs here.
    fn take(
        &mut self,
        index: usize,
        offset: u64,
        header: &FrameHeader,
        digest: [u8; 32],
    ) -> Result<(), OpenError> {
        let file = self.loaded.files[index].clone();
        let name = file.name();
        let in_sequence = match self.next {
            Some(next) => header.number == next,
            // Files up to the packed frames may have been removed, none after them.
            None => header.number <= self.packed_through + 1,
        };
        if !in_sequence || header.number == u64::MAX || header.file != file.number {
            return Err(self
                .damage(&name, offset, "the frame is not the one that belongs here")
                .into());
        }
        let Some(log) = self.by_id.get(&header.log).map(|at| &mut self.loaded.logs[*at]) else {
            return Err(self
                .damage(&name, offset, "the frame belongs to a log that has no manifest")
                .into());
        };
        if !log.head.size.contains(header.last_id()) {
            if header.first_id != log.head.size.next() || header.prev_hash != log.head.hash {
                let what = "the frame does not follow the log's last event";
                return Err(Damage {
                    event: log.head.size.next(),
                    place: place(&name, offset),
                    what: what.into(),
                }
                .into());
            }
            match log.parts.last_mut() {
                Some(part) if part.journal == Some(file.number) => part.extend(header, offset),
                _ => log.parts.push(Part::starting(
                    file.number,
                    name.into(),
                    Arc::clone(&file.file),
                    header,
                    offset,
                )),
            }
            log.head = header.after();
        }
        self.next = Some(header.number + 1);
        self.loaded.known_durable = self.loaded.known_durable.max(header.durable_through);
        self.loaded.last_frame = header.number;
        self.loaded.last_header_digest = digest;
        self.loaded.active = index;
        self.loaded.active_end = offset + header.frame_len() as u64;
        self.walked
            .push((header.number, index, offset, header.frame_len()));
        Ok(())
    }

    /// What to make of the end of a file's frames. True: the file ends cleanly, the next one may go on.
    fn end_of_file(
        &mut self,
        index: usize,
        offset: u64,
        fault: FrameFault,
        header: Option<FrameHeader>,
        walk: &mut Walk,
    ) -> Result<bool, OpenError> {
        let file = self.loaded.files[index].clone();
        let Some(to) = file.last_written(offset)? else {
            return Ok(true);
        };
        if let FrameFault::Version(_) | FrameFault::Metadata(_) = fault {
            return Err(OpenError::Io(io::Error::other(format!(
                "{} at byte {offset}: {fault}",
                file.name()
            ))));
        }
        let expected = self.next.unwrap_or(self.packed_through + 1);
        if self.proven_durable(index, offset, expected)? {
            let event = match header.filter(|header| header.number == expected) {
                Some(header) => first_damaged(&header, walk.bytes(offset, header.frame_len())?),
                None => self.next_event(),
            };
            return Err(Damage {
                event,
                place: place(&file.name(), offset),
                what: fault.to_string(),
            }
            .into());
        }
        self.loaded.residue = Some(Residue {
            file: index,
            from: offset,
            to,
            fault,
        });
        self.loaded.active = index;
        self.loaded.active_end = offset;
        Ok(false)
    }

    /// Whether frame `expected`, which should start at `offset`, was ever durable.
    fn proven_durable(&self, index: usize, offset: u64, expected: u64) -> Result<bool, OpenError> {
        if self.loaded.known_durable >= expected {
            return Ok(true);
        }
        let rest = &self.loaded.files[index..];
        for (file, from) in rest
            .iter()
            .zip(std::iter::once(offset).chain(std::iter::repeat(0)))
        {
            let headers = file.headers_after(from)?;
            // A later file is begun only when the one before it is durable to its end: any frame in it will do.
            let later = file.number != rest[0].number;
            let proves = |header: &FrameHeader| {
                header.file == file.number && (later || header.durable_through >= expected)
            };
            if headers.iter().any(proves) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn finish(mut self) -> Result<Loaded, OpenError> {
        let Some(record) = self.loaded.slots.newest else {
            return Err(self
                .damage(
                    layout::HEAD_FILE,
                    0,
                    "neither slot of the head record can be read",
                )
                .into());
        };
        if self.loaded.known_durable > self.loaded.last_frame {
            let what = format!(
                "the journal ends at frame {}, but frame {} was durable",
                self.loaded.last_frame, self.loaded.known_durable
            );
            let file = &self.loaded.files[self.loaded.active];
            return Err(self.damage(&file.name(), self.loaded.active_end, &what).into());
        }
        if self.walked.is_empty() && record.frame == self.loaded.last_frame {
            self.loaded.last_header_digest = record.header_digest;
        }
        let known = self.loaded.known_durable;
        let unproven = self.walked.iter().filter(|(number, ..)| *number > known);
        self.loaded.unproven = unproven
            .map(|(_, file, offset, len)| (*file, *offset, *len))
            .collect();
        Ok(self.loaded)
    }

    /// The first event that is not accounted for.
    fn next_event(&self) -> EventId {
        self.loaded
            .logs
            .first()
            .map_or(EventId::FIRST, |log| log.head.size.next())
    }

    fn damage(&self, name: &str, offset: u64, what: &str) -> Damage {
        Damage {
            event: self.next_event(),
            place: place(name, offset),
            what: what.to_owned(),
        }
    }
}

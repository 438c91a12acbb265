//! Looking at what is stored: the one way by which start, recovery and the offline verifier read a data directory.
//!
//! Loading changes nothing. It takes every frame that is complete and in its place, in order, from the segments and then
//! from the journal files, and stops at the first that is not. What it stops at is *residue* of a crash if nothing shows
//! that it was ever durable, and damage otherwise. Shown to be durable is every frame up to the highest of: the head
//! record; `durable_through` of any frame, also of frames behind the damage; the last frame of a segment.
//!
//! A frame that is complete but out of its place (another number, another head) is damage wherever it stands: no crash
//! makes one.
//!
//! Damage ends the loading of what lies behind it. What lies before it stays readable, so that an auditor can tell how much
//! of the log is intact; nobody writes to such a directory.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_store::{CellBounds, CellTable};
use uuid::Uuid;

use crate::damage::{Place, StoreDamage};
use crate::disk::Disk;
use crate::error::OpenError;
use crate::frame::{FrameFault, FrameHeader};
use crate::frame_reader::first_damaged;
use crate::head::{self, HeadRecord, HeadSlots};
use crate::journal_file::{Found, JournalFile, Step, Walk};
use crate::layout::{self, FORMAT_VERSION_1, Format, JOURNAL_DIR, Manifest, numbered};
use crate::released::Released;
use crate::segments::{SegmentChain, SegmentFiles};
use crate::view::Part;

/// What a data directory holds.
pub(crate) enum Load {
    /// All of it is in order, but for what a crash may leave.
    Whole(Loaded),
    /// Something that was durable is damaged.
    Damaged {
        damage: StoreDamage,
        /// What was read before it.
        before: Loaded,
    },
}

impl Load {
    /// All that is stored, or the damage: for who goes on with it.
    pub(crate) fn whole(self) -> Result<Loaded, OpenError> {
        match self {
            Self::Whole(loaded) => Ok(loaded),
            Self::Damaged { damage, .. } => Err(damage.into()),
        }
    }
}

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
    /// Version of the directory's layout.
    pub(crate) format: u32,
    /// What was known when the journal gave up its last file.
    pub(crate) released: Released,
    /// What the cells of all frames left.
    pub(crate) cells: CellTable,
}

pub(crate) struct LoadedLog {
    pub(crate) manifest: Manifest,
    pub(crate) head: Head,
    /// The head at the end of the segments.
    pub(crate) packed: Head,
    pub(crate) parts: Vec<Part>,
    /// Names of segments whose events are all in a segment before them: what a crash leaves of a join.
    pub(crate) covered: Vec<String>,
}

impl LoadedLog {
    /// Adds the frame at `offset` to what can be read.
    fn extend(&mut self, file: &JournalFile, header: &FrameHeader, offset: u64) {
        match self.parts.last_mut() {
            Some(Part::Frames(part)) if part.journal == Some(file.number) => part.extend(header, offset),
            _ => self.parts.push(Part::starting(
                file.number,
                file.name().into(),
                Arc::clone(&file.file),
                header,
                offset,
            )),
        }
    }
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

/// Looks at a data directory. Damage is no error: it is what was found.
pub(crate) fn load(segments: &Arc<SegmentFiles>, access: Access) -> Result<Load, OpenError> {
    let disk = &**segments.disk();
    let format = layout::read_format(disk)?.ok_or(OpenError::NoData)?;
    let manifests = layout::read_manifests(disk)?;
    // The order matters to a reader beside a live writer: the head record first, since the journal then holds at least
    // what it names; journal files before segments, and before what is known of released ones, since both have their names
    // before a journal file is removed.
    let slots = head::read(disk)?;
    let files = open_journal(disk, format.directory, access)?;
    let mut loader = Loader::new(format, slots, files);
    let loaded = loader
        .load_all_segments(segments, manifests)
        .and_then(|()| loader.load_released(disk))
        .and_then(|()| loader.walk_journal())
        .and_then(|()| loader.finish());
    let before = loader.loaded;
    match loaded {
        Ok(()) => Ok(Load::Whole(before)),
        Err(OpenError::Damaged(damage)) => Ok(Load::Damaged { damage, before }),
        Err(error) => Err(error),
    }
}

/// Journal files as found: those whose header page is right, and the first whose is not.
struct OpenedJournal {
    files: Vec<JournalFile>,
    damaged: Option<JournalFile>,
}

/// Where the journal files do not follow one another.
struct Gap {
    /// How many files lie before it.
    files: usize,
    place: Place,
    what: &'static str,
}

fn open_journal(disk: &dyn Disk, directory: Uuid, access: Access) -> Result<OpenedJournal, OpenError> {
    let mut opened = OpenedJournal {
        files: Vec::new(),
        damaged: None,
    };
    // Surfaces an unreadable directory as what it is, before anything is concluded from its being empty.
    disk.list(JOURNAL_DIR)?;
    for number in numbered(disk, JOURNAL_DIR, ".journal")? {
        match JournalFile::open(disk, directory, number, access == Access::Write) {
            Ok(Found::Sound(file)) => opened.files.push(file),
            Ok(Found::Damaged(file)) => opened.damaged = opened.damaged.or(Some(file)),
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
    damaged_file: Option<JournalFile>,
    /// Number that the next frame must have, once one is known.
    next: Option<u64>,
    /// Highest last frame of a segment.
    packed_through: u64,
    /// Frames walked, with their place, kept until it is known which are proven.
    walked: Vec<(u64, usize, u64, usize)>,
}

impl Loader {
    fn new(format: Format, slots: HeadSlots, journal: OpenedJournal) -> Self {
        // Without a record, how far the journal went is known only from what it says itself.
        let newest = slots.newest.map_or(0, |record| record.frame);
        let loaded = Loaded {
            directory: format.directory,
            format: format.version,
            released: Released::without_cells(0, CellBounds::default()),
            cells: CellTable::default(),
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
        Self {
            loaded,
            by_id: HashMap::new(),
            damaged_file: journal.damaged,
            next: None,
            packed_through: 0,
            walked: Vec::new(),
        }
    }

    /// The segments of every log, also when those of one are damaged.
    fn load_all_segments(
        &mut self,
        segments: &Arc<SegmentFiles>,
        manifests: Vec<Manifest>,
    ) -> Result<(), OpenError> {
        let mut result = Ok(());
        for manifest in manifests {
            let mut log = LoadedLog {
                manifest,
                head: Head::EMPTY,
                packed: Head::EMPTY,
                parts: Vec::new(),
                covered: Vec::new(),
            };
            let loaded = self.load_segments(segments, &mut log);
            self.by_id.insert(log.manifest.log_id(), self.loaded.logs.len());
            self.loaded.logs.push(log);
            result = result.and(loaded);
        }
        result
    }

    fn load_segments(&mut self, segments: &Arc<SegmentFiles>, into: &mut LoadedLog) -> Result<(), OpenError> {
        let mut chain = SegmentChain::default();
        let loaded = segments.chain(into.manifest.log_id(), &mut chain);
        (into.head, into.packed) = (chain.head, chain.head);
        self.packed_through = self.packed_through.max(chain.last_frame);
        self.loaded.last_frame = self.packed_through;
        into.parts = chain.parts;
        into.covered = chain.covered;
        loaded
    }

    /// How far the journal was given up. A directory of the first format has no file for it: there, frames were given up as far
    /// as they are packed, and had no cells.
    fn load_released(&mut self, disk: &dyn Disk) -> Result<(), OpenError> {
        let bounds = CellBounds::default();
        self.loaded.released = match self.loaded.format {
            FORMAT_VERSION_1 => Released::without_cells(self.packed_through, bounds),
            _ => Released::read(disk, self.loaded.directory, bounds)?,
        };
        self.loaded.cells = self.loaded.released.cells.clone();
        self.loaded.known_durable = self.loaded.known_durable.max(self.loaded.released.frame);
        Ok(())
    }

    fn walk_journal(&mut self) -> Result<(), OpenError> {
        self.loaded.known_durable = self.loaded.known_durable.max(self.packed_through);
        let gap = self.first_gap();
        self.walk_files(gap.as_ref().map_or(self.loaded.files.len(), |gap| gap.files))?;
        let Some(Gap { files, place, what }) = gap else {
            return Ok(());
        };
        let event = self.is_missed(files)?.then(|| self.next_event()).flatten();
        let what = what.to_owned();
        Err(StoreDamage { event, place, what }.into())
    }

    /// Walks the first `count` files, or as far as their frames go.
    fn walk_files(&mut self, count: usize) -> Result<(), OpenError> {
        for index in 0..count {
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
                            return Err(StoreDamage {
                                event: Some(event),
                                place: self.loaded.files[index].place(offset),
                                what,
                            }
                            .into());
                        }
                        self.take(index, offset, &header, digest)?;
                        self.take_cells(&header, &mut walk, offset)?;
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

    /// The first place at which a journal file is not there, or not usable.
    fn first_gap(&self) -> Option<Gap> {
        let files = &self.loaded.files;
        let missing = files
            .windows(2)
            .position(|pair| pair[1].number != pair[0].number + 1)
            .map(|at| (at + 1, files[at].number + 1));
        let damaged = self.damaged_file.as_ref().map(|file| file.number);
        match (damaged, missing) {
            (Some(number), missing) if missing.is_none_or(|(_, first)| number <= first) => Some(Gap {
                files: files.partition_point(|file| file.number < number),
                place: Place::JournalFile { number },
                what: "the journal file's header is damaged",
            }),
            (_, Some((files, number))) => Some(Gap {
                files,
                place: Place::JournalFile { number },
                what: "the journal file is missing",
            }),
            (_, None) => files.is_empty().then_some(Gap {
                files: 0,
                place: Place::JournalDirectory,
                what: "the journal has no file",
            }),
        }
    }

    /// Whether the frame behind the last one is shown to have been there, in a file that can not be used or behind it.
    fn is_missed(&self, from_file: usize) -> Result<bool, OpenError> {
        let expected = self.next.unwrap_or(self.loaded.released.frame + 1);
        if self.loaded.known_durable >= expected {
            return Ok(true);
        }
        let behind = self.loaded.files.get(from_file..).unwrap_or_default();
        for file in self.damaged_file.iter().chain(behind) {
            let proves = |header: &FrameHeader| header.file == file.number && header.number >= expected;
            if file.headers_after(0)?.iter().any(proves) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// True when the head record names this frame and another header.
    fn contradicts_head_record(&self, header: &FrameHeader, digest: &[u8; 32]) -> bool {
        let differs = |record: HeadRecord| record.frame == header.number && record.header_digest != *digest;
        self.loaded.slots.newest.is_ok_and(differs)
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
        let in_sequence = match self.next {
            Some(next) => header.number == next,
            // Files up to the released frames may have been removed, none after them.
            None => header.number <= self.loaded.released.frame + 1,
        };
        if !in_sequence || header.number == u64::MAX || header.file != file.number {
            return Err(self
                .damage(&file, offset, "the frame is not the one that belongs here")
                .into());
        }
        let Some(log) = self.by_id.get(&header.log).map(|at| &mut self.loaded.logs[*at]) else {
            return Err(self
                .damage(&file, offset, "the frame belongs to a log that has no manifest")
                .into());
        };
        if !log.head.size.contains(header.last_id()) {
            if header.first_id != log.head.size.next() || header.prev_hash != log.head.hash {
                let what = "the frame does not follow the log's last event";
                return Err(StoreDamage {
                    event: Some(log.head.size.next()),
                    place: file.place(offset),
                    what: what.into(),
                }
                .into());
            }
            log.extend(&file, header, offset);
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

    /// Takes the cells of a frame that was just taken, unless they are known from the time when it was released.
    fn take_cells(&mut self, header: &FrameHeader, walk: &mut Walk, offset: u64) -> Result<(), OpenError> {
        if header.meta_len > 0 && header.number > self.loaded.released.frame {
            walk.cells(header, offset)?.apply(&mut self.loaded.cells);
        }
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
        let expected = self.next.unwrap_or(self.loaded.released.frame + 1);
        if self.proven_durable(index, offset, expected)? {
            let event = match header.filter(|header| header.number == expected) {
                Some(header) => {
                    let bytes = walk.bytes(offset, header.frame_len())?;
                    let event = first_damaged(&header, bytes);
                    if fault == FrameFault::BodiesChecksum {
                        self.take_before(&file, offset, &header, bytes, event);
                    }
                    Some(event)
                }
                None => self.next_event(),
            };
            return Err(StoreDamage {
                event,
                place: file.place(offset),
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

    fn finish(&mut self) -> Result<(), OpenError> {
        let record = self.loaded.slots.newest.map_err(|fault| StoreDamage {
            event: None,
            place: Place::HeadRecord,
            what: format!("{fault}: whether events were cut off behind the last one can not be told"),
        })?;
        if self.loaded.known_durable > self.loaded.last_frame {
            let what = format!(
                "the journal ends at frame {}, but frame {} was durable",
                self.loaded.last_frame, self.loaded.known_durable
            );
            let file = &self.loaded.files[self.loaded.active];
            return Err(self.damage(file, self.loaded.active_end, &what).into());
        }
        if self.walked.is_empty() && record.frame == self.loaded.last_frame {
            self.loaded.last_header_digest = record.header_digest;
        }
        let known = self.loaded.known_durable;
        let unproven = self.walked.iter().filter(|(number, ..)| *number > known);
        self.loaded.unproven = unproven
            .map(|(_, file, offset, len)| (*file, *offset, *len))
            .collect();
        Ok(())
    }

    /// Of a frame with a damaged body, takes the events before that one, for reading.
    fn take_before(
        &mut self,
        file: &JournalFile,
        offset: u64,
        header: &FrameHeader,
        bytes: &[u8],
        damaged: EventId,
    ) {
        let Some(log) = self.by_id.get(&header.log).map(|at| &mut self.loaded.logs[*at]) else {
            return;
        };
        let follows = header.first_id == log.head.size.next() && header.prev_hash == log.head.hash;
        let sound = u32::try_from(damaged.get() - header.first_id.get()).unwrap_or(0);
        if !follows || sound == 0 {
            return;
        }
        log.extend(file, header, offset);
        log.head = Head {
            size: TreeSize(damaged.get() - 1),
            hash: header.row(bytes, sound - 1).1,
            received_at: header.received_at,
        };
    }

    /// The first event that is not accounted for.
    fn next_event(&self) -> Option<EventId> {
        match self.loaded.logs.as_slice() {
            [] => Some(EventId::FIRST),
            [only] => Some(only.head.size.next()),
            // Whose the next frame would have been can not be told.
            _ => None,
        }
    }

    fn damage(&self, file: &JournalFile, offset: u64, what: &str) -> StoreDamage {
        StoreDamage {
            event: self.next_event(),
            place: file.place(offset),
            what: what.to_owned(),
        }
    }
}

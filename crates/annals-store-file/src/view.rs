//! One log as readers see it: which file holds which events, and how to get at them.
//!
//! Invariants: parts are in order and without gaps from event 1 to the head; what a part says it holds is durable and never
//! changes. A reader copies a few words under the lock and reads without it. Memory: a few words for each segment, and one
//! index entry per [`INDEX_STRIDE_BYTES`] of frames that are not packed, whatever the events' size.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_core::chain::{EventId, Head, LogId};
use annals_core::time::Micros;
use annals_store::{
    Counted, Damage, EventRun, FindEvents, Found, ReadError, ReadLog, Search, first_at, scan_count, scan_find,
};

use crate::disk::DiskFile;
use crate::error::OpenError;
use crate::frame::FrameHeader;
use crate::frame_reader::FrameReader;
use crate::index::{self, Indexes, LogIndex};
use crate::layout::Manifest;
use crate::segments::{Packed, PackedFault, SegmentChain};

/// Distance between two index entries: what a reader scans at most to find an event's frame.
pub(crate) const INDEX_STRIDE_BYTES: u64 = 64 * 1024;

/// Where a run of one log's events lies.
pub(crate) enum Part {
    /// Frames, in a journal file or in a segment of version 1.
    Frames(Frames),
    /// A packed segment.
    Packed(Packed),
}

/// Where a run of one log's frames lies.
pub(crate) struct Frames {
    /// Number of the journal file, `None` for a segment.
    pub(crate) journal: Option<u64>,
    pub(crate) name: Arc<str>,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) first: EventId,
    pub(crate) last: EventId,
    /// Where the last frame ends.
    pub(crate) end: u64,
    /// First event and offset of some frames, ascending; the first frame is always among them.
    pub(crate) index: Vec<(EventId, u64)>,
}

impl Part {
    /// A part of a journal file that starts with the frame at `offset`.
    pub(crate) fn starting(
        journal: u64,
        name: Arc<str>,
        file: Arc<dyn DiskFile>,
        header: &FrameHeader,
        offset: u64,
    ) -> Self {
        let mut part = Frames {
            journal: Some(journal),
            name,
            file,
            first: header.first_id,
            last: header.last_id(),
            end: offset,
            index: Vec::new(),
        };
        part.extend(header, offset);
        Self::Frames(part)
    }

    /// Its last event.
    pub(crate) fn last(&self) -> EventId {
        match self {
            Self::Frames(part) => part.last,
            Self::Packed(segment) => segment.footer().last(),
        }
    }
}

impl Frames {
    /// Adds the frame at `offset`, which follows the last one.
    pub(crate) fn extend(&mut self, header: &FrameHeader, offset: u64) {
        if self
            .index
            .last()
            .is_none_or(|(_, indexed)| offset - indexed >= INDEX_STRIDE_BYTES)
        {
            self.index.push((header.first_id, offset));
        }
        self.last = header.last_id();
        self.end = offset + header.frame_len() as u64;
    }
}

/// One log of the engine, for reading.
pub struct FileLog {
    manifest: Manifest,
    log: LogId,
    view: Mutex<View>,
    /// `None` where nobody asks it: then finding is reading.
    index: Option<LogIndex>,
}

pub(crate) struct View {
    pub(crate) head: Head,
    /// The head at the end of the segments.
    pub(crate) packed: Head,
    pub(crate) parts: Vec<Part>,
}

impl FileLog {
    pub(crate) fn new(manifest: Manifest, head: Head, packed: Head, parts: Vec<Part>) -> Self {
        Self {
            log: manifest.log_id(),
            manifest,
            view: Mutex::new(View { head, packed, parts }),
            index: None,
        }
    }

    /// The same log with its index.
    pub(crate) fn indexed(mut self, indexes: &Indexes) -> Self {
        self.index = Some(indexes.load(self.log));
        self
    }

    pub(crate) fn index(&self) -> Option<&LogIndex> {
        self.index.as_ref()
    }

    /// What never changes about the log.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        // No code panics while it holds the lock half way through a change.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a durable frame to readers.
    pub(crate) fn publish(&self, header: &FrameHeader, journal: u64, file: &Arc<dyn DiskFile>, offset: u64) {
        let mut view = self.view();
        match view.parts.last_mut() {
            Some(Part::Frames(part)) if part.journal == Some(journal) => part.extend(header, offset),
            _ => {
                let name = crate::layout::journal_file_name(journal).into();
                view.parts
                    .push(Part::starting(journal, name, Arc::clone(file), header, offset));
            }
        }
        let before = std::mem::replace(&mut view.head, header.after());
        let now = view.head;
        drop(view);
        if let Some(index) = &self.index {
            index.grown(before.size.0, now.size.0);
        }
    }

    /// The first and the last event that readers find in a journal file.
    pub(crate) fn held_by(&self, journal: u64) -> Option<(EventId, EventId)> {
        let view = self.view();
        view.parts.iter().find_map(|part| match part {
            Part::Frames(part) if part.journal == Some(journal) => Some((part.first, part.last)),
            _ => None,
        })
    }

    /// Shows a segment in the place of the journal's frames whose events it holds, the first that were not packed before.
    pub(crate) fn show_packed(&self, segment: Packed) {
        let mut view = self.view();
        view.packed = segment.footer().after;
        view.put(segment);
    }

    /// Shows a segment in the place of those that were joined into it.
    pub(crate) fn show_joined(&self, segment: Packed) {
        self.view().put(segment);
    }

    /// The packed segments behind the last part of another kind that is no frame of the journal.
    pub(crate) fn last_packed(&self) -> Vec<Packed> {
        let view = self.view();
        let mut packed: Vec<Packed> = Vec::new();
        for part in &view.parts {
            match part {
                Part::Packed(segment) => packed.push(segment.clone()),
                Part::Frames(part) if part.journal.is_none() => packed.clear(),
                Part::Frames(_) => {}
            }
        }
        packed
    }

    fn locate(&self, from: EventId) -> Option<Located> {
        let view = self.view();
        let at = view.parts.partition_point(|part| part.last() < from);
        match view.parts.get(at)? {
            Part::Packed(segment) => Some(Located::Packed(segment.clone())),
            Part::Frames(part) => {
                let entry = part.index.partition_point(|(first, _)| *first <= from);
                let (_, offset) = part.index.get(entry.checked_sub(1)?)?;
                Some(Located::Frames(part.clone_without_index(), *offset))
            }
        }
    }

    /// A segment was replaced while someone wanted to read it. In this process the view says by what; beside a live writer
    /// the directory does.
    pub(crate) fn find_replacement(&self, replaced: &Packed) -> Result<(), ReadError> {
        if !self.view().holds(replaced) {
            return Ok(());
        }
        let mut chain = SegmentChain::default();
        let followed = replaced.files().chain(self.log, &mut chain);
        let mut view = self.view();
        let last = view
            .parts
            .iter()
            .filter(|part| matches!(part, Part::Packed(_)))
            .map(Part::last)
            .max();
        let found = chain.parts.into_iter().filter_map(|part| match part {
            Part::Packed(segment) => Some(segment),
            Part::Frames(_) => None,
        });
        for segment in found {
            if last.is_some_and(|last| segment.footer().first <= last) && !view.holds(&segment) {
                view.put(segment);
            }
        }
        if !view.holds(replaced) {
            return Ok(());
        }
        drop(view);
        match followed {
            Err(OpenError::Io(error)) => Err(error.into()),
            Err(OpenError::Damaged(damage)) => Err(damage
                .at_event()
                .map_or_else(|| self.missing(replaced), ReadError::from)),
            _ => Err(self.missing(replaced)),
        }
    }

    fn missing(&self, segment: &Packed) -> ReadError {
        Damage {
            event: segment.footer().first,
            place: segment.name(),
            what: "the segment is missing".to_owned(),
        }
        .into()
    }
}

impl View {
    /// Puts a segment in the place of everything that it holds.
    fn put(&mut self, segment: Packed) {
        let (first, last) = (segment.footer().first, segment.footer().last());
        self.parts
            .retain(|part| part.last() < first || part.last() > last);
        for part in &mut self.parts {
            if let Part::Frames(part) = part
                && part.first <= last
                && part.last > last
            {
                part.first = last.plus(1);
            }
        }
        let at = self.parts.partition_point(|part| part.last() < first);
        self.parts.insert(at, Part::Packed(segment));
    }

    /// Whether a segment with this footer is among the parts.
    fn holds(&self, segment: &Packed) -> bool {
        self.parts
            .iter()
            .any(|part| matches!(part, Part::Packed(held) if held.footer() == segment.footer()))
    }
}

/// Where an event is.
enum Located {
    /// In a frame at or behind this offset.
    Frames(Frames, u64),
    Packed(Packed),
}

impl Frames {
    fn clone_without_index(&self) -> Self {
        Self {
            journal: self.journal,
            name: Arc::clone(&self.name),
            file: Arc::clone(&self.file),
            first: self.first,
            last: self.last,
            end: self.end,
            index: Vec::new(),
        }
    }
}

impl ReadLog for FileLog {
    fn head(&self) -> Head {
        self.view().head
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        for _ in 0..REPLACED_MAX {
            if !self.head().size.contains(from) {
                return Ok(EventRun::empty(from));
            }
            match self.locate(from) {
                Some(Located::Frames(part, offset)) => {
                    return FrameReader::new(self.log, part, from, bytes_max).read(offset);
                }
                Some(Located::Packed(segment)) => match segment.read(from, bytes_max) {
                    Err(PackedFault::Replaced) => self.find_replacement(&segment)?,
                    Err(PackedFault::Read(error)) => return Err(error),
                    Ok(run) => return Ok(run),
                },
                None => {
                    return Err(Damage {
                        event: from,
                        place: format!("log {}", self.log),
                        what: "no file holds it".to_owned(),
                    }
                    .into());
                }
            }
        }
        Err(io::Error::other("segments are joined faster than one can be read").into())
    }
}

impl FindEvents for FileLog {
    fn find(&self, search: &Search, matches_max: usize, scan_bytes_max: u64) -> Result<Found, ReadError> {
        match &self.index {
            Some(index) => index::find::find(self, index, search, matches_max, scan_bytes_max),
            None => scan_find(self, search, matches_max, scan_bytes_max),
        }
    }

    fn count(&self, search: &Search, cuts: &[EventId], scan_bytes_max: u64) -> Result<Counted, ReadError> {
        match &self.index {
            Some(index) => index::find::count(self, index, search, cuts, scan_bytes_max),
            None => scan_count(self, search, cuts, scan_bytes_max),
        }
    }

    fn first_at(&self, time: Micros) -> Result<EventId, ReadError> {
        first_at(self, time)
    }
}

/// How often a read looks again because a segment was joined with others.
pub(crate) const REPLACED_MAX: usize = 16;

/// `<file> at byte <offset>`
pub(crate) fn place(name: &str, offset: u64) -> String {
    format!("{name} at byte {offset}")
}

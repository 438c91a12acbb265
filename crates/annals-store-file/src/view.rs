//! One log as readers see it: which file holds which events, and how to get at them.
//!
//! Invariants: parts are in order and without gaps from event 1 to the head; a part's bytes up to its `end` are durable
//! and never change. A reader copies a few words under the lock and reads without it, on a handle that outlives the
//! removal of its file. Memory: one index entry per [`INDEX_STRIDE_BYTES`] of frames, whatever the events' size.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_core::chain::{EventId, Head, LogId};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store::{
    Counted, Damage, EventRun, FindEvents, Found, ReadError, ReadLog, RunBuilder, Search, first_at,
    scan_count, scan_find,
};

use crate::disk::{DiskFile, read_exact_at};
use crate::error::OpenError;
use crate::frame::{Frame, FrameFault, FrameHeader, HEADER_LEN};
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
                    return PartReader::new(self.log, part, from, bytes_max).read(offset);
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

/// Least and most bytes that are read at once. The least covers the distance between two index entries, so that the frame of a
/// single event is usually found by one read.
const BLOCK_BYTES_MIN: usize = 128 * 1024;
const _: () = assert!(BLOCK_BYTES_MIN as u64 >= 2 * INDEX_STRIDE_BYTES);
const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads frames of one part straight into a run's buffer, where the bodies stay.
struct PartReader {
    log: LogId,
    part: Frames,
    next: EventId,
    bytes_max: usize,
    taken_bytes: usize,
    run: RunBuilder,
}

/// What became of the frame at the cursor.
enum Taken {
    /// All that was wanted of it; this many bytes on, the next one starts.
    Whole(usize),
    /// The buffer ends before the frame does; it has this many bytes.
    NeedsBytes(usize),
    /// The run is complete.
    Full,
}

impl PartReader {
    fn new(log: LogId, part: Frames, from: EventId, bytes_max: usize) -> Self {
        Self {
            log,
            part,
            next: from,
            bytes_max,
            taken_bytes: 0,
            run: RunBuilder::new(from),
        }
    }

    /// Reads from the frame at `offset` on.
    fn read(mut self, mut offset: u64) -> Result<EventRun, ReadError> {
        let mut wanted = self.bytes_max.clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
        while offset < self.part.end {
            let filled = self.fill(offset, wanted)?;
            let mut at = 0;
            let short = loop {
                match self.take_frame(at, offset)? {
                    Taken::Whole(len) => at += len,
                    Taken::NeedsBytes(len) => break len,
                    Taken::Full => return Ok(self.run.finish()),
                }
            };
            offset += at as u64;
            if !self.run.is_empty() || offset >= self.part.end {
                break;
            }
            if at > 0 {
                continue;
            }
            // Not even one frame fits the buffer, and there is no more: the part ends, or its file, before the frame does.
            if filled < wanted {
                return Err(self.damage(offset, FrameFault::Short).into());
            }
            let header = self.header(0, offset)?;
            if self.is_large(&header) && header.last_id() >= self.next && header.log == self.log {
                self.take_some(&header, offset)?;
                break;
            }
            wanted = short.max(BLOCK_BYTES_MIN);
        }
        if self.run.is_empty() {
            let what = "the frame that holds it is missing";
            return Err(self.damage_at(offset, self.next, what).into());
        }
        Ok(self.run.finish())
    }

    /// The next bytes of the part, in the run's buffer from its start: how many there are, at most `wanted`.
    fn fill(&mut self, offset: u64, wanted: usize) -> Result<usize, ReadError> {
        let rest = usize::try_from(self.part.end - offset).unwrap_or(usize::MAX);
        let bytes = self.run.bytes_mut();
        bytes.clear();
        bytes.resize(rest.min(wanted), 0);
        let read = self.part.file.read_at(bytes, offset)?;
        bytes.truncate(read);
        if read < HEADER_LEN {
            return Err(self.damage(offset, FrameFault::Short).into());
        }
        Ok(read)
    }

    /// A large frame is not read as a whole for the sake of a few events.
    fn is_large(&self, header: &FrameHeader) -> bool {
        header.bodies_len as usize > self.bytes_max.max(BLOCK_BYTES_MIN)
    }

    /// The header at `at` of the buffer, which is at `offset` of the file.
    fn header(&mut self, at: usize, offset: u64) -> Result<FrameHeader, ReadError> {
        let decoded = FrameHeader::decode(&self.run.bytes_mut()[at..]);
        decoded.map_err(|fault| self.damage(offset, fault).into())
    }

    /// Takes what is wanted of the frame at `at` of the buffer.
    fn take_frame(&mut self, at: usize, base: u64) -> Result<Taken, ReadError> {
        let offset = base + at as u64;
        if offset >= self.part.end {
            return Ok(Taken::NeedsBytes(0));
        }
        let buffered = self.run.bytes_mut().len() - at;
        if buffered < HEADER_LEN {
            return Ok(Taken::NeedsBytes(HEADER_LEN));
        }
        let header = self.header(at, offset)?;
        let len = header.frame_len();
        let wanted = header.log == self.log && header.last_id() >= self.next;
        if wanted && header.first_id > self.next {
            return Err(self
                .damage_at(offset, self.next, "the frame that holds it is missing")
                .into());
        }
        if wanted && !self.run.is_empty() && self.taken_bytes + header.bodies_len as usize > self.bytes_max {
            return Ok(Taken::Full);
        }
        if buffered < len {
            return Ok(Taken::NeedsBytes(len));
        }
        if wanted && !self.take_whole(&header, at, offset)? {
            return Ok(Taken::Full);
        }
        Ok(Taken::Whole(len))
    }

    /// Checks a frame as a whole and marks the events that are wanted; false when the run is full.
    fn take_whole(&mut self, header: &FrameHeader, at: usize, offset: u64) -> Result<bool, ReadError> {
        let bytes = &self.run.bytes_mut()[at..];
        let mut sound_until = header.last_id().plus(1);
        if let Err(fault) = Frame::decode(bytes) {
            let event = first_damaged(header, bytes);
            // What lies before a damaged body is sound: its hashes were just compared with a table that is.
            sound_until = event;
            if fault != FrameFault::BodiesChecksum || event <= self.next {
                return Err(self.damage_at(offset, event, &fault.to_string()).into());
            }
        }
        let (mut id, mut start) = (header.first_id, at + header.bodies_start());
        for index in 0..header.count {
            let (len, hash) = header.row(&self.run.bytes_mut()[at..], index);
            let end = start + len as usize;
            if id >= sound_until {
                return Ok(false);
            }
            if id >= self.next {
                if !self.run.is_empty() && self.taken_bytes + len as usize > self.bytes_max {
                    return Ok(false);
                }
                self.run.mark(start, end, hash, header.received_at);
                self.taken_bytes += len as usize;
                self.next = id.plus(1);
            }
            (id, start) = (id.plus(1), end);
        }
        Ok(true)
    }

    /// Takes a few events of a large frame: the table is checked by its checksum, each body by its hash.
    fn take_some(&mut self, header: &FrameHeader, offset: u64) -> Result<(), ReadError> {
        let mut table = vec![0; header.table_len()];
        self.read_exact(&mut table, offset, offset + HEADER_LEN as u64)?;
        let rows: Vec<(u32, EventHash)> = match header.table(&table) {
            Ok(table) => table.rows().collect(),
            Err(fault) => return Err(self.damage(offset, fault).into()),
        };
        let skip = usize::try_from(self.next.get() - header.first_id.get()).unwrap_or(usize::MAX);
        let skipped: u64 = rows.iter().take(skip).map(|(len, _)| u64::from(*len)).sum();
        let mut total = 0;
        let fits = |(at, (len, _)): &(usize, &(u32, EventHash))| {
            total += *len as usize;
            *at == 0 || total <= self.bytes_max
        };
        let wanted: Vec<_> = rows
            .iter()
            .skip(skip)
            .enumerate()
            .take_while(fits)
            .map(|(_, row)| *row)
            .collect();
        let mut bytes = std::mem::take(self.run.bytes_mut());
        bytes.clear();
        bytes.resize(wanted.iter().map(|(len, _)| *len as usize).sum(), 0);
        self.read_exact(
            &mut bytes,
            offset,
            offset + header.bodies_start() as u64 + skipped,
        )?;
        *self.run.bytes_mut() = bytes;
        let mut start = 0;
        for (len, hash) in wanted {
            let end = start + len as usize;
            if EventHash::of(&self.run.bytes_mut()[start..end]) != hash {
                return Err(self
                    .damage_at(offset, self.next, "the body does not match its hash")
                    .into());
            }
            self.run.mark(start, end, hash, header.received_at);
            self.next = self.next.plus(1);
            start = end;
        }
        Ok(())
    }

    /// Reads a piece, at `at`, of the frame at `offset`; a file that is too short for it is damaged.
    fn read_exact(&self, buf: &mut [u8], offset: u64, at: u64) -> Result<(), ReadError> {
        match read_exact_at(&*self.part.file, buf, at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(self.damage(offset, FrameFault::Short).into())
            }
            read => Ok(read?),
        }
    }

    fn damage(&self, offset: u64, fault: FrameFault) -> Damage {
        self.damage_at(offset, self.next, &fault.to_string())
    }

    fn damage_at(&self, offset: u64, event: EventId, what: &str) -> Damage {
        Damage {
            event,
            place: place(&self.part.name, offset),
            what: what.to_owned(),
        }
    }
}

/// `<file> at byte <offset>`
pub(crate) fn place(name: &str, offset: u64) -> String {
    format!("{name} at byte {offset}")
}

/// The first event of a frame whose body does not have the hash that the table says; the frame's first event when that
/// can not be told. `bytes` start with the frame's header.
pub(crate) fn first_damaged(header: &FrameHeader, bytes: &[u8]) -> EventId {
    let table_end = header.bodies_start().min(bytes.len());
    let table = header.table_unchecked(bytes.get(HEADER_LEN..table_end).unwrap_or_default());
    let mut start = header.bodies_start();
    let mut id = header.first_id;
    for (len, hash) in table.rows().take(header.count as usize) {
        let Some(body) = bytes.get(start..start.saturating_add(len as usize)) else {
            return id;
        };
        if EventHash::of(body) != hash {
            return id;
        }
        start += body.len();
        id = id.plus(1);
    }
    header.first_id
}

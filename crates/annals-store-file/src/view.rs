//! One log as readers see it: which file holds which events, and how to get at them.
//!
//! Invariants: parts are in order and without gaps from event 1 to the head; a part's bytes up to its `end` are durable
//! and never change. A reader copies a few words under the lock and reads without it, on a handle that outlives the
//! removal of its file. Memory: one index entry per [`INDEX_STRIDE_BYTES`] of frames, whatever the events' size.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_core::chain::{EventId, Head, LogId};
use annals_core::hash::EventHash;
use annals_store::{Damage, EventRun, ReadError, ReadLog, RunBuilder};

use crate::disk::DiskFile;
use crate::frame::{Frame, FrameFault, FrameHeader, HEADER_LEN};
use crate::window::Window;

/// Distance between two index entries: what a reader scans at most to find an event's frame.
pub(crate) const INDEX_STRIDE_BYTES: u64 = 64 * 1024;

/// Where a run of one log's frames lies.
pub(crate) struct Part {
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
    pub(crate) fn starting(journal: u64, name: Arc<str>, file: Arc<dyn DiskFile>, header: &FrameHeader, offset: u64) -> Self {
        let mut part = Self {
            journal: Some(journal),
            name,
            file,
            first: header.first_id,
            last: header.last_id(),
            end: offset,
            index: Vec::new(),
        };
        part.extend(header, offset);
        part
    }

    /// Adds the frame at `offset`, which follows the last one.
    pub(crate) fn extend(&mut self, header: &FrameHeader, offset: u64) {
        if self.index.last().is_none_or(|(_, indexed)| offset - indexed >= INDEX_STRIDE_BYTES) {
            self.index.push((header.first_id, offset));
        }
        self.last = header.last_id();
        self.end = offset + header.frame_len() as u64;
    }
}

/// One log of the engine, for reading.
pub struct FileLog {
    log: LogId,
    view: Mutex<View>,
}

pub(crate) struct View {
    pub(crate) head: Head,
    /// The head at the end of the segments.
    pub(crate) packed: Head,
    pub(crate) parts: Vec<Part>,
}

impl FileLog {
    pub(crate) fn new(log: LogId, head: Head, packed: Head, parts: Vec<Part>) -> Self {
        Self { log, view: Mutex::new(View { head, packed, parts }) }
    }

    pub(crate) fn view(&self) -> MutexGuard<'_, View> {
        // No code panics while it holds the lock half way through a change.
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows a durable frame to readers.
    pub(crate) fn publish(&self, header: &FrameHeader, journal: u64, file: &Arc<dyn DiskFile>, offset: u64) {
        let mut view = self.view();
        match view.parts.last_mut() {
            Some(part) if part.journal == Some(journal) => part.extend(header, offset),
            _ => {
                let name = crate::layout::journal_file_name(journal).into();
                view.parts.push(Part::starting(journal, name, Arc::clone(file), header, offset));
            }
        }
        view.head = header.after();
    }

    /// Puts a segment, which ends at `packed`, in the place of what the journal file held.
    pub(crate) fn replace_journal(&self, journal: u64, segment: Part, packed: Head) {
        let mut view = self.view();
        view.packed = packed;
        if let Some(at) = view.parts.iter().position(|part| part.journal == Some(journal)) {
            view.parts[at] = segment;
        }
    }

    fn locate(&self, from: EventId) -> Option<(Part, u64)> {
        let view = self.view();
        if !view.head.size.contains(from) {
            return None;
        }
        let at = view.parts.partition_point(|part| part.last < from);
        let part = view.parts.get(at)?;
        let entry = part.index.partition_point(|(first, _)| *first <= from);
        let (_, offset) = part.index.get(entry.checked_sub(1)?)?;
        Some((part.clone_without_index(), *offset))
    }
}

impl Part {
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
        let Some((part, offset)) = self.locate(from) else {
            return Ok(EventRun::empty(from));
        };
        let mut reader = PartReader {
            log: self.log,
            window: Window::new(Arc::clone(&part.file), part.end),
            part,
            offset,
            run: RunBuilder::new(from),
            next: from,
            bytes_max,
        };
        while reader.take_frame()? {}
        Ok(reader.run.finish())
    }
}

/// Reads frames of one part into a run.
struct PartReader {
    log: LogId,
    part: Part,
    window: Window,
    offset: u64,
    run: RunBuilder,
    next: EventId,
    bytes_max: usize,
}

impl PartReader {
    /// Takes what is wanted of the frame at the cursor; false when the run is complete.
    fn take_frame(&mut self) -> Result<bool, ReadError> {
        if self.offset >= self.part.end {
            return Ok(false);
        }
        let header = FrameHeader::decode(self.window.at(self.offset, HEADER_LEN)?).map_err(|fault| self.damage(fault))?;
        let frame_len = header.frame_len();
        if header.log == self.log && header.last_id() >= self.next {
            if header.first_id > self.next {
                return Err(self.damage_at(self.next, "the frame that holds it is missing").into());
            }
            let bodies_len = header.bodies_len as usize;
            if self.run.is_empty() && bodies_len > self.bytes_max.max(1 << 20) {
                self.take_some(&header)?;
                return Ok(false);
            }
            if !self.run.is_empty() && self.run.bytes_mut().len() + bodies_len > self.bytes_max {
                return Ok(false);
            }
            if !self.take_whole(&header)? {
                return Ok(false);
            }
        }
        self.offset += frame_len as u64;
        Ok(true)
    }

    /// Takes the events of a frame that is read and checked as a whole; false when the run is full.
    fn take_whole(&mut self, header: &FrameHeader) -> Result<bool, ReadError> {
        let bytes = self.window.at(self.offset, header.frame_len())?;
        let frame = match Frame::decode(bytes) {
            Ok(frame) => frame,
            Err(fault) => {
                let event = first_damaged(header, bytes);
                return Err(self.damage_at(event, &fault.to_string()).into());
            }
        };
        let mut id = header.first_id;
        for (body, hash) in frame.events() {
            if id >= self.next {
                if !self.run.is_empty() && self.run.bytes_mut().len() + body.len() > self.bytes_max {
                    return Ok(false);
                }
                self.run.push(body, hash, header.received_at);
                self.next = id.plus(1);
            }
            id = id.plus(1);
        }
        Ok(true)
    }

    /// Takes a few events of a large frame: the table is checked by its checksum, each body by its hash.
    fn take_some(&mut self, header: &FrameHeader) -> Result<(), ReadError> {
        let table = self.window.at(self.offset + HEADER_LEN as u64, header.table_len())?;
        let rows: Vec<(u32, EventHash)> = match header.table(table) {
            Ok(table) => table.rows().collect(),
            Err(fault) => return Err(self.damage(fault).into()),
        };
        let skip = usize::try_from(self.next.get() - header.first_id.get()).unwrap_or(usize::MAX);
        let mut at = self.offset + header.bodies_start() as u64;
        at += rows.iter().take(skip).map(|(len, _)| u64::from(*len)).sum::<u64>();
        for (len, hash) in rows.into_iter().skip(skip) {
            let len = len as usize;
            if !self.run.is_empty() && self.run.bytes_mut().len() + len > self.bytes_max {
                break;
            }
            let body = self.window.at(at, len)?;
            if EventHash::of(body) != hash {
                return Err(self.damage_at(self.next, "the body does not match its hash").into());
            }
            self.run.push(body, hash, header.received_at);
            self.next = self.next.plus(1);
            at += len as u64;
        }
        Ok(())
    }

    fn damage(&self, fault: FrameFault) -> Damage {
        self.damage_at(self.next, &fault.to_string())
    }

    fn damage_at(&self, event: EventId, what: &str) -> Damage {
        Damage { event, place: place(&self.part.name, self.offset), what: what.to_owned() }
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
        let Some(body) = bytes.get(start..start.saturating_add(len as usize)) else { return id };
        if EventHash::of(body) != hash {
            return id;
        }
        start += body.len();
        id = id.plus(1);
    }
    header.first_id
}

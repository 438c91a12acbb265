//! Packing: what waits in full journal files becomes segments, and segments that have become many are joined.
//!
//! Invariants: nothing is given up before what replaces it was read back from its file and has a durable name; a log's events are
//! always in the journal, in a segment, or (between two steps) in both, and loading takes them once. Work that is cut off
//! anywhere leaves a temporary file, a segment whose events are also in the journal, or segments whose events are also in a larger one.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_store::ReadError;

use crate::damage::StoreDamage;
use crate::disk::{Disk, DiskFile, give_back, read_exact_at};
use crate::error::OpenError;
use crate::frame::{Frame, FrameHeader, HEADER_LEN};
use crate::frame_reader::first_damaged;
use crate::journal_file::{FRAMES_START, JournalFile, Step};
use crate::layout::{segment_name, segments_dir};
use crate::packed::{SegmentFault, SegmentWriter, Written};
use crate::released::FrameCells;
use crate::segments::{Packed, PackedFault, SegmentFiles, broken};

/// Journal files are packed together until each of their logs has this many bytes waiting on average: many logs would make
/// many tiny segments otherwise.
const RUN_BYTES_MIN: u64 = 4 * 1024 * 1024;
/// Segments are joined as long as the result has no more bytes of bodies than this.
const JOINED_BODIES_BYTES_MAX: u64 = 8 * 1024 * 1024 * 1024;
/// Segments are joined when those behind the first have this many times its bodies: so each event is copied about once for
/// each fourfold growth of its log, and a log has about three segments for each.
const JOIN_RATIO: u64 = 3;

/// A frame that waits to be packed.
#[derive(Clone, Copy)]
struct Waiting {
    /// Index of the journal file.
    file: u32,
    len: u32,
    offset: u64,
}

/// Full journal files, oldest first, and what of each log they hold.
pub(crate) struct Backlog {
    files: Vec<JournalFile>,
    runs: HashMap<LogId, Run>,
    /// In the order in which they appear.
    logs: Vec<LogId>,
    /// Number of the last frame, 0 when there is none.
    last_frame: u64,
    /// The cells of the frames that have any, in order.
    cells: Vec<FrameCells>,
}

/// A log's frames in the backlog.
#[derive(Default)]
struct Run {
    frames: Vec<Waiting>,
    /// For each file: the last event of it that was found, and where its frame ends.
    ends: Vec<(u32, EventId, u64)>,
}

impl Backlog {
    /// Goes through the oldest of `closed`, and through more of them when their logs have little in each.
    pub(crate) fn survey(closed: impl Iterator<Item = JournalFile>) -> Result<Self, OpenError> {
        let mut backlog = Self {
            files: Vec::new(),
            runs: HashMap::new(),
            logs: Vec::new(),
            last_frame: 0,
            cells: Vec::new(),
        };
        let mut bytes = 0;
        for file in closed {
            let index = u32::try_from(backlog.files.len()).map_err(io::Error::other)?;
            bytes += backlog.walk(index, &file)?;
            backlog.files.push(file);
            if bytes >= RUN_BYTES_MIN.saturating_mul(backlog.logs.len() as u64) {
                break;
            }
        }
        Ok(backlog)
    }

    pub(crate) fn files(&self) -> &[JournalFile] {
        &self.files
    }

    pub(crate) fn last_frame(&self) -> u64 {
        self.last_frame
    }

    pub(crate) fn cells(&self) -> &[FrameCells] {
        &self.cells
    }

    pub(crate) fn logs(&self) -> &[LogId] {
        &self.logs
    }

    /// Takes the frames of one file; returns how many bytes they have.
    fn walk(&mut self, index: u32, file: &JournalFile) -> Result<u64, OpenError> {
        let mut walk = file.walk();
        loop {
            match walk.next()? {
                Step::Frame { offset, header, .. } => {
                    let run = self.runs.entry(header.log).or_insert_with(|| {
                        self.logs.push(header.log);
                        Run::default()
                    });
                    run.push(index, offset, &header)?;
                    self.last_frame = header.number;
                    if header.meta_len > 0 {
                        self.cells.push(walk.cells(&header, offset)?);
                    }
                }
                Step::End { offset, .. } => {
                    // A full file was durable to its end: whatever is written behind its frames is a frame gone bad.
                    if file.last_written(offset)?.is_some() {
                        let what = "a frame of a full journal file is damaged";
                        return Err(damage(self.next_event(), file, offset, what));
                    }
                    return Ok(offset - FRAMES_START);
                }
            }
        }
    }

    /// The event that the next frame would have begun with, where it can be told whose it was.
    fn next_event(&self) -> Option<EventId> {
        match &self.logs[..] {
            [] => Some(EventId::FIRST),
            [log] => self.runs.get(log)?.ends.last().map(|(_, last, _)| last.plus(1)),
            _ => None,
        }
    }

    /// What readers were shown of a file is what is in it: bytes that became zeros since would look like its end.
    pub(crate) fn check_end(
        &self,
        log: LogId,
        file: usize,
        shown: (EventId, EventId),
    ) -> Result<(), OpenError> {
        let ends = self.runs.get(&log).map_or(&[][..], |run| &run.ends);
        let end = ends.iter().find(|(index, ..)| *index as usize == file);
        let (next, offset) = end.map_or((shown.0, FRAMES_START), |(_, last, end)| (last.plus(1), *end));
        if next > shown.1 {
            return Ok(());
        }
        let what = "a full journal file has lost frames at its end";
        Err(damage(Some(next), &self.files[file], offset, what))
    }

    /// The damage that frames of a log are which nobody made.
    pub(crate) fn no_manifest(&self, log: LogId) -> OpenError {
        let frames = self.runs.get(&log).map_or(&[][..], |run| &run.frames);
        let (file, offset) = frames
            .first()
            .map_or((0, FRAMES_START), |first| (first.file as usize, first.offset));
        damage(
            None,
            &self.files[file],
            offset,
            "the frame belongs to a log that has no manifest",
        )
    }

    /// Writes the frames of a log that are behind `before`, its head at the end of its segments, into a segment; durable when
    /// it returns. `None` when a run that was cut off came as far.
    pub(crate) fn pack(
        &self,
        segments: &Arc<SegmentFiles>,
        log: LogId,
        before: &Head,
    ) -> Result<Option<Packed>, OpenError> {
        let Some(run) = self.runs.get(&log) else {
            return Ok(None);
        };
        let mut frames = WaitingFrames {
            backlog: self,
            bytes: Vec::new(),
        };
        let packed = frames.passed_over(&run.frames, before)?;
        let waiting = &run.frames[packed..];
        if waiting.is_empty() {
            return Ok(None);
        }
        let name = segment_name(log, before.size.next());
        install(segments, log, &name, before.size.next(), |temporary| {
            let written = frames.write(&**segments.disk(), temporary, log, waiting, before)?;
            let file = segments.disk().open_read(temporary)?;
            written
                .read_back(&*file)
                .map_err(|fault| frames.blame(fault, log, waiting, before))
        })
        .map(Some)
    }
}

impl Run {
    fn push(&mut self, file: u32, offset: u64, header: &FrameHeader) -> Result<(), OpenError> {
        let len = header.frame_len();
        let end = offset + len as u64;
        self.frames.push(Waiting {
            file,
            len: u32::try_from(len).map_err(io::Error::other)?,
            offset,
        });
        match self.ends.last_mut() {
            Some(last) if last.0 == file => *last = (file, header.last_id(), end),
            _ => self.ends.push((file, header.last_id(), end)),
        }
        Ok(())
    }
}

/// Reads waiting frames, one at a time.
struct WaitingFrames<'a> {
    backlog: &'a Backlog,
    bytes: Vec<u8>,
}

impl WaitingFrames<'_> {
    fn file(&self, waiting: &Waiting) -> &JournalFile {
        &self.backlog.files[waiting.file as usize]
    }

    fn header(&self, waiting: &Waiting) -> Result<FrameHeader, OpenError> {
        let mut bytes = [0; HEADER_LEN];
        read_exact_at(&*self.file(waiting).file, &mut bytes, waiting.offset)?;
        FrameHeader::decode(&bytes)
            .map_err(|fault| damage(None, self.file(waiting), waiting.offset, &fault.to_string()))
    }

    /// How many frames hold nothing behind `before`.
    fn passed_over(&self, frames: &[Waiting], before: &Head) -> Result<usize, OpenError> {
        for (at, waiting) in frames.iter().enumerate() {
            if !before.size.contains(self.header(waiting)?.last_id()) {
                return Ok(at);
            }
        }
        Ok(frames.len())
    }

    /// The frame, checked; `next` is the event that it should start with.
    fn read(&mut self, waiting: &Waiting, next: EventId) -> Result<Frame<'_>, OpenError> {
        let file = &self.backlog.files[waiting.file as usize];
        self.bytes.resize(waiting.len as usize, 0);
        read_exact_at(&*file.file, &mut self.bytes, waiting.offset)?;
        match Frame::decode(&self.bytes) {
            Ok(frame) => Ok(frame),
            Err(fault) => {
                let event = FrameHeader::decode(&self.bytes)
                    .map_or(next, |header| first_damaged(&header, &self.bytes));
                Err(damage(Some(event), file, waiting.offset, &fault.to_string()))
            }
        }
    }

    /// Writes a segment of the frames under a temporary name.
    fn write(
        &mut self,
        disk: &dyn Disk,
        temporary: &str,
        log: LogId,
        frames: &[Waiting],
        before: &Head,
    ) -> Result<Written, OpenError> {
        let mut writer = SegmentWriter::create(disk, temporary, log, before)?;
        let mut head = *before;
        let mut last_frame = 0;
        for waiting in frames {
            let frame = self.read(waiting, head.size.next())?;
            let header = frame.header;
            for (body, hash) in frame.events() {
                writer.event(body, hash, header.received_at)?;
            }
            if header.log != log || header.first_id != head.size.next() || header.prev_hash != head.hash {
                let what = "the frame does not follow the one before it";
                return Err(damage(
                    Some(head.size.next()),
                    self.file(waiting),
                    waiting.offset,
                    what,
                ));
            }
            head = header.after();
            last_frame = header.number;
        }
        Ok(writer.finish(last_frame)?)
    }

    /// What was written does not read as it should: either the journal holds a body that does not have its hash, or the disk
    /// does not give back what it took.
    fn blame(&mut self, fault: SegmentFault, log: LogId, frames: &[Waiting], before: &Head) -> OpenError {
        for waiting in frames {
            let found = match self.read(waiting, before.size.next()) {
                Ok(frame) => first_unlike(&frame),
                Err(error) => return error,
            };
            if let Some(event) = found {
                let what = "the body does not match its hash";
                return damage(Some(event), self.file(waiting), waiting.offset, what);
            }
        }
        broken(fault, log, before.size.next())
    }
}

/// The first event of a frame whose body does not have the hash that its row says.
fn first_unlike(frame: &Frame<'_>) -> Option<EventId> {
    let at = frame
        .events()
        .position(|(body, hash)| EventHash::of(body) != hash)?;
    Some(frame.header.first_id.plus(at as u64))
}

/// The segments, out of the last ones of a log, that are to be joined now.
pub(crate) fn to_join(packed: &[Packed]) -> &[Packed] {
    let mut behind = 0;
    let mut start = packed.len();
    for (at, segment) in packed.iter().enumerate().rev() {
        let bodies = segment.footer().bodies_bytes;
        if bodies + behind > JOINED_BODIES_BYTES_MAX {
            break;
        }
        if behind >= bodies.saturating_mul(JOIN_RATIO) {
            start = at;
        }
        behind += bodies;
    }
    &packed[start..]
}

/// Puts segments that follow one another into one, under the first one's name. Durable when it returns; the others can then be
/// [removed](remove).
pub(crate) fn join(segments: &Arc<SegmentFiles>, parts: &[Packed]) -> Result<Option<Packed>, OpenError> {
    let [first, .., last] = parts else {
        return Ok(None);
    };
    let (log, first_id) = (first.footer().log, first.footer().first);
    let before = Head {
        size: TreeSize(first_id.get() - 1),
        hash: first.footer().prev_hash,
        // Nothing is written of it: each block brings its own times.
        received_at: first.footer().after.received_at,
    };
    let last_frame = last.footer().last_frame;
    install(segments, log, &first.name(), first_id, |temporary| {
        let broken = |fault| broken(fault, log, first_id);
        let mut writer = SegmentWriter::create(&**segments.disk(), temporary, log, &before)?;
        for part in parts {
            let file = file_of(part)?;
            let mut blocks = part.segment().blocks(&*file);
            while let Some(block) = blocks.next().map_err(broken)? {
                writer.block(&block).map_err(broken)?;
            }
        }
        let written = writer.finish(last_frame)?;
        let file = segments.disk().open_read(temporary)?;
        written.read_back(&*file).map_err(broken)
    })
    .map(Some)
}

/// Removes the files of segments whose events are in another one, which has a durable name.
pub(crate) fn remove(disk: &dyn Disk, log: LogId, absorbed: &[Packed]) -> io::Result<()> {
    for segment in absorbed {
        match disk.remove(&segment.name()) {
            // An attempt before this one came as far as here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
    }
    disk.sync_dir(&segments_dir(log))
}

fn file_of(part: &Packed) -> Result<Arc<dyn DiskFile>, OpenError> {
    part.file().map_err(|fault| match fault {
        PackedFault::Read(ReadError::Io(error)) => error.into(),
        PackedFault::Read(ReadError::Damaged(damage)) => io::Error::other(damage).into(),
        PackedFault::Replaced => io::Error::other(format!("{} was replaced", part.name())).into(),
    })
}

/// Has a segment written under a temporary name and found right, then gives it its own, durably.
fn install(
    segments: &Arc<SegmentFiles>,
    log: LogId,
    name: &str,
    first: EventId,
    write: impl FnOnce(&str) -> Result<(), OpenError>,
) -> Result<Packed, OpenError> {
    let disk = &**segments.disk();
    let temporary = format!("{name}.tmp");
    let renamed = write(&temporary).and_then(|()| Ok(disk.rename(&temporary, name)?));
    if let Err(error) = renamed {
        give_back(disk, &temporary);
        return Err(error);
    }
    disk.sync_dir(&segments_dir(log))?;
    Packed::opened(segments, &*disk.open_read(name)?, log, first)
}

fn damage(event: Option<EventId>, file: &JournalFile, offset: u64, what: &str) -> OpenError {
    StoreDamage {
        event,
        place: file.place(offset),
        what: what.to_owned(),
    }
    .into()
}

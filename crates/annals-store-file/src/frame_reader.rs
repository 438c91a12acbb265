//! Reading events out of frames, in a journal file or in a segment of version 1, straight into the buffer of a run.
//!
//! Invariants: what is given was checked, by the frame's checksums or by the event's hash; what lies before damage is given, and damage is
//! told at the event that it hits.

use std::io;

use annals_core::chain::{EventId, LogId};
use annals_core::hash::EventHash;
use annals_store::{Damage, EventRun, ReadError, RunBuilder};

use crate::disk::read_exact_at;
use crate::frame::{Frame, FrameFault, FrameHeader, HEADER_LEN};
use crate::view::{Frames, INDEX_STRIDE_BYTES, place};

/// Least and most bytes that are read at once. The least covers the distance between two index entries, so that the frame of a
/// single event is usually found by one read.
const BLOCK_BYTES_MIN: usize = 128 * 1024;
const _: () = assert!(BLOCK_BYTES_MIN as u64 >= 2 * INDEX_STRIDE_BYTES);
const BLOCK_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Reads frames of one part straight into a run's buffer, where the bodies stay.
pub(crate) struct FrameReader {
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

impl FrameReader {
    pub(crate) fn new(log: LogId, part: Frames, from: EventId, bytes_max: usize) -> Self {
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
    pub(crate) fn read(mut self, mut offset: u64) -> Result<EventRun, ReadError> {
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

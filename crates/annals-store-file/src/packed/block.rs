//! The block: some consecutive events of one log, compressed together. Layout: docs/format.md, "Segment version 2".
//!
//! Hashes are not stored. Whoever decodes hashes body by body: each hash is part of the next body, and the last one must be the one that is known
//! of the event behind the block. So a block that decodes is one whose events are, byte for byte, those that were sealed.
//!
//! Invariants: the same events make the same bytes; decoding takes no length on trust, and never panics.

use std::cell::RefCell;
use std::io;

use annals_core::chain::EventId;
use annals_core::hash::EventHash;
use annals_core::limits::GROUP_BYTES_MAX;
use annals_core::time::Micros;
use thiserror::Error;

use super::marks::{Bodies, Known, StreamFault, Streams, push_number, push_signed, unzigzag};

/// Bytes of bodies at which a block is full. Blocks of twice the size make files 5 to 8 % smaller and take twice as long (90 µs for
/// 45) to get at one event.
pub const BLOCK_BODIES_BYTES: usize = 32 * 1024;
/// Most events in a block, however small they are.
pub const BLOCK_EVENTS_MAX: u32 = 4096;
/// Most bytes of bodies that a block may say it holds: as many as one commit may carry, since one event is never shared out.
pub const BLOCK_BODIES_BYTES_MAX: usize = GROUP_BYTES_MAX;
/// zstd's level: higher ones take longer and save nothing, since the marks leave little to find.
pub const LEVEL: i32 = 1;

const HEADER_LEN: usize = 28;
const STREAMS: usize = 3;

/// Why bytes are not the block that was expected.
#[derive(Debug, Error)]
pub enum BlockFault {
    /// The bytes are not those that were written.
    #[error("the block does not match its checksum")]
    Checksum,
    /// Lengths that contradict each other.
    #[error("the block's lengths contradict each other")]
    Lengths,
    /// A stream can not be decompressed.
    #[error("the block can not be decompressed")]
    Compression,
    /// What was decompressed are no events.
    #[error("the block is not one of events: {0}")]
    Streams(#[from] StreamFault),
    /// The events are not those that were sealed.
    #[error("the block's events do not lead to the hash of its last one")]
    Link,
}

/// What is known of a block from outside of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockRow {
    /// Its first event.
    pub first: EventId,
    /// Receive time of that event.
    pub received_at: Micros,
    /// Hash of the event before.
    pub prev_hash: EventHash,
    /// Where it starts in its file.
    pub offset: u64,
    /// Its length there.
    pub len: u32,
    /// Length of all its bodies.
    pub bodies_len: u32,
    /// Checksum of its bytes.
    pub crc: u32,
}

/// The event behind a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Its id.
    pub id: EventId,
    /// The hash before it: that of the block's last event.
    pub prev_hash: EventHash,
}

/// Makes blocks, one after the other.
pub struct BlockEncoder {
    bodies_bytes: usize,
    compressor: zstd::bulk::Compressor<'static>,
    streams: Streams,
    known: Known,
    /// Receive times: how many events, and when.
    runs: Vec<(u64, Micros)>,
    first: Option<(EventId, EventHash, Micros)>,
    events: u32,
    bodies_len: usize,
    out: Vec<u8>,
    scratch: Vec<u8>,
}

impl BlockEncoder {
    /// An encoder of blocks that are full at `bodies_bytes`, at zstd's `level`.
    ///
    /// # Errors
    /// zstd has no memory.
    pub fn new(bodies_bytes: usize, level: i32) -> io::Result<Self> {
        Ok(Self {
            bodies_bytes,
            compressor: zstd::bulk::Compressor::new(level)?,
            streams: Streams::default(),
            known: Known::new(Micros(0)),
            runs: Vec::new(),
            first: None,
            events: 0,
            bodies_len: 0,
            out: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// Adds the event `id`, which follows the one with hash `prev_hash`.
    pub fn push(&mut self, id: EventId, prev_hash: &EventHash, received_at: Micros, body: &[u8]) {
        if self.first.is_none() {
            self.first = Some((id, *prev_hash, received_at));
        }
        match self.runs.last_mut() {
            Some((events, at)) if *at == received_at => *events += 1,
            _ => self.runs.push((1, received_at)),
        }
        self.known.receive_time(received_at);
        self.known.event(id.get(), prev_hash);
        self.streams.push(body, &self.known);
        self.events += 1;
        self.bodies_len += body.len();
    }

    /// Whether another event of `len` bytes belongs into the next block.
    #[must_use]
    pub fn is_full_for(&self, len: usize) -> bool {
        self.events >= BLOCK_EVENTS_MAX || (self.events > 0 && self.bodies_len + len > self.bodies_bytes)
    }

    /// Bytes of the bodies since the last block.
    #[must_use]
    pub fn bodies_len(&self) -> usize {
        self.bodies_len
    }

    /// True when no event was added since the last block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events == 0
    }

    /// The block of the events since the last one, for `offset` of its file; `None` when there are none.
    ///
    /// # Errors
    /// zstd fails, or the block is larger than a block can be.
    pub fn finish(&mut self, offset: u64) -> io::Result<Option<(BlockRow, &[u8])>> {
        let Some((first, prev_hash, received_at)) = self.first.take() else {
            return Ok(None);
        };
        if self.bodies_len > BLOCK_BODIES_BYTES_MAX {
            return Err(io::Error::other("the block is too large"));
        }
        let mut numbers = Vec::with_capacity(self.runs.len() * 3 + self.streams.numbers.len());
        let mut before = received_at.0;
        for (events, at) in self.runs.drain(..) {
            push_number(&mut numbers, events);
            push_signed(&mut numbers, at.0.wrapping_sub(before));
            before = at.0;
        }
        numbers.extend_from_slice(&self.streams.numbers);
        self.out.clear();
        self.out.extend_from_slice(&self.events.to_le_bytes());
        self.out.resize(HEADER_LEN, 0);
        let streams = [&self.streams.text, &numbers, &self.streams.raw];
        for (at, stream) in streams.into_iter().enumerate() {
            let packed = compress(&mut self.compressor, stream, &mut self.scratch)?;
            for (field, len) in [stream.len(), packed.len()].into_iter().enumerate() {
                let start = 4 + at * 8 + field * 4;
                self.out[start..start + 4].copy_from_slice(&length(len)?.to_le_bytes());
            }
            self.out.extend_from_slice(packed);
        }
        let row = BlockRow {
            first,
            received_at,
            prev_hash,
            offset,
            len: length(self.out.len())?,
            bodies_len: length(self.bodies_len)?,
            crc: crc32c::crc32c(&self.out),
        };
        self.streams.clear();
        (self.events, self.bodies_len) = (0, 0);
        Ok(Some((row, &self.out)))
    }
}

fn length(len: usize) -> io::Result<u32> {
    u32::try_from(len).map_err(io::Error::other)
}

/// The stream compressed, or as it is when that is no longer.
fn compress<'a>(
    compressor: &mut zstd::bulk::Compressor<'_>,
    stream: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> io::Result<&'a [u8]> {
    scratch.clear();
    scratch.reserve(zstd::zstd_safe::compress_bound(stream.len()));
    compressor.compress_to_buffer(stream, scratch)?;
    Ok(if scratch.len() < stream.len() {
        scratch
    } else {
        stream
    })
}

/// A decoded block.
#[derive(Debug)]
pub struct Block {
    first: EventId,
    bodies: Vec<u8>,
    events: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    end: u32,
    hash: EventHash,
    received_at: Micros,
}

impl Block {
    /// Decodes and checks the block that `row` names, in front of the event `behind`.
    ///
    /// # Errors
    /// [`BlockFault`]: the bytes are not those of the events that were sealed.
    pub fn decode(bytes: &[u8], row: &BlockRow, behind: &Behind) -> Result<Self, BlockFault> {
        if crc32c::crc32c(bytes) != row.crc {
            return Err(BlockFault::Checksum);
        }
        let count = behind.id.get().checked_sub(row.first.get());
        let header = Header::read(bytes, row).ok_or(BlockFault::Lengths)?;
        if count != Some(u64::from(header.events)) {
            return Err(BlockFault::Lengths);
        }
        let mut rest = &bytes[HEADER_LEN..];
        let mut streams = [const { Vec::new() }; STREAMS];
        for (stream, (raw_len, len)) in streams.iter_mut().zip(header.streams) {
            let (packed, behind) = rest.split_at_checked(len).ok_or(BlockFault::Lengths)?;
            rest = behind;
            *stream = decompress(packed, raw_len)?;
        }
        if !rest.is_empty() {
            return Err(BlockFault::Lengths);
        }
        let [text, numbers, raw] = &streams;
        Self::expand(Bodies::new(text, numbers, raw), header.events, row, behind)
    }

    fn expand(
        mut bodies: Bodies<'_>,
        events: u32,
        row: &BlockRow,
        behind: &Behind,
    ) -> Result<Self, BlockFault> {
        let runs = receive_times(&mut bodies, events, row.received_at)?;
        let bodies_len = row.bodies_len as usize;
        let mut block = Self {
            first: row.first,
            bodies: Vec::with_capacity(bodies_len),
            events: Vec::with_capacity(events as usize),
        };
        let mut known = Known::new(row.received_at);
        let (mut id, mut hash) = (row.first.get(), row.prev_hash);
        for (count, received_at) in runs {
            known.receive_time(received_at);
            for _ in 0..count {
                known.event(id, &hash);
                let start = block.bodies.len();
                bodies.next_into(&known, &mut block.bodies, bodies_len)?;
                hash = EventHash::of(&block.bodies[start..]);
                block.events.push(Slot {
                    end: u32::try_from(block.bodies.len()).map_err(|_| BlockFault::Lengths)?,
                    hash,
                    received_at,
                });
                id += 1;
            }
        }
        bodies.finish()?;
        if block.bodies.len() != bodies_len {
            return Err(BlockFault::Lengths);
        }
        if hash != behind.prev_hash {
            return Err(BlockFault::Link);
        }
        Ok(block)
    }

    /// The first event.
    #[must_use]
    pub fn first(&self) -> EventId {
        self.first
    }

    /// Number of events, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Never true: a block has at least one event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Body, hash and receive time of the events from the one at `index` on, in order.
    pub fn events_from(&self, index: usize) -> impl Iterator<Item = (&[u8], EventHash, Micros)> {
        let mut start = match index.checked_sub(1) {
            Some(before) => self
                .events
                .get(before)
                .map_or(self.bodies.len(), |slot| slot.end as usize),
            None => 0,
        };
        self.events.iter().skip(index).map(move |slot| {
            let body = &self.bodies[start..slot.end as usize];
            start = slot.end as usize;
            (body, slot.hash, slot.received_at)
        })
    }

    /// Bytes of memory that it takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.bodies.capacity() + self.events.capacity() * size_of::<Slot>()
    }
}

struct Header {
    events: u32,
    /// Length of each stream and of what is stored of it.
    streams: [(usize, usize); STREAMS],
}

impl Header {
    /// Reads the lengths, `None` when they can not be those of the block that `row` names.
    fn read(bytes: &[u8], row: &BlockRow) -> Option<Self> {
        let header = bytes.get(..HEADER_LEN)?;
        let word = |at: usize| header[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let events = word(0)?;
        let mut streams = [(0, 0); STREAMS];
        for (at, (raw_len, len)) in streams.iter_mut().enumerate() {
            *raw_len = word(4 + at * 8)? as usize;
            *len = word(8 + at * 8)? as usize;
        }
        let bodies_len = row.bodies_len as usize;
        let [(text, _), (numbers, _), (raw, _)] = streams;
        // Each byte of a body is at most two of text; each event ends with one; a number has at most ten.
        let possible = bodies_len <= BLOCK_BODIES_BYTES_MAX
            && (1..=BLOCK_EVENTS_MAX).contains(&events)
            && text <= bodies_len * 2 + events as usize
            && numbers <= bodies_len + events as usize * 20
            && raw <= bodies_len;
        possible.then_some(Self { events, streams })
    }
}

thread_local! {
    /// Making one costs more than a block.
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

fn decompress(packed: &[u8], raw_len: usize) -> Result<Vec<u8>, BlockFault> {
    if packed.len() == raw_len {
        return Ok(packed.to_vec());
    }
    let mut stream = Vec::with_capacity(raw_len);
    let decompressed = DECOMPRESSOR.with_borrow_mut(|held| match held {
        Some(decompressor) => decompressor.decompress_to_buffer(packed, &mut stream),
        none => none
            .insert(zstd::bulk::Decompressor::new()?)
            .decompress_to_buffer(packed, &mut stream),
    });
    let len = decompressed.map_err(|_| BlockFault::Compression)?;
    if len == raw_len && stream.len() == raw_len {
        Ok(stream)
    } else {
        Err(BlockFault::Lengths)
    }
}

/// How many events were received at once, and when: these come first among the numbers.
fn receive_times(
    bodies: &mut Bodies<'_>,
    events: u32,
    first: Micros,
) -> Result<Vec<(u64, Micros)>, BlockFault> {
    let mut runs = Vec::new();
    let mut rest = u64::from(events);
    let mut at = first.0;
    while rest > 0 {
        let count = bodies.number()?;
        at = at.wrapping_add(unzigzag(bodies.number()?));
        rest = rest
            .checked_sub(count)
            .filter(|_| count > 0)
            .ok_or(BlockFault::Lengths)?;
        runs.push((count, Micros(at)));
    }
    Ok(runs)
}

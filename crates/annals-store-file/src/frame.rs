//! The frame: one batch of one log, as it lies in a journal file and, unchanged, in a segment of version 1. Layout:
//! docs/format.md.
//!
//! Invariants: little-endian; a frame starts at a multiple of 8 and never spans files; the header's checksum covers the
//! checksums of all that follows, so a header that is right vouches for the whole frame; `prev_hash` and `last_hash` are
//! the log's head before and after. A decoder takes no length on trust: lengths must agree with each other and with
//! [`FRAME_BYTES_MAX`] before anything is read by them.

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::limits::GROUP_BYTES_MAX;
use annals_core::seal::SealedBatch;
use annals_core::time::Micros;
use annals_store::Cell;
use thiserror::Error;

use crate::meta;

/// Length of a frame's header in bytes.
pub const HEADER_LEN: usize = 192;
/// Bytes of one event's row in the table: body length (u32) and hash.
pub const ROW_LEN: usize = 36;
/// Frames start at multiples of this.
pub const ALIGNMENT: usize = 8;
/// Largest frame in bytes.
pub const FRAME_BYTES_MAX: usize = GROUP_BYTES_MAX + 64 * 1024 * 1024;
/// First bytes of every frame.
pub const MAGIC: [u8; 4] = *b"ANNF";
/// Version of the layout.
pub const VERSION: u8 = 1;

/// A decoded frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// The log.
    pub log: LogId,
    /// Number of the journal file that the frame was written to.
    pub file: u64,
    /// Number of the frame in the journal, counted over all logs from 1 without gaps.
    pub number: u64,
    /// Id of the first event.
    pub first_id: EventId,
    /// Number of events, at least 1.
    pub count: u32,
    /// Bytes of metadata.
    pub meta_len: u32,
    /// Bytes of all bodies.
    pub bodies_len: u32,
    /// Every frame up to this number was synced when this one was written.
    pub durable_through: u64,
    /// When the log took the events.
    pub received_at: Micros,
    /// Hash of the event before the first.
    pub prev_hash: EventHash,
    /// Hash of the last event.
    pub last_hash: EventHash,
    table_crc: u32,
    bodies_crc: u32,
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FrameFault {
    /// Nothing but zeros: no frame was written here.
    #[error("nothing is written here")]
    Blank,
    /// The bytes end before the frame does.
    #[error("the frame is cut off")]
    Short,
    /// The first bytes are not a frame's.
    #[error("no frame starts here")]
    Magic,
    /// A newer Annals wrote it.
    #[error("the frame has version {0}, this build reads version {VERSION}")]
    Version(u8),
    /// The header does not match its checksum.
    #[error("the frame's header does not match its checksum")]
    HeaderChecksum,
    /// Lengths that contradict each other.
    #[error("the frame's lengths contradict each other")]
    Lengths,
    /// The metadata or the table does not match its checksum.
    #[error("the frame's table does not match its checksum")]
    TableChecksum,
    /// The bodies do not match their checksum.
    #[error("the frame's bodies do not match their checksum")]
    BodiesChecksum,
    /// Metadata that this build does not know and must not ignore.
    #[error("the frame has metadata {0:#06x}, which this build does not know")]
    Metadata(u16),
}

/// Size in bytes of the frame that `batch` makes with its `cells`.
#[must_use]
pub fn frame_len(batch: &SealedBatch, cells: &[Cell]) -> usize {
    let table_len = meta::encoded_len(cells) + batch.len() * ROW_LEN;
    (HEADER_LEN + table_len + batch.bodies().len()).next_multiple_of(ALIGNMENT)
}

/// Where a frame stands: what its header says besides the batch itself.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// The log.
    pub log: LogId,
    /// Number of the journal file.
    pub file: u64,
    /// Number of the frame.
    pub number: u64,
    /// Last frame known to be synced.
    pub durable_through: u64,
}

/// Appends the frame of `batch` and its `cells` to `out`.
///
/// # Panics
/// When the batch is larger than [`FRAME_BYTES_MAX`]; the journal refuses such batches before.
pub fn encode(batch: &SealedBatch, cells: &[Cell], place: &Place, out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(frame_len(batch, cells));
    out.resize(start + HEADER_LEN, 0);
    meta::encode(cells, out);
    let meta_len = out.len() - start - HEADER_LEN;
    let mut from = 0;
    for (end, hash) in batch.ends().iter().zip(batch.hashes()) {
        out.extend_from_slice(&(end - from).to_le_bytes());
        out.extend_from_slice(&hash.0);
        from = *end;
    }
    let table_crc = crc32c::crc32c(&out[start + HEADER_LEN..]);
    out.extend_from_slice(batch.bodies());
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
    let header = FrameHeader {
        log: place.log,
        file: place.file,
        number: place.number,
        first_id: batch.first_id(),
        count: u32::try_from(batch.len()).expect("bounded by FRAME_BYTES_MAX"),
        meta_len: u32::try_from(meta_len).expect("bounded by FRAME_BYTES_MAX"),
        bodies_len: u32::try_from(batch.bodies().len()).expect("bounded by FRAME_BYTES_MAX"),
        durable_through: place.durable_through,
        received_at: batch.received_at(),
        prev_hash: batch.before().hash,
        last_hash: batch.after().hash,
        table_crc,
        bodies_crc: crc32c::crc32c(batch.bodies()),
    };
    out[start..start + HEADER_LEN].copy_from_slice(&header.encode());
}

impl FrameHeader {
    /// Whole length of the frame in bytes, padding included.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        (self.bodies_start() + self.bodies_len as usize).next_multiple_of(ALIGNMENT)
    }

    /// Bytes of metadata and table, which lie right behind the header.
    #[must_use]
    pub fn table_len(&self) -> usize {
        self.meta_len as usize + self.count as usize * ROW_LEN
    }

    /// Where the bodies start, counted from the frame's start.
    #[must_use]
    pub fn bodies_start(&self) -> usize {
        HEADER_LEN + self.table_len()
    }

    /// Id of the last event.
    #[must_use]
    pub fn last_id(&self) -> EventId {
        self.first_id.plus(u64::from(self.count) - 1)
    }

    /// The log's head after the frame.
    #[must_use]
    pub fn after(&self) -> Head {
        Head {
            size: TreeSize(self.last_id().get()),
            hash: self.last_hash,
            received_at: self.received_at,
        }
    }

    /// Reads a header from the start of `bytes`.
    ///
    /// # Errors
    /// [`FrameFault`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameFault> {
        let bytes = bytes.get(..HEADER_LEN).ok_or(FrameFault::Short)?;
        if bytes.iter().all(|byte| *byte == 0) {
            return Err(FrameFault::Blank);
        }
        if bytes[..4] != MAGIC {
            return Err(FrameFault::Magic);
        }
        if crc32c::crc32c(&bytes[..HEADER_LEN - 4]) != u32_at(bytes, HEADER_LEN - 4) {
            return Err(FrameFault::HeaderChecksum);
        }
        if bytes[4] != VERSION || bytes[5] != 0 {
            return Err(FrameFault::Version(bytes[4]));
        }
        let header = Self {
            log: LogId(array_at(bytes, 16)),
            file: u64_at(bytes, 32),
            number: u64_at(bytes, 40),
            first_id: EventId::new(u64_at(bytes, 48)).ok_or(FrameFault::Lengths)?,
            count: u32_at(bytes, 56),
            meta_len: u32_at(bytes, 60),
            bodies_len: u32_at(bytes, 64),
            durable_through: u64_at(bytes, 72),
            received_at: Micros(i64::from_le_bytes(array_at(bytes, 80))),
            prev_hash: EventHash(array_at(bytes, 88)),
            last_hash: EventHash(array_at(bytes, 120)),
            table_crc: u32_at(bytes, 152),
            bodies_crc: u32_at(bytes, 156),
        };
        let total = HEADER_LEN as u64
            + u64::from(header.meta_len)
            + u64::from(header.count) * ROW_LEN as u64
            + u64::from(header.bodies_len);
        let agrees = total.next_multiple_of(ALIGNMENT as u64) == u64::from(u32_at(bytes, 8));
        if header.count == 0 || !agrees || total > FRAME_BYTES_MAX as u64 {
            return Err(FrameFault::Lengths);
        }
        Ok(header)
    }

    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut out = [0; HEADER_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &MAGIC);
        put(4, &[VERSION, 0]);
        put(
            8,
            &u32::try_from(self.frame_len())
                .expect("bounded by FRAME_BYTES_MAX")
                .to_le_bytes(),
        );
        put(16, &self.log.0);
        put(32, &self.file.to_le_bytes());
        put(40, &self.number.to_le_bytes());
        put(48, &self.first_id.get().to_le_bytes());
        put(56, &self.count.to_le_bytes());
        put(60, &self.meta_len.to_le_bytes());
        put(64, &self.bodies_len.to_le_bytes());
        put(72, &self.durable_through.to_le_bytes());
        put(80, &self.received_at.0.to_le_bytes());
        put(88, &self.prev_hash.0);
        put(120, &self.last_hash.0);
        put(152, &self.table_crc.to_le_bytes());
        put(156, &self.bodies_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..HEADER_LEN - 4]);
        out[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Checks metadata and table (`bytes` are those behind the header, [`Self::table_len`] of them) and gives the rows.
    ///
    /// # Errors
    /// [`FrameFault`].
    pub fn table<'a>(&self, bytes: &'a [u8]) -> Result<Table<'a>, FrameFault> {
        let bytes = bytes.get(..self.table_len()).ok_or(FrameFault::Short)?;
        if crc32c::crc32c(bytes) != self.table_crc {
            return Err(FrameFault::TableChecksum);
        }
        let table = self.table_unchecked(bytes);
        self.cells(bytes)?;
        if table.rows().map(|(len, _)| u64::from(len)).sum::<u64>() != u64::from(self.bodies_len) {
            return Err(FrameFault::Lengths);
        }
        if table.rows.last_chunk() != Some(&self.last_hash.0) {
            return Err(FrameFault::Lengths);
        }
        Ok(table)
    }

    /// The cells; `bytes` are those behind the header.
    ///
    /// # Errors
    /// [`FrameFault`].
    pub fn cells(&self, bytes: &[u8]) -> Result<Vec<Cell>, FrameFault> {
        meta::decode(
            bytes.get(..self.meta_len as usize).ok_or(FrameFault::Short)?,
            self.count,
        )
    }

    /// The rows without any check: for finding out which event a damage hits.
    pub(crate) fn table_unchecked<'a>(&self, bytes: &'a [u8]) -> Table<'a> {
        Table {
            rows: bytes.get(self.meta_len as usize..).unwrap_or_default(),
        }
    }

    /// Body length and hash of the event at `index`, from a frame that was decoded before.
    pub(crate) fn row(&self, frame: &[u8], index: u32) -> (u32, EventHash) {
        let at = HEADER_LEN + self.meta_len as usize + index as usize * ROW_LEN;
        (u32_at(frame, at), EventHash(array_at(frame, at + 4)))
    }

    /// Checks the bodies against their checksum.
    ///
    /// # Errors
    /// [`FrameFault::BodiesChecksum`].
    pub fn check_bodies(&self, bodies: &[u8]) -> Result<(), FrameFault> {
        if crc32c::crc32c(bodies) == self.bodies_crc {
            Ok(())
        } else {
            Err(FrameFault::BodiesChecksum)
        }
    }
}

/// The rows of a frame's table.
#[derive(Debug, Clone, Copy)]
pub struct Table<'a> {
    rows: &'a [u8],
}

impl<'a> Table<'a> {
    /// Body length in bytes and hash of each event, in order.
    pub fn rows(self) -> impl Iterator<Item = (u32, EventHash)> + use<'a> {
        self.rows
            .chunks_exact(ROW_LEN)
            .map(|row| (u32_at(row, 0), EventHash(array_at(row, 4))))
    }
}

/// A whole frame whose checksums are right.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Its rows.
    pub table: Table<'a>,
    /// Its bodies, one after the other.
    pub bodies: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads a frame from the start of `bytes` and checks every checksum, the padding included.
    ///
    /// # Errors
    /// [`FrameFault`].
    pub fn decode(bytes: &'a [u8]) -> Result<Self, FrameFault> {
        let header = FrameHeader::decode(bytes)?;
        let bytes = bytes.get(..header.frame_len()).ok_or(FrameFault::Short)?;
        let table = header.table(&bytes[HEADER_LEN..header.bodies_start()])?;
        let bodies_end = header.bodies_start() + header.bodies_len as usize;
        let bodies = &bytes[header.bodies_start()..bodies_end];
        header.check_bodies(bodies)?;
        if bytes[bodies_end..].iter().any(|byte| *byte != 0) {
            return Err(FrameFault::BodiesChecksum);
        }
        Ok(Self {
            header,
            table,
            bodies,
        })
    }

    /// The events: body and stored hash, in order.
    pub fn events(&self) -> impl Iterator<Item = (&'a [u8], EventHash)> {
        let (table, bodies) = (self.table, self.bodies);
        let mut start = 0;
        (0..self.header.count as usize).map(move |index| {
            let row = &table.rows[index * ROW_LEN..(index + 1) * ROW_LEN];
            let body = &bodies[start..start + u32_at(row, 0) as usize];
            start += body.len();
            (body, EventHash(array_at(row, 4)))
        })
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

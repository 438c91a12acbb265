//! Start, table rows and footer of a packed segment, byte for byte. Layout: docs/format.md, "Segment version 2".
//!
//! Invariant: each row has a checksum of its own, so that one can be found by reading a few of them; the footer's checksum covers
//! where everything lies. What is decoded here agrees with itself and with the file's length; nothing is read by it before.

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;

use super::block::BlockRow;

pub(crate) const START_LEN: usize = 64;
pub(crate) const FOOTER_LEN: usize = 256;
pub(crate) const ROW_LEN: usize = 72;
const START_MAGIC: [u8; 8] = *b"ANNSEGM\x02";
const FOOTER_MAGIC: [u8; 8] = *b"ANNSEGF\x02";

/// The first bytes of a segment of `log`.
pub(crate) fn start_of(log: LogId) -> [u8; START_LEN] {
    let mut start = [0; START_LEN];
    start[..8].copy_from_slice(&START_MAGIC);
    start[8..24].copy_from_slice(&log.0);
    start
}

/// What a packed segment's footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedFooter {
    pub(crate) log: LogId,
    pub(crate) first: EventId,
    /// Hash of the event before the first.
    pub(crate) prev_hash: EventHash,
    /// The log's head after the last event.
    pub(crate) after: Head,
    /// Number of the last journal frame whose events are here.
    pub(crate) last_frame: u64,
    /// Where the blocks end and their table starts.
    pub(crate) table_offset: u64,
    /// Number of blocks, at least 1.
    pub(crate) blocks: u32,
    /// Bytes of all bodies.
    pub(crate) bodies_bytes: u64,
}

impl PackedFooter {
    pub(crate) fn encode(&self) -> [u8; FOOTER_LEN] {
        let mut out = [0; FOOTER_LEN];
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(0, &FOOTER_MAGIC);
        put(8, &self.log.0);
        put(24, &self.first.get().to_le_bytes());
        put(32, &self.after.size.0.to_le_bytes());
        put(40, &self.prev_hash.0);
        put(72, &self.after.hash.0);
        put(104, &self.after.received_at.0.to_le_bytes());
        put(112, &self.last_frame.to_le_bytes());
        put(120, &self.table_offset.to_le_bytes());
        put(128, &self.blocks.to_le_bytes());
        put(136, &self.bodies_bytes.to_le_bytes());
        let crc = crc32c::crc32c(&out[..FOOTER_LEN - 4]);
        out[FOOTER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The footer at the end of a file of `file_len` bytes, `None` when it is not one that was written there.
    pub(crate) fn decode(bytes: &[u8; FOOTER_LEN], file_len: u64) -> Option<Self> {
        if bytes[..8] != FOOTER_MAGIC || !ends_with_crc(bytes) {
            return None;
        }
        let footer = Self {
            log: LogId(array(bytes, 8)?),
            first: EventId::new(u64_at(bytes, 24)?)?,
            prev_hash: EventHash(array(bytes, 40)?),
            after: Head {
                size: TreeSize(u64_at(bytes, 32)?),
                hash: EventHash(array(bytes, 72)?),
                received_at: Micros(i64::from_le_bytes(array(bytes, 104)?)),
            },
            last_frame: u64_at(bytes, 112)?,
            table_offset: u64_at(bytes, 120)?,
            blocks: u32::from_le_bytes(array(bytes, 128)?),
            bodies_bytes: u64_at(bytes, 136)?,
        };
        footer.is_possible(file_len).then_some(footer)
    }

    /// The last event.
    pub(crate) fn last(&self) -> EventId {
        self.after.size.last().unwrap_or(self.first)
    }

    /// Where a row lies.
    pub(crate) fn row_offset(&self, at: u32) -> u64 {
        self.table_offset + u64::from(at) * ROW_LEN as u64
    }

    fn is_possible(&self, file_len: u64) -> bool {
        let behind_table = u64::from(self.blocks) * ROW_LEN as u64 + FOOTER_LEN as u64;
        let events = self.after.size.0.checked_sub(self.first.get() - 1);
        // There is always a next number, and a next id.
        self.last_frame < u64::MAX
            && self.after.size.0 < u64::MAX
            && events.is_some_and(|events| events > 0 && u64::from(self.blocks) <= events)
            && self.blocks > 0
            && file_len.checked_sub(behind_table) == Some(self.table_offset)
            && START_LEN as u64 <= self.table_offset
    }
}

/// One block's row in the table.
pub(crate) fn encode_row(row: &BlockRow) -> [u8; ROW_LEN] {
    let mut out = [0; ROW_LEN];
    let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &row.first.get().to_le_bytes());
    put(8, &row.received_at.0.to_le_bytes());
    put(16, &row.prev_hash.0);
    put(48, &row.offset.to_le_bytes());
    put(56, &row.len.to_le_bytes());
    put(60, &row.bodies_len.to_le_bytes());
    put(64, &row.crc.to_le_bytes());
    let crc = crc32c::crc32c(&out[..ROW_LEN - 4]);
    out[ROW_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The row that `bytes` are, `None` when they are none.
pub(crate) fn decode_row(bytes: &[u8; ROW_LEN]) -> Option<BlockRow> {
    if !ends_with_crc(bytes) {
        return None;
    }
    Some(BlockRow {
        first: EventId::new(u64_at(bytes, 0)?)?,
        received_at: Micros(i64::from_le_bytes(array(bytes, 8)?)),
        prev_hash: EventHash(array(bytes, 16)?),
        offset: u64_at(bytes, 48)?,
        len: u32::from_le_bytes(array(bytes, 56)?),
        bodies_len: u32::from_le_bytes(array(bytes, 60)?),
        crc: u32::from_le_bytes(array(bytes, 64)?),
    })
}

fn ends_with_crc(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk()
        .is_some_and(|(covered, crc)| crc32c::crc32c(covered) == u32::from_le_bytes(*crc))
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    array(bytes, at).map(u64::from_le_bytes)
}

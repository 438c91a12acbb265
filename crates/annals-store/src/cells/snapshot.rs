//! A [`CellTable`] as bytes, so that an engine need not read every batch again to have it.
//!
//! Little-endian: `ANNCELL` 0x01 (8 bytes); number of receipts and of positions (u32 each); receipts, oldest first: key (16),
//! first event id (u64), count (u32), digest (32), receive time (i64); positions, ascending by log and producer: log (16),
//! length of the producer's name (u8), the name, sequence (two u64); CRC-32C of everything before (u32).
//!
//! Invariants: equal tables have equal bytes; bytes that the table could not have written are refused, and reading them
//! neither panics nor takes more memory than they have. The bounds are not in the bytes: they are the reader's.

use annals_core::chain::{EventId, LogId};
use annals_core::time::Micros;
use thiserror::Error;

use super::{CellBounds, CellTable, KnownReceipt, ReceiptKey, Sequence};

const MAGIC: &[u8; 7] = b"ANNCELL";
const VERSION: u8 = 1;
const RECEIPT_BYTES: usize = 16 + 8 + 4 + 32 + 8;
const POSITION_BYTES_MIN: usize = 16 + 1 + 1 + 16;

/// Why bytes are not a snapshot of a table. The table can be made again from all batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SnapshotError {
    /// A later version of Annals wrote it.
    #[error("the snapshot of the cells has format {found}, this version reads up to {VERSION}")]
    Newer {
        /// Its format.
        found: u8,
    },
    /// It is not what was written.
    #[error("the snapshot of the cells is damaged: {0}")]
    Damaged(&'static str),
}

impl CellTable {
    /// The table as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(20 + self.receipts.len() * RECEIPT_BYTES + self.producers * 48);
        bytes.extend_from_slice(MAGIC);
        bytes.push(VERSION);
        for count in [self.receipts.len(), self.producers] {
            let count = u32::try_from(count).expect("a table's rows are far fewer than 4 billion");
            bytes.extend_from_slice(&count.to_le_bytes());
        }
        for (key, known) in &self.receipts {
            bytes.extend_from_slice(&key.0);
            bytes.extend_from_slice(&known.first.get().to_le_bytes());
            bytes.extend_from_slice(&known.count.to_le_bytes());
            bytes.extend_from_slice(&known.digest);
            bytes.extend_from_slice(&known.received_at.0.to_le_bytes());
        }
        for (log, producer, Sequence(major, minor)) in self.positions() {
            bytes.extend_from_slice(&log.0);
            bytes.push(u8::try_from(producer.len()).expect("a producer's name has at most 255 bytes"));
            bytes.extend_from_slice(producer.as_bytes());
            bytes.extend_from_slice(&major.to_le_bytes());
            bytes.extend_from_slice(&minor.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The table that was written as `bytes`; with narrower bounds than it had, the oldest receipts go.
    ///
    /// # Errors
    /// [`SnapshotError`]
    pub fn decode(bytes: &[u8], bounds: CellBounds) -> Result<Self, SnapshotError> {
        let (rest, checksum) = bytes
            .split_last_chunk::<4>()
            .ok_or(SnapshotError::Damaged("it is too short"))?;
        let mut rows = Rows { rest };
        let [magic @ .., version] = rows.take::<8>()?;
        if magic != *MAGIC || version == 0 {
            return Err(SnapshotError::Damaged("it does not begin as one"));
        }
        if version > VERSION {
            return Err(SnapshotError::Newer { found: version });
        }
        if crc32c::crc32c(rest) != u32::from_le_bytes(*checksum) {
            return Err(SnapshotError::Damaged("its checksum is wrong"));
        }
        rows.table(bounds)
    }
}

struct Rows<'a> {
    rest: &'a [u8],
}

impl Rows<'_> {
    fn table(&mut self, bounds: CellBounds) -> Result<CellTable, SnapshotError> {
        let mut table = CellTable::new(bounds);
        let receipts = self.u32()?;
        let positions = self.u32()?;
        let least =
            u64::from(receipts) * RECEIPT_BYTES as u64 + u64::from(positions) * POSITION_BYTES_MIN as u64;
        if least > self.rest.len() as u64 {
            return Err(SnapshotError::Damaged("rows are missing"));
        }
        for _ in 0..receipts {
            let (key, known) = self.receipt()?;
            table.remember(key, known);
        }
        let mut last = None;
        for _ in 0..positions {
            let (log, producer, sequence) = self.position()?;
            let place = Some((log, producer));
            if place <= last {
                return Err(SnapshotError::Damaged("producers are out of order"));
            }
            if let Some((log, producer)) = &place {
                table.advance(*log, producer, sequence);
            }
            last = place;
        }
        if !self.rest.is_empty() {
            return Err(SnapshotError::Damaged("there are bytes behind its last row"));
        }
        table.forget_before(Micros(i64::MIN));
        Ok(table)
    }

    fn receipt(&mut self) -> Result<(ReceiptKey, KnownReceipt), SnapshotError> {
        let key = ReceiptKey(self.take()?);
        let first = EventId::new(self.u64()?).ok_or(SnapshotError::Damaged("a receipt is for event 0"))?;
        let count = self.u32()?;
        let digest = self.take()?;
        let received_at = Micros(i64::from_le_bytes(self.take()?));
        Ok((
            key,
            KnownReceipt {
                first,
                count,
                digest,
                received_at,
            },
        ))
    }

    fn position(&mut self) -> Result<(LogId, Box<str>, Sequence), SnapshotError> {
        let log = LogId(self.take()?);
        let [len] = self.take()?;
        let (name, rest) = self.rest.split_at_checked(usize::from(len)).ok_or(CUT)?;
        self.rest = rest;
        let name = std::str::from_utf8(name).ok().filter(|name| !name.is_empty());
        let name = name.ok_or(SnapshotError::Damaged("a producer's name is not text"))?;
        Ok((log, name.into(), Sequence(self.u64()?, self.u64()?)))
    }

    fn u32(&mut self) -> Result<u32, SnapshotError> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, SnapshotError> {
        self.take().map(u64::from_le_bytes)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], SnapshotError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(CUT)?;
        self.rest = rest;
        Ok(*taken)
    }
}

const CUT: SnapshotError = SnapshotError::Damaged("it ends in the midst of a row");

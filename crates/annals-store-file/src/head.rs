//! The head record: how far the journal is known to be durable, kept outside the journal.
//!
//! Two slots in one preallocated file, written in turn, so that a write that is torn leaves the older one. Each carries
//! the number of the last durable frame and the checksum of its header; cutting the journal's tail off, or replacing the
//! last frame, contradicts it. Invariant: a record is written only after the frames that it names were synced.
//!
//! A record is advice about the past, never needed to find events: without a readable slot the directory is damaged,
//! because its first record is written when it is made, and nothing tells then whether the journal's tail was cut off.

use std::io;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::disk::{Disk, DiskFile, read_small};
use crate::layout::HEAD_FILE;

const SLOT_LEN: usize = 128;
/// The slots are a page apart, so that one torn write can not hit both.
const SLOT_STRIDE: usize = 4096;
const FILE_LEN: usize = 2 * SLOT_STRIDE;
const MAGIC: [u8; 8] = *b"ANNHEAD\x01";

/// What one slot says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadRecord {
    /// Rises by one with every write; the slot is `generation % 2`.
    pub(crate) generation: u64,
    /// Number of the last durable frame, 0 for none.
    pub(crate) frame: u64,
    /// SHA-256 of that frame's header, zeros for none.
    pub(crate) header_digest: [u8; 32],
}

/// The slots as read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HeadSlots {
    /// The newest readable record, or why there is none.
    pub(crate) newest: Result<HeadRecord, HeadFault>,
    /// Slots that hold something else than a record.
    pub(crate) damaged: u32,
}

/// Why there is no head record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum HeadFault {
    /// No file.
    #[error("the head record is missing")]
    Missing,
    /// Too short for a slot that can be read.
    #[error("the head record is cut to {bytes} of its {FILE_LEN} bytes")]
    Short {
        /// What is left of it.
        bytes: usize,
    },
    /// Longer than a head record is.
    #[error("the head record is unreadable: it has more than {FILE_LEN} bytes")]
    Long,
    /// Neither slot holds a record.
    #[error("the head record is unreadable: neither of its slots is what was written")]
    Slots,
}

impl HeadRecord {
    /// The record of a journal without frames.
    pub(crate) const FIRST: Self = Self {
        generation: 0,
        frame: 0,
        header_digest: [0; 32],
    };

    /// The digest that a record keeps of a frame's header bytes.
    pub(crate) fn digest(header: &[u8]) -> [u8; 32] {
        Sha256::digest(header).into()
    }

    fn encode(&self) -> [u8; SLOT_LEN] {
        let mut slot = [0; SLOT_LEN];
        slot[..8].copy_from_slice(&MAGIC);
        slot[8..16].copy_from_slice(&self.generation.to_le_bytes());
        slot[16..24].copy_from_slice(&self.frame.to_le_bytes());
        slot[24..56].copy_from_slice(&self.header_digest);
        let crc = crc32c::crc32c(&slot[..SLOT_LEN - 4]);
        slot[SLOT_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        slot
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let (slot, padding) = slot.get(..SLOT_STRIDE)?.split_at(SLOT_LEN);
        if padding.iter().any(|byte| *byte != 0) {
            return None;
        }
        let crc = crc32c::crc32c(&slot[..SLOT_LEN - 4]);
        if slot[..8] != MAGIC || slot[SLOT_LEN - 4..] != crc.to_le_bytes() {
            return None;
        }
        let generation = u64::from_le_bytes(slot[8..16].try_into().ok()?);
        if generation == u64::MAX {
            // No record that was ever written: there would be none after it.
            return None;
        }
        Some(Self {
            generation,
            frame: u64::from_le_bytes(slot[16..24].try_into().ok()?),
            header_digest: slot[24..56].try_into().ok()?,
        })
    }
}

/// Creates the file with the first record in slot 0 and an older twin in slot 1, so that no slot is ever blank.
pub(crate) fn create(disk: &dyn Disk) -> io::Result<()> {
    let mut bytes = vec![0; FILE_LEN];
    for slot in bytes.chunks_exact_mut(SLOT_STRIDE) {
        slot[..SLOT_LEN].copy_from_slice(&HeadRecord::FIRST.encode());
    }
    let file = disk.create(HEAD_FILE)?;
    file.write_at(&bytes, 0)?;
    file.sync_data()
}

/// Reads both slots. A missing file reads as two damaged slots.
pub(crate) fn read(disk: &dyn Disk) -> io::Result<HeadSlots> {
    let none = |fault| {
        Ok(HeadSlots {
            newest: Err(fault),
            damaged: 2,
        })
    };
    let bytes = match read_small(disk, HEAD_FILE, FILE_LEN) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return none(HeadFault::Missing),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => return none(HeadFault::Long),
        read => read?,
    };
    let records = [0, SLOT_STRIDE].map(|at| bytes.get(at..).and_then(HeadRecord::decode));
    let damaged = records.iter().map(|record| u32::from(record.is_none())).sum();
    let newest = records
        .into_iter()
        .flatten()
        .max_by_key(|record| record.generation)
        .ok_or(match bytes.len() {
            FILE_LEN => HeadFault::Slots,
            bytes => HeadFault::Short { bytes },
        });
    Ok(HeadSlots { newest, damaged })
}

/// Writes the next record durably: on return it counts after a crash.
pub(crate) fn write(file: &dyn DiskFile, record: &HeadRecord) -> io::Result<()> {
    let slot = record.generation % 2 * SLOT_STRIDE as u64;
    file.write_at(&record.encode(), slot)?;
    file.sync_data()
}

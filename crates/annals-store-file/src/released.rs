//! What is known of frames that the journal no longer holds: how far they go, and the cells that they left. Layout:
//! docs/format.md, "Released".
//!
//! Invariants: the file is replaced as a whole, and is durable, before a journal file is removed; so every frame's cells are
//! in this file, in the journal, or in both, and loading takes them once: those of a frame that the file covers from the
//! file, those of any later one from the journal.

use std::io;

use annals_core::chain::{EventId, LogId};
use annals_core::time::Micros;
use annals_store::{Cell, CellBounds, CellTable};
use uuid::Uuid;

use crate::damage::{Place, StoreDamage};
use crate::disk::{Disk, read_small, write_small};
use crate::error::OpenError;
use crate::layout::RELEASED_FILE;

const MAGIC: [u8; 8] = *b"ANNRLSD\x01";
const HEADER_LEN: usize = 36;
/// Far above what the bounds of cells allow.
const BYTES_MAX: usize = 1024 * 1024 * 1024;

/// The state behind the last frame that the journal gave up.
#[derive(Debug, Clone)]
pub(crate) struct Released {
    /// Number of that frame, 0 for none.
    pub(crate) frame: u64,
    /// What the cells of all frames up to it left.
    pub(crate) cells: CellTable,
}

/// The cells of one frame.
#[derive(Debug, Clone)]
pub(crate) struct FrameCells {
    pub(crate) log: LogId,
    pub(crate) first_id: EventId,
    pub(crate) received_at: Micros,
    pub(crate) cells: Vec<Cell>,
}

impl FrameCells {
    /// Takes them into `table`.
    pub(crate) fn apply(&self, table: &mut CellTable) {
        for cell in &self.cells {
            table.apply(self.log, self.first_id, self.received_at, cell);
        }
    }
}

impl Released {
    /// Nothing was given up but frames up to `frame`, which had no cells.
    pub(crate) fn without_cells(frame: u64, bounds: CellBounds) -> Self {
        Self {
            frame,
            cells: CellTable::new(bounds),
        }
    }

    /// Reads the file.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when it is missing or not what was written.
    pub(crate) fn read(disk: &dyn Disk, directory: Uuid, bounds: CellBounds) -> Result<Self, OpenError> {
        let bytes = match read_small(disk, RELEASED_FILE, BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(damaged("it is missing").into());
            }
            read => read?,
        };
        let Some((header, table)) = bytes.split_first_chunk::<HEADER_LEN>() else {
            return Err(damaged("it is cut off").into());
        };
        let frame = decode_header(header, directory).ok_or_else(|| damaged("its header is damaged"))?;
        let cells = CellTable::decode(table, bounds).map_err(|error| damaged(&error.to_string()))?;
        Ok(Self { frame, cells })
    }

    /// Replaces the file; durable when it returns.
    pub(crate) fn write(&self, disk: &dyn Disk, directory: Uuid) -> io::Result<()> {
        let mut bytes = encode_header(self.frame, directory).to_vec();
        bytes.extend_from_slice(&self.cells.encode());
        write_small(disk, "", RELEASED_FILE, &bytes)
    }
}

fn damaged(what: &str) -> StoreDamage {
    StoreDamage {
        event: None,
        place: Place::Released,
        what: format!("what is known of released frames can not be read: {what}"),
    }
}

fn encode_header(frame: u64, directory: Uuid) -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(&MAGIC);
    header[8..24].copy_from_slice(directory.as_bytes());
    header[24..32].copy_from_slice(&frame.to_le_bytes());
    let crc = crc32c::crc32c(&header[..32]);
    header[32..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn decode_header(header: &[u8; HEADER_LEN], directory: Uuid) -> Option<u64> {
    let frame = u64::from_le_bytes(header[24..32].try_into().ok()?);
    // There is always a next number.
    (*header == encode_header(frame, directory) && frame < u64::MAX).then_some(frame)
}

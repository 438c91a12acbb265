//! Writing a packed segment from front to back: blocks, then their table and the footer.
//!
//! Invariants: what was written counts only once [`read_back`] has decoded every event again and found the hashes that the writer was told.
//! Memory: one block, one buffer, and a row for each block.

use std::io;
use std::sync::Arc;

use annals_core::chain::{Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;

use super::block::{BLOCK_BODIES_BYTES, BlockEncoder, BlockRow, LEVEL};
use super::layout::{PackedFooter, encode_row, start_of};
use super::reader::{PackedSegment, SegmentFault, StoredBlock};
use crate::disk::{Disk, DiskFile};

const BUFFER_BYTES: usize = 1024 * 1024;
/// Blocks with less than this are put together anew when segments are joined; larger ones are copied. So two neighbours
/// together hold more than a full block, whatever was joined.
const COPIED_BODIES_BYTES_MIN: usize = BLOCK_BODIES_BYTES / 2;

/// Takes events.
pub(crate) struct SegmentWriter {
    log: LogId,
    before: Head,
    after: Head,
    out: Appender,
    encoder: BlockEncoder,
    blocks: Vec<WrittenBlock>,
    bodies_bytes: u64,
}

impl SegmentWriter {
    /// A segment of the events behind `before`, in a new file.
    pub(crate) fn create(disk: &dyn Disk, name: &str, log: LogId, before: &Head) -> io::Result<Self> {
        let mut out = Appender {
            file: disk.create(name)?,
            offset: 0,
            buffer: Vec::with_capacity(BUFFER_BYTES),
        };
        out.append(&start_of(log))?;
        Ok(Self {
            log,
            before: *before,
            after: *before,
            out,
            encoder: BlockEncoder::new(BLOCK_BODIES_BYTES, LEVEL)?,
            blocks: Vec::new(),
            bodies_bytes: 0,
        })
    }

    /// Adds the next event.
    pub(crate) fn event(&mut self, body: &[u8], hash: EventHash, received_at: Micros) -> io::Result<()> {
        if self.encoder.is_full_for(body.len()) {
            self.finish_block()?;
        }
        self.encoder
            .push(self.after.size.next(), &self.after.hash, received_at, body);
        self.after = Head {
            size: TreeSize(self.after.size.0 + 1),
            hash,
            received_at,
        };
        Ok(())
    }

    /// Adds the next block of another segment.
    pub(crate) fn block(&mut self, stored: &StoredBlock<'_>) -> Result<(), SegmentFault> {
        let len = stored.row().bodies_len as usize;
        if self.encoder.bodies_len() + len > BLOCK_BODIES_BYTES {
            self.finish_block()?;
        }
        if len < COPIED_BODIES_BYTES_MIN || !self.encoder.is_empty() {
            let block = stored.decode()?;
            for (body, hash, received_at) in block.events_from(0) {
                self.event(body, hash, received_at)?;
            }
        } else {
            let row = BlockRow {
                offset: self.out.position(),
                ..*stored.row()
            };
            self.out.append(stored.bytes())?;
            self.written(row, true);
        }
        self.after = stored.after();
        Ok(())
    }

    /// Writes what is left, table and footer, and syncs the file. Nothing vouches for it before it is
    /// [read back](Written::read_back). `last_frame` is the number of the last frame whose events are here.
    pub(crate) fn finish(mut self, last_frame: u64) -> io::Result<Written> {
        self.finish_block()?;
        let footer = PackedFooter {
            log: self.log,
            first: self.before.size.next(),
            prev_hash: self.before.hash,
            after: self.after,
            last_frame,
            table_offset: self.out.position(),
            blocks: u32::try_from(self.blocks.len()).map_err(io::Error::other)?,
            bodies_bytes: self.bodies_bytes,
        };
        for block in &self.blocks {
            self.out.append(&encode_row(&block.row))?;
        }
        self.out.append(&footer.encode())?;
        self.out.flush()?;
        self.out.file.sync_data()?;
        Ok(Written {
            footer,
            blocks: self.blocks,
        })
    }

    fn finish_block(&mut self) -> io::Result<()> {
        let Some((row, bytes)) = self.encoder.finish(self.out.position())? else {
            return Ok(());
        };
        self.out.append(bytes)?;
        self.written(row, false);
        Ok(())
    }

    fn written(&mut self, row: BlockRow, copied: bool) {
        self.bodies_bytes += u64::from(row.bodies_len);
        self.blocks.push(WrittenBlock { row, copied });
    }
}

/// A block that was written.
struct WrittenBlock {
    row: BlockRow,
    /// Its bytes come from another segment, where they were decoded when that was packed.
    copied: bool,
}

/// A segment as it should be in its file.
pub(crate) struct Written {
    footer: PackedFooter,
    blocks: Vec<WrittenBlock>,
}

impl Written {
    #[cfg(test)]
    pub(crate) fn footer(&self) -> &PackedFooter {
        &self.footer
    }

    /// Reads the file again. Each block that was made here must decode to events that lead, hash by hash, to the one that the next block
    /// is to follow; each that was copied must be the same bytes.
    pub(crate) fn read_back(&self, file: &dyn DiskFile) -> Result<(), SegmentFault> {
        let segment = PackedSegment::open(file, self.footer.log, self.footer.first)?;
        if *segment.footer() != self.footer {
            return Err(SegmentFault::Contradiction);
        }
        let mut stored = segment.blocks(file);
        for written in &self.blocks {
            let found = stored.next()?.ok_or(SegmentFault::Contradiction)?;
            if *found.row() != written.row {
                return Err(SegmentFault::Contradiction);
            }
            if !written.copied {
                found.decode()?;
            }
        }
        Ok(())
    }
}

/// Writes one file from front to back in large pieces.
struct Appender {
    file: Arc<dyn DiskFile>,
    offset: u64,
    buffer: Vec<u8>,
}

impl Appender {
    fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

//! Reading a packed segment: a row of its table, a block, the events in it.
//!
//! Invariants: opening reads start and footer, whatever the segment's size, and finding an event reads a few rows; blocks follow one
//! another without a gap, and so do the hashes before them. A damaged row hides the blocks beside it, and no other.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_store::{EventRun, RunBuilder};
use thiserror::Error;

use super::block::{BLOCK_BODIES_BYTES, BLOCK_BODIES_BYTES_MAX, Behind, Block, BlockFault, BlockRow};
use super::layout::{FOOTER_LEN, PackedFooter, ROW_LEN, START_LEN, decode_row, start_of};
use crate::cache::{BlockCache, BlockKey};
use crate::disk::{DiskFile, read_exact_at};

/// Reads of more than this pass the cache by: they would push out what others come back to.
const CACHED_READ_BYTES_MAX: usize = 1024 * 1024;
/// What a block takes at most beyond twice its bodies: headers, and what zstd adds to bytes that it can not compress.
const BLOCK_OVERHEAD_MAX: u64 = 1024 * 1024;

/// Why a segment, or a part of it, can not be read.
#[derive(Debug, Error)]
pub(crate) enum SegmentFault {
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something in it is not what was written.
    #[error("event {event}: {what} (at byte {offset})")]
    Damaged {
        /// The first event that is hit.
        event: EventId,
        offset: u64,
        what: String,
    },
    /// What was read back is not what was written.
    #[error("the segment was written, and reads otherwise")]
    Contradiction,
}

/// What is kept of a segment while it is not read: its footer.
#[derive(Debug, Clone)]
pub(crate) struct PackedSegment {
    /// Tells it from every other one in the caches, also from one that replaces it under the same name.
    key: u64,
    footer: PackedFooter,
}

/// A block with its place in the table.
#[derive(Debug, Clone, Copy)]
struct Located {
    at: u32,
    row: BlockRow,
    behind: Behind,
    /// The next row, `None` behind the last block.
    next: Option<BlockRow>,
}

impl PackedSegment {
    /// Reads start and footer of the segment that begins with the event `first`.
    pub(crate) fn open(file: &dyn DiskFile, log: LogId, first: EventId) -> Result<Self, SegmentFault> {
        let damaged = |offset, what: &str| SegmentFault::Damaged {
            event: first,
            offset,
            what: what.to_owned(),
        };
        let len = file.size()?;
        let Some(footer_offset) = len
            .checked_sub(FOOTER_LEN as u64)
            .filter(|at| *at >= START_LEN as u64)
        else {
            return Err(damaged(0, "the segment is cut off"));
        };
        let mut footer = [0; FOOTER_LEN];
        read_exact_at(file, &mut footer, footer_offset)?;
        let footer = PackedFooter::decode(&footer, len)
            .ok_or_else(|| damaged(footer_offset, "the segment's footer is damaged"))?;
        let mut start = [0; START_LEN];
        read_exact_at(file, &mut start, 0)?;
        if start != start_of(log) || footer.log != log || footer.first != first {
            return Err(damaged(0, "the segment is not the one that its name says"));
        }
        static KEYS: AtomicU64 = AtomicU64::new(0);
        let key = KEYS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { key, footer })
    }

    pub(crate) fn footer(&self) -> &PackedFooter {
        &self.footer
    }

    /// Under which its file is kept open.
    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Events from `from`, which is in the segment, on: at least one, and no more than fit `bytes_max` bytes of bodies (but for the
    /// first).
    pub(crate) fn read(
        &self,
        file: &dyn DiskFile,
        cache: &BlockCache,
        from: EventId,
        bytes_max: usize,
    ) -> Result<EventRun, SegmentFault> {
        let mut run = RunBuilder::new(from);
        let mut taken_bytes = 0;
        let mut next = self.locate(file, from);
        loop {
            let read = next.and_then(|at| Ok((at, self.block(file, cache, &at, bytes_max)?)));
            let (at, block) = match read {
                Ok(read) => read,
                // What lies before damage is sound.
                Err(_) if !run.is_empty() => return Ok(run.finish()),
                Err(fault) => return Err(fault),
            };
            let skip = from.get().saturating_sub(at.row.first.get());
            for (body, hash, received_at) in block.events_from(usize::try_from(skip).unwrap_or(usize::MAX)) {
                if !run.is_empty() && taken_bytes + body.len() > bytes_max {
                    return Ok(run.finish());
                }
                taken_bytes += body.len();
                run.push(body, hash, received_at);
            }
            if taken_bytes >= bytes_max || at.next.is_none() {
                return Ok(run.finish());
            }
            next = self.behind(file, &at);
        }
    }

    /// All blocks in order.
    pub(crate) fn blocks<'a>(&'a self, file: &'a dyn DiskFile) -> Blocks<'a> {
        Blocks {
            segment: self,
            file,
            next: Some(0),
        }
    }

    /// The block that holds an event of the segment.
    fn locate(&self, file: &dyn DiskFile, id: EventId) -> Result<Located, SegmentFault> {
        let rows = match self.partition(file, |row| row.first <= id) {
            Err(SegmentFault::Damaged { .. }) => self.partition_around_damage(file, id)?,
            found => found?,
        };
        let at = rows.checked_sub(1).ok_or_else(|| {
            self.damaged(id, self.footer.table_offset, "the block that holds it is missing")
        })?;
        self.located(file, at)
    }

    /// How many rows at the start of the table are `before` something, by halving.
    fn partition(
        &self,
        file: &dyn DiskFile,
        before: impl Fn(&BlockRow) -> bool,
    ) -> Result<u32, SegmentFault> {
        let (mut low, mut high) = (0, self.footer.blocks);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(&self.row(file, middle, self.footer.first)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// How many rows start at or before the event, row by row: a damaged one must not hide those that are far from it.
    fn partition_around_damage(&self, file: &dyn DiskFile, id: EventId) -> Result<u32, SegmentFault> {
        let mut sound_until = self.footer.first;
        let mut damage = None;
        for at in 0..self.footer.blocks {
            match self.row(file, at, sound_until) {
                Ok(row) if row.first > id => return damage.map_or(Ok(at), Err),
                Ok(row) => (sound_until, damage) = (row.first, None),
                Err(fault @ SegmentFault::Damaged { .. }) => {
                    damage.get_or_insert(fault);
                }
                Err(fault) => return Err(fault),
            }
        }
        damage.map_or(Ok(self.footer.blocks), Err)
    }

    /// One row of the table; `event` is the first that is hit when it is damaged.
    fn row(&self, file: &dyn DiskFile, at: u32, event: EventId) -> Result<BlockRow, SegmentFault> {
        let offset = self.footer.row_offset(at);
        let mut bytes = [0; ROW_LEN];
        read_exact_at(file, &mut bytes, offset).map_err(|error| self.cut_off(error, event, offset))?;
        decode_row(&bytes)
            .filter(|row| row.first >= self.footer.first && row.first <= self.footer.last())
            .ok_or_else(|| self.damaged(event, offset, "the segment's table is damaged"))
    }

    fn located(&self, file: &dyn DiskFile, at: u32) -> Result<Located, SegmentFault> {
        let row = self.row(file, at, self.footer.first)?;
        let starts_right = at > 0
            || (row.first == self.footer.first
                && row.prev_hash == self.footer.prev_hash
                && row.offset == START_LEN as u64);
        if !starts_right {
            return Err(self.damaged(row.first, self.footer.row_offset(at), CONTRADICTION));
        }
        self.with_next(file, at, row)
    }

    /// The block behind `at`, which is not the last.
    fn behind(&self, file: &dyn DiskFile, at: &Located) -> Result<Located, SegmentFault> {
        match at.next {
            Some(row) => self.with_next(file, at.at + 1, row),
            None => Err(SegmentFault::Contradiction),
        }
    }

    fn with_next(&self, file: &dyn DiskFile, at: u32, row: BlockRow) -> Result<Located, SegmentFault> {
        let next = if at + 1 < self.footer.blocks {
            Some(self.row(file, at + 1, row.first)?)
        } else {
            None
        };
        let (behind, end) = match &next {
            Some(next) => (
                Behind {
                    id: next.first,
                    prev_hash: next.prev_hash,
                },
                next.offset,
            ),
            None => (
                Behind {
                    id: self.footer.after.size.next(),
                    prev_hash: self.footer.after.hash,
                },
                self.footer.table_offset,
            ),
        };
        let ends_right = row.offset.checked_add(u64::from(row.len)) == Some(end) && row.first < behind.id;
        let fits = row.bodies_len as usize <= BLOCK_BODIES_BYTES_MAX
            && u64::from(row.len) <= u64::from(row.bodies_len) * 2 + BLOCK_OVERHEAD_MAX;
        if !ends_right || !fits {
            return Err(self.damaged(row.first, self.footer.row_offset(at), CONTRADICTION));
        }
        Ok(Located {
            at,
            row,
            behind,
            next,
        })
    }

    /// The decoded block, out of the cache when it is there; `bytes_max` is what its reader wants.
    fn block(
        &self,
        file: &dyn DiskFile,
        cache: &BlockCache,
        at: &Located,
        bytes_max: usize,
    ) -> Result<Arc<Block>, SegmentFault> {
        let key = BlockKey {
            segment: self.key,
            block: at.at,
        };
        if bytes_max <= CACHED_READ_BYTES_MAX {
            return cache.get_or_insert_with(key, || self.decode(file, at));
        }
        match cache.get(key) {
            Some(block) => Ok(block),
            None => Ok(Arc::new(self.decode(file, at)?)),
        }
    }

    fn decode(&self, file: &dyn DiskFile, at: &Located) -> Result<Block, SegmentFault> {
        let bytes = self.stored(file, at)?;
        Block::decode(&bytes, &at.row, &at.behind).map_err(|fault| self.bad_block(&at.row, &fault))
    }

    fn stored(&self, file: &dyn DiskFile, at: &Located) -> Result<Vec<u8>, SegmentFault> {
        let row = &at.row;
        let mut bytes = vec![0; row.len as usize];
        read_exact_at(file, &mut bytes, row.offset)
            .map_err(|error| self.cut_off(error, row.first, row.offset))?;
        Ok(bytes)
    }

    fn bad_block(&self, row: &BlockRow, fault: &BlockFault) -> SegmentFault {
        self.damaged(row.first, row.offset, &fault.to_string())
    }

    fn damaged(&self, event: EventId, offset: u64, what: &str) -> SegmentFault {
        SegmentFault::Damaged {
            event,
            offset,
            what: what.to_owned(),
        }
    }

    fn cut_off(&self, error: io::Error, event: EventId, offset: u64) -> SegmentFault {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(event, offset, "the segment is cut off"),
            _ => error.into(),
        }
    }
}

const CONTRADICTION: &str = "the segment's table contradicts itself";

/// Goes through the blocks of a segment.
pub(crate) struct Blocks<'a> {
    segment: &'a PackedSegment,
    file: &'a dyn DiskFile,
    next: Option<u32>,
}

/// A block as it is stored. Its bytes match the checksum in its row.
pub(crate) struct StoredBlock<'a> {
    segment: &'a PackedSegment,
    at: Located,
    bytes: Vec<u8>,
}

impl<'a> Blocks<'a> {
    pub(crate) fn next(&mut self) -> Result<Option<StoredBlock<'a>>, SegmentFault> {
        let Some(at) = self.next else {
            return Ok(None);
        };
        let at = self.segment.located(self.file, at)?;
        let bytes = self.segment.stored(self.file, &at)?;
        if crc32c::crc32c(&bytes) != at.row.crc {
            return Err(self.segment.bad_block(&at.row, &BlockFault::Checksum));
        }
        self.next = at.next.map(|_| at.at + 1);
        Ok(Some(StoredBlock {
            segment: self.segment,
            at,
            bytes,
        }))
    }
}

impl StoredBlock<'_> {
    pub(crate) fn row(&self) -> &BlockRow {
        &self.at.row
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The log's head after the block; its receive time is exact for the last one, and not too early for others.
    pub(crate) fn after(&self) -> Head {
        match self.at.next {
            None => self.segment.footer.after,
            Some(next) => Head {
                size: TreeSize(next.first.get() - 1),
                hash: next.prev_hash,
                received_at: next.received_at,
            },
        }
    }

    pub(crate) fn decode(&self) -> Result<Block, SegmentFault> {
        Block::decode(&self.bytes, &self.at.row, &self.at.behind)
            .map_err(|fault| self.segment.bad_block(&self.at.row, &fault))
    }
}

const _: () = assert!(CACHED_READ_BYTES_MAX > BLOCK_BODIES_BYTES);

//! Segments of version 1, which are read and no longer written: one log's frames, taken unchanged from a journal file, with an
//! index behind them. Layout: docs/format.md, "Segment version 1".
//!
//! Invariant: footer, start and index are checked when a segment is opened; its frames are when they are read.

use std::sync::Arc;

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;

use crate::damage::{Place, StoreDamage};
use crate::disk::{DiskFile, read_exact_at};
use crate::error::OpenError;
use crate::layout::segment_name;
use crate::view::Frames;

pub(crate) const MAGIC: [u8; 8] = *b"ANNSEGM\x01";
const FOOTER_MAGIC: [u8; 8] = *b"ANNSEGF\x01";
pub(crate) const START_LEN: usize = 64;
const FOOTER_LEN: usize = 256;
const INDEX_ROW_LEN: usize = 16;

/// What a segment's footer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) log: LogId,
    pub(crate) first: EventId,
    pub(crate) prev_hash: EventHash,
    pub(crate) after: Head,
    /// Number of the last frame.
    pub(crate) last_frame: u64,
    index_offset: u64,
    index_count: u32,
    index_crc: u32,
}

impl Footer {
    fn decode(bytes: &[u8; FOOTER_LEN]) -> Option<Self> {
        let crc = crc32c::crc32c(&bytes[..FOOTER_LEN - 4]);
        if bytes[..8] != FOOTER_MAGIC || bytes[FOOTER_LEN - 4..] != crc.to_le_bytes() {
            return None;
        }
        let u64_at = |at: usize| bytes[at..at + 8].try_into().map(u64::from_le_bytes).ok();
        let u32_at = |at: usize| bytes[at..at + 4].try_into().map(u32::from_le_bytes).ok();
        let hash_at = |at: usize| bytes[at..at + 32].try_into().map(EventHash).ok();
        Some(Self {
            log: LogId(bytes[8..24].try_into().ok()?),
            first: EventId::new(u64_at(24)?)?,
            prev_hash: hash_at(40)?,
            after: Head {
                size: TreeSize(u64_at(32)?),
                hash: hash_at(72)?,
                received_at: Micros(i64::from_le_bytes(bytes[104..112].try_into().ok()?)),
            },
            // There is always a next number.
            last_frame: u64_at(112).filter(|number| *number < u64::MAX)?,
            index_offset: u64_at(120)?,
            index_count: u32_at(128)?,
            index_crc: u32_at(132)?,
        })
    }
}

/// Opens a segment by the id of its first event: footer, start and index are read and checked, the frames are not.
pub(crate) fn open(
    file: Arc<dyn DiskFile>,
    log: LogId,
    first: EventId,
) -> Result<(Footer, Frames), OpenError> {
    let name = segment_name(log, first);
    let len = file.size()?;
    let broken = |offset: u64, what: &str| StoreDamage {
        event: Some(first),
        place: Place::Segment { log, first, offset },
        what: what.to_owned(),
    };
    if len < (START_LEN + FOOTER_LEN) as u64 {
        return Err(broken(0, "the segment is cut off").into());
    }
    let mut footer = [0; FOOTER_LEN];
    read_exact_at(&*file, &mut footer, len - FOOTER_LEN as u64)?;
    let footer = Footer::decode(&footer)
        .ok_or_else(|| broken(len - FOOTER_LEN as u64, "the segment's footer is damaged"))?;
    let mut start = [0; START_LEN];
    read_exact_at(&*file, &mut start, 0)?;
    if start != start_of(log) || footer.log != log || footer.first != first {
        return Err(broken(0, "the segment is not the one that its name says").into());
    }
    let behind_frames = u64::from(footer.index_count) * INDEX_ROW_LEN as u64 + FOOTER_LEN as u64;
    if len.checked_sub(behind_frames) != Some(footer.index_offset) || footer.index_offset < START_LEN as u64 {
        return Err(broken(
            len - FOOTER_LEN as u64,
            "the segment's lengths contradict each other",
        )
        .into());
    }
    let mut rows = vec![0; footer.index_count as usize * INDEX_ROW_LEN];
    read_exact_at(&*file, &mut rows, footer.index_offset)?;
    let index = decode_index(&rows, footer.index_crc)
        .filter(|index| leads_through(index, &footer))
        .ok_or_else(|| broken(footer.index_offset, "the segment's index is damaged"))?;
    let Some(last) = footer.after.size.last().filter(|last| *last >= first) else {
        return Err(broken(footer.index_offset, "the segment's footer contradicts itself").into());
    };
    let part = Frames {
        journal: None,
        name: name.into(),
        file,
        first,
        last,
        end: footer.index_offset,
        index,
    };
    Ok((footer, part))
}

fn start_of(log: LogId) -> [u8; START_LEN] {
    let mut start = [0; START_LEN];
    start[..8].copy_from_slice(&MAGIC);
    start[8..24].copy_from_slice(&log.0);
    start
}

fn decode_index(rows: &[u8], crc: u32) -> Option<Vec<(EventId, u64)>> {
    if crc32c::crc32c(rows) != crc {
        return None;
    }
    let row = |row: &[u8]| {
        let first = EventId::new(u64::from_le_bytes(row[..8].try_into().ok()?))?;
        Some((first, u64::from_le_bytes(row[8..].try_into().ok()?)))
    };
    rows.chunks_exact(INDEX_ROW_LEN).map(row).collect()
}

/// Whether an index is one that `write` makes: from the first frame on, ascending, inside the frames.
fn leads_through(index: &[(EventId, u64)], footer: &Footer) -> bool {
    index.first() == Some(&(footer.first, START_LEN as u64))
        && index
            .windows(2)
            .all(|pair| pair[0].0 < pair[1].0 && pair[0].1 < pair[1].1)
        && index
            .last()
            .is_some_and(|(_, offset)| *offset < footer.index_offset)
}

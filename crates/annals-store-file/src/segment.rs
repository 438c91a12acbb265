//! Segments: one log's frames, taken unchanged from a journal file, with an index behind them. Layout: docs/format.md.
//!
//! Invariants: a segment is complete once it has its name (temporary file, sync, rename, sync of the directory); before
//! that its bytes were read back, decoded and re-hashed; it never changes afterwards.

use std::io;
use std::sync::Arc;

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;

use crate::damage::{Place, StoreDamage};
use crate::disk::{Disk, DiskFile, give_back, read_exact_at};
use crate::error::OpenError;
use crate::frame::{Frame, FrameHeader, HEADER_LEN};
use crate::layout::{segment_name, segments_dir};
use crate::view::{INDEX_STRIDE_BYTES, Part, first_damaged};
use crate::window::Window;

const START_MAGIC: [u8; 8] = *b"ANNSEGM\x01";
const FOOTER_MAGIC: [u8; 8] = *b"ANNSEGF\x01";
pub(crate) const START_LEN: usize = 64;
const FOOTER_LEN: usize = 256;
const INDEX_ROW_LEN: usize = 16;
const COPY_BUFFER_BYTES: usize = 1024 * 1024;

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
    fn encode(&self) -> [u8; FOOTER_LEN] {
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
        put(120, &self.index_offset.to_le_bytes());
        put(128, &self.index_count.to_le_bytes());
        put(132, &self.index_crc.to_le_bytes());
        let crc = crc32c::crc32c(&out[..FOOTER_LEN - 4]);
        out[FOOTER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        out
    }

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
pub(crate) fn open(disk: &dyn Disk, log: LogId, first: EventId) -> Result<(Footer, Part), OpenError> {
    let name = segment_name(log, first);
    let file = disk.open_read(&name)?;
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
    let part = Part {
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

/// Copies a log's frames of one journal file into a segment, reads it back, and gives it its name. `before` is the log's
/// head in front of the first frame. Durable when it returns.
pub(crate) fn write(
    disk: &dyn Disk,
    log: LogId,
    journal: &Arc<dyn DiskFile>,
    frames: &[(FrameHeader, u64)],
    before: &Head,
) -> Result<(Part, Head), OpenError> {
    let name = segment_name(log, before.size.next());
    let temporary = format!("{name}.tmp");
    let written = write_as(disk, log, journal, frames, before, &name, &temporary);
    if written.is_err() {
        give_back(disk, &temporary);
    }
    written
}

fn write_as(
    disk: &dyn Disk,
    log: LogId,
    journal: &Arc<dyn DiskFile>,
    frames: &[(FrameHeader, u64)],
    before: &Head,
    name: &str,
    temporary: &str,
) -> Result<(Part, Head), OpenError> {
    let first = before.size.next();
    let file = disk.create(temporary)?;
    let mut out = Appender {
        file: &*file,
        offset: 0,
        buffer: Vec::with_capacity(COPY_BUFFER_BYTES),
    };
    out.append(&start_of(log))?;
    let mut index = Vec::new();
    let mut indexed_at = None;
    let mut after = *before;
    let mut last_frame = 0;
    for (header, offset) in frames {
        let at = out.position();
        if indexed_at.is_none_or(|indexed| at - indexed >= INDEX_STRIDE_BYTES) {
            index.push((header.first_id, at));
            indexed_at = Some(at);
        }
        copy(&**journal, *offset, header.frame_len(), &mut out)?;
        after = header.after();
        last_frame = header.number;
    }
    let rows = encode_index(&index);
    let footer = Footer {
        log,
        first,
        prev_hash: before.hash,
        after,
        last_frame,
        index_offset: out.position(),
        index_count: u32::try_from(index.len()).map_err(io::Error::other)?,
        index_crc: crc32c::crc32c(&rows),
    };
    out.append(&rows)?;
    out.append(&footer.encode())?;
    out.flush()?;
    file.sync_data()?;
    read_back(disk, temporary, &footer, before)?;
    disk.rename(temporary, name)?;
    disk.sync_dir(&segments_dir(log))?;
    Ok((open(disk, log, first)?.1, after))
}

/// Decodes every frame of a written segment again and re-hashes every event: what stands in the file is what was sealed,
/// or the journal's copy is not given up.
fn read_back(disk: &dyn Disk, name: &str, footer: &Footer, before: &Head) -> Result<(), OpenError> {
    let mut window = Window::new(disk.open_read(name)?, footer.index_offset);
    let mut offset = START_LEN as u64;
    let mut head = *before;
    let place = |offset| Place::Segment {
        log: footer.log,
        first: footer.first,
        offset,
    };
    while offset < footer.index_offset {
        let broken = |event: EventId, what: String| StoreDamage {
            event: Some(event),
            place: place(offset),
            what,
        };
        let header = FrameHeader::decode(window.at(offset, HEADER_LEN)?)
            .map_err(|fault| broken(head.size.next(), fault.to_string()))?;
        let bytes = window.at(offset, header.frame_len())?;
        let frame =
            Frame::decode(bytes).map_err(|fault| broken(first_damaged(&header, bytes), fault.to_string()))?;
        if header.log != footer.log || header.first_id != head.size.next() || header.prev_hash != head.hash {
            return Err(broken(
                head.size.next(),
                "the frame does not follow the one before it".to_owned(),
            )
            .into());
        }
        let mut id = header.first_id;
        for (body, hash) in frame.events() {
            if EventHash::of(body) != hash {
                return Err(broken(id, "the body does not match its hash".to_owned()).into());
            }
            id = id.plus(1);
        }
        head = header.after();
        offset += header.frame_len() as u64;
    }
    if head != footer.after {
        let what = "the segment does not end where its footer says".to_owned();
        return Err(StoreDamage {
            event: Some(head.size.next()),
            place: place(offset),
            what,
        }
        .into());
    }
    Ok(())
}

fn start_of(log: LogId) -> [u8; START_LEN] {
    let mut start = [0; START_LEN];
    start[..8].copy_from_slice(&START_MAGIC);
    start[8..24].copy_from_slice(&log.0);
    start
}

fn encode_index(index: &[(EventId, u64)]) -> Vec<u8> {
    let mut rows = Vec::with_capacity(index.len() * INDEX_ROW_LEN);
    for (first, offset) in index {
        rows.extend_from_slice(&first.get().to_le_bytes());
        rows.extend_from_slice(&offset.to_le_bytes());
    }
    rows
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

fn copy(from: &dyn DiskFile, mut offset: u64, len: usize, out: &mut Appender<'_>) -> io::Result<()> {
    let mut rest = len;
    let mut block = vec![0; rest.min(COPY_BUFFER_BYTES)];
    while rest > 0 {
        let take = rest.min(block.len());
        read_exact_at(from, &mut block[..take], offset)?;
        out.append(&block[..take])?;
        offset += take as u64;
        rest -= take;
    }
    Ok(())
}

/// Writes one file from front to back in large pieces.
struct Appender<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    buffer: Vec<u8>,
}

impl Appender<'_> {
    fn position(&self) -> u64 {
        self.offset + self.buffer.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= COPY_BUFFER_BYTES {
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

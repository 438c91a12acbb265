//! Journal files: preallocated, numbered from 1 without gaps, each with a header page in front of its frames.
//!
//! Invariants: a file gets its name only when its header and all its zeros are durable; behind the last frame there is
//! nothing but zeros, unless a crash left something there.

use std::io;
use std::sync::Arc;

use uuid::Uuid;

use crate::damage::Place;
use crate::disk::{Disk, DiskFile, give_back, read_exact_at};
use crate::frame::{Frame, FrameFault, FrameHeader, HEADER_LEN};
use crate::layout::{JOURNAL_DIR, journal_file_name};
use crate::released::FrameCells;
use crate::window::Window;

/// Where the first frame starts.
pub(crate) const FRAMES_START: u64 = 4096;
const HEADER_PAGE: usize = 4096;
const MAGIC: [u8; 8] = *b"ANNJRNL\x01";
const ZEROS_BYTES: usize = 1024 * 1024;
const PREPARING: &str = "journal/preparing.tmp";

/// A file as it is found under its name.
pub(crate) enum Found {
    /// Its header page is exactly what this directory wrote.
    Sound(JournalFile),
    /// It is not.
    Damaged(JournalFile),
}

/// An open journal file.
#[derive(Clone)]
pub(crate) struct JournalFile {
    pub(crate) number: u64,
    pub(crate) file: Arc<dyn DiskFile>,
    /// Preallocated length in bytes.
    pub(crate) len: u64,
}

impl JournalFile {
    pub(crate) fn name(&self) -> String {
        journal_file_name(self.number)
    }

    pub(crate) fn place(&self, offset: u64) -> Place {
        Place::Journal {
            number: self.number,
            offset,
        }
    }

    /// Makes a file of at least `len` bytes under its name, durable when it returns. An empty one of that name is replaced.
    pub(crate) fn prepare(disk: &dyn Disk, directory: Uuid, number: u64, len: u64) -> io::Result<Self> {
        let prepared = Self::write_new(disk, directory, number, len);
        if prepared.is_err() {
            give_back(disk, PREPARING);
        }
        prepared
    }

    fn write_new(disk: &dyn Disk, directory: Uuid, number: u64, len: u64) -> io::Result<Self> {
        let file = disk.create(PREPARING)?;
        file.write_at(&header_page(directory, number), 0)?;
        let zeros = vec![0; ZEROS_BYTES];
        let mut at = FRAMES_START;
        while at < len {
            let take = usize::try_from(len - at).map_or(ZEROS_BYTES, |rest| rest.min(ZEROS_BYTES));
            file.write_at(&zeros[..take], at)?;
            at += take as u64;
        }
        file.sync_data()?;
        disk.rename(PREPARING, &journal_file_name(number))?;
        disk.sync_dir(JOURNAL_DIR)?;
        Ok(Self {
            number,
            file,
            len: len.max(FRAMES_START),
        })
    }

    /// Opens the file `number`.
    pub(crate) fn open(disk: &dyn Disk, directory: Uuid, number: u64, write: bool) -> io::Result<Found> {
        let name = journal_file_name(number);
        let file = if write {
            disk.open_write(&name)?
        } else {
            disk.open_read(&name)?
        };
        let len = file.size()?;
        let mut page = vec![0; HEADER_PAGE];
        match read_exact_at(&*file, &mut page, 0) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => page.clear(),
            read => read?,
        }
        let found = Self { number, file, len };
        Ok(if page == header_page(directory, number) {
            Found::Sound(found)
        } else {
            Found::Damaged(found)
        })
    }

    /// Walks the frames from the first one on.
    pub(crate) fn walk(&self) -> Walk {
        Walk {
            window: Window::new(Arc::clone(&self.file), self.len),
            offset: FRAMES_START,
        }
    }

    /// End of the last byte that is not zero at or after `from`, `None` when there is none.
    pub(crate) fn last_written(&self, from: u64) -> io::Result<Option<u64>> {
        let mut window = Window::new(Arc::clone(&self.file), self.len);
        let mut last = None;
        let mut at = from;
        while at < self.len {
            let block = window.at(at, ZEROS_BYTES)?;
            if block.is_empty() {
                break;
            }
            if let Some(index) = last_not_zero(block) {
                last = Some(at + index as u64 + 1);
            }
            at += block.len() as u64;
        }
        Ok(last)
    }

    /// Headers that are right, wherever they lie at or after `from`: what is left behind a damage.
    pub(crate) fn headers_after(&self, from: u64) -> io::Result<Vec<FrameHeader>> {
        let mut window = Window::new(Arc::clone(&self.file), self.len);
        let mut found = Vec::new();
        let mut at = from;
        while at < self.len {
            // Blocks overlap by a header, so that none is missed at a border.
            let block = window.at(at, ZEROS_BYTES + HEADER_LEN)?;
            if block.len() < HEADER_LEN {
                break;
            }
            let starts = memchr::memmem::find_iter(block, &crate::frame::MAGIC);
            found.extend(starts.filter_map(|start| FrameHeader::decode(&block[start..]).ok()));
            at += ZEROS_BYTES as u64;
        }
        Ok(found)
    }
}

/// Index of the last byte that is not zero. Most of what is asked about is zeros: they are passed over in pieces whose
/// bytes are put together without a branch for each.
fn last_not_zero(block: &[u8]) -> Option<usize> {
    const PIECE: usize = 256;
    let is_zero = |piece: &[u8]| piece.iter().fold(0, |all, byte| all | byte) == 0;
    let piece = block.chunks(PIECE).rposition(|piece| !is_zero(piece))? * PIECE;
    let end = block.len().min(piece + PIECE);
    block[piece..end]
        .iter()
        .rposition(|byte| *byte != 0)
        .map(|at| piece + at)
}

/// A walk over the frames of one file.
pub(crate) struct Walk {
    window: Window,
    offset: u64,
}

/// What lies at the walk's position.
pub(crate) enum Step {
    /// A frame whose checksums are right.
    Frame {
        offset: u64,
        header: FrameHeader,
        header_bytes: [u8; HEADER_LEN],
    },
    /// No frame: the file's frames end here, one way or another.
    End {
        offset: u64,
        fault: FrameFault,
        header: Option<FrameHeader>,
    },
}

impl Walk {
    pub(crate) fn next(&mut self) -> io::Result<Step> {
        let offset = self.offset;
        let header = match FrameHeader::decode(self.window.at(offset, HEADER_LEN)?) {
            Ok(header) => header,
            Err(fault) => {
                return Ok(Step::End {
                    offset,
                    fault,
                    header: None,
                });
            }
        };
        let bytes = self.window.at(offset, header.frame_len())?;
        match Frame::decode(bytes) {
            Ok(_) => {
                let header_bytes = bytes[..HEADER_LEN]
                    .try_into()
                    .expect("a frame starts with a header");
                self.offset += header.frame_len() as u64;
                Ok(Step::Frame {
                    offset,
                    header,
                    header_bytes,
                })
            }
            Err(fault) => Ok(Step::End {
                offset,
                fault,
                header: Some(header),
            }),
        }
    }

    /// The cells of a frame that was walked, whose checksums are right.
    pub(crate) fn cells(&mut self, header: &FrameHeader, offset: u64) -> io::Result<FrameCells> {
        let bytes = self.window.at(offset, header.bodies_start())?;
        let cells = header.cells(bytes.get(HEADER_LEN..).unwrap_or_default());
        Ok(FrameCells {
            log: header.log,
            first_id: header.first_id,
            received_at: header.received_at,
            cells: cells.map_err(io::Error::other)?,
        })
    }

    /// The bytes of the frame at `offset` as far as they are there.
    pub(crate) fn bytes(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        self.window.at(offset, len)
    }
}

fn header_page(directory: Uuid, number: u64) -> Vec<u8> {
    let mut page = vec![0; HEADER_PAGE];
    page[..8].copy_from_slice(&MAGIC);
    page[8..24].copy_from_slice(directory.as_bytes());
    page[24..32].copy_from_slice(&number.to_le_bytes());
    let crc = crc32c::crc32c(&page[..60]);
    page[60..64].copy_from_slice(&crc.to_le_bytes());
    page
}

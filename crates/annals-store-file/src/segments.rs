//! The segments of a data directory: which there are, how one is opened, and what is kept of it between reads.
//!
//! Invariants: the segments of a log follow one another without a gap; one whose events are all in a segment before it was joined into
//! that one, and is passed over. A packed segment's file is opened when it is read, and may be gone by then, or have
//! become a larger one: readers are told so, look again, and never mix the two.

use std::io;
use std::sync::Arc;

use annals_core::chain::{EventId, Head, LogId};
use annals_core::hash::EventHash;
use annals_store::{Damage, EventRun, ReadError};

use crate::cache::{BlockCache, CacheBounds, FileCache};
use crate::damage::{Place, StoreDamage};
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::layout::{numbered, segment_name, segments_dir};
use crate::packed::{PackedFooter, PackedSegment, SegmentFault};
use crate::segment;
use crate::view::{Part, place};

/// How often a log's segments are listed anew when one of them is gone before it is opened.
const LOOKS_MAX: usize = 16;

/// The files of all logs' segments.
pub(crate) struct SegmentFiles {
    disk: Arc<dyn Disk>,
    blocks: BlockCache,
    files: FileCache,
}

/// A log's segments as they follow one another.
pub(crate) struct SegmentChain {
    /// The log's head at their end.
    pub(crate) head: Head,
    pub(crate) parts: Vec<Part>,
    /// Number of the last journal frame that went into one of them.
    pub(crate) last_frame: u64,
    /// Names of segments whose events are all in a segment before them.
    pub(crate) covered: Vec<String>,
}

impl Default for SegmentChain {
    fn default() -> Self {
        Self {
            head: Head::EMPTY,
            parts: Vec::new(),
            last_frame: 0,
            covered: Vec::new(),
        }
    }
}

/// What the footer of any version says.
struct Ends {
    prev_hash: EventHash,
    after: Head,
    last_frame: u64,
}

impl SegmentFiles {
    pub(crate) fn new(disk: Arc<dyn Disk>, bounds: &CacheBounds) -> Self {
        Self {
            disk,
            blocks: BlockCache::new(bounds),
            files: FileCache::new(bounds),
        }
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Follows the segments of a log, into `chain`: with an error, as far as they are in order.
    pub(crate) fn chain(self: &Arc<Self>, log: LogId, chain: &mut SegmentChain) -> Result<(), OpenError> {
        for _ in 1..LOOKS_MAX {
            *chain = SegmentChain::default();
            match self.follow(log, chain) {
                // It was joined into another one since the directory was listed.
                Err(OpenError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {}
                followed => return followed,
            }
        }
        *chain = SegmentChain::default();
        self.follow(log, chain)
    }

    fn follow(self: &Arc<Self>, log: LogId, chain: &mut SegmentChain) -> Result<(), OpenError> {
        for number in numbered(&*self.disk, &segments_dir(log), ".segment")? {
            let first = EventId::new(number).unwrap_or(EventId::FIRST);
            let (ends, part) = self.open(log, first)?;
            chain.last_frame = chain.last_frame.max(ends.last_frame);
            if chain.head.size.contains(part.last()) {
                chain.covered.push(segment_name(log, first));
                continue;
            }
            if first != chain.head.size.next() || ends.prev_hash != chain.head.hash {
                let what = format!(
                    "the segment follows event {}, the one before it ends elsewhere",
                    first.get() - 1
                );
                let place = Place::Segment {
                    log,
                    first,
                    offset: 0,
                };
                return Err(StoreDamage {
                    event: Some(chain.head.size.next()),
                    place,
                    what,
                }
                .into());
            }
            chain.head = ends.after;
            chain.parts.push(part);
        }
        Ok(())
    }

    /// Opens a segment of any version by the id of its first event.
    fn open(self: &Arc<Self>, log: LogId, first: EventId) -> Result<(Ends, Part), OpenError> {
        let file = self.disk.open_read(&segment_name(log, first))?;
        let mut magic = [0; segment::MAGIC.len()];
        if file.read_at(&mut magic, 0)? == magic.len() && magic == segment::MAGIC {
            let (footer, part) = segment::open(file, log, first)?;
            let ends = Ends {
                prev_hash: footer.prev_hash,
                after: footer.after,
                last_frame: footer.last_frame,
            };
            return Ok((ends, Part::Frames(part)));
        }
        let packed = Packed::opened(self, &*file, log, first)?;
        let ends = Ends {
            prev_hash: packed.footer().prev_hash,
            after: packed.footer().after,
            last_frame: packed.footer().last_frame,
        };
        Ok((ends, Part::Packed(packed)))
    }
}

/// A packed segment, whose file is open only while it is read, or as long as the cache keeps it.
#[derive(Clone)]
pub(crate) struct Packed {
    files: Arc<SegmentFiles>,
    segment: PackedSegment,
}

/// Why a packed segment gave no events.
pub(crate) enum PackedFault {
    /// Its file is gone, or is another one: it was joined with others.
    Replaced,
    Read(ReadError),
}

impl From<ReadError> for PackedFault {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<io::Error> for PackedFault {
    fn from(error: io::Error) -> Self {
        Self::Read(error.into())
    }
}

impl Packed {
    /// The segment in `file`.
    pub(crate) fn opened(
        files: &Arc<SegmentFiles>,
        file: &dyn DiskFile,
        log: LogId,
        first: EventId,
    ) -> Result<Self, OpenError> {
        let segment = PackedSegment::open(file, log, first).map_err(|fault| broken(fault, log, first))?;
        Ok(Self {
            files: Arc::clone(files),
            segment,
        })
    }

    pub(crate) fn footer(&self) -> &PackedFooter {
        self.segment.footer()
    }

    pub(crate) fn segment(&self) -> &PackedSegment {
        &self.segment
    }

    pub(crate) fn files(&self) -> &Arc<SegmentFiles> {
        &self.files
    }

    pub(crate) fn name(&self) -> String {
        segment_name(self.footer().log, self.footer().first)
    }

    /// As [`annals_store::ReadLog::read`]; `from` is in the segment.
    pub(crate) fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, PackedFault> {
        let file = self.file()?;
        let run = self.segment.read(&*file, &self.files.blocks, from, bytes_max);
        run.map_err(|fault| PackedFault::Read(self.not_read(fault)))
    }

    /// The open file. It may have another name by now, or none.
    pub(crate) fn file(&self) -> Result<Arc<dyn DiskFile>, PackedFault> {
        self.files.files.get_or_open(self.segment.key(), || {
            let file = match self.files.disk.open_read(&self.name()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(PackedFault::Replaced),
                opened => opened?,
            };
            let found = PackedSegment::open(&*file, self.footer().log, self.footer().first)
                .map_err(|fault| PackedFault::Read(self.not_read(fault)))?;
            if found.footer() == self.footer() {
                Ok(file)
            } else {
                Err(PackedFault::Replaced)
            }
        })
    }

    fn not_read(&self, fault: SegmentFault) -> ReadError {
        match fault {
            SegmentFault::Io(error) => error.into(),
            SegmentFault::Damaged { event, offset, what } => Damage {
                event,
                place: place(&self.name(), offset),
                what,
            }
            .into(),
            fault @ SegmentFault::Contradiction => Damage {
                event: self.footer().first,
                place: self.name(),
                what: fault.to_string(),
            }
            .into(),
        }
    }
}

/// What is wrong with a segment as such.
pub(crate) fn broken(fault: SegmentFault, log: LogId, first: EventId) -> OpenError {
    let damage = |event, offset, what| StoreDamage {
        event,
        place: Place::Segment { log, first, offset },
        what,
    };
    match fault {
        SegmentFault::Io(error) => error.into(),
        SegmentFault::Damaged { event, offset, what } => damage(Some(event), offset, what).into(),
        fault @ SegmentFault::Contradiction => damage(Some(first), 0, fault.to_string()).into(),
    }
}

//! Work beside the writer: the next journal file is made before it is needed, full ones are packed and released.
//!
//! Invariant: a journal file is removed only after every one of its frames stands, read back and re-hashed, in segments
//! whose names are durable. So an event is always in the journal, in a segment, or (between the two steps) in both, and
//! loading takes it once.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use annals_core::chain::{EventId, LogId};
use annals_store::RecoverError;

use crate::damage::StoreDamage;
use crate::error::OpenError;
use crate::frame::FrameHeader;
use crate::journal_file::{FRAMES_START, JournalFile, Step};
use crate::layout::JOURNAL_DIR;
use crate::released::FrameCells;
use crate::segment;
use crate::shared::{Shared, is_no_space};
use crate::view::FileLog;

/// The maintenance of one data directory.
pub struct Maintenance {
    shared: Arc<Shared>,
}

impl Maintenance {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Waits until there is something to do; false when the journal is closed and the maintenance can end.
    #[must_use]
    pub fn wait_for_work(&self) -> bool {
        self.shared.wait_for_work()
    }

    /// Does one thing: prepares the next journal file, or packs the oldest full one. False when there was nothing to do.
    ///
    /// # Errors
    /// The storage failed, or the journal is damaged. Nothing is lost: the step can be tried again, and commits go on until
    /// the backlog is full.
    pub fn step(&self) -> Result<bool, RecoverError> {
        let _maintenance = self.shared.maintenance();
        let prepared = self.prepare_next();
        if let Ok(true) = prepared {
            return Ok(true);
        }
        let Some(oldest) = self.shared.files().closed.front().cloned() else {
            return Ok(prepared?);
        };
        let packed = self.pack(&oldest);
        self.shared.files().packing_lacks_space =
            matches!(&packed, Err(OpenError::Io(error)) if is_no_space(error));
        packed?;
        self.shared.files().closed.pop_front();
        // Packing makes room: on a full disk it goes on without a prepared file.
        prepared?;
        Ok(true)
    }

    fn prepare_next(&self) -> io::Result<bool> {
        let _preparing = self.shared.preparing();
        let files = self.shared.files();
        if files.prepared.is_some() {
            return Ok(false);
        }
        let number = files.next_number;
        drop(files);
        let len = self.shared.options.journal_file_bytes;
        let prepared = JournalFile::prepare(&*self.shared.disk, self.shared.directory, number, len)?;
        self.shared.files().prepared = Some(prepared);
        Ok(true)
    }

    /// Moves the frames of a full journal file into segments, then removes it.
    fn pack(&self, journal: &JournalFile) -> Result<(), OpenError> {
        let Walked {
            logs,
            last_frame,
            cells,
        } = walk(journal)?;
        for shown in self.shared.logs.all() {
            let id = shown.manifest().log_id();
            let frames = logs.iter().find(|(log, _)| *log == id).map(|(_, frames)| frames);
            check_end(journal, &shown, frames)?;
        }
        for (log, frames) in logs {
            let Some(shown) = self.shared.logs.get(log) else {
                return Err(damaged(
                    journal,
                    &frames,
                    "the frame belongs to a log that has no manifest",
                )
                .into());
            };
            // The head in front of this file's frames; frames before it were packed by a run that was cut off.
            let packed = shown.view().packed;
            let waiting: Vec<_> = frames
                .into_iter()
                .filter(|(header, _)| !packed.size.contains(header.last_id()))
                .collect();
            if waiting.is_empty() {
                continue;
            }
            let (part, after) = segment::write(&*self.shared.disk, log, &journal.file, &waiting, &packed)?;
            shown.replace_journal(journal.number, part, after);
        }
        self.release(last_frame, &cells)?;
        match self.shared.disk.remove(&journal.name()) {
            // A step before this one came as far as here.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed?,
        }
        self.shared.disk.sync_dir(JOURNAL_DIR)?;
        Ok(())
    }
}

impl Maintenance {
    /// Says that the frames up to `last` are in segments, and keeps what their cells left.
    fn release(&self, last: u64, cells: &[FrameCells]) -> io::Result<()> {
        let mut released = self.shared.released().clone();
        if last <= released.frame {
            // A step before this one came as far as here.
            return Ok(());
        }
        cells.iter().for_each(|frame| frame.apply(&mut released.cells));
        released.frame = last;
        released.write(&*self.shared.disk, self.shared.directory)?;
        *self.shared.released() = released;
        Ok(())
    }
}

/// What readers were shown of the file is what is in it: bytes that became zeros since would look like its end.
fn check_end(journal: &JournalFile, shown: &FileLog, frames: Option<&Frames>) -> Result<(), StoreDamage> {
    let Some((first, last)) = shown.held_by(journal.number) else {
        return Ok(());
    };
    let found = frames.and_then(|frames| frames.last());
    let next = found.map_or(first, |(header, _)| header.last_id().plus(1));
    if next > last {
        return Ok(());
    }
    let end = found.map_or(FRAMES_START, |(header, at)| at + header.frame_len() as u64);
    Err(StoreDamage {
        event: Some(next),
        place: journal.place(end),
        what: "a full journal file has lost frames at its end".to_owned(),
    })
}

type Frames = Vec<(FrameHeader, u64)>;

/// What a full journal file holds.
#[derive(Default)]
struct Walked {
    /// The frames of each log, in order.
    logs: Vec<(LogId, Frames)>,
    /// Number of the last frame, 0 when there is none.
    last_frame: u64,
    /// The cells of the frames that have any, in order.
    cells: Vec<FrameCells>,
}

fn walk(journal: &JournalFile) -> Result<Walked, OpenError> {
    let mut walked = Walked::default();
    let mut by_id: HashMap<LogId, usize> = HashMap::new();
    let mut walk = journal.walk();
    loop {
        match walk.next()? {
            Step::Frame { offset, header, .. } => {
                let at = *by_id.entry(header.log).or_insert_with(|| {
                    walked.logs.push((header.log, Vec::new()));
                    walked.logs.len() - 1
                });
                walked.logs[at].1.push((header, offset));
                walked.last_frame = header.number;
                if header.meta_len > 0 {
                    walked.cells.push(walk.cells(&header, offset)?);
                }
            }
            Step::End { offset, .. } => {
                // A full file was durable to its end: whatever is written behind its frames is a frame gone bad.
                if journal.last_written(offset)?.is_some() {
                    return Err(StoreDamage {
                        event: next_event(&walked.logs),
                        place: journal.place(offset),
                        what: "a frame of a full journal file is damaged".to_owned(),
                    }
                    .into());
                }
                return Ok(walked);
            }
        }
    }
}

/// The event that the next frame would have begun with, where it can be told whose it was.
fn next_event(logs: &[(LogId, Frames)]) -> Option<EventId> {
    match logs {
        [] => Some(EventId::FIRST),
        [(_, frames)] => frames.last().map(|(header, _)| header.last_id().plus(1)),
        _ => None,
    }
}

fn damaged(journal: &JournalFile, frames: &Frames, what: &str) -> StoreDamage {
    let first = frames.first();
    StoreDamage {
        event: first.map(|(header, _)| header.first_id),
        place: journal.place(first.map_or(FRAMES_START, |(_, at)| *at)),
        what: what.to_owned(),
    }
}

//! Work beside the writer: the next journal file is made before it is needed, full ones are packed and released.
//!
//! Invariant: a journal file is removed only after every one of its frames stands, read back and re-hashed, in segments
//! whose names are durable. So an event is always in the journal, in a segment, or (between the two steps) in both, and
//! loading takes it once.

use std::io;
use std::sync::Arc;

use annals_core::chain::{EventId, LogId};
use annals_store::{Damage, RecoverError};

use crate::error::OpenError;
use crate::frame::FrameHeader;
use crate::journal_file::{JournalFile, Step};
use crate::layout::JOURNAL_DIR;
use crate::segment;
use crate::shared::Shared;
use crate::view::place;

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
        if self.prepare_next()? {
            return Ok(true);
        }
        let Some(oldest) = self.shared.files().closed.front().cloned() else {
            return Ok(false);
        };
        self.pack(&oldest)?;
        self.shared.files().closed.pop_front();
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
        for (log, frames) in frames_by_log(journal)? {
            let Some(shown) = self.shared.logs.get(&log) else {
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
        self.shared.disk.remove(&journal.name())?;
        self.shared.disk.sync_dir(JOURNAL_DIR)?;
        Ok(())
    }
}

type Frames = Vec<(FrameHeader, u64)>;

/// The frames of each log in the file, in order.
fn frames_by_log(journal: &JournalFile) -> Result<Vec<(LogId, Frames)>, OpenError> {
    let mut logs: Vec<(LogId, Frames)> = Vec::new();
    let mut walk = journal.walk();
    loop {
        match walk.next()? {
            Step::Frame { offset, header, .. } => match logs.iter_mut().find(|(log, _)| *log == header.log) {
                Some((_, frames)) => frames.push((header, offset)),
                None => logs.push((header.log, vec![(header, offset)])),
            },
            Step::End { offset, .. } => {
                // A full file was durable to its end: whatever is written behind its frames is a frame gone bad.
                if journal.last_written(offset)?.is_some() {
                    let event = logs
                        .last()
                        .and_then(|(_, frames)| frames.last())
                        .map(|(header, _)| header.last_id().plus(1));
                    let event = event.unwrap_or(EventId::FIRST);
                    let what = "a frame of a full journal file is damaged".to_owned();
                    return Err(Damage {
                        event,
                        place: place(&journal.name(), offset),
                        what,
                    }
                    .into());
                }
                return Ok(logs);
            }
        }
    }
}

fn damaged(journal: &JournalFile, frames: &Frames, what: &str) -> Damage {
    let (event, offset) = frames
        .first()
        .map_or((EventId::FIRST, 0), |(header, at)| (header.first_id, *at));
    Damage {
        event,
        place: place(&journal.name(), offset),
        what: what.to_owned(),
    }
}

//! Work beside the writer: the next journal file is made before it is needed, full ones are packed and released.
//!
//! Invariant: a journal file is removed only after every one of its frames stands, read back and re-hashed, in segments
//! whose names are durable. So an event is always in the journal, in a segment, or (between the two steps) in both, and
//! loading takes it once.

use std::io;
use std::sync::Arc;

use annals_core::chain::LogId;
use annals_store::RecoverError;

use crate::error::OpenError;
use crate::journal_file::JournalFile;
use crate::layout::JOURNAL_DIR;
use crate::pack::{self, Backlog};
use crate::released::FrameCells;
use crate::shared::{Shared, is_no_space};

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

    /// Does one thing: prepares the next journal file, or packs the oldest full ones. False when there was nothing to do.
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
        let closed = self.shared.files().closed.clone();
        if closed.is_empty() {
            return Ok(prepared?);
        }
        let backlog = Backlog::survey(closed.into_iter())?;
        let packed = self.pack(&backlog);
        self.shared.files().packing_lacks_space =
            matches!(&packed, Err(OpenError::Io(error)) if is_no_space(error));
        packed?;
        self.shared.files().closed.drain(..backlog.files().len());
        self.join_all(backlog.logs())?;
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

    /// Moves the frames of full journal files into segments, then removes the files.
    fn pack(&self, backlog: &Backlog) -> Result<(), OpenError> {
        for shown in self.shared.logs.all() {
            for (index, journal) in backlog.files().iter().enumerate() {
                if let Some(held) = shown.held_by(journal.number) {
                    backlog.check_end(shown.manifest().log_id(), index, held)?;
                }
            }
        }
        for log in backlog.logs() {
            let shown = self
                .shared
                .logs
                .get(*log)
                .ok_or_else(|| backlog.no_manifest(*log))?;
            let packed = shown.view().packed;
            if let Some(segment) = backlog.pack(&self.shared.segments, *log, &packed)? {
                shown.show_packed(segment);
            }
        }
        self.release(backlog.last_frame(), backlog.cells())?;
        for journal in backlog.files() {
            match self.shared.disk.remove(&journal.name()) {
                // A step before this one came as far as here.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            // One after the other: if a crash undid the removal of an earlier one alone, there would be a gap behind it.
            self.shared.disk.sync_dir(JOURNAL_DIR)?;
        }
        Ok(())
    }

    /// Joins the last segments of logs that have many of them.
    fn join_all(&self, logs: &[LogId]) -> Result<(), OpenError> {
        for log in logs {
            match self.join(*log) {
                // It takes room for a while; events are packed without it, and the next pack tries again.
                Err(OpenError::Io(error)) if is_no_space(&error) => {
                    tracing::warn!(%log, %error, "segments are not joined");
                }
                joined => joined?,
            }
        }
        Ok(())
    }

    fn join(&self, log: LogId) -> Result<(), OpenError> {
        let Some(shown) = self.shared.logs.get(log) else {
            return Ok(());
        };
        let packed = shown.last_packed();
        let parts = pack::to_join(&packed);
        if let Some(joined) = pack::join(&self.shared.segments, parts)? {
            shown.show_joined(joined);
            pack::remove(&*self.shared.disk, log, &parts[1..])?;
        }
        Ok(())
    }

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

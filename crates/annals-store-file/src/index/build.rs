//! Building the index: behind the head, from the events as any reader gets them, on a thread of its own.
//!
//! Invariant: a file gets its name when all its bytes are written; files that it covers go afterwards. So at any moment each run is
//! there as a whole, and a crash leaves at most files that nobody lists.

use std::io::{self, Write};
use std::sync::Arc;

use annals_core::filter;
use annals_index::{BaseBuilder, BuildError, Fault, MergeError, RunId, merge};
use annals_store::{ReadError, ReadLog};
use thiserror::Error;

use super::LogIndex;
use super::file::{IndexCache, RunFile};
use crate::disk::{Disk, DiskFile, give_back};
use crate::layout::index_dir;
use crate::logs::FileLogs;
use crate::view::FileLog;

/// Bytes of bodies that are read at once.
const READ_BYTES: usize = 1024 * 1024;
const WRITE_BYTES: usize = 256 * 1024;

/// The maintenance of the indexes of one data directory.
pub struct IndexMaintenance {
    disk: Arc<dyn Disk>,
    logs: Arc<FileLogs>,
    cache: Arc<IndexCache>,
}

/// Why a run could not be built. What is sealed is not touched by that: queries read what no run covers.
#[derive(Debug, Error)]
pub enum IndexError {
    /// The events can not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The index can not be written: the operator has to look at the disk.
    #[error("the index can not be written: {0}")]
    Write(#[from] io::Error),
    /// A bug.
    #[error("the index can not be built: {0}")]
    Build(BuildError),
}

impl IndexMaintenance {
    pub(crate) fn new(disk: Arc<dyn Disk>, logs: Arc<FileLogs>, cache: Arc<IndexCache>) -> Self {
        Self { disk, logs, cache }
    }

    /// Waits until there may be something to build; false when the directory is closed and the maintenance can end.
    #[must_use]
    pub fn wait_for_work(&self) -> bool {
        self.cache.wait()
    }

    /// Builds one run for each log that has events for one, and what can be merged with it. False when there was none.
    ///
    /// # Errors
    /// [`IndexError`]; the step can be tried again.
    pub fn step(&self) -> Result<bool, IndexError> {
        let mut worked = false;
        for log in self.logs.all() {
            worked |= self.build(&log)?;
        }
        Ok(worked)
    }

    /// Throws the index of `log` away and builds it again from the events. `progress` hears how many events, from the first on, are
    /// covered so far; how many are in the end is returned. The last ones, too few for a run, never are.
    ///
    /// # Errors
    /// [`IndexError`]; the runs that were built until then stay.
    pub fn rebuild(&self, log: &FileLog, progress: &dyn Fn(u64)) -> Result<u64, IndexError> {
        let Some(index) = log.index() else {
            return Ok(0);
        };
        let thrown_away = std::mem::take(&mut *index.lock());
        for run in thrown_away.iter() {
            give_back(&*self.disk, run.name());
        }
        let covered = || index.missing(u64::MAX).unwrap_or(0) * index.geometry.len(0);
        while self.build(log)? {
            progress(covered());
        }
        Ok(covered())
    }

    fn build(&self, log: &FileLog) -> Result<bool, IndexError> {
        let Some(index) = log.index() else {
            return Ok(false);
        };
        let Some(number) = index.missing(log.head().size.0) else {
            return Ok(false);
        };
        let run = self.base(log, index, number)?;
        let mut newest = run.id();
        self.show(index, run);
        while let Some(parent) = index.geometry.parent(newest) {
            let Some(children) = index.children(parent) else {
                break;
            };
            match self.merged(index, parent, &children)? {
                Some(run) => self.show(index, run),
                None => break,
            }
            newest = parent;
        }
        Ok(true)
    }

    /// Builds the run of base `number` from its events.
    pub(super) fn base(&self, log: &FileLog, index: &LogIndex, number: u64) -> Result<RunFile, IndexError> {
        let id = RunId { level: 0, number };
        let mut builder = BaseBuilder::new(index.geometry, index.log, number);
        let mut last_hash = None;
        while !builder.is_full() {
            let run = log.read(builder.next_event(), READ_BYTES)?;
            if run.is_empty() {
                let missing = io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "an event below the head is not there",
                );
                return Err(ReadError::Io(missing).into());
            }
            for event in run.iter() {
                filter::terms(event.body, |field, raw| builder.add_term(field, raw));
                builder
                    .end_event(filter::claimed_time(event.body))
                    .map_err(IndexError::Build)?;
                last_hash = Some(event.hash);
                if builder.is_full() {
                    break;
                }
            }
        }
        let last = last_hash.ok_or_else(|| io::Error::other("a base of the index has no event"))?;
        let run = RunFile::of_events(&self.disk, &self.cache, index.geometry, index.log, id, &last);
        let written = self.write(index, run.name(), |out| match builder.finish(out) {
            Ok(_) => Ok(Ok(())),
            Err(BuildError::Write(error)) => Err(error.into()),
            Err(error) => Err(IndexError::Build(error)),
        })?;
        debug_assert!(written.is_ok(), "a base is made of no other run");
        Ok(run)
    }

    /// Merges `children` into `parent`; `None` when one of them turned out damaged, which is then built again.
    pub(super) fn merged(
        &self,
        index: &LogIndex,
        parent: RunId,
        children: &[Arc<RunFile>],
    ) -> Result<Option<RunFile>, IndexError> {
        let Some(last) = children.last() else {
            return Ok(None);
        };
        let run = RunFile::new(
            &self.disk,
            &self.cache,
            index.geometry,
            index.log,
            parent,
            last.hash_digits(),
        );
        match self.write(index, run.name(), |out| merge_into(children, out))? {
            Ok(()) => Ok(Some(run)),
            Err(Unusable { id, why }) => {
                if let Some(child) = children.iter().find(|child| child.id() == id) {
                    index.give_up(child, &why);
                }
                Ok(None)
            }
        }
    }

    fn write(
        &self,
        index: &LogIndex,
        name: &str,
        content: impl FnOnce(&mut FileWriter<'_>) -> Result<Result<(), Unusable>, IndexError>,
    ) -> Result<Result<(), Unusable>, IndexError> {
        self.disk.create_dir(&index_dir(index.log))?;
        let temporary = format!("{name}.tmp");
        let file = self.disk.create(&temporary)?;
        let mut out = FileWriter::new(&*file);
        let written = content(&mut out).and_then(|written| {
            if written.is_ok() {
                out.flush()?;
                self.disk.rename(&temporary, name)?;
            }
            Ok(written)
        });
        if !matches!(written, Ok(Ok(()))) {
            give_back(&*self.disk, &temporary);
        }
        written
    }

    /// Lets queries use a run, and removes the files of those that it covers. A query that still reads one of them finds it gone and
    /// asks again.
    fn show(&self, index: &LogIndex, run: RunFile) {
        for replaced in index.show(Arc::new(run)) {
            give_back(&*self.disk, replaced.name());
        }
    }
}

/// A run that can not be merged, and why.
struct Unusable {
    id: RunId,
    why: String,
}

fn merge_into(
    children: &[Arc<RunFile>],
    out: &mut FileWriter<'_>,
) -> Result<Result<(), Unusable>, IndexError> {
    let unusable = |id, fault: Fault| Unusable {
        id,
        why: fault.to_string(),
    };
    let mut runs = Vec::with_capacity(children.len());
    for child in children {
        match child.open() {
            Ok(run) => runs.push(run),
            Err(fault) => return Ok(Err(unusable(child.id(), fault))),
        }
    }
    match merge(&runs, out) {
        Ok(_) => Ok(Ok(())),
        Err(MergeError::Input { input, fault }) => Ok(Err(unusable(input, fault))),
        Err(MergeError::Write(error)) => Err(error.into()),
        Err(error @ MergeError::Inputs(_)) => Err(io::Error::other(error).into()),
    }
}

/// Writes one file from front to back in large pieces.
struct FileWriter<'a> {
    file: &'a dyn DiskFile,
    offset: u64,
    buffer: Vec<u8>,
}

impl<'a> FileWriter<'a> {
    fn new(file: &'a dyn DiskFile) -> Self {
        Self {
            file,
            offset: 0,
            buffer: Vec::with_capacity(WRITE_BYTES),
        }
    }
}

impl Write for FileWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.offset)?;
        self.offset += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

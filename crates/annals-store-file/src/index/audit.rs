//! Auditing an index: every run is built again from the log's events and compared byte for byte. An index is not covered by the
//! chain, and one that was changed makes queries answer wrongly; this is how that is found.
//!
//! Invariant: nothing in the audited directory is changed; what is built for comparison lies in a directory of its own.

use std::io;
use std::sync::Arc;

use annals_core::chain::LogId;
use annals_index::{Geometry, RunId};
use annals_store::ReadLog;

use super::build::{IndexError, IndexMaintenance};
use super::file::{RunFile, parse};
use super::{Indexes, LogIndex};
use crate::disk::{Disk, DiskFile, give_back, join, read_exact_at};
use crate::layout::index_dir;
use crate::view::FileLog;

const COMPARE_BYTES: usize = 256 * 1024;

/// What was found of one log's index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IndexAudit {
    /// Runs that are what the events make.
    pub sound: u64,
    /// Files that are not: `serve` would answer wrongly by them, or build them again.
    pub damaged: Vec<IndexDamage>,
}

/// A file of an index that is not what the events make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexDamage {
    /// The file, relative to the data directory.
    pub file: String,
    /// What is wrong with it.
    pub what: String,
}

/// Builds every run of `log`'s index in the directory `disk` again, in `scratch`, and compares. `progress` hears how many events
/// the runs compared so far cover. A run that a live server merges meanwhile is passed over, and so is one of events behind the
/// log's head, which no query uses.
///
/// # Errors
/// [`IndexError`]: the events or the scratch directory can not be used; nothing is known of the index then.
pub fn audit_index(
    disk: &dyn Disk,
    log: &FileLog,
    scratch: Arc<dyn Disk>,
    progress: &dyn Fn(u64),
) -> Result<IndexAudit, IndexError> {
    audit_index_of(disk, log, scratch, Geometry::PRODUCTION, progress)
}

/// [`audit_index`] of an index of other sizes: for tests.
///
/// # Errors
/// As [`audit_index`].
pub fn audit_index_of(
    disk: &dyn Disk,
    log: &FileLog,
    scratch: Arc<dyn Disk>,
    geometry: Geometry,
    progress: &dyn Fn(u64),
) -> Result<IndexAudit, IndexError> {
    let id = log.manifest().log_id();
    let dir = index_dir(id);
    let mut again = Again::new(scratch, geometry, id);
    again.make_directories()?;
    let names = match disk.list(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(IndexAudit::default()),
        listed => listed?,
    };
    let mut runs: Vec<(RunId, String)> = names
        .iter()
        .filter_map(|name| Some((parse(name)?.0, name.clone())))
        .collect();
    runs.sort_unstable();
    let mut found = IndexAudit::default();
    let mut covered = 0;
    for (run, name) in runs {
        let file = join(&dir, &name);
        match again.compare(disk, log, run, &file)? {
            Some(Ok(())) => found.sound += 1,
            Some(Err(what)) => found.damaged.push(IndexDamage { file, what }),
            None => {}
        }
        covered += geometry.len(run.level);
        progress(covered);
    }
    Ok(found)
}

/// The index as the events make it.
struct Again {
    maintenance: IndexMaintenance,
    index: LogIndex,
    disk: Arc<dyn Disk>,
}

impl Again {
    fn new(scratch: Arc<dyn Disk>, geometry: Geometry, log: LogId) -> Self {
        let indexes = Indexes::new(Arc::clone(&scratch), geometry);
        Self {
            maintenance: IndexMaintenance::new(
                Arc::clone(&scratch),
                Arc::default(),
                Arc::clone(&indexes.cache),
            ),
            index: indexes.load(log),
            disk: scratch,
        }
    }

    fn make_directories(&self) -> io::Result<()> {
        let dir = index_dir(self.index.log);
        let parts = dir.match_indices('/').map(|(at, _)| &dir[..at]);
        parts
            .chain([dir.as_str()])
            .try_for_each(|dir| self.disk.create_dir(dir))
    }

    /// What is wrong with the file of a run; `None` when it is gone.
    fn compare(
        &mut self,
        disk: &dyn Disk,
        log: &FileLog,
        run: RunId,
        name: &str,
    ) -> Result<Option<Result<(), String>>, IndexError> {
        let geometry = self.index.geometry;
        let found = match disk.open_read(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        // No query uses it; beside a live server it is of events that came since the log was looked at.
        if run.level > geometry.level_max() || !log.head().size.contains(last_of(geometry, run)) {
            return Ok(None);
        }
        let again = self.build(log, run)?;
        let verdict = if again.name() == name {
            self.same_bytes(&*found, again.name())?
        } else {
            Err("it was made of other events than the log's".to_owned())
        };
        give_back(&*self.disk, again.name());
        Ok(Some(verdict))
    }

    /// Builds a run from the events, in the scratch directory.
    fn build(&self, log: &FileLog, run: RunId) -> Result<Arc<RunFile>, IndexError> {
        if run.level == 0 {
            return Ok(Arc::new(self.maintenance.base(log, &self.index, run.number)?));
        }
        let children = self.index.geometry.children(run);
        let children: Vec<Arc<RunFile>> = children
            .map(|child| self.build(log, child))
            .collect::<Result<_, _>>()?;
        let merged = self.maintenance.merged(&self.index, run, &children)?;
        for child in &children {
            give_back(&*self.disk, child.name());
        }
        let unread = || {
            io::Error::other("a run that was just written can not be read back from the scratch directory")
        };
        Ok(Arc::new(merged.ok_or_else(unread)?))
    }

    fn same_bytes(&self, found: &dyn DiskFile, again: &str) -> io::Result<Result<(), String>> {
        let again = self.disk.open_read(again)?;
        let size = again.size()?;
        if found.size()? != size {
            return Ok(Err("it has another length than the events make it".to_owned()));
        }
        let (mut one, mut other) = (vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]);
        let mut at = 0;
        while at < size {
            let len = usize::try_from(size - at).map_or(COMPARE_BYTES, |rest| rest.min(COMPARE_BYTES));
            read_exact_at(found, &mut one[..len], at)?;
            read_exact_at(&*again, &mut other[..len], at)?;
            if one[..len] != other[..len] {
                let differs = one.iter().zip(&other).position(|(one, other)| one != other);
                let at = at + differs.unwrap_or(0) as u64;
                return Ok(Err(format!(
                    "it is not what the events make it, from byte {at} on"
                )));
            }
            at += len as u64;
        }
        Ok(Ok(()))
    }
}

fn last_of(geometry: Geometry, run: RunId) -> annals_core::chain::EventId {
    geometry.first(run).plus(geometry.len(run.level) - 1)
}

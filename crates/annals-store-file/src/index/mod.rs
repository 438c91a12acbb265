//! The index of each log: runs in files beside its segments, built behind the head, asked by queries.
//!
//! The life of an event here: once 4,096 events behind the last run are sealed, [`IndexMaintenance`] reads them as any reader does
//! and writes a run; runs are merged as soon as all that make the next larger one are there. A query asks the runs and reads
//! what no run covers ([`find`]), so it sees every sealed event, and an index can be thrown away at any time.
//!
//! Invariants: a run is used only when its file names the hash of its last event as the log has it, so the index of another
//! history (a directory restored over a newer one) is not taken; a run that turns out damaged is dropped, told, and built again.
//! Files need no sync: every page has a checksum. Memory: what the caches may hold, and some 200 bytes for each run, of which a
//! log has no more than a few dozen, whatever its size.

mod audit;
mod build;
mod file;
pub(crate) mod find;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use annals_core::chain::{EventId, LogId};
use annals_index::{Geometry, RunId};
use annals_store::ReadLog;

pub use audit::{IndexAudit, IndexDamage, audit_index, audit_index_of};
pub use build::{IndexError, IndexMaintenance};
pub(crate) use file::{IndexCache, RunFile};

use crate::disk::{Disk, give_back};

/// What the indexes of a directory are loaded with.
#[derive(Clone)]
pub(crate) struct Indexes {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) cache: Arc<IndexCache>,
    pub(crate) geometry: Geometry,
}

impl Indexes {
    pub(crate) fn new(disk: Arc<dyn Disk>, geometry: Geometry) -> Self {
        Self {
            disk,
            cache: Arc::new(IndexCache::new(geometry)),
            geometry,
        }
    }

    /// The index of `log` as its files have it. Files that are of no use, left by a crash, are removed.
    pub(crate) fn load(&self, log: LogId) -> LogIndex {
        LogIndex {
            disk: Arc::clone(&self.disk),
            cache: Arc::clone(&self.cache),
            geometry: self.geometry,
            log,
            runs: Mutex::new(Arc::new(file::load(self, log))),
        }
    }
}

/// The runs of one log.
pub(crate) struct LogIndex {
    disk: Arc<dyn Disk>,
    cache: Arc<IndexCache>,
    geometry: Geometry,
    log: LogId,
    runs: Mutex<Arc<Vec<Arc<RunFile>>>>,
}

impl LogIndex {
    /// Tells the maintenance when events for another base are there.
    pub(crate) fn grown(&self, before: u64, now: u64) {
        let base = self.geometry.len(0);
        if before / base != now / base {
            self.cache.wake();
        }
    }

    /// The runs as they are now: ascending, none over another; perhaps with gaps.
    fn runs(&self) -> Arc<Vec<Arc<RunFile>>> {
        Arc::clone(&self.lock())
    }

    /// Where the next run of events has to be made: the number of the first base that no run covers, if all its events are among
    /// the first `size`.
    fn missing(&self, size: u64) -> Option<u64> {
        let base = self.geometry.len(0);
        let mut covered = 0;
        for run in self.runs().iter() {
            let first = run.first().get() - 1;
            if first > covered {
                break;
            }
            covered = run.last().get();
        }
        (covered + base <= size).then_some(covered / base)
    }

    /// Shows a run, in the place of all that it covers. Returns those.
    fn show(&self, run: Arc<RunFile>) -> Vec<Arc<RunFile>> {
        let mut shown = self.lock();
        let is_inside = |other: &Arc<RunFile>| run.first() <= other.first() && other.last() <= run.last();
        let (replaced, mut runs): (Vec<_>, Vec<_>) = shown.iter().cloned().partition(is_inside);
        let at = runs.partition_point(|other| other.first() < run.first());
        runs.insert(at, run);
        *shown = Arc::new(runs);
        replaced
    }

    /// Takes a run out that can not be used.
    fn drop_run(&self, id: RunId) {
        let mut shown = self.lock();
        let runs = shown.iter().filter(|run| run.id() != id).cloned().collect();
        *shown = Arc::new(runs);
    }

    /// The runs that `parent` is merged from, if all of them are there.
    fn children(&self, parent: RunId) -> Option<Vec<Arc<RunFile>>> {
        let runs = self.runs();
        let of = |id: RunId| runs.iter().find(|run| run.id() == id).cloned();
        self.geometry.children(parent).map(of).collect()
    }

    /// The run that covers `event` and can be trusted to be of this log's history.
    fn covering(&self, event: EventId, log: &dyn ReadLog) -> Option<Arc<RunFile>> {
        let runs = self.runs();
        let at = runs.partition_point(|run| run.last() < event);
        let run = runs.get(at).filter(|run| run.first() <= event)?;
        match run.is_of(log) {
            Ok(true) => Some(Arc::clone(run)),
            Ok(false) => {
                self.give_up(run, "it is of another history of the log");
                None
            }
            // Whoever reads the events will meet the same error, and say so.
            Err(_) => None,
        }
    }

    /// The ends of the gap around `event`, which no run covers: the last event before it and the first behind it that one does.
    fn gap(&self, event: EventId) -> (Option<EventId>, Option<EventId>) {
        let runs = self.runs();
        let at = runs.partition_point(|run| run.last() < event);
        let below = at.checked_sub(1).map(|below| runs[below].last());
        (
            below,
            runs.get(at).map(|run| run.first()).filter(|first| *first > event),
        )
    }

    /// Drops a run, says why, and lets it be built again.
    fn give_up(&self, run: &RunFile, why: &str) {
        tracing::warn!(log = %self.log, file = run.name(), why, "an index run can not be used; it is built again from the events");
        self.drop_run(run.id());
        give_back(&*self.disk, run.name());
        self.cache.wake();
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Vec<Arc<RunFile>>>> {
        // No code panics while it holds the lock half way through a change.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! The logs of a data directory, for reading: which there are, and how to get at one.
//!
//! Invariants: a log that is shown is durable; none ever goes away; names and ids are unique. Readers copy a pointer under
//! the lock and go on without it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use annals_core::chain::LogId;
use annals_store::{FindEvents, LogDirectory, LogManifest};

use crate::view::FileLog;

/// All logs of one engine.
#[derive(Default)]
pub struct FileLogs {
    known: RwLock<Known>,
}

#[derive(Default)]
struct Known {
    by_id: HashMap<LogId, Arc<FileLog>>,
    by_name: BTreeMap<String, LogId>,
}

impl FileLogs {
    /// The log with this id.
    #[must_use]
    pub fn get(&self, id: LogId) -> Option<Arc<FileLog>> {
        self.known().by_id.get(&id).cloned()
    }

    /// The log with this name.
    #[must_use]
    pub fn by_name(&self, name: &str) -> Option<Arc<FileLog>> {
        let known = self.known();
        known
            .by_name
            .get(name)
            .and_then(|id| known.by_id.get(id))
            .cloned()
    }

    /// All logs, by name.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<FileLog>> {
        let known = self.known();
        let ids = known.by_name.values();
        ids.filter_map(|id| known.by_id.get(id).cloned()).collect()
    }

    /// Shows a log, durable by now, to readers. One that is shown already stays as it is.
    pub(crate) fn show(&self, log: FileLog) -> Arc<FileLog> {
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let id = log.manifest().log_id();
        known.by_name.insert(log.manifest().name.clone(), id);
        Arc::clone(known.by_id.entry(id).or_insert_with(|| Arc::new(log)))
    }

    fn known(&self) -> RwLockReadGuard<'_, Known> {
        // No code panics while it holds the lock half way through a change.
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogDirectory for FileLogs {
    fn list(&self) -> Vec<LogManifest> {
        self.all().iter().map(|log| log.manifest().told()).collect()
    }

    fn open(&self, name: &str) -> Option<(LogManifest, Arc<dyn FindEvents>)> {
        let log = self.by_name(name)?;
        Some((log.manifest().told(), log))
    }
}

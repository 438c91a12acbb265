//! The logs of a journal, as appenders find them.
//!
//! Invariant: only the sequencer adds a log, when it is durable; none is ever removed. The registry holds receivers only, so
//! followers notice when the sequencer ends.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use annals_core::chain::{Head, LogId};
use tokio::sync::watch;

use crate::queue::LaneIndex;

/// What an appender needs to know of one log.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: LogId,
    pub(crate) lane: LaneIndex,
    pub(crate) heads: watch::Receiver<Head>,
}

#[derive(Debug, Default)]
pub(crate) struct Registry {
    entries: RwLock<HashMap<LogId, Arc<Entry>>>,
}

impl Registry {
    pub(crate) fn get(&self, log: LogId) -> Option<Arc<Entry>> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.get(&log).cloned()
    }

    pub(crate) fn add(&self, entry: Entry) -> Arc<Entry> {
        let entry = Arc::new(entry);
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.insert(entry.id, Arc::clone(&entry));
        entry
    }
}

//! The logs of the server, by name.
//!
//! Invariants: a log that was found once is found for as long as the server runs, for names are never used again and logs
//! never go away; what is held for it is small, and there are no more logs than the operator allows; all logs together check
//! their chains in no more than [`VERIFY_TURNS`] places at once.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use annals_api::LogInfo;
use annals_core::chain::Head;
use annals_log::{Log, LogState, PendingLog};
use annals_store::{FindEvents, LogDirectory, LogManifest, LogName, ReadLog};
use tokio::sync::Semaphore;

use crate::options::Parts;
use crate::problem::{Kind, Refusal, excerpt};
use crate::search::SearchLog;
use crate::verifier::Verifier;

/// Checks that read at once. Each reads a bounded step, then it is another one's turn.
const VERIFY_TURNS: usize = 4;

/// All logs.
pub(crate) struct Logs {
    writers: annals_log::Logs,
    directory: Arc<dyn LogDirectory>,
    known: RwLock<HashMap<Arc<str>, Arc<OneLog>>>,
    verify_turns: Arc<Semaphore>,
}

/// One log, for everything that can be done with it.
pub(crate) struct OneLog {
    manifest: LogManifest,
    name: Arc<str>,
    pub(crate) writer: Log,
    events: Arc<dyn FindEvents>,
    verifier: OnceLock<Verifier>,
    verify_turns: Arc<Semaphore>,
}

impl Logs {
    pub(crate) fn new(parts: Parts) -> Self {
        Self {
            writers: parts.logs,
            directory: parts.directory,
            known: RwLock::default(),
            verify_turns: Arc::new(Semaphore::new(VERIFY_TURNS)),
        }
    }

    /// The log of that name; `None` when there is none.
    ///
    /// # Errors
    /// 503 for one that is being made.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Arc<OneLog>>, Refusal> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(log) = known.get(name) {
            return Ok(Some(Arc::clone(log)));
        }
        drop(known);
        let Some((manifest, events)) = self.directory.open(name) else {
            return Ok(None);
        };
        // Readers see a log a moment before the sequencer takes events for it.
        let writer = self.writers.log(manifest.id).ok_or_else(|| {
            let detail = format!("log `{}` is being made; try again in a moment", manifest.name);
            Refusal::new(Kind::NotReady, detail)
        })?;
        let log = Arc::new(OneLog {
            name: Arc::from(manifest.name.as_str()),
            manifest,
            writer,
            events,
            verifier: OnceLock::new(),
            verify_turns: Arc::clone(&self.verify_turns),
        });
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever came first: a log has one verifier.
        let log = known.entry(Arc::clone(&log.name)).or_insert(log);
        Ok(Some(Arc::clone(log)))
    }

    /// The log of that name.
    ///
    /// # Errors
    /// 404 when there is none, with the rule when there can't be one; 503 for one that is being made.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<OneLog>, Refusal> {
        self.find(name)?.ok_or_else(|| {
            let why = match LogName::new(name) {
                Err(rule) => format!("{rule}; GET /logs lists the logs that there are"),
                Ok(_) => {
                    String::from("GET /logs lists those that there are, POST /logs {\"name\":…} makes one")
                }
            };
            let detail = format!("there is no log \"{}\": {why}", excerpt(name));
            Refusal::new(Kind::NotFound, detail)
        })
    }

    /// All logs, by name, as they are at this moment.
    pub(crate) fn list(&self) -> Vec<LogInfo> {
        let manifests = self.directory.list().into_iter();
        let opened = manifests.filter_map(|manifest| self.directory.open(manifest.name.as_str()));
        opened
            .map(|(manifest, events)| info(&manifest, &events.head()))
            .collect()
    }

    /// Asks for a new log.
    ///
    /// # Errors
    /// When it can't be made at all, or not at present.
    pub(crate) fn create(&self, name: LogName) -> Result<PendingLog, Refusal> {
        Ok(self.writers.create(name)?)
    }

    /// What the logs do at the moment.
    pub(crate) fn state(&self) -> LogState {
        self.writers.state()
    }
}

impl OneLog {
    /// For finding events.
    pub(crate) fn searched(&self) -> SearchLog {
        SearchLog {
            name: Arc::clone(&self.name),
            events: Arc::clone(&self.events),
        }
    }

    /// For reading events by their ids.
    pub(crate) fn reader(&self) -> Arc<dyn ReadLog> {
        Arc::clone(&self.events) as Arc<dyn ReadLog>
    }

    /// The last event that can be read.
    pub(crate) fn head(&self) -> Head {
        self.events.head()
    }

    /// What checks it. Most logs are never asked whether they are intact, so there is none until then.
    pub(crate) fn verifier(&self) -> &Verifier {
        self.verifier
            .get_or_init(|| Verifier::new(self.reader(), Arc::clone(&self.verify_turns)))
    }

    pub(crate) fn info(&self) -> LogInfo {
        info(&self.manifest, &self.head())
    }
}

/// What is told of a log.
pub(crate) fn info(manifest: &LogManifest, head: &Head) -> LogInfo {
    LogInfo {
        name: manifest.name.to_string(),
        uuid: manifest.id.to_string(),
        origin: manifest.origin.clone(),
        created_at: manifest.created_at.clone(),
        events: head.size.0,
        latest_hash: head.size.last().map(|_| head.hash.to_string()),
    }
}

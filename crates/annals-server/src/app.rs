//! What all routes share: the logs, and the bounds that are in use.

use std::sync::Arc;
use std::thread;

use annals_api::names::LOGS_MAX;
use annals_store::ReadError;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::logs::Logs;
use crate::options::{Options, Parts};
use crate::problem::{Kind, Refusal, excerpt};
use crate::search::{LogSet, SearchLog};
use crate::tail::{Source, Tails};

/// Shared by all requests.
pub(crate) struct App {
    pub(crate) logs: Logs,
    pub(crate) options: Options,
    /// KiB of request bodies that may still come in.
    pub(crate) bodies_kib: Arc<Semaphore>,
    /// One permit a core: large bodies are parsed no more at once than there are cores.
    pub(crate) parsers: Semaphore,
    /// Who follows which log.
    pub(crate) tails: Tails,
    scans: Arc<Semaphore>,
    sse_readers: Arc<Semaphore>,
    shutdown: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(parts: Parts, options: &Options) -> Arc<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let bodies_kib = (options.bodies_in_flight_bytes_max / 1024).clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            logs: Logs::new(parts),
            bodies_kib: Arc::new(Semaphore::new(bodies_kib)),
            parsers: Semaphore::new(cores),
            tails: Tails::new(options.tail_ring_bytes_max),
            scans: Arc::new(Semaphore::new(options.scans_max)),
            sse_readers: Arc::new(Semaphore::new(options.sse_readers_max)),
            shutdown: watch::Sender::new(false),
            options: options.clone(),
        })
    }

    /// The logs of these names, as a parameter gives them.
    ///
    /// # Errors
    /// 400 for a log that there is not, and for a set that no query may have; 503 for a log that is being made.
    pub(crate) fn log_set(&self, names: &[&str]) -> Result<LogSet, Refusal> {
        let refused = |message: String| Refusal::of_field(Kind::BadRequest, "log", message);
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            let unknown = || {
                let name = excerpt(name);
                refused(format!(
                    "is \"{name}\", and there is no such log; GET /logs lists those that there are"
                ))
            };
            found.push(self.logs.find(name)?.ok_or_else(unknown)?.searched());
        }
        LogSet::new(found).ok_or_else(|| refused(format!("must name 1 to {LOGS_MAX} logs, each once")))
    }

    /// A log of the set, for following.
    ///
    /// # Errors
    /// As [`Logs::get`]; never for a log that was found before.
    pub(crate) fn source(&self, log: &SearchLog) -> Result<Source, Refusal> {
        Ok(Source {
            name: Arc::clone(&log.name),
            events: Arc::clone(&log.events),
            heads: self.logs.get(&log.name)?.writer.subscribe(),
        })
    }

    /// Room for one more filtered query.
    pub(crate) fn admit_scan(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        admit(&self.scans, "filtered queries")
    }

    /// Room for one more reader of the live stream.
    pub(crate) fn admit_sse_reader(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        admit(&self.sse_readers, "readers of /stream")
    }

    /// Turns true when the server stops.
    pub(crate) fn shutdown(&self) -> watch::Receiver<bool> {
        self.shutdown.subscribe()
    }

    /// Tells streams to end.
    pub(crate) fn begin_shutdown(&self) {
        self.shutdown.send_replace(true);
    }
}

fn admit(room: &Arc<Semaphore>, what: &str) -> Result<OwnedSemaphorePermit, Refusal> {
    Arc::clone(room).try_acquire_owned().map_err(|_| {
        Refusal::new(
            Kind::Busy,
            format!("too many {what} at the same time; try again in a second"),
        )
    })
}

/// Runs what may wait for the storage, or keeps a core busy, where it does not hold up other requests.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Interrupted> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "a blocking task ended without a result");
        Interrupted
    })
}

/// A blocking task panicked (a bug) or the runtime is going away.
#[derive(Debug, thiserror::Error)]
#[error("the work was interrupted")]
pub(crate) struct Interrupted;

/// Why an answer can not be completed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadFailed {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

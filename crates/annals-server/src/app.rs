//! What all routes share: the log, the reader, the bounds that are in use.

use std::sync::Arc;
use std::thread;

use annals_log::Log;
use annals_store::{ReadError, ReadLog};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::options::{Options, Parts};
use crate::problem::{Kind, Refusal};
use crate::verifier::Verifier;

/// Shared by all requests.
pub(crate) struct App {
    pub(crate) log: Log,
    pub(crate) reader: Arc<dyn ReadLog>,
    pub(crate) options: Options,
    pub(crate) verifier: Verifier,
    /// KiB of request bodies that may still come in.
    pub(crate) bodies_kib: Arc<Semaphore>,
    /// One permit a core: large bodies are parsed no more at once than there are cores.
    pub(crate) parsers: Semaphore,
    scans: Arc<Semaphore>,
    sse_readers: Arc<Semaphore>,
    shutdown: watch::Sender<bool>,
}

impl App {
    pub(crate) fn new(parts: Parts, options: &Options) -> Arc<Self> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let bodies_kib = (options.bodies_in_flight_bytes_max / 1024).clamp(1, Semaphore::MAX_PERMITS);
        Arc::new(Self {
            log: parts.log,
            verifier: Verifier::new(Arc::clone(&parts.reader)),
            reader: parts.reader,
            bodies_kib: Arc::new(Semaphore::new(bodies_kib)),
            parsers: Semaphore::new(cores),
            scans: Arc::new(Semaphore::new(options.scans_max)),
            sse_readers: Arc::new(Semaphore::new(options.sse_readers_max)),
            shutdown: watch::Sender::new(false),
            options: options.clone(),
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

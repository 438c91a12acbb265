//! The only writer of a journal's logs: a bounded queue, one sequencer thread, group commit, publication of new heads.
//!
//! An event's way through this room: [`Log::append`] **accepts** a batch (it waits in memory) → the sequencer gathers
//! what waits, of all logs, decides what was seen before ([`Log::append_once`]), seals the rest log by log
//! (`annals_core::seal`) and has the journal commit it in one step → it publishes the new heads → the [`Receipt`]s go out:
//! the events are **sealed**.
//!
//! What a crash loses: of what is accepted, anything; of what is sealed, nothing. A batch is there as a whole or not at
//! all, at either point.
//!
//! Invariants:
//! - One thread owns the journal, the heads and the cells; there is no lock around them, so nobody else can seal, or decide
//!   what a retry is.
//! - A head moves only after a commit (or a recovery) succeeded, and before any receipt of that commit goes out: whoever
//!   holds a receipt can read its events.
//! - A published head never goes back. A journal that recovers to an earlier or another head is refused for good.
//! - Every accepted batch gets one answer, also when the thread panics. An answer says whether the outcome is known.
//! - The queue is bounded; when it is full, appends are refused, never delayed. No log can fill it for the others.
//! - The logs of a journal share one sync, and so one fate: a write that fails concerns all of them.
//!
//! Deliberately absent: a storage engine, HTTP, an async runtime (the crate only uses tokio's channels), readers. Tree,
//! tail, delivery and archive follow the head on their own threads; the sequencer does not know that they exist.

mod clock;
mod error;
mod options;
mod plan;
mod queue;
mod receipt;
mod registry;
mod request;
mod retry;
mod sequencer;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{Head, LogId};
use annals_store::{Journal, LogManifest, LogName};
use tokio::sync::{oneshot, watch};

pub use clock::{Clock, SystemClock};
pub use error::{AppendError, CreateError, Fatal, OnceError, Outcome, StartError};
pub use options::LogOptions;
use queue::Queue;
pub use receipt::{Appended, Item, Pending, PendingOnce, Receipt};
use registry::{Entry, Registry};
use request::{Creation, Made, Request};
pub use retry::{Append, ItemKey, MalformedRetry, Producer, RetryKey};
pub use sequencer::Sequencer;
use sequencer::Sequencing;

/// Starts the sequencer of a journal for one of its logs. As [`Logs::start`] otherwise.
///
/// # Errors
/// [`StartError`]: the journal has no such log, an option can't work, or there is no thread.
pub fn start(
    journal: Box<dyn Journal>,
    log: LogId,
    clock: Box<dyn Clock>,
    options: LogOptions,
) -> Result<(Log, Sequencer), StartError> {
    let (logs, mut sequencing) = Logs::prepare(journal, clock, options)?;
    let entry = sequencing.adopt(log).ok_or(StartError::NoSuchLog(log))?;
    let sequencer = sequencing.spawn()?;
    let handle = logs.handle;
    Ok((Log { handle, entry }, sequencer))
}

/// The logs of a journal, for appending. Clones are the same logs; when the last one and the last [`Log`] are dropped, all
/// logs stop as by [`Logs::stop`].
#[derive(Debug, Clone)]
pub struct Logs {
    handle: Arc<Handle>,
}

impl Logs {
    /// Starts the sequencer of all logs of `journal` on its own thread. It owns `journal` until it has stopped.
    ///
    /// # Errors
    /// [`StartError`]: an option can't work, or there is no thread.
    pub fn start(
        journal: Box<dyn Journal>,
        clock: Box<dyn Clock>,
        options: LogOptions,
    ) -> Result<(Self, Sequencer), StartError> {
        let (logs, mut sequencing) = Self::prepare(journal, clock, options)?;
        sequencing.adopt_all();
        Ok((logs, sequencing.spawn()?))
    }

    fn prepare(
        journal: Box<dyn Journal>,
        clock: Box<dyn Clock>,
        options: LogOptions,
    ) -> Result<(Self, Sequencing), StartError> {
        options.check()?;
        let (state, states) = watch::channel(LogState::Running);
        let queue = Arc::new(Queue::new(options.bounds(), state));
        let registry = Arc::new(Registry::default());
        let sequencing = Sequencing::new(journal, clock, options, Arc::clone(&queue), Arc::clone(&registry));
        let handle = Arc::new(Handle {
            queue,
            registry,
            states,
        });
        Ok((Self { handle }, sequencing))
    }

    /// The log of that id.
    #[must_use]
    pub fn log(&self, id: LogId) -> Option<Log> {
        let entry = self.handle.registry.get(id)?;
        let handle = Arc::clone(&self.handle);
        Some(Log { handle, entry })
    }

    /// Asks for a new log of that name, without blocking. It is there once [`PendingLog`] answers; until then a crash may
    /// leave it there or not. Dropping the `PendingLog` does not take the request back.
    ///
    /// # Errors
    /// [`CreateError`]: the log was not made.
    pub fn create(&self, name: LogName) -> Result<PendingLog, CreateError> {
        let (creation, answer) = Creation::new(name);
        self.handle.queue.offer_creation(creation)?;
        let handle = Arc::clone(&self.handle);
        Ok(PendingLog { handle, answer })
    }

    /// What the logs do at the moment.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.handle.states.borrow().clone()
    }

    /// Follows the state. Short states may be skipped; the last one is `Stopped`, or `Damaged` for good.
    #[must_use]
    pub fn subscribe_state(&self) -> watch::Receiver<LogState> {
        self.handle.states.clone()
    }

    /// Takes nothing more and finishes what was accepted; returns at once, [`Sequencer::join`] waits for the end. A
    /// recovery that is under way is not waited for: nothing is accepted meanwhile, so nothing is lost by that.
    pub fn stop(&self) {
        self.handle.queue.stop();
    }
}

/// A log that is being made: a future of it. Needs no particular runtime.
pub struct PendingLog {
    handle: Arc<Handle>,
    answer: oneshot::Receiver<Made>,
}

impl PendingLog {
    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// As the future's.
    ///
    /// # Panics
    /// When called on a thread that runs async tasks of tokio: await the future there.
    pub fn wait(self) -> Result<(Log, LogManifest), CreateError> {
        let Self { handle, answer } = self;
        let (entry, manifest) = answer.blocking_recv().unwrap_or(Err(CreateError::Unknown))?;
        Ok((Log { handle, entry }, manifest))
    }
}

impl Future for PendingLog {
    type Output = Result<(Log, LogManifest), CreateError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| {
            let (entry, manifest) = answer.unwrap_or(Err(CreateError::Unknown))?;
            let handle = Arc::clone(&self.handle);
            Ok((Log { handle, entry }, manifest))
        })
    }
}

impl fmt::Debug for PendingLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingLog").finish_non_exhaustive()
    }
}

/// A log, for appending. Clones are the same log.
#[derive(Debug, Clone)]
pub struct Log {
    handle: Arc<Handle>,
    entry: Arc<Entry>,
}

impl Log {
    /// Its id.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.entry.id
    }

    /// Accepts the batch, all of it or nothing, without blocking. Its events will be consecutive, in order.
    ///
    /// Accepted is not sealed: until [`Pending`] answers with a receipt, a crash may lose the batch. Dropping the
    /// `Pending` does not take the batch back.
    ///
    /// # Errors
    /// [`AppendError`]: the batch was refused and is not stored ([`AppendError::outcome`] is `NotStored`).
    pub fn append(&self, batch: CanonicalBatch) -> Result<Pending, AppendError> {
        let (request, answer) = Request::plain(batch);
        self.handle.queue.offer(self.entry.lane, request)?;
        Ok(Pending::new(answer))
    }

    /// As [`Self::append`], for a request that is recognised when it is sent again: what was stored of it is not stored
    /// twice, also when the first answer was lost, in the same process or another one. What is new of it will be
    /// consecutive, in order.
    ///
    /// # Errors
    /// As [`Self::append`]. What was seen before, [`PendingOnce`] tells.
    pub fn append_once(&self, append: Append) -> Result<PendingOnce, AppendError> {
        let (request, answer) = Request::once(append);
        self.handle.queue.offer(self.entry.lane, request)?;
        Ok(PendingOnce::new(answer))
    }

    /// The sealed head: every event up to it is durable and readable.
    #[must_use]
    pub fn head(&self) -> Head {
        *self.entry.heads.borrow()
    }

    /// Follows the sealed head. Intermediate heads may be skipped; the last one never is. `changed` fails once the
    /// sequencer has ended: the head will not move again.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Head> {
        self.entry.heads.clone()
    }

    /// What the journal's logs do at the moment.
    #[must_use]
    pub fn state(&self) -> LogState {
        self.handle.states.borrow().clone()
    }

    /// As [`Logs::subscribe_state`].
    #[must_use]
    pub fn subscribe_state(&self) -> watch::Receiver<LogState> {
        self.handle.states.clone()
    }

    /// Stops this log and all others of its journal, as [`Logs::stop`].
    pub fn stop(&self) {
        self.handle.queue.stop();
    }
}

/// What the logs of a journal do at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogState {
    /// Appends are accepted.
    Running,
    /// The outcome of a write is unknown; the journal looks at what is stored. Appends are refused until it has.
    Recovering,
    /// Nothing will be written any more: an operator has to look. Reads go on. The journal (and whatever lock it holds)
    /// is kept until [`Logs::stop`].
    Damaged(Arc<Fatal>),
    /// Appends are refused, what was accepted is being finished.
    Stopping,
    /// The sequencer has ended and has let go of the journal.
    Stopped,
}

/// What the clones of [`Logs`] and [`Log`] share; the sequencer does not hold it, so the last clone's end is noticed.
#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
    registry: Arc<Registry>,
    states: watch::Receiver<LogState>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

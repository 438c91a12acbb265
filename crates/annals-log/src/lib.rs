//! The only writer of a log: a bounded queue, one sequencer thread, group commit, publication of new heads.
//!
//! An event's way through this room: [`Log::append`] **accepts** a batch (it waits in memory) → the sequencer gathers
//! what waits, seals it (`annals_core::seal`) and has the journal commit it in one step → it publishes the new head →
//! the [`Receipt`] goes out: the events are **sealed**.
//!
//! What a crash loses: of what is accepted, anything; of what is sealed, nothing. A batch is there as a whole or not at
//! all, at either point.
//!
//! Invariants:
//! - One thread owns the journal and the head; there is no lock around them, so nobody else can seal.
//! - The head moves only after a commit (or a recovery) succeeded, and before any receipt of that commit goes out: whoever
//!   holds a receipt can read its events.
//! - The published head never goes back. A journal that recovers to an earlier or another head is refused for good.
//! - Every accepted batch gets one answer, also when the thread panics. An answer says whether the outcome is known.
//! - The queue is bounded; when it is full, appends are refused, never delayed.
//!
//! Deliberately absent: a storage engine, HTTP, an async runtime (the crate only uses tokio's channels), readers. Tree,
//! tail, delivery and archive follow the head on their own threads; the sequencer does not know that they exist.

mod clock;
mod error;
mod queue;
mod receipt;
mod sequencer;

use std::sync::Arc;
use std::time::Duration;

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{Head, LogId};
use annals_core::limits::GROUP_BYTES_MAX;
use annals_store::Journal;
use tokio::sync::watch;

pub use clock::{Clock, SystemClock};
pub use error::{AppendError, Fatal, Outcome, StartError};
use queue::{Bounds, Queue};
pub use receipt::{Pending, Receipt};
pub use sequencer::Sequencer;

/// Starts the sequencer of `log` on its own thread. It owns `journal` until it has stopped.
///
/// # Errors
/// [`StartError`]: the journal has no such log, an option can't work, or there is no thread.
pub fn start(
    journal: Box<dyn Journal>,
    log: LogId,
    clock: Box<dyn Clock>,
    options: LogOptions,
) -> Result<(Log, Sequencer), StartError> {
    options.check()?;
    let head = journal.head(log).ok_or(StartError::NoSuchLog(log))?;
    let (publish, heads) = watch::channel(head);
    let (state, states) = watch::channel(LogState::Running);
    let queue = Arc::new(Queue::new(options.bounds(), state));
    let sequencer = sequencer::spawn(journal, log, clock, options, head, publish, Arc::clone(&queue))?;
    let handle = Handle { queue, heads, states };
    Ok((
        Log {
            handle: Arc::new(handle),
        },
        sequencer,
    ))
}

/// A log, for appending. Clones are the same log; when the last one is dropped the log stops as by [`Log::stop`].
#[derive(Debug, Clone)]
pub struct Log {
    handle: Arc<Handle>,
}

impl Log {
    /// Accepts the batch, all of it or nothing, without blocking. Its events will be consecutive, in order.
    ///
    /// Accepted is not sealed: until [`Pending`] answers with a receipt, a crash may lose the batch. Dropping the
    /// `Pending` does not take the batch back.
    ///
    /// # Errors
    /// [`AppendError`]: the batch was refused and is not stored ([`AppendError::outcome`] is `NotStored`).
    pub fn append(&self, batch: CanonicalBatch) -> Result<Pending, AppendError> {
        self.handle.queue.offer(batch)
    }

    /// The sealed head: every event up to it is durable and readable.
    #[must_use]
    pub fn head(&self) -> Head {
        *self.handle.heads.borrow()
    }

    /// Follows the sealed head. Intermediate heads may be skipped; the last one never is. `changed` fails once the
    /// sequencer has ended: the head will not move again.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Head> {
        self.handle.heads.clone()
    }

    /// What the log does at the moment.
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

/// What a log does at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogState {
    /// Appends are accepted.
    Running,
    /// The outcome of a write is unknown; the journal looks at what is stored. Appends are refused until it has.
    Recovering,
    /// Nothing will be written any more: an operator has to look. Reads go on. The journal (and whatever lock it holds)
    /// is kept until [`Log::stop`].
    Damaged(Arc<Fatal>),
    /// Appends are refused, what was accepted is being finished.
    Stopping,
    /// The sequencer has ended and has let go of the journal.
    Stopped,
}

/// How much may wait, how much goes into one commit, and when to try again.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Most bytes that may wait in the queue, counted as sealed ([`CanonicalBatch::sealed_bytes_max`]). A larger batch
    /// is refused as too large, so this is also the largest batch.
    pub queue_bytes_max: usize,
    /// Most batches that may wait in the queue.
    pub queue_batches_max: usize,
    /// A commit gathers what waits up to this many bytes, but at least one batch. At most
    /// [`GROUP_BYTES_MAX`].
    pub group_bytes_max: usize,
    /// When nothing has waited for this long after a commit, the journal settles.
    pub settle_after: Duration,
    /// What refused callers are told to wait.
    pub retry_after: Duration,
    /// Pause after the first failed recovery; it doubles each time.
    pub recover_pause_min: Duration,
    /// Longest pause between recoveries (and between failing settles).
    pub recover_pause_max: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            queue_bytes_max: GROUP_BYTES_MAX,
            queue_batches_max: 16 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
            settle_after: Duration::from_millis(100),
            retry_after: Duration::from_secs(1),
            recover_pause_min: Duration::from_millis(100),
            recover_pause_max: Duration::from_secs(10),
        }
    }
}

impl LogOptions {
    fn check(&self) -> Result<(), StartError> {
        let wrong = |option, problem| Err(StartError::Option { option, problem });
        if self.queue_bytes_max == 0 {
            return wrong("queue_bytes_max", "must be at least 1");
        }
        if self.queue_batches_max == 0 {
            return wrong("queue_batches_max", "must be at least 1");
        }
        if self.group_bytes_max == 0 || self.group_bytes_max > GROUP_BYTES_MAX {
            return wrong("group_bytes_max", "must be from 1 byte to 256 MiB");
        }
        if self.recover_pause_min.is_zero() || self.recover_pause_max < self.recover_pause_min {
            return wrong(
                "recover_pause_min",
                "must be above 0 and not above recover_pause_max",
            );
        }
        Ok(())
    }

    fn bounds(&self) -> Bounds {
        Bounds {
            bytes_max: self.queue_bytes_max,
            batches_max: self.queue_batches_max,
            batch_bytes_max: self.queue_bytes_max.min(GROUP_BYTES_MAX),
            retry_after: self.retry_after,
        }
    }
}

/// What the clones of a [`Log`] share; the sequencer does not hold it, so the last clone's end is noticed.
#[derive(Debug)]
struct Handle {
    queue: Arc<Queue>,
    heads: watch::Receiver<Head>,
    states: watch::Receiver<LogState>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.stop();
    }
}

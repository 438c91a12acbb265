//! The sequencer: one thread that owns the journal and the head.
//!
//! Invariants:
//! - `head` is what the journal said last: it moves by a commit's `Ok` or a recovery's, never by hope.
//! - A change of state comes before the answers that it causes, and a new head before its receipts: whoever has an answer
//!   sees the world that it speaks of.
//! - Whatever ends the thread, the queue ends closed and every caller has an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals_core::chain::{Head, LogId};
use annals_core::seal::{SealedBatch, seal};
use annals_store::{CommitError, Journal, LogBatch, RecoverError, Recovery};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::LogOptions;
use crate::clock::Clock;
use crate::error::{AppendError, Fatal};
use crate::queue::{Queue, Request, Work};
use crate::receipt::Receipt;

/// The thread that seals. Dropping it leaves the thread running; a [`crate::Log`] stops it.
#[derive(Debug)]
pub struct Sequencer {
    thread: JoinHandle<Result<(), Arc<Fatal>>>,
}

impl Sequencer {
    /// Waits until the thread has ended and let go of the journal. It ends after [`crate::Log::stop`] (or when the last
    /// `Log` is dropped), also when the log is damaged.
    ///
    /// # Errors
    /// [`Fatal`] when the log was damaged; nothing that has a receipt is affected by the stop.
    pub fn join(self) -> Result<(), Arc<Fatal>> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(Arc::new(Fatal::Panicked)))
    }
}

/// Starts the thread.
pub(crate) fn spawn(
    journal: Box<dyn Journal>,
    log: LogId,
    clock: Box<dyn Clock>,
    options: LogOptions,
    head: Head,
    publish: watch::Sender<Head>,
    queue: Arc<Queue>,
) -> std::io::Result<Sequencer> {
    let group_bytes_max = options.group_bytes_max;
    let settle_pause = options.settle_after;
    let trouble = Trouble::None;
    let sequencing = Sequencing {
        journal,
        log,
        clock,
        options,
        head,
        publish,
        queue,
        group_bytes_max,
        settle_pause,
        unsettled: false,
        trouble,
    };
    let thread = thread::Builder::new()
        .name("annals-sequencer".into())
        .spawn(|| sequencing.live())?;
    Ok(Sequencer { thread })
}

struct Sequencing {
    journal: Box<dyn Journal>,
    log: LogId,
    clock: Box<dyn Clock>,
    options: LogOptions,
    head: Head,
    publish: watch::Sender<Head>,
    queue: Arc<Queue>,
    /// Shrinks when the engine says that it takes less.
    group_bytes_max: usize,
    /// How long nothing must wait before the journal settles; grows while settling fails.
    settle_pause: Duration,
    /// Whether something was committed since the journal settled.
    unsettled: bool,
    /// What the operator was told last, so that a full disk does not fill the logs as well.
    trouble: Trouble,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    NoSpace,
    Storage,
    Backlog,
}

impl Sequencing {
    /// The thread's whole life.
    fn live(mut self) -> Result<(), Arc<Fatal>> {
        // What unwinding drops of a group has the outcome `Unknown`; the rest of the queue is answered by `fail`.
        let ended = match catch_unwind(AssertUnwindSafe(|| self.run())) {
            Ok(ended) => ended,
            Err(_) => Err(self.fail(Fatal::Panicked)),
        };
        if ended.is_err() {
            // Keeps the journal, and so the engine's lock: nobody else writes while this process still serves reads.
            self.queue.wait_for_stop();
        }
        let queue = Arc::clone(&self.queue);
        drop(self);
        queue.set_stopped();
        ended
    }

    fn run(&mut self) -> Result<(), Arc<Fatal>> {
        loop {
            let idle_after = self.unsettled.then_some(self.settle_pause);
            match self.queue.next(self.group_bytes_max, idle_after) {
                Work::Group(group) => self.commit(group)?,
                Work::Idle => self.settle()?,
                Work::Stop => {
                    self.finish();
                    return Ok(());
                }
            }
        }
    }

    fn commit(&mut self, group: Vec<Request>) -> Result<(), Arc<Fatal>> {
        let batches = group.iter().map(|request| &request.batch);
        let sealed = Arc::new(seal(&self.head, self.clock.now(), batches));
        match self.journal.commit(&[LogBatch {
            log: self.log,
            batch: &sealed,
        }]) {
            Ok(()) => {
                self.publish_and_answer(&sealed, group);
                Ok(())
            }
            Err(failure) => self.refuse(&failure, group),
        }
    }

    fn publish_and_answer(&mut self, sealed: &Arc<SealedBatch>, group: Vec<Request>) {
        self.head = sealed.after();
        self.publish.send_replace(self.head);
        self.unsettled = true;
        if self.trouble != Trouble::None {
            self.trouble = Trouble::None;
            info!(log = %self.log, "commits succeed again");
        }
        let mut start = 0;
        for request in group {
            let end = start + request.batch.len();
            request.answer(Ok(Receipt::new(Arc::clone(sealed), start..end)));
            start = end;
        }
    }

    /// The one mapping from a failed commit to what callers hear and what comes next.
    fn refuse(&mut self, failure: &CommitError, group: Vec<Request>) -> Result<(), Arc<Fatal>> {
        let retry_after = self.options.retry_after;
        match *failure {
            CommitError::NoSpace(_) => {
                self.complain(Trouble::NoSpace, failure);
                answer_all(group, &AppendError::NoSpace);
                Ok(())
            }
            CommitError::Storage(_) => {
                self.complain(Trouble::Storage, failure);
                answer_all(group, &AppendError::Storage { retry_after });
                Ok(())
            }
            CommitError::Backlog { .. } => {
                self.complain(Trouble::Backlog, failure);
                answer_all(group, &AppendError::Busy { retry_after });
                Ok(())
            }
            CommitError::TooLarge { bytes, bytes_max } => {
                self.shrink(bytes, bytes_max, group);
                Ok(())
            }
            CommitError::Unknown(_) | CommitError::NeedsRecovery => {
                error!(log = %self.log, %failure, "a commit failed; recovering");
                self.queue.set_recovering();
                let answer = if failure.is_unknown() {
                    AppendError::Unknown
                } else {
                    AppendError::Recovering { retry_after }
                };
                answer_all(group, &answer);
                self.recover()
            }
            CommitError::Conflict { expected, found, .. } => {
                Err(self.fail_group(Fatal::Fenced { expected, found }, group))
            }
            CommitError::NoSuchLog(log) => Err(self.fail_group(Fatal::NoSuchLog(log), group)),
        }
    }

    /// The engine takes less than a group at once: gathers less from here on. Only a batch that is too large alone is
    /// refused.
    fn shrink(&mut self, bytes: u64, bytes_max: u64, group: Vec<Request>) {
        if group.len() == 1 {
            answer_all(group, &AppendError::TooLarge { bytes, bytes_max });
            return;
        }
        let gathered: usize = group.iter().map(|request| request.batch.sealed_bytes_max()).sum();
        let taken = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        // Half of what was gathered at most: it must get smaller, however the engine counts its bytes.
        self.group_bytes_max = taken.min(gathered / 2).max(1);
        warn!(log = %self.log, bytes_max, "the engine takes smaller commits than configured");
        self.queue.put_back(group);
    }

    fn settle(&mut self) -> Result<(), Arc<Fatal>> {
        match self.journal.settle() {
            Ok(()) => {
                self.unsettled = false;
                self.settle_pause = self.options.settle_after;
                Ok(())
            }
            Err(failure) => {
                error!(log = %self.log, %failure, "the journal could not settle; recovering");
                let pause_min = self.options.recover_pause_min;
                let pause = self.settle_pause.saturating_mul(2);
                self.settle_pause = pause.clamp(pause_min, self.options.recover_pause_max);
                self.queue.set_recovering();
                self.recover()
            }
        }
    }

    /// Until the journal knows what is stored, or a stop is asked. Nothing waits and nothing is accepted meanwhile.
    fn recover(&mut self) -> Result<(), Arc<Fatal>> {
        self.unsettled = false;
        let mut pause = self.options.recover_pause_min;
        loop {
            match self.journal.recover() {
                Ok(recovery) => return self.resume(&recovery),
                Err(RecoverError::Damaged(damage)) => return Err(self.fail(Fatal::Integrity(damage))),
                Err(RecoverError::Io(failure)) => {
                    error!(log = %self.log, %failure, retry_in = ?pause, "the journal could not be recovered");
                }
            }
            if self.queue.stop_asked_within(pause) {
                return Ok(());
            }
            pause = pause.saturating_mul(2).min(self.options.recover_pause_max);
        }
    }

    /// Goes on from what recovery found: the sealed head, or that of a commit whose outcome was unknown.
    fn resume(&mut self, recovery: &Recovery) -> Result<(), Arc<Fatal>> {
        let Some(found) = self.journal.head(self.log) else {
            return Err(self.fail(Fatal::NoSuchLog(self.log)));
        };
        if !continues(&self.head, &found) {
            return Err(self.fail(Fatal::LostHead {
                sealed: self.head,
                found,
            }));
        }
        warn!(log = %self.log, size = %found.size, sealed = %self.head.size, ?recovery, "the journal has recovered");
        self.head = found;
        self.publish
            .send_if_modified(|published| std::mem::replace(published, found) != found);
        self.unsettled = true;
        self.queue.set_running();
        Ok(())
    }

    /// Before the end: whatever fails here, the next start recovers by itself.
    fn finish(&mut self) {
        if !self.unsettled {
            return;
        }
        if let Err(failure) = self.journal.settle() {
            warn!(log = %self.log, %failure, "the journal could not settle at the end; the next start will recover");
        }
    }

    fn fail(&self, fatal: Fatal) -> Arc<Fatal> {
        error!(log = %self.log, %fatal, "the log takes nothing more");
        let fatal = Arc::new(fatal);
        self.queue.set_damaged(&fatal);
        fatal
    }

    fn fail_group(&self, fatal: Fatal, group: Vec<Request>) -> Arc<Fatal> {
        let fatal = self.fail(fatal);
        answer_all(group, &AppendError::Damaged(Arc::clone(&fatal)));
        fatal
    }

    fn complain(&mut self, trouble: Trouble, failure: &CommitError) {
        if self.trouble != trouble {
            self.trouble = trouble;
            error!(log = %self.log, %failure, "appends are refused");
        }
    }
}

/// Whether `found` can be the head of the log that had the head `sealed`.
fn continues(sealed: &Head, found: &Head) -> bool {
    found == sealed || (found.size > sealed.size && found.received_at >= sealed.received_at)
}

fn answer_all(group: Vec<Request>, refusal: &AppendError) {
    for request in group {
        request.answer(Err(refusal.clone()));
    }
}

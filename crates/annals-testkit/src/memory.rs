//! An engine in memory, whose faults are scripted and whose steps can be held: for tests of what stands on an engine.
//!
//! It keeps `annals-store`'s contract exactly when nothing is scripted. "Durable" means: lives as long as the
//! [`MemoryEngine`]; a crash is dropping the journal.
//!
//! Invariants:
//! - `stored` is what recovery would find, `readable` how much of it readers see; they differ only between a commit whose
//!   outcome is unknown (but was written) and the recovery that finds it.
//! - Every scripted fault happens once, in the order of the script.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store::{
    CommitError, Damage, EventRun, Journal, LogBatch, ReadError, ReadLog, RecoverError, Recovery, RunBuilder,
    SettleError,
};

/// The log of a [`MemoryEngine`].
pub const LOG: LogId = LogId(*b"annals-memory-01");

/// A storage engine with one log; clones are the same engine.
#[derive(Debug, Clone, Default)]
pub struct MemoryEngine {
    shared: Arc<Shared>,
}

/// A failed commit: the error, and whether the group was written all the same.
///
/// Only with [`CommitFault::Unknown`] the contract allows both; with any other, `written` makes an engine that breaks its
/// word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    /// The head is said to be elsewhere.
    Conflict,
    /// The log is said to be gone.
    NoSuchLog,
    /// The group is said to be twice as large as the engine can take.
    TooLarge,
    /// The disk is full.
    NoSpace,
    /// The disk fails before anything is written.
    Storage,
    /// Packing is behind.
    Backlog,
    /// A sync failed.
    Unknown,
    /// The journal says that it has to recover, though nobody knew.
    NeedsRecovery,
    /// The engine panics: a bug.
    Panic,
}

/// What a recovery does instead of succeeding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoverFault {
    /// The storage fails.
    Io,
    /// The stored bytes are damaged at this event.
    Damaged(EventId),
    /// Recovery "succeeds", but so many events of the tail are gone.
    LosesTail(usize),
    /// Recovery "succeeds", but the last event is another one.
    ForksTail,
}

/// A journal's operations, for holding and counting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `Journal::commit`.
    Commit,
    /// `Journal::settle`.
    Settle,
    /// `Journal::recover`.
    Recover,
}

impl MemoryEngine {
    /// The writing half. One at a time is the caller's duty.
    #[must_use]
    pub fn journal(&self) -> Box<dyn Journal> {
        self.lock().open_journals += 1;
        Box::new(MemoryJournal {
            shared: Arc::clone(&self.shared),
        })
    }

    /// The reading half.
    #[must_use]
    pub fn reader(&self) -> Arc<dyn ReadLog> {
        Arc::clone(&self.shared) as Arc<dyn ReadLog>
    }

    /// The next commit that has no fault yet fails so. With `written` its group is stored before it fails.
    pub fn fail_commit(&self, fault: CommitFault, written: bool) {
        self.lock().commit_faults.push_back(Some((fault, written)));
    }

    /// The next commit that has no fault yet succeeds.
    pub fn pass_commit(&self) {
        self.lock().commit_faults.push_back(None);
    }

    /// From now on commits with more bytes of bodies are refused as too large.
    pub fn limit_commits(&self, bytes_max: u64) {
        self.lock().commit_bytes_max = Some(bytes_max);
    }

    /// The next settle fails; the journal wants recovery.
    pub fn fail_settle(&self) {
        self.lock().settle_faults += 1;
    }

    /// The next recovery that has no fault yet does this.
    pub fn fail_recover(&self, fault: RecoverFault) {
        self.lock().recover_faults.push_back(fault);
    }

    /// Holds the journal at the entry of every such step until the [`Hold`] is dropped.
    #[must_use]
    pub fn hold(&self, step: Step) -> Hold {
        self.lock().step(step).holds += 1;
        Hold {
            shared: Arc::clone(&self.shared),
            step,
        }
    }

    /// Waits until the step was entered (and is perhaps held) `times` times in all.
    ///
    /// # Panics
    /// When that does not happen in a minute.
    pub fn wait_entered(&self, step: Step, times: u64) {
        self.wait(step, "entered", |counts| counts.entered >= times);
    }

    /// Waits until the step has returned, in whatever way, `times` times in all.
    ///
    /// # Panics
    /// When that does not happen in a minute.
    pub fn wait_returned(&self, step: Step, times: u64) {
        self.wait(step, "returned", |counts| counts.returned >= times);
    }

    /// How often the step was entered.
    #[must_use]
    pub fn entered(&self, step: Step) -> u64 {
        self.lock().step(step).entered
    }

    /// Journals that were handed out and not dropped: who still could write.
    #[must_use]
    pub fn open_journals(&self) -> usize {
        self.lock().open_journals
    }

    /// Sizes of the groups that were committed, in events, in order.
    #[must_use]
    pub fn committed_groups(&self) -> Vec<usize> {
        self.lock().committed_groups.clone()
    }

    /// Everybody who ought to act did so within this time, or the test is red.
    fn wait(&self, step: Step, what: &str, done: impl Fn(&StepState) -> bool) {
        let until = Instant::now() + PATIENCE;
        let mut state = self.lock();
        while !done(state.step(step)) {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{step:?} was not {what} as often as expected");
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.lock()
    }
}

/// Keeps a step held; dropping it lets the step go on.
#[derive(Debug)]
pub struct Hold {
    shared: Arc<Shared>,
    step: Step,
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.shared.lock().step(self.step).holds -= 1;
        self.shared.changed.notify_all();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    stored: Vec<Stored>,
    readable: usize,
    needs_recovery: bool,
    open_journals: usize,
    commit_bytes_max: Option<u64>,
    commit_faults: VecDeque<Option<(CommitFault, bool)>>,
    settle_faults: usize,
    recover_faults: VecDeque<RecoverFault>,
    committed_groups: Vec<usize>,
    steps: [StepState; 3],
}

#[derive(Debug, Default)]
struct StepState {
    holds: usize,
    entered: u64,
    returned: u64,
}

#[derive(Debug, Clone)]
struct Stored {
    body: Vec<u8>,
    hash: EventHash,
    received_at: Micros,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the entry and waits while the step is held.
    fn enter(&self, step: Step) -> MutexGuard<'_, State> {
        let mut state = self.lock();
        state.step(step).entered += 1;
        self.changed.notify_all();
        while state.step(step).holds > 0 {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state
    }

    fn leave(&self, step: Step, mut state: MutexGuard<'_, State>) {
        state.step(step).returned += 1;
        drop(state);
        self.changed.notify_all();
    }
}

impl State {
    fn step(&mut self, step: Step) -> &mut StepState {
        &mut self.steps[step as usize]
    }

    fn head_at(&self, size: usize) -> Head {
        match self.stored[..size].last() {
            None => Head::EMPTY,
            Some(last) => Head {
                size: TreeSize(size as u64),
                hash: last.hash,
                received_at: last.received_at,
            },
        }
    }

    fn stored_head(&self) -> Head {
        self.head_at(self.stored.len())
    }

    fn check(&self, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
        if self.needs_recovery {
            return Err(CommitError::NeedsRecovery);
        }
        let mut found = self.stored_head();
        for LogBatch { log, batch } in group {
            if *log != LOG {
                return Err(CommitError::NoSuchLog(*log));
            }
            if *batch.before() != found {
                return Err(CommitError::Conflict {
                    log: *log,
                    expected: *batch.before(),
                    found,
                });
            }
            found = batch.after();
        }
        match (bytes_of(group), self.commit_bytes_max) {
            (bytes, Some(bytes_max)) if bytes > bytes_max => Err(CommitError::TooLarge { bytes, bytes_max }),
            _ => Ok(()),
        }
    }

    fn store(&mut self, group: &[LogBatch<'_>]) {
        for LogBatch { batch, .. } in group {
            self.stored.extend((0..batch.len()).map(|at| Stored {
                body: batch.body(at).to_vec(),
                hash: batch.hashes()[at],
                received_at: batch.received_at(),
            }));
            self.committed_groups.push(batch.len());
        }
    }

    fn commit(&mut self, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
        self.check(group)?;
        let fault = self.commit_faults.pop_front().flatten();
        if fault.is_none_or(|(_, written)| written) {
            self.store(group);
        }
        let Some((fault, _)) = fault else {
            self.readable = self.stored.len();
            return Ok(());
        };
        let error = self.error_of(fault, group);
        self.needs_recovery |= matches!(error, CommitError::Unknown(_) | CommitError::NeedsRecovery);
        Err(error)
    }

    fn error_of(&self, fault: CommitFault, group: &[LogBatch<'_>]) -> CommitError {
        let bytes = bytes_of(group);
        match fault {
            CommitFault::Conflict => CommitError::Conflict {
                log: LOG,
                expected: self.head_at(self.readable),
                found: self.stored_head(),
            },
            CommitFault::NoSuchLog => CommitError::NoSuchLog(LOG),
            CommitFault::TooLarge => CommitError::TooLarge {
                bytes,
                bytes_max: bytes / 2,
            },
            CommitFault::NoSpace => CommitError::NoSpace(io::Error::from(io::ErrorKind::StorageFull)),
            CommitFault::Storage => CommitError::Storage(io::Error::other("scripted: the disk is gone")),
            CommitFault::Backlog => CommitError::Backlog {
                files: 9,
                files_max: 8,
            },
            CommitFault::Unknown => CommitError::Unknown(io::Error::other("scripted: the sync failed")),
            CommitFault::NeedsRecovery => CommitError::NeedsRecovery,
            CommitFault::Panic => panic!("scripted: the engine panics"),
        }
    }

    fn settle(&mut self) -> Result<(), SettleError> {
        if self.settle_faults == 0 && !self.needs_recovery {
            return Ok(());
        }
        self.settle_faults = self.settle_faults.saturating_sub(1);
        self.needs_recovery = true;
        Err(SettleError(io::Error::other(
            "scripted: the head record can't be written",
        )))
    }

    fn recover(&mut self) -> Result<Recovery, RecoverError> {
        match self.recover_faults.pop_front() {
            None => {}
            Some(RecoverFault::Io) => {
                return Err(io::Error::other("scripted: the journal can't be read").into());
            }
            Some(RecoverFault::Damaged(event)) => {
                let what = String::from("scripted damage");
                return Err(Damage {
                    event,
                    place: String::from("memory"),
                    what,
                }
                .into());
            }
            Some(RecoverFault::LosesTail(events)) => {
                self.stored.truncate(self.stored.len().saturating_sub(events));
            }
            Some(RecoverFault::ForksTail) => {
                if let Some(last) = self.stored.last_mut() {
                    last.hash = EventHash([0x0f; 32]);
                }
            }
        }
        self.needs_recovery = false;
        self.readable = self.stored.len();
        Ok(Recovery::default())
    }
}

fn bytes_of(group: &[LogBatch<'_>]) -> u64 {
    group.iter().map(|part| part.batch.bodies().len() as u64).sum()
}

struct MemoryJournal {
    shared: Arc<Shared>,
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.shared.lock().open_journals -= 1;
    }
}

impl Journal for MemoryJournal {
    fn head(&self, log: LogId) -> Option<Head> {
        let state = self.shared.lock();
        (log == LOG).then(|| state.head_at(state.readable))
    }

    fn commit(&mut self, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
        let mut state = self.shared.enter(Step::Commit);
        let outcome = state.commit(group);
        self.shared.leave(Step::Commit, state);
        outcome
    }

    fn settle(&mut self) -> Result<(), SettleError> {
        let mut state = self.shared.enter(Step::Settle);
        let outcome = state.settle();
        self.shared.leave(Step::Settle, state);
        outcome
    }

    fn recover(&mut self) -> Result<Recovery, RecoverError> {
        let mut state = self.shared.enter(Step::Recover);
        let outcome = state.recover();
        self.shared.leave(Step::Recover, state);
        outcome
    }
}

impl ReadLog for Shared {
    fn head(&self) -> Head {
        let state = self.lock();
        state.head_at(state.readable)
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        let state = self.lock();
        let start = usize::try_from(from.get() - 1)
            .unwrap_or(usize::MAX)
            .min(state.readable);
        let mut run = RunBuilder::new(from);
        let mut left = bytes_max;
        for event in &state.stored[start..state.readable] {
            if !run.is_empty() && event.body.len() > left {
                break;
            }
            left = left.saturating_sub(event.body.len());
            run.push(&event.body, event.hash, event.received_at);
        }
        Ok(run.finish())
    }
}

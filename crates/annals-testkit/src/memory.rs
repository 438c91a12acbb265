//! An engine in memory, whose faults are scripted and whose steps can be held: for tests of what stands on an engine.
//!
//! It keeps `annals-store`'s contract exactly when nothing is scripted. "Durable" means: lives as long as the
//! [`MemoryEngine`]; a crash is dropping the journal.
//!
//! Invariants:
//! - What is stored is what recovery would find, readers see a part of it; the two differ only between a commit (or the making
//!   of a log) whose outcome is unknown but was written, and the recovery that finds it.
//! - Cells are stored with their batch: whatever keeps or loses the one does so with the others.
//! - Every scripted fault happens once, in the order of the script.

mod state;

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use annals_core::chain::{EventId, Head, LogId};
use annals_core::time::Micros;
use annals_store::{
    CellBounds, CellTable, CommitError, CreateLogError, EventRun, FindEvents, Journal, LogBatch,
    LogDirectory, LogManifest, LogName, ReadError, ReadLog, RecoverError, Recovery, SettleError, Unindexed,
};

use state::{State, StepState};

/// The log that a [`MemoryEngine`] begins with, named `default`.
pub const LOG: LogId = LogId(*b"annals-memory-01");

/// A storage engine that begins with one log; clones are the same engine.
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

/// A log that is not made: the error, and whether it was made all the same (as with [`CommitFault`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CreateFault {
    /// The disk is full.
    NoSpace,
    /// The disk fails before anything is written.
    Storage,
    /// A sync failed.
    Unknown,
    /// The journal says that it has to recover, though nobody knew.
    NeedsRecovery,
}

/// What a recovery does instead of succeeding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoverFault {
    /// The storage fails.
    Io,
    /// The stored bytes are damaged at this event.
    Damaged(EventId),
    /// Recovery "succeeds", but so many events of [`LOG`]'s tail are gone.
    LosesTail(usize),
    /// Recovery "succeeds", but [`LOG`]'s last event is another one.
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
    /// `Journal::create_log`.
    Create,
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

    /// The reading half of [`LOG`].
    #[must_use]
    pub fn reader(&self) -> Arc<dyn ReadLog> {
        self.reader_of(LOG)
    }

    /// The reading half of a log.
    ///
    /// # Panics
    /// When there is no such log.
    #[must_use]
    pub fn reader_of(&self, log: LogId) -> Arc<dyn ReadLog> {
        let place = self.lock().place(log).expect("the engine has the log");
        Arc::new(Reader {
            shared: Arc::clone(&self.shared),
            place,
        })
    }

    /// How much is remembered of cells, from the next [`Journal::take_cells`] on.
    pub fn bound_cells(&self, bounds: CellBounds) {
        self.lock().cell_bounds = bounds;
    }

    /// The next log that is to be made, and has no fault yet, is not. With `written` it is stored all the same.
    pub fn fail_create(&self, fault: CreateFault, written: bool) {
        self.lock().create_faults.push_back((fault, written));
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

    /// As [`Self::hold`], from the entry on that is the `nth` in all.
    #[must_use]
    pub fn hold_after(&self, step: Step, nth: u64) -> Hold {
        self.lock().step(step).free_entries = nth - 1;
        self.hold(step)
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

    /// Sizes of the groups that were committed, in events of all logs, in order.
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
        self.shared.lock().step(self.step).let_go();
        self.shared.changed.notify_all();
    }
}

const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
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
        while state.step(step).is_held() {
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

struct MemoryJournal {
    shared: Arc<Shared>,
}

impl MemoryJournal {
    fn step<T>(&mut self, step: Step, take: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.shared.enter(step);
        let outcome = take(&mut state);
        self.shared.leave(step, state);
        outcome
    }
}

impl Drop for MemoryJournal {
    fn drop(&mut self) {
        self.shared.lock().open_journals -= 1;
    }
}

impl Journal for MemoryJournal {
    fn head(&self, log: LogId) -> Option<Head> {
        self.shared.lock().readable_head(log)
    }

    fn commit(&mut self, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
        self.step(Step::Commit, |state| state.commit(group))
    }

    fn settle(&mut self) -> Result<(), SettleError> {
        self.step(Step::Settle, State::settle)
    }

    fn recover(&mut self) -> Result<Recovery, RecoverError> {
        self.step(Step::Recover, State::recover)
    }

    fn logs(&self) -> Vec<LogManifest> {
        self.shared.lock().manifests()
    }

    fn create_log(&mut self, name: &LogName, created_at: Micros) -> Result<LogManifest, CreateLogError> {
        self.step(Step::Create, |state| state.create_log(name, created_at))
    }

    fn take_cells(&mut self) -> CellTable {
        self.shared.lock().cells()
    }
}

struct Reader {
    shared: Arc<Shared>,
    place: usize,
}

impl ReadLog for Reader {
    fn head(&self) -> Head {
        self.shared.lock().head_of(self.place)
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        Ok(self.shared.lock().read(self.place, from, bytes_max))
    }
}

impl LogDirectory for MemoryEngine {
    fn list(&self) -> Vec<LogManifest> {
        let mut manifests = self.lock().manifests();
        manifests.sort_by(|one, other| one.name.cmp(&other.name));
        manifests
    }

    fn open(&self, name: &str) -> Option<(LogManifest, Arc<dyn FindEvents>)> {
        let manifest = self
            .list()
            .into_iter()
            .find(|manifest| manifest.name.as_str() == name)?;
        let reader = self.reader_of(manifest.id);
        Some((manifest, Arc::new(Unindexed::new(reader))))
    }
}

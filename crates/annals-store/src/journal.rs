//! The writing half: one owner, one atomic step.

use std::io;

use annals_core::chain::{Head, LogId};
use annals_core::seal::SealedBatch;
use annals_core::time::Micros;
use thiserror::Error;

use crate::cells::{Cell, CellTable};
use crate::logs::{LogManifest, LogName};

/// One log's share of a commit.
#[derive(Debug, Clone, Copy)]
pub struct LogBatch<'a> {
    /// The log that the batch extends.
    pub log: LogId,
    /// The sealed events; `batch.before()` is the head that the caller expects.
    pub batch: &'a SealedBatch,
    /// What becomes durable with the batch, in the same step.
    pub cells: &'a [Cell],
}

impl<'a> LogBatch<'a> {
    /// A batch without cells.
    #[must_use]
    pub fn new(log: LogId, batch: &'a SealedBatch) -> Self {
        Self {
            log,
            batch,
            cells: &[],
        }
    }
}

/// The journal of one storage engine: where batches become durable.
///
/// Only one owner can call it (`&mut self`); an engine whose storage others could write as well fences them out in the
/// same step that commits.
///
/// - When [`commit`](Self::commit) returns `Ok`, every batch of the group is durable: it survives the death of the
///   process and of the machine, and the engine's readers see it. Readers never see a batch before.
/// - Each batch is atomic: after a crash it is there as a whole, with its cells, or not at all. A group is not atomic.
/// - A batch is taken only if its log's head is exactly `batch.before()`: the commit is a compare-and-swap.
/// - `Err` with an outcome of [`CommitError::is_unknown`] `false`: nothing was written, the journal goes on.
/// - [`CommitError::Unknown`]: the group, or a part of it, may or may not be durable. The journal takes nothing more until
///   [`recover`](Self::recover) has looked.
pub trait Journal: Send {
    /// The head of `log`, `None` when there is no such log.
    fn head(&self, log: LogId) -> Option<Head>;

    /// Makes the group durable in one step. An empty group does nothing.
    ///
    /// # Errors
    /// [`CommitError`], see the trait's contract.
    fn commit(&mut self, group: &[LogBatch<'_>]) -> Result<(), CommitError>;

    /// Called when nothing waits: narrows the window in which a cut-off tail looks like the residue of a crash. Cheap when
    /// nothing was committed since the last call.
    ///
    /// # Errors
    /// [`SettleError`]: no event is lost, but the journal wants [`recover`](Self::recover) before the next commit.
    fn settle(&mut self) -> Result<(), SettleError>;

    /// Forgets what is in memory and looks at what is stored, by the same way as at start. Afterwards every event that
    /// readers can see is durable, among them possibly those of a commit whose outcome was unknown.
    ///
    /// # Errors
    /// [`RecoverError`]; the journal still takes nothing, `recover` may be called again.
    fn recover(&mut self) -> Result<Recovery, RecoverError>;

    /// The manifests of all logs, in no particular order: those that [`head`](Self::head) has a head for.
    fn logs(&self) -> Vec<LogManifest>;

    /// Makes a log without events, whose head is [`Head::EMPTY`]. When it returns `Ok` the log is durable: it survives the
    /// death of the process and of the machine, commits to it are taken and readers find it.
    ///
    /// A crash during the call leaves the log there as a whole or not at all. A name is never used again: not when the log is
    /// gone, either.
    ///
    /// # Errors
    /// [`CreateLogError`]. With [`CreateLogError::Unknown`] the log may or may not be there; the journal takes nothing more
    /// until [`recover`](Self::recover) has looked, after which [`logs`](Self::logs) tells.
    fn create_log(&mut self, name: &LogName, created_at: Micros) -> Result<LogManifest, CreateLogError>;

    /// What is known from the cells of every durable batch, applied in the order of their commits. To be called once after
    /// the journal was opened and once after each successful [`recover`](Self::recover): it is given away, and from then on
    /// the caller's to keep up to date with what it commits.
    fn take_cells(&mut self) -> CellTable;
}

/// Why a commit failed.
#[derive(Debug, Error)]
pub enum CommitError {
    /// Another writer moved the head, or the caller's head is stale. Nothing was written.
    #[error("the head of log {log} is event {}, the batch expects {}", found.size, expected.size)]
    Conflict {
        /// The log.
        log: LogId,
        /// What the batch extends.
        expected: Head,
        /// What the journal has.
        found: Head,
    },
    /// No such log. Nothing was written.
    #[error("there is no log {0}")]
    NoSuchLog(LogId),
    /// The group is larger than the engine can commit in one step. Nothing was written.
    #[error("the group has {bytes} bytes, one commit takes at most {bytes_max}")]
    TooLarge {
        /// Size of the group in bytes.
        bytes: u64,
        /// The engine's limit in bytes.
        bytes_max: u64,
    },
    /// The storage is full. Nothing was written; the operator has to make room.
    #[error("no space left for the journal: {0}")]
    NoSpace(#[source] io::Error),
    /// The storage failed before anything of the group was written; the operator has to look at it. Trying again may help.
    #[error("the journal can not be written: {0}")]
    Storage(#[source] io::Error),
    /// Background work is too far behind. Nothing was written; try again later.
    #[error("packing is {files} journal files behind, at most {files_max} may wait")]
    Backlog {
        /// Journal files that wait.
        files: usize,
        /// How many may wait.
        files_max: usize,
    },
    /// The outcome is unknown; the journal must recover.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(#[source] io::Error),
    /// An earlier outcome is unknown and the journal has not recovered. Nothing was written.
    #[error("the journal has to recover before it takes more")]
    NeedsRecovery,
}

impl CommitError {
    /// True when the group may be durable all the same.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown(_))
    }
}

/// Why a log was not made.
#[derive(Debug, Error)]
pub enum CreateLogError {
    /// The name was used before; the caller has to choose another one. Nothing was written.
    #[error("there is, or was, a log named {0}")]
    Exists(LogName),
    /// The storage is full. Nothing was written that counts; the operator has to make room.
    #[error("no space left for a log: {0}")]
    NoSpace(#[source] io::Error),
    /// The storage failed before the log was there; the operator has to look at it. Trying again may help.
    #[error("a log can not be made: {0}")]
    Storage(#[source] io::Error),
    /// The outcome is unknown; the journal must recover.
    #[error("the outcome of making a log is unknown: {0}")]
    Unknown(#[source] io::Error),
    /// An earlier outcome is unknown and the journal has not recovered. Nothing was written.
    #[error("the journal has to recover before it takes more")]
    NeedsRecovery,
}

/// The durable mark could not be written.
#[derive(Debug, Error)]
#[error("the head record could not be written: {0}")]
pub struct SettleError(#[source] pub io::Error);

/// Why a journal can not be recovered.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// The storage failed; the operator has to look at it. Trying again may help.
    #[error("the journal can not be read or mended: {0}")]
    Io(#[from] io::Error),
    /// What was durable is damaged: an integrity failure, and nothing may be written after it.
    #[error("integrity failure: {0}")]
    Damaged(#[from] crate::Damage),
}

/// What recovery found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes behind the last complete batch, left by a crash: moved aside, never deleted. Where they are now.
    pub quarantined: Vec<String>,
    /// Batches that were complete but not known to be durable; they were written again, and are durable now.
    pub rewritten_batches: u64,
    /// Other things an operator should know, one sentence each.
    pub notes: Vec<String>,
}

//! Why an append was refused, and what is known about its outcome.
//!
//! Invariant: [`AppendError::outcome`] and [`AppendError::retry_after`] are the only places that map a refusal to what
//! its caller may conclude and do.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use annals_core::chain::{Head, LogId};
use annals_store::{Damage, LogName, Sequence};
use thiserror::Error;

/// Why a batch has no receipt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AppendError {
    /// The caller sent a batch without events.
    #[error("the batch has no event")]
    Empty,
    /// The caller has to send the batch in parts.
    #[error(
        "the batch takes up to {bytes} bytes once sealed, at most {bytes_max} can be taken at once; send it in parts"
    )]
    TooLarge {
        /// Upper bound of the sealed batch, in bytes.
        bytes: u64,
        /// The limit, in bytes.
        bytes_max: u64,
    },
    /// The log is behind; the caller should try again later.
    #[error("the log is busy; try again in {retry_after:?}")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The log finds out what is stored after a failed write; the caller should try again later.
    #[error("the log is recovering from a failed write; try again in {retry_after:?}")]
    Recovering {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The storage is full; the operator has to make room.
    #[error("the storage is full; the operator has to make room")]
    NoSpace,
    /// The storage failed before anything was written; the operator has to look at it, trying again may help.
    #[error("the storage failed before anything was written; try again in {retry_after:?}")]
    Storage {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The write failed in a way that leaves its outcome open: the events may be sealed, or turn up so after recovery. The
    /// caller has to look before it sends them again.
    #[error(
        "the write failed and its outcome is unknown; look whether the events are in the log before sending them again"
    )]
    Unknown,
    /// The log is shutting down.
    #[error("the log is stopped")]
    Stopped,
    /// The log takes nothing more; the operator has to look at it.
    #[error("the log takes nothing more: {0}")]
    Damaged(Arc<Fatal>),
}

/// Why a request that is recognised when it is sent again has no answer to give.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OnceError {
    /// As for any batch. When the outcome is unknown, the same request can be sent again once the log takes appends: what
    /// is stored of it is recognised.
    #[error(transparent)]
    Refused(#[from] AppendError),
    /// The caller used the key before, for something else.
    #[error(
        "the key was used before for another request; take a new key for each request, and the same one only to send it again"
    )]
    KeyReused {
        /// The item (from 0) whose key it is; `None` when it is the request's.
        item: Option<u32>,
    },
    /// A part of the range is stored, the other part is not.
    #[error(
        "the range begins at or below the producer's position {position} and ends above it; send what is above it"
    )]
    Straddles {
        /// The last sequence that is stored.
        position: Sequence,
    },
    /// One more producer would be too many; the operator has to look at who they are.
    #[error("no more than {producers_max} producers are remembered; use the name of one that is known")]
    TooManyProducers {
        /// The limit, over all logs.
        producers_max: usize,
    },
    /// The caller has to send the batch in parts: its keys could not all be remembered.
    #[error("the batch has {keys} keys, no more than {keys_max} are remembered; send it in parts")]
    TooManyKeys {
        /// How many it has.
        keys: usize,
        /// How many are remembered, over all logs.
        keys_max: usize,
    },
}

impl OnceError {
    /// What is known about the items that were not stored before.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Refused(refusal) => refusal.outcome(),
            Self::KeyReused { .. }
            | Self::Straddles { .. }
            | Self::TooManyProducers { .. }
            | Self::TooManyKeys { .. } => Outcome::NotStored,
        }
    }

    /// How long to wait before the same request is sent again; `None` when waiting alone can't help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(refusal) => refusal.retry_after(),
            Self::KeyReused { .. }
            | Self::Straddles { .. }
            | Self::TooManyProducers { .. }
            | Self::TooManyKeys { .. } => None,
        }
    }
}

/// Why a log was not made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CreateError {
    /// The caller has to choose another name: names are never used again.
    #[error("there is, or was, a log named {0}")]
    Exists(LogName),
    /// There are as many logs as the operator allows.
    #[error("there are {logs_max} logs already, which is the limit")]
    TooMany {
        /// The limit.
        logs_max: usize,
    },
    /// Too many logs wait to be made; the caller should try again later.
    #[error("too many logs wait to be made; try again in {retry_after:?}")]
    Busy {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The journal finds out what is stored after a failed write; the caller should try again later.
    #[error("the journal is recovering from a failed write; try again in {retry_after:?}")]
    Recovering {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The storage is full; the operator has to make room.
    #[error("the storage is full; the operator has to make room")]
    NoSpace,
    /// The storage failed before the log was there; the operator has to look at it, trying again may help.
    #[error("the storage failed before the log was made; try again in {retry_after:?}")]
    Storage {
        /// How long to wait.
        retry_after: Duration,
    },
    /// The outcome is open: the log may be there, or turn up after recovery. Sent again, the answer is that it exists, then.
    #[error("the write failed and its outcome is unknown; look whether the log is there")]
    Unknown,
    /// The journal is shutting down.
    #[error("the journal is stopped")]
    Stopped,
    /// The journal takes nothing more; the operator has to look at it.
    #[error("the journal takes nothing more: {0}")]
    Damaged(Arc<Fatal>),
}

impl CreateError {
    /// What refuses appends refuses creations as well.
    pub(crate) fn from_refusal(refusal: &AppendError) -> Self {
        match refusal {
            AppendError::Recovering { retry_after } => Self::Recovering {
                retry_after: *retry_after,
            },
            AppendError::Busy { retry_after } => Self::Busy {
                retry_after: *retry_after,
            },
            AppendError::Storage { retry_after } => Self::Storage {
                retry_after: *retry_after,
            },
            AppendError::NoSpace => Self::NoSpace,
            AppendError::Damaged(fatal) => Self::Damaged(Arc::clone(fatal)),
            AppendError::Stopped => Self::Stopped,
            AppendError::Empty | AppendError::TooLarge { .. } | AppendError::Unknown => Self::Unknown,
        }
    }
}

/// What is known about a batch that has no receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// None of its events is in the log, and none will turn up.
    NotStored,
    /// All of its events are in the log, or none.
    Unknown,
}

impl AppendError {
    /// What is known about the batch.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Unknown => Outcome::Unknown,
            Self::Empty
            | Self::TooLarge { .. }
            | Self::Busy { .. }
            | Self::Recovering { .. }
            | Self::NoSpace
            | Self::Storage { .. }
            | Self::Stopped
            | Self::Damaged(_) => Outcome::NotStored,
        }
    }

    /// How long to wait before the same batch is sent again; `None` when waiting alone can't help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after } | Self::Recovering { retry_after } | Self::Storage { retry_after } => {
                Some(*retry_after)
            }
            Self::Empty
            | Self::TooLarge { .. }
            | Self::NoSpace
            | Self::Unknown
            | Self::Stopped
            | Self::Damaged(_) => None,
        }
    }
}

/// Why a log takes nothing more until an operator has looked at it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fatal {
    /// What was durable is damaged.
    #[error("integrity failure: {0}")]
    Integrity(Damage),
    /// Recovery found less than what was sealed, or something else: what receipts were given for is gone.
    #[error(
        "recovery found event {} ({}) as the last one of log {log}, but event {} ({}) was sealed",
        found.size, found.hash, sealed.size, sealed.hash
    )]
    LostHead {
        /// The log.
        log: LogId,
        /// The head that was published.
        sealed: Head,
        /// What the journal has after recovery.
        found: Head,
    },
    /// Somebody else extended the log.
    #[error("fenced: another writer moved the head of log {log} to event {} ({}), this one stands at event {} ({})",
        found.size, found.hash, expected.size, expected.hash)]
    Fenced {
        /// The log.
        log: LogId,
        /// This sequencer's head.
        expected: Head,
        /// The journal's head.
        found: Head,
    },
    /// The journal no longer has the log.
    #[error("the journal has no log {0} any more")]
    NoSuchLog(LogId),
    /// The sequencer panicked: a bug. What is stored is as after a crash.
    #[error("the sequencer panicked; restart the server and report the bug")]
    Panicked,
}

/// Why a log can't be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// The journal has no such log.
    #[error("the journal has no log {0}")]
    NoSuchLog(LogId),
    /// The caller's options can't work.
    #[error("`{option}` {problem}")]
    Option {
        /// Name of the option.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The system gives no thread.
    #[error("the sequencer's thread can't be started: {0}")]
    Thread(#[from] io::Error),
}

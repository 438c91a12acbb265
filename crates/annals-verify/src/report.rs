//! What an audit says, and the checkpoint that somebody holds elsewhere.
//!
//! Invariant: "intact" never means more than was proven. That the tail was not cut off can only be known from something
//! held outside the log; without it the verdict says so.

use std::fmt;

use annals_core::body;
use annals_core::canon;
use annals_core::chain::{EventId, TreeSize};
use annals_core::hash::EventHash;
use thiserror::Error;

use crate::chain::Break;

/// The outcome of an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every event is as it was sealed.
    Intact {
        /// Number of events checked.
        size: TreeSize,
        /// Hash of the last event, [`EventHash::GENESIS`] when there is none.
        head: EventHash,
        /// Whether the end of the log was proven too.
        freshness: Freshness,
    },
    /// The log is not what was sealed.
    Broken {
        /// Number of events before the break, all of them intact.
        checked: u64,
        /// Where, and what is wrong.
        at: Break,
    },
    /// The log could not be read to its end, so nothing is known about the rest.
    Incomplete {
        /// Number of events that were checked and are intact.
        checked: u64,
        /// Why it stopped.
        reason: String,
    },
}

/// Whether something held elsewhere vouches for the end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Nothing was held: a log whose tail was cut off looks the same.
    NotProven,
    /// The log contains the held checkpoint: nothing up to it is missing or changed.
    ProvenUpTo(Checkpoint),
}

/// One event's id and hash, noted down outside the log: `{"event_id":N,"hash":"<64 hex>"}`, as `GET /checkpoint` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The event.
    pub event_id: EventId,
    /// Its hash.
    pub hash: EventHash,
}

/// Why a text is no checkpoint; whoever gave it has to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Not a JSON object.
    #[error("the checkpoint is not JSON: {0}")]
    Json(#[from] canon::CanonError),
    /// `event_id` is absent or no positive integer.
    #[error("the checkpoint needs `event_id`, a positive integer")]
    EventId,
    /// `hash` is absent or not 64 lower-case hex digits.
    #[error("the checkpoint needs `hash`, 64 lower-case hex digits in a string")]
    Hash,
}

impl Checkpoint {
    /// Reads the JSON form; other members are ignored.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn parse(text: &[u8]) -> Result<Self, CheckpointError> {
        const DEPTH_MAX: u32 = 8;
        let mut canonical = Vec::new();
        canon::canonicalize(text, DEPTH_MAX, &mut canonical)?;
        let event_id = body::member(&canonical, "event_id")
            .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
            .and_then(EventId::new)
            .ok_or(CheckpointError::EventId)?;
        let hash = body::member(&canonical, "hash")
            .and_then(|text| EventHash::from_hex(text.strip_prefix(b"\"")?.strip_suffix(b"\"")?))
            .ok_or(CheckpointError::Hash)?;
        Ok(Self { event_id, hash })
    }

    /// Compares with what the log has at that id; `found` is `None` when the log (of `size` events) ends before it.
    pub(crate) fn compare(&self, size: TreeSize, found: Option<EventHash>) -> Result<(), Break> {
        let Self { event_id, hash } = self;
        match found {
            Some(found) if found == *hash => Ok(()),
            Some(found) => Err(Break {
                event: *event_id,
                reason: format!(
                    "event #{event_id} has hash {found}, the held checkpoint says {hash}: the log was rewritten at or \
                     before it"
                ),
            }),
            None => Err(Break {
                event: size.next(),
                reason: format!(
                    "the log ends after {size} events, the held checkpoint is of event #{event_id}: the tail is missing"
                ),
            }),
        }
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"event_id\":{},\"hash\":\"{}\"}}", self.event_id, self.hash)
    }
}

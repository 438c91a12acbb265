//! Cells: small values that become durable with a batch, in the same step. They make retries exact.
//!
//! Two kinds. A *receipt* remembers which events a key of a caller was used for, so that the same request sent again gets the
//! first answer. A *position* is how far an ordered producer has come, so that what it sends again is recognised.
//!
//! Invariants: a cell is durable exactly when its batch is. Receipts are bounded by [`CellBounds`]: the oldest go first,
//! over all logs. Positions are never forgotten; their number is bounded, and a new producer over it is refused.

mod snapshot;
mod table;
#[cfg(test)]
mod tests;

use std::fmt;

use annals_core::chain::{EventId, LogId};
use annals_core::hash::EventHash;
use annals_core::time::Micros;

pub use snapshot::SnapshotError;
pub use table::CellTable;

/// Who used a key: all zeros while callers have no names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(pub [u8; 16]);

/// A producer's place in its own order: `u64.u64`; a plain `u64` has 0 in the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub u64, pub u64);

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(major, 0) => major.fmt(f),
            Self(major, minor) => write!(f, "{major}.{minor}"),
        }
    }
}

/// A value that becomes durable with its batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// A key was used for some events of the batch.
    Receipt {
        /// Place of the first of them in the batch, from 0.
        index: u32,
        /// How many they are, at least 1.
        count: u32,
        /// SHA-256 of what was asked for, before stamping.
        digest: [u8; 32],
        /// Whose key it is.
        caller: CallerId,
        /// The key, 1 to 255 bytes.
        key: Box<str>,
    },
    /// A producer has come this far.
    Position {
        /// Its name, 1 to 255 bytes.
        producer: Box<str>,
        /// The last one that is stored.
        sequence: Sequence,
    },
}

/// What is known of a key that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownReceipt {
    /// The first event.
    pub first: EventId,
    /// How many they are.
    pub count: u32,
    /// SHA-256 of what was asked for.
    pub digest: [u8; 32],
    /// When the log took them.
    pub received_at: Micros,
}

/// How much is remembered, over all logs of an engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CellBounds {
    /// Most receipts.
    pub receipts_max: usize,
    /// Receipts older than this when a cell is applied, counted from its receive time, are forgotten. Microseconds.
    pub receipt_age_max: i64,
    /// Most producers.
    pub producers_max: usize,
}

impl Default for CellBounds {
    fn default() -> Self {
        Self {
            receipts_max: 262_144,
            receipt_age_max: 24 * 3600 * 1_000_000,
            producers_max: 65_536,
        }
    }
}

/// The key under which a receipt is found: the first 16 bytes of SHA-256 over the log's id, the caller's id and the key.
///
/// A table of these has rows of one size, whatever callers use for keys. Two keys of one scope that meet in it take 2^64 tries,
/// and all that their owner gains is that a request of his own is taken for another one with the same digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiptKey([u8; 16]);

impl ReceiptKey {
    /// The key's place: a key means something only to its log and its caller.
    #[must_use]
    pub fn new(log: LogId, caller: CallerId, key: &str) -> Self {
        let mut text = Vec::with_capacity(32 + key.len());
        text.extend_from_slice(&log.0);
        text.extend_from_slice(&caller.0);
        text.extend_from_slice(key.as_bytes());
        let mut first = [0; 16];
        first.copy_from_slice(&EventHash::of(&text).0[..16]);
        Self(first)
    }
}

//! Cells: small values that become durable with a batch, in the same step. They make retries exact.
//!
//! Two kinds. A *receipt* remembers which events a key of a caller was used for, so that the same request sent again gets the
//! first answer. A *position* is how far an ordered producer has come, so that what it sends again is recognised.
//!
//! Invariants: a cell is durable exactly when its batch is. Receipts are bounded by [`CellBounds`]: the oldest go first,
//! over all logs. Positions are never forgotten; their number is bounded, and a new producer over it is refused.

use annals_core::chain::{EventId, LogId};
use annals_core::time::Micros;

/// Who used a key: all zeros while callers have no names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallerId(pub [u8; 16]);

/// A producer's place in its own order: `u64.u64`; a plain `u64` has 0 in the second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sequence(pub u64, pub u64);

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
    /// Receipts older than this, counted in receive times of the newest batch, are forgotten. Microseconds.
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

/// The key under which a receipt is found.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ReceiptKey {
    /// The log.
    pub log: LogId,
    /// Whose key it is.
    pub caller: CallerId,
    /// The key.
    pub key: Box<str>,
}

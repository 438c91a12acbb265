//! What one event, one batch and one commit may weigh. One place, so that every door refuses the same things.
//!
//! Invariant: whatever passes [`EventLimits`] fits a journal frame: `GROUP_BYTES_MAX` plus its table stays below 4 GiB,
//! so offsets inside a frame are 32 bits.

use crate::hash::HASH_HEX_LEN;
use crate::time::TIMESTAMP_LEN;

/// Deepest nesting of an event: the event object is level 1, its payload level 2 (wire facts: deeper than 128 is refused).
pub const DEPTH_MAX: u32 = 128;
/// Bytes that sealing fills into an event at most: its id (20 digits), the previous hash, and two time stamps (an extended
/// event has its receive time twice when the producer claims no time).
pub const STAMP_BYTES_MAX: usize = 20 + HASH_HEX_LEN + 2 * TIMESTAMP_LEN;
/// Most bodies, in bytes, that one commit (one journal frame) may carry.
pub const GROUP_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Limits that the operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventLimits {
    /// Largest canonical event, in bytes, before the log's stamps.
    pub event_bytes_max: usize,
    /// Most events in one request.
    pub batch_events_max: usize,
    /// Most canonical bytes in one request, before the log's stamps.
    pub batch_bytes_max: usize,
}

impl Default for EventLimits {
    fn default() -> Self {
        Self {
            event_bytes_max: 1024 * 1024,
            batch_events_max: 500_000,
            batch_bytes_max: 128 * 1024 * 1024,
        }
    }
}

const _: () = {
    // The largest batch, fully stamped, must fit one frame.
    assert!(128 * 1024 * 1024 + 500_000 * STAMP_BYTES_MAX <= GROUP_BYTES_MAX);
};

//! Names and positions in a log: which log, which event, how far.
//!
//! Invariant: event ids of a log start at 1 and have no gaps; `Head::size` is the id of its last event.

use std::fmt;
use std::num::NonZeroU64;

use crate::hash::EventHash;
use crate::time::Micros;

/// A log's UUID, fixed when the log is created (16 bytes, RFC 9562).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            if matches!(at, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

/// Position of an event in its log, from 1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct EventId(NonZeroU64);

impl EventId {
    /// The first event of every log.
    pub const FIRST: Self = Self(NonZeroU64::MIN);

    /// `None` for 0, which is no event.
    #[must_use]
    pub fn new(id: u64) -> Option<Self> {
        NonZeroU64::new(id).map(Self)
    }

    /// The id as a number, at least 1.
    #[must_use]
    pub fn get(self) -> u64 {
        self.0.get()
    }

    /// The id that many places later (saturating; ids end long before `u64` does).
    #[must_use]
    pub fn plus(self, places: u64) -> Self {
        Self(self.0.saturating_add(places))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How many events a log has, from 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Default)]
pub struct TreeSize(pub u64);

impl TreeSize {
    /// The id of the last event, `None` when the log is empty.
    #[must_use]
    pub fn last(self) -> Option<EventId> {
        EventId::new(self.0)
    }

    /// The id that the next event gets.
    #[must_use]
    pub fn next(self) -> EventId {
        EventId::FIRST.plus(self.0)
    }

    /// True when event `id` is among the first `self` ones.
    #[must_use]
    pub fn contains(self, id: EventId) -> bool {
        id.get() <= self.0
    }
}

impl fmt::Display for TreeSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The end of a log: everything that the next event depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Number of events.
    pub size: TreeSize,
    /// Hash of the last event, [`EventHash::GENESIS`] when there is none.
    pub hash: EventHash,
    /// Receive time of the last event; the next one's is never earlier.
    pub received_at: Micros,
}

impl Head {
    /// The head of a log without events.
    pub const EMPTY: Self = Self {
        size: TreeSize(0),
        hash: EventHash::GENESIS,
        received_at: Micros(i64::MIN),
    };
}

//! Finding events: which ids match a filter, and how many.
//!
//! Whatever an engine does inside (an index, a database), the answer is the one that reading every event and asking
//! [`Filter::matches`] gives, over every event up to the head.

use std::sync::Arc;

use annals_core::chain::{EventId, TreeSize};
use annals_core::filter::Filter;
use annals_core::time::Micros;

use crate::read::{ReadError, ReadLog};

/// What is looked for, and where. Receive times never go back along a log, so a range of them is a range of ids:
/// [`FindEvents::first_at`] tells which.
#[derive(Debug, Clone)]
pub struct Search {
    /// Which events.
    pub filter: Arc<Filter>,
    /// The first event that may match.
    pub first: EventId,
    /// Events behind this size are not looked at, also when the log has grown since.
    pub last: TreeSize,
    /// From which end.
    pub order: Order,
}

impl Search {
    /// The rest of the search: from [`Found::next`] on in its order. (Counting goes on with [`Order::OldestFirst`] at
    /// [`Counted::next`], and adds up.)
    #[must_use]
    pub fn going_on_at(mut self, next: EventId) -> Self {
        match self.order {
            Order::OldestFirst => self.first = next,
            Order::NewestFirst => self.last = TreeSize(next.get()),
        }
        self
    }
}

/// From which end events are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Descending ids.
    NewestFirst,
    /// Ascending ids.
    OldestFirst,
}

/// What one call found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Matches in the search's order.
    pub ids: Vec<EventId>,
    /// The event at which the search goes on (it is not among those looked at yet), `None` when it is over. See
    /// [`Search::going_on_at`].
    pub next: Option<EventId>,
    /// Bytes of bodies that were read to decide.
    pub scanned_bytes: u64,
}

/// What one call counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// Matches in each interval between the cuts.
    pub counts: Vec<u64>,
    /// The event at which counting goes on, `None` when it is over.
    pub next: Option<EventId>,
    /// Bytes of bodies that were read to decide.
    pub scanned_bytes: u64,
}

/// A log in which events can be found. Safe to call from many threads at once; one call does a bounded amount of work, so
/// that a caller can stop between two.
pub trait FindEvents: ReadLog {
    /// Matches in the search's order: at most `matches_max` (at least 1), after reading about `scan_bytes_max` bytes of bodies at
    /// most. Always makes progress: `next` moves with every call until it is `None`.
    ///
    /// # Errors
    /// [`ReadError`].
    fn find(&self, search: &Search, matches_max: usize, scan_bytes_max: u64) -> Result<Found, ReadError>;

    /// How many events match in each interval: `counts[i]` are those from `cuts[i]` up to, not including, `cuts[i + 1]`. Cuts
    /// ascend; there are at least two. `first` and `last` of the search hold as well; its order is not looked at, counting
    /// goes upwards. Reads about `scan_bytes_max` bytes of bodies at most.
    ///
    /// # Errors
    /// [`ReadError`].
    fn count(&self, search: &Search, cuts: &[EventId], scan_bytes_max: u64) -> Result<Counted, ReadError>;

    /// The first event that the log received at `time` or later; the id after the last event when there is none.
    ///
    /// # Errors
    /// [`ReadError`].
    fn first_at(&self, time: Micros) -> Result<EventId, ReadError>;
}

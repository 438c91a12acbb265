//! Counting: how many events match, between given points of receive time.
//!
//! Invariants: one step reads about [`STEP_BYTES`] and ends. A count is of everything that was asked for, or there is none: what
//! the budget does not reach is an error, because a number does not show what it leaves out.

use std::sync::Arc;

use annals_core::chain::{EventId, TreeSize};
use annals_core::filter::Filter;
use annals_core::time::Micros;
use annals_store::{Order, ReadError, Search};

use super::{CALL_BYTES, Lane, STEP_BYTES, SearchFailed};

/// Points in time that are looked up in one step.
const CUTS_A_STEP: usize = 64;

/// A count under way.
pub(crate) struct Tally {
    filter: Arc<Filter>,
    /// Where one bucket ends and the next begins; empty for one bucket of everything.
    edges: Arc<[Micros]>,
    /// Bytes that may still be read to decide; `None` without a bound.
    budget: Option<u64>,
    scan_bytes_max: u64,
    lanes: Vec<TallyLane>,
}

struct TallyLane {
    lane: Lane,
    /// Ids at the edges that were looked up.
    cuts: Vec<EventId>,
    /// Where counting goes on; `None` when it is over.
    next: Option<EventId>,
    counts: Vec<u64>,
}

/// What was counted in one log.
pub(crate) struct Tallied {
    pub(crate) log: String,
    pub(crate) as_of: TreeSize,
    /// One number a bucket.
    pub(crate) counts: Vec<u64>,
}

impl Tally {
    /// Counts between `edges`, which ascend; without any, everything in one.
    pub(crate) fn new(
        lanes: Vec<Lane>,
        filter: Arc<Filter>,
        edges: Vec<Micros>,
        scan_bytes_max: u64,
    ) -> Self {
        let buckets = edges.len().saturating_sub(1).max(usize::from(edges.is_empty()));
        let lane = |lane: Lane| TallyLane {
            cuts: if edges.is_empty() {
                vec![lane.span.first, lane.span.end()]
            } else {
                Vec::new()
            },
            next: lane.span.start(Order::OldestFirst),
            lane,
            counts: vec![0; buckets],
        };
        Self {
            budget: (!filter.is_of_values()).then_some(scan_bytes_max),
            scan_bytes_max,
            lanes: lanes.into_iter().map(lane).collect(),
            filter,
            edges: edges.into(),
        }
    }

    /// Counts on. True when everything is counted.
    ///
    /// # Errors
    /// [`SearchFailed`].
    pub(crate) fn step(&mut self) -> Result<bool, SearchFailed> {
        let mut looked = 0;
        for lane in &mut self.lanes {
            if lane.look_up(&self.edges)? {
                return Ok(false);
            }
            if self.filter.is_open() {
                lane.subtract();
            }
            while let Some(next) = lane.next {
                if looked >= STEP_BYTES {
                    return Ok(false);
                }
                if self.budget == Some(0) {
                    return Err(SearchFailed::OverBudget {
                        bytes_max: self.scan_bytes_max,
                    });
                }
                let bytes_max = self.budget.map_or(STEP_BYTES, |budget| budget.min(STEP_BYTES));
                let scanned = lane.count(next, &self.filter, bytes_max)?;
                looked += scanned.max(CALL_BYTES);
                self.budget = self.budget.map(|budget| budget.saturating_sub(scanned));
            }
        }
        Ok(true)
    }

    /// What was counted, by log.
    pub(crate) fn finish(self) -> Vec<Tallied> {
        let tallied = |lane: TallyLane| Tallied {
            log: lane.lane.log.name.to_string(),
            as_of: lane.lane.head,
            counts: lane.counts,
        };
        self.lanes.into_iter().map(tallied).collect()
    }
}

impl TallyLane {
    /// Looks up which events stand at the next edges; true when there are more than one step may look up.
    fn look_up(&mut self, edges: &[Micros]) -> Result<bool, ReadError> {
        let (first, end) = (self.lane.span.first, self.lane.span.end());
        for _ in 0..CUTS_A_STEP {
            let Some(edge) = edges.get(self.cuts.len()) else {
                return Ok(false);
            };
            let cut = match self.cuts.last() {
                // Nothing comes later.
                Some(last) if *last == end => end,
                _ => self.lane.log.events.first_at(*edge)?.clamp(first, end),
            };
            self.cuts.push(cut);
        }
        Ok(self.cuts.len() < edges.len())
    }

    /// Counts when everything matches.
    fn subtract(&mut self) {
        for (count, cut) in self.counts.iter_mut().zip(self.cuts.windows(2)) {
            *count = cut[1].get() - cut[0].get();
        }
        self.next = None;
    }

    fn count(&mut self, next: EventId, filter: &Arc<Filter>, scan_bytes_max: u64) -> Result<u64, ReadError> {
        let search = Search {
            filter: Arc::clone(filter),
            first: next,
            last: self.lane.span.last,
            order: Order::OldestFirst,
        };
        // Buckets without any event are left out: cuts ascend.
        let mut cuts = self.cuts.clone();
        cuts.dedup();
        if cuts.len() < 2 {
            self.next = None;
            return Ok(0);
        }
        let counted = self.lane.log.events.count(&search, &cuts, scan_bytes_max)?;
        let mut found = counted.counts.into_iter();
        for (count, cut) in self.counts.iter_mut().zip(self.cuts.windows(2)) {
            if cut[0] != cut[1] {
                *count += found.next().unwrap_or(0);
            }
        }
        self.next = counted.next;
        Ok(counted.scanned_bytes)
    }
}

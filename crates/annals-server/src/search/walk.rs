//! The walk to a page's ids: through one log, or through several merged by receive time.
//!
//! Several logs are merged by (receive time, name, id); each has a few matches in hand whose times were read, and the next of
//! all is taken. What a page does not take of them is found again by the next one.
//!
//! Invariants: one step reads about [`STEP_BYTES`] and ends; what is read to decide about texts and claimed times is within the
//! budget, but for each log's last read; a walk that ends there says so, and where it has to go on. Whatever ends a walk, each
//! log's position is the first event that was not picked and not passed over, and some log's is another than before.

use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

use annals_core::chain::{EventId, TreeSize};
use annals_core::filter::Filter;
use annals_core::time::Micros;
use annals_store::{Order, ReadError, Search};

use super::fetch::Fetch;
use super::{CALL_BYTES, Lane, STEP_BYTES, SearchLog};

/// Matches of one of several logs that are looked for at once.
const AHEAD: usize = 256;

/// A search for the first `limit` matches in `order`.
pub(crate) struct Walk {
    filter: Arc<Filter>,
    order: Order,
    limit: usize,
    /// Whether the caller wants to know if there are more.
    peeks: bool,
    runs: Vec<Run>,
    /// Which log each pick is from; empty when there is one.
    sequence: Vec<u8>,
    is_incomplete: bool,
}

/// One log's part of the walk.
struct Run {
    lane: Lane,
    /// Bytes that may still be read to decide; `None` without a bound. Each log has a share of its own: if one could use up
    /// another's, a page could end without a pick, and with every match in hand to be found again by the next.
    budget: Option<u64>,
    /// Where the search goes on; `None` when it is over.
    at: Option<EventId>,
    /// Matches in hand.
    found: VecDeque<EventId>,
    /// Matches in hand whose times are known; they come before those in `found`.
    timed: VecDeque<(Micros, EventId)>,
    fetch: Fetch,
    ids: Ids,
}

/// What a walk found.
pub(crate) struct Picked {
    pub(crate) order: Order,
    pub(crate) lanes: Vec<(SearchLog, Ids)>,
    /// Which log each event is from; empty when there is one.
    pub(crate) sequence: Vec<u8>,
    /// Where the next page begins in each log; `None` when there is none.
    pub(crate) next: Option<Vec<u64>>,
    /// True when the budget ended the walk.
    pub(crate) is_incomplete: bool,
}

/// Ids in order, up or down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ids {
    /// `len` ids without gaps.
    Adjacent {
        first: EventId,
        len: usize,
        order: Order,
    },
    /// These.
    Listed(Vec<EventId>),
}

impl Walk {
    /// Walks the lanes from their ends or beginnings, as `order` says. With `peeks` it finds out whether there is more.
    pub(crate) fn new(
        lanes: Vec<Lane>,
        filter: Arc<Filter>,
        order: Order,
        limit: usize,
        peeks: bool,
        scan_bytes_max: u64,
    ) -> Self {
        let share = (scan_bytes_max / lanes.len().max(1) as u64).max(1);
        let budget = (!filter.is_of_values()).then_some(share);
        Self {
            filter,
            order,
            limit,
            peeks,
            runs: lanes
                .into_iter()
                .map(|lane| Run::new(lane, order, budget))
                .collect(),
            sequence: Vec::new(),
            is_incomplete: false,
        }
    }

    /// Walks on. True when the walk is over.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn step(&mut self) -> Result<bool, ReadError> {
        let is_over = match &mut self.runs[..] {
            [run] if self.filter.is_open() => {
                run.take_adjacent(self.order, self.limit);
                return Ok(true);
            }
            [_] => self.step_one()?,
            _ => self.step_several()?,
        };
        if is_over && self.peeks && self.left() == 0 {
            self.peek()?;
        }
        Ok(is_over)
    }

    fn step_one(&mut self) -> Result<bool, ReadError> {
        let mut looked = 0;
        while self.left() > 0 && self.runs[0].at.is_some() {
            if looked >= STEP_BYTES {
                return Ok(false);
            }
            if self.runs[0].is_used_up() {
                self.is_incomplete = true;
                return Ok(true);
            }
            looked += self.find(0, self.left())?;
            let run = &mut self.runs[0];
            for id in mem::take(&mut run.found) {
                run.ids.push(id);
            }
        }
        Ok(true)
    }

    fn step_several(&mut self) -> Result<bool, ReadError> {
        let mut looked = 0;
        while self.left() > 0 {
            while let Some(at) = self.runs.iter().position(|run| !run.is_ready()) {
                if looked >= STEP_BYTES {
                    return Ok(false);
                }
                if !self.runs[at].found.is_empty() {
                    looked += self.runs[at].read_times(self.order)?;
                } else if self.runs[at].is_used_up() {
                    self.is_incomplete = true;
                    return Ok(true);
                } else {
                    looked += self.find(at, self.left().min(AHEAD))?;
                }
            }
            if !self.pick() {
                break;
            }
        }
        Ok(true)
    }

    /// How many matches are still wanted.
    fn left(&self) -> usize {
        let picked: usize = self.runs.iter().map(|run| run.ids.len()).sum();
        self.limit - picked
    }

    fn find(&mut self, at: usize, matches_max: usize) -> Result<u64, ReadError> {
        let scanned = self.runs[at].find(&self.filter, self.order, matches_max, STEP_BYTES)?;
        Ok(scanned.max(CALL_BYTES))
    }

    /// What was found.
    pub(crate) fn finish(self) -> Picked {
        let is_more = self.runs.iter().any(Run::has_more);
        let next = (is_more && (self.peeks || self.is_incomplete))
            .then(|| self.runs.iter().map(|run| run.position(self.order)).collect());
        Picked {
            order: self.order,
            sequence: self.sequence,
            next,
            is_incomplete: self.is_incomplete,
            lanes: self.runs.into_iter().map(|run| (run.lane.log, run.ids)).collect(),
        }
    }

    /// Takes the next of all matches; false when there is none.
    fn pick(&mut self) -> bool {
        let heads = self.runs.iter().enumerate().filter_map(|(at, run)| {
            let (received_at, _) = run.timed.front()?;
            Some((*received_at, at))
        });
        let next = match self.order {
            Order::OldestFirst => heads.min(),
            Order::NewestFirst => heads.max(),
        };
        let Some((_, at)) = next else { return false };
        if let Some((_, id)) = self.runs[at].timed.pop_front() {
            self.runs[at].ids.push(id);
            // At most 16 logs are asked.
            self.sequence.push(u8::try_from(at).unwrap_or(u8::MAX));
        }
        true
    }

    /// Looks whether there is one match more, as far as one step goes: the page is full, and waits for nothing else.
    fn peek(&mut self) -> Result<(), ReadError> {
        let mut left = STEP_BYTES;
        for run in &mut self.runs {
            if run.has_match() {
                return Ok(());
            }
            if run.at.is_some() && !run.is_used_up() && left > 0 {
                left = left.saturating_sub(run.find(&self.filter, self.order, 1, left)?);
                if run.has_match() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

impl Run {
    fn new(lane: Lane, order: Order, budget: Option<u64>) -> Self {
        Self {
            at: lane.span.start(order),
            lane,
            budget,
            found: VecDeque::new(),
            timed: VecDeque::new(),
            fetch: Fetch::new(),
            ids: Ids::Listed(Vec::new()),
        }
    }

    /// True when it is known which match comes next in this log, or that none does.
    fn is_ready(&self) -> bool {
        !self.timed.is_empty() || (self.found.is_empty() && self.at.is_none())
    }

    fn is_used_up(&self) -> bool {
        self.budget == Some(0)
    }

    fn has_match(&self) -> bool {
        !self.timed.is_empty() || !self.found.is_empty()
    }

    fn has_more(&self) -> bool {
        self.has_match() || self.at.is_some()
    }

    fn position(&self, order: Order) -> u64 {
        let in_hand = self
            .timed
            .front()
            .map(|(_, id)| *id)
            .or(self.found.front().copied());
        match (in_hand.or(self.at), order) {
            (Some(next), _) => next.get(),
            (None, Order::NewestFirst) => 0,
            (None, Order::OldestFirst) => self.lane.span.end().get(),
        }
    }

    fn find(
        &mut self,
        filter: &Arc<Filter>,
        order: Order,
        matches_max: usize,
        scan_bytes_max: u64,
    ) -> Result<u64, ReadError> {
        let Some(at) = self.at else { return Ok(0) };
        let scan_bytes_max = self
            .budget
            .map_or(scan_bytes_max, |budget| budget.min(scan_bytes_max));
        let mut search = Search {
            filter: Arc::clone(filter),
            first: self.lane.span.first,
            last: self.lane.span.last,
            order,
        };
        match order {
            Order::NewestFirst => search.last = TreeSize(at.get()),
            Order::OldestFirst => search.first = at,
        }
        let found = self.lane.log.events.find(&search, matches_max, scan_bytes_max)?;
        self.found.extend(found.ids);
        self.at = found.next;
        self.budget = self
            .budget
            .map(|budget| budget.saturating_sub(found.scanned_bytes));
        Ok(found.scanned_bytes)
    }

    /// Reads the times of some matches in hand.
    fn read_times(&mut self, order: Order) -> Result<u64, ReadError> {
        let Some(&next) = self.found.front() else {
            return Ok(0);
        };
        let log = &*self.lane.log.events;
        let bytes = self
            .fetch
            .read(log, next, |index| self.found.get(index).copied(), order)?;
        while let Some(event) = self.found.front().and_then(|id| self.fetch.event(*id)) {
            self.timed.push_back((event.received_at, event.id));
            self.found.pop_front();
        }
        self.fetch.release();
        Ok(bytes)
    }

    /// Picks the next `limit` events, whatever they are.
    fn take_adjacent(&mut self, order: Order, limit: usize) {
        let Some(first) = self.at else { return };
        let len = usize::try_from(self.lane.span.len())
            .unwrap_or(usize::MAX)
            .min(limit);
        self.ids = Ids::Adjacent { first, len, order };
        self.at = match order {
            Order::NewestFirst => EventId::new(first.get() - len as u64),
            Order::OldestFirst => Some(first.plus(len as u64)),
        };
        self.at = self
            .at
            .filter(|at| *at >= self.lane.span.first && self.lane.span.last.contains(*at));
    }
}

impl Ids {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Adjacent { len, .. } => *len,
            Self::Listed(ids) => ids.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<EventId> {
        match self {
            Self::Listed(ids) => ids.get(index).copied(),
            Self::Adjacent { len, .. } if index >= *len => None,
            Self::Adjacent { first, order, .. } => match order {
                Order::OldestFirst => Some(first.plus(index as u64)),
                Order::NewestFirst => EventId::new(first.get() - index as u64),
            },
        }
    }

    fn push(&mut self, id: EventId) {
        if let Self::Listed(ids) = self {
            ids.push(id);
        }
    }

    fn reverse(&mut self) {
        let last = self.len().checked_sub(1).and_then(|last| self.get(last));
        match self {
            Self::Listed(ids) => ids.reverse(),
            Self::Adjacent { first, order, .. } => {
                *first = last.unwrap_or(*first);
                *order = opposite(*order);
            }
        }
    }
}

impl Picked {
    /// The same events from the other end.
    pub(crate) fn reversed(mut self) -> Self {
        self.order = opposite(self.order);
        self.sequence.reverse();
        for (_, ids) in &mut self.lanes {
            ids.reverse();
        }
        self
    }
}

fn opposite(order: Order) -> Order {
    match order {
        Order::NewestFirst => Order::OldestFirst,
        Order::OldestFirst => Order::NewestFirst,
    }
}

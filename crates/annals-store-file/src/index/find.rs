//! Finding with the index: runs say which events may match, bodies decide where a run can not, and what no run covers is read.
//!
//! Invariants: the answer is the one that reading every event gives; one call looks at a bounded number of windows and reads about its
//! budget of bodies, but moves on by one event at least; a run that fails is dropped, and its events are read instead.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use annals_core::chain::{EventId, TreeSize};
use annals_core::filter::Filter;
use annals_index::{Direction, Fault, Query, WindowCount, WindowHits};
use annals_store::{Counted, EventRun, Found, Order, ReadError, ReadLog, Search, scan_count, scan_find};

use super::{LogIndex, RunFile};

/// Windows with nothing in them that one call looks at, at most.
const WINDOWS_MAX: usize = 4096;
/// Bytes of bodies that are read at once to decide about events that lie together.
const READ_BYTES: usize = 32 * 1024;
/// Hits that are decided together: they lie in one group of the index at most.
const TOGETHER: usize = 128;

/// Whether the index says anything about such a filter.
fn helps(filter: &Filter) -> bool {
    filter.values().next().is_some() || !filter.claimed().is_open()
}

/// As [`annals_store::FindEvents::find`].
pub(crate) fn find(
    log: &dyn ReadLog,
    index: &LogIndex,
    search: &Search,
    matches_max: usize,
    scan_bytes_max: u64,
) -> Result<Found, ReadError> {
    if !helps(&search.filter) {
        return scan_find(log, search, matches_max, scan_bytes_max);
    }
    let mut finding = Finding {
        walk: Walk::new(log, index, &search.filter, scan_bytes_max),
        order: search.order,
        matches_max: matches_max.max(1),
        ids: Vec::new(),
    };
    let next = finding.run(search)?;
    Ok(Found {
        ids: finding.ids,
        next,
        scanned_bytes: finding.walk.scanned_bytes,
    })
}

/// As [`annals_store::FindEvents::count`].
pub(crate) fn count(
    log: &dyn ReadLog,
    index: &LogIndex,
    search: &Search,
    cuts: &[EventId],
    scan_bytes_max: u64,
) -> Result<Counted, ReadError> {
    if !helps(&search.filter) {
        return scan_count(log, search, cuts, scan_bytes_max);
    }
    let mut counting = Counting {
        walk: Walk::new(log, index, &search.filter, scan_bytes_max),
        cuts,
        counts: vec![0; cuts.len().saturating_sub(1)],
    };
    let next = counting.run(search)?;
    Ok(Counted {
        counts: counting.counts,
        next,
        scanned_bytes: counting.walk.scanned_bytes,
    })
}

/// What finding and counting have in common.
struct Walk<'a> {
    log: &'a dyn ReadLog,
    index: &'a LogIndex,
    filter: &'a Arc<Filter>,
    query: Query,
    scan_bytes_max: u64,
    scanned_bytes: u64,
    windows: usize,
    bodies: EventRun,
}

impl<'a> Walk<'a> {
    fn new(log: &'a dyn ReadLog, index: &'a LogIndex, filter: &'a Arc<Filter>, scan_bytes_max: u64) -> Self {
        Self {
            log,
            index,
            filter,
            query: Query::new(index.log, filter),
            scan_bytes_max,
            scanned_bytes: 0,
            windows: 0,
            bodies: EventRun::empty(EventId::FIRST),
        }
    }

    fn is_spent(&self) -> bool {
        self.scanned_bytes >= self.scan_bytes_max || self.windows >= WINDOWS_MAX
    }

    fn left(&self) -> u64 {
        self.scan_bytes_max.saturating_sub(self.scanned_bytes)
    }

    /// Whether the event's body matches.
    fn matches(&mut self, id: EventId) -> Result<bool, ReadError> {
        if self.bodies.next_id() <= id || self.first_body().is_none_or(|first| id < first) {
            self.bodies = self.log.read(id, READ_BYTES)?;
            let bytes: usize = self.bodies.iter().map(|event| event.body.len()).sum();
            self.scanned_bytes += bytes as u64;
        }
        let first = self.first_body().unwrap_or(id);
        let at = usize::try_from(id.get() - first.get()).unwrap_or(usize::MAX);
        Ok(self
            .bodies
            .get(at)
            .is_some_and(|event| self.filter.matches(event.body)))
    }

    fn first_body(&self) -> Option<EventId> {
        self.bodies.get(0).map(|event| event.id)
    }

    /// Drops a run that failed; what it covers is read from then on.
    fn give_up(&self, run: &RunFile, fault: &Fault) {
        self.index.give_up(run, &fault.to_string());
    }
}

/// The ids that one step is about, ascending.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    first: EventId,
    last: EventId,
}

impl Stretch {
    fn of(search: &Search, log: &dyn ReadLog) -> Option<Self> {
        let last = search.last.0.min(log.head().size.0);
        let last = EventId::new(last)?;
        (search.first <= last).then_some(Self {
            first: search.first,
            last,
        })
    }

    /// Ids as a range whose end is not part of it.
    fn ids(self) -> Range<EventId> {
        self.first..self.last.plus(1)
    }

    /// What is left in the direction once `done` and all before it in that direction is decided.
    fn behind(self, done: EventId, order: Order) -> Option<Self> {
        let left = match order {
            Order::OldestFirst => Self {
                first: done.plus(1),
                last: self.last,
            },
            Order::NewestFirst => Self {
                first: self.first,
                last: before(done)?,
            },
        };
        (left.first <= left.last).then_some(left)
    }

    /// Where it begins in the direction.
    fn start(self, order: Order) -> EventId {
        match order {
            Order::OldestFirst => self.first,
            Order::NewestFirst => self.last,
        }
    }

    /// The part of it that lies in `first..=last`.
    fn within(self, first: EventId, last: EventId) -> Self {
        Self {
            first: self.first.max(first),
            last: self.last.min(last),
        }
    }

    /// The part of it, from its start in the direction on, that no run covers.
    fn uncovered(self, index: &LogIndex, order: Order) -> Self {
        let (below, behind) = index.gap(self.start(order));
        let first = below.map_or(self.first, |below| self.first.max(below.plus(1)));
        let last = behind
            .and_then(before)
            .map_or(self.last, |last| self.last.min(last));
        Self { first, last }
    }
}

fn before(id: EventId) -> Option<EventId> {
    EventId::new(id.get() - 1)
}

struct Finding<'a> {
    walk: Walk<'a>,
    order: Order,
    matches_max: usize,
    ids: Vec<EventId>,
}

/// Why a part of a search ended: its event is the last one that was decided.
type Stopped = ControlFlow<EventId>;

impl Finding<'_> {
    /// The event at which the search goes on.
    fn run(&mut self, search: &Search) -> Result<Option<EventId>, ReadError> {
        let mut left = Stretch::of(search, self.walk.log);
        while let Some(stretch) = left {
            let start = stretch.start(self.order);
            let done = match self.walk.index.covering(start, self.walk.log) {
                Some(run) => {
                    let inside = stretch.within(run.first(), run.last());
                    match self.in_run(&run, inside) {
                        Ok(stopped) => stopped,
                        Err(Failure::Run(fault)) => {
                            self.walk.give_up(&run, &fault);
                            // What was found in it so far stands: only whole windows are taken.
                            left = match self.ids.last() {
                                Some(last) if inside.ids().contains(last) => {
                                    stretch.behind(*last, self.order)
                                }
                                _ => left,
                            };
                            continue;
                        }
                        Err(Failure::Read(error)) => return Err(error),
                    }
                    .map_continue(|()| match self.order {
                        Order::OldestFirst => inside.last,
                        Order::NewestFirst => inside.first,
                    })
                }
                None => self.by_reading(search, stretch.uncovered(self.walk.index, self.order))?,
            };
            left = match done {
                ControlFlow::Continue(done) => stretch.behind(done, self.order),
                ControlFlow::Break(done) => {
                    return Ok(stretch
                        .behind(done, self.order)
                        .map(|left| left.start(self.order)));
                }
            };
            if self.walk.is_spent() {
                break;
            }
        }
        Ok(left.map(|left| left.start(self.order)))
    }

    /// Looks through a stretch that no run covers.
    fn by_reading(
        &mut self,
        search: &Search,
        stretch: Stretch,
    ) -> Result<ControlFlow<EventId, EventId>, ReadError> {
        let part = Search {
            filter: Arc::clone(&search.filter),
            first: stretch.first,
            last: TreeSize(stretch.last.get()),
            order: self.order,
        };
        let found = scan_find(
            self.walk.log,
            &part,
            self.matches_max - self.ids.len(),
            self.walk.left(),
        )?;
        self.walk.scanned_bytes += found.scanned_bytes;
        self.ids.extend(found.ids);
        let end = match self.order {
            Order::OldestFirst => stretch.last,
            Order::NewestFirst => stretch.first,
        };
        let is_full = self.ids.len() >= self.matches_max;
        Ok(match (found.next, self.order) {
            (None, _) if is_full => ControlFlow::Break(end),
            (None, _) => ControlFlow::Continue(end),
            (Some(next), Order::OldestFirst) => ControlFlow::Break(before(next).unwrap_or(next)),
            (Some(next), Order::NewestFirst) => ControlFlow::Break(next.plus(1)),
        })
    }

    /// Asks a run, window by window.
    fn in_run(&mut self, run: &RunFile, inside: Stretch) -> Result<ControlFlow<EventId>, Failure> {
        let direction = match self.order {
            Order::OldestFirst => Direction::Up,
            Order::NewestFirst => Direction::Down,
        };
        let open = run.run()?;
        let window_len = open.geometry().window_len();
        let mut window = (inside.start(self.order).get() - 1) / window_len;
        while let Some(next) = open.next_window(&self.walk.query, window, direction)? {
            self.walk.windows += 1;
            let edges = window_edges(next, window_len);
            if edges.end <= inside.first || inside.last < edges.start {
                break;
            }
            let mut hits = open.window(&self.walk.query, next)?;
            hits.keep(inside.ids());
            if let ControlFlow::Break(done) = self.take(&hits)? {
                return Ok(ControlFlow::Break(done));
            }
            if self.walk.is_spent() {
                let done = match self.order {
                    Order::OldestFirst => before(edges.end).unwrap_or(edges.start).min(inside.last),
                    Order::NewestFirst => edges.start.max(inside.first),
                };
                return Ok(ControlFlow::Break(done));
            }
            window = match (self.order, next.checked_sub(1)) {
                (Order::OldestFirst, _) => next + 1,
                (Order::NewestFirst, Some(below)) => below,
                (Order::NewestFirst, None) => break,
            };
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Takes the hits of a window, as many as fit.
    fn take(&mut self, hits: &WindowHits) -> Result<Stopped, ReadError> {
        let mut together = Vec::with_capacity(TOGETHER);
        let mut ordered = hits.iter();
        loop {
            together.clear();
            for _ in 0..TOGETHER.min(self.matches_max - self.ids.len()) {
                let hit = match self.order {
                    Order::OldestFirst => ordered.next(),
                    Order::NewestFirst => ordered.next_back(),
                };
                match hit {
                    Some(hit) => together.push(hit),
                    None => break,
                }
            }
            let Some(done) = together.last().map(|hit| hit.id) else {
                return Ok(ControlFlow::Continue(()));
            };
            // Bodies are read upwards, whatever the order: those that lie together are read once.
            let mut matched = Vec::with_capacity(together.len());
            let upwards = self.order == Order::OldestFirst;
            let count = together.len();
            for at in 0..count {
                let hit = together[if upwards { at } else { count - 1 - at }];
                if hit.is_sure || self.walk.matches(hit.id)? {
                    matched.push(hit.id);
                }
            }
            if !upwards {
                matched.reverse();
            }
            self.ids.extend(matched);
            if self.ids.len() >= self.matches_max || self.walk.is_spent() {
                return Ok(ControlFlow::Break(done));
            }
        }
    }
}

/// Why a run gave no answer.
enum Failure {
    Run(Fault),
    Read(ReadError),
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        Self::Run(fault)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

fn window_edges(window: u64, window_len: u64) -> Range<EventId> {
    let start = EventId::FIRST.plus(window * window_len);
    start..start.plus(window_len)
}

struct Counting<'a> {
    walk: Walk<'a>,
    cuts: &'a [EventId],
    counts: Vec<u64>,
}

impl Counting<'_> {
    /// The event at which counting goes on.
    fn run(&mut self, search: &Search) -> Result<Option<EventId>, ReadError> {
        let (Some(first_cut), Some(last_cut)) = (self.cuts.first(), self.cuts.last()) else {
            return Ok(None);
        };
        let Some(last) = before(*last_cut) else {
            return Ok(None);
        };
        let all = Stretch::of(search, self.walk.log).map(|all| all.within(*first_cut, last));
        let mut left = all.filter(|all| all.first <= all.last);
        while let Some(stretch) = left {
            let counted = match self.walk.index.covering(stretch.first, self.walk.log) {
                Some(run) => {
                    let inside = stretch.within(run.first(), run.last());
                    let before_run = self.counts.clone();
                    match self.in_run(&run, inside) {
                        Ok(counted) => counted,
                        Err(Failure::Read(error)) => return Err(error),
                        Err(Failure::Run(fault)) => {
                            self.walk.give_up(&run, &fault);
                            self.counts = before_run;
                            continue;
                        }
                    }
                }
                None => self.by_reading(search, stretch.uncovered(self.walk.index, Order::OldestFirst))?,
            };
            match counted {
                ControlFlow::Continue(done) => left = stretch.behind(done, Order::OldestFirst),
                ControlFlow::Break(done) => {
                    return Ok(stretch.behind(done, Order::OldestFirst).map(|left| left.first));
                }
            }
            if self.walk.is_spent() {
                break;
            }
        }
        Ok(left.map(|left| left.first))
    }

    fn by_reading(
        &mut self,
        search: &Search,
        stretch: Stretch,
    ) -> Result<ControlFlow<EventId, EventId>, ReadError> {
        let part = Search {
            filter: Arc::clone(&search.filter),
            first: stretch.first,
            last: TreeSize(stretch.last.get()),
            order: Order::OldestFirst,
        };
        let counted = scan_count(self.walk.log, &part, self.cuts, self.walk.left())?;
        self.walk.scanned_bytes += counted.scanned_bytes;
        for (sum, count) in self.counts.iter_mut().zip(counted.counts) {
            *sum += count;
        }
        Ok(match counted.next {
            Some(next) => ControlFlow::Break(before(next).unwrap_or(next)),
            None => ControlFlow::Continue(stretch.last),
        })
    }

    fn in_run(&mut self, run: &RunFile, inside: Stretch) -> Result<ControlFlow<EventId, EventId>, Failure> {
        let open = run.run()?;
        let window_len = open.geometry().window_len();
        let mut window = (inside.first.get() - 1) / window_len;
        while let Some(next) = open.next_window(&self.walk.query, window, Direction::Up)? {
            self.walk.windows += 1;
            let edges = window_edges(next, window_len);
            if inside.last < edges.start {
                break;
            }
            // The run may be shorter than the window.
            let covered = Stretch {
                first: edges.start.max(run.first()),
                last: before(edges.end).unwrap_or(edges.start).min(run.last()),
            };
            let whole = inside.first <= covered.first && covered.last <= inside.last;
            let interval = self.interval(covered);
            let counted = match interval.filter(|_| whole) {
                Some(interval) => match open.count(&self.walk.query, next)? {
                    WindowCount::Exact(count) => {
                        self.counts[interval] += count;
                        ControlFlow::Continue(())
                    }
                    WindowCount::Check(hits) => self.check(&hits)?,
                },
                None => {
                    let mut hits = open.window(&self.walk.query, next)?;
                    hits.keep(inside.ids());
                    self.check(&hits)?
                }
            };
            if let ControlFlow::Break(done) = counted {
                return Ok(ControlFlow::Break(done));
            }
            if self.walk.is_spent() {
                return Ok(ControlFlow::Break(covered.last.min(inside.last)));
            }
            window = next + 1;
        }
        Ok(ControlFlow::Continue(inside.last))
    }

    /// The interval between two cuts in which all of the stretch lies.
    fn interval(&self, stretch: Stretch) -> Option<usize> {
        let at = self
            .cuts
            .partition_point(|cut| *cut <= stretch.first)
            .checked_sub(1)?;
        let end = self.cuts.get(at + 1)?;
        (stretch.last < *end).then_some(at)
    }

    /// Counts the hits of a window, each in its interval.
    fn check(&mut self, hits: &WindowHits) -> Result<Stopped, ReadError> {
        if hits.is_sure() {
            for (count, cuts) in self.counts.iter_mut().zip(self.cuts.windows(2)) {
                *count += hits.count_in(cuts[0]..cuts[1]);
            }
            return Ok(ControlFlow::Continue(()));
        }
        for hit in hits.iter() {
            if hit.is_sure || self.walk.matches(hit.id)? {
                let at = self.cuts.partition_point(|cut| *cut <= hit.id);
                if let Some(count) = at.checked_sub(1).and_then(|at| self.counts.get_mut(at)) {
                    *count += 1;
                }
            }
            if self.walk.is_spent() {
                return Ok(ControlFlow::Break(hit.id));
            }
        }
        Ok(ControlFlow::Continue(()))
    }
}

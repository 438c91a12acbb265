//! Finding without an index: reads events and asks the filter. What an engine has not indexed yet it finds so, and what
//! every index has to agree with.
//!
//! Invariants:
//! - One call holds one run of events and, besides the ids that it answers with, at most one window's matches.
//! - One call decides at least one event, and reads little more than its budget: the last read, and, newest first, what had
//!   to be given up of windows that turned out heavy.
//! - What a search ends at is fixed when the call begins: the search's own `last`, or the head if that is lower.
//!
//! Newest first, the log is walked backwards in windows, each read forwards, because that is how events can be read.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use annals_core::chain::{EventId, Head};
use annals_core::filter::Filter;
use annals_core::time::Micros;

use crate::find::{Counted, FindEvents, Found, Order, Search};
use crate::read::{EventRun, ReadError, ReadLog, StoredEvent};

/// Bytes that are read at once at first, about, and then at most.
const READ_BYTES_MIN: u64 = 64 * 1024;
const READ_BYTES_MAX: u64 = 1024 * 1024;
/// What a window should weigh.
const WINDOW_BYTES: u64 = 1024 * 1024;
/// A window that has this much in it and is not at its end is given up for a smaller one.
const WINDOW_BYTES_MAX: u64 = 4 * 1024 * 1024;
const WINDOW_EVENTS_MAX: u64 = 64 * 1024;
/// By how much a window may have more events than the one behind it. The first has one: it tells what events weigh.
const WINDOW_GROWTH: u64 = 16;

/// As [`FindEvents::find`], by reading.
///
/// # Errors
/// [`ReadError`].
pub fn scan_find<L: ReadLog + ?Sized>(
    log: &L,
    search: &Search,
    matches_max: usize,
    scan_bytes_max: u64,
) -> Result<Found, ReadError> {
    let Some(range) = Range::of(log, search) else {
        return Ok(Found::default());
    };
    let matches_max = matches_max.max(1);
    match search.order {
        _ if search.filter.is_open() => Ok(first_of(range, search.order, matches_max)),
        Order::OldestFirst => {
            let mut ids = Vec::new();
            let walked = upwards(log, range, scan_bytes_max, |event| {
                if search.filter.matches(event.body) {
                    ids.push(event.id);
                }
                if ids.len() == matches_max {
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            Ok(Found {
                ids,
                next: walked.next,
                scanned_bytes: walked.bytes,
            })
        }
        Order::NewestFirst => Backward::new(log, &search.filter, range, scan_bytes_max).find(matches_max),
    }
}

/// As [`FindEvents::count`], by reading. With fewer than two cuts there is nothing to count.
///
/// # Errors
/// [`ReadError`].
pub fn scan_count<L: ReadLog + ?Sized>(
    log: &L,
    search: &Search,
    cuts: &[EventId],
    scan_bytes_max: u64,
) -> Result<Counted, ReadError> {
    let mut counted = Counted {
        counts: vec![0; cuts.len().saturating_sub(1)],
        ..Counted::default()
    };
    let Some(range) = Range::of(log, search).and_then(|range| range.between(cuts)) else {
        return Ok(counted);
    };
    if search.filter.is_open() {
        for (count, cut) in counted.counts.iter_mut().zip(cuts.windows(2)) {
            *count = range.between(cut).map_or(0, Range::len);
        }
        return Ok(counted);
    }
    let mut at = 0;
    let walked = upwards(log, range, scan_bytes_max, |event| {
        if search.filter.matches(event.body) {
            while cuts[at + 1] <= event.id {
                at += 1;
            }
            counted.counts[at] += 1;
        }
        ControlFlow::Continue(())
    })?;
    counted.next = walked.next;
    counted.scanned_bytes = walked.bytes;
    Ok(counted)
}

/// As [`FindEvents::first_at`], by reading single events: about as many as the log's size has binary digits.
///
/// # Errors
/// [`ReadError`].
pub fn first_at<L: ReadLog + ?Sized>(log: &L, time: Micros) -> Result<EventId, ReadError> {
    let head = log.head();
    let (mut low, mut high) = (EventId::FIRST, head.size.next());
    if head.received_at < time {
        return Ok(high);
    }
    while low < high {
        let middle = low.plus((high.get() - low.get()) / 2);
        let run = read(log, middle, 1)?;
        let received_at = run.get(0).map(|event| event.received_at);
        if received_at.is_some_and(|received_at| received_at >= time) {
            high = middle;
        } else {
            low = middle.plus(1);
        }
    }
    Ok(low)
}

/// A log in which everything is found by reading.
#[derive(Clone)]
pub struct Unindexed {
    log: Arc<dyn ReadLog>,
}

impl Unindexed {
    /// Finds in `log`.
    #[must_use]
    pub fn new(log: Arc<dyn ReadLog>) -> Self {
        Self { log }
    }
}

impl ReadLog for Unindexed {
    fn head(&self) -> Head {
        self.log.head()
    }

    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
        self.log.read(from, bytes_max)
    }
}

impl FindEvents for Unindexed {
    fn find(&self, search: &Search, matches_max: usize, scan_bytes_max: u64) -> Result<Found, ReadError> {
        scan_find(self.log.as_ref(), search, matches_max, scan_bytes_max)
    }

    fn count(&self, search: &Search, cuts: &[EventId], scan_bytes_max: u64) -> Result<Counted, ReadError> {
        scan_count(self.log.as_ref(), search, cuts, scan_bytes_max)
    }

    fn first_at(&self, time: Micros) -> Result<EventId, ReadError> {
        first_at(self.log.as_ref(), time)
    }
}

/// Events `first..=last`, at least one.
#[derive(Debug, Clone, Copy)]
struct Range {
    first: u64,
    last: u64,
}

impl Range {
    /// The events that are there and looked for.
    fn of<L: ReadLog + ?Sized>(log: &L, search: &Search) -> Option<Self> {
        Self::new(search.first.get(), search.last.min(log.head().size).0)
    }

    fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// Those from the first cut up to, not including, the last one.
    fn between(self, cuts: &[EventId]) -> Option<Self> {
        let [from, .., until] = cuts else { return None };
        Self::new(self.first.max(from.get()), self.last.min(until.get() - 1))
    }

    fn len(self) -> u64 {
        self.last - self.first + 1
    }

    fn contains(self, id: EventId) -> bool {
        (self.first..=self.last).contains(&id.get())
    }
}

/// The matches when everything matches.
fn first_of(range: Range, order: Order, matches_max: usize) -> Found {
    let events = range.len().min(matches_max as u64);
    let (ids, next): (Vec<u64>, u64) = match order {
        Order::OldestFirst => {
            let next = range.first + events;
            ((range.first..next).collect(), next)
        }
        Order::NewestFirst => {
            let next = range.last - events;
            ((next + 1..=range.last).rev().collect(), next)
        }
    };
    Found {
        ids: ids.into_iter().filter_map(EventId::new).collect(),
        next: EventId::new(next).filter(|next| range.contains(*next)),
        scanned_bytes: 0,
    }
}

/// How far a walk came.
struct Walked {
    next: Option<EventId>,
    bytes: u64,
}

/// Shows the range's events to `look`, oldest first, until it breaks, the budget is used up or the range is over.
fn upwards<L: ReadLog + ?Sized>(
    log: &L,
    range: Range,
    bytes_max: u64,
    mut look: impl FnMut(&StoredEvent<'_>) -> ControlFlow<()>,
) -> Result<Walked, ReadError> {
    let mut next = range.first;
    let mut bytes = 0;
    let mut read_bytes = READ_BYTES_MIN;
    loop {
        let Some(from) = EventId::new(next) else {
            return Ok(Walked { next: None, bytes });
        };
        let run = read(log, from, read_bytes.min(bytes_max - bytes))?;
        let mut broken = false;
        for event in run.iter().take_while(|event| range.contains(event.id)) {
            bytes += event.body.len() as u64;
            next = event.id.get() + 1;
            broken = look(&event).is_break();
            if broken {
                break;
            }
        }
        if next > range.last {
            return Ok(Walked { next: None, bytes });
        }
        if broken || bytes >= bytes_max {
            let next = EventId::new(next);
            return Ok(Walked { next, bytes });
        }
        read_bytes = (read_bytes * 2).min(READ_BYTES_MAX);
    }
}

/// A walk backwards.
struct Backward<'a, L: ?Sized> {
    log: &'a L,
    filter: &'a Filter,
    /// What is left to look through.
    range: Option<Range>,
    bytes: u64,
    bytes_max: u64,
    /// What an event weighs, by what was read last.
    event_bytes: u64,
    window_events_max: u64,
}

/// What became of a window.
enum Window {
    /// Looked through; the last matches in it, ascending, and whether there were earlier ones.
    Done {
        matches: VecDeque<EventId>,
        are_all: bool,
    },
    /// So heavy that a smaller one has to do.
    TooHeavy,
}

impl<'a, L: ReadLog + ?Sized> Backward<'a, L> {
    fn new(log: &'a L, filter: &'a Filter, range: Range, bytes_max: u64) -> Self {
        Self {
            log,
            filter,
            range: Some(range),
            bytes: 0,
            bytes_max,
            event_bytes: 1,
            window_events_max: 1,
        }
    }

    fn find(mut self, matches_max: usize) -> Result<Found, ReadError> {
        let mut ids = Vec::new();
        let mut progress = false;
        while let Some(range) = self.range {
            if progress && (ids.len() == matches_max || self.bytes >= self.bytes_max) {
                break;
            }
            let window = self.window(range);
            match self.look_through(window, matches_max - ids.len())? {
                Window::TooHeavy => self.window_events_max = window.len() / 2,
                Window::Done { matches, are_all } => {
                    progress = true;
                    // Earlier matches in this window are found again, by the search that goes on.
                    let looked_down_to = match matches.front() {
                        Some(earliest) if !are_all => earliest.get(),
                        _ => window.first,
                    };
                    ids.extend(matches.into_iter().rev());
                    self.range = Range::new(range.first, looked_down_to - 1);
                    self.window_events_max = (window.len() * WINDOW_GROWTH).min(WINDOW_EVENTS_MAX);
                }
            }
        }
        Ok(Found {
            ids,
            next: self.range.and_then(|range| EventId::new(range.last)),
            scanned_bytes: self.bytes,
        })
    }

    /// The window at the end of `range`: sized by what events weigh, and by what is left of the budget.
    fn window(&self, range: Range) -> Range {
        let bytes = WINDOW_BYTES.min(self.bytes_max.saturating_sub(self.bytes));
        let events = (bytes / self.event_bytes).min(self.window_events_max).max(1);
        Range {
            first: range.first.max((range.last + 1).saturating_sub(events)),
            last: range.last,
        }
    }

    fn look_through(&mut self, window: Range, wanted: usize) -> Result<Window, ReadError> {
        let mut matches = VecDeque::new();
        let (mut are_all, mut next, mut bytes) = (true, window.first, 0);
        let allowed = WINDOW_BYTES_MAX.min(self.bytes_max.saturating_sub(self.bytes));
        while let Some(from) = EventId::new(next).filter(|next| window.contains(*next)) {
            if bytes > allowed && window.len() > 1 {
                break;
            }
            let expected = (window.last - next + 1).saturating_mul(self.event_bytes);
            let run = read(self.log, from, expected.min(READ_BYTES_MAX))?;
            for event in run.iter().take_while(|event| window.contains(event.id)) {
                bytes += event.body.len() as u64;
                next = event.id.get() + 1;
                if self.filter.matches(event.body) {
                    if matches.len() == wanted {
                        matches.pop_front();
                        are_all = false;
                    }
                    matches.push_back(event.id);
                }
            }
        }
        self.bytes += bytes;
        self.event_bytes = (bytes / (next - window.first)).max(1);
        if next <= window.last {
            return Ok(Window::TooHeavy);
        }
        Ok(Window::Done { matches, are_all })
    }
}

/// Reads on, and takes an answer that goes nowhere for what it is: the head says that the event is there.
fn read<L: ReadLog + ?Sized>(log: &L, from: EventId, bytes_max: u64) -> Result<EventRun, ReadError> {
    let run = log.read(from, usize::try_from(bytes_max).unwrap_or(usize::MAX))?;
    if run.is_empty() {
        let missing = format!("event {from} is not there although the log's head is past it");
        return Err(ReadError::Io(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            missing,
        )));
    }
    Ok(run)
}

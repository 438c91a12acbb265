//! Answers to queries, made piece by piece: which events match, and their bytes in chunks.
//!
//! Invariants: one step reads a bounded number of bytes, and holds one run of events and one chunk of the answer, however
//! large the answer is; the ids of a filtered query's matches (8 bytes each, as many as `limit`) are the only thing that
//! grows. The end of a query is fixed when it begins: what is appended meanwhile is not part of the answer.
//!
//! A filtered query for the *last* matches walks the log backwards in windows, each read forwards, until it has enough.

use std::collections::VecDeque;

use annals_core::body::{self, SERVED_EXTRA_BYTES};
use annals_core::chain::{EventId, TreeSize};
use annals_store::{EventRun, ReadError, ReadLog, StoredEvent};

use crate::filter::Filter;

/// Bytes of an answer that are made in one step, about.
const CHUNK_BYTES: usize = 256 * 1024;
/// Bytes that are looked through in one step, about.
const STEP_BYTES: usize = 8 * 1024 * 1024;
const READ_BYTES: usize = 1024 * 1024;

/// How events are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A JSON array.
    Array,
    /// One event a line.
    Lines,
}

/// An answer in the making.
pub(crate) struct Page {
    plan: Plan,
    layout: Layout,
    begun: bool,
    events: usize,
}

enum Plan {
    /// The first `left` matches from `next` to `last`.
    Forward {
        next: EventId,
        last: TreeSize,
        filter: Filter,
        left: usize,
    },
    /// These events.
    Picked { ids: Vec<EventId>, at: usize },
}

/// One piece of an answer.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_last: bool,
}

impl Page {
    /// The first `limit` matches from `next` to `last`.
    pub(crate) fn forward(
        next: EventId,
        last: TreeSize,
        filter: Filter,
        limit: usize,
        layout: Layout,
    ) -> Self {
        Self::new(
            Plan::Forward {
                next,
                last,
                filter,
                left: limit,
            },
            layout,
        )
    }

    /// The events at `ids`, which ascend.
    pub(crate) fn picked(ids: Vec<EventId>, layout: Layout) -> Self {
        Self::new(Plan::Picked { ids, at: 0 }, layout)
    }

    fn new(plan: Plan, layout: Layout) -> Self {
        Self {
            plan,
            layout,
            begun: false,
            events: 0,
        }
    }

    /// Makes the next piece; it may be empty when nothing matched in what was looked through.
    ///
    /// # Errors
    /// [`ReadError`]: the answer can not be completed.
    pub(crate) fn step(&mut self, reader: &dyn ReadLog) -> Result<Piece, ReadError> {
        let mut out = Vec::new();
        if !self.begun {
            self.begun = true;
            if self.layout == Layout::Array {
                out.push(b'[');
            }
        }
        let mut looked_through = 0;
        while !self.is_over() && out.len() < CHUNK_BYTES && looked_through < STEP_BYTES {
            looked_through += self.read_some(reader, &mut out)?;
        }
        let is_last = self.is_over();
        if is_last && self.layout == Layout::Array {
            out.push(b']');
        }
        Ok(Piece { bytes: out, is_last })
    }

    fn is_over(&self) -> bool {
        match &self.plan {
            Plan::Forward { next, last, left, .. } => *left == 0 || !last.contains(*next),
            Plan::Picked { ids, at } => *at == ids.len(),
        }
    }

    /// Reads one run and writes what matches; returns the bytes that were read.
    fn read_some(&mut self, reader: &dyn ReadLog, out: &mut Vec<u8>) -> Result<usize, ReadError> {
        let (layout, events) = (self.layout, &mut self.events);
        let mut write = |event: &StoredEvent<'_>| {
            write_event(event, layout, *events == 0, out);
            *events += 1;
        };
        match &mut self.plan {
            Plan::Forward {
                next,
                last,
                filter,
                left,
            } => {
                let bytes_max = if filter.is_open() { CHUNK_BYTES } else { READ_BYTES };
                let run = read(reader, *next, bytes_max)?;
                for event in run.iter().take_while(|event| last.contains(event.id)) {
                    if *left > 0 && filter.matches(event.body) {
                        write(&event);
                        *left -= 1;
                    }
                }
                *next = run.next_id();
                Ok(bytes_of(&run))
            }
            Plan::Picked { ids, at } => {
                let run = read(reader, ids[*at], bytes_for(&ids[*at..]))?;
                for event in run.iter() {
                    if ids.get(*at) == Some(&event.id) {
                        write(&event);
                        *at += 1;
                    }
                }
                Ok(bytes_of(&run))
            }
        }
    }
}

/// How much to read at once: a whole chunk when the next wanted events lie close together, one event when they don't.
fn bytes_for(ids: &[EventId]) -> usize {
    const TOGETHER: usize = 16;
    let are_close = ids
        .get(TOGETHER)
        .is_some_and(|later| later.get() - ids[0].get() <= 4 * TOGETHER as u64);
    if are_close { CHUNK_BYTES } else { 1 }
}

fn write_event(event: &StoredEvent<'_>, layout: Layout, is_first: bool, out: &mut Vec<u8>) {
    out.reserve(event.body.len() + SERVED_EXTRA_BYTES + 1);
    if layout == Layout::Array && !is_first {
        out.push(b',');
    }
    body::write_served(event.body, &event.hash, out);
    if layout == Layout::Lines {
        out.push(b'\n');
    }
}

/// The search for the last matches up to some event.
pub(crate) struct Backward {
    filter: Filter,
    limit: usize,
    /// Found so far, newest first.
    found: Vec<EventId>,
    window: Window,
}

/// The part of the log that is being looked through: `low..=high`, up to `next`.
struct Window {
    low: u64,
    next: u64,
    high: u64,
    bytes: usize,
    matches: VecDeque<EventId>,
}

impl Backward {
    /// The last `limit` matches among the first `last` events.
    pub(crate) fn new(last: TreeSize, filter: Filter, limit: usize) -> Self {
        const FIRST_WINDOW_EVENTS: u64 = 256;
        Self {
            filter,
            limit,
            found: Vec::new(),
            window: Window::below(last.0, FIRST_WINDOW_EVENTS),
        }
    }

    /// Looks through some more. True when the search is over.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn step(&mut self, reader: &dyn ReadLog) -> Result<bool, ReadError> {
        let mut looked_through = 0;
        while self.window.high > 0 && self.found.len() < self.limit {
            if looked_through >= STEP_BYTES {
                return Ok(false);
            }
            looked_through += self.read_some(reader)?;
            if self.window.next > self.window.high {
                self.found.extend(self.window.matches.drain(..).rev());
                self.window = self.window.earlier();
            }
        }
        Ok(true)
    }

    /// The matches, oldest first.
    pub(crate) fn into_ids(mut self) -> Vec<EventId> {
        self.found.truncate(self.limit);
        self.found.reverse();
        self.found
    }

    fn read_some(&mut self, reader: &dyn ReadLog) -> Result<usize, ReadError> {
        let Some(next) = EventId::new(self.window.next) else {
            return Ok(0);
        };
        let run = read(reader, next, READ_BYTES)?;
        let wanted = self.limit - self.found.len();
        for event in run.iter().take_while(|event| event.id.get() <= self.window.high) {
            if self.filter.matches(event.body) {
                if self.window.matches.len() == wanted {
                    self.window.matches.pop_front();
                }
                self.window.matches.push_back(event.id);
            }
        }
        self.window.next = run.next_id().get();
        self.window.bytes += bytes_of(&run);
        Ok(bytes_of(&run))
    }
}

impl Window {
    fn below(high: u64, events: u64) -> Self {
        let low = high.saturating_sub(events - 1).max(1);
        Self {
            low,
            next: low,
            high,
            bytes: 0,
            matches: VecDeque::new(),
        }
    }

    /// The window before this one, sized by what this one weighed.
    fn earlier(&self) -> Self {
        const EVENTS_MAX: u64 = 1 << 20;
        let events = self.high - self.low + 1;
        let fitting = (STEP_BYTES as u64).saturating_mul(events) / (self.bytes as u64).max(1);
        Self::below(
            self.low - 1,
            fitting.clamp(16, events.saturating_mul(8)).min(EVENTS_MAX),
        )
    }
}

/// Reads on, and takes an answer that goes nowhere for what it is: the head says that the event is there.
fn read(reader: &dyn ReadLog, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
    let run = reader.read(from, bytes_max)?;
    if run.is_empty() {
        let missing = format!("event {from} is not there although the log's head is past it");
        return Err(ReadError::Io(std::io::Error::new(
            std::io::ErrorKind::UnexpectedEof,
            missing,
        )));
    }
    Ok(run)
}

fn bytes_of(run: &EventRun) -> usize {
    run.iter().map(|event| event.body.len()).sum()
}

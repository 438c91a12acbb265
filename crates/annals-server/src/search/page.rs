//! Answers, made piece by piece: chosen events, read again and written as they are wanted.
//!
//! Invariants: one step reads and writes a bounded number of bytes; held are one run of events a log, one piece of the answer,
//! and the ids. In JSON an event is the bytes that were sealed, with its hash.

use annals_core::body::{self, SERVED_EXTRA_BYTES};
use annals_core::canon;
use annals_store::{Order, ReadError, StoredEvent};

use super::fetch::{CHUNK_BYTES, Fetch};
use super::walk::{Ids, Picked};
use super::{STEP_BYTES, SearchLog, csv};

/// How events are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// A JSON array.
    Array,
    /// One event a line.
    Lines,
    /// A table.
    Csv,
}

/// An answer in the making.
pub(crate) struct Page {
    lanes: Vec<PageLane>,
    sequence: Vec<u8>,
    order: Order,
    layout: Layout,
    /// Events that are written.
    at: usize,
    len: usize,
    begun: bool,
}

/// One log's part of an answer.
struct PageLane {
    log: SearchLog,
    ids: Ids,
    at: usize,
    fetch: Fetch,
}

/// One piece of an answer.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_last: bool,
}

impl Page {
    pub(crate) fn new(picked: Picked, layout: Layout) -> Self {
        let lane = |(log, ids): (SearchLog, Ids)| PageLane {
            log,
            ids,
            at: 0,
            fetch: Fetch::new(),
        };
        Self {
            len: picked.lanes.iter().map(|(_, ids)| ids.len()).sum(),
            lanes: picked.lanes.into_iter().map(lane).collect(),
            sequence: picked.sequence,
            order: picked.order,
            layout,
            at: 0,
            begun: false,
        }
    }

    /// Makes the next piece.
    ///
    /// # Errors
    /// [`ReadError`]: the answer can not be completed.
    pub(crate) fn step(&mut self) -> Result<Piece, ReadError> {
        let is_labelled = self.lanes.len() > 1;
        let mut out = Vec::new();
        if !self.begun {
            self.begun = true;
            match self.layout {
                Layout::Array => out.push(b'['),
                Layout::Lines => {}
                Layout::Csv => csv::write_header(is_labelled, &mut out),
            }
        }
        let mut looked = 0;
        while self.at < self.len && out.len() < CHUNK_BYTES && looked < STEP_BYTES {
            let lane = self.sequence.get(self.at).copied().map_or(0, usize::from);
            let is_first = self.at == 0;
            looked += self.lanes[lane].write_next(self.order, |log, event| {
                let label = is_labelled.then_some(log);
                write_event(event, label, self.layout, is_first, &mut out);
            })?;
            self.at += 1;
        }
        let is_last = self.at == self.len;
        if is_last && self.layout == Layout::Array {
            out.push(b']');
        }
        Ok(Piece { bytes: out, is_last })
    }
}

impl PageLane {
    /// Shows the log's next event to `write`; returns the bytes that had to be read.
    fn write_next(
        &mut self,
        order: Order,
        write: impl FnOnce(&str, &StoredEvent<'_>),
    ) -> Result<u64, ReadError> {
        let Some(id) = self.ids.get(self.at) else {
            return Ok(0);
        };
        let mut bytes = 0;
        if self.fetch.event(id).is_none() {
            let upcoming = |index: usize| self.ids.get(self.at + index);
            bytes = self.fetch.read(&*self.log.events, id, upcoming, order)?;
        }
        if let Some(event) = self.fetch.event(id) {
            write(&self.log.name, &event);
        }
        self.at += 1;
        if self.at == self.ids.len() {
            self.fetch.release();
        }
        Ok(bytes)
    }
}

fn write_event(
    event: &StoredEvent<'_>,
    label: Option<&str>,
    layout: Layout,
    is_first: bool,
    out: &mut Vec<u8>,
) {
    if layout == Layout::Csv {
        return csv::write_row(event, label, out);
    }
    if layout == Layout::Array && !is_first {
        out.push(b',');
    }
    out.reserve(event.body.len() + SERVED_EXTRA_BYTES + label.map_or(1, |label| label.len() + 24));
    if let Some(label) = label {
        out.extend_from_slice(b"{\"log\":");
        canon::write_string(label, out);
        out.extend_from_slice(b",\"event\":");
    }
    body::write_served(event.body, &event.hash, out);
    if label.is_some() {
        out.push(b'}');
    }
    if layout == Layout::Lines {
        out.push(b'\n');
    }
}

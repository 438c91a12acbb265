//! The reading half: events in order, as the bytes that were sealed.

use std::fmt;
use std::io;

use annals_core::chain::{EventId, Head};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use thiserror::Error;

/// One log, for reading. Safe to call from many threads at once; never blocks the writer for longer than a copy of a
/// few words.
pub trait ReadLog: Send + Sync {
    /// The durable head. Never goes back while the process lives.
    fn head(&self) -> Head;

    /// Events from `from` on, in order, without gaps: at least one if there is one, and no more than fit `bytes_max` bytes
    /// of bodies (but for the first). Empty when `from` is past the head.
    ///
    /// The bytes have been checked against the engine's checksums or the event's hash: damage is an error, never an event.
    ///
    /// # Errors
    /// [`ReadError`].
    fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError>;
}

/// Why events could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The storage failed; the operator has to look at it.
    #[error("the log can not be read: {0}")]
    Io(#[from] io::Error),
    /// The bytes are not those that were sealed: an integrity failure.
    #[error("integrity failure: {0}")]
    Damaged(#[from] Damage),
}

/// Where durable bytes are not what they were.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct Damage {
    /// The first event that is hit, as far as it can be told.
    pub event: EventId,
    /// The file (relative to the data directory) or table, and the position in it.
    pub place: String,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}: {} ({})", self.event, self.what, self.place)
    }
}

/// Consecutive events, owning their bytes.
#[derive(Debug, Clone)]
pub struct EventRun {
    first: EventId,
    bytes: Vec<u8>,
    events: Vec<Slot>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    start: usize,
    end: usize,
    hash: EventHash,
    received_at: Micros,
}

/// One sealed event as it is stored.
#[derive(Debug, Clone, Copy)]
pub struct StoredEvent<'a> {
    /// Its place in the log.
    pub id: EventId,
    /// When the log took it.
    pub received_at: Micros,
    /// Its hash as stored.
    pub hash: EventHash,
    /// Its canonical bytes without the hash.
    pub body: &'a [u8],
}

impl EventRun {
    /// A run without events, at `first`.
    #[must_use]
    pub fn empty(first: EventId) -> Self {
        Self {
            first,
            bytes: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// True when there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// The id after the last event: where to read on.
    #[must_use]
    pub fn next_id(&self) -> EventId {
        self.first.plus(self.events.len() as u64)
    }

    /// The event at `index`, from 0.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<StoredEvent<'_>> {
        self.events.get(index).map(|slot| self.event(index, slot))
    }

    /// The events in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = StoredEvent<'_>> + ExactSizeIterator {
        self.events
            .iter()
            .enumerate()
            .map(|(index, slot)| self.event(index, slot))
    }

    fn event(&self, index: usize, slot: &Slot) -> StoredEvent<'_> {
        StoredEvent {
            id: self.first.plus(index as u64),
            received_at: slot.received_at,
            hash: slot.hash,
            body: &self.bytes[slot.start..slot.end],
        }
    }
}

/// Puts a run together: an engine's side of [`EventRun`].
#[derive(Debug)]
pub struct RunBuilder {
    run: EventRun,
}

impl RunBuilder {
    /// A run that starts at `first`.
    #[must_use]
    pub fn new(first: EventId) -> Self {
        Self {
            run: EventRun::empty(first),
        }
    }

    /// The buffer that bodies lie in: an engine may read a block into it and then [`mark`](Self::mark) what the bodies are.
    pub fn bytes_mut(&mut self) -> &mut Vec<u8> {
        &mut self.run.bytes
    }

    /// Says that the next event's body lies at `start..end` of the buffer.
    ///
    /// # Panics
    /// When the range is outside the buffer.
    pub fn mark(&mut self, start: usize, end: usize, hash: EventHash, received_at: Micros) {
        assert!(
            start <= end && end <= self.run.bytes.len(),
            "a body lies inside the run's bytes"
        );
        self.run.events.push(Slot {
            start,
            end,
            hash,
            received_at,
        });
    }

    /// Adds a copy of one event.
    pub fn push(&mut self, body: &[u8], hash: EventHash, received_at: Micros) {
        let start = self.run.bytes.len();
        self.run.bytes.extend_from_slice(body);
        self.mark(start, self.run.bytes.len(), hash, received_at);
    }

    /// The events marked so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.run.len()
    }

    /// True when no event is marked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.run.is_empty()
    }

    /// The run.
    #[must_use]
    pub fn finish(self) -> EventRun {
        self.run
    }
}

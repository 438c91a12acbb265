//! One reader's place in one log, and the way on from there.
//!
//! Invariants: the place is the only thing that says what a reader has seen. Whatever it is given comes from a chunk that has the
//! event of that place in it, be it the hub's or one read for this reader alone, and moves the place behind what was looked
//! at: so changing from storage to the ring and back leaves nothing out and repeats nothing.

use std::sync::Arc;

use annals_core::chain::EventId;
use annals_store::{EventRun, FindEvents, Order, ReadError, Search};
use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;

use super::Seat;
use super::chunk::{Chunk, Style, Wanted};
use super::hub::{CHUNK_BYTES, missing};
use super::ring::Look;
use crate::app::{Interrupted, ReadFailed, blocking};

/// Matches that are looked for at once in storage.
const MATCHES_MAX: usize = 256;
/// Bytes of events that are read at once to find them, about.
const FIND_BYTES: u64 = 1024 * 1024;
/// Matches that lie no further apart than that are read together.
const SPREAD: u64 = 4;

/// A place in a log.
pub(crate) struct Cursor {
    seat: Seat,
    wanted: Wanted,
}

/// What a step gave.
#[derive(Debug)]
pub(crate) enum Step {
    /// Messages, at least one.
    Messages(Bytes),
    /// Events were passed over; there may be more.
    Passed,
    /// Everything that there is has been passed.
    AtHead,
}

impl Cursor {
    /// A reader of `seat`'s log.
    pub(crate) fn new(seat: Seat, mut wanted: Wanted) -> Self {
        wanted.filter = seat.hub().shared_filter(wanted.filter);
        Self { seat, wanted }
    }

    /// The log's name.
    pub(crate) fn log(&self) -> &Arc<str> {
        &self.seat.hub().source.name
    }

    /// The next event that is looked at.
    pub(crate) fn next(&self) -> EventId {
        self.wanted.from
    }

    /// Goes on. What comes in after a step that ended at the head makes [`Self::changed`] ready.
    ///
    /// # Errors
    /// [`ReadFailed`]: the reader can not get past its place.
    pub(crate) async fn step(&mut self, style: Style) -> Result<Step, ReadFailed> {
        self.seat.wakes.mark_unchanged();
        match self.seat.hub().look(self.wanted.from)? {
            Look::AtHead => Ok(Step::AtHead),
            // Asking a filter of a large event may take long, which is for blocking threads.
            Look::Here(chunk) if self.wanted.filter.is_open() || chunk.text_bytes() <= 2 * CHUNK_BYTES => {
                let messages = chunk.select(&self.wanted, &style);
                Ok(self.passed(&chunk, messages))
            }
            Look::Here(_) | Look::Behind => self.read(style).await,
        }
    }

    /// Ready when there may be something new. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        // The hub, and with it the sender, lives as long as the seat.
        if self.seat.wakes.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Reads from storage, when it is this reader's turn.
    async fn read(&mut self, style: Style) -> Result<Step, ReadFailed> {
        let turns = Arc::clone(&self.seat.hub().shared.catch_up_turns);
        let turn = turns.acquire_owned().await.map_err(|_| Interrupted)?;
        let events = Arc::clone(&self.seat.hub().source.events);
        let wanted = self.wanted.clone();
        let (chunk, messages) = blocking(move || read(&*events, &wanted, &style, turn)).await??;
        Ok(self.passed(&chunk, messages))
    }

    fn passed(&mut self, chunk: &Chunk, messages: Bytes) -> Step {
        self.wanted.from = chunk.end();
        if self.wanted.not_before.is_some_and(|time| chunk.reaches(time)) {
            self.wanted.not_before = None;
        }
        if messages.is_empty() {
            Step::Passed
        } else {
            Step::Messages(messages)
        }
    }
}

/// The next chunk of storage, with what is wanted of it.
fn read(
    log: &dyn FindEvents,
    wanted: &Wanted,
    style: &Style,
    _turn: OwnedSemaphorePermit,
) -> Result<(Chunk, Bytes), ReadError> {
    let chunk = if wanted.filter.is_open() {
        let run = log.read(wanted.from, CHUNK_BYTES)?;
        if run.is_empty() {
            return Err(missing(wanted.from));
        }
        Chunk::new(wanted.from, run.next_id(), run.iter())
    } else {
        find(log, wanted)?
    };
    let messages = chunk.select(wanted, style);
    Ok((chunk, messages))
}

/// What matches, as the engine finds it.
fn find(log: &dyn FindEvents, wanted: &Wanted) -> Result<Chunk, ReadError> {
    let size = log.head().size;
    let search = Search {
        filter: Arc::clone(&wanted.filter),
        first: wanted.from,
        last: size,
        order: Order::OldestFirst,
    };
    let found = log.find(&search, MATCHES_MAX, FIND_BYTES)?;
    let mut end = found.next.unwrap_or_else(|| size.next());
    let mut runs: Vec<(EventRun, Vec<usize>)> = Vec::new();
    let mut bytes = 0;
    for (at, id) in found.ids.iter().enumerate() {
        if bytes >= CHUNK_BYTES {
            end = *id;
            break;
        }
        let is_at_hand = runs.last().is_some_and(|(run, _)| *id < run.next_id());
        if !is_at_hand {
            let follows_close = found
                .ids
                .get(at + 1)
                .is_some_and(|next| next.get() - id.get() <= SPREAD);
            let run = log.read(*id, if follows_close { CHUNK_BYTES } else { 1 })?;
            bytes += run.iter().map(|event| event.body.len()).sum::<usize>();
            runs.push((run, Vec::new()));
        }
        if let Some((run, picked)) = runs.last_mut()
            && let Some(first) = run.get(0)
        {
            picked.extend(usize::try_from(id.get() - first.id.get()));
        }
    }
    let events = runs
        .iter()
        .flat_map(|(run, picked)| picked.iter().filter_map(|index| run.get(*index)));
    Ok(Chunk::new(wanted.from, end, events))
}

//! One log's hub: follows the head, reads what is new once, and tells the readers.
//!
//! Invariants: the hub alone adds to the ring, in order; it reads on a blocking thread, and no more hubs do so at once than there are
//! turns; what it can't read is left to storage, where each reader finds out for itself; it pauses between two rounds for as long
//! as all readers of all logs need, but what comes in after such a pause goes out at once; when its task ends, for whatever
//! reason, its readers are told.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use annals_core::chain::EventId;
use annals_core::filter::Filter;
use annals_store::ReadError;
use tokio::time::{Instant, sleep_until};

use super::chunk::Chunk;
use super::ring::{Look, Ring};
use super::seats::Seats;
use super::{Shared, Source};
use crate::app::{Interrupted, blocking};

/// Bytes of bodies in a chunk, at most (but for a larger single event).
pub(crate) const CHUNK_BYTES: usize = 64 * 1024;
/// Bytes of chunks after which readers are told, however much there is to read.
const ROUND_BYTES: usize = 1024 * 1024;

pub(crate) struct Hub {
    pub(super) source: Source,
    pub(super) seats: Seats,
    pub(super) shared: Arc<Shared>,
    ring: Mutex<Ring>,
    filters: Mutex<Vec<Weak<Filter>>>,
    is_over: AtomicBool,
}

impl Hub {
    /// A hub that goes on at the end of the log.
    pub(super) fn new(source: Source, shared: Arc<Shared>) -> Self {
        let end = source.events.head().size.next();
        Self {
            source,
            seats: Seats::default(),
            shared,
            ring: Mutex::new(Ring::new(end)),
            filters: Mutex::default(),
            is_over: AtomicBool::new(false),
        }
    }

    /// Where the event `next` is.
    ///
    /// # Errors
    /// [`Interrupted`]: it will never come in, because nobody follows the log any more (a bug).
    pub(super) fn look(&self, next: EventId) -> Result<Look, Interrupted> {
        let is_over = self.is_over();
        match self.ring().look(next) {
            Look::AtHead if is_over => Err(Interrupted),
            look => Ok(look),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    /// The filter, or the equal one that another reader has.
    pub(super) fn shared_filter(&self, filter: Arc<Filter>) -> Arc<Filter> {
        let mut filters = self.filters.lock().unwrap_or_else(PoisonError::into_inner);
        filters.retain(|known| known.strong_count() > 0);
        let known = filters
            .iter()
            .filter_map(Weak::upgrade)
            .find(|known| **known == *filter);
        known.unwrap_or_else(|| {
            filters.push(Arc::downgrade(&filter));
            filter
        })
    }

    /// Lets go of chunks that are more than the log's share.
    pub(super) fn shrink(&self) {
        self.ring().shrink(self.shared.ring_share());
    }

    /// Follows the log for as long as it is polled.
    pub(super) async fn follow(self: Arc<Self>) {
        let _over = Over(&self);
        let mut heads = self.source.heads.clone();
        loop {
            // Seen before the head is looked at: a head that moves after the look wakes the wait below.
            heads.mark_unchanged();
            let begun = Instant::now();
            if self.is_up_to_date() {
                if heads.changed().await.is_err() {
                    // The log has ended; what it has stays.
                    std::future::pending::<()>().await;
                }
                continue;
            }
            Arc::clone(&self).take_in().await;
            let pace = self.shared.pace;
            self.seats.wake(pace.of(self.seats.taken())).await;
            let pause = pace.of(self.shared.readers());
            if !pause.is_zero() {
                sleep_until(begun + pause).await;
            }
        }
    }

    fn is_up_to_date(&self) -> bool {
        !self.source.events.head().size.contains(self.ring().end())
    }

    /// Reads what is new, or enough of it.
    async fn take_in(self: Arc<Self>) {
        let Ok(turn) = Arc::clone(&self.shared.hub_turns).acquire_owned().await else {
            return;
        };
        let hub = Arc::clone(&self);
        let read = blocking(move || {
            let _turn = turn;
            hub.read_round()
        });
        let failure = match read.await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(interrupted) => interrupted.to_string(),
        };
        tracing::error!(log = %self.source.name, error = failure, "new events can not be read for the live streams");
        let end = self.source.events.head().size.next();
        self.ring().restart(end);
    }

    fn read_round(&self) -> Result<(), ReadError> {
        let mut read = 0;
        while read < ROUND_BYTES && !self.is_up_to_date() {
            let share = self.shared.ring_share();
            let chunk = self.read_chunk(self.ring().end(), CHUNK_BYTES.min(share / 4))?;
            read += chunk.weight();
            self.ring().push(chunk, share);
        }
        Ok(())
    }

    fn read_chunk(&self, from: EventId, bytes_max: usize) -> Result<Chunk, ReadError> {
        let run = self.source.events.read(from, bytes_max)?;
        if run.is_empty() {
            return Err(missing(from));
        }
        Ok(Chunk::new(from, run.next_id(), run.iter()))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The head says that the event is there, and reading goes nowhere.
pub(super) fn missing(event: EventId) -> ReadError {
    let what = format!("event {event} is not there although the log's head is past it");
    ReadError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, what))
}

/// Tells the readers that nobody follows the log any more.
struct Over<'a>(&'a Hub);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.is_over.store(true, Ordering::Release);
        self.0.seats.wake_at_once();
    }
}

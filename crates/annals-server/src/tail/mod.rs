//! Following logs: thousands of readers, each of whom gets every event that it wants once and in order.
//!
//! A log with readers has a [`hub::Hub`], which reads each new event once, writes it as a message once ([`chunk`]), and keeps the
//! last ones in a [`ring`]. A reader is a place in the log ([`cursor`]): at the head it takes what is in the ring; behind it, it
//! reads from storage by itself until it has caught up. When something comes in, readers are woken row by row ([`seats`]), so that
//! thousands of them leave the machine to the writer in between.
//!
//! Invariants: nothing is queued for a reader, so it can neither lose an event nor hold one up when it is slow; all rings together,
//! and the threads that read for readers, are bounded; a log that nobody follows costs nothing.

pub(crate) mod chunk;
pub(crate) mod cursor;
mod hub;
pub(crate) mod places;
mod ring;
mod seats;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use annals_core::chain::Head;
use annals_store::FindEvents;
use tokio::sync::{Semaphore, watch};
use tokio::task::AbortHandle;

use crate::app::{Interrupted, ReadFailed, blocking};
use hub::Hub;
use seats::Pace;

/// Hubs that read at once: what they read is in the page cache, or nearly so.
const HUB_TURNS: usize = 4;
/// Readers that read from storage at once.
const CATCH_UP_TURNS: usize = 8;

/// A log that can be followed.
#[derive(Clone)]
pub(crate) struct Source {
    pub(crate) name: Arc<str>,
    pub(crate) events: Arc<dyn FindEvents>,
    /// Changes after the head that `events` gives has.
    pub(crate) heads: watch::Receiver<Head>,
}

/// The hubs of all logs that are followed.
pub(crate) struct Tails {
    shared: Arc<Shared>,
    hubs: Mutex<HashMap<Arc<str>, Weak<Running>>>,
}

/// What all hubs share.
pub(crate) struct Shared {
    ring_bytes_max: usize,
    pace: Pace,
    hub_turns: Arc<Semaphore>,
    catch_up_turns: Arc<Semaphore>,
    readers: AtomicUsize,
    hubs: AtomicUsize,
}

/// A reader's place among those of its log, held for as long as it reads.
pub(crate) struct Seat {
    running: Arc<Running>,
    wakes: watch::Receiver<()>,
}

/// A hub and its task, which ends with the last reader.
struct Running {
    hub: Arc<Hub>,
    task: AbortHandle,
}

impl Tails {
    /// Rings of no more than `ring_bytes_max` bytes in all.
    pub(crate) fn new(ring_bytes_max: usize) -> Self {
        Self::with_pace(ring_bytes_max, Pace::default())
    }

    fn with_pace(ring_bytes_max: usize, pace: Pace) -> Self {
        let shared = Shared {
            ring_bytes_max,
            pace,
            hub_turns: Arc::new(Semaphore::new(HUB_TURNS)),
            catch_up_turns: Arc::new(Semaphore::new(CATCH_UP_TURNS)),
            readers: AtomicUsize::new(0),
            hubs: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
            hubs: Mutex::default(),
        }
    }

    /// One more reader of that log. Has to be called inside the runtime.
    pub(crate) fn join(&self, source: Source) -> Seat {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        let running = hubs.get(&source.name).and_then(Weak::upgrade);
        let running = running
            .filter(|running| !running.hub.is_over())
            .unwrap_or_else(|| {
                hubs.retain(|_, running| running.strong_count() > 0);
                let name = Arc::clone(&source.name);
                let running = Running::start(source, Arc::clone(&self.shared));
                // Each one's share is smaller now.
                hubs.values()
                    .filter_map(Weak::upgrade)
                    .for_each(|other| other.hub.shrink());
                hubs.insert(name, Arc::downgrade(&running));
                running
            });
        drop(hubs);
        Seat::take(running)
    }

    /// Reads for a reader, on a blocking thread, when it is its turn.
    ///
    /// # Errors
    /// [`ReadFailed`], or what `work` fails with.
    pub(crate) async fn in_turn<T, E>(
        &self,
        work: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> Result<T, ReadFailed>
    where
        T: Send + 'static,
        E: Send + 'static,
        ReadFailed: From<E>,
    {
        let turns = Arc::clone(&self.shared.catch_up_turns);
        let turn = turns.acquire_owned().await.map_err(|_| Interrupted)?;
        let done = blocking(move || {
            let _turn = turn;
            work()
        });
        Ok(done.await??)
    }
}

impl Shared {
    /// What the ring of one log may weigh.
    fn ring_share(&self) -> usize {
        self.ring_bytes_max / self.hubs.load(Ordering::Relaxed).max(1)
    }

    /// The readers of all logs; who follows several counts for each.
    fn readers(&self) -> usize {
        self.readers.load(Ordering::Relaxed)
    }
}

impl Seat {
    fn take(running: Arc<Running>) -> Self {
        running.hub.shared.readers.fetch_add(1, Ordering::Relaxed);
        Self {
            wakes: running.hub.seats.sit(),
            running,
        }
    }

    fn hub(&self) -> &Hub {
        &self.running.hub
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.running.hub.seats.leave();
        self.running.hub.shared.readers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Running {
    fn start(source: Source, shared: Arc<Shared>) -> Arc<Self> {
        shared.hubs.fetch_add(1, Ordering::Relaxed);
        let hub = Arc::new(Hub::new(source, shared));
        let task = tokio::spawn(Arc::clone(&hub).follow()).abort_handle();
        Arc::new(Self { hub, task })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
        self.hub.shared.hubs.fetch_sub(1, Ordering::Relaxed);
    }
}

/// `patience`, shortened by up to a quarter, by another amount for each reader: so that those who were told something at the same
/// time are not told at the same time that there is nothing new.
pub(crate) fn spread(patience: Duration) -> Duration {
    static READERS: AtomicUsize = AtomicUsize::new(0);
    // Multiples of the golden ratio lie apart from each other, however many there are (Knuth, section 6.4).
    let golden = (READERS.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9) >> 16) & 0xffff;
    let part = u32::try_from(golden).unwrap_or_default();
    patience - patience / 4 * part / 0x1_0000
}

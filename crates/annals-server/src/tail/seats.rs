//! Who waits for a log's new events, and in which order they are woken.
//!
//! Readers sit in rows, and a row is woken as a whole. Between two rows passes as much time as the first one's readers are
//! expected to keep the machine busy, several times over: what has to be done meanwhile (an append, above all) never queues behind
//! thousands of readers, and few readers are woken at once.
//!
//! Invariant: whoever sits down before the ring is looked at is woken by every change that the look did not show.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// A row is filled so far before another one is begun.
const ROW_READERS: usize = 8;
const ROWS_MAX: usize = 128;
/// Timers are no finer than that.
const TICK: Duration = Duration::from_millis(1);

/// The time that readers get.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// For each reader. A delivery takes a processor for about 20 µs.
    pub(crate) a_reader: Duration,
    /// For all of them.
    pub(crate) max: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            a_reader: Duration::from_micros(50),
            max: Duration::from_millis(250),
        }
    }
}

impl Pace {
    /// How long it takes to wake so many.
    pub(crate) fn of(self, readers: usize) -> Duration {
        let readers = u32::try_from(readers).unwrap_or(u32::MAX);
        let pause = self.a_reader.saturating_mul(readers).min(self.max);
        if pause < TICK { Duration::ZERO } else { pause }
    }
}

/// The rows of one log.
#[derive(Debug, Default)]
pub(crate) struct Seats {
    rows: Mutex<Vec<watch::Sender<()>>>,
    taken: AtomicUsize,
}

impl Seats {
    /// Takes a seat in the row that has most room; it is free again when the receiver is dropped and [`Self::leave`] called.
    pub(crate) fn sit(&self) -> watch::Receiver<()> {
        self.taken.fetch_add(1, Ordering::Relaxed);
        let mut rows = self.rows();
        let emptiest = rows.iter().min_by_key(|row| row.receiver_count());
        match emptiest {
            Some(row) if row.receiver_count() < ROW_READERS || rows.len() == ROWS_MAX => row.subscribe(),
            _ => {
                let row = watch::Sender::new(());
                let seat = row.subscribe();
                rows.push(row);
                seat
            }
        }
    }

    pub(crate) fn leave(&self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// Wakes everybody, one row after the other, over `pause`.
    pub(crate) async fn wake(&self, pause: Duration) {
        let mut begun = Instant::now();
        let rows = self.rows().len();
        for row in 0..rows {
            if let Some(row) = self.rows().get(row) {
                row.send_replace(());
            }
            let due = begun + share(pause, row + 1, rows);
            if due >= Instant::now() + TICK / 2 {
                sleep_until(due).await;
                // On a machine that is busier than that, what is late is late: making up for it would wake many rows at once.
                let late = due.elapsed();
                if late > 2 * TICK {
                    begun += late;
                }
            }
        }
    }

    /// Wakes everybody at once.
    pub(crate) fn wake_at_once(&self) {
        for row in &*self.rows() {
            row.send_replace(());
        }
    }

    fn rows(&self) -> MutexGuard<'_, Vec<watch::Sender<()>>> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn share(pause: Duration, part: usize, parts: usize) -> Duration {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    pause * number(part) / number(parts).max(1)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn a_pause_grows_with_the_readers_up_to_its_bound() {
        let pace = Pace::default();
        let millis = |readers| pace.of(readers).as_millis();
        assert_eq!(pace.of(19), Duration::ZERO);
        assert_eq!(
            [millis(20), millis(2000), millis(4096), millis(usize::MAX)],
            [1, 100, 204, 250]
        );
    }

    /// Red when: `wake` does not wait.
    #[tokio::test(start_paused = true)]
    async fn rows_are_woken_one_after_the_other() {
        let seats = Seats::default();
        let mut readers: Vec<_> = (0..2000).map(|_| seats.sit()).collect();
        assert_eq!((seats.taken(), seats.rows().len()), (2000, ROWS_MAX));
        let fullest = seats.rows().iter().map(watch::Sender::receiver_count).max();
        assert_eq!(fullest, Some(2000_usize.div_ceil(ROWS_MAX)));
        let begun = Instant::now();
        let count = |readers: &mut Vec<watch::Receiver<()>>| {
            let changed = readers.iter_mut().filter(|reader| reader.has_changed().unwrap());
            changed.map(watch::Receiver::mark_unchanged).count()
        };
        let mut most = 0;
        let mut woken = 0;
        {
            let mut wake = std::pin::pin!(seats.wake(Duration::from_millis(100)));
            loop {
                let is_over = tokio::select! {
                    biased;
                    () = &mut wake => true,
                    () = tokio::time::sleep(Duration::from_micros(1)) => false,
                };
                let now = count(&mut readers);
                most = most.max(now);
                woken += now;
                if is_over {
                    break;
                }
            }
        }
        assert_eq!(woken, 2000);
        assert!(most <= 3 * 16, "{most} at once");
        assert!(
            (100..=102).contains(&begun.elapsed().as_millis()),
            "{:?}",
            begun.elapsed()
        );
    }

    /// Red when: `begun` is not moved by what is late.
    #[tokio::test(start_paused = true)]
    async fn what_is_late_is_not_made_up_for() {
        let seats = Seats::default();
        let readers: Vec<_> = (0..2000).map(|_| seats.sit()).collect();
        let mut wake = std::pin::pin!(seats.wake(Duration::from_millis(100)));
        let woken = || {
            let woken = readers.iter().filter(|reader| reader.has_changed().unwrap());
            woken.count()
        };
        assert!((&mut wake).now_or_never().is_none());
        let first = woken();
        // Nobody has time for the task for as long as it should take in all.
        tokio::time::advance(Duration::from_millis(100)).await;
        assert!((&mut wake).now_or_never().is_none());
        let second = woken();
        assert!(first > 0 && second <= first + 3 * 16, "{first}, then {second}");
    }

    /// Red when: a row is begun although there is room.
    #[tokio::test(start_paused = true)]
    async fn a_few_are_woken_at_once() {
        let seats = Seats::default();
        let readers: Vec<_> = (0..ROW_READERS).map(|_| seats.sit()).collect();
        assert_eq!(seats.rows().len(), 1);
        let begun = Instant::now();
        seats.wake(Pace::default().of(seats.taken())).await;
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert!(readers.iter().all(|reader| reader.has_changed().unwrap()));
    }
}

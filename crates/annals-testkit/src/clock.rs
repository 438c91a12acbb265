//! A clock that a test sets, also backwards.
//!
//! Invariant: it moves only when the test says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use annals_core::time::Micros;

/// 2026-05-15T03:14:15.000000+00:00: where a [`SimClock`] starts.
pub const START: Micros = Micros(1_778_814_855_000_000);

/// A settable clock; clones show the same time.
#[derive(Debug, Clone)]
pub struct SimClock {
    micros: Arc<AtomicI64>,
}

impl Default for SimClock {
    fn default() -> Self {
        Self {
            micros: Arc::new(AtomicI64::new(START.0)),
        }
    }
}

impl SimClock {
    /// The time that was set last.
    #[must_use]
    pub fn now(&self) -> Micros {
        Micros(self.micros.load(Ordering::SeqCst))
    }

    /// Sets the time; it may be earlier than before.
    pub fn set(&self, now: Micros) {
        self.micros.store(now.0, Ordering::SeqCst);
    }

    /// Moves the time by so many microseconds, backwards when negative.
    pub fn advance(&self, micros: i64) {
        self.micros.fetch_add(micros, Ordering::SeqCst);
    }
}

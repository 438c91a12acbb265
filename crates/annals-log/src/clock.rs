//! Where the receive time comes from.
//!
//! Invariant: the clock need not be monotonic. `annals_core::seal` never lets a receive time go back, whatever it says.

use std::time::{SystemTime, UNIX_EPOCH};

use annals_core::time::Micros;

/// A source of wall-clock time. Any `Fn() -> Micros` is one.
pub trait Clock: Send + 'static {
    /// The present time.
    fn now(&self) -> Micros;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Micros {
        match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX)),
            Err(before) => {
                Micros(i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros))
            }
        }
    }
}

impl<F: Fn() -> Micros + Send + 'static> Clock for F {
    fn now(&self) -> Micros {
        self()
    }
}

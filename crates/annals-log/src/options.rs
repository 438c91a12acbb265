//! How much may wait, how much goes into one commit, and when to try again.

use std::time::Duration;

use annals_core::limits::GROUP_BYTES_MAX;

use crate::error::StartError;
use crate::queue::Bounds;

/// How much may wait, how much goes into one commit, and when to try again: of all logs of a journal together.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Most bytes that may wait in the queue, counted as sealed
    /// ([`sealed_bytes_max`](annals_core::canonical::CanonicalBatch::sealed_bytes_max)) and with what retries are recognised
    /// by. A larger batch is refused as too large, so this is also the largest batch.
    pub queue_bytes_max: usize,
    /// Most batches that may wait in the queue.
    pub queue_batches_max: usize,
    /// A commit gathers what waits up to this many bytes, but at least one batch. At most
    /// [`GROUP_BYTES_MAX`].
    pub group_bytes_max: usize,
    /// Most logs that a journal may have.
    pub logs_max: usize,
    /// When nothing has waited for this long after a commit, the journal settles.
    pub settle_after: Duration,
    /// What refused callers are told to wait.
    pub retry_after: Duration,
    /// Pause after the first failed recovery; it doubles each time.
    pub recover_pause_min: Duration,
    /// Longest pause between recoveries (and between failing settles).
    pub recover_pause_max: Duration,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            queue_bytes_max: GROUP_BYTES_MAX,
            queue_batches_max: 16 * 1024,
            group_bytes_max: 8 * 1024 * 1024,
            logs_max: 10_000,
            settle_after: Duration::from_millis(100),
            retry_after: Duration::from_secs(1),
            recover_pause_min: Duration::from_millis(100),
            recover_pause_max: Duration::from_secs(10),
        }
    }
}

impl LogOptions {
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let wrong = |option, problem| Err(StartError::Option { option, problem });
        if self.queue_bytes_max == 0 {
            return wrong("queue_bytes_max", "must be at least 1");
        }
        if self.queue_batches_max == 0 {
            return wrong("queue_batches_max", "must be at least 1");
        }
        if self.group_bytes_max == 0 || self.group_bytes_max > GROUP_BYTES_MAX {
            return wrong("group_bytes_max", "must be from 1 byte to 256 MiB");
        }
        if self.recover_pause_min.is_zero() || self.recover_pause_max < self.recover_pause_min {
            return wrong(
                "recover_pause_min",
                "must be above 0 and not above recover_pause_max",
            );
        }
        Ok(())
    }

    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            bytes_max: self.queue_bytes_max,
            batches_max: self.queue_batches_max,
            batch_bytes_max: self.queue_bytes_max.min(GROUP_BYTES_MAX),
            logs_max: self.logs_max,
            retry_after: self.retry_after,
        }
    }
}

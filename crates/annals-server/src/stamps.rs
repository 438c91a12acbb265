//! What extended events are stamped with before the log has them: a UUIDv7 and a nonce.
//!
//! Invariants: every byte that is not the time comes from the operating system's random numbers, used once; what a request
//! without extended events costs is nothing.

use std::time::{SystemTime, UNIX_EPOCH};

use annals_core::canonical::Stamp;
use uuid::Builder;

/// Stamps for the events of one request. All of their ids have the time at which the first was asked for.
#[derive(Debug, Default)]
pub(crate) struct Stamps {
    unix_millis: Option<u64>,
    random: Vec<u8>,
    /// How much of `random` has been used.
    used: usize,
}

impl Stamps {
    /// The stamp of one more event.
    pub(crate) fn next(&mut self) -> Stamp {
        let unix_millis = *self.unix_millis.get_or_insert_with(unix_millis);
        let of_id = self.take::<10>();
        let nonce = self.take::<16>();
        Stamp {
            id: Builder::from_unix_timestamp_millis(unix_millis, &of_id)
                .into_uuid()
                .into_bytes(),
            nonce,
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        if let Some(bytes) = self.random[self.used..].first_chunk() {
            self.used += N;
            return *bytes;
        }
        self.refill();
        self.take()
    }

    /// Little for the first event, which is most often the only one, and much from then on: a system call for each event would
    /// be felt in a large batch.
    fn refill(&mut self) {
        const FIRST_BYTES: usize = 26;
        const BYTES: usize = 4096;
        let len = if self.random.is_empty() {
            FIRST_BYTES
        } else {
            BYTES
        };
        self.random.resize(len, 0);
        self.used = 0;
        // Fails only on systems that have no random numbers, where nothing that is to be unforeseeable can be made.
        getrandom::fill(&mut self.random).expect("the operating system gives random numbers");
    }
}

fn unix_millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Red when: `take` does not move `used` on; `refill` does not fill.
    #[test]
    fn no_two_stamps_share_an_id_or_a_nonce() {
        const EVENTS: usize = 1_000;
        let mut stamps = Stamps::default();
        let (mut ids, mut nonces) = (HashSet::new(), HashSet::new());
        let before = unix_millis();
        for _ in 0..EVENTS {
            let Stamp { id, nonce } = stamps.next();
            let id = uuid::Uuid::from_bytes(id);
            assert_eq!(id.get_version_num(), 7);
            let (seconds, nanos) = id.get_timestamp().expect("a v7 has a time").to_unix();
            let millis = seconds * 1000 + u64::from(nanos / 1_000_000);
            assert!((before..=unix_millis()).contains(&millis));
            assert_ne!(nonce, [0; 16]);
            ids.insert(id);
            nonces.insert(nonce);
        }
        assert_eq!((ids.len(), nonces.len()), (EVENTS, EVENTS));
    }
}

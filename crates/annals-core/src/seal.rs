//! Sealing: canonical events become links of the chain. Pure: the caller brings the head and the time.
//!
//! Invariants of a [`SealedBatch`]: ids are consecutive from the head's next one; event i's body contains the hash of
//! event i − 1 as `prev_hash`; `hashes[i]` is SHA-256 of body i (the seed's rule); receive times never go back.

use crate::canonical::{CanonicalBatch, Pieces};
use crate::chain::{EventId, Head, TreeSize};
use crate::hash::EventHash;
use crate::time::Micros;

/// A run of sealed events: what a storage engine makes durable in one step.
#[derive(Debug, Clone)]
pub struct SealedBatch {
    before: Head,
    received_at: Micros,
    bodies: Vec<u8>,
    ends: Vec<u32>,
    hashes: Vec<EventHash>,
}

/// Seals the events of `batches`, in order, after `head`. The receive time is `now`, or the head's when the clock is
/// behind it.
///
/// # Panics
/// When there is no event, or when the bodies pass 4 GiB: [`crate::limits::GROUP_BYTES_MAX`] keeps callers far below.
#[must_use]
pub fn seal<'a>(
    head: &Head,
    now: Micros,
    batches: impl Iterator<Item = &'a CanonicalBatch> + Clone,
) -> SealedBatch {
    let received_at = now.max(head.received_at);
    let stamp = received_at.to_string();
    let (events, bytes) = batches.clone().fold((0, 0), |(events, bytes), batch| {
        (events + batch.len(), bytes + batch.sealed_bytes_max())
    });
    assert!(events > 0, "a sealed batch has at least one event");
    let mut sealed = SealedBatch {
        before: *head,
        received_at,
        bodies: Vec::with_capacity(bytes),
        ends: Vec::with_capacity(events),
        hashes: Vec::with_capacity(events),
    };
    let mut id = head.size.next();
    let mut link = head.hash;
    for pieces in batches.flat_map(CanonicalBatch::pieces) {
        link = sealed.push(id, link, &stamp, &pieces);
        id = id.plus(1);
    }
    sealed
}

impl SealedBatch {
    /// The head that the batch extends: its first event's id is `before().size.next()`.
    #[must_use]
    pub fn before(&self) -> &Head {
        &self.before
    }

    /// The head once the batch is durable.
    #[must_use]
    pub fn after(&self) -> Head {
        Head {
            size: TreeSize(self.before.size.0 + self.hashes.len() as u64),
            hash: self.hashes.last().copied().unwrap_or(self.before.hash),
            received_at: self.received_at,
        }
    }

    /// Id of the first event.
    #[must_use]
    pub fn first_id(&self) -> EventId {
        self.before.size.next()
    }

    /// Number of events, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.hashes.len()
    }

    /// Never true: a batch has at least one event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// When the log took the events.
    #[must_use]
    pub fn received_at(&self) -> Micros {
        self.received_at
    }

    /// All bodies, one after the other.
    #[must_use]
    pub fn bodies(&self) -> &[u8] {
        &self.bodies
    }

    /// End of each body inside [`Self::bodies`].
    #[must_use]
    pub fn ends(&self) -> &[u32] {
        &self.ends
    }

    /// Hash of each event.
    #[must_use]
    pub fn hashes(&self) -> &[EventHash] {
        &self.hashes
    }

    /// Body of the event at `index` (0 is the first of the batch).
    #[must_use]
    pub fn body(&self, index: usize) -> &[u8] {
        let start = if index == 0 {
            0
        } else {
            self.ends[index - 1] as usize
        };
        &self.bodies[start..self.ends[index] as usize]
    }

    fn push(&mut self, id: EventId, prev: EventHash, stamp: &str, pieces: &Pieces<'_>) -> EventHash {
        let start = self.bodies.len();
        self.bodies.extend_from_slice(pieces.before_id);
        push_decimal(&mut self.bodies, id.get());
        self.bodies.extend_from_slice(pieces.before_hash);
        self.bodies.extend_from_slice(&prev.to_hex());
        self.bodies.extend_from_slice(pieces.after_hash);
        for rest in [pieces.after_received_at, pieces.after_timestamp]
            .into_iter()
            .flatten()
        {
            self.bodies.extend_from_slice(stamp.as_bytes());
            self.bodies.extend_from_slice(rest);
        }
        let hash = EventHash::of(&self.bodies[start..]);
        self.ends
            .push(u32::try_from(self.bodies.len()).expect("a batch stays below 4 GiB"));
        self.hashes.push(hash);
        hash
    }
}

/// Appends `number` in decimal; `u64` has at most 20 digits.
fn push_decimal(out: &mut Vec<u8>, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(rest % 10).expect("a digit");
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

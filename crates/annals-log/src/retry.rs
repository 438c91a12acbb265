//! How a request is recognised when it is sent again.
//!
//! Invariant: an [`Append`] is well-formed: its keys and names are 1 to 255 visible ASCII characters, its item keys name items
//! of the batch in ascending order, its sequences ascend, one for each event. So the sequencer only has to decide.

use annals_core::canonical::CanonicalBatch;
use annals_store::{CallerId, Sequence};
use thiserror::Error;

/// A batch, and what it is recognised by when it is sent again.
///
/// With a key, the same request sent again is answered as the first time, and nothing is stored twice. With a producer's
/// sequence, what is not above the producer's position is not stored again. Keys are forgotten after a while
/// ([`annals_store::CellBounds`]), positions never.
///
/// A producer has at most one request on its way: when one fails, what it sent behind that one may already have moved its
/// position, and what failed would then be taken for a duplicate.
#[derive(Debug, Clone)]
pub struct Append {
    pub(crate) batch: CanonicalBatch,
    pub(crate) retry: Option<Box<Retry>>,
}

impl Append {
    /// Recognised by nothing: sent again, it is stored again.
    #[must_use]
    pub fn new(batch: CanonicalBatch) -> Self {
        Self { batch, retry: None }
    }

    /// Recognised as a whole by a caller's key. `digest` is SHA-256 of what was asked for, before stamping: the same key
    /// with another digest is refused.
    #[must_use]
    pub fn keyed(batch: CanonicalBatch, caller: CallerId, key: RetryKey, digest: [u8; 32]) -> Self {
        Self::with(batch, Retry::Keyed { caller, key, digest })
    }

    /// Items are recognised each by a key of its own; those without a key are always new.
    ///
    /// # Errors
    /// [`MalformedRetry::Items`] unless `keys` ascend by item and every item is in the batch.
    pub fn item_keys(
        batch: CanonicalBatch,
        caller: CallerId,
        keys: Vec<ItemKey>,
    ) -> Result<Self, MalformedRetry> {
        let ascend = keys.is_sorted_by(|one, next| one.item < next.item);
        let inside = keys.last().is_none_or(|last| (last.item as usize) < batch.len());
        if !ascend || !inside {
            return Err(MalformedRetry::Items { events: batch.len() });
        }
        Ok(Self::with(batch, Retry::Items { caller, keys }))
    }

    /// The whole batch is `first` to `last` of a producer's order.
    ///
    /// # Errors
    /// [`MalformedRetry::Range`] when `last` is below `first`.
    pub fn ordered_range(
        batch: CanonicalBatch,
        producer: Producer,
        first: Sequence,
        last: Sequence,
    ) -> Result<Self, MalformedRetry> {
        if last < first {
            return Err(MalformedRetry::Range { first, last });
        }
        Ok(Self::with(
            batch,
            Retry::Range {
                producer,
                first,
                last,
            },
        ))
    }

    /// Each event has its own place in a producer's order.
    ///
    /// # Errors
    /// [`MalformedRetry::Count`] unless there is one for each event, [`MalformedRetry::Order`] unless they ascend.
    pub fn ordered_items(
        batch: CanonicalBatch,
        producer: Producer,
        sequences: Vec<Sequence>,
    ) -> Result<Self, MalformedRetry> {
        if sequences.len() != batch.len() {
            return Err(MalformedRetry::Count {
                sequences: sequences.len(),
                events: batch.len(),
            });
        }
        if let Some(at) = sequences.windows(2).position(|pair| pair[1] <= pair[0]) {
            return Err(MalformedRetry::Order { item: at + 1 });
        }
        Ok(Self::with(batch, Retry::Sequences { producer, sequences }))
    }

    fn with(batch: CanonicalBatch, retry: Retry) -> Self {
        Self {
            batch,
            retry: Some(Box::new(retry)),
        }
    }
}

impl From<CanonicalBatch> for Append {
    fn from(batch: CanonicalBatch) -> Self {
        Self::new(batch)
    }
}

/// A caller's key: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetryKey(Box<str>);

/// A producer's name: 1 to 255 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Producer(Box<str>);

impl RetryKey {
    /// Takes text that is a key.
    ///
    /// # Errors
    /// [`MalformedRetry::Key`]
    pub fn new(key: &str) -> Result<Self, MalformedRetry> {
        if is_name(key) {
            return Ok(Self(key.into()));
        }
        Err(MalformedRetry::Key { bytes: key.len() })
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Producer {
    /// Takes text that is a name.
    ///
    /// # Errors
    /// [`MalformedRetry::Producer`]
    pub fn new(name: &str) -> Result<Self, MalformedRetry> {
        if is_name(name) {
            return Ok(Self(name.into()));
        }
        Err(MalformedRetry::Producer { bytes: name.len() })
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_name(text: &str) -> bool {
    (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// One item's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemKey {
    /// Place of the event in the batch, from 0.
    pub item: u32,
    /// The key.
    pub key: RetryKey,
    /// SHA-256 of what was asked for with it, before stamping.
    pub digest: [u8; 32],
}

/// The caller has to send the retry's headers or members otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum MalformedRetry {
    /// The key's form.
    #[error("a key has 1 to 255 visible ASCII characters; this one has {bytes} bytes or others among them")]
    Key {
        /// Length of what was given.
        bytes: usize,
    },
    /// The producer's name.
    #[error(
        "a producer's name has 1 to 255 visible ASCII characters; this one has {bytes} bytes or others among them"
    )]
    Producer {
        /// Length of what was given.
        bytes: usize,
    },
    /// Keys for items.
    #[error("item keys have to ascend and to be for items of the batch, which has {events}")]
    Items {
        /// Events in the batch.
        events: usize,
    },
    /// A range that ends before it begins.
    #[error("the range {first}..{last} ends before it begins")]
    Range {
        /// Its first.
        first: Sequence,
        /// Its last.
        last: Sequence,
    },
    /// Not one for each event.
    #[error("there are {sequences} sequences for {events} events; send one for each, or a range for all")]
    Count {
        /// How many were given.
        sequences: usize,
        /// Events in the batch.
        events: usize,
    },
    /// One that is not above the one before it.
    #[error("sequences have to ascend; that of item {item} (from 0) is not above the one before")]
    Order {
        /// The first that is not.
        item: usize,
    },
}

/// What a request is recognised by.
#[derive(Debug, Clone)]
pub(crate) enum Retry {
    Keyed {
        caller: CallerId,
        key: RetryKey,
        digest: [u8; 32],
    },
    Items {
        caller: CallerId,
        keys: Vec<ItemKey>,
    },
    Range {
        producer: Producer,
        first: Sequence,
        last: Sequence,
    },
    Sequences {
        producer: Producer,
        sequences: Vec<Sequence>,
    },
}

impl Retry {
    /// Upper bound of what its cells take in a commit; a long list also weighs while it waits.
    pub(crate) fn bytes(&self) -> usize {
        const CELL_BYTES: usize = 64;
        match self {
            Self::Keyed { key, .. } => CELL_BYTES + key.0.len(),
            Self::Items { keys, .. } => keys.iter().map(|key| CELL_BYTES + key.key.0.len()).sum(),
            Self::Range { producer, .. } => CELL_BYTES + producer.0.len(),
            Self::Sequences { producer, sequences } => {
                CELL_BYTES + producer.0.len() + size_of_val(sequences.as_slice())
            }
        }
    }

    /// Receipts that it leaves, at most.
    pub(crate) fn receipts(&self) -> usize {
        match self {
            Self::Keyed { .. } => 1,
            Self::Items { keys, .. } => keys.len(),
            Self::Range { .. } | Self::Sequences { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when: `is_name` allows one more byte, or any character.
    #[test]
    fn names_are_visible_and_short() {
        for good in ["a", "~!x", &"k".repeat(255)] {
            assert_eq!(RetryKey::new(good).unwrap().as_str(), good);
            assert_eq!(Producer::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " a", "a\n", "\u{e4}", &"k".repeat(256)] {
            let bytes = bad.len();
            assert_eq!(RetryKey::new(bad), Err(MalformedRetry::Key { bytes }));
            assert_eq!(Producer::new(bad), Err(MalformedRetry::Producer { bytes }));
        }
    }
}

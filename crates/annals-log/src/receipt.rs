//! What an appender holds: first the promise of an answer, then the proof of what was sealed.
//!
//! Invariant: a [`Receipt`] exists only for events that are durable and covered by the published head; so does every id that
//! an [`Appended`] names.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use annals_core::chain::EventId;
use annals_core::hash::EventHash;
use annals_core::seal::SealedBatch;
use annals_core::time::Micros;
use annals_store::Sequence;
use tokio::sync::oneshot;

use crate::error::{AppendError, OnceError};

/// An accepted batch: a future of its receipt. Needs no particular runtime.
///
/// Until it answers, a crash may lose the batch. The errors' [`AppendError::outcome`] says whether that is so.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Result<Receipt, AppendError>>,
}

impl Pending {
    pub(crate) fn new(answer: oneshot::Receiver<Result<Receipt, AppendError>>) -> Self {
        Self { answer }
    }

    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// As the future's.
    ///
    /// # Panics
    /// When called on a thread that runs async tasks of tokio: await the future there.
    pub fn wait(self) -> Result<Receipt, AppendError> {
        self.answer.blocking_recv().unwrap_or(Err(AppendError::Unknown))
    }
}

impl Future for Pending {
    type Output = Result<Receipt, AppendError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // A sender that is gone without an answer was lost with the sequencer, in the midst of a commit.
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(AppendError::Unknown)))
    }
}

/// An accepted request that is recognised when it is sent again: a future of what became of it. As [`Pending`] otherwise.
#[derive(Debug)]
pub struct PendingOnce {
    answer: oneshot::Receiver<Result<Appended, OnceError>>,
}

impl PendingOnce {
    pub(crate) fn new(answer: oneshot::Receiver<Result<Appended, OnceError>>) -> Self {
        Self { answer }
    }

    /// Blocks until the answer is there.
    ///
    /// # Errors
    /// As the future's.
    ///
    /// # Panics
    /// When called on a thread that runs async tasks of tokio: await the future there.
    pub fn wait(self) -> Result<Appended, OnceError> {
        self.answer.blocking_recv().unwrap_or(Err(LOST))
    }
}

const LOST: OnceError = OnceError::Refused(AppendError::Unknown);

impl Future for PendingOnce {
    type Output = Result<Appended, OnceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = Pin::new(&mut self.answer).poll(context);
        answer.map(|answer| answer.unwrap_or(Err(LOST)))
    }
}

/// The events of one batch as they were sealed: durable, in the chain, with their ids. Cheap to clone.
///
/// It keeps the bytes of its log's whole share of the commit in memory while it lives.
#[derive(Debug, Clone)]
pub struct Receipt {
    sealed: Arc<SealedBatch>,
    range: Range<usize>,
}

impl Receipt {
    /// The receipt of the events at `range` of `sealed`; the caller says that they are durable and published.
    pub(crate) fn new(sealed: Arc<SealedBatch>, range: Range<usize>) -> Self {
        Self { sealed, range }
    }

    /// Number of events, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.range.len()
    }

    /// Never true: a receipt is for at least one event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// Id of the first event; the others follow without gaps.
    #[must_use]
    pub fn first_id(&self) -> EventId {
        self.sealed.first_id().plus(self.range.start as u64)
    }

    /// When the log took the events.
    #[must_use]
    pub fn received_at(&self) -> Micros {
        self.sealed.received_at()
    }

    /// The events in order: id, hash, canonical bytes without the hash.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (EventId, EventHash, &[u8])> {
        let first = self.sealed.first_id();
        self.range.clone().map(move |at| {
            (
                first.plus(at as u64),
                self.sealed.hashes()[at],
                self.sealed.body(at),
            )
        })
    }
}

/// What became of a request that is recognised when it is sent again. Everything that it names is durable and readable.
#[derive(Debug, Clone)]
pub struct Appended {
    fresh: Option<Receipt>,
    items: Items,
    duplicate_through: Option<Sequence>,
}

/// What became of one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// It is a new event.
    Sealed(EventId),
    /// It was stored before, under the same key, as this event.
    Replayed(EventId),
    /// It is at or below the producer's position: stored before, as an event that only the producer knows.
    Duplicate,
}

#[derive(Debug, Clone)]
pub(crate) enum Items {
    /// All are new: the receipt's.
    Fresh,
    /// All were stored before, in one run.
    Replayed { first: EventId, count: u32 },
    /// All were stored before.
    Duplicates { count: usize },
    /// One by one.
    Each(Vec<Item>),
}

impl Appended {
    pub(crate) fn new(fresh: Option<Receipt>, items: Items, duplicate_through: Option<Sequence>) -> Self {
        Self {
            fresh,
            items,
            duplicate_through,
        }
    }

    pub(crate) fn fresh(receipt: Receipt) -> Self {
        Self::new(Some(receipt), Items::Fresh, None)
    }

    /// The events that are new, in the order of their items; `None` when nothing is.
    #[must_use]
    pub fn sealed(&self) -> Option<&Receipt> {
        self.fresh.as_ref()
    }

    /// True when nothing is new: the request was seen before.
    #[must_use]
    pub fn is_repeat(&self) -> bool {
        self.fresh.is_none()
    }

    /// The producer's position, when some items were at or below it and not stored again.
    #[must_use]
    pub fn duplicate_through(&self) -> Option<Sequence> {
        self.duplicate_through
    }

    /// Number of items.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.items {
            Items::Fresh => self.fresh.as_ref().map_or(0, Receipt::len),
            Items::Replayed { count, .. } => *count as usize,
            Items::Duplicates { count } => *count,
            Items::Each(items) => items.len(),
        }
    }

    /// Never true: a request has at least one item.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What became of each item, in order.
    pub fn items(&self) -> impl ExactSizeIterator<Item = Item> {
        let fresh = self.fresh.as_ref().map_or(EventId::FIRST, Receipt::first_id);
        (0..self.len()).map(move |at| match &self.items {
            Items::Fresh => Item::Sealed(fresh.plus(at as u64)),
            Items::Replayed { first, .. } => Item::Replayed(first.plus(at as u64)),
            Items::Duplicates { .. } => Item::Duplicate,
            Items::Each(items) => items[at],
        })
    }
}

//! What an appender holds: first the promise of an answer, then the proof of what was sealed.
//!
//! Invariant: a [`Receipt`] exists only for events that are durable and covered by the published head.

use std::future::Future;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use annals_core::chain::EventId;
use annals_core::hash::EventHash;
use annals_core::seal::SealedBatch;
use annals_core::time::Micros;
use tokio::sync::oneshot;

use crate::error::AppendError;

/// What the sequencer says about one batch.
pub(crate) type Answer = Result<Receipt, AppendError>;

/// An accepted batch: a future of its receipt. Needs no particular runtime.
///
/// Until it answers, a crash may lose the batch. The errors' [`AppendError::outcome`] says whether that is so.
#[derive(Debug)]
pub struct Pending {
    answer: oneshot::Receiver<Answer>,
}

impl Pending {
    pub(crate) fn new(answer: oneshot::Receiver<Answer>) -> Self {
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

/// The events of one batch as they were sealed: durable, in the chain, with their ids. Cheap to clone.
///
/// It keeps the bytes of its whole commit in memory while it lives.
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

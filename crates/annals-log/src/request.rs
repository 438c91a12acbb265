//! What waits in the queue, and the way back to whoever waits for it.
//!
//! Invariant: every request and every creation gets one answer. Dropped without one, its caller hears that the outcome is
//! unknown.

use std::ops::Range;
use std::sync::Arc;

use annals_core::canonical::CanonicalBatch;
use annals_core::seal::SealedBatch;
use annals_store::{LogManifest, LogName};
use tokio::sync::oneshot;

use crate::error::{AppendError, CreateError, OnceError};
use crate::plan::Plan;
use crate::receipt::{Appended, Receipt};
use crate::registry::Entry;
use crate::retry::{Append, Retry};

/// An accepted batch and the way back to its caller.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) batch: CanonicalBatch,
    pub(crate) retry: Option<Box<Retry>>,
    /// What the sequencer decided about a request that is recognised by something; made anew for each group.
    pub(crate) plan: Option<Box<Plan>>,
    reply: Reply,
}

#[derive(Debug)]
enum Reply {
    Plain(oneshot::Sender<Result<Receipt, AppendError>>),
    Once(oneshot::Sender<Result<Appended, OnceError>>),
}

impl Request {
    pub(crate) fn plain(batch: CanonicalBatch) -> (Self, oneshot::Receiver<Result<Receipt, AppendError>>) {
        let (reply, answer) = oneshot::channel();
        let request = Self {
            batch,
            retry: None,
            plan: None,
            reply: Reply::Plain(reply),
        };
        (request, answer)
    }

    pub(crate) fn once(append: Append) -> (Self, oneshot::Receiver<Result<Appended, OnceError>>) {
        let (reply, answer) = oneshot::channel();
        let request = Self {
            batch: append.batch,
            retry: append.retry,
            plan: None,
            reply: Reply::Once(reply),
        };
        (request, answer)
    }

    /// What it weighs in the queue and, at most, in a commit.
    pub(crate) fn bytes(&self) -> usize {
        self.batch.sealed_bytes_max() + self.retry.as_ref().map_or(0, |retry| retry.bytes())
    }

    /// The events of it that go into the group; `None` when it only waits for what others add.
    pub(crate) fn to_seal(&self) -> Option<&CanonicalBatch> {
        match &self.plan {
            None => Some(&self.batch),
            Some(plan) => plan.to_seal(&self.batch),
        }
    }

    /// Its events are durable and published: those at `range` of `sealed`.
    pub(crate) fn sealed(self, sealed: &Arc<SealedBatch>, range: Range<usize>) {
        let receipt = Receipt::new(Arc::clone(sealed), range);
        // A caller that went away (a closed connection) is not an error: its batch was accepted all the same.
        match (self.reply, self.plan) {
            (Reply::Plain(reply), _) => drop(reply.send(Ok(receipt))),
            (Reply::Once(reply), None) => drop(reply.send(Ok(Appended::fresh(receipt)))),
            (Reply::Once(reply), Some(plan)) => drop(reply.send(plan.answer(Some(receipt)))),
        }
    }

    /// What it waits for is durable and published, nothing of it was sealed.
    pub(crate) fn waited(self) {
        let Self { reply, plan, .. } = self;
        if let (Reply::Once(reply), Some(plan)) = (reply, plan) {
            drop(reply.send(plan.answer(None)));
        }
    }

    /// Nothing of it is sealed.
    pub(crate) fn refuse(self, refusal: &AppendError) {
        match self.reply {
            Reply::Plain(reply) => drop(reply.send(Err(refusal.clone()))),
            Reply::Once(reply) => drop(reply.send(Err(OnceError::Refused(refusal.clone())))),
        }
    }
}

/// A log that is to be made.
#[derive(Debug)]
pub(crate) struct Creation {
    pub(crate) name: LogName,
    reply: oneshot::Sender<Made>,
}

/// The log that was made.
pub(crate) type Made = Result<(Arc<Entry>, LogManifest), CreateError>;

impl Creation {
    pub(crate) fn new(name: LogName) -> (Self, oneshot::Receiver<Made>) {
        let (reply, answer) = oneshot::channel();
        (Self { name, reply }, answer)
    }

    pub(crate) fn answer(self, made: Made) {
        drop(self.reply.send(made));
    }
}

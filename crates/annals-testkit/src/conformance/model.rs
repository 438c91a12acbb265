//! The engine under test beside a model: everything that was committed, in order, as it was sealed.
//!
//! Invariant: an event is in the model exactly when a commit said that it is durable.

use std::sync::Arc;

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{EventId, Head, LogId};
use annals_core::hash::EventHash;
use annals_core::seal::{SealedBatch, seal};
use annals_core::time::Micros;
use annals_store::{CommitError, EventRun, LogBatch, ReadLog, Recovery};

use super::{EngineUnderTest, Opened};
use crate::chain::audit;
use crate::clock::SimClock;

/// What a case works on.
pub(super) struct Subject {
    engine: Box<dyn EngineUnderTest>,
    /// `None` only inside a reopen.
    opened: Option<Opened>,
    events: Vec<Expected>,
    head: Head,
    pub(super) clock: SimClock,
}

/// One event that must be there.
struct Expected {
    body: Vec<u8>,
    hash: EventHash,
    received_at: Micros,
}

impl Subject {
    pub(super) fn open(mut engine: Box<dyn EngineUnderTest>) -> Self {
        let opened = engine.open();
        let clock = SimClock::default();
        Self {
            engine,
            opened: Some(opened),
            events: Vec::new(),
            head: Head::EMPTY,
            clock,
        }
    }

    pub(super) fn log(&self) -> LogId {
        self.opened().log
    }

    pub(super) fn reader(&self) -> Arc<dyn ReadLog> {
        Arc::clone(&self.opened().reader)
    }

    pub(super) fn journal_head(&self, log: LogId) -> Option<Head> {
        self.opened().journal.head(log)
    }

    /// The head that the engine must have.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Seals after the model's head, a millisecond later than before.
    pub(super) fn seal(&self, batch: &CanonicalBatch) -> SealedBatch {
        self.seal_after(&self.head, batch)
    }

    pub(super) fn seal_after(&self, head: &Head, batch: &CanonicalBatch) -> SealedBatch {
        self.clock.advance(1_000);
        seal(head, self.clock.now(), std::iter::once(batch))
    }

    /// Seals and commits; must succeed.
    pub(super) fn append(&mut self, batch: &CanonicalBatch) {
        let sealed = self.seal(batch);
        self.commit(&[&sealed]).expect("a batch on the head is committed");
    }

    /// Commits a group for the log; what was committed goes into the model.
    pub(super) fn commit(&mut self, group: &[&SealedBatch]) -> Result<(), CommitError> {
        self.commit_to(self.log(), group)
    }

    pub(super) fn commit_to(&mut self, log: LogId, group: &[&SealedBatch]) -> Result<(), CommitError> {
        let parts: Vec<_> = group.iter().map(|batch| LogBatch::new(log, batch)).collect();
        self.opened_mut().journal.commit(&parts)?;
        for batch in group {
            self.head = batch.after();
            self.events.extend((0..batch.len()).map(|at| Expected {
                body: batch.body(at).to_vec(),
                hash: batch.hashes()[at],
                received_at: batch.received_at(),
            }));
        }
        Ok(())
    }

    pub(super) fn settle(&mut self) {
        self.opened_mut()
            .journal
            .settle()
            .expect("a healthy engine settles");
    }

    pub(super) fn recover(&mut self) -> Recovery {
        self.opened_mut()
            .journal
            .recover()
            .expect("a healthy engine recovers")
    }

    pub(super) fn crash_and_reopen(&mut self) {
        let opened = self.opened.take().expect("open");
        self.opened = Some(self.engine.crash_and_reopen(opened));
        self.audit();
    }

    pub(super) fn clean_reopen(&mut self) {
        let opened = self.opened.take().expect("open");
        self.opened = Some(self.engine.clean_reopen(opened));
        self.audit();
    }

    /// The engine has what the model has, to the byte: heads, every event, and nothing behind the last one.
    pub(super) fn audit(&self) {
        let reader = self.reader();
        assert_eq!(
            self.journal_head(self.log()),
            Some(self.head),
            "the journal's head"
        );
        assert_eq!(reader.head(), self.head, "the reader's head");
        let audited = audit(&*reader).expect("the oracle finds the log whole");
        assert_eq!(
            (audited.events, audited.head),
            (self.events.len() as u64, self.head)
        );
        let mut from = EventId::FIRST;
        while self.head.size.contains(from) {
            from = self.read(from, 4 * 1024 * 1024).next_id();
        }
        assert!(
            self.read(from, usize::MAX).is_empty(),
            "there is nothing behind the head"
        );
    }

    /// Reads, and checks the contract of a read against the model.
    pub(super) fn read(&self, from: EventId, bytes_max: usize) -> EventRun {
        let run = self
            .opened()
            .reader
            .read(from, bytes_max)
            .expect("a healthy engine reads");
        let start = usize::try_from(from.get() - 1)
            .expect("small")
            .min(self.events.len());
        let expected = &self.events[start..];
        assert!(
            run.len() <= expected.len(),
            "read({from}, {bytes_max}) gave events that nobody committed"
        );
        assert_eq!(
            run.is_empty(),
            expected.is_empty(),
            "read({from}, {bytes_max}) gives an event if there is one"
        );
        assert_eq!(
            run.next_id(),
            from.plus(run.len() as u64),
            "read({from}, {bytes_max}): where to read on"
        );
        let bytes: usize = run.iter().map(|event| event.body.len()).sum();
        assert!(
            run.len() <= 1 || bytes <= bytes_max,
            "read({from}, {bytes_max}) gave {bytes} bytes"
        );
        for (at, (event, expected)) in run.iter().zip(expected).enumerate() {
            assert_eq!(event.id, from.plus(at as u64), "ids follow each other");
            assert!(
                event.body == expected.body,
                "event {}: the body is not what was sealed",
                event.id
            );
            assert_eq!(event.hash, expected.hash, "event {}: hash", event.id);
            assert_eq!(
                event.received_at, expected.received_at,
                "event {}: receive time",
                event.id
            );
        }
        run
    }

    fn opened(&self) -> &Opened {
        self.opened.as_ref().expect("open")
    }

    fn opened_mut(&mut self) -> &mut Opened {
        self.opened.as_mut().expect("open")
    }
}

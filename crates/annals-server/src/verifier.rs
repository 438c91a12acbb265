//! Checking the chain on request: one run at a time, going on where the last one ended.
//!
//! Invariants: an answer covers at least the head that its caller saw on arrival; all callers together read an event at
//! most once (but for full runs, of which a burst of callers shares at most two); a break, once found, is the answer for
//! as long as the process lives, because a log that was not what was sealed does not become so again; a caller that goes
//! away stops the work it was waiting for after one bounded step, and what was checked so far is kept.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use annals_api::Verification;
use annals_core::chain::{EventId, TreeSize};
use annals_store::{Damage, EventRun, ReadError, ReadLog};
use annals_verify::chain::{self, Break, ChainState};
use tokio::sync::{Mutex as RunLock, Semaphore};

use crate::app::{Interrupted, ReadFailed, blocking};

const READ_BYTES: usize = 1024 * 1024;
/// Bytes that one step of a run reads, about.
const STEP_BYTES: usize = 16 * 1024 * 1024;

/// Checks one log's chain.
pub(crate) struct Verifier {
    reader: Arc<dyn ReadLog>,
    /// Shared with the other logs' verifiers: one for each step that reads at the moment.
    turns: Arc<Semaphore>,
    watermark: RunLock<ChainState>,
    /// The last full run that went through to its end: its number.
    full: RunLock<u64>,
    full_runs_started: AtomicU64,
    broken: Mutex<Option<Verification>>,
}

impl Verifier {
    /// No more steps at once than there are `turns`.
    pub(crate) fn new(reader: Arc<dyn ReadLog>, turns: Arc<Semaphore>) -> Self {
        Self {
            reader,
            turns,
            watermark: RunLock::new(ChainState::start()),
            full: RunLock::new(0),
            full_runs_started: AtomicU64::new(0),
            broken: Mutex::new(None),
        }
    }

    /// Checks what has not been checked yet, up to the head of this moment.
    ///
    /// # Errors
    /// When the storage can not be read; damage is not an error but a break.
    pub(crate) async fn verify(&self) -> Result<Verification, ReadFailed> {
        let target = self.reader.head().size;
        // Whoever holds the lock works for all who wait: they find the watermark moved.
        let mut watermark = self.watermark.lock().await;
        self.advance(&mut watermark, target).await?;
        Ok(self.verdict(target))
    }

    /// Reads everything again, from the first event up to the head of this moment, unless a run that began after this
    /// moment has done so.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub(crate) async fn verify_fully(&self) -> Result<Verification, ReadFailed> {
        let target = self.reader.head().size;
        let started_before = self.full_runs_started.load(Ordering::SeqCst);
        let mut last_through = self.full.lock().await;
        if *last_through <= started_before {
            let run = self.full_runs_started.fetch_add(1, Ordering::SeqCst) + 1;
            let size = self.reader.head().size;
            self.advance(&mut ChainState::start(), size).await?;
            *last_through = run;
        }
        Ok(self.verdict(target))
    }

    /// Moves `state` to `target`, or to the first break, in steps that a caller who goes away can interrupt.
    async fn advance(&self, state: &mut ChainState, target: TreeSize) -> Result<(), ReadFailed> {
        while target.contains(state.next) && self.known_break().is_none() {
            let turn = Arc::clone(&self.turns).acquire_owned();
            let turn = turn.await.map_err(|_| Interrupted)?;
            let (reader, mut at) = (Arc::clone(&self.reader), *state);
            let (at, result) = blocking(move || {
                let _turn = turn;
                let result = check_some(&*reader, &mut at, target);
                (at, result)
            })
            .await?;
            *state = at;
            match result {
                Ok(()) => {}
                Err(Stop::Read(error)) => return Err(error.into()),
                Err(Stop::Break(found)) => {
                    self.remember(&at, found);
                    return Ok(());
                }
                Err(Stop::Damage(damage)) => {
                    self.remember_damage(&at, &damage);
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn verdict(&self, target: TreeSize) -> Verification {
        self.known_break().unwrap_or(Verification {
            valid: true,
            checked: target.0,
            first_break_at: None,
            reason: None,
            damage: None,
        })
    }

    fn known_break(&self) -> Option<Verification> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember(&self, at: &ChainState, found: Break) {
        tracing::error!(event = %found.event, reason = found.reason, "integrity failure: the chain is broken");
        self.set_broken(at, found.event.get(), found.reason, None);
    }

    /// Bytes that the storage knows to be other than those that were sealed: in the seed's words a wrong hash.
    fn remember_damage(&self, at: &ChainState, damage: &Damage) {
        tracing::error!(%damage, "integrity failure: the storage is damaged");
        let event = damage.event.get().max(at.next.get());
        self.set_broken(
            at,
            event,
            format!("hash mismatch at event #{event}"),
            Some(damage.to_string()),
        );
    }

    fn set_broken(&self, at: &ChainState, event: u64, reason: String, damage: Option<String>) {
        let found = Verification {
            valid: false,
            checked: at.checked(),
            first_break_at: Some(event),
            reason: Some(reason),
            damage,
        };
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
    }
}

/// Why a step ended early.
enum Stop {
    Break(Break),
    Damage(Damage),
    Read(ReadError),
}

/// Checks a bounded part of what lies between `state` and `target`.
fn check_some(reader: &dyn ReadLog, state: &mut ChainState, target: TreeSize) -> Result<(), Stop> {
    let mut bytes = 0;
    while target.contains(state.next) && bytes < STEP_BYTES {
        let run = read_up_to_damage(reader, state.next)?;
        if run.is_empty() {
            let missing = format!(
                "event {} is not there although the log's head is past it",
                state.next
            );
            return Err(Stop::Read(ReadError::Io(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                missing,
            ))));
        }
        chain::check_run(state, &run).map_err(Stop::Break)?;
        bytes += run.iter().map(|event| event.body.len()).sum::<usize>();
    }
    Ok(())
}

/// Reads on. Where a large read meets damage, a small one still gets what lies before it.
fn read_up_to_damage(reader: &dyn ReadLog, from: EventId) -> Result<EventRun, Stop> {
    match reader.read(from, READ_BYTES) {
        Err(ReadError::Damaged(damage)) if damage.event > from => reader.read(from, 1),
        result => result,
    }
    .map_err(|error| match error {
        ReadError::Damaged(damage) => Stop::Damage(damage),
        error @ ReadError::Io(_) => Stop::Read(error),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use annals_core::chain::Head;
    use annals_log::{LogOptions, SystemClock};
    use annals_testkit::events;
    use annals_testkit::memory::{LOG, MemoryEngine};
    use futures_util::future::{self, join_all};

    use super::*;

    /// Counts the events that are read, from the moment on when all callers have come.
    struct Counting {
        reader: Arc<dyn ReadLog>,
        events: AtomicU64,
        all_have_come: OnceLock<()>,
    }

    impl ReadLog for Counting {
        fn head(&self) -> Head {
            self.reader.head()
        }

        fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
            self.all_have_come.wait();
            let run = self.reader.read(from, bytes_max)?;
            self.events.fetch_add(run.len() as u64, Ordering::SeqCst);
            Ok(run)
        }
    }

    /// Wants a turn to be taken whenever it is read.
    struct InTurn {
        reader: Arc<dyn ReadLog>,
        turns: Arc<Semaphore>,
    }

    impl ReadLog for InTurn {
        fn head(&self) -> Head {
            self.reader.head()
        }

        fn read(&self, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
            assert_eq!(self.turns.available_permits(), 0, "read out of turn");
            self.reader.read(from, bytes_max)
        }
    }

    /// Red when: `advance` gives the turn back before the step has read.
    #[tokio::test]
    async fn nothing_is_read_out_of_turn() {
        let engine = MemoryEngine::default();
        let clock = Box::new(SystemClock);
        let (log, _sequencer) =
            annals_log::start(engine.journal(), LOG, clock, LogOptions::default()).unwrap();
        log.append(events::batch(500, 1)).unwrap().await.unwrap();
        let turns = Arc::new(Semaphore::new(1));
        let verifiers = [(); 3].map(|()| {
            let (reader, turns) = (engine.reader(), Arc::clone(&turns));
            let reader = Arc::new(InTurn {
                reader,
                turns: Arc::clone(&turns),
            });
            Verifier::new(reader, turns)
        });
        for verdict in join_all(verifiers.iter().map(Verifier::verify)).await {
            assert_eq!(verdict.unwrap().checked, 500);
        }
        assert_eq!(turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_burst_of_full_checks_shares_two_runs() {
        let engine = MemoryEngine::default();
        let clock = Box::new(SystemClock);
        let (log, _sequencer) =
            annals_log::start(engine.journal(), LOG, clock, LogOptions::default()).unwrap();
        log.append(events::batch(500, 1)).unwrap().await.unwrap();
        let counting = Arc::new(Counting {
            reader: engine.reader(),
            events: AtomicU64::new(0),
            all_have_come: OnceLock::new(),
        });
        let turns = Arc::new(Semaphore::new(1));
        let verifier = Verifier::new(Arc::clone(&counting) as Arc<dyn ReadLog>, turns);
        // All arrive before the first run reads anything: the second caller can not use that one, because it began before
        // he came; the others use his. On one thread what stands behind the callers runs after each of them was polled.
        let (verdicts, ()) = future::join(join_all((0..8).map(|_| verifier.verify_fully())), async {
            counting.all_have_come.set(()).expect("set once");
        })
        .await;
        assert!(
            verdicts
                .into_iter()
                .all(|verdict| verdict.unwrap().checked == 500)
        );
        // Red when: `verify_fully` does not look at `last_through`.
        assert_eq!(counting.events.load(Ordering::SeqCst), 2 * 500);
    }
}

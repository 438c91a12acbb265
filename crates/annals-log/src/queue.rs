//! The bounded queue between appenders and the sequencer, and the log's state, which decides who may enter it.
//!
//! Invariants:
//! - State and queue change under one lock: after a change that refuses appends, nothing enters any more, and whatever
//!   waited was either left for the sequencer (stopping) or answered (recovering, damaged).
//! - No foreign code runs under the lock except wakers, which only schedule.
//! - A stop that was asked for is never forgotten: no later state lets appends in again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use annals_core::canonical::CanonicalBatch;
use tokio::sync::{oneshot, watch};

use crate::LogState;
use crate::error::{AppendError, Fatal};
use crate::receipt::{Answer, Pending};

/// An accepted batch and the way back to its caller. Dropped without an answer, its caller hears `Unknown`.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) batch: CanonicalBatch,
    answer: oneshot::Sender<Answer>,
}

impl Request {
    /// Answers the caller, if it still listens.
    pub(crate) fn answer(self, answer: Answer) {
        // A caller that went away (a closed connection) is not an error: its batch was accepted all the same.
        drop(self.answer.send(answer));
    }

    fn bytes(&self) -> usize {
        self.batch.sealed_bytes_max()
    }
}

/// What the sequencer should do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Commit these, at least one.
    Group(Vec<Request>),
    /// Nothing came for as long as was asked.
    Idle,
    /// Nothing waits and nothing will come.
    Stop,
}

/// How much may wait.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) batches_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) retry_after: Duration,
}

#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    inner: Mutex<Inner>,
    /// Wakes the sequencer, the only one that waits on it.
    work: Condvar,
}

#[derive(Debug)]
struct Inner {
    waiting: VecDeque<Request>,
    waiting_bytes: usize,
    state: watch::Sender<LogState>,
    stop_asked: bool,
    /// Whether the sequencer sleeps: a wakeup is a system call, so it is only made when somebody needs it.
    sequencer_sleeps: bool,
}

/// The appenders' side.
impl Queue {
    pub(crate) fn new(bounds: Bounds, state: watch::Sender<LogState>) -> Self {
        let inner = Inner {
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            state,
            stop_asked: false,
            sequencer_sleeps: false,
        };
        Self {
            bounds,
            inner: Mutex::new(inner),
            work: Condvar::new(),
        }
    }

    pub(crate) fn offer(&self, batch: CanonicalBatch) -> Result<Pending, AppendError> {
        if batch.is_empty() {
            return Err(AppendError::Empty);
        }
        let bytes = batch.sealed_bytes_max();
        if bytes > self.bounds.batch_bytes_max {
            let bytes_max = self.bounds.batch_bytes_max as u64;
            return Err(AppendError::TooLarge {
                bytes: bytes as u64,
                bytes_max,
            });
        }
        let mut inner = self.lock();
        if let Some(refusal) = self.refusal(&inner.state.borrow()) {
            return Err(refusal);
        }
        if inner.waiting.len() >= self.bounds.batches_max
            || inner.waiting_bytes + bytes > self.bounds.bytes_max
        {
            return Err(AppendError::Busy {
                retry_after: self.bounds.retry_after,
            });
        }
        let (answer, answered) = oneshot::channel();
        inner.waiting_bytes += bytes;
        inner.waiting.push_back(Request { batch, answer });
        self.unlock_and_wake(inner);
        Ok(Pending::new(answered))
    }

    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stop_asked = true;
        if matches!(*inner.state.borrow(), LogState::Running | LogState::Recovering) {
            inner.set(LogState::Stopping);
        }
        self.unlock_and_wake(inner);
    }

    /// The one mapping from a state to what appenders hear in it.
    fn refusal(&self, state: &LogState) -> Option<AppendError> {
        match state {
            LogState::Running => None,
            LogState::Recovering => Some(AppendError::Recovering {
                retry_after: self.bounds.retry_after,
            }),
            LogState::Damaged(fatal) => Some(AppendError::Damaged(Arc::clone(fatal))),
            LogState::Stopping | LogState::Stopped => Some(AppendError::Stopped),
        }
    }
}

/// The sequencer's side.
impl Queue {
    /// Waits for work: what waits, up to `group_bytes_max` but at least one request; `Idle` when nothing came for
    /// `idle_after`; `Stop` once a stop was asked and nothing waits.
    pub(crate) fn next(&self, group_bytes_max: usize, idle_after: Option<Duration>) -> Work {
        let idle_at = idle_after.and_then(|after| Instant::now().checked_add(after));
        let mut inner = self.lock();
        loop {
            if !inner.waiting.is_empty() {
                return Work::Group(inner.take_group(group_bytes_max));
            }
            if inner.stop_asked {
                return Work::Stop;
            }
            if idle_at.is_some_and(|at| at <= Instant::now()) {
                return Work::Idle;
            }
            inner = self.sleep(inner, idle_at);
        }
    }

    /// Puts a group back in front, as it was.
    pub(crate) fn put_back(&self, group: Vec<Request>) {
        let mut inner = self.lock();
        for request in group.into_iter().rev() {
            inner.waiting_bytes += request.bytes();
            inner.waiting.push_front(request);
        }
    }

    /// Waits for `pause`, or less when a stop is asked; says whether one was.
    pub(crate) fn stop_asked_within(&self, pause: Duration) -> bool {
        let until = Instant::now().checked_add(pause);
        let mut inner = self.lock();
        while !inner.stop_asked && until.is_none_or(|until| Instant::now() < until) {
            inner = self.sleep(inner, until);
        }
        inner.stop_asked
    }

    /// Waits until a stop is asked.
    pub(crate) fn wait_for_stop(&self) {
        let mut inner = self.lock();
        while !inner.stop_asked {
            inner = self.sleep(inner, None);
        }
    }

    /// Refuses appends until [`Self::set_running`]; what waits is answered as not stored.
    pub(crate) fn set_recovering(&self) {
        self.close(LogState::Recovering);
    }

    /// Lets appends in again, unless a stop was asked meanwhile.
    pub(crate) fn set_running(&self) {
        let inner = self.lock();
        if !inner.stop_asked {
            inner.set(LogState::Running);
        }
    }

    /// Refuses appends for good; what waits is answered as not stored.
    pub(crate) fn set_damaged(&self, fatal: &Arc<Fatal>) {
        self.close(LogState::Damaged(Arc::clone(fatal)));
    }

    /// Says that the sequencer has let go of the journal. Damage stays to be seen.
    pub(crate) fn set_stopped(&self) {
        self.close(LogState::Stopped);
    }

    fn close(&self, state: LogState) {
        let mut inner = self.lock();
        let keep = match *inner.state.borrow() {
            LogState::Damaged(_) => true,
            LogState::Stopping => state == LogState::Recovering,
            LogState::Running | LogState::Recovering | LogState::Stopped => false,
        };
        if !keep {
            inner.set(state);
        }
        let refusal = self.refusal(&inner.state.borrow());
        let waiting = std::mem::take(&mut inner.waiting);
        inner.waiting_bytes = 0;
        drop(inner);
        let refusal = refusal.unwrap_or(AppendError::Stopped);
        for request in waiting {
            request.answer(Err(refusal.clone()));
        }
    }

    fn sleep<'a>(&self, mut inner: MutexGuard<'a, Inner>, until: Option<Instant>) -> MutexGuard<'a, Inner> {
        inner.sequencer_sleeps = true;
        let mut inner = match until {
            None => self.work.wait(inner).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let pause = until.saturating_duration_since(Instant::now());
                self.work
                    .wait_timeout(inner, pause)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0
            }
        };
        inner.sequencer_sleeps = false;
        inner
    }

    /// Unlocks first: a sequencer that is woken under the lock would go to sleep on it at once.
    fn unlock_and_wake(&self, mut inner: MutexGuard<'_, Inner>) {
        let wake = std::mem::take(&mut inner.sequencer_sleeps);
        drop(inner);
        if wake {
            self.work.notify_one();
        }
    }

    /// No change of the queue can panic half-way, so a poisoned lock holds sound data.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn set(&self, state: LogState) {
        self.state.send_replace(state);
    }

    fn take_group(&mut self, group_bytes_max: usize) -> Vec<Request> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(next) = self.waiting.front() {
            bytes += next.bytes();
            if bytes > group_bytes_max && !group.is_empty() {
                break;
            }
            group.extend(self.waiting.pop_front());
        }
        self.waiting_bytes -= group.iter().map(Request::bytes).sum::<usize>();
        group
    }
}

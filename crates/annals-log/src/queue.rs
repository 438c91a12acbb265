//! The bounded queue between appenders and the sequencer, and the state of the logs, which decides who may enter it.
//!
//! Each log has a lane. Turns go round the lanes that have something waiting, one batch a turn, so what a log waits for is
//! bounded by how many logs wait, not by how much they have waiting.
//!
//! Invariants:
//! - State and queue change under one lock: after a change that refuses appends, nothing enters any more, and whatever
//!   waited was either left for the sequencer (stopping) or answered (recovering, damaged).
//! - A lane has at most as much waiting as the queue has free: one log takes half of the queue at most, ten take ten elevenths,
//!   and a log that has nothing waiting gets in while anything is free. A log that is alone may have all of it.
//! - A lane has exactly one turn while it has something waiting, and none otherwise. Every step is O(1) in logs and batches.
//! - No foreign code runs under the lock except wakers, which only schedule.
//! - A stop that was asked for is never forgotten: no later state lets appends in again.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::LogState;
use crate::error::{AppendError, CreateError, Fatal};
use crate::request::{Creation, Request};

/// A log's place in the queue: from 0, in the order in which they came.
pub(crate) type LaneIndex = usize;

/// What the sequencer should do next.
#[derive(Debug)]
pub(crate) enum Work {
    /// Commit these, at least one.
    Group(Vec<Part>),
    /// Make a log.
    Create(Creation),
    /// Nothing came for as long as was asked.
    Idle,
    /// Nothing waits and nothing will come.
    Stop,
}

/// One log's share of a group: at least one request, in the order in which they came.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) lane: LaneIndex,
    pub(crate) requests: Vec<Request>,
}

/// How much may wait.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) bytes_max: usize,
    pub(crate) batches_max: usize,
    pub(crate) batch_bytes_max: usize,
    pub(crate) logs_max: usize,
    pub(crate) retry_after: Duration,
}

/// Logs that may wait to be made.
const CREATIONS_MAX: usize = 64;

#[derive(Debug)]
pub(crate) struct Queue {
    bounds: Bounds,
    inner: Mutex<Inner>,
    /// Wakes the sequencer, the only one that waits on it.
    work: Condvar,
}

#[derive(Debug)]
struct Inner {
    lanes: Vec<Lane>,
    /// The lanes with something waiting, the next one in turn first.
    turns: VecDeque<LaneIndex>,
    waiting: usize,
    waiting_bytes: usize,
    creations: VecDeque<Creation>,
    /// Whether the last work was a creation: batches then go first.
    created_last: bool,
    state: watch::Sender<LogState>,
    stop_asked: bool,
    /// Whether the sequencer sleeps: a wakeup is a system call, so it is only made when somebody needs it.
    sequencer_sleeps: bool,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<Request>,
    bytes: usize,
    /// How many of them go into the group that is being taken; 0 otherwise.
    taken: usize,
}

/// The appenders' side.
impl Queue {
    pub(crate) fn new(bounds: Bounds, state: watch::Sender<LogState>) -> Self {
        let inner = Inner {
            lanes: Vec::new(),
            turns: VecDeque::new(),
            waiting: 0,
            waiting_bytes: 0,
            creations: VecDeque::new(),
            created_last: false,
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

    pub(crate) fn offer(&self, lane: LaneIndex, request: Request) -> Result<(), AppendError> {
        if request.batch.is_empty() {
            return Err(AppendError::Empty);
        }
        let bytes = request.bytes();
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
        if !inner.has_room(lane, bytes, &self.bounds) {
            return Err(AppendError::Busy {
                retry_after: self.bounds.retry_after,
            });
        }
        inner.push(lane, request, bytes);
        self.unlock_and_wake(inner);
        Ok(())
    }

    pub(crate) fn offer_creation(&self, creation: Creation) -> Result<(), CreateError> {
        let mut inner = self.lock();
        if let Some(refusal) = self.refusal(&inner.state.borrow()) {
            return Err(CreateError::from_refusal(&refusal));
        }
        if inner.lanes.len() >= self.bounds.logs_max {
            return Err(self.too_many_logs());
        }
        if inner.creations.len() >= CREATIONS_MAX {
            return Err(CreateError::Busy {
                retry_after: self.bounds.retry_after,
            });
        }
        inner.creations.push_back(creation);
        self.unlock_and_wake(inner);
        Ok(())
    }

    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stop_asked = true;
        if matches!(*inner.state.borrow(), LogState::Running | LogState::Recovering) {
            inner.set(LogState::Stopping);
        }
        self.unlock_and_wake(inner);
    }

    fn too_many_logs(&self) -> CreateError {
        CreateError::TooMany {
            logs_max: self.bounds.logs_max,
        }
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
    /// One more lane; only the sequencer adds them.
    pub(crate) fn add_lane(&self) -> LaneIndex {
        let mut inner = self.lock();
        inner.lanes.push(Lane::default());
        inner.lanes.len() - 1
    }

    /// Why there can't be one more log, if so: several creations may have waited when there was room for one.
    pub(crate) fn full_of_logs(&self) -> Option<CreateError> {
        let full = self.lock().lanes.len() >= self.bounds.logs_max;
        full.then(|| self.too_many_logs())
    }

    /// Waits for work: what waits, up to `group_bytes_max` but at least one request; `Idle` when nothing came for
    /// `idle_after`; `Stop` once a stop was asked and nothing waits. Creations and groups go in turns.
    pub(crate) fn next(&self, group_bytes_max: usize, idle_after: Option<Duration>) -> Work {
        let idle_at = idle_after.and_then(|after| Instant::now().checked_add(after));
        let mut inner = self.lock();
        loop {
            let creations_first = !inner.created_last || inner.turns.is_empty();
            if creations_first && let Some(creation) = inner.creations.pop_front() {
                inner.created_last = true;
                return Work::Create(creation);
            }
            if !inner.turns.is_empty() {
                inner.created_last = false;
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
    pub(crate) fn put_back(&self, group: Vec<Part>) {
        let mut inner = self.lock();
        for part in group.into_iter().rev() {
            inner.put_back(part);
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
        let waiting = inner.take_all();
        let creations = std::mem::take(&mut inner.creations);
        drop(inner);
        let refusal = refusal.unwrap_or(AppendError::Stopped);
        for request in waiting.into_iter().flat_map(|part| part.requests) {
            request.refuse(&refusal);
        }
        for creation in creations {
            creation.answer(Err(CreateError::from_refusal(&refusal)));
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

    fn has_room(&self, lane: LaneIndex, bytes: usize, bounds: &Bounds) -> bool {
        let free = bounds.batches_max.saturating_sub(self.waiting);
        let free_bytes = bounds.bytes_max.saturating_sub(self.waiting_bytes);
        if free == 0 || bytes > free_bytes {
            return false;
        }
        let lane = &self.lanes[lane];
        self.lanes.len() == 1 || (lane.waiting.len() < free && lane.bytes + bytes <= free_bytes)
    }

    fn push(&mut self, lane: LaneIndex, request: Request, bytes: usize) {
        self.waiting += 1;
        self.waiting_bytes += bytes;
        if self.lanes[lane].push_back(request, bytes) == 1 {
            self.turns.push_back(lane);
        }
    }

    /// Lets the lanes choose in turns until the group is full, then takes from each lane what it chose, in one run.
    fn take_group(&mut self, group_bytes_max: usize) -> Vec<Part> {
        let mut chosen = Vec::new();
        let mut group_bytes = 0;
        while let Some(&turn) = self.turns.front() {
            let lane = &mut self.lanes[turn];
            let bytes = lane.waiting[lane.taken].bytes();
            if group_bytes + bytes > group_bytes_max && group_bytes > 0 {
                break;
            }
            group_bytes += bytes;
            self.turns.pop_front();
            if lane.taken == 0 {
                chosen.push(turn);
            }
            lane.taken += 1;
            if lane.taken < lane.waiting.len() {
                self.turns.push_back(turn);
            }
        }
        chosen.into_iter().map(|lane| self.take(lane)).collect()
    }

    fn take_all(&mut self) -> Vec<Part> {
        let turns = std::mem::take(&mut self.turns);
        let all = turns.into_iter().map(|lane| {
            self.lanes[lane].taken = self.lanes[lane].waiting.len();
            self.take(lane)
        });
        all.collect()
    }

    /// What the lane has chosen.
    fn take(&mut self, lane: LaneIndex) -> Part {
        let requests = self.lanes[lane].take();
        let bytes = requests.iter().map(Request::bytes).sum::<usize>();
        self.lanes[lane].bytes -= bytes;
        self.waiting_bytes -= bytes;
        self.waiting -= requests.len();
        Part { lane, requests }
    }

    fn put_back(&mut self, part: Part) {
        if self.lanes[part.lane].waiting.is_empty() {
            self.turns.push_front(part.lane);
        }
        for request in part.requests.into_iter().rev() {
            let bytes = request.bytes();
            self.waiting += 1;
            self.waiting_bytes += bytes;
            self.lanes[part.lane].bytes += bytes;
            self.lanes[part.lane].waiting.push_front(request);
        }
    }
}

impl Lane {
    /// Batches whose room a lane keeps when it is empty: a thousand lanes that were once full would keep too much.
    const KEPT: usize = 64;

    /// Says how many wait now.
    fn push_back(&mut self, request: Request, bytes: usize) -> usize {
        self.bytes += bytes;
        self.waiting.push_back(request);
        self.waiting.len()
    }

    fn take(&mut self) -> Vec<Request> {
        let taken = std::mem::take(&mut self.taken);
        let requests = self.waiting.drain(..taken).collect();
        if self.waiting.is_empty() {
            self.waiting.shrink_to(Self::KEPT);
        }
        requests
    }
}

//! A whole log, on several threads: ranges of ids are read and checked independently, then stitched together.
//!
//! Invariants: the verdict is that of checking one event after the other, also when several places are damaged: the
//! lowest one is named. Memory is bounded by one read a thread. A range starts from the stored hash of the event before
//! it, and that hash is compared with the one that the range before has re-computed; so no link goes unchecked.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use annals_core::chain::{EventId, Head};
use annals_store::{EventRun, ReadError, ReadLog};

use crate::chain::{Break, ChainState};
use crate::report::{Checkpoint, Freshness, Verdict};
use crate::strict::{AuditState, Level};

/// How to audit.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What to check of each event.
    pub level: Level,
    /// Number of threads.
    pub threads: NonZeroUsize,
    /// Most events in one range; ranges are what threads take turns at.
    pub range_events_max: u64,
    /// Most bytes of bodies that one thread asks for at once.
    pub read_bytes_max: usize,
}

impl Options {
    /// Uses every core that the process may use.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self {
            level,
            threads: thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            range_events_max: 1 << 16,
            read_bytes_max: 4 << 20,
        }
    }
}

/// What has been checked so far, by all threads together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Progress {
    /// Events.
    pub events: u64,
    /// Bytes of bodies.
    pub bytes: u64,
}

/// Audits the log up to the head that it has now, and compares it with the `held` checkpoint. `on_progress` is called
/// from every thread, about once a read.
pub fn audit(
    log: &dyn ReadLog,
    held: Option<&Checkpoint>,
    options: &Options,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Verdict {
    let head = log.head();
    match check_up_to(log, head, options, on_progress).and_then(|()| compare(log, head, held)) {
        Ok(freshness) => Verdict::Intact {
            size: head.size,
            head: head.hash,
            freshness,
        },
        Err(Stop::Broken { checked, at }) => Verdict::Broken { checked, at },
        Err(Stop::Unreadable { event, error }) => Verdict::Incomplete {
            checked: event.get() - 1,
            reason: format!("event #{event} can not be read: {error}"),
        },
    }
}

/// Why a check ended early.
enum Stop {
    Broken { checked: u64, at: Break },
    Unreadable { event: EventId, error: io::Error },
}

impl From<Break> for Stop {
    fn from(at: Break) -> Self {
        Self::Broken {
            checked: at.event.get() - 1,
            at,
        }
    }
}

fn check_up_to(
    log: &dyn ReadLog,
    head: Head,
    options: &Options,
    on_progress: &(dyn Fn(Progress) + Sync),
) -> Result<(), Stop> {
    let Some(last) = head.size.last() else {
        return Ok(());
    };
    let threads = options.threads.get() as u64;
    let events_each = (head.size.0 / (threads * 4)).clamp(1, options.range_events_max.max(1));
    let ranges = head.size.0.div_ceil(events_each);
    let job = Job {
        log,
        options,
        on_progress,
        last,
        events_each,
        taken: AtomicU64::new(0),
        ends_at: AtomicU64::new(ranges),
        events: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        seams: Mutex::new(Vec::new()),
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(ranges) {
            scope.spawn(|| job.work());
        }
        job.work();
    });
    let end = stitch(
        job.seams
            .into_inner()
            .unwrap_or_else(|poisoned| poisoned.into_inner()),
    )?;
    if end.chain.prev != head.hash {
        return Err(Break::at(last, "the head's hash is not that of the last event").into());
    }
    Ok(())
}

/// Puts the ranges' results together: in order, each starting where the one before it ended.
fn stitch(mut seams: Vec<Seam>) -> Result<AuditState, Stop> {
    seams.sort_unstable_by_key(|seam| seam.range);
    let mut before = AuditState::start();
    for seam in seams {
        if seam.start.is_some_and(|start| start != before) {
            return Err(Break::at(before.chain.next, "prev_hash mismatch").into());
        }
        before = seam.end?;
    }
    Ok(before)
}

/// What one range was assumed to start from (`None`: that could not be read), and what came out.
struct Seam {
    range: u64,
    start: Option<AuditState>,
    end: Result<AuditState, Stop>,
}

/// What the threads share.
struct Job<'a> {
    log: &'a dyn ReadLog,
    options: &'a Options,
    on_progress: &'a (dyn Fn(Progress) + Sync),
    last: EventId,
    events_each: u64,
    /// Ranges that some thread has taken, in ascending order.
    taken: AtomicU64,
    /// Ranges from this one on are of no interest: either there are none, or one before them has failed.
    ends_at: AtomicU64,
    events: AtomicU64,
    bytes: AtomicU64,
    seams: Mutex<Vec<Seam>>,
}

impl Job<'_> {
    fn work(&self) {
        loop {
            let range = self.taken.fetch_add(1, Ordering::Relaxed);
            if range >= self.ends_at.load(Ordering::Relaxed) {
                return;
            }
            let Some(seam) = self.check_range(range) else {
                return;
            };
            if seam.end.is_err() {
                self.ends_at.fetch_min(range + 1, Ordering::Relaxed);
            }
            self.seams
                .lock()
                .unwrap_or_else(|poisoned| poisoned.into_inner())
                .push(seam);
        }
    }

    /// `None` when the range turned out to be of no interest.
    fn check_range(&self, range: u64) -> Option<Seam> {
        let first = EventId::FIRST.plus(range * self.events_each);
        let last = first.plus(self.events_each - 1).min(self.last);
        let start = match self.state_before(first) {
            Ok(start) => start,
            Err(stop) => {
                return Some(Seam {
                    range,
                    start: None,
                    end: Err(stop),
                });
            }
        };
        let mut state = start;
        while state.chain.next <= last {
            if range >= self.ends_at.load(Ordering::Relaxed) {
                return None;
            }
            if let Err(stop) = self.check_next(&mut state, last) {
                return Some(Seam {
                    range,
                    start: Some(start),
                    end: Err(stop),
                });
            }
        }
        Some(Seam {
            range,
            start: Some(start),
            end: Ok(state),
        })
    }

    /// What the event before `first` says about itself.
    fn state_before(&self, first: EventId) -> Result<AuditState, Stop> {
        let Some(before) = EventId::new(first.get() - 1) else {
            return Ok(AuditState::start());
        };
        let run = read(self.log, before, 1)?;
        let event = run.get(0).ok_or_else(|| missing(before))?;
        Ok(AuditState {
            chain: ChainState {
                next: first,
                prev: event.hash,
            },
            received_at: event.received_at,
        })
    }

    /// Reads once and checks what came, up to `last`.
    fn check_next(&self, state: &mut AuditState, last: EventId) -> Result<(), Stop> {
        let from = state.chain.next;
        let run = read_intact(self.log, from, self.options.read_bytes_max)?;
        if run.is_empty() {
            return Err(missing(from));
        }
        let mut bytes = 0;
        for event in run.iter().take_while(|event| event.id <= last) {
            state.check_event(self.options.level, &event)?;
            bytes += event.body.len() as u64;
        }
        let events = state.chain.next.get() - from.get();
        let progress = Progress {
            events: self.events.fetch_add(events, Ordering::Relaxed) + events,
            bytes: self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes,
        };
        (self.on_progress)(progress);
        Ok(())
    }
}

fn compare(log: &dyn ReadLog, head: Head, held: Option<&Checkpoint>) -> Result<Freshness, Stop> {
    let Some(held) = held else {
        return Ok(Freshness::NotProven);
    };
    let found = if head.size.contains(held.event_id) {
        let run = read(log, held.event_id, 1)?;
        Some(run.get(0).ok_or_else(|| missing(held.event_id))?.hash)
    } else {
        None
    };
    held.compare(head.size, found)?;
    Ok(Freshness::ProvenUpTo(*held))
}

/// Reads from `from` on. A read that meets trouble further on is halved until it ends before it, so that what lies in
/// front of the trouble is checked as well: it may hide an earlier break.
fn read_intact(log: &dyn ReadLog, from: EventId, bytes_max: usize) -> Result<EventRun, Stop> {
    let mut bytes = bytes_max;
    loop {
        match log.read(from, bytes) {
            Err(_) if bytes > 1 => bytes /= 2,
            result => return result.map_err(|error| stop(from, error)),
        }
    }
}

fn read(log: &dyn ReadLog, from: EventId, bytes_max: usize) -> Result<EventRun, Stop> {
    log.read(from, bytes_max).map_err(|error| stop(from, error))
}

fn stop(from: EventId, error: ReadError) -> Stop {
    match error {
        ReadError::Io(error) => Stop::Unreadable { event: from, error },
        ReadError::Damaged(damage) => Stop::Broken {
            checked: from.get() - 1,
            at: Break {
                event: damage.event.max(from),
                reason: damage.to_string(),
            },
        },
    }
}

fn missing(event: EventId) -> Stop {
    Break::at(event, "no event is stored").into()
}

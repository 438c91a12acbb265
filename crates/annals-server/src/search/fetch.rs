//! Reading chosen events of one log: close ones together, distant ones each by itself.
//!
//! Invariant: one run of events is held at a time; a step reads about [`CHUNK_BYTES`], or one event. Descending ids are read
//! forwards in groups, because that is how events can be read, and a group that turns out heavy is made smaller.

use std::io;

use annals_core::chain::EventId;
use annals_store::{EventRun, Order, ReadError, ReadLog, StoredEvent};

/// Bytes that are read at once, about.
pub(super) const CHUNK_BYTES: usize = 256 * 1024;
/// So many ids that lie no more than [`SPREAD`] times as far apart are read together.
const TOGETHER: usize = 16;
const SPREAD: u64 = 4;
const GROUP_MAX: usize = 4096;

/// The last run that was read.
#[derive(Debug)]
pub(super) struct Fetch {
    run: Option<EventRun>,
    /// How many descending ids are read at once.
    group: usize,
}

impl Fetch {
    pub(super) fn new() -> Self {
        Self {
            run: None,
            group: TOGETHER,
        }
    }

    /// The event, when it is in the run at hand.
    pub(super) fn event(&self, id: EventId) -> Option<StoredEvent<'_>> {
        let run = self.run.as_ref()?;
        let first = run.get(0)?.id;
        run.get(usize::try_from(id.get().checked_sub(first.get())?).ok()?)
    }

    /// Lets go of the run.
    pub(super) fn release(&mut self) {
        self.run = None;
    }

    /// Reads a run that has the event `upcoming(0)`, and some of those that follow in `order`. Returns the bytes that were read.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn read(
        &mut self,
        log: &dyn ReadLog,
        wanted: EventId,
        upcoming: impl Fn(usize) -> Option<EventId>,
        order: Order,
    ) -> Result<u64, ReadError> {
        let are_close = |index: usize| {
            let spread = |other: EventId| other.get().abs_diff(wanted.get());
            upcoming(index).filter(|other| spread(*other) <= SPREAD * index as u64)
        };
        if order == Order::OldestFirst {
            let bytes_max = if are_close(TOGETHER).is_some() {
                CHUNK_BYTES
            } else {
                1
            };
            return Ok(self.keep(read(log, wanted, bytes_max)?));
        }
        let (mut group, mut bytes) = (self.group, 0);
        loop {
            // The widest group, of those halved, that there is and that lies together.
            while group > 1 && are_close(group - 1).is_none() {
                group /= 2;
            }
            let first = if group > 1 { are_close(group - 1) } else { None };
            let bytes_max = if first.is_some() { CHUNK_BYTES } else { 1 };
            let run = read(log, first.unwrap_or(wanted), bytes_max)?;
            let (reaches, has_room) = (run.next_id() > wanted, run.len() >= 2 * group);
            bytes += self.keep(run);
            if reaches {
                // Twice as many would have come, too.
                if group == self.group && has_room {
                    self.group = (group * 2).min(GROUP_MAX);
                }
                return Ok(bytes);
            }
            group /= 2;
            self.group = group.max(2);
        }
    }

    fn keep(&mut self, run: EventRun) -> u64 {
        let bytes = run.iter().map(|event| event.body.len() as u64).sum();
        self.run = Some(run);
        bytes
    }
}

/// Reads on, and takes an answer that goes nowhere for what it is: the head says that the event is there.
pub(super) fn read(log: &dyn ReadLog, from: EventId, bytes_max: usize) -> Result<EventRun, ReadError> {
    let run = log.read(from, bytes_max)?;
    if run.is_empty() {
        let missing = format!("event {from} is not there although the log's head is past it");
        return Err(ReadError::Io(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            missing,
        )));
    }
    Ok(run)
}

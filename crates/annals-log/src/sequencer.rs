//! The sequencer: one thread that owns the journal, the heads of its logs and what is known of retries.
//!
//! Invariants:
//! - A head is what the journal said last: it moves by a commit's `Ok` or a recovery's, never by hope. So do the cells.
//! - A change of state comes before the answers that it causes, and a new head before its receipts: whoever has an answer
//!   sees the world that it speaks of.
//! - Whatever ends the thread, the queue ends closed and every caller has an answer.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{Head, LogId};
use annals_core::seal::{SealedBatch, seal};
use annals_store::{Cell, CellTable, CommitError, CreateLogError, Journal, LogBatch, RecoverError, Recovery};
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::error::{AppendError, CreateError, Fatal};
use crate::options::LogOptions;
use crate::plan::Planner;
use crate::queue::{LaneIndex, Part, Queue, Work};
use crate::registry::{Entry, Registry};
use crate::request::{Creation, Request};

/// The thread that seals. Dropping it leaves the thread running; a [`crate::Logs`] or [`crate::Log`] stops it.
#[derive(Debug)]
pub struct Sequencer {
    thread: JoinHandle<Result<(), Arc<Fatal>>>,
}

impl Sequencer {
    /// Waits until the thread has ended and let go of the journal. It ends after [`crate::Logs::stop`] (or when the last
    /// `Logs` and `Log` is dropped), also when the logs are damaged.
    ///
    /// # Errors
    /// [`Fatal`] when the journal was damaged; nothing that has a receipt is affected by the stop.
    pub fn join(self) -> Result<(), Arc<Fatal>> {
        self.thread
            .join()
            .unwrap_or_else(|_| Err(Arc::new(Fatal::Panicked)))
    }
}

/// What the thread owns.
pub(crate) struct Sequencing {
    journal: Box<dyn Journal>,
    clock: Box<dyn Clock>,
    options: LogOptions,
    queue: Arc<Queue>,
    registry: Arc<Registry>,
    /// By lane.
    tails: Vec<Tail>,
    /// What is durable; a group's own cells come in with its commit.
    cells: CellTable,
    /// Shrinks when the engine says that it takes less.
    group_bytes_max: usize,
    /// How long nothing must wait before the journal settles; grows while settling fails.
    settle_pause: Duration,
    /// Whether something was committed since the journal settled.
    unsettled: bool,
    /// What the operator was told last, so that a full disk does not fill the logs as well.
    trouble: Trouble,
}

/// Where one log ends.
struct Tail {
    log: LogId,
    head: Head,
    publish: watch::Sender<Head>,
}

/// One log's share of a group, sealed.
struct Share {
    lane: LaneIndex,
    requests: Vec<Request>,
    sealed: Arc<SealedBatch>,
    cells: Vec<Cell>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    NoSpace,
    Storage,
    Backlog,
}

/// Before the thread runs.
impl Sequencing {
    pub(crate) fn new(
        mut journal: Box<dyn Journal>,
        clock: Box<dyn Clock>,
        options: LogOptions,
        queue: Arc<Queue>,
        registry: Arc<Registry>,
    ) -> Self {
        let cells = journal.take_cells();
        Self {
            group_bytes_max: options.group_bytes_max,
            settle_pause: options.settle_after,
            unsettled: false,
            trouble: Trouble::None,
            tails: Vec::new(),
            journal,
            clock,
            options,
            queue,
            registry,
            cells,
        }
    }

    /// Takes in a log that the journal has; `None` when it has not.
    pub(crate) fn adopt(&mut self, log: LogId) -> Option<Arc<Entry>> {
        let head = self.journal.head(log)?;
        let (publish, heads) = watch::channel(head);
        self.tails.push(Tail { log, head, publish });
        let lane = self.queue.add_lane();
        Some(self.registry.add(Entry { id: log, lane, heads }))
    }

    /// Takes in the logs of the journal that are not known yet.
    pub(crate) fn adopt_all(&mut self) {
        for manifest in self.journal.logs() {
            // A log that is listed but has no head can't be written; appenders don't find it.
            if self.registry.get(manifest.id).is_none() && self.adopt(manifest.id).is_none() {
                error!(log = %manifest.name, "the journal lists a log that it has no head of");
            }
        }
    }

    /// Starts the thread.
    pub(crate) fn spawn(self) -> std::io::Result<Sequencer> {
        let thread = thread::Builder::new()
            .name("annals-sequencer".into())
            .spawn(|| self.live())?;
        Ok(Sequencer { thread })
    }
}

/// The thread.
impl Sequencing {
    /// Its whole life.
    fn live(mut self) -> Result<(), Arc<Fatal>> {
        // What unwinding drops of a group has the outcome `Unknown`; the rest of the queue is answered by `fail`.
        let ended = match catch_unwind(AssertUnwindSafe(|| self.run())) {
            Ok(ended) => ended,
            Err(_) => Err(self.fail(Fatal::Panicked)),
        };
        if ended.is_err() {
            // Keeps the journal, and so the engine's lock: nobody else writes while this process still serves reads.
            self.queue.wait_for_stop();
        }
        let queue = Arc::clone(&self.queue);
        drop(self);
        queue.set_stopped();
        ended
    }

    fn run(&mut self) -> Result<(), Arc<Fatal>> {
        loop {
            let idle_after = self.unsettled.then_some(self.settle_pause);
            match self.queue.next(self.group_bytes_max, idle_after) {
                Work::Group(group) => self.commit(group)?,
                Work::Create(creation) => self.create(creation)?,
                Work::Idle => self.settle()?,
                Work::Stop => {
                    self.finish();
                    return Ok(());
                }
            }
        }
    }

    fn commit(&mut self, group: Vec<Part>) -> Result<(), Arc<Fatal>> {
        let shares = self.seal(group);
        if shares.is_empty() {
            return Ok(());
        }
        let batches: Vec<_> = shares.iter().map(|share| self.batch_of(share)).collect();
        let outcome = self.journal.commit(&batches);
        drop(batches);
        match outcome {
            Ok(()) => {
                self.publish_and_answer(shares);
                Ok(())
            }
            Err(failure) => self.refuse(&failure, shares),
        }
    }

    /// Decides what is new, and seals it. Who asks for what is durable already is answered here.
    fn seal(&self, group: Vec<Part>) -> Vec<Share> {
        let now = self.clock.now();
        let mut new_producers = 0;
        let mut shares = Vec::with_capacity(group.len());
        for Part { lane, requests } in group {
            let Tail { log, head, .. } = &self.tails[lane];
            let mut planner = Planner::new(&self.cells, *log, head, now, new_producers);
            let requests: Vec<Request> = requests
                .into_iter()
                .filter_map(|request| planner.plan(request))
                .collect();
            let events = planner.events();
            let cells;
            (cells, new_producers) = planner.finish();
            // Nobody waits for a group that adds nothing: see the planner's invariants.
            if events > 0 {
                let batches = requests.iter().filter_map(Request::to_seal);
                shares.push(Share {
                    lane,
                    sealed: Arc::new(seal(head, now, batches)),
                    requests,
                    cells,
                });
            }
        }
        shares
    }

    fn batch_of<'a>(&self, share: &'a Share) -> LogBatch<'a> {
        LogBatch {
            log: self.tails[share.lane].log,
            batch: &share.sealed,
            cells: &share.cells,
        }
    }

    fn publish_and_answer(&mut self, shares: Vec<Share>) {
        self.unsettled = true;
        if self.trouble != Trouble::None {
            self.trouble = Trouble::None;
            info!("commits succeed again");
        }
        for share in &shares {
            let tail = &mut self.tails[share.lane];
            tail.head = share.sealed.after();
            tail.publish.send_replace(tail.head);
            let (first, received_at) = (share.sealed.first_id(), share.sealed.received_at());
            for cell in &share.cells {
                self.cells.apply(tail.log, first, received_at, cell);
            }
        }
        for Share { requests, sealed, .. } in shares {
            let mut start = 0;
            for request in requests {
                match request.to_seal().map(CanonicalBatch::len) {
                    Some(events) => {
                        request.sealed(&sealed, start..start + events);
                        start += events;
                    }
                    None => request.waited(),
                }
            }
        }
    }

    /// The one mapping from a failed commit to what callers hear and what comes next.
    fn refuse(&mut self, failure: &CommitError, group: Vec<Share>) -> Result<(), Arc<Fatal>> {
        let retry_after = self.options.retry_after;
        match *failure {
            CommitError::NoSpace(_) => {
                self.complain(Trouble::NoSpace, failure);
                answer_all(group, &AppendError::NoSpace);
                Ok(())
            }
            CommitError::Storage(_) => {
                self.complain(Trouble::Storage, failure);
                answer_all(group, &AppendError::Storage { retry_after });
                Ok(())
            }
            CommitError::Backlog { .. } => {
                self.complain(Trouble::Backlog, failure);
                answer_all(group, &AppendError::Busy { retry_after });
                Ok(())
            }
            CommitError::TooLarge { bytes, bytes_max } => {
                self.shrink(bytes, bytes_max, group);
                Ok(())
            }
            CommitError::Unknown(_) | CommitError::NeedsRecovery => {
                error!(%failure, "a commit failed; recovering");
                self.queue.set_recovering();
                let answer = if failure.is_unknown() {
                    AppendError::Unknown
                } else {
                    AppendError::Recovering { retry_after }
                };
                answer_all(group, &answer);
                self.recover()
            }
            CommitError::Conflict { log, expected, found } => {
                Err(self.fail_group(Fatal::Fenced { log, expected, found }, group))
            }
            CommitError::NoSuchLog(log) => Err(self.fail_group(Fatal::NoSuchLog(log), group)),
        }
    }

    /// The engine takes less than a group at once: gathers less from here on. Only a batch that is too large alone is
    /// refused.
    fn shrink(&mut self, bytes: u64, bytes_max: u64, group: Vec<Share>) {
        let requests = || group.iter().flat_map(|share| &share.requests);
        if requests().count() == 1 {
            answer_all(group, &AppendError::TooLarge { bytes, bytes_max });
            return;
        }
        let gathered: usize = requests().map(Request::bytes).sum();
        let taken = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        // Half of what was gathered at most: it must get smaller, however the engine counts its bytes.
        self.group_bytes_max = taken.min(gathered / 2).max(1);
        warn!(bytes_max, "the engine takes smaller commits than configured");
        let parts = group
            .into_iter()
            .map(|Share { lane, requests, .. }| Part { lane, requests });
        self.queue.put_back(parts.collect());
    }

    /// Makes a log; from here on appenders find it.
    fn create(&mut self, creation: Creation) -> Result<(), Arc<Fatal>> {
        if let Some(full) = self.queue.full_of_logs() {
            creation.answer(Err(full));
            return Ok(());
        }
        match self.journal.create_log(&creation.name, self.clock.now()) {
            Ok(manifest) => {
                let Some(entry) = self.adopt(manifest.id) else {
                    let fatal = self.fail(Fatal::NoSuchLog(manifest.id));
                    creation.answer(Err(CreateError::Damaged(Arc::clone(&fatal))));
                    return Err(fatal);
                };
                info!(log = %manifest.name, id = %manifest.id, "a log was made");
                self.unsettled = true;
                creation.answer(Ok((entry, manifest)));
                Ok(())
            }
            Err(failure) => self.refuse_creation(failure, creation),
        }
    }

    /// As [`Self::refuse`], for a log.
    fn refuse_creation(&mut self, failure: CreateLogError, creation: Creation) -> Result<(), Arc<Fatal>> {
        let retry_after = self.options.retry_after;
        if !matches!(failure, CreateLogError::Exists(_)) {
            error!(log = %creation.name, %failure, "a log was not made");
        }
        let answer = match failure {
            CreateLogError::Exists(name) => CreateError::Exists(name),
            CreateLogError::NoSpace(_) => CreateError::NoSpace,
            CreateLogError::Storage(_) => CreateError::Storage { retry_after },
            CreateLogError::Unknown(_) => CreateError::Unknown,
            CreateLogError::NeedsRecovery => CreateError::Recovering { retry_after },
        };
        let recover = matches!(answer, CreateError::Unknown | CreateError::Recovering { .. });
        if recover {
            self.queue.set_recovering();
        }
        creation.answer(Err(answer));
        if recover { self.recover() } else { Ok(()) }
    }

    fn settle(&mut self) -> Result<(), Arc<Fatal>> {
        match self.journal.settle() {
            Ok(()) => {
                self.unsettled = false;
                self.settle_pause = self.options.settle_after;
                Ok(())
            }
            Err(failure) => {
                error!(%failure, "the journal could not settle; recovering");
                let pause_min = self.options.recover_pause_min;
                let pause = self.settle_pause.saturating_mul(2);
                self.settle_pause = pause.clamp(pause_min, self.options.recover_pause_max);
                self.queue.set_recovering();
                self.recover()
            }
        }
    }

    /// Until the journal knows what is stored, or a stop is asked. Nothing waits and nothing is accepted meanwhile.
    fn recover(&mut self) -> Result<(), Arc<Fatal>> {
        self.unsettled = false;
        let mut pause = self.options.recover_pause_min;
        loop {
            match self.journal.recover() {
                Ok(recovery) => return self.resume(&recovery),
                Err(RecoverError::Damaged(damage)) => return Err(self.fail(Fatal::Integrity(damage))),
                Err(RecoverError::Io(failure)) => {
                    error!(%failure, retry_in = ?pause, "the journal could not be recovered");
                }
            }
            if self.queue.stop_asked_within(pause) {
                return Ok(());
            }
            pause = pause.saturating_mul(2).min(self.options.recover_pause_max);
        }
    }

    /// Goes on from what recovery found: the sealed heads, or those of a commit whose outcome was unknown; the cells of
    /// whatever is durable now; and a log that was being made.
    fn resume(&mut self, recovery: &Recovery) -> Result<(), Arc<Fatal>> {
        let found = self.found_heads().map_err(|fatal| self.fail(fatal))?;
        self.cells = self.journal.take_cells();
        for (tail, found) in self.tails.iter_mut().zip(found) {
            if tail.head != found {
                warn!(log = %tail.log, sealed = %tail.head.size, found = %found.size, "recovery found events whose outcome was unknown");
                tail.head = found;
                tail.publish.send_replace(found);
            }
        }
        self.adopt_all();
        warn!(?recovery, "the journal has recovered");
        self.unsettled = true;
        self.queue.set_running();
        Ok(())
    }

    /// The heads that the journal has, each of which goes on from the one that was sealed.
    fn found_heads(&self) -> Result<Vec<Head>, Fatal> {
        let heads = self.tails.iter().map(
            |Tail {
                 log, head: sealed, ..
             }| {
                let found = self.journal.head(*log).ok_or(Fatal::NoSuchLog(*log))?;
                if continues(sealed, &found) {
                    return Ok(found);
                }
                Err(Fatal::LostHead {
                    log: *log,
                    sealed: *sealed,
                    found,
                })
            },
        );
        heads.collect()
    }

    /// Before the end: whatever fails here, the next start recovers by itself.
    fn finish(&mut self) {
        if !self.unsettled {
            return;
        }
        if let Err(failure) = self.journal.settle() {
            warn!(%failure, "the journal could not settle at the end; the next start will recover");
        }
    }

    fn fail(&self, fatal: Fatal) -> Arc<Fatal> {
        error!(%fatal, "the journal takes nothing more");
        let fatal = Arc::new(fatal);
        self.queue.set_damaged(&fatal);
        fatal
    }

    fn fail_group(&self, fatal: Fatal, group: Vec<Share>) -> Arc<Fatal> {
        let fatal = self.fail(fatal);
        answer_all(group, &AppendError::Damaged(Arc::clone(&fatal)));
        fatal
    }

    fn complain(&mut self, trouble: Trouble, failure: &CommitError) {
        if self.trouble != trouble {
            self.trouble = trouble;
            error!(%failure, "appends are refused");
        }
    }
}

/// Whether `found` can be the head of the log that had the head `sealed`.
fn continues(sealed: &Head, found: &Head) -> bool {
    found == sealed || (found.size > sealed.size && found.received_at >= sealed.received_at)
}

fn answer_all(group: Vec<Share>, refusal: &AppendError) {
    for request in group.into_iter().flat_map(|share| share.requests) {
        request.refuse(refusal);
    }
}

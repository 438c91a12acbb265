//! A running log and the handles that its tests need.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake};
use std::thread;
use std::time::Duration;

use annals_core::canonical::CanonicalBatch;
use annals_core::chain::{Head, LogId};
use annals_log::{AppendError, Fatal, Log, LogOptions, LogState, Logs, Pending, Receipt, Sequencer, start};
use annals_store::{Journal, LogName, ReadLog};
use annals_testkit::chain::{Audited, audit};
use annals_testkit::clock::SimClock;
use annals_testkit::memory::{Hold, LOG, MemoryEngine, Step};

/// Nobody who ought to act needs that long; who does makes the test red instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Rig {
    pub(crate) engine: MemoryEngine,
    pub(crate) clock: SimClock,
    pub(crate) log: Log,
    pub(crate) sequencer: Sequencer,
}

/// Options that leave time out of the tests: no settling by itself, hardly a pause between recoveries.
pub(crate) fn options() -> LogOptions {
    LogOptions {
        settle_after: Duration::from_secs(3600),
        recover_pause_min: Duration::from_micros(1),
        recover_pause_max: Duration::from_micros(100),
        retry_after: RETRY_AFTER,
        ..LogOptions::default()
    }
}

pub(crate) const RETRY_AFTER: Duration = Duration::from_millis(1234);

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(options())
    }

    pub(crate) fn with(options: LogOptions) -> Self {
        Self::over(MemoryEngine::default(), options)
    }

    pub(crate) fn over(engine: MemoryEngine, options: LogOptions) -> Self {
        let clock = SimClock::default();
        let shown = clock.clone();
        let (log, sequencer) =
            start(engine.journal(), LOG, Box::new(move || shown.now()), options).expect("the log starts");
        Self {
            engine,
            clock,
            log,
            sequencer,
        }
    }

    /// Appends and waits.
    pub(crate) fn seal(&self, batch: CanonicalBatch) -> Result<Receipt, AppendError> {
        answer(self.log.append(batch)?)
    }

    /// Appends one batch whose commit is held: what is appended next waits in the queue.
    pub(crate) fn occupy(&self, batch: CanonicalBatch) -> (Pending, Hold) {
        let hold = self.engine.hold(Step::Commit);
        let before = self.engine.entered(Step::Commit);
        let pending = self.log.append(batch).expect("accepted");
        self.engine.wait_entered(Step::Commit, before + 1);
        (pending, hold)
    }

    pub(crate) fn wait_state(&self, done: impl Fn(&LogState) -> bool) -> LogState {
        let mut states = self.log.subscribe_state();
        block_on(async {
            states
                .wait_for(|state| done(state))
                .await
                .expect("the log lives")
                .clone()
        })
    }

    pub(crate) fn wait_running(&self) {
        self.wait_state(|state| *state == LogState::Running);
    }

    pub(crate) fn reader(&self) -> Arc<dyn ReadLog> {
        self.engine.reader()
    }

    pub(crate) fn audit(&self) -> Audited {
        audit(&*self.reader()).expect("the chain is whole")
    }

    /// Stops, waits for the end, audits what is left.
    pub(crate) fn stop(self) -> Result<Audited, Arc<Fatal>> {
        self.log.stop();
        join(self.sequencer)?;
        let audited = audit(&*self.engine.reader()).expect("the chain is whole");
        assert_eq!(
            audited.head,
            self.log.head(),
            "the published head is the stored one"
        );
        Ok(audited)
    }
}

/// Some logs of one journal; the first is [`LOG`].
pub(crate) struct ManyRig {
    pub(crate) engine: MemoryEngine,
    pub(crate) all: Logs,
    pub(crate) logs: Vec<Log>,
    pub(crate) sequencer: Sequencer,
}

impl ManyRig {
    pub(crate) fn new(logs: usize, options: LogOptions) -> Self {
        let engine = MemoryEngine::default();
        let mut ids = vec![LOG];
        let mut journal = engine.journal();
        ids.extend((1..logs).map(|at| make(&mut *journal, &format!("log-{at}"))));
        drop(journal);
        Self::over(engine, &ids, options)
    }

    pub(crate) fn over(engine: MemoryEngine, ids: &[LogId], options: LogOptions) -> Self {
        let clock = SimClock::default();
        let (all, sequencer) =
            Logs::start(engine.journal(), Box::new(move || clock.now()), options).expect("the logs start");
        let logs = ids.iter().map(|id| all.log(*id).expect("the log is there"));
        Self {
            logs: logs.collect(),
            engine,
            all,
            sequencer,
        }
    }

    /// As [`Rig::occupy`], in the first log.
    pub(crate) fn occupy(&self, batch: CanonicalBatch) -> (Pending, Hold) {
        let hold = self.engine.hold(Step::Commit);
        let before = self.engine.entered(Step::Commit);
        let pending = self.logs[0].append(batch).expect("accepted");
        self.engine.wait_entered(Step::Commit, before + 1);
        (pending, hold)
    }

    pub(crate) fn wait_state(&self, done: impl Fn(&LogState) -> bool) -> LogState {
        let mut states = self.all.subscribe_state();
        block_on(async {
            let state = states.wait_for(|state| done(state)).await;
            state.expect("the logs live").clone()
        })
    }

    pub(crate) fn wait_running(&self) {
        self.wait_state(|state| *state == LogState::Running);
    }

    /// Stops, waits for the end, audits every log.
    pub(crate) fn stop(self) {
        self.all.stop();
        join(self.sequencer).expect("not damaged");
        for log in &self.logs {
            let audited = audit(&*self.engine.reader_of(log.id())).expect("the chain is whole");
            assert_eq!(audited.head, log.head(), "the published head is the stored one");
        }
    }
}

fn make(journal: &mut dyn Journal, name: &str) -> LogId {
    let name = LogName::new(name).expect("a name");
    journal
        .create_log(&name, SimClock::default().now())
        .expect("the log is made")
        .id
}

pub(crate) fn answer(pending: Pending) -> Result<Receipt, AppendError> {
    block_on(pending)
}

pub(crate) fn join(sequencer: Sequencer) -> Result<(), Arc<Fatal>> {
    let (ended, end) = mpsc::channel();
    let waiter = thread::spawn(move || ended.send(sequencer.join()));
    let outcome = end.recv_timeout(PATIENCE).expect("the sequencer ends");
    waiter.join().expect("no panic").expect("sent");
    outcome
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let patient = async { tokio::time::timeout(PATIENCE, future).await };
    runtime.block_on(patient).expect("an answer comes")
}

/// What the world looked like when an answer was given: noted inside the wakeup, on the sequencer's thread.
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) state: LogState,
    pub(crate) answer: Result<Receipt, AppendError>,
}

/// Listens to `pending`, lets `go` on (a held commit), and tells what was seen at the answer.
pub(crate) fn seen_at_answer(log: &Log, mut pending: Pending, go: Hold) -> Seen {
    let (seen, sight) = mpsc::channel();
    let waker = Arc::new(Lookout {
        log: log.clone(),
        seen,
    })
    .into();
    let poll = Pin::new(&mut pending).poll(&mut Context::from_waker(&waker));
    assert!(poll.is_pending(), "the answer is not there yet");
    drop(go);
    let (head, state) = sight.recv_timeout(PATIENCE).expect("an answer comes");
    Seen {
        head,
        state,
        answer: answer(pending),
    }
}

struct Lookout {
    log: Log,
    seen: mpsc::Sender<(Head, LogState)>,
}

impl Wake for Lookout {
    fn wake(self: Arc<Self>) {
        self.seen
            .send((self.log.head(), self.log.state()))
            .expect("the test waits");
    }
}

//! The conformance suite: what every storage engine has to do, whatever it is made of.
//!
//! An engine's tests implement [`EngineUnderTest`] and call [`run_all`]. The suite knows only the contract of
//! `annals-store`; faults of an engine's own medium (torn writes, lost syncs) are its own tests' business.
//!
//! Invariants: each case gets a fresh, empty engine; after each case the naive oracle audits the whole log, before and
//! after a reopen, and it must still be what the case committed.

mod cases;
mod logs;
mod model;

use std::sync::Arc;
use std::thread;

use annals_core::chain::LogId;
use annals_store::{Journal, LogDirectory, ReadLog};

pub use cases::{CASES, Case};
use logs::Shelf;
pub use logs::{LOGS_CASES, LogsCase};
use model::Subject;

/// One storage engine that begins with one log, in a fresh place of its own (a temporary directory, a schema, memory).
pub trait EngineUnderTest {
    /// Opens the engine for the first time; it has one log, named `default`, without events.
    fn open(&mut self) -> Opened;

    /// As when the process dies: nothing is closed in order, then a new process opens the engine.
    fn crash_and_reopen(&mut self, opened: Opened) -> Opened;

    /// Closes the engine in order (drops `opened`) and opens it again.
    fn clean_reopen(&mut self, opened: Opened) -> Opened;
}

/// An engine that makes logs and keeps cells.
pub trait ManyLogs: EngineUnderTest {
    /// Where readers find the logs of an engine that is open.
    fn directory(&self, opened: &Opened) -> Arc<dyn LogDirectory>;
}

/// An open engine. The suite drops every clone of what is in it before it asks for a reopen.
pub struct Opened {
    /// The writing half.
    pub journal: Box<dyn Journal>,
    /// The log that every engine begins with, named `default`.
    pub log: LogId,
    /// The reading half of that log.
    pub reader: Arc<dyn ReadLog>,
}

/// Runs every case on an engine of its own that `factory` makes.
///
/// # Panics
/// When a case fails: on a thread that has the case's name.
pub fn run_all(factory: impl Fn() -> Box<dyn EngineUnderTest> + Sync) {
    for case in CASES {
        run(case, &factory);
    }
}

/// Runs one case.
///
/// # Panics
/// As [`run_all`].
pub fn run(case: &Case, factory: &(impl Fn() -> Box<dyn EngineUnderTest> + Sync)) {
    run_named(case.name, || {
        let mut subject = Subject::open(factory());
        (case.run)(&mut subject);
        subject.audit();
        subject.crash_and_reopen();
        subject.clean_reopen();
    });
}

/// Runs every case about many logs and about cells, each on an engine of its own that `factory` makes.
///
/// # Panics
/// When a case fails: on a thread that has the case's name.
pub fn run_all_of_many_logs(factory: impl Fn() -> Box<dyn ManyLogs> + Sync) {
    for case in LOGS_CASES {
        run_named(case.name, || {
            let mut shelf = Shelf::open(factory());
            (case.run)(&mut shelf);
            shelf.check();
            shelf.crash_and_reopen();
            shelf.clean_reopen();
        });
    }
}

/// The thread's name is what a panic's message begins with.
fn run_named(case: &str, body: impl FnOnce() + Send) {
    let passed = thread::scope(|scope| {
        let name = format!("conformance: {case}");
        let thread = thread::Builder::new().name(name).spawn_scoped(scope, body);
        thread.expect("a thread can be started").join().is_ok()
    });
    assert!(passed, "the engine fails the conformance case `{case}`");
}

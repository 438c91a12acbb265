//! The engine in memory keeps the contract, and its scripted faults do what they say.

use std::sync::Arc;

use annals_core::chain::{Head, TreeSize};
use annals_core::seal::seal;
use annals_store::{Cell, CommitError, CreateLogError, LogBatch, LogDirectory, LogName, Sequence};
use annals_testkit::clock::START;
use annals_testkit::conformance::{EngineUnderTest, ManyLogs, Opened, run_all, run_all_of_many_logs};
use annals_testkit::events::batch;
use annals_testkit::memory::{CommitFault, CreateFault, LOG, MemoryEngine};

struct Memory(MemoryEngine);

impl EngineUnderTest for Memory {
    fn open(&mut self) -> Opened {
        Opened {
            journal: self.0.journal(),
            log: LOG,
            reader: self.0.reader(),
        }
    }

    fn crash_and_reopen(&mut self, opened: Opened) -> Opened {
        drop(opened);
        self.open()
    }

    fn clean_reopen(&mut self, opened: Opened) -> Opened {
        drop(opened);
        self.open()
    }
}

// Red when: `State::check` in memory/state.rs does not move `found` on (group in order), `State::commit` stores before it
// checks (conflict), or `read` counts the first event against `bytes_max` (ranges).
#[test]
fn conformance() {
    run_all(|| Box::new(Memory(MemoryEngine::default())));
}

impl ManyLogs for Memory {
    fn directory(&self, _opened: &Opened) -> Arc<dyn LogDirectory> {
        Arc::new(self.0.clone())
    }
}

// Red when: `State::store` in memory/state.rs leaves out the cells or stores them before the check, `create_log` does not look
// for the name, or `check` keeps one head for all logs.
#[test]
fn conformance_of_many_logs() {
    run_all_of_many_logs(|| Box::new(Memory(MemoryEngine::default())));
}

// Red when: `State::create_log` in memory/state.rs makes a log visible although it fails.
#[test]
fn a_log_of_unknown_outcome_is_not_there_before_recovery() {
    for written in [false, true] {
        let engine = MemoryEngine::default();
        let mut journal = engine.journal();
        engine.fail_create(CreateFault::Unknown, written);
        let name = LogName::new("a").unwrap();
        let outcome = journal.create_log(&name, START);
        assert!(matches!(outcome, Err(CreateLogError::Unknown(_))));
        assert_eq!((engine.list().len(), journal.logs().len()), (1, 1));
        let outcome = journal.create_log(&name, START);
        assert!(matches!(outcome, Err(CreateLogError::NeedsRecovery)));
        journal.recover().unwrap();
        assert_eq!(engine.open("a").is_some(), written);
    }
}

// Red when: `State::commit` in memory/state.rs makes a written group readable also when it fails.
#[test]
fn a_commit_of_unknown_outcome_is_not_readable_before_recovery() {
    for written in [false, true] {
        let engine = MemoryEngine::default();
        let (mut journal, reader) = (engine.journal(), engine.reader());
        let sealed = seal(&Head::EMPTY, START, std::iter::once(&batch(3, 1)));
        let cells = [Cell::Position {
            producer: "p".into(),
            sequence: Sequence(1, 0),
        }];
        let group = [LogBatch {
            log: LOG,
            batch: &sealed,
            cells: &cells,
        }];
        engine.fail_commit(CommitFault::Unknown, written);
        assert!(matches!(journal.commit(&group), Err(CommitError::Unknown(_))));
        assert_eq!(reader.head(), Head::EMPTY);
        assert!(matches!(journal.commit(&group), Err(CommitError::NeedsRecovery)));
        journal.recover().unwrap();
        assert_eq!(reader.head().size, TreeSize(if written { 3 } else { 0 }));
        assert_eq!(journal.head(LOG), Some(reader.head()));
        let position = journal.take_cells().position(LOG, "p");
        assert_eq!(position, written.then_some(Sequence(1, 0)));
    }
}

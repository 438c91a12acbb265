//! The engine in memory keeps the contract, and its scripted faults do what they say.

use annals_core::chain::{Head, TreeSize};
use annals_core::seal::seal;
use annals_store::{CommitError, LogBatch};
use annals_testkit::clock::START;
use annals_testkit::conformance::{EngineUnderTest, Opened, run_all};
use annals_testkit::events::batch;
use annals_testkit::memory::{CommitFault, LOG, MemoryEngine};

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

// Red when: `State::check` in memory.rs does not move `found` on (group in order), `State::commit` stores before it
// checks (conflict), or `read` counts the first event against `bytes_max` (ranges).
#[test]
fn conformance() {
    run_all(|| Box::new(Memory(MemoryEngine::default())));
}

// Red when: `State::commit` in memory.rs makes a written group readable also when it fails.
#[test]
fn a_commit_of_unknown_outcome_is_not_readable_before_recovery() {
    for written in [false, true] {
        let engine = MemoryEngine::default();
        let (mut journal, reader) = (engine.journal(), engine.reader());
        let sealed = seal(&Head::EMPTY, START, std::iter::once(&batch(3, 1)));
        let group = [LogBatch {
            log: LOG,
            batch: &sealed,
        }];
        engine.fail_commit(CommitFault::Unknown, written);
        assert!(matches!(journal.commit(&group), Err(CommitError::Unknown(_))));
        assert_eq!(reader.head(), Head::EMPTY);
        assert!(matches!(journal.commit(&group), Err(CommitError::NeedsRecovery)));
        journal.recover().unwrap();
        assert_eq!(reader.head().size, TreeSize(if written { 3 } else { 0 }));
        assert_eq!(journal.head(LOG), Some(reader.head()));
    }
}

//! The neutral conformance suite, on the machine's file system and on the simulated disk.

use std::sync::Arc;

use annals_store_file::disk::Disk;
use annals_store_file::{Options, open, open_on};
use annals_testkit::conformance::{EngineUnderTest, Opened, run_all};
use annals_testkit::simdisk::{Loss, SimDisk};
use tempfile::TempDir;

const OPTIONS: Options = Options {
    journal_file_bytes: 256 * 1024,
    backlog_files_max: 1_000,
};

fn opened(opened: annals_store_file::Opened) -> Opened {
    let log = opened.log_id();
    // Packing is part of every case: whatever is full when the case is opened or reopened is packed here.
    while opened.maintenance.step().expect("maintenance works") {}
    Opened {
        journal: Box::new(opened.journal),
        log,
        reader: opened.log,
    }
}

struct OnFiles(TempDir);

impl EngineUnderTest for OnFiles {
    fn open(&mut self) -> Opened {
        opened(open(self.0.path(), OPTIONS).expect("opens"))
    }

    fn crash_and_reopen(&mut self, before: Opened) -> Opened {
        self.clean_reopen(before)
    }

    fn clean_reopen(&mut self, before: Opened) -> Opened {
        drop(before);
        self.open()
    }
}

struct OnSimDisk(SimDisk);

impl EngineUnderTest for OnSimDisk {
    fn open(&mut self) -> Opened {
        let disk: Arc<dyn Disk> = Arc::new(self.0.clone());
        opened(open_on(disk, OPTIONS).expect("opens"))
    }

    fn crash_and_reopen(&mut self, before: Opened) -> Opened {
        drop(before);
        self.0.power_cycle(Loss::Everything);
        self.open()
    }

    fn clean_reopen(&mut self, before: Opened) -> Opened {
        drop(before);
        self.open()
    }
}

#[test]
fn on_the_file_system() {
    run_all(|| Box::new(OnFiles(TempDir::new().expect("a temporary directory"))));
}

/// Red when: `FileJournal::commit` does not call `sync_data` (a power cut then loses what was committed).
#[test]
fn on_a_disk_that_loses_what_was_not_synced() {
    run_all(|| Box::new(OnSimDisk(SimDisk::new())));
}

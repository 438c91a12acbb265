//! The neutral conformance suite, on the machine's file system and on the simulated disk.

use std::sync::Arc;

use annals_store::LogDirectory;
use annals_store_file::disk::Disk;
use annals_store_file::{FileLogs, Options, open, open_on};
use annals_testkit::conformance::{EngineUnderTest, ManyLogs, Opened, run_all, run_all_of_many_logs};
use annals_testkit::simdisk::{Loss, SimDisk};
use tempfile::TempDir;

const OPTIONS: Options = Options {
    journal_file_bytes: 256 * 1024,
    backlog_files_max: 1_000,
    cache: annals_store_file::CacheBounds::DEFAULT,
};

fn opened(opened: annals_store_file::Opened) -> (Opened, Arc<FileLogs>) {
    let log = opened.log_id();
    // Packing is part of every case: whatever is full when the case is opened or reopened is packed here.
    while opened.maintenance.step().expect("maintenance works") {}
    let told = Opened {
        journal: Box::new(opened.journal),
        log,
        reader: opened.log,
    };
    (told, opened.logs)
}

struct OnFiles {
    dir: TempDir,
    logs: Arc<FileLogs>,
}

impl OnFiles {
    fn new() -> Self {
        Self {
            dir: TempDir::new().expect("a temporary directory"),
            logs: Arc::default(),
        }
    }
}

impl EngineUnderTest for OnFiles {
    fn open(&mut self) -> Opened {
        let (told, logs) = opened(open(self.dir.path(), OPTIONS).expect("opens"));
        self.logs = logs;
        told
    }

    fn crash_and_reopen(&mut self, before: Opened) -> Opened {
        self.clean_reopen(before)
    }

    fn clean_reopen(&mut self, before: Opened) -> Opened {
        drop(before);
        self.open()
    }
}

impl ManyLogs for OnFiles {
    fn directory(&self, _: &Opened) -> Arc<dyn LogDirectory> {
        self.logs.clone()
    }
}

#[derive(Default)]
struct OnSimDisk {
    disk: SimDisk,
    logs: Arc<FileLogs>,
}

impl EngineUnderTest for OnSimDisk {
    fn open(&mut self) -> Opened {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let (told, logs) = opened(open_on(disk, OPTIONS).expect("opens"));
        self.logs = logs;
        told
    }

    fn crash_and_reopen(&mut self, before: Opened) -> Opened {
        drop(before);
        self.disk.power_cycle(Loss::Everything);
        self.open()
    }

    fn clean_reopen(&mut self, before: Opened) -> Opened {
        drop(before);
        self.open()
    }
}

impl ManyLogs for OnSimDisk {
    fn directory(&self, _: &Opened) -> Arc<dyn LogDirectory> {
        self.logs.clone()
    }
}

#[test]
fn on_the_file_system() {
    run_all(|| Box::new(OnFiles::new()));
    run_all_of_many_logs(|| Box::new(OnFiles::new()));
}

/// Red when: `FileJournal::commit` does not call `sync_data` (a power cut then loses what was committed); `create_log` does not
/// sync `logs/`; `release` does not take the cells of the file that it gives up.
#[test]
fn on_a_disk_that_loses_what_was_not_synced() {
    run_all(|| Box::new(OnSimDisk::default()));
    run_all_of_many_logs(|| Box::new(OnSimDisk::default()));
}

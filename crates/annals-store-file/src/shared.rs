//! What the writer, the readers and the maintenance of one data directory share.
//!
//! Lock order: `maintenance`, then `preparing`, then `files`, then a log's view. Nothing does I/O while it holds `files` or
//! a view.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use crate::cache::CacheBounds;
use crate::disk::Disk;
use crate::index::Indexes;
use crate::journal_file::JournalFile;
use crate::logs::FileLogs;
use crate::released::Released;
use crate::segments::SegmentFiles;

/// What the operator may set. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Length of a journal file; one that holds a single larger batch is as long as that needs.
    pub journal_file_bytes: u64,
    /// Full journal files that may wait to be packed; past that, commits are refused.
    pub backlog_files_max: usize,
    /// What is kept of segments between reads.
    pub cache: CacheBounds,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            journal_file_bytes: 64 * 1024 * 1024,
            backlog_files_max: 8,
            cache: CacheBounds::DEFAULT,
        }
    }
}

pub(crate) struct Shared {
    pub(crate) disk: Arc<dyn Disk>,
    /// Segments, on the same disk.
    pub(crate) segments: Arc<SegmentFiles>,
    pub(crate) options: Options,
    pub(crate) directory: Uuid,
    pub(crate) logs: Arc<FileLogs>,
    pub(crate) indexes: Indexes,
    /// What the journal gave up; changed by the maintenance and by recovery, under `maintenance`.
    released: Mutex<Released>,
    files: Mutex<Files>,
    wake: Condvar,
    preparing: Mutex<()>,
    maintenance: Mutex<()>,
    /// The directory's lock, held until nobody is left who could change it: neither journal nor maintenance.
    _lock: Option<File>,
}

/// Journal files but for the active one.
#[derive(Default)]
pub(crate) struct Files {
    /// Full ones, oldest first.
    pub(crate) closed: VecDeque<JournalFile>,
    /// The next one, made beforehand.
    pub(crate) prepared: Option<JournalFile>,
    /// Number that the next file has.
    pub(crate) next_number: u64,
    /// The last attempt to pack failed for want of space.
    pub(crate) packing_lacks_space: bool,
    /// The writer is gone.
    pub(crate) stopped: bool,
}

/// Whether room has to be made before the same call can succeed.
pub(crate) fn is_no_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

impl Shared {
    pub(crate) fn new(
        segments: Arc<SegmentFiles>,
        options: Options,
        directory: Uuid,
        logs: Arc<FileLogs>,
        indexes: Indexes,
        released: Released,
        lock: Option<File>,
    ) -> Self {
        Self {
            disk: Arc::clone(segments.disk()),
            segments,
            options,
            directory,
            logs,
            indexes,
            released: Mutex::new(released),
            files: Mutex::default(),
            wake: Condvar::new(),
            preparing: Mutex::new(()),
            maintenance: Mutex::new(()),
            _lock: lock,
        }
    }

    pub(crate) fn files(&self) -> MutexGuard<'_, Files> {
        // No code panics while it holds the lock half way through a change.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whoever holds it for longer than a glance holds `maintenance` as well.
    pub(crate) fn released(&self) -> MutexGuard<'_, Released> {
        self.released.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held while a file is being prepared, by whoever does it.
    pub(crate) fn preparing(&self) -> MutexGuard<'_, ()> {
        self.preparing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Held during one step of maintenance, and by recovery.
    pub(crate) fn maintenance(&self) -> MutexGuard<'_, ()> {
        self.maintenance.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the maintenance that there is work, or that the writer is gone.
    pub(crate) fn wake(&self) {
        self.wake.notify_all();
    }

    /// Waits until there is something to maintain; false when the writer is gone.
    pub(crate) fn wait_for_work(&self) -> bool {
        let mut files = self.files();
        while !files.stopped && files.closed.is_empty() && files.prepared.is_some() {
            files = self.wake.wait(files).unwrap_or_else(PoisonError::into_inner);
        }
        !files.stopped
    }
}

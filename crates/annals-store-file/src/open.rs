//! Opening a data directory for writing, and making a new one.
//!
//! Invariants: at most one process writes (an exclusive lock, released when the process ends in whatever way); a new
//! directory counts only once `FORMAT` is there, and making one over the rests of a cut-off attempt never touches events.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use annals_core::chain::LogId;
use annals_core::time::Micros;
use annals_index::Geometry;
use annals_store::{CellBounds, Recovery};
use uuid::Uuid;

use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::head;
use crate::index::{IndexMaintenance, Indexes};
use crate::journal::FileJournal;
use crate::journal_file::{FRAMES_START, JournalFile};
use crate::layout::{self, DEFAULT_LOG, FORMAT_VERSION, Format, JOURNAL_DIR, LOGS_DIR, QUARANTINE_DIR};
use crate::load::{self, Access};
use crate::logs::FileLogs;
use crate::maintain::Maintenance;
use crate::mend;
use crate::released::Released;
use crate::segments::SegmentFiles;
use crate::shared::{Options, Shared};
use crate::view::FileLog;

/// A data directory, open for writing.
pub struct Opened {
    /// The directory's only writer.
    pub journal: FileJournal,
    /// To be driven beside it, on a thread of its own.
    pub maintenance: Maintenance,
    /// To be driven beside them, on another thread.
    pub index: IndexMaintenance,
    /// The log `default`, for reading.
    pub log: Arc<FileLog>,
    /// All logs, for reading.
    pub logs: Arc<FileLogs>,
    /// What was found and put in order.
    pub recovery: Recovery,
}

impl Opened {
    /// The id of the log `default`.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        self.log.manifest().log_id()
    }
}

/// Opens the data directory `root` of the machine's file system, making it when there is none.
///
/// # Errors
/// [`OpenError`]; nothing of an existing log was changed.
pub fn open(root: &Path, options: Options) -> Result<Opened, OpenError> {
    create_root(root)?;
    // Before anything is created, so that somebody else's directory stays as it was.
    let disk = Arc::new(RealDisk::new(root));
    if layout::read_format(&*disk)?.is_none() {
        check_empty(&*disk)?;
    }
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join(layout::LOCK_FILE))?;
    match lock.try_lock() {
        Ok(()) => open_locked(disk, options, Geometry::PRODUCTION, Some(lock)),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Makes the directory and those above it that are missing, durably: events are no safer than the names on the way to them.
fn create_root(root: &Path) -> io::Result<()> {
    let root = std::path::absolute(root)?;
    let missing: Vec<_> = root.ancestors().take_while(|dir| !dir.exists()).collect();
    fs::create_dir_all(&root)?;
    for parent in missing.iter().filter_map(|dir| dir.parent()) {
        File::open(parent)?.sync_all()?;
    }
    Ok(())
}

/// Opens a data directory on any [`Disk`]. The caller sees to it that nobody else writes there.
///
/// # Errors
/// [`OpenError`]; nothing of an existing log was changed.
pub fn open_on(disk: Arc<dyn Disk>, options: Options) -> Result<Opened, OpenError> {
    open_locked(disk, options, Geometry::PRODUCTION, None)
}

/// [`open_on`] with an index of other sizes: for tests, in which few events are to make many runs.
///
/// # Errors
/// As [`open_on`].
pub fn open_on_with(disk: Arc<dyn Disk>, options: Options, index: Geometry) -> Result<Opened, OpenError> {
    open_locked(disk, options, index, None)
}

fn open_locked(
    disk: Arc<dyn Disk>,
    options: Options,
    geometry: Geometry,
    lock: Option<File>,
) -> Result<Opened, OpenError> {
    if layout::read_format(&*disk)?.is_none() {
        check_empty(&*disk)?;
        make(&*disk, &options)?;
    }
    let segments = Arc::new(SegmentFiles::new(Arc::clone(&disk), &options.cache));
    let mut loaded = load::load(&segments, Access::Write)?.whole()?;
    let recovery = mend::mend(&*disk, &mut loaded)?;
    let indexes = Indexes::new(Arc::clone(&disk), geometry);
    let (log, logs) = shown(std::mem::take(&mut loaded.logs), Some(&indexes))?;
    let logs = Arc::new(logs);
    let index = IndexMaintenance::new(disk, Arc::clone(&logs), Arc::clone(&indexes.cache));
    let shared = Arc::new(Shared::new(
        segments,
        options,
        loaded.directory,
        Arc::clone(&logs),
        indexes,
        loaded.released.clone(),
        lock,
    ));
    let journal = FileJournal::start(Arc::clone(&shared), loaded)?;
    Ok(Opened {
        journal,
        maintenance: Maintenance::new(shared),
        index,
        log,
        logs,
        recovery,
    })
}

/// All logs for reading, and the one that every directory has.
pub(crate) fn shown(
    loaded: Vec<load::LoadedLog>,
    indexes: Option<&Indexes>,
) -> Result<(Arc<FileLog>, FileLogs), OpenError> {
    let logs = FileLogs::default();
    for log in loaded {
        let log = FileLog::from(log);
        logs.show(match indexes {
            Some(indexes) => log.indexed(indexes),
            None => log,
        });
    }
    let default = logs.by_name(DEFAULT_LOG).ok_or_else(|| OpenError::Manifest {
        name: LOGS_DIR.to_owned(),
        what: format!("there is no log named {DEFAULT_LOG}"),
    })?;
    Ok((default, logs))
}

/// A directory without `FORMAT` may be made into a data directory if it holds nothing, or what a cut-off attempt left.
fn check_empty(disk: &dyn Disk) -> Result<(), OpenError> {
    let known = [
        layout::LOCK_FILE,
        layout::HEAD_FILE,
        layout::RELEASED_FILE,
        JOURNAL_DIR,
        LOGS_DIR,
        QUARANTINE_DIR,
        "FORMAT.tmp",
        "released.tmp",
        "lost+found",
    ];
    let entries = disk.list("")?;
    if entries.iter().any(|entry| !known.contains(&entry.as_str())) {
        return Err(OpenError::NotOurs);
    }
    let holds = |dir: &str| entries.iter().any(|entry| entry == dir);
    if holds(JOURNAL_DIR) {
        for number in layout::numbered(disk, JOURNAL_DIR, ".journal")? {
            let file = disk.open_read(&layout::journal_file_name(number))?;
            let len = file.size()?;
            if (JournalFile { number, file, len })
                .last_written(FRAMES_START)?
                .is_some()
            {
                return Err(OpenError::NotOurs);
            }
        }
    }
    if holds(LOGS_DIR) {
        for manifest in layout::read_manifests(disk)? {
            if !disk.list(&layout::segments_dir(manifest.log_id()))?.is_empty() {
                return Err(OpenError::NotOurs);
            }
        }
    }
    Ok(())
}

/// Makes a data directory. `FORMAT` comes last: until it is durable, the next attempt starts over.
fn make(disk: &dyn Disk, options: &Options) -> Result<(), OpenError> {
    for dir in [JOURNAL_DIR, LOGS_DIR, QUARANTINE_DIR] {
        disk.create_dir(dir)?;
    }
    let made = layout::read_manifests(disk)?;
    if !made.iter().any(|manifest| manifest.name == DEFAULT_LOG) {
        layout::create_log(disk, DEFAULT_LOG, now()).map_err(io::Error::from)?;
    }
    let format = Format {
        version: FORMAT_VERSION,
        directory: Uuid::new_v4(),
    };
    head::create(disk)?;
    Released::without_cells(0, CellBounds::default()).write(disk, format.directory)?;
    JournalFile::prepare(disk, format.directory, 1, options.journal_file_bytes)?;
    disk.sync_dir(LOGS_DIR)?;
    // All names before `FORMAT`'s: one sync for both would let a power cut keep the latter alone.
    disk.sync_dir("")?;
    layout::write_format(disk, format)?;
    Ok(())
}

fn now() -> Micros {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

impl From<load::LoadedLog> for FileLog {
    fn from(log: load::LoadedLog) -> Self {
        Self::new(log.manifest, log.head, log.packed, log.parts)
    }
}

//! Run files: their names, their pages through a bounded cache, and whether they belong to the log as it is.
//!
//! A file is named `<level>-<number>-<hash>.run`, with the first 16 hex digits of the hash of the run's last event. Its bytes are
//! the run's pages (docs/format.md, "Index run"). It gets its name when it is complete, without a sync: after a power cut it may hold
//! anything, which the pages' checksums tell.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};

use annals_core::chain::{EventId, LogId};
use annals_core::hash::EventHash;
use annals_index::{Fault, Geometry, Page, Run, RunId, RunSource};
use annals_store::{ReadError, ReadLog};
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::Indexes;
use crate::disk::{Disk, DiskFile, give_back, join};
use crate::layout::index_dir;

const SUFFIX: &str = ".run";
/// Digits of the last event's hash in a file's name.
const HASH_DIGITS: usize = 16;
const PAGE_CACHE_BYTES: u64 = 32 * 1024 * 1024;
const OPEN_FILES: usize = 256;

/// What all indexes of a directory share: pages and files that were used lately, and the wish to be maintained.
pub(crate) struct IndexCache {
    pages: Cache<(u64, u32), Page, ByBytes>,
    files: Cache<u64, Arc<dyn DiskFile>>,
    next_key: AtomicU64,
    work: Mutex<Work>,
    wake: Condvar,
}

#[derive(Default)]
struct Work {
    waits: bool,
    stopped: bool,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u64, u32), Page> for ByBytes {
    fn weight(&self, _: &(u64, u32), page: &Page) -> u64 {
        page.bytes().len() as u64
    }
}

impl IndexCache {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let pages = usize::try_from(PAGE_CACHE_BYTES).unwrap_or(usize::MAX) / geometry.page_bytes();
        Self {
            pages: Cache::with_weighter(pages, PAGE_CACHE_BYTES, ByBytes),
            files: Cache::new(OPEN_FILES),
            next_key: AtomicU64::new(0),
            work: Mutex::new(Work {
                waits: true,
                stopped: false,
            }),
            wake: Condvar::new(),
        }
    }

    /// Tells the maintenance that there may be something to build.
    pub(crate) fn wake(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).waits = true;
        self.wake.notify_all();
    }

    /// Tells the maintenance that nothing more will come.
    pub(crate) fn stop(&self) {
        self.work.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.wake.notify_all();
    }

    /// Waits for a wish to be maintained; false when it was the last.
    pub(crate) fn wait(&self) -> bool {
        let mut work = self.work.lock().unwrap_or_else(PoisonError::into_inner);
        while !work.waits && !work.stopped {
            work = self.wake.wait(work).unwrap_or_else(PoisonError::into_inner);
        }
        work.waits = false;
        !work.stopped
    }
}

/// A run in a file.
pub(crate) struct RunFile {
    id: RunId,
    name: String,
    /// What the file's name says of the last event's hash.
    hash_digits: String,
    first: EventId,
    last: EventId,
    source: Pages,
    opened: OnceLock<Run<Pages>>,
    geometry: Geometry,
    log: LogId,
    is_of_log: AtomicBool,
}

impl RunFile {
    /// The file of a run whose last event has a hash with these first digits.
    pub(super) fn new(
        disk: &Arc<dyn Disk>,
        cache: &Arc<IndexCache>,
        geometry: Geometry,
        log: LogId,
        id: RunId,
        digits: &str,
    ) -> Self {
        let name = join(&index_dir(log), &file_name(id, digits));
        let first = geometry.first(id);
        Self {
            id,
            hash_digits: digits.to_owned(),
            first,
            last: first.plus(geometry.len(id.level) - 1),
            source: Pages {
                disk: Arc::clone(disk),
                cache: Arc::clone(cache),
                name: name.clone(),
                key: cache.next_key.fetch_add(1, Ordering::Relaxed),
                page_bytes: geometry.page_bytes(),
            },
            name,
            opened: OnceLock::new(),
            geometry,
            log,
            is_of_log: AtomicBool::new(false),
        }
    }

    /// The file of a run whose last event has this hash.
    pub(crate) fn of_events(
        disk: &Arc<dyn Disk>,
        cache: &Arc<IndexCache>,
        geometry: Geometry,
        log: LogId,
        id: RunId,
        last: &EventHash,
    ) -> Self {
        Self::new(disk, cache, geometry, log, id, &digits_of(last))
    }

    pub(crate) fn id(&self) -> RunId {
        self.id
    }

    /// Relative to the data directory.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn first(&self) -> EventId {
        self.first
    }

    pub(crate) fn last(&self) -> EventId {
        self.last
    }

    /// The first digits of the last event's hash.
    pub(crate) fn hash_digits(&self) -> &str {
        &self.hash_digits
    }

    /// Opens the run: reads its last page, the first time.
    pub(crate) fn run(&self) -> Result<&Run<Pages>, Fault> {
        if let Some(run) = self.opened.get() {
            return Ok(run);
        }
        let run = self.open()?;
        Ok(self.opened.get_or_init(|| run))
    }

    /// Opens the run anew.
    pub(super) fn open(&self) -> Result<Run<Pages>, Fault> {
        Run::open(self.source.clone(), self.geometry, self.log, self.id)
    }

    /// Whether the log's event at the run's end is the one that the run was made with. Reads it, the first time.
    pub(crate) fn is_of(&self, log: &dyn ReadLog) -> Result<bool, ReadError> {
        if self.is_of_log.load(Ordering::Relaxed) {
            return Ok(true);
        }
        let run = log.read(self.last, 1)?;
        let is_of_log = run
            .get(0)
            .is_some_and(|event| digits_of(&event.hash) == self.hash_digits);
        self.is_of_log.store(is_of_log, Ordering::Relaxed);
        Ok(is_of_log)
    }
}

/// The pages of one file.
#[derive(Clone)]
pub(crate) struct Pages {
    disk: Arc<dyn Disk>,
    cache: Arc<IndexCache>,
    name: String,
    key: u64,
    page_bytes: usize,
}

impl Pages {
    fn file(&self) -> io::Result<Arc<dyn DiskFile>> {
        self.cache
            .files
            .get_or_insert_with(&self.key, || self.disk.open_read(&self.name))
    }
}

impl RunSource for Pages {
    fn pages(&self) -> u32 {
        // Of a file that can not be asked there is no page, and reading one will say why.
        let size = self.file().and_then(|file| file.size()).unwrap_or(0);
        u32::try_from(size / self.page_bytes as u64).unwrap_or(u32::MAX)
    }

    fn page(&self, number: u32) -> Result<Page, Fault> {
        self.cache.pages.get_or_insert_with(&(self.key, number), || {
            let mut bytes = vec![0; self.page_bytes];
            let offset = u64::from(number) * self.page_bytes as u64;
            let read = self.file()?.read_at(&mut bytes, offset)?;
            bytes.truncate(read);
            Page::check(number, bytes)
        })
    }
}

/// The runs that a log's files hold, ascending, the larger one where two cover the same events. Other files of the directory's
/// kinds are removed.
pub(super) fn load(indexes: &Indexes, log: LogId) -> Vec<Arc<RunFile>> {
    let Indexes {
        disk,
        cache,
        geometry,
    } = indexes;
    let dir = index_dir(log);
    let names = match disk.list(&dir) {
        Ok(names) => names,
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(%log, %error, "the index can not be listed; queries read the events instead");
            }
            return Vec::new();
        }
    };
    let mut found: Vec<(RunId, String)> = names.iter().filter_map(|name| parse(name)).collect();
    found.retain(|(id, _)| id.level <= geometry.level_max());
    found.sort_unstable_by_key(|(id, _)| (geometry.first(*id), Reverse(id.level)));
    let mut runs: Vec<Arc<RunFile>> = Vec::new();
    for (id, digits) in found {
        let run = RunFile::new(disk, cache, *geometry, log, id, &digits);
        if runs.last().is_none_or(|before| before.last() < run.first()) {
            runs.push(Arc::new(run));
        }
    }
    let kept: HashSet<&str> = runs.iter().map(|run| run.name()).collect();
    let ours = |name: &&String| name.ends_with(SUFFIX) || name.ends_with(".run.tmp");
    for name in names.iter().filter(ours).map(|name| join(&dir, name)) {
        if !kept.contains(name.as_str()) {
            give_back(&**disk, &name);
        }
    }
    runs
}

/// The name of the file of a run whose last event has a hash with these first digits.
fn file_name(id: RunId, digits: &str) -> String {
    format!("{}-{:020}-{digits}{SUFFIX}", id.level, id.number)
}

fn digits_of(hash: &EventHash) -> String {
    hash.to_string()[..HASH_DIGITS].to_owned()
}

/// What a run file's name says: the run, and the first digits of its last event's hash.
pub(super) fn parse(name: &str) -> Option<(RunId, String)> {
    let mut parts = name.strip_suffix(SUFFIX)?.split('-');
    let (level, number, digits) = (parts.next()?, parts.next()?, parts.next()?);
    let id = RunId {
        level: level.parse().ok()?,
        number: number.parse().ok()?,
    };
    let is_hash = digits.len() == HASH_DIGITS && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    (is_hash && parts.next().is_none() && file_name(id, digits) == name).then(|| (id, digits.to_owned()))
}

//! The writer: one group, one write, one sync.
//!
//! The life of a batch: the caller sealed it after the head; here it is checked against the head, framed behind the last
//! frame, written with its group by one `write_at`, synced by one `sync_data`, and shown to readers. The sync is the commit
//! point. A failed write or sync leaves the outcome open: the journal then takes nothing until it has recovered, by loading
//! and mending the directory exactly as at start.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use annals_core::chain::{Head, LogId};
use annals_core::time::Micros;
use annals_store::{
    CellTable, CommitError, CreateLogError, Journal, LogBatch, LogManifest, LogName, RecoverError, Recovery,
    SettleError,
};

use crate::disk::DiskFile;
use crate::frame::{self, FRAME_BYTES_MAX, FrameHeader, HEADER_LEN, Place};
use crate::head::{self, HeadRecord};
use crate::journal_file::{FRAMES_START, JournalFile};
use crate::layout::{self, HEAD_FILE, NotMade};
use crate::load::{self, Access, Loaded};
use crate::mend;
use crate::shared::{Shared, is_no_space};
use crate::view::FileLog;

/// The journal of a data directory; whoever holds it is the directory's only writer.
pub struct FileJournal {
    shared: Arc<Shared>,
    state: State,
    buffer: Vec<u8>,
    /// What the cells of all durable frames left, until somebody takes it.
    cells: Option<CellTable>,
}

enum State {
    Ready(Writer),
    NeedsRecovery,
}

struct Writer {
    active: JournalFile,
    /// Where the next frame goes.
    offset: u64,
    /// Number of the last frame; it is durable.
    last_frame: u64,
    last_header_digest: [u8; 32],
    head_file: Arc<dyn DiskFile>,
    head: HeadRecord,
}

impl FileJournal {
    /// A journal over what `loaded` found and `mend` put in order.
    pub(crate) fn start(shared: Arc<Shared>, loaded: Loaded) -> io::Result<Self> {
        let mut journal = Self {
            shared,
            state: State::NeedsRecovery,
            buffer: Vec::new(),
            cells: None,
        };
        journal.adopt(loaded)?;
        Ok(journal)
    }

    fn adopt(&mut self, mut loaded: Loaded) -> io::Result<()> {
        self.cells = Some(loaded.cells);
        let head = loaded.slots.newest.map_err(io::Error::other)?;
        let mut after = loaded.files.split_off(loaded.active + 1);
        let active = loaded
            .files
            .pop()
            .ok_or_else(|| io::Error::other("the journal has no file"))?;
        let mut files = self.shared.files();
        files.next_number = active.number + 1;
        files.closed = loaded.files.into();
        files.prepared = if after.is_empty() {
            None
        } else {
            Some(after.remove(0))
        };
        drop(files);
        self.shared.wake();
        self.state = State::Ready(Writer {
            active,
            offset: loaded.active_end,
            last_frame: loaded.last_frame,
            last_header_digest: loaded.last_header_digest,
            head_file: self.shared.disk.open_write(HEAD_FILE)?,
            head,
        });
        Ok(())
    }
}

impl Journal for FileJournal {
    fn head(&self, log: LogId) -> Option<Head> {
        self.shared.logs.get(log).map(|log| log.view().head)
    }

    fn commit(&mut self, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
        let State::Ready(writer) = &mut self.state else {
            return Err(CommitError::NeedsRecovery);
        };
        if group.is_empty() {
            return Ok(());
        }
        check_heads(&self.shared, group)?;
        let len: usize = group
            .iter()
            .map(|part| frame::frame_len(part.batch, part.cells))
            .sum();
        if len > FRAME_BYTES_MAX {
            return Err(CommitError::TooLarge {
                bytes: len as u64,
                bytes_max: FRAME_BYTES_MAX as u64,
            });
        }
        if writer.offset + len as u64 > writer.active.len {
            writer.rotate(&self.shared, len as u64)?;
        }
        let headers = writer.frame(group, &mut self.buffer);
        let offset = writer.offset;
        let written = writer
            .active
            .file
            .write_at(&self.buffer, offset)
            .and_then(|()| writer.active.file.sync_data());
        if let Err(error) = written {
            self.state = State::NeedsRecovery;
            return Err(CommitError::Unknown(error));
        }
        writer.publish(&self.shared, &headers, &self.buffer);
        Ok(())
    }

    fn settle(&mut self) -> Result<(), SettleError> {
        let State::Ready(writer) = &mut self.state else {
            return Ok(());
        };
        if let Err(error) = writer.settle() {
            self.state = State::NeedsRecovery;
            return Err(SettleError(error));
        }
        Ok(())
    }

    fn recover(&mut self) -> Result<Recovery, RecoverError> {
        self.state = State::NeedsRecovery;
        let shared = Arc::clone(&self.shared);
        let _maintenance = shared.maintenance();
        let _preparing = shared.preparing();
        let mut loaded = load::load(&shared.segments, Access::Write)?.whole()?;
        let recovery = mend::mend(&*shared.disk, &mut loaded)?;
        for log in std::mem::take(&mut loaded.logs) {
            match shared.logs.get(log.manifest.log_id()) {
                Some(shown) => {
                    let mut view = shown.view();
                    view.head = log.head;
                    view.packed = log.packed;
                    view.parts = log.parts;
                }
                // Made by a call whose outcome was unknown.
                None => drop(shared.logs.show(FileLog::from(log).indexed(&shared.indexes))),
            }
        }
        *shared.released() = loaded.released.clone();
        self.adopt(loaded)?;
        Ok(recovery)
    }

    fn logs(&self) -> Vec<LogManifest> {
        let logs = self.shared.logs.all();
        logs.iter().map(|log| log.manifest().told()).collect()
    }

    fn create_log(&mut self, name: &LogName, created_at: Micros) -> Result<LogManifest, CreateLogError> {
        if matches!(self.state, State::NeedsRecovery) {
            return Err(CreateLogError::NeedsRecovery);
        }
        if self.shared.logs.by_name(name.as_str()).is_some() {
            return Err(CreateLogError::Exists(name.clone()));
        }
        match layout::create_log(&*self.shared.disk, name.as_str(), created_at) {
            Ok(manifest) => {
                let told = manifest.told();
                self.shared.logs.show(
                    FileLog::new(manifest, Head::EMPTY, Head::EMPTY, Vec::new())
                        .indexed(&self.shared.indexes),
                );
                Ok(told)
            }
            Err(NotMade::Nothing(error)) if is_no_space(&error) => Err(CreateLogError::NoSpace(error)),
            Err(NotMade::Nothing(error)) => Err(CreateLogError::Storage(error)),
            Err(NotMade::Perhaps(error)) => {
                self.state = State::NeedsRecovery;
                Err(CreateLogError::Unknown(error))
            }
        }
    }

    fn take_cells(&mut self) -> CellTable {
        self.cells.take().unwrap_or_default()
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        self.shared.files().stopped = true;
        self.shared.wake();
        self.shared.indexes.cache.stop();
    }
}

/// Each batch must extend its log's head, or the batch of the same log before it in the group.
fn check_heads(shared: &Shared, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
    let mut heads: HashMap<LogId, Head> = HashMap::with_capacity(group.len());
    for part in group {
        let found = match heads.get(&part.log) {
            Some(head) => *head,
            None => {
                let log = shared
                    .logs
                    .get(part.log)
                    .ok_or(CommitError::NoSuchLog(part.log))?;
                log.view().head
            }
        };
        if found != *part.batch.before() {
            return Err(CommitError::Conflict {
                log: part.log,
                expected: *part.batch.before(),
                found,
            });
        }
        heads.insert(part.log, part.batch.after());
    }
    Ok(())
}

impl Writer {
    /// Encodes the group's frames into `buffer`.
    fn frame(&self, group: &[LogBatch<'_>], buffer: &mut Vec<u8>) -> Vec<(FrameHeader, usize)> {
        buffer.clear();
        let mut headers = Vec::with_capacity(group.len());
        for (part, number) in group.iter().zip(self.last_frame + 1..) {
            let place = Place {
                log: part.log,
                file: self.active.number,
                number,
                durable_through: self.last_frame,
            };
            let at = buffer.len();
            frame::encode(part.batch, part.cells, &place, buffer);
            headers.push((
                FrameHeader::decode(&buffer[at..]).expect("a frame just encoded"),
                at,
            ));
        }
        headers
    }

    /// The group is durable: moves on, and shows it to readers.
    fn publish(&mut self, shared: &Shared, headers: &[(FrameHeader, usize)], buffer: &[u8]) {
        for (header, at) in headers {
            if let Some(log) = shared.logs.get(header.log) {
                log.publish(
                    header,
                    self.active.number,
                    &self.active.file,
                    self.offset + *at as u64,
                );
            }
        }
        if let Some((last, at)) = headers.last() {
            self.last_frame = last.number;
            self.last_header_digest = HeadRecord::digest(&buffer[*at..*at + HEADER_LEN]);
        }
        self.offset += buffer.len() as u64;
    }

    /// Goes over to the next journal file, with room for `need` bytes. Nothing is lost when it fails.
    fn rotate(&mut self, shared: &Shared, need: u64) -> Result<(), CommitError> {
        let files_max = shared.options.backlog_files_max;
        let waiting = shared.files();
        let (files, lacks_space) = (waiting.closed.len(), waiting.packing_lacks_space);
        drop(waiting);
        if files >= files_max && lacks_space {
            // What the operator has to mend is the disk, not the backlog that it causes.
            let what = "full journal files can not be packed";
            return Err(CommitError::NoSpace(io::Error::new(
                io::ErrorKind::StorageFull,
                what,
            )));
        }
        if files >= files_max {
            return Err(CommitError::Backlog { files, files_max });
        }
        let next = next_file(shared, FRAMES_START + need).map_err(|error| match is_no_space(&error) {
            true => CommitError::NoSpace(error),
            false => CommitError::Storage(error),
        })?;
        let full = std::mem::replace(&mut self.active, next);
        self.offset = FRAMES_START;
        let mut files = shared.files();
        files.closed.push_back(full);
        drop(files);
        shared.wake();
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.head.frame == self.last_frame {
            return Ok(());
        }
        let record = HeadRecord {
            generation: self.head.generation + 1,
            frame: self.last_frame,
            header_digest: self.last_header_digest,
        };
        head::write(&*self.head_file, &record)?;
        self.head = record;
        Ok(())
    }
}

/// The file made beforehand, if it is large enough; else a new one.
fn next_file(shared: &Shared, need: u64) -> io::Result<JournalFile> {
    let _preparing = shared.preparing();
    let mut files = shared.files();
    if let Some(prepared) = files.prepared.take_if(|prepared| prepared.len >= need) {
        files.next_number = prepared.number + 1;
        return Ok(prepared);
    }
    files.prepared = None;
    let number = files.next_number;
    drop(files);
    let len = need.max(shared.options.journal_file_bytes);
    let made = JournalFile::prepare(&*shared.disk, shared.directory, number, len)?;
    // Still under `preparing`: the maintenance must not make a file of this number once it is in use.
    shared.files().next_number = number + 1;
    Ok(made)
}

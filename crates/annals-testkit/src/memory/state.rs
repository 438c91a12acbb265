//! What the engine in memory holds, and what its steps do to it.
//!
//! Invariant: a log's `readable` events are a part of its stored ones; a log that is not `visible` was made, but nobody
//! knows yet.

use std::collections::{HashMap, VecDeque};
use std::io;

use annals_core::chain::{EventId, Head, LogId, TreeSize};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store::{
    Cell, CellBounds, CellTable, CommitError, CreateLogError, Damage, EventRun, LogBatch, LogManifest,
    LogName, RecoverError, Recovery, RunBuilder, SettleError,
};

use super::{CommitFault, CreateFault, LOG, RecoverFault, Step};
use crate::clock::START;

#[derive(Debug)]
pub(super) struct State {
    logs: Vec<MemoryLog>,
    places: HashMap<LogId, usize>,
    /// Of all batches, in the order of their commits.
    cells: Vec<StoredCell>,
    pub(super) cell_bounds: CellBounds,
    needs_recovery: bool,
    pub(super) open_journals: usize,
    pub(super) commit_bytes_max: Option<u64>,
    pub(super) commit_faults: VecDeque<Option<(CommitFault, bool)>>,
    pub(super) settle_faults: usize,
    pub(super) recover_faults: VecDeque<RecoverFault>,
    pub(super) create_faults: VecDeque<(CreateFault, bool)>,
    pub(super) committed_groups: Vec<usize>,
    steps: [StepState; 4],
}

#[derive(Debug, Default)]
pub(super) struct StepState {
    pub(super) holds: usize,
    /// Entries that no hold concerns.
    pub(super) free_entries: u64,
    pub(super) entered: u64,
    pub(super) returned: u64,
}

impl StepState {
    /// Whether the entry that was counted last is held.
    pub(super) fn is_held(&self) -> bool {
        self.holds > 0 && self.entered > self.free_entries
    }

    pub(super) fn let_go(&mut self) {
        self.holds -= 1;
        if self.holds == 0 {
            self.free_entries = 0;
        }
    }
}

#[derive(Debug)]
struct MemoryLog {
    manifest: LogManifest,
    visible: bool,
    stored: Vec<Stored>,
    readable: usize,
}

#[derive(Debug, Clone)]
struct Stored {
    body: Vec<u8>,
    hash: EventHash,
    received_at: Micros,
}

/// A cell and the batch that it came with.
#[derive(Debug)]
struct StoredCell {
    log: LogId,
    first: EventId,
    last: EventId,
    received_at: Micros,
    cell: Cell,
}

impl Default for State {
    fn default() -> Self {
        let mut state = Self {
            logs: Vec::new(),
            places: HashMap::new(),
            cells: Vec::new(),
            cell_bounds: CellBounds::default(),
            needs_recovery: false,
            open_journals: 0,
            commit_bytes_max: None,
            commit_faults: VecDeque::new(),
            settle_faults: 0,
            recover_faults: VecDeque::new(),
            create_faults: VecDeque::new(),
            committed_groups: Vec::new(),
            steps: Default::default(),
        };
        state.add_log(LOG, &LogName::default_log(), START);
        state.show_all();
        state
    }
}

impl MemoryLog {
    fn head_at(&self, size: usize) -> Head {
        match self.stored[..size].last() {
            None => Head::EMPTY,
            Some(last) => Head {
                size: TreeSize(size as u64),
                hash: last.hash,
                received_at: last.received_at,
            },
        }
    }
}

/// Looking.
impl State {
    pub(super) fn step(&mut self, step: Step) -> &mut StepState {
        &mut self.steps[step as usize]
    }

    /// Where a log that is visible is.
    pub(super) fn place(&self, log: LogId) -> Option<usize> {
        let place = *self.places.get(&log)?;
        self.logs[place].visible.then_some(place)
    }

    pub(super) fn manifests(&self) -> Vec<LogManifest> {
        let visible = self.logs.iter().filter(|log| log.visible);
        visible.map(|log| log.manifest.clone()).collect()
    }

    pub(super) fn head_of(&self, place: usize) -> Head {
        let log = &self.logs[place];
        log.head_at(log.readable)
    }

    pub(super) fn readable_head(&self, log: LogId) -> Option<Head> {
        self.place(log).map(|place| self.head_of(place))
    }

    pub(super) fn read(&self, place: usize, from: EventId, bytes_max: usize) -> EventRun {
        let log = &self.logs[place];
        let start = usize::try_from(from.get() - 1)
            .unwrap_or(usize::MAX)
            .min(log.readable);
        let mut run = RunBuilder::new(from);
        let mut left = bytes_max;
        for event in &log.stored[start..log.readable] {
            if !run.is_empty() && event.body.len() > left {
                break;
            }
            left = left.saturating_sub(event.body.len());
            run.push(&event.body, event.hash, event.received_at);
        }
        run.finish()
    }

    pub(super) fn cells(&self) -> CellTable {
        let mut table = CellTable::new(self.cell_bounds);
        for stored in &self.cells {
            table.apply(stored.log, stored.first, stored.received_at, &stored.cell);
        }
        table
    }
}

/// Committing.
impl State {
    pub(super) fn commit(&mut self, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
        self.check(group)?;
        let fault = self.commit_faults.pop_front().flatten();
        if fault.is_none_or(|(_, written)| written) {
            self.store(group);
        }
        let Some((fault, _)) = fault else {
            self.show_all();
            return Ok(());
        };
        let error = self.error_of(fault, group);
        self.needs_recovery |= matches!(error, CommitError::Unknown(_) | CommitError::NeedsRecovery);
        Err(error)
    }

    fn check(&self, group: &[LogBatch<'_>]) -> Result<(), CommitError> {
        if self.needs_recovery {
            return Err(CommitError::NeedsRecovery);
        }
        let mut heads = HashMap::new();
        for LogBatch { log, batch, .. } in group {
            let place = self.place(*log).ok_or(CommitError::NoSuchLog(*log))?;
            let stored = &self.logs[place];
            let found = heads
                .entry(place)
                .or_insert_with(|| stored.head_at(stored.stored.len()));
            if *batch.before() != *found {
                return Err(CommitError::Conflict {
                    log: *log,
                    expected: *batch.before(),
                    found: *found,
                });
            }
            *found = batch.after();
        }
        match (bytes_of(group), self.commit_bytes_max) {
            (bytes, Some(bytes_max)) if bytes > bytes_max => Err(CommitError::TooLarge { bytes, bytes_max }),
            _ => Ok(()),
        }
    }

    fn store(&mut self, group: &[LogBatch<'_>]) {
        for LogBatch { log, batch, cells } in group {
            let place = self.places[log];
            let events = (0..batch.len()).map(|at| Stored {
                body: batch.body(at).to_vec(),
                hash: batch.hashes()[at],
                received_at: batch.received_at(),
            });
            self.logs[place].stored.extend(events);
            let first = batch.first_id();
            self.cells.extend(cells.iter().map(|cell| StoredCell {
                log: *log,
                first,
                last: first.plus(batch.len() as u64 - 1),
                received_at: batch.received_at(),
                cell: cell.clone(),
            }));
        }
        let events = group.iter().map(|part| part.batch.len()).sum();
        self.committed_groups.push(events);
    }

    fn error_of(&self, fault: CommitFault, group: &[LogBatch<'_>]) -> CommitError {
        let bytes = bytes_of(group);
        let log = group.first().map_or(LOG, |part| part.log);
        let place = self.places[&log];
        match fault {
            CommitFault::Conflict => CommitError::Conflict {
                log,
                expected: self.head_of(place),
                found: self.logs[place].head_at(self.logs[place].stored.len()),
            },
            CommitFault::NoSuchLog => CommitError::NoSuchLog(log),
            CommitFault::TooLarge => CommitError::TooLarge {
                bytes,
                bytes_max: bytes / 2,
            },
            CommitFault::NoSpace => CommitError::NoSpace(io::Error::from(io::ErrorKind::StorageFull)),
            CommitFault::Storage => CommitError::Storage(io::Error::other("scripted: the disk is gone")),
            CommitFault::Backlog => CommitError::Backlog {
                files: 9,
                files_max: 8,
            },
            CommitFault::Unknown => CommitError::Unknown(io::Error::other("scripted: the sync failed")),
            CommitFault::NeedsRecovery => CommitError::NeedsRecovery,
            CommitFault::Panic => panic!("scripted: the engine panics"),
        }
    }

    /// Readers see everything that is stored.
    fn show_all(&mut self) {
        for log in &mut self.logs {
            log.visible = true;
            log.readable = log.stored.len();
        }
    }
}

/// The other steps.
impl State {
    pub(super) fn create_log(
        &mut self,
        name: &LogName,
        created_at: Micros,
    ) -> Result<LogManifest, CreateLogError> {
        if self.needs_recovery {
            return Err(CreateLogError::NeedsRecovery);
        }
        if self.logs.iter().any(|log| log.manifest.name == *name) {
            return Err(CreateLogError::Exists(name.clone()));
        }
        let fault = self.create_faults.pop_front();
        let mut id = *b"annals-m........";
        id[8..].copy_from_slice(&(self.logs.len() as u64 + 1).to_be_bytes());
        let made = fault
            .is_none_or(|(_, written)| written)
            .then(|| self.add_log(LogId(id), name, created_at));
        let error = match (fault, made) {
            (None, Some(manifest)) => {
                self.show_all();
                return Ok(manifest);
            }
            (Some((CreateFault::NoSpace, _)), _) => {
                CreateLogError::NoSpace(io::ErrorKind::StorageFull.into())
            }
            (Some((CreateFault::Unknown, _)), _) => {
                CreateLogError::Unknown(io::Error::other("scripted: the sync failed"))
            }
            (Some((CreateFault::NeedsRecovery, _)), _) => CreateLogError::NeedsRecovery,
            (Some((CreateFault::Storage, _)), _) | (None, None) => {
                CreateLogError::Storage(io::Error::other("scripted: the disk is gone"))
            }
        };
        self.needs_recovery |= matches!(error, CreateLogError::Unknown(_) | CreateLogError::NeedsRecovery);
        Err(error)
    }

    fn add_log(&mut self, id: LogId, name: &LogName, created_at: Micros) -> LogManifest {
        let manifest = LogManifest {
            name: name.clone(),
            id,
            origin: format!("annals/log/{id}"),
            created_at: created_at.to_string(),
        };
        self.places.insert(id, self.logs.len());
        self.logs.push(MemoryLog {
            manifest: manifest.clone(),
            visible: false,
            stored: Vec::new(),
            readable: 0,
        });
        manifest
    }

    pub(super) fn settle(&mut self) -> Result<(), SettleError> {
        if self.settle_faults == 0 && !self.needs_recovery {
            return Ok(());
        }
        self.settle_faults = self.settle_faults.saturating_sub(1);
        self.needs_recovery = true;
        Err(SettleError(io::Error::other(
            "scripted: the head record can't be written",
        )))
    }

    pub(super) fn recover(&mut self) -> Result<Recovery, RecoverError> {
        let place = self.places[&LOG];
        match self.recover_faults.pop_front() {
            None => {}
            Some(RecoverFault::Io) => {
                return Err(io::Error::other("scripted: the journal can't be read").into());
            }
            Some(RecoverFault::Damaged(event)) => {
                let what = String::from("scripted damage");
                return Err(Damage {
                    event,
                    place: String::from("memory"),
                    what,
                }
                .into());
            }
            Some(RecoverFault::LosesTail(events)) => {
                let stored = &mut self.logs[place].stored;
                stored.truncate(stored.len().saturating_sub(events));
                let left = TreeSize(stored.len() as u64);
                self.cells
                    .retain(|cell| cell.log != LOG || left.contains(cell.last));
            }
            Some(RecoverFault::ForksTail) => {
                if let Some(last) = self.logs[place].stored.last_mut() {
                    last.hash = EventHash([0x0f; 32]);
                }
            }
        }
        self.needs_recovery = false;
        self.show_all();
        Ok(Recovery::default())
    }
}

fn bytes_of(group: &[LogBatch<'_>]) -> u64 {
    group.iter().map(|part| part.batch.bodies().len() as u64).sum()
}

//! A data directory: its files' structure, then every event of every log, on all cores. Takes no lock; a live server does not
//! notice.
//!
//! Invariants: damage in the structure does not keep what lies before it from being audited, and an earlier break among
//! those events is the one that is named; where loading stopped at damage, no log is called intact, for what lies behind is
//! not known.

use std::path::Path;
use std::sync::Arc;

use annals_api::names::DEFAULT_LOG;
use annals_store::{LogName, ReadLog};
use annals_store_file::disk::RealDisk;
use annals_store_file::{
    DamagedDirectory, Examined, FileLog, FileLogs, OpenError, Place, StoreDamage, audit_index, examine,
};
use annals_verify::{Checkpoint, Level, Options, Verdict, audit};
use anyhow::{Context, Result};

use super::Task;
use super::verdict::{DamagedFiles, Finding, Found, Report};
use crate::exit::Failure;
use crate::progress::Progress;

/// Audits every log of the directory, or the one that is named.
///
/// # Errors
/// When there is no log of that name.
pub(super) fn verify(data_dir: &Path, name: Option<&LogName>, task: &Task) -> Result<Report> {
    let (found, notes) = match examine(data_dir) {
        Ok(Examined::Whole(inspection)) => {
            let mut notes = inspection.notes;
            notes.extend(inspection.residue);
            let chosen = chosen(data_dir, &inspection.logs, name)?;
            (all_of(data_dir, &Audit::new(task, chosen)), notes)
        }
        Ok(Examined::Damaged(damaged)) => {
            let chosen = chosen(data_dir, &damaged.logs, name)?;
            before_damage(damaged, task, chosen)
        }
        Err(error) => (Found::One(not_opened(error)), Vec::new()),
    };
    Ok(Report {
        source: data_dir.display().to_string(),
        level: task.level,
        found,
        notes,
    })
}

fn chosen(data_dir: &Path, logs: &FileLogs, name: Option<&LogName>) -> Result<Vec<Arc<FileLog>>> {
    const SHOWN_MAX: usize = 20;
    let Some(name) = name else {
        return Ok(logs.all());
    };
    let log = logs.by_name(name.as_str()).ok_or_else(|| {
        let all = logs.all();
        let known: Vec<&str> = all
            .iter()
            .take(SHOWN_MAX)
            .map(|log| &*log.manifest().name)
            .collect();
        Failure::Incomplete(format!(
            "{} has no log {name}, so there is nothing to verify; there are: {}",
            data_dir.display(),
            known.join(", ")
        ))
    })?;
    Ok(vec![log])
}

/// The logs that are audited, with what is held against them.
struct Audit<'a> {
    task: &'a Task,
    logs: Vec<Arc<FileLog>>,
    /// What loading stopped at, and whether the directory has one log only.
    damage: Option<(&'a StoreDamage, bool)>,
    progress: Progress,
}

impl<'a> Audit<'a> {
    fn new(task: &'a Task, logs: Vec<Arc<FileLog>>) -> Self {
        let total = logs.iter().map(|log| log.head().size.0).sum();
        Self {
            task,
            logs,
            damage: None,
            progress: Progress::of_events(Some(total)),
        }
    }

    /// Each log's name and verdict.
    fn verdicts(&self) -> Vec<(String, Verdict)> {
        let mut before = 0;
        let verdict = |log: &Arc<FileLog>| {
            let at = before;
            before += log.head().size.0;
            let options = Options::new(self.task.level);
            let verdict = audit(&**log, self.held(log), &options, &|done| {
                self.progress.at(at + done.events);
            });
            (log.manifest().name.clone(), verdict)
        };
        self.logs.iter().map(verdict).collect()
    }

    /// A checkpoint is of one log: the one that is chosen, or the log `default` of several.
    fn held(&self, log: &FileLog) -> Option<&'a Checkpoint> {
        let held = self.task.held.as_ref()?;
        let is_meant = self.logs.len() == 1 || log.manifest().name == DEFAULT_LOG;
        // A held event behind damaged ones is not missing, it is out of reach. Where no event is known to be hit, it is missing.
        let is_in_reach = match self.damage {
            None => true,
            Some((damage, true)) if damage.event.is_none() => true,
            Some(_) => log.head().size.contains(held.event_id),
        };
        (is_meant && is_in_reach).then_some(held)
    }
}

fn all_of(data_dir: &Path, audit: &Audit<'_>) -> Found {
    let verdicts = audit.logs.iter().zip(audit.verdicts());
    let mut logs: Vec<_> = verdicts
        .map(|(log, (name, verdict))| (name, with_index(data_dir, log, verdict, audit.task)))
        .collect();
    if logs.len() == 1
        && let Some((_, finding)) = logs.pop()
    {
        return Found::One(finding);
    }
    Found::Several { damage: None, logs }
}

/// A full check of intact events also builds their index again: one that was changed hides events from queries.
fn with_index(data_dir: &Path, log: &FileLog, verdict: Verdict, task: &Task) -> Finding {
    let Verdict::Intact { size, freshness, .. } = &verdict else {
        return Finding::Verdict(verdict);
    };
    if task.level != Level::Full {
        return Finding::Verdict(verdict);
    }
    let damage = match index_damage(data_dir, log) {
        Ok(None) => return Finding::Verdict(verdict),
        Ok(Some(damage)) => damage,
        Err(reason) => {
            return Finding::Verdict(Verdict::Incomplete {
                checked: size.0,
                reason: format!(
                    "the events are intact, but the index could not be compared with them: {reason}"
                ),
            });
        }
    };
    Finding::DamagedFiles(DamagedFiles {
        checked: size.0,
        freshness: *freshness,
        damage,
    })
}

/// The first file of the log's index that is not what the events make.
fn index_damage(data_dir: &Path, log: &FileLog) -> Result<Option<StoreDamage>> {
    let scratch = tempfile::tempdir().context("no temporary directory can be made (see TMPDIR)")?;
    let again = Arc::new(RealDisk::new(scratch.path()));
    let found = audit_index(&RealDisk::new(data_dir), log, again, &|_| {})?;
    let count = found.damaged.len();
    Ok(found.damaged.into_iter().next().map(|first| StoreDamage {
        event: None,
        place: Place::Index {
            log: log.manifest().log_id(),
        },
        what: format!(
            "{count} of the index's files are damaged, the first is {}: {}",
            first.file, first.what
        ),
    }))
}

/// Audits what lies before the damage.
fn before_damage(
    directory: DamagedDirectory,
    task: &Task,
    chosen: Vec<Arc<FileLog>>,
) -> (Found, Vec<String>) {
    let DamagedDirectory {
        damage,
        logs: all,
        mut notes,
        ..
    } = directory;
    let hit = match damage.place {
        Place::Segment { log, .. } => Some(log),
        _ => None,
    };
    let is_only_one = chosen.len() == 1;
    let mut audit = Audit::new(task, chosen);
    audit.damage = Some((&damage, all.all().len() == 1));
    let mut logs = Vec::with_capacity(audit.logs.len());
    let mut is_told = false;
    for (log, (name, verdict)) in audit.logs.iter().zip(audit.verdicts()) {
        let is_hit = hit.map_or(is_only_one, |hit| hit == log.manifest().log_id());
        is_told |= is_hit;
        let finding = if is_hit {
            of_hit(verdict, &damage, &mut notes)
        } else {
            of_other(verdict, &damage)
        };
        logs.push((name, finding));
    }
    if is_only_one && let Some((_, finding)) = logs.pop() {
        return (Found::One(finding), notes);
    }
    drop(audit);
    let damage = (!is_told).then_some(damage);
    (Found::Several { damage, logs }, notes)
}

/// What is said of the log that is damaged.
fn of_hit(verdict: Verdict, damage: &StoreDamage, notes: &mut Vec<String>) -> Finding {
    match verdict {
        Verdict::Intact { size, freshness, .. } => Finding::DamagedFiles(DamagedFiles {
            checked: size.0,
            freshness,
            damage: damage.clone(),
        }),
        broken @ Verdict::Broken { .. } => {
            notes.push(format!("besides, {damage}"));
            Finding::Verdict(broken)
        }
        // What could not be read does not take back what is known to be damaged.
        Verdict::Incomplete { checked, reason } => {
            notes.push(format!(
                "not everything before the damage could be read: {reason}"
            ));
            Finding::DamagedFiles(DamagedFiles::unproven(checked, damage.clone()))
        }
    }
}

/// What is said of another log: its events as far as they were found, and that more may have been there.
fn of_other(verdict: Verdict, damage: &StoreDamage) -> Finding {
    Finding::Verdict(match verdict {
        Verdict::Intact { size, .. } => Verdict::Incomplete {
            checked: size.0,
            reason: format!(
                "the directory is damaged elsewhere, and what it has of this log behind that is not known: {damage}"
            ),
        },
        verdict => verdict,
    })
}

/// What can not be opened is damaged, or nothing can be said about it.
fn not_opened(error: OpenError) -> Finding {
    let incomplete = |reason| Finding::Verdict(Verdict::Incomplete { checked: 0, reason });
    match error {
        OpenError::Damaged(damage) => Finding::DamagedFiles(DamagedFiles::unproven(0, damage)),
        OpenError::Manifest { .. } => Finding::DamagedStore(error.to_string()),
        OpenError::NoData => incomplete(format!(
            "{error}; name the directory of `annals serve` with --data-dir, or a server or --file"
        )),
        OpenError::Io(_) | OpenError::Locked | OpenError::NotOurs | OpenError::NewerFormat { .. } => {
            incomplete(error.to_string())
        }
    }
}

//! A data directory: its files' structure, then every event, on all cores. Takes no lock; a live server does not notice.
//!
//! Invariant: damage in the structure does not keep what lies before it from being audited, and an earlier break among
//! those events is the one that is named.

use std::path::Path;

use annals_store::ReadLog;
use annals_store_file::{DamagedDirectory, Examined, OpenError, examine};
use annals_verify::{Checkpoint, Options, Verdict, audit};
use anyhow::Result;

use super::Task;
use super::verdict::{DamagedFiles, Finding, Report};
use crate::progress::Progress;

pub(super) fn verify(data_dir: &Path, task: &Task) -> Result<Report> {
    let (finding, notes) = match examine(data_dir) {
        Ok(Examined::Whole(inspection)) => {
            let mut notes = inspection.notes;
            notes.extend(inspection.residue);
            (
                Finding::Verdict(audited(&*inspection.log, task, task.held.as_ref())),
                notes,
            )
        }
        Ok(Examined::Damaged(damaged)) => before_damage(damaged, task),
        Err(error) => (not_opened(error), Vec::new()),
    };
    Ok(Report {
        source: data_dir.display().to_string(),
        level: task.level,
        finding,
        notes,
    })
}

fn audited(log: &dyn ReadLog, task: &Task, held: Option<&Checkpoint>) -> Verdict {
    let progress = Progress::of_events(Some(log.head().size.0));
    audit(log, held, &Options::new(task.level), &|done| {
        progress.at(done.events);
    })
}

/// Audits what lies before the damage.
fn before_damage(damaged: DamagedDirectory, task: &Task) -> (Finding, Vec<String>) {
    let DamagedDirectory {
        damage,
        before,
        mut notes,
    } = damaged;
    let readable = before.head().size;
    // A held event behind damaged ones is not missing, it is out of reach. Where no event is known to be hit, it is missing.
    let in_reach = |held: &&Checkpoint| damage.event.is_none() || readable.contains(held.event_id);
    let found = audited(&*before, task, task.held.as_ref().filter(in_reach));
    let finding = match found {
        Verdict::Intact { size, freshness, .. } => Finding::DamagedFiles(DamagedFiles {
            checked: size.0,
            freshness,
            damage,
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
            Finding::DamagedFiles(DamagedFiles::unproven(checked, damage))
        }
    };
    (finding, notes)
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

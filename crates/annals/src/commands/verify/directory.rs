//! A data directory: its files' structure, then every event, on all cores. Takes no lock; a live server does not notice.

use std::path::Path;

use annals_store::{Damage, ReadLog};
use annals_store_file::{OpenError, inspect};
use annals_verify::{Break, Options, Verdict, audit};
use anyhow::Result;

use super::Task;
use super::verdict::{Finding, Report};
use crate::progress::Progress;

pub(super) fn verify(data_dir: &Path, task: &Task) -> Result<Report> {
    let mut notes = Vec::new();
    let finding = match inspect(data_dir) {
        Ok(inspection) => {
            notes.extend(inspection.residue);
            notes.extend(inspection.notes);
            Finding::Verdict(audited(&*inspection.log, task))
        }
        Err(error) => not_opened(error),
    };
    Ok(Report {
        source: data_dir.display().to_string(),
        level: task.level,
        finding,
        notes,
    })
}

fn audited(log: &dyn ReadLog, task: &Task) -> Verdict {
    let progress = Progress::of_events(Some(log.head().size.0));
    audit(log, task.held.as_ref(), &Options::new(task.level), &|done| {
        progress.at(done.events);
    })
}

/// What can not be opened is damaged, or nothing can be said about it.
fn not_opened(error: OpenError) -> Finding {
    let incomplete = |reason| Finding::Verdict(Verdict::Incomplete { checked: 0, reason });
    match error {
        OpenError::Damaged(Damage { event, place, what }) => {
            let reason = format!("{what} ({place})");
            Finding::Verdict(Verdict::Broken {
                checked: 0,
                at: Break { event, reason },
            })
        }
        OpenError::Manifest { .. } => Finding::DamagedStore(error.to_string()),
        OpenError::NoData => incomplete(format!(
            "{error}; name the directory of `annals serve` with --data-dir, or a server or --file"
        )),
        OpenError::Io(_) | OpenError::Locked | OpenError::NotOurs | OpenError::NewerFormat { .. } => {
            incomplete(error.to_string())
        }
    }
}

//! A workload whose every answer is kept, and the audit of what a disk holds afterwards.

use std::sync::Arc;

use annals_core::chain::{EventId, Head, TreeSize};
use annals_core::hash::EventHash;
use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{CommitError, Journal, LogBatch, ReadLog};
use annals_store_file::{OpenError, Opened, Options, inspect_on, open_on};
use annals_testkit::simdisk::SimDisk;
use annals_testkit::{chain, events};
use annals_verify::{Level, Verdict};

/// Small files, so that a short workload rotates and packs.
pub(crate) const OPTIONS: Options = Options {
    journal_file_bytes: 4096 + 6 * 1024,
    backlog_files_max: 4,
    cache: annals_store_file::CacheBounds::DEFAULT,
};

/// What the workload knows: hashes of the events that were acknowledged, and those whose outcome it was not told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answers {
    pub(crate) acknowledged: Vec<EventHash>,
    pub(crate) uncertain: Vec<EventHash>,
    /// Quarantined files that a recovery reported.
    pub(crate) quarantined: Vec<String>,
    /// True once the log opened.
    pub(crate) opened: bool,
}

pub(crate) fn open_sim(disk: &SimDisk) -> Result<Opened, OpenError> {
    open_on(Arc::new(disk.clone()), OPTIONS)
}

/// Commits `batches` batches, with maintenance and settling in between, as far as the disk lets it; on an unknown outcome it
/// recovers, looks, and goes on.
pub(crate) fn work(disk: &SimDisk, batches: u64) -> Answers {
    let mut answers = Answers::default();
    let Ok(mut opened) = open_sim(disk) else {
        return answers;
    };
    answers.opened = true;
    let log = opened.log_id();
    for round in 0..batches {
        let head = opened.journal.head(log).expect("the log is there");
        let sealed = seal(
            &head,
            Micros(1_000 * i64::try_from(round).unwrap()),
            [&events::batch(3, round)].into_iter(),
        );
        match opened.journal.commit(&[LogBatch::new(log, &sealed)]) {
            Ok(()) => answers.acknowledged.extend_from_slice(sealed.hashes()),
            Err(CommitError::Unknown(_)) => {
                answers.uncertain = sealed.hashes().to_vec();
                if !recover(&mut opened, &mut answers) {
                    return answers;
                }
            }
            Err(CommitError::NoSpace(_) | CommitError::Storage(_) | CommitError::Backlog { .. }) => {}
            Err(CommitError::NeedsRecovery) => {
                if !recover(&mut opened, &mut answers) {
                    return answers;
                }
            }
            Err(error) => panic!("the workload is in order, but {error}"),
        }
        if round % 2 == 0 {
            // An error leaves the work to be done again.
            while opened.maintenance.step().unwrap_or(false) {}
        }
        if round % 3 == 0 && opened.journal.settle().is_err() && !recover(&mut opened, &mut answers) {
            return answers;
        }
    }
    answers
}

/// Recovers and finds out what became of the uncertain events.
fn recover(opened: &mut Opened, answers: &mut Answers) -> bool {
    let Ok(recovery) = opened.journal.recover() else {
        return false;
    };
    answers.quarantined.extend(recovery.quarantined);
    let head = opened.journal.head(opened.log_id()).expect("the log is there");
    if head.size.0 > answers.acknowledged.len() as u64 {
        answers.acknowledged.append(&mut answers.uncertain);
    }
    answers.uncertain.clear();
    true
}

/// What a disk must hold after whatever happened: every acknowledged event, perhaps the uncertain ones, nothing else, in a
/// chain that the oracle and the verifier both find intact; and it takes new events, which then survive a power cut.
pub(crate) fn audit(disk: &SimDisk, answers: &Answers) -> Result<(), String> {
    let opened = open_sim(disk).map_err(|error| format!("does not open: {error}"))?;
    let held = hashes(&*opened.log)?;
    let known = answers.acknowledged.len();
    if held.len() < known || held[..known] != answers.acknowledged {
        return Err(format!(
            "{known} events were acknowledged, {} are there",
            held.len()
        ));
    }
    let rest = &held[known..];
    if !rest.is_empty() && rest != answers.uncertain {
        return Err(format!("{} events are there that nobody sent", rest.len()));
    }
    drop(opened);
    audit_offline(disk, held.len() as u64)?;
    still_works(disk, &held)
}

/// `annals-verify` over the directory as an outsider reads it.
pub(crate) fn audit_offline(disk: &SimDisk, size: u64) -> Result<(), String> {
    let inspection = inspect_on(disk).map_err(|error| format!("the offline reader says: {error}"))?;
    if inspection.residue.is_some() {
        return Err(format!("residue after recovery: {:?}", inspection.residue));
    }
    match annals_verify::audit(
        &*inspection.log,
        None,
        &annals_verify::Options::new(Level::Full),
        &|_| {},
    ) {
        Verdict::Intact {
            size: TreeSize(found),
            ..
        } if found == size => Ok(()),
        verdict => Err(format!("the verifier says: {verdict:?}")),
    }
}

fn still_works(disk: &SimDisk, held: &[EventHash]) -> Result<(), String> {
    let mut opened = open_sim(disk).map_err(|error| format!("does not open again: {error}"))?;
    let head = opened.log.head();
    commit_one(&mut opened, &head).map_err(|error| format!("takes no event: {error}"))?;
    drop(opened);
    disk.power_cycle(annals_testkit::simdisk::Loss::Everything);
    let opened = open_sim(disk).map_err(|error| format!("does not open after a power cut: {error}"))?;
    let now = hashes(&*opened.log)?;
    if now.len() != held.len() + 1 || now[..held.len()] != *held {
        return Err(format!(
            "{} events became {} after one more and a power cut",
            held.len(),
            now.len()
        ));
    }
    Ok(())
}

pub(crate) fn commit_one(opened: &mut Opened, head: &Head) -> Result<Vec<EventHash>, CommitError> {
    let sealed = seal(head, Micros(0), [&events::batch(1, 77)].into_iter());
    let log = opened.log_id();
    opened.journal.commit(&[LogBatch::new(log, &sealed)])?;
    Ok(sealed.hashes().to_vec())
}

/// Hashes of all events, found right by the naive oracle.
pub(crate) fn hashes(log: &dyn ReadLog) -> Result<Vec<EventHash>, String> {
    let mut found = Vec::new();
    chain::audit_with(log, |event| {
        found.push(event.hash);
        Ok(())
    })?;
    Ok(found)
}

/// The id as a typed one.
pub(crate) fn id(id: u64) -> EventId {
    EventId::new(id).expect("ids start at 1")
}

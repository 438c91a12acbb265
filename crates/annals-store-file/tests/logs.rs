//! Several logs and their cells on a disk that fails at every call, every way: each batch is there with its cells or not at
//! all, and what a log has does not depend on what happens to another.

use std::collections::BTreeMap;

use annals_core::chain::{EventId, LogId};
use annals_core::hash::EventHash;
use annals_core::seal::{SealedBatch, seal};
use annals_core::time::Micros;
use annals_store::{
    CallerId, Cell, CommitError, CreateLogError, Journal, LogBatch, LogName, ReceiptKey, Sequence,
};
use annals_store_file::{Opened, inspect_on, open};
use annals_testkit::events;
use annals_testkit::simdisk::{Fault, Loss, SimDisk};
use tempfile::TempDir;

use crate::support::{OPTIONS, hashes, open_sim};

const ROUNDS: u64 = 12;

/// What one commit did to one log.
#[derive(Debug, Clone)]
struct Share {
    log: LogId,
    first: EventId,
    hashes: Vec<EventHash>,
    key: String,
    sequence: Sequence,
}

/// What is known of a disk from the answers of the engine.
#[derive(Debug, Default)]
struct Known {
    /// Names whose log was made for sure, and those of which it is not known.
    made: Vec<String>,
    perhaps_made: Vec<String>,
    sealed: Vec<Share>,
    /// The last group, when its outcome is not known.
    uncertain: Vec<Share>,
}

fn name(text: &str) -> LogName {
    LogName::new(text).unwrap()
}

fn cells(share: &Share) -> Vec<Cell> {
    vec![
        Cell::Receipt {
            index: 0,
            count: u32::try_from(share.hashes.len()).unwrap(),
            digest: [7; 32],
            caller: CallerId::default(),
            key: share.key.as_str().into(),
        },
        Cell::Position {
            producer: "outbox".into(),
            sequence: share.sequence,
        },
    ]
}

/// Seals a batch for each log in turn and commits them as one group.
fn commit(opened: &mut Opened, logs: &[LogId], round: u64) -> (Result<(), CommitError>, Vec<Share>) {
    let sealed: Vec<(LogId, SealedBatch)> = logs
        .iter()
        .map(|log| {
            let head = opened.journal.head(*log).expect("the log is there");
            let batch = events::batch(2, round);
            (
                *log,
                seal(&head, Micros(i64::try_from(round).unwrap()), [&batch].into_iter()),
            )
        })
        .collect();
    let shares: Vec<Share> = sealed
        .iter()
        .map(|(log, batch)| Share {
            log: *log,
            first: batch.first_id(),
            hashes: batch.hashes().to_vec(),
            key: format!("key {round}"),
            sequence: Sequence(round, 1),
        })
        .collect();
    let cells: Vec<Vec<Cell>> = shares.iter().map(cells).collect();
    let group: Vec<LogBatch<'_>> = sealed
        .iter()
        .zip(&cells)
        .map(|((log, batch), cells)| LogBatch {
            log: *log,
            batch,
            cells,
        })
        .collect();
    (opened.journal.commit(&group), shares)
}

/// Makes logs, commits groups and packs, as far as the disk lets it.
fn work(disk: &SimDisk) -> Known {
    let mut known = Known::default();
    let Ok(mut opened) = open_sim(disk) else {
        return known;
    };
    for round in 0..ROUNDS {
        if round % 4 == 1 {
            let text = format!("log-{round}");
            match opened.journal.create_log(&name(&text), Micros(1)) {
                Ok(_) => known.made.push(text),
                Err(CreateLogError::Unknown(_)) => {
                    known.perhaps_made.push(text);
                    if opened.journal.recover().is_err() {
                        return known;
                    }
                }
                Err(CreateLogError::NoSpace(_) | CreateLogError::Storage(_)) => {}
                Err(error) => panic!("the name is new, but {error}"),
            }
        }
        let logs: Vec<LogId> = opened.journal.logs().iter().map(|log| log.id).collect();
        let (outcome, shares) = commit(&mut opened, &logs, round);
        match outcome {
            Ok(()) => known.sealed.extend(shares),
            Err(CommitError::Unknown(_)) => {
                // The process gives up here: what became of the group is for the next one to find out.
                known.uncertain = shares;
                return known;
            }
            Err(CommitError::NoSpace(_) | CommitError::Storage(_) | CommitError::Backlog { .. }) => {}
            Err(error) => panic!("the workload is in order, but {error}"),
        }
        // An error leaves the work to be done again.
        while opened.maintenance.step().unwrap_or(false) {}
    }
    known
}

fn check(disk: &SimDisk, known: &Known) -> Result<(), String> {
    let mut opened = open_sim(disk).map_err(|error| format!("does not open: {error}"))?;
    let table = opened.journal.take_cells();
    let by_name: BTreeMap<String, LogId> = opened
        .journal
        .logs()
        .iter()
        .map(|log| (log.name.to_string(), log.id))
        .collect();
    if let Some(lost) = known.made.iter().find(|name| !by_name.contains_key(*name)) {
        return Err(format!("the log {lost} is gone"));
    }
    let expected_names =
        |name: &String| name == "default" || known.made.contains(name) || known.perhaps_made.contains(name);
    if let Some(unknown) = by_name.keys().find(|name| !expected_names(name)) {
        return Err(format!("nobody made the log {unknown}"));
    }
    for (name, log) in &by_name {
        let held = hashes(&*opened.logs.get(*log).expect("a log that is listed"))?;
        let sealed: Vec<&Share> = known.sealed.iter().filter(|share| share.log == *log).collect();
        let wanted: Vec<EventHash> = sealed.iter().flat_map(|share| share.hashes.clone()).collect();
        let perhaps = known.uncertain.iter().find(|share| share.log == *log);
        let more = held
            .strip_prefix(wanted.as_slice())
            .ok_or(format!("{name}: sealed events are gone"))?;
        let with_perhaps = match perhaps {
            _ if more.is_empty() => None,
            Some(share) if more == share.hashes => Some(share),
            _ => return Err(format!("{name}: {} events that nobody sent", more.len())),
        };
        let there: Vec<&Share> = sealed.into_iter().chain(with_perhaps).collect();
        for share in &there {
            let key = ReceiptKey::new(*log, CallerId::default(), &share.key);
            match table.receipt(&key) {
                Some(receipt) if receipt.first == share.first => {}
                other => return Err(format!("{name}: the receipt of {} is {other:?}", share.key)),
            }
        }
        let position = there.last().map(|share| share.sequence);
        if table.position(*log, "outbox") != position {
            return Err(format!(
                "{name}: the producer stands at {:?}",
                table.position(*log, "outbox")
            ));
        }
        if with_perhaps.is_none() {
            let absent = perhaps.map(|share| ReceiptKey::new(*log, CallerId::default(), &share.key));
            if absent.is_some_and(|key| table.receipt(&key).is_some()) {
                return Err(format!("{name}: a receipt without its events"));
            }
        }
    }
    drop(opened);
    inspect_on(disk)
        .map(drop)
        .map_err(|error| format!("the offline reader says: {error}"))
}

/// Red when: `release` writes the file after the journal file is removed, or not at all; `Released::read` is taken for a directory
/// of any format; `take_cells` of the loader takes the cells of released frames again (positions and receipts of one
/// key then differ); `create_log` does not sync `logs/`; the manifest is written under its last name.
#[test]
fn every_call_fails_every_way_with_many_logs() {
    let disk = SimDisk::new();
    let known = work(&disk);
    assert_eq!(known.made.len(), 3, "without a fault all logs are made");
    let calls = disk.calls();
    let packed = disk
        .files()
        .iter()
        .filter(|name| name.ends_with(".segment"))
        .count();
    assert!(packed > 4, "the workload packs: {packed} segments");
    check(&disk, &known).expect("without a fault all is there");
    for call in 1..=calls {
        for fault in Fault::ALL {
            let disk = SimDisk::new();
            disk.fail_at(call, fault);
            let known = work(&disk);
            disk.heal();
            for loss in [
                None,
                Some(Loss::Everything),
                Some(Loss::Nothing),
                Some(Loss::Some(call)),
            ] {
                let disk = disk.fork();
                match loss {
                    None => disk.restart_process(),
                    Some(loss) => disk.power_cycle(loss),
                }
                check(&disk, &known)
                    .unwrap_or_else(|what| panic!("call {call} {fault:?}, then {loss:?}: {what}"));
            }
        }
    }
}

/// A directory of the first format opens, keeps its events, and is of the present format from then on.
///
/// Red when: `upgrade` does nothing (the format stays); `load_released` reads the file for any format (it does not open).
#[test]
fn a_directory_of_the_first_format_is_taken_over() {
    let dir = TempDir::new().unwrap();
    let mut opened = open(dir.path(), OPTIONS).unwrap();
    let log = opened.log_id();
    for round in 0..8 {
        let head = opened.journal.head(log).unwrap();
        let sealed = seal(&head, Micros(round), [&events::batch(3, 1)].into_iter());
        opened.journal.commit(&[LogBatch::new(log, &sealed)]).unwrap();
    }
    let held = hashes(&*opened.log).unwrap();
    drop(opened);
    let format = dir.path().join("FORMAT");
    let text = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, text.replace("annals-data 2", "annals-data 1")).unwrap();
    std::fs::remove_file(dir.path().join("released")).unwrap();

    let opened = open(dir.path(), OPTIONS).unwrap();
    assert!(
        opened
            .recovery
            .notes
            .iter()
            .any(|note| note.contains("of format 1"))
    );
    assert_eq!(hashes(&*opened.log).unwrap(), held);
    drop(opened);
    assert_eq!(std::fs::read_to_string(&format).unwrap(), text);
    assert_eq!(hashes(&*open(dir.path(), OPTIONS).unwrap().log).unwrap(), held);
}

//! Each sync is there for a reason: with any one of them silently left out, some power cut shows it.
//!
//! This is the test of the crash tests: it proves that they would turn red if a sync were removed from the code.

use annals_testkit::simdisk::{Fault, Loss, SimDisk};

use crate::support::{audit, open_sim, work};

const BATCHES: u64 = 14;

/// Syncs of the whole life of a directory, by what they are on. Paths of a log contain its UUID, so the part is named.
const FILES: [&str; 6] = [
    "manifest.json.tmp",
    "preparing.tmp",
    "FORMAT.tmp",
    "00000000000000000001.journal",
    ".segment.tmp",
    ".journal",
];

fn violations(part: &str) -> Vec<String> {
    let clean = SimDisk::new();
    work(&clean, BATCHES);
    let mut found = Vec::new();
    for call in 1..=clean.calls() {
        for loss in [
            Loss::Everything,
            Loss::Some(call),
            Loss::Some(call + 1_000),
            Loss::Nothing,
        ] {
            let disk = SimDisk::new();
            disk.ignore_syncs_of(part);
            disk.fail_at(call, Fault::CutBefore);
            let answers = work(&disk, BATCHES);
            disk.power_cycle(loss);
            if let Err(what) = audit(&disk, &answers) {
                found.push(format!("power cut before call {call}, {loss:?}: {what}"));
            }
        }
    }
    found
}

#[test]
fn without_a_file_sync_events_are_lost() {
    for part in FILES {
        assert!(
            !violations(part).is_empty(),
            "no power cut shows that the sync of {part} is needed"
        );
    }
}

#[test]
fn without_a_directory_sync_names_are_lost() {
    for part in ["/", "journal/", "logs/", "*.tmp/", "*/segments/"] {
        assert!(
            !violations(part).is_empty(),
            "no power cut shows that the sync of the directory {part} is needed"
        );
    }
}

/// With all syncs in place the same runs show nothing: the tests above can tell.
#[test]
fn with_every_sync_nothing_is_lost() {
    assert_eq!(violations("no such path"), Vec::<String>::new());
}

/// After `settle`, a cut-off tail is known as such, also after a power cut.
///
/// Red when: `head::write` does not sync, or `Writer::settle` does nothing.
#[test]
fn a_settled_head_survives_a_power_cut() {
    let disk = SimDisk::new();
    let mut opened = open_sim(&disk).unwrap();
    let head = annals_store::ReadLog::head(&*opened.log);
    crate::support::commit_one(&mut opened, &head).unwrap();
    annals_store::Journal::settle(&mut opened.journal).unwrap();
    drop(opened);
    disk.power_cycle(Loss::Everything);
    let journal = "journal/00000000000000000001.journal";
    let mut content = disk.content(journal);
    content[4096..].fill(0);
    disk.tamper(journal, content);
    let Err(error) = open_sim(&disk) else {
        panic!("a log that lost its only event opens")
    };
    assert!(
        error.to_string().starts_with("integrity failure: event 1:"),
        "{error}"
    );
}

/// What a crash left is not lost by moving it.
///
/// Red when: `write_small` does not sync the file, or not the directory, before `erase` (quarantine/ is then empty).
#[test]
fn residue_survives_in_quarantine() {
    let disk = SimDisk::new();
    let opened = open_sim(&disk).unwrap();
    drop(opened);
    let journal = "journal/00000000000000000001.journal";
    let mut content = disk.content(journal);
    content[4096..4196].fill(0xAB);
    disk.tamper(journal, content);
    let opened = open_sim(&disk).unwrap();
    assert_eq!(opened.recovery.quarantined.len(), 1);
    drop(opened);
    disk.power_cycle(Loss::Everything);
    let kept: Vec<_> = disk
        .files()
        .into_iter()
        .filter(|name| name.starts_with("quarantine/"))
        .collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(disk.content(&kept[0]), vec![0xAB; 100]);
}

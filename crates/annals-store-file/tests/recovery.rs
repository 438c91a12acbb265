//! Recovery against a naive oracle: for any journal and any way in which a crash can leave its tail, what is kept is what a
//! plain reading of the format says.

use annals_core::chain::Head;
use annals_core::seal::seal;
use annals_core::time::Micros;
use annals_store::{Journal, LogBatch, ReadLog};
use annals_testkit::events;
use annals_testkit::simdisk::{Loss, SimDisk};
use proptest::prelude::*;

use crate::support::{hashes, open_sim};

/// Commits groups of the given batch sizes; the last group is written but never synced. Gives the event count after each
/// batch, and how many batches were durable.
fn journal_with_torn_group(disk: &SimDisk, groups: &[Vec<u8>]) -> (Vec<u64>, usize) {
    let mut opened = open_sim(disk).unwrap();
    let log = opened.log_id();
    let (mut sizes, mut durable) = (vec![0], 0);
    for (at, group) in groups.iter().enumerate() {
        let mut head: Head = opened.log.head();
        let sealed: Vec<_> = group
            .iter()
            .map(|events| {
                let batch = seal(
                    &head,
                    Micros(0),
                    [&events::batch(usize::from(*events), at as u64)].into_iter(),
                );
                head = batch.after();
                batch
            })
            .collect();
        let parts: Vec<_> = sealed.iter().map(|batch| LogBatch::new(log, batch)).collect();
        if at + 1 == groups.len() {
            disk.ignore_syncs_of(".journal");
        }
        opened.journal.commit(&parts).unwrap();
        sizes.extend(sealed.iter().map(|batch| batch.after().size.0));
        if at + 1 < groups.len() {
            durable = sizes.len() - 1;
        }
    }
    (sizes, durable)
}

/// How many batches a plain reading keeps: frames one after the other while their parts are as they were written.
fn kept_by_oracle(written: &[u8], found: &[u8]) -> usize {
    let mut at = 4096;
    let mut kept = 0;
    while written.len() >= at + 192 && &written[at..at + 4] == b"ANNF" {
        let len = u32::from_le_bytes(written[at + 8..at + 12].try_into().unwrap()) as usize;
        if written[at..at + len] != found[at..at + len] {
            break;
        }
        kept += 1;
        at += len;
    }
    kept
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    /// Red when: `load` stops one frame early, goes on behind an incomplete one, or takes residue as damage.
    #[test]
    fn a_torn_group_keeps_exactly_its_complete_head(
        groups in prop::collection::vec(prop::collection::vec(1_u8..4, 1..4), 1..4),
        seed in any::<u64>(),
    ) {
        let disk = SimDisk::new();
        let (sizes, durable) = journal_with_torn_group(&disk, &groups);
        let journal = "journal/00000000000000000001.journal";
        prop_assume!(!disk.files().iter().any(|name| name.ends_with("0002.journal") && disk.content(name).iter().skip(4096).any(|byte| *byte != 0)));
        let written = disk.content(journal);
        disk.power_cycle(Loss::Some(seed));
        let found = disk.content(journal);
        let kept = kept_by_oracle(&written, &found);
        prop_assert!(kept >= durable);
        let opened = open_sim(&disk).unwrap();
        prop_assert_eq!(opened.log.head().size.0, sizes[kept]);
        prop_assert_eq!(hashes(&*opened.log).unwrap().len() as u64, sizes[kept]);
        // Whatever was behind it is in quarantine, byte for byte.
        let last = found.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        let end = disk.content(journal).iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
        prop_assert_eq!(opened.recovery.quarantined.is_empty(), last <= end);
        if let Some(name) = disk.files().iter().find(|name| name.starts_with("quarantine/")) {
            let residue = disk.content(name);
            prop_assert_eq!(&found[last - residue.len()..last], &residue[..]);
        }
    }
}

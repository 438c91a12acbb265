//! What is asked for wrongly is refused, with the reason.

use annals_core::chain::LogId;
use annals_index::{BaseBuilder, BuildError, Fault, Geometry, MemoryRun, MergeError, Run, RunId, merge};

use crate::events::mixed;
use crate::support::{LOG, all_runs, base, open, small};

#[test]
fn a_base_has_exactly_its_events() {
    let geometry = small();
    let events = mixed(1, 65);
    let mut builder = BaseBuilder::new(geometry, LOG, 3);
    assert_eq!(builder.next_event().get(), 193);
    for event in &events[..63] {
        builder.push(event.claimed, event.terms()).unwrap();
    }
    assert!(!builder.is_full());
    builder.push(events[63].claimed, events[63].terms()).unwrap();
    assert!(builder.is_full());
    let refused = builder.push(events[64].claimed, events[64].terms());
    assert!(matches!(refused, Err(BuildError::Full { events: 64 })));
    let mut bytes = Vec::new();
    assert_eq!(builder.finish(&mut bytes).unwrap(), RunId { level: 0, number: 3 });
    assert_eq!(bytes, base(geometry, 3, &events[..64]));
    // The next run begins, and nothing of the last one is left in it.
    assert_eq!(builder.next_event().get(), 257);
    for event in mixed(2, 64) {
        builder.push(event.claimed, event.terms()).unwrap();
    }
    bytes.clear();
    builder.finish(&mut bytes).unwrap();
    assert_eq!(bytes, base(geometry, 4, &mixed(2, 64)));

    let empty = BaseBuilder::new(geometry, LOG, 0).finish(&mut bytes);
    assert!(matches!(
        empty,
        Err(BuildError::Incomplete {
            events: 0,
            needed: 64
        })
    ));
}

#[test]
fn another_run_than_the_one_asked_for_is_refused() {
    let geometry = small();
    let bytes = base(geometry, 3, &mixed(1, 64));
    let id = RunId { level: 0, number: 3 };
    let open = |geometry, log, id| Run::open(MemoryRun::new(bytes.clone(), geometry), geometry, log, id);
    assert!(open(geometry, LOG, id).is_ok());
    let other = Geometry::of_bits(6, 9, 3, 2, 9, 5).unwrap();
    assert!(matches!(open(other, LOG, id), Err(Fault::Format { .. })));
    let log = LogId([1; 16]);
    assert!(matches!(
        open(geometry, log, id),
        Err(Fault::Another { what: "log" })
    ));
    for id in [RunId { level: 0, number: 2 }, RunId { level: 1, number: 3 }] {
        assert!(matches!(
            open(geometry, LOG, id),
            Err(Fault::Another { what: "range" })
        ));
    }
    for id in [
        RunId {
            level: 200,
            number: 0,
        },
        RunId {
            level: 0,
            number: u64::MAX,
        },
    ] {
        assert!(matches!(
            open(geometry, LOG, id),
            Err(Fault::Another { what: "level" })
        ));
    }
}

/// What a footer says has to fit the pages that are there.
///
/// Red when: `Footer::read` does not hold the sum of its parts against the number of pages.
#[test]
fn a_footer_with_another_root_is_refused() {
    const ROOT_AT: usize = 80;
    let geometry = small();
    let bytes = base(geometry, 0, &mixed(1, 64));
    let id = RunId { level: 0, number: 0 };
    let footer = bytes.len() - geometry.page_bytes();
    for (change, is_right) in [(0, true), (1, false), (u32::MAX, false), (1 << 31, false)] {
        let mut bytes = bytes.clone();
        let page = &mut bytes[footer..];
        let root = u32::from_le_bytes(page[ROOT_AT..ROOT_AT + 4].try_into().unwrap());
        page[ROOT_AT..ROOT_AT + 4].copy_from_slice(&root.wrapping_add(change).to_le_bytes());
        let checksum = crc32c::crc32c(&page[4..]);
        page[..4].copy_from_slice(&checksum.to_le_bytes());
        let opened = Run::open(MemoryRun::new(bytes, geometry), geometry, LOG, id);
        assert_eq!(opened.is_ok(), is_right, "{change}");
    }
}

#[test]
fn a_run_with_a_page_too_few_or_too_many_is_refused() {
    let geometry = small();
    let bytes = base(geometry, 0, &mixed(1, 64));
    let id = RunId { level: 0, number: 0 };
    let try_open = |bytes: &[u8]| Run::open(MemoryRun::new(bytes, geometry), geometry, LOG, id);
    assert!(matches!(try_open(&[]), Err(Fault::Format { .. })));
    assert!(try_open(&bytes[512..]).is_err());
    assert!(try_open(&bytes[..bytes.len() - 512]).is_err());
    assert!(try_open(&[bytes.as_slice(), &bytes[..512]].concat()).is_err());
}

#[test]
fn only_all_children_in_order_are_merged() {
    let geometry = small();
    let runs = all_runs(geometry, &mixed(1, 1_024));
    let child = |number| {
        let id = RunId { level: 0, number };
        open(geometry, id, &runs[&id])
    };
    let refused = |numbers: &[u64]| {
        let inputs: Vec<Run<MemoryRun>> = numbers.iter().map(|number| child(*number)).collect();
        matches!(merge(&inputs, &mut Vec::new()), Err(MergeError::Inputs(_)))
    };
    assert!(!refused(&[0, 1, 2, 3, 4, 5, 6, 7]));
    assert!(refused(&[]));
    assert!(refused(&[0, 1, 2, 3, 4, 5, 6]));
    assert!(refused(&[1, 2, 3, 4, 5, 6, 7, 8]));
    assert!(refused(&[0, 1, 2, 3, 4, 5, 7, 6]));
}

/// An output that fails is reported, not swallowed.
#[test]
fn a_full_disk_is_reported() {
    let geometry = small();
    let mut room = [0; 2_000];
    let mut builder = BaseBuilder::new(geometry, LOG, 0);
    for event in mixed(1, 64) {
        builder.push(event.claimed, event.terms()).unwrap();
    }
    assert!(matches!(
        builder.finish(room.as_mut_slice()),
        Err(BuildError::Write(_))
    ));
    let mut bytes = Vec::new();
    builder.finish(&mut bytes).unwrap();
    assert_eq!(
        bytes,
        base(geometry, 0, &mixed(1, 64)),
        "what failed can be done again"
    );
    let runs = all_runs(geometry, &mixed(1, 512));
    let inputs = (0..8).map(|number| {
        let id = RunId { level: 0, number };
        open(geometry, id, &runs[&id])
    });
    let inputs: Vec<Run<MemoryRun>> = inputs.collect();
    assert!(matches!(
        merge(&inputs, room.as_mut_slice()),
        Err(MergeError::Write(_))
    ));
}

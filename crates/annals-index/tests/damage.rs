//! Damaged runs: every changed byte is found or changes nothing, and no bytes whatever make a reader panic.

use annals_core::field::Field;
use annals_index::{Direction, Fault, Geometry, MemoryRun, Page, Run, RunId, WindowHits, merge};
use proptest::prelude::*;

use crate::events::{Question, mixed};
use crate::support::{LOG, all_runs, query, small};

fn questions() -> Vec<Question> {
    vec![
        Question::default().claimed(Some(20_000), Some(300_000)),
        Question::of(&[
            (Field::Kind, &["kind-0", "kind-7"]),
            (Field::Outcome, &["success"]),
        ]),
        Question::of(&[(Field::Actor, &["actor-250", "actor-1", "actor-17"])]),
        Question::of(&[(Field::Session, &["burst"])]),
    ]
}

/// Everything that a run can be asked.
fn ask_all(geometry: Geometry, id: RunId, bytes: &[u8]) -> Result<Vec<WindowHits>, Fault> {
    let run = Run::open(MemoryRun::new(bytes, geometry), geometry, LOG, id)?;
    let mut answers = Vec::new();
    for question in questions() {
        let query = query(&question);
        for window in run.windows() {
            answers.push(run.window(&query, window)?);
            run.count(&query, window)?;
            run.next_window(&query, window, Direction::Up)?;
            run.next_window(&query, window, Direction::Down)?;
        }
    }
    Ok(answers)
}

fn runs() -> Vec<(RunId, Vec<u8>)> {
    let wanted = |(id, _): &(RunId, Vec<u8>)| id.number == 0 && id.level <= 2;
    all_runs(small(), &mixed(11, 2_048))
        .into_iter()
        .filter(wanted)
        .collect()
}

/// The checksums of all pages made right again, so that what lies behind them is reached.
fn with_right_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    for page in bytes.chunks_mut(small().page_bytes()) {
        let checksum = crc32c::crc32c(&page[4..]);
        page[..4].copy_from_slice(&checksum.to_le_bytes());
    }
    bytes
}

/// Red when: `Page::check` leaves out the checksum, or computes it over all but the last byte.
#[test]
fn every_changed_byte_is_found_when_its_page_is_read() {
    let page_bytes = small().page_bytes();
    for (_, bytes) in runs() {
        for at in (0..bytes.len()).step_by(7).chain([0, 3, 4, 8, bytes.len() - 1]) {
            let (number, page) = (at / page_bytes, at / page_bytes * page_bytes);
            let mut page = bytes[page..page + page_bytes].to_vec();
            assert!(Page::check(number as u32, page.as_slice()).is_ok());
            page[at % page_bytes] ^= 1 << (at % 8);
            assert!(matches!(
                Page::check(number as u32, page),
                Err(Fault::Damaged { .. })
            ));
        }
    }
}

/// Red when: `Page::check` does not compare the page's number.
#[test]
fn a_page_in_anothers_place_is_found() {
    let page_bytes = small().page_bytes();
    let (_, bytes) = runs().remove(1);
    let page = &bytes[page_bytes..page_bytes * 2];
    assert!(Page::check(1, page).is_ok());
    assert!(matches!(Page::check(2, page), Err(Fault::Damaged { .. })));
    assert!(matches!(Page::check(0, &page[..16]), Err(Fault::Damaged { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever is read is right, or refused.
    #[test]
    fn answers_of_a_damaged_run_are_right_or_refused(which in 0_usize..3, at: prop::sample::Index, bit in 0_u8..8) {
        let (id, mut bytes) = runs().remove(which);
        let sound = ask_all(small(), id, &bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(answers) = ask_all(small(), id, &bytes) {
            prop_assert_eq!(answers, sound);
        }
    }

    /// Bytes that someone else made, with right checksums: no panic, no endless loop, no large allocation.
    ///
    /// Red when: `Bytes::take` splits without asking.
    #[test]
    fn no_bytes_make_a_reader_panic(
        which in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
    ) {
        let (id, mut bytes) = runs().remove(which);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(answers) = ask_all(small(), id, &with_right_checksums(bytes)) {
            prop_assert!(!answers.is_empty());
        }
    }

    /// Changes near the beginnings of pages, where the headers are.
    #[test]
    fn no_header_makes_a_reader_panic(
        which in 0_usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 4_usize..40, any::<u8>()), 1..12),
    ) {
        let (id, mut bytes) = runs().remove(which);
        for (page, at, value) in changes {
            let page = page.index(bytes.len() / small().page_bytes());
            bytes[page * small().page_bytes() + at] = value;
        }
        if let Ok(answers) = ask_all(small(), id, &with_right_checksums(bytes)) {
            prop_assert!(!answers.is_empty());
        }
    }

    /// A damaged input makes merging end in an error or in a run, never in a panic.
    ///
    /// Red when: `leave_empty_pages` does not hold the next page against the last key.
    #[test]
    fn merging_damaged_runs_does_not_panic(
        level in 0_u8..2,
        changes in prop::collection::vec((any::<prop::sample::Index>(), 4_usize..512, any::<u8>()), 1..8),
    ) {
        let geometry = small();
        let runs = all_runs(geometry, &mixed(11, 2_048));
        let parent = RunId { level: level + 1, number: 0 };
        let inputs: Vec<Run<MemoryRun>> = geometry
            .children(parent)
            .filter_map(|id| {
                let mut bytes = runs[&id].clone();
                for (page, at, value) in &changes {
                    let page = page.index(bytes.len() / geometry.page_bytes());
                    bytes[page * geometry.page_bytes() + at] = *value;
                }
                let bytes = with_right_checksums(bytes);
                Run::open(MemoryRun::new(bytes, geometry), geometry, LOG, id).ok()
            })
            .collect();
        let mut bytes = Vec::new();
        if let Ok(id) = merge(&inputs, &mut bytes) {
            prop_assert_eq!(id, parent);
        }
    }
}

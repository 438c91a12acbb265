//! Builds the runs of made-up events, in a geometry in which few events make many levels.

use std::collections::BTreeMap;

use annals_core::chain::LogId;
use annals_index::{BaseBuilder, Geometry, MemoryRun, Query, Run, RunId, merge};

use crate::events::{Event, Question};

pub(crate) const LOG: LogId = LogId(*b"0123456789abcdef");

/// 64 events a base, 512 a window, 8 a group, 4 runs to one above, pages of 512 bytes, rare below 4 groups.
pub(crate) fn small() -> Geometry {
    Geometry::of_bits(6, 9, 3, 2, 9, 4).unwrap()
}

/// The bytes of the `number`th base.
pub(crate) fn base(geometry: Geometry, number: u64, events: &[Event]) -> Vec<u8> {
    let mut builder = BaseBuilder::new(geometry, LOG, number);
    for event in events {
        builder.push(event.claimed, event.terms()).unwrap();
    }
    let mut bytes = Vec::new();
    assert_eq!(builder.finish(&mut bytes).unwrap(), RunId { level: 0, number });
    bytes
}

pub(crate) fn open(geometry: Geometry, id: RunId, bytes: &[u8]) -> Run<MemoryRun> {
    Run::open(MemoryRun::new(bytes, geometry), geometry, LOG, id).unwrap()
}

/// All runs of all levels that the events fill.
pub(crate) fn all_runs(geometry: Geometry, events: &[Event]) -> BTreeMap<RunId, Vec<u8>> {
    let len = geometry.len(0) as usize;
    let mut runs: BTreeMap<RunId, Vec<u8>> = (0..)
        .zip(events.chunks_exact(len))
        .map(|(number, events)| (RunId { level: 0, number }, base(geometry, number, events)))
        .collect();
    for level in 1..=geometry.level_max() {
        for number in 0..events.len() as u64 / geometry.len(level) {
            let id = RunId { level, number };
            let children = geometry
                .children(id)
                .map(|child| open(geometry, child, &runs[&child]));
            let children: Vec<Run<MemoryRun>> = children.collect();
            let mut bytes = Vec::new();
            assert_eq!(merge(&children, &mut bytes).unwrap(), id);
            runs.insert(id, bytes);
        }
    }
    runs
}

pub(crate) fn query(question: &Question) -> Query {
    let fields = question
        .fields
        .iter()
        .map(|(field, terms)| (*field, terms.iter().map(Vec::as_slice)));
    Query::of_parts(LOG, fields, question.claimed, false)
}

//! Runs built a second way, for a test: from all their events at once, without runs below them.

use std::collections::{BTreeMap, BTreeSet};

use annals_core::chain::LogId;
use proptest::prelude::*;

use crate::build::BaseBuilder;
use crate::footer::Footer;
use crate::geometry::{Geometry, RunId};
use crate::leaf::{Entry, Key, ListEntry};
use crate::merge::merge;
use crate::page::{Kind, MemoryRun, PageWriter};
use crate::postings::{Encoder, ListRef};
use crate::print::{Prints, TERM_BYTES_MAX};
use crate::run::Run;
use crate::tree::{Tree, TreeWriter};
use crate::zones::{Zone, ZoneWriter};

#[path = "../tests/events.rs"]
#[allow(dead_code, unused_qualifications, clippy::cast_possible_truncation)]
mod events;

use events::{Event, mixed};

const LOG: LogId = LogId([9; 16]);

/// A field's number, and a term.
type Named<'e> = (u8, &'e [u8]);

/// What a run holds under one fingerprint in one window.
#[derive(Default)]
struct Held<'e> {
    groups: BTreeSet<u32>,
    terms: BTreeMap<Named<'e>, Vec<u16>>,
}

/// All terms of a span of events, with their ids in it.
fn terms_of(events: &[Event]) -> BTreeMap<Named<'_>, Vec<u16>> {
    let mut terms = BTreeMap::new();
    for (id, event) in (0..).zip(events) {
        let named: BTreeSet<Named<'_>> = event.terms().map(|(field, raw)| (field.number(), raw)).collect();
        for name in named {
            terms.entry(name).or_insert_with(Vec::new).push(id);
        }
    }
    terms
}

/// The run of the first events of the log, straight from what the format says.
fn direct(geometry: Geometry, level: u8, events: &[Event]) -> Vec<u8> {
    let span = geometry.span(level);
    let group_len = u32::try_from(geometry.group_len()).unwrap();
    let mut held: BTreeMap<Key, Held<'_>> = BTreeMap::new();
    for (window, events) in (0..).zip(events.chunks(span as usize)) {
        for ((field, raw), ids) in terms_of(events) {
            let print = Prints::of(LOG).print(field, raw);
            let held = held.entry(Key { print, window }).or_default();
            let groups = ids.iter().map(|id| (window * span + u32::from(*id)) / group_len);
            let groups: BTreeSet<u32> = groups.collect();
            let is_rare = level > 0 && groups.len() < usize::from(geometry.rare_groups);
            if is_rare || raw.len() > TERM_BYTES_MAX {
                held.groups.extend(groups);
            } else {
                held.terms.insert((field, raw), ids);
            }
        }
    }
    let mut bytes = Vec::new();
    let mut pages = PageWriter::new(&mut bytes, geometry);
    let tree = write_tree(geometry, level, &held, &mut pages);
    write_zones(geometry, Kind::GroupZones, group_len, events, &mut pages);
    write_zones(geometry, Kind::WindowZones, span, events, &mut pages);
    let footer = Footer {
        log: LOG,
        geometry,
        run: RunId { level, number: 0 },
        tree,
        zone: zone_of(events),
    };
    footer.write(&mut pages).unwrap();
    bytes
}

fn write_tree(
    geometry: Geometry,
    level: u8,
    held: &BTreeMap<Key, Held<'_>>,
    pages: &mut PageWriter<&mut Vec<u8>>,
) -> Tree {
    let mut tree = TreeWriter::new(pages, geometry, level);
    for (key, held) in held {
        let print = key.print;
        for group in &held.groups {
            tree.add_entry(Entry { print, group: *group }).unwrap();
        }
        for ((field, term), ids) in &held.terms {
            let mut bytes = Vec::new();
            let mut lists = Vec::new();
            let bytes_max = geometry.postings_bytes_max();
            Encoder::default().encode(ids, geometry.span(level), bytes_max, &mut bytes, |list| {
                lists.push(list);
            });
            for list in lists {
                let payload = &bytes[list.payload];
                let list = ListRef {
                    part: list.part,
                    form: list.form,
                    count: list.count,
                    payload,
                };
                let entry = ListEntry {
                    key: *key,
                    field: *field,
                    term,
                    list,
                };
                tree.add_list(&entry).unwrap();
            }
        }
    }
    tree.finish().unwrap()
}

fn zone_of(events: &[Event]) -> Zone {
    let mut zone = Zone::EMPTY;
    for event in events {
        zone.add(event.claimed);
    }
    zone
}

fn write_zones(
    geometry: Geometry,
    kind: Kind,
    each: u32,
    events: &[Event],
    pages: &mut PageWriter<&mut Vec<u8>>,
) {
    let mut writer = ZoneWriter::new(pages, kind, geometry);
    for events in events.chunks(each as usize) {
        writer.put(zone_of(events)).unwrap();
    }
    writer.finish().unwrap();
}

/// The run of the first events of the log, by way of all runs below it.
fn merged(geometry: Geometry, level: u8, events: &[Event]) -> Vec<u8> {
    let mut builder = BaseBuilder::new(geometry, LOG, 0);
    let base = |events: &[Event]| {
        for event in events {
            builder.push(event.claimed, event.terms()).unwrap();
        }
        let mut bytes = Vec::new();
        builder.finish(&mut bytes).unwrap();
        bytes
    };
    let base_len = usize::try_from(geometry.len(0)).unwrap();
    let mut runs: Vec<Vec<u8>> = events.chunks(base_len).map(base).collect();
    for above in 1..=level {
        let fanout = usize::try_from(geometry.fanout(above)).unwrap();
        let merge_some = |(number, children): (u64, &[Vec<u8>])| {
            let parent = RunId { level: above, number };
            let open = |(id, bytes): (RunId, &Vec<u8>)| {
                Run::open(MemoryRun::new(bytes.as_slice(), geometry), geometry, LOG, id).unwrap()
            };
            let children: Vec<Run<MemoryRun>> = geometry.children(parent).zip(children).map(open).collect();
            let mut bytes = Vec::new();
            merge(&children, &mut bytes).unwrap();
            bytes
        };
        runs = (0..).zip(runs.chunks(fanout)).map(merge_some).collect();
    }
    runs.remove(0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10))]

    /// The bytes of a run follow from its events, so that an auditor can build it again and compare.
    ///
    /// Red when: `sort_windows` leaves `place * groups` away, `Row::is_rare` counts ids instead of groups, `flush` does not
    /// drop repeated groups, `write_zones` takes the zones of windows for those of groups.
    #[test]
    fn merged_runs_are_the_runs_that_are_built_from_all_events_at_once(seed: u64) {
        let geometry = Geometry::of_bits(6, 9, 3, 2, 9, 4).unwrap();
        for level in 0..=3 {
            let events = mixed(seed, usize::try_from(geometry.len(level)).unwrap());
            prop_assert!(merged(geometry, level, &events) == direct(geometry, level, &events), "level {}", level);
        }
    }
}

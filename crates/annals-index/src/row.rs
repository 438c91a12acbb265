//! What one window holds under one fingerprint: where it is decided what is rare.
//!
//! Invariants: a term is in a window either rare or common, never both. In a base every term is common, but for those that are
//! too long to be held in full; in a window of full length a term is rare when it hits few groups. What
//! becomes of a term depends only on its ids.

use std::io;
use std::ops::Range;

use crate::geometry::Geometry;
use crate::leaf::{Entry, Key, ListEntry};
use crate::postings::{Encoder, List, ListRef};
use crate::tree::TreeWriter;

/// Gathers what a window holds under one fingerprint, and writes it in the order of the format.
#[derive(Debug)]
pub(crate) struct Row {
    geometry: Geometry,
    level: u8,
    encoder: Encoder,
    groups: Vec<u32>,
    lists: Vec<RowList>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct RowList {
    field: u8,
    term: Range<usize>,
    list: List,
}

impl Row {
    /// For a run of level 0 or 1, which has one window.
    pub(crate) fn new(geometry: Geometry, level: u8) -> Self {
        Self {
            geometry,
            level,
            encoder: Encoder::default(),
            groups: Vec::new(),
            lists: Vec::new(),
            bytes: Vec::new(),
        }
    }

    /// Some event of this group of the run holds a term with the fingerprint.
    pub(crate) fn add_group(&mut self, group: u32) {
        self.groups.push(group);
    }

    /// The events that hold this term, as ascending ids from the run's start, at least one. Terms come in ascending order.
    pub(crate) fn add_term(&mut self, field: u8, term: &[u8], ids: &[u16]) {
        if self.level > 0 && self.is_rare(ids) {
            let group_bits = self.geometry.group_bits;
            self.groups
                .extend(ids.iter().map(|id| u32::from(*id) >> group_bits));
            return;
        }
        let start = self.bytes.len();
        self.bytes.extend_from_slice(term);
        let term = start..self.bytes.len();
        let (span, bytes_max) = (self.geometry.span(self.level), self.geometry.postings_bytes_max());
        let lists = &mut self.lists;
        self.encoder
            .encode(ids, span, bytes_max, &mut self.bytes, |list| {
                lists.push(RowList {
                    field,
                    term: term.clone(),
                    list,
                });
            });
    }

    fn is_rare(&self, ids: &[u16]) -> bool {
        let group_bits = self.geometry.group_bits;
        let groups = ids.chunk_by(|before, id| before >> group_bits == id >> group_bits);
        groups.take(usize::from(self.geometry.rare_groups)).count() < usize::from(self.geometry.rare_groups)
    }

    /// Writes what was gathered, and forgets it.
    pub(crate) fn flush<W: io::Write>(&mut self, print: u32, tree: &mut TreeWriter<'_, W>) -> io::Result<()> {
        self.groups.sort_unstable();
        self.groups.dedup();
        for group in self.groups.drain(..) {
            tree.add_entry(Entry { print, group })?;
        }
        for RowList { field, term, list } in self.lists.drain(..) {
            tree.add_list(&ListEntry {
                key: Key { print, window: 0 },
                field,
                term: &self.bytes[term],
                list: ListRef {
                    part: list.part,
                    form: list.form,
                    count: list.count,
                    payload: &self.bytes[list.payload],
                },
            })?;
        }
        self.bytes.clear();
        Ok(())
    }
}

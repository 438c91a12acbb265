//! Runs of the lowest level, from the terms of events.
//!
//! Invariant: a builder holds the terms of at most a base's events, of each at most its fields' terms of 255 bytes; longer
//! ones only by their fingerprints.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;
use std::ops::Range;

use annals_core::chain::{EventId, LogId};
use annals_core::field::Field;
use annals_core::time::Micros;
use thiserror::Error;

use crate::footer::Footer;
use crate::geometry::{Geometry, RunId};
use crate::page::{Kind, PageWriter};
use crate::print::{Prints, TERM_BYTES_MAX, lower_half};
use crate::row::Row;
use crate::tree::{Tree, TreeWriter};
use crate::zones::{Zone, ZoneWriter};

/// Why there is no run. But for [`BuildError::Write`], it is the caller's bug.
#[derive(Debug, Error)]
pub enum BuildError {
    /// The output failed: the operator has to look at the disk.
    #[error("an index run can not be written: {0}")]
    Write(#[from] io::Error),
    /// The run has all its events.
    #[error("the run has all its {events} events: finish it, and begin the next one")]
    Full {
        /// How many it covers.
        events: u64,
    },
    /// Events are missing.
    #[error("the run has {events} of {needed} events: only a complete one has a defined form")]
    Incomplete {
        /// How many there are.
        events: u64,
        /// How many it covers.
        needed: u64,
    },
}

/// Builds a run of level 0 from its events, which come in the order of their ids.
#[derive(Debug)]
pub struct BaseBuilder {
    geometry: Geometry,
    log: LogId,
    run: RunId,
    prints: Prints,
    /// Events that have ended.
    events: u16,
    /// The last of `terms` with this hash.
    table: HashMap<u64, u32, BuildHasherDefault<Identity>>,
    terms: Vec<Term>,
    term_bytes: Vec<u8>,
    postings: Vec<Posting>,
    /// Fingerprint and group of terms that are too long to hold.
    long: Vec<(u32, u32)>,
    zones: Vec<Zone>,
}

#[derive(Debug)]
struct Term {
    print: u32,
    field: u8,
    bytes: Range<usize>,
    /// The one before with the same hash.
    before: Option<u32>,
    /// How many events hold it.
    count: u32,
    /// The last of them.
    last: u16,
}

#[derive(Debug, Clone, Copy)]
struct Posting {
    term: u32,
    id: u16,
}

impl BaseBuilder {
    /// For the `number`th run, from 0, of level 0: its first event is `number` × 4,096 + 1 in the production geometry.
    #[must_use]
    pub fn new(geometry: Geometry, log: LogId, number: u64) -> Self {
        Self {
            geometry,
            log,
            run: RunId { level: 0, number },
            prints: Prints::of(log),
            events: 0,
            table: HashMap::default(),
            terms: Vec::new(),
            term_bytes: Vec::new(),
            postings: Vec::new(),
            long: Vec::new(),
            zones: vec![Zone::EMPTY; geometry.groups(0) as usize],
        }
    }

    /// The event whose terms come next; behind the run's last when it is full.
    #[must_use]
    pub fn next_event(&self) -> EventId {
        self.geometry.first(self.run).plus(u64::from(self.events))
    }

    /// Whether it has all its events.
    #[must_use]
    pub fn is_full(&self) -> bool {
        u64::from(self.events) == self.geometry.len(0)
    }

    /// A term of the next event: the canonical JSON string without its quotes. The same one twice counts once.
    pub fn add_term(&mut self, field: Field, raw: &[u8]) {
        // Of an event that has no place; `end_event` refuses it.
        if self.is_full() {
            return;
        }
        let field = field.number();
        let hash = self.prints.hash(field, raw);
        if raw.len() > TERM_BYTES_MAX {
            let group = u32::from(self.events) >> self.geometry.group_bits;
            self.long.push((lower_half(hash), group));
            return;
        }
        let index = self.find_or_add(hash, field, raw);
        let term = &mut self.terms[index as usize];
        if term.count > 0 && term.last == self.events {
            return;
        }
        term.count += 1;
        term.last = self.events;
        self.postings.push(Posting {
            term: index,
            id: self.events,
        });
    }

    /// Ends an event whose terms have been added, with the time that it claims, if it claims one.
    ///
    /// # Errors
    /// [`BuildError::Full`] when the run has all its events.
    pub fn end_event(&mut self, claimed: Option<Micros>) -> Result<(), BuildError> {
        if self.is_full() {
            return Err(BuildError::Full {
                events: self.geometry.len(0),
            });
        }
        self.zones[usize::from(self.events >> self.geometry.group_bits)].add(claimed);
        self.events += 1;
        Ok(())
    }

    /// Adds an event with all its terms.
    ///
    /// # Errors
    /// [`BuildError::Full`] when the run has all its events.
    pub fn push<'t>(
        &mut self,
        claimed: Option<Micros>,
        terms: impl IntoIterator<Item = (Field, &'t [u8])>,
    ) -> Result<(), BuildError> {
        for (field, raw) in terms {
            self.add_term(field, raw);
        }
        self.end_event(claimed)
    }

    /// Writes the run and begins the next one, whose first event is the one behind this one's last. When it fails, it can be
    /// called again.
    ///
    /// # Errors
    /// [`BuildError::Incomplete`] when events are missing, [`BuildError::Write`] when `out` fails.
    pub fn finish(&mut self, out: impl io::Write) -> Result<RunId, BuildError> {
        if !self.is_full() {
            return Err(BuildError::Incomplete {
                events: u64::from(self.events),
                needed: self.geometry.len(0),
            });
        }
        self.long.sort_unstable();
        let mut pages = PageWriter::new(out, self.geometry);
        let tree = self.write_tree(&mut pages)?;
        let zone = self.write_zones(&mut pages)?;
        let footer = Footer {
            log: self.log,
            geometry: self.geometry,
            run: self.run,
            tree,
            zone,
        };
        footer.write(&mut pages)?;
        let run = self.run;
        self.begin(run.number + 1);
        Ok(run)
    }

    /// Forgets the events; keeps the memory, which is bounded by a base's events, for those of the next run.
    fn begin(&mut self, number: u64) {
        self.run.number = number;
        self.events = 0;
        self.table.clear();
        self.terms.clear();
        self.term_bytes.clear();
        self.postings.clear();
        self.long.clear();
        self.zones.fill(Zone::EMPTY);
    }

    fn find_or_add(&mut self, hash: u64, field: u8, raw: &[u8]) -> u32 {
        let newest = self.table.get(&hash).copied();
        let mut at = newest;
        while let Some(index) = at {
            let term = &self.terms[index as usize];
            if term.field == field && self.term_bytes[term.bytes.clone()] == *raw {
                return index;
            }
            at = term.before;
        }
        let start = self.term_bytes.len();
        self.term_bytes.extend_from_slice(raw);
        let index = u32::try_from(self.terms.len()).unwrap_or(u32::MAX);
        self.terms.push(Term {
            print: lower_half(hash),
            field,
            bytes: start..self.term_bytes.len(),
            before: newest,
            count: 0,
            last: 0,
        });
        self.table.insert(hash, index);
        index
    }

    /// All postings, those of the first term before those of the second; and where those of each term end.
    fn ids_by_term(&self) -> (Vec<u16>, Vec<usize>) {
        let mut next = 0;
        let starts = self.terms.iter().map(|term| {
            let start = next;
            next += term.count as usize;
            start
        });
        let mut places: Vec<usize> = starts.collect();
        let mut ids = vec![0; self.postings.len()];
        for posting in &self.postings {
            let place = &mut places[posting.term as usize];
            ids[*place] = posting.id;
            *place += 1;
        }
        (ids, places)
    }

    fn write_tree<W: io::Write>(&self, pages: &mut PageWriter<W>) -> io::Result<Tree> {
        let (ids, ends) = self.ids_by_term();
        let mut tree = TreeWriter::new(pages, self.geometry, 0);
        let mut row = Row::new(self.geometry, 0);
        let mut long = self.long.as_slice();
        let terms = self.sorted_terms();
        for same_print in terms.chunk_by(|(before, _), (print, _)| before == print) {
            let (print, _) = same_print[0];
            long = write_long_before(long, Some(print), &mut row, &mut tree)?;
            for (_, index) in same_print {
                let (term, end) = (&self.terms[*index as usize], ends[*index as usize]);
                let ids = &ids[end - term.count as usize..end];
                row.add_term(term.field, &self.term_bytes[term.bytes.clone()], ids);
            }
            let under_print = long.partition_point(|(other, _)| *other == print);
            for (_, group) in &long[..under_print] {
                row.add_group(*group);
            }
            long = &long[under_print..];
            row.flush(print, &mut tree)?;
        }
        write_long_before(long, None, &mut row, &mut tree)?;
        tree.finish()
    }

    /// Fingerprints and terms in the order of the format.
    fn sorted_terms(&self) -> Vec<(u32, u32)> {
        let mut terms: Vec<(u32, u32)> = self.terms.iter().map(|term| term.print).zip(0..).collect();
        terms.sort_unstable();
        let rest = |(_, index): &(u32, u32)| {
            let term = &self.terms[*index as usize];
            (term.field, &self.term_bytes[term.bytes.clone()])
        };
        // Terms that share a fingerprint are few.
        for same_print in terms.chunk_by_mut(|(before, _), (print, _)| before == print) {
            same_print.sort_unstable_by(|left, right| rest(left).cmp(&rest(right)));
        }
        terms
    }

    fn write_zones<W: io::Write>(&self, pages: &mut PageWriter<W>) -> io::Result<Zone> {
        let mut all = Zone::EMPTY;
        let mut writer = ZoneWriter::new(pages, Kind::GroupZones, self.geometry);
        for zone in &self.zones {
            all.join(*zone);
            writer.put(*zone)?;
        }
        writer.finish()?;
        let mut writer = ZoneWriter::new(pages, Kind::WindowZones, self.geometry);
        writer.put(all)?;
        writer.finish()?;
        Ok(all)
    }
}

/// Writes the long terms whose fingerprint is below `print`; returns the others.
fn write_long_before<'l, W: io::Write>(
    mut long: &'l [(u32, u32)],
    print: Option<u32>,
    row: &mut Row,
    tree: &mut TreeWriter<'_, W>,
) -> io::Result<&'l [(u32, u32)]> {
    while let Some((first, _)) = long
        .first()
        .filter(|(first, _)| print.is_none_or(|print| *first < print))
    {
        let (same, rest) = long.split_at(long.partition_point(|(other, _)| other == first));
        for (_, group) in same {
            row.add_group(*group);
        }
        row.flush(*first, tree)?;
        long = rest;
    }
    Ok(long)
}

/// The keys of the table are hashes already.
#[derive(Debug, Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

//! One run from the runs of the level below.
//!
//! Up to the level of a window, terms come together: their ids are decoded, and it is decided what is rare. Above it, windows
//! stay as they are, and merging sorts them by fingerprint, byte for byte. One page of each input and one window's
//! worth of a single fingerprint are in memory, however long the runs are.

use std::io;

use thiserror::Error;

use crate::fault::{Broken, Fault};
use crate::footer::Footer;
use crate::geometry::{Geometry, RunId};
use crate::leaf::{Entry, Key, ListEntry};
use crate::page::{Kind, PageWriter, RunSource};
use crate::row::Row;
use crate::run::Run;
use crate::stream::{Stream, Zones};
use crate::tree::{Tree, TreeWriter};
use crate::zones::{Zone, ZoneWriter};

/// Why runs were not merged. What was written so far is no run.
#[derive(Debug, Error)]
pub enum MergeError {
    /// They do not make a run of the next level: the caller's bug.
    #[error("these index runs do not make one of the next level: {0}")]
    Inputs(&'static str),
    /// One of them can not be read.
    #[error("{input:?}: {fault}")]
    Input {
        /// Which.
        input: RunId,
        /// Why.
        #[source]
        fault: Fault,
    },
    /// The output failed: the operator has to look at the disk.
    #[error("an index run can not be written: {0}")]
    Write(#[from] io::Error),
}

/// Writes the run of the next level that consists of these: all its children, in order. Returns which it is. The bytes are the
/// same whenever the events are.
///
/// # Errors
/// [`MergeError`].
pub fn merge<S: RunSource>(inputs: &[Run<S>], out: impl io::Write) -> Result<RunId, MergeError> {
    let merger = Merger::new(inputs)?;
    let geometry = merger.geometry;
    let mut pages = PageWriter::new(out, geometry);
    let tree = if merger.run.level == 1 {
        merger.gather_window(&mut pages)?
    } else {
        merger.sort_windows(&mut pages)?
    };
    let zone = merger.write_zones(&mut pages)?;
    let footer = Footer {
        log: merger.inputs[0].log(),
        geometry,
        run: merger.run,
        tree,
        zone,
    };
    footer.write(&mut pages)?;
    Ok(merger.run)
}

struct Merger<'r, S> {
    inputs: &'r [Run<S>],
    geometry: Geometry,
    run: RunId,
}

impl<'r, S: RunSource> Merger<'r, S> {
    fn new(inputs: &'r [Run<S>]) -> Result<Self, MergeError> {
        let first = inputs.first().ok_or(MergeError::Inputs("there are none"))?;
        let geometry = first.geometry();
        let is_of_the_same = |run: &Run<S>| run.log() == first.log() && run.geometry() == geometry;
        if !inputs.iter().all(is_of_the_same) {
            return Err(MergeError::Inputs("they are of different logs or geometries"));
        }
        let run = geometry.parent(first.id());
        let run = run.ok_or(MergeError::Inputs("they are of the highest level"))?;
        if !geometry.children(run).eq(inputs.iter().map(Run::id)) {
            return Err(MergeError::Inputs("they are not all of its parts in order"));
        }
        Ok(Self {
            inputs,
            geometry,
            run,
        })
    }

    fn streams(&self) -> Result<Vec<Stream<'r, S>>, MergeError> {
        let open = |run: &'r Run<S>| Stream::new(run).map_err(of_input(run.id()));
        self.inputs.iter().map(open).collect()
    }

    /// Merges runs that are windows, or consist of them.
    fn sort_windows<W: io::Write>(&self, pages: &mut PageWriter<W>) -> Result<Tree, MergeError> {
        let mut tree = TreeWriter::new(pages, self.geometry, self.run.level);
        let mut streams = self.streams()?;
        let windows = self.geometry.windows(self.run.level - 1);
        let groups = self.geometry.groups(self.run.level - 1);
        let mut keys: Vec<Option<Key>> = streams.iter().map(Stream::key).collect();
        // Windows of one input come before those of the next: of equal fingerprints, those of the earliest input.
        while let Some(print) = keys.iter().flatten().map(|key| key.print).min() {
            for (place, stream) in (0_u32..).zip(&mut streams) {
                let key = &mut keys[place as usize];
                while key.is_some_and(|key| key.print == print) {
                    if let Some(entry) = stream.next_entry() {
                        let group = place * groups + entry.group;
                        tree.add_entry(Entry { print, group })?;
                        stream
                            .pass_entry()
                            .map_err(of_input(self.inputs[place as usize].id()))?;
                    } else if let Some(mut list) = stream.next_list() {
                        list.key.window += place * windows;
                        tree.add_list(&list)?;
                        stream
                            .pass_list()
                            .map_err(of_input(self.inputs[place as usize].id()))?;
                    }
                    *key = stream.key();
                }
            }
        }
        Ok(tree.finish()?)
    }

    /// Merges bases into a window.
    fn gather_window<W: io::Write>(&self, pages: &mut PageWriter<W>) -> Result<Tree, MergeError> {
        let mut tree = TreeWriter::new(pages, self.geometry, self.run.level);
        let mut row = Row::new(self.geometry, self.run.level);
        let mut streams = self.streams()?;
        let mut gathered = Gathered::default();
        let mut keys: Vec<Option<Key>> = streams.iter().map(Stream::key).collect();
        // Most fingerprints are in one input only.
        let mut places = Vec::with_capacity(streams.len());
        while let Some(print) = keys.iter().flatten().map(|key| key.print).min() {
            let is_here = |place: &usize| keys[*place].is_some_and(|key| key.print == print);
            places.clear();
            places.extend((0..streams.len()).filter(is_here));
            for place in &places {
                self.gather_entries(print, *place, &mut streams[*place], &mut row)?;
            }
            while self.gather_term(print, &places, &mut streams, &mut gathered)? {
                row.add_term(gathered.field, &gathered.term, &gathered.ids);
            }
            row.flush(print, &mut tree)?;
            for place in &places {
                keys[*place] = streams[*place].key();
            }
        }
        Ok(tree.finish()?)
    }

    fn gather_entries(
        &self,
        print: u32,
        place: usize,
        stream: &mut Stream<'r, S>,
        row: &mut Row,
    ) -> Result<(), MergeError> {
        let first_group = self.offset(place, self.geometry.groups(0));
        while let Some(entry) = stream.next_entry().filter(|entry| entry.print == print) {
            row.add_group(first_group + entry.group);
            stream.pass_entry().map_err(of_input(self.inputs[place].id()))?;
        }
        Ok(())
    }

    /// Whether there was another term under the fingerprint in these inputs; then its ids are gathered.
    fn gather_term(
        &self,
        print: u32,
        places: &[usize],
        streams: &mut [Stream<'r, S>],
        gathered: &mut Gathered,
    ) -> Result<bool, MergeError> {
        let lists = places.iter().filter_map(|place| streams[*place].next_list());
        let terms = lists
            .filter(|list| list.key.print == print)
            .map(|list| (list.field, list.term));
        let Some((field, term)) = terms.min() else {
            return Ok(false);
        };
        gathered.begin(field, term);
        for place in places {
            let stream = &mut streams[*place];
            // A list of a base is in one part.
            let list = stream.next_list();
            let Some(list) = list.filter(|list| list.key.print == print && gathered.is_of(list)) else {
                continue;
            };
            let failed = of_input(self.inputs[*place].id());
            let first_id = self.offset(*place, self.geometry.span(0));
            gathered
                .add(&list, self.geometry.span(0), first_id)
                .map_err(|broken| failed(stream.broken(broken)))?;
            stream.pass_list().map_err(failed)?;
        }
        Ok(true)
    }

    /// Where an input's numbers begin in the run, when each input has this many.
    fn offset(&self, place: usize, each: u32) -> u32 {
        u32::try_from(place).map_or(u32::MAX, |place| place * each)
    }

    fn write_zones<W: io::Write>(&self, pages: &mut PageWriter<W>) -> Result<Zone, MergeError> {
        let below = self.run.level - 1;
        let mut all = Zone::EMPTY;
        let mut writer = ZoneWriter::new(pages, Kind::GroupZones, self.geometry);
        for run in self.inputs {
            all.join(run.footer().zone);
            let mut zones = Zones::new(run, Kind::GroupZones);
            for group in 0..self.geometry.groups(below) {
                writer.put(zones.zone(group).map_err(of_input(run.id()))?)?;
            }
        }
        writer.finish()?;
        let mut writer = ZoneWriter::new(pages, Kind::WindowZones, self.geometry);
        if self.run.level == 1 {
            writer.put(all)?;
        } else {
            for run in self.inputs {
                let mut zones = Zones::new(run, Kind::WindowZones);
                for window in 0..self.geometry.windows(below) {
                    writer.put(zones.zone(window).map_err(of_input(run.id()))?)?;
                }
            }
        }
        writer.finish()?;
        Ok(all)
    }
}

/// A term and its ids in all inputs.
#[derive(Debug, Default)]
struct Gathered {
    field: u8,
    term: Vec<u8>,
    ids: Vec<u16>,
}

impl Gathered {
    fn begin(&mut self, field: u8, term: &[u8]) {
        self.field = field;
        self.term.clear();
        self.term.extend_from_slice(term);
        self.ids.clear();
    }

    fn is_of(&self, list: &ListEntry<'_>) -> bool {
        (list.field, list.term) == (self.field, self.term.as_slice())
    }

    fn add(&mut self, list: &ListEntry<'_>, span: u32, first_id: u32) -> Result<(), Broken> {
        let ids = &mut self.ids;
        list.list.read(span, |range| {
            ids.extend(range.filter_map(|id| u16::try_from(first_id + id).ok()));
            Ok(())
        })
    }
}

fn of_input(input: RunId) -> impl Fn(Fault) -> MergeError {
    move |fault| MergeError::Input { input, fault }
}

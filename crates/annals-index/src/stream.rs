//! A run read from end to end, in its order, for merging: one page in memory.
//!
//! Invariant: what it hands over ascends strictly, so that merging sorted streams gives a sorted run; else it is a fault.

use std::cmp::Ordering;

use crate::fault::{Broken, Fault};
use crate::leaf::{Entry, EntryCursor, Key, ListAt, ListCursor, ListEntry};
use crate::page::{Kind, Page, RunSource};
use crate::run::Run;
use crate::zones::{Zone, zone_on, zones_per_page};

/// The entries and lists of a run.
pub(crate) struct Stream<'r, S> {
    run: &'r Run<S>,
    number: u32,
    page: Page,
    entries: EntryCursor,
    block: Vec<Entry>,
    block_at: usize,
    lists: ListCursor,
    list: Option<ListAt>,
    last_entry: Option<Entry>,
    last_list: Option<(Key, u8, u8)>,
    last_term: Vec<u8>,
}

const ORDER: Broken = Broken("its entries do not ascend");

impl<'r, S: RunSource> Stream<'r, S> {
    pub(crate) fn new(run: &'r Run<S>) -> Result<Self, Fault> {
        let (number, page) = run.first_leaf()?;
        let broken = |broken: Broken| broken.on(number);
        let mut stream = Self {
            run,
            number,
            entries: EntryCursor::new(&page).map_err(broken)?,
            block: Vec::new(),
            block_at: 0,
            lists: ListCursor::new(&page).map_err(broken)?,
            page,
            list: None,
            last_entry: None,
            last_list: None,
            last_term: Vec::new(),
        };
        stream.read_block()?;
        stream.read_list()?;
        stream.leave_empty_pages()?;
        Ok(stream)
    }

    /// Where the next thing belongs; `None` at the end.
    pub(crate) fn key(&self) -> Option<Key> {
        let entry = self.entry().map(|entry| self.run.entry_key(entry));
        let list = self.list.as_ref().map(|list| list.key);
        match (entry, list) {
            (Some(entry), Some(list)) => Some(entry.min(list)),
            (entry, list) => entry.or(list),
        }
    }

    /// The next entry, if it comes before the next list. Entries come before the lists of the same key.
    pub(crate) fn next_entry(&self) -> Option<Entry> {
        let entry = self.entry()?;
        let is_behind = |list: &ListAt| list.key < self.run.entry_key(entry);
        if self.list.as_ref().is_some_and(is_behind) {
            return None;
        }
        Some(entry)
    }

    /// The next list of this page. It comes next when [`Stream::next_entry`] is none.
    pub(crate) fn next_list(&self) -> Option<ListEntry<'_>> {
        Some(self.list.as_ref()?.on(&self.page))
    }

    pub(crate) fn pass_entry(&mut self) -> Result<(), Fault> {
        self.block_at += 1;
        if self.block_at >= self.block.len() {
            self.read_block()?;
        }
        self.leave_empty_pages()
    }

    pub(crate) fn pass_list(&mut self) -> Result<(), Fault> {
        self.read_list()?;
        self.leave_empty_pages()
    }

    /// A fault of the page that it is on.
    pub(crate) fn broken(&self, broken: Broken) -> Fault {
        broken.on(self.number)
    }

    fn entry(&self) -> Option<Entry> {
        self.block.get(self.block_at).copied()
    }

    /// Goes on to the next page with anything on it.
    fn leave_empty_pages(&mut self) -> Result<(), Fault> {
        while self.entry().is_none() && self.list.is_none() {
            let Some((number, page)) = self.run.leaf_behind(self.number)? else {
                return Ok(());
            };
            let broken = |broken: Broken| broken.on(number);
            self.entries = EntryCursor::new(&page).map_err(broken)?;
            self.lists = ListCursor::new(&page).map_err(broken)?;
            let last_entry = self.last_entry.map(|entry| self.run.entry_key(entry));
            let last = last_entry.max(self.last_list.map(|(key, ..)| key));
            self.number = number;
            self.page = page;
            self.read_block()?;
            self.read_list()?;
            if self.key().is_some_and(|key| Some(key) < last) {
                return Err(self.broken(ORDER));
            }
        }
        Ok(())
    }

    fn read_block(&mut self) -> Result<(), Fault> {
        let width = self.run.group_width();
        self.block_at = 0;
        self.entries
            .read_block(&self.page, width, &mut self.block)
            .map_err(|broken| broken.on(self.number))?;
        for entry in &self.block {
            if self.last_entry.is_some_and(|last| last >= *entry) {
                return Err(self.broken(ORDER));
            }
            self.last_entry = Some(*entry);
        }
        Ok(())
    }

    fn read_list(&mut self) -> Result<(), Fault> {
        let list = self
            .lists
            .next(&self.page)
            .map_err(|broken| broken.on(self.number))?;
        if let Some(list) = &list {
            let term = list.term(&self.page);
            let (before, behind) = ((list.key, list.field), list.part().number());
            let order = self.last_list.map_or(Ordering::Less, |(key, field, part)| {
                (key, field)
                    .cmp(&before)
                    .then_with(|| self.last_term.as_slice().cmp(term))
                    .then_with(|| part.cmp(&behind))
            });
            if order != Ordering::Less || list.key.window >= self.run.window_count() {
                return Err(self.broken(ORDER));
            }
            if self.last_term != term {
                self.last_term.clear();
                self.last_term.extend_from_slice(term);
            }
            self.last_list = Some((list.key, list.field, behind));
        }
        self.list = list;
        Ok(())
    }
}

/// The zones of a run, in order, one page in memory.
pub(crate) struct Zones<'r, S> {
    run: &'r Run<S>,
    kind: Kind,
    first_page: u32,
    page: Option<(u32, Page)>,
}

impl<'r, S: RunSource> Zones<'r, S> {
    /// Those of groups, or of windows.
    pub(crate) fn new(run: &'r Run<S>, kind: Kind) -> Self {
        let first_page = match kind {
            Kind::WindowZones => run.footer().window_zones_at(),
            _ => run.footer().group_zones_at(),
        };
        Self {
            run,
            kind,
            first_page,
            page: None,
        }
    }

    /// The zone of a group or window of the run, which must exist.
    pub(crate) fn zone(&mut self, place: u32) -> Result<Zone, Fault> {
        let per_page = zones_per_page(self.run.geometry());
        let number = self.first_page + place / per_page;
        let page = match self.page.take() {
            Some((at, page)) if at == number => page,
            _ => self.run.source().page(number)?,
        };
        let zone = zone_on(&page, self.kind, place % per_page);
        self.page = Some((number, page));
        zone.map_err(|broken| broken.on(number))
    }
}

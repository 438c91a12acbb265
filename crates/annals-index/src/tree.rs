//! A run's pages as they are written: leaves one behind the other, and above them a tree of their first keys.
//!
//! An inner page is written when it is full, so it stands behind its children and the root stands behind all. One page of each
//! height is in memory.

use std::io;

use crate::geometry::Geometry;
use crate::leaf::{Entry, Key, LeafWriter, ListEntry};
use crate::page::{HEADER_BYTES, Header, Kind, PageWriter};

/// Fingerprint, window and number of the page.
pub(crate) const CHILD_BYTES: usize = 12;
/// More heights than a run can have: an inner page has at least 41 children.
pub(crate) const HEIGHT_MAX: u8 = 8;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tree {
    pub(crate) root: u32,
    /// Inner pages above a leaf.
    pub(crate) height: u8,
    pub(crate) entries: u64,
    pub(crate) lists: u64,
}

/// Writes a tree from entries and lists in ascending order.
pub(crate) struct TreeWriter<'w, W> {
    pages: &'w mut PageWriter<W>,
    leaf: LeafWriter,
    /// The inner pages that are being filled, lowest first.
    inner: Vec<Inner>,
    children_max: u16,
    entries: u64,
    lists: u64,
}

struct Inner {
    first: Key,
    children: u16,
    payload: Vec<u8>,
}

impl<'w, W: io::Write> TreeWriter<'w, W> {
    /// For a run of this level.
    pub(crate) fn new(pages: &'w mut PageWriter<W>, geometry: Geometry, level: u8) -> Self {
        let capacity = geometry.page_bytes() - HEADER_BYTES;
        Self {
            pages,
            leaf: LeafWriter::new(capacity, geometry.group_width(level), geometry.window_shift()),
            inner: Vec::new(),
            children_max: u16::try_from(capacity / CHILD_BYTES).unwrap_or(u16::MAX),
            entries: 0,
            lists: 0,
        }
    }

    /// The next entry of a rare term.
    pub(crate) fn add_entry(&mut self, entry: Entry) -> io::Result<()> {
        if !self.leaf.add_entry(entry) {
            self.finish_leaf()?;
            require(self.leaf.add_entry(entry))?;
        }
        self.entries += 1;
        Ok(())
    }

    /// The next list of a common term.
    pub(crate) fn add_list(&mut self, entry: &ListEntry<'_>) -> io::Result<()> {
        if !self.leaf.add_list(entry) {
            self.finish_leaf()?;
            require(self.leaf.add_list(entry))?;
        }
        self.lists += 1;
        Ok(())
    }

    /// Writes what is open. A tree of nothing has one empty leaf.
    pub(crate) fn finish(mut self) -> io::Result<Tree> {
        if self.leaf.first().is_some() || self.inner.is_empty() {
            self.finish_leaf()?;
        }
        // One leaf alone is the root.
        let mut height = 0;
        let mut at = 0;
        let is_single = self.inner.len() == 1 && self.inner[0].children == 1;
        while at < self.inner.len() && !is_single {
            let (first, page) = self.finish_inner(at)?;
            at += 1;
            if at < self.inner.len() {
                self.add_child(at, first, page)?;
            }
            height += 1;
        }
        Ok(Tree {
            root: self.pages.pages() - 1,
            height,
            entries: self.entries,
            lists: self.lists,
        })
    }

    fn finish_leaf(&mut self) -> io::Result<()> {
        let first = self.leaf.first().unwrap_or(Key { print: 0, window: 0 });
        let pages = &mut self.pages;
        let page = self.leaf.finish(|header, payload| pages.write(header, payload))?;
        self.add_child(0, first, page)
    }

    fn add_child(&mut self, at: usize, first: Key, page: u32) -> io::Result<()> {
        if self
            .inner
            .get(at)
            .is_some_and(|inner| inner.children == self.children_max)
        {
            let (full_first, full_page) = self.finish_inner(at)?;
            self.add_child(at + 1, full_first, full_page)?;
        }
        if at == self.inner.len() {
            self.inner.push(Inner {
                first,
                children: 0,
                payload: Vec::new(),
            });
        }
        let inner = &mut self.inner[at];
        if inner.children == 0 {
            inner.first = first;
        }
        inner.payload.extend_from_slice(&first.print.to_le_bytes());
        inner.payload.extend_from_slice(&first.window.to_le_bytes());
        inner.payload.extend_from_slice(&page.to_le_bytes());
        inner.children += 1;
        Ok(())
    }

    /// Writes the inner page of this height and empties it.
    fn finish_inner(&mut self, at: usize) -> io::Result<(Key, u32)> {
        let inner = &mut self.inner[at];
        let mut header = Header::new(Kind::Inner);
        header.height = u8::try_from(at + 1).unwrap_or(u8::MAX);
        header.entries = inner.children;
        let page = self.pages.write(header, &[&inner.payload])?;
        inner.payload.clear();
        inner.children = 0;
        Ok((inner.first, page))
    }
}

fn require(fits: bool) -> io::Result<()> {
    if fits {
        Ok(())
    } else {
        Err(io::Error::other("an entry of an index run is longer than a page"))
    }
}

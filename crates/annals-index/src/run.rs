//! A run that is open for reading: descents from the root to the leaf where a key belongs, and its neighbours.
//!
//! Invariant: opening reads the footer alone; a descent reads one page of each height. Page numbers fall on the way down and
//! rise on the way along the leaves, so no damage makes a reader go in circles.

use annals_core::chain::{EventId, LogId};

use crate::bits::Bytes;
use crate::fault::{Broken, Fault};
use crate::footer::Footer;
use crate::geometry::{Geometry, RunId};
use crate::leaf::{Entry, Key};
use crate::page::{Kind, Page, RunSource};
use crate::tree::CHILD_BYTES;

/// An index run, read through a source of pages. Safe to use from many threads when its source is.
#[derive(Debug)]
pub struct Run<S> {
    source: S,
    footer: Footer,
}

/// Which of the leaves is wanted, where a key could be on more than one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The first that may hold the key.
    First,
    /// The last that may hold it, or what comes before it.
    Last,
}

impl<S: RunSource> Run<S> {
    /// Opens the run of this place in this log: reads its last page.
    ///
    /// # Errors
    /// [`Fault`] when it can not be read, is damaged, or is another run.
    pub fn open(source: S, geometry: Geometry, log: LogId, run: RunId) -> Result<Self, Fault> {
        let footer = Footer::read(&source, geometry, log, run)?;
        Ok(Self { source, footer })
    }

    /// The leaf where a key belongs.
    pub(crate) fn leaf(&self, key: Key, side: Side) -> Result<(u32, Page), Fault> {
        let mut number = self.footer.tree.root;
        for height in (1..=self.footer.tree.height).rev() {
            let page = self.source.page(number)?;
            number = child(&page, number, height, key, side).map_err(|broken| broken.on(number))?;
        }
        let page = self.source.page(number)?;
        page.header(Kind::Leaf).map_err(|broken| broken.on(number))?;
        Ok((number, page))
    }

    pub(crate) fn first_leaf(&self) -> Result<(u32, Page), Fault> {
        self.leaf(Key { print: 0, window: 0 }, Side::First)
    }

    /// The next leaf, `None` behind the last.
    pub(crate) fn leaf_behind(&self, number: u32) -> Result<Option<(u32, Page)>, Fault> {
        for next in number.saturating_add(1)..self.footer.tree.root {
            let page = self.source.page(next)?;
            if page.is(Kind::Leaf) {
                return Ok(Some((next, page)));
            }
        }
        Ok(None)
    }

    /// The leaf before, `None` before the first.
    pub(crate) fn leaf_before(&self, number: u32) -> Result<Option<(u32, Page)>, Fault> {
        for before in (0..number).rev() {
            let page = self.source.page(before)?;
            if page.is(Kind::Leaf) {
                return Ok(Some((before, page)));
            }
        }
        Ok(None)
    }
}

impl<S> Run<S> {
    /// Its place in the log.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.footer.run
    }

    /// The log.
    #[must_use]
    pub fn log(&self) -> LogId {
        self.footer.log
    }

    /// The sizes that it was written with.
    #[must_use]
    pub fn geometry(&self) -> Geometry {
        self.footer.geometry
    }

    /// The first event that it covers.
    #[must_use]
    pub fn first(&self) -> EventId {
        self.footer.geometry.first(self.footer.run)
    }

    /// The last event that it covers.
    #[must_use]
    pub fn last(&self) -> EventId {
        self.first()
            .plus(self.footer.geometry.len(self.footer.run.level) - 1)
    }

    /// The windows that it covers, or in one of which it lies: window `w` is that of the event ids from `w` × 65,536 + 1 on, in
    /// the production geometry.
    #[must_use]
    pub fn windows(&self) -> std::ops::RangeInclusive<u64> {
        let first = self.first_window();
        first..=first + u64::from(self.window_count() - 1)
    }

    pub(crate) fn source(&self) -> &S {
        &self.source
    }

    pub(crate) fn footer(&self) -> &Footer {
        &self.footer
    }

    pub(crate) fn first_window(&self) -> u64 {
        self.footer.geometry.start(self.footer.run) / self.footer.geometry.window_len()
    }

    pub(crate) fn window_count(&self) -> u32 {
        self.footer.geometry.windows(self.footer.run.level)
    }

    pub(crate) fn span(&self) -> u32 {
        self.footer.geometry.span(self.footer.run.level)
    }

    pub(crate) fn group_width(&self) -> u32 {
        self.footer.geometry.group_width(self.footer.run.level)
    }

    pub(crate) fn entry_key(&self, entry: Entry) -> Key {
        Key {
            print: entry.print,
            window: entry.group >> self.footer.geometry.window_shift(),
        }
    }
}

/// The child of an inner page on the way to `key`.
fn child(page: &Page, number: u32, height: u8, key: Key, side: Side) -> Result<u32, Broken> {
    let header = page.header(Kind::Inner)?;
    let children = page.payload().get(..usize::from(header.entries) * CHILD_BYTES);
    let children = children.filter(|children| !children.is_empty() && header.height == height);
    let children = children.ok_or(Broken("an inner page is not what its place asks for"))?;
    let (rows, _) = children.as_chunks::<CHILD_BYTES>();
    let is_before = |row: &[u8; CHILD_BYTES]| match (first_key(row), side) {
        (Ok((first, _)), Side::First) => first < key,
        (Ok((first, _)), Side::Last) => first <= key,
        (Err(_), _) => false,
    };
    let row = rows[rows.partition_point(is_before).saturating_sub(1)];
    let (_, child) = first_key(&row)?;
    if child >= number {
        return Err(Broken("an inner page stands before its child"));
    }
    Ok(child)
}

fn first_key(row: &[u8; CHILD_BYTES]) -> Result<(Key, u32), Broken> {
    let mut bytes = Bytes::new(row);
    let (print, window) = (bytes.u32()?, bytes.u32()?);
    Ok((Key { print, window }, bytes.u32()?))
}

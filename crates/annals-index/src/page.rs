//! Pages: the unit in which a run is read, each with its own checksum.
//!
//! Invariant: a [`Page`] exists only if its checksum and its number are right, so what holds pages (a cache, a query) never
//! has to check again. A checksum tells damage from health, not truth from forgery: an auditor builds the run again.

use std::io;
use std::sync::Arc;

use crate::bits::Bytes;
use crate::fault::{Broken, Fault};
use crate::geometry::Geometry;

/// Checksum (4), number (4), kind, height, two counts (2 each), an offset (2).
pub(crate) const HEADER_BYTES: usize = 16;

/// What a page holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Leaf = 1,
    Inner = 2,
    GroupZones = 3,
    WindowZones = 4,
    Footer = 5,
}

/// A page whose checksum has been checked; cheap to clone.
#[derive(Debug, Clone)]
pub struct Page(Arc<[u8]>);

impl Page {
    /// Checks a page's bytes.
    ///
    /// # Errors
    /// [`Fault::Damaged`] unless these are the bytes that were written as page `number`.
    pub fn check(number: u32, bytes: impl Into<Arc<[u8]>>) -> Result<Self, Fault> {
        let bytes = bytes.into();
        let damaged = |what| Broken(what).on(number);
        if bytes.len() <= HEADER_BYTES {
            return Err(damaged("it is too short"));
        }
        let header = Header::read(&bytes).map_err(|broken| broken.on(number))?;
        if header.checksum != crc32c::crc32c(&bytes[4..]) {
            return Err(damaged("its checksum is wrong"));
        }
        if header.number != number {
            return Err(damaged("another page is in its place"));
        }
        Ok(Self(bytes))
    }

    /// Its bytes, header included.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The header, when the page is of this kind.
    pub(crate) fn header(&self, kind: Kind) -> Result<Header, Broken> {
        let header = Header::read(&self.0)?;
        if header.kind != kind as u8 {
            return Err(Broken("it is of another kind than its place asks for"));
        }
        Ok(header)
    }

    pub(crate) fn is(&self, kind: Kind) -> bool {
        self.header(kind).is_ok()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        self.0.get(HEADER_BYTES..).unwrap_or_default()
    }
}

/// The first bytes of every page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    checksum: u32,
    number: u32,
    kind: u8,
    /// Of an inner page: how many levels of pages are below it.
    pub(crate) height: u8,
    /// Of a leaf: entries of rare terms. Else all entries.
    pub(crate) entries: u16,
    /// Of a leaf: lists.
    pub(crate) lists: u16,
    /// Of a leaf: where in the payload the lists begin.
    pub(crate) lists_at: u16,
}

impl Header {
    pub(crate) fn new(kind: Kind) -> Self {
        Self {
            checksum: 0,
            number: 0,
            kind: kind as u8,
            height: 0,
            entries: 0,
            lists: 0,
            lists_at: 0,
        }
    }

    fn read(page: &[u8]) -> Result<Self, Broken> {
        let mut bytes = Bytes::new(page);
        Ok(Self {
            checksum: bytes.u32()?,
            number: bytes.u32()?,
            kind: bytes.u8()?,
            height: bytes.u8()?,
            entries: bytes.u16()?,
            lists: bytes.u16()?,
            lists_at: bytes.u16()?,
        })
    }
}

/// Writes pages one behind the other.
#[derive(Debug)]
pub(crate) struct PageWriter<W> {
    out: W,
    page_bytes: usize,
    pages: u32,
    buffer: Vec<u8>,
}

impl<W: io::Write> PageWriter<W> {
    pub(crate) fn new(out: W, geometry: Geometry) -> Self {
        let page_bytes = geometry.page_bytes();
        Self {
            out,
            page_bytes,
            pages: 0,
            buffer: Vec::with_capacity(page_bytes),
        }
    }

    /// Pages written.
    pub(crate) fn pages(&self) -> u32 {
        self.pages
    }

    /// Writes one page: the payload's parts, filled with zeros. Returns its number.
    pub(crate) fn write(&mut self, header: Header, payload: &[&[u8]]) -> io::Result<u32> {
        let number = self.pages;
        let buffer = &mut self.buffer;
        buffer.clear();
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&number.to_le_bytes());
        buffer.extend_from_slice(&[header.kind, header.height]);
        buffer.extend_from_slice(&header.entries.to_le_bytes());
        buffer.extend_from_slice(&header.lists.to_le_bytes());
        buffer.extend_from_slice(&header.lists_at.to_le_bytes());
        for part in payload {
            buffer.extend_from_slice(part);
        }
        debug_assert!(buffer.len() <= self.page_bytes, "a page's payload is too long");
        buffer.resize(self.page_bytes, 0);
        let checksum = crc32c::crc32c(&buffer[4..]);
        buffer[..4].copy_from_slice(&checksum.to_le_bytes());
        self.out.write_all(buffer)?;
        self.pages = number
            .checked_add(1)
            .ok_or_else(|| io::Error::other("an index run has more pages than their numbers can count"))?;
        Ok(number)
    }
}

/// Where a run's pages come from: a file, usually through a bounded cache. One source is one run.
pub trait RunSource {
    /// How many pages the run has.
    fn pages(&self) -> u32;

    /// One page, numbered from 0, checked with [`Page::check`]. Pages are [`Geometry::page_bytes`] long and lie one behind the
    /// other.
    ///
    /// # Errors
    /// [`Fault::Read`] when it can not be read, [`Fault::Damaged`] when it is not there or not what was written.
    fn page(&self, number: u32) -> Result<Page, Fault>;
}

impl<S: RunSource + ?Sized> RunSource for &S {
    fn pages(&self) -> u32 {
        (**self).pages()
    }

    fn page(&self, number: u32) -> Result<Page, Fault> {
        (**self).page(number)
    }
}

impl<S: RunSource + ?Sized> RunSource for Arc<S> {
    fn pages(&self) -> u32 {
        (**self).pages()
    }

    fn page(&self, number: u32) -> Result<Page, Fault> {
        (**self).page(number)
    }
}

/// A run whose bytes are in memory.
#[derive(Debug, Clone)]
pub struct MemoryRun {
    bytes: Arc<[u8]>,
    page_bytes: usize,
}

impl MemoryRun {
    /// The run with these bytes.
    #[must_use]
    pub fn new(bytes: impl Into<Arc<[u8]>>, geometry: Geometry) -> Self {
        Self {
            bytes: bytes.into(),
            page_bytes: geometry.page_bytes(),
        }
    }
}

impl RunSource for MemoryRun {
    fn pages(&self) -> u32 {
        u32::try_from(self.bytes.len() / self.page_bytes).unwrap_or(u32::MAX)
    }

    fn page(&self, number: u32) -> Result<Page, Fault> {
        let start = number as usize * self.page_bytes;
        let bytes = self
            .bytes
            .get(start..start + self.page_bytes)
            .ok_or_else(|| Broken("it is not there").on(number))?;
        Page::check(number, bytes)
    }
}

//! Leaf pages: entries of rare terms in blocks of bits, and lists of postings of common ones.
//!
//! Both are sorted by [`Key`], first the fingerprint, then the window in the run; so everything that a run knows about a
//! term in a window lies together, whether it is rare there or common. Whole pages are sorted like their contents.
//!
//! Invariant: what goes into a page, and when it is full, follows from the entries alone, so that equal entries make equal
//! bytes.

use std::ops::Range;

use crate::bits::{BLOCK, BitReader, BitWriter, Bytes, put_varint, rice_parameter, varint_len};
use crate::fault::Broken;
use crate::page::{Header, Kind, Page};
use crate::postings::{Form, ListRef, Part};

/// Where something belongs in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) print: u32,
    /// From 0 for the first of the run.
    pub(crate) window: u32,
}

/// A rare term's occurrence: some event of the group holds a term with this fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) print: u32,
    /// From 0 for the first of the run.
    pub(crate) group: u32,
}

/// A common term's postings in one window, or in a quarter of it.
#[derive(Debug, Clone)]
pub(crate) struct ListEntry<'a> {
    pub(crate) key: Key,
    pub(crate) field: u8,
    /// At most 255 bytes.
    pub(crate) term: &'a [u8],
    pub(crate) list: ListRef<'a>,
}

/// First fingerprint (4), parameter (1), bytes of bits (2).
const BLOCK_HEADER_BYTES: usize = 7;
/// In a list's first byte: the term is the one of the list before, on the same page.
const SAME_TERM: u8 = 0x20;

/// A page that is being filled.
#[derive(Debug)]
pub(crate) struct LeafWriter {
    capacity: usize,
    group_width: u32,
    window_shift: u32,
    first: Option<Key>,
    entries: u16,
    blocks: Vec<u8>,
    /// Entries of the block that is not written yet: fewer than [`BLOCK`].
    waiting: Vec<Entry>,
    list_count: u16,
    lists: Vec<u8>,
    last_list: Option<(Key, u8)>,
    last_term: Vec<u8>,
}

impl LeafWriter {
    /// For payloads of `capacity` bytes.
    pub(crate) fn new(capacity: usize, group_width: u32, window_shift: u32) -> Self {
        Self {
            capacity,
            group_width,
            window_shift,
            first: None,
            entries: 0,
            blocks: Vec::with_capacity(capacity),
            waiting: Vec::with_capacity(BLOCK),
            list_count: 0,
            lists: Vec::with_capacity(capacity),
            last_list: None,
            last_term: Vec::new(),
        }
    }

    /// The key of the first thing in it.
    pub(crate) fn first(&self) -> Option<Key> {
        self.first
    }

    /// Whether the entry went in; if not, the page is full. An empty page takes any.
    pub(crate) fn add_entry(&mut self, entry: Entry) -> bool {
        let first = self.waiting.first().map_or(entry.print, |first| first.print);
        let sum = u64::from(entry.print - first);
        if self.used() + self.block_bytes_max(sum, self.waiting.len() + 1) > self.capacity {
            return false;
        }
        self.first.get_or_insert(Key {
            print: entry.print,
            window: entry.group >> self.window_shift,
        });
        self.waiting.push(entry);
        self.entries += 1;
        if self.waiting.len() == BLOCK {
            self.write_block();
        }
        true
    }

    /// Whether the list went in; if not, the page is full. An empty page takes any.
    pub(crate) fn add_list(&mut self, entry: &ListEntry<'_>) -> bool {
        let same = self
            .last_list
            .filter(|(key, field)| (key.print, *field) == (entry.key.print, entry.field))
            .filter(|_| self.last_term == entry.term);
        let window = entry.key.window - same.map_or(0, |(key, _)| key.window);
        let len = u32::try_from(entry.list.payload.len()).unwrap_or(u32::MAX);
        let term_bytes = if same.is_some() { 0 } else { 6 + entry.term.len() };
        let bytes = 1
            + term_bytes
            + varint_len(window)
            + varint_len(entry.list.count - 1)
            + varint_len(len)
            + entry.list.payload.len();
        if self.used() + self.waiting_bytes_max() + bytes > self.capacity {
            return false;
        }
        self.first.get_or_insert(entry.key);
        let tag = entry.list.form as u8 | entry.list.part.number() << 2;
        match same {
            Some(_) => self.lists.push(tag | SAME_TERM),
            None => {
                self.lists.push(tag);
                self.lists.extend_from_slice(&entry.key.print.to_le_bytes());
                self.lists.push(entry.field);
                self.lists.push(u8::try_from(entry.term.len()).unwrap_or(u8::MAX));
                self.lists.extend_from_slice(entry.term);
                self.last_term.clear();
                self.last_term.extend_from_slice(entry.term);
            }
        }
        put_varint(window, &mut self.lists);
        put_varint(entry.list.count - 1, &mut self.lists);
        put_varint(len, &mut self.lists);
        self.lists.extend_from_slice(entry.list.payload);
        self.last_list = Some((entry.key, entry.field));
        self.list_count += 1;
        true
    }

    /// Hands over the finished page and begins the next.
    pub(crate) fn finish<T>(&mut self, write: impl FnOnce(Header, &[&[u8]]) -> T) -> T {
        self.write_block();
        let mut header = Header::new(Kind::Leaf);
        header.entries = self.entries;
        header.lists = self.list_count;
        header.lists_at = u16::try_from(self.blocks.len()).unwrap_or(u16::MAX);
        let written = write(header, &[&self.blocks, &self.lists]);
        self.first = None;
        self.entries = 0;
        self.blocks.clear();
        self.list_count = 0;
        self.lists.clear();
        self.last_list = None;
        written
    }

    fn used(&self) -> usize {
        self.blocks.len() + self.lists.len()
    }

    fn waiting_bytes_max(&self) -> usize {
        let (Some(first), Some(last)) = (self.waiting.first(), self.waiting.last()) else {
            return 0;
        };
        self.block_bytes_max(u64::from(last.print - first.print), self.waiting.len())
    }

    /// No block of `count` entries whose fingerprints end `sum` above the first is longer.
    fn block_bytes_max(&self, sum: u64, count: usize) -> usize {
        let k = rice_parameter(sum, count as u64 - 1);
        BLOCK_HEADER_BYTES + (count * (k + 4 + self.group_width) as usize).div_ceil(8)
    }

    fn write_block(&mut self) {
        let (Some(first), Some(last)) = (self.waiting.first(), self.waiting.last()) else {
            return;
        };
        let k = rice_parameter(u64::from(last.print - first.print), self.waiting.len() as u64 - 1);
        let header_at = self.blocks.len();
        self.blocks.extend_from_slice(&first.print.to_le_bytes());
        self.blocks.extend_from_slice(&[(k & 0x1f) as u8, 0, 0]);
        let bits_at = self.blocks.len();
        let mut print = first.print;
        let mut bits = BitWriter::new(&mut self.blocks);
        for (place, entry) in self.waiting.iter().enumerate() {
            if place > 0 {
                bits.rice(entry.print - print, k);
            }
            bits.put(entry.group, self.group_width);
            print = entry.print;
        }
        bits.finish();
        let len = u16::try_from(self.blocks.len() - bits_at).unwrap_or(u16::MAX);
        self.blocks[header_at + 5..header_at + 7].copy_from_slice(&len.to_le_bytes());
        self.waiting.clear();
    }
}

/// Where reading the entries of a leaf has come to.
#[derive(Debug, Clone)]
pub(crate) struct EntryCursor {
    /// In the payload.
    rest: Range<usize>,
    left: usize,
}

/// A block's header.
struct BlockHeader {
    print: u32,
    k: u32,
    bits: Range<usize>,
}

impl EntryCursor {
    pub(crate) fn new(page: &Page) -> Result<Self, Broken> {
        let header = page.header(Kind::Leaf)?;
        Ok(Self {
            rest: 0..usize::from(header.lists_at),
            left: usize::from(header.entries),
        })
    }

    /// The fingerprint with which the next block begins.
    pub(crate) fn next_print(&self, page: &Page) -> Result<Option<u32>, Broken> {
        match self.left {
            0 => Ok(None),
            _ => Ok(Some(self.block_header(page)?.print)),
        }
    }

    /// Passes over the next block.
    pub(crate) fn skip_block(&mut self, page: &Page) -> Result<(), Broken> {
        let header = self.block_header(page)?;
        self.rest.start = header.bits.end;
        self.left -= self.left.min(BLOCK);
        Ok(())
    }

    /// Replaces `block` by the next block's entries; by none behind the last.
    pub(crate) fn read_block(
        &mut self,
        page: &Page,
        group_width: u32,
        block: &mut Vec<Entry>,
    ) -> Result<(), Broken> {
        block.clear();
        if self.left == 0 {
            return Ok(());
        }
        let header = self.block_header(page)?;
        let payload = page.payload().get(header.bits.clone()).unwrap_or_default();
        let mut bits = BitReader::new(payload);
        let mut print = header.print;
        for place in 0..self.left.min(BLOCK) {
            if place > 0 {
                let delta = bits.rice(header.k)?;
                print = print
                    .checked_add(delta)
                    .ok_or(Broken("a fingerprint is too large"))?;
            }
            let group = bits.take(group_width)?;
            block.push(Entry { print, group });
        }
        self.rest.start = header.bits.end;
        self.left -= block.len();
        Ok(())
    }

    fn block_header(&self, page: &Page) -> Result<BlockHeader, Broken> {
        let rest = page.payload().get(self.rest.clone());
        let mut bytes = Bytes::new(rest.ok_or(Broken("its entries go past its end"))?);
        let print = bytes.u32()?;
        let k = u32::from(bytes.u8()?);
        if k > 31 {
            return Err(Broken("a number's parameter is too large"));
        }
        let len = usize::from(bytes.u16()?);
        bytes.take(len)?;
        let start = self.rest.start + BLOCK_HEADER_BYTES;
        Ok(BlockHeader {
            print,
            k,
            bits: start..start + len,
        })
    }
}

/// Where reading the lists of a leaf has come to.
#[derive(Debug, Clone)]
pub(crate) struct ListCursor {
    /// In the payload.
    at: usize,
    left: usize,
    last: Option<(Key, u8)>,
    term: Range<usize>,
}

impl ListCursor {
    pub(crate) fn new(page: &Page) -> Result<Self, Broken> {
        let header = page.header(Kind::Leaf)?;
        Ok(Self {
            at: usize::from(header.lists_at),
            left: usize::from(header.lists),
            last: None,
            term: 0..0,
        })
    }

    /// The next list; `None` behind the last.
    pub(crate) fn next(&mut self, page: &Page) -> Result<Option<ListAt>, Broken> {
        if self.left == 0 {
            return Ok(None);
        }
        let payload = page.payload();
        let mut bytes = Bytes::new(payload.get(self.at..).unwrap_or_default());
        let tag = bytes.u8()?;
        if tag >= SAME_TERM * 2 {
            return Err(Broken("a list of postings has unknown flags"));
        }
        let (print, field, base) = match self.last {
            Some((key, field)) if tag & SAME_TERM != 0 => (key.print, field, key.window),
            None if tag & SAME_TERM != 0 => return Err(Broken("its first list has no term")),
            _ => {
                let (print, field) = (bytes.u32()?, bytes.u8()?);
                let len = usize::from(bytes.u8()?);
                let start = payload.len() - bytes.len();
                bytes.take(len)?;
                self.term = start..start + len;
                (print, field, 0)
            }
        };
        let window = base.checked_add(bytes.varint()?);
        let window = window.ok_or(Broken("a window's number is too large"))?;
        let count = bytes
            .varint()?
            .checked_add(1)
            .ok_or(Broken("a count is too large"))?;
        let len = bytes.varint()? as usize;
        let start = payload.len() - bytes.len();
        bytes.take(len)?;
        let key = Key { print, window };
        self.at = start + len;
        self.left -= 1;
        self.last = Some((key, field));
        Ok(Some(ListAt {
            key,
            field,
            term: self.term.clone(),
            part: Part::of_number(tag >> 2 & 7)?,
            form: Form::of_bits(tag),
            count,
            payload: start..start + len,
        }))
    }
}

/// A list of a page, by the places of its bytes in the payload.
#[derive(Debug, Clone)]
pub(crate) struct ListAt {
    pub(crate) key: Key,
    pub(crate) field: u8,
    term: Range<usize>,
    part: Part,
    form: Form,
    pub(crate) count: u32,
    payload: Range<usize>,
}

impl ListAt {
    /// Its term, when it is on this page.
    pub(crate) fn term<'p>(&self, page: &'p Page) -> &'p [u8] {
        page.payload().get(self.term.clone()).unwrap_or_default()
    }

    /// The list, when it is on this page.
    pub(crate) fn on<'p>(&self, page: &'p Page) -> ListEntry<'p> {
        ListEntry {
            key: self.key,
            field: self.field,
            term: self.term(page),
            list: ListRef {
                part: self.part,
                form: self.form,
                count: self.count,
                payload: page.payload().get(self.payload.clone()).unwrap_or_default(),
            },
        }
    }

    pub(crate) fn part(&self) -> Part {
        self.part
    }
}

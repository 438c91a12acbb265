//! The order of an object's keys: by code point of the decoded key, which is the byte order of its UTF-8.
//!
//! Invariant: records are a stack; an object's records lie above its parents' and are gone when it closes.

use std::cmp::Ordering;

use super::error::CanonError;
use super::string::Literal;

/// Keys of the objects that are open.
#[derive(Default)]
pub(super) struct Keys {
    records: Vec<Record>,
    /// Values of those keys that are written with escapes.
    decoded: Vec<u8>,
    scratch: Vec<u8>,
}

/// One member of an open object.
#[derive(Clone, Copy)]
struct Record {
    /// The key's first eight bytes, big-endian, padded with zeros: decides most comparisons.
    prefix: u64,
    key_start: usize,
    key_end: usize,
    /// Whether the key's bytes lie in [`Keys::decoded`] rather than in the input.
    is_decoded: bool,
    /// Where the member's canonical text lies in the output.
    text_start: usize,
    text_end: usize,
}

/// Where an object's records begin.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    records: usize,
    decoded: usize,
}

impl Keys {
    /// Opens an object.
    pub(super) fn open(&self) -> Mark {
        Mark {
            records: self.records.len(),
            decoded: self.decoded.len(),
        }
    }

    /// Adds a key to the object opened at `mark`; says whether it is above the key before it.
    pub(super) fn add(
        &mut self,
        mark: Mark,
        input: &[u8],
        key: Literal,
        text_start: usize,
    ) -> Result<bool, CanonError> {
        let record = self.record(input, key, text_start)?;
        let ascends = match self.records.get(mark.records..) {
            Some([.., previous]) => self.compare(input, previous, &record) == Ordering::Less,
            _ => true,
        };
        if self.records.capacity() == 0 {
            self.records.reserve(32);
        }
        self.records.push(record);
        Ok(ascends)
    }

    /// Forgets all keys of the object but the one added last: enough to check that keys ascend, and bounded.
    pub(super) fn keep_last(&mut self, mark: Mark) {
        if let Some([.., last]) = self.records.get_mut(mark.records..) {
            if last.is_decoded {
                self.decoded.drain(mark.decoded..last.key_start);
                last.key_end -= last.key_start - mark.decoded;
                last.key_start = mark.decoded;
            } else {
                self.decoded.truncate(mark.decoded);
            }
            let last = *last;
            self.records.truncate(mark.records);
            self.records.push(last);
        }
    }

    /// Says where the text of the member added last ends.
    pub(super) fn end_member(&mut self, text_end: usize) {
        if let Some(record) = self.records.last_mut() {
            record.text_end = text_end;
        }
    }

    /// Closes an object.
    pub(super) fn close(&mut self, mark: Mark) {
        self.records.truncate(mark.records);
        self.decoded.truncate(mark.decoded);
    }

    /// Rewrites the object's members, which end `out` but for its `}`, in key order without superseded duplicates.
    pub(super) fn sort_members(&mut self, mark: Mark, input: &[u8], out: &mut Vec<u8>) {
        let Some(members_start) = self.records.get(mark.records).map(|first| first.text_start) else {
            return;
        };
        let mut all_records = std::mem::take(&mut self.records);
        let records = &mut all_records[mark.records..];
        // Stable, so of equal keys the one that came last in the input stays last.
        records.sort_by(|one, other| self.compare(input, one, other));
        self.scratch.clear();
        self.scratch.reserve(out.len() - members_start);
        for (at, record) in records.iter().enumerate() {
            let superseded = records
                .get(at + 1)
                .is_some_and(|next| self.compare(input, record, next) == Ordering::Equal);
            if !superseded {
                self.scratch
                    .extend_from_slice(&out[record.text_start..record.text_end]);
                self.scratch.push(b',');
            }
        }
        self.scratch.pop();
        self.scratch.push(b'}');
        out.truncate(members_start);
        out.extend_from_slice(&self.scratch);
        self.records = all_records;
    }

    fn record(&mut self, input: &[u8], key: Literal, text_start: usize) -> Result<Record, CanonError> {
        let (mut key_start, mut key_end) = (key.start + 1, key.end - 1);
        if key.escaped {
            key_start = self.decoded.len();
            key.decode_into(input, &mut self.decoded)?;
            key_end = self.decoded.len();
        }
        let source = if key.escaped { &self.decoded } else { input };
        let prefix = prefix(source, key_start, key_end);
        Ok(Record {
            prefix,
            key_start,
            key_end,
            is_decoded: key.escaped,
            text_start,
            text_end: text_start,
        })
    }

    fn compare(&self, input: &[u8], one: &Record, other: &Record) -> Ordering {
        one.prefix
            .cmp(&other.prefix)
            .then_with(|| self.bytes(input, one).cmp(self.bytes(input, other)))
    }

    fn bytes<'a>(&'a self, input: &'a [u8], record: &Record) -> &'a [u8] {
        let source = if record.is_decoded { &self.decoded } else { input };
        &source[record.key_start..record.key_end]
    }
}

/// The first eight bytes of `source[start..end]`, big-endian, zeros after the end.
fn prefix(source: &[u8], start: usize, end: usize) -> u64 {
    let Some(word) = source.get(start..).and_then(<[u8]>::first_chunk::<8>) else {
        let key = source[start..end].iter().enumerate();
        return key.fold(0, |word, (place, &byte)| {
            word | u64::from(byte) << (56 - 8 * place)
        });
    };
    match end - start {
        0 => 0,
        len @ 1..8 => u64::from_be_bytes(*word) & u64::MAX << (64 - 8 * len),
        _ => u64::from_be_bytes(*word),
    }
}

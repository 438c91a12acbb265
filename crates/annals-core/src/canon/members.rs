//! Taking a request apart and making it canonical in the same pass: an object's members, an array's items.
//!
//! Invariant: whatever these hand out has been read in full; a raw slice is exactly one valid JSON value.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::ops::Range;

use super::error::{CanonError, CanonErrorKind};
use super::output::{Discard, Output, Text};
use super::scanner::Scanner;
use super::{Bounds, DEPTH_CEILING, ValueKind};

/// One member of a top-level object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CanonicalMember<'a> {
    /// The key, decoded.
    pub key: Cow<'a, str>,
    /// The value as the input has it, without white space around it.
    pub raw: &'a [u8],
    /// Where the value's canonical form lies in the output buffer.
    pub canonical: Range<usize>,
    /// What the value is.
    pub value_kind: ValueKind,
}

/// Reads exactly one JSON object (surrounding white space allowed) and appends the canonical form of each member's
/// value to `out`; [`CanonicalMember::canonical`] says where. Keys and punctuation are not written, so `out` as a
/// whole is not a document. The members are in input order; of duplicate keys only the last is there (the values of
/// the others stay in `out`, and nothing points at them). The object itself is level 1 of `bounds.depth_max`.
///
/// # Errors
/// [`CanonError`] as from [`super::canonicalize`], or [`CanonErrorKind::NotAnObject`]; `out` then has its old length.
pub fn canonical_members<'a>(
    input: &'a [u8],
    bounds: impl Into<Bounds>,
    out: &mut Vec<u8>,
) -> Result<Vec<CanonicalMember<'a>>, CanonError> {
    let old_len = out.len();
    let result = document_members(input, bounds.into(), out);
    if result.is_err() {
        out.truncate(old_len);
    }
    result
}

fn document_members<'a>(
    input: &'a [u8],
    bounds: Bounds,
    out: &mut Vec<u8>,
) -> Result<Vec<CanonicalMember<'a>>, CanonError> {
    out.reserve(input.len().min(bounds.bytes_max));
    let mut scanner = Scanner::new(input, Text::new(out, bounds.bytes_max));
    scanner.skip_white()?;
    scanner.refuse_byte_order_mark()?;
    let members = object_members(input, &mut scanner, bounds.depth_max)?;
    scanner.skip_white()?;
    scanner.end()?;
    Ok(members)
}

/// The members of the object that comes next.
fn object_members<'a>(
    input: &'a [u8],
    scanner: &mut Scanner<'a, Text<'_>>,
    depth_max: u32,
) -> Result<Vec<CanonicalMember<'a>>, CanonError> {
    match scanner.peek() {
        Some(b'{') => {}
        Some(_) => return Err(CanonErrorKind::NotAnObject.at(scanner.pos())),
        None => return Err(scanner.unexpected()),
    }
    let mut values_end = position(scanner);
    let inner = scanner.enter(depth_max.min(DEPTH_CEILING))?;
    let mut members = Vec::with_capacity(4);
    let mut more = scanner.peek() != Some(b'}');
    if !more {
        scanner.expect(b'}')?;
    }
    while more {
        let member = member(input, scanner, inner, values_end)?;
        values_end = member.canonical.end;
        members.push(member);
        more = scanner.another(b'}')?;
    }
    keep_values_only(scanner, values_end);
    if may_have_duplicates(&members) {
        drop_superseded(&mut members);
    }
    Ok(members)
}

fn member<'a>(
    input: &'a [u8],
    scanner: &mut Scanner<'a, Text<'_>>,
    depth: u32,
    values_end: usize,
) -> Result<CanonicalMember<'a>, CanonError> {
    let key = scanner.string()?;
    scanner.colon()?;
    keep_values_only(scanner, values_end);
    let raw_start = scanner.pos();
    let value_kind = scanner.value(depth)?;
    let raw_end = scanner.pos();
    scanner.flush(raw_end)?;
    let canonical = values_end..position(scanner);
    Ok(CanonicalMember {
        key: key.decode(input)?,
        raw: &input[raw_start..raw_end],
        canonical,
        value_kind,
    })
}

/// Takes back what was written of a key or of punctuation, and leaves out what was not yet.
fn keep_values_only(scanner: &mut Scanner<'_, Text<'_>>, values_end: usize) {
    if let Some(text) = scanner.out().text() {
        text.truncate(values_end);
    }
    scanner.leave_out();
}

fn position(scanner: &mut Scanner<'_, Text<'_>>) -> usize {
    scanner.out().text().map_or(0, |text| text.len())
}

/// Exact for the handful of members that a request has; for more, yes unless they ascend.
fn may_have_duplicates(members: &[CanonicalMember<'_>]) -> bool {
    if members.len() > 16 {
        return !members.is_sorted_by(|one, other| one.key < other.key);
    }
    members
        .iter()
        .enumerate()
        .any(|(at, member)| members[..at].iter().any(|earlier| earlier.key == member.key))
}

fn drop_superseded(members: &mut Vec<CanonicalMember<'_>>) {
    let mut seen = BTreeSet::new();
    let mut is_last: Vec<bool> = members
        .iter()
        .rev()
        .map(|member| seen.insert(member.key.clone()))
        .collect();
    members.retain(|_| is_last.pop().unwrap_or(true));
}

/// The items of a JSON array, one at a time and without a copy of the whole. See [`Items`].
#[must_use]
pub fn items(input: &[u8]) -> Items<'_> {
    Items {
        input,
        pos: 0,
        state: State::Start,
    }
}

/// Walks a JSON array's items. As an iterator it yields each item's text, without white space around it, checked in
/// full (nesting inside an item up to [`DEPTH_CEILING`]); [`Items::next_members`] makes an item canonical in the same
/// pass. The array's own syntax is checked on the way, so the text is known to be good only once `None` was reached.
/// Offsets of errors are into the whole input. After an error there are no more items.
#[derive(Debug, Clone)]
pub struct Items<'a> {
    input: &'a [u8],
    pos: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Between,
    Done,
}

impl<'a> Items<'a> {
    /// As [`canonical_members`] for the next item, which has to be an object and is level 1 of `bounds.depth_max`.
    /// `None` at the end of the array.
    ///
    /// # Errors
    /// [`CanonError`] as from [`canonical_members`]; `out` then has its old length.
    pub fn next_members(
        &mut self,
        bounds: impl Into<Bounds>,
        out: &mut Vec<u8>,
    ) -> Option<Result<Vec<CanonicalMember<'a>>, CanonError>> {
        let (input, bounds, old_len) = (self.input, bounds.into(), out.len());
        let item = self.next_with(|pos| {
            let mut scanner = Scanner::starting_at(input, pos, Text::new(out, bounds.bytes_max));
            let members = object_members(input, &mut scanner, bounds.depth_max)?;
            Ok((members, scanner.pos()))
        });
        if let Some(Err(_)) = item {
            out.truncate(old_len);
        }
        item
    }

    fn next_with<T>(
        &mut self,
        read: impl FnOnce(usize) -> Result<(T, usize), CanonError>,
    ) -> Option<Result<T, CanonError>> {
        let item = self
            .advance()
            .and_then(|item_start| item_start.map(read).transpose());
        match item {
            Ok(Some((item, end))) => {
                self.pos = end;
                self.state = State::Between;
                Some(Ok(item))
            }
            Ok(None) => {
                self.state = State::Done;
                None
            }
            Err(error) => {
                self.state = State::Done;
                Some(Err(error))
            }
        }
    }

    /// Where the next item starts; `None` at the end of the text.
    fn advance(&self) -> Result<Option<usize>, CanonError> {
        let mut scanner = Scanner::starting_at(self.input, self.pos, Discard);
        let more = match self.state {
            State::Done => return Ok(None),
            State::Between => scanner.another(b']')?,
            State::Start => open_array(&mut scanner)?,
        };
        if more {
            return Ok(Some(scanner.pos()));
        }
        scanner.skip_white()?;
        scanner.end()?;
        Ok(None)
    }
}

/// Enters the array; says whether it has an item.
fn open_array(scanner: &mut Scanner<'_, Discard>) -> Result<bool, CanonError> {
    scanner.skip_white()?;
    scanner.refuse_byte_order_mark()?;
    match scanner.peek() {
        Some(b'[') => {}
        Some(_) => return Err(CanonErrorKind::NotAnArray.at(scanner.pos())),
        None => return Err(scanner.unexpected()),
    }
    scanner.expect(b'[')?;
    scanner.skip_white()?;
    if scanner.peek() == Some(b']') {
        scanner.expect(b']')?;
        return Ok(false);
    }
    Ok(true)
}

impl<'a> Iterator for Items<'a> {
    type Item = Result<&'a [u8], CanonError>;

    fn next(&mut self) -> Option<Self::Item> {
        let input = self.input;
        self.next_with(|pos| {
            let mut scanner = Scanner::starting_at(input, pos, Discard);
            scanner.value(DEPTH_CEILING)?;
            Ok((&input[pos..scanner.pos()], scanner.pos()))
        })
    }
}

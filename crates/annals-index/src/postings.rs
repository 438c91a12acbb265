//! Lists of postings: the ids of a window, or of a quarter of one, that hold a term.
//!
//! Ids count from the start of what the list spans. Of four forms a list takes the one with the fewest bytes, so that the
//! bytes follow from the ids alone. A list that is long even so is divided into the window's quarters, so that every
//! entry is much shorter than a page.
//!
//! Invariant: what is read back are as many ascending ids below the span as the entry says, or a fault.

use std::ops::Range;

use crate::bits::{Bytes, put_values, put_varint, read_values, values_len, varint_len};
use crate::fault::Broken;

/// How a list is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The distances between the ids that are in it.
    Ids = 0,
    /// The distances between the ids that are not in it.
    AllBut = 1,
    /// A bit for each id.
    Bitmap = 2,
    /// The distances between runs of ids, then the runs' lengths.
    Runs = 3,
}

impl Form {
    pub(crate) fn of_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::Ids,
            1 => Self::AllBut,
            2 => Self::Bitmap,
            _ => Self::Runs,
        }
    }
}

/// Which ids of a window a list spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Part(u8);

impl Part {
    pub(crate) const WHOLE: Self = Self(0);

    pub(crate) fn of_number(number: u8) -> Result<Self, Broken> {
        if number > 4 {
            return Err(Broken("a list of postings has an unknown part"));
        }
        Ok(Self(number))
    }

    pub(crate) fn number(self) -> u8 {
        self.0
    }

    /// Its ids, in a window of this span.
    pub(crate) fn ids(self, span: u32) -> Range<u32> {
        match self.0 {
            0 => 0..span,
            quarter => {
                let start = span / 4 * u32::from(quarter - 1);
                start..start + span / 4
            }
        }
    }
}

/// A written list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List {
    pub(crate) part: Part,
    pub(crate) form: Form,
    /// Ids in it, at least 1.
    pub(crate) count: u32,
    /// Its place in the buffer it was written to.
    pub(crate) payload: Range<usize>,
}

/// Writes lists; keeps its memory from one to the next.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    sparse: Vec<u32>,
    gaps: Vec<u32>,
    lens: Vec<u32>,
}

impl Encoder {
    /// Appends the list of `ids` (ascending, below `span`, at least one) to `out`, and in parts if it is longer than
    /// `bytes_max`; hands over each.
    pub(crate) fn encode(
        &mut self,
        ids: &[u16],
        span: u32,
        bytes_max: usize,
        out: &mut Vec<u8>,
        mut each: impl FnMut(List),
    ) {
        let whole = self.encode_part(ids, Part::WHOLE, span, out);
        if whole.payload.len() <= bytes_max {
            each(whole);
            return;
        }
        out.truncate(whole.payload.start);
        let mut rest = ids;
        for number in 1..=4 {
            let part = Part(number);
            let end = part.ids(span).end;
            let (inside, behind) = rest.split_at(rest.partition_point(|id| u32::from(*id) < end));
            rest = behind;
            if !inside.is_empty() {
                each(self.encode_part(inside, part, span, out));
            }
        }
    }

    fn encode_part(&mut self, ids: &[u16], part: Part, span: u32, out: &mut Vec<u8>) -> List {
        let range = part.ids(span);
        let from = out.len();
        let form = self.choose(ids, &range);
        match form {
            Form::Ids | Form::AllBut => put_values(&self.sparse, out),
            Form::Bitmap => put_bitmap(ids, &range, out),
            Form::Runs => {
                put_varint(u32::try_from(self.gaps.len()).unwrap_or(u32::MAX), out);
                put_values(&self.gaps, out);
                put_values(&self.lens, out);
            }
        }
        List {
            part,
            form,
            count: u32::try_from(ids.len()).unwrap_or(u32::MAX),
            payload: from..out.len(),
        }
    }

    /// The form with the fewest bytes, of equal ones the first; leaves the numbers for it.
    fn choose(&mut self, ids: &[u16], range: &Range<u32>) -> Form {
        let span = range.len();
        let is_sparse = ids.len() * 2 <= span;
        self.sparse.clear();
        if is_sparse {
            put_gaps(ids.iter().map(|id| u32::from(*id)), range.start, &mut self.sparse);
        } else {
            put_gaps(absent(ids, range), range.start, &mut self.sparse);
        }
        let mut best = (
            values_len(&self.sparse),
            if is_sparse { Form::Ids } else { Form::AllBut },
        );
        if span / 8 < best.0 {
            best = (span / 8, Form::Bitmap);
        }
        if self.find_runs(ids, range) {
            let runs = u32::try_from(self.gaps.len()).unwrap_or(u32::MAX);
            let len = varint_len(runs) + values_len(&self.gaps) + values_len(&self.lens);
            if len < best.0 {
                best = (len, Form::Runs);
            }
        }
        best.1
    }

    /// Whether runs are considered: when they are at most a quarter as many as the ids. Then they are left in `gaps` and
    /// `lens`.
    fn find_runs(&mut self, ids: &[u16], range: &Range<u32>) -> bool {
        self.gaps.clear();
        self.lens.clear();
        if ids.len() < 4 {
            return false;
        }
        let breaks = ids.windows(2).filter(|pair| pair[1] != pair[0] + 1).count();
        if (breaks + 1) * 4 > ids.len() {
            return false;
        }
        let mut next = range.start;
        for run in ids.chunk_by(|before, id| *id == *before + 1) {
            let start = u32::from(run[0]);
            let len = u32::try_from(run.len()).unwrap_or(u32::MAX);
            self.gaps.push(start - next);
            self.lens.push(len - 1);
            // Between two runs is at least one id that is in neither.
            next = start + len + 1;
        }
        true
    }
}

/// The distance of each id from the first that it could be.
fn put_gaps(ids: impl Iterator<Item = u32>, start: u32, out: &mut Vec<u32>) {
    let mut next = start;
    for id in ids {
        out.push(id - next);
        next = id + 1;
    }
}

/// The ids of a range that are not in the list.
fn absent(ids: &[u16], range: &Range<u32>) -> impl Iterator<Item = u32> {
    let mut next = range.start;
    let ends = ids.iter().map(|id| u32::from(*id)).chain([range.end]);
    ends.flat_map(move |id| {
        let between = next..id;
        next = id + 1;
        between
    })
}

fn put_bitmap(ids: &[u16], range: &Range<u32>, out: &mut Vec<u8>) {
    let from = out.len();
    out.resize(from + range.len() / 8, 0);
    let bitmap = &mut out[from..];
    for id in ids {
        let at = (u32::from(*id) - range.start) as usize;
        bitmap[at / 8] |= 1 << (at % 8);
    }
}

/// A list as it is read.
#[derive(Debug, Clone)]
pub(crate) struct ListRef<'a> {
    pub(crate) part: Part,
    pub(crate) form: Form,
    pub(crate) count: u32,
    pub(crate) payload: &'a [u8],
}

const PAST: Broken = Broken("a list of postings goes past its span");
const COUNT: Broken = Broken("a list of postings has another number of ids than it says");

impl ListRef<'_> {
    /// Hands over the list's ids, as ascending ranges that are not empty.
    pub(crate) fn read(
        &self,
        span: u32,
        mut each: impl FnMut(Range<u32>) -> Result<(), Broken>,
    ) -> Result<(), Broken> {
        let range = self.part.ids(span);
        if self.count == 0 || self.count as usize > range.len() {
            return Err(COUNT);
        }
        let mut bytes = Bytes::new(self.payload);
        match self.form {
            Form::Ids => {
                read_gaps(&mut bytes, self.count as usize, &range, |id| each(id..id + 1))?;
            }
            Form::AllBut => {
                let mut next = range.start;
                read_gaps(&mut bytes, range.len() - self.count as usize, &range, |id| {
                    let between = next..id;
                    next = id + 1;
                    if between.is_empty() { Ok(()) } else { each(between) }
                })?;
                if next < range.end {
                    each(next..range.end)?;
                }
            }
            Form::Bitmap => read_bitmap(bytes.take(range.len() / 8)?, self.count, range.start, &mut each)?,
            Form::Runs => read_runs(&mut bytes, self.count, &range, &mut each)?,
        }
        if bytes.len() > 0 {
            return Err(Broken("a list of postings is longer than its ids"));
        }
        Ok(())
    }
}

fn read_gaps(
    bytes: &mut Bytes<'_>,
    count: usize,
    range: &Range<u32>,
    mut each: impl FnMut(u32) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut next = range.start;
    read_values(bytes, count, |gap| {
        let id = next.checked_add(gap).filter(|id| *id < range.end).ok_or(PAST)?;
        next = id + 1;
        each(id)
    })
}

fn read_bitmap(
    bitmap: &[u8],
    count: u32,
    start: u32,
    each: &mut impl FnMut(Range<u32>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    if bitmap.iter().map(|byte| byte.count_ones()).sum::<u32>() != count {
        return Err(COUNT);
    }
    for (byte, base) in bitmap.iter().zip((start..).step_by(8)) {
        let mut rest = *byte;
        while rest != 0 {
            let id = base + rest.trailing_zeros();
            rest &= rest - 1;
            each(id..id + 1)?;
        }
    }
    Ok(())
}

fn read_runs(
    bytes: &mut Bytes<'_>,
    count: u32,
    range: &Range<u32>,
    each: &mut impl FnMut(Range<u32>) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let runs = bytes.varint()?;
    // The count is at most the span, so this bounds what is held here.
    if runs > count / 4 {
        return Err(COUNT);
    }
    let mut gaps = Vec::with_capacity(runs as usize);
    read_values(bytes, runs as usize, |gap| {
        gaps.push(gap);
        Ok(())
    })?;
    let (mut next, mut found) = (range.start, 0_u32);
    let mut gaps = gaps.into_iter();
    read_values(bytes, runs as usize, |len| {
        let start = next.checked_add(gaps.next().unwrap_or(0)).ok_or(PAST)?;
        let end = start
            .checked_add(len)
            .and_then(|last| last.checked_add(1))
            .ok_or(PAST)?;
        if end > range.end {
            return Err(PAST);
        }
        found += end - start;
        next = end + 1;
        each(start..end)
    })?;
    if found != count {
        return Err(COUNT);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: u32 = 4096;
    const BYTES_MAX: usize = 128;

    /// The forms that the list takes, after reading it back.
    fn round_trip(ids: &[u16]) -> Vec<Form> {
        let mut out = vec![7; 3];
        let mut lists = Vec::new();
        Encoder::default().encode(ids, SPAN, BYTES_MAX, &mut out, |list| lists.push(list));
        let mut read = Vec::new();
        for list in &lists {
            assert!(list.payload.len() <= BYTES_MAX);
            let list = ListRef {
                part: list.part,
                form: list.form,
                count: list.count,
                payload: &out[list.payload.clone()],
            };
            let add = |range: Range<u32>| {
                read.extend(range.map(|id| u16::try_from(id).unwrap()));
                Ok(())
            };
            list.read(SPAN, add).unwrap();
        }
        assert_eq!(read, ids);
        lists.iter().map(|list| list.form).collect()
    }

    #[test]
    fn each_form_is_taken_where_it_is_the_shortest() {
        assert_eq!(round_trip(&[0]), [Form::Ids]);
        assert_eq!(round_trip(&[4095]), [Form::Ids]);
        let all: Vec<u16> = (0..4096).collect();
        assert_eq!(round_trip(&all), [Form::AllBut]);
        assert_eq!(round_trip(&all[100..3000]), [Form::Runs]);
        let most: Vec<u16> = (0..4096).filter(|id| id % 97 != 5).collect();
        assert_eq!(round_trip(&most), [Form::AllBut]);
        let third: Vec<u16> = (0..4096).filter(|id| id * 7 % 11 % 3 == 0).collect();
        assert_eq!(round_trip(&third), [Form::Bitmap; 4]);
    }

    proptest! {
        #[test]
        fn lists_round_trip(ids in prop::collection::btree_set(0_u16..4096, 1..900)) {
            round_trip(&ids.into_iter().collect::<Vec<u16>>());
        }

        #[test]
        fn clustered_lists_round_trip(runs in prop::collection::vec((0_u16..4096, 1_u16..300), 1..12)) {
            let mut ids: Vec<u16> =
                runs.iter().flat_map(|(start, len)| *start..(start + len).min(4096)).collect();
            ids.sort_unstable();
            ids.dedup();
            round_trip(&ids);
        }

        /// Red when: a list's count is not held against its span.
        #[test]
        fn any_bytes_are_read_or_refused(
            payload in prop::collection::vec(any::<u8>(), 0..140),
            form in 0_u8..4,
            part in 0_u8..5,
            count in 0_u32..70_000,
        ) {
            let part = Part::of_number(part).unwrap();
            let list = ListRef { part, form: Form::of_bits(form), count, payload: &payload };
            let (mut found, mut end) = (0, part.ids(SPAN).start);
            let read = list.read(SPAN, |range| {
                assert!(range.start >= end && !range.is_empty() && range.end <= part.ids(SPAN).end);
                end = range.end;
                found += range.len();
                Ok(())
            });
            prop_assert!(read.is_err() || found == count as usize);
        }
    }
}

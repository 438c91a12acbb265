//! Answers: sets of ids of a window, each id either sure to match or to be held against its event's body.
//!
//! Invariant: the sure ids are among the candidates. What is not a candidate does not match.

use std::ops::Range;

use annals_core::chain::EventId;

use crate::fault::Broken;
use crate::postings::{Form, ListRef};

/// The ids of one window, or of the shorter run in it, that may match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowHits {
    first: EventId,
    candidates: Bits,
    sure: Bits,
}

/// An id that may match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// Which event.
    pub id: EventId,
    /// Whether it matches without a look at its body.
    pub is_sure: bool,
}

impl WindowHits {
    /// All of `span` events, each of them sure.
    pub(crate) fn all(first: EventId, span: u32) -> Self {
        let mut all = Bits::new(span);
        all.add(0..span);
        Self {
            first,
            candidates: all.clone(),
            sure: all,
        }
    }

    /// None of `span` events.
    pub(crate) fn none(first: EventId, span: u32) -> Self {
        Self {
            first,
            candidates: Bits::new(span),
            sure: Bits::new(span),
        }
    }

    /// Whether nothing matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.candidates.0.iter().all(|word| *word == 0)
    }

    /// Whether every candidate matches, so that no body has to be read.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.candidates == self.sure
    }

    /// How many candidates there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.candidates.count()
    }

    /// The first event that this is about.
    #[must_use]
    pub fn first(&self) -> EventId {
        self.first
    }

    /// Forgets the ids outside of `first..end`.
    pub fn keep(&mut self, ids: Range<EventId>) {
        let span = self.candidates.span();
        let place = |id: EventId| {
            u32::try_from(id.get().saturating_sub(self.first.get())).map_or(span, |at| at.min(span))
        };
        let (start, end) = (place(ids.start), place(ids.end));
        for bits in [&mut self.candidates, &mut self.sure] {
            bits.remove(0..start);
            bits.remove(end..span);
        }
    }

    /// How many of the candidates are in `first..end`.
    #[must_use]
    pub fn count_in(&self, ids: Range<EventId>) -> u64 {
        let mut kept = self.clone();
        kept.keep(ids);
        kept.count()
    }

    /// The candidates, ascending; from the other end with [`Iterator::rev`].
    #[must_use]
    pub fn iter(&self) -> Hits<'_> {
        Hits {
            hits: self,
            left: 0..self.candidates.span(),
        }
    }

    /// A list's ids match for sure.
    pub(crate) fn add_list(&mut self, list: &ListRef<'_>) -> Result<(), Broken> {
        let span = self.candidates.span();
        if list.form == Form::Bitmap {
            self.candidates.add_bitmap(list, span)?;
            return self.sure.add_bitmap(list, span);
        }
        list.read(span, |ids| {
            self.candidates.add(ids.clone());
            self.sure.add(ids);
            Ok(())
        })
    }

    /// These may match.
    pub(crate) fn add_candidates(&mut self, ids: Range<u32>) {
        self.candidates.add(ids);
    }

    /// These do not match.
    pub(crate) fn remove(&mut self, ids: Range<u32>) {
        self.candidates.remove(ids.clone());
        self.sure.remove(ids);
    }

    /// These have to be held against their bodies.
    pub(crate) fn doubt(&mut self, ids: Range<u32>) {
        self.sure.remove(ids);
    }

    /// What matches both.
    pub(crate) fn and(&mut self, other: &Self) {
        self.candidates.and(&other.candidates);
        self.sure.and(&other.sure);
    }

    /// Whether any of these is a candidate.
    pub(crate) fn has_any(&self, ids: Range<u32>) -> bool {
        self.candidates.next(ids).is_some()
    }
}

impl<'h> IntoIterator for &'h WindowHits {
    type Item = Hit;
    type IntoIter = Hits<'h>;

    fn into_iter(self) -> Hits<'h> {
        self.iter()
    }
}

/// The candidates of a window, ascending, from both ends.
#[derive(Debug, Clone)]
pub struct Hits<'h> {
    hits: &'h WindowHits,
    left: Range<u32>,
}

impl Hits<'_> {
    fn hit(&self, at: u32) -> Hit {
        Hit {
            id: self.hits.first.plus(u64::from(at)),
            is_sure: self.hits.sure.has(at),
        }
    }
}

impl Iterator for Hits<'_> {
    type Item = Hit;

    fn next(&mut self) -> Option<Hit> {
        let at = self.hits.candidates.next(self.left.clone())?;
        self.left.start = at + 1;
        Some(self.hit(at))
    }
}

impl DoubleEndedIterator for Hits<'_> {
    fn next_back(&mut self) -> Option<Hit> {
        let at = self.hits.candidates.next_back(self.left.clone())?;
        self.left.end = at;
        Some(self.hit(at))
    }
}

/// A set of numbers below a span that is a multiple of 64.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bits(Vec<u64>);

impl Bits {
    fn new(span: u32) -> Self {
        Self(vec![0; span as usize / 64])
    }

    fn span(&self) -> u32 {
        u32::try_from(self.0.len() * 64).unwrap_or(u32::MAX)
    }

    fn count(&self) -> u64 {
        self.0.iter().map(|word| u64::from(word.count_ones())).sum()
    }

    fn has(&self, at: u32) -> bool {
        self.0[at as usize / 64] >> (at % 64) & 1 == 1
    }

    fn add(&mut self, range: Range<u32>) {
        // Most lists are of single ids.
        if range.len() == 1 {
            self.0[range.start as usize / 64] |= 1 << (range.start % 64);
            return;
        }
        for_words(&range, |word, mask| self.0[word] |= mask);
    }

    fn remove(&mut self, range: Range<u32>) {
        for_words(&range, |word, mask| self.0[word] &= !mask);
    }

    fn and(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    /// A bitmap without the detour over its ids.
    fn add_bitmap(&mut self, list: &ListRef<'_>, span: u32) -> Result<(), Broken> {
        let range = list.part.ids(span);
        let ones: u32 = list.payload.iter().map(|byte| byte.count_ones()).sum();
        if list.payload.len() * 8 != range.len() || ones != list.count {
            return Err(Broken(
                "a bitmap has another length or number of ids than it says",
            ));
        }
        let (words, _) = list.payload.as_chunks::<8>();
        let first = range.start as usize / 64;
        for (word, bytes) in self.0[first..].iter_mut().zip(words) {
            *word |= u64::from_le_bytes(*bytes);
        }
        Ok(())
    }

    fn next(&self, range: Range<u32>) -> Option<u32> {
        let mut found = None;
        find_words(&range, |word, mask| {
            let rest = self.0[word] & mask;
            found = (rest != 0).then(|| word_start(word) + rest.trailing_zeros());
            found.is_some()
        });
        found
    }

    fn next_back(&self, range: Range<u32>) -> Option<u32> {
        let first = range.start as usize / 64;
        let end = (range.end as usize).div_ceil(64);
        for word in (first..end).rev() {
            let rest = self.0[word] & mask_of(word, &range);
            if rest != 0 {
                return Some(word_start(word) + 63 - rest.leading_zeros());
            }
        }
        None
    }
}

fn word_start(word: usize) -> u32 {
    u32::try_from(word * 64).unwrap_or(u32::MAX)
}

/// The bits of a word that are in a range which touches it.
fn mask_of(word: usize, range: &Range<u32>) -> u64 {
    let start = word_start(word);
    let low = range.start.saturating_sub(start).min(63);
    let high = (start + 64).saturating_sub(range.end).min(63);
    u64::MAX << low & u64::MAX >> high
}

/// Goes over the words of a range, each with its bits in it, until one is told to be the last.
fn find_words(range: &Range<u32>, mut each: impl FnMut(usize, u64) -> bool) {
    if range.is_empty() {
        return;
    }
    for word in range.start as usize / 64..(range.end as usize).div_ceil(64) {
        if each(word, mask_of(word, range)) {
            return;
        }
    }
}

fn for_words(range: &Range<u32>, mut each: impl FnMut(usize, u64)) {
    find_words(range, |word, mask| {
        each(word, mask);
        false
    });
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SPAN: u32 = 256;

    fn set(bits: &Bits) -> BTreeSet<u32> {
        (0..SPAN).filter(|at| bits.has(*at)).collect()
    }

    proptest! {
        #[test]
        fn bits_are_a_set(
            steps in prop::collection::vec((any::<bool>(), 0..SPAN, 0..=SPAN), 0..12),
            window in (0..=SPAN, 0..=SPAN),
        ) {
            let (mut bits, mut oracle) = (Bits::new(SPAN), BTreeSet::new());
            for (adds, start, end) in steps {
                if adds {
                    bits.add(start..end);
                    oracle.extend(start..end);
                } else {
                    bits.remove(start..end);
                    oracle.retain(|at| !(start..end).contains(at));
                }
            }
            prop_assert_eq!(&set(&bits), &oracle);
            prop_assert_eq!(bits.count(), oracle.len() as u64);
            let range = window.0..window.1;
            prop_assert_eq!(bits.next(range.clone()), oracle.iter().copied().find(|at| range.contains(at)));
            prop_assert_eq!(bits.next_back(range.clone()), oracle.iter().rev().copied().find(|at| range.contains(at)));
        }
    }
}

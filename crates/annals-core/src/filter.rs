//! Which events a reader wants: a filter over stored bodies, and the strings by which a body is found.
//!
//! Invariant: [`Filter::matches`] is the meaning of a filter. An index may only ever make finding faster, never answer
//! differently.

use std::collections::{BTreeMap, BTreeSet};

use crate::field::Field;
use crate::time::Micros;

/// A filter: any of a field's values, all of the fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Wanted values as canonical JSON strings without their quotes.
    values: BTreeMap<Field, BTreeSet<Box<[u8]>>>,
    claimed: ClaimedRange,
    texts: Vec<Box<str>>,
}

/// The events whose claimed time (`timestamp`) lies in `from..until`; `None` is open. With either bound set, an event whose
/// claim is not an RFC 3339 time does not match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimedRange {
    /// First time that matches.
    pub from: Option<Micros>,
    /// First time that does not match any more.
    pub until: Option<Micros>,
}

impl Filter {
    /// The wanted values of each field that is filtered by: canonical JSON strings without their quotes.
    pub fn values(&self) -> impl Iterator<Item = (Field, &BTreeSet<Box<[u8]>>)> {
        self.values.iter().map(|(field, values)| (*field, values))
    }

    /// The wanted claimed time.
    #[must_use]
    pub fn claimed(&self) -> ClaimedRange {
        self.claimed
    }

    /// The wanted texts, all of which have to occur.
    #[must_use]
    pub fn texts(&self) -> &[Box<str>] {
        &self.texts
    }
}

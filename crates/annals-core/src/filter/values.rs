//! The wanted values of one field: what a member is compared with, and what a whole body is searched for before.

use std::collections::BTreeSet;

use memchr::memmem::Finder;

use crate::canon;

/// With more values than this, searching a body for each costs more than the walk that it could save.
const SEARCHED_MAX: usize = 3;

/// Any of these values.
#[derive(Debug, Clone, Default)]
pub(super) struct Wanted {
    /// Canonical JSON strings without their quotes.
    values: BTreeSet<Box<[u8]>>,
    /// Finds the same with their quotes; as many as there are values, or none when there are too many.
    finders: Vec<Finder<'static>>,
}

impl Wanted {
    pub(super) fn add(&mut self, value: &str) {
        let mut quoted = Vec::with_capacity(value.len() + 2);
        canon::write_string(value, &mut quoted);
        if !self.values.insert(quoted[1..quoted.len() - 1].into()) {
            return;
        }
        if self.values.len() > SEARCHED_MAX {
            self.finders.clear();
        } else {
            self.finders.push(Finder::new(&quoted).into_owned());
        }
    }

    pub(super) fn values(&self) -> &BTreeSet<Box<[u8]>> {
        &self.values
    }

    /// False only when none of the values stands anywhere in the body.
    pub(super) fn may_occur(&self, body: &[u8]) -> bool {
        self.finders.is_empty() || self.finders.iter().any(|finder| finder.find(body).is_some())
    }
}

/// The finders follow from the values.
impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for Wanted {}

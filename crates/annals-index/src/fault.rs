//! What can be wrong with a run that is read.
//!
//! Invariant: whatever the bytes are, reading ends in an answer or in a [`Fault`]; never in a panic, never in memory that an
//! unchecked length asked for.

use std::io;

use thiserror::Error;

/// Why a run can not be read. But for [`Fault::Read`], the mend is to build the run again from the events.
#[derive(Debug, Error)]
pub enum Fault {
    /// The source failed: the operator has to look at the disk.
    #[error("an index run can not be read: {0}")]
    Read(#[from] io::Error),
    /// A page is not what was written.
    #[error("page {page} of an index run is damaged: {what}; build the run again")]
    Damaged {
        /// Its number in the run, from 0.
        page: u32,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The bytes are no run of this version.
    #[error("this is not an index run that this build reads: {what}; build the run again")]
    Format {
        /// What is not as expected.
        what: &'static str,
    },
    /// A run, but not the one that was asked for.
    #[error("this is another index run than the one asked for: its {what} differs; build the run again")]
    Another {
        /// What differs.
        what: &'static str,
    },
}

/// What is wrong with bytes whose page is known one call further up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Broken(pub(crate) &'static str);

impl Broken {
    pub(crate) fn on(self, page: u32) -> Fault {
        Fault::Damaged { page, what: self.0 }
    }
}

//! Index runs: which events of an aligned range of ids hold a term, and which may hold a claimed time.
//!
//! A [`Run`] is immutable and covers a [`RunId`]'s range of one log. [`BaseBuilder`] makes a run of the lowest level from
//! events; [`merge`] makes one of the next level from all the runs that lie in it. The bytes are a function of the events
//! alone, however a run came to be, so an auditor can build it again and compare.
//!
//! Answers come a window of 65,536 ids at a time ([`Run::window`]). An id that is not in an answer does not match; one that
//! is there matches for sure, or has to be held against the event's body.
//!
//! Deliberately absent: files, threads, clocks, a cache. An engine brings pages ([`RunSource`]) and takes bytes
//! ([`std::io::Write`]). Nothing here holds memory in proportion to the number of events.

mod bits;
mod build;
#[cfg(test)]
mod direct;
mod fault;
mod footer;
mod geometry;
mod hits;
mod leaf;
mod merge;
mod page;
mod postings;
mod print;
mod query;
mod row;
mod run;
mod stream;
mod tree;
mod zones;

pub use build::{BaseBuilder, BuildError};
pub use fault::Fault;
pub use geometry::{Geometry, RunId};
pub use hits::{Hit, Hits, WindowHits};
pub use merge::{MergeError, merge};
pub use page::{MemoryRun, Page, RunSource};
pub use query::{Direction, Query, WindowCount};
pub use run::Run;

//! The auditor: re-derives a log from its bytes and says whether it is what was sealed.
//!
//! Everything is computed again from the stored or exported bytes: [`chain`] is the fast check (positions, links, hashes),
//! [`strict`] adds the form of each event, [`parallel`] does either over a whole log on several threads, [`served`] does
//! it for events as JSON lines from anywhere. What comes out is a [`Verdict`], which never says more than was proven.
//!
//! Deliberately absent: any use of the code that seals (`annals_core::seal`, `annals_core::canonical`), any trust in what
//! a server says about itself, any writing, any I/O of its own.

pub mod chain;
pub mod parallel;
pub mod report;
pub mod served;
pub mod strict;

pub use chain::{Break, ChainState};
pub use parallel::{Options, Progress, audit};
pub use report::{Checkpoint, CheckpointError, Freshness, Verdict};
pub use served::ServedAudit;
pub use strict::{AuditState, Level};

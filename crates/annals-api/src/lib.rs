//! The wire types of the HTTP interface: what the server writes and a client reads, and the names both agree on.
//!
//! Invariants: field names and order are those on the wire; a reader ignores members that it does not know, so that an
//! older client understands a newer server. An event itself has no type here: its bytes are what was sealed, and they are
//! passed on as they are, never re-serialised.
//!
//! Deliberately absent: everything but serde; no client, no server, no validation.

mod answers;
mod found;
mod logs;
pub mod names;
mod problem;

pub use answers::{Checkpoint, CheckpointVerdict, Health, Receipt, Root, Stats, Verification};
pub use found::{Bucket, Count, Histogram, LogCount};
pub use logs::{LogInfo, LogList, NewLog};
pub use problem::{FieldError, Outcome, Problem};

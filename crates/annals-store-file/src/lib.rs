//! The embedded storage engine: one directory, one shared journal, packed segments for each log.
//!
//! The life of an event here: its sealed batch becomes a frame behind the journal's last frame, written with its group
//! and made durable by one sync ([`FileJournal`], the commit point); readers see it at once ([`FileLog`]). When the journal
//! file is full, [`Maintenance`] packs its events into segments of their logs, in compressed [blocks](packed), reads them back,
//! re-hashes each event, and only then removes the journal file; later it joins segments that have become many. After a crash the directory is loaded and mended: complete frames are kept, what lies
//! behind them is moved to `quarantine/`, and damage to anything that was durable is an integrity failure.
//!
//! [`inspect`] reads a directory by the same loading, without its lock and without changing anything, also beside a live
//! writer; [`examine`] also gives what is readable in front of damage. File formats: docs/format.md.
//!
//! Deliberately absent: sealing, hashing of new events, HTTP, async.

mod cache;
mod damage;
pub mod disk;
mod error;
pub mod frame;
mod frame_reader;
mod head;
mod index;
mod inspect;
mod journal;
mod journal_file;
mod layout;
mod load;
mod logs;
mod maintain;
mod mend;
mod meta;
mod open;
mod pack;
pub mod packed;
mod released;
mod segment;
mod segments;
mod shared;
mod view;
mod window;

pub use cache::CacheBounds;
pub use damage::{Place, StoreDamage};
pub use error::OpenError;
pub use index::{IndexAudit, IndexDamage, IndexError, IndexMaintenance, audit_index, audit_index_of};
pub use inspect::{DamagedDirectory, Examined, Inspection, examine, examine_on, inspect, inspect_on};
pub use journal::FileJournal;
pub use layout::Manifest;
pub use logs::FileLogs;
pub use maintain::Maintenance;
pub use open::{Opened, open, open_on, open_on_with};
pub use shared::Options;
pub use view::FileLog;

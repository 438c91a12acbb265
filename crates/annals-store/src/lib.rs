//! The contract of a storage engine: what a journal promises when it returns, and what a reader may rely on.
//!
//! Every trait here is small, and its comment is a durability contract: an engine is right when it keeps it, whatever it
//! is made of. Readers get only the reading half. What an engine can not do natively it does inside, not in its callers.
//!
//! Deliberately absent: any I/O, any knowledge of files or of a database, async.

mod cells;
mod find;
mod journal;
mod logs;
mod read;
mod scan;

pub use cells::{CallerId, Cell, CellBounds, CellTable, KnownReceipt, ReceiptKey, Sequence, SnapshotError};
pub use find::{Counted, FindEvents, Found, Order, Search};
pub use journal::{CommitError, CreateLogError, Journal, LogBatch, RecoverError, Recovery, SettleError};
pub use logs::{LogDirectory, LogManifest, LogName, LogNameError};
pub use read::{Damage, EventRun, ReadError, ReadLog, RunBuilder, StoredEvent};
pub use scan::{Unindexed, first_at, scan_count, scan_find};

//! The contract of a storage engine: what a journal promises when it returns, and what a reader may rely on.
//!
//! Every trait here is small, and its comment is a durability contract: an engine is right when it keeps it, whatever it
//! is made of. Readers get only the reading half. What an engine can not do natively it does inside, not in its callers.
//!
//! Deliberately absent: any I/O, any knowledge of files or of a database, async.

mod cells;
mod find;
mod journal;
mod read;

pub use cells::{CallerId, Cell, CellBounds, KnownReceipt, ReceiptKey, Sequence};
pub use find::{Counted, FindEvents, Found, Order, Search};
pub use journal::{CommitError, Journal, LogBatch, RecoverError, Recovery, SettleError};
pub use read::{Damage, EventRun, ReadError, ReadLog, RunBuilder, StoredEvent};

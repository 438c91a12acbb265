//! Segments of version 2: one log's events in compressed blocks, with a table of the blocks behind them. Layout:
//! docs/format.md, "Segment version 2".
//!
//! The life of an event here: [`BlockEncoder`] takes its body into a block, where marks stand for what is known or random, and
//! zstd compresses the rest; the block's row in the table keeps the hash before its first event. A reader finds the row by
//! halving the table, decodes the block, hashes each body, and comes out at the hash in the next row, or does not serve it.
//!
//! Deliberately absent: hashes of single events (they follow from the bodies), dictionaries (measured: the marks leave little to
//! find), and any memory that grows with the events.

mod block;
mod layout;
mod marks;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

pub use block::{
    BLOCK_BODIES_BYTES, BLOCK_BODIES_BYTES_MAX, BLOCK_EVENTS_MAX, Behind, Block, BlockEncoder, BlockFault,
    BlockRow, LEVEL,
};
pub use marks::StreamFault;

pub(crate) use layout::PackedFooter;
pub(crate) use reader::{PackedSegment, SegmentFault};
pub(crate) use writer::{SegmentWriter, Written};

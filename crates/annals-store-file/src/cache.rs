//! What is kept of packed segments between reads: decoded blocks, and open files. Shared by all logs of a data directory.
//!
//! Invariants: both are bounded, whatever the number of segments and readers; an entry belongs to one opened segment, by a key that is never used
//! again, so nothing has to be taken out when a segment is replaced.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::disk::DiskFile;
use crate::packed::{BLOCK_BODIES_BYTES, Block};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheBounds {
    /// Bytes of decoded blocks, over all logs.
    pub block_bytes: u64,
    /// Open segment files, over all logs.
    pub files: usize,
}

impl CacheBounds {
    /// 64 MiB of blocks and 256 files.
    pub const DEFAULT: Self = Self {
        block_bytes: 64 * 1024 * 1024,
        files: 256,
    };
}

impl Default for CacheBounds {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Which block of which opened segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct BlockKey {
    pub(crate) segment: u64,
    pub(crate) block: u32,
}

/// Decoded blocks.
pub(crate) struct BlockCache(Cache<BlockKey, Arc<Block>, ByBytes>);

impl BlockCache {
    pub(crate) fn new(bounds: &CacheBounds) -> Self {
        let blocks = usize::try_from(bounds.block_bytes).unwrap_or(usize::MAX) / BLOCK_BODIES_BYTES;
        Self(Cache::with_weighter(blocks, bounds.block_bytes, ByBytes))
    }

    pub(crate) fn get(&self, key: BlockKey) -> Option<Arc<Block>> {
        self.0.get(&key)
    }

    /// The block, made by one of those who want it at the same time.
    pub(crate) fn get_or_insert_with<E>(
        &self,
        key: BlockKey,
        make: impl FnOnce() -> Result<Block, E>,
    ) -> Result<Arc<Block>, E> {
        self.0.get_or_insert_with(&key, || make().map(Arc::new))
    }
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<BlockKey, Arc<Block>> for ByBytes {
    fn weight(&self, _: &BlockKey, block: &Arc<Block>) -> u64 {
        block.weight() as u64
    }
}

/// Open files of segments.
pub(crate) struct FileCache(Cache<u64, Arc<dyn DiskFile>>);

impl FileCache {
    pub(crate) fn new(bounds: &CacheBounds) -> Self {
        Self(Cache::new(bounds.files))
    }

    /// The file of the segment `key`, opened when it is not open.
    pub(crate) fn get_or_open<E>(
        &self,
        key: u64,
        open: impl FnOnce() -> Result<Arc<dyn DiskFile>, E>,
    ) -> Result<Arc<dyn DiskFile>, E> {
        self.0.get_or_insert_with(&key, open)
    }
}

#[cfg(test)]
mod tests {
    use annals_core::chain::EventId;
    use annals_core::hash::EventHash;
    use annals_core::time::Micros;

    use super::*;
    use crate::packed::{Behind, BlockEncoder, LEVEL};

    /// A block of one event with a body of `len` bytes.
    fn block(len: usize) -> Block {
        let body = vec![b'x'; len];
        let mut encoder = BlockEncoder::new(len, LEVEL).expect("memory");
        encoder.push(EventId::FIRST, &EventHash::GENESIS, Micros(0), &body);
        let (row, bytes) = encoder.finish(0).expect("small").expect("not empty");
        let behind = Behind {
            id: EventId::FIRST.plus(1),
            prev_hash: EventHash::of(&body),
        };
        Block::decode(bytes, &row, &behind).expect("just encoded")
    }

    /// Red when: `weight` is 1.
    #[test]
    fn blocks_are_bounded_by_their_bytes() {
        let bounds = CacheBounds {
            block_bytes: 4 * 1024 * 1024,
            files: 4,
        };
        let cache = BlockCache::new(&bounds);
        for segment in 0..500 {
            let key = BlockKey { segment, block: 3 };
            let made = cache.get_or_insert_with::<()>(key, || Ok(block(32 * 1024)));
            assert_eq!(made.map(|block| block.len()), Ok(1));
            assert!(
                cache.0.weight() <= bounds.block_bytes,
                "{} bytes",
                cache.0.weight()
            );
        }
        assert!(cache.0.len() > 50, "{} blocks", cache.0.len());
        // What is larger than everything that may be kept is handed out, and not kept.
        let large = BlockKey {
            segment: 1_000,
            block: 0,
        };
        assert!(
            cache
                .get_or_insert_with::<()>(large, || Ok(block(5 * 1024 * 1024)))
                .is_ok()
        );
        assert!(cache.get(large).is_none());
        // What could not be made is asked for again.
        let missing = BlockKey {
            segment: 1_001,
            block: 0,
        };
        assert_eq!(
            cache.get_or_insert_with(missing, || Err("gone")).map(|_| ()),
            Err("gone")
        );
        assert!(cache.get_or_insert_with::<()>(missing, || Ok(block(1))).is_ok());
    }
}

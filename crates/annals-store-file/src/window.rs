//! A read-ahead buffer over one file: neighbouring small reads cost one system call.

use std::io;
use std::sync::Arc;

use crate::disk::DiskFile;

/// Bytes read at once at least.
const BLOCK_BYTES: usize = 256 * 1024;

/// A moving window over the bytes of a file up to `end`.
pub(crate) struct Window {
    file: Arc<dyn DiskFile>,
    end: u64,
    start: u64,
    bytes: Vec<u8>,
    block_bytes: usize,
}

impl Window {
    /// A window that never reads at or past `end`.
    pub(crate) fn new(file: Arc<dyn DiskFile>, end: u64) -> Self {
        Self {
            file,
            end,
            start: 0,
            bytes: Vec::new(),
            block_bytes: BLOCK_BYTES,
        }
    }

    /// The bytes at `offset`: `len` of them, or fewer where `end` or the file comes first.
    pub(crate) fn at(&mut self, offset: u64, len: usize) -> io::Result<&[u8]> {
        let len = usize::try_from(self.end.saturating_sub(offset)).map_or(len, |rest| rest.min(len));
        let held = self.start..self.start + self.bytes.len() as u64;
        if offset < held.start || offset + len as u64 > held.end {
            self.fill(offset, len)?;
        }
        let from =
            usize::try_from(offset - self.start).map_or(self.bytes.len(), |from| from.min(self.bytes.len()));
        let to = (from + len).min(self.bytes.len());
        Ok(&self.bytes[from..to])
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        let rest = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let wanted = len.max(self.block_bytes).min(rest);
        self.start = offset;
        self.bytes.clear();
        self.bytes.resize(wanted, 0);
        let read = self.file.read_at(&mut self.bytes, offset)?;
        self.bytes.truncate(read);
        Ok(())
    }
}

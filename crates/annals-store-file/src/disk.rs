//! What the engine asks of a file system, and no more: so that tests can put a disk underneath that loses, tears and
//! fails.
//!
//! Names are relative to the data directory, with `/` between directory and file. Assumptions about a real disk, kept by
//! the simulated one:
//! - Bytes are durable only after `sync_data` on their file; a file's name only after `sync_dir` on its directory.
//! - Writes that were not synced may be lost, kept, or kept in part, sector by sector (512 bytes), in any order. A sector
//!   that such a write touches holds, byte for byte, either the old or the new content: bytes that were durable and are
//!   not rewritten with other values survive (known as power-safe overwrite).
//! - After a failed sync nothing is known about the bytes since the last good one, even if they can still be read.

mod real;

use std::io;
use std::sync::Arc;

pub use real::RealDisk;

/// A directory tree of files.
pub trait Disk: Send + Sync {
    /// A handle on the same tree that outlives this one, for files that are opened later.
    fn share(&self) -> Arc<dyn Disk>;

    /// Opens an existing file for reading.
    ///
    /// # Errors
    /// `NotFound` when there is none; whatever the system says.
    fn open_read(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` when there is none; whatever the system says.
    fn open_write(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates an empty file for reading and writing; an existing one is emptied.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Names of the entries of a directory (`""` is the data directory), without order.
    ///
    /// # Errors
    /// `NotFound` when there is no such directory; whatever the system says.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Creates a directory; fine when it exists.
    ///
    /// # Errors
    /// Whatever the system says.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Gives a file or directory another name, replacing a file of that name.
    ///
    /// # Errors
    /// Whatever the system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes the names in a directory durable: creations, renames, removals.
    ///
    /// # Errors
    /// Whatever the system says.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;
}

/// One open file. Stays usable when the file is removed.
pub trait DiskFile: Send + Sync {
    /// Reads at most `buf.len()` bytes at `offset`; fewer only at the end of the file.
    ///
    /// # Errors
    /// Whatever the system says.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// Whatever the system says; a part may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes every byte written so far durable, and the length.
    ///
    /// # Errors
    /// Whatever the system says; nothing is known about the bytes since the last good sync.
    fn sync_data(&self) -> io::Result<()>;

    /// Length of the file in bytes.
    ///
    /// # Errors
    /// Whatever the system says.
    fn size(&self) -> io::Result<u64>;
}

/// Reads exactly `buf.len()` bytes.
///
/// # Errors
/// `UnexpectedEof` when the file is shorter.
pub(crate) fn read_exact_at(file: &dyn DiskFile, buf: &mut [u8], offset: u64) -> io::Result<()> {
    match file.read_at(buf, offset)? {
        read if read == buf.len() => Ok(()),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Reads a whole file, refusing one of more than `bytes_max`.
///
/// # Errors
/// `InvalidData` when it is larger; whatever the system says.
pub(crate) fn read_small(disk: &dyn Disk, name: &str, bytes_max: usize) -> io::Result<Vec<u8>> {
    let file = disk.open_read(name)?;
    let size = usize::try_from(file.size()?).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size.min(bytes_max) + 1];
    let read = file.read_at(&mut bytes, 0)?;
    if read > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{name} is larger than {bytes_max} bytes"),
        ));
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Writes a small file so that it is there as a whole or not at all: temporary name, sync, rename, sync of the directory.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn write_small(disk: &dyn Disk, dir: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let path = join(dir, name);
    let temporary = format!("{path}.tmp");
    let file = disk.create(&temporary)?;
    file.write_at(bytes, 0)?;
    file.sync_data()?;
    disk.rename(&temporary, &path)?;
    disk.sync_dir(dir)
}

/// Gives back what work that failed has written so far; on a full disk others wait for the room.
pub(crate) fn give_back(disk: &dyn Disk, temporary: &str) {
    match disk.remove(temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            tracing::warn!(file = temporary, %error, "an unfinished file could not be removed");
        }
        _ => {}
    }
}

/// `dir/name`, or `name` in the data directory itself.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() {
        name.to_owned()
    } else {
        format!("{dir}/{name}")
    }
}

//! Looking at, copying and changing a data directory's files behind the server's back.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Copies a directory and everything below it.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below a directory, sorted. Files that go while it is looked at are passed over.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else {
        return found;
    };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn with_suffix(data_dir: &Path, dir: &str, suffix: &str) -> Vec<PathBuf> {
    let mut found = files_below(&data_dir.join(dir));
    found.retain(|path| path.to_str().unwrap().ends_with(suffix));
    found
}

/// Journal files in order, unfinished ones included.
pub(crate) fn journal_names(data_dir: &Path) -> Vec<PathBuf> {
    with_suffix(data_dir, "journal", "")
}

/// Whether a journal file holds at least one frame. One that has just been removed does not.
pub(crate) fn holds_frames(journal: &Path) -> bool {
    const FRAMES_START: u64 = 4096;
    let mut magic = [0; 4];
    let read = fs::File::open(journal).and_then(|file| file.read_exact_at(&mut magic, FRAMES_START));
    read.is_ok() && magic == *b"ANNF"
}

/// Segments in order.
pub(crate) fn segment_names(data_dir: &Path) -> Vec<PathBuf> {
    with_suffix(data_dir, "logs", ".segment")
}

/// Where in a file a text stands.
pub(crate) fn find_in_file(path: &Path, text: &str) -> Option<u64> {
    let bytes = fs::read(path).unwrap();
    memchr::memmem::find(&bytes, text.as_bytes()).map(|at| at as u64)
}

/// Changes one bit.
pub(crate) fn flip_bit(path: &Path, at: u64) {
    let file = fs::File::options().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 1;
    file.write_all_at(&byte, at).unwrap();
}

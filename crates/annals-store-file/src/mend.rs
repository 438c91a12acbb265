//! Recovery's writing half: what a crash left is put in order before anything new is written.
//!
//! Order, each step durable before the next: names of files that a crash may have left unsynced; residue copied to
//! quarantine, then zeroed in the journal; frames that were complete but not known to be durable written again, since
//! after a failed sync they may be readable and yet not be on the disk; the head record. Crashing anywhere in between and
//! starting again does the same once more.

use std::collections::BTreeSet;
use std::io;

use annals_store::Recovery;

use crate::disk::{Disk, join, read_exact_at, write_small};
use crate::head::{self, HeadRecord};
use crate::layout::{self, FORMAT_VERSION, Format, JOURNAL_DIR, LOGS_DIR, QUARANTINE_DIR, segments_dir};
use crate::load::{Loaded, Residue};

const BLOCK_BYTES: usize = 1024 * 1024;

/// Puts the directory in order. On return everything in `loaded` is durable and nothing lies behind its last frame.
pub(crate) fn mend(disk: &dyn Disk, loaded: &mut Loaded) -> io::Result<Recovery> {
    let mut recovery = Recovery::default();
    make_empty_directories(disk, loaded)?;
    sync_names(disk, loaded)?;
    remove_leftovers(disk, loaded, &mut recovery)?;
    if let Some(residue) = loaded.residue.take() {
        recovery.quarantined.push(quarantine(disk, loaded, &residue)?);
        erase(loaded, &residue)?;
    }
    rewrite_unproven(loaded, &mut recovery)?;
    write_head(disk, loaded, &mut recovery)?;
    upgrade(disk, loaded, &mut recovery)?;
    Ok(recovery)
}

/// Directories that may be empty get lost in copies and archives; what they held would be missed elsewhere.
fn make_empty_directories(disk: &dyn Disk, loaded: &Loaded) -> io::Result<()> {
    disk.create_dir(QUARANTINE_DIR)?;
    loaded
        .logs
        .iter()
        .try_for_each(|log| disk.create_dir(&segments_dir(log.manifest.log_id())))
}

fn sync_names(disk: &dyn Disk, loaded: &Loaded) -> io::Result<()> {
    for dir in ["", JOURNAL_DIR, LOGS_DIR, QUARANTINE_DIR] {
        disk.sync_dir(dir)?;
    }
    for log in &loaded.logs {
        disk.sync_dir(&segments_dir(log.manifest.log_id()))?;
    }
    Ok(())
}

/// Temporary files of work that was cut off, which were never part of the log, and segments that were joined into another
/// one. That one's name is durable: [`sync_names`] has just seen to it.
fn remove_leftovers(disk: &dyn Disk, loaded: &Loaded, recovery: &mut Recovery) -> io::Result<()> {
    for name in loaded.logs.iter().flat_map(|log| &log.covered) {
        disk.remove(name)?;
        recovery.notes.push(format!(
            "removed {name}, whose events are in the segment before it"
        ));
    }
    let mut dirs = vec![String::new(), JOURNAL_DIR.to_owned(), QUARANTINE_DIR.to_owned()];
    dirs.extend(loaded.logs.iter().map(|log| segments_dir(log.manifest.log_id())));
    for dir in dirs {
        for name in disk.list(&dir)?.iter().filter(|name| name.ends_with(".tmp")) {
            let path = join(&dir, name);
            disk.remove(&path)?;
            recovery.notes.push(format!("removed the unfinished file {path}"));
        }
    }
    Ok(())
}

/// Copies residue aside. Its name says where it lay, and with its checksum it is the same however often this is repeated.
fn quarantine(disk: &dyn Disk, loaded: &Loaded, residue: &Residue) -> io::Result<String> {
    let journal = &loaded.files[residue.file];
    let len = usize::try_from(residue.to - residue.from).map_err(io::Error::other)?;
    let mut bytes = vec![0; len];
    read_exact_at(&*journal.file, &mut bytes, residue.from)?;
    let crc = crc32c::crc32c(&bytes);
    let name = format!("journal-{:020}-at-{}-{crc:08x}.bin", journal.number, residue.from);
    write_small(disk, QUARANTINE_DIR, &name, &bytes)?;
    Ok(format!(
        "{QUARANTINE_DIR}/{name} ({len} bytes: {})",
        residue.fault
    ))
}

fn erase(loaded: &Loaded, residue: &Residue) -> io::Result<()> {
    let journal = &loaded.files[residue.file];
    let zeros = vec![0; BLOCK_BYTES];
    let mut at = residue.from;
    while at < residue.to {
        let take = usize::try_from(residue.to - at).map_or(BLOCK_BYTES, |rest| rest.min(BLOCK_BYTES));
        journal.file.write_at(&zeros[..take], at)?;
        at += take as u64;
    }
    journal.file.sync_data()
}

fn rewrite_unproven(loaded: &mut Loaded, recovery: &mut Recovery) -> io::Result<()> {
    let unproven = std::mem::take(&mut loaded.unproven);
    for (file, offset, len) in &unproven {
        let journal = &loaded.files[*file];
        let mut bytes = vec![0; *len];
        read_exact_at(&*journal.file, &mut bytes, *offset)?;
        journal.file.write_at(&bytes, *offset)?;
        recovery.rewritten_batches += 1;
    }
    let touched: BTreeSet<usize> = unproven.into_iter().map(|(file, ..)| file).collect();
    touched
        .into_iter()
        .try_for_each(|file| loaded.files[file].file.sync_data())
}

/// Makes a directory of the first format one of the present format. `FORMAT` comes last: until it is durable, the directory
/// is what it was, and the next opening does the same again.
fn upgrade(disk: &dyn Disk, loaded: &mut Loaded, recovery: &mut Recovery) -> io::Result<()> {
    if loaded.format == FORMAT_VERSION {
        return Ok(());
    }
    loaded.released.write(disk, loaded.directory)?;
    let format = Format {
        version: FORMAT_VERSION,
        directory: loaded.directory,
    };
    layout::write_format(disk, format)?;
    recovery.notes.push(format!(
        "the data directory was of format {} and has format {FORMAT_VERSION} now; older builds can not open it",
        loaded.format
    ));
    loaded.format = FORMAT_VERSION;
    Ok(())
}

fn write_head(disk: &dyn Disk, loaded: &mut Loaded, recovery: &mut Recovery) -> io::Result<()> {
    let newest = loaded
        .slots
        .newest
        .map_err(|fault| io::Error::new(io::ErrorKind::InvalidData, fault))?;
    if loaded.slots.damaged > 0 {
        recovery.notes.push(
            "one slot of the head record was damaged, as a crash while writing it leaves it".to_owned(),
        );
    }
    // Also when it says the same as the newest one: after a failed sync that one may be readable and yet not durable.
    let record = HeadRecord {
        generation: newest.generation + 1,
        frame: loaded.last_frame,
        header_digest: loaded.last_header_digest,
    };
    let file = disk.open_write(layout::HEAD_FILE)?;
    head::write(&*file, &record)?;
    loaded.slots.newest = Ok(record);
    loaded.known_durable = loaded.last_frame;
    Ok(())
}

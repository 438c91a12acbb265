//! Reading a data directory that may belong to a live writer: no lock, no change.
//!
//! A live writer can be caught in the middle of a write, or between two of our reads. Both look like damage for a moment
//! and are gone at the next look, whereas damage stays: so what looks wrong is looked at again, from the start, until it is
//! seen twice in the same place.

use std::path::Path;
use std::sync::Arc;

use crate::cache::CacheBounds;
use crate::damage::StoreDamage;
use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::load::{self, Access, Load, Loaded};
use crate::logs::FileLogs;
use crate::open::shown;
use crate::segments::SegmentFiles;
use crate::view::FileLog;

/// How often a directory is looked at before a changing fault is reported as it stands.
const LOOKS_MAX: usize = 16;

/// A data directory as it is.
pub enum Examined {
    /// Nothing that was durable is damaged, as far as the files' structure tells.
    Whole(Inspection),
    /// Something is: an integrity failure.
    Damaged(DamagedDirectory),
}

/// A data directory whose files are in order.
pub struct Inspection {
    /// The log `default`, as far as it is complete.
    pub log: Arc<FileLog>,
    /// All logs, as far as they are complete.
    pub logs: FileLogs,
    /// Bytes behind the last complete frame: the residue of a crash, or the write of a live server.
    pub residue: Option<String>,
    /// Other things worth knowing, one sentence each.
    pub notes: Vec<String>,
}

/// A data directory with something damaged.
pub struct DamagedDirectory {
    /// What, and where.
    pub damage: StoreDamage,
    /// The log `default` as far as it was read before the damage. Its head is where that ends, and nothing is known of it
    /// but its structure.
    pub before: Arc<FileLog>,
    /// All logs, as far as they were read.
    pub logs: FileLogs,
    /// Other things worth knowing, one sentence each.
    pub notes: Vec<String>,
}

/// Looks at the data directory `root`, of which everything must be in order.
///
/// # Errors
/// [`OpenError::Damaged`] is an integrity failure; the others say why nothing can be told.
pub fn inspect(root: &Path) -> Result<Inspection, OpenError> {
    inspect_on(&RealDisk::new(root))
}

/// [`inspect`] on any [`Disk`].
///
/// # Errors
/// As [`inspect`].
pub fn inspect_on(disk: &dyn Disk) -> Result<Inspection, OpenError> {
    match examine_on(disk)? {
        Examined::Whole(inspection) => Ok(inspection),
        Examined::Damaged(DamagedDirectory { damage, .. }) => Err(damage.into()),
    }
}

/// Looks at the data directory `root`, and at what is readable before the damage if there is some.
///
/// # Errors
/// [`OpenError`] says why nothing can be told; it is never [`OpenError::Damaged`].
pub fn examine(root: &Path) -> Result<Examined, OpenError> {
    examine_on(&RealDisk::new(root))
}

/// [`examine`] on any [`Disk`].
///
/// # Errors
/// As [`examine`].
pub fn examine_on(disk: &dyn Disk) -> Result<Examined, OpenError> {
    let (damage, loaded) = match load_settled(disk)? {
        Load::Whole(loaded) => (None, loaded),
        Load::Damaged { damage, before } => (Some(damage), before),
    };
    let residue = residue(&loaded);
    let mut notes = Vec::new();
    if loaded.slots.newest.is_ok() && loaded.slots.damaged > 0 {
        notes
            .push("one slot of the head record is damaged, as a crash while writing it leaves it".to_owned());
    }
    let (log, logs) = shown(loaded.logs, None)?;
    Ok(match damage {
        None => Examined::Whole(Inspection {
            log,
            logs,
            residue,
            notes,
        }),
        Some(damage) => {
            notes.extend(residue);
            Examined::Damaged(DamagedDirectory {
                damage,
                before: log,
                logs,
                notes,
            })
        }
    })
}

fn residue(loaded: &Loaded) -> Option<String> {
    let residue = loaded.residue?;
    let name = loaded.files[residue.file].name();
    Some(format!(
        "{} bytes behind the last complete frame ({name} at byte {}): {}",
        residue.to - residue.from,
        residue.from,
        residue.fault
    ))
}

fn load_settled(disk: &dyn Disk) -> Result<Load, OpenError> {
    let segments = Arc::new(SegmentFiles::new(disk.share(), &CacheBounds::DEFAULT));
    let mut seen: Option<StoreDamage> = None;
    for _ in 1..LOOKS_MAX {
        match load::load(&segments, Access::Read)? {
            Load::Damaged { damage, .. } if seen.as_ref() != Some(&damage) => seen = Some(damage),
            load => return Ok(load),
        }
    }
    load::load(&segments, Access::Read)
}

//! Reading a data directory that may belong to a live writer: no lock, no change.
//!
//! A live writer can be caught in the middle of a write, or between two of our reads. Both look like damage for a moment
//! and are gone at the next look, whereas damage stays: so what looks wrong is looked at again, from the start, until it is
//! seen twice in the same place.

use std::path::Path;
use std::sync::Arc;

use annals_store::Damage;

use crate::disk::{Disk, RealDisk};
use crate::error::OpenError;
use crate::layout::Manifest;
use crate::load::{self, Access, Loaded};
use crate::open::default_manifest;
use crate::view::FileLog;

/// How often a directory is looked at before a changing fault is reported as it stands.
const LOOKS_MAX: usize = 16;

/// A data directory as it is.
pub struct Inspection {
    /// The log `default`, as far as it is complete.
    pub log: Arc<FileLog>,
    /// What never changes about that log.
    pub manifest: Manifest,
    /// Bytes behind the last complete frame: the residue of a crash, or the write of a live server.
    pub residue: Option<String>,
    /// Other things worth knowing, one sentence each.
    pub notes: Vec<String>,
}

/// Looks at the data directory `root`.
///
/// # Errors
/// [`OpenError::Damaged`] is an integrity failure; the others say why nothing can be told.
pub fn inspect(root: &Path) -> Result<Inspection, OpenError> {
    inspect_on(&RealDisk::new(root))
}

/// Looks at a data directory on any [`Disk`].
///
/// # Errors
/// As [`inspect`].
pub fn inspect_on(disk: &dyn Disk) -> Result<Inspection, OpenError> {
    let mut loaded = load_settled(disk)?;
    let manifest = default_manifest(&loaded.logs)?;
    let residue = loaded.residue.map(|residue| {
        let name = loaded.files[residue.file].name();
        format!(
            "{} bytes behind the last complete frame ({name} at byte {}): {}",
            residue.to - residue.from,
            residue.from,
            residue.fault
        )
    });
    let mut notes = Vec::new();
    if loaded.slots.damaged > 0 {
        notes
            .push("one slot of the head record is damaged, as a crash while writing it leaves it".to_owned());
    }
    let at = loaded
        .logs
        .iter()
        .position(|log| log.manifest == manifest)
        .unwrap_or(0);
    let log = Arc::new(FileLog::from(loaded.logs.swap_remove(at)));
    Ok(Inspection {
        log,
        manifest,
        residue,
        notes,
    })
}

fn load_settled(disk: &dyn Disk) -> Result<Loaded, OpenError> {
    let mut seen: Option<Damage> = None;
    for _ in 1..LOOKS_MAX {
        match load::load(disk, Access::Read) {
            Err(OpenError::Damaged(damage)) if seen.as_ref() != Some(&damage) => seen = Some(damage),
            loaded => return loaded,
        }
    }
    load::load(disk, Access::Read)
}

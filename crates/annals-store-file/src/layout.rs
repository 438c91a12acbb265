//! The data directory: what lies where, under which names, and the `FORMAT` file and manifests that say so.
//!
//! Invariants: `FORMAT` is written last, so a directory with it is complete; a manifest never changes once it is there; a
//! newer format is refused before anything else is read.

use std::io;

use annals_core::chain::{EventId, LogId};
use annals_core::hash::EventHash;
use annals_core::time::Micros;
use annals_store::{LogManifest, LogName};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::disk::{Disk, join, read_small, write_small};
use crate::error::OpenError;

/// Version of the directory's layout.
pub(crate) const FORMAT_VERSION: u32 = 2;
/// The first layout: one log, no cells. It is read, and becomes the present one when it is opened for writing.
pub(crate) const FORMAT_VERSION_1: u32 = 1;
/// Version of a log's manifest.
const MANIFEST_VERSION: u32 = 1;
pub(crate) const FORMAT_FILE: &str = "FORMAT";
/// Held with `flock` by the process that writes.
pub(crate) const LOCK_FILE: &str = "LOCK";
pub(crate) const HEAD_FILE: &str = "head";
pub(crate) const RELEASED_FILE: &str = "released";
pub(crate) const JOURNAL_DIR: &str = "journal";
pub(crate) const LOGS_DIR: &str = "logs";
pub(crate) const QUARANTINE_DIR: &str = "quarantine";
/// The log that answers at the seed's paths.
pub(crate) const DEFAULT_LOG: &str = "default";
const MANIFEST_FILE: &str = "manifest.json";
const SMALL_FILE_BYTES_MAX: usize = 64 * 1024;

/// What `FORMAT` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Format {
    /// Version of the layout.
    pub(crate) version: u32,
    /// The directory's own UUID; every journal file names it.
    pub(crate) directory: Uuid,
}

impl Format {
    fn text(self) -> String {
        format!("annals-data {}\nuuid {}\n", self.version, self.directory)
    }
}

/// What never changes about a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the manifest's layout, 1.
    pub format: u32,
    /// Name, `[a-z0-9][a-z0-9_-]{0,62}`.
    pub name: String,
    /// The log's UUID.
    pub uuid: Uuid,
    /// Unique by construction and fit for a checkpoint's first line.
    pub origin: String,
    /// RFC 3339, UTC.
    pub created_at: String,
    /// SHA-256, in hex, of the other members' values, each followed by a newline, in this order.
    pub sha256: String,
}

impl Manifest {
    fn new(name: &str, uuid: Uuid, created_at: Micros) -> Self {
        let mut manifest = Self {
            format: MANIFEST_VERSION,
            name: name.to_owned(),
            uuid,
            origin: format!("annals/log/{uuid}"),
            created_at: created_at.to_string(),
            sha256: String::new(),
        };
        manifest.sha256 = manifest.digest();
        manifest
    }

    fn text(&self) -> io::Result<Vec<u8>> {
        let mut text = serde_json::to_vec_pretty(self).map_err(io::Error::other)?;
        text.push(b'\n');
        Ok(text)
    }

    fn digest(&self) -> String {
        let Self {
            format,
            name,
            uuid,
            origin,
            created_at,
            sha256: _,
        } = self;
        let text = format!("{format}\n{name}\n{uuid}\n{origin}\n{created_at}\n");
        EventHash::of(text.as_bytes()).to_string()
    }

    /// As the storage contract tells it.
    #[must_use]
    pub fn told(&self) -> LogManifest {
        LogManifest {
            name: LogName::new(&self.name).unwrap_or_else(|_| LogName::default_log()),
            id: self.log_id(),
            origin: self.origin.clone(),
            created_at: self.created_at.clone(),
        }
    }

    /// The id that frames carry.
    #[must_use]
    pub fn log_id(&self) -> LogId {
        LogId(*self.uuid.as_bytes())
    }
}

/// `journal/00000000000000000001.journal`
pub(crate) fn journal_file_name(number: u64) -> String {
    format!("{JOURNAL_DIR}/{number:020}.journal")
}

pub(crate) fn segments_dir(log: LogId) -> String {
    format!("{LOGS_DIR}/{log}/segments")
}

pub(crate) fn index_dir(log: LogId) -> String {
    format!("{LOGS_DIR}/{log}/index")
}

/// `logs/<uuid>/segments/<first id>.segment`
pub(crate) fn segment_name(log: LogId, first: EventId) -> String {
    format!("{}/{:020}.segment", segments_dir(log), first.get())
}

/// The numbers in the names `<20 digits><suffix>` of a directory, ascending; other names are passed over.
pub(crate) fn numbered(disk: &dyn Disk, dir: &str, suffix: &str) -> io::Result<Vec<u64>> {
    let names = match disk.list(dir) {
        // A directory that is missing holds nothing: what it should hold is missed by who asks.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        listed => listed?,
    };
    let mut numbers: Vec<u64> = names
        .iter()
        .filter_map(|name| name.strip_suffix(suffix))
        .filter(|digits| digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit()))
        .filter_map(|digits| digits.parse().ok())
        .collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Reads `FORMAT`: `None` when there is none (or no directory).
pub(crate) fn read_format(disk: &dyn Disk) -> Result<Option<Format>, OpenError> {
    let bytes = match read_small(disk, FORMAT_FILE, SMALL_FILE_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read?,
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = text.lines();
    let version = lines.next().and_then(|line| line.strip_prefix("annals-data "));
    let version: u32 = version
        .and_then(|digits| digits.parse().ok())
        .ok_or_else(damaged_format)?;
    if version > FORMAT_VERSION {
        return Err(OpenError::NewerFormat {
            found: version,
            known: FORMAT_VERSION,
        });
    }
    let directory = lines
        .next()
        .and_then(|line| line.strip_prefix("uuid "))
        .and_then(|uuid| uuid.parse().ok());
    let format = directory
        .map(|directory| Format { version, directory })
        .ok_or_else(damaged_format)?;
    if text != format.text() {
        return Err(damaged_format());
    }
    Ok(Some(format))
}

fn damaged_format() -> OpenError {
    OpenError::Manifest {
        name: FORMAT_FILE.to_owned(),
        what: "it is not what Annals wrote".to_owned(),
    }
}

/// Writes `FORMAT`: the last step of making a directory, and of bringing an older one to this version.
pub(crate) fn write_format(disk: &dyn Disk, format: Format) -> io::Result<()> {
    write_small(disk, "", FORMAT_FILE, format.text().as_bytes())
}

/// The manifests of all logs.
pub(crate) fn read_manifests(disk: &dyn Disk) -> Result<Vec<Manifest>, OpenError> {
    let mut manifests = Vec::new();
    for entry in disk.list(LOGS_DIR)? {
        if entry.parse::<Uuid>().is_err() {
            continue;
        }
        let name = format!("{LOGS_DIR}/{entry}/{MANIFEST_FILE}");
        let bytes = read_small(disk, &name, SMALL_FILE_BYTES_MAX)?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| OpenError::Manifest {
            name: name.clone(),
            what: error.to_string(),
        })?;
        if manifest.format > MANIFEST_VERSION {
            return Err(OpenError::NewerFormat {
                found: manifest.format,
                known: MANIFEST_VERSION,
            });
        }
        if manifest.uuid.to_string() != entry {
            return Err(OpenError::Manifest {
                name,
                what: format!("it names another log, {}", manifest.uuid),
            });
        }
        if let Err(error) = LogName::new(&manifest.name) {
            return Err(OpenError::Manifest {
                name,
                what: error.to_string(),
            });
        }
        if manifest.sha256 != manifest.digest() || bytes != manifest.text()? {
            return Err(OpenError::Manifest {
                name,
                what: "it does not match its checksum".to_owned(),
            });
        }
        manifests.push(manifest);
    }
    Ok(manifests)
}

/// Why a log was not made.
#[derive(Debug)]
pub(crate) enum NotMade {
    /// There is nothing that counts.
    Nothing(io::Error),
    /// Whether it is there can only be told by looking.
    Perhaps(io::Error),
}

impl From<NotMade> for io::Error {
    fn from(not_made: NotMade) -> Self {
        match not_made {
            NotMade::Nothing(error) | NotMade::Perhaps(error) => error,
        }
    }
}

/// Makes a log's directory and manifest; durable when it returns.
pub(crate) fn create_log(disk: &dyn Disk, name: &str, created_at: Micros) -> Result<Manifest, NotMade> {
    let manifest = Manifest::new(name, Uuid::new_v4(), created_at);
    let dir = join(LOGS_DIR, &manifest.uuid.to_string());
    // The manifest makes the log: it is written under a name that readers pass over, and renamed as a whole.
    let temporary = format!("{dir}.tmp");
    write_log(disk, &temporary, &manifest).map_err(NotMade::Nothing)?;
    disk.rename(&temporary, &dir)
        .and_then(|()| disk.sync_dir(LOGS_DIR))
        .map_err(NotMade::Perhaps)?;
    Ok(manifest)
}

fn write_log(disk: &dyn Disk, dir: &str, manifest: &Manifest) -> io::Result<()> {
    disk.create_dir(dir)?;
    disk.create_dir(&format!("{dir}/segments"))?;
    write_small(disk, dir, MANIFEST_FILE, &manifest.text()?)
}

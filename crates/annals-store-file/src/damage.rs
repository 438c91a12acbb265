//! Damage to a data directory as a whole: what is found when it is loaded, and where.
//!
//! Unlike [`annals_store::Damage`], which a reader meets at an event that it asked for, this may hit a file that holds no
//! event. Invariant: an event is named only when it is shown that it was there.

use std::fmt;

use annals_core::chain::{EventId, LogId};
use annals_store::Damage;
use thiserror::Error;

use crate::layout::{HEAD_FILE, JOURNAL_DIR, RELEASED_FILE, index_dir, journal_file_name, segment_name};
use crate::view;

/// What is not as it was in a data directory.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct StoreDamage {
    /// The first event that is hit; `None` when nothing shows that one is.
    pub event: Option<EventId>,
    /// Where.
    pub place: Place,
    /// What is wrong there.
    pub what: String,
}

/// A place in a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The head record.
    HeadRecord,
    /// What is known of frames that the journal gave up.
    Released,
    /// The directory of the journal: it has no file.
    JournalDirectory,
    /// A journal file as such: it is missing, or its header is damaged.
    JournalFile {
        /// Its number.
        number: u64,
    },
    /// A position in a journal file.
    Journal {
        /// The file's number.
        number: u64,
        /// Bytes from the file's start.
        offset: u64,
    },
    /// The index of a log. No event is hit, but queries would be answered wrongly.
    Index {
        /// The log.
        log: LogId,
    },
    /// A position in a segment.
    Segment {
        /// The segment's log.
        log: LogId,
        /// The id of the segment's first event, as its name has it.
        first: EventId,
        /// Bytes from the file's start.
        offset: u64,
    },
}

impl StoreDamage {
    /// What the operator can do.
    #[must_use]
    pub fn mend(&self) -> &'static str {
        match self.place {
            Place::HeadRecord => {
                "put back the file `head` out of a backup of this very directory, or put the directory aside and restore a \
                 copy that `annals verify --checkpoint` finds intact"
            }
            Place::Index { .. } => {
                "stop the server and build it again with `annals index rebuild`; find out who changed it"
            }
            Place::Released
            | Place::JournalDirectory
            | Place::JournalFile { .. }
            | Place::Journal { .. }
            | Place::Segment { .. } => {
                "put the directory aside and restore a copy that `annals verify --checkpoint` finds intact"
            }
        }
    }

    /// As a reader tells it, who knows only of events; `None` when no event is known to be hit.
    pub(crate) fn at_event(&self) -> Option<Damage> {
        self.event.map(|event| Damage {
            event,
            place: self.place.to_string(),
            what: self.what.clone(),
        })
    }
}

impl fmt::Display for StoreDamage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.event {
            Some(event) => write!(f, "event {event}: {} ({})", self.what, self.place),
            None => write!(f, "{} ({})", self.what, self.place),
        }
    }
}

impl Place {
    /// The file, or directory, relative to the data directory.
    #[must_use]
    pub fn file(&self) -> String {
        match self {
            Self::HeadRecord => HEAD_FILE.to_owned(),
            Self::Released => RELEASED_FILE.to_owned(),
            Self::JournalDirectory => JOURNAL_DIR.to_owned(),
            Self::JournalFile { number } | Self::Journal { number, .. } => journal_file_name(*number),
            Self::Index { log } => index_dir(*log),
            Self::Segment { log, first, .. } => segment_name(*log, *first),
        }
    }

    /// Bytes from the file's start, where it is a position.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        match self {
            Self::HeadRecord
            | Self::Released
            | Self::Index { .. }
            | Self::JournalDirectory
            | Self::JournalFile { .. } => None,
            Self::Journal { offset, .. } | Self::Segment { offset, .. } => Some(*offset),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset() {
            Some(offset) => f.write_str(&view::place(&self.file(), offset)),
            None => f.write_str(&self.file()),
        }
    }
}

//! Errors of opening a data directory, named after who must act.

use std::io;

use annals_store::RecoverError;
use thiserror::Error;

use crate::damage::StoreDamage;

/// Why a data directory can not be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file system failed: the operator has to look at it.
    #[error("the data directory can not be read or written: {0}")]
    Io(#[from] io::Error),
    /// Another process writes here.
    #[error("another process has the data directory open; stop it, or give this one its own --data-dir")]
    Locked,
    /// There is no log here.
    #[error("this is not an Annals data directory: it has no FORMAT file")]
    NoData,
    /// The directory holds other things, or `FORMAT` is gone or unreadable.
    #[error(
        "the directory is not empty and is not an Annals data directory; give another one, or restore its FORMAT file"
    )]
    NotOurs,
    /// A newer Annals wrote it.
    #[error("the data has format {found}, this build knows formats up to {known}; use a newer build")]
    NewerFormat {
        /// The version found.
        found: u32,
        /// The newest version that this build reads.
        known: u32,
    },
    /// `FORMAT` or a log's manifest is not what was written.
    #[error("{name} is damaged: {what}")]
    Manifest {
        /// The file.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// What was durable is damaged, events or what vouches for them: an integrity failure.
    #[error("integrity failure: {0}; {mend}", mend = .0.mend())]
    Damaged(#[from] StoreDamage),
}

impl From<OpenError> for RecoverError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Io(error) => Self::Io(error),
            // Where no event is known to be hit, a file is missing that the operator can put back: until then every attempt
            // fails, and the journal takes nothing.
            OpenError::Damaged(damage) => match damage.at_event() {
                Some(at_event) => Self::Damaged(at_event),
                None => Self::Io(io::Error::new(
                    io::ErrorKind::InvalidData,
                    OpenError::Damaged(damage),
                )),
            },
            other => Self::Io(io::Error::other(other)),
        }
    }
}

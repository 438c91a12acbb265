//! The logs of an engine: their names, what never changes about them, and where readers find them.
//!
//! Invariants: a name is never used again, so it means one log for ever; a log's id and origin are fixed when it is made.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use annals_core::chain::LogId;
use thiserror::Error;

use crate::find::FindEvents;

/// A log's name: `[a-z0-9][a-z0-9_-]{0,62}`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LogName(Box<str>);

impl LogName {
    /// Most bytes of a name.
    pub const BYTES_MAX: usize = 63;

    /// The log that answers at the paths without a log's name.
    #[must_use]
    pub fn default_log() -> Self {
        Self("default".into())
    }

    /// Takes text that is a name.
    ///
    /// # Errors
    /// [`LogNameError`]
    pub fn new(name: &str) -> Result<Self, LogNameError> {
        if name.len() > Self::BYTES_MAX {
            return Err(LogNameError::TooLong { bytes: name.len() });
        }
        let first = name.chars().next().ok_or(LogNameError::Empty)?;
        if matches!(first, '_' | '-') {
            return Err(LogNameError::Start { found: first });
        }
        match name.chars().find(|found| !is_allowed(*found)) {
            Some(found) => Err(LogNameError::Character { found }),
            None => Ok(Self(name.into())),
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn is_allowed(found: char) -> bool {
    matches!(found, 'a'..='z' | '0'..='9' | '_' | '-')
}

impl FromStr for LogName {
    type Err = LogNameError;

    fn from_str(name: &str) -> Result<Self, LogNameError> {
        Self::new(name)
    }
}

impl AsRef<str> for LogName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The caller has to choose another name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum LogNameError {
    /// No character at all.
    #[error("a log's name must not be empty; take 1 to 63 of a-z, 0-9, _ and -")]
    Empty,
    /// Too many.
    #[error("a log's name has at most 63 characters, this one has {bytes} bytes")]
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// It begins like an option or a hidden name.
    #[error("a log's name begins with one of a-z or 0-9, not with {found:?}")]
    Start {
        /// What it begins with.
        found: char,
    },
    /// It has something else than the few characters that are safe in paths, file names and checkpoints.
    #[error("a log's name has only a-z, 0-9, _ and - in it, not {found:?}")]
    Character {
        /// The first that is wrong.
        found: char,
    },
}

/// What never changes about a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogManifest {
    /// What people call it.
    pub name: LogName,
    /// What frames and cells call it.
    pub id: LogId,
    /// What checkpoints call it: unique by construction.
    pub origin: String,
    /// When it was made: RFC 3339, UTC, as the log's own stamps.
    pub created_at: String,
}

/// The logs of an engine, for reading. Safe to call from many threads at once.
///
/// A log is here as soon as [`create_log`](crate::Journal::create_log) has returned, and stays.
pub trait LogDirectory: Send + Sync {
    /// All logs, by name.
    fn list(&self) -> Vec<LogManifest>;

    /// The log of that name.
    fn open(&self, name: &str) -> Option<(LogManifest, Arc<dyn FindEvents>)>;
}

#[cfg(test)]
mod tests {
    use super::*;

    // Red when: `new` allows one more byte, or does not look at the first character.
    #[test]
    fn names_are_what_the_rule_says() {
        let longest = "a".repeat(63);
        for good in ["default", "0", "a-b_c", "9-", &longest] {
            assert_eq!(LogName::new(good).unwrap().as_str(), good);
        }
        assert_eq!(LogName::new("default"), Ok(LogName::default_log()));
        let longer = "a".repeat(64);
        for (bad, error) in [
            ("", LogNameError::Empty),
            ("-a", LogNameError::Start { found: '-' }),
            ("_", LogNameError::Start { found: '_' }),
            ("Ab", LogNameError::Character { found: 'A' }),
            ("a.b", LogNameError::Character { found: '.' }),
            ("a/b", LogNameError::Character { found: '/' }),
            ("\u{e4}", LogNameError::Character { found: '\u{e4}' }),
            ("a\n", LogNameError::Character { found: '\n' }),
            (&longer, LogNameError::TooLong { bytes: 64 }),
        ] {
            assert_eq!(LogName::new(bad), Err(error), "{bad:?}");
        }
    }
}

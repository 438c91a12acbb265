//! How a command ends: the exit codes, and the one function that maps an error to one of them.
//!
//! Invariant: an integrity failure (3), data that could not be read to its end (4) and any other error (1) are never mixed:
//! a script that watches a log can act on the code alone.

use annals_server::ListenRefused;
use annals_store_file::OpenError;
use thiserror::Error;

use crate::output::ReaderGone;

/// The exit codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// An error that is none of the following.
    Error = 1,
    /// The command line or the settings are wrong.
    Usage = 2,
    /// What was sealed is not what is there.
    Integrity = 3,
    /// The data could not be read to its end, or not by this version: nothing is known about the rest.
    Incomplete = 4,
    /// Refused: by the server, or to protect the operator.
    NotAllowed = 5,
    /// The server can not be reached.
    Unreachable = 6,
}

/// The last lines of every help text: what the codes mean.
pub(crate) const HELP: &str = "Exit codes: 0 ok, 1 error, 2 usage, 3 integrity failure, 4 incomplete or unverifiable, \
                               5 not allowed, 6 unreachable";

/// An error whose kind decides the exit code. The text says what to do next.
#[derive(Debug, Error)]
pub(crate) enum Failure {
    /// See [`Exit::Usage`].
    #[error("{0}")]
    Usage(String),
    /// See [`Exit::Integrity`].
    #[error("{0}")]
    Integrity(String),
    /// See [`Exit::Incomplete`].
    #[error("{0}")]
    Incomplete(String),
    /// See [`Exit::NotAllowed`].
    #[error("{0}")]
    NotAllowed(String),
    /// See [`Exit::Unreachable`].
    #[error("{0}")]
    Unreachable(String),
}

impl Exit {
    /// The code for an error, by the first error of its chain that decides it.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(decisive).unwrap_or(Self::Error)
    }
}

fn decisive(error: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if error.is::<ReaderGone>() {
        // Whoever read our output has seen enough, as `head` does.
        return Some(Exit::Ok);
    }
    if error.is::<ListenRefused>() {
        return Some(Exit::NotAllowed);
    }
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return Some(match failure {
            Failure::Usage(_) => Exit::Usage,
            Failure::Integrity(_) => Exit::Integrity,
            Failure::Incomplete(_) => Exit::Incomplete,
            Failure::NotAllowed(_) => Exit::NotAllowed,
            Failure::Unreachable(_) => Exit::Unreachable,
        });
    }
    Some(match error.downcast_ref::<OpenError>()? {
        OpenError::Damaged(_) | OpenError::Manifest { .. } => Exit::Integrity,
        OpenError::NewerFormat { .. } => Exit::Incomplete,
        OpenError::Io(_) | OpenError::Locked | OpenError::NoData | OpenError::NotOurs => Exit::Error,
    })
}

#[cfg(test)]
mod tests {
    use std::io;

    use annals_core::chain::EventId;
    use annals_store_file::{Place, StoreDamage};
    use anyhow::Context;

    use super::*;

    fn code<E: Into<anyhow::Error>>(error: E) -> u8 {
        Exit::of(&error.into().context("while doing something")) as u8
    }

    /// Red when: any two arms of `decisive` are exchanged.
    #[test]
    fn every_error_has_its_code() {
        let text = || String::from("x");
        let damage = |event, place| StoreDamage {
            event,
            place,
            what: text(),
        };
        let (number, offset) = (1, 4096);
        let in_journal = damage(Some(EventId::FIRST), Place::Journal { number, offset });
        assert_eq!(code(io::Error::other("x")), 1);
        assert_eq!(code(Failure::Usage(text())), 2);
        assert_eq!(code(Failure::Integrity(text())), 3);
        assert_eq!(code(Failure::Incomplete(text())), 4);
        assert_eq!(code(Failure::NotAllowed(text())), 5);
        assert_eq!(code(Failure::Unreachable(text())), 6);
        assert_eq!(code(OpenError::Damaged(in_journal)), 3);
        assert_eq!(code(OpenError::Damaged(damage(None, Place::HeadRecord))), 3);
        assert_eq!(code(OpenError::NewerFormat { found: 2, known: 1 }), 4);
        assert_eq!(code(OpenError::Locked), 1);
        assert_eq!(
            code(annals_server::check_listen("0.0.0.0:1".parse().unwrap(), false).unwrap_err()),
            5
        );
        assert_eq!(code(ReaderGone), 0);
        let wrapped: anyhow::Result<()> = Err(Failure::Unreachable(text())).context("outer");
        assert_eq!(Exit::of(&wrapped.unwrap_err()), Exit::Unreachable);
        // A broken connection to a server is no reader that has gone.
        assert_eq!(code(io::Error::from(io::ErrorKind::BrokenPipe)), 1);
    }
}

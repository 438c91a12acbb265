//! stdout is data, stderr is talk.
//!
//! Invariants: data goes out through one buffered handle and only through it; a reader that goes away (`| head`) ends the
//! command quietly; colour and animation only on a terminal, and never when `NO_COLOR` (no-color.org) is set.

use std::env;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use thiserror::Error;

/// Whoever read our stdout has gone.
#[derive(Debug, Error)]
#[error("the reader of the output has gone")]
pub(crate) struct ReaderGone;

/// The command's data, on its way to stdout.
pub(crate) struct Output {
    stdout: BufWriter<StdoutLock<'static>>,
}

impl Output {
    /// Takes stdout.
    pub(crate) fn stdout() -> Self {
        Self {
            stdout: BufWriter::with_capacity(64 * 1024, io::stdout().lock()),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.stdout.write_all(bytes).map_err(told_apart)
    }

    /// Writes one line.
    pub(crate) fn line(&mut self, line: impl AsRef<[u8]>) -> anyhow::Result<()> {
        self.bytes(line.as_ref())?;
        self.bytes(b"\n")
    }

    /// Hands over what is buffered: before waiting, and at the end.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.stdout.flush().map_err(told_apart)
    }
}

fn told_apart(error: io::Error) -> anyhow::Error {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return ReaderGone.into();
    }
    anyhow::Error::new(error).context("writing to stdout failed")
}

/// Says something on stderr. That nobody listens there is no reason to fail.
pub(crate) fn say(line: impl AsRef<str>) {
    let mut stderr = io::stderr().lock();
    drop(writeln!(stderr, "{}", line.as_ref()));
}

/// How the data is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// For people: a table.
    Human {
        /// Whether escape sequences are welcome.
        colour: bool,
    },
    /// For programs: JSON, one value a line.
    Json,
}

impl Style {
    /// JSON when it is asked for or when stdout is no terminal.
    pub(crate) fn of_stream(json: bool) -> Self {
        if json || !io::stdout().is_terminal() {
            Self::Json
        } else {
            Self::Human {
                colour: colour_wanted(),
            }
        }
    }

    /// JSON only when it is asked for.
    pub(crate) fn of_answer(json: bool) -> Self {
        if json {
            Self::Json
        } else {
            Self::Human {
                colour: io::stdout().is_terminal() && colour_wanted(),
            }
        }
    }
}

fn colour_wanted() -> bool {
    env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        && env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Ways to set words off. Meaning is never carried by colour alone.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Paint {
    /// Good news.
    Green,
    /// Bad news.
    Red,
    /// A heading.
    Bold,
}

impl Paint {
    /// `text`, in this paint when `colour` is welcome.
    pub(crate) fn on(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Green => 32,
            Self::Red => 31,
            Self::Bold => 1,
        };
        if colour {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

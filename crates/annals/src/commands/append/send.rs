//! Sending batches, one request at a time, and knowing what became of each.
//!
//! Invariants: a batch is sent again only when it is certain that it was not stored; when that is not certain the command
//! stops and says so. Ctrl-C lets the request that is under way finish; a second one gives up on it.

use std::time::{Duration, Instant};

use annals_api::Outcome;
use annals_api::names::{EVENTS, NDJSON};
use anyhow::Result;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use tokio::sync::mpsc::error::TryRecvError;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::client::{Client, Refusal, cause};
use crate::commands::append::input::{Chunk, Input, InputError};
use crate::commands::append::tally::{Tally, span};
use crate::exit::Failure;
use crate::output::{Output, say};
use crate::progress::Progress;

/// A request takes what waits until it has this many events or bytes.
const BATCH_EVENTS: usize = 5000;
const BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Wait before trying again when the server does not say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Errors of single lines that are shown.
const ERRORS_SHOWN: usize = 5;

/// Sends the input to a server.
pub(super) struct Sender {
    client: Client,
    retry_for: Duration,
    json: bool,
    /// By which the log recognises the event when it is sent again; none when it does not.
    recognised_by: HeaderMap,
    tally: Tally,
}

/// Why sending stops before the input's end, and what that means for the lines concerned.
enum Stop {
    /// None of them is stored.
    NotStored(anyhow::Error),
    /// They may be stored.
    Unknown(String),
    /// They are stored; what came after that failed.
    Stored(anyhow::Error),
}

impl Sender {
    pub(super) fn new(client: Client, retry_for: Duration, json: bool, recognised_by: HeaderMap) -> Self {
        Self {
            client,
            retry_for,
            json,
            recognised_by,
            tally: Tally::default(),
        }
    }

    /// Sends everything, then says what is stored.
    pub(super) async fn run(mut self, mut input: Input) -> Result<()> {
        let started = Instant::now();
        let progress = input
            .bytes
            .map_or_else(|| Progress::of_events(None), Progress::of_bytes);
        let has_total = input.bytes.is_some();
        let mut presses = listen_for_ctrl_c();
        let mut output = Output::stdout();
        loop {
            let batch = tokio::select! {
                // Also when it was pressed during the last request.
                biased;
                _ = presses.wait_for(|count| *count > 0) => None,
                batch = next_batch(&mut input) => Some(batch),
            };
            match batch {
                None => return Err(self.interrupted()),
                Some(Batch { chunk, error }) => {
                    if let Some(chunk) = &chunk {
                        let sent = self.send(chunk, &mut presses, &progress).await;
                        let taken = sent.and_then(|receipts| self.take(chunk, &receipts, &mut output));
                        taken.map_err(|stop| self.stopped(stop, chunk, input.is_lines))?;
                        progress.at(if has_total {
                            chunk.bytes_read
                        } else {
                            self.tally.events()
                        });
                        progress.note(format!("{} events", self.tally.events()));
                    }
                    match error {
                        Some(InputEnd::Bad(error)) => return Err(self.bad_line(&error)),
                        Some(InputEnd::Eof) => break,
                        None => {}
                    }
                }
            }
        }
        drop(progress);
        let summary = self.tally.summary(started.elapsed());
        if self.json {
            say(format!("annals: {summary}"));
        } else {
            output.line(summary)?;
        }
        output.flush()
    }

    fn take(&mut self, chunk: &Chunk, receipts: &[u8], output: &mut Output) -> Result<(), Stop> {
        let output = self.json.then_some(output);
        self.tally
            .take(&chunk.lines, receipts, output)
            .map_err(Stop::Stored)
    }

    /// Posts one batch until it is known what became of it. The receipts, as lines.
    async fn send(
        &self,
        chunk: &Chunk,
        presses: &mut watch::Receiver<u32>,
        progress: &Progress,
    ) -> Result<Bytes, Stop> {
        let text = Bytes::copy_from_slice(&chunk.text);
        let deadline = Instant::now() + self.retry_for;
        let mut refused_before = self.tally.events() > 0;
        loop {
            let (wait, error) = match self.post(text.clone(), presses, progress).await? {
                Answer::Stored(receipts) => return Ok(receipts),
                // Nothing was sent. At the very start that is most likely a mistake, later a restart.
                Answer::NotReached(failure) if refused_before => (RETRY_AFTER, failure.into()),
                Answer::NotReached(failure) => return Err(Stop::NotStored(failure.into())),
                Answer::Busy { wait, error } => (wait, error),
            };
            refused_before = true;
            if Instant::now() + wait > deadline || *presses.borrow() > 0 {
                return Err(Stop::NotStored(error));
            }
            progress.say(&format!(
                "annals: {error:#}; trying again in {} s",
                wait.as_secs_f64().ceil()
            ));
            tokio::select! {
                () = sleep(wait) => {}
                _ = presses.changed() => return Err(Stop::NotStored(anyhow::anyhow!("interrupted"))),
            }
        }
    }

    async fn post(
        &self,
        text: Bytes,
        presses: &mut watch::Receiver<u32>,
        progress: &Progress,
    ) -> Result<Answer, Stop> {
        let request = self
            .client
            .post(EVENTS)
            .header(CONTENT_TYPE, NDJSON)
            .headers(self.recognised_by.clone())
            .body(text);
        let posting = async {
            let response = match request.send().await {
                Ok(response) => response,
                Err(error) if error.is_connect() => {
                    return Ok(Answer::NotReached(self.client.unreachable(&error)));
                }
                Err(error) => {
                    return Err(Stop::Unknown(format!(
                        "the connection was lost: {}",
                        cause(&error)
                    )));
                }
            };
            if !response.status().is_success() {
                return self.refused(Refusal::of(response).await);
            }
            // The status says that they are stored, whatever becomes of the receipts.
            response.bytes().await.map(Answer::Stored).map_err(|error| {
                Stop::Stored(anyhow::anyhow!(
                    "the receipts could not be read: {}",
                    cause(&error)
                ))
            })
        };
        tokio::pin!(posting);
        loop {
            tokio::select! {
                answer = &mut posting => return answer,
                _ = presses.changed() => match *presses.borrow() {
                    1 => progress.say("annals: finishing the request that is under way; Ctrl-C again gives up on it"),
                    _ => return Err(Stop::Unknown(String::from("interrupted"))),
                },
            }
        }
    }

    fn refused(&self, refusal: Refusal) -> Result<Answer, Stop> {
        let is_busy = matches!(
            refusal.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        );
        let is_certain = refusal.status.is_client_error() || refusal.outcome() == Some(Outcome::NotStored);
        if !is_certain {
            return Err(Stop::Unknown(refusal.detail()));
        }
        if is_busy {
            let wait = refusal.retry_after.unwrap_or(RETRY_AFTER);
            return Ok(Answer::Busy {
                wait,
                error: refusal.into_error(self.client.name()),
            });
        }
        Err(Stop::NotStored(Rejected(refusal).into_error(self.client.name())))
    }

    fn interrupted(&self) -> anyhow::Error {
        match self.tally.stored_lines() {
            Some(stored) => anyhow::anyhow!("interrupted; stored: {stored}; nothing behind that was sent"),
            None => anyhow::anyhow!("interrupted; nothing was sent"),
        }
    }

    fn bad_line(&self, error: &InputError) -> anyhow::Error {
        let InputError { line, what } = error;
        let stored = self
            .tally
            .stored_lines()
            .unwrap_or_else(|| String::from("nothing"));
        anyhow::anyhow!(
            "line {line} {what}; stored: {stored}; not stored: line {line} and everything behind it"
        )
    }

    /// The report when the input was not sent to its end.
    fn stopped(&self, stop: Stop, chunk: &Chunk, is_lines: bool) -> anyhow::Error {
        let (Some(first), Some(last)) = (chunk.lines.first(), chunk.lines.last()) else {
            return anyhow::anyhow!("a batch has no lines");
        };
        let these = if is_lines {
            span("line", *first, *last)
        } else {
            String::from("the event")
        };
        let look = if self.recognised_by.is_empty() {
            format!(
                "look with `annals query --after` (before: {}) and do not send them again blindly",
                self.before()
            )
        } else {
            String::from("run the same command again: what is stored is recognised and not stored twice")
        };
        let (error, report) = match stop {
            Stop::NotStored(error) => {
                let error = if is_lines {
                    in_lines_of(error, &chunk.lines)
                } else {
                    error
                };
                (
                    error,
                    format!(
                        "not stored: {these}{}",
                        if is_lines { " and everything behind" } else { "" }
                    ),
                )
            }
            Stop::Unknown(why) => {
                let behind = if is_lines {
                    format!("; not stored: everything behind line {last}")
                } else {
                    String::new()
                };
                (
                    anyhow::anyhow!(why),
                    format!("unknown, may be stored: {these}{behind}; {look}"),
                )
            }
            Stop::Stored(error) => (error, format!("also stored, without receipts: {these}")),
        };
        let stored = match self.tally.stored_lines() {
            Some(stored) => format!("stored: {stored}; "),
            None if is_lines => String::from("stored: nothing; "),
            None => String::new(),
        };
        error.context(Report(format!("{stored}{report}")))
    }

    fn before(&self) -> String {
        self.tally
            .stored_lines()
            .unwrap_or_else(|| String::from("nothing stored"))
    }
}

/// What the server made of a request, when sending may go on.
enum Answer {
    /// Stored; the receipts.
    Stored(Bytes),
    /// No connection, so nothing was sent.
    NotReached(Failure),
    /// Not stored; the same request may be sent again.
    Busy { wait: Duration, error: anyhow::Error },
}

/// A batch that has something wrong in it.
struct Rejected(Refusal);

impl Rejected {
    fn into_error(self, server: &str) -> anyhow::Error {
        let errors = self
            .0
            .problem
            .as_ref()
            .map(|problem| problem.errors.clone())
            .unwrap_or_default();
        if errors.is_empty() {
            return self.0.into_error(server);
        }
        WrongLines(errors).into()
    }
}

/// What the server says about single lines of a request.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.iter().take(ERRORS_SHOWN).map(shown).collect::<Vec<_>>().join("; "))]
struct WrongLines(Vec<annals_api::FieldError>);

fn shown(error: &annals_api::FieldError) -> String {
    match error.field.split_once(": ") {
        Some((line, field)) => format!("{line}: `{field}` {}", error.message),
        None => format!("{} {}", error.field, error.message),
    }
}

/// The server counts lines within the request; people count them in the file.
fn in_lines_of(error: anyhow::Error, lines: &[u64]) -> anyhow::Error {
    match error.downcast::<WrongLines>() {
        Ok(WrongLines(mut errors)) => {
            for error in &mut errors {
                error.field = renumbered(&error.field, lines);
            }
            WrongLines(errors).into()
        }
        Err(error) => error,
    }
}

fn renumbered(field: &str, lines: &[u64]) -> String {
    let renumber = || {
        let rest = field.strip_prefix("line ")?;
        let end = rest.find(':').unwrap_or(rest.len());
        let index = rest[..end].parse::<usize>().ok()?.checked_sub(1)?;
        Some(format!("line {}{}", lines.get(index)?, &rest[end..]))
    };
    renumber().unwrap_or_else(|| field.to_owned())
}

/// What became of the lines, in front of the reason.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Report(String);

struct Batch {
    chunk: Option<Chunk>,
    error: Option<InputEnd>,
}

enum InputEnd {
    Eof,
    Bad(InputError),
}

/// What waits, up to the size of a request. Cancel-safe: nothing is taken before it waits for nothing more.
async fn next_batch(input: &mut Input) -> Batch {
    let mut batch = match input.chunks.recv().await {
        None => {
            return Batch {
                chunk: None,
                error: Some(InputEnd::Eof),
            };
        }
        Some(Err(error)) => {
            return Batch {
                chunk: None,
                error: Some(InputEnd::Bad(error)),
            };
        }
        Some(Ok(chunk)) => chunk,
    };
    while batch.lines.len() < BATCH_EVENTS && batch.text.len() < BATCH_BYTES {
        match input.chunks.try_recv() {
            Ok(Ok(chunk)) => {
                batch.text.extend_from_slice(&chunk.text);
                batch.lines.extend_from_slice(&chunk.lines);
                batch.bytes_read = chunk.bytes_read;
            }
            Ok(Err(error)) => {
                return Batch {
                    chunk: Some(batch),
                    error: Some(InputEnd::Bad(error)),
                };
            }
            Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
        }
    }
    Batch {
        chunk: Some(batch),
        error: None,
    }
}

/// How often Ctrl-C was pressed.
fn listen_for_ctrl_c() -> watch::Receiver<u32> {
    let (sender, presses) = watch::channel(0);
    tokio::spawn(async move {
        while tokio::signal::ctrl_c().await.is_ok() {
            sender.send_modify(|count| *count += 1);
        }
        // Where Ctrl-C can not be noticed it ends the process; the channel must not close, or it would look pressed.
        std::future::pending::<()>().await;
        drop(sender);
    });
    presses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_request_are_renumbered() {
        let lines = [5, 7, 9];
        assert_eq!(renumbered("line 2: kind", &lines), "line 7: kind");
        assert_eq!(renumbered("line 3", &lines), "line 9");
        assert_eq!(renumbered("line 4: kind", &lines), "line 4: kind");
        assert_eq!(renumbered("limit", &lines), "limit");
    }
}

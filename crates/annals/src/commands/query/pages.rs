//! Events, page by page, until as many are printed as were wanted.
//!
//! Invariants: every page is asked for at the same server and path, whatever a link says; an answer that breaks off is never
//! taken for one that ended; what is held back is bounded.

use annals_api::names::{EVENTS, LIMIT_MAX, NDJSON};
use anyhow::{Result, bail};
use reqwest::Response;

use crate::client::{Client, Lines, cause, next_page};
use crate::exit::Failure;
use crate::output::Output;
use crate::rows::Table;

/// What is asked for as a table; the server adds what it has to say about it.
const CSV: &str = "text/csv";
/// Most bytes of events that wait for earlier ones.
const HELD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What is to be printed.
pub(super) struct Wanted {
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) limit: u64,
    /// Whether the last matches are wanted, oldest first.
    pub(super) are_last: bool,
    pub(super) shape: Shape,
}

/// How it is printed.
pub(super) enum Shape {
    Table(Table),
    /// One JSON object a line.
    Lines,
    Csv,
}

/// Prints the matches.
///
/// # Errors
/// What the server refuses; an answer that breaks off.
pub(super) async fn print(client: &Client, wanted: Wanted, output: &mut Output) -> Result<()> {
    let accept = match wanted.shape {
        Shape::Csv => CSV,
        Shape::Table(_) | Shape::Lines => NDJSON,
    };
    let mut left = wanted.limit;
    let mut query: Vec<(String, String)> = wanted
        .query
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let mut printer = Printer {
        output,
        shape: wanted.shape,
        held: None,
        is_first_page: true,
    };
    loop {
        query.retain(|(name, _)| name != "limit");
        query.push((String::from("limit"), left.min(LIMIT_MAX as u64).to_string()));
        let response = client.fetch(client.get(EVENTS, &query, accept)).await?;
        let next = next_page(&response);
        if wanted.are_last && next.is_some() && printer.is_first_page {
            // The server read as much as it may before it had them all: what it finds next is older, and belongs in front.
            printer.hold_back()?;
        }
        left = left.saturating_sub(printer.page(client, response).await?);
        match next {
            Some(next) if left > 0 && is_same(&next, &query) => {
                bail!("{} sends the same page again and again", client.name());
            }
            Some(next) if left > 0 => query = next,
            _ => return printer.finish(),
        }
    }
}

fn is_same(next: &[(String, String)], query: &[(String, String)]) -> bool {
    let cursor = |query: &[(String, String)]| {
        let found = query.iter().find(|(name, _)| name == "cursor");
        found.map(|(_, cursor)| cursor.clone())
    };
    cursor(next) == cursor(query)
}

struct Printer<'a> {
    output: &'a mut Output,
    shape: Shape,
    held: Option<Held>,
    is_first_page: bool,
}

/// Events that wait for earlier ones.
#[derive(Default)]
struct Held {
    /// The last ones, oldest first.
    last: Vec<Vec<u8>>,
    /// The ones before them, newest first.
    earlier: Vec<Vec<u8>>,
    bytes: usize,
}

impl Printer<'_> {
    fn hold_back(&mut self) -> Result<()> {
        if matches!(self.shape, Shape::Csv) {
            let message = "the server has to look through more events than one answer may, so there is no table of the last \
                           matches oldest first; add --order newest or --order oldest";
            return Err(Failure::Incomplete(message.to_owned()).into());
        }
        self.held = Some(Held::default());
        Ok(())
    }

    /// Prints one answer, or holds it back. How many events it has.
    async fn page(&mut self, client: &Client, mut response: Response) -> Result<u64> {
        let mut lines = Lines::default();
        let mut records = Records::default();
        let mut count = 0;
        loop {
            match response.chunk().await {
                Ok(Some(piece)) if matches!(self.shape, Shape::Csv) => {
                    let head_end = records.take(&piece);
                    let text = if self.is_first_page {
                        &piece[..]
                    } else {
                        &piece[head_end..]
                    };
                    self.output.bytes(text)?;
                }
                Ok(Some(piece)) => lines.feed(&piece, |line| {
                    count += 1;
                    self.event(line)
                })?,
                Ok(None) => break,
                Err(error) => {
                    let cause = cause(&error);
                    let message = format!("{} broke off in the middle of its answer: {cause}", client.name());
                    return Err(Failure::Incomplete(message).into());
                }
            }
        }
        if !lines.rest().is_empty() {
            count += 1;
            self.event(lines.rest())?;
        }
        self.is_first_page = false;
        Ok(count + records.behind_the_first())
    }

    fn event(&mut self, line: &[u8]) -> Result<()> {
        let Some(held) = &mut self.held else {
            return write(self.output, &mut self.shape, line);
        };
        held.bytes += line.len();
        if held.bytes > HELD_BYTES_MAX {
            let message = format!(
                "the matches have more than {HELD_BYTES_MAX} bytes, too many to put the last one at the end; add --order newest, or a \
                 smaller --limit"
            );
            return Err(Failure::Incomplete(message).into());
        }
        let place = if self.is_first_page {
            &mut held.last
        } else {
            &mut held.earlier
        };
        place.push(line.to_vec());
        Ok(())
    }

    fn finish(self) -> Result<()> {
        let Self {
            output,
            mut shape,
            held,
            ..
        } = self;
        let held = held.unwrap_or_default();
        for line in held.earlier.iter().rev().chain(&held.last) {
            write(output, &mut shape, line)?;
        }
        Ok(())
    }
}

fn write(output: &mut Output, shape: &mut Shape, line: &[u8]) -> Result<()> {
    match shape {
        Shape::Table(table) => output.line(table.row(line)),
        Shape::Lines | Shape::Csv => output.line(line),
    }
}

/// Counts the records of a table (RFC 4180) that arrives in pieces: a line break inside quotes ends none.
#[derive(Debug, Default)]
struct Records {
    ended: u64,
    is_quoted: bool,
}

impl Records {
    /// Takes a piece; how much of it belongs to the first record, which holds the columns' names.
    fn take(&mut self, piece: &[u8]) -> usize {
        let mut head_end = if self.ended == 0 { piece.len() } else { 0 };
        for (at, byte) in piece.iter().enumerate() {
            match byte {
                b'"' => self.is_quoted = !self.is_quoted,
                b'\n' if !self.is_quoted => {
                    if self.ended == 0 {
                        head_end = at + 1;
                    }
                    self.ended += 1;
                }
                _ => {}
            }
        }
        head_end
    }

    fn behind_the_first(&self) -> u64 {
        self.ended.saturating_sub(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `take` counts line breaks inside quotes, or takes the second record for the first.
    #[test]
    fn records_are_counted_however_they_arrive() {
        let text = b"id,payload\r\n1,\"{\"\"a\"\":\n\"\"b\"\"}\"\r\n2,x\r\n";
        for size in 1..=text.len() {
            let mut records = Records::default();
            let mut behind = Vec::new();
            for piece in text.chunks(size) {
                let head_end = records.take(piece);
                behind.extend_from_slice(&piece[head_end..]);
            }
            assert_eq!(records.behind_the_first(), 2, "{size}");
            assert_eq!(behind, &text[12..], "{size}");
        }
    }
}

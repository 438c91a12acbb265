//! What an append is answered with: the event as it is stored, or a receipt for each, whether they are new or were stored
//! before.
//!
//! Invariant: what is answered again is what is stored, read again; so the first answer and every later one are alike.

use std::io;

use annals_api::Outcome;
use annals_api::names::{IDEMPOTENCY_REPLAYED, JSON, NDJSON};
use annals_core::body::{self, SERVED_EXTRA_BYTES};
use annals_core::chain::EventId;
use annals_core::hash::EventHash;
use annals_log::{Appended, Item, Receipt};
use annals_store::{EventRun, ReadError, ReadLog, Sequence};
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::typed;
use crate::bodies::{Held, Hold};
use crate::ingest::Shape;
use crate::problem::Refusal;

/// Bytes that are read at once of events that follow each other.
const READ_BYTES: usize = 256 * 1024;

/// The answer to a request that is sealed, of which perhaps a part, or all, was stored before and is read from `log`.
///
/// # Errors
/// When what was stored before can't be read.
pub(super) fn answer(
    appended: &Appended,
    shape: Shape,
    log: &dyn ReadLog,
    hold: Hold,
) -> Result<Response, Refusal> {
    let through = appended.duplicate_through();
    if let (true, Some(through)) = (appended.is_repeat(), through) {
        let mut out = Vec::new();
        write_duplicate(through, &mut out);
        return Ok(typed(StatusCode::OK, JSON, out));
    }
    let mut events = Events::new(appended, log);
    let written = match shape {
        Shape::One => events
            .one()
            .map(|served| typed(StatusCode::CREATED, JSON, served)),
        Shape::Array => events.receipts("[", ",", "]").map(|out| held(JSON, out, hold)),
        Shape::Lines => events.receipts("", "\n", "\n").map(|out| held(NDJSON, out, hold)),
    };
    // The events are sealed, whatever becomes of the answer.
    let mut response = written.map_err(|error| Refusal::from(error).with_outcome(Outcome::Unknown))?;
    if appended.is_repeat() {
        response
            .headers_mut()
            .insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn held(media_type: &'static str, out: Vec<u8>, hold: Hold) -> Response {
    typed(StatusCode::CREATED, media_type, Held::body(out, hold))
}

/// The events of an answer, item by item.
struct Events<'a> {
    appended: &'a Appended,
    stored: Stored<'a>,
}

impl<'a> Events<'a> {
    fn new(appended: &'a Appended, log: &'a dyn ReadLog) -> Self {
        Self {
            appended,
            stored: Stored {
                log,
                run: EventRun::empty(EventId::FIRST),
            },
        }
    }

    /// The only event, with its hash.
    fn one(&mut self) -> Result<Vec<u8>, ReadError> {
        let mut served = Vec::new();
        self.each(|event, _| {
            if let Told::Event(_, hash, stored) = event {
                served.reserve_exact(stored.len() + SERVED_EXTRA_BYTES);
                body::write_served(stored, &hash, &mut served);
            }
        })?;
        Ok(served)
    }

    /// One receipt an item, in the shape of the request.
    fn receipts(&mut self, open: &str, between: &str, close: &str) -> Result<Vec<u8>, ReadError> {
        const RECEIPT_BYTES: usize = 160;
        let mut out = Vec::with_capacity(self.appended.len() * RECEIPT_BYTES + 2);
        out.extend_from_slice(open.as_bytes());
        self.each(|event, index| {
            if index > 0 {
                out.extend_from_slice(between.as_bytes());
            }
            match event {
                Told::Event(id, hash, stored) => write_receipt(id, &hash, stored, &mut out),
                Told::DuplicateThrough(through) => write_duplicate(through, &mut out),
            }
        })?;
        out.extend_from_slice(close.as_bytes());
        Ok(out)
    }

    /// Tells of each item in order, with its place.
    fn each(&mut self, mut tell: impl FnMut(Told<'_>, usize)) -> Result<(), ReadError> {
        let appended = self.appended;
        let through = appended.duplicate_through().unwrap_or(Sequence(0, 0));
        let mut sealed = appended.sealed().into_iter().flat_map(Receipt::iter);
        let mut items = appended.items().enumerate().peekable();
        while let Some((index, item)) = items.next() {
            match item {
                // They are in the order of the receipt.
                Item::Sealed(_) => {
                    if let Some((id, hash, stored)) = sealed.next() {
                        tell(Told::Event(id, hash, stored), index);
                    }
                }
                Item::Replayed(id) => {
                    let goes_on = items
                        .peek()
                        .is_some_and(|(_, next)| *next == Item::Replayed(id.plus(1)));
                    let (hash, stored) = self.stored.event(id, goes_on)?;
                    tell(Told::Event(id, hash, stored), index);
                }
                Item::Duplicate => tell(Told::DuplicateThrough(through), index),
            }
        }
        Ok(())
    }
}

/// What is told of one item.
enum Told<'a> {
    /// Its event: id, hash, canonical bytes without the hash.
    Event(EventId, EventHash, &'a [u8]),
    /// Its producer's position is here already.
    DuplicateThrough(Sequence),
}

/// Events that were stored before, read in runs where they follow each other.
struct Stored<'a> {
    log: &'a dyn ReadLog,
    run: EventRun,
}

impl Stored<'_> {
    fn event(&mut self, id: EventId, goes_on: bool) -> Result<(EventHash, &[u8]), ReadError> {
        if self.place(id).is_none() {
            self.run = self.log.read(id, if goes_on { READ_BYTES } else { 1 })?;
        }
        let event = self.place(id).and_then(|at| self.run.get(at));
        let event = event.ok_or_else(|| {
            let missing = format!("event {id} is not there although it was stored before");
            ReadError::Io(io::Error::new(io::ErrorKind::UnexpectedEof, missing))
        })?;
        Ok((event.hash, event.body))
    }

    fn place(&self, id: EventId) -> Option<usize> {
        let first = self.run.get(0)?.id;
        let at = id.get().checked_sub(first.get())?;
        usize::try_from(at).ok().filter(|at| *at < self.run.len())
    }
}

fn write_receipt(id: EventId, hash: &EventHash, stored: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"event_id\":");
    out.extend_from_slice(id.to_string().as_bytes());
    out.extend_from_slice(b",\"timestamp\":");
    out.extend_from_slice(timestamp(stored));
    out.extend_from_slice(b",\"hash\":\"");
    out.extend_from_slice(&hash.to_hex());
    out.extend_from_slice(b"\"}");
}

fn write_duplicate(through: Sequence, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("{{\"duplicate_through\":\"{through}\"}}").as_bytes());
}

/// The stored time stamp with its quotes.
fn timestamp(stored: &[u8]) -> &[u8] {
    stamped(stored)
        .or_else(|| body::member(stored, "timestamp"))
        .unwrap_or(b"null")
}

/// The log's own stamp has a fixed length and stands last, or in an extended event often right before `v`, which spares the
/// walk over the payload. A quote inside a string is escaped, so the member's name can not be part of another string; no other
/// object ends the body; and what has no quote inside is one string, not the end of one and the beginning of the next.
fn stamped(stored: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b",\"timestamp\":";
    const QUOTED_LEN: usize = annals_core::time::TIMESTAMP_LEN + 2;
    let rest = stored.strip_suffix(b"}")?;
    let rest = rest.strip_suffix(b",\"v\":2").unwrap_or(rest);
    let (rest, quoted) = rest.split_at_checked(rest.len().checked_sub(QUOTED_LEN)?)?;
    let text = quoted.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    (rest.ends_with(NAME) && !text.contains(&b'"')).then_some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `stamped` takes a text with a quote inside.
    #[test]
    fn a_time_stamp_is_found_whoever_made_it() {
        let log = br#"{"event_id":1,"timestamp":"2026-05-15T03:14:15.123456+00:00"}"#;
        assert_eq!(timestamp(log), br#""2026-05-15T03:14:15.123456+00:00""#);
        let claimed = br#"{"event_id":1,"timestamp":"\",\"timestamp\":\"2026-05-15T03:14:15"}"#;
        assert_eq!(timestamp(claimed), br#""\",\"timestamp\":\"2026-05-15T03:14:15""#);
        let extended = br#"{"event_id":1,"timestamp":"2026-05-15T03:14:15.123456+00:00","v":2}"#;
        assert_eq!(timestamp(extended), br#""2026-05-15T03:14:15.123456+00:00""#);
        // As long as the log's own stamp, with the member behind it.
        let traced = br#"{"event_id":1,"timestamp":"2026-05-15","trace_id":"12345678","v":2}"#;
        assert_eq!(timestamp(traced), br#""2026-05-15""#);
        assert_eq!(timestamp(b"{}"), b"null");
    }
}

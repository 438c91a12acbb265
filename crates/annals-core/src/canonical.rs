//! `Canonical`: events whose bytes are final but for what only the log knows.
//!
//! A canonical event is its body with holes, always in this order: the event id, the previous hash, in an extended event the
//! receive time, and, unless the producer claimed one, the time stamp. Holes are marked by position; filling them is a copy,
//! so the producer's bytes are made once and never parsed again. Members are in the order of [`MEMBERS`].

use std::num::NonZeroUsize;

use thiserror::Error;

use crate::draft::Draft;
use crate::limits::{EventLimits, STAMP_BYTES_MAX};
use crate::schema::{MEMBERS, Origin, VERSION, row};

/// Events that are sealed together or not at all, in order; one allocation whatever their number.
#[derive(Debug, Default, Clone)]
pub struct CanonicalBatch {
    text: Vec<u8>,
    templates: Vec<Template>,
}

/// What an extended event is stamped with before it comes to the log. This crate knows no clock and no randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The event's `id`, if its producer gave it none: a UUIDv7 (RFC 9562, section 5.7).
    pub id: [u8; 16],
    /// Its `nonce`: 16 bytes that nobody can foresee.
    pub nonce: [u8; 16],
}

/// The refusal of one more event: the caller has to send fewer or smaller events at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BatchFull {
    /// Too many events.
    #[error("the batch has more than {0} events; send it in parts")]
    Events(usize),
    /// Too many bytes.
    #[error("the batch has more than {0} bytes in canonical form; send it in parts")]
    Bytes(usize),
}

/// Where in the batch's text one event's holes are and where it ends; it starts where the one before it ends. No hole for a
/// time is ever at 0, as `{` is before it.
#[derive(Debug, Clone, Copy)]
struct Template {
    event_id_at: usize,
    prev_hash_at: usize,
    received_at_at: Option<NonZeroUsize>,
    timestamp_at: Option<NonZeroUsize>,
    end: usize,
}

/// One event's text between its holes.
pub(crate) struct Pieces<'a> {
    /// Up to the event id.
    pub(crate) before_id: &'a [u8],
    /// After the event id, up to the previous hash's first digit.
    pub(crate) before_hash: &'a [u8],
    /// After the previous hash, up to the first stamp of time or to the end.
    pub(crate) after_hash: &'a [u8],
    /// After the stamped receive time; `None` when the event does not state it.
    pub(crate) after_received_at: Option<&'a [u8]>,
    /// After the stamped time; `None` when the time is claimed.
    pub(crate) after_timestamp: Option<&'a [u8]>,
}

impl CanonicalBatch {
    /// Adds one event; `stamp` is asked only for an extended one.
    ///
    /// # Errors
    /// [`BatchFull`] when the batch would pass `limits`; the batch is as before.
    pub fn push(
        &mut self,
        draft: &Draft<'_>,
        limits: &EventLimits,
        stamp: impl FnOnce() -> Stamp,
    ) -> Result<(), BatchFull> {
        if self.templates.len() >= limits.batch_events_max {
            return Err(BatchFull::Events(limits.batch_events_max));
        }
        let start = self.text.len();
        let template = if draft.is_extended() {
            write_extended(draft, &stamp(), &mut self.text)
        } else {
            write_seed(draft, &mut self.text)
        };
        if self.text.len() > limits.batch_bytes_max {
            self.text.truncate(start);
            return Err(BatchFull::Bytes(limits.batch_bytes_max));
        }
        self.templates.push(template);
        Ok(())
    }

    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.templates.len()
    }

    /// True when there is no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.templates.is_empty()
    }

    /// Upper bound of the bytes that the sealed bodies will take.
    #[must_use]
    pub fn sealed_bytes_max(&self) -> usize {
        self.text.len() + self.templates.len() * STAMP_BYTES_MAX
    }

    pub(crate) fn pieces(&self) -> impl Iterator<Item = Pieces<'_>> {
        let mut start = 0;
        self.templates.iter().map(move |template| {
            let from = std::mem::replace(&mut start, template.end);
            self.pieces_of(template, from)
        })
    }

    fn pieces_of(&self, template: &Template, start: usize) -> Pieces<'_> {
        let Template {
            event_id_at,
            prev_hash_at,
            received_at_at,
            timestamp_at,
            end,
        } = *template;
        let timestamp_at = timestamp_at.map(NonZeroUsize::get);
        let received_at_at = received_at_at.map(NonZeroUsize::get);
        let behind_hash = received_at_at.or(timestamp_at).unwrap_or(end);
        Pieces {
            before_id: &self.text[start..event_id_at],
            before_hash: &self.text[event_id_at..prev_hash_at],
            after_hash: &self.text[prev_hash_at..behind_hash],
            after_received_at: received_at_at.map(|at| &self.text[at..timestamp_at.unwrap_or(end)]),
            after_timestamp: timestamp_at.map(|at| &self.text[at..end]),
        }
    }
}

/// The seed's members, by far the most frequent.
fn write_seed(draft: &Draft<'_>, text: &mut Vec<u8>) -> Template {
    text.extend_from_slice(b"{\"event_id\":");
    let event_id_at = text.len();
    text.extend_from_slice(b",\"kind\":");
    text.extend_from_slice(draft.kind);
    text.extend_from_slice(b",\"payload\":");
    text.extend_from_slice(draft.payload);
    text.extend_from_slice(b",\"prev_hash\":\"");
    let prev_hash_at = text.len();
    text.extend_from_slice(b"\",\"source\":");
    text.extend_from_slice(draft.source);
    text.extend_from_slice(b",\"timestamp\":");
    let timestamp_at = match draft.timestamp {
        Some(claimed) => {
            text.extend_from_slice(claimed);
            None
        }
        None => write_hole(text),
    };
    text.push(b'}');
    Template {
        event_id_at,
        prev_hash_at,
        received_at_at: None,
        timestamp_at,
        end: text.len(),
    }
}

const EVENT_ID: usize = row("event_id");
const ID: usize = row("id");
const NONCE: usize = row("nonce");
const PREV_HASH: usize = row("prev_hash");
const RECEIVED_AT: usize = row("received_at");
const TIMESTAMP: usize = row("timestamp");
const V: usize = row("v");

/// Every member that was sent or is stamped, row by row.
fn write_extended(draft: &Draft<'_>, stamp: &Stamp, text: &mut Vec<u8>) -> Template {
    let mut template = Template {
        event_id_at: 0,
        prev_hash_at: 0,
        received_at_at: None,
        timestamp_at: None,
        end: 0,
    };
    let start = text.len();
    for (row, (member, sent)) in MEMBERS.iter().zip(draft.values()).enumerate() {
        if sent.is_none() && member.origin == Origin::Optional {
            continue;
        }
        text.push(if text.len() == start { b'{' } else { b',' });
        text.push(b'"');
        text.extend_from_slice(member.name.as_bytes());
        text.extend_from_slice(b"\":");
        match (row, sent) {
            (_, Some(value)) => text.extend_from_slice(value),
            (EVENT_ID, None) => template.event_id_at = text.len(),
            (PREV_HASH, None) => template.prev_hash_at = write_hole(text).map_or(0, NonZeroUsize::get),
            (RECEIVED_AT, None) => template.received_at_at = write_hole(text),
            (TIMESTAMP, None) => template.timestamp_at = write_hole(text),
            (ID, None) => write_hex(&stamp.id, &[4, 6, 8, 10], text),
            (NONCE, None) => write_hex(&stamp.nonce, &[], text),
            (V, None) => text.extend_from_slice(VERSION.to_string().as_bytes()),
            (_, None) => unreachable!("every other member is sent or optional"),
        }
    }
    text.push(b'}');
    template.end = text.len();
    template
}

/// A string that is to be filled in; says where.
fn write_hole(text: &mut Vec<u8>) -> Option<NonZeroUsize> {
    text.push(b'"');
    let at = NonZeroUsize::new(text.len());
    text.push(b'"');
    at
}

/// A string of hex digits, with a hyphen before each of the bytes `hyphens`.
fn write_hex(bytes: &[u8; 16], hyphens: &[usize], text: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    text.push(b'"');
    for (at, byte) in bytes.iter().enumerate() {
        if hyphens.contains(&at) {
            text.push(b'-');
        }
        text.push(DIGITS[usize::from(byte >> 4)]);
        text.push(DIGITS[usize::from(byte & 15)]);
    }
    text.push(b'"');
}

impl CanonicalBatch {
    /// The events at `indices`, in that order, as a batch of their own.
    ///
    /// # Panics
    /// When an index is not below [`Self::len`].
    #[must_use]
    pub fn select(&self, indices: &[usize]) -> Self {
        let mut selected = Self::default();
        for &index in indices {
            let start = index
                .checked_sub(1)
                .map_or(0, |before| self.templates[before].end);
            let event = self.templates[index];
            let to = selected.text.len();
            let moved = |at: usize| at - start + to;
            let moved_hole = |at: NonZeroUsize| NonZeroUsize::new(moved(at.get()));
            selected.text.extend_from_slice(&self.text[start..event.end]);
            selected.templates.push(Template {
                event_id_at: moved(event.event_id_at),
                prev_hash_at: moved(event.prev_hash_at),
                received_at_at: event.received_at_at.and_then(moved_hole),
                timestamp_at: event.timestamp_at.and_then(moved_hole),
                end: moved(event.end),
            });
        }
        selected
    }
}

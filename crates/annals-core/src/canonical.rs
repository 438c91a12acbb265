//! `Canonical`: events whose bytes are final but for what only the log knows.
//!
//! A canonical event is its body with three holes: the event id, the previous hash and, unless the producer claimed one,
//! the time stamp. Holes are marked by position; filling them is a copy, so the producer's bytes are made once and never
//! parsed again. Members are in code-point order: `event_id`, `kind`, `payload`, `prev_hash`, `source`, `timestamp`.

use thiserror::Error;

use crate::draft::Draft;
use crate::limits::{EventLimits, STAMP_BYTES_MAX};

/// Events that are sealed together or not at all, in order; one allocation whatever their number.
#[derive(Debug, Default, Clone)]
pub struct CanonicalBatch {
    text: Vec<u8>,
    templates: Vec<Template>,
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

/// Where one event's text lies in the batch and where its holes are. The event id's hole is always at the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Template {
    start: usize,
    prev_hash_at: usize,
    timestamp_at: Option<usize>,
    end: usize,
}

/// One event's text between its holes.
pub(crate) struct Pieces<'a> {
    /// After the event id, up to the previous hash's first digit.
    pub(crate) before_hash: &'a [u8],
    /// After the previous hash, up to the time stamp's first character, or to the end when the time is claimed.
    pub(crate) after_hash: &'a [u8],
    /// After the stamped time; `None` when the time is claimed.
    pub(crate) after_timestamp: Option<&'a [u8]>,
}

impl CanonicalBatch {
    /// Adds one event.
    ///
    /// # Errors
    /// [`BatchFull`] when the batch would pass `limits`; the batch is as before.
    pub fn push(&mut self, draft: &Draft<'_>, limits: &EventLimits) -> Result<(), BatchFull> {
        if self.templates.len() >= limits.batch_events_max {
            return Err(BatchFull::Events(limits.batch_events_max));
        }
        let start = self.text.len();
        let text = &mut self.text;
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
            None => {
                text.push(b'"');
                let at = text.len();
                text.push(b'"');
                Some(at)
            }
        };
        text.push(b'}');
        if text.len() > limits.batch_bytes_max {
            text.truncate(start);
            return Err(BatchFull::Bytes(limits.batch_bytes_max));
        }
        self.templates.push(Template {
            start,
            prev_hash_at,
            timestamp_at,
            end: self.text.len(),
        });
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
        self.templates.iter().map(|template| {
            let rest = template.timestamp_at.map(|at| &self.text[at..template.end]);
            let after_hash_end = template.timestamp_at.unwrap_or(template.end);
            Pieces {
                before_hash: &self.text[template.start..template.prev_hash_at],
                after_hash: &self.text[template.prev_hash_at..after_hash_end],
                after_timestamp: rest,
            }
        })
    }
}

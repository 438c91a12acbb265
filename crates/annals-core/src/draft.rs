//! `Draft`: a producer's bytes, parsed and found acceptable. Parse, don't validate: whoever holds a [`Draft`] holds an
//! event that can be sealed.
//!
//! Invariants: every byte string inside is already canonical, so nothing downstream re-serialises; every member has the
//! shape that [`crate::schema`] says; no text by which an event is found holds a control character (SSE, CSV and syslog
//! injection).

mod check;
mod digest;
mod error;

use std::borrow::Cow;
use std::ops::Range;

use crate::canon::{self, Bounds, CanonError, CanonErrorKind, CanonicalMember, Items};
use crate::limits::{DEPTH_MAX, EventLimits};
use crate::schema::{self, IDEMPOTENCY_KEY, MEMBERS, Origin};

use check::{Place, Problems};
pub use digest::RequestDigest;
pub use error::{DraftError, FieldError, FieldProblem};

/// An acceptable event before the log has touched it; borrows the parser's scratch space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Draft<'a> {
    /// Canonical JSON string, a registered kind.
    pub(crate) kind: &'a [u8],
    /// Canonical JSON string, not empty.
    pub(crate) source: &'a [u8],
    /// Canonical JSON object.
    pub(crate) payload: &'a [u8],
    /// Canonical JSON string as the producer claims it; `None`: the log stamps its own time.
    pub(crate) timestamp: Option<&'a [u8]>,
    /// The members beyond the seed's, in the order of [`MEMBERS`].
    extended: &'a [Extended],
    /// Canonical JSON string that is not part of the event.
    idempotency_key: Option<&'a [u8]>,
    canonical: &'a [u8],
}

/// A member beyond the seed's: its row of [`MEMBERS`] and where its value is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Extended {
    row: usize,
    value: Range<usize>,
}

pub(crate) const KIND: usize = schema::row("kind");
pub(crate) const PAYLOAD: usize = schema::row("payload");
pub(crate) const SOURCE: usize = schema::row("source");
pub(crate) const TIMESTAMP: usize = schema::row("timestamp");

impl<'a> Draft<'a> {
    /// Whether the event has any member beyond the seed's, and so is of version 2.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        !self.extended.is_empty()
    }

    /// The key under which this item of a request may be sent again: 1 to 255 visible ASCII characters. Not part of the
    /// event.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<Cow<'a, str>> {
        self.idempotency_key.map(check::decoded)
    }

    /// SHA-256 of what was asked for, whatever the log will stamp: [`RequestDigest`] of this event alone.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut digest = RequestDigest::default();
        digest.add(self);
        digest.finish()
    }

    /// The canonical values that the producer sent, by the rows of [`MEMBERS`]; an absent payload is an empty one.
    pub(crate) fn values(&self) -> impl Iterator<Item = Option<&'a [u8]>> {
        let Self {
            kind,
            source,
            payload,
            timestamp,
            canonical,
            ..
        } = *self;
        let mut extended = self.extended.iter().peekable();
        (0..MEMBERS.len()).map(move |row| match row {
            KIND => Some(kind),
            PAYLOAD => Some(payload),
            SOURCE => Some(source),
            TIMESTAMP => timestamp,
            _ => extended
                .next_if(|member| member.row == row)
                .map(|member| &canonical[member.value.clone()]),
        })
    }

    fn bytes(&self) -> usize {
        let extended: usize = self.extended.iter().map(|member| member.value.len()).sum();
        self.kind.len()
            + self.source.len()
            + self.payload.len()
            + self.timestamp.map_or(0, <[u8]>::len)
            + extended
    }
}

/// Turns request bytes into drafts, reusing its buffers from one event to the next.
#[derive(Debug, Default)]
pub struct DraftParser {
    scratch: Vec<u8>,
    extended: Vec<Extended>,
    limits: EventLimits,
}

impl DraftParser {
    /// A parser that holds events to `limits`.
    #[must_use]
    pub fn new(limits: EventLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Parses one event: an object with `kind`, `source` and whatever else [`MEMBERS`] lets a producer send.
    ///
    /// # Errors
    /// [`DraftError`], naming every member that has to be mended.
    pub fn parse(&mut self, input: &[u8]) -> Result<Draft<'_>, DraftError> {
        self.scratch.clear();
        let members = canon::canonical_members(input, self.bounds(), &mut self.scratch);
        self.finish(members)
    }

    /// Parses the next item of a JSON array, as [`Self::parse`] parses one event; `None` after the last.
    pub fn parse_next(&mut self, items: &mut Items<'_>) -> Option<Result<Draft<'_>, DraftError>> {
        self.scratch.clear();
        let members = items.next_members(self.bounds(), &mut self.scratch)?;
        Some(self.finish(members))
    }

    /// Twice the limit while parsing, because superseded duplicates count there: it only has to keep memory bounded.
    fn bounds(&self) -> Bounds {
        Bounds {
            depth_max: DEPTH_MAX,
            bytes_max: self.limits.event_bytes_max.saturating_mul(2),
        }
    }

    fn finish(
        &mut self,
        members: Result<Vec<CanonicalMember<'_>>, CanonError>,
    ) -> Result<Draft<'_>, DraftError> {
        let bytes_max = self.limits.event_bytes_max;
        let members = members.map_err(|error| match error.kind {
            CanonErrorKind::TooLong => DraftError::TooLarge { bytes_max },
            _ => DraftError::Json(error),
        })?;
        self.extended.clear();
        let draft = draft_of(&members, &self.scratch, &mut self.extended)?;
        if draft.bytes() > bytes_max {
            Err(DraftError::TooLarge { bytes_max })
        } else {
            Ok(draft)
        }
    }
}

/// Sorts the members into a draft. `extended` is empty and takes those beyond the seed's.
fn draft_of<'a>(
    members: &[CanonicalMember<'_>],
    canonical: &'a [u8],
    extended: &'a mut Vec<Extended>,
) -> Result<Draft<'a>, DraftError> {
    let mut problems = Problems::default();
    let mut found = Found::default();
    for member in members {
        if problems.is_full() {
            break;
        }
        let (name, value) = (member.key.as_ref(), &canonical[member.canonical.clone()]);
        let Some(row) = row_of(name) else {
            take_beside(name, value, &mut found, &mut problems);
            continue;
        };
        match row {
            _ if MEMBERS[row].origin == Origin::Log => {
                problems.add(&name, FieldProblem::Stamped);
                continue;
            }
            KIND => found.kind = Some(value),
            SOURCE => found.source = Some(value),
            PAYLOAD => found.payload = Some(value),
            // An absent, null or empty time means that the log stamps it.
            TIMESTAMP => found.timestamp = Some(value).filter(|text| !matches!(*text, b"null" | b"\"\"")),
            _ => extended.push(Extended {
                row,
                value: member.canonical.clone(),
            }),
        }
        let required = MEMBERS[row].origin == Origin::Producer;
        check::check(
            &MEMBERS[row].shape,
            required,
            value,
            &Place::Member(name),
            &mut problems,
        );
    }
    for (field, value) in [("kind", found.kind), ("source", found.source)] {
        if value.is_none() {
            problems.add(&field, FieldProblem::Missing);
        }
    }
    match (found.kind, found.source) {
        (Some(kind), Some(source)) if problems.is_empty() => {
            extended.sort_unstable_by_key(|member| member.row);
            Ok(Draft {
                kind,
                source,
                payload: found.payload.unwrap_or(b"{}"),
                timestamp: found.timestamp,
                extended,
                idempotency_key: found.idempotency_key,
                canonical,
            })
        }
        _ => Err(DraftError::Fields(problems.into_errors())),
    }
}

/// The row that describes `name`; those of nearly all events without a search.
fn row_of(name: &str) -> Option<usize> {
    match name {
        "kind" => Some(KIND),
        "payload" => Some(PAYLOAD),
        "source" => Some(SOURCE),
        "timestamp" => Some(TIMESTAMP),
        _ => schema::position(name),
    }
}

/// What a request says of an event, apart from the members beyond the seed's.
#[derive(Default)]
struct Found<'a> {
    kind: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    payload: Option<&'a [u8]>,
    timestamp: Option<&'a [u8]>,
    idempotency_key: Option<&'a [u8]>,
}

/// A member that is not part of an event's body.
fn take_beside<'a>(name: &str, value: &'a [u8], found: &mut Found<'a>, problems: &mut Problems) {
    let problem = match name {
        IDEMPOTENCY_KEY => match check::check_key(value) {
            Ok(()) => {
                found.idempotency_key = Some(value);
                return;
            }
            Err(problem) => problem,
        },
        "hash" => FieldProblem::Stamped,
        "private" => FieldProblem::Private,
        _ => FieldProblem::Unknown {
            suggestion: schema::suggestion(name),
        },
    };
    problems.add(&name, problem);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(input: &str) -> String {
        match DraftParser::default().parse(input.as_bytes()) {
            Ok(_) => String::from("fine"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn every_wrong_member_is_named() {
        assert_eq!(problems(r#"{"kind":"other","source":"s"}"#), "fine");
        assert_eq!(problems(r#"{"kind":7,"kind":"other","source":"s"}"#), "fine");
        assert_eq!(problems(r#"{"kind":"other"}"#), "`source` is required");
        assert_eq!(
            problems(r#"{"payload":[],"kind":3,"source":"","extra":1}"#),
            "`payload` must be an object, not an array; `kind` must be a string, not an integer; `source` must not be \
             empty; `extra` is not a member of an event; put it into `payload`"
        );
        assert_eq!(
            problems(r#"{"kind":"other","source":"a\nb"}"#),
            "`source` must not contain control characters"
        );
        assert!(
            problems(r#"{"kind":"nope","source":"s"}"#)
                .starts_with("`kind` is \"nope\", which is not a registered")
        );
        assert!(problems("[]").starts_with("the event is not acceptable JSON"));
    }

    #[test]
    fn an_empty_or_null_timestamp_asks_for_a_stamp() {
        let mut parser = DraftParser::default();
        for input in [
            r#"{"kind":"other","source":"s","timestamp":null}"#,
            r#"{"kind":"other","source":"s","timestamp":""}"#,
        ] {
            assert_eq!(parser.parse(input.as_bytes()).unwrap().timestamp, None);
        }
        let claimed = parser
            .parse(br#"{"kind":"other","source":"s","timestamp":"last week"}"#)
            .unwrap();
        assert_eq!(claimed.timestamp, Some(&b"\"last week\""[..]));
    }

    #[test]
    fn a_large_event_is_refused() {
        let limits = EventLimits {
            event_bytes_max: 64,
            ..EventLimits::default()
        };
        let input = format!(
            r#"{{"kind":"other","source":"s","payload":{{"a":"{}"}}}}"#,
            "x".repeat(64)
        );
        assert!(matches!(
            DraftParser::new(limits).parse(input.as_bytes()),
            Err(DraftError::TooLarge { .. })
        ));
    }
}

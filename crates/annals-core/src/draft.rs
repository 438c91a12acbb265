//! `Draft`: a producer's bytes, parsed and found acceptable. Parse, don't validate: whoever holds a [`Draft`] holds an
//! event that can be sealed.
//!
//! Invariants: every byte string inside is already canonical, so nothing downstream re-serialises; `kind` is registered;
//! `kind` and `source` hold no control character (SSE, CSV and syslog injection).

use std::fmt;

use thiserror::Error;

use crate::canon::{self, Bounds, CanonError, CanonErrorKind, CanonicalMember, Items, ValueKind};
use crate::kind;
use crate::limits::{DEPTH_MAX, EventLimits, SOURCE_BYTES_MAX, TIMESTAMP_BYTES_MAX};

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
}

/// Why a producer's event is refused. The caller has to mend the event; sending it again as it is can not help.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DraftError {
    /// The bytes are not JSON that has a canonical form.
    #[error("the event is not acceptable JSON: {0}")]
    Json(CanonError),
    /// The JSON is not an object with the right members.
    #[error("{}", ListOf(.0))]
    Fields(Vec<FieldError>),
    /// The canonical event is larger than the log takes.
    #[error("the event has more than {bytes_max} bytes in canonical form, which is the limit")]
    TooLarge {
        /// The operator's limit in bytes.
        bytes_max: usize,
    },
}

/// What is wrong with one member of an event.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{field}` {problem}")]
pub struct FieldError {
    /// Name of the member as the producer wrote it.
    pub field: String,
    /// What is wrong, and so what to mend.
    pub problem: FieldProblem,
}

/// The ways in which a member can be wrong.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FieldProblem {
    /// A required member is absent.
    #[error("is required")]
    Missing,
    /// The value is of another JSON type.
    #[error("must be {expected}, not {found}")]
    WrongType {
        /// The type that is wanted.
        expected: &'static str,
        /// The type that was sent.
        found: &'static str,
    },
    /// An empty string where text is needed.
    #[error("must not be empty")]
    Empty,
    /// More bytes than the member may have.
    #[error("has {bytes} bytes, the limit is {bytes_max}")]
    TooLong {
        /// Length in bytes of UTF-8.
        bytes: usize,
        /// The limit in bytes of UTF-8.
        bytes_max: usize,
    },
    /// A control character, which could forge lines in other formats.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// A kind that nobody registered.
    #[error("is \"{kind}\", which is not a registered kind; use one of: {}", kind::SEED_KINDS.join(", "))]
    UnregisteredKind {
        /// The kind as sent.
        kind: String,
    },
    /// A member that no event has.
    #[error("is not a member of an event; use kind, source, payload, timestamp")]
    Unknown,
}

/// Turns request bytes into drafts, reusing its buffers from one event to the next.
#[derive(Debug, Default)]
pub struct DraftParser {
    scratch: Vec<u8>,
    limits: EventLimits,
}

impl DraftParser {
    /// A parser that holds events to `limits`.
    #[must_use]
    pub fn new(limits: EventLimits) -> Self {
        Self {
            scratch: Vec::new(),
            limits,
        }
    }

    /// Parses one event: an object with `kind`, `source` and optionally `payload` and `timestamp`.
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

    fn finish(&self, members: Result<Vec<CanonicalMember<'_>>, CanonError>) -> Result<Draft<'_>, DraftError> {
        let bytes_max = self.limits.event_bytes_max;
        let members = members.map_err(|error| match error.kind {
            CanonErrorKind::TooLong => DraftError::TooLarge { bytes_max },
            _ => DraftError::Json(error),
        })?;
        let draft = draft_of(&members, &self.scratch)?;
        let bytes = draft.kind.len()
            + draft.source.len()
            + draft.payload.len()
            + draft.timestamp.map_or(0, <[u8]>::len);
        if bytes > bytes_max {
            Err(DraftError::TooLarge { bytes_max })
        } else {
            Ok(draft)
        }
    }
}

fn draft_of<'a>(members: &[CanonicalMember<'_>], canonical: &'a [u8]) -> Result<Draft<'a>, DraftError> {
    let mut errors = Vec::new();
    let (mut kind, mut source, mut payload, mut timestamp) = (None, None, None, None);
    for member in members {
        let value = &canonical[member.canonical.clone()];
        let checked = match member.key.as_ref() {
            "kind" => check_kind(member, value).map(|()| kind = Some(value)),
            "source" => check_source(member, value).map(|()| source = Some(value)),
            "payload" => expect(member, ValueKind::Object, "an object").map(|()| payload = Some(value)),
            "timestamp" => check_timestamp(member, value).map(|given| timestamp = given.then_some(value)),
            _ => Err(FieldProblem::Unknown),
        };
        if let Err(problem) = checked {
            errors.push(FieldError {
                field: member.key.to_string(),
                problem,
            });
        }
    }
    for (field, value) in [("kind", kind), ("source", source)] {
        if value.is_none() && !errors.iter().any(|error| error.field == field) {
            errors.push(FieldError {
                field: field.to_owned(),
                problem: FieldProblem::Missing,
            });
        }
    }
    match (kind, source) {
        (Some(kind), Some(source)) if errors.is_empty() => Ok(Draft {
            kind,
            source,
            payload: payload.unwrap_or(b"{}"),
            timestamp,
        }),
        _ => Err(DraftError::Fields(errors)),
    }
}

fn check_kind(member: &CanonicalMember<'_>, value: &[u8]) -> Result<(), FieldProblem> {
    expect(member, ValueKind::String, "a string")?;
    if kind::SEED_KINDS
        .iter()
        .any(|known| known.as_bytes() == unquoted(value))
    {
        return Ok(());
    }
    let kind = decoded(value);
    let kind = kind.chars().take(128).collect();
    Err(FieldProblem::UnregisteredKind { kind })
}

fn check_source(member: &CanonicalMember<'_>, value: &[u8]) -> Result<(), FieldProblem> {
    expect(member, ValueKind::String, "a string")?;
    if unquoted(value).is_empty() {
        return Err(FieldProblem::Empty);
    }
    at_most(value, SOURCE_BYTES_MAX)?;
    // Canonical text without a backslash is printable ASCII: only the rest needs decoding.
    if value.contains(&b'\\') && decoded(value).chars().any(char::is_control) {
        return Err(FieldProblem::ControlCharacter);
    }
    Ok(())
}

/// Whether a time is claimed: an absent, null or empty one means that the log stamps it.
fn check_timestamp(member: &CanonicalMember<'_>, value: &[u8]) -> Result<bool, FieldProblem> {
    if member.value_kind == ValueKind::Null {
        return Ok(false);
    }
    expect(member, ValueKind::String, "a string or null")?;
    at_most(value, TIMESTAMP_BYTES_MAX)?;
    Ok(!unquoted(value).is_empty())
}

fn at_most(value: &[u8], bytes_max: usize) -> Result<(), FieldProblem> {
    // The canonical form is never shorter than the text it stands for.
    if unquoted(value).len() <= bytes_max {
        return Ok(());
    }
    match decoded(value).len() {
        bytes if bytes > bytes_max => Err(FieldProblem::TooLong { bytes, bytes_max }),
        _ => Ok(()),
    }
}

fn expect(
    member: &CanonicalMember<'_>,
    wanted: ValueKind,
    expected: &'static str,
) -> Result<(), FieldProblem> {
    if member.value_kind == wanted {
        return Ok(());
    }
    Err(FieldProblem::WrongType {
        expected,
        found: member.value_kind.name(),
    })
}

fn unquoted(string: &[u8]) -> &[u8] {
    &string[1..string.len() - 1]
}

fn decoded(string: &[u8]) -> std::borrow::Cow<'_, str> {
    canon::decode_string(string).expect("canonical bytes decode")
}

struct ListOf<'a>(&'a [FieldError]);

impl fmt::Display for ListOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
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
             empty; `extra` is not a member of an event; use kind, source, payload, timestamp"
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

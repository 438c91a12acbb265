//! Why an event is refused, member by member, in words that say what to mend.

use std::fmt;

use thiserror::Error;

use crate::canon::CanonError;
use crate::kind;

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
    /// The member as the producer wrote it; inside another as `actor.id` or `changes[3].path`.
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
    /// Null where absence is meant.
    #[error("must not be null; leave it out when there is nothing to say")]
    Null,
    /// An empty string where text is needed.
    #[error("must not be empty")]
    Empty,
    /// An object with nothing in it.
    #[error("must have at least one of {}", .0.join(", "))]
    EmptyObject(Vec<&'static str>),
    /// More bytes than the member may have.
    #[error("has {bytes} bytes, the limit is {bytes_max}")]
    TooLong {
        /// Length in bytes of UTF-8.
        bytes: usize,
        /// The limit in bytes of UTF-8.
        bytes_max: usize,
    },
    /// More items than the list may have.
    #[error("has more than {0} items, which is the limit")]
    TooManyItems(usize),
    /// A control character, which could forge lines in other formats.
    #[error("must not contain control characters")]
    ControlCharacter,
    /// U+0000, which other systems can not store.
    #[error("must not contain U+0000")]
    Nul,
    /// A kind that nobody registered.
    #[error("is \"{kind}\", which is not a registered kind; use one of: {}", kind::SEED_KINDS.join(", "))]
    UnregisteredKind {
        /// The kind as sent.
        kind: String,
    },
    /// A string that is none of those that it may be.
    #[error("must be one of {}", .0.join(", "))]
    NotOneOf(&'static [&'static str]),
    /// An integer outside of its range.
    #[error("must be {}", RangeOf(*.min, *.max))]
    OutOfRange {
        /// The smallest.
        min: u64,
        /// The largest.
        max: u64,
    },
    /// Not a UUID in its one accepted form.
    #[error("must be a UUID with lower-case digits, like 0198c0de-0000-7000-8000-000000000000")]
    NotAUuid,
    /// Not an IP address.
    #[error("must be an IPv4 or IPv6 address, without port, zone or prefix length")]
    NotAnAddress,
    /// Not an idempotency key.
    #[error("must have 1 to {0} characters, all of them visible ASCII")]
    NotAKey(usize),
    /// A member that only the log writes.
    #[error("is stamped by the log; leave it out")]
    Stamped,
    /// Values that are to be erasable.
    #[error("is not taken: this log keeps no erasable values; leave it out")]
    Private,
    /// A member that no event has.
    #[error("is not a member of an event; {}", MendOf(*.suggestion))]
    Unknown {
        /// The member that was probably meant.
        suggestion: Option<&'static str>,
    },
    /// A part that the member does not have.
    #[error("is not known; use {}", .0.join(", "))]
    UnknownPart(Vec<&'static str>),
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

struct RangeOf(u64, u64);

impl fmt::Display for RangeOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self(min, max) if min == max => min.fmt(f),
            Self(min, max) => write!(f, "an integer from {min} to {max}"),
        }
    }
}

struct MendOf(Option<&'static str>);

impl fmt::Display for MendOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(meant) => write!(f, "did you mean `{meant}`?"),
            None => f.write_str("put it into `payload`"),
        }
    }
}

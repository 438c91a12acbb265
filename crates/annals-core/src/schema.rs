//! The members of an event: name, who sends it, shape, what it is for. One table; the parser, the order of the canonical
//! text, the messages to producers and the table in `docs/format.md` are made from it.
//!
//! Invariants: [`MEMBERS`] is in code-point order, which is the order of canonical text. A row is never taken out and its
//! shape never made narrower: events that were sealed stay what they are.

use std::fmt;

/// What `v` says in an event that has any member beyond the seed's.
pub const VERSION: u64 = 2;
/// The member that travels beside an item of a request and is never part of the event.
pub const IDEMPOTENCY_KEY: &str = "idempotency_key";
/// Longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 255;

/// A top-level member of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its name; plain ASCII, so it stands in canonical text as it is.
    pub name: &'static str,
    /// Who brings it.
    pub origin: Origin,
    /// Whether an event that has it is of version 2. The others are the seed's.
    pub extended: bool,
    /// What its value may be.
    pub shape: Shape,
    /// What it says.
    pub about: &'static str,
}

/// Who brings a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The producer, always.
    Producer,
    /// The producer, if it has something to say; absent otherwise.
    Optional,
    /// The producer or, if it does not, the log.
    ProducerOrLog,
    /// The log; a producer that sends it is refused.
    Log,
}

/// What a value may be. Lengths are bytes of UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The name of a registered kind.
    Kind,
    /// An object with anything in it.
    AnyObject,
    /// Any JSON.
    Any,
    /// A string of 1 to so many bytes, without control characters.
    Text(usize),
    /// A string of at most so many bytes; empty or null stands for absent.
    Claim(usize),
    /// A string of at most so many bytes, whatever they are but U+0000.
    FreeText(usize),
    /// One of these strings.
    OneOf(&'static [&'static str]),
    /// A UUID in text (RFC 9562, section 4) with lower-case digits, of any version.
    Uuid,
    /// An IPv4 or IPv6 address in text, without zone, port or prefix length.
    Address,
    /// So many lower-case hex digits.
    Hex(usize),
    /// The log's own time stamp.
    Stamp,
    /// An integer of this range, both ends included.
    Integer(u64, u64),
    /// An object with at least one of these parts and nothing else.
    Object(&'static [Part]),
    /// A list of at most so many objects of these parts.
    List(usize, &'static [Part]),
}

/// A member of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its name; plain ASCII.
    pub name: &'static str,
    /// What its value may be.
    pub shape: Shape,
    /// Whether it has to be there.
    pub required: bool,
}

const SHORT: Shape = Shape::Text(256);
const LONG: Shape = Shape::Text(1024);

/// Every member that the body of an event can have.
pub const MEMBERS: [Member; 24] = [
    optional("actor", Shape::Object(ACTOR), "who did it, and for whom"),
    optional("attempt_id", SHORT, "joins an outcome to its attempt"),
    optional("changes", Shape::List(1000, CHANGE), "what became of what"),
    seed(
        "event_id",
        Origin::Log,
        Shape::Integer(1, u64::MAX),
        "1 for the first event of a log, then one more each",
    ),
    optional("grant", SHORT, "the permission under which it was done"),
    extended(
        "id",
        Origin::ProducerOrLog,
        Shape::Uuid,
        "the event's own name; a UUIDv7 when not sent",
    ),
    seed("kind", Origin::Producer, Shape::Kind, "what happened"),
    extended(
        "nonce",
        Origin::Log,
        Shape::Hex(32),
        "16 random bytes, so that the hash can not confirm a guess of the content",
    ),
    optional("outcome", Shape::OneOf(OUTCOMES), "how it ended"),
    seed(
        "payload",
        Origin::ProducerOrLog,
        Shape::AnyObject,
        "what else there is to say; `{}` when not sent",
    ),
    seed(
        "prev_hash",
        Origin::Log,
        Shape::Hex(64),
        "hash of the event before, 64 zeros for event 1",
    ),
    extended(
        "received_at",
        Origin::Log,
        Shape::Stamp,
        "when the log took the event",
    ),
    optional("request", Shape::Object(REQUEST), "the request that led to it"),
    optional("resource", Shape::Object(RESOURCE), "what it was done to"),
    optional("run", SHORT, "the run of an agent or a job"),
    optional(
        "schema_version",
        Shape::Integer(1, 2_147_483_647),
        "the version of the kind's payload",
    ),
    optional("session", SHORT, "the actor's session"),
    optional("severity", Shape::OneOf(SEVERITIES), "how much it matters"),
    seed("source", Origin::Producer, LONG, "which system says so"),
    optional("subject", SHORT, "whom it is about"),
    optional("tenant", SHORT, "the customer to whom it belongs"),
    seed(
        "timestamp",
        Origin::ProducerOrLog,
        Shape::Claim(256),
        "when it happened, as the producer says; the log's receive time when not sent",
    ),
    optional("trace_id", SHORT, "the distributed trace"),
    extended(
        "v",
        Origin::ProducerOrLog,
        Shape::Integer(VERSION, VERSION),
        "the version of the event's format",
    ),
];

const ACTOR: &[Part] = &[
    part("type", SHORT),
    part("id", SHORT),
    part("name", SHORT),
    part("on_behalf_of", SHORT),
];
const RESOURCE: &[Part] = &[part("type", LONG), part("id", LONG), part("name", LONG)];
const REQUEST: &[Part] = &[
    part("id", LONG),
    part("ip", Shape::Address),
    part("user_agent", LONG),
];
const CHANGE: &[Part] = &[
    Part {
        required: true,
        ..part("path", Shape::FreeText(1024))
    },
    part("old", Shape::Any),
    part("new", Shape::Any),
];
const OUTCOMES: &[&str] = &["attempt", "success", "failure", "denied", "unknown"];
const SEVERITIES: &[&str] = &["debug", "info", "notice", "warning", "error", "critical"];

/// The row of the member `name`.
#[must_use]
pub fn member(name: &str) -> Option<&'static Member> {
    position(name).map(|at| &MEMBERS[at])
}

/// Which row of [`MEMBERS`] describes `name`.
pub(crate) fn position(name: &str) -> Option<usize> {
    MEMBERS.binary_search_by(|member| member.name.cmp(name)).ok()
}

/// As [`position`], where the compiler can do it.
pub(crate) const fn row(name: &str) -> usize {
    let mut at = 0;
    while !same(MEMBERS[at].name.as_bytes(), name.as_bytes()) {
        at += 1;
    }
    at
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// The member that a producer most likely meant by `name`: one whose name is a slip or two away, never a guess at meaning.
#[must_use]
pub fn suggestion(name: &str) -> Option<&'static str> {
    // Names of members have at most 15 characters, so anything longer is not a slip; a short name is near to everything.
    if !(4..=18).contains(&name.len()) {
        return None;
    }
    let wanted = name.to_ascii_lowercase();
    let slips_max = (wanted.len() / 4).min(2);
    MEMBERS
        .iter()
        .filter(|member| member.origin != Origin::Log)
        .map(|member| member.name)
        .chain([IDEMPOTENCY_KEY])
        .map(|known| (slips(wanted.as_bytes(), known.as_bytes()), known))
        .filter(|(slips, _)| *slips <= slips_max)
        .min()
        .map(|(_, known)| known)
}

/// The table of `docs/format.md`: one Markdown row a member.
#[must_use]
pub fn markdown() -> String {
    let mut text = String::from("| member | sent by | value | what it says |\n|---|---|---|---|\n");
    for Member {
        name,
        origin,
        shape,
        about,
        ..
    } in &MEMBERS
    {
        text.push_str(&format!("| `{name}` | {origin} | {shape} | {about} |\n"));
    }
    text
}

/// Levenshtein distance: insertions, deletions and replacements of bytes.
fn slips(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, byte) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (place, against) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(byte != against);
            diagonal = row[place + 1];
            row[place + 1] = replaced.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[other.len()]
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Producer => "producer",
            Self::Optional => "producer, optional",
            Self::ProducerOrLog => "producer, else the log",
            Self::Log => "the log",
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("string: a registered kind"),
            Self::AnyObject => f.write_str("object"),
            Self::Any => f.write_str("any JSON"),
            Self::Text(bytes_max) => write!(f, "string, 1 to {bytes_max} bytes"),
            Self::Claim(bytes_max) => {
                write!(
                    f,
                    "string, at most {bytes_max} bytes; empty or null: as if not sent"
                )
            }
            Self::FreeText(bytes_max) => write!(f, "string, at most {bytes_max} bytes"),
            Self::OneOf(choices) => write!(f, "`{}`", choices.join("`, `")),
            Self::Uuid => f.write_str("string: a UUID in lower case"),
            Self::Address => f.write_str("string: an IPv4 or IPv6 address"),
            Self::Hex(digits) => write!(f, "string: {digits} lower-case hex digits"),
            Self::Stamp => f.write_str("string: a time stamp of the log"),
            Self::Integer(min, max) if min == max => write!(f, "integer {min}"),
            Self::Integer(min, u64::MAX) => write!(f, "integer from {min} on"),
            Self::Integer(min, max) => write!(f, "integer, {min} to {max}"),
            Self::Object(parts) => {
                f.write_str("object of ")?;
                write_parts(parts, f)
            }
            Self::List(items_max, parts) => {
                write!(f, "list of at most {items_max} objects of ")?;
                write_parts(parts, f)
            }
        }
    }
}

fn write_parts(parts: &[Part], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut between = "";
    for alike in parts.chunk_by(|one, next| one.shape == next.shape && one.required == next.required) {
        let names: Vec<_> = alike.iter().map(|part| format!("`{}`", part.name)).collect();
        let required = if alike[0].required { " (required)" } else { "" };
        write!(f, "{between}{}{required}: {}", names.join(", "), alike[0].shape)?;
        between = "; ";
    }
    Ok(())
}

const fn seed(name: &'static str, origin: Origin, shape: Shape, about: &'static str) -> Member {
    Member {
        name,
        origin,
        extended: false,
        shape,
        about,
    }
}

const fn extended(name: &'static str, origin: Origin, shape: Shape, about: &'static str) -> Member {
    Member {
        extended: true,
        ..seed(name, origin, shape, about)
    }
}

const fn optional(name: &'static str, shape: Shape, about: &'static str) -> Member {
    extended(name, Origin::Optional, shape, about)
}

const fn part(name: &'static str, shape: Shape) -> Part {
    Part {
        name,
        shape,
        required: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Field;

    /// Canonical text needs the order; `position` does, too. Red when: two rows change places.
    #[test]
    fn members_ascend_and_need_no_escapes() {
        assert!(MEMBERS.is_sorted_by(|one, other| one.name < other.name));
        for member in &MEMBERS {
            assert!(member.name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_')));
            assert_eq!(super::member(member.name), Some(member));
        }
        assert_eq!(member("hash"), None);
    }

    /// Red when: a row that an indexed field names gets another name, or a shape that is not text.
    #[test]
    fn indexed_fields_are_members() {
        for field in Field::ALL {
            let (name, inner) = field.path();
            let shape = match (member(name).unwrap().shape, inner) {
                (Shape::Object(parts), Some(inner)) => {
                    parts.iter().find(|part| part.name == inner).unwrap().shape
                }
                (shape, None) => shape,
                other => panic!("{field:?}: {other:?}"),
            };
            let is_text = matches!(
                shape,
                Shape::Kind | Shape::Text(_) | Shape::OneOf(_) | Shape::Address
            );
            assert!(is_text, "{field:?}");
        }
    }

    /// Red when: `slips_max` becomes 3 (`user_id`), or the distance counts no replacements.
    #[test]
    fn slips_are_told_from_other_names() {
        for (sent, meant) in [
            ("sesion", Some("session")),
            ("timestmap", Some("timestamp")),
            ("Payload", Some("payload")),
            ("resources", Some("resource")),
            ("tracé_id", Some("trace_id")),
            ("idempotency-key", Some(IDEMPOTENCY_KEY)),
            ("user_id", None),
            ("ip", None),
            ("action", None),
            ("", None),
            ("noncee", None),
        ] {
            assert_eq!(suggestion(sent), meant, "{sent}");
        }
        assert_eq!(suggestion(&"session".repeat(1000)), None);
    }

    #[test]
    fn distances() {
        for (one, other, distance) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("kitten", "sitting", 3),
            ("run", "run", 0),
        ] {
            assert_eq!(slips(one.as_bytes(), other.as_bytes()), distance);
        }
    }
}

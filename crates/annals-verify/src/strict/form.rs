//! The form of one body: which members an event of its version has, and what their values look like.
//!
//! Invariants: what is checked here is written down here, not taken from the code that made the event; a test compares the
//! two. Members and parts that this version does not know are left alone: the hash covers them like all others.

use annals_core::body;
use annals_core::canon::{self, ValueKind};
use annals_core::limits::DEPTH_MAX;
use annals_core::time::Micros;

/// What a member that is known has to be.
struct Known {
    name: &'static str,
    needed: Needed,
    value: Value,
}

/// Which events have to have it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    /// All.
    Always,
    /// Those of version 2, and no others.
    Extended,
    /// None, and only those of version 2 may.
    Optional,
}

/// What its value looks like.
#[derive(Clone, Copy)]
enum Value {
    /// Compared elsewhere with what it must be, which says more than its type.
    Compared,
    Is(ValueKind),
    /// An object whose parts of these names are strings.
    Texts(&'static [&'static str]),
    /// A list of objects with a string `path`.
    Changes,
    Uuid,
    Nonce,
    Stamp,
    Version,
}

const TEXT: Value = Value::Is(ValueKind::String);

/// In the order of canonical text.
const KNOWN: [Known; 24] = [
    optional("actor", Value::Texts(&["id", "name", "on_behalf_of", "type"])),
    optional("attempt_id", TEXT),
    optional("changes", Value::Changes),
    always("event_id", Value::Compared),
    optional("grant", TEXT),
    extended("id", Value::Uuid),
    always("kind", TEXT),
    extended("nonce", Value::Nonce),
    optional("outcome", TEXT),
    always("payload", Value::Is(ValueKind::Object)),
    always("prev_hash", Value::Compared),
    extended("received_at", Value::Stamp),
    optional("request", Value::Texts(&["id", "ip", "user_agent"])),
    optional("resource", Value::Texts(&["id", "name", "type"])),
    optional("run", TEXT),
    optional("schema_version", Value::Is(ValueKind::Integer)),
    optional("session", TEXT),
    optional("severity", TEXT),
    always("source", TEXT),
    optional("subject", TEXT),
    optional("tenant", TEXT),
    always("timestamp", TEXT),
    optional("trace_id", TEXT),
    extended("v", Value::Version),
];

/// Checks the form of `body`. Says the receive time that the body states; one of version 1 states none.
///
/// # Errors
/// What is wrong.
pub(super) fn check(body: &[u8]) -> Result<Option<Micros>, String> {
    canon::check_canonical(body, DEPTH_MAX)
        .map_err(|error| format!("body is not canonical JSON ({error})"))?;
    let mut found = [None; KNOWN.len()];
    let mut from = 0;
    for (name, value) in body::members(body) {
        if name == b"hash" {
            return Err(String::from("body contains its own hash"));
        }
        // Canonical members ascend, so a known one is never before the last.
        let place = KNOWN[from..]
            .iter()
            .position(|known| known.name.as_bytes() == name);
        if let Some(at) = place.map(|place| from + place) {
            check_value(&KNOWN[at], value)?;
            found[at] = Some(value);
            from = at + 1;
        }
    }
    check_presence(&found)?;
    let received_at = KNOWN.iter().zip(found).find_map(|(known, value)| {
        matches!(known.value, Value::Stamp)
            .then(|| value.and_then(stamp_of))
            .flatten()
    });
    Ok(received_at)
}

fn check_presence(found: &[Option<&[u8]>; KNOWN.len()]) -> Result<(), String> {
    let is_extended = KNOWN
        .iter()
        .zip(found)
        .any(|(known, value)| known.needed != Needed::Always && value.is_some());
    let missing = KNOWN.iter().zip(found).find(|(known, value)| {
        value.is_none()
            && match known.needed {
                Needed::Always => true,
                Needed::Extended => is_extended,
                Needed::Optional => false,
            }
    });
    match missing {
        None => Ok(()),
        Some((known, _)) => Err(format!("`{}` is missing", known.name)),
    }
}

fn check_value(known: &Known, value: &[u8]) -> Result<(), String> {
    let fits = match known.value {
        Value::Compared => true,
        Value::Is(kind) => ValueKind::of_canonical(value) == kind,
        Value::Texts(names) => ValueKind::of_canonical(value) == ValueKind::Object && are_texts(value, names),
        Value::Changes => {
            ValueKind::of_canonical(value) == ValueKind::Array && body::elements(value).all(is_change)
        }
        Value::Uuid => {
            content(value).is_some_and(|text| text.len() == 36 && text.iter().enumerate().all(is_uuid_digit))
        }
        Value::Nonce => {
            content(value).is_some_and(|text| text.len() == 32 && text.iter().all(is_lower_hex_digit))
        }
        Value::Stamp => stamp_of(value).is_some(),
        Value::Version => value == b"2",
    };
    if fits {
        return Ok(());
    }
    let what = match known.value {
        Value::Uuid | Value::Nonce | Value::Stamp => "has the wrong form",
        Value::Version => "is not 2",
        _ => "has the wrong type",
    };
    Err(format!("`{}` {what}", known.name))
}

fn are_texts(object: &[u8], names: &[&str]) -> bool {
    body::members(object).all(|(name, value)| {
        let is_known = names.iter().any(|known| known.as_bytes() == name);
        !is_known || ValueKind::of_canonical(value) == ValueKind::String
    })
}

fn is_change(element: &[u8]) -> bool {
    ValueKind::of_canonical(element) == ValueKind::Object
        && body::member(element, "path")
            .is_some_and(|path| ValueKind::of_canonical(path) == ValueKind::String)
}

/// The time, if `value` is one exactly as the log writes it.
fn stamp_of(value: &[u8]) -> Option<Micros> {
    let text = content(value)?;
    let time = Micros::from_rfc3339(text).ok()?;
    (time.to_string().as_bytes() == text).then_some(time)
}

fn content(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

fn is_uuid_digit((at, byte): (usize, &u8)) -> bool {
    match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => is_lower_hex_digit(byte),
    }
}

fn is_lower_hex_digit(byte: &u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

const fn always(name: &'static str, value: Value) -> Known {
    Known {
        name,
        needed: Needed::Always,
        value,
    }
}

const fn extended(name: &'static str, value: Value) -> Known {
    Known {
        needed: Needed::Extended,
        ..always(name, value)
    }
}

const fn optional(name: &'static str, value: Value) -> Known {
    Known {
        needed: Needed::Optional,
        ..always(name, value)
    }
}

#[cfg(test)]
mod tests {
    use annals_core::schema::{MEMBERS, Origin, Part, Shape};

    use super::*;

    /// The auditor's own list, beside the producer's. Red when: a row of either is taken out, or changes its class.
    #[test]
    fn what_is_known_is_what_is_taken() {
        let known: Vec<_> = KNOWN
            .iter()
            .map(|known| (known.name, known.needed != Needed::Always))
            .collect();
        let taken: Vec<_> = MEMBERS
            .iter()
            .map(|member| (member.name, member.extended))
            .collect();
        assert_eq!(known, taken);
        for (known, member) in KNOWN.iter().zip(&MEMBERS) {
            assert_eq!(
                known.needed == Needed::Optional,
                member.origin == Origin::Optional,
                "{}",
                known.name
            );
            if let (Value::Texts(names), Shape::Object(parts)) = (known.value, member.shape) {
                let mut parts: Vec<_> = parts.iter().map(|Part { name, .. }| *name).collect();
                parts.sort_unstable();
                assert_eq!(names, parts);
            }
        }
    }
}

//! Whether a canonical value has the shape that the table of members asks for.
//!
//! Invariants: no more than [`ERRORS_MAX`] problems are collected for one event, so a hostile event costs no more than a
//! good one; values that pass are not copied.

// The address alone, which is pure; what talks to a network is elsewhere in `std`.
use core::net::IpAddr;
use std::borrow::Cow;
use std::fmt;

use super::error::{FieldError, FieldProblem};
use crate::body;
use crate::canon::{self, ValueKind};
use crate::kind;
use crate::schema::{IDEMPOTENCY_KEY_BYTES_MAX, Part, Shape};

/// Most problems that are told of one event.
const ERRORS_MAX: usize = 32;

/// What is wrong with one event so far.
#[derive(Debug, Default)]
pub(super) struct Problems {
    errors: Vec<FieldError>,
}

impl Problems {
    pub(super) fn add(&mut self, field: &dyn fmt::Display, problem: FieldProblem) {
        if !self.is_full() {
            self.errors.push(FieldError {
                field: field.to_string(),
                problem,
            });
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.errors.is_empty()
    }

    pub(super) fn into_errors(self) -> Vec<FieldError> {
        self.errors
    }

    /// Whether looking for more would be in vain.
    pub(super) fn is_full(&self) -> bool {
        self.errors.len() >= ERRORS_MAX
    }
}

/// Checks `value`, canonical JSON that stands at `place` of the event. What is not `required` could have been left out.
pub(super) fn check(shape: &Shape, required: bool, value: &[u8], place: &Place<'_>, problems: &mut Problems) {
    let takes_null = matches!(shape, Shape::Any | Shape::Claim(_));
    let checked = match *shape {
        _ if value == b"null" && !required && !takes_null => Err(FieldProblem::Null),
        Shape::Object(parts) => expect(value, ValueKind::Object, "an object").and_then(|()| {
            check_parts(parts, value, place, problems);
            some_part(parts, value)
        }),
        Shape::List(items_max, parts) => expect(value, ValueKind::Array, "an array").and_then(|()| {
            let too_many = body::elements(value).nth(items_max).is_some();
            if too_many {
                return Err(FieldProblem::TooManyItems(items_max));
            }
            check_items(parts, value, place, problems);
            Ok(())
        }),
        _ => check_plain(shape, value),
    };
    if let Err(problem) = checked {
        problems.add(place, problem);
    }
}

/// The length and the characters of an idempotency key.
pub(super) fn check_key(value: &[u8]) -> Result<(), FieldProblem> {
    expect(value, ValueKind::String, "a string")?;
    let key = decoded(value);
    let fits = (1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len());
    if fits && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(FieldProblem::NotAKey(IDEMPOTENCY_KEY_BYTES_MAX))
}

fn check_items(parts: &'static [Part], list: &[u8], place: &Place<'_>, problems: &mut Problems) {
    for (index, item) in body::elements(list).enumerate() {
        if problems.is_full() {
            return;
        }
        let place = Place::Item(place, index);
        match expect(item, ValueKind::Object, "an object") {
            Ok(()) => check_parts(parts, item, &place, problems),
            Err(problem) => problems.add(&place, problem),
        }
    }
}

fn check_parts(parts: &'static [Part], object: &[u8], place: &Place<'_>, problems: &mut Problems) {
    for (name, value) in body::members(object) {
        if problems.is_full() {
            return;
        }
        match parts.iter().find(|part| part.name.as_bytes() == name) {
            Some(part) => {
                let place = Place::Part(place, part.name);
                check(&part.shape, part.required, value, &place, problems);
            }
            None => problems.add(
                &Place::Part(place, &decoded_name(name)),
                FieldProblem::UnknownPart(parts.iter().map(|part| part.name).collect()),
            ),
        }
    }
    for part in parts.iter().filter(|part| part.required) {
        if body::member(object, part.name).is_none() {
            problems.add(&Place::Part(place, part.name), FieldProblem::Missing);
        }
    }
}

fn some_part(parts: &'static [Part], object: &[u8]) -> Result<(), FieldProblem> {
    if object == b"{}" {
        return Err(FieldProblem::EmptyObject(
            parts.iter().map(|part| part.name).collect(),
        ));
    }
    Ok(())
}

fn check_plain(shape: &Shape, value: &[u8]) -> Result<(), FieldProblem> {
    match *shape {
        Shape::Any | Shape::Object(_) | Shape::List(..) => Ok(()),
        Shape::AnyObject => expect(value, ValueKind::Object, "an object"),
        Shape::Kind => check_kind(value),
        Shape::Text(bytes_max) => check_text(value, bytes_max),
        Shape::Claim(_) if value == b"null" => Ok(()),
        Shape::Claim(bytes_max) => {
            expect(value, ValueKind::String, "a string or null")?;
            at_most(value, bytes_max)
        }
        Shape::FreeText(bytes_max) => {
            expect(value, ValueKind::String, "a string")?;
            at_most(value, bytes_max)?;
            let has_nul = value.contains(&b'\\') && decoded(value).contains('\0');
            if has_nul { Err(FieldProblem::Nul) } else { Ok(()) }
        }
        Shape::OneOf(choices) => check_choice(value, choices),
        Shape::Uuid => check_uuid(value),
        Shape::Address => check_address(value),
        Shape::Integer(min, max) => check_integer(value, min, max),
        Shape::Hex(_) | Shape::Stamp => Err(FieldProblem::Stamped),
    }
}

fn check_kind(value: &[u8]) -> Result<(), FieldProblem> {
    expect(value, ValueKind::String, "a string")?;
    let name = unquoted(value);
    if kind::SEED_KINDS.iter().any(|known| known.as_bytes() == name) {
        return Ok(());
    }
    let kind = decoded(value).chars().take(128).collect();
    Err(FieldProblem::UnregisteredKind { kind })
}

fn check_text(value: &[u8], bytes_max: usize) -> Result<(), FieldProblem> {
    expect(value, ValueKind::String, "a string")?;
    if unquoted(value).is_empty() {
        return Err(FieldProblem::Empty);
    }
    at_most(value, bytes_max)?;
    // Canonical text without a backslash is printable ASCII: only the rest needs decoding.
    if value.contains(&b'\\') && decoded(value).chars().any(char::is_control) {
        return Err(FieldProblem::ControlCharacter);
    }
    Ok(())
}

fn check_choice(value: &[u8], choices: &'static [&'static str]) -> Result<(), FieldProblem> {
    expect(value, ValueKind::String, "a string")?;
    let text = unquoted(value);
    if choices.iter().any(|choice| choice.as_bytes() == text) {
        Ok(())
    } else {
        Err(FieldProblem::NotOneOf(choices))
    }
}

fn check_uuid(value: &[u8]) -> Result<(), FieldProblem> {
    const LEN: usize = 36;
    expect(value, ValueKind::String, "a string")?;
    let text = unquoted(value);
    let fits = text.iter().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
    });
    if text.len() == LEN && fits {
        Ok(())
    } else {
        Err(FieldProblem::NotAUuid)
    }
}

fn check_address(value: &[u8]) -> Result<(), FieldProblem> {
    expect(value, ValueKind::String, "a string")?;
    let address: Result<IpAddr, _> = decoded(value).parse();
    address.map(|_| ()).map_err(|_| FieldProblem::NotAnAddress)
}

fn check_integer(value: &[u8], min: u64, max: u64) -> Result<(), FieldProblem> {
    expect(value, ValueKind::Integer, "an integer")?;
    // What does not parse is negative or beyond `u64`, so out of range as well.
    let number: Option<u64> = std::str::from_utf8(value)
        .ok()
        .and_then(|digits| digits.parse().ok());
    if number.is_some_and(|number| (min..=max).contains(&number)) {
        Ok(())
    } else {
        Err(FieldProblem::OutOfRange { min, max })
    }
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

fn expect(value: &[u8], wanted: ValueKind, expected: &'static str) -> Result<(), FieldProblem> {
    let found = ValueKind::of_canonical(value);
    if found == wanted {
        return Ok(());
    }
    Err(FieldProblem::WrongType {
        expected,
        found: found.name(),
    })
}

/// The content of a canonical string, still escaped.
pub(super) fn unquoted(string: &[u8]) -> &[u8] {
    &string[1..string.len() - 1]
}

/// The text of a canonical string.
pub(super) fn decoded(string: &[u8]) -> Cow<'_, str> {
    canon::decode_string(string).expect("canonical bytes decode")
}

/// The name of a member that may need escapes.
fn decoded_name(name: &[u8]) -> String {
    let quoted = [b"\"", name, b"\""].concat();
    decoded(&quoted).into_owned()
}

/// Where in an event a value stands; written out only when there is something to say about it.
pub(super) enum Place<'a> {
    /// A member of the event.
    Member(&'a str),
    /// A member of the object there.
    Part(&'a Place<'a>, &'a str),
    /// An item of the list there, from 0.
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => f.write_str(name),
            Self::Part(outer, name) => write!(f, "{outer}.{name}"),
            Self::Item(outer, index) => write!(f, "{outer}[{index}]"),
        }
    }
}

//! The indexed strings of a stored body, in one walk over its members.
//!
//! Invariant: what is found here is what [`Field::path`] says, and only where a string stands there.

use std::ops::ControlFlow;

use crate::body;
use crate::field::Field;

/// Calls `each` with every indexed string of a stored body, in stored order: canonical text, without its quotes.
pub fn terms<'a>(body: &'a [u8], mut each: impl FnMut(Field, &'a [u8])) {
    let walked: ControlFlow<()> = visit(body, |field, raw| {
        each(field, raw);
        ControlFlow::Continue(())
    });
    debug_assert!(walked.is_continue());
}

/// As [`terms`], until `each` has seen enough.
pub(super) fn visit<'a, B>(
    body: &'a [u8],
    mut each: impl FnMut(Field, &'a [u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    for (key, value) in body::members(body) {
        match key {
            b"actor" => inside(value, actor_field, &mut each)?,
            b"resource" => inside(value, resource_field, &mut each)?,
            b"request" => inside(value, request_field, &mut each)?,
            _ => {
                if let (Some(field), Some(raw)) = (event_field(key), unquoted(value)) {
                    each(field, raw)?;
                }
            }
        }
    }
    ControlFlow::Continue(())
}

fn inside<'a, B>(
    value: &'a [u8],
    field_of: fn(&[u8]) -> Option<Field>,
    each: &mut impl FnMut(Field, &'a [u8]) -> ControlFlow<B>,
) -> ControlFlow<B> {
    if value.first() == Some(&b'{') {
        for (key, value) in body::members(value) {
            if let (Some(field), Some(raw)) = (field_of(key), unquoted(value)) {
                each(field, raw)?;
            }
        }
    }
    ControlFlow::Continue(())
}

fn event_field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"kind" => Field::Kind,
        b"source" => Field::Source,
        b"tenant" => Field::Tenant,
        b"session" => Field::Session,
        b"grant" => Field::Grant,
        b"run" => Field::Run,
        b"outcome" => Field::Outcome,
        b"attempt_id" => Field::Attempt,
        b"trace_id" => Field::Trace,
        _ => return None,
    })
}

fn actor_field(key: &[u8]) -> Option<Field> {
    match key {
        b"id" => Some(Field::Actor),
        b"type" => Some(Field::ActorType),
        _ => None,
    }
}

fn resource_field(key: &[u8]) -> Option<Field> {
    match key {
        b"id" => Some(Field::Resource),
        b"type" => Some(Field::ResourceType),
        _ => None,
    }
}

fn request_field(key: &[u8]) -> Option<Field> {
    match key {
        b"id" => Some(Field::Request),
        b"ip" => Some(Field::Address),
        _ => None,
    }
}

/// The content of a raw string, `None` when the value is none.
pub(super) fn unquoted(value: &[u8]) -> Option<&[u8]> {
    value.strip_prefix(b"\"")?.strip_suffix(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(body: &str) -> Vec<(Field, String)> {
        let mut found = Vec::new();
        terms(body.as_bytes(), |field, raw| {
            found.push((field, String::from_utf8(raw.to_vec()).unwrap()));
        });
        found
    }

    /// Red when: any arm of the four tables is left out or names another field.
    #[test]
    fn every_field_is_found_where_its_path_says() {
        for field in Field::ALL {
            let body = match field.path() {
                (member, None) => format!(r#"{{"a":"x","{member}":"va\"lue","z":"y"}}"#),
                (member, Some(inner)) => {
                    format!(r#"{{"a":"x","{member}":{{"a":"x","{inner}":"va\"lue"}},"z":"y"}}"#)
                }
            };
            assert_eq!(found(&body), [(field, String::from(r#"va\"lue"#))], "{body}");
        }
    }

    #[test]
    fn only_strings_in_their_places_are_found() {
        assert_eq!(
            found(
                r#"{"actor":"id","kind":7,"outcome":null,"payload":{"actor":{"id":"u"},"kind":"other"},"request":["id","x"],"resource":{"id":{"id":"r"},"type":[]},"run":{"run":"x"},"source":"s"}"#
            ),
            [(Field::Source, String::from("s"))]
        );
    }
}

//! Reading a stored body: the top-level members of canonical bytes, without parsing what lies inside them.
//!
//! Invariant: nothing here trusts the bytes to be canonical. On damaged input an iterator ends early or yields wrong
//! slices; it never panics and never reads outside. What is true of the bytes is the verifier's business.

use std::borrow::Cow;

use memchr::memchr2;

use crate::canon;
use crate::hash::EventHash;

/// Raw text of the top-level member `name` of a canonical body (a string keeps its quotes), `None` when absent.
#[must_use]
pub fn member<'a>(body: &'a [u8], name: &str) -> Option<&'a [u8]> {
    members(body)
        .find(|(key, _)| *key == name.as_bytes())
        .map(|(_, value)| value)
}

/// Text of a top-level string member, decoded.
#[must_use]
pub fn string_member<'a>(body: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
    canon::decode_string(member(body, name)?).ok()
}

/// The top-level members in stored order: key without quotes (as escaped), raw value.
pub fn members(body: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut at = usize::from(body.first() == Some(&b'{'));
    std::iter::from_fn(move || {
        let key_end = string_end(body, at)?;
        let key = body.get(at + 1..key_end - 1)?;
        if body.get(key_end) != Some(&b':') {
            return None;
        }
        let value_end = value_end(body, key_end + 1)?;
        let value = &body[key_end + 1..value_end];
        at = value_end + 1;
        Some((key, value))
    })
}

/// Appends the event as it is served: the stored body with its hash as the last member.
pub fn write_served(body: &[u8], hash: &EventHash, out: &mut Vec<u8>) {
    let open = body.strip_suffix(b"}").unwrap_or(body);
    out.extend_from_slice(open);
    out.extend_from_slice(b",\"hash\":\"");
    out.extend_from_slice(&hash.to_hex());
    out.extend_from_slice(b"\"}");
}

/// Bytes that [`write_served`] adds to a body.
pub const SERVED_EXTRA_BYTES: usize = 74;

/// End (exclusive) of the string literal that starts at `at`.
fn string_end(text: &[u8], at: usize) -> Option<usize> {
    if text.get(at) != Some(&b'"') {
        return None;
    }
    let mut at = at + 1;
    loop {
        at += memchr2(b'"', b'\\', text.get(at..)?)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// End (exclusive) of the value that starts at `at`: the `,` or `}` that follows it at the same depth.
fn value_end(text: &[u8], mut at: usize) -> Option<usize> {
    let mut depth = 0_u32;
    loop {
        match *text.get(at)? {
            b'"' => {
                at = string_end(text, at)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return Some(at),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => return Some(at),
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_members_of_a_tricky_body() {
        let body =
            br#"{"event_id":7,"kind":"other","payload":{"kind":"x","s":"},\"source\":\""},"source":"a\"b"}"#;
        let names: Vec<_> = members(body).map(|(key, _)| key).collect();
        assert_eq!(names, [&b"event_id"[..], b"kind", b"payload", b"source"]);
        assert_eq!(member(body, "event_id"), Some(&b"7"[..]));
        assert_eq!(string_member(body, "source").as_deref(), Some("a\"b"));
        assert_eq!(member(body, "hash"), None);
    }

    #[test]
    fn damaged_bodies_do_not_panic() {
        let body = br#"{"event_id":7,"kind":"oth\u0065r","payload":{"a":["}"]},"source":"a"}"#;
        for cut in 0..body.len() {
            assert!(members(&body[..cut]).count() <= 4);
            assert!(members(&body[cut..]).count() <= 8);
        }
        let mut served = Vec::new();
        write_served(body, &EventHash::GENESIS, &mut served);
        assert_eq!(served.len(), body.len() + SERVED_EXTRA_BYTES);
    }
}

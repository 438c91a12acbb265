//! Reading a stored body: the top-level members of canonical bytes, without parsing what lies inside them.
//!
//! Invariant: nothing here trusts the bytes to be canonical. On damaged input an iterator ends early or yields wrong
//! slices; it never panics and never reads outside. What is true of the bytes is the verifier's business.

use std::borrow::Cow;

use memchr::{memchr, memchr2};

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

/// The elements of a raw canonical array, in order.
pub fn elements(array: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = usize::from(array.first() == Some(&b'['));
    std::iter::from_fn(move || {
        let end = value_end(array, at)?;
        let element = &array[at..end];
        at = end + 1;
        (!element.is_empty()).then_some(element)
    })
}

/// Every string value in a raw value, at any depth, with its quotes; keys are passed over.
pub fn string_values(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut at = 0;
    std::iter::from_fn(move || {
        loop {
            let start = at + memchr(b'"', value.get(at..)?)?;
            at = string_end(value, start)?;
            // Compact JSON has a colon right behind a key, and nowhere else behind a string.
            if value.get(at) != Some(&b':') {
                return Some(&value[start..at]);
            }
        }
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
        at = quote_or_backslash(text, at)?;
        if text[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// The first `"` or `\` from `at` on. Names and most values are so short that eight bytes at a time are faster than a call.
fn quote_or_backslash(text: &[u8], mut at: usize) -> Option<usize> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH * 0x80;
    const QUOTES: u64 = EACH * b'"' as u64;
    const BACKSLASHES: u64 = EACH * b'\\' as u64;
    // The top bit of the first zero byte, and perhaps of some behind it.
    let zeros = |word: u64| word.wrapping_sub(EACH) & !word & TOP;
    for _ in 0..4 {
        let Some(word) = text.get(at..)?.first_chunk::<8>() else {
            break;
        };
        let word = u64::from_le_bytes(*word);
        let found = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
        if found != 0 {
            return Some(at + (found.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    Some(at + memchr2(b'"', b'\\', &text[at..])?)
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

    /// Red when: `elements` steps to `end` instead of behind it.
    #[test]
    fn elements_of_arrays() {
        let array = br#"[{"a":[1,2]},"],",[],-1.5,null]"#;
        let found: Vec<_> = elements(array).collect();
        assert_eq!(
            found,
            [&br#"{"a":[1,2]}"#[..], br#""],""#, b"[]", b"-1.5", b"null"]
        );
        assert_eq!(elements(b"[]").count(), 0);
        for cut in 0..array.len() {
            assert!(elements(&array[..cut]).count() <= 5);
            assert!(elements(&array[cut..]).count() <= 8);
        }
    }

    /// Red when: `0x80` in `quote_or_backslash` becomes `0x40`, or `QUOTES` is left out.
    #[test]
    fn quotes_and_backslashes_are_found_wherever_they_stand() {
        for other in 0..=u8::MAX {
            for place in 0..60 {
                let mut text = [b' '; 60];
                text[place] = other;
                let expected = matches!(other, b'"' | b'\\').then_some(place);
                assert_eq!(quote_or_backslash(&text, 0), expected);
                text[59] = b'"';
                assert_eq!(quote_or_backslash(&text, 0), expected.or(Some(59)));
                assert_eq!(quote_or_backslash(&text, 60), None);
                assert_eq!(quote_or_backslash(&text, 61), None);
            }
        }
    }

    /// Red when: the test for the colon is left out of `string_values`.
    #[test]
    fn string_values_are_not_keys() {
        let value = br#"{"a":"1","b\"":["2",{"c":{"d":"\"x\":","e":null}},3],"f":{}}"#;
        let values: Vec<_> = string_values(value).collect();
        assert_eq!(values, [&b"\"1\""[..], b"\"2\"", br#""\"x\":""#]);
        assert_eq!(string_values(b"\"whole\"").collect::<Vec<_>>(), [b"\"whole\""]);
        assert_eq!(string_values(b"17").count(), 0);
    }

    #[test]
    fn damaged_bodies_do_not_panic() {
        let body = br#"{"event_id":7,"kind":"oth\u0065r","payload":{"a":["}"]},"source":"a"}"#;
        for cut in 0..body.len() {
            assert!(members(&body[..cut]).count() <= 4);
            assert!(members(&body[cut..]).count() <= 8);
            assert!(string_values(&body[..cut]).count() <= 8);
            assert!(string_values(&body[cut..]).count() <= 16);
        }
        let mut served = Vec::new();
        write_served(body, &EventHash::GENESIS, &mut served);
        assert_eq!(served.len(), body.len() + SERVED_EXTRA_BYTES);
    }
}

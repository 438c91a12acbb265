//! JSON strings: finding the plain stretches, reading escapes, writing the canonical ones.
//!
//! Canonical escaping: `\"`, `\\`, `\b`, `\f`, `\n`, `\r`, `\t`; every other character outside U+0020–U+007E as
//! `\uXXXX` in lower-case hex, a surrogate pair beyond U+FFFF. `/` stands unescaped, U+007F does not.

use std::borrow::Cow;

use memchr::memchr;

use super::error::{CanonError, CanonErrorKind};
use super::output::Discard;
use super::scanner::Scanner;

/// Appends `text` as a canonical string literal.
pub(super) fn write(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let (plain, special) = rest.split_at(plain_end(rest.as_bytes(), 0));
        out.extend_from_slice(plain.as_bytes());
        let mut chars = special.chars();
        let Some(character) = chars.next() else { break };
        out.extend_from_slice(Escape::of(character).as_bytes());
        rest = chars.as_str();
    }
    out.push(b'"');
}

/// Decodes one complete string literal.
pub(super) fn decode(raw: &[u8]) -> Result<Cow<'_, str>, CanonError> {
    let mut scanner = Scanner::new(raw, Discard);
    let literal = scanner.string()?;
    match raw.get(literal.end..) {
        Some([]) => literal.decode(raw),
        _ => Err(CanonErrorKind::TrailingBytes.at(literal.end)),
    }
}

/// Where a checked string literal lies in the input, quotes included.
#[derive(Clone, Copy)]
pub(super) struct Literal {
    pub(super) start: usize,
    pub(super) end: usize,
    /// Whether a backslash occurs, so that the raw text differs from the value.
    pub(super) escaped: bool,
}

impl Literal {
    /// The value.
    pub(super) fn decode(self, input: &[u8]) -> Result<Cow<'_, str>, CanonError> {
        let content = self.start + 1;
        if self.escaped {
            let mut value = Vec::with_capacity(self.end - self.start);
            self.decode_into(input, &mut value)?;
            let value = String::from_utf8(value).map_err(|_| CanonErrorKind::InvalidUtf8.at(content))?;
            return Ok(Cow::Owned(value));
        }
        let value = std::str::from_utf8(&input[content..self.end - 1]);
        value
            .map(Cow::Borrowed)
            .map_err(|bad| CanonErrorKind::InvalidUtf8.at(content + bad.valid_up_to()))
    }

    /// Appends the value's bytes to `value`.
    pub(super) fn decode_into(self, input: &[u8], value: &mut Vec<u8>) -> Result<(), CanonError> {
        let (mut at, content_end) = (self.start + 1, self.end - 1);
        while let Some(plain) = memchr(b'\\', &input[at..content_end]) {
            value.extend_from_slice(&input[at..at + plain]);
            let (character, escape_end) = read_escape(input, at + plain)?;
            value.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            at = escape_end;
        }
        value.extend_from_slice(&input[at..content_end]);
        Ok(())
    }
}

/// Reads the escape whose backslash is at `at`: the character and where the escape ends.
pub(super) fn read_escape(input: &[u8], at: usize) -> Result<(char, usize), CanonError> {
    let character = match input.get(at + 1) {
        Some(b'"') => '"',
        Some(b'\\') => '\\',
        Some(b'/') => '/',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'u') => return read_unicode_escape(input, at),
        Some(_) => return Err(CanonErrorKind::BadEscape.at(at)),
        None => return Err(CanonErrorKind::UnexpectedEnd.at(input.len())),
    };
    Ok((character, at + 2))
}

fn read_unicode_escape(input: &[u8], at: usize) -> Result<(char, usize), CanonError> {
    let first = read_hex4(input, at)?;
    if let Some(character) = char::from_u32(first) {
        return Ok((character, at + 6));
    }
    let lone = CanonErrorKind::LoneSurrogate.at(at);
    if first >= 0xdc00 || input.get(at + 6..at + 8) != Some(br"\u") {
        // Nothing that could still complete the pair follows, unless the text stops right here.
        let cut = first < 0xdc00 && matches!(input.get(at + 6..), Some([] | [b'\\']));
        return Err(if cut {
            CanonErrorKind::UnexpectedEnd.at(input.len())
        } else {
            lone
        });
    }
    let second = read_hex4(input, at + 6)?;
    if !(0xdc00..=0xdfff).contains(&second) {
        return Err(lone);
    }
    let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
    char::from_u32(scalar)
        .map(|character| (character, at + 12))
        .ok_or(lone)
}

/// The four hex digits of the `\uXXXX` at `at`.
fn read_hex4(input: &[u8], at: usize) -> Result<u32, CanonError> {
    let mut unit = 0;
    for place in at + 2..at + 6 {
        let Some(&byte) = input.get(place) else {
            return Err(CanonErrorKind::UnexpectedEnd.at(input.len()));
        };
        let Some(digit) = char::from(byte).to_digit(16) else {
            return Err(CanonErrorKind::BadEscape.at(at));
        };
        unit = unit << 4 | digit;
    }
    Ok(unit)
}

/// The canonical text of one character inside a string.
pub(super) struct Escape {
    bytes: [u8; 12],
    len: usize,
}

impl Escape {
    pub(super) fn of(character: char) -> Self {
        let short = match character {
            '"' => b'"',
            '\\' => b'\\',
            '\u{8}' => b'b',
            '\u{c}' => b'f',
            '\n' => b'n',
            '\r' => b'r',
            '\t' => b't',
            ' '..='~' => {
                let mut plain = Self {
                    bytes: [0; 12],
                    len: 1,
                };
                character.encode_utf8(&mut plain.bytes);
                return plain;
            }
            _ => return Self::hex(character),
        };
        let mut escape = Self {
            bytes: [0; 12],
            len: 2,
        };
        escape.bytes[..2].copy_from_slice(&[b'\\', short]);
        escape
    }

    fn hex(character: char) -> Self {
        let mut escape = Self {
            bytes: [0; 12],
            len: 0,
        };
        for unit in character.encode_utf16(&mut [0; 2]) {
            let [high, low] = unit.to_be_bytes();
            let digits = [high >> 4, high & 15, low >> 4, low & 15].map(|digit| HEX[usize::from(digit)]);
            let text = &mut escape.bytes[escape.len..escape.len + 6];
            text[..2].copy_from_slice(br"\u");
            text[2..].copy_from_slice(&digits);
            escape.len += 6;
        }
        escape
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

/// The first position from `at` on whose byte is not plain (printable ASCII other than `"` and `\`), or the end.
pub(super) fn plain_end(text: &[u8], mut at: usize) -> usize {
    while let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let special = special_bytes(u64::from_le_bytes(*word));
        if special != 0 {
            return at + (special.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while text
        .get(at)
        .is_some_and(|&byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\')
    {
        at += 1;
    }
    at
}

/// Eight bytes at once: the top bit of every byte that is not plain. No sum here carries into the next byte.
const fn special_bytes(word: u64) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    const TOP: u64 = EACH * 0x80;
    let low = word & !TOP;
    let not_quote = (low ^ (EACH * b'"' as u64)) + EACH * 0x7f;
    let not_backslash = (low ^ (EACH * b'\\' as u64)) + EACH * 0x7f;
    let from_space = low + EACH * 0x60;
    let delete = low + EACH;
    (!(not_quote & not_backslash & from_space) | delete | word) & TOP
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `0x60` in `special_bytes` becomes `0x61`, or `delete` is left out.
    #[test]
    fn eight_bytes_at_once_agree_with_one_at_a_time() {
        for byte in 0..=u8::MAX {
            let plain = matches!(byte, 0x20..=0x7e) && byte != b'"' && byte != b'\\';
            for place in 0..24 {
                for filler in [b' ', b'~', b'!', b'#', b'[', b']'] {
                    let mut text = [filler; 24];
                    text[place] = byte;
                    assert_eq!(
                        plain_end(&text, 0),
                        if plain { 24 } else { place },
                        "0x{byte:02x} at {place}"
                    );
                }
            }
        }
    }
}

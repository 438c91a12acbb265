//! Free text: whether it stands, whatever the case, in a string value that a producer wrote.
//!
//! Canonical text makes most of this a search of raw bytes: printable ASCII other than `"` and `\` stands for itself and is
//! never escaped, everything else always is. So a stretch of such characters, in one value, is a stretch of raw bytes; only
//! values with a backslash have to be decoded. Two characters cross that line when they are put into lower case
//! ([`CROSSING`]); a test holds that against every character there is.

use memchr::{memchr, memchr2_iter, memmem};

use super::FilterError;
use crate::body;
use crate::canon;

/// Top-level members that are not looked at: the log's stamps, and commitments, which are hashes.
const STAMPS: [&[u8]; 7] = [
    b"event_id",
    b"hash",
    b"nonce",
    b"prev_hash",
    b"private",
    b"received_at",
    b"v",
];

/// The escaped characters whose lower case holds printable ASCII (`İ`: an `i` and a dot above, the Kelvin sign: `k`), as
/// canonical text writes them.
const CROSSING: [(u8, &[u8]); 2] = [(b'i', br"\u0130"), (b'k', br"\u212a")];

/// A text that is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Text {
    folded: Box<str>,
    /// The longest part that stands in raw text as it is, but for the case; empty when there is none.
    plain: Plain,
}

impl Text {
    pub(super) fn new(text: &str) -> Result<Self, FilterError> {
        let chars = text.chars().count();
        if chars == 0 {
            return Err(FilterError::EmptyText);
        }
        if chars > super::TEXT_CHARS_MAX {
            return Err(FilterError::TextTooLong { chars });
        }
        if text.chars().any(char::is_control) {
            return Err(FilterError::ControlCharacter);
        }
        let folded = fold(text);
        let plain = folded
            .split(|character| !is_plain(character))
            .max_by_key(|part| part.len())
            .unwrap_or_default();
        let plain = Plain::new(plain);
        Ok(Self {
            folded: folded.into(),
            plain,
        })
    }

    pub(super) fn folded(&self) -> &str {
        &self.folded
    }

    /// False only when the text stands nowhere in the body.
    pub(super) fn may_occur(&self, body: &[u8]) -> bool {
        (self.is_plain() || memchr(b'\\', body).is_some())
            && (self.plain.stands_in(body) || self.plain.may_cross(body))
    }

    /// Whether the text stands in a string value of the body that is looked at.
    pub(super) fn occurs_in(&self, body: &[u8]) -> bool {
        let mut lower = String::new();
        body::members(body)
            .filter(|(key, _)| !STAMPS.contains(key))
            .flat_map(|(_, value)| body::string_values(value))
            .any(|literal| self.stands_in(literal, &mut lower))
    }

    /// `literal` has its quotes; `lower` is scratch space.
    fn stands_in(&self, literal: &[u8], lower: &mut String) -> bool {
        if memchr(b'\\', literal).is_none() {
            return self.is_plain() && self.plain.stands_in(literal);
        }
        let Ok(value) = canon::decode_string(literal) else {
            return false;
        };
        lower.clear();
        lower.extend(value.chars().flat_map(char::to_lowercase));
        memmem::find(lower.as_bytes(), self.folded.as_bytes()).is_some()
    }

    fn is_plain(&self) -> bool {
        self.plain.lower.len() == self.folded.len()
    }
}

/// Lower case, character by character: unlike [`str::to_lowercase`] the same in every context.
fn fold(text: &str) -> String {
    text.chars().flat_map(char::to_lowercase).collect()
}

/// Whether canonical text has the character as it is.
fn is_plain(character: char) -> bool {
    matches!(character, ' '..='~') && character != '"' && character != '\\'
}

/// A stretch of plain characters, looked for in raw text.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Plain {
    lower: Box<[u8]>,
    /// Where in it the byte stands that is searched for first.
    rare_at: usize,
}

/// Bytes of stored bodies, the most common first: digits of hashes, then what names and values are made of.
const COMMON: &[u8] = b"0123456789abcdefti_\",:orsnuphmvylkg-qwz";

impl Plain {
    fn new(lower: &str) -> Self {
        let lower: Box<[u8]> = lower.as_bytes().into();
        let rareness = |byte: &u8| memchr(*byte, COMMON).unwrap_or(COMMON.len());
        let rarest = lower.iter().enumerate().max_by_key(|(_, byte)| rareness(byte));
        Self {
            rare_at: rarest.map_or(0, |(at, _)| at),
            lower,
        }
    }

    fn stands_in(&self, text: &[u8]) -> bool {
        let Some(&rare) = self.lower.get(self.rare_at) else {
            return true;
        };
        let Some(starts) = (text.len() + 1).checked_sub(self.lower.len()) else {
            return false;
        };
        // Where that byte stands when the stretch begins at each of the possible starts.
        let places = &text[self.rare_at..self.rare_at + starts];
        memchr2_iter(rare, rare.to_ascii_uppercase(), places)
            .any(|start| text[start..start + self.lower.len()].eq_ignore_ascii_case(&self.lower))
    }

    /// Whether some of the stretch may be made by escaped characters.
    fn may_cross(&self, text: &[u8]) -> bool {
        CROSSING
            .iter()
            .any(|(byte, escape)| self.lower.contains(byte) && memmem::find(text, escape).is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: an entry of `CROSSING` is left out.
    #[test]
    fn only_known_characters_become_plain_ones() {
        let crossing: Vec<(u8, Vec<u8>)> = ('\0'..=char::MAX)
            .filter(|character| !character.is_ascii())
            .filter_map(|character| {
                let plain = character.to_lowercase().find(|lower| is_plain(*lower))?;
                let mut escape = Vec::new();
                canon::write_string(&character.to_string(), &mut escape);
                let plain = u8::try_from(plain).unwrap();
                Some((plain, escape[1..escape.len() - 1].to_vec()))
            })
            .collect();
        let known: Vec<(u8, Vec<u8>)> = CROSSING
            .iter()
            .map(|(byte, escape)| (*byte, escape.to_vec()))
            .collect();
        assert_eq!(crossing, known);
        // And plain ones stay plain, so the case of raw text is ASCII's.
        assert!((' '..='~').all(|plain| plain.to_lowercase().eq([plain.to_ascii_lowercase()])));
    }

    fn stands(text: &str, value: &str) -> bool {
        let mut body = b"{\"payload\":{\"key\":".to_vec();
        canon::write_string(value, &mut body);
        body.extend_from_slice(b"}}");
        let text = Text::new(text).unwrap();
        assert!(
            text.may_occur(&body) || !text.occurs_in(&body),
            "{text:?} {value:?}"
        );
        text.may_occur(&body) && text.occurs_in(&body)
    }

    /// Red when: `may_cross` is left out of `may_occur`, a value with a backslash is searched raw, or `fold` becomes
    /// `str::to_lowercase`.
    #[test]
    fn texts_stand_in_decoded_values() {
        for (text, value) in [
            ("admin", "the ADMIN\n"),
            ("a\"b", "xA\"By"),
            ("a\\b", "A\\B"),
            ("kelvin", "\u{212a}ELVIN"),
            ("\u{212a}elvin", "kelvin"),
            ("\u{130}", "i\u{307}"),
            ("i", "\u{130}"),
            ("\u{1f600}", "a\u{1f600}b"),
            ("müller", "MÜLLER"),
            ("ΟΔΟΣ", "οδοσ"),
            ("ß", "ẞ"),
        ] {
            assert!(stands(text, value), "{text} in {value}");
        }
        for (text, value) in [
            ("nadmin", "\nadmin"),
            ("u00e9", "é"),
            ("é", "e"),
            ("ΟΔΟΣ", "οδος"),
            ("ss", "ß"),
            ("key", "value"),
            ("\"", "value"),
            ("ab", "a"),
        ] {
            assert!(!stands(text, value), "{text} in {value}");
        }
    }
}

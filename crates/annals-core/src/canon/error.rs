//! Why a text has no canonical form, and where. Whoever sent the text has to mend it.

use thiserror::Error;

/// A refused text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{kind} (at byte {offset})")]
pub struct CanonError {
    /// Byte offset into the input, 0-based; the input's length where it ended too early.
    pub offset: usize,
    /// What is wrong there.
    pub kind: CanonErrorKind,
}

/// The ways in which a text can fail to have a canonical form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum CanonErrorKind {
    /// The text ends inside a value.
    #[error("the JSON text ends too early")]
    UnexpectedEnd,
    /// A byte that RFC 8259's grammar does not allow there.
    #[error("unexpected byte 0x{0:02x}")]
    UnexpectedByte(u8),
    /// U+FEFF before the text.
    #[error("the text starts with a byte order mark; send plain UTF-8")]
    ByteOrderMark,
    /// A backslash that starts none of JSON's escapes. At the backslash.
    #[error("invalid escape in a string")]
    BadEscape,
    /// A raw control character (below U+0020) in a string.
    #[error("unescaped control character in a string")]
    ControlCharacter,
    /// Bytes that are not UTF-8. At the first byte of the bad sequence.
    #[error("a string is not valid UTF-8")]
    InvalidUtf8,
    /// Half of a surrogate pair. At its backslash.
    #[error("a string has half of a surrogate pair (\\ud800 to \\udfff)")]
    LoneSurrogate,
    /// A number with fraction or exponent beyond the range of an IEEE 754 double. At its first byte.
    #[error("a number is too large for a double")]
    NumberOverflow,
    /// An integer of more than [`super::INTEGER_DIGITS_MAX`] digits. At its first byte.
    #[error("an integer has more than 4300 digits")]
    TooManyDigits,
    /// `NaN`, `Infinity` or `-Infinity`, which some encoders print.
    #[error("NaN and Infinity are not JSON")]
    NotANumber,
    /// Nested deeper than the caller allows. At the bracket.
    #[error("nested too deep")]
    TooDeep,
    /// Longer, in canonical form, than the caller allows.
    #[error("the canonical form is too long")]
    TooLong,
    /// Something follows the document. At its first byte.
    #[error("unexpected text after the end of the JSON document")]
    TrailingBytes,
    /// Something other than an object where one is required.
    #[error("expected a JSON object")]
    NotAnObject,
    /// Something other than an array where one is required.
    #[error("expected a JSON array")]
    NotAnArray,
    /// Valid JSON, but not in canonical form; only from [`super::check_canonical`].
    #[error("not in canonical form")]
    NotCanonical,
}

impl CanonErrorKind {
    /// This kind, at a place.
    pub(super) fn at(self, offset: usize) -> CanonError {
        CanonError { offset, kind: self }
    }
}

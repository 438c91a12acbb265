//! Canonical JSON: the one text of a JSON value that is hashed, stored and served.
//!
//! It is what CPython's `json.dumps(value, sort_keys=True, separators=(",", ":"))` prints for a document that
//! `json.loads` read: keys by code point (so *not* RFC 8785, which sorts by UTF-16 unit), no white space, ASCII only
//! with lower-case `\uXXXX`, exact integers, doubles as `repr` prints them, the last of duplicate keys. Input grammar:
//! RFC 8259 in UTF-8 without a byte order mark. What Python accepts or prints beyond that (NaN, infinities, lone
//! surrogates, more than 4,300 digits) has no canonical form and is refused, also where a later duplicate key would
//! have hidden it.
//!
//! How it works: input that is canonical as it stands is copied in long runs; only where canonical text differs from
//! the input is anything rewritten, and an object is re-sorted after the fact if its keys did not ascend. The same
//! scanner with an output that tolerates no rewriting is [`check_canonical`], so the two can not disagree.
//!
//! Invariants: canonical text is printable ASCII; canonicalising it changes nothing; on an error the caller's buffer
//! is as it was; recursion never exceeds [`DEPTH_CEILING`]. Deliberately absent: a value tree, any I/O, `unsafe`.

mod error;
mod members;
mod number;
mod order;
mod output;
mod scanner;
mod string;

use std::borrow::Cow;

pub use error::{CanonError, CanonErrorKind};
pub use members::{CanonicalMember, Items, canonical_members, items};

use output::{Strict, Text};
use scanner::Scanner;

/// Deepest nesting that any function here follows, whatever its caller allows: it bounds the stack.
pub const DEPTH_CEILING: u32 = 128;

/// Most decimal digits of an integer literal (CPython's `sys.int_info.default_max_str_digits`).
pub const INTEGER_DIGITS_MAX: usize = 4300;

/// How deep and how long a canonical text may become. A bare `u32` converts to a depth limit without a length limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Nesting levels allowed: 0 takes scalars only, 1 a flat array or object. Capped at [`DEPTH_CEILING`].
    pub depth_max: u32,
    /// Canonical bytes that one call may produce, members that a later duplicate supersedes included. Bounds memory:
    /// without it, 1 byte of input can become 6 of output and cost about 10 more of bookkeeping.
    pub bytes_max: usize,
}

impl From<u32> for Bounds {
    fn from(depth_max: u32) -> Self {
        Self {
            depth_max,
            bytes_max: usize::MAX,
        }
    }
}

/// What a JSON value is. Integer and float are told apart by the literal: a float has `.`, `e` or `E`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueKind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number without fraction and exponent; exact, however long.
    Integer,
    /// A number with fraction or exponent; an IEEE 754 double.
    Float,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

impl ValueKind {
    /// The kind of `value`, which is canonical JSON. (Other bytes get some answer.)
    #[must_use]
    pub fn of_canonical(value: &[u8]) -> Self {
        match value.first() {
            Some(b'{') => Self::Object,
            Some(b'[') => Self::Array,
            Some(b'"') => Self::String,
            Some(b't' | b'f') => Self::Bool,
            Some(b'n') => Self::Null,
            _ if value.iter().any(|byte| matches!(byte, b'.' | b'e')) => Self::Float,
            _ => Self::Integer,
        }
    }

    /// The type with its article, for messages: "an object", "null".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::Array => "an array",
            Self::String => "a string",
            Self::Integer => "an integer",
            Self::Float => "a number with a fraction or exponent",
            Self::Bool => "a boolean",
            Self::Null => "null",
        }
    }
}

/// Appends the canonical form of exactly one JSON document (surrounding JSON white space allowed) to `out`.
///
/// # Errors
/// [`CanonError`] if the input is not JSON, has no canonical form or exceeds `bounds`; `out` then has its old length.
pub fn canonicalize(input: &[u8], bounds: impl Into<Bounds>, out: &mut Vec<u8>) -> Result<(), CanonError> {
    let bounds = bounds.into();
    let old_len = out.len();
    out.reserve(input.len().min(bounds.bytes_max));
    let result = Scanner::new(input, Text::new(out, bounds.bytes_max)).document(bounds.depth_max);
    if result.is_err() {
        out.truncate(old_len);
    }
    result
}

/// Whether `bytes` is, byte for byte, canonical JSON nested at most `depth_max` deep.
#[must_use]
pub fn is_canonical(bytes: &[u8], depth_max: u32) -> bool {
    check_canonical(bytes, depth_max).is_ok()
}

/// As [`is_canonical`], but says where and why not. One pass; allocates nothing that grows with a plain input.
///
/// # Errors
/// [`CanonErrorKind::NotCanonical`] at the first byte that canonical text would have otherwise, or the error that
/// [`canonicalize`] gives, whichever comes first in the text.
pub fn check_canonical(bytes: &[u8], depth_max: u32) -> Result<(), CanonError> {
    Scanner::new(bytes, Strict).document(depth_max)
}

/// Appends `text` as a canonical JSON string, with its quotes.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    string::write(text, out);
}

/// Decodes a JSON string literal (with its quotes, nothing around them); borrows unless there is an escape.
///
/// # Errors
/// [`CanonError`] if `raw` is anything but one valid string literal.
pub fn decode_string(raw: &[u8]) -> Result<Cow<'_, str>, CanonError> {
    string::decode(raw)
}

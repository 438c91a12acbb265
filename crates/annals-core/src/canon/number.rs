//! Doubles: from a literal of any length to the nearest double, and from a double to the text of CPython's `repr`.
//!
//! Both directions lean on the standard library, which rounds correctly and prints the shortest digits that read back;
//! here is what it leaves open: literals so long that its exponent arithmetic saturates, ties between two shortest
//! texts, and Python's layout.

use std::fmt::{self, Write as _};

/// Literals up to this length go to the standard library as they are. It follows exponents up to 655,359 exactly and
/// saturates beyond, which is harmless as long as the digits can not outweigh such an exponent.
const DIRECT_BYTES_MAX: usize = 10_000;

/// Significant digits that decide how a literal rounds: the midpoint of two doubles has at most 767.
const DECISIVE_DIGITS: usize = 800;

/// The double nearest to `literal` (JSON's number grammar, already checked), ties to even; `None` beyond the range.
pub(super) fn parse_double(literal: &str) -> Option<f64> {
    let value = if literal.len() <= DIRECT_BYTES_MAX {
        literal.parse()
    } else {
        shorten(literal).parse()
    };
    value.ok().filter(|value: &f64| value.is_finite())
}

/// A short literal that rounds to the same double: leading zeros become exponent, digits that can not decide go.
fn shorten(literal: &str) -> String {
    let (sign, magnitude) = literal
        .strip_prefix('-')
        .map_or(("", literal), |magnitude| ("-", magnitude));
    let (mantissa, exponent) = magnitude.split_once(['e', 'E']).unwrap_or((magnitude, "0"));
    let (integer, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = || integer.bytes().chain(fraction.bytes());
    let leading_zeros = digits().take_while(|&digit| digit == b'0').count();
    let mut significant: String = digits()
        .skip(leading_zeros)
        .take(DECISIVE_DIGITS)
        .map(char::from)
        .collect();
    if significant.is_empty() {
        return format!("{sign}0.0");
    }
    // A midpoint that is followed by anything but zeros is above the midpoint: one digit stands for them all.
    if digits()
        .skip(leading_zeros + DECISIVE_DIGITS)
        .any(|digit| digit != b'0')
    {
        significant.push('1');
    }
    // The value is 0.<significant> * 10^scale. No scale beyond ±1000 is a finite double other than zero.
    let place = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let scale = saturating_exponent(exponent)
        .saturating_add(place(integer.len()))
        .saturating_sub(place(leading_zeros))
        .clamp(-1000, 1000);
    format!("{sign}0.{significant}e{scale}")
}

fn saturating_exponent(text: &str) -> i64 {
    let (negative, digits) = match text.as_bytes() {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let magnitude = digits.iter().fold(0_i64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(i64::from(digit - b'0'))
    });
    if negative { -magnitude } else { magnitude }
}

/// The text of a finite double as CPython's `float.__repr__` prints it.
pub(super) fn layout_double(value: f64) -> ShortText {
    let (digits, exponent) = shortest(value.abs());
    let digits = digits.as_bytes();
    let mut text = ShortText::new();
    if value.is_sign_negative() {
        text.push(b"-");
    }
    if (-4..16).contains(&exponent) {
        lay_out_plain(digits, exponent, &mut text);
    } else {
        let (first, rest) = digits.split_at(1);
        text.push(first);
        text.push(if rest.is_empty() { b"" } else { b"." });
        text.push(rest);
        text.push(if exponent < 0 { b"e-" } else { b"e+" });
        text.push(ShortText::of(format_args!("{:02}", exponent.unsigned_abs())).as_bytes());
    }
    text
}

/// The shortest digits that read back as `value` (not negative), of those the nearest to it, of two that are equally
/// near the even one; and the decimal exponent of the first digit.
fn shortest(value: f64) -> (ShortText, i32) {
    let scientific = ShortText::of(format_args!("{value:e}"));
    let mut parts = scientific.as_bytes().splitn(2, |&byte| byte == b'e');
    let mantissa = parts.next().unwrap_or_default();
    let exponent = parts
        .next()
        .and_then(|text| std::str::from_utf8(text).ok()?.parse().ok())
        .unwrap_or(0);
    let mut digits = ShortText::new();
    mantissa
        .split(|&byte| byte == b'.')
        .for_each(|part| digits.push(part));
    (
        even_of_tie(value, digits.len, exponent).unwrap_or(digits),
        exponent,
    )
}

/// If `value` lies exactly half-way between two numbers of `len` digits: the digits of the even one, provided that it
/// reads back. CPython prints that one (2.9802322387695312e-08 for 2^-25), the standard library the upper one (…13e-08).
fn even_of_tie(value: f64, len: usize, exponent: i32) -> Option<ShortText> {
    let bits = value.to_bits();
    let biased_exponent = i32::try_from(bits >> 52).ok()?;
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let trailing_zeros = mantissa.trailing_zeros();
    // value = odd * 2^-halvings, whose exact decimal digits are those of odd * 5^halvings and end in 5. (Without
    // halvings it is a multiple of the distance between doubles, and one digit less is always too far away; with as
    // many as a subnormal or zero has, for which this mantissa is wrong, 5^halvings is beyond any tie.)
    let odd = mantissa >> trailing_zeros;
    let halvings = 1075 - biased_exponent - i32::try_from(trailing_zeros).ok()?;
    let exact = 5_u64
        .checked_pow(u32::try_from(halvings).ok().filter(|&halvings| halvings > 0)?)?
        .checked_mul(odd)?;
    if usize::try_from(exact.ilog10()).ok()? != len {
        return None;
    }
    let lower = exact / 10;
    let digits = ShortText::of(format_args!("{}", lower + lower % 2));
    let last_place = exponent - i32::try_from(len).ok()? + 1;
    let candidate = ShortText::of(format_args!("{}e{last_place}", lower + lower % 2));
    let reads_back = std::str::from_utf8(candidate.as_bytes()).ok()?.parse() == Ok(value);
    (reads_back && digits.len == len).then_some(digits)
}

/// Digits with the decimal point where `exponent` puts it.
fn lay_out_plain(digits: &[u8], exponent: i32, text: &mut ShortText) {
    let (first, rest) = digits.split_at(1);
    let places = usize::try_from(exponent.unsigned_abs()).unwrap_or(0);
    if exponent < 0 {
        text.push(b"0.");
        text.push(&ZEROS[1..places]);
        text.push(first);
        text.push(rest);
        return;
    }
    let (integer, fraction) = rest.split_at(places.min(rest.len()));
    text.push(first);
    text.push(integer);
    text.push(&ZEROS[..places - integer.len()]);
    text.push(b".");
    text.push(if fraction.is_empty() { b"0" } else { fraction });
}

const ZEROS: &[u8; 16] = b"0000000000000000";

/// Room for the text of any double, without allocation.
pub(super) struct ShortText {
    bytes: [u8; 32],
    len: usize,
}

impl ShortText {
    const fn new() -> Self {
        Self {
            bytes: [0; 32],
            len: 0,
        }
    }

    fn of(arguments: fmt::Arguments<'_>) -> Self {
        let mut text = Self::new();
        // Writing to it never fails.
        text.write_fmt(arguments).unwrap_or_default();
        text
    }

    fn push(&mut self, part: &[u8]) {
        // 17 digits, sign, point, exponent of 5 characters, 3 leading zeros: 27 at most.
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl fmt::Write for ShortText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.push(part.as_bytes());
        Ok(())
    }
}

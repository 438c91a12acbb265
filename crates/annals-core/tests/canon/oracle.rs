//! A second implementation of canonical JSON, as naive as can be and sharing no code with the first: it reads
//! characters into a value tree and prints the tree. `None` is a refusal.

use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// Digits with sign, as canonical text has them.
    Integer(String),
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<Vec<char>, Json>),
}

pub(crate) fn canonical(input: &[u8]) -> Option<String> {
    let text: Vec<char> = std::str::from_utf8(input).ok()?.chars().collect();
    let (value, rest) = read(white(&text), 128)?;
    white(rest).is_empty().then(|| print(&value))
}

pub(super) fn print(value: &Json) -> String {
    let join = |parts: Vec<String>| parts.join(",");
    match value {
        Json::Null => "null".to_owned(),
        Json::Bool(value) => value.to_string(),
        Json::Integer(digits) => digits.clone(),
        Json::Float(value) => print_float(*value),
        Json::Text(text) => print_text(text.chars()),
        Json::Array(items) => format!("[{}]", join(items.iter().map(print).collect())),
        Json::Object(members) => {
            let member =
                |(key, value): (&Vec<char>, &Json)| print_text(key.iter().copied()) + ":" + &print(value);
            format!("{{{}}}", join(members.iter().map(member).collect()))
        }
    }
}

/// The shortest text by trial: fewest digits that read back, rounded half to even by the exact printer.
fn print_float(value: f64) -> String {
    let shortest = (0..17)
        .map(|places| format!("{value:.places$e}"))
        .find(|text| text.parse() == Ok(value));
    let (mantissa, exponent) = shortest.as_deref().and_then(|text| text.split_once('e')).unwrap();
    let exponent: isize = exponent.parse().unwrap();
    if !(-4..16).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{mantissa}e{sign}{:02}", exponent.abs());
    }
    let fraction = mantissa.split_once('.').map_or("", |(_, fraction)| fraction);
    // Exact printing to as many places gives the same digits again, unless zeros have to fill the integer part.
    match fraction.len().checked_add_signed(-exponent) {
        Some(0) => format!("{value:.0}.0"),
        Some(places) => format!("{value:.places$}"),
        None => {
            let zeros = exponent.unsigned_abs() - fraction.len();
            format!("{}{}.0", mantissa.replace('.', ""), "0".repeat(zeros))
        }
    }
}

fn print_text(text: impl Iterator<Item = char>) -> String {
    let mut out = String::from("\"");
    for character in text {
        match character {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\u{8}' => out += "\\b",
            '\u{c}' => out += "\\f",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            '\u{20}'..='\u{7e}' => out.push(character),
            _ => character
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| out += &format!("\\u{unit:04x}")),
        }
    }
    out + "\""
}

type Rest<'a> = &'a [char];

fn white(mut text: Rest<'_>) -> Rest<'_> {
    while let [' ' | '\t' | '\r' | '\n', rest @ ..] = text {
        text = rest;
    }
    text
}

fn read(text: Rest<'_>, depth: u32) -> Option<(Json, Rest<'_>)> {
    match text {
        ['n', 'u', 'l', 'l', rest @ ..] => Some((Json::Null, rest)),
        ['t', 'r', 'u', 'e', rest @ ..] => Some((Json::Bool(true), rest)),
        ['f', 'a', 'l', 's', 'e', rest @ ..] => Some((Json::Bool(false), rest)),
        ['"', rest @ ..] => read_text(rest).map(|(text, rest)| (Json::Text(text), rest)),
        ['[', rest @ ..] => read_array(white(rest), depth.checked_sub(1)?),
        ['{', rest @ ..] => read_object(white(rest), depth.checked_sub(1)?),
        _ => read_number(text),
    }
}

fn read_array(mut text: Rest<'_>, depth: u32) -> Option<(Json, Rest<'_>)> {
    let mut items = Vec::new();
    if let [']', rest @ ..] = text {
        return Some((Json::Array(items), rest));
    }
    loop {
        let (item, rest) = read(white(text), depth)?;
        items.push(item);
        match white(rest) {
            [',', rest @ ..] => text = rest,
            [']', rest @ ..] => return Some((Json::Array(items), rest)),
            _ => return None,
        }
    }
}

fn read_object(mut text: Rest<'_>, depth: u32) -> Option<(Json, Rest<'_>)> {
    let mut members = BTreeMap::new();
    if let ['}', rest @ ..] = text {
        return Some((Json::Object(members), rest));
    }
    loop {
        let (key, rest) = read_text(white(text).strip_prefix(&['"'])?)?;
        let (value, rest) = read(white(white(rest).strip_prefix(&[':'])?), depth)?;
        members.insert(key.chars().collect(), value);
        match white(rest) {
            [',', rest @ ..] => text = rest,
            ['}', rest @ ..] => return Some((Json::Object(members), rest)),
            _ => return None,
        }
    }
}

/// The rest of a string after its opening quote.
fn read_text(mut text: Rest<'_>) -> Option<(String, Rest<'_>)> {
    // Collected as UTF-16, so that pairs of escapes join by themselves and lone ones fail in the end.
    let mut units: Vec<u16> = Vec::new();
    loop {
        let (unit, rest) = match text {
            ['"', rest @ ..] => return Some((String::from_utf16(&units).ok()?, rest)),
            ['\\', 'u', a, b, c, d, rest @ ..] => {
                let hex = [a, b, c, d].map(|digit| digit.to_digit(16));
                let unit = hex
                    .into_iter()
                    .try_fold(0, |unit, digit| Some(unit * 16 + digit?))?;
                (u16::try_from(unit).ok()?, rest)
            }
            ['\\', escaped, rest @ ..] => {
                let plain = match escaped {
                    '"' | '\\' | '/' => *escaped,
                    'b' => '\u{8}',
                    'f' => '\u{c}',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    _ => return None,
                };
                (u16::try_from(plain).ok()?, rest)
            }
            [character, rest @ ..] if *character >= ' ' && *character != '\\' => {
                units.extend_from_slice(character.encode_utf16(&mut [0; 2]));
                text = rest;
                continue;
            }
            _ => return None,
        };
        units.push(unit);
        text = rest;
    }
}

fn read_number(text: Rest<'_>) -> Option<(Json, Rest<'_>)> {
    let end = text
        .iter()
        .position(|c| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
        .unwrap_or(text.len());
    let literal: String = text[..end].iter().collect();
    let value = if literal.contains(['.', 'e', 'E']) {
        float(&literal)?
    } else {
        integer(&literal)?
    };
    Some((value, &text[end..]))
}

fn integer(literal: &str) -> Option<Json> {
    let digits = literal.strip_prefix('-').unwrap_or(literal);
    let ok = is_integer_part(digits) && digits.len() <= 4300;
    ok.then(|| {
        Json::Integer(if literal == "-0" {
            "0".to_owned()
        } else {
            literal.to_owned()
        })
    })
}

fn float(literal: &str) -> Option<Json> {
    let magnitude = literal.strip_prefix('-').unwrap_or(literal);
    let lower = magnitude.to_lowercase();
    let (mantissa, exponent) = lower.split_once('e').unwrap_or((&lower, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    if !is_integer_part(whole) || !is_digits(fraction) || !is_digits(exponent) {
        return None;
    }
    literal
        .parse()
        .ok()
        .filter(|value: &f64| value.is_finite())
        .map(Json::Float)
}

fn is_integer_part(digits: &str) -> bool {
    is_digits(digits) && (digits == "0" || !digits.starts_with('0'))
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

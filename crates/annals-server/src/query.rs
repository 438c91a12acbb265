//! Query strings: a few known parameters, and a hint for everything else.
//!
//! Invariant: nothing that was asked for is ignored, be it unknown or given twice, because the answer to a mistyped filter
//! would otherwise hold more, or something else, than was asked for.

use std::borrow::Cow;

use axum::http::Uri;

use crate::problem::{Kind, Refusal, excerpt};

/// The values of the `known` parameters, in their order.
///
/// # Errors
/// 400 for an unknown parameter, naming what there is, for one that is given twice, or for text that is not percent-encoded
/// UTF-8.
pub(crate) fn parameters<'a, const N: usize>(
    uri: &'a Uri,
    known: [&str; N],
) -> Result<[Option<Cow<'a, str>>; N], Refusal> {
    let mut values = [const { None }; N];
    for pair in pairs(uri) {
        let (name, value) = pair?;
        match known.iter().position(|known| *known == name) {
            Some(at) if values[at].is_some() => return Err(given_twice(&name)),
            Some(at) => values[at] = Some(value),
            None => return Err(unknown(&name, &known)),
        }
    }
    Ok(values)
}

/// Names and values as they were given, decoded.
///
/// # Errors
/// 400 for text that is not percent-encoded UTF-8.
pub(crate) fn pairs(uri: &Uri) -> impl Iterator<Item = Result<Pair<'_>, Refusal>> {
    let query = uri.query().unwrap_or_default();
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((decoded(name)?, decoded(value)?))
    })
}

/// One parameter: its name and its value.
pub(crate) type Pair<'a> = (Cow<'a, str>, Cow<'a, str>);

/// The refusal of a second value where one counts.
pub(crate) fn given_twice(name: &str) -> Refusal {
    let message = String::from("is given twice; give it once");
    Refusal::of_field(Kind::BadRequest, name, message)
}

/// For routes without parameters.
pub(crate) fn no_parameters(uri: &Uri) -> Result<(), Refusal> {
    parameters(uri, []).map(|[]| ())
}

/// A number, with what it is for in the refusal.
pub(crate) fn number(name: &str, text: &str, wanted: &str) -> Result<u64, Refusal> {
    let digits = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().ok_or_else(|| {
        Refusal::of_field(
            Kind::BadRequest,
            name,
            format!("must be {wanted}, not \"{}\"", excerpt(text)),
        )
    })
}

/// `true` or `false`.
pub(crate) fn flag(name: &str, text: &str) -> Result<bool, Refusal> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Refusal::of_field(
            Kind::BadRequest,
            name,
            format!("must be true or false, not \"{}\"", excerpt(text)),
        )),
    }
}

/// The refusal of a parameter that a route does not have, with what it has.
pub(crate) fn unknown(name: &str, known: &[&str]) -> Refusal {
    let message = if known.is_empty() {
        String::from("is not known here; this route takes no parameters")
    } else {
        let guess =
            nearest(name, known).map_or_else(String::new, |known| format!(" did you mean `{known}`?"));
        format!("is not known here;{guess} this route takes: {}", known.join(", "))
    };
    Refusal::of_field(Kind::BadRequest, name, message)
}

/// The known name that was probably meant: at most one letter in three is different.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let name = name.to_ascii_lowercase();
    known
        .iter()
        .map(|known| (distance(&name, known), *known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| 3 * distance <= known.len())
        .map(|(_, known)| known)
}

/// Edits between the two (Levenshtein), of names cut to a sane length.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().take(32).collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().take(32).enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for (column, wanted) in other.iter().enumerate() {
            let replaced = diagonal + usize::from(letter != *wanted);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

/// Undoes `application/x-www-form-urlencoded` (WHATWG URL section 5.1), but refuses what is not UTF-8 instead of guessing.
fn decoded(text: &str) -> Result<Cow<'_, str>, Refusal> {
    if !text.contains(['%', '+']) {
        return Ok(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let escaped = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
                let value = escaped
                    .filter(|digits| !digits.starts_with('+'))
                    .and_then(|digits| u8::from_str_radix(digits, 16).ok());
                bytes.push(value.ok_or_else(|| badly_encoded(text))?);
                rest = &tail[2..];
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes)
        .map(Cow::Owned)
        .map_err(|_| badly_encoded(text))
}

fn badly_encoded(text: &str) -> Refusal {
    Refusal::new(
        Kind::BadRequest,
        format!("\"{}\" in the query is not percent-encoded UTF-8", excerpt(text)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(query: &str) -> Result<Vec<Option<String>>, ()> {
        let uri: Uri = format!("/events?{query}").parse().unwrap();
        match parameters(&uri, ["kind", "limit"]) {
            Ok(values) => Ok(values
                .into_iter()
                .map(|value| value.map(Cow::into_owned))
                .collect()),
            Err(_) => Err(()),
        }
    }

    #[test]
    fn values_are_decoded() {
        let value = |text: &str| Some(text.to_owned());
        assert_eq!(
            of("kind=a%20b+c%C3%A9&&limit=2"),
            Ok(vec![value("a b cé"), value("2")])
        );
        assert_eq!(of("kind"), Ok(vec![value(""), None]));
        assert_eq!(of(""), Ok(vec![None, None]));
        for bad in [
            "kind=%",
            "kind=%4",
            "kind=%+1",
            "kind=%zz",
            "kind=%ff",
            "kinds=a",
            "%6bind=%ff",
            "limit=1&limit=1",
            "kind&%6bind=a",
        ] {
            assert_eq!(of(bad), Err(()), "{bad}");
        }
    }

    /// Red when: `nearest` does not filter.
    #[test]
    fn only_a_close_name_is_suggested() {
        const KNOWN: [&str; 4] = ["kind", "source", "limit", "after"];
        for (name, meant) in [
            ("kinds", Some("kind")),
            ("KIND", Some("kind")),
            ("sourc", Some("source")),
            ("suorce", Some("source")),
            ("limits", Some("limit")),
            ("aftr", Some("after")),
            ("x", None),
            ("", None),
            ("id", None),
            ("format", None),
            ("before", None),
            ("offset", None),
            ("actor", None),
            ("kind_of_a_long_name", None),
            (&"x".repeat(1000), None),
        ] {
            assert_eq!(nearest(name, &KNOWN), meant, "{name}");
        }
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn the_nearest_name_is_the_one_with_fewest_edits() {
        assert_eq!(
            (
                distance("limt", "limit"),
                distance("", "kind"),
                distance("kind", "kind")
            ),
            (1, 4, 0)
        );
    }
}

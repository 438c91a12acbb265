//! Properties, for values that nobody thought of: the subject agrees with the naive oracle on everything.

use annals_core::canon::{
    CanonError, canonical_members, canonicalize, check_canonical, decode_string, is_canonical, items,
    write_string,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::oracle::{self, Json};

/// Everything that can be said about one input.
fn check(input: &[u8]) {
    let expected = oracle::canonical(input);
    let mut out = b"kept".to_vec();
    let result = canonicalize(input, 128, &mut out);
    let got = String::from_utf8(out.split_off(4)).unwrap();
    assert_eq!(out, b"kept");
    assert_eq!(result.is_ok().then_some(&got), expected.as_ref(), "{result:?}");
    if let Err(error) = result {
        assert_eq!(got, "");
        assert!(error.offset <= input.len());
    } else {
        assert!(got.bytes().all(|byte| matches!(byte, b' '..=b'~')));
        check_canonical(got.as_bytes(), 128).unwrap();
        let mut again = Vec::new();
        canonicalize(got.as_bytes(), 128, &mut again).unwrap();
        assert_eq!(got.as_bytes(), again);
    }
    assert_eq!(
        is_canonical(input, 128),
        expected.as_deref().map(str::as_bytes) == Some(input)
    );
    check_members(input, expected.as_deref());
    check_items(input, expected.as_deref());
}

/// The members put together again are the document.
fn check_members(input: &[u8], expected: Option<&str>) {
    let mut out = b"kept".to_vec();
    let members = canonical_members(input, 128, &mut out);
    let Some(expected) = expected.filter(|text| text.starts_with('{')) else {
        assert!(members.is_err());
        assert_eq!(out, b"kept");
        return;
    };
    let mut members = members.unwrap();
    members.sort_by(|one, other| one.key.cmp(&other.key));
    let mut whole = b"{".to_vec();
    for member in &members {
        write_string(&member.key, &mut whole);
        whole.push(b':');
        whole.extend_from_slice(&out[member.canonical.clone()]);
        whole.push(b',');
        assert_eq!(
            oracle::canonical(member.raw).unwrap().as_bytes(),
            &out[member.canonical.clone()]
        );
    }
    if whole.len() > 1 {
        whole.pop();
    }
    whole.push(b'}');
    assert_eq!(String::from_utf8(whole).unwrap(), expected);
    let values: usize = members.iter().map(|member| member.canonical.len()).sum();
    assert!(out.len() >= 4 + values);
}

/// So are an array's items.
fn check_items(input: &[u8], expected: Option<&str>) {
    let found: Result<Vec<&[u8]>, CanonError> = items(input).collect();
    let Some(expected) = expected.filter(|text| text.starts_with('[')) else {
        // The iterator allows each item as many levels as a document has, so one more in all.
        assert!(found.is_err() || input.iter().filter(|byte| **byte == b'[').count() > 128);
        return;
    };
    let parts: Vec<String> = found
        .unwrap()
        .into_iter()
        .map(|item| oracle::canonical(item).unwrap())
        .collect();
    assert_eq!(format!("[{}]", parts.join(",")), expected);

    let mut walk = items(input);
    let mut out = Vec::new();
    for part in parts {
        match walk.next_members(127, &mut out) {
            Some(Ok(_)) => assert!(part.starts_with('{')),
            Some(Err(_)) => return assert!(!part.starts_with('{')),
            None => panic!("an item is missing: {part}"),
        }
    }
    assert!(walk.next_members(127, &mut out).is_none());
}

/// A value, and one of the many ways to write it.
#[derive(Clone, Debug)]
struct Written {
    value: Json,
    text: String,
}

fn white() -> impl Strategy<Value = String> {
    prop_oneof![4 => Just(String::new()), 1 => "[ \t\r\n]{1,3}"]
}

fn character() -> impl Strategy<Value = char> {
    prop_oneof![
        6 => prop::char::range(' ', '~'),
        1 => select(vec!['"', '\\', '/', '\u{0}', '\u{8}', '\u{b}', '\n', '\u{1f}', '\u{7f}', '\u{80}', '\u{d7ff}', '\u{e000}']),
        1 => select(vec!['é', '\u{2028}', '\u{feff}', '\u{ff61}', '\u{ffff}', '\u{10000}', '😀', '\u{10ffff}']),
        1 => any::<char>(),
    ]
}

/// A string and a literal for it: some characters escaped that need not be.
fn string() -> impl Strategy<Value = (String, String)> {
    prop::collection::vec((character(), 0_u8..8), 0..12).prop_map(|characters| {
        let value = characters.iter().map(|(character, _)| *character).collect();
        let text: String = characters
            .iter()
            .map(|(character, how)| spell(*character, *how))
            .collect();
        (value, format!("\"{text}\""))
    })
}

fn spell(character: char, how: u8) -> String {
    let units = |format: fn(&u16) -> String| character.encode_utf16(&mut [0; 2]).iter().map(format).collect();
    match (how, character) {
        (0, '\n') => "\\n".to_owned(),
        (0, '/') => "\\/".to_owned(),
        (_, '"' | '\\') if how > 1 => format!("\\{character}"),
        (0, _) | (_, '"' | '\\' | '\0'..='\u{1f}') => units(|unit| format!("\\u{unit:04x}")),
        (1, _) => units(|unit| format!("\\u{unit:04X}")),
        _ => character.to_string(),
    }
}

fn number() -> impl Strategy<Value = Written> {
    let float = any::<f64>().prop_filter("finite", |value| value.is_finite());
    let integer = prop_oneof!["-?[1-9][0-9]{0,40}", Just("0".to_owned())];
    // Ties between two shortest texts are rare among random doubles.
    let tie = (1_u64 << 50..1 << 53, 1_i32..12)
        .prop_map(|(odd, halvings)| (odd | 1) as f64 * 2_f64.powi(-halvings));
    prop_oneof![
        integer.prop_map(|digits| Written {
            value: Json::Integer(digits.clone()),
            text: digits
        }),
        Just(Written {
            value: Json::Integer("0".to_owned()),
            text: "-0".to_owned()
        }),
        (float, 0_usize..4).prop_map(|(value, how)| Written {
            value: Json::Float(value),
            text: spell_float(value, how)
        }),
        (tie, 0_usize..4).prop_map(|(value, how)| Written {
            value: Json::Float(value),
            text: spell_float(value, how)
        }),
    ]
}

fn spell_float(value: f64, how: usize) -> String {
    let text = match how {
        0 => format!("{value:?}"),
        1 => format!("{value:.17E}"),
        2 => format!("{value:.1100}"),
        _ => format!("{value:e}").replace("e-", "e-00"),
    };
    if text.contains(['.', 'e', 'E']) {
        text
    } else {
        text + ".0"
    }
}

fn scalar() -> impl Strategy<Value = Written> {
    prop_oneof![
        Just(Written {
            value: Json::Null,
            text: "null".to_owned()
        }),
        any::<bool>().prop_map(|value| Written {
            value: Json::Bool(value),
            text: value.to_string()
        }),
        number(),
        string().prop_map(|(value, text)| Written {
            value: Json::Text(value),
            text
        }),
    ]
}

fn document() -> impl Strategy<Value = Written> {
    scalar().prop_recursive(5, 40, 6, |inner| {
        let spaced = (white(), inner, white()).prop_map(|(before, value, after)| Written {
            text: format!("{before}{}{after}", value.text),
            ..value
        });
        let spaced = spaced.boxed();
        // Known keys now and then, so that duplicates happen, and keys that differ late.
        let known = select(vec![
            "a",
            "",
            "é",
            "long enough",
            "long enough a",
            "long enough é",
            "long enough 😀",
        ]);
        let known = known.prop_map(|key| (key.to_owned(), format!("\"{key}\"")));
        let key = prop_oneof![string(), known];
        let member = (white(), key, white(), spaced.clone());
        prop_oneof![
            prop::collection::vec(spaced, 0..6).prop_map(array),
            prop::collection::vec(member, 0..6).prop_map(object),
        ]
    })
}

fn array(items: Vec<Written>) -> Written {
    let (values, texts): (Vec<Json>, Vec<String>) =
        items.into_iter().map(|item| (item.value, item.text)).unzip();
    Written {
        value: Json::Array(values),
        text: format!("[{}]", texts.join(",")),
    }
}

fn object(members: Vec<(String, (String, String), String, Written)>) -> Written {
    let texts: Vec<String> = members
        .iter()
        .map(|(before, (_, key), after, value)| format!("{before}{key}{after}:{}", value.text))
        .collect();
    let pairs = members
        .into_iter()
        .map(|(_, (key, _), _, value)| (key.chars().collect(), value.value));
    Written {
        value: Json::Object(pairs.collect()),
        text: format!("{{{}}}", texts.join(",")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Red when: `is_last` in `drop_superseded` is filled from the front; `prefix` keeps one byte too many.
    #[test]
    fn a_value_has_one_canonical_text_however_it_is_written(written in document()) {
        prop_assert_eq!(oracle::canonical(written.text.as_bytes()), Some(oracle::print(&written.value)));
        check(written.text.as_bytes());
    }

    /// Red when: `Scanner::document` does not ask for the end; `canonical_members` does not truncate on an error.
    #[test]
    fn damaged_documents_are_judged_alike(
        written in document(),
        edits in prop::collection::vec((any::<Index>(), 0_usize..4, select(TOKENS.to_vec())), 1..4),
    ) {
        let mut bytes = written.text.into_bytes();
        for (place, delete, insert) in edits {
            let at = place.index(bytes.len() + 1);
            let end = (at + delete).min(bytes.len());
            bytes.splice(at..end, insert.iter().copied());
        }
        check(&bytes);
    }

    /// Red when: `canonicalize` does not truncate on an error.
    #[test]
    fn any_bytes_at_all(bytes in prop::collection::vec(prop_oneof![any::<u8>(), select(br#"{}[]":,\u0eE.-+ tfn"#.to_vec())], 0..40)) {
        check(&bytes);
    }

    /// Red when: `Escape::of` forgets `'\\'`.
    #[test]
    fn strings_survive(text in prop::collection::vec(character(), 0..40).prop_map(String::from_iter)) {
        let mut literal = Vec::new();
        write_string(&text, &mut literal);
        prop_assert!(is_canonical(&literal, 0));
        prop_assert_eq!(decode_string(&literal).unwrap(), text);
    }
}

const TOKENS: &[&[u8]] = &[
    b"",
    b" ",
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"0",
    b"-",
    b"-0",
    b"1e5",
    b".",
    b"e",
    b"E+1",
    b"9",
    b"\\u",
    b"\\ud83d",
    b"\\ude00",
    b"\\u00e9",
    b"\\n",
    b"\\/",
    b"\x00",
    b"\x1f",
    b"\x7f",
    b"\xc3\xa9",
    b"\xff",
    b"\xed\xa0",
    b"\xf0\x9f\x98\x80",
    b"NaN",
    b"Infinity",
    b"true",
    b"nul",
    b"\"a\":1,",
    b"\"\":",
    b"1e999",
    b"1.0",
    b"12345678.25",
];

/// Red when: `parse_double` gives every literal to the standard library as it is.
#[test]
fn doubles_whose_exponent_outweighs_a_megabyte_of_digits() {
    let canonical = |literal: String| super::canonical(literal).unwrap();
    let zeros = "0".repeat(700_009);
    assert_eq!(canonical(format!("0.{zeros}1e700010")), "1.0");
    assert_eq!(canonical(format!("-1{zeros}0e-700010")), "-1.0");
    assert_eq!(canonical(format!("1{zeros}.5e-700009")), "1.0");
    assert_eq!(canonical(format!("0.{zeros}e99999999999999999999")), "0.0");
    assert!(super::canonical(format!("1{zeros}e1")).is_err());
    assert_eq!(canonical(format!("0.{zeros}1e1")), "0.0");
}

/// The midpoint of 1 and the next double, and the same with one more digit far behind.
///
/// Red when: `shorten` does not push the `1`.
#[test]
fn a_digit_far_behind_the_midpoint_decides() {
    let midpoint = "1.00000000000000011102230246251565404236316680908203125";
    let zeros = "0".repeat(20_000);
    assert_eq!(super::canonical(format!("{midpoint}{zeros}")).unwrap(), "1.0");
    assert_eq!(
        super::canonical(format!("{midpoint}{zeros}1")).unwrap(),
        "1.0000000000000002"
    );
}

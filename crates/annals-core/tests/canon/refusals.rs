//! Texts that have no canonical form: every kind of error, and where it points.

use annals_core::canon::CanonErrorKind::{self, *};
use annals_core::canon::{
    Bounds, CanonError, canonical_members, canonicalize, check_canonical, decode_string, is_canonical, items,
};

use super::canonical;

/// `input` is refused with `kind` at `offset` by every reader that looks at all of a document.
fn check(input: &[u8], offset: usize, kind: CanonErrorKind) {
    let shown = String::from_utf8_lossy(&input[..input.len().min(60)]).into_owned();
    let expected = CanonError { offset, kind };
    let mut out = b"kept".to_vec();
    assert_eq!(canonicalize(input, 128, &mut out), Err(expected), "{shown}");
    assert_eq!(out, b"kept", "{shown}");
    assert!(!is_canonical(input, 128), "{shown}");

    let mut as_member = br#"{"m":"#.to_vec();
    as_member.extend_from_slice(input);
    assert!(canonical_members(&as_member, 129, &mut out).is_err(), "{shown}");
    assert_eq!(out, b"kept", "{shown}");
}

/// Red when: `read_unicode_escape` takes any second unit; `some_digits` accepts none; a leading zero is not refused.
#[test]
fn every_kind_of_error_at_its_place() {
    for (input, offset, kind) in REFUSALS {
        if *kind == TrailingBytes {
            assert_eq!(
                canonical(input),
                Err(CanonError {
                    offset: *offset,
                    kind: *kind
                })
            );
        } else {
            check(input, *offset, *kind);
        }
    }
}

const REFUSALS: &[(&[u8], usize, CanonErrorKind)] = &[
    // Ends.
    (b"", 0, UnexpectedEnd),
    (b"  ", 2, UnexpectedEnd),
    (b"{", 1, UnexpectedEnd),
    (br#"{"a""#, 4, UnexpectedEnd),
    (br#"{"a":"#, 5, UnexpectedEnd),
    (br#"{"a":1"#, 6, UnexpectedEnd),
    (br#"{"a":1,"#, 7, UnexpectedEnd),
    (b"[1,", 3, UnexpectedEnd),
    (b"\"a", 2, UnexpectedEnd),
    (b"\"a\\", 3, UnexpectedEnd),
    (br#""\u00e"#, 6, UnexpectedEnd),
    (br#""\ud83d"#, 7, UnexpectedEnd),
    (br#""\ud83d\"#, 8, UnexpectedEnd),
    (br#""\ud83d\u"#, 9, UnexpectedEnd),
    (b"-", 1, UnexpectedEnd),
    (b"1.", 2, UnexpectedEnd),
    (b"1e", 2, UnexpectedEnd),
    (b"1e+", 3, UnexpectedEnd),
    (b"tru", 3, UnexpectedEnd),
    // Grammar.
    (b"x", 0, UnexpectedByte(b'x')),
    (b"[1,]", 3, UnexpectedByte(b']')),
    (b"[,1]", 1, UnexpectedByte(b',')),
    (b"[1 2]", 3, UnexpectedByte(b'2')),
    (br#"{"a":1,}"#, 7, UnexpectedByte(b'}')),
    (br#"{"a" 1}"#, 5, UnexpectedByte(b'1')),
    (b"{a:1}", 1, UnexpectedByte(b'a')),
    (b"{1:1}", 1, UnexpectedByte(b'1')),
    (b"['a']", 1, UnexpectedByte(b'\'')),
    (b"+1", 0, UnexpectedByte(b'+')),
    (b".5", 0, UnexpectedByte(b'.')),
    (b"01", 1, UnexpectedByte(b'1')),
    (b"-01", 2, UnexpectedByte(b'1')),
    (b"[1.]", 3, UnexpectedByte(b']')),
    (b"1.e5", 2, UnexpectedByte(b'e')),
    (b"1e.5", 2, UnexpectedByte(b'.')),
    (b"--1", 1, UnexpectedByte(b'-')),
    (b"-a", 1, UnexpectedByte(b'a')),
    (b"trUe", 2, UnexpectedByte(b'U')),
    (b"nan", 1, UnexpectedByte(b'a')),
    (b"\x0b1", 0, UnexpectedByte(0x0b)),
    (b"\xc2\xa01", 0, UnexpectedByte(0xc2)),
    (b"[1]\x00", 3, TrailingBytes),
    (b"\x00[1]", 0, UnexpectedByte(0)),
    (b"/**/1", 0, UnexpectedByte(b'/')),
    (b"\xef\xbb\xbf{}", 0, ByteOrderMark),
    (b" \xef\xbb\xbf{}", 1, UnexpectedByte(0xef)),
    // Strings.
    (br#""a\x""#, 2, BadEscape),
    (br#""\u00g0""#, 1, BadEscape),
    (br#""\u+123""#, 1, BadEscape),
    (br#""\U0041""#, 1, BadEscape),
    (br#""\ud83d\u00g0""#, 7, BadEscape),
    (b"\"a\nb\"", 2, ControlCharacter),
    (b"\"\x00\"", 1, ControlCharacter),
    (b"\"0123456\x1f\"", 8, ControlCharacter),
    (b"{\"\t\":1}", 2, ControlCharacter),
    (b"\"\xff\"", 1, InvalidUtf8),
    (b"\"ab\xc3\xa9\xc3\"", 5, InvalidUtf8),
    (b"\"\xc0\x80\"", 1, InvalidUtf8),
    (b"\"\xed\xa0\x80\"", 1, InvalidUtf8),
    (b"\"\xf4\x90\x80\x80\"", 1, InvalidUtf8),
    (b"{\"\xff\":1}", 2, InvalidUtf8),
    (br#""\ud83d""#, 1, LoneSurrogate),
    (br#""\ud83dx""#, 1, LoneSurrogate),
    (br#""\ud83d\n""#, 1, LoneSurrogate),
    (br#""\ude00\ud83d""#, 1, LoneSurrogate),
    (br#""\ud83d\ud83d\ude00""#, 1, LoneSurrogate),
    (br#""ok\udfff""#, 3, LoneSurrogate),
    (br#"{"\ud800":1}"#, 2, LoneSurrogate),
    (br#"{"a":"\ud800","a":1}"#, 6, LoneSurrogate),
    // Numbers.
    (b"[1,1e309]", 3, NumberOverflow),
    (b"-1e309", 0, NumberOverflow),
    (b"1.7976931348623159e308", 0, NumberOverflow),
    (b"1e999999999999999999999999", 0, NumberOverflow),
    (b"[NaN]", 1, NotANumber),
    (b"Infinity", 0, NotANumber),
    (b"[0,-Infinity]", 3, NotANumber),
    // The rest.
    (b"{} {}", 3, TrailingBytes),
    (b"1,", 1, TrailingBytes),
    (b"\"a\"\"b\"", 3, TrailingBytes),
];

/// Red when: `self.pos - digits_start` in `Scanner::number` becomes `self.pos - start`.
#[test]
fn integers_have_at_most_4300_digits() {
    for sign in ["", "-"] {
        let longest = format!("{sign}{}", "7".repeat(4300));
        assert_eq!(canonical(&longest), Ok(longest.clone()));
        check(format!("[{longest}7]").as_bytes(), 1, TooManyDigits);
        // A fraction makes it a double, and those may be as long as they like.
        assert!(canonical(format!("{longest}7e-4000")).is_ok());
    }
}

/// Red when: `checked_sub(1)` in `Scanner::enter` becomes `checked_sub(0)` (and the last line overflows the stack).
#[test]
fn nesting_is_bounded() {
    for (open, close) in [("[", "]"), (r#"{"":"#, "}")] {
        let nested = |depth: usize| {
            let inner = if open == "[" { "" } else { "1" };
            format!("{}{inner}{}", open.repeat(depth), close.repeat(depth))
        };
        assert_eq!(canonical(nested(128)), Ok(nested(128)));
        assert!(is_canonical(nested(128).as_bytes(), 128));
        check(nested(129).as_bytes(), 128 * open.len(), TooDeep);
        check(open.repeat(1_000_000).as_bytes(), 128 * open.len(), TooDeep);
        // No caller gets more than the ceiling, whatever it asks for.
        assert!(canonicalize(nested(129).as_bytes(), u32::MAX, &mut Vec::new()).is_err());
        assert!(!is_canonical(nested(3).as_bytes(), 2));
        assert!(items(open.repeat(1_000_000).as_bytes()).any(|item| item.is_err()));
    }
    assert_eq!(canonicalize(b"1", 0, &mut Vec::new()), Ok(()));
    let too_deep = Err(CanonError {
        offset: 5,
        kind: TooDeep,
    });
    assert_eq!(
        canonical_members(br#"{"a":{}}"#, 1, &mut Vec::new()).map(|members| members.len()),
        too_deep
    );
    assert_eq!(
        canonical_members(br#"{"a":{}}"#, 2, &mut Vec::new()).map(|members| members.len()),
        Ok(1)
    );
    assert!(canonical_members(b"{}", 0, &mut Vec::new()).is_err());
}

/// Red when: `position` in `Text` compares with `>=`; or `verbatim` does not ask it.
#[test]
fn canonical_text_can_be_bounded() {
    let bounds = |bytes_max| Bounds {
        depth_max: 8,
        bytes_max,
    };
    for (input, bytes) in [
        ("\"\u{7f}\u{7f}\"", 14),
        (r#"{ "b" : 1, "a" : [ 2 ] }"#, 15),
        ("[1,2,3]", 7),
        ("1e15", 18),
    ] {
        let mut out = b"kept".to_vec();
        canonicalize(input.as_bytes(), bounds(bytes), &mut out).unwrap();
        assert_eq!(out.len(), 4 + bytes);
        out.truncate(4);
        let error = canonicalize(input.as_bytes(), bounds(bytes - 1), &mut out).unwrap_err();
        assert_eq!(error.kind, TooLong, "{input}");
        assert_eq!(out, b"kept");
    }
    let error = canonical_members(br#"{"a":"0123456789"}"#, bounds(11), &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind, TooLong);
}

/// Red when: `Items::advance` does not ask for the end; `refuse_byte_order_mark` never refuses.
#[test]
fn other_readers_refuse_too() {
    let error = |offset, kind| CanonError { offset, kind };
    let members = |input: &str| canonical_members(input.as_bytes(), 128, &mut Vec::new()).unwrap_err();
    assert_eq!(members(" [1]"), error(1, NotAnObject));
    assert_eq!(members("7"), error(0, NotAnObject));
    assert_eq!(members("\u{feff}{}"), error(0, ByteOrderMark));
    assert_eq!(members(" "), error(1, UnexpectedEnd));
    assert_eq!(members("{} x"), error(3, TrailingBytes));
    assert_eq!(members(r#"{"a":1"#), error(6, UnexpectedEnd));

    let last = |input: &str| items(input.as_bytes()).take(9).last().unwrap().unwrap_err();
    assert_eq!(last(" {}"), error(1, NotAnArray));
    assert_eq!(last(""), error(0, UnexpectedEnd));
    assert_eq!(last("\u{feff}[]"), error(0, ByteOrderMark));
    assert_eq!(last("[1,2,]"), error(5, UnexpectedByte(b']')));
    assert_eq!(last("[1] x"), error(4, TrailingBytes));
    assert_eq!(last("[1,2"), error(4, UnexpectedEnd));
    assert_eq!(last("[1e999]"), error(1, NumberOverflow));

    assert_eq!(decode_string(b"a"), Err(error(0, UnexpectedByte(b'a'))));
    assert_eq!(decode_string(b""), Err(error(0, UnexpectedEnd)));
    assert_eq!(decode_string(b"\"a\" "), Err(error(3, TrailingBytes)));
    assert_eq!(decode_string(br#""\udc00""#), Err(error(1, LoneSurrogate)));
}

/// Red when: `settle` never rewrites; `Strict::rewritten` answers `Ok`; `KeyOrder::Require` is not looked at.
#[test]
fn a_text_that_is_not_canonical_says_where() {
    let cases = [
        (" 1", 0),
        ("1\n", 1),
        ("[1, 2]", 3),
        (r#"{"a" :1}"#, 4),
        ("-0", 0),
        ("[1.10]", 1),
        ("1e5", 0),
        ("1E+16", 0),
        ("1e+016", 0),
        (r#""a\/b""#, 2),
        (r#""\u00E9""#, 1),
        (r#""\u0041""#, 1),
        (r#""\u000a""#, 1),
        ("\"é\"", 1),
        ("\"a\u{7f}\"", 2),
        (r#"{"b":1,"a":2}"#, 7),
        (r#"{"a":1,"a":2}"#, 7),
        (r#"{"\u00e9":1,"z":2}"#, 12),
        (r#"{"a":1,"\u00e9":{},"\u00e8":{}}"#, 19),
        (r#"{"\ud83d\ude00":1,"\uff61":2}"#, 18),
    ];
    for (text, offset) in cases {
        let expected = Err(CanonError {
            offset,
            kind: NotCanonical,
        });
        assert_eq!(check_canonical(text.as_bytes(), 128), expected, "{text}");
        assert!(canonical(text).is_ok_and(|canonical| canonical != text), "{text}");
    }
}

/// The check that keys ascend remembers one key a level, decoded if need be, and compares all of it.
///
/// Red when: `keep_last` does not `drain`; or moves `key_start` without `key_end`.
#[test]
fn long_escaped_keys_have_to_ascend() {
    let key = |at: usize| format!(r#"a long prefix {}\u00e9 {at:02}"#, "\\n".repeat(at / 10));
    let member = |at: usize| format!(r#""{}":{{"inner \u00e9":1,"inner \u00ea":2}}"#, key(at));
    let object = |order: &[usize]| {
        format!(
            "{{{}}}",
            order.iter().map(|at| member(*at)).collect::<Vec<_>>().join(",")
        )
    };
    // A line feed sorts before any letter, so of these keys the first ten come last.
    let mut order: Vec<usize> = (0..30).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(at / 10), at % 10));
    let sorted = object(&order);
    assert_eq!(check_canonical(sorted.as_bytes(), 128), Ok(()));
    assert_eq!(canonical(object(&(0..30).collect::<Vec<_>>())), Ok(sorted));
    for at in 0..29 {
        let mut swapped = order.clone();
        swapped.swap(at, at + 1);
        let offset = object(&swapped[..=at]).len();
        let expected = Err(CanonError {
            offset,
            kind: NotCanonical,
        });
        assert_eq!(
            check_canonical(object(&swapped).as_bytes(), 128),
            expected,
            "{at}"
        );
    }
}

/// A new kind has to find its way into these tables.
#[test]
fn messages_say_what_and_where() {
    for kind in [
        UnexpectedEnd,
        UnexpectedByte(7),
        ByteOrderMark,
        BadEscape,
        ControlCharacter,
        InvalidUtf8,
        LoneSurrogate,
        NumberOverflow,
        TooManyDigits,
        NotANumber,
        TooDeep,
        TooLong,
        TrailingBytes,
        NotAnObject,
        NotAnArray,
        NotCanonical,
    ] {
        // Exhaustive on purpose.
        match kind {
            UnexpectedEnd | UnexpectedByte(_) | ByteOrderMark | BadEscape | ControlCharacter
            | InvalidUtf8 => {}
            LoneSurrogate | NumberOverflow | TooManyDigits | NotANumber | TooDeep | TooLong
            | TrailingBytes => {}
            NotAnObject | NotAnArray | NotCanonical => {}
        }
        let message = CanonError { offset: 42, kind }.to_string();
        assert!(
            message.ends_with("(at byte 42)") && message.len() > 25,
            "{message}"
        );
    }
}

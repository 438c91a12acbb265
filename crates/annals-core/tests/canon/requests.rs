//! Taking requests apart: members, items, strings.

use annals_core::canon::{ValueKind, canonical_members, decode_string, items, write_string};

/// Red when: `keep_values_only` does not truncate.
#[test]
fn members_of_a_request() {
    let input = br#" { "kind" : "other" , "p\u0061yload":{"b":[1.50,"\u00e9"],"a":-0}, "n":-12,"x":[ ],"t":true,"z":null,"f":1e0 } "#;
    let mut out = b"before".to_vec();
    let members = canonical_members(input, 128, &mut out).unwrap();
    let found: Vec<_> = members
        .iter()
        .map(|member| {
            let canonical = std::str::from_utf8(&out[member.canonical.clone()]).unwrap();
            (
                &*member.key,
                std::str::from_utf8(member.raw).unwrap(),
                canonical,
                member.value_kind,
            )
        })
        .collect();
    assert_eq!(
        found,
        [
            ("kind", r#""other""#, r#""other""#, ValueKind::String),
            (
                "payload",
                r#"{"b":[1.50,"\u00e9"],"a":-0}"#,
                r#"{"a":0,"b":[1.5,"\u00e9"]}"#,
                ValueKind::Object
            ),
            ("n", "-12", "-12", ValueKind::Integer),
            ("x", "[ ]", "[]", ValueKind::Array),
            ("t", "true", "true", ValueKind::Bool),
            ("z", "null", "null", ValueKind::Null),
            ("f", "1e0", "1.0", ValueKind::Float),
        ]
    );
    // Nothing but the values is in the buffer.
    assert_eq!(out, br#"before"other"{"a":0,"b":[1.5,"\u00e9"]}-12[]truenull1.0"#);
}

/// Red when: `may_have_duplicates` answers `false`; `seen.insert` is asked from the front.
#[test]
fn of_duplicate_members_the_last_stays() {
    let last_of = |input: &str| {
        let mut out = Vec::new();
        let members = canonical_members(input.as_bytes(), 128, &mut out).unwrap();
        let shown = members.iter().map(|member| {
            format!(
                "{}={}",
                member.key,
                std::str::from_utf8(&out[member.canonical.clone()]).unwrap()
            )
        });
        shown.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(last_of(r#"{"a":1,"b":2,"\u0061":3}"#), "b=2 a=3");
    assert_eq!(last_of(r#"{"a":1,"a":{},"a":[]}"#), "a=[]");
    assert_eq!(last_of("{}"), "");
    // More members than are compared one by one.
    let many: Vec<String> = (0..100)
        .rev()
        .map(|at| format!("\"k{}\":{at}", at % 90))
        .collect();
    let seen = last_of(&format!("{{{}}}", many.join(",")));
    assert_eq!(seen.split(' ').count(), 90);
    assert!(
        seen.ends_with("k2=2 k1=1 k0=0") && !seen.contains("=99"),
        "{seen}"
    );
}

/// Red when: `sort_members` sorts with `sort_unstable_by`.
#[test]
fn of_many_duplicate_keys_the_last_stays() {
    let many: Vec<String> = (0..10_000)
        .map(|at| format!("\"k{}\":{at}", at * 7 % 10))
        .collect();
    let mut expected: Vec<String> = (9_990..10_000)
        .map(|at| format!("\"k{}\":{at}", at * 7 % 10))
        .collect();
    expected.sort();
    let canonical = super::canonical(format!("{{{}}}", many.join(",")));
    assert_eq!(canonical, Ok(format!("{{{}}}", expected.join(","))));
}

/// Red when: `next_members` does not truncate; the state stays as it is after an error.
#[test]
fn items_of_a_batch() {
    let input = br#" [ {"kind":"a"} ,{"kind" : "b","kind":"c"}, {} ] "#;
    let raw: Vec<_> = items(input)
        .map(|item| std::str::from_utf8(item.unwrap()).unwrap())
        .collect();
    assert_eq!(raw, [r#"{"kind":"a"}"#, r#"{"kind" : "b","kind":"c"}"#, "{}"]);
    assert_eq!(items(b"[]").count(), 0);
    assert_eq!(items(b" [ ] ").count(), 0);

    let mut walk = items(input);
    let mut out = Vec::new();
    let mut kinds = Vec::new();
    while let Some(members) = walk.next_members(128, &mut out) {
        for member in members.unwrap() {
            kinds.push(String::from_utf8(out[member.canonical].to_vec()).unwrap());
        }
    }
    assert_eq!(kinds, [r#""a""#, r#""c""#]);

    // An item that is refused leaves nothing behind.
    let kept = out.clone();
    assert!(
        items(br#"[{"a":"x","b":tru}]"#)
            .next_members(128, &mut out)
            .unwrap()
            .is_err()
    );
    assert_eq!(out, kept);

    // After an error there is nothing more.
    let mut walk = items(b"[{},7,{}]");
    assert!(walk.next_members(128, &mut out).unwrap().is_ok());
    assert_eq!(walk.next_members(128, &mut out).unwrap().unwrap_err().offset, 4);
    assert!(walk.next_members(128, &mut out).is_none());
    assert!(walk.next().is_none());
}

/// Red when: `Literal::decode` looks for `!self.escaped`, or does not look.
#[test]
fn strings_are_borrowed_where_they_can_be() {
    use std::borrow::Cow;
    assert!(matches!(
        decode_string("\"é😀\"".as_bytes()),
        Ok(Cow::Borrowed("é😀"))
    ));
    assert_eq!(
        decode_string(br#""\ud83d\ude00\u00e9\/\b""#).unwrap(),
        "😀é/\u{8}"
    );
    let mut out = b">".to_vec();
    write_string("a\"\u{7f}😀", &mut out);
    assert_eq!(out, br#">"a\"\u007f\ud83d\ude00""#);
}

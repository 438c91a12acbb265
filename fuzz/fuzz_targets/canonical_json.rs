//! Any bytes through canonical JSON: never a panic, and all its readers agree with one another.
#![no_main]

use annals_core::canon::{
    CanonicalMember, canonical_members, canonicalize, check_canonical, decode_string, is_canonical, items,
    write_string,
};
use libfuzzer_sys::fuzz_target;

const DEPTH_MAX: u32 = 128;

fuzz_target!(|input: &[u8]| {
    let canonical = canonical(input);
    assert_eq!(
        is_canonical(input, DEPTH_MAX),
        canonical.as_deref() == Some(input)
    );
    if let Some(text) = &canonical {
        assert!(text.iter().all(|byte| matches!(byte, b' '..=b'~')));
        assert_eq!(check_canonical(text, DEPTH_MAX), Ok(()));
        assert_eq!(self::canonical(text).as_ref(), Some(text));
    }
    members_make_up_the_object(input, canonical.as_deref());
    items_make_up_the_array(input, canonical.as_deref());
    strings_survive(input, canonical.as_deref());
});

fn canonical(input: &[u8]) -> Option<Vec<u8>> {
    let mut out = b"kept".to_vec();
    let result = canonicalize(input, DEPTH_MAX, &mut out);
    let text = out.split_off(4);
    assert_eq!(out, b"kept");
    match result {
        Ok(()) => Some(text),
        Err(error) => {
            assert!(error.offset <= input.len() && text.is_empty());
            None
        }
    }
}

fn members_make_up_the_object(input: &[u8], canonical: Option<&[u8]>) {
    let mut values = Vec::new();
    match (canonical_members(input, DEPTH_MAX, &mut values), canonical) {
        (Ok(members), canonical) => assert_eq!(Some(&*object(members, &values)), canonical),
        (Err(_), canonical) => {
            assert!(values.is_empty());
            assert!(canonical.is_none_or(|text| text.first() != Some(&b'{')));
        }
    }
}

fn object(mut members: Vec<CanonicalMember<'_>>, values: &[u8]) -> Vec<u8> {
    members.sort_by(|one, other| one.key.cmp(&other.key));
    let mut text = vec![b'{'];
    for member in &members {
        if text.len() > 1 {
            text.push(b',');
        }
        write_string(&member.key, &mut text);
        text.push(b':');
        text.extend_from_slice(&values[member.canonical.clone()]);
        assert_eq!(
            self::canonical(member.raw).as_deref(),
            Some(&values[member.canonical.clone()])
        );
    }
    text.push(b'}');
    text
}

fn items_make_up_the_array(input: &[u8], canonical: Option<&[u8]>) {
    let mut text = vec![b'['];
    for item in items(input) {
        let Ok(item) = item else {
            return assert!(canonical.is_none_or(|text| text.first() != Some(&b'[')));
        };
        if text.len() > 1 {
            text.push(b',');
        }
        canonicalize(item, DEPTH_MAX, &mut text).expect("an item is a valid document");
    }
    text.push(b']');
    // An item may nest as deep as a document, so an array of items can be one level deeper than that.
    assert!(canonical.is_none_or(|canonical| canonical == text));

    let (mut walk, mut out) = (items(input), Vec::new());
    while let Some(Ok(members)) = walk.next_members(DEPTH_MAX, &mut out) {
        assert!(
            members
                .iter()
                .all(|member| is_canonical(&out[member.canonical.clone()], DEPTH_MAX))
        );
    }
}

fn strings_survive(input: &[u8], canonical: Option<&[u8]>) {
    if let Ok(text) = std::str::from_utf8(input) {
        let mut literal = Vec::new();
        write_string(text, &mut literal);
        assert_eq!(decode_string(&literal).as_deref(), Ok(text));
        assert!(is_canonical(&literal, 0));
    }
    let is_string = canonical.is_some_and(|text| text.first() == Some(&b'"')) && input.first() == Some(&b'"');
    if is_string && input.last() == Some(&b'"') {
        assert!(decode_string(input).is_ok());
    }
}

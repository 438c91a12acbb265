//! Every member at its limit, one beyond it, of the wrong type, with what does not belong in it.

use annals_core::draft::{DraftError, DraftParser, FieldError, FieldProblem};
use annals_core::schema::{MEMBERS, Member, Origin};

/// What is said of an event that is fine but for `members`.
fn refusal(members: &str) -> Option<String> {
    let rest = ["\"kind\"", "\"source\""]
        .into_iter()
        .filter(|name| !members.contains(*name))
        .map(|name| format!(",{name}:\"other\""))
        .collect::<String>();
    let event = format!("{{{members}{rest}}}");
    match DraftParser::default().parse(event.as_bytes()) {
        Ok(_) => None,
        Err(error) => Some(error.to_string()),
    }
}

fn check(members: &str, expected: Option<&str>) {
    let found = refusal(members);
    let shown: String = members.chars().take(80).collect();
    assert_eq!(found.as_deref(), expected, "{shown}");
}

/// Where strings of 1 to so many bytes stand: before and after the string.
const TEXTS: &[(&str, &str, &str, usize)] = &[
    ("source", "\"source\":", "", 1024),
    ("subject", "\"subject\":", "", 256),
    ("tenant", "\"tenant\":", "", 256),
    ("session", "\"session\":", "", 256),
    ("grant", "\"grant\":", "", 256),
    ("run", "\"run\":", "", 256),
    ("attempt_id", "\"attempt_id\":", "", 256),
    ("trace_id", "\"trace_id\":", "", 256),
    ("actor.type", "\"actor\":{\"type\":", "}", 256),
    ("actor.id", "\"actor\":{\"id\":", "}", 256),
    ("actor.name", "\"actor\":{\"name\":", "}", 256),
    ("actor.on_behalf_of", "\"actor\":{\"on_behalf_of\":", "}", 256),
    ("resource.type", "\"resource\":{\"type\":", "}", 1024),
    ("resource.id", "\"resource\":{\"id\":", "}", 1024),
    ("resource.name", "\"resource\":{\"name\":", "}", 1024),
    ("request.id", "\"request\":{\"id\":", "}", 1024),
    ("request.user_agent", "\"request\":{\"user_agent\":", "}", 1024),
];

/// Red when: for each member, when its limit in `MEMBERS` moves by one; `at_most` compares the escaped length; `check_text`
/// looks at no controls.
#[test]
fn texts() {
    for &(field, before, after, bytes_max) in TEXTS {
        let of = |text: &str| format!("{before}\"{text}\"{after}");
        let is = |problem: String| Some(format!("`{field}` {problem}"));
        for fine in [
            "x".to_owned(),
            "x".repeat(bytes_max - 1),
            "x".repeat(bytes_max),
            // Bytes of UTF-8 count, however they are written.
            "é".repeat(bytes_max / 2),
            "\\u00e9".repeat(bytes_max / 2),
            "\\\"\\\\".repeat(bytes_max / 2),
            "\\ud83d\\ude00".repeat(bytes_max / 4),
            "\\u2028\u{a0}".to_owned(),
        ] {
            check(&of(&fine), None);
        }
        for long in ["x".repeat(bytes_max + 1), "\\u0078".repeat(bytes_max - 1) + "é"] {
            let problem = format!("has {} bytes, the limit is {bytes_max}", bytes_max + 1);
            check(&of(&long), is(problem).as_deref());
        }
        check(&of(""), is("must not be empty".into()).as_deref());
        for control in [
            "\\u0000", "a\\nb", "\\u001b", "\\u007f", "\u{7f}", "\\u0085", "\u{9f}",
        ] {
            let problem = is("must not contain control characters".into());
            check(&of(control), problem.as_deref());
        }
        for (wrong, found) in [
            ("7", "an integer"),
            ("[]", "an array"),
            ("{}", "an object"),
            ("true", "a boolean"),
        ] {
            let problem = is(format!("must be a string, not {found}"));
            check(&format!("{before}{wrong}{after}"), problem.as_deref());
        }
        let null = match field {
            "source" => "must be a string, not null",
            _ => "must not be null; leave it out when there is nothing to say",
        };
        check(&format!("{before}null{after}"), is(null.into()).as_deref());
    }
}

const NULL: &str = "must not be null; leave it out when there is nothing to say";
const UUID: &str = "must be a UUID with lower-case digits, like 0198c0de-0000-7000-8000-000000000000";
const ADDRESS: &str = "must be an IPv4 or IPv6 address, without port, zone or prefix length";
const STAMPED: &str = "is stamped by the log; leave it out";
const KEY: &str = "must have 1 to 255 characters, all of them visible ASCII";
const VERSION_RANGE: &str = "must be an integer from 1 to 2147483647";
const ACTOR: &str = "must have at least one of type, id, name, on_behalf_of";

/// Members and what is said of them; nothing: fine.
const OTHERS: &[(&str, &str, &str)] = &[
    ("schema_version", "1", ""),
    ("schema_version", "2147483647", ""),
    ("schema_version", "0", VERSION_RANGE),
    ("schema_version", "-1", VERSION_RANGE),
    ("schema_version", "2147483648", VERSION_RANGE),
    ("schema_version", "18446744073709551617", VERSION_RANGE),
    (
        "schema_version",
        "1.0",
        "must be an integer, not a number with a fraction or exponent",
    ),
    ("schema_version", "\"1\"", "must be an integer, not a string"),
    ("schema_version", "null", NULL),
    ("v", "2", ""),
    ("v", "1", "must be 2"),
    ("v", "3", "must be 2"),
    (
        "v",
        "2.0",
        "must be an integer, not a number with a fraction or exponent",
    ),
    ("v", "null", NULL),
    ("id", "\"0198c0de-0000-7000-8000-0123456789ab\"", ""),
    ("id", "\"ffffffff-ffff-ffff-ffff-ffffffffffff\"", ""),
    ("id", "\"0198C0DE-0000-7000-8000-0123456789ab\"", UUID),
    ("id", "\"0198c0de-0000-7000-8000-0123456789a\"", UUID),
    ("id", "\"0198c0de-0000-7000-8000-0123456789abc\"", UUID),
    ("id", "\"0198c0de-0000-7000-80000123-456789abcd\"", UUID),
    ("id", "\"{0198c0de-0000-7000-8000-0123456789}\"", UUID),
    ("id", "\"0198c0de00007000800000123456789abcde\"", UUID),
    ("id", "\"\"", UUID),
    ("id", "null", NULL),
    ("id", "1", "must be a string, not an integer"),
    ("outcome", "\"attempt\"", ""),
    ("outcome", "\"success\"", ""),
    ("outcome", "\"failure\"", ""),
    ("outcome", "\"denied\"", ""),
    ("outcome", "\"unknown\"", ""),
    (
        "outcome",
        "\"Success\"",
        "must be one of attempt, success, failure, denied, unknown",
    ),
    (
        "outcome",
        "\"\"",
        "must be one of attempt, success, failure, denied, unknown",
    ),
    ("outcome", "true", "must be a string, not a boolean"),
    ("outcome", "null", NULL),
    ("severity", "\"debug\"", ""),
    ("severity", "\"info\"", ""),
    ("severity", "\"notice\"", ""),
    ("severity", "\"warning\"", ""),
    ("severity", "\"error\"", ""),
    ("severity", "\"critical\"", ""),
    (
        "severity",
        "\"fatal\"",
        "must be one of debug, info, notice, warning, error, critical",
    ),
    ("severity", "3", "must be a string, not an integer"),
    ("actor", "{}", ACTOR),
    ("actor", "[]", "must be an object, not an array"),
    ("actor", "\"me\"", "must be an object, not a string"),
    ("actor", "null", NULL),
    ("resource", "{}", "must have at least one of type, id, name"),
    ("resource", "null", NULL),
    ("request", "{}", "must have at least one of id, ip, user_agent"),
    ("request", "7", "must be an object, not an integer"),
    ("request", "null", NULL),
    ("changes", "[]", ""),
    ("changes", "{}", "must be an array, not an object"),
    ("changes", "null", NULL),
    ("changes", "[{\"path\":\"\"}]", ""),
    (
        "changes",
        "[{\"path\":\"a\\u0001b\",\"old\":null,\"new\":[{\"x\":\"\\u0000\"}]}]",
        "",
    ),
    ("payload", "{}", ""),
    ("payload", "null", NULL),
    ("payload", "[]", "must be an object, not an array"),
    ("kind", "null", "must be a string, not null"),
    ("kind", "7", "must be a string, not an integer"),
    ("timestamp", "null", ""),
    ("timestamp", "\"\"", ""),
    ("timestamp", "7", "must be a string or null, not an integer"),
    ("event_id", "1", STAMPED),
    ("nonce", "\"00000000000000000000000000000000\"", STAMPED),
    ("prev_hash", "null", STAMPED),
    ("received_at", "\"\"", STAMPED),
    ("hash", "{}", STAMPED),
    (
        "private",
        "{\"name\":\"x\"}",
        "is not taken: this log keeps no erasable values; leave it out",
    ),
    ("idempotency_key", "\"!~\"", ""),
    ("idempotency_key", "\"\"", KEY),
    ("idempotency_key", "\"a b\"", KEY),
    ("idempotency_key", "\"é\"", KEY),
    ("idempotency_key", "\"\\u007f\"", KEY),
    ("idempotency_key", "null", "must be a string, not null"),
    ("idempotency_key", "7", "must be a string, not an integer"),
    (
        "sesion",
        "1",
        "is not a member of an event; did you mean `session`?",
    ),
    (
        "user_id",
        "1",
        "is not a member of an event; put it into `payload`",
    ),
    ("", "1", "is not a member of an event; put it into `payload`"),
];

/// Red when: a UUID may have any length or upper-case digits; a key may be empty or have spaces; null is refused everywhere.
#[test]
fn other_members() {
    for (field, value, problem) in OTHERS {
        let expected = (!problem.is_empty()).then(|| format!("`{field}` {problem}"));
        check(&format!("\"{field}\":{value}"), expected.as_deref());
    }
}

/// No member is forgotten by the tests above.
#[test]
fn every_member_is_tested() {
    for Member { name, .. } in &MEMBERS {
        let is_text = TEXTS.iter().any(|(field, ..)| field == name);
        assert!(
            is_text || OTHERS.iter().any(|(field, ..)| field == name),
            "{name}"
        );
    }
}

/// Red when: `check_items` or `check_parts` names another place; `TooManyItems` comes one item late.
#[test]
fn places_inside_members_are_named() {
    check(
        "\"actor\":{\"foo\":1}",
        Some("`actor.foo` is not known; use type, id, name, on_behalf_of"),
    );
    check(
        "\"actor\":{\"\\u00e9\\n\":1,\"id\":null}",
        Some(&format!(
            "`actor.id` {NULL}; `actor.é\n` is not known; use type, id, name, on_behalf_of"
        )),
    );
    for (ip, fine) in [
        ("10.0.0.1", true),
        ("2001:db8::1", true),
        ("::ffff:10.0.0.1", true),
        ("10.0.0.1:80", false),
        ("[::1]", false),
        ("fe80::1%eth0", false),
        ("10.0.0.0/8", false),
        ("010.0.0.1", false),
        ("localhost", false),
        ("", false),
    ] {
        let problem = format!("`request.ip` {ADDRESS}");
        check(
            &format!("\"request\":{{\"ip\":\"{ip}\"}}"),
            (!fine).then_some(problem.as_str()),
        );
    }
    let change = |path: &str| format!("\"changes\":[{{\"path\":\"p\"}},{{\"path\":\"{path}\"}}]");
    check(&change(&"x".repeat(1024)), None);
    check(
        &change(&"x".repeat(1025)),
        Some("`changes[1].path` has 1025 bytes, the limit is 1024"),
    );
    check(
        &change("a\\u0000"),
        Some("`changes[1].path` must not contain U+0000"),
    );
    check(&change("a\\\\u0000"), None);
    check(
        "\"changes\":[{\"old\":1,\"after\":2},3,{\"path\":null}]",
        Some(
            "`changes[0].after` is not known; use path, old, new; `changes[0].path` is required; \
             `changes[1]` must be an object, not an integer; `changes[2].path` must be a string, not null",
        ),
    );
    let items = |count: usize| format!("\"changes\":[{}]", vec!["{\"path\":\"\"}"; count].join(","));
    check(&items(1000), None);
    check(
        &items(1001),
        Some("`changes` has more than 1000 items, which is the limit"),
    );
}

/// Longest key and claim. Red when: either limit moves by one.
#[test]
fn keys_and_claims() {
    for (name, bytes_max, problem) in [
        ("idempotency_key", 255, KEY.to_owned()),
        ("timestamp", 256, "has 257 bytes, the limit is 256".to_owned()),
    ] {
        check(&format!("\"{name}\":\"{}\"", "x".repeat(bytes_max)), None);
        check(
            &format!("\"{name}\":\"{}\"", "x".repeat(bytes_max + 1)),
            Some(&format!("`{name}` {problem}")),
        );
    }
}

/// Red when: `Problems::is_full` answers false.
#[test]
fn problems_are_bounded() {
    let of = |event: String| match DraftParser::default().parse(event.as_bytes()) {
        Err(DraftError::Fields(errors)) => errors.len(),
        other => panic!("{other:?}"),
    };
    let names: Vec<String> = (0..10_000).map(|at| format!("\"x{at}\":1")).collect();
    assert_eq!(of(format!("{{{}}}", names.join(","))), 32);
    let parts: Vec<String> = (0..10_000).map(|at| format!("\"x{at}\":1")).collect();
    assert_eq!(of(format!("{{\"actor\":{{{}}}}}", parts.join(","))), 32);
    assert_eq!(of(format!("{{\"changes\":[{}]}}", vec!["1"; 1000].join(","))), 32);
}

/// What version an event has. Red when: a row of `MEMBERS` changes from the seed's to an extended one, or back.
#[test]
fn members_beyond_the_seeds_make_an_event_extended() {
    let seed: Vec<_> = MEMBERS
        .iter()
        .filter(|member| !member.extended)
        .map(|member| member.name)
        .collect();
    assert_eq!(
        seed,
        ["event_id", "kind", "payload", "prev_hash", "source", "timestamp"]
    );
    let stamped: Vec<_> = MEMBERS
        .iter()
        .filter(|member| member.origin == Origin::Log)
        .map(|member| member.name)
        .collect();
    assert_eq!(stamped, ["event_id", "nonce", "prev_hash", "received_at"]);
}

/// Of duplicates the last counts, also for what is refused.
#[test]
fn a_superseded_member_is_no_problem() {
    let mut parser = DraftParser::default();
    let draft = parser.parse(br#"{"kind":"other","source":"s","tenant":7,"tenant":"t","nonce":1,"nonce":2}"#);
    let stamped = FieldError {
        field: "nonce".to_owned(),
        problem: FieldProblem::Stamped,
    };
    assert_eq!(draft, Err(DraftError::Fields(vec![stamped])));
}

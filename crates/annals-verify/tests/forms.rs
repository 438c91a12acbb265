//! Bodies that look like something else: nested look-alikes, members before and behind, duplicates, wrong types.

use annals_core::hash::EventHash;
use annals_verify::{AuditState, ChainState, chain, strict};

use crate::events::{self, Event};

const WRONG: &str = "1111111111111111111111111111111111111111111111111111111111111111";

fn single(body: String) -> Vec<Event> {
    let mut events = Vec::new();
    events::push_body(&mut events, body.into_bytes());
    events
}

fn fast(events: &[Event]) -> Result<(), String> {
    let mut state = ChainState::start();
    chain::check_run(&mut state, &events::run_of(events)).map_err(|broken| broken.to_string())
}

fn full(events: &[Event]) -> Result<(), String> {
    let mut state = AuditState::start();
    strict::check_run(&mut state, &events::run_of(events)).map_err(|broken| broken.to_string())
}

/// Red when: `trailing_link` does not insist that `source` and `timestamp` follow and end the body.
#[test]
fn a_link_inside_the_payload_is_not_the_link() {
    let zeros = EventHash::GENESIS;
    let inner = format!("\"prev_hash\":\"{zeros}\",\"source\":\"s\",\"timestamp\":\"t\"");
    for (fine, body) in [
        (
            true,
            format!(
                "{{\"event_id\":1,\"kind\":\"other\",\"payload\":{{\"prev_hash\":\"{WRONG}\"}},{inner}}}"
            ),
        ),
        (
            false,
            format!("{{\"event_id\":1,\"kind\":\"other\",\"payload\":{{\"a\":1,{inner}}}}}"),
        ),
        (
            false,
            format!(
                "{{\"event_id\":1,\"kind\":\"other\",\"payload\":{{\"a\":1,{inner}}},\"prev_hash\":\"{WRONG}\",\"source\":\"s\",\"timestamp\":\"t\"}}"
            ),
        ),
        // The look-alike is the content of a string.
        (
            false,
            format!(
                "{{\"event_id\":1,\"kind\":\"other\",\"payload\":{{}},\"prev_hash\":\"{WRONG}\",\"source\":\"{}\",\"timestamp\":\"t\"}}",
                format!(",{inner}").replace('"', "\\\"")
            ),
        ),
        (
            true,
            format!(
                "{{\"event_id\":1,\"kind\":\"other\",\"payload\":{{}},\"prev_hash\":\"{zeros}\",\"source\":\"a\\\"b\",\"timestamp\":\"\\\"\"}}"
            ),
        ),
    ] {
        let expected = if fine {
            Ok(())
        } else {
            Err(String::from("prev_hash mismatch at event #1"))
        };
        assert_eq!(fast(&single(body.clone())), expected, "{body}");
        assert_eq!(full(&single(body.clone())), expected, "{body}");
    }
}

/// Red when: `states_id` or `states_link` has no fallback to the walk over all members.
#[test]
fn extended_events_have_members_before_and_behind() {
    let zeros = EventHash::GENESIS;
    let body = extended();
    assert_eq!(fast(&single(body.clone())), Ok(()));
    assert_eq!(full(&single(body.clone())), Ok(()));
    let other = body.replace("\"event_id\":1", "\"event_id\":3");
    assert_eq!(fast(&single(other)), Err("event_id should be 1, got 3".into()));
    let other = body.replace(&zeros.to_string(), WRONG);
    assert_eq!(fast(&single(other)), Err("prev_hash mismatch at event #1".into()));
}

/// A first event of version 2, received at time 0.
fn extended() -> String {
    let zeros = EventHash::GENESIS;
    format!(
        "{{\"actor\":{{\"event_id\":9,\"id\":\"a\"}},\"changes\":[{{\"path\":\"p\"}}],\"event_id\":1,\
         \"id\":\"0198c0de-0000-7000-8000-00000000000a\",\"kind\":\"other\",\
         \"nonce\":\"000102030405060708090a0b0c0d0e0f\",\"payload\":{{}},\"prev_hash\":\"{zeros}\",\
         \"private\":{{\"x\":\"c\"}},\"received_at\":\"1970-01-01T00:00:00.000000+00:00\",\
         \"schema_version\":1,\"source\":\"s\",\"timestamp\":\"t\",\"v\":2}}"
    )
}

/// Each of these is canonical and its hash fits its bytes, so only the form gives it away.
///
/// Red when: `check_presence` or `check_value` is left out of `form::check`; a UUID may have any length; a stamp may be any
/// time; `v` may be anything; a stated receive time may be later than the log's.
#[test]
fn an_event_of_version_2_has_what_its_version_asks_for() {
    assert_eq!(full(&single(extended())), Ok(()));
    for (from, to, says) in [
        (",\"v\":2", "", "`v` is missing"),
        (",\"v\":2", ",\"v\":1", "`v` is not 2"),
        (",\"v\":2", ",\"v\":\"2\"", "`v` is not 2"),
        (
            "\"id\":\"0198c0de-0000-7000-8000-00000000000a\",",
            "",
            "`id` is missing",
        ),
        ("00000000000a", "00000000000A", "`id` has the wrong form"),
        ("8000-0", "8000-", "`id` has the wrong form"),
        (
            "\"nonce\":\"000102030405060708090a0b0c0d0e0f\",",
            "",
            "`nonce` is missing",
        ),
        ("0c0d0e0f", "0c0d0e0", "`nonce` has the wrong form"),
        (
            "\"received_at\":\"1970-01-01T00:00:00.000000+00:00\",",
            "",
            "`received_at` is missing",
        ),
        (
            "00:00:00.000000",
            "00:00:00.0000000",
            "`received_at` has the wrong form",
        ),
        (
            "00:00:00.000000",
            "00:00:00.000001",
            "`received_at` is not the log's receive time",
        ),
        (
            "{\"event_id\":9,\"id\":\"a\"}",
            "\"a\"",
            "`actor` has the wrong type",
        ),
        ("\"id\":\"a\"", "\"id\":7", "`actor` has the wrong type"),
        ("[{\"path\":\"p\"}]", "{}", "`changes` has the wrong type"),
        ("{\"path\":\"p\"}", "{}", "`changes` has the wrong type"),
        (
            "\"schema_version\":1",
            "\"schema_version\":1.0",
            "`schema_version` has the wrong type",
        ),
        (
            "\"timestamp\":\"t\"",
            "\"timestamp\":7",
            "`timestamp` has the wrong type",
        ),
        (",\"timestamp\":\"t\"", "", "`timestamp` is missing"),
        (
            "\"source\":\"s\",",
            "\"source\":\"s\",\"tenant\":[],",
            "`tenant` has the wrong type",
        ),
    ] {
        let body = extended().replacen(from, to, 1);
        assert_ne!(body, extended(), "{from}");
        let found = full(&single(body.clone())).unwrap_err();
        assert_eq!(found, format!("{says} at event #1"), "{body}");
        assert_eq!(fast(&single(body)), Ok(()));
    }
}

/// A version is asked for only by members that are known, and what is not known may be anything.
///
/// Red when: `check_presence` asks no event for what version 2 has.
#[test]
fn members_that_are_not_known_are_left_alone() {
    let zeros = EventHash::GENESIS;
    let seed = format!(
        "{{\"aa\":[1],\"event_id\":1,\"kind\":\"other\",\"payload\":{{}},\"prev_hash\":\"{zeros}\",\"source\":\"s\",\
         \"timestamp\":\"t\",\"w\":null,\"\\u00e9\":true}}"
    );
    assert_eq!(full(&single(seed.clone())), Ok(()));
    let tenanted = seed.replace("\"timestamp\"", "\"tenant\":\"t\",\"timestamp\"");
    assert_eq!(full(&single(tenanted)), Err("`id` is missing at event #1".into()));
}

/// The hash of each of these fits its bytes, so only the form gives it away.
///
/// Red when: `form::check` does not call `check_canonical`; when it does not look at the types; when it lets `hash` pass.
#[test]
fn the_full_check_refuses_what_the_chain_alone_can_not_see() {
    let zeros = EventHash::GENESIS;
    let good = format!(
        "{{\"event_id\":1,\"kind\":\"other\",\"payload\":{{}},\"prev_hash\":\"{zeros}\",\"source\":\"s\",\"timestamp\":\"t\"}}"
    );
    assert_eq!(full(&single(good.clone())), Ok(()));
    for (from, to, says) in [
        (
            "\"kind\":\"other\"",
            "\"event_id\":7,\"kind\":\"other\"",
            "not canonical",
        ),
        (
            "\"kind\":\"other\"",
            "\"kind\":\"other\",\"kind\":\"flag_swapped\"",
            "not canonical",
        ),
        ("\"payload\":{}", "\"payload\":{\"b\":1,\"a\":2}", "not canonical"),
        ("\"payload\":{}", "\"payload\":{\"a\":1,\"a\":2}", "not canonical"),
        ("\"payload\":{}", "\"payload\": {}", "not canonical"),
        ("\"payload\":{}", "\"payload\":{\"a\":1.50}", "not canonical"),
        ("\"payload\":{}", "\"payload\":[]", "`payload` has the wrong type"),
        ("\"kind\":\"other\"", "\"kind\":7", "`kind` has the wrong type"),
        (
            "\"source\":\"s\"",
            "\"source\":null",
            "`source` has the wrong type",
        ),
        ("\"source\":\"s\",", "", "`source` is missing"),
        (",\"timestamp\":\"t\"", "", "`timestamp` is missing"),
        (
            "\"kind\":\"other\"",
            "\"hash\":\"x\",\"kind\":\"other\"",
            "contains its own hash",
        ),
    ] {
        let body = good.replacen(from, to, 1);
        assert_ne!(body, good);
        let found = full(&single(body.clone())).unwrap_err();
        assert!(
            found.contains(says) && found.ends_with(" at event #1"),
            "{body}: {found}"
        );
    }
}

/// Red when: the comparison of receive times in `AuditState::check_event` is left out.
#[test]
fn receive_times_never_go_back() {
    let mut events = events::chain(5);
    assert_eq!(full(&events), Ok(()));
    events[3].received_at = 0;
    assert_eq!(full(&events), Err("receive time goes back at event #4".into()));
    assert_eq!(fast(&events), Ok(()));
}

/// Red when: `decimal` takes leading zeros, or a run's own position is not compared.
#[test]
fn ids_are_exact() {
    let zeros = EventHash::GENESIS;
    let rest = format!(
        "\"kind\":\"other\",\"payload\":{{}},\"prev_hash\":\"{zeros}\",\"source\":\"s\",\"timestamp\":\"t\"}}"
    );
    for (id, shown) in [
        ("01", "01"),
        ("1.0", "1.0"),
        ("\"1\"", "\\\"1\\\""),
        ("18446744073709551617", "18446744073709551617"),
        ("-1", "-1"),
        (
            "1111111111111111111111111111111111111111111111",
            "1111111111111111111111111111111111111111…",
        ),
    ] {
        let events = single(format!("{{\"event_id\":{id},{rest}"));
        assert_eq!(fast(&events), Err(format!("event_id should be 1, got {shown}")));
    }
    assert_eq!(
        fast(&single(format!("{{{rest}"))),
        Err("event_id should be 1, got null".into())
    );

    let mut state = ChainState {
        next: annals_core::chain::EventId::FIRST.plus(1),
        prev: zeros,
    };
    let misplaced = single(String::from_utf8(events::body_of(2, &zeros, "{}", "s")).unwrap());
    let found = chain::check_run(&mut state, &events::run_of(&misplaced)).unwrap_err();
    assert_eq!(found.reason, "event_id should be 2, got 1");
}

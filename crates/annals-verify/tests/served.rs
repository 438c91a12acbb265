//! Served and exported events: the reference's own chain, other spellings of the same events, tampered lines.

use annals_core::chain::{EventId, TreeSize};
use annals_core::hash::EventHash;
use annals_verify::{Checkpoint, CheckpointError, Freshness, Level, ServedAudit, Verdict};
use serde_json::value::RawValue;

use crate::events::{self, Event};

fn served(event: &Event) -> String {
    let body = std::str::from_utf8(&event.body).unwrap();
    format!(
        "{},\"hash\":\"{}\"}}",
        body.strip_suffix('}').unwrap(),
        event.hash
    )
}

fn check<'a>(lines: impl IntoIterator<Item = &'a str>, held: Option<Checkpoint>) -> Verdict {
    let mut audit = ServedAudit::new(Level::Full, held);
    for line in lines {
        if audit.check_line(line.as_bytes()).is_err() {
            break;
        }
    }
    audit.finish()
}

/// The reference implementation's chain, with its member order and its spelling of numbers and escapes.
///
/// Red when: `check_line` has no `check_reformed`.
#[test]
fn the_reference_chain_is_intact_in_any_spelling() {
    #[derive(serde::Deserialize)]
    struct Vectors<'a> {
        #[serde(borrow)]
        chain: Vec<Link<'a>>,
    }
    #[derive(serde::Deserialize)]
    struct Link<'a> {
        #[serde(borrow)]
        event: &'a RawValue,
    }
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/vectors/hash-chain.json"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let vectors: Vectors<'_> = serde_json::from_str(&text).unwrap();
    let lines: Vec<&str> = vectors.chain.iter().map(|link| link.event.get()).collect();
    assert!(lines.len() > 10 && lines[0].contains('\n'));
    let Verdict::Intact {
        size,
        freshness: Freshness::NotProven,
        ..
    } = check(lines.iter().copied(), None)
    else {
        panic!("{:?}", check(lines.iter().copied(), None));
    };
    assert_eq!(size, TreeSize(lines.len() as u64));
}

/// Red when: `split_served` is used without trying the other spelling, or `take_hash` cuts a byte too many.
#[test]
fn the_hash_may_stand_anywhere() {
    let event = &events::chain(1)[0];
    let body = std::str::from_utf8(&event.body).unwrap();
    let hash = format!("\"hash\":\"{}\"", event.hash);
    let inner = &body[1..body.len() - 1];
    for line in [
        served(event),
        format!("  {}  \r", served(event)),
        format!("{{{hash},{inner}}}"),
        format!("{{{inner} , {hash} }}"),
        body.replacen("\"kind\"", &format!("{hash},\"k\\u0069nd\""), 1),
        // Of duplicates the last counts.
        format!("{{\"kind\":\"flag_swapped\",{hash},{inner}}}"),
    ] {
        assert!(
            matches!(
                check([line.as_str()], None),
                Verdict::Intact {
                    size: TreeSize(1),
                    ..
                }
            ),
            "{line}"
        );
    }
}

/// Red when: a line that is no event is skipped, or `held` is compared with another event's hash.
#[test]
fn tampered_lines_are_found_at_the_right_event() {
    let events = events::chain(6);
    let lines: Vec<String> = events.iter().map(served).collect();
    let changed = |at: usize, line: &str| {
        let mut lines = lines.clone();
        lines[at] = line.to_owned();
        lines
    };
    let held = Checkpoint {
        event_id: EventId::new(6).unwrap(),
        hash: events[5].hash,
    };
    let without = |from: usize, to: usize| [&lines[..from], &lines[to..]].concat();
    for (lines, event, says) in [
        (
            changed(2, &lines[2].replace("other", "offer")),
            3,
            "hash mismatch at event #3",
        ),
        (changed(2, &lines[1]), 3, "event_id should be 3, got 2"),
        (changed(2, "{}"), 3, "hash missing or malformed at event #3"),
        (changed(2, &lines[2][..40]), 3, "not a JSON object"),
        (changed(2, "[1]"), 3, "hash missing or malformed at event #3"),
        (without(2, 3), 3, "event_id should be 3, got 4"),
        (without(0, 1), 1, "event_id should be 1, got 2"),
        (without(4, 6), 5, "the tail is missing"),
        (vec![], 1, "the tail is missing"),
    ] {
        match check(lines.iter().map(String::as_str), Some(held)) {
            Verdict::Broken { checked, at } => {
                assert_eq!((checked, at.event.get()), (event - 1, event), "{at}");
                assert!(at.reason.contains(says), "{at}");
            }
            other => panic!("{says}: {other:?}"),
        }
    }
    let freshness = Freshness::ProvenUpTo(held);
    let expected = Verdict::Intact {
        size: TreeSize(6),
        head: events[5].hash,
        freshness,
    };
    assert_eq!(check(lines.iter().map(String::as_str), Some(held)), expected);
}

#[test]
fn an_unfinished_export_is_incomplete_unless_it_is_broken() {
    let mut audit = ServedAudit::new(Level::Full, None);
    audit.check_line(served(&events::chain(1)[0]).as_bytes()).unwrap();
    let reason = String::from("the connection was lost");
    assert_eq!(
        audit.finish_incomplete(reason.clone()),
        Verdict::Incomplete {
            checked: 1,
            reason: reason.clone()
        }
    );
    let mut audit = ServedAudit::new(Level::Chain, None);
    audit.check_line(b"{}").unwrap_err();
    assert!(matches!(
        audit.finish_incomplete(reason),
        Verdict::Broken { checked: 0, .. }
    ));
}

#[test]
fn a_checkpoint_reads_what_it_prints_and_says_what_it_needs() {
    let checkpoint = Checkpoint {
        event_id: EventId::new(7).unwrap(),
        hash: EventHash::of(b"x"),
    };
    assert_eq!(
        Checkpoint::parse(checkpoint.to_string().as_bytes()),
        Ok(checkpoint)
    );
    let more = format!(
        " {{\"hash\": \"{}\", \"size\": [7], \"event_id\": 7}}\n",
        checkpoint.hash
    );
    assert_eq!(Checkpoint::parse(more.as_bytes()), Ok(checkpoint));
    for (text, error) in [
        (
            format!("{{\"event_id\":0,\"hash\":\"{}\"}}", checkpoint.hash),
            CheckpointError::EventId,
        ),
        (
            format!(
                "{{\"event_id\":7,\"hash\":\"{}\"}}",
                checkpoint.hash.to_string().to_uppercase()
            ),
            CheckpointError::Hash,
        ),
        (String::from("{\"event_id\":7}"), CheckpointError::Hash),
    ] {
        assert_eq!(Checkpoint::parse(text.as_bytes()), Err(error));
    }
    assert!(matches!(
        Checkpoint::parse(b"7 b7d1"),
        Err(CheckpointError::Json(_))
    ));
}

//! Queries against a naive answer: whatever is asked, the windows and pieces must not show.

use annals_testkit::events::Random;
use serde_json::Value;

use crate::support::{Server, ids_of};

const KINDS: [&str; 3] = ["other", "flag_swapped", "request_denied"];

/// A few thousand events of very different sizes; a source is rare, another is everywhere.
fn populated() -> Server {
    let server = Server::start();
    let mut random = Random::new(7, 1);
    for _ in 0..30 {
        let lines: Vec<_> = (0..100).map(|_| line(&mut random)).collect();
        assert_eq!(server.post_lines(lines.join("\n")).status, 201);
    }
    server
}

fn line(random: &mut Random) -> String {
    let kind = KINDS[usize::try_from(random.below(3)).unwrap()];
    let source = match random.below(200) {
        0 => "rare",
        1..100 => "every \\\"second\\\" \u{e9}",
        _ => "the rest",
    };
    let pad = match random.below(100) {
        0 => 60_000,
        1..10 => 2_000,
        _ => 20,
    };
    let pad = "x".repeat(pad);
    format!(r#"{{"kind":"{kind}","source":"{source}","payload":{{"source":"rare","pad":"{pad}"}}}}"#)
}

/// Red when: `Backward` keeps the oldest matches of a window instead of the newest, or `Window::earlier` overlaps with the
/// window before it.
#[test]
fn every_query_answers_what_a_naive_one_does() {
    let server = populated();
    let all = server.get("/events?limit=100000").json();
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 3000);
    for kind in [None, Some("other"), Some("watch_created")] {
        for source in [
            None,
            Some("rare"),
            Some("every \"second\" \u{e9}"),
            Some("nobody"),
        ] {
            for limit in [1, 2, 15, 700, 5000] {
                for after in [None, Some(0), Some(1234), Some(2999)] {
                    check(&server, all, kind, source, limit, after);
                }
            }
        }
    }
}

fn check(
    server: &Server,
    all: &[Value],
    kind: Option<&str>,
    source: Option<&str>,
    limit: usize,
    after: Option<u64>,
) {
    let wanted = |event: &&Value| {
        kind.is_none_or(|kind| event["kind"] == kind)
            && source.is_none_or(|source| event["source"] == source)
            && after.is_none_or(|after| event["event_id"].as_u64() > Some(after))
    };
    let mut expected: Vec<Value> = all.iter().filter(wanted).cloned().collect();
    match after {
        None => drop(expected.drain(..expected.len().saturating_sub(limit))),
        Some(_) => expected.truncate(limit),
    }
    let mut query = format!("/events?limit={limit}");
    if let Some(kind) = kind {
        query.push_str(&format!("&kind={kind}"));
    }
    if let Some(source) = source {
        let source = source
            .replace('"', "%22")
            .replace('\u{e9}', "%C3%A9")
            .replace(' ', "+");
        query.push_str(&format!("&source={source}"));
    }
    if let Some(after) = after {
        query.push_str(&format!("&after={after}"));
    }
    let reply = server.get(&query);
    assert_eq!(reply.status, 200, "{query}: {}", reply.text());
    assert_eq!(ids_of(&reply.json()), ids_of(&Value::Array(expected)), "{query}");
}

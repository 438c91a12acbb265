//! The ids of the live stream's messages: where a reader is in the logs that it follows, as text that it brings back when it comes
//! again.
//!
//! With one log it is the event's id. With several it is a position in each log, by name, and four bytes of a SHA-256 over the names:
//! `12.40-1a2b3c4d`. It says that everything up to these events, whatever the filter, has been passed; it is no secret and
//! no permission.
//!
//! Invariant: a text that was made for other logs is refused, never taken for a place in these.

use std::sync::Arc;

use annals_core::chain::EventId;
use annals_core::hash::EventHash;

use super::chunk::Style;

/// The way a message of `log` looks to a reader of several: `next` is the event that it looks at next in each of its logs, by name,
/// `at` is where `log` stands among them, and `digest` is [`digest`]'s.
pub(crate) fn labelled(log: Arc<str>, at: usize, next: &[EventId], digest: &str) -> Style {
    let seen = |next: &EventId| next.get() - 1;
    let before = next
        .iter()
        .take(at)
        .map(|next| format!("{}.", seen(next)))
        .collect();
    let behind: String = next
        .iter()
        .skip(at + 1)
        .map(|next| format!(".{}", seen(next)))
        .collect();
    Style::Labelled {
        log,
        before,
        after: format!("{behind}-{digest}"),
    }
}

/// The last event that was passed in each of the logs, by name. `None` when the text is not the place of a reader of these logs.
pub(crate) fn parse<'a>(text: &str, names: impl ExactSizeIterator<Item = &'a str>) -> Option<Vec<u64>> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    if names.len() == 1 {
        return Some(vec![number(text)?]);
    }
    let (positions, digest_of) = text.split_once('-')?;
    let count = names.len();
    let positions: Option<Vec<u64>> = positions.split('.').map(number).collect();
    positions.filter(|positions| positions.len() == count && digest_of == digest(names))
}

/// What tells places in some logs from those in others. Names have no line break.
pub(crate) fn digest<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    let hash = EventHash::of(names.join("\n").as_bytes()).to_string();
    hash.chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, logs: &[&str]) -> Option<Vec<u64>> {
        parse(text, logs.iter().copied())
    }

    /// Red when: `parse` does not compare the digest, or the count.
    #[test]
    fn a_place_is_read_as_it_was_written_and_for_its_logs_only() {
        let next = [5, 1, 10].map(|next| EventId::new(next).unwrap());
        for (at, id, seen) in [
            (0, 7, vec![7, 0, 9]),
            (1, 1, vec![4, 1, 9]),
            (2, 12, vec![4, 0, 12]),
        ] {
            let digest = digest(["a", "b", "c"].into_iter());
            let Style::Labelled { before, after, .. } = labelled(Arc::from("a"), at, &next, &digest) else {
                panic!("several logs are told apart")
            };
            let text = format!("{before}{id}{after}");
            assert_eq!(read(&text, &["a", "b", "c"]), Some(seen), "{text}");
            // As somebody may make one up.
            assert_eq!(read(&format!("1.{text}"), &["a", "b", "c"]), None);
            for others in [&["a", "b", "d"][..], &["a", "b"], &["a"], &["a", "b", "c", "d"]] {
                assert_eq!(read(&text, others), None, "{text}");
            }
        }
        assert_eq!(read("17", &["a"]), Some(vec![17]));
        for bad in ["", "-1", "+1", "1.2", "99999999999999999999", "17-00000000"] {
            assert_eq!(read(bad, &["a"]), None, "{bad}");
            assert_eq!(read(bad, &["a", "b"]), None, "{bad}");
        }
    }
}

//! Events as rows of a table, for people.
//!
//! Invariant: what producers wrote can not act on the terminal: control and formatting characters are shown as escapes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::output::Paint;

/// Width of a line when the terminal does not say.
const WIDTH_DEFAULT: usize = 120;
const TIMESTAMP_WIDTH: usize = 32;
const KIND_WIDTH: usize = 24;
const SOURCE_WIDTH: usize = 24;
const LOG_WIDTH: usize = 16;
const PAYLOAD_WIDTH_MIN: usize = 20;

/// A table of events; the heading comes with the first row.
#[derive(Debug)]
pub(crate) struct Table {
    colour: bool,
    /// Whether each event comes with the name of its log.
    labelled: bool,
    width: usize,
    headed: bool,
}

/// An event of several logs' answer.
#[derive(Deserialize)]
struct Labelled<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    event: &'a RawValue,
}

#[derive(Deserialize)]
struct Event<'a> {
    event_id: u64,
    #[serde(borrow)]
    timestamp: Cow<'a, str>,
    #[serde(borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    source: Cow<'a, str>,
    #[serde(borrow)]
    payload: &'a RawValue,
}

impl Table {
    /// As wide as the terminal; with a column for the log when events are `labelled` with it.
    pub(crate) fn new(colour: bool, labelled: bool) -> Self {
        Self {
            colour,
            labelled,
            width: width(),
            headed: false,
        }
    }

    /// The row for one event in JSON, after the heading if it is the first. What is no event is shown as it is.
    pub(crate) fn row(&mut self, event: &[u8]) -> String {
        let mut out = String::new();
        if !std::mem::replace(&mut self.headed, true) {
            let heading = self.cells("LOG", ["ID", "TIMESTAMP", "KIND", "SOURCE", "PAYLOAD"]);
            out = Paint::Bold.on(&heading, self.colour);
            out.push('\n');
        }
        out.push_str(&match self.event_row(event) {
            Ok(row) => row,
            Err(_) => clipped(&String::from_utf8_lossy(event), self.width),
        });
        out
    }

    fn event_row(&self, text: &[u8]) -> serde_json::Result<String> {
        let (log, event): (Cow<'_, str>, Event<'_>) = if self.labelled {
            let labelled: Labelled<'_> = serde_json::from_slice(text)?;
            (labelled.log, serde_json::from_str(labelled.event.get())?)
        } else {
            (Cow::Borrowed(""), serde_json::from_slice(text)?)
        };
        let id = event.event_id.to_string();
        Ok(self.cells(
            &log,
            [
                &id,
                &event.timestamp,
                &event.kind,
                &event.source,
                event.payload.get(),
            ],
        ))
    }

    fn cells(&self, log: &str, [id, timestamp, kind, source, payload]: [&str; 5]) -> String {
        let mut row = String::new();
        if self.labelled {
            let log = clipped(log, LOG_WIDTH);
            row = format!("{log:LOG_WIDTH$}  ");
        }
        row.push_str(&format!("{id:>8}"));
        for (text, width) in [
            (timestamp, TIMESTAMP_WIDTH),
            (kind, KIND_WIDTH),
            (source, SOURCE_WIDTH),
        ] {
            let text = clipped(text, width);
            row.push_str(&format!("  {text:width$}"));
        }
        let left = self
            .width
            .saturating_sub(row.chars().count() + 2)
            .max(PAYLOAD_WIDTH_MIN);
        row.push_str("  ");
        row.push_str(&clipped(payload, left));
        row
    }
}

/// How wide a line may be.
pub(crate) fn width() -> usize {
    terminal_size::terminal_size().map_or(WIDTH_DEFAULT, |(width, _)| usize::from(width.0))
}

/// At most `width` characters, harmless ones.
pub(crate) fn clipped(text: &str, width: usize) -> String {
    let mut out = String::new();
    // One character more than fits is enough to know that it does not fit.
    for character in text.chars().take(width + 1) {
        if is_harmless(character) {
            out.push(character);
        } else {
            out.extend(character.escape_unicode());
        }
    }
    if out.chars().count() > width {
        out = out.chars().take(width.saturating_sub(1)).collect();
        out.push('…');
    }
    out
}

/// Neither a control character nor one that changes the order or presence of others (Unicode's bidirectional controls,
/// zero-width characters, line and paragraph separators).
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `is_harmless` is always true.
    #[test]
    fn rows_are_clipped_and_harmless() {
        let mut table = Table {
            colour: false,
            labelled: false,
            width: 130,
            headed: true,
        };
        let event = br#"{"event_id":7,"hash":"00","kind":"other","payload":{"a":"\u001b[31m"},"source":"x\u001b[2J\u202ey","timestamp":"2026-05-15T03:14:15+00:00"}"#;
        assert_eq!(
            table.row(event),
            "       7  2026-05-15T03:14:15+00:00         other                     x\\u{1b}[2J\\u{202e}y       \
             {\"a\":\"\\u001b[31m\"}"
        );
        table.labelled = true;
        let event = String::from_utf8_lossy(event);
        let labelled = table.row(format!("{{\"log\":\"a\",\"event\":{event}}}").as_bytes());
        assert!(
            labelled.starts_with("a                        7  2026-05-15T"),
            "{labelled}"
        );
        assert_eq!(clipped("abcdef", 6), "abcdef");
        assert_eq!(clipped("abcdefg", 6), "abcde…");
        assert_eq!(table.row(b"no \x1b event"), "no \\u{1b} event");
    }
}

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
const PAYLOAD_WIDTH_MIN: usize = 20;

/// A table of events; the heading comes with the first row.
#[derive(Debug)]
pub(crate) struct Table {
    colour: bool,
    width: usize,
    headed: bool,
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
    /// As wide as the terminal.
    pub(crate) fn new(colour: bool) -> Self {
        let width = terminal_size::terminal_size().map_or(WIDTH_DEFAULT, |(width, _)| usize::from(width.0));
        Self {
            colour,
            width,
            headed: false,
        }
    }

    /// The row for one event in JSON, after the heading if it is the first. What is no event is shown as it is.
    pub(crate) fn row(&mut self, event: &[u8]) -> String {
        let mut out = String::new();
        if !std::mem::replace(&mut self.headed, true) {
            out = Paint::Bold.on(
                &self.cells("ID", "TIMESTAMP", "KIND", "SOURCE", "PAYLOAD"),
                self.colour,
            );
            out.push('\n');
        }
        let row = match serde_json::from_slice::<Event<'_>>(event) {
            Ok(event) => self.cells(
                &event.event_id.to_string(),
                &event.timestamp,
                &event.kind,
                &event.source,
                event.payload.get(),
            ),
            Err(_) => clipped(&String::from_utf8_lossy(event), self.width),
        };
        out.push_str(&row);
        out
    }

    fn cells(&self, id: &str, timestamp: &str, kind: &str, source: &str, payload: &str) -> String {
        let mut row = format!("{id:>8}");
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

/// At most `width` characters, harmless ones.
fn clipped(text: &str, width: usize) -> String {
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
            width: 130,
            headed: true,
        };
        let event = br#"{"event_id":7,"hash":"00","kind":"other","payload":{"a":"\u001b[31m"},"source":"x\u001b[2J\u202ey","timestamp":"2026-05-15T03:14:15+00:00"}"#;
        assert_eq!(
            table.row(event),
            "       7  2026-05-15T03:14:15+00:00         other                     x\\u{1b}[2J\\u{202e}y       \
             {\"a\":\"\\u001b[31m\"}"
        );
        assert_eq!(clipped("abcdef", 6), "abcdef");
        assert_eq!(clipped("abcdefg", 6), "abcde…");
        assert_eq!(table.row(b"no \x1b event"), "no \\u{1b} event");
    }
}

//! Events as a table (RFC 4180): a header row, then one row an event, lines ended by CR LF.
//!
//! Invariants: the columns are fixed, and new ones are only ever added at the end; strings stand as text (UTF-8), everything else
//! as its JSON; what an event does not have is an empty cell.
//!
//! A cell that a spreadsheet would take for a formula gets an apostrophe in front (OWASP, "CSV Injection"): producers write these
//! strings, and whoever opens the table did not choose them. That makes a table fit for looking at, not for proving: a hash can
//! only be checked against the JSON.

use std::borrow::Cow;

use annals_core::body;
use annals_core::canon;
use annals_store::StoredEvent;

/// Where a cell's content comes from.
#[derive(Debug, Clone, Copy)]
enum Cell {
    EventId,
    ReceivedAt,
    Hash,
    /// A member of the event: a string as text, anything else as JSON.
    Member(&'static str),
    /// A member of an object in the event.
    Inner(&'static str, &'static str),
}

const COLUMNS: [(&str, Cell); 30] = [
    ("event_id", Cell::EventId),
    ("received_at", Cell::ReceivedAt),
    ("timestamp", Cell::Member("timestamp")),
    ("kind", Cell::Member("kind")),
    ("source", Cell::Member("source")),
    ("tenant", Cell::Member("tenant")),
    ("actor_type", Cell::Inner("actor", "type")),
    ("actor_id", Cell::Inner("actor", "id")),
    ("actor_name", Cell::Inner("actor", "name")),
    ("on_behalf_of", Cell::Inner("actor", "on_behalf_of")),
    ("session", Cell::Member("session")),
    ("grant", Cell::Member("grant")),
    ("run", Cell::Member("run")),
    ("resource_type", Cell::Inner("resource", "type")),
    ("resource_id", Cell::Inner("resource", "id")),
    ("resource_name", Cell::Inner("resource", "name")),
    ("outcome", Cell::Member("outcome")),
    ("attempt_id", Cell::Member("attempt_id")),
    ("request_id", Cell::Inner("request", "id")),
    ("ip", Cell::Inner("request", "ip")),
    ("user_agent", Cell::Inner("request", "user_agent")),
    ("trace_id", Cell::Member("trace_id")),
    ("severity", Cell::Member("severity")),
    ("subject", Cell::Member("subject")),
    ("schema_version", Cell::Member("schema_version")),
    ("id", Cell::Member("id")),
    ("changes", Cell::Member("changes")),
    ("payload", Cell::Member("payload")),
    ("prev_hash", Cell::Member("prev_hash")),
    ("hash", Cell::Hash),
];

/// The name of the first column when events of several logs stand in one table.
const LOG: &str = "log";

/// Writes the names of the columns.
pub(super) fn write_header(is_labelled: bool, out: &mut Vec<u8>) {
    let log = is_labelled.then_some(LOG);
    let names = COLUMNS.iter().map(|(name, _)| *name);
    write_record(log.into_iter().chain(names).map(Cow::Borrowed), out);
}

/// Writes an event as a row.
pub(super) fn write_row(event: &StoredEvent<'_>, log: Option<&str>, out: &mut Vec<u8>) {
    // One walk over the event, whose payload may be large, and not one for each column.
    let members: Vec<(&[u8], &[u8])> = body::members(event.body).collect();
    let member = |name: &str| {
        let found = members.iter().find(|(key, _)| *key == name.as_bytes());
        found.map(|(_, raw)| *raw)
    };
    let cells = COLUMNS.iter().map(|(_, cell)| match *cell {
        Cell::EventId => Cow::Owned(event.id.to_string()),
        Cell::ReceivedAt => Cow::Owned(event.received_at.to_string()),
        Cell::Hash => Cow::Owned(event.hash.to_string()),
        Cell::Member(name) => member(name).map_or(Cow::Borrowed(""), text_of),
        Cell::Inner(outer, name) => member(outer)
            .and_then(|object| body::member(object, name))
            .map_or(Cow::Borrowed(""), text_of),
    });
    write_record(log.map(Cow::Borrowed).into_iter().chain(cells), out);
}

/// A string's text, any other value's JSON.
fn text_of(raw: &[u8]) -> Cow<'_, str> {
    canon::decode_string(raw).unwrap_or_else(|_| String::from_utf8_lossy(raw))
}

fn write_record<'a>(cells: impl Iterator<Item = Cow<'a, str>>, out: &mut Vec<u8>) {
    for (at, cell) in cells.enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write_cell(&cell, out);
    }
    out.extend_from_slice(b"\r\n");
}

fn write_cell(text: &str, out: &mut Vec<u8>) {
    let apostrophe: &[u8] = if is_formula(text) { b"'" } else { b"" };
    if !text.contains(['"', ',', '\r', '\n']) {
        out.extend_from_slice(apostrophe);
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(apostrophe);
    for byte in text.bytes() {
        if byte == b'"' {
            out.push(b'"');
        }
        out.push(byte);
    }
    out.push(b'"');
}

/// What a spreadsheet begins to calculate at, full-width forms included.
fn is_formula(text: &str) -> bool {
    text.starts_with([
        '=', '+', '-', '@', '\t', '\r', '\n', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}',
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(text: &str) -> String {
        let mut out = Vec::new();
        write_cell(text, &mut out);
        String::from_utf8(out).unwrap()
    }

    /// Red when: a character is taken out of `is_formula`, or quotes are not doubled.
    #[test]
    fn cells_are_quoted_and_harmless() {
        for (text, written) in [
            ("", ""),
            ("plain text", "plain text"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("two\nlines", "\"two\nlines\""),
            ("=1+1", "'=1+1"),
            ("+1", "'+1"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("\nx", "\"'\nx\""),
            (
                "=HYPERLINK(\"http://x\",\"y\")",
                "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"",
            ),
            ("\u{ff1d}1", "'\u{ff1d}1"),
            ("\u{ff0b}1", "'\u{ff0b}1"),
            ("\u{ff0d}1", "'\u{ff0d}1"),
            ("\u{ff20}1", "'\u{ff20}1"),
            ("a=1", "a=1"),
            ("'=1", "'=1"),
        ] {
            assert_eq!(cell(text), written, "{text:?}");
        }
    }

    #[test]
    fn column_names_are_distinct() {
        let mut names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).chain([LOG]).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), COLUMNS.len() + 1);
    }
}

//! Events from lines that are something else: the line becomes the payload, other members come from flags or from a place
//! inside the line.
//!
//! Invariant: the payload is the line's own bytes; a line that is not exactly one JSON object is refused, so no line can
//! smuggle members into the event around it.

use std::str::FromStr;

use annals_core::canon;
use serde_json::Value;
use serde_json::value::RawValue;

/// A place in a JSON document (RFC 6901).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pointer(String);

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if !text.is_empty() && !text.starts_with('/') {
            return Err(format!("a JSON pointer begins with /; use /{text}"));
        }
        let mut escapes = text.split('~').skip(1);
        if !escapes.all(|rest| rest.starts_with(['0', '1'])) {
            return Err(String::from(
                "in a JSON pointer, ~ is written ~0 and / inside a name ~1",
            ));
        }
        Ok(Self(text.to_owned()))
    }
}

/// How a line becomes an event.
#[derive(Debug, Clone)]
pub(super) struct Mapping {
    /// Kind of every event.
    pub(super) kind: String,
    /// Source of the events that have none at `source_from`.
    pub(super) source: Option<String>,
    /// Where the source stands.
    pub(super) source_from: Option<Pointer>,
    /// Where the time stamp stands; a line without it is stamped by the log.
    pub(super) timestamp_from: Option<Pointer>,
}

impl Mapping {
    /// Appends the event for `line` to `out`, on one line.
    ///
    /// # Errors
    /// What is wrong with the line, as a sentence.
    pub(super) fn write(&self, line: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let raw: &RawValue = serde_json::from_slice(line).map_err(|error| format!("is not JSON: {error}"))?;
        if !raw.get().starts_with('{') {
            return Err(format!("is {}, not an object", shape(raw.get())));
        }
        let found = if self.source_from.is_some() || self.timestamp_from.is_some() {
            serde_json::from_str(raw.get()).map_err(|error| format!("is not JSON: {error}"))?
        } else {
            Value::Null
        };
        let source = string_at(&found, self.source_from.as_ref())?;
        let timestamp = string_at(&found, self.timestamp_from.as_ref())?;
        let Some(source) = source.or(self.source.as_deref()) else {
            let place = self.source_from.as_ref().map_or("", |pointer| pointer.0.as_str());
            return Err(format!("has nothing at {place}; give --source for such lines"));
        };
        write_event(&self.kind, source, timestamp, raw.get().as_bytes(), out);
        Ok(())
    }
}

/// Appends an event around `payload`, which is a JSON object.
pub(super) fn write_event(
    kind: &str,
    source: &str,
    timestamp: Option<&str>,
    payload: &[u8],
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"kind\":");
    canon::write_string(kind, out);
    out.extend_from_slice(b",\"source\":");
    canon::write_string(source, out);
    if let Some(timestamp) = timestamp {
        out.extend_from_slice(b",\"timestamp\":");
        canon::write_string(timestamp, out);
    }
    out.extend_from_slice(b",\"payload\":");
    out.extend_from_slice(payload);
    out.push(b'}');
}

fn string_at<'a>(document: &'a Value, pointer: Option<&Pointer>) -> Result<Option<&'a str>, String> {
    let Some(pointer) = pointer else { return Ok(None) };
    match document.pointer(&pointer.0) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(format!(
            "has {} at {}, not a string",
            shape(&other.to_string()),
            pointer.0
        )),
    }
}

/// What a JSON text is, with its article.
pub(super) fn shape(text: &str) -> &'static str {
    match text.as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapped(line: &str, source: Option<&str>, source_from: Option<&str>) -> Result<String, String> {
        let mapping = Mapping {
            kind: String::from("other"),
            source: source.map(str::to_owned),
            source_from: source_from.map(|text| text.parse().unwrap()),
            timestamp_from: Some("/@t/0".parse().unwrap()),
        };
        let mut out = Vec::new();
        mapping
            .write(line.as_bytes(), &mut out)
            .map(|()| String::from_utf8(out).unwrap())
    }

    /// Red when: the payload is printed from the parsed value.
    #[test]
    fn the_payload_keeps_its_bytes() {
        let line = r#" {"b": 1.50, "a":"\u0041","s~/x":"so\"urce","@t":["now"]} "#;
        assert_eq!(
            mapped(line, None, Some("/s~0~1x")).unwrap(),
            format!(
                r#"{{"kind":"other","source":"so\"urce","timestamp":"now","payload":{}}}"#,
                line.trim()
            )
        );
        assert_eq!(
            mapped("{}", Some("me"), Some("/nothing")).unwrap(),
            r#"{"kind":"other","source":"me","payload":{}}"#
        );
    }

    /// Red when: `write` looks only at the line's first byte.
    #[test]
    fn lines_that_are_no_object_are_refused() {
        for (line, says) in [
            (r#"{},"kind":"flag_swapped""#, "is not JSON"),
            ("{", "is not JSON"),
            ("[]", "is an array, not an object"),
            (r#"{"s":7}"#, "has a number at /s, not a string"),
            (r#"{"s":null}"#, "has nothing at /s"),
        ] {
            let error = mapped(line, None, Some("/s")).unwrap_err();
            assert!(error.starts_with(says), "{line}: {error}");
        }
    }

    #[test]
    fn pointers_are_checked() {
        for fine in ["", "/", "/a/b", "/a~0b~1c"] {
            assert!(fine.parse::<Pointer>().is_ok(), "{fine}");
        }
        for wrong in ["a", "#/a", "/a~", "/a~2"] {
            assert!(wrong.parse::<Pointer>().is_err(), "{wrong}");
        }
    }
}

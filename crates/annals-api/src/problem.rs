//! Problem details (RFC 9457): the body of every error.
//!
//! Invariant: `detail` is always a string, because seed clients read it as one; what concerns single fields is in `errors`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The body of an error, media type [`crate::names::PROBLEM_JSON`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Identifies the kind of problem (RFC 9457 section 3.1.1): `about:blank`, or `urn:annals:problem:<name>`.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: Cow<'static, str>,
    /// Short summary of the kind; the same text for every occurrence.
    #[serde(default)]
    pub title: Cow<'static, str>,
    /// The HTTP status, repeated.
    #[serde(default)]
    pub status: u16,
    /// What went wrong this time, and what to do about it.
    #[serde(default)]
    pub detail: String,
    /// One entry for each field that has to be mended; at most the first [`crate::names::ERRORS_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldError>,
    /// What became of the events of a refused append; absent where nothing was to be stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// What is wrong with one field of a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldError {
    /// The field: `kind`, `items[3].kind` (array, from 0), `line 4: kind` (NDJSON, from 1), or a query parameter's name.
    pub field: String,
    /// What is wrong with it.
    pub message: String,
}

/// What became of the events of a failed append.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// None of the events is in the log, and none will be: sending them again is safe.
    NotStored,
    /// The events may be in the log. Look (`GET /events?after=…`) before sending them again, unless the log recognises them
    /// (by an `Idempotency-Key`, or a producer's sequence): then the same request can be sent again.
    Unknown,
}

fn about_blank() -> Cow<'static, str> {
    Cow::Borrowed("about:blank")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_goes_round_and_absent_members_stay_absent() {
        let problem = Problem {
            kind: Cow::Borrowed("urn:annals:problem:busy"),
            title: Cow::Borrowed("The log is busy"),
            status: 503,
            detail: String::from("try again in 1 s"),
            errors: vec![FieldError {
                field: String::from("kind"),
                message: String::from("is required"),
            }],
            outcome: Some(Outcome::NotStored),
        };
        let text = serde_json::to_string(&problem).unwrap();
        assert!(text.starts_with(
            r#"{"type":"urn:annals:problem:busy","title":"The log is busy","status":503,"detail":"#
        ));
        assert!(
            text.ends_with(r#""errors":[{"field":"kind","message":"is required"}],"outcome":"not_stored"}"#)
        );
        assert_eq!(serde_json::from_str::<Problem>(&text).unwrap(), problem);

        let bare: Problem = serde_json::from_str(r#"{"detail":"no","new_member":1}"#).unwrap();
        assert_eq!(bare.kind, "about:blank");
        assert_eq!(serde_json::to_string(&bare).unwrap().matches("errors").count(), 0);
    }
}

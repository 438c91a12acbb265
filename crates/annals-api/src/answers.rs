//! What the server answers with, but for events and errors.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What one event of a batch became: an element of the answer to `POST /events` with an array or NDJSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Place in the log, from 1.
    pub event_id: u64,
    /// The event's time stamp as stored: the producer's, or the log's own (RFC 3339, UTC as `+00:00`).
    pub timestamp: String,
    /// SHA-256 of the stored event, 64 lower-case hex digits.
    pub hash: String,
}

/// Answer of `GET /verify`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// True when every event from the first on is what was sealed.
    pub valid: bool,
    /// How many events, from the first on, were found intact.
    pub checked: u64,
    /// Id of the first event that is not; null when there is none.
    pub first_break_at: Option<u64>,
    /// `event_id should be N, got M`, `prev_hash mismatch at event #N` or `hash mismatch at event #N`; null when valid.
    pub reason: Option<String>,
    /// Where the storage says the damage is; only present when it found some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// Answer of `POST /verify/checkpoint`: the verification, and whether the checkpoint is part of the chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointVerdict {
    /// The verification; `valid` is true only when the checkpoint is contained as well.
    #[serde(flatten)]
    pub verification: Verification,
    /// True when the log has the checkpoint's event with the checkpoint's hash.
    pub contained: bool,
}

/// The head of a log as version 0.2 of the seed exports it: answer of `GET /checkpoint`, body of `POST /verify/checkpoint`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Id of the last event, from 1.
    pub event_id: u64,
    /// Its hash, 64 lower-case hex digits.
    pub hash: String,
}

/// Answer of `GET /stats`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Number of events.
    pub count: u64,
    /// Id of the last event, 0 when there is none.
    pub last_event_id: u64,
    /// Its hash, null when there is none.
    pub latest_hash: Option<String>,
}

/// Answer of `GET /healthz` and, while the log takes events, of `GET /readyz`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// `ok`.
    pub status: Cow<'static, str>,
}

/// Answer of `GET /`: what this server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root {
    /// `audit-stream`, the interface that is spoken.
    pub name: Cow<'static, str>,
    /// Version of the server.
    pub version: Cow<'static, str>,
    /// One sentence.
    pub description: Cow<'static, str>,
    /// Method and path of each route → what it does.
    pub endpoints: BTreeMap<Cow<'static, str>, Cow<'static, str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_has_the_seeds_members_in_the_seeds_order() {
        let verification = Verification {
            valid: true,
            checked: 2,
            first_break_at: None,
            reason: None,
            damage: None,
        };
        let text = serde_json::to_string(&verification).unwrap();
        assert_eq!(
            text,
            r#"{"valid":true,"checked":2,"first_break_at":null,"reason":null}"#
        );
        let verdict = CheckpointVerdict {
            verification,
            contained: true,
        };
        let text = serde_json::to_string(&verdict).unwrap();
        assert_eq!(
            text,
            r#"{"valid":true,"checked":2,"first_break_at":null,"reason":null,"contained":true}"#
        );
        assert_eq!(serde_json::from_str::<CheckpointVerdict>(&text).unwrap(), verdict);
    }

    #[test]
    fn a_checkpoint_with_an_unknown_member_is_refused() {
        assert!(serde_json::from_str::<Checkpoint>(r#"{"event_id":1,"hash":"00","more":1}"#).is_err());
    }
}

//! What is said about logs: which there are, and what a new one is made from.

use serde::{Deserialize, Serialize};

/// A log: what never changes about it, and how far it has come. Answer of `POST /logs` and `GET /logs/{log}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogInfo {
    /// What people call it, `[a-z0-9][a-z0-9_-]{0,62}`; names are never used again.
    pub name: String,
    /// What tells it from every other log, wherever that is: 32 lower-case hex digits in the form of a UUID.
    pub uuid: String,
    /// What checkpoints call it.
    pub origin: String,
    /// When it was made (RFC 3339, UTC as `+00:00`).
    pub created_at: String,
    /// Number of events, which is the id of the last one.
    pub events: u64,
    /// Hash of the last event, null when there is none.
    pub latest_hash: Option<String>,
}

/// Answer of `GET /logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogList {
    /// All logs, by name.
    pub logs: Vec<LogInfo>,
}

/// Body of `POST /logs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewLog {
    /// The name that it will have.
    pub name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_log_has_no_hash() {
        let log = LogInfo {
            name: String::from("a"),
            uuid: String::from("00000000-0000-0000-0000-000000000000"),
            origin: String::from("o"),
            created_at: String::from("2026-05-15T03:14:15.000000+00:00"),
            events: 0,
            latest_hash: None,
        };
        let text = serde_json::to_string(&log).unwrap();
        assert!(text.ends_with(r#""events":0,"latest_hash":null}"#), "{text}");
        assert_eq!(serde_json::from_str::<LogInfo>(&text).unwrap(), log);
        assert!(serde_json::from_str::<NewLog>(r#"{"name":"a","size":1}"#).is_err());
    }
}

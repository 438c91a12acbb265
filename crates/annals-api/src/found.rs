//! What is said about the events that match, but for the events themselves.

use serde::{Deserialize, Serialize};

/// Answer of `GET /events/count`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// How many events match, in all logs that were asked.
    pub count: u64,
    /// Id of the last event that was looked at, 0 for an empty log; absent when several logs were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub as_of: Option<u64>,
    /// One entry a log, by name; absent when one log was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogCount>,
}

/// How many events of one log match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogCount {
    /// The log's name.
    pub log: String,
    /// How many of its events match.
    pub count: u64,
    /// Id of its last event that was looked at, 0 when it is empty.
    pub as_of: u64,
}

/// Answer of `GET /events/histogram`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Width of a bucket in seconds; the last one may be narrower.
    pub interval_seconds: f64,
    /// The buckets, earliest first, each beginning where the one before ends. None when there is no time to divide.
    pub buckets: Vec<Bucket>,
}

/// A stretch of receive time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    /// First time that belongs to it (RFC 3339, UTC as `+00:00`, six fractional digits).
    pub from: String,
    /// First time that does not belong to it any more.
    pub until: String,
    /// How many events match.
    pub count: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_one_log_and_of_several() {
        let one = Count {
            count: 3,
            as_of: Some(9),
            logs: Vec::new(),
        };
        assert_eq!(serde_json::to_string(&one).unwrap(), r#"{"count":3,"as_of":9}"#);
        let of_log = LogCount {
            log: String::from("a"),
            count: 3,
            as_of: 9,
        };
        let several = Count {
            count: 3,
            as_of: None,
            logs: vec![of_log],
        };
        let text = serde_json::to_string(&several).unwrap();
        assert_eq!(text, r#"{"count":3,"logs":[{"log":"a","count":3,"as_of":9}]}"#);
        assert_eq!(serde_json::from_str::<Count>(&text).unwrap(), several);
    }
}

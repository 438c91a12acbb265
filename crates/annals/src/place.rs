//! A reader's place in the logs that it follows, as the ids of the live stream tell it.
//!
//! With one log it is the last event that was passed. With several it is one such id for each, by name, and the first eight hex
//! digits of the SHA-256 over the names, a line break between them: `12.40-1a2b3c4d`.

use std::fmt;

use annals_core::hash::EventHash;
use annals_store::LogName;

const DIGEST_DIGITS: usize = 8;

/// The last event that was passed in each log, by the logs' names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    passed: Vec<u64>,
    /// Tells the logs from others; empty for one.
    digest: String,
}

impl Place {
    /// In these logs, which are sorted by name.
    pub(crate) fn new(logs: &[LogName], passed: Vec<u64>) -> Self {
        let digest = if logs.len() > 1 {
            let names: Vec<&str> = logs.iter().map(LogName::as_str).collect();
            let hash = EventHash::of(names.join("\n").as_bytes()).to_string();
            hash.chars().take(DIGEST_DIGITS).collect()
        } else {
            String::new()
        };
        Self { passed, digest }
    }

    /// Reads an id of the stream; `None` when it is none.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (passed, digest) = text.split_once('-').unwrap_or((text, ""));
        let passed: Result<Vec<u64>, _> = passed.split('.').map(str::parse).collect();
        Some(Self {
            passed: passed.ok()?,
            digest: digest.to_owned(),
        })
    }

    /// The last event that was passed in each log.
    pub(crate) fn passed(&self) -> &[u64] {
        &self.passed
    }

    /// Whether something was passed here that was not at `before`. False for a place in other logs.
    pub(crate) fn is_behind(&self, before: &Self) -> bool {
        let mut pairs = self.passed.iter().zip(&before.passed);
        self.passed.len() == before.passed.len()
            && self.digest == before.digest
            && pairs.any(|(here, there)| here > there)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, passed) in self.passed.iter().enumerate() {
            let point = if at == 0 { "" } else { "." };
            write!(f, "{point}{passed}")?;
        }
        let dash = if self.digest.is_empty() { "" } else { "-" };
        write!(f, "{dash}{}", self.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `is_behind` compares with `<`, or does not compare the logs.
    #[test]
    fn places_are_read_as_they_are_written_and_compared_within_their_logs() {
        for text in ["0", "7", "12.40-1a2b3c4d"] {
            assert_eq!(Place::parse(text).unwrap().to_string(), text);
        }
        for wrong in ["", "x", "1.", "-1", "1.x-00000000"] {
            assert_eq!(Place::parse(wrong), None, "{wrong}");
        }
        let behind = |here: &str, there: &str| {
            Place::parse(here)
                .unwrap()
                .is_behind(&Place::parse(there).unwrap())
        };
        assert!(behind("8", "7") && !behind("7", "7") && !behind("6", "7"));
        assert!(behind("1.3-aa", "1.2-aa") && !behind("1.2-aa", "1.2-aa"));
        assert!(!behind("9.9-aa", "1.2-bb") && !behind("9", "1.2-aa"));
        let logs = ["a", "b"].map(|name| name.parse().unwrap());
        assert_eq!(Place::new(&logs[..1], vec![3]).to_string(), "3");
        let several = Place::new(&logs, vec![3, 4]).to_string();
        assert!(several.starts_with("3.4-") && several.len() == 12, "{several}");
    }
}

//! What was asked for, in 32 bytes: how a request that is sent again is told from another one with the same key.
//!
//! Invariant: nothing that the log stamps counts, and neither does the order of members, white space or the spelling of
//! numbers and strings. Part of the format (docs/format.md, "Digest of a request"): receipts on disk carry it.

use sha2::{Digest, Sha256};

use super::Draft;
use crate::schema::{MEMBERS, VERSION, row};

const V: usize = row("v");

/// SHA-256 over the events of a request, in order: of each the canonical JSON object of the members that its producer sent,
/// then a line feed. An absent `payload` counts as an empty one and an absent `timestamp` not at all, `v` is there if and
/// only if the event is of version 2, and `idempotency_key` never is.
#[derive(Debug, Clone, Default)]
pub struct RequestDigest {
    sha: Sha256,
}

impl RequestDigest {
    /// Adds the next event.
    pub fn add(&mut self, draft: &Draft<'_>) {
        let version = VERSION.to_string();
        let mut between = "{\"";
        for (row, value) in draft.values().enumerate() {
            let value = match row {
                V => draft.is_extended().then_some(version.as_bytes()),
                _ => value,
            };
            if let Some(value) = value {
                self.sha.update(between);
                self.sha.update(MEMBERS[row].name);
                self.sha.update("\":");
                self.sha.update(value);
                between = ",\"";
            }
        }
        self.sha.update("}\n");
    }

    /// The digest of all that was added.
    #[must_use]
    pub fn finish(self) -> [u8; 32] {
        self.sha.finalize().into()
    }
}

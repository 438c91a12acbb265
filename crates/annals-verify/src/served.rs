//! Events as they are served or exported: JSON objects that carry their own `hash`, one a line, from anywhere.
//!
//! Invariants: nothing but the lines themselves is trusted. A line as Annals serves it is hashed as it stands, without its
//! last member; any other (members in another order, white space, other escapes, such as an export of the Python service)
//! is first brought into canonical form. Of duplicate names the last counts, as in the seed's parser.

use std::ops::Range;

use annals_core::body;
use annals_core::canon;
use annals_core::chain::TreeSize;
use annals_core::hash::{EventHash, HASH_HEX_LEN};
use annals_core::limits::DEPTH_MAX;

use crate::chain::{self, Break, ChainState};
use crate::report::{Checkpoint, Freshness, Verdict};
use crate::strict::{self, Level};

/// An audit of served events, line by line, from the first event of the log on.
#[derive(Debug)]
pub struct ServedAudit {
    chain: ChainState,
    level: Level,
    held: Option<Checkpoint>,
    /// What the events say at the held checkpoint's id.
    found: Option<EventHash>,
    broken: Option<Break>,
    scratch: Vec<u8>,
}

impl ServedAudit {
    /// Before the first line.
    #[must_use]
    pub fn new(level: Level, held: Option<Checkpoint>) -> Self {
        Self {
            chain: ChainState::start(),
            level,
            held,
            found: None,
            broken: None,
            scratch: Vec::new(),
        }
    }

    /// How far the events were found intact.
    #[must_use]
    pub fn state(&self) -> &ChainState {
        &self.chain
    }

    /// Checks one line (one JSON object). After the first break, lines change nothing.
    ///
    /// # Errors
    /// The first [`Break`], again for each further line.
    pub fn check_line(&mut self, line: &[u8]) -> Result<(), Break> {
        if let Some(broken) = &self.broken {
            return Err(broken.clone());
        }
        let before = self.chain.next;
        let checked = self.check_as_served(line).or_else(|_| self.check_reformed(line));
        if let Err(broken) = checked {
            self.broken = Some(broken.clone());
            return Err(broken);
        }
        if self.held.is_some_and(|held| held.event_id == before) {
            self.found = Some(self.chain.prev);
        }
        Ok(())
    }

    /// The verdict on the lines so far, taken to be the whole log.
    #[must_use]
    pub fn finish(self) -> Verdict {
        let checked = self.chain.checked();
        let size = TreeSize(checked);
        if let Some(at) = self.broken {
            return Verdict::Broken { checked, at };
        }
        let freshness = match self.held {
            None => Freshness::NotProven,
            Some(held) => match held.compare(size, self.found) {
                Ok(()) => Freshness::ProvenUpTo(held),
                Err(at) => {
                    return Verdict::Broken {
                        checked: at.event.get() - 1,
                        at,
                    };
                }
            },
        };
        Verdict::Intact {
            size,
            head: self.chain.prev,
            freshness,
        }
    }

    /// The verdict when the lines ended before the log did.
    #[must_use]
    pub fn finish_incomplete(self, reason: String) -> Verdict {
        let checked = self.chain.checked();
        match self.broken {
            Some(at) => Verdict::Broken { checked, at },
            None => Verdict::Incomplete { checked, reason },
        }
    }

    /// The line as Annals writes it: the stored body with `,"hash":"…"` before its last brace.
    fn check_as_served(&mut self, line: &[u8]) -> Result<(), Break> {
        let (open, hash) = split_served(line.trim_ascii())
            .ok_or_else(|| Break::at(self.chain.next, "hash is not the last member"))?;
        self.scratch.clear();
        self.scratch.extend_from_slice(open);
        self.scratch.push(b'}');
        self.check_body(&hash)
    }

    fn check_reformed(&mut self, line: &[u8]) -> Result<(), Break> {
        let next = self.chain.next;
        self.scratch.clear();
        canon::canonicalize(line, DEPTH_MAX, &mut self.scratch)
            .map_err(|error| Break::at(next, format_args!("not a JSON object ({error})")))?;
        let hash =
            take_hash(&mut self.scratch).ok_or_else(|| Break::at(next, "hash missing or malformed"))?;
        self.check_body(&hash)
    }

    /// Checks the body in `scratch`.
    fn check_body(&mut self, hash: &EventHash) -> Result<(), Break> {
        match self.level {
            Level::Chain => chain::check_event(&mut self.chain, &self.scratch, hash),
            Level::Full => strict::check_body(&mut self.chain, &self.scratch, hash),
        }
    }
}

/// A served event without its last member and brace, and the hash from that member.
fn split_served(line: &[u8]) -> Option<(&[u8], EventHash)> {
    let rest = line.strip_suffix(b"\"}")?;
    let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(HASH_HEX_LEN)?)?;
    Some((rest.strip_suffix(b",\"hash\":\"")?, EventHash::from_hex(hash)?))
}

/// Removes the top-level member `hash` from canonical text.
fn take_hash(canonical: &mut Vec<u8>) -> Option<EventHash> {
    let (hash, cut) = find_hash(canonical)?;
    canonical.drain(cut);
    Some(hash)
}

fn find_hash(canonical: &[u8]) -> Option<(EventHash, Range<usize>)> {
    let mut start = 1;
    for (name, value) in body::members(canonical) {
        // `"name":value`
        let end = start + name.len() + 3 + value.len();
        if name == b"hash" {
            let hash = EventHash::from_hex(value.strip_prefix(b"\"")?.strip_suffix(b"\"")?)?;
            // With the comma behind it, or, as the last of several, with the one before.
            let cut = if canonical[end] == b',' {
                start..end + 1
            } else {
                start.max(2) - 1..end
            };
            return Some((hash, cut));
        }
        start = end + 1;
    }
    None
}

//! The full check: the chain, and that every event has the form in which the log seals.
//!
//! Invariants: an event passes only if its body is byte for byte canonical (so names are unique at every level, and every
//! reader sees the same event), its members have the types that an event has, and the log's receive times never go
//! back. Members that this version does not know are left alone: the hash covers them like all others.

use annals_core::body;
use annals_core::canon;
use annals_core::hash::EventHash;
use annals_core::limits::DEPTH_MAX;
use annals_core::time::Micros;
use annals_store::{EventRun, StoredEvent};

use crate::chain::{self, Break, ChainState};

/// How much of an event is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Position, link and hash: what the seed's `/verify` checks.
    Chain,
    /// In addition the event's form and the order of receive times.
    Full,
}

/// How far a log has been audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditState {
    /// Position and link.
    pub chain: ChainState,
    /// Receive time of the last event checked.
    pub received_at: Micros,
}

impl AuditState {
    /// Before the first event.
    #[must_use]
    pub fn start() -> Self {
        Self {
            chain: ChainState::start(),
            received_at: Micros(i64::MIN),
        }
    }

    /// Checks one stored event and moves behind it.
    ///
    /// # Errors
    /// The [`Break`]; the state is left as it was.
    pub fn check_event(&mut self, level: Level, event: &StoredEvent<'_>) -> Result<(), Break> {
        let mut chain = self.chain;
        chain::check_stored(&mut chain, event)?;
        if level == Level::Full {
            check_form(event.body).map_err(|what| Break::at(self.chain.next, what))?;
            if event.received_at < self.received_at {
                return Err(Break::at(self.chain.next, "receive time goes back"));
            }
        }
        *self = Self {
            chain,
            received_at: event.received_at,
        };
        Ok(())
    }
}

impl Default for AuditState {
    fn default() -> Self {
        Self::start()
    }
}

/// Checks every event of `run` in full and moves `state` behind it.
///
/// # Errors
/// The first [`Break`]; `state` is left at it.
pub fn check_run(state: &mut AuditState, run: &EventRun) -> Result<(), Break> {
    run.iter()
        .try_for_each(|event| state.check_event(Level::Full, &event))
}

/// Checks one body whose receive time is not known: position, link, hash and form.
///
/// # Errors
/// The [`Break`]; `state` is left as it was.
pub fn check_body(state: &mut ChainState, body: &[u8], hash: &EventHash) -> Result<(), Break> {
    let mut chain = *state;
    chain::check_event(&mut chain, body, hash)?;
    check_form(body).map_err(|what| Break::at(state.next, what))?;
    *state = chain;
    Ok(())
}

/// The members that every event has, in the order of canonical text, with the first byte of a value of the right type.
/// (`event_id` and `prev_hash` are compared with what they must be, which says more than their type.)
const REQUIRED: [(&[u8], Option<u8>); 6] = [
    (b"event_id", None),
    (b"kind", Some(b'"')),
    (b"payload", Some(b'{')),
    (b"prev_hash", None),
    (b"source", Some(b'"')),
    (b"timestamp", Some(b'"')),
];

fn check_form(body: &[u8]) -> Result<(), String> {
    canon::check_canonical(body, DEPTH_MAX)
        .map_err(|error| format!("body is not canonical JSON ({error})"))?;
    let mut required = REQUIRED.iter().peekable();
    for (name, value) in body::members(body) {
        if name == b"hash" {
            return Err(String::from("body contains its own hash"));
        }
        if let Some((_, opening)) = required.next_if(|(wanted, _)| *wanted == name)
            && opening.is_some_and(|byte| value.first() != Some(&byte))
        {
            return Err(format!("`{}` has the wrong type", name.escape_ascii()));
        }
    }
    match required.next() {
        None => Ok(()),
        Some((missing, _)) => Err(format!("`{}` is missing", missing.escape_ascii())),
    }
}

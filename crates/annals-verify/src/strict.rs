//! The full check: the chain, and that every event has the form in which the log seals.
//!
//! Invariants: an event passes only if its body is byte for byte canonical (so names are unique at every level, and every
//! reader sees the same event), its members are those of its version and have the types that an event has, the log's receive
//! times never go back, and an event that states its own states the log's. Members that this version does not know are left alone: the hash covers them like all others.

mod form;

use annals_core::hash::EventHash;
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
            let stated = form::check(event.body).map_err(|what| Break::at(self.chain.next, what))?;
            if stated.is_some_and(|stated| stated != event.received_at) {
                return Err(Break::at(
                    self.chain.next,
                    "`received_at` is not the log's receive time",
                ));
            }
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
    form::check(body).map_err(|what| Break::at(state.next, what))?;
    *state = chain;
    Ok(())
}

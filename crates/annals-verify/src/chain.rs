//! The chain, link by link: positions, links, hashes. The fast check, one SHA-256 and a few comparisons an event.
//!
//! Invariants: the checks and their order are the seed's (position, then link, then hash; the first failure is the
//! break); after a failure the state is still at the event that failed. The hash is always computed over the very bytes
//! that are stored. Whether those bytes are well-formed and canonical is the strict check's business.

use std::fmt;

use annals_core::body;
use annals_core::chain::EventId;
use annals_core::hash::{EventHash, HASH_HEX_LEN};
use annals_store::{EventRun, StoredEvent};
use memchr::memrchr;
use thiserror::Error;

/// How far a chain has been checked: what the next event must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainState {
    /// The id of the next event to check.
    pub next: EventId,
    /// Hash of the event before it, [`EventHash::GENESIS`] when there is none.
    pub prev: EventHash,
}

/// The first event at which a chain is not what was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct Break {
    /// The position at which the chain breaks; every event before it is intact.
    pub event: EventId,
    /// What is wrong, in the seed's words where the seed has words for it.
    pub reason: String,
}

impl ChainState {
    /// Before the first event.
    #[must_use]
    pub fn start() -> Self {
        Self {
            next: EventId::FIRST,
            prev: EventHash::GENESIS,
        }
    }

    /// Number of events that were found intact from the start of the log on.
    #[must_use]
    pub fn checked(&self) -> u64 {
        self.next.get() - 1
    }
}

impl Default for ChainState {
    fn default() -> Self {
        Self::start()
    }
}

impl Break {
    pub(crate) fn at(event: EventId, what: impl fmt::Display) -> Self {
        Self {
            event,
            reason: format!("{what} at event #{event}"),
        }
    }

    fn wrong_id(event: EventId, found: impl fmt::Display) -> Self {
        Self {
            event,
            reason: format!("event_id should be {event}, got {found}"),
        }
    }
}

/// Checks every event of `run` and moves `state` behind it.
///
/// # Errors
/// The first [`Break`]; `state` is left at it.
pub fn check_run(state: &mut ChainState, run: &EventRun) -> Result<(), Break> {
    run.iter().try_for_each(|event| check_stored(state, &event))
}

/// Checks one event at the position that the storage gives it.
pub(crate) fn check_stored(state: &mut ChainState, event: &StoredEvent<'_>) -> Result<(), Break> {
    if event.id != state.next {
        return Err(Break::wrong_id(state.next, event.id));
    }
    check_event(state, event.body, &event.hash)
}

/// Checks one event: `body` without its `hash` member, and the hash that goes with it.
///
/// # Errors
/// The [`Break`]; `state` is left as it was.
pub fn check_event(state: &mut ChainState, body: &[u8], hash: &EventHash) -> Result<(), Break> {
    if !states_id(body, state.next) {
        return Err(Break::wrong_id(
            state.next,
            ShownId(last_member(body, b"event_id")),
        ));
    }
    if !states_link(body, &state.prev) {
        return Err(Break::at(state.next, "prev_hash mismatch"));
    }
    if EventHash::of(body) != *hash {
        return Err(Break::at(state.next, "hash mismatch"));
    }
    *state = ChainState {
        next: state.next.plus(1),
        prev: *hash,
    };
    Ok(())
}

/// Whether the body's `event_id` is `id`. Seed-shaped bodies start with it; others are walked.
fn states_id(body: &[u8], id: EventId) -> bool {
    match leading_id(body) {
        Some(found) => found == id.get(),
        None => last_member(body, b"event_id").and_then(decimal) == Some(id.get()),
    }
}

fn leading_id(body: &[u8]) -> Option<u64> {
    let rest = body.strip_prefix(b"{\"event_id\":")?;
    let len = rest.iter().take(21).position(|byte| *byte == b',')?;
    decimal(&rest[..len])
}

/// A JSON integer that fits an id; no sign, no leading zero.
fn decimal(text: &[u8]) -> Option<u64> {
    if text.first().is_none_or(|digit| *digit == b'0') {
        return None;
    }
    text.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Whether the body's `prev_hash` is `prev`. In a seed-shaped body it lies at a place counted from the end; any body that
/// does not look like that is walked member by member.
fn states_link(body: &[u8], prev: &EventHash) -> bool {
    match trailing_link(body) {
        Some(found) => is_hex_of(found, prev),
        None => last_member(body, b"prev_hash")
            .and_then(|text| text.strip_prefix(b"\"")?.strip_suffix(b"\""))
            .is_some_and(|found| is_hex_of(found, prev)),
    }
}

/// Whether `text` is the 64 lower-case digits of `hash`. Eight digits at a time and without branches: after the hash
/// itself this is what the chain costs.
fn is_hex_of(text: &[u8], hash: &EventHash) -> bool {
    let (digits, []) = text.as_chunks::<8>() else {
        return false;
    };
    let (bytes, _) = hash.0.as_chunks::<4>();
    digits.len() == bytes.len()
        && digits
            .iter()
            .zip(bytes)
            .all(|(digits, bytes)| u64::from_le_bytes(*digits) == hex_of(*bytes))
}

/// The eight digits of four bytes, the first digit in the lowest byte.
fn hex_of(bytes: [u8; 4]) -> u64 {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let spread = u64::from(u32::from_le_bytes(bytes));
    let spread = (spread | (spread << 16)) & 0x0000_ffff_0000_ffff;
    let spread = (spread | (spread << 8)) & 0x00ff_00ff_00ff_00ff;
    // Of each byte, now in a lane of 16 bits, the high half first.
    let nibbles = ((spread >> 4) & 0x000f_000f_000f_000f) | ((spread & 0x000f_000f_000f_000f) << 8);
    let letters = ((nibbles + 6 * EACH) >> 4) & EACH;
    nibbles + u64::from(b'0') * EACH + letters * u64::from(b'a' - b'0' - 10)
}

/// The `prev_hash` of a body that ends with `,"prev_hash":"…","source":"…","timestamp":"…"}`, read backwards.
///
/// Such an end can not be forged from inside the payload: its one closing brace is the body's last byte, so the members in
/// front of it are the event's own, and a quote inside a JSON string has a backslash before it, so none of the three
/// names can be part of a string.
fn trailing_link(body: &[u8]) -> Option<&[u8]> {
    let rest = body.strip_suffix(b"\"}")?;
    let rest = before_string(rest)?.strip_suffix(b",\"timestamp\":")?;
    let rest = before_string(rest.strip_suffix(b"\"")?)?.strip_suffix(b",\"source\":")?;
    let rest = rest.strip_suffix(b"\"")?;
    let (rest, link) = rest.split_at_checked(rest.len().checked_sub(HASH_HEX_LEN)?)?;
    rest.ends_with(b",\"prev_hash\":\"").then_some(link)
}

/// What lies before the opening quote of the string whose content `text` ends with. A content that has a quote of its own
/// (behind a backslash) leaves the caller at that quote, where no member name can be.
fn before_string(text: &[u8]) -> Option<&[u8]> {
    memrchr(b'"', text).map(|quote| &text[..quote])
}

/// The raw value of a top-level member; of several with this name the last, as in the seed's parser.
fn last_member<'a>(body: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    body::members(body)
        .filter(|(key, _)| *key == name)
        .last()
        .map(|(_, value)| value)
}

/// What stands where the id should be, short and printable.
struct ShownId<'a>(Option<&'a [u8]>);

impl fmt::Display for ShownId<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN_BYTES_MAX: usize = 40;
        match self.0 {
            None => f.write_str("null"),
            Some(text) if text.len() <= SHOWN_BYTES_MAX => text.escape_ascii().fmt(f),
            Some(text) => write!(f, "{}…", text[..SHOWN_BYTES_MAX].escape_ascii()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Red when: `hex_of` takes `nibbles + 7 * EACH` for its letters, or swaps the halves of a byte.
    #[test]
    fn digits_are_those_of_the_text_form() {
        for byte in 0..=u8::MAX {
            let hash = EventHash([byte; 32]);
            let mut text = hash.to_string().into_bytes();
            assert!(is_hex_of(&text, &hash));
            assert!(!is_hex_of(&text[1..], &hash) && !is_hex_of(&text[8..], &hash));
            text[63] ^= 1;
            assert!(!is_hex_of(&text, &hash));
        }
        let hash = EventHash::of(b"abc");
        assert!(is_hex_of(hash.to_string().as_bytes(), &hash));
        assert!(!is_hex_of(hash.to_string().to_uppercase().as_bytes(), &hash));
    }
}

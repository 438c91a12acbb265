//! SHA-256 values of the chain, and their one text form: 64 lower-case hex digits.
//!
//! Invariant: a hash read from text is lower-case; upper-case is not the seed's form and is refused, so that equal
//! hashes always have equal text.

use std::fmt;

use sha2::{Digest, Sha256};

/// Length in bytes of a hash in its text form.
pub const HASH_HEX_LEN: usize = 64;

/// The SHA-256 of one sealed event's body (32 bytes), the chain's link and the Merkle tree's entry.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventHash(pub [u8; 32]);

impl EventHash {
    /// The `prev_hash` of event 1: 64 zeros.
    pub const GENESIS: Self = Self([0; 32]);

    /// The hash of `body`, the canonical bytes of an event without its `hash` member.
    #[must_use]
    pub fn of(body: &[u8]) -> Self {
        Self(Sha256::digest(body).into())
    }

    /// Reads 64 lower-case hex digits; anything else is `None`.
    #[must_use]
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let text: &[u8; HASH_HEX_LEN] = text.try_into().ok()?;
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
            *byte = (nibble(pair[0])? << 4) | nibble(pair[1])?;
        }
        Some(Self(bytes))
    }

    /// The 64 lower-case hex digits.
    #[must_use]
    pub fn to_hex(&self) -> [u8; HASH_HEX_LEN] {
        let mut text = [0; HASH_HEX_LEN];
        for (pair, byte) in text.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX_DIGITS[usize::from(byte >> 4)];
            pair[1] = HEX_DIGITS[usize::from(byte & 0x0f)];
        }
        text
    }
}

const HEX_DIGITS: &[u8; 16] = b"0123456789abcdef";

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for EventHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EventHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EventHash({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_goes_round_and_refuses_upper_case() {
        let hash = EventHash::of(b"abc");
        let text = hash.to_string();
        assert_eq!(
            text,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(text.as_bytes(), hash.to_hex());
        assert_eq!(EventHash::from_hex(text.as_bytes()), Some(hash));
        // Red when: `nibble` also takes b'A'..=b'F'.
        assert_eq!(EventHash::from_hex(text.to_uppercase().as_bytes()), None);
        assert_eq!(EventHash::from_hex(&text.as_bytes()[1..]), None);
    }
}

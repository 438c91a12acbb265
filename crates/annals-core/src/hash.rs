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
        for (digits, bytes) in text.as_chunks_mut().0.iter_mut().zip(self.0.as_chunks().0) {
            *digits = eight_digits(*bytes);
        }
        text
    }
}

/// The hex digits of four bytes, without branches and tables: every event that is sealed waits for it.
fn eight_digits(bytes: [u8; 4]) -> [u8; 8] {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // One byte in every second one of eight, in order from the lowest.
    let mut spread = u64::from(u32::from_le_bytes(bytes));
    spread = (spread | spread << 16) & 0x0000_ffff_0000_ffff;
    spread = (spread | spread << 8) & 0x00ff_00ff_00ff_00ff;
    let halves = (spread >> 4 & 0x000f_000f_000f_000f) | (spread & 0x000f_000f_000f_000f) << 8;
    // 10 and more reach 16 when 6 is added: these are letters.
    let letters = (halves + EACH * 6) >> 4 & EACH;
    let digits = halves + EACH * u64::from(b'0') + letters * u64::from(b'a' - b'0' - 10);
    digits.to_le_bytes()
}

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

    /// Red when: in `eight_digits`, 6 becomes 7, or the halves are not swapped.
    #[test]
    fn every_byte_has_its_digits_in_every_place() {
        for byte in 0..=u8::MAX {
            for place in 0..32 {
                let mut hash = EventHash([0x9a; 32]);
                hash.0[place] = byte;
                assert_eq!(hash.to_string().as_bytes(), hash.to_hex());
            }
        }
    }

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

//! Fingerprints of terms: SipHash-2-4 under the log's UUID, of which a run keeps the lower 32 bits.
//!
//! A fingerprint only says where to look. The key is public with the log's UUID: whoever tries can write terms that share
//! one, and thereby make the search for one of them read bodies in vain, within the bounds of every search.

use std::hash::Hasher as _;

use annals_core::chain::LogId;
use siphasher::sip::SipHasher24;

/// Longest term that a run holds in full, in bytes. A longer one is always found by its fingerprint.
pub(crate) const TERM_BYTES_MAX: usize = 255;

/// Makes the fingerprints of one log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prints {
    empty: SipHasher24,
}

impl Prints {
    pub(crate) fn of(log: LogId) -> Self {
        Self {
            empty: SipHasher24::new_with_key(&log.0),
        }
    }

    /// All 64 bits, over the field's number in a byte and the term.
    pub(crate) fn hash(&self, field: u8, term: &[u8]) -> u64 {
        let mut hasher = self.empty;
        hasher.write(&[field]);
        hasher.write(term);
        hasher.finish()
    }

    pub(crate) fn print(&self, field: u8, term: &[u8]) -> u32 {
        lower_half(self.hash(field, term))
    }
}

pub(crate) fn lower_half(hash: u64) -> u32 {
    let [a, b, c, d, ..] = hash.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_siphash_2_4() {
        // SipHash paper, appendix A: key 00..0f, message 00..0e.
        let log = LogId(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let rest: Vec<u8> = (1..15).collect();
        assert_eq!(Prints::of(log).hash(0, &rest), 0xa129_ca61_49be_45e5);
        assert_eq!(Prints::of(log).print(0, &rest), 0x49be_45e5);
    }
}

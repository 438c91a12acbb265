//! Numbers in few bits: a cursor over bytes, varints, and Rice codes.
//!
//! A Rice code of parameter `k` is the number's bits above the lowest `k` in unary (that many zeros, then a one), then the
//! lowest `k` bits. Bits fill bytes from the least significant on. The parameter follows from the mean, so that one outlier
//! costs a few bits and not a wider block.
//!
//! Invariant: a reader never goes past its bytes, and what it returns was there.

use crate::fault::Broken;

/// Numbers that share one parameter.
pub(crate) const BLOCK: usize = 128;

const ENDS: Broken = Broken("an entry goes past its end");

/// The parameter for `count` numbers with this sum: the largest `k` with `3 × count × 2^k ≤ 2 × sum`, or 0. With it, the unary
/// parts have together fewer than `3 × count` zeros.
pub(crate) fn rice_parameter(sum: u64, count: u64) -> u32 {
    let (numerator, denominator) = (2 * sum, 3 * count);
    if denominator == 0 || numerator < denominator {
        return 0;
    }
    let k = numerator.ilog2() - denominator.ilog2();
    if denominator << k > numerator { k - 1 } else { k }
}

/// Puts bits behind each other into bytes.
pub(crate) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    waiting: u64,
    bits: u32,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut Vec<u8>) -> Self {
        Self {
            out,
            waiting: 0,
            bits: 0,
        }
    }

    /// The lowest `bits` bits of `value`, at most 32; the others are zero.
    pub(crate) fn put(&mut self, value: u32, bits: u32) {
        debug_assert!(bits <= 32 && (bits == 32 || value >> bits == 0));
        self.waiting |= u64::from(value) << self.bits;
        self.bits += bits;
        if self.bits >= 32 {
            let bytes = self.waiting.to_le_bytes();
            self.out.extend_from_slice(&bytes[..4]);
            self.waiting >>= 32;
            self.bits -= 32;
        }
    }

    pub(crate) fn rice(&mut self, value: u32, k: u32) {
        let mut zeros = value >> k;
        while zeros >= 31 {
            self.put(0, 31);
            zeros -= 31;
        }
        self.put(1 << zeros, zeros + 1);
        self.put(value & low_bits(k), k);
    }

    /// Zeros up to the next whole byte.
    pub(crate) fn finish(self) {
        let bytes = self.waiting.to_le_bytes();
        let len = usize::try_from(self.bits.div_ceil(8)).unwrap_or(0);
        self.out.extend_from_slice(&bytes[..len]);
    }
}

/// The lowest `k` bits set; `k` is at most 31.
fn low_bits(k: u32) -> u32 {
    (1 << k) - 1
}

/// Takes what [`BitWriter`] put.
pub(crate) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> BitReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// At least 57 bits from here on, zeros behind the end.
    fn peek(&self) -> u64 {
        let start = self.at / 8;
        let word = match self.bytes.get(start..start + 8) {
            Some(bytes) => u64::from_le_bytes(bytes.try_into().unwrap_or_default()),
            None => {
                let mut padded = [0; 8];
                let rest = self.bytes.get(start..).unwrap_or_default();
                padded[..rest.len()].copy_from_slice(rest);
                u64::from_le_bytes(padded)
            }
        };
        word >> (self.at % 8)
    }

    fn advance(&mut self, bits: u32) -> Result<(), Broken> {
        self.at += bits as usize;
        if self.at > self.bytes.len() * 8 {
            return Err(ENDS);
        }
        Ok(())
    }

    /// The next `bits` bits, at most 32.
    pub(crate) fn take(&mut self, bits: u32) -> Result<u32, Broken> {
        let value = self.peek() & ((1 << bits) - 1);
        self.advance(bits)?;
        u32::try_from(value).map_err(|_| ENDS)
    }

    /// The next number with parameter `k`, which is at most 31.
    pub(crate) fn rice(&mut self, k: u32) -> Result<u32, Broken> {
        let word = self.peek();
        let zeros = word.trailing_zeros();
        if zeros + 1 + k > 57 {
            return self.long_rice(k);
        }
        let value = (u64::from(zeros) << k) | ((word >> (zeros + 1)) & u64::from(low_bits(k)));
        self.advance(zeros + 1 + k)?;
        u32::try_from(value).map_err(|_| Broken("a number is too large"))
    }

    fn long_rice(&mut self, k: u32) -> Result<u32, Broken> {
        let mut high = 0_u64;
        loop {
            let zeros = self.peek().trailing_zeros().min(57);
            high += u64::from(zeros);
            self.advance(zeros)?;
            if zeros < 57 {
                break;
            }
        }
        self.advance(1)?;
        let value = (high << k) | u64::from(self.take(k)?);
        u32::try_from(value).map_err(|_| Broken("a number is too large"))
    }

    /// Bytes up to here: an encoder fills its last one.
    fn bytes_read(&self) -> usize {
        self.at.div_ceil(8)
    }
}

/// A cursor over bytes.
#[derive(Debug, Clone)]
pub(crate) struct Bytes<'a> {
    rest: &'a [u8],
}

impl<'a> Bytes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Broken> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ENDS)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Broken> {
        self.take(N)?.try_into().map_err(|_| ENDS)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Broken> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Broken> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Broken> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Broken> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Broken> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// LEB128 of at most 32 bits.
    pub(crate) fn varint(&mut self) -> Result<u32, Broken> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| Broken("a number is too large"));
            }
        }
        Err(Broken("a number is too long"))
    }
}

pub(crate) fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}

pub(crate) fn varint_len(value: u32) -> usize {
    1 + value.checked_ilog2().unwrap_or(0) as usize / 7
}

/// Writes numbers below 2^17 in blocks of [`BLOCK`]: the parameter in a byte, then the codes, filled to a byte.
pub(crate) fn put_values(values: &[u32], out: &mut Vec<u8>) {
    for block in values.chunks(BLOCK) {
        let k = block_parameter(block);
        out.push((k & 0x1f) as u8);
        let mut bits = BitWriter::new(out);
        for value in block {
            bits.rice(*value, k);
        }
        bits.finish();
    }
}

/// Bytes that [`put_values`] writes.
pub(crate) fn values_len(values: &[u32]) -> usize {
    let block_len = |block: &[u32]| {
        let k = block_parameter(block);
        let zeros: usize = block.iter().map(|value| (value >> k) as usize).sum();
        1 + (zeros + block.len() * (k as usize + 1)).div_ceil(8)
    };
    values.chunks(BLOCK).map(block_len).sum()
}

fn block_parameter(block: &[u32]) -> u32 {
    let sum = block.iter().map(|value| u64::from(*value)).sum();
    rice_parameter(sum, block.len() as u64)
}

/// Reads `count` numbers of [`put_values`] and hands them over one by one.
pub(crate) fn read_values(
    bytes: &mut Bytes<'_>,
    count: usize,
    mut each: impl FnMut(u32) -> Result<(), Broken>,
) -> Result<(), Broken> {
    let mut left = count;
    while left > 0 {
        let k = u32::from(bytes.u8()?);
        if k > 31 {
            return Err(Broken("a number's parameter is too large"));
        }
        let mut bits = BitReader::new(bytes.rest);
        for _ in 0..left.min(BLOCK) {
            each(bits.rice(k)?)?;
        }
        bytes.take(bits.bytes_read())?;
        left -= left.min(BLOCK);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn round_trip(values: &[u32]) {
        let mut out = Vec::new();
        put_values(values, &mut out);
        assert_eq!(out.len(), values_len(values));
        let mut read = Vec::new();
        let mut bytes = Bytes::new(&out);
        read_values(&mut bytes, values.len(), |value| {
            read.push(value);
            Ok(())
        })
        .unwrap();
        assert_eq!((read.as_slice(), bytes.len()), (values, 0));
    }

    #[test]
    fn the_parameter_is_the_largest_that_its_rule_allows() {
        for count in [1_u64, 2, 7, 128] {
            for sum in [0_u64, 1, 2, 3, 100, 191, 192, 193, 65_535, 1 << 38] {
                let k = rice_parameter(sum, count);
                assert!(k == 0 || (3 * count) << k <= 2 * sum, "{sum}/{count}");
                assert!((3 * count) << (k + 1) > 2 * sum, "{sum}/{count}");
            }
        }
    }

    #[test]
    fn outliers_round_trip() {
        let mut values = vec![0; 200];
        values[100] = 65_535;
        round_trip(&values);
        round_trip(&[131_071]);
        round_trip(&[]);
    }

    proptest! {
        #[test]
        fn values_round_trip(values in prop::collection::vec(0_u32..131_072, 0..400)) {
            round_trip(&values);
        }

        #[test]
        fn small_values_round_trip(values in prop::collection::vec(0_u32..9, 0..400)) {
            round_trip(&values);
        }

        #[test]
        fn varints_round_trip(value: u32) {
            let mut out = Vec::new();
            put_varint(value, &mut out);
            prop_assert_eq!(out.len(), varint_len(value));
            prop_assert_eq!(Bytes::new(&out).varint(), Ok(value));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64), count in 0_usize..300) {
            let mut values = 0;
            let read = read_values(&mut Bytes::new(&bytes), count, |_| { values += 1; Ok(()) });
            prop_assert!(read.is_err() || values == count);
        }
    }
}

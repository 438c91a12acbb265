//! A frame's metadata: the cells that became durable with its batch. Layout: docs/format.md, "Frame".
//!
//! Invariants: what is encoded decodes to the same cells, in order; a decoder takes no length on trust. Entries whose tag has
//! the high bit set may be passed over; any other that is not known means a newer format.

use annals_store::{CallerId, Cell, Sequence};

use crate::frame::FrameFault;

const RECEIPT: u16 = 0x0001;
const POSITION: u16 = 0x0002;
/// Tags from here on may be passed over by who does not know them.
const OPTIONAL: u16 = 0x8000;
const ENTRY_HEADER_LEN: usize = 6;
/// A receipt but for its key.
const RECEIPT_LEN: usize = 4 + 4 + 32 + 16 + 1;
/// A position but for its producer.
const POSITION_LEN: usize = 1 + 8 + 8;

/// Bytes that [`encode`] appends for `cells`.
pub(crate) fn encoded_len(cells: &[Cell]) -> usize {
    let len = |cell: &Cell| match cell {
        Cell::Receipt { key, .. } => RECEIPT_LEN + key.len(),
        Cell::Position { producer, .. } => POSITION_LEN + producer.len(),
    };
    cells.iter().map(|cell| ENTRY_HEADER_LEN + len(cell)).sum()
}

/// Appends `cells` as metadata.
///
/// # Panics
/// When a key or a producer has more than 255 bytes; nobody can make such a cell through the log.
pub(crate) fn encode(cells: &[Cell], out: &mut Vec<u8>) {
    for cell in cells {
        match cell {
            Cell::Receipt {
                index,
                count,
                digest,
                caller,
                key,
            } => {
                entry(RECEIPT, RECEIPT_LEN + key.len(), out);
                out.extend_from_slice(&index.to_le_bytes());
                out.extend_from_slice(&count.to_le_bytes());
                out.extend_from_slice(digest);
                out.extend_from_slice(&caller.0);
                name(key, out);
            }
            Cell::Position { producer, sequence } => {
                entry(POSITION, POSITION_LEN + producer.len(), out);
                name(producer, out);
                out.extend_from_slice(&sequence.0.to_le_bytes());
                out.extend_from_slice(&sequence.1.to_le_bytes());
            }
        }
    }
}

fn entry(tag: u16, len: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&u32::try_from(len).expect("an entry is short").to_le_bytes());
}

fn name(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).expect("a name has at most 255 bytes"));
    out.extend_from_slice(text.as_bytes());
}

/// The cells of a frame's metadata.
///
/// # Errors
/// [`FrameFault::Metadata`] for an entry that this build does not know and must not ignore, [`FrameFault::Lengths`] for one
/// that contradicts itself or names events that the frame, which has `events` of them, does not have.
pub(crate) fn decode(meta: &[u8], events: u32) -> Result<Vec<Cell>, FrameFault> {
    let mut cells = Vec::new();
    let mut rest = Reader(meta);
    while !rest.0.is_empty() {
        let tag = u16::from_le_bytes(rest.array()?);
        let len = u32::from_le_bytes(rest.array()?);
        let mut value = Reader(rest.take(len as usize)?);
        match tag {
            RECEIPT => cells.push(receipt(&mut value, events)?),
            POSITION => cells.push(position(&mut value)?),
            OPTIONAL.. => continue,
            unknown => return Err(FrameFault::Metadata(unknown)),
        }
        if !value.0.is_empty() {
            return Err(FrameFault::Lengths);
        }
    }
    Ok(cells)
}

fn receipt(value: &mut Reader<'_>, events: u32) -> Result<Cell, FrameFault> {
    let index = u32::from_le_bytes(value.array()?);
    let count = u32::from_le_bytes(value.array()?);
    let fits = index.checked_add(count).is_some_and(|end| end <= events);
    if count == 0 || !fits {
        return Err(FrameFault::Lengths);
    }
    Ok(Cell::Receipt {
        index,
        count,
        digest: value.array()?,
        caller: CallerId(value.array()?),
        key: value.name()?,
    })
}

fn position(value: &mut Reader<'_>) -> Result<Cell, FrameFault> {
    let producer = value.name()?;
    let first = u64::from_le_bytes(value.array()?);
    let second = u64::from_le_bytes(value.array()?);
    Ok(Cell::Position {
        producer,
        sequence: Sequence(first, second),
    })
}

/// Bytes not read yet.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], FrameFault> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(FrameFault::Lengths)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameFault> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(FrameFault::Lengths)?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A length in one byte, and as many bytes of text; an empty name is none.
    fn name(&mut self) -> Result<Box<str>, FrameFault> {
        let [len] = self.array()?;
        let text = std::str::from_utf8(self.take(usize::from(len))?).map_err(|_| FrameFault::Lengths)?;
        if text.is_empty() {
            return Err(FrameFault::Lengths);
        }
        Ok(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cells() -> Vec<Cell> {
        vec![
            Cell::Receipt {
                index: 1,
                count: 2,
                digest: [7; 32],
                caller: CallerId([9; 16]),
                key: "k".repeat(255).into(),
            },
            Cell::Position {
                producer: "outbox/7a".into(),
                sequence: Sequence(u64::MAX, 3),
            },
        ]
    }

    fn encoded(cells: &[Cell]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(cells, &mut out);
        assert_eq!(out.len(), encoded_len(cells));
        out
    }

    #[test]
    fn cells_come_back_as_they_were() {
        assert_eq!(decode(&encoded(&cells()), 3), Ok(cells()));
        assert_eq!(decode(&[], 1), Ok(Vec::new()));
    }

    /// Red when: `fits` is not looked at in `receipt`.
    #[test]
    fn a_receipt_for_events_that_the_frame_does_not_have_is_refused() {
        assert_eq!(decode(&encoded(&cells()), 2), Err(FrameFault::Lengths));
    }

    /// Red when: `OPTIONAL..` takes every unknown tag.
    #[test]
    fn only_tags_with_the_high_bit_may_be_passed_over() {
        let mut optional = vec![0x34, 0x92, 1, 0, 0, 0, 0xff];
        optional.extend(encoded(&cells()));
        assert_eq!(decode(&optional, 3), Ok(cells()));
        assert_eq!(
            decode(&[0x34, 0x12, 0, 0, 0, 0], 3),
            Err(FrameFault::Metadata(0x1234))
        );
    }

    /// Red when: the check that a value is used up is left out of `decode`, or a length is trusted.
    #[test]
    fn every_cut_and_every_longer_value_is_refused() {
        let whole = encoded(&cells());
        let first_len = encoded_len(&cells()[..1]);
        for cut in (1..whole.len()).filter(|cut| *cut != first_len) {
            assert_eq!(decode(&whole[..cut], 3), Err(FrameFault::Lengths), "cut at {cut}");
        }
        let mut longer = encoded(&cells()[1..]);
        longer[2] += 1;
        longer.push(0);
        assert_eq!(decode(&longer, 3), Err(FrameFault::Lengths));
    }
}

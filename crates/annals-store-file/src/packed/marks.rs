//! Bodies without what is known or can not be compressed: text with marks, and two side streams. Layout: docs/format.md,
//! "Segment version 2".
//!
//! Canonical text has no control bytes, so they stand for what is left out: the event's id, the hash before it and its
//! receive time are known to whoever decodes; UUIDs and runs of hex digits are random, and their bytes go to a stream of
//! their own at half the length.
//!
//! Invariants: [`Streams::push`] takes any bytes whatever, and [`Bodies::next_into`] gives exactly them back, as long as both are told
//! the same of the event; a control byte that is no mark is escaped. Decoding never passes the bound that it is given, and never
//! panics.

use std::fmt::Write as _;

use annals_core::hash::{EventHash, HASH_HEX_LEN};
use annals_core::time::{Micros, TIMESTAMP_LEN};
use thiserror::Error;

/// The event's id in decimal.
const ID: u8 = 0x01;
/// The hash of the event before, in hex.
const PREV_HASH: u8 = 0x02;
/// The receive time as the log writes it.
const RECEIVED_AT: u8 = 0x03;
/// A UUIDv7: the distance of its time to the receive time among the numbers, its last 10 bytes among the raw ones.
const UUID_V7: u8 = 0x04;
/// Another UUID: 16 raw bytes.
const UUID: u8 = 0x05;
/// A run of hex digits: the next byte of text says how many raw bytes, 8 to 255.
const HEX: u8 = 0x06;
/// The next byte of text stands for itself.
const ESCAPE: u8 = 0x07;
/// The event ends.
const END: u8 = 0x0a;

/// Shorter runs of hex digits cost less as text, where they may repeat.
const HEX_DIGITS_MIN: usize = 16;
const UUID_LEN: usize = 36;
const UUID_V7_TAIL_LEN: usize = 10;
const ID_MEMBER: &[u8] = b"\"event_id\":";

/// Why streams are not those of any events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum StreamFault {
    /// A stream ends too early.
    #[error("its text ends before its last event does")]
    Short,
    /// There is more in a stream than its events take.
    #[error("there is more in it than its events take")]
    Long,
    /// The events are longer than was said.
    #[error("its events are longer than they were")]
    Bound,
    /// A mark that this build does not know.
    #[error("its text has the mark {0:#04x}, which this build does not know")]
    Mark(u8),
    /// A number that nothing can be made of.
    #[error("it holds a number that is out of range")]
    Number,
}

/// What is known of an event before its body is.
pub(crate) struct Known {
    id_digits: String,
    prev_hash: [u8; HASH_HEX_LEN],
    received_at: Micros,
    stamp: String,
}

impl Known {
    pub(crate) fn new(received_at: Micros) -> Self {
        Self {
            id_digits: String::with_capacity(20),
            prev_hash: [0; HASH_HEX_LEN],
            received_at,
            stamp: received_at.to_string(),
        }
    }

    /// Goes on to the event `id`, which follows the one with hash `prev_hash`.
    pub(crate) fn event(&mut self, id: u64, prev_hash: &EventHash) {
        self.id_digits.clear();
        // Writing to a string does not fail.
        write!(self.id_digits, "{id}").expect("memory");
        self.prev_hash = prev_hash.to_hex();
    }

    /// Says when the log received the events from here on.
    pub(crate) fn receive_time(&mut self, received_at: Micros) {
        if self.received_at != received_at {
            self.received_at = received_at;
            self.stamp.clear();
            write!(self.stamp, "{received_at}").expect("memory");
        }
    }

    fn received_millis(&self) -> i64 {
        self.received_at.0.div_euclid(1_000)
    }
}

/// The bodies of some events, ready to be compressed.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) text: Vec<u8>,
    pub(crate) numbers: Vec<u8>,
    pub(crate) raw: Vec<u8>,
}

impl Streams {
    pub(crate) fn clear(&mut self) {
        self.text.clear();
        self.numbers.clear();
        self.raw.clear();
    }

    /// Adds one body, of which `known` is known.
    pub(crate) fn push(&mut self, body: &[u8], known: &Known) {
        let mut taken = 0;
        let mut at = 0;
        while let Some(byte) = body.get(at) {
            let len = match CLASSES[usize::from(*byte)] {
                Class::Plain => {
                    at += 1;
                    continue;
                }
                Class::Hex => {
                    let run = hex_run(&body[at..]);
                    match Piece::at(body, at, run, known) {
                        Some(piece) => {
                            self.text.extend_from_slice(&body[taken..at]);
                            self.stand_in(&piece, &body[at..], known)
                        }
                        None => {
                            at += run;
                            continue;
                        }
                    }
                }
                Class::Control => {
                    self.text.extend_from_slice(&body[taken..at]);
                    self.text.extend_from_slice(&[ESCAPE, *byte]);
                    1
                }
            };
            at += len;
            taken = at;
        }
        self.text.extend_from_slice(&body[taken..]);
        self.text.push(END);
    }

    /// Writes what stands for the piece that `text` starts with; returns its length there.
    fn stand_in(&mut self, piece: &Piece, text: &[u8], known: &Known) -> usize {
        match piece {
            Piece::Id => {
                self.text.push(ID);
                known.id_digits.len()
            }
            Piece::PrevHash => {
                self.text.push(PREV_HASH);
                HASH_HEX_LEN
            }
            Piece::ReceivedAt => {
                self.text.push(RECEIVED_AT);
                TIMESTAMP_LEN
            }
            Piece::Uuid(bytes) => {
                if bytes[6] >> 4 == 7 {
                    let mut millis = [0; 8];
                    millis[2..].copy_from_slice(&bytes[..6]);
                    let distance = i64::from_be_bytes(millis).wrapping_sub(known.received_millis());
                    self.text.push(UUID_V7);
                    push_signed(&mut self.numbers, distance);
                    self.raw.extend_from_slice(&bytes[6..]);
                } else {
                    self.text.push(UUID);
                    self.raw.extend_from_slice(bytes);
                }
                UUID_LEN
            }
            Piece::Hex(count) => {
                self.text.extend_from_slice(&[HEX, *count]);
                let digits = &text[..usize::from(*count) * 2];
                self.raw.extend(digits.chunks_exact(2).map(byte_of));
                digits.len()
            }
        }
    }
}

/// What need not stand in the text.
enum Piece {
    Id,
    PrevHash,
    ReceivedAt,
    Uuid([u8; 16]),
    /// Twice as many digits.
    Hex(u8),
}

impl Piece {
    /// The piece that starts at `at`, where a run of `run` hex digits does.
    fn at(body: &[u8], at: usize, run: usize, known: &Known) -> Option<Self> {
        let rest = &body[at..];
        // Cheap looks first: there are runs of hex digits in most words.
        let byte_before = at.checked_sub(1).map(|before| body[before]);
        if run == known.id_digits.len()
            && byte_before == Some(b':')
            && rest.starts_with(known.id_digits.as_bytes())
            && body[..at].ends_with(ID_MEMBER)
        {
            return Some(Self::Id);
        }
        match run {
            4 if rest.get(4) == Some(&b'-') && rest.starts_with(known.stamp.as_bytes()) => {
                Some(Self::ReceivedAt)
            }
            8 if rest.get(8) == Some(&b'-') => uuid(rest).map(Self::Uuid),
            0..HEX_DIGITS_MIN => None,
            _ if rest.starts_with(&known.prev_hash) => Some(Self::PrevHash),
            _ => Some(Self::Hex(u8::try_from(run / 2).unwrap_or(u8::MAX))),
        }
    }
}

/// The UUID whose lower-case text is at the start.
fn uuid(text: &[u8]) -> Option<[u8; 16]> {
    let text = text.get(..UUID_LEN)?;
    let mut bytes = [0; 16];
    let mut filled = 0;
    for (start, end) in [(0, 8), (9, 13), (14, 18), (19, 23), (24, 36)] {
        let group = &text[start..end];
        let dash_is_missing = end < UUID_LEN && text[end] != b'-';
        if dash_is_missing || hex_run(group) != group.len() {
            return None;
        }
        for pair in group.chunks_exact(2) {
            bytes[filled] = byte_of(pair);
            filled += 1;
        }
    }
    Some(bytes)
}

/// Reads bodies back out of their streams.
pub(crate) struct Bodies<'a> {
    text: &'a [u8],
    numbers: &'a [u8],
    raw: &'a [u8],
}

impl<'a> Bodies<'a> {
    /// Bodies whose marks stand for the numbers behind those that were [read](Self::number) before, and for the raw bytes.
    pub(crate) fn new(text: &'a [u8], numbers: &'a [u8], raw: &'a [u8]) -> Self {
        Self { text, numbers, raw }
    }

    /// The next number.
    pub(crate) fn number(&mut self) -> Result<u64, StreamFault> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.numbers.split_first().ok_or(StreamFault::Short)?;
            self.numbers = rest;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(StreamFault::Number)
    }

    /// Appends the next body to `out`, which must not become longer than `end_max`.
    pub(crate) fn next_into(
        &mut self,
        known: &Known,
        out: &mut Vec<u8>,
        end_max: usize,
    ) -> Result<(), StreamFault> {
        loop {
            let plain = self.text.iter().position(|byte| *byte < 0x20);
            let (plain, rest) = self.text.split_at(plain.ok_or(StreamFault::Short)?);
            let (mark, rest) = rest.split_first().ok_or(StreamFault::Short)?;
            self.text = rest;
            out.extend_from_slice(plain);
            match *mark {
                END => break,
                ID => out.extend_from_slice(known.id_digits.as_bytes()),
                PREV_HASH => out.extend_from_slice(&known.prev_hash),
                RECEIVED_AT => out.extend_from_slice(known.stamp.as_bytes()),
                UUID_V7 => push_uuid(out, &self.uuid_v7(known)?),
                UUID => push_uuid(out, self.raw(16)?),
                HEX => {
                    let count = usize::from(self.text_byte()?);
                    push_hex(out, self.raw(count)?);
                }
                ESCAPE => out.push(self.text_byte()?),
                other => return Err(StreamFault::Mark(other)),
            }
            // A piece is at most 510 bytes, plain text at most what was decompressed: one check behind them bounds both.
            if out.len() > end_max {
                return Err(StreamFault::Bound);
            }
        }
        if out.len() > end_max {
            return Err(StreamFault::Bound);
        }
        Ok(())
    }

    /// All streams are used up.
    pub(crate) fn finish(&self) -> Result<(), StreamFault> {
        if self.text.is_empty() && self.numbers.is_empty() && self.raw.is_empty() {
            Ok(())
        } else {
            Err(StreamFault::Long)
        }
    }

    fn uuid_v7(&mut self, known: &Known) -> Result<[u8; 16], StreamFault> {
        let distance = unzigzag(self.number()?);
        let millis = known.received_millis().wrapping_add(distance).to_be_bytes();
        if millis[..2] != [0, 0] {
            return Err(StreamFault::Number);
        }
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&millis[2..]);
        bytes[6..].copy_from_slice(self.raw(UUID_V7_TAIL_LEN)?);
        Ok(bytes)
    }

    fn text_byte(&mut self) -> Result<u8, StreamFault> {
        let (byte, rest) = self.text.split_first().ok_or(StreamFault::Short)?;
        self.text = rest;
        Ok(*byte)
    }

    fn raw(&mut self, len: usize) -> Result<&'a [u8], StreamFault> {
        let (bytes, rest) = self.raw.split_at_checked(len).ok_or(StreamFault::Short)?;
        self.raw = rest;
        Ok(bytes)
    }
}

/// Appends a number, seven bits a byte, the lowest first (LEB128).
pub(crate) fn push_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(0x80 | number.to_le_bytes()[0]);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

/// Appends a signed number: 0, −1, 1, −2, … as 0, 1, 2, 3, …
pub(crate) fn push_signed(out: &mut Vec<u8>, number: i64) {
    push_number(out, ((number << 1) ^ (number >> 63)).cast_unsigned());
}

/// The signed number that [`push_signed`] wrote as `number`.
pub(crate) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -(number & 1).cast_signed()
}

fn push_hex(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend(bytes.iter().flat_map(|byte| HEX_PAIRS[usize::from(*byte)]));
}

fn push_uuid(out: &mut Vec<u8>, bytes: &[u8]) {
    for (start, end) in [(0, 4), (4, 6), (6, 8), (8, 10)] {
        push_hex(out, &bytes[start..end]);
        out.push(b'-');
    }
    push_hex(out, &bytes[10..]);
}

/// Length of the run of lower-case hex digits at the start.
fn hex_run(text: &[u8]) -> usize {
    let is_digit = |byte: &u8| CLASSES[usize::from(*byte)] == Class::Hex;
    text.iter().position(|byte| !is_digit(byte)).unwrap_or(text.len())
}

/// The byte that two lower-case hex digits are.
fn byte_of(pair: &[u8]) -> u8 {
    let nibble = |digit: u8| match digit {
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'0'),
    };
    nibble(pair[0]) << 4 | nibble(pair[1])
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Plain,
    Hex,
    Control,
}

/// What each byte is.
static CLASSES: [Class; 256] = {
    let mut classes = [Class::Plain; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte {
            0x00..0x20 => Class::Control,
            0x30..=0x39 | 0x61..=0x66 => Class::Hex,
            _ => Class::Plain,
        };
        byte += 1;
    }
    classes
};

/// The two digits of each byte.
static HEX_PAIRS: [[u8; 2]; 256] = {
    let digits = *b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [digits[byte >> 4], digits[byte & 15]];
        byte += 1;
    }
    pairs
};

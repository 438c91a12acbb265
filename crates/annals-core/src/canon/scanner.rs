//! The scanner: one pass over a JSON text by recursive descent, handing canonical text to an [`Output`].
//!
//! Invariants: `run..pos` is input that is canonical as it stands and not handed over yet; whatever lies before `run`
//! has been. A container uses one level of its depth budget, so the budget bounds the recursion.

use super::error::{CanonError, CanonErrorKind};
use super::number;
use super::order::{Keys, Mark};
use super::output::{KeyOrder, Output};
use super::string::{Escape, Literal, plain_end, read_escape};
use super::{DEPTH_CEILING, INTEGER_DIGITS_MAX, ValueKind};

/// A text, how far it has been read, and where its canonical form goes.
pub(super) struct Scanner<'i, O> {
    input: &'i [u8],
    pos: usize,
    run: usize,
    out: O,
    keys: Keys,
}

impl<'i, O: Output> Scanner<'i, O> {
    pub(super) fn new(input: &'i [u8], out: O) -> Self {
        Self::starting_at(input, 0, out)
    }

    /// A scanner in the middle of `input`.
    pub(super) fn starting_at(input: &'i [u8], pos: usize, out: O) -> Self {
        Self {
            input,
            pos,
            run: pos,
            out,
            keys: Keys::default(),
        }
    }

    /// Exactly one document, white space around it allowed.
    pub(super) fn document(mut self, depth_max: u32) -> Result<(), CanonError> {
        self.skip_white()?;
        self.refuse_byte_order_mark()?;
        self.value(depth_max.min(DEPTH_CEILING))?;
        self.skip_white()?;
        self.end()?;
        self.flush(self.pos)
    }

    /// Byte offset of what comes next.
    pub(super) fn pos(&self) -> usize {
        self.pos
    }

    /// The byte that comes next.
    pub(super) fn peek(&self) -> Option<u8> {
        self.input.get(self.pos).copied()
    }

    /// Takes `byte`, or says what is there instead.
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), CanonError> {
        if self.peek() == Some(byte) {
            self.pos += 1;
            return Ok(());
        }
        Err(self.unexpected())
    }

    /// The error for whatever comes next.
    pub(super) fn unexpected(&self) -> CanonError {
        match self.peek() {
            Some(byte) => CanonErrorKind::UnexpectedByte(byte).at(self.pos),
            None => CanonErrorKind::UnexpectedEnd.at(self.pos),
        }
    }

    pub(super) fn refuse_byte_order_mark(&self) -> Result<(), CanonError> {
        if self.input.starts_with(b"\xef\xbb\xbf") {
            Err(CanonErrorKind::ByteOrderMark.at(0))
        } else {
            Ok(())
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&self) -> Result<(), CanonError> {
        if self.pos < self.input.len() {
            Err(CanonErrorKind::TrailingBytes.at(self.pos))
        } else {
            Ok(())
        }
    }

    /// Drops white space.
    #[inline]
    pub(super) fn skip_white(&mut self) -> Result<(), CanonError> {
        if self.peek().is_some_and(is_white) {
            self.drop_white()
        } else {
            Ok(())
        }
    }

    fn drop_white(&mut self) -> Result<(), CanonError> {
        let start = self.pos;
        while self.peek().is_some_and(is_white) {
            self.pos += 1;
        }
        self.rewrite(start, b"")
    }

    /// Hands over everything up to `end` that has not been.
    pub(super) fn flush(&mut self, end: usize) -> Result<(), CanonError> {
        let text = &self.input[self.run..end];
        self.out.verbatim(text).map_err(|kind| kind.at(self.run))?;
        self.run = end;
        Ok(())
    }

    /// Leaves out the input since the last [`Self::flush`].
    pub(super) fn leave_out(&mut self) {
        self.run = self.pos;
    }

    /// The output.
    pub(super) fn out(&mut self) -> &mut O {
        &mut self.out
    }

    /// `canonical` stands for the input from `start` to here.
    fn rewrite(&mut self, start: usize, canonical: &[u8]) -> Result<(), CanonError> {
        self.flush(start)?;
        self.out.rewritten(canonical).map_err(|kind| kind.at(start))?;
        self.run = self.pos;
        Ok(())
    }

    /// As [`Self::rewrite`], unless the input says the same.
    fn settle(&mut self, start: usize, canonical: &[u8]) -> Result<(), CanonError> {
        if &self.input[start..self.pos] == canonical {
            Ok(())
        } else {
            self.rewrite(start, canonical)
        }
    }

    /// Where the canonical form of what comes next will be in the output.
    fn out_position(&self) -> Result<usize, CanonError> {
        self.out
            .position(self.pos - self.run)
            .map_err(|kind| kind.at(self.pos))
    }

    /// One value, without white space around it, nested at most `depth` deep.
    pub(super) fn value(&mut self, depth: u32) -> Result<ValueKind, CanonError> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ValueKind::String),
            Some(b'{') => self.object(depth).map(|()| ValueKind::Object),
            Some(b'[') => self.array(depth).map(|()| ValueKind::Array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", ValueKind::Bool),
            Some(b'f') => self.word(b"false", ValueKind::Bool),
            Some(b'n') => self.word(b"null", ValueKind::Null),
            _ => Err(self.not_a_value()),
        }
    }

    /// Enters a container: its opening bracket, at the cost of one level. Says how many levels are left.
    pub(super) fn enter(&mut self, depth: u32) -> Result<u32, CanonError> {
        let inner = depth.checked_sub(1).ok_or(CanonErrorKind::TooDeep.at(self.pos))?;
        self.pos += 1;
        self.skip_white()?;
        Ok(inner)
    }

    /// After a member or item: whether another follows. Otherwise takes `close`.
    pub(super) fn another(&mut self, close: u8) -> Result<bool, CanonError> {
        self.skip_white()?;
        if self.peek() == Some(b',') {
            self.pos += 1;
            self.skip_white()?;
            return Ok(true);
        }
        self.expect(close)?;
        Ok(false)
    }

    fn array(&mut self, depth: u32) -> Result<(), CanonError> {
        let inner = self.enter(depth)?;
        if self.peek() == Some(b']') {
            self.pos += 1;
            return Ok(());
        }
        loop {
            self.value(inner)?;
            if !self.another(b']')? {
                return Ok(());
            }
        }
    }

    fn object(&mut self, depth: u32) -> Result<(), CanonError> {
        let inner = self.enter(depth)?;
        if self.peek() == Some(b'}') {
            self.pos += 1;
            return Ok(());
        }
        let mark = self.keys.open();
        let mut ascending = true;
        loop {
            ascending &= self.key(mark)?;
            self.colon()?;
            self.value(inner)?;
            if O::KEY_ORDER == KeyOrder::Restore {
                let text_end = self.out_position()?;
                self.keys.end_member(text_end);
            }
            if !self.another(b'}')? {
                break;
            }
        }
        if O::KEY_ORDER == KeyOrder::Restore && !ascending {
            self.flush(self.pos)?;
            if let Some(text) = self.out.text() {
                self.keys.sort_members(mark, self.input, text);
            }
        }
        self.keys.close(mark);
        Ok(())
    }

    /// A member's key. Says whether it is above the one before it.
    fn key(&mut self, mark: Mark) -> Result<bool, CanonError> {
        let text_start = self.out_position()?;
        let key = self.string()?;
        if O::KEY_ORDER == KeyOrder::Ignore {
            return Ok(true);
        }
        let ascends = self.keys.add(mark, self.input, key, text_start)?;
        if O::KEY_ORDER == KeyOrder::Require {
            if !ascends {
                return Err(CanonErrorKind::NotCanonical.at(key.start));
            }
            self.keys.keep_last(mark);
        }
        Ok(ascends)
    }

    /// The colon between key and value.
    pub(super) fn colon(&mut self) -> Result<(), CanonError> {
        self.skip_white()?;
        self.expect(b':')?;
        self.skip_white()
    }

    /// A string literal.
    pub(super) fn string(&mut self) -> Result<Literal, CanonError> {
        let start = self.pos;
        let mut escaped = false;
        self.expect(b'"')?;
        loop {
            self.pos = plain_end(self.input, self.pos);
            match self.peek() {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(Literal {
                        start,
                        end: self.pos,
                        escaped,
                    });
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(0x7f) => {
                    self.pos += 1;
                    self.rewrite(self.pos - 1, Escape::of('\u{7f}').as_bytes())?;
                }
                Some(0x80..) => self.beyond_ascii()?,
                Some(_) => return Err(CanonErrorKind::ControlCharacter.at(self.pos)),
                None => return Err(CanonErrorKind::UnexpectedEnd.at(self.pos)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), CanonError> {
        let start = self.pos;
        let (character, end) = read_escape(self.input, start)?;
        self.pos = end;
        self.settle(start, Escape::of(character).as_bytes())
    }

    /// Characters beyond ASCII that stand in a string as they are.
    fn beyond_ascii(&mut self) -> Result<(), CanonError> {
        let start = self.pos;
        while self.peek().is_some_and(|byte| byte >= 0x80) {
            self.pos += 1;
        }
        let text = std::str::from_utf8(&self.input[start..self.pos])
            .map_err(|bad| CanonErrorKind::InvalidUtf8.at(start + bad.valid_up_to()))?;
        self.rewrite(start, b"")?;
        for character in text.chars() {
            self.out
                .rewritten(Escape::of(character).as_bytes())
                .map_err(|kind| kind.at(start))?;
        }
        Ok(())
    }

    fn number(&mut self) -> Result<ValueKind, CanonError> {
        let start = self.pos;
        if self.peek() == Some(b'-') {
            self.pos += 1;
        }
        let digits_start = self.pos;
        match self.peek() {
            Some(b'0') => self.pos += 1,
            Some(b'1'..=b'9') => self.digits(),
            Some(b'I') if self.comes(b"Infinity") => return Err(CanonErrorKind::NotANumber.at(start)),
            _ => return Err(self.unexpected()),
        }
        match self.peek() {
            Some(b'.' | b'e' | b'E') => return self.float(start),
            // A leading zero.
            Some(b'0'..=b'9') => return Err(self.unexpected()),
            _ => {}
        }
        if self.pos - digits_start > INTEGER_DIGITS_MAX {
            return Err(CanonErrorKind::TooManyDigits.at(start));
        }
        if &self.input[start..self.pos] == b"-0" {
            self.rewrite(start, b"0")?;
        }
        Ok(ValueKind::Integer)
    }

    /// The rest of a number whose integer part, from `start` on, has been read.
    fn float(&mut self, start: usize) -> Result<ValueKind, CanonError> {
        if self.peek() == Some(b'.') {
            self.pos += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.pos += 1;
            }
            self.some_digits()?;
        }
        let literal = std::str::from_utf8(&self.input[start..self.pos]);
        let value = literal
            .ok()
            .and_then(number::parse_double)
            .ok_or(CanonErrorKind::NumberOverflow.at(start))?;
        self.settle(start, number::layout_double(value).as_bytes())?;
        Ok(ValueKind::Float)
    }

    fn some_digits(&mut self) -> Result<(), CanonError> {
        if !self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return Err(self.unexpected());
        }
        self.digits();
        Ok(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.pos += 1;
        }
    }

    fn comes(&self, word: &[u8]) -> bool {
        self.input
            .get(self.pos..)
            .is_some_and(|rest| rest.starts_with(word))
    }

    fn word(&mut self, word: &[u8], kind: ValueKind) -> Result<ValueKind, CanonError> {
        if self.comes(word) {
            self.pos += word.len();
            return Ok(kind);
        }
        // The first byte that is not the word's, or the end if there is none.
        let rest = &self.input[self.pos..];
        self.pos += rest
            .iter()
            .zip(word)
            .take_while(|(byte, wanted)| byte == wanted)
            .count();
        Err(self.unexpected())
    }

    fn not_a_value(&self) -> CanonError {
        if self.comes(b"NaN") || self.comes(b"Infinity") {
            return CanonErrorKind::NotANumber.at(self.pos);
        }
        self.unexpected()
    }
}

const fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

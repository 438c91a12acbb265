//! What a scanner does with the text it recognises: write it, insist that it is canonical already, or nothing.
//!
//! Invariant: the scanner calls [`Output::rewritten`] exactly where canonical text differs from the input, so an
//! output that refuses it accepts canonical text and nothing else.

use super::error::CanonErrorKind;

/// What the order of an object's keys means to an output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyOrder {
    /// Objects come out sorted, duplicates removed.
    Restore,
    /// Keys that do not strictly ascend are an error.
    Require,
    /// Nobody looks.
    Ignore,
}

/// Receives canonical text in input order.
pub(super) trait Output {
    /// What to do about keys; a constant, so that outputs which do not care pay nothing.
    const KEY_ORDER: KeyOrder;

    /// Input text that is canonical as it stands.
    fn verbatim(&mut self, text: &[u8]) -> Result<(), CanonErrorKind>;

    /// Canonical text that takes the place of other input text; empty where the input's text just goes.
    fn rewritten(&mut self, text: &[u8]) -> Result<(), CanonErrorKind>;

    /// Position at which the next byte would be written if `pending` more bytes stood before it.
    fn position(&self, pending: usize) -> Result<usize, CanonErrorKind>;

    /// The text written so far, for those outputs that keep it.
    fn text(&mut self) -> Option<&mut Vec<u8>>;
}

/// Appends the canonical text to the caller's buffer.
pub(super) struct Text<'o> {
    out: &'o mut Vec<u8>,
    len_max: usize,
}

impl<'o> Text<'o> {
    /// Appends at most `bytes_max` bytes to `out`.
    pub(super) fn new(out: &'o mut Vec<u8>, bytes_max: usize) -> Self {
        let len_max = out.len().saturating_add(bytes_max);
        Self { out, len_max }
    }
}

impl Output for Text<'_> {
    const KEY_ORDER: KeyOrder = KeyOrder::Restore;

    fn verbatim(&mut self, text: &[u8]) -> Result<(), CanonErrorKind> {
        self.position(text.len())?;
        self.out.extend_from_slice(text);
        Ok(())
    }

    fn rewritten(&mut self, text: &[u8]) -> Result<(), CanonErrorKind> {
        self.verbatim(text)
    }

    fn position(&self, pending: usize) -> Result<usize, CanonErrorKind> {
        let position = self.out.len() + pending;
        if position > self.len_max {
            Err(CanonErrorKind::TooLong)
        } else {
            Ok(position)
        }
    }

    fn text(&mut self) -> Option<&mut Vec<u8>> {
        Some(self.out)
    }
}

/// Tolerates canonical text only.
pub(super) struct Strict;

impl Output for Strict {
    const KEY_ORDER: KeyOrder = KeyOrder::Require;

    fn verbatim(&mut self, _: &[u8]) -> Result<(), CanonErrorKind> {
        Ok(())
    }

    fn rewritten(&mut self, _: &[u8]) -> Result<(), CanonErrorKind> {
        Err(CanonErrorKind::NotCanonical)
    }

    fn position(&self, _: usize) -> Result<usize, CanonErrorKind> {
        Ok(0)
    }

    fn text(&mut self) -> Option<&mut Vec<u8>> {
        None
    }
}

/// Keeps nothing: the scanner only checks the syntax.
pub(super) struct Discard;

impl Output for Discard {
    const KEY_ORDER: KeyOrder = KeyOrder::Ignore;

    fn verbatim(&mut self, _: &[u8]) -> Result<(), CanonErrorKind> {
        Ok(())
    }

    fn rewritten(&mut self, _: &[u8]) -> Result<(), CanonErrorKind> {
        Ok(())
    }

    fn position(&self, _: usize) -> Result<usize, CanonErrorKind> {
        Ok(0)
    }

    fn text(&mut self) -> Option<&mut Vec<u8>> {
        None
    }
}

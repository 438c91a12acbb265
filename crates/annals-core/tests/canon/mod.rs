//! Canonical JSON from outside: vectors of other implementations, refusals, and properties against a naive oracle.

pub(crate) mod oracle;
mod properties;
mod refusals;
mod requests;
mod vectors;

use annals_core::canon::{CanonError, canonicalize};

/// The canonical text of `input`, at the wire format's depth limit.
fn canonical(input: impl AsRef<[u8]>) -> Result<String, CanonError> {
    let mut out = Vec::new();
    canonicalize(input.as_ref(), 128, &mut out)?;
    Ok(String::from_utf8(out).expect("canonical text is ASCII"))
}

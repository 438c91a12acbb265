//! What is measured with: events of 300 bytes once sealed, seed-shaped, no two alike.

use std::io::{self, Write};

use annals_core::canonical::CanonicalBatch;
use annals_core::draft::DraftParser;
use annals_core::limits::EventLimits;
use anyhow::Result;

/// Events in a group.
pub(crate) const GROUP_EVENTS: usize = 1_000;

/// One request line; its sealed body has 300 bytes give or take the digits of its id.
pub(crate) fn line(number: u64) -> String {
    // Multiplication by an odd constant spreads the number over its bits: different text for each event.
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    format!(
        r#"{{"kind":"shadow_divergence_recorded","source":"procurement-api","payload":{{"actor":"user-{:04}","request":"{mixed:016x}","tool":"ledger.read","ok":true,"ms":{}}}}}"#,
        mixed >> 50,
        mixed % 997,
    )
}

/// A group of canonical events.
pub(crate) fn group(first: u64) -> Result<CanonicalBatch> {
    let limits = EventLimits::default();
    let mut parser = DraftParser::new(limits);
    let mut batch = CanonicalBatch::default();
    for number in first..first + GROUP_EVENTS as u64 {
        let draft = parser.parse(line(number).as_bytes())?;
        batch.push(&draft, &limits, || {
            unreachable!("seed-shaped events have no stamp")
        })?;
    }
    Ok(batch)
}

/// 5,000 request lines on stdout: the body that the HTTP load sends.
pub(crate) fn write_ndjson() -> Result<()> {
    let mut out = io::stdout().lock();
    for number in 0..5_000 {
        writeln!(out, "{}", line(number))?;
    }
    Ok(())
}

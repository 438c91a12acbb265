//! The test kit's own tests: the conformance suite on the engine in memory, and the oracle on logs that are wrong.

mod memory;
mod oracle;

//! The test kit's own tests: the conformance suite on the engine in memory, and the oracles: of logs that are wrong, and of
//! filters, with the filters that they judge.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod filters;
mod finding;
mod generator;
mod memory;
mod oracle;

//! What the tests of Annals share: events, a clock, a naive oracle, an engine in memory, the conformance suite of engines.
//!
//! Invariants:
//! - Everything is deterministic: whatever looks random follows from a seed that the test gives.
//! - The oracle ([`chain::audit`]) hashes and parses by itself; it shares no code with what it judges, nor does the one of
//!   filters ([`filters::Wanted::matches`]).
//! - Nothing sleeps. What has to wait for another thread waits on a condition, and gives up (red) after a bounded time.
//!
//! Deliberately absent: any use outside tests and benches. It panics where a program would return an error.

pub mod chain;
pub mod clock;
pub mod conformance;
pub mod events;
pub mod filters;
pub mod finding;
pub mod generator;
pub mod memory;
pub mod simdisk;

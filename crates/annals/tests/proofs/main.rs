//! The real process on the real file system: killed, starved of disk space, failed by its system calls, tampered with.
//!
//! Each proof runs the binary as an operator would, keeps its own ledger of what was acknowledged, and afterwards asks both
//! the restarted server and the offline verifier. Nothing here sleeps to wait for something: a kill comes after so many
//! acknowledgements or at a system call, and what happens elsewhere is waited for by its effect, with a bound of patience.
//!
//! `ANNALS_TEST_LONG=1` makes the rounds many and the matrices complete; `ANNALS_TEST_SEED` makes other choices.

#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod disk_full;
mod harness;
mod kill;
mod live_verify;
mod names;
mod retries;
mod strace;
mod sync_order;
mod tamper;

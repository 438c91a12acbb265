//! The file engine against the conformance suite, a disk that fails, and an attacker with write access.

mod conformance;
mod crash;
mod live;
mod recovery;
mod support;
mod syncs;
mod tamper;

//! The file engine against the conformance suite, a disk that fails, and an attacker with write access.
#![allow(clippy::unwrap_used)]

mod beside;
mod conformance;
mod crash;
mod damage;
mod faults;
mod hostile;
mod live;
mod logs;
mod recovery;
mod support;
mod syncs;
mod tamper;

//! The file engine against the conformance suite, a disk that fails, and an attacker with write access.
#![allow(clippy::unwrap_used)]

mod beside;
mod conformance;
mod crash;
mod damage;
mod faults;
mod finding;
mod hostile;
mod live;
mod logs;
mod packing;
mod recovery;
mod scale;
mod support;
mod syncs;
mod tamper;
mod version_1;

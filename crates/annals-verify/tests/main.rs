//! The auditor against chains that are built, mutated and judged by code that shares nothing with it.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod events;
mod forms;
mod mutations;
mod ranges;
mod served;

//! The HTTP interface over a real socket, with an engine in memory behind it.
//!
//! Nothing here sleeps to wait for something: what happens elsewhere is waited for by its effect, with a bound of patience.

#![allow(clippy::unwrap_used, reason = "a test that can't go on says so by panicking")]

mod batches;
mod bounds;
mod counting;
mod extended;
mod failures;
mod guarding;
mod heads;
mod live;
mod logs;
mod queries;
mod retrying;
mod searching;
mod seed;
mod support;
mod tables;
mod tail;
mod verifying;

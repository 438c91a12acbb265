//! The real binary, as a shell runs it: what it prints where, what it exits with, what it says to do next.

#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test fails by panicking"
)]

mod append;
mod cli;
mod cloudtrail;
mod index;
mod logs;
mod process;
mod query;
mod readme;
mod scripted;
mod serve;
mod settings;
mod tail;
mod verify;

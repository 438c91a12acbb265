//! Integration tests of `annals-core`.

#![allow(clippy::unwrap_used, reason = "a test that unwraps fails where it should")]

mod canon;
mod event;

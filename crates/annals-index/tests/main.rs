//! Index runs against reading every event: answers, damage, sizes, and how many pages are read.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, clippy::print_stdout)]

mod colliding;
mod damage;
mod events;
mod oracle;
mod pinned;
mod refusals;
mod sizes;
mod support;

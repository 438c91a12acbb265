//! The sequencer over the engine in memory, whose faults are scripted and whose steps can be held. Nothing sleeps.

#![allow(clippy::unwrap_used)]

mod faults;
mod groups;
mod lifecycle;
mod load;
mod logs;
mod recognition;
mod retries;
mod rig;

//! The sequencer over the engine in memory, whose faults are scripted and whose steps can be held. Nothing sleeps.

mod faults;
mod groups;
mod lifecycle;
mod load;
mod rig;

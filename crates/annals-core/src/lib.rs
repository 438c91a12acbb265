//! The pure core of Annals: what an event is, its canonical bytes, its hash, its place in the chain.
//!
//! An event passes through four types: [`draft::Draft`] (acceptable), [`canonical::CanonicalBatch`] (its bytes are final
//! but for the log's stamps), and, inside [`seal::seal`], sequenced and sealed ([`seal::SealedBatch`]).
//!
//! Deliberately absent: a clock, randomness, environment, I/O, threads, async, SQL. Whatever this crate needs of the
//! world, its caller brings; so every function gives the same answer to the same bytes, for ever.

pub mod body;
pub mod canon;
pub mod canonical;
pub mod chain;
pub mod draft;
pub mod field;
pub mod filter;
pub mod hash;
pub mod kind;
pub mod limits;
pub mod schema;
pub mod seal;
pub mod time;

//! The HTTP interface: the seed's routes over each of many logs, live streams, exact retries, and the bounds that keep one
//! caller from harming another.
//!
//! A request's way: the accept loop (bounded connections) → the guard (which hosts and web origins may talk to us) → a
//! route → for an append, the body (bounded) becomes canonical events, `annals_log` seals them, the receipt is the answer;
//! for a read, the storage's bytes go out in bounded chunks.
//!
//! Invariants: an event leaves as the bytes that were sealed, with its hash as last member, never re-serialised; memory is
//! bounded whatever callers do, and who is over a bound is told so (413, 414, 431, 503) instead of being queued without limit; an
//! answer that can not be completed is aborted, never silently short; storage is only touched on blocking threads; every
//! error has a problem-details body (RFC 9457).
//!
//! Deliberately absent: a concrete storage engine, sealing, the decision where the data lies, signal handling, TLS.

mod accept;
mod app;
mod bodies;
mod filter;
mod guard;
mod heads;
mod ingest;
mod linger;
mod logs;
mod options;
mod problem;
mod query;
mod retry;
mod routes;
mod search;
mod stamps;
mod stream;
mod tail;
mod verifier;

pub use accept::serve;
pub use guard::{ListenRefused, check_listen};
pub use options::{Options, Parts};

/// The routes over `parts`, without the accept loop and without the guard that [`serve`] puts in front of them: for
/// embedding into another server, which then has to check hosts and origins, bound connections and end streams itself.
pub fn router(parts: Parts, options: &Options) -> axum::Router {
    routes::router(app::App::new(parts, options))
}

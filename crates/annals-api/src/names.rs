//! Names and numbers of the interface that both sides must agree on.

/// Media type of one event, of an array of events, and of most answers.
pub const JSON: &str = "application/json";
/// Media type of one event a line; what `GET /events` answers with when `Accept` asks for it.
pub const NDJSON: &str = "application/x-ndjson";
/// Another name of [`NDJSON`], understood in requests.
pub const JSONL: &str = "application/jsonl";
/// Media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// `type` of a problem that is an integrity failure: stored bytes are not those that were sealed.
pub const PROBLEM_INTEGRITY: &str = "urn:annals:problem:integrity";
/// Media type of `GET /stream` (WHATWG HTML, server-sent events).
pub const EVENT_STREAM: &str = "text/event-stream";
/// Request header with which a reader of `GET /stream` resumes behind the last event it has seen.
pub const LAST_EVENT_ID: &str = "last-event-id";

/// `POST`, `GET`: append and query events.
pub const EVENTS: &str = "/events";
/// `GET`: live events.
pub const STREAM: &str = "/stream";
/// `GET`: check the chain.
pub const VERIFY: &str = "/verify";
/// `POST`: compare with a checkpoint.
pub const VERIFY_CHECKPOINT: &str = "/verify/checkpoint";
/// `GET`: the head, to be kept elsewhere.
pub const CHECKPOINT: &str = "/checkpoint";
/// `GET`: counts.
pub const STATS: &str = "/stats";
/// `GET`: the process lives.
pub const HEALTHZ: &str = "/healthz";
/// `GET`: the log takes events.
pub const READYZ: &str = "/readyz";

/// The port of the seed.
pub const DEFAULT_PORT: u16 = 8093;
/// Largest `limit` of `GET /events`.
pub const LIMIT_MAX: usize = 100_000;
/// `limit` of `GET /events` when none is given.
pub const LIMIT_DEFAULT: usize = 1000;
/// Most entries of a problem's `errors`.
pub const ERRORS_MAX: usize = 20;

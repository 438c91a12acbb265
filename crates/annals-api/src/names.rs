//! Names and numbers of the interface that both sides must agree on.

/// Media type of one event, of an array of events, and of most answers.
pub const JSON: &str = "application/json";
/// Media type of one event a line; what `GET /events` answers with when `Accept` asks for it.
pub const NDJSON: &str = "application/x-ndjson";
/// Another name of [`NDJSON`], understood in requests.
pub const JSONL: &str = "application/jsonl";
/// Media type of a table (RFC 4180), with a header row.
pub const CSV: &str = "text/csv; charset=utf-8; header=present";
/// Media type of errors (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// `type` of a problem that is an integrity failure: stored bytes are not those that were sealed.
pub const PROBLEM_INTEGRITY: &str = "urn:annals:problem:integrity";
/// Media type of `GET /stream` (WHATWG HTML, server-sent events).
pub const EVENT_STREAM: &str = "text/event-stream";
/// Request header with which a reader of `GET /stream` resumes behind the last event it has seen.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// `true` on an answer that ends early because a request may only read so much; its `Link` leads on.
pub const SCAN_INCOMPLETE: &str = "annals-scan-incomplete";

/// Request header under which a request may be sent again: 1 to 255 visible ASCII characters.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// `true` on an answer to a request whose events were all stored before.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// Request header that names a producer whose events have an order of its own; goes with [`ANNALS_SEQUENCE`].
pub const ANNALS_PRODUCER: &str = "annals-producer";
/// Request header with the place of each event in the producer's order: `N`, `N.M`, a list of these, or `first..last`.
pub const ANNALS_SEQUENCE: &str = "annals-sequence";

/// Name of the log that answers at the paths without a log's name.
pub const DEFAULT_LOG: &str = "default";
/// `GET`, `POST`: which logs there are, and a new one. Below it, at `/logs/{log}`, is everything that a log answers at the root.
pub const LOGS: &str = "/logs";
/// `POST`, `GET`: append and query events.
pub const EVENTS: &str = "/events";
/// `GET`: how many events match.
pub const EVENTS_COUNT: &str = "/events/count";
/// `GET`: how many events match, over time.
pub const EVENTS_HISTOGRAM: &str = "/events/histogram";
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
/// Most logs that one query may ask.
pub const LOGS_MAX: usize = 16;
/// Most buckets of a histogram.
pub const BUCKETS_MAX: u64 = 10_000;
/// Buckets of a histogram when neither their number nor their width is given.
pub const BUCKETS_DEFAULT: u64 = 60;
/// Most entries of a problem's `errors`.
pub const ERRORS_MAX: usize = 20;

//! What the operator may set, and what the server is put together from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use annals_core::limits::EventLimits;
use annals_log::Logs;
use annals_store::LogDirectory;

/// Bounds and times of the server. The defaults are meant to be kept.
#[derive(Debug, Clone)]
pub struct Options {
    /// Listen on other addresses than loopback although nobody has to prove who they are. Default: no.
    pub allow_unauthenticated: bool,
    /// What one event and one batch may weigh.
    pub events: EventLimits,
    /// Largest request body, in bytes; over it: 413. Default 64 MiB.
    pub body_bytes_max: usize,
    /// All request bodies in memory together, in bytes; over it: 503. Default 256 MiB.
    pub bodies_in_flight_bytes_max: usize,
    /// Open connections; over it, a connection gets a 503 and is closed. Each is an open file of the process. Default 8192.
    pub connections_max: usize,
    /// Header lines of a request; over it: 431. Default 64.
    pub headers_max: usize,
    /// Bytes of a request's head; over it: 431, or 414 when the first line alone is. Looked at between two reads, so that up
    /// to twice as much may pass. At least 8 KiB. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Time for a request's head to arrive (over it: 408), and how long an idle connection is kept. Default 30 s.
    pub header_read_timeout: Duration,
    /// Time for a request's body to arrive, extended by a second for every 64 KiB received; over it: 408. Default 30 s.
    pub body_read_timeout: Duration,
    /// A connection whose client takes no byte for this long is cut. Default 30 s.
    pub write_stall_timeout: Duration,
    /// Longest silence of `GET /stream`: a comment breaks it, somewhere in its last quarter. Default 15 s.
    pub heartbeat: Duration,
    /// Concurrent readers of `GET /stream`; over it: 503. A reader that stalls holds up to [`Self::head_bytes_max`] bytes of messages
    /// and one chunk (64 KiB, or one larger event) until it is cut. Default 4096.
    pub sse_readers_max: usize,
    /// The last events of all logs that are followed, in memory for readers of `GET /stream` that keep up, in bytes; the others
    /// read from storage. Default 16 MiB.
    pub tail_ring_bytes_max: usize,
    /// Concurrent filtered queries; over it: 503. Default 16.
    pub scans_max: usize,
    /// Bytes of events that one request may read to find a text or a claimed time, which no index knows; over it, a page ends
    /// early and leads on. Default 256 MiB.
    pub scan_bytes_max: u64,
    /// On shutdown, how long requests that are under way may take to finish. Default 20 s.
    pub shutdown_grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_unauthenticated: false,
            events: EventLimits::default(),
            body_bytes_max: 64 * 1024 * 1024,
            bodies_in_flight_bytes_max: 256 * 1024 * 1024,
            connections_max: 8192,
            headers_max: 64,
            head_bytes_max: 64 * 1024,
            header_read_timeout: Duration::from_secs(30),
            body_read_timeout: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            heartbeat: Duration::from_secs(15),
            sse_readers_max: 4096,
            tail_ring_bytes_max: 16 * 1024 * 1024,
            scans_max: 16,
            scan_bytes_max: 256 * 1024 * 1024,
            shutdown_grace: Duration::from_secs(20),
        }
    }
}

/// What the server is put together from.
#[derive(Clone)]
pub struct Parts {
    /// The writing side of all logs. The one named `default` answers at the root.
    pub logs: Logs,
    /// The reading side of the same logs, as their storage engine gives it.
    pub directory: Arc<dyn LogDirectory>,
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("state", &self.logs.state())
            .finish_non_exhaustive()
    }
}

//! Live events (`GET /stream`): each reader is a cursor into the storage, woken when the head moves.
//!
//! Invariants: nothing is queued for a reader, so it can neither lose an event nor cost memory when it is slow: what it has
//! not taken yet is simply not read. Events come in order, each once, from the cursor on; the cursor starts at the head of
//! the moment of subscription, or behind the event that the reader says it has seen last.
//!
//! A reader that takes nothing is cut off by the connection's stall time; silence is broken by a comment, so that both
//! sides notice a dead peer.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use annals_core::body::{self, SERVED_EXTRA_BYTES};
use annals_core::chain::{EventId, Head};
use annals_store::{ReadError, ReadLog, StoredEvent};
use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until};

use crate::app::{App, ReadFailed, blocking};
use crate::filter::Filter;

/// Bytes of bodies that are read for one reader at once (but for a larger single event).
const CHUNK_BYTES: usize = 64 * 1024;

/// One reader of the live stream.
pub(crate) struct Tail {
    app: Arc<App>,
    next: EventId,
    filter: Arc<Filter>,
    heads: watch::Receiver<Head>,
    log_has_ended: bool,
    shutdown: watch::Receiver<bool>,
    heartbeat_at: Instant,
    greeting: Option<Bytes>,
    _admitted: OwnedSemaphorePermit,
}

impl Tail {
    /// A reader that gets the events from `next` on.
    pub(crate) fn new(app: Arc<App>, next: EventId, filter: Filter, admitted: OwnedSemaphorePermit) -> Self {
        Self {
            next,
            filter: Arc::new(filter),
            heads: app.log.subscribe(),
            log_has_ended: false,
            shutdown: app.shutdown(),
            heartbeat_at: Instant::now() + app.options.heartbeat,
            // Sent at once, so that the client sees that it is subscribed.
            greeting: Some(Bytes::from(format!(": events from {next} on\n\n"))),
            _admitted: admitted,
            app,
        }
    }

    /// The bytes of the stream, until the client is gone, the server stops or the storage fails.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
        stream::unfold(Some(self), |tail| async {
            let mut tail = tail?;
            match tail.next_chunk().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(tail))),
                Ok(None) => None,
                Err(error) => {
                    tracing::error!(%error, next = %tail.next, "a live stream is cut off");
                    Some((Err(io::Error::other(error)), None))
                }
            }
        })
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, ReadFailed> {
        if let Some(greeting) = self.greeting.take() {
            return Ok(Some(greeting));
        }
        while !*self.shutdown.borrow() {
            // Seen before the head is looked at: a head that moves after the look wakes the wait below.
            self.heads.mark_unchanged();
            if self.app.reader.head().size.contains(self.next) {
                if let Some(chunk) = self.read().await? {
                    return Ok(Some(chunk));
                }
            } else {
                self.wait().await;
            }
            if Instant::now() >= self.heartbeat_at {
                self.heartbeat_at = Instant::now() + self.app.options.heartbeat;
                return Ok(Some(Bytes::from_static(b": heartbeat\n\n")));
            }
        }
        Ok(None)
    }

    /// The next events as text, `None` when none of those that were read matches.
    async fn read(&mut self) -> Result<Option<Bytes>, ReadFailed> {
        let (reader, from, filter) = (Arc::clone(&self.app.reader), self.next, Arc::clone(&self.filter));
        let (chunk, next) = blocking(move || read_chunk(&*reader, from, &filter)).await??;
        self.next = next;
        if chunk.is_empty() {
            return Ok(None);
        }
        self.heartbeat_at = Instant::now() + self.app.options.heartbeat;
        Ok(Some(Bytes::from(chunk)))
    }

    /// Until the head moves, a heartbeat is due or the server stops.
    async fn wait(&mut self) {
        let heartbeat = pin!(sleep_until(self.heartbeat_at));
        tokio::select! {
            changed = self.heads.changed(), if !self.log_has_ended => self.log_has_ended = changed.is_err(),
            _ = self.shutdown.wait_for(|stopping| *stopping) => {}
            () = heartbeat => {}
        }
    }
}

fn read_chunk(reader: &dyn ReadLog, from: EventId, filter: &Filter) -> Result<(Vec<u8>, EventId), ReadError> {
    let run = reader.read(from, CHUNK_BYTES)?;
    let mut chunk = Vec::new();
    for event in run.iter().filter(|event| filter.matches(event.body)) {
        write_message(&event, &mut chunk);
    }
    Ok((chunk, run.next_id()))
}

/// One message (WHATWG HTML, section 9.2.5). Canonical text has no line break and a registered kind no control character,
/// so nothing in an event can end its line.
fn write_message(event: &StoredEvent<'_>, out: &mut Vec<u8>) {
    let kind = body::member(event.body, "kind").unwrap_or(b"\"\"");
    out.reserve(event.body.len() + SERVED_EXTRA_BYTES + kind.len() + 48);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(
        kind.strip_prefix(b"\"")
            .and_then(|kind| kind.strip_suffix(b"\""))
            .unwrap_or(kind),
    );
    out.extend_from_slice(b"\nid: ");
    out.extend_from_slice(event.id.to_string().as_bytes());
    out.extend_from_slice(b"\ndata: ");
    body::write_served(event.body, &event.hash, out);
    out.extend_from_slice(b"\n\n");
}

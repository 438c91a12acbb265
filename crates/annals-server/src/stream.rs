//! Live events (`GET /stream`) as the bytes of one reader's answer.
//!
//! Invariants: events of a log come in order, each once, from the reader's place on; an id is sent only with the event that
//! brought the reader there, so whoever comes back with it misses nothing. What a reader has not taken is not read for it.
//!
//! A reader that takes nothing is cut off by the connection's stall time, and until then holds what has been handed to its
//! connection: a head's worth of bytes and one chunk. Silence is broken by a comment, so that both sides notice a dead peer.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use annals_core::chain::EventId;
use bytes::Bytes;
use futures_util::Stream;
use futures_util::future::select_all;
use futures_util::stream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::app::ReadFailed;
use crate::tail::chunk::Style;
use crate::tail::cursor::{Cursor, Step};
use crate::tail::{places, spread};

/// Steps without a message after which other tasks get their turn.
const IDLE_STEPS_MAX: u32 = 8;

/// One reader of the live stream.
pub(crate) struct Tail {
    /// One for each log, by name.
    cursors: Vec<Cursor>,
    /// The one that goes on next, for none is to wait for the others' backlog.
    turn: usize,
    /// Tells which logs they are; empty when there is one.
    digest: String,
    silence: Silence,
    shutdown: watch::Receiver<bool>,
    greeting: Option<Bytes>,
    _admitted: OwnedSemaphorePermit,
}

impl Tail {
    /// A reader of these logs, by name, at least one, who hears something at least every `heartbeat`.
    pub(crate) fn new(
        cursors: Vec<Cursor>,
        heartbeat: Duration,
        shutdown: watch::Receiver<bool>,
        admitted: OwnedSemaphorePermit,
    ) -> Self {
        let digest = if cursors.len() > 1 {
            places::digest(cursors.iter().map(|cursor| &**cursor.log()))
        } else {
            String::new()
        };
        Self {
            turn: 0,
            digest,
            silence: Silence::new(spread(heartbeat)),
            shutdown,
            // Sent at once, so that the client sees that it is subscribed.
            greeting: Some(greeting(&cursors)),
            _admitted: admitted,
            cursors,
        }
    }

    /// The bytes of the stream, until the client is gone, the server stops or the storage fails.
    pub(crate) fn into_stream(self) -> impl Stream<Item = Result<Bytes, io::Error>> + Send {
        stream::unfold(Some(self), |tail| async {
            let mut tail = tail?;
            match tail.next_piece().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(tail))),
                Ok(None) => None,
                Err(error) => {
                    let cursor = &tail.cursors[tail.turn];
                    tracing::error!(%error, log = %cursor.log(), next = %cursor.next(), "a live stream is cut off");
                    Some((Err(io::Error::other(error)), None))
                }
            }
        })
    }

    async fn next_piece(&mut self) -> Result<Option<Bytes>, ReadFailed> {
        if let Some(greeting) = self.greeting.take() {
            return Ok(Some(greeting));
        }
        let (mut at_head, mut idle_steps) = (0, 0);
        while !*self.shutdown.borrow() {
            let style = self.style();
            match self.cursors[self.turn].step(style).await? {
                Step::Messages(messages) => {
                    self.turn = (self.turn + 1) % self.cursors.len();
                    self.silence.broken();
                    return Ok(Some(messages));
                }
                Step::Passed => {
                    at_head = 0;
                    idle_steps += 1;
                }
                Step::AtHead => at_head += 1,
            }
            self.turn = (self.turn + 1) % self.cursors.len();
            if self.silence.is_too_long() {
                self.silence.broken();
                return Ok(Some(Bytes::from_static(b": heartbeat\n\n")));
            }
            if at_head >= self.cursors.len() {
                self.wait().await;
                at_head = 0;
            } else if idle_steps == IDLE_STEPS_MAX {
                tokio::task::yield_now().await;
                idle_steps = 0;
            }
        }
        Ok(None)
    }

    /// How messages of the log whose turn it is look.
    fn style(&self) -> Style {
        if self.cursors.len() == 1 {
            return Style::Plain;
        }
        let next: Vec<EventId> = self.cursors.iter().map(Cursor::next).collect();
        let log = Arc::clone(self.cursors[self.turn].log());
        places::labelled(log, self.turn, &next, &self.digest)
    }

    /// Until something comes in, the silence has lasted too long or the server stops.
    async fn wait(&mut self) {
        let Self {
            cursors,
            silence,
            shutdown,
            ..
        } = self;
        let changed = async {
            match cursors.as_mut_slice() {
                [cursor] => cursor.changed().await,
                cursors => {
                    drop(select_all(cursors.iter_mut().map(|cursor| Box::pin(cursor.changed()))).await);
                }
            }
        };
        tokio::select! {
            () = changed => {}
            _ = shutdown.wait_for(|stopping| *stopping) => {}
            () = silence.over() => {}
        }
    }
}

fn greeting(cursors: &[Cursor]) -> Bytes {
    let places: Vec<String> = match cursors {
        [cursor] => vec![cursor.next().to_string()],
        _ => cursors
            .iter()
            .map(|cursor| format!("{}:{}", cursor.log(), cursor.next()))
            .collect(),
    };
    Bytes::from(format!(": events from {} on\n\n", places.join(", ")))
}

/// How long a reader has heard nothing. The timer is only set anew when it has gone off, for messages are many.
struct Silence {
    patience: Duration,
    since: Instant,
    timer: Pin<Box<Sleep>>,
}

impl Silence {
    fn new(patience: Duration) -> Self {
        let since = Instant::now();
        Self {
            patience,
            since,
            timer: Box::pin(sleep_until(since + patience)),
        }
    }

    fn broken(&mut self) {
        self.since = Instant::now();
    }

    fn is_too_long(&self) -> bool {
        self.since.elapsed() >= self.patience
    }

    /// When it has lasted too long. Cancel safe.
    async fn over(&mut self) {
        loop {
            self.timer.as_mut().await;
            let due = self.since + self.patience;
            if due <= Instant::now() {
                return;
            }
            self.timer.as_mut().reset(due);
        }
    }
}

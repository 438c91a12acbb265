//! A connection that does not wait for ever on its client: writes that stall fail, and a close lingers a little.
//!
//! Invariants: a write that makes no progress for the stall time fails with `TimedOut`, whatever is written, so no
//! endpoint can be held up by a client that does not read. After our side is closed, what the client still sends is read
//! and dropped for a bounded time and amount (RFC 9112 section 9.6): closing at once would reset the connection and could
//! destroy an answer that the client has not read yet, such as a 413.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A stream with patience for its client, but not without end.
pub(crate) struct Patient<S> {
    io: S,
    stall_timeout: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    stalled: bool,
    ended_by_client: bool,
    closing: Option<usize>,
}

impl<S> Patient<S> {
    pub(crate) fn new(io: S, stall_timeout: Duration) -> Self {
        Self {
            io,
            stall_timeout,
            timer: None,
            stalled: false,
            ended_by_client: false,
            closing: None,
        }
    }

    /// Starts the timer, or starts it again.
    fn start_timer(&mut self, after: Duration) {
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(Instant::now() + after),
            None => self.timer = Some(Box::pin(sleep(after))),
        }
    }

    fn timer_is_over(&mut self, context: &mut Context<'_>) -> bool {
        self.timer
            .as_mut()
            .is_some_and(|timer| timer.as_mut().poll(context).is_ready())
    }

    /// Passes on the result of an attempt to write, and fails it when attempts have been in vain for too long.
    fn watch<T>(&mut self, context: &mut Context<'_>, attempt: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if attempt.is_ready() {
            self.stalled = false;
            return attempt;
        }
        if !self.stalled {
            self.stalled = true;
            self.start_timer(self.stall_timeout);
        }
        if self.timer_is_over(context) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the client has stopped reading",
            )));
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> Patient<S> {
    /// Reads and drops what still comes, until the client has closed too, or it takes too long.
    fn poll_linger(&mut self, context: &mut Context<'_>, mut dropped: usize) -> Poll<()> {
        let mut scratch = [0; 8192];
        while !self.ended_by_client && dropped < LINGER_BYTES_MAX && !self.timer_is_over(context) {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.io).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => dropped += buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => {
                    self.closing = Some(dropped);
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Patient<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let (before, had_room) = (buffer.filled().len(), buffer.remaining() > 0);
        let result = ready!(Pin::new(&mut self.io).poll_read(context, buffer));
        self.ended_by_client |= result.is_err() || (had_room && buffer.filled().len() == before);
        Poll::Ready(result)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Patient<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.io).poll_write(context, bytes);
        self.watch(context, attempt)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let attempt = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        self.watch(context, attempt)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let attempt = Pin::new(&mut self.io).poll_flush(context);
        self.watch(context, attempt)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let dropped = match self.closing {
            Some(dropped) => dropped,
            None => {
                ready!(Pin::new(&mut self.io).poll_shutdown(context))?;
                self.start_timer(LINGER);
                0
            }
        };
        self.poll_linger(context, dropped).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_that_stalls_fails_and_one_that_moves_does_not() {
        let (client, server) = tokio::io::duplex(64);
        let mut server = Patient::new(server, Duration::from_secs(30));
        let mut client = client;
        let reader = tokio::spawn(async move {
            let mut buffer = [0; 64];
            for _ in 0..4 {
                sleep(Duration::from_secs(20)).await;
                client.read_exact(&mut buffer).await.unwrap();
            }
            client
        });
        // 5 × 64 bytes: the client takes 4 × 64, each within the stall time though all take longer than it.
        server.write_all(&[7; 5 * 64]).await.unwrap();
        let _client = reader.await.unwrap();
        let before = Instant::now();
        // Red when: `watch` does not poll the timer.
        let error = server.write_all(&[7; 1]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(before.elapsed().as_secs(), 30);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_waits_for_the_client_but_not_for_ever() {
        let (mut client, server) = tokio::io::duplex(64);
        let mut server = Patient::new(server, Duration::from_secs(30));
        client
            .write_all(b"more of a body that nobody reads")
            .await
            .unwrap();
        let before = Instant::now();
        poll_fn(|context| Pin::new(&mut server).poll_shutdown(context))
            .await
            .unwrap();
        assert_eq!(before.elapsed(), LINGER);
    }
}

//! Requests whose head can not be read, answered with a problem-details body like every other error.
//!
//! hyper answers such a head by itself, with a bare status, and ends the connection. It can not be told not to; so [`Wire`]
//! keeps that answer back, and when hyper is done, [`Heads::refuse`] sends ours in its place, written by hyper too.
//!
//! Invariants: an answer is kept back only when no request is in hand ([`Turn`]: the service is not asked, and everything
//! that it has answered is flushed) and the bytes begin a 4xx answer, so that no answer of a route is ever touched; a
//! connection gets at most one refusal from here, as its last answer; none is sent when an answer of a route is unfinished.

use std::convert::Infallible;
use std::future::ready;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes};
use axum::http::Request;
use axum::response::IntoResponse;
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use memchr::memchr;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::options::Options;
use crate::problem::{Kind, Refusal};

/// How heads are read, and what is said about those that can't be.
#[derive(Debug)]
pub(crate) struct Heads {
    pub(crate) http: http1::Builder,
    headers_max: usize,
    bytes_max: usize,
}

impl Heads {
    pub(crate) fn new(options: &Options) -> Self {
        let (headers_max, bytes_max) = (options.headers_max, options.head_bytes_max.max(8 * 1024));
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(options.header_read_timeout)
            .max_headers(headers_max)
            .max_buf_size(bytes_max);
        Self {
            http,
            headers_max,
            bytes_max,
        }
    }

    /// After a connection has ended: tells the client why, if that is still to be told. `unread` is what came in behind the
    /// last request that was read.
    pub(crate) async fn refuse<S>(
        &self,
        wire: Wire<S>,
        ended: Result<(), hyper::Error>,
        unread: &[u8],
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let Err(error) = ended else { return Ok(()) };
        let Some((kind, detail)) = self.verdict(&wire, &error, unread) else {
            return Err(error);
        };
        tracing::debug!(%error, "a request's head could not be read");
        self.tell(wire.io, kind, &detail).await
    }

    fn verdict<S>(&self, wire: &Wire<S>, error: &hyper::Error, unread: &[u8]) -> Option<(Kind, String)> {
        let has_begun = wire.turn.is_between() && !unread.is_empty();
        // A head that is over the bound before its first line has ended: that line's target is what is too long.
        let long_target = memchr(b'\n', unread).is_none() && memchr(b' ', unread).is_some();
        match wire.kept_back {
            Some(414) => Some(self.too_long_target()),
            Some(431) if long_target => Some(self.too_long_target()),
            Some(431) => Some((
                Kind::HeadTooLarge,
                format!(
                    "the request's head is too large; send at most {} header lines and {} bytes",
                    self.headers_max, self.bytes_max
                ),
            )),
            Some(_) => Some((
                Kind::BadRequest,
                format!("the request's head can not be read: {error}; send HTTP/1.1 (RFC 9112)"),
            )),
            // hyper has no answer of its own to these.
            None if has_begun && error.is_timeout() => Some((
                Kind::Timeout,
                String::from("the request's head took too long to arrive"),
            )),
            None if has_begun && error.is_incomplete_message() => Some((
                Kind::BadRequest,
                String::from(
                    "the request ended before its head did; end the head with an empty line (RFC 9112)",
                ),
            )),
            None if has_begun && error.is_parse_version_h2() => Some((
                Kind::BadRequest,
                String::from("HTTP/2 is not spoken here; send HTTP/1.1"),
            )),
            None => None,
        }
    }

    fn too_long_target(&self) -> (Kind, String) {
        let detail = format!(
            "the request's target (path and query) is too long; a whole head may have {} bytes",
            self.bytes_max
        );
        (Kind::UriTooLong, detail)
    }

    /// Sends one refusal, as the answer to a request that was not read, and closes. Nothing of such a request was stored.
    pub(crate) async fn tell<S>(&self, io: S, kind: Kind, detail: &str) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // hyper writes answers to requests only, so it gets one to read; half a connection, as nothing follows it.
        const ANY: &[u8] = b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
        let answer = service_fn(|_: Request<Incoming>| {
            let refusal = Refusal::new(kind, detail).closing().nothing_stored();
            ready(Ok::<_, Infallible>(refusal.into_response()))
        });
        let io = TokioIo::new(tokio::io::join(ANY, io));
        self.http
            .clone()
            .half_close(true)
            .serve_connection(io, answer)
            .await
    }
}

/// Where a connection stands between two requests; its service, the answer's body and its [`Wire`] share one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Turn(Arc<AtomicU8>);

/// Nothing is asked, and everything that was answered is flushed.
const BETWEEN: u8 = 0;
/// The service is asked, or its answer's body goes on.
const ANSWERING: u8 = 1;
/// The answer's body is over, but its last bytes may not have been written.
const FLUSHING: u8 = 2;

// One connection is one task, and reads one request after the other: the order of its own steps is enough.
impl Turn {
    /// A request is in hand until what is returned is dropped, and what was answered until then is flushed.
    pub(crate) fn begin(&self) -> Answering {
        self.0.store(ANSWERING, Ordering::Relaxed);
        Answering(self.clone())
    }

    fn flushed(&self) {
        if self.0.load(Ordering::Relaxed) == FLUSHING {
            self.0.store(BETWEEN, Ordering::Relaxed);
        }
    }

    fn is_between(&self) -> bool {
        self.0.load(Ordering::Relaxed) == BETWEEN
    }
}

/// A request is in hand.
#[derive(Debug)]
pub(crate) struct Answering(Turn);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.0.store(FLUSHING, Ordering::Relaxed);
    }
}

/// An answer's body; the request is in hand as long as hyper has it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) body: Body,
    pub(crate) _answering: Answering,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection's stream, without the answers that hyper makes by itself.
#[derive(Debug)]
pub(crate) struct Wire<S> {
    io: S,
    turn: Turn,
    /// The status of hyper's own answer, once there was one. Nothing is written any more, and the stream is left open.
    kept_back: Option<u16>,
}

impl<S> Wire<S> {
    pub(crate) fn new(io: S, turn: Turn) -> Self {
        Self {
            io,
            turn,
            kept_back: None,
        }
    }

    /// Whether bytes that begin like `bytes` are not to be written.
    fn keeps_back(&mut self, bytes: &[u8]) -> bool {
        if self.kept_back.is_none() && self.turn.is_between() {
            self.kept_back = client_error(bytes);
        }
        self.kept_back.is_some()
    }
}

/// The status of an answer that begins with `bytes`, if it is a 4xx.
fn client_error(bytes: &[u8]) -> Option<u16> {
    let after_version = bytes.strip_prefix(b"HTTP/1.")?.get(1..)?;
    let status = after_version.strip_prefix(b" ")?.get(..3)?;
    let status = std::str::from_utf8(status).ok()?.parse().ok()?;
    (400..500).contains(&status).then_some(status)
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = slices.iter().find(|slice| !slice.is_empty());
        if first.is_some_and(|first| self.keeps_back(first)) {
            return Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()));
        }
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    /// hyper flushes only what it has written in full.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.io).poll_flush(context))?;
        self.turn.flushed();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.kept_back.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const BARE: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";

    /// Bytes that look like hyper's own answer, in the midst of one of ours. Red when: `keeps_back` does not look at the turn,
    /// or `flushed` forgets that the service is asked.
    #[tokio::test]
    async fn nothing_is_kept_back_while_a_request_is_in_hand() {
        let (mut client, server) = tokio::io::duplex(1024);
        let turn = Turn::default();
        let mut wire = Wire::new(server, turn.clone());
        let answering = turn.begin();
        wire.write_all(BARE).await.unwrap();
        wire.flush().await.unwrap();
        wire.write_all(BARE).await.unwrap();
        drop(answering);
        wire.write_all(BARE).await.unwrap();
        wire.flush().await.unwrap();
        // Only 4xx answers are hyper's own.
        wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await.unwrap();
        wire.write_all(BARE).await.unwrap();
        wire.shutdown().await.unwrap();
        assert_eq!(wire.kept_back, Some(400));
        drop(wire);
        let mut seen = Vec::new();
        client.read_to_end(&mut seen).await.unwrap();
        assert_eq!(
            seen,
            [BARE, BARE, BARE, b"HTTP/1.1 100 Continue\r\n\r\n"].concat()
        );
    }

    #[test]
    fn only_client_errors_are_kept_back() {
        assert_eq!(client_error(b"HTTP/1.0 431 Request"), Some(431));
        for other in [
            &b"HTTP/1.1 200 OK"[..],
            b"HTTP/1.1 500 I",
            b"HTTP/1.1 40",
            b"{\"a\":\"HTTP/1.1 400",
            b"HTTP/1.",
            b"",
        ] {
            assert_eq!(client_error(other), None, "{other:?}");
        }
    }
}

//! Request bodies: how they come in, and what they may hold on to.
//!
//! Invariants: no more than the limit is ever buffered; what is buffered, over all requests, is counted, and a request that
//! would pass the sum is refused; a declared length over a limit is refused before anything is read, so `Expect:
//! 100-continue` saves the transfer (RFC 9110 section 10.1.1).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use bytes::{Bytes, BytesMut};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::problem::{Kind, Refusal};

/// Room that a body takes among those in flight, given back when dropped.
pub(crate) struct Hold(OwnedSemaphorePermit);

/// Slowest transfer that is waited for once the body has begun, in bytes a second.
const BYTES_PER_SECOND_MIN: u64 = 64 * 1024;
const KIB: usize = 1024;
/// A body that grows claims room in steps of this many KiB.
const CLAIM_STEP_KIB: usize = 256;

/// Reads the whole body, `bytes_max` at most.
///
/// # Errors
/// 413 over the limit, 408 when it takes too long, 503 when too much is in flight, 400 when the transfer breaks.
pub(crate) async fn receive(app: &App, body: Body, bytes_max: usize) -> Result<(Bytes, Hold), Refusal> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > bytes_max {
        return Err(too_large(bytes_max));
    }
    if declared / KIB > app.bodies_kib.available_permits() {
        return Err(too_many_in_flight());
    }
    let mut hold = Hold::new(&app.bodies_kib)?;
    let started = Instant::now();
    let mut body = body;
    let Some(first) = next(&mut body, started + app.options.body_read_timeout).await? else {
        return Ok((Bytes::new(), hold));
    };
    check(&first, 0, bytes_max)?;
    hold.cover(&app.bodies_kib, first.len())?;
    if body.is_end_stream() {
        return Ok((first, hold));
    }
    let mut buffer = BytesMut::from(first);
    loop {
        let allowed =
            app.options.body_read_timeout + Duration::from_secs(buffer.len() as u64 / BYTES_PER_SECOND_MIN);
        let Some(chunk) = next(&mut body, started + allowed).await? else {
            return Ok((buffer.freeze(), hold));
        };
        check(&chunk, buffer.len(), bytes_max)?;
        hold.cover(&app.bodies_kib, buffer.len() + chunk.len())?;
        buffer.extend_from_slice(&chunk);
    }
}

/// The next piece of data; `None` at the end.
async fn next(body: &mut Body, deadline: Instant) -> Result<Option<Bytes>, Refusal> {
    loop {
        let frame = timeout_at(deadline, body.frame())
            .await
            .map_err(|_| Refusal::new(Kind::Timeout, "the body took too long to arrive").closing())?;
        match frame.transpose() {
            Err(error) => {
                return Err(Refusal::new(Kind::BadRequest, format!("the body broke off: {error}")).closing());
            }
            Ok(None) => return Ok(None),
            // What is not data are trailers, which mean nothing here.
            Ok(Some(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
        }
    }
}

fn check(chunk: &Bytes, before: usize, bytes_max: usize) -> Result<(), Refusal> {
    if chunk.len() > bytes_max - before {
        return Err(too_large(bytes_max));
    }
    Ok(())
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(
        Kind::TooLarge,
        format!("the body has more than {bytes_max} bytes; send it in parts"),
    )
    .closing()
}

fn too_many_in_flight() -> Refusal {
    Refusal::new(
        Kind::Busy,
        "too many request bodies are in flight; try again in a second",
    )
    .closing()
}

/// Room for an answer of `bytes`, taken from that of the bodies in flight.
///
/// # Errors
/// 503 when too much is in flight.
pub(crate) fn room_for_answer(app: &App, bytes: usize) -> Result<Hold, Refusal> {
    let mut hold = Hold::new(&app.bodies_kib)?;
    hold.cover(&app.bodies_kib, bytes)?;
    Ok(hold)
}

impl Hold {
    fn new(room: &Arc<Semaphore>) -> Result<Self, Refusal> {
        Arc::clone(room)
            .try_acquire_owned()
            .map(Self)
            .map_err(|_| too_many_in_flight())
    }

    /// Claims what a body of `bytes` needs beyond what is held.
    fn cover(&mut self, room: &Arc<Semaphore>, bytes: usize) -> Result<(), Refusal> {
        let missing = bytes.div_ceil(KIB).saturating_sub(self.0.num_permits());
        if missing == 0 {
            return Ok(());
        }
        // The first claim is what a small body needs; a growing one claims ahead, if there is room.
        let ahead = if self.0.num_permits() > 1 {
            missing.max(CLAIM_STEP_KIB)
        } else {
            missing
        };
        let claim =
            |kib: usize| Arc::clone(room).try_acquire_many_owned(u32::try_from(kib).unwrap_or(u32::MAX));
        let more = claim(ahead)
            .or_else(|_| claim(missing))
            .map_err(|_| too_many_in_flight())?;
        self.0.merge(more);
        Ok(())
    }
}

/// An answer that holds on to the room of its request until it is sent: a large batch has a large answer.
pub(crate) struct Held {
    bytes: Option<Bytes>,
    _hold: Hold,
}

impl Held {
    pub(crate) fn body(bytes: Vec<u8>, hold: Hold) -> Body {
        Body::new(Self {
            bytes: Some(bytes.into()),
            _hold: hold,
        })
    }
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

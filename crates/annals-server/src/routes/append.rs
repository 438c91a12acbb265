//! `POST /events`: one event, or a batch, all or nothing. The answer comes after the events are sealed.

use std::sync::Arc;

use annals_api::Outcome;
use annals_api::names::{JSON, NDJSON};
use annals_core::body::{self, SERVED_EXTRA_BYTES};
use annals_log::Receipt;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;

use super::typed;
use crate::app::{App, blocking};
use crate::bodies::{self, Held, Hold};
use crate::ingest::{Format, Ingested, Shape, ingest};
use crate::problem::Refusal;
use crate::query;

/// Bodies up to this size are parsed where they arrive: handing them over would take longer.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Receipts up to this number are written where they arrive.
const INLINE_RECEIPTS_MAX: usize = 256;

pub(super) async fn append(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    append_events(&app, request)
        .await
        .map_err(Refusal::nothing_stored)
}

async fn append_events(app: &App, request: Request) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    let format = Format::of(request.headers())?;
    let (body, hold) = bodies::receive(app, request.into_body(), app.options.body_bytes_max).await?;
    let Ingested { batch, shape } = parsed(app, format, body).await?;
    let receipt = app.log.append(batch)?.await?;
    if shape == Shape::One {
        return Ok(one_event(&receipt));
    }
    if receipt.len() <= INLINE_RECEIPTS_MAX {
        return Ok(receipts(&receipt, shape, hold));
    }
    // The events are sealed by now, whatever becomes of the answer.
    blocking(move || receipts(&receipt, shape, hold))
        .await
        .map_err(|interrupted| Refusal::from(interrupted).with_outcome(Outcome::Unknown))
}

async fn parsed(app: &App, format: Format, body: Bytes) -> Result<Ingested, Refusal> {
    let limits = app.options.events;
    if body.len() <= INLINE_BYTES_MAX {
        return ingest(format, &body, &limits);
    }
    // Never closed, so the permit is only ever waited for.
    let _turn = app.parsers.acquire().await;
    blocking(move || ingest(format, &body, &limits)).await?
}

/// The event as it is stored, with its hash.
fn one_event(receipt: &Receipt) -> Response {
    let mut served = Vec::new();
    if let Some((_, hash, stored)) = receipt.iter().next() {
        served.reserve_exact(stored.len() + SERVED_EXTRA_BYTES);
        body::write_served(stored, &hash, &mut served);
    }
    typed(StatusCode::CREATED, JSON, served)
}

/// One receipt an item, in the shape of the request.
fn receipts(receipt: &Receipt, shape: Shape, hold: Hold) -> Response {
    const RECEIPT_BYTES: usize = 160;
    let mut out = Vec::with_capacity(receipt.len() * RECEIPT_BYTES + 2);
    let (open, between, close, media_type) = match shape {
        Shape::Lines => ("", "\n", "\n", NDJSON),
        Shape::One | Shape::Array => ("[", ",", "]", JSON),
    };
    out.extend_from_slice(open.as_bytes());
    for (index, (id, hash, stored)) in receipt.iter().enumerate() {
        if index > 0 {
            out.extend_from_slice(between.as_bytes());
        }
        out.extend_from_slice(b"{\"event_id\":");
        out.extend_from_slice(id.to_string().as_bytes());
        out.extend_from_slice(b",\"timestamp\":");
        out.extend_from_slice(timestamp(stored));
        out.extend_from_slice(b",\"hash\":\"");
        out.extend_from_slice(&hash.to_hex());
        out.extend_from_slice(b"\"}");
    }
    out.extend_from_slice(close.as_bytes());
    typed(StatusCode::CREATED, media_type, Held::body(out, hold))
}

/// The stored time stamp with its quotes.
fn timestamp(stored: &[u8]) -> &[u8] {
    stamped(stored)
        .or_else(|| body::member(stored, "timestamp"))
        .unwrap_or(b"null")
}

/// The log's own stamp has a fixed length and stands last, which spares the walk over the payload. A quote inside a string
/// is escaped, so the member's name can not be part of another string; and no other object ends the body.
fn stamped(stored: &[u8]) -> Option<&[u8]> {
    const NAME: &[u8] = b",\"timestamp\":";
    const QUOTED_LEN: usize = annals_core::time::TIMESTAMP_LEN + 2;
    let rest = stored.strip_suffix(b"}")?;
    let (rest, quoted) = rest.split_at_checked(rest.len().checked_sub(QUOTED_LEN)?)?;
    (rest.ends_with(NAME) && quoted.starts_with(b"\"") && quoted.ends_with(b"\"")).then_some(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stamp_is_found_whoever_made_it() {
        let log = br#"{"event_id":1,"timestamp":"2026-05-15T03:14:15.123456+00:00"}"#;
        assert_eq!(timestamp(log), br#""2026-05-15T03:14:15.123456+00:00""#);
        let claimed = br#"{"event_id":1,"timestamp":"\",\"timestamp\":\"2026-05-15T03:14:15"}"#;
        assert_eq!(timestamp(claimed), br#""\",\"timestamp\":\"2026-05-15T03:14:15""#);
        assert_eq!(timestamp(b"{}"), b"null");
    }
}

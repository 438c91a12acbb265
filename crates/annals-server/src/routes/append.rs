//! `POST /events`: one event, or a batch, all or nothing. The answer comes after the events are sealed.

use std::sync::Arc;

use annals_api::Outcome;
use annals_log::Item;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;

use super::addressed::Addressed;
use super::receipts;
use crate::app::{App, blocking};
use crate::bodies;
use crate::ingest::{Format, Ingested, ingest};
use crate::logs::OneLog;
use crate::problem::Refusal;
use crate::query;
use crate::retry::RetryHeaders;

/// Bodies up to this size are parsed where they arrive: handing them over would take longer.
const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Receipts up to this number are written where they arrive.
const INLINE_RECEIPTS_MAX: usize = 256;

pub(super) async fn append(
    State(app): State<Arc<App>>,
    addressed: Result<Addressed, Refusal>,
    request: Request,
) -> Result<Response, Refusal> {
    let appended = match addressed {
        Ok(Addressed { log, .. }) => append_events(&app, &log, request).await,
        Err(refusal) => Err(refusal.closing()),
    };
    appended.map_err(Refusal::nothing_stored)
}

async fn append_events(app: &App, log: &OneLog, request: Request) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    let retry = RetryHeaders::of(request.headers()).map_err(Refusal::closing)?;
    let format = Format::of(request.headers())?;
    let (body, hold) = bodies::receive(app, request.into_body(), app.options.body_bytes_max).await?;
    let ingested = parsed(app, format, body, retry.wants_digest()).await?;
    let shape = ingested.shape;
    let (append, recognised) = retry.applied(ingested)?;
    let appended = match log.writer.append_once(append) {
        Ok(pending) => pending.await,
        Err(refusal) => Err(refusal.into()),
    };
    let appended = appended.map_err(|error| recognised.refusal(error, shape))?;
    let reader = log.reader();
    let is_read = appended.items().any(|item| matches!(item, Item::Replayed(_)));
    if !is_read && appended.len() <= INLINE_RECEIPTS_MAX {
        return receipts::answer(&appended, shape, &*reader, hold);
    }
    // The events are sealed by now, whatever becomes of the answer.
    blocking(move || receipts::answer(&appended, shape, &*reader, hold))
        .await
        .map_err(|interrupted| Refusal::from(interrupted).with_outcome(Outcome::Unknown))?
}

async fn parsed(app: &App, format: Format, body: Bytes, wants_digest: bool) -> Result<Ingested, Refusal> {
    let limits = app.options.events;
    if body.len() <= INLINE_BYTES_MAX {
        return ingest(format, &body, &limits, wants_digest);
    }
    // Never closed, so the permit is only ever waited for.
    let _turn = app.parsers.acquire().await;
    blocking(move || ingest(format, &body, &limits, wants_digest)).await?
}

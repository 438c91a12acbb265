//! `GET /stream`: live events, resumable.

use std::sync::Arc;

use annals_api::names::LAST_EVENT_ID;
use annals_core::chain::{EventId, TreeSize};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use super::typed;
use crate::app::App;
use crate::filter::Filter;
use crate::problem::{Kind, Refusal, excerpt};
use crate::query;
use crate::stream::Tail;

/// `?kind=&source=&after=`, and the header `Last-Event-ID`, which counts more than `after`: a client that reconnects by
/// itself repeats the address it began with.
pub(super) async fn stream(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let [kind, source, after] = query::parameters(request.uri(), ["kind", "source", "after"])?;
    let filter = Filter::new(kind.as_deref(), source.as_deref())?;
    let head = app.reader.head().size;
    let seen = match last_event_id(request.headers())? {
        Some(id) => Some((LAST_EVENT_ID, id)),
        None => after
            .map(|text| query::number("after", &text, "an event id, or 0 for the start"))
            .transpose()?
            .map(|id| ("after", id)),
    };
    let next = match seen {
        None => head.next(),
        Some((field, id)) => behind(field, id, head)?,
    };
    let admitted = app.admit_sse_reader()?;
    let tail = Tail::new(app, next, filter, admitted);
    let mut response = typed(
        StatusCode::OK,
        "text/event-stream; charset=utf-8",
        Body::from_stream(tail.into_stream()),
    );
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
        .headers_mut()
        .insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Refusal> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default();
    query::number(LAST_EVENT_ID, text, "the id of an event, or 0 for the start").map(Some)
}

/// A reader that has seen events that are not there was told of another log, or of one that lost its end: it has to know.
fn behind(field: &str, id: u64, head: TreeSize) -> Result<EventId, Refusal> {
    if id > head.0 {
        let message = format!(
            "is {}, but the log ends at event {head}",
            excerpt(&id.to_string())
        );
        return Err(Refusal::of_field(Kind::BadRequest, field, message));
    }
    Ok(EventId::FIRST.plus(id))
}

//! `GET /stream`: live events, filtered, from any place on, resumable.

use std::sync::Arc;

use annals_api::names::LAST_EVENT_ID;
use annals_core::chain::{EventId, TreeSize};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;

use super::addressed::Addressed;
use super::typed;
use crate::app::App;
use crate::problem::{Refusal, excerpt};
use crate::search::{Given, LogSet, SearchLog, Selection, bad};
use crate::stream::Tail;
use crate::tail::chunk::Wanted;
use crate::tail::cursor::Cursor;
use crate::tail::places;

/// `GET /stream`, of one log or, at the root, of several.
pub(super) async fn stream(
    State(app): State<Arc<App>>,
    addressed: Addressed,
    request: Request,
) -> Result<Response, Refusal> {
    let given = Given::of(request.uri(), addressed.place, &["after"])?;
    let logs = addressed.logs(&app, &given)?;
    follow(&app, &logs, &given, request.headers()).await
}

/// Live events of `logs`: those that are selected, from the next one on, or from `after`, `since` or the header `Last-Event-ID`.
/// The header counts more than `after`: a client that reconnects by itself repeats the address it began with.
async fn follow(
    app: &Arc<App>,
    logs: &LogSet,
    given: &Given<'_>,
    headers: &HeaderMap,
) -> Result<Response, Refusal> {
    let selection = Selection::of(given)?;
    if selection.until.is_some() {
        let message = "is for queries: a live stream goes on; close it, or ask GET /events";
        return Err(bad("until", String::from(message)));
    }
    let seen = seen(&selection, logs, headers)?;
    let admitted = app.admit_sse_reader()?;
    let mut cursors = Vec::with_capacity(logs.names().len());
    for (at, log) in logs.iter().enumerate() {
        let seen = seen.as_ref().and_then(|seen| seen.get(at)).copied();
        let wanted = start(app, log, &selection, seen).await?;
        cursors.push(Cursor::new(app.tails.join(app.source(log)?), wanted));
    }
    let tail = Tail::new(cursors, app.options.heartbeat, app.shutdown(), admitted);
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

/// What the reader says that it has seen: the last event of each log, by name. `None` when it says nothing.
fn seen(selection: &Selection, logs: &LogSet, headers: &HeaderMap) -> Result<Option<Vec<u64>>, Refusal> {
    let (field, seen) = match (headers.get(LAST_EVENT_ID), selection.after) {
        (Some(value), _) => {
            let text = value.to_str().unwrap_or_default();
            let seen = places::parse(text, logs.names());
            (LAST_EVENT_ID, seen.ok_or_else(|| no_place(text, logs))?)
        }
        (None, Some(0)) => ("after", vec![0; logs.names().len()]),
        (None, Some(_)) if logs.are_several() => {
            let message = "is an id of one log, and several are followed; use 0, `since`, or Last-Event-ID";
            return Err(bad("after", String::from(message)));
        }
        (None, Some(id)) => ("after", vec![id]),
        (None, None) => return Ok(None),
    };
    for (log, id) in logs.iter().zip(&seen) {
        check_is_there(field, *id, log)?;
    }
    Ok(Some(seen))
}

fn no_place(text: &str, logs: &LogSet) -> Refusal {
    let wanted = if logs.are_several() {
        "the id of a message that came from these logs together; begin without it, or with `since`"
    } else {
        "the id of an event, or 0 for the start"
    };
    bad(
        LAST_EVENT_ID,
        format!("must be {wanted}, not \"{}\"", excerpt(text)),
    )
}

/// A reader that has seen events that are not there was told of another log, or of one that lost its end: it has to know.
fn check_is_there(field: &str, id: u64, log: &SearchLog) -> Result<(), Refusal> {
    let TreeSize(head) = log.events.head().size;
    if id > head {
        let message = format!("is {id}, but log `{}` ends at event {head}", log.name);
        return Err(bad(field, message));
    }
    Ok(())
}

/// Where a reader begins in a log: behind what it has seen, at `since`, whichever is later, or at the head.
async fn start(
    app: &App,
    log: &SearchLog,
    selection: &Selection,
    seen: Option<u64>,
) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted {
        from: log.events.head().size.next(),
        not_before: None,
        filter: Arc::clone(&selection.filter),
    };
    if let Some(seen) = seen {
        wanted.from = EventId::FIRST.plus(seen);
    }
    if let Some(since) = selection.since {
        let events = Arc::clone(&log.events);
        let first = app.tails.in_turn(move || events.first_at(since)).await?;
        wanted.from = seen.map_or(first, |_| wanted.from.max(first));
        // What comes in before that time is not meant either, when it is still to come.
        wanted.not_before = Some(since);
    }
    Ok(wanted)
}

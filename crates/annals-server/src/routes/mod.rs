//! The routes, one file a family.

mod append;
mod events;
mod live;
mod meta;
mod verify;

use std::sync::Arc;

use annals_api::names;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, LOCATION};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::Serialize;

use crate::app::App;
use crate::problem::{Kind, Refusal, excerpt};

/// All routes of one log.
pub(crate) fn router(app: Arc<App>) -> Router {
    Router::new()
        .route(names::EVENTS, post(append::append).get(events::query))
        .route("/events/{id}", get(events::one))
        .route(names::STREAM, get(live::stream))
        .route(names::VERIFY, get(verify::verify))
        .route(names::VERIFY_CHECKPOINT, post(verify::verify_checkpoint))
        .route(names::CHECKPOINT, get(meta::checkpoint))
        .route(names::STATS, get(meta::stats))
        .route(names::HEALTHZ, get(meta::healthz))
        .route(names::READYZ, get(meta::readyz))
        .route("/", get(meta::root))
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// Every path above; `{id}` stands for one segment.
const PATHS: [&str; 10] = [
    "/",
    names::EVENTS,
    "/events/{id}",
    names::STREAM,
    names::VERIFY,
    names::VERIFY_CHECKPOINT,
    names::CHECKPOINT,
    names::STATS,
    names::HEALTHZ,
    names::READYZ,
];

async fn unknown_route(request: Request) -> Response {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    if trimmed != path && PATHS.iter().any(|known| is_path(known, trimmed)) {
        return redirect(trimmed, request.uri().query());
    }
    Refusal::new(
        Kind::NotFound,
        format!("there is no {}; GET / lists what there is", excerpt(path)),
    )
    .into_response()
}

fn is_path(known: &str, path: &str) -> bool {
    match known.strip_suffix("{id}") {
        Some(prefix) => path
            .strip_prefix(prefix)
            .is_some_and(|id| !id.is_empty() && !id.contains('/')),
        None => known == path,
    }
}

/// As the seed does for a slash too many: the same request, there.
fn redirect(path: &str, query: Option<&str>) -> Response {
    let location = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    match HeaderValue::try_from(location) {
        Ok(location) => (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, location)]).into_response(),
        Err(_) => {
            Refusal::new(Kind::NotFound, "there is no such path; GET / lists what there is").into_response()
        }
    }
}

/// The router adds `Allow`.
async fn wrong_method(method: Method, request: Request) -> Refusal {
    let detail = format!(
        "{} does not take {method}; the Allow header says what it takes",
        excerpt(request.uri().path())
    );
    Refusal::new(Kind::MethodNotAllowed, detail)
}

/// An answer of one of our own types.
fn json<T: Serialize>(answer: &T) -> Response {
    // Serialising these types has no way to fail.
    typed(
        StatusCode::OK,
        names::JSON,
        serde_json::to_vec(answer).unwrap_or_default(),
    )
}

fn typed(status: StatusCode, media_type: &'static str, body: impl Into<Body>) -> Response {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}

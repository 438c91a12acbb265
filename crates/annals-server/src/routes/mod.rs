//! The routes, one file a family.

mod addressed;
mod append;
mod events;
mod live;
mod logs;
mod meta;
mod receipts;
#[cfg(test)]
mod several;
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

/// What stands for a log's name in a path.
const OF_A_LOG: &str = "/logs/{log}";

/// All routes: those of a log at the root, for the log `default`, and again below each log's own path.
pub(crate) fn router(app: Arc<App>) -> Router {
    let of_the_server = Router::new()
        .route(names::LOGS, get(logs::list).post(logs::create))
        .route(OF_A_LOG, get(logs::one))
        .route(names::HEALTHZ, get(meta::healthz))
        .route(names::READYZ, get(meta::readyz))
        .route("/", get(meta::root));
    ["", OF_A_LOG]
        .into_iter()
        .fold(of_the_server, with_log)
        .fallback(unknown_route)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

/// Not nested, because handlers see a nested request's path without its beginning, and links need all of it.
fn with_log(router: Router<Arc<App>>, prefix: &str) -> Router<Arc<App>> {
    let at = |path: &str| format!("{prefix}{path}");
    router
        .route(&at(names::EVENTS), post(append::append).get(events::query))
        .route(&at(names::EVENTS_COUNT), get(events::count))
        .route(&at(names::EVENTS_HISTOGRAM), get(events::histogram))
        .route(&at(EVENT), get(events::one))
        .route(&at(names::STREAM), get(live::stream))
        .route(&at(names::VERIFY), get(verify::verify))
        .route(&at(names::VERIFY_CHECKPOINT), post(verify::verify_checkpoint))
        .route(&at(names::CHECKPOINT), get(meta::checkpoint))
        .route(&at(names::STATS), get(meta::stats))
}

/// One event.
const EVENT: &str = "/events/{id}";
/// The paths of the server; a segment in braces stands for any.
const PATHS_OF_THE_SERVER: [&str; 5] = ["/", names::LOGS, OF_A_LOG, names::HEALTHZ, names::READYZ];
/// The paths of a log.
const PATHS_OF_A_LOG: [&str; 9] = [
    names::EVENTS,
    names::EVENTS_COUNT,
    names::EVENTS_HISTOGRAM,
    EVENT,
    names::STREAM,
    names::VERIFY,
    names::VERIFY_CHECKPOINT,
    names::CHECKPOINT,
    names::STATS,
];

async fn unknown_route(request: Request) -> Response {
    let path = request.uri().path();
    let trimmed = path.trim_end_matches('/');
    if trimmed != path && is_known(trimmed) {
        return redirect(trimmed, request.uri().query());
    }
    Refusal::new(
        Kind::NotFound,
        format!("there is no {}; GET / lists what there is", excerpt(path)),
    )
    .into_response()
}

fn is_known(path: &str) -> bool {
    let below_a_log = path
        .strip_prefix(names::LOGS)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.find('/').map(|slash| &rest[slash..]));
    let of_a_log = below_a_log.unwrap_or(path);
    PATHS_OF_THE_SERVER.iter().any(|known| is_path(known, path))
        || PATHS_OF_A_LOG.iter().any(|known| is_path(known, of_a_log))
}

fn is_path(known: &str, path: &str) -> bool {
    match known.split_once('{') {
        Some((prefix, _)) => path
            .strip_prefix(prefix)
            .is_some_and(|segment| !segment.is_empty() && !segment.contains('/')),
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

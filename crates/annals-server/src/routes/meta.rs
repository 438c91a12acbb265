//! What the server is and how its logs stand.

use std::borrow::Cow;
use std::sync::Arc;

use annals_api::{Checkpoint, Health, Root, Stats};
use annals_log::LogState;
use axum::extract::{Request, State};
use axum::response::Response;

use super::addressed::Addressed;
use super::json;
use crate::app::App;
use crate::problem::{Kind, Refusal};
use crate::query;

const ENDPOINTS: [(&str, &str); 17] = [
    ("GET  /", "this page"),
    ("GET  /healthz", "the process lives"),
    ("GET  /readyz", "the log takes events"),
    (
        "POST /events",
        "append one event, a JSON array of events, or one event a line (application/x-ndjson); recognised when sent again by \
         Idempotency-Key, or Annals-Producer and Annals-Sequence",
    ),
    (
        "GET  /events",
        "query events (kind / source / actor / text / since / … / limit / after / order / cursor / format)",
    ),
    ("GET  /events/count", "how many events match, as of which event"),
    (
        "GET  /events/histogram",
        "how many events match over time (buckets / interval)",
    ),
    ("GET  /events/{id}", "fetch one event"),
    (
        "GET  /stream",
        "live events as server-sent events (kind / source / after, Last-Event-ID)",
    ),
    (
        "GET  /verify",
        "verify the hash chain up to now (full=true: from the first event on)",
    ),
    ("GET  /checkpoint", "the head of the chain, to be kept elsewhere"),
    (
        "POST /verify/checkpoint",
        "verify the chain and compare it with a checkpoint kept elsewhere",
    ),
    ("GET  /stats", "counts"),
    ("GET  /logs", "the logs that there are"),
    ("POST /logs", "make a log ({\"name\"})"),
    ("GET  /logs/{log}", "one log and where it ends"),
    (
        "     /logs/{log}/…",
        "every path above from /events on, of that log; without /logs/{log} they are those of the log `default`",
    ),
];

pub(super) async fn root() -> Response {
    json(&Root {
        name: Cow::Borrowed("audit-stream"),
        version: Cow::Borrowed(env!("CARGO_PKG_VERSION")),
        description: Cow::Borrowed(
            "Annals: a durable, hash-chained, verifiable event log behind the audit-stream interface.",
        ),
        endpoints: ENDPOINTS
            .map(|(route, what)| (Cow::Borrowed(route), Cow::Borrowed(what)))
            .into(),
    })
}

pub(super) async fn healthz() -> Response {
    json(&Health {
        status: Cow::Borrowed("ok"),
    })
}

pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Response, Refusal> {
    let why = match app.logs.state() {
        LogState::Running => {
            return Ok(json(&Health {
                status: Cow::Borrowed("ok"),
            }));
        }
        LogState::Recovering => String::from("the log is recovering from a failed write"),
        LogState::Damaged(fatal) => {
            format!("the log takes nothing more until an operator has looked at it: {fatal}")
        }
        LogState::Stopping => String::from("the log is stopping"),
        LogState::Stopped => String::from("the log is stopped"),
    };
    Err(Refusal::new(Kind::NotReady, why))
}

pub(super) async fn stats(addressed: Addressed, request: Request) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    let head = addressed.log.head();
    let latest_hash = head.size.last().map(|_| head.hash.to_string());
    Ok(json(&Stats {
        count: head.size.0,
        last_event_id: head.size.0,
        latest_hash,
    }))
}

pub(super) async fn checkpoint(addressed: Addressed, request: Request) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    let head = addressed.log.head();
    let Some(last) = head.size.last() else {
        return Err(Refusal::new(
            Kind::NotFound,
            "no event to checkpoint: the log is empty",
        ));
    };
    Ok(json(&Checkpoint {
        event_id: last.get(),
        hash: head.hash.to_string(),
    }))
}

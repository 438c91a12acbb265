//! `GET /logs`, `POST /logs`, `GET /logs/{log}`: which logs there are, and a new one.

use std::sync::Arc;

use annals_api::names::{JSON, LOGS};
use annals_api::{LogList, NewLog};
use annals_store::LogName;
use axum::extract::{Request, State};
use axum::http::header::LOCATION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::addressed::Addressed;
use super::{json, typed};
use crate::app::{App, blocking};
use crate::bodies::{self, Held};
use crate::ingest::Format;
use crate::logs::info;
use crate::problem::{Kind, Refusal, excerpt};
use crate::query;

/// A new log is one name.
const NEW_LOG_BYTES_MAX: usize = 1024;

/// All logs.
pub(super) async fn list(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    let admitted = app.admit_scan()?;
    let of_blocking = Arc::clone(&app);
    let list = blocking(move || {
        let _admitted = admitted;
        let logs = of_blocking.logs.list();
        // Serialising these types has no way to fail.
        serde_json::to_vec(&LogList { logs }).unwrap_or_default()
    });
    let list = list.await?;
    // Thousands of logs make a long answer, and whoever asked may take his time.
    let hold = bodies::room_for_answer(&app, list.len())?;
    Ok(typed(StatusCode::OK, JSON, Held::body(list, hold)))
}

/// One log.
pub(super) async fn one(addressed: Addressed, request: Request) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    Ok(json(&addressed.log.info()))
}

/// Makes a log. The answer comes after it is durable.
pub(super) async fn create(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    if Format::of(request.headers())? != Format::Json {
        return Err(Refusal::new(
            Kind::UnsupportedMediaType,
            format!("send the new log as {JSON}: {{\"name\":\"…\"}}"),
        )
        .closing());
    }
    let (body, _hold) = bodies::receive(&app, request.into_body(), NEW_LOG_BYTES_MAX).await?;
    let (writer, manifest) = app.logs.create(name_of(&body)?)?.await?;
    let mut response = json(&info(&manifest, &writer.head()));
    *response.status_mut() = StatusCode::CREATED;
    // A log's name has no character that a path or a header could misunderstand.
    if let Ok(location) = HeaderValue::try_from(format!("{LOGS}/{}", manifest.name)) {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn name_of(body: &[u8]) -> Result<LogName, Refusal> {
    let new: NewLog = serde_json::from_slice(body).map_err(|error| {
        let detail = format!("not a new log {{\"name\"}}: {}", excerpt(&error.to_string()));
        Refusal::new(Kind::Invalid, detail)
    })?;
    LogName::new(&new.name).map_err(|rule| {
        let message = format!("is \"{}\": {rule}", excerpt(&new.name));
        Refusal::of_field(Kind::Invalid, "name", message)
    })
}

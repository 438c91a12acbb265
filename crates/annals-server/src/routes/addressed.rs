//! Which log a path is about: the one that it names, or the log `default` at the root.

use std::sync::Arc;

use annals_api::names::DEFAULT_LOG;
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;

use crate::app::App;
use crate::logs::OneLog;
use crate::problem::{Kind, Refusal};
use crate::search::{Given, LogSet, Place};

/// The log of a request.
pub(super) struct Addressed {
    pub(super) log: Arc<OneLog>,
    pub(super) place: Place,
}

impl Addressed {
    /// The logs that are asked: at the root those of the parameter `log`, if there are any, otherwise the one of the path.
    ///
    /// # Errors
    /// As [`App::log_set`].
    pub(super) fn logs(&self, app: &App, given: &Given<'_>) -> Result<LogSet, Refusal> {
        let names = given.logs()?;
        if names.is_empty() {
            return Ok(LogSet::one(self.log.searched()));
        }
        app.log_set(&names)
    }
}

impl FromRequestParts<Arc<App>> for Addressed {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let name = segment(parts, app, "log").await?;
        Ok(Self {
            log: app.logs.get(name.as_deref().unwrap_or(DEFAULT_LOG))?,
            place: name.map_or(Place::Root, |_| Place::OneLog),
        })
    }
}

/// The path's segment that stands for an event's id.
pub(super) struct IdText(pub(super) String);

impl FromRequestParts<Arc<App>> for IdText {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Refusal> {
        let text = segment(parts, app, "id").await?;
        Ok(Self(text.unwrap_or_default()))
    }
}

/// The decoded segment of the path that its route calls so.
async fn segment(parts: &mut Parts, app: &Arc<App>, name: &str) -> Result<Option<String>, Refusal> {
    let segments = RawPathParams::from_request_parts(parts, app).await.map_err(|_| {
        let detail = "the path is not percent-encoded UTF-8";
        Refusal::new(Kind::BadRequest, detail)
    })?;
    let found = segments.iter().find(|(known, _)| *known == name);
    Ok(found.map(|(_, text)| text.to_owned()))
}

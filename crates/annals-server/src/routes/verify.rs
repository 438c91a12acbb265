//! `GET /verify` and `POST /verify/checkpoint`: is the log what was sealed?

use std::sync::Arc;

use annals_api::{Checkpoint, CheckpointVerdict, Verification};
use annals_core::chain::EventId;
use annals_core::hash::EventHash;
use axum::extract::{Request, State};
use axum::response::Response;

use super::addressed::Addressed;
use super::json;
use crate::app::{App, ReadFailed, blocking};
use crate::bodies;
use crate::ingest::Format;
use crate::logs::OneLog;
use crate::problem::{Kind, Refusal, excerpt};
use crate::query;

/// A checkpoint is one number and one hash.
const CHECKPOINT_BYTES_MAX: usize = 1024;

/// `?full=true` reads everything again.
pub(super) async fn verify(addressed: Addressed, request: Request) -> Result<Response, Refusal> {
    let [full] = query::parameters(request.uri(), ["full"])?;
    let full = full.map_or(Ok(false), |text| query::flag("full", &text))?;
    let verifier = addressed.log.verifier();
    let verification = if full {
        verifier.verify_fully().await?
    } else {
        verifier.verify().await?
    };
    Ok(json(&verification))
}

/// Compares the log with a checkpoint that was kept elsewhere.
pub(super) async fn verify_checkpoint(
    State(app): State<Arc<App>>,
    Addressed { log, .. }: Addressed,
    request: Request,
) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    if Format::of(request.headers())? != Format::Json {
        return Err(Refusal::new(
            Kind::UnsupportedMediaType,
            "send the checkpoint as application/json",
        )
        .closing());
    }
    let (body, _hold) = bodies::receive(&app, request.into_body(), CHECKPOINT_BYTES_MAX).await?;
    let (event, hash) = parsed(&body)?;
    let mut verification = log.verifier().verify().await?;
    let found = hash_of(&log, event).await;
    // What is broken already says why; an unreadable event behind the break must not hide that.
    let found = if verification.valid {
        found?
    } else {
        found.unwrap_or(None)
    };
    let contained = found == Some(hash);
    if verification.valid && !contained {
        let reason = if found.is_some() {
            "checkpoint hash mismatch"
        } else {
            "checkpoint event is missing"
        };
        verification = Verification {
            valid: false,
            reason: Some(String::from(reason)),
            ..verification
        };
    }
    Ok(json(&CheckpointVerdict {
        verification,
        contained,
    }))
}

fn parsed(body: &[u8]) -> Result<(EventId, EventHash), Refusal> {
    let checkpoint: Checkpoint = serde_json::from_slice(body).map_err(|error| {
        Refusal::new(
            Kind::Invalid,
            format!(
                "not a checkpoint {{\"event_id\",\"hash\"}}: {}",
                excerpt(&error.to_string())
            ),
        )
    })?;
    let event = EventId::new(checkpoint.event_id)
        .ok_or_else(|| Refusal::of_field(Kind::Invalid, "event_id", String::from("must be at least 1")))?;
    let hash = EventHash::from_hex(checkpoint.hash.as_bytes()).ok_or_else(|| {
        Refusal::of_field(
            Kind::Invalid,
            "hash",
            String::from("must be 64 lower-case hex digits"),
        )
    })?;
    Ok((event, hash))
}

async fn hash_of(log: &OneLog, event: EventId) -> Result<Option<EventHash>, ReadFailed> {
    if !log.head().size.contains(event) {
        return Ok(None);
    }
    let reader = log.reader();
    let run = blocking(move || reader.read(event, 1)).await??;
    Ok(run.get(0).map(|event| event.hash))
}

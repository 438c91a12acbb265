//! `GET /events` and `GET /events/{id}`: stored events, as they were sealed.

use std::io;
use std::sync::Arc;

use annals_api::names::{JSON, LIMIT_DEFAULT, LIMIT_MAX, NDJSON};
use annals_core::body;
use annals_core::chain::EventId;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCEPT, VARY};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::typed;
use crate::app::{App, ReadFailed, blocking};
use crate::filter::Filter;
use crate::pages::{Backward, Layout, Page, Piece};
use crate::problem::{Kind, Refusal, excerpt};
use crate::query;

/// What a query asks for.
struct Wanted {
    filter: Filter,
    limit: usize,
    after: Option<u64>,
    layout: Layout,
}

/// `?kind=&source=&limit=&after=`: the last `limit` matches, or with `after` the first ones behind that event; oldest first.
pub(super) async fn query(State(app): State<Arc<App>>, request: Request) -> Result<Response, Refusal> {
    let wanted = Wanted::of(request.uri(), request.headers())?;
    let layout = wanted.layout;
    // A filter may have to look through everything, so only so many at once.
    let admitted = if wanted.filter.is_open() {
        None
    } else {
        Some(app.admit_scan()?)
    };
    let mut answer = Answer {
        page: Some(page(&app, wanted).await?),
        app,
        _admitted: admitted,
    };
    // The first piece is made before the status goes out, so that damage there is an error and not a torn answer.
    let first = answer.next().await?;
    let body = match first {
        Some(piece) if piece.is_last => Body::from(piece.bytes),
        Some(piece) => answer.into_body(piece.bytes),
        None => Body::empty(),
    };
    let mut response = typed(
        StatusCode::OK,
        if layout == Layout::Lines { NDJSON } else { JSON },
        body,
    );
    response
        .headers_mut()
        .insert(VARY, HeaderValue::from_static("accept"));
    Ok(response)
}

impl Wanted {
    fn of(uri: &Uri, headers: &HeaderMap) -> Result<Self, Refusal> {
        let [kind, source, limit, after] = query::parameters(uri, ["kind", "source", "limit", "after"])?;
        let limit = match &limit {
            None => LIMIT_DEFAULT,
            Some(text) => limit_of(text)?,
        };
        let after = after
            .map(|text| query::number("after", &text, "an event id, or 0 for the start"))
            .transpose()?;
        let layout = if prefers_lines(headers) {
            Layout::Lines
        } else {
            Layout::Array
        };
        Ok(Self {
            filter: Filter::new(kind.as_deref(), source.as_deref())?,
            limit,
            after,
            layout,
        })
    }
}

fn limit_of(text: &str) -> Result<usize, Refusal> {
    let limit = query::number("limit", text, "in 1..100000")?;
    usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| {
            Refusal::of_field(
                Kind::BadRequest,
                "limit",
                format!("must be in 1..100000, not {limit}"),
            )
        })
}

/// Finds out which events are meant; for a filter over the last matches, by walking backwards.
async fn page(app: &App, wanted: Wanted) -> Result<Page, ReadFailed> {
    let Wanted {
        filter,
        limit,
        after,
        layout,
    } = wanted;
    let last = app.reader.head().size;
    if let Some(after) = after {
        return Ok(Page::forward(
            EventId::FIRST.plus(after),
            last,
            filter,
            limit,
            layout,
        ));
    }
    if filter.is_open() {
        let first = last.0.saturating_sub(limit as u64);
        return Ok(Page::forward(
            EventId::FIRST.plus(first),
            last,
            filter,
            limit,
            layout,
        ));
    }
    let mut search = Backward::new(last, filter, limit);
    loop {
        // One bounded step at a time: a caller that goes away ends the search.
        let reader = Arc::clone(&app.reader);
        let (returned, over) = blocking(move || {
            let over = search.step(&*reader);
            (search, over)
        })
        .await?;
        search = returned;
        if over? {
            return Ok(Page::picked(search.into_ids(), layout));
        }
    }
}

/// An answer on its way, with its place among the concurrent queries.
struct Answer {
    app: Arc<App>,
    /// `None` once the last piece is made.
    page: Option<Page>,
    _admitted: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// The next piece that is not empty; `None` at the end.
    async fn next(&mut self) -> Result<Option<Piece>, ReadFailed> {
        while let Some(mut page) = self.page.take() {
            let reader = Arc::clone(&self.app.reader);
            let (page, piece) = blocking(move || {
                let piece = page.step(&*reader);
                (page, piece)
            })
            .await?;
            let piece = piece?;
            self.page = (!piece.is_last).then_some(page);
            if piece.is_last || !piece.bytes.is_empty() {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    /// The rest of the answer. An error aborts the connection: the client sees that the answer is torn.
    fn into_body(self, first: Vec<u8>) -> Body {
        let pieces = stream::unfold((Some(self), Some(first)), |(answer, first)| async {
            let mut answer = answer?;
            if let Some(first) = first {
                return Some((Ok(Bytes::from(first)), (Some(answer), None)));
            }
            match answer.next().await {
                Ok(piece) => piece.map(|piece| (Ok(Bytes::from(piece.bytes)), (Some(answer), None))),
                Err(error) => {
                    tracing::error!(%error, "an answer is torn off");
                    Some((Err(io::Error::other(error)), (None, None)))
                }
            }
        });
        Body::from_stream(pieces)
    }
}

/// One event by its id.
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    let unknown = || Refusal::new(Kind::NotFound, format!("unknown event_id: {}", excerpt(&id)));
    let id = event_id(&id)?.ok_or_else(unknown)?;
    if !app.reader.head().size.contains(id) {
        return Err(unknown());
    }
    let reader = Arc::clone(&app.reader);
    let run = blocking(move || reader.read(id, 1)).await??;
    let event = run.get(0).ok_or_else(unknown)?;
    let mut served = Vec::with_capacity(event.body.len() + body::SERVED_EXTRA_BYTES);
    body::write_served(event.body, &event.hash, &mut served);
    Ok(typed(StatusCode::OK, JSON, served))
}

/// Any integer is an id; `None` for those that no event can have.
fn event_id(text: &str) -> Result<Option<EventId>, Refusal> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(Refusal::of_field(
            Kind::Invalid,
            "event_id",
            format!("must be an integer, not \"{}\"", excerpt(text)),
        ));
    }
    Ok(text.parse().ok().and_then(EventId::new))
}

/// Whether `Accept` names NDJSON, and no less than JSON (RFC 9110 section 12.5.1).
fn prefers_lines(headers: &HeaderMap) -> bool {
    let (mut lines, mut array) = (0.0_f32, 0.0_f32);
    for range in headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
    {
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts
            .find_map(|parameter| parameter.strip_prefix("q="))
            .map_or(Ok(1.0), str::parse)
            .unwrap_or(0.0);
        match media_type.as_str() {
            NDJSON | annals_api::names::JSONL => lines = lines.max(quality),
            JSON => array = array.max(quality),
            _ => {}
        }
    }
    lines > 0.0 && lines >= array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_only_when_they_are_asked_for() {
        for (accept, lines) in [
            ("*/*", false),
            ("application/x-ndjson", true),
            ("application/jsonl, */*;q=0.1", true),
            ("application/json, application/x-ndjson;q=0.5", false),
            ("application/json;q=0.1, Application/X-NDJSON", true),
            ("application/x-ndjson;q=0", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(prefers_lines(&headers), lines, "{accept}");
        }
        assert!(!prefers_lines(&HeaderMap::new()));
    }
}

//! `GET /events` and what belongs to it: stored events, as they were sealed, and how many there are.

use std::io;
use std::sync::Arc;

use annals_api::names::{CSV, JSON, NDJSON, SCAN_INCOMPLETE};
use annals_api::{Bucket, Count, Histogram, LogCount};
use annals_core::body;
use annals_core::chain::EventId;
use annals_store::Order;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, LINK, VARY};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;

use super::addressed::{Addressed, IdText};
use super::{json, typed};
use crate::app::{App, ReadFailed, blocking};
use crate::problem::{Kind, Refusal, excerpt};
use crate::query;
use crate::search::{
    Cursor, Given, Lane, Layout, LogSet, Page, Paging, Picked, Piece, SearchFailed, Selection, Spacing,
    Tallied, Tally, Walk, bad,
};

/// `GET /events`, over one log or, at the root, several.
pub(super) async fn query(
    State(app): State<Arc<App>>,
    addressed: Addressed,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let given = Given::of(&parts.uri, addressed.place, &PAGING)?;
    let logs = addressed.logs(&app, &given)?;
    events(&app, logs, &given, &parts).await
}

/// `GET /events/count`.
pub(super) async fn count(
    State(app): State<Arc<App>>,
    addressed: Addressed,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let given = Given::of(&parts.uri, addressed.place, &[])?;
    let logs = addressed.logs(&app, &given)?;
    counted(&app, logs, &given).await
}

/// `GET /events/histogram`.
pub(super) async fn histogram(
    State(app): State<Arc<App>>,
    addressed: Addressed,
    request: Request,
) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let given = Given::of(&parts.uri, addressed.place, &DIVIDING)?;
    let logs = addressed.logs(&app, &given)?;
    divided(&app, logs, &given).await
}

/// The parameters of `GET /events` besides those that select.
const PAGING: [&str; 5] = ["limit", "after", "order", "cursor", "format"];
/// The parameters of `GET /events/histogram` besides those that select.
const DIVIDING: [&str; 2] = ["buckets", "interval"];

/// Events of `logs`. Without `order` and `cursor` as the seed: the last `limit` matches, or with `after` the first ones behind
/// that event, oldest first. With them, a page from one end, with a link to the next.
pub(super) async fn events(
    app: &Arc<App>,
    logs: LogSet,
    given: &Given<'_>,
    parts: &Parts,
) -> Result<Response, Refusal> {
    let selection = Selection::of(given)?;
    let paging = Paging::of(given)?;
    let layout = layout(given, &parts.headers)?;
    if logs.are_several() && selection.after.is_some() {
        let message = "is an id of one log, and several are asked; use `since`, or `cursor`";
        return Err(bad("after", String::from(message)));
    }
    let cursor = paging
        .cursor
        .map(|text| Cursor::decode(text, &selection, paging.order, &logs))
        .transpose()?;
    let order = cursor.as_ref().map(|cursor| cursor.order).or(paging.order);
    let admitted = admit(app, &selection, &logs)?;
    let walked = walk(app, &logs, &selection, order, cursor, paging.limit);
    let picked = walked.await.map_err(|error| error.refusal(&selection))?;
    let next = picked.next.clone().map(|positions| Cursor {
        order: picked.order,
        positions,
    });
    let is_incomplete = picked.is_incomplete;
    // As the seed shows them: the last ones, oldest first.
    let picked = if order.is_none() && picked.order == Order::NewestFirst {
        picked.reversed()
    } else {
        picked
    };
    let answer = Answer {
        page: Some(Page::new(picked, layout)),
        _admitted: admitted,
    };
    let mut response = answer.into_response(layout).await?;
    let headers = response.headers_mut();
    headers.insert(VARY, HeaderValue::from_static("accept"));
    if is_incomplete {
        headers.insert(SCAN_INCOMPLETE, HeaderValue::from_static("true"));
    }
    if let Some(next) = next {
        headers.insert(
            LINK,
            link(parts.uri.path(), given, &next, &next.encode(&selection, &logs))?,
        );
    }
    Ok(response)
}

/// How many events match.
pub(super) async fn counted(app: &Arc<App>, logs: LogSet, given: &Given<'_>) -> Result<Response, Refusal> {
    let selection = Selection::of(given)?;
    let _admitted = admit(app, &selection, &logs)?;
    let lanes = lanes(&logs, &selection, None).await;
    let lanes = lanes.map_err(|error| error.refusal(&selection))?;
    let tally = Tally::new(
        lanes,
        Arc::clone(&selection.filter),
        Vec::new(),
        app.options.scan_bytes_max,
    );
    let tallied = run(tally).await.map_err(|error| error.refusal(&selection))?;
    let of_log = |tallied: Tallied| LogCount {
        log: tallied.log,
        count: tallied.counts.iter().sum(),
        as_of: tallied.as_of.0,
    };
    let mut counts: Vec<LogCount> = tallied.into_iter().map(of_log).collect();
    let count = counts.iter().map(|log| log.count).sum();
    let as_of = if logs.are_several() {
        None
    } else {
        counts.pop().map(|log| log.as_of)
    };
    Ok(json(&Count {
        count,
        as_of,
        logs: counts,
    }))
}

/// How many events match, over receive time.
pub(super) async fn divided(app: &Arc<App>, logs: LogSet, given: &Given<'_>) -> Result<Response, Refusal> {
    let selection = Selection::of(given)?;
    let spacing = Spacing::of(given)?;
    // The edges alone are many look-ups, so it has its place whatever is selected.
    let _admitted = app.admit_scan()?;
    let divide = {
        let selection = selection.clone();
        async move {
            let lanes = lanes(&logs, &selection, None).await?;
            blocking(move || Ok((spacing.divide(&selection, &lanes)?, lanes))).await?
        }
    };
    let (division, lanes) = divide
        .await
        .map_err(|error: SearchFailed| error.refusal(&selection))?;
    let mut counts = vec![0; division.edges.len().saturating_sub(1)];
    if !counts.is_empty() {
        let edges = division.edges.clone();
        let tally = Tally::new(
            lanes,
            Arc::clone(&selection.filter),
            edges,
            app.options.scan_bytes_max,
        );
        let tallied = run(tally).await.map_err(|error| error.refusal(&selection))?;
        for of_log in tallied {
            for (sum, count) in counts.iter_mut().zip(of_log.counts) {
                *sum += count;
            }
        }
    }
    let buckets = division
        .edges
        .windows(2)
        .zip(counts)
        .map(|(edges, count)| Bucket {
            from: edges[0].to_string(),
            until: edges[1].to_string(),
            count,
        });
    Ok(json(&Histogram {
        interval_seconds: division.interval_seconds,
        buckets: buckets.collect(),
    }))
}

/// What may have to look through everything has to be let in first: only so many at once.
fn admit(app: &App, selection: &Selection, logs: &LogSet) -> Result<Option<OwnedSemaphorePermit>, Refusal> {
    if selection.is_open() && !logs.are_several() {
        return Ok(None);
    }
    app.admit_scan().map(Some)
}

/// Where the selected events lie.
async fn lanes(
    logs: &LogSet,
    selection: &Selection,
    cursor: Option<Cursor>,
) -> Result<Vec<Lane>, SearchFailed> {
    let (logs, selection) = (logs.clone(), selection.clone());
    blocking(move || {
        let lane = |(at, log)| {
            let lane = Lane::of(log, &selection)?;
            match &cursor {
                Some(cursor) => lane.resumed(cursor.order, cursor.positions[at]),
                None => Ok(lane),
            }
        };
        logs.iter().enumerate().map(lane).collect()
    })
    .await?
}

/// Finds the events of a page.
async fn walk(
    app: &App,
    logs: &LogSet,
    selection: &Selection,
    order: Option<Order>,
    cursor: Option<Cursor>,
    limit: usize,
) -> Result<Picked, SearchFailed> {
    let direction = order.unwrap_or(match selection.after {
        None => Order::NewestFirst,
        Some(_) => Order::OldestFirst,
    });
    let mut walk = Walk::new(
        lanes(logs, selection, cursor).await?,
        Arc::clone(&selection.filter),
        direction,
        limit,
        order.is_some(),
        app.options.scan_bytes_max,
    );
    loop {
        // One bounded step at a time: a caller that goes away ends the search.
        let (returned, is_over) = blocking(move || {
            let is_over = walk.step();
            (walk, is_over)
        })
        .await?;
        walk = returned;
        if is_over? {
            return Ok(walk.finish());
        }
    }
}

/// Counts, one bounded step at a time.
async fn run(mut tally: Tally) -> Result<Vec<Tallied>, SearchFailed> {
    loop {
        let (returned, is_over) = blocking(move || {
            let is_over = tally.step();
            (tally, is_over)
        })
        .await?;
        tally = returned;
        if is_over? {
            return Ok(tally.finish());
        }
    }
}

/// The next page, as a relative reference (RFC 8288).
fn link(path: &str, given: &Given<'_>, next: &Cursor, cursor: &str) -> Result<HeaderValue, Refusal> {
    let query = given.without(&["order", "cursor"]);
    let order = match next.order {
        Order::NewestFirst => "newest",
        Order::OldestFirst => "oldest",
    };
    HeaderValue::try_from(format!(
        "<{path}?{query}order={order}&cursor={cursor}>; rel=\"next\""
    ))
    .map_err(|_| {
        Refusal::new(
            Kind::BadRequest,
            "the path can not be linked to; write it in plain ASCII",
        )
    })
}

/// An answer on its way, with its place among the concurrent queries.
struct Answer {
    /// `None` once the last piece is made.
    page: Option<Page>,
    _admitted: Option<OwnedSemaphorePermit>,
}

impl Answer {
    /// The first piece is made before the status goes out, so that damage there is an error and not a torn answer.
    async fn into_response(mut self, layout: Layout) -> Result<Response, Refusal> {
        let body = match self.next().await? {
            Some(piece) if piece.is_last => Body::from(piece.bytes),
            Some(piece) => self.into_body(piece.bytes),
            None => Body::empty(),
        };
        let media_type = match layout {
            Layout::Array => JSON,
            Layout::Lines => NDJSON,
            Layout::Csv => CSV,
        };
        Ok(typed(StatusCode::OK, media_type, body))
    }

    /// The next piece that is not empty; `None` at the end.
    async fn next(&mut self) -> Result<Option<Piece>, ReadFailed> {
        while let Some(mut page) = self.page.take() {
            let (page, piece) = blocking(move || {
                let piece = page.step();
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
    Addressed { log, .. }: Addressed,
    IdText(id): IdText,
    request: Request,
) -> Result<Response, Refusal> {
    query::no_parameters(request.uri())?;
    let unknown = || Refusal::new(Kind::NotFound, format!("unknown event_id: {}", excerpt(&id)));
    let id = event_id(&id)?.ok_or_else(unknown)?;
    if !log.head().size.contains(id) {
        return Err(unknown());
    }
    let reader = log.reader();
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

/// How the events are wanted: as `format` says, or else `Accept`.
fn layout(given: &Given<'_>, headers: &HeaderMap) -> Result<Layout, Refusal> {
    match given.one("format") {
        None => Ok(preferred(headers)),
        Some("json") => Ok(Layout::Array),
        Some("ndjson") => Ok(Layout::Lines),
        Some("csv") => Ok(Layout::Csv),
        Some(other) => {
            let message = format!("must be json, ndjson or csv, not \"{}\"", excerpt(other));
            Err(bad("format", message))
        }
    }
}

/// What `Accept` names and wants no less than JSON (RFC 9110 section 12.5.1).
fn preferred(headers: &HeaderMap) -> Layout {
    let (mut lines, mut table, mut array) = (0.0_f32, 0.0_f32, 0.0_f32);
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
        let best = match media_type.as_str() {
            NDJSON | annals_api::names::JSONL => &mut lines,
            JSON => &mut array,
            "text/csv" => &mut table,
            _ => continue,
        };
        *best = best.max(quality);
    }
    if lines > 0.0 && lines >= array && lines >= table {
        Layout::Lines
    } else if table > 0.0 && table >= array {
        Layout::Csv
    } else {
        Layout::Array
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_tables_only_when_they_are_asked_for() {
        use Layout::{Array, Csv, Lines};
        for (accept, layout) in [
            ("*/*", Array),
            ("application/x-ndjson", Lines),
            ("application/jsonl, */*;q=0.1", Lines),
            ("application/json, application/x-ndjson;q=0.5", Array),
            ("application/json;q=0.1, Application/X-NDJSON", Lines),
            ("application/x-ndjson;q=0", Array),
            ("text/csv", Csv),
            ("text/csv; header=present", Csv),
            ("text/csv;q=0.5, application/json", Array),
            ("text/csv, application/x-ndjson;q=0.9", Csv),
            ("text/html, */*", Array),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, accept.parse().unwrap());
            assert_eq!(preferred(&headers), layout, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new()), Array);
    }
}

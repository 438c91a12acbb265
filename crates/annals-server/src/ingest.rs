//! From request bytes to events that can be sealed: one event, an array, or one event a line.
//!
//! Invariants: all or nothing (a batch with one bad item yields no batch); an error names the item it is about; no more
//! than [`ERRORS_MAX`] errors are collected, so a hostile batch costs no more than a good one.

use annals_api::FieldError;
use annals_api::names::{ERRORS_MAX, JSON, JSONL, NDJSON};
use annals_core::canon::{self, CanonError, CanonErrorKind};
use annals_core::canonical::{BatchFull, CanonicalBatch};
use annals_core::draft::{self, Draft, DraftError, DraftParser, FieldProblem, RequestDigest};
use annals_core::limits::EventLimits;
use annals_log::{ItemKey, MalformedRetry, RetryKey};
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use memchr::memchr;

use crate::problem::{Kind, Refusal, excerpt};
use crate::stamps::Stamps;

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// A JSON object, or an array of them.
    Json,
    /// One JSON object a line.
    Lines,
}

/// What a request asked for, and so how it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One event: the answer is the event.
    One,
    /// An array: the answer is an array of receipts.
    Array,
    /// One event a line: the answer is one receipt a line.
    Lines,
}

/// The events of one request.
#[derive(Debug)]
pub(crate) struct Ingested {
    pub(crate) batch: CanonicalBatch,
    pub(crate) shape: Shape,
    /// Of all events, if it was wanted.
    pub(crate) digest: [u8; 32],
    /// Of the items that have one, in their order.
    pub(crate) item_keys: Vec<ItemKey>,
}

impl Format {
    /// The format that the request's headers declare; JSON when they don't say.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        if headers
            .get(CONTENT_ENCODING)
            .is_some_and(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
        {
            return Err(Refusal::new(
                Kind::UnsupportedMediaType,
                "compressed bodies are not taken; send it as it is",
            )
            .closing());
        }
        let Some(declared) = headers.get(CONTENT_TYPE) else {
            return Ok(Self::Json);
        };
        if declared.as_bytes() == JSON.as_bytes() {
            return Ok(Self::Json);
        }
        let declared = declared.to_str().unwrap_or_default();
        let mut parts = declared.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        let charset = parts.find_map(|parameter| {
            parameter
                .split_once('=')
                .filter(|(name, _)| name.eq_ignore_ascii_case("charset"))
        });
        let utf8 = charset.is_none_or(|(_, charset)| charset.trim_matches('"').eq_ignore_ascii_case("utf-8"));
        match media_type.as_str() {
            JSON if utf8 => Ok(Self::Json),
            NDJSON | JSONL if utf8 => Ok(Self::Lines),
            other if utf8 && other.starts_with("application/") && other.ends_with("+json") => Ok(Self::Json),
            _ => Err(Refusal::new(
                Kind::UnsupportedMediaType,
                format!(
                    "\"{}\" is not taken; send {JSON} (one event or an array) or {NDJSON} (one event a line), in UTF-8",
                    excerpt(declared)
                ),
            )
            .closing()),
        }
    }
}

/// Parses a body.
///
/// # Errors
/// 422 with what is wrong, field by field, or 413 when an event or the batch is too large.
pub(crate) fn ingest(
    format: Format,
    body: &[u8],
    limits: &EventLimits,
    wants_digest: bool,
) -> Result<Ingested, Refusal> {
    let mut intake = Intake::new(limits);
    intake.digest = wants_digest.then(RequestDigest::default);
    let shape = match format {
        Format::Lines => {
            intake.lines(body);
            Shape::Lines
        }
        Format::Json if first_byte(body) == Some(b'[') => {
            intake.array(body);
            Shape::Array
        }
        Format::Json => {
            let mut parser = DraftParser::new(*limits);
            let parsed = parser.parse(body);
            if is_really_lines(&parsed, body) {
                return Err(lines_as_json());
            }
            intake.take(parsed, str::to_owned);
            Shape::One
        }
    };
    intake.finish(shape)
}

/// Whether what should be one JSON object is one, and on a later line another.
fn is_really_lines(parsed: &Result<Draft<'_>, DraftError>, body: &[u8]) -> bool {
    let Err(DraftError::Json(CanonError {
        offset,
        kind: CanonErrorKind::TrailingBytes,
    })) = parsed
    else {
        return false;
    };
    let (first, rest) = body.split_at_checked(*offset).unwrap_or_default();
    let mut between = first.iter().rev().take_while(|byte| is_white(**byte));
    rest.first() == Some(&b'{') && between.any(|byte| *byte == b'\n')
}

fn lines_as_json() -> Refusal {
    Refusal::new(
        Kind::Invalid,
        format!(
            "the body has more than one event, one a line; send it as {NDJSON} (header content-type), or as a JSON array"
        ),
    )
}

fn first_byte(body: &[u8]) -> Option<u8> {
    body.iter().copied().find(|byte| !is_white(*byte))
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// Collects good events until the first bad one, and bad ones until there are enough.
struct Intake<'a> {
    limits: &'a EventLimits,
    batch: CanonicalBatch,
    stamps: Stamps,
    digest: Option<RequestDigest>,
    item_keys: Vec<ItemKey>,
    errors: Vec<FieldError>,
    /// Over a limit: nothing that follows matters.
    too_large: bool,
}

impl<'a> Intake<'a> {
    fn new(limits: &'a EventLimits) -> Self {
        Self {
            limits,
            batch: CanonicalBatch::default(),
            stamps: Stamps::default(),
            digest: None,
            item_keys: Vec::new(),
            errors: Vec::new(),
            too_large: false,
        }
    }

    fn is_full(&self) -> bool {
        self.too_large || self.errors.len() >= ERRORS_MAX
    }

    fn lines(&mut self, body: &[u8]) {
        let mut parser = DraftParser::new(*self.limits);
        let mut rest = body;
        let mut number = 0_usize;
        while !rest.is_empty() && !self.is_full() {
            let end = memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            number += 1;
            if line.iter().all(|byte| is_white(*byte)) {
                continue;
            }
            self.take(parser.parse(line), |field| {
                if field.is_empty() {
                    format!("line {number}")
                } else {
                    format!("line {number}: {field}")
                }
            });
        }
    }

    fn array(&mut self, body: &[u8]) {
        let mut parser = DraftParser::new(*self.limits);
        let mut items = canon::items(body);
        let mut index = 0_usize;
        while !self.is_full() {
            let Some(parsed) = parser.parse_next(&mut items) else {
                return;
            };
            self.take(parsed, |field| {
                if field.is_empty() {
                    format!("items[{index}]")
                } else {
                    format!("items[{index}].{field}")
                }
            });
            index += 1;
        }
    }

    /// One event; `place` says where a field of it is in the request.
    fn take(&mut self, parsed: Result<Draft<'_>, DraftError>, place: impl Fn(&str) -> String) {
        match parsed {
            Ok(draft) if self.errors.is_empty() => {
                if let Err(full) = self.batch.push(&draft, self.limits, || self.stamps.next()) {
                    self.too_large = true;
                    self.errors = vec![FieldError {
                        field: place(""),
                        message: full_message(full),
                    }];
                    return;
                }
                if let Some(digest) = &mut self.digest {
                    digest.add(&draft);
                }
                if let Err(malformed) = self.take_key(&draft) {
                    self.refuse(place("idempotency_key"), malformed.to_string());
                }
            }
            // After the first bad event the others are only looked at for errors of their own.
            Ok(_) => {}
            Err(DraftError::Json(error)) => self.refuse(place(""), not_json(error)),
            Err(DraftError::Fields(fields)) => {
                for draft::FieldError { field, problem } in fields {
                    // The kinds are too many to list with every one of twenty errors.
                    let lists_kinds = self.errors.is_empty();
                    self.refuse(place(&excerpt(&field)), field_message(problem, lists_kinds));
                }
            }
            Err(error @ DraftError::TooLarge { .. }) => {
                self.too_large = true;
                self.errors = vec![FieldError {
                    field: place(""),
                    message: error.to_string(),
                }];
            }
        }
    }

    /// The key of the event that was pushed last, if it has one.
    fn take_key(&mut self, draft: &Draft<'_>) -> Result<(), MalformedRetry> {
        let Some(key) = draft.idempotency_key() else {
            return Ok(());
        };
        self.item_keys.push(ItemKey {
            item: u32::try_from(self.batch.len() - 1).unwrap_or(u32::MAX),
            key: RetryKey::new(&key)?,
            digest: draft.digest(),
        });
        Ok(())
    }

    fn refuse(&mut self, field: String, message: String) {
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(FieldError { field, message });
        }
    }

    fn finish(self, shape: Shape) -> Result<Ingested, Refusal> {
        let Self {
            batch,
            digest,
            item_keys,
            errors,
            too_large,
            ..
        } = self;
        let kind = if too_large { Kind::TooLarge } else { Kind::Invalid };
        if let Some(first) = errors.first() {
            let detail = detail_of(first, errors.len(), shape);
            return Err(Refusal::new(kind, detail).with_errors(
                errors
                    .into_iter()
                    .filter(|error| !error.field.is_empty())
                    .collect(),
            ));
        }
        if batch.is_empty() {
            return Err(Refusal::new(kind, "the batch has no event; send at least one"));
        }
        Ok(Ingested {
            batch,
            shape,
            digest: digest.map_or([0; 32], RequestDigest::finish),
            item_keys,
        })
    }
}

fn detail_of(first: &FieldError, count: usize, shape: Shape) -> String {
    let mut detail = match first.field.as_str() {
        "" => first.message.clone(),
        field => format!("`{field}` {}", first.message),
    };
    match count {
        1 => {}
        ERRORS_MAX => detail.push_str(" (and more, see errors)"),
        _ => detail.push_str(&format!(" (and {} more, see errors)", count - 1)),
    }
    if shape != Shape::One {
        detail.push_str("; nothing of the batch was stored");
    }
    detail
}

fn not_json(error: CanonError) -> String {
    format!("is not an event in JSON: {error}")
}

fn full_message(full: BatchFull) -> String {
    full.to_string()
}

fn field_message(problem: FieldProblem, lists_kinds: bool) -> String {
    match problem {
        FieldProblem::UnregisteredKind { kind } if !lists_kinds => {
            format!("is \"{}\", which is not a registered kind", excerpt(&kind))
        }
        problem => problem.to_string(),
    }
}

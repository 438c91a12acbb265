//! Refusals: from what went wrong to status, headers and problem-details body (RFC 9457).
//!
//! Invariants: `detail` is a string that says what to do next; text that came from the caller is cut before it goes back.

use std::borrow::Cow;
use std::time::Duration;

use annals_api::names::{PROBLEM_INTEGRITY, PROBLEM_JSON};
use annals_api::{FieldError, Outcome, Problem};
use annals_log::{AppendError, CreateError, Fatal};
use annals_store::ReadError;
use axum::body::Body;
use axum::http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::app::{Interrupted, ReadFailed};

/// The kinds of problems. Each has one status and one URN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    BadRequest,
    Forbidden,
    NotFound,
    MethodNotAllowed,
    Timeout,
    TooLarge,
    UriTooLong,
    HeadTooLarge,
    UnsupportedMediaType,
    Invalid,
    Storage,
    Damaged,
    Halted,
    WriteFailed,
    Busy,
    Recovering,
    Stopped,
    NotReady,
    OutcomeUnknown,
    NoSpace,
    LogExists,
    TooManyLogs,
    KeyReused,
    SequenceStraddles,
    TooManyProducers,
}

impl Kind {
    fn status(self) -> StatusCode {
        use StatusCode as S;
        match self {
            Self::BadRequest => S::BAD_REQUEST,
            Self::Forbidden => S::FORBIDDEN,
            Self::NotFound => S::NOT_FOUND,
            Self::MethodNotAllowed => S::METHOD_NOT_ALLOWED,
            Self::Timeout => S::REQUEST_TIMEOUT,
            Self::TooLarge => S::PAYLOAD_TOO_LARGE,
            Self::UriTooLong => S::URI_TOO_LONG,
            Self::HeadTooLarge => S::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::UnsupportedMediaType => S::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid | Self::KeyReused => S::UNPROCESSABLE_ENTITY,
            Self::LogExists | Self::SequenceStraddles => S::CONFLICT,
            Self::Storage | Self::Damaged | Self::Halted => S::INTERNAL_SERVER_ERROR,
            Self::WriteFailed
            | Self::Busy
            | Self::Recovering
            | Self::Stopped
            | Self::NotReady
            | Self::OutcomeUnknown => S::SERVICE_UNAVAILABLE,
            Self::NoSpace | Self::TooManyLogs | Self::TooManyProducers => S::INSUFFICIENT_STORAGE,
        }
    }

    /// Type and title.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::BadRequest => ("urn:annals:problem:bad-request", "Bad request"),
            Self::Forbidden => ("urn:annals:problem:forbidden", "Not from here"),
            Self::NotFound => ("urn:annals:problem:not-found", "Not found"),
            Self::MethodNotAllowed => ("urn:annals:problem:method", "Method not allowed"),
            Self::Timeout => ("urn:annals:problem:timeout", "Request too slow"),
            Self::TooLarge => ("urn:annals:problem:too-large", "Too large"),
            Self::UriTooLong => ("urn:annals:problem:uri-too-long", "Address too long"),
            Self::HeadTooLarge => (
                "urn:annals:problem:head-too-large",
                "Too many or too large headers",
            ),
            Self::UnsupportedMediaType => ("urn:annals:problem:media-type", "Unsupported media type"),
            Self::Invalid => ("urn:annals:problem:invalid", "Not acceptable as it is"),
            Self::Storage => ("urn:annals:problem:storage", "Storage failure"),
            Self::Damaged => (PROBLEM_INTEGRITY, "Integrity failure"),
            Self::Halted => ("urn:annals:problem:halted", "Nothing more is taken"),
            Self::WriteFailed => ("urn:annals:problem:write-failed", "Storage failure"),
            Self::Busy => ("urn:annals:problem:busy", "Busy"),
            Self::Recovering => ("urn:annals:problem:recovering", "Recovering"),
            Self::Stopped => ("urn:annals:problem:stopped", "Shutting down"),
            Self::NotReady => ("urn:annals:problem:not-ready", "Not ready"),
            Self::OutcomeUnknown => ("urn:annals:problem:outcome-unknown", "Outcome unknown"),
            Self::NoSpace => ("urn:annals:problem:no-space", "Storage full"),
            Self::LogExists => ("urn:annals:problem:log-exists", "Name taken"),
            Self::TooManyLogs => ("urn:annals:problem:too-many-logs", "Too many logs"),
            Self::KeyReused => ("urn:annals:problem:key-reused", "Key used for another request"),
            Self::SequenceStraddles => ("urn:annals:problem:sequence-straddles", "Stored in part before"),
            Self::TooManyProducers => ("urn:annals:problem:too-many-producers", "Too many producers"),
        }
    }

    /// How long a caller should wait when nothing more precise is known.
    fn retry_after(self) -> Option<Duration> {
        match self {
            Self::Busy | Self::Recovering => Some(Duration::from_secs(1)),
            Self::Stopped | Self::NotReady => Some(Duration::from_secs(5)),
            _ => None,
        }
    }
}

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Refusal(Box<Inner>);

#[derive(Debug)]
struct Inner {
    kind: Kind,
    detail: String,
    errors: Vec<FieldError>,
    outcome: Option<Outcome>,
    retry_after: Option<Duration>,
    close: bool,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            outcome: None,
            retry_after: kind.retry_after(),
            close: false,
        }))
    }

    /// One field is wrong, and the detail says the same.
    pub(crate) fn of_field(kind: Kind, field: &str, message: String) -> Self {
        Self::new(kind, format!("`{}` {message}", excerpt(field))).with_errors(vec![FieldError {
            field: excerpt(field).into_owned(),
            message,
        }])
    }

    pub(crate) fn with_errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// The rest of the request is not read: the connection ends with this answer.
    pub(crate) fn closing(mut self) -> Self {
        self.0.close = true;
        self
    }

    /// Says that nothing of a refused append is stored, unless it already says what became of it.
    pub(crate) fn nothing_stored(mut self) -> Self {
        self.0.outcome.get_or_insert(Outcome::NotStored);
        self
    }

    /// Says what became of a refused append.
    pub(crate) fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = Some(outcome);
        self
    }

    /// With other words, and another wait.
    pub(crate) fn saying(mut self, detail: String, retry_after: Option<Duration>) -> Self {
        self.0.detail = detail;
        self.retry_after(retry_after)
    }

    fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.0.retry_after = wait.or(self.0.retry_after);
        self
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Inner {
            kind,
            detail,
            errors,
            outcome,
            retry_after,
            close,
        } = *self.0;
        let (status, (urn, title)) = (kind.status(), kind.words());
        let problem = Problem {
            kind: Cow::Borrowed(urn),
            title: Cow::Borrowed(title),
            status: status.as_u16(),
            detail,
            errors,
            outcome,
        };
        // Serialising these types has no way to fail; an empty body would still carry the status.
        let mut response = Response::new(Body::from(serde_json::to_vec(&problem).unwrap_or_default()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(wait) = retry_after {
            headers.insert(
                RETRY_AFTER,
                HeaderValue::from(wait.as_millis().div_ceil(1000).clamp(1, 3600) as u64),
            );
        }
        if close {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl From<AppendError> for Refusal {
    /// The one place that maps a refused append to a status. 503 with Retry-After means that the same request may be sent
    /// again; an unknown outcome has no Retry-After, because the caller has to look first.
    fn from(error: AppendError) -> Self {
        let kind = match &error {
            AppendError::Empty => Kind::Invalid,
            AppendError::TooLarge { .. } => Kind::TooLarge,
            AppendError::Busy { .. } => Kind::Busy,
            AppendError::Recovering { .. } => Kind::Recovering,
            AppendError::NoSpace => Kind::NoSpace,
            AppendError::Storage { .. } => Kind::WriteFailed,
            AppendError::Unknown => Kind::OutcomeUnknown,
            AppendError::Stopped => Kind::Stopped,
            AppendError::Damaged(fatal) => kind_of(fatal),
        };
        let outcome = match error.outcome() {
            annals_log::Outcome::NotStored => Outcome::NotStored,
            annals_log::Outcome::Unknown => Outcome::Unknown,
        };
        Self::new(kind, error.to_string())
            .with_outcome(outcome)
            .retry_after(error.retry_after())
    }
}

impl From<CreateError> for Refusal {
    /// The one place that maps a log that was not made to a status.
    fn from(error: CreateError) -> Self {
        let (kind, wait) = match &error {
            CreateError::Exists(_) => (Kind::LogExists, None),
            CreateError::TooMany { .. } => (Kind::TooManyLogs, None),
            CreateError::Busy { retry_after } => (Kind::Busy, Some(*retry_after)),
            CreateError::Recovering { retry_after } => (Kind::Recovering, Some(*retry_after)),
            CreateError::NoSpace => (Kind::NoSpace, None),
            CreateError::Storage { retry_after } => (Kind::WriteFailed, Some(*retry_after)),
            CreateError::Unknown => (Kind::OutcomeUnknown, None),
            CreateError::Stopped => (Kind::Stopped, None),
            CreateError::Damaged(fatal) => (kind_of(fatal), None),
        };
        Self::new(kind, error.to_string()).retry_after(wait)
    }
}

/// Why nothing more is taken.
fn kind_of(fatal: &Fatal) -> Kind {
    match fatal {
        Fatal::Integrity(_) | Fatal::LostHead { .. } => Kind::Damaged,
        Fatal::Fenced { .. } | Fatal::NoSuchLog(_) | Fatal::Panicked => Kind::Halted,
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        tracing::error!(%error, "a read failed");
        let kind = match &error {
            ReadError::Io(_) => Kind::Storage,
            ReadError::Damaged(_) => Kind::Damaged,
        };
        Self::new(kind, error.to_string())
    }
}

impl From<Interrupted> for Refusal {
    fn from(error: Interrupted) -> Self {
        Self::new(Kind::Storage, error.to_string())
    }
}

impl From<ReadFailed> for Refusal {
    fn from(error: ReadFailed) -> Self {
        match error {
            ReadFailed::Read(error) => error.into(),
            ReadFailed::Interrupted(error) => error.into(),
        }
    }
}

/// The caller's own text, short enough to be sent back.
pub(crate) fn excerpt(text: &str) -> Cow<'_, str> {
    const CHARS_MAX: usize = 100;
    match text.char_indices().nth(CHARS_MAX) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

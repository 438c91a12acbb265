//! What a request is recognised by when it is sent again: headers and item keys, and what their sender is told.
//!
//! Invariants: nothing that was given is ignored, because a retry that is not recognised stores an event twice; a request is
//! recognised by one thing only; what the log decides is passed on as it is.

use std::time::Duration;

use annals_api::FieldError;
use annals_api::names::{ANNALS_PRODUCER, ANNALS_SEQUENCE, IDEMPOTENCY_KEY};
use annals_core::canonical::CanonicalBatch;
use annals_log::{Append, AppendError, ItemKey, MalformedRetry, OnceError, Producer, RetryKey};
use annals_store::{CallerId, Sequence};
use axum::http::HeaderMap;

use crate::ingest::{Ingested, Shape};
use crate::problem::{Kind, Refusal, excerpt};

/// The member of an event that is a key for it alone.
const ITEM_KEY: &str = "idempotency_key";
/// How long to wait before a recognised request is sent again whose outcome is unknown.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// What the headers say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RetryHeaders {
    None,
    /// The whole request has a key.
    Key(RetryKey),
    /// The events have places in a producer's order.
    Ordered(Producer, Places),
}

/// Places in a producer's order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Places {
    /// One for each event.
    Each(Vec<Sequence>),
    /// The first and the last of the batch.
    Range(Sequence, Sequence),
}

/// What a request turned out to be recognised by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recognised {
    ByNothing,
    ByKey,
    /// Every item has a key.
    ByItemKeys,
    /// Some items have a key, the others are always new.
    InPart,
    ByOrder,
}

impl RetryHeaders {
    /// Reads the headers.
    ///
    /// # Errors
    /// 400 naming the header, for one that is given twice or without the other that it needs, for two that exclude each
    /// other, and for a value that can not be read.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let key = single(headers, IDEMPOTENCY_KEY)?;
        let producer = single(headers, ANNALS_PRODUCER)?;
        let sequence = single(headers, ANNALS_SEQUENCE)?;
        match (key, producer, sequence) {
            (None, None, None) => Ok(Self::None),
            (Some(key), None, None) => {
                let key = RetryKey::new(key).map_err(|malformed| bad(IDEMPOTENCY_KEY, malformed))?;
                Ok(Self::Key(key))
            }
            (Some(_), _, _) => Err(refused(
                IDEMPOTENCY_KEY,
                "is given together with a producer's sequence; send either the key, or `annals-producer` and `annals-sequence`",
            )),
            (None, Some(_), None) => Err(refused(
                ANNALS_PRODUCER,
                "is given without `annals-sequence`, which says where the events are in the producer's order; send both",
            )),
            (None, None, Some(_)) => Err(refused(
                ANNALS_SEQUENCE,
                "is given without `annals-producer`, which says whose order it is; send both",
            )),
            (None, Some(producer), Some(sequence)) => {
                let producer =
                    Producer::new(producer).map_err(|malformed| bad(ANNALS_PRODUCER, malformed))?;
                Ok(Self::Ordered(producer, places(sequence)?))
            }
        }
    }

    /// Whether the request as a whole has to be told from another one.
    pub(crate) fn wants_digest(&self) -> bool {
        matches!(self, Self::Key(_))
    }

    /// The request for the log, and what it is recognised by.
    ///
    /// # Errors
    /// 400 when items have keys and so has the request; 422 when the places do not fit the events.
    pub(crate) fn applied(self, ingested: Ingested) -> Result<(Append, Recognised), Refusal> {
        let Ingested {
            batch,
            digest,
            item_keys,
            ..
        } = ingested;
        let caller = CallerId::default();
        match self {
            Self::None => of_items(batch, item_keys),
            Self::Key(_) if !item_keys.is_empty() => Err(beside_item_keys(IDEMPOTENCY_KEY)),
            Self::Ordered(..) if !item_keys.is_empty() => Err(beside_item_keys(ANNALS_PRODUCER)),
            Self::Key(key) => Ok((Append::keyed(batch, caller, key, digest), Recognised::ByKey)),
            Self::Ordered(producer, places) => {
                let append = match places {
                    Places::Each(sequences) => Append::ordered_items(batch, producer, sequences),
                    Places::Range(first, last) => Append::ordered_range(batch, producer, first, last),
                };
                let misfit = |malformed: MalformedRetry| {
                    let message = format!("does not fit: {malformed}");
                    Refusal::of_field(Kind::Invalid, ANNALS_SEQUENCE, message)
                };
                Ok((append.map_err(misfit)?, Recognised::ByOrder))
            }
        }
    }
}

fn of_items(batch: CanonicalBatch, keys: Vec<ItemKey>) -> Result<(Append, Recognised), Refusal> {
    let recognised = match keys.len() {
        0 => return Ok((Append::new(batch), Recognised::ByNothing)),
        all if all == batch.len() => Recognised::ByItemKeys,
        _ => Recognised::InPart,
    };
    let append =
        Append::item_keys(batch, CallerId::default(), keys).map_err(|malformed| bad(ITEM_KEY, malformed))?;
    Ok((append, recognised))
}

/// The value of a header that may be given once.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let mut values = headers.get_all(name).into_iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(refused(name, "is given twice; give it once"));
    }
    let text = value.to_str();
    text.map(Some)
        .map_err(|_| refused(name, "has other characters than visible ASCII; leave them out"))
}

/// `first..last`, or a comma-separated list.
fn places(text: &str) -> Result<Places, Refusal> {
    let unread = |part: &str| {
        let message = format!(
            "has \"{}\", which is no place in an order; write it as N, as N.M, as a comma-separated list of these (one for each \
             event), or as first..last for the whole batch, each number from 0 to 18446744073709551615",
            excerpt(part)
        );
        refused(ANNALS_SEQUENCE, &message)
    };
    let read = |part: &str| sequence(part.trim()).ok_or_else(|| unread(part));
    match text.split_once("..") {
        Some((first, last)) => Ok(Places::Range(read(first)?, read(last)?)),
        None => Ok(Places::Each(text.split(',').map(read).collect::<Result<_, _>>()?)),
    }
}

fn sequence(text: &str) -> Option<Sequence> {
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    Some(Sequence(number(major)?, number(minor)?))
}

fn number(digits: &str) -> Option<u64> {
    let are_digits = digits.bytes().all(|digit| digit.is_ascii_digit());
    are_digits.then(|| digits.parse().ok()).flatten()
}

fn bad(field: &str, malformed: MalformedRetry) -> Refusal {
    refused(field, &format!("can not be taken: {malformed}"))
}

fn beside_item_keys(header: &str) -> Refusal {
    refused(
        header,
        "is given although items have an `idempotency_key` of their own; send either the header or the members",
    )
}

fn refused(field: &str, message: &str) -> Refusal {
    Refusal::of_field(Kind::BadRequest, field, message.to_owned())
}

impl Recognised {
    /// What the sender of a refused request is told. The one place that knows what an unknown outcome means to whom.
    pub(crate) fn refusal(self, error: OnceError, shape: Shape) -> Refusal {
        match error {
            OnceError::Refused(AppendError::Unknown) => self.unknown(),
            OnceError::Refused(refusal) => refusal.into(),
            OnceError::KeyReused { item } => {
                let field = match item {
                    None => IDEMPOTENCY_KEY.to_owned(),
                    Some(_) if shape == Shape::One => ITEM_KEY.to_owned(),
                    Some(item) => format!("items[{item}].{ITEM_KEY}"),
                };
                Refusal::new(Kind::KeyReused, format!("`{field}`: {error}")).with_errors(vec![FieldError {
                    field,
                    message: error.to_string(),
                }])
            }
            OnceError::Straddles { .. } => Refusal::new(Kind::SequenceStraddles, error.to_string())
                .with_errors(vec![FieldError {
                    field: ANNALS_SEQUENCE.to_owned(),
                    message: error.to_string(),
                }]),
            OnceError::TooManyProducers { .. } => Refusal::new(Kind::TooManyProducers, error.to_string()),
            OnceError::TooManyKeys { .. } => Refusal::new(Kind::TooLarge, error.to_string()),
        }
    }

    /// The same request may be sent again at once if all of it is recognised.
    fn unknown(self) -> Refusal {
        let same = match self {
            Self::ByNothing => return AppendError::Unknown.into(),
            Self::ByKey => "the same idempotency-key",
            Self::ByItemKeys => "the same keys",
            Self::ByOrder => "the same annals-producer and annals-sequence",
            Self::InPart => {
                let detail = "the write failed and its outcome is unknown; items with an idempotency_key may be sent again with it: \
                              what is stored is not stored twice; look whether the others are in the log before sending them again";
                return Refusal::from(AppendError::Unknown).saying(detail.to_owned(), None);
            }
        };
        let detail = format!(
            "the write failed and its outcome is unknown; send the same request again with {same}: what is stored of it is not \
             stored twice"
        );
        Refusal::from(AppendError::Unknown).saying(detail, Some(RETRY_AFTER))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(given: &[(&'static str, &str)]) -> Result<RetryHeaders, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        RetryHeaders::of(&headers)
    }

    fn sequence_of(text: &str) -> Option<Places> {
        match of(&[(ANNALS_PRODUCER, "p"), (ANNALS_SEQUENCE, text)]) {
            Ok(RetryHeaders::Ordered(_, places)) => Some(places),
            Ok(other) => panic!("{other:?}"),
            Err(_) => None,
        }
    }

    /// Red when: `number` takes what `u64::from_str` does (a sign); `places` looks for a comma before `..`.
    #[test]
    fn places_are_numbers_pairs_lists_and_ranges() {
        use Places::{Each, Range};
        let max = u64::MAX;
        for (text, places) in [
            ("7", Each(vec![Sequence(7, 0)])),
            ("0", Each(vec![Sequence(0, 0)])),
            ("7.0", Each(vec![Sequence(7, 0)])),
            ("007", Each(vec![Sequence(7, 0)])),
            (
                "1,2.5 , 3",
                Each(vec![Sequence(1, 0), Sequence(2, 5), Sequence(3, 0)]),
            ),
            ("2,1", Each(vec![Sequence(2, 0), Sequence(1, 0)])),
            ("1..9", Range(Sequence(1, 0), Sequence(9, 0))),
            ("1.2 .. 1.5", Range(Sequence(1, 2), Sequence(1, 5))),
            ("18446744073709551615", Each(vec![Sequence(max, 0)])),
        ] {
            assert_eq!(sequence_of(text), Some(places), "{text}");
        }
        for bad in [
            "",
            "a",
            "-1",
            "+1",
            "1.",
            ".1",
            "1.2.3",
            "1,",
            ",",
            "1..",
            "..1",
            "1...2",
            "1..2..3",
            "1..2,3",
            "1-2",
            "0x1",
            "1 2",
            "18446744073709551616",
        ] {
            assert_eq!(sequence_of(bad), None, "{bad}");
        }
    }

    /// Red when: `of` prefers one header to another instead of refusing both.
    #[test]
    fn a_request_is_recognised_by_one_thing() {
        let fine = |given: &[(&'static str, &str)]| of(given).is_ok();
        assert_eq!(of(&[]).unwrap(), RetryHeaders::None);
        assert!(fine(&[(IDEMPOTENCY_KEY, "k")]));
        assert!(fine(&[(ANNALS_PRODUCER, "p"), (ANNALS_SEQUENCE, "1")]));
        for bad in [
            &[(IDEMPOTENCY_KEY, "")][..],
            &[(IDEMPOTENCY_KEY, "a b")],
            &[(IDEMPOTENCY_KEY, "k"), (IDEMPOTENCY_KEY, "k")],
            &[(IDEMPOTENCY_KEY, "\u{e4}")],
            &[(ANNALS_PRODUCER, "p")],
            &[(ANNALS_SEQUENCE, "1")],
            &[(ANNALS_PRODUCER, ""), (ANNALS_SEQUENCE, "1")],
            &[(IDEMPOTENCY_KEY, "k"), (ANNALS_PRODUCER, "p")],
            &[(IDEMPOTENCY_KEY, "k"), (ANNALS_SEQUENCE, "1")],
            &[
                (IDEMPOTENCY_KEY, "k"),
                (ANNALS_PRODUCER, "p"),
                (ANNALS_SEQUENCE, "1"),
            ],
        ] {
            assert!(!fine(bad), "{bad:?}");
        }
    }
}

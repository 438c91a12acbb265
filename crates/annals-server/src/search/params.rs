//! The parameters of a query: which there are, which may be repeated, and what they mean.
//!
//! Invariant: nothing that was given is ignored. What is unknown, twice where one counts, or not understood is refused, by name.

use std::borrow::Cow;
use std::sync::Arc;

use annals_api::FieldError;
use annals_api::names::{LIMIT_DEFAULT, LIMIT_MAX, LOGS_MAX};
use annals_core::field::Field;
use annals_core::filter::{ClaimedRange, Filter, FilterError};
use annals_core::time::Micros;
use annals_store::Order;
use axum::http::Uri;

use crate::filter;
use crate::problem::{Kind, Refusal, excerpt};
use crate::query::{self, Pair};

/// Parameters that say which events are meant, besides one for each [`Field`]; `text` and the fields may be repeated.
const SELECTING: [&str; 5] = ["text", "since", "until", "claimed_since", "claimed_until"];
/// Which logs; may be repeated.
const LOG: &str = "log";

/// The parameters of one request, known to be among those that its route has.
pub(crate) struct Given<'a> {
    pairs: Vec<Pair<'a>>,
}

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the root: `log` says which logs are meant.
    Root,
    /// At a path that names a log.
    OneLog,
}

impl<'a> Given<'a> {
    /// The parameters of a route that selects events and has these others besides.
    ///
    /// # Errors
    /// 400 for a parameter that the route does not have, with a suggestion when there is a close one; for one that is given twice
    /// and is not a list; for text that is not percent-encoded UTF-8.
    pub(crate) fn of(uri: &'a Uri, place: Place, others: &[&'static str]) -> Result<Self, Refusal> {
        let log = (place == Place::Root).then_some(LOG);
        let known: Vec<&str> = Field::ALL
            .iter()
            .map(|field| field.name())
            .chain(SELECTING)
            .chain(others.iter().copied())
            .chain(log)
            .collect();
        let mut pairs: Vec<Pair<'a>> = Vec::new();
        for pair in query::pairs(uri) {
            let (name, value) = pair?;
            if !known.contains(&&*name) {
                return Err(query::unknown(&name, &known));
            }
            if !is_list(&name) && pairs.iter().any(|(earlier, _)| *earlier == name) {
                return Err(query::given_twice(&name));
            }
            pairs.push((name, value));
        }
        Ok(Self { pairs })
    }

    /// The value of a parameter that is given once.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs
            .iter()
            .filter(move |(given, _)| given == name)
            .map(|(_, value)| &**value)
    }

    /// What is given but for `left_out`, percent-encoded again, each with `&` behind it.
    pub(crate) fn without(&self, left_out: &[&str]) -> String {
        let mut query = String::new();
        for (name, value) in &self.pairs {
            if !left_out.contains(&&**name) {
                query.push_str(name);
                query.push('=');
                encode(value, &mut query);
                query.push('&');
            }
        }
        query
    }

    /// The names of the logs that are asked for; none means the default one.
    ///
    /// # Errors
    /// 400 when one is named twice, or too many are.
    pub(crate) fn logs(&self) -> Result<Vec<&str>, Refusal> {
        let logs: Vec<&str> = self.all(LOG).collect();
        if logs.len() > LOGS_MAX {
            return Err(bad(
                LOG,
                format!("is given {} times; a query may ask {LOGS_MAX} logs", logs.len()),
            ));
        }
        for (at, log) in logs.iter().enumerate() {
            if logs[..at].contains(log) {
                return Err(bad(
                    LOG,
                    format!("names \"{}\" twice; name it once", excerpt(log)),
                ));
            }
        }
        Ok(logs)
    }
}

/// Which events are meant.
#[derive(Debug, Clone)]
pub(crate) struct Selection {
    pub(crate) filter: Arc<Filter>,
    /// First receive time that is meant.
    pub(crate) since: Option<Micros>,
    /// First receive time that is not meant any more.
    pub(crate) until: Option<Micros>,
    /// Only events behind this one.
    pub(crate) after: Option<u64>,
}

impl Selection {
    /// Reads the selecting parameters, and `after`.
    ///
    /// # Errors
    /// 400, or 422 for a value that no event can have.
    pub(crate) fn of(given: &Given<'_>) -> Result<Self, Refusal> {
        let (since, until) = range(given, "since", "until")?;
        let (from, claimed_until) = range(given, "claimed_since", "claimed_until")?;
        let mut filter = Filter::default().with_claimed(ClaimedRange {
            from,
            until: claimed_until,
        });
        for field in Field::ALL {
            for value in given.all(field.name()) {
                filter = filter::with_value(filter, field, value)?;
            }
        }
        for text in given.all("text") {
            filter = filter
                .with_text(text)
                .map_err(|error| of_filter("text", &error))?;
        }
        let after = given
            .one("after")
            .map(|text| query::number("after", text, "an event id, or 0 for the start"))
            .transpose()?;
        Ok(Self {
            filter: Arc::new(filter),
            since,
            until,
            after,
        })
    }

    /// True when every event is meant.
    pub(crate) fn is_open(&self) -> bool {
        self.filter.is_open() && self.since.is_none() && self.until.is_none()
    }

    /// The parameters that only reading bodies decides, for a refusal that has to name one.
    pub(crate) fn scanning_parameter(&self) -> &'static str {
        match (self.filter.texts().len(), self.filter.claimed().from) {
            (0, Some(_)) => "claimed_since",
            (0, None) => "claimed_until",
            _ => "text",
        }
    }
}

/// How much of what was selected is wanted, and from which end.
#[derive(Debug, Clone)]
pub(crate) struct Paging<'a> {
    pub(crate) order: Option<Order>,
    pub(crate) cursor: Option<&'a str>,
    pub(crate) limit: usize,
}

impl<'a> Paging<'a> {
    /// Reads `order`, `cursor` and `limit`.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn of(given: &'a Given<'_>) -> Result<Self, Refusal> {
        let order = match given.one("order") {
            None => None,
            Some("newest") => Some(Order::NewestFirst),
            Some("oldest") => Some(Order::OldestFirst),
            Some(other) => {
                let message = format!("must be newest or oldest, not \"{}\"", excerpt(other));
                return Err(bad("order", message));
            }
        };
        Ok(Self {
            order,
            cursor: given.one("cursor"),
            limit: given.one("limit").map_or(Ok(LIMIT_DEFAULT), limit_of)?,
        })
    }
}

/// 400 about one parameter.
pub(crate) fn bad(name: &str, message: String) -> Refusal {
    Refusal::of_field(Kind::BadRequest, name, message)
}

/// 400 about a filter that can not be had.
pub(crate) fn of_filter(name: &str, error: &FilterError) -> Refusal {
    Refusal::new(Kind::BadRequest, error.to_string()).with_errors(vec![FieldError {
        field: name.to_owned(),
        message: error.to_string(),
    }])
}

fn is_list(name: &str) -> bool {
    name == "text" || name == LOG || Field::ALL.iter().any(|field| field.name() == name)
}

fn limit_of(text: &str) -> Result<usize, Refusal> {
    let limit = query::number("limit", text, "in 1..100000")?;
    usize::try_from(limit)
        .ok()
        .filter(|limit| (1..=LIMIT_MAX).contains(limit))
        .ok_or_else(|| bad("limit", format!("must be in 1..100000, not {limit}")))
}

/// A stretch of time that holds something, as far as both ends are given.
fn range(given: &Given<'_>, from: &str, until: &str) -> Result<(Option<Micros>, Option<Micros>), Refusal> {
    let time = |name: &str| given.one(name).map(|text| time(name, text)).transpose();
    let (begin, end) = (time(from)?, time(until)?);
    if let (Some(begin), Some(end)) = (begin, end)
        && end <= begin
    {
        let message =
            format!("must be later than `{from}`: the times up to, not including, `{until}` are meant");
        return Err(bad(until, message));
    }
    Ok((begin, end))
}

/// An RFC 3339 time, or a date for its midnight in UTC. In a query `+` stands for a space; where the sign of an offset is
/// expected, nothing else can be meant by it.
fn time(name: &str, text: &str) -> Result<Micros, Refusal> {
    const DATE_LEN: usize = "2026-05-15".len();
    const DATE_TIME_LEN: usize = "2026-05-15T03:14:15".len();
    let whole: Cow<'_, str> = match text.split_at_checked(DATE_TIME_LEN) {
        None if text.len() == DATE_LEN => format!("{text}T00:00:00Z").into(),
        Some((date_time, rest)) if rest.contains(' ') => {
            format!("{date_time}{}", rest.replacen(' ', "+", 1)).into()
        }
        _ => text.into(),
    };
    Micros::from_rfc3339(whole.as_bytes()).map_err(|_| {
        bad(
            name,
            format!(
                "is \"{}\", which is no time; write it like 2026-05-15, 2026-05-15T03:14:15Z or \
                 2026-05-15T03:14:15.123456%2B02:00",
                excerpt(text)
            ),
        )
    })
}

/// Percent-encodes everything that is not plainly part of a value (RFC 3986 section 3.4).
fn encode(value: &str, out: &mut String) {
    for byte in value.bytes() {
        match byte {
            b'A'..=b'Z'
            | b'a'..=b'z'
            | b'0'..=b'9'
            | b'-'
            | b'.'
            | b'_'
            | b'~'
            | b':'
            | b'/'
            | b'@'
            | b',' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/events?{query}").parse().unwrap()
    }

    fn selection(query: &str) -> Result<Selection, Refusal> {
        let uri = uri(query);
        let given = Given::of(&uri, Place::Root, &["after"])?;
        Selection::of(&given)
    }

    /// Red when: the `replacen` is left out of `time`.
    #[test]
    fn times() {
        const DAY: i64 = 1_778_803_200_000_000;
        for (text, micros) in [
            ("2026-05-15", DAY),
            ("2026-05-15T00:00:00Z", DAY),
            ("2026-05-15T02:00:00%2B02:00", DAY),
            ("2026-05-15T02:00:00+02:00", DAY),
            ("2026-05-15T02:00:00.000001+02:00", DAY + 1),
            ("2026-05-14T22:00:00-02:00", DAY),
            ("2026-05-15%2000:00:00Z", DAY),
        ] {
            let selection = selection(&format!("since={text}")).unwrap();
            assert_eq!(selection.since, Some(Micros(micros)), "{text}");
        }
        for bad in [
            "",
            "2026",
            "2026-02-30",
            "2026-05-15T00:00:00",
            "now",
            "2026-05-15T02:00:00++02:00",
            "%C3%A9%C3%A9%C3%A9%C3%A9%C3%A9",
        ] {
            assert!(selection(&format!("until={bad}")).is_err(), "{bad}");
        }
    }

    /// Red when: `end <= begin` becomes `end < begin`.
    #[test]
    fn a_range_of_time_holds_something() {
        for (from, until) in [("since", "until"), ("claimed_since", "claimed_until")] {
            let of = |one: &str, other: &str| selection(&format!("{from}={one}&{until}={other}")).is_ok();
            assert!(of("2026-05-15", "2026-05-16"));
            assert!(!of("2026-05-15", "2026-05-15T00:00:00Z"));
            assert!(!of("2026-05-16", "2026-05-15"));
        }
    }

    #[test]
    fn fields_and_texts_are_lists() {
        let wanted = selection("actor=a&actor=b&resource_type=x&text=One&text=two").unwrap();
        let of_filter = Filter::default()
            .with_value(Field::ActorType, "a")
            .and_then(|filter| filter.with_text("one"));
        assert_ne!(*wanted.filter, of_filter.unwrap());
        let same = selection("text=two&resource_type=x&actor=b&text=one&actor=a").unwrap();
        assert_eq!(wanted.filter.values().count(), 2);
        assert_eq!(wanted.filter.texts().len(), 2);
        assert_eq!(
            same.filter.values().collect::<Vec<_>>(),
            wanted.filter.values().collect::<Vec<_>>()
        );
    }

    #[test]
    fn what_is_left_over_is_encoded_again() {
        let uri = uri("source=a%26b+c%C3%A9%2B&limit=3&cursor=x&since=2026-05-15T00:00:00Z&order=newest");
        let given = Given::of(&uri, Place::Root, &["limit", "cursor", "order"]).unwrap();
        assert_eq!(
            given.without(&["cursor", "order"]),
            "source=a%26b%20c%C3%A9%2B&limit=3&since=2026-05-15T00:00:00Z&"
        );
    }
}

//! Dividing time: which buckets a histogram has.
//!
//! Invariant: buckets touch, are at least a microsecond wide, and are no more than [`BUCKETS_MAX`].

use annals_api::names::{BUCKETS_DEFAULT, BUCKETS_MAX};
use annals_core::time::Micros;
use annals_store::ReadError;

use super::fetch::read;
use super::params::{Given, Selection, bad};
use super::{Lane, SearchFailed};
use crate::problem::{Refusal, excerpt};
use crate::query;

const SECOND: u64 = 1_000_000;

/// How time is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spacing {
    /// Into so many buckets.
    Count(u64),
    /// Into buckets so many microseconds wide.
    Width(u64),
}

/// Time, divided.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Division {
    pub(crate) interval_seconds: f64,
    /// One more than there are buckets; none without any.
    pub(crate) edges: Vec<Micros>,
}

impl Spacing {
    /// Reads `buckets` and `interval`.
    ///
    /// # Errors
    /// 400.
    pub(crate) fn of(given: &Given<'_>) -> Result<Self, Refusal> {
        match (given.one("buckets"), given.one("interval")) {
            (Some(_), Some(_)) => Err(bad(
                "interval",
                String::from("is given beside `buckets`; give one of them"),
            )),
            (None, None) => Ok(Self::Count(BUCKETS_DEFAULT)),
            (Some(count), None) => {
                let count = query::number("buckets", count, "in 1..10000")?;
                if !(1..=BUCKETS_MAX).contains(&count) {
                    return Err(bad("buckets", format!("must be in 1..10000, not {count}")));
                }
                Ok(Self::Count(count))
            }
            (None, Some(width)) => match width_of(width) {
                Some(micros) => Ok(Self::Width(micros)),
                None => Err(bad(
                    "interval",
                    format!(
                        "must be a whole number of s, m, h, d or w, such as 30s or 1h, not \"{}\"",
                        excerpt(width)
                    ),
                )),
            },
        }
    }

    /// Divides from `since` to `until` where they are given; otherwise from the first selected event to the last one.
    ///
    /// # Errors
    /// [`SearchFailed::TooManyBuckets`].
    pub(crate) fn divide(self, selection: &Selection, lanes: &[Lane]) -> Result<Division, SearchFailed> {
        let (mut first, mut last) = (None, None);
        let is_given = selection.since.is_some() && selection.until.is_some();
        for lane in lanes.iter().filter(|_| !is_given) {
            if let Some((begin, end)) = ends(lane)? {
                first = Some(first.map_or(begin, |first: Micros| first.min(begin)));
                last = Some(last.map_or(end, |last: Micros| last.max(end)));
            }
        }
        let from = selection.since.or(match self {
            Self::Count(_) => first,
            // At a multiple of the interval, so that an hour is an hour of the clock.
            Self::Width(width) => first.map(|first| Micros(first.0 - first.0.rem_euclid(signed(width)))),
        });
        let until = selection.until.or(last.map(|last| match self {
            Self::Count(_) => Micros(last.0.saturating_add(1)),
            Self::Width(width) => match from {
                Some(from) if last >= from => Micros(
                    from.0
                        .saturating_add(signed(((span(from, last)) / width + 1).saturating_mul(width))),
                ),
                _ => last,
            },
        }));
        let range = from.zip(until).filter(|(from, until)| from < until);
        self.between(range)
    }

    fn between(self, range: Option<(Micros, Micros)>) -> Result<Division, SearchFailed> {
        let micros = range.map_or(0, |(from, until)| span(from, until));
        let (count, interval) = match self {
            Self::Width(width) => (micros.div_ceil(width), as_seconds(width)),
            Self::Count(_) if micros == 0 => (0, 0.0),
            Self::Count(count) => {
                let count = count.min(micros);
                (count, as_seconds(micros) / count as f64)
            }
        };
        if count > BUCKETS_MAX {
            return Err(SearchFailed::TooManyBuckets { count });
        }
        let edge = |from: Micros, at: u64| {
            let along = match self {
                Self::Width(width) => width.saturating_mul(at).min(micros),
                // The product of a time and 10,000 needs more than 64 bits.
                Self::Count(_) => {
                    u64::try_from(u128::from(micros) * u128::from(at) / u128::from(count)).unwrap_or(micros)
                }
            };
            Micros(from.0.saturating_add_unsigned(along))
        };
        let edges = range.map_or(Vec::new(), |(from, _)| {
            (0..=count).map(|at| edge(from, at)).collect()
        });
        Ok(Division {
            interval_seconds: interval,
            edges,
        })
    }
}

/// Receive times of the first and the last selected event.
fn ends(lane: &Lane) -> Result<Option<(Micros, Micros)>, ReadError> {
    let (Some(last), true) = (lane.span.last.last(), lane.span.len() > 0) else {
        return Ok(None);
    };
    let log = &*lane.log.events;
    let time_of = |id| Ok::<_, ReadError>(read(log, id, 1)?.get(0).map(|event| event.received_at));
    Ok(time_of(lane.span.first)?.zip(time_of(last)?))
}

fn width_of(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let seconds: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return None,
    };
    let digits = text.strip_suffix(unit)?;
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let micros = digits.parse::<u64>().ok()?.checked_mul(seconds * SECOND)?;
    (micros > 0 && i64::try_from(micros).is_ok()).then_some(micros)
}

fn span(from: Micros, until: Micros) -> u64 {
    until.0.abs_diff(from.0)
}

fn signed(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

fn as_seconds(micros: u64) -> f64 {
    micros as f64 / SECOND as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(spacing: Spacing, from: i64, until: i64) -> (f64, Vec<i64>) {
        let division = spacing.between(Some((Micros(from), Micros(until)))).unwrap();
        (
            division.interval_seconds,
            division.edges.iter().map(|edge| edge.0).collect(),
        )
    }

    #[test]
    fn time_is_divided() {
        let second = 1_000_000;
        assert_eq!(
            edges(Spacing::Count(4), 0, 10 * second),
            (2.5, vec![0, 2_500_000, 5_000_000, 7_500_000, 10_000_000])
        );
        assert_eq!(edges(Spacing::Count(60), 5, 8), (0.000_001, vec![5, 6, 7, 8]));
        assert_eq!(edges(Spacing::Count(3), -5, 5).1, [-5, -2, 1, 5]);
        assert_eq!(edges(Spacing::Width(3), 0, 7), (0.000_003, vec![0, 3, 6, 7]));
        assert_eq!(edges(Spacing::Width(7), 0, 7), (0.000_007, vec![0, 7]));
        let (_, far) = edges(Spacing::Count(10_000), i64::MIN, i64::MAX);
        assert!(far.is_sorted() && far[0] == i64::MIN && far[10_000] == i64::MAX);
        assert!(
            Spacing::Width(1)
                .between(Some((Micros(0), Micros(10_001))))
                .is_err()
        );
        assert!(Spacing::Count(7).between(None).unwrap().edges.is_empty());
    }

    #[test]
    fn widths() {
        for (text, seconds) in [
            ("1s", 1),
            ("90s", 90),
            ("5m", 300),
            ("1h", 3600),
            ("1d", 86_400),
            ("2w", 1_209_600),
        ] {
            assert_eq!(width_of(text), Some(seconds * SECOND), "{text}");
        }
        for bad in [
            "",
            "1",
            "h",
            "0h",
            "-1h",
            "+1h",
            "1.5h",
            "1 h",
            "1H",
            "1é",
            "99999999999999999w",
            "9223372036855s",
        ] {
            assert_eq!(width_of(bad), None, "{bad}");
        }
    }
}

//! Filters as plain data, a naive oracle for them, and strategies for random ones with events that they sometimes match.
//!
//! Invariant: [`Wanted::matches`] shares no code with `annals_core::filter`: it parses the body with serde_json, walks the tree
//! and counts days one by one.

mod strategies;

use annals_core::field::Field;
use annals_core::filter::{ClaimedRange, Filter};
use annals_core::time::Micros;
use serde_json::Value;

pub use strategies::{body_of, request, requests, wanted};

/// What a filter wants, as data.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names as queries have them (`actor`, `request_id`), each at most once, with the values of which any will do.
    pub fields: Vec<(String, Vec<String>)>,
    /// Texts that all have to occur.
    pub texts: Vec<String>,
    /// First claimed time, in microseconds since 1970.
    pub claimed_from: Option<i64>,
    /// First claimed time that is too late.
    pub claimed_until: Option<i64>,
}

impl Wanted {
    /// The same as a filter.
    ///
    /// # Panics
    /// When there is no such filter: an unknown field, a text that is empty, too much of anything.
    #[must_use]
    pub fn filter(&self) -> Filter {
        let claimed = ClaimedRange {
            from: self.claimed_from.map(Micros),
            until: self.claimed_until.map(Micros),
        };
        let mut filter = Filter::default().with_claimed(claimed);
        for (name, values) in &self.fields {
            let field = Field::of_name(name).expect("a field of that name");
            for value in values {
                filter = filter.with_value(field, value).expect("an acceptable value");
            }
        }
        self.texts.iter().fold(filter, |filter, text| {
            filter.with_text(text).expect("an acceptable text")
        })
    }

    /// Whether the event is wanted, decided the slow way.
    ///
    /// # Panics
    /// When the body is not JSON.
    #[must_use]
    pub fn matches(&self, body: &[u8]) -> bool {
        let event: Value = serde_json::from_slice(body).expect("a body is JSON");
        self.fields.iter().all(|(name, values)| {
            let value = event.pointer(pointer_of(name)).and_then(Value::as_str);
            values.is_empty() || value.is_some_and(|value| values.iter().any(|wanted| wanted == value))
        }) && self.is_in_time(&event)
            && self.texts.iter().all(|text| event_has_text(&event, &lower(text)))
    }

    fn is_in_time(&self, event: &Value) -> bool {
        if self.claimed_from.is_none() && self.claimed_until.is_none() {
            return true;
        }
        let claimed = event["timestamp"].as_str().and_then(micros_of);
        claimed.is_some_and(|claimed| {
            self.claimed_from.is_none_or(|from| claimed >= i128::from(from))
                && self.claimed_until.is_none_or(|until| claimed < i128::from(until))
        })
    }
}

/// Where a field's string stands (RFC 6901).
fn pointer_of(name: &str) -> &'static str {
    match name {
        "kind" => "/kind",
        "source" => "/source",
        "tenant" => "/tenant",
        "actor" => "/actor/id",
        "actor_type" => "/actor/type",
        "resource" => "/resource/id",
        "resource_type" => "/resource/type",
        "session" => "/session",
        "grant" => "/grant",
        "run" => "/run",
        "outcome" => "/outcome",
        "attempt_id" => "/attempt_id",
        "request_id" => "/request/id",
        "trace_id" => "/trace_id",
        "ip" => "/request/ip",
        other => panic!("no field is called {other}"),
    }
}

fn event_has_text(event: &Value, text: &str) -> bool {
    let stamps = [
        "event_id",
        "prev_hash",
        "hash",
        "nonce",
        "received_at",
        "v",
        "private",
    ];
    let event = event.as_object().expect("an event is an object");
    event
        .iter()
        .any(|(member, value)| !stamps.contains(&member.as_str()) && has_text(value, text))
}

fn has_text(value: &Value, text: &str) -> bool {
    match value {
        Value::String(string) => lower(string).contains(text),
        Value::Array(items) => items.iter().any(|item| has_text(item, text)),
        Value::Object(members) => members.values().any(|member| has_text(member, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn lower(text: &str) -> String {
    let mut lower = String::new();
    for character in text.chars() {
        lower.extend(character.to_lowercase());
    }
    lower
}

/// RFC 3339, read piece by piece; microseconds since 1970.
fn micros_of(text: &str) -> Option<i128> {
    let text = text.to_ascii_uppercase();
    let (date, time) = text.split_once('T').or_else(|| text.split_once(' '))?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let offset_at = time.find(['Z', '+', '-'])?;
    let (clock, offset) = time.split_at(offset_at);
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: i128 = format!("{fraction}000000")[..6].parse().ok()?;
    let offset = match offset.split_at(1) {
        ("Z", "") => 0,
        (sign @ ("+" | "-"), hours) => {
            let [hours, minutes] = numbers(hours, ':', [2, 2])?;
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if sign == "-" { -60 } else { 60 }
        }
        _ => return None,
    };
    let is_date = (1..=12).contains(&month) && (1..=days_of(year, month)).contains(&day);
    if !is_date || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_before(year, month) + day - 1;
    let leap = second == 60;
    let second = days * 86_400 + hour * 3600 + minute * 60 + second - i128::from(leap) - offset;
    if !leap {
        return Some(second * 1_000_000 + fraction);
    }
    ((second + 1) % 86_400 == 0).then_some(second * 1_000_000 + 999_999)
}

/// Numbers of so many digits each.
fn numbers<const N: usize>(text: &str, separator: char, digits: [usize; N]) -> Option<[i128; N]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let fit = |(part, digits): (&&str, &usize)| {
        part.len() == *digits && part.bytes().all(|byte| byte.is_ascii_digit())
    };
    if parts.len() != N || !parts.iter().zip(&digits).all(fit) {
        return None;
    }
    Some(std::array::from_fn(|at| parts[at].parse().expect("a few digits")))
}

/// Days from 1970-01-01 to the first of the month; negative before.
fn days_before(year: i128, month: i128) -> i128 {
    let of_year = |year| (1..=12).map(|month| days_of(year, month)).sum::<i128>();
    let years: i128 = if year >= 1970 {
        (1970..year).map(of_year).sum()
    } else {
        -(year..1970).map(of_year).sum::<i128>()
    };
    years + (1..month).map(|month| days_of(year, month)).sum::<i128>()
}

fn days_of(year: i128, month: i128) -> i128 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

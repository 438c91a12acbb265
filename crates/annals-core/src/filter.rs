//! Which events a reader wants: a filter over stored bodies, and the strings by which a body is found.
//!
//! Invariants:
//! - [`Filter::matches`] is the meaning of a filter. An index may only ever make finding faster, never answer differently.
//! - A filter is bounded however it was put together, so what one event costs is bounded too.
//! - Stored bytes are not trusted to be canonical: on damaged ones an answer may be wrong, but there is one, without a panic.
//!
//! Deciding goes from cheap to dear: a search of the whole body for the wanted bytes rules most events out, then one walk
//! over the members compares what stands where, then come the claimed time and the texts. Nothing is parsed into a tree.

mod terms;
mod text;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use thiserror::Error;

use crate::body;
use crate::field::Field;
use crate::time::Micros;

pub use terms::terms;
use text::Text;
use values::Wanted;

/// Most values of one field.
pub const VALUES_MAX: usize = 100;
/// Longest value, in bytes of UTF-8: that of the longest string that is indexed.
pub const VALUE_BYTES_MAX: usize = 1024;
/// Most texts.
pub const TEXTS_MAX: usize = 8;
/// Longest text, in characters.
pub const TEXT_CHARS_MAX: usize = 256;

/// A filter: any of a field's values, all of the fields, all of the texts, and the claimed time. Without any of them every
/// event matches.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    fields: BTreeMap<Field, Wanted>,
    claimed: ClaimedRange,
    texts: Vec<Text>,
}

/// The events whose claimed time (`timestamp`) lies in `from..until`; `None` is open. With either bound set, an event whose
/// claim is not a time as [`Micros::from_rfc3339`] reads it does not match.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClaimedRange {
    /// First time that matches.
    pub from: Option<Micros>,
    /// First time that does not match any more.
    pub until: Option<Micros>,
}

/// Why a filter can not be had. Whoever asks has to ask for something else.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FilterError {
    /// Too many values of one field.
    #[error("more than {VALUES_MAX} values of `{}`; ask in parts", .0.name())]
    TooManyValues(Field),
    /// A value that no event can have.
    #[error("the value of `{}` has {bytes} bytes, the limit is {VALUE_BYTES_MAX}", .field.name())]
    ValueTooLong {
        /// Whose value.
        field: Field,
        /// Its length in bytes of UTF-8.
        bytes: usize,
    },
    /// Too many texts.
    #[error("more than {TEXTS_MAX} texts; leave some out")]
    TooManyTexts,
    /// A text that every event would match.
    #[error("the text is empty; leave it out")]
    EmptyText,
    /// A text that nobody can have typed.
    #[error("the text has a control character; leave it out")]
    ControlCharacter,
    /// A text that is too long.
    #[error("the text has {chars} characters, the limit is {TEXT_CHARS_MAX}")]
    TextTooLong {
        /// Its length in characters.
        chars: usize,
    },
}

impl Filter {
    /// Wants `value` in `field`, or one of those that were wanted there before. Exactly, to the character.
    ///
    /// # Errors
    /// [`FilterError::TooManyValues`], [`FilterError::ValueTooLong`].
    pub fn with_value(mut self, field: Field, value: &str) -> Result<Self, FilterError> {
        let bytes = value.len();
        if bytes > VALUE_BYTES_MAX {
            return Err(FilterError::ValueTooLong { field, bytes });
        }
        let wanted = self.fields.entry(field).or_default();
        wanted.add(value);
        if wanted.values().len() > VALUES_MAX {
            return Err(FilterError::TooManyValues(field));
        }
        Ok(self)
    }

    /// Wants `text` too: inside one of the event's string values, whatever the case.
    ///
    /// Looked at are the decoded string values at any depth of every member but the log's own stamps (`event_id`, `hash`,
    /// `nonce`, `prev_hash`, `received_at`, `v`) and commitments (`private`): not keys, not numbers. `id` and `timestamp` are
    /// looked at, a producer may have given them. Two characters are the same when [`char::to_lowercase`] makes the same of
    /// them; nothing is normalised.
    ///
    /// # Errors
    /// [`FilterError`]: the text is empty, has a control character or is longer than [`TEXT_CHARS_MAX`], or there are
    /// [`TEXTS_MAX`] already.
    pub fn with_text(mut self, text: &str) -> Result<Self, FilterError> {
        let text = Text::new(text)?;
        if !self.texts.contains(&text) {
            if self.texts.len() == TEXTS_MAX {
                return Err(FilterError::TooManyTexts);
            }
            self.texts.push(text);
        }
        Ok(self)
    }

    /// Wants this claimed time, and no other that was wanted before. A range that ends before it begins holds nothing.
    #[must_use]
    pub fn with_claimed(mut self, range: ClaimedRange) -> Self {
        self.claimed = range;
        self
    }

    /// The wanted values of each field that is filtered by, ascending: canonical JSON strings without their quotes.
    pub fn values(&self) -> impl Iterator<Item = (Field, &BTreeSet<Box<[u8]>>)> {
        self.fields
            .iter()
            .map(|(field, wanted)| (*field, wanted.values()))
    }

    /// The wanted claimed time.
    #[must_use]
    pub fn claimed(&self) -> ClaimedRange {
        self.claimed
    }

    /// The wanted texts, all of which have to occur, in lower case.
    pub fn texts(&self) -> impl ExactSizeIterator<Item = &str> {
        self.texts.iter().map(Text::folded)
    }

    /// True when every event matches.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.fields.is_empty() && self.texts.is_empty() && self.claimed.is_open()
    }

    /// True when nothing but values of fields is wanted: what an index decides alone, as far as it knows values in full.
    #[must_use]
    pub fn is_of_values(&self) -> bool {
        self.texts.is_empty() && self.claimed.is_open()
    }

    /// Whether the event with this stored body (canonical, without the hash) is wanted.
    #[must_use]
    pub fn matches(&self, body: &[u8]) -> bool {
        self.may_match(body)
            && self.values_match(body)
            && self.claimed.contains_claim_of(body)
            && self.texts.iter().all(|text| text.occurs_in(body))
    }

    /// A search is much cheaper than a walk, and rules most events out.
    fn may_match(&self, body: &[u8]) -> bool {
        self.fields.values().all(|wanted| wanted.may_occur(body))
            && self.texts.iter().all(|text| text.may_occur(body))
    }

    fn values_match(&self, body: &[u8]) -> bool {
        let mut left = self.fields.len();
        if left == 0 {
            return true;
        }
        let decided = terms::visit(body, |field, raw| match self.fields.get(&field) {
            None => ControlFlow::Continue(()),
            Some(wanted) if !wanted.values().contains(raw) => ControlFlow::Break(false),
            Some(_) => {
                left -= 1;
                if left == 0 {
                    ControlFlow::Break(true)
                } else {
                    ControlFlow::Continue(())
                }
            }
        });
        decided == ControlFlow::Break(true)
    }
}

impl ClaimedRange {
    /// True when every event matches, whatever it claims.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.from.is_none() && self.until.is_none()
    }

    /// Whether `time` lies in the range.
    #[must_use]
    pub fn contains(&self, time: Micros) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time < until)
    }

    fn contains_claim_of(&self, body: &[u8]) -> bool {
        self.is_open() || claimed_time(body).is_some_and(|time| self.contains(time))
    }
}

/// The time that the event with this stored body claims (`timestamp`), when it is one.
#[must_use]
pub fn claimed_time(body: &[u8]) -> Option<Micros> {
    // A time has no character that canonical text would escape.
    let raw = terms::unquoted(body::member(body, "timestamp")?)?;
    Micros::from_rfc3339(raw).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BODY: &[u8] = br#"{"actor":{"id":"u1","type":"user"},"event_id":1,"id":"0198","kind":"other","nonce":"feed","payload":{"source":"b","s":"\u00e9t\u00c9","tenant":"t"},"prev_hash":"c0ffee","received_at":"2026-05-15T03:14:15.000000+00:00","source":"\u00e9","timestamp":"2020-01-01T00:00:00Z","v":2}"#;

    fn with(values: &[(Field, &str)]) -> Filter {
        values.iter().fold(Filter::default(), |filter, (field, value)| {
            filter.with_value(*field, value).unwrap()
        })
    }

    fn text(text: &str) -> bool {
        Filter::default().with_text(text).unwrap().matches(BODY)
    }

    /// Red when: `values_match` is left out of `matches`; or one field's match decides (`left == 0` becomes `true`).
    #[test]
    fn a_filter_compares_members_not_texts() {
        let matches = |values: &[(Field, &str)]| with(values).matches(BODY);
        assert!(matches(&[]));
        assert!(matches(&[(Field::Kind, "other"), (Field::Source, "é")]));
        assert!(matches(&[(Field::Actor, "u2"), (Field::Actor, "u1")]));
        assert!(matches(&[(Field::Actor, "u1"), (Field::ActorType, "user")]));
        assert!(!matches(&[(Field::Source, "b")]));
        assert!(!matches(&[(Field::Tenant, "t")]));
        assert!(!matches(&[(Field::Actor, "u1"), (Field::Source, "b")]));
        assert!(!matches(&[(Field::Actor, "user")]));
        assert!(!matches(&[(Field::Kind, "")]));
        assert!(!matches(&[(Field::Kind, "Other")]));
        assert!(!matches(&[(Field::Kind, "other\"")]));
    }

    /// Red when: a name is taken out of `STAMPS` in text.rs, or `string_values` yields keys.
    #[test]
    fn texts_are_looked_for_in_what_producers_wrote() {
        for found in ["OTHER", "ÉTé", "T\u{c9}", "u1", "0198", "2020-01", "é", "r"] {
            assert!(text(found), "{found}");
        }
        for absent in [
            "tenant", "c0ffee", "feed", "2026", "00e9", "e\u{301}", "1,", "u1user", "\\",
        ] {
            assert!(!text(absent), "{absent}");
        }
        let both = |one, other| {
            let filter = Filter::default().with_text(one).unwrap();
            filter.with_text(other).unwrap().matches(BODY)
        };
        assert!(both("other", "U1"));
        assert!(!both("other", "u2"));
    }

    /// Red when: `<` in `contains` becomes `<=`, or an event without a time is let through.
    #[test]
    fn claimed_times_lie_in_the_range() {
        let new_year = 1_577_836_800_000_000;
        let claimed = |from: Option<i64>, until: Option<i64>, body: &[u8]| {
            let range = ClaimedRange {
                from: from.map(Micros),
                until: until.map(Micros),
            };
            Filter::default().with_claimed(range).matches(body)
        };
        assert!(claimed(Some(new_year), None, BODY));
        assert!(claimed(Some(new_year), Some(new_year + 1), BODY));
        assert!(!claimed(Some(new_year + 1), None, BODY));
        assert!(!claimed(None, Some(new_year), BODY));
        assert!(!claimed(Some(new_year + 1), Some(new_year), BODY));
        let vague = br#"{"timestamp":"last week"}"#;
        assert!(claimed(None, None, vague));
        assert!(!claimed(Some(0), None, vague));
        assert!(!claimed(Some(0), None, b"{}"));
    }

    #[test]
    fn filters_are_bounded() {
        let mut filter = Filter::default();
        assert!(filter.is_open());
        for value in 0..VALUES_MAX {
            filter = filter.with_value(Field::Run, &value.to_string()).unwrap();
        }
        filter = filter
            .with_value(Field::Run, "7")
            .unwrap()
            .with_value(Field::Grant, "7")
            .unwrap();
        assert!(!filter.is_open() && filter.is_of_values());
        let refused = filter.with_value(Field::Run, "one more").unwrap_err();
        assert_eq!(refused.to_string(), "more than 100 values of `run`; ask in parts");
        let long = "é".repeat(600);
        let refused = Filter::default().with_value(Field::Source, &long).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "the value of `source` has 1200 bytes, the limit is 1024"
        );

        let mut filter = Filter::default();
        for number in 0..TEXTS_MAX {
            filter = filter.with_text(&format!("Text {number}")).unwrap();
        }
        assert!(!filter.is_of_values());
        let filter = filter.with_text("tEXT 0").unwrap();
        assert_eq!(filter.with_text("more"), Err(FilterError::TooManyTexts));
        let refusal = |text: &str| Filter::default().with_text(text).unwrap_err();
        assert_eq!(refusal(""), FilterError::EmptyText);
        assert_eq!(refusal("a\tb"), FilterError::ControlCharacter);
        assert_eq!(refusal(&"é".repeat(257)), FilterError::TextTooLong { chars: 257 });
        assert!(Filter::default().with_text(&"é".repeat(256)).is_ok());
    }

    #[test]
    fn damaged_bodies_do_not_panic() {
        let filter = with(&[(Field::Kind, "other"), (Field::Source, "é")]);
        let filter = filter.with_text("été").unwrap().with_claimed(ClaimedRange {
            from: Some(Micros(0)),
            until: None,
        });
        assert!(filter.matches(BODY));
        for cut in 0..BODY.len() {
            let (front, back) = BODY.split_at(cut);
            assert!(!(filter.matches(front) && filter.matches(back)));
        }
    }
}

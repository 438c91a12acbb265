//! Filters out of parameters: what a caller may ask of a field.
//!
//! Invariant: a value that no event can have is refused, because it is a mistake, and an empty answer would hide it.

use annals_core::field::Field;
use annals_core::filter::Filter;
use annals_core::kind;

use crate::problem::{Kind, Refusal, excerpt};
use crate::search::of_filter;

/// The values of `outcome`.
const OUTCOMES: [&str; 5] = ["attempt", "success", "failure", "denied", "unknown"];

/// Wants `value` in `field`, or one of those that were wanted there before.
///
/// # Errors
/// 422 for a kind that is not registered and for an outcome that there is not, 400 for a value that is too long or one too
/// many.
pub(crate) fn with_value(filter: Filter, field: Field, value: &str) -> Result<Filter, Refusal> {
    match field {
        Field::Kind if !kind::is_registered(value) => {
            Err(unknown(field, value, "a registered kind", &kind::SEED_KINDS))
        }
        Field::Outcome if !OUTCOMES.contains(&value) => Err(unknown(field, value, "an outcome", &OUTCOMES)),
        _ => filter
            .with_value(field, value)
            .map_err(|error| of_filter(field.name(), &error)),
    }
}

fn unknown(field: Field, value: &str, what: &str, known: &[&str]) -> Refusal {
    let message = format!(
        "is \"{}\", which is not {what}; use one of: {}",
        excerpt(value),
        known.join(", ")
    );
    Refusal::of_field(Kind::Invalid, field.name(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_event_can_have_is_a_mistake() {
        let with = |field, value| with_value(Filter::default(), field, value).is_ok();
        assert!(with(Field::Kind, "other"));
        assert!(!with(Field::Kind, "nope"));
        assert!(!with(Field::Kind, ""));
        assert!(with(Field::Outcome, "denied"));
        assert!(!with(Field::Outcome, "Denied"));
        assert!(with(Field::Source, ""));
        assert!(!with(Field::Source, &"x".repeat(1025)));
    }
}

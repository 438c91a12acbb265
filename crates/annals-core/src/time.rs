//! Points in time as the log writes them. No clock: callers bring the microseconds.
//!
//! Invariant: the text form always has six fractional digits and `+00:00`, so that texts of the log's own stamps sort
//! as the times do (years 0001 to 9999).

use std::fmt;

/// Microseconds since 1970-01-01T00:00:00Z (POSIX time, no leap seconds).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Hash)]
pub struct Micros(pub i64);

/// Length in bytes of a [`Micros`] as text: `2026-05-15T03:14:15.123456+00:00`.
pub const TIMESTAMP_LEN: usize = 32;

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Last microsecond of year 9999; later times (and those before year 1) are clamped, RFC 3339 has no text for them.
const MICROS_MAX: i64 = 253_402_300_799_999_999;
const MICROS_MIN: i64 = -62_135_596_800_000_000;

impl fmt::Display for Micros {
    /// RFC 3339 section 5.6, UTC as `+00:00` (the seed's form), six fractional digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.clamp(MICROS_MIN, MICROS_MAX);
        let seconds = micros.div_euclid(MICROS_PER_SECOND);
        let fraction = micros.rem_euclid(MICROS_PER_SECOND);
        let (year, month, day) = civil_from_days(seconds.div_euclid(SECONDS_PER_DAY));
        let of_day = seconds.rem_euclid(SECONDS_PER_DAY);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}+00:00"
        )
    }
}

/// Days since 1970-01-01 to (year, month, day) of the proleptic Gregorian calendar: counts from 0000-03-01, so that the
/// leap day is the last day of a year, in eras of 400 years.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_known_times() {
        for (micros, text) in [
            (0, "1970-01-01T00:00:00.000000+00:00"),
            (-1, "1969-12-31T23:59:59.999999+00:00"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000+00:00"),
            (1_778_814_855_123_456, "2026-05-15T03:14:15.123456+00:00"),
            (4_107_542_399_000_000, "2100-02-28T23:59:59.000000+00:00"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000+00:00"),
            (i64::MAX, "9999-12-31T23:59:59.999999+00:00"),
            (i64::MIN, "0001-01-01T00:00:00.000000+00:00"),
        ] {
            assert_eq!(Micros(micros).to_string(), text);
            assert_eq!(text.len(), TIMESTAMP_LEN);
        }
    }
}

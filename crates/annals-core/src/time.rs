//! Points in time as the log writes them. No clock: callers bring the microseconds.
//!
//! Invariant: the text form always has six fractional digits and `+00:00`, so that texts of the log's own stamps sort
//! as the times do (years 0001 to 9999).

use std::fmt;

use thiserror::Error;

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

/// A text that is not a point in time. Whoever wrote it has to mend it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is not an RFC 3339 time; write it like 2026-05-15T03:14:15Z or 2026-05-15T03:14:15.123456+02:00")]
pub struct NotATime;

impl Micros {
    /// Reads an RFC 3339 `date-time` (section 5.6), with what its notes allow: `t` and `z` in lower case, a space for the `T`.
    /// Digits below the microsecond are cut off. POSIX time has no leap seconds: `23:59:60` UTC (whatever the offset) is taken
    /// for the last microsecond of its minute; a second 60 anywhere else is no time.
    ///
    /// # Errors
    /// [`NotATime`].
    pub fn from_rfc3339(text: impl AsRef<[u8]>) -> Result<Self, NotATime> {
        parse(text.as_ref()).ok_or(NotATime)
    }
}

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

fn parse(text: &[u8]) -> Option<Micros> {
    let (date_time, rest) = text.split_at_checked(19)?;
    let &[
        y0,
        y1,
        y2,
        y3,
        b'-',
        o0,
        o1,
        b'-',
        d0,
        d1,
        b'T' | b't' | b' ',
        h0,
        h1,
        b':',
        m0,
        m1,
        b':',
        s0,
        s1,
    ] = date_time
    else {
        return None;
    };
    let days = days_from_civil(number(&[y0, y1, y2, y3])?, number(&[o0, o1])?, number(&[d0, d1])?)?;
    let (hour, minute, second) = (
        number_to(23, [h0, h1])?,
        number_to(59, [m0, m1])?,
        number_to(60, [s0, s1])?,
    );
    let (fraction, rest) = fraction(rest)?;
    let local = days * SECONDS_PER_DAY + hour * 3600 + minute * 60 + second.min(59);
    let seconds = local - offset_seconds(rest)?;
    let fraction = match second {
        60 if seconds.rem_euclid(SECONDS_PER_DAY) == SECONDS_PER_DAY - 1 => MICROS_PER_SECOND - 1,
        60 => return None,
        _ => fraction,
    };
    Some(Micros(seconds * MICROS_PER_SECOND + fraction))
}

/// The fraction in microseconds, and what follows it.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(digits) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    let len = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at(len);
    let mut six = *b"000000";
    for (place, digit) in six.iter_mut().zip(digits) {
        *place = *digit;
    }
    (len > 0).then_some((number(&six)?, rest))
}

fn offset_seconds(text: &[u8]) -> Option<i64> {
    match *text {
        [b'Z' | b'z'] => Some(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] => {
            let seconds = number_to(23, [h0, h1])? * 3600 + number_to(59, [m0, m1])? * 60;
            Some(if sign == b'-' { -seconds } else { seconds })
        }
        _ => None,
    }
}

fn number_to(max: i64, digits: [u8; 2]) -> Option<i64> {
    number(&digits).filter(|number| *number <= max)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + i64::from(digit - b'0'))
    })
}

/// The inverse of [`civil_from_days`]; `None` when the calendar has no such day.
fn days_from_civil(year: i64, month: i64, day: i64) -> Option<i64> {
    let year_from_march = year - i64::from(month <= 2);
    let era = year_from_march.div_euclid(400);
    let year_of_era = year_from_march.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (civil_from_days(days) == (year, month, day)).then_some(days)
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

    /// Red when: `local - offset_seconds` becomes `+`, `second.min(59)` becomes `second`, or the round trip in
    /// `days_from_civil` is left out.
    #[test]
    fn times_as_producers_write_them() {
        let known = Micros(1_778_814_855_000_000);
        for (text, micros) in [
            ("2026-05-15T03:14:15Z", known.0),
            ("2026-05-15t03:14:15z", known.0),
            ("2026-05-15 03:14:15+00:00", known.0),
            ("2026-05-15T03:14:15-00:00", known.0),
            ("2026-05-15T05:14:15+02:00", known.0),
            ("2026-05-14T21:44:15.0-05:30", known.0),
            ("2026-05-15T03:14:15.5Z", known.0 + 500_000),
            ("2026-05-15T03:14:15.1234569999Z", known.0 + 123_456),
            ("1970-01-01T00:00:00Z", 0),
            ("1969-12-31T23:59:59.9999999Z", -1),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000),
            ("2016-12-31T23:59:60Z", 1_483_228_799_999_999),
            ("2017-01-01T00:59:60.25+01:00", 1_483_228_799_999_999),
            ("9999-12-31T23:59:59.999999Z", MICROS_MAX),
            ("0001-01-01T00:00:00Z", MICROS_MIN),
        ] {
            assert_eq!(Micros::from_rfc3339(text), Ok(Micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_no_time() {
        let good = "2026-05-15T03:14:15.5+02:00";
        for end in 0..good.len() {
            assert_eq!(Micros::from_rfc3339(&good[..end]), Err(NotATime), "{end}");
        }
        for text in [
            "2026-05-15T03:14:15",
            "2026-05-15T03:14:15.Z",
            "2026-05-15T03:14:15,5Z",
            "2026-05-15T03:14:15Z ",
            " 2026-05-15T03:14:15Z",
            "2026-05-15_03:14:15Z",
            "2026-05-15T24:00:00Z",
            "2026-05-15T03:60:00Z",
            "2026-05-15T03:14:60Z",
            "2016-12-31T23:59:60+01:00",
            "2016-12-31T23:59:61Z",
            "2026-05-15T03:14:15+24:00",
            "2026-05-15T03:14:15+02:60",
            "2026-05-15T03:14:15+0200",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "+026-05-15T03:14:15Z",
            "20260515T031415Z",
            "1778814855",
            "last week",
            "２０26-05-15T03:14:15Z",
        ] {
            assert_eq!(Micros::from_rfc3339(text), Err(NotATime), "{text}");
        }
    }

    /// Every day of 900 years, written and read again.
    #[test]
    fn what_is_written_is_read() {
        for day in -200_000..130_000 {
            let time = Micros(day * SECONDS_PER_DAY * MICROS_PER_SECOND + 86_399_999_999);
            assert_eq!(Micros::from_rfc3339(time.to_string()), Ok(time));
        }
    }
}

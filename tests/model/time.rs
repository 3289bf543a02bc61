//! Seconds since 1970 in UTC, from the words of a log and into the words of an answer.
//!
//! Must stay true: an observed second lies within the years 1970 to 9999, or there is none.

use super::number;

/// The last second of the year 9999.
pub(crate) const LAST_SECOND: i64 = 253_402_300_799;

/// The second itself, if it lies within the years 1970 to 9999.
pub(crate) fn in_years(second: i64) -> Option<i64> {
    (0..=LAST_SECOND).contains(&second).then_some(second)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, counted one year and one month at a time.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let years: i64 = (1970..year).map(|y| if is_leap(y) { 366 } else { 365 }).sum();
    let months: i64 = (1..month).map(|m| month_len(year, m)).sum();
    years + months + day - 1
}

fn is_leap(year: i64) -> bool {
    (year % 4 == 0 && year % 100 != 0) || year % 400 == 0
}

fn month_len(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 31,
    }
}

/// C's asctime in UTC (`Thu Dec 28 14:39:50 2017`), followed by nothing, `UTC`, `GMT` or `Z`.
pub(crate) fn asctime(text: &[u8]) -> Option<i64> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let words: Vec<&[u8]> = text.split(|&b| b == b' ').filter(|w| !w.is_empty()).collect();
    let (_weekday, month, day, clock, year) = match words[..] {
        [weekday, month, day, clock, year] => (weekday, month, day, clock, year),
        [weekday, month, day, clock, year, b"UTC" | b"GMT" | b"Z"] => (weekday, month, day, clock, year),
        _ => return None,
    };
    let month = 1 + i64::try_from(MONTHS.iter().position(|m| m.as_bytes() == month)?).ok()?;
    let year = short_number(year, 4, 4)?;
    let day = short_number(day, 1, 2)?;
    let parts: Vec<&[u8]> = clock.split(|&b| b == b':').collect();
    let [hour, minute, second] = parts[..] else {
        return None;
    };
    let (hour, minute, second) = (short_number(hour, 2, 2)?, short_number(minute, 2, 2)?, short_number(second, 2, 2)?);
    if !(1970..=9999).contains(&year) || day < 1 || day > month_len(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    in_years(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

fn short_number(text: &[u8], least: usize, most: usize) -> Option<i64> {
    if text.len() < least || text.len() > most {
        return None;
    }
    i64::try_from(number::unsigned(text)?).ok()
}

/// A second as RFC 3339 in UTC.
#[must_use]
pub fn rfc3339(second: i64) -> String {
    let (date, clock) = (second.div_euclid(86_400), second.rem_euclid(86_400));
    // The calendar repeats every 400 years: go there at once, then by days.
    let cycles = date.div_euclid(146_097);
    let mut rest = date.rem_euclid(146_097);
    let mut year = 1970;
    while rest >= if is_leap(year) { 366 } else { 365 } {
        rest -= if is_leap(year) { 366 } else { 365 };
        year += 1;
    }
    let mut month = 1;
    while rest >= month_len(year, month) {
        rest -= month_len(year, month);
        month += 1;
    }
    let year = year + 400 * cycles;
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", rest + 1)
}

/// Microseconds since 1970 as RFC 3339 in UTC with all six digits.
pub(crate) fn rfc3339_micros(micros: i64) -> String {
    let whole = rfc3339(micros.div_euclid(1_000_000));
    format!("{}.{:06}Z", whole.trim_end_matches('Z'), micros.rem_euclid(1_000_000))
}

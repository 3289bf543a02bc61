//! C's asctime in UTC, as agents write `calendarTime`: `Thu Dec 28 14:39:50 2017 UTC`.
//!
//! Words stand between runs of spaces. The weekday may be any word. Day and clock are checked for range; second 60 is
//! the next minute's 0. After the year nothing follows, or one of `UTC`, `GMT`, `Z`.

use super::decimal::SECOND_MAX;
use crate::fact::Second;

const MONTHS: [(&[u8], i64); 12] = [
    (b"Jan", 31),
    (b"Feb", 29),
    (b"Mar", 31),
    (b"Apr", 30),
    (b"May", 31),
    (b"Jun", 30),
    (b"Jul", 31),
    (b"Aug", 31),
    (b"Sep", 30),
    (b"Oct", 31),
    (b"Nov", 30),
    (b"Dec", 31),
];

/// The second that the text names; `None` if it has another form or names one outside the years 1970 to 9999.
pub fn parse(text: &[u8]) -> Option<Second> {
    let mut words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let _weekday = words.next()?;
    let month_name = words.next()?;
    let month = MONTHS.iter().position(|(name, _)| *name == month_name)?;
    let day = number(words.next()?, 1..=2)?;
    let clock = words.next()?;
    let year = number(words.next()?, 4..=4)?;
    if !matches!(words.next(), None | Some(b"UTC" | b"GMT" | b"Z")) || words.next().is_some() {
        return None;
    }
    let days = if month == 1 && !leap(year) { 28 } else { MONTHS[month].1 };
    if year < 1970 || !(1..=days).contains(&day) {
        return None;
    }
    let second = (days_to(year, month) + day - 1) * 86_400 + seconds(clock)?;
    (second <= SECOND_MAX).then_some(second)
}

/// `HH:MM:SS` as seconds.
fn seconds(clock: &[u8]) -> Option<i64> {
    let mut parts = clock.split(|&byte| byte == b':');
    let mut part = |max| number(parts.next()?, 2..=2).filter(|&n| n <= max);
    let seconds = part(23)? * 3600 + part(59)? * 60 + part(60)?;
    parts.next().is_none().then_some(seconds)
}

fn number(word: &[u8], digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    if !digits.contains(&word.len()) || !word.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(word.iter().fold(0, |n, digit| n * 10 + i64::from(digit - b'0')))
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days from 1970-01-01 to the first of the month.
fn days_to(year: i64, month: usize) -> i64 {
    let before = year - 1;
    let leaps = before / 4 - before / 100 + before / 400;
    let months: i64 = MONTHS[..month].iter().map(|(_, days)| days).sum();
    // The table says 29 days of February.
    let short = i64::from(month > 1 && !leap(year));
    (year - 1970) * 365 + (leaps - 477) + months - short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_and_c_write_it() {
        assert_eq!(parse(b"Thu Dec 28 14:39:50 2017 UTC"), Some(1_514_471_990));
        assert_eq!(parse(b"Thu Dec 28 14:39:50 2017"), Some(1_514_471_990));
        assert_eq!(parse(b"Mon Mar  4 10:00:05 2024 GMT"), Some(1_709_546_405));
        assert_eq!(parse(b"Thu Jan 1 00:00:00 1970 Z"), Some(0));
        assert_eq!(parse(b"Fri Dec 31 23:59:59 9999"), Some(SECOND_MAX));
        assert_eq!(parse(b"Tue Feb 29 12:00:00 2000"), Some(951_825_600));
        assert_eq!(parse(b"any Feb 29 00:00:00 2024"), Some(1_709_164_800), "the weekday is not checked");
        assert_eq!(parse(b"Sun Mar 1 00:00:00 2100"), Some(4_107_542_400), "2100 is no leap year");
    }

    #[test]
    fn second_60_is_the_next_minute() {
        assert_eq!(parse(b"Sat Dec 31 23:59:60 2016"), Some(1_483_228_800));
        assert_eq!(parse(b"Fri Dec 31 23:59:60 9999"), None, "the year 10000");
    }

    #[test]
    fn every_day_is_one_after_the_day_before() {
        let mut expected = 0;
        for year in 1970..=9999 {
            for (month, (name, days)) in MONTHS.iter().enumerate() {
                let days = if month == 1 && !leap(year) { 28 } else { *days };
                for day in [1, days] {
                    let text = format!("Xxx {} {day:2} 00:00:00 {year}", std::str::from_utf8(name).unwrap());
                    assert_eq!(parse(text.as_bytes()), Some(expected + (day - 1) * 86_400), "{text}");
                }
                expected += days * 86_400;
            }
        }
        assert_eq!(expected, SECOND_MAX + 1);
    }

    #[test]
    fn other_forms_are_none() {
        for text in [
            "",
            "2017-12-28T14:39:50Z",
            "Thu Dec 32 14:39:50 2017",
            "Thu Dec 0 14:39:50 2017",
            "Wed Feb 29 00:00:00 2023",
            "Thu Dec 28 24:00:00 2017",
            "Thu Dec 28 14:60:00 2017",
            "Thu Dec 28 14:39:61 2017",
            "Thu Dec 28 14:39 2017",
            "Thu Dec 28 14:39:50:00 2017",
            "Thu Dec 28 4:39:50 2017",
            "Thu dec 28 14:39:50 2017",
            "Thu Dec 28 14:39:50 2017 CET",
            "Thu Dec 28 14:39:50 2017 UTC UTC",
            "Thu Dec 28 14:39:50 2017Z",
            "Thu Dec 28 14:39:50 17",
            "Thu Dec 28 14:39:50 10000",
            "Wed Dec 31 23:59:59 1969",
            "Dec 28 14:39:50 2017",
            "Thu\tDec\t28\t14:39:50\t2017",
            "Thu Dec +1 14:39:50 2017",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text:?}");
        }
    }
}

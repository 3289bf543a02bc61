//! A person's text to an instant.
//!
//! Forms, tried in this order:
//! - `now`
//! - `3 days ago`, `1 hour 30 minutes ago`: a day is 24 hours, whatever the zone
//! - `today`, `yesterday`, with or without a clock time after it
//! - Unix seconds, with or without a fraction
//! - RFC 3339, with `T` or a space; without an offset it is local time; without a clock time it is midnight

use super::calendar::{Civil, DAY, LAST, MICROS, micros_text, second_text};
use super::zone::{Zone, parse_offset};
use erstwhile_engine::fact::{Micros, Second};
use std::fmt;

/// Reads times relative to a now and a zone.
#[derive(Clone, Debug)]
pub struct Reader {
    /// What `now` means.
    pub now: Micros,
    /// What a time without an offset is local to.
    pub zone: Zone,
}

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WhenError {
    /// No form fits.
    Form {
        /// What was written.
        text: String,
    },
    /// The form fits, but the calendar or the clock has no such thing.
    Calendar {
        /// What was written.
        text: String,
        /// The part that is wrong, with what it may be.
        part: String,
    },
    /// Outside the years 1970–9999.
    Range {
        /// What was written.
        text: String,
    },
    /// Too many digits for Unix seconds.
    Finer {
        /// What was written.
        text: String,
        /// What the digits seem to count.
        unit: &'static str,
        /// The time meant, in seconds and in RFC 3339.
        meant: Option<(String, String)>,
    },
    /// A local time that happens twice.
    Twice {
        /// What was written.
        text: String,
        /// Where.
        zone: String,
        /// The earlier instant.
        first: String,
        /// The later instant.
        second: String,
    },
    /// A local time that never happens.
    Never {
        /// What was written.
        text: String,
        /// Where.
        zone: String,
        /// The local time at which clocks are put forward.
        from: String,
        /// What they are put forward to.
        to: String,
    },
    /// No such zone.
    Zone {
        /// What was written.
        name: String,
    },
}

impl fmt::Display for WhenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WhenError::Form { text } => write!(
                f,
                "{text:?} is no time; write 2018-12-24T10:00:00Z, \"2018-12-24 10:00\", Unix seconds, or \"3 days ago\""
            ),
            WhenError::Calendar { text, part } => write!(f, "{text:?} is no time: {part}"),
            WhenError::Range { text } => {
                write!(f, "{text:?} is out of range; times lie between 1970-01-01T00:00:00Z and 9999-12-31T23:59:59Z")
            }
            WhenError::Finer { text, unit, meant } => {
                write!(f, "{text:?} has {} digits", text.len())?;
                match meant {
                    Some((seconds, instant)) => {
                        write!(f, ", which looks like {unit}; times are Unix seconds: write {seconds} or {instant}")
                    }
                    None => write!(f, ", too many for Unix seconds"),
                }
            }
            WhenError::Twice { text, zone, first, second } => {
                write!(f, "{text:?} happens twice in {zone}, when clocks are put back; write {first} or {second}")
            }
            WhenError::Never { text, zone, from, to } => write!(
                f,
                "{text:?} never happens in {zone}: clocks are put forward at {from} to {to}; write a time before or after that"
            ),
            WhenError::Zone { name } => write!(
                f,
                "no time zone {name:?} is known here; write a name such as Europe/Berlin, an offset such as +02:00, local, or UTC"
            ),
        }
    }
}

impl std::error::Error for WhenError {}

impl Reader {
    /// The observed second of a text, floored.
    pub fn second(&self, text: &str) -> Result<Second, WhenError> {
        Ok(self.micros(text)?.div_euclid(MICROS))
    }

    /// The recorded time of a text, in microseconds, floored.
    pub fn micros(&self, text: &str) -> Result<Micros, WhenError> {
        let trimmed = text.trim();
        let micros = self.read(trimmed)?;
        if (0..(LAST + 1) * MICROS).contains(&micros) {
            Ok(micros)
        } else {
            Err(WhenError::Range { text: trimmed.to_owned() })
        }
    }

    fn read(&self, text: &str) -> Result<Micros, WhenError> {
        let words = text.to_ascii_lowercase();
        if words == "now" {
            return Ok(self.now);
        }
        if let Some(span) = words.strip_suffix("ago") {
            return match span_micros(span) {
                Some(span) => Ok(self.now.saturating_sub(span)),
                None => Err(WhenError::Calendar {
                    text: text.to_owned(),
                    part: "before \"ago\" write a whole number and one of seconds, minutes, hours, days, weeks"
                        .to_owned(),
                }),
            };
        }
        for (word, back) in [("today", 0), ("yesterday", 1)] {
            if let Some(rest) = words.strip_prefix(word) {
                return self.named_day(text, rest, back);
            }
        }
        if let Some(micros) = unix(text)? {
            return Ok(micros);
        }
        self.calendar(text)
    }

    /// `yesterday`, `yesterday 10:00`.
    fn named_day(&self, text: &str, rest: &str, back: i64) -> Result<Micros, WhenError> {
        let form = || WhenError::Form { text: text.to_owned() };
        let now = self.now.div_euclid(MICROS);
        let mut civil = Civil::of(now + self.zone.offset_at(now) - back * DAY);
        (civil.hour, civil.minute, civil.second) = (0, 0, 0);
        let mut fraction = 0;
        if !rest.is_empty() {
            let clock = rest.strip_prefix(' ').ok_or_else(form)?;
            let (after, sub) = clock_time(clock, &mut civil, text)?.ok_or_else(form)?;
            if !after.is_empty() {
                return Err(form());
            }
            fraction = sub;
        }
        Ok(self.zone.second_of(civil, text)? * MICROS + fraction)
    }

    /// RFC 3339, or its date, or its date and clock time.
    fn calendar(&self, text: &str) -> Result<Micros, WhenError> {
        let form = || WhenError::Form { text: text.to_owned() };
        let (mut civil, rest) = date(text).ok_or_else(form)?;
        let wrong = |part: String| Err(WhenError::Calendar { text: text.to_owned(), part });
        if !(1..=12).contains(&civil.month) {
            return wrong(format!("there is no month {:02}", civil.month));
        }
        let days = Civil::days_of_month(civil.year, civil.month);
        if !(1..=days).contains(&civil.day) {
            return wrong(format!("{:04}-{:02} has days 01 to {days}", civil.year, civil.month));
        }
        if civil.year < 1970 {
            return Err(WhenError::Range { text: text.to_owned() });
        }
        if rest.is_empty() {
            return Ok(self.zone.second_of(civil, text)? * MICROS);
        }
        let clock = rest.strip_prefix(['T', 't', ' ']).ok_or_else(form)?;
        let (rest, fraction) = clock_time(clock, &mut civil, text)?.ok_or_else(form)?;
        // A leap second is the next minute's first.
        let leap = i64::from(civil.second == 60);
        civil.second -= leap as u8;
        let second = match rest.trim_start() {
            "" => self.zone.second_of(civil, text)?,
            "Z" | "z" | "UTC" | "utc" | "GMT" => civil.seconds(),
            offset => civil.seconds() - i64::from(parse_offset(offset).ok_or_else(form)?),
        };
        Ok((second + leap) * MICROS + fraction)
    }
}

/// `3 days `, `1h30m`: whole numbers with units.
fn span_micros(span: &str) -> Option<Micros> {
    let mut rest = span.trim();
    let mut seconds = 0i64;
    loop {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: i64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "s" | "sec" | "secs" | "second" | "seconds" => 1,
            "m" | "min" | "mins" | "minute" | "minutes" => 60,
            "h" | "hr" | "hrs" | "hour" | "hours" => 3_600,
            "d" | "day" | "days" => DAY,
            "w" | "week" | "weeks" => 7 * DAY,
            _ => return None,
        };
        seconds = seconds.checked_add(number.checked_mul(unit)?)?;
        rest = rest[letters..].trim_start_matches([' ', ',']);
        if rest.is_empty() {
            return seconds.checked_mul(MICROS);
        }
    }
}

/// Unix seconds; `None` if the text is not a number at all.
fn unix(text: &str) -> Result<Option<Micros>, WhenError> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !fraction.is_none_or(digits) {
        return Ok(None);
    }
    if sign < 0 {
        return Err(WhenError::Range { text: text.to_owned() });
    }
    if whole.len() > 12 && fraction.is_none() {
        let (unit, per_second) = match whole.len() {
            13 => ("milliseconds", 1_000),
            16 => ("microseconds", MICROS),
            19 => ("nanoseconds", 1_000_000_000),
            _ => ("", 0),
        };
        let meant = whole.parse::<i64>().ok().filter(|_| per_second > 0).map(|n| {
            let micros = (n as i128 * MICROS as i128 / per_second as i128) as i64;
            let instant = match micros % MICROS {
                0 => second_text(micros / MICROS),
                _ => micros_text(micros),
            };
            ((n / per_second).to_string(), instant)
        });
        return Err(WhenError::Finer { text: text.to_owned(), unit, meant });
    }
    let out_of_range = || WhenError::Range { text: text.to_owned() };
    let seconds: i64 = whole.parse().map_err(|_| out_of_range())?;
    if seconds > LAST {
        return Err(out_of_range());
    }
    Ok(Some(seconds * MICROS + fraction.map_or(0, fraction_micros)))
}

/// The first six digits of a fraction.
fn fraction_micros(digits: &str) -> Micros {
    let mut micros = 0;
    for i in 0..6 {
        micros = micros * 10 + digits.as_bytes().get(i).map_or(0, |b| i64::from(b - b'0'));
    }
    micros
}

/// Takes `YYYY-MM-DD` off the front; ranges are the caller's to check.
fn date(text: &str) -> Option<(Civil, &str)> {
    let (year, rest) = number(text, 4)?;
    let (month, rest) = number(rest.strip_prefix('-')?, 2)?;
    let (day, rest) = number(rest.strip_prefix('-')?, 2)?;
    let civil = Civil { year, month: month as u8, day: day as u8, hour: 0, minute: 0, second: 0 };
    Some((civil, rest))
}

/// Takes `HH:MM[:SS[.fraction]]` off the front: what follows it, and the fraction in microseconds.
fn clock_time<'a>(text: &'a str, civil: &mut Civil, whole: &str) -> Result<Option<(&'a str, Micros)>, WhenError> {
    let Some((hour, minute, second, rest, fraction)) = clock_parts(text) else {
        return Ok(None);
    };
    let wrong = [
        (hour, 23, "hours go from 00 to 23"),
        (minute, 59, "minutes go from 00 to 59"),
        (second, 60, "seconds go from 00 to 59"),
    ];
    if let Some((.., part)) = wrong.iter().find(|(number, most, _)| number > most) {
        return Err(WhenError::Calendar { text: whole.to_owned(), part: (*part).to_owned() });
    }
    (civil.hour, civil.minute, civil.second) = (hour as u8, minute as u8, second as u8);
    Ok(Some((rest, fraction)))
}

fn clock_parts(text: &str) -> Option<(i64, i64, i64, &str, Micros)> {
    let (hour, rest) = number(text, 2)?;
    let (minute, rest) = number(rest.strip_prefix(':')?, 2)?;
    let Some(after) = rest.strip_prefix(':') else {
        return Some((hour, minute, 0, rest, 0));
    };
    let (second, rest) = number(after, 2)?;
    let Some(after) = rest.strip_prefix('.') else {
        return Some((hour, minute, second, rest, 0));
    };
    let end = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
    let micros = (end > 0).then(|| fraction_micros(&after[..end]))?;
    Some((hour, minute, second, &after[end..], micros))
}

/// Takes exactly `len` digits off the front.
fn number(text: &str, len: usize) -> Option<(i64, &str)> {
    let (digits, rest) = text.split_at_checked(len)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) || rest.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, rest))
}

//! Days and seconds: the proleptic Gregorian calendar without any zone, for every `i64` second.
//!
//! The zone library ends a day before the year 9999 does, and millions of times are written per answer; so the few
//! lines of arithmetic for UTC are here.

use erstwhile_engine::fact::{Micros, Second};
use std::io::{self, Write};

/// Seconds of a day.
pub const DAY: i64 = 86_400;

/// Microseconds of a second.
pub const MICROS: i64 = 1_000_000;

/// 9999-12-31T23:59:59Z, the last second that can be asked for.
pub const LAST: Second = 253_402_300_799;

/// A date and a clock time, without a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Civil {
    /// The year; 1970–9999 where a person wrote it.
    pub year: i64,
    /// 1–12.
    pub month: u8,
    /// 1–31.
    pub day: u8,
    /// 0–23.
    pub hour: u8,
    /// 0–59.
    pub minute: u8,
    /// 0–59.
    pub second: u8,
}

impl Civil {
    /// The calendar's reading of a second that is counted from 1970-01-01T00:00:00 of the same clock.
    pub fn of(seconds: i64) -> Civil {
        // Days are counted from 0000-03-01, so that the leap day is the last of its year; 146,097 days are 400 years.
        let days = seconds.div_euclid(DAY) + 719_468;
        let clock = seconds.rem_euclid(DAY);
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        Civil {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month: month as u8,
            day: (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8,
            hour: (clock / 3_600) as u8,
            minute: (clock / 60 % 60) as u8,
            second: (clock % 60) as u8,
        }
    }

    /// The second that [`Civil::of`] reads as this.
    pub fn seconds(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (i64::from(self.month) + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        (era * 146_097 + day_of_era - 719_468) * DAY
            + i64::from(self.hour) * 3_600
            + i64::from(self.minute) * 60
            + i64::from(self.second)
    }

    /// How many days the month has.
    pub fn days_of_month(year: i64, month: u8) -> u8 {
        match month {
            2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

/// Writes `2018-12-24T10:00:00Z`.
pub fn write_second(out: &mut impl Write, second: Second) -> io::Result<()> {
    let c = Civil::of(second);
    write!(out, "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", c.year, c.month, c.day, c.hour, c.minute, c.second)
}

/// Writes `2018-12-24T10:00:00.000001Z`.
pub fn write_micros(out: &mut impl Write, micros: Micros) -> io::Result<()> {
    let c = Civil::of(micros.div_euclid(MICROS));
    write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z",
        c.year,
        c.month,
        c.day,
        c.hour,
        c.minute,
        c.second,
        micros.rem_euclid(MICROS)
    )
}

/// `2018-12-24T10:00:00Z`.
pub fn second_text(second: Second) -> String {
    text(|out| write_second(out, second))
}

/// `2018-12-24T10:00:00.000001Z`.
pub fn micros_text(micros: Micros) -> String {
    text(|out| write_micros(out, micros))
}

fn text(write: impl Fn(&mut Vec<u8>) -> io::Result<()>) -> String {
    let mut out = Vec::with_capacity(32);
    // A vector takes every byte, and the bytes are ASCII.
    let _ = write(&mut out);
    String::from_utf8_lossy(&out).into_owned()
}

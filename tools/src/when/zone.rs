//! The zone that local times are in: UTC unless `--tz` says otherwise.

use super::calendar::Civil;
use super::read::WhenError;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

/// A zone and the name it was given by.
#[derive(Clone, Debug)]
pub struct Zone {
    zone: TimeZone,
    name: String,
}

impl Zone {
    /// Coordinated universal time.
    pub fn utc() -> Zone {
        Zone { zone: TimeZone::UTC, name: "UTC".to_owned() }
    }

    /// The zone of a name from the IANA database (`Europe/Berlin`), of an offset (`+02:00`), or of this machine
    /// (`local`).
    pub fn named(name: &str) -> Result<Zone, WhenError> {
        if name.eq_ignore_ascii_case("utc") || name == "Z" {
            return Ok(Zone::utc());
        }
        let zone = if name == "local" {
            TimeZone::try_system().ok()
        } else if let Some(seconds) = parse_offset(name) {
            Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
        } else {
            TimeZone::get(name).ok()
        };
        match zone {
            Some(zone) => Ok(Zone {
                name: zone.iana_name().filter(|known| *known != "Etc/Unknown").unwrap_or(name).to_owned(),
                zone,
            }),
            None => Err(WhenError::Zone { name: name.to_owned() }),
        }
    }

    /// The name to show.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether local times need no offset beside them.
    pub fn is_utc(&self) -> bool {
        self.zone == TimeZone::UTC
    }

    /// The offset from UTC in seconds at an instant; 0 beyond what the zone library knows.
    pub(crate) fn offset_at(&self, second: i64) -> i64 {
        match Timestamp::from_second(second) {
            Ok(at) => i64::from(self.zone.to_offset(at).seconds()),
            Err(_) => 0,
        }
    }

    /// The one instant of a local time, or why there is none. `text` is what was written.
    pub(crate) fn second_of(&self, civil: Civil, text: &str) -> Result<i64, WhenError> {
        let wall = civil.seconds();
        if self.is_utc() {
            return Ok(wall);
        }
        let Some(local) = to_jiff(civil) else {
            return Err(WhenError::Range { text: text.to_owned() });
        };
        let instant = |offset: Offset| wall - i64::from(offset.seconds());
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Ok(instant(offset)),
            AmbiguousOffset::Fold { before, after } => Err(WhenError::Twice {
                text: text.to_owned(),
                zone: self.name.clone(),
                first: with_offset(civil, before),
                second: with_offset(civil, after),
            }),
            AmbiguousOffset::Gap { before, after } => {
                // The later offset puts the local time before the jump, and the jump is the next one from there.
                let jump = Timestamp::from_second(instant(after))
                    .ok()
                    .and_then(|at| self.zone.following(at).next())
                    .map_or(wall, |transition| transition.timestamp().as_second());
                let local = |offset: Offset| Civil::of(jump + i64::from(offset.seconds()));
                Err(WhenError::Never {
                    text: text.to_owned(),
                    zone: self.name.clone(),
                    from: with_offset(local(before), before),
                    to: with_offset(local(after), after),
                })
            }
        }
    }
}

fn to_jiff(c: Civil) -> Option<DateTime> {
    DateTime::new(
        i16::try_from(c.year).ok()?,
        c.month as i8,
        c.day as i8,
        c.hour as i8,
        c.minute as i8,
        c.second as i8,
        0,
    )
    .ok()
}

/// `2018-10-28T02:30:00+02:00`.
fn with_offset(c: Civil, offset: Offset) -> String {
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}{}",
        c.year,
        c.month,
        c.day,
        c.hour,
        c.minute,
        c.second,
        offset_text(i64::from(offset.seconds()))
    )
}

/// `+02:00`; with seconds where an old zone has them.
pub(crate) fn offset_text(seconds: i64) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let (hours, rest) = (seconds.abs() / 3_600, seconds.abs() % 3_600);
    match rest % 60 {
        0 => format!("{sign}{hours:02}:{:02}", rest / 60),
        odd => format!("{sign}{hours:02}:{:02}:{odd:02}", rest / 60),
    }
}

/// `+02:00`, `-0930`, `+02` as seconds.
pub(crate) fn parse_offset(text: &str) -> Option<i32> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = &text[1..];
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    let number = |part: &str| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

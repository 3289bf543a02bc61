//! Instants for people: local to the zone, with as much of the date as is needed beside a given moment.

use super::Zone;
use super::calendar::{Civil, MICROS};
use super::zone::offset_text;
use erstwhile_engine::fact::{Micros, Second};

impl Zone {
    /// `2018-12-24 10:00:00 UTC`, `2018-12-24 11:00:00 +01:00`.
    pub fn full(&self, second: Second) -> String {
        format!("{} {}", self.stamp(second), self.suffix(second))
    }

    /// `2018-12-24 10:00:00`; other zones than UTC add the offset, for a local time may happen twice.
    pub fn cell(&self, second: Second) -> String {
        if self.is_utc() { self.stamp(second) } else { format!("{}{}", self.stamp(second), self.suffix(second)) }
    }

    /// `10:03:02` on the local day of `beside`, else as [`Zone::cell`] has it.
    pub fn near(&self, second: Second, beside: Second) -> String {
        let (here, there) = (self.civil(second), self.civil(beside));
        let same_day = (here.year, here.month, here.day) == (there.year, there.month, there.day);
        if same_day && self.offset_at(second) == self.offset_at(beside) {
            format!("{:02}:{:02}:{:02}", here.hour, here.minute, here.second)
        } else {
            self.cell(second)
        }
    }

    /// `2018-12-24 10:00:00.000001 UTC`.
    pub fn full_micros(&self, micros: Micros) -> String {
        let second = micros.div_euclid(MICROS);
        format!("{}.{:06} {}", self.stamp(second), micros.rem_euclid(MICROS), self.suffix(second))
    }

    fn civil(&self, second: Second) -> Civil {
        Civil::of(second + self.offset_at(second))
    }

    fn stamp(&self, second: Second) -> String {
        let c = self.civil(second);
        format!("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", c.year, c.month, c.day, c.hour, c.minute, c.second)
    }

    fn suffix(&self, second: Second) -> String {
        if self.is_utc() { "UTC".to_owned() } else { offset_text(self.offset_at(second)) }
    }
}

//! How one generation of agents writes its lines.
//!
//! Invariants:
//! - All removed rows of a run come before the added ones.
//! - Columns come in alphabetical order; `diffResults`, `snapshot` and `action` precede what the logger adds.
//! - Lines are valid JSON, except that snapshot rows may hold bytes that are not UTF-8, as in reality.

use std::fmt;
use std::sync::Arc;

use super::agent::{Kind, Look};
use super::options::Format;
use super::row::{Cell, Row};

/// An agent's version; ordered as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub(super) u16, pub(super) u16, pub(super) u16);

impl Version {
    /// Reads up to three numbers between points; what is no number is 0.
    pub(super) fn parse(text: &str) -> Version {
        let mut parts = text.split('.').map(|part| part.parse().unwrap_or(0));
        let mut part = || parts.next().unwrap_or(0);
        Version(part(), part(), part())
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

/// How one host's agent is set up to speak.
#[derive(Clone, Debug)]
pub(super) struct Voice {
    pub(super) host: String,
    pub(super) hostname: String,
    pub(super) uuid: String,
    /// Numbers are written as numbers (agents since 3.4.0).
    pub(super) numerics: bool,
    pub(super) decorations: Decorations,
    /// Pack, query and `pack` are joined by `/`, else by `_`.
    pub(super) slashes: bool,
}

/// Where decorations stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decorations {
    None,
    Object,
    TopLevel,
}

impl Voice {
    /// The name under which a query of the pack is reported.
    pub(super) fn query(&self, table: &str) -> String {
        if self.slashes { format!("pack/fleet/{table}") } else { format!("pack_fleet_{table}") }
    }

    /// The lines of a run, without their ends.
    pub(super) fn lines(&self, look: &Look, format: Format) -> Vec<Arc<[u8]>> {
        let tail = self.tail(look);
        let old = look.version < Version(3, 0, 0);
        if look.kind == Kind::Snapshot {
            let mut line = b"{\"snapshot\":".to_vec();
            self.list(&mut line, &look.added, look.version, false);
            line.extend_from_slice(b",\"action\":\"snapshot\",");
            line.extend_from_slice(&tail);
            line.push(b'}');
            return vec![line.into()];
        }
        if format == Format::Batch {
            let mut line = b"{\"diffResults\":{\"removed\":".to_vec();
            self.list(&mut line, &look.removed, look.version, old);
            line.extend_from_slice(b",\"added\":");
            self.list(&mut line, &look.added, look.version, old);
            line.extend_from_slice(b"},");
            line.extend_from_slice(&tail);
            line.push(b'}');
            return vec![line.into()];
        }
        let row_line = |row: &Row, action: &str| {
            let mut line = b"{".to_vec();
            line.extend_from_slice(&tail);
            line.extend_from_slice(b",\"columns\":");
            self.row(&mut line, row, look.version);
            line.extend_from_slice(format!(",\"action\":\"{action}\"}}").as_bytes());
            Arc::from(line)
        };
        let removed = look.removed.iter().map(|row| row_line(row, "removed"));
        let added = look.added.iter().map(|row| row_line(row, "added"));
        removed.chain(added).collect()
    }

    /// A line of the agent's own log.
    pub(super) fn status(&self, version: Version, second: u64, status: &(u64, &str, u64, &str)) -> Vec<u8> {
        let (severity, file, line_number, message) = status;
        let quote = if version < Version(5, 10, 0) { "\"" } else { "" };
        let slashes = version < Version(3, 0, 0);
        let mut line = Vec::new();
        member(&mut line, "{\"hostIdentifier\":", &self.host, slashes);
        member(&mut line, ",\"calendarTime\":", &calendar(second), slashes);
        line.extend_from_slice(
            format!(",\"unixTime\":{quote}{second}{quote},\"severity\":{quote}{severity}{quote}").as_bytes(),
        );
        member(&mut line, ",\"filename\":", file, slashes);
        line.extend_from_slice(format!(",\"line\":{quote}{line_number}{quote}").as_bytes());
        member(&mut line, ",\"message\":", message, slashes);
        member(&mut line, ",\"version\":", &version.to_string(), slashes);
        // Status lines obey the flag for top-level decorations since 5.10.0 only.
        let place = match self.decorations {
            Decorations::TopLevel if version < Version(5, 10, 0) => Decorations::Object,
            place => place,
        };
        self.decorate(&mut line, place, slashes);
        line.push(b'}');
        line
    }

    /// What the logger adds to every line of a run.
    fn tail(&self, look: &Look) -> Vec<u8> {
        let version = look.version;
        let old = version < Version(3, 0, 0);
        let quote = if old { "\"" } else { "" };
        let mut line = Vec::with_capacity(256);
        member(&mut line, "\"name\":", &look.name, old);
        member(&mut line, ",\"hostIdentifier\":", &self.host, old);
        member(&mut line, ",\"calendarTime\":", &calendar(look.second), old);
        line.extend_from_slice(
            format!(
                ",\"unixTime\":{quote}{}{quote},\"epoch\":{quote}{}{quote},\"counter\":{quote}{}{quote}",
                look.second, look.epoch, look.counter
            )
            .as_bytes(),
        );
        let key = match version {
            version if version < Version(3, 4, 0) => None,
            version if version <= Version(4, 1, 0) => Some("logNumericsAsNumbers"),
            _ => Some("numerics"),
        };
        if let Some(key) = key {
            line.extend_from_slice(format!(",\"{key}\":{}", self.numerics).as_bytes());
        }
        self.decorate(&mut line, self.decorations, old);
        line
    }

    fn decorate(&self, line: &mut Vec<u8>, place: Decorations, slashes: bool) {
        if place == Decorations::None {
            return;
        }
        let object = place == Decorations::Object;
        line.extend_from_slice(if object { b",\"decorations\":{" } else { b"," });
        member(line, "\"host_uuid\":", &self.uuid, slashes);
        member(line, ",\"hostname\":", &self.hostname, slashes);
        if object {
            line.push(b'}');
        }
    }

    /// A list of rows; the oldest agents wrote an empty one as `""`.
    fn list(&self, line: &mut Vec<u8>, rows: &[Row], version: Version, old_differential: bool) {
        if rows.is_empty() && (old_differential || version < Version(3, 0, 0)) {
            line.extend_from_slice(b"\"\"");
            return;
        }
        line.push(b'[');
        for (i, row) in rows.iter().enumerate() {
            if i > 0 {
                line.push(b',');
            }
            self.row(line, row, version);
        }
        line.push(b']');
    }

    fn row(&self, line: &mut Vec<u8>, row: &Row, version: Version) {
        let numbers = self.numerics && version >= Version(3, 4, 0);
        for (i, (name, cell)) in row.cells().iter().enumerate() {
            line.extend_from_slice(if i == 0 { b"{\"" } else { b",\"" });
            line.extend_from_slice(name.as_bytes());
            line.extend_from_slice(b"\":");
            match cell {
                Cell::Int(n) if numbers => line.extend_from_slice(n.to_string().as_bytes()),
                cell => json_string(line, &cell.text(), version < Version(3, 0, 0)),
            }
        }
        line.push(b'}');
    }
}

fn member(line: &mut Vec<u8>, before: &str, value: &str, slashes: bool) {
    line.extend_from_slice(before.as_bytes());
    json_string(line, value.as_bytes(), slashes);
}

/// A JSON string of bytes; what is not UTF-8 stays as it is. `slashes`: `/` becomes `\/`.
pub(super) fn json_string(line: &mut Vec<u8>, value: &[u8], slashes: bool) {
    line.push(b'"');
    for &byte in value {
        match byte {
            b'"' => line.extend_from_slice(b"\\\""),
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'/' if slashes => line.extend_from_slice(b"\\/"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\t' => line.extend_from_slice(b"\\t"),
            0..0x20 => line.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
            byte => line.push(byte),
        }
    }
    line.push(b'"');
}

/// What differential and event rows go through: bytes that are not printable become `\xHH`; since 5.22.0 valid UTF-8
/// passes.
pub(super) fn escape_unprintable(text: &[u8], version: Version) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let keep = version >= Version(5, 22, 0);
    let hex = |out: &mut Vec<u8>, byte: u8| out.extend_from_slice(format!("\\x{byte:02X}").as_bytes());
    for chunk in text.utf8_chunks() {
        for &byte in chunk.valid().as_bytes() {
            let printable = byte >= 0x20 && (byte < 0x80 || keep);
            if printable { out.push(byte) } else { hex(&mut out, byte) }
        }
        chunk.invalid().iter().for_each(|&byte| hex(&mut out, byte));
    }
    out
}

/// C's asctime in UTC, followed by ` UTC`.
pub(super) fn calendar(second: u64) -> String {
    let days = second / 86_400;
    let clock = second % 86_400;
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    let (mut year, mut rest) = (1970, days);
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    while rest >= 365 + u64::from(leap(year)) {
        rest -= 365 + u64::from(leap(year));
        year += 1;
    }
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    format!("{weekday} {} {:2} {hour:02}:{minute:02}:{second:02} {year} UTC", names[month], rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_times_read_like_asctime() {
        assert_eq!(calendar(1_514_471_990), "Thu Dec 28 14:39:50 2017 UTC");
        assert_eq!(calendar(1_709_546_405), "Mon Mar  4 10:00:05 2024 UTC");
        assert_eq!(calendar(951_782_400), "Tue Feb 29 00:00:00 2000 UTC");
    }

    #[test]
    fn escapes_change_with_5_22() {
        let text = "a\té\\".as_bytes();
        assert_eq!(escape_unprintable(text, Version(5, 10, 2)), b"a\\x09\\xC3\\xA9\\");
        assert_eq!(escape_unprintable(text, Version(5, 22, 1)), "a\\x09é\\".as_bytes());
        assert_eq!(escape_unprintable(b"\xe9", Version(5, 22, 1)), b"\\xE9");
    }
}

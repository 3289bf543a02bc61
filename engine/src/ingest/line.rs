//! One line becomes a look's worth of result, a status line, a dead letter or nothing.
//!
//! Invariants:
//! - The verdict depends on the line's bytes alone, and every line gets exactly one.
//! - What a [`ResultLine`] hands out as [`RawObject`] and [`RawList`] is valid JSON, nested no deeper than allowed, and
//!   every member of a list is an object.
//! - Nothing is allocated unless the host, the name or the version was written with escapes.
//!
//! Steps: scan the whole line once, noting the fields that matter → judge it by reasons in their order. Rows are built
//! in a second pass ([`super::columns`]), because which columns are DOUBLE depends on the table, and the table on the
//! name, which may come last.

use super::asctime;
use super::columns::{RawList, RawObject};
use super::decimal::Decimal;
use super::json::{Fault, Scanner, Text, Value};
use crate::fact::{Inferred, Second};
use std::borrow::Cow;

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 64 << 20;

/// Why a line is a dead letter. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Longer than [`LINE_BYTES_MAX`].
    TooLong = 0,
    /// Nested deeper than [`super::json::DEPTH_MAX`].
    TooDeep = 1,
    /// Not JSON.
    NotJson = 2,
    /// JSON, but no object.
    NotObject = 3,
    /// No string `name`, and not a status line.
    NoName = 4,
    /// No observed time.
    NoTime = 5,
    /// None of `columns`, `diffResults`, `snapshot`.
    NoRows = 6,
    /// Some of them, none well formed.
    BadRows = 7,
}

impl Reason {
    /// All reasons, in the order in which they are tried.
    pub const ALL: [Reason; 8] = [
        Reason::TooLong,
        Reason::TooDeep,
        Reason::NotJson,
        Reason::NotObject,
        Reason::NoName,
        Reason::NoTime,
        Reason::NoRows,
        Reason::BadRows,
    ];

    /// The word for it in answers.
    pub fn code(self) -> &'static str {
        match self {
            Reason::TooLong => "too-long",
            Reason::TooDeep => "too-deep",
            Reason::NotJson => "not-json",
            Reason::NotObject => "not-object",
            Reason::NoName => "no-name",
            Reason::NoTime => "no-time",
            Reason::NoRows => "no-rows",
            Reason::BadRows => "bad-rows",
        }
    }

    /// The number for it on disk.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The reason with that number.
    pub fn from_number(number: u8) -> Option<Reason> {
        Reason::ALL.get(usize::from(number)).copied()
    }
}

/// What a line is.
#[derive(Clone, Debug)]
pub enum Line<'a> {
    /// Rows that a scheduled query returned.
    Result(ResultLine<'a>),
    /// The agent talking about itself.
    Status(StatusLine<'a>),
    /// Neither.
    Dead(Reason),
    /// White space only.
    Blank,
}

/// A line of results.
#[derive(Clone, Debug)]
pub struct ResultLine<'a> {
    /// The host's exact bytes; empty if the line names none.
    pub host: Cow<'a, [u8]>,
    /// The query's name.
    pub name: Cow<'a, [u8]>,
    /// Observed time.
    pub second: Second,
    /// 0 if missing.
    pub epoch: u64,
    /// The look's number within its epoch, if given.
    pub counter: Option<u64>,
    /// What the line's form says of the agent's version.
    pub inferred: Inferred,
    /// The rows.
    pub body: Body<'a>,
}

/// What happened to the row of a row-per-line line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// It is there since the look before.
    Added,
    /// It is gone since the look before.
    Removed,
    /// It is there.
    Snapshot,
}

/// The rows of a line, validated and not yet read.
#[derive(Clone, Copy, Debug)]
pub enum Body<'a> {
    /// One row of a look that other lines share.
    Row {
        /// What happened to it.
        action: Action,
        /// The row.
        columns: RawObject<'a>,
    },
    /// A whole look as a difference.
    Batch {
        /// The rows that are gone.
        removed: RawList<'a>,
        /// The rows that came.
        added: RawList<'a>,
    },
    /// A whole look in full.
    Snapshot(RawList<'a>),
}

/// A status line: counted, and its version noted at its own time.
#[derive(Clone, Debug)]
pub struct StatusLine<'a> {
    /// The host's exact bytes; empty if the line names none.
    pub host: Cow<'a, [u8]>,
    /// Observed time, if there is one.
    pub second: Option<Second>,
    /// The agent's version, if it is a string.
    pub version: Option<Cow<'a, [u8]>>,
}

/// Reads one line, given without its newline.
pub fn read_line(line: &[u8]) -> Line<'_> {
    if line.len() > LINE_BYTES_MAX {
        return Line::Dead(Reason::TooLong);
    }
    let mut scanner = Scanner::new(line);
    scanner.space();
    if scanner.at_end() {
        return Line::Blank;
    }
    let mut fields = Fields::default();
    let is_object = scanner.peek() == b'{';
    let scanned =
        if is_object { scanner.object(|scanner, key| fields.take(scanner, key)) } else { scanner.value(0).map(drop) };
    match scanned.and_then(|()| scanner.end()) {
        Err(Fault::TooDeep) => Line::Dead(Reason::TooDeep),
        Err(Fault::NotJson) => Line::Dead(Reason::NotJson),
        Ok(()) if !is_object => Line::Dead(Reason::NotObject),
        Ok(()) => fields.judge().unwrap_or_else(Line::Dead),
    }
}

/// The fields of a line that matter; of a repeated key the last.
#[derive(Default)]
struct Fields<'a> {
    name: Option<Value<'a>>,
    host_identifier: Option<Value<'a>>,
    hostname: Option<Value<'a>>,
    unix_time: Option<Value<'a>>,
    calendar_time: Option<Value<'a>>,
    epoch: Option<Value<'a>>,
    counter: Option<Value<'a>>,
    numerics: bool,
    action: Option<Value<'a>>,
    columns: Option<Value<'a>>,
    /// Present, and then removed and added rows if well formed.
    diff_results: Option<Option<(RawList<'a>, RawList<'a>)>>,
    /// Present, and then its rows if well formed.
    snapshot: Option<Option<RawList<'a>>>,
    severity: bool,
    message: bool,
    version: Option<Value<'a>>,
}

impl<'a> Fields<'a> {
    /// Consumes the value of a member of the line's own object.
    #[inline]
    fn take(&mut self, scanner: &mut Scanner<'a>, key: Text<'a>) -> Result<(), Fault> {
        let mut scratch = Vec::new();
        let place = match key.bytes(&mut scratch) {
            b"diffResults" => {
                self.diff_results = Some(diff_results(scanner)?);
                return Ok(());
            }
            b"snapshot" => {
                self.snapshot = Some(list_of_objects(scanner, 1)?);
                return Ok(());
            }
            b"name" => &mut self.name,
            b"hostIdentifier" => &mut self.host_identifier,
            b"hostname" => &mut self.hostname,
            b"unixTime" => &mut self.unix_time,
            b"calendarTime" => &mut self.calendar_time,
            b"epoch" => &mut self.epoch,
            b"counter" => &mut self.counter,
            b"action" => &mut self.action,
            b"columns" => &mut self.columns,
            b"version" => &mut self.version,
            other => {
                match other {
                    b"numerics" => self.numerics = true,
                    b"severity" => self.severity = true,
                    b"message" => self.message = true,
                    _ => {}
                }
                return scanner.value(1).map(drop);
            }
        };
        *place = Some(scanner.value(1)?);
        Ok(())
    }

    fn judge(&self) -> Result<Line<'a>, Reason> {
        if self.severity && self.message && self.name.is_none() {
            let version = text(self.version).map(Text::into_cow);
            return Ok(Line::Status(StatusLine { host: self.host(), second: self.second(), version }));
        }
        let name = text(self.name).ok_or(Reason::NoName)?.into_cow();
        let second = self.second().ok_or(Reason::NoTime)?;
        if self.columns.is_none() && self.diff_results.is_none() && self.snapshot.is_none() {
            return Err(Reason::NoRows);
        }
        let body = self.body().ok_or(Reason::BadRows)?;
        Ok(Line::Result(ResultLine {
            host: self.host(),
            name,
            second,
            epoch: unsigned(self.epoch).unwrap_or(0),
            counter: unsigned(self.counter),
            inferred: self.inferred(),
            body,
        }))
    }

    fn host(&self) -> Cow<'a, [u8]> {
        text(self.host_identifier).or(text(self.hostname)).map(Text::into_cow).unwrap_or_default()
    }

    /// A time that is a number answers even if it is out of range; only one that is no number falls back.
    fn second(&self) -> Option<Second> {
        let mut scratch = Vec::new();
        let unix = match self.unix_time {
            Some(Value::Number(number)) => Decimal::parse(number),
            Some(Value::String(text)) => Decimal::parse(text.bytes(&mut scratch)),
            _ => None,
        };
        match unix {
            Some(number) => number.second(),
            None => asctime::parse(text(self.calendar_time)?.bytes(&mut Vec::new())),
        }
    }

    fn inferred(&self) -> Inferred {
        if [self.unix_time, self.epoch, self.counter].into_iter().any(|field| text(field).is_some()) {
            Inferred::V2_10
        } else if !self.numerics {
            Inferred::V3_4
        } else {
            Inferred::V5_7
        }
    }

    fn body(&self) -> Option<Body<'a>> {
        if let (Some(Value::Object(object)), Some(action)) = (self.columns, self.action()) {
            return Some(Body::Row { action, columns: RawObject::from_validated(object) });
        }
        if let Some(Some((removed, added))) = self.diff_results {
            return Some(Body::Batch { removed, added });
        }
        self.snapshot.flatten().map(Body::Snapshot)
    }

    fn action(&self) -> Option<Action> {
        match text(self.action)?.bytes(&mut Vec::new()) {
            b"added" => Some(Action::Added),
            b"removed" => Some(Action::Removed),
            b"snapshot" => Some(Action::Snapshot),
            _ => None,
        }
    }
}

fn text(field: Option<Value<'_>>) -> Option<Text<'_>> {
    match field {
        Some(Value::String(text)) => Some(text),
        _ => None,
    }
}

/// An integer, as a number or a string, written with digits only.
fn unsigned(field: Option<Value<'_>>) -> Option<u64> {
    let mut scratch = Vec::new();
    let digits = match field? {
        Value::Number(number) => number,
        Value::String(text) => text.bytes(&mut scratch),
        _ => return None,
    };
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |n, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        n.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Consumes the value of `diffResults`: its removed and added rows, if well formed.
fn diff_results<'a>(scanner: &mut Scanner<'a>) -> Result<Option<(RawList<'a>, RawList<'a>)>, Fault> {
    if scanner.peek() != b'{' {
        return scanner.value(1).map(|_| None);
    }
    let (mut removed, mut added) = (Some(RawList::EMPTY), Some(RawList::EMPTY));
    scanner.object(|scanner, key| {
        match key.bytes(&mut Vec::new()) {
            b"removed" => removed = list_of_objects(scanner, 2)?,
            b"added" => added = list_of_objects(scanner, 2)?,
            _ => drop(scanner.value(2)?),
        }
        Ok(())
    })?;
    Ok(removed.zip(added))
}

/// Consumes a value inside `outer` containers: its rows, if it is a list of objects or the empty string that old agents
/// wrote for an empty list.
fn list_of_objects<'a>(scanner: &mut Scanner<'a>, outer: u32) -> Result<Option<RawList<'a>>, Fault> {
    if scanner.peek() != b'[' {
        let value = scanner.value(outer)?;
        return Ok(text(Some(value)).filter(|text| text.raw().is_empty()).map(|_| RawList::EMPTY));
    }
    let start = scanner.position();
    let mut objects = true;
    scanner.list(|scanner| {
        objects &= scanner.peek() == b'{';
        scanner.value(outer + 1).map(drop)
    })?;
    Ok(objects.then(|| RawList::from_validated(scanner.since(start))))
}

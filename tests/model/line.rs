//! One line of a log, read to what it says: a result, a status message, or nothing that can be used.
//!
//! Must stay true: every line that is not blank becomes exactly one of result, status and dead letter, and reasons are
//! tried in one fixed order, so that two readers count alike.

use std::collections::BTreeMap;

use super::json::{self, Json};
use super::{number, time};

/// A line longer than this is not read.
const LINE_BYTES_MAX: usize = 64 << 20;

/// Column → text.
pub(crate) type Row = BTreeMap<Vec<u8>, Vec<u8>>;

/// The agent version that the form of a line betrays, lowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Inferred {
    /// Numbers of the head are strings.
    V2_10,
    /// Numbers, but no key `numerics`.
    V3_4,
    /// A key `numerics`.
    V5_7,
}

/// What a line turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Line {
    /// Nothing but white space.
    Blank,
    /// A message of the agent, with the version it notes.
    Status { host: Vec<u8>, noted: Option<(i64, Vec<u8>)> },
    /// Rows of a scheduled query.
    Result(Box<ResultLine>),
    /// Unusable, with the reason.
    Dead(&'static str),
}

/// A result line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResultLine {
    pub(crate) host: Vec<u8>,
    pub(crate) name: Vec<u8>,
    pub(crate) second: i64,
    pub(crate) epoch: u64,
    pub(crate) counter: Option<u64>,
    pub(crate) inferred: Inferred,
    pub(crate) rows: Rows,
}

/// The rows of a line in its format.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Rows {
    Added(Row),
    Removed(Row),
    SnapshotRow(Row),
    Batch { removed: Vec<Row>, added: Vec<Row> },
    Snapshot(Vec<Row>),
}

/// The lines of an input with the offset of each, a byte order mark at its start skipped.
pub(crate) fn split(input: &[u8]) -> Vec<(u64, &[u8])> {
    let mut lines = Vec::new();
    let mut at = 0;
    for line in input.split(|&b| b == b'\n') {
        let text = if at == 0 { line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line) } else { line };
        lines.push((at, text));
        at += line.len() as u64 + 1;
    }
    lines
}

/// Reads one line without its line feed.
pub(crate) fn read(line: &[u8]) -> Line {
    if line.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r')) {
        return Line::Blank;
    }
    if line.len() > LINE_BYTES_MAX {
        return Line::Dead("too-long");
    }
    if json::is_too_deep(line) {
        return Line::Dead("too-deep");
    }
    let Some(value) = json::parse(line) else {
        return Line::Dead("not-json");
    };
    if !matches!(value, Json::Object(..)) {
        return Line::Dead("not-object");
    }
    let host = host(&value);
    if value.get("severity").is_some() && value.get("message").is_some() && value.get("name").is_none() {
        let noted = match (observed(&value), value.get("version")) {
            (Some(second), Some(Json::Text(version))) => Some((second, version.clone())),
            _ => None,
        };
        return Line::Status { host, noted };
    }
    let Some(Json::Text(name)) = value.get("name") else {
        return Line::Dead("no-name");
    };
    let Some(second) = observed(&value) else {
        return Line::Dead("no-time");
    };
    if ["columns", "diffResults", "snapshot"].iter().all(|key| value.get(key).is_none()) {
        return Line::Dead("no-rows");
    }
    let Some(rows) = rows(&value) else {
        return Line::Dead("bad-rows");
    };
    Line::Result(Box::new(ResultLine {
        host,
        name: name.clone(),
        second,
        epoch: counting(value.get("epoch")).unwrap_or(0),
        counter: counting(value.get("counter")),
        inferred: inferred(&value),
        rows,
    }))
}

fn host(value: &Json) -> Vec<u8> {
    for key in ["hostIdentifier", "hostname"] {
        if let Some(Json::Text(text)) = value.get(key) {
            return text.clone();
        }
    }
    Vec::new()
}

/// `unixTime` if it is a number at all, else `calendarTime`.
fn observed(value: &Json) -> Option<i64> {
    let unix = match value.get("unixTime") {
        Some(Json::Number(text) | Json::Text(text)) => number::decimal(text),
        _ => None,
    };
    if let Some(unix) = unix {
        return unix.floor().and_then(time::in_years);
    }
    match value.get("calendarTime") {
        Some(Json::Text(text)) => time::asctime(text),
        _ => None,
    }
}

fn counting(value: Option<&Json>) -> Option<u64> {
    match value {
        Some(Json::Number(text) | Json::Text(text)) => number::unsigned(text),
        _ => None,
    }
}

fn inferred(value: &Json) -> Inferred {
    if ["unixTime", "epoch", "counter"].iter().any(|key| matches!(value.get(key), Some(Json::Text(_)))) {
        Inferred::V2_10
    } else if value.get("numerics").is_none() {
        Inferred::V3_4
    } else {
        Inferred::V5_7
    }
}

fn rows(value: &Json) -> Option<Rows> {
    if let (Some(columns), Some(Json::Text(action))) = (value.get("columns").and_then(row), value.get("action")) {
        match action.as_slice() {
            b"added" => return Some(Rows::Added(columns)),
            b"removed" => return Some(Rows::Removed(columns)),
            b"snapshot" => return Some(Rows::SnapshotRow(columns)),
            _ => {}
        }
    }
    if let Some(results @ Json::Object(..)) = value.get("diffResults") {
        let list = |key: &str| results.get(key).map_or(Some(Vec::new()), row_list);
        if let (Some(removed), Some(added)) = (list("removed"), list("added")) {
            return Some(Rows::Batch { removed, added });
        }
    }
    value.get("snapshot").and_then(row_list).map(Rows::Snapshot)
}

/// A list of objects, or the empty string.
fn row_list(value: &Json) -> Option<Vec<Row>> {
    match value {
        Json::Text(text) if text.is_empty() => Some(Vec::new()),
        Json::List(elements, _) => elements.iter().map(row).collect(),
        _ => None,
    }
}

fn row(value: &Json) -> Option<Row> {
    match value {
        Json::Object(members, _) => Some(members.iter().map(|(k, v)| (k.clone(), v.to_text())).collect()),
        _ => None,
    }
}

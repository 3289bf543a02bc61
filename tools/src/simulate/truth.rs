//! The truth beside the logs: what was delivered, how the world really was, what went wrong. Fields: `truth.md`.
//!
//! Invariants:
//! - Every line is valid UTF-8 and valid JSON, whatever bytes the rows hold.
//! - A row of the world that existed at no whole second is not written.

use std::collections::BTreeMap;

use super::agent::Look;
use super::files::Files;
use super::row::Row;
use super::tables::Table;

/// The page that explains the files, written beside them.
const README: &str = include_str!("truth.md");

const LOOKS: &str = "truth/looks.ndjson";
const STATUS: &str = "truth/status.ndjson";
const WORLD: &str = "truth/world.ndjson";
const FAULTS: &str = "truth/faults.ndjson";

/// What a simulation wrote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Machines.
    pub hosts: u64,
    /// Physical lines in all files of `logs`, dead bytes and copies included.
    pub lines: u64,
    /// Bytes in all files of `logs`, before compression.
    pub bytes: u64,
    /// Runs that wrote something, lost ones included.
    pub looks: u64,
    /// Rows in those runs.
    pub rows: u64,
    /// Looks of which nothing arrived.
    pub lost: u64,
    /// Faults by kind, as in `truth/faults.ndjson`.
    pub faults: BTreeMap<&'static str, u64>,
}

/// Where everything is written.
pub(super) struct Out {
    pub(super) files: Files,
    pub(super) summary: Summary,
}

/// An extra field of a fault.
pub(super) enum Note<'a> {
    Text(&'static str, &'a str),
    Number(&'static str, i64),
}

impl Out {
    /// Begins with the page that explains the files.
    pub(super) fn new(mut files: Files) -> Out {
        files.append("truth/README.md", README.as_bytes());
        for name in [LOOKS, STATUS, WORLD, FAULTS] {
            files.append(name, b"");
        }
        Out { files, summary: Summary::default() }
    }

    /// A row that one host's table held in `[from, to)`.
    pub(super) fn row(&mut self, host: &str, table: Table, row: &Row, from: u64, to: Option<u64>) {
        if to == Some(from) {
            return;
        }
        let mut line = head("row", host);
        text(&mut line, ",\"table\":", table.name().as_bytes());
        line.extend_from_slice(b",\"row\":");
        columns(&mut line, row);
        let to = to.map_or("null".to_owned(), |to| to.to_string());
        line.extend_from_slice(format!(",\"from\":{from},\"to\":{to}}}\n").as_bytes());
        self.files.append(WORLD, &line);
    }

    /// A row that was true of one moment only.
    pub(super) fn event(&mut self, host: &str, table: Table, row: &Row, at: u64) {
        let mut line = head("event", host);
        text(&mut line, ",\"table\":", table.name().as_bytes());
        line.extend_from_slice(b",\"row\":");
        columns(&mut line, row);
        line.extend_from_slice(format!(",\"at\":{at}}}\n").as_bytes());
        self.files.append(WORLD, &line);
    }

    /// What one host's clock was ahead of the true one in `[from, to)`.
    pub(super) fn clock(&mut self, host: &str, skew: i64, from: u64, to: Option<u64>) {
        let mut line = head("clock", host);
        let to = to.map_or("null".to_owned(), |to| to.to_string());
        line.extend_from_slice(format!(",\"skew\":{skew},\"from\":{from},\"to\":{to}}}\n").as_bytes());
        self.files.append(WORLD, &line);
    }

    /// One run, with the part of it that never arrives: `None` if all of it does.
    pub(super) fn look(&mut self, host: &str, look: &Look, missing: Option<(&[Row], &[Row])>) {
        let (lost_removed, lost_added) = missing.unwrap_or_default();
        let rows = look.removed.len() + look.added.len();
        // An empty run has no rows to lose, so it is lost when anything was said to be missing.
        let lost = missing.is_some() && lost_removed.len() + lost_added.len() == rows;
        self.summary.looks += 1;
        self.summary.rows += rows as u64;
        self.summary.lost += u64::from(lost);
        let mut line = Vec::with_capacity(256);
        text(&mut line, "{\"host\":", host.as_bytes());
        text(&mut line, ",\"name\":", look.name.as_bytes());
        text(&mut line, ",\"table\":", look.table.name().as_bytes());
        text(&mut line, ",\"kind\":", look.kind.word().as_bytes());
        let version = look.version.to_string();
        line.extend_from_slice(
            format!(
                ",\"epoch\":{},\"counter\":{},\"second\":{},\"at\":{},\"version\":\"{version}\",\"full\":{},\"noise\":{},\"lost\":{lost}",
                look.epoch, look.counter, look.second, look.at, look.full, look.noise
            )
            .as_bytes(),
        );
        let mut list = |name: &str, rows: &[Row], without: &[Row]| {
            line.extend_from_slice(format!(",\"{name}\":[").as_bytes());
            counted_rows(&mut line, rows, without);
            line.push(b']');
        };
        list("removed", &look.removed, lost_removed);
        list("added", &look.added, lost_added);
        if missing.is_some() {
            list("lost_removed", lost_removed, &[]);
            list("lost_added", lost_added, &[]);
        }
        line.extend_from_slice(b"}\n");
        self.files.append(LOOKS, &line);
    }

    /// A line of an agent's own log that arrived, which names its version.
    pub(super) fn status(&mut self, host: &str, version: &str, second: u64) {
        let mut line = Vec::new();
        text(&mut line, "{\"host\":", host.as_bytes());
        line.extend_from_slice(format!(",\"version\":\"{version}\",\"second\":{second}}}\n").as_bytes());
        self.files.append(STATUS, &line);
    }

    /// Something that went wrong.
    pub(super) fn fault(&mut self, kind: &'static str, at: u64, host: Option<&str>, notes: &[Note<'_>]) {
        *self.summary.faults.entry(kind).or_default() += 1;
        let mut line = Vec::new();
        text(&mut line, "{\"fault\":", kind.as_bytes());
        line.extend_from_slice(format!(",\"at\":{at}").as_bytes());
        if let Some(host) = host {
            text(&mut line, ",\"host\":", host.as_bytes());
        }
        for note in notes {
            match note {
                Note::Text(name, value) => text(&mut line, &format!(",\"{name}\":"), value.as_bytes()),
                Note::Number(name, value) => line.extend_from_slice(format!(",\"{name}\":{value}").as_bytes()),
            }
        }
        line.extend_from_slice(b"}\n");
        self.files.append(FAULTS, &line);
    }

    /// Appends to a log file.
    pub(super) fn log(&mut self, name: &str, bytes: &[u8]) {
        self.summary.lines += bytes.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.summary.bytes += bytes.len() as u64;
        self.files.append(name, bytes);
    }
}

fn head(kind: &str, host: &str) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    text(&mut line, "{\"kind\":", kind.as_bytes());
    text(&mut line, ",\"host\":", host.as_bytes());
    line
}

/// Equal rows next to a count; `without` copies are left out.
fn counted_rows(line: &mut Vec<u8>, rows: &[Row], without: &[Row]) {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by(|a, b| a.cells().cmp(b.cells()));
    let mut first = true;
    for group in sorted.chunk_by(|a, b| a == b) {
        let count = group.len() - without.iter().filter(|&row| row == group[0]).count();
        if count > 0 {
            line.extend_from_slice(if first { b"{\"columns\":" } else { b",{\"columns\":" });
            columns(line, group[0]);
            line.extend_from_slice(format!(",\"count\":{count}}}").as_bytes());
            first = false;
        }
    }
}

fn columns(line: &mut Vec<u8>, row: &Row) {
    line.push(b'{');
    for (i, (name, cell)) in row.cells().iter().enumerate() {
        let prefix = if i == 0 { format!("\"{name}\":") } else { format!(",\"{name}\":") };
        text(line, &prefix, &cell.text());
    }
    line.push(b'}');
}

/// A text after what precedes it; bytes that are no UTF-8 as `{"hex":"…"}`.
fn text(line: &mut Vec<u8>, before: &str, value: &[u8]) {
    line.extend_from_slice(before.as_bytes());
    if std::str::from_utf8(value).is_ok() {
        super::wire::json_string(line, value, false);
    } else {
        line.extend_from_slice(b"{\"hex\":\"");
        for byte in value {
            line.extend_from_slice(format!("{byte:02x}").as_bytes());
        }
        line.extend_from_slice(b"\"}");
    }
}

//! Comma-separated values (RFC 4180), one header and one record per row.
//!
//! Fixed fields come first, by the names they have in JSON, `evidence` without its prefix; then `lossy` (`true`, or
//! absent); then the union of the rows' columns in order of their names, each as `columns.NAME`, for a column may be
//! called `host` or `time` too. Absent is an empty unquoted field, the empty text is `""`. What is not a row (coverage,
//! `known_at`) is not in this form; the command says it on standard error. Headers do not depend on the rows, but for
//! the union:
//! - `what`: `table` and `missing` come first; a missing link is a record of these two alone.
//! - `history`: versions and events share one header, and leave each other's fields absent.
//! - `coverage`: `skew` is `skew_min` and `skew_max`, `breaks` is their JSON in one field.

use super::Answer;
use super::json::{Item, Json, action, breaks, end_word, items, start_word};
use crate::when::calendar::second_text;
use erstwhile_engine::fact::Second;
use erstwhile_engine::read::answer::{Held, Version};
use erstwhile_engine::row::Row;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::{self, Write};

const VERSION: &[&str] = &["count", "from", "from_after", "to", "to_after", "start", "end", "verified"];

/// The fixed fields of an answer, `lossy` last.
fn header(answer: &Answer) -> Vec<&'static str> {
    let (first, version, then): (&[&str], bool, &[&str]) = match answer {
        Answer::State(_) | Answer::Who(_) => (&["host", "stream"], true, &["verdict", "before", "after"]),
        Answer::What(_) => (&["table", "missing", "host", "stream"], true, &["verdict", "before", "after"]),
        Answer::History(_) => (&["host", "stream", "time", "seen"], true, &[]),
        Answer::Diff(_) => (&["host", "stream", "action", "count", "verdict_from", "verdict_to"], false, &[]),
        Answer::Hosts(_) => (&["host", "streams", "first", "last", "agent_version"], false, &[]),
        Answer::Tables(_) => (&["table", "evented", "streams", "hosts", "first", "last", "assumed"], false, &[]),
        Answer::Coverage(_) => (
            &[
                "host",
                "stream",
                "kind",
                "table",
                "assumed",
                "looks",
                "first",
                "last",
                "agent_version",
                "skew_min",
                "skew_max",
                "breaks",
            ],
            false,
            &[],
        ),
    };
    let version = if version { VERSION } else { &[] };
    [first, version, then, &["lossy"]].concat()
}

/// Writes an answer's rows.
pub fn write(answer: &Answer, out: &mut dyn Write) -> io::Result<()> {
    let fixed = header(answer);
    let columns: BTreeSet<&[u8]> =
        items(answer).filter_map(|item| row(&item)).flat_map(Row::columns).map(|(name, _)| name).collect();
    let mut record = Record::default();
    for name in &fixed {
        record.text(name.as_bytes());
    }
    for name in &columns {
        record.text(&[b"columns.", *name].concat());
    }
    record.end(out)?;
    if let Answer::What(what) = answer {
        for link in &what.links {
            for held in &link.rows {
                record.text(&link.table);
                record.absent(1);
                fields(&mut record, &Item::Held(None, held));
                finish(&mut record, Some(&held.version.row), &columns, out)?;
            }
            if let Some(missing) = link.missing {
                record.text(&link.table);
                record.text(missing.words().as_bytes());
                record.absent(fixed.len() - 3);
                finish(&mut record, None, &columns, out)?;
            }
        }
        return Ok(());
    }
    for item in items(answer) {
        fields(&mut record, &item);
        finish(&mut record, row(&item), &columns, out)?;
    }
    Ok(())
}

/// The row of a thing, if it has one.
fn row<'a>(item: &Item<'a>) -> Option<&'a Row> {
    match item {
        Item::Held(_, held) => Some(&held.version.row),
        Item::Version(version) => Some(&version.row),
        Item::Event(event) => Some(&event.row),
        Item::Change(change) => Some(&change.row),
        Item::Host(_) | Item::Table(_) | Item::Stream(_) => None,
    }
}

/// A thing's fixed fields, without `lossy`.
fn fields(record: &mut Record, item: &Item<'_>) {
    match item {
        Item::Held(_, held) => self::held(record, held),
        Item::Version(row) => {
            record.text(&row.host);
            record.text(&row.stream);
            record.absent(2);
            version(record, row);
        }
        Item::Event(event) => {
            record.text(&event.host);
            record.text(&event.stream);
            record.second(Some(event.time));
            record.second(Some(event.seen));
            record.plain(event.count);
            record.absent(VERSION.len() - 1);
        }
        Item::Change(change) => {
            record.text(&change.host);
            record.text(&change.stream);
            record.plain(action(change));
            record.plain(change.count);
            record.plain(change.verdict_from.word());
            record.plain(change.verdict_to.word());
        }
        Item::Host(host) => {
            record.text(&host.host);
            record.plain(host.streams);
            record.second(Some(host.first));
            record.second(Some(host.last));
            record.optional(host.agent_version.as_deref());
        }
        Item::Table(table) => {
            record.text(&table.table);
            record.plain(table.evented);
            record.plain(table.streams);
            record.plain(table.hosts);
            record.second(Some(table.first));
            record.second(Some(table.last));
            record.plain(table.assumed);
        }
        Item::Stream(stream) => {
            record.text(&stream.host);
            record.text(&stream.stream);
            record.plain(stream.kind.word());
            record.text(&stream.table);
            record.plain(stream.assumed);
            record.plain(stream.looks);
            record.second(Some(stream.first));
            record.second(Some(stream.last));
            record.optional(stream.agent_version.as_deref());
            record.plain(stream.skew.0);
            record.plain(stream.skew.1);
            let mut list = Vec::new();
            let mut json = Json::new(&mut list);
            breaks(&mut json, &stream.breaks);
            // A vector takes every byte.
            let _ = json.flush();
            record.text(&list);
        }
    }
}

fn held(record: &mut Record, held: &Held) {
    record.text(&held.version.host);
    record.text(&held.version.stream);
    version(record, &held.version);
    record.plain(held.verdict.word());
    record.second(held.before);
    record.second(held.after);
}

fn version(record: &mut Record, version: &Version) {
    record.plain(version.count);
    record.second(Some(version.from));
    record.second(version.from_after);
    record.second(version.to);
    record.second(version.to_after);
    record.plain(start_word(version.start));
    record.plain(end_word(version.end));
    record.plain(version.verified);
}

/// Adds `lossy` and the columns, and writes the record.
fn finish(record: &mut Record, row: Option<&Row>, columns: &BTreeSet<&[u8]>, out: &mut dyn Write) -> io::Result<()> {
    let lossy = record.lossy
        || row.is_some_and(|row| {
            row.columns().any(|(name, text)| std::str::from_utf8(name).is_err() || std::str::from_utf8(text).is_err())
        });
    if lossy {
        record.plain(true);
    } else {
        record.absent(1);
    }
    let mut texts = row.map(Row::columns).into_iter().flatten().peekable();
    for column in columns {
        match texts.next_if(|(name, _)| name == column) {
            Some((_, text)) => record.text(text),
            None => record.absent(1),
        }
    }
    record.end(out)
}

/// One record under construction.
#[derive(Default)]
struct Record {
    bytes: Vec<u8>,
    begun: bool,
    lossy: bool,
}

impl Record {
    fn separate(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            self.bytes.push(b',');
        }
    }

    fn absent(&mut self, fields: usize) {
        for _ in 0..fields {
            self.separate();
        }
    }

    /// A word or a number that needs no quotes.
    fn plain(&mut self, value: impl std::fmt::Display) {
        self.separate();
        let _ = write!(self.bytes, "{value}");
    }

    fn second(&mut self, second: Option<Second>) {
        match second {
            Some(second) => self.plain(second_text(second)),
            None => self.absent(1),
        }
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text.as_bytes()),
            None => self.absent(1),
        }
    }

    fn text(&mut self, text: &[u8]) {
        self.separate();
        let text = String::from_utf8_lossy(text);
        if let Cow::Owned(_) = text {
            self.lossy = true;
        }
        if !text.is_empty() && !text.contains(['"', ',', '\r', '\n']) {
            self.bytes.extend(text.as_bytes());
            return;
        }
        self.bytes.push(b'"');
        self.bytes.extend(text.replace('"', "\"\"").as_bytes());
        self.bytes.push(b'"');
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        self.bytes.extend(b"\r\n");
        out.write_all(&self.bytes)?;
        self.bytes.clear();
        (self.begun, self.lossy) = (false, false);
        Ok(())
    }
}

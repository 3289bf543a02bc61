//! A log becomes what peers are given: its tables' columns and types, its hosts, and its rows as intervals in CSV.
//!
//! Lines are read by the project's own parser, since every peer needs them read alike; the looks are replayed here by a
//! simpler rule than the engine's (a full set replaces, a difference adds and removes), which is right for logs without
//! gaps and resends and shares no code with what is compared.
//!
//! Invariants:
//! - A version is a maximal run of seconds with one row in one count; of zero length there is none.
//! - Columns stand in the order of their names, as in the engine's rows.
//! - In CSV an unquoted `\N` is no value; every other cell is a value, and the empty text is `""`.
//!
//! Steps: [`survey`] (one pass: columns, types, hosts, span) → [`intervals`] (one pass: the files of a [`Fleet`]).

use crate::error::Result;
use erstwhile_engine::catalogue::{Catalogue, StreamMap};
use erstwhile_engine::fact::{Delivery, Kind, Name, StreamKey};
use erstwhile_engine::ingest::hold::Hold;
use erstwhile_engine::ingest::line::{Body, Line, read_line};
use erstwhile_engine::ingest::source::{LineSource, SourceLine};
use erstwhile_engine::ingest::spill::Spill;
use erstwhile_engine::io::MemoryStorage;
use erstwhile_engine::row::Row;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The `to` of a version that has not ended; below 2³¹, so that every peer may use its narrowest type.
pub(crate) const OPEN_END: i64 = 2_145_916_800;

/// Up to so many distinct texts a column is a dictionary's.
const FEW_DISTINCT: usize = 10_000;

/// The type of a column, the narrowest that holds all its texts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Type {
    /// A number of 32 bits.
    Int4,
    /// A number of 64 bits.
    Int8,
    /// Any text.
    Text,
}

/// A column.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: Type,
    /// Whether some row lacks it.
    pub(crate) nullable: bool,
    /// Whether its texts are few enough for a dictionary.
    pub(crate) few: bool,
}

/// A table with its rows in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// Whether its rows are events.
    pub(crate) event: bool,
    /// The names of the queries that bring it.
    pub(crate) names: Vec<String>,
    pub(crate) columns: Vec<Column>,
    /// Whether a row occurs in copies; then the files have a column for their number.
    pub(crate) copies: bool,
    /// `_host,_from,_to[,_copies],columns…`, or of events `_host,_seen,columns…`.
    pub(crate) file: PathBuf,
    /// What the file holds, to know whether a peer holds the same.
    pub(crate) sums: Sums,
}

/// How many rows a table has and the sums of their times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sums {
    pub(crate) rows: i64,
    /// Of `_from`, or of `_seen`.
    pub(crate) from: i64,
    /// Of `_to`; 0 for events.
    pub(crate) to: i64,
}

impl Table {
    /// A column by its name.
    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The columns that stand before the table's own.
    pub(crate) fn leading(&self) -> &'static [&'static str] {
        match (self.event, self.copies) {
            (true, _) => &["_host", "_seen"],
            (false, false) => &["_host", "_from", "_to"],
            (false, true) => &["_host", "_from", "_to", "_copies"],
        }
    }
}

/// A log and what was made of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Fleet {
    pub(crate) log: PathBuf,
    pub(crate) log_bytes: u64,
    pub(crate) lines: u64,
    /// Row changes.
    pub(crate) changes: u64,
    pub(crate) hosts: Vec<String>,
    /// The first second, and the second after the last.
    pub(crate) first: i64,
    pub(crate) end: i64,
    /// Whether every look is written as lines of one row each, the form that the peers' JSON readers are set up for.
    pub(crate) row_lines: bool,
    pub(crate) tables: Vec<Table>,
}

impl Fleet {
    /// A table by its name.
    pub(crate) fn table(&self, name: &str) -> Option<&Table> {
        self.tables.iter().find(|table| table.name == name)
    }
}

/// Hands the looks of a log, and what its lines say beside their rows as notes, to `each`, in order; tells lines, row changes, and whether all lines are of one row.
pub(crate) fn each_delivery(log: &Path, mut each: impl FnMut(Delivery) -> Result<()>) -> Result<(u64, u64, bool)> {
    let mut source = LineSource::new(log.display().to_string(), File::open(log)?);
    let spill = Spill::new(Arc::new(MemoryStorage::new()));
    let mut hold = Hold::new(Catalogue::shipped(), StreamMap::empty(), spill, usize::MAX);
    let (mut lines, mut row_lines, mut out) = (0, true, Vec::new());
    while let Some(line) = source.next_line().map_err(|error| error.to_string())? {
        let SourceLine::Line { bytes, .. } = line else { return Err("the log has a line that is too long".into()) };
        lines += 1;
        if let Line::Result(line) = read_line(bytes) {
            row_lines &= matches!(line.body, Body::Row { .. });
            hold.line(&line, &mut out)?;
            out.drain(..).try_for_each(&mut each)?;
        }
    }
    while hold.end_some(1 << 16, &mut out)? {
        out.drain(..).try_for_each(&mut each)?;
    }
    out.drain(..).try_for_each(&mut each)?;
    Ok((lines, hold.counts.rows, row_lines))
}

#[derive(Default)]
struct ColumnSurvey {
    present: u64,
    text: bool,
    wide: bool,
    distinct: FxHashSet<u64>,
}

#[derive(Default)]
struct TableSurvey {
    event: bool,
    names: BTreeSet<String>,
    columns: BTreeMap<String, ColumnSurvey>,
    rows: u64,
    copies: bool,
}

impl TableSurvey {
    fn row(&mut self, row: &Row, copies: u64) {
        self.rows += 1;
        self.copies |= copies > 1;
        for (name, text) in row.columns() {
            let name = String::from_utf8_lossy(name);
            if !self.columns.contains_key(&*name) {
                self.columns.insert(name.clone().into_owned(), ColumnSurvey::default());
            }
            let column = self.columns.get_mut(&*name).expect("it was put in");
            column.present += 1;
            if !column.text {
                match number(text) {
                    None => column.text = true,
                    Some(number) => column.wide |= i32::try_from(number).is_err(),
                }
            }
            if column.distinct.len() <= FEW_DISTINCT {
                let mut hasher = rustc_hash::FxBuildHasher.build_hasher();
                hasher.write(text);
                column.distinct.insert(hasher.finish());
            }
        }
    }

    fn table(self, name: String) -> Table {
        let rows = self.rows;
        let columns = self.columns.into_iter().map(|(name, column)| Column {
            name,
            kind: match (column.text, column.wide) {
                (true, _) => Type::Text,
                (false, true) => Type::Int8,
                (false, false) => Type::Int4,
            },
            nullable: column.present < rows,
            few: column.distinct.len() <= FEW_DISTINCT,
        });
        Table {
            name,
            event: self.event,
            names: self.names.into_iter().collect(),
            columns: columns.collect(),
            copies: self.copies && !self.event,
            file: PathBuf::new(),
            sums: Sums::default(),
        }
    }
}

/// A number whose decimal form is exactly this text.
fn number(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    let plain = text[0] != b'+' && (text == b"0" || !text.starts_with(b"0")) && !text.starts_with(b"-0");
    plain.then_some(number)
}

/// A host's stream of each table.
type StreamsOfHost = BTreeMap<Name, Arc<StreamKey>>;

/// What a log holds, without its rows.
pub(crate) fn survey(log: &Path) -> Result<Fleet> {
    let mut tables: BTreeMap<String, TableSurvey> = BTreeMap::new();
    let mut hosts: Vec<String> = Vec::new();
    let mut seen: FxHashMap<Name, StreamsOfHost> = FxHashMap::default();
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    let mut copies: FxHashMap<Arc<StreamKey>, FxHashMap<Row, u64>> = FxHashMap::default();
    let (lines, changes, row_lines) = each_delivery(log, |delivery| {
        let key = &delivery.stream;
        if key.kind == Kind::Note {
            return Ok(());
        }
        (first, last) = (first.min(delivery.second), last.max(delivery.second));
        let streams = seen.entry(key.host.clone()).or_insert_with(|| {
            hosts.push(String::from_utf8_lossy(&key.host).into_owned());
            BTreeMap::new()
        });
        let known = streams.entry(key.table.clone()).or_insert_with(|| key.clone());
        if known != key {
            return Err(format!(
                "host {} has two streams of {}; the comparison takes logs with one",
                String::from_utf8_lossy(&key.host),
                String::from_utf8_lossy(&key.table)
            )
            .into());
        }
        let name = String::from_utf8(key.table.to_vec())?;
        let table = tables.entry(name).or_default();
        table.event = key.kind == Kind::Event;
        if !table.names.contains(&*String::from_utf8_lossy(&key.name)) {
            table.names.insert(String::from_utf8(key.name.to_vec())?);
        }
        for (row, count) in &delivery.added {
            table.row(row, *count);
        }
        // A second copy may come in a later look.
        if key.kind == Kind::Diff && !table.copies {
            let held = copies.entry(key.clone()).or_default();
            for (row, count) in &delivery.removed {
                if let Some(had) = held.get_mut(row) {
                    *had = had.saturating_sub(*count);
                    if *had == 0 {
                        held.remove(row);
                    }
                }
            }
            if delivery.counter == Some(0) && delivery.removed.is_empty() {
                held.clear();
            }
            for (row, count) in &delivery.added {
                let had = held.entry(row.clone()).or_default();
                *had += count;
                table.copies |= *had > 1;
            }
        }
        Ok(())
    })?;
    Ok(Fleet {
        log: log.to_owned(),
        log_bytes: fs::metadata(log)?.len(),
        lines,
        changes,
        hosts,
        first,
        end: last + 1,
        row_lines,
        tables: tables.into_iter().map(|(name, table)| table.table(name)).collect(),
    })
}

/// A row of a table: a version, or an event seen at `from`.
pub(crate) struct Interval<'a> {
    pub(crate) host: &'a str,
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) row: &'a Row,
}

struct Out<'f, F> {
    writers: Vec<BufWriter<File>>,
    tables: &'f mut [Table],
    hosts: &'f [String],
    each: F,
}

impl<F: FnMut(&Table, Interval<'_>)> Out<'_, F> {
    fn put(&mut self, table: usize, host: usize, times: (i64, i64), copies: u64, row: &Row) -> Result<()> {
        let (from, to) = times;
        let (out, table) = (&mut self.writers[table], &mut self.tables[table]);
        write!(out, "{host},{from}")?;
        if !table.event {
            write!(out, ",{to}")?;
            table.sums.to += to;
        }
        if table.copies {
            write!(out, ",{copies}")?;
        }
        let mut cells = row.columns().peekable();
        for column in &table.columns {
            out.write_all(b",")?;
            match cells.next_if(|(name, _)| *name == column.name.as_bytes()) {
                Some((_, text)) => cell(out, text)?,
                None => out.write_all(b"\\N")?,
            }
        }
        out.write_all(b"\n")?;
        table.sums.rows += 1;
        table.sums.from += from;
        (self.each)(table, Interval { host: &self.hosts[host], from, to, row });
        Ok(())
    }
}

fn cell(out: &mut impl Write, text: &[u8]) -> std::io::Result<()> {
    let special = |byte: &u8| matches!(byte, b'"' | b',' | b'\n' | b'\r');
    let plain = !text.is_empty() && text != b"\\N" && text[0] != b' ' && !text.ends_with(b" ");
    if plain && !text.iter().any(special) {
        return out.write_all(text);
    }
    out.write_all(b"\"")?;
    for part in text.split_inclusive(|&byte| byte == b'"') {
        out.write_all(part)?;
        if part.ends_with(b"\"") {
            out.write_all(b"\"")?;
        }
    }
    out.write_all(b"\"")
}

/// What a stream holds.
#[derive(Default)]
struct Replay {
    table: usize,
    host: usize,
    epochs: BTreeSet<u64>,
    /// Copies, and since when there are so many.
    rows: FxHashMap<Row, (u64, i64)>,
}

/// Writes the rows of `log`, surveyed as (or cut from what was surveyed as) `of`, to `directory`, and tells `each`.
pub(crate) fn intervals(
    log: &Path,
    of: &Fleet,
    directory: &Path,
    each: impl FnMut(&Table, Interval<'_>),
) -> Result<Fleet> {
    let mut fleet = Fleet { log: log.to_owned(), log_bytes: fs::metadata(log)?.len(), ..of.clone() };
    fs::create_dir_all(directory)?;
    let mut writers = Vec::new();
    for table in &mut fleet.tables {
        table.file = directory.join(format!("{}.csv", table.name));
        table.sums = Sums::default();
        writers.push(BufWriter::with_capacity(1 << 20, File::create(&table.file)?));
    }
    let host_of: FxHashMap<&str, usize> = of.hosts.iter().enumerate().map(|(i, host)| (&**host, i)).collect();
    let mut streams: FxHashMap<Arc<StreamKey>, Replay> = FxHashMap::default();
    let mut out = Out { writers, tables: &mut fleet.tables, hosts: &of.hosts, each };
    let (lines, changes, row_lines) = each_delivery(log, |delivery| {
        let key = &delivery.stream;
        if key.kind == Kind::Note {
            return Ok(());
        }
        if !streams.contains_key(key) {
            let table = of.tables.iter().position(|table| table.name.as_bytes() == &*key.table);
            let host = host_of.get(&*String::from_utf8_lossy(&key.host)).copied();
            let (Some(table), Some(host)) = (table, host) else { return Err("the log changed meanwhile".into()) };
            streams.insert(key.clone(), Replay { table, host, ..Replay::default() });
        }
        let stream = streams.get_mut(key).expect("it was put in");
        let (table, host, at) = (stream.table, stream.host, delivery.second);
        if key.kind == Kind::Event {
            for (row, count) in &delivery.added {
                (0..*count).try_for_each(|_| out.put(table, host, (at, at), 1, row))?;
            }
            return Ok(());
        }
        let first_of_epoch = stream.epochs.insert(delivery.epoch);
        let full =
            key.kind == Kind::Snapshot || delivery.counter == Some(0) && delivery.removed.is_empty() && first_of_epoch;
        let mut counts: FxHashMap<&Row, (u64, u64)> = FxHashMap::default();
        delivery.removed.iter().for_each(|(row, count)| counts.entry(row).or_default().0 = *count);
        delivery.added.iter().for_each(|(row, count)| counts.entry(row).or_default().1 = *count);
        if full {
            let left: Vec<Row> = stream.rows.keys().filter(|row| !counts.contains_key(row)).cloned().collect();
            for row in left {
                let (copies, from) = stream.rows.remove(&row).expect("it is held");
                if from < at {
                    out.put(table, host, (from, at), copies, &row)?;
                }
            }
        }
        for (row, (removed, added)) in counts {
            let held = stream.rows.get(row).copied();
            let had = held.map_or(0, |(copies, _)| copies);
            let has = if full { added } else { had.saturating_sub(removed) + added };
            if has == had {
                continue;
            }
            if let Some((copies, from)) = held
                && from < at
            {
                out.put(table, host, (from, at), copies, row)?;
            }
            match has {
                0 => drop(stream.rows.remove(row)),
                _ => drop(stream.rows.insert(row.clone(), (has, at))),
            }
        }
        Ok(())
    })?;
    for stream in streams.values() {
        for (row, &(copies, from)) in &stream.rows {
            out.put(stream.table, stream.host, (from, OPEN_END), copies, row)?;
        }
    }
    for writer in &mut out.writers {
        writer.flush()?;
    }
    drop(out);
    (fleet.lines, fleet.changes, fleet.row_lines) = (lines, changes, row_lines);
    Ok(fleet)
}

/// Copies of a log the lines of those hosts, or before that second.
pub(crate) fn cut(log: &Path, to: &Path, keep: impl Fn(&[u8], i64) -> bool) -> Result<()> {
    let mut source = LineSource::new(log.display().to_string(), File::open(log)?);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(to)?);
    while let Some(line) = source.next_line().map_err(|error| error.to_string())? {
        let SourceLine::Line { bytes, .. } = line else { continue };
        let kept = match read_line(bytes) {
            Line::Result(line) => keep(&line.host, line.second),
            Line::Status(line) => line.second.is_some_and(|second| keep(&line.host, second)),
            _ => false,
        };
        if kept {
            out.write_all(bytes)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(out.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// Lines of one host's `users`: (second, counter, action, uid).
    fn log(lines: &[(i64, u64, &str, &str)]) -> String {
        let mut log = String::new();
        for (second, counter, action, uid) in lines {
            let _ = writeln!(
                log,
                r#"{{"name":"pack_x_users","hostIdentifier":"h","unixTime":{second},"epoch":0,"counter":{counter},"numerics":false,"columns":{{"uid":"{uid}","shell":""}},"action":"{action}"}}"#
            );
        }
        log
    }

    fn rows(lines: &[(i64, u64, &str, &str)]) -> (Fleet, Vec<String>) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("log");
        fs::write(&file, log(lines)).unwrap();
        let survey = survey(&file).unwrap();
        let fleet = intervals(&file, &survey, directory.path(), |_, _| {}).unwrap();
        let mut rows: Vec<String> =
            fs::read_to_string(&fleet.tables[0].file).unwrap().lines().map(str::to_owned).collect();
        rows.sort();
        (fleet, rows)
    }

    #[test]
    fn versions_last_from_the_look_that_adds_to_the_look_that_removes() {
        let (fleet, rows) =
            rows(&[(10, 0, "added", "1"), (10, 0, "added", "2"), (20, 1, "removed", "1"), (30, 2, "added", "1")]);
        let open = OPEN_END;
        let expected = ["0,10,20,\"\",1".to_owned(), format!("0,10,{open},\"\",2"), format!("0,30,{open},\"\",1")];
        assert_eq!(rows, expected);
        let sums = fleet.table("users").unwrap().sums;
        assert_eq!((sums.rows, sums.from, sums.to), (3, 50, 20 + 2 * open));
    }

    #[test]
    fn what_one_look_removes_and_adds_again_has_not_changed() {
        let (_, rows) = rows(&[(10, 0, "added", "1"), (20, 1, "removed", "1"), (20, 1, "added", "1")]);
        assert_eq!(rows, [format!("0,10,{OPEN_END},\"\",1")]);
    }

    #[test]
    fn copies_are_counted_and_a_count_is_a_version_of_its_own() {
        let (fleet, rows) = rows(&[(10, 0, "added", "1"), (20, 1, "added", "1"), (30, 2, "removed", "1")]);
        assert!(fleet.tables[0].copies);
        assert_eq!(
            rows,
            ["0,10,20,1,\"\",1".to_owned(), "0,20,30,2,\"\",1".to_owned(), format!("0,30,{OPEN_END},1,\"\",1")]
        );
    }

    #[test]
    fn a_column_is_a_number_only_if_its_texts_are_those_of_numbers() {
        let kind = |uids: [&'static str; 2]| {
            let (fleet, _) = rows(&[(10, 0, "added", uids[0]), (10, 0, "added", uids[1])]);
            fleet.tables[0].column("uid").unwrap().kind
        };
        assert_eq!(kind(["0", "-5"]), Type::Int4);
        assert_eq!(kind(["0", "4294967295"]), Type::Int8);
        for text in ["007", "+1", "-0", "", "1.0", "9223372036854775808"] {
            assert_eq!(kind(["0", text]), Type::Text, "{text:?}");
        }
    }

    #[test]
    fn csv_keeps_every_text_and_tells_nothing_from_a_text() {
        let texts = ["", "\\N", "a,b", "say \"no\"", "two\nlines", " edge ", "plain"];
        let mut file = Vec::new();
        for text in texts {
            cell(&mut file, text.as_bytes()).unwrap();
            file.push(b',');
        }
        file.extend(b"\\N\n");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&file[..]);
        let record = reader.records().next().unwrap().unwrap();
        assert_eq!(record.iter().collect::<Vec<_>>()[..texts.len()], texts);
        assert!(file.starts_with(b"\"\",\"\\N\","), "only nothing is written without quotes");
    }
}

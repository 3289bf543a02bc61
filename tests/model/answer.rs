//! The questions, and the one form of each answer.
//!
//! Must stay true: every list has one order, every field is always there, and nothing is listed that the evidence does
//! not carry.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use serde_json::{Map, Value, json};

use super::catalogue::Type;
use super::line::{Inferred, Row};
use super::verdict::{Class, Instant, Verdict};
use super::versions::Version;
use super::{Kind, Model, Stream, View, Wrong, address, loss, number, time};

/// A row that an answer lists, with its evidence.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) host: Vec<u8>,
    pub(crate) stream: Vec<u8>,
    pub(crate) row: Rc<Row>,
    pub(crate) count: u64,
    pub(crate) verdict: Verdict,
    pub(crate) version: Version,
    pub(crate) from_after: Option<i64>,
    pub(crate) to_after: Option<i64>,
    pub(crate) before: Option<i64>,
    pub(crate) after: Option<i64>,
}

impl Found {
    /// Are both copies of one row version?
    pub(crate) fn is_of_same_version(&self, other: &Found) -> bool {
        let key = |f: &Found| (f.version.from, f.version.to, f.version.verified, f.version.count);
        (&self.host, &self.stream, &self.row, key(self)) == (&other.host, &other.stream, &other.row, key(other))
    }
}

/// A stream whose kind answers for its name, at the instant asked for.
type Answering<'a> = (&'a Stream, Instant<'a>);

/// Time, host, stream and row of an event, in the order in which events are listed.
type Event = (i64, Vec<u8>, Vec<u8>, Rc<Row>);

/// Which rows of which hosts are asked for.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) table: &'a [u8],
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) stream: Option<&'a [u8]>,
}

/// An object whose strings may have been cut from bytes; it tells if any was not UTF-8.
struct Form {
    fields: Map<String, Value>,
    lossy: bool,
}

impl Form {
    fn new() -> Form {
        Form { fields: Map::new(), lossy: false }
    }

    fn put(&mut self, key: &str, value: Value) {
        self.fields.insert(key.to_owned(), value);
    }

    fn put_bytes(&mut self, key: &str, bytes: &[u8]) {
        self.lossy |= std::str::from_utf8(bytes).is_err();
        self.put(key, text(bytes));
    }

    fn put_columns(&mut self, row: &Row) {
        let mut columns = Map::new();
        for (column, value) in row {
            self.lossy |= std::str::from_utf8(column).is_err() || std::str::from_utf8(value).is_err();
            columns.insert(String::from_utf8_lossy(column).into_owned(), text(value));
        }
        self.put("columns", Value::Object(columns));
    }

    fn into_row(mut self) -> Value {
        if self.lossy {
            self.put("lossy", Value::Bool(true));
        }
        Value::Object(self.fields)
    }
}

/// Bytes as a string; one U+FFFD for each maximal part that is not UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Value {
    Value::String(String::from_utf8_lossy(bytes).into_owned())
}

/// A second, or null.
pub(crate) fn second(at: Option<i64>) -> Value {
    at.map_or(Value::Null, |at| Value::String(time::rfc3339(at)))
}

/// A recorded time, or null.
pub(crate) fn micros(at: Option<i64>) -> Value {
    at.map_or(Value::Null, |at| Value::String(time::rfc3339_micros(at)))
}

fn version_row(found: &Found, with_evidence: bool) -> Value {
    let mut form = Form::new();
    form.put_bytes("host", &found.host);
    form.put_bytes("stream", &found.stream);
    form.put_columns(&found.row);
    form.put("count", found.count.into());
    form.put("from", second(Some(found.version.from)));
    form.put("from_after", second(found.from_after));
    form.put("to", second(found.version.to));
    form.put("to_after", second(found.to_after));
    form.put("start", found.version.start.into());
    form.put("end", found.version.end.into());
    form.put("verified", found.version.verified.into());
    if with_evidence {
        let (verdict, before, after) = (found.verdict.word(), second(found.before), second(found.after));
        form.put("evidence", json!({"verdict": verdict, "before": before, "after": after}));
    }
    form.into_row()
}

/// The rows of an answer.
pub(crate) fn rows_value(found: &[Found]) -> Value {
    found.iter().map(|f| version_row(f, true)).collect()
}

impl Stream {
    fn found(&self, version: &Version, count: u64, verdict: Verdict, instant: Option<&Instant<'_>>) -> Found {
        Found {
            host: self.key.host.clone(),
            stream: self.key.name.clone(),
            row: Rc::clone(&version.row),
            count,
            verdict,
            version: version.clone(),
            from_after: self.timeline.look_before(version.from),
            to_after: version.to.and_then(|to| self.timeline.look_before(to)),
            before: instant.and_then(Instant::before),
            after: instant.and_then(Instant::after),
        }
    }

    /// Those of its looks; where it has none, what is known of those that are lost.
    fn seconds(&self) -> impl Iterator<Item = i64> {
        let lost = if self.looks.is_empty() { loss::extent(&self.lost) } else { None };
        let lost = lost.into_iter().flat_map(|(first, last)| [first, last]);
        self.looks.iter().map(|look| look.key.second).chain(lost)
    }
}

/// The order of rows: host, stream, row, from, verdict; then what is verified first.
fn sort_rows(rows: &mut [Found]) {
    rows.sort_by(|a, b| {
        let key = |f: &Found| (f.version.from, f.verdict, !f.version.verified, f.version.to.unwrap_or(i64::MAX));
        (&a.host, &a.stream, &a.row, key(a)).cmp(&(&b.host, &b.stream, &b.row, key(b)))
    });
}

impl View<'_> {
    /// Streams of a table, of the hosts and names asked for.
    fn of(&self, scope: Scope<'_>) -> impl Iterator<Item = &Stream> {
        self.streams.iter().filter(move |s| {
            s.key.table == scope.table
                && scope.host.is_none_or(|host| s.key.host == host)
                && scope.stream.is_none_or(|name| s.key.name == name)
        })
    }

    /// For each host and name the stream whose kind answers at the instant.
    fn answering(&self, scope: Scope<'_>, at: i64) -> Vec<Answering<'_>> {
        let mut names: BTreeMap<(&[u8], &[u8]), Vec<Answering<'_>>> = BTreeMap::new();
        for stream in self.of(scope).filter(|s| s.key.has_state()) {
            let instant = Instant::new(&stream.timeline, at, self.model.rules);
            names.entry((&stream.key.host, &stream.key.name)).or_default().push((stream, instant));
        }
        let best = |(stream, instant): &Answering<'_>| {
            let is_snapshot = stream.key.kind == Kind::Snapshot;
            let first = self.model.rules == Wrong::SnapshotKindFirst && is_snapshot;
            let earliness = if instant.before().is_none() { instant.after().map(|b| -b) } else { None };
            (first, instant.before(), earliness, is_snapshot)
        };
        names.into_values().filter_map(|kinds| kinds.into_iter().max_by_key(best)).collect()
    }

    /// The rows at an instant that the filter lets through, in the order of rows.
    pub(crate) fn rows_at(
        &self,
        scope: Scope<'_>,
        at: i64,
        with_only_after: bool,
        filter: &dyn Fn(&Row) -> bool,
    ) -> Vec<Found> {
        let mut rows = Vec::new();
        for (stream, instant) in self.answering(scope, at) {
            let mut copies = instant.rows();
            if with_only_after {
                copies.append(&mut instant.only_after());
            }
            copies.retain(|c| filter(&c.version.row));
            rows.extend(copies.iter().map(|c| stream.found(c.version, c.count, c.verdict, Some(&instant))));
        }
        sort_rows(&mut rows);
        rows
    }

    /// The class of a host for a table, with the cause where it is unknown; nothing if it has no stream of the table.
    pub(crate) fn class(&self, scope: Scope<'_>, at: i64) -> Option<(Class, &'static str)> {
        let streams = self.answering(scope, at);
        let classes = streams.iter().map(|(_, instant)| instant.class());
        let class = if self.model.rules == Wrong::WorstStreamCounts { classes.max() } else { classes.min() }?;
        let speaks = streams.iter().find(|(_, instant)| instant.class() == class)?;
        Some((class, if class == Class::Unknown { speaks.1.cause() } else { "" }))
    }

    /// How many hosts can speak, and which cannot.
    pub(crate) fn coverage_counts(&self, scope: Scope<'_>, at: i64) -> Value {
        let hosts: BTreeSet<&[u8]> = self
            .streams
            .iter()
            .map(|s| s.key.host.as_slice())
            .filter(|host| scope.host.is_none_or(|asked| asked == *host))
            .collect();
        let (mut covered, mut presumed, mut unknown, mut never, mut assumed) = (0_u64, 0_u64, 0_u64, 0_u64, 0_u64);
        let mut unknown_hosts = Vec::new();
        for host in hosts {
            let here = Scope { host: Some(host), ..scope };
            assumed += u64::from(self.of(here).any(|s| s.key.has_state() && s.assumed));
            match self.class(here, at) {
                Some((Class::Covered, _)) => covered += 1,
                Some((Class::Presumed, _)) => presumed += 1,
                Some((Class::Unknown, cause)) => {
                    unknown += 1;
                    unknown_hosts.push(json!({"host": text(host), "cause": cause}));
                }
                None if scope.stream.is_none() => never += 1,
                None => {}
            }
        }
        let more = unknown_hosts.len().saturating_sub(100);
        unknown_hosts.truncate(100);
        if more > 0 {
            unknown_hosts.push(json!({"more": more}));
        }
        json!({"covered": covered, "presumed": presumed, "unknown": unknown, "never": never, "assumed": assumed,
            "unknown_hosts": unknown_hosts})
    }

    /// Does a row fulfil every `COL=VALUE`?
    fn matches(&self, table: &[u8], row: &Row, wheres: &[(String, String)]) -> bool {
        wheres.iter().all(|(column, value)| {
            let is_number = self.model.catalogue.column_type(table, column.as_bytes()) != Type::Text;
            let is_number = is_number && self.model.rules != Wrong::WhereAsText;
            row.get(column.as_bytes()).is_some_and(|held| is_equal(held, value.as_bytes(), is_number))
        })
    }

    /// `state` and `diff` refuse what has no state.
    fn refuse_stateless(&self, scope: Scope<'_>) -> Result<(), String> {
        let table = String::from_utf8_lossy(scope.table);
        if self.model.catalogue.is_evented(scope.table) {
            return Err(format!("{table} holds events: ask `history {table}`"));
        }
        let everywhere = Scope { host: None, ..scope };
        let Some(stateless) = self.of(everywhere).find(|s| s.key.sightings) else {
            return Ok(());
        };
        if scope.stream.is_some() || self.of(everywhere).all(|s| s.key.sightings) {
            let name = String::from_utf8_lossy(&stateless.key.name);
            return Err(format!(
                "stream {name} is declared without removed rows: it has no state, ask `history {table}`"
            ));
        }
        Ok(())
    }

    /// The agent version in force at the last second of the streams' looks, as text; the lowest where several looks share
    /// it. Of streams that have none, what was told for the last of those that are lost.
    fn agent_version(&self, host: &[u8], streams: &[&Stream]) -> Value {
        let looks = streams.iter().flat_map(|stream| &stream.looks).map(|look| (look.key.second, look.inferred));
        let looks: Vec<(i64, Inferred)> = looks.collect();
        let rules = self.model.rules;
        let last = looks.iter().map(|(at, _)| *at).max();
        let inferred = looks.iter().filter(|(at, _)| Some(*at) == last).map(|(_, inferred)| *inferred).min();
        match (last, inferred) {
            (Some(at), Some(inferred)) => text(&self.model.agents.at(host, at, inferred, self.limit, rules).1),
            _ => {
                let last = streams.iter().filter_map(|stream| Some(loss::extent(&stream.lost)?.1)).max();
                let known = last.and_then(|at| self.model.agents.known(host, at, self.limit, rules));
                known.map_or(Value::Null, |known| text(&known.1))
            }
        }
    }
}

/// Texts are equal; or, where numbers are meant and both are decimal numbers, their values are.
pub(crate) fn is_equal(held: &[u8], asked: &[u8], as_numbers: bool) -> bool {
    match (number::decimal(held), number::decimal(asked)) {
        (Some(held), Some(asked)) if as_numbers => held == asked,
        _ => held == asked,
    }
}

impl Model {
    /// The rows of a table at an instant.
    ///
    /// # Errors
    /// The table holds events, or only streams without state are meant.
    pub fn state(
        &self,
        table: &str,
        at: i64,
        host: Option<&[u8]>,
        wheres: &[(String, String)],
        stream: Option<&[u8]>,
        known_at: Option<i64>,
    ) -> Result<Value, String> {
        let view = self.view(known_at);
        let scope = Scope { table: table.as_bytes(), host, stream };
        view.refuse_stateless(scope)?;
        let rows = view.rows_at(scope, at, false, &|row| view.matches(scope.table, row, wheres));
        Ok(json!({"table": table, "at": second(Some(at)), "known_at": micros(view.shown), "rows": rows_value(&rows),
            "coverage": view.coverage_counts(scope, at), "cost": {}}))
    }

    fn who(
        &self,
        question: &str,
        table: &str,
        at: i64,
        host: Option<&[u8]>,
        known_at: Option<i64>,
        filter: &dyn Fn(&Row) -> bool,
    ) -> Value {
        let view = self.view(known_at);
        let scope = Scope { table: table.as_bytes(), host, stream: None };
        let mut rows = view.rows_at(scope, at, true, filter);
        rows.sort_by_key(|found| found.verdict);
        json!({"question": question, "at": second(Some(at)), "known_at": micros(view.shown), "rows": rows_value(&rows),
            "coverage": view.coverage_counts(scope, at), "cost": {}})
    }

    /// Which hosts had an address at an instant.
    ///
    /// # Errors
    /// None today; the form is that of the other questions.
    pub fn who_ip(&self, address: &str, at: i64, host: Option<&[u8]>, known_at: Option<i64>) -> Result<Value, String> {
        let filter = |row: &Row| {
            row.get(b"address".as_slice()).is_some_and(|held| address::is_same(address.as_bytes(), held, self.rules))
        };
        Ok(self.who(&format!("who ip {address}"), "interface_addresses", at, host, known_at, &filter))
    }

    /// Which users had a uid at an instant.
    ///
    /// # Errors
    /// None today; the form is that of the other questions.
    pub fn who_uid(&self, uid: &str, at: i64, host: Option<&[u8]>, known_at: Option<i64>) -> Result<Value, String> {
        let filter = |row: &Row| row.get(b"uid".as_slice()).is_some_and(|held| is_equal(held, uid.as_bytes(), true));
        Ok(self.who(&format!("who uid {uid}"), "users", at, host, known_at, &filter))
    }

    /// Row versions, events and sightings of a table that overlap `between`, its end exclusive, `None` unbounded.
    ///
    /// # Errors
    /// None today; the form is that of the other questions.
    pub fn history(
        &self,
        table: &str,
        host: Option<&[u8]>,
        wheres: &[(String, String)],
        between: (Option<i64>, Option<i64>),
        stream: Option<&[u8]>,
        known_at: Option<i64>,
    ) -> Result<Value, String> {
        let (from, to) = between;
        let view = self.view(known_at);
        let scope = Scope { table: table.as_bytes(), host, stream };
        let is_inside = |at: i64| from.is_none_or(|from| from <= at) && to.is_none_or(|to| at < to);
        let overlaps = |v: &Version| match v.to {
            Some(end) if end == v.from => is_inside(end),
            end => to.is_none_or(|to| v.from < to) && from.is_none_or(|from| end.is_none_or(|end| from < end)),
        };
        let mut rows = Vec::new();
        let mut events: BTreeMap<Event, (i64, u64)> = BTreeMap::new();
        for stream in view.of(scope) {
            for version in stream.timeline.versions.iter().filter(|v| overlaps(v)) {
                rows.push(stream.found(version, version.count, Verdict::Unknown, None));
            }
            for look in stream.looks.iter().filter(|_| !stream.key.has_state()) {
                let seen = look.key.second;
                for (row, n) in &look.added {
                    let time = if stream.key.kind == Kind::Event { self.event_time(row, seen) } else { seen };
                    let key = (time, stream.key.host.clone(), stream.key.name.clone(), Rc::clone(row));
                    let event = events.entry(key).or_insert((seen, 0));
                    event.0 = event.0.min(seen);
                    event.1 = if self.rules == Wrong::EventsDoNotAddUp { event.1.max(*n) } else { event.1 + n };
                }
            }
        }
        rows.retain(|found| view.matches(scope.table, &found.row, wheres));
        events.retain(|(time, _, _, row), _| is_inside(*time) && view.matches(scope.table, row, wheres));
        sort_versions(&mut rows);
        let rows = rows.iter().map(|found| version_row(found, false));
        let events = events.into_iter().map(|((time, host, stream, row), (seen, count))| {
            let mut form = Form::new();
            form.put_bytes("host", &host);
            form.put_bytes("stream", &stream);
            form.put("time", second(Some(time)));
            form.put("seen", second(Some(seen)));
            form.put_columns(&row);
            form.put("count", count.into());
            form.into_row()
        });
        let rows: Vec<Value> = rows.chain(events).collect();
        Ok(json!({"table": table, "from": second(from), "to": second(to), "known_at": micros(view.shown), "rows": rows,
            "cost": {}}))
    }

    /// The integer column `time`, if it is within the years of the log; else the observed second.
    fn event_time(&self, row: &Row, seen: i64) -> i64 {
        let written = row.get(b"time".as_slice()).filter(|_| self.rules != Wrong::EventTimeIgnored);
        let integer = written.and_then(|text| number::unsigned(text)).and_then(|n| i64::try_from(n).ok());
        integer.and_then(time::in_years).unwrap_or(seen)
    }

    /// What a table of a host gained and lost between two instants.
    ///
    /// # Errors
    /// The second instant is before the first, or what is meant has no state.
    pub fn diff(
        &self,
        table: &str,
        host: &[u8],
        from: i64,
        to: i64,
        stream: Option<&[u8]>,
        known_at: Option<i64>,
    ) -> Result<Value, String> {
        if from > to {
            return Err("the second instant is before the first".to_owned());
        }
        let view = self.view(known_at);
        let scope = Scope { table: table.as_bytes(), host: Some(host), stream };
        view.refuse_stateless(scope)?;
        let class = |instant: &Instant<'_>| match instant.class() {
            Class::Covered => "definite",
            Class::Presumed => "presumed",
            Class::Unknown => "unknown",
        };
        let mut rows = Vec::new();
        // Both lists hold the same names in the same order: which kind answers may differ, which names there are may not.
        for ((stream, early), (_, late)) in view.answering(scope, from).into_iter().zip(view.answering(scope, to)) {
            let (old, new) = (early.totals(), late.totals());
            let all: BTreeSet<&Rc<Row>> = old.keys().chain(new.keys()).collect();
            for row in all {
                let (was, is) = (old.get(row).copied().unwrap_or(0), new.get(row).copied().unwrap_or(0));
                if was == is {
                    continue;
                }
                let mut form = Form::new();
                form.put_bytes("host", host);
                form.put_bytes("stream", &stream.key.name);
                form.put("action", if is > was { "added" } else { "removed" }.into());
                form.put_columns(row);
                form.put("count", is.abs_diff(was).into());
                form.put("verdict_from", class(&early).into());
                form.put("verdict_to", class(&late).into());
                rows.push(form.into_row());
            }
        }
        Ok(json!({"table": table, "host": text(host), "from": second(Some(from)), "to": second(Some(to)),
            "known_at": micros(view.shown), "rows": rows, "cost": {}}))
    }

    /// The hosts that have any look.
    ///
    /// # Errors
    /// None today; the form is that of the other questions.
    pub fn hosts(&self, known_at: Option<i64>) -> Result<Value, String> {
        let view = self.view(known_at);
        let mut hosts: BTreeMap<&[u8], Vec<&Stream>> = BTreeMap::new();
        view.streams.iter().for_each(|s| hosts.entry(&s.key.host).or_default().push(s));
        let hosts: Vec<Value> = hosts
            .into_iter()
            .map(|(host, streams)| {
                json!({"host": text(host), "streams": streams.len(), "first": first(&streams), "last": last(&streams),
                    "agent_version": view.agent_version(host, &streams)})
            })
            .collect();
        Ok(json!({"hosts": hosts}))
    }

    /// The tables that have any look.
    ///
    /// # Errors
    /// None today; the form is that of the other questions.
    pub fn tables(&self, known_at: Option<i64>) -> Result<Value, String> {
        let view = self.view(known_at);
        let mut tables: BTreeMap<&[u8], Vec<&Stream>> = BTreeMap::new();
        view.streams.iter().for_each(|s| tables.entry(&s.key.table).or_default().push(s));
        let tables: Vec<Value> = tables
            .into_iter()
            .map(|(table, streams)| {
                let hosts: BTreeSet<&[u8]> = streams.iter().map(|s| s.key.host.as_slice()).collect();
                let assumed: BTreeSet<&[u8]> =
                    streams.iter().filter(|s| s.assumed).map(|s| s.key.host.as_slice()).collect();
                json!({"table": text(table), "evented": self.catalogue.is_evented(table), "streams": streams.len(),
                    "hosts": hosts.len(), "first": first(&streams), "last": last(&streams), "assumed": assumed.len()})
            })
            .collect();
        Ok(json!({"tables": tables}))
    }

    /// Every stream, with its breaks.
    ///
    /// # Errors
    /// None today; the form is that of the other questions.
    pub fn coverage(&self, table: Option<&str>, host: Option<&[u8]>, known_at: Option<i64>) -> Result<Value, String> {
        let view = self.view(known_at);
        let streams = view.streams.iter().filter(|s| {
            table.is_none_or(|table| s.key.table == table.as_bytes()) && host.is_none_or(|host| s.key.host == host)
        });
        let streams: Vec<Value> = streams
            .map(|stream| {
                let skews = stream.looks.iter().map(|l| (l.recorded - l.key.second * 1_000_000).div_euclid(1_000_000));
                let skews: Vec<i64> = skews.collect();
                let breaks: Vec<Value> = (stream.timeline.breaks.iter())
                    .map(|b| json!({"from": second(b.begin), "to": second(b.end), "cause": b.cause.word()}))
                    .collect();
                json!({"host": text(&stream.key.host), "stream": text(&stream.key.name),
                    "kind": stream.key.kind.word(), "table": text(&stream.key.table), "assumed": stream.assumed,
                    "looks": stream.looks.len(), "first": first(&[stream]), "last": last(&[stream]),
                    "agent_version": view.agent_version(&stream.key.host, &[stream]),
                    "skew": [skews.iter().min().unwrap_or(&0), skews.iter().max().unwrap_or(&0)], "breaks": breaks})
            })
            .collect();
        Ok(json!({"streams": streams}))
    }
}

/// The seconds of all looks; where there is none, of what is lost.
fn seconds(streams: &[&Stream]) -> Vec<i64> {
    let of =
        |has_looks: bool| streams.iter().filter(move |s| s.looks.is_empty() != has_looks).flat_map(|s| s.seconds());
    let looks: Vec<i64> = of(true).collect();
    if looks.is_empty() { of(false).collect() } else { looks }
}

fn first(streams: &[&Stream]) -> Value {
    second(seconds(streams).into_iter().min())
}

fn last(streams: &[&Stream]) -> Value {
    second(seconds(streams).into_iter().max())
}

/// The order of versions: as rows, then the earlier end, then what is verified first.
fn sort_versions(rows: &mut [Found]) {
    rows.sort_by(|a, b| {
        let key = |f: &Found| (f.version.from, f.version.to.unwrap_or(i64::MAX), !f.version.verified);
        (&a.host, &a.stream, &a.row, key(a)).cmp(&(&b.host, &b.stream, &b.row, key(b)))
    });
}

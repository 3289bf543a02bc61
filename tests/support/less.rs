//! Whether one store tells no more than another, or than the naive model: every answer is the same, or less sure, or
//! unknown.

use crate::model::{Model, rfc3339};
use crate::support::workload::history;
use erstwhile_engine::error::Error;
use erstwhile_engine::fact::{Micros, Name, Second};
use erstwhile_engine::read::answer::{Cause, Cost, HistoryRow, Verdict};
use erstwhile_engine::read::question::{ListQuestion, StateQuestion};
use erstwhile_engine::read::view::View;
use erstwhile_engine::row::{Row, RowBuilder};
use serde_json::Value;
use std::collections::BTreeMap;

/// How surely a host speaks for a table at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Covered or presumed.
    Known,
    /// Unknown.
    Unknown,
    /// It has no stream of the table.
    Never,
}

impl Speaks {
    /// One host, by whether it is among these.
    fn of(known: u64, unknown: u64) -> Speaks {
        match (known, unknown) {
            (1.., _) => Speaks::Known,
            (0, 1..) => Speaks::Unknown,
            (0, 0) => Speaks::Never,
        }
    }
}

/// A host's table at a time, as of a recorded time.
type Place = (Name, Name, Second, Option<Micros>);

/// A row in words, its copies and its verdict.
type RowTold = (String, u64, Verdict);

/// What a store tells.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Rows with copies and verdicts, and how surely the host speaks.
    states: BTreeMap<Place, (Speaks, Vec<RowTold>)>,
    /// Events of tables, with how often.
    events: BTreeMap<(Name, String), u64>,
    /// Streams of event tables of which something is said to be lost.
    events_lost: Vec<Name>,
}

/// Asks a store for each host's rows of each table at these times, as of these recorded times, and for its events.
pub fn tell(view: &View, times: &[Second], known_at: &[Option<Micros>]) -> Result<Told, Error> {
    let mut told = Told::default();
    let hosts = view.hosts(Micros::MAX, &mut Cost::default())?;
    for table in view.tables()? {
        if table.ends_with(b"_events") {
            for row in view.history(&history(&table))?.rows {
                if let HistoryRow::Event(event) = row {
                    let time = rfc3339(event.time);
                    let text = format!("{:?} {:?} {time} {:?}", event.host, event.stream, event.row);
                    *told.events.entry((table.clone(), text)).or_default() += event.count;
                }
            }
            continue;
        }
        for (host, at, known_at) in hosts
            .iter()
            .flat_map(|host| times.iter().map(move |at| (host, *at)))
            .flat_map(|(host, at)| known_at.iter().map(move |known_at| (host, at, *known_at)))
        {
            let state = view.state(&StateQuestion {
                table: table.clone(),
                at,
                host: Some(host.clone()),
                stream: None,
                wheres: Vec::new(),
                known_at,
            })?;
            let coverage = &state.coverage;
            let speaks = Speaks::of(coverage.covered + coverage.presumed, coverage.unknown);
            let row = |held: &erstwhile_engine::read::answer::Held| {
                (format!("{:?} {:?}", held.version.stream, held.version.row), held.version.count, held.verdict)
            };
            let mut rows: Vec<_> = state.rows.iter().map(row).collect();
            rows.sort();
            told.states.insert((table.clone(), host.clone(), at, known_at), (speaks, rows));
        }
    }
    for stream in view.list_streams(&ListQuestion::default())? {
        if stream.table.ends_with(b"_events") && stream.breaks.iter().any(|lost| lost.cause == Cause::Damage) {
            told.events_lost.push(stream.table);
        }
    }
    Ok(told)
}

fn name(value: &Value) -> Name {
    Name::from(value.as_str().unwrap_or_default().as_bytes())
}

/// The row of an answer as a store has it.
fn row(answer: &Value) -> Row {
    let mut builder = RowBuilder::new();
    let columns = answer["columns"].as_object().into_iter().flatten();
    columns.for_each(|(column, value)| builder.column(column.as_bytes(), &name(value)));
    builder.row()
}

/// Asks the model the same.
pub fn tell_model(model: &Model, times: &[Second], known_at: &[Option<Micros>]) -> Result<Told, String> {
    let mut told = Told::default();
    let list = |answer: Value, of: &str| answer[of].as_array().cloned().unwrap_or_default();
    let hosts = list(model.hosts(None)?, "hosts");
    for table in list(model.tables(None)?, "tables") {
        let table = table["table"].as_str().unwrap_or_default();
        if table.ends_with("_events") {
            for event in list(model.history(table, None, &[], (None, None), None, None)?, "rows") {
                let [host, stream] = ["host", "stream"].map(|field| name(&event[field]));
                let time = event["time"].as_str().unwrap_or_default();
                let text = format!("{host:?} {stream:?} {time} {:?}", row(&event));
                let count = event["count"].as_u64().unwrap_or_default();
                *told.events.entry((Name::from(table.as_bytes()), text)).or_default() += count;
            }
            continue;
        }
        for host in hosts.iter().map(|host| name(&host["host"])) {
            for (at, known_at) in times.iter().flat_map(|at| known_at.iter().map(move |known_at| (*at, *known_at))) {
                let state = model.state(table, at, Some(&host), &[], None, known_at)?;
                let hosts = |class: &str| state["coverage"][class].as_u64().unwrap_or_default();
                let speaks = Speaks::of(hosts("covered") + hosts("presumed"), hosts("unknown"));
                let held = |held: &Value| {
                    let verdict = match held["evidence"]["verdict"].as_str() {
                        Some("definite") => Verdict::Definite,
                        Some("presumed") => Verdict::Presumed,
                        Some("possible") => Verdict::Possible,
                        _ => Verdict::Unknown,
                    };
                    let text = format!("{:?} {:?}", name(&held["stream"]), row(held));
                    (text, held["count"].as_u64().unwrap_or_default(), verdict)
                };
                let mut rows: Vec<_> = list(state.clone(), "rows").iter().map(held).collect();
                rows.sort();
                told.states.insert((Name::from(table.as_bytes()), host.clone(), at, known_at), (speaks, rows));
            }
        }
    }
    Ok(told)
}

impl Told {
    /// Why this tells more than `whole` does, or other things; `None` if it does not.
    pub fn exceeds(&self, whole: &Told) -> Option<String> {
        for (place, (speaks, rows)) in &self.states {
            let Some((spoke, had)) = whole.states.get(place) else {
                if *speaks == Speaks::Known || rows.iter().any(|row| row.2 != Verdict::Unknown) {
                    return Some(format!("{place:?} is told, and was not"));
                }
                continue;
            };
            for (row, count, verdict) in rows.iter().filter(|row| row.2 != Verdict::Unknown) {
                if !had.iter().any(|had| had.0 == *row && had.1 >= *count && had.2 <= *verdict) {
                    return Some(format!("{place:?}: {row} {count} {verdict:?} is told of {had:?}"));
                }
            }
            match (speaks, spoke) {
                (Speaks::Unknown, _) => {}
                (speaks, spoke) if speaks != spoke => {
                    return Some(format!("{place:?} is {speaks:?}, it was {spoke:?}"));
                }
                _ => {
                    let rows_of =
                        |rows: &[RowTold]| -> Vec<_> { rows.iter().map(|row| (row.0.clone(), row.1)).collect() };
                    if rows_of(rows) != rows_of(had) {
                        return Some(format!("{place:?}: {rows:?} are told, {had:?} were"));
                    }
                }
            }
        }
        for (place, (spoke, _)) in &whole.states {
            if *spoke != Speaks::Never && !self.states.contains_key(place) {
                return Some(format!("{place:?} is not told of, not even that it is unknown"));
            }
        }
        for ((table, event), count) in &self.events {
            if whole.events.get(&(table.clone(), event.clone())).is_none_or(|had| had < count) {
                return Some(format!("{event} is told {count} times"));
            }
        }
        for ((table, event), count) in &whole.events {
            let is_there = self.events.get(&(table.clone(), event.clone())) == Some(count);
            if !is_there && !self.events_lost.contains(table) {
                return Some(format!("{event} is gone, and nothing says that events are lost"));
            }
        }
        None
    }

    /// The tables, hosts and times of which `whole` knows and this does not.
    pub fn silenced<'t>(&'t self, whole: &'t Told) -> impl Iterator<Item = (&'t Name, &'t Name, Second)> {
        let knows = |(speaks, _): &(Speaks, _)| *speaks == Speaks::Known;
        let is_silenced =
            move |(place, told): &(&Place, &_)| !knows(told) && whole.states.get(*place).is_some_and(knows);
        self.states.iter().filter(is_silenced).map(|((table, host, at, _), _)| (table, host, *at))
    }

    /// How many of the answers that were known are still.
    pub fn known(&self) -> usize {
        self.states.values().filter(|(speaks, _)| *speaks == Speaks::Known).count()
    }
}

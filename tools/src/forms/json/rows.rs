//! Rows, events, changes and entries: what stands in a list, or on a line of its own in NDJSON.

use super::Json;
use crate::forms::Answer;
use erstwhile_engine::read::answer::{
    Break, Change, End, Event, Held, HistoryRow, HostEntry, Start, StreamEntry, TableEntry, Version,
};
use erstwhile_engine::row::Row;
use std::io;

/// One thing of a list.
pub(crate) enum Item<'a> {
    /// A row at T; in a list of rows of several tables, with its table.
    Held(Option<&'a [u8]>, &'a Held),
    /// A row version.
    Version(&'a Version),
    /// An event or a sighting.
    Event(&'a Event),
    /// A difference.
    Change(&'a Change),
    /// A host.
    Host(&'a HostEntry),
    /// A table.
    Table(&'a TableEntry),
    /// A stream.
    Stream(&'a StreamEntry),
}

/// Everything that stands in an answer's lists, in order.
pub(crate) fn items(answer: &Answer) -> Box<dyn Iterator<Item = Item<'_>> + '_> {
    match answer {
        Answer::State(state) => Box::new(state.rows.iter().map(|held| Item::Held(None, held))),
        Answer::Who(who) => Box::new(who.rows.iter().map(|held| Item::Held(None, held))),
        Answer::What(what) => Box::new(what.links.iter().flat_map(|link| {
            let table: &[u8] = &link.table;
            link.rows.iter().map(move |held| Item::Held(Some(table), held))
        })),
        Answer::History(history) => Box::new(history.rows.iter().map(|row| match row {
            HistoryRow::Version(version) => Item::Version(version),
            HistoryRow::Event(event) => Item::Event(event),
        })),
        Answer::Diff(diff) => Box::new(diff.rows.iter().map(Item::Change)),
        Answer::Hosts(hosts) => Box::new(hosts.iter().map(Item::Host)),
        Answer::Tables(tables) => Box::new(tables.iter().map(Item::Table)),
        Answer::Coverage(streams) => Box::new(streams.iter().map(Item::Stream)),
    }
}

impl Item<'_> {
    /// Writes the thing's object.
    pub(crate) fn write(&self, json: &mut Json<'_>) -> io::Result<()> {
        json.entry();
        match self {
            Item::Held(table, held) => {
                if let Some(table) = table {
                    json.text("table", table);
                }
                version(json, &held.version);
                json.key("evidence");
                json.open(b'{');
                json.text("verdict", held.verdict.word().as_bytes());
                json.second("before", held.before);
                json.second("after", held.after);
                json.close(b'}');
            }
            Item::Version(row) => version(json, row),
            Item::Event(event) => {
                json.text("host", &event.host);
                json.text("stream", &event.stream);
                json.second("time", Some(event.time));
                json.second("seen", Some(event.seen));
                columns(json, &event.row);
                json.number("count", event.count);
            }
            Item::Change(change) => {
                json.text("host", &change.host);
                json.text("stream", &change.stream);
                json.text("action", action(change).as_bytes());
                columns(json, &change.row);
                json.number("count", change.count);
                json.text("verdict_from", change.verdict_from.word().as_bytes());
                json.text("verdict_to", change.verdict_to.word().as_bytes());
            }
            Item::Host(host) => {
                json.text("host", &host.host);
                json.number("streams", host.streams);
                json.second("first", Some(host.first));
                json.second("last", Some(host.last));
                agent_version(json, host.agent_version.as_deref());
            }
            Item::Table(table) => {
                json.text("table", &table.table);
                json.bool("evented", table.evented);
                json.number("streams", table.streams);
                json.number("hosts", table.hosts);
                json.second("first", Some(table.first));
                json.second("last", Some(table.last));
                json.number("assumed", table.assumed);
            }
            Item::Stream(entry) => stream(json, entry),
        }
        json.close_entry();
        json.hand_on()
    }
}

/// The word for a change's direction.
pub(crate) fn action(change: &Change) -> &'static str {
    if change.added { "added" } else { "removed" }
}

fn version(json: &mut Json<'_>, version: &Version) {
    json.text("host", &version.host);
    json.text("stream", &version.stream);
    columns(json, &version.row);
    json.number("count", version.count);
    json.second("from", Some(version.from));
    json.second("from_after", version.from_after);
    json.second("to", version.to);
    json.second("to_after", version.to_after);
    json.text("start", start_word(version.start).as_bytes());
    json.text("end", end_word(version.end).as_bytes());
    json.bool("verified", version.verified);
}

fn columns(json: &mut Json<'_>, row: &Row) {
    json.key("columns");
    json.open(b'{');
    for (name, text) in row.columns() {
        json.text_key(name);
        json.string(text);
    }
    json.close(b'}');
}

fn agent_version(json: &mut Json<'_>, version: Option<&str>) {
    match version {
        Some(version) => json.text("agent_version", version.as_bytes()),
        None => json.null("agent_version"),
    }
}

fn stream(json: &mut Json<'_>, stream: &StreamEntry) {
    json.text("host", &stream.host);
    json.text("stream", &stream.stream);
    json.text("kind", stream.kind.word().as_bytes());
    json.text("table", &stream.table);
    json.bool("assumed", stream.assumed);
    json.number("looks", stream.looks);
    json.second("first", Some(stream.first));
    json.second("last", Some(stream.last));
    agent_version(json, stream.agent_version.as_deref());
    json.key("skew");
    json.open(b'[');
    json.value(format_args!("{}", stream.skew.0));
    json.value(format_args!("{}", stream.skew.1));
    json.close(b']');
    json.key("breaks");
    breaks(json, &stream.breaks);
}

/// A list of breaks.
pub(crate) fn breaks(json: &mut Json<'_>, breaks: &[Break]) {
    json.open(b'[');
    for one in breaks {
        json.open(b'{');
        json.second("from", one.from);
        json.second("to", one.to);
        json.text("cause", one.cause.word().as_bytes());
        json.close(b'}');
    }
    json.close(b']');
}

/// The word for why a version starts.
pub(crate) fn start_word(start: Start) -> &'static str {
    match start {
        Start::Seen => "seen",
        Start::Break => "break",
    }
}

/// The word for why a version ends.
pub(crate) fn end_word(end: End) -> &'static str {
    match end {
        End::Gone => "gone",
        End::Break => "break",
        End::Open => "open",
    }
}

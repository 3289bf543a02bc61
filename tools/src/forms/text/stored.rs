//! `hosts`, `tables`, `coverage`: what is stored, since when, with which gaps.

use super::grid::Grid;
use super::value::safe;
use super::{View, count, grouped, paint, voices};
use comfy_table::Color;
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::answer::{HostEntry, StreamEntry, TableEntry};
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Breaks of one stream that are spelled out.
const BREAKS_MAX: usize = 20;

pub(crate) fn hosts(hosts: &[HostEntry], view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    title(count(hosts.len() as u64, "host", "hosts"), view, out)?;
    if hosts.is_empty() {
        return Ok(());
    }
    let mut grid = Grid::new();
    grid.column("host", hosts.iter().map(|host| safe(&host.host)));
    grid.column("streams", hosts.iter().map(|host| grouped(host.streams)));
    grid.optional("first look", hosts.iter().map(|host| view.zone.cell(host.first)));
    grid.optional("last look", hosts.iter().map(|host| view.zone.cell(host.last)));
    grid.column("agent", hosts.iter().map(|host| agent(host.agent_version.as_deref())));
    grid.write(view, out)
}

pub(crate) fn tables(tables: &[TableEntry], view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    title(count(tables.len() as u64, "table", "tables"), view, out)?;
    if tables.is_empty() {
        return Ok(());
    }
    let mut grid = Grid::new();
    grid.column("table", tables.iter().map(|table| safe(&table.table)));
    grid.column(
        "holds",
        tables.iter().map(|table| {
            let holds = if table.evented { "events" } else { "state" };
            holds.to_owned()
        }),
    );
    grid.optional("streams", tables.iter().map(|table| grouped(table.streams)));
    grid.optional("hosts", tables.iter().map(|table| grouped(table.hosts)));
    grid.optional("first look", tables.iter().map(|table| view.zone.cell(table.first)));
    grid.optional("last look", tables.iter().map(|table| view.zone.cell(table.last)));
    grid.painted(
        "assumed",
        tables.iter().map(|table| {
            let color = (table.assumed > 0).then_some(Color::Yellow);
            (grouped(table.assumed), color)
        }),
    );
    grid.write(view, out)?;
    let assumed = tables.iter().flat_map(|table| table.assumed_names.iter().map(move |name| (name, &table.table)));
    map_lines(assumed.collect(), view, out)
}

pub(crate) fn coverage(streams: &[StreamEntry], view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let broken = streams.iter().filter(|stream| !stream.breaks.is_empty()).count() as u64;
    title(format!("{}, {} with breaks", count(streams.len() as u64, "stream", "streams"), grouped(broken)), view, out)?;
    if streams.is_empty() {
        return Ok(());
    }
    let mut grid = Grid::new();
    grid.column("host", streams.iter().map(|stream| safe(&stream.host)));
    grid.column("stream", streams.iter().map(|stream| safe(&stream.stream)));
    grid.painted(
        "table",
        streams.iter().map(|stream| {
            let table = safe(&stream.table);
            if stream.assumed { (format!("{table} (assumed)"), Some(Color::Yellow)) } else { (table, None) }
        }),
    );
    grid.optional("first look", streams.iter().map(|stream| view.zone.cell(stream.first)));
    grid.optional("last look", streams.iter().map(|stream| view.zone.cell(stream.last)));
    grid.prefer_last();
    grid.optional("looks", streams.iter().map(|stream| grouped(stream.looks)));
    grid.optional("kind", streams.iter().map(|stream| stream.kind.word().to_owned()));
    grid.optional("skew", streams.iter().map(skew));
    grid.optional("agent", streams.iter().map(|stream| agent(stream.agent_version.as_deref())));
    grid.painted(
        "breaks",
        streams.iter().map(|stream| {
            let color = (!stream.breaks.is_empty()).then_some(Color::Magenta);
            (grouped(stream.breaks.len() as u64), color)
        }),
    );
    grid.write(view, out)?;
    for stream in streams.iter().filter(|stream| !stream.breaks.is_empty()) {
        breaks(stream, view, out)?;
    }
    let assumed = streams.iter().filter(|stream| stream.assumed).map(|stream| (&stream.stream, &stream.table));
    map_lines(assumed.collect(), view, out)
}

fn title(words: String, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", paint::bold(view, &words))
}

fn agent(version: Option<&str>) -> String {
    version.map_or_else(|| "unknown".to_owned(), |version| safe(version.as_bytes()))
}

/// How much later looks were recorded than observed.
fn skew(stream: &StreamEntry) -> String {
    match stream.skew {
        (least, most) if least == most => format!("{least} s"),
        (least, most) => format!("{least} to {most} s"),
    }
}

/// A stream's name and a line per break.
fn breaks(stream: &StreamEntry, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let name = format!("{}, {}:", safe(&stream.host), safe(&stream.stream));
    writeln!(out, "\n{}", paint::bold(view, &name))?;
    for one in stream.breaks.iter().take(BREAKS_MAX) {
        let from = match one.from {
            Some(from) => view.zone.cell(from),
            None => "ever".to_owned(),
        };
        let to = match one.to {
            Some(to) => format!("until {}", view.zone.cell(to)),
            None => "not ended".to_owned(),
        };
        let cause = voices::cause_words(one.cause);
        writeln!(out, "  since {from}, {to}: {cause}")?;
    }
    if stream.breaks.len() > BREAKS_MAX {
        let more = grouped((stream.breaks.len() - BREAKS_MAX) as u64);
        writeln!(out, "  {more} more (`--format json` lists all)")?;
    }
    Ok(())
}

/// The lines of a map that would confirm what is assumed.
fn map_lines(assumed: BTreeSet<(&Name, &Name)>, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    if assumed.is_empty() {
        return Ok(());
    }
    let warning = paint::warn(view, "Some tables are assumed from the names of queries.");
    writeln!(out, "\n{warning}")?;
    let how = "To confirm or correct them, put these lines into a file for `erstwhile import --map FILE`:";
    writeln!(out, "{}\n", paint::plain(view, how))?;
    for (stream, table) in assumed {
        writeln!(out, "{}", (view.suggest)(stream, table).trim_end())?;
    }
    Ok(())
}

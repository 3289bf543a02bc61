//! `history`, `diff`: answers over a span.

use super::grid::Grid;
use super::value::safe;
use super::{View, count, paint};
use comfy_table::Color;
use erstwhile_engine::fact::Name;
use erstwhile_engine::read::answer::{Change, Diff, End, Event, History, HistoryRow, Start, Verdict, Version};
use std::collections::BTreeSet;
use std::io::{self, Write};

pub(crate) fn history(history: &History, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut versions = Vec::new();
    let mut events = Vec::new();
    for row in &history.rows {
        match row {
            HistoryRow::Version(version) => versions.push(&**version),
            HistoryRow::Event(event) => events.push(&**event),
        }
    }
    let rows = match (versions.len() as u64, events.len() as u64) {
        (0, 0) => "nothing".to_owned(),
        (rows, 0) => count(rows, "row version", "row versions"),
        (0, rows) => count(rows, "event", "events"),
        (rows, more) => {
            format!("{} and {}", count(rows, "row version", "row versions"), count(more, "sighting", "sightings"))
        }
    };
    let words = format!("{}{}: {rows}", safe(&history.table), span(history, view));
    writeln!(out, "{}", paint::bold(view, &words))?;
    if !versions.is_empty() {
        version_grid(&versions, view).write(view, out)?;
    }
    if !events.is_empty() {
        event_grid(&events, view).write(view, out)?;
    }
    Ok(())
}

fn span(history: &History, view: &View<'_>) -> String {
    let mut words = String::new();
    for (word, second) in [("from", history.from), ("to", history.to)] {
        if let Some(second) = second {
            words.push_str(&format!(" {word} {}", view.zone.full(second)));
        }
    }
    words
}

fn version_grid(rows: &[&Version], view: &View<'_>) -> Grid {
    let mut grid = Grid::new();
    grid.column("host", rows.iter().map(|row| safe(&row.host)));
    stream_column(&mut grid, rows.iter().map(|row| &row.stream));
    grid.rows(rows.iter().map(|row| &row.row));
    grid.unusual("copies", "1", rows.iter().map(|row| row.count.to_string()));
    grid.column("appeared", rows.iter().map(|row| appeared(row, view)));
    grid.column("left", rows.iter().map(|row| left(row, view)));
    grid.unusual(
        "note",
        "",
        rows.iter().map(|row| {
            let note = if row.verified { "" } else { "not vouched for" };
            note.to_owned()
        }),
    );
    grid
}

fn appeared(version: &Version, view: &View<'_>) -> String {
    let from = view.zone.cell(version.from);
    match (version.start, version.from_after) {
        (Start::Break, _) => format!("break at {from}"),
        (Start::Seen, None) => format!("there at {from}, the first look"),
        (Start::Seen, Some(after)) => {
            format!("after {}, by {}", view.zone.cell(after), view.zone.near(version.from, after))
        }
    }
}

fn left(version: &Version, view: &View<'_>) -> String {
    let Some(to) = version.to else {
        return "still there".to_owned();
    };
    match (version.end, version.to_after) {
        (End::Break, _) => format!("break at {}", view.zone.cell(to)),
        (_, Some(after)) => format!("after {}, by {}", view.zone.cell(after), view.zone.near(to, after)),
        (_, None) => format!("by {}", view.zone.cell(to)),
    }
}

fn event_grid(rows: &[&Event], view: &View<'_>) -> Grid {
    let mut grid = Grid::new();
    grid.column("at", rows.iter().map(|row| view.zone.cell(row.time)));
    grid.column("host", rows.iter().map(|row| safe(&row.host)));
    stream_column(&mut grid, rows.iter().map(|row| &row.stream));
    grid.rows(rows.iter().map(|row| &row.row));
    grid.unusual("copies", "1", rows.iter().map(|row| row.count.to_string()));
    grid
}

pub(crate) fn diff(diff: &Diff, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let added = diff.rows.iter().filter(|change| change.added).count();
    let rows = match diff.rows.len() {
        0 => "no difference is known".to_owned(),
        rows => format!("{} added, {} removed", super::grouped(added as u64), super::grouped((rows - added) as u64)),
    };
    let (table, host) = (safe(&diff.table), safe(&diff.host));
    let words = format!("{table} on {host} from {} to {}: {rows}", view.zone.full(diff.from), view.zone.full(diff.to));
    writeln!(out, "{}", paint::bold(view, &words))?;
    if diff.rows.is_empty() {
        return writeln!(out, "what could be seen: erstwhile coverage {table} --host {host}");
    }
    let rows = &diff.rows;
    let mut grid = Grid::new();
    grid.painted(
        "",
        rows.iter().map(|change| {
            if change.added { ("+".to_owned(), Some(Color::Green)) } else { ("-".to_owned(), Some(Color::Red)) }
        }),
    );
    stream_column(&mut grid, rows.iter().map(|change| &change.stream));
    grid.rows(rows.iter().map(|change| &change.row));
    grid.unusual("copies", "1", rows.iter().map(|change| change.count.to_string()));
    for (name, verdict) in [
        ("first state", (|change| change.verdict_from) as fn(&Change) -> Verdict),
        ("second state", |change| change.verdict_to),
    ] {
        if rows.iter().any(|change| verdict(change) != Verdict::Definite) {
            grid.painted(
                name,
                rows.iter().map(|change| {
                    let verdict = verdict(change);
                    (verdict.word().to_owned(), Some(paint::of_verdict(verdict)))
                }),
            );
        }
    }
    grid.write(view, out)
}

/// The stream's column, where there is more than one.
fn stream_column<'a>(grid: &mut Grid, streams: impl Iterator<Item = &'a Name> + Clone) {
    let distinct: BTreeSet<&Name> = streams.clone().collect();
    if distinct.len() > 1 {
        grid.column("stream", streams.map(|stream| safe(stream)));
    }
}

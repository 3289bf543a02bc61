//! `state`, `who`, `what`: answers at one instant.

use super::grid::Grid;
use super::value::safe;
use super::{View, bracket, count, paint, voices};
use erstwhile_engine::fact::{Name, Second};
use erstwhile_engine::read::answer::{Held, Link, State, Verdict, What, Who};
use erstwhile_engine::row::Row;
use std::collections::BTreeSet;
use std::io::{self, Write};

pub(crate) fn state(state: &State, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let hosts = hosts(&state.rows);
    let on = match hosts.iter().next() {
        Some(host) if hosts.len() == 1 => format!(" on {}", safe(host)),
        _ => String::new(),
    };
    let rows = match state.rows.len() as u64 {
        0 => "no rows".to_owned(),
        rows if hosts.len() == 1 => count(rows, "row", "rows"),
        rows => format!("{} on {}", count(rows, "row", "rows"), count(hosts.len() as u64, "host", "hosts")),
    };
    let words = format!("{}{on} at {}: {rows}{}", safe(&state.table), view.zone.full(state.at), verdicts(&state.rows));
    writeln!(out, "{}", paint::bold(view, &words))?;
    if !state.rows.is_empty() {
        held(&state.rows, state.at, hosts.len() > 1, view, out)?;
    }
    voices::write(&state.coverage, view, out)
}

pub(crate) fn who(who: &Who, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let at = view.zone.full(who.at);
    let subject = match who.question.split_once(' ') {
        Some(("who", rest)) => rest.strip_prefix("ip ").unwrap_or(rest),
        _ => &who.question,
    };
    let subject = safe(subject.as_bytes());
    let first = match who.rows.as_slice() {
        [] if who.coverage.covered + who.coverage.presumed == 0 => {
            format!("No host can say who had {subject} at {at}: {}.", voices::counts(&who.coverage))
        }
        [] => format!("Nobody is known to have had {subject} at {at}: {}.", voices::counts(&who.coverage)),
        [only] => format!(
            "{} {} {subject} at {at}: {}, {}.",
            holder(only),
            had(only.verdict),
            only.verdict.word(),
            bracket::words(only, who.at, view)
        ),
        rows => format!(
            "{} for {subject} at {at}, the surest first{}.",
            count(rows.len() as u64, "candidate", "candidates"),
            verdicts(rows)
        ),
    };
    writeln!(out, "{}", paint::bold(view, &first))?;
    if who.rows.is_empty() {
        return voices::write_silent(&who.coverage, view, out);
    }
    held(&who.rows, who.at, true, view, out)?;
    voices::write(&who.coverage, view, out)
}

/// Who it is: the user and the host, or the host.
fn holder(held: &Held) -> String {
    let host = safe(&held.version.host);
    match held.version.row.get(b"username") {
        Some(user) => format!("{} on {host}", safe(user)),
        None => host,
    }
}

fn had(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Definite => "had",
        Verdict::Presumed => "presumably had",
        Verdict::Possible => "possibly had",
        Verdict::Unknown => "may have had",
    }
}

pub(crate) fn what(what: &What, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let at = view.zone.full(what.at);
    let path = what.question.strip_prefix("what device ").unwrap_or(&what.question);
    let path = safe(path.as_bytes());
    let device = what.links.iter().rev().find_map(device).unwrap_or_else(|| "no device is known".to_owned());
    let missing = what.links.iter().find_map(|link| {
        let missing = link.missing?;
        Some(format!("; {}: {}", safe(&link.table), missing.words()))
    });
    let first = format!("{path} at {at}: {device}. Verdict: {}{}.", what.verdict.word(), missing.unwrap_or_default());
    writeln!(out, "{}", paint::bold(view, &first))?;
    for (i, link) in what.links.iter().enumerate() {
        let table = safe(&link.table);
        let missing = match link.missing {
            Some(missing) => format!(": {}", missing.words()),
            None => verdicts(&link.rows),
        };
        writeln!(out, "\n{}. {table}{missing}", i + 1)?;
        if !link.rows.is_empty() {
            held(&link.rows, what.at, false, view, out)?;
        }
    }
    writeln!(out)?;
    voices::write(&what.coverage, view, out)
}

/// What a link says of the device, in a few words: a partition knows little of itself, its disk more.
fn device(link: &Link) -> Option<String> {
    link.rows.iter().find_map(|held| made(&held.version.row)).or_else(|| {
        let row = &link.rows.first()?.version.row;
        ["name", "device", "device_id"].into_iter().find_map(|name| told(row, name))
    })
}

/// Vendor, model and serial.
fn made(row: &Row) -> Option<String> {
    let mut words: Vec<String> = ["vendor", "model"].into_iter().filter_map(|name| told(row, name)).collect();
    words.extend(told(row, "serial").map(|serial| format!("(serial {serial})")));
    (!words.is_empty()).then(|| words.join(" "))
}

fn told(row: &Row, name: &str) -> Option<String> {
    row.get(name.as_bytes()).filter(|text| !text.is_empty()).map(safe)
}

/// The rows with their verdicts and brackets.
fn held(rows: &[Held], at: Second, with_host: bool, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let mut grid = Grid::new();
    if with_host {
        grid.column("host", rows.iter().map(|held| safe(&held.version.host)));
    }
    let streams: BTreeSet<&Name> = rows.iter().map(|held| &held.version.stream).collect();
    if streams.len() > 1 {
        grid.column("stream", rows.iter().map(|held| safe(&held.version.stream)));
    }
    grid.rows(rows.iter().map(|held| &held.version.row));
    grid.unusual("copies", "1", rows.iter().map(|held| held.version.count.to_string()));
    grid.painted(
        "verdict",
        rows.iter().map(|held| (held.verdict.word().to_owned(), Some(paint::of_verdict(held.verdict)))),
    );
    grid.column("seen", rows.iter().map(|held| bracket::words(held, at, view)));
    grid.write(view, out)
}

fn hosts(rows: &[Held]) -> BTreeSet<&Name> {
    rows.iter().map(|held| &held.version.host).collect()
}

/// ` (2 definite, 1 possible)`.
fn verdicts(rows: &[Held]) -> String {
    let each =
        [Verdict::Definite, Verdict::Presumed, Verdict::Possible, Verdict::Unknown].into_iter().filter_map(|verdict| {
            let rows = rows.iter().filter(|held| held.verdict == verdict).count();
            (rows > 0).then(|| format!("{} {}", super::grouped(rows as u64), verdict.word()))
        });
    let each: Vec<String> = each.collect();
    if each.is_empty() { String::new() } else { format!(" ({})", each.join(", ")) }
}

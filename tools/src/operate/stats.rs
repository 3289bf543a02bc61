//! `stats`: once, or again and again.

use super::{Servers, StatsJob, Surface, clock, directory};
use crate::connection::Source;
use crate::fail::Failure;
use crate::forms::Format;
use crate::forms::json::Json;
use crate::forms::text::grid::Grid;
use crate::forms::text::value::safe;
use crate::forms::text::{View, count, grouped};
use crate::summary::bytes_text;
use erstwhile_engine::fact::Name;
use erstwhile_engine::io::Clock;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::stats::{
    AGES, Amount, ColumnWeight, KEYS_BESIDE_MAX, KEYS_PER_ROW_MAX, Reads, SPACE_PERCENT_MAX, Stats, StatsQuestion,
    TableStats,
};
use erstwhile_engine::store::open_view;
use std::cmp::Reverse;
use std::io;
use std::time::Duration;

/// So many silent hosts are named in text.
const SILENT_SHOWN: usize = 10;

/// So many columns are shown of many tables.
const COLUMNS_SHOWN: usize = 10;

/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

pub(super) fn run(
    source: &Source,
    job: &StatsJob,
    servers: &dyn Servers,
    surface: &mut Surface<'_>,
) -> Result<(), Failure> {
    loop {
        let stats = ask(source, job, servers)?;
        if job.watch_seconds.is_some() && surface.width.is_some() && surface.format == Format::Text {
            write!(surface.out, "{CLEAR}")?;
        }
        match surface.format {
            Format::Text => text(&stats, job.table.is_none(), surface)?,
            Format::Json => json(&stats, true, surface)?,
            Format::Ndjson => {
                for (name, table) in &stats.tables {
                    let mut json = Json::new(surface.out);
                    table_object(&mut json, name, table);
                    json.line()?;
                    json.flush()?;
                }
                json(&stats, false, surface)?;
            }
            Format::Csv => csv(&stats, surface)?,
        }
        surface.out.flush()?;
        match job.watch_seconds {
            Some(seconds) => std::thread::sleep(Duration::from_secs(seconds)),
            None => return Ok(()),
        }
    }
}

/// What the store weighs now.
fn ask(source: &Source, job: &StatsJob, servers: &dyn Servers) -> Result<Stats, Failure> {
    let question = StatsQuestion {
        now: clock().now_micros().div_euclid(1_000_000),
        table: job.table.clone(),
        silent_after_seconds: job.silent_after_seconds,
        keyframes: job.keyframes,
        columns: job.columns,
        reads: job.reads,
        holes: job.holes,
    };
    let stats = match source {
        Source::Store(path) => {
            let failure = |error| Failure::of_store(path, &error);
            let options = Options::default();
            let view = open_view(&directory(path)?, options.cache_bytes_max).map_err(failure)?;
            view.stats(&question, options.merge_fanout).map_err(failure)?
        }
        Source::Server(server) => servers.weigh(server, &question)?,
    };
    match job.table.as_ref().filter(|table| !stats.tables.contains_key(*table)) {
        None => Ok(stats),
        Some(table) => {
            let text = format!("the store has no table {}; see what it has with `erstwhile tables`", safe(table));
            Err(Failure::Usage(text))
        }
    }
}

/// `3.91`; nothing of nothing.
fn ratio(some: u64, all: u64) -> Option<f64> {
    (all > 0).then(|| some as f64 / all as f64)
}

fn per_row(amount: &Amount) -> String {
    ratio(amount.bytes, amount.rows).map_or("-".to_owned(), |ratio| format!("{ratio:.2}"))
}

fn percent(some: u64, all: u64) -> String {
    format!("{:.1} %", 100.0 * ratio(some, all).unwrap_or(0.0))
}

/// `3 d`: how long, in the largest unit of which there are two or more.
fn span(seconds: i64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("min", 60)];
    let fits = units.into_iter().find(|(_, unit)| seconds >= 2 * unit);
    fits.map_or_else(|| format!("{seconds} s"), |(word, unit)| format!("{} {word}", seconds / unit))
}

/// `is_whole`: of all tables.
fn text(stats: &Stats, is_whole: bool, surface: &mut Surface<'_>) -> io::Result<()> {
    let tables: Vec<(&Name, &TableStats)> = stats.tables.iter().collect();
    writeln!(
        surface.out,
        "{}, {}, {} in {}",
        count(stats.hosts, "host", "hosts"),
        count(tables.len() as u64, "table", "tables"),
        bytes_text(stats.segment_bytes),
        count(stats.segments, "segment", "segments")
    )?;
    let view = surface.view();
    if !tables.is_empty() {
        writeln!(surface.out)?;
        let mut grid = Grid::new();
        let each = |of: &dyn Fn(&TableStats) -> String| tables.iter().map(|(_, table)| of(table)).collect::<Vec<_>>();
        grid.column("table", tables.iter().map(|(name, _)| safe(name)));
        grid.column("streams", each(&|table| grouped(table.streams)));
        grid.column("looks", each(&|table| grouped(table.all.looks)));
        grid.column("rows", each(&|table| grouped(table.all.rows)));
        grid.column("size", each(&|table| bytes_text(table.all.bytes)));
        grid.column("B/row", each(&|table| per_row(&table.all)));
        grid.column("seg.", each(&|table| grouped(table.segments)));
        grid.write(&view, surface.out)?;
        writeln!(surface.out)?;
        let mut grid = Grid::new();
        let sum = |at: usize| tables.iter().fold(Amount::default(), |sum, (_, table)| sum.plus(table.ages[at]));
        let ages: Vec<Amount> = (0..AGES.len()).map(sum).collect();
        grid.column(
            "age",
            AGES.iter().map(|(age, end)| if *end == i64::MAX { (*age).to_owned() } else { format!("last {age}") }),
        );
        grid.column("looks", ages.iter().map(|of| grouped(of.looks)));
        grid.column("rows", ages.iter().map(|of| grouped(of.rows)));
        grid.column("size", ages.iter().map(|of| bytes_text(of.bytes)));
        grid.column("B/row", ages.iter().map(per_row));
        grid.write(&view, surface.out)?;
        writeln!(surface.out)?;
        let sum = |name: &str| {
            let of =
                |table: &TableStats| table.structures.named().iter().find(|(is, _)| *is == name).map_or(0, |of| of.1);
            tables.iter().map(|(_, table)| of(table)).sum::<u64>()
        };
        let mut parts = Vec::new();
        for (name, _) in stats.tables.values().next().map(|table| table.structures.named()).iter().flatten() {
            let bytes = sum(name);
            if bytes > 0 {
                parts.push(format!("{name} {} ({})", bytes_text(bytes), percent(bytes, stats.segment_bytes)));
            }
        }
        parts.push(format!("other {}", bytes_text(stats.other_bytes)));
        for some in parts.chunks(2) {
            writeln!(surface.out, "{}", some.join(", "))?;
        }
        if let [(_, table)] = &tables[..] {
            for (column, bytes) in &table.indexes {
                writeln!(surface.out, "index of {}: {}", safe(column), bytes_text(*bytes))?;
            }
        }
        columns_text(&tables, &view, surface)?;
        let keyframes: u64 = tables.iter().filter_map(|(_, table)| table.keyframe_bytes).sum();
        if tables.iter().any(|(_, table)| table.keyframe_bytes.is_some()) {
            let beside = sum("runs").saturating_sub(keyframes);
            writeln!(
                surface.out,
                "keyframes: {} ({} of the rest of the runs, at most 33.3 %)",
                bytes_text(keyframes),
                percent(keyframes, beside)
            )?;
        }
        bounds_text(stats, is_whole, &tables, surface)?;
    }
    writeln!(surface.out)?;
    writeln!(
        surface.out,
        "beside the largest segment: {} of the rows (12.5 % at most once merged)",
        percent(stats.rows_beside, stats.rows)
    )?;
    writeln!(
        surface.out,
        "never merged: {}; due: {} ({} to read)",
        count(stats.unpacked_segments, "segment", "segments"),
        count(stats.debt_segments, "segment", "segments"),
        bytes_text(stats.debt_bytes)
    )?;
    if stats.memtable_bytes > 0 {
        writeln!(surface.out, "in logs only: about {} of memory", bytes_text(stats.memtable_bytes))?;
    }
    writeln!(surface.out, "silent: {}", count(stats.silent.len() as u64, "host", "hosts"))?;
    if !stats.silent.is_empty() {
        let shown = &stats.silent[..stats.silent.len().min(SILENT_SHOWN)];
        let mut grid = Grid::new();
        grid.column("host", shown.iter().map(|silent| safe(&silent.host)));
        grid.column("last look", shown.iter().map(|silent| surface.zone.full(silent.last)));
        grid.column("usually every", shown.iter().map(|silent| silent.usual_seconds.map_or("-".to_owned(), span)));
        grid.write(&view, surface.out)?;
    }
    if stats.silent.len() > SILENT_SHOWN {
        writeln!(surface.out, "and {} more (all with --format json)", stats.silent.len() - SILENT_SHOWN)?;
    }
    if let Some(holes) = &stats.holes {
        writeln!(surface.out, "with holes: {}", count(holes.len() as u64, "host", "hosts"))?;
        let names: Vec<String> = holes.iter().take(SILENT_SHOWN).map(|host| safe(host)).collect();
        if !names.is_empty() {
            writeln!(surface.out, "  {} (see `erstwhile coverage --host HOST`)", names.join(", "))?;
        }
    }
    Ok(())
}

/// What columns of rows take, the heaviest first; all of them if there is one table.
fn columns_text(tables: &[(&Name, &TableStats)], view: &View<'_>, surface: &mut Surface<'_>) -> io::Result<()> {
    let mut columns: Vec<(&Name, &Name, &ColumnWeight)> = Vec::new();
    for (table, of) in tables {
        columns.extend(of.columns.iter().flatten().map(|(column, weight)| (*table, column, weight)));
    }
    if columns.is_empty() {
        return Ok(());
    }
    columns.sort_by_key(|(table, column, weight)| (Reverse(weight.bits), *table, *column));
    let shown = if tables.len() == 1 { columns.len() } else { columns.len().min(COLUMNS_SHOWN) };
    let each = |of: &dyn Fn(&ColumnWeight) -> String| columns[..shown].iter().map(|one| of(one.2)).collect::<Vec<_>>();
    let mut grid = Grid::new();
    if tables.len() > 1 {
        grid.column("table", columns[..shown].iter().map(|(table, ..)| safe(table)));
    }
    grid.column("column", columns[..shown].iter().map(|(_, column, _)| safe(column)));
    grid.column("rows", each(&|weight| grouped(weight.rows)));
    grid.column("texts", each(&|weight| bytes_text(weight.text_bytes)));
    grid.column("stored", each(&|weight| bytes_text(stored_bytes(weight))));
    grid.column("part", each(&|weight| percent(stored_bytes(weight), weight.text_bytes)));
    writeln!(surface.out)?;
    grid.write(view, surface.out)?;
    if shown < columns.len() {
        writeln!(surface.out, "and {} lighter ones (all with TABLE, or --format json)", columns.len() - shown)?;
    }
    Ok(())
}

fn stored_bytes(weight: &ColumnWeight) -> u64 {
    weight.bits.div_ceil(8)
}

/// How much is written and read for what is wanted, and how much that may be.
fn bounds_text(
    stats: &Stats,
    is_whole: bool,
    tables: &[(&Name, &TableStats)],
    surface: &mut Surface<'_>,
) -> io::Result<()> {
    let of_tables = tables.iter().map(|(_, table)| table.structures.sum()).sum();
    let space: u64 = if is_whole { stats.segment_bytes } else { of_tables };
    if let Some(versions) = stats.version_bytes().filter(|versions| *versions > 0) {
        writeln!(
            surface.out,
            "space: {:.2} × the row versions (at most {:.1} once much is merged)",
            space as f64 / versions as f64,
            SPACE_PERCENT_MAX as f64 / 100.0
        )?;
    }
    let reads: Vec<Reads> = tables.iter().filter_map(|(_, table)| table.reads).collect();
    if !reads.is_empty() {
        let sum = |of: &dyn Fn(&Reads) -> u64| reads.iter().map(of).sum::<u64>();
        writeln!(
            surface.out,
            "reads of a stream at a past moment: {}, {} for {};",
            grouped(sum(&|reads| reads.asked)),
            count(sum(&|reads| reads.keys), "key", "keys"),
            count(sum(&|reads| reads.rows), "row", "rows")
        )?;
        writeln!(
            surface.out,
            "  {} beyond their bound ({KEYS_PER_ROW_MAX} keys a row and {KEYS_BESIDE_MAX})",
            grouped(sum(&|reads| reads.beyond))
        )?;
    }
    Ok(())
}

fn amount_fields(json: &mut Json<'_>, amount: &Amount) {
    json.number("looks", amount.looks);
    json.number("rows", amount.rows);
    json.number("bytes", amount.bytes);
    match ratio(amount.bytes, amount.rows) {
        Some(ratio) => {
            json.key("bytes_per_row");
            json.value(format_args!("{ratio:.4}"));
        }
        None => json.null("bytes_per_row"),
    }
}

fn table_object(json: &mut Json<'_>, name: &Name, table: &TableStats) {
    json.entry();
    json.text("table", name);
    json.number("streams", table.streams);
    json.number("hosts", table.hosts);
    amount_fields(json, &table.all);
    json.number("versions", table.versions);
    json.number("segments", table.segments);
    json.key("structures");
    json.open(b'{');
    for (structure, bytes) in table.structures.named() {
        json.number(structure, bytes);
    }
    json.close(b'}');
    json.key("indexes");
    json.open(b'{');
    for (column, bytes) in &table.indexes {
        json.text_key(column);
        json.value(format_args!("{bytes}"));
    }
    json.close(b'}');
    match table.keyframe_bytes {
        Some(bytes) => json.number("keyframe_bytes", bytes),
        None => json.null("keyframe_bytes"),
    }
    match &table.columns {
        Some(columns) => {
            json.key("columns");
            json.open(b'{');
            for (column, weight) in columns {
                json.text_key(column);
                json.open(b'{');
                json.number("rows", weight.rows);
                json.number("text_bytes", weight.text_bytes);
                json.number("stored_bytes", stored_bytes(weight));
                json.close(b'}');
            }
            json.close(b'}');
        }
        None => json.null("columns"),
    }
    match table.reads {
        Some(Reads { asked, rows, keys, beyond }) => {
            json.key("reads");
            json.open(b'{');
            json.number("asked", asked);
            json.number("rows", rows);
            json.number("keys", keys);
            json.number("beyond_bound", beyond);
            json.close(b'}');
        }
        None => json.null("reads"),
    }
    json.key("ages");
    json.open(b'{');
    for ((age, _), amount) in AGES.iter().zip(&table.ages) {
        json.key(age);
        json.open(b'{');
        amount_fields(json, amount);
        json.close(b'}');
    }
    json.close(b'}');
    json.close_entry();
}

/// The object, with its tables or without.
fn json(stats: &Stats, tables: bool, surface: &mut Surface<'_>) -> io::Result<()> {
    let mut json = Json::new(surface.out);
    json.open(b'{');
    if tables {
        json.key("tables");
        json.open(b'[');
        stats.tables.iter().for_each(|(name, table)| table_object(&mut json, name, table));
        json.close(b']');
    }
    for (key, number) in [
        ("hosts", stats.hosts),
        ("segments", stats.segments),
        ("unpacked_segments", stats.unpacked_segments),
        ("segment_bytes", stats.segment_bytes),
        ("other_bytes", stats.other_bytes),
        ("rows", stats.rows),
        ("rows_beside_largest", stats.rows_beside),
        ("memtable_bytes", stats.memtable_bytes),
        ("debt_segments", stats.debt_segments),
        ("debt_bytes", stats.debt_bytes),
    ] {
        json.number(key, number);
    }
    match stats.version_bytes() {
        Some(versions) => json.number("version_bytes", versions),
        None => json.null("version_bytes"),
    }
    json.key("silent");
    json.open(b'[');
    for silent in &stats.silent {
        json.entry();
        json.text("host", &silent.host);
        json.second("last", Some(silent.last));
        match silent.usual_seconds.and_then(|usual| u64::try_from(usual).ok()) {
            Some(usual) => json.number("usual_seconds", usual),
            None => json.null("usual_seconds"),
        }
        json.close_entry();
    }
    json.close(b']');
    match &stats.holes {
        Some(holes) => {
            json.key("hosts_with_holes");
            json.open(b'[');
            holes.iter().for_each(|host| json.string(host));
            json.close(b']');
        }
        None => json.null("hosts_with_holes"),
    }
    json.close(b'}');
    json.line()?;
    json.flush()
}

fn csv(stats: &Stats, surface: &mut Surface<'_>) -> io::Result<()> {
    writeln!(surface.out, "table,age,looks,rows,bytes")?;
    for (name, table) in &stats.tables {
        let name = String::from_utf8_lossy(name).replace('"', "\"\"");
        let all = [("all", &table.all)].into_iter();
        for (age, of) in all.chain(AGES.iter().map(|(age, _)| *age).zip(&table.ages)) {
            writeln!(surface.out, "\"{name}\",{age},{},{},{}", of.looks, of.rows, of.bytes)?;
        }
    }
    Ok(())
}

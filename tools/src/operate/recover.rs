//! `recover`.

use super::{Surface, clock, directory, new_directory};
use crate::exit::Exit;
use crate::fail::{Failure, no_store};
use crate::forms::Format;
use crate::forms::checked::quoted;
use crate::forms::json::Json;
use crate::forms::text::{count, safe};
use erstwhile_engine::error::Error;
use erstwhile_engine::fact::{SECOND_MAX, SECOND_MIN};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{Clock, Storage};
use erstwhile_engine::recover::{Fate, Recovered, StreamLoss, recover};
use erstwhile_engine::store::exists;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// So many streams are named in text; the report names all.
const STREAMS_SHOWN: usize = 20;

pub(super) fn run(store: &Path, to: &Path, report: Option<&Path>, surface: &mut Surface<'_>) -> Result<Exit, Failure> {
    let from = directory(store)?;
    if let Ok(Some(holder)) = from.lock_holder(names::LOCK) {
        let hint = "stop it first: what it writes meanwhile would be missing";
        return Err(Failure::Failed(format!("{} is written to by {holder}; {hint}", store.display())));
    }
    // What holds a part of a store, however damaged, is no error here: that is what is to be recovered.
    if let Ok(false) = exists(&from) {
        return Err(no_store(store));
    }
    let storage = new_directory(to)?;
    let clock: Arc<dyn Clock> = Arc::new(clock());
    let progress = surface.progress();
    let mut before = 0;
    let done = recover(&from, &storage, &clock, &mut |bytes, total, file| {
        progress.lengthen(total);
        progress.say(file);
        progress.advance(bytes - before);
        before = bytes;
    })
    .map_err(|error| match &error {
        Error::Io { .. } => Failure::Failed(format!(
            "{} to {}: {error}; the damaged store is as it was, remove {} and try again with more room",
            store.display(),
            to.display(),
            to.display()
        )),
        _ => Failure::of_store(to, &error),
    })?;
    drop(progress);
    let report = report.map_or_else(|| beside(to), Path::to_owned);
    let mut file = BufWriter::new(File::create(&report).map_err(|error| Failure::file(&report, &error))?);
    let written = write_json(&done, &mut file).and_then(|()| file.into_inner().map_err(io::Error::from)?.sync_all());
    written.map_err(|error| Failure::file(&report, &error))?;
    match surface.format {
        Format::Json => write_json(&done, surface.out)?,
        _ => text(&done, to, &report, surface)?,
    }
    surface.out.flush()?;
    Ok(if done.is_whole() { Exit::Done } else { Exit::Incomplete })
}

/// Where the report is written unless told: beside the new store, whose directory holds nothing else.
fn beside(to: &Path) -> PathBuf {
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".report.json");
    to.with_file_name(name)
}

fn text(done: &Recovered, to: &Path, report: &Path, surface: &mut Surface<'_>) -> io::Result<()> {
    let zone = &surface.zone;
    let out = &mut *surface.out;
    for file in &done.files {
        let name = &file.file;
        match &file.fate {
            Fate::Whole => writeln!(out, "{name}: whole")?,
            Fate::Part { parts, streams_lost: 0, why } => {
                writeln!(out, "{name}: {why}; {} taken", count(*parts, "look", "looks"))?;
            }
            Fate::Part { parts, streams_lost, why } => writeln!(
                out,
                "{name}: {why}; {} taken, {} lost something",
                count(*parts, "look", "looks"),
                count(*streams_lost, "stream", "streams")
            )?,
            Fate::Lost { why } => writeln!(out, "{name}: lost: {why}")?,
            Fate::LeftOut { why } => writeln!(out, "{name}: left out: {why}")?,
        }
    }
    for StreamLoss { stream, seconds } in done.lost.iter().take(STREAMS_SHOWN) {
        let [table, host, name] =
            [&stream.table, &stream.host, &stream.name].map(|text| String::from_utf8_lossy(text).into_owned());
        write!(out, "lost: looks of {table} of {host} ({name})")?;
        if seconds.first > SECOND_MIN {
            write!(out, " from {}", zone.full(seconds.first))?;
        }
        if seconds.last < SECOND_MAX {
            write!(out, " to {}", zone.full(seconds.last))?;
        }
        writeln!(out)?;
    }
    if done.lost.len() > STREAMS_SHOWN {
        writeln!(out, "lost: {} more; all are in the report", done.lost.len() - STREAMS_SHOWN)?;
    }
    for (from, to) in &done.recorded_lost {
        let until = if *to == i64::MAX { String::new() } else { format!(" to {}", zone.full_micros(*to)) };
        writeln!(out, "lost: what was recorded from {}{until}, of whatever streams", zone.full_micros(*from))?;
    }
    for note in &done.notes_lost {
        writeln!(out, "lost: {note}")?;
    }
    if done.files.iter().any(|file| matches!(file.fate, Fate::Part { .. })) {
        writeln!(out, "what is taken in parts is large until it is merged")?;
        writeln!(out, "  next: erstwhile compact --store {}", safe(quoted(&to.to_string_lossy()).as_bytes()))?;
    }
    let parts = count(done.parts, "look", "looks");
    let losses = if done.is_whole() { "nothing is lost" } else { "what is lost answers unknown" };
    writeln!(out, "recovered {parts} to {}; {losses}; report: {}", to.display(), report.display())
}

fn write_json(done: &Recovered, out: &mut dyn Write) -> io::Result<()> {
    let mut json = Json::new(out);
    json.open(b'{');
    json.key("files");
    json.open(b'[');
    for file in &done.files {
        json.entry();
        json.text("file", file.file.as_bytes());
        let (fate, why) = match &file.fate {
            Fate::Whole => ("whole", None),
            Fate::Part { why, .. } => ("part", Some(why)),
            Fate::Lost { why } => ("lost", Some(why)),
            Fate::LeftOut { why } => ("left-out", Some(why)),
        };
        json.text("fate", fate.as_bytes());
        if let Fate::Part { parts, streams_lost, .. } = &file.fate {
            json.number("looks", *parts);
            json.number("streams_lost", *streams_lost);
        }
        if let Some(why) = why {
            json.text("why", why.as_bytes());
        }
        json.close_entry();
    }
    json.close(b']');
    json.number("looks", done.parts);
    json.key("lost");
    json.open(b'[');
    for StreamLoss { stream, seconds } in &done.lost {
        json.entry();
        for (key, text) in [("table", &stream.table), ("host", &stream.host), ("stream", &stream.name)] {
            json.text(key, text);
        }
        json.text("kind", stream.kind.word().as_bytes());
        json.second("first", (seconds.first > SECOND_MIN).then_some(seconds.first));
        json.second("last", (seconds.last < SECOND_MAX).then_some(seconds.last));
        json.close_entry();
    }
    json.close(b']');
    json.key("recorded_lost");
    json.open(b'[');
    for (from, to) in &done.recorded_lost {
        json.entry();
        json.micros("from", Some(*from));
        json.micros("to", (*to < i64::MAX).then_some(*to));
        json.close_entry();
    }
    json.close(b']');
    json.key("notes_lost");
    json.open(b'[');
    for note in &done.notes_lost {
        json.entry();
        json.text("what", note.as_bytes());
        json.close_entry();
    }
    json.close(b']');
    json.close(b'}');
    json.line()?;
    json.flush()
}

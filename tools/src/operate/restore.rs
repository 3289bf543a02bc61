//! `restore`.

use super::{Surface, clock, directory, holder, new_directory, show};
use crate::fail::Failure;
use crate::forms::Format;
use crate::forms::json::Json;
use crate::forms::text::count;
use crate::summary::bytes_text;
use erstwhile_engine::backup::{Restored, restore};
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::fact::Micros;
use erstwhile_engine::io::Clock;
use erstwhile_engine::options::Options;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub(super) fn run(
    from: &Path,
    generation: Option<u64>,
    until: Option<Micros>,
    to: &Path,
    surface: &mut Surface<'_>,
) -> Result<(), Failure> {
    let backup = directory(from)?;
    let storage = new_directory(to)?;
    let clock: Arc<dyn Clock> = Arc::new(clock());
    let progress = surface.progress();
    let (options, holder) = (Options::default(), holder("restore"));
    let done = restore(&backup, generation, until, &storage, &clock, &options, &holder, &mut show(&progress)).map_err(
        |error| match &error {
            Error::Backup(_) | Error::Misuse(Misuse::NoGeneration { .. }) => Failure::of_store(from, &error),
            Error::Io { .. } => Failure::Failed(format!("{} to {}: {error}", from.display(), to.display())),
            _ => Failure::of_store(to, &error),
        },
    )?;
    drop(progress);
    match surface.format {
        Format::Json => json(&done, surface)?,
        _ => text(&done, to, surface)?,
    }
    Ok(())
}

fn text(done: &Restored, to: &Path, surface: &mut Surface<'_>) -> io::Result<()> {
    let (files, bytes) = (count(done.files, "file", "files"), bytes_text(done.bytes));
    writeln!(surface.out, "restored generation {} to {}: {files}, {bytes}", done.generation, to.display())?;
    match done.last_recorded {
        Some(recorded) => writeln!(surface.out, "last recorded at {}", surface.zone.full_micros(recorded))?,
        None => writeln!(surface.out, "the store is empty")?,
    }
    if done.rewritten_segments + done.left_out_segments > 0 {
        let rewritten = count(done.rewritten_segments, "segment", "segments");
        writeln!(
            surface.out,
            "left out what was recorded later: {rewritten} written anew, {} not copied",
            done.left_out_segments
        )?;
    }
    Ok(())
}

fn json(done: &Restored, surface: &mut Surface<'_>) -> io::Result<()> {
    let mut json = Json::new(surface.out);
    json.open(b'{');
    json.number("generation", done.generation);
    json.micros("last_recorded", done.last_recorded);
    json.number("files", done.files);
    json.number("bytes", done.bytes);
    json.number("rewritten_segments", done.rewritten_segments);
    json.number("left_out_segments", done.left_out_segments);
    json.close(b'}');
    json.line()?;
    json.flush()
}

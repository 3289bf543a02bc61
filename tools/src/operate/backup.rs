//! `backup`: made, listed, verified.

use super::{Surface, clock, directory, holder, show};
use crate::fail::Failure;
use crate::forms::Format;
use crate::forms::json::Json;
use crate::forms::text::grid::Grid;
use crate::forms::text::{count, grouped};
use crate::summary::bytes_text;
use erstwhile_engine::backup::{BackedUp, Contents, Generation, Verified, back_up};
use erstwhile_engine::error::{Corrupt, Misuse};
use erstwhile_engine::io::DiskStorage;
use std::io;
use std::path::Path;

pub(super) fn make(store: &Path, to: &Path, keep: Option<u32>, surface: &mut Surface<'_>) -> Result<(), Failure> {
    let from = directory(store)?;
    let backup = DiskStorage::open(to, true).map_err(|error| Failure::file(to, &error))?;
    let progress = surface.progress();
    let keep = keep.map(|keep| keep as usize);
    let done = back_up(&from, &backup, &clock(), keep, &holder("backup"), &mut show(&progress))
        .map_err(|error| failure(store, to, &error))?;
    drop(progress);
    match surface.format {
        Format::Json => made_json(&done, surface)?,
        _ => made_text(&done, to, surface)?,
    }
    for corrupt in &done.pruned.unreadable {
        writeln!(
            surface.err,
            "erstwhile: {corrupt}; nothing was removed from the backup, since it is not known what this one names. See \
             `erstwhile backup --verify --to {}`",
            to.display()
        )?;
    }
    Ok(())
}

/// An error of the store or of the backup; what the system says names the file.
fn failure(store: &Path, backup: &Path, error: &erstwhile_engine::error::Error) -> Failure {
    use erstwhile_engine::error::Error;
    match error {
        Error::Backup(_) | Error::Misuse(Misuse::OtherStore | Misuse::StoreExists | Misuse::Parted { .. }) => {
            Failure::of_store(backup, error)
        }
        Error::Locked { holder } => Failure::Failed(format!(
            "backup {}: another backup is being made there, by {holder}; wait until it is done",
            backup.display()
        )),
        Error::Io { .. } => Failure::Failed(format!("{} to {}: {error}", store.display(), backup.display())),
        _ => Failure::of_store(store, error),
    }
}

fn numbers(numbers: &[u64]) -> String {
    let numbers: Vec<String> = numbers.iter().map(u64::to_string).collect();
    numbers.join(", ")
}

fn made_text(done: &BackedUp, to: &Path, surface: &mut Surface<'_>) -> io::Result<()> {
    let generation = &done.generation;
    writeln!(
        surface.out,
        "generation {} in {}: {}, {}",
        generation.number,
        to.display(),
        count(generation.files.len() as u64, "file", "files"),
        bytes_text(generation.bytes())
    )?;
    writeln!(
        surface.out,
        "copied {} ({}); there already: {} ({})",
        count(done.copied_files, "file", "files"),
        bytes_text(done.copied_bytes),
        count(done.known_files, "file", "files"),
        bytes_text(done.known_bytes)
    )?;
    match generation.last_recorded {
        Some(recorded) => writeln!(surface.out, "last recorded at {}", surface.zone.full_micros(recorded))?,
        None => writeln!(surface.out, "the store is empty")?,
    }
    let pruned = &done.pruned;
    if !pruned.generations.is_empty() {
        let word = if pruned.generations.len() == 1 { "generation" } else { "generations" };
        writeln!(surface.out, "dropped {word} {}", numbers(&pruned.generations))?;
    }
    if pruned.files > 0 {
        let files = count(pruned.files, "file", "files");
        writeln!(surface.out, "removed {files} that no generation names ({})", bytes_text(pruned.bytes))?;
    }
    Ok(())
}

fn generation_fields(json: &mut Json<'_>, generation: &Generation) {
    json.number("generation", generation.number);
    json.micros("made", Some(generation.made));
    json.micros("last_recorded", generation.last_recorded);
    json.number("files", generation.files.len() as u64);
    json.number("bytes", generation.bytes());
}

fn list_of<T>(json: &mut Json<'_>, key: &str, items: &[T], mut each: impl FnMut(&mut Json<'_>, &T)) {
    json.key(key);
    json.open(b'[');
    for item in items {
        each(json, item);
    }
    json.close(b']');
}

fn corrupt_fields(json: &mut Json<'_>, corrupt: &Corrupt) {
    json.text("file", corrupt.file.as_bytes());
    json.text("text", corrupt.to_string().as_bytes());
}

fn made_json(done: &BackedUp, surface: &mut Surface<'_>) -> io::Result<()> {
    let mut json = Json::new(surface.out);
    json.open(b'{');
    generation_fields(&mut json, &done.generation);
    json.number("copied_files", done.copied_files);
    json.number("copied_bytes", done.copied_bytes);
    json.number("known_files", done.known_files);
    json.number("known_bytes", done.known_bytes);
    list_of(&mut json, "dropped", &done.pruned.generations, |json, number| json.value(format_args!("{number}")));
    json.number("removed_files", done.pruned.files);
    json.number("removed_bytes", done.pruned.bytes);
    unreadable(&mut json, &done.pruned.unreadable);
    json.close(b'}');
    json.line()?;
    json.flush()
}

fn unreadable(json: &mut Json<'_>, all: &[Corrupt]) {
    list_of(json, "unreadable", all, |json, corrupt| {
        json.entry();
        corrupt_fields(json, corrupt);
        json.close(b'}');
    });
}

pub(super) fn list(path: &Path, surface: &mut Surface<'_>) -> Result<(), Failure> {
    let backup = directory(path)?;
    let contents = Contents::read(&backup).map_err(|error| Failure::of_store(path, &error))?;
    let Contents { generations, unreadable: damaged, .. } = &contents;
    if generations.is_empty() && damaged.is_empty() {
        // A disk that is not mounted looks so too.
        return Err(Failure::of_store(path, &Misuse::NoGeneration { number: None }.into()));
    }
    match surface.format {
        Format::Json => {
            let mut json = Json::new(surface.out);
            json.open(b'{');
            list_of(&mut json, "generations", generations, |json, generation| {
                json.entry();
                generation_fields(json, generation);
                json.close(b'}');
            });
            unreadable(&mut json, damaged);
            json.close(b'}');
            json.line()?;
            json.flush()?;
        }
        _ => {
            let mut grid = Grid::new();
            grid.column("generation", generations.iter().map(|of| of.number.to_string()));
            grid.column("made", generations.iter().map(|of| surface.zone.full_micros(of.made)));
            let recorded = |of: &Generation| of.last_recorded.map_or("-".to_owned(), |at| surface.zone.full_micros(at));
            grid.column("last recorded", generations.iter().map(recorded));
            grid.column("files", generations.iter().map(|of| grouped(of.files.len() as u64)));
            grid.column("size", generations.iter().map(|of| bytes_text(of.bytes())));
            grid.write(&surface.view(), surface.out)?;
        }
    }
    match damaged.first() {
        None => Ok(()),
        Some(first) => Err(Failure::Damage(format!("{}: {first}", path.display()))),
    }
}

pub(super) fn verify(path: &Path, surface: &mut Surface<'_>) -> Result<(), Failure> {
    let backup = directory(path)?;
    let progress = surface.progress();
    let verified = erstwhile_engine::backup::verify(&backup, &mut show(&progress))
        .map_err(|error| Failure::of_store(path, &error))?;
    drop(progress);
    let Verified { files, bytes, damage, unnamed } = &verified;
    match surface.format {
        Format::Json => {
            let mut json = Json::new(surface.out);
            json.open(b'{');
            json.number("files", *files);
            json.number("bytes", *bytes);
            list_of(&mut json, "damage", damage, |json, (corrupt, generations)| {
                json.entry();
                corrupt_fields(json, corrupt);
                list_of(json, "generations", generations, |json, number| json.value(format_args!("{number}")));
                json.close(b'}');
            });
            list_of(&mut json, "unnamed", unnamed, |json, file| json.string(file.as_bytes()));
            json.close(b'}');
            json.line()?;
            json.flush()?;
        }
        _ => {
            writeln!(surface.out, "whole: {} ({})", count(*files, "file", "files"), bytes_text(*bytes))?;
            for (corrupt, generations) in damage {
                let lost = match &generations[..] {
                    [one] => format!("generation {one} cannot be restored"),
                    several => format!("generations {} cannot be restored", numbers(several)),
                };
                writeln!(surface.out, "damage: {corrupt}; {lost}")?;
            }
            if !unnamed.is_empty() {
                let files = count(unnamed.len() as u64, "file", "files");
                writeln!(surface.out, "{files} that no generation names; the next backup removes them")?;
            }
        }
    }
    match damage.first() {
        None => Ok(()),
        Some((first, _)) => Err(Failure::Damage(format!(
            "{}: remove what is damaged (first: {}) and make a backup: what the store still has is copied anew, and what \
             it has no more is lost to these generations",
            path.display(),
            first.file
        ))),
    }
}

//! Files become items become lines: what `inspect` does.
//!
//! Invariants:
//! - Nothing is written but the output, and no lock is taken.
//! - A file that cannot be read is shown as that, and the others are shown all the same.
//!
//! Steps: read a file, and what its neighbours say → [`inspect`](erstwhile_engine::check::inspect) → write each item →
//! count what was found.

use crate::args::InspectArgs;
use crate::fail::{Failure, no_store};
use crate::forms::Format;
use crate::forms::inspected::{Counts, Writer};
use erstwhile_engine::check::inspect::{Around, Finding, Item, Options, inspect, inspect_store};
use erstwhile_engine::io::DiskStorage;
use erstwhile_engine::store::exists;
use std::io::{self, Write};
use std::path::Path;

/// Shows the files named, or all files of the store. The form is not [`Format::Csv`].
pub fn run(store: Option<&Path>, args: &InspectArgs, format: Format, out: &mut dyn Write) -> Result<(), Failure> {
    let options = Options { rows: args.rows };
    let mut writer = Writer::new(format, out);
    if args.files.is_empty() {
        let path = store.unwrap_or(Path::new("."));
        let storage = DiskStorage::open(path, false).map_err(|error| Failure::file(path, &error))?;
        inspect_store(&storage, options, &mut |item| writer.item(item.file, item))?;
        if let Ok(false) = exists(&storage) {
            writer.finish()?;
            return Err(no_store(path));
        }
    }
    let mut neighbours = None;
    for path in &args.files {
        file(path, options, &mut neighbours, &mut writer)?;
    }
    outcome(writer.finish()?)
}

/// A directory, and what it says of its files.
type Neighbours<'a> = Option<(&'a Path, Around)>;

fn file<'a>(
    path: &'a Path,
    options: Options,
    neighbours: &mut Neighbours<'a>,
    writer: &mut Writer<'_>,
) -> io::Result<()> {
    let shown = path.to_string_lossy();
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    if neighbours.as_ref().is_none_or(|(known, _)| *known != folder) {
        // A folder that cannot be read says nothing.
        let around = DiskStorage::open(folder, false).map(|storage| Around::of(&storage)).unwrap_or_default();
        *neighbours = Some((folder, around));
    }
    let around = neighbours.as_ref().map(|(_, around)| around);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match (std::fs::read(path), around) {
        (Ok(bytes), Some(around)) => inspect(&name, &bytes, around, options, &mut |item| writer.item(&shown, item)),
        (Ok(bytes), None) => inspect(&name, &bytes, &Around::default(), options, &mut |item| writer.item(&shown, item)),
        (Err(error), _) => {
            let finding = Some(Finding::Unread(error.to_string()));
            let (structure, fields) = ("file", Vec::new());
            writer.item(&shown, &Item { file: &name, offset: 0, bytes: 0, depth: 0, structure, fields, finding })
        }
    }
}

/// How it ends: what could not be looked at comes before what was found where one could look.
fn outcome(counts: Counts) -> Result<(), Failure> {
    let Counts { damage, version, unread, .. } = counts;
    let structures = |count: u64| if count == 1 { "1 structure".to_owned() } else { format!("{count} structures") };
    let files = |count: u64| if count == 1 { "1 file".to_owned() } else { format!("{count} files") };
    let mut texts = Vec::new();
    if unread > 0 {
        texts.push(format!("{} could not be read", files(unread)));
    }
    if version > 0 {
        texts.push(format!("{} of a format that this program does not read", files(version)));
    }
    if damage > 0 {
        texts.push(format!("{} damaged or missing: see what is marked `damage`", structures(damage)));
    }
    match texts.join("; ") {
        text if unread + version > 0 => Err(Failure::Failed(text)),
        text if damage > 0 => Err(Failure::Damage(text)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;

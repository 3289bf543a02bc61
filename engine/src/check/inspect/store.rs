//! All files of a directory, and what they say about each other.
//!
//! A writer may be at work: what a file names and is not there is damage only if it is still named when looked at again.

use super::item::{Item, Sink, Value};
use super::{Around, Finding, Options, inspect};
use crate::error::{Fault, Structure};
use crate::format::frame::{FileHeader, FileKind, HEADER_BYTES, kind, read_frame};
use crate::format::names;
use crate::io::Storage;
use crate::log::decode_note;
use crate::manifest::{decode_current, read_current};
use std::collections::BTreeMap;
use std::io;

pub(super) fn around(storage: &dyn Storage) -> Around {
    // The note comes before the logs, so that no log read later is shorter than it says.
    let durable = storage.read_note(names::LOCK).ok().flatten().and_then(|note| decode_note(&note.bytes).ok());
    let current = current(storage);
    let manifest = read_current(storage).ok();
    let files = storage.list().unwrap_or_default();
    let mut logs: Vec<u64> = files
        .iter()
        .filter_map(|(name, _)| names::parse(name))
        .filter(|(kind, _)| *kind == FileKind::Log)
        .map(|(_, number)| number)
        .collect();
    logs.sort_unstable();
    let newest_log = logs.into_iter().rev().find(|&number| has_begun(storage, number));
    let store = manifest.as_ref().map(|manifest| manifest.store_id).or_else(|| store_of_most(storage, &files));
    Around { store, manifest, current, durable, newest_log }
}

/// The store that most sound headers name, where the manifest does not tell.
fn store_of_most(storage: &dyn Storage, files: &[(String, u64)]) -> Option<[u8; 16]> {
    let mut named: BTreeMap<[u8; 16], usize> = BTreeMap::new();
    for (name, _) in files.iter().filter(|(name, _)| names::parse(name).is_some()) {
        if let Ok(map) = storage.map(name)
            && let Ok(header) = FileHeader::decode(&map)
        {
            *named.entry(header.id.store).or_default() += 1;
        }
    }
    named.into_iter().max_by_key(|(_, files)| *files).map(|(store, _)| store)
}

/// The number of the manifest in force.
fn current(storage: &dyn Storage) -> Option<u64> {
    decode_current(&storage.read_from(names::CURRENT, 0).ok()?).ok()
}

/// Whether header and start of a log are whole.
fn has_begun(storage: &dyn Storage, number: u64) -> bool {
    let Ok(bytes) = storage.read_from(&names::log(number), 0) else {
        return false;
    };
    let at = HEADER_BYTES as u64;
    match (FileHeader::decode(&bytes), bytes.get(HEADER_BYTES..)) {
        (Ok(header), Some(rest)) => read_frame(rest, &header.id, at).is_ok_and(|frame| frame.kind == kind::LOG_START),
        _ => false,
    }
}

fn put_file(
    name: &str,
    fields: Vec<(&'static str, Value)>,
    finding: Option<Finding>,
    each: &mut dyn FnMut(&Item<'_>) -> io::Result<()>,
) -> io::Result<()> {
    Sink::new(name, 0, each).put(0, 0, Structure::File.word(), fields, finding)
}

/// Shows all files of a store: `CURRENT`, manifests, segments, logs, `LOCK`, then by name and size what else is there.
pub fn inspect_store(
    storage: &dyn Storage,
    options: Options,
    each: &mut dyn FnMut(&Item<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let around = Around::of(storage);
    let files = match storage.list() {
        Ok(files) => files,
        Err(error) => return put_file(".", Vec::new(), Some(Finding::Unread(error.to_string())), each),
    };
    let mut ordered: Vec<_> = files.iter().map(|(name, bytes)| (place(name), name, *bytes)).collect();
    ordered.sort();
    let is_there = |name: &str| files.iter().any(|(file, _)| file == name);
    for (name, still_named) in missing(&around, &is_there) {
        if still_named(storage) {
            put_file(&name, Vec::new(), Some(Finding::Damage(Fault::Missing)), each)?;
        }
    }
    for ((order, _), name, bytes) in ordered {
        if order == OTHER {
            put_file(name, vec![("size", Value::Number(bytes)), ("of_the_store", Value::Flag(false))], None, each)?;
            continue;
        }
        match storage.read_from(name, 0) {
            // Removed since it was listed; what is needed and gone was told above.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => put_file(name, Vec::new(), Some(Finding::Unread(error.to_string())), each)?,
            Ok(bytes) => inspect(name, &bytes, &around, options, each)?,
        }
    }
    Ok(())
}

const OTHER: u8 = 5;

/// A file's place in the order of what is shown.
fn place(name: &str) -> (u8, u64) {
    match names::parse(name) {
        Some((FileKind::Manifest, number)) => (1, number),
        Some((FileKind::Segment, number)) => (2, number),
        Some((FileKind::Log, number)) => (3, number),
        None if name == names::CURRENT || name == names::CURRENT_NEW => (0, 0),
        None if name == names::LOCK => (4, 0),
        None => (OTHER, 0),
    }
}

/// Whether a file that is not there is named by what is there now.
type StillNamed = Box<dyn Fn(&dyn Storage) -> bool>;

/// Files that others name and that are not there.
fn missing(around: &Around, is_there: &dyn Fn(&str) -> bool) -> Vec<(String, StillNamed)> {
    let mut missing: Vec<(String, StillNamed)> = Vec::new();
    if let Some(number) = around.current
        && !is_there(&names::manifest(number))
    {
        missing.push((names::manifest(number), Box::new(move |storage| current(storage) == Some(number))));
    }
    for &number in around.manifest.iter().flat_map(|manifest| manifest.segments.keys()) {
        if !is_there(&names::segment(number)) {
            let still = move |storage: &dyn Storage| {
                let is_gone =
                    storage.list().is_ok_and(|files| files.iter().all(|(name, _)| *name != names::segment(number)));
                is_gone && read_current(storage).is_ok_and(|state| state.segments.contains_key(&number))
            };
            missing.push((names::segment(number), Box::new(still)));
        }
    }
    if around.current.is_none() && !is_there(names::CURRENT) {
        missing.push((names::CURRENT.to_owned(), Box::new(holds_history_only)));
    }
    missing
}

/// Whether a directory has no `CURRENT` but what a store holds.
fn holds_history_only(storage: &dyn Storage) -> bool {
    let Ok(files) = storage.list() else {
        return false;
    };
    let is_history =
        |name: &str| names::parse(name).is_some_and(|(kind, _)| matches!(kind, FileKind::Log | FileKind::Segment));
    files.iter().all(|(name, _)| name != names::CURRENT) && files.iter().any(|(name, _)| is_history(name))
}

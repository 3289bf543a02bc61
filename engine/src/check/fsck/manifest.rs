//! `CURRENT` and the manifest that it names.
//!
//! No fact is lost with either: the segments and logs are there all the same. But nothing says any more which of them are
//! the store.

use super::report::{Effect, Finding, Severity, Total, Wrong};
use super::taken::Taken;
use super::work::Work;
use super::{TRIES, is_still_named};
use crate::check::inspect::walk::{self, Stretch};
use crate::codec::varint;
use crate::error::{Fault, Structure};
use crate::format::frame::{FileHeader, FileId, FileKind, HEADER_BYTES, HeaderFault, kind, version_gap};
use crate::format::names;
use crate::manifest::{Edit, Manifest, decode_current, decode_edit};
use std::io::ErrorKind;

/// The place of manifests among the totals.
const TOTAL: usize = 0;

pub(super) fn check(work: &Work<'_>, taken: &Taken) {
    let current = || work.storage.read_from(names::CURRENT, 0);
    for _ in 0..TRIES {
        let bytes = match current() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return without_current(work, taken),
            Err(error) => return work.find(unread(names::CURRENT, &error)),
        };
        let number = match decode_current(&bytes) {
            Ok(number) => number,
            Err(fault) => return work.find(Finding::damage(names::CURRENT, 0, Structure::Current, fault)),
        };
        let name = names::manifest(number);
        match work.storage.read_from(&name, 0) {
            Ok(manifest) => {
                let files = Total { files: 1, bytes: bytes.len() as u64, ..Total::default() };
                work.total(TOTAL, Total { frames: 1, bytes_verified: bytes.len() as u64, ..files });
                return check_file(work, taken, &name, number, &manifest);
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return work.find(unread(&name, &error)),
            // Replaced, unless it is still the one.
            Err(_) if is_still_named(work.storage, &name, |now| now.around.current == Some(number)) => {
                return work.find(Finding::file(Severity::Damage, &name, Fault::Missing.into()));
            }
            Err(_) => {}
        }
    }
}

pub(super) fn unread(name: &str, error: &std::io::Error) -> Finding {
    Finding::file(Severity::Warning, name, Wrong::Unread(error.to_string()))
}

/// Without `CURRENT`, a directory that holds history is damaged, and another is no store.
fn without_current(work: &Work<'_>, taken: &Taken) {
    let is_history = |name: &String| matches!(names::parse(name), Some((FileKind::Log | FileKind::Segment, _)));
    if taken.files.keys().any(is_history) {
        work.find(Finding::file(Severity::Damage, names::CURRENT, Fault::Missing.into()));
    } else {
        work.find(Finding::file(Severity::Warning, "", Wrong::NoStore));
    }
}

/// Why a header does not begin the file that it should; `None` if it does.
pub(super) fn header_fault(bytes: &[u8], name: &str, kind: FileKind, id: Option<&FileId>) -> Option<Wrong> {
    match FileHeader::decode(bytes) {
        Err(HeaderFault::Fault(fault)) => Some(fault.into()),
        Err(HeaderFault::Version(found)) => Some(Wrong::Version(version_gap(name, found))),
        Ok(header) => {
            let named = names::parse(name);
            let what = crate::check::inspect::foreign(
                &header,
                named.or(Some((kind, header.id.number))),
                id.map(|id| id.store),
            )?;
            Some(Fault::Foreign { what }.into())
        }
    }
}

fn check_file(work: &Work<'_>, taken: &Taken, name: &str, number: u64, bytes: &[u8]) {
    let store = taken.around.store.unwrap_or_default();
    work.advance(bytes.len() as u64);
    let id = match header_fault(bytes, name, FileKind::Manifest, None) {
        None => FileHeader::decode(bytes).map_or(FileId { store, number }, |header| header.id),
        Some(wrong @ Wrong::Version(_)) => return work.find(Finding::file(Severity::Warning, name, wrong)),
        Some(wrong) => {
            work.find(Finding::damage(name, 0, Structure::FileHeader, wrong));
            FileId { store, number }
        }
    };
    let stretches = walk::stretches(bytes, &id, FileKind::Manifest);
    let is_edit = |stretch: &Stretch<'_>| matches!(stretch, Stretch::Sound(_, frame) if frame.kind == kind::EDIT);
    let last_edit = stretches.iter().rposition(is_edit);
    // So many frames must be whole: nothing names a file before its snapshot is durable.
    let mut must = 1u64;
    let mut state = Some(Manifest::empty(id.store));
    let mut total = Total { files: 1, bytes: bytes.len() as u64, ..Total::default() };
    for (i, stretch) in stretches.iter().enumerate() {
        match stretch {
            Stretch::Bad { at, end, fault } if must == 0 && last_edit.is_none_or(|last| last < i) => {
                // A live writer may be in the midst of it.
                if !taken.is_live {
                    let wrong = Wrong::Torn { bytes: end - at, fault: fault.clone() };
                    let torn = Finding::damage(name, *at, Structure::Edit, wrong).meaning_for(Effect::Nothing);
                    work.find(Finding { severity: Severity::Info, next: super::Next::Nothing, ..torn });
                }
            }
            Stretch::Bad { at, fault, .. } => {
                work.find(Finding::damage(name, *at, Structure::Frame, fault.clone()));
                state = None;
            }
            Stretch::Sound(at, frame) => {
                total.frames += 1;
                total.bytes_verified += frame.end - at;
                let is_first = *at == HEADER_BYTES as u64;
                let (structure, edit) = match frame.kind {
                    kind::SNAPSHOT if is_first => (Structure::Snapshot, snapshot(frame.payload, &mut must)),
                    kind::EDIT if !is_first => (Structure::Edit, decode_edit(frame.payload)),
                    _ if !is_first && frame.is_optional() => continue,
                    found => {
                        let fault = Fault::Tag { what: "frame of a manifest", found: found.into() };
                        (Structure::Frame, Err(fault))
                    }
                };
                must = must.saturating_sub(1);
                let after = edit.and_then(|edit| match state.take() {
                    Some(before) => before.after(&edit).map(Some).map_err(Fault::Edit),
                    None => Ok(None),
                });
                match after {
                    Ok(after) => state = after,
                    Err(fault) => work.find(Finding::damage(name, *at, structure, fault)),
                }
            }
        }
    }
    if must > 0 && !matches!(stretches.last(), Some(Stretch::Bad { .. })) {
        work.find(Finding::damage(name, bytes.len() as u64, Structure::Snapshot, Fault::Missing));
    }
    work.total(TOTAL, total);
}

/// The state that a snapshot holds; `must` becomes how many frames it and what belongs to it are.
fn snapshot(mut payload: &[u8], must: &mut u64) -> Result<Edit, Fault> {
    let more = varint::take_u64(&mut payload)?;
    *must = more.saturating_add(1);
    decode_edit(payload)
}

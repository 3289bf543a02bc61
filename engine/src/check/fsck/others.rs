//! Files that belong to nothing: what a crash left, copies, other stores' files, and what is no file of a store.

use super::report::{Finding, Severity, Wrong};
use super::taken::Taken;
use super::work::Work;
use crate::format::frame::{FileKind, MAGIC};
use crate::format::names;

pub(super) fn check(work: &Work<'_>, taken: &Taken) {
    for name in taken.files.keys() {
        if let Some((severity, wrong)) = judged(work, taken, name) {
            work.find(Finding::file(severity, name, wrong));
        }
    }
}

/// What is to be said of a file that is no part of the store; `None` if it is one.
fn judged(work: &Work<'_>, taken: &Taken, name: &str) -> Option<(Severity, Wrong)> {
    let around = &taken.around;
    let unnamed = |why| Some((Severity::Info, Wrong::Unnamed { why }));
    let why = match (names::parse(name), &around.manifest) {
        (Some((FileKind::Manifest, number)), _) => match around.current {
            Some(current) if current == number => return None,
            _ => "a manifest that CURRENT does not name: replaced, or never in force",
        },
        // Without a manifest all were looked at.
        (Some(_), None) => return None,
        (Some((FileKind::Segment, number)), Some(manifest)) => {
            if manifest.segments.contains_key(&number) {
                return None;
            }
            "no state names it: a merge or a crash left it, or a writer is about to name or remove it"
        }
        (Some((FileKind::Log, number)), Some(manifest)) => {
            if number >= manifest.log_floor {
                return None;
            }
            "all that it held is in segments: the next opening removes it"
        }
        (None, _) if [names::CURRENT, names::LOCK].contains(&name) => return None,
        (None, _) if name == names::CURRENT_NEW => "the next CURRENT, never in force: a crash left it",
        (None, _) if name.ends_with(".segment.tmp") => "an unfinished segment: a crash left it, or it is being written",
        (None, _) => {
            let is_ours = work.storage.map(name).is_ok_and(|map| map.starts_with(&MAGIC));
            if !is_ours {
                return unnamed("no file of a store: nothing reads it");
            }
            "a file of a store under another name: nothing reads it"
        }
    };
    let Some(header) = Taken::header(work.storage, name) else {
        return unnamed(why);
    };
    if around.store.is_some_and(|store| store != header.id.store) {
        let wrong = crate::error::Fault::Foreign { what: "store" };
        return Some((Severity::Warning, wrong.into()));
    }
    let own = names::name(header.kind, header.id.number);
    if own == name || name.strip_suffix(".tmp") == Some(&own) {
        return unnamed(why);
    }
    let is_twice = taken.files.contains_key(&own);
    Some((Severity::Warning, Wrong::Renamed { own, is_twice }))
}

//! What a directory says at one moment: the state in force, and which files there are.

use crate::check::inspect::Around;
use crate::format::frame::{FileHeader, HEADER_BYTES};
use crate::format::names;
use crate::io::Storage;
use std::collections::BTreeMap;
use std::io;

/// A moment of a directory.
pub(super) struct Taken {
    /// What the files say of each other.
    pub(super) around: Around,
    /// Names and sizes.
    pub(super) files: BTreeMap<String, u64>,
    /// Whether a writer is at work.
    pub(super) is_live: bool,
}

impl Taken {
    /// Who writes is asked for before the note, and the note is read before the logs: what it says holds of these.
    pub(super) fn of(storage: &dyn Storage) -> io::Result<Taken> {
        let is_live = is_live(storage);
        let around = Around::of(storage);
        let files = storage.list()?.into_iter().collect();
        Ok(Taken { around, files, is_live })
    }

    /// The header of a file, if it is sound.
    pub(super) fn header(storage: &dyn Storage, name: &str) -> Option<FileHeader> {
        let map = storage.map(name).ok()?;
        FileHeader::decode(map.get(..HEADER_BYTES)?).ok()
    }
}

/// Whether a writer is at work; one that cannot be asked about counts as none.
fn is_live(storage: &dyn Storage) -> bool {
    storage.lock_holder(names::LOCK).is_ok_and(|holder| holder.is_some())
}

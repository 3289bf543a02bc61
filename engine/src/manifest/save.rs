//! The manifest's files: the state read, a step made durable, a long history replaced by its result.
//!
//! Steps of a change: check against the state → append → sync → the new state. Steps of a new file: write it whole →
//! sync → `CURRENT.new` → sync → rename to `CURRENT` → sync the directory → remove the file before.
//!
//! Invariants:
//! - `CURRENT` names a manifest whose snapshot is durable.
//! - A manifest has one writer: whoever opens a store to write begins a new file, so that a torn end is never
//!   continued.
//! - After a failed write nothing more is written.

use super::edit::{decode_edit, encode_edit};
use super::{Edit, Manifest, SegmentMeta};
use crate::codec::varint;
use crate::error::{During, Error, Fault, FirstFailure, Misuse, Structure};
use crate::format::frame::{
    FileHeader, FileId, FileKind, HEADER_BYTES, kind, open_frame, put_frame, read_frame, scan_frames,
};
use crate::format::names;
use crate::io::{Clock, Output, Storage};
use std::io::ErrorKind;
use std::sync::Arc;

/// A manifest is replaced when its edits have more bytes than this, and so many times those of a snapshot of the state.
const ROLL_BYTES_MIN: u64 = 64 << 10;
const ROLL_FACTOR: u64 = 4;

/// A snapshot goes on in a frame of its own beyond this, so that no frame nears the limit of 4 GiB.
const SNAPSHOT_FRAME_BYTES: usize = 64 << 20;

/// A reader that finds its manifest replaced this often in a row gives up.
const READ_TRIES: usize = 100;

/// The state in force, for a reader; the writer may go on meanwhile.
pub fn read_current(storage: &dyn Storage) -> Result<Manifest, Error> {
    load(storage).map(|loaded| loaded.state)
}

struct Loaded {
    state: Manifest,
    number: u64,
}

fn load(storage: &dyn Storage) -> Result<Loaded, Error> {
    let mut before = None;
    for _ in 0..READ_TRIES {
        let current = match storage.read_from(names::CURRENT, 0) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(no_current(storage)?),
            current => current.during("read", names::CURRENT)?,
        };
        let number = decode_current(&current).map_err(|fault| fault.at(names::CURRENT, 0, Structure::Current))?;
        let name = names::manifest(number);
        match storage.read_from(&name, 0) {
            Err(error) if error.kind() == ErrorKind::NotFound && before != Some(number) => {
                before = Some(number);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(Fault::Missing.at(&name, 0, Structure::File).into());
            }
            bytes => {
                let state = decode_manifest(&bytes.during("read", &name)?, &name, number)?;
                return Ok(Loaded { state, number });
            }
        }
    }
    Err(Error::Io { operation: "keep up with", file: names::CURRENT.to_owned(), source: ErrorKind::TimedOut.into() })
}

/// Without `CURRENT`, a directory that holds history is damaged, and another is no store.
fn no_current(storage: &dyn Storage) -> Result<Error, Error> {
    let files = storage.list().during("list", "the directory")?;
    let holds_history = |(name, _): &(String, u64)| {
        names::parse(name).is_some_and(|(kind, _)| matches!(kind, FileKind::Log | FileKind::Segment))
    };
    Ok(if files.iter().any(|(name, _)| crate::backup::is_generation(name)) {
        Misuse::IsBackup.into()
    } else if files.iter().any(holds_history) {
        Fault::Missing.at(names::CURRENT, 0, Structure::Current).into()
    } else {
        Misuse::NoStore.into()
    })
}

pub(super) fn encode_current(number: u64) -> Vec<u8> {
    let name = names::manifest(number);
    format!("{name}\n{:08x}\n", crc32fast::hash(name.as_bytes())).into_bytes()
}

pub(crate) fn decode_current(bytes: &[u8]) -> Result<u64, Fault> {
    let number = std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.split_once('\n'))
        .and_then(|(name, _)| names::parse(name))
        .filter(|(kind, _)| *kind == FileKind::Manifest);
    match number {
        Some((_, number)) if encode_current(number) == bytes => Ok(number),
        _ => Err(Fault::Value { what: "name or checksum" }),
    }
}

pub(super) fn decode_manifest(bytes: &[u8], name: &str, number: u64) -> Result<Manifest, Error> {
    let id = FileHeader::expect(bytes, name, FileKind::Manifest, number)?.id;
    let mut state = Manifest::empty(id.store);
    // So many frames must be whole: nothing named this file before its snapshot was durable.
    let mut must = 1;
    let mut at = HEADER_BYTES as u64;
    let from = |at: u64| &bytes[at as usize..];
    while must > 0 || at < bytes.len() as u64 {
        let frame = match read_frame(from(at), &id, at) {
            Ok(frame) => frame,
            Err(_) if must == 0 && scan_frames(from(at), &id, at, kind::EDIT).next().is_none() => {
                break;
            }
            Err(fault) => return Err(fault.at(name, at, Structure::Frame).into()),
        };
        let is_first = at == HEADER_BYTES as u64;
        let corrupt = |structure: Structure, fault: Fault| Err(fault.at(name, at, structure).into());
        let (structure, edit) = match frame.kind {
            kind::SNAPSHOT if is_first => {
                let mut payload = frame.payload;
                let more = varint::take_u64(&mut payload).map_err(Fault::from);
                let edit = more.and_then(|more| {
                    must = more.saturating_add(1);
                    decode_edit(payload)
                });
                (Structure::Snapshot, edit)
            }
            kind::EDIT if !is_first => (Structure::Edit, decode_edit(frame.payload)),
            _ if frame.is_optional() && !is_first => {
                at = frame.end;
                continue;
            }
            found => {
                let what = "frame of a manifest";
                return corrupt(Structure::Frame, Fault::Tag { what, found: found.into() });
            }
        };
        match edit.and_then(|edit| state.apply(&edit).map_err(Fault::Edit)) {
            Ok(()) => {}
            Err(fault) => return corrupt(structure, fault),
        }
        must = must.saturating_sub(1);
        at = frame.end;
    }
    Ok(state)
}

/// The frames that make a state from nothing.
pub(super) fn encode_snapshot(state: &Manifest, id: &FileId, frame_bytes: usize) -> Vec<u8> {
    let mut parts = vec![Edit {
        log_floor: Some(state.log_floor),
        last_recorded: Some(state.last_recorded),
        next_file: state.next_file,
        ..Edit::default()
    }];
    let mut bytes = 0;
    for meta in state.segments.values() {
        if bytes > frame_bytes {
            bytes = 0;
            parts.push(Edit { next_file: state.next_file, ..Edit::default() });
        }
        bytes += meta_bytes(meta);
        if let Some(part) = parts.last_mut() {
            part.add.push(meta.clone());
        }
    }
    let mut out = Vec::new();
    for (i, part) in parts.iter().enumerate() {
        let offset = (HEADER_BYTES + out.len()) as u64;
        let open = open_frame(&mut out, if i == 0 { kind::SNAPSHOT } else { kind::EDIT });
        if i == 0 {
            varint::put_u64(&mut out, parts.len() as u64 - 1);
        }
        out.extend_from_slice(&encode_edit(part));
        open.close(&mut out, id, offset);
    }
    out
}

/// Roughly what a segment weighs in a manifest.
fn meta_bytes(meta: &SegmentMeta) -> usize {
    meta.summary.len() + 64 * (meta.tables.len() + 1)
}

/// The manifest's file in force, and its only writer; the caller holds the store's lock.
pub struct ManifestFile {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    state: Arc<Manifest>,
    id: FileId,
    name: String,
    output: Box<dyn Output>,
    edit_bytes: u64,
    failed: Option<Arc<FirstFailure>>,
}

impl ManifestFile {
    /// Makes a store of a directory that holds none; durable before this returns.
    pub fn create_new(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        store_id: [u8; 16],
    ) -> Result<(Arc<Manifest>, ManifestFile), Error> {
        match storage.read_from(names::CURRENT, 0) {
            Ok(_) => return Err(Misuse::StoreExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => match no_current(&*storage)? {
                Error::Misuse(Misuse::NoStore) => {}
                other => return Err(other),
            },
            Err(source) => return Err(source).during("read", names::CURRENT),
        }
        ManifestFile::begin_past(storage, clock, Manifest::empty(store_id), 0)
    }

    /// Makes a store of a directory that holds the files of `state` and nothing else; durable before this returns.
    pub(crate) fn create_of(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        state: Manifest,
    ) -> Result<(Arc<Manifest>, ManifestFile), Error> {
        match storage.read_from(names::CURRENT, 0) {
            Ok(_) => Err(Misuse::StoreExists.into()),
            Err(error) if error.kind() == ErrorKind::NotFound => ManifestFile::begin_past(storage, clock, state, 0),
            Err(source) => Err(source).during("read", names::CURRENT),
        }
    }

    /// Reads the state in force and begins a new file with it; durable before this returns.
    ///
    /// The state's `next_file` is past every log and segment in the directory, whether a manifest knew it or not.
    pub fn open(storage: Arc<dyn Storage>, clock: Arc<dyn Clock>) -> Result<(Arc<Manifest>, ManifestFile), Error> {
        let Loaded { state, number } = load(&*storage)?;
        ManifestFile::begin_past(storage, clock, state, number)
    }

    fn begin_past(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        mut state: Manifest,
        number: u64,
    ) -> Result<(Arc<Manifest>, ManifestFile), Error> {
        let files = storage.list().during("list", "the directory")?;
        let highest = |kinds: &[FileKind]| names::highest(files.iter().map(|(name, _)| name.as_str()), kinds);
        state.next_file = state.next_file.max(highest(&[FileKind::Log, FileKind::Segment]) + 1);
        let number = number.max(highest(&[FileKind::Manifest])) + 1;
        let state = Arc::new(state);
        let file = begin(storage, clock, state.clone(), number)?;
        for (name, _) in &files {
            if names::parse(name).is_some_and(|(kind, _)| kind == FileKind::Manifest) {
                // A file that stays is removed at the next opening.
                let _ = file.storage.remove_unpinned(name);
            }
        }
        Ok((state, file))
    }

    /// The state in force.
    pub fn state(&self) -> &Arc<Manifest> {
        &self.state
    }

    /// Takes a step, durable before this returns.
    ///
    /// After an error other than misuse the step may or may not have been taken, and the store must be opened again.
    pub fn apply(&mut self, edit: &Edit) -> Result<Arc<Manifest>, Error> {
        if let Some(first) = &self.failed {
            return Err(Error::Poisoned { first: first.clone() });
        }
        let next = self.state.after(edit).map_err(Misuse::Edit)?;
        let mut frame = Vec::new();
        let offset = self.output.len();
        put_frame(&mut frame, &self.id, offset, kind::EDIT, &encode_edit(edit));
        let result = self.output.append(&frame).map_err(|source| ("append to", source));
        let result = result.and_then(|()| self.output.sync().map_err(|source| ("sync", source)));
        if let Err((operation, source)) = result {
            return Err(self.fail(operation, self.name.clone(), source));
        }
        self.state = Arc::new(next);
        self.edit_bytes += frame.len() as u64;
        let live: usize = self.state.segments.values().map(|meta| meta_bytes(meta)).sum();
        if self.edit_bytes > ROLL_BYTES_MIN && self.edit_bytes / ROLL_FACTOR > live as u64 {
            self.roll();
        }
        Ok(self.state.clone())
    }

    fn fail(&mut self, operation: &'static str, file: String, source: std::io::Error) -> Error {
        let first = Arc::new(FirstFailure { operation, file, source });
        self.failed = Some(first.clone());
        Error::Poisoned { first }
    }

    /// Replaces the file. The state is durable already, so a failure spoils only what comes after: it is not known
    /// which file a reader would find then.
    fn roll(&mut self) {
        let (storage, clock) = (self.storage.clone(), self.clock.clone());
        match begin(storage, clock, self.state.clone(), self.id.number + 1) {
            Ok(next) => {
                let before = std::mem::replace(self, next);
                let _ = self.storage.remove_unpinned(&before.name);
            }
            Err(Error::Io { operation, file, source }) => {
                self.fail(operation, file, source);
            }
            Err(_) => unreachable!("beginning a file fails only in the storage"),
        }
    }
}

/// Writes a new manifest and makes it the one in force; fails only with [`Error::Io`].
fn begin(
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    state: Arc<Manifest>,
    number: u64,
) -> Result<ManifestFile, Error> {
    let id = FileId { store: state.store_id, number };
    let header = FileHeader { kind: FileKind::Manifest, id, created: clock.now_micros() };
    let mut bytes = header.encode().to_vec();
    bytes.extend(encode_snapshot(&state, &id, SNAPSHOT_FRAME_BYTES));
    let name = names::manifest(number);
    let mut output = storage.create(&name).during("create", &name)?;
    output.append(&bytes).during("append to", &name)?;
    output.sync().during("sync", &name)?;
    storage.sync_dir().during("sync the directory of", &name)?;
    set_current(&*storage, number)?;
    Ok(ManifestFile { storage, clock, state, id, name, output, edit_bytes: 0, failed: None })
}

fn set_current(storage: &dyn Storage, number: u64) -> Result<(), Error> {
    const NEW: &str = names::CURRENT_NEW;
    let mut output = match storage.create(NEW) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            storage.remove(NEW).during("remove", NEW)?;
            storage.create(NEW)
        }
        created => created,
    }
    .during("create", NEW)?;
    output.append(&encode_current(number)).during("append to", NEW)?;
    output.sync().during("sync", NEW)?;
    storage.rename(NEW, names::CURRENT).during("rename", NEW)?;
    storage.sync_dir().during("sync the directory of", names::CURRENT)
}

impl std::fmt::Debug for ManifestFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ManifestFile({})", self.name)
    }
}

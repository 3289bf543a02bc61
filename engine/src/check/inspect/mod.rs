//! Shows what the files of a store hold, damaged or not, structure by structure.
//!
//! A file becomes a stream of [`Item`]s in the order of its bytes: every structure with its place, its fields and what
//! is wrong with it. Nothing is asked of a file before it is shown: a damaged header, a foreign store, a missing footer
//! are findings, and decoding goes on with whatever still tells the rest.
//!
//! Invariants:
//! - Nothing is written, and nothing is asked of the storage but names and bytes.
//! - Items whose depth is 0 tile the file: each byte is in exactly one of them.
//! - A payload is decoded only if its frame verified; the rest is shown as bytes.
//! - Every damaged stretch is reported once, with the place where sound frames go on.
//! - No bytes make it panic, and the work after damage is bounded (`walk`).
//!
//! Steps: [`Around`] learns what the neighbours say → the header → `walk` finds the sound frames and the stretches
//! between → the file's own kind decodes them.

mod item;
pub(crate) mod log;
mod manifest;
mod segment;
mod small;
mod store;
pub(crate) mod walk;

pub use item::{Finding, Item, Value};
pub use store::inspect_store;

use crate::error::{Fault, Structure};
use crate::fact::Micros;
use crate::format::frame::{FileHeader, FileId, FileKind, HEADER_BYTES, HeaderFault, UnverifiedHeader, kind};
use crate::format::names;
use crate::io::{Storage, lock};
use crate::log::Durable;
use crate::manifest::Manifest;
use item::Sink;
use std::io;

/// What is shown.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// So many rows, or row versions, of each structure that holds some.
    pub rows: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options { rows: 3 }
    }
}

/// What the other files of a store say about one; nothing, if there are none.
#[derive(Clone, Debug, Default)]
pub struct Around {
    /// The store's random number.
    pub store: Option<[u8; 16]>,
    /// The state in force.
    pub manifest: Option<Manifest>,
    /// The number of the manifest in force.
    pub current: Option<u64>,
    /// How far the last writer said that its log was durable.
    pub durable: Option<Durable>,
    /// The greatest number of a log whose beginning is whole: a log before it has no torn end.
    pub newest_log: Option<u64>,
}

impl Around {
    /// What a directory says. Take it before the files are read: a writer may be at work.
    pub fn of(storage: &dyn Storage) -> Around {
        store::around(storage)
    }
}

/// Shows a file's bytes; ends early only if `each` fails.
pub fn inspect(
    name: &str,
    bytes: &[u8],
    around: &Around,
    options: Options,
    each: &mut dyn FnMut(&Item<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut sink = Sink::new(name, options.rows, each);
    match name {
        names::CURRENT => small::current(bytes, false, &mut sink),
        names::CURRENT_NEW => small::current(bytes, true, &mut sink),
        names::LOCK => small::lock(bytes, &mut sink),
        _ if bytes.starts_with(&lock::MAGIC) => small::lock(bytes, &mut sink),
        _ => with_header(bytes, around, &mut sink),
    }
}

/// A log, segment or manifest on its way.
pub(super) struct Inspected<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) around: &'a Around,
    /// The file that its frames are of.
    pub(super) id: FileId,
}

fn with_header(bytes: &[u8], around: &Around, sink: &mut Sink<'_>) -> io::Result<()> {
    let named = names::parse(sink.file());
    let said = UnverifiedHeader::read(bytes);
    let decoded = FileHeader::decode(bytes);
    let store = around.store;
    let ids = match &decoded {
        Ok(header) => vec![header.id],
        Err(_) => candidates(said, named.map(|(_, number)| number), store),
    };
    let (id, frames_kind) = walk::identify(bytes, &ids);
    let kind = match &decoded {
        Ok(header) => Some(header.kind),
        Err(_) => frames_kind.or(named.map(|(kind, _)| kind)).or_else(|| {
            let byte = said?.kind;
            FileKind::ALL.into_iter().find(|kind| *kind as u8 == byte)
        }),
    };
    let finding = match &decoded {
        Err(HeaderFault::Version(found)) => Some(Finding::Version(*found)),
        Err(HeaderFault::Fault(fault)) => Some(Finding::Damage(fault.clone())),
        Ok(header) => foreign(header, named, store).map(|what| Finding::Damage(Fault::Foreign { what })),
    };
    let nothing = Around::default();
    let is_foreign = decoded.as_ref().is_ok_and(|header| store.is_some_and(|store| store != header.id.store));
    let inspected = Inspected { bytes, around: if is_foreign { &nothing } else { around }, id };
    let torn = decoded.is_err()
        && match kind {
            Some(FileKind::Log) => inspected.never_begun(),
            Some(FileKind::Manifest) => around.current.is_some_and(|current| current != id.number),
            _ => false,
        };
    let finding = match finding {
        Some(Finding::Damage(fault)) if torn => Some(Finding::Torn(fault)),
        other => other,
    };
    put_header(bytes, said, finding, sink)?;
    match kind {
        Some(FileKind::Log) => log::frames(&inspected, sink),
        Some(FileKind::Manifest) => manifest::frames(&inspected, sink),
        Some(FileKind::Segment) => segment::frames(&inspected, sink),
        None if bytes.len() > HEADER_BYTES => {
            let rest = &bytes[HEADER_BYTES..];
            let fields = vec![("head", walk::head(rest))];
            sink.put(HEADER_BYTES as u64, rest.len() as u64, "unknown bytes", fields, None)
        }
        None => Ok(()),
    }
}

/// Whose frames a file with a damaged header may hold, the likelier first.
fn candidates(said: Option<UnverifiedHeader>, number: Option<u64>, store: Option<[u8; 16]>) -> Vec<FileId> {
    let stores = [said.map(|said| said.id.store), store];
    let numbers = [said.map(|said| said.id.number), number];
    let mut ids: Vec<FileId> = Vec::new();
    for store in stores.into_iter().flatten() {
        for number in numbers.into_iter().flatten() {
            let id = FileId { store, number };
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
    }
    ids
}

/// In what a sound header contradicts the file's name or its neighbours.
pub(super) fn foreign(
    header: &FileHeader,
    named: Option<(FileKind, u64)>,
    store: Option<[u8; 16]>,
) -> Option<&'static str> {
    match named {
        Some((kind, _)) if kind != header.kind => Some("kind of file"),
        Some((_, number)) if number != header.id.number => Some("file number"),
        _ if store.is_some_and(|store| store != header.id.store) => Some("store"),
        _ => None,
    }
}

fn put_header(
    bytes: &[u8],
    said: Option<UnverifiedHeader>,
    finding: Option<Finding>,
    sink: &mut Sink<'_>,
) -> io::Result<()> {
    let len = bytes.len().min(HEADER_BYTES);
    let fields = match said {
        Some(said) => {
            let kind = FileKind::ALL.into_iter().find(|kind| *kind as u8 == said.kind);
            vec![
                ("version", Value::Number(said.version.into())),
                ("kind", kind.map_or(Value::Number(said.kind.into()), |kind| Value::Word(kind_word(kind)))),
                ("store", Value::Bytes(said.id.store.to_vec())),
                ("number", Value::Number(said.id.number)),
                ("created", Value::Micros(said.created)),
            ]
        }
        None => vec![("head", walk::head(bytes))],
    };
    sink.put(0, len as u64, Structure::FileHeader.word(), fields, finding)
}

fn kind_word(kind: FileKind) -> &'static str {
    match kind {
        FileKind::Log => "log",
        FileKind::Segment => "segment",
        FileKind::Manifest => "manifest",
    }
}

/// What a type of frame is called.
fn frame_word(byte: u8) -> Option<&'static str> {
    use crate::segment::Frames;
    let structure = match byte {
        kind::LOG_START => Structure::LogStart,
        kind::BATCH => Structure::Batch,
        kind::DIGEST => Structure::Digest,
        kind::DIGESTS_AGAIN => Structure::DigestsAgain,
        kind::SNAPSHOT => Structure::Snapshot,
        kind::EDIT => Structure::Edit,
        Frames::ROWS => Structure::Rows,
        Frames::PIECE => Structure::Piece,
        Frames::DIRECTORY => Structure::Directory,
        Frames::FOOTER => Structure::Footer,
        _ => return None,
    };
    Some(structure.word())
}

/// The kind of files that a type of frame belongs to; `None` for types that any file may hold.
fn file_kind_of(byte: u8) -> Option<FileKind> {
    match byte {
        kind::LOG_START | kind::BATCH | kind::DIGEST | kind::DIGESTS_AGAIN => Some(FileKind::Log),
        kind::SNAPSHOT | kind::EDIT => Some(FileKind::Manifest),
        kind::SEGMENT_FIRST..=kind::SEGMENT_LAST => Some(FileKind::Segment),
        _ => None,
    }
}

/// A range of recorded times as two values.
fn micros_range((least, greatest): (Micros, Micros)) -> Value {
    Value::List(vec![Value::Micros(least), Value::Micros(greatest)])
}

/// A range of observed seconds as two values.
fn second_range(first: i64, last: i64) -> Value {
    Value::List(vec![Value::Second(first), Value::Second(last)])
}

#[cfg(test)]
mod tests;

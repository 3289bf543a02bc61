//! A new store is built of what is left of a damaged one.
//!
//! The facts are in segments and logs, whatever the manifest says, and facts may be there twice; so all that is whole is
//! taken, from every file of the store, and where something is missing the streams are told what they lost.
//!
//! Invariants:
//! - Of the damaged store only what reads is called.
//! - Whatever is answered by the new store was answered by the old one before it was damaged, or is unknown.
//! - The new store becomes one at the end and at once: until then its directory has no `CURRENT`.
//! - Damage of any kind ends well: bytes that tell nothing leave a store that holds nothing, and say so.
//!
//! Steps: `known` gathers what manifests tell, of whatever age and however damaged → a segment that is whole is copied, of
//! others `segment` takes what is whole → `log` takes the commits of logs → `marks` writes down what is lost, as
//! losses of streams ([`loss`](crate::timeline::loss)) → a manifest names it all.

mod known;
mod log;
mod marks;
mod segment;

use crate::check::inspect::Around;
use crate::error::{During, Error, Misuse};
use crate::fact::{Micros, Name, StreamKey};
use crate::format::frame::{FileHeader, FileId, FileKind, HeaderFault, version_gap};
use crate::format::names;
use crate::io::{Clock, Storage};
use crate::manifest::{Manifest, ManifestFile, SegmentMeta, StreamExtent, decode_summary};
use crate::note;
use crate::timeline::loss::Loss;
use known::Known;
use marks::Marks;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// What became of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileReport {
    /// Its name.
    pub file: String,
    /// What became of it.
    pub fate: Fate,
}

/// What becomes of a file of a damaged store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is whole, and taken as it is.
    Whole,
    /// Some of it is taken: so many parts of looks, of so many streams that lost something.
    Part {
        /// Parts that were taken.
        parts: u64,
        /// Streams of which something is lost.
        streams_lost: u64,
        /// The first thing that was wrong.
        why: String,
    },
    /// Nothing of it is taken.
    Lost {
        /// What was wrong.
        why: String,
    },
    /// It is not of this store, or says nothing that other files do not.
    LeftOut {
        /// Why.
        why: String,
    },
}

/// What was lost of a stream.
#[derive(Clone, PartialEq, Eq)]
pub struct StreamLoss {
    /// Which.
    pub stream: Arc<StreamKey>,
    /// When the lost looks were; [`Loss::OF_ALL`] where nothing tells.
    pub seconds: Loss,
}

impl fmt::Debug for StreamLoss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StreamKey { table, host, name, kind, .. } = &*self.stream;
        let [table, host, name] = [table, host, name].map(|text| String::from_utf8_lossy(text));
        write!(f, "{table} of {host} ({name}, {}): {} to {}", kind.word(), self.seconds.first, self.seconds.last)
    }
}

/// What was found and done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The files, by name.
    pub files: Vec<FileReport>,
    /// Parts of looks in the new store.
    pub parts: u64,
    /// What is lost, by stream.
    pub lost: Vec<StreamLoss>,
    /// Of notes that are lost: what they told, in words.
    pub notes_lost: Vec<String>,
    /// Stretches of recorded time in which commits are lost that no structure tells of: whatever streams they were of.
    pub recorded_lost: Vec<(Micros, Micros)>,
}

impl Recovered {
    /// Whether nothing is lost.
    pub fn is_whole(&self) -> bool {
        self.lost.is_empty() && self.notes_lost.is_empty() && self.recorded_lost.is_empty()
    }
}

/// What is told while it goes on: bytes read of so many, and the file at hand.
pub type Progress<'p> = &'p mut dyn FnMut(u64, u64, &str);

/// Builds in `to`, which must be empty, a store of what is whole in `from`.
pub fn recover(
    from: &dyn Storage,
    to: &Arc<dyn Storage>,
    clock: &Arc<dyn Clock>,
    progress: Progress<'_>,
) -> Result<Recovered, Error> {
    if to.list().during("list", "the directory")?.iter().any(|(name, _)| name != names::LOCK) {
        return Err(Misuse::StoreExists.into());
    }
    let listed = from.list().during("list", "the directory")?;
    let store = Around::of(from).store;
    let mut files: Vec<Found> = Vec::new();
    for (name, bytes) in &listed {
        files.extend(Found::of(from, name, *bytes, store)?);
    }
    let known = Known::of(from, &files, store);
    let mut work = Work {
        from,
        to: &**to,
        now: clock.now_micros(),
        // A store whose files tell no number gets that of none.
        store: store.unwrap_or_default(),
        next_file: names::highest(listed.iter().map(|(name, _)| name.as_str()), &FileKind::ALL).max(known.next_file)
            + 1,
        metas: Vec::new(),
        untold: Vec::new(),
        marks: Marks::default(),
        recovered: Recovered::default(),
    };
    for (name, _) in &listed {
        let is_odd = !files.iter().any(|file| file.name == *name);
        if is_odd && ![names::CURRENT, names::CURRENT_NEW, names::LOCK].contains(&name.as_str()) {
            work.tell(
                name,
                Fate::LeftOut { why: "it has no name of a store's file, or is another store's".to_owned() },
            );
        }
    }
    let total = files.iter().map(|file| file.bytes).sum();
    let mut read = 0;
    let mut taken: BTreeSet<u64> = BTreeSet::new();
    for file in files.iter().filter(|file| file.kind == FileKind::Segment) {
        progress(read, total, &file.name);
        work.segment(file, &known, &mut taken)?;
        read += file.bytes;
    }
    let missing: Vec<_> = known.live.iter().filter(|(number, _)| !taken.contains(number)).collect();
    let missing = if work.is_merged(&missing) { Vec::new() } else { missing };
    for (number, meta) in missing {
        if !work.recovered.files.iter().any(|file| file.file == names::segment(*number)) {
            work.tell(&names::segment(*number), Fate::Lost { why: "it is not there".to_owned() });
        }
        work.marks.lose_segment(meta);
    }
    progress(read, total, "the logs");
    work.logs(&files, &known)?;
    work.finish(to, clock)?;
    progress(total, total, "");
    Ok(work.recovered)
}

/// A file of the damaged store.
struct Found {
    name: String,
    bytes: u64,
    /// What it is by its header, and by its name only if that tells nothing.
    kind: FileKind,
    number: u64,
}

impl Found {
    /// A file, unless it is of another store or of none. Fails if a newer program wrote it: what this one cannot read is not
    /// damaged.
    fn of(from: &dyn Storage, name: &str, bytes: u64, store: Option<[u8; 16]>) -> Result<Option<Found>, Error> {
        let Some(named) = names::parse(name) else { return Ok(None) };
        let (kind, number) = match from.map(name).map(|map| FileHeader::decode(&map)) {
            Ok(Ok(header)) if store.is_some_and(|store| store != header.id.store) => return Ok(None),
            Ok(Ok(header)) => (header.kind, header.id.number),
            Ok(Err(HeaderFault::Version(found))) => return Err(version_gap(name, found).into()),
            _ => named,
        };
        Ok(Some(Found { name: name.to_owned(), bytes, kind, number }))
    }
}

/// A recovery under way.
struct Work<'s> {
    from: &'s dyn Storage,
    to: &'s dyn Storage,
    now: Micros,
    store: [u8; 16],
    next_file: u64,
    metas: Vec<SegmentMeta>,
    /// Of each whole segment that no manifest tells of: how many parts it has of each table.
    untold: Vec<Vec<(Name, u64)>>,
    marks: Marks,
    recovered: Recovered,
}

impl Work<'_> {
    fn tell(&mut self, file: &str, fate: Fate) {
        self.recovered.files.push(FileReport { file: file.to_owned(), fate });
    }

    fn next_file(&mut self) -> FileId {
        self.next_file += 1;
        FileId { store: self.store, number: self.next_file - 1 }
    }

    /// Takes a segment's file, whole or in part.
    fn segment(&mut self, file: &Found, known: &Known, taken: &mut BTreeSet<u64>) -> Result<(), Error> {
        let (name, id) = (&*file.name, FileId { store: self.store, number: file.number });
        let map = match self.from.map(name) {
            Ok(map) => map,
            Err(error) => {
                self.lose_file(file, known, error.to_string());
                return Ok(());
            }
        };
        if taken.contains(&id.number) {
            self.tell(name, Fate::LeftOut { why: format!("it is segment {} once more", id.number) });
            return Ok(());
        }
        let meta = known.metas.get(&id.number);
        let salvage = match segment::take(self, name, map, id, meta.map(|meta| &**meta)) {
            Ok(salvage) => salvage,
            // The disk that is written to.
            Err(error @ Error::Io { .. }) => return Err(error),
            Err(error) => {
                self.lose_file(file, known, error.to_string());
                return Ok(());
            }
        };
        taken.insert(id.number);
        self.tell(name, salvage);
        Ok(())
    }

    /// Nothing can be read of a segment. What a manifest tells of it is lost if it was of the store; without that, anything is.
    fn lose_file(&mut self, file: &Found, known: &Known, why: String) {
        self.tell(&file.name, Fate::Lost { why });
        if !known.metas.contains_key(&file.number) {
            self.marks.lose_recorded(marks::EVER, Micros::MAX, Loss::OF_ALL);
        }
    }

    /// Whether segments that are not there were merged into those that no manifest tells of, since the edit that says so is
    /// damaged: of each table there are as many parts.
    fn is_merged(&self, missing: &[(&u64, &Arc<SegmentMeta>)]) -> bool {
        let mut parts: BTreeMap<&Name, u64> = BTreeMap::new();
        for table in missing.iter().flat_map(|(_, meta)| &meta.tables) {
            *parts.entry(&table.table).or_default() += table.parts;
        }
        let mut found: BTreeMap<&Name, u64> = BTreeMap::new();
        for table in self.untold.iter().flatten() {
            *found.entry(&table.0).or_default() += table.1;
        }
        // Of some notes only the last is kept.
        let is_note = |table: &Name| [note::PRODUCER, note::HELD].contains(&&**table);
        parts.iter().all(|(table, parts)| is_note(table) || found.get(table) == Some(parts))
    }

    /// Writes what is lost, and names everything.
    fn finish(&mut self, to: &Arc<dyn Storage>, clock: &Arc<dyn Clock>) -> Result<(), Error> {
        let mut streams: BTreeSet<Arc<StreamKey>> = BTreeSet::new();
        for meta in &self.metas {
            let (extents, _) = decode_summary(&meta.summary).unwrap_or_default();
            streams.extend(extents.into_iter().map(|StreamExtent { stream, .. }| stream));
        }
        let losses = std::mem::take(&mut self.marks).finish(&streams, &mut self.recovered);
        if !losses.is_empty() {
            let id = self.next_file();
            let meta = marks::write(self.to, id, self.now, &losses)?;
            self.metas.push(meta);
        }
        self.recovered.lost = losses
            .into_iter()
            .flat_map(|(stream, losses)| {
                losses.into_iter().map(move |(seconds, _)| StreamLoss { stream: stream.clone(), seconds })
            })
            .collect();
        self.recovered.files.sort_by(|a, b| a.file.cmp(&b.file));
        self.recovered.parts = self.metas.iter().map(|meta| meta.parts).sum::<u64>() - self.recovered.lost.len() as u64;
        let segments: BTreeMap<u64, Arc<SegmentMeta>> =
            std::mem::take(&mut self.metas).into_iter().map(|meta| (meta.number, Arc::new(meta))).collect();
        let last_recorded = segments.values().map(|meta| meta.recorded.1).max().unwrap_or(0);
        let (store_id, next_file) = (self.store, self.next_file);
        let state = Manifest { store_id, next_file, log_floor: next_file, last_recorded, segments };
        ManifestFile::create_of(to.clone(), clock.clone(), state)?;
        Ok(())
    }
}

//! A sealed memtable becomes an immutable columnar file, and the file answers for its streams.
//!
//! Invariants:
//! - A segment that has its name is whole and never changes.
//! - No byte is believed before its frame's checksum matched; what does not match is an error with file, offset and
//!   structure.
//! - A segment holds parts, which are facts, and no conclusions from them but those from which the parts come back.
//!
//! Rooms: [`rows`] and [`piece`] encode what was sealed (in haste: [`listed`]), [`run`] regular streams, [`index`] what values there are;
//! [`hosts`], [`directory`] and [`footer`] find, [`mod@write`] and [`seal`] make a file, [`Segment`] reads one, [`cache`] remembers
//! what was decoded, [`shared`] rows that come again.
//!
#![doc = include_str!("segment.md")]

pub mod cache;
pub mod directory;
pub mod footer;
pub mod hosts;
pub mod index;
pub mod listed;
pub mod piece;
pub mod rows;
pub mod run;
pub mod seal;
pub mod shared;
mod weigh;
pub mod write;

use crate::codec::line::{self, Line};
use crate::codec::{Fault, finish, take_between, varint};
use crate::error::{self, Corrupt, During, Error, Structure};
use crate::fact::{Kind, Micros, Name, Second, StreamKey};
use crate::format::frame::{
    FRAME_HEADER_BYTES, FileHeader, FileId, FileKind, Frame, HEADER_BYTES, UnverifiedFrame, kind, read_frame,
    reread_frame,
};
use crate::format::names;
use crate::io::{Mapped, MappedPart, Storage};
use crate::manifest::{SegmentMeta, TableExtent, decode_summary, summary_hosts};
use crate::packing::{self, Dictionary, Looks};
use crate::read::answer::Cost;
use crate::row::{Row, RowBuilder};
use crate::timeline::regular::{self, Lifetime};
use crate::timeline::{Part, RowId};
use cache::{Cache, Cached, Key};
use directory::{Directory, Form, PieceEntry, StreamEntry, StreamRecord};
use footer::{Footer, TableEntry, read_trailer};
use hosts::Hosts;
use index::{Index, OpenIndex};
use run::piece::Look;
use run::stream::Run;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};

/// The types of a segment's frames. Never reuse a number.
pub struct Frames;

impl Frames {
    /// A block of rows.
    pub const ROWS: u8 = kind::SEGMENT_FIRST;
    /// A piece of a stream.
    pub const PIECE: u8 = kind::SEGMENT_FIRST + 1;
    /// The directory of a table.
    pub const DIRECTORY: u8 = kind::SEGMENT_FIRST + 2;
    /// The footer.
    pub const FOOTER: u8 = kind::SEGMENT_FIRST + 3;
    /// A piece of a regular stream, resolved.
    pub const RUN: u8 = kind::SEGMENT_FIRST + 4;
    /// How the rows of a table are packed.
    pub const DICTIONARY: u8 = kind::SEGMENT_FIRST + 5;
    /// A block of packed rows.
    pub const PACKED: u8 = kind::SEGMENT_FIRST + 6;
    /// The recorded times of the segment.
    pub const COMMITS: u8 = kind::SEGMENT_FIRST + 7;
    /// The index of a table.
    pub const INDEX: u8 = kind::SEGMENT_FIRST + 8;
    /// The hosts of the segment.
    pub const HOSTS: u8 = kind::SEGMENT_FIRST + 9;
    /// The same as a run, of several blocks, whose spans have checksums.
    pub const CHECKED_RUN: u8 = kind::SEGMENT_FIRST + 10;
    /// From here on: blocks that a reader may skip, such as indexes and keyframes.
    pub const OPTIONAL_FROM: u8 = kind::OPTIONAL;
}

/// A segment open for reading; it pins its file.
pub struct Segment {
    id: FileId,
    name: String,
    map: Mapped,
    footer: Footer,
    hosts: OnceLock<Arc<Hosts>>,
    directories: Vec<OnceLock<Arc<Directory>>>,
    dictionaries: Vec<OnceLock<Arc<Dictionary>>>,
    commits: OnceLock<Arc<[Micros]>>,
    /// What was verified of what `map` shows, by table.
    verified: Vec<OnceLock<Verified>>,
}

/// Whether the checksum of each row block of a table, then of each piece, then of each index, was verified: a bit, and of a
/// piece whose spans have checksums one for each group of spans.
type Verified = Box<[AtomicU32]>;

fn none_of<T>(footer: &Footer) -> Vec<OnceLock<T>> {
    footer.tables.iter().map(|_| OnceLock::new()).collect()
}

impl Segment {
    /// Opens segment `id`: header, trailer and footer are checked now, everything else when it is read.
    pub fn open(storage: &dyn Storage, id: FileId, meta: &SegmentMeta) -> Result<Segment, Error> {
        let name = names::segment(id.number);
        let map = match storage.map(&name) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(error::Fault::Missing.at(&name, 0, Structure::File).into());
            }
            map => map.during("open", &name)?,
        };
        FileHeader::expect_id(&map, &name, FileKind::Segment, &id)?;
        if map.len() as u64 != meta.bytes {
            let fault = Fault::Length { needed: meta.bytes, found: map.len() as u64 };
            return Err(corrupt(&name, map.len() as u64, Structure::File, fault));
        }
        let end = map.len().saturating_sub(footer::TRAILER_BYTES) as u64;
        let offset = read_trailer(&map, &id).map_err(|fault| corrupt(&name, end, Structure::Trailer, fault))?;
        let frame = frame_at(&map, &id, &name, offset, Structure::Footer)?;
        if frame.kind != Frames::FOOTER || frame.end != end {
            return Err(corrupt(&name, offset, Structure::Footer, Fault::Tag { found: frame.kind }));
        }
        let (expected, found) = (meta.footer_crc, crc32fast::hash(frame.payload));
        if expected != found {
            return Err(corrupt(&name, offset, Structure::Footer, Fault::Checksum { expected, found }));
        }
        let footer = Footer::decode(frame.payload).map_err(|fault| corrupt(&name, offset, Structure::Footer, fault))?;
        Ok(Segment::of(id, name, map, footer))
    }

    /// Of which nothing was read but the footer.
    fn of(id: FileId, name: String, map: Mapped, footer: Footer) -> Segment {
        let (hosts, commits) = (OnceLock::new(), OnceLock::new());
        let (directories, dictionaries, verified) = (none_of(&footer), none_of(&footer), none_of(&footer));
        Segment { id, name, map, footer, hosts, directories, dictionaries, commits, verified }
    }

    /// What can be opened of a damaged segment: where trailer or footer do not tell what there is, frames that are whole do,
    /// with the names of tables and hosts that the manifest keeps.
    pub(crate) fn of_damaged(
        id: FileId,
        name: &str,
        map: Mapped,
        meta: Option<&SegmentMeta>,
        frames: &[(u64, Frame<'_>)],
    ) -> Result<Segment, Error> {
        let whole = |kind: u8| frames.iter().filter(move |(_, frame)| frame.kind == kind);
        let footer = whole(Frames::FOOTER).find_map(|(_, frame)| Footer::decode(frame.payload).ok());
        let footer = match (footer, meta) {
            (Some(footer), _) => footer,
            (None, Some(meta)) => {
                let mut directories: Vec<u64> = whole(Frames::DIRECTORY).map(|(at, _)| *at).collect();
                // Which of the tables a directory is of is only sure where none is missing.
                if directories.len() != meta.tables.len() {
                    directories.clear();
                }
                let entry = |(directory, table): (u64, &TableExtent)| footer::TableEntry {
                    name: table.table.clone(),
                    directory,
                    parts: table.parts,
                    copies: table.versions,
                    first: table.first,
                    last: table.last,
                };
                let at = |kind: u8| whole(kind).map(|(at, _)| *at).next().unwrap_or(0);
                let tables = directories.into_iter().zip(&meta.tables).map(entry).collect();
                let (commits, hosts) = (at(Frames::COMMITS), at(Frames::HOSTS));
                Footer { tables, commits, hosts, recorded: meta.recorded }
            }
            (None, None) => return Err(error::Fault::Missing.at(name, 0, Structure::Footer).into()),
        };
        let segment = Segment::of(id, name.to_owned(), map, footer);
        if segment.hosts().is_err()
            && let Some(known) = meta.and_then(hosts_of_summary)
        {
            let _ = segment.hosts.set(Arc::new(known));
        }
        Ok(segment)
    }

    /// The same segment, mapped anew: what is read by that map weighs nothing once it is gone. What both know of it, such as
    /// directories, lies where it was read first; what was verified of one map may have come to harm since, and is verified
    /// again of the other.
    pub(crate) fn remapped(&self, storage: &dyn Storage) -> Result<Segment, Error> {
        let map = storage.map(&self.name).during("open", &self.name)?;
        if map.len() != self.map.len() {
            let fault = Fault::Length { needed: self.bytes(), found: map.len() as u64 };
            return Err(corrupt(&self.name, map.len() as u64, Structure::File, fault));
        }
        let (id, name, footer) = (self.id, self.name.clone(), self.footer.clone());
        let (hosts, commits) = (self.hosts.clone(), self.commits.clone());
        let (directories, dictionaries) = (self.directories.clone(), self.dictionaries.clone());
        let verified = none_of(&footer);
        Ok(Segment { id, name, map, footer, hosts, directories, dictionaries, commits, verified })
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.id.number
    }

    /// Its file's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its size.
    pub fn bytes(&self) -> u64 {
        self.map.len() as u64
    }

    /// The footer.
    pub fn footer(&self) -> &Footer {
        &self.footer
    }

    /// The whole file, for tools that show it.
    pub fn map(&self) -> &Mapped {
        &self.map
    }

    /// Its store and number.
    pub fn id(&self) -> &FileId {
        &self.id
    }

    /// Verifies all of the file from front to back; `each` is told how far that has come, at last the file's end.
    pub(crate) fn verify(&self, mut each: impl FnMut(u64) -> Result<(), Error>) -> Result<(), Error> {
        let end = self.map.len().saturating_sub(footer::TRAILER_BYTES) as u64;
        let mut at = HEADER_BYTES as u64;
        while at < end {
            at = frame_at(&self.map, &self.id, &self.name, at, Structure::Frame)?.end;
            each(at)?;
        }
        // Header and trailer were verified when it was opened.
        each(self.bytes())
    }

    /// Whether it came from a merge, so that rows are packed and regular streams are runs.
    pub fn is_packed(self: &Arc<Self>) -> Result<bool, Error> {
        for reader in self.tables() {
            if reader?.directory.dictionary == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What it holds of one table.
    pub fn table(self: &Arc<Self>, table: &[u8]) -> Result<Option<TableReader<'_>>, Error> {
        match self.footer.tables.binary_search_by(|entry| (*entry.name).cmp(table)) {
            Ok(at) => self.table_at(at).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The tables, by name.
    pub fn tables(self: &Arc<Self>) -> impl Iterator<Item = Result<TableReader<'_>, Error>> {
        (0..self.footer.tables.len()).map(|at| self.table_at(at))
    }

    /// What it holds of the table at a place, which must be there.
    pub(crate) fn table_at(self: &Arc<Self>, at: usize) -> Result<TableReader<'_>, Error> {
        let entry = &self.footer.tables[at];
        let directory = match self.directories[at].get() {
            Some(directory) => directory,
            None => {
                let hosts = self.hosts()?.clone();
                let payload = self.part(entry.directory, Frames::DIRECTORY, Structure::Directory)?;
                let directory = Directory::open(&entry.name, hosts, payload)
                    .map_err(|fault| corrupt(&self.name, entry.directory, Structure::Directory, fault))?;
                self.directories[at].get_or_init(|| Arc::new(directory))
            }
        };
        let none = || (0..directory.checksums()).map(|_| AtomicU32::new(0)).collect();
        Ok(TableReader { segment: self, at, entry, directory, verified: self.verified[at].get_or_init(none) })
    }

    /// Its hosts.
    pub fn hosts(&self) -> Result<&Arc<Hosts>, Error> {
        if let Some(hosts) = self.hosts.get() {
            return Ok(hosts);
        }
        let offset = self.footer.hosts;
        let payload = self.part(offset, Frames::HOSTS, Structure::Hosts)?;
        let hosts = Hosts::open(payload).map_err(|fault| corrupt(&self.name, offset, Structure::Hosts, fault))?;
        Ok(self.hosts.get_or_init(|| Arc::new(hosts)))
    }

    /// The recorded times of its parts, in order.
    pub fn commits(&self) -> Result<&[Micros], Error> {
        if let Some(commits) = self.commits.get() {
            return Ok(commits);
        }
        let offset = self.footer.commits;
        let mut payload = self.payload(offset, Frames::COMMITS, Structure::Commits)?;
        let fault = |fault| corrupt(&self.name, offset, Structure::Commits, fault);
        let commits = take_commits(&mut payload).map_err(fault)?;
        Ok(self.commits.get_or_init(|| commits.into()))
    }

    fn bytes_from(&self, offset: u64) -> Option<&[u8]> {
        self.map.get(usize::try_from(offset).ok()?..)
    }

    /// The payload of a frame, whose checksum is verified once.
    fn payload_once(
        &self,
        offset: u64,
        kind: u8,
        structure: Structure,
        verified: &AtomicU32,
        cost: &mut Cost,
    ) -> Result<&[u8], Error> {
        let known = verified.load(Ordering::Relaxed) != 0;
        let again = || self.bytes_from(offset).and_then(reread_frame);
        let payload = match if known { again() } else { None } {
            Some(payload) => payload,
            None => {
                let payload = self.payload(offset, kind, structure)?;
                verified.store(1, Ordering::Relaxed);
                cost.blocks_verified += 1;
                cost.bytes_verified += payload.len() as u64;
                payload
            }
        };
        Ok(payload)
    }

    /// The payload of a frame whose parts have checksums of their own, of which nothing is verified here; `None` if no such
    /// frame seems to be there.
    fn payload_of_parts(&self, offset: u64, kind: u8) -> Option<&[u8]> {
        let bytes = self.bytes_from(offset)?;
        reread_frame(bytes).filter(|_| UnverifiedFrame::read(bytes).is_some_and(|frame| frame.kind == kind))
    }

    fn payload(&self, offset: u64, kind: u8, structure: Structure) -> Result<&[u8], Error> {
        let frame = frame_at(&self.map, &self.id, &self.name, offset, structure)?;
        if frame.kind != kind {
            return Err(corrupt(&self.name, offset, structure, Fault::Tag { found: frame.kind }));
        }
        Ok(frame.payload)
    }

    /// The same, to be kept.
    fn part(&self, offset: u64, kind: u8, structure: Structure) -> Result<MappedPart, Error> {
        let len = self.payload(offset, kind, structure)?.len();
        let start = offset as usize + FRAME_HEADER_BYTES;
        Ok(self.map.part(start..start + len))
    }
}

/// The hosts that a manifest names for a segment, which are all unless streams were left out there.
fn hosts_of_summary(meta: &SegmentMeta) -> Option<Hosts> {
    let (streams, left_out) = decode_summary(&meta.summary).ok()?;
    let looking = streams.iter().filter(|extent| extent.stream.kind != Kind::Note);
    let looking: BTreeSet<&Name> = looking.map(|extent| &extent.stream.host).collect();
    let hosts = summary_hosts(&meta.summary).ok()?;
    let hosts: Vec<(Name, bool)> = hosts.into_iter().map(|host| (host.clone(), looking.contains(&host))).collect();
    let mut bytes = Vec::new();
    hosts::encode(&hosts, &mut bytes);
    Hosts::open(MappedPart::from(&bytes[..])).ok().filter(|_| left_out == 0)
}

/// Commits that a decoder accepts at most.
const COMMITS_MAX: u64 = 1 << 30;

/// The bytes of a list of commits: how many, and their times along a line.
fn put_commits(commits: &[Micros], out: &mut Vec<u8>) {
    varint::put_u64(out, commits.len() as u64);
    line::encode(commits, out);
}

pub(crate) fn take_commits(bytes: &mut &[u8]) -> Result<Vec<Micros>, Fault> {
    // A commit may take no bits where all are on one line, so the count is bounded apart.
    let count = take_between(bytes, 0, COMMITS_MAX)? as usize;
    let line = Line::take(bytes, count)?;
    finish(bytes)?;
    let commits: Vec<Micros> = line.iter().collect::<Result<_, _>>()?;
    match commits.windows(2).position(|pair| pair[0] >= pair[1]) {
        None => Ok(commits),
        Some(at) => Err(Fault::Order { previous: commits[at] as u64, found: commits[at + 1] as u64 }),
    }
}

/// The frame that begins at `offset`.
fn frame_at<'a>(map: &'a [u8], id: &FileId, name: &str, offset: u64, structure: Structure) -> Result<Frame<'a>, Error> {
    let range = Fault::Range { found: offset, min: HEADER_BYTES as u64, max: map.len() as u64 };
    let at = usize::try_from(offset).ok().filter(|at| *at >= HEADER_BYTES);
    let bytes = at.and_then(|at| map.get(at..)).ok_or_else(|| corrupt(name, offset, structure, range))?;
    read_frame(bytes, id, offset).map_err(|fault| Error::from(fault.at(name, offset, structure)))
}

/// The bytes that so many of `all` things take on average.
pub(crate) fn part_of(bytes: usize, some: usize, all: usize) -> u64 {
    (bytes as u64 * some as u64).div_ceil(all.max(1) as u64)
}

pub(crate) fn corrupt(file: &str, offset: u64, structure: Structure, fault: Fault) -> Error {
    Error::Corrupt(Corrupt { file: file.to_owned(), offset, structure, fault: fault.into() })
}

/// Where a reader of rows is: rows that are asked for one after the other mostly share a block.
#[derive(Default)]
pub struct RowCursor {
    builder: RowBuilder,
    bytes: Vec<u8>,
    at: Option<AtBlock>,
    restores: bool,
}

impl RowCursor {
    /// For who reads about all rows: blocks are restored whole, and a row keeps all rows of its block.
    pub(crate) fn of_all() -> RowCursor {
        RowCursor { restores: true, ..RowCursor::default() }
    }
}

struct AtBlock {
    /// The segment's number, and where the table's directory begins.
    table: (u64, u64),
    rows: Range<u64>,
    block: Arc<rows::RowBlock>,
    restored: Option<rows::Restored>,
}

impl AtBlock {
    fn row(&self, id: u64, builder: &mut RowBuilder) -> Row {
        let at = (id - self.rows.start) as usize;
        match &self.restored {
            Some(restored) => restored.row(at),
            None => self.block.row(at, builder),
        }
    }
}

/// A row of a part, before it has a number.
pub enum RowOf<'r> {
    /// By its number in the table.
    Table(RowId),
    /// Itself.
    Own(&'r Row),
}

/// One table of a segment.
#[derive(Clone, Copy)]
pub struct TableReader<'s> {
    pub(crate) segment: &'s Arc<Segment>,
    at: usize,
    /// The footer's entry.
    pub entry: &'s TableEntry,
    /// The directory.
    pub directory: &'s Directory,
    verified: &'s [AtomicU32],
}

impl<'s> TableReader<'s> {
    /// The table's place in the segment.
    pub(crate) fn place(&self) -> usize {
        self.at
    }

    /// The bytes of a piece.
    fn piece_bytes(&self, piece: &PieceEntry, kind: u8, cost: &mut Cost) -> Result<&'s [u8], Error> {
        self.segment.payload_once(piece.offset, kind, Structure::Piece, self.verified(piece), cost)
    }

    /// Whether the checksum of a piece was verified.
    fn verified(&self, piece: &PieceEntry) -> &'s AtomicU32 {
        &self.verified[self.directory.row_blocks.len() + piece.place]
    }

    /// How the table's rows are packed.
    pub(crate) fn dictionary(&self) -> Result<&'s Dictionary, Error> {
        let dictionary = &self.segment.dictionaries[self.at];
        if let Some(dictionary) = dictionary.get() {
            return Ok(dictionary);
        }
        let offset = self.directory.dictionary;
        let payload = self.segment.payload(offset, Frames::DICTIONARY, Structure::Dictionary)?;
        let decoded = Dictionary::decode(payload)
            .map_err(|fault| corrupt(&self.segment.name, offset, Structure::Dictionary, fault))?;
        Ok(dictionary.get_or_init(|| Arc::new(decoded)))
    }

    /// Whether a column has an index.
    pub fn has_index(&self, column: &[u8]) -> bool {
        self.directory.indexes.binary_search_by(|(name, _)| (**name).cmp(column)).is_ok()
    }

    /// The index of a column, if it has one.
    pub fn index(&self, column: &[u8], cache: &Cache, cost: &mut Cost) -> Result<Option<Arc<OpenIndex>>, Error> {
        let directory = self.directory;
        let Ok(place) = directory.indexes.binary_search_by(|(name, _)| (**name).cmp(column)) else {
            return Ok(None);
        };
        let offset = directory.indexes[place].1;
        let key = Key { segment: self.segment.number(), offset };
        if let Some(Cached::Index(index)) = cache.get(&key) {
            return Ok(Some(index));
        }
        let verified = &self.verified[directory.row_blocks.len() + directory.pieces() + place];
        // Of an index only what a bisection meets is read, and counted where it is.
        let index = OpenIndex::try_new(self.segment.clone(), |segment| {
            let payload = segment.payload_once(offset, Frames::INDEX, Structure::Index, verified, cost)?;
            Index::open(payload).map_err(|fault| corrupt(&segment.name, offset, Structure::Index, fault))
        });
        let index = Arc::new(index?);
        cache.put(key, Cached::Index(index.clone()));
        Ok(Some(index))
    }

    /// A fault in the index of a column.
    pub(crate) fn index_fault(&self, column: &[u8], fault: Fault) -> Error {
        let indexes = &self.directory.indexes;
        let place = indexes.binary_search_by(|(name, _)| (**name).cmp(column));
        let offset = place.map_or(self.entry.directory, |place| indexes[place].1);
        corrupt(&self.segment.name, offset, Structure::Index, fault)
    }

    /// The run of a stream that has one.
    ///
    /// What is read of it is remembered in the cache, if there is one.
    #[inline]
    pub fn run(&self, stream: &StreamRecord, cache: Option<&'s Cache>) -> Run<'s> {
        Run::new(*self, stream, cache)
    }

    /// The parts of a piece of stream `key` that is kept as facts. Rows are numbers within this table.
    fn facts(
        &self,
        key: &StreamKey,
        piece: &PieceEntry,
        cache: &Cache,
        cost: &mut Cost,
    ) -> Result<Arc<Vec<Part>>, Error> {
        let cache_key = Key { segment: self.segment.id.number, offset: piece.offset };
        if let Some(Cached::Parts(parts)) = cache.get(&cache_key) {
            cost.cache_hits += 1;
            return Ok(parts);
        }
        let parts = Arc::new(self.decode_facts(key, piece, cost)?);
        cache.put(cache_key, Cached::Parts(parts.clone()));
        Ok(parts)
    }

    fn decode_facts(&self, key: &StreamKey, piece: &PieceEntry, cost: &mut Cost) -> Result<Vec<Part>, Error> {
        let segment = self.segment;
        let payload = self.piece_bytes(piece, Frames::PIECE, cost)?;
        cost.bytes_read += payload.len() as u64;
        let parts = piece::decode(key.kind, payload, self.directory.rows)
            .map_err(|fault| corrupt(&segment.name, piece.offset, Structure::Piece, fault))?;
        if parts.len() as u64 != piece.parts {
            let fault = Fault::Range { found: parts.len() as u64, min: piece.parts, max: piece.parts };
            return Err(corrupt(&segment.name, piece.offset, Structure::Piece, fault));
        }
        Ok(parts)
    }

    /// Gives the parts of a stream, for who reads it once; else as [`TableReader::parts`] does.
    pub(crate) fn all_parts(
        &self,
        stream: &StreamEntry,
        cost: &mut Cost,
        mut number: impl FnMut(RowOf<'_>, &mut Cost) -> Result<RowId, Error>,
        mut each: impl FnMut(Part),
    ) -> Result<(), Error> {
        if stream.record.form == Form::Run {
            self.parts_of_run(stream, cost, number)?.into_iter().for_each(each);
            return Ok(());
        }
        for piece in self.directory.pieces_at(stream.record.pieces.clone()).iter() {
            for mut part in self.decode_facts(&stream.key, &piece, cost)? {
                part.renumber(|id| number(RowOf::Table(id), cost))?;
                each(part);
            }
        }
        Ok(())
    }

    /// Gives the parts of a stream that are `wanted`, in part order, with their rows numbered by `number`.
    pub fn parts(
        &self,
        stream: &StreamEntry,
        cache: &Cache,
        cost: &mut Cost,
        mut wanted: impl FnMut(&Part) -> bool,
        mut number: impl FnMut(RowOf<'_>, &mut Cost) -> Result<RowId, Error>,
        mut each: impl FnMut(Part),
    ) -> Result<(), Error> {
        if stream.record.form == Form::Run {
            let parts = self.parts_of_run(stream, cost, number)?;
            parts.into_iter().filter(|part| wanted(part)).for_each(each);
            return Ok(());
        }
        for piece in self.directory.pieces_at(stream.record.pieces.clone()).iter() {
            for part in self.facts(&stream.key, &piece, cache, cost)?.iter().filter(|part| wanted(part)) {
                let mut part = part.clone();
                part.renumber(|id| number(RowOf::Table(id), cost))?;
                each(part);
            }
        }
        Ok(())
    }

    /// Gives the parts of one look, of a second, an epoch and a counter, likewise. It costs the same however many others there
    /// are: no row is decoded but theirs, and of those that are kept as facts few pieces are read.
    pub fn parts_of_look(
        &self,
        stream: &StreamEntry,
        look: (Second, u64, Option<u64>),
        cache: &Cache,
        cost: &mut Cost,
        mut number: impl FnMut(RowOf<'_>, &mut Cost) -> Result<RowId, Error>,
        mut each: impl FnMut(Part),
    ) -> Result<(), Error> {
        let key = |part: &Part| (part.second, part.epoch, part.counter);
        if stream.record.form == Form::Run {
            let mut run = self.run(&stream.record, Some(cache));
            for at in run.looks_of(look.0, cost)? {
                let told = run.look(at, cost)?;
                let mut part = told.part(self.recorded(&told)?);
                if key(&part) != look {
                    continue;
                }
                let is_full = regular::is_full_set(stream.key.kind, &part);
                run.rows_of(at, is_full, cost, |side, entry, cost| {
                    let copies = (number(RowOf::Own(entry.row()), cost)?, entry.count());
                    part.side(side).push(copies);
                    Ok(())
                })?;
                part.removed.sort_unstable();
                part.added.sort_unstable();
                each(part);
            }
            return Ok(());
        }
        let pieces = self.directory.pieces_at(stream.record.pieces.clone());
        let facts = |at: usize, cost: &mut Cost| match pieces.get(at) {
            Some(piece) => self.facts(&stream.key, &piece, cache, cost),
            None => Ok(Arc::default()),
        };
        // Very many pieces may be of one second.
        let Range { start, end } = pieces.of_second(look.0);
        let (mut low, mut high) = (start, end);
        while low < high {
            let middle = (low + high) / 2;
            let is_begun = facts(middle, cost)?.first().is_none_or(|first| key(first) <= look);
            if is_begun { low = middle + 1 } else { high = middle }
        }
        // Parts of one look may stand in several.
        let mut first = low;
        while first > start {
            first -= 1;
            if facts(first, cost)?.first().is_some_and(|first| key(first) < look) {
                break;
            }
        }
        for at in first..low {
            let parts = facts(at, cost)?;
            let from = parts.partition_point(|part| key(part) < look);
            for part in parts[from..].iter().take_while(|part| key(part) == look) {
                let mut part = part.clone();
                part.renumber(|id| number(RowOf::Table(id), cost))?;
                each(part);
            }
        }
        Ok(())
    }

    /// When a look of a run was recorded.
    fn recorded(&self, look: &Look) -> Result<Micros, Error> {
        let commits = self.segment.commits()?;
        let recorded = usize::try_from(look.commit).ok().and_then(|commit| commits.get(commit)).copied();
        recorded.ok_or_else(|| {
            let range = Fault::Range { found: look.commit, min: 0, max: commits.len() as u64 };
            corrupt(&self.segment.name, self.segment.footer.commits, Structure::Commits, range)
        })
    }

    /// Whether any part of a stream was recorded by `known_at`.
    pub fn is_known(
        &self,
        stream: &StreamEntry,
        known_at: Micros,
        cache: &Cache,
        cost: &mut Cost,
    ) -> Result<bool, Error> {
        match stream.record.form {
            Form::Facts => {
                for piece in self.directory.pieces_at(stream.record.pieces.clone()).iter() {
                    if self.facts(&stream.key, &piece, cache, cost)?.iter().any(|part| part.recorded <= known_at) {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Form::Run => {
                let known = self.segment.commits()?.partition_point(|&commit| commit <= known_at) as u64;
                let mut any = false;
                self.run(&stream.record, None).each_look(cost, |look| any |= look.commit < known)?;
                Ok(any)
            }
        }
    }

    /// Gives the looks of a run, in order, with their recorded times.
    pub(crate) fn each_recorded(
        &self,
        stream: &StreamRecord,
        cost: &mut Cost,
        mut each: impl FnMut(&Look, Micros),
    ) -> Result<(), Error> {
        let mut outside = Ok(());
        self.run(stream, None).each_look(cost, |look| match self.recorded(&look) {
            Ok(recorded) => each(&look, recorded),
            Err(error) => outside = Err(error),
        })?;
        outside
    }

    /// The parts of a run, as they were delivered.
    fn parts_of_run(
        &self,
        stream: &StreamEntry,
        cost: &mut Cost,
        mut number: impl FnMut(RowOf<'_>, &mut Cost) -> Result<RowId, Error>,
    ) -> Result<Vec<Part>, Error> {
        let mut run = self.run(&stream.record, None);
        let mut parts = Vec::with_capacity(run.looks());
        self.each_recorded(&stream.record, cost, |look, recorded| {
            parts.push(look.part(recorded));
        })?;
        let is_full: Vec<bool> = parts.iter().map(|part| regular::is_full_set(stream.key.kind, part)).collect();
        let mut lifetimes = Vec::with_capacity(run.versions());
        run.each_version(cost, |version, bytes, cost| {
            let row = number(RowOf::Own(&Row::from_builder_bytes(bytes)), cost)?;
            let born = version.born as u32;
            let died = version.died.map_or(regular::OPEN, |died| u32::try_from(died).unwrap_or(regular::OPEN));
            lifetimes.push(Lifetime { row, count: version.count, born, died });
            Ok(())
        })?;
        regular::rows_of_parts(&lifetimes, &is_full, |part, side, row, count| {
            if let Some(part) = parts.get_mut(part) {
                part.side(side).push((row, count));
            }
        });
        for part in &mut parts {
            part.removed.sort_unstable();
            part.added.sort_unstable();
        }
        Ok(parts)
    }

    /// A row by number, of a table whose rows are packed.
    pub(crate) fn packed_row(&self, id: RowId, cursor: &mut RowCursor, cost: &mut Cost) -> Result<Row, Error> {
        let (segment, id) = (self.segment, u64::from(id));
        let blocks = &self.directory.row_blocks;
        let after = blocks.partition_point(|&(first, _)| first <= id);
        let Some((at, &(first, offset))) = after.checked_sub(1).and_then(|at| Some((at, blocks.get(at)?))) else {
            let fault = Fault::Range { found: id, min: 0, max: self.directory.rows };
            return Err(corrupt(&segment.name, self.entry.directory, Structure::Directory, fault));
        };
        let next = blocks.get(after).map_or(self.directory.rows, |next| next.0);
        let dictionary = self.dictionary()?;
        let verified = &self.verified[at];
        let payload = segment.payload_once(offset, Frames::PACKED, Structure::Rows, verified, cost)?;
        cost.bytes_read += part_of(payload.len(), 1, (next - first) as usize);
        cursor.bytes.clear();
        packing::Block::open(dictionary, payload, (next - first) as usize)
            .and_then(|block| block.row(&Looks::NONE, (id - first) as usize, &mut cursor.bytes))
            .map_err(|fault| corrupt(&segment.name, offset, Structure::Rows, fault))?;
        cost.rows_decoded += 1;
        Ok(Row::from_builder_bytes(&cursor.bytes))
    }

    /// A row by number.
    pub fn row(&self, id: RowId, cursor: &mut RowCursor, cache: &Cache, cost: &mut Cost) -> Result<Row, Error> {
        if self.directory.dictionary != 0 {
            return self.packed_row(id, cursor, cost);
        }
        let id = u64::from(id);
        let table = (self.segment.id.number, self.entry.directory);
        if let Some(at) = &cursor.at
            && at.table == table
            && at.rows.contains(&id)
        {
            return Ok(at.row(id, &mut cursor.builder));
        }
        let blocks = &self.directory.row_blocks;
        let at = blocks.partition_point(|&(first, _)| first <= id);
        let Some(&(first, offset)) = at.checked_sub(1).and_then(|at| blocks.get(at)) else {
            let fault = Fault::Range { found: id, min: 0, max: self.directory.rows };
            return Err(corrupt(&self.segment.name, self.entry.directory, Structure::Directory, fault));
        };
        let next = blocks.get(at).map_or(self.directory.rows, |next| next.0);
        let segment = self.segment;
        let verified = &self.verified[at - 1];
        let cache_key = Key { segment: segment.id.number, offset };
        let block = match cache.get(&cache_key) {
            Some(Cached::Rows(block)) => {
                cost.cache_hits += 1;
                block
            }
            _ => {
                let payload = segment.payload_once(offset, Frames::ROWS, Structure::Rows, verified, cost)?;
                cost.bytes_read += payload.len() as u64;
                let block = rows::RowBlock::decode(payload, &mut cursor.bytes)
                    .map_err(|fault| corrupt(&segment.name, offset, Structure::Rows, fault))?;
                if block.len() as u64 != next - first {
                    let fault = Fault::Range { found: block.len() as u64, min: next - first, max: next - first };
                    return Err(corrupt(&segment.name, offset, Structure::Rows, fault));
                }
                cost.rows_decoded += block.len() as u64;
                let block = Arc::new(block);
                cache.put(cache_key, Cached::Rows(block.clone()));
                block
            }
        };
        let restored = if cursor.restores { block.restore() } else { None };
        let at = cursor.at.insert(AtBlock { table, rows: first..next, block, restored });
        Ok(at.row(id, &mut cursor.builder))
    }
}

#[cfg(test)]
mod tests;

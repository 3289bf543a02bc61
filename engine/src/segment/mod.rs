//! A sealed memtable becomes an immutable columnar file, and the file answers for its streams.
//!
//! Invariants:
//! - A segment that has its name is whole and never changes.
//! - No byte is believed before its frame's checksum matched; what does not match is an error with file, offset and
//!   structure.
//! - A segment holds parts, which are facts, and no conclusions from them.
//!
//! Rooms: [`rows`] and [`piece`] encode, [`directory`] and [`footer`] find, [`mod@write`] and [`seal`] make a file,
//! [`Segment`] reads one, [`cache`] remembers what was decoded.
//!
#![doc = include_str!("segment.md")]

pub mod cache;
pub mod directory;
pub mod footer;
pub mod piece;
pub mod rows;
pub mod seal;
pub mod write;

use crate::codec::Fault;
use crate::error::{self, Corrupt, During, Error, Structure};
use crate::fact::StreamKey;
use crate::format::frame::{FileHeader, FileId, FileKind, Frame, HEADER_BYTES, kind, read_frame};
use crate::format::names;
use crate::io::{Mapped, Storage};
use crate::manifest::SegmentMeta;
use crate::read::answer::Cost;
use crate::row::{Row, RowBuilder};
use crate::timeline::{Part, RowId};
use cache::{Cache, Cached, Key};
use directory::{Directory, PieceEntry};
use footer::{Footer, TableEntry, read_trailer};
use std::io::ErrorKind;
use std::ops::Range;
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
    /// From here on: blocks that a reader may skip, such as indexes and keyframes.
    pub const OPTIONAL_FROM: u8 = kind::OPTIONAL;
}

/// A segment open for reading; it pins its file.
pub struct Segment {
    id: FileId,
    name: String,
    map: Mapped,
    footer: Footer,
    directories: Vec<OnceLock<Directory>>,
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
        let directories = footer.tables.iter().map(|_| OnceLock::new()).collect();
        Ok(Segment { id, name, map, footer, directories })
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

    /// What it holds of one table.
    pub fn table(&self, table: &[u8]) -> Result<Option<TableReader<'_>>, Error> {
        match self.footer.tables.binary_search_by(|entry| (*entry.name).cmp(table)) {
            Ok(at) => self.table_at(at).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// The tables, by name.
    pub fn tables(&self) -> impl Iterator<Item = Result<TableReader<'_>, Error>> {
        (0..self.footer.tables.len()).map(|at| self.table_at(at))
    }

    fn table_at(&self, at: usize) -> Result<TableReader<'_>, Error> {
        let entry = &self.footer.tables[at];
        let directory = match self.directories[at].get() {
            Some(directory) => directory,
            None => {
                let payload = self.payload(entry.directory, Frames::DIRECTORY, Structure::Directory)?;
                let directory = Directory::decode(&entry.name, payload)
                    .map_err(|fault| corrupt(&self.name, entry.directory, Structure::Directory, fault))?;
                self.directories[at].get_or_init(|| directory)
            }
        };
        Ok(TableReader { segment: self, entry, directory })
    }

    fn payload(&self, offset: u64, kind: u8, structure: Structure) -> Result<&[u8], Error> {
        let frame = frame_at(&self.map, &self.id, &self.name, offset, structure)?;
        if frame.kind != kind {
            return Err(corrupt(&self.name, offset, structure, Fault::Tag { found: frame.kind }));
        }
        Ok(frame.payload)
    }
}

/// The frame that begins at `offset`.
fn frame_at<'a>(map: &'a [u8], id: &FileId, name: &str, offset: u64, structure: Structure) -> Result<Frame<'a>, Error> {
    let range = Fault::Range { found: offset, min: HEADER_BYTES as u64, max: map.len() as u64 };
    let at = usize::try_from(offset).ok().filter(|at| *at >= HEADER_BYTES);
    let bytes = at.and_then(|at| map.get(at..)).ok_or_else(|| corrupt(name, offset, structure, range))?;
    read_frame(bytes, id, offset).map_err(|fault| Error::from(fault.at(name, offset, structure)))
}

fn corrupt(file: &str, offset: u64, structure: Structure, fault: Fault) -> Error {
    Error::Corrupt(Corrupt { file: file.to_owned(), offset, structure, fault: fault.into() })
}

/// Where a reader of rows is: rows that are asked for one after the other mostly share a block.
#[derive(Default)]
pub struct RowCursor {
    builder: RowBuilder,
    at: Option<AtBlock>,
}

struct AtBlock {
    /// The segment's number, and where the table's directory begins.
    table: (u64, u64),
    rows: Range<u64>,
    block: Arc<rows::RowBlock>,
}

/// One table of a segment.
#[derive(Clone, Copy)]
pub struct TableReader<'s> {
    segment: &'s Segment,
    /// The footer's entry.
    pub entry: &'s TableEntry,
    /// The directory.
    pub directory: &'s Directory,
}

impl<'s> TableReader<'s> {
    /// The parts of a piece of stream `key`. Rows are numbers within this table.
    pub fn piece(
        &self,
        key: &StreamKey,
        piece: &PieceEntry,
        cache: &Cache,
        cost: &mut Cost,
    ) -> Result<Arc<Vec<Part>>, Error> {
        let cache_key = Key { segment: self.segment.id.number, offset: piece.offset };
        if let Some(Cached::Piece(parts)) = cache.get(&cache_key) {
            return Ok(parts);
        }
        let segment = self.segment;
        let payload = segment.payload(piece.offset, Frames::PIECE, Structure::Piece)?;
        let parts = piece::decode(key.kind, payload, self.directory.rows)
            .map_err(|fault| corrupt(&segment.name, piece.offset, Structure::Piece, fault))?;
        if parts.len() as u64 != piece.parts {
            let fault = Fault::Range { found: parts.len() as u64, min: piece.parts, max: piece.parts };
            return Err(corrupt(&segment.name, piece.offset, Structure::Piece, fault));
        }
        cost.blocks_verified += 1;
        cost.bytes_read += payload.len() as u64;
        let parts = Arc::new(parts);
        let bytes: usize =
            parts.iter().map(|part| size_of::<Part>() + 16 * (part.removed.len() + part.added.len())).sum();
        cache.put(cache_key, Cached::Piece(parts.clone()), bytes);
        Ok(parts)
    }

    /// A row by number.
    pub fn row(&self, id: RowId, cursor: &mut RowCursor, cache: &Cache, cost: &mut Cost) -> Result<Row, Error> {
        let id = u64::from(id);
        let table = (self.segment.id.number, self.entry.directory);
        if let Some(at) = &cursor.at
            && at.table == table
            && at.rows.contains(&id)
        {
            return Ok(at.block.row((id - at.rows.start) as usize, &mut cursor.builder));
        }
        let blocks = &self.directory.row_blocks;
        let at = blocks.partition_point(|&(first, _)| first <= id);
        let Some(&(first, offset)) = at.checked_sub(1).and_then(|at| blocks.get(at)) else {
            let fault = Fault::Range { found: id, min: 0, max: self.directory.rows };
            return Err(corrupt(&self.segment.name, self.entry.directory, Structure::Directory, fault));
        };
        let next = blocks.get(at).map_or(self.directory.rows, |next| next.0);
        let segment = self.segment;
        let cache_key = Key { segment: segment.id.number, offset };
        let block = match cache.get(&cache_key) {
            Some(Cached::Rows(block)) => block,
            _ => {
                let payload = segment.payload(offset, Frames::ROWS, Structure::Rows)?;
                let block = rows::RowBlock::decode(payload)
                    .map_err(|fault| corrupt(&segment.name, offset, Structure::Rows, fault))?;
                if block.len() as u64 != next - first {
                    let fault = Fault::Range { found: block.len() as u64, min: next - first, max: next - first };
                    return Err(corrupt(&segment.name, offset, Structure::Rows, fault));
                }
                cost.blocks_verified += 1;
                cost.bytes_read += payload.len() as u64;
                cost.rows_decoded += block.len() as u64;
                let block = Arc::new(block);
                cache.put(cache_key, Cached::Rows(block.clone()), block.memory_bytes());
                block
            }
        };
        let row = block.row((id - first) as usize, &mut cursor.builder);
        cursor.at = Some(AtBlock { table, rows: first..next, block });
        Ok(row)
    }
}

#[cfg(test)]
mod tests;

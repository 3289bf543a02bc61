//! Streams become a segment file, table by table.
//!
//! Invariants:
//! - The file is written under a temporary name, synced, then renamed: a segment that has its name is whole.
//! - Memory is bounded by one block of rows, one piece and the directories, whatever the segment's size.
//!
//! Steps, for each table in order: [`begin_table`](SegmentWriter::begin_table) → for a shared table the rows in content
//! order → the streams in order → [`end_table`](SegmentWriter::end_table); at last [`finish`](SegmentWriter::finish).

use super::directory::{Directory, Form, Layout, PieceEntry, StreamEntry};
use super::footer::{Footer, TableEntry, put_trailer};
use super::run::encode::Piece;
use super::{Frames, index, piece, put_commits, rows};
use crate::codec::Effort;
use crate::error::{During, Error};
use crate::fact::{Micros, Name, StreamKey};
use crate::format::frame::{FileHeader, FileId, FileKind, put_frame};
use crate::format::names;
use crate::io::{Output, Storage};
use crate::manifest::{SegmentMeta, StreamExtent, TableExtent, encode_summary};
use crate::packing::{self, Dictionary, Looks, Packer};
use crate::row::Row;
use crate::timeline::regular::Agent;
use crate::timeline::{Part, RowId};
use std::sync::Arc;

/// Bytes gathered before they are handed to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// The table under construction.
struct Table {
    name: Name,
    directory: Directory,
    /// Packs rows, if they are packed.
    packer: Option<Packer>,
    pending: Vec<Row>,
    pending_bytes: usize,
    parts: u64,
    copies: u64,
}

/// Writes one segment.
pub struct SegmentWriter<'s> {
    storage: &'s dyn Storage,
    id: FileId,
    temporary: String,
    file: Box<dyn Output>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    effort: Effort,
    /// The recorded times of all parts.
    commits: Vec<Micros>,
    table: Option<Table>,
    tables: Vec<TableEntry>,
    summary: Vec<StreamExtent>,
    /// Of a row id of the stream at hand: which stream numbered it last, and how. Kept from stream to stream, since ids
    /// may be those of a whole table.
    numbers: Vec<(u64, RowId)>,
    /// Streams of inline tables so far.
    streams: u64,
}

impl<'s> SegmentWriter<'s> {
    /// Begins segment `id`; `effort` is for what is not packed, `commits` are the recorded times of the parts that will come, in order.
    pub fn create(
        storage: &'s dyn Storage,
        id: FileId,
        created: Micros,
        effort: Effort,
        commits: Vec<Micros>,
    ) -> Result<SegmentWriter<'s>, Error> {
        let temporary = format!("{}.tmp", names::segment(id.number));
        let file = storage.create(&temporary).during("create", &temporary)?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES + (BUFFER_BYTES >> 2));
        buffer.extend_from_slice(&FileHeader { kind: FileKind::Segment, id, created }.encode());
        Ok(SegmentWriter {
            storage,
            id,
            temporary,
            file,
            buffer,
            scratch: Vec::new(),
            effort,
            commits,
            table: None,
            tables: Vec::new(),
            summary: Vec::new(),
            numbers: Vec::new(),
            streams: 0,
        })
    }

    /// Writes the gathered payload as a frame; tells where it begins.
    fn frame(&mut self, kind: u8) -> Result<u64, Error> {
        let offset = self.file.len() + self.buffer.len() as u64;
        put_frame(&mut self.buffer, &self.id, offset, kind, &self.scratch);
        self.scratch.clear();
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(offset)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file.append(&self.buffer).during("append to", &self.temporary)?;
        self.buffer.clear();
        Ok(())
    }

    /// Where the segment is written to.
    pub fn storage(&self) -> &'s dyn Storage {
        self.storage
    }

    /// The recorded times of all parts, in order.
    pub fn commits(&self) -> &[Micros] {
        &self.commits
    }

    /// Begins a table, whose rows are packed by a dictionary if there is one. Tables come by name.
    pub fn begin_table(
        &mut self,
        name: &Name,
        layout: Layout,
        dictionary: Option<Arc<Dictionary>>,
    ) -> Result<(), Error> {
        debug_assert!(self.table.is_none());
        debug_assert!(self.tables.last().is_none_or(|last| last.name < *name));
        let mut directory = Directory::empty(layout);
        if let Some(dictionary) = &dictionary {
            dictionary.encode(&mut self.scratch);
            directory.dictionary = self.frame(Frames::DICTIONARY)?;
        }
        let (pending, pending_bytes, parts, copies) = (Vec::new(), 0, 0, 0);
        let packer = dictionary.map(Packer::new);
        self.table = Some(Table { name: name.clone(), directory, packer, pending, pending_bytes, parts, copies });
        Ok(())
    }

    /// Adds the next row; tells its number.
    pub fn row(&mut self, row: Row) -> Result<RowId, Error> {
        let Some(table) = &mut self.table else { unreachable!("a row outside a table") };
        let id = table.directory.rows;
        table.directory.rows += 1;
        table.pending_bytes += row.as_bytes().len();
        table.pending.push(row);
        let rows_max = if table.packer.is_some() { packing::BLOCK_ROWS_MAX } else { rows::ROWS_MAX };
        if table.pending.len() >= rows_max || table.pending_bytes >= rows::ROWS_BYTES_MAX {
            self.end_row_block()?;
        }
        Ok(id as RowId)
    }

    fn end_row_block(&mut self) -> Result<(), Error> {
        let Some(table) = &mut self.table else {
            return Ok(());
        };
        if table.pending.is_empty() {
            return Ok(());
        }
        let first = table.directory.rows - table.pending.len() as u64;
        let kind = match &mut table.packer {
            Some(packer) => {
                let pending: Vec<&[u8]> = table.pending.iter().map(Row::as_bytes).collect();
                packer.pack(&pending, Looks::NONE, &mut self.scratch);
                Frames::PACKED
            }
            None => {
                rows::encode(table.pending.iter(), self.effort, &mut self.scratch);
                Frames::ROWS
            }
        };
        table.pending.clear();
        table.pending_bytes = 0;
        let offset = self.frame(kind)?;
        if let Some(table) = &mut self.table {
            table.directory.row_blocks.push((first, offset));
        }
        Ok(())
    }

    /// Adds parts of a stream, in part order, with row numbers that this writer gave. Streams come in their order; one
    /// stream may come in several calls, in time order.
    pub fn parts(&mut self, key: &Arc<StreamKey>, parts: &[Part]) -> Result<(), Error> {
        let mut rest = parts;
        while !rest.is_empty() {
            let (these, others) = rest.split_at(piece::next_piece(rest));
            rest = others;
            piece::encode(key.kind, these, self.effort, &mut self.scratch);
            let offset = self.frame(Frames::PIECE)?;
            let (first, last) = (these[0].second, these[these.len() - 1].second);
            let copies = these.iter().map(|part| (part.removed.len() + part.added.len()) as u64).sum();
            let piece = PieceEntry {
                offset,
                parts: these.len() as u64,
                copies,
                first,
                last,
                times: (first, last),
                ..PieceEntry::default()
            };
            self.piece(key, Form::Facts, (Agent::default(), false), piece);
        }
        Ok(())
    }

    /// Adds a regular stream, with what must hold of its agent and whether it does; of which `pieces` are where they are in `bytes`, and `copies` how many copies of rows its
    /// parts name in all.
    pub fn run(
        &mut self,
        key: &Arc<StreamKey>,
        (agent, fits): (Agent, bool),
        pieces: &[Piece],
        bytes: &[u8],
        copies: u64,
    ) -> Result<(), Error> {
        let mut copies = copies;
        for piece in pieces {
            self.scratch.extend_from_slice(&bytes[piece.bytes.clone()]);
            let offset = self.frame(Frames::RUN)?;
            let (parts, versions) = (piece.looks as u64, piece.versions as u64);
            let entry = PieceEntry {
                offset,
                parts,
                copies: std::mem::take(&mut copies),
                versions,
                first: piece.first,
                last: piece.last,
                times: piece.times,
                ..PieceEntry::default()
            };
            self.piece(key, Form::Run, (agent, fits), entry);
        }
        Ok(())
    }

    fn piece(&mut self, key: &Arc<StreamKey>, form: Form, (agent, fits): (Agent, bool), piece: PieceEntry) {
        let Some(table) = &mut self.table else { unreachable!("a piece outside a table") };
        table.parts += piece.parts;
        table.copies += piece.copies;
        let directory = &mut table.directory;
        let at = directory.pieces.len();
        directory.pieces.push(piece);
        match directory.streams.last_mut() {
            Some(last) if last.key == *key => last.pieces.end = at + 1,
            last => {
                debug_assert!(last.is_none_or(|last| last.key < *key));
                directory.streams.push(StreamEntry { key: key.clone(), pieces: at..at + 1, form, agent, fits });
            }
        }
    }

    /// Adds the parts of a stream to an inline table: `rows[id]` is the row that `id` in the parts stands for.
    pub fn inline(&mut self, key: &Arc<StreamKey>, mut parts: Vec<Part>, rows: &[Row]) -> Result<(), Error> {
        self.streams += 1;
        let stream = self.streams;
        let mut numbers = std::mem::take(&mut self.numbers);
        if numbers.len() < rows.len() {
            numbers.resize(rows.len(), (0, 0));
        }
        for part in &mut parts {
            part.renumber(|id| -> Result<RowId, Error> {
                let (of_stream, number) = &mut numbers[id as usize];
                if *of_stream != stream {
                    (*of_stream, *number) = (stream, self.row(rows[id as usize].clone())?);
                }
                Ok(*number)
            })?;
        }
        self.numbers = numbers;
        self.parts(key, &parts)
    }

    /// Adds the index of a column; columns come by name.
    pub fn index(&mut self, column: &Name, index: &index::Builder, of: index::Postings) -> Result<(), Error> {
        index.encode(of, &mut self.scratch);
        let offset = self.frame(Frames::INDEX)?;
        let Some(table) = &mut self.table else { unreachable!("an index outside a table") };
        table.directory.indexes.push((column.clone(), offset));
        Ok(())
    }

    /// How many streams the table has so far.
    pub fn streams(&self) -> usize {
        self.table.as_ref().map_or(0, |table| table.directory.streams.len())
    }

    /// Ends the table.
    pub fn end_table(&mut self) -> Result<(), Error> {
        self.end_row_block()?;
        let Some(table) = self.table.take() else {
            return Ok(());
        };
        table.directory.encode(&mut self.scratch);
        let offset = self.frame(Frames::DIRECTORY)?;
        let pieces = &table.directory.pieces;
        for stream in &table.directory.streams {
            let of = &pieces[stream.pieces.clone()];
            let (first, last) = extent(of);
            let parts = of.iter().map(|piece| piece.parts).sum();
            self.summary.push(StreamExtent { stream: stream.key.clone(), first, last, parts });
        }
        let (first, last) = extent(pieces);
        let (parts, copies) = (table.parts, table.copies);
        self.tables.push(TableEntry { name: table.name, directory: offset, parts, copies, first, last });
        Ok(())
    }

    /// Makes the segment durable under its name and describes it.
    pub fn finish(mut self) -> Result<SegmentMeta, Error> {
        debug_assert!(self.table.is_none());
        let recorded = self.commits.first().copied().zip(self.commits.last().copied()).unwrap_or((0, 0));
        put_commits(&self.commits, &mut self.scratch);
        let commits = self.frame(Frames::COMMITS)?;
        let footer = Footer { tables: std::mem::take(&mut self.tables), commits, recorded };
        footer.encode(&mut self.scratch);
        let footer_crc = crc32fast::hash(&self.scratch);
        let offset = self.frame(Frames::FOOTER)?;
        put_trailer(&mut self.buffer, &self.id, offset);
        self.flush()?;
        self.file.sync().during("sync", &self.temporary)?;
        let name = names::segment(self.id.number);
        self.storage.rename(&self.temporary, &name).during("rename", &self.temporary)?;
        self.storage.sync_dir().during("sync the directory of", &name)?;
        let tables: Vec<TableExtent> = footer
            .tables
            .iter()
            .map(|t| TableExtent {
                table: t.name.clone(),
                parts: t.parts,
                versions: t.copies,
                first: t.first,
                last: t.last,
            })
            .collect();
        Ok(SegmentMeta {
            number: self.id.number,
            bytes: self.file.len(),
            footer_crc,
            level: 0,
            recorded,
            parts: tables.iter().map(|table| table.parts).sum(),
            versions: tables.iter().map(|table| table.versions).sum(),
            tables,
            summary: encode_summary(&self.summary),
            unknown: Vec::new(),
        })
    }
}

/// The first and last second of pieces.
fn extent(pieces: &[PieceEntry]) -> (i64, i64) {
    let first = pieces.iter().map(|piece| piece.first).min().unwrap_or(0);
    (first, pieces.iter().map(|piece| piece.last).max().unwrap_or(0))
}

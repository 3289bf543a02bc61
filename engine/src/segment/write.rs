//! Streams become a segment file, table by table.
//!
//! Invariants:
//! - The file is written under a temporary name, synced, then renamed: a segment that has its name is whole.
//! - Memory is bounded by one block of rows, one piece, one directory, the hosts and the summary, whatever the segment's
//!   size.
//!
//! Steps, for each table in order: [`begin_table`](SegmentWriter::begin_table) → for a shared table the rows in content
//! order → the streams in order → [`end_table`](SegmentWriter::end_table); at last [`finish`](SegmentWriter::finish).

use super::directory::{Draft, Form, Layout, PieceEntry};
use super::footer::{Footer, TableEntry, put_trailer};
use super::run::encode::Piece;
use super::{Frames, hosts, index, piece, put_commits, rows};
use crate::codec::Effort;
use crate::error::{During, Error};
use crate::fact::{Kind, Micros, Name, StreamKey};
use crate::format::frame::{FileHeader, FileId, FileKind, put_frame};
use crate::format::names;
use crate::io::{Output, Storage};
use crate::manifest::{SegmentMeta, Summary, TableExtent};
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
    directory: Draft,
    /// The stream at hand.
    stream: Option<Arc<StreamKey>>,
    /// The number of its host.
    host: usize,
    /// Packs rows, if they are packed.
    packer: Option<Packer>,
    pending: Vec<Row>,
    pending_bytes: usize,
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
    /// The hosts of all streams, in order, and whether each has a look.
    hosts: Vec<(Name, bool)>,
    table: Option<Table>,
    tables: Vec<TableEntry>,
    summary: Summary,
    /// Of a row id of the stream at hand: which stream numbered it last, and how. Kept from stream to stream, since ids
    /// may be those of a whole table.
    numbers: Vec<(u64, RowId)>,
    /// Streams of inline tables so far.
    streams: u64,
}

impl<'s> SegmentWriter<'s> {
    /// Begins segment `id`; `effort` is for what is not packed, `commits` are the recorded times of the parts that will
    /// come, in order, and `hosts` the hosts of the streams, in order, each once.
    pub fn create(
        storage: &'s dyn Storage,
        id: FileId,
        created: Micros,
        effort: Effort,
        commits: Vec<Micros>,
        hosts: Vec<Name>,
    ) -> Result<SegmentWriter<'s>, Error> {
        debug_assert!(hosts.is_sorted_by(|a, b| a < b));
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
            hosts: hosts.into_iter().map(|host| (host, false)).collect(),
            table: None,
            tables: Vec::new(),
            summary: Summary::default(),
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

    /// The hosts of all streams, in order.
    pub fn hosts(&self) -> impl Iterator<Item = &Name> {
        self.hosts.iter().map(|(host, _)| host)
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
        let offset = match &dictionary {
            Some(dictionary) => {
                dictionary.encode(&mut self.scratch);
                self.frame(Frames::DICTIONARY)?
            }
            None => 0,
        };
        let (directory, packer) = (Draft::new(layout, offset), dictionary.map(Packer::new));
        let (name, stream, host, pending, pending_bytes) = (name.clone(), None, 0, Vec::new(), 0);
        self.table = Some(Table { name, directory, stream, host, packer, pending, pending_bytes });
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
        if table.stream.as_ref() != Some(key) {
            debug_assert!(table.stream.as_ref().is_none_or(|last| last < key));
            // Streams come in the order of their hosts.
            let after = self.hosts[table.host..].iter().position(|(host, _)| *host == key.host);
            let Some(after) = after else { unreachable!("a stream of a host that was not announced") };
            table.host += after;
            self.hosts[table.host].1 |= key.kind != Kind::Note;
            table.directory.stream(table.host, key, form, (agent, fits));
            table.stream = Some(key.clone());
        }
        table.directory.piece(&piece);
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
        self.table.as_ref().map_or(0, |table| table.directory.streams())
    }

    /// Ends the table.
    pub fn end_table(&mut self) -> Result<(), Error> {
        self.end_row_block()?;
        let Some(table) = self.table.take() else {
            return Ok(());
        };
        let (first, last) = table.directory.extent();
        let (parts, copies) = (table.directory.parts(), table.directory.copies());
        table.directory.finish(&table.name, &mut self.summary, &mut self.scratch);
        let offset = self.frame(Frames::DIRECTORY)?;
        self.tables.push(TableEntry { name: table.name, directory: offset, parts, copies, first, last });
        Ok(())
    }

    /// Makes the segment durable under its name and describes it.
    pub fn finish(mut self) -> Result<SegmentMeta, Error> {
        debug_assert!(self.table.is_none());
        let recorded = self.commits.first().copied().zip(self.commits.last().copied()).unwrap_or((0, 0));
        put_commits(&self.commits, &mut self.scratch);
        let commits = self.frame(Frames::COMMITS)?;
        hosts::encode(&self.hosts, &mut self.scratch);
        let hosts = self.frame(Frames::HOSTS)?;
        let footer = Footer { tables: std::mem::take(&mut self.tables), commits, hosts, recorded };
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
            summary: self.summary.finish(self.hosts.iter().map(|(host, _)| host)),
            unknown: Vec::new(),
        })
    }
}

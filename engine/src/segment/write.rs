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
use super::{Frames, hosts, index, listed, piece, put_commits, rows};
use crate::codec::Effort;
use crate::error::{During, Error};
use crate::fact::{Kind, Micros, Name, StreamKey};
use crate::format::frame::{FileHeader, FileId, FileKind, open_frame, place_crc};
use crate::format::names;
use crate::io::{Output, Storage};
use crate::manifest::{SegmentMeta, Summary, TableExtent};
use crate::packing::{self, Dictionary, Looks, Packer};
use crate::row::{Row, has_more_columns};
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
    pending: Pending,
    pending_bytes: usize,
}

/// The block of rows under construction.
enum Pending {
    Packed(Box<Packer>, Vec<Row>),
    Columns(i32, Vec<Row>),
    Listed(listed::Rows),
}

impl Pending {
    fn len(&self) -> usize {
        match self {
            Pending::Packed(_, rows) | Pending::Columns(_, rows) => rows.len(),
            Pending::Listed(rows) => rows.len(),
        }
    }
}

/// Writes one segment.
pub struct SegmentWriter<'s> {
    storage: &'s dyn Storage,
    id: FileId,
    temporary: String,
    file: Box<dyn Output>,
    buffer: Vec<u8>,
    scratch: Vec<u8>,
    piece_bytes: Vec<u8>,
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
            piece_bytes: Vec::new(),
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
        let scratch = std::mem::take(&mut self.scratch);
        let offset = self.frame_of(kind, |out| out.extend_from_slice(&scratch));
        self.scratch = scratch;
        self.scratch.clear();
        offset
    }

    /// Writes a frame with the payload that is appended; tells where it begins.
    fn frame_of(&mut self, kind: u8, payload: impl FnOnce(&mut Vec<u8>)) -> Result<u64, Error> {
        let offset = self.bytes();
        let open = open_frame(&mut self.buffer, kind);
        payload(&mut self.buffer);
        open.close(&mut self.buffer, &self.id, offset);
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(offset)
    }

    fn flush(&mut self) -> Result<(), Error> {
        self.file.append(&self.buffer).during("append to", &self.temporary)?;
        self.buffer.clear();
        // The directory of very many streams is not kept room for.
        self.buffer.shrink_to(BUFFER_BYTES * 4);
        Ok(())
    }

    /// How many bytes it has so far.
    pub fn bytes(&self) -> u64 {
        self.file.len() + self.buffer.len() as u64
    }

    /// Gives the segment up. A file that stays is removed when the store is opened to write.
    pub fn abandon(self) {
        let _ = self.storage.remove(&self.temporary);
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
        let pending = match (dictionary, self.effort) {
            (Some(dictionary), _) => Pending::Packed(Box::new(Packer::new(dictionary)), Vec::new()),
            (None, Effort::Zstd(level)) => Pending::Columns(level, Vec::new()),
            (None, Effort::Quick) => Pending::Listed(listed::Rows::default()),
        };
        let (name, directory) = (name.clone(), Draft::new(layout, offset));
        self.table = Some(Table { name, directory, stream: None, host: 0, pending, pending_bytes: 0 });
        Ok(())
    }

    /// Adds the next row; tells its number.
    pub fn row(&mut self, row: &Row) -> Result<RowId, Error> {
        let is_wide = has_more_columns(row.as_bytes(), rows::ROW_COLUMNS_MAX);
        if is_wide {
            self.end_row_block()?;
        }
        let Some(table) = &mut self.table else { unreachable!("a row outside a table") };
        let id = table.directory.rows;
        table.directory.rows += 1;
        table.pending_bytes += row.as_bytes().len();
        match &mut table.pending {
            Pending::Packed(_, rows) | Pending::Columns(_, rows) => rows.push(row.clone()),
            Pending::Listed(rows) => rows.row(row.as_bytes()),
        }
        let rows_max = match table.pending {
            Pending::Packed(..) => packing::BLOCK_ROWS_MAX,
            Pending::Columns(..) | Pending::Listed(_) => rows::ROWS_MAX,
        };
        if is_wide || table.pending.len() >= rows_max || table.pending_bytes >= rows::ROWS_BYTES_MAX {
            self.end_row_block()?;
        }
        Ok(id as RowId)
    }

    fn end_row_block(&mut self) -> Result<(), Error> {
        let Some(table) = &mut self.table else {
            return Ok(());
        };
        let count = table.pending.len();
        if count == 0 {
            return Ok(());
        }
        let first = table.directory.rows - count as u64;
        table.pending_bytes = 0;
        let mut pending = std::mem::replace(&mut table.pending, Pending::Columns(0, Vec::new()));
        let offset = match &mut pending {
            Pending::Packed(packer, rows) => self.frame_of(Frames::PACKED, |out| {
                let pending: Vec<&[u8]> = rows.iter().map(Row::as_bytes).collect();
                packer.pack(&pending, Looks::NONE, out);
                rows.clear();
            }),
            Pending::Columns(level, rows) => self.frame_of(Frames::ROWS, |out| {
                rows::encode(rows.iter(), *level, out);
                rows.clear();
            }),
            Pending::Listed(rows) => self.frame_of(Frames::ROWS, |out| rows::encode_listed(rows, out)),
        }?;
        if let Some(table) = &mut self.table {
            table.directory.row_blocks.push((first, offset));
            table.pending = pending;
        }
        Ok(())
    }

    /// Adds parts of a stream, in part order, with row numbers that this writer gave. Streams come in their order; one
    /// stream may come in several calls, in time order.
    pub fn parts(&mut self, key: &Arc<StreamKey>, parts: &[Part]) -> Result<(), Error> {
        self.numbered_parts(key, parts, |_, row| Ok(row))
    }

    /// The same with row numbers that `number` gives.
    fn numbered_parts(
        &mut self,
        key: &Arc<StreamKey>,
        parts: &[Part],
        mut number: impl FnMut(&mut Self, RowId) -> Result<RowId, Error>,
    ) -> Result<(), Error> {
        let mut rest = parts;
        while !rest.is_empty() {
            let (these, others) = rest.split_at(piece::next_piece(rest));
            rest = others;
            // Giving a row its number may end a block, which is a frame before that of the piece.
            let mut bytes = std::mem::take(&mut self.piece_bytes);
            bytes.clear();
            match self.effort {
                Effort::Quick => piece::encode_listed(these, |row| number(self, row), &mut bytes)?,
                Effort::Zstd(_) => {
                    let mut these = these.to_vec();
                    for part in &mut these {
                        part.renumber(|row| number(self, row))?;
                    }
                    piece::encode(key.kind, &these, &mut bytes);
                }
            }
            let offset = self.frame_of(Frames::PIECE, |out| out.extend_from_slice(&bytes))?;
            self.piece_bytes = bytes;
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
            if these.iter().any(Part::is_loss)
                && let Some(table) = &mut self.table
            {
                table.directory.note_loss();
            }
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
            let entry = PieceEntry { copies: std::mem::take(&mut copies), ..self.piece_of_run(piece, bytes)? };
            self.piece(key, Form::Run, (agent, fits), entry);
        }
        Ok(())
    }

    /// Adds the run that tells what the facts of the stream at hand mean, which were added before; `pieces` are where they are in
    /// `bytes`.
    pub fn resolved(&mut self, pieces: &[Piece], bytes: &[u8]) -> Result<(), Error> {
        for piece in pieces {
            let entry = self.piece_of_run(piece, bytes)?;
            let Some(table) = &mut self.table else { unreachable!("a piece outside a table") };
            table.directory.resolved(&entry);
        }
        Ok(())
    }

    /// Writes a piece of a run that is where it says in `bytes`.
    fn piece_of_run(&mut self, piece: &Piece, bytes: &[u8]) -> Result<PieceEntry, Error> {
        let place = place_crc(&self.id, self.bytes());
        let of_run = if piece.spans.is_empty() { Frames::RUN } else { Frames::CHECKED_RUN };
        let offset = self.frame_of(of_run, |out| piece.put(bytes, place, out))?;
        Ok(PieceEntry {
            offset,
            parts: piece.looks as u64,
            versions: piece.versions as u64,
            first: piece.first,
            last: piece.last,
            times: piece.times,
            ..PieceEntry::default()
        })
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
    pub fn inline(&mut self, key: &Arc<StreamKey>, parts: &[Part], rows: &[Row]) -> Result<(), Error> {
        self.streams += 1;
        let stream = self.streams;
        let mut numbers = std::mem::take(&mut self.numbers);
        if numbers.len() < rows.len() {
            numbers.resize(rows.len(), (0, 0));
        }
        // The rows of a stream lie far apart among all, and waits for memory overlap where no row waits for another.
        let sides = parts.iter().flat_map(|part| part.removed.iter().chain(&part.added));
        Row::touch(sides.map(|&(id, _)| &rows[id as usize]));
        self.numbered_parts(key, parts, |writer, id| {
            let (of_stream, number) = &mut numbers[id as usize];
            if *of_stream != stream {
                (*of_stream, *number) = (stream, writer.row(&rows[id as usize])?);
            }
            Ok(*number)
        })?;
        self.numbers = numbers;
        Ok(())
    }

    /// Adds the index of a column; columns come by name.
    pub fn index(&mut self, column: &Name, index: &index::Builder, of: index::Postings) -> Result<(), Error> {
        let offset = self.frame_of(Frames::INDEX, |out| index.encode(of, out))?;
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
        let mut summary = std::mem::take(&mut self.summary);
        let offset = self.frame_of(Frames::DIRECTORY, |out| table.directory.finish(&table.name, &mut summary, out))?;
        self.summary = summary;
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

//! A directory under construction.
//!
//! Memory: the numbers of the streams and pieces of one table, about a hundred bytes for a stream of one piece.

use super::{
    COPIES, Form, Layout, PARTS_END, PieceEntry, PieceFields, StreamFields, StreamRecord, VERSIONS_END, ordered,
};
use crate::codec::{ints, records, varint};
use crate::fact::{Name, Second, StreamKey};
use crate::manifest::{StreamSummary, Summary};
use crate::timeline::regular::Agent;
use rustc_hash::FxHashMap;

/// Gathers what a segment holds of one table.
pub struct Draft {
    layout: Layout,
    /// Where the frame of the dictionary begins by which rows are packed; 0 if they are not.
    dictionary: u64,
    /// How many rows there are.
    pub rows: u64,
    /// (the first row, where the frame begins) of each row block.
    pub row_blocks: Vec<(u64, u64)>,
    /// The columns with an index, by name, and where its frame begins.
    pub indexes: Vec<(Name, u64)>,
    /// Names, numbered as they came.
    names: FxHashMap<Name, u64>,
    streams: Vec<Stream>,
    pieces: Vec<PieceFields>,
}

struct Stream {
    record: StreamRecord,
    /// The seconds of the first and the last part.
    extent: (Second, Second),
    parts: u64,
}

impl Draft {
    /// A directory of nothing.
    pub fn new(layout: Layout, dictionary: u64) -> Draft {
        Draft {
            layout,
            dictionary,
            rows: 0,
            row_blocks: Vec::new(),
            indexes: Vec::new(),
            names: FxHashMap::default(),
            streams: Vec::new(),
            pieces: Vec::new(),
        }
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Begins the next stream, of host number `host`; its pieces follow, at least one.
    pub fn stream(&mut self, host: usize, key: &StreamKey, form: Form, (agent, fits): (Agent, bool)) {
        let count = self.names.len() as u64;
        let name = match self.names.get(&key.name) {
            Some(&name) => name as usize,
            None => *self.names.entry(key.name.clone()).or_insert(count) as usize,
        };
        let (kind, sightings, pieces) = (key.kind, key.sightings, self.pieces.len()..self.pieces.len());
        let resolved = pieces.clone();
        let record = StreamRecord { host, name, kind, sightings, form, agent, fits, has_loss: false, pieces, resolved };
        self.streams.push(Stream { record, extent: (Second::MAX, Second::MIN), parts: 0 });
    }

    /// Notes that a loss is among the parts of the stream at hand.
    pub fn note_loss(&mut self) {
        let Some(stream) = self.streams.last_mut() else { unreachable!("a loss outside a stream") };
        stream.record.has_loss = true;
    }

    /// Adds the next piece of the stream at hand.
    pub fn piece(&mut self, piece: &PieceEntry) {
        let place = self.pieces.len();
        let Some(stream) = self.streams.last_mut() else { unreachable!("a piece outside a stream") };
        debug_assert!(!stream.record.is_resolved(), "facts come before their run");
        let is_first = stream.record.pieces.is_empty();
        stream.record.pieces.end = place + 1;
        stream.record.resolved = place + 1..place + 1;
        stream.extent = (stream.extent.0.min(piece.first), stream.extent.1.max(piece.last));
        stream.parts += piece.parts;
        self.put_piece(piece, is_first);
    }

    /// Adds the next piece of the run beside the facts of the stream at hand, which were added.
    pub fn resolved(&mut self, piece: &PieceEntry) {
        let place = self.pieces.len();
        let Some(stream) = self.streams.last_mut() else { unreachable!("a piece outside a stream") };
        let is_first = !stream.record.is_resolved();
        stream.record.resolved.end = place + 1;
        self.put_piece(piece, is_first);
    }

    fn put_piece(&mut self, piece: &PieceEntry, is_first: bool) {
        let (parts, versions) = match self.pieces.last() {
            Some(last) if !is_first => (last[PARTS_END], last[VERSIONS_END]),
            _ => (0, 0),
        };
        self.pieces.push([
            piece.offset,
            parts + piece.parts,
            piece.copies,
            versions + piece.versions,
            ordered(piece.first),
            piece.last.wrapping_sub(piece.first) as u64,
            ordered(piece.times.0.wrapping_sub(piece.first)),
            ordered(piece.times.1.wrapping_sub(piece.last)),
        ]);
    }

    /// The first and the last second of all; 0 and 0 if there are none.
    pub fn extent(&self) -> (Second, Second) {
        let extents = self.streams.iter().map(|stream| stream.extent);
        extents.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1))).unwrap_or((0, 0))
    }

    /// How many parts all have.
    pub fn parts(&self) -> u64 {
        self.streams.iter().map(|stream| stream.parts).sum()
    }

    /// How many copies of rows all parts name.
    pub fn copies(&self) -> u64 {
        self.pieces.iter().map(|piece| piece[COPIES]).sum()
    }

    /// Appends the directory of table `table`, and notes in the summary what is there.
    pub fn finish(mut self, table: &Name, summary: &mut Summary, out: &mut Vec<u8>) {
        let names = self.sort_names();
        out.push(self.layout as u8);
        varint::put_u64(out, self.rows);
        varint::put_u64(out, self.dictionary);
        let with_state = || self.streams.iter().filter(|stream| stream.record.has_state());
        let counts = [self.row_blocks.len(), self.indexes.len(), names.len(), self.streams.len(), self.pieces.len()];
        counts.into_iter().chain([with_state().count()]).for_each(|count| varint::put_u64(out, count as u64));
        for (column, offset) in &self.indexes {
            put_name(column, out);
            varint::put_u64(out, *offset);
        }
        ints::encode(&self.row_blocks.iter().map(|block| block.0).collect::<Vec<_>>(), out);
        ints::encode(&self.row_blocks.iter().map(|block| block.1).collect::<Vec<_>>(), out);
        names.iter().for_each(|name| put_name(name, out));
        let fields = |stream: &Stream| -> StreamFields {
            let record = &stream.record;
            let (kind, form) = (record.kind_number(), record.form_number());
            [record.host as u64, record.name as u64, kind, form, record.resolved.end as u64]
        };
        records::encode(&self.streams.iter().map(fields).collect::<Vec<_>>(), out);
        records::encode(&self.pieces, out);
        let mut firsts: Vec<u64> = with_state().map(|stream| ordered(stream.extent.0)).collect();
        let mut lasts: Vec<u64> = with_state().map(|stream| ordered(stream.extent.1)).collect();
        firsts.sort_unstable();
        lasts.sort_unstable();
        records::encode(&firsts.into_iter().zip(lasts).map(|(first, last)| [first, last]).collect::<Vec<_>>(), out);
        summary.table(
            table,
            &names,
            self.streams.iter().map(|stream| StreamSummary {
                host: stream.record.host,
                name: stream.record.name,
                kind: stream.record.kind,
                sightings: stream.record.sightings,
                extent: stream.extent,
                parts: stream.parts,
            }),
        );
    }

    /// Numbers the names in their order.
    fn sort_names(&mut self) -> Vec<Name> {
        let mut named: Vec<(Name, u64)> = self.names.drain().collect();
        named.sort_unstable();
        let mut numbers = vec![0; named.len()];
        for (number, (_, came)) in named.iter().enumerate() {
            numbers[*came as usize] = number;
        }
        self.streams.iter_mut().for_each(|stream| stream.record.name = numbers[stream.record.name]);
        named.into_iter().map(|(name, _)| name).collect()
    }
}

fn put_name(name: &[u8], out: &mut Vec<u8>) {
    varint::put_u64(out, name.len() as u64);
    out.extend_from_slice(name);
}

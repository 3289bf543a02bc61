//! What a segment holds of one table, and where: its row blocks, its streams, and their pieces.
//!
//! Invariants: streams stand in the order of [`StreamKey`]; a stream's pieces stand in time order, without a gap in the
//! list; row blocks tile the row numbers from 0.

use super::piece::DECODE_PARTS_MAX;
use super::rows::ROWS_MAX;
use crate::codec::{Fault, finish, ints, take, take_between, texts, varint};
use crate::fact::{Kind, Name, Second, StreamKey};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// How a table's rows are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layout {
    /// Rows repeat: each distinct row once, in content order.
    Shared = 0,
    /// Rows seldom repeat: in the order in which streams first use them, each stream's together.
    Inline = 1,
}

/// One piece of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PieceEntry {
    /// Where its frame begins.
    pub offset: u64,
    /// How many parts it has.
    pub parts: u64,
    /// How many copies of rows its parts name in all.
    pub copies: u64,
    /// The second of its first part.
    pub first: Second,
    /// The second of its last part.
    pub last: Second,
}

/// The directory of one table.
#[derive(Clone, Debug)]
pub struct Directory {
    /// How rows are numbered.
    pub layout: Layout,
    /// How many rows there are.
    pub rows: u64,
    /// (the first row, where the frame begins) of each row block.
    pub row_blocks: Vec<(u64, u64)>,
    /// The streams, each with its pieces as a range of `pieces`.
    pub streams: Vec<(Arc<StreamKey>, Range<usize>)>,
    /// All pieces, stream by stream.
    pub pieces: Vec<PieceEntry>,
}

/// What a decoder accepts at most of streams, pieces or row blocks of a table in a segment.
pub const ENTRIES_MAX: u64 = 1 << 26;
/// Bytes of names in one directory at most.
const NAME_BYTES_MAX: usize = 1 << 30;

impl Directory {
    /// A stream's pieces.
    pub fn pieces_of(&self, key: &StreamKey) -> &[PieceEntry] {
        match self.streams.binary_search_by(|(other, _)| (**other).cmp(key)) {
            Ok(at) => &self.pieces[self.streams[at].1.clone()],
            Err(_) => &[],
        }
    }

    /// The streams of one host, as a range of `streams`.
    pub fn streams_of_host(&self, host: &[u8]) -> Range<usize> {
        let start = self.streams.partition_point(|(key, _)| *key.host < *host);
        let end = start + self.streams[start..].partition_point(|(key, _)| *key.host == *host);
        start..end
    }

    /// Appends the directory's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.layout as u8);
        varint::put_u64(out, self.rows);
        for count in [self.row_blocks.len(), self.streams.len(), self.pieces.len()] {
            varint::put_u64(out, count as u64);
        }
        let mut column = Vec::new();
        let mut put = |out: &mut Vec<u8>, values: &mut dyn Iterator<Item = u64>| {
            column.clear();
            column.extend(values);
            ints::encode(&column, out);
        };
        put(out, &mut self.row_blocks.iter().map(|block| block.0));
        put(out, &mut self.row_blocks.iter().map(|block| block.1));
        let hosts: Vec<Option<&[u8]>> = self.streams.iter().map(|(key, _)| Some(&*key.host)).collect();
        texts::encode(&hosts, texts::LEVEL_DEFAULT, out);
        let names: Vec<Option<&[u8]>> = self.streams.iter().map(|(key, _)| Some(&*key.name)).collect();
        texts::encode(&names, texts::LEVEL_DEFAULT, out);
        put(out, &mut self.streams.iter().map(|(key, _)| (key.kind as u64) << 1 | u64::from(key.sightings)));
        put(out, &mut self.streams.iter().map(|(_, pieces)| pieces.len() as u64));
        put(out, &mut self.pieces.iter().map(|piece| piece.offset));
        put(out, &mut self.pieces.iter().map(|piece| piece.parts));
        put(out, &mut self.pieces.iter().map(|piece| piece.copies));
        put(out, &mut self.pieces.iter().map(|piece| varint::fold(piece.first)));
        put(out, &mut self.pieces.iter().map(|piece| varint::fold(piece.last)));
    }

    /// Reads a directory back; `table` is the table it is of.
    pub fn decode(table: &Name, mut bytes: &[u8]) -> Result<Directory, Fault> {
        let bytes = &mut bytes;
        let layout = match take(bytes, 1)? {
            [0] => Layout::Shared,
            [1] => Layout::Inline,
            tag => return Err(Fault::Tag { found: tag[0] }),
        };
        let rows = take_between(bytes, 0, u64::from(u32::MAX))?;
        let blocks = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let streams = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let pieces = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let firsts = ints::decode(bytes, blocks)?;
        let offsets = ints::decode(bytes, blocks)?;
        let row_blocks: Vec<(u64, u64)> = firsts.into_iter().zip(offsets).collect();
        let mut covered = 0;
        for (i, &(first, _)) in row_blocks.iter().enumerate() {
            let next = row_blocks.get(i + 1).map_or(rows, |next| next.0);
            if first != covered || next <= first || next - first > ROWS_MAX as u64 {
                return Err(Fault::Order { previous: covered, found: first });
            }
            covered = next;
        }
        if covered != rows {
            return Err(Fault::Order { previous: covered, found: rows });
        }
        let hosts = Names::decode(bytes, streams)?;
        let names = Names::decode(bytes, streams)?;
        let kinds = ints::decode(bytes, streams)?;
        let counts = ints::decode(bytes, streams)?;
        let mut start = 0usize;
        let mut keys: Vec<(Arc<StreamKey>, Range<usize>)> = Vec::with_capacity(streams);
        for i in 0..streams {
            let kind = u8::try_from(kinds[i] >> 1).ok().and_then(Kind::from_byte);
            let kind = kind.ok_or(Fault::Range { found: kinds[i], min: 0, max: 7 })?;
            let sightings = kinds[i] & 1 == 1;
            let (host, name) = (hosts.get(i), names.get(i));
            let key = Arc::new(StreamKey { table: table.clone(), host, name, kind, sightings });
            if keys.last().is_some_and(|(last, _)| **last >= *key) {
                return Err(Fault::Order { previous: i as u64 - 1, found: i as u64 });
            }
            let left = (pieces - start) as u64;
            if counts[i] > left {
                return Err(Fault::Range { found: counts[i], min: 0, max: left });
            }
            let end = start + counts[i] as usize;
            keys.push((key, start..end));
            start = end;
        }
        if start != pieces {
            return Err(Fault::Range { found: pieces as u64, min: start as u64, max: start as u64 });
        }
        let offsets = ints::decode(bytes, pieces)?;
        let parts = ints::decode(bytes, pieces)?;
        let copies = ints::decode(bytes, pieces)?;
        let firsts = ints::decode(bytes, pieces)?;
        let lasts = ints::decode(bytes, pieces)?;
        finish(bytes)?;
        let mut entries = Vec::with_capacity(pieces);
        for i in 0..pieces {
            if parts[i] > DECODE_PARTS_MAX {
                return Err(Fault::Range { found: parts[i], min: 0, max: DECODE_PARTS_MAX });
            }
            let (first, last) = (varint::unfold(firsts[i]), varint::unfold(lasts[i]));
            entries.push(PieceEntry { offset: offsets[i], parts: parts[i], copies: copies[i], first, last });
        }
        Ok(Directory { layout, rows, row_blocks, streams: keys, pieces: entries })
    }
}

/// A column of names in which equal ones share their bytes.
struct Names {
    texts: texts::Texts,
    shared: FxHashMap<Vec<u8>, Name>,
}

impl Names {
    fn decode(bytes: &mut &[u8], count: usize) -> Result<Names, Fault> {
        let texts = texts::decode(bytes, count, NAME_BYTES_MAX)?;
        let mut shared = FxHashMap::default();
        for i in 0..count {
            let name = texts.get(i).ok_or(Fault::Range { found: i as u64, min: 0, max: 0 })?;
            if !shared.contains_key(name) {
                shared.insert(name.to_vec(), Name::from(name));
            }
        }
        Ok(Names { texts, shared })
    }

    fn get(&self, at: usize) -> Name {
        self.texts.get(at).and_then(|name| self.shared.get(name)).cloned().unwrap_or_default()
    }
}

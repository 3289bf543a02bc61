//! What a segment holds of one table, and where: its row blocks, its streams, and their pieces.
//!
//! Invariants: streams stand in the order of [`StreamKey`]; a stream's pieces stand in time order, without a gap in the
//! list; row blocks tile the row numbers from 0.

use super::piece::DECODE_PARTS_MAX;
use super::rows::ROWS_MAX;
use super::run::RUN_MAX;
use crate::codec::{Fault, finish, ints, take, take_between, texts, varint};
use crate::fact::{Kind, Name, Second, StreamKey};
use crate::timeline::regular::Agent;
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// How a table's rows are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Layout {
    /// Rows repeat: each distinct row once, in content order.
    Shared = 0,
    /// Rows seldom repeat: in the order in which streams first use them, each stream's together.
    Inline = 1,
}

/// How a stream is kept. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Form {
    /// As it was delivered, to be resolved when it is asked for.
    Facts = 0,
    /// As a regular stream, resolved.
    Run = 1,
}

/// One piece of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PieceEntry {
    /// Its place in the directory.
    pub place: usize,
    /// Where its frame begins.
    pub offset: u64,
    /// How many parts it has; of a run, looks.
    pub parts: u64,
    /// How many copies of rows its parts name in all.
    pub copies: u64,
    /// Of a run: how many versions appear in it.
    pub versions: u64,
    /// How many parts of the stream come before.
    pub first_look: usize,
    /// How many versions of the stream come before.
    pub first_version: usize,
    /// The second of its first part.
    pub first: Second,
    /// The second of its last part.
    pub last: Second,
    /// Of a run of events: when the first and the last happened; else the seconds of the first and the last part.
    pub times: (Second, Second),
}

/// One stream.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    /// Which.
    pub key: Arc<StreamKey>,
    /// Its pieces, as a range of the directory's.
    pub pieces: Range<usize>,
    /// How it is kept.
    pub form: Form,
    /// Of a run: what must hold of the host's agent for the run to mean what it says.
    pub agent: Agent,
    /// Whether it holds, by the notes of agents that stand in the same segment.
    pub fits: bool,
}

/// The directory of one table.
#[derive(Debug)]
pub struct Directory {
    /// How rows are numbered.
    pub layout: Layout,
    /// How many rows there are.
    pub rows: u64,
    /// (the first row, where the frame begins) of each row block.
    pub row_blocks: Vec<(u64, u64)>,
    /// Where the frame of the dictionary begins by which rows are packed; 0 if they are not.
    pub dictionary: u64,
    /// The columns with an index, by name, and where its frame begins.
    pub indexes: Vec<(Name, u64)>,
    /// The streams, in order.
    pub streams: Vec<StreamEntry>,
    /// All pieces, stream by stream.
    pub pieces: Vec<PieceEntry>,
    /// Whether the checksum of each row block, then of each piece, then of each index, was verified.
    pub(super) verified: Vec<AtomicBool>,
}

/// What a decoder accepts at most of streams, pieces or row blocks of a table in a segment.
pub const ENTRIES_MAX: u64 = 1 << 26;
/// In the column of forms: bits before what must hold of the agent.
const FORM_BITS: u32 = 2;
const FORM_MASK: u64 = 3;
const AGENT_MASK: u64 = 3;
/// In the column of forms: whether it holds.
const FITS_BIT: u32 = 4;
/// Bytes of names in one directory at most.
const NAME_BYTES_MAX: usize = 1 << 30;

impl Directory {
    /// A stream's pieces.
    pub fn pieces_of(&self, key: &StreamKey) -> &[PieceEntry] {
        self.stream(key).map_or(&[], |stream| &self.pieces[stream.pieces.clone()])
    }

    /// One stream.
    pub fn stream(&self, key: &StreamKey) -> Option<&StreamEntry> {
        let at = self.streams.binary_search_by(|stream| (*stream.key).cmp(key)).ok()?;
        Some(&self.streams[at])
    }

    /// The streams of one host, as a range of `streams`.
    pub fn streams_of_host(&self, host: &[u8]) -> Range<usize> {
        let start = self.streams.partition_point(|stream| *stream.key.host < *host);
        let end = start + self.streams[start..].partition_point(|stream| *stream.key.host == *host);
        start..end
    }

    /// Appends the directory's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.layout as u8);
        varint::put_u64(out, self.rows);
        varint::put_u64(out, self.dictionary);
        for count in [self.row_blocks.len(), self.streams.len(), self.pieces.len(), self.indexes.len()] {
            varint::put_u64(out, count as u64);
        }
        for (column, offset) in &self.indexes {
            varint::put_u64(out, column.len() as u64);
            out.extend_from_slice(column);
            varint::put_u64(out, *offset);
        }
        let mut column = Vec::new();
        let mut put = |out: &mut Vec<u8>, values: &mut dyn Iterator<Item = u64>| {
            column.clear();
            column.extend(values);
            ints::encode(&column, out);
        };
        put(out, &mut self.row_blocks.iter().map(|block| block.0));
        put(out, &mut self.row_blocks.iter().map(|block| block.1));
        let streams = &self.streams;
        let hosts: Vec<Option<&[u8]>> = streams.iter().map(|stream| Some(&*stream.key.host)).collect();
        texts::encode(&hosts, texts::EFFORT_DEFAULT, out);
        let names: Vec<Option<&[u8]>> = streams.iter().map(|stream| Some(&*stream.key.name)).collect();
        texts::encode(&names, texts::EFFORT_DEFAULT, out);
        let kind = |stream: &StreamEntry| (stream.key.kind as u64) << 1 | u64::from(stream.key.sightings);
        put(out, &mut streams.iter().map(kind));
        let form = |stream: &StreamEntry| {
            stream.form as u64 | stream.agent.number() << FORM_BITS | u64::from(stream.fits) << FITS_BIT
        };
        put(out, &mut streams.iter().map(form));
        put(out, &mut streams.iter().map(|stream| stream.pieces.len() as u64));
        put(out, &mut self.pieces.iter().map(|piece| piece.offset));
        put(out, &mut self.pieces.iter().map(|piece| piece.parts));
        put(out, &mut self.pieces.iter().map(|piece| piece.copies));
        put(out, &mut self.pieces.iter().map(|piece| piece.versions));
        put(out, &mut self.pieces.iter().map(|piece| varint::fold(piece.first)));
        put(out, &mut self.pieces.iter().map(|piece| varint::fold(piece.last.wrapping_sub(piece.first))));
        put(out, &mut self.pieces.iter().map(|piece| varint::fold(piece.times.0.wrapping_sub(piece.first))));
        put(out, &mut self.pieces.iter().map(|piece| varint::fold(piece.times.1.wrapping_sub(piece.last))));
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
        let dictionary = varint::take_u64(bytes)?;
        let blocks = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let streams = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let pieces = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let mut indexes: Vec<(Name, u64)> = Vec::new();
        for i in 0..take_between(bytes, 0, ENTRIES_MAX)? {
            let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
            let column = Name::from(take(bytes, len)?);
            if indexes.last().is_some_and(|last| last.0 >= column) {
                return Err(Fault::Order { previous: i.saturating_sub(1), found: i });
            }
            indexes.push((column, varint::take_u64(bytes)?));
        }
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
        let forms = ints::decode(bytes, streams)?;
        let counts = ints::decode(bytes, streams)?;
        let mut start = 0usize;
        let mut entries: Vec<StreamEntry> = Vec::with_capacity(streams);
        for i in 0..streams {
            let kind = u8::try_from(kinds[i] >> 1).ok().and_then(Kind::from_byte);
            let kind = kind.ok_or(Fault::Range { found: kinds[i], min: 0, max: 7 })?;
            let sightings = kinds[i] & 1 == 1;
            let (host, name) = (hosts.get(i), names.get(i));
            let key = Arc::new(StreamKey { table: table.clone(), host, name, kind, sightings });
            if entries.last().is_some_and(|last| *last.key >= *key) {
                return Err(Fault::Order { previous: i as u64 - 1, found: i as u64 });
            }
            let left = (pieces - start) as u64;
            if counts[i] > left {
                return Err(Fault::Range { found: counts[i], min: 0, max: left });
            }
            let end = start + counts[i] as usize;
            let form = match forms[i] & FORM_MASK {
                0 => Form::Facts,
                1 => Form::Run,
                found => return Err(Fault::Tag { found: found as u8 }),
            };
            let fits = forms[i] >> FITS_BIT;
            let agent = Agent::from_number(forms[i] >> FORM_BITS & AGENT_MASK).filter(|_| fits < 2);
            let agent = agent.ok_or(Fault::Range { found: forms[i], min: 0, max: 2 << FITS_BIT })?;
            entries.push(StreamEntry { key, pieces: start..end, form, agent, fits: fits == 1 });
            start = end;
        }
        if start != pieces {
            return Err(Fault::Range { found: pieces as u64, min: start as u64, max: start as u64 });
        }
        let offsets = ints::decode(bytes, pieces)?;
        let parts = ints::decode(bytes, pieces)?;
        let copies = ints::decode(bytes, pieces)?;
        let versions = ints::decode(bytes, pieces)?;
        let firsts = ints::decode(bytes, pieces)?;
        let spans = ints::decode(bytes, pieces)?;
        let earliest = ints::decode(bytes, pieces)?;
        let latest = ints::decode(bytes, pieces)?;
        finish(bytes)?;
        let mut all = Vec::with_capacity(pieces);
        for stream in &entries {
            let (mut first_look, mut first_version) = (0usize, 0usize);
            for i in stream.pieces.clone() {
                let limit = if stream.form == Form::Run { RUN_MAX } else { DECODE_PARTS_MAX };
                for (found, max) in [(parts[i], limit), (versions[i], RUN_MAX)] {
                    if found > max {
                        return Err(Fault::Range { found, min: 0, max });
                    }
                }
                let first = varint::unfold(firsts[i]);
                let last = first.wrapping_add(varint::unfold(spans[i]));
                all.push(PieceEntry {
                    place: i,
                    offset: offsets[i],
                    parts: parts[i],
                    copies: copies[i],
                    versions: versions[i],
                    first_look,
                    first_version,
                    first,
                    last,
                    times: (
                        first.wrapping_add(varint::unfold(earliest[i])),
                        last.wrapping_add(varint::unfold(latest[i])),
                    ),
                });
                first_look += parts[i] as usize;
                first_version += versions[i] as usize;
            }
            for (found, max) in [(first_look as u64, RUN_MAX), (first_version as u64, RUN_MAX)] {
                if stream.form == Form::Run && found > max {
                    return Err(Fault::Range { found, min: 0, max });
                }
            }
        }
        let verified = (0..blocks + pieces + indexes.len()).map(|_| AtomicBool::new(false)).collect();
        Ok(Directory { layout, rows, row_blocks, dictionary, indexes, streams: entries, pieces: all, verified })
    }

    /// A directory of nothing.
    pub fn empty(layout: Layout) -> Directory {
        Directory {
            layout,
            rows: 0,
            row_blocks: Vec::new(),
            dictionary: 0,
            indexes: Vec::new(),
            streams: Vec::new(),
            pieces: Vec::new(),
            verified: Vec::new(),
        }
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

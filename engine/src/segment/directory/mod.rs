//! What a segment holds of one table, and where: its row blocks, its streams, and their pieces.
//!
//! Invariants:
//! - Streams stand in the order of [`StreamKey`]; each has a piece; a stream's pieces stand in time order, without a gap in
//!   the list; row blocks tile the row numbers from 0.
//! - Streams and pieces are checked whole when the directory is opened, and read where they lie from then on: nothing is
//!   kept of them in memory, however many there are, but where those of each host begin, and no reading fails.
//!
//! [`Draft`] gathers a directory and writes it, [`Directory`] reads one.

mod draft;

pub use draft::Draft;

use super::hosts::Hosts;
use super::piece::DECODE_PARTS_MAX;
use super::rows::ROWS_MAX;
use super::run::RUN_MAX;
use crate::codec::records::Records;
use crate::codec::{Fault, finish, ints, take, take_between, varint};
use crate::fact::{Kind, Name, Second, StreamKey};
use crate::io::MappedPart;
use crate::timeline::regular::Agent;
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

/// What a directory says of a stream, its names as numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamRecord {
    /// The number of its host in the segment.
    pub host: usize,
    /// The number of its name in the directory.
    pub name: usize,
    /// What its looks are.
    pub kind: Kind,
    /// Whether rows never leave.
    pub sightings: bool,
    /// How it is kept.
    pub form: Form,
    /// Of a run: what must hold of the host's agent for the run to mean what it says.
    pub agent: Agent,
    /// Whether it holds, by the notes of agents that stand in the same segment.
    pub fits: bool,
    /// Whether a loss is among its parts, which is no look.
    pub has_loss: bool,
    /// Its pieces, as a range of the directory's; never empty.
    pub pieces: Range<usize>,
    /// Of facts: the pieces of the run that tells what they mean, which follow them; empty if there is none.
    pub resolved: Range<usize>,
}

/// One stream.
#[derive(Clone, Debug)]
pub struct StreamEntry {
    /// Which.
    pub key: Arc<StreamKey>,
    /// What the directory says of it.
    pub record: StreamRecord,
}

impl StreamRecord {
    /// A stream that was checked, whose pieces begin at place `start`.
    fn new([host, name, kind, form, end]: StreamFields, start: u64) -> StreamRecord {
        let facts_end = end.saturating_sub(form >> RESOLVED_BIT).max(start);
        StreamRecord {
            host: host as usize,
            name: name as usize,
            kind: Kind::from_byte((kind >> 1) as u8).unwrap_or(Kind::Note),
            sightings: kind & 1 == 1,
            form: if form & FORM_MASK == Form::Run as u64 { Form::Run } else { Form::Facts },
            agent: Agent::from_number(form >> FORM_BITS & AGENT_MASK).unwrap_or_default(),
            fits: form >> FITS_BIT & 1 == 1,
            has_loss: form >> LOSS_BIT & 1 == 1,
            pieces: start as usize..facts_end as usize,
            resolved: facts_end as usize..end as usize,
        }
    }

    /// Whether the stream has a state.
    pub fn has_state(&self) -> bool {
        !self.sightings && matches!(self.kind, Kind::Diff | Kind::Snapshot)
    }

    /// Whether a run is all there is of the stream in its segment and means what it says for its host's agent; `is_only` if the
    /// segment is the only one: agents may be told of in others.
    pub fn is_settled(&self, is_only: bool) -> bool {
        match self.form {
            Form::Run => self.agent.is_any() || self.fits && is_only,
            Form::Facts => self.is_resolved() && is_only,
        }
    }

    /// Whether it is kept as facts with a run beside them that tells what they mean.
    pub fn is_resolved(&self) -> bool {
        !self.resolved.is_empty()
    }

    /// The pieces of its run, if it has one.
    pub fn run(&self) -> Option<Range<usize>> {
        match self.form {
            Form::Run => Some(self.pieces.clone()),
            Form::Facts => Some(self.resolved.clone()).filter(|_| self.is_resolved()),
        }
    }

    /// What orders the streams of a table.
    fn order(&self) -> (usize, usize, Kind, bool) {
        (self.host, self.name, self.kind, self.sightings)
    }

    /// How its kind is written.
    fn kind_number(&self) -> u64 {
        (self.kind as u64) << 1 | u64::from(self.sightings)
    }

    /// How its form is written.
    fn form_number(&self) -> u64 {
        let (fits, has_loss) = (u64::from(self.fits) << FITS_BIT, u64::from(self.has_loss) << LOSS_BIT);
        self.form as u64
            | self.agent.number() << FORM_BITS
            | fits
            | has_loss
            | (self.resolved.len() as u64) << RESOLVED_BIT
    }
}

/// Fields of a stream on disk: the numbers of its host and its name, its kind, its form, and where its pieces end.
type StreamFields = [u64; 5];
const HOST: usize = 0;
const PIECES_END: usize = 4;
/// Fields of a piece on disk: its offset, how many parts and versions of the stream come before its end, its copies, the second
/// of the first part, how much later the last part is, and of events when the first happened, less the first second, and the
/// last, less the last.
type PieceFields = [u64; 8];
const OFFSET: usize = 0;
const PARTS_END: usize = 1;
const COPIES: usize = 2;
const VERSIONS_END: usize = 3;
const FIRST: usize = 4;
const SPAN: usize = 5;

/// A signed integer as an unsigned one in the same order.
fn ordered(value: i64) -> u64 {
    value as u64 ^ 1 << 63
}

/// What [`ordered`] was made of.
fn signed(value: u64) -> i64 {
    (value ^ 1 << 63) as i64
}

/// The directory of one table, where it lies.
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
    table: Name,
    hosts: Arc<Hosts>,
    names: Vec<Name>,
    bytes: MappedPart,
    streams: Records<5>,
    pieces: Records<8>,
    /// Of the streams with a state: the first seconds and the last, each in order.
    extents: Records<2>,
    /// Where the streams of each host begin, and after the last where they end.
    starts: Box<[u32]>,
}

/// What a decoder accepts at most of streams, names, pieces, indexes or row blocks of a table in a segment.
pub const ENTRIES_MAX: u64 = 1 << 26;
/// In the numbers of forms: bits before what must hold of the agent.
const FORM_BITS: u32 = 2;
const FORM_MASK: u64 = 3;
const AGENT_MASK: u64 = 3;
/// In the numbers of forms: whether it holds.
const FITS_BIT: u32 = 4;
/// In the numbers of forms: whether a loss is among the facts.
const LOSS_BIT: u32 = 5;
/// In the numbers of forms: how many of a stream's pieces, its last, are of the run beside its facts.
const RESOLVED_BIT: u32 = 6;

impl Directory {
    /// Opens a directory; `table` is the table it is of, `hosts` are those of its segment.
    pub fn open(table: &Name, hosts: Arc<Hosts>, bytes: MappedPart) -> Result<Directory, Fault> {
        let mut rest = &bytes[..];
        let layout = match take(&mut rest, 1)? {
            [0] => Layout::Shared,
            [1] => Layout::Inline,
            tag => return Err(Fault::Tag { found: tag[0] }),
        };
        let rows = take_between(&mut rest, 0, u64::from(u32::MAX))?;
        let dictionary = varint::take_u64(&mut rest)?;
        let mut counts = [0; 6];
        for count in &mut counts {
            *count = take_between(&mut rest, 0, ENTRIES_MAX)? as usize;
        }
        let [blocks, indexes, names, streams, pieces, extents] = counts;
        let indexes = take_names(&mut rest, indexes, varint::take_u64)?;
        let row_blocks = take_row_blocks(&mut rest, blocks, rows)?;
        let names = take_names(&mut rest, names, |_| Ok(()))?.into_iter().map(|(name, ())| name).collect();
        let streams = Records::take(&mut rest, bytes.len(), streams)?;
        let pieces = Records::take(&mut rest, bytes.len(), pieces)?;
        let extents = Records::take(&mut rest, bytes.len(), extents)?;
        finish(rest)?;
        let mut directory = Directory {
            layout,
            rows,
            row_blocks,
            dictionary,
            indexes,
            table: table.clone(),
            hosts,
            names,
            bytes,
            streams,
            pieces,
            extents,
            starts: Box::new([]),
        };
        directory.check()?;
        directory.starts = directory.starts_of_hosts();
        Ok(directory)
    }

    /// Checks what reading relies on.
    fn check(&self) -> Result<(), Fault> {
        let (mut last, mut end, mut with_state) = (None, 0, 0);
        for place in 0..self.streams() {
            let fields = self.streams.get(&self.bytes, place);
            let [host, name, kind, form, pieces_end] = fields;
            for (found, count) in [(host, self.hosts.len()), (name, self.names.len())] {
                if found >= count as u64 {
                    return Err(Fault::Range { found, min: 0, max: count as u64 });
                }
            }
            if Kind::from_byte(u8::try_from(kind >> 1).unwrap_or(u8::MAX)).is_none() {
                return Err(Fault::Range { found: kind, min: 0, max: 7 });
            }
            let resolved = form >> RESOLVED_BIT;
            if form & FORM_MASK > Form::Run as u64 || resolved > 0 && form & FORM_MASK != Form::Facts as u64 {
                return Err(Fault::Range { found: form, min: 0, max: 2 << LOSS_BIT });
            }
            if pieces_end <= end || pieces_end > self.pieces.len() as u64 {
                return Err(Fault::Range { found: pieces_end, min: end + 1, max: self.pieces.len() as u64 });
            }
            if resolved >= pieces_end - end {
                return Err(Fault::Range { found: resolved, min: 0, max: pieces_end - end - 1 });
            }
            let stream = StreamRecord::new(fields, end);
            if stream.is_resolved() && !stream.has_state() {
                return Err(Fault::Range { found: form, min: 0, max: 2 << LOSS_BIT });
            }
            if last.is_some_and(|last| last >= stream.order()) {
                return Err(Fault::Order { previous: place as u64 - 1, found: place as u64 });
            }
            self.check_pieces(stream.form == Form::Run, stream.pieces.clone())?;
            self.check_pieces(true, stream.resolved.clone())?;
            with_state += usize::from(stream.has_state());
            (last, end) = (Some(stream.order()), pieces_end);
        }
        for (found, count) in [(end, self.pieces.len()), (self.extents.len() as u64, with_state)] {
            if found != count as u64 {
                return Err(Fault::Range { found, min: count as u64, max: count as u64 });
            }
        }
        Ok(())
    }

    fn starts_of_hosts(&self) -> Box<[u32]> {
        let mut starts = vec![0u32; self.hosts.named() + 1];
        for place in 0..self.streams() {
            let host = self.streams.field(&self.bytes, place, HOST) as usize;
            if let Some(after) = starts.get_mut(host + 1) {
                *after = place as u32 + 1;
            }
        }
        // A host without a stream begins where the one before it ends.
        let mut end = 0;
        for start in &mut starts {
            end = end.max(*start);
            *start = end;
        }
        starts.into()
    }

    /// Pieces of a run or of facts.
    fn check_pieces(&self, is_run: bool, places: Range<usize>) -> Result<(), Fault> {
        let limit = if is_run { RUN_MAX } else { DECODE_PARTS_MAX };
        let mut before = [0u64; 2];
        for place in places {
            let ends = [PARTS_END, VERSIONS_END].map(|field| self.pieces.field(&self.bytes, place, field));
            for ((end, start), max) in ends.into_iter().zip(before).zip([limit, RUN_MAX]) {
                let found = end.checked_sub(start).ok_or(Fault::Order { previous: start, found: end })?;
                if found > max {
                    return Err(Fault::Range { found, min: 0, max });
                }
            }
            before = ends;
        }
        match before.into_iter().max() {
            Some(found) if is_run && found > RUN_MAX => Err(Fault::Range { found, min: 0, max: RUN_MAX }),
            _ => Ok(()),
        }
    }

    /// How many streams there are.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// How many streams have a state.
    pub fn with_state(&self) -> usize {
        self.extents.len()
    }

    /// How many pieces there are.
    pub fn pieces(&self) -> usize {
        self.pieces.len()
    }

    /// How many row blocks, pieces and indexes there are, each of which has a checksum at least.
    pub(super) fn checksums(&self) -> usize {
        self.row_blocks.len() + self.pieces() + self.indexes.len()
    }

    /// The names of streams, by number.
    pub fn names(&self) -> &[Name] {
        &self.names
    }

    /// The stream at a place, which must be there.
    #[inline]
    pub fn record(&self, place: usize) -> StreamRecord {
        let start = if place == 0 { 0 } else { self.streams.field(&self.bytes, place - 1, PIECES_END) };
        StreamRecord::new(self.streams.get(&self.bytes, place), start)
    }

    /// All streams, in order.
    pub fn records(&self) -> impl Iterator<Item = StreamRecord> + '_ {
        (0..self.streams()).map(|place| self.record(place))
    }

    /// The name of a stream's host.
    pub fn host(&self, stream: &StreamRecord) -> &[u8] {
        self.hosts.name(stream.host)
    }

    /// The name of host number `host` of the segment.
    pub fn host_name(&self, host: usize) -> &[u8] {
        self.hosts.name(host)
    }

    /// The name of a stream.
    pub fn name(&self, stream: &StreamRecord) -> &[u8] {
        self.names.get(stream.name).map_or(&[], |name| name)
    }

    /// The stream at a place with its names; `None` if there is none.
    pub fn entry(&self, place: usize) -> Option<StreamEntry> {
        (place < self.streams()).then(|| self.named(self.record(place)))
    }

    /// The streams at these places with their names.
    pub fn entries(&self, places: Range<usize>) -> impl Iterator<Item = StreamEntry> + '_ {
        places.filter_map(|place| self.entry(place))
    }

    fn named(&self, record: StreamRecord) -> StreamEntry {
        let key = StreamKey {
            table: self.table.clone(),
            host: Name::from(self.host(&record)),
            name: self.names.get(record.name).cloned().unwrap_or_default(),
            kind: record.kind,
            sightings: record.sightings,
        };
        StreamEntry { key: Arc::new(key), record }
    }

    /// The place of a stream.
    pub fn place(&self, key: &StreamKey) -> Option<usize> {
        let host = self.hosts.find(&key.host)?;
        let name = self.names.binary_search(&key.name).ok()?;
        let sought = (host, name, key.kind, key.sightings);
        let (mut low, mut high) = (0, self.streams());
        while low < high {
            let middle = (low + high) / 2;
            if self.record(middle).order() < sought { low = middle + 1 } else { high = middle }
        }
        (low < self.streams() && self.record(low).order() == sought).then_some(low)
    }

    /// One stream.
    pub fn stream(&self, key: &StreamKey) -> Option<StreamEntry> {
        self.entry(self.place(key)?)
    }

    /// The places of the streams of one host.
    pub fn streams_of_host(&self, host: &[u8]) -> Range<usize> {
        let Some(host) = self.hosts.find(host) else {
            return 0..0;
        };
        self.starts[host] as usize..self.starts[host + 1] as usize
    }

    /// The first place from `place` on where the streams of a host begin, or the end.
    pub fn begin_of_host(&self, place: usize) -> usize {
        let host = |place: usize| self.streams.field(&self.bytes, place, HOST);
        let is_begin = |place: &usize| *place == 0 || host(*place) != host(*place - 1);
        (place..self.streams()).find(is_begin).unwrap_or(self.streams())
    }

    /// These pieces, which are all of one stream.
    pub fn pieces_at(&self, places: Range<usize>) -> Pieces<'_> {
        Pieces { directory: self, places }
    }

    /// A stream's pieces.
    pub fn pieces_of(&self, key: &StreamKey) -> Pieces<'_> {
        self.pieces_at(self.place(key).map_or(0..0, |place| self.record(place).pieces))
    }

    /// How many copies of rows a stream's parts name.
    pub fn copies(&self, stream: &StreamRecord) -> u64 {
        stream.pieces.clone().map(|piece| self.pieces.field(&self.bytes, piece, COPIES)).sum()
    }

    /// The seconds of a stream's first and last part.
    pub fn extent(&self, stream: &StreamRecord) -> (Second, Second) {
        let first = |piece: usize| signed(self.pieces.field(&self.bytes, piece, FIRST));
        let (begin, end) = (stream.pieces.start, stream.pieces.end - 1);
        (first(begin), first(end).wrapping_add(self.pieces.field(&self.bytes, end, SPAN) as i64))
    }

    /// The first seconds of the streams with a state, and the last, each in order.
    pub fn extents(&self) -> impl Iterator<Item = (Second, Second)> + '_ {
        (0..self.extents.len()).map(|at| {
            let [first, last] = self.extents.get(&self.bytes, at);
            (signed(first), signed(last))
        })
    }

    /// Of how many streams with a state the first part is after T, and the last before it.
    pub fn count_outside(&self, at: Second) -> (u64, u64) {
        let (at, all) = (ordered(at), self.extents.len());
        // Mostly all streams reach from before T to after it.
        if let Some(last) = all.checked_sub(1)
            && self.extents.field(&self.bytes, last, 0) <= at
            && self.extents.field(&self.bytes, 0, 1) >= at
        {
            return (0, 0);
        }
        let begun = self.extents.partition_point(&self.bytes, 0, |first| first <= at);
        let ended = self.extents.partition_point(&self.bytes, 1, |last| last < at);
        ((all - begun) as u64, ended as u64)
    }
}

/// The pieces of one stream, where they lie.
#[derive(Clone, Debug)]
pub struct Pieces<'d> {
    directory: &'d Directory,
    places: Range<usize>,
}

impl<'d> Pieces<'d> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    #[inline]
    fn field(&self, at: usize, field: usize) -> u64 {
        self.directory.pieces.field(&self.directory.bytes, self.places.start + at, field)
    }

    /// How much of what a field counts comes before piece `at`.
    #[inline]
    fn before(&self, at: usize, field: usize) -> usize {
        at.min(self.len()).checked_sub(1).map_or(0, |before| self.field(before, field) as usize)
    }

    /// How many parts come before piece `at`.
    pub fn parts_before(&self, at: usize) -> usize {
        self.before(at, PARTS_END)
    }

    /// How many versions come before piece `at`.
    pub fn versions_before(&self, at: usize) -> usize {
        self.before(at, VERSIONS_END)
    }

    /// The place of piece `at` in the directory.
    pub fn place(&self, at: usize) -> usize {
        self.places.start + at
    }

    /// Where the frame of piece `at` begins; 0 if there is none.
    pub fn offset(&self, at: usize) -> u64 {
        if at < self.len() { self.field(at, OFFSET) } else { 0 }
    }

    /// The second of the first part of piece `at`.
    pub fn first(&self, at: usize) -> Option<Second> {
        (at < self.len()).then(|| signed(self.field(at, FIRST)))
    }

    /// Piece `at`.
    pub fn get(&self, at: usize) -> Option<PieceEntry> {
        if at >= self.len() {
            return None;
        }
        let place = self.places.start + at;
        let [offset, parts_end, copies, versions_end, first, span, earliest, latest] =
            self.directory.pieces.get(&self.directory.bytes, place);
        let (first_look, first_version) = (self.parts_before(at), self.versions_before(at));
        let (parts, versions) = (parts_end - first_look as u64, versions_end - first_version as u64);
        let first = signed(first);
        let last = first.wrapping_add(span as i64);
        let times = (first.wrapping_add(signed(earliest)), last.wrapping_add(signed(latest)));
        Some(PieceEntry { place, offset, parts, copies, versions, first_look, first_version, first, last, times })
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = PieceEntry> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }

    /// The pieces that may have parts of a second.
    pub fn of_second(&self, second: Second) -> Range<usize> {
        let start = self.partition_point(|at| self.get(at).is_some_and(|piece| piece.last < second));
        start..self.begun(second).max(start)
    }

    fn partition_point(&self, mut is_before: impl FnMut(usize) -> bool) -> usize {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if is_before(middle) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// How many begin at or before a second.
    pub fn begun(&self, at: Second) -> usize {
        let at = ordered(at);
        self.partition_point(|piece| self.field(piece, FIRST) <= at)
    }

    /// The piece of part `part` of the stream; the number of pieces if there is no such part.
    pub fn of_part(&self, part: usize) -> usize {
        self.partition_point(|piece| self.field(piece, PARTS_END) <= part as u64)
    }

    /// The piece of version `version` of the stream; the number of pieces if there is no such version.
    pub fn of_version(&self, version: usize) -> usize {
        self.partition_point(|piece| self.field(piece, VERSIONS_END) <= version as u64)
    }
}

/// Takes so many names, which ascend, each with what follows it.
fn take_names<T>(
    bytes: &mut &[u8],
    count: usize,
    mut then: impl FnMut(&mut &[u8]) -> Result<T, Fault>,
) -> Result<Vec<(Name, T)>, Fault> {
    let mut names: Vec<(Name, T)> = Vec::new();
    for i in 0..count as u64 {
        let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
        let name = Name::from(take(bytes, len)?);
        if names.last().is_some_and(|last| last.0 >= name) {
            return Err(Fault::Order { previous: i.saturating_sub(1), found: i });
        }
        names.push((name, then(bytes)?));
    }
    Ok(names)
}

/// Takes so many row blocks, which tile `rows` rows.
fn take_row_blocks(bytes: &mut &[u8], count: usize, rows: u64) -> Result<Vec<(u64, u64)>, Fault> {
    let firsts = ints::decode(bytes, count)?;
    let offsets = ints::decode(bytes, count)?;
    let blocks: Vec<(u64, u64)> = firsts.into_iter().zip(offsets).collect();
    let mut covered = 0;
    for (i, &(first, _)) in blocks.iter().enumerate() {
        let next = blocks.get(i + 1).map_or(rows, |next| next.0);
        if first != covered || next <= first || next - first > ROWS_MAX as u64 {
            return Err(Fault::Order { previous: covered, found: first });
        }
        covered = next;
    }
    if covered != rows {
        return Err(Fault::Order { previous: covered, found: rows });
    }
    Ok(blocks)
}

#[cfg(test)]
mod tests;

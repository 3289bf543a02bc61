//! Durable batches become readable in memory, until they are sealed into a segment.
//!
//! Invariants:
//! - A memtable holds exactly the commits of the logs it stands for: nothing is dropped but notes of which only the last counts
//!   (`note::is_last_only`), nothing is interpreted.
//! - The parts of a stream are in part order ([`part_key`]), so a look is found by bisection and sealing sorts nothing
//!   but streams.
//! - Rows are kept once per table, in buffers that hold nothing else.

use crate::fact::{Commit, Delivery, Kind, Micros, Name, Second, StreamKey};
use crate::note;
use crate::numbering::Numbering;
use crate::row::Row;
use crate::timeline::{Copies, Part, RowId};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// The order of parts within a stream, in memory and in segments.
pub fn part_key(part: &Part) -> (Second, u64, Option<u64>, bool, Micros) {
    (part.second, part.epoch, part.counter, part.whole, part.recorded)
}

/// Distinct rows, numbered as they came.
#[derive(Default)]
pub struct Interner {
    rows: Vec<Row>,
    numbers: Numbering,
}

impl Interner {
    /// The row's number, and whether it is new.
    pub fn intern(&mut self, row: &Row) -> (RowId, bool) {
        let hash = row.content_hash();
        let (id, new) = self.numbers.number(hash, |id| self.rows[id as usize].as_bytes() == row.as_bytes());
        if new {
            self.rows.push(row.clone().with_hash(hash));
        }
        (id, new)
    }

    /// Reads what [`Interner::intern`] will read, for many rows at once: the table is larger than the caches, and waits
    /// for memory overlap where no row waits for the one before it.
    fn touch<'r>(&self, rows: impl Iterator<Item = &'r Row>) {
        let candidates = rows.filter_map(|row| self.numbers.peek(row.content_hash()));
        Row::touch(candidates.map(|id| &self.rows[id as usize]));
    }

    /// Moves the rows from number `first` on into a buffer of their own, so that they keep no other rows.
    fn gather(&mut self, first: usize) {
        Row::gather(&mut self.rows[first..]);
    }

    /// The number that a source's row has here, by a memo of the numbers that were asked for before.
    pub fn renumber<E>(
        &mut self,
        id: RowId,
        memo: &mut FxHashMap<RowId, RowId>,
        row: impl FnOnce(RowId) -> Result<Row, E>,
    ) -> Result<RowId, E> {
        if let Some(&number) = memo.get(&id) {
            return Ok(number);
        }
        let (number, _) = self.intern(&row(id)?);
        memo.insert(id, number);
        Ok(number)
    }

    /// All rows, by number, and nothing else.
    pub fn into_rows(self) -> Vec<Row> {
        self.rows
    }

    /// All rows, by number.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }
}

/// The parts of one stream.
#[derive(Default)]
pub struct StreamParts {
    parts: Vec<Part>,
}

impl StreamParts {
    /// The parts, in part order.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    fn insert(&mut self, part: Part) {
        if self.parts.is_empty() {
            // Most streams of very many never get a second part before they are sealed.
            self.parts.reserve_exact(1);
        }
        let key = part_key(&part);
        if self.parts.last().is_none_or(|last| part_key(last) <= key) {
            self.parts.push(part);
        } else {
            let at = self.parts.partition_point(|other| part_key(other) <= key);
            self.parts.insert(at, part);
        }
    }

    /// Takes in a note of which only the last is kept.
    fn keep_last(&mut self, part: Part) {
        if self.parts.first().is_none_or(|last| last.counter <= part.counter) {
            self.parts.clear();
            self.insert(part);
        }
    }

    /// The parts of one look.
    pub fn of_look(&self, second: Second, epoch: u64, counter: Option<u64>) -> &[Part] {
        let key = (second, epoch, counter);
        let of = |part: &Part| (part.second, part.epoch, part.counter);
        let start = self.parts.partition_point(|part| of(part) < key);
        let end = start + self.parts[start..].partition_point(|part| of(part) <= key);
        &self.parts[start..end]
    }
}

/// What a memtable holds of one table.
#[derive(Default)]
pub struct TableParts {
    rows: Interner,
    /// Rows that lie in buffers of the memtable's own.
    gathered: usize,
    streams: Vec<(Arc<StreamKey>, StreamParts)>,
    /// Places in `streams`.
    places: FxHashMap<Arc<StreamKey>, u32>,
    /// The same by address of the keys that `streams` holds, and so keeps where they are.
    addresses: FxHashMap<usize, u32>,
    /// What streams are called and are, each once: hosts mostly have the same.
    shapes: Vec<Shape>,
    /// The place of each part's stream, in the order in which parts came.
    arrived: Vec<u32>,
    last_recorded: Option<Micros>,
}

/// A stream's name, its kind, and whether its rows never leave.
type Shape = (Name, Kind, bool);

impl TableParts {
    /// The distinct rows, by number.
    pub fn rows(&self) -> &[Row] {
        self.rows.rows()
    }

    /// The streams, in no order.
    pub fn streams(&self) -> impl Iterator<Item = (&Arc<StreamKey>, &StreamParts)> {
        self.streams.iter().map(|(key, parts)| (key, parts))
    }

    /// One stream, found quickly where the key is the very one that was inserted.
    pub fn shared_stream(&self, key: &Arc<StreamKey>) -> Option<&StreamParts> {
        self.place(key).map(|place| &self.streams[place as usize].1)
    }

    /// One stream.
    pub fn stream(&self, key: &StreamKey) -> Option<&StreamParts> {
        self.places.get(key).map(|&place| &self.streams[place as usize].1)
    }

    /// The streams of one host.
    pub fn streams_of_host(&self, table: &Name, host: &[u8]) -> impl Iterator<Item = &Arc<StreamKey>> {
        let host = Name::from(host);
        let keys = self.shapes.iter().map(move |(name, kind, sightings)| StreamKey {
            table: table.clone(),
            host: host.clone(),
            name: name.clone(),
            kind: *kind,
            sightings: *sightings,
        });
        keys.filter_map(|key| self.places.get(&key)).map(|&place| &self.streams[place as usize].0)
    }

    /// Whether rows of any stream never leave.
    pub fn has_sightings(&self) -> bool {
        self.shapes.iter().any(|(_, _, sightings)| *sightings)
    }

    /// How many parts there are of all streams.
    pub fn parts(&self) -> u64 {
        self.arrived.len() as u64
    }

    /// The streams of the parts, in the order in which they came, but for so many that came first.
    pub fn arrived_from(&self, first: usize) -> impl Iterator<Item = &Arc<StreamKey>> {
        self.arrived.iter().skip(first).map(|&place| &self.streams[place as usize].0)
    }

    /// When the last of them was recorded.
    pub fn last_recorded(&self) -> Option<Micros> {
        self.last_recorded
    }

    fn place(&self, key: &Arc<StreamKey>) -> Option<u32> {
        self.addresses.get(&Arc::as_ptr(key).addr()).or_else(|| self.places.get(key)).copied()
    }

    /// The parts of a stream, which gets one more, and whether it is new.
    fn stream_mut(&mut self, key: &Arc<StreamKey>) -> (&mut StreamParts, bool) {
        let known = self.place(key);
        let place = known.unwrap_or(self.streams.len() as u32);
        if known.is_none() {
            self.streams.push((key.clone(), StreamParts::default()));
            let is_its =
                |(name, kind, sightings): &Shape| (kind, sightings) == (&key.kind, &key.sightings) && *name == key.name;
            if !self.shapes.iter().any(is_its) {
                self.shapes.push((key.name.clone(), key.kind, key.sightings));
            }
            self.places.insert(key.clone(), place);
            self.addresses.insert(Arc::as_ptr(key).addr(), place);
        }
        self.arrived.push(place);
        (&mut self.streams[place as usize].1, known.is_none())
    }

    /// Copies of rows in all parts: with [`TableParts::rows`] this tells how much rows repeat.
    pub fn copies(&self) -> u64 {
        let parts = self.streams.iter().flat_map(|(_, stream)| &stream.parts);
        parts.map(|part| (part.removed.len() + part.added.len()) as u64).sum()
    }
}

/// Batches that are durable in the log and not yet in a segment.
#[derive(Default)]
pub struct Memtable {
    tables: FxHashMap<Name, TableParts>,
    bytes: usize,
    parts: u64,
    /// The recorded times of the commits, in order, each once.
    commits: Vec<Micros>,
    /// The hosts that have anything but notes, and when the first of it was recorded.
    looking: FxHashMap<Name, Micros>,
}

/// What a part, a stream, a host and a row cost beside their bytes, roughly.
const PART_BYTES: usize = size_of::<Part>() + 24;
const STREAM_BYTES: usize = 288;
const HOST_BYTES: usize = 64;
const ROW_BYTES: usize = size_of::<Row>() + 32;

impl Memtable {
    /// An empty memtable.
    pub fn new() -> Memtable {
        Memtable::default()
    }

    /// Takes in a commit.
    pub fn insert(&mut self, commit: &Commit) {
        self.insert_some(&commit.batch.deliveries, commit.recorded);
    }

    /// Takes in some deliveries of a commit; whoever reads meanwhile sees no commit that was not told to be visible.
    pub fn insert_some(&mut self, deliveries: &[Delivery], recorded: Micros) {
        for delivery in deliveries {
            self.insert_delivery(delivery, recorded);
        }
        for table in self.tables.values_mut() {
            let first = std::mem::replace(&mut table.gathered, table.rows.rows.len());
            table.rows.gather(first);
        }
        if let Err(place) = self.commits.binary_search(&recorded) {
            self.commits.insert(place, recorded);
        }
    }

    fn insert_delivery(&mut self, delivery: &Delivery, recorded: Micros) {
        let table = match self.tables.get_mut(&delivery.stream.table) {
            Some(table) => table,
            None => self.tables.entry(delivery.stream.table.clone()).or_default(),
        };
        let mut bytes = PART_BYTES;
        let rows = &mut table.rows;
        let mut number = |copies: &[(Row, u64)]| -> Vec<Copies> {
            let first = rows.rows.len();
            if copies.len() > 1 {
                rows.touch(copies.iter().map(|(row, _)| row));
            }
            let mut numbered: Vec<Copies> = copies.iter().map(|(row, count)| (rows.intern(row).0, *count)).collect();
            numbered.sort_unstable();
            let new = rows.rows[first..].iter().map(|row| ROW_BYTES + row.as_bytes().len());
            bytes += size_of_val(&*numbered) + new.sum::<usize>();
            numbered
        };
        let part = Part {
            epoch: delivery.epoch,
            counter: delivery.counter,
            second: delivery.second,
            whole: delivery.whole,
            inferred: delivery.inferred,
            recorded,
            removed: number(&delivery.removed),
            added: number(&delivery.added),
        };
        let (stream, new) = table.stream_mut(&delivery.stream);
        if note::is_last_only(&delivery.stream) {
            stream.keep_last(part);
        } else {
            stream.insert(part);
        }
        table.last_recorded = table.last_recorded.max(Some(recorded));
        if new && delivery.stream.kind != Kind::Note {
            let known = self.looking.len();
            let first = self.looking.entry(delivery.stream.host.clone()).or_insert(recorded);
            *first = recorded.min(*first);
            bytes += HOST_BYTES * (self.looking.len() - known);
        }
        self.bytes += bytes + if new { STREAM_BYTES } else { 0 };
        self.parts += 1;
    }

    /// Roughly how much memory it takes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many parts it holds.
    pub fn parts(&self) -> u64 {
        self.parts
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.parts == 0
    }

    /// The recorded times of the commits, in order, each once.
    pub fn commits(&self) -> &[Micros] {
        &self.commits
    }

    /// The hosts of all streams, in order, each once.
    pub fn hosts(&self) -> Vec<Name> {
        let keys = self.tables.values().flat_map(TableParts::streams).map(|(key, _)| key);
        let mut hosts: Vec<Name> = keys.map(|key| key.host.clone()).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts
    }

    /// The hosts that have anything but notes, and when the first of it was recorded.
    pub fn looking(&self) -> &FxHashMap<Name, Micros> {
        &self.looking
    }

    /// What it holds of one table.
    pub fn table(&self, table: &[u8]) -> Option<&TableParts> {
        self.tables.get(table)
    }

    /// What it holds, by table, in no order.
    pub fn tables(&self) -> impl Iterator<Item = (&Name, &TableParts)> {
        self.tables.iter()
    }
}

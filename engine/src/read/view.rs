//! Everything that is readable at one moment: segments and memtables, and the parts of any stream in them.
//!
//! Invariants:
//! - A view never changes: facts recorded after it was taken do not count, whatever the writer does meanwhile.
//! - A stream's parts are the same however they are spread over segments and memtables.

use super::answer::Cost;
use super::question::{StateQuestion, Wanted, Where};
use super::source::RunAt;
use super::standing::{Standing, TableStanding};
use super::told::Settings;
use crate::error::Error;
use crate::fact::{Kind, Micros, Name, Second, StreamKey};
use crate::memtable::{Interner, Memtable, part_key};
use crate::options::cores;
use crate::row::Row;
use crate::segment::cache::Cache;
use crate::segment::{RowCursor, RowOf, Segment, TableReader};
use crate::timeline::{Part, RowId};
use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is readable at one moment.
#[derive(Clone)]
pub struct View {
    segments: Vec<Arc<Segment>>,
    memtables: Vec<Arc<RwLock<Memtable>>>,
    pub(super) standing: Arc<Standing>,
    /// The greatest recorded time in the segments.
    recorded: Micros,
    /// Whether there is nothing but the segments.
    is_alone: bool,
    cache: Arc<Cache>,
    last_recorded: Option<Micros>,
}

/// One stream's deliveries up to a recorded time, and the rows they name.
#[derive(Debug, Default)]
pub struct Parts {
    /// The deliveries, in no particular order.
    pub parts: Vec<Part>,
    /// The rows that the deliveries' row ids stand for.
    pub rows: Vec<Row>,
}

/// Rows of several sources under one numbering.
#[derive(Default)]
struct Merged {
    parts: Vec<Part>,
    rows: Interner,
}

/// Gives a row of a part its number.
type Numbered<'n> = dyn FnMut(RowOf<'_>, &mut Cost) -> Result<RowId, Error> + 'n;

impl Merged {
    /// Adds parts whose rows `row` looks up.
    fn add(
        &mut self,
        parts: &[Part],
        known_at: Micros,
        mut row: impl FnMut(RowId) -> Result<Row, Error>,
        numbers: &mut FxHashMap<RowId, RowId>,
    ) -> Result<(), Error> {
        for part in parts.iter().filter(|part| part.recorded <= known_at) {
            let mut part = part.clone();
            part.renumber(|id| self.rows.renumber(id, numbers, &mut row))?;
            self.parts.push(part);
        }
        Ok(())
    }

    /// Adds the parts of a stream of a segment that `give` gives.
    fn add_from(
        &mut self,
        reader: &TableReader<'_>,
        cursor: &mut RowCursor,
        (cache, cost): (&Cache, &mut Cost),
        give: impl FnOnce(&mut Numbered<'_>, &mut dyn FnMut(Part), &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Merged { parts, rows } = self;
        let mut numbers = FxHashMap::default();
        let mut number = |row: RowOf<'_>, cost: &mut Cost| match row {
            RowOf::Own(row) => Ok(rows.intern(row).0),
            RowOf::Table(id) => rows.renumber(id, &mut numbers, |id| reader.row(id, cursor, cache, cost)),
        };
        give(&mut number, &mut |part| parts.push(part), cost)
    }

    fn finish(self) -> Parts {
        Parts { parts: self.parts, rows: self.rows.into_rows() }
    }
}

impl View {
    /// A view of these segments and memtables. Facts recorded after `last_recorded` do not count.
    pub fn new(
        segments: Vec<Arc<Segment>>,
        memtables: Vec<Arc<RwLock<Memtable>>>,
        cache: Arc<Cache>,
        last_recorded: Option<Micros>,
    ) -> View {
        View::with_standing(segments, memtables, Arc::default(), cache, last_recorded)
    }

    /// The same, without what was read before.
    pub(super) fn afresh(&self) -> View {
        View { cache: Arc::new(Cache::new(0)), ..self.clone() }
    }

    /// A view with what is known of these very segments.
    pub(crate) fn with_standing(
        segments: Vec<Arc<Segment>>,
        memtables: Vec<Arc<RwLock<Memtable>>>,
        standing: Arc<Standing>,
        cache: Arc<Cache>,
        last_recorded: Option<Micros>,
    ) -> View {
        // What comes into a memtable that is empty now is recorded later than what this view counts.
        let is_alone = memtables.iter().all(|memtable| memtable.read().is_empty());
        let recorded = segments.iter().map(|segment| segment.footer().recorded.1).max().unwrap_or(Micros::MIN);
        View { segments, memtables, standing, recorded, is_alone, cache, last_recorded }
    }

    /// Works out ahead of the first question what every question needs. Damage is told by the question that meets it.
    pub(crate) fn warm(&self) {
        let mut cost = Cost::default();
        let known_at = self.bound(None);
        if let Ok(settings) = self.settings(known_at, &mut cost) {
            let _ = self.standing.table(b"", &self.segments, &settings);
        }
        let _ = self.standing.hosts(&self.segments);
        // The system is asked for its cores once.
        let _ = cores();
        for segment in &self.segments {
            for reader in segment.tables().flatten().filter(|reader| reader.directory.dictionary != 0) {
                let _ = reader.dictionary();
                for (column, _) in &reader.directory.indexes {
                    let _ = self.rehearse(&reader, column, known_at, &mut cost);
                }
            }
        }
    }

    /// Asks one host for a value of an index, so that the code for it, and what it allocates, is in its place when somebody
    /// asks. Where the index would not answer, because streams must be replayed, nothing is asked.
    fn rehearse(
        &self,
        reader: &TableReader<'_>,
        column: &Name,
        known_at: Micros,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let settings = self.settings(known_at, cost)?;
        let standing = self.standing(&reader.entry.name, known_at, &settings)?;
        if standing.is_none_or(|(standing, _)| !standing.is_plain) {
            return Ok(());
        }
        let Some(index) = reader.index(column, &self.cache, cost)? else {
            return Ok(());
        };
        let (index, fault) = (index.borrow_dependent(), |fault| reader.index_fault(column, fault));
        if index.values() == 0 {
            return Ok(());
        }
        let value = index.value(0).map_err(fault)?;
        let stream = index.stream(index.postings(0).map_err(fault)?.start).map_err(fault)?;
        if stream >= reader.directory.streams() || !reader.directory.record(stream).has_state() {
            return Ok(());
        }
        let record = reader.directory.record(stream);
        let (table, stream, at) = (reader.entry.name.clone(), None, reader.directory.extent(&record).0);
        let host = Some(Name::from(reader.directory.host(&record)));
        let wheres = vec![Where { column: column.clone(), text: Wanted::Is(Name::from(value)) }];
        self.state(&StateQuestion { table, at, host, stream, wheres, known_at: None }).map(drop)
    }

    /// What was decoded for this view and others.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Whether exactly the facts in the segments count.
    fn is_segments_alone(&self, known_at: Micros) -> bool {
        self.is_alone && self.counts_segments(known_at)
    }

    /// A table that stands in one segment, if nothing else counts.
    pub(super) fn standing(
        &self,
        table: &[u8],
        known_at: Micros,
        settings: &Settings,
    ) -> Result<Option<(&TableStanding, TableReader<'_>)>, Error> {
        if !self.is_segments_alone(known_at) {
            return Ok(None);
        }
        let Some(standing) = self.standing.table(table, &self.segments, settings)? else {
            return Ok(None);
        };
        let reader = self.segments[standing.segment].table_at(standing.table)?;
        Ok(Some((standing, reader)))
    }

    /// The run in a segment that is all there is of a stream, if nothing else counts.
    pub(super) fn settled(
        &self,
        key: &StreamKey,
        known_at: Micros,
        settings: &Settings,
    ) -> Result<Option<RunAt<'_>>, Error> {
        let Some((_, reader)) = self.standing(&key.table, known_at, settings)? else {
            return Ok(None);
        };
        let run = reader.directory.place(key).map(|place| RunAt::new(reader, place));
        Ok(run.filter(|run| run.record.is_settled(self.segments.len() == 1)))
    }

    /// Whether every fact in the segments counts, though others may too.
    pub(super) fn counts_segments(&self, known_at: Micros) -> bool {
        self.recorded <= known_at
    }

    /// How many hosts a question counts: all with any look recorded by `known_at`, or the one asked for if it is one.
    pub(super) fn count_hosts(&self, host: Option<&[u8]>, known_at: Micros, cost: &mut Cost) -> Result<u64, Error> {
        if !self.counts_segments(known_at) {
            let hosts = self.hosts(known_at, cost)?;
            return Ok(host.map_or(hosts.len() as u64, |host| u64::from(hosts.contains(host))));
        }
        let Some(host) = host else {
            let of_segments = self.standing.hosts(&self.segments)?;
            if self.is_alone {
                return Ok(of_segments);
            }
            return Ok(of_segments + self.standing.hosts_beyond(&self.segments, &self.memtables, known_at)?);
        };
        let looks_in = |memtable: &Arc<RwLock<Memtable>>| {
            memtable.read().looking().get(host).is_some_and(|&first| first <= known_at)
        };
        Ok(u64::from(Standing::has_host(&self.segments, host)? || self.memtables.iter().any(looks_in)))
    }

    /// Whether rows of any stream of a table never leave.
    pub(super) fn has_sightings(&self, table: &[u8]) -> Result<bool, Error> {
        let in_memory =
            |memtable: &Arc<RwLock<Memtable>>| memtable.read().table(table).is_some_and(|table| table.has_sightings());
        Ok(self.filled().iter().any(in_memory) || self.standing.has_sightings(table, &self.segments)?)
    }

    /// Roughly how much memory what is not in segments takes.
    pub fn memtable_bytes(&self) -> usize {
        self.memtables.iter().map(|memtable| memtable.read().bytes()).sum()
    }

    /// The recorded time of the last commit; `None` for an empty store.
    pub fn last_recorded(&self) -> Option<Micros> {
        self.last_recorded
    }

    /// The memtables.
    pub(super) fn memtables(&self) -> &[Arc<RwLock<Memtable>>] {
        &self.memtables
    }

    /// The memtables, unless none holds anything that counts.
    pub(super) fn filled(&self) -> &[Arc<RwLock<Memtable>>] {
        if self.is_alone { &[] } else { &self.memtables }
    }

    /// Whether there is anything of a table.
    pub(super) fn has_table(&self, table: &[u8]) -> Result<bool, Error> {
        for segment in &self.segments {
            if segment.table(table)?.is_some() {
                return Ok(true);
            }
        }
        Ok(self.memtables.iter().any(|memtable| memtable.read().table(table).is_some()))
    }

    /// The number of the set of segments: the greater, the later.
    pub(super) fn generation(&self) -> u64 {
        self.standing.generation
    }

    /// The segments.
    pub fn segments(&self) -> &[Arc<Segment>] {
        &self.segments
    }

    /// The recorded time up to which facts count for a question.
    pub fn bound(&self, known_at: Option<Micros>) -> Micros {
        let last = self.last_recorded.unwrap_or(Micros::MIN);
        known_at.map_or(last, |known_at| known_at.min(last))
    }

    /// All streams of a table (of one host), notes left out, in order. Some may have nothing recorded by a time asked
    /// for.
    pub fn streams_of(&self, table: &[u8], host: Option<&[u8]>) -> Result<BTreeSet<Arc<StreamKey>>, Error> {
        let (mut streams, name) = (BTreeSet::new(), Name::from(table));
        for segment in &self.segments {
            let Some(reader) = segment.table(table)? else {
                continue;
            };
            let directory = reader.directory;
            let places = host.map_or(0..directory.streams(), |host| directory.streams_of_host(host));
            let keys = directory.entries(places).map(|stream| stream.key);
            streams.extend(keys.filter(|key| key.kind != Kind::Note));
        }
        for memtable in &self.memtables {
            let memtable = memtable.read();
            let Some(parts) = memtable.table(table) else {
                continue;
            };
            let is_none = |key: &&Arc<StreamKey>| key.kind != Kind::Note;
            match host {
                Some(host) => streams.extend(parts.streams_of_host(&name, host).filter(is_none).cloned()),
                None => streams.extend(parts.streams().map(|(key, _)| key).filter(is_none).cloned()),
            }
        }
        Ok(streams)
    }

    /// The names of all tables that have anything but notes.
    pub fn tables(&self) -> Result<BTreeSet<Name>, Error> {
        let mut tables = BTreeSet::new();
        for segment in &self.segments {
            for reader in segment.tables() {
                let reader = reader?;
                if reader.directory.records().any(|stream| stream.kind != Kind::Note) {
                    tables.insert(reader.entry.name.clone());
                }
            }
        }
        for memtable in &self.memtables {
            for (name, parts) in memtable.read().tables() {
                if parts.streams().any(|(key, _)| key.kind != Kind::Note) {
                    tables.insert(name.clone());
                }
            }
        }
        Ok(tables)
    }

    /// All hosts with any look recorded by `known_at`.
    pub fn hosts(&self, known_at: Micros, cost: &mut Cost) -> Result<BTreeSet<Name>, Error> {
        let mut hosts: BTreeSet<Name> = BTreeSet::new();
        for segment in &self.segments {
            let all = segment.footer().recorded.1 <= known_at;
            if segment.footer().recorded.0 > known_at {
                continue;
            }
            if all {
                let of = segment.hosts()?;
                hosts.extend((0..of.len()).filter(|&host| of.has_looks(host)).map(|host| Name::from(of.name(host))));
                continue;
            }
            for reader in segment.tables() {
                let reader = reader?;
                for (place, stream) in reader.directory.records().enumerate() {
                    if stream.kind == Kind::Note || hosts.contains(reader.directory.host(&stream)) {
                        continue;
                    }
                    if let Some(stream) = reader.directory.entry(place)
                        && reader.is_known(&stream, known_at, &self.cache, cost)?
                    {
                        hosts.insert(stream.key.host.clone());
                    }
                }
            }
        }
        for memtable in &self.memtables {
            for (_, parts) in memtable.read().tables() {
                for (key, stream) in parts.streams().filter(|(key, _)| key.kind != Kind::Note) {
                    if stream.parts().iter().any(|part| part.recorded <= known_at) {
                        hosts.insert(key.host.clone());
                    }
                }
            }
        }
        Ok(hosts)
    }

    /// Whether anything of a stream was recorded by `known_at`.
    pub fn has_parts(&self, key: &StreamKey, known_at: Micros, cost: &mut Cost) -> Result<bool, Error> {
        for memtable in &self.memtables {
            let memtable = memtable.read();
            let stream = memtable.table(&key.table).and_then(|table| table.stream(key));
            if stream.is_some_and(|stream| stream.parts().iter().any(|part| part.recorded <= known_at)) {
                return Ok(true);
            }
        }
        for segment in &self.segments {
            let Some(reader) = segment.table(&key.table)? else { continue };
            if let Some(stream) = reader.directory.stream(key)
                && (segment.footer().recorded.1 <= known_at || reader.is_known(&stream, known_at, &self.cache, cost)?)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The seconds of a stream's first and last delivery recorded by `known_at`; `None` if it has none, or if telling
    /// takes more than the directories.
    pub fn extent(&self, key: &Arc<StreamKey>, known_at: Micros) -> Result<Option<(Second, Second)>, Error> {
        let mut extent: Option<(Second, Second)> = None;
        let mut widen = |first: Second, last: Second| {
            extent = Some(extent.map_or((first, last), |(a, b)| (a.min(first), b.max(last))));
        };
        for segment in &self.segments {
            let Some(reader) = segment.table(&key.table)? else { continue };
            let Some(place) = reader.directory.place(key) else { continue };
            let record = reader.directory.record(place);
            if record.has_loss {
                // Where its seconds are the loss's, they are no look's.
                return self.extent_of_looks(key, known_at);
            }
            if segment.footer().recorded.1 > known_at {
                return Ok(None);
            }
            let pieces = reader.directory.pieces_at(record.pieces);
            pieces.iter().for_each(|piece| widen(piece.first, piece.last));
        }
        for memtable in &self.memtables {
            let memtable = memtable.read();
            let stream = memtable.table(&key.table).and_then(|table| table.shared_stream(key));
            let parts = stream.map(|stream| stream.parts()).unwrap_or_default();
            parts.iter().filter(|part| part.recorded <= known_at).for_each(|part| widen(part.second, part.second));
        }
        Ok(extent)
    }

    fn extent_of_looks(&self, key: &StreamKey, known_at: Micros) -> Result<Option<(Second, Second)>, Error> {
        let parts = self.parts(key, known_at, &mut Cost::default())?.parts;
        let seconds = || parts.iter().filter(|part| !part.is_loss()).map(|part| part.second);
        Ok(seconds().min().zip(seconds().max()))
    }

    /// What was delivered of one stream, recorded by `known_at`.
    pub fn parts(&self, key: &StreamKey, known_at: Micros, cost: &mut Cost) -> Result<Parts, Error> {
        self.parts_but(key, None, known_at, cost)
    }

    fn parts_but(&self, key: &StreamKey, but: Option<u64>, known_at: Micros, cost: &mut Cost) -> Result<Parts, Error> {
        let mut merged = Merged::default();
        let mut cursor = RowCursor::default();
        for segment in &self.segments {
            if segment.footer().recorded.0 > known_at || Some(segment.number()) == but {
                continue;
            }
            let Some(reader) = segment.table(&key.table)? else {
                continue;
            };
            let Some(stream) = reader.directory.stream(key) else {
                continue;
            };
            cost.segments_touched += 1;
            let is_known = |part: &Part| part.recorded <= known_at;
            merged.add_from(&reader, &mut cursor, (&self.cache, cost), |number, each, cost| {
                reader.parts(&stream, &self.cache, cost, is_known, number, each)
            })?;
        }
        for memtable in &self.memtables {
            let memtable = memtable.read();
            let Some(table) = memtable.table(&key.table) else {
                continue;
            };
            let Some(stream) = table.stream(key) else {
                continue;
            };
            let mut numbers = FxHashMap::default();
            merged.add(stream.parts(), known_at, |id| Ok(table.rows()[id as usize].clone()), &mut numbers)?;
        }
        Ok(merged.finish())
    }

    /// What is told of the parts of a stream in each memtable; there may be none.
    fn in_memory<T>(&self, key: &Arc<StreamKey>, tell: impl Fn(&[Part]) -> T) -> impl Iterator<Item = T> {
        self.memtables.iter().map(move |memtable| {
            let memtable = memtable.read();
            let stream = memtable.table(&key.table).and_then(|table| table.shared_stream(key));
            tell(stream.map_or(&[], |stream| stream.parts()))
        })
    }

    /// How many parts of a stream are in memory.
    pub(super) fn parts_in_memory(&self, key: &Arc<StreamKey>) -> u64 {
        self.in_memory(key, |parts| parts.len() as u64).sum()
    }

    /// The same, if all of them were recorded by `known_at`.
    pub(super) fn parts_in_memory_by(&self, key: &Arc<StreamKey>, known_at: Micros) -> Option<u64> {
        let is_known = |parts: &[Part]| parts.iter().all(|part| part.recorded <= known_at);
        self.in_memory(key, |parts| is_known(parts).then_some(parts.len() as u64)).sum()
    }

    /// The parts of a stream in memory, in order, but for so many that came first; `None` if the others do not follow these.
    pub(super) fn in_memory_from(&self, key: &Arc<StreamKey>, first: usize) -> Option<Parts> {
        let mut left = first;
        let mut all = Merged::default();
        for memtable in &self.memtables {
            let memtable = memtable.read();
            let Some(table) = memtable.table(&key.table) else { continue };
            let parts = table.shared_stream(key).map_or(&[][..], |stream| stream.parts());
            let (_, rest) = parts.split_at(left.min(parts.len()));
            left -= parts.len() - rest.len();
            let row = |id: RowId| Ok::<_, Error>(table.rows()[id as usize].clone());
            all.add(rest, Micros::MAX, row, &mut FxHashMap::default()).ok()?;
        }
        let mut rest = all.finish();
        rest.parts.sort_by_key(part_key);
        (left == 0).then_some(rest)
    }

    /// The second of the first part of a stream in memory.
    pub(super) fn first_in_memory(&self, key: &Arc<StreamKey>) -> Option<Second> {
        self.in_memory(key, |parts| parts.first().map(|part| part.second)).flatten().min()
    }

    /// All that is known of a stream by a recorded time, but for what one segment has of it, in order.
    pub(super) fn parts_beyond(
        &self,
        key: &StreamKey,
        segment: Option<u64>,
        known_at: Micros,
        cost: &mut Cost,
    ) -> Result<Parts, Error> {
        let mut parts = self.parts_but(key, segment, known_at, cost)?;
        parts.parts.sort_by_key(part_key);
        Ok(parts)
    }

    /// Whether anything of a stream's second may be here; a cheap answer that is sometimes wrongly yes.
    pub fn may_hold(&self, key: &Arc<StreamKey>, second: i64) -> Result<bool, Error> {
        if self.in_memory(key, |parts| parts.last().is_some_and(|last| second <= last.second)).any(|may| may) {
            return Ok(true);
        }
        for segment in &self.segments {
            let Some(reader) = segment.table(&key.table)? else {
                continue;
            };
            if second < reader.entry.first || reader.entry.last < second {
                continue;
            }
            let pieces = reader.directory.pieces_of(key);
            if pieces.iter().any(|piece| piece.first <= second && second <= piece.last) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The parts of one look, wherever they are.
    pub fn parts_of_look(
        &self,
        key: &StreamKey,
        look: (i64, u64, Option<u64>),
        cost: &mut Cost,
    ) -> Result<Parts, Error> {
        let mut merged = Merged::default();
        let mut cursor = RowCursor::default();
        let (second, epoch, counter) = look;
        for segment in &self.segments {
            let Some(reader) = segment.table(&key.table)? else {
                continue;
            };
            let Some(stream) = reader.directory.stream(key) else {
                continue;
            };
            merged.add_from(&reader, &mut cursor, (&self.cache, cost), |number, each, cost| {
                reader.parts_of_look(&stream, look, &self.cache, cost, number, each)
            })?;
        }
        for memtable in &self.memtables {
            let memtable = memtable.read();
            let Some(table) = memtable.table(&key.table) else {
                continue;
            };
            let Some(stream) = table.stream(key) else {
                continue;
            };
            let row = |id: RowId| Ok(table.rows()[id as usize].clone());
            merged.add(stream.of_look(second, epoch, counter), Micros::MAX, row, &mut FxHashMap::default())?;
        }
        Ok(merged.finish())
    }
}

//! Rows of an answer, in columns: what they refer to first (names, shapes, distinct rows), then a column of every field.
//!
//! Invariants:
//! - A part is at most as long as the client takes; a single row that is longer fails the answer.
//! - Entries come in the order in which they were given, over all parts.
//! - A row that many entries share is sent once a part.
//!
//! How: [`Entries`] gathers entries until they are worth a frame. The reader puts all rows of a part into one buffer,
//! which they share.

use crate::answer::{get_cause, get_verdict, verdict};
use crate::value::{Malformed, Read, Reader, Room, Shape, Writer, unzigzag, zigzag};
use erstwhile_engine::fact::{Kind, Name, Second};
use erstwhile_engine::read::answer::{
    Break, Change, End, Event, Held, Hit, HostEntry, Start, StreamEntry, TableEntry, Verdict, Version,
};
use erstwhile_engine::row::{ColumnName, Row, Rows, Texts};
use rustc_hash::FxHashMap;
use std::sync::Arc;

/// Kinds of parts.
pub mod kind {
    /// Rows at T.
    pub const HELD: u8 = 1;
    /// Rows with their times.
    pub const VERSIONS: u8 = 2;
    /// Events.
    pub const EVENTS: u8 = 3;
    /// Changes.
    pub const CHANGES: u8 = 4;
    /// Hosts.
    pub const HOSTS: u8 = 5;
    /// Tables.
    pub const TABLES: u8 = 6;
    /// Streams.
    pub const STREAMS: u8 = 7;
    /// Which version answers which key.
    pub const HITS: u8 = 8;
    /// What tables weigh.
    pub const WEIGHTS: u8 = 9;
    /// Hosts that have fallen silent.
    pub const SILENT: u8 = 10;
    /// Hosts with breaks.
    pub const HOLES: u8 = 11;
}

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Rows at T.
    Held(Vec<Held>),
    /// Rows with their times.
    Versions(Vec<Arc<Version>>),
    /// Events.
    Events(Vec<Arc<Event>>),
    /// Changes.
    Changes(Vec<Change>),
    /// Hosts.
    Hosts(Vec<HostEntry>),
    /// Tables.
    Tables(Vec<TableEntry>),
    /// Streams.
    Streams(Vec<StreamEntry>),
    /// Which version answers which key.
    Hits(Vec<Hit>),
}

/// An entry of a part whose entries are columns.
pub trait Entry {
    /// The kind of the part.
    const KIND: u8;

    /// Its host, stream, row and count.
    fn refers(&self) -> (&Name, &Name, &Row, u64);

    /// Appends the other columns of entries.
    fn put_rest(entries: &[&Self], to: &mut Writer<'_>);
}

/// Bytes that an entry takes beside its row, at most.
const ENTRY_BYTES: usize = 100;

/// Entries that become a part.
pub struct Entries<'e, E> {
    entries: Vec<&'e E>,
    names: Vec<&'e Name>,
    /// Of each entry: host, stream and row by their places.
    places: Vec<(u32, u32, u32)>,
    shapes: Vec<Vec<ColumnName>>,
    /// Distinct rows, each with its shape.
    rows: Vec<(u32, &'e Row)>,
    texts: Texts,
    /// Where a row's bytes are, and its place.
    known: FxHashMap<*const u8, u32>,
    /// At most so many bytes of payload.
    bytes: usize,
}

impl<'e, E: Entry> Default for Entries<'e, E> {
    fn default() -> Self {
        Entries {
            entries: Vec::new(),
            names: Vec::new(),
            places: Vec::new(),
            shapes: Vec::new(),
            rows: Vec::new(),
            texts: Texts::default(),
            known: FxHashMap::default(),
            bytes: 64,
        }
    }
}

impl<'e, E: Entry> Entries<'e, E> {
    /// Makes room for so many.
    pub fn reserve(&mut self, entries: usize) {
        self.entries.reserve(entries);
        self.places.reserve(entries);
        self.rows.reserve(entries);
        self.known.reserve(entries);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The payload is no longer than this.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How much longer it may become by an entry.
    pub fn bytes_of(entry: &E) -> usize {
        let (host, stream, row, _) = entry.refers();
        // A shape may be new: names count twice.
        ENTRY_BYTES + host.len() + stream.len() + 2 * row.as_bytes().len()
    }

    /// Adds an entry.
    pub fn push(&mut self, entry: &'e E) {
        self.bytes += Self::bytes_of(entry);
        let (host, stream, row, _) = entry.refers();
        let (host, stream) = (self.name(host), self.name(stream));
        let row = match self.known.get(&row.as_bytes().as_ptr()) {
            // Rows of no columns may lie anywhere.
            Some(&place) if self.rows[place as usize].1.as_bytes().len() == row.as_bytes().len() => place,
            _ => {
                let place = self.rows.len() as u32;
                let shape = self.shape(row);
                self.rows.push((shape, row));
                self.known.insert(row.as_bytes().as_ptr(), place);
                place
            }
        };
        self.places.push((host, stream, row));
        self.entries.push(entry);
    }

    /// The place of a name, which is mostly one of the last.
    fn name(&mut self, name: &'e Name) -> u32 {
        let recent = self.names.len().saturating_sub(8);
        let same = |known: &&Name| Arc::ptr_eq(known, name) || **known == *name;
        if let Some(place) = self.names[recent..].iter().rposition(same) {
            return (recent + place) as u32;
        }
        self.names.push(name);
        (self.names.len() - 1) as u32
    }

    /// The shape of a new row, which is mostly that of the one before; notes the row's texts.
    fn shape(&mut self, row: &Row) -> u32 {
        let last = self.rows.last().map_or(0, |(shape, _)| *shape as usize);
        let first = self.shapes.get(last).into_iter().map(|names| (last, names));
        let mut known = first.chain(self.shapes.iter().enumerate().rev());
        if let Some((place, _)) = known.find(|(_, names)| self.texts.push(row, names)) {
            return place as u32;
        }
        let names: Vec<ColumnName> = row.columns().map(|(name, _)| ColumnName::new(name)).collect();
        self.texts.push(row, &names);
        self.shapes.push(names);
        (self.shapes.len() - 1) as u32
    }

    /// Appends the payload and forgets the entries.
    pub fn encode(&mut self, out: &mut Vec<u8>) {
        let mut to = Writer::new(out);
        to.u8(E::KIND);
        to.list(self.names.iter(), |to, name| to.bytes(name));
        to.list(self.shapes.iter(), |to, shape| to.list(shape.iter(), |to, column| to.bytes(column.name())));
        to.uint(self.rows.len() as u64);
        self.rows.iter().for_each(|(shape, _)| to.uint(u64::from(*shape)));
        to.raw(&self.texts.lengths);
        to.raw(&self.texts.bytes);
        to.uint(self.entries.len() as u64);
        self.places.iter().for_each(|(host, ..)| to.uint(u64::from(*host)));
        self.places.iter().for_each(|(_, stream, _)| to.uint(u64::from(*stream)));
        self.places.iter().for_each(|(.., row)| to.uint(u64::from(*row)));
        self.entries.iter().for_each(|entry| to.uint(entry.refers().3));
        E::put_rest(&self.entries, &mut to);
        self.clear();
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.names.clear();
        self.places.clear();
        self.shapes.clear();
        self.rows.clear();
        self.texts.clear();
        self.known.clear();
        self.bytes = 64;
    }
}

/// Differences between times that follow each other.
fn put_steps(to: &mut Writer<'_>, times: impl Iterator<Item = Second>) {
    let mut before = 0i64;
    for time in times {
        to.int(time.wrapping_sub(before));
        before = time;
    }
}

fn get_steps(from: &mut Reader<'_>, count: usize) -> Read<Vec<Second>> {
    let mut before = 0i64;
    column(from, count, |from| {
        let at = *from;
        before = from.int()?.checked_add(before).ok_or_else(|| at.no("time"))?;
        Ok(before)
    })
}

/// So many values, for which there is room in what is left.
fn column<'b, T>(
    from: &mut Reader<'b>,
    count: usize,
    mut read: impl FnMut(&mut Reader<'b>) -> Read<T>,
) -> Read<Vec<T>> {
    let mut values = Vec::with_capacity(count.min(from.rest().len()));
    for _ in 0..count {
        values.push(read(from)?);
    }
    Ok(values)
}

/// A time that may be absent, by how long before or after another it is.
fn put_apart(to: &mut Writer<'_>, apart: Option<i64>) {
    to.uint(apart.map_or(0, |apart| (apart as u64).wrapping_add(1)));
}

fn get_apart(from: &mut Reader<'_>) -> Read<Option<i64>> {
    let at = *from;
    match from.uint()?.checked_sub(1) {
        None => Ok(None),
        Some(apart) => i64::try_from(apart).map(Some).map_err(|_| at.no("time")),
    }
}

fn put_versions<'v>(versions: impl Iterator<Item = &'v Version> + Clone, to: &mut Writer<'_>) {
    put_steps(to, versions.clone().map(|version| version.from));
    versions.clone().for_each(|v| put_apart(to, v.from_after.map(|after| v.from.wrapping_sub(after))));
    versions.clone().for_each(|v| put_apart(to, v.to.map(|until| until.wrapping_sub(v.from))));
    for v in versions {
        put_apart(to, v.to.zip(v.to_after).map(|(until, after)| until.wrapping_sub(after)));
    }
}

fn flags(version: &Version, verdict: Verdict) -> u8 {
    let end = match version.end {
        End::Gone => 0,
        End::Break => 1,
        End::Open => 2,
    };
    u8::from(version.start == Start::Break) | end << 1 | u8::from(version.verified) << 3 | (verdict as u8) << 4
}

impl Entry for Held {
    const KIND: u8 = kind::HELD;

    fn refers(&self) -> (&Name, &Name, &Row, u64) {
        self.version.refers()
    }

    fn put_rest(entries: &[&Self], to: &mut Writer<'_>) {
        put_versions(entries.iter().map(|held| &*held.version), to);
        entries.iter().for_each(|held| to.u8(flags(&held.version, held.verdict)));
        for side in [|held: &Held| held.before, |held: &Held| held.after] {
            for held in entries {
                let apart = side(held).map(|look| zigzag(look.wrapping_sub(held.version.from)));
                to.uint(apart.map_or(0, |apart| apart.wrapping_add(1)));
            }
        }
    }
}

impl Entry for Version {
    const KIND: u8 = kind::VERSIONS;

    #[inline]
    fn refers(&self) -> (&Name, &Name, &Row, u64) {
        (&self.host, &self.stream, &self.row, self.count)
    }

    fn put_rest(entries: &[&Self], to: &mut Writer<'_>) {
        put_versions(entries.iter().copied(), to);
        entries.iter().for_each(|version| to.u8(flags(version, Verdict::Definite)));
    }
}

impl Entry for Event {
    const KIND: u8 = kind::EVENTS;

    fn refers(&self) -> (&Name, &Name, &Row, u64) {
        (&self.host, &self.stream, &self.row, self.count)
    }

    fn put_rest(entries: &[&Self], to: &mut Writer<'_>) {
        put_steps(to, entries.iter().map(|event| event.time));
        entries.iter().for_each(|event| to.int(event.seen.wrapping_sub(event.time)));
    }
}

impl Entry for Change {
    const KIND: u8 = kind::CHANGES;

    fn refers(&self) -> (&Name, &Name, &Row, u64) {
        (&self.host, &self.stream, &self.row, self.count)
    }

    fn put_rest(entries: &[&Self], to: &mut Writer<'_>) {
        for change in entries {
            let verdicts = (change.verdict_from as u8) << 1 | (change.verdict_to as u8) << 3;
            to.u8(u8::from(change.added) | verdicts);
        }
    }
}

/// What the entries of a part refer to.
struct Referred {
    names: Vec<Name>,
    rows: Vec<Row>,
    hosts: Vec<usize>,
    streams: Vec<usize>,
    of_row: Vec<usize>,
    counts: Vec<u64>,
}

impl Referred {
    fn read(from: &mut Reader<'_>) -> Read<Referred> {
        let names = from.list(1, Reader::name)?;
        let mut room = Room::of(from);
        let shapes = from.list(1, Shape::get)?;
        let count = from.count(1)?;
        let shape_of = column(from, count, |from| from.place(shapes.len()))?;
        let cells: usize = shape_of.iter().map(|&shape| shapes[shape].names.len()).sum();
        if cells > from.rest().len() {
            return Err(from.no("lengths of all texts"));
        }
        let before = from.rest().len();
        let lengths = from.uints(cells)?;
        let columns = |shape: &Shape<'_>| shape.names.iter().map(|name| ColumnName::new(name)).collect();
        let columns: Vec<Vec<ColumnName>> = shapes.iter().map(columns).collect();
        // Names, lengths and texts.
        let mut bytes = before;
        for &shape in &shape_of {
            room.take(from, &shapes[shape])?;
            bytes += columns[shape].iter().map(ColumnName::bytes).sum::<usize>();
        }
        let too_long = || from.no("rows that together take less than 4 GiB");
        let mut rows = Rows::with_capacity(count, bytes).ok_or_else(too_long)?;
        let (mut lengths, mut texts) = (&lengths[..], from.rest());
        for shape in shape_of {
            let (of_row, after) = lengths.split_at(columns[shape].len());
            texts = rows.push(&columns[shape], of_row, texts).ok_or_else(|| from.no("texts of so many bytes"))?;
            lengths = after;
        }
        from.raw(from.rest().len() - texts.len())?;
        let rows = rows.finish();
        let count = from.count(4)?;
        Ok(Referred {
            hosts: column(from, count, |from| from.place(names.len()))?,
            streams: column(from, count, |from| from.place(names.len()))?,
            of_row: column(from, count, |from| from.place(rows.len()))?,
            counts: from.uints(count)?,
            names,
            rows,
        })
    }

    fn len(&self) -> usize {
        self.counts.len()
    }

    /// Host, stream, row and count of an entry.
    fn get(&self, at: usize) -> (Name, Name, Row, u64) {
        let (host, stream) = (self.names[self.hosts[at]].clone(), self.names[self.streams[at]].clone());
        (host, stream, self.rows[self.of_row[at]].clone(), self.counts[at])
    }
}

fn get_versions(from: &mut Reader<'_>, with_verdict: bool) -> Read<Vec<(Arc<Version>, Verdict)>> {
    let referred = Referred::read(from)?;
    let count = referred.len();
    let froms = get_steps(from, count)?;
    let from_after = column(from, count, get_apart)?;
    let until = column(from, count, get_apart)?;
    let to_after = column(from, count, get_apart)?;
    let end = if with_verdict { 64 } else { 16 };
    let flags = column(from, count, |from| from.below(end, "start, end, verdict"))?;
    let no = |what| from.no(what);
    let version = |at: usize| {
        let (host, stream, row, count) = referred.get(at);
        let (begin, flags) = (froms[at], flags[at]);
        let time = |time: Option<i64>| time.ok_or_else(|| no("time"));
        let from_after = from_after[at].map(|apart| time(begin.checked_sub(apart))).transpose()?;
        let to = until[at].map(|apart| time(begin.checked_add(apart))).transpose()?;
        let to_after = to_after[at].map(|apart| time(to.and_then(|to| to.checked_sub(apart)))).transpose()?;
        let start = if flags & 1 == 1 { Start::Break } else { Start::Seen };
        let end = match flags >> 1 & 3 {
            0 => End::Gone,
            1 => End::Break,
            2 => End::Open,
            _ => return Err(no("end of a version")),
        };
        let verified = flags >> 3 & 1 == 1;
        let version = Version { host, stream, row, count, from: begin, from_after, to, to_after, start, end, verified };
        Ok((Arc::new(version), verdict(flags >> 4)))
    };
    let mut versions = Vec::with_capacity(count);
    for at in 0..count {
        versions.push(version(at)?);
    }
    Ok(versions)
}

fn get_held(from: &mut Reader<'_>) -> Read<Vec<Held>> {
    let versions = get_versions(from, true)?;
    let looks = |from: &mut Reader<'_>| {
        versions
            .iter()
            .map(|(version, _)| {
                let at = *from;
                let apart = from.uint()?.checked_sub(1).map(unzigzag);
                let look = apart.map(|apart| version.from.checked_add(apart).ok_or_else(|| at.no("time")));
                look.transpose()
            })
            .collect::<Read<Vec<Option<Second>>>>()
    };
    let (before, after) = (looks(from)?, looks(from)?);
    let looks = before.into_iter().zip(after);
    Ok(versions
        .into_iter()
        .zip(looks)
        .map(|((version, verdict), (before, after))| Held { version, verdict, before, after })
        .collect())
}

fn get_events(from: &mut Reader<'_>) -> Read<Vec<Arc<Event>>> {
    let referred = Referred::read(from)?;
    let times = get_steps(from, referred.len())?;
    let seen = column(from, referred.len(), Reader::int)?;
    let event = |at: usize| {
        let (host, stream, row, count) = referred.get(at);
        let seen = times[at].checked_add(seen[at]).ok_or(Malformed { left: 0, what: "time" })?;
        Ok(Arc::new(Event { host, stream, time: times[at], seen, row, count }))
    };
    (0..referred.len()).map(event).collect()
}

fn get_changes(from: &mut Reader<'_>) -> Read<Vec<Change>> {
    let referred = Referred::read(from)?;
    let flags = column(from, referred.len(), |from| from.below(32, "action and verdicts"))?;
    let change = |at: usize| {
        let (host, stream, row, count) = referred.get(at);
        let (verdict_from, verdict_to) = (verdict(flags[at] >> 1), verdict(flags[at] >> 3));
        Change { host, stream, added: flags[at] & 1 != 0, row, count, verdict_from, verdict_to }
    };
    Ok((0..referred.len()).map(change).collect())
}

/// Appends a part of hosts.
pub fn put_hosts(hosts: &[HostEntry], out: &mut Vec<u8>) {
    let mut to = Writer::new(out);
    to.u8(kind::HOSTS);
    to.list(hosts.iter(), |to, host| {
        to.bytes(&host.host);
        to.uint(host.streams);
        to.int(host.first);
        to.int(host.last);
        to.opt(host.agent_version.as_ref(), |to, version| to.bytes(version.as_bytes()));
    });
}

fn get_hosts(from: &mut Reader<'_>) -> Read<Vec<HostEntry>> {
    from.list(5, |from| {
        Ok(HostEntry {
            host: from.name()?,
            streams: from.uint()?,
            first: from.second()?,
            last: from.second()?,
            agent_version: from.opt(|from| from.text().map(str::to_owned))?,
        })
    })
}

/// Appends a part of tables.
pub fn put_tables(tables: &[TableEntry], out: &mut Vec<u8>) {
    let mut to = Writer::new(out);
    to.u8(kind::TABLES);
    to.list(tables.iter(), |to, table| {
        to.bytes(&table.table);
        to.u8(u8::from(table.evented));
        to.uint(table.streams);
        to.uint(table.hosts);
        to.int(table.first);
        to.int(table.last);
        to.uint(table.assumed);
        to.list(table.assumed_names.iter(), |to, name| to.bytes(name));
    });
}

fn get_tables(from: &mut Reader<'_>) -> Read<Vec<TableEntry>> {
    from.list(8, |from| {
        Ok(TableEntry {
            table: from.name()?,
            evented: from.bool()?,
            streams: from.uint()?,
            hosts: from.uint()?,
            first: from.second()?,
            last: from.second()?,
            assumed: from.uint()?,
            assumed_names: from.list(1, Reader::name)?,
        })
    })
}

/// Appends a part of streams.
pub fn put_streams(streams: &[StreamEntry], out: &mut Vec<u8>) {
    let mut to = Writer::new(out);
    to.u8(kind::STREAMS);
    to.list(streams.iter(), |to, stream| {
        to.bytes(&stream.host);
        to.bytes(&stream.stream);
        to.u8(stream.kind as u8);
        to.bytes(&stream.table);
        to.u8(u8::from(stream.assumed));
        to.uint(stream.looks);
        to.int(stream.first);
        to.int(stream.last);
        to.opt(stream.agent_version.as_ref(), |to, version| to.bytes(version.as_bytes()));
        to.int(stream.skew.0);
        to.int(stream.skew.1);
        to.list(stream.breaks.iter(), |to, stretch| {
            to.opt(stretch.from, Writer::int);
            to.opt(stretch.to, Writer::int);
            to.u8(stretch.cause as u8);
        });
    });
}

fn get_streams(from: &mut Reader<'_>) -> Read<Vec<StreamEntry>> {
    from.list(12, |from| {
        Ok(StreamEntry {
            host: from.name()?,
            stream: from.name()?,
            kind: match from.below(3, "kind of stream")? {
                0 => Kind::Diff,
                1 => Kind::Snapshot,
                _ => Kind::Event,
            },
            table: from.name()?,
            assumed: from.bool()?,
            looks: from.uint()?,
            first: from.second()?,
            last: from.second()?,
            agent_version: from.opt(|from| from.text().map(str::to_owned))?,
            skew: (from.int()?, from.int()?),
            breaks: from.list(3, |from| {
                Ok(Break { from: from.opt(Reader::second)?, to: from.opt(Reader::second)?, cause: get_cause(from)? })
            })?,
        })
    })
}

/// Appends a part of hits.
pub fn put_hits(hits: &[Hit], out: &mut Vec<u8>) {
    let mut to = Writer::new(out);
    to.u8(kind::HITS);
    to.uint(hits.len() as u64);
    hits.iter().for_each(|hit| to.uint(hit.key as u64));
    hits.iter().for_each(|hit| to.uint(hit.version as u64));
    hits.iter().for_each(|hit| to.uint(hit.count));
    hits.iter().for_each(|hit| to.u8(hit.verdict as u8));
    hits.iter().for_each(|hit| to.opt(hit.before, Writer::int));
    hits.iter().for_each(|hit| to.opt(hit.after, Writer::int));
}

fn get_hits(from: &mut Reader<'_>) -> Read<Vec<Hit>> {
    let count = from.count(6)?;
    let place = |from: &mut Reader<'_>| from.place(usize::MAX);
    let keys = column(from, count, place)?;
    let versions = column(from, count, place)?;
    let counts = column(from, count, Reader::uint)?;
    let verdicts = column(from, count, get_verdict)?;
    let before = column(from, count, |from| from.opt(Reader::second))?;
    let after = column(from, count, |from| from.opt(Reader::second))?;
    let hit = |at: usize| Hit {
        key: keys[at],
        version: versions[at],
        count: counts[at],
        verdict: verdicts[at],
        before: before[at],
        after: after[at],
    };
    Ok((0..count).map(hit).collect())
}

impl Part {
    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Read<Part> {
        let mut from = Reader::new(payload);
        let at = from;
        let part = match from.u8()? {
            kind::HELD => Part::Held(get_held(&mut from)?),
            kind::VERSIONS => {
                let versions = get_versions(&mut from, false)?;
                Part::Versions(versions.into_iter().map(|(version, _)| version).collect())
            }
            kind::EVENTS => Part::Events(get_events(&mut from)?),
            kind::CHANGES => Part::Changes(get_changes(&mut from)?),
            kind::HOSTS => Part::Hosts(get_hosts(&mut from)?),
            kind::TABLES => Part::Tables(get_tables(&mut from)?),
            kind::STREAMS => Part::Streams(get_streams(&mut from)?),
            kind::HITS => Part::Hits(get_hits(&mut from)?),
            _ => return Err(at.no("kind of part")),
        };
        from.end()?;
        Ok(part)
    }
}

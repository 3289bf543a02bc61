//! Lines become deliveries: the lines of one look in one input are held back until its second has passed.
//!
//! An input is cut, per host, wherever the observed second changes; each piece is one delivery of each of its looks.
//! Equal lines within it add up.
//!
//! Invariants:
//! - A look is handed on whole: no line of it is left behind in the piece.
//! - What is handed on because nothing came for a while stays held, so that later lines of the same piece add up with
//!   it; it is handed on again, larger.
//! - Status lines and dead letters cut nothing.
//! - Memory is bounded: when the rows held for all hosts exceed [`HELD_BYTES_MAX`], the pieces of all but the host at
//!   hand wait in a file. The one look that lines are added to must fit in memory.
//!
//! A line that holds a whole look is handed on at once.

use super::line::ResultLine;
use super::parse::{Item, Meaning, Parsed, Parser, RowEnd, Rows, Said};
use super::spill::{Place, Spill};
use crate::agent::version_rank;
use crate::catalogue::{Catalogue, StreamMap};
use crate::error::Error;
use crate::fact::{Delivery, Inferred, Kind, Name, Second, StreamKey};
use crate::note;
use crate::numbering::Numbering;
use crate::row::Row;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Bytes of rows that are held in memory, roughly, before they wait in a file.
pub const HELD_BYTES_MAX: usize = 32 << 20;

/// What a row costs beside its bytes, roughly.
const ROW_BYTES: usize = 48;

/// A buffer with more room than this is not kept for another look.
const SPARE_BYTES_MAX: usize = 64 << 10;

/// Buffers that are kept for other looks.
const SPARES_MAX: usize = 256;

/// Rows of a look that grow together are cut off into a buffer of their own beyond this.
const BUFFER_BYTES_MAX: usize = 16 << 20;

/// One side of a look whose lines still come.
#[derive(Default)]
struct HeldRows {
    /// Rows beyond those in `bytes`, which are whole.
    cut: Vec<Row>,
    /// Canonical rows, one after the other.
    bytes: Vec<u8>,
    ends: Vec<RowEnd>,
}

impl HeldRows {
    fn push(&mut self, rows: Rows<'_>) {
        if !self.ends.is_empty() && self.bytes.len() + rows.bytes().len() > BUFFER_BYTES_MAX {
            let cut = self.in_buffer();
            self.cut.extend(cut);
            self.bytes.clear();
            self.ends.clear();
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(rows.bytes());
        self.ends.extend(rows.ends().map(|row| RowEnd { end: start + row.end, hash: row.hash }));
    }

    fn len(&self) -> usize {
        self.cut.len() + self.ends.len()
    }

    /// The rows in `bytes`.
    fn in_buffer(&self) -> Vec<Row> {
        rows_in(&self.bytes, self.ends.iter().copied())
    }

    /// All rows, counted.
    fn counted(&self) -> Vec<(Row, u64)> {
        let rows = self.in_buffer();
        if self.cut.is_empty() { counted(rows) } else { counted([&self.cut[..], &rows].concat()) }
    }

    fn clear(&mut self) {
        self.cut.clear();
        self.bytes.clear();
        self.ends.clear();
    }
}

/// The rows that lie one after the other, in one buffer.
fn rows_in(bytes: &[u8], ends: impl ExactSizeIterator<Item = RowEnd>) -> Vec<Row> {
    if ends.len() == 0 {
        return Vec::new();
    }
    let buffer: Arc<[u8]> = Arc::from(bytes);
    let mut start = 0;
    let row = |row: RowEnd| {
        let from = std::mem::replace(&mut start, row.end);
        Row::in_buffer(&buffer, from..row.end, row.hash)
    };
    ends.map(row).collect()
}

/// A look whose lines still come.
struct Held {
    stream: Arc<StreamKey>,
    epoch: u64,
    counter: Option<u64>,
    inferred: Inferred,
    removed: HeldRows,
    added: HeldRows,
    tells_version: bool,
}

/// One host's piece.
#[derive(Default)]
struct Piece {
    second: Second,
    looks: Vec<Held>,
    /// What the rows of `looks` cost.
    bytes: usize,
    /// Where the looks wait instead.
    spilled: Option<Place>,
    /// The host's streams by name and kind, as they came.
    streams: Vec<(Arc<Meaning>, Arc<StreamKey>)>,
    /// The stream of the last line, which is mostly that of the next.
    last_stream: usize,
    /// Whether lines came since the piece was last handed on.
    fresh: bool,
}

/// Holds lines back and hands deliveries on.
pub struct Hold {
    parser: Parser,
    parsed: Parsed,
    hosts: FxHashMap<Name, Piece>,
    /// Empty buffers.
    spares: Vec<HeldRows>,
    /// Bytes of rows held in memory.
    held_bytes: usize,
    held_bytes_max: usize,
    spill: Spill,
    /// Rows and looks counted since the beginning.
    pub counts: HoldCounts,
}

/// What passed through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HoldCounts {
    /// Looks handed on, each delivery of one counted once.
    pub looks: u64,
    /// Rows of all lines: added, removed and snapshot rows.
    pub rows: u64,
}

impl Hold {
    /// Holds back by these meanings of names.
    pub fn new(catalogue: Arc<Catalogue>, map: StreamMap, spill: Spill, held_bytes_max: usize) -> Hold {
        Hold {
            parser: Parser::new(catalogue, map),
            parsed: Parsed::default(),
            hosts: FxHashMap::default(),
            spares: Vec::new(),
            held_bytes: 0,
            held_bytes_max,
            spill,
            counts: HoldCounts::default(),
        }
    }

    /// Takes a line in; hands on the host's piece if its second has passed. Tells whether the host is new.
    pub fn line(&mut self, line: &ResultLine<'_>, out: &mut Vec<Delivery>) -> Result<bool, Error> {
        let mut parsed = std::mem::take(&mut self.parsed);
        parsed.clear();
        self.parser.result(line, &mut parsed);
        let mut new = false;
        let mut from = 0;
        for item in &parsed.items {
            new |= self.take(&parsed, item, &mut from, out)?;
        }
        self.parsed = parsed;
        Ok(new)
    }

    /// Takes in the results of an item, whose rows begin at row `from`, which moves past them; hands on the host's piece
    /// if its second has passed. Tells whether the host is new.
    pub(super) fn take(
        &mut self,
        parsed: &Parsed,
        item: &Item,
        from: &mut usize,
        out: &mut Vec<Delivery>,
    ) -> Result<bool, Error> {
        let said = match item {
            Item::Rows { said, .. } | Item::Whole { said, .. } => &*parsed.said[*said as usize],
            Item::Status { .. } | Item::Dead { .. } => return Ok(false),
        };
        if self.held_bytes > self.held_bytes_max {
            self.spill_all_but(&said.host)?;
        }
        let (piece, new) = match self.hosts.entry(said.host.clone()) {
            Entry::Occupied(known) => (known.into_mut(), false),
            Entry::Vacant(new) => (new.insert(Piece { second: said.second, ..Piece::default() }), true),
        };
        if let Some(place) = piece.spilled.take() {
            piece.take_back(self.spill.take(place)?, &mut self.spares);
            self.held_bytes += piece.bytes;
        }
        if piece.second != said.second {
            self.held_bytes = self.held_bytes.saturating_sub(piece.bytes);
            piece.end(&mut self.counts, &mut self.spares, out);
            piece.second = said.second;
        }
        piece.fresh = true;
        let stream = piece.stream(said);
        let keeps_removed = stream.kind != Kind::Event && !stream.sightings;
        match *item {
            Item::Rows { rows: count, .. } => {
                let rows = parsed.rows(*from, count);
                *from += count as usize;
                self.counts.rows += u64::from(count);
                if said.removed && !keeps_removed {
                    return Ok(new);
                }
                let bytes = rows.bytes().len() + rows.len() * ROW_BYTES;
                self.held_bytes += bytes;
                piece.bytes += bytes;
                let held = piece.held(&stream, said, &mut self.spares);
                held.inferred = held.inferred.min(said.inferred);
                if said.removed { held.removed.push(rows) } else { held.added.push(rows) }
            }
            Item::Whole { removed, added, .. } => {
                let rows = parsed.rows(*from, removed);
                *from += removed as usize;
                let mut r = rows_in(rows.bytes(), rows.ends());
                let rows = parsed.rows(*from, added);
                *from += added as usize;
                let a = rows_in(rows.bytes(), rows.ends());
                self.counts.rows += u64::from(removed) + u64::from(added);
                if !keeps_removed {
                    r.clear();
                }
                self.counts.looks += 1;
                hand_on_whole(stream, said, counted(r), counted(a), out);
            }
            Item::Status { .. } | Item::Dead { .. } => {}
        }
        Ok(new)
    }

    /// Lets the pieces of all other hosts wait in the file.
    fn spill_all_but(&mut self, host: &[u8]) -> Result<(), Error> {
        let others = self.hosts.iter_mut().filter(|(other, piece)| ***other != *host && !piece.looks.is_empty());
        for (_, piece) in others {
            self.held_bytes = self.held_bytes.saturating_sub(std::mem::take(&mut piece.bytes));
            piece.spilled = Some(self.spill.put(piece.deliveries())?);
            piece.looks = Vec::new();
        }
        // What cannot be put away is one host's: it is not tried again before it has doubled.
        self.held_bytes_max = self.held_bytes_max.max(self.held_bytes * 2);
        Ok(())
    }

    /// Notes the version that a status line tells.
    pub(super) fn status(&self, host: &[u8], second: Option<Second>, version: Option<&[u8]>, out: &mut Vec<Delivery>) {
        if let (Some(second), Some(version)) = (second, version) {
            out.extend(version_note(host, second, version));
        }
    }

    /// The input has ended: hands on pieces until there are more than `rows` rows of them, and forgets these; tells whether any are left.
    pub fn end_some(&mut self, rows: usize, out: &mut Vec<Delivery>) -> Result<bool, Error> {
        let mut handed_on = 0;
        while handed_on <= rows {
            let Some(host) = self.hosts.keys().next().cloned() else { return Ok(false) };
            let Some(mut piece) = self.hosts.remove(&host) else { return Ok(false) };
            if let Some(place) = piece.spilled.take() {
                piece.take_back(self.spill.take(place)?, &mut self.spares);
            } else {
                self.held_bytes = self.held_bytes.saturating_sub(piece.bytes);
            }
            handed_on += piece.looks.iter().map(|look| look.removed.len() + look.added.len()).sum::<usize>();
            piece.end(&mut self.counts, &mut self.spares, out);
        }
        Ok(true)
    }

    /// Hands on everything that is held, and keeps it: nothing came for a while.
    pub fn idle(&mut self, out: &mut Vec<Delivery>) -> Result<(), Error> {
        for piece in self.hosts.values_mut() {
            if !std::mem::take(&mut piece.fresh) {
                continue;
            }
            match piece.spilled {
                Some(place) => {
                    let mut copy = Piece { second: piece.second, streams: piece.streams.clone(), ..Piece::default() };
                    copy.take_back(self.spill.read(place)?, &mut self.spares);
                    copy.hand_on(out);
                }
                None => piece.hand_on(out),
            }
        }
        Ok(())
    }
}

impl Piece {
    /// The host's stream that a line is of.
    fn stream(&mut self, said: &Said) -> Arc<StreamKey> {
        let is_its = |(_, key): &(Arc<Meaning>, Arc<StreamKey>)| key.kind == said.kind && *key.name == *said.name;
        let place = match self.streams.get(self.last_stream) {
            Some(last) if is_its(last) => self.last_stream,
            _ => self.streams.iter().position(is_its).unwrap_or(self.streams.len()),
        };
        self.last_stream = place;
        if let Some((_, stream)) = self.streams.get(place) {
            return stream.clone();
        }
        let stream = Arc::new(StreamKey {
            table: said.meaning.table.clone(),
            host: said.host.clone(),
            name: said.name.clone(),
            kind: said.kind,
            sightings: said.meaning.sightings && said.kind == Kind::Diff,
        });
        self.streams.push((said.meaning.clone(), stream.clone()));
        stream
    }

    fn held(&mut self, stream: &Arc<StreamKey>, said: &Said, spares: &mut Vec<HeldRows>) -> &mut Held {
        let same =
            |held: &Held| Arc::ptr_eq(&held.stream, stream) && held.epoch == said.epoch && held.counter == said.counter;
        let place = match self.looks.iter().rposition(same) {
            Some(place) => place,
            None => {
                self.looks.push(Held {
                    stream: stream.clone(),
                    epoch: said.epoch,
                    counter: said.counter,
                    inferred: said.inferred,
                    removed: spares.pop().unwrap_or_default(),
                    added: spares.pop().unwrap_or_default(),
                    tells_version: said.meaning.tells_version,
                });
                self.looks.len() - 1
            }
        };
        &mut self.looks[place]
    }

    /// The looks as they are now.
    fn deliveries(&self) -> Vec<Delivery> {
        self.looks.iter().map(|held| held.delivery(self.second)).collect()
    }

    /// Holds looks again that waited in a file.
    fn take_back(&mut self, deliveries: Vec<Delivery>, spares: &mut Vec<HeldRows>) {
        for delivery in deliveries {
            let known = self.streams.iter().find(|(_, key)| *key == delivery.stream);
            let mut sides = [&delivery.removed, &delivery.added].map(|copies| {
                let mut held = spares.pop().unwrap_or_default();
                for (row, count) in copies {
                    let (bytes, hash) = (row.as_bytes(), row.content_hash());
                    let end = [RowEnd { end: bytes.len() as u32, hash }];
                    for _ in 0..*count {
                        held.push(Rows::new(bytes, &end));
                        self.bytes += bytes.len() + ROW_BYTES;
                    }
                }
                held
            });
            self.looks.push(Held {
                tells_version: known.is_some_and(|(meaning, _)| meaning.tells_version),
                stream: known.map_or(delivery.stream, |(_, key)| key.clone()),
                epoch: delivery.epoch,
                counter: delivery.counter,
                inferred: delivery.inferred,
                removed: std::mem::take(&mut sides[0]),
                added: std::mem::take(&mut sides[1]),
            });
        }
    }

    /// Hands on what is held, and keeps it.
    fn hand_on(&self, out: &mut Vec<Delivery>) {
        let deliveries = self.deliveries();
        for (held, delivery) in self.looks.iter().zip(&deliveries) {
            if held.tells_version {
                out.extend(versions_in(&held.stream.host, self.second, &delivery.added));
            }
        }
        out.extend(deliveries);
    }

    /// Counts what is held, hands it on if it is news, and forgets it.
    fn end(&mut self, counts: &mut HoldCounts, spares: &mut Vec<HeldRows>, out: &mut Vec<Delivery>) {
        counts.looks += self.looks.len() as u64;
        let fresh = std::mem::take(&mut self.fresh);
        for held in self.looks.drain(..) {
            if fresh {
                let delivery = held.delivery(self.second);
                if held.tells_version {
                    out.extend(versions_in(&held.stream.host, self.second, &delivery.added));
                }
                out.push(delivery);
            }
            for mut rows in [held.removed, held.added] {
                if spares.len() < SPARES_MAX && rows.bytes.capacity() <= SPARE_BYTES_MAX {
                    rows.clear();
                    spares.push(rows);
                }
            }
        }
        self.bytes = 0;
    }
}

fn hand_on_whole(
    stream: Arc<StreamKey>,
    said: &Said,
    removed: Vec<(Row, u64)>,
    added: Vec<(Row, u64)>,
    out: &mut Vec<Delivery>,
) {
    if said.meaning.tells_version {
        out.extend(versions_in(&stream.host, said.second, &added));
    }
    out.push(Delivery {
        stream,
        epoch: said.epoch,
        counter: said.counter,
        second: said.second,
        whole: true,
        inferred: said.inferred,
        removed,
        added,
    });
}

impl Held {
    /// The look as one delivery.
    fn delivery(&self, second: Second) -> Delivery {
        Delivery {
            stream: self.stream.clone(),
            epoch: self.epoch,
            counter: self.counter,
            second,
            whole: false,
            inferred: self.inferred,
            removed: self.removed.counted(),
            added: self.added.counted(),
        }
    }
}

/// Equal rows, counted, in the order in which they first came.
fn counted(rows: Vec<Row>) -> Vec<(Row, u64)> {
    let mut numbers = Numbering::with_capacity(rows.len());
    let mut counted: Vec<(Row, u64)> = Vec::with_capacity(rows.len());
    for row in rows {
        let hash = row.content_hash();
        let (number, new) = numbers.number(hash, |number| counted[number as usize].0 == row);
        if new {
            counted.push((row, 1));
        } else {
            counted[number as usize].1 += 1;
        }
    }
    counted
}

fn versions_in(host: &Name, second: Second, rows: &[(Row, u64)]) -> Vec<Delivery> {
    let rows = rows.iter().flat_map(|(row, count)| std::iter::repeat_n(row, *count as usize));
    let versions = rows.filter_map(|row| row.get(b"version"));
    versions.filter_map(|version| version_note(host, second, version)).collect()
}

/// The note that a host ran a version at a second; `None` for a text that is no version.
fn version_note(host: &[u8], second: Second, version: &[u8]) -> Option<Delivery> {
    version_rank(version)?;
    Some(note::delivery(note::VERSION, host, second, None, &[(b"version", version)]))
}

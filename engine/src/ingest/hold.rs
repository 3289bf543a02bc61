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

use super::columns::RowReader;
use super::line::{Action, Body, ResultLine, StatusLine};
use super::spill::{Place, Spill};
use crate::agent::version_rank;
use crate::catalogue::{Catalogue, ColumnType, StreamMap, table_of};
use crate::error::Error;
use crate::fact::{Delivery, Inferred, Kind, Name, Second, StreamKey};
use crate::note;
use crate::row::Row;
use rustc_hash::FxHashMap;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Bytes of rows that are held in memory, roughly, before they wait in a file.
pub const HELD_BYTES_MAX: usize = 32 << 20;

/// What a row costs beside its bytes, roughly.
const ROW_BYTES: usize = 48;

/// What a query's name stands for.
struct Meaning {
    table: Name,
    evented: bool,
    /// Declared `removed: false`.
    sightings: bool,
    /// The columns whose texts are rewritten.
    doubles: Vec<Name>,
    /// Whether its rows say which version the agent has.
    tells_version: bool,
}

/// A look whose lines still come.
#[derive(Clone)]
struct Held {
    stream: Arc<StreamKey>,
    epoch: u64,
    counter: Option<u64>,
    inferred: Inferred,
    removed: Vec<Row>,
    added: Vec<Row>,
    tells_version: bool,
}

/// One host's piece.
#[derive(Default)]
struct Piece {
    second: Second,
    looks: Vec<Held>,
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
    catalogue: Arc<Catalogue>,
    map: StreamMap,
    meanings: FxHashMap<Vec<u8>, Arc<Meaning>>,
    hosts: FxHashMap<Vec<u8>, Piece>,
    reader: RowReader,
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
            held_bytes: 0,
            held_bytes_max,
            spill,
            catalogue,
            map,
            meanings: FxHashMap::default(),
            hosts: FxHashMap::default(),
            reader: RowReader::new(),
            counts: HoldCounts::default(),
        }
    }

    /// Takes a line in; hands on the host's piece if its second has passed. Tells whether the host is new.
    pub fn line(&mut self, line: &ResultLine<'_>, out: &mut Vec<Delivery>) -> Result<bool, Error> {
        if self.held_bytes > self.held_bytes_max {
            self.spill_all_but(&line.host)?;
        }
        let new = !self.hosts.contains_key(&*line.host);
        if new {
            self.hosts.insert(line.host.to_vec(), Piece { second: line.second, ..Piece::default() });
        }
        let Some(piece) = self.hosts.get_mut(&*line.host) else {
            return Ok(false);
        };
        if let Some(place) = piece.spilled.take() {
            piece.take_back(self.spill.take(place)?);
            self.held_bytes += piece.bytes();
        }
        if piece.second != line.second {
            self.held_bytes = self.held_bytes.saturating_sub(piece.bytes());
            piece.end(&mut self.counts, out);
            piece.second = line.second;
        }
        piece.fresh = true;
        let kind = match line.body {
            Body::Snapshot(_) | Body::Row { action: Action::Snapshot, .. } => Some(Kind::Snapshot),
            _ => None,
        };
        let is_its = |(meaning, key): &(Arc<Meaning>, Arc<StreamKey>)| {
            key.kind == kind.unwrap_or(if meaning.evented { Kind::Event } else { Kind::Diff })
                && *key.name == *line.name
        };
        let place = match piece.streams.get(piece.last_stream) {
            Some(last) if is_its(last) => Some(piece.last_stream),
            _ => piece.streams.iter().position(is_its),
        };
        piece.last_stream = place.unwrap_or(piece.streams.len());
        let (meaning, stream) = match place {
            Some(place) => piece.streams[place].clone(),
            None => {
                let meaning = match self.meanings.get(&*line.name) {
                    Some(meaning) => meaning.clone(),
                    None => {
                        let meaning = Arc::new(meaning_of(&line.name, &self.map, &self.catalogue));
                        self.meanings.insert(line.name.to_vec(), meaning.clone());
                        meaning
                    }
                };
                let kind = kind.unwrap_or(if meaning.evented { Kind::Event } else { Kind::Diff });
                let stream = Arc::new(StreamKey {
                    table: meaning.table.clone(),
                    host: Name::from(&*line.host),
                    name: Name::from(&*line.name),
                    kind,
                    sightings: meaning.sightings && kind == Kind::Diff,
                });
                piece.streams.push((meaning.clone(), stream.clone()));
                (meaning, stream)
            }
        };
        let keeps_removed = stream.kind != Kind::Event && !stream.sightings;
        let is_double = |column: &[u8]| meaning.doubles.iter().any(|double| **double == *column);
        match line.body {
            Body::Row { action, columns } => {
                self.counts.rows += 1;
                if action == Action::Removed && !keeps_removed {
                    return Ok(new);
                }
                let row = Row::from_builder_bytes(self.reader.row(columns, is_double));
                self.held_bytes += row.as_bytes().len() + ROW_BYTES;
                let held = piece.held(&stream, line, meaning.tells_version);
                held.inferred = held.inferred.min(line.inferred);
                if action == Action::Removed { held.removed.push(row) } else { held.added.push(row) }
            }
            Body::Batch { removed, added } => {
                let (mut r, mut a) = (Vec::new(), Vec::new());
                self.reader.rows(removed, is_double, |row| r.push(Row::from_builder_bytes(row)));
                self.reader.rows(added, is_double, |row| a.push(Row::from_builder_bytes(row)));
                self.counts.rows += (r.len() + a.len()) as u64;
                if !keeps_removed {
                    r.clear();
                }
                self.counts.looks += 1;
                hand_on_whole(&stream, line, r, a, meaning.tells_version, out);
            }
            Body::Snapshot(list) => {
                let mut a = Vec::new();
                self.reader.rows(list, is_double, |row| a.push(Row::from_builder_bytes(row)));
                self.counts.rows += a.len() as u64;
                self.counts.looks += 1;
                hand_on_whole(&stream, line, Vec::new(), a, meaning.tells_version, out);
            }
        }
        Ok(new)
    }

    /// Lets the pieces of all other hosts wait in the file.
    fn spill_all_but(&mut self, host: &[u8]) -> Result<(), Error> {
        let others = self.hosts.iter_mut().filter(|(other, piece)| ***other != *host && !piece.looks.is_empty());
        for (_, piece) in others {
            self.held_bytes = self.held_bytes.saturating_sub(piece.bytes());
            piece.spilled = Some(self.spill.put(piece.deliveries())?);
            piece.looks = Vec::new();
        }
        // What cannot be put away is one host's: it is not tried again before it has doubled.
        self.held_bytes_max = self.held_bytes_max.max(self.held_bytes * 2);
        Ok(())
    }

    /// Notes the version that a status line tells.
    pub fn status(&mut self, line: &StatusLine<'_>, out: &mut Vec<Delivery>) {
        if let (Some(second), Some(version)) = (line.second, &line.version) {
            out.extend(version_note(&line.host, second, version));
        }
    }

    /// The input has ended: hands on pieces until there are more than `rows` rows of them, and forgets these; tells whether any are left.
    pub fn end_some(&mut self, rows: usize, out: &mut Vec<Delivery>) -> Result<bool, Error> {
        let mut handed_on = 0;
        while handed_on <= rows {
            let Some(host) = self.hosts.keys().next().cloned() else { return Ok(false) };
            let Some(mut piece) = self.hosts.remove(&host) else { return Ok(false) };
            if let Some(place) = piece.spilled.take() {
                piece.take_back(self.spill.take(place)?);
            } else {
                self.held_bytes = self.held_bytes.saturating_sub(piece.bytes());
            }
            handed_on += piece.looks.iter().map(|look| look.removed.len() + look.added.len()).sum::<usize>();
            piece.end(&mut self.counts, out);
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
                    copy.take_back(self.spill.read(place)?);
                    copy.hand_on(out);
                }
                None => piece.hand_on(out),
            }
        }
        Ok(())
    }
}

impl Piece {
    fn held(&mut self, stream: &Arc<StreamKey>, line: &ResultLine<'_>, tells_version: bool) -> &mut Held {
        let same =
            |held: &Held| Arc::ptr_eq(&held.stream, stream) && held.epoch == line.epoch && held.counter == line.counter;
        let place = match self.looks.iter().rposition(same) {
            Some(place) => place,
            None => {
                self.looks.push(Held {
                    stream: stream.clone(),
                    epoch: line.epoch,
                    counter: line.counter,
                    inferred: line.inferred,
                    removed: Vec::new(),
                    added: Vec::new(),
                    tells_version,
                });
                self.looks.len() - 1
            }
        };
        &mut self.looks[place]
    }

    /// What its rows cost.
    fn bytes(&self) -> usize {
        let rows = self.looks.iter().flat_map(|look| look.removed.iter().chain(&look.added));
        rows.map(|row| row.as_bytes().len() + ROW_BYTES).sum()
    }

    /// The looks as they are now.
    fn deliveries(&self) -> Vec<Delivery> {
        self.looks.iter().map(|held| held.clone().delivery(self.second)).collect()
    }

    /// Holds looks again that waited in a file.
    fn take_back(&mut self, deliveries: Vec<Delivery>) {
        let rows = |counted: Vec<(Row, u64)>| -> Vec<Row> {
            counted.into_iter().flat_map(|(row, count)| std::iter::repeat_n(row, count as usize)).collect()
        };
        for delivery in deliveries {
            let known = self.streams.iter().find(|(_, key)| *key == delivery.stream);
            let tells_version = known.is_some_and(|(meaning, _)| meaning.tells_version);
            self.looks.push(Held {
                stream: known.map_or(delivery.stream, |(_, key)| key.clone()),
                epoch: delivery.epoch,
                counter: delivery.counter,
                inferred: delivery.inferred,
                removed: rows(delivery.removed),
                added: rows(delivery.added),
                tells_version,
            });
        }
    }

    /// Hands on what is held, and keeps it.
    fn hand_on(&self, out: &mut Vec<Delivery>) {
        for held in self.looks.iter().filter(|held| held.tells_version) {
            out.extend(versions_in(&held.stream.host, self.second, &held.added));
        }
        out.extend(self.deliveries());
    }

    /// Counts what is held, hands it on if it is news, and forgets it.
    fn end(&mut self, counts: &mut HoldCounts, out: &mut Vec<Delivery>) {
        counts.looks += self.looks.len() as u64;
        if std::mem::take(&mut self.fresh) {
            self.looks.drain(..).for_each(|held| hand_on_held(held, self.second, out));
        }
        self.looks.clear();
    }
}

fn hand_on_whole(
    stream: &Arc<StreamKey>,
    line: &ResultLine<'_>,
    removed: Vec<Row>,
    added: Vec<Row>,
    tells_version: bool,
    out: &mut Vec<Delivery>,
) {
    if tells_version {
        out.extend(versions_in(&stream.host, line.second, &added));
    }
    out.push(Delivery {
        stream: stream.clone(),
        epoch: line.epoch,
        counter: line.counter,
        second: line.second,
        whole: true,
        inferred: line.inferred,
        removed: counted(removed),
        added: counted(added),
    });
}

impl Held {
    /// The look as one delivery.
    fn delivery(self, second: Second) -> Delivery {
        Delivery {
            stream: self.stream,
            epoch: self.epoch,
            counter: self.counter,
            second,
            whole: false,
            inferred: self.inferred,
            removed: counted(self.removed),
            added: counted(self.added),
        }
    }
}

fn hand_on_held(held: Held, second: Second, out: &mut Vec<Delivery>) {
    if held.tells_version {
        out.extend(versions_in(&held.stream.host, second, &held.added));
    }
    out.push(held.delivery(second));
}

fn meaning_of(name: &[u8], map: &StreamMap, catalogue: &Catalogue) -> Meaning {
    let mapping = table_of(name, map, catalogue);
    let evented = catalogue.is_evented(&mapping.table);
    let columns = catalogue.table(&mapping.table).map(|table| table.columns()).unwrap_or_default();
    let doubles = columns.iter().filter(|column| column.kind == ColumnType::Double);
    Meaning {
        evented,
        sightings: !mapping.removed,
        doubles: doubles.map(|column| Name::from(column.name.as_bytes())).collect(),
        tells_version: *mapping.table == *b"osquery_info",
        table: mapping.table,
    }
}

/// Equal rows, counted.
fn counted(rows: Vec<Row>) -> Vec<(Row, u64)> {
    // By hash, since only equal rows must come together.
    let mut rows: Vec<(u64, Row)> = rows.into_iter().map(|row| (xxh3_64(row.as_bytes()), row)).collect();
    rows.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.as_bytes().cmp(b.1.as_bytes())));
    let mut counted: Vec<(Row, u64)> = Vec::with_capacity(rows.len());
    for (_, row) in rows {
        match counted.last_mut() {
            Some((last, count)) if *last == row => *count += 1,
            _ => counted.push((row, 1)),
        }
    }
    counted
}

fn versions_in(host: &Name, second: Second, rows: &[Row]) -> Vec<Delivery> {
    let versions = rows.iter().filter_map(|row| row.get(b"version"));
    versions.filter_map(|version| version_note(host, second, version)).collect()
}

/// The note that a host ran a version at a second; `None` for a text that is no version.
fn version_note(host: &[u8], second: Second, version: &[u8]) -> Option<Delivery> {
    version_rank(version)?;
    Some(note::delivery(note::VERSION, host, second, None, &[(b"version", version)]))
}

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

use super::columns::RowReader;
use super::line::{Action, Body, ResultLine, StatusLine};
use crate::agent::version_rank;
use crate::catalogue::{Catalogue, ColumnType, StreamMap, table_of};
use crate::fact::{Delivery, Inferred, Kind, Name, Second, StreamKey, note};
use crate::read::view::note_key;
use crate::row::{Row, RowBuilder};
use rustc_hash::FxHashMap;
use std::sync::Arc;

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
    /// Whole-line looks and notes, in the order they came.
    whole: Vec<Delivery>,
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
    pub fn new(catalogue: Arc<Catalogue>, map: StreamMap) -> Hold {
        Hold {
            catalogue,
            map,
            meanings: FxHashMap::default(),
            hosts: FxHashMap::default(),
            reader: RowReader::new(),
            counts: HoldCounts::default(),
        }
    }

    /// Takes a line in; hands on the host's piece if its second has passed. Tells whether the host is new.
    pub fn line(&mut self, line: &ResultLine<'_>, out: &mut Vec<Delivery>) -> bool {
        let new = !self.hosts.contains_key(&*line.host);
        if new {
            self.hosts.insert(line.host.to_vec(), Piece { second: line.second, ..Piece::default() });
        }
        let Some(piece) = self.hosts.get_mut(&*line.host) else {
            return false;
        };
        if piece.second != line.second {
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
                    return new;
                }
                let row = Row::from_builder_bytes(self.reader.row(columns, is_double));
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
                piece.whole(&stream, line, r, a, meaning.tells_version);
            }
            Body::Snapshot(list) => {
                let mut a = Vec::new();
                self.reader.rows(list, is_double, |row| a.push(Row::from_builder_bytes(row)));
                self.counts.rows += a.len() as u64;
                piece.whole(&stream, line, Vec::new(), a, meaning.tells_version);
            }
        }
        new
    }

    /// Notes the version that a status line tells.
    pub fn status(&mut self, line: &StatusLine<'_>, out: &mut Vec<Delivery>) {
        if let (Some(second), Some(version)) = (line.second, &line.version) {
            out.extend(version_note(&line.host, second, version));
        }
    }

    /// Hands on everything that is held, and forgets it: the input has ended.
    pub fn end(&mut self, out: &mut Vec<Delivery>) {
        for (_, mut piece) in self.hosts.drain() {
            piece.end(&mut self.counts, out);
        }
    }

    /// Hands on everything that is held, and keeps it: nothing came for a while.
    pub fn idle(&mut self, out: &mut Vec<Delivery>) {
        for piece in self.hosts.values_mut() {
            piece.hand_on(out);
        }
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

    fn whole(
        &mut self,
        stream: &Arc<StreamKey>,
        line: &ResultLine<'_>,
        removed: Vec<Row>,
        added: Vec<Row>,
        tells_version: bool,
    ) {
        if tells_version {
            self.whole.extend(versions_in(&stream.host, line.second, &added));
        }
        self.whole.push(Delivery {
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

    /// Hands on what is held, and keeps it.
    fn hand_on(&mut self, out: &mut Vec<Delivery>) {
        if !std::mem::take(&mut self.fresh) {
            return;
        }
        out.extend(self.whole.iter().cloned());
        for held in &self.looks {
            let (removed, added) = (held.removed.clone(), held.added.clone());
            hand_on_held(Held { stream: held.stream.clone(), removed, added, ..*held }, self.second, out);
        }
    }

    /// Counts what is held, hands it on if it is news, and forgets it.
    fn end(&mut self, counts: &mut HoldCounts, out: &mut Vec<Delivery>) {
        counts.looks += self.looks.len() as u64;
        counts.looks += self.whole.iter().filter(|delivery| delivery.stream.kind != Kind::Note).count() as u64;
        let fresh = std::mem::take(&mut self.fresh);
        if fresh {
            out.append(&mut self.whole);
            self.looks.drain(..).for_each(|held| hand_on_held(held, self.second, out));
        }
        self.looks.clear();
        self.whole.clear();
    }
}

fn hand_on_held(held: Held, second: Second, out: &mut Vec<Delivery>) {
    if held.tells_version {
        out.extend(versions_in(&held.stream.host, second, &held.added));
    }
    out.push(Delivery {
        stream: held.stream,
        epoch: held.epoch,
        counter: held.counter,
        second,
        whole: false,
        inferred: held.inferred,
        removed: counted(held.removed),
        added: counted(held.added),
    });
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
fn counted(mut rows: Vec<Row>) -> Vec<(Row, u64)> {
    rows.sort_unstable_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    let mut counted: Vec<(Row, u64)> = Vec::with_capacity(rows.len());
    for row in rows {
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
    Some(note_delivery(note::VERSION, host, second, None, &[(b"version", version)]))
}

/// A note as a delivery.
pub(super) fn note_delivery(
    table: &[u8],
    host: &[u8],
    second: Second,
    number: Option<u64>,
    columns: &[(&[u8], &[u8])],
) -> Delivery {
    let mut builder = RowBuilder::new();
    columns.iter().for_each(|(name, text)| builder.column(name, text));
    Delivery {
        stream: Arc::new(note_key(table, host)),
        epoch: 0,
        counter: number,
        second,
        whole: false,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: vec![(builder.row(), 1)],
    }
}

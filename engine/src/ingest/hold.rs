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
//! - Rows that are held keep no more of the buffers that they came in than is held at most.
//! - Memory is bounded: when the rows held for all hosts exceed [`HELD_BYTES_MAX`], the pieces of all but the host at
//!   hand wait in a file. The one look that lines are added to must fit in memory.
//!
//! A line that holds a whole look is handed on at once.

use super::kept;
use super::line::ResultLine;
use super::parse::{Item, Meaning, Parsed, Parser, Said, tells_version};
use super::spill::{Place, Spill};
use crate::agent::version_rank;
use crate::catalogue::{Catalogue, StreamMap};
use crate::error::Error;
use crate::fact::{Delivery, Inferred, Kind, Name, Second, StreamKey};
use crate::note;
use crate::numbering::Numbering;
use crate::row::Row;
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Bytes of rows that are held in memory, roughly, before they wait in a file.
pub const HELD_BYTES_MAX: usize = 16 << 20;

/// What a row costs beside its bytes, roughly.
const ROW_BYTES: usize = 48;

/// What a look costs beside its rows, roughly.
const LOOK_BYTES: usize = size_of::<Held>() + 128;

/// So many rows are compared each with each.
const FEW_ROWS: usize = 16;

/// One side of a look whose lines still come.
#[derive(Clone, Default)]
struct HeldRows {
    /// Equal rows may stand here several times.
    rows: Vec<(Row, u64)>,
    /// How many of them lie in buffers of their own, and not in those that the lines came in.
    moved: usize,
}

impl HeldRows {
    fn extend(&mut self, rows: impl ExactSizeIterator<Item = Row>) {
        self.rows.extend(rows.map(|row| (row, 1)));
    }

    /// Lets go of the buffers that the lines came in.
    fn move_out(&mut self) {
        let mut rows: Vec<Row> = self.rows[self.moved..].iter().map(|(row, _)| row.clone()).collect();
        Row::gather(&mut rows);
        for (held, row) in self.rows[self.moved..].iter_mut().zip(rows) {
            held.0 = row;
        }
        self.moved = self.rows.len();
    }
}

/// Counts equal rows, in the order in which they first came.
fn counted(rows: Vec<(Row, u64)>) -> Vec<(Row, u64)> {
    // Rows of a look are mostly distinct, and few.
    let hash = |row: &(Row, u64)| row.0.content_hash();
    let distinct = |(i, row)| !rows[..i].iter().any(|before| hash(before) == hash(row));
    if rows.len() <= FEW_ROWS && rows.iter().enumerate().all(distinct) {
        return rows;
    }
    let mut numbers = Numbering::with_capacity(rows.len());
    let mut counted: Vec<(Row, u64)> = Vec::with_capacity(rows.len());
    for (row, count) in rows {
        let (number, new) = numbers.number(row.content_hash(), |number| counted[number as usize].0 == row);
        if new {
            counted.push((row, count));
        } else {
            counted[number as usize].1 += count;
        }
    }
    counted
}

/// A look whose lines still come.
#[derive(Clone)]
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
    /// The host's name, which all its streams share.
    host: Name,
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
    /// The names of queries, each once, however many hosts have it.
    names: FxHashSet<Name>,
    /// Bytes of the buffers in which lines came since held rows were moved out of such.
    buffer_bytes: usize,
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
            names: FxHashSet::default(),
            buffer_bytes: 0,
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
        self.parser.one(line, &mut parsed);
        self.begin(&parsed);
        let mut new = false;
        let mut from = 0;
        for item in &parsed.items {
            new |= self.take(&parsed, item, &mut from, out)?;
        }
        self.parsed = parsed;
        Ok(new)
    }

    /// Takes whole lines of an input in, the first of which begins at `offset` in it, as an import and a producer do: hands
    /// on what has passed, and notes of what is no result.
    pub fn lines(&mut self, input: &[u8], offset: u64, lines: &[u8], out: &mut Vec<Delivery>) -> Result<(), Error> {
        let mut parsed = std::mem::take(&mut self.parsed);
        parsed.clear();
        self.parser.block(lines, offset, &mut parsed);
        self.begin(&parsed);
        let mut row = 0;
        for item in &parsed.items {
            match item {
                Item::Rows { .. } | Item::Whole { .. } => drop(self.take(&parsed, item, &mut row, out)?),
                Item::Status { host, second, version } => self.status(host, *second, version.as_deref(), out),
                Item::Dead { offset, reason, head, length } => {
                    out.push(note::of_dead(input, *offset, reason.code(), head, *length));
                }
            }
        }
        self.parsed = parsed;
        Ok(())
    }

    /// What is parsed will be taken in now: makes sure that the rows held do not keep too many buffers.
    pub(super) fn begin(&mut self, parsed: &Parsed) {
        self.buffer_bytes += parsed.buffer_bytes();
        if self.buffer_bytes > self.held_bytes_max {
            self.buffer_bytes = parsed.buffer_bytes();
            for held in self.hosts.values_mut().flat_map(|piece| &mut piece.looks) {
                held.removed.move_out();
                held.added.move_out();
            }
        }
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
            Entry::Vacant(new) => {
                let host = new.key().clone();
                (new.insert(Piece { host, second: said.second, ..Piece::default() }), true)
            }
        };
        if let Some(place) = piece.spilled.take() {
            piece.take_back(self.spill.take(place)?);
            self.held_bytes += piece.bytes;
        }
        if piece.second != said.second {
            self.held_bytes = self.held_bytes.saturating_sub(piece.bytes);
            piece.end(&mut self.counts, out);
            piece.second = said.second;
        }
        piece.fresh = true;
        let stream = piece.stream(said, &mut self.names);
        let keeps_removed = stream.kind != Kind::Event && !stream.sightings;
        match *item {
            Item::Rows { rows: count, .. } => {
                let rows = parsed.rows(*from, count);
                let bytes = parsed.row_bytes(*from, count) + rows.len() * ROW_BYTES;
                *from += count as usize;
                self.counts.rows += u64::from(count);
                if said.removed && !keeps_removed {
                    return Ok(new);
                }
                let (held, new) = piece.held(&stream, said);
                let bytes = bytes + if new { LOOK_BYTES } else { 0 };
                held.inferred = held.inferred.min(said.inferred);
                if said.removed {
                    held.removed.extend(rows)
                } else {
                    held.added.extend(rows)
                }
                self.held_bytes += bytes;
                piece.bytes += bytes;
            }
            Item::Whole { removed, added, .. } => {
                let r = parsed.rows(*from, if keeps_removed { removed } else { 0 });
                *from += removed as usize;
                let a = parsed.rows(*from, added);
                *from += added as usize;
                self.counts.rows += u64::from(removed) + u64::from(added);
                self.counts.looks += 1;
                let [r, a] = [r, a].map(|rows| counted(rows.map(|row| (row, 1)).collect()));
                hand_on_whole(stream, said, r, a, out);
            }
            Item::Status { .. } | Item::Dead { .. } => {}
        }
        Ok(new)
    }

    /// The name of a host that was taken in, which its streams share.
    pub(super) fn host(&self, host: &[u8]) -> Option<&Name> {
        self.hosts.get_key_value(host).map(|(name, _)| name)
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
    pub fn status(&self, host: &[u8], second: Option<Second>, version: Option<&[u8]>, out: &mut Vec<Delivery>) {
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
                piece.take_back(self.spill.take(place)?);
            } else {
                self.held_bytes = self.held_bytes.saturating_sub(piece.bytes);
            }
            handed_on += piece.looks.iter().map(|look| look.removed.rows.len() + look.added.rows.len()).sum::<usize>();
            piece.end(&mut self.counts, out);
        }
        Ok(true)
    }

    /// Appends what is held of a host, so that it can be [held again](Self::hold_again); nothing if nothing is.
    pub(super) fn keep(&mut self, host: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(piece) = self.hosts.get(host) else { return Ok(()) };
        match piece.spilled {
            Some(place) => kept::encode(self.spill.read(place)?.iter().map(HeldLook::from), out),
            None if piece.looks.is_empty() => {}
            None => kept::encode(piece.looks.iter().map(|held| held.look(piece.second)), out),
        }
        Ok(())
    }

    /// Holds again what was held of a host when it was kept elsewhere; all of one second.
    pub(super) fn hold_again(&mut self, deliveries: Vec<Delivery>) {
        let Some(first) = deliveries.first() else { return };
        let (host, second) = (first.stream.host.clone(), first.second);
        let piece = Piece { host: host.clone(), second, fresh: true, ..Piece::default() };
        let piece = self.hosts.entry(host).or_insert(piece);
        let before = piece.bytes;
        piece.take_back(deliveries);
        self.held_bytes += piece.bytes - before;
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
    /// The host's stream that a line is of.
    fn stream(&mut self, said: &Said, names: &mut FxHashSet<Name>) -> Arc<StreamKey> {
        let is_its = |(_, key): &(Arc<Meaning>, Arc<StreamKey>)| key.kind == said.kind && *key.name == *said.name;
        let place = match self.streams.get(self.last_stream) {
            Some(last) if is_its(last) => self.last_stream,
            _ => self.streams.iter().position(is_its).unwrap_or(self.streams.len()),
        };
        self.last_stream = place;
        if let Some((_, stream)) = self.streams.get(place) {
            return stream.clone();
        }
        if !names.contains(&said.name) {
            names.insert(said.name.clone());
        }
        let stream = Arc::new(StreamKey {
            table: said.meaning.table.clone(),
            host: self.host.clone(),
            name: names.get(&said.name).unwrap_or(&said.name).clone(),
            kind: said.kind,
            sightings: said.meaning.sightings && said.kind == Kind::Diff,
        });
        self.streams.reserve_exact(1);
        self.streams.push((said.meaning.clone(), stream.clone()));
        stream
    }

    /// The look that a line is of, and whether it is new.
    fn held(&mut self, stream: &Arc<StreamKey>, said: &Said) -> (&mut Held, bool) {
        let same = |held: &Held| held.is_of(stream) && held.epoch == said.epoch && held.counter == said.counter;
        let known = self.looks.iter().rposition(same);
        let place = match known {
            Some(place) => place,
            None => {
                if self.looks.is_empty() {
                    self.looks.reserve_exact(1);
                }
                self.looks.push(Held {
                    stream: stream.clone(),
                    epoch: said.epoch,
                    counter: said.counter,
                    inferred: said.inferred,
                    removed: HeldRows::default(),
                    added: HeldRows::default(),
                    tells_version: said.meaning.tells_version,
                });
                self.looks.len() - 1
            }
        };
        (&mut self.looks[place], known.is_none())
    }

    /// The looks as they are now.
    fn deliveries(&self) -> Vec<Delivery> {
        self.looks.iter().map(|held| held.clone().delivery(self.second)).collect()
    }

    /// Holds looks again that waited in a file.
    fn take_back(&mut self, deliveries: Vec<Delivery>) {
        for delivery in deliveries {
            let known = self.streams.iter().find(|(_, key)| *key == delivery.stream);
            self.bytes += LOOK_BYTES;
            let [removed, added] = [delivery.removed, delivery.added].map(|rows| {
                let bytes = rows.iter().map(|(row, _)| row.as_bytes().len() + ROW_BYTES);
                self.bytes += bytes.sum::<usize>();
                HeldRows { moved: rows.len(), rows }
            });
            self.looks.push(Held {
                tells_version: tells_version(&delivery.stream.table),
                stream: known.map_or(delivery.stream, |(_, key)| key.clone()),
                epoch: delivery.epoch,
                counter: delivery.counter,
                inferred: delivery.inferred,
                removed,
                added,
            });
        }
    }

    /// Hands on what is held, and keeps it.
    fn hand_on(&self, out: &mut Vec<Delivery>) {
        self.looks.iter().for_each(|held| hand_on_held(held.clone(), self.second, out));
    }

    /// Counts what is held, hands it on if it is news, and forgets it.
    fn end(&mut self, counts: &mut HoldCounts, out: &mut Vec<Delivery>) {
        counts.looks += self.looks.len() as u64;
        if std::mem::take(&mut self.fresh) {
            self.looks.drain(..).for_each(|held| hand_on_held(held, self.second, out));
        }
        // A host that says little for long keeps no room for more.
        self.looks = Vec::new();
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

/// A look that is held, as it is kept elsewhere.
pub(super) struct HeldLook<'l> {
    pub(super) stream: &'l StreamKey,
    pub(super) epoch: u64,
    pub(super) counter: Option<u64>,
    pub(super) second: Second,
    pub(super) inferred: Inferred,
    /// Equal rows may stand here several times.
    pub(super) removed: &'l [(Row, u64)],
    pub(super) added: &'l [(Row, u64)],
}

impl<'l> From<&'l Delivery> for HeldLook<'l> {
    fn from(look: &'l Delivery) -> HeldLook<'l> {
        HeldLook {
            stream: &look.stream,
            epoch: look.epoch,
            counter: look.counter,
            second: look.second,
            inferred: look.inferred,
            removed: &look.removed,
            added: &look.added,
        }
    }
}

impl Held {
    fn look(&self, second: Second) -> HeldLook<'_> {
        HeldLook {
            stream: &self.stream,
            epoch: self.epoch,
            counter: self.counter,
            second,
            inferred: self.inferred,
            removed: &self.removed.rows,
            added: &self.added.rows,
        }
    }

    fn is_of(&self, stream: &Arc<StreamKey>) -> bool {
        Arc::ptr_eq(&self.stream, stream) || self.stream == *stream
    }

    /// The look as one delivery.
    fn delivery(self, second: Second) -> Delivery {
        Delivery {
            stream: self.stream,
            epoch: self.epoch,
            counter: self.counter,
            second,
            whole: false,
            inferred: self.inferred,
            removed: counted(self.removed.rows),
            added: counted(self.added.rows),
        }
    }
}

fn hand_on_held(held: Held, second: Second, out: &mut Vec<Delivery>) {
    let (stream, tells_version) = (held.stream.clone(), held.tells_version);
    let delivery = held.delivery(second);
    if tells_version {
        out.extend(versions_in(&stream.host, second, &delivery.added));
    }
    out.push(delivery);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::line::{Line, read_line};
    use crate::io::MemoryStorage;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn hold(held_bytes_max: usize) -> Hold {
        let spill = Spill::new(Arc::new(MemoryStorage::new()));
        Hold::new(Catalogue::shipped(), StreamMap::empty(), spill, held_bytes_max)
    }

    fn line(hold: &mut Hold, host: u64, second: u64, action: &str, text: &str, out: &mut Vec<Delivery>) {
        let line = format!(
            r#"{{"name":"users","hostIdentifier":"{host}","unixTime":{second},"columns":{{"a":"{text}"}},"action":"{action}"}}"#
        );
        let Line::Result(line) = read_line(line.as_bytes()) else { panic!("{line}") };
        hold.line(&line, out).unwrap();
    }

    /// One quiet host among busy ones must not keep the buffers of all lines since.
    #[test]
    fn rows_that_are_held_do_not_keep_what_came_with_them() {
        let max = 64 << 10;
        let mut hold = hold(max);
        let mut parser = Parser::new(Catalogue::shipped(), StreamMap::empty());
        for block in 0..200 {
            let of = |host: String, text: &str| {
                format!(
                    r#"{{"name":"users","hostIdentifier":"{host}","unixTime":{block},"columns":{{"a":"{text}"}},"action":"added"}}"#
                )
            };
            let text = [of(format!("quiet {block}"), "1"), of("busy".to_owned(), &"x".repeat(10_000))].join("\n");
            let mut parsed = Parsed::default();
            parser.block(text.as_bytes(), 0, &mut parsed);
            hold.begin(&parsed);
            let mut from = 0;
            for item in &parsed.items {
                hold.take(&parsed, item, &mut from, &mut Vec::new()).unwrap();
            }
        }
        assert_eq!(hold.hosts.len(), 201);
        let looks = hold.hosts.values().flat_map(|piece| &piece.looks);
        let kept: usize = looks.flat_map(|look| &look.added.rows).map(|(row, _)| row.buffer_bytes()).sum();
        assert!(kept < max * 2, "{kept} bytes are kept by 200 rows of 4 bytes");
    }

    /// The deliveries by look, with their rows in order.
    fn in_order(deliveries: Vec<Delivery>) -> Vec<Delivery> {
        let mut deliveries: Vec<Delivery> = deliveries
            .into_iter()
            .map(|mut delivery| {
                delivery.removed.sort();
                delivery.added.sort();
                delivery
            })
            .collect();
        deliveries.sort_by_key(|delivery| (delivery.second, delivery.stream.clone()));
        deliveries
    }

    proptest! {
        /// Against counting in a map, with as little memory as there may be and with all.
        #[test]
        fn lines_add_up_whatever_memory_there_is(
            lines in prop::collection::vec((0u64..3, 0u64..9, any::<bool>(), 0u32..30), 0..120),
            held_bytes_max in prop_oneof![Just(0usize), Just(200), Just(2000), Just(usize::MAX)],
        ) {
            let mut lines = lines;
            // Seconds go on, so that the pieces are the looks.
            lines.sort_by_key(|(_, second, ..)| *second);
            let mut expected: BTreeMap<(u64, String), [BTreeMap<Row, u64>; 2]> = BTreeMap::new();
            let (mut hold, mut out) = (hold(held_bytes_max), Vec::new());
            for (host, second, added, text) in &lines {
                line(&mut hold, *host, *second, if *added { "added" } else { "removed" }, &text.to_string(), &mut out);
                let mut builder = crate::row::RowBuilder::new();
                builder.column(b"a", text.to_string().as_bytes());
                let sides = expected.entry((*second, host.to_string())).or_default();
                *sides[usize::from(*added)].entry(builder.row()).or_default() += 1;
            }
            hold.end_some(usize::MAX, &mut out).unwrap();
            let found = in_order(out).into_iter().map(|delivery| {
                let host = String::from_utf8(delivery.stream.host.to_vec()).unwrap();
                ((delivery.second as u64, host), [delivery.removed, delivery.added])
            });
            let expected = expected.into_iter().map(|(look, sides)| (look, sides.map(|side| side.into_iter().collect())));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<(_, [Vec<(Row, u64)>; 2])>>());
        }
    }
}

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
//! - Memory is bounded: the rows that are held in memory for all hosts are no more than [`HELD_BYTES_MAX`] and those of
//!   one host's piece; the others wait in a file. A piece must fit in memory when it is handed on.
//! - What waits is what would be held: what is handed on, and in which order, does not depend on what waited.
//! - A row is written to the file once, and once more for each joining of parts, of which there are few; it is read once
//!   for each writing, and whenever its piece is handed on or kept while it is held. So work grows with the lines, in
//!   whatever order hosts follow each other.
//!
//! Steps, where memory does not suffice: what all hosts but the one at hand hold in memory is put away, for each as one
//! more *part* of its piece → lines that come later begin the piece's looks in memory once more → when the piece ends,
//! its parts and what is in memory are joined, look by look, in the order in which they came. Nothing before that needs
//! the rows that wait. Many hosts have small parts; those of a piece are joined eight by eight until they are no longer
//! short, so that a piece has few.
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

/// So many short parts of a piece that were joined equally often are joined.
const JOINED_PARTS: usize = 8;

/// A part is short if its looks have fewer bytes.
const SHORT_BYTES: u64 = 64 << 10;

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

    /// Rows that were decoded, each in a buffer of its own.
    fn decoded(rows: Vec<(Row, u64)>) -> HeldRows {
        let with_hash = |(row, count): (Row, u64)| {
            let hash = row.content_hash();
            (row.with_hash(hash), count)
        };
        HeldRows { moved: rows.len(), rows: rows.into_iter().map(with_hash).collect() }
    }

    /// Adds rows that came later.
    fn append(&mut self, mut later: HeldRows) {
        if self.moved == self.rows.len() {
            self.moved += later.moved;
        }
        self.rows.append(&mut later.rows);
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

/// Looks of a piece that wait in the file.
struct Part {
    place: Place,
    /// How often its rows were joined with those of parts beside it.
    joins: u8,
}

/// One host's piece.
#[derive(Default)]
struct Piece {
    /// The host's name, which all its streams share.
    host: Name,
    second: Second,
    /// What is held in memory of its looks.
    looks: Vec<Held>,
    /// What the rows of `looks` cost.
    bytes: usize,
    /// What waits of them: it came before that, in this order.
    parts: Vec<Part>,
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
    /// When more is held in memory, others than the host at hand are put away. It is half of the bound, or more, above
    /// what was held last time they were, so that this is rare.
    put_away_above: usize,
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
            put_away_above: held_bytes_max,
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
        if self.held_bytes > self.put_away_above {
            self.put_away_all_but(&said.host)?;
        }
        let (piece, new) = match self.hosts.entry(said.host.clone()) {
            Entry::Occupied(known) => (known.into_mut(), false),
            Entry::Vacant(new) => {
                let host = new.key().clone();
                (new.insert(Piece { host, second: said.second, ..Piece::default() }), true)
            }
        };
        if piece.second != said.second {
            piece.join(&mut self.spill)?;
            self.held_bytes = self.held_bytes.saturating_sub(piece.bytes);
            self.put_away_above = self.put_away_above.min(most_with(self.held_bytes, self.held_bytes_max));
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

    /// Lets what all other hosts hold in memory wait in the file.
    fn put_away_all_but(&mut self, host: &[u8]) -> Result<(), Error> {
        let others = self.hosts.iter_mut().filter(|(other, piece)| ***other != *host && !piece.looks.is_empty());
        for (_, piece) in others {
            piece.put_away(&mut self.spill)?;
            self.held_bytes = self.held_bytes.saturating_sub(std::mem::take(&mut piece.bytes));
        }
        self.put_away_above = most_with(self.held_bytes, self.held_bytes_max);
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
            self.held_bytes = self.held_bytes.saturating_sub(piece.bytes);
            self.put_away_above = self.put_away_above.min(most_with(self.held_bytes, self.held_bytes_max));
            piece.join(&mut self.spill)?;
            handed_on += piece.looks.iter().map(|look| look.removed.rows.len() + look.added.rows.len()).sum::<usize>();
            piece.end(&mut self.counts, out);
        }
        Ok(true)
    }

    /// Appends what is held of a host, so that it can be [held again](Self::hold_again); nothing if nothing is.
    pub(super) fn keep(&mut self, host: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let Some(piece) = self.hosts.get(host) else { return Ok(()) };
        if piece.parts.is_empty() && piece.looks.is_empty() {
            return Ok(());
        }
        let joined;
        let looks = if piece.parts.is_empty() {
            &piece.looks
        } else {
            joined = piece.joined(0, &mut self.spill)?;
            &joined
        };
        kept::encode(looks.iter().map(|held| held.look(piece.second)), out);
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
            let looks = piece.joined(0, &mut self.spill)?;
            looks.into_iter().for_each(|held| hand_on_held(held, piece.second, out));
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

    /// A look that was held once.
    fn held_again(&self, look: Delivery) -> Held {
        let known = self.streams.iter().find(|(_, key)| *key == look.stream);
        Held {
            tells_version: tells_version(&look.stream.table),
            stream: known.map_or(look.stream, |(_, key)| key.clone()),
            epoch: look.epoch,
            counter: look.counter,
            inferred: look.inferred,
            removed: HeldRows::decoded(look.removed),
            added: HeldRows::decoded(look.added),
        }
    }

    /// Holds looks again that were kept elsewhere.
    fn take_back(&mut self, looks: Vec<Delivery>) {
        for look in looks {
            let rows = look.removed.iter().chain(&look.added);
            self.bytes += LOOK_BYTES + rows.map(|(row, _)| row.as_bytes().len() + ROW_BYTES).sum::<usize>();
            self.looks.push(self.held_again(look));
        }
    }

    /// What waits in the parts from one on and what is held in memory, each look once.
    fn joined(&self, from: usize, spill: &mut Spill) -> Result<Vec<Held>, Error> {
        let parts = &self.parts[from..];
        if parts.is_empty() {
            return Ok(self.looks.clone());
        }
        let mut joined = Joined::default();
        for part in parts {
            let looks = spill.read(part.place)?;
            looks.into_iter().for_each(|look| joined.add(self.held_again(look)));
        }
        self.looks.iter().for_each(|held| joined.add(held.clone()));
        Ok(joined.looks)
    }

    /// Lets what is held in memory wait as one more part, joined with those before it where they are short and many.
    ///
    /// A part whose rows were joined `n` times holds what was put away `JOINED_PARTS` to the power of `n` times or more, and
    /// is joined again only while it is short: so a row is joined few times, and a piece has few short parts in a row.
    fn put_away(&mut self, spill: &mut Spill) -> Result<(), Error> {
        let (mut from, mut joins) = (self.parts.len(), 0);
        loop {
            let is_like = |part: &&Part| part.joins == joins && spill.raw_len(part.place) < SHORT_BYTES;
            let like = self.parts[..from].iter().rev().take_while(is_like).count();
            if like + 1 < JOINED_PARTS {
                break;
            }
            (from, joins) = (from - like, joins + 1);
        }
        let looks = self.joined(from, spill)?;
        let looks: Vec<Delivery> = looks.into_iter().map(|held| held.delivery(self.second)).collect();
        let place = spill.put(&looks)?;
        self.looks = Vec::new();
        self.parts.drain(from..).for_each(|part| spill.forget(part.place));
        self.parts.push(Part { place, joins });
        Ok(())
    }

    /// Holds in memory what waits, to end it. Also of a piece that is no news: whoever handed it on may have met a fault.
    fn join(&mut self, spill: &mut Spill) -> Result<(), Error> {
        if self.parts.is_empty() {
            return Ok(());
        }
        self.looks = self.joined(0, spill)?;
        std::mem::take(&mut self.parts).into_iter().for_each(|part| spill.forget(part.place));
        Ok(())
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

/// What may be held in memory before others than the host at hand are put away, if so much is held now.
fn most_with(held_bytes: usize, held_bytes_max: usize) -> usize {
    held_bytes_max.max(held_bytes.saturating_add(held_bytes_max / 2))
}

/// Looks that came in parts, each once, in the order in which they first came.
#[derive(Default)]
struct Joined {
    looks: Vec<Held>,
    /// The places of looks by stream, epoch and counter.
    places: FxHashMap<(Arc<StreamKey>, u64, Option<u64>), usize>,
}

impl Joined {
    fn add(&mut self, held: Held) {
        match self.places.entry((held.stream.clone(), held.epoch, held.counter)) {
            Entry::Occupied(known) => self.looks[*known.get()].append(held),
            Entry::Vacant(new) => {
                new.insert(self.looks.len());
                self.looks.push(held);
            }
        }
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

    /// Adds lines of the look that came later.
    fn append(&mut self, later: Held) {
        self.inferred = self.inferred.min(later.inferred);
        self.removed.append(later.removed);
        self.added.append(later.added);
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
        hold_in(&MemoryStorage::new(), held_bytes_max, 64 << 10)
    }

    /// One whose file is written at once and begun anew at this length.
    fn hold_in(storage: &MemoryStorage, held_bytes_max: usize, anew_bytes: u64) -> Hold {
        let spill = Spill::new(Arc::new(storage.clone())).with_lengths(anew_bytes, 0);
        Hold::new(Catalogue::shipped(), StreamMap::empty(), spill, held_bytes_max)
    }

    fn read(hold: &mut Hold, line: &str, out: &mut Vec<Delivery>) {
        let Line::Result(line) = read_line(line.as_bytes()) else { panic!("{line}") };
        hold.line(&line, out).unwrap();
    }

    /// Numbers without a pattern, always the same.
    struct Chance(u64);

    impl Chance {
        fn next(&mut self) -> u64 {
            // The multiplier is Knuth's; the lower bits are poor.
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.0 >> 32
        }

        fn text(&mut self, len: usize) -> String {
            (0..len).map(|_| char::from(b'a' + (self.next() % 26) as u8)).collect()
        }
    }

    fn line(hold: &mut Hold, host: u64, second: u64, action: &str, text: &str, out: &mut Vec<Delivery>) {
        let line = format!(
            r#"{{"name":"users","hostIdentifier":"{host}","unixTime":{second},"columns":{{"a":"{text}"}},"action":"{action}"}}"#
        );
        read(hold, &line, out);
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
            lines in prop::collection::vec((0u64..3, 0u64..5, any::<bool>(), 0u32..30), 0..300),
            held_bytes_max in prop_oneof![Just(0usize), Just(200), Just(2000), Just(usize::MAX)],
        ) {
            let mut lines = lines;
            // Seconds go on, so that the pieces are the looks; hosts take turns, so that pieces wait in several parts.
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

        /// Of any sorts of lines, whatever waits, is joined or copied meanwhile, and whoever asks for it.
        #[test]
        fn what_waits_is_what_would_be_held(
            steps in prop::collection::vec(step(), 0..400),
            held_bytes_max in prop_oneof![4 => Just(0usize), 1 => Just(600), 1 => Just(3000)],
            anew_bytes in prop_oneof![Just(0u64), Just(2000), Just(u64::MAX)],
        ) {
            let mut bounded = hold_in(&MemoryStorage::new(), held_bytes_max, anew_bytes);
            let mut unbounded = hold(usize::MAX);
            let mut seconds = [1000u64; 3];
            for step in steps {
                let [mut expected, mut found] = [Vec::new(), Vec::new()];
                match &step {
                    Step::Line { host, moves_on, sort, counter, text } => {
                        seconds[*host] += u64::from(*moves_on);
                        let line = sort.line(*host, seconds[*host], *counter, text);
                        read(&mut unbounded, &line, &mut expected);
                        read(&mut bounded, &line, &mut found);
                    }
                    Step::Idle => {
                        unbounded.idle(&mut expected).unwrap();
                        bounded.idle(&mut found).unwrap();
                    }
                    Step::Keep(host) => {
                        let keep = |hold: &mut Hold, to: &mut Vec<Delivery>| {
                            let mut kept = Vec::new();
                            hold.keep(host.to_string().as_bytes(), &mut kept).unwrap();
                            // Equal rows may be kept apart; what is held again counts them.
                            let mut again = super::tests::hold(usize::MAX);
                            if !kept.is_empty() {
                                again.hold_again(kept::decode(&kept).unwrap());
                            }
                            again.idle(to).unwrap();
                        };
                        keep(&mut unbounded, &mut expected);
                        keep(&mut bounded, &mut found);
                    }
                    Step::End(rows) => {
                        let more = unbounded.end_some(*rows, &mut expected).unwrap();
                        if more {
                            unbounded.end_some(usize::MAX, &mut expected).unwrap();
                        }
                        while bounded.end_some(*rows, &mut found).unwrap() {}
                    }
                }
                prop_assert_eq!(found, expected, "{:?}", step);
                prop_assert_eq!(bounded.counts, unbounded.counts);
                for piece in bounded.hosts.values() {
                    // 400 lines make no part that was joined three times.
                    prop_assert!(piece.parts.iter().all(|part| part.joins < 3));
                    let short = |part: &&Part| bounded.spill.raw_len(part.place) < SHORT_BYTES;
                    let last = piece.parts.iter().rev().take_while(short).count();
                    prop_assert!(last <= 3 * (JOINED_PARTS - 1), "{} short parts", last);
                }
                let in_memory: usize = bounded.hosts.values().map(|piece| piece.bytes).sum();
                prop_assert_eq!(bounded.held_bytes, in_memory);
            }
        }
    }

    /// A line's form.
    #[derive(Clone, Copy, Debug)]
    enum Sort {
        Added(&'static str),
        Removed(&'static str),
        Snapshot,
        WholeSnapshot,
        Batch,
    }

    impl Sort {
        fn line(self, host: usize, second: u64, counter: u64, text: &str) -> String {
            let (name, action) = match self {
                Sort::Added(name) => (name, "added"),
                Sort::Removed(name) => (name, "removed"),
                Sort::Snapshot => ("users", "snapshot"),
                Sort::WholeSnapshot | Sort::Batch => ("users", ""),
            };
            let head = format!(
                r#""name":"{name}","hostIdentifier":"{host}","unixTime":{second},"epoch":0,"counter":{counter}"#
            );
            let row = format!(r#"{{"a":"{text}","version":"5.1.{}"}}"#, text.len() % 7);
            match self {
                Sort::WholeSnapshot => format!(r#"{{{head},"action":"snapshot","snapshot":[{row},{row}]}}"#),
                Sort::Batch => format!(r#"{{{head},"diffResults":{{"added":[{row}],"removed":[{row}]}}}}"#),
                _ => format!(r#"{{{head},"columns":{row},"action":"{action}"}}"#),
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Line { host: usize, moves_on: bool, sort: Sort, counter: u64, text: String },
        Idle,
        Keep(usize),
        End(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let sort = prop_oneof![
            8 => Just(Sort::Added("users")),
            2 => Just(Sort::Removed("users")),
            4 => Just(Sort::Added("process_events")),
            1 => Just(Sort::Removed("process_events")),
            2 => Just(Sort::Added("osquery_info")),
            2 => Just(Sort::Snapshot),
            1 => Just(Sort::WholeSnapshot),
            1 => Just(Sort::Batch),
        ];
        let text = prop_oneof![
            100 => "[a-c]{1,2}".boxed(),
            20 => "[a-z]{40}".boxed(),
            1 => Just("x".repeat(SHORT_BYTES as usize)).boxed(),
        ];
        let moves_on = prop_oneof![60 => Just(false), 1 => Just(true)];
        let line = (0usize..3, moves_on, sort, 0u64..2, text)
            .prop_map(|(host, moves_on, sort, counter, text)| Step::Line { host, moves_on, sort, counter, text });
        prop_oneof![
            300 => line,
            2 => Just(Step::Idle),
            4 => (0usize..3).prop_map(Step::Keep),
            1 => prop_oneof![Just(0usize), Just(usize::MAX)].prop_map(Step::End),
        ]
    }

    /// However often the host changes, a row is written and read a few times.
    #[test]
    fn interleaved_hosts_cost_what_their_rows_cost() {
        let mut chance = Chance(7);
        let lines: Vec<String> = (0..6000)
            .map(|_| {
                let (host, text) = (chance.next() % 10, chance.text(100));
                format!(
                    r#"{{"name":"process_events","hostIdentifier":"{host}","unixTime":100,"columns":{{"a":"{text}"}},"action":"added"}}"#
                )
            })
            .collect();
        let handed_on = |hold: &mut Hold| {
            let mut out = Vec::new();
            lines.iter().for_each(|line| read(hold, line, &mut out));
            while hold.end_some(usize::MAX, &mut out).unwrap() {}
            out
        };
        let storage = MemoryStorage::new();
        let max = 16 << 10;
        let mut bounded = hold_in(&storage, max, 64 << 10);
        let found = handed_on(&mut bounded);
        assert_eq!(found, handed_on(&mut hold(usize::MAX)));
        let rows = found.iter().flat_map(|delivery| &delivery.added);
        let bytes: u64 = rows.map(|(row, _)| row.as_bytes().len() as u64).sum();
        let traffic = bounded.spill.traffic;
        assert!(traffic.put > bytes / 2, "{traffic:?} of {bytes} bytes: they waited");
        assert!(traffic.put + traffic.copied < bytes * 4, "{traffic:?} of {bytes} bytes");
        assert!(traffic.read + traffic.copied < bytes * 4, "{traffic:?} of {bytes} bytes");
    }

    /// There is always one who waits, and the file does not grow for that.
    #[test]
    fn a_file_that_is_never_empty_does_not_grow_for_ever() {
        let (mut chance, storage) = (Chance(9), MemoryStorage::new());
        let anew_bytes = 64 << 10;
        let mut hold = hold_in(&storage, 0, anew_bytes);
        let mut out = Vec::new();
        for second in 0..1500 {
            for host in 0..2 {
                line(&mut hold, host, second, "added", &chance.text(500), &mut out);
                let waiting = hold.hosts.values().map(|piece| piece.parts.len()).sum::<usize>();
                assert!(waiting > 0 || second == 0);
                let bytes: usize = storage.files().values().map(Vec::len).sum();
                assert!(bytes as u64 <= anew_bytes + 2000, "{bytes} bytes for {waiting} looks");
            }
        }
        assert!(hold.spill.traffic.put > anew_bytes * 8, "{:?}", hold.spill.traffic);
        assert_eq!(out.len(), 1499 * 2);
    }

    /// One large piece is not put away while lines are added to it, and what comes beside it costs no more for that.
    #[test]
    fn beside_a_large_piece_little_is_put_away() {
        let max = 4 << 10;
        let mut hold = hold_in(&MemoryStorage::new(), max, 64 << 10);
        let (mut out, mut put_away) = (Vec::new(), 0);
        for number in 0..4000 {
            let before = hold.put_away_above;
            line(&mut hold, u64::from(number % 50 == 49), 100, "added", &number.to_string(), &mut out);
            put_away += u32::from(hold.put_away_above != before);
            let largest = hold.hosts.values().map(|piece| piece.bytes).max().unwrap();
            assert!(hold.held_bytes <= max + largest + 1000);
        }
        let bytes = 4000 * (4 + ROW_BYTES);
        assert!(put_away as usize <= 1 + bytes * 2 / (max / 2), "{put_away} times");
    }
}

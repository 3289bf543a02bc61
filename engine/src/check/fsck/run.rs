//! Regular streams: their looks are those of a regular stream, their versions follow from these, and keyframes are what a
//! replay of the versions leaves alive.
//!
//! A run beside facts is compared with what these mean when they are replayed.
//!
//! Memory: of one run the seconds of its looks, its living versions and the hashes of their rows, and of an index by
//! streams the hashes of the stream's values.

use super::facts::{differ, differs};
use super::report::Wrong;
use super::table::{Bad, Checked, Tally};
use crate::bytes::begins;
use crate::codec;
use crate::error::{Fault, Structure};
use crate::fact::{Kind, Second};
use crate::format::frame::place_crc;
use crate::memtable::part_key;
use crate::packing::{self, Looks};
use crate::row::{Row, hash_of, is_canonical, take_text};
use crate::segment::Frames;
use crate::segment::directory::{PieceEntry, StreamEntry};
use crate::segment::index::Postings;
use crate::segment::run::BLOCK_VERSIONS_MAX;
use crate::segment::run::piece::{Block, Piece};
use crate::timeline::moments::{Moments, State};
use crate::timeline::regular::{Agent, Lifetime, OPEN, Regular, is_full_set};
use crate::timeline::{Part, event_time};
use rustc_hash::{FxHashMap, FxHashSet};
use xxhash_rust::xxh3::xxh3_128;

/// The hashes of rows that are no longer alive are dropped when there are so many, and more than alive ones.
const GONE_ROWS: usize = 1024;

/// Checks runs, one after the other.
pub(super) struct Checker<'c> {
    of: &'c Checked<'c>,
    /// Of the run at hand: when its looks were.
    seconds: Vec<Second>,
    /// Of each look, and of the end: how many full sets come before.
    fulls: Vec<u32>,
    /// The versions that were alive when a keyframe was compared last, and those since, each with the look at which it
    /// is gone.
    alive: Vec<(u32, u32)>,
    /// By hash of a row: the look at which its last version is gone; of an event, at which it happened.
    held: FxHashMap<u128, u32>,
    /// How many copies of rows the parts name that follow from the versions.
    copies: u64,
    /// Of a run beside facts.
    resolved: Option<Found>,
    /// Columns in the order in which rows have them, each by the bytes of its name in a row, with the place of its index.
    columns: Vec<(Vec<u8>, Option<usize>)>,
    /// Of each index: the values of the stream, and the one met last.
    values: Vec<(FxHashSet<u64>, u64)>,
    scratch: Scratch,
}

/// What a run beside facts says.
#[derive(Default)]
struct Found {
    states: Vec<State>,
    /// Of each moment: when the look before it was.
    befores: Vec<Second>,
    /// The versions, each with the hash of its row and the number of its copies.
    versions: Vec<(u32, u32, u64, u128)>,
}

#[derive(Default)]
struct Scratch {
    row: Vec<u8>,
    starts: Vec<u32>,
    looks: Vec<u32>,
    seconds: Vec<Second>,
    frame: Vec<u64>,
}

/// A version, without its row.
struct Version {
    ordinal: u32,
    born: u32,
    /// [`OPEN`] if it is not gone.
    died: u32,
}

/// What is wrong with a piece of a run.
fn bad(entry: &PieceEntry, wrong: Wrong) -> Bad {
    Bad { offset: entry.offset, structure: Structure::Piece, wrong, seconds: (entry.first, entry.last) }
}

impl<'c> Checker<'c> {
    pub(super) fn new(of: &'c Checked<'c>) -> Checker<'c> {
        Checker {
            of,
            seconds: Vec::new(),
            fulls: Vec::new(),
            alive: Vec::new(),
            held: FxHashMap::default(),
            copies: 0,
            resolved: None,
            columns: Vec::new(),
            values: of.indexes.iter().map(|_| Default::default()).collect(),
            scratch: Scratch::default(),
        }
    }

    /// Whether the stream at place `place` of the directory is a regular one, and everything told of it is so.
    pub(super) fn check(&mut self, place: usize, stream: &StreamEntry, tally: &mut Tally) -> Result<(), Bad> {
        let pieces: Vec<PieceEntry> = self.of.directory.pieces_at(stream.record.pieces.clone()).iter().collect();
        self.seconds.clear();
        self.fulls.clear();
        self.fulls.push(0);
        let (mut regular, mut last) = (Regular::new(stream.key.kind), None);
        for entry in &pieces {
            self.looks(stream.key.kind, entry, &mut regular, &mut last).map_err(|wrong| bad(entry, wrong))?;
        }
        let told = &pieces[0];
        let agent = if stream.key.kind == Kind::Event { Agent::default() } else { regular.agent };
        if agent != stream.record.agent {
            return Err(bad(told, Fault::Value { what: "word on what must hold of the agent" }.into()));
        }
        self.copies = 0;
        self.resolved = None;
        self.values.iter_mut().for_each(|of| of.0.clear());
        self.alive.clear();
        self.held.clear();
        for entry in &pieces {
            self.versions(place, stream.key.kind, entry, tally).map_err(|wrong| bad(entry, wrong))?;
        }
        tally.meaning.looks += self.seconds.len() as u64;
        differs("copies of a run", told.copies, self.copies).map_err(|wrong| bad(told, wrong))
    }

    /// Whether the run beside the facts of the stream at place `place` says what they mean, and everything told of it is so.
    pub(super) fn check_resolved(
        &mut self,
        place: usize,
        stream: &StreamEntry,
        expected: Option<Moments>,
        rows: &[Row],
        tally: &mut Tally,
    ) -> Result<(), Bad> {
        let pieces: Vec<PieceEntry> = self.of.directory.pieces_at(stream.record.resolved.clone()).iter().collect();
        let told = &pieces[0];
        let Some(expected) = expected else {
            return Err(bad(told, Fault::Value { what: "run beside facts that have none" }.into()));
        };
        self.seconds.clear();
        self.resolved = Some(Found { befores: expected.looks_before(), ..Found::default() });
        for entry in &pieces {
            self.moments(stream.key.kind, entry, &expected).map_err(|wrong| bad(entry, wrong))?;
        }
        let differ = |what: &'static str| bad(told, Fault::Value { what }.into());
        let found = self.resolved.as_ref().map(|found| &found.states);
        if self.seconds != expected.seconds || found != Some(&expected.states) {
            return Err(differ("moment of a run beside facts: they say otherwise"));
        }
        self.fulls = vec![0; self.seconds.len() + 1];
        self.values.iter_mut().for_each(|of| of.0.clear());
        self.alive.clear();
        for entry in &pieces {
            self.versions(place, stream.key.kind, entry, tally).map_err(|wrong| bad(entry, wrong))?;
        }
        let mut found = self.resolved.take().unwrap_or_default().versions;
        let of_row = |row: u32| xxh3_128(rows[row as usize].as_bytes());
        let version = |of: &Lifetime| (of.born, of.died, of.count, of_row(of.row));
        let mut expected: Vec<_> = expected.lifetimes.iter().map(version).collect();
        found.sort_unstable();
        expected.sort_unstable();
        if found == expected { Ok(()) } else { Err(differ("version of a run beside facts: they say otherwise")) }
    }

    /// The moments of a piece, which go on where those of the pieces before end.
    fn moments(&mut self, kind: Kind, entry: &PieceEntry, expected: &Moments) -> Result<(), Wrong> {
        let (piece, _) = self.open(kind, entry)?;
        let columns = piece.of_looks().moment_columns()?;
        for at in 0..piece.head().looks() {
            let (state, epoch, counter) = piece.of_looks().moment(&columns, at)?;
            let is_last = self.seconds.len() + 1 == expected.seconds.len();
            let goes_on = expected.goes_on.filter(|_| is_last).map_or((0, None), |last| (last.epoch, last.counter));
            if (epoch, counter) != goes_on {
                return Err(Fault::Value { what: "epoch or counter that something goes on from" }.into());
            }
            self.seconds.push(piece.head().second(at)?);
            self.resolved.iter_mut().for_each(|found| found.states.push(state));
        }
        let of_piece = self.seconds.get(entry.first_look..).unwrap_or_default();
        match of_piece.first().zip(of_piece.last()) {
            Some((first, last)) => differ("seconds of a piece", (entry.first, entry.last), (*first, *last)),
            None => Err(Fault::Value { what: "piece without a moment" }.into()),
        }
    }

    /// A piece, and how many bytes its frame has.
    fn open(&self, kind: Kind, entry: &PieceEntry) -> Result<(Piece<'c>, usize), Wrong> {
        let frame = self.of.file.run_frame(entry.offset)?;
        let (looks, versions, is_checked) =
            (entry.parts as usize, entry.versions as usize, frame.kind == Frames::CHECKED_RUN);
        let piece = Piece::open(frame.payload, looks, versions, kind == Kind::Event, is_checked)?;
        Ok((piece, frame.payload.len()))
    }

    /// The looks of a piece, which go on where those of the pieces before end.
    fn looks(
        &mut self,
        kind: Kind,
        entry: &PieceEntry,
        regular: &mut Regular,
        last: &mut Option<Part>,
    ) -> Result<(), Wrong> {
        let (piece, _) = self.open(kind, entry)?;
        let columns = piece.of_looks().look_columns()?;
        let commits = self.of.commits.map_or(u64::MAX, |commits| commits.len() as u64);
        for at in 0..piece.head().looks() {
            let look = piece.of_looks().look(&columns, at)?;
            if look.commit >= commits {
                return Err(codec::Fault::Range { found: look.commit, min: 0, max: commits }.into());
            }
            let part = look.part(0);
            let key = |part: &Part| (part.second, part.epoch, part.counter);
            let follows = match kind {
                Kind::Event => {
                    last.as_ref().is_none_or(|last| key(last) != key(&part) && part_key(last) <= part_key(&part))
                }
                _ => regular.push(&part),
            };
            if !follows {
                return Err(Fault::Order { what: "looks of a regular stream" }.into());
            }
            self.seconds.push(part.second);
            let fulls = self.fulls.last().copied().unwrap_or(0);
            self.fulls.push(fulls + u32::from(is_full_set(kind, &part)));
            *last = Some(part);
        }
        let of_piece = self.seconds.get(entry.first_look..).unwrap_or_default();
        match of_piece.first().zip(of_piece.last()) {
            Some((first, last)) => differ("seconds of a piece", (entry.first, entry.last), (*first, *last)),
            None => Err(Fault::Value { what: "piece without a look" }.into()),
        }
    }

    /// The versions of a piece, block by block.
    fn versions(&mut self, place: usize, kind: Kind, entry: &PieceEntry, tally: &mut Tally) -> Result<(), Wrong> {
        let (piece, bytes) = self.open(kind, entry)?;
        self.of.file.work.advance(bytes as u64);
        let in_file = place_crc(&self.of.file.id, entry.offset);
        (0..piece.spans()).try_for_each(|span| piece.verify(in_file, span).map(drop))?;
        let (mut keyframe, mut times) = (0, (Second::MAX, Second::MIN));
        for at in 0..piece.head().blocks() {
            let block = piece.block(at)?;
            let first_version = entry.first_version + at * BLOCK_VERSIONS_MAX;
            let first_look = self.groups(&piece, &block)?;
            let look = if at == 0 { 0 } else { first_look };
            differs("first look of a block", look as u64, piece.head().look_of_block(at)?)?;
            let told = piece.head().keyframe_of(at)?;
            if told == at {
                keyframe = at;
                self.keyframe(kind, &block, first_version, entry.first_look + look)?;
                tally.meaning.keyframes += u64::from(kind != Kind::Event);
            }
            differs("block of the keyframe", keyframe as u64, told as u64)?;
            let of_block = self.block(place, kind, entry, &block, first_version, tally)?;
            if kind == Kind::Event {
                differ("times of the events of a block", piece.head().block_times(at)?, of_block)?;
                times = (times.0.min(of_block.0), times.1.max(of_block.1));
            }
        }
        let times = if kind == Kind::Event { times } else { (entry.first, entry.last) };
        differ("times of a piece", entry.times, times)?;
        tally.meaning.rows += entry.versions;
        Ok(())
    }

    /// Reads at which looks of the piece the versions of a block appear; tells the first.
    fn groups(&mut self, piece: &Piece<'_>, block: &Block<'_>) -> Result<usize, Wrong> {
        let Scratch { starts, looks, seconds, .. } = &mut self.scratch;
        starts.clear();
        looks.clear();
        seconds.clear();
        block.groups(looks, starts)?;
        if !looks.is_sorted_by(|a, b| a < b) || looks.last().is_some_and(|last| *last as usize >= piece.head().looks())
        {
            return Err(Fault::Order { what: "looks of the versions of a block" }.into());
        }
        for look in &*looks {
            seconds.push(piece.head().second(*look as usize)?);
        }
        Ok(looks.first().map_or(0, |look| *look as usize))
    }

    /// Compares a keyframe with what is alive after a look of the run, of the versions before one.
    fn keyframe(&mut self, kind: Kind, block: &Block<'_>, first_version: usize, look: usize) -> Result<(), Wrong> {
        if kind == Kind::Event {
            return differs("versions in a keyframe of events", 0, block.alive_len() as u64);
        }
        self.alive.retain(|&(_, died)| died as usize > look);
        differs("versions in a keyframe", self.alive.len() as u64, block.alive_len() as u64)?;
        let frame = &mut self.scratch.frame;
        frame.clear();
        block.alive(|version| frame.push(version))?;
        match frame.iter().zip(&self.alive).find(|(told, alive)| **told != u64::from(alive.0)) {
            None => Ok(()),
            Some((told, alive)) => {
                debug_assert!((alive.0 as usize) < first_version);
                differs("version in a keyframe", u64::from(alive.0), *told)
            }
        }
    }

    /// Checks the versions of a block; of events it tells when the first and the last happened.
    fn block(
        &mut self,
        place: usize,
        kind: Kind,
        entry: &PieceEntry,
        block: &Block<'_>,
        first_version: usize,
        tally: &mut Tally,
    ) -> Result<(Second, Second), Wrong> {
        let mut times = (Second::MAX, Second::MIN);
        let (Some(dictionary), true) = (&self.of.dictionary, block.count > 0) else {
            return match block.count {
                0 => Ok(times),
                _ => Err(Fault::Value { what: "run in a table without a dictionary" }.into()),
            };
        };
        let Scratch { mut row, starts, looks, seconds, frame } = std::mem::take(&mut self.scratch);
        let rows = packing::Block::open(dictionary, block.rows, block.count)?;
        let born_at = Looks { starts: &starts, seconds: &seconds };
        let mut group = 0;
        for at in 0..block.count {
            group += usize::from(starts.get(group + 1).is_some_and(|start| *start as usize <= at));
            let born = entry.first_look + looks[group] as usize;
            let died = match block.length(at)? {
                None => OPEN,
                Some(length) => {
                    let died = (born as u64).saturating_add(length);
                    if died >= self.seconds.len() as u64 || kind == Kind::Event {
                        return Err(Fault::Value { what: "length of a version" }.into());
                    }
                    died as u32
                }
            };
            let copies = block.copies(at)?;
            row.clear();
            rows.row(&born_at, at, &mut row)?;
            if !is_canonical(&row) {
                return Err(Fault::Value { what: "form of a row" }.into());
            }
            let version = Version { ordinal: (first_version + at) as u32, born: born as u32, died };
            self.version(kind, &version, copies, &row)?;
            tally.meaning.changes += 1 + u64::from(died != OPEN);
            if kind == Kind::Event {
                let time = event_time(&row).unwrap_or(self.seconds[born]);
                times = (times.0.min(time), times.1.max(time));
            } else {
                self.alive.push((version.ordinal, died));
            }
            self.values(place, &version, &row, tally);
        }
        self.scratch = Scratch { row, starts, looks, seconds, frame };
        Ok(times)
    }

    /// A regular stream has a row once at a time, however many copies that is.
    fn version(&mut self, kind: Kind, version: &Version, copies: u64, row: &[u8]) -> Result<(), Wrong> {
        if let Some(found) = &mut self.resolved {
            found.versions.push((version.born, version.died, copies, xxh3_128(row)));
            return Ok(());
        }
        let (born, died) = (version.born as usize, version.died as usize);
        let until = if kind == Kind::Event { version.born } else { version.died };
        if self.held.insert(xxh3_128(row), until).is_some_and(|until| until >= version.born) {
            return Err(Fault::Value { what: "version: its row was there already" }.into());
        }
        if self.held.len() > GONE_ROWS + 2 * self.alive.len() {
            self.held.retain(|_, until| *until >= version.born);
        }
        // Where it comes, each full set that has it, and where it is gone unless that is told by a full set.
        let looks = self.seconds.len();
        let end = died.min(looks);
        let is_removed = died < looks && self.fulls[died + 1] == self.fulls[died];
        self.copies += 1 + u64::from(self.fulls[end] - self.fulls[born + 1]) + u64::from(is_removed);
        Ok(())
    }

    /// Adds what the indexes must have of a version.
    fn values(&mut self, place: usize, version: &Version, row: &[u8], tally: &mut Tally) {
        let (mut at, mut rest, mut left) = (0, row, self.of.indexes.len());
        while left > 0 {
            // Rows mostly have the same columns, so the next is mostly the next in the list.
            match self.columns.get(at) {
                Some(column) if begins(rest, &column.0) => rest = &rest[column.0.len()..],
                _ => {
                    let before = rest;
                    let Some(name) = take_text(&mut rest) else {
                        break;
                    };
                    let head = &before[..before.len() - rest.len()];
                    at = self.columns.iter().position(|known| known.0 == head).unwrap_or_else(|| {
                        let index = self.of.indexes.iter().position(|index| **index.column == *name);
                        self.columns.push((head.to_vec(), index));
                        self.columns.len() - 1
                    });
                }
            }
            let Some(value) = take_text(&mut rest) else {
                break;
            };
            if let Some(index) = self.columns[at].1 {
                left -= 1;
                let (hash, sum) = (hash_of(value), &mut tally.sums[index]);
                match self.of.indexes[index].index.of {
                    Postings::Streams => {
                        let (known, last) = &mut self.values[index];
                        // Many rows in a row have one value.
                        if (*last != hash || known.is_empty()) && known.insert(hash) {
                            sum.stream(hash, place);
                        }
                        *last = hash;
                    }
                    Postings::Versions => sum.version(hash, place, version.ordinal as usize, None),
                    Postings::Times => {
                        let since = match &self.resolved {
                            Some(found) => found.befores[version.born as usize],
                            None => self.seconds[(version.born as usize).saturating_sub(1)],
                        };
                        let until = self.seconds.get(version.died as usize).copied().unwrap_or(Second::MAX);
                        sum.version(hash, place, version.ordinal as usize, Some((since, until)));
                    }
                }
            }
            at += 1;
        }
    }
}

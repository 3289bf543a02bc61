//! A whole run: its pieces found by look, by version and by time, and what is alive at any of its looks.

use super::BLOCK_VERSIONS_MAX;
use super::piece::{Block, Look, Piece};
use crate::codec::Fault;
use crate::error::{Error, Structure};
use crate::fact::{Kind, Second};
use crate::packing::{self, Dictionary, Looks};
use crate::read::answer::Cost;
use crate::segment::directory::{PieceEntry, StreamEntry};
use crate::segment::{Frames, TableReader, corrupt};
use std::cell::{Cell, OnceCell};
use std::ops::Range;

/// A version of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version {
    /// Its place in the run.
    pub ordinal: usize,
    /// The look at which it appears.
    pub born: usize,
    /// The look at which it is gone; `None` if it is not.
    pub died: Option<usize>,
    /// How many copies.
    pub count: u64,
}

/// Where the row of a version is: in a block, at a place.
pub type RowPlace<'r, 's> = (&'r OpenBlock<'s>, usize);

/// A block with what its rows need.
pub struct OpenBlock<'s> {
    piece: usize,
    block: usize,
    body: Block<'s>,
    starts: Vec<u32>,
    /// Of each group: its look in the run.
    looks: Vec<u32>,
    seconds: Vec<Second>,
    /// Opened when the first row is asked for.
    rows: OnceCell<packing::Block<'s>>,
    dictionary: &'s Dictionary,
    offset: u64,
}

/// Where a piece is, for errors.
#[derive(Clone, Copy)]
struct Place<'s> {
    segment: &'s str,
    offset: u64,
}

impl Place<'_> {
    #[cold]
    fn error(self, fault: Fault) -> Error {
        corrupt(self.segment, self.offset, Structure::Piece, fault)
    }
}

/// Reads a run.
pub struct Run<'s> {
    reader: TableReader<'s>,
    pieces: &'s [PieceEntry],
    is_of_events: bool,
    /// The piece of the last look that was asked for.
    hint: Cell<usize>,
    /// The pieces that were asked for, with their places.
    opened: Vec<(usize, Piece<'s>)>,
    current: Option<OpenBlock<'s>>,
    alive: Vec<u64>,
}

impl<'s> Run<'s> {
    /// The run of a stream that is kept as one.
    pub fn new(reader: TableReader<'s>, stream: &StreamEntry) -> Run<'s> {
        let pieces = &reader.directory.pieces[stream.pieces.clone()];
        let is_of_events = stream.key.kind == Kind::Event;
        Run {
            reader,
            pieces,
            is_of_events,
            hint: Cell::new(0),
            opened: Vec::with_capacity(2),
            current: None,
            alive: Vec::new(),
        }
    }

    /// How many looks it has.
    pub fn looks(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.first_look + piece.parts as usize)
    }

    /// How many versions it has.
    pub fn versions(&self) -> usize {
        self.pieces.last().map_or(0, |piece| piece.first_version + piece.versions as usize)
    }

    fn place(&self, piece: usize) -> Place<'s> {
        let offset = self.pieces.get(piece).map_or(0, |piece| piece.offset);
        Place { segment: self.reader.segment.name(), offset }
    }

    fn fault(&self, piece: usize, fault: Fault) -> Error {
        self.place(piece).error(fault)
    }

    fn outside(&self, found: usize, max: usize) -> Error {
        self.fault(0, Fault::Range { found: found as u64, min: 0, max: max as u64 })
    }

    fn piece(&mut self, at: usize, cost: &mut Cost) -> Result<&Piece<'s>, Error> {
        let place = match self.opened.iter().position(|opened| opened.0 == at) {
            Some(place) => place,
            None => {
                let entry = self.pieces.get(at).ok_or_else(|| self.outside(at, self.pieces.len()))?;
                let bytes = self.reader.piece_bytes(entry, Frames::RUN, cost)?;
                let piece = Piece::open(bytes, entry.parts as usize, entry.versions as usize, self.is_of_events);
                let piece = piece.map_err(|fault| self.fault(at, fault))?;
                self.opened.push((at, piece));
                self.opened.len() - 1
            }
        };
        Ok(&self.opened[place].1)
    }

    /// The piece with look `look`, and its place in it.
    fn piece_of_look(&self, look: usize) -> Result<(usize, usize), Error> {
        // Times asked for one after the other are mostly in one piece.
        let hint = self.hint.get();
        if let Some(piece) = self.pieces.get(hint)
            && look.wrapping_sub(piece.first_look) < piece.parts as usize
        {
            return Ok((hint, look - piece.first_look));
        }
        let after = self.pieces.partition_point(|piece| piece.first_look <= look);
        self.hint.set(after.saturating_sub(1));
        match after.checked_sub(1).map(|at| (at, look - self.pieces[at].first_look)) {
            Some((at, within)) if within < self.pieces[at].parts as usize => Ok((at, within)),
            _ => Err(self.outside(look, self.looks())),
        }
    }

    /// When look `look` was.
    pub fn second(&mut self, look: usize, cost: &mut Cost) -> Result<Second, Error> {
        let (at, within) = self.piece_of_look(look)?;
        let place = self.place(at);
        self.piece(at, cost)?.second(within).map_err(|fault| place.error(fault))
    }

    /// Gives all looks, in order.
    pub fn each_look(&mut self, cost: &mut Cost, mut each: impl FnMut(Look)) -> Result<(), Error> {
        for at in 0..self.pieces.len() {
            let place = self.place(at);
            let piece = self.piece(at, cost)?;
            let columns = piece.look_columns().map_err(|fault| place.error(fault))?;
            for look in 0..piece.looks() {
                each(piece.look(&columns, look).map_err(|fault| place.error(fault))?);
            }
        }
        Ok(())
    }

    /// How many looks are at or before a second.
    pub fn looks_until(&mut self, at: Second, cost: &mut Cost) -> Result<usize, Error> {
        let after = self.pieces.partition_point(|piece| piece.first <= at);
        let Some(place) = after.checked_sub(1) else {
            return Ok(0);
        };
        let entry = &self.pieces[place];
        if entry.last <= at {
            return Ok(entry.first_look + entry.parts as usize);
        }
        let (of, first) = (self.place(place), entry.first_look);
        let within = self.piece(place, cost)?.looks_until(at).map_err(|fault| of.error(fault))?;
        Ok(first + within)
    }

    /// Makes a block the current one.
    fn open(&mut self, piece: usize, block: usize, cost: &mut Cost) -> Result<(), Error> {
        if self.current.as_ref().is_some_and(|current| (current.piece, current.block) == (piece, block)) {
            return Ok(());
        }
        let dictionary = self.reader.dictionary()?;
        let (place, entry) = (self.place(piece), &self.pieces[piece]);
        let (mut starts, mut looks, mut seconds) = match self.current.take() {
            Some(OpenBlock { starts, looks, seconds, .. }) => (starts, looks, seconds),
            None => (Vec::new(), Vec::new(), Vec::new()),
        };
        starts.clear();
        looks.clear();
        seconds.clear();
        let opened = self.piece(piece, cost)?;
        let body = opened.block(block).map_err(|fault| place.error(fault))?;
        let mut fault = None;
        let grouped = body.groups(|look, start| {
            starts.push(start as u32);
            looks.push((entry.first_look + look) as u32);
            match opened.second(look) {
                Ok(second) => seconds.push(second),
                Err(other) => fault = Some(other),
            }
        });
        let grouped = grouped.and(fault.map_or(Ok(()), Err));
        grouped.map_err(|fault| place.error(fault))?;
        let rows = OnceCell::new();
        let offset = entry.offset;
        self.current = Some(OpenBlock { piece, block, body, starts, looks, seconds, rows, dictionary, offset });
        Ok(())
    }

    /// The current block's version `at`.
    fn version_at(&self, at: usize) -> Result<Version, Error> {
        let Some(current) = &self.current else {
            return Err(self.outside(at, 0));
        };
        let version = || -> Result<Version, Fault> {
            let group = current.starts.partition_point(|&start| start as usize <= at);
            let range = Fault::Range { found: at as u64, min: 0, max: current.body.count as u64 };
            let born = group.checked_sub(1).and_then(|group| current.looks.get(group)).ok_or(range)?;
            let born = *born as usize;
            let length = current.body.length(at)?;
            let died = length.map(|length| born.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
            let first = self.pieces[current.piece].first_version + current.block * BLOCK_VERSIONS_MAX;
            Ok(Version { ordinal: first + at, born, died, count: current.body.copies(at)? })
        };
        version().map_err(|fault| self.fault(current.piece, fault))
    }

    fn place_at(&self, at: usize) -> Result<RowPlace<'_, 's>, Error> {
        self.current.as_ref().map(|current| (current, at)).ok_or_else(|| self.outside(at, 0))
    }

    /// The version of an ordinal, and where its row is.
    pub fn version(&mut self, ordinal: usize, cost: &mut Cost) -> Result<(Version, RowPlace<'_, 's>), Error> {
        let at = self.open_of(ordinal, cost)?;
        Ok((self.version_at(at)?, self.place_at(at)?))
    }

    /// Opens the block of a version; tells its place there.
    fn open_of(&mut self, ordinal: usize, cost: &mut Cost) -> Result<usize, Error> {
        if let Some(current) = &self.current {
            let first = self.pieces[current.piece].first_version + current.block * BLOCK_VERSIONS_MAX;
            if ordinal >= first && ordinal - first < current.body.count {
                return Ok(ordinal - first);
            }
        }
        let after = self.pieces.partition_point(|piece| piece.first_version <= ordinal);
        // Of pieces without versions the last begins where the next one with some does.
        let Some(piece) = after.checked_sub(1) else {
            return Err(self.outside(ordinal, self.versions()));
        };
        let within = ordinal - self.pieces[piece].first_version;
        if within >= self.pieces[piece].versions as usize {
            return Err(self.outside(ordinal, self.versions()));
        }
        self.open(piece, within / BLOCK_VERSIONS_MAX, cost)?;
        Ok(within % BLOCK_VERSIONS_MAX)
    }

    /// Gives the versions that are alive after look `look`, by birth.
    pub fn alive_after(
        &mut self,
        look: usize,
        cost: &mut Cost,
        mut each: impl FnMut(&Version, RowPlace<'_, 's>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (piece, within) = self.piece_of_look(look)?;
        let of = self.place(piece);
        let mut alive = std::mem::take(&mut self.alive);
        alive.clear();
        let opened = self.piece(piece, cost)?;
        let last = opened.block_of_look(within).map_err(|fault| of.error(fault))?;
        let keyframe = opened.keyframe_of(last).map_err(|fault| of.error(fault))?;
        let named = opened.block(keyframe).and_then(|block| block.alive(|ordinal| alive.push(ordinal)));
        named.map_err(|fault| of.error(fault))?;
        let is_alive = |version: &Version| version.born <= look && version.died.is_none_or(|died| died > look);
        for &ordinal in &alive {
            let at = self.open_of(ordinal as usize, cost)?;
            let version = self.version_at(at)?;
            cost.keys_decoded += 1;
            if is_alive(&version) {
                each(&version, self.place_at(at)?, cost)?;
            }
        }
        self.alive = alive;
        for block in keyframe..=last {
            self.open(piece, block, cost)?;
            let count = self.current.as_ref().map_or(0, |current| current.body.count);
            for at in 0..count {
                let version = self.version_at(at)?;
                if version.born > look {
                    break;
                }
                cost.keys_decoded += 1;
                if is_alive(&version) {
                    each(&version, self.place_at(at)?, cost)?;
                }
            }
        }
        Ok(())
    }

    /// Gives the versions that appear at look `look`.
    pub fn born_at(
        &mut self,
        look: usize,
        cost: &mut Cost,
        each: impl FnMut(&Version, RowPlace<'_, 's>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.born_in(look..look + 1, cost, each)
    }

    /// Gives the versions that appear at these looks, by birth.
    pub fn born_in(
        &mut self,
        looks: Range<usize>,
        cost: &mut Cost,
        mut each: impl FnMut(&Version, RowPlace<'_, 's>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if looks.is_empty() {
            return Ok(());
        }
        let (first, within) = self.piece_of_look(looks.start)?;
        // Versions of the first look may begin in blocks before the last that begins with it.
        let of = self.place(first);
        let opened = self.piece(first, cost)?;
        let mut block = opened.first_block_of_look(within).map_err(|fault| of.error(fault))?;
        for piece in first..self.pieces.len() {
            if self.pieces[piece].first_look >= looks.end {
                break;
            }
            let blocks = self.piece(piece, cost)?.blocks();
            for block in std::mem::take(&mut block)..blocks {
                self.open(piece, block, cost)?;
                let Some(current) = &self.current else { break };
                let group = current.looks.partition_point(|&of| (of as usize) < looks.start);
                let from = current.starts.get(group).map_or(current.body.count, |&start| start as usize);
                let group = current.looks.partition_point(|&of| (of as usize) < looks.end);
                let to = current.starts.get(group).map_or(current.body.count, |&start| start as usize);
                let is_over = to < current.body.count;
                for at in from..to {
                    let version = self.version_at(at)?;
                    cost.keys_decoded += 1;
                    each(&version, self.place_at(at)?, cost)?;
                }
                if is_over {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Of a run of events: gives those that may have happened within a span, by look: when it was, how many, and where
    /// the row is.
    pub fn events_in(
        &mut self,
        span: (Second, Second),
        cost: &mut Cost,
        mut each: impl FnMut(Second, u64, RowPlace<'_, 's>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let overlaps = |(first, last): (Second, Second)| first < span.1 && span.0 <= last;
        for piece in 0..self.pieces.len() {
            if !overlaps(self.pieces[piece].times) {
                continue;
            }
            let of = self.place(piece);
            for block in 0..self.piece(piece, cost)?.blocks() {
                let times = self.piece(piece, cost)?.block_times(block).map_err(|fault| of.error(fault))?;
                if !overlaps(times) {
                    continue;
                }
                self.open(piece, block, cost)?;
                let groups = self.current.as_ref().map_or(0, |current| current.starts.len());
                for group in 0..groups {
                    let Some(current) = &self.current else { break };
                    let to = current.starts.get(group + 1).map_or(current.body.count, |&start| start as usize);
                    for at in current.starts[group] as usize..to {
                        let count = current.body.copies(at).map_err(|fault| of.error(fault))?;
                        cost.keys_decoded += 1;
                        each(current.seconds[group], count, (current, at), cost)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives all versions, by birth.
    pub fn each_version(
        &mut self,
        cost: &mut Cost,
        mut each: impl FnMut(&Version, RowPlace<'_, 's>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        for piece in 0..self.pieces.len() {
            let blocks = self.piece(piece, cost)?.blocks();
            for block in 0..blocks {
                self.open(piece, block, cost)?;
                let count = self.current.as_ref().map_or(0, |current| current.body.count);
                for at in 0..count {
                    each(&self.version_at(at)?, self.place_at(at)?, cost)?;
                }
            }
        }
        Ok(())
    }
}

impl<'s> OpenBlock<'s> {
    /// Appends the canonical bytes of the row of a version.
    pub fn row(&self, segment: &str, at: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        let looks = Looks { starts: &self.starts, seconds: &self.seconds };
        self.rows(segment)?.row(&looks, at, out).map_err(|fault| self.fault(segment, fault))
    }

    /// The integer of a version's row in a column, if it is packed as one.
    pub fn number(&self, segment: &str, at: usize, column: usize) -> Result<Option<i64>, Error> {
        let looks = Looks { starts: &self.starts, seconds: &self.seconds };
        self.rows(segment)?.number(&looks, at, column).map_err(|fault| self.fault(segment, fault))
    }

    fn fault(&self, segment: &str, fault: Fault) -> Error {
        corrupt(segment, self.offset, Structure::Piece, fault)
    }

    fn rows(&self, segment: &str) -> Result<&packing::Block<'s>, Error> {
        if let Some(rows) = self.rows.get() {
            return Ok(rows);
        }
        let rows = packing::Block::open(self.dictionary, self.body.rows, self.body.count);
        let rows = rows.map_err(|fault| self.fault(segment, fault))?;
        Ok(self.rows.get_or_init(|| rows))
    }
}

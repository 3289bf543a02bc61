//! A whole run: its pieces and looks, found by number and by time.
//!
//! Invariant: a piece that was read stays open for as long as the run is read, and with the cache longer.

use super::open::{OpenPiece, Opened};
use super::piece::{Look, Piece};
use crate::codec::Fault;
use crate::error::{Error, Structure};
use crate::fact::{Kind, Name, SECOND_MAX, SECOND_MIN, Second};
use crate::format::frame::place_crc;
use crate::read::answer::Cost;
use crate::segment::cache::{Cache, Cached, Key};
use crate::segment::directory::{Directory, Pieces, StreamRecord};
use crate::segment::{Frames, Segment, TableReader, corrupt};
use std::ops::Range;
use std::sync::Arc;

/// A version of a run, without its row.
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

/// The looks around T.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Around {
    /// How many are at or before T.
    pub until: usize,
    /// When the last of these was.
    pub before: Option<Second>,
    /// When the first after T was.
    pub after: Option<Second>,
}

/// Where a piece is, for errors.
#[derive(Clone, Copy)]
pub(super) struct Place<'s> {
    segment: &'s Segment,
    directory: &'s Directory,
    piece: usize,
}

impl Place<'_> {
    #[cold]
    pub(super) fn error(self, fault: Fault) -> Error {
        let offset = self.directory.pieces_at(self.piece..self.directory.pieces()).offset(0);
        corrupt(self.segment.name(), offset, Structure::Piece, fault)
    }
}

/// When an event happened whose time is this integer.
pub(super) fn time_or(time: i64, seen: Second) -> Second {
    if (SECOND_MIN..=SECOND_MAX).contains(&time) { time } else { seen }
}

/// A block of the run: its piece, and its place there.
pub(super) type BlockPlace = (usize, usize);

/// Where it was found what is alive after a look.
#[derive(Clone)]
pub(super) struct LastAlive {
    /// The keyframe that it counts on.
    pub(super) keyframe: BlockPlace,
    /// The seconds of the looks after which the same is alive.
    pub(super) seconds: Range<Second>,
}

/// Reads a run.
pub struct Run<'s> {
    pub(super) reader: TableReader<'s>,
    /// The numbers of the stream's host and name, which are looked up when a version is decoded.
    pub(super) names: (usize, usize),
    named: Option<(Name, Name)>,
    pub(super) cache: Option<&'s Cache>,
    pub(super) pieces: Pieces<'s>,
    pub(super) is_of_events: bool,
    /// Whether it tells what facts mean: its looks are moments then.
    pub(super) is_resolved: bool,
    /// The piece of the last look that was asked for.
    hint: usize,
    /// Where what was alive last was found.
    pub(super) last: Option<LastAlive>,
    /// The piece that was asked for last, and the others.
    current: Option<(usize, Arc<OpenPiece>)>,
    others: Vec<(usize, Arc<OpenPiece>)>,
    pub(super) scratch: Scratch,
}

/// Memory that is used again.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) named: Vec<usize>,
    pub(super) wanted: Vec<u16>,
}

impl<'s> Run<'s> {
    /// The run of a stream that has one. What is read of it is remembered if there is a cache.
    #[inline]
    pub fn new(reader: TableReader<'s>, stream: &StreamRecord, cache: Option<&'s Cache>) -> Run<'s> {
        let pieces = reader.directory.pieces_at(stream.run().unwrap_or(0..0));
        let is_resolved = stream.is_resolved();
        let (is_of_events, names) = (stream.kind == Kind::Event, (stream.host, stream.name));
        let (others, scratch) = (Vec::new(), Scratch::default());
        Run {
            reader,
            names,
            named: None,
            cache,
            pieces,
            is_of_events,
            is_resolved,
            hint: 0,
            last: None,
            current: None,
            others,
            scratch,
        }
    }

    /// How many looks it has.
    pub fn looks(&self) -> usize {
        self.pieces.parts_before(self.pieces.len())
    }

    /// How many versions it has.
    pub fn versions(&self) -> usize {
        self.pieces.versions_before(self.pieces.len())
    }

    pub(super) fn place(&self, piece: usize) -> Place<'s> {
        Place { segment: self.reader.segment, directory: self.reader.directory, piece: self.pieces.place(piece) }
    }

    #[cold]
    pub(super) fn outside(&self, found: usize, max: usize) -> Error {
        self.place(0).error(Fault::Range { found: found as u64, min: 0, max: max as u64 })
    }

    pub(super) fn cache_key(&self, piece: usize) -> Key {
        Key { segment: self.reader.segment.number(), offset: self.pieces.offset(piece) }
    }

    /// The names of the host and the stream.
    pub(super) fn named(&mut self) -> (Name, Name) {
        let directory = self.reader.directory;
        let named = || {
            // Not the directory's own, which all threads that read versions would count at once.
            let name = directory.names().get(self.names.1).map(|name| Name::from(&**name)).unwrap_or_default();
            (Name::from(directory.host_name(self.names.0)), name)
        };
        self.named.get_or_insert_with(named).clone()
    }

    pub(super) fn piece(&mut self, at: usize, cost: &mut Cost) -> Result<Arc<OpenPiece>, Error> {
        self.turn_to(at, cost).cloned()
    }

    /// The same for whoever has enough of it soon: counting it takes longer than much of what it is asked.
    #[inline]
    pub(super) fn turn_to(&mut self, at: usize, cost: &mut Cost) -> Result<&Arc<OpenPiece>, Error> {
        if self.current.as_ref().is_none_or(|(current, _)| *current != at) {
            let open = match self.others.iter().find(|other| other.0 == at) {
                Some((_, open)) => open.clone(),
                None => self.open(at, cost)?,
            };
            if let Some(last) = self.current.replace((at, open))
                && self.others.iter().all(|other| other.0 != last.0)
            {
                self.others.push(last);
            }
        }
        self.current.as_ref().map(|(_, open)| open).ok_or_else(|| self.outside(at, self.pieces.len()))
    }

    fn open(&self, at: usize, cost: &mut Cost) -> Result<Arc<OpenPiece>, Error> {
        let key = self.cache_key(at);
        if let Some(Cached::Run(open)) = self.cache.and_then(|cache| cache.get(&key)) {
            cost.cache_hits += 1;
            return Ok(open);
        }
        let entry = self.pieces.get(at).ok_or_else(|| self.outside(at, self.pieces.len()))?;
        let open = OpenPiece::try_new(self.reader.segment.clone(), |segment| {
            let verified = segment.table_at(self.reader.place())?.verified(&entry);
            let (bytes, is_checked) = match segment.payload_of_parts(entry.offset, Frames::CHECKED_RUN) {
                Some(bytes) => (bytes, true),
                None => (segment.payload_once(entry.offset, Frames::RUN, Structure::Piece, verified, cost)?, false),
            };
            let mut opened = || {
                let (looks, versions) = (entry.parts as usize, entry.versions as usize);
                let piece = Piece::open(bytes, looks, versions, self.is_of_events, is_checked)?;
                let before = (entry.first_look, entry.first_version);
                Opened::new(piece, place_crc(segment.id(), entry.offset), verified, before, cost)
            };
            opened().map_err(|fault| self.place(at).error(fault))
        })?;
        let open = Arc::new(open);
        if let Some(cache) = self.cache {
            cache.put(key, Cached::Run(open.clone()));
        }
        Ok(open)
    }

    /// The piece with look `look`, and its place in it.
    pub(super) fn piece_of_look(&mut self, look: usize) -> Result<(usize, usize), Error> {
        // Times asked for one after the other are mostly in one piece.
        let first = self.pieces.parts_before(self.hint);
        if look >= first && look < self.pieces.parts_before(self.hint + 1) {
            return Ok((self.hint, look - first));
        }
        let at = self.pieces.of_part(look);
        if at == self.pieces.len() {
            return Err(self.outside(look, self.looks()));
        }
        self.hint = at;
        Ok((at, look - self.pieces.parts_before(at)))
    }

    /// When look `look` was.
    pub fn second(&mut self, look: usize, cost: &mut Cost) -> Result<Second, Error> {
        let (at, within) = self.piece_of_look(look)?;
        let of = self.place(at);
        self.turn_to(at, cost)?.borrow_dependent().head().second(within).map_err(|fault| of.error(fault))
    }

    /// Gives all looks, in order.
    pub fn each_look(&mut self, cost: &mut Cost, mut each: impl FnMut(Look)) -> Result<(), Error> {
        for at in 0..self.pieces.len() {
            let (of, open) = (self.place(at), self.piece(at, cost)?);
            let looks = open.borrow_dependent().of_looks(cost).map_err(|fault| of.error(fault))?;
            let columns = looks.look_columns().map_err(|fault| of.error(fault))?;
            cost.bytes_read += looks.look_bytes();
            for look in 0..looks.head().looks() {
                each(looks.look(&columns, look).map_err(|fault| of.error(fault))?);
            }
        }
        Ok(())
    }

    /// Look `look`.
    pub fn look(&mut self, look: usize, cost: &mut Cost) -> Result<Look, Error> {
        let (at, within) = self.piece_of_look(look)?;
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let mut look = || {
            let looks = open.borrow_dependent().of_looks(cost)?;
            looks.look(&looks.look_columns()?, within)
        };
        look().map_err(|fault| of.error(fault))
    }

    /// The last look.
    pub fn last_look(&mut self, cost: &mut Cost) -> Result<Look, Error> {
        self.look(self.looks().saturating_sub(1), cost)
    }

    /// The looks at a second.
    pub fn looks_of(&mut self, second: Second, cost: &mut Cost) -> Result<Range<usize>, Error> {
        let before = second.checked_sub(1).map_or(Ok(0), |before| self.looks_until(before, cost))?;
        Ok(before..self.looks_until(second, cost)?)
    }

    /// The looks around a second.
    pub fn around(&mut self, at: Second, cost: &mut Cost) -> Result<Around, Error> {
        let after = self.pieces.begun(at);
        let first_after = self.pieces.first(after);
        let Some(place) = after.checked_sub(1) else {
            return Ok(Around { until: 0, before: None, after: first_after });
        };
        self.hint = place;
        let Some(entry) = self.pieces.get(place) else {
            return Err(self.outside(place, self.pieces.len()));
        };
        if entry.last <= at {
            let until = entry.first_look + entry.parts as usize;
            return Ok(Around { until, before: Some(entry.last), after: first_after });
        }
        let of = self.place(place);
        let head = self.turn_to(place, cost)?.borrow_dependent().head();
        let around = || -> Result<Around, Fault> {
            let until = head.looks_until(at)?;
            let before = until.checked_sub(1).map(|look| head.second(look)).transpose()?;
            Ok(Around { until: entry.first_look + until, before, after: Some(head.second(until)?) })
        };
        around().map_err(|fault| of.error(fault))
    }

    /// How many looks are at or before a second.
    pub fn looks_until(&mut self, at: Second, cost: &mut Cost) -> Result<usize, Error> {
        self.around(at, cost).map(|around| around.until)
    }
}

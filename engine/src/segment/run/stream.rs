//! A whole run: its pieces found by look, by version and by time, and what is alive at any of its looks.
//!
//! Invariants:
//! - A version that was read is remembered with its piece, if there is a cache, and not decoded again.
//! - Rows are decoded only of versions that are given.

use super::BLOCK_VERSIONS_MAX;
use super::open::{Entry, OpenBlock, OpenPiece, Opened, Ranked};
use super::piece::{Block, Look, Piece};
use crate::codec::Fault;
use crate::error::{Error, Misuse, Structure};
use crate::fact::{Kind, Name, SECOND_MAX, SECOND_MIN, Second};
use crate::packing::{self, Looks};
use crate::read::answer::{self, Cost, End, Event, HistoryRow, Start};
use crate::row::{Row, SortKey, first_name, sort_key};
use crate::segment::cache::{Cache, Cached, Key};
use crate::segment::directory::{Directory, Pieces, StreamRecord};
use crate::segment::{Frames, Segment, TableReader, corrupt};
use crate::timeline::event_time;
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
struct Place<'s> {
    segment: &'s Segment,
    directory: &'s Directory,
    piece: usize,
}

impl Place<'_> {
    #[cold]
    fn error(self, fault: Fault) -> Error {
        let offset = self.directory.pieces_at(self.piece..self.directory.pieces()).offset(0);
        corrupt(self.segment.name(), offset, Structure::Piece, fault)
    }
}

/// When an event happened whose time is this integer.
fn time_or(time: i64, seen: Second) -> Second {
    if (SECOND_MIN..=SECOND_MAX).contains(&time) { time } else { seen }
}

/// So many versions are read at once, whenever they were.
const FEW: usize = 4;

/// A block of the run: its piece, and its place there.
type BlockPlace = (usize, usize);

/// Reads a run.
pub struct Run<'s> {
    reader: TableReader<'s>,
    /// The numbers of the stream's host and name, which are looked up when a version is decoded.
    names: (usize, usize),
    named: Option<(Name, Name)>,
    cache: Option<&'s Cache>,
    pieces: Pieces<'s>,
    is_of_events: bool,
    /// The piece of the last look that was asked for.
    hint: usize,
    /// The keyframe that what was alive last counts on.
    keyframe: Option<BlockPlace>,
    /// The piece that was asked for last, and the others.
    current: Option<(usize, Arc<OpenPiece>)>,
    others: Vec<(usize, Arc<OpenPiece>)>,
    scratch: Scratch,
}

/// Memory that is used again.
#[derive(Default)]
struct Scratch {
    named: Vec<usize>,
    wanted: Vec<u16>,
    bytes: Vec<u8>,
    ends: Vec<(u16, u32)>,
}

impl<'s> Run<'s> {
    /// The run of a stream that is kept as one. What is read of it is remembered if there is a cache.
    pub fn new(reader: TableReader<'s>, stream: &StreamRecord, cache: Option<&'s Cache>) -> Run<'s> {
        let pieces = reader.directory.pieces_at(stream.pieces.clone());
        let (is_of_events, names) = (stream.kind == Kind::Event, (stream.host, stream.name));
        let (others, scratch) = (Vec::new(), Scratch::default());
        Run {
            reader,
            names,
            named: None,
            cache,
            pieces,
            is_of_events,
            hint: 0,
            keyframe: None,
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

    fn place(&self, piece: usize) -> Place<'s> {
        Place { segment: self.reader.segment, directory: self.reader.directory, piece: self.pieces.place(piece) }
    }

    #[cold]
    fn outside(&self, found: usize, max: usize) -> Error {
        self.place(0).error(Fault::Range { found: found as u64, min: 0, max: max as u64 })
    }

    fn cache_key(&self, piece: usize) -> Key {
        Key { segment: self.reader.segment.number(), offset: self.pieces.offset(piece) }
    }

    /// The names of the host and the stream.
    fn named(&mut self) -> (Name, Name) {
        let directory = self.reader.directory;
        let named = || {
            let name = directory.names().get(self.names.1).cloned().unwrap_or_default();
            (Name::from(directory.host_name(self.names.0)), name)
        };
        self.named.get_or_insert_with(named).clone()
    }

    fn piece(&mut self, at: usize, cost: &mut Cost) -> Result<Arc<OpenPiece>, Error> {
        if let Some((current, open)) = &self.current
            && *current == at
        {
            return Ok(open.clone());
        }
        let open = match self.others.iter().find(|other| other.0 == at) {
            Some((_, open)) => open.clone(),
            None => self.open(at, cost)?,
        };
        if let Some(last) = self.current.replace((at, open.clone()))
            && self.others.iter().all(|other| other.0 != last.0)
        {
            self.others.push(last);
        }
        Ok(open)
    }

    fn open(&self, at: usize, cost: &mut Cost) -> Result<Arc<OpenPiece>, Error> {
        let key = self.cache_key(at);
        if let Some(Cached::Run(open)) = self.cache.and_then(|cache| cache.get(&key)) {
            cost.cache_hits += 1;
            return Ok(open);
        }
        let entry = self.pieces.get(at).ok_or_else(|| self.outside(at, self.pieces.len()))?;
        let open = OpenPiece::try_new(self.reader.segment.clone(), |segment| {
            let verified = self.reader.verified(&entry);
            let bytes = segment.payload_once(entry.offset, Frames::RUN, Structure::Piece, verified, cost)?;
            let piece = Piece::open(bytes, entry.parts as usize, entry.versions as usize, self.is_of_events);
            let opened = piece.map(|piece| Opened::new(piece, entry.first_look, entry.first_version));
            opened.map_err(|fault| self.place(at).error(fault))
        })?;
        let open = Arc::new(open);
        if let Some(cache) = self.cache {
            cache.put(key, Cached::Run(open.clone()));
        }
        Ok(open)
    }

    /// The piece with look `look`, and its place in it.
    fn piece_of_look(&mut self, look: usize) -> Result<(usize, usize), Error> {
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
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        open.borrow_dependent().piece.second(within).map_err(|fault| of.error(fault))
    }

    /// Gives all looks, in order.
    pub fn each_look(&mut self, cost: &mut Cost, mut each: impl FnMut(Look)) -> Result<(), Error> {
        for at in 0..self.pieces.len() {
            let (of, open) = (self.place(at), self.piece(at, cost)?);
            let piece = &open.borrow_dependent().piece;
            let columns = piece.look_columns().map_err(|fault| of.error(fault))?;
            cost.bytes_read += piece.look_bytes();
            for look in 0..piece.looks() {
                each(piece.look(&columns, look).map_err(|fault| of.error(fault))?);
            }
        }
        Ok(())
    }

    /// The last look.
    pub fn last_look(&mut self, cost: &mut Cost) -> Result<Look, Error> {
        let at = self.pieces.len().saturating_sub(1);
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let piece = &open.borrow_dependent().piece;
        let last = || piece.look(&piece.look_columns()?, piece.looks().saturating_sub(1));
        last().map_err(|fault| of.error(fault))
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
        let (of, open) = (self.place(place), self.piece(place, cost)?);
        let piece = &open.borrow_dependent().piece;
        let around = || -> Result<Around, Fault> {
            let until = piece.looks_until(at)?;
            let before = until.checked_sub(1).map(|look| piece.second(look)).transpose()?;
            Ok(Around { until: entry.first_look + until, before, after: Some(piece.second(until)?) })
        };
        around().map_err(|fault| of.error(fault))
    }

    /// How many looks are at or before a second.
    pub fn looks_until(&mut self, at: Second, cost: &mut Cost) -> Result<usize, Error> {
        self.around(at, cost).map(|around| around.until)
    }

    /// The block of a version, and the version's place there.
    fn block_of(&self, ordinal: usize) -> Result<(BlockPlace, usize), Error> {
        let piece = self.pieces.of_version(ordinal);
        if piece == self.pieces.len() {
            return Err(self.outside(ordinal, self.versions()));
        }
        let within = ordinal - self.pieces.versions_before(piece);
        Ok(((piece, within / BLOCK_VERSIONS_MAX), within % BLOCK_VERSIONS_MAX))
    }

    /// The times of a block's version, by look.
    fn version_at(
        opened: &Opened<'_>,
        block: usize,
        known: &OpenBlock,
        body: &Block<'_>,
        at: usize,
    ) -> Result<Version, Fault> {
        let born = opened.first_look + known.looks[known.group_of(at)?] as usize;
        let length = body.length(at)?;
        let died = length.map(|length| born.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
        let ordinal = opened.first_version + block * BLOCK_VERSIONS_MAX + at;
        Ok(Version { ordinal, born, died, count: body.copies(at)? })
    }

    /// A version.
    pub fn entry(&mut self, ordinal: usize, cost: &mut Cost) -> Result<Entry, Error> {
        let (block, at) = self.block_of(ordinal)?;
        cost.keys_decoded += 1;
        let mut found = None;
        self.read(block, &[at as u16], cost, &mut |entry: &Entry, _: &mut Cost| {
            found = Some(entry.clone());
            Ok(())
        })?;
        found.ok_or_else(|| self.outside(ordinal, self.versions()))
    }

    /// Gives versions, whose ordinals ascend.
    pub fn each_of(
        &mut self,
        ordinals: &[usize],
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut wanted = std::mem::take(&mut self.scratch.wanted);
        let mut rest = ordinals;
        while !rest.is_empty() {
            let block = self.take_block(&mut rest, &mut wanted, cost)?;
            self.read(block, &wanted, cost, &mut each)?;
        }
        self.scratch.wanted = wanted;
        Ok(())
    }

    /// Takes off the front of some versions, whose ordinals ascend, those of the first one's block; `wanted` becomes their
    /// places there.
    fn take_block(&self, ordinals: &mut &[usize], wanted: &mut Vec<u16>, cost: &mut Cost) -> Result<BlockPlace, Error> {
        wanted.clear();
        let first = ordinals.first().copied().unwrap_or(self.versions());
        let (block, place) = self.block_of(first)?;
        let end = self.end_of(block);
        let (of_block, others) = ordinals.split_at(ordinals.partition_point(|&ordinal| ordinal < end));
        wanted.extend(of_block.iter().map(|&ordinal| (ordinal - first + place) as u16));
        cost.keys_decoded += wanted.len() as u64;
        *ordinals = others;
        Ok(block)
    }

    /// The first version after a block.
    fn end_of(&self, (piece, block): BlockPlace) -> usize {
        let of_block = self.pieces.versions_before(piece) + (block + 1) * BLOCK_VERSIONS_MAX;
        self.pieces.versions_before(piece + 1).min(of_block)
    }

    /// Gives those of a block's versions, which are decoded unless they are remembered.
    fn read(
        &mut self,
        place: BlockPlace,
        wanted: &[u16],
        cost: &mut Cost,
        each: &mut impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (of, open) = (self.place(place.0), self.piece(place.0, cost)?);
        let known = self.block(place, open.borrow_dependent())?;
        if wanted.iter().any(|&at| known.entry(usize::from(at)).is_none()) {
            self.decode(place, &open, known, wanted, cost)?;
        }
        for &at in wanted {
            let at = usize::from(at);
            let range = Fault::Range { found: at as u64, min: 0, max: known.count as u64 };
            each(known.entry(at).ok_or_else(|| of.error(range))?, cost)?;
        }
        Ok(())
    }

    /// Decodes those of a block's versions that are not remembered.
    #[inline(never)]
    fn decode(
        &mut self,
        place: BlockPlace,
        open: &OpenPiece,
        known: &OpenBlock,
        wanted: &[u16],
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let of = self.place(place.0);
        let fault = |fault| of.error(fault);
        let opened = open.borrow_dependent();
        let dictionary = self.reader.dictionary()?;
        let body = opened.piece.block(place.1).map_err(fault)?;
        let rows = packing::Block::open(dictionary, body.rows, body.count).map_err(fault)?;
        let looks = Looks { starts: &known.starts, seconds: &known.seconds };
        let Scratch { mut bytes, mut ends, .. } = std::mem::take(&mut self.scratch);
        bytes.clear();
        ends.clear();
        for &at in wanted.iter().filter(|&&at| known.entry(usize::from(at)).is_none()) {
            rows.row(&looks, usize::from(at), &mut bytes).map_err(fault)?;
            ends.push((at, u32::try_from(bytes.len()).map_err(|_| Misuse::AnswerTooLarge)?));
        }
        cost.rows_decoded += ends.len() as u64;
        cost.bytes_read += body.bytes_of_keys(ends.len()) + body.bytes_of_rows(ends.len());
        let buffer: Arc<[u8]> = Arc::from(&bytes[..]);
        let (first_column, time) = (dictionary.columns().next(), dictionary.column(b"time"));
        let (mut start, mut taken) = (0, buffer.len());
        for &(at, end) in &ends {
            let row = Row::of_buffer(&buffer, start..end);
            start = end;
            let version = Run::version_at(opened, place.1, known, &body, usize::from(at)).map_err(fault)?;
            let ordinal = version.ordinal as u32;
            let from = known.seconds[known.group_of(usize::from(at)).map_err(fault)?];
            let (mut is_keyed, mut key) = (false, SortKey::default());
            let (to, given) = if self.is_of_events {
                let number = time.map_or(Ok(None), |time| rows.number(&looks, usize::from(at), time)).map_err(fault)?;
                let event = self.event(&version, row, from, number);
                (event.time, HistoryRow::Event(Arc::new(event)))
            } else {
                is_keyed = first_column.is_some() && first_name(row.as_bytes()) == first_column;
                key = sort_key(row.as_bytes());
                let version = self.version(&version, row, from, cost)?;
                (version.to.unwrap_or(Second::MAX), HistoryRow::Version(Arc::new(version)))
            };
            taken += known.put(usize::from(at), Entry { from, to, ordinal, is_keyed, key, given });
        }
        self.grow(place.0, opened, taken);
        (self.scratch.bytes, self.scratch.ends) = (bytes, ends);
        Ok(())
    }

    /// What is known of a block.
    fn block<'o>(&self, (piece, block): BlockPlace, opened: &'o Opened<'_>) -> Result<&'o OpenBlock, Error> {
        let (known, taken) = opened.block(block).map_err(|fault| self.place(piece).error(fault))?;
        if taken > 0 {
            self.grow(piece, opened, taken);
        }
        Ok(known)
    }

    /// Notes that a piece takes so many bytes more.
    fn grow(&self, piece: usize, opened: &Opened<'_>, bytes: usize) {
        opened.add_bytes(bytes);
        if let Some(cache) = self.cache {
            cache.grow(&self.cache_key(piece), bytes);
        }
    }

    /// The order of most of the rows that were alive last, if it is remembered.
    pub fn order(&mut self, cost: &mut Cost) -> Result<Option<Arc<[Ranked]>>, Error> {
        let Some((piece, block)) = self.keyframe else {
            return Ok(None);
        };
        let open = self.piece(piece, cost)?;
        self.block((piece, block), open.borrow_dependent()).map(OpenBlock::order)
    }

    /// Remembers the order of the rows that were alive last.
    pub fn put_order(&mut self, order: Arc<[Ranked]>, cost: &mut Cost) -> Result<(), Error> {
        let Some((piece, block)) = self.keyframe else {
            return Ok(());
        };
        let open = self.piece(piece, cost)?;
        let opened = open.borrow_dependent();
        let bytes = self.block((piece, block), opened)?.put_order(order);
        self.grow(piece, opened, bytes);
        Ok(())
    }

    /// A version as answers give it.
    fn version(
        &mut self,
        version: &Version,
        row: Row,
        from: Second,
        cost: &mut Cost,
    ) -> Result<answer::Version, Error> {
        let from_after = version.born.checked_sub(1).map(|look| self.second(look, cost)).transpose()?;
        let to = version.died.map(|died| self.second(died, cost)).transpose()?;
        let to_after = version.died.map(|died| self.second(died.saturating_sub(1), cost)).transpose()?;
        let (host, stream) = self.named();
        Ok(answer::Version {
            host,
            stream,
            row,
            count: version.count,
            from,
            from_after,
            to,
            to_after,
            start: Start::Seen,
            end: if to.is_some() { End::Gone } else { End::Open },
            verified: true,
        })
    }

    /// An event as answers give it; `number` is its time, if that is packed as an integer.
    fn event(&mut self, version: &Version, row: Row, seen: Second, number: Option<i64>) -> Event {
        let time = match number {
            Some(number) => time_or(number, seen),
            None => event_time(row.as_bytes()).unwrap_or(seen),
        };
        let (host, stream) = self.named();
        Event { host, stream, time, seen, row, count: version.count }
    }

    /// Gives the blocks with versions that are alive after look `look`, and which these are.
    fn each_alive(
        &mut self,
        look: usize,
        cost: &mut Cost,
        mut each: impl FnMut(&mut Run<'s>, BlockPlace, &[u16], &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (at, within) = self.piece_of_look(look)?;
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let fault = |fault| of.error(fault);
        let piece = &open.borrow_dependent().piece;
        let second = piece.second(within).map_err(fault)?;
        let last = piece.block_of_look(within).map_err(fault)?;
        let keyframe = piece.keyframe_of(last).map_err(fault)?;
        self.keyframe = Some((at, keyframe));
        let Scratch { mut named, mut wanted, .. } = std::mem::take(&mut self.scratch);
        named.clear();
        let body = piece.block(keyframe).map_err(fault)?;
        body.alive(|ordinal| named.push(ordinal as usize)).map_err(fault)?;
        cost.bytes_read += body.alive_bytes();
        let mut rest = &named[..];
        while !rest.is_empty() {
            let block = self.take_block(&mut rest, &mut wanted, cost)?;
            self.retain_alive(block, look, second, &mut wanted, cost)?;
            if !wanted.is_empty() {
                each(self, block, &wanted, cost)?;
            }
        }
        for block in keyframe..=last {
            wanted.clear();
            let known = self.block((at, block), open.borrow_dependent())?;
            let born = known.born_before(within + 1);
            cost.keys_decoded += born as u64;
            let body = piece.block(block).map_err(fault)?;
            cost.bytes_read += body.bytes_of_keys(born);
            let mut start = 0;
            for (group, &first) in known.looks.iter().enumerate() {
                let end = known.starts.get(group + 1).map_or(known.count, |&end| end as usize).min(born);
                let age = (within as u64).saturating_sub(u64::from(first));
                for at in start..end {
                    if body.length(at).map_err(fault)?.is_none_or(|length| length > age) {
                        wanted.push(at as u16);
                    }
                }
                if end == born {
                    break;
                }
                start = end;
            }
            if !wanted.is_empty() {
                each(self, (at, block), &wanted, cost)?;
            }
        }
        (self.scratch.named, self.scratch.wanted) = (named, wanted);
        Ok(())
    }

    /// Of versions of a block, leaves those that are alive after a look.
    fn retain_alive(
        &mut self,
        place: BlockPlace,
        look: usize,
        second: Second,
        wanted: &mut Vec<u16>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let (of, open) = (self.place(place.0), self.piece(place.0, cost)?);
        let opened = open.borrow_dependent();
        let known = self.block(place, opened)?;
        let (mut body, mut failed, mut keys) = (None, None, 0);
        let mut is_alive = |at: usize| -> Result<bool, Fault> {
            if let Some(entry) = known.entry(at) {
                return Ok(entry.from <= second && entry.to > second);
            }
            let body = match &body {
                Some(body) => body,
                None => body.insert(opened.piece.block(place.1)?),
            };
            keys += 1;
            let version = Run::version_at(opened, place.1, known, body, at)?;
            Ok(version.born <= look && version.died.is_none_or(|died| died > look))
        };
        wanted.retain(|&at| is_alive(usize::from(at)).unwrap_or_else(|fault| failed.replace(fault).is_some()));
        cost.bytes_read += body.map_or(0, |body| body.bytes_of_keys(keys));
        failed.map_or(Ok(()), |fault| Err(of.error(fault)))
    }

    /// Gives the versions that are alive after look `look`, by birth.
    pub fn alive_after(
        &mut self,
        look: usize,
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.each_alive(look, cost, |run, block, wanted, cost| run.read(block, wanted, cost, &mut each))
    }

    /// Of so many versions, whose ordinals ascend, gives those that may be alive after look `look` or appear until
    /// `until`: of what appears before the look's keyframe only what this names, so that it matters little how many there
    /// were at other times.
    pub fn among(
        &mut self,
        look: usize,
        until: Second,
        count: usize,
        ordinal: impl Fn(usize) -> Result<usize, Error>,
        cost: &mut Cost,
        mut each: impl FnMut(&Entry) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if count <= FEW {
            return (0..count).try_for_each(|place| each(&self.entry(ordinal(place)?, cost)?));
        }
        let (at, within) = self.piece_of_look(look)?;
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let fault = |fault| of.error(fault);
        let piece = &open.borrow_dependent().piece;
        let last = piece.block_of_look(within).map_err(fault)?;
        let keyframe = piece.keyframe_of(last).map_err(fault)?;
        let first = open.borrow_dependent().first_version + keyframe * BLOCK_VERSIONS_MAX;
        let body = piece.block(keyframe).map_err(fault)?;
        let find = |sought: usize| -> Result<usize, Error> {
            let (mut low, mut high) = (0, count);
            while low < high {
                let middle = (low + high) / 2;
                if ordinal(middle)? < sought { low = middle + 1 } else { high = middle }
            }
            Ok(low)
        };
        let recent = find(first)?;
        if recent <= body.alive_len() {
            for place in 0..recent {
                each(&self.entry(ordinal(place)?, cost)?)?;
            }
        } else {
            let mut named = std::mem::take(&mut self.scratch.named);
            named.clear();
            body.alive(|ordinal| named.push(ordinal as usize)).map_err(fault)?;
            cost.bytes_read += body.alive_bytes();
            for &alive in &named {
                let place = find(alive)?;
                if place < recent && ordinal(place)? == alive {
                    each(&self.entry(alive, cost)?)?;
                }
            }
            self.scratch.named = named;
        }
        for place in recent..count {
            let entry = self.entry(ordinal(place)?, cost)?;
            if entry.from > until {
                break;
            }
            each(&entry)?;
        }
        Ok(())
    }

    /// The ordinals of the versions that are alive after look `look`, ascending.
    pub fn ordinals_after(&mut self, look: usize, cost: &mut Cost) -> Result<Vec<usize>, Error> {
        let mut ordinals = Vec::new();
        self.each_alive(look, cost, |run, (piece, block), wanted, _| {
            let first = run.pieces.versions_before(piece) + block * BLOCK_VERSIONS_MAX;
            ordinals.extend(wanted.iter().map(|&at| first + usize::from(at)));
            Ok(())
        })?;
        Ok(ordinals)
    }

    /// Gives the versions that appear at these looks, by birth.
    pub fn born_in(
        &mut self,
        looks: Range<usize>,
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if looks.is_empty() {
            return Ok(());
        }
        let (first, within) = self.piece_of_look(looks.start)?;
        // Versions of the first look may begin in blocks before the last that begins with it.
        let (of, open) = (self.place(first), self.piece(first, cost)?);
        let first_block = open.borrow_dependent().piece.first_block_of_look(within);
        let mut block = first_block.map_err(|fault| of.error(fault))?;
        let mut wanted = Vec::new();
        for piece in first..self.pieces.len() {
            let first_look = self.pieces.parts_before(piece);
            if first_look >= looks.end {
                break;
            }
            let open = self.piece(piece, cost)?;
            let opened = open.borrow_dependent();
            for block in std::mem::take(&mut block)..opened.piece.blocks() {
                let known = self.block((piece, block), opened)?;
                let from = known.born_before(looks.start.saturating_sub(first_look));
                let to = known.born_before(looks.end - first_look);
                wanted.clear();
                wanted.extend(from as u16..to as u16);
                cost.keys_decoded += wanted.len() as u64;
                if !wanted.is_empty() {
                    self.read((piece, block), &wanted, cost, &mut each)?;
                }
                if to < known.count {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Of a run of events: gives those that happened within a span, which its end does not belong to, by look. The time
    /// when one happened stands in [`Entry::to`].
    pub fn events_in(
        &mut self,
        span: (Second, Second),
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let overlaps = |(first, last): (Second, Second)| first < span.1 && span.0 <= last;
        let within = |time: Second| span.0 <= time && time < span.1;
        let column = self.reader.dictionary()?.column(b"time");
        let mut wanted = Vec::new();
        for piece in 0..self.pieces.len() {
            if !self.pieces.get(piece).is_some_and(|piece| overlaps(piece.times)) {
                continue;
            }
            let (of, open) = (self.place(piece), self.piece(piece, cost)?);
            let fault = |fault| of.error(fault);
            let opened = open.borrow_dependent();
            for block in 0..opened.piece.blocks() {
                let times = opened.piece.block_times(block).map_err(fault)?;
                if !overlaps(times) {
                    continue;
                }
                let known = self.block((piece, block), opened)?;
                wanted.clear();
                wanted.extend(0..known.count as u16);
                if let Some(column) = column
                    && !(within(times.0) && within(times.1))
                {
                    let times = self.times((piece, block), opened, known, column, cost)?;
                    wanted.retain(|&at| times[usize::from(at)].is_none_or(within));
                }
                cost.keys_decoded += known.count as u64;
                self.read((piece, block), &wanted, cost, &mut |entry: &Entry, cost: &mut Cost| {
                    if within(entry.to) { each(entry, cost) } else { Ok(()) }
                })?;
            }
        }
        Ok(())
    }

    /// When each event of a block happened, as far as the column of times tells: mostly it is a packed integer, and most
    /// events outside a span need not be decoded further.
    fn times<'k>(
        &self,
        place: BlockPlace,
        opened: &Opened<'_>,
        known: &'k OpenBlock,
        column: usize,
        cost: &mut Cost,
    ) -> Result<&'k [Option<Second>], Error> {
        let dictionary = self.reader.dictionary()?;
        let times = known.times(|| {
            let body = opened.piece.block(place.1)?;
            let rows = packing::Block::open(dictionary, body.rows, body.count)?;
            let looks = Looks { starts: &known.starts, seconds: &known.seconds };
            let time = |at: usize| -> Result<Option<Second>, Fault> {
                let seen = known.seconds[known.group_of(at)?];
                Ok(rows.number(&looks, at, column)?.map(|time| time_or(time, seen)))
            };
            let times: Box<[_]> = (0..known.count).map(time).collect::<Result<_, _>>()?;
            self.grow(place.0, opened, size_of_val(&*times));
            cost.bytes_read += (known.count * size_of::<u32>()) as u64;
            Ok(times)
        });
        times.map_err(|fault| self.place(place.0).error(fault))
    }

    /// Gives all versions, by birth.
    pub fn each_entry(
        &mut self,
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut wanted = Vec::new();
        for piece in 0..self.pieces.len() {
            let blocks = self.piece(piece, cost)?.borrow_dependent().piece.blocks();
            for block in 0..blocks {
                let versions = self.pieces.versions_before(piece + 1) - self.pieces.versions_before(piece);
                let left = versions.saturating_sub(block * BLOCK_VERSIONS_MAX);
                wanted.clear();
                wanted.extend(0..left.min(BLOCK_VERSIONS_MAX) as u16);
                cost.keys_decoded += wanted.len() as u64;
                self.read((piece, block), &wanted, cost, &mut each)?;
            }
        }
        Ok(())
    }

    /// Gives all versions with the canonical bytes of their rows, by birth, and remembers none.
    pub fn each_version(
        &mut self,
        cost: &mut Cost,
        mut each: impl FnMut(&Version, &[u8], &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let dictionary = self.reader.dictionary()?;
        let mut bytes = Vec::new();
        for piece in 0..self.pieces.len() {
            let (of, open) = (self.place(piece), self.piece(piece, cost)?);
            let fault = |fault| of.error(fault);
            let opened = open.borrow_dependent();
            for block in 0..opened.piece.blocks() {
                let known = self.block((piece, block), opened)?;
                let body = opened.piece.block(block).map_err(fault)?;
                let rows = packing::Block::open(dictionary, body.rows, body.count).map_err(fault)?;
                let looks = Looks { starts: &known.starts, seconds: &known.seconds };
                for at in 0..known.count {
                    bytes.clear();
                    rows.row(&looks, at, &mut bytes).map_err(fault)?;
                    cost.rows_decoded += 1;
                    cost.bytes_read += body.bytes_of_keys(1) + body.bytes_of_rows(1);
                    let version = Run::version_at(opened, block, known, &body, at).map_err(fault)?;
                    each(&version, &bytes, cost)?;
                }
            }
        }
        Ok(())
    }
}

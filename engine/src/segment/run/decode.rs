//! The versions of a run ready for answers: decoded where they lie, or remembered with their piece.
//!
//! Invariants:
//! - A version that was read is remembered, if there is a cache, and not decoded again.
//! - Rows are decoded only of versions that are given.

use super::BLOCK_VERSIONS_MAX;
use super::open::{Alive, Entry, OpenBlock, OpenPiece, Opened, Ranked};
use super::piece::Block;
use super::stream::{BlockPlace, LastAlive, Place, Run, Version, time_or};
use crate::codec::Fault;
use crate::error::{Error, Misuse};
use crate::fact::Second;
use crate::packing::{self, Looks, RowsScratch};
use crate::read::answer::{self, Cost, End, Event, HistoryRow, Start};
use crate::row::{Row, push_table};
use crate::segment::cache::Cache;
use crate::timeline::event_time;
use crate::timeline::moments::VersionCopies;
use std::cell::Cell;
use std::ops::Range;
use std::sync::Arc;

/// Where a row is that was decoded.
enum RowAt {
    /// Among the bytes that were decoded, and whether its table follows it.
    Own(Range<u32>, bool),
    /// It is shared.
    Shared(Row),
}

/// What decoding needs while it lasts.
#[derive(Default)]
struct Room {
    bytes: Vec<u8>,
    /// Versions that are decoded: their places in their block, and their rows.
    missing: Vec<u16>,
    decoded: Vec<RowAt>,
    rows: RowsScratch,
}

/// Each thread keeps room for so many bytes of rows, whatever bound the cache has; more is given back.
const ROOM_BYTES_MAX: usize = 128 << 10;

thread_local! {
    // Of each stream mostly few versions are decoded, and making room for them would take as long as that.
    static ROOM: Cell<Option<Box<Room>>> = const { Cell::new(None) };
}

/// The piece that versions are decoded from, and the look before which the last of them appeared.
struct Near<'o, 'p, 's> {
    of: Place<'s>,
    opened: &'o Opened<'p>,
    last: Option<(usize, Second)>,
}

impl<'s> Run<'s> {
    /// The block of a version, and the version's place there.
    pub(super) fn block_of(&self, ordinal: usize) -> Result<(BlockPlace, usize), Error> {
        let piece = self.pieces.of_version(ordinal);
        if piece == self.pieces.len() {
            return Err(self.outside(ordinal, self.versions()));
        }
        let within = ordinal - self.pieces.versions_before(piece);
        Ok(((piece, within / BLOCK_VERSIONS_MAX), within % BLOCK_VERSIONS_MAX))
    }

    /// The times by look of a block's version, which appears with this group of its looks.
    #[inline]
    pub(super) fn version_of(
        opened: &Opened<'_>,
        block: usize,
        known: &OpenBlock,
        body: &Block<'_>,
        group: usize,
        at: usize,
    ) -> Result<Version, Fault> {
        let born = opened.first_look + known.looks[group] as usize;
        let length = body.length(at)?;
        let died = length.map(|length| born.saturating_add(usize::try_from(length).unwrap_or(usize::MAX)));
        let ordinal = opened.first_version + block * BLOCK_VERSIONS_MAX + at;
        Ok(Version { ordinal, born, died, count: body.copies(at)? })
    }

    /// Gives one version.
    pub fn one<R>(&mut self, ordinal: usize, cost: &mut Cost, with: impl FnOnce(&Entry) -> R) -> Result<R, Error> {
        let (place, at) = self.block_of(ordinal)?;
        cost.keys_decoded += 1;
        let open = self.piece(place.0, cost)?;
        let known = self.block(place, open.borrow_dependent(), cost)?;
        self.first(place, &open, known, &[at as u16], cost).map(with)
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
    pub(super) fn take_block(
        &self,
        ordinals: &mut &[usize],
        wanted: &mut Vec<u16>,
        cost: &mut Cost,
    ) -> Result<BlockPlace, Error> {
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
    pub(super) fn read(
        &mut self,
        place: BlockPlace,
        wanted: &[u16],
        cost: &mut Cost,
        each: &mut impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let open = self.piece(place.0, cost)?;
        let known = self.block(place, open.borrow_dependent(), cost)?;
        for done in 0..wanted.len() {
            let entry = self.first(place, &open, known, &wanted[done..], cost)?;
            each(entry, cost)?;
        }
        Ok(())
    }

    /// The first of some of a block's versions; if it is not remembered, it is decoded and all of them with it that are read
    /// at once.
    #[inline(always)]
    fn first<'k>(
        &mut self,
        place: BlockPlace,
        open: &OpenPiece,
        known: &'k OpenBlock,
        wanted: &[u16],
        cost: &mut Cost,
    ) -> Result<&'k Entry, Error> {
        let at = wanted.first().copied().map_or(usize::MAX, usize::from);
        if let Some(entry) = known.entry(at) {
            return Ok(entry);
        }
        self.decode(place, open, known, wanted, cost)?;
        let range = Fault::Range { found: at as u64, min: 0, max: known.count as u64 };
        known.entry(at).ok_or_else(|| self.place(place.0).error(range))
    }

    /// Decodes those of a block's versions that are not remembered, as many as are read at once.
    #[inline(never)]
    fn decode(
        &mut self,
        place: BlockPlace,
        open: &OpenPiece,
        known: &OpenBlock,
        wanted: &[u16],
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let (of, opened) = (self.place(place.0), open.borrow_dependent());
        let fault = |fault| of.error(fault);
        let dictionary = self.reader.dictionary()?;
        let body = opened.body(place.1, cost).map_err(fault)?;
        let rows = packing::Block::open(dictionary, body.rows, body.count).map_err(fault)?;
        let looks = Looks { starts: &known.starts, seconds: &known.seconds };
        let mut room = ROOM.take().unwrap_or_default();
        let Room { bytes, missing, decoded, rows: scratch } = &mut *room;
        bytes.clear();
        missing.clear();
        missing.extend(wanted.iter().filter(|&&at| known.entry(usize::from(at)).is_none()));
        decoded.clear();
        // Of events it is known that they hardly ever come again.
        let shared = self.cache.filter(|_| !self.is_of_events).map(Cache::shared_rows);
        let put = |_, start: usize, bytes: &mut Vec<u8>| {
            decoded.push(match shared.and_then(|shared| shared.get(&bytes[start..])) {
                Some(row) => {
                    bytes.truncate(start);
                    RowAt::Shared(row)
                }
                None => {
                    let end = bytes.len();
                    RowAt::Own(start as u32..end as u32, push_table(bytes, start))
                }
            });
        };
        let count = rows.rows(&looks, missing, scratch, bytes, put).map_err(fault)?;
        u32::try_from(bytes.len()).map_err(|_| Misuse::AnswerTooLarge)?;
        cost.rows_decoded += count as u64;
        cost.bytes_read += body.bytes_of_keys(count) + body.bytes_of_rows(count);
        let buffer: Arc<[u8]> = Arc::from(&bytes[..]);
        let time = dictionary.column(b"time");
        let (mut group, mut near) = (0, Near { of, opened, last: None });
        let entries = missing.iter().zip(decoded.drain(..)).map(|(&at, row)| {
            let at = usize::from(at);
            let row = match row {
                RowAt::Own(range, has_table) => Row::with_table(&buffer, range, has_table),
                RowAt::Shared(row) => row,
            };
            group = known.group_from(group, at);
            let version = Run::version_of(opened, place.1, known, &body, group, at).map_err(fault)?;
            let (ordinal, from) = (version.ordinal as u32, known.seconds[group]);
            let is_odd = self.is_resolved && VersionCopies::from_number(version.count).is_odd();
            let (to, given) = if self.is_of_events {
                let number = time.map_or(Ok(None), |time| rows.number(&looks, at, time)).map_err(fault)?;
                let event = self.event(&version, row, from, number);
                (event.time, HistoryRow::Event(Arc::new(event)))
            } else {
                let version = self.version(&mut near, &version, row, from, cost)?;
                (version.to.unwrap_or(Second::MAX), HistoryRow::Version(Arc::new(version)))
            };
            Ok((at, Entry { from, to, ordinal, is_odd, given }))
        });
        let mut taken = buffer.len();
        let put = known.put(entries, &mut taken);
        self.grow(place.0, opened, taken);
        if room.bytes.capacity() <= ROOM_BYTES_MAX {
            ROOM.set(Some(room));
        }
        put
    }

    /// What is known of a block.
    pub(super) fn block<'o>(
        &self,
        (piece, block): BlockPlace,
        opened: &'o Opened<'_>,
        cost: &mut Cost,
    ) -> Result<&'o OpenBlock, Error> {
        let (known, taken) = opened.block(block, cost).map_err(|fault| self.place(piece).error(fault))?;
        if taken > 0 {
            self.grow(piece, opened, taken);
        }
        Ok(known)
    }

    /// Notes that a piece takes so many bytes more.
    pub(super) fn grow(&self, piece: usize, opened: &Opened<'_>, bytes: usize) {
        opened.add_bytes(bytes);
        if let Some(cache) = self.cache {
            cache.grow(&self.cache_key(piece), bytes);
        }
    }

    /// The order of most of the rows that were alive last, if it is remembered.
    pub fn order(&mut self, cost: &mut Cost) -> Result<Option<Arc<[Ranked]>>, Error> {
        let Some(LastAlive { keyframe: (piece, block), .. }) = self.last else {
            return Ok(None);
        };
        let open = self.piece(piece, cost)?;
        self.block((piece, block), open.borrow_dependent(), cost).map(OpenBlock::order)
    }

    /// Remembers the order of the rows that were alive last.
    pub fn put_order(&mut self, order: Arc<[Ranked]>, cost: &mut Cost) -> Result<(), Error> {
        let Some(LastAlive { keyframe: (piece, block), .. }) = self.last else {
            return Ok(());
        };
        let open = self.piece(piece, cost)?;
        let opened = open.borrow_dependent();
        let bytes = self.block((piece, block), opened, cost)?.put_order(order);
        self.grow(piece, opened, bytes);
        Ok(())
    }

    /// All that is alive after a look, in the order of their rows, if it is remembered; the look was at `second`.
    pub fn known_alive(&mut self, look: usize, second: Second, cost: &mut Cost) -> Result<Option<Arc<Alive>>, Error> {
        let (piece, _) = self.piece_of_look(look)?;
        Ok(self.turn_to(piece, cost)?.borrow_dependent().alive_at(second))
    }

    /// Remembers all that was alive last, in the order of their rows.
    pub fn put_alive(&mut self, alive: Arc<Alive>, cost: &mut Cost) -> Result<(), Error> {
        let Some(LastAlive { keyframe: (piece, _), seconds }) = self.last.clone() else {
            return Ok(());
        };
        let open = self.piece(piece, cost)?;
        let opened = open.borrow_dependent();
        let bytes = opened.put_alive(seconds, alive);
        self.grow(piece, opened, bytes);
        Ok(())
    }

    /// A version as answers give it.
    fn version(
        &mut self,
        near: &mut Near<'_, '_, 's>,
        version: &Version,
        row: Row,
        from: Second,
        cost: &mut Cost,
    ) -> Result<answer::Version, Error> {
        if self.is_resolved {
            return self.resolved_version(version, row, from, cost);
        }
        let from_after = match (version.born.checked_sub(1), near.last) {
            (Some(look), Some((last, second))) if look == last => Some(second),
            (Some(look), _) => Some(near.last.insert((look, self.second_near(near, look, cost)?)).1),
            (None, _) => None,
        };
        let to = version.died.map(|died| self.second_near(near, died, cost)).transpose()?;
        let to_after = version.died.map(|died| self.second_near(near, died.saturating_sub(1), cost)).transpose()?;
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

    /// When look `look` was, which is most likely one of this piece.
    #[inline]
    fn second_near(&mut self, near: &Near<'_, '_, 's>, look: usize, cost: &mut Cost) -> Result<Second, Error> {
        match look.checked_sub(near.opened.first_look).filter(|&within| within < near.opened.head().looks()) {
            Some(within) => near.opened.head().second(within).map_err(|fault| near.of.error(fault)),
            None => self.second(look, cost),
        }
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
}

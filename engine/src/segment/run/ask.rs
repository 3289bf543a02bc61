//! What a run is asked: what is alive after a look, which of some versions may be, what appears or happens in a span, and
//! everything.
//!
//! Invariants:
//! - Of what appears before the keyframe of a look only what this names is looked at.
//! - Rows are decoded only of versions that are given.

use super::BLOCK_VERSIONS_MAX;
use super::open::{Entry, OpenBlock, Opened};
use super::piece::Head;
use super::stream::{BlockPlace, LastAlive, Run, Scratch, Version, time_or};
use crate::codec::Fault;
use crate::error::Error;
use crate::fact::Second;
use crate::packing::{self, Looks, RowsScratch};
use crate::read::answer::Cost;
use crate::timeline::regular::Side;
use std::ops::Range;

/// So many versions are read at once, whenever they were.
const FEW: usize = 4;

/// The looks of a piece around one of them between which nothing appears and nothing goes.
struct Steady {
    /// How many looks of the run come before the piece.
    first_look: usize,
    within: u64,
    /// The last look at or before it at which anything appeared or was gone, and the first after it; by number, and by second
    /// what is known so.
    last: u64,
    next: u64,
    last_second: Second,
    next_second: Second,
}

impl Steady {
    /// Around look `within`, which counts on this keyframe: what it does not name was gone before.
    fn new(opened: &Opened<'_>, keyframe: usize, within: usize) -> Result<Steady, Fault> {
        let (first_look, within, last) = (opened.first_look, within as u64, opened.head().look_of_block(keyframe)?);
        Ok(Steady { first_look, within, last, next: u64::MAX, last_second: Second::MIN, next_second: Second::MAX })
    }

    /// Notes that something appears or is gone at a look; tells whether it is at or before the one that is asked for.
    #[inline]
    fn note(&mut self, look: u64) -> bool {
        let is_before = look <= self.within;
        if is_before {
            self.last = self.last.max(look);
        } else {
            self.next = self.next.min(look);
        }
        is_before
    }

    /// The same by the look's second, where the one that is asked for was at `second`.
    #[inline]
    fn note_second(&mut self, look: Second, second: Second) {
        if look <= second {
            self.last_second = self.last_second.max(look);
        } else {
            self.next_second = self.next_second.min(look);
        }
    }

    /// When the first of the looks was, and when the first after them; `after` the piece's last comes one of this second.
    fn seconds(&self, head: Head<'_, '_>, after: Second) -> Result<Range<Second>, Fault> {
        let looks = head.looks() as u64;
        let next = if self.next < looks { head.second(self.next as usize)? } else { after };
        Ok(self.last_second.max(head.second(self.last as usize)?)..self.next_second.min(next))
    }
}

impl<'s> Run<'s> {
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
        let (opened, head) = (open.borrow_dependent(), open.borrow_dependent().head());
        let second = head.second(within).map_err(fault)?;
        let last = head.block_of_look(within).map_err(fault)?;
        let keyframe = head.keyframe_of(last).map_err(fault)?;
        let mut steady = Steady::new(open.borrow_dependent(), keyframe, within).map_err(fault)?;
        let Scratch { mut named, mut wanted, .. } = std::mem::take(&mut self.scratch);
        named.clear();
        let body = opened.body(keyframe, cost).map_err(fault)?;
        body.alive(|ordinal| named.push(ordinal as usize)).map_err(fault)?;
        // What appears in its block or later is met there.
        let first = opened.first_version + keyframe * BLOCK_VERSIONS_MAX;
        if let Some(&last) = named.last().filter(|&&last| last >= first) {
            return Err(fault(Fault::Range { found: last as u64, min: 0, max: first as u64 }));
        }
        cost.bytes_read += body.alive_bytes();
        let mut rest = &named[..];
        while !rest.is_empty() {
            let block = self.take_block(&mut rest, &mut wanted, cost)?;
            self.retain_alive(block, (look, second), &mut wanted, &mut steady, cost)?;
            if !wanted.is_empty() {
                each(self, block, &wanted, cost)?;
            }
        }
        for block in keyframe..=last {
            wanted.clear();
            let known = self.block((at, block), opened, cost)?;
            let born = known.born_before(within + 1);
            cost.keys_decoded += born as u64;
            let body = opened.body(block, cost).map_err(fault)?;
            cost.bytes_read += body.bytes_of_keys(born);
            let mut start = 0;
            for (group, &first) in known.looks.iter().enumerate() {
                let end = known.starts.get(group + 1).map_or(known.count, |&end| end as usize).min(born);
                let first = u64::from(first);
                if !steady.note(first) {
                    break;
                }
                for at in start..end {
                    let died = body.length(at).map_err(fault)?.map(|length| first.saturating_add(length));
                    if died.is_none_or(|died| !steady.note(died)) {
                        wanted.push(at as u16);
                    }
                }
                start = end;
            }
            if !wanted.is_empty() {
                each(self, (at, block), &wanted, cost)?;
            }
        }
        (self.scratch.named, self.scratch.wanted) = (named, wanted);
        if last + 1 < head.blocks() {
            steady.note(head.look_of_block(last + 1).map_err(fault)?);
        }
        let after = self.pieces.first(at + 1).unwrap_or(Second::MAX);
        let seconds = steady.seconds(head, after).map_err(fault)?;
        self.last = Some(LastAlive { keyframe: (at, keyframe), seconds });
        Ok(())
    }

    /// Of versions of a block, leaves those that are alive after a look.
    fn retain_alive(
        &mut self,
        place: BlockPlace,
        (look, second): (usize, Second),
        wanted: &mut Vec<u16>,
        steady: &mut Steady,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let (of, open) = (self.place(place.0), self.piece(place.0, cost)?);
        let opened = open.borrow_dependent();
        let known = self.block(place, opened, cost)?;
        let (mut body, mut failed, mut keys, mut group) = (None, None, 0, 0);
        let mut is_alive = |at: usize| -> Result<bool, Fault> {
            if let Some(entry) = known.entry(at) {
                steady.note_second(entry.to, second);
                return Ok(entry.from <= second && entry.to > second);
            }
            let body = match &body {
                Some(body) => body,
                None => body.insert(opened.body(place.1, cost)?),
            };
            keys += 1;
            let length = body.length(at)?.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
            group = known.group_from(group, at);
            let born = opened.first_look + known.looks[group] as usize;
            let died = length.map(|length| born.saturating_add(length));
            died.map(|died| steady.note(died.saturating_sub(steady.first_look) as u64));
            Ok(born <= look && died.is_none_or(|died| died > look))
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
            return (0..count).try_for_each(|place| self.one(ordinal(place)?, cost, &mut each)?);
        }
        let (at, within) = self.piece_of_look(look)?;
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let fault = |fault| of.error(fault);
        let (opened, head) = (open.borrow_dependent(), open.borrow_dependent().head());
        let last = head.block_of_look(within).map_err(fault)?;
        let keyframe = head.keyframe_of(last).map_err(fault)?;
        let first = opened.first_version + keyframe * BLOCK_VERSIONS_MAX;
        let body = opened.body(keyframe, cost).map_err(fault)?;
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
                self.one(ordinal(place)?, cost, &mut each)??;
            }
        } else {
            let mut named = std::mem::take(&mut self.scratch.named);
            named.clear();
            body.alive(|ordinal| named.push(ordinal as usize)).map_err(fault)?;
            cost.bytes_read += body.alive_bytes();
            for &alive in &named {
                let place = find(alive)?;
                if place < recent && ordinal(place)? == alive {
                    self.one(alive, cost, &mut each)??;
                }
            }
            self.scratch.named = named;
        }
        for place in recent..count {
            let may_hold = |entry: &Entry| if entry.from > until { Ok(false) } else { each(entry).map(|()| true) };
            if !self.one(ordinal(place)?, cost, may_hold)?? {
                break;
            }
        }
        Ok(())
    }

    /// About how many versions are alive after the look before `until`, or appear from there on until the look before `end`.
    pub fn count_around(&mut self, until: usize, end: usize, cost: &mut Cost) -> Result<usize, Error> {
        let alive = match until.checked_sub(1) {
            None => 0,
            Some(look) => {
                let (at, within) = self.piece_of_look(look)?;
                let (of, open) = (self.place(at), self.piece(at, cost)?);
                let (opened, head) = (open.borrow_dependent(), open.borrow_dependent().head());
                let keyframe = head.block_of_look(within).and_then(|block| head.keyframe_of(block));
                let block = keyframe.and_then(|block| opened.body(block, cost));
                block.map_err(|fault| of.error(fault))?.alive_len()
            }
        };
        let (before, all) = (self.versions_until(until, cost)?, self.versions_until(end, cost)?);
        Ok(alive + all.saturating_sub(before))
    }

    /// How many versions appear before look `look`.
    pub(super) fn versions_until(&mut self, look: usize, cost: &mut Cost) -> Result<usize, Error> {
        if look >= self.looks() {
            return Ok(self.versions());
        }
        let (at, within) = self.piece_of_look(look)?;
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let opened = open.borrow_dependent();
        let block = opened.head().first_block_of_look(within).map_err(|fault| of.error(fault))?;
        let born = self.block((at, block), opened, cost)?.born_before(within);
        Ok(opened.first_version + block * BLOCK_VERSIONS_MAX + born)
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

    /// Gives the versions that are gone at look `look`, by birth.
    fn gone_at(
        &mut self,
        look: usize,
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(before) = look.checked_sub(1) else { return Ok(()) };
        let mut gone = Vec::new();
        self.each_alive(before, cost, |run, place, alive, cost| {
            let (of, open) = (run.place(place.0), run.piece(place.0, cost)?);
            let opened = open.borrow_dependent();
            let known = run.block(place, opened, cost)?;
            let (body, mut group) = (opened.body(place.1, cost).map_err(|fault| of.error(fault))?, 0);
            gone.clear();
            for &at in alive {
                group = known.group_from(group, usize::from(at));
                let version = Run::version_of(opened, place.1, known, &body, group, usize::from(at));
                if version.map_err(|fault| of.error(fault))?.died == Some(look) {
                    gone.push(at);
                }
            }
            run.read(place, &gone, cost, &mut each)
        })
    }

    /// Gives the rows that were delivered of look `look`: of a full set all that are alive after it, else what is gone at it
    /// and what appears.
    pub fn rows_of(
        &mut self,
        look: usize,
        is_full: bool,
        cost: &mut Cost,
        mut each: impl FnMut(Side, &Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if is_full {
            return self.alive_after(look, cost, |entry, cost| each(Side::Added, entry, cost));
        }
        if !self.is_of_events {
            self.gone_at(look, cost, |entry, cost| each(Side::Removed, entry, cost))?;
        }
        self.born_in(look..look + 1, cost, |entry, cost| each(Side::Added, entry, cost))
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
        let first_block = open.borrow_dependent().head().first_block_of_look(within);
        let mut block = first_block.map_err(|fault| of.error(fault))?;
        let mut wanted = Vec::new();
        for piece in first..self.pieces.len() {
            let first_look = self.pieces.parts_before(piece);
            if first_look >= looks.end {
                break;
            }
            let open = self.piece(piece, cost)?;
            let opened = open.borrow_dependent();
            for block in std::mem::take(&mut block)..opened.head().blocks() {
                let known = self.block((piece, block), opened, cost)?;
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
            for block in 0..opened.head().blocks() {
                let times = opened.head().block_times(block).map_err(fault)?;
                if !overlaps(times) {
                    continue;
                }
                let known = self.block((piece, block), opened, cost)?;
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
            let body = opened.body(place.1, cost)?;
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
            let blocks = self.piece(piece, cost)?.borrow_dependent().head().blocks();
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
        (0..self.pieces.len()).try_for_each(|piece| self.each_version_of_piece(piece, cost, &mut each))
    }

    /// The same of one piece.
    pub(super) fn each_version_of_piece(
        &mut self,
        piece: usize,
        cost: &mut Cost,
        mut each: impl FnMut(&Version, &[u8], &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let dictionary = self.reader.dictionary()?;
        let (of, open) = (self.place(piece), self.piece(piece, cost)?);
        let fault = |fault| of.error(fault);
        let opened = open.borrow_dependent();
        let (mut all, mut scratch, mut bytes, mut starts) =
            (Vec::new(), RowsScratch::default(), Vec::new(), Vec::new());
        for block in 0..opened.head().blocks() {
            let known = self.block((piece, block), opened, cost)?;
            let body = opened.body(block, cost).map_err(fault)?;
            let rows = packing::Block::open(dictionary, body.rows, body.count).map_err(fault)?;
            let looks = Looks { starts: &known.starts, seconds: &known.seconds };
            all.clear();
            all.extend(0..known.count as u16);
            let (mut group, mut rest) = (0, &all[..]);
            while let Some(&first) = rest.first() {
                bytes.clear();
                starts.clear();
                let put = |_, start: usize, _: &mut Vec<u8>| starts.push(start);
                let read = rows.rows(&looks, rest, &mut scratch, &mut bytes, put).map_err(fault)?;
                starts.push(bytes.len());
                cost.rows_decoded += read as u64;
                cost.bytes_read += body.bytes_of_keys(read) + body.bytes_of_rows(read);
                for (at, ends) in (usize::from(first)..).zip(starts.windows(2)) {
                    group = known.group_from(group, at);
                    let version = Run::version_of(opened, block, known, &body, group, at).map_err(fault)?;
                    each(&version, &bytes[ends[0]..ends[1]], cost)?;
                }
                rest = &rest[read..];
            }
        }
        Ok(())
    }
}

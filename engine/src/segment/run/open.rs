//! A piece that was read, remembered: where its columns are, and those of its versions that a question asked for, ready
//! for the next answer.
//!
//! Invariants:
//! - What is remembered is what the bytes say; a version is decoded once, whichever question comes first.
//! - Nothing is decoded, nor verified, that no question asked for: a version takes memory only once it was read.
//! - It knows how many bytes it takes, so that the cache stays within its bound.

use super::BLOCK_VERSIONS_MAX;
use super::piece::{Block, Head, OfLooks, Piece};
use crate::codec::Fault;
use crate::error::Error;
use crate::fact::{Name, Second};
use crate::read::answer::{Cost, HistoryRow, Version};
use crate::row::Row;
use crate::segment::Segment;
use parking_lot::Mutex;
use self_cell::self_cell;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// States that are remembered may take so many times as much as what else is remembered of their piece.
const ALIVE_SHARE: usize = 3;

/// Versions whose room is made together.
const SHELF: usize = 16;

/// A version, or an event, ready for answers.
#[derive(Clone, Debug)]
pub struct Entry {
    /// When the look was at which it appears.
    pub from: Second,
    /// When the look was at which it is gone; [`Second::MAX`] if it is not. Of an event: when it happened.
    pub to: Second,
    /// The place of the version in the run.
    pub ordinal: u32,
    /// Whether it may not be judged by itself: no look vouches for it, or one vouches for other copies where it ends.
    pub is_odd: bool,
    /// What answers give.
    pub given: HistoryRow,
}

/// All versions that are alive after some looks, the same after each of them, in the order of their rows.
pub struct Alive {
    /// The name of the host.
    pub host: Name,
    /// The versions.
    pub versions: Box<[AliveVersion]>,
}

/// A version with what is mostly asked of it beside it, so that reading many does not go from one place of memory to another.
#[derive(Clone)]
pub struct AliveVersion {
    /// When the look was at which it appears.
    pub from: Second,
    /// When the look was at which it is gone; [`Second::MAX`] if it is not.
    pub to: Second,
    /// Its row.
    pub row: Row,
    /// The version.
    pub version: Arc<Version>,
}

impl From<Arc<Version>> for AliveVersion {
    fn from(version: Arc<Version>) -> AliveVersion {
        let (from, to, row) = (version.from, version.to.unwrap_or(Second::MAX), version.row.clone());
        AliveVersion { from, to, row, version }
    }
}

impl Alive {
    /// Of versions of one stream.
    pub fn new(versions: Box<[AliveVersion]>) -> Alive {
        let host = versions.first().map(|first| first.version.host.clone()).unwrap_or_default();
        Alive { host, versions }
    }

    fn bytes(&self) -> usize {
        size_of::<Alive>() + size_of_val(&*self.versions)
    }
}

/// What was alive, the newest last.
#[derive(Default)]
struct Known {
    /// Each with when the first of its looks was, and when the first was that saw others; [`Second::MAX`] if none did.
    alive: VecDeque<(Range<Second>, Arc<Alive>)>,
    bytes: usize,
    /// The most that they ever took, which is what they are counted as.
    bytes_max: usize,
}

self_cell!(
    /// A piece, with the segment that it lies in.
    pub struct OpenPiece {
        owner: Arc<Segment>,

        #[covariant]
        dependent: Opened,
    }
);

/// What is known of a piece.
pub struct Opened<'a> {
    /// Where its columns are. Blocks, and what else is told of looks, are had [verified](Opened::body) only.
    piece: Piece<'a>,
    /// Where its frame is, as a checksum.
    place: u32,
    /// Which of its groups of spans were verified, a bit for each.
    verified: &'a AtomicU32,
    /// How many looks of the run come before.
    pub first_look: usize,
    /// How many versions of the run come before.
    pub first_version: usize,
    blocks: Box<[OnceLock<OpenBlock>]>,
    known: Mutex<Known>,
    bytes: AtomicUsize,
}

impl<'a> Opened<'a> {
    /// A piece of which nothing was read, whose frame is at this [place](crate::format::frame::place_crc); if its spans have
    /// no checksums of their own, it was verified whole.
    pub fn new(
        piece: Piece<'a>,
        place: u32,
        verified: &'a AtomicU32,
        (first_look, first_version): (usize, usize),
        cost: &mut Cost,
    ) -> Result<Opened<'a>, Fault> {
        let blocks: Box<[_]> = std::iter::repeat_with(OnceLock::new).take(piece.head().blocks()).collect();
        let bytes = size_of::<OpenPiece>() + size_of::<Opened<'_>>() + size_of_val(&*blocks);
        let (known, bytes) = (Mutex::default(), AtomicUsize::new(bytes));
        let opened = Opened { piece, place, verified, first_look, first_version, blocks, known, bytes };
        opened.verify(0, cost)?;
        Ok(opened)
    }

    /// Verifies a span, unless it was: with it those of its group, of which a piece has no more than there are bits.
    #[inline]
    fn verify(&self, span: usize, cost: &mut Cost) -> Result<(), Fault> {
        let spans = self.piece.spans();
        if spans == 0 {
            return Ok(());
        }
        let together = spans.div_ceil(u32::BITS as usize);
        let group = span / together;
        if self.verified.load(Ordering::Relaxed) >> group & 1 == 0 {
            for span in group * together..spans.min((group + 1) * together) {
                cost.bytes_verified += self.piece.verify(self.place, span)? as u64;
                cost.blocks_verified += 1;
            }
            self.verified.fetch_or(1 << group, Ordering::Relaxed);
        }
        Ok(())
    }

    /// What stands before its blocks.
    #[inline]
    pub fn head(&self) -> Head<'_, 'a> {
        self.piece.head()
    }

    /// A block where it lies.
    #[inline]
    pub fn body(&self, block: usize, cost: &mut Cost) -> Result<Block<'a>, Fault> {
        self.verify(1 + block, cost)?;
        self.piece.block(block)
    }

    /// What is told of its looks but for when they were.
    #[inline]
    pub fn of_looks(&self, cost: &mut Cost) -> Result<OfLooks<'_, 'a>, Fault> {
        self.verify(1 + self.head().blocks(), cost)?;
        Ok(self.piece.of_looks())
    }

    /// What is known of a block, and how many bytes that takes now and did not before.
    pub fn block(&self, block: usize, cost: &mut Cost) -> Result<(&OpenBlock, usize), Fault> {
        let range = || Fault::Range { found: block as u64, min: 0, max: self.blocks.len() as u64 };
        let open = self.blocks.get(block).ok_or_else(range)?;
        if let Some(open) = open.get() {
            return Ok((open, 0));
        }
        let opened = OpenBlock::new(self.head(), self.body(block, cost)?)?;
        let bytes = opened.bytes();
        Ok((open.get_or_init(|| opened), bytes))
    }

    /// All that is alive after a look of this second, if it is remembered.
    pub fn alive_at(&self, look: Second) -> Option<Arc<Alive>> {
        let known = self.known.lock();
        let found = known.alive.iter().rev().find(|(seconds, _)| seconds.contains(&look));
        found.map(|(_, alive)| alive.clone())
    }

    /// Remembers all that is alive, as long as all that is remembered so takes no more than what else is remembered of the
    /// piece; tells how many bytes more are taken than ever.
    pub fn put_alive(&self, seconds: Range<Second>, alive: Arc<Alive>) -> usize {
        let known = &mut *self.known.lock();
        let bytes_max = self.bytes().saturating_sub(known.bytes_max).saturating_mul(ALIVE_SHARE);
        known.bytes += alive.bytes();
        known.alive.push_back((seconds, alive));
        while known.bytes > bytes_max
            && let Some((_, oldest)) = known.alive.pop_front()
        {
            known.bytes -= oldest.bytes();
        }
        let more = known.bytes.saturating_sub(known.bytes_max);
        known.bytes_max += more;
        more
    }

    /// The bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Notes that it takes so many bytes more.
    pub fn add_bytes(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What is known of a block.
pub struct OpenBlock {
    /// How many versions it has.
    pub count: usize,
    /// Of each look of the piece at which versions appear: the first of these …
    pub starts: Box<[u32]>,
    /// … its number in the piece …
    pub looks: Box<[u32]>,
    /// … and when it was.
    pub seconds: Box<[Second]>,
    shelves: Box<[OnceLock<Box<Shelf>>]>,
    /// When each event happened, if that is known.
    times: OnceLock<Box<[Option<Second>]>>,
    order: Mutex<Option<Arc<[Ranked]>>>,
}

/// A version's place in the run, and its row's place among others.
pub type Ranked = (u32, u32);

/// Versions that are remembered.
#[derive(Default)]
struct Shelf {
    /// Those that were read together with the first of them: most are, and need no lock of their own.
    first: [Option<Entry>; SHELF],
    others: OnceLock<Box<[OnceLock<Entry>; SHELF]>>,
}

impl Entry {
    /// The version, unless it is an event.
    #[inline]
    pub fn version(&self) -> Option<&Arc<Version>> {
        match &self.given {
            HistoryRow::Version(version) => Some(version),
            HistoryRow::Event(_) => None,
        }
    }

    /// The row.
    pub fn row(&self) -> &Row {
        match &self.given {
            HistoryRow::Version(version) => &version.row,
            HistoryRow::Event(event) => &event.row,
        }
    }

    /// How many copies.
    pub fn count(&self) -> u64 {
        match &self.given {
            HistoryRow::Version(version) => version.count,
            HistoryRow::Event(event) => event.count,
        }
    }
}

impl OpenBlock {
    fn new(head: Head<'_, '_>, body: Block<'_>) -> Result<OpenBlock, Fault> {
        let (mut looks, mut starts) = (Vec::new(), Vec::new());
        body.groups(&mut looks, &mut starts)?;
        let seconds = looks.iter().map(|&look| head.second(look as usize)).collect::<Result<_, _>>()?;
        let shelves = std::iter::repeat_with(OnceLock::new).take(body.count.div_ceil(SHELF)).collect();
        let (times, order) = (OnceLock::new(), Mutex::default());
        Ok(OpenBlock { count: body.count, starts: starts.into(), looks: looks.into(), seconds, shelves, times, order })
    }

    fn bytes(&self) -> usize {
        self.starts.len() * (2 * size_of::<u32>() + size_of::<Second>()) + size_of_val(&*self.shelves)
    }

    /// A version, if it was read.
    #[inline]
    pub fn entry(&self, at: usize) -> Option<&Entry> {
        let shelf = self.shelves.get(at / SHELF)?.get()?;
        match &shelf.first[at % SHELF] {
            Some(entry) => Some(entry),
            None => shelf.others.get()?[at % SHELF].get(),
        }
    }

    /// Remembers versions, whose places ascend; adds to `bytes` what that takes, their rows apart.
    pub fn put(
        &self,
        entries: impl Iterator<Item = Result<(usize, Entry), Error>>,
        bytes: &mut usize,
    ) -> Result<(), Error> {
        let mut filled: Option<(usize, Box<Shelf>)> = None;
        for entry in entries {
            let (at, entry) = entry?;
            let place = at / SHELF;
            if let Some(before) = filled.take_if(|(of, _)| *of != place) {
                *bytes += self.put_shelf(before);
            }
            let (_, shelf) = filled.get_or_insert_with(|| (place, Box::default()));
            shelf.first[at % SHELF] = Some(entry);
            *bytes += size_of::<Version>();
        }
        *bytes += filled.map_or(0, |last| self.put_shelf(last));
        Ok(())
    }

    /// Remembers the versions of a shelf; tells how many bytes it takes.
    fn put_shelf(&self, (place, shelf): (usize, Box<Shelf>)) -> usize {
        let Some(known) = self.shelves.get(place) else { return 0 };
        // Others of it were read before, and another thread may have read the same.
        let Err(shelf) = known.set(shelf) else { return size_of::<Shelf>() };
        let Some(known) = known.get() else { return 0 };
        let mut bytes = 0;
        for (at, entry) in shelf.first.into_iter().enumerate() {
            let Some(entry) = entry.filter(|_| known.first[at].is_none()) else { continue };
            let others = known.others.get_or_init(|| {
                bytes += size_of::<[OnceLock<Entry>; SHELF]>();
                Box::new([const { OnceLock::new() }; SHELF])
            });
            let _ = others[at].set(entry);
        }
        bytes
    }

    /// When each event happened, as far as the columns tell without decoding rows; told by `read` the first time.
    pub fn times(
        &self,
        read: impl FnOnce() -> Result<Box<[Option<Second>]>, Fault>,
    ) -> Result<&[Option<Second>], Fault> {
        if let Some(times) = self.times.get() {
            return Ok(times);
        }
        let times = read()?;
        Ok(self.times.get_or_init(|| times))
    }

    /// The order of the rows that were alive at a look which counts on this block's keyframe, by version; versions that
    /// are alive at another such look are mostly the same.
    pub fn order(&self) -> Option<Arc<[Ranked]>> {
        self.order.lock().clone()
    }

    /// Remembers such an order; tells how many bytes more that takes.
    pub fn put_order(&self, order: Arc<[Ranked]>) -> usize {
        let bytes = size_of_val(&*order);
        let before = self.order.lock().replace(order);
        bytes.saturating_sub(before.map_or(0, |before| size_of_val(&*before)))
    }

    /// The group of looks in which a version appears.
    #[inline]
    pub fn group_of(&self, at: usize) -> Result<usize, Fault> {
        let after = self.starts.partition_point(|&start| start as usize <= at);
        let range = Fault::Range { found: at as u64, min: 0, max: BLOCK_VERSIONS_MAX as u64 };
        after.checked_sub(1).ok_or(range)
    }

    /// The same, found by going on from a group, which mostly is this one or one before it.
    #[inline]
    pub fn group_from(&self, mut group: usize, at: usize) -> usize {
        if self.starts.get(group).is_some_and(|&start| start as usize > at) {
            group = 0;
        }
        while self.starts.get(group + 1).is_some_and(|&next| next as usize <= at) {
            group += 1;
        }
        group
    }

    /// The versions that appear before a look of the piece.
    #[inline]
    pub fn born_before(&self, look: usize) -> usize {
        let group = self.looks.partition_point(|&of| (of as usize) < look);
        self.starts.get(group).map_or(self.count, |&start| start as usize)
    }
}

//! What was delivered of a stream after the run that a merge made of it: while a store is written to, the newest looks are
//! in memory, or in segments that were not merged yet.
//!
//! Invariants:
//! - A tail goes on from its run as [`regular`](crate::timeline::regular) tells, look by look; a stream that does not is
//!   replayed whole. So run and tail together say what the timeline of all parts would say. Where the run ends within a break,
//!   the tail goes on with what is unverified until a full set; whatever else would be in doubt is not regular.
//! - Looks are only ever added, and each carries its recorded time: who asks as of an earlier one sees fewer of them. Whoever
//!   sees some goes on seeing them, also when the stream turns out not to be regular with what came later.
//! - Of the run it has the versions that were alive at its last look, and which look ended each; what the run says of those
//!   is corrected by it.
//!
//! How: parts are never changed, so the number of parts beyond the run tells whether a tail that is remembered has them
//! all; if they are more by now, those that come after its last look are pushed. Without a run a tail is all of the stream.

use super::answer::{Cause, End, HistoryRow, Start, Version};
use crate::fact::{Micros, Second, StreamKey};
use crate::memtable::Interner;
use crate::row::Row;
use crate::segment::run::open::Entry;
use crate::timeline::regular::{Agent, LastLook, Lifetime, Regular};
use crate::timeline::{Part, RowId};
use parking_lot::{RwLock, RwLockReadGuard};
use std::convert::Infallible;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};

/// What a tail goes on from.
pub(super) struct Base {
    /// The run's last look.
    pub(super) last: LastLook,
    /// Why the state cannot be vouched for after it.
    pub(super) cause: Option<Cause>,
    /// How many versions the run has.
    pub(super) versions: u32,
    /// Those that are alive after the last look, by birth.
    pub(super) alive: Vec<Entry>,
}

/// The tail of one stream.
pub struct Tail {
    key: Arc<StreamKey>,
    /// No other tail of this process has it.
    number: u64,
    /// The number of the segment with the run; `None` without one.
    segment: Option<u64>,
    /// How many looks and versions the run has, and when its last look was.
    run_looks: u32,
    versions: u32,
    before: Option<Second>,
    /// Why the state cannot be vouched for after the run's last look.
    cause: Option<Cause>,
    state: RwLock<State>,
    bytes: AtomicUsize,
    /// The bytes of rows that a memtable holds as well.
    shared_bytes: AtomicUsize,
    /// Whether that memtable may be gone.
    is_alone: AtomicBool,
}

struct State {
    /// How many parts were taken in.
    taken: u64,
    /// Whether the stream is regular with all of them.
    is_regular: bool,
    /// As far as it is; `None` if nobody saw any.
    looks: Option<Looks>,
}

struct Looks {
    /// The versions alive after the run, by ordinal, then those that appear, by birth.
    regular: Regular,
    rows: Interner,
    /// When each look was, and when it became durable.
    seconds: Vec<Second>,
    recorded: Vec<Micros>,
    last_recorded: Micros,
    is_recorded_in_order: bool,
    /// The same versions ready for answers.
    entries: Vec<Entries>,
    inherited: usize,
}

/// A version ready for answers, once somebody asked for it.
struct Entries {
    /// As it is while it has not ended.
    open: OnceLock<Box<Entry>>,
    /// As it is since it ended.
    closed: OnceLock<Box<Entry>>,
}

/// Roughly what a version takes beside its row.
const VERSION_BYTES: usize = size_of::<Entries>() + size_of::<Lifetime>() + 2 * size_of::<Row>();
/// What an entry takes that was asked for.
const ENTRY_BYTES: usize = size_of::<Entry>() + size_of::<Version>();

/// How many tails there were.
static TAILS: AtomicU64 = AtomicU64::new(1);

impl Tail {
    /// A tail without a look; with the number of the segment with the run that it goes on from, if there is one.
    pub(super) fn new(key: Arc<StreamKey>, segment: Option<u64>, base: Option<Base>) -> Tail {
        let kind = key.kind;
        let (mut rows, mut entries) = (Interner::default(), Vec::new());
        let mut bytes = size_of::<Tail>();
        let (run_looks, before) = base.as_ref().map_or((0, None), |base| (base.last.looks, Some(base.last.second)));
        let cause = base.as_ref().and_then(|base| base.cause);
        let (regular, run_versions) = match base {
            None => (Some(Regular::new(kind)), 0),
            Some(Base { last, versions: run_versions, alive, .. }) => {
                let mut is_each_once = true;
                let mut copies = Vec::with_capacity(alive.len());
                for entry in alive {
                    let (id, is_new) = rows.intern(entry.row());
                    is_each_once &= is_new;
                    let version = entry.version();
                    let count = version.map_or(0, |version| version.count);
                    copies.push(((id, count), version.is_some_and(|version| version.verified)));
                    bytes += size_of::<Entry>();
                    entries.push(Entries { open: OnceLock::from(Box::new(entry)), closed: OnceLock::new() });
                }
                // A run has each row at most once at a time, unless its bytes lie, or it tells of a break.
                let regular = is_each_once.then(|| match cause {
                    None => Regular::after(kind, last, copies.into_iter().map(|(copies, _)| copies)),
                    Some(_) => Regular::after_break(kind, last, copies.into_iter()),
                });
                (regular, run_versions)
            }
        };
        bytes += entries.len() * VERSION_BYTES;
        let inherited = entries.len();
        let looks = regular.map(|regular| Looks {
            regular,
            rows,
            seconds: Vec::new(),
            recorded: Vec::new(),
            last_recorded: Micros::MIN,
            is_recorded_in_order: true,
            entries,
            inherited,
        });
        let state = RwLock::new(State { taken: 0, is_regular: looks.is_some(), looks });
        let bytes = AtomicUsize::new(bytes);
        let (shared_bytes, is_alone) = (AtomicUsize::new(0), AtomicBool::new(false));
        let number = TAILS.fetch_add(1, Ordering::Relaxed);
        Tail {
            key,
            number,
            segment,
            run_looks,
            versions: run_versions,
            before,
            cause,
            state,
            bytes,
            shared_bytes,
            is_alone,
        }
    }

    /// Whether it is the tail of this stream after the run in this segment.
    pub(super) fn is_of(&self, key: &StreamKey, segment: Option<u64>) -> bool {
        self.segment == segment && *self.key == *key
    }

    /// How many parts were taken in.
    pub(super) fn taken(&self) -> u64 {
        self.state.read().taken
    }

    /// The bytes of memory that it takes beside the memtables.
    pub fn bytes(&self) -> usize {
        let shared = if self.is_alone.load(Ordering::Relaxed) { self.shared_bytes.load(Ordering::Relaxed) } else { 0 };
        self.bytes.load(Ordering::Relaxed) + shared
    }

    /// Notes that a memtable whose rows it shares may be gone.
    pub fn leave_memtable(&self) {
        self.is_alone.store(true, Ordering::Relaxed);
    }

    /// Takes in parts, in order, which are all that came after the first `taken`; false if others were taken in meanwhile, or
    /// if they do not follow, which need not mean that the stream is not regular: an earlier part may have come late.
    /// `are_shared` says whether a memtable holds their rows as well.
    pub(super) fn extend(&self, taken: u64, parts: &[Part], rows: &[Row], are_shared: bool) -> bool {
        let mut state = self.state.write();
        if state.taken != taken {
            return state.taken == taken + parts.len() as u64;
        }
        let State { is_regular: true, looks: Some(looks), .. } = &mut *state else {
            state.taken = taken + parts.len() as u64;
            return true;
        };
        let last = looks.regular.last().map(|last| last.second);
        if parts.first().is_some_and(|first| last.is_some_and(|last| first.second <= last)) {
            return false;
        }
        let before = looks.entries.len();
        let is_regular = parts.iter().all(|part| push(looks, part, rows));
        let lifetimes = &looks.regular.lifetimes[before..];
        let of_row = |lifetime: &Lifetime| looks.rows.rows()[lifetime.row as usize].as_bytes().len();
        let of_rows = if are_shared { &self.shared_bytes } else { &self.bytes };
        of_rows.fetch_add(lifetimes.iter().map(of_row).sum(), Ordering::Relaxed);
        let added = lifetimes.len() * VERSION_BYTES + parts.len() * 2 * size_of::<Second>();
        self.bytes.fetch_add(added, Ordering::Relaxed);
        state.is_regular = is_regular;
        state.taken = taken + parts.len() as u64;
        true
    }

    /// Whether a part is of an epoch that neither the run's last look nor the tail has: then it must be told whether an
    /// earlier look of the run has it.
    pub(super) fn begins_epoch(&self, part: &Part) -> bool {
        let state = self.state.read();
        self.segment.is_some() && state.looks.as_ref().is_some_and(|looks| looks.regular.begins_epoch(part))
    }

    /// Notes that the stream is not regular.
    pub(super) fn give_up(&self, taken: u64) {
        let mut state = self.state.write();
        (state.taken, state.is_regular) = (taken, false);
    }

    /// Keeps nothing of a stream that is not regular; nobody saw any of it yet.
    pub(super) fn forget_if_given_up(&mut self) {
        let state = self.state.get_mut();
        if !state.is_regular {
            state.looks = None;
            (self.bytes, self.shared_bytes) = (AtomicUsize::new(size_of::<Tail>()), AtomicUsize::new(0));
        }
    }

    /// How much of it is seen as of a recorded time, and what must hold of the host's agent for that; `None` if the stream is
    /// not regular, or the looks were not recorded in their order.
    pub(super) fn see(self: &Arc<Tail>, known_at: Micros) -> Option<(Seen, Agent)> {
        let state = self.state.read();
        let looks = state.looks.as_ref().filter(|_| state.is_regular)?;
        let seen = match looks.last_recorded {
            last if last <= known_at => looks.recorded.len(),
            _ if !looks.is_recorded_in_order => return None,
            _ => looks.recorded.partition_point(|&recorded| recorded <= known_at),
        };
        let seen_any = seen > 0 || self.segment.is_some();
        seen_any.then(|| (Seen { tail: self.clone(), looks: seen as u32 }, looks.regular.agent))
    }
}

fn push(looks: &mut Looks, part: &Part, rows: &[Row]) -> bool {
    let mut part = part.clone();
    let number = |id: RowId| Ok::<_, Infallible>(looks.rows.intern(&rows[id as usize]).0);
    let Ok(()) = part.renumber(number);
    if !looks.regular.push(&part) {
        return false;
    }
    looks.seconds.push(part.second);
    looks.recorded.push(part.recorded);
    looks.is_recorded_in_order &= looks.last_recorded <= part.recorded;
    looks.last_recorded = looks.last_recorded.max(part.recorded);
    let none = || Entries { open: OnceLock::new(), closed: OnceLock::new() };
    looks.entries.resize_with(looks.regular.lifetimes.len(), none);
    true
}

/// The looks of a tail that count for a question.
#[derive(Clone)]
pub(super) struct Seen {
    tail: Arc<Tail>,
    looks: u32,
}

/// The same, if the tail is still there.
pub(super) struct SeenOnce {
    tail: Weak<Tail>,
    looks: u32,
}

impl SeenOnce {
    /// One that nobody kept.
    pub(super) fn gone() -> SeenOnce {
        SeenOnce { tail: Weak::new(), looks: 0 }
    }

    /// The tail, if anybody kept it.
    pub(super) fn again(&self) -> Option<Seen> {
        Some(Seen { tail: self.tail.upgrade()?, looks: self.looks })
    }
}

/// A tail while it is read.
pub(super) struct Reading<'t> {
    state: RwLockReadGuard<'t, State>,
    tail: &'t Tail,
    looks: u32,
}

impl Seen {
    /// To be found again, if somebody keeps it.
    pub(super) fn once(&self) -> SeenOnce {
        SeenOnce { tail: Arc::downgrade(&self.tail), looks: self.looks }
    }

    /// Whether there are looks that are not seen.
    pub(super) fn has_more(&self) -> bool {
        let looks = self.tail.state.read().looks.as_ref().map_or(0, |looks| looks.seconds.len());
        looks > self.looks as usize
    }

    /// Which tail it is of: what appears in one stays where it is, and in another of the same stream it may be elsewhere.
    pub(super) fn of(&self) -> u64 {
        self.tail.number
    }

    /// How many versions the run has.
    pub(super) fn run_versions(&self) -> usize {
        self.tail.versions as usize
    }

    /// Reads it; nothing is pushed meanwhile, so be brief, and do not read a tail twice at a time.
    pub(super) fn read(&self) -> Reading<'_> {
        Reading { state: self.tail.state.read(), tail: &self.tail, looks: self.looks }
    }
}

impl Reading<'_> {
    fn looks(&self) -> Option<&Looks> {
        self.state.looks.as_ref()
    }

    /// The seconds of the looks.
    pub(super) fn seconds(&self) -> &[Second] {
        self.looks().map_or(&[], |looks| &looks.seconds[..self.looks as usize])
    }

    /// Itself, if the run ends within a break.
    pub(super) fn in_doubt(&self) -> Option<&Self> {
        Some(self).filter(|reading| reading.tail.cause.is_some())
    }

    /// Why the state cannot be vouched for at a second that is not before the run's last look.
    pub(super) fn cause_at(&self, at: Second) -> Option<Cause> {
        let looks = self.looks()?;
        let ended = looks.regular.doubt.as_ref().and_then(|doubt| doubt.ended);
        let ended = ended.filter(|ended| *ended < self.tail.run_looks.saturating_add(self.looks));
        let is_over = ended.and_then(|ended| self.second(looks, ended)).is_some_and(|ended| ended <= at);
        self.tail.cause.filter(|_| !is_over)
    }

    /// Whether a version begins with the full set that ended the break, and its row was there before.
    pub(super) fn is_there_again(&self, entry: &Entry) -> bool {
        let at = |looks: &Looks| entry.ordinal.checked_sub(self.tail.versions).map(|at| looks.inherited as u32 + at);
        let is_again = |looks: &Looks| {
            let doubt = looks.regular.doubt.as_ref();
            at(looks).is_some_and(|at| doubt.is_some_and(|doubt| doubt.again.contains(&at)))
        };
        self.looks().is_some_and(is_again)
    }

    /// When a look was, by its number in the whole stream; the run's last is known, and those before it are not asked for.
    fn second(&self, looks: &Looks, look: u32) -> Option<Second> {
        match look.checked_sub(self.tail.run_looks) {
            Some(look) => looks.seconds.get(look as usize).copied(),
            None => self.tail.before,
        }
    }

    /// A version as it is seen.
    fn entry<'l>(&self, looks: &'l Looks, at: usize) -> &'l Entry {
        let (entries, lifetime) = (&looks.entries[at], &looks.regular.lifetimes[at]);
        let open = entries.open.get_or_init(|| Box::new(self.open(looks, at, lifetime)));
        if lifetime.died >= self.tail.run_looks.saturating_add(self.looks) {
            return open;
        }
        let close = || {
            let to = self.second(looks, lifetime.died);
            let to_after = lifetime.died.checked_sub(1).and_then(|look| self.second(looks, look));
            let closed = open.version().map(|version| Version { to, to_after, end: End::Gone, ..(**version).clone() });
            let given = closed.map_or_else(|| open.given.clone(), |version| HistoryRow::Version(Arc::new(version)));
            self.tail.bytes.fetch_add(ENTRY_BYTES, Ordering::Relaxed);
            Box::new(Entry { to: to.unwrap_or(Second::MAX), given, ..(**open).clone() })
        };
        entries.closed.get_or_init(close)
    }

    /// A version that appears in the tail, as it is while it has not ended.
    fn open(&self, looks: &Looks, at: usize, lifetime: &Lifetime) -> Entry {
        let row = looks.rows.rows()[lifetime.row as usize].clone();
        let from = self.second(looks, lifetime.born).unwrap_or_default();
        let version = Version {
            host: self.tail.key.host.clone(),
            stream: self.tail.key.name.clone(),
            row,
            count: lifetime.count,
            from,
            from_after: lifetime.born.checked_sub(1).and_then(|look| self.second(looks, look)),
            to: None,
            to_after: None,
            start: Start::Seen,
            end: End::Open,
            verified: true,
        };
        self.tail.bytes.fetch_add(ENTRY_BYTES, Ordering::Relaxed);
        let ordinal = self.tail.versions + (at - looks.inherited) as u32;
        let given = HistoryRow::Version(Arc::new(version));
        Entry { from, to: Second::MAX, ordinal, is_odd: false, given }
    }

    /// A version of the run as it is seen from here.
    #[inline]
    pub(super) fn correct<'e>(&'e self, entry: &'e Entry) -> &'e Entry {
        if entry.to != Second::MAX {
            return entry;
        }
        let Some(looks) = self.looks() else { return entry };
        let ordinal = |entries: &Entries| entries.open.get().map_or(0, |open| open.ordinal);
        match looks.entries[..looks.inherited].binary_search_by_key(&entry.ordinal, ordinal) {
            Ok(at) => self.entry(looks, at),
            Err(_) => entry,
        }
    }

    /// The places of the versions that appear in it at these of its looks.
    fn places(&self, looks: &Looks, of: Range<u32>) -> Range<usize> {
        let appearing = &looks.regular.lifetimes[looks.inherited..];
        let before = |look: u32| {
            let look = self.tail.run_looks.saturating_add(look.min(self.looks));
            looks.inherited + appearing.partition_point(|lifetime| lifetime.born < look)
        };
        before(of.start)..before(of.end)
    }

    /// How many versions appear in it.
    pub(super) fn born_len(&self) -> usize {
        self.looks().map_or(0, |looks| self.places(looks, 0..self.looks).len())
    }

    /// The rows of the versions that appear in it, by birth, from the one at a place on.
    pub(super) fn rows_from(&self, place: usize) -> impl Iterator<Item = &Row> {
        let of = move |looks| {
            let places = self.places(looks, 0..self.looks);
            let lifetimes = &looks.regular.lifetimes[places];
            lifetimes.iter().skip(place).map(|lifetime| &looks.rows.rows()[lifetime.row as usize])
        };
        self.looks().into_iter().flat_map(of)
    }

    /// The versions that appear in it, by birth.
    pub(super) fn born(&self) -> impl Iterator<Item = &Entry> {
        self.born_in(0..self.looks)
    }

    /// The versions that appear in it, by birth, and whose row is wanted.
    pub(super) fn born_if(&self, keep: impl Fn(&Row) -> bool) -> impl Iterator<Item = &Entry> {
        let of = move |looks: &Looks| {
            let row = |at: usize| &looks.rows.rows()[looks.regular.lifetimes[at].row as usize];
            self.places(looks, 0..self.looks).filter(|&at| keep(row(at))).collect::<Vec<usize>>()
        };
        let places = self.looks().map(of).unwrap_or_default();
        places.into_iter().filter_map(|at| Some(self.entry(self.looks()?, at)))
    }

    /// The versions that appear in it at these of its looks.
    pub(super) fn born_in(&self, of: Range<u32>) -> impl Iterator<Item = &Entry> {
        let each = move |looks| self.places(looks, of.clone()).map(|at| self.entry(looks, at));
        self.looks().into_iter().flat_map(each)
    }

    /// The versions that are alive after one of its looks, by birth.
    pub(super) fn alive_after(&self, look: u32) -> impl Iterator<Item = &Entry> {
        let of = move |looks| {
            let until = self.tail.run_looks.saturating_add(look);
            let end = self.places(looks, 0..look.saturating_add(1)).end;
            let lifetimes = &looks.regular.lifetimes[..end];
            let alive = (0..).zip(lifetimes).filter(move |(_, lifetime)| lifetime.died > until);
            alive.map(|(at, _)| self.entry(looks, at))
        };
        self.looks().into_iter().flat_map(of)
    }

    /// The version that appears in it with this ordinal.
    pub(super) fn of_ordinal(&self, ordinal: usize) -> Option<&Entry> {
        let looks = self.looks()?;
        let at = looks.inherited + ordinal.checked_sub(self.tail.versions as usize)?;
        self.places(looks, 0..self.looks).contains(&at).then(|| self.entry(looks, at))
    }
}

//! The streams of a table while it is written to, so that a question to all hosts does not ask each of them.
//!
//! Invariants:
//! - It stands for one set of segments and is as of one recorded time at a moment; who asks of an earlier set, or as of an
//!   earlier time, does not use it.
//! - Whatever came since is taken in before it answers, and costs as much as came: also what was recorded at that very time,
//!   as commits of one import may be. Sealing and merging bring nothing, and cost no reading of streams.
//!
//! How: groups stand in order, each with what it is read from. How many parts a memtable had tells which came since, and so
//! which groups are to be read anew; segments that came are walked beside the groups ([`came`]). A group whose run was merged
//! is told of the new one and read anew when it is asked for. Which values no index tells of is told by a [`finder`];
//! [`ask`] puts the questions.

mod ask;
mod came;
mod finder;

use super::answer::Cost;
use super::resolved::{Agents, Named, Resolved};
use super::source::{RunAt, Source};
use super::tail::{Seen, SeenOnce};
use super::told::Settings;
use super::view::View;
use crate::error::Error;
use crate::fact::{Micros, Name, Second, StreamKey};
use crate::memtable::Memtable;
use finder::Finder;
use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

pub(super) use ask::Listed;

/// What is remembered while a store is written to, from one set of segments to the next.
#[derive(Default)]
pub(crate) struct LiveTables {
    tables: Mutex<FxHashMap<Name, Arc<Mutex<Live>>>>,
    settings: Mutex<Option<Arc<Settings>>>,
}

impl LiveTables {
    /// A table.
    fn table(&self, table: &[u8]) -> Arc<Mutex<Live>> {
        let mut tables = self.tables.lock();
        if let Some(live) = tables.get(table) {
            return live.clone();
        }
        tables.entry(Name::from(table)).or_default().clone()
    }

    /// The same settings as these, which may be those that were read before.
    pub(super) fn same_settings(&self, read: Settings) -> Arc<Settings> {
        let mut settings = self.settings.lock();
        match &*settings {
            Some(known) if **known == read => known.clone(),
            _ => settings.insert(Arc::new(read)).clone(),
        }
    }
}

/// The streams of one name on one host.
struct Group {
    keys: Vec<Arc<StreamKey>>,
    /// The number of the host among those of the table.
    host: u32,
    is_assumed: bool,
    from: From,
}

/// What a group is read from.
enum From {
    /// Run and tail.
    Settled {
        /// The segment's number, and the place there.
        run: Option<(u64, u32)>,
        /// Kept by the cache, as long as that has room; one that is gone is read anew.
        tail: Option<SeenOnce>,
        /// Whether what is known of the host's agent decides that it is settled.
        asks_agent: bool,
        /// The seconds of its first and last look.
        extent: (Second, Second),
        /// Whether these do not tell whether it can speak.
        is_resolved: bool,
    },
    /// Timelines, kept by the cache; none if they were not worked out since something came.
    Replayed(Vec<Weak<Resolved>>),
}

impl Group {
    /// Its host and its name.
    fn name(&self) -> (&[u8], &[u8]) {
        (&self.keys[0].host, &self.keys[0].name)
    }

    /// Whether what is known of its host's agent matters.
    fn asks_agent(&self) -> bool {
        matches!(self.from, From::Replayed(_) | From::Settled { asks_agent: true, .. })
    }
}

/// How much a memtable had.
struct Counted {
    memtable: Weak<RwLock<Memtable>>,
    /// Parts of the table.
    parts: usize,
    /// Notes of agents, given and seen.
    notes: [usize; 2],
}

/// One table.
#[derive(Default)]
pub(super) struct Live {
    /// As of when, if it is of any time.
    known_at: Option<Micros>,
    /// The number of the set of segments, and the segments' numbers.
    generation: u64,
    segments: Vec<u64>,
    settings: Weak<Settings>,
    counted: Vec<Counted>,
    /// When the last note of an agent in memory was recorded, though it may not count yet.
    noted: Option<Micros>,
    groups: Vec<Group>,
    /// Of each segment with runs the groups by their places there.
    of_place: FxHashMap<u64, Vec<u32>>,
    /// By the keys of their streams.
    by_key: FxHashMap<Arc<StreamKey>, u32>,
    /// Groups that must be replayed.
    replayed: BTreeSet<u32>,
    /// Groups with looks that did not count yet.
    pending: BTreeSet<u32>,
    /// By column, and whether it is told by addresses.
    finders: FxHashMap<(Name, bool), Finder>,
}

/// So many columns are remembered; whoever asks for more has the others read again.
const FINDERS_MAX: usize = 8;

/// No group.
const NONE: u32 = u32::MAX;

impl Live {
    /// Notes where the run of a group is.
    fn put_run(&mut self, at: u32, segment: u64, place: u32) {
        let of = self.of_place.entry(segment).or_default();
        of.resize(of.len().max(place as usize + 1), NONE);
        of[place as usize] = at;
    }

    /// Works out what a group is read from; `None` if it must be replayed, which is left to whoever asks for that.
    fn read<'v>(
        &mut self,
        view: &'v View,
        at: u32,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Source<'v>>, Error> {
        let group = &mut self.groups[at as usize];
        let source = match &group.keys[..] {
            [key] => view.source(key, agents, cost)?,
            _ => None,
        };
        let before = std::mem::replace(&mut group.from, From::Replayed(Vec::new()));
        if let From::Settled { run: Some((segment, place)), .. } = before
            && let Some(of) = self.of_place.get_mut(&segment)
        {
            of[place as usize] = NONE;
        }
        let Some(source) = source else {
            self.replayed.insert(at);
            return Ok(None);
        };
        self.replayed.remove(&at);
        let run = source.run.as_ref().map(|run| (run.reader.segment.number(), run.place as u32));
        let (tail, extent) = (source.tail.as_ref().map(Seen::once), source.extent());
        let (asks_agent, is_resolved) = (source.needs_agent, source.is_resolved());
        group.from = From::Settled { run, tail, asks_agent, extent, is_resolved };
        if let Some((segment, place)) = run {
            self.put_run(at, segment, place);
        }
        if let Some(tail) = &source.tail {
            // Looks that do not count yet are met when they do.
            if tail.has_more() {
                self.pending.insert(at);
            }
            for ((column, is_address), finder) in &mut self.finders {
                finder.note_tail(column, *is_address, at, tail);
            }
        }
        Ok(Some(source))
    }

    /// What a group is read from, of which some may have been forgotten; `None` if it must be replayed.
    fn source<'v>(
        &mut self,
        view: &'v View,
        at: u32,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Source<'v>>, Error> {
        let group = &self.groups[at as usize];
        let From::Settled { run, tail, asks_agent, .. } = &group.from else {
            return Ok(None);
        };
        let again = tail.as_ref().map(SeenOnce::again);
        if let Some(None) = again {
            return self.read(view, at, agents, cost);
        }
        let run = match run {
            Some((segment, place)) => view.run_at(*segment, &group.keys[0].table, *place as usize)?,
            None => None,
        };
        Ok(Some(Source { run, tail: again.flatten(), needs_agent: *asks_agent }))
    }

    /// The timelines of a group that must be replayed, of which some may have been forgotten; `None` if nothing of them counts.
    fn named(
        &mut self,
        view: &View,
        at: u32,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Named>, Error> {
        let group = &mut self.groups[at as usize];
        let From::Replayed(once) = &mut group.from else {
            return Ok(None);
        };
        if let Some(named) = Named::again(once) {
            return Ok(Some(named));
        }
        let named = Named::replay(view, &group.keys, agents, cost)?;
        if let Some(named) = &named {
            *once = named.once();
            if !named.is_whole(group.keys.len()) {
                self.pending.insert(at);
            }
            for ((column, is_address), finder) in &mut self.finders {
                finder.note(column, *is_address, at, named.rows());
            }
        }
        Ok(named)
    }

    /// The timelines of all groups that must be replayed, by group.
    fn all_named(&mut self, view: &View, agents: &mut Agents<'_>, cost: &mut Cost) -> Result<Vec<(u32, Named)>, Error> {
        let mut all = Vec::with_capacity(self.replayed.len());
        for at in self.replayed.iter().copied().collect::<Vec<u32>>() {
            all.extend(self.named(view, at, agents, cost)?.map(|named| (at, named)));
        }
        Ok(all)
    }
}

impl View {
    /// The run at a place of a table in a segment of this view.
    fn run_at(&self, segment: u64, table: &[u8], place: usize) -> Result<Option<RunAt<'_>>, Error> {
        let Some(segment) = self.segments().iter().find(|of| of.number() == segment) else { return Ok(None) };
        Ok(segment.table(table)?.map(|reader| RunAt::new(reader, place)))
    }
}

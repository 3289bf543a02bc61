//! The streams of a table while it is written to, so that a question to all hosts does not ask each of them.
//!
//! Invariants:
//! - It stands for one set of segments and is as of one recorded time at a moment; who asks as of an earlier one does not use
//!   it.
//! - Whatever came into memory since is taken in before it answers, and costs as much as came; also what was recorded at that
//!   very time, as commits of one import may be.
//!
//! How: groups stand in order, each with what it is read from, its first and last look. How many parts memory had
//! tells which came since, and so which groups are to be read anew. Which tails have a value is told by a hash of it; what
//! hashes alike is compared then.

use super::answer::{Cost, Coverage, Held};
use super::at::{Ask, AtT, sort_held};
use super::classes::{Classes, count, rank};
use super::indexed::{Sought, Versions, each_named, no_versions, put_in_order};
use super::matching::{Address, is_number, is_odd_number};
use super::resolved::{Agents, Member, is_one_name, streams_with_state};
use super::settled::{Settled, Sorter};
use super::source::{RunAt, Source};
use super::tail::{Seen, SeenOnce};
use super::told::Settings;
use super::view::View;
use crate::error::Error;
use crate::fact::{Micros, Name, Second, StreamKey};
use crate::memtable::Memtable;
use crate::note;
use crate::row::text_of;
use crate::timeline::verdict::Class;
use parking_lot::RwLock;
use rustc_hash::{FxHashMap, FxHasher};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Weak};

/// The streams of one name on one host.
struct Group {
    keys: Vec<Arc<StreamKey>>,
    /// The number of the host among those of the table.
    host: u32,
    is_assumed: bool,
    /// What it is read from: of the segments which, and the place there.
    run: Option<(u32, u32)>,
    /// Kept by the cache, as long as that has room.
    tail: Option<SeenOnce>,
    /// Whether that is all there is to know.
    is_settled: bool,
    /// Whether what is known of the host's agent decides that.
    asks_agent: bool,
    /// The seconds of its first and last look.
    extent: (Second, Second),
}

/// Of some groups, in their order, which versions of their runs to read.
type Candidates = BTreeMap<u32, Versions>;

/// A group as who reads all of them needs it.
pub(super) struct Listed<'v> {
    pub(super) keys: Vec<Arc<StreamKey>>,
    /// What it is read from, and whether its table is assumed from its name; `None` if that must be worked out.
    pub(super) settled: Option<(Source<'v>, bool)>,
}

/// How many parts a memtable had.
struct Counted {
    memtable: Weak<RwLock<Memtable>>,
    parts: usize,
}

/// Of one column the groups whose tails have a value, by its hash, in order.
#[derive(Default)]
struct Finder {
    groups: FxHashMap<u64, Vec<u32>>,
    /// Those with a number that is not written the shortest way.
    odd: Vec<u32>,
    /// Of which tail of each group how many versions were noted.
    noted: Vec<(u64, u32)>,
}

/// One table.
#[derive(Default)]
pub(crate) struct Live {
    /// As of when, if it is of any time.
    known_at: Option<Micros>,
    settings: Weak<Settings>,
    counted: Vec<Counted>,
    /// What memory tells of agents, though it may not all count yet.
    agents: Told,
    groups: Vec<Group>,
    /// Of each segment the groups by the places of their runs; empty where no run is.
    of_place: Vec<Vec<u32>>,
    /// By the keys of their streams.
    by_key: FxHashMap<Arc<StreamKey>, u32>,
    /// How often everything was worked out: numbers of groups mean something only as long as that is the same.
    built: u64,
    /// Groups that must be replayed.
    replayed: BTreeSet<u32>,
    /// Groups with looks that did not count yet.
    pending: BTreeSet<u32>,
    /// By column, and whether it is told by addresses.
    finders: FxHashMap<(Name, bool), Finder>,
}

/// How much memory tells of agents, and when the last of it was recorded.
type Told = (u64, Option<Micros>);

/// So many columns are remembered; whoever asks for more has the others read again.
const FINDERS_MAX: usize = 8;

/// A finder with more values than this finds nothing, and every tail is read.
const VALUES_MAX: usize = 1 << 18;

/// No group.
const NONE: u32 = u32::MAX;

/// How a column's values are told apart: as what it says of a text.
enum Telling {
    By(u64),
    /// By comparing with each.
    Odd,
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// How a text of a column of addresses, or of others, is told.
fn telling(is_address: bool, text: &[u8]) -> Telling {
    match is_address.then(|| Address::parse(text)).flatten() {
        Some(address) => Telling::By(hash(&address.key())),
        None if !is_address && is_number(text) && is_odd_number(text) => Telling::Odd,
        None => Telling::By(hash(text)),
    }
}

impl Finder {
    /// Notes what a group's tail has of the column since it was noted last.
    fn note(&mut self, column: &[u8], is_address: bool, at: u32, tail: &Seen) {
        if self.noted.len() <= at as usize {
            self.noted.resize(at as usize + 1, (0, 0));
        }
        let (of, tail) = (tail.of(), tail.read());
        let (before, noted) = std::mem::replace(&mut self.noted[at as usize], (of, tail.born_len() as u32));
        for row in tail.rows_from(if before == of { noted as usize } else { 0 }) {
            if self.groups.len() > VALUES_MAX {
                break;
            }
            let Some(text) = text_of(row.as_bytes(), column) else { continue };
            let of = match telling(is_address, text) {
                Telling::By(hash) => self.groups.entry(hash).or_default(),
                Telling::Odd => &mut self.odd,
            };
            if let Err(place) = of.binary_search(&at) {
                of.insert(place, at);
            }
        }
    }
}

impl Live {
    /// Brings it up to a view; false if it is past that.
    fn catch_up(
        &mut self,
        view: &View,
        table: &[u8],
        known_at: Micros,
        settings: &Arc<Settings>,
        cost: &mut Cost,
    ) -> Result<bool, Error> {
        if self.known_at.is_some_and(|at| at > known_at) {
            return Ok(false);
        }
        let is_of_settings = self.settings.as_ptr() == Arc::as_ptr(settings);
        // Where a failure leaves off, nothing may be built on.
        let known_before = self.known_at.take();
        let agents = agents_told(view);
        let is_same = |(counted, memtable): (&Counted, &Arc<RwLock<Memtable>>)| {
            counted.memtable.as_ptr() == Arc::as_ptr(memtable)
        };
        let are_same =
            self.counted.len() == view.memtables().len() && self.counted.iter().zip(view.memtables()).all(is_same);
        if known_before.is_none() || !are_same || !is_of_settings {
            self.build(view, table, known_at, settings, cost)?;
        } else {
            let mut touched = Vec::new();
            if known_before < Some(known_at) {
                touched.extend(std::mem::take(&mut self.pending));
            }
            // What was told already may count only now.
            if agents != self.agents || self.agents.1 > known_before {
                let asking = (0..).zip(&self.groups).filter(|(_, group)| group.asks_agent);
                touched.extend(asking.map(|(at, _)| at));
            }
            if !self.note_arrivals(view, table, &mut touched) {
                self.build(view, table, known_at, settings, cost)?;
            } else if !touched.is_empty() {
                touched.sort_unstable();
                touched.dedup();
                let mut agents = Agents::new(view, known_at);
                for at in touched {
                    self.read(view, at, &mut agents, cost)?;
                }
            }
        }
        (self.known_at, self.agents) = (Some(known_at), agents);
        Ok(true)
    }

    /// Notes what came into memory since; `touched` gets the groups of it. False if some of it is of a stream that no group has.
    fn note_arrivals(&mut self, view: &View, table: &[u8], touched: &mut Vec<u32>) -> bool {
        for (counted, memtable) in self.counted.iter_mut().zip(view.memtables()) {
            let memtable = memtable.read();
            let Some(of_table) = memtable.table(table) else { continue };
            let first = std::mem::replace(&mut counted.parts, of_table.parts() as usize);
            for key in of_table.arrived_from(first) {
                match self.by_key.get(key) {
                    Some(&group) => touched.push(group),
                    None if key.has_state() => return false,
                    None => {}
                }
            }
        }
        true
    }

    /// Works out everything.
    fn build(
        &mut self,
        view: &View,
        table: &[u8],
        known_at: Micros,
        settings: &Arc<Settings>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        // Whatever comes from here on is met again at the next catching up.
        let counted = |memtable: &Arc<RwLock<Memtable>>| Counted {
            memtable: Arc::downgrade(memtable),
            parts: memtable.read().table(table).map_or(0, |of_table| of_table.parts() as usize),
        };
        *self = Live {
            settings: Arc::downgrade(settings),
            counted: view.memtables().iter().map(counted).collect(),
            built: self.built + 1,
            ..Live::default()
        };
        let keys = streams_with_state(view, table, None, None)?;
        let mut last: Option<(&Name, u32)> = None;
        for keys in keys.chunk_by(is_one_name) {
            let host = match last {
                Some((name, host)) if *name == keys[0].host => host,
                Some((_, host)) => host + 1,
                None => 0,
            };
            last = Some((&keys[0].host, host));
            let at = self.groups.len() as u32;
            keys.iter().for_each(|key| {
                self.by_key.insert(key.clone(), at);
            });
            let is_assumed = settings.mapping(&keys[0].name).assumed;
            let (keys, extent) = (keys.to_vec(), (Second::MAX, Second::MIN));
            let (run, tail, is_settled, asks_agent) = (None, None, false, false);
            self.groups.push(Group { keys, host, is_assumed, run, tail, is_settled, asks_agent, extent });
        }
        let mut agents = Agents::new(view, known_at);
        for at in 0..self.groups.len() as u32 {
            self.read(view, at, &mut agents, cost)?;
        }
        Ok(())
    }

    /// Works out what a group is read from.
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
        group.is_settled = source.is_some();
        (group.run, group.tail) = (None, None);
        // Looks that do not count yet are met when they do; of what is not settled nothing is remembered.
        let Some(source) = source else {
            self.replayed.insert(at);
            self.pending.insert(at);
            return Ok(None);
        };
        self.replayed.remove(&at);
        group.asks_agent = source.needs_agent;
        group.extent = source.extent();
        group.run = source.run.as_ref().map(|run| (view.place_of(run.reader.segment), run.place as u32));
        if let Some((segment, place)) = group.run {
            self.of_place.resize(view.segments().len(), Vec::new());
            let of = &mut self.of_place[segment as usize];
            of.resize(of.len().max(place as usize + 1), NONE);
            of[place as usize] = at;
        }
        if let Some(tail) = &source.tail {
            if tail.has_more() {
                self.pending.insert(at);
            }
            group.tail = Some(tail.once());
            self.finders
                .iter_mut()
                .for_each(|((column, is_address), finder)| finder.note(column, *is_address, at, tail));
        }
        Ok(Some(source))
    }

    /// What a group is read from, of which some may have been forgotten; `None` if it must be replayed.
    fn source<'v>(
        &mut self,
        view: &'v View,
        table: &[u8],
        at: u32,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Source<'v>>, Error> {
        let group = &self.groups[at as usize];
        if !group.is_settled {
            return Ok(None);
        }
        let tail = group.tail.as_ref().map(SeenOnce::again);
        if let Some(None) = tail {
            return self.read(view, at, agents, cost);
        }
        let run = match group.run {
            Some((segment, place)) => {
                let reader = view.segments()[segment as usize].table(table)?;
                reader.map(|reader| RunAt::new(reader, place as usize))
            }
            None => None,
        };
        Ok(Some(Source { run, tail: tail.flatten(), needs_agent: group.asks_agent }))
    }

    /// Which tails have which values of a column.
    fn find(
        &mut self,
        view: &View,
        ask: &Ask<'_>,
        (column, is_address): (&[u8], bool),
        cost: &mut Cost,
    ) -> Result<&Finder, Error> {
        let key = (Name::from(column), is_address);
        if !self.finders.contains_key(&key) {
            let (mut finder, mut agents) = (Finder::default(), Agents::new(view, ask.known_at));
            for at in self.with_tail() {
                if let Some(Source { tail: Some(tail), .. }) = self.source(view, ask.table, at, &mut agents, cost)? {
                    finder.note(column, is_address, at, &tail);
                }
            }
            if self.finders.len() >= FINDERS_MAX {
                self.finders.clear();
            }
            self.finders.insert(key.clone(), finder);
        }
        Ok(&self.finders[&key])
    }

    /// The groups whose tails may have a value.
    fn groups_with(
        &mut self,
        view: &View,
        ask: &Ask<'_>,
        column: &[u8],
        sought: Sought<'_>,
        cost: &mut Cost,
    ) -> Result<Vec<u32>, Error> {
        let (text, is_address) = match sought {
            Sought::Text(text) | Sought::Number(text) => (text, false),
            Sought::Address(text) => (text, true),
            Sought::Begins(_) | Sought::In(_) => return Ok(self.with_tail()),
        };
        let Telling::By(hash) = telling(is_address, text) else {
            return Ok(self.with_tail());
        };
        let finder = self.find(view, ask, (column, is_address), cost)?;
        if finder.groups.len() > VALUES_MAX {
            return Ok(self.with_tail());
        }
        Ok(finder.groups.get(&hash).into_iter().flatten().chain(&finder.odd).copied().collect())
    }

    fn with_tail(&self) -> Vec<u32> {
        (0..).zip(&self.groups).filter(|(_, group)| group.tail.is_some()).map(|(at, _)| at).collect()
    }

    /// What the indexes of the segments and the tails name for the values that are sought; `None` if a segment with runs has no
    /// index of the column.
    fn candidates(
        &mut self,
        view: &View,
        ask: &Ask<'_>,
        column: &[u8],
        sought: Sought<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Candidates>, Error> {
        let mut candidates = Candidates::new();
        for (segment, of) in (0..).zip(&self.of_place) {
            if of.is_empty() {
                continue;
            }
            let Some(reader) = view.segments()[segment as usize].table(ask.table)? else { continue };
            let Some(index) = reader.index(column, view.cache(), cost)? else {
                return Ok(None);
            };
            cost.segments_touched += 1;
            each_named(reader, column, index.borrow_dependent(), sought, ask, cost, |place, named, _| {
                let Some(&group) = of.get(place).filter(|&&group| group != NONE) else {
                    return Ok(());
                };
                named.add_to(candidates.entry(group).or_insert_with(no_versions))
            })?;
        }
        candidates.values_mut().for_each(put_in_order);
        for group in self.groups_with(view, ask, column, sought, cost)? {
            candidates.entry(group).or_insert_with(no_versions);
        }
        Ok(Some(candidates))
    }

    /// The counts over `hosts` hosts at T, with the classes of the groups that were replayed, in their order.
    fn coverage(&self, at: Second, replayed: &[(u32, Class)], hosts: u64) -> Coverage {
        let mut coverage = Coverage::default();
        let mut replayed = replayed.iter().peekable();
        let mut groups = (0..).zip(&self.groups).peekable();
        let mut all = 0;
        while let Some((first, group)) = groups.next() {
            let mut class_of = |number: u32, group: &Group| {
                if group.is_settled {
                    return Some(Settled::class_of(group.extent.0, group.extent.1, at));
                }
                replayed.next_if(|(of, _)| *of == number).map(|(_, class)| *class)
            };
            let (mut best, mut assumed) = (class_of(first, group), false);
            assumed |= best.is_some() && group.is_assumed;
            while let Some((number, other)) = groups.next_if(|(_, other)| other.host == group.host) {
                let class = class_of(number, other);
                assumed |= class.is_some() && other.is_assumed;
                best = match (best, class) {
                    (Some(best), Some(class)) => Some(if rank(&class) < rank(&best) { class } else { best }),
                    (best, class) => best.or(class),
                };
            }
            let Some(best) = best else { continue };
            all += 1;
            count(&mut coverage, || group.keys[0].host.clone(), best, assumed);
        }
        coverage.never = hosts.saturating_sub(all);
        coverage
    }
}

fn agents_told(view: &View) -> Told {
    let mut told = Told::default();
    for memtable in view.memtables() {
        let memtable = memtable.read();
        for table in [note::GIVEN, note::VERSION].into_iter().filter_map(|table| memtable.table(table)) {
            told = (told.0 + table.parts(), told.1.max(table.last_recorded()));
        }
    }
    told
}

impl View {
    /// The table while it is written to, if it can be told for all hosts; brought up to this view.
    fn live<T>(
        &self,
        ask: &Ask<'_>,
        settings: &Arc<Settings>,
        cost: &mut Cost,
        then: impl FnOnce(&mut Live, &mut Cost) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        if !self.counts_segments(ask.known_at) || !self.has_table(ask.table)? {
            return Ok(None);
        }
        let live = self.live_table(ask.table);
        let mut live = live.lock();
        if !live.catch_up(self, ask.table, ask.known_at, settings, cost)? {
            return Ok(None);
        }
        then(&mut live, cost).map(Some)
    }

    /// The rows of a table at T, of all hosts, that have a value in a column and are wanted besides, and who can speak; `None`
    /// where that must be read stream by stream.
    pub(super) fn read_live(
        &self,
        ask: &Ask<'_>,
        column: &[u8],
        sought: Sought<'_>,
        settings: &Arc<Settings>,
        cost: &mut Cost,
        besides: impl Fn(&[u8]) -> bool,
    ) -> Result<Option<(Vec<Held>, Coverage)>, Error> {
        if ask.host.is_some() || ask.stream.is_some() {
            return Ok(None);
        }
        // What is wanted is found while nobody else brings the table further, and read afterwards.
        let found = self.live(ask, settings, cost, |live, cost| {
            let Some(candidates) = live.candidates(self, ask, column, sought, cost)? else {
                return Ok(None);
            };
            let (mut wanted, mut agents) = (Vec::with_capacity(candidates.len()), Agents::new(self, ask.known_at));
            for (at, versions) in candidates {
                if let Some(source) = live.source(self, ask.table, at, &mut agents, cost)? {
                    wanted.push((source, versions));
                }
            }
            let replayed: Vec<(u32, Vec<Arc<StreamKey>>)> =
                live.replayed.iter().map(|&at| (at, live.groups[at as usize].keys.clone())).collect();
            let coverage = replayed.is_empty().then(|| live.coverage(ask.at, &[], 0));
            Ok(Some((wanted, replayed, coverage, live.built)))
        })?;
        let Some(Some((wanted, replayed, coverage, built))) = found else {
            return Ok(None);
        };
        let keep = |row: &[u8]| sought.is_in(row, column) && besides(row);
        let (mut rows, mut sorter) = (Vec::new(), Sorter::default());
        for (source, versions) in wanted {
            let mut settled = Settled::new(&source, self.cache(), ask.at, cost)?;
            match versions {
                Some(versions) => {
                    settled.among(versions.len(), |at| Ok(versions[at]), ask.with_after, keep, &mut rows, cost)?;
                    settled.among_tail(ask.with_after, keep, &mut rows);
                }
                None => settled.held(ask.with_after, keep, &mut sorter, &mut rows, cost)?,
            }
        }
        let hosts = self.count_hosts(None, ask.known_at, cost)?;
        let coverage = match coverage {
            Some(coverage) => Coverage { never: hosts.saturating_sub(coverage.hosts()), ..coverage },
            None => {
                let mut agents = Agents::new(self, ask.known_at);
                let numbers: Vec<u32> = replayed.iter().map(|(at, _)| *at).collect();
                let mut classes = Vec::with_capacity(replayed.len());
                for (at, keys) in replayed {
                    let mut of = AtT { rows: Vec::new(), classes: Classes::default() };
                    match Member::new(self, &keys, &mut agents, cost)? {
                        Some(Member::Replayed(named)) => {
                            of.note(ask, settings, &keys[0].host, &keys[0].name, &named, &keep);
                        }
                        // It became regular meanwhile.
                        Some(Member::Settled(_)) => return Ok(None),
                        None => {}
                    }
                    classes.extend(of.classes.of(&keys[0].host).map(|class| (at, class)));
                    rows.append(&mut of.rows);
                }
                // It is as it was, unless somebody brought it further, or found another that must be replayed.
                let counted = self.live(ask, settings, cost, |live, _| {
                    let is_same = live.built == built && live.replayed.iter().eq(&numbers);
                    Ok(is_same.then(|| live.coverage(ask.at, &classes, hosts)))
                })?;
                let Some(Some(coverage)) = counted else { return Ok(None) };
                coverage
            }
        };
        if rows.len() > 1 {
            sort_held(&mut rows, false);
        }
        Ok(Some((rows, coverage)))
    }

    /// The groups of a table in their order, with what each is read from; `None` where they must be found.
    pub(super) fn list_live(
        &self,
        ask: &Ask<'_>,
        settings: &Arc<Settings>,
        cost: &mut Cost,
    ) -> Result<Option<Vec<Listed<'_>>>, Error> {
        if ask.host.is_some() || ask.stream.is_some() {
            return Ok(None);
        }
        self.live(ask, settings, cost, |live, cost| {
            let mut agents = Agents::new(self, ask.known_at);
            let mut listed = Vec::with_capacity(live.groups.len());
            for at in 0..live.groups.len() {
                let source = live.source(self, ask.table, at as u32, &mut agents, cost)?;
                let group = &live.groups[at];
                let settled = source.map(|source| (source, group.is_assumed));
                listed.push(Listed { keys: group.keys.clone(), settled });
            }
            Ok(listed)
        })
    }
}

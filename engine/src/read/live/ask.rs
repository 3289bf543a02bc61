//! Questions to all hosts of a table while it is written to.

use super::super::answer::{Cost, Coverage, Held};
use super::super::at::{Ask, AtT, sort_held};
use super::super::classes::{count, rank};
use super::super::indexed::{Sought, Versions, each_named, no_versions, put_in_order};
use super::super::resolved::{Agents, Named};
use super::super::settled::{Settled, Sorter};
use super::super::source::Source;
use super::super::told::Settings;
use super::super::view::View;
use super::finder::Finder;
use super::{FINDERS_MAX, From, Group, Live, NONE};
use crate::error::Error;
use crate::fact::{Name, Second, StreamKey};
use crate::row::Row;
use crate::timeline::verdict::Class;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of some groups, in their order, which versions of their runs to read.
type Candidates = BTreeMap<u32, Versions>;

/// A group as who reads all of them needs it.
pub(in super::super) struct Listed<'v> {
    pub(in super::super) keys: Vec<Arc<StreamKey>>,
    /// What it is read from, and whether its table is assumed from its name; `None` if that must be worked out.
    pub(in super::super) settled: Option<(Source<'v>, bool)>,
}

impl Live {
    /// The groups that may have a value in what no index tells of.
    fn groups_with(
        &mut self,
        view: &View,
        ask: &Ask<'_>,
        column: &[u8],
        sought: Sought<'_>,
        cost: &mut Cost,
    ) -> Result<Vec<u32>, Error> {
        let found = match sought {
            Sought::Text(text) | Sought::Number(text) => self.finder(view, ask, column, false, cost)?.find(false, text),
            Sought::Address(text) => self.finder(view, ask, column, true, cost)?.find(true, text),
            Sought::Begins(_) | Sought::In(_) => None,
        };
        Ok(found.unwrap_or_else(|| self.beyond_runs()))
    }

    /// The groups of which not all is in a run.
    fn beyond_runs(&self) -> Vec<u32> {
        let is_beyond = |group: &Group| !matches!(group.from, From::Settled { tail: None, .. });
        (0..).zip(&self.groups).filter(|(_, group)| is_beyond(group)).map(|(at, _)| at).collect()
    }

    /// Where a group has its run.
    fn run(&self, at: u32) -> Option<(u64, u32)> {
        match self.groups[at as usize].from {
            From::Settled { run, .. } => run,
            From::Replayed(_) => None,
        }
    }

    /// Who has which values of a column.
    fn finder(
        &mut self,
        view: &View,
        ask: &Ask<'_>,
        column: &[u8],
        is_address: bool,
        cost: &mut Cost,
    ) -> Result<&Finder, Error> {
        let key = (Name::from(column), is_address);
        if !self.finders.contains_key(&key) {
            let (mut finder, mut agents) = (Finder::default(), Agents::new(view, ask.known_at));
            for at in self.beyond_runs() {
                match self.source(view, at, &mut agents, cost)? {
                    Some(Source { tail: Some(tail), .. }) => finder.note_tail(column, is_address, at, &tail),
                    Some(_) => {}
                    None => {
                        let named = self.named(view, at, &mut agents, cost)?;
                        named.iter().for_each(|named| finder.note(column, is_address, at, named.rows()));
                    }
                }
            }
            if self.finders.len() >= FINDERS_MAX {
                self.finders.clear();
            }
            self.finders.insert(key.clone(), finder);
        }
        Ok(&self.finders[&key])
    }

    /// What the indexes of the segments and the finder name for the values that are sought; `None` if a segment with runs has
    /// no index of the column.
    fn candidates(
        &mut self,
        view: &View,
        ask: &Ask<'_>,
        column: &[u8],
        sought: Sought<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Candidates>, Error> {
        let mut candidates = Candidates::new();
        // First, since it may read groups anew, and so find runs elsewhere.
        let beyond = self.groups_with(view, ask, column, sought, cost)?;
        for segment in view.segments() {
            let Some(of) = self.of_place.get(&segment.number()) else { continue };
            let Some(reader) = segment.table(ask.table)? else { continue };
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
        for group in beyond {
            candidates.entry(group).or_insert_with(no_versions);
        }
        Ok(Some(candidates))
    }

    /// Adds the timelines of a group that turned out to be replayed to those that are known.
    fn note_replayed(
        &mut self,
        view: &View,
        at: u32,
        all: &mut Vec<(u32, Named)>,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        if let Err(place) = place_of(all, at)
            && let Some(named) = self.named(view, at, agents, cost)?
        {
            all.insert(place, (at, named));
        }
        Ok(())
    }

    /// The groups of which first and last look do not tell whether they can speak.
    fn resolved(&self) -> Vec<u32> {
        let is_resolved = |group: &Group| matches!(group.from, From::Settled { is_resolved: true, .. });
        (0..).zip(&self.groups).filter(|(_, group)| is_resolved(group)).map(|(at, _)| at).collect()
    }

    /// The counts at T, of hosts that never looked none.
    fn coverage(&self, at: Second, replayed: &[(u32, Named)], resolved: &BTreeMap<u32, Class>) -> Coverage {
        let mut coverage = Coverage::default();
        let mut replayed = replayed.iter().peekable();
        let mut class_of = |number: u32, group: &Group| match &group.from {
            From::Settled { is_resolved: true, .. } => resolved.get(&number).copied(),
            From::Settled { extent, .. } => Some(Settled::class_of(extent.0, extent.1, at)),
            From::Replayed(_) => {
                let (_, named) = replayed.next_if(|(of, _)| *of == number)?;
                let (resolved, bracket) = named.at(at)?;
                Some(resolved.timeline.class(&bracket))
            }
        };
        let mut groups = (0..).zip(&self.groups).peekable();
        while let Some((first, group)) = groups.next() {
            let mut best = class_of(first, group);
            let mut assumed = best.is_some() && group.is_assumed;
            while let Some((number, other)) = groups.next_if(|(_, other)| other.host == group.host) {
                let class = class_of(number, other);
                assumed |= class.is_some() && other.is_assumed;
                best = match (best, class) {
                    (Some(best), Some(class)) => Some(if rank(&class) < rank(&best) { class } else { best }),
                    (best, class) => best.or(class),
                };
            }
            if let Some(best) = best {
                count(&mut coverage, || group.keys[0].host.clone(), best, assumed);
            }
        }
        coverage
    }
}

/// The place of a group among those that were replayed, or where it would be.
fn place_of(all: &[(u32, Named)], at: u32) -> Result<usize, usize> {
    all.binary_search_by_key(&at, |(of, _)| *of)
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
        let live = self.standing.live.table(ask.table);
        let mut live = live.lock();
        if !live.catch_up(self, ask.table, ask.known_at, settings, cost)? {
            return Ok(None);
        }
        then(&mut live, cost).map(Some)
    }

    /// The rows of a table at T, of all hosts, that have a value in a column and are wanted besides, and who can speak; `None`
    /// where that must be read stream by stream.
    pub(in super::super) fn read_live(
        &self,
        ask: &Ask<'_>,
        column: &[u8],
        sought: Sought<'_>,
        settings: &Arc<Settings>,
        cost: &mut Cost,
        besides: impl Fn(&Row) -> bool,
    ) -> Result<Option<(Vec<Held>, Coverage)>, Error> {
        if ask.host.is_some() || ask.stream.is_some() {
            return Ok(None);
        }
        // What is wanted is found while nobody else brings the table further, and read afterwards.
        let found = self.live(ask, settings, cost, |live, cost| {
            // What must be replayed is told to the finders by that.
            let mut agents = Agents::new(self, ask.known_at);
            let mut all_named = live.all_named(self, &mut agents, cost)?;
            let Some(candidates) = live.candidates(self, ask, column, sought, cost)? else {
                return Ok(None);
            };
            // Finding them may have replayed more.
            for at in live.replayed.iter().copied().collect::<Vec<_>>() {
                live.note_replayed(self, at, &mut all_named, &mut agents, cost)?;
            }
            let mut wanted = Vec::with_capacity(candidates.len());
            for (at, versions) in candidates {
                let run = live.run(at);
                let source = live.source(self, at, &mut agents, cost)?;
                if source.is_none() {
                    live.note_replayed(self, at, &mut all_named, &mut agents, cost)?;
                }
                // Where it was read anew, an index may have told of another run.
                let versions = if live.run(at) == run { versions } else { None };
                wanted.push((at, source, versions));
            }
            let mut classes = BTreeMap::new();
            for at in live.resolved() {
                match live.source(self, at, &mut agents, cost)? {
                    Some(source) => {
                        classes.insert(at, Settled::new(&source, self.cache(), ask.at, cost)?.class());
                    }
                    None => live.note_replayed(self, at, &mut all_named, &mut agents, cost)?,
                }
            }
            let coverage = live.coverage(ask.at, &all_named, &classes);
            let with_group = |(at, source, versions)| {
                let (group, named) = (&live.groups[at as usize], place_of(&all_named, at));
                let named = named.ok().map(|place| all_named[place].1.clone());
                (group.keys[0].clone(), group.is_assumed, source, named, versions)
            };
            Ok(Some((wanted.into_iter().map(with_group).collect::<Vec<_>>(), coverage)))
        })?;
        let Some(Some((wanted, coverage))) = found else {
            return Ok(None);
        };
        let keep = |row: &Row| sought.is_in(row, column) && besides(row);
        let (mut read, mut sorter) = (AtT::default(), Sorter::default());
        for (key, is_assumed, source, named, versions) in wanted {
            if let Some(named) = named {
                read.note(ask, &key.host, is_assumed, &named, &keep);
            }
            let Some(source) = source else { continue };
            let mut settled = Settled::new(&source, self.cache(), ask.at, cost)?;
            let rows = &mut read.rows;
            match versions {
                Some(versions) => {
                    let rows = &mut rows.held;
                    settled.among(versions.len(), |at| Ok(versions[at]), ask.with_after, keep, rows, cost)?;
                    settled.among_tail(ask.with_after, keep, rows);
                }
                None => settled.held(ask.with_after, false, keep, &mut sorter, rows, cost)?,
            }
        }
        let hosts = self.count_hosts(None, ask.known_at, cost)?;
        let coverage = Coverage { never: hosts.saturating_sub(coverage.hosts()), ..coverage };
        let mut rows = read.rows.into_held();
        if rows.len() > 1 {
            sort_held(&mut rows, false);
        }
        Ok(Some((rows, coverage)))
    }

    /// The groups of a table in their order, with what each is read from; `None` where they must be found.
    pub(in super::super) fn list_live(
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
                let source = live.source(self, at as u32, &mut agents, cost)?;
                let group = &live.groups[at];
                let settled = source.map(|source| (source, group.is_assumed));
                listed.push(Listed { keys: group.keys.clone(), settled });
            }
            Ok(listed)
        })
    }
}

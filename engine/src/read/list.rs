//! What is stored: `hosts`, `tables`, `coverage`.

use super::answer::{Cause, Cost, HostEntry, StreamEntry, TableEntry};
use super::question::ListQuestion;
use super::resolved::{Agents, resolve, version_text};
use super::source::Source;
use super::told::Settings;
use super::view::View;
use crate::agent::inferred_text;
use crate::error::Error;
use crate::fact::{Inferred, Kind, Name, Second, StreamKey};
use crate::options::{cores, join};
use crate::timeline::resolve::Timeline;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A table under construction: its extent, its hosts, the names of its assumed streams, and the hosts that have such.
type Listed = (TableEntry, Extent, BTreeSet<Name>, BTreeSet<Name>, BTreeSet<Name>);

/// The seconds of first and last looks: of what is lost only where there is none else.
#[derive(Clone, Copy)]
struct Extent {
    first: Second,
    last: Second,
    is_lost: bool,
}

impl Extent {
    /// That of both.
    fn and(self, other: Extent) -> Extent {
        match (self.is_lost, other.is_lost) {
            (true, false) => other,
            (false, true) => self,
            _ => Extent { first: self.first.min(other.first), last: self.last.max(other.last), ..self },
        }
    }
}

impl View {
    /// Calls `each` with every stream that has a look, table by table, and its timeline; of a settled one only with what
    /// its looks tell.
    fn each_stream(
        &self,
        q: &ListQuestion,
        settings: &Settings,
        cost: &mut Cost,
        mut each: impl FnMut(&Arc<StreamKey>, &Timeline, &mut Agents<'_>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let bound = self.bound(q.known_at);
        let mut agents = Agents::new(self, bound);
        for table in self.tables()? {
            if q.table.as_ref().is_some_and(|wanted| *wanted != table) {
                continue;
            }
            for key in self.streams_of(&table, q.host.as_deref())? {
                let settled = self.settled(&key, bound, settings)?;
                if let Some(regular) = settled.filter(|run| !run.record.is_resolved()) {
                    let mut timeline = Timeline::default();
                    regular.reader.each_recorded(&regular.record, cost, |look, recorded| {
                        timeline.note(look.second, recorded, look.inferred);
                    })?;
                    each(&key, &timeline, &mut agents, cost)?;
                } else if let Some(resolved) = resolve(self, &key, &mut agents, cost)? {
                    each(&key, &resolved.timeline, &mut agents, cost)?;
                }
            }
        }
        Ok(())
    }

    /// Calls `each` with every stream and its extent, table by table. Where the directories tell these, nothing else is
    /// read.
    fn each_extent(
        &self,
        q: &ListQuestion,
        cost: &mut Cost,
        mut each: impl FnMut(&Arc<StreamKey>, Extent),
    ) -> Result<(), Error> {
        let bound = self.bound(q.known_at);
        let mut agents = Agents::new(self, bound);
        for table in self.tables()? {
            for key in self.streams_of(&table, None)? {
                let idle_zeros = key.kind == Kind::Diff && agents.of(&key.host, cost)?.may_write_idle_zeros();
                let extent = if idle_zeros { None } else { self.extent(&key, bound)? };
                let extent = match extent {
                    Some((first, last)) => Some(Extent { first, last, is_lost: false }),
                    None => resolve(self, &key, &mut agents, cost)?.and_then(|resolved| {
                        let (first, last) = resolved.timeline.seconds?;
                        Some(Extent { first, last, is_lost: resolved.timeline.looks == 0 })
                    }),
                };
                if let Some(extent) = extent {
                    each(&key, extent);
                }
            }
        }
        Ok(())
    }

    /// What the lines of a host's last second suggest of its agent's version.
    fn inferred_at(
        &self,
        host: &Name,
        second: Second,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Inferred>, Error> {
        let mut inferred: Option<Inferred> = None;
        for table in self.tables()? {
            for key in self.streams_of(&table, Some(host))? {
                let Some(resolved) = resolve(self, &key, agents, cost)? else { continue };
                if resolved.timeline.seconds.is_some_and(|(_, last)| last == second) {
                    inferred = inferred.into_iter().chain(resolved.timeline.inferred).min();
                }
            }
        }
        Ok(inferred)
    }

    /// The hosts with any look.
    pub fn list_hosts(&self, q: &ListQuestion) -> Result<Vec<HostEntry>, Error> {
        let mut cost = Cost::default();
        let mut hosts: BTreeMap<Name, (u64, Extent)> = BTreeMap::new();
        self.each_extent(q, &mut cost, |key, extent| {
            let host = hosts.entry(key.host.clone()).or_insert((0, extent));
            *host = (host.0 + 1, host.1.and(extent));
        })?;
        let mut agents = Agents::new(self, self.bound(q.known_at));
        let entry = |(host, (streams, Extent { first, last, .. })): (Name, (u64, Extent))| {
            let agent_version = match version_text(agents.of(&host, &mut cost)?, last, None) {
                Some(version) => Some(version),
                None => {
                    self.inferred_at(&host, last, &mut agents, &mut cost)?.map(|class| inferred_text(class).to_owned())
                }
            };
            Ok(HostEntry { host, streams, first, last, agent_version })
        };
        hosts.into_iter().map(entry).collect()
    }

    /// The tables with any look.
    pub fn list_tables(&self, q: &ListQuestion) -> Result<Vec<TableEntry>, Error> {
        let mut cost = Cost::default();
        let settings = self.settings(self.bound(q.known_at), &mut cost)?;
        let mut tables: BTreeMap<Name, Listed> = BTreeMap::new();
        self.each_extent(q, &mut cost, |key, extent| {
            let (entry, seen, hosts, assumed, assumed_hosts) = tables.entry(key.table.clone()).or_insert_with(|| {
                let entry = TableEntry {
                    table: key.table.clone(),
                    evented: settings.catalogue.is_evented(&key.table),
                    streams: 0,
                    hosts: 0,
                    first: 0,
                    last: 0,
                    assumed: 0,
                    assumed_names: Vec::new(),
                };
                (entry, extent, BTreeSet::new(), BTreeSet::new(), BTreeSet::new())
            });
            entry.streams += 1;
            *seen = seen.and(extent);
            hosts.insert(key.host.clone());
            if settings.mapping(&key.name).assumed {
                assumed_hosts.insert(key.host.clone());
                assumed.insert(key.name.clone());
            }
        })?;
        let finish = |(mut entry, Extent { first, last, .. }, hosts, assumed, assumed_hosts): Listed| {
            (entry.first, entry.last) = (first, last);
            entry.assumed = assumed_hosts.len() as u64;
            entry.hosts = hosts.len() as u64;
            entry.assumed_names = assumed.into_iter().collect();
            entry
        };
        Ok(tables.into_values().map(finish).collect())
    }

    /// The streams, when they were looked at, and where they cannot be vouched for; by host, stream, kind, table.
    pub fn list_streams(&self, q: &ListQuestion) -> Result<Vec<StreamEntry>, Error> {
        let mut cost = Cost::default();
        let settings = self.settings(self.bound(q.known_at), &mut cost)?;
        let mut streams = Vec::new();
        self.each_stream(q, &settings, &mut cost, |key, timeline, agents, cost| {
            let Some((first, last)) = timeline.seconds else {
                return Ok(());
            };
            let agent_version = version_text(agents.of(&key.host, cost)?, last, timeline.inferred);
            streams.push(StreamEntry {
                host: key.host.clone(),
                stream: key.name.clone(),
                kind: key.kind,
                table: key.table.clone(),
                assumed: settings.mapping(&key.name).assumed,
                looks: timeline.looks,
                first,
                last,
                agent_version,
                skew: timeline.skew,
                breaks: timeline.breaks.clone(),
            });
            Ok(())
        })?;
        streams.sort_by(|a, b| {
            (&a.host, &a.stream, a.kind.word(), &a.table).cmp(&(&b.host, &b.stream, b.kind.word(), &b.table))
        });
        Ok(streams)
    }
}

/// Streams whose breaks one thread counts at a time.
const BREAKS_CHUNK: usize = 64;

impl View {
    /// How many breaks these streams have, by cause; counted on all cores.
    pub fn count_breaks(&self, streams: &BTreeSet<Arc<StreamKey>>) -> Result<BTreeMap<Cause, u64>, Error> {
        let mut by_host: Vec<&Arc<StreamKey>> = streams.iter().collect();
        by_host.sort_by(|a, b| a.host.cmp(&b.host));
        let next = AtomicUsize::new(0);
        let count = || -> Result<BTreeMap<Cause, u64>, Error> {
            let (mut causes, mut cost) = (BTreeMap::new(), Cost::default());
            let bound = self.bound(None);
            let settings = self.settings(bound, &mut cost)?;
            let mut agents = Agents::new(self, bound);
            while let Some(chunk) = by_host.chunks(BREAKS_CHUNK).nth(next.fetch_add(1, Ordering::Relaxed)) {
                for key in chunk {
                    // What is regular has none.
                    let settled = self.settled(key, bound, &settings)?;
                    let of_run = |source: Source<'_>| !source.is_resolved();
                    if settled.as_ref().is_some_and(|run| !run.record.is_resolved())
                        || settled.is_none() && self.source(key, &mut agents, &mut cost)?.is_some_and(of_run)
                    {
                        continue;
                    }
                    let Some(resolved) = resolve(self, key, &mut agents, &mut cost)? else { continue };
                    for stretch in &resolved.timeline.breaks {
                        *causes.entry(stretch.cause).or_default() += 1;
                    }
                }
            }
            Ok(causes)
        };
        let threads = cores();
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..threads).map(|_| scope.spawn(count)).collect();
            let mut causes = BTreeMap::new();
            for thread in counting {
                let counted = join(thread)?;
                counted.into_iter().for_each(|(cause, count)| *causes.entry(cause).or_default() += count);
            }
            Ok(causes)
        })
    }
}

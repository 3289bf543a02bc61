//! What is stored: `hosts`, `tables`, `coverage`.

use super::answer::{Cause, Cost, HostEntry, StreamEntry, TableEntry};
use super::question::ListQuestion;
use super::resolved::{Agents, Resolved, resolve, version_text};
use super::view::View;
use crate::error::Error;
use crate::fact::{Inferred, Name, Second, StreamKey};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A table under construction: its hosts, the names of its assumed streams, and the hosts that have such.
type Listed = (TableEntry, BTreeSet<Name>, BTreeSet<Name>, BTreeSet<Name>);

impl View {
    /// Calls `each` with every stream that has a look, table by table.
    fn each_stream(
        &self,
        q: &ListQuestion,
        cost: &mut Cost,
        mut each: impl FnMut(Resolved, &mut Agents<'_>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut agents = Agents::new(self, self.bound(q.known_at));
        for table in self.tables()? {
            if q.table.as_ref().is_some_and(|wanted| *wanted != table) {
                continue;
            }
            for key in self.streams_of(&table, q.host.as_deref())? {
                if let Some(resolved) = resolve(self, &key, &mut agents, cost)? {
                    each(resolved, &mut agents, cost)?;
                }
            }
        }
        Ok(())
    }

    /// The hosts with any look.
    pub fn list_hosts(&self, q: &ListQuestion) -> Result<Vec<HostEntry>, Error> {
        struct Seen {
            streams: u64,
            first: Second,
            last: Second,
            inferred: Option<Inferred>,
        }
        let mut cost = Cost::default();
        let mut hosts: BTreeMap<Name, Seen> = BTreeMap::new();
        self.each_stream(q, &mut cost, |resolved, _, _| {
            let timeline = &resolved.timeline;
            let Some((first, last)) = timeline.seconds else {
                return Ok(());
            };
            let seen = Seen { streams: 1, first, last, inferred: timeline.inferred };
            hosts
                .entry(resolved.key.host.clone())
                .and_modify(|host| {
                    host.inferred = match last.cmp(&host.last) {
                        std::cmp::Ordering::Less => host.inferred,
                        std::cmp::Ordering::Equal => host.inferred.min(timeline.inferred),
                        std::cmp::Ordering::Greater => timeline.inferred,
                    };
                    host.streams += 1;
                    host.first = host.first.min(first);
                    host.last = host.last.max(last);
                })
                .or_insert(seen);
            Ok(())
        })?;
        let mut agents = Agents::new(self, self.bound(q.known_at));
        let entry = |(host, seen): (Name, Seen)| {
            let agent_version = version_text(agents.of(&host, &mut cost)?, seen.last, seen.inferred);
            Ok(HostEntry { host, streams: seen.streams, first: seen.first, last: seen.last, agent_version })
        };
        hosts.into_iter().map(entry).collect()
    }

    /// The tables with any look.
    pub fn list_tables(&self, q: &ListQuestion) -> Result<Vec<TableEntry>, Error> {
        let mut cost = Cost::default();
        let settings = self.settings(self.bound(q.known_at), &mut cost)?;
        let mut tables: BTreeMap<Name, Listed> = BTreeMap::new();
        self.each_stream(q, &mut cost, |resolved, _, _| {
            let Some((first, last)) = resolved.timeline.seconds else {
                return Ok(());
            };
            let key = &resolved.key;
            let (entry, hosts, assumed, assumed_hosts) = tables.entry(key.table.clone()).or_insert_with(|| {
                let entry = TableEntry {
                    table: key.table.clone(),
                    evented: settings.catalogue.is_evented(&key.table),
                    streams: 0,
                    hosts: 0,
                    first,
                    last,
                    assumed: 0,
                    assumed_names: Vec::new(),
                };
                (entry, BTreeSet::new(), BTreeSet::new(), BTreeSet::new())
            });
            entry.streams += 1;
            entry.first = entry.first.min(first);
            entry.last = entry.last.max(last);
            hosts.insert(key.host.clone());
            if settings.mapping(&key.name).assumed {
                assumed_hosts.insert(key.host.clone());
                assumed.insert(key.name.clone());
            }
            Ok(())
        })?;
        let finish = |(mut entry, hosts, assumed, assumed_hosts): Listed| {
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
        self.each_stream(q, &mut cost, |resolved, agents, cost| {
            let Resolved { key, timeline, .. } = resolved;
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
                breaks: timeline.breaks,
            });
            Ok(())
        })?;
        streams.sort_by(|a, b| {
            (&a.host, &a.stream, a.kind.word(), &a.table).cmp(&(&b.host, &b.stream, b.kind.word(), &b.table))
        });
        Ok(streams)
    }
}

impl View {
    /// How many breaks these streams have, by cause.
    pub fn count_breaks(&self, streams: &BTreeSet<Arc<StreamKey>>) -> Result<BTreeMap<Cause, u64>, Error> {
        let mut cost = Cost::default();
        let mut causes = BTreeMap::new();
        let mut by_host: Vec<&Arc<StreamKey>> = streams.iter().collect();
        by_host.sort_by(|a, b| a.host.cmp(&b.host));
        let mut agents = Agents::new(self, self.bound(None));
        for key in by_host {
            let Some(resolved) = resolve(self, key, &mut agents, &mut cost)? else {
                continue;
            };
            for stretch in &resolved.timeline.breaks {
                *causes.entry(stretch.cause).or_default() += 1;
            }
        }
        Ok(causes)
    }
}

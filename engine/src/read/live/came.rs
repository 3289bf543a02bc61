//! What came since a table was brought up to a view: parts in memory, segments in place of what was in memory or of others.
//!
//! Invariants:
//! - Whatever was recorded before the time that the table is as of had come before, in memory or in a segment: a segment that
//!   has nothing else brings nothing, though runs may be elsewhere by it.
//! - A memtable that is no more is in a segment that came.

use super::super::resolved::Agents;
use super::super::tail::SeenOnce;
use super::super::told::Settings;
use super::super::view::View;
use super::{Counted, From, Group, Live, NONE};
use crate::error::Error;
use crate::fact::{Micros, Name, StreamKey};
use crate::memtable::Memtable;
use crate::note;
use crate::read::answer::Cost;
use crate::segment::TableReader;
use crate::segment::directory::Form;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};

/// What is to be read anew.
#[derive(Default)]
struct Came {
    groups: Vec<u32>,
    /// Streams that no group has.
    fresh: Vec<Arc<StreamKey>>,
    /// Hosts of whose agents something was told.
    hosts: BTreeSet<Name>,
}

impl Live {
    /// Brings it up to a view; false if it is past that.
    pub(super) fn catch_up(
        &mut self,
        view: &View,
        table: &[u8],
        known_at: Micros,
        settings: &Arc<Settings>,
        cost: &mut Cost,
    ) -> Result<bool, Error> {
        if self.known_at.is_some_and(|at| at > known_at) || view.generation() < self.generation {
            return Ok(false);
        }
        // Where a failure leaves off, nothing may be built on.
        let mut before = self.known_at.take();
        if before.is_none() || self.settings.as_ptr() != Arc::as_ptr(settings) {
            *self = Live { settings: Arc::downgrade(settings), ..Live::default() };
            before = None;
        }
        let mut came = Came::default();
        // What was told of agents already may count only now.
        if self.noted > before {
            let asking = (0..).zip(&self.groups).filter(|(_, group)| group.asks_agent());
            came.groups.extend(asking.map(|(at, _)| at));
        }
        if before < Some(known_at) {
            came.groups.extend(std::mem::take(&mut self.pending));
        }
        self.note_segments(view, table, before, &mut came)?;
        self.note_arrivals(view, table, &mut came);
        self.add_groups(&mut came, settings);
        for host in &came.hosts {
            let start = self.groups.partition_point(|group| group.keys[0].host < *host);
            let of_host = self.groups[start..].iter().take_while(|group| group.keys[0].host == *host);
            let asking = (start as u32..).zip(of_host).filter(|(_, group)| group.asks_agent());
            came.groups.extend(asking.map(|(at, _)| at));
        }
        came.groups.sort_unstable();
        came.groups.dedup();
        let mut agents = Agents::new(view, known_at);
        for at in came.groups {
            self.read(view, at, &mut agents, cost)?;
        }
        (self.known_at, self.generation) = (Some(known_at), view.generation());
        Ok(true)
    }

    /// Notes which segments there are; whatever was recorded before a time had come already.
    fn note_segments(
        &mut self,
        view: &View,
        table: &[u8],
        before: Option<Micros>,
        came: &mut Came,
    ) -> Result<(), Error> {
        let numbers: Vec<u64> = view.segments().iter().map(|segment| segment.number()).collect();
        if numbers == self.segments {
            return Ok(());
        }
        let known = std::mem::replace(&mut self.segments, numbers);
        let mut moved = Vec::new();
        for segment in known.iter().filter(|segment| !self.segments.contains(segment)) {
            moved.extend(self.of_place.remove(segment).into_iter().flatten().filter(|at| *at != NONE));
        }
        for &at in &moved {
            if let From::Settled { run, tail, .. } = &mut self.groups[at as usize].from {
                (*run, *tail) = (None, Some(SeenOnce::gone()));
            }
        }
        // Most of what was in tails is in runs now; that it is found in vain costs little, as long as there is room for more.
        if !moved.is_empty() {
            self.finders.retain(|_, finder| !finder.is_full());
        }
        for segment in view.segments().iter().filter(|segment| !known.contains(&segment.number())) {
            let is_new = before.is_none_or(|before| segment.footer().recorded.1 >= before);
            if let Some(reader) = segment.table(table)? {
                self.note_segment(reader, is_new, came);
            }
            for of_agents in [note::GIVEN, note::VERSION] {
                let reader = if is_new { segment.table(of_agents)? } else { None };
                let hosts =
                    reader.into_iter().flat_map(|of| of.directory.records().map(move |it| of.directory.host(&it)));
                came.hosts.extend(hosts.map(Name::from));
            }
        }
        let is_lost = |at: &u32| matches!(self.groups[*at as usize].from, From::Settled { run: None, .. });
        came.groups.extend(moved.into_iter().filter(is_lost));
        Ok(())
    }

    /// Walks the streams of a segment that came beside the groups.
    fn note_segment(&mut self, reader: TableReader<'_>, is_new: bool, came: &mut Came) {
        let directory = reader.directory;
        // Only a merge makes runs.
        if !is_new && directory.dictionary == 0 {
            return;
        }
        let (number, mut at) = (reader.segment.number(), 0);
        for (place, record) in directory.records().enumerate().filter(|(_, record)| record.has_state()) {
            let name = (directory.host(&record), directory.name(&record));
            while self.groups.get(at).is_some_and(|group| group.name() < name) {
                at += 1;
            }
            let is_its =
                |group: &&mut Group| group.name() == name && group.keys.iter().any(|key| key.kind == record.kind);
            let Some(group) = self.groups.get_mut(at).filter(is_its) else {
                came.fresh.extend(directory.entry(place).map(|stream| stream.key));
                continue;
            };
            match &mut group.from {
                From::Settled { run: run @ None, tail, .. } if !is_new && record.form == Form::Run => {
                    (*run, *tail) = (Some((number, place as u32)), Some(SeenOnce::gone()));
                    self.put_run(at as u32, number, place as u32);
                }
                From::Settled { .. } if !is_new && record.form != Form::Run => {}
                _ => came.groups.push(at as u32),
            }
        }
    }

    /// Notes what came into memory.
    fn note_arrivals(&mut self, view: &View, table: &[u8], came: &mut Came) {
        let is_in_view = |counted: &Counted| {
            view.memtables().iter().any(|memtable| Arc::as_ptr(memtable) == counted.memtable.as_ptr())
        };
        // An earlier view of the same segments may lack a memtable that is not sealed.
        if view.generation() > self.generation {
            self.counted.retain(is_in_view);
        }
        for memtable in view.memtables() {
            let counted = counted(&mut self.counted, memtable);
            let memtable = memtable.read();
            if let Some(of_table) = memtable.table(table) {
                let first = std::mem::replace(&mut counted.parts, of_table.parts() as usize);
                for key in of_table.arrived_from(first).filter(|key| key.has_state()) {
                    match self.by_key.get(key) {
                        Some(&group) => came.groups.push(group),
                        None => came.fresh.push(key.clone()),
                    }
                }
            }
            for (of_agents, first) in [note::GIVEN, note::VERSION].into_iter().zip(&mut counted.notes) {
                if let Some(of_table) = memtable.table(of_agents) {
                    let first = std::mem::replace(first, of_table.parts() as usize);
                    came.hosts.extend(of_table.arrived_from(first).map(|key| key.host.clone()));
                    self.noted = self.noted.max(of_table.last_recorded());
                }
            }
        }
    }

    /// Adds groups for streams that none has.
    fn add_groups(&mut self, came: &mut Came, settings: &Settings) {
        let mut fresh = std::mem::take(&mut came.fresh);
        fresh.sort_unstable();
        fresh.dedup();
        if fresh.is_empty() {
            return;
        }
        let mut numbers = Vec::with_capacity(self.groups.len());
        let mut groups: Vec<Group> = Vec::with_capacity(self.groups.len() + fresh.len());
        let add = |groups: &mut Vec<Group>, key: &Arc<StreamKey>| match groups.last_mut() {
            Some(group) if group.name() == (&key.host, &key.name) => {
                group.keys.push(key.clone());
                group.keys.sort_unstable();
            }
            _ => {
                let (keys, is_assumed) = (vec![key.clone()], settings.mapping(&key.name).assumed);
                groups.push(Group { keys, host: 0, is_assumed, from: From::Replayed(Vec::new()) });
            }
        };
        let mut rest = fresh.iter().peekable();
        for group in std::mem::take(&mut self.groups) {
            while let Some(key) = rest.next_if(|key| (&*key.host, &*key.name) < group.name()) {
                add(&mut groups, key);
            }
            numbers.push(groups.len() as u32);
            groups.push(group);
        }
        rest.for_each(|key| add(&mut groups, key));
        self.groups = groups;
        self.renumber(&numbers);
        came.groups.iter_mut().for_each(|at| *at = numbers[*at as usize]);
        for key in fresh {
            let at = self.groups.partition_point(|group| group.name() < (&key.host, &key.name)) as u32;
            came.groups.push(at);
            self.by_key.insert(key, at);
        }
    }

    /// Gives groups other numbers, in the same order, and hosts theirs.
    fn renumber(&mut self, numbers: &[u32]) {
        let number = |at: &mut u32| *at = numbers[*at as usize];
        self.by_key.values_mut().for_each(number);
        self.of_place.values_mut().flatten().filter(|at| **at != NONE).for_each(number);
        for set in [&mut self.replayed, &mut self.pending] {
            *set = set.iter().map(|at| numbers[*at as usize]).collect();
        }
        self.finders.values_mut().for_each(|finder| finder.renumber(numbers));
        let mut hosts = 0;
        for at in 1..self.groups.len() {
            hosts += u32::from(self.groups[at].keys[0].host != self.groups[at - 1].keys[0].host);
            self.groups[at].host = hosts;
        }
    }
}

/// What was counted of a memtable.
fn counted<'c>(all: &'c mut Vec<Counted>, memtable: &Arc<RwLock<Memtable>>) -> &'c mut Counted {
    let is_it = |counted: &Counted| counted.memtable.as_ptr() == Arc::as_ptr(memtable);
    let at = all.iter().position(is_it).unwrap_or_else(|| {
        let memtable: Weak<RwLock<Memtable>> = Arc::downgrade(memtable);
        all.push(Counted { memtable, parts: 0, notes: [0; 2] });
        all.len() - 1
    });
    &mut all[at]
}

//! What the segments alone can say, worked out once for each set of segments: who there is, and which streams are
//! settled, so that a question reads nothing but what it asks for.
//!
//! Invariants:
//! - It stands only for questions to which every fact of the segments counts and no other: whoever asks with a memtable
//!   that holds anything, or as of an earlier recorded time, does not use it.
//! - A stream is *settled* if the run that a segment keeps is all there is of it, is the only one of its name on its
//!   host, and means what it says for its host's agent.

use super::view::Settings;
use crate::error::Error;
use crate::fact::{Kind, Name, Second};
use crate::segment::directory::{Form, StreamEntry};
use crate::segment::{Segment, TableReader};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The streams of one name on one host that have a state.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Their places in the table's directory.
    pub(super) streams: Range<u32>,
    /// Whether there is one, and it is settled.
    pub(super) is_settled: bool,
    /// Whether the table is assumed from the name.
    pub(super) is_assumed: bool,
}

/// One table that is in one segment only.
#[derive(Debug)]
pub(super) struct TableStanding {
    /// The segment's place.
    pub(super) segment: usize,
    /// By host, then name.
    pub(super) groups: Vec<Group>,
    /// The groups of each host, as a range of `groups`.
    of_host: FxHashMap<Name, Range<u32>>,
    /// Whether every group is settled and every host has but one.
    pub(super) is_plain: bool,
    /// If it is: the first second of each group, and the last, each in order.
    pub(super) firsts: Vec<Second>,
    pub(super) lasts: Vec<Second>,
    /// If it is: how many hosts have a stream whose table is assumed from its name.
    pub(super) assumed: u64,
    /// The name of a stream that has no state but sightings.
    pub(super) sightings: Option<Name>,
}

/// What the segments alone can say.
#[derive(Default)]
pub(crate) struct Standing {
    hosts: OnceLock<FxHashSet<Name>>,
    settings: OnceLock<Arc<Settings>>,
    tables: OnceLock<BTreeMap<Name, Option<TableStanding>>>,
}

/// Whether a run is all there is of a stream and means what it says for its host's agent; `is_only` if its segment is the
/// only one: agents may be told of in others.
pub(super) fn is_settled_run(stream: &StreamEntry, is_only: bool) -> bool {
    stream.form == Form::Run && (stream.agent.is_any() || stream.fits && is_only)
}

/// Whether a stream has a state.
pub(super) fn has_state(stream: &StreamEntry) -> bool {
    !stream.key.sightings && matches!(stream.key.kind, Kind::Diff | Kind::Snapshot)
}

impl Standing {
    /// The hosts with any look.
    pub(super) fn hosts(&self, segments: &[Arc<Segment>]) -> Result<&FxHashSet<Name>, Error> {
        if let Some(hosts) = self.hosts.get() {
            return Ok(hosts);
        }
        let mut hosts: FxHashSet<Name> = FxHashSet::default();
        for segment in segments {
            for reader in segment.tables() {
                for stream in reader?.directory.streams.iter().filter(|stream| stream.key.kind != Kind::Note) {
                    if !hosts.contains(&stream.key.host) {
                        hosts.insert(stream.key.host.clone());
                    }
                }
            }
        }
        Ok(self.hosts.get_or_init(|| hosts))
    }

    /// The settings, which `read` reads if nobody did.
    pub(super) fn settings(&self, read: impl FnOnce() -> Result<Settings, Error>) -> Result<Arc<Settings>, Error> {
        if let Some(settings) = self.settings.get() {
            return Ok(settings.clone());
        }
        let settings = Arc::new(read()?);
        Ok(self.settings.get_or_init(|| settings).clone())
    }

    /// A table; `None` if it is not in exactly one segment.
    pub(super) fn table(
        &self,
        table: &[u8],
        segments: &[Arc<Segment>],
        settings: &Settings,
    ) -> Result<Option<&TableStanding>, Error> {
        let tables = match self.tables.get() {
            Some(tables) => tables,
            None => {
                let mut tables: BTreeMap<Name, Option<TableStanding>> = BTreeMap::new();
                for (place, segment) in segments.iter().enumerate() {
                    for reader in segment.tables() {
                        let reader = reader?;
                        let name = &reader.entry.name;
                        let other = tables.remove(name);
                        let standing = match other {
                            Some(_) => None,
                            None => Some(TableStanding::new(place, &reader, segments.len() == 1, settings)),
                        };
                        tables.insert(name.clone(), standing);
                    }
                }
                self.tables.get_or_init(|| tables)
            }
        };
        Ok(tables.get(table).and_then(Option::as_ref))
    }
}

impl TableStanding {
    /// The groups of a host, if all of them are settled.
    pub(super) fn settled_of_host(&self, host: &[u8]) -> Option<&[Group]> {
        let groups = self.of_host(host);
        groups.iter().all(|group| group.is_settled).then_some(groups)
    }

    /// The groups of a host.
    pub(super) fn of_host(&self, host: &[u8]) -> &[Group] {
        self.of_host.get(host).map_or(&[], |groups| &self.groups[groups.start as usize..groups.end as usize])
    }

    fn new(segment: usize, reader: &TableReader<'_>, is_only: bool, settings: &Settings) -> TableStanding {
        let directory = reader.directory;
        let mut standing = TableStanding {
            segment,
            groups: Vec::with_capacity(directory.streams.len()),
            of_host: FxHashMap::default(),
            is_plain: true,
            firsts: Vec::new(),
            lasts: Vec::new(),
            assumed: 0,
            sightings: None,
        };
        let mut last: Option<&StreamEntry> = None;
        let mut assumed: Option<(&Name, bool)> = None;
        for (place, stream) in (0..).zip(&directory.streams) {
            if !has_state(stream) {
                if stream.key.sightings && standing.sightings.is_none() {
                    standing.sightings = Some(stream.key.name.clone());
                }
                continue;
            }
            let same_host = last.is_some_and(|last| last.key.host == stream.key.host);
            standing.is_plain &= !same_host;
            match standing.groups.last_mut() {
                Some(group) if same_host && last.is_some_and(|last| last.key.name == stream.key.name) => {
                    group.streams.end = place + 1;
                    group.is_settled = false;
                }
                _ => {
                    let is_settled = is_settled_run(stream, is_only);
                    standing.is_plain &= is_settled;
                    standing.groups.push(Group { streams: place..place + 1, is_settled, is_assumed: false });
                }
            }
            let pieces = &directory.pieces[stream.pieces.clone()];
            standing.firsts.extend(pieces.first().map(|piece| piece.first));
            standing.lasts.extend(pieces.last().map(|piece| piece.last));
            let is_assumed = match assumed {
                Some((name, is_assumed)) if *name == stream.key.name => is_assumed,
                _ => settings.mapping(&stream.key.name).assumed,
            };
            assumed = Some((&stream.key.name, is_assumed));
            standing.assumed += u64::from(is_assumed);
            if let Some(group) = standing.groups.last_mut() {
                group.is_assumed = is_assumed;
            }
            let groups = standing.groups.len() as u32;
            if same_host {
                if let Some(of_host) = standing.of_host.get_mut(&stream.key.host) {
                    of_host.end = groups;
                }
            } else {
                standing.of_host.insert(stream.key.host.clone(), groups - 1..groups);
            }
            last = Some(stream);
        }
        if standing.is_plain {
            standing.firsts.sort_unstable();
            standing.lasts.sort_unstable();
        } else {
            (standing.firsts, standing.lasts) = (Vec::new(), Vec::new());
        }
        standing
    }
}

//! What the segments alone can say, worked out once for each set of segments: who there is, and which streams are
//! settled, so that a question reads nothing but what it asks for.
//!
//! Invariants:
//! - It stands only for questions to which every fact of the segments counts and no other: whoever asks with a memtable
//!   that holds anything, or as of an earlier recorded time, does not use it.
//! - A stream is *settled* if the run that a segment keeps is all there is of it, is the only one of its name on its
//!   host, and means what it says for its host's agent.
//! - Nothing is kept for a host or a stream, but which streams have a run that tells of breaks, and when these are unsure:
//!   what is told of one is read in the directory when it is asked for.

use super::live::LiveTables;
use super::source::{RunAt, Source};
use super::told::Settings;
use super::unsure::Unsure;
use crate::error::Error;
use crate::fact::{Micros, Name, Second};
use crate::memtable::Memtable;
use crate::segment::directory::StreamRecord;
use crate::segment::{Segment, TableReader};
use crate::timeline::verdict::Class;
use parking_lot::{Mutex, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

/// The streams of one name on one host that have a state.
#[derive(Clone, Debug)]
pub(super) struct Group {
    /// Their places in the table's directory; others that have no state may stand between them.
    pub(super) streams: Range<u32>,
    /// What the directory says of the first.
    pub(super) first: StreamRecord,
    /// Whether there is one, and it is settled.
    pub(super) is_settled: bool,
    /// Whether the table is assumed from the name.
    pub(super) is_assumed: bool,
}

impl Group {
    /// The run of the first, if it has one.
    pub(super) fn run<'r>(self, reader: TableReader<'r>) -> RunAt<'r> {
        RunAt { reader, place: self.streams.start as usize, record: self.first }
    }
}

/// How many places share a latest first look.
const FIRSTS: usize = 64;

/// One table that is in one segment only.
#[derive(Debug)]
pub(super) struct TableStanding {
    /// The segment's place.
    pub(super) segment: usize,
    /// The table's place in it.
    pub(super) table: usize,
    /// Whether that is the only one.
    is_only: bool,
    /// Of each name of the directory, whether the table is assumed from it.
    assumed_names: Vec<bool>,
    /// Whether every group is settled and every host has but one.
    pub(super) is_plain: bool,
    /// If it is: how many hosts have a stream whose table is assumed from its name.
    pub(super) assumed: u64,
    /// The places of the streams of which first and last look do not tell whether they can speak.
    pub(super) resolved: Vec<u32>,
    /// Of so many places in turn: the latest first look.
    firsts: OnceLock<Box<[Second]>>,
    /// When the resolved are of another class than these tell, unless that is too much to hold.
    unsure: OnceLock<Option<Unsure>>,
}

/// What the segments alone can say.
#[derive(Default)]
pub(crate) struct Standing {
    hosts: OnceLock<u64>,
    /// The settings, and how many notes in memory tell of them.
    settings: RwLock<Option<(u64, Arc<Settings>)>>,
    tables: OnceLock<BTreeMap<Name, Option<TableStanding>>>,
    /// Tables with a stream whose rows never leave.
    with_sightings: OnceLock<BTreeSet<Name>>,
    beyond: Mutex<Beyond>,
    /// How many sets of segments there were before.
    pub(super) generation: u64,
    /// What came since, and is handed on.
    pub(super) live: Arc<LiveTables>,
}

/// Hosts that the segments do not know.
#[derive(Default)]
struct Beyond {
    /// How many hosts each memtable had when it was worked out.
    looking: Vec<usize>,
    /// When the first look of each was recorded.
    firsts: Vec<Micros>,
}

impl Standing {
    /// Of the set of segments that follows, which has the same facts and those of memtables that are no more.
    pub(crate) fn next(&self) -> Standing {
        Standing { generation: self.generation + 1, live: self.live.clone(), ..Standing::default() }
    }

    /// How many hosts have any look.
    pub(super) fn hosts(&self, segments: &[Arc<Segment>]) -> Result<u64, Error> {
        if let Some(&hosts) = self.hosts.get() {
            return Ok(hosts);
        }
        let hosts = match segments {
            [only] => only.hosts()?.with_looks(),
            _ => {
                let mut all: FxHashSet<&[u8]> = FxHashSet::default();
                for segment in segments {
                    let hosts = segment.hosts()?;
                    all.extend((0..hosts.len()).filter(|&host| hosts.has_looks(host)).map(|host| hosts.name(host)));
                }
                all.len() as u64
            }
        };
        Ok(*self.hosts.get_or_init(|| hosts))
    }

    /// How many hosts that have no look in the segments have one in memory, recorded by `known_at`.
    pub(super) fn hosts_beyond(
        &self,
        segments: &[Arc<Segment>],
        memtables: &[Arc<RwLock<Memtable>>],
        known_at: Micros,
    ) -> Result<u64, Error> {
        let mut beyond = self.beyond.lock();
        let looking: Vec<usize> = memtables.iter().map(|memtable| memtable.read().looking().len()).collect();
        if beyond.looking != looking {
            // Hosts never leave a memtable, and the segments are the same: only more of them can be new.
            let mut firsts: FxHashMap<Name, Micros> = FxHashMap::default();
            for memtable in memtables {
                for (host, &first) in memtable.read().looking() {
                    if !Standing::has_host(segments, host)? {
                        let known = firsts.entry(host.clone()).or_insert(first);
                        *known = first.min(*known);
                    }
                }
            }
            *beyond = Beyond { looking, firsts: firsts.into_values().collect() };
        }
        Ok(beyond.firsts.iter().filter(|&&first| first <= known_at).count() as u64)
    }

    /// Whether rows of any stream of a table in the segments never leave.
    pub(super) fn has_sightings(&self, table: &[u8], segments: &[Arc<Segment>]) -> Result<bool, Error> {
        let with_sightings = match self.with_sightings.get() {
            Some(tables) => tables,
            None => {
                let mut tables = BTreeSet::new();
                for segment in segments {
                    for reader in segment.tables() {
                        let reader = reader?;
                        if reader.directory.records().any(|stream| stream.sightings) {
                            tables.insert(reader.entry.name.clone());
                        }
                    }
                }
                self.with_sightings.get_or_init(|| tables)
            }
        };
        Ok(with_sightings.contains(table))
    }

    /// Whether a host has any look.
    pub(super) fn has_host(segments: &[Arc<Segment>], host: &[u8]) -> Result<bool, Error> {
        for segment in segments {
            let hosts = segment.hosts()?;
            if hosts.find(host).is_some_and(|host| hosts.has_looks(host)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The settings where memory tells so much of them beside the segments, which `read` reads if nobody did.
    pub(super) fn settings(
        &self,
        told: u64,
        read: impl FnOnce() -> Result<Settings, Error>,
    ) -> Result<Arc<Settings>, Error> {
        if let Some((of, settings)) = &*self.settings.read()
            && *of == told
        {
            return Ok(settings.clone());
        }
        let settings = self.live.same_settings(read()?);
        *self.settings.write() = Some((told, settings.clone()));
        Ok(settings)
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
    fn new(segment: usize, reader: &TableReader<'_>, is_only: bool, settings: &Settings) -> TableStanding {
        let directory = reader.directory;
        let assumed_names: Vec<bool> = directory.names().iter().map(|name| settings.mapping(name).assumed).collect();
        let mut standing = TableStanding {
            segment,
            table: reader.place(),
            is_only,
            assumed_names,
            is_plain: true,
            assumed: 0,
            resolved: Vec::new(),
            firsts: OnceLock::new(),
            unsure: OnceLock::new(),
        };
        let mut last_host = None;
        for (place, stream) in directory.records().enumerate() {
            if stream.has_state() {
                standing.is_plain &= stream.is_settled(is_only) && last_host != Some(stream.host);
                standing.assumed += u64::from(standing.is_assumed(&stream));
                standing.resolved.extend(stream.is_resolved().then_some(place as u32));
                last_host = Some(stream.host);
            }
        }
        standing
    }

    /// The places of the streams whose first look is after T, ascending.
    pub(super) fn begun_after<'r>(&'r self, reader: TableReader<'r>, at: Second) -> impl Iterator<Item = usize> + 'r {
        let (directory, all) = (reader.directory, reader.directory.streams());
        let first = move |place: usize| {
            let stream = directory.record(place);
            stream.has_state().then(|| directory.extent(&stream).0)
        };
        let group = move |group: usize| group * FIRSTS..all.min((group + 1) * FIRSTS);
        let firsts = self.firsts.get_or_init(|| {
            (0..all.div_ceil(FIRSTS)).map(|at| group(at).filter_map(first).max().unwrap_or(Second::MIN)).collect()
        });
        let begun = (0..firsts.len()).filter(move |&group| firsts[group] > at).flat_map(group);
        begun.filter(move |&place| first(place).is_some_and(|first| first > at))
    }

    /// The streams that are not of the class at T that their first and last look tell, by place, and that class; `None`
    /// where each that may be such must be read.
    pub(super) fn unsure_at(&self, reader: TableReader<'_>, at: Second) -> Result<Option<Vec<(usize, Class)>>, Error> {
        let unsure = match self.unsure.get() {
            Some(unsure) => unsure,
            None => {
                let unsure = Unsure::new(reader, &self.resolved)?;
                self.unsure.get_or_init(|| unsure)
            }
        };
        Ok(unsure.as_ref().map(|unsure| unsure.at(at)))
    }

    fn is_assumed(&self, stream: &StreamRecord) -> bool {
        self.assumed_names.get(stream.name).is_some_and(|&assumed| assumed)
    }

    /// The groups of the streams at these places, which are all of their hosts', by host, then name.
    pub(super) fn groups<'r>(
        &'r self,
        reader: TableReader<'r>,
        places: Range<usize>,
    ) -> impl Iterator<Item = Group> + 'r {
        let with_state = |place: usize| Some((place, reader.directory.record(place))).filter(|(_, s)| s.has_state());
        let mut streams = places.filter_map(with_state).peekable();
        std::iter::from_fn(move || {
            let (place, first) = streams.next()?;
            let (mut last, mut is_settled) = (place, first.is_settled(self.is_only));
            while let Some((place, _)) = streams.next_if(|(_, next)| (next.host, next.name) == (first.host, first.name))
            {
                (last, is_settled) = (place, false);
            }
            let streams = place as u32..last as u32 + 1;
            let is_assumed = self.is_assumed(&first);
            Some(Group { streams, first, is_settled, is_assumed })
        })
    }

    /// The groups of a host.
    pub(super) fn of_host(&self, reader: TableReader<'_>, host: &[u8]) -> Vec<Group> {
        self.groups(reader, reader.directory.streams_of_host(host)).collect()
    }

    /// What the streams of a host are read from, if all groups are settled and each version of all can be judged by itself.
    pub(super) fn sources_of_host<'r>(&self, reader: TableReader<'r>, host: &[u8]) -> Option<Vec<Source<'r>>> {
        let groups = self.settled_of_host(reader, host)?;
        let mut sources = groups.into_iter().map(|group| Source::of(group.run(reader)));
        sources.by_ref().map(|source| Some(source).filter(|source| !source.is_resolved())).collect()
    }

    /// The groups of a host, if all of them are settled.
    pub(super) fn settled_of_host(&self, reader: TableReader<'_>, host: &[u8]) -> Option<Vec<Group>> {
        let groups = self.of_host(reader, host);
        groups.iter().all(|group| group.is_settled).then_some(groups)
    }
}

//! Several segments become one that says the same.
//!
//! Invariants:
//! - The parts of every stream are the same before and after, with their recorded times: no answer changes, whatever its
//!   `known_at`; but parts recorded after [`Merging::known_at`] are left out, as if they had never come.
//! - Memory is bounded by the hosts, the places of the streams of one table, the parts of the few streams at work, the
//!   indexes of one table, and `MAPPED_BYTES_MAX` bytes of the inputs (or what they have of one stream with more): these are
//!   mapped anew after so many, since what was read of a map counts as memory for as long as it is there.
//!
//! Steps, for each table: learn from a sample how its rows pack (while tables before are written) → for each stream
//! join the inputs' parts in part order, and write it as a run if it is regular, else as facts, with a run beside them that
//! tells what they mean; note which values its versions have → write the indexes that are worth their bytes. Streams are worked on by several threads and written in
//! order.

use super::indexing::{Indexing, OfColumn};
use super::pace::Pace;
use crate::error::Error;
use crate::fact::{Kind, Micros, Name, StreamKey};
use crate::io::Storage;
use crate::memtable::{Interner, part_key};
use crate::note;
use crate::options::{IndexRules, join};
use crate::packing::{Dictionary, Learner, Packer};
use crate::read::answer::Cost;
use crate::read::view::View;
use crate::row::Row;
use crate::segment::cache::Cache;
use crate::segment::directory::{Layout, StreamRecord};
use crate::segment::hosts::Hosts;
use crate::segment::run::encode::{Encoder, OfLooks, Piece};
use crate::segment::write::SegmentWriter;
use crate::segment::{RowCursor, RowOf, Segment, TableReader};
use crate::timeline::moments::Moments;
use crate::timeline::regular::{self, Agent};
use crate::timeline::{self, AgentHistory, Part, RowId};
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of decoded blocks kept while merging.
const CACHE_BYTES: usize = 16 << 20;

/// A dictionary is learned from about so many streams …
const SAMPLE_STREAMS: usize = 48;
/// … so many by one map of the inputs …
const SAMPLE_STREAMS_MAPPED: usize = 6;
/// … of each from so many rows …
const SAMPLE_ROWS: usize = 640;
/// … that begin at one of so many places of it.
const SAMPLE_PLACES: usize = 8;

/// Inputs are mapped anew after streams of which they hold about so many bytes.
const MAPPED_BYTES_MAX: u64 = 48 << 20;

/// A worker takes at most so many streams at once, which mostly share blocks of rows.
const STREAMS_AT_ONCE: usize = 8;

/// How many streams may be worked on ahead of the one that is written next.
const AHEAD_MAX: usize = 64;

/// How many tables are learned, or wait for it, at once: small ones are written in less time than a large one takes to learn.
const AHEAD_TABLES_MAX: usize = 2;

/// How segments are merged.
#[derive(Clone, Copy, Debug)]
pub struct Merging<'m> {
    /// Which columns are indexed.
    pub rules: &'m IndexRules,
    /// On how many threads.
    pub threads: usize,
    /// Parts recorded later are left out.
    pub known_at: Micros,
    /// Whether the inputs are all that there is: of a part of a stream nothing can be told that holds for the whole.
    pub is_whole: bool,
    /// How quickly, and for how long.
    pub pace: &'m Pace,
}

impl<'m> Merging<'m> {
    /// Of all parts of all segments, without a limit.
    pub fn all(rules: &'m IndexRules, threads: usize, pace: &'m Pace) -> Merging<'m> {
        Merging { rules, threads, known_at: Micros::MAX, is_whole: true, pace }
    }
}

/// The recorded times of all parts of these segments up to `known_at`, in order.
pub fn commits_of(segments: &[Arc<Segment>], known_at: Micros) -> Result<Vec<Micros>, Error> {
    let mut commits = Vec::new();
    for segment in segments {
        commits.extend(segment.commits()?.iter().filter(|commit| **commit <= known_at));
    }
    commits.sort_unstable();
    commits.dedup();
    Ok(commits)
}

/// Which streams of a table have a part recorded by `known_at`, by place; `None`: all.
fn known_streams(reader: &TableReader<'_>, known_at: Micros, cache: &Cache) -> Result<Option<Vec<bool>>, Error> {
    if reader.segment.footer().recorded.1 <= known_at {
        return Ok(None);
    }
    let directory = reader.directory;
    let is_known = |stream| reader.is_known(&stream, known_at, cache, &mut Cost::default());
    directory.entries(0..directory.streams()).map(is_known).collect::<Result<_, _>>().map(Some)
}

/// The hosts of the streams of a segment that have a part recorded by `known_at`, in order.
pub fn hosts_known(segment: &Arc<Segment>, known_at: Micros) -> Result<Vec<Name>, Error> {
    let (cache, mut hosts) = (Cache::new(CACHE_BYTES), BTreeSet::new());
    for reader in segment.tables() {
        let reader = reader?;
        let known = known_streams(&reader, known_at, &cache)?;
        let of_known = |(place, stream)| {
            let is_known = known.as_ref().is_none_or(|known| known[place]);
            is_known.then(|| Name::from(reader.directory.host(&stream)))
        };
        hosts.extend(reader.directory.records().enumerate().filter_map(of_known));
    }
    Ok(hosts.into_iter().collect())
}

/// The hosts of these segments, in order, each once.
pub fn hosts_of(segments: &[Arc<Segment>]) -> Result<Vec<Name>, Error> {
    let mut all = Vec::new();
    for segment in segments {
        all.push((&**segment.hosts()?, 0));
    }
    let mut hosts: Vec<Name> = Vec::new();
    while let Some(next) = all.iter().filter(|(of, at)| *at < of.len()).map(|(of, at)| of.name(*at)).min() {
        for (of, at) in &mut all {
            *at += usize::from(*at < of.len() && of.name(*at) == next);
        }
        hosts.push(Name::from(next));
    }
    Ok(hosts)
}

/// Writes what `segments`, which are in `storage`, hold into one; the writer was told of the [`commits_of`] and
/// [`hosts_of`] them, or of the [`hosts_known`].
pub fn merge(
    storage: &dyn Storage,
    segments: &[Arc<Segment>],
    merging: Merging<'_>,
    writer: &mut SegmentWriter<'_>,
) -> Result<(), Error> {
    let Merging { threads, known_at, pace, .. } = merging;
    let moved_before = pace.moved_bytes();
    let cache = Arc::new(Cache::new(CACHE_BYTES));
    let agents = Agents {
        view: View::new(segments.to_vec(), Vec::new(), cache.clone(), Some(known_at)),
        known: Mutex::default(),
    };
    let tables: BTreeSet<Name> =
        segments.iter().flat_map(|s| s.footer().tables.iter().map(|table| table.name.clone())).collect();
    let tables: Vec<Name> = tables.into_iter().collect();
    let mut hosts = Vec::new();
    for segment in segments {
        hosts.push(numbers_of(&segment.hosts()?.clone(), writer));
    }
    let learned = |at: usize| {
        let name = &tables[at];
        let (mut inputs, mut readers, mut known) = (Vec::new(), Vec::new(), Vec::new());
        for (segment, hosts) in segments.iter().zip(&hosts) {
            if let Some(reader) = segment.table(name)? {
                inputs.push(segment.clone());
                known.push(known_streams(&reader, known_at, &cache)?);
                readers.push((reader, &hosts[..]));
            }
        }
        let sources = Sources::new(&readers, &known);
        let stretches = sources.stretches(&readers);
        let table = Table { name, inputs, sources, storage, cache: &cache, agents: &agents, merging };
        let dictionary = Arc::new(table.learn()?);
        Ok::<_, Error>((table, stretches, dictionary))
    };
    std::thread::scope(|scope| {
        let mut ahead = VecDeque::new();
        let mut rest = 0..tables.len();
        loop {
            // Each table is learned by one thread, so that the others have work meanwhile.
            if threads > 1 {
                let learning = rest.by_ref().take(AHEAD_TABLES_MAX - ahead.len());
                ahead.extend(learning.map(|at| scope.spawn(move || learned(at))));
            }
            let next = ahead.pop_front().map(join).or_else(|| rest.next().map(learned));
            let Some((table, stretches, dictionary)) = next.transpose()? else { break };
            if table.sources.streams() > 0 {
                table.merge(stretches, dictionary, writer)?;
            }
        }
        Ok::<_, Error>(())
    })?;
    // What is of no stream, such as directories, and what was not read: with it the limit holds for whole files.
    let whole = segments.iter().map(|segment| segment.bytes()).sum::<u64>() + writer.bytes();
    pace.pay(whole.saturating_sub(pace.moved_bytes() - moved_before))
}

/// The numbers that the hosts of a segment have in the one that is written; those that it will not have get none.
fn numbers_of(hosts: &Hosts, writer: &SegmentWriter<'_>) -> Vec<u32> {
    let mut written = (0..).zip(writer.hosts()).peekable();
    let number = |at| {
        let name = hosts.name(at);
        while written.next_if(|(_, host)| ***host < *name).is_some() {}
        written.peek().filter(|(_, host)| ***host == *name).map_or(u32::MAX, |(number, _)| *number)
    };
    (0..hosts.len()).map(number).collect()
}

/// What the inputs say of hosts' agents.
struct Agents {
    view: View,
    known: Mutex<FxHashMap<Name, Arc<AgentHistory>>>,
}

impl Agents {
    fn fit(&self, host: &Name, agent: Agent) -> Result<bool, Error> {
        Ok(agent.is_any() || agent.fits(&*self.of(host)?))
    }

    fn of(&self, host: &Name) -> Result<Arc<AgentHistory>, Error> {
        let known = self.known.lock().get(host).cloned();
        if let Some(history) = known {
            return Ok(history);
        }
        let known_at = self.view.bound(None);
        let history = Arc::new(self.view.agent(host, known_at, &mut Cost::default())?);
        self.known.lock().insert(host.clone(), history.clone());
        Ok(history)
    }
}

/// Where the streams of a table are.
struct Sources {
    /// In the streams' order: for each the input and the place there, if in several one after the other.
    sources: Vec<(u32, u32)>,
    /// Where the sources of each stream end.
    ends: Vec<usize>,
}

/// What orders the streams of a table: the numbers of its host and its name, and what it is.
type Order = (u32, u32, Kind, bool);

impl Sources {
    /// Of these inputs, each with the numbers that its hosts have in what is written; and which of its streams count.
    fn new(inputs: &[(TableReader<'_>, &[u32])], known: &[Option<Vec<bool>>]) -> Sources {
        let names: BTreeSet<&Name> = inputs.iter().flat_map(|(reader, _)| reader.directory.names()).collect();
        let names: FxHashMap<&Name, u32> = names.into_iter().zip(0..).collect();
        let mut records = Vec::new();
        for ((reader, hosts), known) in inputs.iter().zip(known) {
            let directory = reader.directory;
            let names: Vec<u32> = directory.names().iter().map(|name| names[name]).collect();
            let counts = move |(place, _): &(u32, Order)| known.as_ref().is_none_or(|known| known[*place as usize]);
            let order = move |stream: StreamRecord| -> Order {
                (hosts[stream.host], names[stream.name], stream.kind, stream.sightings)
            };
            records.push((0..).zip(directory.records().map(order)).filter(counts));
        }
        // The next stream of each input, the input, the place there: the streams of an input are in order.
        let mut next: BinaryHeap<Reverse<(Order, u32, u32)>> = BinaryHeap::new();
        let (mut sources, mut ends, mut last) = (Vec::new(), Vec::new(), None);
        let mut take = |input: u32| {
            let (place, stream) = records[input as usize].next()?;
            Some(Reverse((stream, input, place)))
        };
        next.extend((0..inputs.len() as u32).filter_map(&mut take));
        while let Some(Reverse((stream, input, place))) = next.pop() {
            if last.replace(stream) == Some(stream) {
                ends.pop();
            }
            sources.push((input, place));
            ends.push(sources.len());
            next.extend(take(input));
        }
        Sources { sources, ends }
    }

    /// How many streams there are.
    fn streams(&self) -> usize {
        self.ends.len()
    }

    /// The inputs that have a stream, and its place in each.
    fn of(&self, stream: usize) -> &[(u32, u32)] {
        let start = stream.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.sources[start..self.ends[stream]]
    }

    /// The streams, cut where the inputs are mapped anew.
    fn stretches(&self, inputs: &[(TableReader<'_>, &[u32])]) -> Vec<Range<usize>> {
        // About the bytes that an input has for a copy of a row.
        let bytes_of_copy = |(reader, _): &(TableReader<'_>, &[u32])| {
            let copies: u64 = reader.segment.footer().tables.iter().map(|table| table.copies).sum();
            reader.segment.bytes() / copies.max(1) + 1
        };
        let bytes_of_copy: Vec<u64> = inputs.iter().map(bytes_of_copy).collect();
        let (mut stretches, mut start, mut mapped) = (Vec::new(), 0, 0);
        for stream in 0..self.streams() {
            let of_source = |&(input, place): &(u32, u32)| {
                let directory = inputs[input as usize].0.directory;
                directory.copies(&directory.record(place as usize)).saturating_mul(bytes_of_copy[input as usize])
            };
            let bytes = self.of(stream).iter().map(of_source).fold(0, u64::saturating_add);
            if mapped > 0 && bytes.saturating_add(mapped) > MAPPED_BYTES_MAX {
                stretches.push(start..stream);
                (start, mapped) = (stream, 0);
            }
            mapped = bytes.saturating_add(mapped);
        }
        stretches.push(start..self.streams());
        stretches
    }
}

/// One table being merged.
struct Table<'r> {
    name: &'r Name,
    inputs: Vec<Arc<Segment>>,
    sources: Sources,
    storage: &'r dyn Storage,
    cache: &'r Cache,
    agents: &'r Agents,
    merging: Merging<'r>,
}

/// Some streams of a table being merged.
struct Merge<'r, 's> {
    readers: &'r [TableReader<'s>],
    cache: &'r Cache,
    agents: &'r Agents,
    sources: &'r Sources,
    streams: Range<usize>,
    merging: Merging<'r>,
}

/// A stream as it was delivered, in part order, and the rows that its parts name.
struct Gathered {
    key: Arc<StreamKey>,
    parts: Vec<Part>,
    rows: Vec<Row>,
    /// How many bytes were read for it.
    read: u64,
}

/// What one worker works with, from stream to stream.
struct Tools {
    encoder: Encoder,
    packer: Packer,
    /// Of each input.
    cursors: Vec<RowCursor>,
}

/// The numbers of an input's rows in a stream's list of rows, by their numbers in the input: where the input keeps the
/// rows of a stream together, they lie close to the first that is met.
#[derive(Default)]
struct Memo {
    first: Option<RowId>,
    /// Numbers of the rows from the first on, plus one; 0 for none.
    near: Vec<u32>,
    far: FxHashMap<RowId, RowId>,
}

/// The next number to be met is mostly this close to those before.
const NEAR_ROWS: usize = 256;

impl Memo {
    fn get(&self, id: RowId) -> Option<RowId> {
        let place = id.checked_sub(self.first?).map(|place| place as usize);
        match place.and_then(|place| self.near.get(place)) {
            Some(0) => None,
            Some(number) => Some(number - 1),
            None => self.far.get(&id).copied(),
        }
    }

    fn put(&mut self, id: RowId, number: RowId) {
        let place = id.checked_sub(*self.first.get_or_insert(id)).map(|place| place as usize);
        match place {
            Some(place) if place < self.near.len() + NEAR_ROWS => {
                if self.near.len() <= place {
                    self.near.resize(place + 1, 0);
                }
                self.near[place] = number + 1;
            }
            _ => {
                self.far.insert(id, number);
            }
        }
    }
}

/// A stream as it will be written.
enum Encoded {
    Run { agent: (Agent, bool), run: EncodedRun, copies: u64 },
    Facts { parts: Vec<Part>, rows: Vec<Row>, resolved: Option<EncodedRun> },
}

/// A run, and which values its versions have.
struct EncodedRun {
    pieces: Vec<Piece>,
    bytes: Vec<u8>,
    values: Vec<OfColumn>,
}

impl EncodedRun {
    fn versions(&self) -> usize {
        self.pieces.iter().map(|piece| piece.versions).sum()
    }
}

impl Table<'_> {
    fn merge(
        &self,
        stretches: Vec<Range<usize>>,
        dictionary: Arc<Dictionary>,
        writer: &mut SegmentWriter<'_>,
    ) -> Result<(), Error> {
        let Merging { rules, pace, .. } = self.merging;
        writer.begin_table(self.name, Layout::Inline, Some(dictionary.clone()))?;
        let commits = writer.commits().to_vec();
        let (indexing, mut data_bytes) = (Indexing::new(self.name, rules), 0);
        for streams in stretches {
            self.with(streams, |merge| {
                merge.each_encoded(&dictionary, &commits, &indexing, |key, encoded, read| {
                    let before = writer.bytes();
                    match encoded {
                        Encoded::Run { agent, run, copies } => {
                            let (stream, versions) = (writer.streams() as u32, run.versions());
                            writer.run(key, agent, &run.pieces, &run.bytes, copies)?;
                            data_bytes += run.bytes.len();
                            indexing.add(stream, versions, run.values);
                        }
                        Encoded::Facts { parts, rows, resolved } => {
                            let stream = writer.streams() as u32;
                            writer.inline(key, &parts, &rows)?;
                            if let Some(run) = resolved {
                                writer.resolved(&run.pieces, &run.bytes)?;
                                data_bytes += run.bytes.len();
                                indexing.add(stream, run.versions(), run.values);
                            }
                        }
                    }
                    pace.pay(read + writer.bytes() - before)
                })
            })?;
        }
        indexing.write(data_bytes, writer)?;
        writer.end_table()
    }

    /// Learns how the rows pack from some of the streams.
    fn learn(&self) -> Result<Dictionary, Error> {
        let mut learner = Learner::new();
        let every = self.sources.streams().div_ceil(SAMPLE_STREAMS).max(1);
        let sampled: Vec<(usize, usize)> = (0..self.sources.streams()).step_by(every).enumerate().collect();
        for some in sampled.chunks(SAMPLE_STREAMS_MAPPED) {
            self.with(0..self.sources.streams(), |merge| merge.learn(some, &mut learner))?;
            if learner.is_full() {
                break;
            }
        }
        Ok(learner.finish())
    }

    /// Works on some streams by maps that are gone afterwards.
    fn with<T>(&self, streams: Range<usize>, work: impl FnOnce(Merge<'_, '_>) -> Result<T, Error>) -> Result<T, Error> {
        let remapped = self.inputs.iter().map(|input| input.remapped(self.storage).map(Arc::new));
        let inputs: Vec<Arc<Segment>> = remapped.collect::<Result<_, _>>()?;
        let mut readers = Vec::new();
        for input in &inputs {
            readers.extend(input.table(self.name)?);
        }
        let Table { cache, agents, merging, ref sources, .. } = *self;
        work(Merge { readers: &readers, cache, agents, sources, streams, merging })
    }
}

impl Merge<'_, '_> {
    /// What each input's rows are read with.
    fn cursors(&self) -> Vec<RowCursor> {
        let cursor = |reader: &TableReader<'_>| match reader.directory.layout {
            Layout::Inline => RowCursor::of_all(),
            // A stream needs some rows of many blocks.
            Layout::Shared => RowCursor::default(),
        };
        self.readers.iter().map(cursor).collect()
    }

    /// Learns from stretches of looks of these streams, here from the beginning of a stream and there from later.
    fn learn(&self, streams: &[(usize, usize)], learner: &mut Learner) -> Result<(), Error> {
        // Streams that are far apart share no blocks.
        let mut cursors: Vec<RowCursor> = self.readers.iter().map(|_| RowCursor::default()).collect();
        for &(i, at) in streams {
            let Gathered { parts, rows, .. } = self.gather(at, &mut cursors)?;
            let (mut left, mut known) = (SAMPLE_ROWS, vec![false; rows.len()]);
            for part in &parts[parts.len() * (i % SAMPLE_PLACES) / SAMPLE_PLACES..] {
                for &(row, _) in &part.added {
                    if left > 0 && !std::mem::replace(&mut known[row as usize], true) {
                        learner.row(rows[row as usize].as_bytes(), part.second);
                        left -= 1;
                    }
                }
            }
            if learner.is_full() {
                break;
            }
        }
        Ok(())
    }

    /// All that the inputs have of a stream.
    fn gather(&self, at: usize, cursors: &mut [RowCursor]) -> Result<Gathered, Error> {
        let mut rows = Interner::default();
        let mut parts = Vec::new();
        let mut cost = Cost::default();
        let mut key = None;
        for &(input, place) in self.sources.of(at) {
            let (reader, cursor) = (&self.readers[input as usize], &mut cursors[input as usize]);
            let Some(stream) = reader.directory.entry(place as usize) else {
                continue;
            };
            let mut memo = Memo::default();
            let number = |row: RowOf<'_>, cost: &mut Cost| match row {
                RowOf::Table(id) => match memo.get(id) {
                    Some(number) => Ok(number),
                    None => {
                        let (number, _) = rows.intern(&reader.row(id, cursor, self.cache, cost)?);
                        memo.put(id, number);
                        Ok(number)
                    }
                },
                RowOf::Own(row) => Ok(rows.intern(row).0),
            };
            reader.all_parts(&stream, &mut cost, number, |part| parts.push(part))?;
            key = Some(stream.key);
        }
        let Some(key) = key else { unreachable!("a stream without a source") };
        parts.retain(|part| part.recorded <= self.merging.known_at);
        parts.sort_by_key(part_key);
        if note::is_last_only(&key) {
            // They are in the order of their counters, since nothing else tells them apart.
            parts.drain(..parts.len().saturating_sub(1));
        }
        Ok(Gathered { key, parts, rows: rows.into_rows(), read: cost.bytes_read })
    }

    fn encode(&self, at: usize, tools: &mut Tools, commits: &[Micros], indexing: &Indexing<'_>) -> Ready {
        let Gathered { key, parts, rows, read } = self.gather(at, &mut tools.cursors)?;
        let Some((mut lifetimes, agent)) = regular::versions(key.kind, key.sightings, &parts) else {
            let resolved = self.resolved(&key, &parts, &rows, tools, indexing)?;
            return Ok((key, Encoded::Facts { parts, rows, resolved }, read));
        };
        let agent = (agent, self.agents.fit(&key.host, agent)?);
        // What seems regular, and is not for this host's agent, would be replayed.
        if !agent.1
            && let Some(run) = self.resolved(&key, &parts, &rows, tools, indexing)?
        {
            return Ok((key, Encoded::Facts { parts, rows, resolved: Some(run) }, read));
        }
        let copies = parts.iter().map(|part| (part.removed.len() + part.added.len()) as u64).sum();
        let Tools { encoder, packer, .. } = tools;
        let (mut bytes, told) = (Vec::new(), OfLooks::Deliveries(commits));
        let pieces = encoder.run(key.kind, &parts, &mut lifetimes, &rows, packer, told, &mut bytes);
        let before = |look: usize| parts[look.saturating_sub(1)].second;
        let values = indexing.values(&lifetimes, |look| parts.get(look).map(|part| part.second), before, &rows);
        Ok((key, Encoded::Run { agent, run: EncodedRun { pieces, bytes, values }, copies }, read))
    }

    /// The run that tells what a stream's facts mean, if it has a state and these are all of it.
    fn resolved(
        &self,
        key: &StreamKey,
        parts: &[Part],
        rows: &[Row],
        tools: &mut Tools,
        indexing: &Indexing<'_>,
    ) -> Result<Option<EncodedRun>, Error> {
        if !self.merging.is_whole || !key.has_state() || parts.iter().any(Part::is_loss) {
            return Ok(None);
        }
        let timeline = timeline::build(key.kind, parts.to_vec(), rows, &*self.agents.of(&key.host)?);
        let Some(moments) = Moments::new(&timeline) else { return Ok(None) };
        let before = moments.looks_before();
        let looks = moments.as_parts();
        let Moments { seconds, states, mut lifetimes, .. } = moments;
        let (mut bytes, told) = (Vec::new(), OfLooks::States(&states));
        let pieces = tools.encoder.run(key.kind, &looks, &mut lifetimes, rows, &mut tools.packer, told, &mut bytes);
        let values = indexing.values(&lifetimes, |moment| seconds.get(moment).copied(), |moment| before[moment], rows);
        Ok(Some(EncodedRun { pieces, bytes, values }))
    }

    fn tools(&self, dictionary: &Arc<Dictionary>) -> Tools {
        let (encoder, packer) = (Encoder::default(), Packer::new(dictionary.clone()));
        Tools { encoder, packer, cursors: self.cursors() }
    }

    /// Encodes all streams, on several threads, and gives them in order, each with how many bytes were read for it.
    fn each_encoded(
        &self,
        dictionary: &Arc<Dictionary>,
        commits: &[Micros],
        indexing: &Indexing<'_>,
        mut each: impl FnMut(&Arc<StreamKey>, Encoded, u64) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let workers = self.merging.threads.min(self.streams.len());
        if workers <= 1 {
            let mut tools = self.tools(dictionary);
            for at in self.streams.clone() {
                let (key, encoded, read) = self.encode(at, &mut tools, commits, indexing)?;
                each(&key, encoded, read)?;
            }
            return Ok(());
        }
        let next = AtomicUsize::new(0);
        let turn = Turn::default();
        std::thread::scope(|scope| {
            for _ in 0..workers {
                scope.spawn(|| {
                    let mut tools = self.tools(dictionary);
                    loop {
                        // Fewer at the end, so that all workers end at about the same time.
                        let some = |first: usize| {
                            let left = self.streams.len().saturating_sub(first);
                            (left / (2 * workers)).clamp(1, STREAMS_AT_ONCE)
                        };
                        let Ok(first) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |first| {
                            (first < self.streams.len()).then(|| first + some(first))
                        }) else {
                            return;
                        };
                        for at in first..first + some(first) {
                            if !turn.wait_for(at) {
                                return;
                            }
                            let panics = turn.on_panic();
                            let encoded = self.encode(self.streams.start + at, &mut tools, commits, indexing);
                            std::mem::forget(panics);
                            turn.put(at, encoded);
                        }
                    }
                });
            }
            let written = (0..self.streams.len()).try_for_each(|at| match turn.take(at) {
                Some(encoded) => encoded.and_then(|(key, encoded, read)| each(&key, encoded, read)),
                // A worker panicked; the scope tells.
                None => Ok(()),
            });
            turn.stop();
            written
        })
    }
}

/// Who may work how far ahead, and what is ready.
#[derive(Default)]
struct Turn {
    state: Mutex<TurnState>,
    changed: Condvar,
}

/// A stream as it will be written and how many bytes were read for it, or why it will not.
type Ready = Result<(Arc<StreamKey>, Encoded, u64), Error>;

#[derive(Default)]
struct TurnState {
    ready: BTreeMap<usize, Ready>,
    written: usize,
    stopped: bool,
}

/// Stops everything if its worker panics.
struct OnPanic<'t>(&'t Turn);

impl Drop for OnPanic<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl Turn {
    /// Waits until stream `at` is not too far ahead; false if all is over.
    fn wait_for(&self, at: usize) -> bool {
        let mut state = self.state.lock();
        while !state.stopped && at >= state.written + AHEAD_MAX {
            self.changed.wait(&mut state);
        }
        !state.stopped
    }

    fn on_panic(&self) -> OnPanic<'_> {
        OnPanic(self)
    }

    fn put(&self, at: usize, encoded: Ready) {
        self.state.lock().ready.insert(at, encoded);
        self.changed.notify_all();
    }

    /// Waits for stream `at`; `None` if it will not come.
    fn take(&self, at: usize) -> Option<Ready> {
        let mut state = self.state.lock();
        loop {
            if let Some(encoded) = state.ready.remove(&at) {
                state.written = at + 1;
                self.changed.notify_all();
                return Some(encoded);
            }
            if state.stopped {
                return None;
            }
            self.changed.wait(&mut state);
        }
    }

    fn stop(&self) {
        self.state.lock().stopped = true;
        self.changed.notify_all();
    }
}

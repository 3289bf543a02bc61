//! Several segments become one that says the same.
//!
//! Invariants:
//! - The parts of every stream are the same before and after, with their recorded times: no answer changes, whatever its
//!   `known_at`.
//! - Memory is bounded by the directories, the parts of the few streams at work, the indexes of one table, and what the
//!   inputs hold of [`MAPPED_COPIES`] copies of rows (or of one stream with more): the inputs are mapped anew after so
//!   many, since what was read of a map counts as memory for as long as it is there.
//!
//! Steps, for each table: learn from a sample how its rows pack → for each stream join the inputs' parts in part order, and
//! write it as a run if it is regular, else as facts; note which values its versions have → write the indexes that are
//! worth their bytes. Streams are worked on by all cores and written in order.

use super::indexing::{Indexing, OfColumn};
use crate::error::Error;
use crate::fact::{Micros, Name, StreamKey};
use crate::io::Storage;
use crate::memtable::{Interner, part_key};
use crate::options::{IndexRules, cores};
use crate::packing::{Dictionary, Learner, Packer};
use crate::read::answer::Cost;
use crate::read::view::View;
use crate::row::Row;
use crate::segment::cache::Cache;
use crate::segment::directory::Layout;
use crate::segment::run::encode::{Encoder, Piece};
use crate::segment::write::SegmentWriter;
use crate::segment::{RowCursor, RowOf, Segment, TableReader};
use crate::timeline::regular::{self, Agent};
use crate::timeline::{AgentHistory, Part, RowId};
use parking_lot::{Condvar, Mutex};
use rustc_hash::FxHashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of decoded blocks kept while merging.
const CACHE_BYTES: usize = 16 << 20;

/// A dictionary is learned from about so many streams …
const SAMPLE_STREAMS: usize = 48;
/// … of each from so many rows …
const SAMPLE_ROWS: usize = 640;
/// … that begin at one of so many places of it.
const SAMPLE_PLACES: usize = 8;

/// Inputs are mapped anew after streams whose parts name so many copies of rows.
const MAPPED_COPIES: u64 = 2 << 20;

/// A worker takes so many streams at once, which mostly share blocks of rows.
const STREAMS_AT_ONCE: usize = 8;

/// How many streams may be worked on ahead of the one that is written next.
const AHEAD_MAX: usize = 64;

/// The recorded times of all parts of these segments, in order.
pub fn commits_of(segments: &[Arc<Segment>]) -> Result<Vec<Micros>, Error> {
    let mut commits = Vec::new();
    for segment in segments {
        commits.extend_from_slice(segment.commits()?);
    }
    commits.sort_unstable();
    commits.dedup();
    Ok(commits)
}

/// Writes what `segments` hold into one, with indexes by these rules.
pub fn merge(segments: &[Arc<Segment>], rules: &IndexRules, writer: &mut SegmentWriter<'_>) -> Result<(), Error> {
    let cache = Arc::new(Cache::new(CACHE_BYTES));
    let agents = Agents {
        view: View::new(segments.to_vec(), Vec::new(), cache.clone(), Some(Micros::MAX)),
        known: Mutex::default(),
    };
    let tables: BTreeSet<Name> =
        segments.iter().flat_map(|s| s.footer().tables.iter().map(|table| table.name.clone())).collect();
    for table in tables {
        let of_table = |segment: &&Arc<Segment>| segment.footer().tables.iter().any(|entry| entry.name == table);
        let inputs = segments.iter().filter(of_table).cloned().collect();
        Table { name: &table, inputs, storage: writer.storage(), cache: &cache, agents: &agents }
            .merge(rules, writer)?;
    }
    Ok(())
}

/// What the inputs say of hosts' agents.
struct Agents {
    view: View,
    known: Mutex<FxHashMap<Name, Arc<AgentHistory>>>,
}

impl Agents {
    fn fit(&self, host: &Name, agent: Agent) -> Result<bool, Error> {
        if agent.is_any() {
            return Ok(true);
        }
        let known = self.known.lock().get(host).cloned();
        let history = match known {
            Some(history) => history,
            None => {
                let history = Arc::new(self.view.agent(host, Micros::MAX, &mut Cost::default())?);
                self.known.lock().insert(host.clone(), history.clone());
                history
            }
        };
        Ok(agent.fits(&history))
    }
}

/// One table being merged.
struct Table<'r> {
    name: &'r Name,
    inputs: Vec<Arc<Segment>>,
    storage: &'r dyn Storage,
    cache: &'r Cache,
    agents: &'r Agents,
}

/// Some streams of a table being merged.
struct Merge<'r, 's> {
    readers: &'r [TableReader<'s>],
    cache: &'r Cache,
    agents: &'r Agents,
    streams: &'r [Arc<StreamKey>],
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
    Run { agent: (Agent, bool), pieces: Vec<Piece>, bytes: Vec<u8>, copies: u64, values: Vec<OfColumn> },
    Facts { parts: Vec<Part>, rows: Vec<Row> },
}

impl Table<'_> {
    fn merge(&self, rules: &IndexRules, writer: &mut SegmentWriter<'_>) -> Result<(), Error> {
        let stretches = self.stretches()?;
        let streams: Vec<Arc<StreamKey>> = stretches.iter().flatten().cloned().collect();
        let dictionary = Arc::new(self.with(&streams, |merge| merge.learn())?);
        drop(streams);
        writer.begin_table(self.name, Layout::Inline, Some(dictionary.clone()))?;
        let commits = writer.commits().to_vec();
        let (indexing, mut data_bytes) = (Indexing::new(self.name, rules), 0);
        for streams in stretches {
            self.with(&streams, |merge| {
                merge.each_encoded(&dictionary, &commits, &indexing, |key, encoded| match encoded {
                    Encoded::Run { agent, pieces, bytes, copies, values } => {
                        data_bytes += bytes.len();
                        indexing.add(writer.streams() as u32, pieces.iter().map(|piece| piece.versions).sum(), values);
                        writer.run(key, agent, &pieces, &bytes, copies)
                    }
                    Encoded::Facts { parts, rows } => writer.inline(key, parts, &rows),
                })
            })?;
        }
        indexing.write(data_bytes, writer)?;
        writer.end_table()
    }

    /// The streams in order, cut where the inputs are mapped anew.
    fn stretches(&self) -> Result<Vec<Vec<Arc<StreamKey>>>, Error> {
        let mut streams: BTreeMap<Arc<StreamKey>, u64> = BTreeMap::new();
        for input in &self.inputs {
            let Some(reader) = input.table(self.name)? else { continue };
            for stream in &reader.directory.streams {
                let pieces = &reader.directory.pieces[stream.pieces.clone()];
                let copies: u64 = pieces.iter().map(|piece| piece.copies).sum();
                *streams.entry(stream.key.clone()).or_default() += copies;
            }
        }
        let (mut stretches, mut mapped) = (vec![Vec::new()], 0);
        for (stream, copies) in streams {
            if mapped > 0 && mapped + copies > MAPPED_COPIES {
                stretches.push(Vec::new());
                mapped = 0;
            }
            mapped += copies;
            stretches.last_mut().expect("there is one from the beginning").push(stream);
        }
        Ok(stretches)
    }

    /// Works on some streams by maps that are gone afterwards.
    fn with<T>(
        &self,
        streams: &[Arc<StreamKey>],
        work: impl FnOnce(Merge<'_, '_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let remapped = self.inputs.iter().map(|input| input.remapped(self.storage).map(Arc::new));
        let inputs: Vec<Arc<Segment>> = remapped.collect::<Result<_, _>>()?;
        let mut readers = Vec::new();
        for input in &inputs {
            readers.extend(input.table(self.name)?);
        }
        work(Merge { readers: &readers, cache: self.cache, agents: self.agents, streams })
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

    /// Learns from stretches of looks of some streams, here from the beginning of a stream and there from later.
    fn learn(&self) -> Result<Dictionary, Error> {
        let mut learner = Learner::new();
        // Streams that are far apart share no blocks.
        let mut cursors: Vec<RowCursor> = self.readers.iter().map(|_| RowCursor::default()).collect();
        let every = self.streams.len().div_ceil(SAMPLE_STREAMS).max(1);
        for (i, key) in self.streams.iter().step_by(every).enumerate() {
            let (parts, rows) = self.gather(key, &mut cursors)?;
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
        Ok(learner.finish())
    }

    /// All parts of a stream, in part order, and the rows that they name.
    fn gather(&self, key: &StreamKey, cursors: &mut [RowCursor]) -> Result<(Vec<Part>, Vec<Row>), Error> {
        let mut rows = Interner::default();
        let mut parts = Vec::new();
        let mut cost = Cost::default();
        for (reader, cursor) in self.readers.iter().zip(cursors) {
            let Some(stream) = reader.directory.stream(key) else {
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
            reader.parts(stream, self.cache, &mut cost, |_| true, |_| true, number, |part| parts.push(part))?;
        }
        parts.sort_by_key(part_key);
        Ok((parts, rows.into_rows()))
    }

    fn encode(
        &self,
        key: &StreamKey,
        tools: &mut Tools,
        commits: &[Micros],
        indexing: &Indexing<'_>,
    ) -> Result<Encoded, Error> {
        let Tools { encoder, packer, cursors } = tools;
        let (parts, rows) = self.gather(key, cursors)?;
        let Some((mut lifetimes, agent)) = regular::versions(key.kind, key.sightings, &parts) else {
            return Ok(Encoded::Facts { parts, rows });
        };
        let copies = parts.iter().map(|part| (part.removed.len() + part.added.len()) as u64).sum();
        let mut bytes = Vec::new();
        let pieces = encoder.run(key.kind, &parts, &mut lifetimes, &rows, packer, commits, &mut bytes);
        let agent = (agent, self.agents.fit(&key.host, agent)?);
        let values = indexing.values(&lifetimes, &parts, &rows);
        Ok(Encoded::Run { agent, pieces, bytes, copies, values })
    }

    fn tools(&self, dictionary: &Arc<Dictionary>) -> Tools {
        let (encoder, packer) = (Encoder::default(), Packer::new(dictionary.clone()));
        Tools { encoder, packer, cursors: self.cursors() }
    }

    /// Encodes all streams, on all cores, and gives them in order.
    fn each_encoded(
        &self,
        dictionary: &Arc<Dictionary>,
        commits: &[Micros],
        indexing: &Indexing<'_>,
        mut each: impl FnMut(&Arc<StreamKey>, Encoded) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let workers = cores().min(self.streams.len());
        if workers <= 1 {
            let mut tools = self.tools(dictionary);
            for key in self.streams {
                each(key, self.encode(key, &mut tools, commits, indexing)?)?;
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
                        let first = next.fetch_add(STREAMS_AT_ONCE, Ordering::Relaxed);
                        if first >= self.streams.len() {
                            return;
                        }
                        for at in first..self.streams.len().min(first + STREAMS_AT_ONCE) {
                            if !turn.wait_for(at) {
                                return;
                            }
                            let panics = turn.on_panic();
                            let encoded = self.encode(&self.streams[at], &mut tools, commits, indexing);
                            std::mem::forget(panics);
                            turn.put(at, encoded);
                        }
                    }
                });
            }
            let written = (0..self.streams.len()).try_for_each(|at| match turn.take(at) {
                Some(encoded) => each(&self.streams[at], encoded?),
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

#[derive(Default)]
struct TurnState {
    ready: BTreeMap<usize, Result<Encoded, Error>>,
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

    fn put(&self, at: usize, encoded: Result<Encoded, Error>) {
        self.state.lock().ready.insert(at, encoded);
        self.changed.notify_all();
    }

    /// Waits for stream `at`; `None` if it will not come.
    fn take(&self, at: usize) -> Option<Result<Encoded, Error>> {
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

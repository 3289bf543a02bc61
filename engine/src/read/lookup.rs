//! Many questions for a value at once, each of one host at its own time: what an event is joined with.
//!
//! Invariants:
//! - Each key is answered as a question for its value alone would be, coverage apart.
//! - A version that answers several keys is read and given once.
//!
//! How: the keys of a host are answered together. Its streams are opened once; where as many are asked for as a stream has
//! versions around the times that are asked for, these are read once and told apart by their texts, or else each value is
//! looked up in the index. A key then costs a bisection of the looks.

use super::answer::{Cost, Hit, Lookup};
use super::at::Ask;
use super::indexed::Sought;
use super::matching::is_odd_number;
use super::question::{LookupKey, LookupQuestion};
use super::resolved::{Agents, is_one_name, streams_with_state};
use super::settled::Settled;
use super::source::{RunAt, Source};
use super::told::Settings;
use super::view::View;
use crate::bytes::{equal, small_hash};
use crate::error::Error;
use crate::fact::{Micros, Second};
use crate::row::hash_of;
use crate::segment::index::{Index, OpenIndex, Postings};
use crate::segment::run::open::Entry;
use rustc_hash::FxHashMap;
use std::hash::{Hash, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// A place that is none.
const NONE: u32 = u32::MAX;

/// A value that is asked for, as a key: most are short.
#[derive(Eq)]
struct Value<'q>(&'q [u8]);

impl PartialEq for Value<'_> {
    #[inline]
    fn eq(&self, other: &Value<'_>) -> bool {
        equal(self.0, other.0)
    }
}

impl Hash for Value<'_> {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Of so short a text it hashes all; longer ones may have the same ends.
        state.write_u64(if self.0.len() <= 16 { small_hash(self.0) } else { hash_of(self.0) });
    }
}

/// One settled stream of a host, and what was found of it.
struct Stream<'s, 'q> {
    run: Option<RunAt<'s>>,
    /// The first and the last second that is asked for.
    span: (Second, Second),
    /// The column's, if the run's table has one.
    index: Option<Arc<OpenIndex>>,
    settled: Settled<'s>,
    /// The versions that were found, and the place of each among the versions of the answer once it is there.
    found: Vec<(Entry, u32)>,
    /// All that may hold within the span, if these were read.
    all: Option<All>,
    /// Which of the found have a value: a range of `places`.
    of_value: FxHashMap<Value<'q>, Range<u32>>,
    places: Vec<u32>,
}

/// The versions that may hold within a span, by birth, told apart by their texts.
#[derive(Default)]
struct All {
    /// Of those whose texts have this hash the first, and of each the next one.
    first: FxHashMap<u64, u32>,
    next: Vec<u32>,
    /// Whether equal numbers may be different texts.
    has_odd_numbers: bool,
}

impl View {
    /// The rows that have a value in a column, for each of many hosts, values and times.
    pub fn lookup(&self, q: &LookupQuestion<'_>) -> Result<Lookup, Error> {
        let mut cost = Cost::default();
        let bound = self.bound(q.known_at);
        let settings = self.settings(bound, &mut cost)?;
        let is_number = settings.catalogue.is_number(&q.table, &q.column);
        let hits = Vec::with_capacity(q.keys.len());
        let mut answer = Lookup { versions: Vec::new(), hits, cost };
        let standing = self.standing(&q.table, bound, &settings)?;
        let mut agents = Agents::new(self, bound);
        let mut first = 0;
        for of_host in q.keys.chunk_by(|a, b| std::ptr::eq(a.host, b.host) || a.host == b.host) {
            let host = of_host[0].host;
            let sources = match standing {
                Some((standing, reader)) => standing.sources_of_host(reader, host),
                None => self.sources_of_host(&q.table, host, &mut agents, &mut answer.cost)?,
            };
            let mut streams = match sources {
                Some(sources) => Some(self.open_streams(q, sources, of_host, &mut answer.cost)?),
                None => None,
            };
            for (place, key) in (first..).zip(of_host) {
                match &mut streams {
                    Some(streams) => {
                        for stream in streams {
                            stream.hits(q, is_number, place, &mut answer)?;
                        }
                    }
                    None => {
                        let sought = Sought::new(is_number, key.value);
                        self.look_up_alone(q, sought, place, bound, &settings, &mut answer)?;
                    }
                }
            }
            first += of_host.len();
        }
        Ok(answer)
    }

    /// What the streams of a host are read from, if each version of all can be judged by itself.
    fn sources_of_host(
        &self,
        table: &[u8],
        host: &[u8],
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Vec<Source<'_>>>, Error> {
        let mut sources = Vec::new();
        for keys in streams_with_state(self, table, Some(host), None)?.chunk_by(is_one_name) {
            match keys {
                [key] => match self.source(key, agents, cost)?.filter(|source| !source.is_resolved()) {
                    Some(source) => sources.push(source),
                    None => return Ok(None),
                },
                _ => return Ok(None),
            }
        }
        Ok(Some(sources))
    }

    fn open_streams<'s, 'q>(
        &'s self,
        q: &LookupQuestion<'q>,
        sources: Vec<Source<'s>>,
        keys: &[LookupKey<'q>],
        cost: &mut Cost,
    ) -> Result<Vec<Stream<'s, 'q>>, Error> {
        cost.segments_touched += u64::from(sources.iter().any(|source| source.run.is_some()));
        let span = keys.iter().map(|key| (key.at, key.at)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let Some(span) = span else { return Ok(Vec::new()) };
        let open = |source: Source<'s>| {
            let mut settled = Settled::new(&source, self.cache(), span.0, cost)?;
            let index = match &source.run {
                Some(run) => run.reader.index(&q.column, self.cache(), cost)?,
                None => None,
            };
            let index = index.filter(|index| index.borrow_dependent().of == Postings::Versions);
            let reads_all = index.is_none() || settled.count_around(span, cost)? <= keys.len();
            let all = reads_all.then(All::default);
            let (run, found, of_value, places) = (source.run, Vec::new(), FxHashMap::default(), Vec::new());
            let mut stream = Stream { run, span, index, settled, found, all, of_value, places };
            stream.read_all(&q.column, cost)?;
            Ok(stream)
        };
        sources.into_iter().map(open).collect()
    }

    /// One key of a host whose streams are not all settled.
    fn look_up_alone(
        &self,
        q: &LookupQuestion<'_>,
        sought: Sought<'_>,
        place: usize,
        known_at: Micros,
        settings: &Arc<Settings>,
        answer: &mut Lookup,
    ) -> Result<(), Error> {
        let key = &q.keys[place];
        let (table, at, host) = (&*q.table, key.at, Some(key.host));
        let ask = Ask { table, at, host, stream: None, known_at, with_after: true, is_all: false };
        let (rows, _) = self.read_by_value(&ask, &q.column, sought, settings, &mut answer.cost, |_| true)?;
        for held in rows {
            let (count, verdict) = (held.version.count, held.verdict);
            let (version, before, after) = (answer.versions.len(), held.before, held.after);
            answer.hits.push(Hit { key: place, version, count, verdict, before, after });
            answer.versions.push(held.version);
        }
        Ok(())
    }
}

impl<'q> Stream<'_, 'q> {
    /// Reads all that may hold within the span, if that is what is done.
    fn read_all(&mut self, column: &[u8], cost: &mut Cost) -> Result<(), Error> {
        let Stream { settled, found, all: Some(all), span, .. } = self else { return Ok(()) };
        settled.each_around((Some(span.0), Some(span.1)), cost, |entry, _| {
            found.push((entry.clone(), NONE));
            Ok(())
        })?;
        found.sort_by_key(|(entry, _)| entry.ordinal);
        all.next = vec![NONE; found.len()];
        for (place, (entry, _)) in found.iter().enumerate().rev() {
            let Some(text) = entry.row().get(column) else { continue };
            all.has_odd_numbers |= is_odd_number(text);
            if let Some(next) = all.first.insert(hash_of(text), place as u32) {
                all.next[place] = next;
            }
        }
        Ok(())
    }

    /// Notes what answers a key.
    fn hits(
        &mut self,
        q: &LookupQuestion<'q>,
        is_number: bool,
        place: usize,
        answer: &mut Lookup,
    ) -> Result<(), Error> {
        let key = &q.keys[place];
        let places = match self.of_value.get(&Value(key.value)) {
            Some(places) => places.clone(),
            None => {
                let start = self.places.len() as u32;
                self.find(q, Sought::new(is_number, key.value), key.value, &mut answer.cost)?;
                let places = start..self.places.len() as u32;
                self.of_value.insert(Value(key.value), places.clone());
                places
            }
        };
        self.settled.move_to(key.at, &mut answer.cost)?;
        for &found in &self.places[places.start as usize..places.end as usize] {
            let (entry, given) = &mut self.found[found as usize];
            let Some(verdict) = self.settled.verdict(entry, true) else { continue };
            if *given == NONE {
                *given = answer.versions.len() as u32;
                answer.versions.extend(entry.version().cloned());
            }
            let version = *given as usize;
            let (before, after) = self.settled.around();
            let count = answer.versions[version].count;
            answer.hits.push(Hit { key: place, version, count, verdict, before, after });
        }
        Ok(())
    }

    /// Finds the versions that have a value, by birth.
    fn find(&mut self, q: &LookupQuestion<'q>, sought: Sought<'_>, value: &[u8], cost: &mut Cost) -> Result<(), Error> {
        let Stream { found, places, .. } = self;
        let is_sought = |at: u32| sought.is_in(found[at as usize].0.row(), &q.column);
        match (&self.all, &self.run, &self.index) {
            (Some(all), ..) if !all.has_odd_numbers && !is_odd_number(value) => {
                let mut next = all.first.get(&hash_of(value)).copied().unwrap_or(NONE);
                while next != NONE {
                    places.extend(Some(next).filter(|&at| is_sought(at)));
                    next = all.next[next as usize];
                }
            }
            (None, Some(run), Some(index)) => {
                let start = found.len();
                of_index(&mut self.settled, (run, index), self.span, q, sought, found, cost)?;
                found[start..].sort_by_key(|(entry, _)| entry.ordinal);
                places.extend(start as u32..found.len() as u32);
            }
            _ => places.extend((0..found.len() as u32).filter(|&at| is_sought(at))),
        }
        Ok(())
    }
}

/// Adds the versions of a stream that have a value by the index, and may hold within a span.
fn of_index(
    settled: &mut Settled<'_>,
    (run, index): (&RunAt<'_>, &Arc<OpenIndex>),
    span: (Second, Second),
    q: &LookupQuestion<'_>,
    sought: Sought<'_>,
    found: &mut Vec<(Entry, u32)>,
    cost: &mut Cost,
) -> Result<(), Error> {
    let mut note_if_sought = |entry: &Entry, _: &mut Cost| {
        if sought.is_in(entry.row(), &q.column) {
            found.push((entry.clone(), NONE));
        }
        Ok(())
    };
    let (index, place) = (index.borrow_dependent(), run.place);
    let fault = |fault| run.reader.index_fault(&q.column, fault);
    for value in sought.places(index).map_err(fault)? {
        let postings = index.postings(value).map_err(fault)?;
        let of_stream = index.of_streams(postings, &(place..place + 1)).map_err(fault)?;
        let ordinal = |at: usize| index.version(of_stream.start + at).map_err(fault);
        cost.bytes_read += Index::POSTING_BYTES;
        settled.each_of_between(span, of_stream.len(), ordinal, cost, &mut note_if_sought)?;
    }
    settled.each_of_tail(cost, &mut note_if_sought)
}

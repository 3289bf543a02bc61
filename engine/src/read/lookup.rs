//! Many questions for a value at once, each of one host at its own time: what an event is joined with.
//!
//! Invariants:
//! - Each key is answered as a question for its value alone would be, coverage apart.
//! - A version that answers several keys is read and given once.
//!
//! How: a host's stream is opened once, and of each value the versions that have it; a key then costs a bisection of the
//! looks.

use super::answer::{Cost, Hit, Lookup};
use super::at::Ask;
use super::indexed::Sought;
use super::question::LookupQuestion;
use super::resolved::{Agents, is_one_name, streams_with_state};
use super::settled::Settled;
use super::source::{RunAt, Source};
use super::told::Settings;
use super::view::View;
use crate::error::Error;
use crate::fact::{Micros, Second};
use crate::segment::index::{Index, OpenIndex, Postings};
use crate::segment::run::open::Entry;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry as MapEntry;
use std::sync::Arc;

/// A version that has a value, and its place among the versions of the answer once it is there.
struct Candidate {
    entry: Entry,
    given: Option<usize>,
}

/// One settled stream of a host, and what was found of it.
struct Stream<'s, 'q> {
    run: Option<RunAt<'s>>,
    /// The first and the last second that is asked for.
    span: (Second, Second),
    /// The column's, if the run's table has one.
    index: Option<Arc<OpenIndex>>,
    settled: Settled<'s>,
    of_value: FxHashMap<&'q [u8], Vec<Candidate>>,
}

impl View {
    /// The rows that have a value in a column, for each of many hosts, values and times.
    pub fn lookup(&self, q: &LookupQuestion<'_>) -> Result<Lookup, Error> {
        let mut cost = Cost::default();
        let bound = self.bound(q.known_at);
        let settings = self.settings(bound, &mut cost)?;
        let is_number = settings.catalogue.is_number(&q.table, &q.column);
        let mut answer = Lookup { versions: Vec::new(), hits: Vec::new(), cost };
        let standing = self.standing(&q.table, bound, &settings)?;
        let mut agents = Agents::new(self, bound);
        let mut host: Option<(&[u8], Option<Vec<Stream<'_, '_>>>)> = None;
        for (place, key) in q.keys.iter().enumerate() {
            let sought = Sought::new(is_number, key.value);
            if host.as_ref().is_none_or(|(last, _)| *last != key.host) {
                let sources = match standing {
                    Some((standing, reader)) => standing.sources_of_host(reader, key.host),
                    None => self.sources_of_host(&q.table, key.host, &mut agents, &mut answer.cost)?,
                };
                let of_host = q.keys[place..].iter().take_while(|other| other.host == key.host);
                let span = of_host.fold((key.at, key.at), |span, other| (span.0.min(other.at), span.1.max(other.at)));
                let streams = match sources {
                    Some(sources) => Some(self.open_streams(q, sources, span, &mut answer.cost)?),
                    None => None,
                };
                host = Some((key.host, streams));
            }
            match &mut host {
                Some((_, Some(streams))) => {
                    for stream in streams {
                        stream.hits(q, sought, place, &mut answer)?;
                    }
                }
                _ => self.look_up_alone(q, sought, place, bound, &settings, &mut answer)?,
            }
        }
        Ok(answer)
    }

    /// What the streams of a host are read from, if none must be replayed.
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
                [key] => match self.source(key, agents, cost)? {
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
        span: (Second, Second),
        cost: &mut Cost,
    ) -> Result<Vec<Stream<'s, 'q>>, Error> {
        cost.segments_touched += u64::from(sources.iter().any(|source| source.run.is_some()));
        let open = |source: Source<'s>| {
            let settled = Settled::new(&source, self.cache(), span.0, cost)?;
            let index = match &source.run {
                Some(run) => run.reader.index(&q.column, self.cache(), cost)?,
                None => None,
            };
            let index = index.filter(|index| index.borrow_dependent().of == Postings::Versions);
            Ok(Stream { run: source.run, span, index, settled, of_value: FxHashMap::default() })
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
        let ask = Ask { table, at, host, stream: None, known_at, with_after: true };
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
    /// Notes what answers a key.
    fn hits(
        &mut self,
        q: &LookupQuestion<'q>,
        sought: Sought<'_>,
        place: usize,
        answer: &mut Lookup,
    ) -> Result<(), Error> {
        let key = &q.keys[place];
        let candidates = match self.of_value.entry(key.value) {
            MapEntry::Occupied(found) => found.into_mut(),
            MapEntry::Vacant(room) => {
                let index = self.run.as_ref().zip(self.index.as_ref());
                room.insert(candidates(&mut self.settled, index, self.span, q, sought, &mut answer.cost)?)
            }
        };
        self.settled.move_to(key.at, &mut answer.cost)?;
        for candidate in candidates {
            let Some(verdict) = self.settled.verdict(&candidate.entry, true) else { continue };
            let version = match candidate.given {
                Some(given) => given,
                None => {
                    answer.versions.extend(candidate.entry.version().cloned());
                    *candidate.given.insert(answer.versions.len() - 1)
                }
            };
            let (before, after) = self.settled.around();
            let count = answer.versions[version].count;
            answer.hits.push(Hit { key: place, version, count, verdict, before, after });
        }
        Ok(())
    }
}

/// The versions of a stream that have a value and may hold within a span, by birth.
fn candidates(
    settled: &mut Settled<'_>,
    index: Option<(&RunAt<'_>, &Arc<OpenIndex>)>,
    span: (Second, Second),
    q: &LookupQuestion<'_>,
    sought: Sought<'_>,
    cost: &mut Cost,
) -> Result<Vec<Candidate>, Error> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let mut note_if_sought = |entry: &Entry, _: &mut Cost| {
        if sought.is_in(entry.row().as_bytes(), &q.column) {
            candidates.push(Candidate { entry: entry.clone(), given: None });
        }
        Ok(())
    };
    let Some((run, index)) = index else {
        settled.each_around((Some(span.0), Some(span.1)), cost, note_if_sought)?;
        return Ok(candidates);
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
    settled.each_of_tail(cost, &mut note_if_sought)?;
    candidates.sort_by_key(|candidate| candidate.entry.ordinal);
    Ok(candidates)
}

//! Many questions for a value at once, each of one host at its own time: what an event is joined with.
//!
//! Invariants:
//! - Each key is answered as a question for its value alone would be, coverage apart.
//! - A version that answers several keys is read and given once.
//!
//! How: a host's stream is opened once, and of each value the versions that have it; a key then costs a bisection of the
//! looks.

use super::answer::{Cost, Hit, Lookup};
use super::indexed::Sought;
use super::question::{LookupKey, LookupQuestion};
use super::resolved::Ask;
use super::settled::Settled;
use super::standing::TableStanding;
use super::view::View;
use crate::error::Error;
use crate::fact::Micros;
use crate::row::text_of;
use crate::segment::TableReader;
use crate::segment::cache::Cache;
use crate::segment::index::{Index, Postings};
use crate::segment::run::open::Entry;
use rustc_hash::FxHashMap;
use std::collections::hash_map::Entry as MapEntry;

/// A version that has a value, and its place among the versions of the answer once it is there.
struct Candidate {
    entry: Entry,
    given: Option<usize>,
}

/// One settled stream of a host, and what was found of it.
struct Stream<'s, 'q> {
    place: usize,
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
        let index = match standing {
            Some((_, reader)) => reader.index(&q.column, self.cache(), &mut answer.cost)?,
            None => None,
        };
        let mut host: Option<(&[u8], Option<Vec<Stream<'_, '_>>>)> = None;
        for (place, key) in q.keys.iter().enumerate() {
            let sought = Sought::new(is_number, key.value);
            if host.as_ref().is_none_or(|(last, _)| *last != key.host) {
                let streams = match standing {
                    Some((standing, reader)) => streams_of(standing, reader, self.cache(), key, &mut answer.cost)?,
                    None => None,
                };
                host = Some((key.host, streams));
            }
            match &mut host {
                Some((_, Some(streams))) => {
                    let Some((_, reader)) = standing else { continue };
                    for stream in streams {
                        stream.hits(
                            q,
                            reader,
                            index.as_ref().map(|index| index.borrow_dependent()),
                            sought,
                            place,
                            &mut answer,
                        )?;
                    }
                }
                _ => self.look_up_alone(q, sought, place, bound, &settings, &mut answer)?,
            }
        }
        Ok(answer)
    }

    /// One key of a host whose streams are not all settled.
    fn look_up_alone(
        &self,
        q: &LookupQuestion<'_>,
        sought: Sought<'_>,
        place: usize,
        known_at: Micros,
        settings: &super::view::Settings,
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

/// The streams of a key's host, if all of them are settled.
fn streams_of<'s, 'q>(
    standing: &TableStanding,
    reader: TableReader<'s>,
    cache: &'s Cache,
    key: &LookupKey<'_>,
    cost: &mut Cost,
) -> Result<Option<Vec<Stream<'s, 'q>>>, Error> {
    let Some(groups) = standing.settled_of_host(reader, key.host) else {
        return Ok(None);
    };
    cost.segments_touched += u64::from(!groups.is_empty());
    let mut streams = Vec::with_capacity(groups.len());
    for group in groups {
        let place = group.streams.start as usize;
        let stream = reader.directory.record(place);
        let settled = Settled::new(reader, &stream, cache, key.at, cost)?;
        streams.push(Stream { place, settled, of_value: FxHashMap::default() });
    }
    Ok(Some(streams))
}

impl<'q> Stream<'_, 'q> {
    /// Notes what answers a key.
    fn hits(
        &mut self,
        q: &LookupQuestion<'q>,
        reader: TableReader<'_>,
        index: Option<&Index<'_>>,
        sought: Sought<'_>,
        place: usize,
        answer: &mut Lookup,
    ) -> Result<(), Error> {
        let key = &q.keys[place];
        self.settled.move_to(key.at, &mut answer.cost)?;
        let candidates = match self.of_value.entry(key.value) {
            MapEntry::Occupied(found) => found.into_mut(),
            MapEntry::Vacant(room) => {
                room.insert(candidates(&mut self.settled, self.place, q, reader, index, sought, &mut answer.cost)?)
            }
        };
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

/// The versions of the stream at a place of the directory that have a value, by birth.
fn candidates(
    settled: &mut Settled<'_>,
    place: usize,
    q: &LookupQuestion<'_>,
    reader: TableReader<'_>,
    index: Option<&Index<'_>>,
    sought: Sought<'_>,
    cost: &mut Cost,
) -> Result<Vec<Candidate>, Error> {
    let mut candidates: Vec<Candidate> = Vec::new();
    let Some(index) = index.filter(|index| index.of == Postings::Versions) else {
        settled.each_entry(cost, |entry, _| {
            if text_of(entry.row().as_bytes(), &q.column).is_some_and(|text| sought.fits(text)) {
                candidates.push(Candidate { entry: entry.clone(), given: None });
            }
            Ok(())
        })?;
        return Ok(candidates);
    };
    let fault = |fault| reader.index_fault(&q.column, fault);
    let mut ordinals = Vec::new();
    for value in sought.places(index).map_err(fault)? {
        let postings = index.postings(value).map_err(fault)?;
        for posting in index.of_streams(postings, &(place..place + 1)).map_err(fault)? {
            cost.bytes_read += Index::POSTING_BYTES;
            ordinals.push(index.version(posting).map_err(fault)?);
        }
    }
    ordinals.sort_unstable();
    settled.each_of(&ordinals, cost, |entry, _| {
        candidates.push(Candidate { entry: entry.clone(), given: None });
        Ok(())
    })?;
    Ok(candidates)
}

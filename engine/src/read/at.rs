//! A table at T: the rows that hold, of one host or of all, and who can speak.
//!
//! Invariants:
//! - Rows come by host, stream, row, from, verdict, however many threads read them.
//! - Only so many rows are in memory at a time as so many streams have, unless whoever asks keeps them.
//!
//! How: a table that stands in one segment is read by the places of its streams, any other by their keys; a settled stream
//! from its run and tail, all others from their timelines.

use super::answer::{Cost, Held, Verdict};
use super::classes::Classes;
use super::indexed::{Found, Which};
use super::live::Listed;
use super::resolved::{Agents, Member, Named, is_one_name, streams_with_state};
use super::rows::Rows;
use super::settled::{Settled, Sorter};
use super::source::Source;
use super::standing::TableStanding;
use super::told::Settings;
use super::view::View;
use crate::error::Error;
use crate::fact::{Micros, Second, StreamKey};
use crate::options::cores;
use crate::row::Row;
use crate::segment::TableReader;
use parking_lot::Mutex;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// The rows of a table at T that `keep` wants, with the classes of the hosts.
#[derive(Default)]
pub(super) struct AtT {
    pub(super) rows: Rows,
    pub(super) classes: Classes,
}

/// What to read of a table at T.
pub(super) struct Ask<'q> {
    pub(super) table: &'q [u8],
    pub(super) at: Second,
    pub(super) host: Option<&'q [u8]>,
    pub(super) stream: Option<&'q [u8]>,
    pub(super) known_at: Micros,
    /// Whether copies that only the look after T has are candidates.
    pub(super) with_after: bool,
    /// Whether all rows are wanted.
    pub(super) is_all: bool,
}

/// What becomes of the rows of an answer.
pub(super) struct Taking<'t, P> {
    /// Is given them where they were read, on whichever thread.
    pub(super) map: &'t (dyn Fn(Rows) -> P + Sync),
    /// Is given what it made of them, in their order.
    pub(super) each: &'t mut dyn FnMut(P) -> Result<(), Error>,
}

/// Reads a table at T; the rows come by host, stream, row, from, verdict.
pub(super) fn read_at(
    view: &View,
    ask: &Ask<'_>,
    settings: &Arc<Settings>,
    cost: &mut Cost,
    keep: impl Fn(&Row) -> bool + Sync,
) -> Result<AtT, Error> {
    collect(|taking| read_parts(view, ask, settings, cost, keep, taking))
}

/// Puts together what is read in parts.
pub(super) fn collect(read: impl FnOnce(Taking<'_, Rows>) -> Result<Classes, Error>) -> Result<AtT, Error> {
    let mut rows = Rows::default();
    let mut append = |part| {
        rows.append(part);
        Ok(())
    };
    let classes = read(Taking { map: &|rows| rows, each: &mut append })?;
    Ok(AtT { rows, classes })
}

/// Reads a table at T and gives the rows in parts: so many streams at a time as are worth it.
pub(super) fn read_parts<P: Send>(
    view: &View,
    ask: &Ask<'_>,
    settings: &Arc<Settings>,
    cost: &mut Cost,
    keep: impl Fn(&Row) -> bool + Sync,
    taking: Taking<'_, P>,
) -> Result<Classes, Error> {
    match view.standing(ask.table, ask.known_at, settings)? {
        Some((standing, reader)) => read_standing(view, standing, reader, ask, settings, cost, &keep, taking),
        None => read_each(view, ask, settings, None, cost, &keep, taking),
    }
}

/// Reads a table at T, stream by stream; where `found` tells which rows may be wanted, no others of the runs.
pub(super) fn read_each<P: Send>(
    view: &View,
    ask: &Ask<'_>,
    settings: &Arc<Settings>,
    found: Option<&Found>,
    cost: &mut Cost,
    keep: &(impl Fn(&Row) -> bool + Sync),
    taking: Taking<'_, P>,
) -> Result<Classes, Error> {
    let groups = match view.list_live(ask, settings, cost)? {
        Some(groups) => groups,
        None => {
            let keys = streams_with_state(view, ask.table, ask.host, ask.stream)?;
            let listed = |keys: &[Arc<StreamKey>]| Listed { keys: keys.to_vec(), settled: None };
            keys.chunk_by(is_one_name).map(listed).collect()
        }
    };
    let is_begin = |at: usize| groups[at].keys[0].host != groups[at - 1].keys[0].host;
    let some = |places: Range<usize>| {
        let mut reading = ReadingAt::new(view, ask, settings, found);
        for Listed { keys, settled } in &groups[places] {
            match settled {
                Some((source, is_assumed)) => reading.settled(source, &keys[0].host, *is_assumed, keep)?,
                None => reading.group(keys, keep)?,
            }
        }
        Ok((reading.at_t, reading.cost))
    };
    on_all_cores(groups.len(), is_begin, cost, some, taking)
}

/// A table at T while it is read.
struct ReadingAt<'v, 'q> {
    view: &'v View,
    ask: &'q Ask<'q>,
    settings: &'q Settings,
    found: Option<&'q Found>,
    agents: Agents<'v>,
    sorter: Sorter,
    at_t: AtT,
    cost: Cost,
}

impl<'v, 'q> ReadingAt<'v, 'q> {
    fn new(view: &'v View, ask: &'q Ask<'q>, settings: &'q Settings, found: Option<&'q Found>) -> ReadingAt<'v, 'q> {
        let at_t = AtT::default();
        let (agents, sorter, cost) = (Agents::new(view, ask.known_at), Sorter::default(), Cost::default());
        ReadingAt { view, ask, settings, found, agents, sorter, at_t, cost }
    }

    /// The streams of one name on one host.
    fn group(&mut self, keys: &[Arc<StreamKey>], keep: &impl Fn(&Row) -> bool) -> Result<(), Error> {
        let Some(first) = keys.first() else { return Ok(()) };
        let Some(member) = Member::new(self.view, keys, &mut self.agents, &mut self.cost)? else { return Ok(()) };
        let is_assumed = self.settings.mapping(&first.name).assumed;
        match member {
            Member::Replayed(named) => self.at_t.note(self.ask, &first.host, is_assumed, &named, keep),
            Member::Settled(source) => self.settled(&source, &first.host, is_assumed, keep)?,
        }
        Ok(())
    }

    /// A settled stream.
    fn settled(
        &mut self,
        source: &Source<'_>,
        host: &[u8],
        is_assumed: bool,
        keep: &impl Fn(&Row) -> bool,
    ) -> Result<(), Error> {
        let ReadingAt { view, ask, found, sorter, at_t: AtT { rows, classes }, cost, .. } = self;
        let mut stream = Settled::new(source, view.cache(), ask.at, cost)?;
        classes.note(host, stream.class(), is_assumed);
        let which = match (found, &source.run) {
            (Some(found), Some(run)) => found.of(run),
            (Some(_), None) => Which::Versions(&[]),
            (None, _) => Which::All,
        };
        let Which::Versions(ordinals) = which else {
            return stream.held(ask.with_after, ask.is_all, keep, sorter, rows, cost);
        };
        let rows = &mut rows.held;
        let start = rows.len();
        stream.among(ordinals.len(), |at| Ok(ordinals[at]), ask.with_after, keep, rows, cost)?;
        stream.among_tail(ask.with_after, keep, rows);
        if rows.len() > start + 1 {
            sort_held(&mut rows[start..], false);
        }
        Ok(())
    }
}

impl AtT {
    /// Notes the streams of one name on one host.
    pub(super) fn note(
        &mut self,
        ask: &Ask<'_>,
        host: &[u8],
        is_assumed: bool,
        named: &Named,
        keep: &impl Fn(&Row) -> bool,
    ) {
        let Some((resolved, bracket)) = named.at(ask.at) else {
            return;
        };
        self.classes.note(host, resolved.timeline.class(&bracket), is_assumed);
        let mut judged = resolved.timeline.held(&bracket);
        if ask.with_after {
            judged.extend(resolved.timeline.only_after(&bracket));
        }
        let rows = &mut self.rows.held;
        let start = rows.len();
        let kept = judged.iter().filter(|judged| keep(resolved.row(judged)));
        rows.extend(kept.map(|judged| resolved.held(judged, &bracket)));
        sort_held(&mut rows[start..], false);
    }
}

/// About so many streams are worth a part of their own.
const STREAMS_PER_PART_MIN: usize = 64;
/// So many streams are read by each thread before what was made of them is given …
const STREAMS_PER_THREAD_MAX: usize = 1024;
/// … in so many parts, so that no thread waits long for another that came late.
const PARTS_PER_THREAD: usize = 4;

/// Whoever has no part left yields so many times, about 0.1 ms, until the last of others are made, and only then sleeps: to be
/// woken takes as long.
const LAST_PART_YIELDS_MAX: usize = 512;

/// Reads a table that stands in one segment.
#[expect(clippy::too_many_arguments, reason = "what is asked, where, and where to")]
fn read_standing<P: Send>(
    view: &View,
    standing: &TableStanding,
    reader: TableReader<'_>,
    ask: &Ask<'_>,
    settings: &Settings,
    cost: &mut Cost,
    keep: &(impl Fn(&Row) -> bool + Sync),
    taking: Taking<'_, P>,
) -> Result<Classes, Error> {
    let directory = reader.directory;
    let places = ask.host.map_or(0..directory.streams(), |host| directory.streams_of_host(host));
    cost.segments_touched += u64::from(!places.is_empty());
    let first = places.start;
    let is_begin = |at: usize| directory.begin_of_host(first + at) == first + at;
    let some = |some: Range<usize>| {
        let mut reading = ReadingAt::new(view, ask, settings, None);
        for group in standing.groups(reader, first + some.start..first + some.end) {
            let streams = group.streams.start as usize..group.streams.end as usize;
            if ask.stream.is_some_and(|stream| *directory.name(&group.first) != *stream) {
                continue;
            }
            if group.is_settled {
                let (host, is_assumed) = (directory.host(&group.first), group.is_assumed);
                reading.settled(&Source::of(group.run(reader)), host, is_assumed, keep)?;
            } else {
                let entries = directory.entries(streams).filter(|stream| stream.record.has_state());
                let keys: Vec<Arc<StreamKey>> = entries.map(|stream| stream.key).collect();
                reading.group(&keys, keep)?;
            }
        }
        Ok((reading.at_t, reading.cost))
    };
    on_all_cores(places.len(), is_begin, cost, some, taking)
}

/// Reads so many streams on all cores, where they are worth it; they are parted only where a host begins.
fn on_all_cores<P: Send>(
    streams: usize,
    is_begin: impl Fn(usize) -> bool + Sync,
    cost: &mut Cost,
    some: impl Fn(Range<usize>) -> Result<(AtT, Cost), Error> + Sync,
    Taking { map, each }: Taking<'_, P>,
) -> Result<Classes, Error> {
    let (mut classes, mut start) = (Classes::default(), 0);
    let begin = |about: usize| (about..streams).find(|&at| at == 0 || is_begin(at)).unwrap_or(streams);
    while start < streams {
        let threads = cores().min((streams - start) / STREAMS_PER_PART_MIN).max(1);
        let end = begin((start + threads * STREAMS_PER_THREAD_MAX).min(streams));
        // As many for each thread, more or less: of seven parts one of two threads would have four.
        let of_thread = ((end - start) / STREAMS_PER_PART_MIN + threads / 2) / threads;
        let count = threads * of_thread.clamp(1, PARTS_PER_THREAD);
        let bound = |part: usize| begin(start + (end - start) * part / count).min(end);
        let (next, made) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let parts = Mutex::new(Vec::with_capacity(count));
        let read = || {
            loop {
                let part = next.fetch_add(1, Ordering::Relaxed);
                if part >= count {
                    return;
                }
                let read = some(bound(part)..bound(part + 1));
                let read = read.map(|(AtT { rows, classes }, cost)| (map(rows), classes, cost));
                parts.lock().push((part, read));
                made.fetch_add(1, Ordering::Release);
            }
        };
        if threads == 1 {
            read();
        } else {
            // Threads that are there already: starting one takes as long as reading a hundred streams.
            rayon::in_place_scope(|scope| {
                (1..threads).for_each(|_| scope.spawn(|_| read()));
                read();
                let is_unfinished = |_: &usize| made.load(Ordering::Acquire) < count;
                (0..LAST_PART_YIELDS_MAX).take_while(is_unfinished).for_each(|_| thread::yield_now());
            });
        }
        let mut parts = parts.into_inner();
        parts.sort_unstable_by_key(|(part, _)| *part);
        for (_, part) in parts {
            let (part, of_part, more) = part?;
            cost.add(&more);
            classes.append(of_part);
            each(part)?;
        }
        start = end;
    }
    Ok(classes)
}

/// Puts rows in their order: host, stream, row, from, verdict; with `verdict_first`, by verdict before all.
pub(super) fn sort_held(rows: &mut [Held], verdict_first: bool) {
    rows.sort_by(|a, b| {
        let by_verdict = if verdict_first { a.verdict.cmp(&b.verdict) } else { std::cmp::Ordering::Equal };
        let (x, y) = (&a.version, &b.version);
        by_verdict
            .then_with(|| (&x.host, &x.stream, &x.row, x.from).cmp(&(&y.host, &y.stream, &y.row, y.from)))
            .then(a.verdict.cmp(&b.verdict))
            .then_with(|| (!x.verified, x.to.is_none(), x.to).cmp(&(!y.verified, y.to.is_none(), y.to)))
    });
}

/// The weakest verdict.
pub(super) fn weakest(rows: &[Held]) -> Option<Verdict> {
    rows.iter().map(|row| row.verdict).max()
}

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
use std::ops::Range;
use std::sync::Arc;

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

/// Takes rows of an answer, in their order.
pub(super) type Each<'e> = &'e mut dyn FnMut(Rows) -> Result<(), Error>;

/// Reads a table at T; the rows come by host, stream, row, from, verdict.
pub(super) fn read_at(
    view: &View,
    ask: &Ask<'_>,
    settings: &Arc<Settings>,
    cost: &mut Cost,
    keep: impl Fn(&Row) -> bool + Sync,
) -> Result<AtT, Error> {
    collect(|each| read_parts(view, ask, settings, cost, keep, each))
}

/// Puts together what is read in parts.
pub(super) fn collect(read: impl FnOnce(Each<'_>) -> Result<Classes, Error>) -> Result<AtT, Error> {
    let mut rows = Rows::default();
    let classes = read(&mut |part| {
        rows.append(part);
        Ok(())
    })?;
    Ok(AtT { rows, classes })
}

/// Reads a table at T and gives the rows in parts, in their order: so many streams at a time as are worth it.
pub(super) fn read_parts(
    view: &View,
    ask: &Ask<'_>,
    settings: &Arc<Settings>,
    cost: &mut Cost,
    keep: impl Fn(&Row) -> bool + Sync,
    each: Each<'_>,
) -> Result<Classes, Error> {
    match view.standing(ask.table, ask.known_at, settings)? {
        Some((standing, reader)) => read_standing(view, standing, reader, ask, settings, cost, &keep, each),
        None => read_each(view, ask, settings, None, cost, &keep, each),
    }
}

/// Reads a table at T, stream by stream; where `found` tells which rows may be wanted, no others of the runs.
pub(super) fn read_each(
    view: &View,
    ask: &Ask<'_>,
    settings: &Arc<Settings>,
    found: Option<&Found>,
    cost: &mut Cost,
    keep: &(impl Fn(&Row) -> bool + Sync),
    each: Each<'_>,
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
    on_all_cores(groups.len(), is_begin, cost, some, each)
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

/// So many streams are worth a thread.
const STREAMS_PER_THREAD_MIN: usize = 64;
/// So many streams are read by one thread before their rows are given.
const STREAMS_PER_THREAD_MAX: usize = 1024;

/// Reads a table that stands in one segment.
#[expect(clippy::too_many_arguments, reason = "what is asked, where, and where to")]
fn read_standing(
    view: &View,
    standing: &TableStanding,
    reader: TableReader<'_>,
    ask: &Ask<'_>,
    settings: &Settings,
    cost: &mut Cost,
    keep: &(impl Fn(&Row) -> bool + Sync),
    each: Each<'_>,
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
            let record = directory.record(streams.start);
            if ask.stream.is_some_and(|stream| *directory.name(&record) != *stream) {
                continue;
            }
            if group.is_settled {
                let source = Source::of_run(reader, streams.start);
                reading.settled(&source, directory.host(&record), group.is_assumed, keep)?;
            } else {
                let entries = directory.entries(streams).filter(|stream| stream.record.has_state());
                let keys: Vec<Arc<StreamKey>> = entries.map(|stream| stream.key).collect();
                reading.group(&keys, keep)?;
            }
        }
        Ok((reading.at_t, reading.cost))
    };
    on_all_cores(places.len(), is_begin, cost, some, each)
}

/// Reads so many streams on all cores, where they are worth it, and gives their rows in order; they are cut only where a host
/// begins.
fn on_all_cores(
    streams: usize,
    is_begin: impl Fn(usize) -> bool,
    cost: &mut Cost,
    some: impl Fn(Range<usize>) -> Result<(AtT, Cost), Error> + Sync,
    each: Each<'_>,
) -> Result<Classes, Error> {
    let (mut classes, mut start) = (Classes::default(), 0);
    let begin = |about: usize| (about..streams).find(|&at| at == 0 || is_begin(at)).unwrap_or(streams);
    while start < streams {
        let threads = cores().min((streams - start) / STREAMS_PER_THREAD_MIN).max(1);
        let end = begin((start + threads * STREAMS_PER_THREAD_MAX).min(streams));
        let bound = |thread: usize| begin(start + (end - start) * thread / threads).min(end);
        let chunks: Vec<Range<usize>> = (0..threads).map(|thread| bound(thread)..bound(thread + 1)).collect();
        let parts: Vec<Result<(AtT, Cost), Error>> = std::thread::scope(|scope| {
            let some = &some;
            let others: Vec<_> = chunks[1..].iter().map(|chunk| scope.spawn(move || some(chunk.clone()))).collect();
            let first = some(chunks[0].clone());
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            std::iter::once(first).chain(others.into_iter().map(join)).collect()
        });
        for part in parts {
            let (part, more) = part?;
            cost.add(&more);
            classes.append(part.classes);
            each(part.rows)?;
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

//! Streams of a table, resolved and grouped, so that a question sees at T the one kind that answers for each name.

use super::answer::{Cost, Coverage, Held, UNKNOWN_HOSTS_MAX, Verdict, Version};
use super::indexed::{Found, Which};
use super::live::Listed;
use super::settled::{Settled, Sorter};
use super::source::Source;
use super::standing::TableStanding;
use super::view::{Settings, View};
use crate::agent::inferred_text;
use crate::error::Error;
use crate::fact::{Inferred, Kind, Micros, Name, Second, StreamKey};
use crate::options::cores;
use crate::row::Row;
use crate::segment::TableReader;
use crate::segment::cache::{Cached, Key};
use crate::timeline::resolve::{Span, Timeline};
use crate::timeline::verdict::{Bracket, Class, Judged};
use crate::timeline::{self, AgentHistory};
use std::ops::Range;
use std::sync::Arc;

/// One stream with its timeline.
pub struct Resolved {
    pub(super) key: Arc<StreamKey>,
    pub(super) timeline: Timeline,
    pub(super) rows: Vec<Row>,
    /// What it was worked out from: so many parts, and this of the host's agents.
    parts: u64,
    agent: AgentHistory,
}

impl Resolved {
    /// Roughly the bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        let rows = self.rows.iter().map(|row| size_of::<Row>() + row.as_bytes().len());
        let Timeline { steps, spans, .. } = &self.timeline;
        rows.sum::<usize>() + size_of_val(&**steps) + size_of_val(&**spans) + size_of::<Resolved>()
    }

    /// A version as answers give it.
    pub(super) fn version(&self, span: &Span, count: u64) -> Arc<Version> {
        Arc::new(Version {
            host: self.key.host.clone(),
            stream: self.key.name.clone(),
            row: self.rows[span.row as usize].clone(),
            count,
            from: span.from,
            from_after: self.timeline.look_before(span.from),
            to: span.to,
            to_after: span.to.and_then(|to| self.timeline.look_before(to)),
            start: span.start,
            end: span.end,
            verified: span.verified,
        })
    }

    /// Judged copies as answers give them.
    pub(super) fn held(&self, judged: &Judged<'_>, bracket: &Bracket) -> Held {
        Held {
            version: self.version(judged.span, judged.count),
            verdict: judged.verdict,
            before: bracket.before,
            after: bracket.after,
        }
    }

    /// The row of judged copies.
    pub(super) fn row(&self, judged: &Judged<'_>) -> &Row {
        &self.rows[judged.span.row as usize]
    }
}

/// The agent histories of hosts, each read once.
pub(super) struct Agents<'v> {
    view: &'v View,
    known_at: Micros,
    last: Option<(Name, AgentHistory)>,
}

impl<'v> Agents<'v> {
    pub(super) fn new(view: &'v View, known_at: Micros) -> Agents<'v> {
        Agents { view, known_at, last: None }
    }

    /// As of when.
    pub(super) fn known_at(&self) -> Micros {
        self.known_at
    }

    /// What is known of a host. Hosts asked for in order are read once each.
    pub(super) fn of(&mut self, host: &Name, cost: &mut Cost) -> Result<&AgentHistory, Error> {
        if self.last.as_ref().is_none_or(|(last, _)| last != host) {
            self.last = Some((host.clone(), self.view.agent(host, self.known_at, cost)?));
        }
        match &self.last {
            Some((_, history)) => Ok(history),
            None => unreachable!("it was just put there"),
        }
    }
}

/// The text of the version in force at a stream's last look.
pub(super) fn version_text(agent: &AgentHistory, second: Second, inferred: Option<Inferred>) -> Option<String> {
    match agent.at(second) {
        Some((_, text)) => Some(text.to_owned()),
        None => inferred.map(|inferred| inferred_text(inferred).to_owned()),
    }
}

/// Resolves one stream; `None` if nothing of it is known. A timeline that was worked out before is the same as long as no
/// part was added and nothing else is known of the host's agents.
pub(super) fn resolve(
    view: &View,
    key: &Arc<StreamKey>,
    agents: &mut Agents<'_>,
    cost: &mut Cost,
) -> Result<Option<Arc<Resolved>>, Error> {
    let count = view.count_parts(key, agents.known_at)?;
    let cache_key = Key::of_timeline(key);
    if let (Some(count), Some(Cached::Timeline(known))) = (count, view.cache().get(&cache_key))
        && known.parts == count
        && *known.key == **key
        && known.agent == *agents.of(&key.host, cost)?
    {
        cost.cache_hits += 1;
        return Ok(Some(known));
    }
    let parts = view.parts(key, agents.known_at, cost)?;
    if parts.parts.is_empty() {
        return Ok(None);
    }
    let agent = agents.of(&key.host, cost)?;
    let timeline = if key.sightings || !matches!(key.kind, Kind::Diff | Kind::Snapshot) {
        let mut timeline = Timeline::default();
        for look in timeline::join::join(parts.parts, &parts.rows) {
            timeline.note(look.second, look.recorded, look.inferred);
        }
        timeline
    } else {
        timeline::build(key.kind, parts.parts, &parts.rows, agent)
    };
    cost.streams_resolved += 1;
    if timeline.looks == 0 {
        return Ok(None);
    }
    let (agent, rows) = (agent.clone(), parts.rows);
    let resolved = Arc::new(Resolved { key: key.clone(), timeline, rows, parts: count.unwrap_or_default(), agent });
    if count.is_some() {
        view.cache().put(cache_key, Cached::Timeline(resolved.clone()));
    }
    Ok(Some(resolved))
}

/// The streams of one name on one host that have a state: of kind diff, snapshot, or both.
pub(super) struct Named {
    kinds: Vec<Arc<Resolved>>,
}

impl Named {
    pub(super) fn new(kinds: Vec<Arc<Resolved>>) -> Named {
        Named { kinds }
    }

    /// The kind that answers at T: the one with the newer look at or before T, at a tie the snapshot; where neither has
    /// one, the one with the earlier look after T.
    pub(super) fn at(&self, at: Second) -> Option<(&Resolved, Bracket)> {
        let candidates = self.kinds.iter().map(|resolved| (&**resolved, resolved.timeline.bracket(at)));
        candidates.max_by_key(|(resolved, bracket)| {
            let after = bracket.after.map(std::cmp::Reverse);
            let after = if bracket.before.is_some() { None } else { after };
            (bracket.before, after, resolved.key.kind == Kind::Snapshot)
        })
    }
}

/// The streams of a table that have a state, by host, then name: what is chosen of them.
pub(super) fn streams_with_state(
    view: &View,
    table: &[u8],
    host: Option<&[u8]>,
    stream: Option<&[u8]>,
) -> Result<Vec<Arc<StreamKey>>, Error> {
    let is_chosen = |key: &Arc<StreamKey>| {
        stream.is_none_or(|stream| *key.name == *stream)
            && !key.sightings
            && matches!(key.kind, Kind::Diff | Kind::Snapshot)
    };
    Ok(view.streams_of(table, host)?.into_iter().filter(is_chosen).collect())
}

/// Whether two streams have one name on one host.
pub(super) fn is_one_name(a: &Arc<StreamKey>, b: &Arc<StreamKey>) -> bool {
    (&a.host, &a.name) == (&b.host, &b.name)
}

/// The streams of one name on one host: read where they are, or replayed.
pub(super) enum Member<'v> {
    /// The only one.
    Settled(Source<'v>),
    /// One that no run tells of, or several.
    Replayed(Named),
}

impl<'v> Member<'v> {
    /// Of these streams, which have one name on one host; `None` if nothing of them is known.
    pub(super) fn new(
        view: &'v View,
        keys: &[Arc<StreamKey>],
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Member<'v>>, Error> {
        if let [key] = keys
            && let Some(source) = view.source(key, agents, cost)?
        {
            return Ok(Some(Member::Settled(source)));
        }
        let mut kinds = Vec::new();
        for key in keys {
            kinds.extend(resolve(view, key, agents, cost)?);
        }
        Ok((!kinds.is_empty()).then(|| Member::Replayed(Named::new(kinds))))
    }
}

/// How little a class tells.
pub(super) fn rank(class: &Class) -> u8 {
    match class {
        Class::Covered => 0,
        Class::Presumed => 1,
        Class::Unknown(_) => 2,
    }
}

/// Gathers the classes of hosts for one table, which come in their order.
#[derive(Default)]
pub(super) struct Classes {
    hosts: Vec<(Name, Class, bool)>,
}

impl Classes {
    /// Notes one stream's class: a host has the best of its streams'.
    pub(super) fn note(&mut self, host: &[u8], class: Class, assumed: bool) {
        match self.hosts.last_mut() {
            Some((last, best, any)) if **last == *host => {
                if rank(&class) < rank(best) {
                    *best = class;
                }
                *any |= assumed;
            }
            last => {
                debug_assert!(last.is_none_or(|last| *last.0 < *host));
                self.hosts.push((Name::from(host), class, assumed));
            }
        }
    }

    /// Appends the classes of hosts that follow; the last of these and the first of those may be one.
    fn append(&mut self, others: Classes) {
        let mut others = others.hosts.into_iter();
        if let Some((host, class, assumed)) = others.next() {
            self.note(&host, class, assumed);
        }
        self.hosts.extend(others);
    }

    /// The counts over `hosts` hosts, of which those without a stream have never looked.
    pub(super) fn coverage(self, hosts: u64) -> Coverage {
        let never = hosts.saturating_sub(self.hosts.len() as u64);
        let mut coverage = Coverage { never, ..Coverage::default() };
        for (host, class, assumed) in self.hosts {
            coverage.assumed += u64::from(assumed);
            match class {
                Class::Covered => coverage.covered += 1,
                Class::Presumed => coverage.presumed += 1,
                Class::Unknown(cause) => {
                    coverage.unknown += 1;
                    if coverage.unknown_hosts.len() < UNKNOWN_HOSTS_MAX {
                        coverage.unknown_hosts.push((host, cause));
                    }
                }
            }
        }
        coverage
    }

    /// How many hosts were noted.
    pub(super) fn hosts(&self) -> u64 {
        self.hosts.len() as u64
    }

    /// The class of a host; `None` if it never looked.
    pub(super) fn of(&self, host: &[u8]) -> Option<Class> {
        let at = self.hosts.binary_search_by(|(other, ..)| (**other).cmp(host)).ok()?;
        Some(self.hosts[at].1)
    }
}

/// The rows of a table at T that `keep` wants, with the classes of the hosts.
pub(super) struct AtT {
    pub(super) rows: Vec<Held>,
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
}

/// Takes rows of an answer, in their order.
pub(super) type Each<'e> = &'e mut dyn FnMut(Vec<Held>) -> Result<(), Error>;

/// Reads a table at T; the rows come by host, stream, row, from, verdict.
pub(super) fn read_at(
    view: &View,
    ask: &Ask<'_>,
    settings: &Arc<Settings>,
    cost: &mut Cost,
    keep: impl Fn(&[u8]) -> bool + Sync,
) -> Result<AtT, Error> {
    collect(|each| read_parts(view, ask, settings, cost, keep, each))
}

/// Puts together what is read in parts.
pub(super) fn collect(read: impl FnOnce(Each<'_>) -> Result<Classes, Error>) -> Result<AtT, Error> {
    let mut rows = Vec::new();
    let classes = read(&mut |part| {
        if rows.is_empty() {
            rows = part
        } else {
            rows.extend(part)
        }
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
    keep: impl Fn(&[u8]) -> bool + Sync,
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
    keep: &(impl Fn(&[u8]) -> bool + Sync),
    each: Each<'_>,
) -> Result<Classes, Error> {
    if let Some(groups) = view.list_live(ask, settings, cost)? {
        let is_begin = |at: usize| groups[at].keys[0].host != groups[at - 1].keys[0].host;
        let some = |places: Range<usize>| {
            let mut reading = ReadingAt::new(view, ask, settings, found);
            for Listed { keys, is_assumed, source } in &groups[places] {
                match source {
                    Some(source) => reading.settled(source, &keys[0].host, *is_assumed, keep)?,
                    None => reading.group(keys, keep)?,
                }
            }
            Ok((reading.at_t, reading.cost))
        };
        return on_all_cores(groups.len(), is_begin, cost, some, each);
    }
    let keys = streams_with_state(view, ask.table, ask.host, ask.stream)?;
    let groups: Vec<&[Arc<StreamKey>]> = keys.chunk_by(is_one_name).collect();
    let is_begin = |at: usize| groups[at][0].host != groups[at - 1][0].host;
    let some = |places: Range<usize>| {
        let mut reading = ReadingAt::new(view, ask, settings, found);
        for keys in &groups[places] {
            reading.group(keys, keep)?;
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
        let at_t = AtT { rows: Vec::new(), classes: Classes::default() };
        let (agents, sorter, cost) = (Agents::new(view, ask.known_at), Sorter::default(), Cost::default());
        ReadingAt { view, ask, settings, found, agents, sorter, at_t, cost }
    }

    /// The streams of one name on one host.
    fn group(&mut self, keys: &[Arc<StreamKey>], keep: &impl Fn(&[u8]) -> bool) -> Result<(), Error> {
        let Some(first) = keys.first() else { return Ok(()) };
        let (host, name) = (&first.host, &first.name);
        match Member::new(self.view, keys, &mut self.agents, &mut self.cost)? {
            None => {}
            Some(Member::Replayed(named)) => self.at_t.note(self.ask, self.settings, host, name, &named, keep),
            Some(Member::Settled(source)) => self.settled(&source, host, self.settings.mapping(name).assumed, keep)?,
        }
        Ok(())
    }

    /// A settled stream.
    fn settled(
        &mut self,
        source: &Source<'_>,
        host: &[u8],
        is_assumed: bool,
        keep: &impl Fn(&[u8]) -> bool,
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
            return stream.held(ask.with_after, keep, sorter, rows, cost);
        };
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
        settings: &Settings,
        host: &[u8],
        name: &[u8],
        named: &Named,
        keep: &impl Fn(&[u8]) -> bool,
    ) {
        let Some((resolved, bracket)) = named.at(ask.at) else {
            return;
        };
        self.classes.note(host, resolved.timeline.class(&bracket), settings.mapping(name).assumed);
        let mut judged = resolved.timeline.held(&bracket);
        if ask.with_after {
            judged.extend(resolved.timeline.only_after(&bracket));
        }
        let start = self.rows.len();
        let kept = judged.iter().filter(|judged| keep(resolved.row(judged).as_bytes()));
        self.rows.extend(kept.map(|judged| resolved.held(judged, &bracket)));
        sort_held(&mut self.rows[start..], false);
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
    keep: &(impl Fn(&[u8]) -> bool + Sync),
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

//! The questions about rows: `state`, `who`, `history`, `diff`.

use super::answer::{Change, Cost, Coverage, Diff, Event, Held, History, HistoryRow, State, Who};
use super::at::{Ask, Taking, collect, read_each, read_parts, sort_held};
use super::indexed::{Found, Sought, coverage, read_indexed};
use super::matching::fits;
use super::question::{DiffQuestion, HistoryQuestion, QuestionFault, StateQuestion, Subject, Where, WhoQuestion};
use super::resolved::{Agents, Member, Named, is_one_name, resolve, streams_with_state};
use super::rows::Rows;
use super::settled::Settled;
use super::source::Source;
use super::told::Settings;
use super::view::View;
use crate::error::{Error, Misuse};
use crate::fact::{Kind, Micros, Name, Second, StreamKey};
use crate::row::{self, Row};
use crate::segment::TableReader;
use crate::segment::cache::Cache;
use crate::segment::directory::StreamRecord;
use crate::segment::run::open::Entry;
use crate::timeline::{event_time, join};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Refuses questions about a state that does not exist.
fn has_state(
    view: &View,
    table: &Name,
    stream: Option<&Name>,
    settings: &Settings,
    known_at: Micros,
    cost: &mut Cost,
) -> Result<(), Error> {
    let fault = |fault| Err(Misuse::Question(fault).into());
    if settings.catalogue.is_evented(table) {
        return fault(QuestionFault::Evented { table: table.clone() });
    }
    if !view.has_sightings(table)? {
        return Ok(());
    }
    let streams = view.streams_of(table, None)?;
    let mut has = |key: &Arc<StreamKey>| view.has_parts(key, known_at, cost);
    let mut sightings = Vec::new();
    let mut others = 0;
    for key in &streams {
        if stream.is_some_and(|stream| key.name != *stream) || !has(key)? {
            continue;
        }
        if key.sightings { sightings.push(key.name.clone()) } else { others += 1 }
    }
    match sightings.first() {
        Some(name) if stream.is_some() || others == 0 => fault(QuestionFault::Sightings { stream: name.clone() }),
        _ => Ok(()),
    }
}

/// Rows that are in memory at once, about, where they are told in parts: versions of some streams …
const ROWS_AT_ONCE: usize = 1 << 14;
/// … at most so many, and the others of the last one's host …
const STREAMS_AT_ONCE_MAX: usize = 1 << 10;
/// … events of some seconds, at first so many.
const EVENT_SECONDS: Second = 3600;

/// A history while it is told.
struct Telling<'v, 'q> {
    view: &'v View,
    q: &'q HistoryQuestion,
    bound: Micros,
    settings: Arc<Settings>,
    agents: Agents<'v>,
    cost: Cost,
}

impl<'v, 'q> Telling<'v, 'q> {
    fn new(view: &'v View, q: &'q HistoryQuestion) -> Result<Telling<'v, 'q>, Error> {
        let (mut cost, bound) = (Cost::default(), view.bound(q.known_at));
        let settings = view.settings(bound, &mut cost)?;
        Ok(Telling { view, q, bound, settings, agents: Agents::new(view, bound), cost })
    }

    /// The streams that are asked for, in order.
    fn keys(&self) -> Result<Vec<Arc<StreamKey>>, Error> {
        let HistoryQuestion { table, host, stream, .. } = self.q;
        let all = self.view.streams_of(table, host.as_deref())?;
        Ok(all.into_iter().filter(|key| stream.as_ref().is_none_or(|stream| key.name == *stream)).collect())
    }

    /// The rows of some streams in a span, in order.
    fn rows(
        &mut self,
        keys: &[Arc<StreamKey>],
        (from, to): (Option<Second>, Option<Second>),
    ) -> Result<Vec<HistoryRow>, Error> {
        let Telling { view, q, bound, settings, agents, cost } = self;
        let mut rows: Vec<HistoryRow> = Vec::new();
        let mut is_in_order = true;
        let wanted = |row: &Row| fits(row, &q.table, &q.wheres, &settings.catalogue);
        for key in keys {
            let settled = view.settled(key, *bound, settings)?;
            if key.sightings || key.kind == Kind::Event {
                let span = (from.unwrap_or(Second::MIN), to.unwrap_or(Second::MAX));
                let events = match settled {
                    Some(run) => events_of_run(run.reader, &run.record, view.cache(), span, wanted, cost)?,
                    None => {
                        is_in_order = false;
                        view.events(key, *bound, span, wanted, cost)?
                    }
                };
                is_in_order &= rows.is_empty();
                rows.extend(added_up(events));
                continue;
            }
            is_in_order = false;
            let source = match settled {
                Some(run) => Some(Source::of(run)),
                None => view.source(key, agents, cost)?,
            };
            if let Some(source) = source {
                versions_of_settled(&source, view.cache(), (from, to), wanted, &mut rows, cost)?;
                continue;
            }
            let Some(resolved) = resolve(view, key, agents, cost)? else {
                continue;
            };
            for span in &resolved.timeline.spans {
                let begins = to.is_none_or(|to| span.from < to);
                let ends = match (from, span.to) {
                    (None, _) | (_, None) => true,
                    (Some(from), Some(to)) => from < to || (span.from == to && from <= to),
                };
                if begins && ends && wanted(&resolved.rows[span.row as usize]) {
                    rows.push(HistoryRow::Version(resolved.version(span, span.count)));
                }
            }
        }
        if !is_in_order && !rows.is_sorted_by(|a, b| history_order(a, b).is_le()) {
            rows.sort_by(history_order);
        }
        Ok(rows)
    }

    /// The whole.
    fn history(self, rows: Vec<HistoryRow>) -> History {
        let HistoryQuestion { table, from, to, known_at, .. } = self.q;
        let known_at = known_at.or(self.view.last_recorded());
        History { table: table.clone(), from: *from, to: *to, known_at, rows, cost: self.cost }
    }
}

impl View {
    /// The rows of a table at T.
    pub fn state(&self, q: &StateQuestion) -> Result<State, Error> {
        let mut rows = Rows::default();
        let state = self.state_in_parts(q, |part| {
            rows.append(part);
            Ok(())
        })?;
        Ok(State { rows: rows.into_held(), ..state })
    }

    /// The same, with the rows given in parts, in their order, so that few are in memory at a time; the answer has none.
    /// Nothing is locked while `each` has them, however long that takes.
    pub fn state_in_parts(
        &self,
        q: &StateQuestion,
        each: impl FnMut(Rows) -> Result<(), Error>,
    ) -> Result<State, Error> {
        self.state_made(q, |rows| rows, each)
    }

    /// The same, with each part given to `make` by the thread that read it, while others read on; what it makes of them is
    /// given to `each`, in their order.
    pub fn state_made<P: Send>(
        &self,
        q: &StateQuestion,
        make: impl Fn(Rows) -> P + Sync,
        mut each: impl FnMut(P) -> Result<(), Error>,
    ) -> Result<State, Error> {
        let mut cost = Cost::default();
        let bound = self.bound(q.known_at);
        let settings = self.settings(bound, &mut cost)?;
        has_state(self, &q.table, q.stream.as_ref(), &settings, bound, &mut cost)?;
        let ask = Ask {
            table: &q.table,
            at: q.at,
            host: q.host.as_deref(),
            stream: q.stream.as_deref(),
            known_at: bound,
            with_after: false,
            is_all: q.wheres.is_empty(),
        };
        let keep = |row: &Row| fits(row, &q.table, &q.wheres, &settings.catalogue);
        let coverage = match self.most_telling(&q.table, &q.wheres, bound, &settings)? {
            Some(Where { column, text }) => {
                let sought = Sought::wanted(settings.catalogue.is_number(&q.table, column), text);
                let (rows, coverage) = self.read_by_value(&ask, column, sought, &settings, &mut cost, keep)?;
                each(make(rows.into()))?;
                coverage
            }
            None => {
                let taking = Taking { map: &make, each: &mut each };
                let classes = read_parts(self, &ask, &settings, &mut cost, keep, taking)?;
                let hosts = match &q.stream {
                    Some(_) => classes.hosts(),
                    None => self.count_hosts(ask.host, bound, &mut cost)?,
                };
                classes.coverage(hosts)
            }
        };
        let known_at = q.known_at.or(self.last_recorded());
        Ok(State { table: q.table.clone(), at: q.at, known_at, rows: Vec::new(), coverage, cost })
    }

    /// Every candidate for who had an address or a uid at T.
    pub fn who(&self, q: &WhoQuestion) -> Result<Who, Error> {
        let mut cost = Cost::default();
        let bound = self.bound(q.known_at);
        let settings = self.settings(bound, &mut cost)?;
        let (table, word, asked): (&[u8], &str, &Name) = match &q.subject {
            Subject::Ip(address) => (b"interface_addresses", "ip", address),
            Subject::Uid(uid) => (b"users", "uid", uid),
        };
        let (column, sought) = match &q.subject {
            Subject::Ip(address) => (&b"address"[..], Sought::Address(address)),
            Subject::Uid(uid) => (&b"uid"[..], Sought::Number(uid)),
        };
        let ask = Ask {
            table,
            at: q.at,
            host: q.host.as_deref(),
            stream: None,
            known_at: bound,
            with_after: true,
            is_all: false,
        };
        let (mut rows, coverage) = self.read_by_value(&ask, column, sought, &settings, &mut cost, |_| true)?;
        if rows.len() > 1 {
            sort_held(&mut rows, true);
        }
        let asked = String::from_utf8_lossy(asked);
        let mut question = String::with_capacity("who ip ".len() + 1 + asked.len());
        ["who ", word, " ", &asked].into_iter().for_each(|part| question.push_str(part));
        let known_at = q.known_at.or(self.last_recorded());
        Ok(Who { question, at: q.at, known_at, rows, coverage, cost })
    }

    /// The first condition on a column that has an index, or else the first.
    fn most_telling<'q>(
        &self,
        table: &[u8],
        wheres: &'q [Where],
        known_at: Micros,
        settings: &Settings,
    ) -> Result<Option<&'q Where>, Error> {
        if wheres.len() > 1
            && let Some((_, reader)) = self.standing(table, known_at, settings)?
        {
            let is_indexed = |condition: &&Where| reader.has_index(&condition.column);
            return Ok(wheres.iter().find(is_indexed).or(wheres.first()));
        }
        Ok(wheres.first())
    }

    /// The rows of a table at T that have a value in a column and are wanted besides, and who can speak.
    pub(super) fn read_by_value(
        &self,
        ask: &Ask<'_>,
        column: &[u8],
        sought: Sought<'_>,
        settings: &Arc<Settings>,
        cost: &mut Cost,
        besides: impl Fn(&Row) -> bool + Sync,
    ) -> Result<(Vec<Held>, Coverage), Error> {
        if let Some((standing, reader)) = self.standing(ask.table, ask.known_at, settings)?
            && standing.is_plain
            && let Some(index) = reader.index(column, self.cache(), cost)?
        {
            cost.segments_touched += 1;
            let rows =
                read_indexed(reader, self.cache(), column, index.borrow_dependent(), sought, ask, cost, besides)?;
            let hosts = self.count_hosts(ask.host, ask.known_at, cost)?;
            let coverage = coverage(standing, reader, self.cache(), ask, hosts, cost)?;
            return Ok((rows, coverage));
        }
        if let Some(found) = self.read_live(ask, column, sought, settings, cost, &besides)? {
            return Ok(found);
        }
        let keep = |row: &Row| sought.is_in(row, column) && besides(row);
        let named = Found::new(self, column, sought, ask, cost)?;
        let found = collect(|taking| read_each(self, ask, settings, Some(&named), cost, &keep, taking))?;
        let hosts = match ask.stream {
            Some(_) => found.classes.hosts(),
            None => self.count_hosts(ask.host, ask.known_at, cost)?,
        };
        Ok((found.rows.into_held(), found.classes.coverage(hosts)))
    }

    /// The versions, or events, of a table in a span.
    pub fn history(&self, q: &HistoryQuestion) -> Result<History, Error> {
        let mut telling = Telling::new(self, q)?;
        let keys = telling.keys()?;
        let rows = telling.rows(&keys, (q.from, q.to))?;
        Ok(telling.history(rows))
    }

    /// The same, with the rows given in parts, in their order, so that few are in memory at a time; the answer has none.
    /// Nothing is locked while `each` has them, however long that takes.
    ///
    /// Versions come by host, some hosts at a time; events by time, some seconds at a time.
    pub fn history_in_parts(
        &self,
        q: &HistoryQuestion,
        mut each: impl FnMut(Vec<HistoryRow>) -> Result<(), Error>,
    ) -> Result<History, Error> {
        let mut telling = Telling::new(self, q)?;
        let (of_state, of_events): (Vec<_>, Vec<_>) = telling.keys()?.into_iter().partition(|key| key.has_state());
        let (mut rest, mut streams) = (&of_state[..], 1);
        while let Some(last) = rest.get(streams.min(rest.len()).saturating_sub(1)) {
            // The streams of a host stay together.
            let end = rest.partition_point(|key| key.host <= last.host);
            let rows = telling.rows(&rest[..end], (q.from, q.to))?;
            rest = &rest[end..];
            streams = if rows.len() > ROWS_AT_ONCE { streams / 2 } else { streams * 2 }.clamp(1, STREAMS_AT_ONCE_MAX);
            if !rows.is_empty() {
                each(rows)?;
            }
        }
        let mut extent: Option<(Second, Second)> = None;
        for key in &of_events {
            let more = self.extent(key, Micros::MAX)?;
            extent = extent.into_iter().chain(more).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        }
        let Some((first, last)) = extent else { return Ok(telling.history(Vec::new())) };
        // Events may have happened before the first look, and after the last by a wrong clock.
        let (mut from, mut to, mut width) = (q.from, first, EVENT_SECONDS);
        loop {
            let is_last = to > last || q.to.is_some_and(|end| end <= to);
            let until = if is_last { q.to } else { Some(to) };
            if from.zip(until).is_none_or(|(from, until)| from < until) {
                let rows = telling.rows(&of_events, (from, until))?;
                if rows.len() > ROWS_AT_ONCE {
                    width = (width / 2).max(1);
                } else if rows.len() < ROWS_AT_ONCE / 4 {
                    width = width.saturating_mul(2);
                }
                if !rows.is_empty() {
                    each(rows)?;
                }
                from = until;
            }
            if is_last {
                return Ok(telling.history(Vec::new()));
            }
            to = to.max(q.from.unwrap_or(to)).saturating_add(width);
        }
    }

    /// The events, or sightings, of a stream within a span that are wanted, each with its time.
    fn events(
        &self,
        key: &Arc<StreamKey>,
        known_at: Micros,
        span: (Second, Second),
        wanted: impl Fn(&Row) -> bool,
        cost: &mut Cost,
    ) -> Result<Vec<(Second, Arc<Event>)>, Error> {
        let run = self.run_of_events(key, known_at)?;
        let parts = match &run {
            Some(run) => self.parts_beyond(key, Some(run.reader.segment.number()), known_at, cost)?,
            None => self.parts(key, known_at, cost)?,
        };
        let rows = parts.rows;
        let mut events: BTreeMap<(Second, u32), (u64, Second)> = BTreeMap::new();
        for look in join::join(parts.parts, &rows) {
            for &(row, count) in &look.added {
                let time = if key.sightings { None } else { event_time(rows[row as usize].as_bytes()) };
                let time = time.unwrap_or(look.second);
                if time < span.0 || span.1 <= time {
                    continue;
                }
                let event = events.entry((time, row)).or_insert((0, look.second));
                event.0 = event.0.saturating_add(count);
                event.1 = event.1.min(look.second);
            }
        }
        let event = |((time, row), (count, seen))| Event {
            host: key.host.clone(),
            stream: key.name.clone(),
            time,
            seen,
            row: rows[row as usize].clone(),
            count,
        };
        let events = events.into_iter().map(event).filter(|event| wanted(&event.row));
        let events = events.map(|event| (event.time, Arc::new(event)));
        let Some(run) = run else {
            return Ok(events.collect());
        };
        let mut all = events_of_run(run.reader, &run.record, self.cache(), span, &wanted, cost)?;
        all.extend(events);
        Ok(all)
    }

    /// The net difference between the states of a host's table at two times.
    pub fn diff(&self, q: &DiffQuestion) -> Result<Diff, Error> {
        let mut cost = Cost::default();
        let bound = self.bound(q.known_at);
        let settings = self.settings(bound, &mut cost)?;
        if q.from > q.to {
            return Err(Misuse::Question(QuestionFault::TimesReversed { from: q.from, to: q.to }).into());
        }
        has_state(self, &q.table, q.stream.as_ref(), &settings, bound, &mut cost)?;
        let mut rows = Vec::new();
        let (host, stream) = (Some(&*q.host), q.stream.as_deref());
        let standing = match self.standing(&q.table, bound, &settings)? {
            Some((standing, reader)) => standing.settled_of_host(reader, &q.host).map(|groups| (reader, groups)),
            None => None,
        };
        if let Some((reader, groups)) = standing {
            cost.segments_touched += u64::from(!groups.is_empty());
            for group in groups {
                if stream.is_none_or(|stream| *reader.directory.name(&group.first) == *stream) {
                    let source = Source::of(group.run(reader));
                    diff_of_settled(&source, self.cache(), (q.from, q.to), &mut rows, &mut cost)?;
                }
            }
        } else {
            let mut agents = Agents::new(self, bound);
            for keys in streams_with_state(self, &q.table, host, stream)?.chunk_by(is_one_name) {
                match Member::new(self, keys, &mut agents, &mut cost)? {
                    None => {}
                    Some(Member::Settled(source)) => {
                        diff_of_settled(&source, self.cache(), (q.from, q.to), &mut rows, &mut cost)?;
                    }
                    Some(Member::Replayed(named)) => {
                        let (host, name) = (&keys[0].host, &keys[0].name);
                        diff_of_named(&named, (host, name), (q.from, q.to), &mut rows);
                    }
                }
            }
        }
        let known_at = q.known_at.or(self.last_recorded());
        let (table, host) = (q.table.clone(), q.host.clone());
        Ok(Diff { table, host, from: q.from, to: q.to, known_at, rows, cost })
    }
}

/// The net difference of the streams of one name on one host between two times, replayed.
fn diff_of_named(named: &Named, (host, name): (&Name, &Name), (from, to): (Second, Second), out: &mut Vec<Change>) {
    let (Some(a), Some(b)) = (named.at(from), named.at(to)) else {
        return;
    };
    let verdict_from = a.0.timeline.class(&a.1).verdict();
    let verdict_to = b.0.timeline.class(&b.1).verdict();
    let mut net: BTreeMap<&Row, (u64, u64)> = BTreeMap::new();
    for judged in a.0.timeline.held(&a.1) {
        net.entry(a.0.row(&judged)).or_default().0 += judged.count;
    }
    for judged in b.0.timeline.held(&b.1) {
        net.entry(b.0.row(&judged)).or_default().1 += judged.count;
    }
    for (row, (before, after)) in net.into_iter().filter(|(_, (before, after))| before != after) {
        out.push(Change {
            host: host.clone(),
            stream: name.clone(),
            added: after > before,
            row: row.clone(),
            count: after.abs_diff(before),
            verdict_from,
            verdict_to,
        });
    }
}

/// The versions of a settled stream that overlap a span and are wanted.
fn versions_of_settled(
    source: &Source<'_>,
    cache: &Cache,
    (from, to): (Option<Second>, Option<Second>),
    wanted: impl Fn(&Row) -> bool,
    out: &mut Vec<HistoryRow>,
    cost: &mut Cost,
) -> Result<(), Error> {
    let mut settled = Settled::new(source, cache, from.unwrap_or(Second::MIN), cost)?;
    settled.each_around((from, to), cost, |entry, _| {
        // A span of no second overlaps what holds on both sides of it, and not what begins there.
        let begins = to.is_none_or(|to| entry.from < to);
        // What was there for no second overlaps what begins with it.
        let ends = from.is_none_or(|from| from < entry.to || entry.from == entry.to && from <= entry.to);
        if begins && ends && wanted(entry.row()) {
            out.push(entry.given.clone());
        }
        Ok(())
    })
}

/// The events of a run within a span that are wanted, each with its time.
fn events_of_run(
    reader: TableReader<'_>,
    stream: &StreamRecord,
    cache: &Cache,
    span: (Second, Second),
    wanted: impl Fn(&Row) -> bool,
    cost: &mut Cost,
) -> Result<Vec<(Second, Arc<Event>)>, Error> {
    cost.segments_touched += 1;
    let mut events = Vec::new();
    reader.run(stream, Some(cache)).events_in(span, cost, |entry, _| {
        if let HistoryRow::Event(event) = &entry.given
            && wanted(&event.row)
        {
            events.push((entry.to, event.clone()));
        }
        Ok(())
    })?;
    Ok(events)
}

/// Events of a stream, each with its time, in order; equal ones of one time add up.
fn added_up(mut events: Vec<(Second, Arc<Event>)>) -> impl Iterator<Item = HistoryRow> {
    // Rows are looked at only of those of one time.
    let order = |(a_time, a): &(Second, Arc<Event>), (b_time, b): &(Second, Arc<Event>)| {
        a_time.cmp(b_time).then_with(|| a.row.cmp(&b.row))
    };
    // Often they lie in this order already, and none comes twice.
    if !events.is_sorted_by(|a, b| order(a, b).is_lt()) {
        events.sort_by(order);
        events.dedup_by(|(next_time, next), (time, first)| {
            let same = next_time == time && next.row == first.row;
            if same {
                let first = Arc::make_mut(first);
                first.count = first.count.saturating_add(next.count);
                first.seen = first.seen.min(next.seen);
            }
            same
        });
    }
    events.into_iter().map(|(_, event)| HistoryRow::Event(event))
}

/// The net difference of a settled stream between two times: of the versions alive at both nothing is read but that
/// they are.
fn diff_of_settled(
    source: &Source<'_>,
    cache: &Cache,
    (from, to): (Second, Second),
    out: &mut Vec<Change>,
    cost: &mut Cost,
) -> Result<(), Error> {
    let mut settled = Settled::new(source, cache, from, cost)?;
    let (verdict_from, before) = (settled.class().verdict(), settled.alive(cost)?);
    settled.move_to(to, cost)?;
    let (verdict_to, after) = (settled.class().verdict(), settled.alive(cost)?);
    // What is on one side only, and on which.
    let mut changed: Vec<(Entry, bool)> = Vec::new();
    for (of, others, is_after) in [(&before, &after, false), (&after, &before, true)] {
        let is_alone = |ordinal: &usize| others.binary_search(ordinal).is_err();
        let alone: Vec<usize> = of.iter().copied().filter(is_alone).collect();
        settled.each_of(&alone, cost, |entry, _| {
            changed.push((entry.clone(), is_after));
            Ok(())
        })?;
    }
    let mut order: Vec<u32> = (0..changed.len() as u32).collect();
    let of = |place: u32| &changed[place as usize];
    row::Sorter::default().sort(&mut order, |place| of(place).0.row().as_bytes());
    for same in order.chunk_by(|&a, &b| of(a).0.row() == of(b).0.row()) {
        let count = |side: bool| {
            let of_side = same.iter().map(|&place| of(place)).filter(|(_, is_after)| *is_after == side);
            of_side.filter_map(|(entry, _)| entry.version()).map(|version| version.count).sum::<u64>()
        };
        let (before, after) = (count(false), count(true));
        let Some(version) = of(same[0]).0.version().filter(|_| before != after) else {
            continue;
        };
        out.push(Change {
            host: version.host.clone(),
            stream: version.stream.clone(),
            added: after > before,
            row: version.row.clone(),
            count: after.abs_diff(before),
            verdict_from,
            verdict_to,
        });
    }
    Ok(())
}

/// Versions by host, stream, row, from; events by time, host, stream, row; versions before events.
fn history_order(a: &HistoryRow, b: &HistoryRow) -> Ordering {
    match (a, b) {
        (HistoryRow::Version(a), HistoryRow::Version(b)) => {
            let key = |v: &super::answer::Version| (v.from, v.to.is_none(), v.to, !v.verified);
            (&a.host, &a.stream, &a.row).cmp(&(&b.host, &b.stream, &b.row)).then_with(|| key(a).cmp(&key(b)))
        }
        (HistoryRow::Event(a), HistoryRow::Event(b)) => {
            (a.time, &a.host, &a.stream, &a.row).cmp(&(b.time, &b.host, &b.stream, &b.row))
        }
        (HistoryRow::Version(_), HistoryRow::Event(_)) => Ordering::Less,
        (HistoryRow::Event(_), HistoryRow::Version(_)) => Ordering::Greater,
    }
}

/// The rows among `held` that a predicate wants.
pub(super) fn those(held: &[Held], wanted: impl Fn(&Row) -> bool) -> Vec<Held> {
    held.iter().filter(|held| wanted(&held.version.row)).cloned().collect()
}

//! Where a stream is read from without replaying it: the run that a merge made, what came after it, or both.
//!
//! Invariants:
//! - What a source gives is what the timeline of all parts that count would say; where that is not sure there is none.
//! - Of a stream's parts beyond its run each is walked once, however many questions are asked.

use super::answer::Cost;
use super::resolved::Agents;
use super::tail::{Base, Seen, Tail};
use super::view::{Parts, View};
use crate::error::Error;
use crate::fact::{Kind, Micros, Second, StreamKey};
use crate::note;
use crate::segment::TableReader;
use crate::segment::cache::{Cached, Key};
use crate::segment::directory::StreamRecord;
use crate::timeline::regular::{Agent, LastLook};
use rustc_hash::FxHashSet;
use std::sync::Arc;

/// A stream that a segment keeps as a run.
#[derive(Clone)]
pub(super) struct RunAt<'v> {
    pub(super) reader: TableReader<'v>,
    /// Its place in the directory.
    pub(super) place: usize,
    pub(super) record: StreamRecord,
}

/// What a stream is read from; never nothing.
#[derive(Clone)]
pub(super) struct Source<'v> {
    pub(super) run: Option<RunAt<'v>>,
    pub(super) tail: Option<Seen>,
    /// Whether it is one only by what is known of the host's agent.
    pub(super) needs_agent: bool,
}

impl<'v> RunAt<'v> {
    pub(super) fn new(reader: TableReader<'v>, place: usize) -> RunAt<'v> {
        RunAt { reader, place, record: reader.directory.record(place) }
    }

    fn extent(&self) -> (Second, Second) {
        self.reader.directory.extent(&self.record)
    }

    fn parts(&self) -> u64 {
        let pieces = self.reader.directory.pieces_at(self.record.pieces.clone());
        pieces.parts_before(pieces.len()) as u64
    }
}

impl<'v> Source<'v> {
    /// A run that is all there is of its stream.
    pub(super) fn of(run: RunAt<'v>) -> Source<'v> {
        Source { run: Some(run), tail: None, needs_agent: false }
    }

    /// Whether it has a run that tells what facts mean, so that a version may not be judged by itself.
    pub(super) fn is_resolved(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.record.is_resolved())
    }

    /// The seconds of the first and the last look.
    pub(super) fn extent(&self) -> (Second, Second) {
        let of_run = self.run.as_ref().map(RunAt::extent);
        let tail = self.tail.as_ref().map(Seen::read);
        let seconds = tail.as_ref().map_or(&[][..], |tail| tail.seconds());
        let of_tail = seconds.first().zip(seconds.last()).map(|(&first, &last)| (first, last));
        match (of_run, of_tail) {
            (Some((first, _)), Some((_, last))) => (first, last),
            (one, other) => one.or(other).unwrap_or((Second::MAX, Second::MIN)),
        }
    }
}

impl View {
    /// Where a stream with a state is read from; `None` if it must be replayed, or nothing of it is known.
    pub(super) fn source(
        &self,
        key: &Arc<StreamKey>,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Source<'_>>, Error> {
        if !key.has_state() {
            return Ok(None);
        }
        let known_at = agents.known_at();
        let (run, others) = self.run_of(key)?;
        if run.as_ref().is_some_and(|run| run.reader.segment.footer().recorded.1 > known_at) {
            return Ok(None);
        }
        // A merge would have made a run of what is regular from its beginning.
        if run.is_none() && others.iter().any(|other| other.reader.directory.dictionary != 0) {
            return Ok(None);
        }
        let in_segments = others.iter().map(RunAt::parts).sum::<u64>();
        let beyond = in_segments + self.parts_in_memory(key);
        let last = run.as_ref().map(|run| run.extent().1);
        if others.iter().any(|other| last.is_some_and(|last| other.extent().0 <= last)) {
            return Ok(None);
        }
        let mut agent = run.as_ref().map_or(Agent::default(), |run| run.record.agent);
        let mut tail = None;
        if beyond > 0 {
            let found = self.tail(key, run.as_ref(), beyond, in_segments, cost)?;
            let Some((seen, of_tail)) = found.see(known_at) else {
                return Ok(None);
            };
            agent = agent.and(of_tail);
            tail = Some(seen);
        }
        if run.is_none() && tail.is_none() || !self.agent_fits(key, agent, run.as_ref(), agents, cost)? {
            return Ok(None);
        }
        cost.segments_touched += u64::from(run.is_some());
        let source = Source { run, tail, needs_agent: !agent.is_any() };
        Ok(Some(Source { needs_agent: source.needs_agent || source.is_resolved(), ..source }))
    }

    /// The run that is earlier than all else of a stream of events, if there is one and all of it counts.
    pub(super) fn run_of_events(&self, key: &Arc<StreamKey>, known_at: Micros) -> Result<Option<RunAt<'_>>, Error> {
        if key.kind != Kind::Event {
            return Ok(None);
        }
        let (run, others) = self.run_of(key)?;
        let is_first = |run: &RunAt<'_>| {
            let last = run.extent().1;
            run.reader.segment.footer().recorded.1 <= known_at
                && others.iter().all(|other| last < other.extent().0)
                && self.first_in_memory(key).is_none_or(|first| last < first)
        };
        Ok(run.filter(is_first))
    }

    /// The earliest run of a stream, and what other segments have of it.
    fn run_of(&self, key: &StreamKey) -> Result<(Option<RunAt<'_>>, Vec<RunAt<'_>>), Error> {
        let mut run: Option<RunAt<'_>> = None;
        let mut others = Vec::new();
        for segment in self.segments() {
            let Some(reader) = segment.table(&key.table)? else { continue };
            let Some(place) = reader.directory.place(key) else { continue };
            let found = RunAt::new(reader, place);
            let is_earlier = run.as_ref().is_none_or(|run| found.extent() < run.extent());
            if found.record.run().is_some() && is_earlier {
                others.extend(run.replace(found));
            } else {
                others.push(found);
            }
        }
        Ok((run, others))
    }

    /// How many parts of a stream there are; `None` if some were recorded after `known_at`, so that they do not all count.
    pub(super) fn count_parts(&self, key: &Arc<StreamKey>, known_at: Micros) -> Result<Option<u64>, Error> {
        let Some(in_memory) = self.parts_in_memory_by(key, known_at).filter(|_| self.counts_segments(known_at)) else {
            return Ok(None);
        };
        let (run, others) = self.run_of(key)?;
        Ok(Some(run.iter().chain(&others).map(RunAt::parts).sum::<u64>() + in_memory))
    }

    /// Whether what must hold of a host's agent does.
    fn agent_fits(
        &self,
        key: &StreamKey,
        agent: Agent,
        run: Option<&RunAt<'_>>,
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<bool, Error> {
        if let Some(run) = run.filter(|run| run.record.is_resolved()) {
            // What its facts mean was worked out by the notes of agents in its segment; what follows is as regular as ever.
            let is_same = !self.has_notes_beyond(run.reader.segment.number(), &key.host)?;
            return Ok(is_same && (agent.is_any() || agent.fits(agents.of(&key.host, cost)?)));
        }
        if agent.is_any() {
            return Ok(true);
        }
        // The segment tells what follows from the notes of agents in it.
        if let Some(run) = run.filter(|run| run.record.fits && run.record.agent == agent)
            && !self.has_notes_beyond(run.reader.segment.number(), &key.host)?
        {
            return Ok(true);
        }
        Ok(agent.fits(agents.of(&key.host, cost)?))
    }

    /// Whether anything but one segment tells of a host's agent.
    fn has_notes_beyond(&self, segment: u64, host: &[u8]) -> Result<bool, Error> {
        for table in [note::GIVEN, note::VERSION] {
            for other in self.segments().iter().filter(|other| other.number() != segment) {
                if let Some(reader) = other.table(table)?
                    && !reader.directory.streams_of_host(host).is_empty()
                {
                    return Ok(true);
                }
            }
            if self.parts_in_memory(&Arc::new(note::key(table, host))) > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What follows a run, or all of a stream without one: so many parts, or more, of which some are in segments and the others
    /// in memory.
    fn tail(
        &self,
        key: &Arc<StreamKey>,
        run: Option<&RunAt<'_>>,
        beyond: u64,
        in_segments: u64,
        cost: &mut Cost,
    ) -> Result<Arc<Tail>, Error> {
        let (cache, cache_key) = (self.cache(), Key::of_tail(key));
        let segment = run.map(|run| run.reader.segment.number());
        if let Some(Cached::Tail(tail)) = cache.get(&cache_key)
            && tail.is_of(key, segment)
        {
            let taken = tail.taken();
            if taken >= beyond {
                return Ok(tail);
            }
            // However many there are by now, none is left out.
            let first = taken.checked_sub(in_segments);
            if let Some(newest) = first.and_then(|first| self.in_memory_from(key, first as usize)) {
                let before = tail.bytes();
                if take_in(&tail, run, taken, &newest, true, cost)? {
                    cache.grow(&cache_key, tail.bytes().saturating_sub(before));
                    return Ok(tail);
                }
            }
        }
        let base = run.map(|run| base(run, self, cost)).transpose()?;
        let goes_on = base.as_ref().is_none_or(Option::is_some);
        let mut tail = Tail::new(key.clone(), segment, base.flatten());
        if goes_on {
            let parts = self.parts_beyond(key, segment, Micros::MAX, cost)?;
            if !take_in(&tail, run, 0, &parts, in_segments == 0, cost)? {
                tail.give_up(parts.parts.len() as u64);
            }
        } else {
            tail.give_up(beyond);
        }
        tail.forget_if_given_up();
        let tail = Arc::new(tail);
        cost.streams_resolved += 1;
        cache.put(cache_key, Cached::Tail(tail.clone()));
        Ok(tail)
    }
}

/// What a tail goes on from; `None` if what follows might change what the run says.
fn base(run: &RunAt<'_>, view: &View, cost: &mut Cost) -> Result<Option<Base>, Error> {
    let mut of_run = run.reader.run(&run.record, Some(view.cache()));
    let (looks, versions) = (of_run.looks(), of_run.versions() as u32);
    let (last, cause) = if of_run.is_resolved() {
        let Some(last) = of_run.goes_on(cost)? else { return Ok(None) };
        last
    } else {
        let look = of_run.last_look(cost)?;
        (LastLook { looks: looks as u32, second: look.second, epoch: look.epoch, counter: look.counter }, None)
    };
    let mut alive = Vec::new();
    of_run.alive_after(looks - 1, cost, |entry, _| {
        alive.push(entry.clone());
        Ok(())
    })?;
    Ok(Some(Base { last, cause, versions, alive }))
}

/// The epochs of a run's looks.
fn epochs(run: &RunAt<'_>, cost: &mut Cost) -> Result<FxHashSet<u64>, Error> {
    let mut epochs = FxHashSet::default();
    match run.reader.directory.entry(run.place).filter(|stream| stream.record.is_resolved()) {
        // Its looks are told by its facts.
        Some(stream) => run.reader.all_parts(
            &stream,
            cost,
            |_, _| Ok(0),
            |part| {
                epochs.insert(part.epoch);
            },
        )?,
        None => run.reader.run(&run.record, None).each_look(cost, |look| {
            epochs.insert(look.epoch);
        })?,
    }
    Ok(epochs)
}

/// Adds parts to a tail that has so many; false if they do not come after these.
fn take_in(
    tail: &Tail,
    run: Option<&RunAt<'_>>,
    taken: u64,
    Parts { parts, rows }: &Parts,
    are_shared: bool,
    cost: &mut Cost,
) -> Result<bool, Error> {
    if let Some(run) = run
        && parts.iter().any(|part| tail.begins_epoch(part))
    {
        // An epoch that was there before is no new one.
        let epochs = epochs(run, cost)?;
        if parts.iter().any(|part| tail.begins_epoch(part) && epochs.contains(&part.epoch)) {
            tail.give_up(taken + parts.len() as u64);
            return Ok(true);
        }
    }
    Ok(tail.extend(taken, parts, rows, are_shared))
}

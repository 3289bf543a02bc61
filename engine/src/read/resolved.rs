//! Streams that must be replayed: their timelines, grouped so that a question sees at T the one kind that answers for each
//! name.
//!
//! Invariant: a timeline that is remembered is the one that would be worked out now.

use super::answer::{Cost, Held, Version};
use super::source::Source;
use super::view::View;
use crate::agent::inferred_text;
use crate::error::Error;
use crate::fact::{Inferred, Kind, Micros, Name, Second, StreamKey};
use crate::row::Row;
use crate::segment::cache::{Cached, Key};
use crate::timeline::resolve::{Span, Timeline};
use crate::timeline::verdict::{Bracket, Judged};
use crate::timeline::{self, AgentHistory};
use std::sync::{Arc, Weak};

/// One stream with its timeline.
pub struct Resolved {
    pub(super) key: Arc<StreamKey>,
    pub(super) timeline: Timeline,
    pub(super) rows: Vec<Row>,
    /// What it was worked out from: so many parts, unless there are others that do not count yet, and this of the host's agents.
    parts: Option<u64>,
    agent: AgentHistory,
}

impl Resolved {
    /// Roughly the bytes of memory that it takes.
    pub fn bytes(&self) -> usize {
        let rows = self.rows.iter().map(|row| size_of::<Row>() + row.as_bytes().len());
        let Timeline { steps, disputed, spans, breaks, .. } = &self.timeline;
        let of_timeline =
            size_of_val(&**steps) + size_of_val(&**disputed) + size_of_val(&**spans) + size_of_val(&**breaks);
        rows.sum::<usize>() + of_timeline + size_of::<Resolved>()
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
        && known.parts == Some(count)
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
    let timeline = if !key.has_state() {
        timeline::tally(parts.parts, &parts.rows)
    } else {
        timeline::build(key.kind, parts.parts, &parts.rows, agent)
    };
    cost.streams_resolved += 1;
    if timeline.looks == 0 && timeline.breaks.is_empty() {
        return Ok(None);
    }
    let (agent, rows) = (agent.clone(), parts.rows);
    let resolved = Arc::new(Resolved { key: key.clone(), timeline, rows, parts: count, agent });
    if count.is_some() {
        view.cache().put(cache_key, Cached::Timeline(resolved.clone()));
    }
    Ok(Some(resolved))
}

/// The streams of one name on one host that have a state: of kind diff, snapshot, or both.
#[derive(Clone)]
pub(super) struct Named {
    kinds: Vec<Arc<Resolved>>,
}

impl Named {
    pub(super) fn new(kinds: Vec<Arc<Resolved>>) -> Named {
        Named { kinds }
    }

    /// Of these streams, which have one name on one host; `None` if nothing of them is known.
    pub(super) fn replay(
        view: &View,
        keys: &[Arc<StreamKey>],
        agents: &mut Agents<'_>,
        cost: &mut Cost,
    ) -> Result<Option<Named>, Error> {
        let mut kinds = Vec::new();
        for key in keys {
            kinds.extend(resolve(view, key, agents, cost)?);
        }
        Ok((!kinds.is_empty()).then(|| Named::new(kinds)))
    }

    /// To be found again, if somebody keeps them.
    pub(super) fn once(&self) -> Vec<Weak<Resolved>> {
        self.kinds.iter().map(Arc::downgrade).collect()
    }

    /// What is found again; `None` if it was not kept.
    pub(super) fn again(once: &[Weak<Resolved>]) -> Option<Named> {
        let kinds: Option<Vec<_>> = once.iter().map(Weak::upgrade).collect();
        kinds.filter(|kinds| !kinds.is_empty()).map(Named::new)
    }

    /// Whether it is all that there is of so many streams, whenever it was recorded.
    pub(super) fn is_whole(&self, streams: usize) -> bool {
        self.kinds.len() == streams && self.kinds.iter().all(|resolved| resolved.parts.is_some())
    }

    /// All rows of all kinds.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.kinds.iter().flat_map(|resolved| &resolved.rows)
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
    let is_chosen = |key: &Arc<StreamKey>| stream.is_none_or(|stream| *key.name == *stream) && key.has_state();
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
        Ok(Named::replay(view, keys, agents, cost)?.map(Member::Replayed))
    }
}

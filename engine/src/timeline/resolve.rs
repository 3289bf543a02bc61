//! Looks in order become a timeline: steps, row versions and breaks.
//!
//! Invariants:
//! - A break opens before the look that caused it is applied, so that what that look adds is verified and what it
//!   carries is not.
//! - A version is born at one step and dies at one, and holds between their effective times; several looks of one
//!   second may leave versions of zero length.

use super::join::Look;
use super::loss::Loss;
use super::order::{Chain, Head, is_always_full};
use super::regular::LastLook;
use super::{AgentHistory, Copies, RowId};
use crate::agent::{COPIES_COUNTED_FROM, COUNTER_COUNTS_LOOKS_FROM};
use crate::fact::{Micros, SECOND_MAX, SECOND_MIN, Second};
use crate::read::answer::{Break, Cause, End, Start};
use crate::row::Row;
use rustc_hash::FxHashSet;
use std::collections::BTreeMap;

/// A run of seconds with one row, one count and one verified-ness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// Which row.
    pub row: RowId,
    /// How many copies.
    pub count: u64,
    /// Whether a look vouches for them.
    pub verified: bool,
    /// The first second.
    pub from: Second,
    /// The first second after it.
    pub to: Option<Second>,
    /// Why it starts.
    pub start: Start,
    /// Why it ends.
    pub end: End,
    /// It holds after this step …
    pub born: usize,
    /// … and no longer after this one.
    pub died: usize,
}

/// A stream's history, resolved.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// The effective time of each look that answers, in order.
    pub steps: Vec<Second>,
    /// Steps that are one of several full sets of a second with different content, in order.
    pub disputed: Vec<usize>,
    /// The row versions, by birth.
    pub spans: Vec<Span>,
    /// The breaks, by their begin and cause; none covers no second.
    pub breaks: Vec<Break>,
    /// How many looks there are, those that answer nothing included.
    pub looks: u64,
    /// The least and greatest second of all looks; without any, of those that are lost.
    pub seconds: Option<(Second, Second)>,
    /// The least and greatest `recorded − observed`, in seconds.
    pub skew: (i64, i64),
    /// Of the looks of the last second, the least that their lines suggest of the agent's version.
    pub inferred: Option<crate::fact::Inferred>,
    /// The last look, if whatever follows from it as one look of a regular stream does from another changes nothing before it:
    /// it is the last of the last chain by every order.
    pub goes_on: Option<LastLook>,
}

impl Timeline {
    /// The effective time of the last look before `second`.
    pub fn look_before(&self, second: Second) -> Option<Second> {
        let at = self.steps.partition_point(|&step| step < second);
        at.checked_sub(1).map(|at| self.steps[at])
    }

    /// Counts a look that exists, whether or not it will answer.
    pub fn note(&mut self, second: Second, recorded: Micros, inferred: crate::fact::Inferred) {
        let skew = recorded.div_euclid(1_000_000) - second;
        self.skew = if self.looks == 0 { (skew, skew) } else { (self.skew.0.min(skew), self.skew.1.max(skew)) };
        self.looks += 1;
        let last = self.seconds.map(|(_, last)| last);
        self.inferred = match self.inferred {
            Some(known) if last == Some(second) => Some(known.min(inferred)),
            Some(known) if last > Some(second) => Some(known),
            _ => Some(inferred),
        };
        self.seconds = Some(self.seconds.map_or((second, second), |(a, b)| (a.min(second), b.max(second))));
    }

    fn note_look(&mut self, look: &Look) {
        self.note(look.second, look.recorded, look.inferred);
    }
}

/// Copies of one row that are held now, with the versions that are open for them.
#[derive(Clone, Copy, Default)]
struct Held {
    verified: u64,
    unverified: u64,
    verified_span: usize,
    unverified_span: usize,
}

impl Held {
    fn total(&self) -> u64 {
        self.verified.saturating_add(self.unverified)
    }
}

/// Applies looks one after the other.
struct Replay<'a> {
    timeline: Timeline,
    /// By row id; rows without copies are absent.
    held: BTreeMap<RowId, Held>,
    /// Breaks that have not ended.
    open_breaks: Vec<Open>,
    /// The second of the last disputed full set: all of one second have one break together.
    disputed_at: Option<Second>,
    /// Losses that no look has come to yet, in order.
    losses: std::iter::Peekable<std::vec::IntoIter<Loss>>,
    /// Whether each look has a later second and a greater counter of its epoch than the one before.
    is_ascending: bool,
    /// The first and the last second of what is lost, as far as known.
    lost: Option<(Second, Second)>,
    rows: &'a [Row],
}

/// A break that has not ended.
struct Open {
    /// Its place among the timeline's.
    place: usize,
    /// The loss that opened it, in order only if the known looks are too.
    loss: Option<Loss>,
}

impl<'a> Replay<'a> {
    fn new(rows: &'a [Row], losses: Vec<Loss>) -> Replay<'a> {
        Replay {
            timeline: Timeline::default(),
            held: BTreeMap::new(),
            open_breaks: Vec::new(),
            disputed_at: None,
            lost: extent(&losses),
            losses: losses.into_iter().peekable(),
            is_ascending: false,
            rows,
        }
    }

    /// Opens a break at `from` before step `step` is applied: what is carried into it is unverified.
    fn open_break(&mut self, from: Option<Second>, cause: Cause, step: usize) {
        self.open_breaks.push(Open { place: self.timeline.breaks.len(), loss: None });
        self.timeline.breaks.push(Break { from, to: None, cause });
        let Some(from) = from else { return };
        let mut held = std::mem::take(&mut self.held);
        for (&row, copies) in &mut held {
            if copies.verified > 0 {
                let total = copies.total();
                self.set(row, copies, true, 0, from, step, true);
                self.set(row, copies, false, total, from, step, true);
            }
        }
        self.held = held;
    }

    /// Opens the breaks of the losses that begin at or before a second; nothing after the last look before them is sure.
    fn lose_until(&mut self, at: Second) {
        while let Some(loss) = self.losses.next_if(|loss| loss.first <= at) {
            let from = self.timeline.steps.last().map(|before| before + 1);
            self.open_break(from, Cause::Damage, self.timeline.steps.len());
            let in_order = loss.in_order && self.is_ascending;
            self.open_breaks.last_mut().into_iter().for_each(|open| open.loss = Some(Loss { in_order, ..loss }));
        }
    }

    /// Whether what a look brings may not be there, since another that is lost took it away or contradicts it: of any loss
    /// whose break goes on, unless it is over and in order. That goes by when the host looked, whatever the look's place.
    fn is_doubted(&self, look: &Look) -> bool {
        let losses = || self.open_breaks.iter().filter_map(|open| open.loss);
        losses().any(|loss| !loss.in_order || look.second <= loss.last)
    }

    /// Sets the verified or unverified copies of a row to `count` at `at`, ending and starting versions.
    #[expect(clippy::too_many_arguments, reason = "one place where versions begin and end")]
    fn set(
        &mut self,
        row: RowId,
        held: &mut Held,
        verified: bool,
        count: u64,
        at: Second,
        step: usize,
        by_break: bool,
    ) {
        let (copies, span) = if verified {
            (&mut held.verified, &mut held.verified_span)
        } else {
            (&mut held.unverified, &mut held.unverified_span)
        };
        if *copies == count {
            return;
        }
        if *copies > 0 {
            let old = &mut self.timeline.spans[*span];
            old.to = Some(at);
            old.died = step;
            old.end = if by_break { End::Break } else { End::Gone };
        }
        *copies = count;
        if count > 0 {
            *span = self.timeline.spans.len();
            let start = if by_break { Start::Break } else { Start::Seen };
            self.timeline.spans.push(Span {
                row,
                count,
                verified,
                from: at,
                to: None,
                start,
                end: End::Open,
                born: step,
                died: usize::MAX,
            });
        }
    }

    /// Replaces the state by a full set, which ends every break, but that of a loss only after it, and if it is a full set
    /// whatever is lost. Where its second is disputed another content `stands` for it, and a break of its own opens at once.
    fn full(&mut self, look: &Look, stands: Option<&Vec<Copies>>, at: Second, is_always_full: bool) {
        let step = self.timeline.steps.len();
        let (content, disputed) = (stands.unwrap_or(&look.added), stands.is_some());
        let reopened = disputed && self.disputed_at == Some(at);
        if !reopened {
            let breaks = &mut self.timeline.breaks;
            self.open_breaks.retain(|open| {
                let goes_on = open.loss.is_some_and(|loss| !is_always_full || look.second <= loss.last);
                if !goes_on {
                    breaks[open.place].to = Some(at);
                }
                goes_on
            });
            if disputed {
                self.open_break(Some(at), Cause::Fork, step);
            }
        }
        let is_doubted = disputed || self.is_doubted(look);
        if disputed {
            self.disputed_at = Some(at);
            self.timeline.disputed.push(step);
        }
        let mut old = std::mem::take(&mut self.held);
        let mut held = BTreeMap::new();
        for &(row, count) in content {
            if count == 0 {
                continue;
            }
            let mut copies = old.remove(&row).unwrap_or_default();
            self.set(row, &mut copies, is_doubted, 0, at, step, false);
            self.set(row, &mut copies, !is_doubted, count, at, step, false);
            held.insert(row, copies);
        }
        for (row, mut copies) in old {
            self.set(row, &mut copies, true, 0, at, step, false);
            self.set(row, &mut copies, false, 0, at, step, false);
        }
        self.held = held;
        self.timeline.steps.push(at);
    }

    /// Whether a look removes a copy that is not held.
    fn removes_what_is_not_held(&self, removed: &[Copies]) -> bool {
        removed.iter().any(|(row, count)| self.held.get(row).map_or(0, Held::total) < *count)
    }

    /// Applies a difference: removed first, verified copies before unverified ones, then added.
    fn difference(&mut self, look: &Look, at: Second) {
        let step = self.timeline.steps.len();
        let is_doubted = self.is_doubted(look);
        let (mut r, mut a) = (look.removed.iter().peekable(), look.added.iter().peekable());
        loop {
            let row = match (r.peek(), a.peek()) {
                (Some(x), Some(y)) => x.0.min(y.0),
                (Some(x), None) | (None, Some(x)) => x.0,
                (None, None) => break,
            };
            let less = r.next_if(|x| x.0 == row).map_or(0, |x| x.1);
            let more = a.next_if(|x| x.0 == row).map_or(0, |x| x.1);
            let mut copies = self.held.remove(&row).unwrap_or_default();
            let from_verified = less.min(copies.verified);
            let (sure, unsure) = if is_doubted { (0, more) } else { (more, 0) };
            let verified = (copies.verified - from_verified).saturating_add(sure);
            let unverified = copies.unverified.saturating_sub(less - from_verified).saturating_add(unsure);
            self.set(row, &mut copies, true, verified, at, step, false);
            self.set(row, &mut copies, false, unverified, at, step, false);
            if copies.total() > 0 {
                self.held.insert(row, copies);
            }
        }
        self.timeline.steps.push(at);
    }

    /// Notes what the next look may follow from.
    fn note_last(&mut self, look: &Look) {
        let looks = self.timeline.steps.len() as u32;
        let last = LastLook { looks, second: look.second, epoch: look.epoch, counter: look.counter };
        let is_last = self.timeline.steps.last() == Some(&look.second);
        self.timeline.goes_on = is_last.then_some(last);
    }

    fn finish(mut self) -> Timeline {
        self.lose_until(Second::MAX);
        self.timeline.seconds = self.timeline.seconds.or(self.lost);
        self.timeline.breaks.retain(|b| b.to.is_none() || b.from != b.to);
        self.timeline.breaks.sort_by_key(|b| (b.from, b.cause, b.to));
        debug_assert!(self.timeline.steps.is_sorted());
        debug_assert!(self.timeline.spans.iter().all(|span| (span.row as usize) < self.rows.len()));
        self.timeline
    }
}

/// Seconds with several full sets of different content, and which content stands for each.
fn disputes<'l>(fulls: impl Iterator<Item = &'l Look>, rows: &[Row]) -> BTreeMap<Second, Vec<Copies>> {
    let mut seconds: BTreeMap<Second, (&Look, bool)> = BTreeMap::new();
    for look in fulls {
        seconds
            .entry(look.second)
            .and_modify(|(largest, disputed)| {
                let order = look.content_cmp(largest, rows);
                *disputed |= order.is_ne();
                if order.is_gt() {
                    *largest = look;
                }
            })
            .or_insert((look, false));
    }
    let disputed = seconds.into_iter().filter(|(_, (_, disputed))| *disputed);
    disputed.map(|(second, (largest, _))| (second, largest.added.clone())).collect()
}

/// The timeline of a snapshot stream.
pub(super) fn snapshots(looks: Vec<Look>, rows: &[Row], losses: Vec<Loss>) -> Timeline {
    let disputed = disputes(looks.iter(), rows);
    let mut replay = Replay::new(rows, losses);
    for look in &looks {
        replay.timeline.note_look(look);
        replay.lose_until(look.second);
        replay.full(look, disputed.get(&look.second), look.second, true);
    }
    looks.last().into_iter().for_each(|last| replay.note_last(last));
    replay.finish()
}

/// The timeline of a stream of kind diff.
pub(super) fn differences(chains: Vec<Chain>, rows: &[Row], agent: &AgentHistory, losses: Vec<Loss>) -> Timeline {
    let full = chains.iter().filter(|chain| chain.head == Head::Full);
    let disputed = disputes(full.map(|chain| &chain.looks[0]), rows);
    let mut replay = Replay { is_ascending: is_ascending(&chains), ..Replay::new(rows, losses) };
    for (i, chain) in chains.iter().enumerate() {
        let over = chains.get(i + 1).map_or(Second::MAX, |next| next.looks[0].second);
        let next_full = chains[i + 1..].iter().find(|chain| chain.head == Head::Full);
        let next_full = next_full.map(|chain| chain.looks[0].second);
        // Two contents of one look with counter 0 begin a chain each; the second is a fork all the same.
        let twin = i.checked_sub(1).is_some_and(|i| chains[i].looks[0].same_key(&chain.looks[0]));
        let (mut largest, mut forked, mut effective) = (None, twin && chain.head == Head::DoubtfulZero, Second::MIN);
        let mut seen = FxHashSet::default();
        for (position, look) in chain.looks.iter().enumerate() {
            replay.timeline.note_look(look);
            effective = effective.max(look.second);
            if effective > over {
                continue;
            }
            replay.lose_until(effective);
            let rank = agent.of_look(look.second, look.inferred);
            if position == 0 && chain.head == Head::Full {
                largest = look.counter;
                let stands = disputed.get(&look.second);
                replay.full(look, stands, effective, is_always_full(look, rank));
                continue;
            }
            forked |= look.counter.is_some_and(|counter| counter > 0 && !seen.insert(counter))
                || position > 0 && chain.looks[position - 1].same_key(look);
            let gap = match (look.counter, largest) {
                (Some(counter), Some(largest)) => {
                    counter > 0 && counter - 1 > largest && rank >= COUNTER_COUNTS_LOOKS_FROM
                }
                _ => false,
            };
            let cause = if gap {
                Some(Cause::Gap)
            } else if forked {
                Some(Cause::Fork)
            } else if position == 0 {
                Some(if chain.head == Head::DoubtfulZero { Cause::DoubtfulZero } else { Cause::NoBase })
            } else if replay.open_breaks.is_empty()
                && rank >= COPIES_COUNTED_FROM
                && replay.removes_what_is_not_held(&look.removed)
            {
                Some(Cause::NotHeld)
            } else {
                None
            };
            if let Some(cause) = cause {
                let before = replay.timeline.steps.last().copied();
                let from = before.map(|before| if before == effective { before } else { before + 1 });
                // A break that would end where it begins is none.
                if from.is_none() || from != next_full {
                    replay.open_break(from, cause, replay.timeline.steps.len());
                }
            }
            replay.difference(look, effective);
            largest = largest.max(look.counter);
        }
        let last = chain.looks.last().filter(|last| over == Second::MAX && !forked && last.counter == largest);
        last.filter(|last| last.counter.is_some()).into_iter().for_each(|last| replay.note_last(last));
    }
    replay.finish()
}

/// Whether each look has a later second than the one before, and a greater counter unless a chain begins with it.
fn is_ascending(chains: &[Chain]) -> bool {
    let mut last = Second::MIN;
    chains.iter().all(|chain| {
        let ascends = chain.looks.windows(2).all(|pair| pair[0].counter < pair[1].counter);
        ascends && chain.looks.iter().all(|look| std::mem::replace(&mut last, look.second) < look.second)
    })
}

/// The looks of a stream without a state, counted; its only breaks are losses.
pub(super) fn without_state(looks: &[Look], losses: &[Loss]) -> Timeline {
    let mut timeline = Timeline::default();
    looks.iter().for_each(|look| timeline.note_look(look));
    let lost = |loss: &Loss| Break {
        from: (loss.first > SECOND_MIN).then_some(loss.first),
        to: (loss.last < SECOND_MAX).then_some(loss.last + 1),
        cause: Cause::Damage,
    };
    timeline.breaks = losses.iter().map(lost).collect();
    timeline.seconds = timeline.seconds.or(extent(losses));
    timeline
}

/// The first and the last second of losses; where one is not known it is said to be the other.
fn extent(losses: &[Loss]) -> Option<(Second, Second)> {
    let (first, last) = (losses.first()?.first, losses.last()?.last);
    let first = if first == SECOND_MIN && last < SECOND_MAX { last } else { first };
    Some((first, if last == SECOND_MAX { first } else { last }))
}

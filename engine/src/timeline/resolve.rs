//! Looks in order become a timeline: steps, row versions and breaks.
//!
//! Invariants:
//! - A break opens before the look that caused it is applied, so that what that look adds is verified and what it
//!   carries is not.
//! - A version is born at one step and dies at one, and holds between their effective times; several looks of one
//!   second may leave versions of zero length.
//! - Work grows with the looks, their rows and the breaks, of each of which there may be very many: no look goes over all
//!   that is held, nor over all breaks that are open. Opening a break ends all verified versions, so that the next goes only
//!   over those that began since; a full set ends each break once and goes over what it replaces; whether a look is doubted
//!   follows from the last open loss and from how many are out of order. (Of several full sets that dispute a second, each
//!   goes over the content that stands for it.)

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
use std::collections::{BTreeMap, VecDeque};

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
    /// The first version that began since the last break opened; of those before it none that has not ended is verified.
    since_break: usize,
    /// Breaks that have not ended, but those of losses, by their place among the timeline's.
    open_breaks: Vec<usize>,
    /// Breaks of losses that have not ended, by their place, with what is lost; in order, so that those that end are first.
    open_losses: VecDeque<(usize, Loss)>,
    /// How many of these may have looks that come after all that is known.
    out_of_order: usize,
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

#[cfg(test)]
thread_local! {
    /// How many things this thread went over with [`each`].
    pub(super) static GONE_OVER: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Each of some things. Whatever the replay goes over it goes over with this, so that a test sees how its work grows.
fn each<I: IntoIterator>(things: I) -> impl Iterator<Item = I::Item> {
    let things = things.into_iter();
    #[cfg(test)]
    let things = things.inspect(|_| GONE_OVER.set(GONE_OVER.get() + 1));
    things
}

impl<'a> Replay<'a> {
    fn new(rows: &'a [Row], losses: Vec<Loss>) -> Replay<'a> {
        Replay {
            timeline: Timeline::default(),
            held: BTreeMap::new(),
            since_break: 0,
            open_breaks: Vec::new(),
            open_losses: VecDeque::new(),
            out_of_order: 0,
            disputed_at: None,
            lost: extent(&losses),
            losses: losses.into_iter().peekable(),
            is_ascending: false,
            rows,
        }
    }

    /// Opens a break at `from` before the next step is applied: what is carried into it is unverified.
    fn open_break(&mut self, from: Option<Second>, cause: Cause) {
        self.open_breaks.push(self.timeline.breaks.len());
        self.begin_break(from, cause);
    }

    /// Begins a break, as [`Self::open_break`] does; that it is open, and how it ends, is for the caller to note.
    fn begin_break(&mut self, from: Option<Second>, cause: Cause) {
        self.timeline.breaks.push(Break { from, to: None, cause });
        // Before the first look nothing is held.
        let Some(from) = from else { return };
        let step = self.timeline.steps.len();
        let verified = |span: &&Span| span.verified && span.to.is_none();
        let begun = each(&self.timeline.spans[self.since_break..]);
        let mut rows: Vec<RowId> = begun.filter(verified).map(|span| span.row).collect();
        rows.sort_unstable();
        for row in each(rows) {
            let Some(mut copies) = self.held.get(&row).copied() else { continue };
            let total = copies.total();
            self.set(row, &mut copies, true, 0, from, step, true);
            self.set(row, &mut copies, false, total, from, step, true);
            self.held.insert(row, copies);
        }
        self.since_break = self.timeline.spans.len();
    }

    /// Opens the breaks of the losses that begin at or before a second; nothing after the last look before them is sure.
    fn lose_until(&mut self, at: Second) {
        while let Some(loss) = self.losses.next_if(|loss| loss.first <= at) {
            let from = self.timeline.steps.last().map(|before| before + 1);
            // A loss is in order only if the known looks are too.
            let in_order = loss.in_order && self.is_ascending;
            self.open_losses.push_back((self.timeline.breaks.len(), Loss { in_order, ..loss }));
            self.out_of_order += usize::from(!in_order);
            self.begin_break(from, Cause::Damage);
        }
    }

    /// Ends at `at` every open break, as a full set does, but those of losses only if it is one whatever is lost and they are
    /// over when the host looked.
    fn end_breaks(&mut self, look: &Look, at: Second, is_always_full: bool) {
        for place in each(self.open_breaks.drain(..)) {
            self.timeline.breaks[place].to = Some(at);
        }
        let is_over = |open: &mut (usize, Loss)| is_always_full && open.1.last < look.second;
        let over = std::iter::from_fn(|| self.open_losses.pop_front_if(is_over));
        for (place, loss) in each(over) {
            self.timeline.breaks[place].to = Some(at);
            self.out_of_order -= usize::from(!loss.in_order);
        }
    }

    /// Whether what a look brings may not be there, since another that is lost took it away or contradicts it: of any loss
    /// whose break goes on, unless it is over and in order. That goes by when the host looked, whatever the look's place.
    fn is_doubted(&self, look: &Look) -> bool {
        self.out_of_order > 0 || self.open_losses.back().is_some_and(|(_, loss)| look.second <= loss.last)
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
            self.end_breaks(look, at, is_always_full);
            if disputed {
                self.open_break(Some(at), Cause::Fork);
            }
        }
        let is_doubted = disputed || self.is_doubted(look);
        if disputed {
            self.disputed_at = Some(at);
            self.timeline.disputed.push(step);
        }
        let mut old = std::mem::take(&mut self.held);
        let mut held = BTreeMap::new();
        for &(row, count) in each(content) {
            if count == 0 {
                continue;
            }
            let mut copies = old.remove(&row).unwrap_or_default();
            self.set(row, &mut copies, is_doubted, 0, at, step, false);
            self.set(row, &mut copies, !is_doubted, count, at, step, false);
            held.insert(row, copies);
        }
        for (row, mut copies) in each(old) {
            self.set(row, &mut copies, true, 0, at, step, false);
            self.set(row, &mut copies, false, 0, at, step, false);
        }
        self.held = held;
        self.timeline.steps.push(at);
    }

    /// Whether any break has not ended.
    fn is_broken(&self) -> bool {
        !self.open_breaks.is_empty() || !self.open_losses.is_empty()
    }

    /// Whether a look removes a copy that is not held.
    fn removes_what_is_not_held(&self, removed: &[Copies]) -> bool {
        each(removed).any(|(row, count)| self.held.get(row).map_or(0, Held::total) < *count)
    }

    /// Applies a difference: removed first, verified copies before unverified ones, then added.
    fn difference(&mut self, look: &Look, at: Second) {
        let step = self.timeline.steps.len();
        let is_doubted = self.is_doubted(look);
        let (mut r, mut a) = (each(&look.removed).peekable(), each(&look.added).peekable());
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
    for ((i, chain), next_full) in chains.iter().enumerate().zip(next_full_sets(&chains)) {
        let over = chains.get(i + 1).map_or(Second::MAX, |next| next.looks[0].second);
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
            } else if !replay.is_broken()
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
                    replay.open_break(from, cause);
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

/// Of each chain, when the first full set after its own is.
fn next_full_sets(chains: &[Chain]) -> Vec<Option<Second>> {
    let mut next = None;
    let before = |chain: &Chain| match chain.head {
        Head::Full => next.replace(chain.looks[0].second),
        _ => next,
    };
    let mut nexts: Vec<_> = each(chains.iter().rev()).map(before).collect();
    nexts.reverse();
    nexts
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

//! A timeline as a run keeps it: by moments, each a look or the begin of a break, and by lifetimes that go from one to
//! another; so that it is read at any instant as a regular stream is, without what was before.
//!
//! Invariants:
//! - Moments never go back. What begins or ends by a break does so at a *mark*, a moment that is no look, before the look
//!   that caused the break; all else at a look.
//! - From moments and lifetimes follows at every instant what follows from the timeline; one that they could not tell
//!   exactly has none.
//!
//! Whether a look vouches for a version is told by the number of its copies: see [`VersionCopies`].

use super::regular::{LastLook, Lifetime, OPEN};
use super::resolve::{Span, Timeline};
use super::verdict::Class;
use super::{Part, RowId};
use crate::fact::{Inferred, Second};
use crate::read::answer::{Break, Cause, End, Start};
use rustc_hash::FxHashSet;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// What a moment is, and how it stands with the state from it on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether a break begins with it; it is no look then.
    pub is_mark: bool,
    /// Whether it is one of several full sets of a second with different content.
    pub is_disputed: bool,
    /// Whether it is the last look, and what follows from it as in a regular stream changes nothing before it.
    pub goes_on: bool,
    /// Why the state cannot be vouched for until the next moment.
    pub cause: Option<Cause>,
}

const MARK: u64 = 1;
const DISPUTED: u64 = 2;
const GOES_ON: u64 = 4;
const CAUSE_BIT: u32 = 3;

impl State {
    /// The greatest number of one.
    pub const NUMBER_MAX: u64 = MARK | DISPUTED | GOES_ON | (Cause::OF_STREAMS.len() as u64) << CAUSE_BIT;

    /// As a number for a disk.
    pub fn number(self) -> u64 {
        let flags = [(self.is_mark, MARK), (self.is_disputed, DISPUTED), (self.goes_on, GOES_ON)];
        let flags = flags.into_iter().filter(|(is_set, _)| *is_set).map(|(_, flag)| flag).sum::<u64>();
        flags | self.cause.map_or(0, |cause| cause as u64 + 1) << CAUSE_BIT
    }

    /// The one of that number.
    pub fn from_number(number: u64) -> Option<State> {
        let cause = match number >> CAUSE_BIT {
            0 => None,
            cause => Some(*Cause::OF_STREAMS.get(usize::try_from(cause - 1).ok()?)?),
        };
        let is = |flag| number & flag != 0;
        Some(State { is_mark: is(MARK), is_disputed: is(DISPUTED), goes_on: is(GOES_ON), cause })
    }
}

/// The copies of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionCopies {
    /// How many, at least 1.
    pub count: u64,
    /// Whether a look vouches for them.
    pub verified: bool,
    /// Whether a look vouches for another number of copies of the row where they end.
    pub goes_on: bool,
}

impl VersionCopies {
    /// Whether a version with these may not be judged by itself.
    pub fn is_odd(&self) -> bool {
        !self.verified || self.goes_on
    }

    /// As one number that is not 0; `None` if there are too many.
    pub fn number(self) -> Option<u64> {
        let less = 2 * u64::from(self.goes_on) + u64::from(self.verified);
        self.count.checked_mul(4)?.checked_sub(less).filter(|number| *number > 0)
    }

    /// Those of that number.
    pub fn from_number(number: u64) -> VersionCopies {
        let count = number.div_ceil(4);
        // What is beyond 64 bits is nothing, in both.
        let less = count.wrapping_mul(4).wrapping_sub(number);
        VersionCopies { count, verified: less & 1 == 1, goes_on: less & 2 == 2 }
    }
}

/// A timeline by moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moments {
    /// When each is.
    pub seconds: Vec<Second>,
    /// What each is.
    pub states: Vec<State>,
    /// The versions; they are born and die at moments, and their counts are the numbers of their [`VersionCopies`].
    pub lifetimes: Vec<Lifetime>,
    /// The last look, its place counted in moments, if what follows from it changes nothing before it.
    pub goes_on: Option<LastLook>,
}

impl Moments {
    /// Of a timeline with a look; `None` if moments could not tell it.
    pub fn new(timeline: &Timeline) -> Option<Moments> {
        if timeline.steps.is_empty() || timeline.breaks.iter().any(|stretch| stretch.cause == Cause::Damage) {
            return None;
        }
        let marks = marks(timeline)?;
        let (mut seconds, mut looks, mut mark_of) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut states: Vec<State> = Vec::new();
        for (step, &second) in timeline.steps.iter().enumerate() {
            if let Some(&mark) = marks.get(&step) {
                mark_of.insert(step, seconds.len() as u32);
                seconds.push(mark);
                states.push(State { is_mark: true, ..State::default() });
            }
            looks.push(u32::try_from(seconds.len()).ok().filter(|place| *place < OPEN - 1)?);
            seconds.push(second);
            let is_disputed = timeline.disputed.binary_search(&step).is_ok();
            states.push(State { is_disputed, ..State::default() });
        }
        if !seconds.is_sorted() {
            return None;
        }
        causes(&timeline.breaks, &seconds, &mut states);
        let sure = timeline.spans.iter().filter(|span| span.verified && span.start == Start::Seen);
        let sure: FxHashSet<(RowId, usize)> = sure.map(|span| (span.row, span.born)).collect();
        let lifetime = |span: &Span| -> Option<Lifetime> {
            let at = |step: usize, is_break: bool| if is_break { mark_of.get(&step) } else { looks.get(step) }.copied();
            let born = at(span.born, span.start == Start::Break)?;
            let died = match span.end {
                End::Open => OPEN,
                end => at(span.died, end == End::Break)?,
            };
            let to = (died != OPEN).then(|| seconds[died as usize]);
            let is_its = born < died && seconds[born as usize] == span.from && to == span.to;
            let goes_on = span.verified && span.end == End::Gone && sure.contains(&(span.row, span.died));
            let count = VersionCopies { count: span.count, verified: span.verified, goes_on }.number()?;
            is_its.then_some(Lifetime { row: span.row, count, born, died })
        };
        let lifetimes = timeline.spans.iter().map(lifetime).collect::<Option<_>>()?;
        let goes_on = timeline.goes_on.map(|last| LastLook { looks: seconds.len() as u32, ..last });
        if let Some(last) = states.last_mut() {
            last.goes_on = goes_on.is_some();
        }
        Some(Moments { seconds, states, lifetimes, goes_on })
    }

    /// The moments as a run's looks: with the epoch and the counter of the one that something goes on from.
    pub fn as_parts(&self) -> Vec<Part> {
        let part = |&second: &Second| Part {
            epoch: 0,
            counter: None,
            second,
            whole: false,
            inferred: Inferred::V5_7,
            recorded: 0,
            removed: Vec::new(),
            added: Vec::new(),
        };
        let mut parts: Vec<Part> = self.seconds.iter().map(part).collect();
        if let Some((part, last)) = parts.last_mut().zip(self.goes_on) {
            (part.epoch, part.counter) = (last.epoch, last.counter);
        }
        parts
    }

    /// Of each moment: when the look before it was, or that one if there is none.
    pub fn looks_before(&self) -> Vec<Second> {
        let mut last = None;
        let of = |(second, state): (&Second, &State)| {
            let before = last.unwrap_or(*second);
            if !state.is_mark {
                last = Some(*second);
            }
            before
        };
        self.seconds.iter().zip(&self.states).map(of).collect()
    }
}

/// Seconds in which a stream can speak less, or more, surely than its first and last look tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// From one second to another that is none of them.
    pub seconds: Range<Second>,
    /// The class in these.
    pub class: Class,
}

/// The stretches of a stream with these moments, in order; what is of the class that these as first and last look tell is
/// none.
pub fn stretches(moments: &[(Second, State)], (first, last): (Second, Second)) -> Vec<Stretch> {
    let mut stretches: Vec<Stretch> = Vec::new();
    let mut push = |seconds: Range<Second>, class: Class| {
        // Clocks go back, so that these are not those of the first and the last moment.
        let plain = [
            (Second::MIN..first, Class::Unknown(Cause::BeforeFirst)),
            (first..last.saturating_add(1), Class::Covered),
            (last.saturating_add(1)..Second::MAX, Class::Presumed),
        ];
        for (plain, of) in plain {
            let seconds = seconds.start.max(plain.start)..seconds.end.min(plain.end);
            if seconds.is_empty() || of == class {
                continue;
            }
            match stretches.last_mut() {
                Some(before) if before.seconds.end == seconds.start && before.class == class => {
                    before.seconds.end = seconds.end;
                }
                _ => stretches.push(Stretch { seconds, class }),
            }
        }
    };
    push(Second::MIN..moments.first().map_or(Second::MAX, |(at, _)| *at), Class::Unknown(Cause::BeforeFirst));
    // The last look that was gone over, by place and second; and the first that was not.
    let (mut before, mut next) = (None, 0);
    let mut end = 0;
    while let Some(&(from, _)) = moments.get(end) {
        // Of the moments of one second the last tells why the state cannot be vouched for.
        let mut cause = None;
        while let Some((_, state)) = moments.get(end).filter(|(second, _)| *second == from) {
            cause = state.cause;
            if !state.is_mark {
                before = Some((end, from));
            }
            end += 1;
        }
        let to = moments.get(end).map_or(Second::MAX, |(second, _)| *second);
        let Some((look, before)) = before else {
            push(from..to, Class::Unknown(Cause::BeforeFirst));
            continue;
        };
        if let Some(cause) = cause {
            push(from..to, Class::Unknown(cause));
            continue;
        }
        next = next.max(end);
        while moments.get(next).is_some_and(|(_, state)| state.is_mark) {
            next += 1;
        }
        let class = match moments.get(next) {
            None => Class::Presumed,
            Some((_, state)) if state.is_disputed => Class::Unknown(Cause::Fork),
            Some((after, _)) => {
                let marks = moments[look..next].iter().filter(|(_, state)| state.is_mark);
                let is_broken = marks.map(|(mark, _)| mark).any(|mark| before < *mark && mark < after);
                if is_broken { Class::Presumed } else { Class::Covered }
            }
        };
        let is_look = before == from;
        push(from..from + Second::from(is_look), Class::Covered);
        push(from + Second::from(is_look)..to, class);
    }
    stretches
}

/// The marks, each by the look that it comes before; `None` if a look had two.
fn marks(timeline: &Timeline) -> Option<BTreeMap<usize, Second>> {
    let mut marks: BTreeMap<usize, Second> = BTreeMap::new();
    let mut put = |step: usize, second: Second| *marks.entry(step).or_insert(second) == second;
    for span in &timeline.spans {
        let begins = span.start != Start::Break || put(span.born, span.from);
        let ends = span.end != End::Break || span.to.is_some_and(|to| put(span.died, to));
        if !begins || !ends {
            return None;
        }
    }
    // A break that found nothing held.
    let known: BTreeSet<Second> = marks.values().copied().collect();
    for from in timeline.breaks.iter().filter_map(|stretch| stretch.from).filter(|from| !known.contains(from)) {
        let step = timeline.steps.partition_point(|&step| step < from);
        if *marks.entry(step).or_insert(from) != from || step == timeline.steps.len() {
            return None;
        }
    }
    Some(marks)
}

/// Notes of each moment why the state cannot be vouched for from it on: by the first break that covers it.
fn causes(breaks: &[Break], seconds: &[Second], states: &mut [State]) {
    let (mut begun, mut open) = (0, BTreeSet::new());
    for (&second, state) in seconds.iter().zip(states) {
        while breaks.get(begun).is_some_and(|stretch| stretch.from.is_none_or(|from| from <= second)) {
            open.insert(begun);
            begun += 1;
        }
        // Those behind the first may have ended too; they are met when they become the first.
        while let Some(&first) = open.first()
            && breaks[first].to.is_some_and(|to| to <= second)
        {
            open.pop_first();
        }
        state.cause = open.first().map(|&first| breaks[first].cause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_copies_are_numbers_and_back() {
        let causes = Cause::OF_STREAMS.into_iter().map(Some).chain([None]);
        for (at, cause) in causes.enumerate() {
            let state = State { is_mark: at & 1 == 1, is_disputed: at & 2 == 2, goes_on: at & 4 == 4, cause };
            assert_eq!(State::from_number(state.number()), Some(state));
        }
        assert_eq!((State::from_number(State::NUMBER_MAX + 1), State::from_number(u64::MAX)), (None, None));
        for (at, count) in [1, 7, u64::MAX / 4].into_iter().flat_map(|count| (0..4).map(move |at| (at, count))) {
            let copies = VersionCopies { count, verified: at & 1 == 1, goes_on: at & 2 == 2 };
            assert_eq!(VersionCopies::from_number(copies.number().unwrap()), copies);
        }
        let none = |count| VersionCopies { count, verified: true, goes_on: false }.number();
        assert_eq!((none(0), none(u64::MAX)), (None, None));
    }
}

//! A timeline is read at one instant: which copies of which rows, and how surely.

use super::resolve::{Span, Timeline};
use crate::fact::Second;
use crate::read::answer::{Cause, Verdict};
use std::collections::BTreeMap;

/// Which class a stream, and so its host, has at T.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Looks around T and no break between them, or T is a look.
    Covered,
    /// The last look is at or before T, and nothing says that the state is doubtful.
    Presumed,
    /// The state is not known, for this cause.
    Unknown(Cause),
}

impl Class {
    /// The verdict that the class is written as where a stream is judged as a whole.
    pub fn verdict(self) -> Verdict {
        match self {
            Class::Covered => Verdict::Definite,
            Class::Presumed => Verdict::Presumed,
            Class::Unknown(_) => Verdict::Unknown,
        }
    }
}

/// The looks around an instant.
#[derive(Clone, Copy, Debug)]
pub struct Bracket {
    at: Second,
    /// The step of the first look after T; the looks before it are at or before T.
    after_step: usize,
    /// The last look at or before T.
    pub before: Option<Second>,
    /// The first look after T.
    pub after: Option<Second>,
    /// Whether the look after T is one of several full sets with different content.
    disputed: bool,
    /// Whether a break begins after the look before T and not after the look after it.
    broken: bool,
}

impl Bracket {
    /// In a timeline of which only the two looks around T are known, as its steps 0 and 1: whether the later one is disputed,
    /// and whether a break begins between them.
    pub fn between(at: Second, before: Second, after: Option<Second>, disputed: bool, broken: bool) -> Bracket {
        Bracket { at, after_step: 1, before: Some(before), after, disputed, broken }
    }
}

/// Some copies of a row with one verdict.
#[derive(Clone, Debug)]
pub struct Judged<'t> {
    /// The version they belong to.
    pub span: &'t Span,
    /// Its place among the timeline's.
    pub place: usize,
    /// How many.
    pub count: u64,
    /// How surely.
    pub verdict: Verdict,
}

impl Timeline {
    /// The looks around T.
    pub fn bracket(&self, at: Second) -> Bracket {
        let after_step = self.steps.partition_point(|&step| step <= at);
        let before = after_step.checked_sub(1).map(|step| self.steps[step]);
        let after = self.steps.get(after_step).copied();
        let broken = match (before, after) {
            (Some(before), Some(after)) => {
                self.breaks.iter().any(|b| b.from.is_some_and(|from| before < from && from < after))
            }
            _ => false,
        };
        let disputed = self.disputed.binary_search(&after_step).is_ok();
        Bracket { at, after_step, before, after, disputed, broken }
    }

    /// The stream's class at T.
    pub fn class(&self, bracket: &Bracket) -> Class {
        let at = bracket.at;
        let covers =
            |b: &&crate::read::answer::Break| b.from.is_none_or(|from| from <= at) && b.to.is_none_or(|to| at < to);
        let covering = self.breaks.iter().find(covers);
        let Some(before) = bracket.before else {
            let of_lost = covering.filter(|_| self.steps.is_empty());
            return Class::Unknown(of_lost.map_or(Cause::BeforeFirst, |lost| lost.cause));
        };
        if let Some(covering) = covering {
            return Class::Unknown(covering.cause);
        }
        match bracket.after {
            _ if before == at => Class::Covered,
            Some(_) if bracket.disputed => Class::Unknown(Cause::Fork),
            Some(_) if !bracket.broken => Class::Covered,
            _ => Class::Presumed,
        }
    }

    /// The copies that hold at T, each with its verdict.
    pub fn held(&self, bracket: &Bracket) -> Vec<Judged<'_>> {
        let mut judged = Vec::new();
        let at = bracket.at;
        if bracket.before.is_none() {
            return judged;
        }
        let holds = |(_, span): &(usize, &Span)| span.from <= at && span.to.is_none_or(|to| at < to);
        for (place, span) in self.spans.iter().enumerate().filter(holds) {
            let mut push = |count, verdict| {
                if count > 0 {
                    judged.push(Judged { span, place, count, verdict });
                }
            };
            if !span.verified {
                push(span.count, Verdict::Unknown);
            } else if bracket.before == Some(at) {
                push(span.count, Verdict::Definite);
            } else if bracket.after.is_none() {
                push(span.count, Verdict::Presumed);
            } else if bracket.disputed || bracket.broken {
                push(span.count, Verdict::Unknown);
            } else if span.died > bracket.after_step {
                push(span.count, Verdict::Definite);
            } else {
                let kept = self.copies_after(bracket.after_step, span.row, true).map_or(0, |after| after.count);
                let kept = kept.min(span.count);
                push(kept, Verdict::Definite);
                push(span.count - kept, Verdict::Possible);
            }
        }
        judged
    }

    /// The version of a row that holds after a step.
    fn copies_after(&self, step: usize, row: u32, verified: bool) -> Option<&Span> {
        self.spans
            .iter()
            .find(|span| span.row == row && span.verified == verified && span.born <= step && step < span.died)
    }

    /// The copies that only the look after T has, where there is a look before T and T is none.
    pub fn only_after(&self, bracket: &Bracket) -> Vec<Judged<'_>> {
        let mut judged = Vec::new();
        let (Some(before), Some(_)) = (bracket.before, bracket.after) else {
            return judged;
        };
        if before == bracket.at {
            return judged;
        }
        let verdict = if bracket.disputed { Verdict::Unknown } else { Verdict::Possible };
        let at = bracket.at;
        let mut held: BTreeMap<u32, u64> = BTreeMap::new();
        for span in self.spans.iter().filter(|span| span.from <= at && span.to.is_none_or(|to| at < to)) {
            *held.entry(span.row).or_default() += span.count;
        }
        let step = bracket.after_step;
        let mut after: BTreeMap<u32, [Option<(usize, &Span)>; 2]> = BTreeMap::new();
        for (place, span) in self.spans.iter().enumerate().filter(|(_, span)| span.born <= step && step < span.died) {
            after.entry(span.row).or_default()[usize::from(!span.verified)] = Some((place, span));
        }
        for (row, spans) in after {
            let total: u64 = spans.iter().flatten().map(|(_, span)| span.count).sum();
            let mut extra = total.saturating_sub(held.get(&row).copied().unwrap_or(0));
            for (place, span) in spans.into_iter().flatten() {
                let count = extra.min(span.count);
                extra -= count;
                if count > 0 {
                    judged.push(Judged { span, place, count, verdict });
                }
            }
        }
        judged
    }
}

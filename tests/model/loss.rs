//! What recovery could not save: looks of which nothing is left but that they may have been.
//!
//! Must stay true:
//! - A loss is no look: it changes neither which looks there are nor their order.
//! - Nothing is vouched for that a lost look may have taken away.

use super::deliver::Look;
use super::order::{Order, Placed};
use super::wrong::Wrong;

/// Looks of the seconds from a first to a last may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// `None`: nothing tells since when.
    pub first: Option<i64>,
    /// `None`: nothing tells until when.
    pub last: Option<i64>,
    /// No counter of a lost look is one of another look.
    pub in_order: bool,
}

impl Loss {
    /// Do all looks that may be missing come before the second?
    fn is_over_at(&self, second: i64) -> bool {
        self.last.is_some_and(|last| last < second)
    }
}

/// The first and the last second of joined losses, as far as one is known; an unknown one is said to be the other.
pub(crate) fn extent(lost: &[Loss]) -> Option<(i64, i64)> {
    let (first, last) = (lost.first()?.first, lost.last()?.last);
    Some((first.or(last).unwrap_or(0), last.or(first).unwrap_or(0)))
}

/// Losses that meet are one, which is in order only if all of them are; by their first seconds.
pub(crate) fn joined(losses: impl Iterator<Item = Loss>, rules: Wrong) -> Vec<Loss> {
    let mut sorted: Vec<Loss> = losses.collect();
    sorted.sort_by_key(|loss| (loss.first, loss.last.is_none(), loss.last));
    let mut joined: Vec<Loss> = Vec::new();
    for loss in sorted {
        let meets = |before: &Loss| match (before.last, loss.first) {
            (Some(last), Some(first)) => first <= last + 1,
            _ => true,
        };
        match joined.last_mut() {
            Some(before) if meets(before) && rules != Wrong::LossesStandApart => {
                before.last = before.last.and_then(|a| Some(a.max(loss.last?)));
                before.in_order &= loss.in_order;
            }
            _ => joined.push(loss),
        }
    }
    joined
}

/// Where among the placed looks a loss breaks the stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LossAt {
    loss: Loss,
    /// The look before which its break begins; their number, if it begins after all of them.
    pub(crate) opens: usize,
    /// The look with which it ends.
    pub(crate) ends: Option<usize>,
    /// What comes after its last second is seen in its order.
    goes_on: bool,
}

impl LossAt {
    /// The places of losses, which are joined.
    pub(crate) fn all(losses: &[Loss], looks: &[Look], Order { placed, ascends }: &Order, rules: Wrong) -> Vec<LossAt> {
        let ascends = *ascends || rules == Wrong::LossAmongClockStepsBelieved;
        let second = |place: &Placed| looks[place.look].key.second;
        let place = |loss: &Loss| {
            let is_end = |place: &Placed| {
                let is_full = place.always_full || (place.full && rules == Wrong::LossEndsWithAnyFullSet);
                is_full && loss.is_over_at(second(place))
            };
            LossAt {
                loss: *loss,
                opens: placed.iter().take_while(|place| loss.first.is_some_and(|first| place.at < first)).count(),
                ends: placed.iter().position(is_end),
                goes_on: (loss.in_order || rules == Wrong::LossOutOfOrderBelieved) && ascends,
            }
        };
        losses.iter().map(place).collect()
    }

    /// Does its break go on after the look?
    pub(crate) fn is_open_after(&self, step: usize) -> bool {
        self.opens <= step && self.ends.is_none_or(|ends| step < ends)
    }

    /// Is what the look of this second brings to be relied on, as far as this loss goes?
    pub(crate) fn verifies(&self, step: usize, second: i64, rules: Wrong) -> bool {
        let is_after = self.loss.is_over_at(second) || rules == Wrong::LossBelievedWithin;
        !self.is_open_after(step) || (self.goes_on && is_after)
    }
}

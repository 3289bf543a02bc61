//! What recovery lost of a stream, as parts that are no looks.
//!
//! A loss stands among a stream's parts, so that it is stored, merged and counted as they are, and nobody who reads parts
//! can overlook it. Its lines suggest [`Inferred::Lost`]; its second is that of the first look which may be lost, its
//! counter how many seconds later the last may have been, and its epoch 1 if the lost looks are known to be in order.
//!
//! Invariants:
//! - A stream with a loss is never regular, so it is resolved whenever it is asked for.
//! - A loss is no look: it is not joined with any, and counts as none.
//! - Between the first and the last second of a loss nothing is vouched for: whatever the looks there brought, another that
//!   is lost may have taken away. Unless the lost looks are known to be in order, nothing is until the next full set: one of
//!   them may have had a counter that comes again.

use super::Part;
use crate::fact::{Inferred, Micros, SECOND_MAX, SECOND_MIN, Second};

/// The seconds of looks that are lost, first and last; [`SECOND_MIN`] and [`SECOND_MAX`] where they are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// The first second that a lost look may be of.
    pub first: Second,
    /// The last.
    pub last: Second,
    /// Whether the counters of the lost looks lie between those of the looks before and after, none twice.
    pub in_order: bool,
}

impl Loss {
    /// Of a stream of which anything may be lost.
    pub const OF_ALL: Loss = Loss::between(SECOND_MIN, SECOND_MAX);

    /// Of looks between two seconds, of which nothing else is known.
    pub const fn between(first: Second, last: Second) -> Loss {
        Loss { first, last, in_order: false }
    }

    /// As a part of its stream, for whoever asks what was known from a recorded time on.
    pub fn part(self, recorded: Micros) -> Part {
        Part {
            epoch: u64::from(self.in_order),
            counter: Some(self.last.abs_diff(self.first)),
            second: self.first,
            whole: true,
            inferred: Inferred::Lost,
            recorded,
            removed: Vec::new(),
            added: Vec::new(),
        }
    }

    /// What a part says, if it is a loss.
    fn of(part: &Part) -> Option<Loss> {
        part.is_loss().then(|| {
            let last = part.second.saturating_add_unsigned(part.counter.unwrap_or(0));
            Loss { first: part.second, last, in_order: part.epoch == 1 }
        })
    }
}

impl Part {
    /// Whether it is no delivery, but tells that some are lost.
    pub fn is_loss(&self) -> bool {
        self.inferred == Inferred::Lost
    }
}

/// Takes the losses out of a stream's parts: in order, and none meets another.
pub(super) fn take(parts: &mut Vec<Part>) -> Vec<Loss> {
    let mut losses: Vec<Loss> = parts.iter().filter_map(Loss::of).collect();
    if losses.is_empty() {
        return losses;
    }
    parts.retain(|part| !part.is_loss());
    losses.sort_unstable();
    losses.dedup_by(|next, first| {
        let meets = next.first <= first.last.saturating_add(1);
        if meets {
            first.last = first.last.max(next.last);
            first.in_order &= next.in_order;
        }
        meets
    });
    losses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_meet_are_one() {
        let of = Loss::between;
        let mut parts: Vec<Part> =
            [of(50, 60), of(10, 20), of(21, 30), of(15, 16), of(62, 62)].into_iter().map(|loss| loss.part(1)).collect();
        parts.push(Part { inferred: Inferred::V5_7, ..of(70, 70).part(1) });
        assert_eq!(take(&mut parts), [of(10, 30), of(50, 60), of(62, 62)]);
        assert_eq!(parts.len(), 1);
        let mut parts = vec![Loss::OF_ALL.part(1)];
        assert_eq!(take(&mut parts), [Loss::OF_ALL]);
        let mut parts = [of(10, 20), Loss { in_order: true, ..of(15, 30) }].map(|loss| loss.part(1)).to_vec();
        assert_eq!(take(&mut parts), [of(10, 30)], "not in order, since one of them is not");
    }
}

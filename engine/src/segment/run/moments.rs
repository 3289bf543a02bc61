//! A run that tells what the facts of a stream mean which is not regular: its looks are
//! [moments](crate::timeline::moments), some of which are no looks but the begins of breaks, and its versions may be of
//! copies that no look vouches for.
//!
//! Invariant: what is around a second, and what a version says, is what the timeline of the facts says.

use super::stream::{Around, Run, Version};
use crate::codec::Fault;
use crate::error::Error;
use crate::fact::Second;
use crate::read::answer::{self, Cause, Cost, End, Start};
use crate::row::Row;
use crate::timeline::moments::{State, VersionCopies};
use crate::timeline::regular::LastLook;

/// What is around T beside the looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    /// The moment of the first look after T; the number of moments if there is none.
    pub after: usize,
    /// Whether that look is one of several full sets with different content.
    pub is_disputed: bool,
    /// Whether a break begins after the look before T and before the look after it.
    pub is_broken: bool,
    /// Why the state cannot be vouched for at T.
    pub cause: Option<Cause>,
    /// Whether there is no doubt at all: T lies between two looks, or after the last, as in a regular stream.
    pub is_calm: bool,
}

impl Run<'_> {
    /// Whether its looks are moments.
    pub fn is_resolved(&self) -> bool {
        self.is_resolved
    }

    /// What a moment is, and when.
    fn moment(&mut self, look: usize, cost: &mut Cost) -> Result<(Second, State), Error> {
        let (at, within) = self.piece_of_look(look)?;
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let mut moment = || {
            let looks = open.borrow_dependent().of_looks(cost)?;
            Ok((looks.head().second(within)?, looks.state(within)?))
        };
        moment().map_err(|fault: Fault| of.error(fault))
    }

    /// All moments, in order.
    pub fn moments(&mut self, cost: &mut Cost) -> Result<Vec<(Second, State)>, Error> {
        let mut moments = Vec::with_capacity(self.looks());
        for at in 0..self.pieces.len() {
            let (of, open) = (self.place(at), self.piece(at, cost)?);
            let mut read = || -> Result<(), Fault> {
                let looks = open.borrow_dependent().of_looks(cost)?;
                let columns = looks.moment_columns()?;
                for look in 0..looks.head().looks() {
                    moments.push((looks.head().second(look)?, looks.moment(&columns, look)?.0));
                }
                Ok(())
            };
            read().map_err(|fault| of.error(fault))?;
        }
        Ok(moments)
    }

    /// When the last look before a moment was that is of an earlier second.
    fn look_before(&mut self, moment: usize, cost: &mut Cost) -> Result<Option<Second>, Error> {
        let second = self.second(moment, cost)?;
        for before in (0..moment).rev() {
            let (at, state) = self.moment(before, cost)?;
            if !state.is_mark && at < second {
                return Ok(Some(at));
            }
        }
        Ok(None)
    }

    /// The looks around a second, with the number of moments at or before it, and what is in doubt there.
    pub fn around_moments(&mut self, at: Second, cost: &mut Cost) -> Result<(Around, Doubts), Error> {
        let until = self.around(at, cost)?.until;
        let (mut around, mut doubts) = (Around { until, ..Around::default() }, Doubts::default());
        let (mut marks, mut last) = (Vec::new(), until);
        while around.before.is_none()
            && let Some(moment) = last.checked_sub(1)
        {
            let (second, state) = self.moment(moment, cost)?;
            if last == until {
                doubts.cause = state.cause;
            }
            if state.is_mark {
                marks.push(second)
            } else {
                around.before = Some(second)
            }
            last = moment;
        }
        doubts.after = until;
        while around.after.is_none() && doubts.after < self.looks() {
            let (second, state) = self.moment(doubts.after, cost)?;
            if state.is_mark {
                marks.push(second);
                doubts.after += 1;
            } else {
                (around.after, doubts.is_disputed) = (Some(second), state.is_disputed);
            }
        }
        doubts.is_broken = match (around.before, around.after) {
            (Some(before), Some(after)) => marks.iter().any(|&mark| before < mark && mark < after),
            _ => false,
        };
        doubts.is_calm = marks.is_empty() && doubts.cause.is_none() && !doubts.is_disputed;
        // What ends at another look of the second of the one after T is there at that one.
        if doubts.is_calm && doubts.after + 1 < self.looks() {
            doubts.is_calm = Some(self.second(doubts.after + 1, cost)?) != around.after;
        }
        Ok((around, doubts))
    }

    /// The look that whatever follows goes on from, and why the state cannot be vouched for after it; `None` where what follows
    /// might change what was.
    pub fn goes_on(&mut self, cost: &mut Cost) -> Result<Option<(LastLook, Option<Cause>)>, Error> {
        let at = self.pieces.len().saturating_sub(1);
        let (of, open) = (self.place(at), self.piece(at, cost)?);
        let mut last = || -> Result<_, Fault> {
            let looks = open.borrow_dependent().of_looks(cost)?;
            let look = looks.head().looks().saturating_sub(1);
            Ok((looks.head().second(look)?, looks.moment(&looks.moment_columns()?, look)?))
        };
        let (second, (state, epoch, counter)) = last().map_err(|fault| of.error(fault))?;
        let looks = self.looks() as u32;
        let last = LastLook { looks, second, epoch, counter };
        Ok((state.goes_on && !state.is_mark).then_some((last, state.cause)))
    }

    /// When a version is born and when it is gone, by moment, and its copies as a number.
    pub(crate) fn lifetime(&mut self, ordinal: usize, cost: &mut Cost) -> Result<Version, Error> {
        let (place, at) = self.block_of(ordinal)?;
        let (of, open) = (self.place(place.0), self.piece(place.0, cost)?);
        let opened = open.borrow_dependent();
        let known = self.block(place, opened, cost)?;
        cost.keys_decoded += 1;
        let mut version = || {
            let (body, group) = (opened.body(place.1, cost)?, known.group_of(at)?);
            Run::version_of(opened, place.1, known, &body, group, at)
        };
        version().map_err(|fault| of.error(fault))
    }

    /// A version as answers give it.
    pub(super) fn resolved_version(
        &mut self,
        version: &Version,
        row: Row,
        from: Second,
        cost: &mut Cost,
    ) -> Result<answer::Version, Error> {
        let from_after = self.look_before(version.born, cost)?;
        let (_, born) = self.moment(version.born, cost)?;
        let start = if born.is_mark { Start::Break } else { Start::Seen };
        let (mut to, mut to_after, mut end) = (None, None, End::Open);
        if let Some(died) = version.died {
            let (second, state) = self.moment(died, cost)?;
            (to, to_after) = (Some(second), self.look_before(died, cost)?);
            end = if state.is_mark { End::Break } else { End::Gone };
        }
        let VersionCopies { count, verified, .. } = VersionCopies::from_number(version.count);
        let (host, stream) = self.named();
        Ok(answer::Version { host, stream, row, count, from, from_after, to, to_after, start, end, verified })
    }
}

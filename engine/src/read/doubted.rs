//! A settled stream whose run tells of breaks, read at T: copies are judged by what the looks around T say of each row, as
//! in a timeline, of which here only what is around T is put together.
//!
//! Invariants:
//! - It says what the timeline of all parts would say.
//! - Nothing is read but what holds at T and, if that is asked for or a row's copies change there, what appears until the look
//!   after it, whatever was before and comes later.

use super::answer::{Cost, End, Held, Start};
use super::at::sort_held;
use super::settled::{Settled, corrected};
use super::tail::Seen;
use crate::error::Error;
use crate::fact::Second;
use crate::memtable::Interner;
use crate::row::Row;
use crate::segment::run::moments::Doubts;
use crate::segment::run::open::Entry;
use crate::timeline::resolve::{Span, Timeline};
use crate::timeline::verdict::Bracket;
use std::sync::Arc;

impl Settled<'_> {
    /// Appends the copies at T whose row is wanted; with `with_after`, also those that only the look after T has.
    pub(super) fn held_doubted(
        &mut self,
        doubts: &Doubts,
        with_after: bool,
        keep: impl Fn(&Row) -> bool,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let (until, after) = (self.looks.until, doubts.after);
        let is_look = self.looks.before == Some(self.at);
        let (Some(run), Some(look), Some(_)) = (&mut self.run, until.checked_sub(1), self.looks.before) else {
            return Ok(());
        };
        let note = |found: &mut Vec<Entry>, entry: &Entry| {
            found.extend(Some(entry).filter(|entry| keep(entry.row())).cloned());
            Ok(())
        };
        let mut found: Vec<Entry> = Vec::new();
        run.alive_after(look, cost, |entry, _| note(&mut found, entry))?;
        if !is_look && let Some(next) = self.looks.after {
            // A row may have another number of copies after the next look.
            let is_wanted = with_after || found.iter().any(|entry| entry.to == next && entry.is_odd);
            if is_wanted {
                let until_next = until..after.saturating_add(1).min(run.looks());
                run.born_in(until_next, cost, |entry, _| note(&mut found, entry))?;
            }
        }
        self.judge(doubts, found, with_after, out, cost)
    }

    /// Of so many versions of the run, whose ordinals ascend and with each of which are all that have its row, appends the
    /// copies that are candidates at T and whose row is wanted.
    pub(super) fn among_doubted(
        &mut self,
        doubts: &Doubts,
        (count, ordinal): (usize, impl Fn(usize) -> Result<usize, Error>),
        with_after: bool,
        keep: impl Fn(&Row) -> bool,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let (at, last) = (self.at, self.looks.after.unwrap_or(self.at));
        let (Some(run), Some(look), Some(_)) = (&mut self.run, self.looks.until.checked_sub(1), self.looks.before)
        else {
            return Ok(());
        };
        let mut found: Vec<Entry> = Vec::new();
        run.among(look, last, count, ordinal, cost, |entry| {
            let is_around = entry.to > at && entry.from <= last;
            found.extend(Some(entry).filter(|entry| is_around && keep(entry.row())).cloned());
            Ok(())
        })?;
        self.judge(doubts, found, with_after, out, cost)
    }

    /// Appends the candidates among versions around T, by row, from and verdict.
    fn judge(
        &mut self,
        doubts: &Doubts,
        found: Vec<Entry>,
        with_after: bool,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let (Some(run), Some(before)) = (&mut self.run, self.looks.before) else { return Ok(()) };
        let (at, after) = (self.at, self.looks.after);
        let tail = self.tail.as_ref().map(Seen::read);
        let (mut rows, mut spans, mut versions) = (Interner::default(), Vec::with_capacity(found.len()), Vec::new());
        for entry in &found {
            let Some(version) = corrected(tail.as_ref(), entry).version() else { continue };
            // Only where something is of the very second of the look after T its moment must tell on which side it is.
            let is_of_second = |second: Second| Some(second) == after;
            let (mut born, mut died) = (0, if after.is_none_or(|after| entry.to > after) { usize::MAX } else { 1 });
            if is_of_second(entry.from) || is_of_second(entry.to) {
                let version = run.lifetime(entry.ordinal as usize, cost)?;
                born = if version.born > doubts.after { 2 } else { 0 };
                died = if version.died.is_none_or(|died| died > doubts.after) { usize::MAX } else { 1 };
            }
            spans.push(Span {
                row: rows.intern(&version.row).0,
                count: version.count,
                verified: version.verified,
                from: entry.from,
                to: (entry.to != Second::MAX).then_some(entry.to),
                start: Start::Seen,
                end: End::Open,
                born,
                died,
            });
            versions.push(version.clone());
        }
        let timeline = Timeline { spans, ..Timeline::default() };
        let bracket = Bracket::between(at, before, after, doubts.is_disputed, doubts.is_broken);
        let mut judged = timeline.held(&bracket);
        if with_after {
            judged.extend(timeline.only_after(&bracket));
        }
        let start = out.len();
        out.extend(judged.into_iter().map(|judged| {
            let mut version = versions[judged.place].clone();
            if version.count != judged.count {
                Arc::make_mut(&mut version).count = judged.count;
            }
            Held { version, verdict: judged.verdict, before: Some(before), after }
        }));
        sort_held(&mut out[start..], false);
        Ok(())
    }
}

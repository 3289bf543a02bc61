//! A settled stream at T, read from its run and its tail.
//!
//! Invariants:
//! - It says what the timeline of the stream's parts would say: where neither run nor tail has a break, what was seen at the
//!   looks around T and in every run between them is definite. Of a run that tells of breaks the state at T is read so too
//!   where no doubt is near and no version is odd, all else in `doubted`; a tail that goes on from one has none of its own,
//!   so each version is judged by itself there.
//! - A version of the run that ends in the tail is given as it ends there.

use super::answer::{Cause, Cost, Held, Verdict, Version};
use super::rows::{self, Rows};
use super::source::Source;
use super::tail::{Reading, Seen};
use crate::error::Error;
use crate::fact::Second;
use crate::row::{self, Row, compare};
use crate::segment::cache::Cache;
use crate::segment::run::moments::Doubts;
use crate::segment::run::open::{Alive, AliveVersion, Entry, Ranked};
use crate::segment::run::stream::{Around, Run};
use crate::timeline::verdict::Class;
use std::cell::Cell;
use std::sync::Arc;

/// A version that holds at T.
struct Candidate {
    version: Arc<Version>,
    verdict: Verdict,
    ordinal: u32,
}

/// Puts the rows of a stream in order; one is used for many.
#[derive(Default)]
pub(super) struct Sorter {
    /// By birth.
    found: Vec<Option<Candidate>>,
    /// For each rank that is known the place in `found`, or [`NONE`]; and the places of those whose rank is not known.
    ranked: Vec<u32>,
    fresh: Vec<u32>,
    order: Vec<u32>,
    rows: row::Sorter,
}

/// No place.
const NONE: u32 = u32::MAX;

impl Sorter {
    /// Works out the order of what was found, most of which may have been in an order before; tells whether some was not.
    /// Of versions that a run does not have, which are those from ordinal `versions` on, nothing is remembered.
    fn sort(&mut self, known: &[Ranked], versions: u32) -> bool {
        let Sorter { found, ranked, fresh, order, rows } = self;
        ranked.clear();
        ranked.resize(known.len(), NONE);
        fresh.clear();
        order.clear();
        let mut known = known.iter().peekable();
        for (place, candidate) in (0..).zip(found.iter().flatten()) {
            while known.next_if(|(ordinal, _)| *ordinal < candidate.ordinal).is_some() {}
            match known.next_if(|(ordinal, _)| *ordinal == candidate.ordinal) {
                Some((_, rank)) => ranked[*rank as usize] = place,
                None => fresh.push(place),
            }
        }
        let row = |place: u32| found[place as usize].as_ref().map_or(&[][..], |of| of.version.row.as_bytes());
        rows.sort(fresh, row);
        ranked.retain(|&place| place != NONE);
        let mut rest = &ranked[..];
        for &place in &*fresh {
            let (before, others) =
                rest.split_at(rest.partition_point(|&other| compare(row(other), row(place)).is_lt()));
            order.extend_from_slice(before);
            order.push(place);
            rest = others;
        }
        order.extend_from_slice(rest);
        fresh.iter().any(|&place| found[place as usize].as_ref().is_some_and(|fresh| fresh.ordinal < versions))
    }

    /// The order that was worked out, of the versions that the run has.
    fn ranks(&self, versions: u32) -> Arc<[Ranked]> {
        let of_run = self.found.iter().flatten().map(|candidate| candidate.ordinal);
        let mut ranks: Vec<Ranked> = Vec::with_capacity(self.found.len());
        ranks.extend(of_run.take_while(|&ordinal| ordinal < versions).map(|ordinal| (ordinal, 0)));
        let of_run = ranks.len() as u32;
        for (rank, &place) in (0..).zip(self.order.iter().filter(|&&place| place < of_run)) {
            ranks[place as usize].1 = rank;
        }
        ranks.into()
    }
}

/// A settled stream, and where T is among its looks.
pub(super) struct Settled<'s> {
    pub(super) run: Option<Run<'s>>,
    pub(super) tail: Option<Seen>,
    pub(super) at: Second,
    /// Around T, as if the run were all; where it is not, `before` and `after` are corrected.
    pub(super) looks: Around,
    /// How many looks of the tail are at or before T.
    of_tail: u32,
    /// What is in doubt around T, if a run that tells what facts mean is what answers there.
    doubts: Option<Doubts>,
}

/// The verdict of a version at T, if it is a candidate there: alive, or with `with_after` in the look after T alone.
#[inline]
fn verdict_of(entry: &Entry, looks: &Around, at: Second, with_after: bool) -> Option<Verdict> {
    let before = looks.before?;
    if entry.from > before {
        let is_after = with_after && before != at && looks.after == Some(entry.from);
        return is_after.then_some(Verdict::Possible);
    }
    let around = rows::Around { before, after: looks.after, is_look: before == at };
    (entry.to > before).then(|| around.verdict(entry.to))
}

/// A version that is a candidate at T and whose row is wanted, with its verdict; `doubt` is the tail of a run that ends within
/// a break.
#[inline]
fn candidate_of<'e>(
    entry: &'e Entry,
    looks: &Around,
    at: Second,
    with_after: bool,
    doubt: Option<&Reading<'_>>,
    keep: impl Fn(&Row) -> bool,
) -> Option<(&'e Arc<Version>, Verdict)> {
    let verdict = verdict_of(entry, looks, at, with_after)?;
    let version = entry.version().filter(|version| keep(&version.row))?;
    match doubt {
        None => Some((version, verdict)),
        Some(_) if !version.verified => Some((version, Verdict::Unknown)),
        // What only the look after T has was not there before, however unsure.
        Some(tail) if looks.before < Some(entry.from) && tail.is_there_again(entry) => None,
        Some(_) => Some((version, verdict)),
    }
}

/// An entry of the run as the tail corrects it, if there is one.
#[inline]
pub(super) fn corrected<'e>(tail: Option<&'e Reading<'_>>, entry: &'e Entry) -> &'e Entry {
    tail.map_or(entry, |tail| tail.correct(entry))
}

impl<'s> Settled<'s> {
    /// The stream at T.
    #[inline]
    pub(super) fn new(
        source: &Source<'s>,
        cache: &'s Cache,
        at: Second,
        cost: &mut Cost,
    ) -> Result<Settled<'s>, Error> {
        let run = source.run.as_ref().map(|run| run.reader.run(&run.record, Some(cache)));
        let (tail, looks) = (source.tail.clone(), Around::default());
        let mut settled = Settled { run, tail, at, looks, of_tail: 0, doubts: None };
        settled.locate(cost)?;
        Ok(settled)
    }

    fn locate(&mut self, cost: &mut Cost) -> Result<(), Error> {
        let Settled { run, tail, at, .. } = self;
        (self.looks, self.doubts) = match run {
            Some(run) if run.is_resolved() => {
                let (looks, doubts) = run.around_moments(*at, cost)?;
                (looks, Some(doubts))
            }
            Some(run) => (run.around(*at, cost)?, None),
            None => (Around::default(), None),
        };
        self.of_tail = 0;
        if let Some(tail) = tail
            && self.looks.after.is_none()
        {
            let reading = tail.read();
            let seconds = reading.seconds();
            let until = seconds.partition_point(|second| second <= at);
            self.looks.before = until.checked_sub(1).map(|last| seconds[last]).or(self.looks.before);
            self.looks.after = seconds.get(until).copied();
            self.of_tail = until as u32;
            // A tail goes on only from where nothing is in doubt.
            self.doubts = None;
        }
        Ok(())
    }

    /// The stream at another T.
    pub(super) fn move_to(&mut self, at: Second, cost: &mut Cost) -> Result<(), Error> {
        // Times asked for one after the other mostly have the same looks around them.
        let Around { before, after, .. } = self.looks;
        self.at = at;
        let is_elsewhere = before.is_none_or(|before| at < before) || after.is_some_and(|after| after <= at);
        // A break may begin between looks.
        if is_elsewhere || self.doubts.is_some() {
            self.locate(cost)?;
        }
        Ok(())
    }

    /// When the looks around T were.
    pub(super) fn around(&self) -> (Option<Second>, Option<Second>) {
        (self.looks.before, self.looks.after)
    }

    /// The verdict of a version at T, if it is a candidate there.
    pub(super) fn verdict(&self, entry: &Entry, with_after: bool) -> Option<Verdict> {
        verdict_of(entry, &self.looks, self.at, with_after)
    }

    /// Gives versions of the stream, whose ordinals ascend.
    pub(super) fn each_of(
        &mut self,
        ordinals: &[usize],
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let of_run = match &self.tail {
            Some(tail) => ordinals.partition_point(|&ordinal| ordinal < tail.run_versions()),
            None => ordinals.len(),
        };
        let tail = self.tail.as_ref().map(Seen::read);
        if let Some(run) = &mut self.run {
            let each = |entry: &Entry, cost: &mut Cost| each(corrected(tail.as_ref(), entry), cost);
            run.each_of(&ordinals[..of_run], cost, each)?;
        }
        let Some(tail) = tail else { return Ok(()) };
        ordinals[of_run..]
            .iter()
            .filter_map(|&ordinal| tail.of_ordinal(ordinal))
            .try_for_each(|entry| each(entry, cost))
    }

    /// Of so many versions of the run, whose ordinals ascend, gives those that are candidates at any second of a span, and
    /// perhaps others.
    pub(super) fn each_of_between(
        &mut self,
        (first, last): (Second, Second),
        count: usize,
        ordinal: impl Fn(usize) -> Result<usize, Error>,
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let tail = self.tail.as_ref().map(Seen::read);
        let Some(run) = &mut self.run else { return Ok(()) };
        let look = run.around(first, cost)?.until.saturating_sub(1);
        let until = run.around(last, cost)?.after.unwrap_or(last);
        let mut found = Vec::new();
        run.among(look, until, count, ordinal, cost, |entry| {
            found.push(entry.clone());
            Ok(())
        })?;
        found.iter().try_for_each(|entry| each(corrected(tail.as_ref(), entry), cost))
    }

    /// Gives the versions that appear in the tail, by birth.
    pub(super) fn each_of_tail(
        &self,
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(tail) = &self.tail else { return Ok(()) };
        tail.read().born().try_for_each(|entry| each(entry, cost))
    }

    /// Gives the versions that are candidates at any second of a span, or overlap it, and perhaps others.
    pub(super) fn each_around(
        &mut self,
        (from, to): (Option<Second>, Option<Second>),
        cost: &mut Cost,
        mut each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let tail = self.tail.as_ref().map(Seen::read);
        if let Some(run) = &mut self.run {
            let mut each = |entry: &Entry, cost: &mut Cost| each(corrected(tail.as_ref(), entry), cost);
            // What is born and gone within one second is none of what is alive after it.
            let from = from.map(|from| from.saturating_sub(Second::from(run.is_resolved())));
            let until = from.map_or(Ok(0), |from| run.looks_until(from, cost))?;
            // Also those of the look after it.
            let end = to.map_or(Ok(run.looks()), |to| run.looks_until(to, cost))?.saturating_add(1).min(run.looks());
            if let Some(look) = until.checked_sub(1) {
                run.alive_after(look, cost, &mut each)?;
            }
            run.born_in(until..end, cost, &mut each)?;
        }
        tail.iter().flat_map(Reading::born).try_for_each(|entry| each(entry, cost))
    }

    /// About how many versions [`Self::each_around`] gives.
    pub(super) fn count_around(&mut self, (from, to): (Second, Second), cost: &mut Cost) -> Result<usize, Error> {
        let of_tail = self.tail.as_ref().map_or(0, |tail| tail.read().born_len());
        let Some(run) = &mut self.run else { return Ok(of_tail) };
        let (until, end) = (run.looks_until(from, cost)?, run.looks_until(to, cost)?);
        Ok(of_tail + run.count_around(until, end.saturating_add(1).min(run.looks()), cost)?)
    }

    /// The stream's class at T.
    pub(super) fn class(&self) -> Class {
        if let (Some(before), Some(doubts)) = (self.looks.before, &self.doubts) {
            return match (doubts.cause, self.looks.after) {
                (Some(cause), _) => Class::Unknown(cause),
                _ if before == self.at => Class::Covered,
                (None, Some(_)) if doubts.is_disputed => Class::Unknown(Cause::Fork),
                (None, Some(_)) if !doubts.is_broken => Class::Covered,
                _ => Class::Presumed,
            };
        }
        let doubt = self.tail.as_ref().filter(|_| self.looks.before.is_some()).map(Seen::read);
        if let Some(cause) = doubt.and_then(|tail| tail.cause_at(self.at)) {
            return Class::Unknown(cause);
        }
        match (self.looks.before, self.looks.after) {
            (None, _) => Class::Unknown(Cause::BeforeFirst),
            (Some(before), None) if before < self.at => Class::Presumed,
            _ => Class::Covered,
        }
    }

    /// The class at T of a settled stream with this first and last look.
    pub(super) fn class_of(first: Second, last: Second, at: Second) -> Class {
        match () {
            () if at < first => Class::Unknown(Cause::BeforeFirst),
            () if last < at => Class::Presumed,
            () => Class::Covered,
        }
    }

    /// Appends those of so many versions of the run, whose ordinals ascend, that are candidates at T and whose row is wanted.
    pub(super) fn among(
        &mut self,
        count: usize,
        ordinal: impl Fn(usize) -> Result<usize, Error>,
        with_after: bool,
        keep: impl Fn(&Row) -> bool,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let Around { until, before, after } = self.looks;
        if let Some(doubts) = self.doubts {
            return self.among_doubted(&doubts, (count, ordinal), with_after, keep, out, cost);
        }
        let (Some(run), Some((look, before))) = (&mut self.run, until.checked_sub(1).zip(before)) else {
            return Ok(());
        };
        let (looks, at, tail) = (self.looks, self.at, self.tail.as_ref().map(Seen::read));
        let until = if with_after { after.unwrap_or(before) } else { before };
        run.among(look, until, count, ordinal, cost, |entry| {
            let entry = corrected(tail.as_ref(), entry);
            let doubt = tail.as_ref().and_then(Reading::in_doubt);
            if let Some((version, verdict)) = candidate_of(entry, &looks, at, with_after, doubt, &keep) {
                out.push(Held { version: version.clone(), verdict, before: looks.before, after });
            }
            Ok(())
        })
    }

    /// Appends one version of the run, which tells of no breaks, if it is a candidate at T and its row is wanted.
    pub(super) fn one(
        &mut self,
        ordinal: usize,
        with_after: bool,
        keep: impl Fn(&Row) -> bool,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let Some(run) = &mut self.run else { return Ok(()) };
        let (looks, at) = (self.looks, self.at);
        let tail = self.tail.as_ref().map(Seen::read);
        run.one(ordinal, cost, |entry| {
            let entry = corrected(tail.as_ref(), entry);
            let doubt = tail.as_ref().and_then(Reading::in_doubt);
            if let Some((version, verdict)) = candidate_of(entry, &looks, at, with_after, doubt, keep) {
                out.push(Held { version: version.clone(), verdict, before: looks.before, after: looks.after });
            }
        })
    }

    /// Appends the versions that appear in the tail, are candidates at T and whose row is wanted.
    pub(super) fn among_tail(&self, with_after: bool, keep: impl Fn(&Row) -> bool, out: &mut Vec<Held>) {
        let Some(tail) = self.tail.as_ref().filter(|_| self.of_tail > 0 || with_after) else { return };
        let (looks, at) = (self.looks, self.at);
        let tail = tail.read();
        for entry in tail.born_if(keep) {
            let candidate = candidate_of(entry, &looks, at, with_after, tail.in_doubt(), |_| true);
            if let Some((version, verdict)) = candidate {
                out.push(Held { version: version.clone(), verdict, before: looks.before, after: looks.after });
            }
        }
    }

    /// Appends the copies at T whose row is wanted, all or those that `keep` tells; with `with_after`, also those that only the
    /// look after T has. They come in the order of their rows, each of which is there once.
    pub(super) fn held(
        &mut self,
        with_after: bool,
        is_all: bool,
        keep: impl Fn(&Row) -> bool,
        sorter: &mut Sorter,
        out: &mut Rows,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let doubts = self.doubts;
        if let Some(doubts) = doubts.filter(|doubts| !doubts.is_calm) {
            return self.held_doubted(&doubts, with_after, keep, &mut out.held, cost);
        }
        let (looks, at) = (self.looks, self.at);
        let Around { before, after, .. } = looks;
        let mut is_odd = false;
        sorter.found.clear();
        let tail = self.tail.as_ref().map(Seen::read);
        let doubt = tail.as_ref().and_then(Reading::in_doubt);
        let mut note = |entry: &Entry| {
            if let Some((version, verdict)) = candidate_of(entry, &looks, at, with_after, doubt, &keep) {
                is_odd |= entry.is_odd;
                let (version, ordinal) = (version.clone(), entry.ordinal);
                sorter.found.push(Some(Candidate { version, verdict, ordinal }));
            }
        };
        let with_after = with_after && before.is_some_and(|before| before != at) && after.is_some();
        let remembers = self.tail.is_none() && !with_after;
        if remembers
            && let Some(run) = &mut self.run
            && let Some((look, before)) = looks.until.checked_sub(1).zip(before)
            && let Some(alive) = run.known_alive(look, before, cost)?
        {
            out.give(alive, rows::Around { before, after, is_look: before == at }, is_all, keep);
            return Ok(());
        }
        let (mut order, mut alive) = (None, None);
        if let Some(look) = self.of_tail.checked_sub(1) {
            tail.iter().flat_map(|tail| tail.alive_after(look)).for_each(&mut note);
        } else if let (Some(run), Some(look)) = (&mut self.run, looks.until.checked_sub(1)) {
            let count = Cell::new(0);
            let mut note = |entry: &Entry, _: &mut Cost| {
                count.set(count.get() + 1);
                note(corrected(tail.as_ref(), entry));
                Ok(())
            };
            run.alive_after(look, cost, &mut note)?;
            alive = remembers.then(|| count.get());
            if with_after && looks.until < run.looks() {
                run.born_in(looks.until..looks.until + 1, cost, &mut note)?;
            }
            order = run.order(cost)?;
        }
        if with_after && looks.until >= self.run.as_ref().map_or(0, Run::looks) {
            let next = self.of_tail..self.of_tail + 1;
            tail.iter().flat_map(|tail| tail.born_in(next.clone())).for_each(&mut note);
        }
        drop(tail);
        if let Some(doubts) = doubts.filter(|_| is_odd) {
            return self.held_doubted(&doubts, with_after, keep, &mut out.held, cost);
        }
        let known = order.unwrap_or_default();
        let versions = self.tail.as_ref().map_or(u32::MAX, |tail| tail.run_versions() as u32);
        if sorter.sort(&known, versions)
            && sorter.found.len() >= known.len()
            && self.of_tail == 0
            && let Some(run) = &mut self.run
        {
            run.put_order(sorter.ranks(versions), cost)?;
        }
        let Sorter { found, order, .. } = sorter;
        let found = order.iter().filter_map(|&place| found[place as usize].take());
        if alive == Some(order.len())
            && let Some(run) = &mut self.run
            && let Some(before) = before
        {
            let mut versions = Vec::with_capacity(order.len());
            versions.extend(found.map(|found| AliveVersion::from(found.version)));
            let alive = Arc::new(Alive::new(versions.into()));
            run.put_alive(alive.clone(), cost)?;
            out.give(alive, rows::Around { before, after, is_look: before == at }, is_all, keep);
            return Ok(());
        }
        out.held.extend(found.map(|Candidate { version, verdict, .. }| Held { version, verdict, before, after }));
        Ok(())
    }

    /// The ordinals of the versions alive at T, ascending.
    pub(super) fn alive(&mut self, cost: &mut Cost) -> Result<Vec<usize>, Error> {
        if let Some((look, tail)) = self.of_tail.checked_sub(1).zip(self.tail.as_ref()) {
            return Ok(tail.read().alive_after(look).map(|entry| entry.ordinal as usize).collect());
        }
        match (&mut self.run, self.looks.until.checked_sub(1)) {
            (Some(run), Some(look)) => run.ordinals_after(look, cost),
            _ => Ok(Vec::new()),
        }
    }
}

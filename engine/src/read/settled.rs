//! A settled stream at T, read from its run.
//!
//! Invariants:
//! - It says what the timeline of the stream's parts would say: a run has no break, so what was seen at the looks around
//!   T and in every run between them is definite.

use super::answer::{Cause, Cost, Held, Verdict, Version};
use crate::error::Error;
use crate::fact::Second;
use crate::row::{SortKey, compare};
use crate::segment::TableReader;
use crate::segment::cache::Cache;
use crate::segment::directory::StreamRecord;
use crate::segment::run::open::{Entry, Ranked};
use crate::segment::run::stream::{Around, Run};
use crate::timeline::verdict::Class;
use std::cmp::Ordering;
use std::sync::Arc;

/// A version that holds at T.
struct Candidate {
    version: Arc<Version>,
    verdict: Verdict,
    ordinal: u32,
    key: SortKey,
}

/// Puts the rows of a stream in order; one is used for many.
#[derive(Default)]
pub(super) struct Sorter {
    /// By birth.
    found: Vec<Option<Candidate>>,
    is_keyed: bool,
    /// For each rank that is known the place in `found`, or [`NONE`]; and the places of those whose rank is not known.
    ranked: Vec<u32>,
    fresh: Vec<u32>,
    order: Vec<u32>,
}

/// No place.
const NONE: u32 = u32::MAX;

impl Sorter {
    fn clear(&mut self) {
        self.found.clear();
        self.is_keyed = true;
    }

    /// Works out the order of what was found, most of which may have been in an order before; tells whether some was not.
    fn sort(&mut self, known: &[Ranked]) -> bool {
        let Sorter { found, is_keyed, ranked, fresh, order } = self;
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
        let go = |a: u32, b: u32| match (&found[a as usize], &found[b as usize]) {
            (Some(a), Some(b)) => {
                let by_key = if *is_keyed { a.key.cmp(&b.key) } else { Ordering::Equal };
                by_key.then_with(|| compare(a.version.row.as_bytes(), b.version.row.as_bytes()))
            }
            _ => Ordering::Equal,
        };
        fresh.sort_unstable_by(|a, b| go(*a, *b));
        let mut rest = fresh.iter().copied().peekable();
        for &place in ranked.iter().filter(|&&place| place != NONE) {
            while let Some(next) = rest.next_if(|next| go(*next, place).is_lt()) {
                order.push(next);
            }
            order.push(place);
        }
        order.extend(rest);
        !fresh.is_empty()
    }

    /// The order that was worked out.
    fn ranks(&self) -> Arc<[Ranked]> {
        let mut ranks: Vec<Ranked> = self.found.iter().flatten().map(|candidate| (candidate.ordinal, 0)).collect();
        for (rank, &place) in (0..).zip(&self.order) {
            ranks[place as usize].1 = rank;
        }
        ranks.into()
    }
}

/// A settled stream, and where T is among its looks.
pub(super) struct Settled<'s> {
    run: Run<'s>,
    at: Second,
    looks: Around,
}

/// The verdict of a version at T, if it is a candidate there: alive, or with `with_after` in the look after T alone.
#[inline]
fn verdict_of(entry: &Entry, looks: &Around, at: Second, with_after: bool) -> Option<Verdict> {
    let before = looks.before?;
    if entry.from > before {
        let is_after = with_after && before != at && looks.after == Some(entry.from);
        return is_after.then_some(Verdict::Possible);
    }
    Some(match looks.after {
        _ if entry.to <= before => return None,
        _ if before == at => Verdict::Definite,
        None => Verdict::Presumed,
        Some(after) if after == entry.to => Verdict::Possible,
        Some(_) => Verdict::Definite,
    })
}

/// A version that is a candidate at T and whose row is wanted, with its verdict.
#[inline]
fn candidate_of<'e>(
    entry: &'e Entry,
    looks: &Around,
    at: Second,
    with_after: bool,
    keep: impl Fn(&[u8]) -> bool,
) -> Option<(&'e Arc<Version>, Verdict)> {
    let verdict = verdict_of(entry, looks, at, with_after)?;
    let version = entry.version().filter(|version| keep(version.row.as_bytes()))?;
    Some((version, verdict))
}

impl<'s> Settled<'s> {
    /// The stream at T.
    pub(super) fn new(
        reader: TableReader<'s>,
        stream: &StreamRecord,
        cache: &'s Cache,
        at: Second,
        cost: &mut Cost,
    ) -> Result<Settled<'s>, Error> {
        let mut run = reader.run(stream, Some(cache));
        let looks = run.around(at, cost)?;
        Ok(Settled { run, at, looks })
    }

    /// The stream at another T.
    pub(super) fn move_to(&mut self, at: Second, cost: &mut Cost) -> Result<(), Error> {
        // Times asked for one after the other mostly have the same looks around them.
        let Around { before, after, .. } = self.looks;
        if before.is_none_or(|before| at < before) || after.is_some_and(|after| after <= at) {
            self.looks = self.run.around(at, cost)?;
        }
        self.at = at;
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
        each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.run.each_of(ordinals, cost, each)
    }

    /// Gives all versions, by birth.
    pub(super) fn each_entry(
        &mut self,
        cost: &mut Cost,
        each: impl FnMut(&Entry, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.run.each_entry(cost, each)
    }

    /// The stream's class at T.
    pub(super) fn class(&self) -> Class {
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

    /// Appends those of so many versions, whose ordinals ascend, that are candidates at T and whose row is wanted.
    pub(super) fn among(
        &mut self,
        count: usize,
        ordinal: impl Fn(usize) -> Result<usize, Error>,
        with_after: bool,
        keep: impl Fn(&[u8]) -> bool,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let Around { until, before, after } = self.looks;
        let Some((look, before)) = until.checked_sub(1).zip(before) else {
            return Ok(());
        };
        let (looks, at) = (self.looks, self.at);
        let until = if with_after { after.unwrap_or(before) } else { before };
        self.run.among(look, until, count, ordinal, cost, |entry| {
            if let Some((version, verdict)) = candidate_of(entry, &looks, at, with_after, &keep) {
                out.push(Held { version: version.clone(), verdict, before: looks.before, after });
            }
            Ok(())
        })
    }

    /// Appends one version, if it is a candidate at T and its row is wanted.
    pub(super) fn one(
        &mut self,
        ordinal: usize,
        with_after: bool,
        keep: impl Fn(&[u8]) -> bool,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let entry = self.run.entry(ordinal, cost)?;
        if let Some((version, verdict)) = candidate_of(&entry, &self.looks, self.at, with_after, keep) {
            let (before, after) = self.around();
            out.push(Held { version: version.clone(), verdict, before, after });
        }
        Ok(())
    }

    /// Appends the copies at T whose row is wanted; with `with_after`, also those that only the look after T has. They
    /// come in the order of their rows, each of which is there once.
    pub(super) fn held(
        &mut self,
        with_after: bool,
        keep: impl Fn(&[u8]) -> bool,
        sorter: &mut Sorter,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let Around { until, before, after } = self.looks;
        let Some(look) = until.checked_sub(1) else {
            return Ok(());
        };
        sorter.clear();
        let (looks, at) = (self.looks, self.at);
        let mut note = |entry: &Entry, _: &mut Cost| {
            if let Some((version, verdict)) = candidate_of(entry, &looks, at, with_after, &keep) {
                sorter.is_keyed &= entry.is_keyed;
                let (version, ordinal, key) = (version.clone(), entry.ordinal, entry.key);
                sorter.found.push(Some(Candidate { version, verdict, ordinal, key }));
            }
            Ok(())
        };
        self.run.alive_after(look, cost, &mut note)?;
        if with_after && before != Some(at) && after.is_some() {
            self.run.born_in(until..until + 1, cost, &mut note)?;
        }
        let known = self.run.order(cost)?.unwrap_or_default();
        if sorter.sort(&known) && sorter.found.len() >= known.len() {
            self.run.put_order(sorter.ranks(), cost)?;
        }
        let Sorter { found, order, .. } = sorter;
        out.reserve(found.len());
        for &place in order.iter() {
            if let Some(Candidate { version, verdict, .. }) = found[place as usize].take() {
                out.push(Held { version, verdict, before, after });
            }
        }
        Ok(())
    }

    /// The ordinals of the versions alive at T, ascending.
    pub(super) fn alive(&mut self, cost: &mut Cost) -> Result<Vec<usize>, Error> {
        match self.looks.until.checked_sub(1) {
            Some(look) => self.run.ordinals_after(look, cost),
            None => Ok(Vec::new()),
        }
    }
}

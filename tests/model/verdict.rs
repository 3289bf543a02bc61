//! What may be said of a stream at an instant: the looks that enclose it, the class of the stream, the copies of each row.
//!
//! Must stay true: no verdict is more certain than the two looks around the instant and the breaks between them allow.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::line::Row;
use super::versions::{Timeline, Version};
use super::wrong::Wrong;

/// How sure a row is, surest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Definite,
    Presumed,
    Possible,
    Unknown,
}

impl Verdict {
    /// The word for it in answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Verdict::Definite => "definite",
            Verdict::Presumed => "presumed",
            Verdict::Possible => "possible",
            Verdict::Unknown => "unknown",
        }
    }
}

/// How well a stream covers an instant, best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Covered,
    Presumed,
    Unknown,
}

/// Copies of a row that share a verdict, with the version they belong to.
#[derive(Debug, Clone)]
pub(crate) struct Copies<'a> {
    pub(crate) version: &'a Version,
    pub(crate) count: u64,
    pub(crate) verdict: Verdict,
}

/// One stream at one instant.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Instant<'a> {
    timeline: &'a Timeline,
    at: i64,
    rules: Wrong,
    /// Index of the last look at or before, and of the first look after.
    a: Option<usize>,
    b: Option<usize>,
}

impl<'a> Instant<'a> {
    pub(crate) fn new(timeline: &'a Timeline, at: i64, rules: Wrong) -> Instant<'a> {
        let a = timeline.placed.iter().rposition(|p| p.at <= at);
        let b = timeline.placed.iter().position(|p| p.at > at);
        Instant { timeline, at, rules, a, b }
    }

    /// The effective time of the last look at or before.
    pub(crate) fn before(&self) -> Option<i64> {
        self.a.map(|a| self.timeline.placed[a].at)
    }

    /// The effective time of the first look after.
    pub(crate) fn after(&self) -> Option<i64> {
        self.b.map(|b| self.timeline.placed[b].at)
    }

    fn is_at_look(&self) -> bool {
        self.before() == Some(self.at)
    }

    fn is_before_dispute(&self) -> bool {
        let disputed = self.b.is_some_and(|b| self.timeline.placed[b].disputed);
        disputed && !self.is_at_look() && self.rules != Wrong::DisputedBBelieved
    }

    fn break_begins_between(&self) -> bool {
        let (Some(a), Some(b)) = (self.before(), self.after()) else {
            return false;
        };
        self.timeline.breaks.iter().any(|x| x.begin.is_some_and(|begin| a < begin && begin < b))
    }

    /// How well the stream covers the instant.
    pub(crate) fn class(&self) -> Class {
        let in_break = self.timeline.breaks.iter().any(|b| b.covers(self.at));
        if self.a.is_none() || in_break || self.is_before_dispute() {
            Class::Unknown
        } else if self.is_at_look() || (self.b.is_some() && !self.break_begins_between()) {
            Class::Covered
        } else {
            Class::Presumed
        }
    }

    /// Why the class is unknown, where it is.
    pub(crate) fn cause(&self) -> &'static str {
        if self.a.is_none() && !self.timeline.placed.is_empty() {
            return "before-first";
        }
        match self.timeline.breaks.iter().find(|b| b.covers(self.at)) {
            Some(first) => first.cause.word(),
            None => "fork",
        }
    }

    /// The versions that hold at the instant.
    fn versions(&self) -> impl Iterator<Item = &'a Version> {
        let (at, off_by_one) = (self.at, self.rules == Wrong::IntervalEndOffByOne);
        let has_begun = move |v: &Version| v.from <= at;
        let goes_on = move |v: &Version| v.to.is_none_or(|to| at < to || (off_by_one && at == to));
        self.timeline.versions.iter().filter(move |v| has_begun(v) && goes_on(v))
    }

    /// Copies of each row at the instant, verified or not.
    pub(crate) fn totals(&self) -> BTreeMap<Rc<Row>, u64> {
        let mut totals = BTreeMap::new();
        for version in self.versions() {
            *totals.entry(Rc::clone(&version.row)).or_default() += version.count;
        }
        totals
    }

    /// The verified versions after the next look.
    fn verified_after(&self) -> Vec<&'a Version> {
        let Some(b) = self.b else { return Vec::new() };
        self.timeline.alive_after(b).filter(|v| v.verified).collect()
    }

    /// The rows of the last look, with the verdict of each copy.
    pub(crate) fn rows(&self) -> Vec<Copies<'a>> {
        let mut rows = Vec::new();
        let later = self.verified_after();
        for version in self.versions() {
            let all = |verdict| vec![Copies { version, count: version.count, verdict }];
            let is_at_look = self.is_at_look() && self.rules != Wrong::AtLookNotDefinite;
            rows.extend(if !version.verified || self.a.is_none() {
                all(Verdict::Unknown)
            } else if is_at_look {
                all(Verdict::Definite)
            } else if self.is_before_dispute() {
                all(Verdict::Unknown)
            } else if self.b.is_none() {
                all(Verdict::Presumed)
            } else if self.break_begins_between() {
                all(Verdict::Unknown)
            } else {
                let kept = later.iter().find(|v| v.row == version.row).map_or(0, |v| v.count).min(version.count);
                let kept = if self.rules == Wrong::GoneAtBDefinite { version.count } else { kept };
                vec![
                    Copies { version, count: kept, verdict: Verdict::Definite },
                    Copies { version, count: version.count - kept, verdict: Verdict::Possible },
                ]
            });
        }
        rows.retain(|copies| copies.count > 0);
        rows
    }

    /// Copies that only the next look has.
    pub(crate) fn only_after(&self) -> Vec<Copies<'a>> {
        let mut rows = Vec::new();
        let (Some(_), Some(b)) = (self.a, self.b) else {
            return rows;
        };
        if self.is_at_look() || self.rules == Wrong::PossibleFromBOmitted {
            return rows;
        }
        let verdict = if self.is_before_dispute() { Verdict::Unknown } else { Verdict::Possible };
        let now = self.totals();
        let mut later: BTreeMap<Rc<Row>, Vec<&'a Version>> = BTreeMap::new();
        for version in self.timeline.alive_after(b) {
            later.entry(Rc::clone(&version.row)).or_default().push(version);
        }
        for (row, mut versions) in later {
            let total: u64 = versions.iter().map(|v| v.count).sum();
            let mut more = total.saturating_sub(now.get(&row).copied().unwrap_or(0));
            versions.sort_by_key(|v| !v.verified);
            for version in versions {
                let count = version.count.min(more);
                more -= count;
                rows.push(Copies { version, count, verdict });
            }
        }
        rows.retain(|copies| copies.count > 0);
        rows
    }
}

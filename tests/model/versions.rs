//! The placed looks are played once from the first to the last: what comes out are row versions and breaks.
//!
//! Must stay true:
//! - A version is alive after look i if it was born at or before i and did not die at or before i.
//! - Unverified rows exist inside breaks only; a full set leaves none, unless it is disputed or looks around it are lost.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::deliver::{Counts, Look};
use super::line::Row;
use super::loss::{Loss, LossAt};
use super::order::{Cause, Order, Placed};
use super::wrong::Wrong;

/// One row with one count and one verified-ness over a run of seconds.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) row: Rc<Row>,
    pub(crate) count: u64,
    pub(crate) verified: bool,
    pub(crate) from: i64,
    pub(crate) to: Option<i64>,
    pub(crate) start: &'static str,
    pub(crate) end: &'static str,
    /// The index of the placed look at which it began, and of that at which it ended.
    born: usize,
    died: Option<usize>,
}

/// A stretch in which the stream cannot be vouched for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Break {
    /// `None`: since ever.
    pub(crate) begin: Option<i64>,
    /// `None`: still.
    pub(crate) end: Option<i64>,
    pub(crate) cause: Cause,
}

impl Break {
    /// Does it cover the second?
    pub(crate) fn covers(&self, at: i64) -> bool {
        self.begin.is_none_or(|begin| begin <= at) && self.end.is_none_or(|end| at < end)
    }
}

/// A stream's history, resolved.
#[derive(Debug, Clone, Default)]
pub(crate) struct Timeline {
    pub(crate) placed: Vec<Placed>,
    pub(crate) versions: Vec<Version>,
    /// By begin, then cause.
    pub(crate) breaks: Vec<Break>,
}

impl Timeline {
    /// Of a stream without state nothing is known but what is lost.
    pub(crate) fn of_no_state(lost: &[Loss]) -> Timeline {
        let of = |loss: &Loss| Break { begin: loss.first, end: loss.last.map(|last| last + 1), cause: Cause::Damage };
        Timeline { breaks: lost.iter().map(of).collect(), ..Timeline::default() }
    }

    /// The version that is alive right after the placed look.
    pub(crate) fn alive_after(&self, look: usize) -> impl Iterator<Item = &Version> {
        self.versions.iter().filter(move |v| v.born <= look && v.died.is_none_or(|died| died > look))
    }

    /// The effective time of the last look before the second.
    pub(crate) fn look_before(&self, at: i64) -> Option<i64> {
        self.placed.iter().map(|p| p.at).rfind(|time| *time < at)
    }
}

struct Player<'a> {
    looks: &'a [Look],
    placed: &'a [Placed],
    lost: &'a [LossAt],
    rules: Wrong,
    /// Copies of each row: verified and unverified.
    state: BTreeMap<Rc<Row>, (u64, u64)>,
    /// The version now open for each row and verified-ness.
    open: BTreeMap<(Rc<Row>, bool), usize>,
    versions: Vec<Version>,
    breaks: Vec<Break>,
    in_break: bool,
}

/// Plays the placed looks.
pub(crate) fn play(looks: &[Look], order: Order, lost: &[Loss], rules: Wrong) -> Timeline {
    let lost = LossAt::all(lost, looks, &order, rules);
    let placed = order.placed;
    let mut player = Player {
        looks,
        placed: &placed,
        lost: &lost,
        rules,
        state: BTreeMap::new(),
        open: BTreeMap::new(),
        versions: Vec::new(),
        breaks: Vec::new(),
        in_break: false,
    };
    for step in 0..=placed.len() {
        player.lose(step);
        if step < placed.len() {
            player.step(step);
        }
    }
    let (versions, mut breaks) = (player.versions, player.breaks);
    breaks.sort_by_key(|b| (b.begin, b.cause, b.end));
    Timeline { placed, versions, breaks }
}

impl Player<'_> {
    /// The breaks of losses that begin before the look.
    fn lose(&mut self, step: usize) {
        for at in self.lost.iter().filter(|at| at.opens == step) {
            let begin = step.checked_sub(1).map(|before| self.placed[before].at + 1);
            self.open_break(step, Cause::Damage, begin, at.ends.map(|ends| self.placed[ends].at));
        }
    }

    /// A full set ends the breaks that it can end.
    fn end_breaks(&mut self, step: usize) {
        self.in_break = self.lost.iter().any(|at| at.is_open_after(step));
    }

    /// Is what the look brings to be relied on?
    fn verifies(&self, step: usize) -> bool {
        let second = self.looks[self.placed[step].look].key.second;
        self.lost.iter().all(|at| at.verifies(step, second, self.rules))
    }

    fn step(&mut self, step: usize) {
        let place = self.placed[step].clone();
        let before = step.checked_sub(1).map(|s| self.placed[s].at);
        if place.full && place.disputed {
            let of_this_second = |p: &Placed| p.full && p.disputed && p.at == place.at;
            if !self.placed[..step].iter().any(of_this_second) {
                self.end_breaks(step);
                let end = self.placed[step..].iter().find(|p| p.full && p.at > place.at).map(|p| p.at);
                self.open_break(step, Cause::Fork, Some(place.at), end);
            }
        } else if place.full {
            self.end_breaks(step);
        } else {
            let lacks = |(row, n): (&Rc<Row>, &u64)| self.state.get(row).map_or(0, |(v, u)| v + u) < *n;
            let not_held = place.counts_copies
                && !self.in_break
                && self.rules != Wrong::NotHeldIgnored
                && self.looks[place.look].removed.iter().any(lacks);
            if let Some(cause) = place.cause.or(not_held.then_some(Cause::NotHeld)) {
                let begin = before.map(|before| if before == place.at { place.at } else { before + 1 });
                let end = self.placed[step + 1..].iter().find(|p| p.full).map(|p| p.at);
                self.open_break(step, cause, begin, end);
            }
        }
        let verified = self.verifies(step);
        let state = if place.full { self.replaced(&place, verified) } else { self.changed(&place, verified) };
        if place.full && self.rules == Wrong::FullSetSplitsVersions {
            self.set(BTreeMap::new(), step, place.at, "gone", "seen");
        }
        self.set(state, step, place.at, "gone", "seen");
    }

    /// A break begins: what is held becomes unverified. A stretch of no seconds is no break.
    fn open_break(&mut self, step: usize, cause: Cause, begin: Option<i64>, end: Option<i64>) {
        if matches!((begin, end), (Some(begin), Some(end)) if begin >= end) {
            return;
        }
        self.breaks.push(Break { begin, end, cause });
        self.in_break = true;
        if self.rules != Wrong::BreakRowsStayVerified {
            let carried = self.state.iter().map(|(row, (v, u))| (Rc::clone(row), (0, v + u))).collect();
            self.set(carried, step, begin.unwrap_or(i64::MIN), "break", "break");
        }
    }

    /// The state after a full set.
    fn replaced(&self, place: &Placed, verified: bool) -> BTreeMap<Rc<Row>, (u64, u64)> {
        let rows: &Counts = &self.looks[place.stands_for].added;
        let copies = |n: u64| {
            let is_doubtful = place.disputed && self.rules != Wrong::BreakRowsStayVerified;
            if is_doubtful || !verified { (0, n) } else { (n, 0) }
        };
        let mut state: BTreeMap<Rc<Row>, (u64, u64)> =
            rows.iter().map(|(row, n)| (Rc::clone(row), copies(*n))).collect();
        if place.changes_epoch && self.rules == Wrong::EpochClosesNothing {
            for (row, copies) in &self.state {
                state.entry(Rc::clone(row)).or_insert(*copies);
            }
        }
        state
    }

    /// The state after a difference: removed rows go, verified copies first; then added rows come.
    fn changed(&self, place: &Placed, verified: bool) -> BTreeMap<Rc<Row>, (u64, u64)> {
        let look = &self.looks[place.look];
        let mut state = self.state.clone();
        for (row, n) in &look.removed {
            if let Some((v, u)) = state.get_mut(row) {
                let (first, second) = if self.rules == Wrong::UnverifiedRemovedFirst { (u, v) } else { (v, u) };
                let of_first = (*first).min(*n);
                *first -= of_first;
                *second -= (*second).min(n - of_first);
            }
        }
        for (row, n) in &look.added {
            let (v, u) = state.entry(Rc::clone(row)).or_default();
            *(if verified { v } else { u }) += n;
        }
        state.retain(|_, (v, u)| *v + *u > 0);
        state
    }

    /// Makes the new state the state: versions whose count changes end and begin at this second.
    fn set(
        &mut self,
        state: BTreeMap<Rc<Row>, (u64, u64)>,
        step: usize,
        at: i64,
        end: &'static str,
        start: &'static str,
    ) {
        let rows: BTreeSet<Rc<Row>> = self.state.keys().chain(state.keys()).cloned().collect();
        for row in rows {
            let (old_v, old_u) = self.state.get(&row).copied().unwrap_or_default();
            let (new_v, new_u) = state.get(&row).copied().unwrap_or_default();
            for (verified, old, new) in [(true, old_v, new_v), (false, old_u, new_u)] {
                if old == new {
                    continue;
                }
                let key = (Rc::clone(&row), verified);
                if let Some(open) = self.open.remove(&key) {
                    let version = &mut self.versions[open];
                    version.to = Some(at);
                    version.end = end;
                    version.died = Some(step);
                }
                if new > 0 {
                    self.open.insert(key, self.versions.len());
                    self.versions.push(Version {
                        row: Rc::clone(&row),
                        count: new,
                        verified,
                        from: at,
                        to: None,
                        start,
                        end: "open",
                        born: step,
                        died: None,
                    });
                }
            }
        }
        self.state = state;
    }
}

//! The looks of a stream in the order in which they made its state, and where that order leaves doubt.
//!
//! Must stay true:
//! - The order depends on the looks alone, not on how they came.
//! - Effective times never fall from one placed look to the next.
//! - A look that answers nothing is not placed.

use std::collections::{BTreeMap, BTreeSet};

use super::agent::Number;
use super::deliver::Look;
use super::wrong::Wrong;

/// Why a stream cannot be vouched for, in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Cause {
    Gap,
    Fork,
    NoBase,
    DoubtfulZero,
    NotHeld,
    Damage,
}

impl Cause {
    /// The word for it in answers.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Cause::Gap => "gap",
            Cause::Fork => "fork",
            Cause::NoBase => "no-base",
            Cause::DoubtfulZero => "doubtful-zero",
            Cause::NotHeld => "not-held",
            Cause::Damage => "damage",
        }
    }
}

/// A look in its place.
#[derive(Debug, Clone)]
pub(crate) struct Placed {
    /// Its index among the looks.
    pub(crate) look: usize,
    /// Its effective time.
    pub(crate) at: i64,
    /// It replaces the state.
    pub(crate) full: bool,
    /// It does so whichever looks came before it.
    pub(crate) always_full: bool,
    /// Another full set of its second differs.
    pub(crate) disputed: bool,
    /// The look whose rows answer for it: itself, or the largest of those that are disputed.
    pub(crate) stands_for: usize,
    /// The break that its place opens.
    pub(crate) cause: Option<Cause>,
    /// The agent reports every copy, so that a removed row must have been held.
    pub(crate) counts_copies: bool,
    /// The first look of an epoch that the stream did not have just before.
    pub(crate) changes_epoch: bool,
}

/// The looks of a stream in their order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    /// Those that answer.
    pub(crate) placed: Vec<Placed>,
    /// All looks, chain by chain, ascend by second, and those of each chain by counter.
    pub(crate) ascends: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Full,
    DoubtfulZero,
    Plain,
}

/// Leaves out the empty counter-0 batches of agents 5.8.0 and 5.8.1 that are not the earliest look of their epoch.
pub(crate) fn without_no_looks(looks: Vec<Look>, version: impl Fn(&Look) -> Number, rules: Wrong) -> Vec<Look> {
    if rules == Wrong::EmptyBatch58IsLook {
        return looks;
    }
    let earliest = earliest_of_epochs(&looks);
    let is_no_look = |look: &Look| {
        look.key.counter == Some(0)
            && look.removed.is_empty()
            && look.added.is_empty()
            && matches!(version(look), (5, 8, 0 | 1))
            && earliest[&look.key.epoch] != look.key.second
    };
    let mut kept: Vec<Look> = looks.iter().filter(|look| !is_no_look(look)).cloned().collect();
    // What is no look is no other content either.
    let keys: Vec<_> = kept.iter().map(|look| look.key).collect();
    for (at, look) in kept.iter_mut().enumerate() {
        look.is_later_content &= keys[..at].contains(&look.key);
    }
    kept
}

fn earliest_of_epochs(looks: &[Look]) -> BTreeMap<u64, i64> {
    let mut earliest: BTreeMap<u64, i64> = BTreeMap::new();
    for look in looks {
        let second = earliest.entry(look.key.epoch).or_insert(look.key.second);
        *second = look.key.second.min(*second);
    }
    earliest
}

/// Looks of kind snapshot: by second, epoch, counter and content; each replaces the state.
pub(crate) fn snapshots(looks: &[Look], rules: Wrong) -> Order {
    let mut order: Vec<usize> = (0..looks.len()).collect();
    order.sort_by(|&a, &b| {
        (looks[a].key.second, looks[a].key.epoch, looks[a].key.counter, &looks[a].content).cmp(&(
            looks[b].key.second,
            looks[b].key.epoch,
            looks[b].key.counter,
            &looks[b].content,
        ))
    });
    let mut placed: Vec<Placed> = order
        .into_iter()
        .map(|look| Placed {
            look,
            at: looks[look].key.second,
            full: true,
            always_full: true,
            disputed: false,
            stands_for: look,
            cause: None,
            counts_copies: true,
            changes_epoch: false,
        })
        .collect();
    if rules != Wrong::SnapshotForkIgnored {
        settle_disputes(&mut placed, looks);
    }
    // Each is a full set whatever came before it: nothing asks for more.
    Order { placed, ascends: false }
}

/// Looks of kind diff: in chains, each from a full set to the next.
pub(crate) fn diffs(looks: &[Look], version: impl Fn(&Look) -> Number, rules: Wrong) -> Order {
    let earliest = earliest_of_epochs(looks);
    let role = |at: usize| {
        let look = &looks[at];
        if look.key.counter != Some(0) {
            return Role::Plain;
        }
        let agent = version(look);
        let is_full = look.removed.is_empty()
            && (agent >= (5, 19, 0)
                || earliest[&look.key.epoch] == look.key.second
                || ((5, 8, 2) <= agent && look.key.epoch != 0)
                || rules == Wrong::DoubtfulZeroIsFull);
        if is_full { Role::Full } else { Role::DoubtfulZero }
    };
    // Full sets before other looks of their second and counter.
    let by_second = |&a: &usize, &b: &usize| {
        let key = |at: usize| (looks[at].key.second, looks[at].key.counter, role(at) != Role::Full, &looks[at].content);
        key(a).cmp(&key(b))
    };

    let mut chains: Vec<Vec<usize>> = Vec::new();
    for epoch in earliest.keys() {
        let mut of_epoch: Vec<usize> = (0..looks.len()).filter(|&at| looks[at].key.epoch == *epoch).collect();
        of_epoch.sort_by(by_second);
        for (position, &at) in of_epoch.iter().enumerate() {
            if position == 0 || role(at) != Role::Plain {
                chains.push(Vec::new());
            }
            if let Some(chain) = chains.last_mut() {
                chain.push(at);
            }
        }
    }
    for chain in &mut chains {
        let has_none = chain.iter().any(|&at| looks[at].key.counter.is_none());
        if !has_none && rules != Wrong::ClockStepUnordered {
            let twice = chain
                .iter()
                .map(|&at| looks[at].key.counter)
                .filter(|c| chain.iter().filter(|&&other| looks[other].key.counter == *c).count() > 1)
                .min();
            let is_before = |at: &usize| twice.is_none_or(|twice| looks[*at].key.counter < twice);
            let (mut head, tail): (Vec<usize>, Vec<usize>) = chain.iter().copied().partition(is_before);
            head.sort_by_key(|&at| looks[at].key.counter);
            head.extend(tail);
            *chain = head;
        }
    }
    chains.sort_by_key(|chain| (looks[chain[0]].key.second, looks[chain[0]].key.epoch));

    let mut placed: Vec<Placed> = Vec::new();
    for (at, chain) in chains.iter().enumerate() {
        let over = chains.get(at + 1).map(|next| looks[next[0]].key.second);
        for (mut look, second) in place_chain(chain, looks, &role, &version, rules) {
            let is_live = over.is_none_or(|over| second <= over) || rules == Wrong::OldChainGoesOn;
            if is_live {
                look.at = second;
                let epoch_before = placed.last().map(|p| looks[p.look].key.epoch);
                look.changes_epoch = epoch_before.is_some_and(|e| e != looks[look.look].key.epoch);
                placed.push(look);
            }
        }
    }
    if rules == Wrong::OldChainGoesOn {
        placed.sort_by_key(|p| p.at);
    }
    settle_disputes(&mut placed, looks);
    let seconds = chains.iter().flatten().map(|&at| looks[at].key.second);
    let ascends = |chain: &Vec<usize>| chain.iter().map(|&at| looks[at].key.counter).is_sorted_by(|a, b| a < b);
    Order { placed, ascends: seconds.is_sorted_by(|a, b| a < b) && chains.iter().all(ascends) }
}

/// The looks of one chain with their effective times and the causes that their place in the chain gives.
fn place_chain(
    chain: &[usize],
    looks: &[Look],
    role: &impl Fn(usize) -> Role,
    version: &impl Fn(&Look) -> Number,
    rules: Wrong,
) -> Vec<(Placed, i64)> {
    let mut out = Vec::new();
    let mut time = i64::MIN;
    let mut largest: Option<u64> = None;
    let mut seen: BTreeSet<u64> = BTreeSet::new();
    let mut is_forked = false;
    for (position, &at) in chain.iter().enumerate() {
        let look = &looks[at];
        let (role, agent) = (role(at), version(look));
        time = time.max(look.key.second);
        let mut causes: Vec<Cause> = Vec::new();

        let skips = matches!((look.key.counter, largest), (Some(c), Some(l)) if c > l.saturating_add(1));
        if skips && (agent >= (4, 5, 0) || rules == Wrong::GapOfOldAgents) && rules != Wrong::GapIgnored {
            causes.push(Cause::Gap);
        }
        let came_before = look.key.counter.is_some_and(|c| c > 0 && seen.contains(&c));
        let forks_here = came_before || (look.is_later_content && role != Role::Full);
        is_forked |= forks_here;
        let tells = if rules == Wrong::ForkOpensOnce { forks_here } else { is_forked };
        if tells && rules != Wrong::ForkMerged {
            causes.push(Cause::Fork);
        }
        if position == 0 && role == Role::Plain && rules != Wrong::NoBaseIgnored {
            causes.push(Cause::NoBase);
        }
        if role == Role::DoubtfulZero {
            causes.push(Cause::DoubtfulZero);
        }
        if let Some(counter) = look.key.counter {
            seen.insert(counter);
            largest = largest.max(Some(counter));
        }
        let placed = Placed {
            look: at,
            at: time,
            full: role == Role::Full,
            always_full: role == Role::Full && (agent >= (5, 19, 0) || (agent >= (5, 8, 2) && look.key.epoch != 0)),
            disputed: false,
            stands_for: at,
            cause: causes.into_iter().min(),
            counts_copies: agent >= (2, 11, 2),
            changes_epoch: false,
        };
        out.push((placed, time));
    }
    out
}

/// Full sets of one second with different content: each stands for the one that is larger in content order.
fn settle_disputes(placed: &mut [Placed], looks: &[Look]) {
    let mut of_second: BTreeMap<i64, BTreeMap<&[u8], usize>> = BTreeMap::new();
    for place in placed.iter().filter(|p| p.full) {
        of_second.entry(place.at).or_default().insert(&looks[place.look].content, place.look);
    }
    for place in placed.iter_mut().filter(|p| p.full) {
        let contents = &of_second[&place.at];
        if contents.len() > 1 {
            place.disputed = true;
            place.stands_for = contents.values().next_back().copied().unwrap_or(place.look);
        }
    }
}

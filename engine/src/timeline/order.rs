//! The looks of a stream of kind diff become chains, and each chain gets its order.
//!
//! A chain is a full set and the later looks of its epoch up to the next full set; looks before any full set form a
//! chain without base; a counter 0 that is no full set starts a chain that carries the state on.
//!
//! Invariants: every look that is a look at all is in exactly one chain; a full set or a doubtful zero is the first of
//! its chain and nowhere else.

use super::AgentHistory;
use super::join::Look;
use crate::agent::{AgentVersion, IDLE_ZERO_FROM, IDLE_ZERO_TO, ZERO_IS_FULL_FROM, ZERO_IS_FULL_IN_EPOCH_FROM};
use crate::row::Row;
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// How a chain begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Head {
    /// With a full set.
    Full,
    /// With a counter 0 that is no full set.
    DoubtfulZero,
    /// With some look: nothing before it is known.
    Baseless,
}

/// Looks that follow each other.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) head: Head,
    /// In the chain's order; never empty.
    pub(super) looks: Vec<Look>,
}

/// Which role a look has by itself.
fn head_of(look: &Look, earliest: i64, agent: AgentVersion) -> Head {
    if look.counter != Some(0) {
        return Head::Baseless;
    }
    let trusted = is_always_full(look, agent) || look.second == earliest;
    if look.removed.is_empty() && trusted { Head::Full } else { Head::DoubtfulZero }
}

/// Whether a full set is one whichever looks came before it.
pub(super) fn is_always_full(look: &Look, agent: AgentVersion) -> bool {
    agent >= ZERO_IS_FULL_FROM || (agent >= ZERO_IS_FULL_IN_EPOCH_FROM && look.epoch != 0)
}

/// Agents 5.8.0 and 5.8.1 write an empty batch look with counter 0 after every unchanged run.
fn no_look_at_all(look: &Look, earliest: i64, agent: AgentVersion) -> bool {
    (IDLE_ZERO_FROM..=IDLE_ZERO_TO).contains(&agent)
        && look.whole
        && look.counter == Some(0)
        && look.removed.is_empty()
        && look.added.is_empty()
        && look.second != earliest
}

/// Cuts looks (as [`super::join::join`] orders them) into chains, in the stream's order.
pub(super) fn chains(looks: Vec<Look>, rows: &[Row], agent: &AgentHistory) -> Vec<Chain> {
    let mut epochs: BTreeMap<u64, Vec<Look>> = BTreeMap::new();
    for look in looks {
        epochs.entry(look.epoch).or_default().push(look);
    }
    let mut chains = Vec::new();
    for looks in epochs.into_values() {
        let earliest = looks.first().map_or(0, |look| look.second);
        let mut looks: Vec<(Head, Look)> = looks
            .into_iter()
            .filter_map(|look| {
                let rank = agent.of_look(look.second, look.inferred);
                (!no_look_at_all(&look, earliest, rank)).then(|| (head_of(&look, earliest, rank), look))
            })
            .collect();
        // Stable: looks of one second and counter stay in content order behind the full sets.
        looks.sort_by_key(|(head, look)| (look.second, look.counter, *head != Head::Full));
        let start = chains.len();
        for (head, look) in looks {
            if head != Head::Baseless || chains.len() == start {
                chains.push(Chain { head, looks: Vec::new() });
            }
            if let Some(chain) = chains.last_mut() {
                chain.looks.push(look);
            }
        }
    }
    for chain in &mut chains {
        sort_chain(&mut chain.looks, rows);
    }
    // Stable: chains of one epoch and second stay as they were cut.
    chains.sort_by_key(|chain| (chain.looks[0].second, chain.looks[0].epoch));
    chains
}

/// By counter up to the first counter that occurs twice, and from there, or where a counter lacks, by second.
fn sort_chain(looks: &mut [Look], rows: &[Row]) {
    let by_second = |a: &Look, b: &Look| -> Ordering {
        (a.second, a.counter).cmp(&(b.second, b.counter)).then_with(|| a.content_cmp(b, rows))
    };
    if looks.iter().any(|look| look.counter.is_none()) {
        return looks.sort_by(by_second);
    }
    looks.sort_by_key(|look| look.counter);
    if let Some(twice) = looks.windows(2).position(|pair| pair[0].counter == pair[1].counter) {
        looks[twice..].sort_by(by_second);
    }
}

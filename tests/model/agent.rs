//! Which version of the agent a host ran at a second.
//!
//! The rules of order depend on it, so it is asked for every look. Must stay true: what the user gave comes first, then
//! what the host itself reported, at or before the second before after it; only then what the form of its lines betrays.

use std::collections::BTreeMap;

use super::line::Inferred;
use super::wrong::Wrong;

/// The leading three numbers of a version, by which versions compare.
pub(crate) type Number = (u64, u64, u64);

/// The numbers of a version text; `None` if it does not begin with a digit.
pub(crate) fn number(text: &[u8]) -> Option<Number> {
    let mut numbers = [0_u64; 3];
    let mut rest = text;
    for (at, number) in numbers.iter_mut().enumerate() {
        let len = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            if at == 0 {
                return None;
            }
            break;
        }
        for &digit in &rest[..len] {
            *number = number.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
        }
        rest = &rest[len..];
        match rest.strip_prefix(b".") {
            Some(more) => rest = more,
            None => break,
        }
    }
    Some((numbers[0], numbers[1], numbers[2]))
}

#[derive(Debug, Default)]
struct HostAgent {
    /// Recorded time and version, in the order of recording.
    given: Vec<(i64, Vec<u8>)>,
    /// Recorded time, observed second and version.
    noted: Vec<(i64, i64, Vec<u8>)>,
}

/// All that is known of agents.
#[derive(Debug, Default)]
pub(crate) struct Agents {
    hosts: BTreeMap<Vec<u8>, HostAgent>,
}

impl Agents {
    /// Records what the user says of a host; true if that is news.
    pub(crate) fn give(&mut self, host: &[u8], text: &[u8], recorded: i64) -> bool {
        let agent = self.hosts.entry(host.to_vec()).or_default();
        if number(text).is_none() || agent.given.last().is_some_and(|(_, last)| last == text) {
            return false;
        }
        agent.given.push((recorded, text.to_vec()));
        true
    }

    /// Records what a host says of itself; true if that is news.
    pub(crate) fn note(&mut self, host: &[u8], second: i64, text: &[u8], recorded: i64) -> bool {
        let agent = self.hosts.entry(host.to_vec()).or_default();
        if number(text).is_none() || agent.noted.iter().any(|(_, s, t)| *s == second && t == text) {
            return false;
        }
        agent.noted.push((recorded, second, text.to_vec()));
        true
    }

    /// The version in force, as numbers and as text, of what was recorded by `known_at`.
    pub(crate) fn at(
        &self,
        host: &[u8],
        second: i64,
        inferred: Inferred,
        known_at: i64,
        rules: Wrong,
    ) -> (Number, Vec<u8>) {
        self.known(host, second, known_at, rules).unwrap_or_else(|| match inferred {
            Inferred::V2_10 => ((2, 10, 0), b"2.10".to_vec()),
            Inferred::V3_4 => ((3, 4, 0), b"3.4".to_vec()),
            Inferred::V5_7 => ((5, 7, 0), b"5.7".to_vec()),
        })
    }

    /// The version that somebody told, if anybody did.
    pub(crate) fn known(&self, host: &[u8], second: i64, known_at: i64, rules: Wrong) -> Option<(Number, Vec<u8>)> {
        let agent = self.hosts.get(host)?;
        if let Some((_, text)) = agent.given.iter().rfind(|(recorded, _)| *recorded <= known_at) {
            return Some((number(text).unwrap_or_default(), text.clone()));
        }
        let known: Vec<(i64, Number, &Vec<u8>)> = agent
            .noted
            .iter()
            .filter(|(recorded, ..)| *recorded <= known_at)
            .filter_map(|(_, second, text)| Some((*second, number(text)?, text)))
            .collect();
        let before = known.iter().filter(|(s, ..)| *s <= second || rules == Wrong::AgentVersionNotAsOf).max();
        let earliest = known.iter().map(|(s, ..)| *s).min();
        let after = known.iter().filter(|(s, ..)| Some(*s) == earliest).max();
        before.or(after).map(|(_, numbers, text)| (*numbers, (*text).clone()))
    }
}

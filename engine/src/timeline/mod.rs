//! One stream's deliveries become its timeline: the looks in their order, the row versions, and where neither can be
//! vouched for.
//!
//! Invariants:
//! - A timeline is a pure function of the *set* of deliveries and the host's agent versions: the order in which parts
//!   are given changes nothing.
//! - Effective times never decrease along the steps, and every step's state is reached by the steps before it alone.
//! - Outside a break no copy is unverified.
//! - What recovery lost ([`loss`]) is a break too, in which nothing is surer than it would be if the lost looks were known.
//!
//! Steps: [`join`] merges deliveries into looks → `order` cuts chains and puts looks in order → [`resolve`] applies
//! them and notes versions and breaks → [`verdict`] reads the result at one instant. [`regular`] tells which streams need
//! none of this, and [`moments`] makes of the others what is kept beside their facts.
//!
//! Nothing here knows files, hosts or tables; rows are numbers into a list that the caller keeps.

pub mod join;
pub mod loss;
pub mod moments;
mod order;
pub mod regular;
pub mod resolve;
pub mod verdict;

#[cfg(test)]
mod tests;

use crate::agent::{AgentVersion, IDLE_ZERO_FROM, IDLE_ZERO_TO};
use crate::fact::{Inferred, Kind, Micros, SECOND_MAX, SECOND_MIN, Second};
use crate::row::{Row, text_of};

/// A row as its place in the caller's list of distinct rows.
pub type RowId = u32;

/// Copies of a row.
pub type Copies = (RowId, u64);

/// One delivery of one look of a stream, as stored.
#[derive(Clone, Debug)]
pub struct Part {
    /// The agent's label of a run of counters; 0 if the line had none.
    pub epoch: u64,
    /// The look's number within its epoch.
    pub counter: Option<u64>,
    /// When the host looked.
    pub second: Second,
    /// Whether one line held the whole look (batch, snapshot), rather than one line a row.
    pub whole: bool,
    /// What the lines suggest of the agent's version: the least over them.
    pub inferred: Inferred,
    /// When this delivery became durable.
    pub recorded: Micros,
    /// Removed rows, by id, each once.
    pub removed: Vec<Copies>,
    /// Added rows (of a snapshot all rows), by id, each once.
    pub added: Vec<Copies>,
}

impl Part {
    /// Gives every row another number, and puts the copies in the order of these.
    pub fn renumber<E>(&mut self, mut number: impl FnMut(RowId) -> Result<RowId, E>) -> Result<(), E> {
        for side in [&mut self.removed, &mut self.added] {
            for copies in side.iter_mut() {
                copies.0 = number(copies.0)?;
            }
            side.sort_unstable();
        }
        Ok(())
    }
}

/// What is known of one host's agent versions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AgentHistory {
    /// Said by the user: counts before everything else.
    pub given: Option<(AgentVersion, String)>,
    /// Noted from status lines and osquery_info, by second, one a second.
    pub noted: Vec<(Second, AgentVersion, String)>,
}

impl AgentHistory {
    /// Puts the noted versions in order and keeps the highest of each second.
    pub fn new(given: Option<(AgentVersion, String)>, mut noted: Vec<(Second, AgentVersion, String)>) -> AgentHistory {
        noted.sort_by(|a, b| (a.0, b.1, &b.2).cmp(&(b.0, a.1, &a.2)));
        noted.dedup_by_key(|note| note.0);
        AgentHistory { given, noted }
    }

    /// The version in force at a second: the user's word, else the newest noted at or before it, else the earliest
    /// noted after it.
    pub fn at(&self, second: Second) -> Option<(AgentVersion, &str)> {
        if let Some((rank, text)) = &self.given {
            return Some((*rank, text));
        }
        let after = self.noted.partition_point(|note| note.0 <= second);
        let note = self.noted.get(after.saturating_sub(1)).or(self.noted.first())?;
        Some((note.1, &note.2))
    }

    /// Whether the host may ever have run an agent that writes empty looks which are none.
    pub fn may_write_idle_zeros(&self) -> bool {
        let noted = self.noted.iter().map(|note| note.1);
        let mut versions = noted.chain(self.given.iter().map(|given| given.0));
        versions.any(|version| (IDLE_ZERO_FROM..=IDLE_ZERO_TO).contains(&version))
    }

    /// Whether the version that decides about a look is known without the look, and is such a one whichever look it is.
    pub fn always(&self, is_such: impl Fn(AgentVersion) -> bool) -> bool {
        match &self.given {
            Some((version, _)) => is_such(*version),
            None => !self.noted.is_empty() && self.noted.iter().all(|note| is_such(note.1)),
        }
    }

    /// The version that decides about a look: in force at its second, else what its lines suggest.
    pub fn of_look(&self, second: Second, inferred: Inferred) -> AgentVersion {
        self.at(second).map_or_else(|| inferred.into(), |(version, _)| version)
    }
}

/// When an event, given as its row's canonical bytes, says it happened: its integer column `time`, within the years 1970 to 9999.
pub fn event_time(row: &[u8]) -> Option<Second> {
    let text = std::str::from_utf8(text_of(row, b"time")?).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let time = if digits {
        text.parse().ok()?
    } else {
        return None;
    };
    (SECOND_MIN..=SECOND_MAX).contains(&time).then_some(time)
}

/// Builds the timeline of a stream with a state.
pub fn build(kind: Kind, mut parts: Vec<Part>, rows: &[Row], agent: &AgentHistory) -> resolve::Timeline {
    let losses = loss::take(&mut parts);
    let looks = join::join(parts, rows);
    match kind {
        Kind::Snapshot => resolve::snapshots(looks, rows, losses),
        Kind::Diff => resolve::differences(order::chains(looks, rows, agent), rows, agent, losses),
        Kind::Event | Kind::Note => resolve::Timeline::default(),
    }
}

/// Counts the looks of a stream without a state, and tells what is lost of it.
pub fn tally(mut parts: Vec<Part>, rows: &[Row]) -> resolve::Timeline {
    let losses = loss::take(&mut parts);
    resolve::without_state(&join::join(parts, rows), &losses)
}

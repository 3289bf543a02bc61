//! Most streams are *regular*: every look follows the one before it, and every row's copies come together and leave
//! together. Then what was delivered and what it means are the same table of versions, and neither has to be worked out
//! again for every question.
//!
//! Invariants:
//! - What [`versions`] accepts has, as [`super::build`] resolves it, one step for each part in order, no break, no
//!   dispute, and exactly these versions, all verified; for as long as the host's agent fits the [`Agent`] returned.
//! - The parts follow from the versions: a part adds what is born at it and removes what dies at it, and one that is a
//!   full set adds everything that is alive after it.
//!
//! Everything else (a second delivery of a look, a break of any cause, equal seconds, a row whose copies change in
//! number, a row that leaves and comes back within one look) is kept as it was delivered and resolved when it is asked
//! for.

use super::{AgentHistory, Copies, Part, RowId};
use crate::agent::{COUNTER_COUNTS_LOOKS_FROM, ZERO_IS_FULL_FROM};
use crate::fact::{Kind, Second};
use rustc_hash::{FxHashMap, FxHashSet};

/// A version that has not ended.
pub const OPEN: u32 = u32::MAX;

/// A row's copies, from the look where they come to the look where they leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Which row.
    pub row: RowId,
    /// How many copies; never 0.
    pub count: u64,
    /// The ordinal of the look that first has them.
    pub born: u32,
    /// The ordinal of the first look without them; [`OPEN`] if there is none.
    pub died: u32,
}

/// What must hold of a host's agent for a stream to be as regular as it seems.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// Counters skip numbers, which means nothing only where they count runs.
    pub counts_runs: bool,
    /// A later counter 0 of an epoch is a full set only where it always is.
    pub zero_is_full: bool,
}

impl Agent {
    /// Whether all that is known of a host's agents, at whatever second, fits.
    pub fn fits(&self, agent: &AgentHistory) -> bool {
        (!self.counts_runs || agent.always(|version| version < COUNTER_COUNTS_LOOKS_FROM))
            && (!self.zero_is_full || agent.always(|version| version >= ZERO_IS_FULL_FROM))
    }

    /// Whether it is the same for every agent.
    pub fn is_any(&self) -> bool {
        *self == Agent::default()
    }

    /// What must hold for both.
    pub fn and(self, other: Agent) -> Agent {
        Agent {
            counts_runs: self.counts_runs || other.counts_runs,
            zero_is_full: self.zero_is_full || other.zero_is_full,
        }
    }

    /// As a number for a disk.
    pub fn number(self) -> u64 {
        u64::from(self.counts_runs) | u64::from(self.zero_is_full) << 1
    }

    /// The one of that number.
    pub fn from_number(number: u64) -> Option<Agent> {
        (number < 4).then_some(Agent { counts_runs: number & 1 != 0, zero_is_full: number & 2 != 0 })
    }
}

/// Whether a part of a stream with a state is its full content rather than a difference, if the stream is regular.
pub fn is_full_set(kind: Kind, part: &Part) -> bool {
    match kind {
        Kind::Snapshot => true,
        Kind::Diff => part.counter == Some(0),
        Kind::Event | Kind::Note => false,
    }
}

/// The versions of a regular stream by birth, and of one birth as the parts have them; `None` if the stream is not
/// regular. `parts` are in part order.
pub fn versions(kind: Kind, sightings: bool, parts: &[Part]) -> Option<(Vec<Lifetime>, Agent)> {
    if sightings || parts.is_empty() || parts.len() >= OPEN as usize {
        return None;
    }
    match kind {
        Kind::Note => None,
        Kind::Event => Some((events(parts)?, Agent::default())),
        Kind::Snapshot | Kind::Diff => with_state(kind, parts),
    }
}

/// Events never end; a look must have one delivery.
fn events(parts: &[Part]) -> Option<Vec<Lifetime>> {
    let key = |part: &Part| (part.second, part.epoch, part.counter);
    let is_odd = |part: &Part| !part.removed.is_empty() || part.is_loss();
    if parts.windows(2).any(|pair| key(&pair[0]) == key(&pair[1])) || parts.iter().any(is_odd) {
        return None;
    }
    let mut lifetimes = Vec::with_capacity(parts.iter().map(|part| part.added.len()).sum());
    for (born, part) in (0..).zip(parts) {
        lifetimes.extend(part.added.iter().map(|&(row, count)| Lifetime { row, count, born, died: OPEN }));
    }
    Some(lifetimes)
}

fn with_state(kind: Kind, parts: &[Part]) -> Option<(Vec<Lifetime>, Agent)> {
    let versions = parts.iter().map(|part| part.added.len()).sum();
    let mut regular = Regular { lifetimes: Vec::with_capacity(versions), ..Regular::new(kind) };
    parts.iter().all(|part| regular.push(part)).then_some((regular.lifetimes, regular.agent))
}

/// The end of a regular stream: what the next look must follow from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastLook {
    /// How many looks there are up to it.
    pub looks: u32,
    /// When it was.
    pub second: Second,
    /// The agent's label of its run of counters.
    pub epoch: u64,
    /// Its number within the epoch.
    pub counter: Option<u64>,
}

/// A break that a stream goes on from as a regular one does: rows that a look brings are sure, rows that were carried into it
/// are not, and a full set ends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubt {
    /// The versions that no look vouches for.
    pub unverified: FxHashSet<u32>,
    /// The ordinal of the full set that ended it.
    pub ended: Option<u32>,
    /// Versions that begin with that full set, and whose rows were there before it, though nothing vouched for them.
    pub again: FxHashSet<u32>,
}

/// A regular stream, look by look.
#[derive(Debug)]
pub struct Regular {
    kind: Kind,
    last: Option<LastLook>,
    /// The epochs of the looks that were pushed.
    epochs: Vec<u64>,
    /// Row -> its version that is alive.
    held: FxHashMap<RowId, u32>,
    /// The versions by birth, those first that were alive when it began.
    pub lifetimes: Vec<Lifetime>,
    /// The versions that the last look ended.
    pub gone: Vec<u32>,
    /// What is in doubt, of a stream that goes on from a break.
    pub doubt: Option<Doubt>,
    /// What must hold of the host's agent for all that was pushed.
    pub agent: Agent,
}

impl Regular {
    /// A stream without a look.
    pub fn new(kind: Kind) -> Regular {
        Regular {
            kind,
            last: None,
            epochs: Vec::new(),
            held: FxHashMap::default(),
            lifetimes: Vec::new(),
            gone: Vec::new(),
            doubt: None,
            agent: Agent::default(),
        }
    }

    /// A stream that goes on after a look which left these copies alive, each row once.
    pub fn after(kind: Kind, last: LastLook, alive: impl Iterator<Item = Copies>) -> Regular {
        let mut regular = Regular { last: Some(last), epochs: vec![last.epoch], ..Regular::new(kind) };
        for (row, count) in alive {
            regular.held.insert(row, regular.lifetimes.len() as u32);
            regular.lifetimes.push(Lifetime { row, count, born: 0, died: OPEN });
        }
        regular
    }

    /// The same, where the look is within a break, and of the copies it is told whether a look vouches for them.
    pub fn after_break(kind: Kind, last: LastLook, alive: impl Iterator<Item = (Copies, bool)>) -> Regular {
        let mut unverified = FxHashSet::default();
        let note = |(version, (copies, verified)): (u32, (Copies, bool))| {
            if !verified {
                unverified.insert(version);
            }
            copies
        };
        let mut regular = Regular::after(kind, last, (0..).zip(alive).map(note));
        regular.doubt = Some(Doubt { unverified, ..Doubt::default() });
        regular
    }

    /// The last look.
    pub fn last(&self) -> Option<LastLook> {
        self.last
    }

    /// Whether a part begins an epoch that neither the last look nor any that was pushed is of.
    pub fn begins_epoch(&self, part: &Part) -> bool {
        self.kind == Kind::Diff && !self.epochs.contains(&part.epoch)
    }

    /// Takes in the next look; false if the stream is not regular with it, and then nothing more may be asked of it.
    pub fn push(&mut self, part: &Part) -> bool {
        self.gone.clear();
        self.try_push(part).is_some()
    }

    fn try_push(&mut self, part: &Part) -> Option<()> {
        let Regular { kind, last, epochs, held, lifetimes, gone, doubt, agent } = self;
        let mut doubt = doubt.as_mut().filter(|doubt| doubt.ended.is_none());
        let before = last.as_ref();
        if part.is_loss() || before.is_some_and(|before| before.second >= part.second) {
            return None;
        }
        if *kind == Kind::Diff {
            let counter = part.counter?;
            let same_epoch = before.filter(|before| before.epoch == part.epoch);
            match same_epoch.map(|before| before.counter) {
                // The first look of an epoch: it must be a full set, and the epoch a new one.
                None => {
                    if counter != 0 || epochs.contains(&part.epoch) {
                        return None;
                    }
                    epochs.push(part.epoch);
                }
                Some(_) if counter == 0 => agent.zero_is_full = true,
                Some(last) if last.is_none_or(|last| counter <= last) => return None,
                Some(last) => agent.counts_runs |= last.is_some_and(|last| counter - last > 1),
            }
        }
        let born = before.map_or(0, |before| before.looks);
        let looks = born.checked_add(1).filter(|&looks| looks != OPEN)?;
        *last = Some(LastLook { looks, second: part.second, epoch: part.epoch, counter: part.counter });
        if is_full_set(*kind, part) {
            if !part.removed.is_empty() {
                return None;
            }
            // Rows that stay are taken over; what is left of the others leaves.
            let mut stay = FxHashMap::with_capacity_and_hasher(part.added.len(), rustc_hash::FxBuildHasher);
            for &(row, count) in &part.added {
                let next = lifetimes.len() as u32;
                let version = match held.remove(&row) {
                    Some(version) if lifetimes[version as usize].count != count => return None,
                    Some(version) => match doubt.as_mut().filter(|doubt| doubt.unverified.contains(&version)) {
                        None => version,
                        // Now a look vouches for it.
                        Some(doubt) => {
                            lifetimes[version as usize].died = born;
                            gone.push(version);
                            doubt.again.insert(next);
                            lifetimes.push(Lifetime { row, count, born, died: OPEN });
                            next
                        }
                    },
                    None => {
                        lifetimes.push(Lifetime { row, count, born, died: OPEN });
                        next
                    }
                };
                if count == 0 || stay.insert(row, version).is_some() {
                    return None;
                }
            }
            for version in std::mem::replace(held, stay).into_values() {
                lifetimes[version as usize].died = born;
                gone.push(version);
            }
            doubt.into_iter().for_each(|doubt| doubt.ended = Some(born));
            return Some(());
        }
        for &(row, count) in &part.removed {
            // Within a break it is no wonder that a row leaves which is not known to be there.
            let Some(version) = held.remove(&row) else {
                if doubt.is_some() {
                    continue;
                }
                return None;
            };
            let copies = lifetimes[version as usize].count;
            if copies != count && !(doubt.is_some() && copies < count) {
                return None;
            }
            lifetimes[version as usize].died = born;
            gone.push(version);
        }
        for &(row, count) in &part.added {
            let came_back = part.removed.binary_search_by_key(&row, |copies| copies.0).is_ok();
            if count == 0 || came_back || held.insert(row, lifetimes.len() as u32).is_some() {
                return None;
            }
            lifetimes.push(Lifetime { row, count, born, died: OPEN });
        }
        Some(())
    }
}

/// The rows of the parts that these versions follow from: what each part removes and adds, in row order. `parts` says
/// of each part whether it is a full set of its stream.
pub fn rows_of_parts(lifetimes: &[Lifetime], is_full: &[bool], mut side: impl FnMut(usize, Side, RowId, u64)) {
    for lifetime in lifetimes {
        let (born, died) = (lifetime.born as usize, lifetime.died as usize);
        side(born, Side::Added, lifetime.row, lifetime.count);
        let end = died.min(is_full.len());
        let rest = is_full.iter().enumerate().take(end).skip(born + 1);
        for (at, _) in rest.filter(|(_, is_full)| **is_full) {
            side(at, Side::Added, lifetime.row, lifetime.count);
        }
        if let Some(false) = is_full.get(died) {
            side(died, Side::Removed, lifetime.row, lifetime.count);
        }
    }
}

/// Of a look: what left, or what came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Removed rows.
    Removed,
    /// Added rows; of a full set all.
    Added,
}

impl Part {
    /// The rows of one side.
    pub fn side(&mut self, side: Side) -> &mut Vec<Copies> {
        match side {
            Side::Removed => &mut self.removed,
            Side::Added => &mut self.added,
        }
    }
}

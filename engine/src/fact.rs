//! The words that the whole engine shares: streams, looks, deliveries.
//!
//! A *fact* is a delivery of a look with the recorded time of the commit that made it durable. Everything the engine
//! answers is a pure function of the set of facts, so this module says only what was delivered and never what it means.

use crate::row::Row;
use std::sync::Arc;

/// Bytes that name something: a host, a query, a table. Cheap to clone, not necessarily UTF-8.
pub type Name = Arc<[u8]>;

/// Observed time: whole seconds since 1970-01-01T00:00:00Z by the host's clock.
pub type Second = i64;

/// The first second that can be observed: 1970-01-01T00:00:00Z.
pub const SECOND_MIN: Second = 0;

/// The last second that can be observed: 9999-12-31T23:59:59Z.
pub const SECOND_MAX: Second = 253_402_300_799;

/// Recorded time: microseconds since 1970-01-01T00:00:00Z by the store's clock.
pub type Micros = i64;

/// What a stream's looks are. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// Looks are multiset differences, sometimes full sets.
    Diff = 0,
    /// Every look is the full multiset.
    Snapshot = 1,
    /// Every added row is an event; there is no state.
    Event = 2,
    /// Not osquery's: a recorded fact of the store's own, kept in the same way (see [`crate::note`]).
    Note = 3,
}

impl Kind {
    /// The word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Diff => "diff",
            Kind::Snapshot => "snapshot",
            Kind::Event => "event",
            Kind::Note => "note",
        }
    }

    /// The kind that a byte from disk stands for.
    pub fn from_byte(byte: u8) -> Option<Kind> {
        [Kind::Diff, Kind::Snapshot, Kind::Event, Kind::Note].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// The agent version that a line's own form suggests; used only where nothing better is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Inferred {
    /// `unixTime`, `epoch` or `counter` is a string: 2.10.
    V2_10 = 0,
    /// No `numerics` key: 3.4.
    V3_4 = 1,
    /// Otherwise: 5.7.
    V5_7 = 2,
    /// No lines: not a look, but the mark that some are lost (see [`crate::timeline::loss`]). Only segments have it.
    Lost = 3,
}

impl Inferred {
    /// The class of a look that a byte from disk stands for.
    pub fn from_byte(byte: u8) -> Option<Inferred> {
        [Inferred::V2_10, Inferred::V3_4, Inferred::V5_7].into_iter().find(|class| *class as u8 == byte)
    }

    /// The class of what a segment has of a stream: of a look, or of a loss.
    pub fn from_segment_byte(byte: u8) -> Option<Inferred> {
        Inferred::from_byte(byte).or((byte == Inferred::Lost as u8).then_some(Inferred::Lost))
    }
}

/// One scheduled query on one host whose looks were recorded under one table.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamKey {
    /// The table its rows are of.
    pub table: Name,
    /// Whose stream.
    pub host: Name,
    /// The query's name.
    pub name: Name,
    /// What its looks are.
    pub kind: Kind,
    /// Declared `removed: false`: rows never leave, so there is no state but sightings.
    pub sightings: bool,
}

impl StreamKey {
    /// Whether the stream has a state.
    pub fn has_state(&self) -> bool {
        !self.sightings && matches!(self.kind, Kind::Diff | Kind::Snapshot)
    }
}

/// What one input brought of one look in one piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The look's stream.
    pub stream: Arc<StreamKey>,
    /// The agent's label of a run of counters; 0 if the line had none.
    pub epoch: u64,
    /// The look's number within its epoch.
    pub counter: Option<u64>,
    /// When the host looked.
    pub second: Second,
    /// Whether one line held the whole look, rather than one line a row.
    pub whole: bool,
    /// The least that the lines suggest of the agent's version.
    pub inferred: Inferred,
    /// Removed rows with their copies, each row once, in no particular order.
    pub removed: Vec<(Row, u64)>,
    /// Added rows (of a snapshot all rows) with their copies, each row once, in no particular order.
    pub added: Vec<(Row, u64)>,
}

/// Deliveries that become durable, and visible, together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Who sent it; 0 for nobody in particular.
    pub producer: u128,
    /// The producer's number for it.
    pub sequence: u64,
    /// What tells it from another batch with the same number; 0 if nothing does. Kept in its note only, so that a batch that
    /// was read from a log has none.
    pub digest: u64,
    /// The deliveries, in any order.
    pub deliveries: Vec<Delivery>,
}

/// A batch with the recorded time of its commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// When it became durable; strictly increasing over the commits of a store, but for an import with a set time.
    pub recorded: Micros,
    /// What became durable.
    pub batch: Batch,
}

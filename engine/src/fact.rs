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
}

impl Kind {
    /// The word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Diff => "diff",
            Kind::Snapshot => "snapshot",
            Kind::Event => "event",
        }
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
}

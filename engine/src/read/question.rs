//! What can be asked. Every question takes `known_at`: facts recorded later do not count; `None` means all.

use super::matching::Network;
use crate::fact::{Micros, Name, Second};
use std::fmt;

/// A column whose text must be such.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Where {
    /// The column.
    pub column: Name,
    /// What its text must be.
    pub text: Wanted,
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// This; compared as a number where the catalogue types the column so.
    Is(Name),
    /// Begin with these bytes.
    Begins(Name),
    /// An address of this network.
    In(Network),
}

/// `state TABLE --at T`.
#[derive(Clone, Debug)]
pub struct StateQuestion {
    /// The table.
    pub table: Name,
    /// T.
    pub at: Second,
    /// Only this host.
    pub host: Option<Name>,
    /// Only this stream.
    pub stream: Option<Name>,
    /// Only rows that fit all of these.
    pub wheres: Vec<Where>,
    /// Only facts recorded at or before this.
    pub known_at: Option<Micros>,
}

/// One host, value and time of a batch.
#[derive(Clone, Copy, Debug)]
pub struct LookupKey<'k> {
    /// The host.
    pub host: &'k [u8],
    /// The value of the column.
    pub value: &'k [u8],
    /// T.
    pub at: Second,
}

/// Rows that have a value in a column, for many hosts, values and times at once: fastest with the keys of a host
/// together.
#[derive(Clone, Debug)]
pub struct LookupQuestion<'k> {
    /// The table, which has a state.
    pub table: Name,
    /// The column.
    pub column: Name,
    /// What is asked for.
    pub keys: Vec<LookupKey<'k>>,
    /// Only facts recorded at or before this.
    pub known_at: Option<Micros>,
}

/// `who ip`, `who uid`.
#[derive(Clone, Debug)]
pub struct WhoQuestion {
    /// Who is asked for.
    pub subject: Subject,
    /// T.
    pub at: Second,
    /// Only this host.
    pub host: Option<Name>,
    /// Only facts recorded at or before this.
    pub known_at: Option<Micros>,
}

/// Whom `who` asks for.
#[derive(Clone, Debug)]
pub enum Subject {
    /// The holder of an address, as the user wrote it.
    Ip(Name),
    /// The user with a uid, as the user wrote it.
    Uid(Name),
}

/// `what device PATH --host H --at T`.
#[derive(Clone, Debug)]
pub struct WhatQuestion {
    /// The path.
    pub path: Name,
    /// The host.
    pub host: Name,
    /// T.
    pub at: Second,
    /// Only facts recorded at or before this.
    pub known_at: Option<Micros>,
}

/// `history TABLE`.
#[derive(Clone, Debug)]
pub struct HistoryQuestion {
    /// The table.
    pub table: Name,
    /// Only this host.
    pub host: Option<Name>,
    /// Only this stream.
    pub stream: Option<Name>,
    /// Only rows that fit all of these.
    pub wheres: Vec<Where>,
    /// Only what overlaps `[from, …)`.
    pub from: Option<Second>,
    /// Only what overlaps `[…, to)`.
    pub to: Option<Second>,
    /// Only facts recorded at or before this.
    pub known_at: Option<Micros>,
}

/// `diff TABLE --host H T1 T2`.
#[derive(Clone, Debug)]
pub struct DiffQuestion {
    /// The table.
    pub table: Name,
    /// The host.
    pub host: Name,
    /// Only this stream.
    pub stream: Option<Name>,
    /// The first time.
    pub from: Second,
    /// The second time, not before the first.
    pub to: Second,
    /// Only facts recorded at or before this.
    pub known_at: Option<Micros>,
}

/// `hosts`, `tables`, `coverage`.
#[derive(Clone, Debug, Default)]
pub struct ListQuestion {
    /// Only this table (`coverage`).
    pub table: Option<Name>,
    /// Only this host (`coverage`).
    pub host: Option<Name>,
    /// Only facts recorded at or before this.
    pub known_at: Option<Micros>,
}

/// Why a question has no answer, whatever is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QuestionFault {
    /// A state of events was asked for.
    Evented {
        /// The table.
        table: Name,
    },
    /// A state was asked for of streams that are declared `removed: false`.
    Sightings {
        /// One of them.
        stream: Name,
    },
    /// A span ends before it begins.
    TimesReversed {
        /// Its begin.
        from: Second,
        /// Its end.
        to: Second,
    },
}

impl fmt::Display for QuestionFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QuestionFault::Evented { table } => {
                let table = String::from_utf8_lossy(table);
                write!(f, "{table} holds events, which have no state; list them with `erstwhile history {table}`")
            }
            QuestionFault::Sightings { stream } => {
                let stream = String::from_utf8_lossy(stream);
                write!(
                    f,
                    "the stream {stream} is declared `removed = false`: rows never leave it, so it has no state; \
                     list its sightings with `erstwhile history`"
                )
            }
            QuestionFault::TimesReversed { from, to } => {
                write!(f, "the first time ({from}) is after the second ({to}); give the earlier one first")
            }
        }
    }
}

//! What a question is answered with: typed, so that programs that embed the engine need no JSON, and complete, so that
//! every form (table, JSON, CSV) can be written from it alone.
//!
//! Times are whole observed seconds; `known_at` is a recorded time in microseconds. Rows stand in their documented
//! order: host, stream, row, from, verdict; `who` by verdict first, events by time first.

use crate::fact::{Kind, Micros, Name, Second};
use crate::row::Row;
use std::sync::Arc;

/// How sure an answer is of a row, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// Seen at the looks on both sides of T, or T is a look.
    Definite,
    /// Seen at the last look; no look followed.
    Presumed,
    /// Seen on one side of T only.
    Possible,
    /// The state cannot be vouched for at T.
    Unknown,
}

impl Verdict {
    /// The word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Definite => "definite",
            Verdict::Presumed => "presumed",
            Verdict::Possible => "possible",
            Verdict::Unknown => "unknown",
        }
    }
}

/// Why a stream's state cannot be vouched for, in order of precedence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Cause {
    /// A counter was skipped.
    Gap = 0,
    /// A counter occurs twice, or contents of one look differ.
    Fork = 1,
    /// A chain without a full set.
    NoBase = 2,
    /// A counter 0 that is no full set.
    DoubtfulZero = 3,
    /// A removed row that was not held.
    NotHeld = 4,
    /// Recovery lost looks here.
    Damage = 5,
    /// Retention removed looks here.
    Expired = 6,
    /// T lies before the first look (hosts only; no stream has such a break).
    BeforeFirst = 7,
}

impl Cause {
    /// Those that a stream can have, by number.
    pub(crate) const OF_STREAMS: [Cause; 7] =
        [Cause::Gap, Cause::Fork, Cause::NoBase, Cause::DoubtfulZero, Cause::NotHeld, Cause::Damage, Cause::Expired];

    /// The word for it in answers.
    pub fn word(self) -> &'static str {
        match self {
            Cause::Gap => "gap",
            Cause::Fork => "fork",
            Cause::NoBase => "no-base",
            Cause::DoubtfulZero => "doubtful-zero",
            Cause::NotHeld => "not-held",
            Cause::Damage => "damage",
            Cause::Expired => "expired",
            Cause::BeforeFirst => "before-first",
        }
    }
}

/// Why a version starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Start {
    /// A look saw it.
    Seen,
    /// A break began.
    Break,
}

/// Why a version ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// A look no longer saw it.
    Gone,
    /// A break began.
    Break,
    /// It has not ended.
    Open,
}

/// A maximal run of seconds `[from, to)` in which one stream held one row with one count and one verified-ness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Whose row.
    pub host: Name,
    /// Which query's row.
    pub stream: Name,
    /// The columns.
    pub row: Row,
    /// How many equal copies.
    pub count: u64,
    /// The first second.
    pub from: Second,
    /// The last look before `from`: the row appeared in `(from_after, from]`.
    pub from_after: Option<Second>,
    /// The first second without it.
    pub to: Option<Second>,
    /// The last look before `to`: the row left in `(to_after, to]`.
    pub to_after: Option<Second>,
    /// Why it starts.
    pub start: Start,
    /// Why it ends.
    pub end: End,
    /// Whether a look vouches for it.
    pub verified: bool,
}

/// A version as an answer at T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// The version that holds at T (or, where only the look after T has it, that version).
    pub version: Arc<Version>,
    /// How sure it is.
    pub verdict: Verdict,
    /// The stream's last look at or before T.
    pub before: Option<Second>,
    /// The stream's first look after T.
    pub after: Option<Second>,
}

/// Which hosts can speak for a table at T.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Hosts with looks around T and no break between.
    pub covered: u64,
    /// Hosts whose last look is at or before T.
    pub presumed: u64,
    /// Hosts that cannot speak.
    pub unknown: u64,
    /// Hosts that never looked at this table.
    pub never: u64,
    /// Hosts with a stream whose table is assumed from its name.
    pub assumed: u64,
    /// The hosts that cannot speak, by name, at most [`UNKNOWN_HOSTS_MAX`].
    pub unknown_hosts: Vec<(Name, Cause)>,
}

impl Coverage {
    /// How many hosts have a stream of the table.
    pub(crate) fn hosts(&self) -> u64 {
        self.covered + self.presumed + self.unknown
    }
}

/// How many hosts [`Coverage::unknown_hosts`] names.
pub const UNKNOWN_HOSTS_MAX: usize = 100;

/// What an answer cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Rows decoded from segments and the memtable.
    pub rows_decoded: u64,
    /// Bytes of segments that rows, keys, deliveries and entries of indexes were decoded from: of a block that is decoded
    /// in part, the part.
    pub bytes_read: u64,
    /// Segment blocks whose checksum was verified, which is done once as long as the segment is open …
    pub blocks_verified: u64,
    /// … and their bytes.
    pub bytes_verified: u64,
    /// Decoded blocks that were still remembered.
    pub cache_hits: u64,
    /// Row versions whose times were looked at.
    pub keys_decoded: u64,
    /// Segments of which any block was read.
    pub segments_touched: u64,
    /// Streams whose timeline was built.
    pub streams_resolved: u64,
}

impl Cost {
    /// Adds what another part of the work cost.
    pub fn add(&mut self, other: &Cost) {
        self.rows_decoded += other.rows_decoded;
        self.bytes_read += other.bytes_read;
        self.blocks_verified += other.blocks_verified;
        self.bytes_verified += other.bytes_verified;
        self.cache_hits += other.cache_hits;
        self.keys_decoded += other.keys_decoded;
        self.segments_touched += other.segments_touched;
        self.streams_resolved += other.streams_resolved;
    }
}

/// The rows of one table at T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// The table asked for.
    pub table: Name,
    /// T.
    pub at: Second,
    /// The recorded time up to which facts count; `None` only for an empty store.
    pub known_at: Option<Micros>,
    /// The rows.
    pub rows: Vec<Held>,
    /// Which hosts can speak.
    pub coverage: Coverage,
    /// What it cost.
    pub cost: Cost,
}

/// Every candidate for who had an address or a uid at T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// The words asked.
    pub question: String,
    /// T.
    pub at: Second,
    /// The recorded time up to which facts count.
    pub known_at: Option<Micros>,
    /// The candidates, the surest first.
    pub rows: Vec<Held>,
    /// Which hosts can speak.
    pub coverage: Coverage,
    /// What it cost.
    pub cost: Cost,
}

/// A version that answers a key of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The key's place in the question.
    pub key: usize,
    /// The version's place in the answer.
    pub version: usize,
    /// How many copies.
    pub count: u64,
    /// How sure it is.
    pub verdict: Verdict,
    /// The stream's last look at or before the key's time.
    pub before: Option<Second>,
    /// The stream's first look after it.
    pub after: Option<Second>,
}

/// What answers a batch: each version once, and which keys it answers, by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The versions.
    pub versions: Vec<Arc<Version>>,
    /// Which of them answers which key.
    pub hits: Vec<Hit>,
    /// What it cost.
    pub cost: Cost,
}

/// Why a link of a chain of evidence is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// The host has no stream of that table.
    NeverCollected,
    /// The table was looked at and has no such row.
    NoSuchRow,
    /// The table's state is not known at T.
    UnknownAtT,
}

impl Missing {
    /// The words for it in answers.
    pub fn words(self) -> &'static str {
        match self {
            Missing::NeverCollected => "never collected",
            Missing::NoSuchRow => "no such row",
            Missing::UnknownAtT => "unknown at T",
        }
    }
}

/// One link from a path to a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The table that makes the link.
    pub table: Name,
    /// Its rows.
    pub rows: Vec<Held>,
    /// Why there are none.
    pub missing: Option<Missing>,
}

/// Which device was behind a path at T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct What {
    /// The words asked.
    pub question: String,
    /// T.
    pub at: Second,
    /// The recorded time up to which facts count.
    pub known_at: Option<Micros>,
    /// The weakest verdict of all links.
    pub verdict: Verdict,
    /// Mounts or logical_drives, block_devices with all parents, usb_devices.
    pub links: Vec<Link>,
    /// Which hosts can speak, for the first link.
    pub coverage: Coverage,
    /// What it cost.
    pub cost: Cost,
}

/// Equal events of one stream and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Whose event.
    pub host: Name,
    /// Which query saw it.
    pub stream: Name,
    /// When it happened.
    pub time: Second,
    /// The look that brought it.
    pub seen: Second,
    /// The columns.
    pub row: Row,
    /// How many equal ones.
    pub count: u64,
}

/// One line of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HistoryRow {
    /// A row version of a stream with a state.
    Version(Arc<Version>),
    /// An event, or a sighting of a stream without a state.
    Event(Arc<Event>),
}

/// The versions, or events, of a table in a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// The table asked for.
    pub table: Name,
    /// The span's first second.
    pub from: Option<Second>,
    /// The first second after the span.
    pub to: Option<Second>,
    /// The recorded time up to which facts count.
    pub known_at: Option<Micros>,
    /// The lines.
    pub rows: Vec<HistoryRow>,
    /// What it cost.
    pub cost: Cost,
}

/// A row that one of two states has more copies of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose row.
    pub host: Name,
    /// Which query's row.
    pub stream: Name,
    /// Whether the later state has more copies.
    pub added: bool,
    /// The columns.
    pub row: Row,
    /// How many copies more.
    pub count: u64,
    /// The stream's class at the first time.
    pub verdict_from: Verdict,
    /// The stream's class at the second time.
    pub verdict_to: Verdict,
}

/// The net difference between two states of one host's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diff {
    /// The table asked for.
    pub table: Name,
    /// The host asked for.
    pub host: Name,
    /// The first time.
    pub from: Second,
    /// The second time.
    pub to: Second,
    /// The recorded time up to which facts count.
    pub known_at: Option<Micros>,
    /// The changes.
    pub rows: Vec<Change>,
    /// What it cost.
    pub cost: Cost,
}

/// One host of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostEntry {
    /// Its identity.
    pub host: Name,
    /// How many streams it has.
    pub streams: u64,
    /// Its first look.
    pub first: Second,
    /// Its last look.
    pub last: Second,
    /// The agent version in force at its last look.
    pub agent_version: Option<String>,
}

/// One table of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Its name.
    pub table: Name,
    /// Whether its rows are events.
    pub evented: bool,
    /// How many streams bring it.
    pub streams: u64,
    /// How many hosts bring it.
    pub hosts: u64,
    /// Its first look.
    pub first: Second,
    /// Its last look.
    pub last: Second,
    /// How many hosts have a stream of it that is mapped to it by assumption.
    pub assumed: u64,
    /// Names of streams that are mapped by assumption, each once, for the lines to put into a map.
    pub assumed_names: Vec<Name>,
}

/// A stretch in which a stream's state cannot be vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Break {
    /// Its first second; `None`: since ever.
    pub from: Option<Second>,
    /// The first second after it; `None`: it has not ended.
    pub to: Option<Second>,
    /// Its cause.
    pub cause: Cause,
}

/// One stream's looks, and where its state cannot be vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamEntry {
    /// Whose stream.
    pub host: Name,
    /// The query's name.
    pub stream: Name,
    /// What its looks are.
    pub kind: Kind,
    /// The table its rows are of.
    pub table: Name,
    /// Whether the table is assumed from the name.
    pub assumed: bool,
    /// How many looks it has.
    pub looks: u64,
    /// Its first look.
    pub first: Second,
    /// Its last look.
    pub last: Second,
    /// The agent version in force at its last look.
    pub agent_version: Option<String>,
    /// The least and greatest `recorded − observed` of its looks, in seconds.
    pub skew: (i64, i64),
    /// Its breaks, by their begin.
    pub breaks: Vec<Break>,
}

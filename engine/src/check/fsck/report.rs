//! What a check says: findings, and how much was looked at.

use crate::check::loss::{Loss, What};
use crate::codec;
use crate::error::{Fault, Structure, VersionGap};
use std::cmp::Reverse;
use std::fmt;

/// How grave a finding is; the gravest last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// As it may be: a trace of a crash, a file of no use.
    Info,
    /// Not as it should be, yet no answer suffers; or it could not be looked at.
    Warning,
    /// Something that was written is lost, wrong or out of reach.
    Damage,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Damage => "damage",
        }
    }
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Bytes are not what was written, or are not there.
    Fault(Fault),
    /// So many bytes at the end were never finished: no sync had covered them when the machine stopped.
    Torn {
        /// How many.
        bytes: u64,
        /// What the first of them lack.
        fault: Fault,
    },
    /// The bytes are of a format that this program does not read.
    Version(VersionGap),
    /// The operating system effect.
    Unread(String),
    /// Two structures, each whole, do not say the same.
    Differs {
        /// Of what.
        what: &'static str,
        /// What is told of it elsewhere.
        told: u64,
        /// What is there.
        found: u64,
    },
    /// Nothing names it, so nothing reads it.
    Unnamed {
        /// Where it comes from.
        why: &'static str,
    },
    /// It is another file under a name that is not its own.
    Renamed {
        /// The name that its header tells.
        own: String,
        /// Whether a file of that name is there too.
        is_twice: bool,
    },
    /// The directory holds no store.
    NoStore,
}

impl From<codec::Fault> for Wrong {
    fn from(fault: codec::Fault) -> Wrong {
        Wrong::Fault(fault.into())
    }
}

impl From<Fault> for Wrong {
    fn from(fault: Fault) -> Wrong {
        Wrong::Fault(fault)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Fault(fault) => fault.fmt(f),
            Wrong::Torn { bytes, fault } => {
                write!(f, "an unfinished end of {bytes} bytes ({fault}), as a crash leaves it")
            }
            Wrong::Version(gap) => gap.fmt(f),
            Wrong::Unread(text) => write!(f, "it cannot be read: {text}"),
            Wrong::Differs { what, told, found } => write!(f, "{what}: {told} by what is told elsewhere, {found} here"),
            Wrong::Unnamed { why } => f.write_str(why),
            Wrong::Renamed { own, is_twice: true } => write!(f, "it is a copy of {own}, by its header"),
            Wrong::Renamed { own, is_twice: false } => write!(f, "by its header it is {own}, which is not there"),
            Wrong::NoStore => f.write_str("the directory holds no store"),
        }
    }
}

/// What it means for answers as long as it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// Questions that meet it are refused; the answers of others are right.
    Questions,
    /// The store does not open.
    Store,
    /// Answers may be wrong: what contradicts itself is whole by its checksums.
    Answers,
}

impl Effect {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Effect::Nothing => "nothing",
            Effect::Questions => "questions-refused",
            Effect::Store => "store-refused",
            Effect::Answers => "answers-wrong",
        }
    }
}

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing.
    Nothing,
    /// Build a new store of what is whole.
    Recover,
    /// Look at the file.
    Inspect,
    /// Let it be read, and check again.
    Again,
    /// Take a newer program.
    Newer,
}

/// One thing that is not as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How grave it is.
    pub severity: Severity,
    /// The file's name within the store; empty for the directory.
    pub file: String,
    /// Where the structure begins, if it is in a file.
    pub offset: Option<u64>,
    /// What it is.
    pub structure: Structure,
    /// What is wrong with it.
    pub wrong: Wrong,
    /// What it means for answers.
    pub effect: Effect,
    /// Which facts are lost; empty if none is.
    pub losses: Vec<Loss>,
    /// What to do.
    pub next: Next,
}

impl Finding {
    /// Damage that a new store of what is whole mends.
    pub(super) fn damage(file: &str, offset: u64, structure: Structure, wrong: impl Into<Wrong>) -> Finding {
        Finding {
            severity: Severity::Damage,
            file: file.to_owned(),
            offset: Some(offset),
            structure,
            wrong: wrong.into(),
            effect: Effect::Store,
            losses: Vec::new(),
            next: Next::Recover,
        }
    }

    /// A whole file.
    pub(super) fn file(severity: Severity, file: &str, wrong: Wrong) -> Finding {
        let next = match (&wrong, severity) {
            (Wrong::Version(_), _) => Next::Newer,
            (Wrong::Unread(_), _) => Next::Again,
            (_, Severity::Damage) => Next::Recover,
            (Wrong::Renamed { .. }, _) => Next::Inspect,
            _ => Next::Nothing,
        };
        let effect = match severity {
            Severity::Damage => Effect::Store,
            _ if next == Next::Newer || next == Next::Again => Effect::Store,
            _ => Effect::Nothing,
        };
        let (file, structure, losses) = (file.to_owned(), Structure::File, Vec::new());
        Finding { severity, file, offset: None, structure, wrong, effect, losses, next }
    }

    /// The same with what is lost.
    pub(super) fn with(mut self, losses: Vec<Loss>) -> Finding {
        self.losses = losses;
        self.losses.retain(|loss| loss.what != What::Nothing);
        self
    }

    /// The same with what it means for answers.
    pub(super) fn meaning_for(mut self, effect: Effect) -> Finding {
        self.effect = effect;
        self
    }

    /// Whether it says that something could not be looked at rather than what was seen.
    pub fn is_unchecked(&self) -> bool {
        matches!(self.wrong, Wrong::Version(_) | Wrong::Unread(_) | Wrong::NoStore)
    }

    /// The gravest first, then by file and place.
    pub(super) fn order(&self) -> (Reverse<Severity>, &str, Option<u64>, &'static str) {
        (Reverse(self.severity), &self.file, self.offset, self.structure.word())
    }
}

/// What was looked at of one kind of files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Frames whose checksum was computed.
    pub frames: u64,
    /// Bytes whose checksum was computed.
    pub bytes_verified: u64,
}

impl Total {
    pub(super) fn add(&mut self, other: Total) {
        self.files += other.files;
        self.bytes += other.bytes;
        self.frames += other.frames;
        self.bytes_verified += other.bytes_verified;
    }
}

/// What the deep check looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Meaning {
    /// Streams of segments, each as often as a segment has it.
    pub streams: u64,
    /// Looks of these.
    pub looks: u64,
    /// Rows that came or left at these.
    pub changes: u64,
    /// Keyframes compared with a replay.
    pub keyframes: u64,
    /// Rows decoded.
    pub rows: u64,
    /// Postings of indexes compared with the data.
    pub postings: u64,
    /// Commits of logs.
    pub commits: u64,
}

impl Meaning {
    pub(super) fn add(&mut self, other: &Meaning) {
        self.streams += other.streams;
        self.looks += other.looks;
        self.changes += other.changes;
        self.keyframes += other.keyframes;
        self.rows += other.rows;
        self.postings += other.postings;
        self.commits += other.commits;
    }
}

/// What was not looked at, and would have been without a share or a budget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Whole files, since time was up.
    pub files: u64,
    /// Frames whose checksum was not computed.
    pub frames: u64,
    /// Bytes whose checksum was not computed.
    pub bytes: u64,
    /// Streams whose meaning was not checked.
    pub streams: u64,
    /// Blocks of rows that were not decoded.
    pub row_blocks: u64,
    /// Indexes that were not compared with the data, since not all of it was decoded.
    pub indexes: u64,
    /// Streams and blocks whose meaning could not be checked, since damage stands before it.
    pub behind_damage: u64,
    /// Findings beyond the number that a report holds.
    pub findings: u64,
}

impl LeftOut {
    pub(super) fn add(&mut self, other: &LeftOut) {
        self.files += other.files;
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.streams += other.streams;
        self.row_blocks += other.row_blocks;
        self.indexes += other.indexes;
        self.behind_damage += other.behind_damage;
        self.findings += other.findings;
    }
}

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// The findings: the gravest first, then by file and place.
    pub findings: Vec<Finding>,
    /// What was looked at of `CURRENT` and manifests, of segments, and of logs.
    pub totals: [Total; 3],
    /// What the deep check looked at.
    pub meaning: Meaning,
    /// What was left out.
    pub left_out: LeftOut,
    /// How long it took, in nanoseconds.
    pub nanos: u64,
    /// Whether a writer was at work.
    pub is_live: bool,
}

impl Report {
    /// The names of [`Report::totals`].
    pub const KINDS: [&'static str; 3] = ["manifest", "segment", "log"];

    /// How many findings have a severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// How many findings say that something could not be looked at.
    pub fn unchecked(&self) -> usize {
        self.findings.iter().filter(|finding| finding.is_unchecked()).count()
    }
}

//! What can go wrong, told by whose fault it is.
//!
//! The variant says what a caller can do about it; the payload holds facts; the text, which only people read, says what
//! happened, where, and what to do next.
//!
//! Invariants:
//! - Bytes from a disk or a socket lead to [`Error::Corrupt`] or [`Error::Version`] and never to a panic.
//! - A decoder that knows no file answers with a [`Fault`]; who knows the file adds where it is ([`Fault::at`]).
//! - After [`Error::Poisoned`] nothing that was not acknowledged before may be taken for durable.

use crate::codec;
use crate::fact::Micros;
use crate::io::LockError;
use crate::read::question::QuestionFault;
use std::fmt;
use std::io;
use std::sync::Arc;

/// Why an operation of the engine did not happen.
#[derive(Debug)]
pub enum Error {
    /// Stored bytes are wrong.
    Corrupt(Corrupt),
    /// The bytes are of a version that this program does not read.
    Version(VersionGap),
    /// The operating system refused.
    Io {
        /// What was tried, as a verb.
        operation: &'static str,
        /// On which file of the store.
        file: String,
        /// The refusal.
        source: io::Error,
    },
    /// Bytes of a backup are wrong.
    Backup(Corrupt),
    /// Someone else writes this store.
    Locked {
        /// Who, in the holder's own words.
        holder: String,
    },
    /// A write failed earlier, so what the file holds is not known and nothing more is written to it.
    Poisoned {
        /// The failure that came first.
        first: Arc<FirstFailure>,
    },
    /// The caller asked for what cannot be.
    Misuse(Misuse),
}

/// Where stored bytes are wrong, and in what way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    /// The file's name within the store.
    pub file: String,
    /// Where the damaged structure begins.
    pub offset: u64,
    /// What should have been there.
    pub structure: Structure,
    /// How it is not.
    pub fault: Fault,
}

/// A structure on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Structure {
    /// A whole file.
    File,
    /// The first bytes of a log, segment or manifest.
    FileHeader,
    /// A frame, whatever it holds.
    Frame,
    /// The frame by which a log names its predecessor.
    LogStart,
    /// A recorded batch.
    Batch,
    /// What a batch of a log holds, beside it.
    Digest,
    /// Digests of a log, once more.
    DigestsAgain,
    /// The state with which a manifest begins.
    Snapshot,
    /// A change of a manifest's state.
    Edit,
    /// What a backup holds of a store at one moment.
    Generation,
    /// The list of what a segment holds, in its manifest entry.
    Summary,
    /// The file that names the manifest in force.
    Current,
    /// The note by which a writer tells readers how far the log is durable.
    Note,
    /// The last bytes of a segment.
    Trailer,
    /// The list of a segment's tables.
    Footer,
    /// What a segment holds of one table.
    Directory,
    /// Parts of a stream in a segment.
    Piece,
    /// Rows in a segment.
    Rows,
    /// How the rows of a table are packed.
    Dictionary,
    /// The hosts of a segment.
    Hosts,
    /// The recorded times of a segment.
    Commits,
    /// Which values a table of a segment has, and where.
    Index,
}

impl Structure {
    /// The word for it in texts.
    pub fn word(self) -> &'static str {
        match self {
            Structure::File => "file",
            Structure::FileHeader => "file header",
            Structure::Frame => "frame",
            Structure::LogStart => "start of log",
            Structure::Batch => "batch",
            Structure::Digest => "digest",
            Structure::DigestsAgain => "digests again",
            Structure::Snapshot => "manifest snapshot",
            Structure::Edit => "manifest edit",
            Structure::Generation => "generation of a backup",
            Structure::Summary => "segment summary",
            Structure::Current => "pointer to the manifest",
            Structure::Note => "durable note",
            Structure::Trailer => "segment trailer",
            Structure::Footer => "segment footer",
            Structure::Directory => "table directory",
            Structure::Piece => "piece of a stream",
            Structure::Rows => "block of rows",
            Structure::Dictionary => "dictionary of a table",
            Structure::Hosts => "list of hosts",
            Structure::Commits => "list of commits",
            Structure::Index => "index of a table",
        }
    }
}

/// How bytes are wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What an encoding found.
    Code(codec::Fault),
    /// More than may be.
    Limit {
        /// Of what.
        what: &'static str,
        /// So much is announced.
        found: u64,
        /// So much is allowed.
        limit: u64,
    },
    /// The file does not begin as files of a store do.
    Magic,
    /// A kind that is not known and cannot be skipped.
    Tag {
        /// Of what.
        what: &'static str,
        /// The unknown number.
        found: u64,
    },
    /// A field holds what it cannot hold.
    Value {
        /// Which.
        what: &'static str,
    },
    /// Things stand in another order than they must.
    Order {
        /// Which.
        what: &'static str,
    },
    /// Sound bytes that belong elsewhere: another store, file or kind.
    Foreign {
        /// What tells them apart.
        what: &'static str,
    },
    /// The checksum over all of a file's bytes is another.
    Digest,
    /// What another structure names is not there.
    Missing,
    /// An edit that does not fit the state before it.
    Edit(EditFault),
}

impl Fault {
    /// The same with the place.
    pub fn at(self, file: &str, offset: u64, structure: Structure) -> Corrupt {
        Corrupt { file: file.to_owned(), offset, structure, fault: self }
    }
}

/// A version that this program does not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionGap {
    /// The file's name within the store.
    pub file: String,
    /// The version of its format.
    pub found: u16,
    /// The oldest format that this program reads.
    pub oldest: u16,
    /// The newest.
    pub newest: u16,
}

/// The failure after which a file was given up.
#[derive(Debug)]
pub struct FirstFailure {
    /// What was tried, as a verb.
    pub operation: &'static str,
    /// On which file of the store.
    pub file: String,
    /// The refusal.
    pub source: io::Error,
}

/// A request that cannot be met whatever the disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Misuse {
    /// A batch holds more than one record can.
    BatchTooLarge {
        /// Its bytes before compression, or as many as were counted before giving up.
        bytes: u64,
        /// The most that there may be.
        limit: u64,
    },
    /// A delivery lists a row twice on one side, or no times.
    RowCopies,
    /// The log is finished: no record can follow.
    LogFinished,
    /// The directory already holds a store.
    StoreExists,
    /// The directory holds no store.
    NoStore,
    /// The directory holds something, and an empty one is needed.
    NotEmpty {
        /// The name of one of its files.
        file: String,
    },
    /// The directory holds a backup and no store.
    IsBackup,
    /// The directory holds backups of another store.
    OtherStore,
    /// A store and the one that was backed up before gave one number to different files, so they were one and went on apart.
    Parted {
        /// The file.
        file: String,
    },
    /// The backup has no such generation.
    NoGeneration {
        /// Which; `None`: none at all.
        number: Option<u64>,
    },
    /// An edit does not fit the manifest's state.
    Edit(EditFault),
    /// A question that has no answer.
    Question(QuestionFault),
    /// The rows of one stream in an answer take more than 4 GiB.
    AnswerTooLarge,
    /// The number of a producer's batch does not fit what is in.
    Sequence {
        /// The batch's number.
        sent: u64,
        /// The greatest that is in.
        last: u64,
        /// Whether that one is in with other content.
        differs: bool,
    },
    /// Whoever asked wants no more of the answer.
    Stopped,
    /// A recorded time was set that is before what is recorded already.
    RecordedBack {
        /// The time set.
        at: Micros,
        /// The recorded time of the last commit.
        last: Micros,
    },
}

/// Why an edit does not fit a manifest's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditFault {
    /// It adds a segment that is there.
    Added {
        /// Which.
        number: u64,
    },
    /// It removes a segment that is not there.
    Removed {
        /// Which.
        number: u64,
    },
    /// It names a file that was never numbered.
    Number {
        /// Which.
        number: u64,
        /// The first number not given to any file.
        next_file: u64,
    },
    /// A number that only grows would shrink.
    Back {
        /// Which.
        what: &'static str,
        /// What it is.
        from: u64,
        /// What it would become.
        to: u64,
    },
    /// A segment's description contradicts itself.
    Meta {
        /// Which segment.
        number: u64,
        /// In what.
        what: &'static str,
    },
}

impl Error {
    /// The error of a lock that was not given.
    pub fn from_lock(error: LockError, file: &str) -> Error {
        match error {
            LockError::Held { holder } => Error::Locked { holder },
            LockError::Io(source) => Error::Io { operation: "lock", file: file.to_owned(), source },
        }
    }
}

impl From<codec::Fault> for Fault {
    fn from(fault: codec::Fault) -> Fault {
        Fault::Code(fault)
    }
}

/// Says what was tried on which file when the operating system refuses.
pub(crate) trait During<T> {
    /// The result with an error that names operation and file.
    fn during(self, operation: &'static str, file: &str) -> Result<T, Error>;
}

impl<T> During<T> for io::Result<T> {
    fn during(self, operation: &'static str, file: &str) -> Result<T, Error> {
        self.map_err(|source| Error::Io { operation, file: file.to_owned(), source })
    }
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Error {
        Error::Corrupt(corrupt)
    }
}

impl From<VersionGap> for Error {
    fn from(gap: VersionGap) -> Error {
        Error::Version(gap)
    }
}

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Error {
        Error::Misuse(misuse)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Corrupt(corrupt) => write!(
                f,
                "{corrupt}; see the extent with `erstwhile fsck`, then save what is whole with `erstwhile recover`"
            ),
            Error::Backup(corrupt) => {
                write!(f, "in the backup {corrupt}; see which generations are whole with `erstwhile backup --verify`")
            }
            Error::Version(gap) => gap.fmt(f),
            Error::Io { operation, file, source } => {
                write!(f, "cannot {operation} {file}: {source}")?;
                match source.kind() {
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                        f.write_str("; free space and open the store again")
                    }
                    io::ErrorKind::PermissionDenied => f.write_str("; check who owns the store's directory"),
                    _ => Ok(()),
                }
            }
            Error::Locked { holder } => {
                write!(f, "the store is being written by {holder}; stop that process or ask it instead")
            }
            Error::Poisoned { first } => {
                let FirstFailure { operation, file, source } = &**first;
                write!(
                    f,
                    "writing stopped because an earlier attempt to {operation} {file} failed: {source}; \
                     mend the cause, then open the store again"
                )
            }
            Error::Misuse(misuse) => misuse.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Io { source, .. } => Some(source),
            Error::Poisoned { first } => Some(&first.source),
            _ => None,
        }
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Corrupt { file, offset, structure, fault } = self;
        write!(f, "{file} is damaged: {} at byte {offset}: {fault}", structure.word())
    }
}

impl std::error::Error for Corrupt {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Code(fault) => fault.fmt(f),
            Fault::Limit { what, found, limit } => {
                write!(f, "it announces {found} {what} and at most {limit} are allowed")
            }
            Fault::Magic => f.write_str("no file of a store begins like this"),
            Fault::Tag { what, found } => write!(f, "unknown {what} {found}"),
            Fault::Value { what } => write!(f, "impossible {what}"),
            Fault::Order { what } => write!(f, "{what} out of order"),
            Fault::Foreign { what } => write!(f, "it belongs to another {what}"),
            Fault::Digest => f.write_str("its bytes are not those that were written"),
            Fault::Missing => f.write_str("it is missing"),
            Fault::Edit(fault) => fault.fmt(f),
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for VersionGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let VersionGap { file, found, oldest, newest } = self;
        write!(f, "{file} has format {found} and this program reads formats {oldest} to {newest}; ")?;
        let other = if found > newest { "a newer" } else { "an older" };
        write!(f, "open the store with {other} erstwhile, one that reads format {found}")
    }
}

impl std::error::Error for VersionGap {}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::BatchTooLarge { bytes, limit } => write!(
                f,
                "the batch holds {bytes} bytes or more and a batch may hold {limit}; send it as several smaller ones"
            ),
            Misuse::RowCopies => f.write_str(
                "a delivery must list each row once, with one copy or more; add up the copies of equal rows first",
            ),
            Misuse::AnswerTooLarge => f.write_str("the rows of one stream take more than 4 GiB; ask for fewer of them"),
            Misuse::Sequence { sent, last, differs: true } => write!(
                f,
                "batch {sent} of this producer is in with other content ({last} is the last): two processes send as one \
                 producer; give each a state of its own"
            ),
            Misuse::Sequence { sent, last, differs: false } => write!(
                f,
                "batch {sent} of this producer does not follow the last one that is in, which is {last}; send {} next",
                last + 1
            ),
            Misuse::Stopped => f.write_str("what was asked for is wanted no more"),
            Misuse::LogFinished => f.write_str("the log is finished; append to its successor"),
            Misuse::StoreExists => {
                f.write_str("the directory already holds a store; open it, or name an empty directory")
            }
            Misuse::NoStore => f.write_str("the directory holds no store; name one that does, or create one"),
            Misuse::NotEmpty { file } => {
                write!(f, "the directory is not empty (it holds {file}); name an empty or a new one")
            }
            Misuse::IsBackup => {
                f.write_str("the directory holds a backup; make a store of it with `erstwhile restore --from`")
            }
            Misuse::OtherStore => {
                f.write_str("the directory holds backups of another store; name a directory of its own")
            }
            Misuse::Parted { file } => write!(
                f,
                "the backup has another {file}: the store that was backed up before and this one are copies that went \
                 on apart; give this one a backup directory of its own"
            ),
            Misuse::NoGeneration { number: Some(number) } => {
                write!(f, "the backup has no generation {number}; see which it has with `erstwhile backup --list`")
            }
            Misuse::NoGeneration { number: None } => f.write_str("the directory holds no backup"),
            Misuse::RecordedBack { at, last } => write!(
                f,
                "the recorded time {at} is not after the store's last, {last} (both in microseconds); set a later one"
            ),
            Misuse::Question(fault) => fault.fmt(f),
            Misuse::Edit(fault) => write!(f, "the edit does not fit the manifest: {fault}"),
        }
    }
}

impl std::error::Error for Misuse {}

impl fmt::Display for EditFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EditFault::Added { number } => write!(f, "segment {number} is there already"),
            EditFault::Removed { number } => write!(f, "segment {number} is not there"),
            EditFault::Number { number, next_file } => {
                write!(f, "file {number} was never numbered: the next number is {next_file}")
            }
            EditFault::Back { what, from, to } => {
                write!(f, "{what} would go back from {from} to {to}")
            }
            EditFault::Meta { number, what } => {
                write!(f, "segment {number} has an impossible {what}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_say_what_where_and_what_to_do() {
        let corrupt = Fault::Missing.at("0000000007.log", 64, Structure::Batch);
        assert_eq!(
            Error::from(corrupt).to_string(),
            "0000000007.log is damaged: batch at byte 64: it is missing; see the extent with `erstwhile fsck`, \
             then save what is whole with `erstwhile recover`"
        );
        let gap = VersionGap { file: "0000000007.log".to_owned(), found: 9, oldest: 1, newest: 2 };
        assert_eq!(
            Error::from(gap).to_string(),
            "0000000007.log has format 9 and this program reads formats 1 to 2; open the store with a newer \
             erstwhile, one that reads format 9"
        );
        let full = io::Error::from(io::ErrorKind::StorageFull);
        let full: Result<(), Error> = Err(full).during("append to", "0000000007.log");
        let full = full.unwrap_err().to_string();
        assert!(full.starts_with("cannot append to 0000000007.log: "), "{full}");
        assert!(full.ends_with("; free space and open the store again"), "{full}");
    }
}

//! The only place that touches a disk or a clock; everything else sees a [`Storage`] and a [`Clock`].
//!
//! A storage is one directory of files with plain names. Files are written by one process, once, from front to back,
//! and read by any number of processes.
//!
//! Invariants:
//! - Bytes of a file that were written never change and are never cut: a file is immutable or grows at its end.
//! - Appended bytes are durable after [`Output::sync`] and not before; a creation, rename or removal is durable after
//!   [`Storage::sync_dir`] and not before.
//! - A file that is mapped anywhere, in this process or in another, survives [`Storage::remove_unpinned`].
//! - At most one holder has a lock of one name, and the lock of a dead process is free.
//!
//! Three media: [`DiskStorage`] is a directory, [`MemoryStorage`] forgets, [`FaultyStorage`] fails on request and knows
//! what a machine would find after losing power.
//!
//! [`Storage`]: crate::io::Storage
//! [`Clock`]: crate::io::Clock
//! [`Output::sync`]: crate::io::Output::sync
//! [`Storage::sync_dir`]: crate::io::Storage::sync_dir
//! [`Storage::remove_unpinned`]: crate::io::Storage::remove_unpinned
//! [`DiskStorage`]: crate::io::DiskStorage
//! [`MemoryStorage`]: crate::io::MemoryStorage
//! [`FaultyStorage`]: crate::io::FaultyStorage

mod clock;
mod disk;
mod faulty;
pub(crate) mod lock;
mod mapped;
mod memory;

pub use clock::{Clock, ManualClock, SystemClock};
pub use disk::DiskStorage;
pub use faulty::{AfterCrash, Crashed, FaultyStorage, Plan, Unsynced};
pub use lock::Note;
pub use mapped::{Mapped, MappedPart};
pub use memory::MemoryStorage;

use std::fmt;
use std::io;

/// One directory of files, addressed by plain names without separators.
///
/// Errors are those of `std::fs`: a missing file is `NotFound`, a taken name `AlreadyExists`, a name that is not plain
/// `InvalidInput`, a full medium `StorageFull`.
pub trait Storage: Send + Sync {
    /// A new empty file open for appending; fails with `AlreadyExists` if the name is taken.
    fn create(&self, name: &str) -> io::Result<Box<dyn Output>>;

    /// The whole file as it is now.
    ///
    /// Mapped where the medium can, so the file must be immutable or only ever appended to. Until the last clone of the
    /// answer is dropped, it pins the file against [`remove_unpinned`](Storage::remove_unpinned) of any process.
    fn map(&self, name: &str) -> io::Result<Mapped>;

    /// The bytes from `offset` to the present end, copied; for files that another process still appends to. Empty if
    /// the file ends at or before `offset`.
    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>>;

    /// Gives a file another name, atomically replacing a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file, whoever reads it; who has mapped it keeps the bytes.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Removes the file unless some reader has it pinned; `Ok(false)` if one has.
    fn remove_unpinned(&self, name: &str) -> io::Result<bool>;

    /// The names and sizes of all files, sorted by name.
    fn list(&self) -> io::Result<Vec<(String, u64)>>;

    /// Makes creations, renames and removals durable.
    fn sync_dir(&self) -> io::Result<()>;

    /// The writer's lock: exclusive, released on drop or by the death of the process.
    ///
    /// `holder` is text for whoever is refused. The note of the holder before stays until this one publishes its own.
    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn Lock>, LockError>;

    /// The text of who holds the lock now; `None` if nobody does.
    fn lock_holder(&self, name: &str) -> io::Result<Option<String>>;

    /// The note that the lock's holder published last, complete or not at all.
    ///
    /// The note of a holder that has gone stays readable until another publishes its own: ask
    /// [`lock_holder`](Storage::lock_holder) where that matters, and [`Note::is_left`] whether the present one has. It is not synced, so after a loss of power it may be
    /// older or newer than the files beside it.
    fn read_note(&self, name: &str) -> io::Result<Option<Note>>;
}

/// A lock that is held for as long as this lives.
pub trait Lock: Send + Sync {
    /// Replaces the note that readers in other processes see.
    fn publish(&self, note: &[u8; 32]) -> io::Result<()>;
}

/// A file open for appending.
///
/// After a failed [`append`](Output::append) the file may hold any front part of the bytes. After a failed
/// [`sync`](Output::sync) nothing that was appended since the last good one can be relied on, and syncing again proves
/// nothing: the operating system may have dropped the bytes.
#[expect(clippy::len_without_is_empty, reason = "a file's length is a position, not a collection's size")]
pub trait Output: Send {
    /// Appends the bytes; they are readable at once and durable after the next [`sync`](Output::sync).
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything appended so far durable.
    fn sync(&mut self) -> io::Result<()>;

    /// The file's present length: what was appended, with the front part that a failed append left behind.
    fn len(&self) -> u64;
}

/// Why a lock was not given.
#[derive(Debug)]
pub enum LockError {
    /// Someone has it; the text is what the holder wrote.
    Held {
        /// Who, in the holder's own words.
        holder: String,
    },
    /// The lock could not be tried.
    Io(io::Error),
}

impl fmt::Display for LockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockError::Held { holder } => write!(f, "the lock is held by {holder}"),
            LockError::Io(error) => write!(f, "the lock could not be tried: {error}"),
        }
    }
}

impl std::error::Error for LockError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LockError::Held { .. } => None,
            LockError::Io(error) => Some(error),
        }
    }
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> LockError {
        LockError::Io(error)
    }
}

/// Refuses what is not a plain file name.
fn check_name(name: &str) -> io::Result<()> {
    if name.is_empty() || name == "." || name == ".." || name.contains(['/', '\\', '\0']) {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} is not a plain file name")));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

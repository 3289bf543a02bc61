//! A directory of the operating system.
//!
//! Pins and the writer's lock are advisory locks of the operating system on whole files (`flock`), so they hold between
//! processes as within one, and die with the process. A reader needs no right to write: everything but creation,
//! renaming, removal and [`Storage::lock`] works on a read-only mount.
//!
//! Invariants:
//! - Every map outlives no pin: the shared lock on a mapped file is released after the map is gone.
//! - A file is removed by `remove_unpinned` only while this process alone has it locked.

use super::{Lock, LockError, Mapped, Note, Output, Storage, check_name, lock};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// Someone who asks for the holder of a lock takes it for an instant; a writer tries again before it gives up.
const LOCK_TRIES: u32 = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(3);

/// A reader that meets a note or a text half-written looks again this often.
const NOTE_TRIES: u32 = 16;

/// A directory on a disk.
#[derive(Clone, Debug)]
pub struct DiskStorage {
    path: PathBuf,
    maps: bool,
}

impl DiskStorage {
    /// The directory at `path`, made durably if it is missing and `create` is set.
    pub fn open(path: impl AsRef<Path>, create: bool) -> io::Result<DiskStorage> {
        let path = path.as_ref().to_path_buf();
        if create && !path.is_dir() {
            make_dir(&path)?;
        }
        if !fs::metadata(&path)?.is_dir() {
            return Err(ErrorKind::NotADirectory.into());
        }
        Ok(DiskStorage { path, maps: true })
    }

    /// The same directory, whose [`map`](Storage::map) reads into memory: the safe twin of the mapped one.
    pub fn without_maps(self) -> DiskStorage {
        DiskStorage { maps: false, ..self }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn path_of(&self, name: &str) -> io::Result<PathBuf> {
        check_name(name)?;
        Ok(self.path.join(name))
    }
}

/// Makes a directory and its missing parents, each durable in its own parent.
fn make_dir(path: &Path) -> io::Result<()> {
    let parent = match path.parent() {
        None => return Ok(()),
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
    };
    if !parent.is_dir() {
        make_dir(parent)?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
        other => other?,
    }
    File::open(parent)?.sync_all()
}

/// Maps a whole file.
#[expect(unsafe_code, reason = "a map is the only way to read a file without copying it; argued below")]
fn map_file(file: &File) -> io::Result<memmap2::Mmap> {
    // SAFETY: the slice behind a map is sound while no one changes its bytes or cuts the file. Every file of a storage
    // is written through `Output`, which only appends, so bytes once written stay as they are and the map ends where
    // the file ended when it was mapped. Removal and renaming leave the mapped inode alone. Lock files, which are
    // rewritten, are never mapped. A foreign program that edits a file in place can show a reader other bytes (every
    // decoder checks and none trusts what it checked before), and one that truncates a mapped file makes the next read
    // fault and ends the process; that is outside what a store defends against, as it is for every mapped database.
    // Whoever must, reads with `DiskStorage::without_maps`.
    unsafe { memmap2::Mmap::map(file) }
}

impl Storage for DiskStorage {
    fn create(&self, name: &str) -> io::Result<Box<dyn Output>> {
        let file = OpenOptions::new().append(true).create_new(true).open(self.path_of(name)?)?;
        Ok(Box::new(DiskOutput { file, len: 0 }))
    }

    fn map(&self, name: &str) -> io::Result<Mapped> {
        let mut file = File::open(self.path_of(name)?)?;
        match file.lock_shared() {
            // No locks here, so no one can remove what is unpinned either.
            Err(error) if error.kind() == ErrorKind::Unsupported => {}
            other => other?,
        }
        if self.maps && file.metadata()?.len() > 0 {
            Ok(Mapped::map(map_file(&file)?, file))
        } else {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok(Mapped::shared(Arc::new(bytes), file))
        }
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path_of(name)?)?;
        let mut bytes = Vec::new();
        if offset < file.metadata()?.len() {
            file.seek(SeekFrom::Start(offset))?;
            file.read_to_end(&mut bytes)?;
        }
        Ok(bytes)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path_of(from)?, self.path_of(to)?)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path_of(name)?)
    }

    fn remove_unpinned(&self, name: &str) -> io::Result<bool> {
        let path = self.path_of(name)?;
        let file = File::open(&path)?;
        match file.try_lock() {
            Ok(()) => fs::remove_file(&path).map(|()| true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => files.push((name, metadata.len())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        files.sort_unstable();
        Ok(files)
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn Lock>, LockError> {
        let path = self.path_of(name)?;
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < LOCK_TRIES => thread::sleep(LOCK_PAUSE),
                Err(TryLockError::WouldBlock) => {
                    return Err(LockError::Held { holder: read_holder(&file)? });
                }
                Err(TryLockError::Error(error)) => return Err(error.into()),
            }
        }
        let mut before = Vec::new();
        (&file).take(lock::HOLDER_AT as u64).read_to_end(&mut before)?;
        let bytes = lock::file(holder, &before);
        file.write_all_at(&bytes, 0)?;
        file.set_len(bytes.len() as u64)?;
        Ok(Box::new(DiskLock(file)))
    }

    fn lock_holder(&self, name: &str) -> io::Result<Option<String>> {
        let file = match File::open(self.path_of(name)?) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => read_holder(&file).map(Some),
            Err(TryLockError::Error(error)) if error.kind() == ErrorKind::Unsupported => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn read_note(&self, name: &str) -> io::Result<Option<Note>> {
        let file = match File::open(self.path_of(name)?) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        for _ in 0..NOTE_TRIES {
            let mut front = [0; lock::NOTE_AT + lock::NOTE_FIELD_SIZE];
            match file.read_exact_at(&mut front, 0) {
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
                other => other?,
            }
            match lock::note(&front) {
                lock::Field::Absent => return Ok(None),
                lock::Field::Is(note) => return Ok(Some(note)),
                lock::Field::Torn => thread::yield_now(),
            }
        }
        Ok(None)
    }
}

/// The text in a lock file that someone else may be writing.
fn read_holder(mut file: &File) -> io::Result<String> {
    for _ in 0..NOTE_TRIES {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(&mut bytes)?;
        if let Some(holder) = lock::holder(&bytes) {
            return Ok(holder);
        }
        thread::yield_now();
    }
    Ok(lock::UNKNOWN_HOLDER.to_owned())
}

struct DiskOutput {
    file: File,
    len: u64,
}

impl Output for DiskOutput {
    fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        // Not `write_all`: a failed append must still know how much of it is in the file.
        while !bytes.is_empty() {
            match self.file.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.len += n as u64;
                    bytes = &bytes[n..];
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> u64 {
        self.len
    }
}

struct DiskLock(File);

impl Lock for DiskLock {
    fn publish(&self, note: &[u8; 32]) -> io::Result<()> {
        let field = lock::note_field(&Note { bytes: *note, is_left: false });
        match self.0.write_at(&field, lock::NOTE_AT as u64)? {
            lock::NOTE_FIELD_SIZE => Ok(()),
            _ => Err(ErrorKind::WriteZero.into()),
        }
    }
}

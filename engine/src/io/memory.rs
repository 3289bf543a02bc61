//! A directory in memory, for tests and for stores that need not outlive the process.
//!
//! Invariants:
//! - A file is its own thing, apart from its name: who has it open or mapped keeps it through renames and removal.
//! - A mapped file shares its bytes until the next append, which copies them.

use super::{Lock, LockError, Mapped, Note, Output, Storage, check_name, lock};
use parking_lot::Mutex;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;

/// A handle to a directory in memory; clones share it.
#[derive(Clone, Default)]
pub struct MemoryStorage {
    dir: Arc<Mutex<Dir>>,
}

#[derive(Default)]
struct Dir {
    files: BTreeMap<String, Arc<File>>,
    held: BTreeSet<String>,
}

/// A file apart from its name.
#[derive(Default)]
pub(super) struct File {
    bytes: Mutex<Arc<Vec<u8>>>,
    pin: Arc<()>,
}

impl File {
    pub(super) fn new(bytes: Vec<u8>) -> File {
        File { bytes: Mutex::new(Arc::new(bytes)), pin: Arc::default() }
    }

    pub(super) fn bytes(&self) -> Arc<Vec<u8>> {
        self.bytes.lock().clone()
    }

    pub(super) fn len(&self) -> u64 {
        self.bytes.lock().len() as u64
    }

    pub(super) fn append(&self, more: &[u8]) {
        Arc::make_mut(&mut self.bytes.lock()).extend_from_slice(more);
    }

    /// Replaces all bytes; only lock files are ever rewritten.
    pub(super) fn rewrite(&self, bytes: Vec<u8>) {
        *self.bytes.lock() = Arc::new(bytes);
    }

    pub(super) fn publish(&self, note: &[u8; 32]) {
        let mut bytes = self.bytes.lock();
        let field = lock::note_field(&Note { bytes: *note, is_left: false });
        Arc::make_mut(&mut bytes)[lock::NOTE_AT..][..lock::NOTE_FIELD_SIZE].copy_from_slice(&field);
    }

    pub(super) fn map(&self) -> Mapped {
        Mapped::shared(self.bytes(), self.pin.clone())
    }

    pub(super) fn is_pinned(&self) -> bool {
        Arc::strong_count(&self.pin) > 1
    }

    pub(super) fn read_from(&self, offset: u64) -> Vec<u8> {
        let bytes = self.bytes();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        bytes.get(offset..).unwrap_or_default().to_vec()
    }

    pub(super) fn holder(&self) -> String {
        lock::holder(&self.bytes()).unwrap_or_else(|| lock::UNKNOWN_HOLDER.to_owned())
    }

    pub(super) fn note(&self) -> Option<Note> {
        match lock::note(&self.bytes()) {
            lock::Field::Is(note) => Some(note),
            lock::Field::Absent | lock::Field::Torn => None,
        }
    }
}

/// The error of a name that is not there.
pub(super) fn not_found(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("there is no file {name:?}"))
}

/// The error of a name that is taken.
pub(super) fn already_exists(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, format!("there is a file {name:?} already"))
}

impl MemoryStorage {
    /// An empty directory.
    pub fn new() -> MemoryStorage {
        MemoryStorage::default()
    }

    /// A directory of these files.
    pub fn with_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> MemoryStorage {
        let files = files.into_iter().map(|(name, bytes)| (name, Arc::new(File::new(bytes)))).collect();
        MemoryStorage { dir: Arc::new(Mutex::new(Dir { files, held: BTreeSet::new() })) }
    }

    /// A copy of all files, by name.
    pub fn files(&self) -> BTreeMap<String, Vec<u8>> {
        self.dir.lock().files.iter().map(|(name, file)| (name.clone(), file.bytes().to_vec())).collect()
    }

    /// Puts a file in place as it is, replacing one of that name: how a test damages a store.
    pub fn put(&self, name: &str, bytes: Vec<u8>) {
        self.dir.lock().files.insert(name.to_owned(), Arc::new(File::new(bytes)));
    }

    fn file(&self, name: &str) -> io::Result<Arc<File>> {
        check_name(name)?;
        self.dir.lock().files.get(name).cloned().ok_or_else(|| not_found(name))
    }
}

impl Storage for MemoryStorage {
    fn create(&self, name: &str) -> io::Result<Box<dyn Output>> {
        check_name(name)?;
        match self.dir.lock().files.entry(name.to_owned()) {
            Entry::Occupied(_) => Err(already_exists(name)),
            Entry::Vacant(vacant) => Ok(Box::new(MemoryOutput(vacant.insert(Arc::default()).clone()))),
        }
    }

    fn map(&self, name: &str) -> io::Result<Mapped> {
        Ok(self.file(name)?.map())
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>> {
        Ok(self.file(name)?.read_from(offset))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let mut dir = self.dir.lock();
        let file = dir.files.remove(from).ok_or_else(|| not_found(from))?;
        dir.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        self.dir.lock().files.remove(name).map(drop).ok_or_else(|| not_found(name))
    }

    fn remove_unpinned(&self, name: &str) -> io::Result<bool> {
        check_name(name)?;
        let mut dir = self.dir.lock();
        if dir.files.get(name).ok_or_else(|| not_found(name))?.is_pinned() {
            return Ok(false);
        }
        dir.files.remove(name);
        Ok(true)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        Ok(self.dir.lock().files.iter().map(|(name, file)| (name.clone(), file.len())).collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn Lock>, LockError> {
        check_name(name)?;
        let mut dir = self.dir.lock();
        let file = dir.files.entry(name.to_owned()).or_default().clone();
        if !dir.held.insert(name.to_owned()) {
            return Err(LockError::Held { holder: file.holder() });
        }
        file.rewrite(lock::file(holder, &file.bytes()));
        Ok(Box::new(MemoryLock { dir: self.dir.clone(), name: name.to_owned(), file }))
    }

    fn lock_holder(&self, name: &str) -> io::Result<Option<String>> {
        check_name(name)?;
        let dir = self.dir.lock();
        Ok(dir.files.get(name).filter(|_| dir.held.contains(name)).map(|file| file.holder()))
    }

    fn read_note(&self, name: &str) -> io::Result<Option<Note>> {
        check_name(name)?;
        Ok(self.dir.lock().files.get(name).and_then(|file| file.note()))
    }
}

struct MemoryOutput(Arc<File>);

impl Output for MemoryOutput {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.append(bytes);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> u64 {
        self.0.len()
    }
}

struct MemoryLock {
    dir: Arc<Mutex<Dir>>,
    name: String,
    file: Arc<File>,
}

impl Lock for MemoryLock {
    fn publish(&self, note: &[u8; 32]) -> io::Result<()> {
        self.file.publish(note);
        Ok(())
    }
}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.dir.lock().held.remove(&self.name);
    }
}

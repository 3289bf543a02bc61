//! A directory in memory that fails on request and knows live from durable.
//!
//! A test runs a store over it once to learn how many operations there are ([`FaultyStorage::op_count`]), then again for
//! every one of them with a [`Plan`] that stops there, and opens what [`FaultyStorage::after_crash`] leaves.
//!
//! Invariants:
//! - Only operations that change something are numbered: create, append, sync, rename, remove, sync of the directory,
//!   lock, publish. The operation at which a plan stops does nothing, save the torn part of an append.
//! - After the stop every operation fails with [`Crashed`], reads too.
//! - Bytes are durable up to the file's last good sync. Bytes that a *failed* sync was to save are lost for good, even
//!   when a later sync succeeds: so does Linux, and a store that tries again must be caught.
//! - Changes of names are durable, in their order, once the directory was synced; a file's sync says nothing of its name.

use super::memory::{File, already_exists, not_found};
use super::{Lock, LockError, Mapped, MemoryStorage, Note, Output, Storage, check_name, lock};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// What goes wrong, and when. The default plan is that nothing does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The machine stops at the operation of this number, counted from 0: it fails, and so does all that follows.
    pub crash_at: Option<u64>,
    /// If the machine stops at an append, so many of its bytes had reached the file.
    pub torn: usize,
    /// Of all syncs, of files and of the directory, the one of this number, counted from 0, fails with `EIO`.
    pub fail_sync: Option<u64>,
    /// The medium holds so many bytes; an append past them keeps what fits and fails with `StorageFull`. Removed files
    /// give their bytes back.
    pub full_at: Option<u64>,
}

/// What became of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Nothing of it is there.
    Lost,
    /// All of it is there.
    Kept,
    /// By this seed: of names, a front part of the changes happened; of a file's bytes, a front part is there, and
    /// sometimes the length without some of the 512-byte sectors, which read as zeros.
    Partly(u64),
}

/// What a machine finds when it starts again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterCrash {
    /// The bytes of files that were not synced.
    pub bytes: Unsynced,
    /// The creations, renames and removals since the directory was synced.
    pub names: Unsynced,
}

impl AfterCrash {
    /// The process died and the machine went on.
    pub const PROCESS_DIED: AfterCrash = AfterCrash { bytes: Unsynced::Kept, names: Unsynced::Kept };
    /// Power was lost, and all that could be lost with it.
    pub const POWER_LOST: AfterCrash = AfterCrash { bytes: Unsynced::Lost, names: Unsynced::Lost };

    /// The four corners, and `seeds` cases between them.
    pub fn all(seeds: u64) -> Vec<AfterCrash> {
        use Unsynced::{Kept, Lost, Partly};
        let corners = [(Kept, Kept), (Lost, Lost), (Lost, Kept), (Kept, Lost)];
        let between = (0..seeds).map(|seed| (Partly(seed), [Partly(seed), Kept, Lost][seed as usize % 3]));
        corners.into_iter().chain(between).map(|(bytes, names)| AfterCrash { bytes, names }).collect()
    }
}

/// The error of every operation from the stop on, inside an [`io::Error`] of kind `Other`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crashed {
    /// The number of the operation at which the machine stopped.
    pub at: u64,
}

impl Crashed {
    /// Whether an error says that the machine had stopped.
    pub fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
    }
}

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the machine stopped at operation {}", self.at)
    }
}

impl std::error::Error for Crashed {}

/// A handle to a directory that fails by plan; clones share it.
#[derive(Clone)]
pub struct FaultyStorage {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    plan: Plan,
    stopped: Option<u64>,
    ops: Vec<String>,
    syncs: u64,
    used: u64,
    files: Vec<Tracked>,
    live: Names,
    durable: Names,
    /// Changes of `live` that `durable` has not seen.
    pending: Vec<Change>,
    held: BTreeSet<String>,
}

/// Name to index in `Disk::files`.
type Names = BTreeMap<String, usize>;

#[derive(Default)]
struct Tracked {
    file: Arc<File>,
    /// Bytes before this were synced.
    durable: usize,
    /// Bytes that a failed sync lost.
    doomed: Vec<Range<usize>>,
}

enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply(&self, names: &mut Names) {
        match self {
            Change::Create(name, file) => {
                names.insert(name.clone(), *file);
            }
            Change::Rename(from, to) => {
                if let Some(file) = names.remove(from) {
                    names.insert(to.clone(), file);
                }
            }
            Change::Remove(name) => {
                names.remove(name);
            }
        }
    }
}

impl Disk {
    fn check_running(&self) -> io::Result<()> {
        match self.stopped {
            Some(at) => Err(io::Error::other(Crashed { at })),
            None => Ok(()),
        }
    }

    /// Numbers an operation, and stops at it if that is the plan.
    fn step(&mut self, what: String) -> io::Result<()> {
        self.check_running()?;
        let number = self.ops.len() as u64;
        self.ops.push(what);
        if self.plan.crash_at == Some(number) {
            self.stopped = Some(number);
        }
        self.check_running()
    }

    /// Counts a sync; false if the plan is that it fails.
    fn sync_succeeds(&mut self) -> bool {
        let number = self.syncs;
        self.syncs += 1;
        self.plan.fail_sync != Some(number)
    }

    fn change(&mut self, change: Change) {
        let displaced = match &change {
            Change::Rename(_, to) => self.live.get(to),
            Change::Remove(name) => self.live.get(name),
            Change::Create(..) => None,
        };
        if let Some(&file) = displaced {
            self.used = self.used.saturating_sub(self.files[file].file.len());
        }
        change.apply(&mut self.live);
        self.pending.push(change);
    }

    fn create(&mut self, name: &str) -> usize {
        let file = self.files.len();
        self.files.push(Tracked::default());
        self.change(Change::Create(name.to_owned(), file));
        file
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.live.get(name).copied().ok_or_else(|| not_found(name))
    }
}

fn eio() -> io::Error {
    io::Error::from_raw_os_error(5)
}

impl FaultyStorage {
    /// An empty directory.
    pub fn new(plan: Plan) -> FaultyStorage {
        FaultyStorage::over(&MemoryStorage::new(), plan)
    }

    /// A directory that holds a copy of these files, all durable: a restart after a crash, to crash again.
    pub fn over(found: &MemoryStorage, plan: Plan) -> FaultyStorage {
        let mut disk = Disk { plan, ..Disk::default() };
        for (name, bytes) in found.files() {
            disk.used += bytes.len() as u64;
            disk.durable.insert(name, disk.files.len());
            disk.files.push(Tracked { durable: bytes.len(), file: Arc::new(File::new(bytes)), doomed: Vec::new() });
        }
        disk.live = disk.durable.clone();
        FaultyStorage { disk: Arc::new(Mutex::new(disk)) }
    }

    /// Changes the plan while running: to give a full disk room, or to fail from now on.
    pub fn set_plan(&self, plan: Plan) {
        self.disk.lock().plan = plan;
    }

    /// How many operations there were, the failed ones among them.
    pub fn op_count(&self) -> u64 {
        self.disk.lock().ops.len() as u64
    }

    /// The operations in order, each in words; the number of one is its index.
    pub fn ops(&self) -> Vec<String> {
        self.disk.lock().ops.clone()
    }

    /// How many syncs there were, of files and of the directory.
    pub fn sync_count(&self) -> u64 {
        self.disk.lock().syncs
    }

    /// Whether the plan's stop has come.
    pub fn has_crashed(&self) -> bool {
        self.disk.lock().stopped.is_some()
    }

    /// What a machine would find if this one had stopped now, or when it stopped. Locks are free.
    pub fn after_crash(&self, mode: AfterCrash) -> MemoryStorage {
        let disk = self.disk.lock();
        let mut names = disk.durable.clone();
        let changes = match mode.names {
            Unsynced::Lost => 0,
            Unsynced::Kept => disk.pending.len(),
            Unsynced::Partly(seed) => Random(seed).below(disk.pending.len() + 1),
        };
        for change in &disk.pending[..changes] {
            change.apply(&mut names);
        }
        MemoryStorage::with_files(
            names.into_iter().map(|(name, file)| (name, disk.files[file].found(mode.bytes, file))),
        )
    }
}

impl Tracked {
    /// The bytes that a machine finds.
    fn found(&self, mode: Unsynced, number: usize) -> Vec<u8> {
        const SECTOR: usize = 512;
        let mut bytes = self.file.bytes().to_vec();
        match mode {
            Unsynced::Kept => {}
            Unsynced::Lost => {
                bytes.truncate(self.durable);
                for doomed in &self.doomed {
                    let end = doomed.end.min(bytes.len());
                    bytes[doomed.start.min(end)..end].fill(0);
                }
            }
            Unsynced::Partly(seed) => {
                let mut random = Random(seed ^ (number as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93));
                let holes = random.below(2) == 1;
                bytes.truncate(self.durable + random.below(bytes.len() - self.durable + 1));
                let unsynced = self.durable..bytes.len();
                for lost in self.doomed.iter().chain(holes.then_some(&unsynced)) {
                    let mut at = lost.start.min(bytes.len());
                    let end = lost.end.min(bytes.len());
                    while at < end {
                        let next = ((at / SECTOR + 1) * SECTOR).min(end);
                        if random.below(2) == 1 {
                            bytes[at..next].fill(0);
                        }
                        at = next;
                    }
                }
            }
        }
        bytes
    }
}

/// SplitMix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % n as u64) as usize
    }
}

impl Storage for FaultyStorage {
    fn create(&self, name: &str) -> io::Result<Box<dyn Output>> {
        check_name(name)?;
        let mut disk = self.disk.lock();
        disk.step(format!("create {name}"))?;
        if disk.live.contains_key(name) {
            return Err(already_exists(name));
        }
        let number = disk.create(name);
        Ok(Box::new(FaultyOutput {
            disk: self.disk.clone(),
            number,
            name: name.to_owned(),
            file: disk.files[number].file.clone(),
        }))
    }

    fn map(&self, name: &str) -> io::Result<Mapped> {
        check_name(name)?;
        let disk = self.disk.lock();
        disk.check_running()?;
        Ok(disk.files[disk.find(name)?].file.map())
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>> {
        check_name(name)?;
        let disk = self.disk.lock();
        disk.check_running()?;
        Ok(disk.files[disk.find(name)?].file.read_from(offset))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        check_name(from)?;
        check_name(to)?;
        let mut disk = self.disk.lock();
        disk.step(format!("rename {from} to {to}"))?;
        disk.find(from)?;
        if from != to {
            disk.change(Change::Rename(from.to_owned(), to.to_owned()));
        }
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        check_name(name)?;
        let mut disk = self.disk.lock();
        disk.step(format!("remove {name}"))?;
        disk.find(name)?;
        disk.change(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn remove_unpinned(&self, name: &str) -> io::Result<bool> {
        check_name(name)?;
        let mut disk = self.disk.lock();
        disk.step(format!("remove {name} if unpinned"))?;
        let number = disk.find(name)?;
        let unpinned = !disk.files[number].file.is_pinned();
        if unpinned {
            disk.change(Change::Remove(name.to_owned()));
        }
        Ok(unpinned)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let disk = self.disk.lock();
        disk.check_running()?;
        Ok(disk.live.iter().map(|(name, &number)| (name.clone(), disk.files[number].file.len())).collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step("sync directory".to_owned())?;
        if !disk.sync_succeeds() {
            return Err(eio());
        }
        let Disk { durable, pending, .. } = &mut *disk;
        for change in pending.drain(..) {
            change.apply(durable);
        }
        Ok(())
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn Lock>, LockError> {
        check_name(name)?;
        let mut disk = self.disk.lock();
        disk.step(format!("lock {name}"))?;
        let number = match disk.live.get(name) {
            Some(&number) => number,
            None => disk.create(name),
        };
        let file = disk.files[number].file.clone();
        if !disk.held.insert(name.to_owned()) {
            return Err(LockError::Held { holder: file.holder() });
        }
        file.rewrite(lock::file(holder, &file.bytes()));
        disk.files[number].durable = 0;
        Ok(Box::new(FaultyLock { disk: self.disk.clone(), name: name.to_owned(), file }))
    }

    fn lock_holder(&self, name: &str) -> io::Result<Option<String>> {
        check_name(name)?;
        let disk = self.disk.lock();
        disk.check_running()?;
        let held = disk.live.get(name).filter(|_| disk.held.contains(name));
        Ok(held.map(|&number| disk.files[number].file.holder()))
    }

    fn read_note(&self, name: &str) -> io::Result<Option<Note>> {
        check_name(name)?;
        let disk = self.disk.lock();
        disk.check_running()?;
        Ok(disk.live.get(name).and_then(|&number| disk.files[number].file.note()))
    }
}

struct FaultyOutput {
    disk: Arc<Mutex<Disk>>,
    number: usize,
    /// The name at creation, for the list of operations.
    name: String,
    file: Arc<File>,
}

impl Output for FaultyOutput {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.check_running()?;
        let what = format!("append {} bytes to {} at {}", bytes.len(), self.name, self.file.len());
        if let Err(error) = disk.step(what) {
            self.file.append(&bytes[..disk.plan.torn.min(bytes.len())]);
            return Err(error);
        }
        let room = disk.plan.full_at.map_or(u64::MAX, |full| full.saturating_sub(disk.used));
        let fits = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        self.file.append(&bytes[..fits]);
        disk.used += fits as u64;
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(format!("sync {}", self.name))?;
        let succeeds = disk.sync_succeeds();
        let len = self.file.bytes().len();
        let tracked = &mut disk.files[self.number];
        if succeeds {
            tracked.durable = len;
            Ok(())
        } else {
            tracked.doomed.push(tracked.durable..len);
            Err(eio())
        }
    }

    fn len(&self) -> u64 {
        self.file.len()
    }
}

struct FaultyLock {
    disk: Arc<Mutex<Disk>>,
    name: String,
    file: Arc<File>,
}

impl Lock for FaultyLock {
    fn publish(&self, note: &[u8; 32]) -> io::Result<()> {
        self.disk.lock().step(format!("publish in {}", self.name))?;
        self.file.publish(note);
        Ok(())
    }
}

impl Drop for FaultyLock {
    fn drop(&mut self) {
        self.disk.lock().held.remove(&self.name);
    }
}

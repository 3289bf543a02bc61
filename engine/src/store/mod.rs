//! The façade: open, append, ask, close. It wires the rooms together and computes nothing itself.
//!
//! Invariants:
//! - One directory has one writer, which holds the lock; readers take no lock and see only what is durable.
//! - What [`Store::append`] acknowledged is durable under the sync mode (without a log: what was sealed is, and all once
//!   [`Store::flush`] returns) and visible to every view taken after.
//! - A delivery that says nothing new is not stored, and a batch without news makes no commit.
//! - After a failed write nothing is acknowledged until the store is opened again, not even what seems known.
//! - Recorded times strictly increase from commit to commit, but for imports with a set time, whose commits share it.
//!
//! Startup: note of the last writer → lock → manifest, segments and logs are read → a new manifest → files that no state
//! names are removed → what was replayed is sealed, since no log may follow one that was not finished. Any crash leaves
//! the old or the new state of each step, and damage is met before anything is changed.

mod filter;
mod maintain;

pub(crate) use maintain::sized;

use crate::compaction::plan::{self, Extent, Step};
use crate::error::{Corrupt, During, Error, Fault, FirstFailure, Misuse, Structure};
use crate::fact::{Batch, Commit, Kind, Micros, Second};
use crate::format::frame::{FileId, FileKind};
use crate::format::names;
use crate::io::{Clock, Lock, Storage};
use crate::log::{
    Durable, Encoded, LogWriter, Previous, Replayed, Ticket, decode_note, encode_note, replay_all, replay_durable,
};
use crate::manifest::{Manifest, ManifestFile, read_current};
use crate::memtable::Memtable;
use crate::note;
use crate::options::{Options, yield_to_others};
use crate::read::answer::Cost;
use crate::read::standing::Standing;
use crate::read::view::View;
use crate::segment::Segment;
use crate::segment::cache::Cache;
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// So many deliveries are put into memory before readers are let in.
const DELIVERIES_AT_ONCE: usize = 64;

/// A reader whose files are replaced under it this often in a row gives up.
const READ_TRIES: usize = 100;

/// A store open for writing.
pub struct Store {
    shared: Arc<Shared>,
    workers: Vec<std::thread::JoinHandle<()>>,
}

/// What appends, readers, the sealing and the merging thread share.
struct Shared {
    storage: Arc<dyn Storage>,
    clock: Arc<dyn Clock>,
    options: Options,
    lock: Box<dyn Lock>,
    /// The log and its length that readers were told of last.
    published: Mutex<Option<(u64, u64)>>,
    cache: Arc<Cache>,
    store_id: [u8; 16],
    writer: Mutex<Writer>,
    current: RwLock<Current>,
    manifest: Mutex<ManifestFile>,
    next_file: AtomicU64,
    /// Segments that were merged into others and that a reader had pinned when they were to be removed.
    retired: Mutex<Vec<u64>>,
    /// Bytes of segments that were written by seals, and by merges.
    sealed_bytes: AtomicU64,
    merged_bytes: AtomicU64,
    /// Told whenever a sealing or a merge ends, or one is wanted.
    turn: Condvar,
}

/// What readers see.
struct Current {
    segments: Vec<Arc<Segment>>,
    /// What is known of these segments; put anew with them.
    standing: Arc<Standing>,
    /// The one that fills.
    memtable: Arc<RwLock<Memtable>>,
    /// The one being sealed.
    sealing: Option<Arc<RwLock<Memtable>>>,
    /// The recorded time up to which commits are durable and visible.
    visible: Option<Micros>,
}

/// What only one append at a time may touch.
struct Writer {
    log: Option<Arc<LogWriter>>,
    previous: Option<Previous>,
    newest: filter::Newest,
    /// The recorded time of the last commit, visible or not.
    last_recorded: Option<Micros>,
    /// The log floor once what is being sealed is in a segment.
    sealing: Option<u64>,
    /// Whether a merge may be due.
    is_merge_due: bool,
    /// What is to be merged.
    compacting: Option<Wanted>,
    closing: bool,
    failed: Option<Failed>,
}

/// Which segments are merged at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// All of an extent.
    Whole(Extent),
    /// Those of the next step on the way to it.
    Step(Extent),
}

/// Why nothing more is written.
enum Failed {
    /// The system refused.
    Write(Arc<FirstFailure>),
    /// A merge met damage.
    Damage(Corrupt),
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// Deliveries that said nothing new.
    pub known: u64,
    /// Deliveries that were stored.
    pub stored: u64,
    /// Whole-line deliveries whose look was there with different content.
    pub forks: u64,
    /// The commit's recorded time; `None` if there was no news.
    pub recorded: Option<Micros>,
}

/// How much waits to be brought into order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Upkeep {
    /// Bytes of log that are in no segment yet, which a start after a crash reads.
    pub log_bytes: u64,
    /// Roughly how much memory these take.
    pub memtable_bytes: usize,
    /// How many segments there are.
    pub segments: usize,
    /// Their bytes.
    pub segment_bytes: u64,
    /// How many of them merges that are due would read,
    pub debt_segments: usize,
    /// and how many bytes these merges would read, one after the other.
    pub debt_bytes: u64,
    /// Since the store was opened: bytes of the segments into which memtables were sealed …
    pub sealed_bytes: u64,
    /// … and of those that merges wrote.
    pub merged_bytes: u64,
}

/// A batch that has its place and is not yet durable.
#[must_use = "a batch is stored only once `Store::wait` has said so"]
pub(crate) struct Placed {
    appended: Appended,
    /// The last commit that holds any of it, of what was known before too.
    last: Option<Micros>,
    /// The observed seconds of the deliveries that are stored, but for notes.
    pub(crate) seconds: Vec<Second>,
    /// What to wait for.
    log: Option<(Ticket, Arc<LogWriter>)>,
}

impl Store {
    /// Opens a store for writing, making one if the directory holds none. `holder` says who it is that writes.
    pub fn open(
        storage: Arc<dyn Storage>,
        clock: Arc<dyn Clock>,
        options: Options,
        holder: &str,
    ) -> Result<Store, Error> {
        let lock = storage.lock(names::LOCK, holder).map_err(|error| Error::from_lock(error, names::LOCK))?;
        let durable = durable_note(&*storage)?.map(|(durable, _)| durable);
        let found = match read_current(&*storage) {
            Err(Error::Misuse(Misuse::NoStore)) => None,
            found => Some(found?),
        };
        let mut segments = Vec::new();
        let mut memtable = Memtable::new();
        let mut recorded = None;
        let mut has_logs = false;
        if let Some(found) = &found {
            segments = open_segments(&*storage, found)?;
            recorded = (!segments.is_empty()).then_some(found.last_recorded);
            let replayed = replay_all(&*storage, found.store_id, found.log_floor, durable, |commit| {
                recorded = recorded.max(Some(commit.recorded));
                memtable.insert(&commit);
                Ok(())
            })?;
            has_logs = !replayed.is_empty();
        }
        let (manifest, file) = match found {
            Some(_) => ManifestFile::open(storage.clone(), clock.clone())?,
            None => ManifestFile::create_new(storage.clone(), clock.clone(), new_store_id(&*clock))?,
        };
        remove_unnamed(&*storage, &manifest)?;
        let shared = Arc::new(Shared {
            cache: Arc::new(Cache::new(options.cache_bytes_max)),
            store_id: manifest.store_id,
            writer: Mutex::new(Writer {
                log: None,
                previous: None,
                newest: filter::Newest::new(recorded.is_none()),
                last_recorded: recorded,
                sealing: None,
                is_merge_due: false,
                compacting: None,
                closing: false,
                failed: None,
            }),
            current: RwLock::new(Current {
                segments,
                standing: Arc::default(),
                memtable: Arc::new(RwLock::new(memtable)),
                sealing: None,
                visible: recorded,
            }),
            manifest: Mutex::new(file),
            next_file: AtomicU64::new(manifest.next_file),
            retired: Mutex::default(),
            sealed_bytes: AtomicU64::default(),
            merged_bytes: AtomicU64::default(),
            turn: Condvar::new(),
            storage,
            clock,
            options,
            lock,
            published: Mutex::default(),
        });
        let works: &[fn(&Shared)] =
            if shared.options.background { &[maintain::seal_on, maintain::merge_on] } else { &[] };
        let spawn = |work: &fn(&Shared)| {
            let (shared, work) = (shared.clone(), *work);
            std::thread::spawn(move || {
                yield_to_others(shared.options.background_nice);
                work(&shared);
            })
        };
        let workers = works.iter().map(spawn).collect();
        let store = Store { shared, workers };
        if has_logs {
            // What was replayed may not have been synced by who wrote it.
            store.shared.leave_logs_behind()?;
        }
        let number = store.shared.next_file.load(Ordering::Relaxed);
        store.shared.publish(Durable { number, len: 0, readable: 0 })?;
        Ok(store)
    }

    /// Makes a batch durable, if appends are logged, and visible, but for deliveries that say nothing new. `recorded` sets the commit's
    /// recorded time; it must not be below that of the last commit.
    pub fn append(&self, batch: Batch, recorded: Option<Micros>) -> Result<Appended, Error> {
        self.wait(self.place(batch, recorded)?)
    }

    /// Does of [`Store::append`] what fixes the batch's place after those before; it is neither durable nor visible until
    /// [`Store::wait`] says so. The next may be placed meanwhile.
    pub(crate) fn place(&self, mut batch: Batch, recorded: Option<Micros>) -> Result<Placed, Error> {
        let shared = &*self.shared;
        let mut writer = shared.writer.lock();
        shared.check(&writer)?;
        let everything = shared.everything();
        let is_next = |last: Option<u64>| last.is_none_or(|last| last < batch.sequence);
        if batch.producer != 0 && is_next(everything.last_sequence(batch.producer, &mut Cost::default())?) {
            batch.deliveries.push(note::of_batch(batch.producer, batch.sequence, batch.digest));
        }
        let mut appended = filter::keep_news(&everything, &mut writer.newest, &mut batch)?;
        if batch.deliveries.is_empty() {
            // What makes it known may still be on its way to the disk.
            let log = writer.log.clone().map(|log| (log.ticket(), log));
            return Ok(Placed { appended, last: writer.last_recorded, seconds: Vec::new(), log });
        }
        let recorded = match (recorded, writer.last_recorded) {
            (Some(at), Some(last)) if at < last => {
                return Err(Misuse::RecordedBack { at, last }.into());
            }
            (Some(at), _) => at,
            (None, last) => shared.clock.now_micros().max(last.map_or(Micros::MIN, |last| last + 1)),
        };
        let looks = batch.deliveries.iter().filter(|delivery| delivery.stream.kind != Kind::Note);
        let seconds = looks.map(|delivery| delivery.second).collect();
        let mut log = None;
        if shared.options.logs {
            let encoded = Encoded::new(&batch)?;
            let placed = shared.log(&mut writer).and_then(|log| Ok((log.append_encoded(recorded, encoded)?, log)));
            log = Some(placed.map_err(|error| writer.fail(error))?);
        }
        writer.last_recorded = Some(recorded);
        let memtable = shared.current.read().memtable.clone();
        for some in batch.deliveries.chunks(DELIVERIES_AT_ONCE) {
            memtable.write().insert_some(some, recorded);
        }
        appended.recorded = Some(recorded);
        Ok(Placed { appended, last: Some(recorded), seconds, log })
    }

    /// Returns once a batch that was placed is durable and visible.
    pub(crate) fn wait(&self, Placed { appended, last, log, .. }: Placed) -> Result<Appended, Error> {
        let shared = &*self.shared;
        if let Some((ticket, log)) = &log {
            log.wait(*ticket).map_err(|error| shared.fail(error))?;
        }
        if shared.current.read().visible < last {
            let mut current = shared.current.write();
            current.visible = current.visible.max(last);
        }
        if appended.recorded.is_none() {
            return Ok(appended);
        }
        if let Some((ticket, log)) = log {
            let len = log.durable_len();
            let durable = Durable { number: log.number(), len, readable: len.max(ticket.end()) };
            shared.publish(durable).map_err(|error| shared.fail(error))?;
        }
        self.seal_if_full()?;
        Ok(appended)
    }

    /// What is readable now.
    pub fn view(&self) -> View {
        let current = self.shared.current.read();
        self.shared.view(&current, current.visible)
    }

    /// What there is to keep in order.
    pub fn upkeep(&self) -> Upkeep {
        let shared = &*self.shared;
        let (log, sealing) = {
            let writer = shared.writer.lock();
            let sealing = writer.sealing.and(writer.previous).map(|previous| previous.end);
            (writer.log.clone(), sealing)
        };
        let current = shared.current.read();
        let memtables = current.sealing.iter().chain([&current.memtable]);
        let memtable_bytes = memtables.map(|memtable| memtable.read().bytes()).sum();
        let segments = current.segments.clone();
        drop(current);
        let (debt_segments, debt_bytes) = shared.debt(&segments);
        Upkeep {
            log_bytes: log.as_ref().map_or(0, |log| log.placed_len()) + sealing.unwrap_or(0),
            memtable_bytes,
            segments: segments.len(),
            segment_bytes: segments.iter().map(|segment| segment.bytes()).sum(),
            debt_segments,
            debt_bytes,
            sealed_bytes: shared.sealed_bytes.load(Ordering::Relaxed),
            merged_bytes: shared.merged_bytes.load(Ordering::Relaxed),
        }
    }

    /// The store's number, which no other store has.
    pub fn id(&self) -> [u8; 16] {
        self.shared.store_id
    }

    /// The recorded time of the last commit.
    pub fn last_recorded(&self) -> Option<Micros> {
        self.shared.writer.lock().last_recorded
    }

    /// Where it lives.
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        self.shared.storage.clone()
    }

    /// Fails if nothing can be appended any more, and says why: a write, a seal or a merge failed.
    pub fn takes_appends(&self) -> Result<(), Error> {
        self.shared.check(&self.shared.writer.lock())
    }

    /// Syncs what an interval asks for; call it now and then while nothing is appended.
    pub fn tick(&self) -> Result<(), Error> {
        let log = self.shared.writer.lock().log.clone();
        log.map_or(Ok(()), |log| log.tick()).map_err(|error| self.shared.fail(error))
    }

    fn seal_if_full(&self) -> Result<(), Error> {
        let full = {
            let memtable = self.shared.current.read().memtable.clone();
            let bytes = memtable.read().bytes();
            bytes >= self.shared.options.memtable_bytes_max
        };
        if full { self.shared.seal(false) } else { Ok(()) }
    }

    /// Seals what is in memory into a segment. What is due to be merged then is merged, in the background if that is how the
    /// store works.
    pub fn flush(&self) -> Result<(), Error> {
        self.shared.seal(true)
    }

    /// Seals what is in memory and merges all segments into one, whatever that costs.
    pub fn compact(&self) -> Result<(), Error> {
        self.shared.compact(Wanted::Whole(Extent::All))
    }

    /// Seals what is in memory and does the next merge on the way to an extent; tells whether there was one.
    ///
    /// Stopped by [`Options::pace`], it fails with [`Misuse::Stopped`] and leaves the store as it was; what earlier steps
    /// did stays done.
    pub fn compact_step(&self, extent: Extent) -> Result<bool, Error> {
        if self.shared.next_step(extent)?.is_empty() && self.shared.current.read().memtable.read().is_empty() {
            return Ok(false);
        }
        self.shared.compact(Wanted::Step(extent))?;
        Ok(true)
    }

    /// Seals what is in memory, and merges all segments into one if that is worth it: after much was added at once. If it
    /// is not, those that were never merged become one.
    ///
    /// What only appends need is forgotten before, so that it is not in memory beside the merge.
    pub fn compact_if_due(&self) -> Result<(), Error> {
        self.flush()?;
        self.shared.writer.lock().newest.forget();
        let extent = if self.shared.whole_is_due()? { Extent::All } else { Extent::Unpacked };
        self.shared.compact(Wanted::Whole(extent))
    }

    /// Seals what is in memory and gives the store up.
    pub fn close(mut self) -> Result<(), Error> {
        let flushed = self.flush();
        self.stop();
        flushed?;
        let writer = self.shared.writer.lock();
        self.shared.check(&writer)
    }

    fn stop(&mut self) {
        self.shared.writer.lock().closing = true;
        self.shared.turn.notify_all();
        for worker in self.workers.drain(..) {
            // A panic of the worker has been told already.
            let _ = worker.join();
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Writer {
    /// Refuses everything from now on, naming this failure if it is the first; hands it back.
    fn fail(&mut self, error: Error) -> Error {
        self.failed.get_or_insert_with(|| match &error {
            Error::Corrupt(corrupt) => Failed::Damage(corrupt.clone()),
            other => Failed::Write(Arc::new(maintain::first_failure(other))),
        });
        error
    }
}

impl Shared {
    /// [`Writer::fail`] for who does not hold the writer.
    fn fail(&self, error: Error) -> Error {
        self.writer.lock().fail(error)
    }

    fn view(&self, current: &Current, visible: Option<Micros>) -> View {
        let memtables = current.sealing.iter().chain([&current.memtable]).cloned().collect();
        let (segments, standing) = (current.segments.clone(), current.standing.clone());
        View::with_standing(segments, memtables, standing, self.cache.clone(), visible)
    }

    /// A view of everything placed, durable or not, for the one who appends.
    fn everything(&self) -> View {
        self.view(&self.current.read(), Some(Micros::MAX))
    }

    fn check(&self, writer: &Writer) -> Result<(), Error> {
        match &writer.failed {
            Some(Failed::Write(first)) => Err(Error::Poisoned { first: first.clone() }),
            Some(Failed::Damage(corrupt)) => Err(corrupt.clone().into()),
            None => Ok(()),
        }
    }

    /// Tells readers how far the log is written, unless they were told of more.
    fn publish(&self, durable: Durable) -> Result<(), Error> {
        let reach = Some((durable.number, durable.readable));
        let mut published = self.published.lock();
        if *published < reach {
            self.lock.publish(&encode_note(durable)).during("publish in", names::LOCK)?;
            *published = reach;
        }
        Ok(())
    }

    fn next_file(&self) -> u64 {
        self.next_file.fetch_add(1, Ordering::Relaxed)
    }

    /// The log that is written, begun if there is none.
    fn log(&self, writer: &mut Writer) -> Result<Arc<LogWriter>, Error> {
        if let Some(log) = &writer.log {
            return Ok(log.clone());
        }
        let (mode, number) = (self.options.sync, self.next_file());
        let log = LogWriter::create(&*self.storage, self.store_id, number, writer.previous, self.clock.clone(), mode)?;
        let log = Arc::new(log);
        writer.log = Some(log.clone());
        Ok(log)
    }
}

/// How far the last writer that said anything said the log was durable, and whether another has the lock since.
fn durable_note(storage: &dyn Storage) -> Result<Option<(Durable, bool)>, Error> {
    let note = storage.read_note(names::LOCK).during("read", names::LOCK)?;
    // A note that is damaged says nothing; it only ever adds to what the log itself proves.
    Ok(note.and_then(|note| decode_note(&note.bytes).ok().map(|durable| (durable, note.is_left))))
}

/// A number that no other store has: of this process, this moment, and an address that the system chose.
fn new_store_id(clock: &dyn Clock) -> [u8; 16] {
    let seed = Box::new(0u8);
    let mut id = [0; 16];
    let address = std::ptr::from_ref(&*seed) as usize as u64;
    let unique = [clock.now_micros() as u64, clock.monotonic_nanos(), address, u64::from(std::process::id())];
    let bytes: Vec<u8> = unique.iter().flat_map(|word| word.to_le_bytes()).collect();
    id.copy_from_slice(&xxhash_rust::xxh3::xxh3_128(&bytes).to_le_bytes());
    id
}

/// Removes files that neither the manifest nor recovery needs: unfinished and retired ones.
fn remove_unnamed(storage: &dyn Storage, manifest: &Manifest) -> Result<(), Error> {
    for (name, _) in storage.list().during("list", "the directory")? {
        let unneeded = match names::parse(&name) {
            Some((FileKind::Segment, number)) => !manifest.segments.contains_key(&number),
            Some((FileKind::Log, number)) => number < manifest.log_floor,
            Some((FileKind::Manifest, _)) => false,
            None => name.ends_with(".tmp"),
        };
        if unneeded {
            storage.remove_unpinned(&name).during("remove", &name)?;
        }
    }
    Ok(())
}

fn open_segments(storage: &dyn Storage, manifest: &Manifest) -> Result<Vec<Arc<Segment>>, Error> {
    let open = |meta: &crate::manifest::SegmentMeta| {
        let id = FileId { store: manifest.store_id, number: meta.number };
        Segment::open(storage, id, meta).map(Arc::new)
    };
    manifest.segments.values().map(|meta| open(meta)).collect()
}

/// Reads a store beside whoever writes it: what is durable at this moment.
pub fn open_view(storage: &dyn Storage, cache_bytes_max: usize) -> Result<View, Error> {
    while_replaced(|| try_view(storage, cache_bytes_max))
}

/// Tries again as long as files are replaced meanwhile.
pub(crate) fn while_replaced<T>(mut attempt: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
    let mut last = None;
    for _ in 0..READ_TRIES {
        match attempt() {
            Err(error) if is_replaced(&error) => last = Some(error),
            opened => return opened,
        }
    }
    Err(last.unwrap_or(Misuse::NoStore.into()))
}

/// Whether an error may come from files that were replaced between one look at the directory and the next.
fn is_replaced(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => source.kind() == std::io::ErrorKind::NotFound,
        Error::Corrupt(corrupt) => corrupt.fault == Fault::Missing,
        _ => false,
    }
}

fn try_view(storage: &dyn Storage, cache_bytes_max: usize) -> Result<View, Error> {
    let mut memtable = Memtable::new();
    let pinned = Pinned::attempt(storage, |commit| memtable.insert(&commit))?;
    let memtables = vec![Arc::new(RwLock::new(memtable))];
    let view = View::new(pinned.segments, memtables, Arc::new(Cache::new(cache_bytes_max)), pinned.last_recorded);
    view.warm();
    Ok(view)
}

/// The files that are a store at one moment. Segments are pinned: they stay until this is dropped.
pub(crate) struct Pinned {
    pub(crate) manifest: Manifest,
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The logs beside the segments, and how far each counts.
    pub(crate) logs: Vec<Replayed>,
    /// The recorded time of the last commit.
    pub(crate) last_recorded: Option<Micros>,
}

impl Pinned {
    /// Pins what is in force now, and hands on the commits that are in logs. Fails if files are replaced meanwhile: see
    /// [`while_replaced`].
    pub(crate) fn attempt(storage: &dyn Storage, mut each: impl FnMut(Commit)) -> Result<Pinned, Error> {
        let manifest = read_current(storage)?;
        let segments = open_segments(storage, &manifest)?;
        // A live writer's log is read as far as it says that it is durable; what a dead one left is read to its end.
        let alive = storage.lock_holder(names::LOCK).during("read", names::LOCK)?.is_some();
        let durable = durable_note(storage)?;
        let mut last_recorded = (!manifest.segments.is_empty()).then_some(manifest.last_recorded);
        let mut each = |commit: Commit| {
            last_recorded = last_recorded.max(Some(commit.recorded));
            each(commit);
            Ok(())
        };
        let (store, floor) = (manifest.store_id, manifest.log_floor);
        let logs = match (alive, durable) {
            (true, Some((durable, false))) => replay_durable(storage, store, floor, durable, &mut each)?,
            // A writer that has said nothing yet is still reading what the one before it left.
            (_, durable) => replay_all(storage, store, floor, durable.map(|(durable, _)| durable), &mut each)?,
        };
        // What was sealed since the manifest was read is in none of its segments, and its log may be gone.
        if read_current(storage)?.log_floor != floor {
            return Err(Fault::Missing.at(&names::log(floor), 0, Structure::File).into());
        }
        Ok(Pinned { manifest, segments, logs, last_recorded })
    }
}

/// The merges on the way to an extent, of the segments that a view has.
pub fn plan_of(view: &View, extent: Extent, fanout: usize) -> Result<Vec<Step>, Error> {
    Ok(plan::steps(sized(view.segments())?, extent, fanout))
}

/// Whether a directory holds a store.
pub fn exists(storage: &dyn Storage) -> Result<bool, Error> {
    match read_current(storage) {
        Ok(_) => Ok(true),
        Err(Error::Misuse(Misuse::NoStore)) => Ok(false),
        Err(error) => Err(error),
    }
}

//! Sealing and merging, beside the appends and beside each other.
//!
//! Invariants:
//! - At most one memtable is being sealed; whoever fills a second one meanwhile waits. Nobody waits for a merge, unless
//!   segments come so much faster than they are merged that there are [`SEGMENTS_AHEAD`] times as many as the fan-out.
//! - At most one merge goes on; what is sealed meanwhile is not of it.
//! - A commit is in a memtable that readers see or in a segment that they see, at every moment.
//! - A log is removed only after the manifest names the segment that holds its commits.
//! - After a failure nothing more is appended, and the error says why.

use super::{Shared, Wanted, Writer};
use crate::codec::Effort;
use crate::compaction::merge::{Merging, commits_of, hosts_of, merge};
use crate::compaction::plan::{self, Extent};
use crate::error::{Error, FirstFailure, Misuse};
use crate::fact::{Micros, Name};
use crate::format::frame::{FileId, FileKind};
use crate::format::names;
use crate::manifest::{Edit, SegmentMeta};
use crate::memtable::Memtable;
use crate::options::{cores, join};
use crate::segment::Segment;
use crate::segment::seal::seal;
use crate::segment::write::SegmentWriter;
use parking_lot::{MutexGuard, RwLock};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sealing waits for merges when there are so many times as many segments as the fan-out.
const SEGMENTS_AHEAD: usize = 8;

/// The sealing thread: works whenever a memtable waits to be sealed, until the store closes.
pub(super) fn seal_on(shared: &Shared) {
    let mut writer = shared.writer.lock();
    loop {
        let may_work = writer.failed.is_none() && (writer.closing || !shared.is_far_behind());
        if writer.sealing.is_some() && may_work {
            finish_sealing(shared, &mut writer);
        } else if writer.closing && (writer.sealing.is_none() || writer.failed.is_some()) {
            return;
        } else {
            shared.turn.wait(&mut writer);
        }
    }
}

/// The merging thread: works whenever segments were sealed or a merge is asked for, until the store closes.
pub(super) fn merge_on(shared: &Shared) {
    let mut writer = shared.writer.lock();
    loop {
        if writer.failed.is_none() && writer.compacting.is_some() {
            finish_compacting(shared, &mut writer);
        } else if writer.failed.is_none() && !writer.closing && writer.is_merge_due {
            merge_one(shared, &mut writer);
        } else if writer.closing {
            return;
        } else {
            shared.turn.wait(&mut writer);
        }
    }
}

/// Works while the lock is free. A panic would leave everybody waiting who waits for what was to be done: it is a failure as
/// any other before it goes on.
fn unlocked<'w, T>(
    shared: &'w Shared,
    writer: &mut MutexGuard<'w, Writer>,
    work: impl FnOnce() -> Result<T, Error>,
) -> Result<T, Error> {
    let worked = MutexGuard::unlocked(writer, || catch_unwind(AssertUnwindSafe(work)));
    worked.unwrap_or_else(|panic| {
        let source = io::Error::other("the thread panicked, which is a fault of the program");
        writer.fail(Error::Io { operation: "seal or merge", file: "the store".to_owned(), source });
        shared.turn.notify_all();
        resume_unwind(panic)
    })
}

/// Seals the memtable that waits; the lock is free meanwhile.
fn finish_sealing<'w>(shared: &'w Shared, writer: &mut MutexGuard<'w, Writer>) {
    let Some(floor) = writer.sealing else {
        return;
    };
    let worked = unlocked(shared, writer, || shared.seal_memtable(floor));
    (writer.sealing, writer.is_merge_due) = (None, true);
    shared.note(writer, worked);
}

/// Merges what is due; the lock is free meanwhile.
fn merge_one<'w>(shared: &'w Shared, writer: &mut MutexGuard<'w, Writer>) {
    writer.is_merge_due = false;
    let worked = unlocked(shared, writer, || shared.merge_due());
    // What was merged may fill the next tier.
    writer.is_merge_due |= matches!(worked, Ok(true));
    shared.note(writer, worked.map(drop));
}

/// Merges what is wanted into one segment; the lock is free meanwhile.
fn finish_compacting<'w>(shared: &'w Shared, writer: &mut MutexGuard<'w, Writer>) {
    let Some(wanted) = writer.compacting else {
        return;
    };
    let worked = unlocked(shared, writer, || shared.merge_wanted(wanted));
    writer.compacting = None;
    shared.note(writer, worked);
}

/// The failure that later appends name.
pub(super) fn first_failure(error: &Error) -> FirstFailure {
    let same = |source: &io::Error| match source.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(source.kind(), source.to_string()),
    };
    match error {
        Error::Io { operation, file, source } => FirstFailure { operation, file: file.clone(), source: same(source) },
        Error::Poisoned { first } => {
            FirstFailure { operation: first.operation, file: first.file.clone(), source: same(&first.source) }
        }
        other => {
            let source = io::Error::other(other.to_string());
            FirstFailure { operation: "seal", file: "the memtable".to_owned(), source }
        }
    }
}

/// Segments as a plan sees them.
fn candidates(segments: &[Arc<Segment>]) -> Vec<plan::Candidate> {
    let candidate = |segment: &Arc<Segment>| plan::Candidate {
        number: segment.number(),
        copies: segment.footer().tables.iter().map(|table| table.copies).sum(),
    };
    segments.iter().map(candidate).collect()
}

/// The same with their bytes, and whether they are packed.
pub(crate) fn sized(segments: &[Arc<Segment>]) -> Result<Vec<plan::Sized>, Error> {
    let sized = |(of, segment): (plan::Candidate, &Arc<Segment>)| {
        Ok(plan::Sized { of, bytes: segment.bytes(), is_packed: segment.is_packed()? })
    };
    candidates(segments).into_iter().zip(segments).map(sized).collect()
}

impl Shared {
    /// Hands the memtable over to be sealed, waiting for the one before. With `wait`, returns when it is in a segment.
    pub(super) fn seal(&self, wait: bool) -> Result<(), Error> {
        let mut writer = self.writer.lock();
        self.wait_for_sealing(&mut writer);
        self.check(&writer)?;
        let memtable = self.current.read().memtable.clone();
        let enough =
            if wait { !memtable.read().is_empty() } else { memtable.read().bytes() >= self.options.memtable_bytes_max };
        if enough {
            if let Some(log) = writer.log.take() {
                let finished = log.finish().map_err(|error| writer.fail(error))?;
                writer.previous = Some(finished);
            }
            let floor = self.next_file.load(Ordering::Relaxed);
            {
                let mut current = self.current.write();
                current.sealing =
                    Some(std::mem::replace(&mut current.memtable, Arc::new(RwLock::new(Memtable::new()))));
            }
            writer.sealing = Some(floor);
            if self.options.background {
                self.turn.notify_all();
            } else {
                finish_sealing(self, &mut writer);
                while writer.is_merge_due && writer.failed.is_none() {
                    merge_one(self, &mut writer);
                }
            }
        }
        if wait {
            self.wait_for_sealing(&mut writer);
        }
        self.check(&writer)
    }

    /// Seals what is in memory and merges so much into one segment; returns when that is done, or stopped.
    pub(super) fn compact(&self, wanted: Wanted) -> Result<(), Error> {
        self.seal(true)?;
        let mut writer = self.writer.lock();
        // One after the other: what another asked for is done first.
        while writer.compacting.is_some() && writer.failed.is_none() {
            self.turn.wait(&mut writer);
        }
        writer.compacting = Some(wanted);
        if self.options.background {
            self.turn.notify_all();
            while writer.compacting.is_some() && writer.failed.is_none() {
                self.turn.wait(&mut writer);
            }
        } else {
            finish_compacting(self, &mut writer);
        }
        self.check(&writer)?;
        if self.options.pace.is_stopped() { Err(Misuse::Stopped.into()) } else { Ok(()) }
    }

    /// Moves what an earlier writer left in logs into a segment, and the floor past these logs, so that the next log need
    /// not follow one that was never finished.
    pub(super) fn leave_logs_behind(&self) -> Result<(), Error> {
        if !self.current.read().memtable.read().is_empty() {
            return self.seal(true);
        }
        let floor = self.next_file.load(Ordering::Relaxed);
        self.apply(Vec::new(), Vec::new(), Some(floor))?;
        self.remove_old_logs(floor);
        Ok(())
    }

    fn wait_for_sealing(&self, writer: &mut MutexGuard<'_, Writer>) {
        while writer.sealing.is_some() && writer.failed.is_none() {
            self.turn.wait(writer);
        }
    }

    fn segment_writer(
        &self,
        effort: Effort,
        commits: Vec<Micros>,
        hosts: Vec<Name>,
    ) -> Result<SegmentWriter<'_>, Error> {
        let id = FileId { store: self.store_id, number: self.next_file() };
        SegmentWriter::create(&*self.storage, id, self.clock.now_micros(), effort, commits, hosts)
    }

    fn open_segment(&self, meta: &SegmentMeta) -> Result<Arc<Segment>, Error> {
        let id = FileId { store: self.store_id, number: meta.number };
        Segment::open(&*self.storage, id, meta).map(Arc::new)
    }

    /// Notes what became of some work, and tells everybody who waits. A merge that is wanted no more is no failure.
    fn note(&self, writer: &mut Writer, worked: Result<(), Error>) {
        if let Err(error) = worked
            && !matches!(error, Error::Misuse(Misuse::Stopped))
        {
            writer.fail(error);
        }
        self.turn.notify_all();
    }

    /// Whether segments come much faster than they are merged. Merges that were stopped are waited for in vain.
    fn is_far_behind(&self) -> bool {
        !self.options.pace.is_stopped()
            && self.current.read().segments.len() >= SEGMENTS_AHEAD * self.options.merge_fanout.max(2)
    }

    fn seal_memtable(&self, floor: u64) -> Result<(), Error> {
        let sealing = self.current.read().sealing.clone();
        let Some(sealing) = sealing else {
            return Ok(());
        };
        let (commits, hosts) = (sealing.read().commits().to_vec(), sealing.read().hosts());
        let mut segment = self.segment_writer(self.options.seal_effort, commits, hosts)?;
        seal(&sealing.read(), &mut segment)?;
        let meta = Arc::new(segment.finish()?);
        let segment = self.open_segment(&meta)?;
        self.sealed_bytes.fetch_add(segment.bytes(), Ordering::Relaxed);
        self.apply(vec![meta.clone()], Vec::new(), Some(floor))?;
        {
            let mut current = self.current.write();
            current.segments.push(segment);
            current.standing = Arc::new(current.standing.next());
            current.sealing = None;
        }
        drop(sealing);
        self.cache.leave_memtable();
        self.remove_old_logs(floor);
        self.remove_retired();
        Ok(())
    }

    /// Makes a change of the set of segments durable.
    fn apply(&self, add: Vec<Arc<SegmentMeta>>, remove: Vec<u64>, log_floor: Option<u64>) -> Result<(), Error> {
        let mut manifest = self.manifest.lock();
        let last_recorded = add.iter().map(|meta| meta.recorded.1).max();
        let next_file = self.next_file.load(Ordering::Relaxed);
        manifest.apply(&Edit { add, remove, log_floor, last_recorded, next_file })?;
        Ok(())
    }

    /// Logs that stay are removed at the next opening.
    fn remove_old_logs(&self, floor: u64) {
        for (name, _) in self.storage.list().unwrap_or_default() {
            if names::parse(&name).is_some_and(|(kind, number)| kind == FileKind::Log && number < floor) {
                let _ = self.storage.remove_unpinned(&name);
            }
        }
    }

    /// Whether all segments are worth merging into one.
    pub(super) fn whole_is_due(&self) -> Result<bool, Error> {
        let segments = self.current.read().segments.clone();
        match &segments[..] {
            [] => Ok(false),
            [only] => Ok(!only.is_packed()?),
            _ => Ok(plan::whole_is_due(&candidates(&segments).iter().map(|one| one.copies).collect::<Vec<_>>())),
        }
    }

    /// Merges what is due, on half of the cores: readers and appends have the others. Tells whether anything was.
    fn merge_due(&self) -> Result<bool, Error> {
        let segments = self.current.read().segments.clone();
        let chosen = plan::next(&candidates(&segments), self.options.merge_fanout, self.options.keeps_whole);
        if chosen.is_empty() {
            return Ok(false);
        }
        self.merge_chosen(segments, &chosen, (cores() / 2).max(1))?;
        Ok(true)
    }

    /// How many segments, and how many bytes of them and of what they become, merges that are due would read.
    pub(super) fn debt(&self, segments: &[Arc<Segment>]) -> (usize, u64) {
        let bytes = segments.iter().map(|segment| segment.bytes());
        let sized: Vec<(plan::Candidate, u64)> = candidates(segments).into_iter().zip(bytes).collect();
        plan::debt(sized, self.options.merge_fanout, self.options.keeps_whole)
    }

    /// The segments of the next merge on the way to an extent.
    pub(super) fn next_step(&self, extent: Extent) -> Result<Vec<u64>, Error> {
        let segments = self.current.read().segments.clone();
        Ok(plan::step(&sized(&segments)?, extent, self.options.merge_fanout))
    }

    /// Merges what is wanted into one segment, unless that was merged before, on all cores: somebody waits.
    fn merge_wanted(&self, wanted: Wanted) -> Result<(), Error> {
        let segments = self.current.read().segments.clone();
        let chosen = match wanted {
            Wanted::Whole(extent) => plan::step(&sized(&segments)?, extent, segments.len()),
            Wanted::Step(extent) => self.next_step(extent)?,
        };
        if chosen.is_empty() { Ok(()) } else { self.merge_chosen(segments, &chosen, cores()) }
    }

    /// Merges those of the segments whose numbers are chosen, which ascend, on so many threads.
    fn merge_chosen(&self, segments: Vec<Arc<Segment>>, chosen: &[u64], threads: usize) -> Result<(), Error> {
        self.options.pace.pay(0)?;
        let is_chosen = |segment: &Arc<Segment>| chosen.binary_search(&segment.number()).is_ok();
        let inputs: Vec<Arc<Segment>> = segments.iter().filter(|segment| is_chosen(segment)).cloned().collect();
        let is_whole = inputs.len() == segments.len();
        drop(segments);
        let (commits, hosts) = (commits_of(&inputs, Micros::MAX)?, hosts_of(&inputs)?);
        let mut writer = self.segment_writer(Effort::Zstd(self.options.merge_zstd_level), commits, hosts)?;
        let merging = Merging { is_whole, ..Merging::all(&self.options.indexes, threads, &self.options.pace) };
        if let Err(error) = merge(&*self.storage, &inputs, merging, &mut writer) {
            writer.abandon();
            return Err(error);
        }
        let meta = Arc::new(writer.finish()?);
        let merged = self.open_segment(&meta)?;
        self.merged_bytes.fetch_add(merged.bytes(), Ordering::Relaxed);
        self.apply(vec![meta], chosen.to_vec(), None)?;
        {
            let mut current = self.current.write();
            current.segments.retain(|segment| !is_chosen(segment));
            current.segments.push(merged);
            current.standing = Arc::new(current.standing.next());
        }
        drop(inputs);
        self.cache.forget(chosen);
        self.retired.lock().extend(chosen);
        self.remove_retired();
        Ok(())
    }

    /// Removes merged segments that no reader has pinned; the others when something was sealed or merged again, or at the
    /// next opening.
    fn remove_retired(&self) {
        let stays = |number: &u64| matches!(self.storage.remove_unpinned(&names::segment(*number)), Ok(false));
        let mut retired = self.retired.lock();
        let threads = if self.options.background { cores() } else { 1 };
        if threads.min(retired.len()) <= 1 {
            return retired.retain(stays);
        }
        // A file that is removed is given up page by page, and whoever removes it waits.
        let staying = std::thread::scope(|scope| {
            let staying = |numbers: &[u64]| numbers.iter().copied().filter(stays).collect::<Vec<_>>();
            let shares = retired.chunks(retired.len().div_ceil(threads));
            let shares: Vec<_> = shares.map(|share| scope.spawn(move || staying(share))).collect();
            shares.into_iter().flat_map(join).collect()
        });
        *retired = staying;
    }
}

#[cfg(test)]
mod tests {
    use crate::fact::{Batch, Delivery, Inferred, Kind, Name, StreamKey};
    use crate::io::{Clock, ManualClock, MemoryStorage, Storage};
    use crate::options::Options;
    use crate::read::question::StateQuestion;
    use crate::row::RowBuilder;
    use crate::store::Store;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn append(store: &Store, seconds: std::ops::Range<i64>) {
        let name = |text: &str| Name::from(text.as_bytes());
        let stream = Arc::new(StreamKey {
            table: name("users"),
            host: name("h"),
            name: name("users"),
            kind: Kind::Diff,
            sightings: false,
        });
        let delivery = |second: i64| {
            let mut builder = RowBuilder::new();
            builder.column(b"a", second.to_string().as_bytes());
            Delivery {
                stream: stream.clone(),
                epoch: 0,
                counter: Some(second as u64),
                second,
                whole: false,
                inferred: Inferred::V5_7,
                removed: Vec::new(),
                added: vec![(builder.row(), 1)],
            }
        };
        let batch = Batch { deliveries: seconds.map(delivery).collect(), ..Batch::default() };
        store.append(batch, None).unwrap();
    }

    /// Sealed in haste, what was added at once does not stay as it is, whether it was much or little.
    #[test]
    fn what_was_added_at_once_is_merged_with_all_or_by_itself() {
        let options = Options { background: false, ..Options::bulk() };
        let storage = Arc::new(MemoryStorage::new());
        let store = Store::open(storage, Arc::new(ManualClock::new(1)), options, "test").unwrap();
        let segments = |store: &Store| {
            let segments = store.shared.current.read().segments.clone();
            assert!(segments.iter().all(|segment| segment.is_packed().unwrap()));
            segments.len()
        };
        append(&store, 0..100);
        store.compact_if_due().unwrap();
        assert_eq!(segments(&store), 1);
        append(&store, 100..110);
        store.compact_if_due().unwrap();
        assert_eq!(segments(&store), 2, "too little to write all again");
        append(&store, 110..120);
        store.compact_if_due().unwrap();
        assert_eq!(segments(&store), 1);
    }

    /// Whoever stops merges for good wants to close, and must not wait for one.
    #[test]
    fn what_is_sealed_does_not_wait_for_merges_that_were_stopped() {
        let options = Options { memtable_bytes_max: 1, merge_fanout: 2, ..Options::default() };
        let pace = options.pace.clone();
        let store =
            Store::open(Arc::new(MemoryStorage::new()), Arc::new(ManualClock::new(1)), options, "test").unwrap();
        pace.stop();
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            (0..40).for_each(|second| append(&store, second..second + 1));
            let segments = store.view().segments().len();
            send.send((segments, store.close().is_ok())).unwrap();
        });
        let ended = receive.recv_timeout(std::time::Duration::from_secs(30));
        assert!(ended.is_ok_and(|(segments, is_closed)| segments > 20 && is_closed), "{ended:?}");
    }

    /// A host may send any row that fits into a line, among others: it must be read again, and take no more room than it has.
    #[test]
    fn a_row_of_very_many_columns_is_sealed_and_merged() {
        let delivery = |host: &str, second: i64, columns: u32| {
            let mut builder = RowBuilder::new();
            (0..columns).for_each(|column| builder.column(&column.to_be_bytes(), b"1"));
            let name = |text: &str| Name::from(text.as_bytes());
            let (table, host) = (name("users"), name(host));
            let stream = StreamKey { name: table.clone(), table, host, kind: Kind::Snapshot, sightings: false };
            Delivery {
                stream: Arc::new(stream),
                epoch: 0,
                counter: None,
                second,
                whole: true,
                inferred: Inferred::V5_7,
                removed: Vec::new(),
                added: vec![(builder.row(), 1)],
            }
        };
        let wide = (1 << 20) + 1;
        for options in [Options::default(), Options::bulk()] {
            let options = Options { background: false, ..options };
            let store =
                Store::open(Arc::new(MemoryStorage::new()), Arc::new(ManualClock::new(1)), options, "test").unwrap();
            let among = (0..300).map(|i| delivery("h", i, if i == 100 { wide } else { 1 + i as u32 % 7 }));
            let others = (0..300).map(|i| delivery("i", i, if i == 200 { 6_000 } else { 1 }));
            store.append(Batch { deliveries: among.chain(others).collect(), ..Batch::default() }, None).unwrap();
            store.flush().unwrap();
            let view = store.view();
            let directory = view.segments()[0].table(b"users").unwrap().unwrap().directory;
            let firsts = directory.row_blocks.iter().map(|&(first, _)| first).chain([directory.rows]);
            let firsts: Vec<u64> = firsts.collect();
            let alone = firsts.windows(2).filter(|pair| pair[1] - pair[0] == 1).count();
            assert!(alone >= 2, "a wide row stands in a block of its own: {firsts:?}");
            for _ in 0..2 {
                for (at, columns) in [(99, [2, 1]), (100, [wide as usize, 1]), (200, [5, 6_000])] {
                    let table = Name::from(&b"users"[..]);
                    let q = StateQuestion { table, at, host: None, stream: None, wheres: Vec::new(), known_at: None };
                    let rows = store.view().state(&q).unwrap().rows;
                    let found: Vec<usize> = rows.iter().map(|held| held.version.row.columns().count()).collect();
                    assert_eq!(found, columns);
                }
                store.compact().unwrap();
            }
        }
    }

    /// Whoever waits for a segment must hear of it when the thread that makes it panics.
    #[test]
    fn a_panic_while_sealing_is_told_to_whoever_waits() {
        struct Fragile(AtomicBool);
        impl Clock for Fragile {
            fn now_micros(&self) -> i64 {
                assert!(!self.0.load(Ordering::Relaxed), "meant: the thread that seals panics");
                1
            }

            fn monotonic_nanos(&self) -> u64 {
                1
            }
        }
        let clock = Arc::new(Fragile(AtomicBool::new(false)));
        let store = Store::open(Arc::new(MemoryStorage::new()), clock.clone(), Options::default(), "test").unwrap();
        append(&store, 0..10);
        clock.0.store(true, Ordering::Relaxed);
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let errors = [store.flush(), store.compact(), store.takes_appends(), store.close()];
            send.send(errors.map(|told| told.err().map(|error| error.to_string()))).unwrap();
        });
        for error in receive.recv_timeout(std::time::Duration::from_secs(30)).expect("it waits for ever") {
            assert!(error.as_ref().is_some_and(|error| error.contains("panicked")), "{error:?}");
        }
    }

    #[test]
    fn merged_segments_stay_as_long_as_somebody_reads_them() {
        let storage = Arc::new(MemoryStorage::new());
        let options = Options { memtable_bytes_max: 1, merge_fanout: 64, keeps_whole: false, ..Options::default() };
        let store = Store::open(storage.clone(), Arc::new(ManualClock::new(1)), options, "test").unwrap();
        (0..9).for_each(|second| append(&store, second..second + 1));
        store.flush().unwrap();
        let read = store.view().segments()[..7].to_vec();
        let files = || {
            let names = storage.list().unwrap().into_iter().map(|(name, _)| name);
            names.filter(|name| name.ends_with(".segment")).count()
        };
        store.compact().unwrap();
        assert_eq!(files(), read.len() + 1);
        drop(read);
        append(&store, 9..10);
        store.compact().unwrap();
        assert_eq!(files(), 1);
        store.close().unwrap();
    }

    /// Every append fills a memtable, and every two segments are merged: sealing and merging go on beside the appends and
    /// each other, and nothing is lost or left undone.
    #[test]
    fn merges_go_on_beside_sealing() {
        let options = Options { memtable_bytes_max: 1, merge_fanout: 2, ..Options::default() };
        let storage = Arc::new(MemoryStorage::new());
        let store = Store::open(storage, Arc::new(ManualClock::new(1)), options, "test").unwrap();
        let rows = |at: i64| {
            let table = Name::from(&b"users"[..]);
            let q = StateQuestion { table, at, host: None, stream: None, wheres: Vec::new(), known_at: None };
            store.view().state(&q).unwrap().rows.len() as i64
        };
        for second in 0..200 {
            append(&store, second..second + 1);
            assert_eq!(rows(second), second + 1);
        }
        store.compact().unwrap();
        assert_eq!((store.view().segments().len(), rows(1_000), rows(99)), (1, 200, 100));
        store.close().unwrap();
    }
}

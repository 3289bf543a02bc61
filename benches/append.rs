//! A batch becomes durable: encoded, written, synced; by one appender and by several who share syncs.
//!
//! Files go to the directory for temporary files (`TMPDIR`).

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use erstwhile::simulate::Format;
use erstwhile_benches::{BATCH_ROWS, batches, clock, commits, criterion, deliveries, fleet, rows_in};
use erstwhile_engine::fact::{Batch, Commit};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{DiskStorage, MemoryStorage, Storage};
use erstwhile_engine::log::{Encoded, Extent, LogWriter, SyncMode, encode_batch, replay as log_replay};
use erstwhile_engine::memtable::Memtable;
use erstwhile_engine::options::Options;
use erstwhile_engine::store::Store;
use std::cell::Cell;
use std::sync::Arc;

/// Rows of one forwarder's batch, where several append at once.
const SMALL_ROWS: usize = 64;
/// How many of them one iteration appends.
const SMALL_BATCHES: usize = 64;

/// New logs in a directory, one after the other; the one before is removed.
struct Logs {
    storage: DiskStorage,
    number: Cell<u64>,
    _directory: tempfile::TempDir,
}

impl Logs {
    fn new() -> Logs {
        let directory = tempfile::tempdir().expect("a directory for temporary files");
        let storage = DiskStorage::open(directory.path(), true).expect("it can be opened");
        Logs { storage, number: Cell::new(0), _directory: directory }
    }

    fn next(&self, mode: SyncMode) -> LogWriter {
        let number = self.number.get();
        self.number.set(number + 1);
        if number > 0 {
            self.storage.remove(&names::log(number - 1)).expect("the log before is there");
        }
        LogWriter::create(&self.storage, [7; 16], number, None, clock(), mode).expect("a log can be made")
    }
}

fn append_all<'c>(log: &LogWriter, commits: impl IntoIterator<Item = &'c Commit>) {
    for commit in commits {
        let ticket = log.append(commit).expect("the commit fits");
        log.wait(ticket).expect("the disk works");
    }
}

/// What the log alone costs, with batches as an import makes them.
fn log(criterion: &mut Criterion) {
    let fleet = fleet(Format::Event);
    let commits = commits(batches(deliveries(&fleet.log), BATCH_ROWS));
    let rows = rows_in(commits.iter().map(|commit| &commit.batch));
    let mut group = criterion.benchmark_group("append/log");
    group.throughput(Throughput::ElementsAndBytes { elements: rows, bytes: fleet.log.len() as u64 });
    group.bench_function("encode only", |bencher| {
        bencher.iter(|| commits.iter().map(|commit| Encoded::new(&commit.batch).is_ok()).filter(|ok| *ok).count());
    });
    let logs = Logs::new();
    for (word, mode) in [("sync never", SyncMode::Never), ("sync always", SyncMode::Always)] {
        let append = |log: LogWriter| {
            append_all(&log, &commits);
            log
        };
        group.bench_function(word, |bencher| bencher.iter_batched(|| logs.next(mode), append, BatchSize::PerIteration));
    }
    group.finish();
}

/// Several appenders of small batches; with one of them every batch pays for its own sync.
fn group_commit(criterion: &mut Criterion) {
    let small = batches(deliveries(&fleet(Format::Event).log), SMALL_ROWS);
    // From the end of the log: its beginning is the first full look of every table.
    let small: Vec<Batch> = small.into_iter().rev().take(SMALL_BATCHES).collect();
    let commits = commits(small);
    let mut group = criterion.benchmark_group("append/group commit");
    group.throughput(Throughput::Elements(rows_in(commits.iter().map(|commit| &commit.batch))));
    let logs = Logs::new();
    for appenders in [1, 4, 16] {
        let append = |log: LogWriter| {
            std::thread::scope(|scope| {
                for share in commits.chunks(SMALL_BATCHES / appenders) {
                    let log = &log;
                    scope.spawn(move || append_all(log, share));
                }
            });
            log
        };
        group.bench_function(BenchmarkId::new("appenders", appenders), |bencher| {
            bencher.iter_batched(|| logs.next(SyncMode::Always), append, BatchSize::PerIteration);
        });
    }
    group.finish();
}

/// One block and one data sync: what the disk asks for whatever the engine does.
fn disk(criterion: &mut Criterion) {
    let directory = tempfile::tempdir().expect("a directory for temporary files");
    let storage = DiskStorage::open(directory.path(), true).expect("it can be opened");
    let mut file = storage.create("file").expect("a file can be made");
    let mut group = criterion.benchmark_group("append/disk");
    group.throughput(Throughput::Elements(1));
    group.bench_function("4 KiB and a sync", |bencher| {
        bencher.iter(|| {
            file.append(&[1; 4096]).expect("the disk has room");
            file.sync().expect("the disk works");
        });
    });
    group.finish();
}

/// What a start after a crash reads: a log's batches, and with them the memtable that they become.
fn replay(criterion: &mut Criterion) {
    let fleet = fleet(Format::Event);
    let commits = commits(batches(deliveries(&fleet.log), BATCH_ROWS));
    let storage = MemoryStorage::new();
    let log = LogWriter::create(&storage, [7; 16], 0, None, clock(), SyncMode::Never).expect("a log can be made");
    append_all(&log, &commits);
    let end = log.finish().expect("memory can be written to").end;
    let contents = commits.iter().map(|commit| {
        let mut payload = Vec::new();
        encode_batch(commit, &mut payload).expect("the commit fits");
        u64::from(u32::from_le_bytes(std::array::from_fn(|i| payload[32 + i])))
    });
    let contents = contents.sum();
    let extent = Extent { from: 0, durable: 0, newest: true, until: None };
    for (of, bytes) in [("log", end), ("contents", contents), ("lines", fleet.log.len() as u64)] {
        let mut group = criterion.benchmark_group(format!("append/replay by bytes of {of}"));
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function("batches", |bencher| {
            bencher.iter(|| {
                let each = |commit| {
                    std::hint::black_box(commit);
                    Ok(())
                };
                log_replay(&storage, [7; 16], 0, extent, each).expect("the log is whole")
            });
        });
        group.bench_function("memtable", |bencher| {
            bencher.iter_with_large_drop(|| {
                let mut memtable = Memtable::new();
                let each = |commit: Commit| {
                    memtable.insert(&commit);
                    Ok(())
                };
                log_replay(&storage, [7; 16], 0, extent, each).expect("the log is whole");
                memtable
            });
        });
        group.finish();
    }
}

/// An append as the store does it, in memory: what is news, encoding, the memtable. Nothing is sealed.
fn store(criterion: &mut Criterion) {
    let fleet = fleet(Format::Event);
    let batches = batches(deliveries(&fleet.log), BATCH_ROWS);
    let mut group = criterion.benchmark_group("append/store");
    group.throughput(Throughput::ElementsAndBytes { elements: rows_in(&batches), bytes: fleet.log.len() as u64 });
    group.bench_function("in memory", |bencher| {
        let setup = || {
            let options = Options { background: false, memtable_bytes_max: usize::MAX, ..Options::default() };
            let storage: Arc<dyn Storage> = Arc::new(MemoryStorage::new());
            (Store::open(storage, clock(), options, "bench").expect("an empty store"), batches.clone())
        };
        let append = |(store, batches): (Store, Vec<Batch>)| {
            for batch in batches {
                store.append(batch, None).expect("the batch fits");
            }
            store
        };
        bencher.iter_batched(setup, append, BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group! { name = benches; config = criterion(); targets = log, group_commit, disk, store, replay }
criterion_main!(benches);

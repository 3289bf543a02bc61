//! Shared workloads of the benches: one fleet, and what it becomes on its way through the engine.
//!
//! Invariants:
//! - The fleet comes from a fixed seed, so every run of every bench measures the same bytes.
//! - What a bench does not measure it takes from here, made before its clock starts.
//!
//! Steps: [`fleet`] (lines) → [`deliveries`] → [`batches`] → [`memtable`] and [`commits`] → [`store`].

use criterion::{Criterion, Throughput};
use erstwhile::simulate::{self, Format, Options as SimulateOptions};
use erstwhile_engine::catalogue::{Catalogue, StreamMap};
use erstwhile_engine::fact::{Batch, Commit, Delivery, Micros};
use erstwhile_engine::ingest::hold::Hold;
use erstwhile_engine::ingest::line::{Line, ResultLine, read_line};
use erstwhile_engine::ingest::source::{LineSource, SourceLine};
use erstwhile_engine::ingest::spill::Spill;
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::memtable::Memtable;
use erstwhile_engine::options::Options;
use erstwhile_engine::store::Store;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// Prints how a program is called and ends it, if that was asked for.
pub fn tell_usage(usage: &str) {
    let words: Vec<String> = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if words.iter().any(|word| word == "--help" || word == "-h") {
        println!("{usage}");
        std::process::exit(0);
    }
}

/// The recorded time of the first commit.
pub const RECORDED: Micros = 1_900_000_000_000_000;

/// Rows after which an import commits a batch.
pub const BATCH_ROWS: usize = 16 << 10;

/// The logs of the canonical fleet in one format.
pub struct Fleet {
    /// The one log, uncompressed.
    pub log: Vec<u8>,
    /// Its lines.
    pub lines: u64,
    /// Row changes in them.
    pub rows: u64,
    /// The second of its first line.
    pub first: i64,
    /// The second after its last line.
    pub end: i64,
}

impl Fleet {
    /// What one pass over the log processes.
    pub fn throughput(&self) -> Throughput {
        Throughput::ElementsAndBytes { elements: self.rows, bytes: self.log.len() as u64 }
    }
}

/// What is simulated: an office of 100 machines from a Monday morning on, nothing goes wrong.
pub fn options(format: Format) -> SimulateOptions {
    let start = 1_772_409_600 + 6 * 3600;
    SimulateOptions { hosts: 100, days: 1.0, seed: 1, format, start, ..SimulateOptions::default() }
}

/// The canonical fleet, simulated once per process and format.
pub fn fleet(format: Format) -> &'static Fleet {
    static FLEETS: [OnceLock<Fleet>; 3] = [const { OnceLock::new() }; 3];
    FLEETS[format as usize].get_or_init(|| {
        let options = options(format);
        let fleet = simulate::generate(&options).expect("memory can be written to");
        let log = fleet.logs.into_iter().map(|(_, bytes)| bytes).next().expect("a fleet without faults has one log");
        let (first, end) = (options.start as i64, options.end() as i64);
        Fleet { log, lines: fleet.summary.lines, rows: fleet.summary.rows, first, end }
    })
}

/// Gives `each` the lines of results in a log.
pub fn each_line(log: &[u8], mut each: impl FnMut(&ResultLine<'_>)) {
    let mut source = LineSource::new("log", log);
    while let Some(line) = source.next_line().expect("memory can be read") {
        if let SourceLine::Line { bytes, .. } = line
            && let Line::Result(line) = read_line(bytes)
        {
            each(&line);
        }
    }
}

/// The deliveries of a log, in the order in which an import commits them.
pub fn deliveries(log: &[u8]) -> Vec<Delivery> {
    let spill = Spill::new(Arc::new(MemoryStorage::new()));
    let mut hold = Hold::new(Catalogue::shipped(), StreamMap::empty(), spill, usize::MAX);
    let mut deliveries = Vec::new();
    each_line(log, |line| {
        hold.line(line, &mut deliveries).expect("memory takes it");
    });
    hold.end_some(usize::MAX, &mut deliveries).expect("memory takes it");
    deliveries
}

/// Row changes in a delivery, each row counted once.
pub fn rows_of(delivery: &Delivery) -> usize {
    delivery.removed.len() + delivery.added.len()
}

/// Deliveries cut into batches of about so many rows.
pub fn batches(deliveries: Vec<Delivery>, rows_max: usize) -> Vec<Batch> {
    let mut batches = Vec::new();
    let mut batch = Batch::default();
    let mut rows = 0;
    for delivery in deliveries {
        rows += rows_of(&delivery) + 1;
        batch.deliveries.push(delivery);
        if rows >= rows_max {
            batches.push(std::mem::take(&mut batch));
            rows = 0;
        }
    }
    batches.extend(Some(batch).filter(|batch| !batch.deliveries.is_empty()));
    batches
}

/// Batches with recorded times that increase.
pub fn commits(batches: Vec<Batch>) -> Vec<Commit> {
    batches.into_iter().zip(RECORDED..).map(|(batch, recorded)| Commit { recorded, batch }).collect()
}

/// Row changes in batches.
pub fn rows_in<'b>(batches: impl IntoIterator<Item = &'b Batch>) -> u64 {
    batches.into_iter().flat_map(|batch| &batch.deliveries).map(|delivery| rows_of(delivery) as u64).sum()
}

/// The memtable that commits fill.
pub fn memtable(commits: &[Commit]) -> Memtable {
    let mut memtable = Memtable::new();
    commits.iter().for_each(|commit| memtable.insert(commit));
    memtable
}

/// A clock that stands still, so that stores repeat exactly.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(ManualClock::new(RECORDED))
}

/// A store of a fleet's deliveries in so many segments of about equal size, still open; below four nothing is merged.
pub fn store(storage: Arc<dyn Storage>, deliveries: Vec<Delivery>, segments: usize) -> Store {
    let options = Options { background: false, ..Options::default() };
    let store = Store::open(storage, clock(), options, "bench").expect("an empty directory becomes a store");
    let share = deliveries.iter().map(|delivery| rows_of(delivery) + 1).sum::<usize>().div_ceil(segments);
    for batch in batches(deliveries, share) {
        store.append(batch, None).expect("the batch fits");
        store.flush().expect("the segment can be written");
    }
    store
}

/// How long criterion measures: the stages take milliseconds, so few samples of seconds tell enough.
pub fn criterion() -> Criterion {
    Criterion::default().sample_size(20).warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(5))
}

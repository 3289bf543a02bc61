//! What all connections of a server share.

use crate::config::Config;
use crate::metrics::Histogram;
use crate::producers::Producers;
use crate::stats::Stats;
use crate::tokens::{Tokens, role};
use crate::workers::Workers;
use erstwhile_engine::ingest::producer::Accepted;
use erstwhile_engine::io::Clock;
use erstwhile_engine::store::Store;
use erstwhile_wire::failure::{Code, Failure};
use erstwhile_wire::hello::Roles;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::{Notify, Semaphore, watch};

/// Who the server says it is.
pub const NAME: &str = concat!("erstwhile/", env!("CARGO_PKG_VERSION"));

/// How much work on many rows yields to short questions.
const NICE: u8 = 5;

/// A server.
pub struct Server {
    /// What the operator chose.
    pub config: Config,
    /// What is stored.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Who may do what.
    pub tokens: Tokens,
    /// Who has no token may do this.
    pub roles_without_token: Roles,
    /// Who appends.
    pub producers: Producers,
    /// Turns of questions to all hosts.
    pub heavy: Arc<Semaphore>,
    /// Places of such questions that are begun.
    pub begun: Arc<Semaphore>,
    /// Who answers them.
    pub askers: Workers,
    /// Who places batches.
    pub takers: Workers,
    /// Room for large requests, in bytes.
    pub ingest: Arc<Semaphore>,
    /// Whether the server stops.
    pub draining: watch::Sender<bool>,
    /// Told when the server is to stop.
    pub stop: Notify,
    /// Connections that were ever accepted.
    pub accepted: AtomicU64,
    /// Connections that are open.
    pub connected: AtomicUsize,
    /// Figures since the start.
    pub counts: Counts,
    began_nanos: u64,
}

/// What was done since the start.
#[derive(Debug)]
pub struct Counts {
    /// Requests that were answered, whatever the answer.
    pub requests: AtomicU64,
    /// Requests and connections that failed.
    pub failures: Failures,
    /// Batches that were taken.
    pub batches: AtomicU64,
    /// Batches that were in already.
    pub batches_again: AtomicU64,
    /// Lines in them.
    pub lines: AtomicU64,
    /// Rows of these.
    pub rows: AtomicU64,
    /// Lines that could not be read.
    pub dead_letters: AtomicU64,
    /// How long light questions took,
    pub light: Histogram,
    /// heavy ones,
    pub heavy: Histogram,
    /// and batches.
    pub appends: Histogram,
    /// How old looks were when they were in.
    pub looks: Histogram,
}

/// Counts of failures, by kind.
#[derive(Debug, Default)]
pub struct Failures([AtomicU64; Code::ALL.len()]);

impl Failures {
    /// How many of a kind.
    pub fn of(&self, code: Code) -> u64 {
        self.0[code as usize - 1].load(Ordering::Relaxed)
    }

    /// How many in all.
    pub fn all(&self) -> u64 {
        Code::ALL.iter().map(|(code, _)| self.of(*code)).sum()
    }
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            requests: AtomicU64::default(),
            failures: Failures::default(),
            batches: AtomicU64::default(),
            batches_again: AtomicU64::default(),
            lines: AtomicU64::default(),
            rows: AtomicU64::default(),
            dead_letters: AtomicU64::default(),
            light: Histogram::of_requests(),
            heavy: Histogram::of_requests(),
            appends: Histogram::of_requests(),
            looks: Histogram::of_looks(),
        }
    }
}

impl Counts {
    /// Counts a failure.
    pub fn fail(&self, failure: &Failure) {
        let code = failure.code().unwrap_or(Code::Failed);
        Counts::add(&self.failures.0[code as usize - 1], 1);
    }

    /// Counts what a batch brought.
    pub fn note_batch(&self, accepted: &Accepted) {
        if accepted.again {
            Counts::add(&self.batches_again, 1);
            return;
        }
        Counts::add(&self.batches, 1);
        Counts::add(&self.lines, accepted.lines);
        Counts::add(&self.rows, accepted.rows);
        Counts::add(&self.dead_letters, accepted.dead_letters);
        self.note_looks(accepted);
    }

    /// Counts how old looks were when they were in.
    pub fn note_looks(&self, accepted: &Accepted) {
        let Some(recorded) = accepted.recorded else { return };
        for second in &accepted.looks {
            // A clock that is ahead says nothing of the way.
            let micros = recorded.saturating_sub(second.saturating_mul(1_000_000));
            self.looks.record(Duration::from_micros(u64::try_from(micros).unwrap_or(0)));
        }
    }

    /// Adds to a count.
    pub fn add(count: &AtomicU64, more: u64) {
        count.fetch_add(more, Ordering::Relaxed);
    }
}

impl Server {
    /// A server over a store.
    pub fn new(config: Config, store: Store, clock: Arc<dyn Clock>, tokens: Tokens) -> Server {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let heavy = if config.limits.heavy_max == 0 { cores } else { config.limits.heavy_max };
        let roles = config.roles_without_token.iter().filter_map(|word| role(word));
        Server {
            roles_without_token: roles.fold(Roles::default(), Roles::and),
            heavy: Arc::new(Semaphore::new(heavy)),
            begun: Arc::new(Semaphore::new(config.limits.heavy_begun_max)),
            askers: Workers::new(config.limits.heavy_begun_max, NICE),
            takers: Workers::new(cores, NICE),
            ingest: Arc::new(Semaphore::new(config.limits.ingest_bytes_max)),
            began_nanos: clock.monotonic_nanos(),
            store: Arc::new(store),
            clock,
            tokens,
            producers: Producers::default(),
            draining: watch::Sender::new(false),
            stop: Notify::new(),
            accepted: AtomicU64::new(0),
            connected: AtomicUsize::new(0),
            counts: Counts::default(),
            config,
        }
    }

    /// The time since some moment.
    pub fn now_nanos(&self) -> u64 {
        self.clock.monotonic_nanos()
    }

    /// Seconds since it was started.
    pub fn uptime_seconds(&self) -> u64 {
        (self.now_nanos() - self.began_nanos) / 1_000_000_000
    }

    /// What it says of itself.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { requests, failures, batches, lines, rows, dead_letters, .. } = &self.counts;
        stats.add("uptime_seconds", self.uptime_seconds());
        stats.add("connections", self.connected.load(Ordering::Relaxed) as u64);
        stats.add("connections_accepted", count(&self.accepted));
        stats.add("producers", self.producers.count() as u64);
        stats.add("requests", count(requests));
        stats.add("requests_failed", failures.all());
        stats.add("batches_appended", count(batches));
        stats.add("lines_appended", count(lines));
        stats.add("rows_appended", count(rows));
        stats.add("dead_letters_appended", count(dead_letters));
        let upkeep = self.store.upkeep();
        stats.add("segments", upkeep.segments as u64);
        stats.add("segment_bytes", upkeep.segment_bytes);
        stats.add("memtable_bytes", upkeep.memtable_bytes as u64);
        stats.add("log_bytes", upkeep.log_bytes);
        stats.add("compaction_debt_bytes", upkeep.debt_bytes);
        stats.add("sealed_bytes", upkeep.sealed_bytes);
        stats.add("merged_bytes", upkeep.merged_bytes);
        stats.add("last_recorded_micros", self.store.view().last_recorded().unwrap_or(0));
        stats
    }
}

//! Figures for monitoring, in Prometheus' text form: what there is (`METRICS.md`), and how it is written.
//!
//! Invariants:
//! - Every series is there from the first moment, so that an alarm on it never waits for something to happen first.
//! - The number of series does not depend on hosts, producers or tables.
//! - Counting takes no memory, whether anybody asks or not.

#![doc = include_str!("../METRICS.md")]

use crate::server::Server;
use erstwhile_wire::failure::Code;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What a figure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It only grows, until the server starts again.
    Counter,
    /// It is what it is now.
    Gauge,
    /// Counts of how often it was how much.
    Histogram,
}

impl Kind {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

use Kind::{Counter, Gauge, Histogram as Buckets};

/// All figures: name, kind and meaning, as the page has them.
pub const METRICS: [(&str, Kind, &str); 27] = [
    ("erstwhile_uptime_seconds", Gauge, "Since the server was started"),
    ("erstwhile_open_connections", Gauge, "Connections that are open"),
    ("erstwhile_connections_total", Counter, "Connections that were accepted"),
    ("erstwhile_requests_total", Counter, "Requests that were answered"),
    ("erstwhile_failures_total", Counter, "Requests and connections that failed, by kind of failure"),
    ("erstwhile_request_seconds", Buckets, "How long requests took until the last of their answer was handed on"),
    ("erstwhile_batches_total", Counter, "Batches that were taken"),
    ("erstwhile_batches_again_total", Counter, "Batches that were sent again and were in already"),
    ("erstwhile_lines_total", Counter, "Lines in the batches that were taken"),
    ("erstwhile_rows_total", Counter, "Rows in these lines"),
    ("erstwhile_dead_letters_total", Counter, "Lines that could not be read and were put aside"),
    ("erstwhile_look_latency_seconds", Buckets, "From a look's own second until it was durable and visible here"),
    ("erstwhile_producers", Gauge, "Producers that are connected, or of which something is held back"),
    ("erstwhile_producers_connected", Gauge, "Producers that are connected"),
    (
        "erstwhile_producer_lag_max_seconds",
        Gauge,
        "How old the newest look that a connected producer brought was when it was in, of the one farthest behind",
    ),
    (
        "erstwhile_producer_silence_max_seconds",
        Gauge,
        "Since the last batch of a connected producer, of the one silent longest",
    ),
    ("erstwhile_last_commit_timestamp_seconds", Gauge, "When something new was stored last, since 1970; 0 if never"),
    ("erstwhile_memtable_bytes", Gauge, "Memory that what is in no segment yet takes, roughly"),
    ("erstwhile_log_bytes", Gauge, "Bytes of log that are in no segment yet, which a start after a crash reads"),
    ("erstwhile_segments", Gauge, "Segments"),
    ("erstwhile_segment_bytes", Gauge, "Bytes of all segments"),
    ("erstwhile_compaction_debt_segments", Gauge, "Segments that merges which are due will read"),
    ("erstwhile_compaction_debt_bytes", Gauge, "Bytes that merges which are due will read, one after the other"),
    ("erstwhile_sealed_bytes_total", Counter, "Bytes of the segments into which what came was sealed"),
    ("erstwhile_merged_bytes_total", Counter, "Bytes of the segments that merges wrote"),
    ("erstwhile_heavy_free", Gauge, "Turns of questions to all hosts that are free"),
    ("erstwhile_ingest_free_bytes", Gauge, "Room for large requests that is free"),
];

/// Where the counts of how long requests took are parted, in seconds.
const REQUEST_BOUNDS: [f64; 12] = [2e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Where the counts of looks' latencies are parted: seconds of a host that is shipped as it writes, minutes of one whose
/// lines wait for the next, hours and days of one that was away.
const LOOK_BOUNDS: [f64; 12] = [1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0, 604_800.0];

/// How often it was how much.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One for each bound, and one for what is beyond.
    counts: Vec<AtomicU64>,
    /// The bits of the sum.
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [f64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0f64.to_bits()) }
    }

    /// Of requests.
    pub fn of_requests() -> Histogram {
        Histogram::new(&REQUEST_BOUNDS)
    }

    /// Of looks.
    pub fn of_looks() -> Histogram {
        Histogram::new(&LOOK_BOUNDS)
    }

    /// Counts a time.
    pub fn record(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let place = self.bounds.partition_point(|bound| *bound < seconds);
        self.counts[place].fetch_add(1, Ordering::Relaxed);
        let more = |sum| Some((f64::from_bits(sum) + seconds).to_bits());
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }
}

/// The page that is asked for.
#[derive(Default)]
struct Page {
    text: String,
}

impl Page {
    /// Begins a figure.
    fn begin(&mut self, name: &str) {
        let (_, kind, help) = METRICS.iter().find(|(other, ..)| *other == name).unwrap_or(&METRICS[0]);
        let _ = writeln!(self.text, "# HELP {name} {help}.\n# TYPE {name} {}", kind.word());
    }

    /// Writes a figure of one value.
    fn one(&mut self, name: &str, value: impl Display) {
        self.begin(name);
        let _ = writeln!(self.text, "{name} {value}");
    }

    /// Writes what was counted, under a label, if it has one.
    fn counted(&mut self, name: &str, label: &str, histogram: &Histogram) {
        let (mut count, comma) = (0, if label.is_empty() { "" } else { "," });
        let bounds = histogram.bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
        for (bound, in_bucket) in bounds.zip(&histogram.counts) {
            count += in_bucket.load(Ordering::Relaxed);
            let _ = writeln!(self.text, "{name}_bucket{{{label}{comma}le=\"{bound}\"}} {count}");
        }
        let labels = if label.is_empty() { String::new() } else { format!("{{{label}}}") };
        let sum = f64::from_bits(histogram.sum.load(Ordering::Relaxed));
        let _ = writeln!(self.text, "{name}_sum{labels} {sum}\n{name}_count{labels} {count}");
    }
}

/// All figures of a server, now.
pub fn page(server: &Server) -> String {
    let mut page = Page::default();
    let counts = &server.counts;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (upkeep, behind) = (server.store.upkeep(), server.producers.behind(server.now_nanos()));
    page.one("erstwhile_uptime_seconds", server.uptime_seconds());
    page.one("erstwhile_open_connections", server.connected.load(Ordering::Relaxed));
    page.one("erstwhile_connections_total", count(&server.accepted));
    page.one("erstwhile_requests_total", count(&counts.requests));
    page.begin("erstwhile_failures_total");
    for (code, word) in Code::ALL {
        let _ = writeln!(page.text, "erstwhile_failures_total{{kind=\"{word}\"}} {}", counts.failures.of(code));
    }
    page.begin("erstwhile_request_seconds");
    for (weight, histogram) in [("light", &counts.light), ("heavy", &counts.heavy), ("append", &counts.appends)] {
        page.counted("erstwhile_request_seconds", &format!("weight=\"{weight}\""), histogram);
    }
    page.one("erstwhile_batches_total", count(&counts.batches));
    page.one("erstwhile_batches_again_total", count(&counts.batches_again));
    page.one("erstwhile_lines_total", count(&counts.lines));
    page.one("erstwhile_rows_total", count(&counts.rows));
    page.one("erstwhile_dead_letters_total", count(&counts.dead_letters));
    page.begin("erstwhile_look_latency_seconds");
    page.counted("erstwhile_look_latency_seconds", "", &counts.looks);
    page.one("erstwhile_producers", server.producers.count());
    page.one("erstwhile_producers_connected", behind.connected);
    page.one("erstwhile_producer_lag_max_seconds", behind.lag_seconds_max);
    page.one("erstwhile_producer_silence_max_seconds", behind.silence_seconds_max);
    let last = server.store.view().last_recorded().unwrap_or(0);
    page.one("erstwhile_last_commit_timestamp_seconds", last as f64 / 1e6);
    page.one("erstwhile_memtable_bytes", upkeep.memtable_bytes);
    page.one("erstwhile_log_bytes", upkeep.log_bytes);
    page.one("erstwhile_segments", upkeep.segments);
    page.one("erstwhile_segment_bytes", upkeep.segment_bytes);
    page.one("erstwhile_compaction_debt_segments", upkeep.debt_segments);
    page.one("erstwhile_compaction_debt_bytes", upkeep.debt_bytes);
    page.one("erstwhile_sealed_bytes_total", upkeep.sealed_bytes);
    page.one("erstwhile_merged_bytes_total", upkeep.merged_bytes);
    page.one("erstwhile_heavy_free", server.heavy.available_permits());
    page.one("erstwhile_ingest_free_bytes", server.ingest.available_permits());
    page.text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::tokens::Tokens;
    use erstwhile_engine::fact::{self, Batch, Delivery, Inferred, Name, StreamKey};
    use erstwhile_engine::ingest::producer::Accepted;
    use erstwhile_engine::io::{ManualClock, MemoryStorage, Storage};
    use erstwhile_engine::options::Options;
    use erstwhile_engine::row::RowBuilder;
    use erstwhile_engine::store::Store;
    use erstwhile_wire::failure::Failure;
    use std::collections::BTreeMap;
    use std::sync::Arc;

    /// What is written of an alarm must be what is there.
    #[test]
    fn the_page_tells_of_each_figure() {
        let rows = include_str!("../METRICS.md").lines().filter(|line| line.starts_with("| `erstwhile_"));
        let rows: Vec<Vec<&str>> = rows.map(|row| row.trim_matches('|').split('|').map(str::trim).collect()).collect();
        let told: Vec<(&str, &str, &str)> = rows.iter().map(|row| (row[0].trim_matches('`'), row[1], row[2])).collect();
        let known: Vec<(&str, &str, &str)> =
            METRICS.iter().map(|(name, kind, help)| (*name, kind.word(), *help)).collect();
        assert_eq!(told, known);
        for (name, kind, _) in METRICS {
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            assert!(kind != Kind::Histogram || name.ends_with("_seconds"), "{name}");
        }
    }

    fn look(second: i64) -> Batch {
        let name = |text: &str| Name::from(text.as_bytes());
        let (host, table, name) = (name("web-1"), name("users"), name("pack/fleet/users"));
        let stream = StreamKey { host, table, name, kind: fact::Kind::Snapshot, sightings: false }.into();
        let mut row = RowBuilder::new();
        row.column(b"uid", second.to_string().as_bytes());
        let (removed, added, inferred) = (Vec::new(), vec![(row.row(), 1)], Inferred::V5_7);
        let delivery = Delivery { stream, epoch: 0, counter: None, second, whole: true, inferred, removed, added };
        Batch { deliveries: vec![delivery], ..Batch::default() }
    }

    /// A server of a store that has so many segments, of which two are due to be merged once there are two.
    fn server(segments: i64) -> Server {
        let (storage, clock) = (MemoryStorage::new(), ManualClock::new(1_000_000_000));
        let open = |merge_fanout| {
            let options = Options { merge_fanout, background: false, ..Options::default() };
            let storage: Arc<dyn Storage> = Arc::new(storage.clone());
            Store::open(storage, Arc::new(clock.clone()), options, "a test").unwrap()
        };
        let store = open(100);
        for second in 0..segments {
            store.append(look(second), None).unwrap();
            store.flush().unwrap();
        }
        store.close().unwrap();
        let tokens = Tokens::default();
        Server::new(Config::default(), open(2), Arc::new(clock.clone()), tokens)
    }

    /// The values of a page, by series, which is in the form that Prometheus reads.
    fn read(page: &str) -> BTreeMap<String, f64> {
        let mut values = BTreeMap::new();
        let (mut lines, mut names) = (page.lines().peekable(), Vec::new());
        while let Some(line) = lines.next() {
            let (name, help) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')).expect("help first");
            assert!(help.ends_with('.') && !help.contains('\\'), "{line}");
            let kind = lines.next().and_then(|line| line.strip_prefix("# TYPE ")?.strip_prefix(name)).expect("a type");
            assert!(!names.contains(&name), "{name} twice");
            names.push(name);
            let (mut bucket, mut last) = (None, (f64::NEG_INFINITY, 0.0));
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let value: f64 = value.parse().expect("a number");
                assert!(value.is_finite() && value >= 0.0, "{line}");
                let (sample, labels) = series.split_once('{').unwrap_or((series, ""));
                match (kind, sample.strip_prefix(name).expect("of the figure")) {
                    (" histogram", "_bucket") => {
                        let bound = labels.split("le=\"").nth(1).and_then(|rest| rest.strip_suffix("\"}")).expect("le");
                        let bound: f64 = bound.replace("+Inf", "inf").parse().expect("a bound");
                        assert!(bound > last.0 && value >= last.1, "{line}: buckets add up");
                        last = (bound, value);
                        bucket = Some(value).filter(|_| bound.is_infinite());
                    }
                    (" histogram", "_sum") => assert!(bucket.is_some(), "{line}: after the last bucket"),
                    (" histogram", "_count") => {
                        assert_eq!(bucket, Some(value), "{line}: as many as up to infinity");
                        (bucket, last) = (None, (f64::NEG_INFINITY, 0.0));
                    }
                    (" counter" | " gauge", "") => {}
                    other => panic!("{line}: {other:?}"),
                }
                assert!(values.insert(series.to_owned(), value).is_none(), "{series} twice");
            }
        }
        assert_eq!(names, METRICS.map(|(name, ..)| name), "all, in the order of the page that tells of them");
        assert!(page.ends_with('\n'));
        values
    }

    #[test]
    fn all_figures_are_there_from_the_beginning() {
        let values = read(&page(&server(0)));
        let moved: Vec<_> = values.iter().filter(|(_, value)| **value != 0.0).map(|(series, _)| &**series).collect();
        assert_eq!(moved, ["erstwhile_heavy_free", "erstwhile_ingest_free_bytes"]);
        assert!(values.contains_key("erstwhile_failures_total{kind=\"damage\"}"));
    }

    #[test]
    fn figures_move_with_what_they_measure() {
        let server = server(5);
        let before = read(&page(&server));
        assert_eq!(before["erstwhile_segments"], 5.0);
        // Five of the lowest tier become one at once.
        assert_eq!(before["erstwhile_compaction_debt_segments"], 5.0);
        assert_eq!(before["erstwhile_compaction_debt_bytes"], before["erstwhile_segment_bytes"]);
        server.store.append(look(7), None).unwrap();
        let looks = vec![930, 2000];
        let accepted =
            Accepted { recorded: Some(1_000_000_000), lines: 3, dead_letters: 1, looks, ..Accepted::default() };
        server.counts.note_batch(&accepted);
        server.counts.note_batch(&Accepted { again: true, ..accepted });
        server.counts.fail(&Failure::new(Code::Busy, ""));
        for histogram in [&server.counts.light, &server.counts.heavy, &server.counts.appends] {
            histogram.record(Duration::from_millis(3));
        }
        let after = read(&page(&server));
        let more = |series: &str| after[series] - before[series];
        assert!(more("erstwhile_memtable_bytes") > 0.0 && more("erstwhile_log_bytes") > 0.0);
        assert!(more("erstwhile_last_commit_timestamp_seconds") > 0.0);
        assert_eq!(more("erstwhile_lines_total"), 3.0);
        for series in [
            "erstwhile_batches_total",
            "erstwhile_batches_again_total",
            "erstwhile_dead_letters_total",
            "erstwhile_failures_total{kind=\"busy\"}",
            "erstwhile_request_seconds_bucket{weight=\"append\",le=\"0.005\"}",
            "erstwhile_request_seconds_count{weight=\"heavy\"}",
            // The one of a clock that is ahead.
            "erstwhile_look_latency_seconds_bucket{le=\"60\"}",
        ] {
            assert_eq!(more(series), 1.0, "{series}");
        }
        assert_eq!(more("erstwhile_look_latency_seconds_bucket{le=\"300\"}"), 2.0);
        assert_eq!(more("erstwhile_look_latency_seconds_sum"), 70.0);
        server.store.flush().unwrap();
        let sealed = read(&page(&server));
        assert_eq!((sealed["erstwhile_memtable_bytes"], sealed["erstwhile_log_bytes"]), (0.0, 0.0));
        assert_eq!((sealed["erstwhile_segments"], sealed["erstwhile_compaction_debt_bytes"]), (1.0, 0.0));
        // One was sealed, and merged with the five that were there.
        assert_eq!(sealed["erstwhile_merged_bytes_total"], sealed["erstwhile_segment_bytes"]);
        let bytes = sealed["erstwhile_sealed_bytes_total"];
        assert!(bytes > 0.0 && bytes < before["erstwhile_segment_bytes"], "{bytes}");
    }

    #[test]
    fn a_bound_belongs_to_what_is_below_it() {
        let histogram = Histogram::of_looks();
        for millis in [0, 1000, 1001, 604_800_000, 604_800_001] {
            histogram.record(Duration::from_millis(millis));
        }
        let mut page = Page::default();
        page.counted("x", "", &histogram);
        let lines: Vec<&str> = page.text.lines().collect();
        assert_eq!(lines[..2], ["x_bucket{le=\"1\"} 2", "x_bucket{le=\"2.5\"} 3"]);
        assert_eq!(
            lines[11..],
            ["x_bucket{le=\"604800\"} 4", "x_bucket{le=\"+Inf\"} 5", "x_sum 1209602.002", "x_count 5"]
        );
    }
}

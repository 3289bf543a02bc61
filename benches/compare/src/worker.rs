//! One peer on one variant of the log, in a process of its own: a peer that fails, or crashes, takes nothing with it, and
//! memory and CPU are its own.
//!
//! Steps: load, on the clock → compare what the tables hold → disk → every question once, its answer compared (which
//! also warms up) → the same questions in rounds, on the clock.

use crate::answer::Rows;
use crate::args::WorkerArgs;
use crate::error::Result;
use crate::fleet::Fleet;
use crate::measure::{nanos, peak_bytes, percentile};
use crate::peer::{self, Cold, Loaded, Peer, Setting, Source};
use crate::question::{Ask, Asked};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Rounds are asked until so many answers were timed …
const SAMPLES: usize = 2_000;
/// … or so many nanoseconds passed,
const NANOS_MAX: u64 = 4_000_000_000;
/// but so many at least, if there are as many questions.
const SAMPLES_MIN: usize = 50;

/// Questions of a kind that are also asked right after opening.
const COLD_MAX: usize = 40;

/// What a worker found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) version: String,
    pub(crate) load_seconds: f64,
    pub(crate) load_cpu_seconds: f64,
    pub(crate) disk_bytes: u64,
    /// Of this process when all was loaded, not of a server.
    pub(crate) peak_bytes: Option<u64>,
    /// Why the store is not what was loaded, if it is not.
    pub(crate) load_fault: Option<String>,
    /// For each set of questions.
    pub(crate) sets: Vec<BTreeMap<Ask, Timing>>,
}

impl Outcome {
    /// What is wrong with the load and with answers.
    pub(crate) fn faults(&self) -> impl Iterator<Item = &String> {
        let of_answers = self.sets.iter().flat_map(|set| set.values()).filter_map(|timing| timing.fault.as_ref());
        self.load_fault.iter().chain(of_answers)
    }
}

/// How long one kind of question took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Timing {
    pub(crate) questions: usize,
    /// Rows in an answer, on average.
    pub(crate) rows: f64,
    pub(crate) samples: usize,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// Of first answers after opening, where the peer counts them.
    pub(crate) cold: Option<ColdTiming>,
    /// The first answer that is wrong, or the first failure.
    pub(crate) fault: Option<String>,
}

/// The server that this process started; 0 if none.
static SERVER: AtomicU32 = AtomicU32::new(0);

/// Notes a server that must not outlive this process, however it ends.
pub(crate) fn started(server: u32) {
    SERVER.store(server, Ordering::SeqCst);
}

/// Ends this process, and its server, after a while: a peer may wait for itself for ever.
fn end_after(seconds: u64) {
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        eprintln!("compare: took longer than {seconds} s (--timeout-seconds)");
        let server = SERVER.load(Ordering::SeqCst);
        if server != 0 {
            let _ = Command::new("kill").args(["-INT", &server.to_string()]).status();
        }
        std::process::abort();
    });
}

/// What first answers after opening took.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct ColdTiming {
    /// Rows of the answers, on average.
    pub(crate) rows: f64,
    /// On average.
    pub(crate) rows_decoded: f64,
    pub(crate) bytes_read: f64,
    pub(crate) bytes_verified: f64,
    /// The median.
    pub(crate) open_micros: f64,
    pub(crate) micros: f64,
}

/// Runs and writes the outcome.
pub(crate) fn run(arguments: &WorkerArgs) -> Result<()> {
    let fleet: Fleet = serde_json::from_reader(BufReader::new(File::open(&arguments.fleet)?))?;
    let setting = Setting {
        directory: arguments.directory.clone(),
        libraries: arguments.libraries.clone(),
        agent_version: arguments.agent_version.clone(),
    };
    fs::create_dir_all(&setting.directory)?;
    end_after(arguments.timeout_seconds);
    let mut peer = peer::open(arguments.peer, &setting)?;
    let version = peer.version()?;
    let Loaded { seconds, cpu_seconds } = peer.load(&fleet, arguments.source)?;
    let peak_bytes = peak_bytes();
    let load_fault = load_fault(&mut *peer, &fleet)?;
    let disk_bytes = peer.disk_bytes()?;
    let mut sets = Vec::new();
    if !arguments.ask.is_empty() {
        peer.prepare(&fleet)?;
    }
    for file in &arguments.ask {
        let asked: Vec<Asked> = serde_json::from_reader(BufReader::new(File::open(file)?))?;
        let mut set = BTreeMap::new();
        for ask in Ask::ALL {
            let asked: Vec<&Asked> = asked.iter().filter(|asked| asked.question.ask() == ask).collect();
            if !asked.is_empty() {
                set.insert(ask, time(&mut *peer, &asked));
            }
        }
        sets.push(set);
    }
    let outcome = Outcome {
        version,
        load_seconds: seconds,
        load_cpu_seconds: cpu_seconds,
        disk_bytes,
        peak_bytes,
        load_fault,
        sets,
    };
    serde_json::to_writer(BufWriter::new(File::create(&arguments.out)?), &outcome)?;
    Ok(())
}

fn load_fault(peer: &mut dyn Peer, fleet: &Fleet) -> Result<Option<String>> {
    let Some(sums) = peer.sums(fleet)? else { return Ok(None) };
    for (table, sums) in fleet.tables.iter().zip(sums) {
        if table.sums != sums {
            return Ok(Some(format!("{} holds {sums:?}, not {:?}", table.name, table.sums)));
        }
    }
    Ok(None)
}

fn time(peer: &mut dyn Peer, asked: &[&Asked]) -> Timing {
    let mut timing = Timing {
        questions: asked.len(),
        rows: asked.iter().map(|asked| asked.answer.len()).sum::<usize>() as f64 / asked.len() as f64,
        samples: 0,
        p50_micros: 0.0,
        p99_micros: 0.0,
        cold: None,
        fault: None,
    };
    timing.fault = measure(peer, asked, &mut timing).err().map(|error| error.to_string());
    timing
}

fn measure(peer: &mut dyn Peer, asked: &[&Asked], timing: &mut Timing) -> Result<()> {
    for asked in asked {
        let mut rows = Rows::kept();
        peer.ask(&asked.question, &mut rows)?;
        let answer = asked.question.canonical(rows);
        if answer != asked.answer {
            return Err(disagreement(asked, &answer).into());
        }
    }
    let cold = asked.iter().take(COLD_MAX).map(|asked| peer.cold(&asked.question));
    let cold: Vec<Cold> = cold.filter_map(Result::transpose).collect::<Result<_>>()?;
    if !cold.is_empty() {
        let mean = |of: fn(&Cold) -> u64| cold.iter().map(of).sum::<u64>() as f64 / cold.len() as f64;
        let median = |of: fn(&Cold) -> u64| {
            let mut times: Vec<u64> = cold.iter().map(of).collect();
            times.sort_unstable();
            percentile(&times, 0.50) as f64 / 1e3
        };
        timing.cold = Some(ColdTiming {
            rows: mean(|cold| cold.rows),
            rows_decoded: mean(|cold| cold.rows_decoded),
            bytes_read: mean(|cold| cold.bytes_read),
            bytes_verified: mean(|cold| cold.bytes_verified),
            open_micros: median(|cold| cold.open_nanos),
            micros: median(|cold| cold.nanos),
        });
    }
    let asked_count = asked.len();
    let begun = nanos();
    let mut times = Vec::with_capacity(SAMPLES);
    let mut touched = 0u64;
    'rounds: loop {
        for asked in asked {
            let mut rows = Rows::default();
            let start = nanos();
            peer.ask(&asked.question, &mut rows)?;
            let end = nanos();
            times.push(end - start);
            if let Rows::Touched(cells) = rows {
                touched = touched.wrapping_add(cells.both().1);
            }
            let enough = times.len() >= SAMPLES || end - begun > NANOS_MAX;
            if enough && times.len() >= SAMPLES_MIN.min(asked_count) {
                break 'rounds;
            }
        }
    }
    std::hint::black_box(touched);
    times.sort_unstable();
    timing.samples = times.len();
    timing.p50_micros = percentile(&times, 0.50) as f64 / 1e3;
    timing.p99_micros = percentile(&times, 0.99) as f64 / 1e3;
    Ok(())
}

fn disagreement(asked: &Asked, answer: &[String]) -> String {
    let missing = asked.answer.iter().find(|row| answer.binary_search(row).is_err());
    let extra = answer.iter().find(|row| asked.answer.binary_search(row).is_err());
    format!(
        "disagrees on {:?}: {} rows, not {}; lacks {missing:?}; has {extra:?}",
        asked.question,
        answer.len(),
        asked.answer.len()
    )
}

/// What a worker is for, in words.
pub(crate) fn words(source: Source) -> &'static str {
    match source {
        Source::Json => "from JSON",
        Source::Rows => "parsed rows",
    }
}

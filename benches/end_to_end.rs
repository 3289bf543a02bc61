//! From JSON lines to durable, the way `erstwhile import` goes, in one table.
//!
//! Invariants:
//! - What is simulated is simulated by another process, so the peak of memory is the import's own.
//! - The clock runs from opening an empty store until it is closed: every row is durable in its log, and then in a
//!   segment.

use erstwhile::simulate;
use erstwhile_engine::ingest::import::{ImportOptions, Imported, import};
use erstwhile_engine::io::{Clock, DiskStorage, Storage, SystemClock};
use erstwhile_engine::options::Options;
use erstwhile_engine::store::Store;
use std::error::Error;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

const USAGE: &str = "\
usage: end-to-end [--hosts N] [--days N] [--seed N] [--input FILE]... [--store DIR]

Imports a simulated fleet, or the files given, into a new store with a data sync before every acknowledgement, and says
what that took. The store goes to DIR, which must not exist and stays, or else to a directory below TMPDIR that is
removed.";

#[derive(Clone)]
struct Arguments {
    hosts: u32,
    days: f64,
    seed: u64,
    inputs: Vec<PathBuf>,
    store: Option<PathBuf>,
    /// Only simulate, into this directory: what the process that imports asks of the other.
    simulate: Option<PathBuf>,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Arguments, Box<dyn Error>> {
        let mut arguments =
            Arguments { hosts: 500, days: 2.0, seed: 1, inputs: Vec::new(), store: None, simulate: None };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} wants a value\n\n{USAGE}"));
            match &*word {
                "--hosts" => arguments.hosts = value()?.parse()?,
                "--days" => arguments.days = value()?.parse()?,
                "--seed" => arguments.seed = value()?.parse()?,
                "--input" => arguments.inputs.push(value()?.into()),
                "--store" => arguments.store = Some(value()?.into()),
                "--only-simulate" => arguments.simulate = Some(value()?.into()),
                _ => return Err(format!("{word}: not an option\n\n{USAGE}").into()),
            }
        }
        Ok(arguments)
    }

    fn data(&self) -> String {
        match &*self.inputs {
            [] => format!("{} hosts, {} days, seed {}, event format", self.hosts, self.days, self.seed),
            files => files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", "),
        }
    }
}

/// The command's own allocator, so that what is measured is what people run.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    erstwhile_benches::tell_usage(USAGE);
    let ran = Arguments::read(std::env::args().skip(1)).and_then(|arguments| match &arguments.simulate {
        Some(directory) => Ok(simulate(&arguments, directory)?),
        None => measure(&arguments),
    });
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn simulate(arguments: &Arguments, directory: &Path) -> std::io::Result<()> {
    let Arguments { hosts, days, seed, .. } = *arguments;
    simulate::run(&simulate::Options { hosts, days, seed, ..simulate::Options::default() }, directory).map(drop)
}

/// Has another process simulate; tells the logs, which are on the disk so that no sync of the import pays for them.
fn simulated(arguments: &Arguments, directory: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let Arguments { hosts, days, seed, .. } = arguments;
    let options = ["--hosts", &hosts.to_string(), "--days", &days.to_string(), "--seed", &seed.to_string()];
    let mut other = Command::new(std::env::current_exe()?);
    let status = other.args(options).arg("--only-simulate").arg(directory).status()?;
    if !status.success() {
        return Err(format!("the simulation failed: {status}").into());
    }
    fs::remove_dir_all(directory.join("truth"))?;
    let logs = fs::read_dir(directory.join("logs"))?.map(|entry| entry.map(|entry| entry.path()));
    let mut logs = logs.collect::<Result<Vec<_>, _>>()?;
    logs.sort();
    for log in &logs {
        File::open(log)?.sync_all()?;
    }
    Ok(logs)
}

/// What an import took.
struct Taken {
    imported: Imported,
    bytes_in: u64,
    durable_seconds: f64,
    seconds: f64,
    cpu_seconds: Option<f64>,
}

fn measure(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let temporary = tempfile::tempdir()?;
    let inputs = match &*arguments.inputs {
        [] => simulated(arguments, &temporary.path().join("fleet"))?,
        files => files.to_vec(),
    };
    let directory = arguments.store.clone().unwrap_or_else(|| temporary.path().join("store"));
    if directory.exists() {
        return Err(format!("{}: is there already; name a new directory", directory.display()).into());
    }
    let taken = run(&inputs, &directory)?;
    let stored: u64 = DiskStorage::open(&directory, false)?.list()?.iter().map(|(_, bytes)| bytes).sum();
    Ok(std::io::stdout().write_all(table(arguments, &directory, &taken, stored).as_bytes())?)
}

fn run(inputs: &[PathBuf], directory: &Path) -> Result<Taken, Box<dyn Error>> {
    let open = |path: &PathBuf| File::open(path).map(|file| (path.display().to_string(), file));
    let inputs = inputs.iter().map(open).collect::<Result<Vec<_>, _>>()?;
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(directory, true)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let cpu_begun = cpu_seconds();
    let begun = clock.monotonic_nanos();
    let since = |clock: &dyn Clock| (clock.monotonic_nanos() - begun) as f64 / 1e9;
    let options = Options { logs: false, ..Options::bulk() };
    let store = Store::open(storage, clock.clone(), options, "end-to-end")?;
    let mut bytes_in = 0;
    let imported = import(&store, &clock, inputs, &ImportOptions::default(), |_, more| bytes_in += more)?;
    store.flush()?;
    let durable_seconds = since(&*clock);
    store.compact_if_due()?;
    store.close()?;
    let seconds = since(&*clock);
    let cpu_seconds = cpu_seconds().zip(cpu_begun).map(|(end, begun)| end - begun);
    match imported.faults.first() {
        Some(fault) => Err(fault.to_string().into()),
        None => Ok(Taken { imported, bytes_in, durable_seconds, seconds, cpu_seconds }),
    }
}

fn table(arguments: &Arguments, directory: &Path, taken: &Taken, stored: u64) -> String {
    let Taken { imported, bytes_in, durable_seconds, seconds, cpu_seconds } = taken;
    let rows = imported.rows as f64;
    let mut table = String::new();
    let mut line = |name: &str, value: String| table.push_str(&format!("{name:<32} {value}\n"));
    let dead: u64 = imported.dead_letters.values().sum();
    line("data", arguments.data());
    line("machine", machine());
    line("file system", file_system(directory).unwrap_or_else(unknown));
    line("bytes in", thousands(*bytes_in));
    line("lines", format!("{} ({} dead letters)", thousands(imported.lines), thousands(dead)));
    line("row changes", thousands(imported.rows));
    line("seconds, until all is durable", format!("{durable_seconds:.2}"));
    line("seconds, until all is merged", format!("{seconds:.2}"));
    line("CPU seconds", cpu_seconds.map_or_else(unknown, |cpu| format!("{cpu:.2}")));
    line("row changes per second", thousands((rows / seconds) as u64));
    let per_cpu = |cpu: &f64| thousands((rows / cpu.max(0.01)) as u64);
    line("row changes per CPU second", cpu_seconds.as_ref().map_or_else(unknown, per_cpu));
    line("bytes on disk", thousands(stored));
    line("bytes on disk per row change", format!("{:.2}", stored as f64 / rows.max(1.0)));
    line("peak memory (RSS), MiB", peak_kib().map_or_else(unknown, |kib| format!("{:.0}", kib as f64 / 1024.0)));
    table
}

fn unknown() -> String {
    "—".to_owned()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// User and system time of all threads of this process, also those that have ended.
fn cpu_seconds() -> Option<f64> {
    /// `USER_HZ`, which is 100 on every Linux that matters here.
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field is a file name in parentheses and may hold anything; utime and stime are fields 14 and 15.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some((ticks(14)? + ticks(15)?) as f64 / TICKS_PER_SECOND)
}

/// A number of KiB from a file of `/proc`.
fn kib(file: &str, key: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

fn peak_kib() -> Option<u64> {
    kib("/proc/self/status", "VmHWM:")
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or_else(|_| unknown(), |cores| cores.to_string());
    let memory = kib("/proc/meminfo", "MemTotal:").map_or_else(unknown, |kib| format!("{:.1}", kib as f64 / 1048576.0));
    format!("{cores} cores, {memory} GiB, {} {}", std::env::consts::OS, std::env::consts::ARCH)
}

/// The type of the file system that a directory is on: a sync costs nothing on some.
fn file_system(directory: &Path) -> Option<String> {
    let directory = directory.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let around = mounts.filter(|(path, _)| directory.starts_with(path));
    around.max_by_key(|(path, _)| path.len()).map(|(_, kind)| kind.to_owned())
}

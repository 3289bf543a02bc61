//! What operators do to a store.
//!
//! Invariants:
//! - What was done or found goes to standard output, as text or JSON; how far it is and what to do next to standard error.
//! - A command that ends early, by a signal too, leaves the store and every backup whole.

// `backup`.
mod backup;

// `restore`.
mod restore;

// `compact`.
mod compact;

// `recover`.
mod recover;

// `stats`.
mod stats;

use crate::connection::{Source, ToServer};
use crate::exit::Exit;
use crate::fail::Failure;
use crate::forms::Format;
use crate::forms::text::View;
use crate::progress::Progress;
use crate::when::Zone;
use erstwhile_engine::backup::Step;
use erstwhile_engine::error::Misuse;
use erstwhile_engine::fact::{Micros, Name};
use erstwhile_engine::io::{DiskStorage, Storage, SystemClock};
use erstwhile_engine::read::stats::{Stats, StatsQuestion};
use std::fmt;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

/// What is to be done.
#[derive(Clone, Copy, Debug)]
pub enum Operation<'a> {
    /// A generation is to be made.
    Backup {
        /// Of which store.
        store: &'a Path,
        /// Where.
        to: &'a Path,
        /// How many are kept with it; `None`: all.
        keep: Option<u32>,
    },
    /// The generations of a backup are listed.
    ListBackup(&'a Path),
    /// A backup is read and compared.
    VerifyBackup(&'a Path),
    /// A store is to be made.
    Restore {
        /// Of which backup.
        from: &'a Path,
        /// Of which generation; `None`: the last.
        generation: Option<u64>,
        /// Without what was recorded later.
        until: Option<Micros>,
        /// Where.
        to: &'a Path,
    },
    /// Segments are merged.
    Compact {
        /// Of which store.
        store: &'a Path,
        /// Which, and how.
        how: Compaction,
    },
    /// A store is to be made of what is whole of a damaged one.
    Recover {
        /// Of which store.
        store: &'a Path,
        /// Where.
        to: &'a Path,
        /// Where what was lost is written; `None`: beside the new store.
        report: Option<&'a Path>,
    },
    /// A server is asked to merge its segments.
    CompactServer {
        /// Which server.
        server: &'a ToServer,
        /// Whether only the plan is wanted.
        dry_run: bool,
    },
    /// What a store weighs is told.
    Stats {
        /// Of which store, or whose.
        source: &'a Source,
        /// What of it.
        job: &'a StatsJob,
    },
}

/// What of a store's weight is told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatsJob {
    /// Only this table.
    pub table: Option<Name>,
    /// Again after so many seconds.
    pub watch_seconds: Option<u64>,
    /// When a host is silent.
    pub silent_after_seconds: Option<i64>,
    /// Whether keyframes are weighed.
    pub keyframes: bool,
    /// Whether columns of rows are weighed.
    pub columns: bool,
    /// Whether reads are measured.
    pub reads: bool,
    /// Whether hosts with breaks are counted.
    pub holes: bool,
}

/// Which segments are merged, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Compaction {
    /// Whether only the plan is wanted.
    pub dry_run: bool,
    /// Whether only those that were never merged.
    pub unpacked_only: bool,
    /// How quickly.
    pub io_bytes_per_second_max: Option<u64>,
    /// For how long.
    pub seconds_max: Option<u64>,
}

/// Where it is told, and how.
pub struct Surface<'a> {
    /// The form.
    pub format: Format,
    /// Whether text is coloured.
    pub color: bool,
    /// How wide the terminal is; `None` if it is none.
    pub width: Option<usize>,
    /// The zone of times in text.
    pub zone: Zone,
    /// The time.
    pub now: Micros,
    /// Where results go.
    pub out: &'a mut dyn Write,
    /// Where everything else goes.
    pub err: &'a mut dyn Write,
    /// Whether a person looks at standard error.
    pub err_is_terminal: bool,
}

impl fmt::Debug for Surface<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Surface").field("format", &self.format).field("width", &self.width).finish_non_exhaustive()
    }
}

impl Surface<'_> {
    fn view(&self) -> View<'static> {
        View { color: self.color, width: self.width, zone: self.zone.clone(), suggest: &|_, _| String::new() }
    }

    fn progress(&self) -> Progress {
        Progress::bytes(Some(0), self.err_is_terminal)
    }
}

/// What servers do for operators.
pub trait Servers {
    /// Merges all segments of a server into one.
    fn compact(&self, server: &ToServer) -> Result<(), Failure>;
    /// Tells what a server's store weighs.
    fn weigh(&self, server: &ToServer, question: &StatsQuestion) -> Result<Stats, Failure>;
}

/// Does it.
pub fn run(operation: &Operation<'_>, servers: &dyn Servers, surface: &mut Surface<'_>) -> Result<Exit, Failure> {
    let done = match *operation {
        Operation::Backup { store, to, keep } => backup::make(store, to, keep, surface),
        Operation::ListBackup(backup) => backup::list(backup, surface),
        Operation::VerifyBackup(backup) => backup::verify(backup, surface),
        Operation::Restore { from, generation, until, to } => restore::run(from, generation, until, to, surface),
        Operation::Compact { store, how } => return compact::run(store, how, surface),
        Operation::Recover { store, to, report } => return recover::run(store, to, report, surface),
        Operation::CompactServer { server, dry_run } => compact::ask(server, dry_run, servers, surface),
        Operation::Stats { source, job } => stats::run(source, job, servers, surface),
    };
    done.map(|()| Exit::Done)
}

/// A directory that must be there.
fn directory(path: &Path) -> Result<DiskStorage, Failure> {
    DiskStorage::open(path, false).map_err(|error| Failure::file(path, &error))
}

/// A directory for a new store, which must be empty or not there.
fn new_directory(path: &Path) -> Result<Arc<dyn Storage>, Failure> {
    // A storage sees plain files only.
    if let Some(entry) = std::fs::read_dir(path).ok().and_then(|mut entries| entries.next()) {
        let file = entry.map_err(|error| Failure::file(path, &error))?.file_name().to_string_lossy().into_owned();
        return Err(Failure::of_store(path, &Misuse::NotEmpty { file }.into()));
    }
    Ok(Arc::new(DiskStorage::open(path, true).map_err(|error| Failure::file(path, &error))?))
}

fn clock() -> SystemClock {
    SystemClock::new()
}

/// Who works, for those who are refused meanwhile.
fn holder(command: &str) -> String {
    format!("process {} (erstwhile {command})", std::process::id())
}

/// Shows each step.
fn show(progress: &Progress) -> impl FnMut(Step<'_>) {
    let mut at = String::new();
    move |step| {
        if at != step.file {
            step.file.clone_into(&mut at);
            progress.say(step.file);
            progress.lengthen(step.total_bytes);
        }
        progress.advance(step.bytes);
    }
}

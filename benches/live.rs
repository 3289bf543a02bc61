//! A store as its server has it at any moment: most of a log merged, and the newest part of it as it came, in segments that
//! were not merged and in the log, for the figures of `questions`.
//!
//! Invariants:
//! - The lines of the log come by time, so that every host's streams go on where the merged part ends.
//! - The process leaves without a word, as one that is killed does, so that what was in memory is found in the log.

use erstwhile_engine::ingest::import::{ImportOptions, import};
use erstwhile_engine::io::{Clock, DiskStorage, Storage, SystemClock};
use erstwhile_engine::options::Options;
use erstwhile_engine::store::Store;
use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

const USAGE: &str = "\
usage: live LOG DIR [--agent-version V] [--percent N]

Imports all of LOG but the last N percent (5) of its bytes into a new store in DIR and merges that; then the rest, which is
left as it comes.";

/// The command's own allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Takes in a part of a log.
fn take_in(
    directory: &Path,
    options: Options,
    part: impl Read,
    agent_version: Option<&String>,
) -> Result<(Store, u64), Box<dyn Error>> {
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(directory, true)?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = Store::open(storage, clock.clone(), options, "a benchmark")?;
    let options = ImportOptions { agent_version: agent_version.cloned(), ..ImportOptions::default() };
    let imported = import(&store, &clock, [("a log".to_owned(), part)], &options, |_, _| {})?;
    Ok((store, imported.rows))
}

fn main() -> Result<(), Box<dyn Error>> {
    erstwhile_benches::tell_usage(USAGE);
    let mut words = std::env::args().skip(1);
    let (Some(log), Some(directory)) = (words.next(), words.next()) else {
        return Err(USAGE.into());
    };
    let (mut agent_version, mut percent) = (None, 5);
    while let Some(word) = words.next() {
        match &*word {
            "--agent-version" => agent_version = words.next(),
            "--percent" => percent = words.next().ok_or(USAGE)?.parse()?,
            _ => return Err(USAGE.into()),
        }
    }
    let directory = Path::new(&directory);
    let file = File::open(&log)?;
    let merged = file.metadata()?.len() / 100 * 100_u64.saturating_sub(percent);
    let mut lines = BufReader::with_capacity(1 << 20, file);
    let (store, rows) = take_in(
        directory,
        Options { logs: false, ..Options::bulk() },
        (&mut lines).take(merged),
        agent_version.as_ref(),
    )?;
    store.compact()?;
    store.close()?;
    println!("{rows} row changes merged");
    // What is left of the line that was cut counts as one that cannot be read.
    let mut cut = Vec::new();
    lines.read_until(b'\n', &mut cut)?;
    let (_store, rows) = take_in(directory, Options::default(), lines, None)?;
    println!("{rows} row changes not merged");
    std::process::exit(0)
}

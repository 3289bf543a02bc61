//! Whether a store is what was written, and what it means if it is not.
//!
//! Every file is walked, every checksum computed, every reference followed; a deep check decodes all and compares what is
//! told twice: keyframes with a replay of the versions, indexes with the rows, directories, footers and the manifest with
//! what they count. A [`Finding`] says where, what is wrong, which facts are lost by it, and what to do.
//!
//! Invariants:
//! - Nothing is written, and no lock is taken: a store may be in use, or on a medium that nobody can write to.
//! - What a live writer replaces or has not finished is never damage: a file that is gone counts only if the state that is
//!   in force then still names it, and a live log is read as far as its writer says that it stands.
//! - What was not looked at is counted, whatever the reason.
//! - Memory is bounded by the places of one segment's frames, and by the looks and living rows of the streams at work.
//! - The same store, options and seed give the same findings in the same order.
//!
//! Steps: `taken` (one moment of the directory) → `manifest` → `log` → for each segment `segment` (its structures and
//! frames, `lost` of what is bad) → deep: `table` shares its streams out to `run` and `facts`, its rows to `rows`, and
//! compares `index` → `others`, files that belong to nothing.

mod facts;
mod index;
mod log;
mod lost;
mod manifest;
mod others;
mod report;
mod rows;
mod run;
mod segment;
mod table;
mod taken;
mod work;

pub use report::{Effect, Finding, LeftOut, Meaning, Next, Report, Severity, Total, Wrong};

use crate::error::During;
use crate::error::Error;
use crate::io::{Clock, Storage};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use taken::Taken;
use work::Work;

/// How much is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// Which files there are; the manifest, headers, footers and directories.
    Quick,
    /// Also the checksum of every byte, and where every reference leads.
    #[default]
    Checksums,
    /// Also what everything means.
    Deep,
}

impl Level {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Level::Quick => "quick",
            Level::Checksums => "checksums",
            Level::Deep => "deep",
        }
    }
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much is looked at.
    pub level: Level,
    /// Which share of the pieces of streams, and of the streams, by chance; between 0 and 1. `None` is all.
    pub share: Option<f64>,
    /// What the chance comes from.
    pub seed: u64,
    /// How long it may take, in nanoseconds.
    pub budget_nanos: Option<u64>,
    /// How many threads work.
    pub threads: usize,
}

impl Default for Options {
    fn default() -> Options {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Options { level: Level::default(), share: None, seed: 0, budget_nanos: None, threads }
    }
}

/// Who is told how far a check has come.
pub trait Watch: Sync {
    /// So many bytes will be read in all.
    fn begin(&self, bytes: u64);
    /// So many more were read.
    fn advance(&self, bytes: u64);
}

/// Nobody.
impl Watch for () {
    fn begin(&self, _: u64) {}
    fn advance(&self, _: u64) {}
}

/// A directory whose files are replaced under the check this often in a row is given up.
const TRIES: usize = 100;

/// Checks a store; fails only if the directory cannot be listed.
pub fn fsck(storage: &dyn Storage, clock: &dyn Clock, options: &Options, watch: &dyn Watch) -> Result<Report, Error> {
    let list = || Taken::of(storage).during("list", "the directory");
    let mut taken = list()?;
    let work = Work::new(storage, clock, options, watch);
    let bytes: u64 = taken.files.values().sum();
    watch.begin(if work.is_deep() { 2 * bytes } else { bytes });
    let is_live = taken.is_live;
    manifest::check(&work, &taken);
    for _ in 0..TRIES {
        if log::check(&work, &taken) {
            break;
        }
        taken = list()?;
        work.forget(|name| name.ends_with(".log"));
    }
    let mut checked = BTreeSet::new();
    for _ in 0..TRIES {
        let due: Vec<u64> = segment::named(&taken).filter(|number| checked.insert(*number)).collect();
        if due.is_empty() {
            break;
        }
        let (next, is_replaced) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let check = || {
            while let Some(&number) = due.get(next.fetch_add(1, Ordering::Relaxed)) {
                if !segment::check(&work, &taken, number) {
                    is_replaced.fetch_add(1, Ordering::Relaxed);
                }
            }
        };
        // A deep check works on the streams of one segment at a time by several threads.
        let threads = if work.is_deep() { 1 } else { options.threads.min(due.len()) };
        std::thread::scope(|scope| {
            (1..threads).for_each(|_| drop(scope.spawn(check)));
            check();
        });
        if is_replaced.into_inner() > 0 {
            taken = list()?;
        }
    }
    others::check(&work, &taken);
    Ok(work.finish(is_live))
}

/// Whether a file that is gone is still needed: whether the state in force names it, as it is now.
fn is_still_named(storage: &dyn Storage, name: &str, is_named: impl Fn(&Taken) -> bool) -> bool {
    Taken::of(storage).is_ok_and(|now| !now.files.contains_key(name) && is_named(&now))
}

#[cfg(test)]
mod tests;

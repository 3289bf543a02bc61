//! A fleet that never existed, written down as osquery would have logged it, beside the truth about it.
//!
//! Real logs come without the truth, so an answer drawn from them cannot be checked. Here a world happens first:
//! machines, people, leases, sticks, processes. Agents of several generations look at it and store what they saw;
//! their lines travel to the logs, with faults less well than without. `DIR/logs` gets the lines, `DIR/truth` the
//! looks, the world and the faults as NDJSON (fields: [`truth.md`](self#the-truth)).
//!
//! Invariants:
//! - Equal [`Options`] give equal bytes: one seed, no clock, no hashing order; [`run`] and [`generate`] agree.
//! - Without faults every look arrives once, whole, at the right second, and equals the world at that second.
//! - Faults act where they act in reality (database, clock, network), so the logs they lead to are consistent with
//!   some agent's rules. What no consumer could notice happens only with [`Options::silent_losses`].
//! - Memory is bounded by the fleet's size, not by its days.
//!
//! Steps: `world` changes → `agent` looks and compares → `wire` writes lines → `delivery` brings them, or not.
//! `timeline` drives them, `truth` records them.
//!
//! # The truth
#![doc = include_str!("truth.md")]

mod options;

mod rng;

mod row;

mod tables;

mod text;

mod birth;

mod host;

mod sticks;

mod world;

mod agent;

mod wire;

mod faults;

mod dead;

mod delivery;

mod timeline;

mod truth;

mod files;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;

pub use options::{Format, Options};
pub use truth::Summary;

use files::Files;
use timeline::Timeline;
use truth::Out;

/// A simulated fleet in memory: the same bytes as [`run`] writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fleet {
    /// The files of `DIR/logs` by name, compressed ones as they are.
    pub logs: Vec<(String, Vec<u8>)>,
    /// The files of `DIR/truth` by name.
    pub truth: Vec<(String, Vec<u8>)>,
    /// What they hold.
    pub summary: Summary,
}

/// Simulates into `out/logs` and `out/truth`, which must be empty or absent.
pub fn run(options: &Options, out: &Path) -> io::Result<Summary> {
    run_watched(options, out, &mut |_| {})
}

/// The same, and tells as it goes on how many more seconds have passed in the fleet.
pub fn run_watched(options: &Options, out: &Path, watch: Watch<'_>) -> io::Result<Summary> {
    let (_, summary) = simulate(options, Files::in_directory(out)?, watch)?;
    Ok(summary)
}

/// Simulates into memory; for small fleets.
pub fn generate(options: &Options) -> io::Result<Fleet> {
    let (files, summary) = simulate(options, Files::in_memory(), &mut |_| {})?;
    let folder = |folder: &str| {
        let name = |(name, bytes): &(String, Vec<u8>)| Some((name.strip_prefix(folder)?.to_owned(), bytes.clone()));
        files.iter().filter_map(name).collect()
    };
    Ok(Fleet { logs: folder("logs/"), truth: folder("truth/"), summary })
}

/// What is told while it goes on: seconds of the fleet's time since it was told last.
pub type Watch<'w> = &'w mut dyn FnMut(u64);

/// Files by name.
type Named = Vec<(String, Vec<u8>)>;

fn simulate(options: &Options, files: Files, watch: Watch<'_>) -> io::Result<(Named, Summary)> {
    let mut out = Out::new(files);
    out.files.append(delivery::MAIN, b"");
    Timeline::new(options, &mut out).run(&mut out, watch);
    Ok((out.files.finish()?, out.summary))
}

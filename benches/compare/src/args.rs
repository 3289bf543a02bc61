//! The command line.

use crate::peer::{Kind, Source};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Compares erstwhile with other stores: the same rows, the same questions, verified answers, one table.
#[derive(Debug, Parser)]
#[command(name = "compare", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: CompareArgs,
    #[command(subcommand)]
    pub(crate) inner: Option<Inner>,
}

/// What is compared.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompareArgs {
    /// A log to compare on (plain, row-per-line); else a fleet is simulated
    #[arg(long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Hosts to simulate
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) hosts: u32,
    /// Days to simulate
    #[arg(long, value_name = "N", default_value_t = 7.0)]
    pub(crate) days: f64,
    /// What chance comes from: the simulated fleet and the questions
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
    /// The agent version of every host, told to who concludes from it
    #[arg(long, value_name = "V")]
    pub(crate) agent_version: Option<String>,
    /// Only these peers
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub(crate) only: Vec<Kind>,
    /// Point questions to ask; of larger ones fewer
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) questions: usize,
    /// Growth: from a K-th of the history, and from a K-th of the hosts, to all; 1 leaves growth out
    #[arg(long, value_name = "K", default_value_t = 10)]
    pub(crate) growth: u32,
    /// Do not load from JSON where another load is asked
    #[arg(long)]
    pub(crate) skip_json: bool,
    /// A peer that takes longer with one load and its questions is reported as missing
    #[arg(long, value_name = "N", default_value_t = 3600)]
    pub(crate) timeout_seconds: u64,
    /// The form of the result
    #[arg(long, value_enum, default_value_t = Form::Table)]
    pub(crate) format: Form,
    /// Where everything is built; about ten times the log's size. Removed at the end [default: below TMPDIR]
    #[arg(long, value_name = "DIR")]
    pub(crate) scratch: Option<PathBuf>,
    /// Where install.sh put the peers' libraries
    #[arg(long, value_name = "DIR", default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/peers"))]
    pub(crate) libraries: PathBuf,
}

/// How the result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    Table,
    Json,
}

/// What this program asks of itself in another process.
#[derive(Debug, Subcommand)]
pub(crate) enum Inner {
    /// Runs one peer on one variant
    #[command(hide = true)]
    Worker(WorkerArgs),
    /// Simulates a fleet
    #[command(hide = true)]
    Simulate(SimulateArgs),
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArgs {
    #[arg(long)]
    pub(crate) peer: Kind,
    #[arg(long)]
    pub(crate) source: Source,
    /// The description of the fleet
    #[arg(long)]
    pub(crate) fleet: PathBuf,
    /// Questions with their answers, each file a set of its own
    #[arg(long)]
    pub(crate) ask: Vec<PathBuf>,
    #[arg(long)]
    pub(crate) directory: PathBuf,
    #[arg(long)]
    pub(crate) libraries: PathBuf,
    #[arg(long)]
    pub(crate) agent_version: Option<String>,
    #[arg(long)]
    pub(crate) timeout_seconds: u64,
    /// Where the outcome is written
    #[arg(long)]
    pub(crate) out: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    #[arg(long)]
    pub(crate) hosts: u32,
    #[arg(long)]
    pub(crate) days: f64,
    #[arg(long)]
    pub(crate) seed: u64,
    #[arg(long)]
    pub(crate) out: PathBuf,
}

//! What brings logs in, real ones or made up.

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines may be in osquery's event, batch or snapshot form; files plain, gzip or zstd. \
Importing the same lines again, in any order, changes no answer.

Examples:
  erstwhile import /var/log/osquery/osqueryd.results.log* --store s
  zcat archive/*.gz | erstwhile import - --store s
  erstwhile import old.log.zst --recorded-at 2018-12-31T00:00:00Z --format json --store s

Exits with 3 if a line could not be read (such lines are kept as dead letters), and with 1 if a \
file could not be read to its end; everything before is kept.")]
pub struct ImportArgs {
    /// Files, in any order; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// A stream map (TOML): which table the rows of a query are of
    #[arg(long, value_name = "FILE")]
    pub map: Option<PathBuf>,

    /// The version of osquery that wrote these lines, for every host they name
    #[arg(long, value_name = "VERSION")]
    pub agent_version: Option<String>,

    /// Record everything at this time, for history that is filled in later; must be after the store's last
    #[arg(long, value_name = "TIME")]
    pub recorded_at: Option<String>,

    /// osquery's published schema (JSON), to know tables that this program does not
    #[arg(long, value_name = "FILE")]
    pub catalogue: Option<PathBuf>,

    /// When what was read is forced to the disk; sealed if all inputs are files, or else always
    #[arg(long, value_name = "MODE")]
    pub sync: Option<SyncMode>,

    /// How long a look that is spread over lines is held back when nothing more comes
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub hold_seconds: u64,
}

/// When commits are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SyncMode {
    /// When segments are written, all of it before the import ends: a crash or a power cut may lose what was read last,
    /// and the same files are imported again
    Sealed,
    /// Before a commit counts as done: neither a crash nor a power cut loses what was committed
    Always,
    /// Now and then: a crash of this program loses nothing, a power cut may lose the last commits
    Interval,
    /// When the system pleases: a crash of this program loses nothing, a power cut may lose the whole import
    Never,
}

/// `simulate`.
#[derive(Debug, Args)]
#[command(after_help = "\
The same options give the same bytes, everywhere.

Example:
  erstwhile simulate --hosts 50 --days 7 --seed 1 --out logs")]
pub struct SimulateArgs {
    /// How many hosts
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub hosts: u32,
    /// How many days
    #[arg(long, value_name = "N", default_value_t = 1.0)]
    pub days: f64,
    /// What all chance comes from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// The form of the log's lines [default: event]
    #[arg(id = "format", long = "format", value_name = "FORM")]
    #[arg(value_parser = PossibleValuesParser::new(LogFormat::WORDS))]
    pub format: Option<String>,
    /// What goes wrong in the fleet
    #[arg(long, value_name = "WHICH", default_value = "none")]
    pub faults: Faults,
    /// The directory to write to
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
}

impl SimulateArgs {
    /// The form of the log's lines; `None` if it is a form of answers.
    pub fn log_format(&self) -> Option<LogFormat> {
        match self.format.as_deref() {
            None => Some(LogFormat::Event),
            Some(word) => [LogFormat::Event, LogFormat::Batch, LogFormat::Snapshot]
                .into_iter()
                .zip(LogFormat::WORDS)
                .find_map(|(format, its)| (its == word).then_some(format)),
        }
    }
}

/// The form of osquery's result lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// A line per row.
    Event,
    /// A line per look.
    Batch,
    /// A line per look with the whole table.
    Snapshot,
}

impl LogFormat {
    /// The words that `simulate --format` takes.
    pub const WORDS: [&str; 3] = ["event", "batch", "snapshot"];
}

/// What goes wrong in a simulated fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Faults {
    /// Nothing
    None,
    /// Everything that is known to go wrong: lost, doubled, torn and late lines, restarts, wrong clocks
    All,
}

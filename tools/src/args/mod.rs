//! What the command line takes: names, times and files as they were written, not yet understood.
//!
//! Invariants:
//! - Every command ends its help with examples.
//! - What a command takes is told once: help, manual pages and completions are made of it.

// The questions.
mod asking;

// `import`, `simulate`.
mod bringing;

// `serve`, `ship`.
mod serving;

// `inspect`, `fsck`, `backup`, `restore`, `recover`, `compact`, `stats`.
mod operating;

// `completions`, `man`.
mod manual;

pub use asking::{
    AtArgs, CoverageArgs, DiffArgs, HistoryArgs, KnownArgs, ListArgs, StateArgs, WhatArgs, WhatDeviceArgs, WhatSubject,
    WhereArgs, WhoArgs, WhoCommonArgs, WhoIpArgs, WhoSubject, WhoUidArgs,
};
pub use bringing::{Faults, ImportArgs, LogFormat, SimulateArgs, SyncMode};
pub use manual::{CompletionsArgs, ManArgs};
pub use operating::{BackupArgs, CompactArgs, FsckArgs, InspectArgs, RecoverArgs, RestoreArgs, StatsArgs};
pub use serving::{ServeArgs, ShipArgs, ShipBegin};

use crate::forms::Format;
use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  failed
  2  usage: what was asked makes no sense
  3  done but incomplete (dead letters on import, a recovery with losses)
  4  damage found in the store";

const TIMES: &str = "\
Times:
  2018-12-24T10:00:00Z     RFC 3339, with any offset; fractions are floored
  \"2018-12-24 10:00\"       UTC unless --tz says otherwise; 2018-12-24 alone is midnight
  1545645600               Unix seconds
  \"3 days ago\"             also seconds, minutes, hours, weeks; a day is 24 hours
  now, today, \"yesterday 10:00\"";

const LONG: &str = "\
Answers what the state of a machine, or of a whole fleet, was at a past instant, from osquery's result logs.

Every answer says how sure it is: definite (seen by the looks on both sides of the time asked), presumed (seen by the \
last look), possible (seen on one side only), unknown (the log cannot vouch for it); and counts the hosts that cannot \
speak.";

const EXAMPLES: &str = "\
Examples:
  erstwhile import --store s /var/log/osquery/osqueryd.results.log*
  erstwhile who ip 10.0.0.7 --at '2018-12-24 10:00' --store s
  erstwhile state processes --host web-1 --at '3 hours ago' --store s
  erstwhile what device /media/stick --host web-1 --at 2018-12-24T10:00:00Z --store s";

const FORMS: &str = "\
Forms:
  text    the answer first, then a table; on a terminal as wide as the screen, elsewhere with
          every column
  json    one object
  ndjson  a row (or host, table, stream) a line, then a line with the rest of the answer, which
          is {} if there is none; without it the output was cut off. Rows of `what` begin with
          their \"table\"
  csv     RFC 4180: fixed fields by their JSON names, then lossy, then the rows' columns as
          columns.NAME; absent is an empty unquoted field, the empty text is \"\". Coverage and
          known_at go to standard error. `what` begins with table and missing; `history` has one
          header for versions and events; `coverage` has its breaks as JSON in one field
  In the forms for programs texts that are not UTF-8 have U+FFFD, and their row says lossy.";

fn after_help() -> String {
    [EXAMPLES, TIMES, FORMS, EXIT_CODES].join("\n\n")
}

/// The state of any machine, or of the whole fleet, at any past moment, from osquery's logs.
#[derive(Debug, Parser)]
#[command(name = "erstwhile", version, long_about = LONG, after_long_help = after_help(), after_help = EXIT_CODES)]
#[command(disable_help_subcommand = false, max_term_width = 100)]
pub struct Cli {
    /// The store's directory
    #[arg(long, value_name = "DIR", env = "ERSTWHILE_STORE", global = true, help_heading = "Global options")]
    pub store: Option<PathBuf>,

    /// The server to ask, or to append to, instead of a store's directory
    #[command(flatten)]
    pub server: ServerArgs,

    /// The answer's form [default: text]
    // `simulate` has a format of its own under this name, so both are words of one type.
    #[arg(id = "format", long = "format", value_name = "FORM", global = true, help_heading = "Global options")]
    #[arg(value_parser = PossibleValuesParser::new(Format::WORDS))]
    pub format: Option<String>,

    /// The zone of local times, in and out: a name such as Europe/Berlin, an offset such as +02:00, or `local`
    /// [default: UTC]
    #[arg(long, value_name = "ZONE", global = true, help_heading = "Global options")]
    pub tz: Option<String>,

    /// Colour; `auto` is for a terminal only, and not with NO_COLOR set
    #[arg(long, value_name = "WHEN", global = true, help_heading = "Global options", default_value = "auto")]
    pub color: ColorWhen,

    /// The options of a store or a server that stand on the command line itself, as they are written.
    #[arg(skip)]
    pub said: Vec<&'static str>,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where a server is and how to speak to it.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Server options")]
pub struct ServerArgs {
    /// The server to ask instead of a store's directory: host and port
    #[arg(long, value_name = "ADDR", env = "ERSTWHILE_SERVER", global = true)]
    pub server: Option<String>,

    /// The file with the token for the server; or set ERSTWHILE_TOKEN to the token itself
    #[arg(long, value_name = "FILE", env = "ERSTWHILE_TOKEN_FILE", global = true)]
    pub token_file: Option<PathBuf>,

    /// Speak TLS, and trust servers with a certificate of this file (PEM), or signed by one of it
    #[arg(long, value_name = "FILE", env = "ERSTWHILE_CA", global = true)]
    pub ca: Option<PathBuf>,

    /// The name in the server's certificate [default: that of --server]
    #[arg(long, value_name = "NAME", env = "ERSTWHILE_SERVER_NAME", global = true)]
    pub server_name: Option<String>,

    /// The client's own certificate (PEM), for servers that want one
    #[arg(long, value_name = "FILE", env = "ERSTWHILE_CLIENT_CERTIFICATE", global = true, requires = "client_key")]
    pub client_certificate: Option<PathBuf>,

    /// Its key (PEM)
    #[arg(long, value_name = "FILE", env = "ERSTWHILE_CLIENT_KEY", global = true)]
    pub client_key: Option<PathBuf>,
}

/// The options that say where a store or a server is, and the names of their values.
const PLACES: [(&str, &str); 7] = [
    ("--store", "store"),
    ("--server", "server"),
    ("--token-file", "token_file"),
    ("--ca", "ca"),
    ("--server-name", "server_name"),
    ("--client-certificate", "client_certificate"),
    ("--client-key", "client_key"),
];

impl Cli {
    /// Reads a command line.
    pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
        let mut matches = Cli::command().try_get_matches_from(args)?;
        let said = said(&matches);
        let cli = Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut Cli::command()))?;
        Ok(Cli { said, ..cli })
    }

    /// The form of answers.
    pub fn format(&self) -> Format {
        self.format.as_deref().and_then(Format::of).unwrap_or(Format::Text)
    }
}

/// What stands on the command line and is not from the environment.
fn said(matches: &ArgMatches) -> Vec<&'static str> {
    let is_said = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
    PLACES.iter().filter(|(_, name)| is_said(name)).map(|(option, _)| *option).collect()
}

/// When to use colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ColorWhen {
    /// On a terminal.
    Auto,
    /// Everywhere.
    Always,
    /// Nowhere.
    Never,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Read osquery result logs into the store
    Import(ImportArgs),
    /// The rows of a table at a time
    State(StateArgs),
    /// Who had an address, or a uid, at a time
    Who(WhoArgs),
    /// Which device was behind a path at a time
    What(WhatArgs),
    /// The row versions, or the events, of a table
    History(HistoryArgs),
    /// What changed in a table of a host between two times
    Diff(DiffArgs),
    /// The hosts of the store
    Hosts(ListArgs),
    /// The tables of the store, and which of them are assumed
    Tables(ListArgs),
    /// The streams of the store: when they looked, and where they cannot be vouched for
    Coverage(CoverageArgs),
    /// Show what the store's files hold; writes nothing
    Inspect(InspectArgs),
    /// Check whether the store is what was written, and what it means if not; writes nothing
    Fsck(FsckArgs),
    /// Copy the store into a backup, list what a backup holds, or verify it
    Backup(BackupArgs),
    /// Make a store of a backup
    Restore(RestoreArgs),
    /// Build a new store of what is whole of a damaged one, and say what is lost
    Recover(RecoverArgs),
    /// Merge the store's segments now
    Compact(CompactArgs),
    /// What the store weighs, and who has fallen silent
    Stats(StatsArgs),
    /// Write what a shell needs to complete the commands
    Completions(CompletionsArgs),
    /// Write the manual pages
    Man(ManArgs),
    /// Serve the store over the network
    Serve(ServeArgs),
    /// Follow osquery's logs and hand every line to a server, exactly once
    Ship(ShipArgs),
    /// Make a fleet's logs from a seed
    Simulate(SimulateArgs),
    /// The three questions on a made-up fleet, end to end
    #[command(after_help = "\
Example:
  erstwhile demo")]
    Demo,
}

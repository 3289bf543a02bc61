//! What the command line takes: names, times and files as they were written, not yet understood.

use crate::forms::Format;
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};
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

impl Cli {
    /// The form of answers.
    pub fn format(&self) -> Format {
        self.format.as_deref().and_then(Format::of).unwrap_or(Format::Text)
    }
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

/// `backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
A backup is a directory of plain files that holds any number of generations, each the whole store at
one moment. A generation copies only what the backup lacks, so it costs what came since. It may be
made while the store is served and written to. It is there once all of it is on the disk: a crash
or a full disk leaves the generations before as they were. A damaged store makes no generation.

Exits with 4 if --verify finds damage, or if the store is damaged.

Examples:
  erstwhile backup --store s --to /mnt/backup/s
  erstwhile backup --store s --to /mnt/backup/s --keep 14
  erstwhile backup --list --to /mnt/backup/s
  erstwhile backup --verify --to /mnt/backup/s --format json")]
pub struct BackupArgs {
    /// The backup's directory, made if it is missing
    #[arg(long, value_name = "BACKUP")]
    pub to: PathBuf,

    /// Keep so many generations, with the new one; older ones are dropped [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub keep: Option<u32>,

    /// Only list the generations
    #[arg(long, conflicts_with_all = ["keep", "verify"])]
    pub list: bool,

    /// Only read every byte of the backup and compare
    #[arg(long, conflicts_with = "keep")]
    pub verify: bool,
}

/// `restore`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every byte is verified as it is copied, and the directory becomes a store only when all of it is
there. With --until the store is as it was at that recorded time: every answer is what the original
gives with --known-at. Shippers that sent more after the backup was made are refused by the restored
store; start them with a new --state, what is known already changes nothing.

Examples:
  erstwhile restore --from /mnt/backup/s --to s2
  erstwhile restore --from /mnt/backup/s --generation 12 --to s2
  erstwhile restore --from /mnt/backup/s --until '2018-12-24 10:00' --to s2")]
pub struct RestoreArgs {
    /// The backup's directory
    #[arg(long, value_name = "BACKUP")]
    pub from: PathBuf,

    /// The directory for the store, empty or not there yet
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// Which generation [default: the last]
    #[arg(long, value_name = "G")]
    pub generation: Option<u64>,

    /// Leave out what was recorded after this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
}

/// `recover`.
#[derive(Debug, Args)]
#[command(after_help = "\
The damaged store is only read. Every segment that is whole is copied, of others every stream's looks
that are whole are taken, and of logs every record. What is lost is told stream by stream, in the report
and to the new store: from the look before it until the next full set its hosts are unknown, never
wrong. Records of a log that cannot be read leave all streams unknown, since nothing else tells whose
looks they were; the lines that were appended last can be imported into a new store again.

What is not copied whole is written in haste and takes many times the room until it is merged:
`erstwhile compact` does so at once, a server beside its work.

Stop whatever writes to the store first. Tokens and certificates of a server are not copied: take its
folder server/ along by hand, or let the new store make its own.

Exits with 0 if nothing is lost, with 3 if something is.

Examples:
  erstwhile fsck --store s
  erstwhile recover --store s --to s.recovered
  erstwhile fsck --deep --store s.recovered
  erstwhile compact --store s.recovered
  erstwhile coverage --store s.recovered")]
pub struct RecoverArgs {
    /// The directory for the new store, empty or not there yet
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,

    /// Where to write what was kept and lost, as JSON [default: beside the new store]
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// `compact`.
#[derive(Debug, Args)]
#[command(after_help = "\
A store merges by itself beside what is written to it; this is for what should not wait, such as a
store that only gets imports, or a quiet hour. No answer changes, with --known-at or without.

It merges in steps. A step that is stopped (Ctrl-C, SIGTERM, --seconds-max) leaves nothing; those
before it stay done, and the next run goes on from there. Ctrl-Z and `fg`, or SIGSTOP and SIGCONT,
pause it. Nothing else can write to the store meanwhile; questions can be asked.

With --server the server merges everything at once beside its other work, at the pace that its
configuration has (engine.merge_io_bytes_per_second_max), and cannot be stopped but by stopping the
server; it needs a token that may administrate. --dry-run tells what it would read.

Exits with 3 if it was stopped before its end.

Examples:
  erstwhile compact --store s --dry-run
  erstwhile compact --store s --io-bytes-per-second-max 20000000 --seconds-max 3600
  erstwhile compact --dry-run --server 127.0.0.1:7787 --token-file s/server/admin.token
  erstwhile compact --server 127.0.0.1:7787 --token-file s/server/admin.token")]
pub struct CompactArgs {
    /// Show the plan and do nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Only merge what was never merged: what is left is packed, in more than one segment
    #[arg(long)]
    pub unpacked_only: bool,

    /// Read and write so many bytes a second at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub io_bytes_per_second_max: Option<u64>,

    /// Stop after so many seconds
    #[arg(long, value_name = "N")]
    pub seconds_max: Option<u64>,
}

/// `stats`.
#[derive(Debug, Args)]
#[command(after_help = "\
Only directories are read, not the data, so it is quick and may be asked beside a writer. A row is a
row that a look added, removed or held. Ages count from now; what lies in one block of a stream is
spread evenly over the time from its first look to its last. Bytes are told by what they are, and
those of indexes by column.

With --columns it is told of each column of rows how many bytes its texts have, and how many they
take: what a column shares with others is counted by the bits that it would take alone, and what is of
no column (the dictionary, when versions were) is not among them.

A host is silent when nothing came from it for twice the time that its busiest stream usually takes
from look to look.

Bounds: of many rows at most an eighth is beside the largest segment once merges have caught up;
keyframes (--keyframes) take at most a third of what they stand beside, and all of a large table
at most 1.3 times its row versions; a read of one stream at a past moment (--reads) decodes at most
four keys for each row that it finds, and 512, once the stream is merged.

Forms: text; json is one object, ndjson a table a line and then a line with the rest; csv has a line
for each table and each age. With --watch each of them is written again and again.

With --server the server is asked, which needs a token that may administrate; the figures are the
same. An older server may not know the question; its directory may be read beside it.

Examples:
  erstwhile stats --store s
  erstwhile stats processes --store s --keyframes --columns --reads
  erstwhile stats --store s --silent-after 86400 --format json
  erstwhile stats --store s --watch 5
  erstwhile stats --server 127.0.0.1:7787 --token-file s/server/admin.token")]
pub struct StatsArgs {
    /// Only this table
    #[arg(value_name = "TABLE")]
    pub table: Option<OsString>,

    /// Again every so many seconds, until it is stopped
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub watch: Option<u64>,

    /// A host is silent after so many seconds without a look
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..))]
    pub silent_after: Option<i64>,

    /// Weigh keyframes too: reads every run
    #[arg(long)]
    pub keyframes: bool,

    /// Weigh the columns of rows too: decodes every row
    #[arg(long)]
    pub columns: bool,

    /// Measure what reading costs too: asks for up to 100 streams of each table as they were
    #[arg(long)]
    pub reads: bool,

    /// Count hosts whose streams have breaks too: reads all looks
    #[arg(long)]
    pub holes: bool,
}

/// `completions`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  erstwhile completions bash > /etc/bash_completion.d/erstwhile
  erstwhile completions zsh > ~/.zfunc/_erstwhile
  erstwhile completions fish > ~/.config/fish/completions/erstwhile.fish")]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// `man`.
#[derive(Debug, Args)]
#[command(after_help = "\
There is a page for the program and one for each command: `man erstwhile-backup`.

Example:
  erstwhile man --to ~/.local/share/man/man1")]
pub struct ManArgs {
    /// The directory to write to, made if it is missing
    #[arg(long, value_name = "DIR")]
    pub to: PathBuf,
}

/// `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
With nothing said, the server listens on 127.0.0.1:7787, and makes one token of each kind, which it
prints once. Listeners that are not loopback speak TLS, with a certificate of their own making
unless the configuration names one.

Examples:
  erstwhile serve --store s
  erstwhile who ip 10.0.0.7 --at now --server 127.0.0.1:7787 --token-file s/server/read.token
  erstwhile serve --print-config > erstwhile.toml
  erstwhile serve --config erstwhile.toml --check-config

It stops on SIGTERM or SIGINT, when what is under way is answered.")]
pub struct ServeArgs {
    /// The configuration (TOML); options here go before what it says
    #[arg(long, value_name = "FILE", env = "ERSTWHILE_CONFIG")]
    pub config: Option<PathBuf>,

    /// Where to listen, once or more often
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<std::net::SocketAddr>,

    /// Where metrics and health are served over HTTP, on loopback
    #[arg(long, value_name = "ADDR")]
    pub http: Option<std::net::SocketAddr>,

    /// Print all that can be configured, with its defaults, and do nothing else
    #[arg(long)]
    pub print_config: bool,

    /// Say whether the configuration makes sense, and do nothing else
    #[arg(long)]
    pub check_config: bool,
}

/// `ship`.
#[derive(Debug, Args)]
#[command(after_help = "\
Logs are followed through rotation, by rename and by truncation, and into packed files (.gz, .zst).
The state directory says how far each is in: keep it, and give each process one of its own.

Examples:
  erstwhile ship --state /var/lib/erstwhile-ship /var/log/osquery/osqueryd.results.log \\
      /var/log/osquery/osqueryd.snapshots.log --server store.example:7787 --ca ca.pem --token-file token
  erstwhile ship --state s '/srv/logs/*/osqueryd.results.log' --server 127.0.0.1:7787 --token-file token

It waits for a server that is away or busy, for ever. It stops on SIGTERM or SIGINT.")]
pub struct ShipArgs {
    /// Logs, by path or by pattern; they need not be there yet
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<OsString>,

    /// Where it keeps how far it is
    #[arg(long, value_name = "DIR")]
    pub state: PathBuf,

    /// Where a log begins that was never followed: with its oldest rotated file, or with the one that is written now
    #[arg(long, value_name = "WHERE", default_value = "oldest")]
    pub begin: ShipBegin,

    /// End once everything that is there is in; fails if a log cannot be read
    #[arg(long)]
    pub once: bool,

    /// Say every so many seconds how far it is; 0: only at the end
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub report_seconds: u64,
}

/// Where a log begins that was never followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ShipBegin {
    /// With its oldest rotated file
    Oldest,
    /// With the file that is written now
    Live,
}

/// `--at`.
#[derive(Debug, Args)]
pub struct AtArgs {
    /// The time asked about
    #[arg(long, value_name = "TIME")]
    pub at: String,
}

/// `--known-at`.
#[derive(Debug, Args)]
pub struct KnownArgs {
    /// Answer as the store would have at this recorded time; answers print theirs as known_at
    #[arg(long, value_name = "TIME")]
    pub known_at: Option<String>,
}

/// `import`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lines may be in osquery's event, batch or snapshot form; files plain, gzip or zstd.
Importing the same lines again, in any order, changes no answer.

Examples:
  erstwhile import /var/log/osquery/osqueryd.results.log* --store s
  zcat archive/*.gz | erstwhile import - --store s
  erstwhile import old.log.zst --recorded-at 2018-12-31T00:00:00Z --format json --store s

Exits with 3 if a line could not be read (such lines are kept as dead letters), and with 1 if a
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

    /// When what was read is forced to the disk
    #[arg(long, value_name = "MODE", default_value = "always")]
    pub sync: SyncMode,

    /// How long a look that is spread over lines is held back when nothing more comes
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub hold_seconds: u64,
}

/// When commits are forced to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SyncMode {
    /// Before a commit counts as done: neither a crash nor a power cut loses what was committed
    Always,
    /// Now and then: a crash of this program loses nothing, a power cut may lose the last commits
    Interval,
    /// When the system pleases: a crash of this program loses nothing, a power cut may lose the whole import
    Never,
}

/// `state`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  erstwhile state users --at '2018-12-24 10:00'
  erstwhile state processes --host web-1 --at '3 hours ago' --where name=sshd --where uid=0
  erstwhile state interface_addresses --at '2018-12-24 10:00' --where-in address=10.1.0.0/16
  erstwhile state mounts --at 1545645600 --known-at 2018-12-25T00:00:00Z --format csv")]
pub struct StateArgs {
    /// The table
    #[arg(value_name = "TABLE")]
    pub table: OsString,
    /// `--at`.
    #[command(flatten)]
    pub at: AtArgs,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<OsString>,
    /// `--where` and its kin.
    #[command(flatten)]
    pub wheres: WhereArgs,
    /// Only this scheduled query
    #[arg(long, value_name = "NAME")]
    pub stream: Option<OsString>,
    /// `--known-at`.
    #[command(flatten)]
    pub known: KnownArgs,
}

/// Conditions on columns.
#[derive(Debug, Args)]
pub struct WhereArgs {
    /// Only rows with this text in this column, as a number where the column is one; may be repeated, all must fit
    #[arg(long = "where", value_name = "COL=VALUE")]
    pub is: Vec<OsString>,
    /// Only rows whose text in this column begins so; may be repeated, all must fit
    #[arg(long = "where-begins", value_name = "COL=TEXT")]
    pub begins: Vec<OsString>,
    /// Only rows with an address of this network in this column; may be repeated, all must fit
    #[arg(long = "where-in", value_name = "COL=NETWORK")]
    pub within: Vec<OsString>,
}

/// `who`.
#[derive(Debug, Args)]
pub struct WhoArgs {
    /// Whom to ask for.
    #[command(subcommand)]
    pub subject: WhoSubject,
}

/// `who ip`, `who uid`.
#[derive(Debug, Subcommand)]
pub enum WhoSubject {
    /// Which hosts had an address
    #[command(after_help = "\
Example:
  erstwhile who ip 10.0.0.7 --at '2018-12-24 10:00'

All candidates are listed, the surest first. An address matches in any way of writing it; `fe80::1%eth0` only on eth0.")]
    Ip(WhoIpArgs),
    /// Which users had a uid
    #[command(after_help = "\
Example:
  erstwhile who uid 1000 --host web-1 --at '2018-12-24 10:00'")]
    Uid(WhoUidArgs),
}

/// What both kinds of `who` take.
#[derive(Debug, Args)]
pub struct WhoCommonArgs {
    /// `--at`.
    #[command(flatten)]
    pub at: AtArgs,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<OsString>,
    /// `--known-at`.
    #[command(flatten)]
    pub known: KnownArgs,
}

/// `who ip`.
#[derive(Debug, Args)]
pub struct WhoIpArgs {
    /// The address, IPv4 or IPv6
    #[arg(value_name = "ADDR")]
    pub address: OsString,
    /// When, where.
    #[command(flatten)]
    pub common: WhoCommonArgs,
}

/// `who uid`.
#[derive(Debug, Args)]
pub struct WhoUidArgs {
    /// The uid, a number
    #[arg(value_name = "UID", allow_negative_numbers = true)]
    pub uid: OsString,
    /// When, where.
    #[command(flatten)]
    pub common: WhoCommonArgs,
}

/// `what`.
#[derive(Debug, Args)]
pub struct WhatArgs {
    /// What to ask for.
    #[command(subcommand)]
    pub subject: WhatSubject,
}

/// `what device`.
#[derive(Debug, Subcommand)]
pub enum WhatSubject {
    /// Which hardware was behind a path: mount, block device and its parents, USB device
    #[command(after_help = "\
Examples:
  erstwhile what device /media/stick/report.pdf --host web-1 --at '2018-12-24 10:00'
  erstwhile what device 'E:\\' --host desk-4 --at '2018-12-24 10:00'

Each link of the chain is shown with its own evidence; a missing link is named with its reason.")]
    Device(WhatDeviceArgs),
}

/// `what device`.
#[derive(Debug, Args)]
pub struct WhatDeviceArgs {
    /// The path, on that host
    #[arg(value_name = "PATH")]
    pub path: OsString,
    /// The host
    #[arg(long, value_name = "HOST")]
    pub host: OsString,
    /// `--at`.
    #[command(flatten)]
    pub at: AtArgs,
    /// `--known-at`.
    #[command(flatten)]
    pub known: KnownArgs,
}

/// `history`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  erstwhile history users --host web-1 --where username=mallory
  erstwhile history process_events --host web-1 --from '2018-12-24 10:00' --to '2018-12-24 11:00'")]
pub struct HistoryArgs {
    /// The table
    #[arg(value_name = "TABLE")]
    pub table: OsString,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<OsString>,
    /// Only this scheduled query
    #[arg(long, value_name = "NAME")]
    pub stream: Option<OsString>,
    /// `--where` and its kin.
    #[command(flatten)]
    pub wheres: WhereArgs,
    /// Only what overlaps the time from here on
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// Only what overlaps the time before this
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// `--known-at`.
    #[command(flatten)]
    pub known: KnownArgs,
}

/// `diff`.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  erstwhile diff users --host web-1 '2018-12-24 10:00' '2018-12-25 10:00'")]
pub struct DiffArgs {
    /// The table
    #[arg(value_name = "TABLE")]
    pub table: OsString,
    /// The first time
    #[arg(value_name = "T1")]
    pub from: String,
    /// The second time, not before the first
    #[arg(value_name = "T2")]
    pub to: String,
    /// The host
    #[arg(long, value_name = "HOST")]
    pub host: OsString,
    /// Only this scheduled query
    #[arg(long, value_name = "NAME")]
    pub stream: Option<OsString>,
    /// `--known-at`.
    #[command(flatten)]
    pub known: KnownArgs,
}

/// `hosts`, `tables`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  erstwhile hosts --store s
  erstwhile tables --store s --known-at 2018-12-25T00:00:00Z --format json")]
pub struct ListArgs {
    /// `--known-at`.
    #[command(flatten)]
    pub known: KnownArgs,
}

/// `coverage`.
#[derive(Debug, Args)]
#[command(after_help = "\
Breaks: gap (looks are missing), fork (looks contradict each other), no-base (no full set yet), doubtful-zero (a restart
that may not be a full set), not-held (a row left that was not there), damage (recovery lost looks), expired (retention
removed looks). Skew is recorded minus observed time, its least and greatest.

Example:
  erstwhile coverage processes --host web-1")]
pub struct CoverageArgs {
    /// Only this table
    #[arg(value_name = "TABLE")]
    pub table: Option<OsString>,
    /// Only this host
    #[arg(long, value_name = "HOST")]
    pub host: Option<OsString>,
    /// `--known-at`.
    #[command(flatten)]
    pub known: KnownArgs,
}

/// `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every structure is shown with its offset, its bytes, what it says, and what is wrong with it;
indented below it, what was decoded from it. After damage it goes on with the next sound structure.
Nothing is written and no lock is taken, so a store may be inspected on read-only media and while
it is written to. Files may be copies: what lies beside a file tells to which store it should
belong.

Findings:
  damage   bytes are not what was written, or are not there
  torn     an unfinished end as a crash leaves it; nothing that was durable is lost
  version  the file is of a format that this program does not read
  unread   the system did not let the file be read

Forms: text, and for programs
  json     {\"items\":[ITEM...],COUNTS}
  ndjson   an ITEM a line, then a line with {COUNTS}; without it the output was cut off
  ITEM is {\"file\",\"offset\",\"bytes\",\"depth\",\"structure\",\"fields\":{NAME:VALUE...},\"finding\"};
  depth 0 is a structure of the file, more was decoded from the last item with less; finding is
  null or {\"kind\",\"text\"}. COUNTS are the findings by kind: \"damage\", \"torn\", \"version\",
  \"unread\". Times are RFC 3339, bytes hexadecimal; an ITEM with texts that are not UTF-8 has
  U+FFFD in them and ends with \"lossy\":true.

Exits with 4 if there is damage, with 1 if a file could not be read or is of another version.

Examples:
  erstwhile inspect --store s
  erstwhile inspect s/0000000007.segment --rows 1000
  erstwhile inspect --store s --format ndjson | grep '\"kind\":\"damage\"'")]
pub struct InspectArgs {
    /// Files of a store [default: all files of --store]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// How many rows are shown of each structure that holds some
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub rows: usize,
}

/// `fsck`.
#[derive(Debug, Args)]
#[command(after_help = "\
Nothing is written and no lock is taken: the store may be in use, or on a medium that nobody can
write to. What a writer replaces or has not finished meanwhile is no damage.

Levels:
  --quick   which files there are; the manifest, headers, footers, directories
  (none)    also the checksum of every byte, and where every reference leads
  --deep    also what everything means: each stream is decoded, keyframes are compared with a
            replay, indexes with the rows, counts with what they count; logs are replayed

Each finding has a severity, the file and the offset, what is wrong, what it means for answers,
which facts are lost (hosts, tables, times), and the next command:
  damage    something that was written is lost, wrong or out of reach
  warning   no answer suffers, or a file could not be looked at
  info      a trace of a crash, such as an end that no sync had covered; a file of no use

Forms: text, and for programs
  json      {\"findings\":[FINDING...],REST}
  ndjson    a FINDING a line, then a line with {REST}; without it the output was cut off
  FINDING is {\"severity\",\"file\",\"offset\",\"structure\",\"text\",\"unchecked\",\"answers\",
  \"losses\":[{\"what\",\"table\",\"host\",\"stream\",\"kind\",\"first\",\"last\",\"recorded_from\",
  \"recorded_to\"}...],\"next\"}; null in a loss means all, or not known. REST has the counts,
  the level, the seed, totals, what was not looked at, and the speed.

Exit codes:
  0  no damage; traces of crashes are allowed
  1  something could not be checked: no store, a file that cannot be read or is of another version
  2  usage
  4  damage

Examples:
  erstwhile fsck --store s
  erstwhile fsck --deep --sample 10% --store s
  erstwhile fsck --budget 30s --format json --store s")]
pub struct FsckArgs {
    /// Look at what is quickly looked at
    #[arg(long, conflicts_with = "deep")]
    pub quick: bool,
    /// Check also what everything means
    #[arg(long)]
    pub deep: bool,
    /// Look at a share of the pieces of streams, or of the streams, by chance
    #[arg(long, value_name = "PERCENT")]
    pub sample: Option<String>,
    /// What the chance comes from; the report tells it
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Stop after so long; what was not looked at is told
    #[arg(long, value_name = "TIME")]
    pub budget: Option<String>,
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

//! What operators do to a store: look at its files, check, copy, mend, merge and weigh it.

use clap::Args;
use std::ffi::OsString;
use std::path::PathBuf;

/// `backup`.
#[derive(Debug, Args)]
#[command(after_help = "\
A backup is a directory of plain files that holds any number of generations, each the whole store at \
one moment. A generation copies only what the backup lacks, so it costs what came since. It may be \
made while the store is served and written to. It is there once all of it is on the disk: a crash \
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
Every byte is verified as it is copied, and the directory becomes a store only when all of it is \
there. With --until the store is as it was at that recorded time: every answer is what the original \
gives with --known-at. Shippers that sent more after the backup was made are refused by the restored \
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
The damaged store is only read, and a directory that holds none is refused. Every segment that is whole is copied, of others every stream's looks \
that are whole are taken, and of logs every record. What is lost is told stream by stream, in the report \
and to the new store: from the look before it until the next full set its hosts are unknown, never \
wrong. Records of a log that cannot be read leave all streams unknown, since nothing else tells whose \
looks they were; the lines that were appended last can be imported into a new store again.

What is not copied whole is written in haste and takes many times the room until it is merged: \
`erstwhile compact` does so at once, a server beside its work.

Stop whatever writes to the store first. Tokens and certificates of a server are not copied: take its \
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
A store merges by itself beside what is written to it; this is for what should not wait, such as a \
store that only gets imports, or a quiet hour. No answer changes, with --known-at or without.

It merges in steps. A step that is stopped (Ctrl-C, SIGTERM, --seconds-max) leaves nothing; those \
before it stay done, and the next run goes on from there. Ctrl-Z and `fg`, or SIGSTOP and SIGCONT, \
pause it. Nothing else can write to the store meanwhile; questions can be asked.

With --server the server merges everything at once beside its other work, at the pace that its \
configuration has (engine.merge_io_bytes_per_second_max), and cannot be stopped but by stopping the \
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
Only directories are read, not the data, so it is quick and may be asked beside a writer. A row is a \
row that a look added, removed or held. Ages count from now; what lies in one block of a stream is \
spread evenly over the time from its first look to its last. Bytes are told by what they are, and \
those of indexes by column.

With --columns it is told of each column of rows how many bytes its texts have, and how many they \
take: what a column shares with others is counted by the bits that it would take alone, and what is of \
no column (the dictionary, when versions were) is not among them.

A host is silent when nothing came from it for twice the time that its busiest stream usually takes \
from look to look.

Bounds: of many rows at most an eighth is beside the largest segment once merges have caught up; \
keyframes (--keyframes) take at most a third of what they stand beside, and all of a large table \
at most 1.3 times its row versions; a read of one stream at a past moment (--reads) decodes at most \
four keys for each row that it finds, and 512, once the stream is merged.

Forms: text; json is one object, ndjson a table a line and then a line with the rest; csv has a line \
for each table and each age. With --watch each of them is written again and again.

With --server the server is asked, which needs a token that may administrate; the figures are the \
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

/// `inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Every structure is shown with its offset, its bytes, what it says, and what is wrong with it; \
indented below it, what was decoded from it. After damage it goes on with the next sound structure. \
Nothing is written and no lock is taken, so a store may be inspected on read-only media and while \
it is written to. Files may be copies: what lies beside a file tells to which store it should \
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
Nothing is written and no lock is taken: the store may be in use, or on a medium that nobody can \
write to. What a writer replaces or has not finished meanwhile is no damage.

Levels:
  --quick   which files there are; the manifest, headers, footers, directories
  (none)    also the checksum of every byte, and where every reference leads
  --deep    also what everything means: each stream is decoded, keyframes are compared with a
            replay, indexes with the rows, counts with what they count; logs are replayed

Each finding has a severity, the file and the offset, what is wrong, what it means for answers, \
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

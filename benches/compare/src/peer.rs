//! What every store that is compared can do.

use crate::answer::Rows;
use crate::error::Result;
use crate::fleet::{Fleet, Sums};
use crate::peers::{clickhouse, duckdb, erstwhile, postgres, sqlite};
use crate::question::Question;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The stores that are compared, in the table's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    Erstwhile,
    Sqlite,
    SqliteRtree,
    Duckdb,
    Parquet,
    Postgres,
    PostgresGist,
    Clickhouse,
}

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::Erstwhile,
        Kind::Sqlite,
        Kind::SqliteRtree,
        Kind::Duckdb,
        Kind::Parquet,
        Kind::Postgres,
        Kind::PostgresGist,
        Kind::Clickhouse,
    ];

    /// Its name on the command line and in JSON.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Kind::Erstwhile => "erstwhile",
            Kind::Sqlite => "sqlite",
            Kind::SqliteRtree => "sqlite-rtree",
            Kind::Duckdb => "duckdb",
            Kind::Parquet => "parquet",
            Kind::Postgres => "postgres",
            Kind::PostgresGist => "postgres-gist",
            Kind::Clickhouse => "clickhouse",
        }
    }

    /// Its name in the table.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Kind::Erstwhile => "erstwhile",
            Kind::Sqlite => "SQLite",
            Kind::SqliteRtree => "SQLite R*Tree",
            Kind::Duckdb => "DuckDB",
            Kind::Parquet => "Parquet zstd",
            Kind::Postgres => "PostgreSQL",
            Kind::PostgresGist => "PostgreSQL GiST",
            Kind::Clickhouse => "ClickHouse",
        }
    }
}

/// What is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Source {
    /// The log itself, by the peer's own JSON reader.
    Json,
    /// Rows that were parsed before.
    Rows,
}

/// What a peer is given.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    /// An empty directory of its own.
    pub(crate) directory: PathBuf,
    /// Where `install.sh` put the libraries.
    pub(crate) libraries: PathBuf,
    /// The agent version of every host, for who concludes from it.
    pub(crate) agent_version: Option<String>,
}

/// What the first answer after opening took, by the peer's own counters and by the clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cold {
    /// Rows of the answer, those that only the look after T has among them.
    pub(crate) rows: u64,
    pub(crate) rows_decoded: u64,
    pub(crate) bytes_read: u64,
    pub(crate) bytes_verified: u64,
    /// Nanoseconds of opening, and of the answer.
    pub(crate) open_nanos: u64,
    pub(crate) nanos: u64,
}

/// A load: the part of it that counts is timed by who does it, so that what only prepares it does not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Loaded {
    /// Seconds until all is durable (or on disk) and ready for questions.
    pub(crate) seconds: f64,
    /// CPU seconds of all threads and processes.
    pub(crate) cpu_seconds: f64,
}

/// A store that is compared.
pub(crate) trait Peer {
    /// The release that answers.
    fn version(&mut self) -> Result<String>;

    /// Loads a fleet into the empty store.
    fn load(&mut self, fleet: &Fleet, source: Source) -> Result<Loaded>;

    /// How many bytes it keeps on disk.
    fn disk_bytes(&mut self) -> Result<u64>;

    /// What each table holds, to know that the load was whole; `None` where nothing but answers tell.
    fn sums(&mut self, fleet: &Fleet) -> Result<Option<Vec<Sums>>>;

    /// Prepares for questions about the fleet.
    fn prepare(&mut self, fleet: &Fleet) -> Result<()>;

    /// Answers one.
    fn ask(&mut self, question: &Question, rows: &mut Rows) -> Result<()>;

    /// Opens the store anew and answers one question, where the peer counts what that takes.
    fn cold(&mut self, _question: &Question) -> Result<Option<Cold>> {
        Ok(None)
    }
}

/// Opens a peer.
pub(crate) fn open(kind: Kind, setting: &Setting) -> Result<Box<dyn Peer>> {
    Ok(match kind {
        Kind::Erstwhile => Box::new(erstwhile::Erstwhile::new(setting)),
        Kind::Sqlite | Kind::SqliteRtree => Box::new(sqlite::Sqlite::open(setting, kind == Kind::SqliteRtree)?),
        Kind::Duckdb | Kind::Parquet => Box::new(duckdb::Duckdb::open(setting, kind == Kind::Parquet)?),
        Kind::Postgres | Kind::PostgresGist => Box::new(postgres::Postgres::open(setting, kind == Kind::PostgresGist)?),
        Kind::Clickhouse => Box::new(clickhouse::Clickhouse::open(setting)?),
    })
}

//! A server, and what ships logs to it.

use clap::{Args, ValueEnum};
use std::ffi::OsString;
use std::path::PathBuf;

/// `serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
With nothing said, the server listens on 127.0.0.1:7787, and makes one token of each kind, which it \
prints once. Listeners that are not loopback speak TLS, with a certificate of their own making \
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
Logs are followed through rotation, by rename and by truncation, and into packed files (.gz, .zst). \
The state directory says how far each is in: keep it, and give each process one of its own.

Examples:
  erstwhile ship --state /var/lib/erstwhile-ship --server store.example:7787 --ca ca.pem \\
      --token-file token /var/log/osquery/osqueryd.results.log \\
      /var/log/osquery/osqueryd.snapshots.log
  erstwhile ship --state s --server 127.0.0.1:7787 --token-file token \\
      '/srv/logs/*/osqueryd.results.log'

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

    /// End once everything that is there is in; fails if a log is not there, cannot be read or ends within a line
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

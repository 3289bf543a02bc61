//! What is asked: a table at a time or over time, who, what, and what there is.

use clap::{Args, Subcommand};
use std::ffi::OsString;

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
Breaks: gap (looks are missing), fork (looks contradict each other), no-base (no full set yet), doubtful-zero (a restart \
that may not be a full set), not-held (a row left that was not there), damage (recovery lost looks), expired (retention \
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

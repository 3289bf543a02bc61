//! What an operator may choose, in one TOML file; every key has a default, and an unknown key is an error.
//!
//! Invariant: what is written by [`Config::commented`] is read back as the defaults.

use erstwhile_engine::compaction::pace::Pace;
use erstwhile_engine::log::SyncMode;
use erstwhile_engine::options::{IndexRule, Options};
use erstwhile_wire::hello::Limits;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// With fewer bytes a second a merge does not end.
const MERGE_IO_BYTES_MIN: u64 = 1 << 16;

/// All that may be chosen.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The store's directory.
    pub store: PathBuf,
    /// Where clients connect.
    pub listen: Vec<SocketAddr>,
    /// Where metrics and health are, if anywhere.
    pub http: Option<SocketAddr>,
    /// Transport security.
    pub tls: Tls,
    /// The file of tokens; `None`: `server/tokens.toml` below the store.
    pub tokens: Option<PathBuf>,
    /// Roles of who has no token.
    pub roles_without_token: Vec<String>,
    /// What a connection may take.
    pub limits: LimitsConfig,
    /// How the store is written and read.
    pub engine: EngineConfig,
    /// Which columns are indexed: `"table.column" = "auto" | "none" | "streams" | "versions" | "times"`.
    pub indexes: BTreeMap<String, IndexWord>,
    /// The form of the log.
    pub log: LogConfig,
}

/// Transport security. Listeners that are not loopback always have it.
#[derive(Clone, Debug, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// Whether loopback listeners have it too.
    pub loopback: bool,
    /// Certificates in PEM; `None`: one that signs itself, made once below the store.
    pub certificate: Option<PathBuf>,
    /// Its key in PEM.
    pub key: Option<PathBuf>,
    /// Only clients with a certificate signed by one of these are let in.
    pub client_ca: Option<PathBuf>,
}

/// What connections may take.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Connections at once.
    pub connections_max: usize,
    /// The longest payload of a request.
    pub request_bytes_max: u64,
    /// Requests of a connection under way at once.
    pub requests_max: u64,
    /// The largest credit of a request.
    pub window_bytes_max: u64,
    /// A request takes no longer.
    pub request_millis_max: u64,
    /// A connection on which nothing happens is closed after so long.
    pub idle_millis_max: u64,
    /// A client that takes nothing of its answer is given up after so long.
    pub stall_millis_max: u64,
    /// A hello must come within so long.
    pub hello_millis_max: u64,
    /// What is under way when the server stops may take so long.
    pub drain_millis_max: u64,
    /// Bytes of large requests in memory, of all connections together.
    pub ingest_bytes_max: usize,
    /// Questions to all hosts that are worked on at once; 0: as many as there are cores.
    pub heavy_max: usize,
    /// Questions to all hosts that are begun: some of them wait for their readers.
    pub heavy_begun_max: usize,
    /// Lines are handed on when nothing came of their source for so long.
    pub hold_millis: u64,
}

/// How the store is written and read.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EngineConfig {
    /// When an append counts as durable: `"always"` (a sync each), `"never"`, or a number of milliseconds between syncs.
    pub sync: Sync,
    /// What was appended is sealed into a segment at about so many bytes.
    pub memtable_bytes_max: usize,
    /// Decoded blocks kept for questions.
    pub cache_bytes_max: usize,
    /// zstd's level for texts of merged segments.
    pub merge_zstd_level: i32,
    /// Segments of like size that are merged into one.
    pub merge_fanout: usize,
    /// Bytes a second that merges read and write at most; `None`: as many as they can.
    pub merge_io_bytes_per_second_max: Option<u64>,
}

/// When an append counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Sync {
    /// By a word.
    Word(SyncWord),
    /// After so many milliseconds at most.
    Millis(u32),
}

/// When an append counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncWord {
    /// Once it is synced.
    Always,
    /// Once it is written.
    Never,
}

/// Which index a column has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexWord {
    /// None.
    None,
    /// One, if it weighs little beside the data.
    Auto,
    /// Of the streams that ever had a value.
    Streams,
    /// Of versions by stream: for questions to one host.
    Versions,
    /// Of versions by time: for questions to all hosts.
    Times,
}

/// The form of the log.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is logged, in the words of tracing's filters.
    pub filter: String,
    /// Whether each line is JSON.
    pub json: bool,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            store: PathBuf::from("erstwhile-store"),
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 7787))],
            http: None,
            tls: Tls::default(),
            tokens: None,
            roles_without_token: Vec::new(),
            limits: LimitsConfig::default(),
            engine: EngineConfig::default(),
            indexes: BTreeMap::new(),
            log: LogConfig::default(),
        }
    }
}

impl Default for LimitsConfig {
    fn default() -> LimitsConfig {
        LimitsConfig {
            connections_max: 20_000,
            request_bytes_max: 16 << 20,
            requests_max: 64,
            window_bytes_max: 4 << 20,
            request_millis_max: 60_000,
            idle_millis_max: 600_000,
            stall_millis_max: 30_000,
            hello_millis_max: 10_000,
            drain_millis_max: 30_000,
            ingest_bytes_max: 128 << 20,
            heavy_max: 0,
            heavy_begun_max: 32,
            hold_millis: 10_000,
        }
    }
}

impl Default for EngineConfig {
    fn default() -> EngineConfig {
        let Options { memtable_bytes_max, cache_bytes_max, merge_zstd_level, merge_fanout, .. } = Options::default();
        let sync = Sync::Word(SyncWord::Always);
        EngineConfig {
            sync,
            memtable_bytes_max,
            cache_bytes_max,
            merge_zstd_level,
            merge_fanout,
            merge_io_bytes_per_second_max: None,
        }
    }
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { filter: "info".to_owned(), json: false }
    }
}

impl Config {
    /// Reads a file's text.
    pub fn parse(text: &str) -> Result<Config, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        config.check()?;
        Ok(config)
    }

    /// What each key says may be; together they must make sense.
    pub fn check(&self) -> Result<(), String> {
        if self.tls.certificate.is_some() != self.tls.key.is_some() {
            return Err("tls.certificate and tls.key belong together: give both or none".to_owned());
        }
        for word in &self.roles_without_token {
            if crate::tokens::role(word).is_none() {
                return Err(format!("roles_without_token: {word:?} is no role; roles are ingest, read, admin"));
            }
        }
        if let Some(http) = self.http.filter(|http| !http.ip().is_loopback()) {
            return Err(format!("http: {http} is not loopback, and metrics go unencrypted; let a proxy serve them"));
        }
        if self.listen.is_empty() {
            return Err("listen: no address; give at least one".to_owned());
        }
        if self.store.as_os_str().is_empty() {
            return Err("store: no directory; name the store's".to_owned());
        }
        self.check_addresses()?;
        for column in self.indexes.keys() {
            if column.split_once('.').is_none_or(|(table, column)| table.is_empty() || column.is_empty()) {
                return Err(format!("indexes: {column:?} is not of the form \"table.column\""));
            }
        }
        let limits = &self.limits;
        let merge_io = self.engine.merge_io_bytes_per_second_max.unwrap_or(u64::MAX);
        let ranges: [(&str, u64, u64, u64); 8] = [
            ("engine.merge_io_bytes_per_second_max", merge_io, MERGE_IO_BYTES_MIN, u64::MAX),
            ("limits.request_bytes_max", limits.request_bytes_max, 1 << 16, 1 << 30),
            ("limits.requests_max", limits.requests_max, 1, 1 << 16),
            ("limits.window_bytes_max", limits.window_bytes_max, 1 << 16, 1 << 30),
            ("limits.request_millis_max", limits.request_millis_max, 1, 1 << 32),
            ("limits.ingest_bytes_max", limits.ingest_bytes_max as u64, limits.request_bytes_max, 1 << 32),
            ("limits.heavy_begun_max", limits.heavy_begun_max as u64, 1, 256),
            ("limits.connections_max", limits.connections_max as u64, 1, 1 << 20),
        ];
        for (key, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("{key} = {value}: it must be between {least} and {most}"));
            }
        }
        Ok(())
    }

    /// No address is given twice; with port 0 the system chooses another one each time.
    fn check_addresses(&self) -> Result<(), String> {
        let listen = self.listen.iter().map(|address| ("listen", address));
        let named: Vec<(&str, &SocketAddr)> =
            listen.chain(self.http.as_ref().map(|address| ("http", address))).collect();
        for (at, (key, address)) in named.iter().enumerate().filter(|(_, (_, address))| address.port() != 0) {
            if let Some((before, _)) = named[..at].iter().find(|(_, other)| other == address) {
                let twice = if before == key {
                    format!("{key}: {address} is given twice")
                } else {
                    format!("{before} and {key} are both {address}")
                };
                return Err(format!("{twice}; give each an address or a port of its own"));
            }
        }
        Ok(())
    }

    /// What clients are told.
    pub fn limits(&self) -> Limits {
        let LimitsConfig {
            request_bytes_max, requests_max, window_bytes_max, request_millis_max, idle_millis_max, ..
        } = self.limits;
        Limits { request_bytes_max, requests_max, window_bytes_max, request_millis_max, idle_millis_max }
    }

    /// How the store is opened.
    pub fn options(&self) -> Options {
        let EngineConfig {
            sync,
            memtable_bytes_max,
            cache_bytes_max,
            merge_zstd_level,
            merge_fanout,
            merge_io_bytes_per_second_max,
        } = self.engine;
        let pace = Pace::new(merge_io_bytes_per_second_max);
        let sync = match sync {
            Sync::Word(SyncWord::Always) => SyncMode::Always,
            Sync::Word(SyncWord::Never) => SyncMode::Never,
            Sync::Millis(millis) => SyncMode::Interval { millis },
        };
        let mut options = Options {
            sync,
            memtable_bytes_max,
            cache_bytes_max,
            merge_zstd_level,
            merge_fanout,
            pace,
            ..Options::default()
        };
        for (column, word) in &self.indexes {
            let rule = match word {
                IndexWord::None => IndexRule::None,
                IndexWord::Auto => IndexRule::Auto,
                IndexWord::Streams => IndexRule::Streams,
                IndexWord::Versions => IndexRule::Versions,
                IndexWord::Times => IndexRule::Times,
            };
            if let Some((table, column)) = column.split_once('.') {
                options.indexes.set(table.as_bytes(), column.as_bytes(), rule);
            }
        }
        options
    }

    /// So many milliseconds.
    pub fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// All keys with their defaults, and what each is.
    pub fn commented() -> String {
        let Config { limits, engine, log, .. } = Config::default();
        format!(
            r#"# The store's directory.
store = "erstwhile-store"

# Where clients connect. Addresses that are not loopback always speak TLS.
listen = ["127.0.0.1:7787"]

# Where Prometheus metrics (/metrics), /healthz and /readyz are, on loopback; none by default.
# http = "127.0.0.1:7788"

# The file of tokens; by default server/tokens.toml below the store, made with one token of each kind.
# tokens = "/etc/erstwhile/tokens.toml"

# What a client without a token may do: "ingest", "read", "admin".
roles_without_token = []

[tls]
# Whether loopback addresses speak TLS too.
loopback = false
# Certificates and key in PEM; by default one that signs itself, made once below the store.
# certificate = "/etc/erstwhile/server.pem"
# key = "/etc/erstwhile/server.key"
# Only clients with a certificate signed by one of these (PEM) are let in.
# client_ca = "/etc/erstwhile/clients.pem"

[limits]
# Connections at once.
connections_max = {connections_max}
# The longest payload of an append or of a batched look-up, in bytes.
request_bytes_max = {request_bytes_max}
# Requests of a connection under way at once.
requests_max = {requests_max}
# The most of an answer that is sent before the client takes more, in bytes.
window_bytes_max = {window_bytes_max}
# A request takes no longer, in milliseconds.
request_millis_max = {request_millis_max}
# A connection on which nothing happens is closed after so many milliseconds.
idle_millis_max = {idle_millis_max}
# A client that takes nothing of its answer is given up after so many milliseconds.
stall_millis_max = {stall_millis_max}
# A client must say who it is within so many milliseconds.
hello_millis_max = {hello_millis_max}
# When the server stops, what is under way may take so many milliseconds.
drain_millis_max = {drain_millis_max}
# Large requests in memory, of all connections together, in bytes.
ingest_bytes_max = {ingest_bytes_max}
# Questions to all hosts that are worked on at once; 0: as many as there are cores.
heavy_max = {heavy_max}
# Questions to all hosts that are begun; those that wait for their readers let others work meanwhile.
heavy_begun_max = {heavy_begun_max}
# Lines of a look are held back until their second has passed, or nothing came of their source for so many milliseconds.
hold_millis = {hold_millis}

[engine]
# When an append counts as durable: "always" (synced), "never" (written), or synced every so many milliseconds, as a number.
sync = "always"
# What was appended becomes a segment at about so many bytes of memory; twice that is used at most.
memtable_bytes_max = {memtable_bytes_max}
# Decoded blocks kept for questions, in bytes.
cache_bytes_max = {cache_bytes_max}
# zstd's level for texts of merged segments.
merge_zstd_level = {merge_zstd_level}
# Segments of like size that are merged into one.
merge_fanout = {merge_fanout}
# Merges read and write so many bytes a second together at most, so that others have the disk; no limit by default. With less
# than what comes, segments become more and more and appends wait for merges in the end.
# merge_io_bytes_per_second_max = 50000000

[indexes]
# Which columns are indexed from the next merge on: "auto" (if it weighs little; the default), "none", "streams" (which streams ever
# had a value), "versions" (for questions to one host), "times" (for questions to all hosts).
# "processes.name" = "times"

[log]
# What is logged: "error", "warn", "info", "debug", or filters of tracing.
filter = "{filter}"
# Whether each line is JSON.
json = {json}
"#,
            connections_max = limits.connections_max,
            request_bytes_max = limits.request_bytes_max,
            requests_max = limits.requests_max,
            window_bytes_max = limits.window_bytes_max,
            request_millis_max = limits.request_millis_max,
            idle_millis_max = limits.idle_millis_max,
            stall_millis_max = limits.stall_millis_max,
            hello_millis_max = limits.hello_millis_max,
            drain_millis_max = limits.drain_millis_max,
            ingest_bytes_max = limits.ingest_bytes_max,
            heavy_max = limits.heavy_max,
            heavy_begun_max = limits.heavy_begun_max,
            hold_millis = limits.hold_millis,
            memtable_bytes_max = engine.memtable_bytes_max,
            cache_bytes_max = engine.cache_bytes_max,
            merge_zstd_level = engine.merge_zstd_level,
            merge_fanout = engine.merge_fanout,
            filter = log.filter,
            json = log.json,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use erstwhile_engine::fact::Name;

    #[test]
    fn what_is_printed_is_the_defaults_and_has_every_key() {
        let printed = Config::commented();
        assert_eq!(Config::parse(&printed).unwrap(), Config::default());
        assert_eq!(Config::parse("").unwrap(), Config::default());
        // Each commented key may be given as it stands there.
        let uncommented: String = printed
            .lines()
            .map(|line| match line.strip_prefix("# ") {
                Some(key) if key.contains(" = ") && !key.contains(": ") => format!("{key}\n"),
                _ => format!("{line}\n"),
            })
            .collect();
        let config = Config::parse(&uncommented).unwrap();
        assert!(config.http.is_some() && config.tokens.is_some() && config.tls.client_ca.is_some());
        assert_eq!(config.indexes.len(), 1);
        let pace = format!("{:?}", config.options().pace);
        assert!(pace.contains("Some(50000000)"), "{pace}");
        let rule = config.options().indexes.of(&Name::from(&b"processes"[..]), &Name::from(&b"name"[..]));
        assert_eq!(rule, IndexRule::Times);
    }

    #[test]
    fn mistakes_are_told() {
        let wrong = |text: &str, word: &str| {
            let told = Config::parse(text).unwrap_err();
            assert!(told.contains(word), "{text}: {told}");
        };
        wrong("lisen = []", "lisen");
        wrong("[limits]\nrequests = 5", "requests");
        wrong("listen = []", "at least one");
        wrong("[tls]\nkey = \"x\"", "belong together");
        wrong("roles_without_token = [\"write\"]", "write");
        wrong("http = \"0.0.0.0:80\"", "loopback");
        wrong("http = \"127.0.0.1:7787\"", "listen and http are both 127.0.0.1:7787");
        wrong("listen = [\"127.0.0.1:1\", \"[::1]:1\", \"127.0.0.1:1\"]", "127.0.0.1:1 is given twice");
        assert!(Config::parse("http = \"127.0.0.1:0\"\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]").is_ok());
        wrong("store = \"\"", "store");
        wrong("[limits]\nrequests_max = 0", "limits.requests_max");
        wrong("[indexes]\nname = \"auto\"", "table.column");
        wrong("[indexes]\n\"a.b\" = \"fast\"", "fast");
        wrong("[engine]\nsync = \"sometimes\"", "sync");
        wrong("[engine]\nmerge_io_bytes_per_second_max = 0", "engine.merge_io_bytes_per_second_max = 0: it must be");
        assert_eq!(Config::parse("[engine]\nsync = 50").unwrap().options().sync, SyncMode::Interval { millis: 50 });
    }
}

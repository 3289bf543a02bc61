//! What an opener of a store may choose, with defaults that need no thought.

use crate::codec::Effort;
use crate::compaction::pace::Pace;
use crate::fact::Name;
use crate::log::SyncMode;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::thread::ScopedJoinHandle;

/// How a store is written and read.
#[derive(Clone, Debug)]
pub struct Options {
    /// When an append counts as stored.
    pub sync: SyncMode,
    /// Whether appends are logged. Those that are not are visible to this process at once, and durable when
    /// [`flush`](crate::store::Store::flush) or [`close`](crate::store::Store::close) returns, of what was appended in this
    /// order as much as was sealed before: for what can be appended again, which then need not be written twice.
    pub logs: bool,
    /// The memtable is sealed into a segment when it holds about so many bytes. While one is being sealed a second may
    /// fill; then appends wait.
    pub memtable_bytes_max: usize,
    /// Decoded blocks kept for reads.
    pub cache_bytes_max: usize,
    /// What is done to make sealed segments small, which are soon merged.
    pub seal_effort: Effort,
    /// zstd's level for text columns of merged segments.
    pub merge_zstd_level: i32,
    /// How many segments of like size are merged into one. More: bytes are rewritten less often, and reads touch more
    /// segments.
    pub merge_fanout: usize,
    /// Whether all segments are merged into one whenever an eighth of what is stored is beside the largest: what was not
    /// merged with the rest takes longer to read the more of it there is.
    pub keeps_whole: bool,
    /// Which columns of merged segments are indexed.
    pub indexes: IndexRules,
    /// How much sealing and merging yield to questions and appends: 0 not at all, 19 the most; where the system knows such.
    pub background_nice: u8,
    /// How quickly merges read and write; a handle by which they are watched and stopped.
    pub pace: Pace,
    /// Whether sealing and merging go on beside the appends (or, for tests that must repeat exactly, within them).
    pub background: bool,
}

impl Options {
    /// For much at once, as an import brings it: sealed segments wait until
    /// [`compact_if_due`](crate::store::Store::compact_if_due) merges them all, so that few bytes are written twice;
    /// and since that comes soon, they are made quickly rather than small.
    pub fn bulk() -> Options {
        Options {
            merge_fanout: 64,
            keeps_whole: false,
            seal_effort: Effort::Quick,
            background_nice: 0,
            ..Options::default()
        }
    }
}

impl Default for Options {
    fn default() -> Options {
        Options {
            sync: SyncMode::Always,
            logs: true,
            memtable_bytes_max: 64 << 20,
            cache_bytes_max: 64 << 20,
            seal_effort: Effort::Zstd(1),
            merge_zstd_level: 3,
            merge_fanout: 8,
            keeps_whole: true,
            indexes: IndexRules::default(),
            background_nice: 10,
            pace: Pace::default(),
            background: true,
        }
    }
}

/// On how many cores work is spread.
pub(crate) fn cores() -> usize {
    // Asking the system reads several files.
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What a thread came to; its panic goes on here.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Lets the thread that runs this, and those that it starts, yield to others: 0 not at all, 19 the most.
pub fn yield_to_others(nice: u8) {
    if nice > 0 {
        // Where the system refuses, work goes on as if nothing had been said.
        let _ = rustix::process::setpriority_process(None, i32::from(nice.min(19)));
    }
}

/// What a column's index names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexRule {
    /// Nothing: there is no index.
    None,
    /// The streams that ever had a value, if that weighs little beside the table's data.
    #[default]
    Auto,
    /// The streams that ever had a value.
    Streams,
    /// The versions that have a value, by stream: for questions about one host.
    Versions,
    /// The versions that have a value, by time: for questions about all hosts.
    Times,
}

impl IndexRule {
    /// Whether the index names versions.
    pub fn is_of_versions(self) -> bool {
        matches!(self, IndexRule::Versions | IndexRule::Times)
    }
}

/// The rules for columns; where there is none, [`IndexRule::Auto`] holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexRules {
    rules: BTreeMap<(Name, Name), IndexRule>,
}

/// The columns that the questions themselves ask for.
const ASKED: [(&str, &str, IndexRule); 2] =
    [("interface_addresses", "address", IndexRule::Times), ("users", "uid", IndexRule::Versions)];

impl Default for IndexRules {
    fn default() -> IndexRules {
        let mut rules = IndexRules { rules: BTreeMap::new() };
        for (table, column, rule) in ASKED {
            rules.set(table.as_bytes(), column.as_bytes(), rule);
        }
        rules
    }
}

impl IndexRules {
    /// Sets the rule for a column of a table.
    pub fn set(&mut self, table: &[u8], column: &[u8], rule: IndexRule) {
        self.rules.insert((Name::from(table), Name::from(column)), rule);
    }

    /// The rule for a column of a table.
    pub fn of(&self, table: &Name, column: &Name) -> IndexRule {
        self.rules.get(&(table.clone(), column.clone())).copied().unwrap_or_default()
    }
}

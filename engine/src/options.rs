//! What an opener of a store may choose, with defaults that need no thought.

use crate::log::SyncMode;

/// How a store is written and read.
#[derive(Clone, Debug)]
pub struct Options {
    /// When an append counts as stored.
    pub sync: SyncMode,
    /// The memtable is sealed into a segment when it holds about so many bytes. While one is being sealed a second may
    /// fill; then appends wait.
    pub memtable_bytes_max: usize,
    /// Decoded blocks kept for reads.
    pub cache_bytes_max: usize,
    /// zstd's level for text columns of sealed segments, which are soon merged.
    pub seal_zstd_level: i32,
    /// zstd's level for text columns of merged segments.
    pub merge_zstd_level: i32,
    /// How many segments of like size are merged into one. More: bytes are rewritten less often, and reads touch more
    /// segments.
    pub merge_fanout: usize,
    /// Whether sealing and merging go on beside the appends (or, for tests that must repeat exactly, within them).
    pub background: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            sync: SyncMode::Always,
            memtable_bytes_max: 64 << 20,
            cache_bytes_max: 64 << 20,
            seal_zstd_level: 1,
            merge_zstd_level: 3,
            merge_fanout: 8,
            background: true,
        }
    }
}

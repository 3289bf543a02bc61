//! Decoded blocks are remembered, within a bound.
//!
//! Two generations: what is used lives in the young one; when that has filled half the bound it becomes the old one,
//! and the old one is dropped. A block in use is moved back to the young generation, so what is asked for often stays,
//! and one pass over everything costs at most one generation.

use super::index::{Index, OpenIndex};
use super::rows::RowBlock;
use super::run::open::OpenPiece;
use super::shared::SharedRows;
use crate::fact::StreamKey;
use crate::read::resolved::Resolved;
use crate::read::tail::Tail;
use crate::timeline::Part;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

/// Which block of which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// The segment's number.
    pub segment: u64,
    /// Where the block's frame begins.
    pub offset: u64,
}

/// A decoded block.
#[derive(Clone)]
pub enum Cached {
    /// Of rows.
    Rows(Arc<RowBlock>),
    /// Of a stream's parts.
    Parts(Arc<Vec<Part>>),
    /// Of a run.
    Run(Arc<OpenPiece>),
    /// An index, of which nothing is decoded but where its columns are.
    Index(Arc<OpenIndex>),
    /// What follows a run.
    Tail(Arc<Tail>),
    /// A stream that was replayed.
    Timeline(Arc<Resolved>),
}

fn hash(stream: &StreamKey) -> u64 {
    let mut hasher = FxHasher::default();
    stream.hash(&mut hasher);
    hasher.finish()
}

impl Key {
    /// Of a stream's tail.
    pub fn of_tail(stream: &StreamKey) -> Key {
        Key { segment: u64::MAX, offset: hash(stream) }
    }

    /// Of a stream's timeline.
    pub fn of_timeline(stream: &StreamKey) -> Key {
        Key { segment: u64::MAX - 1, offset: hash(stream) }
    }
}

impl Cached {
    /// Roughly the bytes of memory that it takes.
    fn bytes(&self) -> usize {
        match self {
            Cached::Rows(block) => block.memory_bytes(),
            Cached::Parts(parts) => {
                parts.iter().map(|part| size_of::<Part>() + 16 * (part.removed.len() + part.added.len())).sum()
            }
            Cached::Run(piece) => piece.borrow_dependent().bytes(),
            Cached::Index(_) => size_of::<OpenIndex>() + size_of::<Index<'_>>(),
            Cached::Tail(tail) => tail.bytes(),
            Cached::Timeline(timeline) => timeline.bytes(),
        }
    }
}

#[derive(Default)]
struct Generations {
    young: FxHashMap<Key, (Cached, usize)>,
    young_bytes: usize,
    old: FxHashMap<Key, (Cached, usize)>,
}

impl Generations {
    fn put(&mut self, key: Key, value: Cached, bytes: usize, bytes_max: usize) {
        if self.young_bytes + bytes > bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some((_, before)) = self.young.insert(key, (value, bytes)) {
            self.young_bytes -= before;
        }
    }
}

/// A cache has a part for every so many bytes, so that readers of different blocks seldom wait for each other.
const SHARD_BYTES: usize = 8 << 20;
/// It has so many parts at most.
const SHARDS_MAX: usize = 16;

/// A bounded store of decoded blocks, shared by all readers of one process.
pub struct Cache {
    /// Of one generation of one shard.
    bytes_max: usize,
    shards: Box<[Mutex<Generations>]>,
    shared_rows: SharedRows,
}

/// One part of so many of the bound is for rows that occur in many blocks.
const SHARED_ROWS_PART: usize = 16;

impl Cache {
    /// A cache of at most `bytes_max` bytes of decoded blocks.
    pub fn new(bytes_max: usize) -> Cache {
        let of_shared = bytes_max / SHARED_ROWS_PART;
        let shards = (bytes_max / SHARD_BYTES).clamp(1, SHARDS_MAX);
        let bytes_max = (bytes_max - of_shared) / 2 / shards;
        let shards = std::iter::repeat_with(Mutex::default).take(shards).collect();
        Cache { bytes_max, shards, shared_rows: SharedRows::new(of_shared) }
    }

    /// Rows that occur in many blocks.
    pub fn shared_rows(&self) -> &SharedRows {
        &self.shared_rows
    }

    fn shard(&self, key: &Key) -> &Mutex<Generations> {
        // The upper bits of a product depend on all bits of its factors.
        let mixed = (key.offset ^ key.segment.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 32) as usize % self.shards.len()]
    }

    /// A block, if it is remembered.
    pub fn get(&self, key: &Key) -> Option<Cached> {
        let generations = &mut *self.shard(key).lock();
        if let Some((value, _)) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (value, bytes) = generations.old.remove(key)?;
        // What was read of a run meanwhile is not noted with the old.
        let bytes = if matches!(value, Cached::Run(_) | Cached::Tail(_)) { value.bytes() } else { bytes };
        if bytes <= self.bytes_max {
            generations.put(*key, value.clone(), bytes, self.bytes_max);
        }
        Some(value)
    }

    /// Remembers a block; one that would fill a generation is not kept.
    pub fn put(&self, key: Key, value: Cached) {
        let bytes = value.bytes();
        if bytes <= self.bytes_max {
            self.shard(&key).lock().put(key, value, bytes, self.bytes_max);
        }
    }

    /// Notes that a block takes so many bytes more than when it was put.
    pub fn grow(&self, key: &Key, bytes: usize) {
        let generations = &mut *self.shard(key).lock();
        if let Some((value, before)) = generations.young.remove(key) {
            generations.young_bytes -= before;
            let bytes = before + bytes;
            if bytes <= self.bytes_max {
                generations.put(*key, value, bytes, self.bytes_max);
            }
        }
    }

    /// Counts what shared its bytes with a memtable that may be gone.
    pub fn leave_memtable(&self) {
        for shard in self.shards.iter() {
            let generations = &mut *shard.lock();
            for (value, bytes) in generations.old.values_mut().chain(generations.young.values_mut()) {
                if let Cached::Tail(tail) = value {
                    tail.leave_memtable();
                    *bytes = tail.bytes();
                }
            }
            generations.young_bytes = generations.young.values().map(|(_, bytes)| bytes).sum();
            if generations.young_bytes > self.bytes_max {
                generations.old = std::mem::take(&mut generations.young);
                generations.young_bytes = 0;
            }
            if generations.old.values().map(|(_, bytes)| bytes).sum::<usize>() > self.bytes_max {
                generations.old.clear();
            }
        }
    }

    /// Forgets the blocks of segments that are no more.
    pub fn forget(&self, segments: &[u64]) {
        for shard in self.shards.iter() {
            let generations = &mut *shard.lock();
            generations.old.retain(|key, _| !segments.contains(&key.segment));
            generations.young.retain(|key, _| !segments.contains(&key.segment));
            generations.young_bytes = generations.young.values().map(|(_, bytes)| bytes).sum();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(offset: u64) -> Key {
        Key { segment: 1 + offset % 2, offset }
    }

    fn parts(bytes: usize) -> Cached {
        let count = bytes / size_of::<Part>();
        let part = Part {
            epoch: 0,
            counter: None,
            second: 0,
            whole: true,
            inferred: crate::fact::Inferred::V5_7,
            recorded: 0,
            removed: Vec::new(),
            added: Vec::new(),
        };
        Cached::Parts(Arc::new(vec![part; count]))
    }

    fn held(cache: &Cache) -> usize {
        let of_shard = |shard: &Mutex<Generations>| {
            let generations = shard.lock();
            let of = |all: &FxHashMap<Key, (Cached, usize)>| all.values().map(|(_, bytes)| bytes).sum::<usize>();
            assert_eq!(generations.young_bytes, of(&generations.young));
            of(&generations.young) + of(&generations.old)
        };
        cache.shards.iter().map(of_shard).sum()
    }

    #[test]
    fn the_bound_holds_and_what_is_used_stays() {
        let cache = Cache::new(1 << 20);
        cache.put(key(0), parts(10_000));
        for offset in 1..1_000 {
            cache.put(key(offset), parts(20_000));
            assert!(held(&cache) <= 1 << 20);
            assert!(cache.get(&key(0)).is_some(), "what is asked for often stays");
        }
        assert!(cache.get(&key(1)).is_none(), "what nobody asked for again is forgotten");
        cache.put(key(0), parts(20_000));
        assert!(held(&cache) <= 1 << 20);
    }

    #[test]
    fn what_grows_counts_as_what_it_is() {
        let cache = Cache::new(1 << 20);
        cache.put(key(0), parts(10_000));
        for offset in 1..200 {
            cache.grow(&key(0), 5_000);
            cache.put(key(offset), parts(1_000));
            assert!(held(&cache) <= 1 << 20);
        }
        assert!(cache.get(&key(0)).is_none(), "it would fill a generation");
        cache.grow(&key(5_000), 5_000);
        assert!(held(&cache) <= 1 << 20);
    }

    #[test]
    fn segments_are_forgotten() {
        let cache = Cache::new(32 << 20);
        (0..100).for_each(|offset| cache.put(key(offset), parts(1_000)));
        cache.forget(&[1]);
        for offset in 0..100 {
            assert_eq!(cache.get(&key(offset)).is_some(), key(offset).segment == 2, "{offset}");
        }
        held(&cache);
    }

    #[test]
    fn no_bytes_remember_nothing() {
        let cache = Cache::new(0);
        cache.put(key(0), parts(1_000));
        assert!(cache.get(&key(0)).is_none());
    }
}

//! Decoded blocks are remembered, within a bound.
//!
//! Invariants:
//! - All that is remembered takes no more than the bound; a block that alone would take more than a part of it is not kept.
//! - What is used stays: a block is forgotten only if nobody used it while all parts of the store were gone over.
//!
//! How: the store has parts, so that readers seldom wait for each other, and each part has two generations: what is used
//! lives in the young one. The bound is one for all parts, since what is remembered together may be large. Whenever it is
//! exceeded the next part in turn forgets its old generation, and its young one becomes the old; a block that is used is
//! moved back to the young one.

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
use std::sync::atomic::{AtomicUsize, Ordering};

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
    old: FxHashMap<Key, (Cached, usize)>,
}

impl Generations {
    /// Puts a block into the young generation; tells how many bytes it took before, if it was there.
    fn put(&mut self, key: Key, value: Cached, bytes: usize) -> usize {
        let old = self.old.remove(&key);
        let young = self.young.insert(key, (value, bytes));
        young.into_iter().chain(old).map(|(_, bytes)| bytes).sum()
    }
}

/// How many parts the store has.
const SHARDS: usize = 16;
/// A block that takes more than one part of so many of the bound is not kept.
const BLOCK_PART: usize = 4;

/// A bounded store of decoded blocks, shared by all readers of one process.
pub struct Cache {
    bytes_max: usize,
    bytes: AtomicUsize,
    shards: [Mutex<Generations>; SHARDS],
    /// The part whose turn it is to forget.
    turn: AtomicUsize,
    shared_rows: SharedRows,
}

/// One part of so many of the bound is for rows that occur in many blocks.
const SHARED_ROWS_PART: usize = 16;

impl Cache {
    /// A cache of at most `bytes_max` bytes of decoded blocks.
    pub fn new(bytes_max: usize) -> Cache {
        let of_shared = bytes_max / SHARED_ROWS_PART;
        Cache {
            bytes_max: bytes_max - of_shared,
            bytes: AtomicUsize::new(0),
            shards: std::array::from_fn(|_| Mutex::default()),
            turn: AtomicUsize::new(0),
            shared_rows: SharedRows::new(of_shared),
        }
    }

    /// Rows that occur in many blocks.
    pub fn shared_rows(&self) -> &SharedRows {
        &self.shared_rows
    }

    fn shard(&self, key: &Key) -> &Mutex<Generations> {
        // The upper bits of a product depend on all bits of its factors.
        let mixed = (key.offset ^ key.segment.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        &self.shards[(mixed >> 32) as usize % SHARDS]
    }

    /// Whether a block that takes so many bytes is kept.
    fn keeps(&self, bytes: usize) -> bool {
        bytes <= self.bytes_max / BLOCK_PART
    }

    /// A block, if it is remembered.
    pub fn get(&self, key: &Key) -> Option<Cached> {
        let mut shard = self.shard(key).lock();
        if let Some((value, _)) = shard.young.get(key) {
            return Some(value.clone());
        }
        let (value, before) = shard.old.remove(key)?;
        // What was read of a run meanwhile is not noted with the old.
        let bytes = if matches!(value, Cached::Run(_) | Cached::Tail(_)) { value.bytes() } else { before };
        let keeps = self.keeps(bytes);
        if keeps {
            shard.put(*key, value.clone(), bytes);
        }
        self.count(before, if keeps { bytes } else { 0 });
        drop(shard);
        self.forget_what_is_too_much();
        Some(value)
    }

    /// Remembers a block.
    pub fn put(&self, key: Key, value: Cached) {
        let bytes = value.bytes();
        if self.keeps(bytes) {
            let mut shard = self.shard(&key).lock();
            let before = shard.put(key, value, bytes);
            self.count(before, bytes);
            drop(shard);
            self.forget_what_is_too_much();
        }
    }

    /// Notes that a block takes so many bytes more than when it was put.
    pub fn grow(&self, key: &Key, bytes: usize) {
        let mut shard = self.shard(key).lock();
        if let Some((value, before)) = shard.young.remove(key) {
            let after = before + bytes;
            let keeps = self.keeps(after);
            if keeps {
                shard.put(*key, value, after);
            }
            self.count(before, if keeps { after } else { 0 });
            drop(shard);
            self.forget_what_is_too_much();
        }
    }

    /// Counts what took so many bytes before and takes so many now. Its part is still locked, so that nobody can forget it
    /// before it was counted.
    fn count(&self, before: usize, after: usize) {
        self.bytes.fetch_add(after, Ordering::Relaxed);
        self.bytes.fetch_sub(before, Ordering::Relaxed);
    }

    /// Forgets until the bound holds; no part is locked by who calls.
    fn forget_what_is_too_much(&self) {
        // After every part had its turn twice nothing is left.
        for _ in 0..2 * SHARDS {
            if self.bytes.load(Ordering::Relaxed) <= self.bytes_max {
                return;
            }
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let mut shard = self.shards[turn].lock();
            let young = std::mem::take(&mut shard.young);
            let forgotten = std::mem::replace(&mut shard.old, young);
            self.count(forgotten.values().map(|(_, bytes)| bytes).sum(), 0);
            // Nobody waits while it is freed.
            drop(shard);
        }
    }

    /// Counts what shared its bytes with a memtable that may be gone.
    pub fn leave_memtable(&self) {
        for shard in &self.shards {
            let generations = &mut *shard.lock();
            for (value, bytes) in generations.old.values_mut().chain(generations.young.values_mut()) {
                if let Cached::Tail(tail) = value {
                    tail.leave_memtable();
                    let before = std::mem::replace(bytes, tail.bytes());
                    self.count(before, *bytes);
                }
            }
        }
        self.forget_what_is_too_much();
    }

    /// Forgets the blocks of segments that are no more.
    pub fn forget(&self, segments: &[u64]) {
        for shard in &self.shards {
            let Generations { young, old } = &mut *shard.lock();
            for generation in [young, old] {
                generation.retain(|key, (_, of_block)| {
                    let stays = !segments.contains(&key.segment);
                    self.count(if stays { 0 } else { *of_block }, 0);
                    stays
                });
            }
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
        let of = |all: &FxHashMap<Key, (Cached, usize)>| all.values().map(|(_, bytes)| bytes).sum::<usize>();
        let of_shard = |shard: &Mutex<Generations>| {
            let generations = shard.lock();
            of(&generations.young) + of(&generations.old)
        };
        let held = cache.shards.iter().map(of_shard).sum();
        assert_eq!(held, cache.bytes.load(Ordering::Relaxed));
        held
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
        assert!(cache.get(&key(0)).is_none(), "it takes too much");
        cache.grow(&key(5_000), 5_000);
        assert!(held(&cache) <= 1 << 20);
    }

    #[test]
    fn the_bound_is_one_for_all_parts() {
        let cache = Cache::new(16 << 20);
        for _ in 0..3 {
            for offset in 0..7 {
                cache.put(key(offset), parts(2 << 20));
            }
            assert!((0..7).all(|offset| cache.get(&key(offset)).is_some()), "they fit");
        }
        held(&cache);
        cache.put(key(7), parts(2 << 20));
        assert!(held(&cache) <= 16 << 20);
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

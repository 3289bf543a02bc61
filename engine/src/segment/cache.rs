//! Decoded blocks are remembered, within a bound.
//!
//! Two generations: what is used lives in the young one; when that has filled half the bound it becomes the old one,
//! and the old one is dropped. A block in use is moved back to the young generation, so what is asked for often stays,
//! and one pass over everything costs at most one generation.

use super::index::{Index, OpenIndex};
use super::rows::RowBlock;
use super::run::open::OpenPiece;
use crate::timeline::Part;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
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
}

impl Cache {
    /// A cache of at most `bytes_max` bytes of decoded blocks.
    pub fn new(bytes_max: usize) -> Cache {
        let shards = (bytes_max / SHARD_BYTES).clamp(1, SHARDS_MAX);
        let bytes_max = bytes_max / 2 / shards;
        Cache { bytes_max, shards: std::iter::repeat_with(Mutex::default).take(shards).collect() }
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
        generations.put(*key, value.clone(), bytes, self.bytes_max);
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

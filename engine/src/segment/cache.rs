//! Decoded blocks are remembered, within a bound.
//!
//! Two generations: what is used lives in the young one; when that has filled half the bound it becomes the old one,
//! and the old one is dropped. A block in use is moved back to the young generation, so what is asked for often stays,
//! and one pass over everything costs at most one generation.

use super::rows::RowBlock;
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
    Piece(Arc<Vec<Part>>),
}

#[derive(Default)]
struct Generations {
    young: FxHashMap<Key, (Cached, usize)>,
    young_bytes: usize,
    old: FxHashMap<Key, (Cached, usize)>,
}

impl Generations {
    fn put(&mut self, key: Key, value: Cached, bytes: usize, bytes_max: usize) {
        if self.young_bytes + bytes > bytes_max / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        if self.young.insert(key, (value, bytes)).is_none() {
            self.young_bytes += bytes;
        }
    }
}

/// A bounded store of decoded blocks, shared by all readers of one process.
pub struct Cache {
    bytes_max: usize,
    generations: Mutex<Generations>,
}

impl Cache {
    /// A cache of at most `bytes_max` bytes of decoded blocks.
    pub fn new(bytes_max: usize) -> Cache {
        Cache { bytes_max, generations: Mutex::default() }
    }

    /// A block, if it is remembered.
    pub fn get(&self, key: &Key) -> Option<Cached> {
        let generations = &mut *self.generations.lock();
        if let Some((value, _)) = generations.young.get(key) {
            return Some(value.clone());
        }
        let (value, bytes) = generations.old.remove(key)?;
        generations.put(*key, value.clone(), bytes, self.bytes_max);
        Some(value)
    }

    /// Remembers a block of roughly `bytes` bytes; one that would fill half the cache is not kept.
    pub fn put(&self, key: Key, value: Cached, bytes: usize) {
        if bytes <= self.bytes_max / 2 {
            self.generations.lock().put(key, value, bytes, self.bytes_max);
        }
    }
}

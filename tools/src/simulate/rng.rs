//! The only source of chance: a splitmix64 generator, so that equal options give equal bytes on every machine.
//!
//! Invariants:
//! - Nothing here rounds differently between platforms: integers, and one exact division for [`Rng::chance`].
//! - Each user of chance has a lane of its own, so that delivery faults do not change what happens in the world.

/// A splitmix64 generator.
#[derive(Clone, Debug)]
pub(super) struct Rng(u64);

impl Rng {
    /// The generator of one lane of a seed.
    pub(super) fn new(seed: u64, lane: u64) -> Rng {
        let mut rng = Rng(seed ^ lane.wrapping_mul(0xa076_1d64_78bd_642f));
        rng.next();
        Rng(rng.next() ^ lane)
    }

    /// The next 64 bits.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`; 0 for an empty range.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// A number in `[low, high]`.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True with probability `p`.
    pub(super) fn chance(&mut self, p: f64) -> bool {
        ((self.next() >> 11) as f64 / (1u64 << 53) as f64) < p
    }

    /// An index into something of length `len`.
    pub(super) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of `items`, which is not empty.
    pub(super) fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())]
    }

    /// A waiting time around `mean` seconds: between a quarter and seven quarters of it, at least a second.
    pub(super) fn wait(&mut self, mean: f64) -> u64 {
        let mean = mean.clamp(1.0, 1e9) as u64;
        (mean / 4 + self.below(mean + mean / 2 + 1)).max(1)
    }

    /// The waiting time of somebody who begins to watch what has gone on for long.
    pub(super) fn first_wait(&mut self, mean: f64) -> u64 {
        1 + self.below(mean.clamp(1.0, 1e9) as u64)
    }
}

//! A regular stream in a segment: versions by look ordinal, with keyframes, so that any instant is read without what was
//! before it.
//!
//! Invariants:
//! - The parts of the stream come back exactly as they were delivered.
//! - What is alive after a look is found from one piece, however long the run is; only times and rows of what is alive
//!   are read elsewhere.
//! - Bytes from anywhere give versions or a fault, and never a panic; none is believed before its checksum was verified.
//!
//! Rooms: [`encode`](mod@encode) writes a run, [`piece`] reads one piece where it lies, [`open`] remembers what
//! was read of it; [`stream`] finds the pieces and looks of the whole run, `decode` makes its versions ready for answers,
//! `ask` is what it is asked, `moments` what one that tells what facts mean has beside, and `weigh` tells what takes how
//! much of it.
//!
#![doc = include_str!("run.md")]

mod ask;
mod decode;
pub mod encode;
pub mod moments;
pub mod open;
pub mod piece;
pub(crate) mod salvage;
pub mod stream;
mod weigh;

/// Versions in one block at most.
pub const BLOCK_VERSIONS_MAX: usize = 256;
/// The weight at which a piece may end: one for a look and [`VERSION_WEIGHT`] for a version, about bytes.
pub const PIECE_WEIGHT_MIN: usize = 12 << 10;
/// See [`PIECE_WEIGHT_MIN`].
pub const VERSION_WEIGHT: usize = 6;
/// A keyframe is written when the blocks since the last weigh more than so many times as much.
pub const KEYFRAME_WEIGHT: usize = 3;
/// A piece ends before a look that leaves less than one in so many alive, and a block of versions less.
pub const SHRUNK: usize = 3;
/// What a decoder accepts at most: looks, and versions of one run.
pub const RUN_MAX: u64 = 1 << 31;

/// In the column `flags`: one line held the whole look.
const FLAG_WHOLE: u64 = 1;
/// In the column `flags`: where the inferred version begins.
const INFERRED_SHIFT: u32 = 1;

/// How many blocks so many versions take.
const fn blocks_of(versions: usize) -> usize {
    if versions == 0 { 1 } else { versions.div_ceil(BLOCK_VERSIONS_MAX) }
}

#[cfg(test)]
mod tests;

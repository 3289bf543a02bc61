#![doc = include_str!("packing.md")]
//!
//! # In this folder
//!
//! `learn` makes a [`Dictionary`] of a sample (`grow` finds the shapes), `pack` makes blocks (`matcher` finds the shape
//! of a text), `block` reads them (`rows` whole rows, one or several at once), `weigh` tells what each
//! column takes of them. `numbers` are columns of integers, `ranked` bits that are counted, `tokens` is what texts
//! are made of, `arena` copies short texts.
//!
//! Invariants:
//! - What was packed is read back byte for byte, whatever the rows and whatever the sample was.
//! - One row is read without the others: opening a block costs nothing per row, and a row no more than the records of
//!   the few rows since the last sampled one.
//! - Bytes from anywhere never panic, and opening or reading allocates no more than follows from the bytes' length.
//! - Whether a row is like others changes its size and never its content: what fits nothing is kept as it is.

/// The most rows of a block.
pub const BLOCK_ROWS_MAX: usize = 256;
/// The most groups of columns with a code of their own.
pub(crate) const GROUPS_MAX: usize = 4;
/// The most columns that a dictionary knows.
pub(crate) const COLUMNS_MAX: usize = 1024;
/// The most columns of integers.
pub(crate) const NUMBERS_MAX: usize = 16;
/// The most combinations of a group.
pub(crate) const ENTRIES_MAX: usize = 1 << 16;
/// The most bytes of a dictionary as it is written, before zstd.
pub(crate) const MEMORY_BYTES_MAX: usize = 4 << 20;
/// The most shapes that are learned, of all columns.
pub(crate) const SHAPES_MAX: usize = 1 << 14;
/// Columns with longer names are not known.
pub(crate) const NAME_BYTES_MAX: usize = 255;
/// Of so many records the place of the one in the middle is told.
pub(crate) const SAMPLED_ROWS: usize = 16;
/// The most bytes that a byte of a frame may stand for.
pub(crate) const ZSTD_RATIO_MAX: u64 = 1024;

mod arena;
mod block;
mod cells;
mod dictionary;
mod grow;
mod learn;
mod matcher;
mod numbers;
mod pack;
mod ranked;
mod reader;
mod rows;
mod tokens;
mod weigh;

pub use block::Block;
pub use dictionary::Dictionary;
pub use learn::Learner;
pub use pack::Packer;
pub use rows::RowsScratch;
pub use weigh::{ColumnWeight, ColumnWeights, weigh};

/// Which rows of a block appeared at which look.
#[derive(Clone, Copy, Debug)]
pub struct Looks<'a> {
    /// The first row of each look: ascending, the first is 0.
    pub starts: &'a [u32],
    /// The second of each look.
    pub seconds: &'a [i64],
}

impl Looks<'_> {
    /// Rows that belong to no look.
    pub const NONE: Looks<'static> = Looks { starts: &[0], seconds: &[0] };

    /// Where row `i` appeared.
    #[inline]
    fn at(&self, i: usize) -> numbers::At {
        let look = self.starts.partition_point(|start| *start as usize <= i).saturating_sub(1);
        let second = self.seconds.get(look).copied().unwrap_or(0);
        numbers::At { look, start: self.starts.get(look).map_or(0, |start| *start as usize), second }
    }

    /// Whether these are looks of so many rows.
    fn fit(&self, rows: usize) -> bool {
        self.starts.len() == self.seconds.len()
            && self.starts.first() == Some(&0)
            && self.starts.is_sorted_by(|a, b| a < b)
            && self.starts.last().is_some_and(|last| (*last as usize) < rows)
    }

    /// The rows of each look.
    fn ranges(&self, rows: usize) -> impl Iterator<Item = (usize, usize)> {
        let ends = self.starts.iter().skip(1).map(|start| *start as usize).chain([rows]);
        self.starts.iter().map(|start| *start as usize).zip(ends)
    }
}

#[cfg(test)]
mod tests;

//! Distinct rows become blocks of columns, and come back one at a time.
//!
//! A block holds up to [`ROWS_MAX`] rows. Each column that any of them has is one text column in which rows without it
//! are absent, so a block restores rows of different shapes exactly.

use crate::bytes::equal;
use crate::codec::texts::{self, Texts};
use crate::codec::{Effort, Fault, finish, take, take_between, varint};
use crate::fact::Name;
use crate::row::{Row, RowBuilder};
use std::sync::Arc;

/// Rows in one block at most.
pub const ROWS_MAX: usize = 1024;
/// Canonical bytes of rows in one block after which no further row is taken in.
pub const ROWS_BYTES_MAX: usize = 1 << 20;
/// What a decoder accepts at most: columns of a block.
pub const COLUMNS_MAX: u64 = 1 << 20;
/// What a decoder accepts at most: bytes of text in one column. A row's text is at most a line, 64 MiB.
pub const TEXT_BYTES_MAX: usize = 1 << 30;

/// A block whose canonical rows are longer is restored row by row only. Well above [`ROWS_BYTES_MAX`].
const RESTORED_BYTES_MAX: usize = 4 << 20;

/// The texts of one column, row by row.
type OfRows<'r> = Vec<Option<&'r [u8]>>;

/// Appends a block of rows.
pub fn encode<'r>(rows: impl Iterator<Item = &'r Row> + Clone, effort: Effort, out: &mut Vec<u8>) {
    let count = rows.clone().count();
    debug_assert!(count <= ROWS_MAX);
    // By name. Rows mostly have the same columns, so the next column is mostly the next in the list.
    let mut columns: Vec<(&[u8], OfRows<'_>)> = Vec::new();
    for (i, row) in rows.enumerate() {
        let mut at = 0;
        for (name, text) in row.columns() {
            loop {
                match columns.get(at) {
                    Some(column) if equal(column.0, name) => break,
                    Some(column) if column.0 < name => at += 1,
                    _ => columns.insert(at, (name, Vec::with_capacity(count))),
                }
            }
            let texts = &mut columns[at].1;
            if texts.len() < i {
                texts.resize(i, None);
            }
            texts.push(Some(text));
            at += 1;
        }
    }
    varint::put_u64(out, count as u64);
    varint::put_u64(out, columns.len() as u64);
    for (name, texts) in &mut columns {
        texts.resize(count, None);
        varint::put_u64(out, name.len() as u64);
        out.extend_from_slice(name);
        texts::encode(texts, effort, out);
    }
}

/// A decoded block of rows.
pub struct RowBlock {
    rows: usize,
    /// By name.
    columns: Vec<(Name, Texts)>,
}

impl RowBlock {
    /// Reads a block back.
    pub fn decode(mut bytes: &[u8]) -> Result<RowBlock, Fault> {
        let bytes = &mut bytes;
        let rows = take_between(bytes, 0, ROWS_MAX as u64)? as usize;
        let count = take_between(bytes, 0, COLUMNS_MAX)?;
        let mut columns: Vec<(Name, Texts)> = Vec::new();
        for i in 0..count {
            let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
            let name = take(bytes, len)?;
            if columns.last().is_some_and(|(last, _)| **last >= *name) {
                return Err(Fault::Order { previous: i.saturating_sub(1), found: i });
            }
            let texts = texts::decode(bytes, rows, TEXT_BYTES_MAX)?;
            columns.push((Name::from(name), texts));
        }
        finish(bytes)?;
        Ok(RowBlock { rows, columns })
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Restores a row, which must be below [`RowBlock::len`].
    pub fn row(&self, at: usize, builder: &mut RowBuilder) -> Row {
        builder.clear();
        for (name, texts) in &self.columns {
            if let Some(text) = texts.get(at) {
                builder.column(name, text);
            }
        }
        builder.row()
    }

    /// Restores all rows, unless they are too long to be kept together.
    pub(super) fn restore(&self) -> Option<Restored> {
        let mut leads = Vec::with_capacity(self.columns.len());
        for (name, _) in &self.columns {
            let mut lead = Vec::with_capacity(name.len() + 1);
            varint::put_u64(&mut lead, name.len() as u64);
            lead.extend_from_slice(name);
            leads.push(lead);
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(self.rows));
        for at in 0..self.rows {
            for ((_, texts), lead) in self.columns.iter().zip(&leads) {
                if let Some(text) = texts.get(at) {
                    bytes.extend_from_slice(lead);
                    varint::put_u64(&mut bytes, text.len() as u64);
                    bytes.extend_from_slice(text);
                }
            }
            if bytes.len() > RESTORED_BYTES_MAX {
                return None;
            }
            ends.push(bytes.len() as u32);
        }
        Some(Restored { buffer: Arc::from(bytes), ends })
    }

    /// Roughly how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        self.columns.iter().map(|(name, texts)| name.len() + 64 + texts.memory_bytes()).sum::<usize>() + 64
    }
}

/// All rows of a block, in a buffer that they share.
pub(super) struct Restored {
    buffer: Arc<[u8]>,
    ends: Vec<u32>,
}

impl Restored {
    /// One of the rows; it keeps the buffer.
    pub(super) fn row(&self, at: usize) -> Row {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        Row::of_buffer(&self.buffer, start..self.ends[at])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Rows of any shape come back.
        #[test]
        fn rows_survive(rows in proptest::collection::vec(
            proptest::collection::btree_map("[ab]{0,2}", proptest::collection::vec(any::<u8>(), 0..4), 0..4), 0..20)
        ) {
            let mut builder = RowBuilder::new();
            let rows: Vec<Row> = rows.iter().map(|row| {
                builder.clear();
                row.iter().for_each(|(name, text)| builder.column(name.as_bytes(), text));
                builder.row()
            }).collect();
            let mut bytes = Vec::new();
            encode(rows.iter(), Effort::Zstd(3), &mut bytes);
            let block = RowBlock::decode(&bytes).unwrap();
            prop_assert_eq!(block.len(), rows.len());
            let restored = block.restore().unwrap();
            for (i, row) in rows.iter().enumerate() {
                prop_assert_eq!(&block.row(i, &mut builder), row);
                prop_assert_eq!(&restored.row(i), row);
            }
        }
    }
}

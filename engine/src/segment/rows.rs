//! Distinct rows become blocks of columns, and come back one at a time.
//!
//! A block holds up to [`ROWS_MAX`] rows. Each column that any of them has is one text column in which rows without it
//! are absent, so a block restores rows of different shapes exactly. Where haste is worth more than bytes the rows are
//! [`listed`] instead.

use super::listed;
use crate::bytes::begins;
use crate::codec::texts::{self, Texts};
use crate::codec::{Fault, finish, take, take_between, take_u8, varint};
use crate::fact::Name;
use crate::packing::ColumnWeights;
use crate::row::{Row, RowBuilder, take_text};
use std::ops::Range;
use std::sync::Arc;

/// Rows in one block at most.
pub const ROWS_MAX: usize = 1024;
/// Canonical bytes of rows in one block after which no further row is taken in.
pub const ROWS_BYTES_MAX: usize = 1 << 20;
/// A row with more columns than this stands in a block of its own: a block of columns takes room for all of its rows in each.
pub const ROW_COLUMNS_MAX: usize = 4096;
/// What a decoder accepts at most: columns of a block. A line has no more, since each takes eight of its bytes at least.
pub const COLUMNS_MAX: u64 = 1 << 23;
/// What a decoder accepts at most: bytes of text in one column. A row's text is at most a line, 64 MiB.
pub const TEXT_BYTES_MAX: usize = 1 << 30;

/// The form of a block of columns.
pub const FORM_COLUMNS: u8 = 0;
/// The form of a block whose rows are listed.
pub const FORM_LISTED: u8 = 1;

/// A block whose canonical rows are longer is restored row by row only. Well above [`ROWS_BYTES_MAX`].
const RESTORED_BYTES_MAX: usize = 4 << 20;

/// A column of rows.
struct Column<'r> {
    /// The length of the name, and the name.
    head: &'r [u8],
    name: &'r [u8],
    /// Row by row.
    texts: Vec<Option<&'r [u8]>>,
}

/// Appends a block of columns; `level` is zstd's.
pub fn encode<'r>(rows: impl Iterator<Item = &'r Row> + Clone, level: i32, out: &mut Vec<u8>) {
    let count = rows.clone().count();
    debug_assert!(count <= ROWS_MAX);
    // By name. Rows mostly have the same columns, so the next column is mostly the next in the list.
    let mut columns: Vec<Column<'_>> = Vec::new();
    for (i, row) in rows.enumerate() {
        let (mut at, mut rest) = (0, row.as_bytes());
        while !rest.is_empty() {
            match columns.get(at) {
                Some(column) if begins(rest, column.head) => rest = &rest[column.head.len()..],
                _ => {
                    let before = rest;
                    let Some(name) = take_text(&mut rest) else { break };
                    let is_before = |column: &Column<'_>| column.name < name;
                    at += columns[at..].partition_point(is_before);
                    if columns.get(at).is_none_or(|column| column.name != name) {
                        let head = &before[..before.len() - rest.len()];
                        columns.insert(at, Column { head, name, texts: Vec::with_capacity(count) });
                    }
                }
            }
            let Some(text) = take_text(&mut rest) else { break };
            let texts = &mut columns[at].texts;
            if texts.len() < i {
                texts.resize(i, None);
            }
            texts.push(Some(text));
            at += 1;
        }
    }
    out.push(FORM_COLUMNS);
    varint::put_u64(out, count as u64);
    varint::put_u64(out, columns.len() as u64);
    for Column { head, texts, .. } in &mut columns {
        texts.resize(count, None);
        out.extend_from_slice(head);
        texts::encode(texts, level, out);
    }
}

/// Appends a block of listed rows, and begins the next.
pub fn encode_listed(rows: &mut listed::Rows, out: &mut Vec<u8>) {
    out.push(FORM_LISTED);
    rows.finish(out);
}

/// A decoded block of rows.
pub struct RowBlock {
    rows: usize,
    content: Content,
}

enum Content {
    /// By name.
    Columns(Vec<(Name, Texts)>),
    Listed(Restored),
}

impl RowBlock {
    /// Reads a block back. `room` is where listed rows are put together.
    pub fn decode(mut bytes: &[u8], room: &mut Vec<u8>) -> Result<RowBlock, Fault> {
        let bytes = &mut bytes;
        match take_u8(bytes)? {
            FORM_COLUMNS => RowBlock::decode_columns(bytes),
            FORM_LISTED => {
                let ends = listed::decode_rows(bytes, ROWS_MAX, room)?;
                let buffer = Arc::from(&room[..ends.last().map_or(0, |end| *end as usize)]);
                Ok(RowBlock { rows: ends.len(), content: Content::Listed(Restored { buffer, ends: Arc::from(ends) }) })
            }
            found => Err(Fault::Tag { found }),
        }
    }

    fn decode_columns(bytes: &mut &[u8]) -> Result<RowBlock, Fault> {
        let mut columns: Vec<(Name, Texts)> = Vec::new();
        let rows = each_column(bytes, |name, texts, _| columns.push((Name::from(name), texts)))?;
        Ok(RowBlock { rows, content: Content::Columns(columns) })
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
        match &self.content {
            Content::Listed(rows) => Row::from_builder_bytes(&rows.buffer[rows.range(at)]),
            Content::Columns(columns) => {
                builder.clear();
                for (name, texts) in columns {
                    if let Some(text) = texts.get(at) {
                        builder.column(name, text);
                    }
                }
                builder.row()
            }
        }
    }

    /// Restores all rows, unless they are too long to be kept together.
    pub(super) fn restore(&self) -> Option<Restored> {
        let columns = match &self.content {
            Content::Listed(rows) => return (rows.buffer.len() <= RESTORED_BYTES_MAX).then(|| rows.clone()),
            Content::Columns(columns) => columns,
        };
        let mut leads = Vec::with_capacity(columns.len());
        for (name, _) in columns {
            let mut lead = Vec::with_capacity(name.len() + 1);
            varint::put_u64(&mut lead, name.len() as u64);
            lead.extend_from_slice(name);
            leads.push(lead);
        }
        let (mut bytes, mut ends) = (Vec::with_capacity(ROWS_BYTES_MAX / 4), Vec::with_capacity(self.rows));
        for at in 0..self.rows {
            for ((_, texts), lead) in columns.iter().zip(&leads) {
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
        Some(Restored { buffer: Arc::from(bytes), ends: Arc::from(ends) })
    }

    /// Roughly how much memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let content = match &self.content {
            Content::Listed(rows) => rows.buffer.len() + 4 * rows.ends.len(),
            Content::Columns(columns) => {
                columns.iter().map(|(name, texts)| name.len() + 64 + texts.memory_bytes()).sum::<usize>()
            }
        };
        content + 64
    }
}

/// Gives the columns of a block, each with how many bytes it takes; tells how many rows there are.
fn each_column(bytes: &mut &[u8], mut each: impl FnMut(&[u8], Texts, usize)) -> Result<usize, Fault> {
    let rows = take_between(bytes, 0, ROWS_MAX as u64)? as usize;
    let count = take_between(bytes, 0, COLUMNS_MAX)?;
    let mut last: Option<&[u8]> = None;
    for i in 0..count {
        let before = bytes.len();
        let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
        let name = take(bytes, len)?;
        if last.replace(name).is_some_and(|last| last >= name) {
            return Err(Fault::Order { previous: i.saturating_sub(1), found: i });
        }
        let texts = texts::decode(bytes, rows, TEXT_BYTES_MAX)?;
        each(name, texts, before - bytes.len());
    }
    finish(bytes)?;
    Ok(rows)
}

/// Adds what each column of a block takes; of listed rows that is their texts. `room` is as in [`RowBlock::decode`].
pub(super) fn weigh(mut bytes: &[u8], room: &mut Vec<u8>, weights: &mut ColumnWeights) -> Result<(), Fault> {
    let bytes = &mut bytes;
    match take_u8(bytes)? {
        FORM_COLUMNS => {
            each_column(bytes, |name, texts, taken| {
                let weight = weights.entry(Name::from(name)).or_default();
                for text in texts.iter().flatten() {
                    weight.rows += 1;
                    weight.text_bytes += text.len() as u64;
                }
                weight.bits += 8 * taken as u64;
            })?;
        }
        FORM_LISTED => {
            let ends = listed::decode_rows(bytes, ROWS_MAX, room)?;
            let mut rest = &room[..ends.last().map_or(0, |end| *end as usize)];
            while let Some((name, text)) = take_text(&mut rest).and_then(|name| Some((name, take_text(&mut rest)?))) {
                let weight = weights.entry(Name::from(name)).or_default();
                weight.rows += 1;
                weight.text_bytes += text.len() as u64;
                weight.bits += 8 * (varint::len_u64(text.len() as u64) + text.len()) as u64;
            }
        }
        found => return Err(Fault::Tag { found }),
    }
    Ok(())
}

/// All rows of a block, in a buffer that they share.
#[derive(Clone)]
pub(super) struct Restored {
    buffer: Arc<[u8]>,
    ends: Arc<[u32]>,
}

impl Restored {
    /// One of the rows; it keeps the buffer.
    pub(super) fn row(&self, at: usize) -> Row {
        let Range { start, end } = self.range(at);
        Row::of_buffer(&self.buffer, start as u32..end as u32)
    }

    fn range(&self, at: usize) -> Range<usize> {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        start as usize..self.ends[at] as usize
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
            let (mut bytes, mut listing, mut listed) = (Vec::new(), listed::Rows::default(), Vec::new());
            encode(rows.iter(), 3, &mut bytes);
            rows.iter().for_each(|row| listing.row(row.as_bytes()));
            encode_listed(&mut listing, &mut listed);
            for bytes in [bytes, listed] {
                let block = RowBlock::decode(&bytes, &mut Vec::new()).unwrap();
                prop_assert_eq!(block.len(), rows.len());
                let restored = block.restore().unwrap();
                for (i, row) in rows.iter().enumerate() {
                    prop_assert_eq!(&block.row(i, &mut builder), row);
                    prop_assert_eq!(&restored.row(i), row);
                }
            }
        }
    }
}

//! Columns become a row.
//!
//! Invariant: the columns' order tells nothing, and of a name given twice the last text counts.

use super::Row;
use crate::codec::varint;

/// Builds canonical rows; one builder is reused for many rows and allocates only when a row outgrows it.
///
/// Agents write columns in order of their names, so the canonical bytes are made as columns arrive, and made again in
/// order only if one came out of order or twice.
#[derive(Default)]
pub struct RowBuilder {
    /// The columns as they came, each in canonical form.
    bytes: Vec<u8>,
    /// (start of the column, start of its name, end of its name, end of the column) in `bytes`.
    columns: Vec<(usize, usize, usize, usize)>,
    out_of_order: bool,
    sorted: Vec<u8>,
}

impl RowBuilder {
    /// An empty builder.
    pub fn new() -> RowBuilder {
        RowBuilder::default()
    }

    /// Forgets the row under construction.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.columns.clear();
        self.out_of_order = false;
    }

    /// Adds a column; of a name given twice the last text counts.
    pub fn column(&mut self, name: &[u8], text: &[u8]) {
        let start = self.bytes.len();
        varint::put_u64(&mut self.bytes, name.len() as u64);
        let name_start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        let name_end = self.bytes.len();
        varint::put_u64(&mut self.bytes, text.len() as u64);
        self.bytes.extend_from_slice(text);
        if let Some(&(_, from, to, _)) = self.columns.last() {
            self.out_of_order |= self.bytes[from..to] >= *name;
        }
        self.columns.push((start, name_start, name_end, self.bytes.len()));
    }

    /// The canonical bytes of the columns added since the last [`clear`](RowBuilder::clear).
    pub fn canonical(&mut self) -> &[u8] {
        if !self.out_of_order {
            return &self.bytes;
        }
        let bytes = &self.bytes;
        let name = |c: &(usize, usize, usize, usize)| &bytes[c.1..c.2];
        self.columns.sort_unstable_by(|a, b| name(a).cmp(name(b)).then(a.0.cmp(&b.0)));
        self.sorted.clear();
        for (i, column) in self.columns.iter().enumerate() {
            if self.columns.get(i + 1).is_none_or(|next| name(next) != name(column)) {
                self.sorted.extend_from_slice(&bytes[column.0..column.3]);
            }
        }
        &self.sorted
    }

    /// The row of the columns added since the last [`clear`](RowBuilder::clear).
    pub fn row(&mut self) -> Row {
        Row::whole(self.canonical())
    }
}

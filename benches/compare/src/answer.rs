//! What a peer answers with: rows of cells, either only touched (while the clock runs) or kept to be compared.
//!
//! Invariants:
//! - Every peer hands over every cell of its answer, so none is paid for less than another; how the cells are gone over is
//!   the peer's affair: row by row, column by column, or on several threads, whichever its interface does best.
//! - A kept row is one string whatever the peer's types: numbers in decimal, cells parted by U+001F, no value as U+0000.

use crate::fleet::OPEN_END;
use rustc_hash::FxHashMap;

/// Parts the cells of a kept row.
const CELL_END: char = '\u{1f}';

/// What takes the cells of an answer.
pub(crate) trait Cells: Default + Send {
    /// Whether they are kept to be compared; else only touched.
    const KEPT: bool;

    /// A number.
    fn int(&mut self, value: i64);

    /// A text.
    fn text(&mut self, text: &[u8]);

    /// No value.
    fn null(&mut self);

    /// The row is complete.
    fn end(&mut self);

    /// Takes over what others took.
    fn append(&mut self, others: Self);

    /// The end of a version, or null if it has not ended.
    #[inline]
    fn to(&mut self, to: i64) {
        if Self::KEPT && to == OPEN_END { self.null() } else { self.int(to) }
    }
}

/// Cells that were only touched.
#[derive(Clone, Copy, Default)]
pub(crate) struct Touched {
    rows: u64,
    cells: u64,
}

impl Touched {
    /// How many rows there were, and what keeps the compiler from leaving out the touching.
    pub(crate) fn both(self) -> (u64, u64) {
        (self.rows, self.cells)
    }
}

impl Cells for Touched {
    const KEPT: bool = false;

    #[inline]
    fn int(&mut self, value: i64) {
        self.cells = self.cells.wrapping_add(value as u64);
    }

    #[inline]
    fn text(&mut self, text: &[u8]) {
        let last = text.last().copied().unwrap_or(0);
        self.cells = self.cells.wrapping_add(text.len() as u64 ^ u64::from(last));
    }

    #[inline]
    fn null(&mut self) {}

    #[inline]
    fn end(&mut self) {
        self.rows += 1;
    }

    fn append(&mut self, others: Touched) {
        self.rows += others.rows;
        self.cells = self.cells.wrapping_add(others.cells);
    }
}

/// Rows to be compared.
#[derive(Default)]
pub(crate) struct Kept {
    kept: Vec<String>,
    row: String,
}

impl Cells for Kept {
    const KEPT: bool = true;

    fn int(&mut self, value: i64) {
        self.row.push_str(&value.to_string());
        self.row.push(CELL_END);
    }

    fn text(&mut self, text: &[u8]) {
        self.row.push_str(&String::from_utf8_lossy(text));
        self.row.push(CELL_END);
    }

    fn null(&mut self) {
        self.row.push('\0');
        self.row.push(CELL_END);
    }

    fn end(&mut self) {
        self.kept.push(std::mem::take(&mut self.row));
    }

    fn append(&mut self, others: Kept) {
        self.kept.extend(others.kept);
    }
}

/// The rows of one answer.
pub(crate) enum Rows {
    /// To be compared.
    Kept(Kept),
    /// Only touched.
    Touched(Touched),
}

impl Default for Rows {
    fn default() -> Rows {
        Rows::Touched(Touched::default())
    }
}

impl Rows {
    /// Rows to be compared.
    pub(crate) fn kept() -> Rows {
        Rows::Kept(Kept::default())
    }

    /// A number.
    #[inline]
    pub(crate) fn int(&mut self, value: i64) {
        match self {
            Rows::Kept(kept) => kept.int(value),
            Rows::Touched(touched) => touched.int(value),
        }
    }

    /// The end of a version, or null if it has not ended.
    #[inline]
    pub(crate) fn to(&mut self, to: i64) {
        match self {
            Rows::Kept(kept) => kept.to(to),
            Rows::Touched(touched) => touched.to(to),
        }
    }

    /// A text.
    #[inline]
    pub(crate) fn text(&mut self, text: &[u8]) {
        match self {
            Rows::Kept(kept) => kept.text(text),
            Rows::Touched(touched) => touched.text(text),
        }
    }

    /// No value.
    #[inline]
    pub(crate) fn null(&mut self) {
        match self {
            Rows::Kept(kept) => kept.null(),
            Rows::Touched(touched) => touched.null(),
        }
    }

    /// The row is complete.
    #[inline]
    pub(crate) fn end(&mut self) {
        match self {
            Rows::Kept(kept) => kept.end(),
            Rows::Touched(touched) => touched.end(),
        }
    }

    fn into_kept(self) -> Vec<String> {
        match self {
            Rows::Kept(kept) => kept.kept,
            Rows::Touched(_) => Vec::new(),
        }
    }

    /// The rows in a fixed order.
    pub(crate) fn sorted(self) -> Vec<String> {
        let mut kept = self.into_kept();
        kept.sort_unstable();
        kept
    }

    /// The same for the rows of a diff, less those that are equal on both sides: a row that left and came back.
    pub(crate) fn net(self) -> Vec<String> {
        let mut net: FxHashMap<String, i64> = FxHashMap::default();
        for row in self.into_kept() {
            let (action, row) = row.split_once(CELL_END).expect("a diff's rows begin with their action");
            *net.entry(row.to_owned()).or_default() += if action == "1" { 1 } else { -1 };
        }
        let mut rows = Vec::new();
        for (row, copies) in net {
            let action = i64::from(copies > 0);
            let row = format!("{action}{CELL_END}{row}");
            rows.extend(std::iter::repeat_n(row, copies.unsigned_abs() as usize));
        }
        rows.sort_unstable();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(changes: &[(i64, &str)]) -> Vec<String> {
        let mut rows = Rows::kept();
        for (action, text) in changes {
            rows.int(*action);
            rows.text(text.as_bytes());
            rows.end();
        }
        rows.net()
    }

    #[test]
    fn what_left_and_came_back_is_no_difference() {
        assert_eq!(diff(&[(0, "a"), (1, "b"), (1, "a")]), diff(&[(1, "b")]));
        assert_ne!(diff(&[(0, "a")]), diff(&[(1, "a")]));
    }

    #[test]
    fn nothing_is_not_the_empty_text_and_a_number_is_its_decimals() {
        let row = |fill: &dyn Fn(&mut Rows)| {
            let mut rows = Rows::kept();
            fill(&mut rows);
            rows.end();
            rows.sorted()
        };
        assert_ne!(row(&|rows| rows.null()), row(&|rows| rows.text(b"")));
        assert_eq!(row(&|rows| rows.int(-7)), row(&|rows| rows.text(b"-7")));
        assert_eq!(row(&|rows| rows.to(OPEN_END)), row(&|rows| rows.null()));
    }
}

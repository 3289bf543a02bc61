//! What a peer answers with: rows of cells, either only touched (while the clock runs) or kept to be compared.
//!
//! Invariants:
//! - Every peer hands over every cell of its answer, so none is paid for less than another.
//! - A kept row is one string whatever the peer's types: numbers in decimal, cells parted by U+001F, no value as U+0000.

use crate::fleet::OPEN_END;
use rustc_hash::FxHashMap;

/// Parts the cells of a kept row.
const CELL_END: char = '\u{1f}';

/// The rows of one answer.
#[derive(Default)]
pub(crate) struct Rows {
    keep: bool,
    kept: Vec<String>,
    row: String,
    count: u64,
    touched: u64,
}

impl Rows {
    /// Rows to be compared.
    pub(crate) fn kept() -> Rows {
        Rows { keep: true, ..Rows::default() }
    }

    /// Whether the rows are to be compared; else only touched.
    pub(crate) fn keeps(&self) -> bool {
        self.keep
    }

    /// A number.
    #[inline]
    pub(crate) fn int(&mut self, value: i64) {
        if self.keep {
            self.row.push_str(&value.to_string());
            self.row.push(CELL_END);
        } else {
            self.touched = self.touched.wrapping_add(value as u64);
        }
    }

    /// The end of a version, or null if it has not ended.
    #[inline]
    pub(crate) fn to(&mut self, to: i64) {
        if self.keep && to == OPEN_END { self.null() } else { self.int(to) }
    }

    /// A text.
    #[inline]
    pub(crate) fn text(&mut self, text: &[u8]) {
        if self.keep {
            self.row.push_str(&String::from_utf8_lossy(text));
            self.row.push(CELL_END);
        } else {
            let last = text.last().copied().unwrap_or(0);
            self.touched = self.touched.wrapping_add(text.len() as u64 ^ u64::from(last));
        }
    }

    /// No value.
    #[inline]
    pub(crate) fn null(&mut self) {
        if self.keep {
            self.row.push('\0');
            self.row.push(CELL_END);
        }
    }

    /// The row is complete.
    #[inline]
    pub(crate) fn end(&mut self) {
        self.count += 1;
        if self.keep {
            self.kept.push(std::mem::take(&mut self.row));
        }
    }

    /// How many rows there were, and what keeps the compiler from leaving out the touching.
    pub(crate) fn touched(&self) -> (u64, u64) {
        (self.count, self.touched)
    }

    /// The rows in a fixed order.
    pub(crate) fn sorted(mut self) -> Vec<String> {
        self.kept.sort_unstable();
        self.kept
    }

    /// The same for the rows of a diff, less those that are equal on both sides: a row that left and came back.
    pub(crate) fn net(mut self) -> Vec<String> {
        let mut net: FxHashMap<String, i64> = FxHashMap::default();
        for row in self.kept.drain(..) {
            let (action, row) = row.split_once(CELL_END).expect("a diff's rows begin with their action");
            *net.entry(row.to_owned()).or_default() += if action == "1" { 1 } else { -1 };
        }
        for (row, copies) in net {
            let action = i64::from(copies > 0);
            let row = format!("{action}{CELL_END}{row}");
            self.kept.extend(std::iter::repeat_n(row, copies.unsigned_abs() as usize));
        }
        self.sorted()
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

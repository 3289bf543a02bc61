//! One row as the machine knows it: columns in alphabetical order, each a number or bytes.
//!
//! Invariants:
//! - Rows are equal when their cells are; the hash is only a shortcut.
//! - Column order is alphabetical, as osquery writes it.

use std::sync::Arc;

/// One value: what SQLite would call an integer or a text, which need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cell {
    Int(i64),
    Text(Box<[u8]>),
}

impl Cell {
    /// The value as text.
    pub(super) fn text(&self) -> std::borrow::Cow<'_, [u8]> {
        match self {
            Cell::Int(n) => n.to_string().into_bytes().into(),
            Cell::Text(text) => (&**text).into(),
        }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.as_bytes().into())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text.into_bytes().into())
    }
}

impl From<&[u8]> for Cell {
    fn from(text: &[u8]) -> Cell {
        Cell::Text(text.into())
    }
}

impl From<Vec<u8>> for Cell {
    fn from(text: Vec<u8>) -> Cell {
        Cell::Text(text.into())
    }
}

impl From<u64> for Cell {
    fn from(n: u64) -> Cell {
        Cell::Int(n as i64)
    }
}

impl From<i32> for Cell {
    fn from(n: i32) -> Cell {
        Cell::Int(i64::from(n))
    }
}

#[derive(Debug)]
struct Inner {
    hash: u64,
    /// Some text holds a byte outside printable ASCII, so that agents may write it differently.
    odd: bool,
    cells: Box<[(&'static str, Cell)]>,
}

/// A shared row.
#[derive(Clone, Debug)]
pub(super) struct Row(Arc<Inner>);

impl Row {
    /// Makes a row of columns in any order; names do not repeat.
    pub(super) fn new(mut cells: Vec<(&'static str, Cell)>) -> Row {
        cells.sort_by_key(|cell| cell.0);
        debug_assert!(cells.windows(2).all(|pair| pair[0].0 < pair[1].0));
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut odd = false;
        let mut mix = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        for (name, cell) in &cells {
            name.bytes().for_each(&mut mix);
            match cell {
                Cell::Int(n) => n.to_le_bytes().into_iter().for_each(&mut mix),
                Cell::Text(text) => {
                    odd |= text.iter().any(|&byte| !(0x20..0x80).contains(&byte));
                    text.iter().copied().for_each(&mut mix);
                }
            }
            mix(0xff);
        }
        Row(Arc::new(Inner { hash, odd, cells: cells.into() }))
    }

    /// The columns by name.
    pub(super) fn cells(&self) -> &[(&'static str, Cell)] {
        &self.0.cells
    }

    /// Whether some text is not all printable ASCII.
    pub(super) fn is_odd(&self) -> bool {
        self.0.odd
    }

    /// The row without one column.
    pub(super) fn without(&self, column: &str) -> Row {
        Row::new(self.cells().iter().filter(|cell| cell.0 != column).cloned().collect())
    }

    /// The row with every text rewritten.
    pub(super) fn map_text(&self, mut rewrite: impl FnMut(&[u8]) -> Vec<u8>) -> Row {
        let cell = |cell: &Cell, rewrite: &mut dyn FnMut(&[u8]) -> Vec<u8>| match cell {
            Cell::Int(n) => Cell::Int(*n),
            Cell::Text(text) => Cell::Text(rewrite(text).into()),
        };
        Row::new(self.cells().iter().map(|(name, value)| (*name, cell(value, &mut rewrite))).collect())
    }

    fn key(&self) -> (u64, &[(&'static str, Cell)]) {
        (self.0.hash, &self.0.cells)
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.key() == other.key()
    }
}

impl Eq for Row {}

/// What a run found against what was stored before.
pub(super) struct Difference {
    /// In sorted order.
    pub(super) removed: Vec<Row>,
    /// In the order of the query.
    pub(super) added: Vec<Row>,
    /// The new rows in the order in which [`difference`] wants its base.
    pub(super) base: Vec<Row>,
}

/// The multiset difference from `base`, which an earlier call made, to `now`.
pub(super) fn difference(base: &[Row], now: &[Row]) -> Difference {
    let mut order: Vec<usize> = (0..now.len()).collect();
    order.sort_by(|&a, &b| now[a].key().cmp(&now[b].key()));
    let (mut removed, mut fresh) = (Vec::new(), vec![false; now.len()]);
    let (mut i, mut j) = (0, 0);
    while i < base.len() || j < order.len() {
        let side = match (base.get(i), order.get(j)) {
            (Some(old), Some(&new)) if *old == now[new] => std::cmp::Ordering::Equal,
            (Some(old), Some(&new)) => old.key().cmp(&now[new].key()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        if side.is_lt() {
            removed.push(base[i].clone());
        } else if side.is_gt() {
            fresh[order[j]] = true;
        }
        i += usize::from(side.is_le());
        j += usize::from(side.is_ge());
    }
    removed.sort_by(|a, b| a.cells().cmp(b.cells()));
    let added = (0..now.len()).filter(|&at| fresh[at]).map(|at| now[at].clone()).collect();
    Difference { removed, added, base: order.into_iter().map(|at| now[at].clone()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_copies() {
        let row = |n: i32| Row::new(vec![("n", n.into())]);
        let first = difference(&[], &[row(2), row(1), row(1)]);
        assert_eq!(first.added, [row(2), row(1), row(1)]);
        let second = difference(&first.base, &[row(3), row(1), row(2), row(2)]);
        assert_eq!(second.removed, [row(1)]);
        assert_eq!(second.added, [row(3), row(2)]);
    }
}

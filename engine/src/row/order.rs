//! The order of rows: by their columns, name, then text, bytewise; a row that is a prefix of another goes first.
//!
//! Invariant: [`Sorter::sort`] leaves rows as [`compare`] says.
//!
//! How: rows of one stream have much in common: the same columns, many of them with the same text, and texts that begin
//! alike. So what some rows have in common is gone over first, they are sorted by the next few bytes of the first column in
//! which they part, and each few that are alike in these are sorted so again. Rows are compared one with another only where
//! they are few, where their columns differ, and where they are alike for too long.

use super::{Columns, take_text};
use std::cmp::Ordering;
use std::ops::Range;

/// The order of two rows by their canonical bytes.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    // Columns that end before the first difference are the same in both, lengths included.
    let before = column_at(a, 0, common(a, b, 0));
    Columns::of(&a[before..]).cmp(Columns::of(&b[before..]))
}

/// How many bytes two texts have in common from the front, where so many are known to be.
#[inline]
fn common(a: &[u8], b: &[u8], known: usize) -> usize {
    let (rest_a, rest_b) = (&a[known..], &b[known..]);
    let mut same = known;
    for (a, b) in rest_a.as_chunks::<8>().0.iter().zip(rest_b.as_chunks::<8>().0) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return same + (differ.trailing_zeros() / 8) as usize;
        }
        same += 8;
    }
    let bytes = a[same..].iter().zip(&b[same..]);
    same + bytes.take_while(|(a, b)| a == b).count()
}

/// Where the column of a row begins that holds byte `at`, or the row's end; from a column on that begins before.
#[inline]
fn column_at(canonical: &[u8], from: usize, at: usize) -> usize {
    let mut begin = from;
    let mut rest = &canonical[from..];
    while !rest.is_empty() {
        let column = take_text(&mut rest).and_then(|_| take_text(&mut rest));
        let end = canonical.len() - rest.len();
        if column.is_none() || end > at {
            break;
        }
        begin = end;
    }
    begin
}

/// Fewer rows are compared one with another.
const FEW: usize = 4;
/// Rows that are still alike after so many columns and keys are compared one with another: what they have in common is gone
/// over so many times at most.
const LEVELS_MAX: u32 = 12;

/// A row, by the bytes in which it differs from others.
#[derive(Clone, Copy)]
struct Keyed {
    key: u128,
    place: u32,
}

/// Rows that are alike up to a column.
struct Alike {
    rows: Range<usize>,
    /// Where the column begins.
    from: usize,
    level: u32,
}

/// Sorts rows; one is used for many.
#[derive(Default)]
pub struct Sorter {
    keyed: Vec<Keyed>,
    left: Vec<Alike>,
}

impl Sorter {
    /// Sorts the places of rows.
    pub fn sort<'r>(&mut self, places: &mut [u32], row: impl Fn(u32) -> &'r [u8]) {
        self.keyed.clear();
        self.keyed.extend(places.iter().map(|&place| Keyed { key: 0, place }));
        self.left.clear();
        self.left.push(Alike { rows: 0..places.len(), from: 0, level: 0 });
        while let Some(Alike { rows, from, level }) = self.left.pop() {
            let keyed = &mut self.keyed[rows.clone()];
            let column = if keyed.len() < FEW || level == LEVELS_MAX { None } else { put_keys(keyed, from, &row) };
            let Some(column) = column else {
                keyed.sort_unstable_by(|a, b| compare(&row(a.place)[from..], &row(b.place)[from..]));
                continue;
            };
            keyed.sort_unstable_by_key(|keyed| keyed.key);
            let mut start = rows.start;
            for alike in keyed.chunk_by(|a, b| a.key == b.key).filter_map(|alike| {
                let rows = start..start + alike.len();
                start = rows.end;
                (alike.len() > 1).then_some(Alike { rows, from: column, level: level + 1 })
            }) {
                self.left.push(alike);
            }
        }
        places.iter_mut().zip(&self.keyed).for_each(|(place, keyed)| *place = keyed.place);
    }
}

/// Gives rows that are alike up to a column keys by the first bytes in which they part; tells where the column begins that
/// holds these. `None` where they part in the names of columns.
fn put_keys<'r>(keyed: &mut [Keyed], from: usize, row: &impl Fn(u32) -> &'r [u8]) -> Option<usize> {
    let (first, others) = keyed.split_first()?;
    let first = row(first.place);
    let same = others.iter().fold(first.len(), |same, other| {
        let other = row(other.place);
        common(&first[..same], other, from.min(same))
    });
    let column = column_at(first, from, same);
    let mut rest = &first[column..];
    take_text(&mut rest)?;
    let text_at = first.len() - rest.len();
    if same < text_at {
        return None;
    }
    let of_column = |place: u32| take_text(&mut &row(place)[text_at..]);
    let first = take_text(&mut rest)?;
    let mut alike = first.len();
    for other in &*keyed {
        alike = common(&first[..alike], of_column(other.place)?, 0);
    }
    for keyed in keyed {
        keyed.key = key(&of_column(keyed.place)?[alike..]);
    }
    Some(column)
}

/// The first bytes of a text, zeros behind its end; so texts of equal keys may yet differ.
#[inline]
fn key(text: &[u8]) -> u128 {
    match text.first_chunk() {
        Some(front) => u128::from_be_bytes(*front),
        None => {
            let mut front = [0; 16];
            front[..text.len()].copy_from_slice(text);
            u128::from_be_bytes(front)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, RowBuilder};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Map = BTreeMap<String, String>;

    fn row(columns: &Map, same: &Map) -> Row {
        let mut builder = RowBuilder::new();
        columns.iter().chain(same).for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
        builder.row()
    }

    /// Few texts, many of which begin alike, some beyond what a key holds and some beyond what a length of one byte tells.
    fn columns() -> impl Strategy<Value = Map> {
        prop::collection::btree_map("[ab]{0,2}", "[ab\u{0}]{0,3}|a{14,18}[ab\u{0}]{0,2}|a{126,129}b?", 0..4)
    }

    fn sorted(sorter: &mut Sorter, rows: &[Row]) -> Vec<u32> {
        let mut places: Vec<u32> = (0..rows.len() as u32).collect();
        sorter.sort(&mut places, |place| rows[place as usize].as_bytes());
        places
    }

    proptest! {
        #[test]
        fn rows_compare_as_their_columns_do(a in columns(), b in columns(), same in columns()) {
            let (a, b) = (row(&a, &same), row(&b, &same));
            prop_assert_eq!(a.cmp(&b), a.columns().cmp(b.columns()));
        }

        #[test]
        fn rows_are_sorted(rows in prop::collection::vec(columns(), 0..40), same in columns()) {
            let rows: Vec<Row> = rows.iter().map(|columns| row(columns, &same)).collect();
            let mut sorter = Sorter::default();
            let places = sorted(&mut sorter, &rows);
            let mut all = places.clone();
            all.sort_unstable();
            prop_assert!(all.into_iter().eq(0..rows.len() as u32), "each is there once");
            let of = |place: &u32| &rows[*place as usize];
            prop_assert!(places.is_sorted_by(|a, b| of(a).columns().cmp(of(b).columns()).is_le()));
            prop_assert_eq!(sorted(&mut sorter, &rows), places, "it is used again");
        }
    }

    #[test]
    fn many_rows_each_a_byte_longer_end() {
        let text = |len: usize| Map::from([("a".to_owned(), "x".repeat(len))]);
        let rows: Vec<Row> = (0..1000).rev().map(|len| row(&text(len), &Map::new())).collect();
        assert!(sorted(&mut Sorter::default(), &rows).into_iter().eq((0..1000).rev()));
    }
}

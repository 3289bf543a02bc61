//! The columns of a row, one after the other.
//!
//! Rows that are decoded to be given again and again have a table of their columns behind them, so that whoever reads
//! them need not go from length to length, each of which tells where the next one is: two bytes with the number of
//! columns, little-endian, then of each column how many bytes its name has, and how many its text, a byte each. Rows with a
//! longer name or text have none.
//!
//! Invariant: what is told with a table is what is told without.

use super::{Row, WITH_TABLE, take_text};
use crate::bytes::equal;
use std::ops::Range;

/// In a table: how many bytes a column's name has, and how many its text.
type Cell = [u8; 2];
/// Before these: how many columns there are.
const TABLE_HEAD_BYTES: usize = 2;
/// What a name in a table has at most, so that its length takes one byte in the row; that of a text takes two at most.
const NAME_BYTES_MAX: usize = 0x7f;
const TEXT_BYTES_MAX: usize = u8::MAX as usize;

/// Appends a table to a buffer that ends with this row's canonical bytes, if it can have one; tells whether it does.
pub(crate) fn push_table(buffer: &mut Vec<u8>, start: usize) -> bool {
    let end = buffer.len();
    let len = end - start;
    if len == 0 || len > usize::from(u16::MAX) || start >= WITH_TABLE as usize {
        return false;
    }
    // A column takes two bytes at least, which is what its entry takes.
    buffer.resize(end + TABLE_HEAD_BYTES + len, 0);
    let (before, table) = buffer.split_at_mut(end);
    let columns = put_cells(&before[start..], &mut table[TABLE_HEAD_BYTES..]);
    if let Some(columns) = columns {
        table[..TABLE_HEAD_BYTES].copy_from_slice(&columns.to_le_bytes());
    }
    let cells = columns.map_or(0, |columns| TABLE_HEAD_BYTES + usize::from(columns) * size_of::<Cell>());
    buffer.truncate(end + cells);
    columns.is_some()
}

/// Puts the entries of a row's columns into a table and tells how many there are; `None` if one is too long, or the bytes are
/// no row.
#[inline]
fn put_cells(row: &[u8], table: &mut [u8]) -> Option<u16> {
    let (mut at, mut count) = (0, 0);
    let mut cells = table.as_chunks_mut::<{ size_of::<Cell>() }>().0.iter_mut();
    while at < row.len() {
        let name_len = usize::from(*row.get(at)?);
        let len_at = at + 1 + name_len;
        let (mut text_len, mut text_at) = (usize::from(*row.get(len_at)?), len_at + 1);
        if text_len >= 0x80 {
            text_len = text_len & 0x7f | usize::from(*row.get(text_at)?) << 7;
            text_at += 1;
        }
        if name_len > NAME_BYTES_MAX || text_len > TEXT_BYTES_MAX {
            return None;
        }
        *cells.next()? = [name_len as u8, text_len as u8];
        (at, count) = (text_at + text_len, count + 1);
    }
    (at == row.len()).then_some(count)
}

/// The text of one column of a row's canonical bytes; `None` if the row lacks it.
#[inline]
pub fn text_of<'r>(canonical: &'r [u8], name: &[u8]) -> Option<&'r [u8]> {
    Columns::of(canonical).text_of(name)
}

/// The columns of a row in order of their names.
#[derive(Clone)]
pub struct Columns<'a> {
    row: &'a [u8],
    /// Where the next column begins.
    at: usize,
    /// The table's entries for it and those after it; none without a table.
    cells: &'a [Cell],
}

impl<'a> Columns<'a> {
    #[inline]
    pub(super) fn of(canonical: &'a [u8]) -> Columns<'a> {
        Columns { row: canonical, at: 0, cells: &[] }
    }

    /// The same of a row whose table is told.
    #[inline]
    pub(super) fn of_table(canonical: &'a [u8], table: &'a [u8]) -> Columns<'a> {
        let cells = table
            .split_first_chunk()
            .map_or(&[][..], |(count, cells)| &cells.as_chunks().0[..usize::from(u16::from_le_bytes(*count))]);
        Columns { row: canonical, at: 0, cells }
    }

    /// The text of one of them.
    #[inline]
    pub(super) fn text_of(mut self, name: &[u8]) -> Option<&'a [u8]> {
        self.find(|(column, _)| equal(column, name)).map(|(_, text)| text)
    }

    /// The same, looked for first behind `place` others, which becomes where it was found; `last` is a place that was looked
    /// at, and where the column there begins.
    #[inline]
    fn text_near(&self, name: &[u8], place: &mut usize, last: &mut (usize, usize)) -> Option<&'a [u8]> {
        if *place < last.0 {
            *last = (0, 0);
        }
        if let Some(before) = self.cells.get(last.0..*place)
            && let Some(&cell) = self.cells.get(*place)
        {
            let begin = before.iter().fold(last.1, |begin, &cell| places_of(cell, begin).1.end);
            let (of_name, of_text) = places_of(cell, begin);
            *last = (*place, begin);
            if self.row.get(of_name).is_some_and(|column| equal(column, name)) {
                return self.row.get(of_text);
            }
        }
        self.text_elsewhere(name, place)
    }

    #[cold]
    fn text_elsewhere(&self, name: &[u8], place: &mut usize) -> Option<&'a [u8]> {
        let (at, (_, text)) = self.clone().enumerate().find(|(_, (column, _))| equal(column, name))?;
        *place = at;
        Some(text)
    }
}

/// Finds the same columns in one row after the other. Rows of a stream mostly have the same columns, and where a table tells
/// where they are, each is looked for first where the row before had it.
#[derive(Clone, Debug)]
pub struct Finder<'n, const N: usize> {
    names: [&'n [u8]; N],
    /// Before how many columns each was found.
    places: [usize; N],
}

impl<'n, const N: usize> Finder<'n, N> {
    /// Of columns with these names; fastest if the names ascend.
    pub fn new(names: [&'n [u8]; N]) -> Finder<'n, N> {
        Finder { names, places: [0; N] }
    }

    /// Their texts in a row; `None` of those that it lacks.
    #[inline]
    pub fn texts<'r>(&mut self, row: &'r Row) -> [Option<&'r [u8]>; N] {
        let columns = row.columns();
        let (mut texts, mut last) = ([None; N], (0, 0));
        for ((name, place), text) in self.names.iter().zip(&mut self.places).zip(&mut texts) {
            *text = columns.text_near(name, place, &mut last);
        }
        texts
    }
}

impl<'a> Iterator for Columns<'a> {
    type Item = (&'a [u8], &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let begin = self.at;
        if let Some((&cell, others)) = self.cells.split_first() {
            let (name, text) = places_of(cell, begin);
            (self.cells, self.at) = (others, text.end);
            return Some((&self.row[name], &self.row[text]));
        }
        let mut rest = self.row.get(begin..)?;
        let name = take_text(&mut rest)?;
        let text = take_text(&mut rest)?;
        self.at = self.row.len() - rest.len();
        Some((name, text))
    }

    /// All that is left: where a table tells where it is, by a loop over that and nothing else. What is not there is empty,
    /// so that who reads texts alone does not pay for names, as a check that may fail must be made even for what nobody reads.
    #[inline]
    fn fold<B, F: FnMut(B, Self::Item) -> B>(mut self, init: B, mut f: F) -> B {
        let mut folded = init;
        for &cell in std::mem::take(&mut self.cells) {
            let (name, text) = places_of(cell, self.at);
            self.at = text.end;
            folded = f(folded, (self.row.get(name).unwrap_or_default(), self.row.get(text).unwrap_or_default()));
        }
        for column in self {
            folded = f(folded, column);
        }
        folded
    }
}

/// Where in a row the name and the text are of a column with this entry that begins there.
#[inline]
fn places_of([name_len, text_len]: Cell, begin: usize) -> (Range<usize>, Range<usize>) {
    let name = begin + 1..begin + 1 + usize::from(name_len);
    let text_at = name.end + 1 + usize::from(text_len >> 7);
    (name, text_at..text_at + usize::from(text_len))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowBuilder;
    use proptest::prelude::*;

    proptest! {
        /// A table is believed by whoever reads the row.
        #[test]
        fn what_is_no_row_has_no_table(bytes in prop::collection::vec(prop_oneof![0u8..4, any::<u8>()], 0..12)) {
            let mut buffer = bytes.clone();
            if push_table(&mut buffer, 0) {
                let (row, table) = buffer.split_at(bytes.len());
                let mut taken = 0;
                for (name, text) in Columns::of_table(row, table) {
                    taken += name.len() + text.len();
                }
                prop_assert!(taken < bytes.len());
            } else {
                prop_assert_eq!(buffer, bytes);
            }
        }
    }

    proptest! {
        #[test]
        fn a_table_tells_what_the_row_does(
            columns in prop::collection::btree_map("[ab]{0,3}|[ab]{120,130}", "[x]{0,3}|[y]{120,140}|[z]{250,260}", 0..9),
            before in prop::collection::vec(any::<u8>(), 0..20),
            after in prop::collection::vec(any::<u8>(), 0..20),
            sought in prop::collection::btree_set("[abc]{0,3}", 3..6),
        ) {
            let mut builder = RowBuilder::new();
            columns.iter().for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
            let row = builder.row();
            let mut bytes = before.clone();
            bytes.extend_from_slice(row.as_bytes());
            let range = before.len() as u32..bytes.len() as u32;
            let has_table = push_table(&mut bytes, before.len());
            let has_long = |(name, text): (&String, &String)| name.len() > 127 || text.len() > 255;
            prop_assert!(has_table || columns.is_empty() || columns.iter().any(has_long));
            prop_assert!(has_table || bytes.len() == range.end as usize, "nothing is left behind");
            bytes.extend(after);
            let with_table = Row::with_table(&bytes.into(), range, has_table);
            prop_assert_eq!(with_table.as_bytes(), row.as_bytes());
            prop_assert!(with_table.columns().eq(row.columns()));
            for row in [&row, &with_table] {
                let (mut one_by_one, mut at_once) = (Vec::new(), Vec::new());
                for column in row.columns() {
                    one_by_one.push(column);
                }
                row.columns().for_each(|column| at_once.push(column));
                prop_assert_eq!(one_by_one, at_once);
            }
            let text = |name: &String| columns.get(name).map(|text| text.as_bytes());
            for row in [&row, &with_table] {
                for name in columns.keys().chain(&sought) {
                    prop_assert_eq!(row.get(name.as_bytes()), text(name));
                }
            }
        }

        /// Whatever rows came before, with a table or without.
        #[test]
        fn columns_are_found_wherever_the_row_before_had_them(
            rows in prop::collection::vec((prop::collection::btree_map("[ab]{1,2}", "[x]{0,3}|[y]{250,260}", 0..5), any::<bool>()), 0..6),
            sought in prop::array::uniform3("[ab]{1,2}"),
        ) {
            let mut finder = Finder::new(sought.each_ref().map(|name| name.as_bytes()));
            for (columns, with_table) in rows {
                let mut builder = RowBuilder::new();
                columns.iter().for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
                let mut bytes = builder.canonical().to_vec();
                let len = bytes.len() as u32;
                let has_table = with_table && push_table(&mut bytes, 0);
                let row = Row::with_table(&bytes.into(), 0..len, has_table);
                let expected = sought.each_ref().map(|name| columns.get(name).map(|text| text.as_bytes()));
                prop_assert_eq!(finder.texts(&row), expected);
            }
        }
    }
}

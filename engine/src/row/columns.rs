//! The columns of a row, one after the other.
//!
//! Rows that are decoded to be given again and again have a table of their columns behind them, so that whoever reads
//! them need not go from length to length, each of which tells where the next one is: two bytes with the number of
//! columns, little-endian, then of each column how many bytes its name has, and how many its text, a byte each. Rows with a
//! longer name or text have none.
//!
//! Invariant: what is told with a table is what is told without.

use super::{WITH_TABLE, take_text};
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
        self.find_text(name)
    }

    /// The texts of several of them, whose names ascend.
    #[inline]
    pub(super) fn texts_of<const N: usize>(mut self, names: [&[u8]; N]) -> [Option<&'a [u8]>; N] {
        names.map(|name| {
            let begin = self.clone();
            let found = self.find_text(name);
            if found.is_none() {
                // The others may stand where this one does not.
                self = begin;
            }
            found
        })
    }

    /// Goes on behind a column, and gives its text. Of those before it, if a table tells where they are, nothing is read but
    /// the names that are as long.
    #[inline]
    fn find_text(&mut self, name: &[u8]) -> Option<&'a [u8]> {
        while let Some((&cell, others)) = self.cells.split_first() {
            let (of_name, of_text) = places_of(cell, self.at);
            (self.cells, self.at) = (others, of_text.end);
            if usize::from(cell[0]) == name.len()
                && let Some(column) = self.row.get(of_name)
                && equal(column, name)
            {
                return self.row.get(of_text);
            }
        }
        self.find(|(column, _)| equal(column, name)).map(|(_, text)| text)
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
    use crate::row::{Row, RowBuilder};
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
            let mut names: Vec<&[u8]> = columns.keys().map(|name| name.as_bytes()).chain(sought.iter().map(|name| name.as_bytes())).collect();
            names.sort_unstable();
            for row in [&row, &with_table] {
                let text = |name: &[u8]| std::str::from_utf8(name).ok().and_then(|name| columns.get(name)).map(|text| text.as_bytes());
                for names in names.windows(3) {
                    let names = [names[0], names[1], names[2]];
                    if names.is_sorted_by(|a, b| a < b) {
                        prop_assert_eq!(row.texts(names), names.map(text));
                    }
                }
                for name in &names {
                    prop_assert_eq!(row.get(name), text(name));
                }
            }
        }
    }
}

//! Rows of the same columns as texts apart from the names, and back.
//!
//! Invariant: rows that were put together are those that were split, whatever their columns.

use super::{Row, take_len};
use crate::bytes::{CHUNK, begins, copy};
use crate::codec::varint;
use std::sync::Arc;

/// A column's name as canonical rows have it, for many rows that have it.
#[derive(Debug)]
pub struct ColumnName {
    /// Length and name, then zeros up to what is copied at once.
    bytes: Box<[u8]>,
    len: usize,
    /// Where the name begins.
    start: usize,
    /// The first of the bytes as a word, and which of its bits are of them.
    front: u128,
    mask: u128,
}

impl ColumnName {
    /// Of this name.
    pub fn new(name: &[u8]) -> ColumnName {
        let mut bytes = Vec::with_capacity(CHUNK);
        varint::put_u64(&mut bytes, name.len() as u64);
        let start = bytes.len();
        bytes.extend_from_slice(name);
        let len = bytes.len();
        bytes.resize(len.max(CHUNK), 0);
        let front = bytes.first_chunk().map_or(0, |front| u128::from_le_bytes(*front));
        let mask = if len < 16 { (1 << (8 * len)) - 1 } else { u128::MAX };
        ColumnName { bytes: bytes.into(), len, start, front, mask }
    }

    /// Whether it is the next of a canonical row.
    #[inline]
    fn is_next(&self, rest: &[u8]) -> bool {
        match rest.first_chunk() {
            Some(front) if self.len <= 16 => u128::from_le_bytes(*front) & self.mask == self.front,
            _ => begins(rest, &self.bytes[..self.len]),
        }
    }

    /// How many bytes it takes in a canonical row, without the text.
    pub fn bytes(&self) -> usize {
        self.len
    }

    /// The name.
    pub fn name(&self) -> &[u8] {
        &self.bytes[self.start..self.len]
    }
}

/// Texts of rows, apart from the names of their columns.
#[derive(Debug, Default)]
pub struct Texts {
    /// The length of each as a LEB128 varint.
    pub lengths: Vec<u8>,
    /// One after the other.
    pub bytes: Vec<u8>,
}

impl Texts {
    /// Appends the texts of a row that has these columns, in their order; false, and nothing, if it has others.
    pub fn push(&mut self, row: &Row, names: &[ColumnName]) -> bool {
        let Texts { lengths, bytes } = self;
        let (lengths_before, start) = (lengths.len(), bytes.len());
        bytes.resize(start + row.as_bytes().len(), 0);
        let (mut rest, mut at) = (row.as_bytes(), start);
        let mut take = || {
            for name in names {
                rest = rest.get(name.len..).filter(|_| name.is_next(rest))?;
                let before = rest;
                let len = take_len(&mut rest)?;
                match before.len() - rest.len() {
                    1 => lengths.push(before[0]),
                    more => lengths.extend_from_slice(&before[..more]),
                }
                copy(&mut bytes[at..], rest, len);
                at += len;
                rest = rest.get(len..)?;
            }
            rest.is_empty().then_some(())
        };
        let is_its = take().is_some();
        bytes.truncate(if is_its { at } else { start });
        if !is_its {
            lengths.truncate(lengths_before);
        }
        is_its
    }

    /// Forgets them.
    pub fn clear(&mut self) {
        self.lengths.clear();
        self.bytes.clear();
    }
}

/// Rows that are put together in one buffer, which they then share.
pub struct Rows {
    buffer: Arc<[u8]>,
    /// How much of it is filled.
    filled: usize,
    ends: Vec<usize>,
}

impl Rows {
    /// No rows, with room for so many of so many bytes together; `None` if that is 4 GiB or more.
    pub fn with_capacity(rows: usize, bytes: usize) -> Option<Rows> {
        // What is copied at once may be longer than what is meant.
        let bytes = bytes.checked_add(CHUNK)?;
        u32::try_from(bytes).ok()?;
        let buffer: Arc<[u8]> = std::iter::repeat_n(0, bytes).collect();
        Some(Rows { buffer, filled: 0, ends: Vec::with_capacity(rows) })
    }

    /// Adds a row of columns in bytewise order of their names, each once: of texts that have these lengths, one after the other.
    /// Gives what follows them; `None` if there is not so much, or no room for it.
    pub fn push<'t>(&mut self, names: &[ColumnName], lengths: &[u64], texts: &'t [u8]) -> Option<&'t [u8]> {
        let to = Arc::get_mut(&mut self.buffer)?.get_mut(self.filled..)?;
        let (mut at, mut rest) = (0, texts);
        for (name, &len) in names.iter().zip(lengths) {
            let len = usize::try_from(len).ok().filter(|len| *len <= rest.len())?;
            if to.len() - at < name.len + varint::BYTES_MAX + len {
                return None;
            }
            copy(&mut to[at..], &name.bytes, name.len);
            at += name.len;
            at += varint::write_u64(&mut to[at..], len as u64);
            copy(&mut to[at..], rest, len);
            at += len;
            rest = &rest[len..];
        }
        self.filled += at;
        self.ends.push(self.filled);
        Some(rest)
    }

    /// The rows.
    pub fn finish(self) -> Vec<Row> {
        let Rows { buffer, ends, .. } = self;
        let mut start = 0;
        let row = |end: usize| {
            let from = std::mem::replace(&mut start, end as u32);
            Row::of_buffer(&buffer, from..end as u32)
        };
        ends.into_iter().map(row).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowBuilder;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_are_split_from_their_names_and_put_together_again(
            names in prop::collection::btree_set("[ab]{0,3}|a{11,18}[ab]{0,2}|a{40}", 1..6),
            rows in prop::collection::vec(prop::collection::vec("[xy]{0,40}|[xy]{120,140}", 6), 0..5),
            changed in any::<prop::sample::Index>(),
        ) {
            let columns: Vec<ColumnName> = names.iter().map(|name| ColumnName::new(name.as_bytes())).collect();
            prop_assert!(columns.iter().map(ColumnName::name).eq(names.iter().map(|name| name.as_bytes())));
            let rows: Vec<Row> = rows.iter().map(|texts| row_of(&names, texts)).collect();
            let (mut texts, mut expected) = (Texts::default(), Vec::new());
            for row in &rows {
                prop_assert!(texts.push(row, &columns));
                row.columns().for_each(|(_, text)| expected.extend_from_slice(text));
                // A row of other columns leaves nothing behind, be it that only the last byte of one is another.
                let mut others = names.clone();
                let mut name = changed.get(&names.iter().collect::<Vec<_>>()).to_string();
                others.remove(&name);
                name.pop();
                others.insert(name + "c");
                let text = vec!["z".to_owned(); 7];
                prop_assert!(!texts.push(&row_of(&others, &text), &columns));
            }
            prop_assert_eq!(&texts.bytes, &expected);
            let (mut lengths, mut rest) = (Vec::new(), &texts.lengths[..]);
            while !rest.is_empty() {
                lengths.push(take_len(&mut rest).unwrap() as u64);
            }
            let bytes = rows.iter().map(|row| row.as_bytes().len()).sum();
            let (mut back, mut rest) = (Rows::with_capacity(rows.len(), bytes).unwrap(), &texts.bytes[..]);
            for some in 0..rows.len() {
                let of_row = &lengths[some * columns.len()..(some + 1) * columns.len()];
                rest = back.push(&columns, of_row, rest).unwrap();
            }
            prop_assert!(rest.is_empty());
            prop_assert_eq!(back.push(&columns, &vec![1; columns.len()], rest), None, "there is nothing more");
            prop_assert_eq!(back.finish(), rows);
        }
    }

    fn row_of(names: &std::collections::BTreeSet<String>, texts: &[String]) -> Row {
        let mut builder = RowBuilder::new();
        names.iter().zip(texts).for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
        builder.row()
    }
}

//! One row of an osquery table as canonical bytes, so that equal rows are equal bytes.
//!
//! A row is a map from column name to text, both arbitrary bytes; an absent column is not an empty one. The canonical
//! form is, for each column in bytewise order of its name: the name's length as a LEB128 varint, the name, the text's
//! length as a LEB128 varint, the text. Names do not repeat.
//!
//! Rows that came together lie in one buffer that they share, so that they cost one allocation and not one each. Whoever
//! keeps a few rows of many keeps the whole buffer: `Row::gather` moves rows into one of their own.
//!
//! Invariants:
//! - Two rows are equal exactly when their canonical bytes are equal.
//! - [`Row::from_canonical`] accepts only bytes that [`RowBuilder`] can make, so bytes from disk cannot smuggle in a
//!   second form of one row.
//!
//! # In this folder
//!
//! `builder` makes a row of columns, `columns` reads them, `order` compares and sorts rows, `texts` takes names and texts
//! apart.

mod builder;
mod columns;
mod order;
mod texts;

pub use builder::RowBuilder;
pub(crate) use columns::push_table;
pub use columns::{Columns, Finder, text_of};
pub use order::{Sorter, compare};
pub use texts::{ColumnName, Rows, Texts};

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::ops::Range;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

/// Reads a length as a shortest-form LEB128 varint of at most five bytes.
#[inline]
fn take_len(bytes: &mut &[u8]) -> Option<usize> {
    let (&first, rest) = bytes.split_first()?;
    if first < 0x80 {
        *bytes = rest;
        return Some(usize::from(first));
    }
    take_long_len(bytes)
}

#[cold]
fn take_long_len(bytes: &mut &[u8]) -> Option<usize> {
    let mut value = 0u64;
    for i in 0..5 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return (byte != 0 || i == 0).then_some(value as usize);
        }
    }
    None
}

/// Takes a name or a text off the front of canonical bytes.
#[inline]
pub(crate) fn take_text<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_len(bytes)?;
    let (text, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(text)
}

/// Whether bytes are a row in canonical form.
pub(crate) fn is_canonical(bytes: &[u8]) -> bool {
    let (mut rest, mut last) = (bytes, None);
    while !rest.is_empty() {
        let Some(name) = take_text(&mut rest) else {
            return false;
        };
        if take_text(&mut rest).is_none() || last.is_some_and(|last| last >= name) {
            return false;
        }
        last = Some(name);
    }
    u32::try_from(bytes.len()).is_ok()
}

/// Whether a row, given as its canonical bytes, has more columns than so many.
pub(crate) fn has_more_columns(canonical: &[u8], than: usize) -> bool {
    // Each takes two bytes at least, so that few rows need to be counted.
    canonical.len() > 2 * than && Columns::of(canonical).nth(than).is_some()
}

/// The hash by which canonical bytes are found; never 0.
pub fn hash_of(canonical: &[u8]) -> u64 {
    xxh3_64(canonical).max(1)
}

/// In [`Row::start`].
const WITH_TABLE: u32 = 1 << 31;

/// An owned, cheaply cloned row in canonical form.
#[derive(Clone)]
pub struct Row {
    buffer: Arc<[u8]>,
    /// Where it begins in the buffer; [`WITH_TABLE`] tells that its table follows it there.
    start: u32,
    len: u32,
    /// [`hash_of`] the bytes if it was computed, else 0.
    hash: u64,
}

impl Row {
    /// Takes bytes that are already canonical; `None` if they are not.
    pub fn from_canonical(bytes: &[u8]) -> Option<Row> {
        is_canonical(bytes).then(|| Row::whole(bytes))
    }

    /// Takes bytes that [`RowBuilder::canonical`] made.
    pub fn from_builder_bytes(bytes: &[u8]) -> Row {
        debug_assert!(Row::from_canonical(bytes).is_some());
        Row::whole(bytes)
    }

    fn whole(bytes: &[u8]) -> Row {
        Row { buffer: Arc::from(bytes), start: 0, len: bytes.len() as u32, hash: 0 }
    }

    /// The row at a place of a buffer that is filled with canonical rows.
    pub(crate) fn of_buffer(buffer: &Arc<[u8]>, at: Range<u32>) -> Row {
        if at.start >= WITH_TABLE {
            return Row::whole(&buffer[at.start as usize..at.end as usize]);
        }
        let row = Row { buffer: buffer.clone(), start: at.start, len: at.end - at.start, hash: 0 };
        debug_assert!(Row::from_canonical(row.as_bytes()).is_some());
        row
    }

    /// The same for a row that [`push_table`] put its table behind, or not.
    pub(crate) fn with_table(buffer: &Arc<[u8]>, at: Range<u32>, has_table: bool) -> Row {
        let mut row = Row::of_buffer(buffer, at);
        row.start |= if has_table { WITH_TABLE } else { 0 };
        row
    }

    /// The row at a place of a buffer that is filled with rows by [`RowBuilder`]; `hash` is [`hash_of`] its bytes.
    pub(crate) fn in_buffer(buffer: &Arc<[u8]>, at: Range<u32>, hash: u64) -> Row {
        let row = Row::of_buffer(buffer, at);
        debug_assert_eq!(hash, hash_of(row.as_bytes()));
        row.with_hash(hash)
    }

    /// Moves rows into one buffer of their own, unless together they are too long for one.
    pub(crate) fn gather(rows: &mut [Row]) {
        let bytes = rows.iter().map(|row| row.len as usize).sum();
        if rows.is_empty() || bytes >= WITH_TABLE as usize {
            return;
        }
        let mut buffer: Arc<[u8]> = std::iter::repeat_n(0, bytes).collect();
        if let Some(mut room) = Arc::get_mut(&mut buffer) {
            for row in &*rows {
                let (to, rest) = room.split_at_mut(row.len as usize);
                to.copy_from_slice(row.as_bytes());
                room = rest;
            }
        }
        let mut start = 0;
        for row in rows {
            (row.buffer, row.start) = (buffer.clone(), start);
            start += row.len;
        }
    }

    /// Reads where rows lie that are wanted soon, so that waits for memory overlap.
    pub(crate) fn touch<'r>(rows: impl Iterator<Item = &'r Row>) {
        let bytes = rows.map(|row| row.as_bytes().first().copied().unwrap_or(0));
        black_box(bytes.fold(0, u8::wrapping_add));
    }

    /// How many bytes the buffer has that the row lies in.
    #[cfg(test)]
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The canonical bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buffer[(self.start & !WITH_TABLE) as usize..][..self.len as usize]
    }

    /// [`hash_of`] the canonical bytes.
    pub fn content_hash(&self) -> u64 {
        if self.hash != 0 { self.hash } else { hash_of(self.as_bytes()) }
    }

    /// The same row, which knows its hash from now on.
    pub(crate) fn with_hash(mut self, hash: u64) -> Row {
        self.hash = hash;
        self
    }

    /// The columns, by name.
    #[inline]
    pub fn columns(&self) -> Columns<'_> {
        let row = &self.buffer[(self.start & !WITH_TABLE) as usize..];
        let (row, table) = row.split_at(self.len as usize);
        if self.start & WITH_TABLE != 0 { Columns::of_table(row, table) } else { Columns::of(row) }
    }

    /// The text of one column; `None` if the row lacks it.
    #[inline]
    pub fn get(&self, name: &[u8]) -> Option<&[u8]> {
        self.columns().text_of(name)
    }

    /// The row as compact JSON with its columns sorted by name, appended to `out`: the text by which contents are
    /// ordered. Bytes that are not UTF-8 are kept as they are.
    pub fn content_json(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        for (i, (name, text)) in self.columns().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            content_string(name, out);
            out.push(b':');
            content_string(text, out);
        }
        out.push(b'}');
    }
}

/// A JSON string with the shortest escapes: `\"`, `\\`, `\b`, `\t`, `\n`, `\f`, `\r`, other control bytes as `\u00xx`.
fn content_string(bytes: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            8 => out.extend(b"\\b"),
            9 => out.extend(b"\\t"),
            10 => out.extend(b"\\n"),
            12 => out.extend(b"\\f"),
            13 => out.extend(b"\\r"),
            0..0x20 => {
                out.extend(b"\\u00");
                out.extend([b"0123456789abcdef"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

impl PartialEq for Row {
    fn eq(&self, other: &Row) -> bool {
        (self.hash == 0 || other.hash == 0 || self.hash == other.hash) && self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Row {}

impl Hash for Row {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.content_hash());
    }
}

/// Rows go as [`compare`] says.
impl Ord for Row {
    fn cmp(&self, other: &Row) -> Ordering {
        compare(self.as_bytes(), other.as_bytes())
    }
}

impl PartialOrd for Row {
    fn partial_cmp(&self, other: &Row) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut json = Vec::new();
        self.content_json(&mut json);
        f.write_str(&String::from_utf8_lossy(&json))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(columns: &[(&str, &str)]) -> Row {
        let mut builder = RowBuilder::new();
        for (name, text) in columns {
            builder.column(name.as_bytes(), text.as_bytes());
        }
        builder.row()
    }

    #[test]
    fn equal_maps_are_equal_bytes_whatever_the_order() {
        assert_eq!(row(&[("b", "2"), ("a", "1")]), row(&[("a", "1"), ("b", "2")]));
        assert_ne!(row(&[("a", "")]), row(&[]), "absent is not empty");
    }

    #[test]
    fn of_a_repeated_key_the_last_wins() {
        assert_eq!(row(&[("a", "1"), ("b", "2"), ("a", "3")]), row(&[("a", "3"), ("b", "2")]));
    }

    #[test]
    fn only_canonical_bytes_are_taken() {
        let good = row(&[("a", "1"), ("b", "2")]);
        assert_eq!(Row::from_canonical(good.as_bytes()), Some(good));
        assert!(Row::from_canonical(b"\x01b\x012\x01a\x011").is_none(), "out of order");
        assert!(Row::from_canonical(b"\x01a\x011\x01a\x011").is_none(), "repeated");
        assert!(Row::from_canonical(b"\x01a\x81\x001").is_none(), "long varint");
        assert!(Row::from_canonical(b"\x01a\x05").is_none(), "cut");
    }

    #[test]
    fn content_json_is_compact_and_escapes_little() {
        let mut out = Vec::new();
        row(&[("b", "q\"\\\n\u{1}é/"), ("a", "")]).content_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":\"\",\"b\":\"q\\\"\\\\\\n\\u0001é/\"}");
    }
}

//! One row of an osquery table as canonical bytes, so that equal rows are equal bytes.
//!
//! A row is a map from column name to text, both arbitrary bytes; an absent column is not an empty one. The canonical
//! form is, for each column in bytewise order of its name: the name's length as a LEB128 varint, the name, the text's
//! length as a LEB128 varint, the text. Names do not repeat.
//!
//! Rows that came together lie in one buffer that they share, so that they cost one allocation and not one each. Whoever
//! keeps a few rows of many keeps the whole buffer: `Row::gather` moves rows into one of their own.
//!
//! Rows that are decoded to be given again and again have a table of their columns behind them, so that whoever reads
//! them need not go from length to length, each of which tells where the next one is: two bytes with the number of
//! columns, little-endian, then of each column how many bytes it takes, and how many of these are its text's, a byte each.
//! Rows with a longer column have none.
//!
//! Invariants:
//! - Two rows are equal exactly when their canonical bytes are equal.
//! - [`Row::from_canonical`] accepts only bytes that [`RowBuilder`] can make, so bytes from disk cannot smuggle in a
//!   second form of one row.

use crate::bytes::{CHUNK, begins, copy, equal};
use crate::codec::varint;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
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

/// The hash by which canonical bytes are found; never 0.
pub fn hash_of(canonical: &[u8]) -> u64 {
    xxh3_64(canonical).max(1)
}

/// In [`Row::start`].
const WITH_TABLE: u32 = 1 << 31;

/// In a table: how many bytes a column takes, and how many its text.
type Cell = [u8; 2];
/// What a column with a table takes at most.
const CELL_BYTES_MAX: usize = u8::MAX as usize;

/// Appends a table to a buffer that ends with this row's canonical bytes, if it can have one; tells whether it does.
pub(crate) fn push_table(buffer: &mut Vec<u8>, start: usize) -> bool {
    let end = buffer.len();
    if end == start || end - start > usize::from(u16::MAX) || start >= WITH_TABLE as usize {
        return false;
    }
    buffer.extend([0; 2]);
    let (mut at, mut count) = (start, 0u16);
    while at < end {
        let mut rest = &buffer[at..end];
        // The length of a short name takes one byte.
        let text = take_text(&mut rest).filter(|name| name.len() < 0x80).and_then(|_| take_text(&mut rest));
        let to = end - rest.len();
        let Some(text) = text.filter(|_| to - at <= CELL_BYTES_MAX) else {
            buffer.truncate(end);
            return false;
        };
        let cell: Cell = [(to - at) as u8, text.len() as u8];
        buffer.extend(cell);
        (at, count) = (to, count + 1);
    }
    buffer[end..end + 2].copy_from_slice(&count.to_le_bytes());
    true
}

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
        let mut columns = Columns::of(row);
        if self.start & WITH_TABLE != 0
            && let Some((count, cells)) = table.split_first_chunk()
        {
            columns.cells = &cells.as_chunks().0[..usize::from(u16::from_le_bytes(*count))];
        }
        columns
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

/// The text of one column of a row's canonical bytes; `None` if the row lacks it.
#[inline]
pub fn text_of<'r>(canonical: &'r [u8], name: &[u8]) -> Option<&'r [u8]> {
    Columns::of(canonical).text_of(name)
}

/// The order of two rows by their canonical bytes: by their columns, name, then text, bytewise; a row that is a prefix of
/// another goes first.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    // Columns that end before the first difference are the same in both, lengths included.
    let words = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let same = 8 * words.take_while(|(a, b)| a == b).count();
    let mut before = 0;
    let mut rest = a;
    loop {
        let left = rest;
        let column = take_text(&mut rest).and_then(|_| take_text(&mut rest));
        let end = a.len() - rest.len();
        if column.is_none() || end > same || left.is_empty() {
            break;
        }
        before = end;
    }
    Columns::of(&a[before..]).cmp(Columns::of(&b[before..]))
}

/// Goes as rows do whose first column has the same name: the first bytes of its text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SortKey(u64, u64);

/// The key of a row.
pub fn sort_key(canonical: &[u8]) -> SortKey {
    let text = Columns::of(canonical).next().map_or(&b""[..], |(_, text)| text);
    let mut key = [0; 16];
    let len = text.len().min(16);
    key[..len].copy_from_slice(&text[..len]);
    let key = u128::from_be_bytes(key);
    SortKey((key >> 64) as u64, key as u64)
}

/// The name of the first column.
pub fn first_name(canonical: &[u8]) -> Option<&[u8]> {
    Columns::of(canonical).next().map(|(name, _)| name)
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
    fn of(canonical: &'a [u8]) -> Columns<'a> {
        Columns { row: canonical, at: 0, cells: &[] }
    }

    /// The text of one of them.
    #[inline]
    fn text_of(mut self, name: &[u8]) -> Option<&'a [u8]> {
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
fn places_of([bytes, text_bytes]: Cell, begin: usize) -> (Range<usize>, Range<usize>) {
    let to = begin + usize::from(bytes);
    let from = to - usize::from(text_bytes);
    let length_bytes = if text_bytes < 0x80 { 1 } else { 2 };
    (begin + 1..from - length_bytes, from..to)
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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

    proptest! {
        #[test]
        fn rows_compare_as_their_columns_do(
            a in prop::collection::btree_map("[ab]{0,2}", "[ab\u{0}]{0,12}", 0..4),
            b in prop::collection::btree_map("[ab]{0,2}", "[ab\u{0}]{0,12}", 0..4),
            same in prop::collection::btree_map("[AB]{0,2}", "[ab]{0,12}", 0..3),
        ) {
            let of = |map: &std::collections::BTreeMap<String, String>| {
                let mut builder = RowBuilder::new();
                map.iter().chain(&same).for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
                builder.row()
            };
            let (a, b) = (of(&a), of(&b));
            let expected = a.columns().cmp(b.columns());
            prop_assert_eq!(a.cmp(&b), expected);
            if first_name(a.as_bytes()) == first_name(b.as_bytes()) {
                let keys = sort_key(a.as_bytes()).cmp(&sort_key(b.as_bytes()));
                prop_assert!(keys == expected || keys.is_eq());
            }
        }
    }

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

    proptest! {
        #[test]
        fn a_table_tells_what_the_row_does(
            columns in prop::collection::btree_map("[ab]{0,3}|[ab]{120,130}", "[x]{0,3}|[y]{120,140}|[z]{240,260}", 0..9),
            before in prop::collection::vec(any::<u8>(), 0..20),
            after in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut builder = RowBuilder::new();
            columns.iter().for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
            let row = builder.row();
            let mut bytes = before.clone();
            bytes.extend_from_slice(row.as_bytes());
            let range = before.len() as u32..bytes.len() as u32;
            let has_table = push_table(&mut bytes, before.len());
            let has_long = |(name, text): (&String, &String)| name.len() > 127 || name.len() + text.len() > 252;
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
            for name in columns.keys().map(|name| name.as_bytes()).chain([&b"c"[..]]) {
                prop_assert_eq!(with_table.get(name), row.get(name));
            }
        }
    }

    fn row_of(names: &std::collections::BTreeSet<String>, texts: &[String]) -> Row {
        let mut builder = RowBuilder::new();
        names.iter().zip(texts).for_each(|(name, text)| builder.column(name.as_bytes(), text.as_bytes()));
        builder.row()
    }

    #[test]
    fn content_json_is_compact_and_escapes_little() {
        let mut out = Vec::new();
        row(&[("b", "q\"\\\n\u{1}é/"), ("a", "")]).content_json(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "{\"a\":\"\",\"b\":\"q\\\"\\\\\\n\\u0001é/\"}");
    }
}

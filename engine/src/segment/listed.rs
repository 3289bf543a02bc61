//! Rows and parts one after the other, as they are sealed when much is added at once: read once, soon, and written anew by a
//! merge, they are worth no search for what repeats in them. Only the names of columns are left out, which are half of
//! most rows.
//!
//! Invariants:
//! - What was put comes back as it was.
//! - Bytes from anywhere never panic; what they decode to is bounded by their own number, and of rows by
//!   [`ROWS_BYTES_MAX`].
//! - A row that comes back is canonical, whatever the bytes were.
//!
//! How: names are told by the first row that has them and the next rows refer to them; a text is copied with the length
//! before it, in chunks, since a call to copy so few bytes costs more than they do.

use crate::bytes::{CHUNK, begins, copy};
use crate::codec::{Fault, finish, take, take_between, take_u8, varint};
use crate::fact::Inferred;
use crate::memtable::part_key;
use crate::row::take_text;
use crate::timeline::{Copies, Part, RowId};

/// What a decoder accepts at most: bytes of canonical rows in one block.
pub const ROWS_BYTES_MAX: usize = 1 << 30;
/// What a decoder accepts at most: columns of all shapes of a block. A line has no more, since each takes eight of its bytes
/// at least.
pub const COLUMNS_MAX: u64 = 1 << 23;

/// A row is compared with so many of the last shapes; one that fits none of them tells its names, maybe again.
const SHAPES_TRIED: usize = 8;

/// The columns that rows have.
#[derive(Default)]
struct Shape {
    /// Of each column the length of its name and the name, and how many bytes these are; bytes follow to the end of a chunk.
    heads: Vec<(Vec<u8>, usize)>,
}

impl Shape {
    fn push(&mut self, head: &[u8]) {
        let mut padded = head.to_vec();
        padded.resize(head.len().next_multiple_of(CHUNK), 0);
        self.heads.push((padded, head.len()));
    }
}

/// How many bytes the text at the front has together with the length before it.
#[inline(always)]
fn text_len(bytes: &[u8]) -> Option<usize> {
    match bytes.first() {
        Some(&len) if len < 0x80 => Some(usize::from(len) + 1),
        _ => {
            let mut rest = bytes;
            let len = u32::try_from(varint::take_u64(&mut rest).ok()?).ok()?;
            (bytes.len() - rest.len()).checked_add(len as usize)
        }
    }
}

/// Puts the rows of one block.
#[derive(Default)]
pub struct Rows {
    shapes: Vec<Shape>,
    /// The shape of the last row.
    last: usize,
    count: usize,
    bytes: Vec<u8>,
}

impl Rows {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds a row, given as its canonical bytes.
    pub fn row(&mut self, row: &[u8]) {
        self.count += 1;
        let (last, shapes) = (self.last, self.shapes.len());
        let tried = (shapes.saturating_sub(SHAPES_TRIED)..shapes).rev();
        for shape in [last].into_iter().filter(|last| *last < shapes).chain(tried) {
            if self.row_of(shape, row) {
                self.last = shape;
                return;
            }
        }
        self.last = self.shapes.len();
        varint::put_u64(&mut self.bytes, self.last as u64);
        let (mut shape, mut texts, mut rest) = (Shape::default(), Vec::new(), row);
        while !rest.is_empty() {
            let before = rest;
            if take_text(&mut rest).is_none() {
                break;
            }
            shape.push(&before[..before.len() - rest.len()]);
            let before = rest;
            if take_text(&mut rest).is_none() {
                break;
            }
            texts.extend_from_slice(&before[..before.len() - rest.len()]);
        }
        varint::put_u64(&mut self.bytes, shape.heads.len() as u64);
        shape.heads.iter().for_each(|(head, len)| self.bytes.extend_from_slice(&head[..*len]));
        self.bytes.extend_from_slice(&texts);
        self.shapes.push(shape);
    }

    /// Adds a row if it has this shape.
    #[inline]
    fn row_of(&mut self, shape: usize, row: &[u8]) -> bool {
        let start = self.bytes.len();
        varint::put_u64(&mut self.bytes, shape as u64);
        let mut at = self.bytes.len();
        self.bytes.resize(at + row.len() + CHUNK, 0);
        let mut rest = row;
        for (head, len) in &self.shapes[shape].heads {
            if !begins(rest, &head[..*len]) {
                self.bytes.truncate(start);
                return false;
            }
            rest = &rest[*len..];
            let Some(text) = text_len(rest).filter(|text| *text <= rest.len()) else {
                break;
            };
            copy(&mut self.bytes[at..], rest, text);
            at += text;
            rest = &rest[text..];
        }
        self.bytes.truncate(if rest.is_empty() { at } else { start });
        rest.is_empty()
    }

    /// Appends the block and begins the next.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        varint::put_u64(out, self.count as u64);
        out.extend_from_slice(&self.bytes);
        (self.last, self.count) = (0, 0);
        self.shapes.clear();
        self.bytes.clear();
    }
}

/// Reads a block back: the rows one after the other into `rows`, which is longer than they are, and where each ends.
pub(super) fn decode_rows(mut bytes: &[u8], count_max: usize, rows: &mut Vec<u8>) -> Result<Vec<u32>, Fault> {
    let bytes = &mut bytes;
    let count = take_between(bytes, 0, count_max as u64)? as usize;
    let (mut shapes, mut columns): (Vec<Shape>, u64) = (Vec::new(), 0);
    let (mut ends, mut at) = (Vec::with_capacity(count), 0);
    for _ in 0..count {
        let shape = take_between(bytes, 0, shapes.len() as u64)? as usize;
        if shape == shapes.len() {
            let shape = take_shape(bytes, COLUMNS_MAX - columns)?;
            columns += shape.heads.len() as u64;
            shapes.push(shape);
        }
        for (head, len) in &shapes[shape].heads {
            let short = Fault::Length { needed: bytes.len() as u64 + 1, found: bytes.len() as u64 };
            let text = text_len(bytes).filter(|text| *text <= bytes.len()).ok_or(short)?;
            let end = at + len + text;
            if rows.len() < end + 2 * CHUNK {
                if end > ROWS_BYTES_MAX {
                    return Err(Fault::Limit { needed: end as u64, limit: ROWS_BYTES_MAX as u64 });
                }
                rows.resize((end + 2 * CHUNK).max(rows.len() * 2), 0);
            }
            copy(&mut rows[at..], head, *len);
            copy(&mut rows[at + len..], bytes, text);
            at = end;
            *bytes = &bytes[text..];
        }
        ends.push(at as u32);
    }
    finish(bytes)?;
    Ok(ends)
}

fn take_shape(bytes: &mut &[u8], columns_max: u64) -> Result<Shape, Fault> {
    let mut shape = Shape::default();
    let mut last: Option<&[u8]> = None;
    for i in 0..take_between(bytes, 0, columns_max)? {
        let before = *bytes;
        let len = take_between(bytes, 0, bytes.len() as u64)? as usize;
        let name = take(bytes, len)?;
        if last.is_some_and(|last| last >= name) {
            return Err(Fault::Order { previous: i.saturating_sub(1), found: i });
        }
        last = Some(name);
        shape.push(&before[..before.len() - bytes.len()]);
    }
    Ok(shape)
}

/// No part takes less: two times, an epoch, the flags, and how many rows it removes and adds.
const PART_BYTES_MIN: usize = 6;

const FLAG_WHOLE: u8 = 1;
const FLAG_COUNTER: u8 = 2;
const INFERRED_SHIFT: u8 = 2;
const FLAGS_MAX: u64 = 15;

/// Appends parts, which are of one stream and in part order, with other numbers for their rows: `number` is asked for
/// them in the order in which they stand there.
pub fn encode_parts<E>(
    parts: &[Part],
    mut number: impl FnMut(RowId) -> Result<RowId, E>,
    out: &mut Vec<u8>,
) -> Result<(), E> {
    varint::put_u64(out, parts.len() as u64);
    let (mut second, mut recorded, mut next) = (0i64, 0i64, 0i64);
    let mut copies: Vec<Copies> = Vec::new();
    for part in parts {
        varint::put_i64(out, part.second.wrapping_sub(second));
        varint::put_i64(out, part.recorded.wrapping_sub(recorded));
        (second, recorded) = (part.second, part.recorded);
        varint::put_u64(out, part.epoch);
        let counted = if part.counter.is_some() { FLAG_COUNTER } else { 0 };
        let whole = if part.whole { FLAG_WHOLE } else { 0 };
        out.push(whole | counted | (part.inferred as u8) << INFERRED_SHIFT);
        if let Some(counter) = part.counter {
            varint::put_u64(out, counter);
        }
        for side in [&part.removed, &part.added] {
            copies.clear();
            for &(row, count) in side {
                copies.push((number(row)?, count));
            }
            copies.sort_unstable();
            varint::put_u64(out, copies.len() as u64);
            for &(row, count) in &copies {
                // Most rows come after the one before, and once.
                let step = varint::fold(i64::from(row) - next);
                varint::put_u64(out, step << 1 | u64::from(count != 1));
                if count != 1 {
                    varint::put_u64(out, count);
                }
                next = i64::from(row) + 1;
            }
        }
    }
    Ok(())
}

/// Reads parts back. Rows are below `rows`.
pub(super) fn decode_parts(mut bytes: &[u8], parts_max: u64, rows: u64) -> Result<Vec<Part>, Fault> {
    let bytes = &mut bytes;
    let count = take_between(bytes, 0, parts_max.min((bytes.len() / PART_BYTES_MIN) as u64))?;
    let (mut second, mut recorded, mut next) = (0i64, 0i64, 0i64);
    let mut parts: Vec<Part> = Vec::with_capacity(count as usize);
    for i in 0..count {
        second = second.wrapping_add(varint::take_i64(bytes)?);
        recorded = recorded.wrapping_add(varint::take_i64(bytes)?);
        let epoch = varint::take_u64(bytes)?;
        let flags = take_u8(bytes)?;
        let Some(inferred) = Inferred::from_segment_byte(flags >> INFERRED_SHIFT) else {
            return Err(Fault::Range { found: flags.into(), min: 0, max: FLAGS_MAX });
        };
        let counter = if flags & FLAG_COUNTER != 0 { Some(varint::take_u64(bytes)?) } else { None };
        let mut side = || {
            let count = take_between(bytes, 0, bytes.len() as u64)? as usize;
            let mut side: Vec<Copies> = Vec::with_capacity(count);
            for _ in 0..count {
                let step = varint::take_u64(bytes)?;
                let row = varint::unfold(step >> 1).wrapping_add(next) as u64;
                let count = if step & 1 == 0 { 1 } else { varint::take_u64(bytes)? };
                if row >= rows || row > u64::from(RowId::MAX) || count == 0 {
                    return Err(Fault::Range { found: row, min: 0, max: rows });
                }
                if let Some(&(last, _)) = side.last().filter(|(last, _)| u64::from(*last) >= row) {
                    return Err(Fault::Order { previous: last.into(), found: row });
                }
                side.push((row as RowId, count));
                next = row as i64 + 1;
            }
            Ok(side)
        };
        let (removed, added) = (side()?, side()?);
        let whole = flags & FLAG_WHOLE != 0;
        let part = Part { epoch, counter, second, whole, inferred, recorded, removed, added };
        if parts.last().is_some_and(|last| part_key(last) > part_key(&part)) {
            return Err(Fault::Order { previous: i - 1, found: i });
        }
        parts.push(part);
    }
    finish(bytes)?;
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, RowBuilder};
    use proptest::prelude::*;
    use std::convert::Infallible;

    fn any_rows() -> impl Strategy<Value = Vec<Row>> {
        let name = prop_oneof!["[abc]{0,2}", Just("a name that is longer than a chunk of bytes".to_owned())];
        let text = |len| prop::collection::vec(any::<u8>(), len);
        let text = prop_oneof![text(0..5), text(28..36), text(120..140)];
        prop::collection::vec(prop::collection::btree_map(name, text, 0..5), 0..40).prop_map(|rows| {
            let mut builder = RowBuilder::new();
            let row = |row: std::collections::BTreeMap<String, Vec<u8>>| {
                builder.clear();
                row.iter().for_each(|(name, text)| builder.column(name.as_bytes(), text));
                builder.row()
            };
            rows.into_iter().map(row).collect()
        })
    }

    fn any_parts() -> impl Strategy<Value = Vec<Part>> {
        let copies = || prop::collection::btree_map(0u32..6, 1u64..4, 0..5);
        let counter = prop::option::of(prop_oneof![0u64..4, any::<u64>()]);
        let part = (any::<i64>(), 0u64..2, counter, any::<bool>(), 0u8..3, any::<i64>(), copies(), copies()).prop_map(
            |(second, epoch, counter, whole, inferred, recorded, removed, added)| Part {
                epoch,
                counter,
                second,
                whole,
                inferred: Inferred::from_byte(inferred).unwrap(),
                recorded,
                removed: removed.into_iter().collect(),
                added: added.into_iter().collect(),
            },
        );
        prop::collection::vec(part, 0..12).prop_map(|mut parts| {
            parts.sort_by_key(part_key);
            parts
        })
    }

    fn listed(rows: &[Row]) -> Vec<u8> {
        let (mut block, mut bytes) = (Rows::default(), Vec::new());
        // The block before must leave nothing.
        rows.iter().take(3).for_each(|row| block.row(row.as_bytes()));
        block.finish(&mut bytes);
        bytes.clear();
        rows.iter().for_each(|row| block.row(row.as_bytes()));
        assert_eq!(block.len(), rows.len());
        block.finish(&mut bytes);
        bytes
    }

    fn listed_parts(parts: &[Part]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let Ok(()) = encode_parts(parts, |row| Ok::<_, Infallible>(5 - row), &mut bytes);
        bytes
    }

    fn damage(bytes: &mut [u8], flips: Vec<(prop::sample::Index, u8)>) {
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
    }

    proptest! {
        #[test]
        fn rows_survive(rows in any_rows()) {
            let (bytes, mut back) = (listed(&rows), vec![7; 3]);
            let ends = decode_rows(&bytes, rows.len(), &mut back).unwrap();
            prop_assert_eq!(ends.len(), rows.len());
            let mut start = 0;
            for (row, end) in rows.iter().zip(ends) {
                prop_assert_eq!(row.as_bytes(), &back[start..end as usize]);
                start = end as usize;
            }
        }

        #[test]
        fn parts_survive(parts in any_parts()) {
            let back = decode_parts(&listed_parts(&parts), 12, 6).unwrap();
            let mut expected = parts;
            for part in &mut expected {
                let Ok(()) = part.renumber(|row| Ok::<_, Infallible>(5 - row));
            }
            prop_assert_eq!(format!("{back:?}"), format!("{expected:?}"));
        }

        /// Damaged bytes give canonical rows, parts or a fault, never a panic.
        #[test]
        fn damage_never_panics(
            rows in any_rows(),
            parts in any_parts(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut bytes = listed(&rows);
            damage(&mut bytes, flips.clone());
            let mut back = Vec::new();
            if let Ok(ends) = decode_rows(&bytes, 40, &mut back) {
                let starts = std::iter::once(0).chain(ends.iter().copied());
                for (start, &end) in starts.zip(&ends) {
                    prop_assert!(Row::from_canonical(&back[start as usize..end as usize]).is_some());
                }
            }
            let _ = decode_rows(&bytes[..cut.index(bytes.len())], 40, &mut back);
            let mut bytes = listed_parts(&parts);
            damage(&mut bytes, flips);
            let _ = decode_parts(&bytes, 12, 6);
            let _ = decode_parts(&bytes[..cut.index(bytes.len())], 12, 6);
        }
    }
}

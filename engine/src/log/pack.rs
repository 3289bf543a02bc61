#![doc = include_str!("pack.md")]

use crate::bytes::{CHUNK, begins, copy, equal, small_hash};
use crate::codec::{self, take, take_between, varint};
use crate::error::Fault;
use rustc_hash::FxHashMap;
use std::ops::Range;

/// Columns of all shapes of a batch.
pub(super) const COLUMNS_MAX: usize = 16_384;

/// The first byte of a text whose length follows; below it stands the length itself.
pub(super) const LONG: u8 = 126;

/// The first byte of a text in the ring; the place is added.
pub(super) const IN_RING: u8 = 128;

/// Places of a ring.
pub(super) const RING: usize = 128;

/// Texts shorter than this cost no more than a place.
pub(super) const RING_TEXT_BYTES_MIN: usize = 2;

const _: () = assert!(IN_RING as usize + RING == 256 && LONG < IN_RING);

/// A place in the rows' bytes.
type Span = Range<u32>;

fn at(span: &Span) -> Range<usize> {
    span.start as usize..span.end as usize
}

/// The texts written out last for a column.
#[derive(Default)]
struct Ring {
    texts: Vec<Span>,
    next: usize,
}

impl Ring {
    /// Adds a text; tells its place.
    fn push(&mut self, text: Span) -> usize {
        let place = self.next;
        match self.texts.get_mut(place) {
            Some(oldest) => *oldest = text,
            None => self.texts.push(text),
        }
        self.next = (place + 1) % RING;
        place
    }
}

/// Takes a length off the front of canonical bytes of a row of our own.
#[inline]
fn own_len(bytes: &[u8], from: &mut usize) -> usize {
    let (mut len, mut shift) = (0, 0);
    while let Some(&byte) = bytes.get(*from) {
        *from += 1;
        len |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    len
}

/// Packs the rows of a batch.
#[derive(Default)]
pub(super) struct Packer {
    shapes: Vec<PackedShape>,
    /// Shapes by the canonical bytes of their names.
    numbers: FxHashMap<Box<[u8]>, usize>,
    /// The shape of the last row.
    last: usize,
    columns: usize,
    /// Scratch: the values of the row at hand, and its names.
    values: Vec<Span>,
    names: Vec<u8>,
    out: Vec<u8>,
}

struct PackedShape {
    columns: Vec<PackedColumn>,
}

struct PackedColumn {
    /// Its name in canonical form.
    name: Box<[u8]>,
    ring: Ring,
    /// Places of the ring, by a hash of their texts.
    places: [u8; 256],
}

impl PackedShape {
    /// Finds the values of a row that has this shape.
    #[inline]
    fn values(&self, rows: &[u8], row: &Span, values: &mut Vec<Span>) -> bool {
        values.clear();
        let mut from = row.start as usize;
        for column in &self.columns {
            if !begins(&rows[from..row.end as usize], &column.name) {
                return false;
            }
            from += column.name.len();
            let len = own_len(rows, &mut from);
            values.push(from as u32..(from + len) as u32);
            from += len;
        }
        from == row.end as usize
    }
}

impl Packer {
    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.shapes.clear();
        self.numbers.clear();
        (self.last, self.columns) = (0, 0);
        self.out.clear();
    }

    /// What was packed; `None` if the rows need more shapes than there may be.
    pub(super) fn packed(&self) -> Option<&[u8]> {
        (self.columns <= COLUMNS_MAX).then_some(&self.out)
    }

    /// Memory that is kept.
    pub(super) fn room(&self) -> usize {
        self.out.capacity()
    }

    /// Adds a row, whose canonical bytes are the last of `rows`.
    pub(super) fn row(&mut self, rows: &[u8], row: Span) {
        let last = self.shapes.get(self.last);
        if !last.is_some_and(|shape| shape.values(rows, &row, &mut self.values)) {
            self.names(rows, &row);
            if let Some(&number) = self.numbers.get(&*self.names) {
                self.last = number;
                varint::put_u64(&mut self.out, number as u64);
            } else if !self.begin_shape() {
                return;
            }
            self.shapes[self.last].values(rows, &row, &mut self.values);
        } else {
            varint::put_u64(&mut self.out, self.last as u64);
        }
        // A value takes at most a byte more than its text and that text's length, which the length of its name made up for.
        let mut end = self.out.len();
        self.out.resize(end + row.len() + CHUNK, 0);
        for (column, value) in self.shapes[self.last].columns.iter_mut().zip(&self.values) {
            end += column.put(rows, value.clone(), &mut self.out[end..]);
        }
        self.out.truncate(end);
    }

    /// Gathers the names of a row.
    fn names(&mut self, rows: &[u8], row: &Span) {
        self.names.clear();
        let mut from = row.start as usize;
        while from < row.end as usize {
            let start = from;
            let len = own_len(rows, &mut from);
            from += len;
            self.names.extend_from_slice(&rows[start..from]);
            let len = own_len(rows, &mut from);
            from += len;
        }
    }

    /// Adds the shape with the names gathered, unless there are too many.
    fn begin_shape(&mut self) -> bool {
        let (mut columns, mut from) = (Vec::new(), 0);
        while from < self.names.len() {
            let start = from;
            let len = own_len(&self.names, &mut from);
            from += len;
            let name = self.names[start..from].into();
            columns.push(PackedColumn { name, ring: Ring::default(), places: [0; 256] });
        }
        self.columns += columns.len();
        if self.columns > COLUMNS_MAX {
            return false;
        }
        self.last = self.shapes.len();
        varint::put_u64(&mut self.out, self.last as u64);
        varint::put_u64(&mut self.out, columns.len() as u64);
        self.out.extend_from_slice(&self.names);
        self.numbers.insert(self.names.as_slice().into(), self.last);
        self.shapes.push(PackedShape { columns });
        true
    }
}

impl PackedColumn {
    /// Puts a value to the front of `out`; tells its length.
    #[inline]
    fn put(&mut self, rows: &[u8], value: Span, out: &mut [u8]) -> usize {
        let text = &rows[at(&value)];
        let start = value.start as usize;
        if text.len() >= RING_TEXT_BYTES_MIN {
            // What it misses costs bytes and nothing else.
            let hash = (small_hash(text) >> 56) as usize;
            let place = self.places[hash];
            if let Some(other) = self.ring.texts.get(usize::from(place))
                && equal(&rows[at(other)], text)
            {
                out[0] = IN_RING + place;
                return 1;
            }
            self.places[hash] = self.ring.push(value) as u8;
        }
        let head = if text.len() < usize::from(LONG) {
            out[0] = text.len() as u8;
            1
        } else {
            out[0] = LONG;
            1 + varint::write_u64(&mut out[1..], text.len() as u64)
        };
        copy(&mut out[head..], &rows[start..], text.len());
        head + text.len()
    }
}

/// A shape of packed rows.
struct Shape {
    columns: Vec<Column>,
}

struct Column {
    /// Its name in canonical form.
    name: Box<[u8]>,
    ring: Ring,
}

/// Takes so many packed rows off the front of `packed` and appends each as its length and its canonical bytes, as long as
/// `out` is no longer than `limit`.
pub(super) fn unpack(packed: &mut &[u8], count: u64, out: &mut Vec<u8>, limit: usize) -> Result<(), Fault> {
    let mut shapes: Vec<Shape> = Vec::new();
    let mut columns = 0;
    let mut row = Vec::new();
    let mut fresh: Vec<(usize, Span)> = Vec::new();
    for _ in 0..count {
        let number = take_between(packed, 0, shapes.len() as u64)? as usize;
        if number == shapes.len() {
            let shape = take_shape(packed, COLUMNS_MAX - columns)?;
            columns += shape.columns.len();
            shapes.push(shape);
        }
        row.clear();
        fresh.clear();
        let room = limit.saturating_sub(out.len());
        for (i, column) in shapes[number].columns.iter().enumerate() {
            row.extend_from_slice(&column.name);
            let first = codec::take_u8(packed)?;
            let text = match first {
                IN_RING.. => match column.ring.texts.get(usize::from(first - IN_RING)) {
                    Some(text) => &out[at(text)],
                    None => return Err(Fault::Value { what: "place of a text" }),
                },
                LONG => {
                    let len = varint::take_u64(packed)?;
                    take(packed, usize::try_from(len).unwrap_or(usize::MAX))?
                }
                0..LONG => take(packed, usize::from(first))?,
                _ => return Err(Fault::Tag { what: "text of a packed row", found: u64::from(first) }),
            };
            varint::put_u64(&mut row, text.len() as u64);
            if row.len() + text.len() > room {
                return Err(too_long(limit));
            }
            if first < IN_RING && text.len() >= RING_TEXT_BYTES_MIN {
                fresh.push((i, row.len() as u32..(row.len() + text.len()) as u32));
            }
            row.extend_from_slice(text);
        }
        if varint::len_u64(row.len() as u64) + row.len() > room {
            return Err(too_long(limit));
        }
        varint::put_u64(out, row.len() as u64);
        let start = out.len() as u32;
        out.extend_from_slice(&row);
        for (i, text) in fresh.drain(..) {
            shapes[number].columns[i].ring.push(start + text.start..start + text.end);
        }
    }
    Ok(())
}

fn too_long(limit: usize) -> Fault {
    Fault::Limit { what: "bytes of packed rows", found: limit as u64 + 1, limit: limit as u64 }
}

fn take_shape(packed: &mut &[u8], columns_max: usize) -> Result<Shape, Fault> {
    let count = take_between(packed, 0, columns_max as u64)?;
    let mut columns = Vec::new();
    for _ in 0..count {
        let before = *packed;
        let len = varint::take_u64(packed)?;
        take(packed, usize::try_from(len).unwrap_or(usize::MAX))?;
        let name = before[..before.len() - packed.len()].into();
        columns.push(Column { name, ring: Ring::default() });
    }
    Ok(Shape { columns })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Row, RowBuilder};
    use proptest::prelude::*;

    fn row(columns: &[(&[u8], &[u8])]) -> Row {
        let mut builder = RowBuilder::new();
        columns.iter().for_each(|(name, text)| builder.column(name, text));
        builder.row()
    }

    /// The rows as a content lists them, and packed.
    fn pack(rows: &[Row]) -> (Vec<u8>, Option<Vec<u8>>) {
        let (mut listed, mut packer) = (Vec::new(), Packer::default());
        for row in rows {
            varint::put_u64(&mut listed, row.as_bytes().len() as u64);
            let start = listed.len() as u32;
            listed.extend_from_slice(row.as_bytes());
            packer.row(&listed, start..listed.len() as u32);
        }
        (listed, packer.packed().map(<[u8]>::to_vec))
    }

    fn unpacked(mut packed: &[u8], count: usize, limit: usize) -> Result<Vec<u8>, Fault> {
        let mut out = Vec::new();
        unpack(&mut packed, count as u64, &mut out, limit)?;
        codec::finish(packed)?;
        Ok(out)
    }

    #[test]
    fn the_example_of_the_page() {
        let rows = [row(&[(b"uid", b"0"), (b"name", b"root")]), row(&[(b"uid", b"7"), (b"name", b"root")])];
        let packed = pack(&rows).1.unwrap();
        let hex: Vec<String> = packed.iter().map(|byte| format!("{byte:02x}")).collect();
        let lines: Vec<String> = hex.chunks(16).map(|line| line.join(" ")).collect();
        let page = include_str!("pack.md");
        assert!(page.contains(&format!("\n```text\n{}\n```\n", lines.join("\n"))), "{}", lines.join("\n"));
    }

    #[test]
    fn the_page_names_the_numbers_of_the_code() {
        let page = include_str!("pack.md");
        let long = LONG - 1;
        for line in [
            format!("| 0–{long} | a text of that length"),
            format!("| {LONG} | a longer text"),
            format!("| {IN_RING}–255 | the text at place 0–{}", RING - 1),
            format!("from the {}th on", RING + 1),
            format!("at most {COLUMNS_MAX} columns"),
        ] {
            assert!(page.contains(&line), "{line}");
        }
        assert_eq!(RING_TEXT_BYTES_MIN, 2, "at least two bytes long");
    }

    #[test]
    fn rings_turn_around() {
        let texts: Vec<String> = (0..300).chain(100..400).chain([399, 250, 399]).map(|n| format!("text {n}")).collect();
        // Each again at once: every place is told.
        let texts: Vec<&String> = texts.iter().flat_map(|text| [text, text]).collect();
        let rows: Vec<Row> = texts.iter().map(|text| row(&[(b"a", text.as_bytes())])).collect();
        let (listed, packed) = pack(&rows);
        let packed = packed.unwrap();
        assert_eq!(unpacked(&packed, rows.len(), listed.len()).unwrap(), listed);
        assert!(packed.len() < listed.len());
    }

    #[test]
    fn too_many_shapes_are_not_packed() {
        let name = |n: usize| format!("column {n}");
        let rows: Vec<Row> = (0..=COLUMNS_MAX).map(|n| row(&[(name(n).as_bytes(), b"1")])).collect();
        let (listed, packed) = pack(&rows[1..]);
        assert_eq!(unpacked(&packed.unwrap(), COLUMNS_MAX, listed.len()).unwrap(), listed);
        assert!(pack(&rows).1.is_none());
    }

    #[test]
    fn a_short_text_cannot_unpack_to_a_long_one() {
        let (_, packed) = pack(&[row(&[(b"a", &[b'x'; 1000])])]);
        let mut packed = packed.unwrap();
        packed.extend([0, IN_RING].repeat(1_000_000));
        assert!(matches!(unpacked(&packed, 1_000_001, 50_000), Err(Fault::Limit { .. })));
    }

    fn any_text() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            3 => prop::sample::select(vec![&b""[..], b"0", b"10", b"/bin/sh", b"/usr/bin/env", b"a text of some length"])
                .prop_map(<[u8]>::to_vec),
            1 => prop::collection::vec(any::<u8>(), 0..12),
            1 => (120usize..140).prop_map(|len| vec![b'x'; len]),
        ]
    }

    fn any_row() -> impl Strategy<Value = Row> {
        let name = prop::sample::select(vec![&b"a"[..], b"b", b"", b"uid", b"path"]);
        prop::collection::vec((name, any_text()), 0..5).prop_map(|columns| {
            let columns: Vec<(&[u8], &[u8])> = columns.iter().map(|(name, text)| (*name, &text[..])).collect();
            row(&columns)
        })
    }

    proptest! {
        #[test]
        fn rows_survive(rows in prop::collection::vec(any_row(), 0..60)) {
            let (listed, packed) = pack(&rows);
            prop_assert_eq!(unpacked(&packed.unwrap(), rows.len(), listed.len()).unwrap(), listed);
        }

        #[test]
        fn no_damage_panics(
            rows in prop::collection::vec(any_row(), 1..20),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            limit in 0usize..3000,
        ) {
            let mut packed = pack(&rows).1.unwrap();
            for (at, byte) in damage {
                let at = at.index(packed.len());
                packed[at] = byte;
            }
            let mut out = Vec::new();
            let _ = unpack(&mut &packed[..], rows.len() as u64, &mut out, limit);
            prop_assert!(out.len() <= limit);
        }
    }
}

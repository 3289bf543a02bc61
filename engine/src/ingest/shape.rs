//! Rows of one query are written alike: the same columns in the same order, only the values differ.
//!
//! A shape is the text around the values of one row. A row whose text around the values is byte-equal to it needs no
//! parse of that text, no comparison of names and no sorting: only its values are scanned, and they are copied to their
//! canonical places. What is not written in the shape is nobody's loss: it is read as if there were none.
//!
//! Invariants:
//! - What a shape takes, reading without it takes too, up to the same byte and with the same canonical bytes.
//! - A shape never takes a newline, so whoever gives it a block of lines gets back a place in the same line.
//!
//! Steps: [`Shape::of`] learns from a row that was read without → [`Shape::take`] finds the values, then puts them in the
//! order of the columns' names.

use super::columns::text_of;
use super::double;
use super::json::{Scanner, Value, plain_bytes};
use crate::bytes::begins;
use memchr::memchr;

/// More columns than any table has; rows with more are read without a shape.
const COLUMNS_MAX: usize = 256;

/// Bytes are copied so many at a time, over the end of what is meant, since a fixed length costs no call.
const STRIDE: usize = 16;

/// Values longer than this are copied in one go.
const SHORT_BYTES: usize = 64;

/// One column as the rows of a shape write it.
struct Column {
    /// From the value before, or the row's start, to this value: `{"name":` or `,"name":`.
    lead: Box<[u8]>,
    /// The length of the name and the name, in canonical form, and then zeros up to a whole number of strides.
    name: Box<[u8]>,
    name_len: usize,
    /// Whether its texts are rewritten.
    double: bool,
}

/// A value found in a row.
#[derive(Clone, Copy)]
struct Found {
    start: usize,
    end: usize,
    /// Whether the bytes stand for themselves; if not, the value is read again when it is written.
    plain: bool,
}

/// The text around the values of a row.
pub(super) struct Shape {
    /// In the order in which they are written.
    columns: Vec<Column>,
    /// Places in `columns`, by name.
    order: Vec<usize>,
    /// Bytes of all names in canonical form, strides filled up.
    name_bytes: usize,
    /// Scratch: the values of the row at hand, as written.
    found: Vec<Found>,
}

impl Shape {
    /// The shape of a row; `None` if it has none that could occur again. `doubles` says which columns are DOUBLE.
    pub(super) fn of(row: &[u8], doubles: impl Fn(&[u8]) -> bool) -> Option<Shape> {
        let mut columns: Vec<Column> = Vec::new();
        let mut names: Vec<&[u8]> = Vec::new();
        let mut plain = true;
        let scanned = Scanner::new(row).object(|scanner, key| {
            plain &= !key.is_escaped();
            names.push(key.raw());
            let opens: &[u8] = if columns.is_empty() { b"{\"" } else { b",\"" };
            let lead = [opens, key.raw(), b"\":"].concat().into_boxed_slice();
            let mut name = Vec::new();
            crate::codec::varint::put_u64(&mut name, key.raw().len() as u64);
            name.extend_from_slice(key.raw());
            let name_len = name.len();
            name.resize(name_len.next_multiple_of(STRIDE), 0);
            columns.push(Column { lead, name: name.into(), name_len, double: doubles(key.raw()) });
            scanner.value(0).map(drop)
        });
        let mut order: Vec<usize> = (0..columns.len()).collect();
        order.sort_unstable_by_key(|&at| names[at]);
        let repeats = order.windows(2).any(|pair| names[pair[0]] == names[pair[1]]);
        if scanned.is_err() || !plain || repeats || columns.is_empty() || columns.len() > COLUMNS_MAX {
            return None;
        }
        let name_bytes = columns.iter().map(|column| column.name.len()).sum();
        Some(Shape { found: Vec::with_capacity(columns.len()), columns, order, name_bytes })
    }

    /// Takes a row off the front of `text` if it is written in this shape: appends its canonical bytes to `out` and tells
    /// how long the row's text is. What follows in `text` may be anything.
    #[inline]
    pub(super) fn take(&mut self, text: &[u8], scratch: &mut Vec<u8>, out: &mut Canonical) -> Option<usize> {
        let end = self.find(text)?;
        // A value takes at most five bytes for its length, and a rewritten one is at most as long as this.
        let most = self.name_bytes + end + self.columns.len() * (5 + size_of::<double::DoubleText>()) + SHORT_BYTES;
        let (bytes, mut at) = out.room(most);
        for &place in &self.order {
            let (column, found) = (&self.columns[place], self.found[place]);
            for (i, stride) in column.name.chunks_exact(STRIDE).enumerate() {
                bytes[at + i * STRIDE..][..STRIDE].copy_from_slice(stride);
            }
            at += column.name_len;
            if found.plain && !column.double {
                let len = found.end - found.start;
                at = put_len(bytes, at, len);
                if len <= SHORT_BYTES && found.start + SHORT_BYTES + STRIDE <= text.len() {
                    let mut done = 0;
                    while done < len {
                        let stride = &text[found.start + done..][..STRIDE];
                        bytes[at + done..][..STRIDE].copy_from_slice(stride);
                        done += STRIDE;
                    }
                } else {
                    bytes[at..at + len].copy_from_slice(&text[found.start..found.end]);
                }
                at += len;
            } else {
                at = put_value(bytes, at, &text[found.start..found.end], found.plain, column.double, scratch);
            }
        }
        out.len = at;
        Some(end)
    }

    /// Finds the values; tells where the row ends.
    #[inline]
    fn find(&mut self, text: &[u8]) -> Option<usize> {
        self.found.clear();
        let mut at = 0;
        for column in &self.columns {
            if !begins(text.get(at..)?, &column.lead) {
                return None;
            }
            at += column.lead.len();
            let first = *text.get(at)?;
            if first == b'"' {
                let start = at + 1;
                let end = start + plain_bytes(&text[start..]);
                if text.get(end) == Some(&b'"') {
                    self.found.push(Found { start, end, plain: true });
                    at = end + 1;
                    continue;
                }
            }
            // A container may have white space in it, but no line goes on after its newline.
            let rest = match first {
                b'{' | b'[' => &text[at..at + memchr(b'\n', &text[at..])?],
                _ => &text[at..],
            };
            let mut scanner = Scanner::new(rest);
            let plain = matches!(scanner.value(VALUE_OUTER).ok()?, Value::Number(_));
            let end = at + scanner.position();
            self.found.push(Found { start: at, end, plain });
            at = end;
        }
        (text.get(at) == Some(&b'}')).then_some(at + 1)
    }
}

/// A value of a row-per-line row stands inside the line's own object and the row.
const VALUE_OUTER: u32 = 2;

/// Writes a value that is not simply copied; tells where it ends.
#[cold]
fn put_value(bytes: &mut [u8], at: usize, raw: &[u8], plain: bool, double: bool, scratch: &mut Vec<u8>) -> usize {
    let text = match plain {
        true => raw,
        false => Scanner::new(raw).value(VALUE_OUTER).map_or(raw, |value| text_of(value, scratch)),
    };
    let rewritten = if double { double::rewrite(text) } else { None };
    let text = rewritten.as_deref().unwrap_or(text);
    let at = put_len(bytes, at, text.len());
    bytes[at..at + text.len()].copy_from_slice(text);
    at + text.len()
}

/// Writes a length as a varint; tells where it ends.
#[inline]
fn put_len(bytes: &mut [u8], mut at: usize, mut len: usize) -> usize {
    while len >= 0x80 {
        bytes[at] = len as u8 | 0x80;
        len >>= 7;
        at += 1;
    }
    bytes[at] = len as u8;
    at + 1
}

/// Canonical rows, one after the other, with room behind them that may hold anything.
#[derive(Default)]
pub(super) struct Canonical {
    bytes: Vec<u8>,
    len: usize,
}

impl Canonical {
    /// What was put.
    #[inline]
    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// How many bytes were put.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Forgets what was put after the first `len` bytes.
    pub(super) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Puts bytes at the end.
    pub(super) fn put(&mut self, more: &[u8]) {
        let (bytes, at) = self.room(more.len());
        bytes[at..at + more.len()].copy_from_slice(more);
        self.len += more.len();
    }

    /// Gives memory back that a rare large row took.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        if self.bytes.len() > bytes_max {
            self.bytes = Vec::new();
            self.len = 0;
        }
    }

    /// The bytes with room for so many more, and where these begin.
    #[inline]
    fn room(&mut self, more: usize) -> (&mut [u8], usize) {
        if self.bytes.len() - self.len < more {
            let size = (self.len + more).max(self.bytes.len() * 2).max(1 << 12);
            self.bytes.resize(size, 0);
        }
        (&mut self.bytes, self.len)
    }
}

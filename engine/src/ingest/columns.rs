//! Validated JSON becomes canonical rows.
//!
//! The second pass over a line: the first one ([`super::line`]) found the spans that hold rows and validated them; by
//! now the caller knows the table, and with it which columns are DOUBLE.
//!
//! Invariants:
//! - A [`RawObject`] is a valid JSON object and a [`RawList`] a valid JSON list of objects: only this folder makes them.
//! - One [`RowReader`] reads any number of rows; it allocates only when a row or an escaped string outgrows it.

use super::double;
use super::json::{Fault, Scanner, Value, compact};
use crate::row::RowBuilder;

/// A validated JSON object: one row.
#[derive(Clone, Copy, Debug)]
pub struct RawObject<'a>(&'a [u8]);

impl<'a> RawObject<'a> {
    pub(super) fn from_validated(json: &'a [u8]) -> RawObject<'a> {
        RawObject(json)
    }

    /// The object as written.
    pub fn json(self) -> &'a [u8] {
        self.0
    }
}

/// A validated JSON list of objects: rows.
#[derive(Clone, Copy, Debug)]
pub struct RawList<'a>(&'a [u8]);

impl<'a> RawList<'a> {
    /// No rows.
    pub const EMPTY: RawList<'static> = RawList(b"[]");

    pub(super) fn from_validated(json: &'a [u8]) -> RawList<'a> {
        RawList(json)
    }

    /// The list as written; `[]` for the empty string.
    pub fn json(self) -> &'a [u8] {
        self.0
    }

    /// Whether there are no rows.
    pub fn is_empty(self) -> bool {
        !self.0.contains(&b'{')
    }
}

/// Reads rows out of validated JSON, one after the other.
#[derive(Default)]
pub struct RowReader {
    builder: RowBuilder,
    name: Vec<u8>,
    text: Vec<u8>,
}

impl RowReader {
    /// A reader with nothing read.
    pub fn new() -> RowReader {
        RowReader::default()
    }

    /// The canonical bytes of one row; `doubles` says which columns are DOUBLE.
    pub fn row(&mut self, object: RawObject<'_>, doubles: impl Fn(&[u8]) -> bool) -> &[u8] {
        let read = self.read(&mut Scanner::new(object.0), &doubles);
        debug_assert_eq!(read, Ok(()), "validated before");
        self.builder.canonical()
    }

    /// Gives `each` the canonical bytes of every row, in the list's order; `doubles` says which columns are DOUBLE.
    pub fn rows(&mut self, list: RawList<'_>, doubles: impl Fn(&[u8]) -> bool, mut each: impl FnMut(&[u8])) {
        let read = Scanner::new(list.0).list(|scanner| {
            self.read(scanner, &doubles)?;
            each(self.builder.canonical());
            Ok(())
        });
        debug_assert_eq!(read, Ok(()), "validated before");
    }

    /// The canonical bytes of the row that was read last.
    pub(super) fn canonical(&mut self) -> &[u8] {
        self.builder.canonical()
    }

    /// Consumes one object into the builder.
    pub(super) fn read(&mut self, scanner: &mut Scanner<'_>, doubles: &impl Fn(&[u8]) -> bool) -> Result<(), Fault> {
        let RowReader { builder, name, text } = self;
        builder.clear();
        scanner.object(|scanner, key| {
            let name = key.bytes(name);
            let text = text_of(scanner.value(0)?, text);
            let numeric = matches!(text.first(), Some(b'-' | b'0'..=b'9'));
            match if numeric && doubles(name) { double::rewrite(text) } else { None } {
                Some(rewritten) => builder.column(name, &rewritten),
                None => builder.column(name, text),
            }
            Ok(())
        })
    }
}

/// The text that a value becomes; `scratch` holds it where it is not the value as written.
pub(super) fn text_of<'b>(value: Value<'b>, scratch: &'b mut Vec<u8>) -> &'b [u8] {
    match value {
        Value::String(string) => string.bytes(scratch),
        Value::Number(number) => number,
        Value::Null => b"",
        Value::True => b"true",
        Value::False => b"false",
        Value::List(json) | Value::Object(json) => compact(json, scratch),
    }
}

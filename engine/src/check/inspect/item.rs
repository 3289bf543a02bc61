//! What is shown of a structure, and where it goes.

use crate::error::Fault;
use crate::fact::{Micros, Name, Second};
use crate::row::Row;
use std::fmt;
use std::io;

/// One structure of a file, or something decoded from the one above it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item<'f> {
    /// The file's name.
    pub file: &'f str,
    /// Where the structure begins; of something decoded, where that begins which it was decoded from.
    pub offset: u64,
    /// How many bytes it takes there.
    pub bytes: u64,
    /// 0 for a structure of the file; 1 and more for what was decoded from the last item with less.
    pub depth: u8,
    /// What it is.
    pub structure: &'static str,
    /// What it says.
    pub fields: Vec<(&'static str, Value)>,
    /// What is wrong with it.
    pub finding: Option<Finding>,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing, where something could be.
    None,
    /// A count, an offset, a number.
    Number(u64),
    /// A number that is larger.
    Wide(u128),
    /// Yes or no.
    Flag(bool),
    /// A word of the format's own.
    Word(&'static str),
    /// A name that hosts or their operators chose: any bytes.
    Text(Name),
    /// Bytes that are no text.
    Bytes(Vec<u8>),
    /// A checksum.
    Checksum(u32),
    /// An observed second.
    Second(Second),
    /// A recorded time.
    Micros(Micros),
    /// A row.
    Row(Row),
    /// Several.
    List(Vec<Value>),
}

/// What is wrong with a structure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// Bytes are not what was written, or are not there.
    Damage(Fault),
    /// Bytes are not whole, as a crash leaves them: recovery passes over them and loses nothing that was durable.
    Torn(Fault),
    /// The bytes are of a format that this program does not read.
    Version(u16),
    /// The operating system refused to read the file.
    Unread(String),
}

impl Finding {
    /// The word for its kind.
    pub fn word(&self) -> &'static str {
        match self {
            Finding::Damage(_) => "damage",
            Finding::Torn(_) => "torn",
            Finding::Version(_) => "version",
            Finding::Unread(_) => "unread",
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Finding::Damage(fault) | Finding::Torn(fault) => fault.fmt(f),
            Finding::Unread(text) => f.write_str(text),
            Finding::Version(found) => write!(f, "this program does not read format {found}"),
        }
    }
}

/// Takes the items of one file.
pub(super) struct Sink<'s> {
    file: &'s str,
    rows: usize,
    each: &'s mut dyn FnMut(&Item<'_>) -> io::Result<()>,
    /// Where the last structure of the file is: what is decoded stands there too.
    place: (u64, u64),
}

/// The fields of an item.
pub(super) type Fields = Vec<(&'static str, Value)>;

impl<'s> Sink<'s> {
    pub(super) fn new(file: &'s str, rows: usize, each: &'s mut dyn FnMut(&Item<'_>) -> io::Result<()>) -> Sink<'s> {
        Sink { file, rows, each, place: (0, 0) }
    }

    pub(super) fn file(&self) -> &'s str {
        self.file
    }

    /// So many rows of a structure are shown.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// A structure of the file.
    pub(super) fn put(
        &mut self,
        offset: u64,
        bytes: u64,
        structure: &'static str,
        fields: Fields,
        finding: Option<Finding>,
    ) -> io::Result<()> {
        self.place = (offset, bytes);
        (self.each)(&Item { file: self.file, offset, bytes, depth: 0, structure, fields, finding })
    }

    /// Something decoded from the last structure.
    pub(super) fn inner(&mut self, depth: u8, structure: &'static str, fields: Fields) -> io::Result<()> {
        self.inner_with(depth, structure, fields, None)
    }

    /// Something decoded from the last structure, with what is wrong with it.
    pub(super) fn inner_with(
        &mut self,
        depth: u8,
        structure: &'static str,
        fields: Fields,
        finding: Option<Finding>,
    ) -> io::Result<()> {
        let (offset, bytes) = self.place;
        (self.each)(&Item { file: self.file, offset, bytes, depth, structure, fields, finding })
    }
}

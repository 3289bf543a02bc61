//! Columns as bytes, one file per encoding; no encoding knows of files.
//!
//! A block never says how many values it holds: whoever asks for it knows, and gives the number to the decoder.
//!
//! Invariants:
//! - Bytes from anywhere never panic: a decoder answers with values or with a [`Fault`].
//! - A decoder allocates no more than follows from the count and the limit that its caller gave.
//! - A decoder takes from the front of its input exactly what the encoder appended; what follows is not its own.
//! - Numbers that stand for a form are never reused.

pub mod bits;
pub mod gaps;
pub mod ints;
pub mod line;
pub mod packed;
pub mod records;
pub mod texts;
pub mod varint;
pub mod zstd;

use std::fmt;

/// How hard an encoder tries to be short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// Nothing is sought: for what is read once, soon, and written anew.
    Quick,
    /// The smallest of all forms, with zstd at this level.
    Zstd(i32),
}

/// What is wrong with bytes; the caller knows in which file and structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The bytes end too early.
    Length {
        /// So many were needed.
        needed: u64,
        /// So many were there.
        found: u64,
    },
    /// A number that stands for no form of the structure.
    Tag {
        /// The number.
        found: u8,
    },
    /// A varint that is not in its shortest form or exceeds 64 bits.
    Varint {
        /// Its last byte.
        last: u8,
        /// Its length.
        bytes: u8,
    },
    /// Values that must ascend do not.
    Order {
        /// The value before.
        previous: u64,
        /// The value that should be greater.
        found: u64,
    },
    /// A value outside what its place allows.
    Range {
        /// The value.
        found: u64,
        /// The least allowed.
        min: u64,
        /// The greatest allowed.
        max: u64,
    },
    /// Bytes after the structure's end.
    Trailing {
        /// How many.
        bytes: u64,
    },
    /// A checksum that does not match.
    Checksum {
        /// What the bytes should sum to.
        expected: u32,
        /// What they do sum to.
        found: u32,
    },
    /// More memory would be needed than the caller allows.
    Limit {
        /// The bytes needed.
        needed: u64,
        /// The bytes allowed.
        limit: u64,
    },
    /// A zstd frame that does not decode to what it should.
    Zstd {
        /// The length it should decode to.
        expected: u64,
        /// The length it does decode to; `None` if it does not decode.
        found: Option<u64>,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Length { needed, found } => {
                write!(f, "{needed} bytes were needed, {found} were there")
            }
            Fault::Tag { found } => write!(f, "the tag {found} is unknown"),
            Fault::Varint { last, bytes } => {
                write!(f, "a varint of {bytes} bytes that ends with {last:#04x} is not in shortest form")
            }
            Fault::Order { previous, found } => {
                write!(f, "{found} follows {previous}, which is not less")
            }
            Fault::Range { found, min, max } => write!(f, "{found} is not between {min} and {max}"),
            Fault::Trailing { bytes } => write!(f, "{bytes} bytes follow the end"),
            Fault::Checksum { expected, found } => {
                write!(f, "the checksum should be {expected:#010x} and is {found:#010x}")
            }
            Fault::Limit { needed, limit } => {
                write!(f, "{needed} bytes would be needed, {limit} are allowed")
            }
            Fault::Zstd { expected, found: Some(found) } => {
                write!(f, "a zstd frame holds {found} bytes and should hold {expected}")
            }
            Fault::Zstd { expected, found: None } => {
                write!(f, "a zstd frame that should hold {expected} bytes does not decode")
            }
        }
    }
}

impl std::error::Error for Fault {}

/// Takes so many bytes off the front.
pub fn take<'a>(bytes: &mut &'a [u8], len: usize) -> Result<&'a [u8], Fault> {
    match bytes.split_at_checked(len) {
        Some((taken, rest)) => {
            *bytes = rest;
            Ok(taken)
        }
        None => Err(Fault::Length { needed: len as u64, found: bytes.len() as u64 }),
    }
}

/// Takes one byte off the front.
pub fn take_u8(bytes: &mut &[u8]) -> Result<u8, Fault> {
    take(bytes, 1).map(|taken| taken[0])
}

/// Takes a varint off the front that must lie between `min` and `max`.
pub fn take_between(bytes: &mut &[u8], min: u64, max: u64) -> Result<u64, Fault> {
    match varint::take_u64(bytes)? {
        found if (min..=max).contains(&found) => Ok(found),
        found => Err(Fault::Range { found, min, max }),
    }
}

/// Refuses bytes that are left over.
pub fn finish(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.is_empty() { Ok(()) } else { Err(Fault::Trailing { bytes: bytes.len() as u64 }) }
}

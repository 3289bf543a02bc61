//! Single values: numbers, bytes, what may be absent, lists.
//!
//! Invariants:
//! - A value has one form; another form of it is malformed.
//! - A list makes room for no more entries than the bytes that are left could hold.

use erstwhile_engine::fact::{Micros, Name, Second};
use std::fmt;

/// The least and the greatest time that is sent.
pub const TIME_MAX: i64 = 1 << 60;

/// Bytes that are no message of their type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// How many bytes of the payload are left where it was noticed.
    pub left: usize,
    /// What should have been there.
    pub what: &'static str,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no {} where {} bytes of the payload are left", self.what, self.left)
    }
}

impl std::error::Error for Malformed {}

/// The result of reading.
pub type Read<T> = Result<T, Malformed>;

/// Appends values.
#[derive(Debug)]
pub struct Writer<'o> {
    out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Appends to these bytes.
    pub fn new(out: &'o mut Vec<u8>) -> Writer<'o> {
        Writer { out }
    }

    /// A byte.
    pub fn u8(&mut self, value: u8) {
        self.out.push(value);
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) {
        self.raw(&value.to_le_bytes());
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// An unsigned number.
    #[inline]
    pub fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.out.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.push(value as u8);
    }

    /// A signed number.
    #[inline]
    pub fn int(&mut self, value: i64) {
        self.uint(zigzag(value));
    }

    /// Bytes with their length.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.uint(bytes.len() as u64);
        self.raw(bytes);
    }

    /// What may be absent.
    pub fn opt<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            None => self.u8(0),
            Some(value) => {
                self.u8(1);
                write(self, value);
            }
        }
    }

    /// A list.
    pub fn list<T>(&mut self, values: impl ExactSizeIterator<Item = T>, mut write: impl FnMut(&mut Self, T)) {
        self.uint(values.len() as u64);
        values.for_each(|value| write(self, value));
    }
}

/// The unsigned form of a signed number.
#[inline]
pub fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The signed number of an unsigned form.
#[inline]
pub fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// Takes values off the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'b> {
    rest: &'b [u8],
}

impl<'b> Reader<'b> {
    /// Reads these bytes.
    pub fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader { rest: bytes }
    }

    /// What is left.
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// The error that there is no such thing here.
    #[cold]
    pub fn no(&self, what: &'static str) -> Malformed {
        Malformed { left: self.rest.len(), what }
    }

    /// Nothing may be left.
    pub fn end(&self) -> Read<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.no("end")) }
    }

    /// So many bytes.
    #[inline]
    pub fn raw(&mut self, len: usize) -> Read<&'b [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or_else(|| self.no("so many bytes"))?;
        self.rest = rest;
        Ok(bytes)
    }

    /// A byte.
    #[inline]
    pub fn u8(&mut self) -> Read<u8> {
        let (&byte, rest) = self.rest.split_first().ok_or_else(|| self.no("byte"))?;
        self.rest = rest;
        Ok(byte)
    }

    /// A byte that is 0 or 1.
    pub fn bool(&mut self) -> Read<bool> {
        Ok(self.below(2, "0 or 1")? == 1)
    }

    /// A byte below a number.
    pub fn below(&mut self, end: u8, what: &'static str) -> Read<u8> {
        let at = *self;
        let byte = self.u8()?;
        if byte < end { Ok(byte) } else { Err(at.no(what)) }
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Read<u16> {
        let bytes = self.raw(2)?;
        Ok(u16::from_le_bytes([bytes[0], bytes[1]]))
    }

    /// Sixteen bytes.
    pub fn u128(&mut self) -> Read<u128> {
        let bytes = self.raw(16)?.try_into().map_err(|_| self.no("16 bytes"))?;
        Ok(u128::from_be_bytes(bytes))
    }

    /// An unsigned number.
    #[inline]
    pub fn uint(&mut self) -> Read<u64> {
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_uint(),
        }
    }

    fn long_uint(&mut self) -> Read<u64> {
        let at = *self;
        let mut value = 0u64;
        for place in 0..10 {
            let byte = self.u8()?;
            let bits = u64::from(byte & 0x7f);
            if place == 9 && bits > 1 {
                break;
            }
            value |= bits << (7 * place);
            if byte < 0x80 {
                return if byte == 0 && place > 0 { Err(at.no("shortest form of a number")) } else { Ok(value) };
            }
        }
        Err(at.no("number of 64 bits"))
    }

    /// So many unsigned numbers, for which there must be bytes.
    pub fn uints(&mut self, count: usize) -> Read<Vec<u64>> {
        let mut values = Vec::with_capacity(count.min(self.rest.len()));
        while values.len() < count {
            // Most take a byte.
            let few = &self.rest[..self.rest.len().min(count - values.len())];
            let short = few.iter().position(|byte| *byte >= 0x80).unwrap_or(few.len());
            values.extend(few[..short].iter().map(|byte| u64::from(*byte)));
            self.rest = &self.rest[short..];
            if values.len() < count {
                values.push(self.uint()?);
            }
        }
        Ok(values)
    }

    /// A number that counts things of which each takes so many bytes at least.
    pub fn count(&mut self, bytes_each: usize) -> Read<usize> {
        let at = *self;
        let count = self.uint()?;
        let room = self.rest.len() / bytes_each.max(1);
        usize::try_from(count).ok().filter(|count| *count <= room).ok_or_else(|| at.no("room for so many"))
    }

    /// A number below another.
    #[inline]
    pub fn place(&mut self, end: usize) -> Read<usize> {
        let at = *self;
        let place = self.uint()?;
        if place < end as u64 { Ok(place as usize) } else { Err(at.no("place of what was listed")) }
    }

    /// A signed number.
    #[inline]
    pub fn int(&mut self) -> Read<i64> {
        self.uint().map(unzigzag)
    }

    /// An observed time.
    pub fn second(&mut self) -> Read<Second> {
        let at = *self;
        let value = self.int()?;
        if (-TIME_MAX..=TIME_MAX).contains(&value) { Ok(value) } else { Err(at.no("time within 2^60")) }
    }

    /// A recorded time.
    pub fn micros(&mut self) -> Read<Micros> {
        self.second()
    }

    /// Bytes with their length.
    #[inline]
    pub fn bytes(&mut self) -> Read<&'b [u8]> {
        let len = self.count(1)?;
        self.raw(len)
    }

    /// Bytes with their length, not more than so many.
    pub fn short(&mut self, max: usize) -> Read<&'b [u8]> {
        let at = *self;
        let bytes = self.bytes()?;
        if bytes.len() <= max { Ok(bytes) } else { Err(at.no("shorter text")) }
    }

    /// A name.
    pub fn name(&mut self) -> Read<Name> {
        self.bytes().map(Name::from)
    }

    /// Text, which is UTF-8.
    pub fn text(&mut self) -> Read<&'b str> {
        let at = *self;
        std::str::from_utf8(self.bytes()?).map_err(|_| at.no("UTF-8"))
    }

    /// What may be absent.
    pub fn opt<T>(&mut self, read: impl FnOnce(&mut Self) -> Read<T>) -> Read<Option<T>> {
        if self.bool()? { read(self).map(Some) } else { Ok(None) }
    }

    /// A list of things of which each takes so many bytes at least.
    pub fn list<T>(&mut self, bytes_each: usize, mut read: impl FnMut(&mut Self) -> Read<T>) -> Read<Vec<T>> {
        let count = self.count(bytes_each)?;
        let mut values = Vec::with_capacity(count.min(LIST_ROOM));
        for _ in 0..count {
            values.push(read(self)?);
        }
        Ok(values)
    }
}

/// Names of columns, which are sent once, may make rows so many times as long as the payload that they come in …
const EXPANSION_MAX: usize = 32;
/// … and so many bytes.
const EXPANSION_BYTES: usize = 1 << 16;

/// How many bytes the rows of a payload may still take.
#[derive(Debug)]
pub(crate) struct Room(usize);

impl Room {
    /// Of a payload of which so much is left.
    pub(crate) fn of(from: &Reader<'_>) -> Room {
        Room(from.rest().len().saturating_mul(EXPANSION_MAX).saturating_add(EXPANSION_BYTES))
    }

    /// Takes room for a row of a shape.
    pub(crate) fn take(&mut self, from: &Reader<'_>, shape: &Shape<'_>) -> Read<()> {
        self.0 = self.0.checked_sub(shape.bytes).ok_or_else(|| from.no("room for so many names of columns"))?;
        Ok(())
    }
}

/// The columns of rows.
pub(crate) struct Shape<'b> {
    /// Their names, which ascend.
    pub(crate) names: Vec<&'b [u8]>,
    bytes: usize,
}

impl<'b> Shape<'b> {
    pub(crate) fn get(from: &mut Reader<'b>) -> Read<Shape<'b>> {
        let at = *from;
        let names = from.list(1, Reader::bytes)?;
        if !names.is_sorted_by(|a, b| a < b) {
            return Err(at.no("columns in order"));
        }
        let bytes = names.iter().map(|name| name.len() + 2).sum();
        Ok(Shape { names, bytes })
    }
}

/// Room for more entries of a list is made as they come.
const LIST_ROOM: usize = 1 << 12;

//! The head of a block, read front to back once: what lies in the block is kept as places in it, not as slices.
//!
//! Invariants:
//! - A place that is given lies in the bytes, with as many bytes behind it as were asked for.

use crate::codec::Fault;
use crate::codec::varint;

/// Bytes and how far they are read.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    /// What is left.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        match self.bytes.get(self.at) {
            Some(byte) => {
                self.at += 1;
                Ok(*byte)
            }
            None => Err(Fault::Length { needed: 1, found: 0 }),
        }
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut rest = self.rest();
        let value = varint::take_u64(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    #[inline]
    pub(super) fn signed(&mut self) -> Result<i64, Fault> {
        let mut rest = self.rest();
        let value = varint::take_i64(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    /// A number within bounds.
    #[inline]
    pub(super) fn between(&mut self, min: u64, max: u64) -> Result<u64, Fault> {
        match self.varint()? {
            found if found < min || found > max => Err(Fault::Range { found, min, max }),
            found => Ok(found),
        }
    }

    /// Skips so many bytes, and says where they begin.
    #[inline]
    pub(super) fn skip(&mut self, len: usize) -> Result<u32, Fault> {
        let at = self.at;
        if len > self.bytes.len() - at {
            return Err(Fault::Length { needed: len as u64, found: (self.bytes.len() - at) as u64 });
        }
        self.at += len;
        u32::try_from(at).map_err(|_| Fault::Limit { needed: at as u64, limit: u64::from(u32::MAX) })
    }

    /// Skips so many fields of so many bits.
    #[inline]
    pub(super) fn skip_bits(&mut self, count: usize, width: u32) -> Result<u32, Fault> {
        self.skip((count * width as usize).div_ceil(8))
    }
}

/// The field of `width` bits, at most 64, that is so manieth after place `at`.
#[inline]
pub(super) fn field(bytes: &[u8], at: u32, i: usize, width: u32) -> u64 {
    crate::codec::packed::bits_at(bytes, at as usize * 8 + i * width as usize, width)
}

/// The same of at most 57 bits.
#[inline]
pub(super) fn short_field(bytes: &[u8], at: u32, i: usize, width: u32) -> u64 {
    crate::codec::packed::short_at(bytes, at as usize * 8 + i * width as usize, width)
}

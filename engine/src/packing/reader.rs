//! The head of a block, read front to back once: what lies in the block is kept as places in it, not as slices.
//!
//! Invariants:
//! - Once [`Reader::check`] was content, every place that was given lies in the bytes, with as many bytes behind it as
//!   were asked for; it is asked once, since what reads beyond the end only reads zeros.

use crate::codec::packed::word_at;
use crate::codec::{Fault, varint};

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
    #[inline(always)]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// A fault if more was read or skipped than there is.
    #[inline(always)]
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.at <= self.bytes.len().min(u32::MAX as usize) {
            return Ok(());
        }
        Err(Fault::Length { needed: self.at as u64, found: self.bytes.len() as u64 })
    }

    #[inline(always)]
    pub(super) fn byte(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at = self.at.saturating_add(1);
        byte
    }

    #[inline(always)]
    pub(super) fn varint(&mut self) -> Result<u64, Fault> {
        match self.bytes.get(self.at) {
            Some(byte) if *byte < 0x80 => {
                self.at += 1;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    #[inline(always)]
    pub(super) fn signed(&mut self) -> Result<i64, Fault> {
        // Up to eight bytes at once: the first without its top bit set is the last one.
        let word = word_at(self.bytes, self.at);
        let ends = !word & 0x8080_8080_8080_8080;
        let len = ends.trailing_zeros() / 8 + 1;
        let folded = if ends != 0 && word >> (8 * len - 8) & 0x7f != 0 && self.at.saturating_add(8) <= self.bytes.len()
        {
            self.at += len as usize;
            let sevens = word & u64::MAX >> (64 - 8 * len) & 0x7f7f_7f7f_7f7f_7f7f;
            let pairs = sevens & 0x007f_007f_007f_007f | (sevens & 0x7f00_7f00_7f00_7f00) >> 1;
            let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) >> 2;
            fours & 0x0fff_ffff | (fours & 0x0fff_ffff_0000_0000) >> 4
        } else {
            self.long_varint()?
        };
        Ok(varint::unfold(folded))
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Fault> {
        let mut rest = self.rest();
        let value = varint::take_u64(&mut rest)?;
        self.at = self.bytes.len() - rest.len();
        Ok(value)
    }

    /// A number within bounds.
    #[inline(always)]
    pub(super) fn between(&mut self, min: u64, max: u64) -> Result<u64, Fault> {
        match self.varint()? {
            found if found < min || found > max => Err(Fault::Range { found, min, max }),
            found => Ok(found),
        }
    }

    /// Skips so many bytes, and says where they begin.
    #[inline(always)]
    pub(super) fn skip(&mut self, len: usize) -> u32 {
        let at = self.at as u32;
        self.at = self.at.saturating_add(len);
        at
    }

    /// Skips so many fields of so many bits.
    #[inline(always)]
    pub(super) fn skip_bits(&mut self, count: usize, width: u32) -> u32 {
        self.skip((count * width as usize).div_ceil(8))
    }
}

/// The field of `width` bits, at most 64, that is so manieth after place `at`.
#[inline(always)]
pub(super) fn field(bytes: &[u8], at: u32, i: usize, width: u32) -> u64 {
    crate::codec::packed::bits_at(bytes, at as usize * 8 + i * width as usize, width)
}

/// The same of at most 57 bits.
#[inline(always)]
pub(super) fn short_field(bytes: &[u8], at: u32, i: usize, width: u32) -> u64 {
    crate::codec::packed::short_at(bytes, at as usize * 8 + i * width as usize, width)
}

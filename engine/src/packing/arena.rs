//! Short texts side by side, and a writer that copies them without a call for each.
//!
//! Invariants:
//! - Behind the last text of an [`Arena`] at least [`SPARE`] bytes follow, so any text is copied in whole chunks.
//! - A [`Writer`] leaves in its vector what was put and nothing else.

use super::tokens::put_digits;

/// Texts are copied by so many bytes at a time.
pub(super) const SPARE: usize = 32;
/// A writer makes room for so many bytes at a time.
const ROOM: usize = 256;

/// Where a text lies in an arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Piece {
    start: u32,
    len: u32,
}

impl Piece {
    /// No text, not even an empty one.
    pub(super) const NONE: Piece = Piece { start: 0, len: u32::MAX };

    pub(super) fn is_none(self) -> bool {
        self.len == u32::MAX
    }

    /// The piece without its first bytes.
    pub(super) fn skip(self, bytes: usize) -> Piece {
        let bytes = (bytes as u32).min(self.len);
        Piece { start: self.start + bytes, len: self.len - bytes }
    }
}

/// Short texts side by side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Arena(Vec<u8>);

impl Default for Arena {
    fn default() -> Arena {
        Arena(vec![0; SPARE])
    }
}

impl Arena {
    pub(super) fn push(&mut self, text: &[u8]) -> Piece {
        self.push_all([text])
    }

    /// Some texts one after the other, as one.
    pub(super) fn push_all<const N: usize>(&mut self, texts: [&[u8]; N]) -> Piece {
        let start = self.len();
        self.0.truncate(start);
        texts.iter().for_each(|text| self.0.extend_from_slice(text));
        let len = self.0.len() - start;
        self.0.extend_from_slice(&[0; SPARE]);
        Piece { start: start as u32, len: len as u32 }
    }

    pub(super) fn get(&self, piece: Piece) -> &[u8] {
        &self.0[piece.start as usize..][..piece.len as usize]
    }

    /// How many bytes all texts have.
    pub(super) fn len(&self) -> usize {
        self.0.len() - SPARE
    }
}

/// Appends to a vector.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
    at: usize,
}

impl<'a> Writer<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Vec<u8>) -> Writer<'a> {
        let at = out.len();
        out.resize(at + ROOM, 0);
        Writer { out, at }
    }

    #[inline]
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Takes back so many of the bytes that were put.
    pub(super) fn take_back(&mut self, bytes: usize) {
        self.at -= bytes;
    }

    /// Room for so many bytes and some to spare.
    #[inline(always)]
    fn room(&mut self, len: usize) -> &mut [u8] {
        if self.out.len() < self.at + len + SPARE {
            self.grow(len);
        }
        &mut self.out[self.at..]
    }

    #[cold]
    fn grow(&mut self, len: usize) {
        self.out.resize(self.at + len + ROOM, 0);
    }

    #[inline(always)]
    pub(super) fn piece(&mut self, arena: &Arena, piece: Piece) {
        // Whole chunks, so that no length is told to a copy: what is too much is written over or cut off.
        let (start, len) = (piece.start as usize, piece.len as usize);
        let chunks = len.next_multiple_of(SPARE);
        let source = arena.0[start..start + chunks].as_chunks::<SPARE>().0;
        let room = self.room(len)[..chunks].as_chunks_mut::<SPARE>().0;
        for (to, from) in room.iter_mut().zip(source) {
            *to = *from;
        }
        self.at += len;
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        self.room(bytes.len())[..bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    #[inline]
    pub(super) fn byte(&mut self, byte: u8) {
        self.room(1)[0] = byte;
        self.at += 1;
    }

    /// Appends a number in decimal.
    #[inline]
    pub(super) fn digits(&mut self, value: u64) {
        if let Some(room) = self.room(SPARE).first_chunk_mut() {
            self.at += put_digits(value, room);
        }
    }

    /// Appends an integer in decimal.
    #[inline]
    pub(super) fn integer(&mut self, value: i64) {
        if value < 0 {
            self.byte(b'-');
        }
        self.digits(value.unsigned_abs());
    }

    /// Appends an integer in decimal with its length before it.
    #[inline(always)]
    pub(super) fn integer_cell(&mut self, value: i64) {
        let at = self.at;
        if value < 0 {
            self.byte(0);
            self.integer(value);
        } else if let Some((_, room)) = self.room(SPARE).split_first_mut()
            && let Some(room) = room.first_chunk_mut()
        {
            self.at += 1 + put_digits(value as u64, room);
        }
        self.out[at] = (self.at - at - 1) as u8;
    }

    /// Puts the length of what was appended since `at` before it, as a varint.
    #[inline]
    pub(super) fn prefix_len(&mut self, at: usize) {
        let len = self.at - at - 1;
        if len < 0x80 {
            self.out[at] = len as u8;
        } else {
            self.prefix_long(at, len);
        }
    }

    #[cold]
    fn prefix_long(&mut self, at: usize, len: usize) {
        let mut prefix = Vec::new();
        crate::codec::varint::put_u64(&mut prefix, len as u64);
        self.room(prefix.len());
        self.out.copy_within(at + 1..self.at, at + prefix.len());
        self.out[at..at + prefix.len()].copy_from_slice(&prefix);
        self.at += prefix.len() - 1;
    }

    /// Inserts zeros as digits, so that what was appended since `at` has so many.
    pub(super) fn pad(&mut self, at: usize, digits: usize) {
        let found = self.at - at;
        if found < digits {
            self.room(digits);
            self.out.copy_within(at..self.at, at + digits - found);
            self.out[at..at + digits - found].fill(b'0');
            self.at = at + digits;
        }
    }
}

impl Drop for Writer<'_> {
    fn drop(&mut self) {
        self.out.truncate(self.at);
    }
}

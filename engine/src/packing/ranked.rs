//! Bits with the counts of ones before each 64th, so that counting ones and finding one look at a single word.
//!
//! Invariants:
//! - The place of a one that is found lies within the bits.
//! - Of at most 256 ones, as many as a block has rows, every count but that of all is a byte.

use super::reader::Reader;
use crate::codec::Fault;
use crate::codec::packed::word_at;

/// A count is told for every so many bits.
const WORD_BITS: usize = 64;

/// How many bytes so many bits take.
pub(super) fn size(bits: usize) -> usize {
    bits.div_ceil(8).saturating_add(bits.div_ceil(WORD_BITS).saturating_sub(1))
}

/// Appends so many bits, of which those at these places, ascending, are ones; the last bit is one if there are 256.
pub(super) fn put(ones: impl Iterator<Item = usize> + Clone, bits: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + size(bits), 0);
    let (ranks, bytes) = out[start..].split_at_mut(bits.div_ceil(WORD_BITS).saturating_sub(1));
    let mut word = 0;
    for (rank, place) in ones.clone().enumerate() {
        while word < place / WORD_BITS {
            ranks[word] = rank as u8;
            word += 1;
        }
        bytes[place / 8] |= 1 << (place % 8);
    }
    let all = ones.count();
    ranks.iter_mut().skip(word).for_each(|rank| *rank = all as u8);
}

/// Bits in a block.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ranked {
    /// Where the ones before every word but the first are told, and where the bits lie.
    ranks: u32,
    bytes: u32,
    bits: u32,
}

impl Ranked {
    /// Takes so many bits off the front.
    #[inline(always)]
    pub(super) fn take(reader: &mut Reader<'_>, bits: usize) -> Ranked {
        let ranks = reader.skip(bits.div_ceil(WORD_BITS).saturating_sub(1));
        let bytes = reader.skip(bits.div_ceil(8));
        Ranked { ranks, bytes, bits: bits as u32 }
    }

    /// The ones before a word.
    #[inline(always)]
    fn rank(&self, bytes: &[u8], word: usize) -> usize {
        match word.checked_sub(1).and_then(|before| bytes.get(self.ranks as usize + before)) {
            Some(rank) => usize::from(*rank),
            None => 0,
        }
    }

    /// Whether bit `i` is a one, and how many ones are before it.
    #[inline(always)]
    pub(super) fn get(&self, bytes: &[u8], i: usize) -> (bool, usize) {
        let word = word_at(bytes, self.bytes as usize + i / WORD_BITS * 8);
        let before = word & !(u64::MAX << (i % WORD_BITS));
        (word >> (i % WORD_BITS) & 1 != 0, self.rank(bytes, i / WORD_BITS) + before.count_ones() as usize)
    }

    /// The place of the one that `rank` ones precede.
    #[inline(always)]
    pub(super) fn select(&self, bytes: &[u8], rank: usize) -> Result<usize, Fault> {
        let ranks = bytes.get(self.ranks as usize..self.bytes as usize).unwrap_or_default();
        let word = ranks.partition_point(|before| usize::from(*before) <= rank);
        let within = rank.wrapping_sub(self.rank(bytes, word));
        let place = match select_in(word_at(bytes, self.bytes as usize + word * 8), within) {
            Some(place) => word * WORD_BITS + place,
            None => self.bits as usize,
        };
        if place < self.bits as usize {
            Ok(place)
        } else {
            Err(Fault::Length { needed: rank as u64 + 1, found: u64::from(self.bits) })
        }
    }
}

/// A byte in each of eight bytes.
const EACH: u64 = 0x0101_0101_0101_0101;

/// The place in a word of the one that `rank` ones precede.
#[inline(always)]
fn select_in(word: u64, rank: usize) -> Option<usize> {
    // The ones in each byte, then those up to each.
    let pairs = word - ((word >> 1) & (0x55 * EACH));
    let fours = (pairs & (0x33 * EACH)) + ((pairs >> 2) & (0x33 * EACH));
    let sums = ((fours + (fours >> 4)) & (0x0f * EACH)).wrapping_mul(EACH);
    if rank as u64 >= sums >> 56 {
        return None;
    }
    // A byte's top bit stays where the sum is at most the rank; neither is above 64.
    let passed = (((rank as u64 * EACH) | (0x80 * EACH)) - sums) & (0x80 * EACH);
    let byte = ((passed >> 7).wrapping_mul(EACH) >> 56) as usize;
    let before = (sums << 8 >> (8 * byte)) as u8;
    let bits = (word >> (8 * byte)) as u8;
    Some(8 * byte + usize::from(PLACES[usize::from(bits)][(rank - usize::from(before)) % 8]))
}

/// The place of each one of a byte.
const PLACES: [[u8; 8]; 256] = {
    let mut places = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut place, mut found) = (0, 0);
        while place < 8 {
            if byte >> place & 1 != 0 {
                places[byte][found] = place as u8;
                found += 1;
            }
            place += 1;
        }
        byte += 1;
    }
    places
};

//! Numbers below a bound that ascend, each once, in the form of Elias and Fano: the low bits of each as they are, the
//! high bits as steps in unary.
//!
//! Invariants:
//! - How many bytes there are follows from how many numbers there are and from the bound.

use crate::codec::packed::bits_at;
use crate::codec::{Fault, bits, take};

/// The bits of each number that are kept as they are.
fn low_bits(count: usize, bound: usize) -> u32 {
    bits::width_of((bound / count.max(1)) as u64).saturating_sub(1)
}

fn high_bytes(count: usize, bound: usize) -> usize {
    ((bound >> low_bits(count, bound)) + count).div_ceil(8)
}

/// How many bytes so many numbers take.
pub(super) fn size(count: usize, bound: usize) -> usize {
    bits::size(count, low_bits(count, bound)).unwrap_or(usize::MAX).saturating_add(high_bytes(count, bound))
}

/// Appends ascending numbers below `bound`.
pub(super) fn put(values: &[u32], bound: usize, out: &mut Vec<u8>) {
    let low = low_bits(values.len(), bound);
    bits::pack(values.iter().map(|value| u64::from(*value) & bits::mask(low)), low, out);
    let start = out.len();
    out.resize(start + high_bytes(values.len(), bound), 0);
    for (i, &value) in values.iter().enumerate() {
        let bit = (value >> low) as usize + i;
        out[start + bit / 8] |= 1 << (bit % 8);
    }
}

/// Takes numbers off the front; fewer come out if the bytes are not as [`put`] made them.
pub(super) fn take_all<'a>(
    bytes: &mut &'a [u8],
    count: usize,
    bound: usize,
) -> Result<impl Iterator<Item = usize> + 'a, Fault> {
    let low = low_bits(count, bound);
    let lows = take(bytes, bits::size(count, low).unwrap_or(usize::MAX))?;
    let highs = take(bytes, high_bytes(count, bound))?;
    let (mut word, mut at) = (bits_at(highs, 0, 64), 0);
    Ok((0..count).map_while(move |i| {
        while word == 0 {
            at += 64;
            if at >= highs.len() * 8 {
                return None;
            }
            word = bits_at(highs, at, 64);
        }
        let high = at + word.trailing_zeros() as usize - i.min(at + word.trailing_zeros() as usize);
        word &= word - 1;
        Some(high << low | bits_at(lows, i * low as usize, low) as usize)
    }))
}

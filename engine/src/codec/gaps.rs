#![doc = include_str!("gaps.md")]

use super::{Fault, packed};

/// Appends integers, which ascend from `origin` on.
pub fn encode(origin: u64, values: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    let (mut word, mut filled) = (0u128, 0u32);
    let mut next = origin;
    for value in values {
        debug_assert!(value >= next);
        let difference = value - next + 1;
        next = value + 1;
        let zeros = difference.ilog2();
        // The marker one, then the lower bits.
        let code = 1u128 | u128::from(difference & !(1 << zeros)) << 1;
        for (bits, len) in [(0, zeros), (code, zeros + 1)] {
            word |= bits << filled;
            filled += len;
            while filled >= 8 {
                out.push(word as u8);
                word >>= 8;
                filled -= 8;
            }
        }
    }
    if filled > 0 {
        out.push(word as u8);
    }
}

/// Reads so many integers that ascend from `origin` on, and gives each to `put`; tells how many bytes they took.
pub fn decode(bytes: &[u8], origin: u64, count: usize, mut put: impl FnMut(u64)) -> Result<usize, Fault> {
    let short = || Fault::Length { needed: bytes.len() as u64 + 1, found: bytes.len() as u64 };
    let end = bytes.len() * 8;
    let word_at = |at: usize| -> u64 {
        let (start, shift) = (at / 8, at % 8);
        let low = packed::word_at(bytes, start);
        let high = if shift == 0 { 0 } else { u64::from(bytes.get(start + 8).copied().unwrap_or(0)) << (64 - shift) };
        low >> shift | high
    };
    let (mut at, mut next) = (0usize, origin);
    for _ in 0..count {
        let word = word_at(at);
        let zeros = word.trailing_zeros();
        if zeros > 63 {
            return Err(short());
        }
        let n = zeros as usize;
        let lower = if n < 32 { word >> (n + 1) } else { word_at(at + n + 1) };
        let difference = 1u64 << zeros | (lower & ((1u64 << zeros) - 1));
        at += 2 * n + 1;
        if at > end {
            return Err(short());
        }
        let overflow = Fault::Range { found: difference, min: 1, max: u64::MAX - next };
        let value = next.checked_add(difference - 1).ok_or(overflow)?;
        put(value);
        next = value.checked_add(1).ok_or(overflow)?;
    }
    Ok(at.div_ceil(8))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_page() {
        let mut out = Vec::new();
        encode(3, [3, 4, 5, 9].into_iter(), &mut out);
        assert_eq!(out, [0x27]);
        assert!(include_str!("gaps.md").contains("`27`"));
    }

    proptest! {
        #[test]
        fn what_ascends_comes_back(
            origin in 0u64..1000,
            gaps in prop::collection::vec(prop_oneof![4 => Just(0u64), 2 => 0u64..100, 1 => 0u64..1 << 50], 0..80),
        ) {
            let mut next = origin;
            let values: Vec<u64> = gaps.iter().map(|gap| { let value = next + gap; next = value + 1; value }).collect();
            let mut out = Vec::new();
            encode(origin, values.iter().copied(), &mut out);
            let len = out.len();
            out.extend([0xff; 3]);
            let mut back = Vec::new();
            prop_assert_eq!(decode(&out, origin, values.len(), |value| back.push(value)), Ok(len));
            prop_assert_eq!(back, values);
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0usize..70, origin: u64) {
            let _ = decode(&bytes, origin, count, |_| ());
        }
    }
}

#![doc = include_str!("bits.md")]

use super::{Fault, take};

/// The width that `value` needs.
pub fn width_of(value: u64) -> u32 {
    64 - value.leading_zeros()
}

/// How many bytes so many integers take; `None` beyond what can be addressed.
pub fn size(count: usize, width: u32) -> Option<usize> {
    usize::try_from((count as u128 * u128::from(width)).div_ceil(8)).ok()
}

/// The greatest value of a width.
pub fn mask(width: u32) -> u64 {
    if width == 0 { 0 } else { u64::MAX >> (64 - width) }
}

/// Appends the values, none of which may need more than `width` bits.
pub fn pack(values: impl Iterator<Item = u64>, width: u32, out: &mut Vec<u8>) {
    let (mut word, mut filled) = (0u128, 0);
    for value in values {
        debug_assert!(value <= mask(width));
        word |= u128::from(value) << filled;
        filled += width;
        if filled >= 64 {
            out.extend_from_slice(&(word as u64).to_le_bytes());
            word >>= 64;
            filled -= 64;
        }
    }
    out.extend_from_slice(&(word as u64).to_le_bytes()[..filled.div_ceil(8) as usize]);
}

/// Takes so many integers off the front and gives each to `put`.
pub fn unpack(bytes: &mut &[u8], width: u32, count: usize, mut put: impl FnMut(u64)) -> Result<(), Fault> {
    let size = size(count, width).unwrap_or(usize::MAX);
    let packed = take(bytes, size)?;
    if width == 0 {
        (0..count).for_each(|_| put(0));
        return Ok(());
    }
    let spare = (size as u128 * 8 - count as u128 * u128::from(width)) as u32;
    if let Some(&last) = packed.last()
        && u32::from(last) >> (8 - spare) != 0
    {
        return Err(Fault::Range { found: u64::from(last), min: 0, max: mask(8 - spare) });
    }
    // An integer lies within nine bytes. While so many are left, it is read where it is; the last few are read from a
    // copy with zeros behind it.
    let (mask, step) = (mask(width), width as usize);
    let in_place = if size >= 9 { ((size - 9) * 8 / step + 1).min(count) } else { 0 };
    let mut at = 0;
    for _ in 0..in_place {
        put(read(&packed[at / 8..], at % 8) & mask);
        at += step;
    }
    let mut tail = [0; 32];
    let rest = &packed[at / 8..];
    tail[..rest.len()].copy_from_slice(rest);
    let mut at = at % 8;
    for _ in in_place..count {
        put(read(&tail[at / 8..], at % 8) & mask);
        at += step;
    }
    Ok(())
}

/// The 64 bits that begin `shift` (0 to 7) bits into the first of at least nine bytes.
#[inline(always)]
fn read(bytes: &[u8], shift: usize) -> u64 {
    let (low, high) = bytes
        .split_first_chunk::<8>()
        .map_or((0, 0), |(word, rest)| (u64::from_le_bytes(*word), rest.first().map_or(0, |&byte| u64::from(byte))));
    // Twice, because a shift by 64 is not a shift.
    low >> shift | high << (63 - shift) << 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_page() {
        let mut out = Vec::new();
        pack([5, 1, 7].into_iter(), 3, &mut out);
        assert_eq!(out, [0xcd, 0x01]);
        assert!(include_str!("bits.md").contains("`cd 01`"));
        let mut back = Vec::new();
        unpack(&mut &out[..], 3, 3, |value| back.push(value)).unwrap();
        assert_eq!(back, [5, 1, 7]);
        let fault = unpack(&mut &[0xcd, 0x03][..], 3, 3, drop).unwrap_err();
        assert_eq!(fault, Fault::Range { found: 3, min: 0, max: 1 }, "the last bits are zero");
        assert_eq!(unpack(&mut &out[..], 3, 6, drop), Err(Fault::Length { needed: 3, found: 2 }));
        assert!(unpack(&mut &out[..], 64, usize::MAX, drop).is_err());
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(width in 0u32..=64, values in prop::collection::vec(any::<u64>(), 0..200)) {
            let values: Vec<u64> = values.into_iter().map(|value| value & mask(width)).collect();
            let mut out = Vec::new();
            pack(values.iter().copied(), width, &mut out);
            prop_assert_eq!(Some(out.len()), size(values.len(), width));
            out.extend([0xff; 3]);
            let (mut rest, mut back) = (&out[..], Vec::new());
            unpack(&mut rest, width, values.len(), |value| back.push(value)).unwrap();
            prop_assert_eq!(rest, [0xff; 3]);
            prop_assert_eq!(back, values);
        }
    }
}

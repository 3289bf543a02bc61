#![doc = include_str!("packed.md")]

use super::{Fault, bits, take, take_between, take_u8, varint};

/// Set in the first byte where some integers escape.
const ESCAPES: u8 = 128;

/// The most bytes that a block of so many integers takes.
pub const fn size_max(count: usize) -> usize {
    if count == 0 { 0 } else { 11 + 8 * count }
}

/// How a writer packs integers: what [`plan`] found to be smallest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    base: u64,
    width: u32,
    escapes: usize,
    escaped_width: u32,
    /// How many bytes it takes.
    pub bytes: usize,
}

/// The smallest way to pack integers, without packing them.
pub fn plan(values: &[u64]) -> Plan {
    let Some(&base) = values.iter().min() else {
        return Plan { base: 0, width: 0, escapes: 0, escaped_width: 0, bytes: 0 };
    };
    // How many differences need each width, and how many of these are all ones.
    let (mut of_width, mut ones) = ([0usize; 65], [0usize; 65]);
    for &value in values {
        let difference = value - base;
        let width = bits::width_of(difference) as usize;
        of_width[width] += 1;
        ones[width] += usize::from(difference == bits::mask(width as u32));
    }
    let widest = of_width.iter().rposition(|&count| count > 0).unwrap_or(0);
    let (count, place) = (values.len(), bits::width_of(values.len() as u64 - 1) as usize);
    let base_bytes = varint::len_u64(base);
    let whole = 1 + base_bytes + (count * widest).div_ceil(8);
    let mut best = Plan { base, width: widest as u32, escapes: 0, escaped_width: 0, bytes: whole };
    let mut escapes = 0;
    for width in (1..widest.min(64)).rev() {
        escapes += of_width[width + 1];
        let all = escapes + ones[width];
        let bytes = 1
            + base_bytes
            + varint::len_u64(all as u64)
            + 1
            + (all * place).div_ceil(8)
            + (all * widest).div_ceil(8)
            + (count * width).div_ceil(8);
        if bytes < best.bytes {
            best = Plan { base, width: width as u32, escapes: all, escaped_width: widest as u32, bytes };
        }
    }
    best
}

/// Appends integers as [`plan`] said of the very same.
pub fn encode_planned(values: &[u64], plan: &Plan, out: &mut Vec<u8>) {
    if values.is_empty() {
        return;
    }
    let Plan { base, width, escapes, escaped_width, .. } = *plan;
    out.push(width as u8 | if escapes > 0 { ESCAPES } else { 0 });
    varint::put_u64(out, base);
    if escapes == 0 {
        return bits::pack(values.iter().map(|value| value - base), width, out);
    }
    let marker = bits::mask(width);
    let escaped = || values.iter().enumerate().filter(|(_, value)| **value - base >= marker);
    varint::put_u64(out, escapes as u64);
    out.push(escaped_width as u8);
    bits::pack(escaped().map(|(place, _)| place as u64), bits::width_of(values.len() as u64 - 1), out);
    bits::pack(escaped().map(|(_, value)| value - base), escaped_width, out);
    bits::pack(values.iter().map(|value| (value - base).min(marker)), width, out);
}

/// Appends integers in the smallest way.
pub fn encode(values: &[u64], out: &mut Vec<u8>) {
    encode_planned(values, &plan(values), out);
}

/// A block of integers where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    count: usize,
    base: u64,
    /// The integers, and whatever follows them: so the last are read as fast as the first.
    bytes: &'a [u8],
    escapes: usize,
    /// The places of those that escape, and themselves.
    escaped: &'a [u8],
    width: u8,
    place_width: u8,
    escaped_width: u8,
}

/// Eight bytes from byte `start` on; zeros follow the end.
#[inline]
pub(crate) fn word_at(bytes: &[u8], start: usize) -> u64 {
    match bytes.get(start..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => last_word(bytes, start),
    }
}

#[cold]
fn last_word(bytes: &[u8], start: usize) -> u64 {
    let rest = bytes.get(start..).unwrap_or_default();
    rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The integer of `width` bits, at most [`SHORT_WIDTH`], that begins at bit `at`; zeros follow the end.
#[inline]
pub(crate) fn short_at(bytes: &[u8], at: usize, width: u32) -> u64 {
    debug_assert!(width <= SHORT_WIDTH);
    word_at(bytes, at / 8) >> (at % 8) & !(u64::MAX.wrapping_shl(width))
}

/// An integer of so many bits lies within eight bytes, wherever it begins.
pub(crate) const SHORT_WIDTH: u32 = 57;

/// The integer of `width` bits that begins at bit `at`; zeros follow the end.
#[inline]
pub(crate) fn bits_at(bytes: &[u8], at: usize, width: u32) -> u64 {
    if width <= SHORT_WIDTH {
        return short_at(bytes, at, width);
    }
    let (start, shift) = (at / 8, (at % 8) as u32);
    let mut value = word_at(bytes, start) >> shift;
    if width + shift > 64 {
        value |= u64::from(bytes.get(start + 8).copied().unwrap_or(0)) << (64 - shift);
    }
    value & bits::mask(width)
}

impl<'a> Packed<'a> {
    /// Takes a block of so many integers off the front, without reading them.
    #[inline]
    pub fn take(bytes: &mut &'a [u8], count: usize) -> Result<Packed<'a>, Fault> {
        if count == 0 {
            return Ok(Packed::none());
        }
        let first = take_u8(bytes)?;
        let width = u32::from(first & !ESCAPES);
        let has_escapes = first & ESCAPES != 0;
        if width > 64 || (has_escapes && !(1..64).contains(&width)) {
            return Err(Fault::Tag { found: first });
        }
        let base = varint::take_u64(bytes)?;
        let mut block = Packed { count, base, width: width as u8, ..Packed::none() };
        if has_escapes {
            block.take_escapes(bytes)?;
        }
        block.bytes = bytes;
        take(bytes, bits::size(count, width).unwrap_or(usize::MAX))?;
        Ok(block)
    }

    fn take_escapes(&mut self, bytes: &mut &'a [u8]) -> Result<(), Fault> {
        self.escapes = take_between(bytes, 1, self.count as u64)? as usize;
        self.escaped_width = take_u8(bytes)?;
        if self.escaped_width > 64 {
            return Err(Fault::Tag { found: self.escaped_width });
        }
        self.place_width = bits::width_of(self.count as u64 - 1) as u8;
        self.escaped = bytes;
        for width in [self.place_width, self.escaped_width] {
            take(bytes, bits::size(self.escapes, u32::from(width)).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    /// A block of none.
    pub const fn none() -> Packed<'a> {
        Packed { count: 0, base: 0, bytes: &[], escapes: 0, escaped: &[], width: 0, place_width: 0, escaped_width: 0 }
    }

    /// How many integers there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Integer `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Result<u64, Fault> {
        if i >= self.count {
            return Err(Fault::Range { found: i as u64, min: 0, max: self.count as u64 });
        }
        let width = u32::from(self.width);
        let mut difference = bits_at(self.bytes, i * width as usize, width);
        if self.escapes > 0 && difference == bits::mask(width) {
            difference = self.escaped(i)?;
        }
        self.base.checked_add(difference).ok_or(Fault::Range { found: difference, min: 0, max: u64::MAX - self.base })
    }

    #[cold]
    fn escaped(&self, i: usize) -> Result<u64, Fault> {
        let (place_width, escaped_width) = (u32::from(self.place_width), u32::from(self.escaped_width));
        let place = |at: usize| bits_at(self.escaped, at * place_width as usize, place_width);
        let (mut low, mut high) = (0, self.escapes);
        while low < high {
            let middle = (low + high) / 2;
            if place(middle) < i as u64 { low = middle + 1 } else { high = middle }
        }
        if low == self.escapes || place(low) != i as u64 {
            return Err(Fault::Range { found: i as u64, min: 0, max: self.escapes as u64 });
        }
        let places = bits::size(self.escapes, place_width).unwrap_or(usize::MAX);
        Ok(bits_at(&self.escaped[places..], low * escaped_width as usize, escaped_width))
    }

    /// How many integers from the front, which must ascend, satisfy `is_before`.
    pub fn partition_point(&self, mut is_before: impl FnMut(u64) -> bool) -> Result<usize, Fault> {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if is_before(self.get(middle)?) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// Gives all integers, in order.
    pub fn each(&self, mut each: impl FnMut(u64)) -> Result<(), Fault> {
        let width = u32::from(self.width);
        if self.escapes > 0 || width > SHORT_WIDTH || self.base.checked_add(bits::mask(width)).is_none() {
            return self.iter().try_for_each(|value| value.map(&mut each));
        }
        for i in 0..self.count {
            each(self.base + short_at(self.bytes, i * width as usize, width));
        }
        Ok(())
    }

    /// All integers, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<u64, Fault>> + '_ {
        (0..self.count).map(|i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_page() {
        let mut out = Vec::new();
        encode(&[7, 7, 9, 1000, 8, 8, 8, 8, 8, 8, 8, 8], &mut out);
        let hex: Vec<String> = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("packed.md").contains(&format!("`{}`", hex.join(" "))), "{hex:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert_eq!(Packed::take(&mut &[65, 0][..], 1).unwrap_err(), Fault::Tag { found: 65 });
        assert_eq!(Packed::take(&mut &[ESCAPES, 0][..], 1).unwrap_err(), Fault::Tag { found: ESCAPES });
        assert!(Packed::take(&mut &[8, 0, 1][..], 2).is_err(), "cut");
        assert!(Packed::take(&mut &[64, 0][..], usize::MAX).is_err());
        // An escape that names another place.
        let block = Packed::take(&mut &[0x82, 7, 1, 10, 2, 0xe1, 3, 0xe0][..], 4).unwrap();
        assert!(block.get(3).is_err());
        assert!(block.get(4).is_err(), "outside");
        // A base that leaves no room.
        let mut full = vec![1];
        varint::put_u64(&mut full, u64::MAX);
        full.push(1);
        assert!(Packed::take(&mut &full[..], 1).unwrap().get(0).is_err());
    }

    fn columns() -> impl Strategy<Value = Vec<u64>> {
        let value = prop_oneof![4 => 0u64..20, 2 => 0u64..5000, 1 => any::<u64>(), 1 => Just(u64::MAX)];
        prop::collection::vec(value, 0..300)
    }

    proptest! {
        #[test]
        fn any_integer_is_read_alone(values in columns()) {
            let mut out = Vec::new();
            let plan = plan(&values);
            encode_planned(&values, &plan, &mut out);
            prop_assert_eq!(out.len(), plan.bytes);
            prop_assert!(out.len() <= size_max(values.len()));
            out.extend([0xff; 3]);
            let mut rest = &out[..];
            let block = Packed::take(&mut rest, values.len()).unwrap();
            prop_assert_eq!(rest, [0xff; 3]);
            for (i, value) in values.iter().enumerate().rev() {
                prop_assert_eq!(block.get(i), Ok(*value));
            }
            let mut all = Vec::new();
            block.each(|value| all.push(value)).unwrap();
            prop_assert_eq!(all, values);
        }

        #[test]
        fn escapes_pay(values in prop::collection::vec(0u64..16, 64..200), outlier: u32) {
            let mut with = values.clone();
            with.push(u64::from(outlier));
            // At worst one bit more for each.
            prop_assert!(plan(&with).bytes <= plan(&values).bytes + 12 + with.len() / 8);
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0usize..70) {
            if let Ok(block) = Packed::take(&mut &bytes[..], count) {
                let alone = block.iter().collect::<Result<Vec<_>, _>>();
                let mut all = Vec::new();
                let each = block.each(|value| all.push(value)).map(|()| all);
                prop_assert_eq!(each, alone);
                let _ = block.partition_point(|value| value < 7);
            }
        }
    }
}

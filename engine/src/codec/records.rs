#![doc = include_str!("records.md")]

use super::packed::bits_at;
use super::{Fault, bits, take, take_u8, varint};

/// The bits of one field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Field {
    base: u64,
    width: u32,
    /// Bits of the record before it.
    before: usize,
}

/// Where the records of `N` integers lie in bytes that are given anew to every reading, so that it can be kept beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Records<const N: usize> {
    count: usize,
    fields: [Field; N],
    /// Bits of a record.
    stride: usize,
    /// The byte where they begin.
    start: usize,
}

/// Appends records.
pub fn encode<const N: usize>(records: &[[u64; N]], out: &mut Vec<u8>) {
    let Some(first) = records.first() else {
        return;
    };
    let (mut min, mut max) = (*first, *first);
    for record in records {
        for (field, &value) in record.iter().enumerate() {
            min[field] = min[field].min(value);
            max[field] = max[field].max(value);
        }
    }
    let mut widths = [0; N];
    for field in 0..N {
        widths[field] = bits::width_of(max[field] - min[field]);
        varint::put_u64(out, min[field]);
        out.push(widths[field] as u8);
    }
    let (mut word, mut filled) = (0u128, 0);
    for record in records {
        for field in 0..N {
            word |= u128::from(record[field] - min[field]) << filled;
            filled += widths[field];
            if filled >= 64 {
                out.extend_from_slice(&(word as u64).to_le_bytes());
                word >>= 64;
                filled -= 64;
            }
        }
    }
    out.extend_from_slice(&(word as u64).to_le_bytes()[..filled.div_ceil(8) as usize]);
}

impl<const N: usize> Records<N> {
    /// No records.
    pub const fn none() -> Records<N> {
        Records { count: 0, fields: [Field { base: 0, width: 0, before: 0 }; N], stride: 0, start: 0 }
    }

    /// Takes a table of so many records off the front, without reading them; `bytes` are the end of the `len` bytes that will
    /// be given to every reading.
    pub fn take(bytes: &mut &[u8], len: usize, count: usize) -> Result<Records<N>, Fault> {
        if count == 0 {
            return Ok(Records::none());
        }
        let mut records = Records { count, ..Records::none() };
        for field in &mut records.fields {
            let (base, width) = (varint::take_u64(bytes)?, u32::from(take_u8(bytes)?));
            if width > 64 {
                return Err(Fault::Range { found: u64::from(width), min: 0, max: 64 });
            }
            *field = Field { base, width, before: records.stride };
            records.stride += width as usize;
        }
        records.start = len - bytes.len();
        let size = (count as u128 * records.stride as u128).div_ceil(8);
        take(bytes, usize::try_from(size).unwrap_or(usize::MAX))?;
        Ok(records)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// A field of record `i`, which must be there.
    #[inline]
    pub fn field(&self, bytes: &[u8], i: usize, field: usize) -> u64 {
        debug_assert!(i < self.count);
        let of = &self.fields[field];
        of.base.wrapping_add(bits_at(bytes, self.start * 8 + i * self.stride + of.before, of.width))
    }

    /// Record `i`, which must be there.
    #[inline]
    pub fn get(&self, bytes: &[u8], i: usize) -> [u64; N] {
        std::array::from_fn(|field| self.field(bytes, i, field))
    }

    /// How many records from the front satisfy `is_before` with their field, which must not descend.
    pub fn partition_point(&self, bytes: &[u8], field: usize, mut is_before: impl FnMut(u64) -> bool) -> usize {
        let (mut low, mut high) = (0, self.count);
        while low < high {
            let middle = (low + high) / 2;
            if is_before(self.field(bytes, middle, field)) { low = middle + 1 } else { high = middle }
        }
        low
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_page() {
        let mut out = Vec::new();
        encode(&[[7, 1], [9, 1], [8, 1]], &mut out);
        let hex: Vec<String> = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("records.md").contains(&format!("`{}`", hex.join(" "))), "{hex:?}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Records::<1>::take(&mut &[0, 65, 0, 0, 0, 0, 0, 0, 0, 0][..], 10, 1).is_err(), "too wide");
        assert!(Records::<1>::take(&mut &[0, 8, 1][..], 3, 2).is_err(), "cut");
        assert!(Records::<1>::take(&mut &[0, 8, 1][..], 3, usize::MAX).is_err());
    }

    fn records() -> impl Strategy<Value = Vec<[u64; 3]>> {
        let value = || prop_oneof![4 => 0u64..20, 2 => 0u64..5000, 1 => any::<u64>()];
        let wide = (value(), value(), value()).prop_map(|(a, b, c)| [a, 9, b.wrapping_add(c)]);
        prop::collection::vec(wide, 0..200)
    }

    proptest! {
        #[test]
        fn any_record_is_read_alone(records in records()) {
            let mut out = vec![0xff; 5];
            encode(&records, &mut out);
            prop_assert!(records.is_empty() || out.len() <= 5 + 3 * 11 + 3 * 8 * records.len());
            out.extend([0xff; 3]);
            let mut rest = &out[5..];
            let table = Records::<3>::take(&mut rest, out.len(), records.len()).unwrap();
            prop_assert_eq!(rest, [0xff; 3]);
            prop_assert_eq!(table.len(), records.len());
            for (i, record) in records.iter().enumerate().rev() {
                prop_assert_eq!(table.get(&out, i), *record);
            }
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0usize..70) {
            if let Ok(table) = Records::<2>::take(&mut &bytes[..], bytes.len(), count) {
                (0..count).for_each(|i| { table.get(&bytes, i); });
                table.partition_point(&bytes, 1, |value| value < 7);
            }
        }
    }
}

#![doc = include_str!("line.md")]

use super::packed::{self, Packed};
use super::{Fault, varint};

/// The slope counts parts of this power of two.
const SLOPE_BITS: u32 = 20;

/// Where a line is after `i` steps, from its start.
#[inline]
fn rise(slope: i64, i: usize) -> i64 {
    ((i128::from(slope) * i as i128) >> SLOPE_BITS) as i64
}

/// Appends integers.
pub fn encode(values: &[i64], out: &mut Vec<u8>) {
    let (Some(&first), Some(&last)) = (values.first(), values.last()) else {
        return;
    };
    let steps = (values.len() as i128 - 1).max(1);
    let slope = ((i128::from(last) - i128::from(first)) << SLOPE_BITS) / steps;
    let mut best: Option<(i64, i64, Vec<u64>, packed::Plan)> = None;
    for slope in [i64::try_from(slope).unwrap_or(0), 0] {
        let distance = |(i, value): (usize, &i64)| value.wrapping_sub(rise(slope, i));
        let start = values.iter().enumerate().map(distance).min().unwrap_or(0);
        let distances: Vec<u64> =
            values.iter().enumerate().map(|place| distance(place).wrapping_sub(start) as u64).collect();
        let plan = packed::plan(&distances);
        if best.as_ref().is_none_or(|best| plan.bytes < best.3.bytes) {
            best = Some((start, slope, distances, plan));
        }
    }
    if let Some((start, slope, distances, plan)) = best {
        varint::put_i64(out, start);
        varint::put_i64(out, slope);
        packed::encode_planned(&distances, &plan, out);
    }
}

/// A block of integers where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    start: i64,
    slope: i64,
    distances: Packed<'a>,
}

impl<'a> Line<'a> {
    /// Takes a block of so many integers off the front, without reading them.
    pub fn take(bytes: &mut &'a [u8], count: usize) -> Result<Line<'a>, Fault> {
        if count == 0 {
            return Ok(Line { start: 0, slope: 0, distances: Packed::none() });
        }
        let (start, slope) = (varint::take_i64(bytes)?, varint::take_i64(bytes)?);
        Ok(Line { start, slope, distances: Packed::take(bytes, count)? })
    }

    /// How many integers there are.
    pub fn len(&self) -> usize {
        self.distances.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.distances.is_empty()
    }

    /// Integer `i`.
    #[inline]
    pub fn get(&self, i: usize) -> Result<i64, Fault> {
        let distance = self.distances.get(i)?;
        Ok(self.start.wrapping_add(rise(self.slope, i)).wrapping_add(distance as i64))
    }

    /// How many integers from the front, which must not descend, satisfy `is_before`.
    pub fn partition_point(&self, mut is_before: impl FnMut(i64) -> bool) -> Result<usize, Fault> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = (low + high) / 2;
            if is_before(self.get(middle)?) { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// All integers, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<i64, Fault>> + '_ {
        (0..self.len()).map(|i| self.get(i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_example_of_the_page() {
        let mut out = Vec::new();
        encode(&[1000, 1010, 1021, 1030], &mut out);
        let hex: Vec<String> = out.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(include_str!("line.md").contains(&format!("`{}`", hex.join(" "))), "{hex:?}");
    }

    #[test]
    fn looks_of_a_schedule_take_little() {
        let looks: Vec<i64> = (0..700).map(|i| 1_767_225_600 + 900 * i + (i * i) % 8).collect();
        let mut out = Vec::new();
        encode(&looks, &mut out);
        assert!(out.len() <= 700 * 4 / 8 + 20, "{}", out.len());
    }

    proptest! {
        #[test]
        fn any_integer_is_read_alone(
            values in prop::collection::vec(prop_oneof![0i64..5000, any::<i64>(), Just(i64::MIN), Just(i64::MAX)], 0..80)
        ) {
            let mut out = Vec::new();
            encode(&values, &mut out);
            out.extend([0xff; 3]);
            let mut rest = &out[..];
            let line = Line::take(&mut rest, values.len()).unwrap();
            prop_assert_eq!(rest, [0xff; 3]);
            for (i, value) in values.iter().enumerate() {
                prop_assert_eq!(line.get(i), Ok(*value));
            }
            prop_assert!(line.get(values.len()).is_err());
        }

        #[test]
        fn the_first_beyond_is_found(mut values in prop::collection::vec(0i64..300, 0..80), sought in 0i64..300) {
            values.sort_unstable();
            let mut out = Vec::new();
            encode(&values, &mut out);
            let line = Line::take(&mut &out[..], values.len()).unwrap();
            let expected = values.partition_point(|&value| value <= sought);
            prop_assert_eq!(line.partition_point(|value| value <= sought), Ok(expected));
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), count in 0usize..70) {
            if let Ok(line) = Line::take(&mut &bytes[..], count) {
                line.iter().for_each(drop);
            }
        }
    }
}

#![doc = include_str!("ints.md")]

use super::{Fault, bits, take_between, take_u8, varint, zstd};

/// The form of a block; the numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Form {
    Constant = 0,
    Packed = 1,
    Deltas = 2,
    Runs = 3,
    Varints = 4,
    Zstd = 5,
}

/// The name of the form of the block at the front of `bytes`, for tools that show it; `None` if there is no such form.
pub fn form_word(bytes: &[u8]) -> Option<&'static str> {
    const WORDS: [&str; 6] = ["constant", "packed", "deltas", "runs", "varints", "zstd"];
    WORDS.get(usize::from(*bytes.first()?)).copied()
}

/// Below this many bytes zstd is not tried.
const ZSTD_BYTES_MIN: usize = 64;
const ZSTD_LEVEL: i32 = 3;

/// The most bytes that a block of so many unsigned integers takes.
pub const fn size_max(count: usize) -> usize {
    if count == 0 { 0 } else { 2 + varint::BYTES_MAX + 8 * count }
}

/// The most bytes that a block of so many signed integers takes.
pub const fn size_max_signed(count: usize) -> usize {
    if count == 0 { 0 } else { varint::BYTES_MAX + size_max(count) }
}

/// Appends the values in their smallest form.
pub fn encode(values: &[u64], out: &mut Vec<u8>) {
    let start = out.len();
    encode_direct(values, out);
    let direct = out.len() - start;
    if direct < ZSTD_BYTES_MIN {
        return;
    }
    let mut varints = Vec::with_capacity(values.len() * 2);
    values.iter().for_each(|&value| varint::put_u64(&mut varints, value));
    let header = 1 + varint::len_u64(varints.len() as u64);
    let mut frame = Vec::new();
    if zstd::encode_if_smaller(&varints, ZSTD_LEVEL, (direct - direct / 10).saturating_sub(header), &mut frame) {
        out.truncate(start);
        out.push(Form::Zstd as u8);
        varint::put_u64(out, varints.len() as u64);
        out.extend_from_slice(&frame);
    }
}

/// Appends the values in the smallest form that needs no decompression.
pub fn encode_direct(values: &[u64], out: &mut Vec<u8>) {
    let Some(sizes) = Sizes::of(values) else {
        return;
    };
    let form = sizes.smallest();
    out.push(form as u8);
    match form {
        Form::Constant => varint::put_u64(out, values[0]),
        Form::Packed => {
            varint::put_u64(out, sizes.min);
            out.push(sizes.width as u8);
            bits::pack(values.iter().map(|value| value - sizes.min), sizes.width, out);
        }
        Form::Deltas => {
            varint::put_u64(out, values[0]);
            varint::put_i64(out, sizes.delta_min);
            out.push(sizes.delta_width as u8);
            let above = deltas(values).map(|delta| delta.wrapping_sub(sizes.delta_min) as u64);
            bits::pack(above, sizes.delta_width, out);
        }
        Form::Runs => {
            varint::put_u64(out, sizes.runs);
            for run in values.chunk_by(|a, b| a == b) {
                varint::put_u64(out, run[0]);
                varint::put_u64(out, run.len() as u64 - 1);
            }
        }
        Form::Varints | Form::Zstd => values.iter().for_each(|&value| varint::put_u64(out, value)),
    }
}

fn deltas(values: &[u64]) -> impl Iterator<Item = i64> {
    values.windows(2).map(|pair| pair[1].wrapping_sub(pair[0]) as i64)
}

/// What each form but zstd would take, without the tag.
struct Sizes {
    min: u64,
    width: u32,
    delta_min: i64,
    delta_width: u32,
    runs: u64,
    forms: [(usize, Form); 5],
}

impl Sizes {
    /// `None` if there are no values.
    fn of(values: &[u64]) -> Option<Sizes> {
        let (&first, n) = (values.first()?, values.len());
        let (mut min, mut max, mut varints) = (first, first, 0);
        for &value in values {
            min = min.min(value);
            max = max.max(value);
            varints += varint::len_u64(value);
        }
        let (mut delta_min, mut delta_max) = (0, 0);
        for (i, delta) in deltas(values).enumerate() {
            delta_min = if i == 0 { delta } else { delta.min(delta_min) };
            delta_max = if i == 0 { delta } else { delta.max(delta_max) };
        }
        let (mut runs, mut runs_size) = (0, 0);
        for run in values.chunk_by(|a, b| a == b) {
            runs += 1;
            runs_size += varint::len_u64(run[0]) + varint::len_u64(run.len() as u64 - 1);
        }
        let (width, delta_width) =
            (bits::width_of(max - min), bits::width_of(delta_max.wrapping_sub(delta_min) as u64));
        let packed = |count, width| bits::size(count, width).unwrap_or(usize::MAX / 2);
        let forms = [
            (if min == max { varint::len_u64(first) } else { usize::MAX }, Form::Constant),
            (varint::len_u64(min) + 1 + packed(n, width), Form::Packed),
            (varint::len_u64(first) + varint::len_i64(delta_min) + 1 + packed(n - 1, delta_width), Form::Deltas),
            (varints, Form::Varints),
            (varint::len_u64(runs) + runs_size, Form::Runs),
        ];
        Some(Sizes { min, width, delta_min, delta_width, runs, forms })
    }

    /// Of equals the earlier, which is faster to read.
    fn smallest(&self) -> Form {
        self.forms.iter().min_by_key(|(size, _)| *size).map_or(Form::Varints, |(_, form)| *form)
    }
}

/// Takes a block of so many values off the front.
///
/// Allocates `8 × count` bytes, and at most `10 × count` more for a time; bound the count.
pub fn decode(bytes: &mut &[u8], count: usize) -> Result<Vec<u64>, Fault> {
    let mut values = Vec::new();
    decode_into(bytes, count, &mut values)?;
    Ok(values)
}

/// Takes a block of so many values off the front and appends them; after a fault `values` holds what it held before.
pub fn decode_into(bytes: &mut &[u8], count: usize, values: &mut Vec<u64>) -> Result<(), Fault> {
    let start = values.len();
    let result = decode_form(bytes, count, values);
    if result.is_err() {
        values.truncate(start);
    }
    debug_assert!(result.is_err() || values.len() == start + count);
    result
}

fn decode_form(bytes: &mut &[u8], count: usize, values: &mut Vec<u64>) -> Result<(), Fault> {
    if count == 0 {
        return Ok(());
    }
    let tag = take_u8(bytes)?;
    const CONSTANT: u8 = Form::Constant as u8;
    const PACKED: u8 = Form::Packed as u8;
    const DELTAS: u8 = Form::Deltas as u8;
    const RUNS: u8 = Form::Runs as u8;
    const VARINTS: u8 = Form::Varints as u8;
    const ZSTD: u8 = Form::Zstd as u8;
    match tag {
        CONSTANT => {
            let value = varint::take_u64(bytes)?;
            values.resize(values.len() + count, value);
            Ok(())
        }
        PACKED => decode_packed(bytes, count, values),
        DELTAS => decode_deltas(bytes, count, values),
        RUNS => decode_runs(bytes, count, values),
        VARINTS => decode_varints(bytes, count, values),
        ZSTD => {
            let most = (count as u64).saturating_mul(varint::BYTES_MAX as u64);
            let len = take_between(bytes, count as u64, most)?;
            let mut varints = Vec::new();
            zstd::decode(bytes, len as usize, &mut varints)?;
            let mut rest = &varints[..];
            decode_varints(&mut rest, count, values)?;
            super::finish(rest)
        }
        found => Err(Fault::Tag { found }),
    }
}

/// Makes room, once the bytes are known to be there.
fn reserve(bytes: &[u8], needed: Option<usize>, count: usize, values: &mut Vec<u64>) -> Result<(), Fault> {
    match needed {
        Some(needed) if needed <= bytes.len() => {
            values.reserve(count);
            Ok(())
        }
        _ => Err(Fault::Length { needed: needed.map_or(u64::MAX, |n| n as u64), found: bytes.len() as u64 }),
    }
}

fn take_width(bytes: &mut &[u8], min: u8) -> Result<u32, Fault> {
    match take_u8(bytes)? {
        width if (min..=64).contains(&width) => Ok(u32::from(width)),
        width => Err(Fault::Range { found: u64::from(width), min: u64::from(min), max: 64 }),
    }
}

fn decode_packed(bytes: &mut &[u8], count: usize, values: &mut Vec<u64>) -> Result<(), Fault> {
    let base = varint::take_u64(bytes)?;
    let width = take_width(bytes, 1)?;
    reserve(bytes, bits::size(count, width), count, values)?;
    if base.checked_add(bits::mask(width)).is_some() {
        return bits::unpack(bytes, width, count, |above| values.push(base + above));
    }
    let mut over = None;
    bits::unpack(bytes, width, count, |above| {
        let value = base.checked_add(above);
        if value.is_none() {
            over = Some(above);
        }
        values.push(value.unwrap_or(0));
    })?;
    over.map_or(Ok(()), |found| Err(Fault::Range { found, min: 0, max: u64::MAX - base }))
}

fn decode_deltas(bytes: &mut &[u8], count: usize, values: &mut Vec<u64>) -> Result<(), Fault> {
    let mut last = varint::take_u64(bytes)?;
    let base = varint::take_i64(bytes)? as u64;
    let width = take_width(bytes, 0)?;
    reserve(bytes, bits::size(count - 1, width), count, values)?;
    values.push(last);
    bits::unpack(bytes, width, count - 1, |above| {
        last = last.wrapping_add(base).wrapping_add(above);
        values.push(last);
    })
}

fn decode_runs(bytes: &mut &[u8], count: usize, values: &mut Vec<u64>) -> Result<(), Fault> {
    let runs = take_between(bytes, 1, count as u64)?;
    values.reserve(count);
    let mut left = count as u64;
    for run in 0..runs {
        let value = varint::take_u64(bytes)?;
        // The runs still to come hold at least one value each.
        let max =
            (left - 1).checked_sub(runs - run - 1).ok_or(Fault::Range { found: runs, min: 1, max: run + left })?;
        let min = if run == runs - 1 { max } else { 0 };
        let more = take_between(bytes, min, max)?;
        values.resize(values.len() + more as usize + 1, value);
        left -= more + 1;
    }
    Ok(())
}

fn decode_varints(bytes: &mut &[u8], count: usize, values: &mut Vec<u64>) -> Result<(), Fault> {
    reserve(bytes, Some(count), count, values)?;
    for _ in 0..count {
        values.push(varint::take_u64(bytes)?);
    }
    Ok(())
}

/// Appends signed values in their smallest form.
pub fn encode_signed(values: &[i64], out: &mut Vec<u8>) {
    let Some(&min) = values.iter().min() else {
        return;
    };
    varint::put_i64(out, min);
    let above: Vec<u64> = values.iter().map(|value| value.wrapping_sub(min) as u64).collect();
    encode(&above, out);
}

/// Takes a block of so many signed values off the front; allocates as [`decode`] does.
pub fn decode_signed(bytes: &mut &[u8], count: usize) -> Result<Vec<i64>, Fault> {
    let mut values = Vec::new();
    decode_signed_into(bytes, count, &mut values)?;
    Ok(values)
}

/// Takes a block of so many signed values off the front and appends them.
pub fn decode_signed_into(bytes: &mut &[u8], count: usize, values: &mut Vec<i64>) -> Result<(), Fault> {
    if count == 0 {
        return Ok(());
    }
    let min = varint::take_i64(bytes)?;
    let above = decode(bytes, count)?;
    let room = i64::MAX.wrapping_sub(min) as u64;
    if let Some(&found) = above.iter().find(|&&above| above > room) {
        return Err(Fault::Range { found, min: 0, max: room });
    }
    values.extend(above.into_iter().map(|above| min.wrapping_add(above as i64)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(values: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(values, &mut out);
        out
    }

    fn form_of(values: &[u64]) -> u8 {
        let out = block(values);
        assert_eq!(decode(&mut &out[..], values.len()).unwrap(), values);
        out[0]
    }

    #[test]
    fn the_page_tells_the_forms() {
        let page = include_str!("ints.md");
        let forms = [Form::Constant, Form::Packed, Form::Deltas, Form::Runs, Form::Varints, Form::Zstd];
        for form in forms {
            let word = format!("{form:?}").to_lowercase();
            assert_eq!(form_word(&[form as u8]), Some(&*word));
            let row = format!("\n| {} | {word} |", form as u8);
            assert!(page.contains(&row), "{row}");
        }
        assert!(page.contains(&format!(
            "n > 0 values: {} + 8n bytes, and {} + 8n",
            size_max(1) - 8,
            size_max_signed(1) - 8
        )));
        assert!(page.contains(&format!("below {ZSTD_BYTES_MIN}\n  bytes")));
        assert_eq!(block(&[7, 7, 9]), [1, 7, 2, 0x20]);
        assert!(page.contains("`01 07 02 20`"));
    }

    #[test]
    fn each_shape_finds_its_form() {
        assert!(block(&[]).is_empty());
        assert_eq!(form_of(&[300; 1000]), Form::Constant as u8);
        assert_eq!(form_of(&(0..1000).map(|i| 1_545_000_000 + i * 60).collect::<Vec<_>>()), Form::Deltas as u8);
        assert_eq!(block(&(0..1000).map(|i| i * 60).collect::<Vec<_>>()).len(), 4, "a line costs nothing");
        assert_eq!(form_of(&(0..1000).map(|i| i / 100 * 777).collect::<Vec<_>>()), Form::Runs as u8);
        let mix = |i: u64, by: u64| (i ^ (i >> 31)).wrapping_mul(by);
        let scattered = |i: u64| mix(mix(i + 1, 0xbf58_476d_1ce4_e5b9), 0x94d0_49bb_1331_11eb) >> 54;
        assert_eq!(form_of(&(0..1000).map(scattered).collect::<Vec<_>>()), Form::Packed as u8);
        let outlier = |i| {
            if i == 40 { u64::MAX / 3 } else { scattered(i) & 127 }
        };
        assert_eq!(form_of(&(0..200).map(outlier).collect::<Vec<_>>()), Form::Varints as u8);
        assert_eq!(form_of(&(0..1000).map(|i| scattered(i % 20)).collect::<Vec<_>>()), Form::Zstd as u8);
        assert_eq!(form_of(&[u64::MAX, 0, u64::MAX, 1 << 63]), Form::Varints as u8);
    }

    #[test]
    fn lies_are_refused() {
        let fault = |bytes: &[u8], count| decode(&mut &*bytes, count).unwrap_err();
        assert_eq!(fault(&[], 1), Fault::Length { needed: 1, found: 0 });
        assert_eq!(fault(&[6], 1), Fault::Tag { found: 6 });
        assert_eq!(fault(&[1, 0, 65], 1), Fault::Range { found: 65, min: 1, max: 64 });
        assert_eq!(fault(&[1, 0, 0], 1), Fault::Range { found: 0, min: 1, max: 64 });
        assert_eq!(fault(&[1, 0, 8, 1], 1 << 60), Fault::Length { needed: 1 << 60, found: 1 });
        assert_eq!(fault(&[4, 1], 1 << 60), Fault::Length { needed: 1 << 60, found: 1 });
        assert_eq!(fault(&[3, 1, 9, 1], 3), Fault::Range { found: 1, min: 2, max: 2 }, "runs that fall short");
        assert_eq!(fault(&[3, 2, 9, 2, 8, 0], 3), Fault::Range { found: 2, min: 0, max: 1 }, "runs that go past");
        assert_eq!(fault(&[3, 4], 3), Fault::Range { found: 4, min: 1, max: 3 }, "more runs than values");
        let mut past = vec![1];
        varint::put_u64(&mut past, u64::MAX);
        past.extend([1, 1]);
        assert_eq!(fault(&past, 1), Fault::Range { found: 1, min: 0, max: 0 });
        let mut kept = vec![4];
        assert!(decode_into(&mut &[4, 1, 0x80][..], 2, &mut kept).is_err());
        assert_eq!(kept, [4], "a fault leaves nothing behind");
    }

    /// Values of many shapes: random widths, lines with noise, runs, few distinct ones, outliers.
    pub(crate) fn shapes() -> impl Strategy<Value = Vec<u64>> {
        let raw = prop::collection::vec(any::<u64>(), 0..400);
        (raw, 0u32..64, 0u32..6, any::<u64>()).prop_map(|(raw, shift, shape, base)| {
            let mut last = base;
            raw.iter()
                .enumerate()
                .map(|(i, &random)| match shape {
                    0 => random >> shift,
                    1 => base.wrapping_add(i as u64 * 60).wrapping_add(random % 5),
                    2 => {
                        last = if random % 9 == 0 { random >> shift } else { last };
                        last
                    }
                    3 => base.wrapping_mul(random % 7 + 1),
                    4 => base.wrapping_add(random >> shift),
                    _ => random >> if random % 50 == 0 { 0 } else { 58 },
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(values in shapes()) {
            for encode in [encode, encode_direct] {
                let mut out = Vec::new();
                encode(&values, &mut out);
                prop_assert!(out.len() <= size_max(values.len()));
                out.push(0xee);
                let mut rest = &out[..];
                prop_assert_eq!(&decode(&mut rest, values.len()).unwrap(), &values);
                prop_assert_eq!(rest, [0xee]);
            }
            let signed: Vec<i64> = values.iter().map(|&value| value as i64).collect();
            let mut out = Vec::new();
            encode_signed(&signed, &mut out);
            prop_assert!(out.len() <= size_max_signed(signed.len()));
            let mut rest = &out[..];
            prop_assert_eq!(decode_signed(&mut rest, signed.len()).unwrap(), signed);
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..60), tag in 0u8..7, count in 0usize..300) {
            let bytes = [&[tag][..], &bytes].concat();
            if let Ok(values) = decode(&mut &bytes[..], count) {
                prop_assert_eq!(values.len(), count);
            }
            let _ = decode_signed(&mut &bytes[..], count);
        }

        #[test]
        fn no_change_panics(values in shapes(), at: prop::sample::Index, byte: u8, cut: bool, count in 0usize..500) {
            let mut out = block(&values);
            if !out.is_empty() {
                let at = at.index(out.len());
                out[at] = byte;
                out.truncate(if cut { at } else { out.len() });
            }
            for count in [count, values.len()] {
                if let Ok(decoded) = decode(&mut &out[..], count) {
                    prop_assert_eq!(decoded.len(), count);
                }
            }
        }
    }
}

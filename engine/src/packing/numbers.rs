//! A column of integers in a block, in the smallest of eight forms, any of which gives one integer without the others.
//!
//! Invariants:
//! - What [`Numbers::get`] gives are the integers that [`Plan::put`] was given, whatever the form.
//! - A form is chosen by its size alone, and of equally small ones the first.

use super::Looks;
use crate::codec::packed::{self, Packed};
use crate::codec::{Fault, bits, take, take_between, take_u8, varint};

/// How a column lies in a block; the numbers are on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Form {
    Constant = 0,
    Same = 1,
    Packed = 2,
    Few = 3,
    Rising = 4,
    Before = 5,
    Split = 6,
    Steps = 7,
}

impl Form {
    pub(super) const ALL: [Form; 8] =
        [Form::Constant, Form::Same, Form::Packed, Form::Few, Form::Rising, Form::Before, Form::Split, Form::Steps];
}

/// Columns of more different values are not listed.
const FEW_MAX: usize = 64;

/// Space that is used again from column to column.
#[derive(Default)]
pub(super) struct Scratch {
    differences: Vec<u64>,
    values: Vec<i64>,
    best: Vec<u8>,
    trial: Vec<u8>,
    indexes: Vec<u64>,
    lifts: Vec<(u64, u64)>,
}

/// Appends integers as their distances from a base that leaves few of them far from the others.
fn put_packed(values: &[i64], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    let Some(&least) = values.iter().min() else {
        return;
    };
    scratch.clear();
    scratch.extend(values.iter().map(|value| value.wrapping_sub(least) as u64));
    let (mut base, mut plan) = (least, packed::plan(scratch));
    // Outliers below: a base above them makes them wrap around, and so escape as if they were above.
    if values.len() >= 16 && plan.bytes > values.len() / 8 {
        let rank = values.len() / 16;
        let above = least.wrapping_add(*scratch.select_nth_unstable(rank).1 as i64);
        scratch.clear();
        scratch.extend(values.iter().map(|value| value.wrapping_sub(above) as u64));
        let other = packed::plan(scratch);
        if other.bytes < plan.bytes {
            (base, plan) = (above, other);
        } else {
            scratch.clear();
            scratch.extend(values.iter().map(|value| value.wrapping_sub(least) as u64));
        }
    }
    varint::put_i64(out, base);
    packed::encode_planned(scratch, &plan, out);
}

/// Appends a column in its smallest form, and says which.
///
/// `same` is an earlier column with the same integers.
pub(super) fn put(
    values: &[i64],
    same: Option<usize>,
    looks: &Looks<'_>,
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Form {
    let Some(&first) = values.first() else {
        return Form::Constant;
    };
    if values.iter().all(|value| *value == first) {
        out.push(Form::Constant as u8);
        varint::put_i64(out, first);
        return Form::Constant;
    }
    if let Some(same) = same {
        out.extend([Form::Same as u8, same as u8]);
        return Form::Same;
    }
    let Scratch { differences, values: derived, best, trial, indexes, lifts } = scratch;
    best.clear();
    put_packed(values, differences, best);
    let mut form = Form::Packed;
    let mut consider = |candidate: Form, trial: &mut Vec<u8>| {
        if trial.len() < best.len() {
            form = candidate;
            std::mem::swap(best, trial);
        }
    };
    trial.clear();
    if put_rising(values, differences, lifts, trial) {
        consider(Form::Rising, trial);
    }
    let looks_fit = looks.fit(values.len());
    if looks_fit && put_before(values, looks, derived, differences, trial) {
        consider(Form::Before, trial);
    }
    derived.clear();
    indexes.clear();
    for value in values {
        let index = derived.iter().position(|known| known == value).unwrap_or(derived.len());
        if index == derived.len() {
            if index == FEW_MAX {
                break;
            }
            derived.push(*value);
        }
        indexes.push(index as u64);
    }
    if indexes.len() == values.len() {
        trial.clear();
        varint::put_u64(trial, derived.len() as u64);
        put_packed(derived, differences, trial);
        packed::encode(indexes, trial);
        consider(Form::Few, trial);
    }
    trial.clear();
    if put_split(values, differences, derived, trial) {
        consider(Form::Split, trial);
    }
    // Steps are added up when they are read, so they must save an eighth.
    if looks_fit {
        trial.clear();
        put_steps(values, looks, derived, differences, trial);
        if trial.len() * 8 < best.len() * 7 {
            (form, *best) = (Form::Steps, std::mem::take(trial));
        }
    }
    out.push(form as u8);
    out.extend_from_slice(best);
    form
}

/// The integers as they lie before the second of their look; `false` if looks have no seconds.
fn put_before(
    values: &[i64],
    looks: &Looks<'_>,
    derived: &mut Vec<i64>,
    scratch: &mut Vec<u64>,
    out: &mut Vec<u8>,
) -> bool {
    if looks.seconds.iter().all(|second| *second == 0) {
        return false;
    }
    derived.clear();
    for (look, (start, end)) in looks.ranges(values.len()).enumerate() {
        derived.extend(values[start..end].iter().map(|value| looks.seconds[look].wrapping_sub(*value)));
    }
    out.clear();
    put_packed(derived, scratch, out);
    true
}

/// The first integer of each look, and of each other its difference from the one before.
fn put_steps(values: &[i64], looks: &Looks<'_>, derived: &mut Vec<i64>, differences: &mut Vec<u64>, out: &mut Vec<u8>) {
    let firsts: Vec<i64> = looks.starts.iter().map(|start| values[*start as usize]).collect();
    varint::put_u64(out, firsts.len() as u64);
    let of_look: Vec<u32> = (0..firsts.len() as u32).collect();
    let (mut best, mut trial) = (vec![Form::Packed as u8], vec![Form::Rising as u8]);
    put_packed(&firsts, differences, &mut best);
    if put_rising(&firsts, differences, &mut Vec::new(), &mut trial) && trial.len() < best.len() {
        std::mem::swap(&mut best, &mut trial);
    }
    let each = Looks { starts: &of_look, seconds: looks.seconds };
    if put_before(&firsts, &each, derived, differences, &mut trial) && trial.len() + 1 < best.len() {
        best = [&[Form::Before as u8][..], &trial].concat();
    }
    out.extend_from_slice(&best);
    derived.clear();
    for (start, end) in looks.ranges(values.len()) {
        derived.extend(values[start..end].windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    }
    put_packed(derived, differences, out);
}

/// Small integers and large ones apart, and a bit for each that says where it is.
fn put_split(values: &[i64], scratch: &mut Vec<u64>, part: &mut Vec<i64>, out: &mut Vec<u8>) -> bool {
    let Some(&least) = values.iter().min() else {
        return false;
    };
    let mut of_width = [0usize; 65];
    values.iter().for_each(|value| of_width[bits::width_of(value.wrapping_sub(least) as u64) as usize] += 1);
    let (mut most, mut above) = (64, 0);
    while (above + of_width[most]) * 32 <= values.len() {
        above += of_width[most];
        most -= 1;
    }
    let (mut small, mut best) = (0, None);
    for (width, count) in of_width.iter().enumerate().take(most) {
        small += count;
        let bits = small * width + (values.len() - small) * most;
        if small * 8 >= values.len() && best.is_none_or(|(least, _)| bits < least) {
            best = Some((bits, width));
        }
    }
    let Some((_, width)) = best else {
        return false;
    };
    let is_small = |value: &i64| bits::width_of(value.wrapping_sub(least) as u64) as usize <= width;
    let start = out.len();
    out.resize(start + values.len().div_ceil(8), 0);
    for (i, value) in values.iter().enumerate() {
        out[start + i / 8] |= u8::from(!is_small(value)) << (i % 8);
    }
    for small in [true, false] {
        part.clear();
        part.extend(values.iter().filter(|value| is_small(value) == small));
        put_packed(part, scratch, out);
    }
    true
}

/// The Elias-Fano form: whatever does not rise is lifted by what it lacks, and the lifts are listed.
fn put_rising(values: &[i64], risen: &mut Vec<u64>, lifts: &mut Vec<(u64, u64)>, out: &mut Vec<u8>) -> bool {
    lifts.clear();
    risen.clear();
    let (first, mut lift, mut last) = (values[0], 0u64, values[0]);
    for (i, &value) in values.iter().enumerate() {
        if value < last {
            if lifts.len() * 3 > values.len() {
                return false;
            }
            lift = lift.wrapping_add(last.wrapping_sub(value) as u64);
            lifts.push((i as u64, lift));
        }
        risen.push((value.wrapping_sub(first) as u64).wrapping_add(lift));
        last = value;
    }
    let top = risen[risen.len() - 1];
    if top > u64::MAX >> 16 || !risen.is_sorted() {
        return false;
    }
    // Twice as many bits in the bitmap as there are values: about half of them are ones.
    let low = bits::width_of(top / values.len() as u64).saturating_sub(1);
    varint::put_i64(out, first);
    varint::put_u64(out, lifts.len() as u64);
    let listed: Vec<u64> = lifts.iter().map(|lift| lift.0).collect();
    packed::encode(&listed, out);
    let listed: Vec<u64> = lifts.iter().map(|lift| lift.1).collect();
    packed::encode(&listed, out);
    varint::put_u64(out, top);
    bits::pack(risen.iter().map(|value| value & bits::mask(low)), low, out);
    let start = out.len();
    out.resize(start + high_bytes(values.len(), top, low), 0);
    for (i, value) in risen.iter().enumerate() {
        let bit = (value >> low) as usize + i;
        out[start + bit / 8] |= 1 << (bit % 8);
    }
    true
}

fn high_bytes(count: usize, top: u64, low: u32) -> usize {
    ((top >> low) as usize).saturating_add(count).div_ceil(8)
}

/// A column of a block where it lies.
pub(super) enum Numbers<'a> {
    Constant(i64),
    Same(usize),
    Packed { base: i64, distances: Packed<'a> },
    Few { base: i64, values: Packed<'a>, indexes: Packed<'a> },
    Rising { first: i64, lifts: Option<Box<(Packed<'a>, Packed<'a>)>>, low: u32, lows: &'a [u8], highs: &'a [u8] },
    Before { base: i64, distances: Packed<'a> },
    Split(Box<Split<'a>>),
    Steps(Box<Steps<'a>>),
}

/// The first integer of each look, and steps from there.
pub(super) struct Steps<'a> {
    firsts: Numbers<'a>,
    base: i64,
    steps: Packed<'a>,
}

/// Where a row appeared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    /// The number of its look in the block, and the first row of that.
    pub(super) look: usize,
    pub(super) start: usize,
    pub(super) second: i64,
}

/// Small integers and large ones apart.
pub(super) struct Split<'a> {
    /// A bit for each integer: whether it is a large one.
    is_large: &'a [u8],
    /// The small ones and the large ones, each with their base.
    parts: [(i64, Packed<'a>); 2],
}

impl<'a> Numbers<'a> {
    /// Takes a column of `count` integers off the front, of which `number` columns came before.
    pub(super) fn take(bytes: &mut &'a [u8], count: usize, number: usize) -> Result<Numbers<'a>, Fault> {
        let tag = take_u8(bytes)?;
        let form = Form::ALL.get(usize::from(tag)).ok_or(Fault::Tag { found: tag })?;
        Ok(match form {
            Form::Constant => Numbers::Constant(varint::take_i64(bytes)?),
            Form::Same => match usize::from(take_u8(bytes)?) {
                same if same < number => Numbers::Same(same),
                same => return Err(Fault::Range { found: same as u64, min: 0, max: number as u64 }),
            },
            Form::Packed => Numbers::Packed { base: varint::take_i64(bytes)?, distances: Packed::take(bytes, count)? },
            Form::Few => {
                let few = take_between(bytes, 1, FEW_MAX as u64)? as usize;
                let (base, values) = (varint::take_i64(bytes)?, Packed::take(bytes, few)?);
                Numbers::Few { base, values, indexes: Packed::take(bytes, count)? }
            }
            Form::Rising => {
                let first = varint::take_i64(bytes)?;
                let count_lifts = take_between(bytes, 0, count as u64)? as usize;
                let (places, lifted) = (Packed::take(bytes, count_lifts)?, Packed::take(bytes, count_lifts)?);
                let lifts = (count_lifts > 0).then(|| Box::new((places, lifted)));
                let top = take_between(bytes, 0, u64::MAX >> 16)?;
                let low = bits::width_of(top / count.max(1) as u64).saturating_sub(1);
                let lows = take(bytes, bits::size(count, low).unwrap_or(usize::MAX))?;
                let highs = take(bytes, high_bytes(count, top, low))?;
                Numbers::Rising { first, lifts, low, lows, highs }
            }
            Form::Split => {
                let is_large = take(bytes, count.div_ceil(8))?;
                let large = is_large.iter().map(|byte| byte.count_ones() as usize).sum::<usize>();
                let mut part = |count: usize| match count {
                    0 => Ok((0, Packed::none())),
                    _ => Ok::<_, Fault>((varint::take_i64(bytes)?, Packed::take(bytes, count)?)),
                };
                let parts = [part(count.saturating_sub(large))?, part(large)?];
                Numbers::Split(Box::new(Split { is_large, parts }))
            }
            Form::Steps => {
                let looks = take_between(bytes, 1, count as u64)? as usize;
                // Of the firsts' forms none has steps, so this goes no deeper.
                if !matches!(bytes.first(), Some(2 | 4 | 5)) {
                    return Err(Fault::Tag { found: bytes.first().copied().unwrap_or(0) });
                }
                let firsts = Numbers::take(bytes, looks, number)?;
                let (base, steps) = match count - looks {
                    0 => (0, Packed::none()),
                    rest => (varint::take_i64(bytes)?, Packed::take(bytes, rest)?),
                };
                Numbers::Steps(Box::new(Steps { firsts, base, steps }))
            }
            Form::Before => Numbers::Before { base: varint::take_i64(bytes)?, distances: Packed::take(bytes, count)? },
        })
    }

    /// Whether [`get`](Numbers::get) asks where the row appeared.
    pub(super) fn needs_look(&self) -> bool {
        matches!(self, Numbers::Before { .. } | Numbers::Steps(_))
    }

    /// Integer `i`, of a row that appeared there.
    #[inline]
    pub(super) fn get(&self, i: usize, at: At) -> Result<i64, Fault> {
        match self {
            Numbers::Constant(value) => Ok(*value),
            Numbers::Same(_) => Ok(0),
            Numbers::Packed { base, distances } => Ok(base.wrapping_add(distances.get(i)? as i64)),
            Numbers::Few { base, values, indexes } => {
                Ok(base.wrapping_add(values.get(indexes.get(i)? as usize)? as i64))
            }
            Numbers::Rising { first, lifts, low, lows, highs } => {
                let high = select(highs, i)? - i;
                let risen = (high as u64) << low | packed::bits_at(lows, i * *low as usize, *low);
                let mut lift = 0;
                if let Some(lifts) = lifts {
                    let at = lifts.0.partition_point(|place| place <= i as u64)?;
                    if at > 0 {
                        lift = lifts.1.get(at - 1)?;
                    }
                }
                Ok(first.wrapping_add(risen.wrapping_sub(lift) as i64))
            }
            Numbers::Steps(steps) => {
                let mut value = steps.firsts.get(at.look, At { look: at.look, start: at.look, ..at })?;
                let (Some(from), Some(to)) = (at.start.checked_sub(at.look), i.checked_sub(at.look)) else {
                    return Err(Fault::Range { found: at.look as u64, min: 0, max: i as u64 });
                };
                for step in from..to {
                    value = value.wrapping_add(steps.base).wrapping_add(steps.steps.get(step)? as i64);
                }
                Ok(value)
            }
            Numbers::Split(split) => {
                let large = packed::bits_at(split.is_large, i, 1) as usize;
                let (mut before, mut place) = (0, 0);
                while place < i {
                    let width = (i - place).min(64) as u32;
                    before += packed::bits_at(split.is_large, place, width).count_ones() as usize;
                    place += 64;
                }
                let (base, distances) = &split.parts[large];
                let place = if large == 1 { before } else { i - before };
                Ok(base.wrapping_add(distances.get(place)? as i64))
            }
            Numbers::Before { base, distances } => {
                Ok(at.second.wrapping_sub(base.wrapping_add(distances.get(i)? as i64)))
            }
        }
    }
}

/// The place of the one that `rank` ones precede.
#[inline]
fn select(bytes: &[u8], rank: usize) -> Result<usize, Fault> {
    let mut left = rank as u32;
    let mut at = 0;
    while at < bytes.len() {
        let word = packed::bits_at(bytes, at * 8, 64);
        let ones = word.count_ones();
        if left < ones {
            let mut word = word;
            let mut place = at * 8;
            // Halves, then quarters, then bytes; the last few by clearing ones.
            for width in [32u32, 16, 8] {
                let ones = (word & bits::mask(width)).count_ones();
                if left >= ones {
                    left -= ones;
                    place += width as usize;
                    word >>= width;
                }
            }
            for _ in 0..left {
                word &= word - 1;
            }
            return Ok(place + word.trailing_zeros() as usize);
        }
        left -= ones;
        at += 8;
    }
    Err(Fault::Length { needed: rank as u64 + 1, found: rank as u64 - u64::from(left) })
}

//! A column of integers in a block, in the smallest of nine forms, any of which gives one integer without the others.
//!
//! Invariants:
//! - What [`Numbers::get`] gives are the integers that [`Plan::put`] was given, whatever the form.
//! - A form is chosen by its size alone, and of equally small ones the first.

use super::ranked::Ranked;
use super::reader::{Reader, field, short_field};
use super::{Looks, ranked};
use crate::codec::{Fault, bits, varint};

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
    Frequent = 8,
}

impl Form {
    pub(super) const ALL: [Form; 9] = [
        Form::Constant,
        Form::Same,
        Form::Packed,
        Form::Few,
        Form::Rising,
        Form::Before,
        Form::Split,
        Form::Steps,
        Form::Frequent,
    ];
}

/// The most distances that escape.
const ESCAPED_MAX: usize = 255;
/// Columns of more different values are not listed.
const FEW_MAX: usize = 64;
/// Steps are added up when they are read, so a look has no more than so many rows where they are used.
pub(super) const STEPS_MAX: usize = 16;

/// Space that is used again from column to column.
#[derive(Default)]
pub(super) struct Scratch {
    differences: Vec<u64>,
    values: Vec<i64>,
    best: Vec<u8>,
    trial: Vec<u8>,
    falls: Vec<(u8, i64)>,
    sorted: Vec<i64>,
    /// The different values, each after how many have it.
    counts: Vec<(u32, i64)>,
}

/// Set in the first byte of distances where some escape.
const ESCAPES: u8 = 128;

/// How distances are written: as what width, of which all ones may mean that a distance is listed, and in how many
/// bytes.
#[derive(Clone, Copy)]
struct Plan {
    width: u32,
    escapes: usize,
    widest: u32,
    bytes: usize,
}

/// The smallest way to write distances.
fn plan(distances: &[u64]) -> Plan {
    // How many need each width, and how many of these are all ones.
    let (mut of_width, mut ones) = ([0usize; 65], [0usize; 65]);
    for &distance in distances {
        let width = bits::width_of(distance) as usize;
        of_width[width] += 1;
        ones[width] += usize::from(distance == bits::mask(width as u32));
    }
    let widest = of_width.iter().rposition(|&count| count > 0).unwrap_or(0);
    let bytes = |count: usize, width: usize| (count * width).div_ceil(8);
    let mut best =
        Plan { width: widest as u32, escapes: 0, widest: widest as u32, bytes: 1 + bytes(distances.len(), widest) };
    let mut above = 0;
    for width in (1..widest.min(64)).rev() {
        above += of_width[width + 1];
        let escapes = above + ones[width];
        let bytes = 3 + escapes + bytes(escapes, widest) + bytes(distances.len(), width);
        if escapes <= ESCAPED_MAX && bytes < best.bytes {
            best = Plan { width: width as u32, escapes, widest: widest as u32, bytes };
        }
    }
    best
}

/// Appends integers as their distances from a base that leaves few of them far from the others.
fn put_plain(values: &[i64], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    let Some(&least) = values.iter().min() else {
        return;
    };
    scratch.clear();
    scratch.extend(values.iter().map(|value| value.wrapping_sub(least) as u64));
    let (mut base, mut best) = (least, plan(scratch));
    // Outliers below: a base above them makes them wrap around, and so escape as if they were above.
    if values.len() >= 16 && best.bytes > values.len() / 8 {
        let rank = values.len() / 16;
        let above = least.wrapping_add(*scratch.select_nth_unstable(rank).1 as i64);
        scratch.clear();
        scratch.extend(values.iter().map(|value| value.wrapping_sub(above) as u64));
        let other = plan(scratch);
        if other.bytes < best.bytes {
            (base, best) = (above, other);
        } else {
            scratch.clear();
            scratch.extend(values.iter().map(|value| value.wrapping_sub(least) as u64));
        }
    }
    varint::put_i64(out, base);
    let Plan { width, escapes, widest, .. } = best;
    if escapes == 0 {
        out.push(width as u8);
        return bits::pack(scratch.iter().copied(), width, out);
    }
    let marker = bits::mask(width);
    out.extend([width as u8 | ESCAPES, escapes as u8, widest as u8]);
    out.extend(scratch.iter().enumerate().filter(|(_, distance)| **distance >= marker).map(|(place, _)| place as u8));
    bits::pack(scratch.iter().copied().filter(|distance| *distance >= marker), widest, out);
    bits::pack(scratch.iter().map(|distance| *distance.min(&marker)), width, out);
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
    let Scratch { differences, values: derived, best, trial, falls, sorted, counts } = scratch;
    best.clear();
    put_plain(values, differences, best);
    let mut form = Form::Packed;
    let mut consider = |candidate: Form, trial: &mut Vec<u8>| {
        if trial.len() < best.len() {
            form = candidate;
            std::mem::swap(best, trial);
        }
    };
    trial.clear();
    if put_rising(values, differences, falls, trial) {
        consider(Form::Rising, trial);
    }
    let looks_fit = looks.fit(values.len());
    if looks_fit && put_before(values, looks, derived, differences, trial) {
        consider(Form::Before, trial);
    }
    count(values, sorted, counts);
    if counts.len() <= FEW_MAX {
        trial.clear();
        derived.clear();
        derived.extend(counts.iter().map(|(_, value)| *value));
        derived.sort_unstable();
        put_few(values, derived, differences, trial);
        consider(Form::Few, trial);
    }
    trial.clear();
    if put_split(values, differences, derived, trial) {
        consider(Form::Split, trial);
    }
    trial.clear();
    // Where nearly all differ, none is frequent.
    if counts.len() * 4 <= values.len() * 3 && put_frequent(values, counts, sorted, derived, differences, trial) {
        consider(Form::Frequent, trial);
    }
    // Steps are added up when they are read, so they must save an eighth.
    if looks_fit && looks.ranges(values.len()).all(|(start, end)| end - start <= STEPS_MAX) {
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
    put_plain(derived, scratch, out);
    true
}

/// The first integer of each look, and of each other its difference from the one before.
fn put_steps(values: &[i64], looks: &Looks<'_>, derived: &mut Vec<i64>, differences: &mut Vec<u64>, out: &mut Vec<u8>) {
    let firsts: Vec<i64> = looks.starts.iter().map(|start| values[*start as usize]).collect();
    varint::put_u64(out, firsts.len() as u64);
    let of_look: Vec<u32> = (0..firsts.len() as u32).collect();
    let (mut best, mut trial) = (vec![Form::Packed as u8], vec![Form::Rising as u8]);
    put_plain(&firsts, differences, &mut best);
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
    put_plain(derived, differences, out);
}

/// The different values, the most frequent first.
fn count(values: &[i64], sorted: &mut Vec<i64>, counts: &mut Vec<(u32, i64)>) {
    sorted.clear();
    sorted.extend_from_slice(values);
    sorted.sort_unstable();
    counts.clear();
    counts.extend(sorted.chunk_by(|a, b| a == b).map(|run| (run.len() as u32, run[0])));
    counts.sort_unstable_by_key(|(count, value)| (std::cmp::Reverse(*count), *value));
}

/// The different values, ascending, and the place of each integer among them.
fn put_few(values: &[i64], different: &[i64], scratch: &mut Vec<u64>, out: &mut Vec<u8>) {
    varint::put_u64(out, different.len() as u64);
    put_plain(different, scratch, out);
    let indexes = values.iter().map(|value| different.partition_point(|known| known < value) as u64);
    bits::pack(indexes, index_width(different.len()), out);
}

fn index_width(count: usize) -> u32 {
    bits::width_of((count as u64).saturating_sub(1))
}

/// How many are large, and a bit for each that says whether it is.
fn put_kinds(values: &[i64], is_large: impl Fn(&i64) -> bool, out: &mut Vec<u8>) {
    let large = values.iter().enumerate().filter(|(_, value)| is_large(value)).map(|(i, _)| i);
    varint::put_u64(out, large.clone().count() as u64);
    ranked::put(large, values.len(), out);
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
    put_kinds(values, |value| !is_small(value), out);
    for small in [true, false] {
        part.clear();
        part.extend(values.iter().filter(|value| is_small(value) == small));
        put_plain(part, scratch, out);
    }
    true
}

/// The most frequent values as places in a list of them, the rest apart.
fn put_frequent(
    values: &[i64],
    counts: &[(u32, i64)],
    listed: &mut Vec<i64>,
    part: &mut Vec<i64>,
    scratch: &mut Vec<u64>,
    out: &mut Vec<u8>,
) -> bool {
    let span = |values: &[(u32, i64)]| {
        let (least, most) =
            values.iter().fold((i64::MAX, i64::MIN), |(least, most), (_, value)| (least.min(*value), most.max(*value)));
        bits::width_of(most.wrapping_sub(least) as u64) as usize
    };
    let mut best: Option<(usize, usize)> = None;
    for width in 0..=6 {
        let few = 1usize << width;
        if few >= counts.len() {
            break;
        }
        let (frequent, rest) = counts.split_at(few);
        let covered: usize = frequent.iter().map(|(count, _)| *count as usize).sum();
        let bits = few * span(frequent) + covered * width + (values.len() - covered) * span(rest);
        if best.is_none_or(|(least, _)| bits < least) {
            best = Some((bits, few));
        }
    }
    let Some((_, few)) = best else {
        return false;
    };
    listed.clear();
    listed.extend(counts[..few].iter().map(|(_, value)| *value));
    listed.sort_unstable();
    let is_listed = |value: &i64| listed.binary_search(value).is_ok();
    put_kinds(values, |value| !is_listed(value), out);
    part.clear();
    part.extend(values.iter().filter(|value| is_listed(value)));
    put_few(part, listed, scratch, out);
    part.clear();
    part.extend(values.iter().filter(|value| !is_listed(value)));
    put_plain(part, scratch, out);
    true
}

/// The Elias-Fano form: whatever does not rise is lifted by what it lacks, and the lifts are listed.
fn put_rising(values: &[i64], risen: &mut Vec<u64>, falls: &mut Vec<(u8, i64)>, out: &mut Vec<u8>) -> bool {
    falls.clear();
    risen.clear();
    let (first, mut lift, mut last) = (values[0], 0u64, values[0]);
    for (i, &value) in values.iter().enumerate() {
        if value < last {
            if falls.len() * 3 > values.len() {
                return false;
            }
            lift = lift.wrapping_add(last.wrapping_sub(value) as u64);
            falls.push((i as u8, lift as i64));
        }
        risen.push((value.wrapping_sub(first) as u64).wrapping_add(lift));
        last = value;
    }
    let top = risen[risen.len() - 1];
    if top > u64::MAX >> 16 || !risen.is_sorted() {
        return false;
    }
    varint::put_i64(out, first);
    varint::put_u64(out, falls.len() as u64);
    if !falls.is_empty() {
        out.extend(falls.iter().map(|(place, _)| *place));
        let lifts: Vec<i64> = falls.iter().map(|(_, lift)| *lift).collect();
        put_plain(&lifts, &mut Vec::new(), out);
    }
    varint::put_u64(out, top);
    let low = low_bits(values.len(), top);
    bits::pack(risen.iter().map(|value| value & bits::mask(low)), low, out);
    let ones = risen.iter().enumerate().map(|(i, value)| (value >> low) as usize + i);
    ranked::put(ones, high_bits(values.len(), top, low), out);
    true
}

/// The bits of each number that are kept as they are: about half of the others are then ones.
fn low_bits(count: usize, top: u64) -> u32 {
    bits::width_of(top / count as u64).saturating_sub(1)
}

fn high_bits(count: usize, top: u64, low: u32) -> usize {
    (top >> low) as usize + count
}

/// Integers as their distances from a base.
#[derive(Clone, Copy, Default)]
pub(super) struct Plain {
    base: i64,
    /// Where the distances lie.
    bits: u32,
    /// Where the places of those that escape lie, and behind them the distances.
    escaped: u32,
    count: u16,
    escapes: u8,
    width: u8,
    escaped_width: u8,
}

/// Few different integers, and which of them each is.
pub(super) struct Few {
    different: Plain,
    /// Where the places lie.
    indexes: u32,
    width: u8,
}

/// Integers that rise, but for some falls.
pub(super) struct Rising {
    first: i64,
    /// How many falls, where their places lie, and the sum of falls up to each.
    count_falls: u16,
    falls: u32,
    lifts: Plain,
    low: u8,
    lows: u32,
    highs: Ranked,
}

/// The first integer of each look, and steps from there.
pub(super) struct Steps {
    firsts: Numbers,
    steps: Plain,
}

/// A column of a block where it lies.
pub(super) enum Numbers {
    Constant(i64),
    Same(usize),
    Packed(Plain),
    Few(Few),
    Rising(Rising),
    Before(Plain),
    Split { is_large: Ranked, small: Plain, large: Plain },
    Steps(Box<Steps>),
    Frequent { is_rare: Ranked, frequent: Few, rare: Plain },
}

/// Where a row appeared.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct At {
    /// The number of its look in the block, and the first row of that.
    pub(super) look: usize,
    pub(super) start: usize,
    pub(super) second: i64,
}

impl Plain {
    #[inline(always)]
    fn take(reader: &mut Reader<'_>, count: usize) -> Result<Plain, Fault> {
        if count == 0 {
            return Ok(Plain::default());
        }
        let base = reader.signed()?;
        let first = reader.byte();
        let mut plain = Plain { base, count: count as u16, width: first & !ESCAPES, ..Plain::default() };
        if plain.width > 64 || (first & ESCAPES != 0 && !(1..64).contains(&plain.width)) {
            return Err(Fault::Tag { found: first });
        }
        if first & ESCAPES != 0 {
            plain.escapes = reader.byte();
            plain.escaped_width = reader.byte();
            if plain.escaped_width > 64 {
                return Err(Fault::Tag { found: plain.escaped_width });
            }
            plain.escaped = reader.skip(usize::from(plain.escapes));
            reader.skip_bits(usize::from(plain.escapes), u32::from(plain.escaped_width));
        }
        plain.bits = reader.skip_bits(count, u32::from(plain.width));
        Ok(plain)
    }

    #[inline(always)]
    fn get(&self, bytes: &[u8], i: usize) -> Result<i64, Fault> {
        if i >= usize::from(self.count) {
            return Err(Fault::Range { found: i as u64, min: 0, max: u64::from(self.count) });
        }
        let mut distance = field(bytes, self.bits, i, u32::from(self.width));
        if self.escapes > 0 && distance == bits::mask(u32::from(self.width)) {
            distance = self.escaped(bytes, i)?;
        }
        Ok(self.base.wrapping_add(distance as i64))
    }

    #[cold]
    fn escaped(&self, bytes: &[u8], i: usize) -> Result<u64, Fault> {
        let end = self.escaped + u32::from(self.escapes);
        let places = bytes.get(self.escaped as usize..end as usize).unwrap_or_default();
        match places.binary_search(&(i as u8)) {
            Ok(at) => Ok(field(bytes, end, at, u32::from(self.escaped_width))),
            Err(_) => Err(Fault::Range { found: i as u64, min: 0, max: u64::from(self.escapes) }),
        }
    }
}

impl Few {
    #[inline(always)]
    fn take(reader: &mut Reader<'_>, count: usize) -> Result<Few, Fault> {
        let few = reader.between(1, FEW_MAX as u64)? as usize;
        let different = Plain::take(reader, few)?;
        let width = index_width(few);
        Ok(Few { different, indexes: reader.skip_bits(count, width), width: width as u8 })
    }

    #[inline(always)]
    fn get(&self, bytes: &[u8], i: usize) -> Result<i64, Fault> {
        self.different.get(bytes, short_field(bytes, self.indexes, i, u32::from(self.width)) as usize)
    }
}

impl Rising {
    #[inline(always)]
    fn take(reader: &mut Reader<'_>, count: usize) -> Result<Rising, Fault> {
        let first = reader.signed()?;
        let count_falls = reader.between(0, count as u64)? as usize;
        let falls = reader.skip(count_falls);
        let lifts = Plain::take(reader, count_falls)?;
        let top = reader.between(0, u64::MAX >> 16)?;
        let low = low_bits(count, top);
        let lows = reader.skip_bits(count, low);
        let highs = Ranked::take(reader, high_bits(count, top, low));
        Ok(Rising { first, count_falls: count_falls as u16, falls, lifts, low: low as u8, lows, highs })
    }

    #[inline(always)]
    fn get(&self, bytes: &[u8], i: usize) -> Result<i64, Fault> {
        let place = self.highs.select(bytes, i)?;
        let high = place.checked_sub(i).ok_or(Fault::Range { found: place as u64, min: i as u64, max: u64::MAX })?;
        let mut risen = (high as u64) << self.low | short_field(bytes, self.lows, i, u32::from(self.low));
        if self.count_falls > 0 {
            let falls = &bytes[self.falls as usize..][..usize::from(self.count_falls)];
            let falls = falls.partition_point(|place| usize::from(*place) <= i);
            if falls > 0 {
                risen = risen.wrapping_sub(self.lifts.get(bytes, falls - 1)? as u64);
            }
        }
        Ok(self.first.wrapping_add(risen as i64))
    }
}

impl Steps {
    #[cold]
    fn take(reader: &mut Reader<'_>, count: usize) -> Result<Steps, Fault> {
        let looks = reader.between(1, count as u64)? as usize;
        let tag = reader.rest().first().copied().unwrap_or(0);
        // Of the firsts' forms none has steps, so this goes no deeper.
        if ![Form::Packed, Form::Rising, Form::Before].iter().any(|form| *form as u8 == tag) {
            return Err(Fault::Tag { found: tag });
        }
        Ok(Steps { firsts: Numbers::take(reader, looks, 0)?, steps: Plain::take(reader, count - looks)? })
    }

    #[inline(never)]
    fn get(&self, bytes: &[u8], i: usize, at: At) -> Result<i64, Fault> {
        let mut value = self.firsts.get(bytes, at.look, At { look: at.look, start: at.look, ..at })?;
        let (Some(from), Some(to)) = (at.start.checked_sub(at.look), i.checked_sub(at.look)) else {
            return Err(Fault::Range { found: at.look as u64, min: 0, max: i as u64 });
        };
        for step in from..to {
            value = value.wrapping_add(self.steps.get(bytes, step)?);
        }
        Ok(value)
    }
}

impl Numbers {
    /// Takes a column of `count` integers off the front, of which `number` columns came before.
    #[inline(always)]
    pub(super) fn take(reader: &mut Reader<'_>, count: usize, number: usize) -> Result<Numbers, Fault> {
        let tag = reader.byte();
        let form = Form::ALL.get(usize::from(tag)).ok_or(Fault::Tag { found: tag })?;
        Ok(match form {
            Form::Constant => Numbers::Constant(reader.signed()?),
            Form::Same => match usize::from(reader.byte()) {
                same if same < number => Numbers::Same(same),
                same => return Err(Fault::Range { found: same as u64, min: 0, max: number as u64 }),
            },
            Form::Packed => Numbers::Packed(Plain::take(reader, count)?),
            Form::Few => Numbers::Few(Few::take(reader, count)?),
            Form::Rising => Numbers::Rising(Rising::take(reader, count)?),
            Form::Before => Numbers::Before(Plain::take(reader, count)?),
            Form::Split => {
                let large = reader.between(0, count as u64)? as usize;
                let is_large = Ranked::take(reader, count);
                let small = Plain::take(reader, count - large)?;
                Numbers::Split { is_large, small, large: Plain::take(reader, large)? }
            }
            Form::Steps => Numbers::Steps(Box::new(Steps::take(reader, count)?)),
            Form::Frequent => {
                let rare = reader.between(0, count as u64)? as usize;
                let is_rare = Ranked::take(reader, count);
                let frequent = Few::take(reader, count - rare)?;
                Numbers::Frequent { is_rare, frequent, rare: Plain::take(reader, rare)? }
            }
        })
    }

    /// Whether [`get`](Numbers::get) asks where the row appeared.
    pub(super) fn needs_look(&self) -> bool {
        matches!(self, Numbers::Before(_) | Numbers::Steps(_))
    }

    /// The integers of some rows, of which `places` tells where they appeared if that is asked.
    pub(super) fn each(&self, bytes: &[u8], rows: &[u16], places: &[At], each: impl FnMut(i64)) -> Result<(), Fault> {
        fn all(
            rows: &[u16],
            get: impl Fn(usize) -> Result<i64, Fault>,
            mut each: impl FnMut(i64),
        ) -> Result<(), Fault> {
            rows.iter().try_for_each(|&i| get(usize::from(i)).map(&mut each))
        }
        // The same, but each form in a loop of its own.
        match self {
            Numbers::Constant(value) => all(rows, |_| Ok(*value), each),
            Numbers::Packed(plain) => all(rows, |i| plain.get(bytes, i), each),
            Numbers::Few(few) => all(rows, |i| few.get(bytes, i), each),
            Numbers::Rising(rising) => all(rows, |i| rising.get(bytes, i), each),
            Numbers::Split { .. } | Numbers::Frequent { .. } => all(rows, |i| self.get(bytes, i, At::default()), each),
            Numbers::Same(_) | Numbers::Before(_) | Numbers::Steps(_) => {
                let mut each = each;
                let at = |k: usize| places.get(k).copied().unwrap_or_default();
                let mut rows = rows.iter().enumerate();
                rows.try_for_each(|(k, &i)| self.get(bytes, usize::from(i), at(k)).map(&mut each))
            }
        }
    }

    /// Integer `i`, of a row that appeared there.
    #[inline(always)]
    pub(super) fn get(&self, bytes: &[u8], i: usize, at: At) -> Result<i64, Fault> {
        match self {
            Numbers::Constant(value) => Ok(*value),
            Numbers::Same(_) => Ok(0),
            Numbers::Packed(plain) => plain.get(bytes, i),
            Numbers::Few(few) => few.get(bytes, i),
            Numbers::Rising(rising) => rising.get(bytes, i),
            Numbers::Before(plain) => Ok(at.second.wrapping_sub(plain.get(bytes, i)?)),
            Numbers::Split { is_large, small, large } => match is_large.get(bytes, i) {
                (true, before) => large.get(bytes, before),
                // What is told of ones before may be wrong, so this wraps, and is out of range.
                (false, before) => small.get(bytes, i.wrapping_sub(before)),
            },
            Numbers::Frequent { is_rare, frequent, rare } => match is_rare.get(bytes, i) {
                (true, before) => rare.get(bytes, before),
                (false, before) if before <= i => frequent.get(bytes, i - before),
                (false, before) => Err(Fault::Range { found: before as u64, min: 0, max: i as u64 }),
            },
            Numbers::Steps(steps) => steps.get(bytes, i, at),
        }
    }
}

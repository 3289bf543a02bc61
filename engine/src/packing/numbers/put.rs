//! A column of integers is written in its smallest form.
//!
//! Invariants:
//! - A form takes as many bytes as was worked out before it is written.
//! - A form is chosen by its size alone, and of equally small ones the first.
//!
//! How: what each form would take is worked out from counts of the integers' widths, and only the smallest is written.

use super::{ESCAPES, FEW_MAX, Form, Looks, STEPS_MAX, high_bits, index_width, low_bits};
use crate::codec::{bits, varint};
use crate::numbering::Numbering;
use crate::packing::ranked;
use std::cmp::Reverse;

/// The most distances that escape.
const ESCAPED_MAX: usize = 255;

/// Space that is used again from column to column.
#[derive(Default)]
pub(in crate::packing) struct Scratch {
    distances: Vec<u64>,
    part: Vec<i64>,
    /// The places of falls, and what all up to each lack.
    falls: Vec<u8>,
    lifts: Vec<i64>,
    /// The different values, each after how many have it.
    counts: Vec<(u32, i64)>,
    /// Their numbers as they came.
    numbers: Numbering,
    listed: Vec<i64>,
}

/// How many distances have each width, and in the upper half of each number how many of these are all ones.
type Widths = [u32; 65];

const ONES: u32 = 1 << 16;

fn widths(distances: impl Iterator<Item = u64>) -> Widths {
    let mut widths = [0; 65];
    for distance in distances {
        // All ones are followed by a power of two.
        let is_ones = distance & distance.wrapping_add(1) == 0;
        widths[bits::width_of(distance) as usize] += 1 + u32::from(is_ones) * ONES;
    }
    widths
}

fn packed_bytes(count: usize, width: usize) -> usize {
    (count * width).div_ceil(8)
}

/// How distances are written: as what width, of which all ones may mean that a distance is listed, and in how many
/// bytes.
#[derive(Clone, Copy, Default)]
struct Plan {
    width: usize,
    escapes: usize,
    widest: usize,
    bytes: usize,
}

impl Plan {
    /// The smallest way to write so many distances.
    fn of(widths: &Widths, count: usize) -> Plan {
        let widest = widths.iter().rposition(|&count| count > 0).unwrap_or(0);
        let mut best = Plan { width: widest, escapes: 0, widest, bytes: 1 + packed_bytes(count, widest) };
        let mut above = 0;
        for width in (1..widest.min(64)).rev() {
            above += (widths[width + 1] % ONES) as usize;
            let escapes = above + (widths[width] / ONES) as usize;
            // Of a smaller width no fewer escape.
            if escapes > ESCAPED_MAX {
                break;
            }
            let bytes = 3 + escapes + packed_bytes(escapes, widest) + packed_bytes(count, width);
            if bytes < best.bytes {
                best = Plan { width, escapes, widest, bytes };
            }
        }
        best
    }
}

/// Integers as their distances from a base that leaves few of them far from the others.
#[derive(Clone, Copy, Default)]
struct Plain {
    base: i64,
    plan: Plan,
    /// With the base.
    bytes: usize,
}

impl Plain {
    fn of(values: &[i64], scratch: &mut Vec<u64>) -> Plain {
        let Some(&least) = values.iter().min() else {
            return Plain::default();
        };
        let from = |base: i64| values.iter().map(move |value| value.wrapping_sub(base) as u64);
        let of_width = widths(from(least));
        let (mut base, mut plan) = (least, Plan::of(&of_width, values.len()));
        // Outliers below: a base above them makes them wrap around, and so escape as if they were above.
        if values.len() >= 16 && plan.bytes > values.len() / 8 {
            let above = least.wrapping_add(nth(from(least), &of_width, values.len() / 16, scratch) as i64);
            let other = Plan::of(&widths(from(above)), values.len());
            if other.bytes < plan.bytes {
                (base, plan) = (above, other);
            }
        }
        Plain { base, plan, bytes: varint::len_i64(base) + plan.bytes }
    }

    /// Appends the values that it was made of.
    fn put<'v>(&self, values: impl Iterator<Item = &'v i64> + Clone, out: &mut Vec<u8>) {
        if self.bytes == 0 {
            return;
        }
        let Plain { base, plan: Plan { width, escapes, widest, .. }, .. } = *self;
        let distances = values.map(|value| value.wrapping_sub(base) as u64);
        varint::put_i64(out, base);
        if escapes == 0 {
            out.push(width as u8);
            return bits::pack(distances, width as u32, out);
        }
        let marker = bits::mask(width as u32);
        out.extend([width as u8 | ESCAPES, escapes as u8, widest as u8]);
        let escaped = distances.clone().enumerate().filter(|(_, distance)| *distance >= marker);
        out.extend(escaped.clone().map(|(place, _)| place as u8));
        bits::pack(escaped.map(|(_, distance)| distance), widest as u32, out);
        bits::pack(distances.map(|distance| distance.min(marker)), width as u32, out);
    }
}

/// The distance that `rank` others precede.
fn nth(distances: impl Iterator<Item = u64>, widths: &Widths, mut rank: usize, scratch: &mut Vec<u64>) -> u64 {
    let mut width = 0;
    while width < 64 && (widths[width] % ONES) as usize <= rank {
        rank -= (widths[width] % ONES) as usize;
        width += 1;
    }
    scratch.clear();
    scratch.extend(distances.filter(|distance| bits::width_of(*distance) as usize == width));
    *scratch.select_nth_unstable(rank).1
}

/// Integers that rise, but for some falls.
struct Rising {
    /// The last of them, from the first on, as it is lifted.
    top: u64,
    lifts: Plain,
    bytes: usize,
}

impl Rising {
    /// Of these, unless they fall too often; `falls` and `lifts` are then told.
    fn of(values: &[i64], falls: &mut Vec<u8>, lifts: &mut Vec<i64>, distances: &mut Vec<u64>) -> Option<Rising> {
        falls.clear();
        lifts.clear();
        let (&first, mut top) = (values.first()?, 0);
        for (i, risen) in risen(values).enumerate() {
            if i > 0 && values[i] < values[i - 1] {
                if falls.len() * 3 > values.len() {
                    return None;
                }
                falls.push(i as u8);
                lifts.push(risen.wrapping_sub(values[i].wrapping_sub(first) as u64) as i64);
            }
            if risen < top {
                return None;
            }
            top = risen;
        }
        if top > u64::MAX >> 16 {
            return None;
        }
        let lifts = Plain::of(lifts, distances);
        let low = low_bits(values.len(), top);
        let bytes = varint::len_i64(first)
            + varint::len_u64(falls.len() as u64)
            + (falls.len() + lifts.bytes)
            + varint::len_u64(top)
            + packed_bytes(values.len(), low as usize)
            + ranked::size(high_bits(values.len(), top, low));
        Some(Rising { top, lifts, bytes })
    }

    fn put(&self, values: &[i64], falls: &[u8], lifts: &[i64], out: &mut Vec<u8>) {
        varint::put_i64(out, values[0]);
        varint::put_u64(out, falls.len() as u64);
        out.extend_from_slice(falls);
        self.lifts.put(lifts.iter(), out);
        varint::put_u64(out, self.top);
        let low = low_bits(values.len(), self.top);
        bits::pack(risen(values).map(|value| value & bits::mask(low)), low, out);
        let ones = risen(values).enumerate().map(|(i, value)| (value >> low) as usize + i);
        ranked::put(ones, high_bits(values.len(), self.top, low), out);
    }
}

/// The integers from the first on: whatever does not rise is lifted by what it lacks.
fn risen(values: &[i64]) -> impl Iterator<Item = u64> + Clone {
    let first = values.first().copied().unwrap_or_default();
    let (mut lift, mut last) = (0u64, first);
    values.iter().map(move |&value| {
        if value < last {
            lift = lift.wrapping_add(last.wrapping_sub(value) as u64);
        }
        last = value;
        (value.wrapping_sub(first) as u64).wrapping_add(lift)
    })
}

/// Few different integers, ascending, and the place of each among them.
struct Few {
    different: Plain,
    bytes: usize,
}

impl Few {
    /// Of so many integers.
    fn of(count: usize, different: &[i64], distances: &mut Vec<u64>) -> Few {
        let plain = Plain::of(different, distances);
        let places = packed_bytes(count, index_width(different.len()) as usize);
        Few { different: plain, bytes: varint::len_u64(different.len() as u64) + plain.bytes + places }
    }

    fn put<'v>(&self, values: impl Iterator<Item = &'v i64>, different: &[i64], out: &mut Vec<u8>) {
        varint::put_u64(out, different.len() as u64);
        self.different.put(different.iter(), out);
        let places = values.map(|value| different.partition_point(|known| known < value) as u64);
        bits::pack(places, index_width(different.len()), out);
    }
}

/// Integers of two kinds apart, and a bit for each that says of which it is.
fn kinds_bytes(count: usize, others: usize) -> usize {
    varint::len_u64(others as u64) + ranked::size(count)
}

fn put_kinds(values: &[i64], is_other: impl Fn(&i64) -> bool, out: &mut Vec<u8>) {
    let others = values.iter().enumerate().filter(|(_, value)| is_other(value)).map(|(i, _)| i);
    varint::put_u64(out, others.clone().count() as u64);
    ranked::put(others, values.len(), out);
}

/// Small integers and large ones apart.
struct Split {
    least: i64,
    width: u32,
    small: Plain,
    large: Plain,
    bytes: usize,
}

impl Split {
    fn of(values: &[i64], part: &mut Vec<i64>, distances: &mut Vec<u64>) -> Option<Split> {
        let &least = values.iter().min()?;
        let of_width = widths(values.iter().map(|value| value.wrapping_sub(least) as u64));
        let of_width = of_width.map(|counts| (counts % ONES) as usize);
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
                best = Some((bits, width as u32));
            }
        }
        let (_, width) = best?;
        let mut split = Split { least, width, small: Plain::default(), large: Plain::default(), bytes: 0 };
        let mut plain = |is_large: bool| {
            part.clear();
            part.extend(values.iter().filter(|value| split.is_large(value) == is_large));
            (Plain::of(part, distances), part.len())
        };
        let ((small, _), (large, count)) = (plain(false), plain(true));
        split.bytes = kinds_bytes(values.len(), count) + small.bytes + large.bytes;
        Some(Split { small, large, ..split })
    }

    #[inline]
    fn is_large(&self, value: &i64) -> bool {
        bits::width_of(value.wrapping_sub(self.least) as u64) > self.width
    }

    fn put(&self, values: &[i64], out: &mut Vec<u8>) {
        put_kinds(values, |value| self.is_large(value), out);
        self.small.put(values.iter().filter(|value| !self.is_large(value)), out);
        self.large.put(values.iter().filter(|value| self.is_large(value)), out);
    }
}

/// The most frequent values as places in a list of them, the rest apart.
struct Frequent {
    /// How many are listed.
    listed: usize,
    frequent: Few,
    rare: Plain,
    bytes: usize,
}

impl Frequent {
    fn of(
        values: &[i64],
        counts: &[(u32, i64)],
        part: &mut Vec<i64>,
        listed: &mut Vec<i64>,
        distances: &mut Vec<u64>,
    ) -> Option<Frequent> {
        let span = |values: &[(u32, i64)]| {
            let bounds = |(least, most): (i64, i64), (_, value): &(u32, i64)| (least.min(*value), most.max(*value));
            let (least, most) = values.iter().fold((i64::MAX, i64::MIN), bounds);
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
        let (_, few) = best?;
        list(&counts[..few], listed);
        part.clear();
        part.extend(values.iter().filter(|value| listed.binary_search(value).is_err()));
        let rare = Plain::of(part, distances);
        let frequent = Few::of(values.len() - part.len(), listed, distances);
        let bytes = kinds_bytes(values.len(), part.len()) + frequent.bytes + rare.bytes;
        Some(Frequent { listed: few, frequent, rare, bytes })
    }

    fn put(&self, values: &[i64], listed: &[i64], out: &mut Vec<u8>) {
        let is_rare = |value: &i64| listed.binary_search(value).is_err();
        put_kinds(values, is_rare, out);
        self.frequent.put(values.iter().filter(|value| !is_rare(value)), listed, out);
        self.rare.put(values.iter().filter(|value| is_rare(value)), out);
    }
}

/// The integers as they lie before the second of their look; `false` if looks have no seconds.
fn derive_before(values: &[i64], looks: &Looks<'_>, derived: &mut Vec<i64>) -> bool {
    if looks.seconds.iter().all(|second| *second == 0) {
        return false;
    }
    derived.clear();
    for (look, (start, end)) in looks.ranges(values.len()).enumerate() {
        derived.extend(values[start..end].iter().map(|value| looks.seconds[look].wrapping_sub(*value)));
    }
    true
}

/// Appends the first integer of each look, and of each other its difference from the one before.
fn put_steps(values: &[i64], looks: &Looks<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
    let firsts: Vec<i64> = looks.starts.iter().map(|start| values[*start as usize]).collect();
    varint::put_u64(out, firsts.len() as u64);
    let of_look: Vec<u32> = (0..firsts.len() as u32).collect();
    let each = Looks { starts: &of_look, seconds: looks.seconds };
    let smallest = Smallest::in_order(&firsts, Some(&each), scratch);
    out.push(smallest.form() as u8);
    smallest.put(&firsts, &each, scratch, out);
    let Scratch { distances, part, .. } = scratch;
    part.clear();
    for (start, end) in looks.ranges(values.len()) {
        part.extend(values[start..end].windows(2).map(|pair| pair[1].wrapping_sub(pair[0])));
    }
    Plain::of(part, distances).put(part.iter(), out);
}

/// The values that were counted, ascending.
fn list(counts: &[(u32, i64)], listed: &mut Vec<i64>) {
    listed.clear();
    listed.extend(counts.iter().map(|(_, value)| *value));
    listed.sort_unstable();
}

/// The different values, the most frequent first; `false` if they are so many that none is frequent, or few.
fn count(values: &[i64], numbers: &mut Numbering, counts: &mut Vec<(u32, i64)>) -> bool {
    // Of odd multiples the upper bits are hashes.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    numbers.clear();
    counts.clear();
    let most = (values.len() * 3 / 4).max(FEW_MAX);
    for &value in values {
        let hash = (value as u64).wrapping_mul(MIX);
        let (number, is_new) = numbers.number(hash, |number| counts[number as usize].1 == value);
        if !is_new {
            counts[number as usize].0 += 1;
        } else if counts.len() < most {
            counts.push((1, value));
        } else {
            return false;
        }
    }
    counts.sort_unstable_by_key(|(count, value)| (Reverse(*count), *value));
    true
}

/// The smallest of the forms that tell each integer by itself.
enum Smallest {
    Packed(Plain),
    Rising(Rising),
    Before(Plain),
    Few(Few),
    Split(Split),
    Frequent(Frequent),
}

impl Smallest {
    fn of(values: &[i64], looks: Option<&Looks<'_>>, scratch: &mut Scratch) -> Smallest {
        let mut best = Smallest::in_order(values, looks, scratch);
        let Scratch { distances, part, counts, numbers, listed, .. } = scratch;
        let is_counted = count(values, numbers, counts);
        if is_counted && counts.len() <= FEW_MAX {
            list(counts, listed);
            best = best.or(Some(Smallest::Few(Few::of(values.len(), listed, distances))));
        }
        best = best.or(Split::of(values, part, distances).map(Smallest::Split));
        // Where nearly all differ, none is frequent.
        if is_counted && counts.len() * 4 <= values.len() * 3 {
            best = best.or(Frequent::of(values, counts, part, listed, distances).map(Smallest::Frequent));
        }
        best
    }

    /// The same of the forms that keep no values apart from others.
    fn in_order(values: &[i64], looks: Option<&Looks<'_>>, scratch: &mut Scratch) -> Smallest {
        let Scratch { distances, part, falls, lifts, .. } = scratch;
        let best = Smallest::Packed(Plain::of(values, distances));
        let best = best.or(Rising::of(values, falls, lifts, distances).map(Smallest::Rising));
        let has_before = looks.is_some_and(|looks| derive_before(values, looks, part));
        best.or(has_before.then(|| Smallest::Before(Plain::of(part, distances))))
    }

    /// The smaller one, and of equally small ones this.
    fn or(self, other: Option<Smallest>) -> Smallest {
        other.filter(|other| other.bytes() < self.bytes()).unwrap_or(self)
    }

    fn form(&self) -> Form {
        match self {
            Smallest::Packed(_) => Form::Packed,
            Smallest::Rising(_) => Form::Rising,
            Smallest::Before(_) => Form::Before,
            Smallest::Few(_) => Form::Few,
            Smallest::Split(_) => Form::Split,
            Smallest::Frequent(_) => Form::Frequent,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Smallest::Packed(Plain { bytes, .. })
            | Smallest::Rising(Rising { bytes, .. })
            | Smallest::Before(Plain { bytes, .. })
            | Smallest::Few(Few { bytes, .. })
            | Smallest::Split(Split { bytes, .. })
            | Smallest::Frequent(Frequent { bytes, .. }) => *bytes,
        }
    }

    /// Appends the values that it was made of, in the room where it was made.
    fn put(&self, values: &[i64], looks: &Looks<'_>, scratch: &mut Scratch, out: &mut Vec<u8>) {
        let Scratch { part, falls, lifts, counts, listed, .. } = scratch;
        match self {
            Smallest::Packed(plain) => plain.put(values.iter(), out),
            Smallest::Rising(rising) => rising.put(values, falls, lifts, out),
            Smallest::Before(plain) => {
                derive_before(values, looks, part);
                plain.put(part.iter(), out);
            }
            Smallest::Few(few) => {
                list(counts, listed);
                few.put(values.iter(), listed, out);
            }
            Smallest::Split(split) => split.put(values, out),
            Smallest::Frequent(frequent) => {
                list(&counts[..frequent.listed], listed);
                frequent.put(values, listed, out);
            }
        }
    }
}

/// Appends a column in its smallest form, and says which.
///
/// `same` is an earlier column with the same integers.
pub(in crate::packing) fn put(
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
    let start = out.len();
    let looks_fit = looks.fit(values.len());
    let smallest = Smallest::of(values, looks_fit.then_some(looks), scratch);
    out.push(smallest.form() as u8);
    smallest.put(values, looks, scratch, out);
    let bytes = out.len() - start - 1;
    debug_assert_eq!(bytes, smallest.bytes());
    if looks_fit && looks.ranges(values.len()).all(|(start, end)| end - start <= STEPS_MAX) {
        let at = out.len();
        out.push(Form::Steps as u8);
        put_steps(values, looks, scratch, out);
        // Steps are added up when they are read, so they must save an eighth.
        if (out.len() - at - 1) * 8 < bytes * 7 {
            out.drain(start..at);
            return Form::Steps;
        }
        out.truncate(at);
    }
    smallest.form()
}

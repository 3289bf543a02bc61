//! A column of integers in a block, in the smallest of nine forms, any of which gives one integer without the others.
//!
//! Invariant: what [`Numbers::get`] gives are the integers that [`put`](put::put) was given, whatever the form.
//!
//! # In this folder
//!
//! `put` chooses a form and writes it.

mod put;

pub(super) use put::{Scratch, put};

use super::Looks;
use super::ranked::Ranked;
use super::reader::{Reader, field, short_field};
use crate::codec::{Fault, bits};

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

/// Columns of more different values are not listed.
const FEW_MAX: usize = 64;
/// Steps are added up when they are read, so a look has no more than so many rows where they are used.
pub(super) const STEPS_MAX: usize = 16;

/// Set in the first byte of distances where some escape.
const ESCAPES: u8 = 128;

fn index_width(count: usize) -> u32 {
    bits::width_of((count as u64).saturating_sub(1))
}

/// The bits of each number of the Elias-Fano form that are kept as they are: about half of the others are then ones.
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

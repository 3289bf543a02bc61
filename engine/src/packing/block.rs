//! A block where it lies: where each row's codes, integers and record are, and one text of a row without the others.
//!
//! Invariants:
//! - Opening reads what is told once a block, never once a row.
//! - No index from a block is believed: rows, codes, entries and own texts are looked up, or are a [`Fault`].

use super::arena::Writer;
use super::dictionary::{ABSENT, Dictionary, Role, Width};
use super::numbers::{At, Numbers};
use super::ranked::Ranked;
use super::reader::{Reader, short_field};
use super::tokens::parse_integer;
use super::{BLOCK_ROWS_MAX, GROUPS_MAX, Looks, SAMPLED_ROWS, ZSTD_RATIO_MAX};
use crate::codec::packed::{Packed, SHORT_WIDTH, bits_at, short_at};
use crate::codec::{Fault, bits, finish, take, zstd};
use std::borrow::Cow;
use std::cell::OnceCell;
use std::ops::Range;

/// Set in a block's first byte where some rows are kept whole.
pub(super) const WHOLE: u8 = 1;
/// Set in a block's first byte where all records have one width.
pub(super) const EVEN: u8 = 2;
/// Set in a block's first byte where the own texts are a zstd frame.
pub(super) const FRAMED: u8 = 4;

/// Set in the first byte of codes where short ones are places in a list.
pub(super) const LISTED: u8 = 1;
/// Set in the first byte of codes where some are long.
pub(super) const MIXED: u8 = 2;
/// The width of short codes is told in the bits above.
pub(super) const WIDTH_SHIFT: u32 = 2;
/// The most bits of a code: there are no more entries.
pub(super) const CODE_WIDTH_MAX: u32 = 17;

/// The codes of a group's rows, as places in the block.
#[derive(Clone, Copy, Default)]
struct Codes {
    /// How many entries the dictionary and the block have.
    entries: u32,
    /// The shapes of the entries that only this block has.
    own: u32,
    /// How many short codes are listed, and their entries.
    listed: u16,
    list: u32,
    short_width: u8,
    short: u32,
    /// The width of entries.
    long_width: u8,
    long: u32,
    /// Which rows have long codes, if some have.
    is_mixed: bool,
    is_long: Ranked,
}

/// Where some records begin: on a straight line, but for a distance each.
#[derive(Clone, Copy)]
pub(super) struct Samples {
    start: i64,
    slope: i64,
    width: u32,
    distances: u32,
}

/// The slope of samples counts parts of this power of two.
pub(super) const SLOPE_BITS: u32 = 4;

/// Where sample `k` lies, but for its distance.
#[inline]
pub(super) fn sample_line(slope: i64, k: usize) -> i64 {
    slope.wrapping_mul(k as i64) >> SLOPE_BITS
}

/// The row whose record's begin sample `k` tells.
#[inline]
pub(super) fn sampled_row(k: usize, rows: usize) -> usize {
    rows.min(k * SAMPLED_ROWS + SAMPLED_ROWS / 2)
}

/// What a row's code in a group says.
#[derive(Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) number: usize,
    pub(super) width: Width,
}

/// The entry of a row in each group, and where its record begins.
pub(super) type Entries = [(Entry, usize); GROUPS_MAX];

/// So many columns of integers are kept in the block itself.
const NUMBERS_IN_PLACE: usize = 4;

/// A column of integers.
pub(super) struct NumberColumn<'a> {
    pub(super) numbers: Numbers,
    /// The column that it equals, or itself.
    pub(super) root: usize,
    /// The rows without an integer, and what they have.
    pub(super) odd: Option<Box<(Packed<'a>, Packed<'a>)>>,
}

impl NumberColumn<'_> {
    const NONE: Self = NumberColumn { numbers: Numbers::Constant(0), root: 0, odd: None };
}

/// What a row has in a column that is not the integer that its column says.
pub(super) enum Number<'b> {
    Integer(i64),
    Text(&'b [u8]),
    Absent,
}

/// What stands in a block, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) enum Section {
    /// What is of no column, and records, of which [`Block::entries`] tells where they begin.
    Shared,
    /// A column of integers.
    Numbers(usize),
    /// The codes of a group.
    Codes(usize),
}

/// A block of rows.
pub struct Block<'a> {
    pub(super) dictionary: &'a Dictionary,
    pub(super) bytes: &'a [u8],
    rows: usize,
    numbers: [NumberColumn<'a>; NUMBERS_IN_PLACE],
    more_numbers: Vec<NumberColumn<'a>>,
    codes: [Codes; GROUPS_MAX],
    /// The rows that are kept whole, and their own texts.
    pub(super) whole: Option<Box<(Packed<'a>, Packed<'a>)>>,
    /// The width of all records, unless they differ.
    even: u32,
    /// Where some records begin, if their widths differ.
    pub(super) samples: Option<Samples>,
    /// The bits at which the records begin and end.
    records: usize,
    pub(super) records_end: usize,
    pub(super) needs_look: bool,
    pub(super) own_bits: u32,
    own_ends: Packed<'a>,
    own_len: usize,
    own_bytes: &'a [u8],
    framed: bool,
    unframed: OnceCell<Cow<'a, [u8]>>,
}

impl<'a> Block<'a> {
    /// Opens a block of so many rows.
    pub fn open(dictionary: &'a Dictionary, bytes: &'a [u8], rows: usize) -> Result<Block<'a>, Fault> {
        Block::open_telling(dictionary, bytes, rows, |_, _| ())
    }

    /// The same, and tells after each section how many bytes are left; what is left after the last are own texts.
    #[inline]
    pub(super) fn open_telling(
        dictionary: &'a Dictionary,
        bytes: &'a [u8],
        rows: usize,
        tell: impl FnMut(Section, usize),
    ) -> Result<Block<'a>, Fault> {
        let mut block = Block {
            dictionary,
            bytes,
            rows,
            numbers: [NumberColumn::NONE; NUMBERS_IN_PLACE],
            more_numbers: Vec::new(),
            codes: [Codes::default(); GROUPS_MAX],
            whole: None,
            even: 0,
            samples: None,
            records: 0,
            records_end: 0,
            needs_look: false,
            own_bits: 0,
            own_ends: Packed::none(),
            own_len: 0,
            own_bytes: &[],
            framed: false,
            unframed: OnceCell::new(),
        };
        block.take(tell)?;
        Ok(block)
    }

    /// Reads the block's head.
    #[inline]
    fn take(&mut self, mut tell: impl FnMut(Section, usize)) -> Result<(), Fault> {
        let (dictionary, rows) = (self.dictionary, self.rows);
        if rows == 0 {
            return finish(self.bytes);
        }
        if rows > BLOCK_ROWS_MAX {
            return Err(Fault::Range { found: rows as u64, min: 0, max: BLOCK_ROWS_MAX as u64 });
        }
        let reader = &mut Reader::new(self.bytes);
        let flags = reader.byte();
        if flags > WHOLE | EVEN | FRAMED {
            return Err(Fault::Tag { found: flags });
        }
        // A row has no more own texts than columns, each of which has no more than its parts.
        let owns = reader.between(0, u64::from(u32::MAX))? as usize;
        self.own_bits = bits::width_of((owns as u64).saturating_sub(1));
        if flags & WHOLE != 0 {
            let count = reader.between(1, rows as u64)? as usize;
            self.whole = Some(Box::new((take_packed(reader, count)?, take_packed(reader, count)?)));
        }
        let odd = if dictionary.numbers == 0 { 0 } else { reader.varint()? };
        tell(Section::Shared, reader.rest().len());
        for number in 0..dictionary.numbers {
            let numbers = Numbers::take(reader, rows, number)?;
            let odd = if odd >> number & 1 != 0 {
                let count = reader.between(1, rows as u64)? as usize;
                Some(Box::new((take_packed(reader, count)?, take_packed(reader, count)?)))
            } else {
                None
            };
            self.needs_look |= numbers.needs_look();
            // What a column equals stands before it.
            let root = if let Numbers::Same(same) = numbers { self.column_of(same).root } else { number };
            let column = NumberColumn { numbers, root, odd };
            match self.numbers.get_mut(number) {
                Some(place) => *place = column,
                None => self.more_numbers.push(column),
            }
            tell(Section::Numbers(number), reader.rest().len());
        }
        for group in 0..dictionary.groups.len() {
            self.codes[group] = self.take_codes(group, reader)?;
            tell(Section::Codes(group), reader.rest().len());
        }
        if flags & EVEN != 0 {
            self.even = reader.between(0, u64::from(u32::MAX))? as u32;
        } else {
            self.samples = Some(Samples::take(reader, rows.div_ceil(SAMPLED_ROWS))?);
        }
        let len = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
        self.records = reader.skip(len) as usize * 8;
        reader.check()?;
        self.records_end = self.records + len * 8;
        tell(Section::Shared, reader.rest().len());
        if owns == 0 {
            return finish(reader.rest());
        }
        self.own_ends = take_packed(reader, owns)?;
        self.framed = flags & FRAMED != 0;
        let len = reader.varint()?;
        reader.check()?;
        self.own_bytes = reader.rest();
        if self.framed && len / ZSTD_RATIO_MAX > self.own_bytes.len() as u64 {
            return Err(Fault::Limit { needed: len, limit: self.own_bytes.len() as u64 * ZSTD_RATIO_MAX });
        }
        self.own_len = len as usize;
        Ok(())
    }

    #[inline(always)]
    fn take_codes(&self, group: usize, reader: &mut Reader<'_>) -> Result<Codes, Fault> {
        let known = &self.dictionary.groups[group];
        let own = reader.between(0, self.rows as u64)? as usize;
        let mut codes = Codes { entries: (known.len() + own) as u32, ..Codes::default() };
        codes.own = reader.skip((own * known.own_entry_bits).div_ceil(8));
        let long_width = bits::width_of(u64::from(codes.entries.saturating_sub(1)));
        codes.long_width = long_width as u8;
        let kind = reader.byte();
        codes.short_width = kind >> WIDTH_SHIFT;
        if u32::from(codes.short_width) > CODE_WIDTH_MAX {
            return Err(Fault::Tag { found: kind });
        }
        if kind & LISTED != 0 {
            codes.listed = reader.between(1, self.rows as u64)? as u16;
            codes.list = reader.skip_bits(usize::from(codes.listed), long_width);
        }
        let mut longs = 0;
        if kind & MIXED != 0 {
            longs = reader.between(1, self.rows as u64)? as usize;
            codes.is_mixed = true;
            codes.is_long = Ranked::take(reader, self.rows);
        }
        codes.short = reader.skip_bits(self.rows - longs, u32::from(codes.short_width));
        codes.long = reader.skip_bits(longs, long_width);
        Ok(codes)
    }

    /// The width of the record of an entry.
    #[inline(always)]
    fn width(&self, group: usize, entry: usize) -> Result<Width, Fault> {
        match self.dictionary.groups[group].widths.get(entry) {
            Some(width) => Ok(*width),
            None => self.own_width(group, entry),
        }
    }

    /// The width of the record of an entry that only this block has.
    #[cold]
    fn own_width(&self, group: usize, entry: usize) -> Result<Width, Fault> {
        let mut width = Width::default();
        for (member, &column) in self.dictionary.groups[group].members.iter().enumerate() {
            let shape = self.own_shape(group, entry, member, column)?;
            width.add(Width::of(&self.dictionary.shapes(column)[shape]));
        }
        Ok(width)
    }

    /// The shape of a member of an entry that only this block has.
    #[cold]
    fn own_shape(&self, group: usize, entry: usize, member: usize, column: usize) -> Result<usize, Fault> {
        let (codes, known) = (&self.codes[group], &self.dictionary.groups[group]);
        if entry < known.len() || entry >= codes.entries as usize {
            return Err(Fault::Range { found: entry as u64, min: 0, max: u64::from(codes.entries) });
        }
        let (at, width) = known.own_fields[member];
        let shape =
            bits_at(self.bytes, codes.own as usize * 8 + (entry - known.len()) * known.own_entry_bits + at, width);
        let shapes = self.dictionary.shapes(column).len() as u64;
        if shape < shapes { Ok(shape as usize) } else { Err(Fault::Range { found: shape, min: 0, max: shapes - 1 }) }
    }

    /// The shape of a member of an entry.
    #[inline(always)]
    pub(super) fn shape(&self, group: usize, entry: &Entry, member: usize, column: usize) -> Result<usize, Fault> {
        let known = &self.dictionary.groups[group];
        match known.shapes.get(entry.number * known.members.len() + member) {
            Some(shape) => Ok(*shape as usize),
            None => self.own_shape(group, entry.number, member, column),
        }
    }

    /// The entry that a short code stands for.
    #[inline(always)]
    fn short_entry(&self, codes: &Codes, code: u64) -> Result<usize, Fault> {
        if codes.listed == 0 {
            return Ok(code as usize);
        }
        if code >= u64::from(codes.listed) {
            return Err(Fault::Range { found: code, min: 0, max: u64::from(codes.listed) });
        }
        Ok(short_field(self.bytes, codes.list, code as usize, u32::from(codes.long_width)) as usize)
    }

    /// The entry of row `i` in one group.
    #[inline(always)]
    fn entry(&self, group: usize, i: usize) -> Result<Entry, Fault> {
        self.entry_of(group, self.code(&self.codes[group], i)?)
    }

    /// The number of the entry of row `i` in a group with these codes.
    #[inline(always)]
    fn code(&self, codes: &Codes, i: usize) -> Result<usize, Fault> {
        let (is_long, before) = if codes.is_mixed { codes.is_long.get(self.bytes, i) } else { (false, 0) };
        if is_long {
            return Ok(short_field(self.bytes, codes.long, before, u32::from(codes.long_width)) as usize);
        }
        let place = i.saturating_sub(before);
        self.short_entry(codes, short_field(self.bytes, codes.short, place, u32::from(codes.short_width)))
    }

    /// The entry of this number.
    #[inline(always)]
    fn entry_of(&self, group: usize, number: usize) -> Result<Entry, Fault> {
        Ok(Entry { number, width: self.width(group, number)? })
    }

    /// The numbers of the entries of some rows in one group.
    pub(super) fn each_code(&self, group: usize, rows: &[u16], mut each: impl FnMut(usize)) -> Result<(), Fault> {
        let codes = &self.codes[group];
        if codes.is_mixed || codes.listed > 0 {
            return rows.iter().try_for_each(|&i| self.code(codes, usize::from(i)).map(&mut each));
        }
        let width = u32::from(codes.short_width);
        rows.iter().for_each(|&i| each(short_field(self.bytes, codes.short, usize::from(i), width) as usize));
        Ok(())
    }

    /// The widths of the records of some rows in one group, added up.
    #[inline]
    pub(super) fn widths(&self, group: usize, rows: Range<usize>) -> Result<usize, Fault> {
        let codes = &self.codes[group];
        let mut sum = Width::default();
        let (mut shorts, mut longs) = (rows.clone(), 0..0);
        if codes.is_mixed {
            let start = codes.is_long.get(self.bytes, rows.start).1;
            let end = codes.is_long.get(self.bytes, rows.end).1;
            (longs, shorts) = (start..end, rows.start.saturating_sub(start)..rows.end.saturating_sub(end));
        }
        let (short_width, long_width) = (u32::from(codes.short_width), u32::from(codes.long_width));
        let width = short_width as usize;
        if shorts.len() * width <= SHORT_WIDTH as usize {
            let at = codes.short as usize * 8 + shorts.start * width;
            let mut word = short_at(self.bytes, at, (shorts.len() * width) as u32);
            for _ in shorts {
                sum.add(self.width(group, self.short_entry(codes, word & !(u64::MAX << width))?)?);
                word >>= width;
            }
        } else {
            for place in shorts {
                let code = short_field(self.bytes, codes.short, place, short_width);
                sum.add(self.width(group, self.short_entry(codes, code)?)?);
            }
        }
        for place in longs {
            sum.add(self.width(group, short_field(self.bytes, codes.long, place, long_width) as usize)?);
        }
        Ok(sum.bits(self.own_bits))
    }

    /// Where the record of row `i` begins.
    #[inline(always)]
    pub(super) fn record(&self, i: usize) -> Result<usize, Fault> {
        let Some(samples) = &self.samples else {
            return Ok(self.records + self.even as usize * i);
        };
        let sampled = sampled_row(i / SAMPLED_ROWS, self.rows);
        let mut at = self.records.wrapping_add(samples.get(self.bytes, i / SAMPLED_ROWS));
        let rows = if i < sampled { i..sampled } else { sampled..i };
        let mut between = 0usize;
        for group in 0..self.dictionary.groups.len() {
            between = between.saturating_add(self.widths(group, rows.clone())?);
        }
        at = if i < sampled { at.wrapping_sub(between) } else { at.wrapping_add(between) };
        Ok(at)
    }

    /// The entries of row `i`, and where the record of each begins.
    #[inline(always)]
    pub(super) fn entries(&self, i: usize) -> Result<Entries, Fault> {
        let (entries, _) = self.entries_of(|group| self.code(&self.codes[group], i), || self.record(i))?;
        Ok(entries)
    }

    /// The entries of a row, of whose numbers and of where its record begins is told by functions, and where the record of
    /// each begins; then where the row's record ends, unless it has none.
    #[inline(always)]
    pub(super) fn entries_of(
        &self,
        number: impl Fn(usize) -> Result<usize, Fault>,
        record: impl FnOnce() -> Result<usize, Fault>,
    ) -> Result<(Entries, Option<usize>), Fault> {
        let mut entries = Entries::default();
        let groups = self.dictionary.groups.len();
        let mut is_empty = true;
        for (group, (entry, _)) in entries.iter_mut().enumerate().take(groups) {
            *entry = self.entry_of(group, number(group)?)?;
            is_empty &= entry.width.is_zero();
        }
        if is_empty {
            return Ok((entries, None));
        }
        let mut at = record()?;
        for (entry, cursor) in entries.iter_mut().take(groups) {
            *cursor = at;
            at = at.saturating_add(entry.width.bits(self.own_bits));
        }
        Ok((entries, Some(at)))
    }

    /// Own text `k`.
    pub(super) fn own_text(&self, k: u64) -> Result<&[u8], Fault> {
        let k = k as usize;
        let start = if k == 0 { 0 } else { self.own_ends.get(k - 1)? as usize };
        let end = self.own_ends.get(k)? as usize;
        let bytes = self.own_texts()?;
        bytes.get(start..end).ok_or(Fault::Length { needed: end as u64, found: bytes.len() as u64 })
    }

    /// All own texts one after the other.
    fn own_texts(&self) -> Result<&[u8], Fault> {
        if let Some(texts) = self.unframed.get() {
            return Ok(texts);
        }
        let mut bytes = self.own_bytes;
        let texts = if self.framed {
            let mut out = Vec::new();
            zstd::decode(&mut bytes, self.own_len, &mut out)?;
            Cow::Owned(out)
        } else {
            Cow::Borrowed(take(&mut bytes, self.own_len)?)
        };
        finish(bytes)?;
        Ok(self.unframed.get_or_init(|| texts))
    }

    /// How many bytes of own texts must be unpacked before a row that has some is read; none if they lie plain.
    pub fn framed_bytes(&self) -> usize {
        if self.framed { self.own_len } else { 0 }
    }

    /// The own texts of a block whose [`framed_bytes`](Block::framed_bytes) are not none, to be kept and
    /// [given](Block::with_own) when the block is opened again.
    pub fn unpack_own(&self) -> Result<Vec<u8>, Fault> {
        self.own_texts().map(<[u8]>::to_vec)
    }

    /// Gives the block its own texts, so that it does not unpack them.
    pub fn with_own(self, texts: &'a [u8]) -> Block<'a> {
        if self.framed && texts.len() == self.own_len {
            let _ = self.unframed.set(Cow::Borrowed(texts));
        }
        self
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    pub(super) fn check(&self, i: usize) -> Result<(), Fault> {
        if i < self.rows { Ok(()) } else { Err(Fault::Range { found: i as u64, min: 0, max: self.rows as u64 }) }
    }

    /// The text of a row that is kept whole.
    #[inline(always)]
    pub(super) fn whole(&self, i: usize) -> Result<Option<&[u8]>, Fault> {
        match &self.whole {
            None => Ok(None),
            Some(whole) => listed(&whole.0, &whole.1, i)?.map(|text| self.own_text(text)).transpose(),
        }
    }

    #[inline(always)]
    pub(super) fn column_of(&self, number: usize) -> &NumberColumn<'a> {
        match self.numbers.get(number) {
            Some(column) => column,
            None => &self.more_numbers[number - NUMBERS_IN_PLACE],
        }
    }

    #[inline(always)]
    pub(super) fn number_at(&self, number: usize, i: usize, at: At) -> Result<Number<'_>, Fault> {
        let column = self.column_of(number);
        if let Some(odd) = &column.odd
            && let Some(text) = listed(&odd.0, &odd.1, i)?
        {
            return match text.checked_sub(1) {
                None => Ok(Number::Absent),
                Some(text) => self.own_text(text).map(Number::Text),
            };
        }
        self.column_of(column.root).numbers.get(self.bytes, i, at).map(Number::Integer)
    }

    /// Appends the text of one column of row `i`; `false` if the row lacks it.
    ///
    /// `column` is as [`Dictionary::column`] says; a row may have columns that the dictionary does not know, and
    /// [`by_name`](Block::by_name) finds them.
    pub fn column(&self, looks: &Looks<'_>, i: usize, column: usize, out: &mut Vec<u8>) -> Result<bool, Fault> {
        self.check(i)?;
        let Some(known) = self.dictionary.columns.get(column) else {
            return Ok(false);
        };
        if let Some(whole) = self.whole(i)? {
            return Ok(put_cell(whole, known.name(), out));
        }
        match &known.role {
            Role::Text { group, member, shapes } => {
                let entry = self.entry(*group, i)?;
                let found = self.shape(*group, &entry, *member, column)?;
                if found == ABSENT as usize {
                    return Ok(false);
                }
                let shape = &shapes[found];
                if let Some(text) = shape.text() {
                    out.extend_from_slice(self.dictionary.arena.get(text));
                    return Ok(true);
                }
                let mut cursor = self.entries(i)?[*group].1;
                for (before, &column) in self.dictionary.groups[*group].members[..*member].iter().enumerate() {
                    let before = self.shape(*group, &entry, before, column)?;
                    let width = Width::of(&self.dictionary.shapes(column)[before]);
                    cursor = cursor.saturating_add(width.bits(self.own_bits));
                }
                self.put_parts(&shape.parts, &mut cursor, &mut Writer::new(out))?;
            }
            Role::Number(number) => match self.number_at(*number, i, self.place(looks, i))? {
                Number::Absent => return Ok(false),
                Number::Integer(value) => Writer::new(out).integer(value),
                Number::Text(text) => out.extend_from_slice(text),
            },
        }
        Ok(true)
    }

    /// The integer that one column of row `i` is in canonical decimal; `None` if it is another text or lacks.
    pub fn number(&self, looks: &Looks<'_>, i: usize, column: usize) -> Result<Option<i64>, Fault> {
        self.check(i)?;
        if self.whole.is_none()
            && let Some(known) = self.dictionary.columns.get(column)
        {
            match &known.role {
                Role::Number(number) => {
                    return Ok(match self.number_at(*number, i, self.place(looks, i))? {
                        Number::Integer(value) => Some(value),
                        Number::Text(_) | Number::Absent => None,
                    });
                }
                Role::Text { group, member, shapes } => {
                    let shape = &shapes[self.shape(*group, &self.entry(*group, i)?, *member, column)?];
                    if let Some(text) = shape.text() {
                        return Ok(parse_integer(self.dictionary.arena.get(text)));
                    }
                }
            }
        }
        let mut text = Vec::new();
        Ok(if self.column(looks, i, column, &mut text)? { parse_integer(&text) } else { None })
    }

    /// Where row `i` appeared, if its integers ask.
    #[inline]
    pub(super) fn place(&self, looks: &Looks<'_>, i: usize) -> At {
        if self.needs_look { looks.at(i) } else { At::default() }
    }

    /// Appends the text of the column of this name of row `i`; `false` if the row lacks it.
    pub fn by_name(&self, looks: &Looks<'_>, i: usize, name: &[u8], out: &mut Vec<u8>) -> Result<bool, Fault> {
        self.check(i)?;
        match self.dictionary.column(name) {
            Some(column) => self.column(looks, i, column, out),
            None => Ok(self.whole(i)?.is_some_and(|whole| put_cell(whole, name, out))),
        }
    }
}

impl Samples {
    #[inline(always)]
    fn take(reader: &mut Reader<'_>, count: usize) -> Result<Samples, Fault> {
        let (start, slope) = (reader.signed()?, reader.signed()?);
        let width = reader.between(0, u64::from(SHORT_WIDTH))? as u32;
        Ok(Samples { start, slope, width, distances: reader.skip_bits(count, width) })
    }

    #[inline(always)]
    fn get(&self, bytes: &[u8], k: usize) -> usize {
        let distance = short_field(bytes, self.distances, k, self.width);
        self.start.wrapping_add(sample_line(self.slope, k)).wrapping_add(distance as i64) as usize
    }
}

/// Integers of the codec for more than a block's rows.
#[cold]
fn take_packed<'a>(reader: &mut Reader<'a>, count: usize) -> Result<Packed<'a>, Fault> {
    let mut rest = reader.rest();
    let before = rest.len();
    let packed = Packed::take(&mut rest, count)?;
    reader.skip(before - rest.len());
    Ok(packed)
}

/// What is listed for row `i`.
#[inline]
pub(super) fn listed(places: &Packed<'_>, what: &Packed<'_>, i: usize) -> Result<Option<u64>, Fault> {
    let at = places.partition_point(|place| place < i as u64)?;
    if at < places.len() && places.get(at)? == i as u64 { what.get(at).map(Some) } else { Ok(None) }
}

fn put_cell(row: &[u8], name: &[u8], out: &mut Vec<u8>) -> bool {
    match super::cells::Cells::new(row).find(|cell| cell.name == name) {
        Some(cell) => {
            out.extend_from_slice(cell.text);
            true
        }
        None => false,
    }
}

//! A block where it lies: one row, or one text of it, without the others.
//!
//! Invariants:
//! - Opening reads what is told once a block, never once a row.
//! - No index from a block is believed: rows, codes, entries and own texts are looked up, or are a [`Fault`].

use super::arena::Writer;
use super::ascending;
use super::dictionary::{ABSENT, Dictionary, Part, Role, Shape, Slot};
use super::numbers::{At, Numbers};
use super::tokens::UUID_BYTES;
use super::{BLOCK_ROWS_MAX, GROUPS_MAX, Looks, SAMPLED_ROWS, ZSTD_RATIO_MAX};
use crate::codec::line::Line;
use crate::codec::packed::{Packed, bits_at};
use crate::codec::{Fault, bits, finish, take, take_between, take_u8, varint, zstd};
use std::borrow::Cow;
use std::cell::OnceCell;

/// Set in a block's first byte where some rows are kept whole.
pub(super) const WHOLE: u8 = 1;
/// Set in a block's first byte where all records have one width.
pub(super) const EVEN: u8 = 2;
/// Set in a block's first byte where the own texts are a zstd frame.
pub(super) const FRAMED: u8 = 4;

/// The code of a group.
struct Codes<'a> {
    /// With a list: entry and record width of each code; without, codes are entries.
    list: Option<Vec<(u32, u32)>>,
    width: u32,
    bytes: &'a [u8],
    /// The shapes of the entries that only this block has.
    own: Vec<u32>,
}

/// A column of integers.
struct NumberColumn<'a> {
    numbers: Numbers<'a>,
    /// The rows without an integer, and what they have.
    odd: Option<Box<(Packed<'a>, Packed<'a>)>>,
}

/// What a row has in a column that is not the integer that its column says.
enum Number<'b> {
    Integer(i64),
    Text(&'b [u8]),
    Absent,
}

/// A block of rows.
pub struct Block<'a> {
    dictionary: &'a Dictionary,
    rows: usize,
    numbers: Vec<NumberColumn<'a>>,
    codes: Vec<Codes<'a>>,
    whole: Packed<'a>,
    whole_texts: Packed<'a>,
    /// The width of all records, unless they differ.
    even: u32,
    /// Where every so manieth record begins, if their widths differ.
    samples: Option<Line<'a>>,
    /// The records, and what follows them.
    records: &'a [u8],
    records_len: usize,
    needs_look: bool,
    own_bits: u32,
    own_ends: Packed<'a>,
    own_len: usize,
    own_bytes: &'a [u8],
    framed: bool,
    unframed: OnceCell<Cow<'a, [u8]>>,
}

impl<'a> Block<'a> {
    /// Opens a block of so many rows.
    pub fn open(dictionary: &'a Dictionary, mut bytes: &'a [u8], rows: usize) -> Result<Block<'a>, Fault> {
        let mut block = Block {
            dictionary,
            rows,
            numbers: Vec::with_capacity(dictionary.numbers),
            codes: Vec::with_capacity(dictionary.groups.len()),
            whole: Packed::none(),
            whole_texts: Packed::none(),
            even: 0,
            samples: None,
            records: &[],
            records_len: 0,
            needs_look: false,
            own_bits: 0,
            own_ends: Packed::none(),
            own_len: 0,
            own_bytes: &[],
            framed: false,
            unframed: OnceCell::new(),
        };
        if rows == 0 {
            return finish(bytes).map(|()| block);
        }
        if rows > BLOCK_ROWS_MAX {
            return Err(Fault::Range { found: rows as u64, min: 0, max: BLOCK_ROWS_MAX as u64 });
        }
        let flags = take_u8(&mut bytes)?;
        if flags > WHOLE | EVEN | FRAMED {
            return Err(Fault::Tag { found: flags });
        }
        // A row has no more own texts than columns, each of which has no more than its parts.
        let owns = take_between(&mut bytes, 0, u64::from(u32::MAX))? as usize;
        block.own_bits = bits::width_of((owns as u64).saturating_sub(1));
        if flags & WHOLE != 0 {
            let count = take_between(&mut bytes, 1, rows as u64)? as usize;
            block.whole = Packed::take(&mut bytes, count)?;
            block.whole_texts = Packed::take(&mut bytes, count)?;
        }
        let odd = if dictionary.numbers == 0 { 0 } else { varint::take_u64(&mut bytes)? };
        for number in 0..dictionary.numbers {
            let numbers = Numbers::take(&mut bytes, rows, number)?;
            let odd = if odd >> number & 1 != 0 {
                let count = take_between(&mut bytes, 1, rows as u64)? as usize;
                Some(Box::new((Packed::take(&mut bytes, count)?, Packed::take(&mut bytes, count)?)))
            } else {
                None
            };
            block.needs_look |= numbers.needs_look();
            block.numbers.push(NumberColumn { numbers, odd });
        }
        for group in 0..dictionary.groups.len() {
            let codes = block.take_codes(group, &mut bytes)?;
            block.codes.push(codes);
        }
        if flags & EVEN != 0 {
            block.even = take_between(&mut bytes, 0, u64::from(u32::MAX))? as u32;
        } else {
            block.samples = Some(Line::take(&mut bytes, rows.div_ceil(SAMPLED_ROWS))?);
        }
        let len = varint::take_u64(&mut bytes)?;
        block.records = bytes;
        block.records_len = take(&mut bytes, usize::try_from(len).unwrap_or(usize::MAX))?.len();
        if owns > 0 {
            block.own_ends = Packed::take(&mut bytes, owns)?;
            block.framed = flags & FRAMED != 0;
            let len = varint::take_u64(&mut bytes)?;
            if block.framed && len / ZSTD_RATIO_MAX > bytes.len() as u64 {
                return Err(Fault::Limit { needed: len, limit: bytes.len() as u64 * ZSTD_RATIO_MAX });
            }
            block.own_len = len as usize;
            block.own_bytes = bytes;
        } else {
            finish(bytes)?;
        }
        Ok(block)
    }

    fn take_codes(&self, group: usize, bytes: &mut &'a [u8]) -> Result<Codes<'a>, Fault> {
        let entries = &self.dictionary.groups[group];
        let members = entries.members.len();
        let own = take_between(bytes, 0, self.rows as u64)? as usize;
        let mut codes = Codes { list: None, width: 0, bytes: &[], own: Vec::with_capacity(own * members) };
        if own > 0 {
            codes.own.resize(own * members, 0);
            for (member, &column) in entries.members.iter().enumerate() {
                let (shapes, max) = (Packed::take(bytes, own)?, self.dictionary.shapes(column).len() as u64 - 1);
                for i in 0..own {
                    codes.own[i * members + member] = match shapes.get(i)? {
                        shape if shape <= max => shape as u32,
                        found => return Err(Fault::Range { found, min: 0, max }),
                    };
                }
            }
        }
        let listed = take_between(bytes, 0, self.rows as u64)? as usize;
        let all = entries.len() + own;
        codes.width = if listed > 0 {
            let mut list = Vec::with_capacity(listed);
            let entries = ascending::take_all(bytes, listed, all)?;
            let mut next = 0;
            for entry in entries {
                if entry < next || entry >= all {
                    return Err(Fault::Range { found: entry as u64, min: next as u64, max: all as u64 });
                }
                list.push((entry as u32, self.record_width(group, entry, &codes.own)));
                next = entry + 1;
            }
            if list.len() != listed {
                return Err(Fault::Length { needed: listed as u64, found: list.len() as u64 });
            }
            codes.list = Some(list);
            bits::width_of(listed as u64 - 1)
        } else {
            bits::width_of((all as u64).saturating_sub(1))
        };
        // What follows stays in reach, so that the last codes are read as fast as the first.
        codes.bytes = bytes;
        take(bytes, bits::size(self.rows, codes.width).unwrap_or(usize::MAX))?;
        Ok(codes)
    }

    /// The width of the record of an entry that exists.
    #[inline]
    fn record_width(&self, group: usize, entry: usize, own: &[u32]) -> u32 {
        let entries = &self.dictionary.groups[group];
        let (bits, owns) = match entries.widths.get(entry) {
            Some(widths) => *widths,
            None => {
                let members = entries.members.len();
                let shapes = &own[(entry - entries.len()) * members..][..members];
                entries.members.iter().zip(shapes).fold((0, 0), |(bits, owns), (&column, &shape)| {
                    let shape = &self.dictionary.shapes(column)[shape as usize];
                    (bits + shape.bits, owns + shape.owns)
                })
            }
        };
        bits + owns * self.own_bits
    }

    /// The shapes of row `i` in one group.
    #[inline]
    fn entry(&self, group: usize, i: usize) -> Result<&[u32], Fault> {
        let codes = &self.codes[group];
        let code = bits_at(codes.bytes, i * codes.width as usize, codes.width) as usize;
        let entry = match &codes.list {
            None => code,
            Some(list) => match list.get(code) {
                Some((entry, _)) => *entry as usize,
                None => return Err(Fault::Range { found: code as u64, min: 0, max: list.len() as u64 }),
            },
        };
        let entries = &self.dictionary.groups[group];
        let members = entries.members.len();
        let shapes = match entry.checked_sub(entries.len()) {
            None => entries.shapes.get(entry * members..(entry + 1) * members),
            Some(own) => codes.own.get(own * members..(own + 1) * members),
        };
        match shapes {
            Some(shapes) => Ok(shapes),
            None => Err(Fault::Range { found: entry as u64, min: 0, max: entries.len() as u64 }),
        }
    }

    /// The widths of the records of some rows in one group, added up.
    #[inline]
    fn widths(&self, group: usize, rows: std::ops::Range<usize>) -> Result<usize, Fault> {
        let codes = &self.codes[group];
        let (width, mut sum) = (codes.width as usize, 0usize);
        let mut at = rows.start * width;
        match &codes.list {
            Some(list) => {
                for _ in rows {
                    let code = bits_at(codes.bytes, at, codes.width) as usize;
                    let Some((_, width)) = list.get(code) else {
                        return Err(Fault::Range { found: code as u64, min: 0, max: list.len() as u64 });
                    };
                    sum = sum.saturating_add(*width as usize);
                    at += codes.width as usize;
                }
            }
            None => {
                let all = self.entries_len(group);
                for _ in rows {
                    let code = bits_at(codes.bytes, at, codes.width) as usize;
                    if code >= all {
                        return Err(Fault::Range { found: code as u64, min: 0, max: all as u64 });
                    }
                    sum = sum.saturating_add(self.record_width(group, code, &codes.own) as usize);
                    at += width;
                }
            }
        }
        Ok(sum)
    }

    /// How many entries a group has in this block.
    fn entries_len(&self, group: usize) -> usize {
        let entries = &self.dictionary.groups[group];
        entries.len() + self.codes[group].own.len() / entries.members.len()
    }

    /// Where the record of row `i` begins in each group.
    #[inline]
    fn cursors(&self, i: usize) -> Result<[usize; GROUPS_MAX], Fault> {
        let mut cursors = [0; GROUPS_MAX];
        let groups = self.codes.len();
        let mut at = match &self.samples {
            None => self.even as usize * i,
            Some(samples) => {
                let mut at = usize::try_from(samples.get(i / SAMPLED_ROWS)?).unwrap_or(usize::MAX);
                for group in 0..groups {
                    at = at.saturating_add(self.widths(group, i / SAMPLED_ROWS * SAMPLED_ROWS..i)?);
                }
                at
            }
        };
        for (group, cursor) in cursors.iter_mut().enumerate().take(groups) {
            *cursor = at;
            // The last group's record ends the row's.
            if group + 1 < groups {
                at = at.saturating_add(self.widths(group, i..i + 1)?);
            }
        }
        Ok(cursors)
    }

    /// Own text `k`.
    fn own_text(&self, k: u64) -> Result<&[u8], Fault> {
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

    fn check(&self, i: usize) -> Result<(), Fault> {
        if i < self.rows { Ok(()) } else { Err(Fault::Range { found: i as u64, min: 0, max: self.rows as u64 }) }
    }

    /// The text of a row that is kept whole.
    #[inline]
    fn whole(&self, i: usize) -> Result<Option<&[u8]>, Fault> {
        if self.whole.is_empty() {
            return Ok(None);
        }
        listed(&self.whole, &self.whole_texts, i)?.map(|text| self.own_text(text)).transpose()
    }

    #[inline]
    fn number(&self, number: usize, i: usize, at: At) -> Result<Number<'_>, Fault> {
        let column = &self.numbers[number];
        if let Some(odd) = &column.odd
            && let Some(text) = listed(&odd.0, &odd.1, i)?
        {
            return match text.checked_sub(1) {
                None => Ok(Number::Absent),
                Some(text) => self.own_text(text).map(Number::Text),
            };
        }
        let mut numbers = &column.numbers;
        // What a column equals stands before it, so this ends.
        while let Numbers::Same(same) = numbers {
            numbers = &self.numbers[*same].numbers;
        }
        numbers.get(i, at).map(Number::Integer)
    }

    /// Appends the canonical bytes of row `i`.
    pub fn row(&self, looks: &Looks<'_>, i: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.check(i)?;
        if let Some(whole) = self.whole(i)? {
            out.extend_from_slice(whole);
            return Ok(());
        }
        let place = if self.needs_look { looks.at(i) } else { At::default() };
        let mut cursors = self.cursors(i)?;
        let mut entries = [&[][..]; GROUPS_MAX];
        for (group, entry) in entries.iter_mut().enumerate().take(self.codes.len()) {
            *entry = self.entry(group, i)?;
        }
        let arena = &self.dictionary.arena;
        let mut out = Writer::new(out);
        for column in &self.dictionary.columns {
            match &column.role {
                Role::Text { group, member, shapes } => {
                    let shape = &shapes[entries[*group][*member] as usize];
                    match shape.constant {
                        Some(constant) => out.piece(arena, constant),
                        None => {
                            out.piece(arena, column.head_piece);
                            let at = out.at();
                            out.byte(0);
                            self.put_parts(shape, &mut cursors[*group], &mut out)?;
                            out.prefix_len(at);
                        }
                    }
                }
                Role::Number(number) => match self.number(*number, i, place)? {
                    Number::Absent => {}
                    Number::Integer(value) => {
                        out.piece(arena, column.head_piece);
                        let at = out.at();
                        out.byte(0);
                        put_integer(value, &mut out);
                        out.prefix_len(at);
                    }
                    Number::Text(text) => {
                        out.piece(arena, column.head_piece);
                        let at = out.at();
                        out.byte(0);
                        out.bytes(text);
                        out.prefix_len(at);
                    }
                },
            }
        }
        Ok(())
    }

    /// Appends the text of one column of row `i`; `false` if the row lacks it.
    ///
    /// `column` is as [`Dictionary::column`] says; a row may have columns that the dictionary does not know, and
    /// [`by_name`](Block::by_name) finds them.
    pub fn column(&self, looks: &Looks<'_>, i: usize, column: usize, out: &mut Vec<u8>) -> Result<bool, Fault> {
        self.check(i)?;
        let Some(column) = self.dictionary.columns.get(column) else {
            return Ok(false);
        };
        if let Some(whole) = self.whole(i)? {
            return Ok(put_cell(whole, column.name(), out));
        }
        let mut out = Writer::new(out);
        match &column.role {
            Role::Text { group, member, shapes } => {
                let entry = self.entry(*group, i)?;
                let found = entry[*member];
                if found == ABSENT {
                    return Ok(false);
                }
                let shape = &shapes[found as usize];
                if let Some(text) = shape.text() {
                    out.piece(&self.dictionary.arena, text);
                } else {
                    let mut cursor = self.cursors(i)?[*group];
                    let members = &self.dictionary.groups[*group].members;
                    for (&column, &before) in members[..*member].iter().zip(entry) {
                        let before = &self.dictionary.shapes(column)[before as usize];
                        cursor += (before.bits + before.owns * self.own_bits) as usize;
                    }
                    self.put_parts(shape, &mut cursor, &mut out)?;
                }
            }
            Role::Number(number) => match self.number(*number, i, looks.at(i))? {
                Number::Absent => return Ok(false),
                Number::Integer(value) => put_integer(value, &mut out),
                Number::Text(text) => out.bytes(text),
            },
        }
        Ok(true)
    }

    /// Appends the text of the column of this name of row `i`; `false` if the row lacks it.
    pub fn by_name(&self, looks: &Looks<'_>, i: usize, name: &[u8], out: &mut Vec<u8>) -> Result<bool, Fault> {
        self.check(i)?;
        match self.dictionary.column(name) {
            Some(column) => self.column(looks, i, column, out),
            None => Ok(self.whole(i)?.is_some_and(|whole| put_cell(whole, name, out))),
        }
    }

    #[inline]
    fn put_parts(&self, shape: &Shape, cursor: &mut usize, out: &mut Writer<'_>) -> Result<(), Fault> {
        for part in &shape.parts {
            match part {
                Part::Literal(text) => out.piece(&self.dictionary.arena, *text),
                Part::Slot(slot) => self.put_slot(slot, cursor, out)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn put_slot(&self, slot: &Slot, cursor: &mut usize, out: &mut Writer<'_>) -> Result<(), Fault> {
        let words = &self.dictionary.words;
        let at = *cursor;
        let width = slot.bits(self.dictionary.word_bits).unwrap_or(self.own_bits);
        *cursor = at.saturating_add(width as usize);
        if *cursor > self.records_len * 8 {
            return Err(Fault::Length { needed: *cursor as u64 / 8, found: self.records_len as u64 });
        }
        let read = |width: u32| bits_at(self.records, at, width);
        match slot {
            Slot::Number { base, .. } => out.digits(base.saturating_add(read(width))),
            Slot::Padded { digits, base, .. } => {
                let start = out.at();
                out.digits(base.saturating_add(read(width)));
                out.pad(start, usize::from(*digits));
            }
            Slot::Few { words: few, .. } => {
                let index = read(width);
                match few.get(index as usize) {
                    Some(word) => out.piece(&words.arena, words.piece(*word as usize).unwrap_or_default()),
                    None => out.bytes(self.own_text(index - few.len() as u64)?),
                }
            }
            Slot::Word => {
                let index = read(width);
                match words.piece(index as usize) {
                    Some(word) => out.piece(&words.arena, word),
                    None => out.bytes(self.own_text(index - words.len() as u64)?),
                }
            }
            Slot::Mixed { alphabet, len } => {
                for i in 0..usize::from(*len) {
                    let bits = alphabet.bits();
                    let number = bits_at(self.records, at + i * bits as usize, bits) as u8;
                    let character = alphabet.character(number);
                    out.byte(character.ok_or(Fault::Range { found: u64::from(number), min: 0, max: 61 })?);
                }
            }
            Slot::Uuid => {
                let mut nibble = at;
                for i in 0..UUID_BYTES {
                    if matches!(i, 8 | 13 | 18 | 23) {
                        out.byte(b'-');
                    } else {
                        out.byte(b"0123456789abcdef"[bits_at(self.records, nibble, 4) as usize]);
                        nibble += 4;
                    }
                }
            }
            Slot::Own => out.bytes(self.own_text(read(width))?),
        }
        Ok(())
    }
}

/// What is listed for row `i`.
#[inline]
fn listed(places: &Packed<'_>, what: &Packed<'_>, i: usize) -> Result<Option<u64>, Fault> {
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

#[inline]
fn put_integer(value: i64, out: &mut Writer<'_>) {
    if value < 0 {
        out.byte(b'-');
    }
    out.digits(value.unsigned_abs());
}

//! Rows of a block in their canonical form: one, or several at once.
//!
//! Invariant: of a block as it was packed several rows are what each of them alone is.
//!
//! How: a row is what its codes and its integers say, put together run after run. Of several rows all codes and all
//! integers are read first, column after column, so that how a column lies is asked once and not for each row; and where a
//! record begins follows from where the one before ends.

use super::arena::Writer;
use super::block::{Block, Entries, Entry, Number};
use super::dictionary::{Part, Role, Run, Slot};
use super::numbers::At;
use super::tokens::UUID_BYTES;
use super::{Looks, SAMPLED_ROWS};
use crate::codec::Fault;
use crate::codec::packed::bits_at;
use std::ops::Range;

/// After so many bytes no further row is read at once: each may be as long as a line.
const SEVERAL_BYTES_MAX: usize = 1 << 20;

/// What several rows need, column after column; used again from block to block.
#[derive(Debug, Default)]
pub struct RowsScratch {
    /// Where each row appeared, if integers ask.
    places: Vec<At>,
    integers: Vec<i64>,
    /// The numbers of entries.
    entries: Vec<u32>,
}

/// Where a record begins that is known.
#[derive(Clone, Copy)]
struct Record {
    row: usize,
    at: usize,
}

impl Block<'_> {
    /// Appends the canonical bytes of row `i`.
    pub fn row(&self, looks: &Looks<'_>, i: usize, out: &mut Vec<u8>) -> Result<(), Fault> {
        self.check(i)?;
        if let Some(whole) = self.whole(i)? {
            out.extend_from_slice(whole);
            return Ok(());
        }
        let place = self.place(looks, i);
        let mut entries = self.entries(i)?;
        self.put_row(&mut entries, |number| self.number_at(number, i, place), &mut Writer::new(out))
    }

    /// Appends the canonical bytes of some rows, one after the other, until that takes a mebibyte; tells how many they
    /// are, one at least if there is one. `each` is told how many were before, where a row's bytes begin, and may take these
    /// away again or append others.
    pub fn rows(
        &self,
        looks: &Looks<'_>,
        rows: &[u16],
        scratch: &mut RowsScratch,
        out: &mut Vec<u8>,
        mut each: impl FnMut(usize, usize, &mut Vec<u8>),
    ) -> Result<usize, Fault> {
        rows.iter().try_for_each(|&i| self.check(usize::from(i)))?;
        let bytes_max = out.len().saturating_add(SEVERAL_BYTES_MAX);
        if self.whole.is_some() || rows.len() == 1 {
            for (k, &i) in rows.iter().enumerate() {
                let start = out.len();
                self.row(looks, usize::from(i), out)?;
                each(k, start, out);
                if out.len() >= bytes_max {
                    return Ok(k + 1);
                }
            }
            return Ok(rows.len());
        }
        self.read_columns(looks, rows, scratch)?;
        let (count, mut known) = (rows.len(), None);
        for (k, &i) in rows.iter().enumerate() {
            let i = usize::from(i);
            let number = |group: usize| Ok(scratch.entries[group * count + k] as usize);
            let (mut entries, end) = self.entries_of(number, || self.record_after(i, known))?;
            known = match (end, known) {
                (Some(at), _) => Some(Record { row: i + 1, at }),
                (None, Some(Record { row, at })) if row == i => Some(Record { row: row + 1, at }),
                (None, known) => known,
            };
            let place = scratch.places.get(k).copied().unwrap_or_default();
            let integer = |number: usize| {
                let column = self.column_of(number);
                if column.odd.is_some() {
                    return self.number_at(number, i, place);
                }
                Ok(Number::Integer(scratch.integers[column.root * count + k]))
            };
            let start = out.len();
            self.put_row(&mut entries, integer, &mut Writer::new(out))?;
            each(k, start, out);
            if out.len() >= bytes_max {
                return Ok(k + 1);
            }
        }
        Ok(rows.len())
    }

    /// Reads what some rows need of each column.
    fn read_columns(&self, looks: &Looks<'_>, rows: &[u16], scratch: &mut RowsScratch) -> Result<(), Fault> {
        let RowsScratch { places, integers, entries } = scratch;
        places.clear();
        if self.needs_look {
            places.extend(rows.iter().map(|&i| looks.at(usize::from(i))));
        }
        integers.clear();
        for number in 0..self.dictionary.numbers {
            let column = self.column_of(number);
            match column.root == number {
                true => column.numbers.each(self.bytes, rows, places, |integer| integers.push(integer))?,
                false => integers.resize(integers.len() + rows.len(), 0),
            }
        }
        entries.clear();
        (0..self.dictionary.groups.len())
            .try_for_each(|group| self.each_code(group, rows, |entry| entries.push(entry as u32)))
    }

    /// Where the record of row `i` begins, if it is known where one before does.
    #[inline]
    fn record_after(&self, i: usize, known: Option<Record>) -> Result<usize, Fault> {
        match known {
            Some(Record { row, at }) if row == i => Ok(at),
            // It is as far from the nearest sample as from here, on average.
            Some(Record { row, mut at }) if row < i && i - row <= SAMPLED_ROWS / 4 && self.samples.is_some() => {
                for group in 0..self.dictionary.groups.len() {
                    at = at.saturating_add(self.widths(group, row..i)?);
                }
                Ok(at)
            }
            _ => self.record(i),
        }
    }

    /// Appends a row with these entries, whose records begin there, and these integers.
    #[inline(always)]
    fn put_row<'b>(
        &'b self,
        entries: &mut Entries,
        integer: impl Fn(usize) -> Result<Number<'b>, Fault>,
        out: &mut Writer<'_>,
    ) -> Result<(), Fault> {
        for run in &self.dictionary.runs {
            match run {
                Run::Texts { group, run, columns, first_member } => {
                    let known = &self.dictionary.groups[*group];
                    let (entry, cursor) = &mut entries[*group];
                    match known.ready.get(entry.number * known.runs + run) {
                        Some(ready) if !ready.is_none() => out.piece(&self.dictionary.arena, *ready),
                        _ => self.put_texts(*group, entry, cursor, columns.clone(), *first_member, out)?,
                    }
                }
                Run::Number { number, column, is_led } => {
                    let column = &self.dictionary.columns[*column];
                    let value = integer(*number)?;
                    if !is_led {
                        out.piece(&self.dictionary.arena, column.head_piece);
                    }
                    match value {
                        Number::Integer(value) => out.integer_cell(value),
                        Number::Absent => out.take_back(column.head.len()),
                        Number::Text(text) => {
                            let at = out.at();
                            out.byte(0);
                            out.bytes(text);
                            out.prefix_len(at);
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Appends columns of one group, and the head of the column of integers behind them.
    #[inline(never)]
    fn put_texts(
        &self,
        group: usize,
        entry: &Entry,
        cursor: &mut usize,
        columns: Range<usize>,
        first_member: usize,
        out: &mut Writer<'_>,
    ) -> Result<(), Fault> {
        let arena = &self.dictionary.arena;
        let end = columns.end;
        for (member, c) in columns.enumerate() {
            let column = &self.dictionary.columns[c];
            let shape = &self.dictionary.shapes(c)[self.shape(group, entry, first_member + member, c)?];
            match shape.constant {
                Some(constant) => out.piece(arena, constant),
                None => {
                    let at = out.at() + column.head.len();
                    out.piece(arena, shape.lead);
                    self.put_parts(&shape.parts[shape.lead_parts..], cursor, out)?;
                    out.prefix_len(at);
                }
            }
        }
        if let Some(next) = self.dictionary.columns.get(end)
            && matches!(next.role, Role::Number(_))
        {
            out.piece(arena, next.head_piece);
        }
        Ok(())
    }

    /// Appends the text of some parts, whose slots are read from there on.
    #[inline]
    pub(super) fn put_parts(&self, parts: &[Part], cursor: &mut usize, out: &mut Writer<'_>) -> Result<(), Fault> {
        for part in parts {
            match part {
                Part::Literal(text) => out.piece(&self.dictionary.arena, *text),
                Part::Slot(slot) => self.put_slot(slot, cursor, out)?,
            }
        }
        Ok(())
    }

    #[inline(always)]
    fn put_slot(&self, slot: &Slot, cursor: &mut usize, out: &mut Writer<'_>) -> Result<(), Fault> {
        let words = &self.dictionary.words;
        let at = *cursor;
        let width = slot.bits(self.dictionary.word_bits).unwrap_or(self.own_bits);
        *cursor = at.saturating_add(width as usize);
        if *cursor > self.records_end {
            return Err(Fault::Length { needed: *cursor as u64 / 8, found: self.records_end as u64 / 8 });
        }
        let read = |width: u32| bits_at(self.bytes, at, width);
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
                    let number = bits_at(self.bytes, at + i * bits as usize, bits) as u8;
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
                        out.byte(b"0123456789abcdef"[bits_at(self.bytes, nibble, 4) as usize]);
                        nibble += 4;
                    }
                }
            }
            Slot::Own => out.bytes(self.own_text(read(width))?),
        }
        Ok(())
    }
}

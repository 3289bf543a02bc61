//! Packs rows into blocks.

use super::block::{CODE_WIDTH_MAX, EVEN, FRAMED, LISTED, MIXED, SLOPE_BITS, WHOLE, WIDTH_SHIFT, sample_line};
use super::dictionary::{ABSENT, Dictionary, OWN, Role};
use super::matcher::{Context, Fields, Matcher, OWN_WIDTH, OwnTexts, WordNumbers};
use super::tokens::parse_integer;
use super::{BLOCK_ROWS_MAX, Looks, SAMPLED_ROWS, ZSTD_RATIO_MAX, numbers, ranked};
use crate::bytes::{begins, equal};
use crate::codec::{bits, packed, varint, zstd};
use rustc_hash::FxHashMap;
use std::ops::Range;
use std::sync::Arc;

/// Own texts of fewer bytes are not worth a frame.
const FRAME_BYTES_MIN: usize = 256;
const FRAME_LEVEL: i32 = 3;

/// Packs the rows of one table; its space is used again from block to block.
pub struct Packer {
    dictionary: Arc<Dictionary>,
    matchers: Vec<Option<Matcher>>,
    word_numbers: WordNumbers,
    entries: Vec<FxHashMap<u64, u32>>,
    own: OwnTexts,
    fields: Fields,
    /// Where the fields of each row and group end.
    fields_ends: Vec<u32>,
    whole: Vec<(u64, u64)>,
    numbers: Vec<NumberColumn>,
    groups: Vec<GroupRows>,
    path: Vec<(u32, u32)>,
    scratch: numbers::Scratch,
    values: Vec<u64>,
    samples: Vec<i64>,
    records: BitWriter,
    /// The cells of a row by column.
    cells: Vec<Option<(u32, u32)>>,
    /// What was found for the texts of the row before, by column: a row mostly repeats some of them.
    before: Vec<Option<Found>>,
}

/// What was found for a text.
struct Found {
    /// Where the text lies in its row.
    text: (u32, u32),
    shape: u32,
    /// Its fields among all fields.
    fields: Range<usize>,
}

#[derive(Default)]
struct NumberColumn {
    values: Vec<i64>,
    odd: Vec<(u64, u64)>,
}

#[derive(Default)]
struct GroupRows {
    /// The entry of each row.
    entries: Vec<u32>,
    /// The shapes of the block's own entries.
    own: Vec<u32>,
    own_by_hash: FxHashMap<u64, u32>,
    shapes: Vec<u32>,
    /// The entries of the block, the most frequent first, each after how many rows have it.
    used: Vec<(u32, u32)>,
    list: Vec<u32>,
    sorted: Vec<u32>,
}

/// Bits one after the other.
#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    word: u128,
    filled: u32,
    bits: u64,
}

impl BitWriter {
    fn clear(&mut self) {
        self.bytes.clear();
        (self.word, self.filled, self.bits) = (0, 0, 0);
    }

    #[inline]
    fn put(&mut self, value: u64, width: u32) {
        self.word |= u128::from(value) << self.filled;
        self.filled += width;
        self.bits += u64::from(width);
        if self.filled >= 64 {
            self.bytes.extend_from_slice(&(self.word as u64).to_le_bytes());
            self.word >>= 64;
            self.filled -= 64;
        }
    }

    fn finish(&mut self) -> &[u8] {
        let rest = (self.word as u64).to_le_bytes();
        self.bytes.extend_from_slice(&rest[..self.filled.div_ceil(8) as usize]);
        &self.bytes
    }
}

fn hash_shapes(shapes: &[u32]) -> u64 {
    shapes
        .iter()
        .fold(0, |hash: u64, &shape| (hash.rotate_left(5) ^ u64::from(shape)).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

impl Packer {
    /// A packer of rows that the dictionary was learned from, or of others.
    pub fn new(dictionary: Arc<Dictionary>) -> Packer {
        let matchers = dictionary.columns.iter().map(|column| match &column.role {
            Role::Number(_) => None,
            Role::Text { shapes, .. } => Some(Matcher::new(shapes, &dictionary.arena, &dictionary.words)),
        });
        let entries = dictionary.groups.iter().map(|group| {
            let shapes = group.shapes.chunks_exact(group.members.len()).enumerate();
            shapes.map(|(entry, shapes)| (hash_shapes(shapes), entry as u32)).collect()
        });
        Packer {
            matchers: matchers.collect(),
            word_numbers: WordNumbers::new(&dictionary.words),
            entries: entries.collect(),
            own: OwnTexts::default(),
            fields: Vec::new(),
            fields_ends: Vec::new(),
            whole: Vec::new(),
            numbers: (0..dictionary.numbers).map(|_| NumberColumn::default()).collect(),
            groups: dictionary.groups.iter().map(|_| GroupRows::default()).collect(),
            path: Vec::new(),
            scratch: numbers::Scratch::default(),
            values: Vec::new(),
            samples: Vec::new(),
            records: BitWriter::default(),
            cells: Vec::new(),
            before: Vec::new(),
            dictionary,
        }
    }

    /// The dictionary that it packs with.
    pub fn dictionary(&self) -> &Arc<Dictionary> {
        &self.dictionary
    }

    /// Appends a block of at most [`BLOCK_ROWS_MAX`] rows, each the canonical bytes of a row.
    pub fn pack(&mut self, rows: &[impl AsRef<[u8]>], looks: Looks<'_>, out: &mut Vec<u8>) {
        assert!(rows.len() <= BLOCK_ROWS_MAX, "{} rows", rows.len());
        if rows.is_empty() {
            return;
        }
        self.clear();
        let mut before: &[u8] = &[];
        for (i, row) in rows.iter().enumerate() {
            self.row(i, row.as_ref(), before);
            before = row.as_ref();
        }
        self.put_block(rows.len(), &looks, out);
    }

    fn clear(&mut self) {
        self.own.clear();
        self.fields.clear();
        self.fields_ends.clear();
        self.whole.clear();
        self.forget_before();
        for column in &mut self.numbers {
            column.values.clear();
            column.odd.clear();
        }
        for group in &mut self.groups {
            group.entries.clear();
            group.own.clear();
            group.own_by_hash.clear();
        }
    }

    fn forget_before(&mut self) {
        self.before.clear();
        self.before.resize_with(self.dictionary.columns.len(), || None);
    }

    /// Finds the cells of a row by column; `false` if it has columns that the dictionary does not know.
    fn find_cells(&mut self, row: &[u8]) -> bool {
        self.cells.clear();
        let columns = &self.dictionary.columns;
        let mut rest = row;
        while !rest.is_empty() {
            // Names are compared with the lengths before them: a row that has the next column has these bytes.
            match columns.get(self.cells.len()) {
                Some(column) if begins(rest, &column.head) => rest = &rest[column.head.len()..],
                Some(_) => {
                    self.cells.push(None);
                    continue;
                }
                None => return false,
            }
            let Ok(len) = varint::take_u64(&mut rest) else {
                return false;
            };
            let Some(after) = rest.get(len as usize..) else {
                return false;
            };
            let start = row.len() - rest.len();
            self.cells.push(Some((start as u32, (row.len() - after.len()) as u32)));
            rest = after;
        }
        self.cells.resize(columns.len(), None);
        true
    }

    /// Takes in a row, of which `before` is the one before it.
    fn row(&mut self, i: usize, row: &[u8], before: &[u8]) {
        if u32::try_from(row.len()).is_err() || !self.find_cells(row) {
            let text = self.own.add(row);
            self.whole.push((i as u64, text));
            self.forget_before();
            // In the columns it says what costs least: the integers of the row before, and no text.
            for column in &mut self.numbers {
                column.values.push(column.values.last().copied().unwrap_or(0));
            }
            for g in 0..self.groups.len() {
                let absent = self.dictionary.groups[g].members.iter().map(|_| ABSENT);
                self.groups[g].shapes.clear();
                self.groups[g].shapes.extend(absent);
                self.entry(g);
                self.fields_ends.push(self.fields.len() as u32);
            }
            return;
        }
        let dictionary = &*self.dictionary;
        let context =
            Context { words: &dictionary.words, numbers: &self.word_numbers, word_bits: dictionary.word_bits };
        let text = |cell: Option<(u32, u32)>| cell.map(|(start, end)| &row[start as usize..end as usize]);
        for (column, cell) in dictionary.columns.iter().zip(&self.cells) {
            let Role::Number(number) = column.role else {
                continue;
            };
            let numbers = &mut self.numbers[number];
            let value = text(*cell).and_then(parse_integer);
            if value.is_none() {
                let odd = text(*cell).map_or(0, |text| self.own.add(text) + 1);
                numbers.odd.push((i as u64, odd));
            }
            numbers.values.push(value.or(numbers.values.last().copied()).unwrap_or(0));
        }
        for g in 0..self.groups.len() {
            self.groups[g].shapes.clear();
            for &column in &dictionary.groups[g].members {
                let (Some((from, to)), Some(matcher)) = (self.cells[column], &self.matchers[column]) else {
                    self.before[column] = None;
                    self.groups[g].shapes.push(ABSENT);
                    continue;
                };
                let text = &row[from as usize..to as usize];
                let at = self.fields.len();
                let shape = match &self.before[column] {
                    Some(Found { text: (from, to), shape, fields })
                        if equal(&before[*from as usize..*to as usize], text) =>
                    {
                        self.fields.extend_from_within(fields.clone());
                        *shape
                    }
                    _ => match matcher.find(text, &context, &mut self.path, &mut self.own, &mut self.fields) {
                        Some(shape) => shape,
                        None => {
                            self.fields.push((self.own.add(text), OWN_WIDTH));
                            OWN
                        }
                    },
                };
                self.before[column] = Some(Found { text: (from, to), shape, fields: at..self.fields.len() });
                self.groups[g].shapes.push(shape);
            }
            self.fields_ends.push(self.fields.len() as u32);
        }
        for g in 0..self.groups.len() {
            self.entry(g);
        }
    }

    /// Notes the entry of the shapes of a row in a group.
    fn entry(&mut self, g: usize) {
        let (group, known) = (&mut self.groups[g], &self.dictionary.groups[g]);
        let (hash, members) = (hash_shapes(&group.shapes), known.members.len());
        if let Some(&entry) = self.entries[g].get(&hash)
            && known.shapes[entry as usize * members..][..members] == group.shapes[..]
        {
            group.entries.push(entry);
            return;
        }
        let next = (group.own.len() / members) as u32;
        let own = *group.own_by_hash.entry(hash).or_insert(next);
        let same = group.own.get(own as usize * members..(own as usize + 1) * members) == Some(&group.shapes[..]);
        let own = if same {
            own
        } else {
            group.own.extend_from_slice(&group.shapes);
            next
        };
        group.entries.push(known.len() as u32 + own);
    }

    fn put_block(&mut self, rows: usize, looks: &Looks<'_>, out: &mut Vec<u8>) {
        let owns = self.own.ends.len();
        let own_bits = bits::width_of((owns as u64).saturating_sub(1));
        let flags_at = out.len();
        out.push(if self.whole.is_empty() { 0 } else { WHOLE });
        varint::put_u64(out, owns as u64);
        if !self.whole.is_empty() {
            put_listed(&self.whole, &mut self.values, out);
        }
        self.put_numbers(looks, out);
        for g in 0..self.groups.len() {
            self.put_codes(g, rows, out);
        }
        self.put_records(rows, own_bits, flags_at, out);
        if owns > 0 {
            packed::encode(&self.own.ends, out);
            let len = self.own.bytes.len();
            varint::put_u64(out, len as u64);
            let start = out.len();
            // A frame must be unpacked as a whole, so it must save a quarter.
            let framed = len >= FRAME_BYTES_MIN
                && zstd::encode_if_smaller(&self.own.bytes, FRAME_LEVEL, len - len / 4, out)
                && (out.len() - start) as u64 >= len as u64 / ZSTD_RATIO_MAX;
            if framed {
                out[flags_at] |= FRAMED;
            } else {
                out.truncate(start);
                out.extend_from_slice(&self.own.bytes);
            }
        }
    }

    fn put_numbers(&mut self, looks: &Looks<'_>, out: &mut Vec<u8>) {
        if self.numbers.is_empty() {
            return;
        }
        let odd = self
            .numbers
            .iter()
            .enumerate()
            .fold(0, |odd, (number, column)| odd | u64::from(!column.odd.is_empty()) << number);
        varint::put_u64(out, odd);
        for number in 0..self.numbers.len() {
            let values = &self.numbers[number].values;
            let same = self.numbers[..number].iter().position(|other| other.values == *values);
            numbers::put(values, same, looks, &mut self.scratch, out);
            if !self.numbers[number].odd.is_empty() {
                put_listed(&self.numbers[number].odd, &mut self.values, out);
            }
        }
    }

    fn put_codes(&mut self, g: usize, rows: usize, out: &mut Vec<u8>) {
        let known = &self.dictionary.groups[g];
        let members = known.members.len();
        let group = &mut self.groups[g];
        let own = group.own.len() / members;
        varint::put_u64(out, own as u64);
        let mut writer = BitWriter::default();
        for (place, &shape) in group.own.iter().enumerate() {
            writer.put(u64::from(shape), known.own_fields[place % members].1);
        }
        out.extend_from_slice(writer.finish());

        let all = known.len() + own;
        let long_width = bits::width_of((all as u64).saturating_sub(1));
        let GroupRows { entries, used, list, sorted, .. } = group;
        sorted.clear();
        sorted.extend_from_slice(entries);
        sorted.sort_unstable();
        used.clear();
        used.extend(sorted.chunk_by(|a, b| a == b).map(|run| (run.len() as u32, run[0])));
        used.sort_unstable_by_key(|(count, entry)| (std::cmp::Reverse(*count), *entry));
        // The bytes of each way, the width of its short codes, and how many are listed.
        let sized = |shorts: usize, width: u32, listed: usize| {
            let longs = rows - shorts;
            let bytes = |count: usize, width: u32| (count * width as usize).div_ceil(8);
            let kinds = if longs == 0 { 0 } else { varint::len_u64(longs as u64) + ranked::size(rows) };
            let list = if listed == 0 { 0 } else { varint::len_u64(listed as u64) + bytes(listed, long_width) };
            (kinds + list + bytes(shorts, width) + bytes(longs, long_width), width, listed)
        };
        let mut best = sized(rows, long_width, 0);
        for width in 0..long_width {
            let shorts = sorted.partition_point(|entry| u64::from(*entry) <= bits::mask(width));
            best = best.min(sized(shorts, width, 0));
            let listed = used.len().min(1 << width);
            let shorts: u32 = used[..listed].iter().map(|(count, _)| *count).sum();
            best = best.min(sized(shorts as usize, width, listed));
        }
        let (_, width, listed) = best;
        debug_assert!(width <= CODE_WIDTH_MAX);
        list.clear();
        list.extend(used[..listed].iter().map(|(_, entry)| *entry));
        list.sort_unstable();
        let short = |entry: &u32| match listed {
            0 => (u64::from(*entry) <= bits::mask(width)).then_some(u64::from(*entry)),
            _ => list.binary_search(entry).ok().map(|place| place as u64),
        };
        let longs = entries.iter().filter(|entry| short(entry).is_none()).count();
        let flags = if listed > 0 { LISTED } else { 0 } | if longs > 0 { MIXED } else { 0 };
        out.push(flags | (width as u8) << WIDTH_SHIFT);
        if listed > 0 {
            varint::put_u64(out, listed as u64);
            bits::pack(list.iter().map(|entry| u64::from(*entry)), long_width, out);
        }
        if longs > 0 {
            varint::put_u64(out, longs as u64);
            let is_long = entries.iter().enumerate().filter(|(_, entry)| short(entry).is_none()).map(|(i, _)| i);
            ranked::put(is_long, rows, out);
        }
        bits::pack(entries.iter().filter_map(short), width, out);
        let long = entries.iter().filter(|entry| short(entry).is_none());
        bits::pack(long.map(|entry| u64::from(*entry)), long_width, out);
    }

    fn put_records(&mut self, rows: usize, own_bits: u32, flags_at: usize, out: &mut Vec<u8>) {
        self.records.clear();
        self.samples.clear();
        let groups = self.groups.len();
        let (mut field, mut even) = (0, None);
        let mut is_even = true;
        for row in 0..rows {
            let start = self.records.bits;
            if row % SAMPLED_ROWS == SAMPLED_ROWS / 2 {
                self.samples.push(start as i64);
            }
            let end = if groups == 0 { 0 } else { self.fields_ends[(row + 1) * groups - 1] as usize };
            for &(value, width) in &self.fields[field..end] {
                self.records.put(value, if width == OWN_WIDTH { own_bits } else { u32::from(width) });
            }
            field = end;
            let width = self.records.bits - start;
            is_even &= *even.get_or_insert(width) == width;
        }
        match even {
            Some(width) if is_even => {
                out[flags_at] |= EVEN;
                varint::put_u64(out, width);
            }
            _ => {
                self.samples.resize(rows.div_ceil(SAMPLED_ROWS), self.records.bits as i64);
                put_samples(&self.samples, out);
            }
        }
        let records = self.records.finish();
        varint::put_u64(out, records.len() as u64);
        out.extend_from_slice(records);
    }
}

/// Appends where some records begin.
fn put_samples(samples: &[i64], out: &mut Vec<u8>) {
    let steps = (samples.len() as i64 - 1).max(1);
    let slope = ((samples[samples.len() - 1] - samples[0]) << SLOPE_BITS) / steps;
    let distances = || samples.iter().enumerate().map(|(k, sample)| sample - sample_line(slope, k));
    let start = distances().min().unwrap_or(0);
    let width = bits::width_of((distances().max().unwrap_or(0) - start) as u64);
    varint::put_i64(out, start);
    varint::put_i64(out, slope);
    out.push(width as u8);
    bits::pack(distances().map(|distance| (distance - start) as u64), width, out);
}

/// Appends rows and what is listed for each.
fn put_listed(listed: &[(u64, u64)], values: &mut Vec<u64>, out: &mut Vec<u8>) {
    varint::put_u64(out, listed.len() as u64);
    for part in [|listed: &(u64, u64)| listed.0, |listed: &(u64, u64)| listed.1] {
        values.clear();
        values.extend(listed.iter().map(part));
        packed::encode(values, out);
    }
}

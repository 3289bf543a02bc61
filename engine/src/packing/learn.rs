//! Learns from a sample of rows what the rows of a table have in common.
//!
//! Steps: which columns are integers → by which of them rows are sorted → the shapes of the other columns → which
//! columns go together, measured on the sample cut into blocks → the words.
//!
//! Invariants:
//! - What is learned depends on the sample alone, in its order.
//! - A dictionary learned from anything is within the bounds that its decoder sets.

use super::arena::Arena;
use super::cells::Cells;
use super::dictionary::{ABSENT, Column, Dictionary, Group, OWN, Part, Role, Shape, Slot, Words, word_bits};
use super::grow::{self, Draft, DraftSlot};
use super::tokens::parse_integer;
use super::{
    COLUMNS_MAX, ENTRIES_MAX, GROUPS_MAX, Looks, MEMORY_BYTES_MAX, NAME_BYTES_MAX, NUMBERS_MAX, SHAPES_MAX, numbers,
};
use crate::codec::bits;
use crate::row::has_more_columns;
use rustc_hash::FxHashMap;
use std::collections::BTreeMap;

/// So many rows are looked at.
const ROWS_MAX: usize = 1 << 15;
/// So many bytes of rows are kept.
const BYTES_MAX: usize = 8 << 20;
/// A row with more columns than this is not looked at.
const ROW_COLUMNS_MAX: usize = 4 * COLUMNS_MAX;
/// Rows on which choices are measured; and how many of them make a block.
const MEASURED_ROWS: usize = 1 << 13;
const MEASURED_BLOCK: usize = 128;
/// Rows on which orders are tried, and how many are.
const ORDER_ROWS: usize = 1 << 11;
const ORDERS_MAX: usize = 6;
/// A column of integers has other texts in at most one row of so many.
const ODD_ONE_OF: usize = 64;
/// A column of fewer different texts is none of integers.
const INTEGERS_MIN: usize = 16;
/// The most shapes that the entries of a group name.
const ENTRY_SHAPES_MAX: usize = 1 << 17;
/// The most bytes of shapes as they are written.
const SHAPES_BYTES_MAX: usize = 1 << 20;
const WORDS_MAX: usize = 1 << 16;
const WORDS_BYTES_MAX: usize = 1 << 20;
/// Longer words are not listed.
const WORD_BYTES_MAX: usize = 64;

/// Takes a sample of rows and makes a [`Dictionary`] of it.
///
/// Rows best come as they will be packed: in runs of whole looks of one host, several hundred rows each.
#[derive(Default)]
pub struct Learner {
    bytes: Vec<u8>,
    rows: Vec<(u32, u32)>,
    seconds: Vec<i64>,
}

/// A column of the sample.
struct Sampled<'a> {
    name: &'a [u8],
    /// The different texts, and how many rows have each.
    texts: Vec<(&'a [u8], u32)>,
    /// Of each row the number of its text plus one; 0 if it lacks the column.
    cells: Vec<u32>,
    by_text: FxHashMap<&'a [u8], u32>,
}

impl Learner {
    /// A learner that has seen nothing.
    pub fn new() -> Learner {
        Learner::default()
    }

    /// Whether further rows are not looked at.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= ROWS_MAX || self.bytes.len() >= BYTES_MAX
    }

    /// Looks at a row, canonical bytes, that appeared at a look of this second (0 if it belongs to no look). One with very
    /// many columns is not looked at: room is taken for all rows in each.
    pub fn row(&mut self, row: &[u8], second: i64) {
        if self.is_full() || row.len() > BYTES_MAX || has_more_columns(row, ROW_COLUMNS_MAX) {
            return;
        }
        let start = self.bytes.len() as u32;
        self.bytes.extend_from_slice(row);
        self.rows.push((start, self.bytes.len() as u32));
        self.seconds.push(second);
    }

    /// What was learned.
    pub fn finish(self) -> Dictionary {
        let sampled = self.columns();
        let integers = integer_columns(&sampled, self.rows.len());
        let (order, permutation) = self.choose_order(&sampled, &integers);
        let mut drafts: Vec<Vec<Draft<'_>>> = sampled.iter().map(|column| grow::shapes(&column.texts)).collect();
        limit_shapes(&sampled, &mut drafts);
        let words = choose_words(&drafts);
        let word_bits = word_bits(words.len());
        let by_word: FxHashMap<&[u8], u32> = (0..words.len()).filter_map(|i| Some((words.get(i)?, i as u32))).collect();

        // The shapes of each column, and which each row has.
        let mut arena = Arena::default();
        let mut shapes: Vec<Vec<Shape>> = Vec::new();
        let mut chosen: Vec<Vec<u32>> = Vec::new();
        for (column, drafts) in sampled.iter().zip(&drafts) {
            let head = head(column.name);
            let mut of_column = Shape::given();
            let mut of_text = vec![OWN; column.texts.len() + 1];
            of_text[0] = ABSENT;
            for draft in drafts {
                for &text in &draft.texts {
                    of_text[text as usize + 1] = of_column.len() as u32;
                }
                of_column.push(match &draft.parts[..] {
                    [] => Shape::constant(&head, &[], &mut arena),
                    [grow::DraftPart::Literal(text)] => Shape::constant(&head, text, &mut arena),
                    parts => {
                        let parts = parts.iter().map(|part| part.finish(&by_word, &mut arena)).collect();
                        Shape::new(parts, word_bits)
                    }
                });
            }
            chosen.push(column.cells.iter().map(|&cell| of_text[cell as usize]).collect());
            shapes.push(of_column);
        }

        let measure = Measure {
            permutation: &permutation,
            chosen: &chosen,
            shapes: &shapes,
            scale: self.rows.len().div_ceil(MEASURED_ROWS).max(1) * if self.is_full() { 4 } else { 1 },
        };
        let (mut groups, mut is_number) = (Vec::<Vec<usize>>::new(), vec![false; sampled.len()]);
        measure.group((0..sampled.len()).filter(|c| !integers.contains(c)), &mut groups);
        for &column in &integers {
            let as_number = self.number_cost(&sampled[column], &permutation);
            if measure.join(column, as_number.saturating_sub(measure.slots(column)), &mut groups) {
                continue;
            }
            is_number[column] = true;
        }
        groups.iter_mut().for_each(|group| group.sort_unstable());

        let mut dictionary = Dictionary { words, word_bits, order, arena, ..Dictionary::default() };
        for (c, column) in sampled.iter().enumerate() {
            let role = if is_number[c] {
                dictionary.numbers += 1;
                Role::Number(dictionary.numbers - 1)
            } else {
                let found = groups.iter().enumerate().find_map(|(g, group)| Some((g, group.binary_search(&c).ok()?)));
                let (group, member) = found.unwrap_or_default();
                Role::Text { group, member, shapes: std::mem::take(&mut shapes[c]) }
            };
            let head = head(column.name);
            let head_piece = dictionary.arena.push(&head);
            dictionary.columns.push(Column { head, head_piece, role });
        }
        dictionary.groups = groups
            .iter()
            .map(|members| Group { members: members.clone(), shapes: entries(members, &chosen), ..Group::default() })
            .collect();
        dictionary.settle();
        dictionary
    }

    /// The columns of the sample, by name; the most frequent ones, if they are too many.
    fn columns(&self) -> Vec<Sampled<'_>> {
        let mut columns: BTreeMap<&[u8], Sampled<'_>> = BTreeMap::new();
        for (i, &(start, end)) in self.rows.iter().enumerate() {
            for cell in Cells::new(&self.bytes[start as usize..end as usize]) {
                let column = columns.entry(cell.name).or_insert_with(|| Sampled {
                    name: cell.name,
                    texts: Vec::new(),
                    cells: Vec::new(),
                    by_text: FxHashMap::default(),
                });
                let next = column.texts.len() as u32;
                let text = *column.by_text.entry(cell.text).or_insert(next);
                if text == next {
                    column.texts.push((cell.text, 0));
                }
                column.texts[text as usize].1 += 1;
                column.cells.resize(i, 0);
                column.cells.push(text + 1);
            }
        }
        let mut columns: Vec<Sampled<'_>> =
            columns.into_values().filter(|column| column.name.len() <= NAME_BYTES_MAX).collect();
        if columns.len() > COLUMNS_MAX {
            let rows = |column: &Sampled<'_>| column.cells.iter().filter(|cell| **cell > 0).count();
            columns.sort_by_cached_key(|column| std::cmp::Reverse(rows(column)));
            columns.truncate(COLUMNS_MAX);
            columns.sort_by_key(|column| column.name);
        }
        for column in &mut columns {
            column.cells.resize(self.rows.len(), 0);
            column.by_text = FxHashMap::default();
        }
        columns
    }

    /// The looks of measured rows: where they begin, and their seconds.
    fn looks(&self, from: usize, to: usize) -> (Vec<u32>, Vec<i64>) {
        let (mut starts, mut seconds) = (Vec::new(), Vec::new());
        for i in from..to {
            if i == from || self.seconds[i] != self.seconds[i - 1] {
                starts.push((i - from) as u32);
                seconds.push(self.seconds[i]);
            }
        }
        (starts, seconds)
    }

    /// By which column rows are best sorted within their look, and the measured rows so sorted.
    fn choose_order(&self, sampled: &[Sampled<'_>], integers: &[usize]) -> (Option<usize>, Vec<u32>) {
        let rows = self.rows.len().min(MEASURED_ROWS);
        let (starts, _) = self.looks(0, rows);
        let sorted_by = |column: usize, rows: usize| {
            let values = integer_values(&sampled[column]);
            let mut sorted: Vec<u32> = (0..rows as u32).collect();
            for (look, &start) in starts.iter().enumerate().take_while(|(_, start)| (**start as usize) < rows) {
                let end = starts.get(look + 1).map_or(rows, |end| rows.min(*end as usize));
                sorted[start as usize..end].sort_by_key(|row| values[*row as usize]);
            }
            sorted
        };
        let unsorted: Vec<u32> = (0..rows as u32).collect();
        if self.seconds.iter().all(|second| *second == 0) {
            return (None, unsorted);
        }
        let cost = |permutation: &[u32]| -> usize {
            integers.iter().map(|&column| self.number_cost(&sampled[column], permutation)).sum()
        };
        let few = rows.min(ORDER_ROWS);
        let mut best = (cost(&unsorted[..few]), None);
        for &column in integers.iter().take(ORDERS_MAX) {
            let cost = cost(&sorted_by(column, few));
            // Rows of a sample may come sorted, and others not: an order that costs nothing is taken.
            if cost < best.0 || (cost == best.0 && best.1.is_none()) {
                best = (cost, Some(column));
            }
        }
        (best.1, best.1.map_or(unsorted, |column| sorted_by(column, rows)))
    }

    /// The bits of a column of integers over the measured rows.
    fn number_cost(&self, column: &Sampled<'_>, permutation: &[u32]) -> usize {
        let values = integer_values(column);
        let mut last = 0;
        let values: Vec<i64> = permutation
            .iter()
            .map(|row| {
                last = values[*row as usize].unwrap_or(last);
                last
            })
            .collect();
        let (mut out, mut scratch) = (Vec::new(), numbers::Scratch::default());
        for (block, values) in values.chunks(MEASURED_BLOCK).enumerate() {
            let from = block * MEASURED_BLOCK;
            let (starts, seconds) = self.looks(from, from + values.len());
            numbers::put(values, None, &Looks { starts: &starts, seconds: &seconds }, &mut scratch, &mut out);
        }
        out.len() * 8
    }
}

fn head(name: &[u8]) -> Box<[u8]> {
    let mut head = Vec::with_capacity(name.len() + 1);
    crate::codec::varint::put_u64(&mut head, name.len() as u64);
    head.extend_from_slice(name);
    head.into()
}

/// The columns that nearly always hold an integer, the most different ones first.
fn integer_columns(sampled: &[Sampled<'_>], rows: usize) -> Vec<usize> {
    let is_integers = |column: &Sampled<'_>| {
        let of_texts = column.texts.iter().filter(|(text, _)| parse_integer(text).is_some());
        let integers: usize = of_texts.map(|(_, count)| *count as usize).sum();
        column.texts.len() >= INTEGERS_MIN && rows - integers <= rows / ODD_ONE_OF
    };
    let mut found: Vec<usize> = (0..sampled.len()).filter(|c| is_integers(&sampled[*c])).collect();
    found.sort_by_key(|column| std::cmp::Reverse(sampled[*column].texts.len()));
    found.truncate(NUMBERS_MAX);
    found
}

fn integer_values(column: &Sampled<'_>) -> Vec<Option<i64>> {
    let values: Vec<Option<i64>> = column.texts.iter().map(|(text, _)| parse_integer(text)).collect();
    column.cells.iter().map(|&cell| values.get((cell as usize).checked_sub(1)?).copied().flatten()).collect()
}

/// Keeps the most used shapes, if they are too many or too long.
fn limit_shapes(sampled: &[Sampled<'_>], drafts: &mut [Vec<Draft<'_>>]) {
    let mut all: Vec<(u64, usize)> = Vec::new();
    for (column, drafts) in sampled.iter().zip(&*drafts) {
        all.extend(drafts.iter().map(|draft| (draft.rows, draft.bytes() + column.name.len())));
    }
    all.sort_unstable_by_key(|(rows, bytes)| (std::cmp::Reverse(*rows), *bytes));
    let mut sum = 0;
    let kept = all.iter().take(SHAPES_MAX).take_while(|(_, bytes)| {
        sum += bytes;
        sum <= SHAPES_BYTES_MAX
    });
    let kept = kept.count();
    if let Some(&(most, _)) = all.get(kept) {
        drafts.iter_mut().for_each(|drafts| drafts.retain(|draft| draft.rows > most));
    }
}

/// The words that slots may name.
fn choose_words(drafts: &[Vec<Draft<'_>>]) -> Words {
    let (mut rows, mut few) = (FxHashMap::<&[u8], u64>::default(), Vec::new());
    for slot in drafts.iter().flatten().flat_map(|draft| &draft.parts) {
        match slot {
            grow::DraftPart::Slot(DraftSlot::Few(words)) => few.extend(words.iter().copied()),
            grow::DraftPart::Slot(DraftSlot::Words(words)) => {
                words.iter().for_each(|(word, count)| *rows.entry(*word).or_default() += count);
            }
            _ => {}
        }
    }
    for word in few {
        rows.insert(word, u64::MAX);
    }
    let mut words: Vec<(&[u8], u64)> =
        rows.into_iter().filter(|(word, rows)| *rows > 1 && word.len() <= WORD_BYTES_MAX).collect();
    words.sort_unstable_by_key(|(word, rows)| (std::cmp::Reverse(*rows), *word));
    words.truncate(WORDS_MAX);
    let mut bytes = 0;
    words.retain(|(word, _)| {
        bytes += word.len() + 4;
        bytes <= WORDS_BYTES_MAX
    });
    words.sort_unstable();
    let mut chosen = Words::default();
    words.iter().for_each(|(word, _)| chosen.push(word));
    chosen
}

/// The combinations of shapes that more than one row of the sample has, the most frequent first.
fn entries(members: &[usize], chosen: &[Vec<u32>]) -> Vec<u32> {
    let rows = members.first().map_or(0, |column| chosen[*column].len());
    let mut counts: FxHashMap<Box<[u32]>, u32> = FxHashMap::default();
    let mut entry = Vec::new();
    (0..rows).for_each(|row| {
        entry.clear();
        entry.extend(members.iter().map(|column| chosen[*column][row]));
        match counts.get_mut(&entry[..]) {
            Some(count) => *count += 1,
            None => _ = counts.insert(entry.as_slice().into(), 1),
        }
    });
    let mut counts: Vec<(Box<[u32]>, u32)> = counts.into_iter().filter(|(_, count)| *count > 1).collect();
    counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let entries_max = ENTRIES_MAX.min(ENTRY_SHAPES_MAX / members.len().max(1));
    counts.truncate(entries_max);
    counts.iter().flat_map(|(entry, _)| entry.iter().copied()).collect()
}

/// What codes cost on the measured rows.
struct Measure<'a> {
    permutation: &'a [u32],
    chosen: &'a [Vec<u32>],
    shapes: &'a [Vec<Shape>],
    /// Of so many times the measured rows a segment has at least.
    scale: usize,
}

impl Measure<'_> {
    /// The bits of the code of columns that go together, and of what must be told about it.
    fn cost(&self, members: &[usize]) -> usize {
        let mut numbers: FxHashMap<u64, u32> = FxHashMap::default();
        let mut counts: Vec<u32> = Vec::new();
        let codes: Vec<u32> = self
            .permutation
            .iter()
            .map(|&row| {
                let hash = members.iter().fold(0u64, |hash, column| {
                    let shape = u64::from(self.chosen[*column][row as usize]);
                    (hash.rotate_left(5) ^ shape).wrapping_mul(0x9e37_79b9_7f4a_7c15)
                });
                let number = *numbers.entry(hash).or_insert(counts.len() as u32);
                if number as usize == counts.len() {
                    counts.push(0);
                }
                counts[number as usize] += 1;
                number
            })
            .collect();
        let known = counts.iter().filter(|count| **count > 1).count();
        let once = counts.len() - known;
        let all_bits = bits::width_of(known.max(1) as u64 - 1) as usize;
        let mut used = Vec::new();
        let mut sum = 0;
        for block in codes.chunks(MEASURED_BLOCK) {
            used.clear();
            used.extend_from_slice(block);
            used.sort_unstable();
            used.dedup();
            let gap_bits = bits::width_of((known / used.len()) as u64) as usize + 1;
            let listed = used.len() * gap_bits + block.len() * bits::width_of(used.len() as u64 - 1) as usize;
            sum += listed.min(block.len() * all_bits) + 16;
        }
        // A combination that the sample has once stands for many that their blocks must tell; one that the dictionary
        // tells is told for all rows, of which these may be few.
        sum + once * (8 + 5 * members.len()) + known * (8 + 4 * members.len()) / self.scale
    }

    /// The bits of the slots of a column's shapes.
    fn slots(&self, column: usize) -> usize {
        let own_bits = |shape: &Shape| shape.owns as usize * 96;
        let chosen = self.permutation.iter().map(|row| self.chosen[column][*row as usize]);
        chosen
            .map(|shape| &self.shapes[column][shape as usize])
            .map(|shape| shape.bits as usize + own_bits(shape))
            .sum()
    }

    /// Puts each column into the group where it costs least.
    fn group(&self, columns: impl Iterator<Item = usize>, groups: &mut Vec<Vec<usize>>) {
        let mut alone: Vec<(usize, usize)> = columns.map(|column| (self.cost(&[column]), column)).collect();
        alone.sort_unstable_by_key(|(cost, column)| (std::cmp::Reverse(*cost), *column));
        for (cost, column) in alone {
            let cost = if groups.len() < GROUPS_MAX { cost } else { usize::MAX };
            if !self.join(column, cost, groups) {
                groups.push(vec![column]);
            }
        }
    }

    /// Puts a column into the group where it costs least, if that is less than it costs elsewhere.
    fn join(&self, column: usize, elsewhere: usize, groups: &mut [Vec<usize>]) -> bool {
        let mut best: Option<(usize, usize)> = None;
        for (g, group) in groups.iter_mut().enumerate() {
            let before = self.cost(group);
            group.push(column);
            let more = self.cost(group).saturating_sub(before);
            group.pop();
            if best.is_none_or(|(least, _)| more < least) {
                best = Some((more, g));
            }
        }
        match best {
            Some((more, g)) if more <= elsewhere => {
                groups[g].push(column);
                true
            }
            _ => false,
        }
    }
}

impl grow::DraftPart<'_> {
    fn finish(&self, by_word: &FxHashMap<&[u8], u32>, arena: &mut Arena) -> Part {
        match self {
            grow::DraftPart::Literal(text) => Part::Literal(arena.push(text)),
            grow::DraftPart::Slot(slot) => Part::Slot(match slot {
                DraftSlot::Exact(slot) => slot.clone(),
                DraftSlot::Words(_) => Slot::Word,
                DraftSlot::Few(words) => {
                    let mut known: Vec<u32> = words.iter().filter_map(|word| by_word.get(*word).copied()).collect();
                    known.sort_unstable();
                    let width = bits::width_of((known.len() as u64).saturating_sub(1)) as u8;
                    Slot::Few { words: known.into(), width }
                }
            }),
        }
    }
}

// With all there may be of everything, what is written is still read: shapes are named in three bytes.
const _: () = assert!(
    WORDS_BYTES_MAX + SHAPES_BYTES_MAX + GROUPS_MAX * ENTRY_SHAPES_MAX * 3 + COLUMNS_MAX * (NAME_BYTES_MAX + 8)
        < MEMORY_BYTES_MAX
);

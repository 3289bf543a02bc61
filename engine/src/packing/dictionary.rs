//! What the rows of a table have in common, learned once and kept beside the blocks.
//!
//! Invariants:
//! - A decoded dictionary is the encoded one: blocks packed with either are read with either.
//! - Every index in a dictionary was checked when it was decoded: words, shapes and members exist.
//! - Columns ascend by name, words ascend; nothing in them repeats.

use super::arena::{Arena, Piece};
use super::tokens::{Alphabet, DIGITS_MAX};
use super::{COLUMNS_MAX, ENTRIES_MAX, GROUPS_MAX, MEMORY_BYTES_MAX, NAME_BYTES_MAX, NUMBERS_MAX, SHAPES_MAX};
use crate::codec::{Fault, bits, finish, take, take_between, take_u8, varint, zstd};
use rustc_hash::FxHashMap;
use std::cmp::Ordering;
use std::ops::Range;

/// A row lacks the column.
pub(super) const ABSENT: u32 = 0;
/// The text is one of the block's own.
pub(super) const OWN: u32 = 1;
/// The first shape that was learned.
pub(super) const LEARNED: u32 = 2;

/// The tag of a literal.
const LITERAL: u8 = 0;
/// What entries have in common with their rows' canonical bytes is kept ready up to so many bytes.
const READY_BYTES_MAX: usize = 256 << 10;
/// Longer ones are not.
const READY_TEXT_BYTES_MAX: usize = 1 << 10;
/// The most parts of a shape.
const PARTS_MAX: usize = 1024;

/// What stands in a slot of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// A number without leading zeros: the base and so many bits above it.
    Number { base: u64, width: u8 },
    /// A number of so many digits.
    Padded { digits: u8, base: u64, width: u8 },
    /// One of a few words, or one of the block's own texts.
    Few { words: Box<[u32]>, width: u8 },
    /// One of the dictionary's words, or one of the block's own texts.
    Word,
    /// So many characters.
    Mixed { alphabet: Alphabet, len: u8 },
    /// A UUID.
    Uuid,
    /// One of the block's own texts.
    Own,
}

/// A piece of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The same in all texts of the shape.
    Literal(Piece),
    /// Different from text to text.
    Slot(Slot),
}

/// How the texts of a shape look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) parts: Box<[Part]>,
    /// With one literal or none and no slot: the column in canonical form.
    pub(super) constant: Option<Piece>,
    /// The bits of the slots, but for the block's own texts.
    pub(super) bits: u32,
    /// How many slots are the block's own texts.
    pub(super) owns: u32,
    /// With slots: the column in canonical form up to the first of them, with a zero for the length; and how many parts
    /// that are.
    pub(super) lead: Piece,
    pub(super) lead_parts: usize,
}

/// Columns that stand together in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Run {
    /// Members of a group, of whose runs this is so manieth.
    Texts { group: usize, run: usize, columns: Range<usize>, first_member: usize },
    /// A column of integers.
    Number { number: usize, column: usize, is_led: bool },
}

/// The width of a shape or an entry: the bits of its slots, and above them how many are the block's own texts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Width(u64);

impl Width {
    const OWNS_SHIFT: u32 = 40;

    pub(super) fn of(shape: &Shape) -> Width {
        Width(u64::from(shape.bits) | u64::from(shape.owns) << Width::OWNS_SHIFT)
    }

    #[inline]
    pub(super) fn add(&mut self, other: Width) {
        self.0 += other.0;
    }

    /// The bits where own texts take so many each.
    #[inline]
    pub(super) fn bits(self, own_bits: u32) -> usize {
        ((self.0 & bits::mask(Width::OWNS_SHIFT)) + (self.0 >> Width::OWNS_SHIFT) * u64::from(own_bits)) as usize
    }

    #[inline]
    pub(super) fn is_zero(self) -> bool {
        self.0 == 0
    }
}

/// How a column is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// As so manieth column of integers.
    Number(usize),
    /// As a shape of its own in a group's code.
    Text { group: usize, member: usize, shapes: Vec<Shape> },
}

/// A column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    /// The length of the name, and the name.
    pub(super) head: Box<[u8]>,
    /// The same.
    pub(super) head_piece: Piece,
    pub(super) role: Role,
}

impl Column {
    pub(super) fn name(&self) -> &[u8] {
        let mut head = &self.head[..];
        let _ = varint::take_u64(&mut head);
        head
    }

    fn shapes(&self) -> &[Shape] {
        match &self.role {
            Role::Number(_) => &[],
            Role::Text { shapes, .. } => shapes,
        }
    }
}

/// Columns that go together: each combination of shapes seen more than once has a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    /// The columns, ascending.
    pub(super) members: Vec<usize>,
    /// The shapes of the members, entry after entry.
    pub(super) shapes: Vec<u32>,
    /// The width of each entry's record.
    pub(super) widths: Vec<Width>,
    /// Of each member where its shape lies in a block's own entry, and how many bits it has.
    pub(super) own_fields: Vec<(usize, u32)>,
    /// The bits of a block's own entry.
    pub(super) own_entry_bits: usize,
    /// How many runs the members form.
    pub(super) runs: usize,
    /// Entry after entry, run after run: the columns in canonical form, and the head of the column of integers behind
    /// them; none, if some have slots.
    pub(super) ready: Vec<Piece>,
}

impl Group {
    pub(super) fn len(&self) -> usize {
        self.widths.len()
    }
}

/// Texts, by number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    pieces: Vec<Piece>,
    pub(super) arena: Arena,
}

impl Words {
    pub(super) fn len(&self) -> usize {
        self.pieces.len()
    }

    pub(super) fn push(&mut self, word: &[u8]) {
        self.pieces.push(self.arena.push(word));
    }

    #[inline]
    pub(super) fn piece(&self, i: usize) -> Option<Piece> {
        self.pieces.get(i).copied()
    }

    pub(super) fn get(&self, i: usize) -> Option<&[u8]> {
        self.piece(i).map(|piece| self.arena.get(piece))
    }
}

/// What the rows of one table in one segment have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary {
    pub(super) columns: Vec<Column>,
    /// The heads of columns, and the literals of shapes.
    pub(super) arena: Arena,
    /// How many columns are integers.
    pub(super) numbers: usize,
    pub(super) groups: Vec<Group>,
    pub(super) words: Words,
    /// The bits of a word's number.
    pub(super) word_bits: u32,
    /// The column by which the rows of a look are sorted.
    pub(super) order: Option<usize>,
    /// The columns as they follow each other in a row.
    pub(super) runs: Vec<Run>,
}

/// The bits of a word's number, of so many words: there is room for some of the block's own.
pub(super) fn word_bits(words: usize) -> u32 {
    let room = if words == 0 { 0 } else { words / 16 + 255 };
    crate::codec::bits::width_of((words + room) as u64)
}

impl Slot {
    /// The bits in a row's record; `None` for one of the block's own texts, whose width is the block's.
    #[inline]
    pub(super) fn bits(&self, word_bits: u32) -> Option<u32> {
        Some(match self {
            Slot::Number { width, .. } | Slot::Padded { width, .. } | Slot::Few { width, .. } => u32::from(*width),
            Slot::Word => word_bits,
            Slot::Mixed { alphabet, len } => alphabet.bits() * u32::from(*len),
            Slot::Uuid => 128,
            Slot::Own => return None,
        })
    }
}

impl Shape {
    /// A shape of parts, none of which is a literal alone.
    pub(super) fn new(parts: Vec<Part>, word_bits: u32) -> Shape {
        let (mut bits, mut owns) = (0, 0);
        for part in &parts {
            if let Part::Slot(slot) = part {
                match slot.bits(word_bits) {
                    Some(width) => bits += width,
                    None => owns += 1,
                }
            }
        }
        Shape { parts: parts.into_boxed_slice(), constant: None, bits, owns, lead: Piece::NONE, lead_parts: 0 }
    }

    /// The shape of one text.
    pub(super) fn constant(head: &[u8], text: &[u8], arena: &mut Arena) -> Shape {
        let mut len = [0; varint::BYTES_MAX];
        let of_len = varint::write_u64(&mut len, text.len() as u64);
        let piece = arena.push_all([head, &len[..of_len], text]);
        let text = Part::Literal(piece.skip(head.len() + of_len));
        Shape { constant: Some(piece), ..Shape::new(vec![text], 0) }
    }

    /// The text of a shape of one text.
    pub(super) fn text(&self) -> Option<Piece> {
        match (&self.constant, &self.parts[..]) {
            (Some(_), [Part::Literal(text)]) => Some(*text),
            _ => None,
        }
    }

    /// The shapes that every column has: absent, and one of the block's own texts.
    pub(super) fn given() -> Vec<Shape> {
        let absent = Shape { constant: Some(Piece::default()), ..Shape::new(Vec::new(), 0) };
        vec![absent, Shape::new(vec![Part::Slot(Slot::Own)], 0)]
    }
}

impl Dictionary {
    pub(super) fn shapes(&self, column: usize) -> &[Shape] {
        self.columns[column].shapes()
    }

    /// Fills in what follows from the rest, so that reading looks it up.
    pub(super) fn settle(&mut self) {
        for g in 0..self.groups.len() {
            let (members, mut widths) = (&self.groups[g].members, Vec::with_capacity(self.groups[g].len()));
            for shapes in self.groups[g].shapes.chunks_exact(members.len().max(1)) {
                let mut width = Width::default();
                for (&column, &shape) in members.iter().zip(shapes) {
                    width.add(Width::of(&self.shapes(column)[shape as usize]));
                }
                widths.push(width);
            }
            let mut at = 0;
            let field = |&column: &usize| {
                let width = bits::width_of(self.shapes(column).len() as u64 - 1);
                at += width as usize;
                (at - width as usize, width)
            };
            let own_fields = members.iter().map(field).collect();
            let group = &mut self.groups[g];
            (group.widths, group.own_fields, group.own_entry_bits) = (widths, own_fields, at);
        }
        for column in &mut self.columns {
            let Role::Text { shapes, .. } = &mut column.role else {
                continue;
            };
            for shape in shapes.iter_mut().filter(|shape| shape.constant.is_none()) {
                let mut lead = column.head.to_vec();
                lead.push(0);
                if let Some(Part::Literal(text)) = shape.parts.first() {
                    lead.extend_from_slice(self.arena.get(*text));
                    shape.lead_parts = 1;
                }
                shape.lead = self.arena.push(&lead);
            }
        }
        self.find_runs();
        self.make_ready();
    }

    fn find_runs(&mut self) {
        self.runs.clear();
        for (c, column) in self.columns.iter().enumerate() {
            match (&column.role, self.runs.last_mut()) {
                (Role::Number(number), last) => {
                    let is_led = matches!(last, Some(Run::Texts { .. }));
                    self.runs.push(Run::Number { number: *number, column: c, is_led });
                }
                (Role::Text { group, .. }, Some(Run::Texts { group: last, columns, .. })) if group == last => {
                    columns.end = c + 1;
                }
                (Role::Text { group, member, .. }, _) => {
                    let run = self.groups[*group].runs;
                    self.groups[*group].runs += 1;
                    self.runs.push(Run::Texts { group: *group, run, columns: c..c + 1, first_member: *member });
                }
            }
        }
    }

    /// Puts the constant columns of entries side by side, the most frequent entries first.
    fn make_ready(&mut self) {
        let mut text = Vec::new();
        let bytes_max = self.arena.len() + READY_BYTES_MAX;
        for (g, group) in self.groups.iter_mut().enumerate() {
            // Entries differ as a whole, but in few of their runs.
            let mut known: Vec<FxHashMap<&[u32], Piece>> = vec![FxHashMap::default(); group.runs];
            for entry in group.shapes.chunks_exact(group.members.len().max(1)) {
                if self.arena.len() > bytes_max {
                    break;
                }
                for (r, run) in self.runs.iter().enumerate() {
                    let Run::Texts { group: of, run, columns, first_member } = run else {
                        continue;
                    };
                    if *of != g {
                        continue;
                    }
                    let shapes = &entry[*first_member..][..columns.len()];
                    group.ready.push(*known[*run].entry(shapes).or_insert_with(|| {
                        if !put_constants(&self.columns[columns.clone()], shapes, &self.arena, &mut text) {
                            return Piece::NONE;
                        }
                        if let Some(Run::Number { column, is_led: true, .. }) = self.runs.get(r + 1) {
                            text.extend_from_slice(&self.columns[*column].head);
                        }
                        self.arena.push(&text)
                    }));
                }
            }
        }
    }

    /// The bytes of memory that it takes.
    pub fn memory_bytes(&self) -> usize {
        let part = |part: &Part| {
            size_of::<Part>()
                + match part {
                    Part::Slot(Slot::Few { words, .. }) => words.len() * 4,
                    _ => 0,
                }
        };
        let shape = |shape: &Shape| size_of::<Shape>() + shape.parts.iter().map(part).sum::<usize>();
        let columns = (0..self.columns.len()).map(|column| {
            size_of::<Column>() + self.columns[column].head.len() + self.shapes(column).iter().map(shape).sum::<usize>()
        });
        let groups =
            self.groups.iter().map(|group| group.shapes.len() * 4 + group.widths.len() * 8 + group.ready.len() * 8);
        let arenas = self.arena.len() + self.words.arena.len() + self.words.len() * size_of::<Piece>();
        columns.sum::<usize>() + groups.sum::<usize>() + arenas
    }

    /// How the rows of one look are sorted so that they pack best.
    pub fn order(&self, a: &[u8], b: &[u8]) -> Ordering {
        self.order_key(a).cmp(&self.order_key(b)).then_with(|| a.cmp(b))
    }

    /// The number by which rows, canonical bytes, are sorted within a look; rows of one number go by their bytes.
    pub fn order_key(&self, row: &[u8]) -> Option<i64> {
        let name = self.columns[self.order?].name();
        super::cells::Cells::new(row)
            .find(|cell| crate::bytes::equal(cell.name, name))
            .and_then(|cell| super::tokens::parse_integer(cell.text))
    }

    /// The names of the columns, ascending.
    pub fn columns(&self) -> impl Iterator<Item = &[u8]> {
        self.columns.iter().map(Column::name)
    }

    /// Where a column of this name stands among the columns.
    pub fn column(&self, name: &[u8]) -> Option<usize> {
        self.columns.binary_search_by(|column| column.name().cmp(name)).ok()
    }

    /// What was learned, for people.
    pub fn describe(&self, shapes_max: usize) -> String {
        use std::fmt::Write;
        let mut text = format!("{} words, {} bits\n", self.words.len(), self.word_bits);
        for (i, column) in self.columns.iter().enumerate() {
            let name = String::from_utf8_lossy(column.name());
            let order = if self.order == Some(i) { ", sorts" } else { "" };
            match &column.role {
                Role::Number(number) => _ = writeln!(text, "{name}: integers {number}{order}"),
                Role::Text { group, shapes, .. } => {
                    _ = writeln!(text, "{name}: {} shapes, group {group}{order}", shapes.len() - LEARNED as usize);
                    for shape in shapes.iter().skip(LEARNED as usize).take(shapes_max) {
                        text.push_str("    ");
                        for part in &shape.parts {
                            match part {
                                Part::Literal(literal) => {
                                    text.push_str(&String::from_utf8_lossy(self.arena.get(*literal)))
                                }
                                Part::Slot(Slot::Few { words, width }) => {
                                    _ = write!(text, "<{} words, {width} bits>", words.len())
                                }
                                Part::Slot(slot) => _ = write!(text, "<{slot:?}>"),
                            }
                        }
                        text.push('\n');
                    }
                }
            }
        }
        for (number, group) in self.groups.iter().enumerate() {
            _ = writeln!(text, "group {number}: {} columns, {} entries", group.members.len(), group.len());
        }
        text
    }

    /// Appends the dictionary.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut plain = Vec::new();
        self.encode_plain(&mut plain);
        varint::put_u64(out, plain.len() as u64);
        let start = out.len();
        out.push(1);
        if !zstd::encode_if_smaller(&plain, 3, plain.len(), out) {
            out.truncate(start);
            out.push(0);
            out.extend_from_slice(&plain);
        }
    }

    pub(super) fn encode_plain(&self, out: &mut Vec<u8>) {
        let put = |out: &mut Vec<u8>, value: usize| varint::put_u64(out, value as u64);
        put(out, self.words.len());
        // Words ascend, so what a word shares with the one before is left out.
        let mut last: &[u8] = &[];
        for i in 0..self.words.len() {
            let word = self.words.get(i).unwrap_or_default();
            let shared = last.iter().zip(word).take_while(|(a, b)| a == b).count();
            put(out, shared);
            put(out, word.len() - shared);
            out.extend_from_slice(&word[shared..]);
            last = word;
        }
        put(out, self.groups.len());
        put(out, self.columns.len());
        for column in &self.columns {
            out.extend_from_slice(&column.head);
            match &column.role {
                Role::Number(_) => put(out, 0),
                Role::Text { group, shapes, .. } => {
                    put(out, group + 1);
                    put(out, shapes.len() - LEARNED as usize);
                    for shape in &shapes[LEARNED as usize..] {
                        put(out, shape.parts.len());
                        shape.parts.iter().for_each(|part| encode_part(part, &self.arena, out));
                    }
                }
            }
        }
        put(out, self.order.map_or(0, |column| column + 1));
        for group in &self.groups {
            put(out, group.len());
            // Member by member: the shapes of one column are alike.
            for member in 0..group.members.len() {
                for shape in group.shapes.iter().skip(member).step_by(group.members.len()) {
                    varint::put_u64(out, u64::from(*shape));
                }
            }
        }
    }

    /// The dictionary that these bytes are.
    pub fn decode(mut bytes: &[u8]) -> Result<Dictionary, Fault> {
        let len = take_between(&mut bytes, 0, MEMORY_BYTES_MAX as u64)? as usize;
        let mut unpacked = Vec::new();
        let mut plain = match take_u8(&mut bytes)? {
            0 => take(&mut bytes, len)?,
            1 => {
                zstd::decode(&mut bytes, len, &mut unpacked)?;
                &unpacked[..]
            }
            found => return Err(Fault::Tag { found }),
        };
        finish(bytes)?;
        let dictionary = Dictionary::decode_plain(&mut plain)?;
        finish(plain)?;
        Ok(dictionary)
    }

    fn decode_plain(bytes: &mut &[u8]) -> Result<Dictionary, Fault> {
        let mut dictionary = Dictionary::default();
        let words = take_count(bytes, MEMORY_BYTES_MAX)?;
        let mut last = Vec::new();
        for i in 0..words {
            let shared = take_between(bytes, 0, last.len() as u64)? as usize;
            let rest = take_text(bytes)?;
            if rest <= &last[shared..] && i > 0 {
                return Err(Fault::Order { previous: i as u64 - 1, found: i as u64 });
            }
            last.truncate(shared);
            last.extend_from_slice(rest);
            dictionary.words.push(&last);
            if dictionary.words.arena.len() > MEMORY_BYTES_MAX {
                return Err(Fault::Limit {
                    needed: dictionary.words.arena.len() as u64,
                    limit: MEMORY_BYTES_MAX as u64,
                });
            }
        }
        dictionary.word_bits = word_bits(words);
        let groups = take_between(bytes, 0, GROUPS_MAX as u64)? as usize;
        dictionary.groups = vec![Group::default(); groups];
        let columns = take_count(bytes, COLUMNS_MAX)?;
        for c in 0..columns {
            let column = dictionary.decode_column(c, bytes)?;
            if let Some(last) = dictionary.columns.last()
                && last.name() >= column.name()
            {
                return Err(Fault::Order { previous: c as u64, found: c as u64 });
            }
            dictionary.columns.push(column);
        }
        dictionary.order = (take_between(bytes, 0, columns as u64)? as usize).checked_sub(1);
        for g in 0..groups {
            let members = dictionary.groups[g].members.clone();
            if members.is_empty() {
                return Err(Fault::Length { needed: 1, found: 0 });
            }
            let entries = take_count(bytes, ENTRIES_MAX)?;
            // Every shape of every entry is at least a byte.
            if entries.saturating_mul(members.len()) > bytes.len() {
                return Err(Fault::Length { needed: (entries * members.len()) as u64, found: bytes.len() as u64 });
            }
            let mut shapes = vec![0; entries * members.len()];
            for (member, &column) in members.iter().enumerate() {
                let max = dictionary.shapes(column).len() as u64 - 1;
                for entry in 0..entries {
                    shapes[entry * members.len() + member] = take_between(bytes, 0, max)? as u32;
                }
            }
            dictionary.groups[g].shapes = shapes;
        }
        dictionary.settle();
        Ok(dictionary)
    }

    fn decode_column(&mut self, c: usize, bytes: &mut &[u8]) -> Result<Column, Fault> {
        let before = *bytes;
        let name = take_text(bytes)?;
        if name.len() > NAME_BYTES_MAX {
            return Err(Fault::Range { found: name.len() as u64, min: 0, max: NAME_BYTES_MAX as u64 });
        }
        let head: Box<[u8]> = before[..before.len() - bytes.len()].into();
        let group = take_between(bytes, 0, self.groups.len() as u64)? as usize;
        let Some(group) = group.checked_sub(1) else {
            if self.numbers == NUMBERS_MAX {
                return Err(Fault::Range { found: NUMBERS_MAX as u64 + 1, min: 0, max: NUMBERS_MAX as u64 });
            }
            self.numbers += 1;
            let head_piece = self.arena.push(&head);
            return Ok(Column { head, head_piece, role: Role::Number(self.numbers - 1) });
        };
        let mut shapes = Shape::given();
        // Every shape has its column's name in memory.
        let known: usize = self.columns.iter().enumerate().map(|(c, _)| self.shapes(c).len()).sum();
        let shapes_max = (SHAPES_MAX + LEARNED as usize * COLUMNS_MAX).saturating_sub(known);
        for _ in 0..take_count(bytes, shapes_max)? {
            let count = take_count(bytes, MEMORY_BYTES_MAX)?;
            // A reader adds up widths in 32 bits.
            if count > PARTS_MAX {
                return Err(Fault::Range { found: count as u64, min: 0, max: PARTS_MAX as u64 });
            }
            if count == 1 && bytes.first() == Some(&LITERAL) {
                take_u8(bytes)?;
                let text = take_text(bytes)?;
                shapes.push(Shape::constant(&head, text, &mut self.arena));
                continue;
            }
            let mut parts = Vec::with_capacity(count);
            for _ in 0..count {
                parts.push(self.decode_part(bytes)?);
            }
            shapes.push(Shape::new(parts, self.word_bits));
        }
        self.groups[group].members.push(c);
        let head_piece = self.arena.push(&head);
        Ok(Column {
            head,
            head_piece,
            role: Role::Text { group, member: self.groups[group].members.len() - 1, shapes },
        })
    }

    fn decode_part(&mut self, bytes: &mut &[u8]) -> Result<Part, Fault> {
        let slot = match take_u8(bytes)? {
            LITERAL => {
                let text = take_text(bytes)?;
                return Ok(Part::Literal(self.arena.push(text)));
            }
            1 => Slot::Number { base: varint::take_u64(bytes)?, width: take_width(bytes)? },
            2 => Slot::Padded {
                digits: take_between(bytes, 1, DIGITS_MAX as u64)? as u8,
                base: varint::take_u64(bytes)?,
                width: take_width(bytes)?,
            },
            3 => {
                let width = take_width(bytes)?;
                let count = take_count(bytes, self.words.len())?;
                let mut words = Vec::new();
                for _ in 0..count {
                    let max = (self.words.len() as u64).saturating_sub(1);
                    words.push(take_between(bytes, 0, max)? as u32);
                }
                Slot::Few { words: words.into(), width }
            }
            4 => Slot::Word,
            5 => {
                let found = take_u8(bytes)?;
                let alphabet = *Alphabet::ALL.get(usize::from(found)).ok_or(Fault::Tag { found })?;
                Slot::Mixed { alphabet, len: take_u8(bytes)? }
            }
            6 => Slot::Uuid,
            7 => Slot::Own,
            found => return Err(Fault::Tag { found }),
        };
        Ok(Part::Slot(slot))
    }
}

/// Makes a text of columns in canonical form, side by side; false if some have slots, or that is too long.
fn put_constants(columns: &[Column], shapes: &[u32], arena: &Arena, text: &mut Vec<u8>) -> bool {
    text.clear();
    columns.iter().zip(shapes).all(|(column, &shape)| {
        let constant = column.shapes()[shape as usize].constant.map(|constant| arena.get(constant));
        let fitting = constant.filter(|constant| text.len() + constant.len() <= READY_TEXT_BYTES_MAX);
        fitting.map(|constant| text.extend_from_slice(constant)).is_some()
    })
}

fn encode_part(part: &Part, arena: &Arena, out: &mut Vec<u8>) {
    match part {
        Part::Literal(piece) => {
            let text = arena.get(*piece);
            out.push(LITERAL);
            varint::put_u64(out, text.len() as u64);
            out.extend_from_slice(text);
        }
        Part::Slot(Slot::Number { base, width }) => {
            out.push(1);
            varint::put_u64(out, *base);
            out.push(*width);
        }
        Part::Slot(Slot::Padded { digits, base, width }) => {
            out.extend([2, *digits]);
            varint::put_u64(out, *base);
            out.push(*width);
        }
        Part::Slot(Slot::Few { words, width }) => {
            out.extend([3, *width]);
            varint::put_u64(out, words.len() as u64);
            words.iter().for_each(|word| varint::put_u64(out, u64::from(*word)));
        }
        Part::Slot(Slot::Word) => out.push(4),
        Part::Slot(Slot::Mixed { alphabet, len }) => out.extend([5, *alphabet as u8, *len]),
        Part::Slot(Slot::Uuid) => out.push(6),
        Part::Slot(Slot::Own) => out.push(7),
    }
}

/// A number of things each of which takes at least a byte of what follows.
fn take_count(bytes: &mut &[u8], max: usize) -> Result<usize, Fault> {
    let count = take_between(bytes, 0, max as u64)?;
    if count > bytes.len() as u64 {
        return Err(Fault::Length { needed: count, found: bytes.len() as u64 });
    }
    Ok(count as usize)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], Fault> {
    let len = varint::take_u64(bytes)?;
    take(bytes, usize::try_from(len).unwrap_or(usize::MAX))
}

fn take_width(bytes: &mut &[u8]) -> Result<u8, Fault> {
    take_between(bytes, 0, 60).map(|width| width as u8)
}

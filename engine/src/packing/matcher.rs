//! Finds the shape of a text: the learned shapes of a column as a tree of their tokens.
//!
//! Invariants:
//! - What is found is exact: the shape with the slots that were put gives the text, byte for byte.
//! - Finding tries no more than a bounded number of ways, whatever the text.

use super::arena::Arena;
use super::dictionary::{LEARNED, Part, Shape, Slot, Words};
use super::tokens::{Class, TEXT_BYTES_MAX, parse_digits, parse_padded, take_class};
use crate::codec::bits;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::Hasher;

/// The width that stands for that of the block's own texts.
pub(super) const OWN_WIDTH: u8 = u8::MAX;
/// So many steps are taken at most.
const STEPS_MAX: u32 = 4 * super::tokens::TOKENS_MAX as u32;

/// The own texts of a block: each once, unless two have the same hash.
#[derive(Default)]
pub(super) struct OwnTexts {
    pub(super) bytes: Vec<u8>,
    pub(super) ends: Vec<u64>,
    by_hash: FxHashMap<u64, u32>,
}

impl OwnTexts {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.by_hash.clear();
    }

    pub(super) fn add(&mut self, text: &[u8]) -> u64 {
        let next = self.ends.len() as u32;
        let known = *self.by_hash.entry(hash(text)).or_insert(next) as usize;
        if known < self.ends.len() {
            let start = if known == 0 { 0 } else { self.ends[known - 1] as usize };
            if self.bytes[start..self.ends[known] as usize] == *text {
                return known as u64;
            }
        }
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len() as u64);
        u64::from(next)
    }
}

pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

/// The numbers of the dictionary's words.
pub(super) struct WordNumbers(FxHashMap<Box<[u8]>, u32>);

impl WordNumbers {
    pub(super) fn new(words: &Words) -> WordNumbers {
        WordNumbers((0..words.len()).filter_map(|i| Some((words.get(i)?.into(), i as u32))).collect())
    }
}

#[derive(Default)]
struct Node {
    /// What may follow as it is, no two with the same first byte, sorted by it.
    literals: Vec<(Box<[u8]>, u32)>,
    slots: Vec<(Class, u32)>,
    /// Shapes that end here, the narrowest first.
    ends: Vec<u32>,
}

/// The shapes of one column.
pub(super) struct Matcher {
    constants: FxHashMap<Box<[u8]>, u32>,
    nodes: Vec<Node>,
    /// The slots of each shape.
    slots: Vec<Vec<Slot>>,
}

/// The bits of a row's record: values and their widths.
pub(super) type Fields = Vec<(u64, u8)>;

/// What every match needs to know.
pub(super) struct Context<'a> {
    pub(super) words: &'a Words,
    pub(super) numbers: &'a WordNumbers,
    pub(super) word_bits: u32,
}

/// A text that is being matched.
struct Walk<'a> {
    text: &'a [u8],
    context: &'a Context<'a>,
    own: &'a mut OwnTexts,
    fields: &'a mut Fields,
    /// What stands in the slots so far.
    path: &'a mut Vec<(u32, u32)>,
    steps: u32,
}

impl Matcher {
    pub(super) fn new(shapes: &[Shape], arena: &Arena, words: &Words) -> Matcher {
        let mut matcher = Matcher {
            constants: FxHashMap::default(),
            nodes: vec![Node::default()],
            slots: vec![Vec::new(); shapes.len()],
        };
        for (number, shape) in shapes.iter().enumerate().skip(LEARNED as usize) {
            if let Some(text) = shape.text() {
                matcher.constants.insert(arena.get(text).into(), number as u32);
                continue;
            }
            let mut node = 0;
            for part in &shape.parts {
                match part {
                    Part::Literal(text) => node = matcher.literal(node, arena.get(*text)),
                    Part::Slot(slot) => {
                        node = matcher.slot(node, class(slot, words));
                        matcher.slots[number].push(slot.clone());
                    }
                }
            }
            matcher.nodes[node].ends.push(number as u32);
        }
        for node in &mut matcher.nodes {
            node.ends.sort_by_key(|&shape| shapes[shape as usize].bits);
        }
        matcher
    }

    fn node(&mut self) -> u32 {
        self.nodes.push(Node::default());
        (self.nodes.len() - 1) as u32
    }

    /// The node that a literal leads to.
    fn literal(&mut self, mut node: usize, mut text: &[u8]) -> usize {
        while let Some(&first) = text.first() {
            let at = match self.nodes[node].literals.binary_search_by_key(&first, |(known, _)| known[0]) {
                Ok(at) => at,
                Err(at) => {
                    let next = self.node();
                    self.nodes[node].literals.insert(at, (text.into(), next));
                    return next as usize;
                }
            };
            let (known, next) = self.nodes[node].literals[at].clone();
            let shared = known.iter().zip(text).take_while(|(a, b)| a == b).count();
            if shared < known.len() {
                let middle = self.node();
                self.nodes[middle as usize].literals.push((known[shared..].into(), next));
                self.nodes[node].literals[at] = (known[..shared].into(), middle);
            }
            node = self.nodes[node].literals[at].1 as usize;
            text = &text[shared..];
        }
        node
    }

    fn slot(&mut self, node: usize, class: Class) -> usize {
        if let Some((_, next)) = self.nodes[node].slots.iter().find(|(known, _)| *known == class) {
            return *next as usize;
        }
        let next = self.node();
        self.nodes[node].slots.push((class, next));
        next as usize
    }

    /// The shape of a text; the slots' values are appended to `fields`.
    #[inline]
    pub(super) fn find(
        &self,
        text: &[u8],
        context: &Context<'_>,
        path: &mut Vec<(u32, u32)>,
        own: &mut OwnTexts,
        fields: &mut Fields,
    ) -> Option<u32> {
        if let Some(shape) = self.constants.get(text) {
            return Some(*shape);
        }
        if self.nodes.len() == 1 || text.len() > TEXT_BYTES_MAX {
            return None;
        }
        path.clear();
        self.walk(0, 0, &mut Walk { text, context, own, fields, path, steps: 0 })
    }

    fn walk(&self, node: usize, at: usize, walk: &mut Walk<'_>) -> Option<u32> {
        walk.steps += 1;
        if walk.steps > STEPS_MAX {
            return None;
        }
        let node = &self.nodes[node];
        let rest = &walk.text[at..];
        let Some(&first) = rest.first() else {
            return self.end(node, walk);
        };
        let literal = match &node.literals[..] {
            [] => None,
            [literal] => Some(literal),
            many => many.binary_search_by_key(&first, |(known, _)| known[0]).ok().map(|at| &many[at]),
        };
        if let Some((known, next)) = literal
            && rest.starts_with(known)
            && let Some(shape) = self.walk(*next as usize, at + known.len(), walk)
        {
            return Some(shape);
        }
        for (class, next) in &node.slots {
            if let Some(len) = take_class(rest, *class) {
                walk.path.push((at as u32, (at + len) as u32));
                let found = self.walk(*next as usize, at + len, walk);
                if found.is_some() {
                    return found;
                }
                walk.path.pop();
            }
        }
        None
    }

    fn end(&self, node: &Node, walk: &mut Walk<'_>) -> Option<u32> {
        let start = walk.fields.len();
        for &shape in &node.ends {
            let fit = self.slots[shape as usize].iter().zip(walk.path.iter()).all(|(slot, &(from, to))| {
                put_slot(slot, &walk.text[from as usize..to as usize], walk.context, walk.own, walk.fields)
            });
            if fit {
                return Some(shape);
            }
            walk.fields.truncate(start);
        }
        None
    }
}

/// The class of the tokens that a slot takes.
fn class(slot: &Slot, words: &Words) -> Class {
    match slot {
        Slot::Number { .. } => Class::Digits,
        Slot::Padded { digits, .. } => Class::Padded(*digits),
        Slot::Mixed { alphabet, len } => Class::Mixed(*alphabet, *len),
        Slot::Uuid => Class::Uuid,
        Slot::Word | Slot::Own => Class::Letters,
        Slot::Few { words: few, .. } => {
            let first = few.first().and_then(|word| words.get(*word as usize)).unwrap_or_default();
            if parse_digits(first).is_some() { Class::Digits } else { Class::Letters }
        }
    }
}

/// Appends what a slot says of a token; `false` if the token does not fit.
fn put_slot(slot: &Slot, token: &[u8], context: &Context<'_>, own: &mut OwnTexts, fields: &mut Fields) -> bool {
    let fitting = |value: Option<u64>, base: u64, width: u8| {
        let value = value?.checked_sub(base)?;
        (value <= bits::mask(u32::from(width))).then_some(value)
    };
    let listed = |known: Option<u32>, len: usize, width: u32, own: &mut OwnTexts| match known {
        Some(word) => Some(u64::from(word)),
        None if own.ends.len() as u64 + (len as u64) < bits::mask(width) => Some(len as u64 + own.add(token)),
        None => None,
    };
    let (value, width) = match slot {
        Slot::Number { base, width } => (fitting(parse_digits(token), *base, *width), *width),
        Slot::Padded { digits, base, width } if token.len() == usize::from(*digits) => {
            (fitting(parse_padded(token), *base, *width), *width)
        }
        Slot::Few { words: few, width } => {
            let word = |word: &u32| context.words.get(*word as usize).unwrap_or_default();
            let known = few.binary_search_by(|known| word(known).cmp(token)).ok();
            (listed(known.map(|at| at as u32), few.len(), u32::from(*width), own), *width)
        }
        Slot::Word => {
            let known = context.numbers.0.get(token).copied();
            (listed(known, context.words.len(), context.word_bits, own), context.word_bits as u8)
        }
        Slot::Mixed { alphabet, len } if token.len() == usize::from(*len) => {
            let bits = alphabet.bits();
            for piece in token.chunks(60 / bits as usize) {
                let value = piece.iter().rev().fold(0, |value, &byte| value << bits | u64::from(alphabet.number(byte)));
                fields.push((value, (piece.len() * bits as usize) as u8));
            }
            return true;
        }
        Slot::Uuid => {
            let (mut value, mut filled) = (0u64, 0);
            for &byte in token.iter().filter(|byte| **byte != b'-') {
                value |= u64::from(super::tokens::Alphabet::HexLower.number(byte)) << filled;
                filled += 4;
                if filled == 64 {
                    fields.push((value, 64));
                    (value, filled) = (0, 0);
                }
            }
            return true;
        }
        Slot::Own => {
            fields.push((own.add(token), OWN_WIDTH));
            return true;
        }
        _ => (None, 0),
    };
    match value {
        Some(value) => {
            fields.push((value, width));
            true
        }
        None => false,
    }
}

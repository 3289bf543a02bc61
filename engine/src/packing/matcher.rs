//! Finds the shape of a text: the learned shapes of a column as a tree of their tokens.
//!
//! Invariants:
//! - What is found is exact: the shape with the slots that were put gives the text, byte for byte.
//! - Finding tries no more than a bounded number of ways, whatever the text.

use super::dictionary::{LEARNED, Part, Shape, Slot, Words};
use super::tokens::{Class, Token, parse_digits, parse_padded, tokenize};
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
    /// Sorted by text.
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

/// Space that is used again from text to text.
#[derive(Default)]
pub(super) struct Scratch {
    tokens: Vec<Token>,
    path: Vec<u32>,
}

/// The bits of a row's record: values and their widths.
pub(super) type Fields = Vec<(u64, u8)>;

/// What every match needs to know.
pub(super) struct Context<'a> {
    pub(super) words: &'a Words,
    pub(super) numbers: &'a WordNumbers,
    pub(super) word_bits: u32,
}

impl Matcher {
    pub(super) fn new(shapes: &[Shape], words: &Words) -> Matcher {
        let mut matcher = Matcher {
            constants: FxHashMap::default(),
            nodes: vec![Node::default()],
            slots: vec![Vec::new(); shapes.len()],
        };
        let mut tokens = Vec::new();
        for (number, shape) in shapes.iter().enumerate().skip(LEARNED as usize) {
            if shape.constant.is_some() {
                let text = match &shape.parts[..] {
                    [Part::Literal(text)] => text.clone(),
                    _ => Box::default(),
                };
                matcher.constants.insert(text, number as u32);
                continue;
            }
            let mut node = 0;
            for part in &shape.parts {
                match part {
                    Part::Literal(text) => {
                        if tokenize(text, &mut tokens) {
                            for token in &tokens {
                                node = matcher.literal(node, token.of(text));
                            }
                        }
                    }
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

    fn literal(&mut self, node: usize, text: &[u8]) -> usize {
        let next = self.nodes.len();
        match self.nodes[node].literals.binary_search_by(|(known, _)| (**known).cmp(text)) {
            Ok(at) => self.nodes[node].literals[at].1 as usize,
            Err(at) => {
                self.nodes[node].literals.insert(at, (text.into(), next as u32));
                self.nodes.push(Node::default());
                next
            }
        }
    }

    fn slot(&mut self, node: usize, class: Class) -> usize {
        let next = self.nodes.len();
        match self.nodes[node].slots.iter().find(|(known, _)| *known == class) {
            Some((_, node)) => *node as usize,
            None => {
                self.nodes[node].slots.push((class, next as u32));
                self.nodes.push(Node::default());
                next
            }
        }
    }

    /// The shape of a text; the slots' values are appended to `fields`.
    #[inline]
    pub(super) fn find(
        &self,
        text: &[u8],
        context: &Context<'_>,
        scratch: &mut Scratch,
        own: &mut OwnTexts,
        fields: &mut Fields,
    ) -> Option<u32> {
        if let Some(shape) = self.constants.get(text) {
            return Some(*shape);
        }
        if self.nodes.len() == 1 || !tokenize(text, &mut scratch.tokens) {
            return None;
        }
        scratch.path.clear();
        let mut steps = 0;
        self.walk(0, 0, text, context, scratch, own, fields, &mut steps)
    }

    #[expect(clippy::too_many_arguments, reason = "a recursion hands on what it was given")]
    fn walk(
        &self,
        node: usize,
        at: usize,
        text: &[u8],
        context: &Context<'_>,
        scratch: &mut Scratch,
        own: &mut OwnTexts,
        fields: &mut Fields,
        steps: &mut u32,
    ) -> Option<u32> {
        *steps += 1;
        if *steps > STEPS_MAX {
            return None;
        }
        let node = &self.nodes[node];
        let Some(token) = scratch.tokens.get(at).copied() else {
            return self.end(node, text, context, scratch, own, fields);
        };
        let bytes = token.of(text);
        let literal = match &node.literals[..] {
            [] => None,
            [(known, next)] => (**known == *bytes).then_some(*next),
            many => many.binary_search_by(|(known, _)| (**known).cmp(bytes)).ok().map(|at| many[at].1),
        };
        if let Some(next) = literal
            && let Some(shape) = self.walk(next as usize, at + 1, text, context, scratch, own, fields, steps)
        {
            return Some(shape);
        }
        for (class, next) in &node.slots {
            let fits =
                *class == token.class || (token.class == Class::Digits && *class == Class::Padded(bytes.len() as u8));
            if fits {
                scratch.path.push(at as u32);
                let found = self.walk(*next as usize, at + 1, text, context, scratch, own, fields, steps);
                if found.is_some() {
                    return found;
                }
                scratch.path.pop();
            }
        }
        None
    }

    fn end(
        &self,
        node: &Node,
        text: &[u8],
        context: &Context<'_>,
        scratch: &Scratch,
        own: &mut OwnTexts,
        fields: &mut Fields,
    ) -> Option<u32> {
        let start = fields.len();
        for &shape in &node.ends {
            let slots = self.slots[shape as usize].iter();
            let fit = slots
                .zip(&scratch.path)
                .all(|(slot, &token)| put_slot(slot, scratch.tokens[token as usize].of(text), context, own, fields));
            if fit {
                return Some(shape);
            }
            fields.truncate(start);
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

//! The shapes of a column, grown from its texts: token by token, texts that go on alike stay together.
//!
//! A token stays as it is where the texts that have it are many; elsewhere tokens of one class become a slot, and
//! what follows is common to them all.
//!
//! Invariants:
//! - Every text is in at most one draft, and a draft that has it can say it.

use super::dictionary::Slot;
use super::tokens::{Class, Token, parse_digits, parse_padded, tokenize};
use crate::codec::bits;
use rustc_hash::FxHashMap;

/// A column whose texts each occur so often, and which has no more, is kept by whole texts.
const WHOLE_ROWS_MIN: u64 = 8;
const WHOLE_TEXTS_MAX: usize = 4096;
/// A token of fewer rows does not stay where it is not alone.
const ROWS_MIN: u64 = 16;
/// A token of this share of the rows stays.
const SHARE: u64 = 16;
/// A slot of fewer different tokens lists them, if each occurs so often.
const FEW_MAX: usize = 256;
const FEW_ROWS_MIN: u64 = 8;

/// A slot that does not know the words' numbers yet.
#[derive(Debug)]
pub(super) enum DraftSlot<'a> {
    Exact(Slot),
    /// Ascending.
    Few(Vec<&'a [u8]>),
    /// Words and their rows.
    Words(Vec<(&'a [u8], u64)>),
}

#[derive(Debug)]
pub(super) enum DraftPart<'a> {
    Literal(Vec<u8>),
    Slot(DraftSlot<'a>),
}

/// A shape, and the texts that have it.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    pub(super) parts: Vec<DraftPart<'a>>,
    pub(super) texts: Vec<u32>,
    pub(super) rows: u64,
}

impl Draft<'_> {
    /// No fewer bytes than it takes in a dictionary.
    pub(super) fn bytes(&self) -> usize {
        let of_part = |part: &DraftPart<'_>| match part {
            DraftPart::Literal(text) => 4 + text.len(),
            DraftPart::Slot(DraftSlot::Few(words)) => 4 + 3 * words.len(),
            DraftPart::Slot(_) => 12,
        };
        2 + self.parts.iter().map(of_part).sum::<usize>()
    }
}

/// What a path of the tree says of one token.
#[derive(Clone, Copy)]
enum Step {
    Stays,
    Slot(Class),
}

struct Grower<'a> {
    texts: &'a [(&'a [u8], u32)],
    tokens: Vec<Token>,
    /// Of each text the range of its tokens.
    ranges: Vec<(u32, u32)>,
    /// Of each token a hash of the classes of what follows it.
    rests: Vec<u64>,
    drafts: Vec<Draft<'a>>,
}

/// The shapes of texts, of each of which so many rows are known.
pub(super) fn shapes<'a>(texts: &'a [(&'a [u8], u32)]) -> Vec<Draft<'a>> {
    let rows: u64 = texts.iter().map(|(_, count)| u64::from(*count)).sum();
    if texts.len() <= WHOLE_TEXTS_MAX && rows >= WHOLE_ROWS_MIN * texts.len() as u64 {
        let literal = |text: &[u8]| if text.is_empty() { vec![] } else { vec![DraftPart::Literal(text.to_vec())] };
        let often = texts.iter().enumerate().filter(|(_, (text, count))| *count > 1 && text.len() <= 1 << 12);
        return often
            .map(|(i, (text, count))| Draft { parts: literal(text), texts: vec![i as u32], rows: u64::from(*count) })
            .collect();
    }
    let mut grower = Grower { texts, tokens: Vec::new(), ranges: Vec::new(), rests: Vec::new(), drafts: Vec::new() };
    let mut tokens = Vec::new();
    let mut members = Vec::new();
    for (i, (text, _)) in texts.iter().enumerate() {
        let start = grower.tokens.len() as u32;
        if tokenize(text, &mut tokens) {
            grower.tokens.extend_from_slice(&tokens);
            grower.rests.resize(grower.tokens.len(), 0);
            let mut rest = 0u64;
            for (at, token) in tokens.iter().enumerate().rev() {
                grower.rests[start as usize + at] = rest;
                let what = match token.class {
                    Class::Between => super::matcher::hash(token.of(text)),
                    Class::Digits | Class::Padded(_) => 1,
                    Class::Letters => 2,
                    Class::Mixed(..) => 3,
                    Class::Uuid => 4,
                };
                rest = (rest.rotate_left(7) ^ what).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
            members.push(i as u32);
        }
        grower.ranges.push((start, grower.tokens.len() as u32));
    }
    grower.grow(members, 0, &mut Vec::new());
    grower.drafts
}

/// What is known of the texts that have one token at a place.
#[derive(Default)]
struct Branch {
    texts: Vec<u32>,
    rows: u64,
    rests: FxHashMap<u64, u64>,
}

impl<'a> Grower<'a> {
    fn token(&self, text: u32, at: usize) -> Option<(Token, &'a [u8], u64)> {
        let (start, end) = self.ranges[text as usize];
        let place = start as usize + at;
        if place >= end as usize {
            return None;
        }
        let token = self.tokens[place];
        Some((token, token.of(self.texts[text as usize].0), self.rests[place]))
    }

    fn rows(&self, texts: &[u32]) -> u64 {
        texts.iter().map(|text| u64::from(self.texts[*text as usize].1)).sum()
    }

    fn grow(&mut self, texts: Vec<u32>, at: usize, path: &mut Vec<Step>) {
        let mut ended = Vec::new();
        let mut classes: Vec<(Class, FxHashMap<&'a [u8], Branch>)> = Vec::new();
        for text in texts {
            let Some((token, bytes, rest)) = self.token(text, at) else {
                ended.push(text);
                continue;
            };
            let rows = u64::from(self.texts[text as usize].1);
            let class = match classes.iter().position(|(class, _)| *class == token.class) {
                Some(class) => class,
                None => {
                    classes.push((token.class, FxHashMap::default()));
                    classes.len() - 1
                }
            };
            let branch = classes[class].1.entry(bytes).or_default();
            branch.texts.push(text);
            branch.rows += rows;
            *branch.rests.entry(rest).or_default() += rows;
        }
        if !ended.is_empty() {
            self.end(ended, path);
        }
        // Decimals as long as padded ones are padded ones without zeros to see.
        let padded: Vec<Class> = classes.iter().map(|(class, _)| *class).collect();
        for class in padded {
            let Class::Padded(digits) = class else {
                continue;
            };
            let mut moved = Vec::new();
            if let Some((_, branches)) = classes.iter_mut().find(|(class, _)| *class == Class::Digits) {
                moved.extend(branches.extract_if(|bytes, _| bytes.len() == usize::from(digits)));
            }
            if let Some((_, branches)) = classes.iter_mut().find(|(known, _)| *known == class) {
                branches.extend(moved);
            }
        }
        for (class, branches) in classes {
            let mut branches: Vec<(&[u8], Branch)> = branches.into_iter().collect();
            branches.sort_unstable_by_key(|(bytes, _)| *bytes);
            let rows: u64 = branches.iter().map(|(_, branch)| branch.rows).sum();
            let telling = class == Class::Letters && is_telling(&branches, rows);
            let alone = branches.len() == 1;
            let mut slot = Vec::new();
            for (_, branch) in branches {
                let stays = match class {
                    Class::Between => true,
                    _ if alone => true,
                    Class::Digits | Class::Padded(_) => branch.rows * 2 > rows && branch.rows >= ROWS_MIN,
                    _ => branch.rows >= ROWS_MIN && (telling || branch.rows * SHARE >= rows),
                };
                if stays {
                    path.push(Step::Stays);
                    self.grow(branch.texts, at + 1, path);
                    path.pop();
                } else {
                    slot.extend(branch.texts);
                }
            }
            if !slot.is_empty() {
                path.push(Step::Slot(class));
                self.grow(slot, at + 1, path);
                path.pop();
            }
        }
    }

    /// The shapes of texts that went the same way.
    fn end(&mut self, texts: Vec<u32>, path: &[Step]) {
        let rows = self.rows(&texts);
        if rows < 2 {
            return;
        }
        let mut narrow: Vec<DraftPart<'a>> = Vec::new();
        let mut wide: Vec<DraftPart<'a>> = Vec::new();
        let mut is_narrowed = false;
        for (at, step) in path.iter().enumerate() {
            let tokens = || {
                texts.iter().filter_map(|text| {
                    let rows = u64::from(self.texts[*text as usize].1);
                    self.token(*text, at).map(|(_, bytes, _)| (bytes, rows))
                })
            };
            match step {
                Step::Stays => {
                    let Some((bytes, _)) = tokens().next() else {
                        return;
                    };
                    for parts in [&mut narrow, &mut wide] {
                        match parts.last_mut() {
                            Some(DraftPart::Literal(text)) => text.extend_from_slice(bytes),
                            _ => parts.push(DraftPart::Literal(bytes.to_vec())),
                        }
                    }
                }
                Step::Slot(class) => {
                    let (of_narrow, of_wide) = slots(*class, tokens().collect());
                    is_narrowed |= of_wide.is_some();
                    let again = || slots(*class, tokens().collect()).0;
                    wide.push(DraftPart::Slot(of_wide.unwrap_or_else(again)));
                    narrow.push(DraftPart::Slot(of_narrow));
                }
            }
        }
        if !is_narrowed {
            self.drafts.push(Draft { parts: narrow, texts, rows });
            return;
        }
        let (mut in_narrow, mut in_wide) = (Vec::new(), Vec::new());
        for text in texts {
            let slots = narrow_slots(&narrow);
            let places = path.iter().enumerate().filter(|(_, step)| matches!(step, Step::Slot(_)));
            let fits = places
                .zip(slots)
                .all(|((at, _), slot)| self.token(text, at).is_some_and(|(_, bytes, _)| fits(slot, bytes)));
            if fits { in_narrow.push(text) } else { in_wide.push(text) }
        }
        let rows = self.rows(&in_narrow);
        self.drafts.push(Draft { parts: narrow, texts: in_narrow, rows });
        let rows = self.rows(&in_wide);
        self.drafts.push(Draft { parts: wide, texts: in_wide, rows });
    }
}

fn narrow_slots<'b, 'a>(parts: &'b [DraftPart<'a>]) -> impl Iterator<Item = &'b DraftSlot<'a>> {
    parts.iter().filter_map(|part| match part {
        DraftPart::Slot(slot) => Some(slot),
        DraftPart::Literal(_) => None,
    })
}

fn fits(slot: &DraftSlot<'_>, token: &[u8]) -> bool {
    let within = |value: Option<u64>, base: u64, width: u8| {
        value.and_then(|value| value.checked_sub(base)).is_some_and(|value| value <= bits::mask(u32::from(width)))
    };
    match slot {
        DraftSlot::Exact(Slot::Number { base, width }) => within(parse_digits(token), *base, *width),
        DraftSlot::Exact(Slot::Padded { base, width, .. }) => within(parse_padded(token), *base, *width),
        DraftSlot::Few(words) => words.binary_search(&token).is_ok(),
        _ => true,
    }
}

/// Whether what follows depends on the word: then words are not each other's like.
fn is_telling(branches: &[(&[u8], Branch)], rows: u64) -> bool {
    let mut all: FxHashMap<u64, u64> = FxHashMap::default();
    let mut within = 0;
    for (_, branch) in branches {
        branch.rests.iter().for_each(|(rest, rows)| *all.entry(*rest).or_default() += rows);
        within += branch.rests.values().copied().max().unwrap_or(0);
    }
    let overall = all.values().copied().max().unwrap_or(0);
    (within - overall) * 4 > rows
}

/// The slot that takes tokens of one class, and a wider one if it leaves some out.
fn slots<'a>(class: Class, mut tokens: Vec<(&'a [u8], u64)>) -> (DraftSlot<'a>, Option<DraftSlot<'a>>) {
    let rows: u64 = tokens.iter().map(|(_, rows)| *rows).sum();
    tokens.sort_unstable();
    tokens.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
    let is_few = tokens.len() <= FEW_MAX && rows >= FEW_ROWS_MIN * tokens.len() as u64;
    let few_bits = bits::width_of(tokens.len() as u64 - 1);
    let few = |tokens: &[(&'a [u8], u64)]| DraftSlot::Few(tokens.iter().map(|(bytes, _)| *bytes).collect());
    match class {
        Class::Digits | Class::Padded(_) => {
            let mut values: Vec<(u64, u64)> =
                tokens.iter().filter_map(|(bytes, rows)| Some((parse_padded(bytes)?, *rows))).collect();
            values.sort_unstable();
            let slot = |base: u64, width: u32| {
                DraftSlot::Exact(match class {
                    Class::Padded(digits) => Slot::Padded { digits, base, width: width as u8 },
                    _ => Slot::Number { base, width: width as u8 },
                })
            };
            let (least, most) = (values[0].0, values[values.len() - 1].0);
            let width = bits::width_of(most - least);
            // What the sample does not reach is likelier above than below.
            let whole = |least: u64, width: u32, most: u64| {
                let spare = bits::mask(width) - (most - least);
                slot(least.saturating_sub(spare / 4), width)
            };
            if is_few && class == Class::Digits && few_bits + 2 <= width {
                return (few(&tokens), Some(slot(0, bits::width_of(most) + 1)));
            }
            // A hundredth of the rows may be left out on either side, if that makes the slot narrower.
            let (mut low, mut high) = (0, values.len() - 1);
            let (mut below, mut above) = (values[low].1, values[high].1);
            while low < high && below * 128 <= rows {
                low += 1;
                below += values[low].1;
            }
            while high > low && above * 128 <= rows {
                high -= 1;
                above += values[high].1;
            }
            let (low, high) = (values[low].0, values[high].0);
            let narrow = bits::width_of(high - low);
            if narrow + 2 <= width {
                (whole(low, narrow, high), Some(slot(0, (bits::width_of(most) + 1).min(60))))
            } else {
                (whole(least, width, most), None)
            }
        }
        Class::Mixed(alphabet, len) => (DraftSlot::Exact(Slot::Mixed { alphabet, len }), None),
        Class::Uuid => (DraftSlot::Exact(Slot::Uuid), None),
        Class::Letters | Class::Between => {
            if is_few && tokens.iter().all(|(bytes, _)| bytes.len() <= 64) {
                (few(&tokens), None)
            } else {
                (DraftSlot::Words(tokens), None)
            }
        }
    }
}

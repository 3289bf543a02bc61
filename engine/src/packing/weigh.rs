//! How much of a block each column takes.
//!
//! Numbers, slots and own texts are of one column each. The codes of a group are of all its columns: each has as much of them
//! as its shapes would take if they were written by themselves. Heads, and where records begin, are of none.

use super::block::{Block, Section, listed};
use super::cells::Cells;
use super::dictionary::{Dictionary, Part, Role, Slot, Width};
use super::{Looks, dictionary};
use crate::codec::Fault;
use crate::fact::Name;
use std::collections::BTreeMap;

/// What a column of some rows takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ColumnWeight {
    /// How many rows have it.
    pub rows: u64,
    /// The bytes of their texts.
    pub text_bytes: u64,
    /// The bits that these take where they are stored.
    pub bits: u64,
}

/// The same of many columns.
pub type ColumnWeights = BTreeMap<Name, ColumnWeight>;

/// What is counted of a column of a block.
#[derive(Clone, Copy, Default)]
struct Tally {
    weight: ColumnWeight,
    /// The bytes of the block's own texts that are of the column.
    own_bytes: u64,
}

/// The columns of a block: those that the dictionary knows, and others.
struct Tallies<'d> {
    dictionary: &'d Dictionary,
    known: Vec<Tally>,
    others: BTreeMap<Name, Tally>,
}

impl Tallies<'_> {
    fn of(&mut self, name: &[u8]) -> &mut Tally {
        match self.dictionary.column(name) {
            Some(column) => &mut self.known[column],
            None => self.others.entry(Name::from(name)).or_default(),
        }
    }

    /// Adds all to what there is, with their shares of the own texts, which take so many bits together.
    fn add_to(self, weights: &mut ColumnWeights, own_bits: u64) {
        let names = self.dictionary.columns().map(Name::from);
        let all: Vec<(Name, Tally)> = names.zip(self.known).chain(self.others).collect();
        let own_bytes = all.iter().map(|(_, tally)| tally.own_bytes).sum();
        for (name, Tally { weight, own_bytes: some }) in all {
            if weight != ColumnWeight::default() {
                let sum = weights.entry(name).or_default();
                sum.rows += weight.rows;
                sum.text_bytes += weight.text_bytes;
                sum.bits += weight.bits + share(own_bits, some, own_bytes);
            }
        }
    }
}

/// As much of a whole as some are of all, rounded down.
fn share(whole: u64, some: u64, all: u64) -> u64 {
    (u128::from(whole) * u128::from(some) / u128::from(all.max(1))) as u64
}

/// Adds what each column of a block of so many rows takes.
pub fn weigh(
    dictionary: &Dictionary,
    bytes: &[u8],
    rows: usize,
    looks: &Looks<'_>,
    weights: &mut ColumnWeights,
) -> Result<(), Fault> {
    let mut sections = Vec::new();
    let block = Block::open_telling(dictionary, bytes, rows, |section, left| sections.push((section, left)))?;
    let known = vec![Tally::default(); dictionary.columns.len()];
    let mut tallies = Tallies { dictionary, known, others: BTreeMap::new() };
    let of_number = |wanted: usize| {
        dictionary.columns.iter().position(|column| matches!(column.role, Role::Number(number) if number == wanted))
    };
    let mut left = bytes.len();
    for (section, after) in sections {
        let bits = 8 * (left - after) as u64;
        left = after;
        match section {
            Section::Shared => {}
            Section::Numbers(number) => {
                if let Some(column) = of_number(number) {
                    tallies.known[column].weight.bits += bits;
                }
            }
            Section::Codes(group) => {
                let dictionary::Group { members, own_fields, own_entry_bits, .. } = &dictionary.groups[group];
                for (&column, (_, width)) in members.iter().zip(own_fields) {
                    tallies.known[column].weight.bits += share(bits, u64::from(*width), *own_entry_bits as u64);
                }
            }
        }
    }
    let mut row = Vec::new();
    for i in 0..rows {
        row.clear();
        block.row(looks, i, &mut row)?;
        let is_whole = block.whole(i)?.is_some();
        for cell in Cells::new(&row) {
            let tally = tallies.of(cell.name);
            tally.weight.rows += 1;
            tally.weight.text_bytes += cell.text.len() as u64;
            if is_whole {
                tally.own_bytes += (cell.name.len() + cell.text.len()) as u64;
            }
        }
        if !is_whole {
            block.tally(i, &mut tallies.known)?;
        }
    }
    tallies.add_to(weights, 8 * left as u64);
    Ok(())
}

impl Block<'_> {
    /// Counts the record and the own texts of a row that is not kept whole.
    fn tally(&self, i: usize, known: &mut [Tally]) -> Result<(), Fault> {
        let entries = self.entries(i)?;
        for (g, (group, (entry, begin))) in self.dictionary.groups.iter().zip(&entries).enumerate() {
            let mut at = *begin;
            for (member, &column) in group.members.iter().enumerate() {
                let shape = &self.dictionary.shapes(column)[self.shape(g, entry, member, column)?];
                known[column].weight.bits += Width::of(shape).bits(self.own_bits) as u64;
                for part in &shape.parts {
                    let Part::Slot(slot) = part else { continue };
                    let width = slot.bits(self.dictionary.word_bits).unwrap_or(self.own_bits);
                    if let Some(own) = self.own_of(slot, at, width) {
                        known[column].own_bytes += self.own_text(own)?.len() as u64;
                    }
                    at = at.saturating_add(width as usize);
                }
            }
        }
        for (column, tally) in self.dictionary.columns.iter().zip(known) {
            if let Role::Number(number) = column.role
                && let Some(odd) = &self.column_of(number).odd
                && let Some(own) = listed(&odd.0, &odd.1, i)?.and_then(|text| text.checked_sub(1))
            {
                tally.own_bytes += self.own_text(own)?.len() as u64;
            }
        }
        Ok(())
    }

    /// The own text that stands in a slot whose field begins at a bit.
    fn own_of(&self, slot: &Slot, at: usize, width: u32) -> Option<u64> {
        let read = || crate::codec::packed::bits_at(self.bytes, at, width);
        match slot {
            Slot::Few { words, .. } => read().checked_sub(words.len() as u64),
            Slot::Word => read().checked_sub(self.dictionary.words.len() as u64),
            Slot::Own => Some(read()),
            Slot::Number { .. } | Slot::Padded { .. } | Slot::Mixed { .. } | Slot::Uuid => None,
        }
    }
}

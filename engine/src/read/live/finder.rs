//! Which groups have a value in what no index of a segment tells of: their tails, and those that were replayed.
//!
//! Invariants:
//! - No group that has the value is left out; one may be named that has another with the same hash, or had the value in a tail
//!   that is no more. Whoever asks compares the rows.
//! - Each row is noted once, as long as its tail stays.

use super::super::matching::{Address, is_number, is_odd_number};
use super::super::tail::Seen;
use crate::row::Row;
use rustc_hash::{FxHashMap, FxHasher};
use std::hash::{Hash, Hasher};

/// A finder that would name more groups than this, for all values together, finds nothing, and all that it could tell of is
/// read.
const NAMED_MAX: usize = 1 << 20;

/// Of one column the groups that have a value, by its hash, in order.
#[derive(Default)]
pub(super) struct Finder {
    groups: FxHashMap<u64, Vec<u32>>,
    /// Those with a number that is not written the shortest way.
    odd: Vec<u32>,
    /// How many groups are named, for all values together; beyond [`NAMED_MAX`] it has none.
    named: usize,
    /// Of which tail of each group how many versions were noted.
    noted: Vec<(u64, u32)>,
}

/// How a column's values are told apart: as what it says of a text.
enum Telling {
    By(u64),
    /// By comparing with each.
    Odd,
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// How a text of a column of addresses, or of others, is told.
fn telling(is_address: bool, text: &[u8]) -> Telling {
    match is_address.then(|| Address::parse(text)).flatten() {
        Some(address) => Telling::By(hash(&address.key())),
        None if !is_address && is_number(text) && is_odd_number(text) => Telling::Odd,
        None => Telling::By(hash(text)),
    }
}

impl Finder {
    /// Notes what a group's tail has of the column since it was noted last.
    pub(super) fn note_tail(&mut self, column: &[u8], is_address: bool, at: u32, tail: &Seen) {
        if self.noted.len() <= at as usize {
            self.noted.resize(at as usize + 1, (0, 0));
        }
        let (of, tail) = (tail.of(), tail.read());
        let (before, noted) = std::mem::replace(&mut self.noted[at as usize], (of, tail.born_len() as u32));
        let first = if before == of { noted as usize } else { 0 };
        self.note(column, is_address, at, tail.rows_from(first));
    }

    /// Notes what rows of a group have of the column.
    pub(super) fn note<'r>(
        &mut self,
        column: &[u8],
        is_address: bool,
        at: u32,
        rows: impl IntoIterator<Item = &'r Row>,
    ) {
        if self.is_full() {
            return;
        }
        for row in rows {
            let Some(text) = row.get(column) else { continue };
            let of = match telling(is_address, text) {
                Telling::By(hash) => self.groups.entry(hash).or_default(),
                Telling::Odd => &mut self.odd,
            };
            if let Err(place) = of.binary_search(&at) {
                of.insert(place, at);
                self.named += 1;
            }
            if self.is_full() {
                (self.groups, self.odd) = (FxHashMap::default(), Vec::new());
                return;
            }
        }
    }

    /// Whether it has no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.named > NAMED_MAX
    }

    /// The groups that may have a value; `None` if it cannot tell.
    pub(super) fn find(&self, is_address: bool, text: &[u8]) -> Option<Vec<u32>> {
        match telling(is_address, text) {
            Telling::By(hash) if !self.is_full() => {
                Some(self.groups.get(&hash).into_iter().flatten().chain(&self.odd).copied().collect())
            }
            _ => None,
        }
    }

    /// Gives groups other numbers, in the same order.
    pub(super) fn renumber(&mut self, numbers: &[u32]) {
        let number = |at: &mut u32| *at = numbers[*at as usize];
        self.groups.values_mut().flatten().chain(&mut self.odd).for_each(number);
        let noted = std::mem::take(&mut self.noted);
        for (&at, of) in numbers.iter().zip(noted) {
            self.noted.resize(at as usize, (0, 0));
            self.noted.push(of);
        }
    }
}

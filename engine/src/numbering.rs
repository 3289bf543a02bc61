//! Distinct things are numbered as they come, and found again by hash.
//!
//! A hash map would keep the things, or hash them again when it grows; here whoever numbers keeps them in a list of its
//! own, and the table has eight bytes for each: half of the hash and the number. So a look-up touches one cache line of
//! the table and then the thing itself.
//!
//! Invariants:
//! - Numbers are dense: 0, 1, 2 and so on, in the order in which things first came.
//! - Two things have one number exactly when the caller says that they are equal; a hash alone never decides.
//! - At most three quarters of the slots are taken, so every search ends.

/// Slots of the smallest table, as a power of two.
const BITS_MIN: u32 = 4;

/// The numbers of distinct things, by hash.
#[derive(Default)]
pub struct Numbering {
    /// Free (0), or the upper half of a hash above its number plus one; a hash begins its search at its upper bits.
    slots: Vec<u64>,
    bits: u32,
    len: u32,
}

impl Numbering {
    /// No things, with room for so many.
    pub fn with_capacity(things: usize) -> Numbering {
        let mut numbering = Numbering::default();
        if things > 0 {
            numbering.resize((things * 4 / 3 + 1).next_power_of_two().trailing_zeros().max(BITS_MIN));
        }
        numbering
    }

    /// Forgets all things; the room stays.
    pub fn clear(&mut self) {
        self.slots.fill(0);
        self.len = 0;
    }

    /// The number of the first thing that may have this hash; reading it, and what it stands for, a while before
    /// [`Numbering::number`] lets the waits for memory overlap.
    #[inline]
    pub fn peek(&self, hash: u64) -> Option<u32> {
        let slot = *self.slots.get((hash >> 32 >> (32 - self.bits)) as usize)?;
        (slot >> 32 == hash >> 32 && slot != 0).then(|| slot as u32 - 1)
    }

    /// How many things there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of the thing with this hash of which `is_it` says that it is the one, and whether it is new.
    #[inline]
    pub fn number(&mut self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> (u32, bool) {
        if (self.len as usize + 1) * 4 > self.slots.len() * 3 {
            self.resize((self.bits + 1).max(BITS_MIN));
        }
        let upper = hash >> 32;
        let mut at = (upper >> (32 - self.bits)) as usize;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                let number = self.len;
                self.slots[at] = upper << 32 | u64::from(number + 1);
                self.len += 1;
                return (number, true);
            }
            let number = slot as u32 - 1;
            if slot >> 32 == upper && is_it(number) {
                return (number, false);
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn resize(&mut self, bits: u32) {
        let old = std::mem::replace(&mut self.slots, vec![0; 1 << bits]);
        self.bits = bits;
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            let mut at = (slot >> 32 >> (32 - bits)) as usize;
            while self.slots[at] != 0 {
                at = (at + 1) & (self.slots.len() - 1);
            }
            self.slots[at] = slot;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Hashes of few bits collide in every way that there is.
        #[test]
        fn numbers_are_those_of_a_list(
            things in prop::collection::vec(0u64..200, 0..400),
            mask in prop_oneof![Just(u64::MAX), Just(0), Just(3 << 60), Just(0xff), Just(7 << 32)],
            capacity in 0usize..300,
        ) {
            let mut numbering = Numbering::with_capacity(capacity);
            let mut list: Vec<u64> = Vec::new();
            for thing in things {
                let known = list.iter().position(|other| *other == thing);
                let hash = thing.wrapping_mul(0x9e37_79b9_7f4a_7c15) & mask;
                let (number, new) = numbering.number(hash, |number| list[number as usize] == thing);
                prop_assert_eq!(number as usize, known.unwrap_or(list.len()));
                prop_assert_eq!(new, known.is_none());
                if new {
                    list.push(thing);
                }
                prop_assert_eq!(numbering.len(), list.len());
            }
        }
    }
}

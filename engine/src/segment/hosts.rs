//! The hosts of a segment, each named once and numbered in their order, so that directories tell of hosts by number.
//!
//! Invariants:
//! - Hosts ascend, each once: streams that are in the order of their hosts' numbers are in the order of their hosts.
//! - The bytes are checked whole when they are opened, and read where they lie from then on: nothing is decoded but a table of
//!   the places of names by their hashes, twelve bytes a host at most, and no reading fails.

use crate::codec::records::{self, Records};
use crate::codec::{Fault, finish, take_between, varint};
use crate::fact::Name;
use crate::io::MappedPart;
use crate::row::hash_of;

/// What a decoder accepts at most of hosts in a segment.
pub const HOSTS_MAX: u64 = 1 << 26;

/// Fields of a host: where its name ends, and whether it has a look.
const END: usize = 0;
const HAS_LOOKS: usize = 1;

/// The hosts of a segment, where they lie.
#[derive(Debug)]
pub struct Hosts {
    bytes: MappedPart,
    records: Records<2>,
    /// Where the names begin.
    start: usize,
    /// How many have a look.
    with_looks: u64,
    /// Whether nothing is known of any.
    is_unknown: bool,
    /// The numbers of hosts, plus one, where the hashes of their names lead to; 0 where none is.
    places: Box<[u32]>,
}

/// Appends hosts, each with whether it has a look rather than only notes.
pub fn encode(hosts: &[(Name, bool)], out: &mut Vec<u8>) {
    varint::put_u64(out, hosts.len() as u64);
    let mut end = 0;
    let record = |(name, has_looks): &(Name, bool)| {
        end += name.len() as u64;
        [end, u64::from(*has_looks)]
    };
    records::encode(&hosts.iter().map(record).collect::<Vec<_>>(), out);
    hosts.iter().for_each(|(name, _)| out.extend_from_slice(name));
}

impl Hosts {
    /// Opens a list of hosts.
    pub fn open(bytes: MappedPart) -> Result<Hosts, Fault> {
        let mut rest = &bytes[..];
        let count = take_between(&mut rest, 0, HOSTS_MAX)? as usize;
        let records = Records::<2>::take(&mut rest, bytes.len(), count)?;
        let start = bytes.len() - rest.len();
        let (mut before, mut with_looks): (Option<&[u8]>, u64) = (None, 0);
        // At most two thirds of the places are taken, so that one is mostly found at once.
        let mut places = vec![0u32; (count + count / 2 + 1).next_power_of_two()].into_boxed_slice();
        for i in 0..count {
            let [end, has_looks] = records.get(&bytes, i);
            let begin = if i == 0 { 0 } else { records.field(&bytes, i - 1, END) };
            let len = end.checked_sub(begin).ok_or(Fault::Order { previous: begin, found: end })?;
            let name = crate::codec::take(&mut rest, usize::try_from(len).unwrap_or(usize::MAX))?;
            if before.is_some_and(|before| before >= name) {
                return Err(Fault::Order { previous: i as u64 - 1, found: i as u64 });
            }
            if has_looks > 1 {
                return Err(Fault::Range { found: has_looks, min: 0, max: 1 });
            }
            let mut place = hash_of(name) as usize & (places.len() - 1);
            while places[place] != 0 {
                place = (place + 1) & (places.len() - 1);
            }
            places[place] = i as u32 + 1;
            (before, with_looks) = (Some(name), with_looks + has_looks);
        }
        finish(rest)?;
        Ok(Hosts { bytes, records, start, with_looks, is_unknown: false, places })
    }

    /// What stands for a list that is lost: any number is a host without a name.
    pub fn unknown() -> Hosts {
        let (bytes, places) = (MappedPart::from(&[][..]), Box::new([0]));
        Hosts { bytes, records: Records::none(), start: 0, with_looks: 0, is_unknown: true, places }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        if self.is_unknown { HOSTS_MAX as usize } else { self.records.len() }
    }

    /// How many there are of which something is known.
    pub fn named(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many have a look.
    pub fn with_looks(&self) -> u64 {
        self.with_looks
    }

    /// The name of host `number`; of one that is not there the empty name.
    pub fn name(&self, number: usize) -> &[u8] {
        if number >= self.records.len() {
            return &[];
        }
        let begin = if number == 0 { 0 } else { self.records.field(&self.bytes, number - 1, END) };
        let end = self.records.field(&self.bytes, number, END);
        self.bytes.get(self.start + begin as usize..self.start + end as usize).unwrap_or_default()
    }

    /// Whether host `number` has a look.
    pub fn has_looks(&self, number: usize) -> bool {
        number < self.records.len() && self.records.field(&self.bytes, number, HAS_LOOKS) == 1
    }

    /// The number of a host.
    pub fn find(&self, name: &[u8]) -> Option<usize> {
        let mut place = hash_of(name) as usize & (self.places.len() - 1);
        loop {
            let number = self.places[place].checked_sub(1)? as usize;
            if self.name(number) == name {
                return Some(number);
            }
            place = (place + 1) & (self.places.len() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn hosts_come_back(hosts in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 0..4), any::<bool>(), 0..40)) {
            let listed: Vec<(Name, bool)> = hosts.iter().map(|(name, &looks)| (Name::from(&name[..]), looks)).collect();
            let mut out = Vec::new();
            encode(&listed, &mut out);
            let opened = Hosts::open(MappedPart::from(&out[..])).unwrap();
            prop_assert_eq!(opened.len(), hosts.len());
            prop_assert_eq!(opened.with_looks(), hosts.values().filter(|looks| **looks).count() as u64);
            let read: BTreeMap<Vec<u8>, bool> =
                (0..opened.len()).map(|i| (opened.name(i).to_vec(), opened.has_looks(i))).collect();
            for (i, name) in hosts.keys().enumerate() {
                prop_assert_eq!(opened.find(name), Some(i));
            }
            prop_assert_eq!(opened.find(b"not there"), None);
            prop_assert_eq!(read, hosts);
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(hosts) = Hosts::open(MappedPart::from(&bytes[..])) {
                (0..hosts.len()).for_each(|i| { hosts.name(i); });
                hosts.find(&bytes);
            }
        }
    }

    #[test]
    fn what_is_not_in_order_is_refused() {
        let of = |names: &[&str]| {
            let mut out = Vec::new();
            encode(&names.iter().map(|name| (Name::from(name.as_bytes()), true)).collect::<Vec<_>>(), &mut out);
            Hosts::open(MappedPart::from(&out[..])).is_ok()
        };
        assert!(of(&["a", "b", "ba"]));
        assert!(!of(&["a", "b", "b"]) && !of(&["b", "a"]));
        assert_eq!(Hosts::unknown().name(7), b"");
    }
}

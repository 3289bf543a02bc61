#![doc = include_str!("index.md")]

use crate::codec::packed::{self, Packed};
use crate::codec::{Fault, finish, take, take_between, take_u8, varint};
use crate::fact::Second;
use crate::read::matching::{Address, is_odd_number};
use crate::segment::Segment;
use self_cell::self_cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// What postings name. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Postings {
    /// Streams.
    Streams = 0,
    /// Versions of streams, by stream.
    Versions = 1,
    /// Versions of streams with their times, by these.
    Times = 2,
}

/// A version that has a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Posting {
    /// The stream's place in the directory.
    pub stream: u32,
    /// The version's ordinal in the run.
    pub version: u32,
    /// The look before the version appears, or that one if it is the first.
    pub since: Second,
    /// The look where it is gone; [`Second::MAX`] if it is not.
    pub until: Second,
}

const FLAG_ODD_NUMBERS: u8 = 1;
/// Bytes of an address among the keys.
const KEY_BYTES: usize = 16;
/// What a decoder accepts at most: values, postings.
pub const ENTRIES_MAX: u64 = 1 << 31;

/// The postings of one column under construction: value → (stream, version).
#[derive(Debug, Default)]
pub struct Builder {
    values: BTreeMap<Vec<u8>, Vec<Posting>>,
    postings: usize,
    bytes: usize,
}

impl Builder {
    /// Adds the versions of a stream that have a value; streams come in order.
    pub fn add(&mut self, value: &[u8], versions: impl ExactSizeIterator<Item = Posting>) {
        self.postings += versions.len();
        let of_value = match self.values.get_mut(value) {
            Some(of_value) => of_value,
            None => {
                self.bytes += value.len();
                self.values.entry(value.to_vec()).or_default()
            }
        };
        if of_value.is_empty() {
            // Of very many values most have few postings.
            of_value.reserve_exact(versions.size_hint().0);
        }
        of_value.extend(versions);
    }

    /// How many different values there are.
    pub fn values(&self) -> usize {
        self.values.len()
    }

    /// How many postings there are.
    pub fn postings(&self) -> usize {
        self.postings
    }

    /// How many bytes the values have together.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Forgets which versions have a value, and keeps the streams.
    pub fn only_streams(&mut self) {
        self.postings = 0;
        for postings in self.values.values_mut() {
            postings.dedup_by_key(|posting| posting.stream);
            self.postings += postings.len();
        }
    }

    /// Appends the index.
    pub fn encode(&self, of: Postings, out: &mut Vec<u8>) {
        let odd = self.values.keys().any(|value| is_odd_number(value));
        out.push(of as u8);
        out.push(if odd { FLAG_ODD_NUMBERS } else { 0 });
        varint::put_u64(out, self.values.len() as u64);
        varint::put_u64(out, self.bytes as u64);
        let ends = |lens: &mut dyn Iterator<Item = usize>| -> Vec<u64> {
            let mut end = 0;
            lens.map(|len| {
                end += len as u64;
                end
            })
            .collect()
        };
        packed::encode(&ends(&mut self.values.keys().map(Vec::len)), out);
        self.values.keys().for_each(|value| out.extend_from_slice(value));
        varint::put_u64(out, self.postings as u64);
        packed::encode(&ends(&mut self.values.values().map(Vec::len)), out);
        let mut all: Vec<Posting> = Vec::with_capacity(self.postings);
        for postings in self.values.values() {
            let first = all.len();
            all.extend_from_slice(postings);
            if of == Postings::Times {
                all[first..].sort_unstable_by_key(|posting| (posting.since, *posting));
            }
        }
        let mut put = |values: &mut dyn Iterator<Item = u64>| packed::encode(&values.collect::<Vec<_>>(), out);
        put(&mut all.iter().map(|posting| u64::from(posting.stream)));
        if of != Postings::Streams {
            put(&mut all.iter().map(|posting| u64::from(posting.version)));
        }
        if of == Postings::Times {
            let base = all.iter().map(|posting| posting.since).min().unwrap_or(0);
            let ends = all.iter().map(|posting| posting.until).filter(|&until| until != Second::MAX);
            let never = ends.max().map_or(0, |last| last.wrapping_sub(base) as u64 + 1);
            let code = |until: Second| if until == Second::MAX { never } else { until.wrapping_sub(base) as u64 };
            varint::put_i64(out, base);
            varint::put_u64(out, never);
            let mut put = |values: &mut dyn Iterator<Item = u64>| packed::encode(&values.collect::<Vec<_>>(), out);
            put(&mut all.iter().map(|posting| posting.since.wrapping_sub(base) as u64));
            put(&mut all.iter().map(|posting| code(posting.until)));
            let mut reach = Vec::with_capacity(all.len());
            for postings in self.values.values() {
                let first = reach.len();
                for posting in &all[first..first + postings.len()] {
                    let before = if reach.len() > first { reach[reach.len() - 1] } else { 0 };
                    reach.push(code(posting.until).max(before));
                }
            }
            put(&mut reach.into_iter());
        }
        let mut keys: Vec<([u8; KEY_BYTES], u64)> = (0..)
            .zip(self.values.keys())
            .filter_map(|(place, value)| Some((Address::parse(value)?.key(), place)))
            .collect();
        if keys.len() * 2 < self.values.len() {
            keys.clear();
        }
        keys.sort_unstable();
        varint::put_u64(out, keys.len() as u64);
        keys.iter().for_each(|(key, _)| out.extend_from_slice(key));
        packed::encode(&keys.iter().map(|&(_, place)| place).collect::<Vec<_>>(), out);
    }
}

self_cell!(
    /// An index, with the segment that it lies in.
    pub struct OpenIndex {
        owner: Arc<Segment>,

        #[covariant]
        dependent: Index,
    }
);

/// An index where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Index<'a> {
    /// What postings name.
    pub of: Postings,
    odd_numbers: bool,
    values: usize,
    value_ends: Packed<'a>,
    bytes: &'a [u8],
    postings: usize,
    posting_ends: Packed<'a>,
    streams: Packed<'a>,
    versions: Packed<'a>,
    base: Second,
    never: u64,
    since: Packed<'a>,
    until: Packed<'a>,
    reach: Packed<'a>,
    keys: &'a [u8],
    key_values: Packed<'a>,
}

impl<'a> Index<'a> {
    /// What reading a posting counts as, about.
    pub const POSTING_BYTES: u64 = 8;

    /// An index, of which nothing is decoded but where its columns are.
    pub fn open(mut bytes: &'a [u8]) -> Result<Index<'a>, Fault> {
        let bytes = &mut bytes;
        let of = match take_u8(bytes)? {
            0 => Postings::Streams,
            1 => Postings::Versions,
            2 => Postings::Times,
            found => return Err(Fault::Tag { found }),
        };
        let flags = take_u8(bytes)?;
        if flags & !FLAG_ODD_NUMBERS != 0 {
            return Err(Fault::Tag { found: flags });
        }
        let values = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let len = take_between(bytes, 0, u64::from(u32::MAX))? as usize;
        let value_ends = Packed::take(bytes, values)?;
        let of_values = take(bytes, len)?;
        let postings = take_between(bytes, 0, ENTRIES_MAX)? as usize;
        let posting_ends = Packed::take(bytes, values)?;
        let streams = Packed::take(bytes, postings)?;
        let versions = if of == Postings::Streams { Packed::none() } else { Packed::take(bytes, postings)? };
        let (mut base, mut never, mut times) = (0, 0, [Packed::none(); 3]);
        if of == Postings::Times {
            (base, never) = (varint::take_i64(bytes)?, varint::take_u64(bytes)?);
            for column in &mut times {
                *column = Packed::take(bytes, postings)?;
            }
        }
        let [since, until, reach] = times;
        let addresses = take_between(bytes, 0, values as u64)? as usize;
        let keys = take(bytes, addresses * KEY_BYTES)?;
        let key_values = Packed::take(bytes, addresses)?;
        finish(bytes)?;
        let odd_numbers = flags & FLAG_ODD_NUMBERS != 0;
        Ok(Index {
            of,
            odd_numbers,
            values,
            value_ends,
            bytes: of_values,
            postings,
            posting_ends,
            streams,
            versions,
            base,
            never,
            since,
            until,
            reach,
            keys,
            key_values,
        })
    }

    /// How many different values there are.
    pub fn values(&self) -> usize {
        self.values
    }

    /// Whether some values are numbers that are not written the shortest way, so that equal numbers may be different
    /// texts.
    pub fn has_odd_numbers(&self) -> bool {
        self.odd_numbers
    }

    /// Whether addresses can be found as addresses.
    pub fn has_addresses(&self) -> bool {
        !self.keys.is_empty()
    }

    /// The value of a place.
    pub fn value(&self, place: usize) -> Result<&'a [u8], Fault> {
        let range = range_of(&self.value_ends, place)?;
        let fault = Fault::Length { needed: range.end as u64, found: self.bytes.len() as u64 };
        self.bytes.get(range).ok_or(fault)
    }

    /// The first place whose value is not less.
    pub fn lower_bound(&self, value: &[u8]) -> Result<usize, Fault> {
        let (mut low, mut high) = (0, self.values);
        while low < high {
            let middle = (low + high) / 2;
            if self.value(middle)? < value { low = middle + 1 } else { high = middle }
        }
        Ok(low)
    }

    /// The place of a value.
    pub fn find(&self, value: &[u8]) -> Result<Option<usize>, Fault> {
        let place = self.lower_bound(value)?;
        Ok((place < self.values && self.value(place)? == value).then_some(place))
    }

    /// Gives the places of the values that are addresses between two keys, both included.
    pub fn addresses(
        &self,
        (first, last): (&[u8; KEY_BYTES], &[u8; KEY_BYTES]),
        mut each: impl FnMut(usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let all = self.keys.as_chunks::<KEY_BYTES>().0;
        let from = all.partition_point(|key| key < first);
        for (at, _) in all.iter().enumerate().skip(from).take_while(|(_, key)| *key <= last) {
            let place = self.key_values.get(at)?;
            each(usize::try_from(place).unwrap_or(usize::MAX))?;
        }
        Ok(())
    }

    /// The postings of a place.
    pub fn postings(&self, place: usize) -> Result<Range<usize>, Fault> {
        let range = range_of(&self.posting_ends, place)?;
        let max = self.postings as u64;
        if range.end > self.postings { Err(Fault::Range { found: range.end as u64, min: 0, max }) } else { Ok(range) }
    }

    /// The stream of a posting.
    pub fn stream(&self, posting: usize) -> Result<usize, Fault> {
        self.streams.get(posting).map(|stream| stream as usize)
    }

    /// The version of a posting, if postings are of versions.
    pub fn version(&self, posting: usize) -> Result<usize, Fault> {
        self.versions.get(posting).map(|version| version as usize)
    }

    /// Of a posting of a version with its times: what it says of these, and the greatest `until` of its value's postings
    /// up to this one.
    pub fn times(&self, posting: usize) -> Result<(Second, Second, Second), Fault> {
        let until = |code: u64| if code >= self.never { Second::MAX } else { self.base.wrapping_add(code as i64) };
        let since = self.base.wrapping_add(self.since.get(posting)? as i64);
        Ok((since, until(self.until.get(posting)?), until(self.reach.get(posting)?)))
    }

    /// How many values are addresses, as the index tells; and each of these: its key and its place among the values.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = Result<(&'a [u8; KEY_BYTES], u64), Fault>> + '_ {
        let keys = self.keys.as_chunks::<KEY_BYTES>().0;
        keys.iter().enumerate().map(|(at, key)| Ok((key, self.key_values.get(at)?)))
    }

    /// How many postings there are.
    pub fn all_postings(&self) -> usize {
        self.postings
    }

    /// Gives those of a value's postings, which are by time, that may hold at T or come with the look after it.
    pub fn at(
        &self,
        postings: Range<usize>,
        at: Second,
        mut each: impl FnMut(usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let Ok(code) = u64::try_from(at.saturating_sub(self.base)) else {
            return Ok(());
        };
        let (mut low, mut high) = (postings.start, postings.end);
        while low < high {
            let middle = (low + high) / 2;
            if self.since.get(middle)? <= code { low = middle + 1 } else { high = middle }
        }
        // Before the first whose reach ends before T nothing reaches T.
        let holds = |until: u64| until >= self.never || until > code;
        for posting in (postings.start..low).rev() {
            if !holds(self.reach.get(posting)?) {
                break;
            }
            if holds(self.until.get(posting)?) {
                each(posting)?;
            }
        }
        Ok(())
    }

    /// Those of the postings, which are by stream, that are of streams in a range.
    pub fn of_streams(&self, postings: Range<usize>, streams: &Range<usize>) -> Result<Range<usize>, Fault> {
        let first = |least: usize| -> Result<usize, Fault> {
            let (mut low, mut high) = (postings.start, postings.end);
            while low < high {
                let middle = (low + high) / 2;
                if self.stream(middle)? < least { low = middle + 1 } else { high = middle }
            }
            Ok(low)
        };
        let start = first(streams.start)?;
        // Mostly there are few of one stream.
        for end in start..postings.end.min(start + FEW) {
            if self.stream(end)? >= streams.end {
                return Ok(start..end);
            }
        }
        Ok(start..first(streams.end)?.max(start))
    }
}

/// So many postings of one stream are looked through before they are bisected.
const FEW: usize = 4;

/// What belongs to a place, from where the one before ends.
fn range_of(ends: &Packed<'_>, place: usize) -> Result<Range<usize>, Fault> {
    let start = if place == 0 { 0 } else { ends.get(place - 1)? };
    let end = ends.get(place)?;
    if start > end {
        return Err(Fault::Order { previous: start, found: end });
    }
    Ok(start as usize..end as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn built(entries: &[(Vec<u8>, u32, u32, i64, i64)]) -> (Builder, BTreeMap<Vec<u8>, Vec<Posting>>) {
        let mut sorted = entries.to_vec();
        sorted.sort_by_key(|entry| (entry.1, entry.2));
        sorted.dedup_by_key(|entry| (entry.1, entry.2));
        let (mut builder, mut naive) = (Builder::default(), BTreeMap::<Vec<u8>, Vec<Posting>>::new());
        for (value, stream, version, since, len) in sorted {
            let until = if len == 0 { Second::MAX } else { since + len };
            let posting = Posting { stream, version, since, until };
            builder.add(&value, std::iter::once(posting));
            naive.entry(value).or_default().push(posting);
        }
        (builder, naive)
    }

    fn entries() -> impl Strategy<Value = Vec<(Vec<u8>, u32, u32, i64, i64)>> {
        let value = prop_oneof![
            prop::collection::vec(b'a'..b'd', 0..3),
            (0u8..4, 0u8..4).prop_map(|(a, b)| format!("10.0.{a}.{b}").into_bytes()),
            Just(b"::ffff:10.0.1.1".to_vec()),
            Just(b"007".to_vec()),
        ];
        prop::collection::vec((value, 0u32..5, 0u32..20, 0i64..100, 0i64..30), 0..60)
    }

    #[test]
    fn addresses_are_found_as_addresses() {
        let (builder, _) = built(&[(b"10.0.0.7".to_vec(), 1, 1, 0, 0), (b"::ffff:10.0.0.7".to_vec(), 2, 1, 0, 0)]);
        let mut bytes = Vec::new();
        builder.encode(Postings::Times, &mut bytes);
        let index = Index::open(&bytes).unwrap();
        let key = Address::parse(b"10.0.0.7").unwrap().key();
        let mut found = Vec::new();
        index
            .addresses((&key, &key), |place| {
                found.push(index.value(place)?.to_vec());
                Ok(())
            })
            .unwrap();
        found.sort();
        assert_eq!(found, [b"10.0.0.7".to_vec(), b"::ffff:10.0.0.7".to_vec()]);
        assert!(!index.has_odd_numbers());
    }

    proptest! {
        #[test]
        fn an_index_finds_what_was_added(entries in entries(), asked in prop::collection::vec(b'a'..b'e', 0..3), at in 0i64..130) {
            let (builder, naive) = built(&entries);
            for of in [Postings::Streams, Postings::Versions, Postings::Times] {
                let mut builder = built(&entries).0;
                if of == Postings::Streams {
                    builder.only_streams();
                }
                let mut bytes = Vec::new();
                builder.encode(of, &mut bytes);
                let index = Index::open(&bytes).unwrap();
                prop_assert_eq!(index.values(), naive.len());
                prop_assert_eq!(index.find(&asked).unwrap().is_some(), naive.contains_key(&asked));
                for (value, postings) in &naive {
                    let place = index.find(value).unwrap().unwrap();
                    prop_assert_eq!(index.value(place).unwrap(), &value[..]);
                    let range = index.postings(place).unwrap();
                    let mut streams: Vec<u32> = range.clone().map(|at| index.stream(at).unwrap() as u32).collect();
                    let mut expected: Vec<u32> = postings.iter().map(|posting| posting.stream).collect();
                    if of == Postings::Streams {
                        expected.dedup();
                    }
                    streams.sort_unstable();
                    prop_assert_eq!(streams, expected);
                    match of {
                        Postings::Versions => {
                            let some = index.of_streams(range, &(1..3)).unwrap();
                            let some: Vec<u32> = some.map(|at| index.version(at).unwrap() as u32).collect();
                            let is_its = |posting: &&Posting| (1..3).contains(&posting.stream);
                            let expected: Vec<u32> = postings.iter().filter(is_its).map(|p| p.version).collect();
                            prop_assert_eq!(some, expected);
                        }
                        Postings::Times => {
                            let mut found = Vec::new();
                            let note = |at| { found.push((index.stream(at)?, index.version(at)?)); Ok(()) };
                            index.at(range, at, note).unwrap();
                            found.sort_unstable();
                            let holds = |posting: &&Posting| posting.since <= at && at < posting.until;
                            let expected: Vec<(usize, usize)> = postings.iter().filter(holds)
                                .map(|posting| (posting.stream as usize, posting.version as usize)).collect();
                            prop_assert_eq!(found, expected);
                        }
                        Postings::Streams => {}
                    }
                }
            }
            prop_assert_eq!(builder.values(), naive.len());
        }

        #[test]
        fn bytes_never_panic(entries in entries(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
            let mut bytes = Vec::new();
            built(&entries).0.encode(Postings::Times, &mut bytes);
            for (at, value) in flips {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            let Ok(index) = Index::open(&bytes) else { return Ok(()) };
            for place in 0..index.values().min(100) {
                let _ = index.value(place);
                if let Ok(range) = index.postings(place) && range.len() < 1000 {
                    let _ = index.at(range.clone(), 50, |_| Ok(()));
                    let _ = index.of_streams(range, &(0..3));
                }
            }
            let _ = (index.find(b"a"), index.addresses((&[0; 16], &[255; 16]), |_| Ok(())));
        }
    }
}

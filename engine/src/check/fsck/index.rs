//! Indexes against the data.
//!
//! Both sides are a set of postings. Each is summed up as the sum of its members' hashes, which asks for no order and no
//! memory: the streams are decoded once, by whichever thread, and an index is walked once. Two sets that differ have one
//! sum by a chance of one in 2^64.

use super::report::{Effect, Finding, Meaning, Wrong};
use super::segment::SegmentFile;
use super::table::Checked;
use crate::error::{Fault, Structure};
use crate::fact::{Name, Second};
use crate::read::matching::{Address, is_odd_number};
use crate::row::hash_of;
use crate::segment::Frames;
use crate::segment::directory::Directory;
use crate::segment::index::{Index, Postings};

/// A set of postings, summed up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) postings: u64,
    hashes: u64,
}

impl Sum {
    /// A value, by its hash, of a stream as a whole.
    pub(super) fn stream(&mut self, value: u64, stream: usize) {
        self.put(value, [stream as u64, 0, 0, 0]);
    }

    /// A value of a version.
    pub(super) fn version(&mut self, value: u64, stream: usize, version: usize, times: Option<(Second, Second)>) {
        let (since, until) = times.unwrap_or((0, 0));
        self.put(value, [stream as u64, version as u64, since as u64, until as u64]);
    }

    fn put(&mut self, value: u64, words: [u64; 4]) {
        const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
        let mix = |hash: u64, word: u64| {
            let mixed = (hash ^ word).wrapping_mul(ODD);
            mixed ^ mixed >> 29
        };
        self.postings += 1;
        self.hashes = self.hashes.wrapping_add(words.into_iter().fold(value, mix));
    }

    pub(super) fn add(&mut self, other: &Sum) {
        self.postings += other.postings;
        self.hashes = self.hashes.wrapping_add(other.hashes);
    }
}

/// An index of a column.
pub(super) struct Indexed<'t> {
    pub(super) column: &'t Name,
    offset: u64,
    pub(super) index: Index<'t>,
}

impl<'t> Indexed<'t> {
    /// The index at a place of a directory; `None` if it cannot be used, which was told.
    pub(super) fn open(file: &'t SegmentFile<'_>, directory: &'t Directory, place: usize) -> Option<Indexed<'t>> {
        let (column, offset) = &directory.indexes[place];
        let frame = file.frame(*offset, Frames::INDEX).ok()?;
        Some(Indexed { column, offset: *offset, index: Index::open(frame.payload).ok()? })
    }

    /// Compares it with what the streams hold.
    pub(super) fn compare(&self, of: &Checked<'_>, data: &Sum) {
        let found = self.walk(of).and_then(|(sum, postings)| {
            of.file.work.meaning(&Meaning { postings, ..Meaning::default() });
            super::facts::differs("postings", data.postings, sum.postings)?;
            match sum == *data {
                true => Ok(()),
                false => Err(Fault::Value { what: "posting: the rows say otherwise" }.into()),
            }
        });
        if let Err(wrong) = found {
            let finding = Finding::damage(&of.file.name, self.offset, Structure::Index, wrong);
            of.file.work.find(finding.meaning_for(Effect::Answers));
        }
    }

    /// The sum of the postings that are of streams in the share, and how many there are.
    fn walk(&self, of: &Checked<'_>) -> Result<(Sum, u64), Wrong> {
        let index = &self.index;
        let (mut sum, mut end, mut before): (Sum, usize, Option<&[u8]>) = (Sum::default(), 0, None);
        let (mut addresses, mut has_odd) = (Vec::new(), false);
        for place in 0..index.values() {
            let value = index.value(place)?;
            if before.is_some_and(|before| before >= value) {
                return Err(Fault::Order { what: "values" }.into());
            }
            before = Some(value);
            has_odd |= is_odd_number(value);
            if let Some(address) = Address::parse(value) {
                addresses.push((address.key(), place as u64));
            }
            let postings = index.postings(place)?;
            if postings.start != end || postings.is_empty() {
                return Err(Fault::Value { what: "place of postings" }.into());
            }
            end = postings.end;
            let (hash, mut last, mut reach) = (hash_of(value), None, Second::MIN);
            for posting in postings {
                let stream = index.stream(posting)?;
                if stream >= of.directory.streams() {
                    return Err(Fault::Value { what: "stream of a posting" }.into());
                }
                let version = if index.of == Postings::Streams { 0 } else { index.version(posting)? };
                let (mut times, mut since) = (None, 0);
                if index.of == Postings::Times {
                    let until;
                    let told;
                    (since, until, told) = index.times(posting)?;
                    reach = reach.max(until);
                    if reach != told {
                        return Err(Fault::Value { what: "reach of a posting" }.into());
                    }
                    times = Some((since, until));
                }
                let key = (since, stream, version);
                if last.is_some_and(|last| last >= key) {
                    return Err(Fault::Order { what: "postings" }.into());
                }
                last = Some(key);
                if of.is_chosen(stream) {
                    match index.of {
                        Postings::Streams => sum.stream(hash, stream),
                        _ => sum.version(hash, stream, version, times),
                    }
                }
            }
        }
        if end != index.all_postings() || has_odd != index.has_odd_numbers() {
            return Err(Fault::Value { what: "count of postings, or word on how numbers are written" }.into());
        }
        if addresses.len() * 2 < index.values() {
            addresses.clear();
        }
        addresses.sort_unstable();
        let mut told = index.keys();
        let is_so = told.len() == addresses.len()
            && addresses.iter().all(|(key, place)| told.next().is_some_and(|told| told == Ok((key, *place))));
        if !is_so {
            return Err(Fault::Value { what: "list of addresses" }.into());
        }
        Ok((sum, end as u64))
    }
}

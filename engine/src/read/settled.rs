//! A settled stream at T, read from its run.
//!
//! Invariants:
//! - It says what the timeline of the stream's parts would say: a run has no break, so what was seen at the looks around
//!   T and in every run between them is definite.

use super::answer::{Cause, Cost, End, Held, Start, Verdict, Version};
use crate::error::{Error, Misuse};
use crate::fact::{Second, StreamKey};
use crate::row::{Row, compare, first_name, sort_key};
use crate::segment::TableReader;
use crate::segment::directory::StreamEntry;
use crate::segment::run::stream::{self, OpenBlock, RowPlace, Run};
use crate::timeline::verdict::Class;
use std::ops::Range;
use std::sync::Arc;

/// Decodes rows, one after the other; one is used for many.
#[derive(Default)]
pub(super) struct Rows {
    bytes: Vec<u8>,
    found: Vec<(stream::Version, Range<u32>)>,
    order: Vec<(u128, u32)>,
}

impl Rows {
    pub(super) fn row(
        &mut self,
        reader: &TableReader<'_>,
        place: RowPlace<'_, '_>,
        cost: &mut Cost,
    ) -> Result<Row, Error> {
        let (block, at) = place;
        self.bytes(reader.segment.name(), block, at, cost).map(Row::from_builder_bytes)
    }

    /// The canonical bytes of a row.
    pub(super) fn bytes(
        &mut self,
        segment: &str,
        block: &OpenBlock<'_>,
        at: usize,
        cost: &mut Cost,
    ) -> Result<&[u8], Error> {
        self.bytes.clear();
        block.row(segment, at, &mut self.bytes)?;
        cost.rows_decoded += 1;
        Ok(&self.bytes)
    }
}

/// A settled stream, and where T is among its looks.
pub(super) struct Settled<'s> {
    key: &'s StreamKey,
    reader: TableReader<'s>,
    run: Run<'s>,
    at: Second,
    looks: Around,
}

/// The looks around T.
#[derive(Clone, Copy)]
struct Around {
    /// How many are at or before T.
    until: usize,
    before: Option<Second>,
    after: Option<Second>,
    /// Whether the last of these is at T.
    is_at: bool,
}

/// The verdict of a version at T, if it is a candidate there: alive, or with `with_after` in the look after T alone.
fn verdict_of(version: &stream::Version, looks: Around, with_after: bool) -> Option<Verdict> {
    let Around { until, after, is_at, .. } = looks;
    if version.born >= until {
        let is_after = with_after && !is_at && until > 0 && version.born == until;
        return is_after.then_some(Verdict::Possible);
    }
    match version.died {
        Some(died) if died < until => None,
        _ if is_at => Some(Verdict::Definite),
        Some(died) if died == until => Some(Verdict::Possible),
        _ if after.is_none() => Some(Verdict::Presumed),
        _ => Some(Verdict::Definite),
    }
}

impl<'s> Settled<'s> {
    /// The stream at T.
    pub(super) fn new(
        reader: TableReader<'s>,
        stream: &'s StreamEntry,
        at: Second,
        cost: &mut Cost,
    ) -> Result<Settled<'s>, Error> {
        let looks = Around { until: 0, before: None, after: None, is_at: false };
        let mut settled = Settled { key: &stream.key, reader, run: reader.run(stream), at, looks };
        settled.move_to(at, cost)?;
        Ok(settled)
    }

    /// The stream at another T.
    pub(super) fn move_to(&mut self, at: Second, cost: &mut Cost) -> Result<(), Error> {
        let run = &mut self.run;
        let until = run.looks_until(at, cost)?;
        let before = until.checked_sub(1).map(|look| run.second(look, cost)).transpose()?;
        let after = if until < run.looks() { Some(run.second(until, cost)?) } else { None };
        (self.at, self.looks) = (at, Around { until, before, after, is_at: before == Some(at) });
        Ok(())
    }

    /// The looks around T.
    pub(super) fn around(&self) -> (Option<Second>, Option<Second>) {
        (self.looks.before, self.looks.after)
    }

    /// The verdict of a version at T, if it is a candidate there.
    pub(super) fn verdict(&self, version: &stream::Version, with_after: bool) -> Option<Verdict> {
        verdict_of(version, self.looks, with_after)
    }

    /// The times of a version.
    pub(super) fn version_at(&mut self, ordinal: usize, cost: &mut Cost) -> Result<stream::Version, Error> {
        cost.keys_decoded += 1;
        self.run.version(ordinal, cost).map(|(version, _)| version)
    }

    /// A version with its row, as answers give it.
    pub(super) fn version(&mut self, ordinal: usize, cost: &mut Cost) -> Result<Version, Error> {
        let (reader, mut rows) = (self.reader, Rows::default());
        let (version, place) = self.run.version(ordinal, cost)?;
        let row = rows.row(&reader, place, cost)?;
        self.run.version_of(self.key, &version, row, cost)
    }

    /// Gives all versions, by birth.
    pub(super) fn each_version(
        &mut self,
        cost: &mut Cost,
        each: impl FnMut(&stream::Version, RowPlace<'_, 's>, &mut Cost) -> Result<(), Error>,
    ) -> Result<(), Error> {
        self.run.each_version(cost, each)
    }

    /// The stream's class at T.
    pub(super) fn class(&self) -> Class {
        match (self.looks.before, self.looks.after) {
            (None, _) => Class::Unknown(Cause::BeforeFirst),
            (Some(before), None) if before < self.at => Class::Presumed,
            _ => Class::Covered,
        }
    }

    /// The class at T of a settled stream with this first and last look.
    pub(super) fn class_of(first: Second, last: Second, at: Second) -> Class {
        match () {
            () if at < first => Class::Unknown(Cause::BeforeFirst),
            () if last < at => Class::Presumed,
            () => Class::Covered,
        }
    }

    /// Appends one version, if it is a candidate at T and its row is wanted.
    pub(super) fn one(
        &mut self,
        ordinal: usize,
        with_after: bool,
        keep: impl Fn(&[u8]) -> bool,
        rows: &mut Rows,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let reader = self.reader;
        let (version, place) = self.run.version(ordinal, cost)?;
        cost.keys_decoded += 1;
        let Some(verdict) = verdict_of(&version, self.looks, with_after) else {
            return Ok(());
        };
        let row = rows.row(&reader, place, cost)?;
        if !keep(row.as_bytes()) {
            return Ok(());
        }
        let version = self.run.version_of(self.key, &version, row, cost)?;
        out.push(Held { version, verdict, before: self.looks.before, after: self.looks.after });
        Ok(())
    }

    /// Appends the copies at T whose row is wanted; with `with_after`, also those that only the look after T has. They
    /// come in the order of their rows, each of which is there once.
    pub(super) fn held(
        &mut self,
        with_after: bool,
        keep: impl Fn(&[u8]) -> bool,
        rows: &mut Rows,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let Some(look) = self.looks.until.checked_sub(1) else {
            return Ok(());
        };
        let name = self.reader.segment.name();
        let Rows { bytes, found, order } = rows;
        bytes.clear();
        found.clear();
        let mut note = |version: &stream::Version, (block, at): RowPlace<'_, '_>, cost: &mut Cost| {
            let start = bytes.len();
            block.row(name, at, bytes)?;
            cost.rows_decoded += 1;
            match u32::try_from(bytes.len()) {
                Ok(end) if keep(&bytes[start..]) => found.push((*version, start as u32..end)),
                Ok(_) => bytes.truncate(start),
                Err(_) => return Err(Misuse::AnswerTooLarge.into()),
            }
            Ok(())
        };
        self.run.alive_after(look, cost, &mut note)?;
        if with_after && !self.looks.is_at && self.looks.after.is_some() {
            self.run.born_at(self.looks.until, cost, &mut note)?;
        }
        let canonical = |at: &Range<u32>| &bytes[at.start as usize..at.end as usize];
        let of = |at: u32| canonical(&found[at as usize].1);
        let first = found.first().and_then(|(_, at)| first_name(canonical(at)));
        let alike = found.iter().all(|(_, at)| first_name(canonical(at)) == first);
        let key = |at: &Range<u32>| if alike { sort_key(canonical(at)) } else { 0 };
        order.clear();
        order.extend((0..).zip(found.iter()).map(|(i, (_, at))| (key(at), i)));
        order.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| compare(of(a.1), of(b.1))));
        let buffer: Arc<[u8]> = Arc::from(&bytes[..]);
        out.reserve(found.len());
        for &(_, place) in order.iter() {
            let (version, at) = &found[place as usize];
            let Some(verdict) = verdict_of(version, self.looks, with_after) else { continue };
            let row = Row::of_buffer(&buffer, at.clone());
            let version = self.run.version_of(self.key, version, row, cost)?;
            out.push(Held { version, verdict, before: self.looks.before, after: self.looks.after });
        }
        Ok(())
    }

    /// The ordinals of the versions alive at T, ascending, with their copies.
    pub(super) fn alive(&mut self, cost: &mut Cost) -> Result<Vec<(usize, u64)>, Error> {
        let mut alive = Vec::new();
        if let Some(look) = self.looks.until.checked_sub(1) {
            self.run.alive_after(look, cost, |version, _, _| {
                alive.push((version.ordinal, version.count));
                Ok(())
            })?;
        }
        Ok(alive)
    }

    /// The row of a version.
    pub(super) fn row(&mut self, ordinal: usize, rows: &mut Rows, cost: &mut Cost) -> Result<Row, Error> {
        let reader = self.reader;
        let (_, place) = self.run.version(ordinal, cost)?;
        rows.row(&reader, place, cost)
    }
}

impl Run<'_> {
    /// A version as answers give it.
    pub(super) fn version_of(
        &mut self,
        key: &StreamKey,
        version: &stream::Version,
        row: Row,
        cost: &mut Cost,
    ) -> Result<Version, Error> {
        let from = self.second(version.born, cost)?;
        let from_after = version.born.checked_sub(1).map(|look| self.second(look, cost)).transpose()?;
        let (to, to_after) = match version.died {
            Some(died) => (Some(self.second(died, cost)?), Some(self.second(died.saturating_sub(1), cost)?)),
            None => (None, None),
        };
        Ok(Version {
            host: key.host.clone(),
            stream: key.name.clone(),
            row,
            count: version.count,
            from,
            from_after,
            to,
            to_after,
            start: Start::Seen,
            end: if version.died.is_some() { End::Gone } else { End::Open },
            verified: true,
        })
    }
}

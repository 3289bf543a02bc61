//! A settled stream at T, read from its run.
//!
//! Invariants:
//! - It says what the timeline of the stream's parts would say: a run has no break, so what was seen at the looks around
//!   T and in every run between them is definite.

use super::answer::{Cost, End, Held, Start, Verdict, Version};
use crate::error::Error;
use crate::fact::{Second, StreamKey};
use crate::row::Row;
use crate::segment::directory::StreamEntry;
use crate::segment::run::stream::{self, RowPlace, Run};
use crate::segment::{RowCursor, TableReader};
use crate::timeline::RowId;
use crate::timeline::verdict::Class;
use rustc_hash::FxHashMap;

/// Rows that were decoded for one question.
#[derive(Default)]
pub(super) struct Rows {
    cursor: RowCursor,
    shared: FxHashMap<RowId, Row>,
    bytes: Vec<u8>,
}

impl Rows {
    fn row(&mut self, reader: &TableReader<'_>, place: &RowPlace<'_, '_>, cost: &mut Cost) -> Result<Row, Error> {
        match place {
            RowPlace::Shared(id) => {
                if let Some(row) = self.shared.get(id) {
                    return Ok(row.clone());
                }
                let row = reader.packed_row(*id, &mut self.cursor, cost)?;
                self.shared.insert(*id, row.clone());
                Ok(row)
            }
            RowPlace::Inline(block, at) => {
                self.bytes.clear();
                block.row(reader.segment.name(), *at, &mut self.bytes)?;
                cost.rows_decoded += 1;
                Ok(Row::from_builder_bytes(&self.bytes))
            }
        }
    }
}

/// A settled stream, and where T is among its looks.
pub(super) struct Settled<'s> {
    key: &'s StreamKey,
    reader: TableReader<'s>,
    run: Run<'s>,
    at: Second,
    /// How many looks are at or before T.
    until: usize,
    before: Option<Second>,
    after: Option<Second>,
}

impl<'s> Settled<'s> {
    /// The stream at T.
    pub(super) fn new(
        reader: TableReader<'s>,
        stream: &'s StreamEntry,
        at: Second,
        cost: &mut Cost,
    ) -> Result<Settled<'s>, Error> {
        let mut run = reader.run(stream);
        let until = run.looks_until(at, cost)?;
        let before = until.checked_sub(1).map(|look| run.second(look, cost)).transpose()?;
        let after = if until < run.looks() { Some(run.second(until, cost)?) } else { None };
        Ok(Settled { key: &stream.key, reader, run, at, until, before, after })
    }

    /// The stream's class at T.
    pub(super) fn class(&self) -> Class {
        match (self.before, self.after) {
            (None, _) => Class::Unknown(super::answer::Cause::BeforeFirst),
            (Some(before), None) if before < self.at => Class::Presumed,
            _ => Class::Covered,
        }
    }

    /// Appends the copies at T whose row is wanted; with `with_after`, also those that only the look after T has.
    pub(super) fn held(
        &mut self,
        with_after: bool,
        keep: impl Fn(&Row) -> bool,
        rows: &mut Rows,
        out: &mut Vec<Held>,
        cost: &mut Cost,
    ) -> Result<(), Error> {
        let Some(look) = self.until.checked_sub(1) else {
            return Ok(());
        };
        let (reader, is_at) = (self.reader, self.before == Some(self.at));
        let mut found: Vec<(stream::Version, Verdict, Row)> = Vec::new();
        let (until, after) = (self.until, self.after);
        self.run.alive_after(look, cost, |version, place, cost| {
            let row = rows.row(&reader, &place, cost)?;
            if keep(&row) {
                let verdict = match after {
                    _ if is_at => Verdict::Definite,
                    None => Verdict::Presumed,
                    Some(_) if version.died == Some(until) => Verdict::Possible,
                    Some(_) => Verdict::Definite,
                };
                found.push((*version, verdict, row));
            }
            Ok(())
        })?;
        if with_after && !is_at && after.is_some() {
            self.run.born_at(until, cost, |version, place, cost| {
                let row = rows.row(&reader, &place, cost)?;
                if keep(&row) {
                    found.push((*version, Verdict::Possible, row));
                }
                Ok(())
            })?;
        }
        out.reserve(found.len());
        for (version, verdict, row) in found {
            let version = self.version(&version, row, cost)?;
            out.push(Held { version, verdict, before: self.before, after: self.after });
        }
        Ok(())
    }

    fn version(&mut self, version: &stream::Version, row: Row, cost: &mut Cost) -> Result<Version, Error> {
        self.run.version_of(self.key, version, row, cost)
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

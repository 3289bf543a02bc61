//! Streams that are kept as they were delivered.

use super::report::Wrong;
use super::table::{Bad, Checked, Tally};
use crate::error::{Fault, Structure};
use crate::fact::Second;
use crate::memtable::part_key;
use crate::segment::Frames;
use crate::segment::directory::{PieceEntry, StreamEntry};
use crate::segment::piece;
use crate::timeline::Part;

/// Checks such streams, one after the other.
#[derive(Default)]
pub(super) struct Checker {
    /// The last part of the piece before.
    last: Option<Part>,
}

impl Checker {
    /// Whether the pieces of a stream are what the directory says, in order, and recorded when the segment says.
    pub(super) fn check(&mut self, of: &Checked<'_>, stream: &StreamEntry, tally: &mut Tally) -> Result<(), Bad> {
        self.last = None;
        for entry in of.directory.pieces_at(stream.record.pieces.clone()).iter() {
            self.piece(of, stream, &entry, tally).map_err(|wrong| Bad {
                offset: entry.offset,
                structure: Structure::Piece,
                wrong,
                seconds: (entry.first, entry.last),
            })?;
        }
        Ok(())
    }

    fn piece(
        &mut self,
        of: &Checked<'_>,
        stream: &StreamEntry,
        entry: &PieceEntry,
        tally: &mut Tally,
    ) -> Result<(), Wrong> {
        let payload = of.file.frame(entry.offset, Frames::PIECE)?.payload;
        of.file.work.advance(payload.len() as u64);
        let parts = piece::decode(stream.key.kind, payload, of.directory.rows)?;
        let copies: u64 = parts.iter().map(|part| (part.removed.len() + part.added.len()) as u64).sum();
        differs("parts", entry.parts, parts.len() as u64)?;
        differs("copies", entry.copies, copies)?;
        differs("versions of what is no run", 0, entry.versions)?;
        let seconds = parts.first().zip(parts.last()).map(|(first, last)| (first.second, last.second));
        if seconds != Some((entry.first, entry.last)) || entry.times != (entry.first, entry.last) {
            return Err(Fault::Value { what: "seconds of what was delivered" }.into());
        }
        if self.last.as_ref().zip(parts.first()).is_some_and(|(last, first)| part_key(last) > part_key(first)) {
            return Err(Fault::Order { what: "pieces of a stream" }.into());
        }
        if let Some(commits) = of.commits
            && parts.iter().any(|part| commits.binary_search(&part.recorded).is_err())
        {
            return Err(Fault::Value { what: "recorded time of a part" }.into());
        }
        tally.meaning.looks += parts.len() as u64;
        tally.meaning.changes += copies;
        self.last = parts.into_iter().next_back();
        Ok(())
    }
}

/// An error if a number is told otherwise elsewhere.
pub(super) fn differs(what: &'static str, told: u64, found: u64) -> Result<(), Wrong> {
    if told == found { Ok(()) } else { Err(Wrong::Differs { what, told, found }) }
}

/// The same of seconds.
pub(super) fn differ(what: &'static str, told: (Second, Second), found: (Second, Second)) -> Result<(), Wrong> {
    differs(what, told.0 as u64, found.0 as u64)?;
    differs(what, told.1 as u64, found.1 as u64)
}

//! The manifest says which files are the store, and changes all of that at once.
//!
//! A [`Manifest`] is the state at one moment, an [`Edit`] a step to the next. A [`ManifestFile`] makes steps durable; a
//! reader takes the state in force with [`read_current`]. What a crash leaves is the state before a step or after it.
//!
//! Invariants:
//! - A segment is added once and removed once; numbers are never given twice.
//! - `next_file`, `log_floor` and `last_recorded` never go back.
//! - Whatever is below `log_floor` in logs is in segments.
//!
//! Bytes and files:
//!
#![doc = include_str!("manifest.md")]

mod edit;
mod save;
mod summary;

pub use edit::{decode_edit, encode_edit};
pub(crate) use save::decode_current;
pub use save::{ManifestFile, read_current};
pub use summary::{
    SUMMARY_HOSTS_MAX, SUMMARY_STREAMS_MAX, StreamExtent, StreamSummary, Summary, decode_summary, summary_hosts,
};

use crate::error::EditFault;
use crate::fact::{Micros, Name};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Which files are the store, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The store's random number.
    pub store_id: [u8; 16],
    /// The first number that no log or segment has had.
    pub next_file: u64,
    /// Logs below this hold nothing that segments lack.
    pub log_floor: u64,
    /// The greatest recorded time in segments; 0 at first.
    pub last_recorded: Micros,
    /// The segments, by number.
    pub segments: BTreeMap<u64, Arc<SegmentMeta>>,
}

/// What a manifest says of one segment: enough to choose it, to check it, and to name what is lost with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentMeta {
    /// Its number.
    pub number: u64,
    /// The file's length.
    pub bytes: u64,
    /// The checksum of its footer.
    pub footer_crc: u32,
    /// How often it was compacted, roughly.
    pub level: u8,
    /// The least and the greatest recorded time in it.
    pub recorded: (Micros, Micros),
    /// How many parts of looks it holds.
    pub parts: u64,
    /// How many row versions.
    pub versions: u64,
    /// The same by table, ordered by table.
    pub tables: Vec<TableExtent>,
    /// Which streams it holds, made by `Summary`; opaque to the manifest.
    pub summary: Vec<u8>,
    /// Fields that this program does not know, kept as they are.
    pub unknown: Vec<UnknownField>,
}

/// What a segment holds of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableExtent {
    /// The table.
    pub table: Name,
    /// How many parts of looks.
    pub parts: u64,
    /// How many row versions.
    pub versions: u64,
    /// The least observed second.
    pub first: i64,
    /// The greatest observed second.
    pub last: i64,
}

/// A field of a newer program, which this one keeps without understanding it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownField {
    /// Which.
    pub tag: u64,
    /// What it holds.
    pub bytes: Vec<u8>,
}

/// A step from one state to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edit {
    /// Segments that come.
    pub add: Vec<Arc<SegmentMeta>>,
    /// Segments that go; their files are removed once no reader has them.
    pub remove: Vec<u64>,
    /// The new floor of the logs, if it changes.
    pub log_floor: Option<u64>,
    /// A recorded time that the store has reached; less than the present one changes nothing.
    pub last_recorded: Option<Micros>,
    /// The first number that no log or segment has had, as far as the writer has numbered.
    pub next_file: u64,
}

impl Manifest {
    /// The state of a store that holds nothing.
    pub fn empty(store_id: [u8; 16]) -> Manifest {
        Manifest { store_id, next_file: 1, log_floor: 0, last_recorded: 0, segments: BTreeMap::new() }
    }

    /// The state after a step, or why there is none.
    pub fn after(&self, edit: &Edit) -> Result<Manifest, EditFault> {
        let mut next = self.clone();
        next.apply(edit)?;
        Ok(next)
    }

    /// Takes a step; after an error the state is of no use.
    fn apply(&mut self, edit: &Edit) -> Result<(), EditFault> {
        self.next_file = not_back("the next file number", self.next_file, edit.next_file)?;
        let next_file = self.next_file;
        if let Some(floor) = edit.log_floor {
            self.log_floor = not_back("the floor of the logs", self.log_floor, floor)?;
            if floor > next_file {
                return Err(EditFault::Number { number: floor, next_file });
            }
        }
        if let Some(recorded) = edit.last_recorded {
            self.last_recorded = self.last_recorded.max(recorded);
        }
        for &number in &edit.remove {
            if self.segments.remove(&number).is_none() {
                return Err(EditFault::Removed { number });
            }
        }
        for meta in &edit.add {
            let number = meta.number;
            meta.check()?;
            if number == 0 || number >= next_file {
                return Err(EditFault::Number { number, next_file });
            }
            if edit.remove.contains(&number) || self.segments.insert(number, meta.clone()).is_some() {
                return Err(EditFault::Added { number });
            }
        }
        Ok(())
    }
}

fn not_back(what: &'static str, from: u64, to: u64) -> Result<u64, EditFault> {
    if to < from { Err(EditFault::Back { what, from, to }) } else { Ok(to) }
}

impl SegmentMeta {
    fn check(&self) -> Result<(), EditFault> {
        let sound = [
            ("range of recorded times", self.recorded.0 <= self.recorded.1),
            ("order of tables", self.tables.is_sorted_by(|a, b| a.table < b.table)),
            ("range of seconds", self.tables.iter().all(|table| table.first <= table.last)),
            ("order of fields", self.unknown.is_sorted_by(|a, b| a.tag < b.tag)),
        ];
        match sound.into_iter().find(|(_, sound)| !sound) {
            None => Ok(()),
            Some((what, _)) => Err(EditFault::Meta { number: self.number, what }),
        }
    }
}

#[cfg(test)]
mod tests;

//! Several segments become one that says the same.
//!
//! Invariants:
//! - The parts of every stream are the same before and after, with their recorded times: no answer changes, whatever its
//!   `known_at`.
//! - Memory is bounded by the directories, one row number per shared row, and the parts of one stream in the inputs.
//!
//! Steps, for each table: choose the layout → for a shared table merge the sorted rows and note each one's new number →
//! for each stream join the inputs' parts in part order → write.

use crate::error::Error;
use crate::fact::{Name, StreamKey};
use crate::memtable::{Interner, part_key};
use crate::read::answer::Cost;
use crate::row::Row;
use crate::segment::cache::Cache;
use crate::segment::directory::Layout;
use crate::segment::seal::layout;
use crate::segment::write::SegmentWriter;
use crate::segment::{RowCursor, Segment, TableReader};
use crate::timeline::{Part, RowId};
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};
use std::sync::Arc;

/// Bytes of decoded blocks kept while merging.
const CACHE_BYTES: usize = 16 << 20;

/// Writes what `segments` hold into one.
pub fn merge(segments: &[Arc<Segment>], writer: &mut SegmentWriter<'_>) -> Result<(), Error> {
    let cache = Cache::new(CACHE_BYTES);
    let tables: BTreeSet<Name> =
        segments.iter().flat_map(|s| s.footer().tables.iter().map(|table| table.name.clone())).collect();
    for table in tables {
        let mut readers = Vec::new();
        for segment in segments {
            readers.extend(segment.table(&table)?);
        }
        merge_table(&table, &readers, writer, &cache)?;
    }
    Ok(())
}

fn merge_table(
    table: &Name,
    readers: &[TableReader<'_>],
    writer: &mut SegmentWriter<'_>,
    cache: &Cache,
) -> Result<(), Error> {
    let rows: u64 = readers.iter().map(|reader| reader.directory.rows).sum();
    let copies: u64 = readers.iter().map(|reader| reader.entry.copies).sum();
    let sorted = readers.iter().all(|reader| reader.directory.layout == Layout::Shared);
    let layout = if sorted { layout(rows, copies) } else { Layout::Inline };
    writer.begin_table(table, layout);
    let numbers = match layout {
        Layout::Shared => merge_rows(readers, writer, cache)?,
        Layout::Inline => Vec::new(),
    };
    let streams: BTreeSet<Arc<StreamKey>> =
        readers.iter().flat_map(|reader| reader.directory.streams.iter().map(|(key, _)| key.clone())).collect();
    for key in streams {
        match layout {
            Layout::Shared => {
                let mut parts = Vec::new();
                for (reader, numbers) in readers.iter().zip(&numbers) {
                    for piece in reader.directory.pieces_of(&key) {
                        let piece = reader.piece(&key, piece, cache, &mut Cost::default())?;
                        let start = parts.len();
                        parts.extend(piece.iter().cloned());
                        crate::segment::seal::renumber(&mut parts[start..], numbers);
                    }
                }
                parts.sort_by_key(part_key);
                writer.parts(&key, &parts)?;
            }
            Layout::Inline => {
                let (parts, rows) = gather(readers, &key, cache)?;
                writer.inline(&key, parts, &rows)?;
            }
        }
    }
    writer.end_table()
}

/// All parts of a stream, with the rows they name under one numbering.
fn gather(readers: &[TableReader<'_>], key: &StreamKey, cache: &Cache) -> Result<(Vec<Part>, Vec<Row>), Error> {
    let mut rows = Interner::default();
    let mut cursor = RowCursor::default();
    let mut parts = Vec::new();
    for reader in readers {
        let mut numbers: FxHashMap<RowId, RowId> = FxHashMap::default();
        for piece in reader.directory.pieces_of(key) {
            for part in reader.piece(key, piece, cache, &mut Cost::default())?.iter() {
                let mut part = part.clone();
                part.renumber(|id| {
                    rows.renumber(id, &mut numbers, |id| reader.row(id, &mut cursor, cache, &mut Cost::default()))
                })?;
                parts.push(part);
            }
        }
    }
    parts.sort_by_key(part_key);
    Ok((parts, rows.into_rows()))
}

/// Merges sorted rows, each once; tells for each input the new number of each of its rows.
fn merge_rows(
    readers: &[TableReader<'_>],
    writer: &mut SegmentWriter<'_>,
    cache: &Cache,
) -> Result<Vec<Vec<RowId>>, Error> {
    let mut cursors: Vec<RowCursor> = readers.iter().map(|_| RowCursor::default()).collect();
    let mut numbers: Vec<Vec<RowId>> =
        readers.iter().map(|reader| Vec::with_capacity(reader.directory.rows as usize)).collect();
    let mut heap: BinaryHeap<Reverse<(Row, usize)>> = BinaryHeap::new();
    let mut row_of = |input: usize, id: usize| -> Result<Option<Row>, Error> {
        let reader = &readers[input];
        if id as u64 >= reader.directory.rows {
            return Ok(None);
        }
        reader.row(id as RowId, &mut cursors[input], cache, &mut Cost::default()).map(Some)
    };
    for input in 0..readers.len() {
        heap.extend(row_of(input, 0)?.map(|row| Reverse((row, input))));
    }
    let mut last: Option<(Row, RowId)> = None;
    while let Some(Reverse((row, input))) = heap.pop() {
        let number = match &last {
            Some((same, number)) if *same == row => *number,
            _ => {
                let number = writer.row(row.clone())?;
                last = Some((row, number));
                number
            }
        };
        numbers[input].push(number);
        heap.extend(row_of(input, numbers[input].len())?.map(|row| Reverse((row, input))));
    }
    Ok(numbers)
}

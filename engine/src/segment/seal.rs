//! A memtable becomes a segment.
//!
//! Each table takes the layout that suits how much its rows repeat: where a row is named at least [`REPEATS`] times on
//! average it is kept once for all streams, elsewhere rows stand with the stream that uses them.

use super::directory::Layout;
use super::write::SegmentWriter;
use crate::error::Error;
use crate::memtable::{Memtable, TableParts};
use crate::timeline::{Part, RowId};
use std::convert::Infallible;

/// How often a row must be named on average for a table to keep each row once. A row that is added and removed once is
/// named twice, so what is above that repeats.
pub const REPEATS: u64 = 3;

/// The layout for a table with so many distinct rows, named so many times.
pub fn layout(rows: u64, copies: u64) -> Layout {
    if copies >= rows.saturating_mul(REPEATS) { Layout::Shared } else { Layout::Inline }
}

/// Writes all of a memtable.
pub fn seal(memtable: &Memtable, writer: &mut SegmentWriter<'_>) -> Result<(), Error> {
    let mut tables: Vec<_> = memtable.tables().collect();
    tables.sort_by(|a, b| a.0.cmp(b.0));
    for (name, table) in tables {
        let layout = layout(table.rows().len() as u64, table.copies());
        writer.begin_table(name, layout, None)?;
        let numbers = match layout {
            Layout::Shared => share(table, writer)?,
            Layout::Inline => Vec::new(),
        };
        let mut streams: Vec<_> = table.streams().collect();
        streams.sort_by(|a, b| a.0.cmp(b.0));
        for (key, stream) in streams {
            match layout {
                Layout::Shared => {
                    let mut parts = stream.parts().to_vec();
                    renumber(&mut parts, &numbers);
                    writer.parts(key, &parts)?;
                }
                Layout::Inline => writer.inline(key, stream.parts(), table.rows())?,
            }
        }
        writer.end_table()?;
    }
    Ok(())
}

/// Writes the rows in content order; tells each one's new number.
fn share(table: &TableParts, writer: &mut SegmentWriter<'_>) -> Result<Vec<RowId>, Error> {
    let rows = table.rows();
    let mut order: Vec<RowId> = (0..rows.len() as RowId).collect();
    order.sort_by(|&a, &b| rows[a as usize].cmp(&rows[b as usize]));
    let mut numbers = vec![0; rows.len()];
    for id in order {
        numbers[id as usize] = writer.row(&rows[id as usize])?;
    }
    Ok(numbers)
}

/// Gives every row in the parts its new number.
pub fn renumber(parts: &mut [Part], numbers: &[RowId]) {
    for part in parts {
        let Ok(()) = part.renumber(|id| Ok::<_, Infallible>(numbers[id as usize]));
    }
}

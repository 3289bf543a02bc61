//! Rows that stand beside the streams which name them.

use super::report::Wrong;
use super::table::Checked;
use crate::error::Fault;
use crate::packing::{self, Looks};
use crate::row::{Row, RowBuilder, is_canonical};
use crate::segment::Frames;
use crate::segment::directory::Layout;
use crate::segment::rows::RowBlock;

/// Whether a block's rows decode, and ascend where each is kept once; then its first and its last row.
pub(super) fn check(of: &Checked<'_>, offset: u64, count: usize) -> Result<Option<(Row, Row)>, Wrong> {
    if let Some(dictionary) = &of.dictionary {
        let payload = of.file.frame(offset, Frames::PACKED)?.payload;
        of.file.work.advance(payload.len() as u64);
        let block = packing::Block::open(dictionary, payload, count)?;
        let mut row = Vec::new();
        for at in 0..count {
            row.clear();
            block.row(&Looks::NONE, at, &mut row)?;
            if !is_canonical(&row) {
                return Err(Fault::Value { what: "form of a row" }.into());
            }
        }
        return Ok(None);
    }
    let payload = of.file.frame(offset, Frames::ROWS)?.payload;
    of.file.work.advance(payload.len() as u64);
    let block = RowBlock::decode(payload, &mut Vec::new())?;
    super::facts::differs("rows of a block", count as u64, block.len() as u64)?;
    let mut builder = RowBuilder::new();
    let (mut ends, mut before): (Option<Row>, Option<Row>) = (None, None);
    for at in 0..block.len() {
        let row = block.row(at, &mut builder);
        if of.directory.layout == Layout::Shared && before.as_ref().is_some_and(|before| *before >= row) {
            return Err(Fault::Order { what: "rows of a table that keeps each once" }.into());
        }
        ends.get_or_insert_with(|| row.clone());
        before = Some(row);
    }
    Ok(ends.zip(before))
}

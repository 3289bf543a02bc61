//! What each column of a table's rows takes in a segment, wherever the rows lie: in blocks of their own, or in runs.

use super::{Frames, TableReader, corrupt, rows};
use crate::error::{Error, Structure};
use crate::packing::{self, ColumnWeights, Looks};
use crate::read::answer::Cost;

impl TableReader<'_> {
    /// Adds what the columns of all rows take: decodes each.
    pub(crate) fn weigh_columns(&self, weights: &mut ColumnWeights, cost: &mut Cost) -> Result<(), Error> {
        let (segment, directory) = (self.segment, self.directory);
        let is_packed = directory.dictionary != 0;
        let ends = directory.row_blocks.iter().skip(1).map(|(first, _)| *first).chain([directory.rows]);
        let mut room = Vec::new();
        for ((&(first, offset), end), verified) in directory.row_blocks.iter().zip(ends).zip(self.verified) {
            let kind = if is_packed { Frames::PACKED } else { Frames::ROWS };
            let payload = segment.payload_once(offset, kind, Structure::Rows, verified, cost)?;
            let count = end.saturating_sub(first) as usize;
            let weighed = if is_packed {
                packing::weigh(self.dictionary()?, payload, count, &Looks::NONE, weights)
            } else {
                rows::weigh(payload, &mut room, weights)
            };
            weighed.map_err(|fault| corrupt(segment.name(), offset, Structure::Rows, fault))?;
        }
        for record in directory.records().filter(|record| record.run().is_some()) {
            self.run(&record, None).weigh_columns(weights, cost)?;
        }
        Ok(())
    }
}

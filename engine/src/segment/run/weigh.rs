//! What of a run is not its versions, and what each column of their rows takes.

use super::stream::Run;
use crate::error::Error;
use crate::packing::{self, ColumnWeights, Looks};
use crate::read::answer::Cost;

impl Run<'_> {
    /// How many bytes its keyframes take.
    pub(crate) fn keyframe_bytes(&mut self, cost: &mut Cost) -> Result<u64, Error> {
        let mut bytes = 0;
        for at in 0..self.pieces.len() {
            let (of, open) = (self.place(at), self.piece(at, cost)?);
            let opened = open.borrow_dependent();
            for block in 0..opened.head().blocks() {
                if opened.head().keyframe_of(block).map_err(|fault| of.error(fault))? == block {
                    bytes += opened.body(block, cost).map_err(|fault| of.error(fault))?.alive_bytes();
                }
            }
        }
        Ok(bytes)
    }

    /// Adds what the columns of its versions' rows take.
    pub(crate) fn weigh_columns(&mut self, weights: &mut ColumnWeights, cost: &mut Cost) -> Result<(), Error> {
        let dictionary = self.reader.dictionary()?;
        for at in 0..self.pieces.len() {
            let (of, open) = (self.place(at), self.piece(at, cost)?);
            let opened = open.borrow_dependent();
            for block in 0..opened.head().blocks() {
                let known = self.block((at, block), opened, cost)?;
                let body = opened.body(block, cost).map_err(|fault| of.error(fault))?;
                let looks = Looks { starts: &known.starts, seconds: &known.seconds };
                packing::weigh(dictionary, body.rows, body.count, &looks, weights).map_err(|fault| of.error(fault))?;
            }
        }
        Ok(())
    }
}

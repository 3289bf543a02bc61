//! Which streams of a table are more or less sure at T than their first and last look tell: worked out once for all times,
//! so that a question to all hosts need not read each stream that ever had a break.
//!
//! Invariants:
//! - It says of each stream at each second what the stream's run says there.
//! - A question looks at the stretches that hold at T and at one number for so many others, whichever streams they are of.

use super::answer::Cost;
use crate::error::Error;
use crate::fact::Second;
use crate::segment::TableReader;
use crate::timeline::moments::{Stretch, stretches};
use crate::timeline::verdict::Class;
use rayon::iter::{IntoParallelRefIterator, ParallelIterator};

/// The stretches of all streams of a table.
#[derive(Debug)]
pub(super) struct Unsure {
    /// By begin.
    stretches: Vec<OfStream>,
    /// Of so many at a time: when the last of them ends.
    ends: Vec<Second>,
}

/// A stretch of the stream at a place of the directory.
#[derive(Clone, Debug)]
struct OfStream {
    from: Second,
    to: Second,
    place: u32,
    class: Class,
}

/// How many stretches share an end in [`Unsure::ends`].
const GROUP: usize = 64;
/// So many stretches are held, and so many more for each stream; of a table with more each stream is read when it is asked.
const STRETCHES_MIN: usize = 1 << 12;
const STRETCHES_PER_STREAM_MAX: usize = 16;

impl Unsure {
    /// Of the streams at these places, whose runs tell of breaks; `None` if that is too much to hold.
    pub(super) fn new(reader: TableReader<'_>, places: &[u32]) -> Result<Option<Unsure>, Error> {
        let of_stream = |&place: &u32| -> Result<Vec<OfStream>, Error> {
            let record = reader.directory.record(place as usize);
            let extent = reader.directory.extent(&record);
            // Most of it is never asked for again.
            let moments = reader.run(&record, None).moments(&mut Cost::default())?;
            let all = stretches(&moments, extent);
            let with_place =
                |Stretch { seconds, class }| OfStream { from: seconds.start, to: seconds.end, place, class };
            Ok(all.into_iter().map(with_place).collect())
        };
        let all: Vec<Vec<OfStream>> = places.par_iter().map(of_stream).collect::<Result<_, Error>>()?;
        if all.iter().map(Vec::len).sum::<usize>() > STRETCHES_MIN + STRETCHES_PER_STREAM_MAX * places.len() {
            return Ok(None);
        }
        let mut stretches = all.concat();
        stretches.sort_unstable_by_key(|of| (of.from, of.place));
        let end = |of: &[OfStream]| of.iter().map(|of| of.to).max().unwrap_or(Second::MIN);
        let ends = stretches.chunks(GROUP).map(end).collect();
        Ok(Some(Unsure { stretches, ends }))
    }

    /// The streams that are not of the class at T that their first and last look tell, by place, and that class.
    pub(super) fn at(&self, at: Second) -> Vec<(usize, Class)> {
        let begun = self.stretches.partition_point(|of| of.from <= at);
        let mut found = Vec::new();
        for (group, &end) in self.stretches[..begun].chunks(GROUP).zip(&self.ends) {
            if end > at {
                let hold = group.iter().filter(|of| at < of.to);
                found.extend(hold.map(|of| (of.place as usize, of.class)));
            }
        }
        found.sort_unstable_by_key(|(place, _)| *place);
        found
    }
}

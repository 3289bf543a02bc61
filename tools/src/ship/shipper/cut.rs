//! From what is ready in the sources to the next batch.
//!
//! Invariants:
//! - Positions move and the batch is written down in one step.
//! - Sources take turns: each gets its share, and who found no room begins the next batch.
//! - A batch is no larger than the sink takes, and larger than asked for only by one line that is alone in it.

use super::{Batch, Shipper};
use crate::fail::Failure;
use crate::ship::generation::Room;
use crate::ship::names;
use crate::ship::pace::{Now, Pace};
use crate::ship::sink::{BATCH_OVERHEAD, Sink, overhead};
use crate::ship::source::{Given, Slice, Source};

/// The least that a source is asked for in its turn.
const SHARE_BYTES_MIN: u64 = 64 << 10;

impl<S: Sink, P: Pace> Shipper<S, P> {
    /// Cuts a batch if it is time, and writes it down; true if there is one.
    pub(in crate::ship) fn cut(&mut self) -> Result<bool, Failure> {
        let now = self.now();
        let Some(payload_max) = self.line.open else { return Ok(false) };
        if self.flight.len() >= self.options.in_flight_max {
            return Ok(false);
        }
        let ready: u64 = self.sources.iter().map(|source| source.ready(&self.options, now)).sum();
        if ready == 0 {
            self.waiting = None;
            return Ok(false);
        }
        let since = *self.waiting.get_or_insert(now.monotonic);
        if ready < self.options.batch_bytes && now.monotonic < since + self.options.batch_wait {
            return Ok(false);
        }
        self.waiting = None;
        let slices = self.slices(payload_max, now);
        if slices.is_empty() {
            return Ok(false);
        }
        let (pieces, bytes) = slices.into_iter().map(|slice| (slice.piece, slice.bytes)).unzip();
        self.flight.push_back(Batch { sequence: self.next, pieces, bytes: Some(bytes), sent: false });
        self.next += 1;
        self.save()?;
        Ok(true)
    }

    /// The slices of one batch, from all sources in turn.
    fn slices(&mut self, payload_max: u64, now: Now) -> Vec<Slice> {
        let needed = self.needed();
        let mut slices: Vec<Slice> = vec![];
        let (options, mut size) = (self.options.clone(), 0);
        let count = self.sources.len();
        let ready: Vec<u64> = self.sources.iter().map(|source| source.ready(&options, now)).collect();
        let waiting = ready.iter().filter(|&&ready| ready > 0).count() as u64;
        let target = options.batch_bytes.min(payload_max);
        let share = (target / waiting.max(1)).max(SHARE_BYTES_MIN);
        let first = self.turn % count.max(1);
        let mut open: Vec<usize> = (0..count).map(|step| (first + step) % count).filter(|&at| ready[at] > 0).collect();
        let mut unpacks: usize = self.sources.iter().map(Source::unpacks).sum();
        // Whoever was left out begins the next batch.
        let mut next = None;
        while !open.is_empty() && size < target {
            let round = std::mem::take(&mut open);
            for at in round {
                if size >= target {
                    next.get_or_insert(at);
                    break;
                }
                let source = &self.sources[at];
                if source.wants_to_unpack() && unpacks >= options.unpack_max {
                    continue;
                }
                let over = overhead(&names::bytes_of(&source.path));
                let payload_left = payload_max.saturating_sub(BATCH_OVERHEAD + size + over);
                let alone = slices.is_empty();
                let room = Room {
                    bytes: share.min(target - size).min(payload_left).max(1),
                    alone,
                    line_bytes_max: options.line_bytes_max.min(payload_max.saturating_sub(BATCH_OVERHEAD + over)),
                };
                if payload_left == 0 {
                    next.get_or_insert(at);
                    continue;
                }
                let before = source.unpacks();
                let (sources, mut around) = self.around(&needed);
                let given = sources[at].give(room, &mut around);
                unpacks = unpacks + self.sources[at].unpacks() - before;
                match given {
                    Given::Nothing => {}
                    Given::Full => drop(next.get_or_insert(at)),
                    Given::Slice(slice) => {
                        size += slice.bytes.len() as u64 + over;
                        slices.push(slice);
                        open.push(at);
                    }
                }
            }
        }
        self.turn = next.unwrap_or(first + 1);
        slices
    }
}

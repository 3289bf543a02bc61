//! Batches under way: opened, sent, sent again, and in.
//!
//! Invariants:
//! - What is sent is what stands in the place, byte for byte; if that cannot be had any more, the place is changed first.
//! - Batches are sent in order, and a batch is let go only when the sink says that it is in.
//! - Who is away is tried again for ever, ever more rarely.

use super::Shipper;
use crate::fail::Failure;
use crate::ship::event::Event;
use crate::ship::names;
use crate::ship::pace::Pace;
use crate::ship::place::Piece;
use crate::ship::sink::{Ack, BATCH_OVERHEAD, Chunk, Opening, Sink, SinkError, overhead};
use crate::ship::source::Source;
use std::io;
use std::time::Duration;

/// A connection that has lasted so long was a good one: the next failure is the first.
const GOOD_AFTER: Duration = Duration::from_secs(30);

impl<S: Sink, P: Pace> Shipper<S, P> {
    /// Opens the sink if it is not open and may be tried; true if it was opened.
    pub(in crate::ship) fn greet(&mut self) -> Result<bool, Failure> {
        let now = self.now().monotonic;
        if self.line.open.is_some() || now < self.line.not_before {
            return Ok(false);
        }
        let opening = Opening {
            producer: self.producer,
            instance: self.instance,
            first: self.flight.front().map_or(self.next, |batch| batch.sequence),
            last: self.next - 1,
        };
        let opened = match self.sink.open(&opening) {
            Ok(opened) => opened,
            Err(error) => return self.failed(error).map(|()| false),
        };
        if opened.greatest > opening.last || opened.greatest + 1 < opening.first {
            return Err(Failure::Failed(format!(
                "the other side has batches up to {} of producer {:032x}, and this state sent up to {} and knows that {} \
                 are in: the state is a copy or an old one, or the store was put back. Sending on would lose or repeat \
                 data. Start with a new --state: all that still lies there is then sent again, which changes no answer",
                opened.greatest,
                self.producer,
                opening.last,
                opening.first - 1
            )));
        }
        (self.line.open, self.line.opened_at, self.line.why) = (Some(opened.request_bytes_max), now, None);
        self.is_in(opened.greatest);
        for batch in &mut self.flight {
            batch.sent = false;
        }
        (self.tell)(Event::Opened { greatest: opened.greatest, again: self.flight.len() });
        Ok(true)
    }

    /// What the sink could not do: waits, or gives up.
    fn failed(&mut self, error: SinkError) -> Result<(), Failure> {
        let now = self.now().monotonic;
        match error {
            SinkError::Refused { why } => Err(Failure::Failed(why)),
            SinkError::Away { why, wait } => {
                if self.line.open.is_some() && now >= self.line.opened_at + GOOD_AFTER {
                    self.line.failures = 0;
                }
                let (least, most) = self.options.retry;
                let back_off = least.saturating_mul(1 << self.line.failures.min(20)).min(most);
                // Between half and all of it, so that those who were cut off together do not come back together.
                self.chance = self.chance.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let jitter = back_off.mul_f64((self.chance >> 11) as f64 / (1u64 << 53) as f64 / 2.0);
                let wait = wait.unwrap_or_default() + back_off / 2 + jitter;
                self.line.failures = self.line.failures.saturating_add(1);
                self.line.open = None;
                self.line.not_before = now + wait;
                self.line.why = Some(why.clone());
                (self.tell)(Event::Away { why, wait });
                Ok(())
            }
        }
    }

    /// All up to `sequence` is in.
    fn is_in(&mut self, sequence: u64) {
        while let Some(batch) = self.flight.pop_front_if(|batch| batch.sequence <= sequence) {
            self.report.batches += 1;
            self.report.bytes += batch.pieces.iter().map(|piece| piece.to - piece.from).sum::<u64>();
            self.changed = true;
        }
    }

    /// Sends what is recorded and was not sent on this connection.
    pub(in crate::ship) fn send(&mut self) -> Result<(), Failure> {
        for at in 0..self.flight.len() {
            let Some(bytes_max) = self.line.open else { break };
            if self.flight[at].sent {
                continue;
            }
            if self.flight[at].bytes.is_none() && !self.read_again(at)? {
                break;
            }
            let batch = &mut self.flight[at];
            let names: Vec<Vec<u8>> = batch.pieces.iter().map(|piece| name_of(&self.sources, piece)).collect();
            let bytes = batch.bytes.as_deref().unwrap_or_default();
            let chunks: Vec<Chunk<'_>> = (batch.pieces.iter().zip(&names).zip(bytes))
                .map(|((piece, source), lines)| Chunk { source, offset: piece.offset, lines })
                .collect();
            let size = chunks.iter().map(|chunk| overhead(chunk.source) + chunk.lines.len() as u64).sum::<u64>();
            if size + BATCH_OVERHEAD > bytes_max {
                return Err(Failure::Failed(format!(
                    "batch {} was cut with {size} bytes, and the other side now takes {bytes_max} at most: allow it \
                     requests of at least {} bytes",
                    batch.sequence,
                    size + BATCH_OVERHEAD
                )));
            }
            match self.sink.send(batch.sequence, &chunks) {
                Ok(()) => batch.sent = true,
                Err(error) => self.failed(error)?,
            }
        }
        Ok(())
    }

    /// Reads the bytes of a recorded batch again; false if that is not possible yet.
    fn read_again(&mut self, at: usize) -> Result<bool, Failure> {
        let pieces = self.flight[at].pieces.clone();
        let (mut kept, mut all, mut lost) = (vec![], vec![], vec![]);
        for piece in pieces {
            match self
                .sources
                .iter_mut()
                .find(|source| source.number == piece.source)
                .map(|source| source.again(&piece))
            {
                Some(Ok(Some(bytes))) => {
                    kept.push(piece);
                    all.push(bytes);
                }
                Some(Err(error)) => {
                    let found = error.kind() == io::ErrorKind::NotFound;
                    if !found {
                        self.with(piece.source, |source, around| {
                            let path = source.path.clone();
                            source.trouble(around, &path, &error);
                        });
                    }
                    return Ok(false);
                }
                Some(Ok(None)) | None => lost.push(piece),
            }
        }
        let sequence = self.flight[at].sequence;
        for piece in &lost {
            let what = format!(
                "batch {sequence} is not in, and its bytes from offset {} of the source on are gone or changed; it goes \
                 without them",
                piece.offset
            );
            self.with(piece.source, |source, around| source.lost(around, piece.to - piece.from, what));
        }
        let batch = &mut self.flight[at];
        (batch.pieces, batch.bytes) = (kept, Some(all));
        if !lost.is_empty() {
            // From now on this is what the sequence stands for.
            self.save()?;
        }
        Ok(true)
    }

    /// Collects what went in; true if something did.
    pub(in crate::ship) fn collect(&mut self, wait: Duration) -> Result<bool, Failure> {
        let (mut news, mut wait) = (false, wait);
        while self.line.open.is_some() && self.flight.iter().any(|batch| batch.sent) {
            match self.sink.acknowledged(wait) {
                Ok(Some(ack)) => {
                    let sent = self.flight.iter().rev().find(|batch| batch.sent).map_or(0, |batch| batch.sequence);
                    if self.flight.iter().any(|batch| batch.sent && batch.sequence == ack.sequence) {
                        self.report.lines += ack.lines;
                        self.report.dead_letters += ack.dead_letters;
                        if ack.dead_letters > 0 {
                            let Ack { sequence, dead_letters: lines, .. } = ack;
                            (self.tell)(Event::DeadLetters { sequence, lines });
                        }
                        self.line.failures = 0;
                    }
                    self.is_in(ack.sequence.min(sent));
                    (news, wait) = (true, Duration::ZERO);
                }
                Ok(None) => break,
                Err(error) => self.failed(error)?,
            }
        }
        Ok(news)
    }
}

/// The name of the source that a piece is of.
fn name_of(sources: &[Source], piece: &Piece) -> Vec<u8> {
    let source = sources.iter().find(|source| source.number == piece.source);
    source.map(|source| names::bytes_of(&source.path)).unwrap_or_default()
}

//! How far behind it is.

use super::Shipper;
use crate::ship::pace::Pace;
use crate::ship::report::{Lag, Report};
use crate::ship::sink::Sink;
use crate::ship::source::Source;

impl<S: Sink, P: Pace> Shipper<S, P> {
    /// How far each source is behind.
    pub fn lags(&self) -> Vec<Lag> {
        let now = self.now();
        let followed = self.sources.iter().filter(|source| source.active);
        let lag = |source: &Source| {
            let pieces = self.flight.iter().flat_map(|batch| &batch.pieces);
            let under_way: u64 =
                pieces.filter(|piece| piece.source == source.number).map(|piece| piece.to - piece.from).sum();
            let bytes = under_way + source.generations.iter().map(|generation| generation.unread()).sum::<u64>();
            let since = source.caught_up.map(|micros| u64::try_from(now.wall_micros - micros).unwrap_or(0) / 1_000_000);
            Lag {
                source: source.path.clone(),
                bytes,
                at_least: source.generations.iter().any(|known| known.known.packed && !known.known.done),
                seconds: if bytes == 0 { Some(0) } else { since },
                is_open: bytes > 0 && under_way == 0 && source.is_through(&self.options, now),
            }
        };
        followed.map(lag).collect()
    }

    /// What was done, and how it stands.
    pub fn report(&self) -> Report {
        Report {
            lags: self.lags(),
            next: self.next,
            under_way: self.flight.len(),
            skipped_lines: self.sources.iter().map(|source| source.skipped_lines).sum(),
            lost_bytes: self.sources.iter().map(|source| source.lost_bytes).sum(),
            away: self.line.why.clone(),
            ..self.report.clone()
        }
    }
}

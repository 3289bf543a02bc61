//! What damage takes from a store: whose facts, of which times.
//!
//! Invariants:
//! - A loss never names less than what is gone: what no surviving structure tells is `None`, which stands for all.
//! - However much is lost, a list of losses is bounded ([`LOSSES_MAX`]): beyond, streams are told by their tables.

use crate::fact::{Kind, Micros, Name, Second, StreamKey};
use crate::log::{Digest, Digested};
use crate::manifest::{SegmentMeta, decode_summary};
use crate::note::is_digested;
use std::collections::BTreeMap;

/// So many losses are listed of one damage before streams are no longer told apart within their tables.
pub const LOSSES_MAX: usize = 10_000;

/// Streams by what is known of them; what is not known is `None` and stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Streams {
    /// The table.
    pub table: Option<Name>,
    /// The host.
    pub host: Option<Name>,
    /// The query's name.
    pub name: Option<Name>,
    /// What its looks are.
    pub kind: Option<Kind>,
}

impl Streams {
    /// One stream.
    pub fn one(key: &StreamKey) -> Streams {
        let (table, host, name) = (key.table.clone(), key.host.clone(), key.name.clone());
        Streams { table: Some(table), host: Some(host), name: Some(name), kind: Some(key.kind) }
    }

    /// All streams of a table.
    pub fn of_table(table: &Name) -> Streams {
        Streams { table: Some(table.clone()), ..Streams::default() }
    }
}

/// What of the streams is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum What {
    /// No fact: what is damaged follows from what is not.
    Nothing,
    /// When looks were recorded; what they saw is there.
    Recorded,
    /// What rows said that the looks of these seconds name; when these looks were is there.
    Rows,
    /// The looks of these seconds, with their rows. What a stream's state was is not known from the first of them on
    /// until its next full set.
    Looks,
    /// Everything that the damaged file held of the streams.
    Stream,
    /// Notes: what was said of agents' versions, maps and catalogues, dead letters, or producers' batches.
    Notes,
}

impl What {
    /// The word for it in reports.
    pub fn word(self) -> &'static str {
        match self {
            What::Nothing => "nothing",
            What::Recorded => "recorded-times",
            What::Rows => "rows",
            What::Looks => "looks",
            What::Stream => "stream",
            What::Notes => "notes",
        }
    }
}

/// Facts that are gone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Loss {
    /// Whose.
    pub streams: Streams,
    /// What of them.
    pub what: What,
    /// The observed seconds of the first and the last look that is lost; `None` if nothing tells.
    pub seconds: Option<(Second, Second)>,
    /// The least and the greatest recorded time that what is lost can have; `None` if nothing tells, and
    /// [`Micros::MAX`] where no end is known.
    pub recorded: Option<(Micros, Micros)>,
}

impl Loss {
    /// No fact is lost.
    pub fn nothing() -> Loss {
        Loss { streams: Streams::default(), what: What::Nothing, seconds: None, recorded: None }
    }

    /// What was recorded in a stretch of time, of whatever stream.
    pub fn of_recorded(from: Micros, to: Micros) -> Loss {
        Loss { what: What::Stream, recorded: Some((from, to)), ..Loss::nothing() }
    }

    /// Something of one stream; of notes it is [`What::Notes`] in any case but when they were recorded.
    pub fn of_stream(
        key: &StreamKey,
        what: What,
        seconds: Option<(Second, Second)>,
        recorded: Option<(Micros, Micros)>,
    ) -> Loss {
        let what = match what {
            What::Nothing | What::Recorded => what,
            _ if key.kind == Kind::Note => What::Notes,
            _ => what,
        };
        Loss { streams: Streams::one(key), what, seconds, recorded }
    }
}

/// Losses while they are found: what is said twice is said once.
#[derive(Debug, Default)]
pub struct Losses {
    found: BTreeMap<(Streams, What), Times>,
    by_table: bool,
}

/// Seconds, and recorded times.
type Times = (Option<(i64, i64)>, Option<(i64, i64)>);

impl Losses {
    /// Adds one.
    pub fn push(&mut self, loss: Loss) {
        self.put((loss.streams, loss.what), (loss.seconds, loss.recorded));
        if self.found.len() > LOSSES_MAX && !self.by_table {
            self.by_table = true;
            for (key, times) in std::mem::take(&mut self.found) {
                self.put(key, times);
            }
        }
    }

    fn put(&mut self, (mut streams, what): (Streams, What), times: Times) {
        if self.by_table {
            (streams.host, streams.name) = (None, None);
        }
        let hull = |a: Option<(i64, i64)>, b: Option<(i64, i64)>| Some((a?.0.min(b?.0), a?.1.max(b?.1)));
        self.found
            .entry((streams, what))
            .and_modify(|known| *known = (hull(known.0, times.0), hull(known.1, times.1)))
            .or_insert(times);
    }

    /// All of them, in order.
    pub fn finish(self) -> Vec<Loss> {
        let loss = |((streams, what), (seconds, recorded))| Loss { streams, what, seconds, recorded };
        self.found.into_iter().map(loss).collect()
    }
}

/// What is lost with a segment, or with what it has of one table, by the summary that the manifest keeps.
pub fn of_segment(meta: &SegmentMeta, table: Option<&Name>, losses: &mut Losses) {
    let recorded = Some(meta.recorded);
    let (streams, left_out) = decode_summary(&meta.summary).unwrap_or_default();
    for extent in streams.iter().filter(|extent| table.is_none_or(|table| *table == extent.stream.table)) {
        losses.push(Loss::of_stream(&extent.stream, What::Stream, Some((extent.first, extent.last)), recorded));
    }
    if streams.is_empty() || left_out > 0 {
        for extent in meta.tables.iter().filter(|extent| table.is_none_or(|table| *table == extent.table)) {
            let streams = Streams::of_table(&extent.table);
            let seconds = Some((extent.first, extent.last));
            losses.push(Loss { streams, what: What::Stream, seconds, recorded });
        }
    }
}

/// What is lost with batches of a log, by their digests.
pub(super) fn of_batches<'d>(digests: impl Iterator<Item = &'d Digest>) -> Vec<Loss> {
    let mut losses = Losses::default();
    for digest in digests {
        let mut push = |stream: &StreamKey, first: Second, last: Second| {
            let recorded = (digest.recorded, digest.recorded);
            losses.push(Loss::of_stream(stream, What::Looks, Some((first, last)), Some(recorded)));
        };
        let held = digest.held.iter().flat_map(|held| &held.looks);
        for Digested { stream, first, last } in digest.streams.iter().filter(|of| !is_digested(&of.stream)).chain(held)
        {
            push(stream, *first, *last);
        }
    }
    losses.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{StreamSummary, Summary, TableExtent};

    fn key(host: &str, kind: Kind) -> StreamKey {
        let name = |text: &str| Name::from(text.as_bytes());
        StreamKey { table: name("users"), host: name(host), name: name("q"), kind, sightings: false }
    }

    #[test]
    fn what_is_said_twice_is_said_once() {
        let mut losses = Losses::default();
        losses.push(Loss::of_stream(&key("a", Kind::Diff), What::Looks, Some((1, 5)), None));
        losses.push(Loss::of_stream(&key("b", Kind::Diff), What::Looks, Some((3, 4)), Some((1, 2))));
        losses.push(Loss::of_stream(&key("a", Kind::Diff), What::Looks, Some((6, 9)), None));
        losses.push(Loss::of_stream(&key("b", Kind::Diff), What::Looks, None, Some((0, 1))));
        let losses = losses.finish();
        let times: Vec<_> = losses.iter().map(|loss| (loss.seconds, loss.recorded)).collect();
        assert_eq!(
            times,
            [(Some((1, 9)), None), (None, Some((0, 2)))],
            "what is not known of one is not known of both"
        );
    }

    #[test]
    fn notes_are_told_from_looks() {
        let of = |kind, what| Loss::of_stream(&key("a", kind), what, None, None).what;
        assert_eq!(of(Kind::Note, What::Stream), What::Notes);
        assert_eq!(of(Kind::Note, What::Recorded), What::Recorded);
        assert_eq!(of(Kind::Event, What::Stream), What::Stream);
    }

    #[test]
    fn too_many_losses_are_told_by_table() {
        let mut losses = Losses::default();
        for host in 0..LOSSES_MAX as i64 + 2 {
            losses.push(Loss::of_stream(&key(&host.to_string(), Kind::Diff), What::Looks, Some((host, host)), None));
        }
        let losses = losses.finish();
        let [loss] = &losses[..] else { panic!("{} losses", losses.len()) };
        assert_eq!(loss.seconds, Some((0, LOSSES_MAX as i64 + 1)));
        assert_eq!((loss.streams.host.clone(), loss.streams.kind), (None, Some(Kind::Diff)));
        assert_eq!(loss.streams.table, Some(Name::from(&b"users"[..])));
    }

    fn meta() -> SegmentMeta {
        SegmentMeta {
            number: 1,
            bytes: 0,
            footer_crc: 0,
            level: 0,
            recorded: (3, 4),
            parts: 2,
            versions: 2,
            tables: Vec::new(),
            summary: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Without a summary the manifest still names the tables.
    #[test]
    fn a_segment_is_told_by_its_tables_at_least() {
        let table = |name: &str, first| TableExtent {
            table: Name::from(name.as_bytes()),
            parts: 1,
            versions: 1,
            first,
            last: first + 9,
        };
        let meta = SegmentMeta { tables: vec![table("mounts", 1), table("users", 2)], ..meta() };
        let told = |table: Option<&Name>| {
            let mut losses = Losses::default();
            of_segment(&meta, table, &mut losses);
            losses.finish().into_iter().map(|loss| loss.seconds).collect::<Vec<_>>()
        };
        assert_eq!(told(None), [Some((1, 10)), Some((2, 11))]);
        assert_eq!(told(Some(&Name::from(&b"users"[..]))), [Some((2, 11))]);
    }

    /// Streams that a summary had no room for may be of any of the tables.
    #[test]
    fn streams_that_a_summary_leaves_out_are_told_by_their_tables() {
        let table = Name::from(&b"users"[..]);
        let stream = StreamSummary { host: 0, name: 0, kind: Kind::Diff, sightings: false, extent: (3, 4), parts: 2 };
        let mut summary = Summary::default();
        summary.table(&table, &[Name::from(&b"q"[..])], [stream].into_iter());
        let mut summary = summary.finish([Name::from(&b"a"[..])].iter());
        let told = |summary: &[u8]| {
            let mut losses = Losses::default();
            let tables = vec![TableExtent { table: table.clone(), parts: 9, versions: 9, first: 1, last: 10 }];
            of_segment(&SegmentMeta { tables, summary: summary.to_vec(), ..meta() }, None, &mut losses);
            losses.finish().into_iter().map(|loss| loss.seconds).collect::<Vec<_>>()
        };
        assert_eq!(told(&summary), [Some((3, 4))]);
        // How many are left out stands behind how many are listed.
        assert_eq!(std::mem::replace(&mut summary[1], 5), 0);
        assert_eq!(told(&summary), [Some((1, 10)), Some((3, 4))]);
    }
}

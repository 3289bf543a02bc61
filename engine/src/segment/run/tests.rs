//! Runs against the parts and versions that they were made of.

use super::encode::Encoder;
use super::{BLOCK_VERSIONS_MAX, KEYFRAME_WEIGHT, PIECE_WEIGHT_MIN, VERSION_WEIGHT};
use crate::fact::{Inferred, Kind, Name, StreamKey};
use crate::format::frame::FileId;
use crate::io::{MemoryStorage, Storage};
use crate::manifest::SegmentMeta;
use crate::packing::{Learner, Packer};
use crate::read::answer::Cost;
use crate::row::{Row, RowBuilder};
use crate::segment::cache::Cache;
use crate::segment::directory::{Form, Layout};
use crate::segment::write::SegmentWriter;
use crate::segment::{RowOf, Segment};
use crate::timeline::regular::{self, Lifetime, OPEN};
use crate::timeline::{AgentHistory, Part, build};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

const ID: FileId = FileId { store: *b"sixteen bytes id", number: 7 };

fn row(i: u32) -> Row {
    let mut builder = RowBuilder::new();
    builder.column(b"name", format!("worker {} of {}", i % 5, i / 5).as_bytes());
    builder.column(b"pid", (100 + i).to_string().as_bytes());
    builder.row()
}

/// What the parts of a regular stream do, look by look: which rows leave and which come, chosen by numbers; 0 removals
/// and a full set now and then.
fn parts_of(kind: Kind, choices: &[(u8, Vec<u32>)], rows: u32) -> Vec<Part> {
    let mut held: BTreeMap<u32, u64> = BTreeMap::new();
    let mut parts: Vec<Part> = Vec::new();
    let (mut epoch, mut counter) = (1, 0);
    for (i, (what, changed)) in choices.iter().enumerate() {
        let is_full = kind == Kind::Snapshot || kind == Kind::Diff && (i == 0 || what % 16 == 0);
        if is_full && i > 0 {
            (epoch, counter) = (epoch + 1, 0);
        }
        let mut part = Part {
            epoch,
            counter: (kind != Kind::Snapshot || what % 2 == 0).then_some(counter),
            second: 1_000 + 60 * i as i64 + i64::from(what % 7),
            whole: what % 3 == 0,
            inferred: Inferred::V5_7,
            recorded: 5_000_000 + 1_000 * (i as i64 / 3),
            removed: Vec::new(),
            added: Vec::new(),
        };
        counter += 1;
        let changed: BTreeSet<u32> = changed.iter().map(|change| change % rows).collect();
        for row in changed {
            let count = u64::from(what % 3) + 1;
            match held.remove(&row) {
                _ if kind == Kind::Event => part.added.push((row, count)),
                Some(count) => part.removed.push((row, count)),
                None => {
                    held.insert(row, count);
                    part.added.push((row, count));
                }
            }
        }
        if is_full {
            part.removed.clear();
            part.added = held.iter().map(|(&row, &count)| (row, count)).collect();
        }
        parts.push(part);
    }
    parts
}

/// A segment of one stream that is a run.
fn segment(kind: Kind, parts: &[Part], rows: &[Row]) -> (MemoryStorage, SegmentMeta, Vec<Lifetime>) {
    let (mut lifetimes, agent) = regular::versions(kind, false, parts).expect("a regular stream");
    let mut learner = Learner::new();
    rows.iter().for_each(|row| learner.row(row.as_bytes(), 1_000));
    let dictionary = Arc::new(learner.finish());
    let storage = MemoryStorage::new();
    let mut commits: Vec<i64> = parts.iter().map(|part| part.recorded).collect();
    commits.dedup();
    let mut writer = SegmentWriter::create(&storage, ID, 9, 3, commits.clone()).expect("memory has room");
    let table = Name::from(&b"processes"[..]);
    writer.begin_table(&table, Layout::Inline, Some(dictionary.clone())).expect("memory has room");
    let (mut bytes, mut packer) = (Vec::new(), Packer::new(dictionary));
    let pieces = Encoder::default().run(kind, parts, &mut lifetimes, rows, &mut packer, &commits, &mut bytes);
    let name = Name::from(&b"pack/processes"[..]);
    let key = StreamKey { table, host: Name::from(&b"h"[..]), name, kind, sightings: false };
    writer.run(&Arc::new(key), (agent, true), &pieces, &bytes, 0).expect("memory has room");
    writer.end_table().expect("memory has room");
    let meta = writer.finish().expect("memory has room");
    (storage, meta, lifetimes)
}

/// Everything that a run is asked for, against the versions it was made of.
fn check(kind: Kind, parts: &[Part], rows: &[Row]) {
    let (storage, meta, lifetimes) = segment(kind, parts, rows);
    let segment = Segment::open(&storage, ID, &meta).expect("it is whole");
    let reader = segment.table(b"processes").expect("it is whole").expect("it is there");
    let stream = &reader.directory.streams[0];
    assert_eq!(stream.form, Form::Run);
    let mut cost = Cost::default();

    let mut names: Vec<Row> = Vec::new();
    let number = |row: RowOf<'_>, _: &mut Cost| match row {
        RowOf::Own(row) => {
            // Rows are distinct, so that the place of a row is its number.
            let place = rows.iter().position(|other| other == row).expect("a row that was given");
            names.push(row.clone());
            Ok(place as u32)
        }
        RowOf::Table(_) => panic!("rows of a run are its own"),
    };
    let mut back = Vec::new();
    let cache = Cache::new(1 << 20);
    reader.parts(stream, &cache, &mut cost, |_| true, |_| true, number, |part| back.push(part)).expect("it is whole");
    assert_eq!(format!("{back:?}"), format!("{parts:?}"));

    let mut run = reader.run(stream);
    assert_eq!((run.looks(), run.versions()), (parts.len(), lifetimes.len()));
    let died = |lifetime: &Lifetime| (lifetime.died != OPEN).then_some(lifetime.died as usize);
    let mut bytes = Vec::new();
    for (look, part) in parts.iter().enumerate() {
        assert_eq!(run.second(look, &mut cost).expect("a look"), part.second);
        assert_eq!(run.looks_until(part.second, &mut cost).expect("a time"), look + 1);
        assert_eq!(run.looks_until(part.second - 1, &mut cost).expect("a time"), look);
        let versions = |chosen: &dyn Fn(&Lifetime) -> bool| -> Vec<(usize, usize, Option<usize>, u64, u32)> {
            let of = |(ordinal, l): (usize, &Lifetime)| (ordinal, l.born as usize, died(l), l.count, l.row);
            lifetimes.iter().enumerate().filter(|(_, lifetime)| chosen(lifetime)).map(of).collect()
        };
        let mut found = Vec::new();
        let mut before = Cost::default();
        let mut note =
            |version: &super::stream::Version, (block, at): super::stream::RowPlace<'_, '_>, _: &mut Cost| {
                bytes.clear();
                block.row("a test", at, &mut bytes)?;
                let row = rows.iter().position(|row| row.as_bytes() == bytes).expect("a row that was given");
                found.push((version.ordinal, version.born, version.died, version.count, row as u32));
                Ok(())
            };
        if kind != Kind::Event {
            run.alive_after(look, &mut before, &mut note).expect("it is whole");
            let is_alive = |l: &Lifetime| l.born as usize <= look && died(l).is_none_or(|died| died > look);
            assert_eq!(found, versions(&is_alive), "alive after look {look}");
            let (keys, alive) = (before.keys_decoded as usize, found.len());
            assert!(keys <= 4 * alive + 2 * BLOCK_VERSIONS_MAX, "{keys} keys for {alive} rows");
            found.clear();
        }
        let mut note = |version: &super::stream::Version, _: super::stream::RowPlace<'_, '_>, _: &mut Cost| {
            found.push((version.ordinal, version.born, version.died, version.count, lifetimes[version.ordinal].row));
            Ok(())
        };
        run.born_at(look, &mut cost, &mut note).expect("it is whole");
        assert_eq!(found, versions(&|l| l.born as usize == look), "born at look {look}");
    }
}

#[test]
fn the_page_names_the_numbers_of_the_code() {
    const PAGE: &str = include_str!("run.md");
    assert!(PAGE.contains(&format!("*blocks* of {BLOCK_VERSIONS_MAX} versions")));
    assert!(PAGE.contains("more than three times as much") && KEYFRAME_WEIGHT == 3);
    const { assert!(PIECE_WEIGHT_MIN > VERSION_WEIGHT * BLOCK_VERSIONS_MAX, "a piece has several blocks") };
}

/// A long history: many pieces and blocks, with a few rows that stay and many that come and go.
#[test]
fn a_long_run_is_read_at_any_look() {
    let choices: Vec<(u8, Vec<u32>)> = (0..700u32)
        .map(|i| {
            let seed = i.wrapping_mul(2_654_435_761);
            let changed = (0..seed % 13).map(|k| 40 + seed.rotate_left(k) % 360);
            (
                if i == 300 { 16 } else { 1 + (seed % 15) as u8 },
                if i == 0 { (0..120).collect() } else { changed.collect() },
            )
        })
        .collect();
    let rows: Vec<Row> = (0..400).map(row).collect();
    for kind in [Kind::Diff, Kind::Snapshot, Kind::Event] {
        check(kind, &parts_of(kind, &choices, 400), &rows);
    }
}

proptest! {
    #[test]
    fn a_run_is_what_it_was_made_of(
        kind in prop_oneof![Just(Kind::Diff), Just(Kind::Snapshot), Just(Kind::Event)],
        choices in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u32>(), 0..6)), 1..40),
    ) {
        let rows: Vec<Row> = (0..30).map(row).collect();
        check(kind, &parts_of(kind, &choices, 30), &rows);
    }

    /// Whatever is taken for regular means what its versions say; what is not is not wrongly taken.
    #[test]
    fn a_regular_stream_means_what_its_versions_say(
        kind in prop_oneof![Just(Kind::Diff), Just(Kind::Snapshot)],
        mut choices in prop::collection::vec((any::<u8>(), prop::collection::vec(0u32..6, 0..4)), 1..8),
        twist in prop::option::of((any::<prop::sample::Index>(), 0u8..6)),
    ) {
        choices[0].0 = 16;
        let rows: Vec<Row> = (0..6).map(row).collect();
        let mut parts = parts_of(kind, &choices, 6);
        if let Some((at, what)) = twist {
            let part = &mut parts[at.index(choices.len())];
            match what {
                0 => part.counter = part.counter.map(|counter| counter + 3),
                1 => part.epoch += 1,
                2 => part.second -= 60,
                3 => part.counter = None,
                4 => part.added.iter_mut().for_each(|copies| copies.1 += 1),
                _ => part.removed.clear(),
            }
        }
        parts.sort_by_key(crate::memtable::part_key);
        let agents = AgentHistory::new(Some((crate::agent::AgentVersion(4, 4, 0), "4.4.0".to_owned())), Vec::new());
        let Some((lifetimes, agent)) = regular::versions(kind, false, &parts) else {
            return Ok(());
        };
        if !agent.fits(&agents) {
            return Ok(());
        }
        let timeline = build(kind, parts.clone(), &rows, &agents);
        prop_assert!(timeline.breaks.is_empty() && timeline.disputed.is_empty());
        let seconds: Vec<i64> = parts.iter().map(|part| part.second).collect();
        prop_assert_eq!(&timeline.steps, &seconds);
        let mut expected: Vec<(u32, u64, usize, usize)> = lifetimes
            .iter()
            .map(|l| (l.row, l.count, l.born as usize, if l.died == OPEN { usize::MAX } else { l.died as usize }))
            .collect();
        expected.sort_unstable();
        let mut spans: Vec<(u32, u64, usize, usize)> =
            timeline.spans.iter().map(|span| (span.row, span.count, span.born, span.died)).collect();
        spans.sort_unstable();
        prop_assert_eq!(spans, expected);
        prop_assert!(timeline.spans.iter().all(|span| span.verified));
    }

    #[test]
    fn damaged_runs_never_panic(
        choices in prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u32>(), 0..6)), 1..20),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let rows: Vec<Row> = (0..30).map(row).collect();
        let parts = parts_of(Kind::Diff, &choices, 30);
        let (storage, meta, lifetimes) = segment(Kind::Diff, &parts, &rows);
        let bytes = storage.read_from("0000000007.segment", 0).expect("it is there");
        let segment = Segment::open(&storage, ID, &meta).expect("it is whole");
        let reader = segment.table(b"processes").expect("whole").expect("there");
        let piece = reader.directory.pieces[0];
        // The payload without its frame: what a checksum would have refused.
        let start = piece.offset as usize + crate::format::frame::FRAME_HEADER_BYTES;
        let payload = reader.piece_bytes(&piece, crate::segment::Frames::RUN, &mut Cost::default()).expect("whole");
        let mut payload = bytes[start..start + payload.len()].to_vec();
        for (at, value) in flips {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        let Ok(piece) = super::piece::Piece::open(&payload, parts.len(), lifetimes.len(), false) else {
            return Ok(());
        };
        let columns = piece.look_columns();
        for look in 0..parts.len() {
            let _ = columns.as_ref().map(|columns| piece.look(columns, look));
            let _ = (piece.block_of_look(look), piece.first_block_of_look(look));
        }
        for block in 0..piece.blocks() {
            let Ok(block) = piece.block(block) else { continue };
            let _ = (block.alive(|_| ()), block.groups(|_, _| ()));
            for at in 0..block.count {
                let _ = (block.length(at), block.copies(at));
            }
        }
    }
}

//! Runs against the parts and versions that they were made of.

use super::encode::{Encoder, OfLooks};
use super::open::Entry;
use super::piece::{CHECK_BYTES, Piece, span_crc};
use super::stream::{Around, LastAlive};
use super::{BLOCK_VERSIONS_MAX, KEYFRAME_WEIGHT, PIECE_WEIGHT_MIN, VERSION_WEIGHT};
use crate::codec::Effort;
use crate::error::Error;
use crate::fact::{Inferred, Kind, Name, Second, StreamKey};
use crate::format::frame::{FRAME_HEADER_BYTES, FileId, place_crc};
use crate::io::{MemoryStorage, Storage};
use crate::manifest::SegmentMeta;
use crate::packing::{Learner, Packer};
use crate::read::answer::{Cost, HistoryRow};
use crate::row::{Row, RowBuilder};
use crate::segment::cache::Cache;
use crate::segment::directory::{Form, Layout, PieceEntry, StreamRecord};
use crate::segment::write::SegmentWriter;
use crate::segment::{Frames, RowOf, Segment, TableReader};
use crate::timeline::regular::{self, Lifetime, OPEN};
use crate::timeline::{AgentHistory, Part, build, event_time};
use proptest::prelude::*;
use std::cell::RefCell;
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
    let hosts = vec![Name::from(&b"h"[..])];
    let mut writer =
        SegmentWriter::create(&storage, ID, 9, Effort::Zstd(3), commits.clone(), hosts).expect("memory has room");
    let table = Name::from(&b"processes"[..]);
    writer.begin_table(&table, Layout::Inline, Some(dictionary.clone())).expect("memory has room");
    let (mut bytes, mut packer) = (Vec::new(), Packer::new(dictionary));
    let pieces = Encoder::default().run(
        kind,
        parts,
        &mut lifetimes,
        rows,
        &mut packer,
        OfLooks::Deliveries(&commits),
        &mut bytes,
    );
    let name = Name::from(&b"pack/processes"[..]);
    let key = StreamKey { table, host: Name::from(&b"h"[..]), name, kind, sightings: false };
    writer.run(&Arc::new(key), (agent, true), &pieces, &bytes, 0).expect("memory has room");
    writer.end_table().expect("memory has room");
    let meta = writer.finish().expect("memory has room");
    (storage, meta, lifetimes)
}

/// A keyframe names what is alive after its look, of the versions before its block, and nothing else: what it names beyond
/// that changes no answer, but is read for every one.
fn check_keyframes(reader: &TableReader<'_>, stream: &StreamRecord, lifetimes: &[Lifetime]) {
    let (mut first_look, mut first) = (0, 0);
    for entry in reader.directory.pieces_at(stream.pieces.clone()).iter() {
        let checked = reader.segment.payload_of_parts(entry.offset, Frames::CHECKED_RUN);
        let whole = || reader.piece_bytes(&entry, Frames::RUN, &mut Cost::default()).expect("it is whole");
        let (looks, versions) = (entry.parts as usize, entry.versions as usize);
        assert_eq!(checked.is_some(), versions > BLOCK_VERSIONS_MAX);
        let payload = checked.unwrap_or_else(whole);
        let piece = Piece::open(payload, looks, versions, false, checked.is_some()).expect("it is whole");
        for at in 0..piece.head().blocks() {
            let from = first + at * BLOCK_VERSIONS_MAX;
            let look = if at == 0 { first_look } else { lifetimes[from].born as usize };
            if piece.head().keyframe_of(at) == Ok(at) {
                let mut named = Vec::new();
                piece
                    .block(at)
                    .expect("it is whole")
                    .alive(|version| named.push(version as usize))
                    .expect("it is whole");
                let is_alive = |version: &usize| lifetimes[*version].died as usize > look;
                assert_eq!(named, (0..from).filter(is_alive).collect::<Vec<_>>(), "after look {look}");
            }
        }
        (first_look, first) = (first_look + looks, first + versions);
    }
}

/// Everything that a run is asked for, against the versions it was made of.
fn check(kind: Kind, parts: &[Part], rows: &[Row]) {
    let (storage, meta, lifetimes) = segment(kind, parts, rows);
    let segment = Arc::new(Segment::open(&storage, ID, &meta).expect("it is whole"));
    let reader = segment.table(b"processes").expect("it is whole").expect("it is there");
    let stream = &reader.directory.entry(0).expect("the only stream");
    assert_eq!(stream.record.form, Form::Run);
    if kind != Kind::Event {
        check_keyframes(&reader, &stream.record, &lifetimes);
    }
    let mut cost = Cost::default();

    let number = |row: RowOf<'_>, _: &mut Cost| match row {
        RowOf::Own(row) => {
            // Rows are distinct, so that the place of a row is its number.
            let place = rows.iter().position(|other| other == row).expect("a row that was given");
            Ok(place as u32)
        }
        RowOf::Table(_) => panic!("rows of a run are its own"),
    };
    let cache = Cache::new(1 << 20);
    let mut back = Vec::new();
    reader.parts(stream, &cache, &mut cost, |_| true, number, |part| back.push(part)).expect("it is whole");
    assert_eq!(format!("{back:?}"), format!("{parts:?}"));
    let mut of_one = Cost::default();
    let mut back_of = |look| {
        let mut back = Vec::new();
        reader.parts_of_look(stream, look, &cache, &mut of_one, number, |part| back.push(part)).expect("it is whole");
        back
    };
    for part in parts {
        assert_eq!(format!("{:?}", back_of((part.second, part.epoch, part.counter))), format!("{:?}", [part]));
        for look in [(part.second - 1, part.epoch, part.counter), (part.second, part.epoch + 1, part.counter)] {
            assert!(back_of(look).is_empty() || parts.iter().any(|of| (of.second, of.epoch, of.counter) == look));
        }
    }
    for second in [Second::MIN, Second::MAX] {
        assert!(back_of((second, 0, None)).is_empty());
    }
    let named: usize = parts.iter().map(|part| part.removed.len() + part.added.len()).sum();
    assert!(of_one.rows_decoded <= 2 * named as u64, "rows are decoded that no part of the second names");

    let mut run = reader.run(&stream.record, Some(&cache));
    assert_eq!((run.looks(), run.versions()), (parts.len(), lifetimes.len()));
    let second = |look: u32| parts[look as usize].second;
    let died = |lifetime: &Lifetime| (lifetime.died != OPEN).then_some(lifetime.died);
    let is_of_events = kind == Kind::Event;
    let of = |l: &Lifetime| {
        let from_after = l.born.checked_sub(1).filter(|_| !is_of_events).map(second);
        let to = if is_of_events {
            (event_time(rows[l.row as usize].as_bytes()).or(Some(second(l.born))), None)
        } else {
            (died(l).map(second), died(l).map(|died| second(died - 1)))
        };
        (rows[l.row as usize].clone(), l.count, second(l.born), from_after, to.0, to.1)
    };
    let found = RefCell::new(Vec::new());
    let note = |entry: &Entry, _: &mut Cost| {
        found.borrow_mut().push(match &entry.given {
            HistoryRow::Version(v) => (v.row.clone(), v.count, v.from, v.from_after, v.to, v.to_after),
            HistoryRow::Event(e) => (e.row.clone(), e.count, e.seen, None, Some(e.time), None),
        });
        Ok(())
    };
    // Twice: decoded, and remembered.
    for _ in 0..2 {
        for (look, part) in parts.iter().enumerate() {
            assert_eq!(run.second(look, &mut cost).expect("a look"), part.second);
            let before = |second: Second| parts.iter().rfind(|part| part.second <= second).map(|part| part.second);
            for at in [part.second - 1, part.second, part.second + 1] {
                let until = parts.partition_point(|part| part.second <= at);
                let after = parts.get(until).map(|part| part.second);
                let around = run.around(at, &mut cost).expect("a time");
                assert_eq!(around, Around { until, before: before(at), after });
            }
            let born_before = lifetimes.iter().filter(|l| (l.born as usize) < look).count();
            assert_eq!(run.versions_until(look, &mut cost).expect("a look"), born_before);
            if !is_of_events {
                let is_alive =
                    |l: &&Lifetime| l.born as usize <= look && died(l).is_none_or(|died| died as usize > look);
                let mut before = Cost::default();
                run.alive_after(look, &mut before, note).expect("it is whole");
                let expected: Vec<_> = lifetimes.iter().filter(is_alive).map(of).collect();
                assert_eq!(found.take(), expected, "alive after look {look}");
                let (keys, alive) = (before.keys_decoded as usize, expected.len());
                assert!(keys <= 4 * alive + 2 * BLOCK_VERSIONS_MAX, "{keys} keys for {alive} rows");
                assert!(before.rows_decoded as usize <= alive);
                let LastAlive { seconds, .. } = run.last.clone().expect("it was asked for");
                assert!(seconds.contains(&part.second));
                let ordinals = |look: usize| -> Vec<usize> {
                    let is_alive =
                        |l: &Lifetime| l.born as usize <= look && died(l).is_none_or(|died| died as usize > look);
                    (0..lifetimes.len()).filter(|&at| is_alive(&lifetimes[at])).collect()
                };
                for (other, _) in parts.iter().enumerate().filter(|(_, part)| seconds.contains(&part.second)) {
                    assert_eq!(ordinals(other), ordinals(look), "{seconds:?} is of look {look}, and not {other}");
                }
                let numbered = lifetimes.iter().enumerate().filter(|(_, lifetime)| is_alive(lifetime));
                let expected: Vec<usize> = numbered.map(|(ordinal, _)| ordinal).collect();
                assert_eq!(run.ordinals_after(look, &mut cost).expect("it is whole"), expected);
                // Of every third version, of all, and of none.
                for step in [3, 1, lifetimes.len() + 1] {
                    let some: Vec<usize> = (step / 2..lifetimes.len()).step_by(step).collect();
                    let until = parts.get(look + 1).map_or(part.second, |next| next.second);
                    let mut among = Vec::new();
                    let given = |entry: &Entry| {
                        if entry.from <= part.second && part.second < entry.to || entry.from == until {
                            among.push(entry.ordinal as usize);
                        }
                        Ok(())
                    };
                    run.among(look, until, some.len(), |at| Ok(some[at]), &mut cost, given).expect("it is whole");
                    let is_born = |ordinal: &usize| lifetimes[*ordinal].born as usize == look + 1;
                    let is_one = |ordinal: &&usize| expected.contains(ordinal) || is_born(ordinal);
                    assert_eq!(among, some.iter().filter(is_one).copied().collect::<Vec<_>>());
                }
            }
            run.born_in(look..look + 1, &mut cost, note).expect("it is whole");
            let expected: Vec<_> = lifetimes.iter().filter(|l| l.born as usize == look).map(of).collect();
            assert_eq!(found.take(), expected, "born at look {look}");
        }
    }
    let decoded = cost.rows_decoded;
    run.each_entry(&mut cost, note).expect("it is whole");
    assert_eq!(found.take(), lifetimes.iter().map(of).collect::<Vec<_>>());
    assert_eq!(cost.rows_decoded, decoded, "what was born was read before");
    for (ordinal, lifetime) in lifetimes.iter().enumerate() {
        let noted = run.one(ordinal, &mut cost, |entry| note(entry, &mut Cost::default()));
        noted.expect("it is there").expect("it notes");
        assert_eq!(found.take(), [of(lifetime)]);
    }
    assert!(run.one(lifetimes.len(), &mut cost, |_| ()).is_err());
    for step in [1, 3, 300] {
        let some: Vec<usize> = (0..lifetimes.len()).step_by(step).collect();
        reader.run(&stream.record, None).each_of(&some, &mut cost, note).expect("they are there");
        assert_eq!(found.take(), some.iter().map(|&ordinal| of(&lifetimes[ordinal])).collect::<Vec<_>>());
    }
    let mut alone = reader.run(&stream.record, None);
    let mut versions = Vec::new();
    alone
        .each_version(&mut cost, |version, row, _| {
            versions.push((version.ordinal, version.born as u32, version.died, version.count, row.to_vec()));
            Ok(())
        })
        .expect("it is whole");
    let of = |(ordinal, l): (usize, &Lifetime)| {
        let row = rows[l.row as usize].as_bytes().to_vec();
        (ordinal, l.born, died(l).map(|died| died as usize), l.count, row)
    };
    assert_eq!(versions, lifetimes.iter().enumerate().map(of).collect::<Vec<_>>());
    if is_of_events {
        let time = |l: &Lifetime| event_time(rows[l.row as usize].as_bytes()).unwrap_or(second(l.born));
        let (first, last) = (second(0), second(parts.len() as u32 - 1));
        for span in [(first, last), (first, first + 1), (Second::MIN, Second::MAX), (last, last + 3), (last, first)] {
            let mut times = Vec::new();
            let mut run = reader.run(&stream.record, None);
            let note = |entry: &Entry, _: &mut Cost| {
                times.push((entry.to, entry.row().clone()));
                Ok(())
            };
            run.events_in(span, &mut cost, note).expect("it is whole");
            let within = |l: &&Lifetime| (span.0..span.1).contains(&time(l));
            let expected = lifetimes.iter().filter(within).map(|l| (time(l), rows[l.row as usize].clone()));
            assert_eq!(times, expected.collect::<Vec<_>>(), "events in {span:?}");
        }
    }
}

#[test]
fn the_page_names_the_numbers_of_the_code() {
    const PAGE: &str = include_str!("run.md");
    assert!(PAGE.contains(&format!("*blocks* of {BLOCK_VERSIONS_MAX} versions")));
    assert!(PAGE.contains(&format!("| {CHECK_BYTES} bytes each, little-endian |")));
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

/// Rows of which a block's take more than what is read at once.
#[test]
fn long_rows_are_read_some_at_a_time() {
    let long = |i: u32| {
        let mut builder = RowBuilder::new();
        let text: Vec<u8> = (0..30_000u32).map(|at| (at.wrapping_mul(i + 7) >> 7) as u8).collect();
        builder.column(b"cmdline", &text);
        builder.column(b"pid", (100 + i).to_string().as_bytes());
        builder.row()
    };
    let rows: Vec<Row> = (0..80).map(long).collect();
    let choices: Vec<(u8, Vec<u32>)> =
        (0..4u32).map(|i| (1, if i == 0 { (0..76).collect() } else { vec![i, 40 + i, 75 + i] })).collect();
    for kind in [Kind::Diff, Kind::Event] {
        check(kind, &parts_of(kind, &choices, 80), &rows);
    }
}

/// Few rows that stay, born all along, and many that come and go.
fn with_rows_that_stay(looks: u32) -> (Vec<Part>, Vec<Row>) {
    let rows: Vec<Row> = (0..9 * looks).map(row).collect();
    let choices: Vec<(u8, Vec<u32>)> = (0..looks)
        .map(|look| {
            let born = (9 * look..9 * look + 9).filter(|i| i % 9 < 8 || look % 64 == 3);
            let gone = (9 * look.saturating_sub(2)..9 * look.saturating_sub(1)).filter(|i| look > 1 && i % 9 < 8);
            (1, gone.chain(born).collect())
        })
        .collect();
    let parts = parts_of(Kind::Diff, &choices, 9 * looks);
    (parts, rows)
}

/// Of each piece what stands before its blocks at most, and the blocks from the keyframe on and those of what it names.
#[test]
fn nothing_is_verified_but_what_is_read() {
    let (parts, rows) = with_rows_that_stay(2000);
    let (storage, meta, _) = segment(Kind::Diff, &parts, &rows);
    let segment = Arc::new(Segment::open(&storage, ID, &meta).expect("it is whole"));
    let reader = segment.table(b"processes").expect("whole").expect("there");
    let stream = reader.directory.entry(0).expect("it has one");
    let opened = |entry: PieceEntry| {
        let payload = segment.payload_of_parts(entry.offset, Frames::CHECKED_RUN).expect("it has several blocks");
        let piece = Piece::open(payload, entry.parts as usize, entry.versions as usize, false, true).expect("whole");
        (entry, piece)
    };
    let pieces: Vec<_> = reader.directory.pieces_at(stream.record.pieces.clone()).iter().map(opened).collect();
    assert!(pieces.len() > 5 && pieces.iter().all(|(_, piece)| piece.spans() > 2), "{} pieces", pieces.len());
    let (mut verified, mut of_all) = (0, 0);
    for look in (0..parts.len()).step_by(37) {
        // Opened anew, so that nothing was verified before.
        let fresh = Arc::new(Segment::open(&storage, ID, &meta).expect("it is whole"));
        let (reader, mut cost) = (fresh.table(b"processes").expect("whole").expect("there"), Cost::default());
        reader.run(&stream.record, None).alive_after(look, &mut cost, |_, _| Ok(())).expect("it is whole");
        let (at, within) = pieces
            .iter()
            .find_map(|(entry, piece)| {
                let within = look.checked_sub(entry.first_look)?;
                (within < piece.head().looks()).then_some((entry.offset, within))
            })
            .expect("a piece has it");
        let mut named = BTreeSet::new();
        let mut most = 0;
        // The last first: what its keyframe names lies in those before.
        for (entry, piece) in pieces.iter().rev() {
            let span = |span: usize| piece.verify(place_crc(&ID, entry.offset), span).expect("it is whole");
            let read = if entry.offset == at {
                let last = piece.head().block_of_look(within).expect("a look");
                let keyframe = piece.head().keyframe_of(last).expect("a block");
                let body = piece.block(keyframe).expect("whole");
                body.alive(|version| named.extend([version as usize])).expect("whole");
                keyframe..last + 1
            } else {
                0..0
            };
            let is_read = |block: &usize| {
                let first = entry.first_version + block * BLOCK_VERSIONS_MAX;
                read.contains(block) || named.range(first..first + BLOCK_VERSIONS_MAX).next().is_some()
            };
            most += span(0) + (0..piece.head().blocks()).filter(is_read).map(|block| span(1 + block)).sum::<usize>();
            of_all += (0..piece.spans()).map(span).sum::<usize>();
        }
        assert!(cost.bytes_verified as usize <= most, "look {look}: {cost:?}, {most} at most");
        verified += cost.bytes_verified as usize;
    }
    assert!(3 * verified < of_all, "{verified} of {of_all}");
}

/// Also where a piece has more spans than there are bits that tell which were verified.
#[test]
fn each_span_is_verified_and_once() {
    let rows: Vec<Row> = (0..40 * BLOCK_VERSIONS_MAX as u32).map(row).collect();
    let choices = [(1, (0..rows.len() as u32).collect())];
    let (storage, meta, _) = segment(Kind::Diff, &parts_of(Kind::Diff, &choices, rows.len() as u32), &rows);
    let name = "0000000007.segment";
    let bytes = storage.read_from(name, 0).expect("it is there");
    let read = |segment: &Arc<Segment>| -> Result<Cost, Error> {
        let reader = segment.table(b"processes")?.expect("there");
        let stream = reader.directory.entry(0).expect("it has one");
        let (mut run, mut cost) = (reader.run(&stream.record, None), Cost::default());
        run.each_look(&mut cost, |_| ())?;
        run.each_version(&mut cost, |_, _, _| Ok(()))?;
        Ok(cost)
    };
    let segment = Arc::new(Segment::open(&storage, ID, &meta).expect("it is whole"));
    let entry = segment.table(b"processes").expect("whole").expect("there").directory.pieces_at(0..1).get(0);
    let entry = entry.expect("it has one");
    let payload = segment.payload_of_parts(entry.offset, Frames::CHECKED_RUN).expect("it has several blocks");
    let piece = Piece::open(payload, entry.parts as usize, entry.versions as usize, false, true).expect("whole");
    assert!(piece.spans() > u32::BITS as usize, "{} spans", piece.spans());
    let lens: Vec<usize> =
        (0..piece.spans()).map(|span| piece.verify(place_crc(&ID, entry.offset), span).expect("whole")).collect();
    let cost = read(&segment).expect("it is whole");
    let all = (lens.len() as u64, lens.iter().sum::<usize>() as u64);
    assert_eq!((cost.blocks_verified, cost.bytes_verified), all, "what is verified the first time");
    assert_eq!(read(&segment).expect("it is whole").blocks_verified, 0, "and the second");
    let mut at = entry.offset as usize + FRAME_HEADER_BYTES + CHECK_BYTES * lens.len();
    for len in lens {
        let mut flipped = bytes.clone();
        flipped[at + len / 2] ^= 4;
        at += len;
        let damaged = MemoryStorage::new();
        damaged.put(name, flipped);
        let segment = Arc::new(Segment::open(&damaged, ID, &meta).expect("its footer is whole"));
        assert!(read(&segment).is_err() && read(&segment).is_err(), "a bit before byte {at}");
    }
}

/// The blocks of a piece may be as long as each other, and a file may have been another once.
#[test]
fn no_span_is_taken_for_another() {
    let place = place_crc(&ID, 4096);
    let others = [(place, 2), (place_crc(&ID, 8192), 1), (place_crc(&FileId { number: 8, ..ID }, 4096), 1)];
    for (place_of_other, span) in others {
        assert_ne!(span_crc(place_of_other, span, b"a block"), span_crc(place, 1, b"a block"));
    }
    assert_ne!(span_crc(place, 1, b"a blocc"), span_crc(place, 1, b"a block"));
}

#[test]
fn no_changed_bit_of_a_piece_is_believed() {
    let (parts, rows) = with_rows_that_stay(120);
    let (storage, meta, _) = segment(Kind::Diff, &parts, &rows);
    let name = "0000000007.segment";
    let bytes = storage.read_from(name, 0).expect("it is there");
    let read = |bytes: &[u8]| -> Result<String, Error> {
        let storage = MemoryStorage::new();
        storage.put(name, bytes.to_vec());
        let segment = Arc::new(Segment::open(&storage, ID, &meta)?);
        let reader = segment.table(b"processes")?.expect("there");
        let stream = reader.directory.entry(0).expect("it has one");
        let (mut run, mut cost, mut said) = (reader.run(&stream.record, None), Cost::default(), String::new());
        run.each_look(&mut cost, |look| said += &format!("{look:?}"))?;
        run.each_version(&mut cost, |version, row, _| {
            said += &format!("{version:?} {row:?}");
            Ok(())
        })?;
        for look in (0..run.looks()).step_by(11) {
            run.alive_after(look, &mut cost, |entry, _| {
                said += &format!("{entry:?}");
                Ok(())
            })?;
        }
        Ok(said)
    };
    let (whole, mut refused) = (read(&bytes).expect("it is whole"), 0);
    let segment = Arc::new(Segment::open(&storage, ID, &meta).expect("it is whole"));
    let reader = segment.table(b"processes").expect("whole").expect("there");
    let entry = reader.directory.pieces_at(0..1).get(0).expect("it has one");
    assert!(entry.versions as usize > 3 * BLOCK_VERSIONS_MAX, "{} versions", entry.versions);
    let payload = segment.payload_of_parts(entry.offset, Frames::CHECKED_RUN).expect("it has several blocks").len();
    let start = entry.offset as usize;
    for at in start..start + FRAME_HEADER_BYTES + payload {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        match read(&flipped) {
            Ok(said) => {
                assert_eq!(said, whole, "byte {} of the frame", at - start);
                assert!(at < start + FRAME_HEADER_BYTES, "byte {} of the frame", at - start);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(refused >= payload, "{refused} of {payload}");
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
        let segment = Arc::new(Segment::open(&storage, ID, &meta).expect("it is whole"));
        let reader = segment.table(b"processes").expect("whole").expect("there");
        let piece = reader.directory.pieces_at(0..1).get(0).expect("it has one");
        // The payload without its frame: what a checksum would have refused.
        let start = piece.offset as usize + crate::format::frame::FRAME_HEADER_BYTES;
        let payload = reader.piece_bytes(&piece, crate::segment::Frames::RUN, &mut Cost::default()).expect("whole");
        let mut payload = bytes[start..start + payload.len()].to_vec();
        for (at, value) in flips {
            let at = at.index(payload.len());
            payload[at] = value;
        }
        let Ok(piece) = super::piece::Piece::open(&payload, parts.len(), lifetimes.len(), false, false) else {
            return Ok(());
        };
        let columns = piece.of_looks().look_columns();
        for look in 0..parts.len() {
            let _ = columns.as_ref().map(|columns| piece.of_looks().look(columns, look));
            let _ = (piece.head().block_of_look(look), piece.head().first_block_of_look(look));
        }
        for block in 0..piece.head().blocks() {
            let Ok(block) = piece.block(block) else { continue };
            let _ = (block.alive(|_| ()), block.groups(&mut Vec::new(), &mut Vec::new()));
            for at in 0..block.count {
                let _ = (block.length(at), block.copies(at));
            }
        }
    }
}

//! Small stores, each damaged in one way: `fsck` names the damage and what it means, what it says to do next works, and the
//! store that is recovered tells nothing but what was so, or that it is unknown.
//!
//! What was so is what the naive model answers about the lines that the stores hold.

use crate::stores::{self, Files};
use erstwhile_engine::check::fsck::{Level, Next, Options, Report, Severity, Wrong, fsck};
use erstwhile_engine::error::{Error, Structure};
use erstwhile_engine::fact::{Micros, Second};
use erstwhile_engine::format::frame::{FRAME_HEADER_BYTES, FileKind, kind};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{Clock, FaultyStorage, ManualClock, MemoryStorage, Plan, Storage};
use erstwhile_engine::recover::{Recovered, recover};
use erstwhile_engine::segment::Frames;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::less::{Told, tell, tell_model};
use erstwhile_tests::support::modelled::model;
use erstwhile_tests::support::workload::{FIRST, STEP, batches, clock};
use std::sync::Arc;

/// What comes of a way.
enum Then {
    /// Damage is found in this file, of this structure, or of any; nothing is lost.
    Whole(Structure),
    /// Damage is found, and something is lost.
    Lost(Structure),
    /// It is no damage.
    Harmless,
    /// A newer program is needed; nothing is recovered.
    Newer,
}

/// A store, how it is damaged, and what comes of it.
struct Way {
    name: &'static str,
    merged: bool,
    damage: fn(&mut Files),
    then: Then,
}

/// The names of the files of a kind.
fn of_kind(files: &Files, kind: FileKind) -> Vec<String> {
    files.keys().filter(|name| names::parse(name).is_some_and(|(its, _)| its == kind)).cloned().collect()
}

/// The only, or the last, file of a kind.
fn last(files: &Files, kind: FileKind) -> String {
    of_kind(files, kind).pop().unwrap()
}

/// The offsets and ends of a file's frames of a type.
fn frames(bytes: &[u8], kind: u8) -> Vec<(usize, usize)> {
    let of_kind = stores::frames(bytes).into_iter().filter(|frame| frame.1 == kind);
    of_kind.map(|(at, _, len)| (at, at + FRAME_HEADER_BYTES + len)).collect()
}

fn flip(files: &mut Files, name: &str, at: usize) {
    files.get_mut(name).unwrap()[at] ^= 1 << (at % 8);
}

/// Turns a bit in the middle of the first frame of a type in the first segment that has one.
fn flip_frame(files: &mut Files, kind: u8) {
    let segments = of_kind(files, FileKind::Segment);
    let found = segments.iter().find_map(|name| Some((name, *frames(&files[name], kind).first()?)));
    let (name, (at, end)) = found.unwrap();
    flip(files, name, at.midpoint(end));
}

/// Turns a bit of the first run beside facts.
fn flip_beside_facts(files: &mut Files) {
    let segment = last(files, FileKind::Segment);
    let view = open_view(&MemoryStorage::with_files(files.clone()), 0).unwrap();
    let found = view.segments().iter().find(|found| found.name() == segment).unwrap().clone();
    let offsets = found.tables().flat_map(|reader| {
        let directory = reader.unwrap().directory;
        let resolved = directory.records().find(|stream| stream.is_resolved());
        resolved.map(|stream| directory.pieces_at(stream.resolved).offset(0))
    });
    flip(files, &segment, { offsets }.next().unwrap() as usize + FRAME_HEADER_BYTES + 9);
}

fn flip_in_log(files: &mut Files, nth: usize) {
    let log = last(files, FileKind::Log);
    let (at, end) = frames(&files[&log], kind::BATCH)[nth];
    flip(files, &log, at.midpoint(end));
}

fn flip_in_manifest(files: &mut Files, kind: u8) {
    let manifest = last(files, FileKind::Manifest);
    let (at, end) = frames(&files[&manifest], kind)[0];
    flip(files, &manifest, at.midpoint(end));
}

fn cut(files: &mut Files, name: &str, len: usize) {
    files.get_mut(name).unwrap().truncate(len);
}

const WAYS: [Way; 37] = [
    Way {
        name: "a bit of the log's header",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            flip(f, &log, 20)
        },
        then: Then::Whole(Structure::FileHeader),
    },
    Way {
        name: "a bit of the log's first record",
        merged: false,
        damage: |f| flip_in_log(f, 0),
        then: Then::Lost(Structure::Batch),
    },
    Way {
        name: "a bit of a later record of the log",
        merged: false,
        damage: |f| flip_in_log(f, 1),
        then: Then::Lost(Structure::Batch),
    },
    Way {
        name: "a log cut within what was synced",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            let (at, end) = *frames(&f[&log], kind::BATCH).last().unwrap();
            cut(f, &log, at.midpoint(end))
        },
        then: Then::Lost(Structure::Batch),
    },
    Way {
        name: "a log cut between two records that were synced",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            let (_, end) = frames(&f[&log], kind::BATCH)[0];
            cut(f, &log, end)
        },
        then: Then::Lost(Structure::File),
    },
    Way {
        name: "a bit of what the log says of a record beside it",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            let (at, end) = frames(&f[&log], kind::DIGEST)[1];
            flip(f, &log, at.midpoint(end))
        },
        then: Then::Whole(Structure::Frame),
    },
    Way {
        name: "a record, and what the log says of it",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            let (digest, record) = (frames(&f[&log], kind::DIGEST)[0].0, frames(&f[&log], kind::BATCH)[0].1);
            f.get_mut(&log).unwrap()[digest + 5..record - 5].fill(0)
        },
        then: Then::Lost(Structure::Batch),
    },
    Way {
        name: "a log that ends in half a record that nobody waited for",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            let half = f[&log][64..110].to_vec();
            f.get_mut(&log).unwrap().extend(half)
        },
        then: Then::Harmless,
    },
    Way {
        name: "a log that is gone",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            f.remove(&log);
        },
        then: Then::Lost(Structure::File),
    },
    Way {
        name: "an empty log",
        merged: false,
        damage: |f| {
            let log = last(f, FileKind::Log);
            cut(f, &log, 0)
        },
        then: Then::Lost(Structure::FileHeader),
    },
    Way {
        name: "a bit of a segment's header",
        merged: true,
        damage: |f| {
            let segment = last(f, FileKind::Segment);
            flip(f, &segment, 30)
        },
        then: Then::Whole(Structure::FileHeader),
    },
    Way {
        name: "a bit of a dictionary",
        merged: true,
        damage: |f| flip_frame(f, Frames::DICTIONARY),
        then: Then::Lost(Structure::Dictionary),
    },
    Way {
        name: "a bit of packed rows",
        merged: true,
        damage: |f| flip_frame(f, Frames::PACKED),
        then: Then::Lost(Structure::Rows),
    },
    Way {
        name: "a bit of rows",
        merged: false,
        damage: |f| flip_frame(f, Frames::ROWS),
        then: Then::Lost(Structure::Rows),
    },
    Way {
        name: "a bit of a piece of facts",
        merged: false,
        damage: |f| flip_frame(f, Frames::PIECE),
        then: Then::Lost(Structure::Piece),
    },
    Way {
        name: "a bit of a run",
        merged: true,
        damage: |f| flip_frame(f, Frames::RUN),
        then: Then::Lost(Structure::Piece),
    },
    Way {
        name: "a bit of an index",
        merged: true,
        damage: |f| flip_frame(f, Frames::INDEX),
        then: Then::Whole(Structure::Index),
    },
    Way {
        name: "a bit of a directory",
        merged: true,
        damage: |f| flip_frame(f, Frames::DIRECTORY),
        then: Then::Lost(Structure::Directory),
    },
    Way {
        name: "a bit of the commits",
        merged: true,
        damage: |f| flip_frame(f, Frames::COMMITS),
        then: Then::Lost(Structure::Commits),
    },
    Way {
        name: "a bit of the hosts",
        merged: true,
        damage: |f| flip_frame(f, Frames::HOSTS),
        then: Then::Whole(Structure::Hosts),
    },
    Way {
        name: "a bit of a footer",
        merged: true,
        damage: |f| flip_frame(f, Frames::FOOTER),
        then: Then::Whole(Structure::Footer),
    },
    Way {
        name: "a bit of a trailer",
        merged: true,
        damage: |f| {
            let segment = last(f, FileKind::Segment);
            let at = f[&segment].len() - 12;
            flip(f, &segment, at)
        },
        then: Then::Whole(Structure::Trailer),
    },
    Way {
        name: "a segment that is gone",
        merged: false,
        damage: |f| {
            let segment = of_kind(f, FileKind::Segment).remove(0);
            f.remove(&segment);
        },
        then: Then::Lost(Structure::File),
    },
    Way {
        name: "a segment that is cut",
        merged: true,
        damage: |f| {
            let segment = last(f, FileKind::Segment);
            let len = f[&segment].len() * 2 / 3;
            cut(f, &segment, len)
        },
        then: Then::Lost(Structure::File),
    },
    Way {
        name: "an empty segment",
        merged: true,
        damage: |f| {
            let segment = last(f, FileKind::Segment);
            cut(f, &segment, 0)
        },
        then: Then::Lost(Structure::FileHeader),
    },
    Way { name: "a run beside facts", merged: true, damage: flip_beside_facts, then: Then::Whole(Structure::Piece) },
    Way {
        name: "a sector of zeros",
        merged: true,
        damage: |f| {
            let segment = last(f, FileKind::Segment);
            let at = f[&segment].len() / 4;
            f.get_mut(&segment).unwrap()[at..at + 512].fill(0)
        },
        then: Then::Lost(Structure::Piece),
    },
    Way {
        name: "two segments swapped",
        merged: false,
        damage: |f| {
            let all = of_kind(f, FileKind::Segment);
            let [a, b] = [f[&all[0]].clone(), f[&all[1]].clone()];
            f.insert(all[0].clone(), b);
            f.insert(all[1].clone(), a);
        },
        then: Then::Whole(Structure::FileHeader),
    },
    Way {
        name: "a segment twice",
        merged: true,
        damage: |f| {
            let segment = last(f, FileKind::Segment);
            let bytes = f[&segment].clone();
            f.insert(names::segment(77), bytes);
        },
        then: Then::Harmless,
    },
    Way {
        name: "a segment of another store in the place of one",
        merged: false,
        damage: |f| {
            let other = stores::at_work(7);
            let segment = of_kind(f, FileKind::Segment).remove(0);
            let bytes = other[&segment].clone();
            f.insert(segment, bytes);
        },
        then: Then::Lost(Structure::FileHeader),
    },
    Way {
        name: "a merge that was not ended",
        merged: false,
        damage: |f| {
            let segment = of_kind(f, FileKind::Segment).remove(0);
            let half = f[&segment][..900].to_vec();
            f.insert(format!("{}.tmp", names::segment(99)), half);
        },
        then: Then::Harmless,
    },
    Way {
        name: "CURRENT is gone",
        merged: false,
        damage: |f| {
            f.remove(names::CURRENT);
        },
        then: Then::Whole(Structure::File),
    },
    Way {
        name: "a bit of CURRENT",
        merged: false,
        damage: |f| flip(f, names::CURRENT, 3),
        then: Then::Whole(Structure::Current),
    },
    Way {
        name: "the manifest is gone",
        merged: false,
        damage: |f| {
            let manifest = last(f, FileKind::Manifest);
            f.remove(&manifest);
        },
        then: Then::Whole(Structure::File),
    },
    Way {
        name: "a bit of the manifest's first state",
        merged: false,
        damage: |f| flip_in_manifest(f, kind::SNAPSHOT),
        then: Then::Whole(Structure::Frame),
    },
    Way {
        name: "an old manifest",
        merged: false,
        damage: |f| {
            let manifest = last(f, FileKind::Manifest);
            let end = frames(&f[&manifest], kind::EDIT)[1].1;
            cut(f, &manifest, end)
        },
        then: Then::Lost(Structure::File),
    },
    Way {
        name: "a format of the future",
        merged: true,
        damage: |f| {
            let segment = last(f, FileKind::Segment);
            let bytes = stores::of_version(&f[&segment], 9);
            f.insert(segment, bytes);
        },
        then: Then::Newer,
    },
];

fn check(files: &Files) -> Report {
    let options = Options { level: Level::Checksums, threads: 1, ..Options::default() };
    fsck(&MemoryStorage::with_files(files.clone()), &ManualClock::new(0), &options, &()).unwrap()
}

/// When the stores are asked about.
fn times() -> Vec<Second> {
    [0, 5, 8, 9, 14, 20, 100].iter().flat_map(|look| [FIRST + STEP * look, FIRST + STEP * look + 7]).collect()
}

/// As of which recorded times: now, and as of some of the batches.
fn known_at() -> [Option<Micros>; 6] {
    let batch = |number: i64| Some(clock().now_micros() + 1_000_000 * number);
    [None, batch(1), batch(3), batch(6), batch(11), batch(18)]
}

fn told(files: &Files) -> Told {
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
    tell(&view, &times(), &known_at()).unwrap()
}

/// What the model tells of so many batches.
fn so(count: usize) -> Told {
    tell_model(&model(&batches()[..count]), &times(), &known_at()).unwrap()
}

fn recovered(files: &Files) -> Result<(Recovered, Files), Error> {
    let from = MemoryStorage::with_files(files.clone());
    let new = MemoryStorage::new();
    let (to, clock): (Arc<dyn Storage>, Arc<dyn Clock>) = (Arc::new(new.clone()), Arc::new(ManualClock::new(1 << 50)));
    let report = recover(&from, &to, &clock, &mut |_, _, _| {})?;
    Ok((report, new.files()))
}

/// What is wrong with what comes of a way; `None` if it is as it should be.
fn wrong(way: &Way, whole: &Told, mut files: Files) -> Option<String> {
    (way.damage)(&mut files);
    let report = check(&files);
    let damages: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Damage).collect();
    match &way.then {
        Then::Harmless if damages.is_empty() => {}
        Then::Newer => {
            let is_newer = |wrong: &Wrong| matches!(wrong, Wrong::Version(gap) if gap.found == 9);
            let is_told = report.findings.iter().any(|found| is_newer(&found.wrong) && found.next == Next::Newer);
            let is_refused = matches!(recovered(&files), Err(Error::Version(_)));
            return (!is_told || !is_refused).then(|| format!("{:#?}", report.findings));
        }
        Then::Whole(structure) | Then::Lost(structure)
            if damages.iter().any(|found| found.structure == *structure)
                && damages.iter().all(|found| found.next == Next::Recover) => {}
        _ => {
            let found = damages
                .iter()
                .map(|found| format!("{} {:?} {:?} {}", found.file, found.structure, found.next, found.wrong));
            return Some(found.collect::<Vec<_>>().join("; "));
        }
    }
    let (report, new) = recovered(&files).unwrap();
    let clean = check(&new);
    if !clean.findings.is_empty() {
        return Some(format!("the new store: {:#?}", clean.findings));
    }
    let now = told(&new);
    if let Some(why) = now.exceeds(whole) {
        return Some(format!("{why}\n{report:#?}"));
    }
    let is_as_said = match way.then {
        Then::Lost(_) => !report.is_whole(),
        _ => report.lost.is_empty() && now.known() == whole.known(),
    };
    (!is_as_said).then(|| format!("{} of {} known: {report:#?}", now.known(), whole.known()))
}

/// Where nothing is damaged all is told, and nothing else.
#[test]
fn whole_stores_tell_what_the_model_tells() {
    for (files, batches) in [(stores::at_work(0), stores::BATCHES), (stores::merged(), stores::MERGED_BATCHES)] {
        assert_eq!(told(&files), so(batches));
    }
}

#[test]
fn each_way_is_named_and_what_is_recovered_is_right_or_unknown() {
    let stores = [stores::at_work(0), stores::merged()];
    let whole = [so(stores::BATCHES), so(stores::MERGED_BATCHES)];
    let of = |way: &Way| {
        let store = usize::from(way.merged);
        wrong(way, &whole[store], stores[store].clone()).map(|wrong| format!("{}: {wrong}", way.name))
    };
    let wrong: Vec<String> = WAYS.iter().filter_map(of).collect();
    assert!(wrong.is_empty(), "{} of {} ways:\n{}", wrong.len(), WAYS.len(), wrong.join("\n"));
}

/// The disk that is recovered to is full, at every length: what is there is no store, and the damaged one is as it was.
#[test]
fn a_full_disk_while_recovering_leaves_no_store_and_changes_nothing() {
    let mut files = stores::merged();
    flip_frame(&mut files, Frames::RUN);
    let from = MemoryStorage::with_files(files.clone());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(1 << 50));
    let (mut full, mut filled) = (0, 0);
    loop {
        let new = FaultyStorage::new(Plan { full_at: Some(full), ..Plan::default() });
        let to: Arc<dyn Storage> = Arc::new(new.clone());
        match recover(&from, &to, &clock, &mut |_, _, _| {}) {
            Ok(_) => break,
            Err(error) => assert!(error.to_string().contains("no storage space"), "full at {full}: {error}"),
        }
        assert!(open_view(&new, 0).is_err(), "full at {full}");
        assert_eq!(from.files(), files);
        (full, filled) = (full + 211, filled + 1);
    }
    assert!(filled > 20, "{filled}");
}

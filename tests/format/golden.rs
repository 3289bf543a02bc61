//! Golden stores: small stores that programs of the past wrote, which every program to come must open and answer the same.
//!
//! `golden/` has one folder for each version of the format that ever was released, named by the version in the files'
//! headers and that of the segments' footers. In it is a folder for each store, with the files as they were written, and
//! beside that a text (`.txt.gz`) of all that the store holds and answers. Neither is ever changed or removed; a text may
//! be told in another form when the answers' types change, but then a program before that change must have found it right.
//! Only reading is compared: what is written may differ from one program to the next.
//!
//! When the format gets a new version, the newest stores are kept with it:
//!
//! ```sh
//! cargo test -p erstwhile-tests --test format -- --ignored keep_golden_stores
//! ```
//!
//! That makes what the folder of the newest version lacks; what is there stays. A test fails until it was done.

use crate::stores::{Files, frames, lines};
use erstwhile_engine::check::fsck::{Level, Severity};
use erstwhile_engine::codec::Effort;
use erstwhile_engine::error::Error;
use erstwhile_engine::fact::Batch;
use erstwhile_engine::format::frame::{
    FRAME_HEADER_BYTES, FileHeader, FileKind, HEADER_BYTES, VERSION_NEWEST, kind, read_frame,
};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{Clock, DiskStorage, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::view::View;
use erstwhile_engine::recover::recover;
use erstwhile_engine::segment::footer::FOOTER_VERSION;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::checked::report;
use erstwhile_tests::support::workload::{self, PRODUCER, answers, answers_known, append, batches, clock, facts, open};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where in a record its form is: behind its durable length, in the batch as the log's page tells it.
const FORM_AT: usize = FRAME_HEADER_BYTES + 8 + 36;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("format/golden")
}

/// The folder of today's format.
fn newest() -> PathBuf {
    root().join(format!("{VERSION_NEWEST}.{FOOTER_VERSION}"))
}

/// The folders in a folder, in order.
fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
    let folders: BTreeSet<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.into_iter().collect()
}

/// Each golden store's folder, files and text.
fn golden() -> Vec<(PathBuf, Files, String)> {
    let mut golden = Vec::new();
    for path in folders(&root()).iter().flat_map(|version| folders(version)) {
        let file = |entry: fs::DirEntry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap());
        let files: Files = fs::read_dir(&path).unwrap().map(|entry| file(entry.unwrap())).collect();
        let mut text = String::new();
        let packed = fs::File::open(path.with_extension("txt.gz")).unwrap();
        GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        golden.push((path, files, text));
    }
    assert!(!golden.is_empty());
    golden
}

/// All that a store holds and answers, now and as of a recorded time in its middle.
fn told(view: &View) -> Result<String, Error> {
    let mut out = String::new();
    let (facts, mut recorded) = (facts(view)?, BTreeSet::new());
    for (stream, parts) in &facts {
        writeln!(out, "{stream}").unwrap();
        for (at, text) in parts {
            recorded.insert(*at);
            writeln!(out, "  {at} {text}").unwrap();
        }
    }
    out.push_str(&answers(view)?);
    let middle = recorded.iter().nth(recorded.len() / 2).copied();
    out.push_str(&answers_known(view, middle)?);
    Ok(out)
}

/// Tells where two texts differ, rather than both.
#[track_caller]
fn assert_same(name: &str, found: &str, expected: &str) {
    for (i, (found, expected)) in found.lines().zip(expected.lines()).enumerate() {
        assert_eq!(found, expected, "{name}, line {i}");
    }
    assert_eq!(found.len(), expected.len(), "{name}");
}

fn told_of(files: &Files) -> Result<String, Error> {
    told(&open_view(&MemoryStorage::with_files(files.clone()), 1 << 20)?)
}

#[test]
fn golden_stores_answer_as_ever() {
    for (path, files, expected) in golden() {
        let name = path.display().to_string();
        assert_same(&name, &told_of(&files).unwrap(), &expected);
        let checked = report(&MemoryStorage::with_files(files), Level::Deep);
        assert_eq!(checked.count(Severity::Damage), 0, "{name}: {:#?}", checked.findings);
        // From the disk, where files are mapped.
        let copy = tempfile::tempdir().unwrap();
        fs::read_dir(&path).unwrap().map(Result::unwrap).for_each(|entry| {
            fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
        });
        let storage = DiskStorage::open(copy.path(), false).unwrap();
        assert_same(&name, &told(&open_view(&storage, 1 << 20).unwrap()).unwrap(), &expected);
    }
}

/// Taken up by a writer, sealed and merged, and read again.
#[test]
fn golden_stores_are_written_on() {
    for (path, files, expected) in golden() {
        let name = path.display().to_string();
        let storage = MemoryStorage::with_files(files);
        let clock = ManualClock::new(2_000_000_000_000_000);
        let store = open(&storage, &clock, workload::options()).unwrap();
        assert_same(&name, &told(&store.view()).unwrap(), &expected);
        if !path.ends_with("recovered") {
            // All of this is known.
            assert!(append(&store, &clock, &batches()[..8]).1.is_none());
            assert_same(&name, &told(&store.view()).unwrap(), &expected);
        }
        store.compact().unwrap();
        assert_same(&name, &told(&store.view()).unwrap(), &expected);
        store.close().unwrap();
        assert_same(&name, &told_of(&storage.files()).unwrap(), &expected);
    }
}

/// What a record of a log held is told by its digest, and by its digest again if both are gone.
#[test]
fn golden_digests_tell_what_a_lost_record_held() {
    for (path, files, _) in golden().into_iter().filter(|(path, ..)| path.ends_with("digested")) {
        let (name, log) = files.iter().find(|(name, _)| name.ends_with(".log")).unwrap();
        let found = frames(log);
        let again = found.iter().find(|frame| frame.1 == kind::DIGESTS_AGAIN).unwrap().0;
        let pairs = found.windows(2).filter(|pair| (pair[0].1, pair[1].1) == (kind::DIGEST, kind::BATCH));
        for pair in pairs {
            let (digest, record) = (pair[0].0 + FRAME_HEADER_BYTES, pair[1].0 + FRAME_HEADER_BYTES);
            for places in [&[record][..], &[digest, record]] {
                let mut damaged = files.clone();
                places.iter().for_each(|at| damaged.get_mut(name).unwrap()[at + 5] ^= 1);
                let (from, to): (_, Arc<dyn Storage>) =
                    (MemoryStorage::with_files(damaged), Arc::new(MemoryStorage::new()));
                let clock: Arc<dyn Clock> = Arc::new(clock());
                let report = recover(&from, &to, &clock, &mut |_, _, _| {}).unwrap();
                let is_told = places.len() == 1 || record + pair[1].2 + 4096 <= again;
                assert!(!report.is_whole(), "{}: {report:#?}", path.display());
                assert!(!is_told || report.recorded_lost.is_empty(), "{} at {record}: {report:#?}", path.display());
            }
        }
    }
}

/// A format that was changed under the same versions is seen by the tests above; one with a new version needs new stores.
#[test]
fn todays_format_has_golden_stores() {
    assert!(newest().is_dir(), "keep golden stores of the new version: see the head of golden.rs");
    let kept: BTreeSet<String> =
        folders(&newest()).iter().map(|path| path.file_name().unwrap().to_str().unwrap().into()).collect();
    assert_eq!(kept, stores().into_iter().map(|(name, _)| name.to_owned()).collect());
}

/// Nothing of a store from the future is guessed at, by readers or writers: the error says what it is and what would read it.
#[test]
fn a_store_from_the_future_is_refused() {
    let (_, files, _) = golden().into_iter().find(|(path, ..)| *path == newest().join("at-work")).unwrap();
    let future = VERSION_NEWEST + 1;
    let kinds = files.keys().filter_map(|name| names::parse(name)).map(|(kind, _)| kind as u8);
    assert_eq!(kinds.collect::<BTreeSet<_>>().len(), 3, "a log, segments, a manifest");
    for name in files.keys().filter(|name| names::parse(name).is_some()) {
        let mut files = files.clone();
        files.entry(name.clone()).and_modify(|bytes| {
            bytes[8..10].copy_from_slice(&future.to_le_bytes());
            let crc = crate::stores::crc(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        });
        let is_told = |error: Error| {
            let text = error.to_string();
            assert!(matches!(&error, Error::Version(gap) if gap.file == *name && gap.found == future), "{text}");
            assert!(text.contains(&format!("format {future}")) && text.contains("newer erstwhile"), "{text}");
        };
        is_told(told_of(&files).unwrap_err());
        let storage = MemoryStorage::with_files(files.clone());
        is_told(open(&storage, &clock(), workload::options()).map(drop).unwrap_err());
        let kept =
            |(name, bytes): (&String, &Vec<u8>)| *name == names::LOCK || storage.files().get(name) == Some(bytes);
        assert!(files.iter().all(kept), "what is not understood is left as it was");
    }
}

/// The stores that are kept of a format.
fn stores() -> Vec<(&'static str, Files)> {
    vec![
        ("at-work", at_work()),
        ("digested", digested()),
        ("long", crate::stores::long()),
        ("merged", crate::stores::merged()),
        ("recovered", recovered()),
    ]
}

/// A merged segment, young ones in columns, one of listed rows and parts, a manifest with edits, a log with records of all
/// forms. Its writer died.
fn at_work() -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let options = Options { memtable_bytes_max: 1 << 20, merge_fanout: 64, keeps_whole: false, ..workload::options() };
    let history = batches();
    let store = open(&storage, &clock, options.clone()).unwrap();
    assert!(append(&store, &clock, &history[..4]).1.is_none());
    store.compact().unwrap();
    assert!(append(&store, &clock, &history[4..6]).1.is_none());
    store.flush().unwrap();
    assert!(append(&store, &clock, &history[6..8]).1.is_none());
    drop(store);
    // Who takes it up seals what the log has.
    let store = open(&storage, &clock, Options { seal_effort: Effort::Quick, ..options }).unwrap();
    let (short, long, many) = (["x"], ["the same line again, ".repeat(40)], ["root", "daemon", "nobody"].repeat(12));
    let more =
        [lines(0, 12, &short), lines(PRODUCER, 13, &long.each_ref().map(|line| &**line)), lines(PRODUCER, 14, &many)];
    assert!(append(&store, &clock, &[&history[8..12], &more].concat()).1.is_none());
    drop(store);
    let files = storage.files();
    let of = |kind| files.iter().filter(move |(name, _)| names::parse(name).is_some_and(|(its, _)| its == kind));
    let view = open_view(&MemoryStorage::with_files(files.clone()), 0).unwrap();
    let packed: Vec<bool> = view.segments().iter().map(|segment| segment.is_packed().unwrap()).collect();
    assert_eq!(packed.len(), 3, "merged, in columns, listed");
    assert_eq!(packed.iter().filter(|packed| **packed).count(), 1);
    let frames_of = |kind: FileKind| {
        let mut frames = Vec::new();
        for (_, bytes) in of(kind) {
            let (id, mut at) = (FileHeader::decode(bytes).unwrap().id, HEADER_BYTES);
            while at < bytes.len() {
                let Ok(frame) = read_frame(&bytes[at..], &id, at as u64) else { break };
                frames.push((frame.kind, bytes[at..frame.end as usize].to_vec()));
                at = frame.end as usize;
            }
        }
        frames
    };
    let batches = frames_of(FileKind::Log).into_iter().filter(|(of, _)| *of == kind::BATCH);
    let forms: BTreeSet<u8> = batches.map(|(_, frame)| frame[FORM_AT]).collect();
    assert_eq!(forms, BTreeSet::from([0, 1, 2]), "records of all forms");
    assert!(frames_of(FileKind::Manifest).iter().any(|(of, _)| *of == kind::EDIT), "a manifest with edits");
    files
}

/// A store that has sealed nothing, whose log is long enough for digests to stand in it again.
fn digested() -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let options = Options { memtable_bytes_max: 1 << 20, ..workload::options() };
    let store = open(&storage, &clock, options).unwrap();
    let noise = |sequence: u64| -> Batch {
        let text = |at: u64| {
            format!("{:016x}", crate::stores::chance(at, "a line") ^ crate::stores::chance(sequence, "a file"))
        };
        let text: String = (0..150).map(|at| text(1000 * sequence + at)).collect();
        lines(0, sequence, &[&text])
    };
    let history = [batches()[..8].to_vec(), (12..20).map(noise).collect()].concat();
    assert!(append(&store, &clock, &history).1.is_none());
    drop(store);
    let files = storage.files();
    let (_, log) = files.iter().find(|(name, _)| name.ends_with(".log")).unwrap();
    let kinds: BTreeSet<u8> = frames(log).into_iter().map(|frame| frame.1).collect();
    assert_eq!(kinds, BTreeSet::from([kind::LOG_START, kind::BATCH, kind::DIGEST, kind::DIGESTS_AGAIN]));
    files
}

/// What was left of a store at work, with marks of what is lost.
fn recovered() -> Files {
    let mut files = at_work();
    let first = files.keys().find(|name| name.ends_with(".segment")).unwrap().clone();
    // In the middle, where rows and parts are.
    files.entry(first).and_modify(|bytes| (0..20).for_each(|i| bytes[HEADER_BYTES + 20 + 60 * i] ^= 1));
    let (from, to): (_, Arc<dyn Storage>) = (MemoryStorage::with_files(files), Arc::new(MemoryStorage::new()));
    let clock: Arc<dyn Clock> = Arc::new(clock());
    let report = recover(&from, &to, &clock, &mut |_, _, _| {}).unwrap();
    assert!(!report.lost.is_empty() && report.parts > 0, "some is lost and some is not");
    to.list().unwrap().into_iter().map(|(name, _)| (name.clone(), to.read_from(&name, 0).unwrap())).collect()
}

/// Keeps stores of today's format: run it once for each version, and where a store was added to the list.
#[test]
#[ignore = "makes files that are kept"]
fn keep_golden_stores() {
    let folder = newest();
    let stores: Vec<_> = stores().into_iter().filter(|(name, _)| !folder.join(name).exists()).collect();
    assert!(!stores.is_empty(), "what is kept is never made anew: {}", folder.display());
    for (name, files) in stores {
        let path = folder.join(name);
        fs::create_dir_all(&path).unwrap();
        for (file, bytes) in &files {
            fs::write(path.join(file), bytes).unwrap();
        }
        let text = told_of(&files).unwrap();
        let packed = fs::File::create(path.with_extension("txt.gz")).unwrap();
        let mut packed = GzEncoder::new(packed, Compression::best());
        packed.write_all(text.as_bytes()).unwrap();
        packed.finish().unwrap();
    }
}

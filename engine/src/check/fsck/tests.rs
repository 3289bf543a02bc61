//! Small stores, whole and damaged in one way each: what is found, what it means, what is to be done.

use super::{Effect, Finding, Level, Next, Options, Report, Severity, Wrong, fsck};
use crate::check::loss::What;
use crate::codec::Effort;
use crate::error::{Fault, Structure};
use crate::fact::{Batch, Delivery, Inferred, Kind, Name, StreamKey};
use crate::format::frame::{FileHeader, FileId, FileKind, HEADER_BYTES, VERSION_NEWEST, put_frame, read_frame};
use crate::format::names;
use crate::io::{Clock, Lock, LockError, ManualClock, Mapped, MemoryStorage, Output, Storage};
use crate::manifest::{Edit, ManifestFile};
use crate::options;
use crate::packing::{Learner, Packer};
use crate::row::{Row, RowBuilder};
use crate::segment::Frames;
use crate::segment::directory::Layout;
use crate::segment::footer::put_trailer;
use crate::segment::run::BLOCK_VERSIONS_MAX;
use crate::segment::run::encode::{Encoder, OfLooks};
use crate::segment::write::SegmentWriter;
use crate::store::Store;
use crate::timeline::moments::Moments;
use crate::timeline::regular::{Agent, LastLook, Lifetime, OPEN};
use crate::timeline::{self, AgentHistory, Part};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const STORE: [u8; 16] = *b"sixteen bytes id";

fn delivery(table: &str, host: &str, second: i64, counter: u64, uids: &[u64]) -> Delivery {
    let stream = StreamKey {
        table: Name::from(table.as_bytes()),
        host: Name::from(host.as_bytes()),
        name: Name::from(&b"pack/q"[..]),
        kind: Kind::Diff,
        sightings: false,
    };
    let row = |uid: &u64| {
        let mut builder = RowBuilder::new();
        builder.column(b"uid", uid.to_string().as_bytes());
        (builder.row(), 1)
    };
    Delivery {
        stream: Arc::new(stream),
        epoch: 5,
        counter: Some(counter),
        second,
        whole: true,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: uids.iter().map(row).collect(),
    }
}

/// A store open for writing, its clock, and where it lives.
fn opened() -> (Store, Arc<ManualClock>, MemoryStorage) {
    let storage = MemoryStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let clock = Arc::new(ManualClock::new(1_545_645_600_000_000));
    ManifestFile::create_new(shared.clone(), clock.clone(), STORE).unwrap();
    let options = options::Options { background: false, ..options::Options::default() };
    (Store::open(shared, clock.clone(), options, "a test").unwrap(), clock, storage)
}

fn append(store: &Store, clock: &ManualClock, i: u64) {
    clock.advance(1_000_000);
    let second = 1000 + 10 * i as i64;
    let deliveries = ["a", "b"].iter().flat_map(|host| {
        [delivery("users", host, second, i, &[2 * i, 2 * i + 1]), delivery("mounts", host, second, i, &[i])]
    });
    store.append(Batch { producer: 0, sequence: 1, digest: 0, deliveries: deliveries.collect() }, None).unwrap();
}

/// A merged segment, a sealed one, and a log with two batches.
fn store() -> MemoryStorage {
    let (store, clock, storage) = opened();
    (0..5).for_each(|i| append(&store, &clock, i));
    store.compact().unwrap();
    append(&store, &clock, 5);
    store.flush().unwrap();
    (6..8).for_each(|i| append(&store, &clock, i));
    MemoryStorage::with_files(storage.files())
}

fn check(storage: &dyn Storage, options: Options) -> Report {
    fsck(storage, &ManualClock::new(0), &options, &()).unwrap()
}

fn at_level(storage: &dyn Storage, level: Level) -> Report {
    check(storage, Options { level, threads: 2, ..Options::default() })
}

fn usual(storage: &dyn Storage) -> Report {
    at_level(storage, Level::Checksums)
}

fn names_of(storage: &MemoryStorage, kind: FileKind) -> Vec<String> {
    let is_it = |name: &String| names::parse(name).is_some_and(|(its, _)| its == kind);
    storage.files().into_keys().filter(is_it).collect()
}

fn with(storage: &MemoryStorage, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> MemoryStorage {
    let mut files = storage.files();
    change(files.get_mut(name).unwrap());
    MemoryStorage::with_files(files)
}

fn without(storage: &MemoryStorage, name: &str) -> MemoryStorage {
    let mut files = storage.files();
    files.remove(name).unwrap();
    MemoryStorage::with_files(files)
}

/// The only finding.
fn only(report: &Report) -> &Finding {
    let [finding] = &report.findings[..] else { panic!("{:#?}", report.findings) };
    finding
}

/// The offset of a segment's frames of a type, and their ends.
fn frames(storage: &MemoryStorage, name: &str, of: u8) -> Vec<(usize, usize)> {
    let bytes = storage.files()[name].clone();
    let id = FileHeader::decode(&bytes).unwrap().id;
    let (mut frames, mut at) = (Vec::new(), HEADER_BYTES);
    while let Ok(frame) = read_frame(&bytes[at..], &id, at as u64) {
        if frame.kind == of {
            frames.push((at, frame.end as usize));
        }
        at = frame.end as usize;
    }
    frames
}

/// A loss in words: what, table, host, seconds.
type Told = (What, String, String, Option<(i64, i64)>);

fn losses(finding: &Finding) -> Vec<Told> {
    let text =
        |name: &Option<Name>| name.as_ref().map_or("all".to_owned(), |name| String::from_utf8_lossy(name).into());
    let words = finding
        .losses
        .iter()
        .map(|loss| (loss.what, text(&loss.streams.table), text(&loss.streams.host), loss.seconds));
    words.collect()
}

#[test]
fn a_whole_store_is_clean_and_what_was_looked_at_is_counted() {
    let storage = store();
    let files = storage.files();
    for level in [Level::Quick, Level::Checksums, Level::Deep] {
        let report = at_level(&storage, level);
        assert_eq!(report.findings, [], "{level:?}");
        assert!(report.left_out == Default::default() && !report.is_live);
        let files: Vec<u64> = report.totals.iter().map(|total| total.files).collect();
        assert_eq!(files, [2, 2, 1], "{level:?}");
        let is_deep = level == Level::Deep;
        assert_eq!(report.meaning.streams == 8 && report.meaning.commits == 2, is_deep, "{:?}", report.meaning);
    }
    assert!(storage.files() == files, "nothing is written");
    let report = usual(&storage);
    let of_segments = report.totals[1];
    // All but headers and trailers.
    assert_eq!(of_segments.bytes, of_segments.bytes_verified + 2 * (64 + 16));
}

#[test]
fn each_structure_of_a_segment_says_what_is_lost_with_it() {
    let storage = store();
    let segments = names_of(&storage, FileKind::Segment);
    let (merged, sealed) = (&segments[0], &segments[1]);
    let first = |name: &str, of: u8| frames(&storage, name, of)[0];
    let found = |name: &str, at: usize| usual(&with(&storage, name, |bytes| bytes[at] ^= 1));
    let of = |name: &str, kind: u8| {
        let report = found(name, first(name, kind).1 - 1);
        let finding = only(&report).clone();
        assert_eq!((finding.severity, &finding.file), (Severity::Damage, &name.to_owned()));
        assert_eq!(finding.offset, Some(first(name, kind).0 as u64));
        assert_eq!(finding.next, Next::Recover);
        finding
    };
    let one = |what, table: &str, host: &str, seconds| (what, table.to_owned(), host.to_owned(), Some(seconds));

    let run = of(merged, Frames::RUN);
    assert_eq!((run.structure, run.effect), (Structure::Piece, Effect::Questions));
    assert_eq!(losses(&run), [one(What::Looks, "mounts", "a", (1000, 1040))]);
    let piece = of(sealed, Frames::PIECE);
    assert_eq!(losses(&piece), [one(What::Looks, "mounts", "a", (1050, 1050))]);
    let dictionary = of(merged, Frames::DICTIONARY);
    let both = |what, seconds| [one(what, "mounts", "a", seconds), one(what, "mounts", "b", seconds)];
    assert_eq!(losses(&dictionary), both(What::Rows, (1000, 1040)));
    let rows = of(sealed, Frames::ROWS);
    assert_eq!(losses(&rows), both(What::Rows, (1050, 1050)));
    let directory = of(merged, Frames::DIRECTORY);
    assert_eq!(losses(&directory), both(What::Stream, (1000, 1040)));
    assert_eq!((losses(&of(merged, Frames::INDEX)), of(merged, Frames::INDEX).effect), (vec![], Effect::Questions));
    let commits = of(merged, Frames::COMMITS);
    assert_eq!(losses(&commits).len(), 4);
    assert!(commits.losses.iter().all(|loss| loss.what == What::Recorded && loss.recorded.is_some()));
    for kind in [Frames::HOSTS, Frames::FOOTER] {
        let everything = of(merged, kind);
        assert_eq!(losses(&everything).len(), 4);
        assert!(everything.losses.iter().all(|loss| loss.what == What::Stream));
        assert_eq!(everything.effect == Effect::Store, kind == Frames::FOOTER);
    }
    let len = storage.files()[merged].len();
    for (at, structure) in [(10, Structure::FileHeader), (len - 5, Structure::Trailer)] {
        let report = found(merged, at);
        let finding = only(&report);
        assert_eq!((finding.structure, finding.effect), (structure, Effect::Store));
        assert_eq!(losses(finding), [], "{structure:?} hides nothing");
    }
}

/// Rows that several looks name are lost with all of them.
#[test]
fn what_is_lost_with_rows_ends_with_the_last_look_that_names_one() {
    let (store, clock, storage) = opened();
    (0..3).for_each(|i| append(&store, &clock, i));
    store.flush().unwrap();
    let sealed = &names_of(&storage, FileKind::Segment)[0];
    let storage = MemoryStorage::with_files(storage.files());
    let (_, end) = frames(&storage, sealed, Frames::ROWS)[0];
    let report = usual(&with(&storage, sealed, |bytes| bytes[end - 1] ^= 1));
    let seconds: Vec<_> = losses(only(&report)).into_iter().map(|loss| loss.3).collect();
    assert_eq!(seconds, [Some((1000, 1020)), Some((1000, 1020))]);
}

#[test]
fn a_cut_or_grown_segment_is_told_with_what_is_beyond_the_cut() {
    let storage = store();
    let merged = &names_of(&storage, FileKind::Segment)[0];
    for cut in [HEADER_BYTES, frames(&storage, merged, Frames::RUN)[1].0 + 3, storage.files()[merged].len() - 1] {
        for level in [Level::Quick, Level::Checksums] {
            let report = at_level(&with(&storage, merged, |bytes| bytes.truncate(cut)), level);
            assert!(report.count(Severity::Damage) > 0, "{cut} {level:?}");
        }
    }
    let report = usual(&with(&storage, merged, |bytes| bytes.extend([7; 100])));
    assert_eq!((only(&report).structure, losses(only(&report))), (Structure::File, vec![]));
}

#[test]
fn what_is_missing_is_told_with_all_that_it_held() {
    let storage = store();
    let segments = names_of(&storage, FileKind::Segment);
    for level in [Level::Quick, Level::Checksums] {
        let report = at_level(&without(&storage, &segments[0]), level);
        let finding = only(&report);
        assert_eq!((&finding.file, &finding.wrong), (&segments[0], &Wrong::Fault(Fault::Missing)));
        assert_eq!(losses(finding).len(), 4);
        let log = &names_of(&storage, FileKind::Log)[0];
        let report = at_level(&without(&storage, log), level);
        assert_eq!((&*only(&report).file, only(&report).effect), (&**log, Effect::Store));
        assert!(only(&report).losses[0].recorded.is_some());
        let manifest = &names_of(&storage, FileKind::Manifest)[0];
        for name in [manifest, names::CURRENT] {
            let report = at_level(&without(&storage, name), level);
            let damage: Vec<&Finding> =
                report.findings.iter().filter(|finding| finding.severity == Severity::Damage).collect();
            assert_eq!((damage.len(), &*damage[0].file, losses(damage[0])), (1, name, vec![]));
        }
    }
}

#[test]
fn swapped_doubled_and_foreign_files_are_told_apart() {
    let storage = store();
    let segments = names_of(&storage, FileKind::Segment);
    let files = storage.files();
    let swapped = MemoryStorage::with_files(files.clone());
    swapped.put(&segments[0], files[&segments[1]].clone());
    swapped.put(&segments[1], files[&segments[0]].clone());
    let report = usual(&swapped);
    assert_eq!(report.count(Severity::Damage), 2);
    for finding in &report.findings {
        assert_eq!(finding.wrong, Wrong::Fault(Fault::Foreign { what: "file number" }));
        assert_eq!(losses(finding), [], "the other file has it");
    }
    let doubled = MemoryStorage::with_files(files.clone());
    doubled.put("0000000077.segment", files[&segments[0]].clone());
    doubled.put("copy of a segment", files[&segments[0]].clone());
    let report = usual(&doubled);
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Warning && !finding.is_unchecked()));
    for finding in &report.findings {
        assert_eq!(finding.wrong, Wrong::Renamed { own: segments[0].clone(), is_twice: true });
        assert_eq!(finding.next, Next::Inspect);
    }
    assert_eq!(report.findings.len(), 2);
    let foreign = with(&storage, &segments[0], |bytes| {
        let header = FileHeader::decode(bytes).unwrap();
        let id = FileId { store: *b"another store id", ..header.id };
        bytes[..HEADER_BYTES].copy_from_slice(&FileHeader { id, ..header }.encode());
    });
    let report = usual(&foreign);
    assert_eq!(only(&report).wrong, Wrong::Fault(Fault::Foreign { what: "store" }));
    assert_eq!(losses(only(&report)).len(), 4);
    // Sound, of the same number and store, but not the one that the manifest means.
    let log = names_of(&storage, FileKind::Log)[0].clone();
    let as_segment = MemoryStorage::with_files(files.clone());
    as_segment.put(&segments[0], files[&log].clone());
    assert_eq!(only(&usual(&as_segment)).wrong, Wrong::Fault(Fault::Foreign { what: "kind of file" }));
}

#[test]
fn a_version_from_the_future_is_no_damage_and_not_checked() {
    let storage = store();
    for kind in FileKind::ALL {
        let name = &names_of(&storage, kind)[0];
        let report = usual(&with(&storage, name, |bytes| {
            bytes[8..10].copy_from_slice(&(VERSION_NEWEST + 1).to_le_bytes());
            let crc = crc32fast::hash(&bytes[..60]);
            bytes[60..64].copy_from_slice(&crc.to_le_bytes());
        }));
        assert_eq!((report.count(Severity::Damage), report.unchecked()), (0, 1), "{name}: {:#?}", report.findings);
        let finding = report.findings.iter().find(|finding| finding.is_unchecked()).unwrap();
        assert_eq!((&finding.file, finding.next), (name, Next::Newer));
        assert!(finding.wrong.to_string().contains("open the store with a newer erstwhile"));
    }
}

#[test]
fn an_unfinished_end_is_told_from_damage() {
    let storage = without(&store(), names::LOCK);
    let log = &names_of(&storage, FileKind::Log)[0];
    let len = storage.files()[log].len();
    let batches = frames(&storage, log, crate::format::frame::kind::BATCH);
    for level in [Level::Quick, Level::Checksums, Level::Deep] {
        let report = at_level(&with(&storage, log, |bytes| bytes.truncate(len - 1)), level);
        assert!(matches!(only(&report).wrong, Wrong::Torn { .. }), "{:?}", report.findings);
        assert_eq!((only(&report).severity, only(&report).next), (Severity::Info, Next::Nothing));
        // The next record was placed when the first was durable.
        let first = batches[0].0;
        let report = at_level(&with(&storage, log, |bytes| bytes[first + 20] ^= 1), level);
        let damage = only(&report);
        assert_eq!((damage.severity, damage.structure), (Severity::Damage, Structure::Batch));
        assert_eq!(damage.losses.len(), 4, "its digest tells: two tables of two hosts");
        assert!(damage.losses.iter().all(|loss| loss.what == What::Looks && loss.seconds == Some((1060, 1060))));
        // Its digest alone: the batch is whole.
        let report = at_level(&with(&storage, log, |bytes| bytes[first - 20] ^= 1), level);
        assert_eq!((only(&report).severity, only(&report).structure), (Severity::Damage, Structure::Frame));
        assert_eq!(only(&report).losses, []);
        // Both.
        let report = at_level(&with(&storage, log, |bytes| bytes[first - 20..][..40].fill(0)), level);
        let (from, to) = only(&report).losses[0].recorded.unwrap();
        assert!(from < to && to - from == 2_000_000, "between the records around it: {from} {to}");
    }
    // The writer's note says that it was durable, whether the cut leaves a part of a record or none.
    let noted = store();
    let last = frames(&noted, log, crate::format::frame::kind::BATCH)[1].0;
    for cut in [len - 1, last] {
        let report = usual(&with(&noted, log, |bytes| bytes.truncate(cut)));
        assert!(report.count(Severity::Damage) > 0, "{cut}");
    }
    let manifest = &names_of(&storage, FileKind::Manifest)[0];
    let torn = with(&store(), manifest, |bytes| bytes.extend([1, 0, 0, 0, 0x12, 0, 0]));
    assert!(matches!(only(&usual(&torn)).wrong, Wrong::Torn { bytes: 7, .. }));
}

#[test]
fn directories_of_nothing_and_of_noise_hold_no_store() {
    let report = usual(&MemoryStorage::new());
    assert_eq!((&only(&report).wrong, report.unchecked()), (&Wrong::NoStore, 1));
    let noise: BTreeMap<String, Vec<u8>> = (0..9).map(|i| (format!("noise {i}"), vec![i; 100])).collect();
    let report = usual(&MemoryStorage::with_files(noise));
    assert_eq!((report.count(Severity::Info), report.unchecked(), report.count(Severity::Damage)), (9, 1, 0));
    let names = ["0000000001.manifest", "0000000002.segment", "0000000003.log", names::CURRENT, names::LOCK];
    let noise = names.map(|name| (name.to_owned(), b"noise".repeat(40)));
    assert!(usual(&MemoryStorage::with_files(noise)).count(Severity::Damage) > 0);
}

#[test]
fn what_a_crash_leaves_is_harmless() {
    let storage = store();
    let files = storage.files();
    let segment = &names_of(&storage, FileKind::Segment)[0];
    let header = |kind, number| FileHeader { kind, id: FileId { store: STORE, number }, created: 0 };
    storage.put(&format!("{segment}.tmp"), files[segment][..100].to_vec());
    storage.put("0000000001.log", header(FileKind::Log, 1).encode().to_vec());
    storage.put("0000000098.segment", header(FileKind::Segment, 98).encode().to_vec());
    storage.put(names::CURRENT_NEW, b"0000".to_vec());
    let report = usual(&storage);
    assert_eq!((report.findings.len(), report.count(Severity::Info)), (4, 4), "{:#?}", report.findings);
}

#[test]
fn a_share_is_chosen_by_its_seed_and_the_rest_is_counted() {
    let storage = store();
    let of = |level, share, seed| {
        check(&storage, Options { level, share: Some(share), seed, threads: 2, ..Options::default() })
    };
    let (half, again) = (of(Level::Deep, 0.5, 7), of(Level::Deep, 0.5, 7));
    assert_eq!((half.meaning, half.left_out, half.totals), (again.meaning, again.left_out, again.totals));
    assert_eq!(half.findings, []);
    let all = at_level(&storage, Level::Deep);
    assert!(half.left_out.streams > 0 && half.meaning.streams > 0);
    assert_eq!(half.left_out.streams + half.meaning.streams, all.meaning.streams);
    assert!((0..9).any(|seed| of(Level::Deep, 0.5, seed).meaning != half.meaning), "another seed, another share");
    let half = of(Level::Checksums, 0.5, 7);
    let verified = |report: &Report| report.totals.iter().map(|total| total.bytes_verified).sum::<u64>();
    assert_eq!(half.left_out.bytes + verified(&half), verified(&all));
    assert!(half.left_out.frames > 0);
}

/// A clock that goes on whenever it is asked.
struct Hurried(AtomicU64);

impl Clock for Hurried {
    fn now_micros(&self) -> i64 {
        0
    }

    fn monotonic_nanos(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

#[test]
fn a_check_ends_in_time_and_says_what_it_left_out() {
    let storage = store();
    for level in [Level::Checksums, Level::Deep] {
        let options =
            |budget_nanos| Options { level, budget_nanos: Some(budget_nanos), threads: 1, ..Options::default() };
        for budget in 0..60 {
            let report = fsck(&storage, &Hurried(AtomicU64::new(0)), &options(budget), &()).unwrap();
            assert_eq!(report.findings, [], "{budget}: what was not looked at is not damaged");
            assert!(report.left_out != Default::default() || report.nanos <= budget + 2, "{budget}");
        }
        let report = fsck(&storage, &Hurried(AtomicU64::new(0)), &options(0), &()).unwrap();
        assert_eq!(report.left_out.files, 3);
    }
}

/// Shows another directory after so many readings, and refuses to write.
struct Changing {
    before: MemoryStorage,
    after: MemoryStorage,
    left: AtomicU64,
    unreadable: Option<String>,
}

impl Changing {
    fn now(&self) -> &MemoryStorage {
        let left = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1)));
        if left == Ok(0) { &self.after } else { &self.before }
    }

    fn readable(&self, name: &str) -> io::Result<&MemoryStorage> {
        if self.unreadable.as_deref() == Some(name) {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.now())
    }
}

impl Storage for Changing {
    fn create(&self, _: &str) -> io::Result<Box<dyn Output>> {
        panic!("a check writes nothing")
    }

    fn map(&self, name: &str) -> io::Result<Mapped> {
        self.readable(name)?.map(name)
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>> {
        self.readable(name)?.read_from(name, offset)
    }

    fn rename(&self, _: &str, _: &str) -> io::Result<()> {
        panic!("a check writes nothing")
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        panic!("a check writes nothing")
    }

    fn remove_unpinned(&self, _: &str) -> io::Result<bool> {
        panic!("a check writes nothing")
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.now().list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        panic!("a check writes nothing")
    }

    fn lock(&self, _: &str, _: &str) -> Result<Box<dyn Lock>, LockError> {
        panic!("a check takes no lock")
    }

    fn lock_holder(&self, _: &str) -> io::Result<Option<String>> {
        Ok(Some("a writer".to_owned()))
    }

    fn read_note(&self, name: &str) -> io::Result<Option<crate::io::Note>> {
        self.now().read_note(name)
    }
}

/// A seal, a merge and a new manifest come between any two readings of a check.
#[test]
fn what_a_writer_replaces_meanwhile_is_no_damage() {
    let (store, clock, storage) = opened();
    (0..3).for_each(|i| append(&store, &clock, i));
    store.flush().unwrap();
    (3..5).for_each(|i| append(&store, &clock, i));
    let mut moments = vec![MemoryStorage::with_files(storage.files())];
    append(&store, &clock, 5);
    moments.push(MemoryStorage::with_files(storage.files()));
    store.flush().unwrap();
    moments.push(MemoryStorage::with_files(storage.files()));
    store.compact().unwrap();
    moments.push(MemoryStorage::with_files(storage.files()));
    drop(store);
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let options = options::Options { background: false, ..options::Options::default() };
    let store = Store::open(shared, clock.clone(), options, "the next").unwrap();
    append(&store, &clock, 6);
    moments.push(MemoryStorage::with_files(storage.files()));
    for (i, before) in moments.iter().enumerate() {
        for after in &moments[i..] {
            for left in 0..60 {
                for level in [Level::Quick, Level::Checksums, Level::Deep] {
                    let (before, after) = (before.clone(), after.clone());
                    let changing = Changing { before, after, left: AtomicU64::new(left), unreadable: None };
                    let report = check(&changing, Options { level, threads: 1, ..Options::default() });
                    assert_eq!(report.count(Severity::Damage), 0, "{i} {left}: {:#?}", report.findings);
                    assert_eq!(report.unchecked(), 0);
                }
            }
        }
    }
}

#[test]
fn a_file_that_nobody_may_read_is_not_checked_and_not_damage() {
    let storage = store();
    let all: Vec<String> = storage.files().into_keys().filter(|name| name != names::LOCK).collect();
    for name in all {
        let (before, after) = (storage.clone(), storage.clone());
        let changing = Changing { before, after, left: AtomicU64::new(0), unreadable: Some(name.clone()) };
        let report = usual(&changing);
        assert_eq!((report.count(Severity::Damage), report.unchecked()), (0, 1), "{name}: {:#?}", report.findings);
        let finding = report.findings.iter().find(|finding| finding.is_unchecked()).unwrap();
        assert_eq!((&finding.file, finding.next), (&name, Next::Again));
    }
}

proptest! {
    /// Whatever the bytes, a check ends with findings.
    #[test]
    fn changed_stores_never_panic(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let storage = store();
        let files = storage.files();
        let name = files.keys().nth(file.index(files.len())).unwrap();
        let changed = with(&storage, name, |bytes| {
            for (at, byte) in &changes {
                let at = at.index(bytes.len());
                bytes[at] = *byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
        });
        for level in [Level::Quick, Level::Checksums, Level::Deep] {
            at_level(&changed, level);
        }
    }
}

/// A store of one segment that is made by hand.
fn by_hand(bytes: Option<Vec<u8>>, write: impl FnOnce(&mut SegmentWriter<'_>)) -> MemoryStorage {
    let storage = MemoryStorage::new();
    let (shared, clock) = (Arc::new(storage.clone()), Arc::new(ManualClock::new(0)));
    let (_, mut manifest) = ManifestFile::create_new(shared, clock, STORE).unwrap();
    let id = FileId { store: STORE, number: 1 };
    let hosts = vec![Name::from(&b"a"[..])];
    let mut writer = SegmentWriter::create(&storage, id, 0, Effort::Zstd(1), vec![7], hosts).unwrap();
    write(&mut writer);
    let mut meta = writer.finish().unwrap();
    if let Some(more) = bytes {
        // Before the footer, which moves.
        let mut file = storage.files()["0000000001.segment"].clone();
        let at = frames(&storage, "0000000001.segment", Frames::FOOTER)[0].0;
        let footer = read_frame(&file[at..], &id, at as u64).unwrap().payload.to_vec();
        file.truncate(at);
        put_frame(&mut file, &id, at as u64, Frames::ROWS, &more);
        let at = file.len() as u64;
        put_frame(&mut file, &id, at, Frames::FOOTER, &footer);
        put_trailer(&mut file, &id, at);
        meta.bytes = file.len() as u64;
        storage.put("0000000001.segment", file);
    }
    let edit = Edit { add: vec![Arc::new(meta)], next_file: 2, last_recorded: Some(7), ..Edit::default() };
    manifest.apply(&edit).unwrap();
    storage
}

/// A run of two looks with a version of one row at each, as `change` makes them.
fn run_by_hand(change: impl FnOnce(&mut Vec<Lifetime>, &mut (Agent, bool), &mut u64)) -> MemoryStorage {
    let rows: Vec<Row> = [1, 2].iter().map(|uid| delivery("users", "a", 0, 0, &[*uid]).added[0].0.clone()).collect();
    let part = |i: u64| Part {
        epoch: 1,
        counter: Some(i),
        second: 1000 + i as i64,
        whole: true,
        inferred: Inferred::V5_7,
        recorded: 7,
        removed: Vec::new(),
        added: vec![(i as u32, 1)],
    };
    let life = |at| Lifetime { row: at, count: 1, born: at, died: OPEN };
    let (mut lifetimes, mut agent, mut copies) = (vec![life(0), life(1)], (Agent::default(), true), 2);
    change(&mut lifetimes, &mut agent, &mut copies);
    let mut learner = Learner::new();
    rows.iter().for_each(|row| learner.row(row.as_bytes(), 1000));
    let dictionary = Arc::new(learner.finish());
    let (mut packer, mut bytes) = (Packer::new(dictionary.clone()), Vec::new());
    let parts = [part(0), part(1)];
    let encoded = Encoder::default().run(
        Kind::Diff,
        &parts,
        &mut lifetimes,
        &rows,
        &mut packer,
        OfLooks::Deliveries(&[7]),
        &mut bytes,
    );
    let key = delivery("users", "a", 0, 0, &[]).stream;
    by_hand(None, |writer| {
        writer.begin_table(&key.table, Layout::Inline, Some(dictionary)).unwrap();
        writer.run(&key, agent, &encoded, &bytes, copies).unwrap();
        writer.end_table().unwrap();
    })
}

#[test]
fn a_run_that_contradicts_itself_is_found() {
    let found = |storage: MemoryStorage| {
        assert_eq!(usual(&storage).findings, [], "its checksums are right");
        let report = at_level(&storage, Level::Deep);
        let finding = only(&report);
        assert_eq!((finding.severity, finding.effect), (Severity::Damage, Effect::Answers));
        assert_eq!(losses(finding), [(What::Looks, "users".to_owned(), "a".to_owned(), Some((1000, 1001)))]);
        finding.wrong.to_string()
    };
    assert_eq!(at_level(&run_by_hand(|_, _, _| {}), Level::Deep).findings, []);
    let wrong = found(run_by_hand(|_, _, copies| *copies = 3));
    assert!(wrong.contains("copies of a run: 3 "), "{wrong}");
    let wrong = found(run_by_hand(|lifetimes, _, _| lifetimes[1].row = 0));
    assert!(wrong.contains("its row was there already"), "{wrong}");
    let wrong = found(run_by_hand(|lifetimes, _, copies| {
        lifetimes[0].died = 2;
        *copies = 3;
    }));
    assert!(wrong.contains("length of a version"), "{wrong}");
    let wrong = found(run_by_hand(|_, agent, _| agent.0.counts_runs = true));
    assert!(wrong.contains("whether the agent fits"), "{wrong}");
    let wrong = found(run_by_hand(|_, agent, _| agent.1 = false));
    assert!(wrong.contains("whether the agent fits"), "{wrong}");
    let wrong = found(run_by_hand(|_, agent, _| *agent = (Agent { counts_runs: true, ..Agent::default() }, false)));
    assert!(wrong.contains("what must hold of the agent"), "{wrong}");
}

/// Pieces of a stream, and rows that are kept once, each whole and in the wrong order.
#[test]
fn what_does_not_ascend_is_found() {
    let key = delivery("users", "a", 0, 0, &[]).stream;
    let part = |second| Part {
        epoch: 1,
        counter: Some(second as u64),
        second,
        whole: true,
        inferred: Inferred::V5_7,
        recorded: 7,
        removed: Vec::new(),
        added: vec![(0, 1), (1, 1)],
    };
    let written = |uids: [u64; 2], seconds: [i64; 2]| {
        by_hand(None, |writer| {
            writer.begin_table(&key.table, Layout::Shared, None).unwrap();
            for row in uids.map(|uid| delivery("users", "a", 0, 0, &[uid]).added[0].0.clone()) {
                writer.row(&row).unwrap();
            }
            seconds.iter().for_each(|second| writer.parts(&key, &[part(*second)]).unwrap());
            writer.end_table().unwrap();
        })
    };
    assert_eq!(at_level(&written([1, 2], [10, 20]), Level::Deep).findings, []);
    for (storage, what) in
        [(written([1, 2], [20, 10]), "pieces of a stream"), (written([2, 1], [10, 20]), "rows of a table")]
    {
        let report = at_level(&storage, Level::Deep);
        assert!(report.findings.iter().any(|found| found.wrong.to_string().contains(what)), "{report:#?}");
    }
}

/// Every second version of a long first piece is alive when the second begins.
#[test]
fn a_keyframe_that_names_another_version_is_found() {
    const VERSIONS: u32 = 2100;
    let row = |uid: u32| delivery("users", "a", 0, 0, &[uid.into()]).added[0].0.clone();
    let rows: Vec<Row> = (0..=VERSIONS).map(row).collect();
    let part = |i: u64| Part {
        epoch: 1,
        counter: Some(i),
        second: 1000 + i as i64,
        whole: true,
        inferred: Inferred::V5_7,
        recorded: 7,
        removed: Vec::new(),
        added: Vec::new(),
    };
    let died = |row: u32| if row.is_multiple_of(2) { OPEN } else { 1 };
    let mut lifetimes: Vec<Lifetime> =
        (0..VERSIONS).map(|row| Lifetime { row, count: 1, born: 0, died: died(row) }).collect();
    lifetimes.push(Lifetime { row: VERSIONS, count: 1, born: 2, died: OPEN });
    let copies = lifetimes.iter().map(|life| 1 + u64::from(life.died != OPEN)).sum();
    let mut learner = Learner::new();
    rows.iter().for_each(|row| learner.row(row.as_bytes(), 1000));
    let dictionary = Arc::new(learner.finish());
    let (mut packer, mut bytes) = (Packer::new(dictionary.clone()), Vec::new());
    let parts = [part(0), part(1), part(2)];
    let encoded = Encoder::default().run(
        Kind::Diff,
        &parts,
        &mut lifetimes,
        &rows,
        &mut packer,
        OfLooks::Deliveries(&[7]),
        &mut bytes,
    );
    assert!(encoded.len() > 1, "several pieces");
    let key = delivery("users", "a", 0, 0, &[]).stream;
    let storage = by_hand(None, |writer| {
        writer.begin_table(&key.table, Layout::Inline, Some(dictionary)).unwrap();
        writer.run(&key, (Agent::default(), true), &encoded, &bytes, copies).unwrap();
        writer.end_table().unwrap();
    });
    assert_eq!(at_level(&storage, Level::Deep).findings, []);
    let mut alive = Vec::new();
    let living = (0..).zip(&lifetimes[..VERSIONS as usize]).filter(|(_, life)| life.died == OPEN);
    crate::codec::gaps::encode(0, living.map(|(version, _)| version), &mut alive);
    let name = "0000000001.segment";
    let (at, _) = frames(&storage, name, Frames::RUN)[0];
    let file = storage.files()[name].clone();
    let id = FileId { store: STORE, number: 1 };
    let payload = read_frame(&file[at..], &id, at as u64).unwrap().payload;
    let keyframe = payload.windows(alive.len()).position(|bytes| bytes == alive).expect("the keyframe");
    let mut said = 0;
    // What fills the last byte says nothing.
    for bit in (0..8 * (alive.len() - 1)).step_by(7) {
        let (mut payload, mut frame) = (payload.to_vec(), Vec::new());
        payload[keyframe + bit / 8] ^= 1 << (bit % 8);
        put_frame(&mut frame, &id, at as u64, Frames::RUN, &payload);
        let planted = with(&storage, name, |bytes| bytes[at..at + frame.len()].copy_from_slice(&frame));
        let report = at_level(&planted, Level::Deep);
        assert_eq!((report.count(Severity::Damage), only(&report).offset), (1, Some(at as u64)), "bit {bit}");
        said += u32::from(only(&report).wrong.to_string().contains("version in a keyframe"));
    }
    assert!(said > 10, "{said}");
    // The first piece has several blocks: a checksum of its own that is wrong, where that of the frame is right.
    let (at, _) = frames(&storage, name, Frames::CHECKED_RUN)[0];
    let payload = read_frame(&file[at..], &id, at as u64).unwrap().payload;
    for span in 0..VERSIONS as usize / BLOCK_VERSIONS_MAX + 2 {
        let (mut payload, mut frame) = (payload.to_vec(), Vec::new());
        payload[4 * span] ^= 1;
        put_frame(&mut frame, &id, at as u64, Frames::CHECKED_RUN, &payload);
        let planted = with(&storage, name, |bytes| bytes[at..at + frame.len()].copy_from_slice(&frame));
        let report = at_level(&planted, Level::Deep);
        assert_eq!((report.count(Severity::Damage), only(&report).offset), (1, Some(at as u64)), "span {span}");
    }
}

/// Facts of two looks between which one is lost, and beside them what they mean, as `change` makes it.
fn beside_facts(change: impl FnOnce(&mut Moments)) -> MemoryStorage {
    let rows: Vec<Row> = [1, 2].iter().map(|uid| delivery("users", "a", 0, 0, &[*uid]).added[0].0.clone()).collect();
    let part = |row: u32, counter: u64| Part {
        epoch: 1,
        counter: Some(counter),
        second: 1000 + counter as i64,
        whole: true,
        inferred: Inferred::V5_7,
        recorded: 7,
        removed: Vec::new(),
        added: vec![(row, 1)],
    };
    let parts = [part(0, 0), part(1, 2)];
    let timeline = timeline::build(Kind::Diff, parts.to_vec(), &rows, &AgentHistory::default());
    let mut moments = Moments::new(&timeline).expect("moments tell it");
    change(&mut moments);
    let mut learner = Learner::new();
    rows.iter().for_each(|row| learner.row(row.as_bytes(), 1000));
    let dictionary = Arc::new(learner.finish());
    let (mut packer, mut bytes) = (Packer::new(dictionary.clone()), Vec::new());
    let (looks, told) = (moments.as_parts(), OfLooks::States(&moments.states));
    let mut lifetimes = moments.lifetimes.clone();
    let run = Encoder::default().run(Kind::Diff, &looks, &mut lifetimes, &rows, &mut packer, told, &mut bytes);
    let key = delivery("users", "a", 0, 0, &[]).stream;
    by_hand(None, |writer| {
        writer.begin_table(&key.table, Layout::Inline, Some(dictionary)).unwrap();
        writer.inline(&key, &parts, &rows).unwrap();
        writer.resolved(&run, &bytes).unwrap();
        writer.end_table().unwrap();
    })
}

#[test]
fn a_run_that_says_otherwise_than_the_facts_beside_it_is_found_and_nothing_is_lost() {
    type Change = fn(&mut Moments);
    assert_eq!(at_level(&beside_facts(|_| {}), Level::Deep).findings, []);
    let found = |change: Change| {
        let storage = beside_facts(change);
        assert_eq!(usual(&storage).findings, [], "its checksums are right");
        let report = at_level(&storage, Level::Deep);
        let finding = only(&report);
        assert_eq!((finding.severity, finding.effect), (Severity::Damage, Effect::Answers));
        assert_eq!(losses(finding), []);
        finding.wrong.to_string()
    };
    let [state, epoch, version] = ["moment of a run", "goes on from", "version of a run"];
    let changes: [(&str, Change); 6] = [
        (state, |moments| moments.states[1].is_mark = false),
        (state, |moments| moments.states[1].cause = None),
        (state, |moments| moments.seconds[1] -= 1),
        (version, |moments| moments.lifetimes[0].count += 1),
        (version, |moments| moments.lifetimes[2].row = 0),
        (epoch, |moments| moments.goes_on = Some(LastLook { looks: 3, second: 1002, epoch: 1, counter: Some(3) })),
    ];
    for (why, change) in changes {
        let wrong = found(change);
        assert!(wrong.contains(why), "{why}: {wrong}");
    }
}

#[test]
fn a_frame_that_nothing_names_is_no_damage() {
    let key = delivery("users", "a", 0, 0, &[]).stream;
    let write = |writer: &mut SegmentWriter<'_>| {
        writer.begin_table(&key.table, Layout::Inline, None).unwrap();
        let row = delivery("users", "a", 0, 0, &[1]).added[0].0.clone();
        let part = Part {
            epoch: 1,
            counter: Some(0),
            second: 5,
            whole: true,
            inferred: Inferred::V5_7,
            recorded: 7,
            removed: Vec::new(),
            added: vec![(0, 1)],
        };
        writer.inline(&key, &[part], &[row]).unwrap();
        writer.end_table().unwrap();
    };
    assert_eq!(at_level(&by_hand(None, write), Level::Deep).findings, []);
    let report = usual(&by_hand(Some(vec![1, 2, 3]), write));
    let finding = only(&report);
    assert_eq!((finding.severity, finding.next), (Severity::Warning, Next::Inspect));
    assert!(matches!(finding.wrong, Wrong::Unnamed { .. }), "{:?}", finding.wrong);
}

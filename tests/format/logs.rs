//! Two logs that follow each other, as they stand while what the first held is sealed: what is missing of them is told, and
//! what is recovered is right or unknown.

use crate::stores::{Files, frames};
use erstwhile_engine::check::fsck::{Level, Severity};
use erstwhile_engine::fact::{Batch, Commit, Delivery, Inferred, Kind, Micros, Name, Second, StreamKey};
use erstwhile_engine::format::frame::{FRAME_HEADER_BYTES, kind};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::log::{LogWriter, Previous, SyncMode};
use erstwhile_engine::manifest::{Edit, ManifestFile};
use erstwhile_engine::recover::{Recovered, recover};
use erstwhile_engine::row::RowBuilder;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::checked::report;
use erstwhile_tests::support::less::{Told, tell, tell_model};
use erstwhile_tests::support::modelled::model;
use erstwhile_tests::support::workload::{FIRST, STEP, batch, batches, clock, facts};
use std::sync::Arc;

const STORE: [u8; 16] = *b"sixteen bytes id";

/// A log that follows another, with these batches, each recorded at its own time.
fn log(storage: &MemoryStorage, number: u64, previous: Option<Previous>, of: &[usize]) -> Previous {
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
    let log = LogWriter::create(storage, STORE, number, previous, clock, SyncMode::Always).unwrap();
    for &i in of {
        let ticket = log.append(&Commit { recorded: recorded(i), batch: batch(i) }).unwrap();
        log.wait(ticket).unwrap();
    }
    log.finish().unwrap()
}

fn recorded(i: usize) -> Micros {
    clock().now_micros() + 1_000_000 * (i as i64 + 1)
}

/// A store of two logs with these batches, which has sealed others before or has not.
fn store_of(first: &[usize], second: &[usize], has_sealed: bool) -> Files {
    let storage = MemoryStorage::new();
    let (shared, hands) = (Arc::new(storage.clone()), Arc::new(ManualClock::new(0)));
    let (_, mut manifest) = ManifestFile::create_new(shared, hands, STORE).unwrap();
    if has_sealed {
        manifest.apply(&Edit { log_floor: Some(1), next_file: 3, ..Edit::default() }).unwrap();
    }
    let first = log(&storage, 1, None, first);
    log(&storage, 2, Some(first), second);
    storage.files()
}

fn store() -> Files {
    store_of(&[0, 1], &[2, 3], true)
}

fn times() -> Vec<Second> {
    (0..6).flat_map(|look| [FIRST + STEP * look, FIRST + STEP * look + 7]).collect()
}

fn told(files: &Files) -> Told {
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
    tell(&view, &times(), &[None, Some(recorded(1))]).unwrap()
}

fn so() -> Told {
    tell_model(&model(&batches()[..4]), &times(), &[None, Some(recorded(1))]).unwrap()
}

fn recovered(files: &Files) -> (Recovered, Files) {
    let (from, new) = (MemoryStorage::with_files(files.clone()), MemoryStorage::new());
    let (to, clock): (Arc<dyn Storage>, Arc<dyn Clock>) = (Arc::new(new.clone()), Arc::new(ManualClock::new(1 << 50)));
    let report = recover(&from, &to, &clock, &mut |_, _, _| {}).unwrap();
    (report, new.files())
}

/// The files that a check finds damaged, with what is wrong.
fn damage(files: &Files) -> Vec<String> {
    let findings = report(&MemoryStorage::with_files(files.clone()), Level::Checksums).findings;
    let damage = findings.iter().filter(|finding| finding.severity == Severity::Damage);
    damage.map(|finding| format!("{}: {}", finding.file, finding.wrong)).collect()
}

#[test]
fn logs_that_follow_each_other_are_whole() {
    let files = store();
    assert_eq!((damage(&files), told(&files)), (vec![], so()));
    let (report, new) = recovered(&files);
    assert!(report.is_whole() && told(&new) == so(), "{report:#?}");
}

/// Of two logs the first is gone, or ends before the second begins.
fn gone_and_cut(whole: &Files) -> [Files; 2] {
    let mut gone = whole.clone();
    gone.remove(&names::log(1));
    let mut cut = whole.clone();
    let bytes = cut.get_mut(&names::log(1)).unwrap();
    let last = frames(bytes).into_iter().rfind(|frame| frame.1 == kind::BATCH).unwrap();
    bytes.truncate(last.0);
    [gone, cut]
}

/// With a bit turned in frames of the first log: in that of a record, or also in that of what stands beside it.
fn without(kinds: &[u8], nth: usize) -> Files {
    let mut files = store();
    let bytes = files.get_mut(&names::log(1)).unwrap();
    for kind in kinds {
        let (at, ..) = frames(bytes).into_iter().filter(|frame| frame.1 == *kind).nth(nth).unwrap();
        bytes[at + FRAME_HEADER_BYTES + 20] ^= 1;
    }
    files
}

/// Records are whole by themselves: those behind a damaged one are taken.
#[test]
fn what_stands_behind_a_damaged_record_is_recovered() {
    let facts_of =
        |files: &Files| facts(&open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap()).unwrap();
    let whole = facts_of(&store());
    for lost in 0..2 {
        let (report, new) = recovered(&without(&[kind::BATCH], lost));
        let new_told = told(&new);
        assert_eq!((new_told.exceeds(&so()), report.is_whole()), (None, false), "{report:#?}");
        let found = facts_of(&new);
        for (stream, words) in &whole {
            let found = found.get(stream).map(Vec::as_slice).unwrap_or_default();
            let is_left = |word: &&(Micros, String)| word.0 != recorded(lost);
            assert!(words.iter().filter(is_left).all(|word| found.contains(word)), "record {lost}: {stream}");
        }
    }
}

/// Between which commits what is lost was recorded: between its neighbours in the log; where it is the last, nobody knows.
#[test]
fn what_is_lost_with_a_record_was_recorded_between_those_around_it() {
    for (nth, lost) in [(0, (0, recorded(1))), (1, (recorded(0), Micros::MAX))] {
        let files = without(&[kind::BATCH, kind::DIGEST], nth);
        let findings = report(&MemoryStorage::with_files(files), Level::Checksums).findings;
        let recorded: Vec<_> = findings.iter().flat_map(|finding| &finding.losses).map(|loss| loss.recorded).collect();
        assert!(recorded.contains(&Some(lost)), "record {nth}: {findings:#?}");
    }
}

/// Every reader relies on it that what was recorded later stands behind.
#[test]
fn recorded_times_that_go_back_are_found_in_a_log_and_between_two() {
    for (files, log) in [(store_of(&[1, 0], &[2, 3], true), 1), (store_of(&[0, 2], &[1, 3], true), 2)] {
        let damage = damage(&files);
        assert!(damage.len() == 1 && damage[0].starts_with(&names::log(log)), "{damage:?}");
        assert!(damage[0].contains("recorded times"), "{damage:?}");
    }
}

#[test]
fn what_is_missing_of_a_log_that_another_follows_is_told() {
    for files in gone_and_cut(&store()) {
        let damage = damage(&files);
        assert!(damage.len() == 1 && damage[0].starts_with("0000000001.log: "), "{damage:?}");
    }
}

fn is_lost(whole: &Files) {
    for files in gone_and_cut(whole) {
        let (report, new) = recovered(&files);
        assert_eq!(told(&new).exceeds(&so()), None, "{report:#?}");
        assert!(!report.is_whole(), "{report:#?}");
    }
}

#[test]
fn what_is_missing_of_a_log_that_another_follows_is_lost() {
    is_lost(&store());
}

#[test]
fn what_is_missing_of_the_first_log_of_all_is_lost() {
    is_lost(&store_of(&[0, 1], &[2, 3], false));
}

/// Of two kinds under one name the newer look answers: where a look of one is lost, the other does not know that it does.
#[test]
fn what_one_kind_of_a_name_lost_is_unknown_of_the_other() {
    let storage = MemoryStorage::new();
    let (shared, hands) = (Arc::new(storage.clone()), Arc::new(ManualClock::new(0)));
    ManifestFile::create_new(shared, hands, STORE).unwrap();
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(0));
    let log = LogWriter::create(&storage, STORE, 1, None, clock, SyncMode::Always).unwrap();
    for (counter, second, kind, uid) in
        [(0, 10, Kind::Diff, "0"), (0, 15, Kind::Snapshot, "1"), (1, 20, Kind::Diff, "2"), (0, 30, Kind::Snapshot, "3")]
    {
        let name = |text: &str| Name::from(text.as_bytes());
        let stream = StreamKey { table: name("users"), host: name("h"), name: name("q"), kind, sightings: false };
        let mut row = RowBuilder::new();
        row.column(b"uid", uid.as_bytes());
        let (stream, added) = (Arc::new(stream), vec![(row.row(), 1)]);
        let counter = Some(counter);
        let inferred = Inferred::V5_7;
        let removed = Vec::new();
        let delivery = Delivery { stream, epoch: 5, counter, second, whole: true, inferred, removed, added };
        let batch = Batch { producer: 0, sequence: 0, digest: 0, deliveries: vec![delivery] };
        let ticket = log.append(&Commit { recorded: second, batch }).unwrap();
        log.wait(ticket).unwrap();
    }
    let _ = log.finish().unwrap();
    let whole = storage.files();
    let bytes = &whole[&names::log(1)];
    let (third, ..) = frames(bytes).into_iter().filter(|frame| frame.1 == kind::BATCH).nth(2).unwrap();
    let mut damaged = whole.clone();
    damaged.get_mut(&names::log(1)).unwrap()[third + FRAME_HEADER_BYTES + 20] ^= 1;
    let (report, new) = recovered(&damaged);
    let told = |files: &Files| {
        let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
        tell(&view, &[12, 17, 25, 35], &[None]).unwrap()
    };
    let (before, now) = (told(&whole), told(&new));
    assert_eq!(now.exceeds(&before), None, "{report:#?}");
    assert!(now.known() > 0 && now.known() < before.known(), "{} of {}", now.known(), before.known());
}

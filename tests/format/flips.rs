//! Every byte of every file of small stores, with one bit turned: `fsck` finds damage, or nothing is different.

use crate::stores::{self, Files, one_in};
use erstwhile_engine::check::fsck::{Level, Options, Report, Severity, fsck};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{ManualClock, MemoryStorage};
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::workload::{answers, facts};
use std::ops::Range;

/// The bytes that no checksum covers, and why they need none.
const UNCOVERED: [(&str, &str); 1] = [(names::LOCK, "it is never synced; what it says counts only where it verifies")];

fn check(files: &Files, level: Level) -> Report {
    let options = Options { level, threads: 1, ..Options::default() };
    fsck(&MemoryStorage::with_files(files.clone()), &ManualClock::new(0), &options, &()).unwrap()
}

/// All that a store answers, and all that it holds; or nothing if it does not open.
fn told(files: &Files) -> Option<String> {
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).ok()?;
    Some(format!("{:?} {}", facts(&view).ok()?, answers(&view).ok()?))
}

/// Turns one bit of each byte of a file in turn; gives the places whose change is not found and proven harmless.
fn silent(files: &Files, name: &str, told_before: &str) -> Vec<usize> {
    let (mut silent, bytes) = (Vec::new(), &files[name]);
    for at in 0..bytes.len() {
        let bit = stores::chance(at as u64, name) % 8;
        let mut files = files.clone();
        files.entry(name.to_owned()).and_modify(|bytes| bytes[at] ^= 1 << bit);
        let report = check(&files, Level::Checksums);
        if report.count(Severity::Damage) > 0 {
            let finding = &report.findings[0];
            assert!(finding.file == name || is_told_by_others(name), "{name} byte {at}: {:#?}", report.findings);
            continue;
        }
        let now = told(&files);
        assert_eq!(now.as_deref(), Some(told_before), "{name} byte {at} bit {bit}: {:#?}", report.findings);
        silent.push(at);
    }
    silent
}

/// What names other files may show at these.
fn is_told_by_others(name: &str) -> bool {
    name == names::CURRENT || name == names::LOCK || name.ends_with(".manifest")
}

fn every_byte(files: &Files) {
    let clean = check(files, Level::Deep);
    assert_eq!(clean.findings, [], "a store that was not touched");
    let before = told(files).unwrap();
    for name in files.keys() {
        let silent = silent(files, name, &before);
        let covered = UNCOVERED.iter().all(|(uncovered, _)| uncovered != name);
        assert!(!covered || silent.is_empty(), "{name}: nothing is said of {:?}", ranges(&silent));
    }
}

fn ranges(places: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for &at in places {
        match ranges.last_mut() {
            Some(last) if last.end == at => last.end += 1,
            _ => ranges.push(at..at + 1),
        }
    }
    ranges
}

/// Sealed and merged segments, a manifest with edits, a log with records.
#[test]
fn every_byte_of_a_store_at_work_is_covered() {
    every_byte(&stores::at_work(0));
}

/// Runs, packed rows, indexes of all kinds.
#[test]
fn every_byte_of_a_merged_store_is_covered() {
    every_byte(&stores::merged());
}

/// Listed rows and parts.
#[test]
fn every_byte_of_what_was_sealed_in_haste_is_covered() {
    every_byte(&stores::hasty());
}

/// Whoever asks verifies of a long run what is read of it, and not the frame that `fsck` verifies.
#[test]
fn no_answer_of_a_long_run_is_wrong_with_a_bit_turned() {
    let files = stores::long();
    let before = told(&files).unwrap();
    let name = files.keys().find(|name| name.ends_with(".segment")).unwrap();
    let (mut refused, every) = (0, one_in(17));
    for at in (0..files[name].len()).step_by(every) {
        let bit = stores::chance(at as u64, name) % 8;
        let mut files = files.clone();
        files.entry(name.to_owned()).and_modify(|bytes| bytes[at] ^= 1 << bit);
        match told(&files) {
            None => refused += 1,
            Some(now) => assert_eq!(now, before, "byte {at} bit {bit}"),
        }
    }
    assert!(4 * refused * every > 3 * files[name].len(), "{refused} of {}", files[name].len() / every);
}

//! Stores damaged in every place: recovery ends well, and the new store tells nothing that is not so.

use crate::stores::{self, Files, frames, one_in};
use erstwhile_engine::fact::{Delivery, Micros};
use erstwhile_engine::format::frame::{FRAME_HEADER_BYTES, kind};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::log::decode_batch;
use erstwhile_engine::recover::{Recovered, recover};
use erstwhile_engine::segment::Frames;
use erstwhile_engine::store::open_view;
use erstwhile_engine::timeline::loss::Loss;
use erstwhile_tests::support::less::{Told, tell};
use erstwhile_tests::support::workload::{FIRST, STEP};
use std::sync::Arc;

/// What a store of the scripted history tells.
fn told(files: &Files, recorded: Option<Micros>) -> Told {
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
    let times = [0, 3, 7, 8, 9, 14, 15, 20, 100].map(|look| [FIRST + STEP * look, FIRST + STEP * look + 7]);
    tell(&view, times.as_flattened(), &[None, recorded]).unwrap()
}

/// A recorded time in the middle.
fn middle(files: &Files) -> Option<Micros> {
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
    let recorded = view.segments().first().map(|segment| segment.commits().unwrap());
    recorded.and_then(|recorded| recorded.get(recorded.len() / 2)).copied()
}

/// Recovers a store; what the new one has in its files.
fn recovered(files: &Files) -> (Recovered, Files) {
    let from = MemoryStorage::with_files(files.clone());
    let new = MemoryStorage::new();
    let to: Arc<dyn Storage> = Arc::new(new.clone());
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(2_000_000_000_000_000));
    let report = recover(&from, &to, &clock, &mut |_, _, _| {}).unwrap();
    assert_eq!(from.files(), *files, "the damaged store is left as it was");
    (report, new.files())
}

#[test]
fn a_store_that_is_whole_is_recovered_whole() {
    for files in [stores::at_work(0), stores::merged()] {
        let (report, new) = recovered(&files);
        assert!(report.is_whole(), "{report:#?}");
        let recorded = middle(&files);
        let (whole, now) = (told(&files, recorded), told(&new, recorded));
        assert_eq!(now.exceeds(&whole), None);
        assert_eq!(now.known(), whole.known());
    }
}

/// Damages each byte of each file and recovers; tells how many answers stayed known, of how many.
fn every_byte(files: &Files, is_tried: impl Fn(&str, usize) -> bool) -> (usize, usize) {
    let recorded = middle(files);
    let whole = told(files, recorded);
    let (mut known, mut all) = (0, 0);
    for (name, bytes) in files {
        for at in (0..bytes.len()).filter(|&at| is_tried(name, at)) {
            let bit = stores::chance(at as u64, name) % 8;
            let mut damaged = files.clone();
            damaged.entry(name.clone()).and_modify(|bytes| bytes[at] ^= 1 << bit);
            let (report, new) = recovered(&damaged);
            let now = told(&new, recorded);
            if let Some(why) = now.exceeds(&whole) {
                panic!("{name} byte {at} bit {bit}: {why}\n{report:#?}");
            }
            (known, all) = (known + now.known(), all + whole.known());
        }
    }
    (known, all)
}

#[test]
fn a_flipped_bit_of_a_merged_store_loses_what_it_held_and_nothing_is_made_up() {
    let every = one_in(7);
    let (known, all) = every_byte(&stores::merged(), |_, at| at % every == 0);
    println!("{known} of {all} answers stayed known");
    assert!(known * 10 > all * 7, "{known} of {all} answers stayed known");
}

#[test]
fn a_flipped_bit_of_a_store_at_work_loses_what_it_held_and_nothing_is_made_up() {
    let every = one_in(19);
    let (known, all) = every_byte(&stores::at_work(0), |_, at| at % every == 0);
    println!("{known} of {all} answers stayed known");
    assert!(known * 10 > all * 7, "{known} of {all} answers stayed known");
}

#[test]
fn a_flipped_bit_of_a_long_run_loses_what_it_held_and_nothing_is_made_up() {
    let every = one_in(47);
    let (known, all) = every_byte(&stores::long(), |name, at| name.ends_with(".segment") && at % every == 0);
    println!("{known} of {all} answers stayed known");
    assert!(known * 2 > all, "{known} of {all} answers stayed known");
}

#[test]
fn files_that_are_gone_cut_or_swapped_are_told_to_be_lost() {
    for files in [stores::at_work(0), stores::merged()] {
        let recorded = middle(&files);
        let whole = told(&files, recorded);
        let try_it = |what: &str, damaged: Files| {
            let (report, new) = recovered(&damaged);
            let now = told(&new, recorded);
            if let Some(why) = now.exceeds(&whole) {
                panic!("{what}: {why}\n{report:#?}");
            }
            (now.known(), report)
        };
        for (name, bytes) in &files {
            let without: Files = files.clone().into_iter().filter(|(other, _)| other != name).collect();
            let (known, report) = try_it(&format!("{name} is gone"), without);
            if name == names::CURRENT || name == names::LOCK || name.ends_with(".manifest") {
                assert_eq!(known, whole.known(), "no fact is lost without {name}: {report:#?}");
            }
            for len in [0, 1, 63, 64, 70, bytes.len() / 3, bytes.len() / 2, bytes.len().saturating_sub(1)] {
                let cut = bytes[..len.min(bytes.len())].to_vec();
                try_it(
                    &format!("{name} is cut to {len}"),
                    files.clone().into_iter().chain([(name.clone(), cut)]).collect(),
                );
            }
            let mut zeroed = bytes.clone();
            let middle = bytes.len() / 2;
            let end = (middle + 512).min(bytes.len());
            zeroed[middle..end].fill(0);
            try_it(
                &format!("{name} has a page of zeros"),
                files.clone().into_iter().chain([(name.clone(), zeroed)]).collect(),
            );
            // What the lock says is never synced, so that it is no proof; nothing else tells that a log was swapped with it.
            for (other, theirs) in files.iter().filter(|(other, _)| *other != names::LOCK && name != names::LOCK) {
                let swapped = [(name.clone(), theirs.clone()), (other.clone(), bytes.clone())];
                try_it(&format!("{name} and {other} are swapped"), files.clone().into_iter().chain(swapped).collect());
            }
        }
    }
}

#[test]
fn noise_and_nothing_end_well() {
    let (report, new) = recovered(&Files::new());
    assert_eq!((report.parts, open_view(&MemoryStorage::with_files(new), 0).unwrap().segments().len()), (0, 0));
    let noise = |salt: u64| (0..5000).map(|at| stores::chance(at + salt, "noise") as u8).collect::<Vec<u8>>();
    let files: Files = ["0000000001.log", "0000000002.segment", "0000000003.manifest", "CURRENT", "LOCK", "else"]
        .into_iter()
        .zip(0..)
        .map(|(name, salt)| (name.to_owned(), noise(salt * 7919)))
        .collect();
    let (report, new) = recovered(&files);
    assert_eq!(report.parts, 0, "{report:#?}");
    open_view(&MemoryStorage::with_files(new), 0).unwrap();
}

/// What a record held, its digest tells: whoever else is in the store has lost nothing.
#[test]
fn a_lost_record_of_a_log_loses_its_own_looks_only() {
    let files = stores::at_work(0);
    let name = files.keys().find(|name| name.ends_with(".log")).unwrap();
    let whole = told(&files, None);
    let bytes = &files[name];
    let records: Vec<_> = frames(bytes).into_iter().filter(|frame| frame.1 == kind::BATCH).collect();
    assert!(records.len() > 1, "{}", records.len());
    for (at, _, len) in records {
        // Behind how far the log was durable.
        let commit = decode_batch(&bytes[at + FRAME_HEADER_BYTES..][8..len]).unwrap();
        let mut damaged = files.clone();
        damaged.get_mut(name).unwrap()[at + FRAME_HEADER_BYTES + len / 2] ^= 1;
        let (report, new) = recovered(&damaged);
        let now = told(&new, None);
        assert_eq!(now.exceeds(&whole), None, "{report:#?}");
        assert!(!report.is_whole() && report.recorded_lost.is_empty(), "{report:#?}");
        for lost in &report.lost {
            let own = |delivery: &&Delivery| delivery.stream == lost.stream;
            let seconds = commit.batch.deliveries.iter().filter(own).map(|delivery| delivery.second);
            assert_eq!(
                Some(lost.seconds),
                seconds.clone().min().map(|first| { Loss::between(first, seconds.max().unwrap_or(first)) })
            );
        }
        assert!(now.known() * 10 > whole.known() * 8, "{} of {}: {report:#?}", now.known(), whole.known());
    }
}

/// Without a manifest nobody knows whose looks a segment held that tells nothing any more.
#[test]
fn a_segment_of_which_nothing_tells_leaves_everything_unknown() {
    let whole = stores::at_work(0);
    let told_before = told(&whole, None);
    for name in whole.keys().filter(|name| name.ends_with(".segment")) {
        let mut files: Files = whole.clone().into_iter().filter(|(name, _)| !name.ends_with(".manifest")).collect();
        files.insert(name.clone(), whole[name][..70].to_vec());
        let (report, new) = recovered(&files);
        assert!(!report.is_whole(), "{name}: {report:#?}");
        let now = told(&new, None);
        assert_eq!((now.exceeds(&told_before), now.known()), (None, 0), "{name}: {report:#?}");
    }
}

/// A store without its manifest, with a bit turned in a directory of a segment and in a piece, as each pair of these is.
fn two_damages(whole: Files, each: impl Fn(&str, &Recovered, Files)) {
    let bare: Files = whole.into_iter().filter(|(name, _)| !name.ends_with(".manifest")).collect();
    let mut tried = 0;
    for name in bare.keys().filter(|name| name.ends_with(".segment")) {
        let of = |kind: u8| frames(&bare[name]).into_iter().filter(move |frame| frame.1 == kind);
        for (directory, ..) in of(Frames::DIRECTORY) {
            for (piece, ..) in of(Frames::RUN).chain(of(Frames::PIECE)).step_by(5) {
                let mut files = bare.clone();
                let bytes = files.get_mut(name).unwrap();
                [directory, piece].into_iter().for_each(|at| bytes[at + FRAME_HEADER_BYTES] ^= 1);
                let (report, new) = recovered(&files);
                each(&format!("frames at {directory} and {piece} of {name}: {report:#?}"), &report, new);
                tried += 1;
            }
        }
    }
    assert!(tried > 10, "{tried}");
}

/// Without a manifest a table whose directory is damaged is told by the streams that other segments have of it, whatever
/// else is damaged.
#[test]
fn without_a_manifest_two_damages_are_each_told() {
    let whole = stores::at_work(0);
    let told_before = told(&whole, None);
    two_damages(whole, |place, report, new| {
        assert_eq!((told(&new, None).exceeds(&told_before), report.parts > 0), (None, true), "{place}");
    });
}

/// The same where no other segment has a stream of the table.
#[test]
fn a_table_of_which_no_stream_is_known_is_told_to_be_lost() {
    two_damages(stores::merged(), |place, report, _| assert!(!report.is_whole(), "{place}"));
}

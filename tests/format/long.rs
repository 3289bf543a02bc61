//! Streams that are kept in several pieces and blocks of rows, of which one is damaged: what the others hold is recovered and
//! stays known, and all that may hang on the one is unknown. What a check says is lost is among what recovery says.

use crate::stores::{Files, frames};
use erstwhile_engine::check::fsck::Level;
use erstwhile_engine::check::loss::{Streams, What};
use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind, Name, Second, StreamKey};
use erstwhile_engine::format::frame::FRAME_HEADER_BYTES;
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::note;
use erstwhile_engine::options::Options;
use erstwhile_engine::recover::{Recovered, recover};
use erstwhile_engine::row::{Row, RowBuilder};
use erstwhile_engine::segment::Frames;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::checked::report as check;
use erstwhile_tests::support::less::{Told, tell, tell_model};
use erstwhile_tests::support::modelled::model;
use erstwhile_tests::support::workload::{FIRST, Facts, append, clock, facts, open, options};
use std::collections::BTreeMap;
use std::sync::Arc;

const LOOKS: usize = 450;
/// Looks from one full set to the next.
const EPOCH: usize = 150;
/// Rows that come with a look, and go with the next.
const ROWS: usize = 10;
const STEP: i64 = 10;

fn row(look: usize, at: usize) -> (Row, u64) {
    let mut row = RowBuilder::new();
    row.column(b"uid", (ROWS * look + at).to_string().as_bytes());
    (row.row(), 1)
}

fn stays() -> (Row, u64) {
    let mut row = RowBuilder::new();
    row.column(b"uid", b"root");
    (row.row(), 1)
}

fn delivery(host: &str, look: usize) -> Delivery {
    let of = |text: &[u8]| Name::from(text);
    let (table, host, name) = (of(b"users"), of(host.as_bytes()), of(b"pack/fleet/users"));
    let counter = look % EPOCH;
    Delivery {
        stream: Arc::new(StreamKey { table, host, name, kind: Kind::Diff, sightings: false }),
        epoch: (look / EPOCH) as u64 + 1,
        counter: Some(counter as u64),
        second: FIRST + STEP * look as i64,
        whole: true,
        inferred: Inferred::V5_7,
        removed: (0..ROWS).filter(|_| counter > 0).map(|at| row(look - 1, at)).collect(),
        // One row was there before and stays.
        added: (0..ROWS).map(|at| row(look, at)).chain([stays()].into_iter().filter(|_| counter == 0)).collect(),
    }
}

/// A host's word that its agent's counter 0 is always a full set.
fn version(host: &str) -> Delivery {
    let mut version = RowBuilder::new();
    version.column(b"version", b"5.22.1");
    let stream = Arc::new(note::key(note::VERSION, host.as_bytes()));
    let added = vec![(version.row(), 1)];
    Delivery { stream, epoch: 0, counter: None, whole: false, removed: Vec::new(), added, ..delivery(host, 0) }
}

const HOSTS: [&str; 2] = ["a", "b"];

fn history() -> Vec<Batch> {
    let batch = |first: usize| {
        let looks = HOSTS.iter().flat_map(|host| (first..first + 90).map(|look| delivery(host, look)));
        let versions = HOSTS.iter().filter(|_| first == 0).map(|host| version(host));
        Batch { deliveries: versions.chain(looks).collect(), ..Batch::default() }
    };
    (0..LOOKS).step_by(90).map(batch).collect()
}

/// A history in one segment, sealed or merged.
fn store_of(history: &[Batch], is_merged: bool) -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let options = Options { memtable_bytes_max: 1 << 30, ..options() };
    let store = open(&storage, &clock, options).unwrap();
    assert!(append(&store, &clock, history).1.is_none());
    if is_merged {
        store.compact().unwrap();
    }
    store.close().unwrap();
    storage.files()
}

fn times() -> Vec<Second> {
    (0..LOOKS as i64).step_by(11).map(|look| FIRST + STEP * look + look % 3).collect()
}

fn told(files: &Files) -> Told {
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
    tell(&view, &times(), &[None]).unwrap()
}

fn facts_of(files: &Files) -> Facts {
    facts(&open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap()).unwrap()
}

fn recovered(files: Files) -> (Recovered, Files) {
    let (from, new) = (MemoryStorage::with_files(files), MemoryStorage::new());
    let (to, clock): (Arc<dyn Storage>, Arc<dyn Clock>) = (Arc::new(new.clone()), Arc::new(ManualClock::new(1 << 50)));
    let report = recover(&from, &to, &clock, &mut |_, _, _| {}).unwrap();
    (report, new.files())
}

/// Of each type of frames how many there were whose damage left most answers known.
type Counts = BTreeMap<u8, usize>;

/// Turns a bit of each frame of the segment that holds rows or looks in turn.
fn each_frame(is_merged: bool) -> Counts {
    let (files, so) = (store_of(&history(), is_merged), tell_model(&model(&history()), &times(), &[None]).unwrap());
    assert_eq!(told(&files), so);
    let facts = facts_of(&files);
    let name = files.keys().find(|name| name.ends_with(".segment")).unwrap();
    let mut counts = Counts::new();
    let kinds = [Frames::ROWS, Frames::PIECE, Frames::RUN, Frames::CHECKED_RUN, Frames::PACKED];
    for (at, kind, len) in frames(&files[name]).into_iter().filter(|frame| kinds.contains(&frame.1)) {
        let mut files = files.clone();
        files.get_mut(name).unwrap()[at + FRAME_HEADER_BYTES + len / 2] ^= 1;
        let checked = check(&MemoryStorage::with_files(files.clone()), Level::Checksums);
        let (report, new) = recovered(files);
        for loss in checked.findings.iter().flat_map(|finding| &finding.losses).filter(|loss| loss.what == What::Looks)
        {
            let of_stream = report.lost.iter().filter(|lost| Streams::one(&lost.stream) == loss.streams);
            let (first, last) = loss.seconds.unwrap();
            let is_told = of_stream.clone().any(|lost| lost.seconds.first <= first)
                && of_stream.clone().any(|lost| lost.seconds.last >= last);
            assert!(is_told, "frame {kind:#x} at {at}: {loss:?} is not in {:?}", report.lost);
        }
        for (stream, words) in facts_of(&new) {
            let made_up = words.iter().find(|word| !word.1.contains("Lost") && !facts[&stream].contains(word));
            assert_eq!(made_up, None, "frame {kind:#x} at {at}: looks are taken whole or not at all");
        }
        let now = told(&new);
        assert_eq!(now.exceeds(&so), None, "frame {kind:#x} at {at}: {report:#?}");
        assert!(!report.is_whole(), "frame {kind:#x} at {at}: {report:#?}");
        // Where notes on agents are lost nothing of their hosts is known.
        *counts.entry(kind).or_default() += usize::from(2 * now.known() > so.known());
    }
    counts
}

#[test]
fn what_other_blocks_of_rows_hold_stays_known() {
    let counts = each_frame(false);
    assert!(counts[&Frames::ROWS] > 0, "{counts:?}");
}

#[test]
fn what_other_pieces_of_a_run_hold_stays_known() {
    let counts = each_frame(true);
    assert!(counts[&Frames::CHECKED_RUN] > 3, "{counts:?}");
}

/// Without the word on its agent a skipped number would mean nothing in a host's lines.
#[test]
fn what_a_counter_means_is_lost_with_the_word_on_the_agent() {
    let look = |look: usize| Delivery { inferred: Inferred::V2_10, ..delivery("a", look) };
    let history = [vec![version("a"), look(0)], vec![look(1)], vec![look(3)]];
    let history = history.map(|deliveries| Batch { deliveries, ..Batch::default() });
    let files = store_of(&history, false);
    let so = tell_model(&model(&history), &times(), &[None]).unwrap();
    assert_eq!(told(&files), so);
    let name = files.keys().find(|name| name.ends_with(".segment")).unwrap();
    let pieces: Vec<_> = frames(&files[name]).into_iter().filter(|frame| frame.1 == Frames::PIECE).collect();
    assert_eq!(pieces.len(), 2);
    for (at, ..) in pieces {
        let mut files = files.clone();
        files.get_mut(name).unwrap()[at + FRAME_HEADER_BYTES] ^= 1;
        let (report, new) = recovered(files);
        assert_eq!((told(&new).exceeds(&so), report.is_whole()), (None, false), "{report:#?}");
    }
}

/// What is lost at the end of a segment may have had the counters of looks that came later, elsewhere.
#[test]
fn a_fork_of_which_one_branch_is_lost_is_still_a_fork() {
    let later = |look: usize, counter: u64| Delivery {
        epoch: (LOOKS / EPOCH) as u64,
        counter: Some(counter),
        removed: Vec::new(),
        ..delivery("a", look)
    };
    let forked = [later(LOOKS, EPOCH as u64 - 1), later(LOOKS + 1, EPOCH as u64)];
    let forked = forked.map(|delivery| Batch { deliveries: vec![delivery], ..Batch::default() });
    let (storage, clock) = (MemoryStorage::new(), clock());
    let options = Options { memtable_bytes_max: 1 << 30, ..options() };
    let store = open(&storage, &clock, options).unwrap();
    assert!(append(&store, &clock, &history()).1.is_none());
    store.compact().unwrap();
    assert!(append(&store, &clock, &forked).1.is_none());
    store.close().unwrap();
    let files = storage.files();
    let times: Vec<Second> = (LOOKS as i64 - 3..LOOKS as i64 + 5).map(|look| FIRST + STEP * look).collect();
    let so = tell_model(&model(&[&history()[..], &forked].concat()), &times, &[None]).unwrap();
    let told = |files: &Files| {
        let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
        tell(&view, &times, &[None]).unwrap()
    };
    assert_eq!(told(&files), so);
    let name = files.keys().find(|name| name.ends_with(".segment")).unwrap();
    for (at, ..) in frames(&files[name]).into_iter().filter(|frame| frame.1 == Frames::CHECKED_RUN) {
        let mut files = files.clone();
        files.get_mut(name).unwrap()[at + FRAME_HEADER_BYTES] ^= 1;
        let (report, new) = recovered(files);
        assert_eq!((told(&new).exceeds(&so), report.is_whole()), (None, false), "run at {at}: {report:#?}");
    }
}

/// What is lost counts since the first of it was recorded: before that nothing was known, and from then on it is unknown.
#[test]
fn what_is_lost_was_unknown_since_it_was_recorded() {
    let looks = |of: std::ops::Range<usize>| of.map(|look| delivery("a", look)).collect();
    // Some looks come late, so that the seconds of the first two segments meet.
    let history = [0..2, 4..6, 2..4, 6..8, 8..10].map(|of| Batch { deliveries: looks(of), ..Batch::default() });
    let (storage, hands) = (MemoryStorage::new(), clock());
    let store = open(&storage, &hands, Options { merge_fanout: 100, ..options() }).unwrap();
    // Segments of two, one and two batches.
    for batches in [&history[..2], &history[2..3], &history[3..]] {
        assert!(append(&store, &hands, batches).1.is_none());
        store.flush().unwrap();
    }
    store.close().unwrap();
    let known_at: Vec<_> = (0..6).map(|batch| Some(clock().now_micros() + 1_000_000 * batch)).collect();
    let times: Vec<Second> = (0..11).map(|look| FIRST + STEP * look).collect();
    let so = tell_model(&model(&history), &times, &known_at).unwrap();
    let segments: Vec<String> = storage.files().into_keys().filter(|name| name.ends_with(".segment")).collect();
    assert_eq!(segments.len(), 3);
    for lost in [&segments[..1], &segments[1..2], &segments[..2], &segments[1..]] {
        let left = storage.files().into_iter().filter(|(name, _)| !lost.contains(name)).collect();
        let (report, new) = recovered(left);
        let view = open_view(&MemoryStorage::with_files(new), 1 << 20).unwrap();
        let now = tell(&view, &times, &known_at).unwrap();
        assert_eq!((now.exceeds(&so), report.is_whole()), (None, false), "without {lost:?}: {report:#?}");
    }
}

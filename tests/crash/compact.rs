//! An operator merges a store in steps, and stops it at every moment: no answer changes, at no recorded time, and the next
//! run goes on where it was left.

use crate::stop::Case;
use erstwhile_engine::compaction::pace::Pace;
use erstwhile_engine::compaction::plan::Extent;
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::fact::Micros;
use erstwhile_engine::io::{AfterCrash, Clock, FaultyStorage, ManualClock, MemoryStorage, Plan, Storage};
use erstwhile_engine::options::Options;
use erstwhile_engine::store::{open_view, plan_of};
use erstwhile_tests::support::workload::{
    BATCHES, answers, answers_known, append, append_one, batch, batches, clock, expected, facts, open, options,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Several unmerged segments.
fn unmerged() -> MemoryStorage {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let apart = Options { merge_fanout: 1_000, memtable_bytes_max: 4 << 10, ..options() };
    let store = open(&storage, &clock, apart).unwrap();
    assert!(append(&store, &clock, &batches()).1.is_none());
    store.close().unwrap();
    storage
}

/// Recorded times before, in and after the history.
fn times() -> Vec<Micros> {
    [0, 3, 8, 14, BATCHES as i64, 100].map(|second| clock().now_micros() + second * 1_000_000).to_vec()
}

fn all_answers(storage: &dyn Storage) -> Vec<String> {
    let view = open_view(storage, 1 << 20).unwrap();
    assert_eq!(facts(&view).unwrap(), expected()[BATCHES]);
    let known = times().into_iter().map(|known_at| answers_known(&view, Some(known_at)).unwrap());
    known.chain([answers(&view).unwrap()]).collect()
}

/// A pace that stops at the payment of this number.
fn stopping_at(stop: u64) -> Pace {
    let (clock, count) = (ManualClock::new(0), AtomicU64::new(0));
    let (hands, me) = (clock.clone(), Arc::new(parking::Slot::default()));
    let mine = me.clone();
    let pause = move |pause: std::time::Duration| {
        hands.advance(pause.as_micros() as u32 + 1);
        if count.fetch_add(1, Ordering::Relaxed) == stop {
            mine.stop();
        }
    };
    let pace = Pace::by(Some(1 << 30), Arc::new(clock), Box::new(pause));
    me.set(pace.clone());
    pace
}

/// A place for a pace that its own pauses reach.
mod parking {
    use erstwhile_engine::compaction::pace::Pace;
    use std::sync::OnceLock;

    #[derive(Default)]
    pub(super) struct Slot(OnceLock<Pace>);

    impl Slot {
        pub(super) fn set(&self, pace: Pace) {
            let _ = self.0.set(pace);
        }

        pub(super) fn stop(&self) {
            if let Some(pace) = self.0.get() {
                pace.stop();
            }
        }
    }
}

#[test]
fn merging_in_steps_changes_no_answer_and_ends_with_what_was_planned() {
    for (extent, left) in [(Extent::All, 1), (Extent::Unpacked, 3)] {
        let storage = unmerged();
        let before = all_answers(&storage);
        let view = open_view(&storage, 1 << 20).unwrap();
        let planned = plan_of(&view, extent, 4).unwrap();
        let segments = view.segments().len();
        drop(view);
        assert!(segments > 8, "{segments}");
        let store = open(&storage, &clock(), options()).unwrap();
        let mut done = 0;
        while store.compact_step(extent).unwrap() {
            done += 1;
            assert_eq!(all_answers(&storage), before);
        }
        assert_eq!(done, planned.len());
        let view = store.view();
        assert_eq!(
            view.segments().len(),
            left.max(segments - planned.iter().map(|step| step.segments - 1).sum::<usize>())
        );
        assert!(view.segments().iter().all(|segment| segment.is_packed().unwrap()));
        assert!(options().pace.moved_bytes() == 0, "each options have a pace of their own");
    }
}

/// Whoever stops a merge loses what it had done and nothing else.
#[test]
fn a_stop_at_any_moment_leaves_the_store_whole_and_the_next_run_goes_on() {
    let first = unmerged();
    let before = all_answers(&first);
    let mut stops = 0;
    for stop in (0..).step_by(5) {
        let _case = Case(format!("stopped at payment {stop}"));
        let storage = MemoryStorage::with_files(first.files());
        let pace = stopping_at(stop);
        let store = open(&storage, &clock(), Options { pace: pace.clone(), ..options() }).unwrap();
        let segments = store.view().segments().len();
        let (mut steps, mut stopped) = (0, false);
        loop {
            match store.compact_step(Extent::All) {
                Ok(true) => steps += 1,
                Ok(false) => break,
                Err(Error::Misuse(Misuse::Stopped)) => {
                    stopped = true;
                    break;
                }
                Err(error) => panic!("{error}"),
            }
        }
        if !stopped {
            break;
        }
        stops += 1;
        assert!(storage.list().unwrap().iter().all(|(name, _)| !name.ends_with(".tmp")));
        assert_eq!(steps == 0, store.view().segments().len() == segments, "whole steps stay done");
        // It still takes what comes.
        append_one(&store, &clock(), &batch(3)).unwrap();
        store.close().unwrap();
        if stop % 25 == 0 {
            assert_eq!(all_answers(&storage), before);
        }
        let store = open(&storage, &clock(), options()).unwrap();
        while store.compact_step(Extent::All).unwrap() {}
        assert_eq!(store.view().segments().len(), 1);
        store.close().unwrap();
        assert_eq!(facts(&open_view(&storage, 1 << 20).unwrap()).unwrap(), expected()[BATCHES]);
        if stop % 25 == 0 {
            assert_eq!(all_answers(&storage), before);
        }
    }
    assert!(stops > 10, "{stops}");
}

/// The machine stops at every operation of a merge: what was merged is there, from its segments or from the new one.
#[test]
fn a_machine_that_stops_while_it_merges_has_what_was_merged() {
    let (unmerged, expected) = (unmerged(), expected());
    let merging = |plan: Plan| {
        let storage = FaultyStorage::over(&unmerged, plan);
        let opened = open(&storage, &clock(), options());
        let merged = opened.and_then(|store| store.compact_step(Extent::All).map(drop));
        (storage, merged)
    };
    let (undisturbed, merged) = merging(Plan::default());
    merged.unwrap();
    let ops = undisturbed.ops();
    assert!(ops.iter().any(|op| op.starts_with("remove") && op.contains("segment")), "{ops:?}");
    for (at, op) in ops.iter().enumerate() {
        let (storage, _) = merging(Plan { crash_at: Some(at as u64), ..Plan::default() });
        for mode in AfterCrash::all(2) {
            let _case = Case(format!("stopped at {at} ({op}), {mode:?}"));
            let found = storage.after_crash(mode);
            let view = open_view(&found, 1 << 20).unwrap_or_else(|error| panic!("{error}"));
            assert!(facts(&view).unwrap() == expected[BATCHES]);
            let store = open(&found, &clock(), options()).unwrap_or_else(|error| panic!("{error}"));
            assert!(facts(&store.view()).unwrap() == expected[BATCHES]);
        }
    }
}

/// What a limited merge reads and writes takes the time that the limit says.
#[test]
fn a_limited_merge_takes_its_time() {
    let (storage, hands) = (unmerged(), ManualClock::new(0));
    let read: u64 = open_view(&storage, 1 << 20).unwrap().segments().iter().map(|segment| segment.bytes()).sum();
    let moves = hands.clone();
    let pause = move |pause: std::time::Duration| moves.advance(pause.as_micros() as u32 + 1);
    let pace = Pace::by(Some(10_000), Arc::new(hands.clone()), Box::new(pause));
    let store = open(&storage, &clock(), Options { pace: pace.clone(), ..options() }).unwrap();
    store.compact().unwrap();
    let written = store.view().segments()[0].bytes();
    let (seconds, moved) = (hands.monotonic_nanos() as f64 / 1e9, pace.moved_bytes());
    assert!((seconds - moved as f64 / 10_000.0).abs() < 0.1, "{seconds} s for {moved} bytes");
    assert!(moved > read + written / 2 && moved < 2 * (read + written), "{moved} moved, {read} + {written}");
}

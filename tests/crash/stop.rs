//! The machine stops at every single operation in turn, then at every operation of what comes after.
//!
//! `ERSTWHILE_CRASH=all` stops the second time at every operation after every first stop, instead of after some.

use erstwhile_engine::check::fsck::{Level, Severity};
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::fact::Batch;
use erstwhile_engine::io::{AfterCrash, FaultyStorage, MemoryStorage, Plan, Unsynced};
use erstwhile_engine::log::SyncMode;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::read::view::View;
use erstwhile_engine::segment::directory::Form;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::checked::report;
use erstwhile_tests::support::workload::{
    self, Facts, PRODUCER, answers, append, batches, clock, expected, facts, open, options, timeless,
};

/// How much of the append at which the machine stops is there.
const TORN: [usize; 2] = [0, 300];

/// Runs the history until it ends or the machine stops, and merges everything at its end; tells how many batches were
/// acknowledged.
pub(crate) fn run(storage: &FaultyStorage, options: Options, batches: &[Batch]) -> usize {
    let clock = clock();
    let Ok(store) = open(storage, &clock, options) else {
        return 0;
    };
    let (acknowledged, _) = append(&store, &clock, batches);
    // What the merge and close have to do is stopped at too.
    let _ = store.compact();
    let _ = store.close();
    acknowledged
}

/// What a reader sees; nothing where no store was made yet.
pub(crate) fn read(found: &MemoryStorage) -> Result<(Facts, Option<View>), Error> {
    match open_view(found, 1 << 20) {
        Ok(view) => Ok((facts(&view)?, Some(view))),
        Err(Error::Misuse(Misuse::NoStore)) => Ok((Facts::new(), None)),
        Err(error) => Err(error),
    }
}

/// What was acknowledged is there, and of what was under way all or nothing.
pub(crate) fn check_content<F: PartialEq>(found: &F, expected: &[F], acknowledged: usize) {
    let mut candidates = acknowledged..=(acknowledged + 1).min(expected.len() - 1);
    if !candidates.any(|count| expected[count] == *found) {
        let other = expected.iter().position(|other| other == found);
        panic!("{acknowledged} batches were acknowledged, the content is that of {other:?}");
    }
}

/// Reads what is found, opens it, and takes the history up again from the beginning; with the answers to the whole
/// history also merges everything, and compares these.
fn check(found: &MemoryStorage, acknowledged: usize, expected: &[Facts], last: Option<&str>) {
    // A check of every one would take longer than all else here.
    if last.is_some() && !found.files().is_empty() {
        let report = report(found, Level::Deep);
        assert_eq!(report.count(Severity::Damage), 0, "{:#?}", report.findings);
    }
    let (seen, view) = read(found).unwrap_or_else(|error| panic!("{error}"));
    check_content(&seen, expected, acknowledged);
    // Which of a producer's batches are in is told by notes that were committed with them; a resend is none of its own.
    let sequences: Vec<u64> = batches().iter().map(|batch| batch.sequence).collect();
    let last_of = |count: usize| sequences[..count.min(sequences.len())].iter().max().copied();
    let found_last = view.as_ref().and_then(|view| view.last_sequence(PRODUCER, &mut Cost::default()).unwrap());
    assert!(
        [last_of(acknowledged), last_of(acknowledged + 1)].contains(&found_last),
        "{found_last:?} after {acknowledged}"
    );
    if let (Some(last), Some(view)) = (last, view.filter(|_| acknowledged == sequences.len())) {
        assert_eq!(answers(&view).unwrap(), last, "whatever the merge had come to");
    }
    let clock = clock();
    clock.advance(1_000_000_000);
    let store = open(found, &clock, options()).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(facts(&store.view()).unwrap(), seen, "a reader and the next writer see the same");
    let (_, failed) = append(&store, &clock, &batches());
    assert!(failed.is_none(), "{failed:?}");
    if last.is_some() {
        store.compact().unwrap();
    }
    store.close().unwrap();
    let (seen, view) = read(found).unwrap();
    assert_eq!(timeless(&seen), timeless(&expected[expected.len() - 1]));
    if let Some(last) = last {
        let view = view.unwrap();
        assert_eq!(view.segments().len(), 1);
        assert_eq!(answers(&view).unwrap(), last);
    }
}

fn last_answers() -> String {
    let storage = MemoryStorage::new();
    let clock = clock();
    let store = open(&storage, &clock, options()).unwrap();
    assert!(append(&store, &clock, &batches()).1.is_none());
    answers(&store.view()).unwrap()
}

/// The operations of an undisturbed run; it seals several times, merges at least twice, and then everything, so that
/// regular streams become runs.
fn ops() -> Vec<String> {
    let storage = FaultyStorage::new(Plan::default());
    assert_eq!(run(&storage, options(), &batches()), workload::BATCHES);
    let view = open_view(&storage, 1 << 20).unwrap();
    let [segment] = view.segments() else { panic!("everything was merged") };
    let streams: Vec<Form> = segment
        .tables()
        .flat_map(|reader| reader.unwrap().directory.records().map(|stream| stream.form).collect::<Vec<_>>())
        .collect();
    assert!(streams.contains(&Form::Run) && streams.contains(&Form::Facts), "{streams:?}");
    let ops = storage.ops();
    let count = |what: &str| ops.iter().filter(|op| op.starts_with(what) && op.contains("segment")).count();
    assert!(count("rename") > 6 && count("remove") >= 8, "several seals and merges:\n{}", ops.join("\n"));
    ops
}

/// Says which case fails, when one does.
pub(crate) struct Case(pub(crate) String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

#[test]
fn every_acknowledged_batch_survives_a_stop_at_any_operation() {
    let (expected, last) = (expected(), last_answers());
    for (at, op) in ops().iter().enumerate() {
        let torn = if op.starts_with("append") { &TORN[..] } else { &TORN[..1] };
        for &torn in torn {
            let storage = FaultyStorage::new(Plan { crash_at: Some(at as u64), torn, ..Plan::default() });
            let acknowledged = run(&storage, options(), &batches());
            assert!(storage.has_crashed());
            for mode in AfterCrash::all(4) {
                let _case = Case(format!("stopped at {at} ({op}), {torn} bytes torn, {mode:?}"));
                // Equal facts give equal answers, so these are compared once.
                let last = (mode == AfterCrash::POWER_LOST).then_some(&*last);
                check(&storage.after_crash(mode), acknowledged, &expected, last);
            }
        }
    }
}

/// The second stop comes while the store is opened again, or soon after, or while everything is merged then.
#[test]
fn every_acknowledged_batch_survives_a_second_stop() {
    let all = std::env::var_os("ERSTWHILE_CRASH").is_some();
    let every = if all { 1 } else { 6 };
    let expected: Vec<_> = expected().iter().map(timeless).collect();
    let history = batches();
    for (at, op) in ops().iter().enumerate().step_by(every) {
        let storage = FaultyStorage::new(Plan { crash_at: Some(at as u64), torn: 11, ..Plan::default() });
        let first = run(&storage, options(), &history);
        for (i, mode) in [AfterCrash::PROCESS_DIED, AfterCrash::POWER_LOST].into_iter().enumerate() {
            let found = storage.after_crash(mode);
            let again = |plan: Plan| {
                let storage = FaultyStorage::over(&found, plan);
                let clock = clock();
                clock.advance(1_000_000_000);
                let acknowledged = open(&storage, &clock, options()).map_or(0, |store| {
                    let next = first..(first + 2).min(history.len());
                    let (acknowledged, _) = append(&store, &clock, &history[next]);
                    if all || at % (4 * every) == 0 {
                        let _ = store.compact();
                    }
                    acknowledged
                });
                (storage, first + acknowledged)
            };
            let (undisturbed, _) = again(Plan::default());
            for second in 0..undisturbed.op_count() {
                let (storage, acknowledged) = again(Plan { crash_at: Some(second), torn: 11, ..Plan::default() });
                let between = Unsynced::Partly(second ^ i as u64);
                for mode in [
                    AfterCrash::PROCESS_DIED,
                    AfterCrash::POWER_LOST,
                    AfterCrash { bytes: between, names: between },
                    AfterCrash { bytes: Unsynced::Lost, names: Unsynced::Kept },
                ] {
                    let second_op = &undisturbed.ops()[second as usize];
                    let _case = Case(format!("stopped at {at} ({op}), then at {second} ({second_op}), {mode:?}"));
                    let found = storage.after_crash(mode);
                    let seen = timeless(&read(&found).unwrap_or_else(|error| panic!("{error}")).0);
                    check_content(&seen, &expected, acknowledged);
                    let store = open(&found, &clock(), options()).unwrap_or_else(|error| panic!("{error}"));
                    assert_eq!(timeless(&facts(&store.view()).unwrap()), seen);
                }
            }
        }
    }
}

/// A log that was begun and got no record leaves the next writer nothing to seal, so that its own log is the first that
/// counts; whoever opens the store after it must not take that log for one that is done with.
#[test]
fn a_log_stays_until_what_it_holds_is_in_a_segment() {
    let (expected, history) = (expected(), batches());
    // What is appended stays in the log.
    let options = || Options { memtable_bytes_max: 1 << 20, ..options() };
    let timeless_of = |found: &MemoryStorage| timeless(&read(found).unwrap_or_else(|error| panic!("{error}")).0);
    let (mut first, mut logs) = (0, 0);
    loop {
        let storage = FaultyStorage::new(Plan { crash_at: Some(first), ..Plan::default() });
        let acknowledged =
            open(&storage, &clock(), options()).map_or(0, |store| append(&store, &clock(), &history[..1]).0);
        if !storage.has_crashed() {
            break;
        }
        let found = storage.after_crash(AfterCrash::PROCESS_DIED);
        let store = open(&found, &clock(), options()).unwrap_or_else(|error| panic!("stopped at {first}: {error}"));
        let (again, failed) = append(&store, &clock(), &history[acknowledged..2]);
        assert!(failed.is_none(), "stopped at {first}: {failed:?}");
        drop(store);
        logs += usize::from(found.files().keys().any(|name| name.ends_with(".log")));
        for second in 0.. {
            let storage = FaultyStorage::over(&found, Plan { crash_at: Some(second), ..Plan::default() });
            let opened = open(&storage, &clock(), options());
            if !storage.has_crashed() {
                opened.unwrap_or_else(|error| panic!("stopped at {first}: {error}"));
                break;
            }
            let _case = Case(format!("stopped at {first}, {again} appended, stopped at {second}"));
            for mode in [AfterCrash::PROCESS_DIED, AfterCrash::POWER_LOST] {
                assert!(timeless_of(&storage.after_crash(mode)) == timeless(&expected[2]));
            }
        }
        first += 1;
    }
    assert!(first > 10 && logs > 10, "{first} stops left {logs} logs");
}

/// Where syncs are left to the system, a death of the process still loses nothing, and a loss of power loses whole
/// batches from the end.
#[test]
fn without_syncs_what_is_left_is_a_front_part() {
    let expected = expected();
    for sync in [SyncMode::Never, SyncMode::Interval { millis: 2500 }] {
        let options = Options { sync, ..options() };
        let whole = FaultyStorage::new(Plan::default());
        run(&whole, options.clone(), &batches());
        for (at, op) in whole.ops().iter().enumerate() {
            let storage = FaultyStorage::new(Plan { crash_at: Some(at as u64), torn: 11, ..Plan::default() });
            let acknowledged = run(&storage, options.clone(), &batches());
            for mode in AfterCrash::all(40) {
                let _case = Case(format!("{sync:?}, stopped at {at} ({op}), {mode:?}"));
                let (seen, _) = read(&storage.after_crash(mode)).unwrap_or_else(|error| panic!("{error}"));
                if mode == AfterCrash::PROCESS_DIED {
                    check_content(&seen, &expected, acknowledged);
                } else {
                    assert!(
                        expected.iter().take(acknowledged + 2).any(|expected| *expected == seen),
                        "no batch is there in part"
                    );
                }
            }
        }
    }
}

/// Appends that are not logged: wherever the machine stops, whole batches from the front are left, which may be appended
/// again, and all of them once the store was closed.
#[test]
fn without_a_log_what_is_left_is_a_front_part() {
    let (expected, history) = (expected(), batches());
    let options = Options { logs: false, ..options() };
    let whole = FaultyStorage::new(Plan::default());
    assert_eq!(run(&whole, options.clone(), &history), history.len());
    let ops = whole.ops();
    assert!(ops.iter().all(|op| !op.contains(".log")), "nothing is logged");
    let mut partly = 0;
    for (at, op) in ops.iter().enumerate() {
        let storage = FaultyStorage::new(Plan { crash_at: Some(at as u64), torn: 11, ..Plan::default() });
        let acknowledged = run(&storage, options.clone(), &history);
        for mode in AfterCrash::all(40) {
            let _case = Case(format!("stopped at {at} ({op}), {mode:?}"));
            let found = storage.after_crash(mode);
            let (seen, _) = read(&found).unwrap_or_else(|error| panic!("{error}"));
            let mut possible = expected.iter().take(acknowledged + 2);
            let count = possible.position(|expected| *expected == seen).expect("no batch is there in part");
            partly += usize::from(0 < count && count < history.len());
            if mode == AfterCrash::POWER_LOST {
                let store = open(&found, &clock(), options.clone()).unwrap();
                assert!(append(&store, &clock(), &history).1.is_none());
                store.close().unwrap();
                assert_eq!(timeless(&read(&found).unwrap().0), timeless(&expected[history.len()]));
            }
        }
    }
    assert!(partly > 10, "{partly}");
    // What was never sealed before is sealed when the store is closed.
    let storage = FaultyStorage::new(Plan::default());
    let clock = clock();
    let store = open(&storage, &clock, Options { memtable_bytes_max: 1 << 20, ..options }).unwrap();
    assert!(append(&store, &clock, &history).1.is_none());
    store.close().unwrap();
    assert!(read(&storage.after_crash(AfterCrash::POWER_LOST)).unwrap().0 == expected[history.len()]);
}

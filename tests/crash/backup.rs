//! A store is backed up beside its writer, and every generation gives back what the store was: after stops, full disks,
//! damage, and at any recorded time.

use crate::stop::Case;
use erstwhile_engine::backup::{BackedUp, Contents, Restored, Step, back_up, restore, verify};
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::fact::Micros;
use erstwhile_engine::io::{AfterCrash, Clock, DiskStorage, FaultyStorage, ManualClock, MemoryStorage, Plan, Storage};
use erstwhile_engine::note;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::workload::{
    BATCHES, Facts, answers, answers_known, append, append_one, batch, batches, clock, expected, facts, open, options,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

fn quiet(_: Step<'_>) {}

fn back_up_to(store: &dyn Storage, backup: &dyn Storage, keep: Option<usize>) -> Result<BackedUp, Error> {
    back_up(store, backup, &clock(), keep, "a test", &mut quiet)
}

fn restore_to(
    backup: &dyn Storage,
    generation: Option<u64>,
    until: Option<Micros>,
    to: &(impl Storage + Clone + 'static),
) -> Result<Restored, Error> {
    let (to, clock): (Arc<dyn Storage>, Arc<dyn Clock>) = (Arc::new(to.clone()), Arc::new(clock()));
    restore(backup, generation, until, &to, &clock, &options(), "a test", &mut quiet)
}

fn restored(backup: &dyn Storage, generation: Option<u64>, until: Option<Micros>) -> MemoryStorage {
    let to = MemoryStorage::new();
    restore_to(backup, generation, until, &to).unwrap_or_else(|error| panic!("{error}"));
    to
}

fn view(storage: &dyn Storage) -> View {
    open_view(storage, 1 << 20).unwrap_or_else(|error| panic!("{error}"))
}

/// A backup of a generation after each of these numbers of batches, made while the writer goes on; and the store.
fn backed_up(after: &[usize], options: Options) -> (MemoryStorage, MemoryStorage) {
    let (storage, backup, clock) = (MemoryStorage::new(), MemoryStorage::new(), clock());
    let store = open(&storage, &clock, options).unwrap();
    for i in 0..BATCHES {
        if after.contains(&i) {
            back_up_to(&storage, &backup, None).unwrap();
        }
        append_one(&store, &clock, &batch(i)).unwrap();
    }
    if after.contains(&BATCHES) {
        back_up_to(&storage, &backup, None).unwrap();
    }
    drop(store);
    (storage, backup)
}

/// Every generation gives back what the store was when it was made, and the restored store can be written to.
#[test]
fn a_generation_is_the_store_as_it_was() {
    let expected = expected();
    let after = [0, 1, 5, 6, 13, 20, BATCHES];
    let (_, backup) = backed_up(&after, options());
    let contents = Contents::read(&backup).unwrap();
    assert_eq!(contents.generations.len(), after.len());
    let whole = verify(&backup, &mut quiet).unwrap();
    assert!(whole.damage.is_empty() && whole.unnamed.is_empty(), "{whole:?}");
    for (generation, after) in contents.generations.iter().zip(after) {
        let (to, clock) = (restored(&backup, Some(generation.number), None), clock());
        let view = view(&to);
        assert_eq!(facts(&view).unwrap(), expected[after], "after {after}");
        assert_eq!(view.last_recorded(), generation.last_recorded);
        clock.advance(1_000_000_000);
        let store = open(&to, &clock, options()).unwrap();
        assert_eq!(store.id(), generation.state.store_id);
        assert_eq!(facts(&store.view()).unwrap(), expected[after], "the next writer sees the same");
        assert!(append(&store, &clock, &batches()).1.is_none());
        store.compact().unwrap();
        let number = store.view().segments()[0].number();
        assert!(number > 1_545_645_600_000_000, "{number} is none that the first store will give");
    }
}

/// Of two stores the facts and the answers are the same, now and at all times before.
#[test]
fn a_restored_store_answers_the_same_at_all_recorded_times() {
    let (storage, backup) = backed_up(&[BATCHES], options());
    let (original, copy) = (view(&storage), view(&restored(&backup, None, None)));
    for known_at in times() {
        assert_eq!(answers_known(&copy, Some(known_at)).unwrap(), answers_known(&original, Some(known_at)).unwrap());
    }
    assert_eq!(answers(&copy).unwrap(), answers(&original).unwrap());
}

/// Recorded times of the history: of each commit, between two, before and after all.
fn times() -> Vec<Micros> {
    let first = clock().now_micros();
    (0..=2 * BATCHES as i64 + 2).map(|half| first + half * 500_000).collect()
}

/// What was recorded by a time, but for what is kept only of a producer's last batch.
fn known(facts: &Facts, until: Micros) -> Facts {
    let mut facts = facts.clone();
    let of_producer = format!("{:?}", note::of_batch(0, 0, 0).stream.table);
    facts.retain(|stream, _| !stream.contains(&of_producer));
    facts.values_mut().for_each(|words| words.retain(|(recorded, _)| *recorded <= until));
    facts.retain(|_, words| !words.is_empty());
    facts
}

/// The page of a backup promises that a store restored to a recorded time answers as the whole one does with `known_at`:
/// whether facts lie in logs, in sealed segments, or in one that was merged.
#[test]
fn a_store_restored_to_a_recorded_time_answers_as_known_at_does() {
    let all = expected().pop().unwrap();
    let in_logs = Options { memtable_bytes_max: 1 << 30, ..options() };
    let (logs, of_logs) = backed_up(&[BATCHES], in_logs);
    let (several, of_several) = backed_up(&[BATCHES], options());
    let (merged, of_merged) = {
        let (storage, backup) = backed_up(&[], options());
        open(&storage, &clock(), options()).unwrap().compact().unwrap();
        back_up_to(&storage, &backup, None).unwrap();
        (storage, backup)
    };
    let (mut rewritten, mut left_out) = (0, 0);
    for (form, original, backup) in
        [("logs", logs, of_logs), ("several", several, of_several), ("one", merged, of_merged)]
    {
        let original = view(&original);
        for until in times() {
            let _case = Case(format!("{form}, until {until}"));
            let to = MemoryStorage::new();
            let done = restore_to(&backup, None, Some(until), &to).unwrap();
            (rewritten, left_out) = (rewritten + done.rewritten_segments, left_out + done.left_out_segments);
            let copy = view(&to);
            assert_eq!(known(&facts(&copy).unwrap(), Micros::MAX), known(&all, until));
            assert!(copy.last_recorded().is_none_or(|last| last <= until));
            assert_eq!(copy.last_recorded(), done.last_recorded);
            assert_eq!(answers_known(&copy, Some(until)).unwrap(), answers_known(&original, Some(until)).unwrap());
            // No host and no table is left of which nothing was known.
            let hosts: Vec<_> = copy.segments().iter().map(|segment| segment.hosts().unwrap().len()).collect();
            assert!(hosts.iter().all(|hosts| *hosts > 0), "{hosts:?}");
        }
    }
    assert!(rewritten > 20 && left_out > 20, "{rewritten} {left_out}");
}

fn appended(storage: &FaultyStorage) -> u64 {
    storage.ops().iter().filter_map(|op| op.strip_prefix("append ")?.split(' ').next()?.parse::<u64>().ok()).sum()
}

/// What the backup has is not written again; what no generation names goes.
#[test]
fn only_what_is_new_is_copied_and_only_what_is_kept_stays() {
    let (storage, backup, clock) = (MemoryStorage::new(), FaultyStorage::new(Plan::default()), clock());
    let small_merges = Options { merge_fanout: 100, ..options() };
    let store = open(&storage, &clock, small_merges).unwrap();
    let (mut known, mut copied) = (0, 0);
    for i in 0..BATCHES {
        append_one(&store, &clock, &batch(i)).unwrap();
        let before = appended(&backup);
        let done = back_up_to(&storage, &backup, Some(3)).unwrap();
        let generation = appended(&backup) - before - done.copied_bytes;
        assert!(generation < 8 << 10, "{generation} bytes beside what was copied");
        assert_eq!(done.copied_bytes + done.known_bytes, done.generation.bytes());
        (known, copied) = (known + done.known_bytes, copied + done.copied_bytes);
        let before = appended(&backup);
        let again = back_up_to(&storage, &backup, Some(3)).unwrap();
        assert_eq!((again.copied_files, again.copied_bytes), (0, 0), "nothing is new");
        assert_eq!(again.known_bytes, done.generation.bytes());
        assert!(appended(&backup) - before < 8 << 10);
    }
    assert!(known > copied, "{known} {copied}");
    let contents = Contents::read(&backup).unwrap();
    let numbers: Vec<u64> = contents.generations.iter().map(|generation| generation.number).collect();
    assert_eq!(numbers, [2 * BATCHES as u64 - 2, 2 * BATCHES as u64 - 1, 2 * BATCHES as u64]);
    store.compact().unwrap();
    let done = back_up_to(&storage, &backup, Some(1)).unwrap();
    assert_eq!((done.known_files, done.pruned.generations.len()), (0, 3));
    assert!(done.pruned.files > 3);
    let left: Vec<String> = backup.list().unwrap().into_iter().map(|(name, _)| name).collect();
    assert_eq!(left.len(), 3, "the lock, a segment, a generation: {left:?}");
    assert_eq!(facts(&view(&restored(&backup, None, None))).unwrap(), expected()[BATCHES]);
}

/// The machine that holds the backup stops at every operation of a second and a third generation.
#[test]
fn a_stop_leaves_the_generations_before_whole() {
    let expected = expected();
    let (first, backup) = backed_up(&[6], options());
    let make = |storage: &FaultyStorage| back_up_to(&first, storage, Some(1));
    let whole = FaultyStorage::over(&backup, Plan::default());
    make(&whole).unwrap();
    let ops = whole.ops();
    assert!(ops.iter().any(|op| op.starts_with("remove") && op.contains("generation")), "{ops:#?}");
    for (at, op) in ops.iter().enumerate() {
        for torn in [0, 300] {
            let storage = FaultyStorage::over(&backup, Plan { crash_at: Some(at as u64), torn, ..Plan::default() });
            make(&storage).unwrap_err();
            for mode in AfterCrash::all(3) {
                let _case = Case(format!("stopped at {at} ({op}), {mode:?}"));
                let found = storage.after_crash(mode);
                let contents = Contents::read(&found).unwrap();
                assert!(contents.unreadable.is_empty(), "{contents:?}");
                let numbers: Vec<u64> = contents.generations.iter().map(|generation| generation.number).collect();
                assert!([&[1][..], &[1, 2], &[2]].contains(&&*numbers), "{numbers:?}");
                assert_eq!(verify(&found, &mut quiet).unwrap().damage, []);
                for number in numbers {
                    let seen = facts(&view(&restored(&found, Some(number), None))).unwrap();
                    assert_eq!(seen, expected[if number == 1 { 6 } else { BATCHES }]);
                }
                let done = make(&FaultyStorage::over(&found, Plan::default())).unwrap();
                assert!(done.pruned.unreadable.is_empty());
                back_up_to(&first, &found, Some(1)).unwrap();
                let whole = verify(&found, &mut quiet).unwrap();
                assert!(whole.damage.is_empty() && whole.unnamed.is_empty(), "{whole:?}");
                assert_eq!(facts(&view(&restored(&found, None, None))).unwrap(), expected[BATCHES]);
            }
        }
    }
}

#[test]
fn a_full_disk_leaves_the_generations_before_whole() {
    let (store, backup) = backed_up(&[6], options());
    let used: u64 = backup.list().unwrap().iter().map(|(_, bytes)| bytes).sum();
    let mut failed = 0;
    for room in (0..).step_by(331) {
        let storage = FaultyStorage::over(&backup, Plan { full_at: Some(used + room), ..Plan::default() });
        let Err(error) = back_up_to(&store, &storage, Some(1)) else {
            break;
        };
        failed += 1;
        assert!(error.to_string().contains("no storage space"), "{error}");
        assert_eq!(verify(&storage, &mut quiet).unwrap().damage, []);
        assert_eq!(facts(&view(&restored(&storage, Some(1), None))).unwrap(), expected()[6]);
        storage.set_plan(Plan::default());
        back_up_to(&store, &storage, Some(1)).unwrap();
        assert_eq!(verify(&storage, &mut quiet).unwrap().unnamed, [] as [String; 0]);
    }
    assert!(failed > 20, "{failed}");
}

/// What was being restored when the machine stopped is no store, or all of it.
#[test]
fn a_stop_while_restoring_leaves_no_half_store() {
    let (_, backup) = backed_up(&[BATCHES], options());
    let until = times()[17];
    for until in [None, Some(until)] {
        let whole = FaultyStorage::new(Plan::default());
        restore_to(&backup, None, until, &whole).unwrap();
        let all = facts(&view(&whole)).unwrap();
        let mut stores = 0;
        for (at, op) in whole.ops().iter().enumerate() {
            let storage = FaultyStorage::new(Plan { crash_at: Some(at as u64), torn: 99, ..Plan::default() });
            restore_to(&backup, None, until, &storage).unwrap_err();
            for mode in AfterCrash::all(3) {
                let _case = Case(format!("stopped at {at} ({op}), {mode:?}"));
                let found = storage.after_crash(mode);
                match open_view(&found, 1 << 20) {
                    Ok(view) => {
                        stores += 1;
                        assert_eq!(facts(&view).unwrap(), all);
                    }
                    Err(Error::Misuse(Misuse::NoStore)) => {}
                    Err(Error::Corrupt(corrupt)) => assert_eq!(corrupt.file, "CURRENT"),
                    Err(error) => panic!("{error}"),
                }
                if let Err(error) = restore_to(&backup, None, until, &found) {
                    assert!(matches!(error, Error::Misuse(Misuse::NotEmpty { .. })), "{error}");
                }
            }
        }
        assert!(stores > 0);
    }
}

/// A verification that misses a byte is worse than none.
#[test]
fn every_changed_byte_is_found_and_none_is_restored() {
    let (_, backup) = backed_up(&[2, 4], options());
    let files = backup.files();
    let mut flips = 0;
    for (name, bytes) in files.iter().filter(|(name, _)| *name != "LOCK") {
        let damaged = |bytes: Vec<u8>| {
            let storage = MemoryStorage::with_files(files.clone());
            storage.put(name, bytes);
            let _case = Case(name.clone());
            let found = verify(&storage, &mut quiet).unwrap_or_else(|error| panic!("{error}"));
            assert!(found.damage.iter().any(|(corrupt, _)| corrupt.file == *name), "{found:?}");
            let hit: Vec<u64> = found.damage.iter().flat_map(|(_, generations)| generations.clone()).collect();
            for number in hit {
                let to = MemoryStorage::new();
                let error = restore_to(&storage, Some(number), None, &to).unwrap_err();
                assert!(matches!(error, Error::Backup(_)), "{error}");
                assert!(open_view(&to, 1 << 20).is_err());
            }
        };
        for at in 0..bytes.len() {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1 << (at % 8);
            damaged(bytes);
            flips += 1;
        }
        damaged(bytes[..bytes.len() - 1].to_vec());
        damaged([&bytes[..], &[0]].concat());
    }
    assert!(flips > 5_000, "{flips}");
}

/// A file that is damaged in the backup and then removed comes back with the next generation.
#[test]
fn a_damaged_copy_is_made_anew_once_it_is_gone() {
    let (store, backup) = backed_up(&[BATCHES], options());
    let name = backup.list().unwrap().into_iter().find(|(name, _)| name.ends_with(".segment")).unwrap().0;
    backup.remove(&name).unwrap();
    assert_eq!(verify(&backup, &mut quiet).unwrap().damage.len(), 1);
    let done = back_up_to(&store, &backup, None).unwrap();
    assert_eq!(done.copied_files, 1);
    assert_eq!(verify(&backup, &mut quiet).unwrap().damage, []);
}

/// A damaged store must not push good generations out of a backup.
#[test]
fn a_damaged_store_makes_no_generation() {
    let (store, backup) = backed_up(&[3], options());
    for (name, bytes) in store.files().into_iter().filter(|(name, _)| name.ends_with(".segment")) {
        for at in (0..bytes.len()).step_by(97) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 4;
            store.put(&name, damaged);
            let to = MemoryStorage::with_files(backup.files());
            let error = back_up_to(&store, &to, Some(1)).unwrap_err();
            assert!(matches!(&error, Error::Corrupt(corrupt) if corrupt.file == name), "{error}");
            assert_eq!(Contents::read(&to).unwrap().generations.len(), 1);
        }
        store.put(&name, bytes);
    }
}

#[test]
fn stores_are_not_mixed_up() {
    let (store, backup) = backed_up(&[3], options());
    let is =
        |error: Error, misuse: Misuse| assert!(matches!(&error, Error::Misuse(found) if *found == misuse), "{error}");
    is(back_up_to(&store, &store, None).unwrap_err(), Misuse::StoreExists);
    let opened = open_view(&backup, 1 << 20).map(drop).unwrap_err();
    is(opened, Misuse::IsBackup);
    // Another clock makes another store.
    let other = MemoryStorage::new();
    open(&other, &ManualClock::new(5), options()).unwrap().close().unwrap();
    is(back_up_to(&other, &backup, None).unwrap_err(), Misuse::OtherStore);
    is(restore_to(&other, None, None, &MemoryStorage::new()).unwrap_err(), Misuse::NoGeneration { number: None });
    is(
        restore_to(&backup, Some(9), None, &MemoryStorage::new()).unwrap_err(),
        Misuse::NoGeneration { number: Some(9) },
    );
    // Two copies that went on apart gave one number twice.
    let copy = MemoryStorage::with_files(store.files());
    for (storage, table) in [(&store, "users"), (&copy, "mounts")] {
        let clock = clock();
        clock.advance(1_000_000_000);
        let store = open(storage, &clock, options()).unwrap();
        let mut batch = batch(BATCHES);
        batch.deliveries.retain(|delivery| &*delivery.stream.table == table.as_bytes());
        append_one(&store, &clock, &batch).unwrap();
        store.close().unwrap();
    }
    back_up_to(&store, &backup, None).unwrap();
    let error = back_up_to(&copy, &backup, None).unwrap_err();
    assert!(matches!(&error, Error::Misuse(Misuse::Parted { .. })), "{error}");
}

/// A backup pins what it copies; what was merged meanwhile is removed afterwards, not at the next opening.
#[test]
fn what_a_backup_held_is_removed_when_it_is_done() {
    let (storage, backup, clock) = (MemoryStorage::new(), MemoryStorage::new(), clock());
    let store = open(&storage, &clock, options()).unwrap();
    assert!(append(&store, &clock, &batches()).1.is_none());
    store.flush().unwrap();
    let segments = || storage.list().unwrap().iter().filter(|(name, _)| name.ends_with(".segment")).count();
    let before = segments();
    let mut merged = false;
    back_up(&storage, &backup, &clock, None, "a test", &mut |_| {
        if !std::mem::replace(&mut merged, true) {
            store.compact().unwrap();
        }
    })
    .unwrap();
    assert!(before > 1 && segments() > 1, "the merge went on beside the backup");
    append_one(&store, &clock, &batch(BATCHES)).unwrap();
    store.flush().unwrap();
    assert_eq!(segments(), 2, "what was merged, and what was sealed now");
    assert_eq!(facts(&view(&restored(&backup, None, None))).unwrap(), expected()[BATCHES]);
}

/// Backups go on beside appends, seals and merges; each is the store at some moment, and none goes back.
#[test]
fn backups_beside_a_writer_are_whole_batches_in_order() {
    let expected = expected();
    for round in 0..4 {
        let (store, backup) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let storage = DiskStorage::open(store.path(), true).unwrap();
        let to = DiskStorage::open(backup.path(), true).unwrap();
        let done = AtomicBool::new(false);
        let clock = clock();
        let writer = open(&storage, &clock, Options { background: round % 2 == 0, ..options() }).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(SeqCst) {
                    back_up_to(&storage, &to, None).unwrap_or_else(|error| panic!("{error}"));
                }
            });
            for i in 0..BATCHES {
                append_one(&writer, &clock, &batch(i)).unwrap();
                thread::sleep(std::time::Duration::from_millis(4));
            }
            writer.compact().unwrap();
            done.store(true, SeqCst);
        });
        writer.close().unwrap();
        back_up_to(&storage, &to, None).unwrap();
        let mut last = 0;
        for generation in Contents::read(&to).unwrap().generations {
            let found = facts(&view(&restored(&to, Some(generation.number), None))).unwrap();
            let place = expected.iter().rposition(|expected| *expected == found).expect("whole batches");
            assert!(place >= last, "{last} before, {place} now");
            last = place;
        }
        assert_eq!(last, BATCHES);
    }
}

//! A sync fails: nothing more is acknowledged, whoever asks again, until the store is opened again.

use crate::stop::{check_content, read};
use erstwhile_engine::error::Error;
use erstwhile_engine::io::{AfterCrash, FaultyStorage, Plan};
use erstwhile_engine::note;
use erstwhile_tests::support::workload::{
    PRODUCER, append, append_one, batches, clock, expected, facts, open, options, timeless,
};

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_nothing_acknowledged_is_lost() {
    let (expected, history) = (expected(), batches());
    let whole = FaultyStorage::new(Plan::default());
    crate::stop::run(&whole, options(), &history);
    for fail in 0..whole.sync_count() {
        let storage = FaultyStorage::new(Plan { fail_sync: Some(fail), ..Plan::default() });
        let clock = clock();
        let mut acknowledged = 0;
        match open(&storage, &clock, options()) {
            Err(error) => assert!(error.to_string().starts_with("cannot sync "), "{error}"),
            Ok(store) => {
                let failed;
                (acknowledged, failed) = append(&store, &clock, &history);
                if let Some(failed) = failed {
                    // What a loss of power would take nobody reads, though it is in memory.
                    let mut seen = facts(&store.view()).unwrap();
                    let (mut durable, _) = read(&storage.after_crash(AfterCrash::POWER_LOST)).unwrap();
                    // Of this note only the newest is in memory.
                    let note = format!("{:?}", note::of_batch(PRODUCER, 0, 0).stream);
                    [&mut seen, &mut durable].into_iter().for_each(|facts| drop(facts.remove(&note)));
                    assert!(seen == durable, "sync {fail}: {failed}");
                    // The same batch again must not count as known: what holds it may be lost.
                    for batch in [&history[acknowledged], &history[0], &history[history.len() - 1]] {
                        let error = append_one(&store, &clock, batch).unwrap_err();
                        assert!(matches!(error, Error::Poisoned { .. }), "sync {fail}: {error}");
                        assert!(error.to_string().contains(" sync "), "{error}");
                        assert!(error.to_string().contains("Input/output error"), "{error}");
                    }
                    store.close().unwrap_err();
                } else {
                    let merged = store.compact();
                    merged.and_then(|()| store.close()).unwrap_err();
                }
            }
        }
        for mode in AfterCrash::all(4) {
            let found = storage.after_crash(mode);
            let (seen, _) = read(&found).unwrap_or_else(|error| panic!("sync {fail}, {mode:?}: {error}"));
            check_content(&seen, &expected, acknowledged);
            let store = open(&found, &clock, options()).unwrap();
            assert!(append(&store, &clock, &history).1.is_none());
            store.close().unwrap();
            assert_eq!(timeless(&read(&found).unwrap().0), timeless(&expected[history.len()]));
        }
    }
}

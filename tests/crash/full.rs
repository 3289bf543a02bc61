//! The disk is full at every length in turn: what was acknowledged stays readable, and room is enough to go on.

use crate::stop::{check_content, run};
use erstwhile_engine::error::{Error, Misuse};
use erstwhile_engine::io::{FaultyStorage, Plan, Storage};
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::workload::{Facts, append, batches, clock, expected, facts, open, options, timeless};

#[test]
fn a_full_disk_loses_nothing_and_says_what_to_do() {
    let (expected, history) = (expected(), batches());
    let whole = FaultyStorage::new(Plan::default());
    run(&whole, options(), &history);
    let written: u64 =
        whole.ops().iter().filter_map(|op| op.strip_prefix("append ")?.split(' ').next()?.parse::<u64>().ok()).sum();
    let (mut full, mut filled) = (0, 0);
    while full < written {
        let storage = FaultyStorage::new(Plan { full_at: Some(full), ..Plan::default() });
        let clock = clock();
        let (acknowledged, failed) = match open(&storage, &clock, options()) {
            Err(error) => (0, Some(error)),
            Ok(store) => {
                let (acknowledged, failed) = append(&store, &clock, &history);
                let merged = store.compact();
                (acknowledged, failed.or(merged.err()).or(store.close().err()))
            }
        };
        let Some(failed) = failed else {
            break;
        };
        let text = failed.to_string();
        assert!(text.contains("no storage space") && text.contains("open the store again"), "{text}");
        filled += 1;
        let seen = match open_view(&storage, 1 << 20) {
            Ok(view) => facts(&view).unwrap(),
            Err(Error::Misuse(Misuse::NoStore)) => Facts::new(),
            Err(error) => panic!("full at {full}: {error}"),
        };
        check_content(&seen, &expected, acknowledged);
        // Opened again while it is still full, it may refuse, and loses nothing either.
        let _ = open(&storage, &clock, options());
        storage.set_plan(Plan::default());
        let store = open(&storage, &clock, options()).unwrap_or_else(|error| panic!("full at {full}: {error}"));
        assert!(append(&store, &clock, &history).1.is_none());
        store.close().unwrap();
        let view = open_view(&storage, 1 << 20).unwrap();
        assert_eq!(timeless(&facts(&view).unwrap()), timeless(&expected[history.len()]));
        let left = storage.list().unwrap();
        assert!(left.iter().all(|(name, _)| !name.ends_with(".tmp")), "{left:?}");
        full += 79;
    }
    assert!(filled > 100, "{filled}");
}

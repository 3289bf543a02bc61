//! Readers open the store again and again beside a writer that appends, seals and merges: what they see only grows, is
//! made of whole batches, and stays readable whatever the writer removes.

use erstwhile_engine::fact::Batch;
use erstwhile_engine::io::DiskStorage;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::workload::{Facts, append_one, batches, clock, expected, facts, options};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::thread;

#[test]
fn readers_beside_a_writer_see_whole_batches_in_order() {
    let (expected, history) = (expected(), batches());
    for round in 0..8 {
        let directory = tempfile::tempdir().unwrap();
        let options = Options { background: round % 2 == 0, ..options() };
        let acknowledged = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| read_along(directory.path(), &acknowledged, &expected));
            }
            write(directory.path(), options, &history, &acknowledged);
        });
    }
}

fn write(path: &std::path::Path, options: Options, history: &[Batch], acknowledged: &AtomicUsize) {
    let storage = std::sync::Arc::new(DiskStorage::open(path, true).unwrap());
    let clock = clock();
    let given: std::sync::Arc<dyn erstwhile_engine::io::Clock> = std::sync::Arc::new(clock.clone());
    let store = erstwhile_engine::store::Store::open(storage, given, options, "a test").unwrap();
    for batch in history {
        append_one(&store, &clock, batch).unwrap();
        acknowledged.fetch_add(1, SeqCst);
    }
    store.close().unwrap();
    acknowledged.fetch_add(1, SeqCst);
}

fn read_along(path: &std::path::Path, acknowledged: &AtomicUsize, expected: &[Facts]) {
    let storage = DiskStorage::open(path, false).unwrap();
    let mut kept: Vec<(usize, View)> = Vec::new();
    let mut last = 0;
    loop {
        let before = acknowledged.load(SeqCst);
        if before == 0 {
            continue;
        }
        let view = open_view(&storage, 1 << 20).unwrap_or_else(|error| panic!("after {before}: {error}"));
        let found = facts(&view).unwrap();
        let after = acknowledged.load(SeqCst);
        let place = expected.iter().rposition(|expected| *expected == found).expect("whole batches");
        assert!(place >= before.min(expected.len() - 1), "{before} acknowledged, {place} read");
        assert!(expected[..expected.len().min(after + 2)].contains(&found), "{after} acknowledged, {place} read");
        assert!(place >= last, "{last} read before, {place} now");
        last = place;
        kept.push((place, view));
        if before == expected.len() {
            break;
        }
    }
    // Views taken long ago still answer as they did.
    for (place, view) in kept {
        assert!(facts(&view).unwrap() == expected[place]);
    }
}

//! Readers open the store again and again beside a writer that appends, seals and merges: what they see only grows, is
//! made of whole batches, and stays readable whatever the writer removes.

use erstwhile_engine::fact::Batch;
use erstwhile_engine::io::{DiskStorage, Lock, LockError, Mapped, MemoryStorage, Note, Output, Storage};
use erstwhile_engine::options::Options;
use erstwhile_engine::read::view::View;
use erstwhile_engine::store::{Store, open_view};
use erstwhile_tests::support::workload::{Facts, append, append_one, batches, clock, expected, facts, open, options};
use std::io;
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

/// A storage beneath a reader, whose writer seals once at a call of the reader's.
struct Sealing<'s> {
    under: &'s MemoryStorage,
    store: &'s Store,
    calls: AtomicUsize,
    seals_at: usize,
}

impl Sealing<'_> {
    fn call(&self) -> &MemoryStorage {
        if self.calls.fetch_add(1, SeqCst) == self.seals_at {
            self.store.flush().unwrap();
        }
        self.under
    }
}

impl Storage for Sealing<'_> {
    fn create(&self, name: &str) -> io::Result<Box<dyn Output>> {
        self.call().create(name)
    }

    fn map(&self, name: &str) -> io::Result<Mapped> {
        self.call().map(name)
    }

    fn read_from(&self, name: &str, offset: u64) -> io::Result<Vec<u8>> {
        self.call().read_from(name, offset)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.call().rename(from, to)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.call().remove(name)
    }

    fn remove_unpinned(&self, name: &str) -> io::Result<bool> {
        self.call().remove_unpinned(name)
    }

    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        self.call().list()
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.call().sync_dir()
    }

    fn lock(&self, name: &str, holder: &str) -> Result<Box<dyn Lock>, LockError> {
        self.call().lock(name, holder)
    }

    fn lock_holder(&self, name: &str) -> io::Result<Option<String>> {
        self.call().lock_holder(name)
    }

    fn read_note(&self, name: &str) -> io::Result<Option<Note>> {
        self.call().read_note(name)
    }
}

/// What is sealed while a reader opens the store is in a segment that the reader's manifest does not name, and no more in
/// a log: nothing of it may be missed.
#[test]
fn what_is_sealed_while_a_reader_opens_the_store_is_read() {
    let (expected, history) = (expected(), batches());
    for seals_at in 0.. {
        let (under, clock) = (MemoryStorage::new(), clock());
        let store = open(&under, &clock, options()).unwrap();
        assert!(append(&store, &clock, &history[..2]).1.is_none());
        let sealing = Sealing { under: &under, store: &store, calls: AtomicUsize::new(0), seals_at };
        assert!(facts(&open_view(&sealing, 1 << 20).unwrap()).unwrap() == expected[2], "sealed at call {seals_at}");
        if sealing.calls.load(SeqCst) <= seals_at {
            assert!(seals_at > 5, "it is read by several calls");
            return;
        }
    }
}

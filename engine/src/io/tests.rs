use super::*;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory of its own under the system's temporary one, removed on drop.
struct TempDir(PathBuf);

impl TempDir {
    fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        TempDir(std::env::temp_dir().join(format!("erstwhile-io-{}-{number}", std::process::id())))
    }

    fn open(&self) -> DiskStorage {
        DiskStorage::open(&self.0, true).unwrap()
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Each medium, as two handles to one directory.
fn each_medium(test: impl Fn(&dyn Storage, &dyn Storage)) {
    let memory = MemoryStorage::new();
    test(&memory, &memory.clone());
    let faulty = FaultyStorage::new(Plan::default());
    test(&faulty, &faulty.clone());
    let dir = TempDir::new();
    test(&dir.open(), &dir.open());
    let dir = TempDir::new();
    test(&dir.open().without_maps(), &dir.open());
}

fn write(storage: &dyn Storage, name: &str, bytes: &[u8]) -> Box<dyn Output> {
    let mut output = storage.create(name).unwrap();
    output.append(bytes).unwrap();
    output
}

#[test]
fn files_are_written_once_and_grow_at_their_end() {
    each_medium(|writer, reader| {
        let mut output = write(writer, "a", b"one");
        assert_eq!(writer.create("a").err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        let before = reader.map("a").unwrap();
        output.append(b"two").unwrap();
        output.sync().unwrap();
        assert_eq!((&before[..], output.len()), (&b"one"[..], 6), "a map is the file as it was");
        assert_eq!(&reader.map("a").unwrap()[..], b"onetwo");
        assert_eq!(reader.read_from("a", 2).unwrap(), b"etwo");
        assert_eq!(reader.read_from("a", 6).unwrap(), b"");
        assert_eq!(reader.read_from("a", u64::MAX).unwrap(), b"");
        assert_eq!(reader.map("b").unwrap_err().kind(), io::ErrorKind::NotFound);
        write(writer, "empty", b"");
        assert_eq!(&reader.map("empty").unwrap()[..], b"");
    });
}

#[test]
fn names_change_under_open_files() {
    each_medium(|writer, reader| {
        let mut output = write(writer, "new", b"1");
        write(writer, "old", b"old");
        let old = reader.map("old").unwrap();
        writer.rename("new", "old").unwrap();
        output.append(b"2").unwrap();
        writer.sync_dir().unwrap();
        assert_eq!(reader.list().unwrap(), [("old".to_owned(), 2)]);
        assert_eq!((&old[..], &reader.map("old").unwrap()[..]), (&b"old"[..], &b"12"[..]));
        writer.remove("old").unwrap();
        assert_eq!(writer.remove("old").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(writer.rename("old", "new").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(&old[..], b"old");
        for bad in ["", ".", "..", "a/b", "a\\b", "a\0b"] {
            assert_eq!(writer.create(bad).err().unwrap().kind(), io::ErrorKind::InvalidInput, "{bad:?}");
        }
    });
}

#[test]
fn a_pin_holds_until_its_last_clone_goes() {
    each_medium(|writer, reader| {
        for bytes in [&b"x"[..], b""] {
            write(writer, "a", bytes);
            let first = reader.map("a").unwrap();
            let second = first.clone();
            assert!(!writer.remove_unpinned("a").unwrap());
            drop(first);
            assert!(!writer.remove_unpinned("a").unwrap());
            drop(second);
            assert!(writer.remove_unpinned("a").unwrap());
            assert_eq!(writer.remove_unpinned("a").unwrap_err().kind(), io::ErrorKind::NotFound);
        }
    });
}

#[test]
fn two_handles_contend_for_the_lock() {
    each_medium(|one, two| {
        assert_eq!(two.lock_holder("LOCK").unwrap(), None);
        assert_eq!(two.read_note("LOCK").unwrap(), None);
        let lock = one.lock("LOCK", "the first, of long name").unwrap();
        assert_eq!(two.lock_holder("LOCK").unwrap().as_deref(), Some("the first, of long name"));
        match two.lock("LOCK", "the second") {
            Err(LockError::Held { holder }) => assert_eq!(holder, "the first, of long name"),
            other => panic!("{:?}", other.err()),
        }
        assert_eq!(two.read_note("LOCK").unwrap(), None);
        lock.publish(&[7; 32]).unwrap();
        lock.publish(&[0; 32]).unwrap();
        let published = Note { bytes: [0; 32], is_left: false };
        assert_eq!(two.read_note("LOCK").unwrap(), Some(published), "zeros are a note too");
        drop(lock);
        assert_eq!(two.lock_holder("LOCK").unwrap(), None);
        let _lock = two.lock("LOCK", "2").unwrap();
        assert_eq!(one.lock_holder("LOCK").unwrap().as_deref(), Some("2"));
        let left = Note { is_left: true, ..published };
        assert_eq!(one.read_note("LOCK").unwrap(), Some(left), "what the last holder said still holds");
    });
}

/// A reader that asks who writes must not make a starting writer believe that someone does.
#[test]
fn asking_for_the_holder_does_not_keep_a_writer_out() {
    let dir = TempDir::new();
    let storage = dir.open();
    drop(storage.lock("LOCK", "before").unwrap());
    let done = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) == 0 {
                    storage.lock_holder("LOCK").unwrap();
                }
            });
        }
        let refused = (0..20).filter(|_| storage.lock("LOCK", "writer").is_err()).count();
        done.store(1, Ordering::Relaxed);
        assert_eq!(refused, 0);
    });
}

#[test]
fn a_note_is_read_whole_while_it_changes() {
    let dir = TempDir::new();
    let storage = dir.open();
    let lock = storage.lock("LOCK", "writer").unwrap();
    lock.publish(&[0; 32]).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..2000 {
                if let Some(note) = storage.read_note("LOCK").unwrap() {
                    assert!(note.bytes.iter().all(|byte| *byte == note.bytes[0]) && !note.is_left, "{note:?}");
                }
            }
        });
        for i in 0..20_000u32 {
            lock.publish(&[i as u8; 32]).unwrap();
        }
        reader.join().unwrap();
    });
}

#[test]
fn maps_and_their_safe_twin_agree() {
    let dir = TempDir::new();
    let (maps, twin) = (dir.open(), dir.open().without_maps());
    for len in [0, 1, 4095, 4096, 4097, 100_000] {
        let bytes: Vec<u8> = (0..len).map(|i: u32| i.wrapping_mul(31) as u8).collect();
        let name = len.to_string();
        write(&maps, &name, &bytes);
        assert_eq!(maps.map(&name).unwrap()[..], bytes[..]);
        assert_eq!(twin.map(&name).unwrap()[..], bytes[..]);
    }
}

#[test]
fn a_directory_is_made_only_when_asked_for() {
    let dir = TempDir::new();
    assert_eq!(DiskStorage::open(&dir.0, false).unwrap_err().kind(), io::ErrorKind::NotFound);
    let deep = DiskStorage::open(dir.0.join("a/b"), true).unwrap();
    write(&deep, "x", b"");
    std::fs::create_dir(deep.path().join("sub")).unwrap();
    assert_eq!(deep.list().unwrap(), [("x".to_owned(), 0)], "directories are not files");
    let not_a_dir = DiskStorage::open(deep.path().join("x"), true);
    assert!(not_a_dir.is_err());
}

/// Creates `a`, syncs it, appends more, makes it known under its name.
fn script(storage: &FaultyStorage) -> io::Result<()> {
    let mut output = storage.create("tmp")?;
    output.append(b"durable")?;
    output.sync()?;
    output.append(b"live")?;
    storage.rename("tmp", "a")?;
    storage.sync_dir()
}

fn found(storage: &FaultyStorage, bytes: Unsynced, names: Unsynced) -> Vec<(String, String)> {
    let files = storage.after_crash(AfterCrash { bytes, names }).files();
    files.into_iter().map(|(name, bytes)| (name, String::from_utf8(bytes).unwrap())).collect()
}

fn one(name: &str, bytes: &str) -> Vec<(String, String)> {
    vec![(name.to_owned(), bytes.to_owned())]
}

#[test]
fn only_what_was_synced_survives_a_loss_of_power() {
    use Unsynced::{Kept, Lost};
    let storage = FaultyStorage::new(Plan::default());
    script(&storage).unwrap();
    assert_eq!(
        storage.ops(),
        [
            "create tmp",
            "append 7 bytes to tmp at 0",
            "sync tmp",
            "append 4 bytes to tmp at 7",
            "rename tmp to a",
            "sync directory"
        ]
    );
    assert_eq!((storage.op_count(), storage.sync_count()), (6, 2));
    assert_eq!(found(&storage, Lost, Lost), one("a", "durable"));
    assert_eq!(found(&storage, Kept, Lost), one("a", "durablelive"));

    storage.rename("a", "b").unwrap();
    storage.create("c").unwrap();
    assert_eq!(found(&storage, Lost, Lost), one("a", "durable"));
    assert_eq!(found(&storage, Lost, Kept), [one("b", "durable"), one("c", "")].concat());
    storage.remove("b").unwrap();
    assert_eq!(found(&storage, Lost, Lost), one("a", "durable"), "a removal is lost too");
}

#[test]
fn a_stop_ends_everything() {
    use Unsynced::{Kept, Lost};
    for stop in 0..6 {
        let storage = FaultyStorage::new(Plan { crash_at: Some(stop), torn: 2, ..Plan::default() });
        let error = script(&storage).unwrap_err();
        assert!(Crashed::is(&error) && storage.has_crashed(), "{error}");
        assert!(Crashed::is(&storage.list().unwrap_err()) && Crashed::is(&storage.sync_dir().unwrap_err()));
        assert_eq!(storage.op_count(), stop + 1);
        let kept = [vec![], one("tmp", "du"), one("tmp", "durable"), one("tmp", "durableli")];
        let expected = kept.get(stop as usize).cloned();
        let named = if stop == 4 { "tmp" } else { "a" };
        assert_eq!(found(&storage, Kept, Kept), expected.unwrap_or_else(|| one(named, "durablelive")), "{stop}");
        assert_eq!(found(&storage, Lost, Lost), [], "{stop}: no name was durable");
    }
}

#[test]
fn partly_kept_is_seeded_and_never_touches_what_is_durable() {
    let storage = FaultyStorage::new(Plan::default());
    let mut output = storage.create("a").unwrap();
    output.append(&[1; 700]).unwrap();
    output.sync().unwrap();
    storage.sync_dir().unwrap();
    output.append(&[2; 5000]).unwrap();
    let (mut lengths, mut holes) = (std::collections::BTreeSet::new(), 0);
    for seed in 0..64 {
        let mode = AfterCrash { bytes: Unsynced::Partly(seed), names: Unsynced::Lost };
        let bytes = storage.after_crash(mode).files().remove("a").unwrap();
        assert_eq!(storage.after_crash(mode).files()["a"], bytes);
        assert!(bytes[..700] == [1; 700] && bytes[700..].iter().all(|byte| [0, 2].contains(byte)));
        lengths.insert(bytes.len());
        holes += u32::from(bytes.contains(&0));
    }
    assert!(lengths.len() > 32 && (16..48).contains(&holes), "{} lengths, {holes} with holes", lengths.len());
}

/// Linux drops the pages that a failed sync could not write; the next sync then "succeeds". A store that tries the sync
/// again must lose data here, so that its tests see it.
#[test]
fn a_failed_sync_loses_its_bytes_for_good() {
    let storage = FaultyStorage::new(Plan { fail_sync: Some(2), ..Plan::default() });
    let mut output = storage.create("a").unwrap();
    storage.sync_dir().unwrap();
    output.append(b"ab").unwrap();
    output.sync().unwrap();
    output.append(b"cd").unwrap();
    assert_eq!(output.sync().unwrap_err().raw_os_error(), Some(5));
    output.append(b"ef").unwrap();
    output.sync().unwrap();
    assert_eq!(&storage.map("a").unwrap()[..], b"abcdef", "the page cache still shows them");
    assert_eq!(found(&storage, Unsynced::Lost, Unsynced::Lost), one("a", "ab\0\0ef"));
}

#[test]
fn a_full_disk_keeps_what_fits_and_recovers() {
    let storage = FaultyStorage::new(Plan { full_at: Some(5), ..Plan::default() });
    write(&storage, "a", b"abc");
    let mut output = storage.create("b").unwrap();
    assert_eq!(output.append(b"def").unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!((output.len(), storage.read_from("b", 0).unwrap()), (2, b"de".to_vec()));
    output.sync().unwrap();
    storage.remove("a").unwrap();
    output.append(b"fgh").unwrap();
    assert!(output.append(b"i").is_err());
    storage.set_plan(Plan::default());
    output.append(b"i").unwrap();
}

#[test]
fn a_restart_can_crash_again() {
    let first = FaultyStorage::new(Plan { crash_at: Some(6), ..Plan::default() });
    let _lock = first.lock("LOCK", "first").unwrap();
    assert!(script(&first).is_err());
    let found_first = first.after_crash(AfterCrash::PROCESS_DIED);
    let second = FaultyStorage::over(&found_first, Plan { crash_at: Some(1), ..Plan::default() });
    let _lock = second.lock("LOCK", "second").expect("the lock died with the process");
    assert!(second.remove("a").is_err());
    assert_eq!(second.after_crash(AfterCrash::POWER_LOST).files()["a"], b"durablelive");
    assert_eq!(AfterCrash::all(5).len(), 9);
}

#[test]
fn clocks() {
    let clock = ManualClock::new(5);
    let shared: Arc<dyn Clock> = Arc::new(clock.clone());
    clock.advance(2);
    assert_eq!((shared.now_micros(), shared.monotonic_nanos()), (7, 2000));
    clock.set(-3);
    assert_eq!((shared.now_micros(), shared.monotonic_nanos()), (-3, 2000), "the wall clock may go back");
    let system = SystemClock::new();
    let before = system.monotonic_nanos();
    assert!(system.now_micros() > 1_600_000_000_000_000 && system.monotonic_nanos() >= before);
}

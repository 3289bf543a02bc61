//! A store of everything that there is (a merged segment, young ones, a manifest with edits, a log with records), damaged
//! in one place at a time: every byte of every file. And a store that is one merged segment, where answers come from runs
//! and indexes and not from what was delivered.

use crate::stores::{self, BATCHES, Files, MERGED_BATCHES, options};
use erstwhile_engine::error::{Error, Misuse, Structure};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{MemoryStorage, Storage};
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::segment::cache::Cache;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::workload::{self, Facts, answers, clock, facts, open};

/// A store of which everything was merged, and what it answers.
fn merged() -> (Good, String) {
    let files = stores::merged();
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
    let (facts, answers) = (facts(&view).unwrap(), answers(&view).unwrap());
    assert_eq!(facts, workload::expected()[MERGED_BATCHES]);
    (Good { files, facts }, answers)
}

/// What readers get.
fn read(found: &MemoryStorage) -> Result<Facts, Error> {
    let view = open_view(found, 1 << 20)?;
    view.hosts(view.bound(None), &mut Cost::default())?;
    for segment in view.segments() {
        segment.commits()?;
        for reader in segment.tables() {
            let reader = reader?;
            for (column, _) in &reader.directory.indexes {
                reader.index(column, &Cache::new(0), &mut Cost::default())?;
            }
            for stream in reader.directory.records().filter(|stream| stream.is_resolved()) {
                reader.run(&stream, None).each_entry(&mut Cost::default(), |_, _| Ok(()))?;
            }
        }
    }
    facts(&view)
}

/// The undamaged store and what it holds.
struct Good {
    files: Files,
    facts: Facts,
}

impl Good {
    fn new() -> Good {
        let files = stores::at_work(0);
        let facts = read(&MemoryStorage::with_files(files.clone())).unwrap();
        assert_eq!(facts, workload::expected()[BATCHES]);
        Good { files, facts }
    }

    /// Puts `bytes` in place of the file and reads; tells whether the damage was noticed.
    fn read_with(&self, name: &str, bytes: Option<Vec<u8>>) -> bool {
        self.use_with(name, bytes, true)
    }

    /// The same; whether to open for writing too, which is slow, is up to the caller.
    fn use_with(&self, name: &str, bytes: Option<Vec<u8>>, write: bool) -> bool {
        let mut files = self.files.clone();
        match bytes {
            Some(bytes) => files.insert(name.to_owned(), bytes),
            None => files.remove(name),
        };
        let noticed = self.right_or_error(name, &files, read(&MemoryStorage::with_files(files.clone())));
        if !write {
            return noticed;
        }
        // Who opens to write is told the same, before anything is changed, as often as it is tried.
        let found = MemoryStorage::with_files(files.clone());
        let note = |found: &MemoryStorage| found.read_note(names::LOCK).unwrap().map(|note| note.bytes);
        let before = note(&found);
        match open(&found, &clock(), options()) {
            Ok(store) => {
                self.right_or_error(name, &files, facts(&store.view()));
            }
            Err(error) => {
                let told = error.to_string();
                self.right_or_error(name, &files, Err(error));
                let after = found.files();
                let kept = |(name, bytes): (&String, &Vec<u8>)| after.get(name) == Some(bytes);
                if name.ends_with(".segment") {
                    // Logs may have been sealed before a merge met the damage.
                    assert!(
                        files.iter().filter(|(name, _)| name.ends_with(".segment")).all(kept),
                        "{:?}",
                        after.keys()
                    );
                } else {
                    assert!(files.iter().filter(|(name, _)| *name != names::LOCK).all(kept), "{:?}", after.keys());
                    assert_eq!(note(&found), before, "how much was durable is forgotten");
                    let again = open(&found, &clock(), options()).err().map(|error| error.to_string());
                    assert_eq!(again, Some(told), "refused once only");
                }
            }
        }
        noticed
    }

    fn right_or_error(&self, name: &str, files: &Files, result: Result<Facts, Error>) -> bool {
        match result {
            Ok(facts) => {
                assert!(facts == self.facts, "a wrong row");
                false
            }
            Err(Error::Corrupt(corrupt)) => {
                // Damage of what names files may show at the files that it should name.
                let names_files = [names::CURRENT, names::LOCK].contains(&name) || name.ends_with(".manifest");
                assert!(corrupt.file == name || names_files, "{corrupt}");
                assert!(names::parse(&corrupt.file).is_some() || corrupt.file == names::CURRENT, "{corrupt}");
                let size = files.get(&corrupt.file).map_or(0, |bytes| bytes.len() as u64);
                assert!(corrupt.offset <= size || corrupt.structure != Structure::File, "{corrupt}");
                let text = Error::from(corrupt).to_string();
                assert!(text.contains(" at byte ") && text.contains("erstwhile fsck"), "{text}");
                true
            }
            Err(Error::Version(gap)) => {
                assert_eq!(gap.file, name);
                true
            }
            // A directory without CURRENT, log and segment holds no store; here there are always some.
            Err(Error::Misuse(Misuse::NoStore)) => panic!("the store is not seen"),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Says which case fails, when one does.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.0);
        }
    }
}

#[test]
fn a_flipped_byte_gives_right_rows_or_an_error_that_says_where() {
    let good = Good::new();
    for (name, bytes) in &good.files {
        let (mut flips, mut noticed) = (0, 0);
        for at in 0..bytes.len() {
            for flip in [0xff, 1 << (at % 8)] {
                let _case = Case(format!("{name}: byte {at} xor {flip:#x}"));
                let mut damaged = bytes.clone();
                damaged[at] ^= flip;
                flips += 1;
                let write = at % 8 == 0 || bytes.len() < 100;
                noticed += u32::from(good.use_with(name, Some(damaged), write));
            }
        }
        // No byte of a file is spare; of the lock only the note counts, and it only ever adds to what the log proves.
        if name != names::LOCK {
            assert_eq!(noticed, flips, "{name}: every flip is noticed by who reads everything");
        }
    }
}

#[test]
fn a_flipped_byte_of_a_merged_store_gives_right_answers_or_an_error_that_says_where() {
    let (good, right) = merged();
    for (name, bytes) in &good.files {
        for (at, flip) in (0..bytes.len()).flat_map(|at| [(at, 0xff), (at, 1 << (at % 8))]) {
            let _case = Case(format!("{name}: byte {at} xor {flip:#x}"));
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            let mut files = good.files.clone();
            files.insert(name.clone(), damaged.clone());
            let found = MemoryStorage::with_files(files.clone());
            match open_view(&found, 1 << 20).and_then(|view| answers(&view)) {
                Ok(answers) => assert!(answers == right, "a wrong answer"),
                Err(error) => assert!(good.right_or_error(name, &files, Err(error))),
            }
            let noticed = good.use_with(name, Some(damaged), false);
            assert!(noticed || name == names::LOCK, "noticed by who reads everything");
        }
    }
}

/// Rows and parts that are listed.
#[test]
fn a_flipped_byte_of_what_was_sealed_in_haste_gives_right_rows_or_an_error_that_says_where() {
    let files = stores::hasty();
    let facts = read(&MemoryStorage::with_files(files.clone())).unwrap();
    assert_eq!(facts, workload::expected()[MERGED_BATCHES]);
    let good = Good { files, facts };
    for (name, bytes) in good.files.iter().filter(|(name, _)| name.ends_with(".segment")) {
        for (at, flip) in (0..bytes.len()).flat_map(|at| [(at, 0xff), (at, 1 << (at % 8))]) {
            let _case = Case(format!("{name}: byte {at} xor {flip:#x}"));
            let mut damaged = bytes.clone();
            damaged[at] ^= flip;
            assert!(good.use_with(name, Some(damaged), false), "noticed by who reads everything");
        }
    }
}

/// Of one view, with what it remembers of the first time.
#[test]
fn damage_is_told_every_time() {
    for files in [stores::at_work(0), stores::merged(), stores::hasty()] {
        for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".segment")) {
            for at in (0..bytes.len()).step_by(3) {
                let _case = Case(format!("{name}: byte {at}"));
                let mut damaged = files.clone();
                damaged.entry(name.clone()).and_modify(|bytes| bytes[at] ^= 1 << (at % 8));
                let Ok(view) = open_view(&MemoryStorage::with_files(damaged), 1 << 20) else { continue };
                if let Err(first) = facts(&view) {
                    assert_eq!(facts(&view).map(drop).map_err(|error| error.to_string()), Err(first.to_string()));
                }
            }
        }
    }
}

#[test]
fn a_cut_file_gives_right_rows_or_an_error_that_says_where() {
    let good = Good::new();
    for (name, bytes) in &good.files {
        for len in 0..bytes.len() {
            let _case = Case(format!("{name}: cut to {len} bytes"));
            let noticed = good.use_with(name, Some(bytes[..len].to_vec()), len % 8 == 0 || bytes.len() < 100);
            assert!(noticed || name == names::LOCK);
        }
    }
}

#[test]
fn a_file_that_grew_gives_right_rows_or_an_error_that_says_where() {
    let good = Good::new();
    for (name, bytes) in &good.files {
        for tail in [vec![0; 1], vec![0; 4096], vec![0xa5; 100], bytes.clone()] {
            let _case = Case(format!("{name}: {} bytes more", tail.len()));
            good.read_with(name, Some([&bytes[..], &tail].concat()));
        }
    }
}

#[test]
fn a_file_in_the_place_of_another_is_noticed() {
    let good = Good::new();
    for (name, bytes) in &good.files {
        for (other, theirs) in &good.files {
            if bytes != theirs {
                let _case = Case(format!("{other} in the place of {name}"));
                assert!(good.read_with(name, Some(theirs.clone())) || name == names::LOCK);
            }
        }
        let _case = Case(format!("{name} is gone"));
        assert!(good.read_with(name, None) || name == names::LOCK);
    }
}

#[test]
fn a_file_of_another_store_is_noticed() {
    let good = Good::new();
    let others = stores::at_work(7);
    assert_eq!(good.files.keys().collect::<Vec<_>>(), others.keys().collect::<Vec<_>>());
    for (name, theirs) in &others {
        let _case = Case(format!("another store's {name}"));
        let noticed = good.read_with(name, Some(theirs.clone()));
        // Both stores name the same manifest, and their logs are of one length.
        assert!(noticed || [names::CURRENT, names::LOCK].contains(&name.as_str()));
    }
}

/// An older copy of the manifest, as a backup might bring it back, lacks what came since.
#[test]
fn an_older_manifest_is_noticed() {
    let good = Good::new();
    let (name, bytes) = good.files.iter().find(|(name, _)| name.ends_with(".manifest")).unwrap();
    let mut ends = Vec::new();
    let id = erstwhile_engine::format::frame::FileHeader::decode(bytes).unwrap().id;
    let mut at = erstwhile_engine::format::frame::HEADER_BYTES as u64;
    while at < bytes.len() as u64 {
        at = erstwhile_engine::format::frame::read_frame(&bytes[at as usize..], &id, at).unwrap().end;
        ends.push(at as usize);
    }
    assert!(ends.len() > 4, "a snapshot and several edits");
    for end in &ends[..ends.len() - 1] {
        let _case = Case(format!("{name}: whole frames up to byte {end}"));
        assert!(good.read_with(name, Some(bytes[..*end].to_vec())));
    }
}

/// A store that was closed well, whose manifest's last edit, which is the last seal, came to harm: that looks like an edit that
/// never was, and only how far the log was written, which the lock tells, shows that it is missing.
#[test]
fn a_seal_that_came_to_harm_is_missed_at_each_opening() {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let store = open(&storage, &clock, options()).unwrap();
    assert!(workload::append(&store, &clock, &workload::batches()[..2]).1.is_none());
    store.close().unwrap();
    let mut files = storage.files();
    assert!(!files.keys().any(|name| name.ends_with(".log")));
    let manifest = files.iter_mut().find(|(name, _)| name.ends_with(".manifest")).map(|(_, bytes)| bytes);
    *manifest.unwrap().last_mut().unwrap() ^= 1;
    let found = MemoryStorage::with_files(files.clone());
    for _ in 0..3 {
        let error = open(&found, &clock, options()).err().expect("a segment is missing");
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
        let segments = |files: &Files| files.keys().filter(|name| name.ends_with(".segment")).count();
        assert_eq!((segments(&found.files()), found.files().len()), (segments(&files), files.len()));
    }
}

/// A newer program wrote the file: nothing is damaged, and the error says which versions are read.
#[test]
fn a_future_version_is_refused_by_name() {
    let good = Good::new();
    for (name, bytes) in good.files.iter().filter(|(name, _)| names::parse(name).is_some()) {
        let _case = Case(name.clone());
        let damaged = stores::of_version(bytes, 9);
        let mut files = good.files.clone();
        files.insert(name.clone(), damaged);
        let error = read(&MemoryStorage::with_files(files)).unwrap_err();
        assert!(matches!(&error, Error::Version(gap) if gap.file == *name && gap.found == 9), "{error}");
        assert!(error.to_string().contains("open the store with a newer erstwhile"), "{error}");
    }
}

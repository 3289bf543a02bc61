//! Small stores, whole and damaged in every byte.

use super::{Around, Finding, Item, Options, Value, inspect, inspect_store};
use crate::error::Fault;
use crate::fact::{Batch, Delivery, Inferred, Kind, Name, StreamKey};
use crate::format::frame::{FRAME_HEADER_BYTES, HEADER_BYTES};
use crate::format::names;
use crate::io::{ManualClock, MemoryStorage, Storage};
use crate::manifest::ManifestFile;
use crate::options;
use crate::row::{Row, RowBuilder};
use crate::store::Store;
use proptest::prelude::*;
use std::io;
use std::sync::Arc;

const STORE: [u8; 16] = *b"sixteen bytes id";

fn row(uid: &str) -> Row {
    let mut builder = RowBuilder::new();
    builder.column(b"uid", uid.as_bytes());
    builder.row()
}

fn delivery(host: &str, second: i64, counter: u64, added: &[&str]) -> Delivery {
    let stream = StreamKey {
        table: Name::from(&b"users"[..]),
        host: Name::from(host.as_bytes()),
        name: Name::from(&b"pack/users"[..]),
        kind: Kind::Diff,
        sightings: false,
    };
    Delivery {
        stream: Arc::new(stream),
        epoch: 5,
        counter: Some(counter),
        second,
        whole: true,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: added.iter().map(|uid| (row(uid), 1)).collect(),
    }
}

/// A store with a segment of two streams, a log with two batches, and its lock's note.
fn store() -> MemoryStorage {
    let storage = MemoryStorage::new();
    let shared: Arc<dyn Storage> = Arc::new(storage.clone());
    let clock = Arc::new(ManualClock::new(1_545_645_600_000_000));
    ManifestFile::create_new(shared.clone(), clock.clone(), STORE).unwrap();
    let options = options::Options { background: false, ..options::Options::default() };
    let store = Store::open(shared, clock.clone(), options, "a test").unwrap();
    let append = |deliveries: Vec<Delivery>| {
        clock.advance(1_000_000);
        store.append(Batch { producer: 0, sequence: 1, digest: 0, deliveries }, None).unwrap();
    };
    append(vec![delivery("a", 1000, 0, &["0", "1"]), delivery("b", 1000, 0, &["0"])]);
    append(vec![delivery("a", 1010, 1, &["2"])]);
    store.flush().unwrap();
    append(vec![delivery("a", 1020, 2, &["3"])]);
    append(vec![delivery("a", 1030, 3, &["4"])]);
    let files = storage.files();
    MemoryStorage::with_files(files)
}

/// An item without its borrowed name.
#[derive(Debug)]
struct Seen {
    file: String,
    offset: u64,
    bytes: u64,
    depth: u8,
    structure: &'static str,
    fields: Vec<(&'static str, Value)>,
    finding: Option<Finding>,
}

impl Seen {
    fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }
}

fn keep(seen: &mut Vec<Seen>) -> impl FnMut(&Item<'_>) -> io::Result<()> {
    |item| {
        let Item { file, offset, bytes, depth, structure, fields, finding } = item.clone();
        seen.push(Seen { file: file.to_owned(), offset, bytes, depth, structure, fields, finding });
        Ok(())
    }
}

fn all(storage: &MemoryStorage) -> Vec<Seen> {
    let before = storage.files();
    let mut seen = Vec::new();
    inspect_store(storage, Options::default(), &mut keep(&mut seen)).unwrap();
    assert!(storage.files() == before, "nothing is written");
    seen
}

fn one(storage: &MemoryStorage, name: &str) -> Vec<Seen> {
    let (mut seen, around) = (Vec::new(), Around::of(storage));
    let bytes = storage.read_from(name, 0).unwrap();
    inspect(name, &bytes, &around, Options::default(), &mut keep(&mut seen)).unwrap();
    seen
}

/// Each byte of the file is in exactly one item of depth 0.
fn check_tiles(seen: &[Seen], len: usize) {
    let mut at = 0;
    for item in seen.iter().filter(|item| item.depth == 0) {
        assert_eq!(item.offset, at, "{item:?}");
        at += item.bytes;
    }
    assert_eq!(at, len as u64);
}

fn name_of(storage: &MemoryStorage, extension: &str) -> String {
    storage.files().into_keys().find(|name| name.ends_with(extension)).unwrap()
}

fn findings(seen: &[Seen]) -> Vec<&Finding> {
    seen.iter().filter_map(|item| item.finding.as_ref()).collect()
}

/// The same store with one file's bytes changed.
fn changed(storage: &MemoryStorage, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> MemoryStorage {
    let mut files = storage.files();
    change(files.get_mut(name).unwrap());
    MemoryStorage::with_files(files)
}

#[test]
fn a_whole_store_is_shown_in_order_and_without_findings() {
    let storage = store();
    let seen = all(&storage);
    assert!(findings(&seen).is_empty(), "{seen:#?}");
    let mut files: Vec<&str> = seen.iter().map(|item| &*item.file).collect();
    files.dedup();
    let [manifest, segment, log] = ["manifest", "segment", "log"].map(|end| name_of(&storage, end));
    assert_eq!(files, [names::CURRENT, &manifest, &segment, &log, names::LOCK]);
    for (name, bytes) in storage.files() {
        check_tiles(&one(&storage, &name), bytes.len());
    }
    let has = |file: &str, structure: &str| seen.iter().filter(|i| i.file == file && i.structure == structure).count();
    assert_eq!((has(&log, "batch"), has(&log, "delivery"), has(&log, "row")), (2, 2, 2));
    assert_eq!((has(&segment, "block of rows"), has(&segment, "piece of a stream")), (1, 2));
    assert_eq!((has(&segment, "part"), has(&segment, "stream"), has(&segment, "segment footer")), (3, 2, 1));
    assert_eq!((has(&manifest, "segment"), has(&manifest, "stream"), has(&manifest, "state")), (1, 2, 1));
    assert_eq!(has(names::LOCK, "lock holder"), 1);
}

/// A checksum covers every byte of every file but those of `LOCK` that say nothing.
#[test]
fn every_flipped_byte_is_reported() {
    let storage = store();
    for (name, bytes) in storage.files() {
        for at in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let storage = changed(&storage, &name, |bytes| bytes[at] ^= flip);
                let seen = one(&storage, &name);
                check_tiles(&seen, bytes.len());
                assert!(!findings(&seen).is_empty(), "{name} {at} {flip}: {seen:#?}");
            }
        }
    }
}

/// Cut anywhere, a file is shown as far as it goes; the whole store is asked, so that what others say is known.
#[test]
fn every_cut_is_shown_and_reported() {
    let storage = store();
    for (name, bytes) in storage.files() {
        let whole = one(&storage, &name);
        for len in 0..bytes.len() {
            let storage = changed(&storage, &name, |bytes| bytes.truncate(len));
            check_tiles(&one(&storage, &name), len);
            let seen = all(&storage);
            // A lock file without its last words, or a manifest without its last edits, is as it was before these.
            let is_earlier = name == names::LOCK
                || name.ends_with("manifest") && whole.iter().skip(2).any(|item| item.offset == len as u64);
            assert!(is_earlier || !findings(&seen).is_empty(), "{name} {len}: {seen:#?}");
        }
    }
}

#[test]
fn after_a_damaged_batch_the_next_is_shown() {
    let storage = store();
    let log = name_of(&storage, "log");
    let whole = one(&storage, &log);
    let batches: Vec<_> = whole.iter().filter(|item| item.structure == "batch").collect();
    let (first, second) = (batches[0], batches[1]);
    // The length is gone too: nothing but the search finds the next.
    let damaged = changed(&storage, &log, |bytes| bytes[first.offset as usize..][..4].fill(0xee));
    let seen = one(&damaged, &log);
    let [bad] = &seen.iter().filter(|item| item.finding.is_some()).collect::<Vec<_>>()[..] else { panic!("{seen:#?}") };
    assert_eq!((bad.offset, bad.bytes, bad.structure), (first.offset, first.bytes, "frame"));
    assert_eq!(bad.field("says_type"), Some(&Value::Word("batch")));
    let digest = whole.iter().rfind(|item| item.structure == "digest").unwrap();
    assert_eq!(bad.field("goes_on_at"), Some(&Value::Number(digest.offset)));
    assert_eq!(digest.offset + digest.bytes, second.offset);
    assert!(matches!(bad.finding, Some(Finding::Damage(Fault::Code(crate::codec::Fault::Length { .. })))));
    let next = seen.iter().find(|item| item.structure == "batch").unwrap();
    assert_eq!((next.offset, &next.fields), (second.offset, &second.fields));
}

/// What no sync covered is torn; the writer's note, or a later log, makes it damage.
#[test]
fn a_torn_end_is_told_from_damage() {
    let storage = store();
    let log = name_of(&storage, "log");
    let cut = changed(&storage, &log, |bytes| bytes.truncate(bytes.len() - 1));
    let word = |storage: &MemoryStorage| {
        let seen = one(storage, &log);
        findings(&seen).iter().map(|finding| finding.word()).collect::<Vec<_>>()
    };
    assert_eq!(word(&cut), ["damage", "damage"], "the frame, and the end before what was durable");
    let mut files = cut.files();
    files.remove(names::LOCK);
    let without_note = MemoryStorage::with_files(files.clone());
    assert_eq!(word(&without_note), ["torn"]);
    let later = crate::log::LogWriter::create(
        &without_note,
        STORE,
        99,
        None,
        Arc::new(ManualClock::new(0)),
        crate::log::SyncMode::Always,
    );
    drop(later.unwrap());
    assert_eq!(word(&without_note), ["damage"]);
}

#[test]
fn a_damaged_header_hides_no_frame() {
    let storage = store();
    for extension in ["log", "segment", "manifest"] {
        let name = name_of(&storage, extension);
        let whole = one(&storage, &name).len();
        for at in [0, 9, 10, 17, 33, 62] {
            let seen = one(&changed(&storage, &name, |bytes| bytes[at] ^= 0x40), &name);
            assert_eq!(seen.len(), whole, "{name} {at}");
            assert_eq!(findings(&seen).len(), 1, "{name} {at}");
        }
        // Even by another name, among other files.
        let bytes = storage.files()[&name].clone();
        let (mut seen, nothing) = (Vec::new(), Around::default());
        inspect("evidence.bin", &bytes, &nothing, Options::default(), &mut keep(&mut seen)).unwrap();
        assert!(findings(&seen).is_empty() && seen.len() + 1 >= whole, "{seen:#?}");
    }
}

#[test]
fn a_file_of_another_store_or_number_is_shown_as_what_it_is() {
    let (storage, other) = (store(), MemoryStorage::new());
    let clock = Arc::new(ManualClock::new(7));
    ManifestFile::create_new(Arc::new(other.clone()), clock, *b"another store id").unwrap();
    let segment = name_of(&storage, "segment");
    other.put(&segment, storage.files()[&segment].clone());
    let seen = one(&other, &segment);
    assert_eq!(findings(&seen), [&Finding::Damage(Fault::Foreign { what: "store" })]);
    assert_eq!(seen.iter().filter(|item| item.structure == "part").count(), 3);
    other.put("0000000077.segment", storage.files()[&segment].clone());
    let seen = one(&other, "0000000077.segment");
    assert_eq!(findings(&seen)[0], &Finding::Damage(Fault::Foreign { what: "file number" }));
    assert_eq!(seen.iter().filter(|item| item.structure == "part").count(), 3);
}

/// Without footer and directories the pieces still decode, and the directory says what is lost with a piece.
#[test]
fn each_part_of_a_segment_is_shown_without_the_others() {
    let storage = store();
    let segment = name_of(&storage, "segment");
    let whole = one(&storage, &segment);
    for lost in ["block of rows", "piece of a stream", "table directory", "segment footer", "segment trailer"] {
        let item = whole.iter().find(|item| item.structure == lost).unwrap();
        let damaged = changed(&storage, &segment, |bytes| bytes[(item.offset + item.bytes) as usize - 5] ^= 1);
        let seen = one(&damaged, &segment);
        assert_eq!(findings(&seen).len(), 1, "{lost}: {seen:#?}");
        let count = |structure: &str| seen.iter().filter(|item| item.structure == structure).count();
        let gone = usize::from(lost == "piece of a stream");
        assert_eq!(count("piece of a stream"), 2 - gone, "{lost}");
        assert_eq!(count("table directory"), usize::from(lost != "table directory"));
        assert_eq!(seen.iter().filter(|item| item.field("lost_parts").is_some()).count(), gone);
        assert_eq!(
            seen.iter().filter(|item| item.field("lost").is_some()).count(),
            usize::from(lost == "block of rows")
        );
    }
}

#[test]
fn what_is_missing_is_named() {
    let storage = store();
    for name in [name_of(&storage, "segment"), name_of(&storage, "manifest"), names::CURRENT.to_owned()] {
        let mut files = storage.files();
        files.remove(&name);
        let seen = all(&MemoryStorage::with_files(files));
        let missing: Vec<&str> = seen.iter().filter(|item| item.structure == "file").map(|item| &*item.file).collect();
        assert_eq!(missing, [&*name]);
        assert_eq!(findings(&seen)[0], &Finding::Damage(Fault::Missing));
    }
    let seen = all(&MemoryStorage::new());
    assert!(seen.is_empty());
    storage.put("notes.txt", b"not ours".to_vec());
    let seen = all(&storage);
    assert_eq!(seen.last().unwrap().field("of_the_store"), Some(&Value::Flag(false)));
    assert!(findings(&seen).is_empty());
}

/// Bytes that look like long frames everywhere must not take the square of their length.
#[test]
fn a_search_among_lookalikes_ends() {
    let mut bytes = vec![0; HEADER_BYTES];
    let lookalike = [0, 0, 0x10, 0, 0x02, 0, 0, 0];
    bytes.extend(lookalike.iter().cycle().take(4 << 20));
    let mut seen = Vec::new();
    inspect("0000000001.log", &bytes, &Around::default(), Options::default(), &mut keep(&mut seen)).unwrap();
    check_tiles(&seen, bytes.len());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), which in 0usize..7) {
        let name = ["0000000001.log", "0000000001.segment", "0000000001.manifest", "CURRENT", "CURRENT.new", "LOCK", "x"];
        let mut seen = Vec::new();
        inspect(name[which], &bytes, &Around::default(), Options::default(), &mut keep(&mut seen)).unwrap();
        check_tiles(&seen, bytes.len());
    }

    /// Several changes at once; with `mend` the frames around them verify again, so that decoders see the changes.
    #[test]
    fn changed_files_never_panic(
        file in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
        mend: bool,
    ) {
        let storage = store();
        let files = storage.files();
        let name = files.keys().nth(file.index(files.len())).unwrap();
        let mut bytes = files[name].clone();
        let frames: Vec<(usize, usize)> = one(&storage, name)
            .iter()
            .filter(|item| item.depth == 0 && item.offset >= HEADER_BYTES as u64 && item.bytes > 16)
            .map(|item| (item.offset as usize, item.bytes as usize))
            .collect();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        if mend && name.contains('.') {
            for (at, len) in frames {
                mend_frame(&mut bytes, name, at, len);
            }
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        let len = bytes.len();
        let storage = changed(&storage, name, |old| *old = bytes);
        check_tiles(&one(&storage, name), len);
        all(&storage);
    }
}

/// Makes a frame verify again if its header is as it was.
fn mend_frame(bytes: &mut [u8], name: &str, at: usize, len: usize) {
    let Some((_, number)) = names::parse(name) else {
        return;
    };
    let frame = &mut bytes[at..at + len];
    let payload_len = (len - FRAME_HEADER_BYTES) as u32;
    frame[..4].copy_from_slice(&payload_len.to_le_bytes());
    let mut mended = Vec::new();
    let id = crate::format::frame::FileId { store: STORE, number };
    crate::format::frame::put_frame(&mut mended, &id, at as u64, frame[4], &frame[FRAME_HEADER_BYTES..]);
    frame.copy_from_slice(&mended);
}

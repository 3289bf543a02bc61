//! The stores that are damaged: of everything that there is, small enough to be damaged at every byte.

use erstwhile_engine::codec::Effort;
use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind, Name, StreamKey};
use erstwhile_engine::format::frame::{FileHeader, FileKind, HEADER_BYTES, read_frame};
use erstwhile_engine::format::names;
use erstwhile_engine::io::MemoryStorage;
use erstwhile_engine::options::Options;
use erstwhile_engine::read::answer::Cost;
use erstwhile_engine::row::RowBuilder;
use erstwhile_engine::segment::Frames;
use erstwhile_engine::segment::cache::Cache;
use erstwhile_engine::segment::directory::Form;
use erstwhile_engine::segment::index::Postings;
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::workload::{self, append, batches, clock, open};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The files of a store, by name.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// So many batches that the last are still in the log.
pub(crate) const BATCHES: usize = workload::BATCHES;

/// With the fork of the eighth.
pub(crate) const MERGED_BATCHES: usize = 8;

/// Options under which the stores are made.
pub(crate) fn options() -> Options {
    Options { memtable_bytes_max: 13_000, ..workload::options() }
}

/// A number by chance, the same every time.
pub(crate) fn chance(place: u64, of: &str) -> u64 {
    let mixed = of.bytes().fold(place, |mixed, byte| (mixed ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    mixed ^ mixed >> 32
}

/// One byte in so many is tried, unless all are asked for.
pub(crate) fn one_in(many: usize) -> usize {
    if std::env::var_os("ERSTWHILE_FLIPS").is_some_and(|of| of == "all") { 1 } else { many }
}

/// A store whose writer died; `skew` makes another one.
pub(crate) fn at_work(skew: u32) -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    clock.advance(skew);
    let store = open(&storage, &clock, options()).unwrap();
    let history = &batches()[..BATCHES];
    assert!(append(&store, &clock, history).1.is_none());
    drop(store);
    let files = storage.files();
    assert!(files.contains_key(names::CURRENT) && files.contains_key(names::LOCK));
    let of = |kind| files.iter().filter(move |(name, _)| names::parse(name).is_some_and(|(its, _)| its == kind));
    let sizes: Vec<usize> = of(FileKind::Segment).map(|(_, bytes)| bytes.len()).collect();
    assert!(sizes.len() >= 3 && 2 * sizes[0] > 3 * sizes[1], "a merged segment and young ones: {sizes:?}");
    assert!(of(FileKind::Log).any(|(_, bytes)| bytes.len() > 1000), "a log with records");
    assert_eq!(of(FileKind::Manifest).count(), 1);
    files
}

/// A store of which everything was merged.
pub(crate) fn merged() -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let store = open(&storage, &clock, options()).unwrap();
    assert!(append(&store, &clock, &batches()[..MERGED_BATCHES]).1.is_none());
    store.compact().unwrap();
    store.close().unwrap();
    let files = storage.files();
    let view = open_view(&MemoryStorage::with_files(files.clone()), 1 << 20).unwrap();
    let [segment] = view.segments() else { panic!("everything was merged") };
    let (mut forms, mut postings) = (Vec::new(), Vec::new());
    for reader in segment.tables() {
        let reader = reader.unwrap();
        forms.extend(reader.directory.records().map(|stream| (reader.entry.name.clone(), stream.form)));
        for (column, _) in &reader.directory.indexes {
            let index = reader.index(column, &Cache::new(0), &mut Cost::default()).unwrap().unwrap();
            postings.push(index.borrow_dependent().of);
        }
    }
    let users = |form| forms.iter().any(|of| *of.0 == *b"users" && of.1 == form);
    assert!(users(Form::Run) && users(Form::Facts), "a stream of facts beside regular ones: {forms:?}");
    for of in [Postings::Streams, Postings::Versions, Postings::Times] {
        assert!(postings.contains(&of), "indexes of all kinds");
    }
    assert!(segment.is_packed().unwrap(), "packed rows");
    files
}

/// A store whose rows and parts are listed.
pub(crate) fn hasty() -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let options = Options { seal_effort: Effort::Quick, merge_fanout: 64, ..options() };
    let store = open(&storage, &clock, options).unwrap();
    assert!(append(&store, &clock, &batches()[..MERGED_BATCHES]).1.is_none());
    store.close().unwrap();
    storage.files()
}

/// A batch of one look at these lines, two copies of each.
pub(crate) fn lines(producer: u128, sequence: u64, lines: &[&str]) -> Batch {
    let row = |(number, line): (usize, &&str)| {
        let mut row = RowBuilder::new();
        row.column(b"content", line.as_bytes());
        row.column(b"number", number.to_string().as_bytes());
        row.column(b"path", b"/etc/a/long/path/of/a/file");
        (row.row(), 2)
    };
    let stream = StreamKey {
        table: Name::from(&b"file_lines"[..]),
        host: Name::from(&b"db"[..]),
        name: Name::from(&b"lines"[..]),
        kind: Kind::Diff,
        sightings: false,
    };
    let delivery = Delivery {
        stream: Arc::new(stream),
        epoch: 7,
        counter: Some(sequence),
        second: workload::FIRST + workload::STEP * sequence as i64,
        whole: true,
        inferred: Inferred::V5_7,
        removed: Vec::new(),
        added: lines.iter().enumerate().map(row).collect(),
    };
    Batch { producer, sequence, digest: 0, deliveries: vec![delivery] }
}

/// A merged store with a stream whose versions take several blocks of one piece.
pub(crate) fn long() -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let store = open(&storage, &clock, workload::options()).unwrap();
    let many = |sequence: u64| -> Batch {
        let text = |at: u64| format!("{} {at}", chance(at, "a line") % 1000);
        let texts: Vec<String> = (0..24).map(|at| text(1000 * sequence + at)).collect();
        lines(0, sequence, &texts.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let history = [batches()[..MERGED_BATCHES].to_vec(), (12..40).map(many).collect()].concat();
    assert!(append(&store, &clock, &history).1.is_none());
    store.compact().unwrap();
    store.close().unwrap();
    let files = storage.files();
    let (_, segment) = files.iter().find(|(name, _)| name.ends_with(".segment")).unwrap();
    assert!(frames(segment).iter().any(|frame| frame.1 == Frames::CHECKED_RUN));
    files
}

/// (offset, type, payload's length) of the frames of a file.
pub(crate) fn frames(bytes: &[u8]) -> Vec<(usize, u8, usize)> {
    let id = FileHeader::decode(bytes).unwrap().id;
    let (mut frames, mut at) = (Vec::new(), HEADER_BYTES);
    while let Ok(frame) = read_frame(&bytes[at..], &id, at as u64) {
        frames.push((at, frame.kind, frame.payload.len()));
        at = frame.end as usize;
    }
    frames
}

/// A file as a program of another format version would begin it.
pub(crate) fn of_version(bytes: &[u8], version: u16) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    let crc = crc(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// CRC-32 as in gzip, bit by bit, so that the engine's own is not trusted with its test.
pub(crate) fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _: u32| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

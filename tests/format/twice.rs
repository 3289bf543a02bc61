//! What a segment's footer tells, its directories and the manifest tell too: where one of them tells another number, though
//! every checksum is right, a check says which, however quick it is.

use crate::stores::{self, Files, frames};
use erstwhile_engine::check::fsck::{Finding, Level, Severity, Wrong};
use erstwhile_engine::error::Structure;
use erstwhile_engine::fact::{Kind, Name};
use erstwhile_engine::format::frame::{FRAME_HEADER_BYTES, FileHeader, kind, put_frame};
use erstwhile_engine::format::names;
use erstwhile_engine::io::{Clock, ManualClock, MemoryStorage, Storage};
use erstwhile_engine::manifest::{
    Edit, ManifestFile, SegmentMeta, StreamExtent, StreamSummary, Summary, decode_summary, encode_edit, read_current,
};
use erstwhile_engine::recover::recover;
use erstwhile_engine::segment::Frames;
use erstwhile_engine::segment::footer::{Footer, put_trailer};
use erstwhile_engine::store::open_view;
use erstwhile_tests::support::checked::report;
use erstwhile_tests::support::workload::{append_one, batch, clock, facts, open};
use std::sync::Arc;

/// The merged store with a footer and a manifest that tell something else; the manifest knows that footer's checksum, or
/// still that of the one before.
fn retold(files: &Files, knows_footer: bool, change: impl FnOnce(&mut Footer, &mut SegmentMeta)) -> MemoryStorage {
    let whole = MemoryStorage::with_files(files.clone());
    let state = read_current(&whole).unwrap();
    let (number, meta) = state.segments.first_key_value().unwrap();
    let name = names::segment(*number);
    let (mut bytes, mut meta) = (files[&name].clone(), (**meta).clone());
    let id = FileHeader::decode(&bytes).unwrap().id;
    let (at, _, len) = frames(&bytes).into_iter().find(|frame| frame.1 == Frames::FOOTER).unwrap();
    let mut footer = Footer::decode(&bytes[at + FRAME_HEADER_BYTES..][..len]).unwrap();
    change(&mut footer, &mut meta);
    let mut payload = Vec::new();
    footer.encode(&mut payload);
    if knows_footer {
        meta.footer_crc = stores::crc(&payload);
    }
    bytes.truncate(at);
    put_frame(&mut bytes, &id, at as u64, Frames::FOOTER, &payload);
    put_trailer(&mut bytes, &id, at as u64);
    meta.bytes = bytes.len() as u64;
    let storage = MemoryStorage::new();
    let (shared, clock) = (Arc::new(storage.clone()), Arc::new(ManualClock::new(0)));
    let (_, mut manifest) = ManifestFile::create_new(shared, clock, state.store_id).unwrap();
    storage.put(&name, bytes);
    let (add, last_recorded) = (vec![Arc::new(meta)], Some(state.last_recorded));
    manifest.apply(&Edit { add, next_file: state.next_file, last_recorded, ..Edit::default() }).unwrap();
    MemoryStorage::with_files(storage.files())
}

/// The damages that each level finds.
fn found(storage: &MemoryStorage) -> [Vec<Finding>; 3] {
    [Level::Quick, Level::Checksums, Level::Deep].map(|level| {
        let findings = report(storage, level).findings;
        findings.into_iter().filter(|finding| finding.severity == Severity::Damage).collect()
    })
}

/// A number that is told otherwise: its name, and what makes it another.
type Change = (&'static str, fn(&mut Footer, &mut SegmentMeta));

const OF_FOOTER: [Change; 12] = [
    ("least recorded time", |_, meta| meta.recorded.0 -= 1),
    ("greatest recorded time", |_, meta| meta.recorded.1 += 1),
    ("tables", |_, meta| drop(meta.tables.pop())),
    ("parts", |_, meta| meta.parts += 1),
    ("copies", |_, meta| meta.versions += 1),
    ("names of tables", |_, meta| meta.tables[0].table = [&*meta.tables[0].table, b"_"].concat().into()),
    ("parts of a table", |_, meta| meta.tables[0].parts -= 1),
    ("copies of a table", |_, meta| meta.tables[0].versions -= 1),
    ("first second of a table", |_, meta| meta.tables[0].first -= 1),
    ("last second of a table", |_, meta| meta.tables[0].last += 1),
    ("first commit", |footer, meta| {
        footer.recorded.0 -= 1;
        meta.recorded.0 -= 1;
    }),
    ("last commit", |footer, meta| {
        footer.recorded.1 += 1;
        meta.recorded.1 += 1;
    }),
];

const OF_DIRECTORY: [Change; 4] = [
    ("parts", |footer, meta| {
        footer.tables[0].parts += 1;
        meta.tables[0].parts += 1;
        meta.parts += 1;
    }),
    ("copies", |footer, meta| {
        footer.tables[0].copies += 1;
        meta.tables[0].versions += 1;
        meta.versions += 1;
    }),
    ("first second", |footer, meta| {
        footer.tables[0].first -= 1;
        meta.tables[0].first -= 1;
    }),
    ("last second", |footer, meta| {
        footer.tables[0].last += 1;
        meta.tables[0].last += 1;
    }),
];

#[test]
fn a_number_that_is_told_otherwise_elsewhere_is_found() {
    let files = stores::merged();
    assert_eq!(found(&retold(&files, true, |_, _| {})), [vec![], vec![], vec![]]);
    for (changes, structure) in [(&OF_FOOTER[..], Structure::Footer), (&OF_DIRECTORY[..], Structure::Directory)] {
        for (name, change) in changes {
            let is_it = |finding: &Finding| {
                finding.structure == structure && matches!(finding.wrong, Wrong::Differs { what, .. } if what == *name)
            };
            for findings in found(&retold(&files, true, change)) {
                assert!(findings.iter().any(is_it), "{name} of the {structure:?}: {findings:#?}");
            }
        }
    }
}

/// A footer that is whole and another than the manifest knows: of another merge, or written by a fault.
#[test]
fn another_footer_is_found_by_its_checksum() {
    let storage = retold(&stores::merged(), false, |footer, meta| {
        footer.tables[0].first -= 1;
        meta.tables[0].first -= 1;
    });
    for findings in found(&storage) {
        let is_it =
            |found: &Finding| found.structure == Structure::Footer && found.wrong.to_string().contains("checksum");
        assert!(findings.iter().any(is_it), "{findings:#?}");
    }
}

/// Two tables whose directory is one.
#[test]
fn a_frame_that_is_named_twice_is_found() {
    let storage = retold(&stores::merged(), true, |footer, _| footer.tables[1].directory = footer.tables[0].directory);
    let [_, checksums, deep] = found(&storage);
    for findings in [checksums, deep] {
        let is_it = |found: &Finding| found.wrong.to_string().contains("two references to one frame");
        assert!(findings.iter().any(is_it), "{findings:#?}");
    }
}

/// The manifest's summary, of which every recovery is told whose looks a segment held.
#[test]
fn a_summary_that_tells_something_else_is_found() {
    let files = stores::merged();
    let whole = read_current(&MemoryStorage::with_files(files.clone())).unwrap();
    let (_, meta) = whole.segments.first_key_value().unwrap();
    let told = decode_summary(&meta.summary).unwrap();
    let mut tried = 0;
    for at in (0..meta.summary.len()).step_by(3) {
        let mut summary = meta.summary.clone();
        summary[at] ^= 1 << (stores::chance(at as u64, "summary") % 8);
        if decode_summary(&summary).is_ok_and(|now| now.0.len() == told.0.len() && now != told) {
            let [_, _, deep] = found(&retold(&files, true, |_, meta| meta.summary = summary));
            assert!(deep.iter().any(|found| found.structure == Structure::Summary), "byte {at}: {deep:#?}");
            tried += 1;
        }
    }
    assert!(tried > 20, "{tried}");
}

/// An edit of the manifest that cannot follow those before it: it removes a segment that is not there, or goes back.
#[test]
fn an_edit_that_contradicts_those_before_it_is_found() {
    let files = stores::merged();
    let next_file = read_current(&MemoryStorage::with_files(files.clone())).unwrap().next_file;
    let remove = Edit { remove: vec![99], next_file, ..Edit::default() };
    let back = Edit { next_file: next_file - 1, ..Edit::default() };
    for edit in [remove, back] {
        let mut files = files.clone();
        let (name, bytes) = files.iter_mut().find(|(name, _)| name.ends_with(".manifest")).unwrap();
        let (id, at, name) = (FileHeader::decode(bytes).unwrap().id, bytes.len() as u64, name.clone());
        put_frame(bytes, &id, at, kind::EDIT, &encode_edit(&edit));
        for findings in found(&MemoryStorage::with_files(files)) {
            let is_it = |found: &Finding| found.file == name && found.structure == Structure::Edit;
            assert!(findings.iter().any(is_it), "{edit:?}: {findings:#?}");
        }
    }
}

/// The manifest's summary as if it had had no room for the streams of the first host.
fn without_first_host(meta: &SegmentMeta) -> Vec<u8> {
    let (extents, _) = decode_summary(&meta.summary).unwrap();
    let mut hosts: Vec<&Name> = extents.iter().map(|extent| &extent.stream.host).collect();
    hosts.sort();
    hosts.dedup();
    let first = hosts.remove(0);
    let (left_out, kept): (Vec<_>, Vec<_>) = extents.iter().partition(|extent| extent.stream.host == *first);
    let mut summary = Summary::default();
    for of_table in kept.chunk_by(|a, b| a.stream.table == b.stream.table) {
        let mut names: Vec<Name> = of_table.iter().map(|extent| extent.stream.name.clone()).collect();
        names.sort();
        names.dedup();
        let stream = |extent: &&StreamExtent| StreamSummary {
            host: hosts.binary_search(&&extent.stream.host).unwrap(),
            name: names.binary_search(&extent.stream.name).unwrap(),
            kind: extent.stream.kind,
            sightings: extent.stream.sightings,
            extent: (extent.first, extent.last),
            parts: extent.parts,
        };
        let streams: Vec<StreamSummary> = of_table.iter().map(stream).collect();
        summary.table(&of_table[0].stream.table, &names, streams.into_iter());
    }
    let mut bytes = summary.finish(hosts.into_iter());
    // How many are left out stands behind how many are listed.
    assert_eq!(std::mem::replace(&mut bytes[1], left_out.len() as u8), 0);
    bytes
}

/// A merged store of two hosts that have one table each.
fn of_two_hosts() -> Files {
    let (storage, clock) = (MemoryStorage::new(), clock());
    let mut batch = batch(0);
    let is_kept = |host: &[u8], table: &[u8]| (host == b"db") == (table == b"users") && host != b"web-2";
    batch.deliveries.retain(|delivery| {
        delivery.stream.kind != Kind::Note && is_kept(&delivery.stream.host, &delivery.stream.table)
    });
    batch.producer = 0;
    let store = open(&storage, &clock, stores::options()).unwrap();
    append_one(&store, &clock, &batch).unwrap();
    store.compact().unwrap();
    store.close().unwrap();
    storage.files()
}

/// Such a summary does not tell all hosts: where the list of them is damaged, nobody knows whose streams these are.
#[test]
fn hosts_that_a_summary_leaves_out_are_no_other_hosts() {
    let storage = retold(&of_two_hosts(), true, |_, meta| meta.summary = without_first_host(meta));
    let facts = |files: Files| facts(&open_view(&MemoryStorage::with_files(files), 1 << 20).unwrap()).unwrap();
    let (whole, mut files) = (facts(storage.files()), storage.files());
    let (_, bytes) = files.iter_mut().find(|(name, _)| name.ends_with(".segment")).unwrap();
    let (at, ..) = frames(bytes).into_iter().find(|frame| frame.1 == Frames::HOSTS).unwrap();
    bytes[at + FRAME_HEADER_BYTES] ^= 1;
    let (from, new) = (MemoryStorage::with_files(files), MemoryStorage::new());
    let (to, clock): (Arc<dyn Storage>, Arc<dyn Clock>) = (Arc::new(new.clone()), Arc::new(ManualClock::new(1 << 50)));
    let report = recover(&from, &to, &clock, &mut |_, _, _| {}).unwrap();
    for (stream, words) in facts(new.files()) {
        let known = whole.get(&stream).map(Vec::as_slice).unwrap_or_default();
        let is_known = |word: &(i64, String)| word.1.contains("Lost") || known.contains(word);
        assert!(words.iter().all(is_known), "{stream} has looks of another: {report:#?}");
    }
    assert!(!report.is_whole(), "{report:#?}");
}

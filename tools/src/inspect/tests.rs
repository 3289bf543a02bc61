//! A small store, as it is shown.

use super::run;
use crate::args::InspectArgs;
use crate::exit::Exit;
use crate::forms::Format;
use erstwhile_engine::fact::{Batch, Delivery, Inferred, Kind, Name, StreamKey};
use erstwhile_engine::io::{DiskStorage, ManualClock, Storage};
use erstwhile_engine::manifest::ManifestFile;
use erstwhile_engine::options::Options;
use erstwhile_engine::row::RowBuilder;
use erstwhile_engine::store::Store;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

fn delivery(second: i64, counter: u64, removed: &[&str], added: &[&str]) -> Delivery {
    let rows = |uids: &[&str]| {
        let row = |uid: &&str| {
            let mut builder = RowBuilder::new();
            builder.column(b"name", b"caf\xe9\x1b[2J");
            builder.column(b"uid", uid.as_bytes());
            (builder.row(), 1)
        };
        uids.iter().map(row).collect()
    };
    let stream = StreamKey {
        table: Name::from(&b"users"[..]),
        host: Name::from(&b"web\x1b\"1"[..]),
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
        removed: rows(removed),
        added: rows(added),
    }
}

/// A store of one segment and one log.
fn store() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let storage: Arc<dyn Storage> = Arc::new(DiskStorage::open(folder.path(), false).unwrap());
    let clock = Arc::new(ManualClock::new(1_545_645_600_000_000));
    ManifestFile::create_new(storage.clone(), clock.clone(), *b"sixteen bytes id").unwrap();
    let options = Options { background: false, ..Options::default() };
    let store = Store::open(storage, clock.clone(), options, "a test").unwrap();
    let append = |delivery: Delivery| {
        clock.advance(1_000_000);
        store.append(Batch { producer: 2, sequence: 1, digest: 0, deliveries: vec![delivery] }, None).unwrap();
    };
    append(delivery(1_545_645_000, 0, &[], &["0", "1"]));
    append(delivery(1_545_645_010, 1, &["1"], &["2"]));
    store.flush().unwrap();
    append(delivery(1_545_645_020, 2, &["0"], &[]));
    folder
}

/// The output and the exit code.
fn inspect(store: Option<&Path>, files: Vec<PathBuf>, format: Format) -> (String, Exit) {
    let mut out = Vec::new();
    let done = run(store, &InspectArgs { files, rows: 3 }, format, &mut out);
    (String::from_utf8(out).unwrap(), done.map_or_else(|failure| failure.exit(), |()| Exit::Done))
}

fn damage(path: &Path, at: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_small_store_as_text() {
    let folder = store();
    let (text, exit) = inspect(Some(folder.path()), Vec::new(), Format::Text);
    assert_eq!(exit, Exit::Done);
    assert_eq!(text, include_str!("golden.txt"));
}

#[test]
fn a_damaged_log_as_text() {
    let folder = store();
    let log = folder.path().join("0000000003.log");
    damage(&log, 220);
    let (text, exit) = inspect(None, vec![log.clone()], Format::Text);
    assert_eq!(exit, Exit::Damage);
    let text = text.replace(&*log.to_string_lossy(), "LOG");
    let (head, rest) = text.split_once("       170 ").unwrap();
    assert!(head.starts_with("LOG\n         0        64  file header: version=1 kind=log store="), "{head}");
    assert!(rest.contains(" frame: says_type=batch says_payload_bytes="), "{rest}");
    assert!(rest.contains("\n                      !! damage: the checksum should be 0x"), "{rest}");
    assert!(rest.ends_with("\nfindings: damage 1, torn 0, version 0, unread 0\n"), "{rest}");
}

#[test]
fn the_forms_for_programs_hold_the_same_items() {
    let folder = store();
    damage(&folder.path().join("0000000002.segment"), 100);
    let (json, exit) = inspect(Some(folder.path()), Vec::new(), Format::Json);
    assert_eq!(exit, Exit::Damage);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let (ndjson, exit) = inspect(Some(folder.path()), Vec::new(), Format::Ndjson);
    assert_eq!(exit, Exit::Damage);
    let mut lines: Vec<serde_json::Value> = ndjson.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.pop().unwrap(), serde_json::json!({"damage": 1, "torn": 0, "version": 0, "unread": 0}));
    assert_eq!(json["items"].as_array().unwrap(), &lines);
    assert_eq!(json["damage"], 1);
    let batch = lines.iter().find(|item| item["structure"] == "batch").unwrap();
    assert_eq!(batch["fields"]["recorded"], "2018-12-24T10:00:03.000000Z");
    assert_eq!((&batch["depth"], &batch["finding"]), (&0.into(), &serde_json::Value::Null));
    let row = lines.iter().find(|item| item["structure"] == "row" && item["file"] == "0000000003.log").unwrap();
    assert_eq!(row["fields"]["columns"]["name"], "caf\u{fffd}\u{1b}[2J");
    assert_eq!(row["lossy"], true);
}

#[test]
fn files_that_cannot_be_read_are_named_and_the_others_shown() {
    let folder = store();
    let files = vec![folder.path().join("none"), folder.path().join("CURRENT")];
    let (text, exit) = inspect(None, files, Format::Text);
    assert_eq!(exit, Exit::Failed);
    assert!(text.contains("!! unread: No such file") && text.contains("pointer to the manifest: manifest="), "{text}");
    let (_, exit) = inspect(Some(&folder.path().join("none")), Vec::new(), Format::Text);
    assert_eq!(exit, Exit::Failed);
}

/// Evidence lies on media that are mounted so that nobody can write.
#[test]
fn a_read_only_store_is_shown() {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt;
    let folder = store();
    let (before, _) = inspect(Some(folder.path()), Vec::new(), Format::Text);
    for entry in std::fs::read_dir(folder.path()).unwrap() {
        set_permissions(entry.unwrap().path(), Permissions::from_mode(0o444)).unwrap();
    }
    set_permissions(folder.path(), Permissions::from_mode(0o555)).unwrap();
    let (text, exit) = inspect(Some(folder.path()), Vec::new(), Format::Text);
    set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    assert_eq!((text, exit), (before, Exit::Done));
}

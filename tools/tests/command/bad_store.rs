//! Stores that are in use, of a future version, or damaged.

use crate::{Place, Ran, line};
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

/// A store that holds a user, and the path of a file of it.
fn store_with(extension: &str) -> (Place, PathBuf) {
    let place = Place::new();
    place.import(&place.file("first.log", line("web-1", 1_545_645_600, &["ann"]))).ended(0, &[]);
    let files = fs::read_dir(place.store()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|its| its == extension)).collect();
    assert_eq!(files.len(), 1, "{files:?}");
    (place, files.remove(0))
}

#[test]
fn a_second_writer_is_told_who_writes() {
    let (place, _) = store_with("segment");
    let mut first = place
        .command(&["import", "-", "--hold-seconds", "1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = first.stdin.take().unwrap();
    input.write_all(line("web-2", 1_545_645_600, &["bob"]).as_bytes()).unwrap();
    input.flush().unwrap();
    // Once its line can be read, it certainly writes.
    while place.users() != ["ann", "bob"] {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let other = place.file("other.log", line("web-3", 1_545_645_600, &["eve"]));
    let holder = format!("process {} (erstwhile import)", first.id());
    place.import(&other).ended(1, &["the store is being written by", &holder, "stop that process"]);
    input.write_all(line("web-2", 1_545_645_660, &["carl"]).as_bytes()).unwrap();
    drop(input);
    Ran::of(first.wait_with_output().unwrap()).ended(0, &[]);
    place.import(&other).ended(0, &[]);
    assert_eq!(place.users(), ["ann", "bob", "carl", "eve"]);
}

#[test]
fn a_store_of_a_future_version_names_the_program_to_use() {
    for extension in ["manifest", "segment"] {
        let (place, file) = store_with(extension);
        let before = fs::read(&file).unwrap();
        let mut bytes = before.clone();
        bytes[8] = 9;
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[..60]);
        bytes[60..64].copy_from_slice(&crc.sum().to_le_bytes());
        fs::write(&file, &bytes).unwrap();
        let said = ["has format 9", "this program reads formats 1 to 1", "a newer erstwhile"];
        place.run(&["tables"]).ended(1, &said);
        place.import(&place.path("first.log")).ended(1, &said);
        fs::write(&file, &before).unwrap();
        assert_eq!(place.users(), ["ann"]);
    }
}

#[test]
fn damage_is_told_with_its_place_and_the_next_command() {
    for (extension, at, structure) in
        [("manifest", 70, "frame at byte 64"), ("segment", 3, "file header at byte 0"), ("segment", 70, "at byte 64")]
    {
        let (place, file) = store_with(extension);
        let mut bytes = fs::read(&file).unwrap();
        bytes[at] ^= 0x10;
        fs::write(&file, &bytes).unwrap();
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let ran = place.run(&["history", "users"]);
        ran.ended(4, &[&name, " is damaged: ", structure, "erstwhile fsck", "erstwhile recover"]);
        assert!(ran.out.is_empty(), "{ran:?}");
    }
}

#[test]
fn questions_that_make_no_sense_are_usage() {
    let (place, _) = store_with("segment");
    place.run(&["state", "process_events", "--at", "now"]).ended(2, &["erstwhile history process_events"]);
    place.run(&["state", "users", "--at", "soon"]).ended(2, &["soon"]);
    place.run(&["import"]).ended(2, &["FILE"]);
    let first = place.path("first.log");
    let early = ["import".as_ref(), first.as_os_str(), "--recorded-at".as_ref(), "2001-01-01T00:00:00Z".as_ref()];
    place
        .run(&early)
        .ended(2, &["--recorded-at 2001-01-01T00:00:00.000000Z: the store's last commit was recorded at 20"]);
    place.run(&["import", "-", "--recorded-at", "2100-01-01"]).ended(0, &["note: --recorded-at 2100-01-01 "]);
}

//! `recover` as operators and their scripts see it.

use crate::{Place, Ran, command, line};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

const DAY: u32 = 86_400;
const BEGIN: u32 = 1_545_645_600;

/// A store of two hosts with looks on several days, and its segment.
fn store(place: &Place) -> PathBuf {
    let lines: String = (0..4)
        .map(|day| line("web-1", BEGIN + day * DAY, &["ann", "bob"]) + &line("web-2", BEGIN + day * DAY, &["eve"]))
        .collect();
    place.import(&place.file("all.log", lines)).ended(0, &[]);
    let mut files = fs::read_dir(place.store()).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|its| its == "segment")).unwrap()
}

fn run(args: &[&str]) -> Ran {
    let (first, rest) = args.split_first().unwrap();
    Ran::of(command(first.as_ref(), rest).output().unwrap())
}

/// What `fsck` says to do next is done, and what was lost is unknown then.
#[test]
fn the_next_command_of_fsck_makes_a_store_that_says_what_it_lost() {
    let place = Place::new();
    let segment = store(&place);
    let old = place.store();
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let new = place.path(&format!("{}.recovered", old.file_name().unwrap().to_str().unwrap()));
    let ask = |store: &PathBuf| {
        run(&[&text(store), "who", "uid", "0", "--host", "web-2", "--at", "2018-12-25", "--format", "json"])
    };
    let before = ask(&old);
    let bytes = fs::read(&segment).unwrap();
    let (mut flipped, mut lossy) = (0, 0);
    for at in (64..bytes.len()).step_by(41) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        fs::write(&segment, damaged).unwrap();
        let found = run(&[&text(&old), "fsck"]);
        assert_eq!(found.code, Some(4), "byte {at}: {found:?}");
        let next = found.out.lines().find_map(|line| line.trim().strip_prefix("next: erstwhile recover")).unwrap();
        assert!(next.contains(&text(&new)), "{next}");
        let ran = run(&[&text(&old), "recover", "--to", &text(&new), "--format", "json"]);
        assert!([Some(0), Some(3)].contains(&ran.code), "byte {at}: {ran:?}");
        let report: Value = serde_json::from_str(&ran.out).unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&fs::read(format!("{}.report.json", text(&new))).unwrap()).unwrap(),
            report
        );
        let lost = report["lost"].as_array().unwrap().len();
        assert_eq!(
            lost == 0 && report["notes_lost"].as_array().unwrap().is_empty(),
            ran.code == Some(0),
            "byte {at}: {report}"
        );
        run(&[&text(&new), "fsck", "--deep"]).ended(0, &[]);
        let after: Value = serde_json::from_str(&ask(&new).out).unwrap();
        let was: Value = serde_json::from_str(&before.out).unwrap();
        let is_lost = report["lost"].as_array().unwrap().iter().any(|lost| lost["host"] == "web-2");
        if is_lost {
            assert_eq!(after["coverage"]["unknown"], 1, "byte {at}: {report}");
            lossy += 1;
        } else {
            assert_eq!((&after["rows"], &after["coverage"]), (&was["rows"], &was["coverage"]), "byte {at}: {report}");
        }
        fs::remove_dir_all(&new).unwrap();
        flipped += 1;
    }
    assert!(flipped > 10 && lossy > 0 && lossy < flipped, "{lossy} of {flipped}");
}

/// A disk that is not mounted must not become an empty store of which nothing is lost.
#[test]
fn a_directory_without_a_store_is_refused() {
    let place = Place::new();
    let (empty, new) = (place.path("empty"), place.path("new"));
    fs::create_dir(&empty).unwrap();
    let recover = || run(&[empty.to_str().unwrap(), "recover", "--to", new.to_str().unwrap()]);
    for _ in 0..2 {
        let ran = recover();
        ran.ended(1, &["empty: the directory holds no store"]);
        assert!(ran.out.is_empty(), "{ran:?}");
        assert!(!new.exists() && !place.path("new.report.json").exists(), "nothing is made");
        // Logs of osquery are no store either.
        fs::write(empty.join("osqueryd.results.log"), line("web-1", BEGIN, &["ann"])).unwrap();
        fs::write(empty.join("osqueryd.results.log.1"), line("web-1", BEGIN, &["bob"])).unwrap();
    }
    run(&[place.path("nowhere").to_str().unwrap(), "recover", "--to", new.to_str().unwrap()]).ended(1, &["nowhere: "]);
    assert!(!place.path("nowhere").exists() && !new.exists());
    // Of a store that lost the file that makes it one, the rest is recovered.
    store(&place);
    let old = place.store().to_str().unwrap().to_owned();
    fs::remove_file(place.store().join("CURRENT")).unwrap();
    run(&[&old, "recover", "--to", new.to_str().unwrap()]).ended(0, &[]);
    let names = |ran: &Ran| ["ann", "bob", "eve"].iter().all(|name| ran.out.contains(name));
    let asked = run(&[new.to_str().unwrap(), "history", "users"]);
    assert!(asked.code == Some(0) && names(&asked), "{asked:?}");
}

#[test]
fn what_cannot_be_recovered_to_is_refused() {
    let place = Place::new();
    store(&place);
    let old = place.store().to_str().unwrap().to_owned();
    let ran = run(&[&old, "recover", "--to", &old]);
    assert_eq!(ran.code, Some(2), "{ran:?}");
    assert!(ran.err.contains("is not empty"), "{ran:?}");
    let ran = run(&[&old, "recover", "--to", place.path("new").to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.out.contains("nothing is lost"), "{ran:?}");
}

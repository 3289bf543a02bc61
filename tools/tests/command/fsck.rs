//! `fsck` as operators and their scripts see it.

use crate::{Place, Ran, command, line};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// A store of two users, and its segment.
fn store(place: &Place) -> PathBuf {
    place.import(&place.file("first.log", line("web-1", 1_545_645_600, &["ann", "bob"]))).ended(0, &[]);
    let mut files = fs::read_dir(place.store()).unwrap().map(|entry| entry.unwrap().path());
    files.find(|path| path.extension().is_some_and(|its| its == "segment")).unwrap()
}

fn fsck(store: &Path, args: &[&str]) -> Ran {
    Ran::of(command(store, &[&["fsck"], args].concat()).output().unwrap())
}

/// Turns a bit in the frame of the segment's piece of users.
fn damage(segment: &Path) {
    let mut bytes = fs::read(segment).unwrap();
    bytes[100] ^= 1;
    fs::write(segment, bytes).unwrap();
}

#[test]
fn a_whole_store_is_clean_at_every_level_also_where_nobody_may_write() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    store(&place);
    let mode = |mode| fs::set_permissions(place.store(), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o555);
    for level in
        [&[][..], &["--quick"], &["--deep"], &["--deep", "--sample", "50%", "--seed", "7"], &["--budget", "1h"]]
    {
        let ran = fsck(&place.store(), level);
        assert_eq!((ran.code, &*ran.err), (Some(0), ""), "{ran:?}");
        assert!(ran.out.ends_with("findings: damage 0, warning 0, info 0; not checked 0\n"), "{ran:?}");
    }
    mode(0o755);
    let ran = fsck(&place.store(), &["--deep", "--sample", "50%", "--seed", "7"]);
    assert!(ran.out.contains("share 50%, seed 7;") && ran.out.contains("not looked at: "), "{ran:?}");
}

#[test]
fn damage_is_told_with_what_is_lost_and_the_next_command() {
    let place = Place::new();
    let segment = store(&place);
    damage(&segment);
    // A name that a shell would take apart.
    let odd = place.path("it's a store");
    fs::rename(place.store(), &odd).unwrap();
    let ran = fsck(&odd, &[]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let name = segment.file_name().unwrap().to_str().unwrap();
    assert!(ran.out.starts_with(&format!("damage: {name} at byte 97: piece of a stream: ")), "{}", ran.out);
    assert!(ran.out.contains("users of web-1 (pack/x/users)"), "{}", ran.out);
    let quoted = odd.to_str().unwrap().replace('\'', r"'\''");
    let next = format!("  next: erstwhile recover --store '{quoted}' --to '{quoted}.recovered'\n");
    assert!(ran.out.contains(&next), "{next}{}", ran.out);

    let json: Value = serde_json::from_str(&fsck(&odd, &["--format", "json"]).out).unwrap();
    let lines = fsck(&odd, &["--format", "ndjson"]).out;
    let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let rest = lines.pop().unwrap();
    assert_eq!(json["findings"].as_array().unwrap(), &lines);
    assert_eq!((&json["damage"], &rest["damage"], &json["level"]), (&1.into(), &1.into(), &"checksums".into()));
    let loss = &lines[0]["losses"][0];
    assert_eq!((&loss["table"], &loss["host"]), (&"users".into(), &"web-1".into()));
    assert_eq!(loss["first"], "2018-12-24T10:00:00Z");
}

#[test]
fn what_is_no_store_or_no_question_has_codes_of_its_own() {
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    let ran = fsck(&place.store(), &[]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.out.contains("the directory holds no store"), "{ran:?}");
    fs::write(place.store().join("noise"), "noise").unwrap();
    let ran = fsck(&place.store(), &[]);
    assert!(ran.code == Some(1) && ran.out.contains("info: noise: file: no file of a store"), "{ran:?}");
    // So it is for who looks at its files.
    for format in ["text", "json", "ndjson"] {
        let ran = Ran::of(command(&place.store(), &["inspect", "--format", format]).output().unwrap());
        ran.ended(1, &["the directory holds no store"]);
        assert!(ran.out.contains("noise"), "what is there is shown: {ran:?}");
    }
    assert_eq!(fsck(&place.path("nowhere"), &[]).code, Some(1));
    for wrong in [["--quick", "--deep"], ["--sample", "0%"], ["--budget", "soon"], ["--format", "csv"]] {
        assert_eq!(fsck(&place.store(), &wrong).code, Some(2), "{wrong:?}");
    }
}

//! Input of every bad sort: the message names what and where, the exit code is the documented one, and every line around
//! the bad one is kept.

use crate::{Place, Ran, line};
use std::io::Write;
use std::process::{Command, Stdio};

/// Imports a good line, the bad bytes, and another good line.
fn between(bad: &[u8]) -> (Place, Ran) {
    let place = Place::new();
    let before = line("web-1", 1_545_645_600, &["ann"]);
    let after = line("web-2", 1_545_645_660, &["bob"]);
    let file = place.file("results.log", [before.as_bytes(), bad, b"\n", after.as_bytes()].concat());
    let ran = place.import(&file);
    (place, ran)
}

#[track_caller]
fn is_dead_letter(bad: &[u8], reason: &str) {
    let (place, ran) = between(bad);
    ran.ended(3, &[]);
    assert!(ran.out.contains(&format!("dead letters (lines that could not be read): {reason} 1\n")), "{ran:?}");
    assert_eq!(place.users(), ["ann", "bob"]);
    // The same again is known.
    let again = place.import(&place.path("results.log"));
    again.ended(3, &[]);
    assert!(again.out.contains("nothing new: no commit was made"), "{again:?}");
}

#[test]
fn json_that_is_cut_off_is_a_dead_letter() {
    let whole = line("web-3", 1_545_645_630, &["eve"]);
    is_dead_letter(&whole.as_bytes()[..whole.len() - 10], "not-json");
}

#[test]
fn nesting_of_200_000_levels_is_a_dead_letter() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let nested = format!("{}1{}", open.repeat(200_000), close.repeat(200_000));
        let whole = line("web-3", 1_545_645_630, &["eve"]).replace(r#""eve""#, &nested);
        is_dead_letter(whole.trim_end().as_bytes(), "too-deep");
        is_dead_letter(open.repeat(200_000).as_bytes(), "too-deep");
    }
}

#[test]
fn a_line_of_65_mib_is_a_dead_letter() {
    let long = line("web-3", 1_545_645_630, &[&"e".repeat(65 << 20)]);
    is_dead_letter(long.trim_end().as_bytes(), "too-long");
}

#[test]
fn wrong_types_in_any_field_stop_nothing() {
    let good = r#"{"name":"pack/x/users","hostIdentifier":"web-3","hostname":"h","calendarTime":"Mon Dec 24 10:00:00 2018 UTC","unixTime":1545645600,"epoch":1,"counter":0,"numerics":false,"decorations":{"a":"b"},"columns":{"username":"eve"},"action":"added"}"#;
    let good: serde_json::Map<String, serde_json::Value> = serde_json::from_str(good).unwrap();
    let batch = r#"{"removed":[{"username":"x"}],"added":[{"username":"eve"}]}"#;
    let wrong = ["null", "true", "0", "-1", "1e999", "123456789012345678901234567890", r#""""#, r#""x""#, "[]", "{}"];
    let nested = [
        r#"[[[]]]"#,
        r#"[{"a":{"b":[1]}}]"#,
        r#"{"removed":1,"added":{}}"#,
        r#"{"added":[1,"x",null]}"#,
        "\"\\ud800\"",
    ];
    let mut lines = line("web-1", 1_545_645_600, &["ann"]);
    let mut count = 2;
    let fields =
        good.keys().cloned().chain(["diffResults", "snapshot", "severity", "message", "version"].map(str::to_owned));
    for field in fields {
        for value in wrong.iter().chain(&nested) {
            for form in ["columns", "diffResults", "snapshot"] {
                let mut parts: Vec<String> = Vec::new();
                for (key, its) in good.iter().filter(|(key, _)| **key != field && *key != "columns") {
                    parts.push(format!("{key:?}:{its}"));
                }
                if form != field {
                    parts.push(match form {
                        "columns" => r#""columns":{"username":"eve"}"#.to_owned(),
                        "diffResults" => format!(r#""diffResults":{batch}"#),
                        _ => r#""snapshot":[{"username":"eve"}]"#.to_owned(),
                    });
                }
                parts.push(format!("{field:?}:{value}"));
                lines += &format!("{{{}}}\n", parts.join(","));
                count += 1;
            }
        }
    }
    lines += &line("web-2", 1_545_645_660, &["bob"]);
    let place = Place::new();
    let ran = place.import(&place.file("results.log", &lines));
    ran.ended(3, &[]);
    assert!(ran.out.starts_with(&format!("imported {count} lines ")), "{ran:?}");
    let users = place.users();
    assert!(["ann", "bob", "eve"].iter().all(|user| users.iter().any(|other| other == user)), "{users:?}");
}

#[test]
fn a_binary_file_is_dead_letters() {
    let bytes: Vec<u8> = (0..=255).cycle().take(64 << 10).collect();
    let (place, ran) = between(&bytes);
    ran.ended(3, &[]);
    assert!(ran.out.contains("not-json"), "{ran:?}");
    assert_eq!(place.users(), ["ann", "bob"]);
    let alone = Place::new();
    let ran = alone.import(&alone.file("binary", &bytes));
    ran.ended(3, &[]);
    assert!(ran.out.contains("dead letters"), "{ran:?}");
}

#[test]
fn an_empty_file_is_nothing_new() {
    let place = Place::new();
    let ran = place.import(&place.file("empty.log", ""));
    ran.ended(0, &[]);
    assert!(ran.out.contains("imported 0 lines") && ran.out.contains("nothing new"), "{ran:?}");
    assert!(place.users().is_empty());
}

#[test]
fn a_gzip_file_that_is_cut_off_gives_what_came_before() {
    let place = Place::new();
    let lines: Vec<String> = (0..3000).map(|i| line("web-1", 1_545_645_600 + i, &[&format!("user{i}")])).collect();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(lines.concat().as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    let file = place.file("results.log.gz", &packed[..packed.len() / 2]);
    let good = place.file("other.log", line("web-2", 1_545_645_600, &["bob"]));
    let ran = place.run(&["import".as_ref(), file.as_os_str(), good.as_os_str(), "--format".as_ref(), "json".as_ref()]);
    ran.ended(1, &["results.log.gz: its gzip data is cut off", "were delivered", "read it again whole"]);
    let summary: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(summary["faults"].as_array().map(Vec::len), Some(1), "{ran:?}");
    let delivered = summary["lines"].as_u64().unwrap();
    assert!((500..3000).contains(&delivered), "{delivered}");
    let users = place.users();
    assert_eq!(users.len() as u64, delivered, "every line before the cut, and the other file");
    assert!(users.contains(&"bob".to_owned()) && users.contains(&"user0".to_owned()));
    // The whole file again gives the rest.
    let whole = place.file("results.log.gz", &packed);
    place.import(&whole).ended(0, &[]);
    assert_eq!(place.users().len(), 3001);
}

#[test]
fn a_zstd_window_beyond_128_mib_is_refused_with_the_way_out() {
    let place = Place::new();
    let text = line("web-1", 1_545_645_600, &["ann"]);
    // Magic; no content size, so a window follows: 2^(10 + 18); one raw block, the last.
    let mut packed = b"\x28\xb5\x2f\xfd\x00\x90".to_vec();
    packed.extend_from_slice(&((text.len() as u32) << 3 | 1).to_le_bytes()[..3]);
    packed.extend_from_slice(text.as_bytes());
    let good = place.file("other.log", line("web-2", 1_545_645_600, &["bob"]));
    let file = place.file("wide.zst", &packed);
    let ran = place.run(&["import".as_ref(), file.as_os_str(), good.as_os_str()]);
    ran.ended(1, &["wide.zst: its zstd window is larger than 128 MiB", "zstd -d --memory=2048MB"]);
    assert!(ran.out.starts_with("imported 1 line "), "{ran:?}");
    assert_eq!(place.users(), ["bob"]);
    // One step smaller is taken.
    packed[5] = 0x88;
    place.import(&place.file("wide.zst", &packed)).ended(0, &[]);
    assert_eq!(place.users(), ["ann", "bob"]);
}

#[test]
fn a_directory_or_a_missing_file_stops_before_anything_is_imported() {
    let place = Place::new();
    let good = place.file("good.log", line("web-1", 1_545_645_600, &["ann"]));
    let directory = place.path("logs");
    std::fs::create_dir(&directory).unwrap();
    let run = |bad: &std::path::Path| place.run(&["import".as_ref(), good.as_os_str(), bad.as_os_str()]);
    run(&directory).ended(1, &["logs: a directory; name the files in it"]);
    run(&place.path("absent.log")).ended(1, &["absent.log: ", "No such file"]);
    assert!(!place.store().exists());
    place.run(&["tables"]).ended(1, &["holds no store", "erstwhile import"]);
}

/// A limit on the size of files stands for a full disk: the system refuses in the middle of a write all the same.
#[test]
fn a_disk_that_takes_no_more_keeps_what_it_took() {
    let place = Place::new();
    place.import(&place.file("first.log", line("web-1", 1_545_645_600, &["ann"]))).ended(0, &[]);
    let names: Vec<String> = (0..40_000).map(|i| format!("user-{:x}", i * 2_654_435_761_u64 % 1_000_003)).collect();
    let users: Vec<&str> = names.iter().map(String::as_str).collect();
    let large = place.file("large.log", line("web-2", 1_545_645_600, &users));
    let script = r#"trap '' XFSZ; ulimit -f 32; exec "$0" import "$1" --store "$2" --sync "$3""#;
    for (sync, file) in [("always", ".log"), ("sealed", ".segment")] {
        let output = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_erstwhile")])
            .args([&large, &place.store()])
            .arg(sync)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Ran::of(output).ended(1, &["append to", file, "File too large", "open the store again"]);
        assert_eq!(place.users(), ["ann"]);
    }
    place.import(&large).ended(0, &[]);
    assert_eq!(place.users().len(), 40_001);
}

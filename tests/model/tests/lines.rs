//! Lines, values, names and times.

use super::line::{Inferred, Line, Rows, read};
use super::*;

fn reason(text: &[u8]) -> &'static str {
    match read(text) {
        Line::Dead(reason) => reason,
        Line::Blank => "blank",
        Line::Status { .. } => "status",
        Line::Result(_) => "result",
    }
}

#[test]
fn every_line_has_one_reason() {
    assert_eq!(reason(b" \t\r"), "blank");
    assert_eq!(reason(&vec![b'['; (64 << 20) + 1]), "too-long");
    assert_eq!(reason(&vec![b'['; 64 << 20]), "too-deep");
    assert_eq!(reason(b"{"), "not-json");
    assert_eq!(reason(b"{\"a\":1,}"), "not-json");
    assert_eq!(reason(b"{\"a\":01}"), "not-json");
    assert_eq!(reason(b"{\"a\":\"\x01\"}"), "not-json");
    assert_eq!(reason(b"{} {}"), "not-json");
    assert_eq!(reason(b"\xef\xbb\xbf{}"), "not-json");
    assert_eq!(reason(b"[1]"), "not-object");
    assert_eq!(reason(format!("{}{}", "[".repeat(65), "]".repeat(65)).as_bytes()), "too-deep");
    assert_eq!(reason(format!("{}{}", "[".repeat(64), "]".repeat(64)).as_bytes()), "not-object");
    assert_eq!(reason(b"{}"), "no-name");
    assert_eq!(reason(br#"{"name":1,"severity":0,"message":"m"}"#), "no-name");
    assert_eq!(reason(br#"{"severity":0,"message":"m"}"#), "status");
    assert_eq!(reason(br#"{"name":"n"}"#), "no-time");
    assert_eq!(reason(br#"{"name":"n","unixTime":1}"#), "no-rows");
    assert_eq!(reason(br#"{"name":"n","unixTime":1,"columns":[],"action":"added"}"#), "bad-rows");
    assert_eq!(reason(br#"{"name":"n","unixTime":1,"columns":{},"action":"gone"}"#), "bad-rows");
    assert_eq!(reason(br#"{"name":"n","unixTime":1,"columns":{},"snapshot":""}"#), "result");
    assert_eq!(reason(br#"{"name":"n","unixTime":1,"diffResults":{"added":"","removed":[]}}"#), "result");
    assert_eq!(reason(br#"{"name":"n","unixTime":1,"diffResults":{"added":[1]}}"#), "bad-rows");
}

fn result(text: &str) -> line::ResultLine {
    match read(text.as_bytes()) {
        Line::Result(result) => *result,
        other => panic!("{text}: {other:?}"),
    }
}

#[test]
fn observed_time_is_floored_and_falls_back_only_from_what_is_no_number() {
    let at = |time: &str| match read(format!(r#"{{"name":"n",{time},"snapshot":[]}}"#).as_bytes()) {
        Line::Result(result) => Some(result.second),
        _ => None,
    };
    assert_eq!(at(r#""unixTime":1514471990"#), Some(1_514_471_990));
    assert_eq!(at(r#""unixTime":"15.99999999999999999999""#), Some(15));
    assert_eq!(at(r#""unixTime":1.5e1"#), Some(15));
    assert_eq!(at(r#""unixTime":-0.5"#), None);
    assert_eq!(at(r#""unixTime":1e999"#), None);
    assert_eq!(at(r#""unixTime":253402300800,"calendarTime":"Thu Dec 28 14:39:50 2017 UTC""#), None);
    assert_eq!(at(r#""unixTime":"soon","calendarTime":"Thu Dec 28 14:39:50 2017 UTC""#), Some(1_514_471_990));
    assert_eq!(at(r#""unixTime":true,"calendarTime":"Mon Mar  4 10:00:05 2024""#), Some(1_709_546_405));
    assert_eq!(at(r#""calendarTime":"Sat Dec 31 23:59:60 2016 GMT""#), Some(1_483_228_800));
    assert_eq!(at(r#""calendarTime":"Thu Dec 28 24:39:50 2017 UTC""#), None);
    assert_eq!(at(r#""calendarTime":"Thu Dec 28 14:39:50 2017 CET""#), None);
}

#[test]
fn the_head_of_a_line() {
    let line = result(
        r#"{"name":"a","hostIdentifier":7,"hostname":"N","unixTime":"1","epoch":"18446744073709551615","counter":1.0,"snapshot":[]}"#,
    );
    assert_eq!((line.host.as_slice(), line.epoch, line.counter), (b"N".as_slice(), u64::MAX, None));
    assert_eq!(line.inferred, Inferred::V2_10);
    let line = result(
        r#"{"name":"a","hostIdentifier":"","hostname":"N","unixTime":1,"epoch":-1,"counter":"3","name":"b","snapshot":[]}"#,
    );
    assert_eq!((line.host.as_slice(), line.epoch, line.counter), (b"".as_slice(), 0, Some(3)));
    assert_eq!(line.name, b"b");
    assert_eq!(result(r#"{"name":"a","unixTime":1,"snapshot":[]}"#).inferred, Inferred::V3_4);
    assert_eq!(result(r#"{"name":"a","unixTime":1,"numerics":true,"snapshot":[]}"#).inferred, Inferred::V5_7);
}

#[test]
fn a_value_keeps_its_bytes() {
    let line = result(
        r#"{"name":"a","unixTime":1,"action":"added","columns":{"s":"a\/\u00e9\ud83d\ude00\ud83dx\n","n":2.50,"e":1E3,"z":-0,"t":true,"u":null,"l":[1, "a b\n" ,{"k" : 1}],"k":1,"k":2}}"#,
    );
    let Rows::Added(row) = line.rows else { panic!("an added row") };
    let text = |column: &str| String::from_utf8(row[column.as_bytes()].clone()).expect("UTF-8");
    assert_eq!(text("s"), "a/é😀\u{fffd}x\n");
    assert_eq!((text("n"), text("e"), text("z")), ("2.50".to_owned(), "1E3".to_owned(), "-0".to_owned()));
    assert_eq!((text("t"), text("u"), text("k")), ("true".to_owned(), String::new(), "2".to_owned()));
    assert_eq!(text("l"), r#"[1,"a b\n",{"k":1}]"#);
    assert_eq!(json::parse(b"\"\xff\""), Some(json::Json::Text(vec![0xff])));
}

#[test]
fn doubles_have_one_spelling() {
    let double = |text: &str| number::double_text(text.as_bytes()).map(|t| String::from_utf8(t).expect("ASCII"));
    for (written, canonical) in [
        ("0.48999999999999999", "0.49"),
        ("1", "1.0"),
        ("-0", "-0.0"),
        ("0", "0.0"),
        ("007", "7.0"),
        ("1e5", "100000.0"),
        ("100000000000000", "100000000000000.0"),
        ("1000000000000000", "1e+15"),
        ("1234567890123456", "1.23456789012346e+15"),
        ("0.0001", "0.0001"),
        ("0.00001234", "1.234e-05"),
        ("1E-300", "1e-300"),
        ("999999999999999.9", "1e+15"),
        ("1000000000000.125", "1000000000000.12"),
        ("1000000000000.375", "1000000000000.38"),
    ] {
        assert_eq!(double(written).as_deref(), Some(canonical), "{written}");
    }
    for other in ["", "abc", ".5", "5.", "+1", "0x10", "1e400", "nan", "1 "] {
        assert_eq!(double(other), None, "{other}");
    }
}

#[test]
fn times_and_versions() {
    assert_eq!(time::rfc3339(0), "1970-01-01T00:00:00Z");
    assert_eq!(time::rfc3339(951_782_400), "2000-02-29T00:00:00Z");
    assert_eq!(time::rfc3339(time::LAST_SECOND), "9999-12-31T23:59:59Z");
    assert_eq!(time::rfc3339(-1), "1969-12-31T23:59:59Z");
    assert_eq!(time::rfc3339_micros(1_767_225_600_000_001), "2026-01-01T00:00:00.000001Z");
    assert_eq!(agent::number(b"5.8.1-12-gabc"), Some((5, 8, 1)));
    assert_eq!(agent::number(b"5.19"), Some((5, 19, 0)));
    assert_eq!(agent::number(b"v5"), None);
}

#[test]
fn names_and_maps() {
    let plain = StreamMap::default();
    let table =
        |map: &StreamMap, name: &str| String::from_utf8(map.table(name.as_bytes(), &catalogue())).expect("UTF-8");
    assert_eq!(table(&plain, "pack/fleet/users"), "users");
    assert_eq!(table(&plain, "pack_fleet_process_events"), "process_events");
    assert_eq!(table(&plain, "pack_fleetusers"), "pack_fleetusers");
    assert_eq!(table(&plain, "fleet_users"), "fleet_users");
    assert_eq!(table(&plain, "pack/users/other"), "pack/users/other");
    let map = StreamMap::parse(
        "# a map\n[[stream]]\nname = \"a*z\" # glob\nremoved = false\n\n[[stream]]\nname='a*'\ntable = \"users\"\nwhole = true\nprimary = true\n",
    )
    .expect("a map");
    assert_eq!(table(&map, "a/users"), "users");
    assert_eq!(table(&map, "abcz"), "abcz");
    assert!(map.is_assumed(b"abcz") && map.lacks_removed(b"abcz"));
    assert!(!map.is_assumed(b"ab") && !map.lacks_removed(b"ab"));
    for wrong in [
        "[[stream]]\nname=\"a\"\nother=true",
        "name=\"a\"",
        "[[stream]]\ntable=\"a\"",
        "[[x]]",
        "[[stream]]\nname=true",
    ] {
        assert!(StreamMap::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn both_forms_of_a_catalogue() {
    let schema = r#"{"tables":[{"name":"battery","evented":false,"columns":[{"name":"charge","type":"DOUBLE"}]}],
        "removed_tables":[{"name":"old_log","evented":true,"columns":[]}]}"#;
    let catalogue = Catalogue::from_schema(schema).expect("a schema");
    assert!(catalogue.is_evented(b"old_log") && catalogue.has(b"old_log"));
    assert!(catalogue.is_evented(b"my_events") && !catalogue.is_evented(b"battery"));
    assert!(!super::catalogue().is_evented(b"osquery_events"));
    assert!(Catalogue::from_facts("erstwhile catalogue 2\n").is_err());
    assert!(Catalogue::from_facts("erstwhile catalogue 1\nusers table -\n").is_err());
}

/// Real lines, where they are at hand: every line is accounted for, and a second import brings nothing.
#[test]
fn real_lines_are_all_accounted_for() {
    let Ok(directory) = std::env::var("ERSTWHILE_REAL_DATA") else {
        println!("skipped: ERSTWHILE_REAL_DATA names no directory");
        return;
    };
    let directory = std::path::Path::new(&directory);
    let schema = std::fs::read_to_string(directory.join("schema.json")).expect("a schema");
    let mut model = Model::new(Catalogue::from_schema(&schema).expect("a schema of its form"));
    let mut files: Vec<_> = std::fs::read_dir(directory.join("samples"))
        .expect("samples")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl" || e == "log"))
        .collect();
    files.sort();
    let (mut recorded, mut lines) = (1_700_000_000_000_000, 0);
    for path in &files {
        let bytes = std::fs::read(path).expect("a sample");
        let name = path.to_string_lossy();
        let written = bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty()).count() as u64;
        for again in [false, true] {
            recorded += 1;
            let summary =
                model.import(&[(&name, &bytes)], ImportOptions::default(), recorded).expect("the import is in order");
            let dead: u64 = summary.dead_letters.values().sum();
            println!("{name}: {summary:?}");
            assert_eq!(summary.lines, written);
            assert_eq!(summary.lines, summary.result_lines + summary.status_lines + dead);
            assert_eq!(summary.committed, !again && (summary.looks > 0 || dead > 0));
        }
        lines += written;
    }
    assert_eq!(lines, 1801);
    let tables = model.tables(None).expect("tables");
    for table in tables["tables"].as_array().expect("a list") {
        let name = word(&table["table"]);
        model.history(name, None, &[], (None, None), None, None).expect("a history");
        if !table["evented"].as_bool().expect("a flag") {
            model.state(name, 1_514_471_990, None, &[], None, None).expect("a state");
        }
    }
}

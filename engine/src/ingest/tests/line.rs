use crate::fact::Inferred;
use crate::ingest::columns::RowReader;
use crate::ingest::line::{Action, Body, LINE_BYTES_MAX, Line, Reason, ResultLine, StatusLine, read_line};
use crate::row::Row;
use proptest::prelude::*;

fn result(line: &str) -> ResultLine<'_> {
    match read_line(line.as_bytes()) {
        Line::Result(result) => result,
        other => panic!("{line}: {other:?}"),
    }
}

fn status(line: &str) -> StatusLine<'_> {
    match read_line(line.as_bytes()) {
        Line::Status(status) => status,
        other => panic!("{line}: {other:?}"),
    }
}

fn dead(line: &str) -> Reason {
    match read_line(line.as_bytes()) {
        Line::Dead(reason) => reason,
        other => panic!("{line}: {other:?}"),
    }
}

/// A line with one row and these members besides.
fn with(members: &str) -> String {
    format!(r#"{{"name":"n","unixTime":7,"columns":{{}},"action":"added",{members}}}"#)
}

/// The row of a row-per-line line as JSON.
fn columns(columns: &str, doubles: &[&str]) -> String {
    let line = format!(r#"{{"name":"n","unixTime":7,"columns":{columns},"action":"added"}}"#);
    let Body::Row { columns, .. } = result(&line).body else { panic!("{line}") };
    let mut reader = RowReader::new();
    let bytes = reader.row(columns, |name| doubles.iter().any(|double| double.as_bytes() == name));
    format!("{:?}", Row::from_canonical(bytes).unwrap())
}

fn rows(line: &str) -> (Vec<String>, Vec<String>) {
    let mut reader = RowReader::new();
    let mut all = |list| {
        let mut out = Vec::new();
        reader.rows(list, |_| false, |bytes| out.push(format!("{:?}", Row::from_canonical(bytes).unwrap())));
        assert_eq!(out.is_empty(), list.is_empty());
        out
    };
    match result(line).body {
        Body::Batch { removed, added } => (all(removed), all(added)),
        Body::Snapshot(rows) => (Vec::new(), all(rows)),
        Body::Row { .. } => panic!("{line}"),
    }
}

#[test]
fn row_per_line() {
    let line = result(
        r#"{"name":"pack/fleet/mounts","hostIdentifier":"5a0c","calendarTime":"Mon Mar  4 10:00:05 2024 UTC","unixTime":1709546405,"epoch":7,"counter":12,"numerics":false,"decorations":{"host_uuid":"5a0c"},"columns":{"device":"/dev/sdb1","path":"/mnt/usb"},"action":"removed"}"#,
    );
    assert_eq!((&*line.host, &*line.name), (&b"5a0c"[..], &b"pack/fleet/mounts"[..]));
    assert_eq!((line.second, line.epoch, line.counter), (1_709_546_405, 7, Some(12)));
    assert_eq!(line.inferred, Inferred::V5_7);
    assert!(matches!(line.body, Body::Row { action: Action::Removed, .. }));
}

#[test]
fn batch_keeps_order_and_equal_rows() {
    let line =
        r#"{"diffResults":{"removed":[{"p":"a"}],"added":[{"p":"b"},{"p":"a"}, {"p":"b"}]},"name":"n","unixTime":7}"#;
    assert_eq!(
        rows(line),
        (vec![r#"{"p":"a"}"#.into()], vec![r#"{"p":"b"}"#.into(), r#"{"p":"a"}"#.into(), r#"{"p":"b"}"#.into()])
    );
}

#[test]
fn the_empty_string_is_an_empty_list() {
    assert_eq!(
        rows(r#"{"name":"n","unixTime":7,"diffResults":{"removed":"","added":[{}]}}"#),
        (vec![], vec!["{}".into()])
    );
    assert_eq!(rows(r#"{"name":"n","unixTime":7,"diffResults":{}}"#), (vec![], vec![]));
    assert_eq!(rows(r#"{"name":"n","unixTime":7,"snapshot":""}"#), (vec![], vec![]));
    assert_eq!(rows(r#"{"name":"n","unixTime":7,"snapshot":[ ],"action":"snapshot"}"#), (vec![], vec![]));
    assert_eq!(dead(r#"{"name":"n","unixTime":7,"snapshot":" "}"#), Reason::BadRows);
}

#[test]
fn a_value_becomes_its_text() {
    assert_eq!(
        columns(
            r#"{"s":"a\/b\u00e9","n":1e3,"z":-0,"d":2.50,"u":null,"t":true,"f":false,"l":[ 1, "x y" ],"o":{ "k" : "\u00e9" }}"#,
            &[]
        ),
        r#"{"d":"2.50","f":"false","l":"[1,\"x y\"]","n":"1e3","o":"{\"k\":\"\\u00e9\"}","s":"a/bé","t":"true","u":"","z":"-0"}"#
    );
    assert_eq!(columns(r#"{"a":"007","b":"\\xC3\\xA9","c":""}"#, &["c"]), r#"{"a":"007","b":"\\xC3\\xA9","c":""}"#);
}

#[test]
fn only_double_columns_are_rewritten() {
    let json =
        r#"{"a":"0.48999999999999999","b":"0.48999999999999999","c":3,"d":"3","e":"3 ","f":[1],"g":"1e999","h":true}"#;
    assert_eq!(
        columns(json, &["b", "c", "e", "f", "g", "h"]),
        r#"{"a":"0.48999999999999999","b":"0.49","c":"3.0","d":"3","e":"3 ","f":"[1]","g":"1e999","h":"true"}"#
    );
    assert_eq!(columns(r#"{"\u0062":"5"}"#, &["b"]), r#"{"b":"5.0"}"#, "the name counts as it reads");
}

#[test]
fn of_a_repeated_key_the_last_counts() {
    assert_eq!(columns(r#"{"a":"1","b":"2","\u0061":"3"}"#, &[]), r#"{"a":"3","b":"2"}"#);
    assert_eq!(&*result(&with(r#""name":"m""#)).name, b"m");
    assert_eq!(dead(&with(r#""name":5"#)), Reason::NoName);
    assert_eq!(result(&with(r#""unixTime":8"#)).second, 8);
    assert_eq!(dead(&with(r#""columns":[]"#)), Reason::BadRows);
    assert_eq!(dead(&with(r#""action":"other""#)), Reason::BadRows);
    assert_eq!(rows(r#"{"name":"n","unixTime":7,"snapshot":5,"snapshot":[{}]}"#).1.len(), 1);
    assert_eq!(dead(r#"{"name":"n","unixTime":7,"snapshot":[{}],"snapshot":[5]}"#), Reason::BadRows);
    assert_eq!(rows(r#"{"name":"n","unixTime":7,"diffResults":{"added":[5],"added":[{}]}}"#).1.len(), 1);
    assert_eq!(dead(r#"{"name":"n","unixTime":7,"diffResults":{"added":[{}],"added":5}}"#), Reason::BadRows);
}

#[test]
fn keys_count_as_they_read() {
    let line = result(r#"{"n\u0061me":"n","\u0075nixTime":7,"c\u006flumns":{},"acti\u006fn":"\u0061dded"}"#);
    assert_eq!((&*line.name, line.second), (&b"n"[..], 7));
    assert_eq!(rows(r#"{"name":"n","unixTime":7,"diff\u0052esults":{"\u0061dded":[{}]}}"#).1.len(), 1);
    assert_eq!(dead(r#"{"Name":"n","unixTime":7,"columns":{},"action":"added"}"#), Reason::NoName);
}

#[test]
fn host_is_the_first_of_two_strings() {
    assert_eq!(&*result(&with(r#""hostname":"b","hostIdentifier":"a""#)).host, b"a");
    assert_eq!(&*result(&with(r#""hostname":"b","hostIdentifier":"""#)).host, b"", "an empty string counts");
    assert_eq!(&*result(&with(r#""hostname":"b","hostIdentifier":5"#)).host, b"b");
    assert_eq!(&*result(&with(r#""hostname":null"#)).host, b"");
    assert_eq!(&*result(&with(r#""hostIdentifier":"\u00c4 \/""#)).host, "Ä /".as_bytes());
    let Line::Result(line) =
        read_line(b"{\"name\":\"\xff\",\"hostIdentifier\":\"\xfe\",\"unixTime\":7,\"snapshot\":\"\"}")
    else {
        panic!()
    };
    assert_eq!((&*line.host, &*line.name), (&b"\xfe"[..], &b"\xff"[..]));
}

#[test]
fn observed_time_is_unix_time_or_else_calendar_time() {
    let calendar = r#""calendarTime":"Thu Jan  1 00:01:00 1970 UTC""#;
    let second = |unix: &str| match read_line(
        format!(r#"{{"name":"n","unixTime":{unix},"snapshot":[],{calendar}}}"#).as_bytes(),
    ) {
        Line::Result(line) => Ok(line.second),
        Line::Dead(reason) => Err(reason),
        other => panic!("{other:?}"),
    };
    assert_eq!(second("7"), Ok(7));
    assert_eq!(second("7.9"), Ok(7));
    assert_eq!(second("7E1"), Ok(70));
    assert_eq!(second(r#""7""#), Ok(7));
    assert_eq!(second(r#""\u0037""#), Ok(7));
    assert_eq!(second(r#""7.9e0""#), Ok(7));
    assert_eq!(second("253402300799"), Ok(253_402_300_799));
    for beyond in ["-1", "253402300800", "1e999", "\"-1\"", "-0.5"] {
        assert_eq!(second(beyond), Err(Reason::NoTime), "{beyond} is a number and does not fall back");
    }
    for other in ["null", "\"\"", "\"x\"", "\" 7\"", "\"+7\"", "[7]", "true", "\"7.\""] {
        assert_eq!(second(other), Ok(60), "{other} falls back");
    }
    assert_eq!(dead(r#"{"name":"n","snapshot":[],"calendarTime":"soon"}"#), Reason::NoTime);
    assert_eq!(dead(r#"{"name":"n","snapshot":[],"calendarTime":7}"#), Reason::NoTime);
}

#[test]
fn epoch_and_counter_are_unsigned_integers_or_missing() {
    let both = |text: &str| {
        let line = with(&format!(r#""epoch":{text},"counter":{text}"#));
        let line = result(&line);
        (line.epoch, line.counter)
    };
    assert_eq!(both("18446744073709551615"), (u64::MAX, Some(u64::MAX)));
    assert_eq!(both(r#""18446744073709551615""#), (u64::MAX, Some(u64::MAX)));
    assert_eq!(both(r#""007""#), (7, Some(7)));
    assert_eq!(both("0"), (0, Some(0)));
    for missing in ["18446744073709551616", "-1", "1.0", "1e3", "\"\"", "\"-1\"", "\"1.0\"", "null", "[]", "\" 1\""] {
        assert_eq!(both(missing), (0, None), "{missing}");
    }
}

#[test]
fn the_form_suggests_a_version() {
    assert_eq!(result(&with(r#""numerics":false"#)).inferred, Inferred::V5_7);
    assert_eq!(result(&with(r#""logNumericsAsNumbers":false"#)).inferred, Inferred::V3_4);
    assert_eq!(result(&with(r#""numerics":null,"counter":"x""#)).inferred, Inferred::V2_10);
    assert_eq!(result(&with(r#""numerics":true,"epoch":"0""#)).inferred, Inferred::V2_10);
    assert_eq!(result(&with(r#""numerics":true,"unixTime":"7""#)).inferred, Inferred::V2_10);
    assert_eq!(result(&with(r#""numerics":true,"epoch":"0","epoch":0"#)).inferred, Inferred::V5_7);
}

#[test]
fn status_lines_have_severity_and_message_and_no_name() {
    let line = status(r#"{"hostIdentifier":"h","unixTime":"7","severity":"0","message":"m","version":"5.8.2"}"#);
    assert_eq!((&*line.host, line.second, line.version.as_deref()), (&b"h"[..], Some(7), Some(&b"5.8.2"[..])));
    let line = status(r#"{"severity":null,"message":0,"version":5,"columns":[]}"#);
    assert_eq!((&*line.host, line.second, line.version), (&b""[..], None, None));
    assert_eq!(dead(r#"{"severity":0,"message":"m","name":null}"#), Reason::NoName);
    assert_eq!(dead(r#"{"severity":0,"unixTime":7}"#), Reason::NoName);
    assert_eq!(&*result(&with(r#""severity":0,"message":"m""#)).name, b"n");
}

#[test]
fn reasons_are_tried_in_order() {
    assert_eq!(dead(&"[".repeat(200_000)), Reason::TooDeep);
    assert_eq!(dead(&with(&format!(r#""x":{}"#, "[".repeat(200_000)))), Reason::TooDeep);
    assert_eq!(dead(&format!("{{]{}", "[".repeat(200))), Reason::NotJson);
    assert_eq!(dead("{"), Reason::NotJson);
    assert_eq!(dead("[] x"), Reason::NotJson);
    assert_eq!(dead("\u{feff}{}"), Reason::NotJson);
    for other in ["[]", "5", "\"x\"", "null", " [{}] "] {
        assert_eq!(dead(other), Reason::NotObject, "{other}");
    }
    assert_eq!(dead("{}"), Reason::NoName);
    assert_eq!(dead(r#"{"name":"n"}"#), Reason::NoTime);
    assert_eq!(dead(r#"{"name":"n","unixTime":7}"#), Reason::NoRows);
    assert_eq!(dead(r#"{"name":"n","unixTime":7,"action":"added"}"#), Reason::NoRows);
    for bad in [
        r#""columns":{}"#,
        r#""columns":{},"action":"Added""#,
        r#""columns":[{}],"action":"added""#,
        r#""columns":"","action":"added""#,
        r#""diffResults":[]"#,
        r#""diffResults":"""#,
        r#""diffResults":{"added":null}"#,
        r#""diffResults":{"removed":[[]]}"#,
        r#""snapshot":{}"#,
        r#""snapshot":[{},1]"#,
        r#""snapshot":null"#,
    ] {
        assert_eq!(dead(&format!(r#"{{"name":"n","unixTime":7,{bad}}}"#)), Reason::BadRows, "{bad}");
    }
}

#[test]
fn the_first_well_formed_rows_count() {
    let kind = |members: &str| {
        let line = format!(r#"{{"name":"n","unixTime":7,{members}}}"#);
        match result(&line).body {
            Body::Row { .. } => "row",
            Body::Batch { .. } => "batch",
            Body::Snapshot(_) => "snapshot",
        }
    };
    assert_eq!(kind(r#""snapshot":[],"diffResults":{},"columns":{},"action":"snapshot""#), "row");
    assert_eq!(kind(r#""snapshot":[],"diffResults":{},"columns":{},"action":"none""#), "batch");
    assert_eq!(kind(r#""snapshot":[],"diffResults":5,"columns":5,"action":"added""#), "snapshot");
}

#[test]
fn a_row_may_stand_at_the_deepest_level_allowed() {
    let nested = |depth: usize| {
        format!(r#"{{"name":"n","unixTime":7,"snapshot":[{{"a":{}{}}}]}}"#, "[".repeat(depth), "]".repeat(depth))
    };
    assert_eq!(rows(&nested(61)).1.len(), 1, "line 1, list 2, row 3, then 61 more");
    assert_eq!(dead(&nested(62)), Reason::TooDeep);
}

#[test]
fn blank_lines_are_nothing() {
    for blank in ["", " ", "\t \r"] {
        assert!(matches!(read_line(blank.as_bytes()), Line::Blank), "{blank:?}");
    }
    assert_eq!(dead("\u{c}"), Reason::NotJson);
    assert_eq!(result(&format!(" {}\r", with(r#""x":0"#))).second, 7, "white space around the object");
}

#[test]
fn a_line_beyond_the_limit_is_too_long() {
    let mut line = vec![b' '; LINE_BYTES_MAX];
    assert!(matches!(read_line(&line), Line::Blank));
    line.push(b' ');
    assert!(matches!(read_line(&line), Line::Dead(Reason::TooLong)));
}

#[test]
fn codes_and_numbers_of_reasons_stay() {
    let codes: Vec<_> = (0..=8).map_while(Reason::from_number).map(|reason| (reason.number(), reason.code())).collect();
    assert_eq!(
        codes,
        [
            (0, "too-long"),
            (1, "too-deep"),
            (2, "not-json"),
            (3, "not-object"),
            (4, "no-name"),
            (5, "no-time"),
            (6, "no-rows"),
            (7, "bad-rows")
        ]
    );
}

proptest! {
    /// Whatever stands in a line, its rows can be read, are canonical, and agree with serde_json's reading.
    #[test]
    fn any_row_comes_out_as_serde_reads_it(row in prop::collection::btree_map(any::<String>(), any::<String>(), 0..8)) {
        let json = serde_json::to_string(&row).unwrap();
        let line = format!(r#"{{"name":"n","unixTime":7,"snapshot":[{json},{json}]}}"#);
        let Body::Snapshot(list) = result(&line).body else { panic!() };
        let mut count = 0;
        RowReader::new().rows(list, |_| false, |bytes| {
            let read = Row::from_canonical(bytes).unwrap();
            let pairs: Vec<_> = read.columns().map(|(name, text)| (name.to_vec(), text.to_vec())).collect();
            let expected: Vec<_> = row.iter().map(|(name, text)| (name.clone().into_bytes(), text.clone().into_bytes())).collect();
            assert_eq!(pairs, expected);
            count += 1;
        });
        prop_assert_eq!(count, 2);
    }

    #[test]
    fn no_bytes_panic(
        words in prop::collection::vec(prop_oneof![
            prop::sample::select(vec!["{", "}", "[", "]", ":", ",", "\"name\":\"n\"", "\"unixTime\":7", "\"columns\":{", "\"action\":\"added\"", "\"diffResults\":{", "\"added\":[{", "}]", "\"snapshot\":[", "\"a\":", "1e5", "null", " ", "\"\\ud800\""]).prop_map(|word| word.as_bytes().to_vec()),
            prop::collection::vec(any::<u8>(), 0..4),
        ], 0..20),
    ) {
        let line = words.concat();
        if let Line::Result(result) = read_line(&line) {
            let mut reader = RowReader::new();
            match result.body {
                Body::Row { columns, .. } => drop(reader.row(columns, |_| true).to_vec()),
                Body::Snapshot(list) => reader.rows(list, |_| true, |row| assert!(Row::from_canonical(row).is_some())),
                Body::Batch { removed, added } => {
                    reader.rows(removed, |_| true, |_| {});
                    reader.rows(added, |_| true, |_| {});
                }
            }
        }
    }
}

//! A parser that remembers says of every line what one that reads it in full says.

use crate::catalogue::{Catalogue, StreamMap, table_of};
use crate::fact::{Inferred, Kind, Second};
use crate::ingest::columns::RowReader;
use crate::ingest::line::{Action, Body, Line, Reason, ResultLine, read_line};
use crate::ingest::parse::{Item, Parsed, Parser};
use crate::row::Row;
use proptest::prelude::*;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// A table with DOUBLE columns `x` and `z`; a query whose name maps to it; another whose name does not.
const DOUBLES: [&[u8]; 2] = [b"x", b"z"];
const WITH_DOUBLES: &str = "pack_probe";
const WITHOUT: &str = "pack_users";

static CATALOGUE: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
    let schema = r#"[{"name":"probe","evented":false,"platforms":[],"columns":[
        {"name":"x","type":"DOUBLE","description":""},{"name":"z","type":"DOUBLE","description":""}]}]"#;
    Arc::new(Catalogue::shipped().updated_with(&Catalogue::from_osquery_schema(schema.as_bytes()).unwrap()))
});

/// What was made of a line.
#[derive(Clone, Debug, PartialEq)]
enum Made {
    Result {
        host: Vec<u8>,
        name: Vec<u8>,
        kind: Kind,
        second: Second,
        epoch: u64,
        counter: Option<u64>,
        inferred: Inferred,
        /// Whether the rows are a whole look's.
        whole: bool,
        removed: Vec<Row>,
        added: Vec<Row>,
    },
    Status(Vec<u8>, Option<Second>, Option<Vec<u8>>),
    Dead(u64, Reason, Vec<u8>, u64),
}

/// What reading every line in full, from nothing, makes of a text.
fn slowly(text: &[u8]) -> Vec<Made> {
    let mut made = Vec::new();
    let mut offset = 0;
    for piece in text.split_inclusive(|&byte| byte == b'\n') {
        let line = piece.strip_suffix(b"\n").unwrap_or(piece);
        match read_line(line) {
            Line::Blank => {}
            Line::Result(line) => made.push(result(&line)),
            Line::Status(line) => {
                let version = line.version.map(|version| version.into_owned());
                made.push(Made::Status(line.host.into_owned(), line.second, version));
            }
            Line::Dead(reason) => made.push(Made::Dead(offset, reason, line.to_vec(), line.len() as u64)),
        }
        offset += piece.len() as u64;
    }
    made
}

fn result(line: &ResultLine<'_>) -> Made {
    let mut reader = RowReader::new();
    // A name that came to harm may still be one of the table.
    let table = table_of(&line.name, &StreamMap::empty(), &CATALOGUE).table;
    let doubles = |column: &[u8]| *table == *b"probe" && DOUBLES.contains(&column);
    let row = |bytes: &[u8]| Row::from_canonical(bytes).unwrap();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    let mut kind = if line.name.ends_with(b"_events") { Kind::Event } else { Kind::Diff };
    match line.body {
        Body::Row { action, columns } => {
            let row = row(reader.row(columns, doubles));
            if action == Action::Removed {
                removed.push(row)
            } else {
                added.push(row)
            }
            if action == Action::Snapshot {
                kind = Kind::Snapshot;
            }
        }
        Body::Batch { removed: r, added: a } => {
            reader.rows(r, doubles, |bytes| removed.push(row(bytes)));
            reader.rows(a, doubles, |bytes| added.push(row(bytes)));
        }
        Body::Snapshot(list) => {
            reader.rows(list, doubles, |bytes| added.push(row(bytes)));
            kind = Kind::Snapshot;
        }
    }
    Made::Result {
        host: line.host.to_vec(),
        name: line.name.to_vec(),
        kind,
        second: line.second,
        epoch: line.epoch,
        counter: line.counter,
        inferred: line.inferred,
        whole: !matches!(line.body, Body::Row { .. }),
        removed,
        added,
    }
}

/// What one parser makes of a text in blocks of whole lines, about so long.
fn quickly(text: &[u8], block_bytes: usize) -> Vec<Made> {
    let mut parser = Parser::new(CATALOGUE.clone(), StreamMap::empty());
    let (mut parsed, mut made) = (Parsed::default(), Vec::new());
    let mut at = 0;
    while at < text.len() {
        let least = (at + block_bytes).min(text.len());
        let end = text[least..].iter().position(|&byte| byte == b'\n').map_or(text.len(), |len| least + len + 1);
        parsed.clear();
        parser.block(&text[at..end], at as u64, &mut parsed);
        flatten(&parsed, &mut made);
        at = end;
    }
    made
}

fn flatten(parsed: &Parsed, made: &mut Vec<Made>) {
    let before = made.len();
    let mut row = 0;
    let mut rows = |count: Range<u32>| -> Vec<Row> {
        let rows: Vec<Row> = parsed.rows(row, count.len() as u32).collect();
        assert_eq!(
            parsed.row_bytes(row, count.len() as u32),
            rows.iter().map(|row| row.as_bytes().len()).sum::<usize>()
        );
        row += count.len();
        for row in &rows {
            assert_eq!(row.content_hash(), crate::row::hash_of(row.as_bytes()));
            assert!(Row::from_canonical(row.as_bytes()).is_some());
        }
        rows
    };
    for item in &parsed.items {
        let mut result = |said: u32, whole: bool, removed: Vec<Row>, added: Vec<Row>| {
            let said = &parsed.said[said as usize];
            made.push(Made::Result {
                host: said.host.to_vec(),
                name: said.name.to_vec(),
                kind: said.kind,
                second: said.second,
                epoch: said.epoch,
                counter: said.counter,
                inferred: said.inferred,
                whole,
                removed,
                added,
            });
        };
        match item {
            Item::Rows { said, rows: count } => {
                for row in rows(0..*count) {
                    let row = vec![row];
                    let (removed, added) = match parsed.said[*said as usize].removed {
                        true => (row, Vec::new()),
                        false => (Vec::new(), row),
                    };
                    result(*said, false, removed, added);
                }
            }
            Item::Whole { said, removed, added } => {
                let (removed, added) = (rows(0..*removed), rows(0..*added));
                result(*said, true, removed, added);
            }
            Item::Status { host, second, version } => {
                made.push(Made::Status(host.to_vec(), *second, version.as_ref().map(|version| version.to_vec())));
            }
            Item::Dead { offset, reason, head, length } => {
                made.push(Made::Dead(*offset, *reason, head.to_vec(), *length));
            }
        }
    }
    assert_eq!(parsed.lines as usize, made.len() - before);
}

#[track_caller]
fn agree(lines: &[&str]) {
    let text = lines.join("\n");
    for block_bytes in [0, 100, 1 << 20] {
        assert_eq!(quickly(text.as_bytes(), block_bytes), slowly(text.as_bytes()), "{text}");
    }
}

fn line(columns: &str) -> String {
    format!(
        r#"{{"name":"{WITH_DOUBLES}","hostIdentifier":"h","unixTime":7,"epoch":1,"counter":2,"numerics":false,"columns":{columns},"action":"added"}}"#
    )
}

/// Every row after one that fixes the shape, and before one that has it.
#[test]
fn rows_that_are_nearly_alike() {
    let first = line(r#"{"b":"1","x":"2","a":"3"}"#);
    for columns in [
        r#"{"b":"1","x":"1e3","a":"3"}"#,
        r#"{"b":"1","x":1.25,"a":-3}"#,
        r#"{"b":null,"x":true,"a":false}"#,
        r#"{"b":nul,"x":"","a":"3"}"#,
        r#"{"b":01,"x":"","a":"3"}"#,
        r#"{"b":"\u0041\\\"","x":"\u0031","a":"\ud800"}"#,
        r#"{"b":"\x","x":"","a":"3"}"#,
        r#"{"b":[1, 2,{"c" : " d "}],"x":{ },"a":"3"}"#,
        r#"{"b":[1,,2],"x":"","a":"3"}"#,
        r#"{"b":"1","x":"2","a":"3","b":"4"}"#,
        r#"{"b":"1","b":"2","a":"3"}"#,
        r#"{"\u0062":"1","x":"2","a":"3"}"#,
        r#"{"b" :"1","x":"2","a":"3"}"#,
        r#"{"b": "1","x":"2","a":"3"}"#,
        r#"{"b":"1","x":"2","a":"3" }"#,
        r#"{ "b":"1","x":"2","a":"3"}"#,
        r#"{"b":"1","x":"2"}"#,
        r#"{"b":"1","x":"2","a":"3","c":"4"}"#,
        r#"{}"#,
        r#"{"b":"1","x":"2","a":"3"},"columns":{"b":"9"}"#,
        r#"{"b":"1","x":"2","a":"3"},"action":"removed"#,
        r#"{"b":"1","x":"2","a":"3"},"name":"other""#,
        "{\"b\":\"1\u{1}\",\"x\":\"2\",\"a\":\"3\"}",
        "{\"b\":[1,\n2],\"x\":\"2\",\"a\":\"3\"}",
        r#"{"b":"1\,"x":"2","a":"3"}"#,
        "{\"b\":\"1\u{1},\"x\":\"2\",\"a\":\"3\"}",
        "{\"b\":\"1\n,\"x\":\"2\",\"a\":\"3\"}",
        "{\"b\":\"1\n\",\"x\":\"2\",\"a\":\"3\"}",
        &format!(r#"{{"b":"{}","x":"2","a":"{}"}}"#, "v".repeat(200), "w".repeat(20_000)),
        &format!(r#"{{"b":{}{},"x":"2","a":"3"}}"#, "[".repeat(62), "]".repeat(62)),
        &format!(r#"{{"b":{}{},"x":"2","a":"3"}}"#, "[".repeat(63), "]".repeat(63)),
    ] {
        agree(&[&first, &first, &line(columns), &line(columns), &first]);
    }
}

/// The query's name comes after the row, and with it which columns are DOUBLE.
#[test]
fn what_follows_the_row_counts() {
    let line = |name: &str, action: &str| {
        format!(
            r#"{{"hostIdentifier":"h","unixTime":7,"columns":{{"x":"1","a":"2"}},"action":"{action}","name":"{name}"}}"#
        )
    };
    let (a, b, c) = (line(WITH_DOUBLES, "added"), line(WITHOUT, "added"), line(WITH_DOUBLES, "removed"));
    agree(&[&a, &b, &a, &c, &b, &c, &a, &a]);
    let host = |host: &str| {
        format!(r#"{{"name":"n","unixTime":7,"columns":{{"x":"1"}},"action":"added","hostname":"{host}"}}"#)
    };
    let hosts: Vec<String> = ["a", "b", "c", "d", "e", "f", "a", "f"].map(host).to_vec();
    agree(&hosts.iter().map(String::as_str).collect::<Vec<_>>());
}

/// As one changed byte may make it.
#[test]
fn another_name_may_be_of_the_same_table() {
    let line = |name: &str| {
        format!(r#"{{"name":"{name}","hostIdentifier":"h","unixTime":7,"columns":{{"x":"1.50"}},"action":"added"}}"#)
    };
    agree(&[&line("pack__probe"), &line(WITH_DOUBLES), &line("pack__probe"), &line("pack_prob")]);
}

#[test]
fn the_last_line_may_lack_its_newline_and_the_first_its_start() {
    let first = line(r#"{"b":"1"}"#);
    agree(&[&first[10..], &first, &first, &first[..first.len() - 1]]);
    agree(&[&first, &format!("{first}\r"), &format!("{first}\r"), &first, ""]);
}

/// Text of a value as it may be written.
fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => "[a-z0-9 /.:-]{0,24}".prop_map(|text| format!("\"{text}\"")),
        1 => "[a-z ]{60,150}".prop_map(|text| format!("\"{text}\"")),
        2 => prop::sample::select(vec![
            "\"\"", "\"1.50\"", "\"-0\"", "\"1e400\"", "7", "-1.5e3", "00", "null", "true", "[1, {\"a\" :2}]", "{}", "\"\\u00e9\\n\"",
            "\"\\\\\"", "\"\\q\"", "\"", "nul", "[", "\"\u{7f}\u{e9}\"",
        ]).prop_map(str::to_owned),
    ]
}

fn member() -> impl Strategy<Value = (String, String)> {
    (
        prop::sample::select(vec!["a", "b", "x", "z", "name", "\\u0061", "long_name_of_a_column", ""])
            .prop_map(str::to_owned),
        value(),
    )
}

/// A line: mostly as an agent writes it, with the things that vary from line to line few, so that lines are alike.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let columns = prop_oneof![
        5 => (value(), value(), value()).prop_map(|(a, b, c)| format!(r#"{{"b":{a},"x":{b},"a":{c}}}"#)),
        2 => prop::collection::vec(member(), 0..5).prop_map(|members| {
            let members: Vec<String> = members.into_iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        }),
    ];
    let name = prop::sample::select(vec![WITH_DOUBLES, WITH_DOUBLES, WITHOUT, "pack_process_events"]);
    let action = prop::sample::select(vec!["added", "added", "removed", "snapshot", "odd"]);
    let form = prop::sample::select(vec![0, 0, 0, 0, 0, 1, 2, 3, 4, 5]);
    let damage = prop::option::weighted(0.1, (any::<prop::sample::Index>(), any::<u8>(), 0..3u8));
    (columns, name, action, 0..2u8, 0..2u8, form, damage).prop_map(
        |(columns, name, action, host, second, form, damage)| {
            let head = format!(r#""name":"{name}","hostIdentifier":"h{host}","unixTime":{second}"#);
            let text = match form {
                0 => format!(r#"{{{head},"columns":{columns},"action":"{action}"}}"#),
                1 => format!(r#"{{"columns":{columns},{head},"action":"{action}"}}"#),
                2 => format!(r#"{{{head}, "columns" : {columns} ,"action":"{action}"}} "#),
                3 => format!(r#"{{{head},"diffResults":{{"removed":[{columns}],"added":[{columns},{columns}]}}}}"#),
                4 => format!(r#"{{{head},"snapshot":[{columns}],"columns":{columns},"action":"{action}"}}"#),
                _ => format!(
                    r#"{{"severity":"0","message":"m","hostIdentifier":"h{host}","unixTime":{second},"version":"5.1"}}"#
                ),
            };
            let mut line = text.into_bytes();
            if let Some((at, byte, way)) = damage {
                let at = at.index(line.len());
                match way {
                    0 => line[at] = byte,
                    1 => line.insert(at, byte),
                    _ => line.truncate(at),
                }
            }
            line
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn any_lines_are_read_as_if_each_came_alone(
        lines in prop::collection::vec((any_line(), 1..3usize), 0..20),
        block_bytes in prop::sample::select(vec![0, 300, 1000, 1 << 20]),
        ended in any::<bool>(),
    ) {
        let mut text: Vec<u8> = Vec::new();
        for (line, times) in &lines {
            for _ in 0..*times {
                text.extend_from_slice(line);
                text.push(b'\n');
            }
        }
        if !ended {
            text.pop();
        }
        prop_assert_eq!(quickly(&text, block_bytes), slowly(&text));
    }
}

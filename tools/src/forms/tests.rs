//! Every answer in every form, as a reader gets it: `golden/NAME.txt` shows them all.
//!
//! To look at a change of form, delete the file, run the test (it writes what is absent, and fails), and read the diff.

use super::text::{View, write_rest};
use super::{Answer, Format, samples, write};
use crate::when::Zone;
use erstwhile_engine::read::answer::{Coverage, Verdict};
use serde_json::Value;
use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::sync::Arc;

fn suggest(stream: &[u8], table: &[u8]) -> String {
    format!(
        "[[stream]]\nname = \"{}\"\ntable = \"{}\"\n",
        String::from_utf8_lossy(stream),
        String::from_utf8_lossy(table)
    )
}

fn view(width: Option<usize>) -> View<'static> {
    View { color: false, width, zone: Zone::utc(), suggest: &suggest }
}

fn form(answer: &Answer, format: Format, view: &View<'_>) -> String {
    let mut out = Vec::new();
    write(answer, format, view, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn text(answer: &Answer) -> String {
    form(answer, Format::Text, &view(None))
}

fn every() -> Vec<(&'static str, Answer)> {
    vec![
        ("state", Answer::State(samples::state())),
        ("who", Answer::Who(samples::who())),
        ("what", Answer::What(samples::what())),
        ("history", Answer::History(samples::history())),
        ("diff", Answer::Diff(samples::diff())),
        ("hosts", Answer::Hosts(samples::hosts())),
        ("tables", Answer::Tables(samples::tables())),
        ("coverage", Answer::Coverage(samples::streams())),
    ]
}

#[test]
fn every_form_of_every_answer_is_as_written_down() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/forms/golden");
    for (name, answer) in every() {
        let mut all = String::new();
        for (title, format, width) in [
            ("text, piped", Format::Text, None),
            ("text, 100 columns wide", Format::Text, Some(100)),
            ("text, 60 columns wide", Format::Text, Some(60)),
            ("json", Format::Json, None),
            ("ndjson", Format::Ndjson, None),
            ("csv (␍ is a carriage return)", Format::Csv, None),
        ] {
            let form = form(&answer, format, &view(width)).replace('\r', "␍");
            let _ = write!(all, "==== {title}\n{form}\n");
        }
        let file = folder.join(format!("{name}.txt"));
        match fs::read_to_string(&file) {
            Ok(golden) => assert_eq!(all, golden, "{name}"),
            Err(_) => {
                fs::write(&file, &all).unwrap();
                panic!("{} was absent and has been written: read it", file.display());
            }
        }
    }
}

/// A program that reads NDJSON must end up with exactly what JSON says.
#[test]
fn lines_and_the_last_line_make_up_the_object() {
    for (name, answer) in every() {
        let whole: Value = serde_json::from_str(&form(&answer, Format::Json, &view(None))).unwrap();
        let lines = form(&answer, Format::Ndjson, &view(None));
        let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let mut rest = lines.pop().expect("the last line");
        if name == "what" {
            for link in rest["links"].as_array_mut().unwrap() {
                link["rows"] = lines
                    .extract_if(.., |row| row["table"] == link["table"])
                    .map(|mut row| {
                        row.as_object_mut().unwrap().remove("table");
                        row
                    })
                    .collect();
            }
        } else {
            let key = match name {
                "hosts" | "tables" => name,
                "coverage" => "streams",
                _ => "rows",
            };
            rest[key] = Value::Array(lines);
        }
        assert_eq!(rest, whole, "{name}");
    }
}

/// Splits RFC 4180 records; of each field, whether it was quoted.
fn records(csv: &str) -> Vec<Vec<(String, bool)>> {
    let mut records = Vec::new();
    let mut rest = csv;
    while !rest.is_empty() {
        let mut record = Vec::new();
        loop {
            let mut field = String::new();
            let quoted = rest.starts_with('"');
            if quoted {
                rest = &rest[1..];
                loop {
                    let end = rest.find('"').expect("a closing quote");
                    field.push_str(&rest[..end]);
                    rest = &rest[end + 1..];
                    if !rest.starts_with('"') {
                        break;
                    }
                    field.push('"');
                    rest = &rest[1..];
                }
            } else {
                let end = rest.find([',', '\r']).expect("an end of field");
                field.push_str(&rest[..end]);
                rest = &rest[end..];
            }
            record.push((field, quoted));
            match rest.strip_prefix(',') {
                Some(after) => rest = after,
                None => break,
            }
        }
        rest = rest.strip_prefix("\r\n").expect("an end of record");
        records.push(record);
    }
    records
}

#[test]
fn every_record_has_the_header_s_fields() {
    for (name, answer) in every() {
        let records = records(&form(&answer, Format::Csv, &view(None)));
        for record in &records {
            assert_eq!(record.len(), records[0].len(), "{name}");
        }
    }
}

#[test]
fn absent_is_not_empty_in_csv() {
    let csv = form(&Answer::State(samples::state()), Format::Csv, &view(None));
    let records = records(&csv);
    let field = |row: usize, name: &str| {
        let column = records[0].iter().position(|(its, _)| its == name).unwrap();
        records[row][column].clone()
    };
    assert_eq!(field(1, "columns.empty"), (String::new(), true), "empty");
    assert_eq!(field(1, "columns.why"), (String::new(), false), "absent");
    assert_eq!(field(2, "columns.cmdline").0, "say \"a,b\"\r\n\u{1b}[2J\u{fffd}");
    assert_eq!(field(1, "lossy").0, "");
    assert_eq!(field(2, "lossy").0, "true");
}

/// What CSV has no place for is told beside it.
#[test]
fn the_rest_of_a_csv_answer_is_said() {
    let mut rest = Vec::new();
    write_rest(&Answer::Who(samples::who()), &view(None), &mut rest).unwrap();
    let rest = String::from_utf8(rest).unwrap();
    assert!(rest.contains("410 covered, 2 presumed, 3 unknown, 85 never looked"));
    assert!(rest.contains("as known at 2018-12-24 10:15:00.000000 UTC"));
}

#[test]
fn nobody_is_said_only_with_the_four_counts() {
    let mut who = samples::who();
    who.rows.clear();
    assert!(text(&Answer::Who(who.clone())).starts_with(
        "Nobody is known to have had 10.0.0.7 at 2018-12-24 10:00:00 UTC: \
         410 covered, 2 presumed, 3 unknown, 85 never looked.\n\
         cannot speak: db-1 (before-first: its first look is later), "
    ));
    who.coverage = Coverage { never: 500, ..Coverage::default() };
    let text = text(&Answer::Who(who));
    assert!(text.starts_with(
        "No host can say who had 10.0.0.7 at 2018-12-24 10:00:00 UTC: \
         0 covered, 0 presumed, 0 unknown, 500 never looked.\n"
    ));
    assert!(!text.contains("Nobody"));
}

#[test]
fn one_candidate_is_a_sentence() {
    let mut who = samples::who();
    for (row, sentence) in [
        (0, "web-1 had 10.0.0.7 at 2018-12-24 10:00:00 UTC: definite, seen 09:58:02 and again 10:03:02.\n"),
        (1, "web-3 presumably had 10.0.0.7 at 2018-12-24 10:00:00 UTC: presumed, last seen 09:58:02, no look since.\n"),
        (
            2,
            "web-2 possibly had 10.0.0.7 at 2018-12-24 10:00:00 UTC: possible, last seen 09:58:02, gone by 10:03:02.\n",
        ),
        (3, "web-4 may have had 10.0.0.7 at 2018-12-24 10:00:00 UTC: unknown, "),
    ] {
        let all = samples::who().rows;
        who.rows = vec![all[row].clone()];
        let text = text(&Answer::Who(who.clone()));
        assert!(text.starts_with(sentence), "{text}");
    }
    // A row that only the look after T has.
    let held = &mut who.rows[0];
    held.verdict = Verdict::Possible;
    Arc::make_mut(&mut held.version).from = samples::AT + 182;
    held.after = Some(samples::AT + 182);
    assert!(text(&Answer::Who(who.clone())).contains("not there 09:58:02, first seen 10:03:02"));
    who.question = "who uid 1000".to_owned();
    who.rows[0].version = samples::version("web-1", "users", &[("username", b"al\x07ice")]).into();
    assert!(text(&Answer::Who(who)).starts_with("al\\x07ice on web-1 possibly had uid 1000 at "), "a user");
}

#[test]
fn colour_only_where_it_is_wanted() {
    for (name, answer) in every() {
        for (color, wanted) in [(false, false), (true, true)] {
            let view = View { color, ..view(Some(100)) };
            let text = form(&answer, Format::Text, &view);
            assert_eq!(text.contains('\u{1b}'), wanted, "{name}");
        }
    }
}

#[test]
fn times_are_shown_in_the_zone_that_is_asked_for() {
    let mut berlin = view(None);
    berlin.zone = Zone::named("Europe/Berlin").unwrap();
    let who = Answer::Who(samples::who());
    let text = form(&who, Format::Text, &berlin);
    assert!(text.contains("at 2018-12-24 11:00:00 +01:00"), "{text}");
    assert!(text.contains("last seen 10:58:02, gone by 11:03:02"), "{text}");
    assert_eq!(
        form(&who, Format::Json, &berlin),
        form(&who, Format::Json, &view(None)),
        "not in the forms for programs"
    );
}

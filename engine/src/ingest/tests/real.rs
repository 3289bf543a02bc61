//! Lines that real agents wrote. They are not part of the project: `ERSTWHILE_REAL_DATA` names a folder with `samples/`.

use crate::ingest::columns::RowReader;
use crate::ingest::line::{Body, Line, Reason, read_line};
use crate::ingest::source::{LineSource, SourceLine};
use crate::row::Row;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// How many lines of each sort a file holds, and how many rows in all.
#[derive(Debug, Default, PartialEq)]
struct Count {
    rows_per_line: u64,
    batches: u64,
    snapshots: u64,
    rows: u64,
    status: u64,
    dead: BTreeMap<&'static str, u64>,
}

fn count(path: &Path) -> Count {
    let mut source = LineSource::new(path.display().to_string(), File::open(path).unwrap());
    let (mut count, mut reader) = (Count::default(), RowReader::new());
    while let Some(line) = source.next_line().unwrap() {
        let SourceLine::Line { bytes, .. } = line else { panic!("{line:?}") };
        let mut check = |row: &[u8]| {
            assert!(Row::from_canonical(row).is_some());
            count.rows += 1;
        };
        match read_line(bytes) {
            Line::Result(line) => match line.body {
                Body::Row { columns, .. } => {
                    check(reader.row(columns, |_| false));
                    count.rows_per_line += 1;
                }
                Body::Batch { removed, added } => {
                    reader.rows(removed, |_| false, &mut check);
                    reader.rows(added, |_| false, &mut check);
                    count.batches += 1;
                }
                Body::Snapshot(list) => {
                    reader.rows(list, |_| false, &mut check);
                    count.snapshots += 1;
                }
            },
            Line::Status(_) => count.status += 1,
            Line::Dead(reason) => *count.dead.entry(reason.code()).or_default() += 1,
            Line::Blank => {}
        }
    }
    assert_eq!(source.bytes_in(), path.metadata().unwrap().len());
    count
}

#[test]
fn every_real_line_is_read() {
    let Some(data) = std::env::var_os("ERSTWHILE_REAL_DATA") else {
        eprintln!("skipped: ERSTWHILE_REAL_DATA is not set");
        return;
    };
    let count = |file: &str| count(&Path::new(&data).join("samples").join(file));
    let dead = |reasons: &[(Reason, u64)]| reasons.iter().map(|(reason, n)| (reason.code(), *n)).collect();
    let none = Count::default;

    assert_eq!(count("beats-osqueryd.results.darwin.log"), Count { rows_per_line: 1652, rows: 1652, ..none() });
    assert_eq!(count("beats-osquery.rootkit.log"), Count { rows_per_line: 61, rows: 61, ..none() });
    assert_eq!(
        count("fleet-result-lines.jsonl"),
        Count { rows_per_line: 12, batches: 2, snapshots: 19, rows: 12 + 22, ..none() }
    );
    assert_eq!(count("fleet-status-lines.jsonl"), Count { status: 2, ..none() });
    // Test literals without any time.
    assert_eq!(count("osctrl-process-tests.jsonl"), Count { dead: dead(&[(Reason::NoTime, 2)]), ..none() });
    assert_eq!(
        count("osquery-own-tests-and-docs.jsonl"),
        Count {
            rows_per_line: 9,
            batches: 3,
            snapshots: 2,
            rows: 9 + 28,
            dead: dead(&[(Reason::NoName, 1), (Reason::NoTime, 1)]),
            ..none()
        }
    );
    assert_eq!(
        count("panther-analysis-rule-tests.jsonl"),
        Count { rows_per_line: 10, rows: 10, dead: dead(&[(Reason::NoTime, 25)]), ..none() }
    );
}

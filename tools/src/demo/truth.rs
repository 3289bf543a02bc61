//! The simulated truth, as far as the questions need it: who had what when, and when agents looked.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

/// Tables that the questions are about.
const TABLES: [&str; 5] = ["interface_addresses", "users", "mounts", "block_devices", "usb_devices"];

/// A stretch of seconds, the second end exclusive.
pub(crate) type Span = (i64, i64);

/// A row that a table of a host held in `[from, to)`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Fact {
    /// The host.
    pub(crate) host: String,
    table: String,
    row: BTreeMap<String, serde_json::Value>,
    /// Since when.
    pub(crate) from: i64,
    /// Until when; `None` is for ever.
    pub(crate) to: Option<i64>,
}

impl Fact {
    /// A column's text; empty where it is not UTF-8.
    pub(crate) fn text(&self, column: &str) -> &str {
        self.row.get(column).and_then(|text| text.as_str()).unwrap_or_default()
    }

    fn holds(&self, second: i64) -> bool {
        self.from <= second && self.to.is_none_or(|to| second < to)
    }
}

/// What happened and who saw it.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    facts: Vec<Fact>,
    /// The seconds at which a table of a host was looked at and something was written, ascending.
    looks: BTreeMap<(String, String), Vec<i64>>,
}

impl Truth {
    /// Reads the files of a simulation's `truth`.
    pub(crate) fn read(folder: &Path) -> io::Result<Truth> {
        #[derive(Deserialize)]
        struct Look {
            host: String,
            table: String,
            second: i64,
        }
        let mut truth = Truth::default();
        lines(&folder.join("world.ndjson"), |line| {
            // Other kinds of lines have other fields, other tables are not asked for.
            truth.facts.extend(serde_json::from_str::<Fact>(line).ok());
        })?;
        lines(&folder.join("looks.ndjson"), |line| {
            if let Ok(look) = serde_json::from_str::<Look>(line) {
                truth.looks.entry((look.host, look.table)).or_default().push(look.second);
            }
        })?;
        truth.facts.sort_by(|a, b| (a.from, &a.host).cmp(&(b.from, &b.host)));
        for seconds in truth.looks.values_mut() {
            seconds.sort_unstable();
            seconds.dedup();
        }
        Ok(truth)
    }

    /// The rows of a table, by their begin.
    pub(crate) fn of<'a>(&'a self, table: &'a str) -> impl Iterator<Item = &'a Fact> + Clone {
        self.facts.iter().filter(move |fact| fact.table == table)
    }

    /// Where the looks on both sides saw the row.
    pub(crate) fn sure(&self, fact: &Fact) -> Vec<Span> {
        self.spans(fact, true, true)
    }

    /// From the last look that did not see the row yet to the first that did.
    pub(crate) fn coming(&self, fact: &Fact) -> Option<Span> {
        self.spans(fact, false, true).first().copied()
    }

    /// From the last look that saw the row to the first that did not any more.
    pub(crate) fn leaving(&self, fact: &Fact) -> Option<Span> {
        self.spans(fact, true, false).first().copied()
    }

    /// From each look to the next, where the first saw the row or not, and the next did or not.
    fn spans(&self, fact: &Fact, first: bool, next: bool) -> Vec<Span> {
        let looks = self.looks.get(&(fact.host.clone(), fact.table.clone())).map_or(&[][..], Vec::as_slice);
        let pairs = looks.windows(2).map(|pair| (pair[0], pair[1]));
        pairs.filter(|&(a, b)| fact.holds(a) == first && fact.holds(b) == next).collect()
    }
}

/// Hands on the lines that are about one of [`TABLES`].
fn lines(path: &Path, mut take: impl FnMut(&str)) -> io::Result<()> {
    let wanted = TABLES.map(|table| format!("\"table\":\"{table}\""));
    let mut reader = BufReader::with_capacity(256 * 1024, File::open(path)?);
    let mut line = String::new();
    while reader.read_line(&mut line)? > 0 {
        if wanted.iter().any(|wanted| line.contains(wanted)) {
            take(&line);
        }
        line.clear();
    }
    Ok(())
}

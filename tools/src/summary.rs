//! What an import did.

use crate::exit::Exit;
use crate::forms::json::Json;
use crate::forms::text::{count, grouped};
use crate::when::calendar::micros_text;
use erstwhile_engine::fact::Micros;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// The counts of one import.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportSummary {
    /// Lines that are not blank, of every kind.
    pub lines: u64,
    /// Looks that were new or grew.
    pub looks: u64,
    /// Added and removed rows of these looks.
    pub rows: u64,
    /// Status lines.
    pub status_lines: u64,
    /// Deliveries that said nothing new.
    pub known_deliveries: u64,
    /// Lines of one look with different content.
    pub forks: u64,
    /// Breaks that the import brought, by cause.
    pub breaks: BTreeMap<&'static str, u64>,
    /// Lines that could not be read, by reason.
    pub dead_letters: BTreeMap<&'static str, u64>,
    /// Bytes of input, as stored in the files.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// The recorded time of the last commit; `None` if nothing was new.
    pub recorded_at: Option<Micros>,
    /// Things worth knowing that are no failure, such as a map that holds only for looks from now on.
    pub notes: Vec<String>,
    /// Inputs that could not be read to their end, and why; what came before is imported.
    pub faults: Vec<String>,
}

impl ImportSummary {
    /// [`Exit::Failed`] if an input could not be read to its end, [`Exit::Incomplete`] if a line could not be read.
    pub fn exit(&self) -> Exit {
        if !self.faults.is_empty() {
            Exit::Failed
        } else if self.dead_letters.values().any(|lines| *lines > 0) {
            Exit::Incomplete
        } else {
            Exit::Done
        }
    }

    /// Writes it for people.
    pub fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "imported {} ({} in {:.1} s): {}, {}",
            count(self.lines, "line", "lines"),
            bytes_text(self.bytes),
            self.seconds,
            count(self.looks, "look", "looks"),
            count(self.rows, "row", "rows")
        )?;
        for (words, number) in [
            ("status lines", self.status_lines),
            ("known already (deliveries)", self.known_deliveries),
            ("forks", self.forks),
        ] {
            if number > 0 {
                writeln!(out, "{words}: {}", grouped(number))?;
            }
        }
        for (words, counts) in
            [("breaks", &self.breaks), ("dead letters (lines that could not be read)", &self.dead_letters)]
        {
            let each: Vec<String> = counts
                .iter()
                .filter(|(_, number)| **number > 0)
                .map(|(word, number)| format!("{word} {}", grouped(*number)))
                .collect();
            if !each.is_empty() {
                writeln!(out, "{words}: {}", each.join(", "))?;
            }
        }
        match self.recorded_at {
            Some(recorded) => writeln!(out, "recorded at {}", micros_text(recorded))?,
            None => writeln!(out, "nothing new: no commit was made")?,
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        Ok(())
    }

    /// Writes it as one JSON object on one line.
    pub fn write_json(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut json = Json::new(out);
        json.open(b'{');
        json.number("lines", self.lines);
        json.number("looks", self.looks);
        json.number("rows", self.rows);
        json.number("status_lines", self.status_lines);
        json.number("known_deliveries", self.known_deliveries);
        json.number("forks", self.forks);
        for (key, counts) in [("breaks", &self.breaks), ("dead_letters", &self.dead_letters)] {
            json.key(key);
            json.open(b'{');
            for (word, number) in counts {
                json.number(word, *number);
            }
            json.close(b'}');
        }
        json.number("bytes", self.bytes);
        json.key("seconds");
        json.value(format_args!("{:.3}", self.seconds));
        json.micros("recorded_at", self.recorded_at);
        for (key, texts) in [("notes", &self.notes), ("faults", &self.faults)] {
            json.key(key);
            json.open(b'[');
            for text in texts {
                json.string(text.as_bytes());
            }
            json.close(b']');
        }
        json.close(b'}');
        json.line()?;
        json.flush()
    }
}

/// `812 bytes`, `4.2 MB`.
pub(crate) fn bytes_text(bytes: u64) -> String {
    let mut size = bytes as f64;
    let mut unit = "bytes";
    for larger in ["kB", "MB", "GB", "TB"] {
        if size < 1_000.0 {
            break;
        }
        size /= 1_000.0;
        unit = larger;
    }
    if unit == "bytes" { count(bytes, "byte", "bytes") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary() -> ImportSummary {
        ImportSummary {
            lines: 5_132,
            looks: 311,
            rows: 4_800,
            status_lines: 21,
            known_deliveries: 12,
            breaks: BTreeMap::from([("fork", 1), ("gap", 3)]),
            dead_letters: BTreeMap::from([("no-time", 1), ("not-json", 2)]),
            bytes: 4_201_000,
            seconds: 0.8114,
            recorded_at: Some(1_545_645_600_250_000),
            ..ImportSummary::default()
        }
    }

    #[test]
    fn people_see_what_happened_and_what_was_left_aside() {
        let mut out = Vec::new();
        summary().write_text(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "imported 5,132 lines (4.2 MB in 0.8 s): 311 looks, 4,800 rows\n\
             status lines: 21\n\
             known already (deliveries): 12\n\
             breaks: fork 1, gap 3\n\
             dead letters (lines that could not be read): no-time 1, not-json 2\n\
             recorded at 2018-12-24T10:00:00.250000Z\n"
        );
        assert_eq!(summary().exit(), Exit::Incomplete);
        assert_eq!(ImportSummary::default().exit(), Exit::Done);
        let fault = "a.gz: its gzip data is cut off".to_owned();
        assert_eq!(ImportSummary { faults: vec![fault], ..summary() }.exit(), Exit::Failed);
    }

    #[test]
    fn programs_get_every_count() {
        let mut out = Vec::new();
        summary().write_json(&mut out).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "{\"lines\":5132,\"looks\":311,\"rows\":4800,\"status_lines\":21,\"known_deliveries\":12,\"forks\":0,\
             \"breaks\":{\"fork\":1,\"gap\":3},\"dead_letters\":{\"no-time\":1,\"not-json\":2},\"bytes\":4201000,\
             \"seconds\":0.811,\"recorded_at\":\"2018-12-24T10:00:00.250000Z\",\"notes\":[],\"faults\":[]}\n"
        );
    }
}

//! Structures of files, as annotated lines or as JSON.
//!
//! Invariants:
//! - A line is written as soon as its structure is known; a store of any size needs no memory for them.
//! - The output ends with the counts of findings, so that one that was cut off can be told.
//! - What files hold is not trusted: control characters never reach the terminal.

use super::Format;
use super::json::Json;
use super::text::safe;
use crate::when::calendar::{micros_text, second_text};
use erstwhile_engine::check::inspect::{Finding, Item, Value};
use std::io::{self, Write};

/// How many structures have a finding of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Bytes are not what was written, or are not there.
    pub(crate) damage: u64,
    /// Unfinished ends.
    pub(crate) torn: u64,
    /// Files of other formats.
    pub(crate) version: u64,
    /// Files that could not be read.
    pub(crate) unread: u64,
}

impl Counts {
    fn note(&mut self, finding: &Finding) {
        let count = match finding {
            Finding::Damage(_) => &mut self.damage,
            Finding::Torn(_) => &mut self.torn,
            Finding::Version(_) => &mut self.version,
            Finding::Unread(_) => &mut self.unread,
        };
        *count += 1;
    }

    fn by_word(&self) -> [(&'static str, u64); 4] {
        [("damage", self.damage), ("torn", self.torn), ("version", self.version), ("unread", self.unread)]
    }
}

/// Writes items as they come.
pub(crate) struct Writer<'w> {
    form: Form<'w>,
    counts: Counts,
}

enum Form<'w> {
    Text { out: &'w mut dyn Write, file: String },
    Json(Json<'w>),
    Ndjson(Json<'w>),
}

impl<'w> Writer<'w> {
    /// Begins the output.
    pub(crate) fn new(format: Format, out: &'w mut dyn Write) -> Writer<'w> {
        let form = match format {
            Format::Text | Format::Csv => Form::Text { out, file: String::new() },
            Format::Ndjson => Form::Ndjson(Json::new(out)),
            Format::Json => {
                let mut json = Json::new(out);
                json.open(b'{');
                json.key("items");
                json.open(b'[');
                Form::Json(json)
            }
        };
        Writer { form, counts: Counts::default() }
    }

    /// Writes an item of the file that is called `shown`.
    pub(crate) fn item(&mut self, shown: &str, item: &Item<'_>) -> io::Result<()> {
        if let Some(finding) = &item.finding {
            self.counts.note(finding);
        }
        match &mut self.form {
            Form::Text { out, file } => {
                if file != shown {
                    shown.clone_into(file);
                    writeln!(out, "{}", safe(shown.as_bytes()))?;
                }
                text_item(*out, item)
            }
            Form::Json(json) => {
                json_item(json, shown, item);
                json.hand_on()
            }
            Form::Ndjson(json) => {
                json_item(json, shown, item);
                json.line()
            }
        }
    }

    /// Ends the output with the counts, and tells them.
    pub(crate) fn finish(self) -> io::Result<Counts> {
        let counts = self.counts;
        match self.form {
            Form::Text { out, .. } => {
                let counts: Vec<String> =
                    counts.by_word().iter().map(|(word, count)| format!("{word} {count}")).collect();
                writeln!(out, "findings: {}", counts.join(", "))?;
            }
            Form::Json(mut json) => {
                json.close(b']');
                json_counts(&mut json, &counts);
                json.close(b'}');
                json.line()?;
                json.flush()?;
            }
            Form::Ndjson(mut json) => {
                json.open(b'{');
                json_counts(&mut json, &counts);
                json.close(b'}');
                json.line()?;
                json.flush()?;
            }
        }
        Ok(counts)
    }
}

fn text_item(out: &mut dyn Write, item: &Item<'_>) -> io::Result<()> {
    if item.depth == 0 {
        write!(out, "{:>10} {:>9}  {}", item.offset, item.bytes, item.structure)?;
    } else {
        write!(out, "{:>22}{:indent$}{}", "", "", item.structure, indent = usize::from(item.depth) * 2)?;
    }
    for (i, (name, value)) in item.fields.iter().enumerate() {
        write!(out, "{} {name}={}", if i == 0 { ":" } else { "" }, text_value(value))?;
    }
    writeln!(out)?;
    match &item.finding {
        Some(finding) => writeln!(out, "{:>22}!! {}: {}", "", finding.word(), safe(finding.to_string().as_bytes())),
        None => Ok(()),
    }
}

fn text_value(value: &Value) -> String {
    match value {
        Value::None => "none".to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Wide(number) => number.to_string(),
        Value::Flag(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Word(word) if word.contains(' ') => format!("({word})"),
        Value::Word(word) => (*word).to_owned(),
        Value::Text(text) => quoted(text),
        Value::Bytes(bytes) => hex(bytes),
        Value::Checksum(checksum) => format!("{checksum:#010x}"),
        Value::Second(second) => second_text(*second),
        Value::Micros(micros) => micros_text(*micros),
        Value::Row(row) => {
            let mut json = Vec::new();
            row.content_json(&mut json);
            safe(&json)
        }
        Value::List(values) => format!("[{}]", values.iter().map(text_value).collect::<Vec<_>>().join(", ")),
    }
}

/// A text between quotes, in which quotes and escapes cannot be mistaken.
fn quoted(text: &[u8]) -> String {
    let mut escaped = Vec::with_capacity(text.len());
    for &byte in text {
        if matches!(byte, b'"' | b'\\') {
            escaped.push(b'\\');
        }
        escaped.push(byte);
    }
    format!("\"{}\"", safe(&escaped))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn json_item(json: &mut Json<'_>, shown: &str, item: &Item<'_>) {
    json.entry();
    json.text("file", shown.as_bytes());
    json.number("offset", item.offset);
    json.number("bytes", item.bytes);
    json.number("depth", item.depth.into());
    json.text("structure", item.structure.as_bytes());
    json.key("fields");
    json.open(b'{');
    for (name, value) in &item.fields {
        json.key(name);
        json_value(json, value);
    }
    json.close(b'}');
    match &item.finding {
        Some(finding) => {
            json.key("finding");
            json.open(b'{');
            json.text("kind", finding.word().as_bytes());
            json.text("text", finding.to_string().as_bytes());
            json.close(b'}');
        }
        None => json.null("finding"),
    }
    json.close_entry();
}

fn json_value(json: &mut Json<'_>, value: &Value) {
    match value {
        Value::None => json.value(format_args!("null")),
        Value::Number(number) => json.value(format_args!("{number}")),
        Value::Flag(flag) => json.value(format_args!("{flag}")),
        Value::Text(text) => json.string(text),
        Value::Row(row) => {
            json.open(b'{');
            for (name, text) in row.columns() {
                json.text_key(name);
                json.string(text);
            }
            json.close(b'}');
        }
        Value::List(values) => {
            json.open(b'[');
            values.iter().for_each(|value| json_value(json, value));
            json.close(b']');
        }
        Value::Word(word) => json.string(word.as_bytes()),
        // Readers of JSON seldom keep so many digits of a number.
        Value::Wide(_) | Value::Bytes(_) | Value::Checksum(_) | Value::Second(_) | Value::Micros(_) => {
            json.string(text_value(value).as_bytes());
        }
    }
}

fn json_counts(json: &mut Json<'_>, counts: &Counts) {
    for (word, count) in counts.by_word() {
        json.number(word, count);
    }
}

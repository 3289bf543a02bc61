//! Answers out: one answer, four forms.
//!
//! Invariants:
//! - Every form is written from the typed answer alone; nothing is asked again.
//! - Order is the answer's own; no form sorts rows.
//! - The forms for programs do not depend on the terminal, the zone or the colour.

use erstwhile_engine::fact::Micros;
use erstwhile_engine::read::answer::{Diff, History, HostEntry, State, StreamEntry, TableEntry, What, Who};
use std::io::{self, Write};

// One JSON object.
pub mod json;

// JSON, a line per row.
pub mod ndjson;

// Comma-separated values.
pub mod csv;

// For people: a table, the answer first.
pub mod text;

/// Structures of files, which are no answer.
pub(crate) mod inspected;

/// What a check found, which is no answer either.
pub(crate) mod checked;

/// Any answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// The rows of a table at T.
    State(State),
    /// Who had an address or a uid at T.
    Who(Who),
    /// Which device was behind a path at T.
    What(What),
    /// The versions or events of a table in a span.
    History(History),
    /// What changed between two times.
    Diff(Diff),
    /// The hosts of the store.
    Hosts(Vec<HostEntry>),
    /// The tables of the store.
    Tables(Vec<TableEntry>),
    /// The streams of the store, with their breaks.
    Coverage(Vec<StreamEntry>),
}

impl Answer {
    /// The recorded time up to which facts count, where the answer says it.
    pub fn known_at(&self) -> Option<Micros> {
        match self {
            Answer::State(answer) => answer.known_at,
            Answer::Who(answer) => answer.known_at,
            Answer::What(answer) => answer.known_at,
            Answer::History(answer) => answer.known_at,
            Answer::Diff(answer) => answer.known_at,
            Answer::Hosts(_) | Answer::Tables(_) | Answer::Coverage(_) => None,
        }
    }
}

/// What an answer is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// [`text`].
    Text,
    /// [`json`].
    Json,
    /// [`ndjson`].
    Ndjson,
    /// [`csv`].
    Csv,
}

impl Format {
    /// The words that `--format` takes.
    pub const WORDS: [&str; 4] = ["text", "json", "ndjson", "csv"];

    /// The form of a word.
    pub fn of(word: &str) -> Option<Format> {
        [Format::Text, Format::Json, Format::Ndjson, Format::Csv]
            .into_iter()
            .zip(Format::WORDS)
            .find_map(|(format, its)| (its == word).then_some(format))
    }
}

/// Writes an answer. `view` matters to [`Format::Text`] only.
pub fn write(answer: &Answer, format: Format, view: &text::View<'_>, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Text => text::write(answer, view, out),
        Format::Json => json::write(answer, out),
        Format::Ndjson => ndjson::write(answer, out),
        Format::Csv => csv::write(answer, out),
    }
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

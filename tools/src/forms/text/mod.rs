//! For people: the answer first, then its rows with their bracket in words, then who cannot speak.
//!
//! Invariants:
//! - What hosts report is not trusted: control characters never reach the terminal (`value`).
//! - "Nobody" stands only beside the four counts of hosts.
//! - A column that is left out for want of room is named; without a width none is left out.
//! - Colour adds nothing that the words do not say.

// Texts of hosts, made safe to look at.
pub(crate) mod value;

// Colours.
mod paint;

// Columns beside each other, as many as there is room for.
pub(crate) mod grid;

// What the looks around T saw, in words.
mod bracket;

// Who can speak and who cannot.
mod voices;

// `state`, `who`, `what`.
mod at;

// `history`, `diff`.
mod over;

// `hosts`, `tables`, `coverage`.
mod stored;

use super::Answer;
use crate::when::Zone;
use std::fmt;
use std::io::{self, Write};

pub use paint::folded;
pub use value::safe;

/// How an answer is looked at.
pub struct View<'a> {
    /// Whether colour may be used.
    pub color: bool,
    /// How wide the terminal is; `None`: as wide as it gets.
    pub width: Option<usize>,
    /// The zone that times are shown in.
    pub zone: Zone,
    /// The lines that a map needs to confirm that streams of a name are of a table.
    pub suggest: &'a dyn Fn(&[u8], &[u8]) -> String,
}

impl fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View")
            .field("color", &self.color)
            .field("width", &self.width)
            .field("zone", &self.zone)
            .finish_non_exhaustive()
    }
}

/// Writes an answer for people.
pub fn write(answer: &Answer, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    match answer {
        Answer::State(state) => at::state(state, view, out)?,
        Answer::Who(who) => at::who(who, view, out)?,
        Answer::What(what) => at::what(what, view, out)?,
        Answer::History(history) => over::history(history, view, out)?,
        Answer::Diff(diff) => over::diff(diff, view, out)?,
        Answer::Hosts(hosts) => stored::hosts(hosts, view, out)?,
        Answer::Tables(tables) => stored::tables(tables, view, out)?,
        Answer::Coverage(streams) => stored::coverage(streams, view, out)?,
    }
    known_at(answer, view, out)?;
    out.flush()
}

/// Writes what a form that holds rows alone leaves out: the counts of hosts, and the recorded time.
pub fn write_rest(answer: &Answer, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    match answer {
        Answer::State(state) => voices::write(&state.coverage, view, out)?,
        Answer::Who(who) => voices::write(&who.coverage, view, out)?,
        Answer::What(what) => {
            writeln!(out, "verdict: {}", what.verdict.word())?;
            voices::write(&what.coverage, view, out)?;
        }
        _ => {}
    }
    known_at(answer, view, out)
}

fn known_at(answer: &Answer, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    let Some(known_at) = answer.known_at() else {
        return Ok(());
    };
    let words = format!("as known at {}", view.zone.full_micros(known_at));
    writeln!(out, "{}", paint::dim(view, &words))
}

/// `1 row`, `2 rows`, `1,234 rows`.
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

//! Why a catalogue is refused: what is wrong, where, and what to write instead.

use super::facts::HEAD;
use std::fmt;

/// Why a text or a schema is no catalogue.
#[derive(Debug)]
pub enum CatalogueError {
    /// The text does not begin with the line that names the form.
    Head {
        /// The line that it begins with.
        found: Box<str>,
    },
    /// A line of the text is wrong.
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The schema is not JSON, or not JSON of the shape that osquery publishes.
    Json(serde_json::Error),
    /// A table of the schema is wrong.
    Table {
        /// The table's name as given.
        table: Box<str>,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a table, whatever form it came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The line ends before the table's platforms.
    Short,
    /// The word after the name is neither `state` nor `event`.
    Sort(Box<str>),
    /// A name holds something else than letters, digits, `_`, `.` and `-`.
    Name(Box<str>),
    /// The word is no column: `name:type`, then the marks.
    Column(Box<str>),
    /// The column's type is none of osquery's.
    Type {
        /// The column.
        column: Box<str>,
        /// The type as given.
        found: Box<str>,
    },
    /// The table occurs twice.
    RepeatedTable,
    /// The column occurs twice in its table.
    RepeatedColumn(Box<str>),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Short => write!(f, "too few words; write: name, `state` or `event`, platforms or `-`, columns"),
            Fault::Sort(found) => write!(f, "`{}` is neither `state` nor `event`; write one of them", show(found)),
            Fault::Name(found) => write!(
                f,
                "`{}` is no name; use ASCII letters, digits, `_`, `.` and `-`, the first a letter, a digit or `_`",
                show(found)
            ),
            Fault::Column(found) => write!(
                f,
                "`{}` is no column; write `name:type`, then `!` if required, `~` if hidden, `@platform,…` if not on all",
                show(found)
            ),
            Fault::Type { column, found } => write!(
                f,
                "column `{}` has the unknown type `{}`; give TEXT (T), INTEGER (I), BIGINT (B), UNSIGNED_BIGINT (U) or \
                 DOUBLE (D)",
                show(column),
                show(found)
            ),
            Fault::RepeatedTable => write!(f, "the table occurs twice; remove one"),
            Fault::RepeatedColumn(column) => {
                write!(f, "column `{}` occurs twice; remove one", show(column))
            }
        }
    }
}

/// A foreign word in a message: control characters escaped, and not endless.
pub(super) fn show(word: &str) -> String {
    let mut shown: String = word.chars().take(80).flat_map(char::escape_debug).collect();
    if word.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}

impl std::error::Error for Fault {}

impl fmt::Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CatalogueError::Head { found } => write!(
                f,
                "a catalogue begins with the line `{}`, not with `{}`; load osquery's own schema as JSON",
                HEAD,
                show(found)
            ),
            CatalogueError::Line { line, fault } => {
                write!(f, "line {line} of the catalogue: {fault}")
            }
            CatalogueError::Json(error) => write!(
                f,
                "this is not osquery's schema ({error}); give the JSON list of tables that osquery publishes for a version"
            ),
            CatalogueError::Table { table, fault } => {
                write!(f, "table `{}` of the schema: {fault}", show(table))
            }
        }
    }
}

impl std::error::Error for CatalogueError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            CatalogueError::Head { .. } => None,
            CatalogueError::Line { fault, .. } | CatalogueError::Table { fault, .. } => Some(fault),
            CatalogueError::Json(error) => Some(error),
        }
    }
}

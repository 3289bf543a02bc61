//! What osquery's tables are: which are evented, and which type each column has.
//!
//! Must stay true: tables that osquery no longer has stay here, and a name outside is judged by its ending alone.

use std::collections::BTreeMap;

use serde_json::Value;

/// The type of a column, as far as answers depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Type {
    /// TEXT and BLOB.
    Text,
    /// INTEGER, BIGINT and UNSIGNED_BIGINT.
    Integer,
    /// DOUBLE.
    Double,
}

#[derive(Debug, Clone, Default)]
struct Table {
    evented: bool,
    columns: BTreeMap<Vec<u8>, Type>,
}

/// The tables that the model knows.
#[derive(Debug, Clone, Default)]
pub struct Catalogue {
    tables: BTreeMap<Vec<u8>, Table>,
}

impl Catalogue {
    /// From osquery's schema as JSON: `tables` and, if present, `removed_tables`, each with `name`, `evented` and
    /// `columns` of `name` and `type`.
    ///
    /// # Errors
    /// Names what is missing or of the wrong kind.
    pub fn from_schema(json: &str) -> Result<Catalogue, String> {
        let schema: Value = serde_json::from_str(json).map_err(|e| e.to_string())?;
        let mut catalogue = Catalogue::default();
        let lists = [schema.get("tables").ok_or("no tables")?, schema.get("removed_tables").unwrap_or(&Value::Null)];
        for table in lists.into_iter().filter_map(Value::as_array).flatten() {
            let name = table.get("name").and_then(Value::as_str).ok_or("a table without name")?;
            let mut entry = Table {
                evented: table.get("evented").and_then(Value::as_bool).ok_or_else(|| format!("{name}: no evented"))?,
                ..Table::default()
            };
            for column in table.get("columns").and_then(Value::as_array).ok_or_else(|| format!("{name}: no columns"))? {
                let word =
                    |key: &str| column.get(key).and_then(Value::as_str).ok_or_else(|| format!("{name}: no {key}"));
                let kind = match word("type")? {
                    "TEXT" | "BLOB" => Type::Text,
                    "INTEGER" | "BIGINT" | "UNSIGNED_BIGINT" => Type::Integer,
                    "DOUBLE" => Type::Double,
                    other => return Err(format!("{name}: type {other}")),
                };
                entry.columns.insert(word("name")?.into(), kind);
            }
            catalogue.tables.insert(name.into(), entry);
        }
        Ok(catalogue)
    }

    /// The project's own, as the engine ships it.
    ///
    /// # Panics
    /// If it is not of its form.
    #[must_use]
    pub fn shipped() -> Catalogue {
        let facts = include_str!("../../engine/src/catalogue/tables.txt");
        Catalogue::from_facts(facts).expect("the shipped facts are sound")
    }

    /// From the text form of the project's own catalogue: a head line, then a table a line.
    ///
    /// # Errors
    /// Names the line that is not of that form.
    pub fn from_facts(text: &str) -> Result<Catalogue, String> {
        let mut lines = text.lines();
        if lines.next() != Some("erstwhile catalogue 1") {
            return Err("the head line is another".to_owned());
        }
        let mut catalogue = Catalogue::default();
        for line in lines.filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
            let wrong = || format!("not a table: {line}");
            let words: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
            let [name, kind, _platforms, columns @ ..] = &words[..] else {
                return Err(wrong());
            };
            let mut entry = Table {
                evented: match *kind {
                    "event" => true,
                    "state" => false,
                    _ => return Err(wrong()),
                },
                ..Table::default()
            };
            for column in columns {
                let (column, kind) = column.split_once(':').ok_or_else(wrong)?;
                let kind = match kind.chars().next() {
                    Some('T') => Type::Text,
                    Some('I' | 'B' | 'U') => Type::Integer,
                    Some('D') => Type::Double,
                    _ => return Err(wrong()),
                };
                entry.columns.insert(column.into(), kind);
            }
            catalogue.tables.insert((*name).into(), entry);
        }
        Ok(catalogue)
    }

    /// Is this a table of osquery's?
    pub(crate) fn has(&self, table: &[u8]) -> bool {
        self.tables.contains_key(table)
    }

    /// All names of tables.
    pub(crate) fn names(&self) -> impl Iterator<Item = &[u8]> {
        self.tables.keys().map(Vec::as_slice)
    }

    /// Does the table hold events rather than state?
    pub(crate) fn is_evented(&self, table: &[u8]) -> bool {
        match self.tables.get(table) {
            Some(entry) => entry.evented,
            None => table.ends_with(b"_events"),
        }
    }

    /// The type of a column; of what is not known, text.
    pub(crate) fn column_type(&self, table: &[u8], column: &[u8]) -> Type {
        self.tables.get(table).and_then(|t| t.columns.get(column)).copied().unwrap_or(Type::Text)
    }
}

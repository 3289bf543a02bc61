//! osquery's published schema, read for its facts.
//!
//! With each release osquery publishes one JSON list of tables. Descriptions, examples and notes are passed over; so is
//! every key that is not known here, since later releases add some.

use super::{Catalogue, CatalogueError, Column, ColumnType, Fault, Gathered, Table};
use serde::Deserialize;

#[derive(Deserialize)]
struct SchemaTable {
    name: Box<str>,
    evented: bool,
    #[serde(default)]
    platforms: Vec<Box<str>>,
    columns: Vec<SchemaColumn>,
}

#[derive(Deserialize)]
struct SchemaColumn {
    name: Box<str>,
    #[serde(rename = "type")]
    kind: Box<str>,
    #[serde(default)]
    required: bool,
    #[serde(default)]
    hidden: bool,
    #[serde(default)]
    platforms: Vec<Box<str>>,
}

#[derive(Deserialize)]
struct Collected {
    tables: Vec<SchemaTable>,
    #[serde(default)]
    removed_tables: Vec<SchemaTable>,
}

impl Catalogue {
    /// Reads the schema that osquery publishes for a version: a list of tables, or an object with the lists `tables` and
    /// `removed_tables`. Only the tables in it are in the result; lay it over what was known with
    /// [`updated_with`](Catalogue::updated_with).
    pub fn from_osquery_schema(json: &[u8]) -> Result<Catalogue, CatalogueError> {
        let found = if json.trim_ascii_start().starts_with(b"{") {
            let Collected { mut tables, removed_tables } =
                serde_json::from_slice(json).map_err(CatalogueError::Json)?;
            tables.extend(removed_tables);
            tables
        } else {
            serde_json::from_slice(json).map_err(CatalogueError::Json)?
        };
        let mut gathered = Gathered::default();
        for table in found {
            let name = table.name.clone();
            let added = convert(table).and_then(|table| gathered.add(table));
            added.map_err(|fault| CatalogueError::Table { table: name, fault })?;
        }
        Ok(gathered.catalogue())
    }
}

fn convert(table: SchemaTable) -> Result<Table, Fault> {
    let columns = table.columns.into_iter().map(|column| {
        let Some(kind) = column_type(&column.kind) else {
            return Err(Fault::Type { column: column.name, found: column.kind });
        };
        let SchemaColumn { name, required, hidden, platforms, .. } = column;
        Ok(Column { name, kind, required, hidden, platforms: platforms.into() })
    });
    let columns = columns.collect::<Result<_, _>>()?;
    Table::new(&table.name, table.evented, table.platforms.into(), columns)
}

/// A type by osquery's word for it, in any case and with `_` or a space. A BLOB is logged as text.
fn column_type(word: &str) -> Option<ColumnType> {
    match word.to_ascii_lowercase().replace(' ', "_").as_str() {
        "text" | "blob" => Some(ColumnType::Text),
        "integer" => Some(ColumnType::Integer),
        "bigint" => Some(ColumnType::BigInt),
        "unsigned_bigint" => Some(ColumnType::UnsignedBigInt),
        "double" => Some(ColumnType::Double),
        _ => None,
    }
}

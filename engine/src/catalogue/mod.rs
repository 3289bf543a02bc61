//! The catalogue knows osquery's tables, so that a stream's name, a column's type and "is this an event?" have one
//! answer everywhere in the engine.
//!
//! One catalogue ships inside the engine ([`shipped`]); the schema that osquery publishes with a release can be laid over
//! it ([`from_osquery_schema`], [`updated_with`]), and the result can be kept as text ([`to_text`]).
//!
//! [`shipped`]: crate::catalogue::Catalogue::shipped
//! [`from_osquery_schema`]: crate::catalogue::Catalogue::from_osquery_schema
//! [`updated_with`]: crate::catalogue::Catalogue::updated_with
//! [`to_text`]: crate::catalogue::Catalogue::to_text
//!
//! Invariants:
//! - Tables are sorted by name, no name occurs twice, and no table names a column twice.
//! - Names and platforms are made of ASCII letters, digits, `_`, `.` and `-`, and begin with a letter, a digit or `_`;
//!   so no name can break the text form.
//! - `from_text(to_text(c)) == c`, and equal catalogues have equal text.
//! - What was once known stays: an update never drops a table or a column, since older agents still report it.
//! - An alias of a table is not a table.

mod error;
pub mod facts;
pub mod map;
pub mod naming;
mod schema;

pub use error::{CatalogueError, Fault};
pub use map::{Entry, MapError, MapFault, StreamMap, suggest};
pub use naming::{Mapping, table_of};

use crate::fact::Name;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry as Place;
use std::sync::{Arc, LazyLock};

/// The type that a column is declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ColumnType {
    /// Text.
    Text,
    /// A signed integer of 32 bits.
    Integer,
    /// A signed integer of 64 bits.
    BigInt,
    /// An unsigned integer of 64 bits.
    UnsignedBigInt,
    /// A floating-point number.
    Double,
}

impl ColumnType {
    /// Whether values of the type are compared as numbers.
    pub fn is_number(self) -> bool {
        self != ColumnType::Text
    }
}

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: Box<str>,
    /// Its type.
    pub kind: ColumnType,
    /// A query must constrain it, so a stream can hold no more than what its query asked for.
    pub required: bool,
    /// `SELECT *` leaves it out.
    pub hidden: bool,
    /// The only platforms on which `SELECT *` has it; empty if all of the table's.
    pub platforms: Box<[Box<str>]>,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    name: Name,
    evented: bool,
    platforms: Box<[Box<str>]>,
    columns: Box<[Column]>,
    /// Indices of `columns` by name.
    by_name: Box<[usize]>,
}

impl Table {
    /// Checks what a source said of a table; platforms are sorted.
    fn new(
        name: &str,
        evented: bool,
        mut platforms: Box<[Box<str>]>,
        mut columns: Box<[Column]>,
    ) -> Result<Table, Fault> {
        check_name(name)?;
        sort_platforms(&mut platforms)?;
        for column in &mut columns {
            check_name(&column.name)?;
            sort_platforms(&mut column.platforms)?;
        }
        let by_name = index(&columns);
        if let Some(pair) = by_name.windows(2).find(|pair| columns[pair[0]].name == columns[pair[1]].name) {
            return Err(Fault::RepeatedColumn(columns[pair[0]].name.clone()));
        }
        Ok(Table { name: Name::from(name.as_bytes()), evented, platforms, columns, by_name })
    }

    /// The table's name.
    pub fn name(&self) -> &Name {
        &self.name
    }

    /// Whether its rows are events and not state.
    pub fn evented(&self) -> bool {
        self.evented
    }

    /// The platforms that have it, sorted; empty if the source named none.
    pub fn platforms(&self) -> &[Box<str>] {
        &self.platforms
    }

    /// The columns in the order in which osquery declares them.
    pub fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The column of that name.
    pub fn column(&self, name: &[u8]) -> Option<&Column> {
        let at = self.by_name.binary_search_by(|&i| self.columns[i].name.as_bytes().cmp(name)).ok()?;
        Some(&self.columns[self.by_name[at]])
    }

    /// Whether any column is a DOUBLE, so that most streams need not look at their columns' types at all.
    pub fn has_double(&self) -> bool {
        self.columns.iter().any(|column| column.kind == ColumnType::Double)
    }

    /// This table as `newer` says it is, with the columns that only this one knows after it.
    fn updated_with(&self, newer: &Table) -> Table {
        let kept = self.columns.iter().filter(|column| newer.column(column.name.as_bytes()).is_none());
        let columns: Box<[Column]> = newer.columns.iter().chain(kept).cloned().collect();
        Table { by_name: index(&columns), columns, ..newer.clone() }
    }
}

/// What is known of osquery's tables. The default is an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    /// Sorted by name.
    tables: Vec<Table>,
}

impl Catalogue {
    /// The catalogue that the engine brings along.
    ///
    /// ```
    /// use erstwhile_engine::catalogue::{Catalogue, ColumnType};
    /// let catalogue = Catalogue::shipped();
    /// assert!(catalogue.is_evented(b"process_events"));
    /// assert_eq!(catalogue.column_type(b"users", b"uid"), Some(ColumnType::BigInt));
    /// ```
    pub fn shipped() -> Arc<Catalogue> {
        static SHIPPED: LazyLock<Arc<Catalogue>> = LazyLock::new(|| {
            Arc::new(Catalogue::from_text(facts::SHIPPED).expect("a test proves that the shipped text parses"))
        });
        SHIPPED.clone()
    }

    /// This catalogue brought up to date: a table is as `newer` describes it, and every table and column that `newer`
    /// lacks stays.
    pub fn updated_with(&self, newer: &Catalogue) -> Catalogue {
        let kept = self.tables.iter().filter(|table| newer.table(&table.name).is_none()).cloned();
        let updated = newer.tables.iter().map(|table| match self.table(&table.name) {
            Some(older) => older.updated_with(table),
            None => table.clone(),
        });
        let mut tables: Vec<Table> = kept.chain(updated).collect();
        tables.sort_by(|a, b| a.name.cmp(&b.name));
        Catalogue { tables }
    }

    /// The table of that name.
    pub fn table(&self, name: &[u8]) -> Option<&Table> {
        let at = self.tables.binary_search_by(|table| table.name.as_ref().cmp(name)).ok()?;
        Some(&self.tables[at])
    }

    /// All tables by name.
    pub fn tables(&self) -> &[Table] {
        &self.tables
    }

    /// Whether the rows of a table are events: the catalogue says so, or it does not know the table and the name ends in
    /// `_events`.
    pub fn is_evented(&self, table: &[u8]) -> bool {
        self.table(table).map_or_else(|| table.ends_with(b"_events"), Table::evented)
    }

    /// Whether a column's texts are numbers.
    pub fn is_number(&self, table: &[u8], column: &[u8]) -> bool {
        self.column_type(table, column).is_some_and(|kind| kind.is_number())
    }

    /// The type of a column; `None` if the catalogue does not know it.
    pub fn column_type(&self, table: &[u8], column: &[u8]) -> Option<ColumnType> {
        Some(self.table(table)?.column(column)?.kind)
    }
}

/// Gathers tables that come in any order.
#[derive(Default)]
struct Gathered(BTreeMap<Name, Table>);

impl Gathered {
    fn add(&mut self, table: Table) -> Result<(), Fault> {
        match self.0.entry(table.name.clone()) {
            Place::Occupied(_) => return Err(Fault::RepeatedTable),
            Place::Vacant(place) => place.insert(table),
        };
        Ok(())
    }

    fn catalogue(self) -> Catalogue {
        Catalogue { tables: self.0.into_values().collect() }
    }
}

/// The indices of columns by name.
fn index(columns: &[Column]) -> Box<[usize]> {
    let mut by_name: Box<[usize]> = (0..columns.len()).collect();
    by_name.sort_by_key(|&i| &columns[i].name);
    by_name
}

fn check_name(name: &str) -> Result<(), Fault> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    let first = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if first && name.bytes().all(inner) { Ok(()) } else { Err(Fault::Name(name.into())) }
}

fn sort_platforms(platforms: &mut Box<[Box<str>]>) -> Result<(), Fault> {
    platforms.iter().try_for_each(|platform| check_name(platform))?;
    let mut sorted = std::mem::take(platforms).into_vec();
    sorted.sort();
    sorted.dedup();
    *platforms = sorted.into();
    Ok(())
}

#[cfg(test)]
mod tests;

//! The catalogue's own text form, and the facts that ship in it.
//!
#![doc = include_str!("tables.md")]

use super::{Catalogue, CatalogueError, Column, ColumnType, Fault, Gathered, Table};

/// The line that every text begins with.
pub(super) const HEAD: &str = "erstwhile catalogue 1";

/// The second line of canonical text, for whoever opens it.
const LEGEND: &str = "# name, state or event, platforms, column:type (T I B U D; ! required, ~ hidden, @ only there)";

/// The facts that ship with the engine.
pub(super) const SHIPPED: &str = include_str!("tables.txt");

const LETTERS: [(ColumnType, char); 5] = [
    (ColumnType::Text, 'T'),
    (ColumnType::Integer, 'I'),
    (ColumnType::BigInt, 'B'),
    (ColumnType::UnsignedBigInt, 'U'),
    (ColumnType::Double, 'D'),
];

impl Catalogue {
    /// Reads the engine's own text form, which [`to_text`](Catalogue::to_text) writes.
    ///
    /// ```
    /// use erstwhile_engine::catalogue::Catalogue;
    /// let text = "erstwhile catalogue 1\nbadges state darwin,linux id:B holder:T\n";
    /// assert!(Catalogue::from_text(text)?.table(b"badges").is_some());
    /// let error = Catalogue::from_text(&text.replace(":B", ":Q")).unwrap_err();
    /// assert!(error.to_string().starts_with("line 2 of the catalogue: column `id` has the unknown type `Q`"));
    /// # Ok::<(), erstwhile_engine::catalogue::CatalogueError>(())
    /// ```
    pub fn from_text(text: &str) -> Result<Catalogue, CatalogueError> {
        let mut lines = text.lines();
        let head = lines.next().unwrap_or_default();
        if head != HEAD {
            return Err(CatalogueError::Head { found: head.into() });
        }
        let mut gathered = Gathered::default();
        for (i, line) in lines.enumerate() {
            if line.starts_with('#') || line.trim_ascii().is_empty() {
                continue;
            }
            let added = read_table(line).and_then(|table| gathered.add(table));
            added.map_err(|fault| CatalogueError::Line { line: i + 2, fault })?;
        }
        Ok(gathered.catalogue())
    }

    /// The canonical text: equal catalogues give equal text, and [`from_text`](Catalogue::from_text) gives the catalogue
    /// back.
    pub fn to_text(&self) -> String {
        let mut out = format!("{HEAD}\n{LEGEND}\n");
        for table in &self.tables {
            out.push_str(&String::from_utf8_lossy(&table.name));
            out.push_str(if table.evented { " event " } else { " state " });
            out.push_str(if table.platforms.is_empty() { "-" } else { "" });
            out.push_str(&table.platforms.join(","));
            for column in &table.columns {
                write_column(column, &mut out);
            }
            out.push('\n');
        }
        out
    }
}

fn read_table(line: &str) -> Result<Table, Fault> {
    let mut words = line.split_ascii_whitespace();
    let (Some(name), Some(sort), Some(platforms)) = (words.next(), words.next(), words.next()) else {
        return Err(Fault::Short);
    };
    let evented = match sort {
        "state" => false,
        "event" => true,
        other => return Err(Fault::Sort(other.into())),
    };
    let platforms = if platforms == "-" { Box::default() } else { list(platforms) };
    let columns = words.map(read_column).collect::<Result<_, _>>()?;
    Table::new(name, evented, platforms, columns)
}

fn read_column(word: &str) -> Result<Column, Fault> {
    let bad = || Fault::Column(word.into());
    let (name, rest) = word.split_once(':').ok_or_else(bad)?;
    let mut after = rest.chars();
    let letter = after.next().ok_or_else(bad)?;
    let Some(&(kind, _)) = LETTERS.iter().find(|(_, known)| *known == letter) else {
        return Err(Fault::Type { column: name.into(), found: letter.to_string().into() });
    };
    let mut marks = after.as_str();
    let mut mark = |sign| marks.strip_prefix(sign).inspect(|rest| marks = rest).is_some();
    let (required, hidden) = (mark('!'), mark('~'));
    let platforms = if mark('@') { list(marks) } else { Box::default() };
    if platforms.is_empty() && !marks.is_empty() {
        return Err(bad());
    }
    Ok(Column { name: name.into(), kind, required, hidden, platforms })
}

fn list(word: &str) -> Box<[Box<str>]> {
    word.split(',').map(Box::from).collect()
}

fn write_column(column: &Column, out: &mut String) {
    out.push(' ');
    out.push_str(&column.name);
    out.push(':');
    out.extend(LETTERS.iter().filter(|(kind, _)| *kind == column.kind).map(|(_, letter)| letter));
    out.push_str(if column.required { "!" } else { "" });
    out.push_str(if column.hidden { "~" } else { "" });
    if !column.platforms.is_empty() {
        out.push('@');
        out.push_str(&column.platforms.join(","));
    }
}

//! Columns beside each other, as many as there is room for.
//!
//! Without a width everything is shown. In a terminal, columns of rows give way in this order: those that are empty in
//! every row; those with one text in every row, which is told once; those that come last in importance. Each is named
//! below the grid, of a single row with its text, so that nothing disappears unsaid.

use super::value::safe;
use super::{View, paint};
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use erstwhile_engine::row::Row;
use std::collections::BTreeSet;
use std::io::{self, Write};

/// Stands for an absent text; an empty one is empty.
const ABSENT: &str = "·";

/// Spaces between columns.
const GAP: usize = 2;

/// No column asks for more room than this.
const WIDTH_MAX: usize = 48;

/// A column that is wider than the room may be wrapped into this much.
const WRAPPED_MIN: usize = 20;

/// Columns that say the most, of the tables that are asked for the most.
const IMPORTANT: &[&str] = &[
    "pid",
    "time",
    "username",
    "uid",
    "name",
    "interface",
    "address",
    "mask",
    "path",
    "device",
    "vendor",
    "model",
    "serial",
    "port",
    "protocol",
    "local_address",
    "local_port",
    "remote_address",
    "remote_port",
    "version",
    "cmdline",
    "parent",
    "state",
    "type",
    "size",
    "gid",
    "shell",
    "directory",
    "start_time",
    "label",
    "uuid",
];

/// A grid under construction.
pub(crate) struct Grid {
    columns: Vec<Column>,
}

struct Column {
    name: String,
    cells: Vec<(String, Option<Color>)>,
    /// Whether it may be left out.
    optional: bool,
    /// Those with a higher one are left out first.
    rank: usize,
}

impl Column {
    fn width(&self) -> usize {
        self.cells
            .iter()
            .map(|(text, _)| text.chars().count())
            .chain([self.name.chars().count()])
            .max()
            .unwrap_or(0)
            .min(WIDTH_MAX)
            + GAP
    }

    fn is_empty(&self) -> bool {
        self.cells.iter().all(|(text, _)| text.is_empty() || text == ABSENT)
    }

    /// The text that all cells have.
    fn constant(&self) -> Option<&str> {
        let (first, rest) = self.cells.split_first()?;
        (!rest.is_empty() && rest.iter().all(|cell| cell.0 == first.0)).then_some(&first.0)
    }
}

impl Grid {
    pub(crate) fn new() -> Grid {
        Grid { columns: Vec::new() }
    }

    /// Adds a column that is always shown.
    pub(crate) fn column(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.painted(name, cells.into_iter().map(|text| (text, None)));
    }

    /// Adds a column that is always shown, with colours.
    pub(crate) fn painted(&mut self, name: &str, cells: impl IntoIterator<Item = (String, Option<Color>)>) {
        let (name, cells) = (name.to_owned(), cells.into_iter().collect());
        self.columns.push(Column { name, cells, optional: false, rank: self.columns.len() });
    }

    /// Adds a column that may be left out for want of room.
    pub(crate) fn optional(&mut self, name: &str, cells: impl IntoIterator<Item = String>) {
        self.column(name, cells);
        if let Some(column) = self.columns.last_mut() {
            column.optional = true;
        }
    }

    /// The last column stays for longer than the one before it.
    pub(crate) fn prefer_last(&mut self) {
        if let [.., before, last] = &mut self.columns[..] {
            std::mem::swap(&mut before.rank, &mut last.rank);
        }
    }

    /// Adds a column unless all its texts are equal to `usual`.
    pub(crate) fn unusual(&mut self, name: &str, usual: &str, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        if cells.iter().any(|text| text != usual) {
            self.column(name, cells);
        }
    }

    /// Adds the columns of rows.
    pub(crate) fn rows<'a>(&mut self, rows: impl Iterator<Item = &'a Row> + Clone) {
        let names: BTreeSet<&[u8]> = rows.clone().flat_map(Row::columns).map(|(name, _)| name).collect();
        let mut names: Vec<&[u8]> = names.into_iter().collect();
        // The sort is stable: columns of no importance stay in order of their names.
        names.sort_by_key(|name| {
            IMPORTANT.iter().position(|important| important.as_bytes() == *name).unwrap_or(IMPORTANT.len())
        });
        let cell = |row: &Row, name: &[u8]| match row.get(name) {
            Some(text) => (safe(text), None),
            None => (ABSENT.to_owned(), None),
        };
        for name in names {
            self.columns.push(Column {
                name: safe(name),
                cells: rows.clone().map(|row| cell(row, name)).collect(),
                optional: true,
                rank: self.columns.len(),
            });
        }
    }

    /// Writes the grid, and below it what was left out.
    pub(crate) fn write(mut self, view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
        let notes = match view.width {
            Some(width) => self.fit(width),
            None => Vec::new(),
        };
        let rows = self.columns.first().map_or(0, |column| column.cells.len());
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.force_no_tty();
        if view.color {
            table.enforce_styling();
        }
        match view.width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic);
                table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
            }
            None => {
                table.set_content_arrangement(ContentArrangement::Disabled);
            }
        }
        table.set_header(self.columns.iter().map(|column| Cell::new(&column.name).add_attribute(Attribute::Bold)));
        for i in 0..rows {
            table.add_row(self.columns.iter().map(|column| {
                let (text, color) = &column.cells[i];
                match color {
                    Some(color) => Cell::new(text).fg(*color),
                    None => Cell::new(text),
                }
            }));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP as u16));
        }
        for line in table.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
        for note in notes {
            writeln!(out, "{}", paint::dim(view, &note))?;
        }
        Ok(())
    }

    /// Takes columns out until the rest fits, and says which.
    fn fit(&mut self, width: usize) -> Vec<String> {
        let mut notes = Vec::new();
        let mut take = |grid: &mut Grid, words: &str, tell: &dyn Fn(&Column) -> Option<String>| {
            let mut told = Vec::new();
            grid.columns.retain(|column| {
                let text = tell(column).filter(|_| column.optional);
                let stays = text.is_none();
                told.extend(text);
                stays
            });
            if !told.is_empty() {
                notes.push(format!("{words}: {}", told.join(", ")));
            }
        };
        take(self, "empty in every row", &|column| column.is_empty().then(|| column.name.clone()));
        if self.width() > width {
            take(self, "the same in every row", &|column| {
                let text = column.constant()?;
                Some(format!("{}={text}", column.name))
            });
        }
        if self.width() > width {
            let needed: usize = self.columns.iter().filter(|c| !c.optional).map(Column::width).sum();
            let mut room = width.saturating_sub(needed);
            // The most important column stays even if it must be wrapped into little.
            let mut first = true;
            let mut by_rank: Vec<usize> = (0..self.columns.len()).filter(|at| self.columns[*at].optional).collect();
            by_rank.sort_by_key(|at| self.columns[*at].rank);
            let mut stays = vec![true; self.columns.len()];
            for at in by_rank {
                let width = self.columns[at].width();
                let fits = width <= room || room >= WRAPPED_MIN;
                stays[at] = fits || std::mem::take(&mut first);
                first = false;
                if stays[at] {
                    room = room.saturating_sub(width);
                }
            }
            // Of a single row nothing is lost: what is not beside the rest is told below it.
            let single = self.columns.first().is_some_and(|column| column.cells.len() == 1);
            let mut told = Vec::new();
            let mut stays = stays.into_iter();
            self.columns.retain(|column| {
                let stay = stays.next().unwrap_or(true);
                if !stay {
                    let text = column.cells.first().filter(|_| single).map(|cell| format!("={}", cell.0));
                    told.push(format!("{}{}", column.name, text.unwrap_or_default()));
                }
                stay
            });
            if !told.is_empty() && single {
                notes.push(format!("and: {}", told.join(", ")));
            } else if !told.is_empty() {
                notes.push(format!("no room for: {} (`| less -S` or `--format csv` shows all)", told.join(", ")));
            }
        }
        notes
    }

    fn width(&self) -> usize {
        self.columns.iter().map(Column::width).sum::<usize>().saturating_sub(GAP)
    }
}

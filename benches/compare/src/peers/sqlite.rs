//! SQLite in process, twice: intervals in B-trees, and intervals in an R*Tree.
//!
//! Indexed intervals: each state table is clustered (`WITHOUT ROWID`) by host and end, so that a state at T reads the
//! host's versions that end after T and nothing else of it; covering indexes answer address → host and uid → user. The
//! R*Tree has (host, seconds) as its two dimensions and leads to rows by their rowid; addresses and uids, which are
//! points and not ranges, keep their B-tree indexes. Both: rows inserted in key order, one transaction, no journal while
//! loading, `VACUUM`, `ANALYZE`; asked read-only through prepared statements with the file mapped.
//!
//! Fleet-wide states scan the table in both: half of all versions end after the middle of the history, so no index wins.

use crate::answer::Rows;
use crate::error::Result;
use crate::fleet::{Fleet, Sums, Table, Type};
use crate::measure::{Watch, bytes_below};
use crate::peer::{Loaded, Peer, Setting, Source};
use crate::question::{Ask, Question, reader};
use crate::sql::{self, Cell, Dialect, quoted};
use rusqlite::types::{ToSql, Value, ValueRef};
use rusqlite::{Connection, OpenFlags, Statement};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;

/// The peer.
pub(crate) struct Sqlite {
    file: PathBuf,
    rtree: bool,
    connection: Connection,
    statements: BTreeMap<Ask, String>,
    cells: BTreeMap<Ask, Vec<Cell>>,
    hosts: Vec<String>,
}

const DIALECT: Dialect = Dialect::columns(|n| format!("?{n}"));

fn rtree_name(table: &Table) -> String {
    quoted(&format!("{}_span", table.name))
}

impl Sqlite {
    pub(crate) fn open(setting: &Setting, rtree: bool) -> Result<Sqlite> {
        let file = setting.directory.join("store.sqlite");
        let connection = Connection::open(&file)?;
        connection.execute_batch(
            "PRAGMA page_size = 8192; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; \
             PRAGMA locking_mode = EXCLUSIVE; PRAGMA cache_size = -524288; PRAGMA threads = 2;",
        )?;
        // Sorting goes to files beside the store, not to wherever temporary files are small.
        let directory = setting.directory.display().to_string();
        connection.execute_batch(&format!("PRAGMA temp_store_directory = {}", sql::literal(&directory)))?;
        Ok(Sqlite { file, rtree, connection, statements: BTreeMap::new(), cells: BTreeMap::new(), hosts: Vec::new() })
    }

    fn create(&self, table: &Table) -> Result<()> {
        let columns = sql::definition(table, |kind, nullable, _| {
            let kind = if kind == Type::Text { "TEXT" } else { "INTEGER" };
            format!("{kind}{}", if nullable { "" } else { " NOT NULL" })
        });
        let name = quoted(&table.name);
        let time = if table.event { event_time(table) } else { "_to, _from" };
        let cluster = match self.rtree && !table.event {
            true => String::new(),
            false => format!(", _n INTEGER NOT NULL, PRIMARY KEY (_host, {time}, _n)"),
        };
        let rowid = if cluster.is_empty() { "" } else { " WITHOUT ROWID" };
        Ok(self.connection.execute_batch(&format!("CREATE TABLE {name} ({columns}{cluster}){rowid}"))?)
    }

    /// Fills a table, in the order in which it is kept, from a relation with its columns.
    fn fill(&self, table: &Table, from: &str) -> Result<()> {
        let (name, columns) = (quoted(&table.name), sql::all_columns(table));
        let clustered = !self.rtree || table.event;
        let time = if table.event { event_time(table) } else { "_to, _from" };
        let order = if clustered { time } else { "_from" };
        let (n, number) = if clustered { (", _n", ", row_number() OVER ()") } else { ("", "") };
        self.connection.execute_batch(&format!(
            "INSERT INTO {name} ({columns}{n}) SELECT {columns}{number} FROM (SELECT {columns} FROM {from} \
             ORDER BY _host, {order})"
        ))?;
        Ok(())
    }

    fn finish(&self, fleet: &Fleet) -> Result<()> {
        let mut sql = String::new();
        for table in fleet.tables.iter().filter(|table| !table.event && self.rtree) {
            let (name, span) = (quoted(&table.name), rtree_name(table));
            sql += &format!(
                "CREATE VIRTUAL TABLE {span} USING rtree_i32(id, host_min, host_max, first, last); \
                 INSERT INTO {span} SELECT rowid, _host, _host, _from, _to - 1 FROM {name};"
            );
        }
        if fleet.table("interface_addresses").is_some_and(|table| table.column("address").is_some()) {
            sql += "CREATE INDEX of_address ON interface_addresses (address, _to, _from, _host);";
        }
        if fleet.table("users").is_some_and(|table| table.column("uid").is_some()) {
            sql += "CREATE INDEX of_uid ON users (_host, uid, _to, _from, username);";
        }
        Ok(self.connection.execute_batch(&format!("{sql} ANALYZE; VACUUM;"))?)
    }

    fn load_rows(&self, fleet: &Fleet) -> Result<()> {
        for table in &fleet.tables {
            self.create(table)?;
            let columns = sql::definition(table, |kind, _, _| if kind == Type::Text { "TEXT" } else { "INT" }.into());
            self.connection.execute_batch(&format!("CREATE TEMP TABLE staged ({columns}); BEGIN"))?;
            let marks = vec!["?"; table.leading().len() + table.columns.len()].join(", ");
            let mut insert = self.connection.prepare(&format!("INSERT INTO staged VALUES ({marks})"))?;
            let mut reader = reader(table)?;
            let mut record = csv::StringRecord::new();
            while reader.read_record(&mut record)? {
                for (i, cell) in record.iter().enumerate() {
                    let column = i.checked_sub(table.leading().len()).map(|i| &table.columns[i]);
                    let kind = column.map_or(Type::Int4, |column| column.kind);
                    if cell == "\\N" && column.is_some_and(|column| column.nullable) {
                        insert.raw_bind_parameter(i + 1, rusqlite::types::Null)?;
                    } else if kind == Type::Text {
                        insert.raw_bind_parameter(i + 1, cell)?;
                    } else {
                        insert.raw_bind_parameter(i + 1, cell.parse::<i64>()?)?;
                    }
                }
                insert.raw_execute()?;
            }
            drop(insert);
            self.connection.execute_batch("COMMIT; BEGIN")?;
            self.fill(table, "staged")?;
            self.connection.execute_batch("COMMIT; DROP TABLE staged")?;
        }
        self.finish(fleet)
    }

    fn load_json(&self, fleet: &Fleet) -> Result<()> {
        self.connection.execute_batch(
            "CREATE TEMP TABLE raw (name TEXT, host INT, looked INT, added INT, columns TEXT); \
             CREATE TABLE hosts (id INTEGER PRIMARY KEY, name TEXT UNIQUE); BEGIN",
        )?;
        let mut host = self.connection.prepare("INSERT INTO hosts VALUES (?, ?)")?;
        for (id, name) in fleet.hosts.iter().enumerate() {
            host.execute((id as i64, name))?;
        }
        // The line is parsed once into SQLite's binary JSON, from which the fields are taken.
        let mut insert = self.connection.prepare(
            "INSERT INTO raw SELECT line ->> 'name', (SELECT id FROM hosts WHERE name = line ->> 'hostIdentifier'), \
             line ->> 'unixTime', line ->> 'action' = 'added', jsonb_extract(line, '$.columns') \
             FROM (SELECT jsonb(?) AS line)",
        )?;
        for line in BufReader::with_capacity(1 << 20, std::fs::File::open(&fleet.log)?).lines() {
            insert.execute([line?])?;
        }
        drop((host, insert));
        self.connection.execute_batch("CREATE INDEX temp.of_name ON raw (name); COMMIT")?;
        for table in &fleet.tables {
            self.create(table)?;
            let names = table.names.iter().map(|name| sql::literal(name)).collect::<Vec<_>>().join(", ");
            let columns = table.columns.iter().map(|column| {
                let value = format!("columns ->> {}", sql::literal(&format!("$.\"{}\"", column.name)));
                let value = if column.kind == Type::Text { value } else { format!("CAST({value} AS INTEGER)") };
                format!("{value} AS {}", quoted(&column.name))
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            let raw = format!(
                "(SELECT host AS _host, looked AS _at, added AS _added, {columns} FROM raw WHERE name IN ({names}))"
            );
            // Equal rows are equal in all columns; a hash would sort faster, but SQLite has none.
            let paired = sql::paired(table, &raw, &sql::columns(table, ""), "lead(_at)");
            self.connection.execute_batch("BEGIN")?;
            self.fill(table, &format!("({paired})"))?;
            self.connection.execute_batch("COMMIT")?;
        }
        self.connection.execute_batch("DROP TABLE raw")?;
        self.finish(fleet)
    }
}

/// The column that events are asked by.
fn event_time(table: &Table) -> &'static str {
    match table.column("time") {
        Some(column) if column.kind != Type::Text && !column.nullable => "\"time\"",
        _ => "_seen",
    }
}

impl Peer for Sqlite {
    fn version(&mut self) -> Result<String> {
        Ok(rusqlite::version().to_owned())
    }

    fn load(&mut self, fleet: &Fleet, source: Source) -> Result<Loaded> {
        let watch = Watch::start(None);
        match source {
            Source::Rows => self.load_rows(fleet)?,
            Source::Json => self.load_json(fleet)?,
        }
        let file = std::fs::File::open(&self.file)?;
        file.sync_all()?;
        Ok(watch.stop())
    }

    fn disk_bytes(&mut self) -> Result<u64> {
        bytes_below(self.file.parent().ok_or("a file in a directory")?)
    }

    fn sums(&mut self, fleet: &Fleet) -> Result<Option<Vec<Sums>>> {
        let mut sums = Vec::new();
        for table in &fleet.tables {
            let (from, to) = if table.event { ("_seen", "0") } else { ("_from", "_to") };
            let sql = format!(
                "SELECT count(*), coalesce(sum({from}), 0), coalesce(sum({to}), 0) FROM {}",
                quoted(&table.name)
            );
            let sums_of = |row: &rusqlite::Row<'_>| Ok(Sums { rows: row.get(0)?, from: row.get(1)?, to: row.get(2)? });
            sums.push(self.connection.query_row(&sql, [], sums_of)?);
        }
        Ok(Some(sums))
    }

    fn prepare(&mut self, fleet: &Fleet) -> Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        self.connection = Connection::open_in_memory()?;
        self.connection = Connection::open_with_flags(&self.file, flags)?;
        self.connection.execute_batch("PRAGMA mmap_size = 2147418112; PRAGMA cache_size = -262144;")?;
        self.connection.set_prepared_statement_cache_capacity(16);
        self.hosts.clone_from(&fleet.hosts);
        let users = fleet.table("users");
        for ask in Ask::ALL.into_iter().filter(|ask| ask.lacks(fleet).is_none()) {
            let table = fleet.table(sql::table_of(ask)).ok_or("no such table")?;
            let users = users.unwrap_or(table);
            let statement = match (self.rtree, ask) {
                (true, Ask::Processes | Ask::Diff) => rtree_statement(ask, table),
                _ => sql::statement(ask, &DIALECT, table, users),
            };
            self.statements.insert(ask, statement);
            self.cells.insert(ask, sql::cells(ask, table, users));
        }
        Ok(())
    }

    fn ask(&mut self, question: &Question, rows: &mut Rows) -> Result<()> {
        let ask = question.ask();
        let mut statement = self.connection.prepare_cached(&self.statements[&ask])?;
        let mut bind = |i: usize, value: &dyn ToSql| statement.raw_bind_parameter(i, value);
        match question {
            Question::Ip { address, at } => {
                bind(1, address)?;
                bind(2, at)?;
            }
            Question::Uid { host, uid, at } => {
                bind(1, host)?;
                bind(2, uid)?;
                bind(3, at)?;
            }
            Question::Processes { host, at } => {
                bind(1, host)?;
                bind(2, at)?;
            }
            Question::Users { at } => bind(1, at)?,
            Question::Diff { host, from, to } | Question::Events { host, from, to } => {
                bind(1, host)?;
                bind(2, from)?;
                bind(3, to)?;
            }
        }
        take(&mut statement, &self.cells[&ask], &self.hosts, rows)?;
        Ok(())
    }
}

fn take(statement: &mut Statement<'_>, cells: &[Cell], hosts: &[String], rows: &mut Rows) -> Result<()> {
    let mut answer = statement.raw_query();
    while let Some(row) = answer.next()? {
        for (i, cell) in cells.iter().enumerate() {
            match (row.get_ref(i)?, cell) {
                (ValueRef::Null, _) => rows.null(),
                (ValueRef::Integer(host), Cell::Host) => rows.text(hosts[host as usize].as_bytes()),
                (ValueRef::Integer(to), Cell::To) => rows.to(to),
                (ValueRef::Integer(value), Cell::Value(..)) => rows.int(value),
                (ValueRef::Text(text), _) => rows.text(text),
                (other, _) => return Err(format!("unexpected {:?}", Value::try_from(other)).into()),
            }
        }
        rows.end();
    }
    Ok(())
}

/// The questions that the R*Tree answers.
fn rtree_statement(ask: Ask, table: &Table) -> String {
    let (name, span, all) = (quoted(&table.name), rtree_name(table), sql::columns(table, "t."));
    // The host and the instant are given to the tree; what else must hold is read off the row.
    let within = |at: &str| {
        format!(
            "FROM {span} s JOIN {name} t ON t.rowid = s.id \
             WHERE s.host_min <= ?1 AND s.host_max >= ?1 AND s.first <= {at} AND s.last >= {at}"
        )
    };
    let copies = if table.copies { ", t._copies" } else { "" };
    if ask == Ask::Processes {
        return format!("SELECT {all}, t._from, t._to{copies} {}", within("?2"));
    }
    format!(
        "SELECT 0, {all} {} AND s.last < ?3 UNION ALL SELECT 1, {all} {} AND s.first > ?2",
        within("?2"),
        within("?3")
    )
}

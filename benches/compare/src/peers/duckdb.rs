//! DuckDB in process, twice: its own file, and Parquet files compressed with zstd.
//!
//! Own file: the latest storage version (it compresses best), each table inserted in the order of its questions
//! (processes and events by host and time, addresses by address, users by host and uid), so that the zones of row groups
//! and DuckDB's light encodings both work; an ART index on the address, the one column a point question asks over all
//! hosts. Parquet: the same order, format version 2, zstd, read through views with their footers kept in memory.
//!
//! Statements are prepared where that is quicker and sent as text where it is not: a prepared parameter is no constant
//! that a zone can be tested against, so both are tried on the first question of each kind.

use crate::answer::{Cells, Rows};
use crate::error::Result;
use crate::fleet::{Fleet, Sums, Table, Type};
use crate::measure::{Watch, bytes_below, nanos};
use crate::native::{DuckdbConnection, DuckdbStatement, Parameter, Take, Value};
use crate::peer::{Loaded, Peer, Setting, Source};
use crate::question::{Ask, Question};
use crate::sql::{self, Cell, Dialect, literal, quoted};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const DIALECT: Dialect = Dialect::columns(|n| format!("${n}"));

/// A kind of question, ready to be asked.
struct Prepared {
    /// With `$1` and so on for parameters.
    sql: String,
    statement: DuckdbStatement,
    cells: Vec<Cell>,
    uid: Type,
    /// Whether text is quicker, once that was tried.
    tried: Option<bool>,
}

/// The peer.
pub(crate) struct Duckdb {
    directory: PathBuf,
    parquet: bool,
    prepared: BTreeMap<Ask, Prepared>,
    connection: DuckdbConnection,
    hosts: Vec<String>,
}

fn word(kind: Type) -> &'static str {
    match kind {
        Type::Int4 => "INTEGER",
        Type::Int8 => "BIGINT",
        Type::Text => "VARCHAR",
    }
}

/// In which order a table is kept.
fn order(table: &Table) -> &'static str {
    let has = |name: &str| table.column(name).is_some();
    match &*table.name {
        _ if table.event => "_host, _seen",
        "interface_addresses" if has("address") => "address, _host, _from",
        "users" if has("uid") => "_host, uid, _from",
        _ => "_host, _from",
    }
}

impl Duckdb {
    pub(crate) fn open(setting: &Setting, parquet: bool) -> Result<Duckdb> {
        let library = setting.libraries.join("libduckdb.so");
        let connection = DuckdbConnection::open(&library, ":memory:")?;
        let duckdb = Duckdb {
            directory: setting.directory.join("store"),
            parquet,
            prepared: BTreeMap::new(),
            connection,
            hosts: Vec::new(),
        };
        fs::create_dir_all(&duckdb.directory)?;
        let temporary = literal(&setting.directory.join("spill").display().to_string());
        duckdb.run(&format!(
            "SET temp_directory = {temporary}; SET memory_limit = '6GB'; SET parquet_metadata_cache = true; \
             SET enable_progress_bar = false; SET preserve_insertion_order = true"
        ))?;
        if !parquet {
            let file = literal(&duckdb.directory.join("store.duckdb").display().to_string());
            duckdb.run(&format!("ATTACH {file} AS store (STORAGE_VERSION 'latest'); USE store"))?;
        }
        Ok(duckdb)
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.connection.query(sql, Take::Each(&mut |_, _| {})).map_err(|error| format!("{error}: {:.400}", sql).into())
    }

    fn file(&self, table: &Table) -> String {
        literal(&self.directory.join(format!("{}.parquet", table.name)).display().to_string())
    }

    /// Stores a relation as a table.
    fn keep(&self, table: &Table, relation: &str) -> Result<()> {
        let order = order(table);
        if self.parquet {
            let options = "FORMAT parquet, COMPRESSION zstd, PARQUET_VERSION v2";
            let file = self.file(table);
            return self.run(&format!("COPY (SELECT * FROM {relation} ORDER BY {order}) TO {file} ({options})"));
        }
        let name = quoted(&table.name);
        let columns = sql::definition(table, |kind, nullable, _| {
            format!("{}{}", word(kind), if nullable { "" } else { " NOT NULL" })
        });
        self.run(&format!(
            "CREATE TABLE {name} ({columns}); INSERT INTO {name} SELECT * FROM {relation} ORDER BY {order}"
        ))
    }

    fn load_rows(&self, fleet: &Fleet) -> Result<()> {
        for table in &fleet.tables {
            let types = sql::definition(table, |kind, _, _| format!(": '{}'", word(kind)));
            let file = literal(&table.file.display().to_string());
            self.keep(
                table,
                &format!(
                    "read_csv({file}, columns = {{{types}}}, header = false, delim = ',', quote = '\"', \
                     escape = '\"', nullstr = '\\N', allow_quoted_nulls = false, auto_detect = false)"
                ),
            )?;
        }
        Ok(())
    }

    fn load_json(&self, fleet: &Fleet) -> Result<()> {
        let mut all: BTreeMap<&str, Type> = BTreeMap::new();
        for column in fleet.tables.iter().flat_map(|table| &table.columns) {
            let kind = all.entry(&column.name).or_insert(column.kind);
            if *kind != column.kind {
                *kind = if *kind == Type::Text || column.kind == Type::Text { Type::Text } else { Type::Int8 };
            }
        }
        let all = all.iter().map(|(name, kind)| format!("{} {}", quoted(name), word(*kind)));
        let columns = literal(&format!("STRUCT({})", all.collect::<Vec<_>>().join(", ")));
        let log = literal(&fleet.log.display().to_string());
        self.run(&format!(
            "CREATE TEMP TABLE raw AS SELECT name, hostIdentifier AS host, unixTime AS looked, action, columns \
             FROM read_json({log}, format = 'newline_delimited', maximum_object_size = 67108864, columns = {{ \
             name: 'VARCHAR', hostIdentifier: 'VARCHAR', unixTime: 'INTEGER', action: 'VARCHAR', \
             columns: {columns} }}) WHERE name IS NOT NULL"
        ))?;
        let hosts = fleet.hosts.iter().enumerate().map(|(id, name)| format!("({id}, {})", literal(name)));
        let hosts = hosts.collect::<Vec<_>>().join(", ");
        self.run(&format!("CREATE TEMP TABLE host_ids AS SELECT * FROM (VALUES {hosts}) AS h (id, name)"))?;
        for table in &fleet.tables {
            let names = table.names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
            let columns = table.columns.iter().map(|column| {
                let name = quoted(&column.name);
                // Where a column of that name is a text elsewhere, a cast may meet those texts before the tables are parted.
                format!("TRY_CAST(columns.{name} AS {}) AS {name}", word(column.kind))
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            let raw = format!(
                "(SELECT id AS _host, looked AS _at, CAST(action = 'added' AS INTEGER) AS _added, {columns} \
                 FROM raw JOIN host_ids ON host_ids.name = raw.host WHERE raw.name IN ({names}))"
            );
            let key = format!("hash({})", sql::columns(table, ""));
            self.keep(table, &format!("({})", sql::paired(table, &raw, &key, "lead(_at)")))?;
        }
        self.run("DROP TABLE raw")
    }

    /// Asks one, prepared or as text.
    fn ask_as(&mut self, question: &Question, text: bool, rows: &mut Rows) -> Result<()> {
        let prepared = self.prepared.get_mut(&question.ask()).ok_or("not prepared")?;
        let int = |value: i64| Parameter::Int4(value as i32);
        let host = |host: u32| Parameter::Int4(host as i32);
        let parameters = match question {
            Question::Ip { address, at } => vec![Parameter::Text(address), int(*at)],
            Question::Uid { host: of, uid, at } => {
                let uid = if prepared.uid == Type::Int4 { int(*uid) } else { Parameter::Int8(*uid) };
                vec![host(*of), uid, int(*at)]
            }
            Question::Processes { host: of, at } => vec![host(*of), int(*at)],
            Question::Users { at } => vec![int(*at)],
            Question::Diff { host: of, from, to } | Question::Events { host: of, from, to } => {
                vec![host(*of), int(*from), int(*to)]
            }
        };
        let Prepared { sql, statement, cells, .. } = prepared;
        let hosts = &self.hosts;
        let mut each;
        let take = match rows {
            Rows::Touched(touched) => Take::Touch(touched),
            Rows::Kept(kept) => {
                each = |column: usize, value: Value<'_>| {
                    match (value, cells[column]) {
                        (Value::Null, _) => kept.null(),
                        (Value::Int(host), Cell::Host) => kept.text(hosts[host as usize].as_bytes()),
                        (Value::Int(to), Cell::To) => kept.to(to),
                        (Value::Int(value), Cell::Value(..)) => kept.int(value),
                        (Value::Text(text), _) => kept.text(text),
                    }
                    if column + 1 == cells.len() {
                        kept.end();
                    }
                };
                Take::Each(&mut each)
            }
        };
        if !text {
            return statement.run(&parameters, take);
        }
        let mut sql = sql.clone();
        // The last first: what is put in is not looked at again.
        for (n, parameter) in (1..).zip(&parameters).collect::<Vec<_>>().into_iter().rev() {
            let value = match parameter {
                Parameter::Int4(value) => value.to_string(),
                Parameter::Int8(value) => value.to_string(),
                Parameter::Text(value) => literal(value),
            };
            sql = sql.replace(&format!("${n}"), &value);
        }
        self.connection.query(&sql, take)
    }
}

impl Peer for Duckdb {
    fn version(&mut self) -> Result<String> {
        Ok(self.connection.version())
    }

    fn load(&mut self, fleet: &Fleet, source: Source) -> Result<Loaded> {
        let watch = Watch::start(None);
        match source {
            Source::Rows => self.load_rows(fleet)?,
            Source::Json => self.load_json(fleet)?,
        }
        if self.parquet {
            for table in &fleet.tables {
                fs::File::open(self.directory.join(format!("{}.parquet", table.name)))?.sync_all()?;
            }
        } else {
            if fleet.table("interface_addresses").is_some_and(|table| table.column("address").is_some()) {
                self.run("CREATE INDEX of_address ON interface_addresses (address)")?;
            }
            self.run("ANALYZE; CHECKPOINT store")?;
        }
        Ok(watch.stop())
    }

    fn disk_bytes(&mut self) -> Result<u64> {
        bytes_below(&self.directory)
    }

    fn sums(&mut self, fleet: &Fleet) -> Result<Option<Vec<Sums>>> {
        self.views(fleet)?;
        let mut sums = Vec::new();
        for table in &fleet.tables {
            let (from, to) = if table.event { ("_seen", "0") } else { ("_from", "_to") };
            let mut numbers = Vec::new();
            let name = quoted(&table.name);
            self.connection.query(
                &format!(
                    "SELECT count(*), coalesce(sum({from}), 0)::BIGINT, coalesce(sum({to}), 0)::BIGINT FROM {name}"
                ),
                Take::Each(&mut |_, value| {
                    if let Value::Int(value) = value {
                        numbers.push(value);
                    }
                }),
            )?;
            let [rows, from, to] = numbers[..] else { return Err("three sums were asked for".into()) };
            sums.push(Sums { rows, from, to });
        }
        Ok(Some(sums))
    }

    fn prepare(&mut self, fleet: &Fleet) -> Result<()> {
        self.views(fleet)?;
        self.hosts.clone_from(&fleet.hosts);
        for ask in Ask::ALL.into_iter().filter(|ask| ask.lacks(fleet).is_none()) {
            let table = fleet.table(sql::table_of(ask)).ok_or("no such table")?;
            let users = fleet.table("users").unwrap_or(table);
            let sql = sql::statement(ask, &DIALECT, table, users);
            let statement = self.connection.prepare(&sql)?;
            let uid = users.column("uid").map_or(Type::Int4, |column| column.kind);
            let prepared = Prepared { sql, statement, cells: sql::cells(ask, table, users), uid, tried: None };
            self.prepared.insert(ask, prepared);
        }
        Ok(())
    }

    fn ask(&mut self, question: &Question, rows: &mut Rows) -> Result<()> {
        let text = match self.prepared.get(&question.ask()).ok_or("not prepared")?.tried {
            Some(text) => text,
            None => {
                let mut least = [u64::MAX; 2];
                for round in 0..8 {
                    let begun = nanos();
                    self.ask_as(question, round % 2 == 1, &mut Rows::default())?;
                    least[round % 2] = least[round % 2].min(nanos() - begun);
                }
                let text = least[1] < least[0];
                if let Some(prepared) = self.prepared.get_mut(&question.ask()) {
                    prepared.tried = Some(text);
                }
                text
            }
        };
        self.ask_as(question, text, rows)?;
        Ok(())
    }
}

impl Duckdb {
    /// Parquet files stand for the tables.
    fn views(&self, fleet: &Fleet) -> Result<()> {
        for table in fleet.tables.iter().filter(|_| self.parquet) {
            let (name, file) = (quoted(&table.name), self.file(table));
            self.run(&format!("CREATE OR REPLACE VIEW {name} AS SELECT * FROM read_parquet({file})"))?;
        }
        Ok(())
    }
}

//! ClickHouse in process, as chdb.
//!
//! MergeTree tables in the order of their questions (processes and events by host and time, addresses by address, users
//! by host and uid), granules of 1,024 rows since answers are small, `LowCardinality` for texts with few values, `Delta`
//! under zstd for times, zstd for the rest; `OPTIMIZE … FINAL`, so that each table is one part. There are no prepared
//! statements; an answer is taken in `RowBinary`, the cheapest form to read.

use crate::answer::Rows;
use crate::error::Result;
use crate::fleet::{Fleet, Sums, Table, Type};
use crate::measure::Watch;
use crate::native::{Chdb, Value, row_binary};
use crate::peer::{Loaded, Peer, Setting, Source};
use crate::question::{Ask, Question};
use crate::sql::{self, Cell, Dialect, literal, quoted};
use std::collections::BTreeMap;

const DIALECT: Dialect = Dialect::columns(|n| format!("${n}"));

/// The peer.
pub(crate) struct Clickhouse {
    chdb: Chdb,
    statements: BTreeMap<Ask, (String, Vec<Cell>)>,
    hosts: Vec<String>,
}

fn word(kind: Type, nullable: bool, few: bool) -> String {
    let kind = match kind {
        Type::Int4 => "Int32",
        Type::Int8 => "Int64",
        Type::Text => "String",
    };
    let kind = if nullable { format!("Nullable({kind})") } else { kind.to_owned() };
    if few && kind.contains("String") { format!("LowCardinality({kind})") } else { kind }
}

fn order(table: &Table) -> String {
    let plain = |name: &str| table.column(name).is_some_and(|column| !column.nullable);
    match &*table.name {
        "interface_addresses" if plain("address") => "address, _host, _from".to_owned(),
        "users" if plain("uid") => "_host, uid, _from".to_owned(),
        _ if table.event && plain("time") => "_host, time".to_owned(),
        _ if table.event => "_host, _seen".to_owned(),
        _ => "_host, _from".to_owned(),
    }
}

/// A text as ClickHouse reads it: backslashes escape.
fn escaped(text: &str) -> String {
    literal(&text.replace('\\', "\\\\"))
}

impl Clickhouse {
    pub(crate) fn open(setting: &Setting) -> Result<Clickhouse> {
        let path = setting.directory.join("store");
        let arguments = ["clickhouse".to_owned(), format!("--path={}", path.display())];
        let chdb = Chdb::open(&setting.libraries.join("libchdb.so"), &arguments)?;
        let clickhouse = Clickhouse { chdb, statements: BTreeMap::new(), hosts: Vec::new() };
        clickhouse.run("CREATE DATABASE IF NOT EXISTS fleet ENGINE = Atomic")?;
        for setting in
            ["join_use_nulls = 1", "max_bytes_before_external_sort = 3000000000", "max_memory_usage = 8000000000"]
        {
            clickhouse.run(&format!("SET {setting}"))?;
        }
        Ok(clickhouse)
    }

    fn run(&self, sql: &str) -> Result<()> {
        self.chdb.query(sql, "Null", |_| Ok(()))
    }

    fn create(&self, table: &Table) -> Result<()> {
        let columns = sql::definition(table, |kind, nullable, few| {
            let word = word(kind, nullable, few);
            // The leading columns come without a word on their values; all of them are times but the host.
            match kind {
                Type::Text => format!("{word} CODEC(ZSTD(3))"),
                _ => format!("{word} CODEC(Delta, ZSTD(3))"),
            }
        });
        let (name, order) = (quoted(&table.name), order(table));
        self.run(&format!(
            "CREATE TABLE fleet.{name} ({columns}) ENGINE = MergeTree ORDER BY ({order}) \
             SETTINGS index_granularity = 1024, min_bytes_for_wide_part = 0"
        ))
    }

    fn load_rows(&self, fleet: &Fleet) -> Result<()> {
        for table in &fleet.tables {
            self.create(table)?;
            let structure = escaped(&sql::definition(table, |kind, nullable, _| word(kind, nullable, false)));
            let (name, file) = (quoted(&table.name), escaped(&table.file.display().to_string()));
            self.run(&format!(
                "INSERT INTO fleet.{name} SELECT * FROM file({file}, CSV, {structure}) \
                 SETTINGS input_format_csv_trim_whitespaces = 0, input_format_csv_empty_as_default = 0"
            ))?;
            self.run(&format!("OPTIMIZE TABLE fleet.{name} FINAL"))?;
        }
        Ok(())
    }

    fn load_json(&self, fleet: &Fleet) -> Result<()> {
        // An alias hides a column of its name everywhere in a statement, so the columns beside the tables' own have names
        // that no table uses.
        // (type, whether some row of a table that has the column lacks it)
        let mut all: BTreeMap<&str, (Type, bool)> = BTreeMap::new();
        for column in fleet.tables.iter().flat_map(|table| &table.columns) {
            let (kind, nullable) = all.entry(&column.name).or_insert((column.kind, false));
            *nullable |= column.nullable;
            if *kind != column.kind {
                *kind = if *kind == Type::Text || column.kind == Type::Text { Type::Text } else { Type::Int8 };
            }
        }
        let tuple =
            all.iter().map(|(name, (kind, nullable))| format!("{} {}", quoted(name), word(*kind, *nullable, false)));
        let tuple = tuple.collect::<Vec<_>>().join(", ");
        let structure =
            format!("name String, hostIdentifier String, unixTime Int32, action String, columns Tuple({tuple})");
        let stored = format!(
            "_name LowCardinality(String), _hostname LowCardinality(String), _looked Int32, _new UInt8, \
             columns Tuple({tuple})"
        );
        self.run(&format!("CREATE TABLE fleet.raw ({stored}) ENGINE = MergeTree ORDER BY (_name, _hostname)"))?;
        let (log, structure) = (escaped(&fleet.log.display().to_string()), escaped(&structure));
        self.run(&format!(
            "INSERT INTO fleet.raw SELECT name, hostIdentifier, unixTime, action = 'added', columns \
             FROM file({log}, JSONEachRow, {structure}) WHERE name != '' \
             SETTINGS input_format_skip_unknown_fields = 1"
        ))?;
        let hosts = fleet.hosts.iter().map(|host| escaped(host)).collect::<Vec<_>>().join(", ");
        for table in &fleet.tables {
            self.create(table)?;
            let names = table.names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(", ");
            let cast = |column: &crate::fleet::Column| {
                let name = quoted(&column.name);
                format!("CAST(columns.{name} AS {}) AS {name}", word(column.kind, column.nullable, false))
            };
            let columns = table.columns.iter().map(cast).collect::<Vec<_>>().join(", ");
            let raw = format!(
                "(SELECT toInt32(indexOf([{hosts}], toString(_hostname)) - 1) AS _host, _looked AS _at, _new AS _added, {columns} \
                 FROM fleet.raw WHERE _name IN ({names}))"
            );
            let part = |column: &crate::fleet::Column| match column.nullable {
                true => format!("ifNull(toString({}), '\\\\N')", quoted(&column.name)),
                false => quoted(&column.name),
            };
            let key = table.columns.iter().map(part).collect::<Vec<_>>().join(", ");
            let paired = sql::paired(table, &raw, &format!("cityHash64({key})"), "lead(toNullable(_at))");
            let (name, stored) = (quoted(&table.name), sql::all_columns(table));
            self.run(&format!("INSERT INTO fleet.{name} ({stored}) SELECT {stored} FROM ({paired})"))?;
            self.run(&format!("OPTIMIZE TABLE fleet.{name} FINAL"))?;
        }
        self.run("DROP TABLE fleet.raw")
    }

    fn numbers(&self, sql: &str, count: usize) -> Result<Vec<i64>> {
        let cells = vec![Cell::Value(Type::Int8, false); count];
        let mut numbers = Vec::new();
        self.chdb.query(sql, "RowBinary", |bytes| {
            row_binary(bytes, &cells, &mut |_, value| {
                if let Value::Int(value) = value {
                    numbers.push(value);
                }
            })
        })?;
        Ok(numbers)
    }
}

impl Peer for Clickhouse {
    fn version(&mut self) -> Result<String> {
        self.chdb
            .query("SELECT version()", "TabSeparated", |bytes| Ok(String::from_utf8_lossy(bytes).trim().to_owned()))
    }

    fn load(&mut self, fleet: &Fleet, source: Source) -> Result<Loaded> {
        let watch = Watch::start(None);
        match source {
            Source::Rows => self.load_rows(fleet)?,
            Source::Json => self.load_json(fleet)?,
        }
        Ok(watch.stop())
    }

    fn disk_bytes(&mut self) -> Result<u64> {
        let sql = "SELECT toInt64(sum(bytes_on_disk)) FROM system.parts WHERE active AND database = 'fleet'";
        Ok(self.numbers(sql, 1)?.first().copied().unwrap_or(0) as u64)
    }

    fn sums(&mut self, fleet: &Fleet) -> Result<Option<Vec<Sums>>> {
        let mut sums = Vec::new();
        for table in &fleet.tables {
            let (from, to) = if table.event { ("_seen", "0") } else { ("_from", "_to") };
            let name = quoted(&table.name);
            let sql = format!("SELECT toInt64(count()), toInt64(sum({from})), toInt64(sum({to})) FROM fleet.{name}");
            let [rows, from, to] = self.numbers(&sql, 3)?[..] else { return Err("three sums were asked for".into()) };
            sums.push(Sums { rows, from, to });
        }
        Ok(Some(sums))
    }

    fn prepare(&mut self, fleet: &Fleet) -> Result<()> {
        self.run("USE fleet")?;
        self.hosts.clone_from(&fleet.hosts);
        for ask in Ask::ALL.into_iter().filter(|ask| ask.lacks(fleet).is_none()) {
            let table = fleet.table(sql::table_of(ask)).ok_or("no such table")?;
            let users = fleet.table("users").unwrap_or(table);
            let mut sql = sql::statement(ask, &DIALECT, table, users);
            let mut cells = sql::cells(ask, table, users);
            match ask {
                Ask::Diff => {
                    sql = sql.replace("SELECT 0,", "SELECT toInt32(0),").replace("SELECT 1,", "SELECT toInt32(1),")
                }
                // The join may leave every column of a user empty, the end of its version too.
                Ask::Events => {
                    let nullable = |cell: &mut Cell| {
                        if *cell == Cell::To {
                            *cell = Cell::Value(Type::Int4, true);
                        }
                    };
                    cells.iter_mut().for_each(nullable);
                }
                _ => {}
            }
            self.statements.insert(ask, (sql, cells));
        }
        Ok(())
    }

    fn ask(&mut self, question: &Question, rows: &mut Rows) -> Result<()> {
        let (sql, cells) = self.statements.get(&question.ask()).ok_or("not prepared")?;
        let parameters = match question {
            Question::Ip { address, at } => vec![escaped(address), at.to_string()],
            Question::Uid { host, uid, at } => vec![host.to_string(), uid.to_string(), at.to_string()],
            Question::Processes { host, at } => vec![host.to_string(), at.to_string()],
            Question::Users { at } => vec![at.to_string()],
            Question::Diff { host, from, to } | Question::Events { host, from, to } => {
                vec![host.to_string(), from.to_string(), to.to_string()]
            }
        };
        let mut sql = sql.clone();
        // The last first: what is put in is not looked at again.
        for (n, parameter) in (1..).zip(parameters).collect::<Vec<_>>().into_iter().rev() {
            sql = sql.replace(&format!("${n}"), &parameter);
        }
        let hosts = &self.hosts;
        // The end of a version stands last but for the copies, and is told by its name's place in the statement.
        let end = if question.ask() == Ask::Events { 6 } else { usize::MAX };
        let mut each = |column: usize, value: Value<'_>| {
            match (value, cells[column]) {
                (Value::Null, _) => rows.null(),
                (Value::Int(host), Cell::Host) => rows.text(hosts[host as usize].as_bytes()),
                (Value::Int(to), Cell::To) => rows.to(to),
                (Value::Int(to), _) if column == end => rows.to(to),
                (Value::Int(value), _) => rows.int(value),
                (Value::Text(text), _) => rows.text(text),
            }
            if column + 1 == cells.len() {
                rows.end();
            }
        };
        self.chdb.query(&sql, "RowBinary", |bytes| row_binary(bytes, cells, &mut each))?;
        Ok(())
    }
}

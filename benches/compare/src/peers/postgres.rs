//! PostgreSQL over its Unix socket, twice: intervals in B-trees, and ranges in GiST indexes.
//!
//! The server is this program's own: a fresh cluster in the peer's directory, run as the user `postgres` where this
//! program is root, stopped at the end. `shared_buffers` 2 GB, `wal_level` minimal so that a `COPY` into a table made in
//! the same transaction writes no log, no JIT and planning costs of a disk without seeks. B-trees: state tables
//! clustered by (host, end, begin), covering indexes for address → host and uid → user. GiST: one `int4range` column in
//! place of two numbers, indexed with the host (`btree_gist`), with the address, and with host and uid. Then
//! `VACUUM (FREEZE, ANALYZE)`. Questions are prepared; one client, values in binary.

use crate::answer::Rows;
use crate::error::Result;
use crate::fleet::{Fleet, Sums, Table, Type};
use crate::measure::Watch;
use crate::peer::{Loaded, Peer, Setting, Source};
use crate::question::{Ask, Question};
use crate::sql::{self, Cell, Dialect, literal, quoted};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::{ToSql, Type as PgType};
use postgres::{Client, NoTls, Statement};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const BTREE: Dialect = Dialect::columns(|n| format!("${n}"));
const GIST: Dialect = Dialect {
    parameter: |n| format!("${n}"),
    from: |before| format!("lower({before}_valid)"),
    to: |before| format!("upper({before}_valid)"),
    holds: |before, at| format!("{before}_valid @> {at}"),
};

/// A user and group of the system.
type Owner = Option<(u32, u32)>;

/// A server of this program's own.
struct Server {
    child: Child,
    socket: tempfile::TempDir,
}

/// The peer.
pub(crate) struct Postgres {
    gist: bool,
    client: Client,
    server: Server,
    prepared: BTreeMap<Ask, (Statement, Vec<Cell>)>,
    hosts: Vec<String>,
}

impl Drop for Server {
    fn drop(&mut self) {
        // A fast shutdown, told by SIGINT; whoever starts a server ends it.
        let _ = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        let _ = self.child.wait();
    }
}

/// Where the server's programs are: on the path, or where Debian keeps them, the newest first.
fn programs() -> Result<PathBuf> {
    let on_path =
        std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
    let mut places: Vec<PathBuf> = on_path.collect();
    let debian = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = debian.map(|entry| entry.path().join("bin")).collect();
    debian.sort();
    places.extend(debian.into_iter().rev());
    let has = |place: &PathBuf| place.join("initdb").exists() && place.join("postgres").exists();
    places.into_iter().find(has).ok_or("no initdb and postgres here; install PostgreSQL".into())
}

/// Whom the server runs as: it refuses root.
fn owner(directory: &Path) -> Result<Owner> {
    use std::os::unix::fs::MetadataExt;
    if fs::metadata(directory)?.uid() != 0 || fs::metadata("/proc/self")?.uid() != 0 {
        return Ok(None);
    }
    let passwd = fs::read_to_string("/etc/passwd")?;
    let line = passwd.lines().find_map(|line| line.strip_prefix("postgres:")).ok_or("no user postgres")?;
    let mut numbers = line.split(':').skip(1).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(user)), Some(Ok(group))) => Ok(Some((user, group))),
        _ => Err("the user postgres has no number".into()),
    }
}

fn command(program: &Path, owner: Owner) -> Command {
    let mut command = Command::new(program);
    if let Some((user, group)) = owner {
        command.uid(user).gid(group);
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command
}

impl Postgres {
    pub(crate) fn open(setting: &Setting, gist: bool) -> Result<Postgres> {
        let programs = programs()?;
        let owner = owner(&setting.directory)?;
        let data = setting.directory.join("data");
        fs::create_dir_all(&data)?;
        fs::set_permissions(&data, fs::Permissions::from_mode(0o700))?;
        // A socket's path may have a hundred characters, so it is not below the data.
        let socket = tempfile::Builder::new().prefix("compare").tempdir_in("/tmp")?;
        if let Some((user, group)) = owner {
            chown(&data, Some(user), Some(group))?;
            chown(socket.path(), Some(user), Some(group))?;
        }
        let log = setting.directory.join("log");
        let errors = || fs::File::options().create(true).append(true).open(&log);
        let mut initdb = command(&programs.join("initdb"), owner);
        initdb.arg("-D").arg(&data).args(["-U", "compare", "-A", "trust", "-E", "UTF8", "--locale=C", "-N"]);
        if !initdb.stderr(errors()?).status()?.success() {
            return Err(format!("initdb failed: {}", fs::read_to_string(&log)?.trim()).into());
        }
        let mut postgres = command(&programs.join("postgres"), owner);
        postgres.arg("-D").arg(&data).arg("-k").arg(socket.path());
        for option in [
            "listen_addresses=",
            "shared_buffers=2GB",
            "work_mem=256MB",
            "maintenance_work_mem=1GB",
            "effective_cache_size=8GB",
            "wal_level=minimal",
            "max_wal_senders=0",
            "max_wal_size=16GB",
            "checkpoint_timeout=1h",
            "random_page_cost=1.1",
            "jit=off",
            "autovacuum=off",
        ] {
            postgres.args(["-c", option]);
        }
        let child = postgres.stderr(errors()?).spawn()?;
        crate::worker::started(child.id());
        let server = Server { child, socket };
        let mut configuration = postgres::Config::new();
        configuration.host_path(server.socket.path()).user("compare").dbname("postgres");
        let mut tries = 0;
        let client = loop {
            match configuration.connect(NoTls) {
                Ok(client) => break client,
                Err(error) if tries == 600 => {
                    return Err(format!("{error}; {}", fs::read_to_string(&log)?.trim()).into());
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
            tries += 1;
        };
        Ok(Postgres { gist, client, server, prepared: BTreeMap::new(), hosts: Vec::new() })
    }

    fn run(&mut self, sql: &str) -> Result<()> {
        self.client.batch_execute(sql).map_err(|error| {
            let told = error.as_db_error().map_or_else(|| error.to_string(), ToString::to_string);
            format!("{told}: {sql:.300}").into()
        })
    }

    /// The stored form of a table with two columns for the interval.
    fn definition(&self, table: &Table) -> String {
        let columns = sql::definition(table, |kind, nullable, _| {
            let kind = match kind {
                Type::Int4 => "int4",
                Type::Int8 => "int8",
                Type::Text => "text",
            };
            format!("{kind}{}", if nullable { "" } else { " NOT NULL" })
        });
        match self.gist && !table.event {
            true => columns.replacen("\"_from\" int4 NOT NULL, \"_to\" int4 NOT NULL", "_valid int4range NOT NULL", 1),
            false => columns,
        }
    }

    /// What to select from a relation with two columns for the interval to get the stored form.
    fn stored(&self, table: &Table) -> String {
        let columns = sql::all_columns(table);
        match self.gist && !table.event {
            true => columns.replacen("\"_from\", \"_to\"", "int4range(_from, _to)", 1),
            false => columns,
        }
    }

    fn load_rows(&mut self, fleet: &Fleet) -> Result<()> {
        for table in &fleet.tables {
            let (name, definition) = (quoted(&table.name), self.definition(table));
            let file = literal(&table.file.display().to_string());
            let copy = |name: &str| format!("COPY {name} FROM STDIN (FORMAT csv, NULL '\\N')");
            let mut begin = format!("BEGIN; CREATE TABLE {name} ({definition});");
            let staged = self.gist && !table.event;
            if staged {
                let plain = Postgres::plain_definition(table);
                begin += &format!("CREATE TEMP TABLE staged ({plain}) ON COMMIT DROP;");
            }
            self.run(&begin)?;
            let mut writer = self.client.copy_in(&copy(if staged { "staged" } else { &name }))?;
            std::io::copy(&mut fs::File::open(&table.file)?, &mut writer)
                .map_err(|error| format!("{file}: {error}"))?;
            writer.finish()?;
            if staged {
                let stored = self.stored(table);
                self.run(&format!("INSERT INTO {name} SELECT {stored} FROM staged ORDER BY _host, _from"))?;
            }
            self.run("COMMIT")?;
        }
        self.finish(fleet)
    }

    fn plain_definition(table: &Table) -> String {
        sql::definition(table, |kind, _, _| {
            match kind {
                Type::Int4 => "int4",
                Type::Int8 => "int8",
                Type::Text => "text",
            }
            .to_owned()
        })
    }

    fn load_json(&mut self, fleet: &Fleet) -> Result<()> {
        self.run("CREATE UNLOGGED TABLE lines (line jsonb)")?;
        // A line as one CSV field: quote and delimiter are bytes that JSON never has unescaped.
        let copy = "COPY lines FROM STDIN (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')";
        let mut writer = self.client.copy_in(copy)?;
        std::io::copy(&mut fs::File::open(&fleet.log)?, &mut writer)?;
        writer.finish()?;
        self.run(
            "CREATE UNLOGGED TABLE raw AS SELECT line ->> 'name' AS name, line ->> 'hostIdentifier' AS host, \
             (line ->> 'unixTime')::int4 AS looked, (line ->> 'action' = 'added')::int4 AS added, line -> 'columns' AS columns \
             FROM lines; DROP TABLE lines; CREATE TABLE hosts (id int4, name text); CREATE INDEX ON raw (name); ANALYZE raw",
        )?;
        let hosts = fleet.hosts.iter().enumerate().map(|(id, name)| format!("({id}, {})", literal(name)));
        let hosts = hosts.collect::<Vec<_>>().join(", ");
        self.run(&format!("INSERT INTO hosts VALUES {hosts}; ANALYZE hosts"))?;
        for table in &fleet.tables {
            let (name, definition, stored) = (quoted(&table.name), self.definition(table), self.stored(table));
            let names = table.names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
            let columns = table.columns.iter().map(|column| {
                let kind = match column.kind {
                    Type::Int4 => "::int4",
                    Type::Int8 => "::int8",
                    Type::Text => "",
                };
                format!("(columns ->> {}){kind} AS {}", literal(&column.name), quoted(&column.name))
            });
            let columns = columns.collect::<Vec<_>>().join(", ");
            let raw = format!(
                "(SELECT id AS _host, looked AS _at, added AS _added, jsonb_hash_extended(columns, 0) AS _key, {columns} \
                 FROM raw JOIN hosts ON hosts.name = raw.host WHERE raw.name IN ({names})) AS rows"
            );
            let paired = sql::paired(table, &raw, "_key", "lead(_at)");
            let order = if table.event { "_host, _seen" } else { "_host, _to, _from" };
            self.run(&format!(
                "BEGIN; CREATE TABLE {name} ({definition}); \
                 INSERT INTO {name} SELECT {stored} FROM ({paired}) AS versions ORDER BY {order}; COMMIT"
            ))?;
        }
        self.run("DROP TABLE raw, hosts")?;
        self.finish(fleet)
    }

    fn finish(&mut self, fleet: &Fleet) -> Result<()> {
        let mut sql = String::new();
        if self.gist {
            sql += "CREATE EXTENSION btree_gist;";
        }
        for table in &fleet.tables {
            let name = quoted(&table.name);
            if table.event {
                let time = table.column("time").map_or("_seen", |_| "\"time\"");
                sql += &format!(
                    "CREATE INDEX by_time_{0} ON {name} (_host, {time}); CLUSTER {name} USING by_time_{0};",
                    table.name
                );
            } else if self.gist {
                sql += &format!("CREATE INDEX ON {name} USING gist (_host, _valid);");
            } else {
                sql += &format!(
                    "CREATE INDEX by_host_{0} ON {name} (_host, _to, _from); CLUSTER {name} USING by_host_{0};",
                    table.name
                );
            }
        }
        if fleet.table("interface_addresses").is_some_and(|table| table.column("address").is_some()) {
            sql += match self.gist {
                true => "CREATE INDEX ON interface_addresses USING gist (address, _valid);",
                false => "CREATE INDEX ON interface_addresses (address, _to, _from) INCLUDE (_host);",
            };
        }
        if fleet.table("users").is_some_and(|table| table.column("uid").is_some()) {
            sql += match self.gist {
                true => "CREATE INDEX ON users USING gist (_host, uid, _valid);",
                false => "CREATE INDEX ON users (_host, uid, _to, _from) INCLUDE (username);",
            };
        }
        self.run(&sql)?;
        self.run("VACUUM (FREEZE, ANALYZE)")?;
        self.run("CHECKPOINT")
    }
}

impl Peer for Postgres {
    fn version(&mut self) -> Result<String> {
        let version: String = self.client.query_one("SHOW server_version", &[])?.get(0);
        Ok(version.split(' ').next().unwrap_or_default().to_owned())
    }

    fn load(&mut self, fleet: &Fleet, source: Source) -> Result<Loaded> {
        let watch = Watch::start(Some(self.server.child.id()));
        match source {
            Source::Rows => self.load_rows(fleet)?,
            Source::Json => self.load_json(fleet)?,
        }
        Ok(watch.stop())
    }

    fn disk_bytes(&mut self) -> Result<u64> {
        let sql = "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::int8 FROM pg_class \
                   WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace";
        Ok(self.client.query_one(sql, &[])?.get::<_, i64>(0) as u64)
    }

    fn sums(&mut self, fleet: &Fleet) -> Result<Option<Vec<Sums>>> {
        let mut sums = Vec::new();
        for table in &fleet.tables {
            let (from, to) = match (table.event, self.gist) {
                (true, _) => ("_seen", "0"),
                (false, false) => ("_from", "_to"),
                (false, true) => ("lower(_valid)", "upper(_valid)"),
            };
            let name = quoted(&table.name);
            let sql =
                format!("SELECT count(*), coalesce(sum({from}), 0)::int8, coalesce(sum({to}), 0)::int8 FROM {name}");
            let row = self.client.query_one(&sql, &[])?;
            sums.push(Sums { rows: row.get(0), from: row.get(1), to: row.get(2) });
        }
        Ok(Some(sums))
    }

    fn prepare(&mut self, fleet: &Fleet) -> Result<()> {
        self.hosts.clone_from(&fleet.hosts);
        let dialect = if self.gist { &GIST } else { &BTREE };
        for ask in Ask::ALL.into_iter().filter(|ask| ask.lacks(fleet).is_none()) {
            let table = fleet.table(sql::table_of(ask)).ok_or("no such table")?;
            let users = fleet.table("users").unwrap_or(table);
            let uid = match users.column("uid").map(|column| column.kind) {
                Some(Type::Int8) => PgType::INT8,
                _ => PgType::INT4,
            };
            let types = match ask {
                Ask::Ip => vec![PgType::TEXT, PgType::INT4],
                Ask::Uid => vec![PgType::INT4, uid, PgType::INT4],
                Ask::Processes => vec![PgType::INT4; 2],
                Ask::Users => vec![PgType::INT4],
                Ask::Diff | Ask::Events => vec![PgType::INT4; 3],
            };
            let sql = sql::statement(ask, dialect, table, users);
            let statement = self.client.prepare_typed(&sql, &types)?;
            self.prepared.insert(ask, (statement, sql::cells(ask, table, users)));
        }
        // The first five runs of a prepared statement are planned each; after them its plan is kept.
        Ok(())
    }

    fn ask(&mut self, question: &Question, rows: &mut Rows) -> Result<()> {
        let (statement, cells) = self.prepared.get(&question.ask()).ok_or("not prepared")?;
        let small = |value: i64| value as i32;
        let mut answer = match question {
            Question::Ip { address, at } => run(&mut self.client, statement, &[address, &small(*at)])?,
            Question::Uid { host, uid, at } => {
                let (host, at) = (*host as i32, small(*at));
                match statement.params()[1] == PgType::INT8 {
                    true => run(&mut self.client, statement, &[&host, uid, &at])?,
                    false => run(&mut self.client, statement, &[&host, &small(*uid), &at])?,
                }
            }
            Question::Processes { host, at } => run(&mut self.client, statement, &[&(*host as i32), &small(*at)])?,
            Question::Users { at } => run(&mut self.client, statement, &[&small(*at)])?,
            Question::Diff { host, from, to } | Question::Events { host, from, to } => {
                run(&mut self.client, statement, &[&(*host as i32), &small(*from), &small(*to)])?
            }
        };
        while let Some(row) = answer.next()? {
            for (i, cell) in cells.iter().enumerate() {
                match *cell {
                    Cell::Host => rows.text(self.hosts[row.get::<_, i32>(i) as usize].as_bytes()),
                    Cell::To => match row.get::<_, Option<i32>>(i) {
                        Some(to) => rows.to(i64::from(to)),
                        None => rows.null(),
                    },
                    Cell::Value(Type::Int4, _) => match row.get::<_, Option<i32>>(i) {
                        Some(value) => rows.int(i64::from(value)),
                        None => rows.null(),
                    },
                    Cell::Value(Type::Int8, _) => match row.get::<_, Option<i64>>(i) {
                        Some(value) => rows.int(value),
                        None => rows.null(),
                    },
                    Cell::Value(Type::Text, _) => match row.get::<_, Option<&str>>(i) {
                        Some(text) => rows.text(text.as_bytes()),
                        None => rows.null(),
                    },
                }
            }
            rows.end();
        }
        Ok(())
    }
}

fn run<'c>(client: &'c mut Client, statement: &Statement, parameters: &[&dyn ToSql]) -> Result<postgres::RowIter<'c>> {
    Ok(client.query_raw(statement, parameters.iter().copied())?)
}
